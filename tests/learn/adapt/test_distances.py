"""Distances of clouds: double loops, closed forms, linear programs and scaling iterations."""

import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment

from mjx_s2r.learn.adapt import distances

MMD, CORAL = jax.jit(distances.mmd), jax.jit(distances.coral)
TRANSPORT = jax.jit(distances.transport, static_argnums=(1, 2))
PLAN = jax.jit(distances.transport_plan, static_argnums=(1, 2))


def two_clouds(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Returns 7 and 5 samples of 3 features."""
    rng = np.random.default_rng(seed)
    return rng.normal(size=(7, 3)), rng.normal(size=(5, 3)) * 2 + 0.5


def test_discrepancy_is_the_double_loop() -> None:
    a, b = two_clouds()
    every = [*a, *b]
    pairs = [
        ((x - y) ** 2).sum() for i, x in enumerate(every) for j, y in enumerate(every) if i != j
    ]
    widths = np.array([0.25, 0.5, 1, 2, 4]) * np.mean(pairs)

    def kernel(xs: np.ndarray, ys: np.ndarray) -> float:
        """Returns the mean kernel over all pairs and widths."""
        return float(np.mean([np.exp(-((x - y) ** 2).sum() / widths) for x in xs for y in ys]))

    expected = kernel(a, a) + kernel(b, b) - 2 * kernel(a, b)
    assert float(MMD(jnp.asarray(a), jnp.asarray(b))) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("distance", [MMD, CORAL])
def test_equal_clouds_are_no_distance_apart(distance: callable) -> None:
    a = jnp.asarray(two_clouds()[0])
    value, gradient = jax.jit(jax.value_and_grad(distance))(a, a[::-1])
    assert value == pytest.approx(0.0, abs=1e-6)
    assert np.all(np.isfinite(gradient))


def test_moments_are_those_of_numpy() -> None:
    a, b = two_clouds()
    spread = np.cov(a.T) - np.cov(b.T)
    expected = ((a.mean(0) - b.mean(0)) ** 2).sum() / 3 + (spread**2).sum() / (4 * 9)
    assert float(CORAL(jnp.asarray(a), jnp.asarray(b))) == pytest.approx(expected, rel=1e-5)


def test_balanced_transport_is_the_best_assignment() -> None:
    """Eight uniform samples each: an optimal plan is a permutation, found exactly by scipy."""
    rng = np.random.default_rng(3)
    cost = rng.uniform(size=(8, 8))
    rows, columns = linear_sum_assignment(cost)
    moved, mass = TRANSPORT(jnp.asarray(cost), 0.003, float("inf"))
    assert float(moved) == pytest.approx(cost[rows, columns].mean(), rel=0.02)
    assert float(mass) == pytest.approx(1.0, abs=1e-3)


@pytest.mark.parametrize("relaxation", [0.1, 1.0])
def test_unbalanced_transport_is_that_of_scaling_iterations(relaxation: float) -> None:
    """Chizat et al. 2018, algorithm 1: u = (a / K v)^s, v = (b / K^T u)^s, s = r / (r + blur)."""
    rng = np.random.default_rng(4)
    cost, blur = rng.uniform(0, 2, size=(6, 9)), 0.2
    a, b = np.full(6, 1 / 6), np.full(9, 1 / 9)
    kernel = a[:, None] * b[None] * np.exp(-cost / blur)
    u, v, share = np.ones(6), np.ones(9), relaxation / (relaxation + blur)
    for _ in range(2000):
        u = (a / (kernel @ v)) ** share
        v = (b / (kernel.T @ u)) ** share
    expected = u[:, None] * kernel * v[None]
    plan = PLAN(jnp.asarray(cost, jnp.float32), blur, relaxation)
    np.testing.assert_allclose(plan, expected, atol=2e-5)
    moved, mass = TRANSPORT(jnp.asarray(cost, jnp.float32), blur, relaxation)
    assert float(moved) == pytest.approx((expected * cost).sum(), rel=1e-2)
    assert float(mass) == pytest.approx(expected.sum(), rel=1e-3)


def test_samples_without_a_counterpart_stay_at_home() -> None:
    """Half of the first cloud lies far away: balanced transport drags it, relaxed does not."""
    near, far = np.zeros((4, 1)), np.full((4, 1), 10.0)
    source, target = jnp.asarray(np.concatenate((near, far))), jnp.asarray(near)
    cost = distances.squared_distances(source, target)
    plan = PLAN(cost, 0.1, 1.0)
    assert float(plan[4:].sum()) < 1e-3
    assert float(plan[:4].sum()) > 0.4
    assert float(TRANSPORT(cost, 0.1, float("inf"))[0]) == pytest.approx(50.0, rel=0.01)


def test_the_gradient_of_transport_is_its_plan() -> None:
    cost = jnp.asarray(np.random.default_rng(5).uniform(size=(4, 5)), jnp.float32)
    gradient = jax.grad(lambda c: TRANSPORT(c, 0.1, 1.0)[0])(cost)
    np.testing.assert_allclose(gradient, PLAN(cost, 0.1, 1.0), rtol=1e-5)


def test_the_joint_cost_counts_actions_beside_features() -> None:
    rng = np.random.default_rng(6)
    f, g, a, b = (rng.normal(size=s) for s in ((3, 4), (2, 4), (3, 2), (2, 2)))
    cost = distances.joint_cost((f, a), (g, b), 0.5)
    expected = [
        [((x - y) ** 2).mean() + 0.5 * ((p - q) ** 2).mean() for y, q in zip(g, b, strict=True)]
        for x, p in zip(f, a, strict=True)
    ]
    np.testing.assert_allclose(cost, expected, rtol=1e-5)
    alone = distances.joint_cost((f, a), (g, b), 0.0)
    np.testing.assert_allclose(alone, ((f[:, None] - g[None]) ** 2).mean(-1), rtol=1e-5)


def test_a_missing_library_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ott.geometry", None)
    with pytest.raises(ImportError, match=r"mjx_s2r\[alignment\]"):
        distances.require_ott()
