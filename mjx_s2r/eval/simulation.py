"""What a policy does without exploring: whole episodes in fresh worlds, mean actions."""

from dataclasses import replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct

from mjx_s2r.learn.algorithm import Learner
from mjx_s2r.learn.rollout import reset_envs, step_envs
from mjx_s2r.sim.interface import EpisodeParams, State


@struct.dataclass
class EpisodeScores:
    """What became of each world's episode, all (B,): return, success, length, control steps."""

    episode_return: jax.Array
    success: jax.Array
    length: jax.Array


@partial(jax.jit, static_argnums=(0, 2))
def evaluate(learner: Learner, state: Any, worlds: int, *, key: jax.Array) -> EpisodeScores:
    """Returns the scores of one episode in each of ``worlds`` worlds B.

    Their parameters are drawn as those of training are now, but none tests a bound. The call comes
    back before it is done; whoever reads the scores waits.
    """
    key_draw, key_reset = jax.random.split(key)
    draws = learner.curriculum.sample(state.curriculum, worlds, key_draw)
    draws = replace(draws, kind=jnp.full_like(draws.kind, -1))
    return judge(learner, state, draws, key=key_reset)


@partial(jax.jit, static_argnums=0)
def judge(learner: Learner, state: Any, draws: EpisodeParams, *, key: jax.Array) -> EpisodeScores:
    """Returns the scores of one episode in each of B worlds, of parameters ``draws`` (B, ...)."""
    worlds = draws.kind.shape[0]
    fresh = reset_envs(learner.env, draws, key=key)
    memory = learner.nets.zero_state(worlds).actor

    def one(carry: tuple[Any, State, EpisodeScores, jax.Array], _: None) -> tuple[Any, None]:
        """Takes one step; an episode that is over stays judged as it was."""
        memory, worlds, scores, over = carry
        memory, policy = learner.apply_policy(state, memory, worlds)
        worlds = step_envs(learner.env, worlds, jnp.tanh(policy.mean))
        now = EpisodeScores(
            worlds.metrics["return"], worlds.metrics["success"], worlds.metrics["length"]
        )
        scores = jax.tree.map(lambda new, old: jnp.where(over, old, new), now, scores)
        return (memory, worlds, scores, over | (worlds.done > 0)), None

    zero = jnp.zeros((worlds,))
    start = (memory, fresh, EpisodeScores(zero, zero, zero), jnp.zeros((worlds,), bool))
    last, _ = jax.lax.scan(one, start, length=learner.env.episode_steps)
    return last[2]
