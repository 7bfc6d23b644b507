"""A camera's frame in the size that a policy reads, by numpy alone."""

from functools import lru_cache

import numpy as np

from mjx_s2r.contract import FrameFit


def resize(image: np.ndarray, height: int, width: int, fit: FrameFit = "crop") -> np.ndarray:
    """Returns a picture (height, width, ...) of the same type; each pixel is the mean of its area.

    Depth, float32 metres or uint16 counts with 0 for no answer, takes the nearest pixel instead:
    a mean of two depths lies on neither surface.

    Args:
        image: (H, W, 3) uint8, or (H, W).
        height: of the result, px.
        width: of the result, px.
        fit: "crop" keeps the middle in the result's shape, "squash" keeps all.
    """
    if image.shape[:2] == (height, width):
        return image
    if fit == "crop":
        image = _middle(image, height, width)
    down, across = (
        _rows_of(*sizes) for sizes in ((image.shape[0], height), (image.shape[1], width))
    )
    if image.ndim == 2:
        nearest = [np.argmax(weights, axis=1) for weights in (down, across)]
        return image[np.ix_(*nearest)]
    columns = np.moveaxis(image.astype(np.float32), 2, 0) @ across.T
    return np.moveaxis(np.rint(down @ columns), 0, 2).astype(image.dtype)


def _middle(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """Returns the largest part about the middle that has the shape height : width."""
    tall, wide = image.shape[:2]
    keep_high = min(tall, max(1, round(wide * height / width)))
    keep_wide = min(wide, max(1, round(tall * width / height)))
    top, left = (tall - keep_high) // 2, (wide - keep_wide) // 2
    return image[top : top + keep_high, left : left + keep_wide]


@lru_cache(maxsize=32)
def _rows_of(size: int, wanted: int) -> np.ndarray:
    """Returns (wanted, size) float32: share of each old pixel in each new one."""
    edges = np.linspace(0, size, wanted + 1)
    old = np.arange(size)
    overlap = np.minimum(edges[1:, None], old + 1) - np.maximum(edges[:-1, None], old)
    share = np.maximum(overlap, 0.0)
    return (share / share.sum(axis=1, keepdims=True)).astype(np.float32)
