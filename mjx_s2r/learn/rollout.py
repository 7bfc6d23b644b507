"""Rollouts: T control steps in B worlds, with a reset pool for those whose episode ends.

Computing B full resets at every step costs more than the step. `ResetPool` prepares one fresh reset
per world and rollout, with its own draw of the table, and a world takes it when its episode ends.
Only an episode shorter than the rollout could take the same one twice; `reused_resets` counts that.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct
from jax.stages import Lowered

from mjx_s2r.curriculum.interface import Curriculum, Episodes
from mjx_s2r.learn.nan_guard import NanSnapshot, empty_snapshot, record_first_nan
from mjx_s2r.learn.networks.actor_critic import Images as Images
from mjx_s2r.sim.interface import (
    Environment,
    EpisodeParams,
    State,
    auto_reset,
    keep_per_env_rows,
)

# (rnn_state, worlds, images, key) -> rnn_state, raw action (B, J), extras for the update (B, ...)
Act = Callable[[Any, State, Images, jax.Array], tuple[Any, jax.Array, Any]]


@struct.dataclass
class Transition:
    """One step in every world; fields (B, ...) or, stacked over a rollout, [T, B, ...].

    Attributes:
        obs: observations before the step.
        next_obs: observations after it, before any reset: what to bootstrap from.
        images: pictures before the step, per camera (H, W, C) uint8; none without cameras.
        raw_action: (J,) action before the squash by tanh.
        extras: what the algorithm's `act` keeps for its update.
        reward: () reward.
        terminated: () bool, the future is worth nothing.
        done: () bool, the episode ended.
        is_first: () bool, the step is the first of an episode.
        places: per camera (K, 2), where it sees the task's keypoints; NaN where nobody can say.
    """

    obs: dict[str, jax.Array]
    next_obs: dict[str, jax.Array]
    images: Images
    raw_action: jax.Array
    extras: Any
    reward: jax.Array
    terminated: jax.Array
    done: jax.Array
    is_first: jax.Array
    places: tuple[jax.Array, ...] = ()


@struct.dataclass
class EpisodeStats:
    """Sums over the episodes that ended in a rollout, all ().

    Success, return and length are those of plain episodes: worlds that test a bound are harder by
    design and would colour the figures. ``nan_envs`` and ``full_contacts`` count control steps:
    worlds that ceased to be finite, and worlds without room for more contacts, where that can
    happen. ``reused_resets`` counts resets that a world took twice.
    """

    episodes: jax.Array
    successes: jax.Array
    return_sum: jax.Array
    length_sum: jax.Array
    nan_envs: jax.Array
    reused_resets: jax.Array
    full_contacts: jax.Array | None = None


@struct.dataclass
class Rollout:
    """A batch of T steps in B worlds.

    Attributes:
        transitions: [T, B, ...].
        episodes: [T, B]; entries count where an episode ended.
        stats: sums over the episodes that ended.
        nan_snapshot: the first world that ceased to be finite, as it was before that step.
        host: what `Trainer.host_batch` gave for the algorithm's update; None without one.
    """

    transitions: Transition
    episodes: Episodes
    stats: EpisodeStats
    nan_snapshot: NanSnapshot
    host: Any = None


StepRecord = tuple[Transition, Episodes, dict[str, jax.Array]]


@partial(jax.jit, static_argnums=0)
def reset_envs(env: Environment, params: EpisodeParams, *, key: jax.Array) -> State:
    """Returns B worlds at the start of an episode, for ``params`` with leading axis B.

    A jitted function of its own, so that JAX traces it once for every program that holds it.
    """
    keys = jax.random.split(key, params.kind.shape[0])
    return jax.vmap(env.reset)(keys, params)


@partial(jax.jit, static_argnums=0)
def step_envs(env: Environment, state: State, action: jax.Array) -> State:
    """Returns B worlds one control step later under ``action`` (B, J) in [-1, 1]."""
    return jax.vmap(env.step)(state, action)


@dataclass(frozen=True, eq=False)
class ResetPool:
    """Fresh resets for B worlds: the first ones, and those that finished worlds take.

    Both come out of one compiled function, `reset_envs`: a reset with its dependent constants
    takes long to compile, ten seconds of reach's minute on two cores.

    Attributes:
        env: the environment of one world.
        curriculum: draws their parameters.
        num_envs: B.
    """

    env: Environment
    curriculum: Curriculum
    num_envs: int

    def initial(self, key: jax.Array) -> tuple[Any, State, list[jax.Array]]:
        """Returns the curriculum's first state, B worlds, and three keys to go on with."""
        schedule, params, key_reset, keys = self._sample(key)
        return schedule, reset_envs(self.env, params, key=key_reset), keys

    def resample(self, schedule: Any, old: State, key: jax.Array) -> tuple[State, list[jax.Array]]:
        """Returns B fresh worlds to take the places of ``old`` ones, and three keys to go on with.

        Rows that a world keeps for life are kept. The first key is for the next call.
        """
        episode_params = old.pipeline_state.episode_params
        params, key_reset, keys = self._resample(schedule, episode_params, key)
        return reset_envs(self.env, params, key=key_reset), keys

    def programs(self, key: jax.Array) -> Iterator[Lowered]:
        """Yields the programs of `initial` and `resample`, traced; the longest comes first."""
        schedule, params, key_reset, _ = jax.eval_shape(self._sample, key)
        yield reset_envs.lower(self.env, params, key=key_reset)
        yield ResetPool._resample.lower(self, schedule, params, key)
        yield ResetPool._sample.lower(self, key)

    @partial(jax.jit, static_argnums=0)
    def _sample(self, key: jax.Array) -> tuple[Any, EpisodeParams, jax.Array, list[jax.Array]]:
        key_params, key_reset, *keys = jax.random.split(key, 5)
        schedule = self.curriculum.init()
        return (
            schedule,
            self.curriculum.sample(schedule, self.num_envs, key_params),
            key_reset,
            keys,
        )

    @partial(jax.jit, static_argnums=0)
    def _resample(
        self, schedule: Any, old: EpisodeParams, key: jax.Array
    ) -> tuple[EpisodeParams, jax.Array, list[jax.Array]]:
        key_next, key_params, key_reset, *keys = jax.random.split(key, 5)
        params = self.curriculum.sample(schedule, old.kind.shape[0], key_params)
        return keep_per_env_rows(self.env.space, params, old), key_reset, [key_next, *keys]


def randomize_episode_time(env: Environment, state: State, *, key: jax.Array) -> State:
    """Returns worlds whose clocks start at random, so that later resets do not come in bursts."""
    sim = state.pipeline_state
    steps = jax.random.randint(key, sim.steps.shape, 0, env.episode_steps, sim.steps.dtype)
    return replace(state, pipeline_state=replace(sim, steps=steps))


def is_first(worlds: State) -> jax.Array:
    """Returns (B,) bool: the next step is the first of an episode."""
    return jnp.asarray(worlds.pipeline_state.steps == 0)


def rollout_step(
    env: Environment,
    act: Act,
    carry: tuple[Any, State, NanSnapshot],
    fresh: State,
    images: Images,
    index: jax.Array | int,
    *,
    places: tuple[jax.Array, ...] = (),
    key: jax.Array,
) -> tuple[tuple[Any, State, NanSnapshot], StepRecord]:
    """Acts, takes one control step in every world and resets those whose episode ended.

    Args:
        env: the environment of one world.
        act: (rnn_state, worlds, images, key) -> rnn_state, raw action (B, J), extras.
        carry: the actor's recurrent state (B, H), B worlds, the first non-finite world so far.
        fresh: B worlds at the start of an episode, for those that finish.
        images: pictures of the worlds now.
        index: step of the rollout.
        places: where each camera sees the task's keypoints, (B, K, 2).
        key: random key.
    """
    rnn_state, state, snapshot = carry
    rnn_state, raw, extras = act(rnn_state, state, images, key)
    action = jnp.tanh(raw)
    after = step_envs(env, state, action)
    snapshot = record_first_nan(snapshot, state, after, action, jnp.int32(index))
    params = after.pipeline_state.episode_params
    done = after.done > 0
    transition = Transition(
        obs=state.obs,
        next_obs=after.obs,
        images=images,
        raw_action=raw,
        extras=extras,
        reward=after.reward,
        terminated=after.info["terminated"],
        done=done,
        is_first=is_first(state),
        places=places,
    )
    success = after.metrics["success"]
    episodes = Episodes(done, success, params.kind, params.version, params.xi)
    step = (transition, episodes, after.metrics)
    return (rnn_state, auto_reset(after, fresh), snapshot), step


def rollout(
    env: Environment,
    act: Act,
    rnn_state: Any,
    state: State,
    fresh: State,
    num_steps: int,
    *,
    key: jax.Array,
) -> tuple[Any, State, Rollout]:
    """Runs ``num_steps`` control steps in every world, without cameras, as one scan.

    Args:
        env: the environment of one world.
        act: (rnn_state, worlds, images, key) -> rnn_state, raw action (B, J), extras.
        rnn_state: the actor's recurrent state, a tree of (B, ...).
        state: B worlds.
        fresh: B worlds at the start of an episode, for those that finish.
        num_steps: T.
        key: random key.

    Returns:
        The recurrent state and the worlds after the last step, and the batch.
    """

    def one(
        carry: tuple[Any, State, NanSnapshot], inputs: tuple[jax.Array, jax.Array]
    ) -> tuple[tuple[Any, State, NanSnapshot], StepRecord]:
        return rollout_step(env, act, carry, fresh, (), inputs[1], key=inputs[0])

    carry = (rnn_state, state, empty_snapshot(state, env.action_size))
    inputs = (jax.random.split(key, num_steps), jnp.arange(num_steps))
    (rnn_state, state, snapshot), steps = jax.lax.scan(one, carry, inputs)
    return rnn_state, state, as_rollout(steps, snapshot)


def as_rollout(steps: StepRecord, snapshot: NanSnapshot) -> Rollout:
    """Returns the batch of T steps [T, B, ...] with the sums over its episodes."""
    transitions, episodes, metrics = steps
    return Rollout(transitions, episodes, episode_stats(episodes, metrics), snapshot)


def episode_stats(episodes: Episodes, metrics: dict[str, jax.Array]) -> EpisodeStats:
    """Returns sums over the episodes that ended among [T, B] steps; see `EpisodeStats`."""
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
