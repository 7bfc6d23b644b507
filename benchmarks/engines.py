"""C MuJoCo in batch against MJX on the same worlds, taking turns.

TASK.physics_ratio     physics steps/s of engine c over those of MJX, same controls and contacts
TASK.ppo_ratio         the same of PPO's steps/s, end to end with the task's own recipe
TASK.c_drift           engine c from a plain loop of C MuJoCo, which it should be to the bit
"""

from collections.abc import Iterator
from dataclasses import replace
from functools import partial

import jax
import mujoco
import numpy as np

from benchmarks.rows import Row, Settings
from benchmarks.timing import Stepper, measure
from benchmarks.workload import finite_share, initial_states, physics_alone
from mjx_s2r.api.teacher import recipe, teacher_trainer
from mjx_s2r.envs.registry import make_task
from mjx_s2r.sim.backends.physics_config import PhysicsConfig
from mjx_s2r.sim.env import Env, make
from mjx_s2r.sim.physics import PhysicsState

TASKS = ("reach", "lift", "quadruped", "cartpole", "quadruped_rough", "reorient")
ENGINES = ("jax", "c")
COMPARED = 4  # worlds that a plain loop of C MuJoCo runs as well


def run(settings: Settings) -> Iterator[Row]:
    """Yields the ratios of each task."""
    for name in TASKS:
        yield from physics(name, settings)
        yield from ppo(name, settings)


def physics(name: str, settings: Settings) -> Iterator[Row]:
    """Yields physics steps/s of both engines, their ratio, and the drift of engine c."""
    envs = {engine: make(make_task(name), PhysicsConfig(engine)) for engine in ENGINES}  # type: ignore[arg-type]
    substeps = envs["c"].task.substeps
    steps = -(-settings.physics_steps // substeps) * substeps
    calls = {}
    for engine, env in envs.items():
        core, ctrl = initial_states(env, settings.num_envs, key=jax.random.key(0))
        calls[engine] = partial(physics_alone(env, steps), core, ctrl)
    timing = measure(calls, settings.repeat, settings.min_s)
    amount = settings.num_envs * steps
    for engine, taken in timing.items():
        yield Row("engines", f"{name}.{engine}.steps_per_s", amount / taken.median_s, "steps/s")
    ratio = timing["jax"].median_s / timing["c"].median_s
    yield Row("engines", f"{name}.physics_ratio", ratio, "1")
    yield Row("engines", f"{name}.finite_worlds", finite_share(calls["c"]()), "1")
    yield Row("engines", f"{name}.c_drift", drift(envs["c"], settings.num_envs, steps), "rad, m")


def ppo(name: str, settings: Settings) -> Iterator[Row]:
    """Yields PPO's steps/s with both engines, and their ratio."""
    config, calls = recipe(name), {}
    for engine in ENGINES:
        trainer = teacher_trainer(replace(config, physics=PhysicsConfig(engine)))  # type: ignore[arg-type]
        state = trainer.init(jax.random.key(0))
        calls[engine] = Stepper(lambda s, _, t=trainer: t.iterate(s), state)  # type: ignore[misc]
    timing = measure(calls, settings.repeat, settings.min_s)
    amount = config.ppo.num_envs * config.ppo.num_steps
    for engine, taken in timing.items():
        yield Row("engines", f"{name}.{engine}.ppo_steps_per_s", amount / taken.median_s, "steps/s")
        compiled = f"{name}.{engine}.ppo_steps_per_s.compile"
        yield Row("engines", compiled, taken.compile_s, "s")
    ratio = timing["jax"].median_s / timing["c"].median_s
    yield Row("engines", f"{name}.ppo_ratio", ratio, "1")


def drift(env: Env, num_envs: int, steps: int) -> float:
    """Returns the largest difference of a position from a plain loop that rounds as states do."""
    core, ctrl = initial_states(env, num_envs, key=jax.random.key(0))
    after, worst = physics_alone(env, steps)(core, ctrl), 0.0
    for world in range(min(COMPARED, num_envs)):
        one, told = jax.tree.map(lambda x, w=world: np.asarray(x[w]), (core, ctrl))
        theirs = _plain(env, one, told, steps)
        worst = max(worst, float(np.abs(after.qpos[world] - theirs).max()))
    return worst


def _plain(env: Env, core: PhysicsState, ctrl: np.ndarray, steps: int) -> np.ndarray:
    """Returns positions (nq,) after some steps of C MuJoCo, float32 between control steps."""
    model = env.task.mj_model
    data = mujoco.MjData(model)
    kept = ("qpos", "qvel", "act", "qacc_warmstart")
    data.qpos[:], data.qvel[:], data.act[:] = core.qpos, core.qvel, core.act
    data.mocap_pos[:], data.mocap_quat[:] = core.mocap_pos, core.mocap_quat
    for step in range(steps):
        data.ctrl[:] = ctrl
        mujoco.mj_step(model, data)
        if (step + 1) % env.task.substeps == 0:
            for name in kept:
                value = getattr(data, name)
                value[:] = value.astype(np.float32)
    return data.qpos.astype(np.float32)
