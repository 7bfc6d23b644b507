"""Green screen: the robot and its objects from simulation, all else from a real photograph.

As in lerobot-sim2real: one photograph of the real scene, without the robot, stands behind what the
simulation draws of the robot. Its camera is first aligned with the help of `overlay`. The functions
on whole pictures run on numpy and on jax.numpy, by the array module ``xp``.
"""

from collections.abc import Sequence
from types import ModuleType

import jax
import jax.numpy as jnp
import numpy as np

from mjx_s2r.params import Array
from mjx_s2r.render.sensor.photometry import Planes


def mask(segmentation: Array, ids: Sequence[int], *, xp: ModuleType = np) -> Array:
    """Returns (N, H, W) bool, True where ``segmentation`` (N, H, W) is one of ``ids``."""
    return xp.isin(segmentation, xp.asarray(np.asarray(ids, np.int32)))


def green_screen(
    rgb: Array,
    segmentation: Array,
    ids: Sequence[int],
    photographs: Array,
    *,
    soft: bool = False,
    xp: ModuleType = np,
) -> Array:
    """Returns (N, H, W, 3) uint8: ``rgb`` where a foreground geom is seen, else the photograph.

    Args:
        rgb: (N, H, W, 3) uint8 pictures.
        segmentation: (N, H, W) int32 ids of the geoms seen.
        ids: of the geoms that stay.
        photographs: (N, H, W, 3) uint8 behind each picture, or (1, H, W, 3) behind all.
        soft: mix the foreground's outermost pixels with the photograph, as a camera does (see
            `softened`).
        xp: numpy or jax.numpy.

    Raises:
        ValueError: shapes that do not fit each other.
    """
    shape, behind = np.shape(rgb), np.shape(photographs)
    fits = np.shape(segmentation) == shape[:-1] and behind[1:] == shape[1:]
    if not fits or len(shape) != 4 or behind[0] not in (1, shape[0]):
        raise ValueError(
            f"rgb {shape}, segmentation {np.shape(segmentation)} and photographs {behind} do not "
            "fit: give (N, H, W, 3), (N, H, W) and (N or 1, H, W, 3); pool.photographs cuts images"
        )
    keep = mask(segmentation, ids, xp=xp)
    if not soft:
        return xp.where(keep[..., None], rgb, photographs)
    return _between(photographs, rgb, softened(keep, xp=xp)[..., None], xp)


def softened(keep: Array, *, xp: ModuleType = np) -> Array:
    """Returns (N, H, W) the share in [0, 1] of the foreground at each pixel.

    The mask is smoothed by 1, 2, 1 along both axes and set to 0 outside of itself: an edge has a
    share of 3/4, a corner 9/16. It softens inwards only, because a pixel outside shows the
    simulated background, which must not come through.
    """
    share = keep.astype(np.float32)
    for axis in (1, 2):
        edges = [(1, 1) if a == axis else (0, 0) for a in range(3)]
        wide, size = xp.pad(share, edges, mode="edge"), share.shape[axis]
        low, middle, high = (xp.take(wide, np.arange(i, i + size), axis=axis) for i in range(3))
        share = 0.25 * low + 0.5 * middle + 0.25 * high
    return share * keep


def overlay(a: Array, b: Array, share: float = 0.5, *, xp: ModuleType = np) -> Array:
    """Returns pictures ``b`` over ``a`` (..., 3) uint8, to see how well two cameras agree.

    Raises:
        ValueError: a share of ``b`` outside of 0 to 1, or pictures of different shape.
    """
    if not 0 <= share <= 1 or np.shape(a) != np.shape(b):
        raise ValueError(
            f"overlay of {np.shape(a)} and {np.shape(b)} with share {share}: give pictures of one "
            "shape and a share from 0 to 1"
        )
    return _between(a, b, share, xp)


def _between(low: Array, high: Array, share: Array, xp: ModuleType) -> Array:
    """Returns uint8 colours at ``share`` of the way from one to the other, rounded."""
    first = low.astype(np.float32)
    return xp.floor(first + share * (high.astype(np.float32) - first) + 0.5).astype(np.uint8)


def put_behind(planes: Planes, keep: jax.Array, photograph: Planes) -> Planes:
    """Returns planes (P,) where ``keep`` (P,) is True, and the photograph's planes (P,) elsewhere.

    This is the green screen inside of the renderer, before lens and photometry, so that both parts
    get the same camera.
    """
    return tuple(jnp.where(keep, c, p) for c, p in zip(planes, photograph, strict=True))
