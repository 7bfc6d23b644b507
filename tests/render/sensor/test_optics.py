"""Blurs of a point and of a picture, against sums written out in numpy."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mjx_s2r.render.sensor import optics
from tests.render.appearances import only

HEIGHT, WIDTH = 13, 15
POINT = jnp.zeros((HEIGHT, WIDTH)).at[6, 7].set(1.0).ravel()


def through(planes: Any, **effects: Any) -> np.ndarray:
    """Returns the first channel (H, W) of planes after all effects of the lens."""
    look = only(**effects)
    for effect in optics.lens_effects(look):
        planes = effect(look, planes, HEIGHT)
    return np.asarray(planes[0]).reshape(HEIGHT, WIDTH)


def test_nothing_is_done_without_fields() -> None:
    assert optics.lens_effects(only()) == ()
    assert not optics.spreads(only())
    assert optics.spreads(only(motion_px=[0, 0]))
    assert len(optics.lens_effects(only(motion_px=[0, 0], blur_px=0.0))) == 3


def test_blur_of_a_point_is_a_gaussian() -> None:
    out = through((POINT,) * 3, blur_px=0.8)
    rows = np.arange(HEIGHT) - 6
    assert out.sum() == pytest.approx(1.0, abs=1e-5)
    assert (out.sum(axis=1) * rows**2).sum() == pytest.approx(0.64, abs=0.03)
    np.testing.assert_allclose(out[6, 7 - 2 : 7 + 3], out[4:9, 7], atol=1e-6)


@pytest.mark.parametrize("effect", [{"blur_px": 0.0}, {"motion_px": [0.0, 0.0]}])
def test_neutral_values_change_nothing(effect: dict[str, Any]) -> None:
    plane = jax.random.uniform(jax.random.key(0), (HEIGHT * WIDTH,))
    out = through((plane,) * 3, **effect).ravel()
    np.testing.assert_allclose(out, plane, atol=1e-6)


@pytest.mark.parametrize("way", [(5.0, 0.0), (0.0, -7.3), (6.0, 3.0), (2.0, -8.0), (0.7, 0.3)])
def test_motion_is_the_mean_over_the_way(way: tuple[float, float]) -> None:
    """Bilinear reading at 2001 places of the way, averaged; the picture is smooth."""
    y, x = np.mgrid[:HEIGHT, :WIDTH].astype(float)
    picture = 0.5 + 0.25 * np.sin(0.9 * x + 0.3) + 0.2 * np.cos(0.7 * y - 0.4 * x)
    total = np.zeros_like(picture)
    for share in np.linspace(-0.5, 0.5, 2001):
        down, right = y + share * way[1], x + share * way[0]
        total += 0.5 + 0.25 * np.sin(0.9 * right + 0.3) + 0.2 * np.cos(0.7 * down - 0.4 * right)
    out = through((jnp.asarray(picture.ravel(), jnp.float32),) * 3, motion_px=way)
    inner = np.s_[5:-5, 5:-5]
    assert np.abs(total / 2001 - picture)[inner].max() > (0.04 if max(map(abs, way)) > 1 else 0)
    np.testing.assert_allclose(out[inner], (total / 2001)[inner], atol=0.03)


@pytest.mark.parametrize("way", [(6.0, 0.0), (0.0, 8.0), (-5.0, -5.0), (4.0, -2.0)])
def test_motion_of_a_point_is_a_line_of_its_length(way: tuple[float, float]) -> None:
    out = through((POINT,) * 3, motion_px=way)
    y, x = np.mgrid[:HEIGHT, :WIDTH] - np.array([6, 7])[:, None, None]
    assert out.sum() == pytest.approx(1.0, abs=1e-5)
    assert abs((out * x).sum()) + abs((out * y).sum()) < 1e-2
    # A line of length l has the variance l^2 / 12, and reading between pixels adds up to 1/6.
    assert (out * x * x).sum() == pytest.approx(way[0] ** 2 / 12, abs=0.25)
    assert (out * y * y).sum() == pytest.approx(way[1] ** 2 / 12, abs=0.25)
    assert (out * x * y).sum() == pytest.approx(way[0] * way[1] / 12, abs=0.25)


def test_longer_ways_are_cut() -> None:
    reach = 2.0 * optics.MOTION_REACH
    long = through((POINT,) * 3, motion_px=(0.0, 40.0))
    np.testing.assert_allclose(long, through((POINT,) * 3, motion_px=(0.0, reach)), atol=1e-6)
    assert np.count_nonzero(long > 1e-3) == 2 * optics.MOTION_REACH + 1


def test_motion_continues_the_picture_at_its_edge() -> None:
    plane = jnp.full(HEIGHT * WIDTH, 0.25)
    np.testing.assert_allclose(through((plane,) * 3, motion_px=(7.0, 3.0)), 0.25, atol=1e-6)


def test_motion_has_a_gradient_by_its_way_and_by_the_picture() -> None:
    plane = jnp.asarray(0.5 + 0.4 * np.sin(np.arange(HEIGHT * WIDTH) / 2.0), jnp.float32)

    def spread(way: jax.Array) -> jax.Array:
        """Returns how much contrast is left."""
        return jnp.var(optics.motion(only(motion_px=way), (plane,) * 3, HEIGHT)[0])

    slope = jax.grad(lambda x: spread(jnp.stack([x, jnp.float32(0.0)])))(jnp.float32(2.5))
    assert slope < -1e-3
    look = only(motion_px=[3.0, 1.0])
    middle = jax.grad(lambda p: optics.motion(look, (p,) * 3, HEIGHT)[0][6 * WIDTH + 7])(plane)
    np.testing.assert_allclose(
        middle[::-1].reshape(HEIGHT, WIDTH), through((POINT,) * 3, motion_px=(3.0, 1.0)), atol=1e-6
    )  # the blur of a point, turned around
