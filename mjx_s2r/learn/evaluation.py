"""Evaluation in simulation: whole episodes in B worlds at once, mean actions, no exploration.

Of an actor that reads numbers it is one program. One that sees goes step by step as training does:
physics and pictures are compiled apart (`mjx_s2r.learn.trainer`).
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct
from jax.stages import Lowered

from mjx_s2r.learn.camera_schedule import CameraSchedule
from mjx_s2r.learn.networks.actor_critic import Images
from mjx_s2r.learn.rollout import reset_envs, step_envs
from mjx_s2r.sim.env import Env
from mjx_s2r.sim.interface import Environment, EpisodeParams, State

# (policy's state, rnn_state (B, H), worlds) -> rnn_state, squashed action (B, J) in [-1, 1]
Act = Callable[[Any, jax.Array, State], tuple[jax.Array, jax.Array]]
# (policy's state, rnn_state (B, H), worlds, images) -> rnn_state, squashed action (B, J)
ActOnImages = Callable[[Any, jax.Array, State, Images], tuple[jax.Array, jax.Array]]
ALL_OVER_EVERY = 16  # control steps between two looks whether every episode is over


@struct.dataclass
class EpisodeScores:
    """Scores of whole episodes in B worlds, all (B,): return, success, length in control steps."""

    episode_return: jax.Array
    success: jax.Array
    length: jax.Array


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

    The call comes back before it is done; whoever reads the scores waits. The worlds come out of
    `reset_envs`, which a training of as many worlds has compiled already.

    Args:
        env: the environment of one world.
        act: (state, rnn_state, worlds) -> rnn_state, action.
        state: what ``act`` is given first, a pytree.
        rnn_state: (B, H) at the start of an episode.
        params: parameters of the episodes.
        key: random key of their starts.
    """
    fresh = reset_envs(env, params, key=key)
    return _play(env, act, state, _begun(fresh, rnn_state, params))


def lower_evaluation(
    env: Environment, act: Act, state: Any, rnn_state: jax.Array, params: EpisodeParams
) -> Lowered:
    """Returns the program that `evaluate_policy` runs beside `reset_envs`, traced, not compiled.

    Args:
        env: the environment of one world.
        act: (state, rnn_state, worlds) -> rnn_state, action.
        state: what ``act`` is given first, or its shapes.
        rnn_state: (B, H) at the start of an episode.
        params: parameters of the episodes.
    """
    fresh = jax.eval_shape(partial(reset_envs, env), params, key=jax.random.key(0))
    return _play.lower(env, act, state, jax.eval_shape(_begun, fresh, rnn_state, params))


def evaluate_on_images(
    env: Env,
    cameras: CameraSchedule,
    act: ActOnImages,
    state: Any,
    rnn_state: jax.Array,
    params: EpisodeParams,
    *,
    key: jax.Array,
) -> EpisodeScores:
    """Returns the scores of one episode in each of B worlds, of a policy that sees.

    A world wears one look throughout, that of its parameters.

    Args:
        env: the environment of one world.
        cameras: what it sees.
        act: (state, rnn_state, worlds, images) -> rnn_state, action.
        state: what ``act`` is given first, a pytree.
        rnn_state: (B, H) at the start of an episode.
        params: parameters of the episodes (B, ...).
        key: random key of their starts and of the pictures.

    Raises:
        ValueError: worlds that do not divide by the control steps between two pictures.
    """
    cameras.check_num_envs(params.kind.shape[0])
    key_start, key_frames, key_steps = jax.random.split(key, 3)
    fresh = reset_envs(env, params, key=key_start)
    frames = cameras.initial(fresh, params.xi, key_frames)
    carry = _begun(fresh, rnn_state, params)
    for index in range(env.episode_steps):
        key_step = jax.random.fold_in(key_steps, index)
        xi = cameras.params(carry[1])
        frames, images = cameras.observe(frames, carry[1], xi, index, key_step)
        carry = _seen_step(env, act, state, carry, images)
        if index % ALL_OVER_EVERY == 0 and bool(carry[3].all()):
            break
    return carry[2]


# recurrent state (B, H), worlds, their scores, (B,) whose episode is over
Episode = tuple[jax.Array, State, EpisodeScores, jax.Array]


@partial(jax.jit, static_argnums=(0, 1))
def _play(env: Environment, act: Act, state: Any, carry: Episode) -> EpisodeScores:
    """Plays the episodes to their ends."""

    def one(carry: Episode, _: None) -> tuple[Episode, None]:
        """Takes one step."""
        return _after(env, carry, *act(state, carry[0], carry[1])), None

    return jax.lax.scan(one, carry, length=env.episode_steps)[0][2]


def _begun(fresh: State, rnn_state: jax.Array, params: EpisodeParams) -> Episode:
    """Returns the carry at the start of an episode."""
    zero = jnp.zeros(params.kind.shape)
    return rnn_state, fresh, EpisodeScores(zero, zero, zero), jnp.zeros(zero.shape, bool)


def _after(env: Environment, carry: Episode, memory: jax.Array, action: jax.Array) -> Episode:
    """Returns the carry one step later; an episode that is over keeps its scores."""
    _, worlds, scores, over = carry
    worlds = step_envs(env, worlds, action)
    now = EpisodeScores(
        worlds.metrics["return"], worlds.metrics["success"], worlds.metrics["length"]
    )
    scores = jax.tree.map(lambda new, old: jnp.where(over, old, new), now, scores)
    return memory, worlds, scores, over | (worlds.done > 0)


@partial(jax.jit, static_argnums=(0, 1))
def _seen_step(env: Env, act: ActOnImages, state: Any, carry: Episode, images: Images) -> Episode:
    """Takes one step on what is seen."""
    return _after(env, carry, *act(state, carry[0], carry[1], images))
