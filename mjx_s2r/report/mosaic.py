"""Many pictures in one PNG, or one after the other in a GIF, to look at."""

import io
import math
from pathlib import Path

import numpy as np
from PIL import Image

GAP = 2  # px between pictures


def mosaic(pictures: np.ndarray, columns: int | None = None) -> np.ndarray:
    """Returns (N, H, W, 3) uint8 pictures side by side, row by row, as one (H', W', 3) picture.

    Args:
        pictures: the pictures.
        columns: pictures in a row; None for a mosaic about as wide as it is high.

    Raises:
        ValueError: no pictures, or not uint8 with three channels.
    """
    shape, kind = np.shape(pictures), np.asarray(pictures).dtype
    if len(shape) != 4 or shape[-1] != 3 or shape[0] == 0 or kind != np.uint8:
        raise ValueError(
            f"pictures of shape {shape} and type {kind}: give (N, H, W, 3) uint8, N > 0"
        )
    count, height, width, _ = shape
    columns = columns or math.ceil(math.sqrt(count))
    rows = math.ceil(count / columns)
    padded = np.full((rows * columns, height + GAP, width + GAP, 3), 255, np.uint8)
    padded[:count, :height, :width] = pictures
    grid = padded.reshape(rows, columns, height + GAP, width + GAP, 3).swapaxes(1, 2)
    return grid.reshape(rows * (height + GAP), columns * (width + GAP), 3)[:-GAP, :-GAP]


def write_mosaic(
    path: Path, pictures: np.ndarray, columns: int | None = None, zoom: int = 1
) -> None:
    """Writes `mosaic` of the pictures to a PNG, every pixel ``zoom`` pixels wide.

    Raises:
        ValueError: pictures that `mosaic` refuses, or a zoom below 1.
    """
    if zoom < 1:
        raise ValueError(f"zoom {zoom} must be 1 or more")
    large = mosaic(pictures, columns).repeat(zoom, axis=0).repeat(zoom, axis=1)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(large).save(path)


def gif(frames: np.ndarray, frame_s: float, most: int = 40) -> bytes:
    """Returns a GIF that repeats for ever, at the speed it happened, and rests on its last frame.

    Args:
        frames: (F, H, W, 3) uint8.
        frame_s: time between two frames, s.
        most: longer films are thinned to this many frames at most.
    """
    every = math.ceil(len(frames) / most)
    shots = [
        Image.fromarray(f).quantize(256, Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
        for f in frames[::every]
    ]
    pause_ms = max(20, round(1000 * frame_s * every / 10) * 10)  # GIF counts hundredths of a second
    lengths = [pause_ms] * (len(shots) - 1) + [max(1000, pause_ms)]
    buffer = io.BytesIO()
    shots[0].save(buffer, "GIF", save_all=True, append_images=shots[1:], duration=lengths, loop=0)
    return buffer.getvalue()
