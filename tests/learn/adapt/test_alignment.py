"""Alignment: the schedule, the reversed gradient, what a classifier reads, and that it aligns."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from mjx_s2r.learn.adapt.alignment import (
    AlignmentBatch,
    AlignmentConfig,
    AlignmentParams,
    alignment_loss,
    alignment_strength,
    conditioned,
    init_alignment,
    reverse_gradient,
)
from mjx_s2r.learn.adapt.discernibility import FOLDS, discernibility

INIT = jax.jit(init_alignment, static_argnums=(0, 1, 2))
LOSS = jax.jit(alignment_loss, static_argnums=0)
TOLD_APART = jax.jit(discernibility)

METHODS = [
    AlignmentConfig("dann"),
    AlignmentConfig("cdan"),
    AlignmentConfig("cdan", projection=5),
    AlignmentConfig("moments", moments="both"),
    AlignmentConfig("ot"),
]


def clouds(shift: float, *, size: int = 3, seed: int = 0) -> tuple[AlignmentBatch, AlignmentBatch]:
    """Returns 40 and 50 Gaussian samples, the second shifted along its first feature."""
    rng = np.random.default_rng(seed)
    far = shift * np.eye(size)[0]
    both = [rng.normal(size=(40, size)), rng.normal(size=(50, size)) + far]
    return tuple(
        AlignmentBatch(jnp.asarray(x, jnp.float32), jnp.asarray(np.tanh(x[:, -2:]), jnp.float32))
        for x in both
    )


@pytest.mark.parametrize("progress", [0.0, 0.1, 0.5, 1.0])
def test_the_strength_rises_as_published_to_the_weight(progress: float) -> None:
    config = AlignmentConfig("dann", weight=0.3)
    expected = 0.3 * (2 / (1 + np.exp(-10 * progress)) - 1)
    assert alignment_strength(config, jnp.float32(progress)) == pytest.approx(expected, abs=1e-6)
    at_once = replace(config, ramp=0.0)
    assert alignment_strength(at_once, jnp.float32(progress)) == pytest.approx(0.3)


def test_a_gradient_comes_back_reversed() -> None:
    x = jnp.array([1.0, -2.0, 3.0])
    value, gradient = jax.value_and_grad(
        lambda x, strength: jnp.sum(reverse_gradient(x, strength) ** 2), argnums=(0, 1)
    )(x, jnp.float32(0.25))
    assert value == 14.0  # forward, nothing happens
    np.testing.assert_allclose(gradient[0], -0.25 * 2 * np.asarray(x))
    assert gradient[1] == 0.0


@pytest.mark.slow
@pytest.mark.parametrize("config", METHODS[:3], ids=str)
def test_features_ascend_where_the_classifier_descends(
    config: AlignmentConfig, key: jax.Array
) -> None:
    """Against the gradient of the same cross entropy without a reversal, which is at full weight 1.

    With weight w the features get -w times it, and the classifier the whole of it.
    """
    source, target = clouds(1.0)
    params = INIT(config, 3, 2, key=key)

    def loss(features: jax.Array, params: AlignmentParams, config: AlignmentConfig) -> jax.Array:
        moved = replace(source, features=features)
        return LOSS(config, params, moved, target, jnp.ones(()), key=key)[0]

    grads = {
        w: jax.grad(loss, argnums=(0, 1))(
            source.features, params, replace(config, weight=w, ramp=0.0)
        )
        for w in (0.2, 1.0)
    }
    np.testing.assert_allclose(grads[0.2][0], 0.2 * grads[1.0][0], rtol=1e-4, atol=1e-8)
    for mine, full in zip(*(jax.tree.leaves(grads[w][1]) for w in (0.2, 1.0)), strict=True):
        np.testing.assert_allclose(mine, full, rtol=1e-5)
    step = 1e-2 / float(jnp.linalg.norm(grads[1.0][0]))
    before = loss(source.features, params, config)
    assert loss(source.features - step * grads[1.0][0], params, config) > before
    learned = jax.tree.map(lambda p, g: p - 0.01 * g, params, grads[1.0][1])
    assert loss(source.features, learned, config) < before


def test_a_conditional_classifier_reads_the_outer_product(key: jax.Array) -> None:
    batch = clouds(0.0)[0]
    params = INIT(AlignmentConfig("cdan"), 3, 2, key=key)
    actions = np.concatenate((np.ones((40, 1)), batch.actions), -1)
    expected = np.einsum("nf,nj->nfj", batch.features, actions).reshape(40, 9)
    np.testing.assert_allclose(conditioned(params, batch), expected, rtol=1e-6)


def test_a_random_map_keeps_inner_products(key: jax.Array) -> None:
    """With 20,000 random numbers, to 3 standard errors: variance below 9 |x|^2 |y|^2 / 20,000."""
    batch, size = jax.tree.map(lambda x: x[:6], clouds(0.0)[0]), 20000
    exact = np.asarray(conditioned(INIT(AlignmentConfig("cdan"), 3, 2, key=key), batch))
    maps = [jax.random.normal(k, (3, size)) for k in jax.random.split(key)]
    drawn = np.asarray(conditioned(AlignmentParams({}, *maps), batch))
    norms = (exact**2).sum(-1)
    error = 3 * np.sqrt(9 * norms[:, None] * norms[None] / size)
    assert np.all(np.abs(drawn @ drawn.T - exact @ exact.T) < error)


def test_random_maps_are_not_trained(key: jax.Array) -> None:
    config = AlignmentConfig("cdan", projection=5)
    source, target = clouds(1.0)
    params = INIT(config, 3, 2, key=key)
    assert params.features_map.shape == (3, 5)
    gradient = jax.grad(lambda p: LOSS(config, p, source, target, jnp.ones(()), key=key)[0])(params)
    np.testing.assert_array_equal(gradient.features_map, 0.0)
    np.testing.assert_array_equal(gradient.actions_map, 0.0)


@pytest.mark.slow
@pytest.mark.parametrize("config", METHODS, ids=str)
def test_actions_carry_no_gradient_and_scale_does_not_matter(
    config: AlignmentConfig, key: jax.Array
) -> None:
    source, target = clouds(1.0)
    params = INIT(config, 3, 2, key=key)

    def loss(source: AlignmentBatch, target: AlignmentBatch) -> jax.Array:
        return LOSS(config, params, source, target, jnp.ones(()), key=key)[0]

    value, gradient = jax.value_and_grad(loss)(source, target)
    np.testing.assert_array_equal(gradient.actions, 0.0)
    assert float(jnp.abs(gradient.features).max()) > 0
    larger = [replace(x, features=50.0 * x.features) for x in (source, target)]
    assert loss(*larger) == pytest.approx(float(value), rel=1e-3)


@pytest.mark.parametrize("config", METHODS, ids=str)
def test_two_clouds_become_one(config: AlignmentConfig, key: jax.Array) -> None:
    """A linear map of the target learns from the alignment alone: 3 sigma apart, then almost one.

    Its second feature is twice as wide, too. Adversaries go around the answer, so 0.65 is allowed.
    """
    rng = np.random.default_rng(1)
    a = jnp.asarray(rng.normal(size=(128, 3)), jnp.float32)
    b = jnp.asarray(rng.normal(size=(128, 3)) * (1, 2, 1) + (3, 0, 0), jnp.float32)
    config = replace(config, weight=1.0, blur=0.2)
    steps, rate = (300, 0.01) if config.method in ("dann", "cdan") else (100, 0.03)
    params = (INIT(config, 3, 2, key=key), jnp.eye(3), jnp.zeros(3))
    optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(rate, b1=0.5))

    def loss(params: tuple, progress: jax.Array) -> tuple:
        held, scale, shift = params
        mapped = b @ scale + shift
        return LOSS(
            config,
            held,
            AlignmentBatch(a, jnp.tanh(a[:, 1:])),
            AlignmentBatch(mapped, jnp.tanh(b[:, 1:] / jnp.array([2.0, 1.0]))),
            progress,
            key=key,
        )

    def step(carry: tuple, progress: jax.Array) -> tuple:
        params, moments = carry
        gradient, metrics = jax.grad(loss, has_aux=True)(params, progress)
        update, moments = optimizer.update(gradient, moments)
        return (optax.apply_updates(params, update), moments), metrics

    start = (params, optimizer.init(params))
    (params, _), metrics = jax.lax.scan(step, start, jnp.linspace(0, 1, steps))
    _, scale, shift = params
    after = b @ scale + shift
    assert float(TOLD_APART(a, b)) > 0.9
    assert float(TOLD_APART(a, after)) < 0.65
    assert np.all(np.abs(np.asarray(after).mean(0)) < 0.5)
    assert metrics.alignment_strength[-1] == pytest.approx(np.tanh(5.0), rel=1e-4)


def test_nothing_is_aligned_by_none(key: jax.Array) -> None:
    config = AlignmentConfig()
    source, target = clouds(30.0)
    params = INIT(config, 3, 2, key=key)
    loss, metrics = LOSS(config, params, source, target, jnp.ones(()), key=key)
    assert (loss, metrics.alignment_strength) == (0.0, 0.0)
    assert metrics.domain_accuracy == 1.0  # the probe is told all the same


@pytest.mark.slow
def test_many_samples_are_drawn_from(key: jax.Array) -> None:
    """Twenty of the same point each: whatever is drawn, the distance is that of the points."""
    config = AlignmentConfig("moments", samples=20, ramp=0.0, weight=1.0)
    points = [jnp.zeros((90, 3)), jnp.ones((70, 3))]
    batches = [AlignmentBatch(x, jnp.zeros((len(x), 1))) for x in points]
    params = INIT(config, 3, 1, key=key)
    metrics = LOSS(config, params, *batches, jnp.ones(()), key=key)[1]
    # 800 of 1560 ordered pairs of 40 samples are apart, by d; widths are fractions of d 800 / 1560.
    widths = np.array([0.25, 0.5, 1.0, 2.0, 4.0]) * 800 / 1560
    assert metrics.alignment_loss == pytest.approx(2 - 2 * np.exp(-1 / widths).mean(), rel=1e-4)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"method": "gan"}, "'gan': one of none, dann"),
        ({"moments": "third"}, "'third': one of mmd"),
        ({"weight": 2.0}, "weight 2.0 must lie in"),
        ({"weight": float("nan")}, "weight nan"),
        ({"ramp": -1.0}, "ramp -1.0"),
        ({"blur": 0.0}, "blur 0.0"),
        ({"samples": 0}, "samples 0"),
    ],
)
def test_settings_that_cannot_work_are_named(change: dict, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        AlignmentConfig(**change)


def test_batches_of_another_network_are_named(key: jax.Array) -> None:
    config = AlignmentConfig("dann")
    source, target = clouds(0.0)
    params = INIT(config, 3, 2, key=key)
    other = replace(target, features=jnp.zeros((50, 4)))
    with pytest.raises(ValueError, match=r"features of the target of shape \(50, 4\)"):
        LOSS(config, params, source, other, jnp.ones(()), key=key)
    with pytest.raises(ValueError, match="'cdan' needs actions"):
        init_alignment(AlignmentConfig("cdan"), 3, 0, key=key)


def test_discernibility_is_that_of_two_gaussians() -> None:
    """Shifted by d standard deviations, the best line is right with probability Phi(d / 2)."""
    rng = np.random.default_rng(0)
    noise = rng.normal(size=(2, 2000, 4))
    for shift, expected in ((0.0, 0.5), (2.0, 0.8413), (20.0, 1.0)):
        a, b = (jnp.asarray(x) for x in (noise[0], noise[1] + np.array([shift, 0, 0, 0])))
        assert float(TOLD_APART(a, b)) == pytest.approx(expected, abs=0.02)


def test_discernibility_does_not_fit_noise() -> None:
    """With more features than samples any line fits; held out it is no better than a coin."""
    a, b = np.random.default_rng(1).normal(size=(2, 60, 200))
    assert float(TOLD_APART(jnp.asarray(a), jnp.asarray(b))) == pytest.approx(0.5, abs=0.15)


@pytest.mark.slow
def test_discernibility_weighs_both_clouds_alike() -> None:
    """A tenth of the samples is as much of the answer: one line for all gives a half."""
    rng = np.random.default_rng(2)
    a, b = rng.normal(size=(1000, 2)), rng.normal(size=(100, 2))
    assert float(TOLD_APART(jnp.asarray(a), jnp.asarray(b))) == pytest.approx(0.5, abs=0.1)
    assert float(TOLD_APART(jnp.zeros((9, 2)), jnp.zeros((9, 2)))) == 0.5


def test_too_few_samples_are_named() -> None:
    with pytest.raises(ValueError, match=rf"\(3, 2\).*{FOLDS} samples"):
        discernibility(jnp.zeros((3, 2)), jnp.zeros((9, 2)))
