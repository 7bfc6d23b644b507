"""Pictures and films of runs for a page: embedded while there is room, else named with their place.

A picture that is not embedded is still shown where the page lies beside the runs. Films and mosaics
that a pipeline keeps as arrays become small WebP files; without room they are only named.
"""

import zipfile
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from mjx_s2r.report.browser.folders import RunFolder, UnusableFile
from mjx_s2r.report.media import FILMS, data_url, mosaic, read_films, webp_url

KINDS = {
    ".svg": "svg+xml",
    ".png": "png",
    ".webp": "webp",
    ".gif": "gif",
    ".jpg": "jpeg",
    ".jpeg": "jpeg",
}
MOSAIC = "mosaic.npz"
FRAME_S = 0.04
MOST_FRAMES, MOST_FILMS, MOST_TILES = 40, 4, 16
MOST_PICTURES = 24  # of one run


class ByteBudget:
    """Bytes that may still be taken, of a page or in reading for it."""

    def __init__(self, megabytes: float) -> None:
        """Begins with so many."""
        self.left = round(megabytes * 1e6)

    def take(self, size: int) -> bool:
        """Returns whether there is room for so many bytes, which then are taken."""
        if size > self.left:
            return False
        self.left -= size
        return True


def pictures(
    run: RunFolder,
    room: ByteBudget,
    link: Any,
    problems: list[UnusableFile],
) -> list[dict[str, Any]]:
    """Returns the pictures of a run: "title", "src" (a data URL or a link) or none, and "bytes".

    The smallest come first, so that few large ones do not take all of the room.

    Args:
        run: the run.
        room: bytes that are left on the page.
        link: function from a file to its address relative to the page.
        problems: what could not be read is added here.
    """
    out: list[dict[str, Any]] = []
    found = [file for file in run.files if file.suffix.lower() in KINDS]
    for file in sorted(found, key=lambda f: f.stat().st_size)[:MOST_PICTURES]:
        stat = file.stat()
        title = file.relative_to(run.path).as_posix()
        embedded = room.take(4 * stat.st_size // 3)
        src = _file_url(file, stat.st_mtime_ns) if embedded else link(file)
        out.append({"title": title, "src": src, "bytes": stat.st_size, "embedded": embedded})
    for file in run.files:
        if file.name in (FILMS, MOSAIC):
            out += _from_arrays(file, file.relative_to(run.path).as_posix(), room, problems)
    return out


def _from_arrays(
    file: Path, name: str, room: ByteBudget, problems: list[UnusableFile]
) -> list[dict[str, Any]]:
    """Returns the films or the mosaic in a file of arrays."""
    if room.left < 10_000:
        return [{"title": name, "src": None, "bytes": file.stat().st_size, "embedded": False}]
    try:
        made = _encoded(file, file.stat().st_mtime_ns)
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        problems.append(UnusableFile(str(file), f"holds no pictures ({error})"))
        return []
    out = []
    for title, url in made:
        embedded = room.take(len(url))
        src = url if embedded else None
        pixels = {"pixels": True, "embedded": embedded}
        out.append({"title": f"{name}: {title}", "src": src, "bytes": len(url), **pixels})
    return out


@lru_cache(maxsize=256)
def _file_url(file: Path, changed_ns: int) -> str:
    """Returns the data URL of a picture's file, once for each time it changes."""
    return data_url(KINDS[file.suffix.lower()], file.read_bytes())


@lru_cache(maxsize=256)
def _encoded(file: Path, changed_ns: int) -> tuple[tuple[str, str], ...]:
    """Returns (title, data URL) of the films or the mosaic in a file of arrays."""
    if file.name == FILMS:
        return tuple(
            (
                f"episode {number + 1}, {'reached' if success else 'failed'}",
                webp_url(frames, FRAME_S, most=MOST_FRAMES, quality=80),
            )
            for number, frames, success in islice(read_films(file), MOST_FILMS)
        )
    with np.load(file) as kept:
        tiles = kept["images"][:MOST_TILES]
    return (("what the student sees", webp_url(mosaic(tiles)[None], 1.0, quality=80)),)
