"""Evaluation in simulation: whole episodes in B worlds at once, mean actions, no exploration."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct

from mjx_s2r.learn.rollout import reset_envs, step_envs
from mjx_s2r.sim.interface import Environment, EpisodeParams, State

# (policy's state, rnn_state (B, H), worlds) -> rnn_state, squashed action (B, J) in [-1, 1]
Act = Callable[[Any, jax.Array, State], tuple[jax.Array, jax.Array]]


@struct.dataclass
class EpisodeScores:
    """Scores of whole episodes in B worlds, all (B,): return, success, length in control steps."""

    episode_return: jax.Array
    success: jax.Array
    length: jax.Array


@partial(jax.jit, static_argnums=(0, 1))
def evaluate_policy(
    env: Environment,
    act: Act,
    state: Any,
    rnn_state: jax.Array,
    params: EpisodeParams,
    *,
    key: jax.Array,
) -> EpisodeScores:
    """Returns the scores of one episode in each of B worlds of parameters ``params`` (B, ...).

    The call comes back before it is done; whoever reads the scores waits.

    Args:
        env: the environment of one world.
        act: (state, rnn_state, worlds) -> rnn_state, action.
        state: what ``act`` is given first, a pytree.
        rnn_state: (B, H) at the start of an episode.
        params: parameters of the episodes.
        key: random key of their starts.
    """
    fresh = reset_envs(env, params, key=key)

    def one(carry: tuple[Any, State, EpisodeScores, jax.Array], _: None) -> tuple[Any, None]:
        """Takes one step; an episode that is over keeps its scores."""
        memory, worlds, scores, over = carry
        memory, action = act(state, memory, worlds)
        worlds = step_envs(env, worlds, action)
        now = EpisodeScores(
            worlds.metrics["return"], worlds.metrics["success"], worlds.metrics["length"]
        )
        scores = jax.tree.map(lambda new, old: jnp.where(over, old, new), now, scores)
        return (memory, worlds, scores, over | (worlds.done > 0)), None

    zero = jnp.zeros(params.kind.shape)
    start = (rnn_state, fresh, EpisodeScores(zero, zero, zero), jnp.zeros(zero.shape, bool))
    last, _ = jax.lax.scan(one, start, length=env.episode_steps)
    return last[2]
