"""The green screen against plain numpy, pixel by pixel."""

from types import ModuleType

import jax.numpy as jnp
import numpy as np
import pytest

from mjx_s2r.render.looks import green_screen

RNG = np.random.default_rng(0)
RGB, PHOTO = RNG.integers(0, 256, (2, 3, 12, 10, 3), np.uint8)
IDS = RNG.integers(-1, 6, (3, 12, 10)).astype(np.int32)
BOTH = pytest.mark.parametrize("xp", [np, jnp])


@BOTH
def test_foreground_is_kept_and_the_rest_is_the_photograph(xp: ModuleType) -> None:
    out = green_screen.green_screen(
        xp.asarray(RGB), xp.asarray(IDS), [2, 5], xp.asarray(PHOTO), xp=xp
    )
    assert isinstance(out, np.ndarray) == (xp is np)
    assert out.dtype == np.uint8
    for place in np.ndindex(IDS.shape):
        source = RGB if IDS[place] in (2, 5) else PHOTO
        assert np.array_equal(out[place], source[place])


@BOTH
def test_one_photograph_stands_behind_all(xp: ModuleType) -> None:
    out = green_screen.green_screen(RGB, IDS, [4], PHOTO[:1], xp=xp)
    np.testing.assert_array_equal(np.asarray(out)[2][IDS[2] != 4], PHOTO[0][IDS[2] != 4])


@BOTH
def test_nothing_kept_is_the_photograph(xp: ModuleType) -> None:
    np.testing.assert_array_equal(green_screen.green_screen(RGB, IDS, [], PHOTO, xp=xp), PHOTO)


@BOTH
def test_soft_edges_are_one_pixel_wide_and_inside(xp: ModuleType) -> None:
    ids = np.zeros((1, 9, 9), np.int32)
    ids[:, 2:7, 2:7] = 1
    white, black = np.full((1, 9, 9, 3), 255, np.uint8), np.zeros((1, 9, 9, 3), np.uint8)
    out = np.asarray(green_screen.green_screen(white, ids, [1], black, soft=True, xp=xp))[0, ..., 0]
    expected = np.zeros((9, 9))
    expected[2:7, 2:7] = 0.75
    expected[3:6, 3:6] = 1.0
    expected[[2, 2, 6, 6], [2, 6, 2, 6]] = 0.5625
    np.testing.assert_array_equal(out, np.floor(expected * 255 + 0.5))


def test_soft_edges_do_not_touch_the_border_of_the_picture() -> None:
    keep = np.ones((1, 4, 5), bool)
    np.testing.assert_array_equal(green_screen.softened(keep), 1.0)


@BOTH
def test_overlay_is_the_rounded_mean(xp: ModuleType) -> None:
    out = np.asarray(green_screen.overlay(xp.asarray(RGB), xp.asarray(PHOTO), xp=xp))
    np.testing.assert_array_equal(out, (RGB.astype(int) + PHOTO + 1) // 2)
    np.testing.assert_array_equal(green_screen.overlay(RGB, PHOTO, 0.0, xp=xp), RGB)
    np.testing.assert_array_equal(green_screen.overlay(RGB, PHOTO, 1.0, xp=xp), PHOTO)


def test_planes_are_put_behind() -> None:
    planes, photo = (tuple(a.reshape(-1, 3).T / np.float32(255)) for a in (RGB, PHOTO))
    keep = (IDS == 3).ravel()
    out = np.stack(green_screen.put_behind(planes, jnp.asarray(keep), photo), axis=-1)
    expected = np.where(keep[:, None], RGB.reshape(-1, 3), PHOTO.reshape(-1, 3)) / np.float32(255)
    np.testing.assert_array_equal(out, expected)


def test_shapes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="do not fit"):
        green_screen.green_screen(RGB, IDS[:2], [1], PHOTO)
    with pytest.raises(ValueError, match=r"photographs \(2, 12, 10, 3\)"):
        green_screen.green_screen(RGB, IDS, [1], PHOTO[:2])
    with pytest.raises(ValueError, match=r"share 1\.5"):
        green_screen.overlay(RGB, PHOTO, 1.5)
