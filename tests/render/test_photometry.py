"""Each photometric step against its closed form."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mjx_s2r.render import photometry
from mjx_s2r.render.appearance import Appearance
from tests.render.scenes import EVERYTHING, load, look_of, single

RGB = (jnp.array([0.2, 0.0]), jnp.array([0.4, 1.0]), jnp.array([0.6, 0.3]))
SEED = jnp.array([12345, 678], jnp.uint32)


@pytest.fixture(scope="module")
def plain() -> Appearance:
    """A look without photometry."""
    return single(look_of(load(EVERYTHING)[0]))


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        ("brightness", 1.5, [0.3, 0.6, 0.9]),
        ("contrast", 0.5, [0.35, 0.45, 0.55]),
        ("saturation", 0.0, [0.363, 0.363, 0.363]),
        ("gamma", 2.0, [0.04, 0.16, 0.36]),
        ("noise_std", 0.1, [0.2, 0.4, 0.6]),
    ],
)
def test_each_step_is_its_closed_form(
    plain: Appearance, field: str, value: float, expected: list[float]
) -> None:
    look = plain.replace(**{field: jnp.float32(value)})
    out = [float(c[0]) for c in photometry.expose(look, RGB)]
    np.testing.assert_allclose(out, expected, atol=1e-5)


def test_exposure_stays_in_range_and_has_a_gradient_at_black(plain: Appearance) -> None:
    look = plain.replace(brightness=jnp.float32(5.0), gamma=jnp.float32(0.8))
    out = np.stack(photometry.expose(look, RGB))
    assert out.min() >= 0
    assert out.max() <= 1
    slope = jax.grad(lambda g: sum(c.sum() for c in photometry.expose(look.replace(gamma=g), RGB)))(
        jnp.float32(0.8)
    )
    assert np.isfinite(slope)


def test_digitise_rounds_to_the_nearest_byte(plain: Appearance) -> None:
    out = photometry.digitise(plain, RGB, None)
    assert all(c.dtype == jnp.uint8 for c in out)
    assert [int(c[0]) for c in out] == [51, 102, 153]
    assert [int(c[1]) for c in out] == [0, 255, 77]


def test_noise_needs_a_seed_and_differs_by_seed_and_channel(plain: Appearance) -> None:
    look = plain.replace(noise_std=jnp.float32(0.1))
    grey = (jnp.full(500, 0.5),) * 3
    quiet = photometry.digitise(look, grey, None)
    noisy, again = (photometry.digitise(look, grey, SEED) for _ in range(2))
    other = photometry.digitise(look, grey, SEED + 1)
    assert np.all(quiet[0] == 128)
    assert np.array_equal(noisy[0], again[0])
    assert np.mean(np.asarray(noisy[0]) != np.asarray(noisy[1])) > 0.9
    assert np.mean(np.asarray(noisy[0]) != np.asarray(other[0])) > 0.9


def test_noise_is_standard_white_and_nearly_normal() -> None:
    count = 64 * 64
    draws = np.stack(
        [photometry.noise(SEED * (i + 1), count, c) for i in range(20) for c in range(3)]
    )
    assert abs(draws.mean()) < 0.01
    assert draws.std() == pytest.approx(1.0, abs=0.01)
    assert np.mean(np.abs(draws) < 1) == pytest.approx(0.683, abs=0.02)
    assert np.abs(draws).max() < 3.5
    for lag in (1, 64):  # neighbours along a row and a column
        pairs = np.mean(draws[:, lag:] * draws[:, :-lag])
        assert abs(pairs) < 0.01
    assert abs(np.corrcoef(draws).T[~np.eye(60, dtype=bool)]).max() < 0.1


def test_blur_of_a_point_is_a_gaussian(plain: Appearance) -> None:
    look = plain.replace(blur_px=jnp.float32(0.8))
    point = jnp.zeros((9, 11)).at[4, 5].set(1.0)
    planes = (point.ravel(),) * 3
    for axis in (0, 1):
        planes = photometry.blur(look, planes, 9, axis)
    out = np.asarray(planes[0]).reshape(9, 11)
    rows = np.arange(9) - 4
    assert out.sum() == pytest.approx(1.0, abs=1e-5)
    assert (out.sum(axis=1) * rows**2).sum() == pytest.approx(0.64, abs=0.03)
    np.testing.assert_allclose(out[4, 5 - 2 : 5 + 3], out[2:7, 5], atol=1e-6)


def test_blur_of_zero_changes_nothing(plain: Appearance) -> None:
    look = plain.replace(blur_px=jnp.float32(0.0))
    plane = jnp.linspace(0, 1, 20)
    out = photometry.blur(look, (plane,) * 3, 4, 1)
    np.testing.assert_allclose(out[0], plane, atol=1e-6)


def test_packing_loses_less_than_half_a_thousandth() -> None:
    planes = tuple(jax.random.uniform(jax.random.key(i), (100,)) for i in range(3))
    for back, plane in zip(photometry.unpack(photometry.pack(planes)), planes, strict=True):
        np.testing.assert_allclose(back, plane, atol=5e-4)
