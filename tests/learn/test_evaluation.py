"""The one evaluation in simulation: whole episodes, scores that stand, memories, mean actions."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mjx_s2r.curriculum.uniform import plain_params, uniform
from mjx_s2r.learn.evaluation import EpisodeScores, evaluate_policy
from mjx_s2r.learn.ppo.config import PPOConfig
from mjx_s2r.learn.ppo.ppo import PPO
from mjx_s2r.learn.trainer import Trainer, TrainState
from mjx_s2r.params import ParamSpace
from mjx_s2r.sim.backends.physics_config import PhysicsConfig
from mjx_s2r.sim.env import make
from mjx_s2r.sim.interface import State
from tests.learn.probes import Cue, Probe
from tests.sim.toy import Toy

B = 3
PARAMS = plain_params(jnp.zeros((B, 0)))


NONE = jnp.zeros((B, 0))  # of a policy without memory


def push(state: float, memory: jax.Array, worlds: State) -> tuple[jax.Array, jax.Array]:
    """Acts with the number that is its state."""
    return memory, jnp.full((worlds.done.shape[0], 1), state)


def test_scores_are_those_of_the_whole_episode(key: jax.Array) -> None:
    env = Probe(4, lambda step, action: action[0] + step)
    scores = evaluate_policy(env, push, 0.5, NONE, PARAMS, key=key)
    np.testing.assert_allclose(scores.episode_return, 4 * 0.5 + 0 + 1 + 2 + 3)
    np.testing.assert_array_equal(scores.success, 1.0)
    np.testing.assert_array_equal(scores.length, 4)


@dataclass(frozen=True, eq=False)
class Early(Probe):
    """A probe whose episodes could last longer than they do."""

    @property
    def episode_steps(self) -> int:
        """Longest episode."""
        return self.length + 5


def test_an_episode_that_is_over_stays_judged_as_it_was(key: jax.Array) -> None:
    env = Early(2, lambda step, action: action[0])
    scores = evaluate_policy(env, push, 0.5, NONE, PARAMS, key=key)
    np.testing.assert_allclose(scores.episode_return, 2 * 0.5)
    np.testing.assert_array_equal(scores.length, 2)


def test_a_memory_goes_from_step_to_step(key: jax.Array) -> None:
    """A memory that doubles and is the action: m + 2m + 4m."""

    def act(state: tuple[()], memory: jax.Array, worlds: State) -> tuple[jax.Array, jax.Array]:
        """Doubles the memory."""
        return 2 * memory, memory

    memory = jnp.array(((0.1,), (0.2,), (-0.1,)))
    env = Probe(3, lambda step, action: action[0])
    scores = evaluate_policy(env, act, (), memory, PARAMS, key=key)
    np.testing.assert_allclose(scores.episode_return, 7 * memory[:, 0], rtol=1e-6)


def test_each_world_has_its_parameters(key: jax.Array) -> None:
    """Toy pays the action, and this one is half the mass: 10 steps of it."""
    env = make(Toy(), PhysicsConfig("c"))
    mass = jnp.array((1.0, 0.5))
    xi = jnp.tile(jnp.asarray(env.space.nominal), (2, 1)).at[:, env.space.index("mass")].set(mass)

    def act(state: tuple[()], memory: jax.Array, worlds: State) -> tuple[jax.Array, jax.Array]:
        """Acts by the world's mass."""
        known = worlds.pipeline_state.episode_params.xi
        return memory, 0.5 * known[:, env.space.index("mass")][:, None]

    scores = evaluate_policy(env, act, (), NONE[:2], plain_params(xi), key=key)
    np.testing.assert_allclose(scores.episode_return, 10 * 0.5 * mass, rtol=1e-5)
    np.testing.assert_array_equal(scores.length, 10)


@pytest.mark.slow
@pytest.mark.parametrize("rnn_hidden", [0, 4])
def test_a_trained_policy_is_played_by_its_mean(rnn_hidden: int, key: jax.Array) -> None:
    config = PPOConfig(
        num_envs=B,
        num_steps=2,
        num_minibatches=1,
        actor_hidden=(4,),
        critic_hidden=(),
        rnn_hidden=rnn_hidden,
    )
    trainer = Trainer(Cue(), uniform(ParamSpace(())), PPO(config, 1))
    state = trainer.init(jax.random.key(1))
    scores = trainer.evaluate(state, PARAMS, key=key)
    total = np.asarray(by_hand(trainer, state, key))
    np.testing.assert_allclose(scores.episode_return, total, rtol=1e-6)
    assert isinstance(scores, EpisodeScores) and np.ptp(total) > 0


def by_hand(trainer: Trainer, state: TrainState, key: jax.Array) -> jax.Array:
    """Returns (B,) the returns of the same episodes, a step at a time."""
    worlds = jax.vmap(trainer.env.reset)(jax.random.split(key, B), PARAMS)
    memory = trainer.algorithm.zero_rnn_state(B).actor
    for _ in range(trainer.env.episode_steps):
        memory, policy = trainer.apply_policy(state, memory, worlds)
        worlds = jax.vmap(trainer.env.step)(worlds, jnp.tanh(policy.mean))
    return worlds.metrics["return"]
