"""Augmentation: every link of the chain against a closed form, and nothing where it is off."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage

from mjx_s2r.learn.networks.augment import (
    AugmentConfig,
    augment,
    colour_jitter,
    cutout,
    random_blur,
    random_convolution,
    random_overlay,
    random_shift,
    shift_places,
    to_float,
)

CLEAN = AugmentConfig()
ON = AugmentConfig(
    jitter_share=1, conv_share=1, overlay_share=1, blur_share=1, cutout_share=1, hue=0.2
)


def test_every_shift_is_a_window_of_the_padded_picture(key: jax.Array) -> None:
    rng, pixels = np.random.default_rng(0), 2
    images = rng.normal(size=(64, 6, 8, 3)).astype(np.float32)
    out = np.asarray(random_shift(jnp.asarray(images), pixels, key=key))
    assert out.shape == images.shape
    found = set()
    for image, shifted in zip(images, out, strict=True):
        padded = np.pad(image, ((pixels, pixels), (pixels, pixels), (0, 0)), mode="edge")
        corners = [
            (i, j)
            for i in range(2 * pixels + 1)
            for j in range(2 * pixels + 1)
            if np.array_equal(padded[i : i + 6, j : j + 8], shifted)
        ]
        assert len(corners) == 1
        found |= set(corners)
    rows, columns = (set(x) for x in zip(*found, strict=True))
    assert rows == columns == set(range(5))  # both ends are reached


def test_a_place_moves_with_its_picture(key: jax.Array) -> None:
    """One bright pixel in each world's picture, found again where its place is said to be."""
    rng, (height, width) = np.random.default_rng(0), (12, 16)
    rows, columns = rng.integers(4, height - 4, 32), rng.integers(4, width - 4, 32)
    images = np.zeros((2, 32, height, width, 3), np.uint8)
    images[:, np.arange(32), rows, columns] = 255
    centre = np.stack([(columns + 0.5) * 2 / width - 1, (rows + 0.5) * 2 / height - 1], -1)
    places = jnp.tile(jnp.asarray(centre, jnp.float32)[None, :, None], (2, 1, 1, 1))
    moved = np.asarray(augment(jnp.asarray(images), CLEAN, 3, key=key))
    found = np.asarray(shift_places(places, 3, (height, width), key=key))
    shown = np.round((found[:, :, 0] + 1) / 2 * (width, height) - 0.5).astype(int)
    steps, worlds = np.indices((2, 32))
    assert (moved[steps, worlds, shown[..., 1], shown[..., 0]] == 255).all()
    assert (np.abs(found - places).max((0, 2, 3)) > 0).mean() > 0.8, "nearly all have moved"


def test_no_shift_is_the_picture_itself(key: jax.Array) -> None:
    images = jnp.arange(12.0).reshape(1, 2, 2, 3)
    assert random_shift(images, 0, key=key) is images


def test_bytes_become_numbers_around_zero() -> None:
    out = to_float(jnp.array([[[[0, 51, 255]]]], jnp.uint8))
    assert out.dtype == jnp.float32
    np.testing.assert_allclose(out, [[[[-0.5, -0.3, 0.5]]]], atol=1e-6)


def pictures(*shape: int, kind: type = np.uint8) -> jax.Array:
    """Returns random pictures of a shape."""
    rng = np.random.default_rng(1)
    return jnp.asarray(rng.integers(0, np.iinfo(kind).max, shape), kind)


def floats(*shape: int) -> np.ndarray:
    """Returns random pictures in [-0.5, 0.5]."""
    return np.random.default_rng(2).uniform(-0.5, 0.5, shape).astype(np.float32)


def test_without_shares_there_is_nothing_to_do(key: jax.Array) -> None:
    """Same array, same type, and no operation in the program."""
    images = pictures(1, 2, 8, 8, 3)
    program = jax.make_jaxpr(lambda x: augment(x, CLEAN, key=key))(images)
    assert program.eqns == [] and program.out_avals[0].dtype == jnp.uint8


@pytest.mark.parametrize(
    "settings",
    [
        *({name: 1.0} for name in ("jitter_share", "conv_share", "blur_share", "cutout_share")),
        {"overlay_share": 1.0},
        {"overlay_share": 1.0, "overlay_with": "worlds"},
    ],
)
def test_every_link_changes_all_steps_and_frames_of_a_world_alike(
    settings: dict, key: jax.Array
) -> None:
    """Two frames alike at two steps alike stay alike; two worlds alike become unlike."""
    one = pictures(1, 1, 8, 8, 3)
    images = jnp.tile(one, (2, 4, 1, 1, 2)).at[:, 3].set(0)
    out = np.asarray(augment(images, AugmentConfig(**settings), 1, key=key))
    assert out.shape == images.shape and out.dtype == np.float32
    np.testing.assert_array_equal(out[0], out[1])
    np.testing.assert_allclose(out[..., :3], out[..., 3:], atol=1e-6)
    assert np.abs(out[0, 0] - out[0, 1]).max() > 1e-3
    assert np.abs(out).max() <= 0.5


def test_a_share_touches_that_share_of_the_worlds(key: jax.Array) -> None:
    images = pictures(1, 400, 4, 4, 3)
    out = augment(images, AugmentConfig(jitter_share=0.3), key=key)
    still = np.isclose(np.asarray(out), to_float(images), atol=1e-6).all((0, 2, 3, 4))
    assert still.mean() == pytest.approx(0.7, abs=0.07)  # 3 deviations of 400


def test_depths_are_shifted_and_cut_alone(key: jax.Array) -> None:
    images = pictures(1, 16, 8, 8, 2, kind=np.uint16)
    out = np.asarray(augment(images, ON, key=key))
    whole = np.asarray(to_float(images))
    cut = out != whole
    assert (out[cut] == 0.5).all() and 0 < cut.mean() < 0.25  # no answer is the farthest depth
    np.testing.assert_array_equal(cut[..., 0], cut[..., 1])


YIQ = np.array([[0.299, 0.587, 0.114], [0.5959, -0.2746, -0.3213], [0.2115, -0.5227, 0.3112]])


def test_colours_of_a_known_change(key: jax.Array, monkeypatch: pytest.MonkeyPatch) -> None:
    """The oracle: the formulas in numpy, with the chroma as a complex number, of given draws."""
    x, draw = floats(3, 2, 4, 5, 3), floats(3, 4) * 2
    monkeypatch.setattr(jax.random, "uniform", lambda *_, **__: jnp.asarray(draw))
    config = AugmentConfig(brightness=0.2, contrast=0.5, saturation=0.4, hue=0.1)
    out = np.asarray(colour_jitter(jnp.asarray(x), config, key=key))
    for own, (b, c, s, h), got in zip(x, draw, out, strict=True):
        bright = (own + 0.5) * (1 + 0.2 * b)
        mean = (bright @ YIQ[0]).mean()
        luma, i, q = np.moveaxis((mean + (1 + 0.5 * c) * (bright - mean)) @ YIQ.T, -1, 0)
        chroma = (1 + 0.4 * s) * (i + 1j * q) * np.exp(2j * np.pi * 0.1 * h)
        expected = np.stack((luma, chroma.real, chroma.imag), -1)
        np.testing.assert_allclose((got + 0.5) @ YIQ.T, expected, atol=1e-4)


def test_a_random_convolution_is_one(key: jax.Array) -> None:
    """The oracle: scipy's correlation with the same weights; strength 0.5 keeps half."""
    x = floats(2, 2, 6, 7, 3)
    config = AugmentConfig(conv_size=3, conv_strength=0.5)
    out = np.asarray(random_convolution(jnp.asarray(x), config, key=key))
    kernel = np.asarray(jax.random.normal(key, (2, 3, 3, 3, 3))) / np.sqrt(27)
    for world in range(2):
        for frame in range(2):
            for colour in range(3):
                parts = [
                    ndimage.correlate(
                        x[world, frame, :, :, c], kernel[world, :, :, c, colour], mode="nearest"
                    )
                    for c in range(3)
                ]
                expected = 0.5 * x[world, frame, :, :, colour] + 0.5 * sum(parts)
                np.testing.assert_allclose(out[world, frame, :, :, colour], expected, atol=1e-5)


def test_a_blur_is_gaussian(key: jax.Array) -> None:
    """The oracle: scipy's filter, cut off where ours is: at twice the largest deviation."""
    x = floats(3, 1, 9, 8, 3)
    out = np.asarray(random_blur(jnp.asarray(x), AugmentConfig(blur_px=1.5), key=key))
    deviation = 1.5 * np.asarray(jax.random.uniform(key, (3, 1), minval=1e-3))[:, 0]
    for own, sigma, got in zip(x, deviation, out, strict=True):
        expected = ndimage.gaussian_filter(
            own[0], (sigma, sigma, 0), mode="nearest", radius=(3, 3, 0)
        )
        np.testing.assert_allclose(got[0], expected, atol=1e-5)


def test_an_overlay_mixes_with_the_neighbour(key: jax.Array) -> None:
    """One weight for each world, between 0 and the strength."""
    x = floats(8, 1, 4, 4, 3)
    config = AugmentConfig(overlay_strength=0.4, overlay_with="worlds")
    out = np.asarray(random_overlay(jnp.asarray(x), config, key=key))
    weight = (out - x) / (np.roll(x, 1, 0) - x)
    np.testing.assert_allclose(weight, weight[:, :1, :1, :1, :1] + np.zeros_like(x), atol=1e-3)
    assert weight.min() >= 0 and 0.2 < weight.max() <= 0.4
    textures = random_overlay(jnp.asarray(x), AugmentConfig(overlay_strength=1.0), key=key)
    assert np.abs(textures).max() <= 0.5


def test_a_cutout_is_a_rectangle_of_one_colour(key: jax.Array) -> None:
    x = floats(32, 1, 20, 10, 3)
    out = np.asarray(cutout(jnp.asarray(x), AugmentConfig(cutout_size=0.5), key=key))
    areas = []
    for own, got in zip(x[:, 0], out[:, 0], strict=True):
        gone = (own != got).any(-1)
        areas.append(gone.mean())
        if not gone.any():
            continue
        rows, columns = (np.flatnonzero(gone.any(i)) for i in (1, 0))
        assert gone[np.ix_(rows, columns)].all()
        assert np.ptp(rows) < 10 and np.ptp(columns) < 5
        assert len(np.unique(got[gone], axis=0)) == 1
    assert np.mean(areas) == pytest.approx(0.0625, abs=0.03)  # a quarter of each side on average


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"blur_share": 1.5}, r"augment.blur_share 1.5 must lie in \[0, 1\]"),
        ({"blur_px": -1.0}, r"augment.blur_px -1.0 must lie in \[0, inf\]"),
        ({"blur_share": 0.1, "blur_px": 0.0}, "augment.blur_px 0.0 must be above 0 where"),
        ({"conv_size": 2}, "augment.conv_size 2 must be odd"),
        ({"overlay_with": "cats"}, "augment.overlay_with 'cats' must be 'noise' or 'worlds'"),
    ],
)
def test_an_augmentation_that_cannot_be_is_named(settings: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        AugmentConfig(**settings)
