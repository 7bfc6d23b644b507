"""The environment: steps/s on reach, and what the table costs.

Three compiled rollouts of the same task take turns:

    redrawn   every row drawn at its limits, a fresh draw for each episode, as in training
    kept      every row drawn at its limits, once
    bare      a table without rows, no resets

overhead_ratio is redrawn over bare, in steps/s; kept tells draws apart from resets.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from benchmarks.rows import Row, Settings, timed
from benchmarks.timing import Stepper, measure
from benchmarks.workload import finite_share, reach, widest
from mjx_s2r.curriculum.uniform import uniform
from mjx_s2r.envs.reach import SPACE
from mjx_s2r.learn.rollout import randomize_episode_time, reset_envs, rollout
from mjx_s2r.params import ParamSpace
from mjx_s2r.sim.env import Env, make
from mjx_s2r.sim.interface import EpisodeParams, State, nominal_params

Rollout = Callable[[State, int], tuple[State, Any]]


def run(settings: Settings) -> list[Row]:
    """Returns steps/s, overhead of the table, memory of a world, and the gap at nominal values."""
    full, bare = make(reach(widest(SPACE))), make(reach(ParamSpace(())))
    drawn, plain = kept(full, settings.num_steps), kept(bare, settings.num_steps)
    start, simple = _beginner(full), _beginner(bare)
    same, varied = _nominal(bare, settings.num_envs), _drawn(full, settings.num_envs)
    calls = {
        "redrawn": Stepper(redrawn(full, settings), start(varied)),
        "kept": Stepper(drawn, start(varied)),
        "bare": Stepper(plain, simple(same)),
    }
    timings = measure(calls, settings.repeat, settings.min_s)
    rows = []
    for name, timing in timings.items():
        steps = settings.num_envs * settings.num_steps
        rows += timed("env", f"{name}.steps_per_s", timing, steps, "steps/s")
    gap = _gap(drawn(start(_nominal(full, settings.num_envs)), 0)[0], plain(simple(same), 0)[0])
    state, base = calls["redrawn"].state, timings["bare"].median_s
    return [
        *rows,
        Row("env", "overhead_ratio", base / timings["redrawn"].median_s, "1"),
        Row("env", "kept_ratio", base / timings["kept"].median_s, "1"),
        Row("env", "episodes", float(calls["redrawn"].out.episodes), "1"),
        Row(
            "env",
            "finite_worlds",
            finite_share((state.obs, state.pipeline_state.physics_state)),
            "1",
        ),
        Row("env", "nominal_gap", gap, "rad"),
        Row("env", "memory", _nbytes(state) / settings.num_envs, "B/world"),
        Row(
            "env",
            "memory.leaves",
            _nbytes(state.pipeline_state.leaves) / settings.num_envs,
            "B/world",
        ),
    ]


def redrawn(env: Env, settings: Settings) -> Rollout:
    """Returns the compiled rollout of training: a fresh reset per world, random actions."""
    schedule = uniform(env.space)

    def act(
        memory: tuple, worlds: State, images: tuple, key: jax.Array
    ) -> tuple[tuple, jax.Array, tuple]:
        return memory, _raw(env, settings.num_envs, key=key), ()

    def go(state: State, count: int) -> tuple[State, Any]:
        key_draw, key_reset, key_roll = jax.random.split(jax.random.key(count), 3)
        draws = schedule.sample(schedule.init(), settings.num_envs, key_draw)
        fresh = reset_envs(env, draws, key=key_reset)
        _, state, rolled = rollout(env, act, (), state, fresh, settings.num_steps, key=key_roll)
        return state, rolled.stats

    return jax.jit(go, donate_argnums=0)


def kept(env: Env, num_steps: int) -> Rollout:
    """Returns the compiled rollout without resets, random actions."""

    def one(state: State, key: jax.Array) -> tuple[State, None]:
        raw = _raw(env, state.reward.shape[0], key=key)
        return jax.vmap(env.step)(state, jnp.tanh(raw)), None

    def go(state: State, count: int) -> tuple[State, Any]:
        return jax.lax.scan(one, state, jax.random.split(jax.random.key(count), num_steps))

    return jax.jit(go, donate_argnums=0)


def _raw(env: Env, worlds: int, *, key: jax.Array) -> jax.Array:
    """Returns random raw actions (B, J)."""
    return jax.random.normal(key, (worlds, env.action_size))


def _beginner(env: Env) -> Callable[[EpisodeParams], State]:
    """Returns the compiled function from draws to worlds in the middle of their episodes."""

    @jax.jit
    def start(draws: EpisodeParams) -> State:
        key = jax.random.key(1)
        return randomize_episode_time(env, reset_envs(env, draws, key=key), key=key)

    return start


def _nominal(env: Env, worlds: int) -> EpisodeParams:
    """Returns the nominal draw for B worlds."""
    one = nominal_params(env.space)
    return jax.tree.map(lambda x: jnp.broadcast_to(x, (worlds, *x.shape)), one)


def _drawn(env: Env, worlds: int) -> EpisodeParams:
    """Returns draws for B worlds over the table's ranges."""
    schedule = uniform(env.space)
    return schedule.sample(schedule.init(), worlds, jax.random.key(2))


def _gap(first: State, second: State) -> float:
    """Returns the largest difference of a joint position between two runs."""
    return float(
        jnp.abs(
            first.pipeline_state.physics_state.qpos - second.pipeline_state.physics_state.qpos
        ).max()
    )


def _nbytes(tree: Any) -> int:
    """Returns the bytes of all arrays in a tree."""
    return sum(x.nbytes for x in jax.tree.leaves(tree))
