"""T control steps in B worlds, with fresh worlds ready for those that finish.

Computing B full resets at every step costs more than the step. Each rollout prepares one fresh
reset per world, with its own draw of the table, and a world takes it when its episode ends. Only an
episode shorter than the rollout could take the same one twice; `reused` counts that.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct

from mjx_s2r.curriculum.interface import Curriculum, Episodes
from mjx_s2r.learn.nan_guard import NanSnapshot, empty_snapshot, record_first_nan
from mjx_s2r.sim.interface import Environment, EpisodeParams, State, auto_reset, keep_per_env_rows

# (memory, worlds, key) -> memory, raw action (B, J), its log density (B,)
Act = Callable[[Any, State, jax.Array], tuple[Any, jax.Array, jax.Array]]


@struct.dataclass
class Transition:
    """One step in every world; fields (B, ...) or, stacked over a rollout, [T, B, ...].

    Attributes:
        obs: what was seen before the step.
        next_obs: what was seen after it, before any reset.
        raw_action: (J,) raw action.
        log_prob: its log density when it was taken.
        reward: reward.
        terminated: the future is worth nothing.
        done: the episode ended.
        is_first: bool, the step is the first of an episode.
    """

    obs: dict[str, jax.Array]
    next_obs: dict[str, jax.Array]
    raw_action: jax.Array
    log_prob: jax.Array
    reward: jax.Array
    terminated: jax.Array
    done: jax.Array
    is_first: jax.Array


@struct.dataclass
class EpisodeStats:
    """Sums over the episodes that ended in a rollout, all ().

    ``nan`` and ``full`` count control steps: worlds that ceased to be finite, and worlds that had
    no room for more contacts, where that can happen.
    """

    episodes: jax.Array
    successes: jax.Array
    return_sum: jax.Array
    length_sum: jax.Array
    nan_envs: jax.Array
    reused_resets: jax.Array
    full_contacts: jax.Array | None = None


@partial(jax.jit, static_argnums=0)
def reset_envs(env: Environment, draws: EpisodeParams, *, key: jax.Array) -> State:
    """Returns B worlds at the start of an episode, for ``draws`` with leading axis B.

    A jitted function of its own, so that JAX traces it once for every program that holds it.
    """
    keys = jax.random.split(key, draws.kind.shape[0])
    return jax.vmap(env.reset)(keys, draws)


@partial(jax.jit, static_argnums=0)
def step_envs(env: Environment, state: State, action: jax.Array) -> State:
    """Returns B worlds one control step later under ``action`` (B, J) in [-1, 1]."""
    return jax.vmap(env.step)(state, action)


def fresh_worlds(
    env: Environment, curriculum: Curriculum, schedule: Any, old: State, keys: Sequence[jax.Array]
) -> State:
    """Returns B worlds at the start of an episode, for those of the ``old`` (B, ...) that finish.

    What a world keeps for life is kept.

    Args:
        env: the environment of one world.
        curriculum: draws their parameters.
        schedule: the curriculum's state.
        old: B worlds.
        keys: (2,) for the draws and for the starts.
    """
    draws = resample_params(
        env, curriculum, schedule, old.pipeline_state.episode_params, key=keys[0]
    )
    return reset_envs(env, draws, key=keys[1])


def resample_params(
    env: Environment, curriculum: Curriculum, schedule: Any, old: EpisodeParams, *, key: jax.Array
) -> EpisodeParams:
    """Returns the parameters of B fresh worlds, after the ``old`` ones; see `fresh_worlds`."""
    draws = curriculum.sample(schedule, old.kind.shape[0], key)
    return keep_per_env_rows(env.space, draws, old)


def first_worlds(
    env: Environment, curriculum: Curriculum, schedule: Any, count: int, keys: Sequence[jax.Array]
) -> State:
    """Returns ``count`` worlds for a training to begin with, at different times of an episode.

    ``keys`` (3,) are for the draws, the starts and the times.
    """
    draws = curriculum.sample(schedule, count, keys[0])
    return randomize_episode_time(env, reset_envs(env, draws, key=keys[1]), key=keys[2])


def randomize_episode_time(env: Environment, state: State, *, key: jax.Array) -> State:
    """Returns worlds whose clocks start at random, so that later resets do not come in bursts."""
    longest = env.episode_steps
    sim = state.pipeline_state
    steps = jax.random.randint(key, sim.steps.shape, 0, longest, sim.steps.dtype)
    return replace(state, pipeline_state=replace(sim, steps=steps))


def is_first(worlds: State) -> jax.Array:
    """Returns (B,) bool: the next step is the first of an episode."""
    return jnp.asarray(worlds.pipeline_state.steps == 0)


@struct.dataclass
class Rollout:
    """What a rollout leaves behind.

    Attributes:
        rnn_state: what the actor remembers now.
        env_state: the B worlds now.
        transitions: transitions [T, B, ...].
        episodes: the episodes, [T, B], of which some ended.
        stats: sums over those that did.
        nan_snapshot: the first world that ceased to be finite.
    """

    rnn_state: Any
    env_state: State
    transitions: Transition
    episodes: Episodes
    stats: EpisodeStats
    nan_snapshot: NanSnapshot


Step = tuple[Transition, Episodes, dict[str, jax.Array]]


def advance(
    env: Environment,
    state: State,
    fresh: State,
    choice: tuple[jax.Array, jax.Array],
    bad: NanSnapshot,
    count: jax.Array | int,
) -> tuple[State, Step, NanSnapshot]:
    """Takes one control step in every world and renews those that finish.

    Args:
        env: the environment of one world.
        state: B worlds.
        fresh: B worlds at the start of an episode.
        choice: raw action (B, J) and its log density (B,).
        bad: the first world that ceased to be finite so far.
        count: step of the rollout.
    """
    raw, log_prob = choice
    action = jnp.tanh(raw)
    after = step_envs(env, state, action)
    bad = record_first_nan(bad, state, after, action, jnp.int32(count))
    draw = after.pipeline_state.episode_params
    done = after.done > 0
    transition = Transition(
        obs=state.obs,
        next_obs=after.obs,
        raw_action=raw,
        log_prob=log_prob,
        reward=after.reward,
        terminated=after.info["terminated"],
        done=done,
        is_first=is_first(state),
    )
    episodes = Episodes(done, after.metrics["success"], draw.kind, draw.version, draw.xi)
    return auto_reset(after, fresh), (transition, episodes, after.metrics), bad


def rollout(
    env: Environment,
    act: Act,
    memory: Any,
    state: State,
    fresh: State,
    steps: int,
    *,
    key: jax.Array,
) -> Rollout:
    """Runs ``steps`` control steps in every world.

    Args:
        env: the environment of one world.
        act: (memory, worlds, key) -> memory, raw action (B, J) and its log density (B,).
        memory: what the actor remembers, a tree of (B, ...).
        state: B worlds.
        fresh: B worlds at the start of an episode, for those that finish.
        steps: T.
        key: random key.
    """

    def one(
        carry: tuple[Any, State, NanSnapshot], inputs: tuple[jax.Array, jax.Array]
    ) -> tuple[tuple[Any, State, NanSnapshot], Step]:
        memory, state, bad = carry
        memory, raw, log_prob = act(memory, state, inputs[0])
        state, step, bad = advance(env, state, fresh, (raw, log_prob), bad, inputs[1])
        return (memory, state, bad), step

    carry = (memory, state, empty_snapshot(state, env.action_size))
    inputs = (jax.random.split(key, steps), jnp.arange(steps))
    (memory, state, bad), (transitions, episodes, metrics) = jax.lax.scan(one, carry, inputs)
    return Rollout(memory, state, transitions, episodes, episode_stats(episodes, metrics), bad)


def episode_stats(episodes: Episodes, metrics: dict[str, jax.Array]) -> EpisodeStats:
    """Returns sums over the finished episodes of a rollout, plain ones only for success and return.

    Worlds that test a bound are harder by design and would colour the figures.
    """
    ended = episodes.ended
    plain = ended & (episodes.kind < 0)
    return EpisodeStats(
        episodes=plain.sum(),
        successes=jnp.sum(plain * metrics["success"]),
        return_sum=jnp.sum(plain * metrics["return"]),
        length_sum=jnp.sum(plain * metrics["length"]),
        nan_envs=jnp.sum(metrics["nan"]),
        reused_resets=jnp.sum(jnp.maximum(ended.sum(0) - 1, 0)),
        full_contacts=jnp.sum(metrics["full"]) if "full" in metrics else None,
    )
