"""Other things behind or over real pictures: green screens, backgrounds, overlays.

The matte of a green screen is the colour difference of Vlahos (US patent 4100569): the more a
pixel's green exceeds its red and blue, the more of the screen it shows. What is left of the
screen's light on the thing itself (spill) is taken out by limiting green to the larger of the two.

Pictures are (..., H, W, 3) uint8, mattes (..., H, W) float32 with 1 for the thing in front.
"""

import re
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from mjx_s2r.transfer.demonstrations.dataset import Demonstrations
from mjx_s2r.transfer.recording import RecordingError

SCREEN_FROM, SCREEN_FULL = 0.08, 0.3  # green beyond red and blue, of full scale
LEAST_SCREEN = 0.02  # share of the pixels; with less there is no screen


def green_screen_matte(
    pictures: np.ndarray, start: float = SCREEN_FROM, full: float = SCREEN_FULL
) -> np.ndarray:
    """Returns (..., H, W) how much of each pixel is in front of a green screen, 0 to 1.

    Args:
        pictures: (..., H, W, 3) uint8.
        start: green beyond the larger of red and blue from which a pixel shows screen, of 1.
        full: from which it shows screen alone.
    """
    values = pictures.astype(np.float32) / 255
    excess = values[..., 1] - np.maximum(values[..., 0], values[..., 2])
    return np.asarray(1 - np.clip((excess - start) / (full - start), 0, 1), np.float32)


def without_spill(pictures: np.ndarray) -> np.ndarray:
    """Returns pictures whose green is nowhere above the larger of red and blue."""
    out = pictures.copy()
    out[..., 1] = np.minimum(out[..., 1], np.maximum(out[..., 0], out[..., 2]))
    return out


def put_over(front: np.ndarray, matte: np.ndarray, back: np.ndarray) -> np.ndarray:
    """Returns front * matte + back * (1 - matte), rounded to uint8 (Porter and Duff 1984, "over").

    Args:
        front: (..., H, W, 3) uint8.
        matte: (..., H, W) in [0, 1].
        back: (..., H, W, 3) uint8.
    """
    share = matte[..., None].astype(np.float32)
    mixed = front.astype(np.float32) * share + back.astype(np.float32) * (1 - share)
    return np.rint(mixed).astype(np.uint8)


def replace_background(pictures: np.ndarray, backgrounds: np.ndarray) -> np.ndarray:
    """Returns pictures with other things where a green screen was, without its light on the rest.

    Args:
        pictures: (N, H, W, 3) uint8.
        backgrounds: (N, H, W, 3) uint8.
    """
    matte = green_screen_matte(pictures)
    return put_over(without_spill(pictures), matte, backgrounds)


def shine_through(
    pictures: np.ndarray,
    pool: np.ndarray,
    probability: float,
    strength: float,
    *,
    rng: np.random.Generator,
) -> np.ndarray:
    """Returns pictures, some of which another one shines through (Hansen and Wang 2021, SODA).

    Args:
        pictures: (N, H, W, 3) uint8.
        pool: (K, H, W, 3) uint8 what may shine through.
        probability: that it does.
        strength: largest share of the other picture; it is drawn evenly from 0 on.
        rng: random numbers; their count depends on N alone.
    """
    count = len(pictures)
    share = rng.uniform(0, strength, count) * (rng.uniform(size=count) < probability)
    other = pool[rng.integers(len(pool), size=count)]
    keep = np.broadcast_to(1 - share[:, None, None], pictures.shape[:-1])
    return put_over(pictures, keep, other)


def check_green_screen(demonstrations: Demonstrations, camera: int) -> None:
    """Raises RecordingError where the pictures of a camera show no green screen.

    Args:
        demonstrations: the set.
        camera: its number.
    """
    rows = np.unique(np.linspace(0, len(demonstrations) - 1, 32).astype(int))
    share = float(1 - green_screen_matte(demonstrations.images[camera][rows]).mean())
    if share < LEAST_SCREEN:
        raise RecordingError(
            f"{demonstrations.source}: {100 * share:.1f} % of the pictures of camera "
            f"{demonstrations.cameras[camera].name!r} are a green screen; without one, leave the "
            "replacement of backgrounds off"
        )


def write_backgrounds(demonstrations: Demonstrations, camera: int, folder: Path, count: int) -> int:
    """Writes real frames as image files; returns how many.

    The renderer takes such a folder for its photographs and keeps the robot before them
    (`mjx_s2r.render.looks.assets.RenderConfig`), so whole real frames stand behind simulated
    things.

    Args:
        demonstrations: the set.
        camera: number of an RGB camera.
        folder: that does not exist yet; it is written beside its place and moved there.
        count: evenly over the rows.
    """
    draft = folder.with_name(folder.name + ".unfinished")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(parents=True)
    rows: Sequence[int] = np.unique(
        np.linspace(0, len(demonstrations) - 1, count).astype(int)
    ).tolist()
    for number, row in enumerate(rows):
        Image.fromarray(np.asarray(demonstrations.images[camera][row])).save(
            draft / f"frame_{number:04d}.png"
        )
    draft.replace(folder)
    return len(rows)


def remove_backgrounds(folder: Path) -> None:
    """Removes a folder of `write_backgrounds`; one that holds anything else stays."""
    if folder.is_dir() and all(re.fullmatch(r"frame_\d+\.png", f.name) for f in folder.iterdir()):
        shutil.rmtree(folder)
