"""Pictures as files and data URLs, read back by PIL."""

import base64
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mjx_s2r.report.media import (
    GAP,
    TITLE_HEIGHT,
    evenly_spaced,
    mosaic,
    png_url,
    webp_url,
    write_png,
)


def opened(url: str) -> Image.Image:
    """Returns the image behind a data URL."""
    head, data = url.split(",", 1)
    assert head in ("data:image/png;base64", "data:image/webp;base64")
    return Image.open(io.BytesIO(base64.b64decode(data)))


@pytest.fixture(scope="module")
def noise() -> np.ndarray:
    """(10, 6, 8, 3) images of random pixels."""
    return np.random.default_rng(0).integers(0, 256, (10, 6, 8, 3), np.uint8)


def test_a_png_keeps_every_pixel(noise: np.ndarray) -> None:
    assert np.array_equal(np.asarray(opened(png_url(noise[0]))), noise[0])


def test_an_animation_keeps_pixels_and_speed(noise: np.ndarray) -> None:
    film = opened(webp_url(noise, 0.04))
    assert film.n_frames == 10 and film.info["loop"] == 0
    for i in range(10):
        film.seek(i)
        film.load()
        assert film.info["duration"] == (40 if i < 9 else 1000)
        assert np.array_equal(np.asarray(film.convert("RGB")), noise[i])


def test_a_long_animation_is_thinned_but_not_faster(noise: np.ndarray) -> None:
    film = opened(webp_url(noise, 0.04, most=4))
    assert film.n_frames == 4  # frames 0, 3, 6, 9
    film.load()
    assert film.info["duration"] == 120


def test_a_large_animation_may_be_compressed() -> None:
    frames = np.zeros((3, 8, 8, 3), np.uint8)
    frames[1] = 255
    film = opened(webp_url(frames, 0.05, quality=80))
    assert film.n_frames == 3
    film.seek(1)
    assert np.asarray(film.convert("RGB")).mean() > 240


def test_a_mosaic_places_tiles_row_by_row(noise: np.ndarray) -> None:
    sheet = mosaic(noise[:5], columns=3)
    assert sheet.shape == (6 + GAP + 6, 3 * 8 + 2 * GAP, 4)
    y, x = 6 + GAP, 8 + GAP
    assert np.array_equal(sheet[y : y + 6, x : x + 8, :3], noise[4])
    assert (sheet[y:, x + 8 :, 3] == 0).all(), "nothing is transparent"
    assert mosaic(noise[:9]).shape[0] == 3 * 6 + 2 * GAP, "as many rows as columns"


def test_tiles_stand_below_their_titles() -> None:
    tiles = np.stack([np.full((20, 30, 3), shade, np.uint8) for shade in (10, 20, 30)])
    titles = ("a", "a very long name of a camera", "c")
    sheet = mosaic(tiles, 2, titles)
    step = TITLE_HEIGHT + 20 + GAP
    assert sheet.shape == (2 * step - GAP, 2 * 30 + GAP, 4) and (sheet[..., 3] == 255).all()
    assert (sheet[TITLE_HEIGHT : step - GAP, :30, :3] == 10).all()
    assert (sheet[step + TITLE_HEIGHT :, :30, :3] == 30).all()
    assert sheet[:TITLE_HEIGHT, :30].min() < 100, "a title is written there"
    assert (sheet[step:, 30:] == 255).all(), "no second tile in that row"
    cut = mosaic(tiles[:2], 2, ("a", "a v…"))
    assert (sheet[:TITLE_HEIGHT, 30 + GAP :] == cut[:TITLE_HEIGHT, 30 + GAP :]).all()


def test_every_tile_has_a_title_or_none(noise: np.ndarray) -> None:
    with pytest.raises(ValueError, match="2 titles for 10 tiles"):
        mosaic(noise, titles=("a", "b"))


def test_a_png_file_is_enlarged_by_whole_pixels(noise: np.ndarray, tmp_path: Path) -> None:
    path = tmp_path / "deep" / "worlds.png"
    write_png(path, mosaic(noise), zoom=2)
    with Image.open(path) as image:
        np.testing.assert_array_equal(np.asarray(image)[::2, ::2], mosaic(noise))
    with pytest.raises(ValueError, match="zoom 0"):
        write_png(path, noise[0], zoom=0)


def test_evenly_spaced_has_both_ends() -> None:
    assert evenly_spaced(11, 3).tolist() == [0, 5, 10]
    assert evenly_spaced(2, 6).tolist() == [0, 1]
    assert evenly_spaced(1, 6).tolist() == [0]


@pytest.mark.parametrize(
    "wrong", [np.zeros((4, 4, 3)), np.zeros((4, 4), np.uint8), np.zeros((0, 4, 3), np.uint8)]
)
def test_other_arrays_are_refused(wrong: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"must be uint8 of shape \(H, W, 3\)"):
        png_url(wrong)
    with pytest.raises(ValueError, match="must be uint8"):
        mosaic(wrong)
