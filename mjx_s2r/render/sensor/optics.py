"""Camera optics: defocus blur and motion blur.

A picture is three planes (red, green, blue), each (P,) in [0, 1] of full scale, row by row. The
shares of a blur add up to 1, and beyond its edge a picture goes on as it is there.
"""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp

from mjx_s2r.render.looks.appearance import Appearance
from mjx_s2r.render.sensor.photometry import Planes

Effect = Callable[[Appearance, Planes, int], Planes]  # look, picture, its height [px]
MOTION_REACH = 4  # px to each side that motion blur looks


def lens_effects(look: Appearance) -> tuple[Effect, ...]:
    """Returns what spreads a pixel's light over its neighbours, in order; nothing if it is None."""
    defocus = tuple(functools.partial(blur, axis=axis) for axis in (0, 1))
    return (defocus if look.blur_px is not None else ()) + (
        (motion,) if look.motion_px is not None else ()
    )


def spreads(look: Appearance) -> bool:
    """Returns whether a pixel's light reaches its neighbours."""
    return bool(lens_effects(look))


def blur(look: Appearance, rgb: Planes, height: int, axis: int) -> Planes:
    """Blurs along rows (axis 1) or columns (0) by five Gaussian taps; honest up to about 1 px."""
    sigma = jnp.maximum(jnp.asarray(look.blur_px), 1e-3)
    taps = jnp.exp(-0.5 * (jnp.arange(-2, 3) / sigma) ** 2)
    taps = taps / taps.sum()
    edges = [(2, 2) if a == axis else (0, 0) for a in (0, 1)]

    def one(plane: jax.Array) -> jax.Array:
        """Blurs one channel."""
        grid = plane.reshape(height, -1)
        wide = jnp.pad(grid, edges, mode="edge")
        size = grid.shape[axis]
        parts = [jax.lax.slice_in_dim(wide, i, i + size, axis=axis) for i in range(5)]
        return jnp.asarray(sum(tap * part for tap, part in zip(taps, parts, strict=True))).ravel()

    return tuple(one(c) for c in rgb)


def motion(look: Appearance, rgb: Planes, height: int) -> Planes:
    """Blurs along the straight way (2,) [px right, px down] that a point makes in the exposure.

    The way is centred on the pixel: along its longer axis the picture, interpolated linearly, is
    integrated exactly, and across it each column (or row) is read at the height of the way there,
    between two pixels. Ways of up to 2 * `MOTION_REACH` px along the longer axis are honest; a
    longer one is cut to that.
    """
    way = jnp.asarray(look.motion_px)
    size = jnp.abs(way)
    flat = size[0] >= size[1]  # the longer axis is that of the columns
    longer, shorter = (jnp.where(flat, way[i], way[1 - i]) for i in (0, 1))
    length = jnp.minimum(jnp.abs(longer), 2.0 * MOTION_REACH)
    slope = shorter / jnp.where(longer == 0, 1.0, longer)
    shares = _shares(length)
    width = rgb[0].shape[0] // height
    row, column = (jax.lax.broadcasted_iota(jnp.int32, (height, width), a).ravel() for a in (0, 1))
    out: Planes = tuple(jnp.zeros_like(c) for c in rgb)
    for i, share in zip(range(-MOTION_REACH, MOTION_REACH + 1), shares, strict=True):
        # No further than the way's end: beyond it there is only the last pixel's other half.
        across = slope * jnp.clip(float(i), -length / 2, length / 2)
        below = jnp.floor(across)
        for k, part in ((0, 1.0 - (across - below)), (1, across - below)):
            aside = below.astype(jnp.int32) + k
            down, right = jnp.where(flat, aside, i), jnp.where(flat, i, aside)
            at = jnp.clip(row + down, 0, height - 1) * width + jnp.clip(
                column + right, 0, width - 1
            )
            seen = (c.at[at].get(mode="promise_in_bounds") for c in rgb)
            out = tuple(o + share * part * s for o, s in zip(out, seen, strict=True))
    return out


def _shares(length: jax.Array) -> list[jax.Array]:
    """Returns 2 `MOTION_REACH` + 1 shares () of the pixels that a way of some length [px] passes.

    The share of pixel i is the mean, over the way, of the hat that linear interpolation gives it.
    """
    outer = []
    for i in range(1, MOTION_REACH + 1):
        end = jnp.clip(length / 2 - i, -1.0, 1.0)  # where the way ends, as the hat sees it
        area = jnp.where(end < 0, (1 + end) ** 2 / 2, 1 - (1 - end) ** 2 / 2)
        outer.append(area / jnp.maximum(length, 1e-6))
    return [*outer[::-1], 1.0 - 2.0 * sum(outer, jnp.float32(0)), *outer]
