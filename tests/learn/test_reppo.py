"""REPPO finds the known answers of the probes; its targets and bins agree with plain arithmetic."""

from dataclasses import replace
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mjx_s2r.curriculum.uniform import uniform
from mjx_s2r.learn import normalizer, shuffle
from mjx_s2r.learn.distribution import Gaussian
from mjx_s2r.learn.evaluation import evaluate
from mjx_s2r.learn.reppo import Reppo, ReppoState
from mjx_s2r.learn.reppo_networks import ReppoNets
from mjx_s2r.learn.reppo_settings import ReppoConfig
from mjx_s2r.learn.reppo_targets import decode, encode, middles, td_lambda
from mjx_s2r.learn.reppo_update import (
    Prices,
    _price_gradient,
    squashed_log_prob,
)
from mjx_s2r.params import Param, ParamSpace
from tests.learn.probes import Cue, Probe, programs
from tests.learn.test_ppo import bits

SPACE = ParamSpace((Param("nothing", "model.body_mass", ("a",)),))
CONFIG = ReppoConfig(
    worlds=32,
    unroll=8,
    minibatches=4,
    epochs=4,
    discount=0.5,
    learning_rate=3e-3,
    first_alpha=1e-3,
    multiplier_rate=0.0,
    reward_low=-1.0,
    reward_high=2.0,
    self_prediction=0.1,
    actor_hidden=(16,),
    critic_hidden=(32,),
    actor_obs="state",
)


class Loop(Probe):
    """A probe that goes round: what is seen at the end of an episode is what its start looks like.

    It never terminates, so the values follow from themselves: V_0 = gamma V_1, V_1 = 1 + gamma V_0.
    """

    def see(self, steps: jax.Array) -> dict[str, jax.Array]:
        """Returns the observations."""
        return super().see(steps % self.length)


PROBES = {
    "cue": Cue(length=1),
    "loop": Loop(2, lambda step, action: jnp.where(step == 1, 1.0, 0.0), terminates=False),
}


@cache
def trained(name: str, iterations: int = 50) -> tuple[Reppo, ReppoState, list[int]]:
    """Returns a learner, its state after ``iterations``, and compilations of its programs."""
    config = CONFIG if name == "cue" else replace(CONFIG, self_prediction=0.0)
    reppo = Reppo(PROBES[name], uniform(SPACE), config)  # type: ignore[arg-type]
    state = reppo.init(jax.random.key(0))
    for _ in range(iterations):
        state, _ = reppo.iterate(state)
    return reppo, state, programs(reppo.iteration)


def judged(reppo: Reppo, state: ReppoState, obs: dict, action: jax.Array) -> tuple[float, float]:
    """Returns the critic's value of an action and the reward that it foresees, if it does."""
    x = normalizer.apply(state.critic_norm, obs["privileged"])[None]
    features, logits = reppo.nets.judge(state.critic, x, action[None])
    said = float(decode(logits, *reppo.config.support)[0])
    if not reppo.config.self_prediction:
        return said, float("nan")
    return said, float(reppo.nets.foresee(state.critic, features)[0, -1])


def value(reppo: Reppo, state: ReppoState, step: int) -> float:
    """Returns the critic's value of being at ``step`` of a probe and doing what is best."""
    obs = reppo.env.see(jnp.int32(step))  # type: ignore[attr-defined]
    return judged(reppo, state, obs, jnp.tanh(reppo.answer(state, obs).mean))[0]


def test_the_actor_does_what_each_observation_asks_for() -> None:
    """Pays 1 - (action - cue / 2)^2: the best actions are 0.5 and -0.5, each worth 1.

    The episode terminates; bootstrapped, it would be worth more.
    """
    reppo, state, _ = trained("cue")
    for cue in (1.0, -1.0):
        sim = reppo.env.reset(jax.random.key(0)).pipeline_state
        obs = reppo.env.see(sim.replace(cue=jnp.float32(cue)))  # type: ignore[attr-defined]
        action = jnp.tanh(reppo.answer(state, obs).mean)
        assert float(action[0]) == pytest.approx(cue / 2, abs=0.12)
        assert judged(reppo, state, obs, action) == pytest.approx((1.0, 1.0), abs=0.12)


def test_exploring_narrows_where_entropy_is_cheap() -> None:
    reppo, state, _ = trained("cue")
    obs = reppo.env.reset(jax.random.key(0)).obs
    assert float(reppo.answer(state, obs).log_std[0]) < -0.5  # from 0, a standard deviation of 1


def test_values_are_discounted_and_a_truncation_is_bootstrapped_from_what_was_seen_last() -> None:
    """V_0 = gamma V_1 and V_1 = 1 + gamma V_0: 2/3 and 4/3; terminations would give 1/2 and 1."""
    reppo, state, _ = trained("loop")
    assert value(reppo, state, 0) == pytest.approx(2 / 3, abs=0.06)
    assert value(reppo, state, 1) == pytest.approx(4 / 3, abs=0.06)


def test_iterate_compiles_once() -> None:
    assert trained("loop")[2] in ([1], [1, 1])


def test_the_same_state_gives_the_same_bits() -> None:
    reppo, _, _ = trained("cue")
    first, second = (reppo.iterate(reppo.init(jax.random.key(7))) for _ in range(2))
    assert bits(first) == bits(second)
    other = reppo.iterate(reppo.init(jax.random.key(8)))
    assert bits(first) != bits(other)


def test_metrics_are_finite_and_count_the_episodes() -> None:
    reppo, _, _ = trained("cue")
    state, metrics = reppo.iterate(reppo.init(jax.random.key(1)))
    assert int(metrics.tally.episodes) == 32 * 8 and int(state.steps) == 1
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(metrics))
    figures = metrics.figures
    assert float(figures.outside) == 0 and 0 <= float(figures.clipped) <= 1
    assert float(figures.alpha) == pytest.approx(1e-3) and 0 < float(figures.kl) < 0.1


def test_it_is_evaluated_as_any_other_learner() -> None:
    """Without exploring, an episode of the cue pays all but 1."""
    reppo, state, _ = trained("cue")
    scores = evaluate(reppo, state, 16, key=jax.random.key(2))  # type: ignore[arg-type]
    assert scores.total.shape == (16,) and float(scores.total.min()) > 0.97


def test_targets_are_those_of_a_plain_loop() -> None:
    rng, steps, worlds = np.random.default_rng(0), 7, 5
    reward, following, bonus = rng.normal(size=(3, steps, worlds))
    terminated = rng.random((steps, worlds)) < 0.2
    done = terminated | (rng.random((steps, worlds)) < 0.2)
    want = np.zeros((steps, worlds))
    for b in range(worlds):
        later = 0.0
        for t in reversed(range(steps)):
            if terminated[t, b]:
                later = reward[t, b]
            elif done[t, b] or t == steps - 1:
                later = reward[t, b] + 0.9 * (following[t, b] + bonus[t, b])
            else:
                mixed = 0.8 * later + (1 - 0.8) * following[t, b]
                later = reward[t, b] + 0.9 * (mixed + bonus[t, b])
            want[t, b] = later
    got = td_lambda(
        *map(jnp.asarray, (reward, following, bonus, terminated, done)), discount=0.9, trace=0.8
    )
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)
    assert done.any() and terminated.any() and (done & ~terminated).any()


def test_bins_hold_a_gaussian() -> None:
    """Far from the ends: mean y, variance (s^2 + 1/12) w^2 of bins of width w (Sheppard 1898)."""
    low, high, bins, spread = -10.0, 20.0, 151, 0.75
    wanted, width = jnp.array((-7.3, 0.0, 0.1, 12.345)), 30.0 / 151
    mass = np.asarray(encode(wanted, low, high, bins, spread), np.float64)
    centre = np.asarray(middles(low, high, bins), np.float64)
    np.testing.assert_allclose(mass.sum(-1), 1, atol=1e-6)
    mean = mass @ centre
    np.testing.assert_allclose(mean, wanted, atol=1e-4)
    variance = (mass * (centre - mean[:, None]) ** 2).sum(-1)
    np.testing.assert_allclose(variance, (spread**2 + 1 / 12) * width**2, rtol=1e-3)
    np.testing.assert_allclose(decode(jnp.log(mass + 1e-30), low, high), wanted, atol=1e-4)


def test_what_lies_beyond_the_bins_is_their_end() -> None:
    beyond = encode(jnp.array((-99.0, 99.0)), -1.0, 1.0, 11, 0.75)
    np.testing.assert_allclose(beyond, encode(jnp.array((-1.0, 1.0)), -1.0, 1.0, 11, 0.75))
    assert beyond.argmax(-1).tolist() == [0, 10]


def test_the_density_of_a_squashed_action_integrates_to_one() -> None:
    """Over actions in (-1, 1), by the trapezoid rule in the raw action: da = (1 - a^2) du."""
    policy = Gaussian(jnp.array((0.3,)), jnp.array((-0.2,)))
    raw = jnp.linspace(-8, 8, 4001)[:, None]
    density = np.exp(np.asarray(squashed_log_prob(policy, raw), np.float64))
    action = np.tanh(np.asarray(raw[:, 0], np.float64))
    assert np.trapezoid(density * (1 - action**2), raw[:, 0]) == pytest.approx(1, abs=1e-3)
    assert np.isfinite(squashed_log_prob(policy, jnp.array((60.0,))))


def test_prices_follow_what_they_pay_for() -> None:
    """Descent: entropy 0.3 above its goal gets cheaper, divergence 0.02 above its bound dearer."""
    nets = ReppoNets(ReppoConfig(entropy_target=-0.5, kl_bound=0.1), actions=2)
    prices = Prices(jnp.log(jnp.float32(0.2)), jnp.log(jnp.float32(3.0)))
    pull = _price_gradient(nets, prices, jnp.float32(0.12), jnp.float32(-1.0 + 0.3))
    assert float(pull.alpha) == pytest.approx(0.2 * 0.3) and float(pull.alpha) > 0
    assert float(pull.beta) == pytest.approx(-3.0 * 0.02)


def test_shuffling_keeps_worlds_in_their_group_and_loses_none() -> None:
    samples = jnp.arange(3 * 4).reshape(3, 4)  # T = 3, B = 4: world is sample mod 4
    apart = shuffle.grouped(samples, groups=2)
    assert set(np.asarray(apart[0] % 4).tolist()) == {0, 1}
    assert sorted(np.asarray(apart).ravel().tolist()) == list(range(12))
    assert shuffle.pick(apart, chosen=jnp.array(((0, 5), (1, 2)))).tolist() == [
        int(apart[g, n]) for g, n in ((0, 0), (0, 5), (1, 1), (1, 2))
    ]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"worlds": 0}, "reppo.worlds 0 must be at least 1"),
        ({"discount": 1.0}, "reppo.discount 1.0 must be in"),
        ({"kl_bound": 0.0}, "reppo.kl_bound 0.0 must be above 0"),
        ({"worlds": 3, "unroll": 5}, "3 worlds times 5 steps do not divide into 32 minibatches"),
        ({"reward_low": 2.0}, "reppo.reward_low 2.0 below reppo.reward_high 1.0"),
        ({"actor_obs": "pixels"}, "reppo.actor_obs 'pixels' must be 'state' or 'privileged'"),
    ],
)
def test_settings_that_cannot_work_are_named(settings: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ReppoConfig(**settings)
