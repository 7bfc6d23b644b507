"""Depth camera noise: range limits, dropout, axial noise and disparity quantization.

Stereo and structured light cameras measure disparity, which is proportional to inverse depth, so
noise and steps are given in inverse depth [1/m]: a step d of it is a step z^2 d of depth z
(Khoshelham and Elberink, "Accuracy and resolution of Kinect depth data for indoor mapping
applications", Sensors 12, 2012). As on real cameras, 0 means no answer.
"""

import jax
import jax.numpy as jnp
import numpy as np

from mjx_s2r.render.looks.appearance import Appearance
from mjx_s2r.render.sensor.photometry import hashed, pixel_noise

# Pixels at an edge, or on a surface seen at a flat angle, fail this many times as often as others.
# An assumption: a camera's own figures are to be had from a clip of it only.
EDGE_FACTOR = 10.0
EDGE_STEP = 0.05  # an edge: inverse depth changes by this share from a pixel to the next
_NOISE, _DROPOUT = 3, 4  # channels of the hash; the colours use 0 to 2


def sense_depth(
    look: Appearance, depth: jax.Array, seed: jax.Array | None, *, width: int
) -> jax.Array:
    """Returns what a depth camera says (P,) [m] of the true depth (P,) [m], 0 for no answer.

    In order, each step only if its field is not None: noise of deviation depth_noise [1/m] in
    inverse depth, which is depth_noise * z^2 in depth; rounding to multiples of depth_step [1/m];
    dropout, `EDGE_FACTOR` times as likely at edges; no answer outside of depth_near to depth_far.
    Without a ``seed`` (2,) uint32 nothing random happens.

    Args:
        look: the look of one world, of which the fields depth_* count.
        depth: (P,) along the optical axis, row by row; 0 where there is nothing.
        seed: of the noise and the dropout.
        width: [px] pixels in a row.
    """
    # Pixels without an answer keep depth 0, and nan stays nan: hence "not empty", "not outside".
    out, empty = depth, depth <= 0
    fails = jnp.zeros(depth.shape, bool)
    if look.depth_noise is not None and seed is not None:
        shift = look.depth_noise * pixel_noise(seed, depth.shape[0], _NOISE)
        # An inverse depth that the noise turns around is beyond all range.
        inverse = 1.0 + out * shift
        fails = fails | (inverse <= 0)
        out = out / jnp.where(inverse > 0, inverse, 1.0)
    if look.depth_step is not None:
        out, lost = _stepped(out, look.depth_step)
        fails = fails | lost
    if look.depth_dropout is not None and seed is not None:
        odds = look.depth_dropout * jnp.where(_at_edge(depth, width), EDGE_FACTOR, 1.0)
        draw = (hashed(seed, depth.shape[0], _DROPOUT) >> 8).astype(jnp.int32) * np.float32(2**-24)
        fails = fails | (draw < odds)
    if look.depth_near is not None:
        fails = fails | (out < look.depth_near)
    if look.depth_far is not None:
        fails = fails | (out > look.depth_far)
    return jnp.where(empty | (fails & ~jnp.isnan(depth)), 0.0, out)


def _stepped(depth: jax.Array, step: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Returns depth (P,) [m] at the nearest multiple of ``step`` [1/m] in inverse depth.

    Also returns True (P,) where that multiple is 0, which no depth has. A step of 0 changes
    nothing.
    """
    size = jnp.where(step > 0, step, 1.0)
    count = jnp.round(1.0 / (jnp.where(depth == 0, 1.0, depth) * size))
    rounded = 1.0 / (jnp.maximum(count, 1.0) * size)
    return jnp.where(step > 0, rounded, depth), (step > 0) & (count < 1)


def _at_edge(depth: jax.Array, width: int) -> jax.Array:
    """Returns True (P,) where inverse depth changes by `EDGE_STEP` of the larger to a neighbour.

    The change is compared as depths, |z - z'| > share * max(z, z'), so nothing is divided.
    """
    grid = depth.reshape(-1, width)
    edge = jnp.zeros(grid.shape, bool)
    for axis in (0, 1):
        ahead = jax.lax.slice_in_dim(grid, 1, None, axis=axis)
        here = jax.lax.slice_in_dim(grid, 0, grid.shape[axis] - 1, axis=axis)
        jump = jnp.abs(ahead - here) > EDGE_STEP * jnp.maximum(ahead, here)
        for side in ((1, 0), (0, 1)):
            edge = edge | jnp.pad(jump, [side if a == axis else (0, 0) for a in (0, 1)])
    return edge.ravel()
