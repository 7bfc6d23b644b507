"""Images in data addresses, read back by PIL."""

import base64
import io

import numpy as np
import pytest
from PIL import Image

from mjx_s2r.report import pictures


def opened(address: str) -> Image.Image:
    """Returns the image behind a data address."""
    head, data = address.split(",", 1)
    assert head in ("data:image/png;base64", "data:image/gif;base64")
    return Image.open(io.BytesIO(base64.b64decode(data)))


@pytest.fixture(scope="module")
def noise() -> np.ndarray:
    """(10, 6, 8, 3) images of random pixels."""
    return np.random.default_rng(0).integers(0, 256, (10, 6, 8, 3), np.uint8)


def test_a_still_keeps_every_pixel(noise: np.ndarray) -> None:
    assert np.array_equal(np.asarray(opened(pictures.still(noise[0]))), noise[0])


def test_an_animation_keeps_pixels_and_speed(noise: np.ndarray) -> None:
    film = opened(pictures.animation(noise, 0.04))
    assert film.n_frames == 10
    for i in range(10):
        film.seek(i)
        assert film.info["duration"] == (40 if i < 9 else 1000)
        # 48 pixels have fewer colours than a GIF's 256: nothing is lost
        assert np.array_equal(np.asarray(film.convert("RGB")), noise[i])


def test_a_long_animation_is_thinned_but_not_faster(noise: np.ndarray) -> None:
    film = opened(pictures.animation(noise, 0.04, most=4))
    assert film.n_frames == 4  # frames 0, 3, 6, 9
    assert film.info["duration"] == 120


def test_a_mosaic_places_tiles_row_by_row(noise: np.ndarray) -> None:
    sheet = np.asarray(opened(pictures.mosaic(noise[:5], 3)))
    assert sheet.shape == (6 + pictures.GAP + 6, 3 * 8 + 2 * pictures.GAP, 4)
    y, x = 6 + pictures.GAP, 8 + pictures.GAP
    assert np.array_equal(sheet[y : y + 6, x : x + 8, :3], noise[4])
    assert (sheet[y:, x + 8 :, 3] == 0).all()


def test_spread_has_both_ends() -> None:
    assert pictures.spread(11, 3).tolist() == [0, 5, 10]
    assert pictures.spread(2, 6).tolist() == [0, 1]
    assert pictures.spread(1, 6).tolist() == [0]


@pytest.mark.parametrize(
    "wrong", [np.zeros((4, 4, 3)), np.zeros((4, 4), np.uint8), np.zeros((0, 4, 3), np.uint8)]
)
def test_other_arrays_are_refused(wrong: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"must be uint8 of shape \(H, W, 3\)"):
        pictures.still(wrong)
