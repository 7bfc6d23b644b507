"""The depth camera's noise against closed forms, step by step."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mjx_s2r.render.looks.appearance import NEUTRAL
from mjx_s2r.render.sensor import depth_camera
from tests.render.appearances import only

SEED = jnp.array([3, 14], jnp.uint32)
WIDTH = 50
# From 0.5 m to 4 m in 2500 pixels. Where it is near, a row jumps against the next one.
SENSE = jax.jit(partial(depth_camera.sense_depth, width=WIDTH))
SLOPE = np.linspace(0.5, 4.0, 2500, dtype=np.float32)


def read(depth: Any, seed: Any = SEED, **fields: float) -> np.ndarray:
    """Returns what a depth camera with these fields says."""
    return np.asarray(SENSE(only(**fields), jnp.asarray(depth), seed))


def test_without_fields_the_truth_comes_back() -> None:
    np.testing.assert_array_equal(read(SLOPE), SLOPE)


def test_neutral_values_change_nothing_and_others_do() -> None:
    moved = {
        "depth_near": 1.0,
        "depth_far": 2.0,
        "depth_noise": 0.01,
        "depth_step": 0.05,
        "depth_dropout": 0.05,
    }
    assert {name for name in NEUTRAL if name.startswith("depth_")} == moved.keys()
    for name, value in moved.items():
        np.testing.assert_allclose(read(SLOPE, **{name: float(NEUTRAL[name])}), SLOPE, rtol=1e-6)
        assert np.mean(read(SLOPE, **{name: value}) != SLOPE) > 0.03, name


def test_range_is_what_has_an_answer() -> None:
    expected = np.where((SLOPE >= 1.0) & (SLOPE <= 3.0), SLOPE, 0)
    np.testing.assert_array_equal(read(SLOPE, depth_near=1.0, depth_far=3.0), expected)


def test_sky_stays_empty_and_nan_stays_nan() -> None:
    depth = np.full(100, 1.0, np.float32)
    depth[:3] = [0.0, np.nan, 2.0]
    every = {
        "depth_near": 0.1,
        "depth_far": 3.0,
        "depth_noise": 0.01,
        "depth_step": 0.05,
        "depth_dropout": 0.5,
    }
    out = read(depth, **every)
    assert out[0] == 0
    assert np.isnan(out[1])
    assert np.all(np.isfinite(out[2:]))


def test_steps_are_multiples_in_inverse_depth() -> None:
    out = read(SLOPE, depth_step=0.04)
    expected = 1 / (np.round(1 / SLOPE / 0.04) * 0.04)
    assert np.mean(np.abs(out - expected) > 1e-5 * expected) < 0.002  # halves may round either way
    assert np.all(read(np.full(WIDTH, 100.0), depth_step=0.04) == 0)  # less than half a step


@pytest.mark.parametrize("depth", [0.7, 1.5, 3.0])
def test_noise_grows_with_the_square_of_depth(depth: float) -> None:
    out = read(np.full(20000, depth), depth_noise=0.003)
    assert out.std() == pytest.approx(0.003 * depth**2, rel=0.03)
    assert out.mean() == pytest.approx(depth, rel=1e-3)


def test_huge_noise_has_no_answer_rather_than_a_negative_one() -> None:
    out = read(np.full(5000, 50.0), depth_noise=0.05)
    assert out.min() == 0
    assert np.mean(out == 0) == pytest.approx(0.345, abs=0.03)  # P(n < -1 / 2.5), n normal


def test_dropout_is_as_likely_as_asked_and_more_so_at_edges() -> None:
    step = np.ones((200, WIDTH))
    step[:, 25:] = 2.0
    lost = (read(step.ravel(), depth_dropout=0.04) == 0).reshape(200, WIDTH)
    edge = np.zeros(WIDTH, bool)
    edge[24:26] = True
    assert lost[:, ~edge].mean() == pytest.approx(0.04, abs=0.008)
    assert lost[:, edge].mean() == pytest.approx(0.04 * depth_camera.EDGE_FACTOR, abs=0.06)


@pytest.mark.parametrize("axis", [0, 1])
def test_edges_are_both_pixels_of_a_jump_and_no_slope_is_one(axis: int) -> None:
    grid = np.ones((WIDTH, WIDTH)) + 0.01 * np.arange(WIDTH)
    jump = np.moveaxis(grid.copy(), axis, 0)
    jump[30:] *= 1.2
    lost = np.zeros((WIDTH, WIDTH))
    for i in range(20):
        out = read(np.moveaxis(jump, 0, axis).ravel(), seed=SEED + i, depth_dropout=0.1)
        lost += (out == 0).reshape(WIDTH, WIDTH)
    always = np.moveaxis(lost == 20, axis, 0)  # ten times 0.1
    assert np.all(always[29:31])
    assert not np.any(np.delete(always, (29, 30), axis=0))


def test_nothing_random_without_a_seed_and_under_vmap_worlds_differ() -> None:
    fields = {"depth_noise": 0.01, "depth_dropout": 0.1}
    np.testing.assert_array_equal(read(SLOPE, seed=None, **fields), SLOPE)
    seeds = jnp.stack([SEED, SEED + 1])
    looks = jax.tree.map(lambda x: jnp.stack([x, x]), only(**fields))
    depths = jnp.asarray(np.stack([SLOPE, SLOPE]))
    out = jax.vmap(lambda a, d, s: depth_camera.sense_depth(a, d, s, width=WIDTH))(
        looks, depths, seeds
    )
    np.testing.assert_allclose(out[0], read(SLOPE, **fields), rtol=1e-6)
    answered = (np.asarray(out) > 0).all(axis=0)
    assert np.mean(np.asarray(out[0] != out[1])[answered]) > 0.95
