"""Camera images inside an HTML page: arrays to data addresses, at the size the policy saw.

Nothing is enlarged here; the page enlarges with ``image-rendering: pixelated``, so that a pixel of
the camera stays a square.
"""

import base64
import io
import math

import numpy as np
from PIL import Image

from mjx_s2r.report.mosaic import gif

GAP = 2  # pixels between the tiles of a mosaic


def still(image: np.ndarray) -> str:
    """Returns the data address of a PNG of ``image`` (H, W, 3) uint8."""
    return _png(Image.fromarray(checked(image, 3)))


def animation(frames: np.ndarray, frame_s: float, most: int = 40) -> str:
    """Returns the data address of a GIF that repeats for ever, at the speed it happened.

    Args:
        frames: (F, H, W, 3) uint8.
        frame_s: time between two frames, s.
        most: longer films are thinned to this many frames at most.
    """
    return _address("gif", gif(checked(frames, 4), frame_s, most))


def mosaic(tiles: np.ndarray, columns: int) -> str:
    """Returns the data address of a PNG with ``tiles`` (N, H, W, 3) uint8 on a transparent grid."""
    count, height, width, _ = checked(tiles, 4).shape
    rows = math.ceil(count / columns)
    sheet = np.zeros((rows * (height + GAP) - GAP, columns * (width + GAP) - GAP, 4), np.uint8)
    for i, tile in enumerate(tiles):
        y, x = i // columns * (height + GAP), i % columns * (width + GAP)
        sheet[y : y + height, x : x + width, :3] = tile
        sheet[y : y + height, x : x + width, 3] = 255
    return _png(Image.fromarray(sheet))


def spread(count: int, most: int) -> np.ndarray:
    """Returns at most ``most`` indices into ``count`` items, even, with the first and the last."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(int))


def checked(images: np.ndarray, axes: int) -> np.ndarray:
    """Returns ``images`` when they are what the page can show.

    Raises:
        ValueError: not uint8, not RGB, no image, or another number of axes; says what was found.
    """
    images = np.asarray(images)
    if images.dtype != np.uint8 or images.ndim != axes or images.shape[-1] != 3 or not images.size:
        shape = ("N", "H", "W", "3")[4 - axes :]
        raise ValueError(
            f"images {images.dtype}{list(images.shape)} must be uint8 of shape ({', '.join(shape)})"
        )
    return np.ascontiguousarray(images)


def _png(image: Image.Image) -> str:
    """Returns the data address of a PNG."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG", optimize=True)
    return _address("png", buffer.getvalue())


def _address(kind: str, data: bytes) -> str:
    """Returns ``data`` as a data address of image type ``kind``."""
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"
