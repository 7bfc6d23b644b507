"""Each photometric step against its closed form."""

import colorsys
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mjx_s2r.render.looks.appearance import NEUTRAL
from mjx_s2r.render.sensor import photometry
from tests.render.appearances import only

RGB = (jnp.array([0.2, 0.0]), jnp.array([0.4, 1.0]), jnp.array([0.6, 0.3]))
SEED = jnp.array([12345, 678], jnp.uint32)
MATRIX = [[0.9, 0.1, 0.0], [0.2, 0.5, 0.1], [0.0, -0.5, 1.2]]
# A value beside the neutral one, of every field that photometry reads.
MOVED = {
    "exposure": -0.5,
    "vignette": 0.5,
    "white_balance": [1.1, 1.0, 0.8],
    "colour_matrix": MATRIX,
    "hue": 0.5,
    "brightness": 1.2,
    "contrast": 0.8,
    "saturation": 0.5,
    "gamma": 1.3,
    "shot_noise": 0.01,
    "noise_std": 0.05,
    "bits": 4.0,
}


def develop(look: Any, planes: Any, seed: Any = None) -> np.ndarray:
    """Returns the finished picture (P, 3) of planes that are 6 px high."""
    digits = photometry.digitise(look, photometry.expose_planes(look, planes, 6), seed)
    return np.stack(digits, axis=-1)


def planes_of(count: int) -> tuple[jax.Array, ...]:
    """Returns random planes (P,)."""
    return tuple(jax.random.uniform(jax.random.key(i), (count,)) for i in range(3))


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        ("exposure", 0.5, np.array([0.2, 0.4, 0.6]) * np.sqrt(2)),
        ("vignette", 0.5, [0.2, 0.4, 0.6]),  # two pixels on a line: see below
        ("white_balance", [2.0, 0.5, 1.5], [0.4, 0.2, 0.9]),
        ("colour_matrix", MATRIX, [0.22, 0.3, 0.52]),
        ("brightness", 1.5, [0.3, 0.6, 0.9]),
        ("contrast", 0.5, [0.35, 0.45, 0.55]),
        ("hue", 2 * np.pi / 3, [0.6, 0.2, 0.4]),  # red goes to green, green to blue
        ("saturation", 0.0, [0.363, 0.363, 0.363]),
        ("gamma", 2.0, [0.04, 0.16, 0.36]),
        ("noise_std", 0.1, [0.2, 0.4, 0.6]),
    ],
)
def test_each_step_is_its_closed_form(field: str, value: Any, expected: list[float]) -> None:
    out = [float(c[0]) for c in photometry.expose_planes(only(**{field: value}), RGB, 1)]
    if field == "vignette":  # half a pixel from the middle of 1 by 2: r^2 = 0.25 / (1.25)
        expected = [x * (1 - 0.5 * 0.2) for x in expected]
    np.testing.assert_allclose(out, expected, atol=1e-5)


def test_steps_follow_one_another_as_documented() -> None:
    """All steps of `expose` at once, written out in numpy."""
    look = only(**MOVED)
    rgb = np.array(planes_of(42), float)
    y, x = (a.ravel() for a in np.mgrid[:6, :7])
    out = rgb * (1 - 0.5 * ((x - 3) ** 2 + (y - 2.5) ** 2) / (3.5**2 + 3**2))
    out = np.array(MATRIX) @ (out * 2**-0.5 * [[1.1], [1.0], [0.8]])
    out = 0.5 + 0.8 * (out * 1.2 - 0.5)
    grey = out.mean(axis=0)  # a turn about the grey axis: grey + R (c - grey)
    axis = np.ones(3) / np.sqrt(3)
    cross = np.stack([np.cross(axis, c) for c in out.T], axis=1)
    out = grey + np.cos(0.5) * (out - grey) + np.sin(0.5) * cross
    luma = np.array([0.299, 0.587, 0.114]) @ out
    out = np.clip(luma + 0.5 * (out - luma), 0, 1) ** 1.3
    np.testing.assert_allclose(photometry.expose_planes(look, planes_of(42), 6), out, atol=2e-5)


def test_neutral_values_change_no_byte_and_others_do() -> None:
    planes = planes_of(6 * 40)
    before = develop(only(), planes, SEED)
    assert MOVED.keys() <= NEUTRAL.keys()
    for name, value in MOVED.items():
        shape = np.shape(value)
        same = only(**{name: np.broadcast_to(NEUTRAL[name], shape)})
        np.testing.assert_array_equal(develop(same, planes, SEED), before, err_msg=name)
        moved = develop(only(**{name: value}), planes, SEED)
        assert np.mean(moved != before) > 0.2, name


def test_without_fields_nothing_is_computed() -> None:
    """A look of None fields compiles to limits and rounding only."""
    text = str(jax.make_jaxpr(lambda p: photometry.expose_planes(only(), p, 6))(planes_of(6)))
    assert text.count("clamp") + text.count("clip") >= 3
    assert not any(f" {op} " in text for op in ("mul", "add", "sub", "exp", "exp2", "iota"))


def test_exposure_stays_in_range_and_has_a_gradient_at_black() -> None:
    look = only(brightness=5.0, gamma=0.8)
    out = np.stack(photometry.expose_planes(look, RGB, 1))
    assert out.min() >= 0
    assert out.max() <= 1

    def total(gamma: jax.Array) -> jax.Array:
        """Returns the sum of a picture."""
        return jnp.stack(photometry.expose_planes(replace(look, gamma=gamma), RGB, 1)).sum()

    assert np.isfinite(jax.grad(total)(jnp.float32(0.8)))


def test_every_exposure_step_has_the_slope_of_finite_differences() -> None:
    names = [n for n in MOVED if n not in ("shot_noise", "noise_std", "bits", "contrast")]
    planes = tuple(0.3 + 0.3 * c for c in planes_of(42))  # away from the limits of [0, 1]

    def total(values: dict[str, jax.Array]) -> jax.Array:
        """Returns a weighted sum of the picture."""
        out = jnp.stack(photometry.expose_planes(replace(only(), **values), planes, 6))
        return (out * jnp.array([[1.0], [2.0], [3.0]])).sum()

    start = {n: jnp.float32(np.broadcast_to(NEUTRAL[n], np.shape(MOVED[n]))) for n in names}
    slopes = jax.jit(jax.grad(total))(start)
    evaluate = jax.jit(total)
    for n in names:
        ends = [evaluate({**start, n: start[n] + step}) for step in (0.01, -0.01)]
        assert float(ends[0] - ends[1]) / 0.02 == pytest.approx(float(slopes[n].sum()), rel=0.01), n


@pytest.mark.parametrize("angle", [0.4, -1.0, 3.0])
def test_hue_keeps_grey_and_the_sum_of_the_channels_and_is_a_rotation(angle: float) -> None:
    matrix = np.asarray(photometry.hue_matrix(jnp.float32(angle)))
    np.testing.assert_allclose(matrix @ matrix.T, np.eye(3), atol=1e-6)
    np.testing.assert_allclose(matrix @ np.ones(3), 1.0, atol=1e-6)
    assert np.trace(matrix) == pytest.approx(1 + 2 * np.cos(angle), abs=1e-6)
    # The angle is that of the colour wheel, to the few degrees by which its hexagon is no circle.
    hue = colorsys.rgb_to_hsv(*(matrix @ (0.6, 0.4, 0.4)))[0] * 2 * np.pi
    assert abs((hue - angle + np.pi) % (2 * np.pi) - np.pi) < 0.03


def test_vignette_darkens_by_the_square_of_the_distance() -> None:
    out = photometry.expose_planes(only(vignette=0.4), (jnp.ones(50 * 50),) * 3, 50)
    grid = np.asarray(out[1]).reshape(50, 50)
    assert grid[24, 24] == pytest.approx(1.0, abs=1e-3)
    assert grid[0, 0] == pytest.approx(1 - 0.4, abs=0.02)  # the corner pixel is a little inside
    assert grid[24, 0] == pytest.approx(1 - 0.2, abs=0.01)
    np.testing.assert_allclose(grid, grid[::-1, ::-1], atol=1e-6)


def test_digitise_rounds_to_the_nearest_byte() -> None:
    out = photometry.digitise(only(), RGB, None)
    assert all(c.dtype == jnp.uint8 for c in out)
    assert [int(c[0]) for c in out] == [51, 102, 153]
    assert [int(c[1]) for c in out] == [0, 255, 77]


@pytest.mark.parametrize("bits", [1, 3, 8])
def test_bits_give_as_many_levels_evenly(bits: int) -> None:
    ramp = jnp.linspace(0, 1, 5000)
    out = np.asarray(photometry.digitise(only(bits=bits), (ramp,) * 3, None)[0])
    levels = 2**bits - 1
    expected = np.floor(np.round(np.asarray(ramp, float) * levels) / levels * 255 + 0.5)
    assert len(np.unique(out)) == 2**bits
    assert np.mean(out != expected) < 0.002  # halves may round to either side


def test_noise_needs_a_seed_and_differs_by_seed_and_channel() -> None:
    look = only(noise_std=0.1)
    grey = (jnp.full(500, 0.5),) * 3
    quiet = photometry.digitise(look, grey, None)
    noisy, again = (photometry.digitise(look, grey, SEED) for _ in range(2))
    other = photometry.digitise(look, grey, SEED + 1)
    assert np.all(quiet[0] == 128)
    assert np.array_equal(noisy[0], again[0])
    assert np.mean(np.asarray(noisy[0]) != np.asarray(noisy[1])) > 0.9
    assert np.mean(np.asarray(noisy[0]) != np.asarray(other[0])) > 0.9


@pytest.mark.parametrize("fields", [{"shot_noise": 0.004, "noise_std": 0.03}, {"shot_noise": 0.01}])
def test_variance_is_a_line_over_brightness(fields: dict[str, float]) -> None:
    look = only(**fields)
    for level in (0.2, 0.5, 0.8):
        grey = (jnp.full(20000, level),) * 3
        out = np.stack(photometry.digitise(look, grey, SEED)).astype(float) / 255
        expected = fields["shot_noise"] * level + fields.get("noise_std", 0.0) ** 2
        assert out.mean() == pytest.approx(level, abs=2e-3)
        # Rounding to bytes adds a variance of 1 / 12 of a byte.
        assert out.var() == pytest.approx(expected + 1 / 12 / 255**2, rel=0.03)


def test_noise_is_standard_white_and_nearly_normal() -> None:
    count = 64 * 64
    draws = np.stack(
        [photometry.pixel_noise(SEED * (i + 1), count, c) for i in range(20) for c in range(3)]
    )
    assert abs(draws.mean()) < 0.01
    assert draws.std() == pytest.approx(1.0, abs=0.01)
    assert np.mean(np.abs(draws) < 1) == pytest.approx(0.683, abs=0.02)
    assert np.abs(draws).max() < 3.5
    for lag in (1, 64):  # neighbours along a row and a column
        pairs = np.mean(draws[:, lag:] * draws[:, :-lag])
        assert abs(pairs) < 0.01
    assert abs(np.corrcoef(draws).T[~np.eye(60, dtype=bool)]).max() < 0.1


def test_packing_loses_less_than_half_a_thousandth() -> None:
    planes = planes_of(100)
    for back, plane in zip(
        photometry.unpack_planes(photometry.pack_planes(planes)), planes, strict=True
    ):
        np.testing.assert_allclose(back, plane, atol=5e-4)
