"""PPO finds the known answers of the probes, compiles once and repeats itself to the bit."""

from dataclasses import fields, replace
from functools import cache
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mjx_s2r.learn import normalizer
from mjx_s2r.learn.networks.encoders.config import EncoderConfig
from mjx_s2r.learn.ppo import ppo
from mjx_s2r.learn.ppo.config import PPOConfig
from mjx_s2r.learn.ppo.losses import LossMetrics
from mjx_s2r.learn.ppo.ppo import PPO, PPOState, adapt_learning_rate
from mjx_s2r.learn.trainer import Trainer, TrainState
from mjx_s2r.params import Param, ParamSpace
from tests.learn.probes import Probe, ppo_trainer, programs

SPACE = ParamSpace((Param("nothing", "model.body_mass", ("a",)),))
CONFIG = PPOConfig(
    num_envs=32,
    num_steps=8,
    num_minibatches=2,
    num_epochs=4,
    gamma=0.5,
    learning_rate=1e-2,
    target_kl=0.0,
    entropy_coef=0.0,
    actor_hidden=(8,),
    critic_hidden=(16,),
)
PROBES = {
    "bandit": Probe(1, lambda step, action: 1 - (action[0] - 0.5) ** 2),
    "two steps": Probe(2, lambda step, action: jnp.where(step == 1, 1.0, 0.0)),
    "truncated": Probe(1, lambda step, action: jnp.float32(1), terminates=False),
}


@cache
def trained(name: str, iterations: int = 60) -> tuple[Trainer, TrainState, list[int]]:
    """Returns a trainer, its state after ``iterations``, and compilations of its programs."""
    trainer = ppo_trainer(PROBES[name], CONFIG, SPACE)
    state = trainer.init(jax.random.key(0))
    for _ in range(iterations):
        state, _ = trainer.iterate(state)
    return trainer, state, programs(trainer.compiled_step)


def value(trainer: Trainer, state: TrainState, step: int) -> float:
    """Returns the critic's value of being at ``step``."""
    algorithm, learner = trainer.algorithm, state.learner
    assert isinstance(algorithm, PPO)
    obs = trainer.env.see(jnp.int32(step))["privileged"]  # type: ignore[attr-defined]
    x = normalizer.apply(learner.critic_norm, obs)[None, None]
    first, memory = jnp.ones((1, 1), bool), algorithm.zero_rnn_state(1).critic
    return float(algorithm.nets.value(learner.critic, memory, x, first)[1][0, 0])


def bits(tree: Any) -> list[bytes]:
    """Returns the bytes of every leaf."""
    leaves = jax.tree.leaves(tree)
    is_key = [jnp.issubdtype(x.dtype, jax.dtypes.prng_key) for x in leaves]
    raw = [jax.random.key_data(x) if k else x for x, k in zip(leaves, is_key, strict=True)]
    return [np.asarray(x).tobytes() for x in raw]


def test_the_bandit_is_solved() -> None:
    """The best action is 0.5; its value is 1 less what exploration still costs."""
    trainer, state, _ = trained("bandit")
    policy = trainer.policy(state, trainer.env.see(jnp.int32(0)))  # type: ignore[attr-defined]
    assert float(jnp.tanh(policy.mean[0])) == pytest.approx(0.5, abs=0.12)
    assert 0.85 < value(trainer, state, 0) < 1.0
    assert float(policy.log_std[0]) < np.log(0.6)  # exploration has shrunk from where it began


def test_values_are_discounted_and_stop_at_a_termination() -> None:
    """The reward of 1 comes at the second step: V = (gamma, 1) = (0.5, 1)."""
    trainer, state, _ = trained("two steps")
    assert value(trainer, state, 0) == pytest.approx(0.5, abs=0.06)
    assert value(trainer, state, 1) == pytest.approx(1.0, abs=0.06)


def test_a_truncation_is_bootstrapped_from_what_was_seen_last() -> None:
    """Reward 1 at the only step; V = 1 + gamma v, where v is the value of the last observation.

    That one is never acted on, so v is whatever the critic says. A termination would give 1.
    """
    trainer, state, _ = trained("truncated")
    last = value(trainer, state, 1)
    assert value(trainer, state, 0) == pytest.approx(1 + 0.5 * last, abs=0.1)
    assert abs(last) > 0.2


def test_iterate_compiles_once() -> None:
    assert trained("two steps")[2] in ([1], [1, 1])


def test_the_same_state_gives_the_same_bits() -> None:
    trainer, _, _ = trained("bandit")
    first, second = (trainer.iterate(trainer.init(jax.random.key(7))) for _ in range(2))
    assert bits(first) == bits(second)
    other = trainer.iterate(trainer.init(jax.random.key(8)))
    assert bits(first) != bits(other)


def test_metrics_count_the_episodes() -> None:
    """32 worlds x 8 steps of episodes with one step, a success each, all paid at most 1."""
    trainer, _, _ = trained("bandit")
    state, metrics = trainer.iterate(trainer.init(jax.random.key(1)))
    assert int(metrics.episodes.episodes) == 32 * 8
    assert float(metrics.episodes.successes) == float(metrics.episodes.length_sum) == 32 * 8
    assert float(metrics.episodes.nan_envs) == 0 and float(metrics.episodes.return_sum) <= 32 * 8
    assert int(metrics.episodes.reused_resets) == 32 * 7
    assert float(metrics.loss.learning_rate) == pytest.approx(1e-2)
    assert int(state.iteration) == 1 and float(state.learner.actor_norm.count) == 32 * 8
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(metrics))


def test_a_pretrained_encoder_goes_on_at_its_share_of_the_rate(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Adam's first step is the rate in every direction; the student's backbone takes 0.1 of it."""
    zero = jnp.zeros(())
    figures = LossMetrics(*[zero] * len(fields(LossMetrics)))

    def loss(nets: object, params: Any, *_: object) -> tuple[jax.Array, LossMetrics]:
        return sum(jnp.sum(x) for x in jax.tree.leaves(params)), figures

    monkeypatch.setattr(ppo, "ppo_loss", loss)
    config = replace(CONFIG, max_grad_norm=100.0)
    encoder = EncoderConfig("mobilenet_v2", trained="last", rate=0.1)
    nets = SimpleNamespace(config=config, student=SimpleNamespace(encoder=encoder))
    actor = {"params": {"backbone": jnp.ones(2), "head": jnp.ones(2)}}
    state = PPOState(
        actor=actor,
        critic=jnp.ones(2),
        optimizer=ppo.adam(config).init((actor, jnp.ones(2))),
        learning_rate=jnp.float32(0.01),
        actor_norm=normalizer.init(1),
        critic_norm=normalizer.init(1),
    )
    moved = ppo.gradient_step(nets, state, None)[0]  # type: ignore[arg-type]
    np.testing.assert_allclose(moved.actor["params"]["head"], 0.99, rtol=1e-4)
    np.testing.assert_allclose(moved.actor["params"]["backbone"], 0.999, rtol=1e-4)
    np.testing.assert_allclose(moved.critic, 0.99, rtol=1e-4)


def test_the_learning_rate_follows_the_divergence() -> None:
    config = PPOConfig(target_kl=0.01)
    rates = [
        float(adapt_learning_rate(config, jnp.float32(1e-3), jnp.float32(kl)))
        for kl in (0.1, 0.01, 1e-4)
    ]
    np.testing.assert_allclose(rates, (1e-3 / 1.5, 1e-3, 1.5e-3), rtol=1e-6)
    assert float(adapt_learning_rate(config, jnp.float32(1e-2), jnp.float32(0))) == pytest.approx(
        1e-2
    )
    assert float(adapt_learning_rate(config, jnp.float32(1e-5), jnp.float32(9))) == pytest.approx(
        1e-5
    )


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_envs": 0}, "ppo.num_envs 0 must be at least 1"),
        ({"num_epochs": 0}, "ppo.num_epochs 0 must be at least 1"),
        ({"num_envs": 6, "rnn_hidden": 8}, "6 worlds do not divide into 4 minibatches"),
        ({"num_envs": 3, "num_steps": 2}, "3 worlds x 2 steps do not divide into 4 minibatches"),
        ({"init_std": 0.0}, "ppo.init_std 0.0 must be above 0"),
        ({"learning_rate": -1e-3}, "ppo.learning_rate -0.001 must be above 0"),
        ({"learning_rate": float("nan")}, "ppo.learning_rate nan must be finite"),
        ({"gamma": 1.2}, r"ppo.gamma 1.2 must lie in \[0, 1\]"),
        ({"gae_lambda": -0.1}, r"ppo.gae_lambda -0.1 must lie in \[0, 1\]"),
        ({"clip_epsilon": 0.0}, "ppo.clip_epsilon 0.0 must be above 0"),
        ({"max_grad_norm": 0.0}, "ppo.max_grad_norm 0.0 must be above 0"),
        ({"reward_scale": 0.0}, "ppo.reward_scale 0.0 must be above 0"),
        ({"target_kl": -0.01}, "ppo.target_kl -0.01 must not be negative"),
        ({"entropy_coef": -1.0}, "ppo.entropy_coef -1.0 must not be negative"),
        ({"value_coef": -1.0}, "ppo.value_coef -1.0 must not be negative"),
        ({"critic_hidden": (64, 0)}, r"ppo.critic_hidden \(64, 0\) must be at least 1"),
        (
            {"actor_obs": "everything"},
            "ppo.actor_obs 'everything' must be 'state' or 'privileged' or 'inferable'",
        ),
        ({"critic_obs": ""}, "ppo.critic_obs '' must be"),
    ],
)
def test_settings_that_cannot_work_are_named(settings: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PPOConfig(**settings)
