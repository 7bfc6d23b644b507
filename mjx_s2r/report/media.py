"""Pictures for pages and files: mosaics, PNG, and animated WebP, as files or data URLs.

Nothing is enlarged for a page: the page enlarges with ``image-rendering: pixelated``, so that a
pixel of the camera stays a square.
"""

import base64
import io
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

GAP = 2  # px between the tiles of a mosaic
TITLE_PX = 13  # font size of a tile's title
FILMS = "films.npz"  # what a pipeline calls the episodes that it kept, see `write_films`
TITLE_HEIGHT = TITLE_PX + 7  # px above a tile with a title


def mosaic(tiles: np.ndarray, columns: int | None = None, titles: Sequence[str] = ()) -> np.ndarray:
    """Returns tiles side by side, row by row, as one picture (H', W', 4) uint8.

    The gaps are transparent; with titles they are white, to write on.

    Args:
        tiles: (N, H, W, 3) uint8.
        columns: tiles in a row; None for about as many as there are rows.
        titles: a title above each tile, shortened where it is wider than the tile; or none.

    Raises:
        ValueError: no tiles, not uint8 RGB, or another number of titles.
    """
    tiles = check_images(tiles, 4)
    count, height, width = tiles.shape[:3]
    if titles and len(titles) != count:
        raise ValueError(f"{len(titles)} titles for {count} tiles: give one each, or none")
    columns = columns or math.ceil(math.sqrt(count))
    top = TITLE_HEIGHT if titles else 0
    step_x, step_y = width + GAP, top + height + GAP
    size = (columns * step_x - GAP, math.ceil(count / columns) * step_y - GAP)
    paper = Image.new("RGBA", size, "white" if titles else (0, 0, 0, 0))
    pen, font = ImageDraw.Draw(paper), ImageFont.load_default(TITLE_PX)
    for i, tile in enumerate(tiles):
        x, y = i % columns * step_x, i // columns * step_y
        paper.paste(Image.fromarray(tile), (x, y + top))
        if titles:
            pen.text((x, y + 2), _shorten(titles[i], font, width), "black", font)
    return np.asarray(paper)


def write_png(path: Path, image: np.ndarray, zoom: int = 1) -> None:
    """Writes an image (H, W, 3 or 4) uint8 to a PNG, every pixel ``zoom`` pixels wide.

    Raises:
        ValueError: another kind of array, or a zoom below 1.
    """
    if zoom < 1:
        raise ValueError(f"zoom {zoom} must be 1 or more")
    large = check_images(image, 3).repeat(zoom, axis=0).repeat(zoom, axis=1)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(large).save(path)


def png_url(image: np.ndarray) -> str:
    """Returns the data URL of a PNG of ``image`` (H, W, 3 or 4) uint8.

    Raises:
        ValueError: another kind of array.
    """
    buffer = io.BytesIO()
    Image.fromarray(check_images(image, 3)).save(buffer, "PNG", optimize=True)
    return data_url("png", buffer.getvalue())


def webp_url(frames: np.ndarray, frame_s: float, most: int = 60, quality: int | None = None) -> str:
    """Returns the data URL of `webp`'s film."""
    return data_url("webp", webp(frames, frame_s, most, quality))


def webp(frames: np.ndarray, frame_s: float, most: int = 60, quality: int | None = None) -> bytes:
    """Returns a WebP that plays for ever in real time and rests on its last frame.

    Args:
        frames: (F, H, W, 3 or 4) uint8.
        frame_s: time between two frames, s.
        most: a longer animation is thinned to this many frames; it still takes as long.
        quality: 0 to 100 for large pictures; None keeps every pixel as it is.

    Raises:
        ValueError: another kind of array.
    """
    kept = evenly_spaced(len(frames), most)
    shots = [Image.fromarray(frame) for frame in check_images(frames, 4)[kept]]
    pauses_ms = [max(10, round(1000 * frame_s * apart)) for apart in np.diff(kept)]
    settings: dict[str, Any] = {"lossless": True} if quality is None else {"quality": quality}
    buffer = io.BytesIO()
    shots[0].save(
        buffer,
        "WEBP",
        save_all=True,
        append_images=shots[1:],
        duration=[*pauses_ms, 1000],
        loop=0,
        method=2,
        **settings,
    )
    return buffer.getvalue()


def evenly_spaced(count: int, most: int) -> np.ndarray:
    """Returns at most ``most`` indices into ``count`` items, with the first and the last."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(int))


def check_images(images: np.ndarray, axes: int) -> np.ndarray:
    """Returns ``images`` as a contiguous array when they are uint8 RGB or RGBA.

    Raises:
        ValueError: not uint8, no colours, no image, or another number of axes.
    """
    images = np.asarray(images)
    if (
        images.dtype != np.uint8
        or images.ndim != axes
        or images.shape[-1] not in (3, 4)
        or not images.size
    ):
        shape = ("N", "H", "W", "3")[4 - axes :]
        raise ValueError(
            f"images {images.dtype}{list(images.shape)} must be uint8 of shape ({', '.join(shape)})"
        )
    return np.ascontiguousarray(images)


def _shorten(title: str, font: Any, width: int) -> str:
    """Returns a title that is at most ``width`` px wide."""
    if font.getlength(title) <= width:
        return title
    fits = (i for i in range(len(title), 0, -1) if font.getlength(f"{title[:i]}…") <= width)
    return f"{title[: next(fits, 0)]}…"


def data_url(kind: str, data: bytes) -> str:
    """Returns the data URL of an image file of a kind, e.g. "webp"."""
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"


def write_films(file: Path, films: Mapping[int, tuple[np.ndarray, bool]]) -> None:
    """Keeps films in one file of arrays.

    Args:
        file: where to, ending in .npz.
        films: number of the episode -> frames (F, H, W, 3) uint8, and whether it succeeded.
    """
    kept: dict[str, Any] = {}
    for number, (frames, success) in films.items():
        kept |= {f"film{number}": frames, f"end{number}": np.array(success)}
    np.savez_compressed(file, **kept)


def read_films(file: Path) -> Iterator[tuple[int, np.ndarray, bool]]:
    """Yields number, frames (F, H, W, 3) and success of each film that `write_films` kept.

    Raises:
        OSError, ValueError, KeyError, zipfile.BadZipFile: no such file, or one of something else.
    """
    with np.load(file) as kept:
        names = (name.removeprefix("film") for name in kept if name.startswith("film"))
        for number in sorted(map(int, names)):
            yield number, kept[f"film{number}"], bool(kept[f"end{number}"])
