"""The judge of trained policies in chosen worlds of the table, for whoever asks.

Comparing checkpoints, searching the hardest worlds and comparing curricula all come down to this:
the worlds xi, some episodes in each, by the mean action, and scores out.
"""

from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mjx_s2r.curriculum.uniform import plain_params
from mjx_s2r.eval.performance import Performance, performance_of
from mjx_s2r.learn.evaluation import EpisodeScores, evaluate_policy
from mjx_s2r.learn.trainer import Trainer, TrainState
from mjx_s2r.params import ParamError
from mjx_s2r.sim.env import require_native
from mjx_s2r.sim.interface import State


@dataclass(frozen=True, eq=False)
class WorldScores:
    """Scores of E episodes in each of N worlds, all (N, E).

    Attributes:
        success: bool.
        episode_return: sums of rewards; not finite where a world burst.
        length: control steps.
    """

    success: np.ndarray
    episode_return: np.ndarray
    length: np.ndarray

    def performance(self) -> Performance:
        """Returns the figures over all worlds, with their intervals over worlds."""
        worlds, episodes = self.success.shape
        names = [f"{world}" for world in range(worlds) for _ in range(episodes)]
        success, returns, lengths = (
            x.reshape(-1) for x in (self.success, self.episode_return, self.length)
        )
        return performance_of(success, returns, lengths, names)


def judge_worlds(
    trainer: Trainer,
    state: TrainState,
    xi: np.ndarray | jax.Array,
    episodes: int = 1,
    known: np.ndarray | jax.Array | None = None,
    *,
    key: jax.Array,
) -> WorldScores:
    """Returns the scores of a policy that does not explore, in the worlds ``xi`` (N, D).

    Args:
        trainer: of the policy.
        state: its state.
        xi: parameters of the worlds, in the rows' units.
        episodes: in each world.
        known: (N, D) the parameters that a privileged policy is told, where they are not xi: e.g.
            the nearest that it was trained on, to judge how it copes and not what a network makes
            of a number that it has never been shown. One that sees is told nothing.
        key: random key of starts and noise; the same key gives the same.

    Raises:
        ParamError: no episodes; another library's environment where ``known`` is given.
        ValueError: an actor that sees, and worlds that cannot take turns before its cameras.
    """
    if episodes < 1:
        raise ParamError(f"episodes {episodes} must be at least 1")
    params = plain_params(jnp.repeat(jnp.asarray(xi, jnp.float32), episodes, axis=0))
    if known is None or trainer.cameras is not None:
        found = trainer.evaluate(state, params, key=key)
    else:
        told = jnp.repeat(jnp.asarray(known, jnp.float32), episodes, axis=0)
        found = _evaluate_told(trainer, state, params, told, key)
    shape = len(xi), episodes
    return WorldScores(
        success=np.asarray(found.success).reshape(shape) > 0,
        episode_return=np.asarray(found.episode_return, float).reshape(shape),
        length=np.asarray(found.length, float).reshape(shape),
    )


def _evaluate_told(
    trainer: Trainer, state: TrainState, params: Any, told: jax.Array, key: jax.Array
) -> EpisodeScores:
    """Evaluates a policy that is told the parameters ``told`` (B, D)."""
    env = require_native(trainer.env)
    memory = trainer.algorithm.zero_rnn_state(len(told)).actor
    return evaluate_policy(env, _ToldActor(trainer), (state, told), memory, params, key=key)


@dataclass(frozen=True)
class _ToldActor:
    """The mean action of a policy that is told other parameters than its world has."""

    trainer: Trainer

    def __call__(
        self, given: tuple[TrainState, jax.Array], memory: jax.Array, worlds: State
    ) -> tuple[jax.Array, jax.Array]:
        """Returns memory (B, H) and action (B, J)."""
        state, told = given
        obs = jax.vmap(require_native(self.trainer.env).with_privileged_params)(worlds.obs, told)
        memory, policy = self.trainer.apply_policy(state, memory, replace(worlds, obs=obs))
        return memory, jnp.tanh(policy.mean)
