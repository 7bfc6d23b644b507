"""Physics alone: steps of mjx.step in one scan, and how far they stray from C MuJoCo.

    drift          MJX from C MuJoCo with the solver settings of the model
    solver_drift   C MuJoCo with those settings from C MuJoCo with a solver that has converged

A drift near solver_drift comes from the few solver iterations that the model allows, not from MJX.
"""

import copy
import functools

import jax
import mujoco
import numpy as np

from benchmarks.rows import Row, Settings, timed
from benchmarks.timing import measure
from benchmarks.workload import finite_share, initial_states, physics_alone
from mjx_s2r.envs.registry import make_task
from mjx_s2r.sim.env import Env, make
from mjx_s2r.sim.physics import PhysicsState

TASKS = ("reach", "cartpole")
COMPARED = 8  # worlds that C MuJoCo runs as well
CONVERGED = (100, 50)  # iterations, ls_iterations


def run(settings: Settings) -> list[Row]:
    """Returns steps/s of each task's physics and the drift over the same steps."""
    rows = []
    for name in TASKS:
        env = make(make_task(name))
        core, ctrl = initial_states(env, settings.num_envs, key=jax.random.key(0))
        go = physics_alone(env, settings.physics_steps)
        call = functools.partial(go, core, ctrl)
        timing = measure({name: call}, settings.repeat, settings.min_s)[name]
        steps = settings.num_envs * settings.physics_steps
        after = go(core, ctrl)
        rows += timed("physics", f"{name}.steps_per_s", timing, steps, "steps/s")
        rows += [
            Row("physics", f"{name}.finite_worlds", finite_share(after), "1"),
            *drift(env, (core, ctrl), after, settings),
        ]
    return rows


def drift(
    env: Env, before: tuple[PhysicsState, jax.Array], after: PhysicsState, settings: Settings
) -> list[Row]:
    """Returns the largest differences of a position, over a few worlds."""
    model, name = env.task.mj_model, env.task.name
    exact = copy.copy(model)
    exact.opt.iterations, exact.opt.ls_iterations = CONVERGED
    worst = np.zeros(2)
    for world in range(min(COMPARED, settings.num_envs)):
        core, ctrl = jax.tree.map(lambda x, w=world: np.asarray(x[w]), before)
        theirs, best = (_mujoco(m, core, ctrl, settings.physics_steps) for m in (model, exact))
        gaps = np.abs(after.qpos[world] - theirs).max(), np.abs(best - theirs).max()
        worst = np.maximum(worst, gaps)
    return [
        Row("physics", f"{name}.drift", float(worst[0]), "rad, m"),
        Row("physics", f"{name}.solver_drift", float(worst[1]), "rad, m"),
    ]


def _mujoco(model: mujoco.MjModel, core: PhysicsState, ctrl: np.ndarray, steps: int) -> np.ndarray:
    """Returns positions (nq,) after some steps of C MuJoCo."""
    data = mujoco.MjData(model)
    data.qpos[:], data.qvel[:], data.ctrl[:] = core.qpos, core.qvel, ctrl
    data.mocap_pos[:], data.mocap_quat[:] = core.mocap_pos, core.mocap_quat
    for _ in range(steps):
        mujoco.mj_step(model, data)
    return np.array(data.qpos)
