"""NaN snapshots on disk, and their replay in MJX and in C MuJoCo with the same commands.

A record is two files in the run's folder: nan/000123.npz holds every array of the world before the
step, nan/000123.json says which world it was and what its parameters were. `replay` tells whose
fault it was: a model that C MuJoCo cannot simulate either has an impossible draw of the table, one
that only MJX loses is a matter of MJX (float32, solver iterations), and one whose physics neither
loses is a task whose reward, signals, privileged values or label are no numbers: they are named.
"""

import copy
import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import mujoco
import numpy as np

from mjx_s2r.io import checkpoint_leaves
from mjx_s2r.io.run import Run, write_json
from mjx_s2r.sim import task_calls
from mjx_s2r.sim.backends.c_fields import burst
from mjx_s2r.sim.effects import actuator, motor, world
from mjx_s2r.sim.env import Env
from mjx_s2r.sim.interface import State, all_finite
from mjx_s2r.sim.model.leaves import write

FOLDER = "nan"
MOST = 20  # records in one run; a training that loses worlds all the time shows it in the first


class NanReplayError(RuntimeError):
    """A record that cannot be replayed; the message names it and why."""


@dataclass(frozen=True)
class ReplayResult:
    """Result of a replay.

    Attributes:
        record: its name.
        mjx: names of what is not finite after the step in MJX, what a task computes only where its
            physics is; empty if all is.
        c_step: physics step, from 1, at which C MuJoCo gave up; 0 if it did not.
        c_warning: what it said then.
        c_speed: largest |qvel| in C MuJoCo, rad/s or m/s.
    """

    record: str
    mjx: tuple[str, ...]
    c_step: int
    c_warning: str
    c_speed: float

    def __str__(self) -> str:
        """Returns the finding in one line."""
        ours = f"MJX loses {', '.join(self.mjx)}" if self.mjx else "MJX stays finite"
        theirs = (
            f"C MuJoCo gives up in physics step {self.c_step} ({self.c_warning})"
            if self.c_step
            else f"C MuJoCo stays finite (largest speed {self.c_speed:.3g})"
        )
        return f"{self.record}: {ours}; {theirs}"


def save_snapshots(run: Run, last: int, bads: Any, names: tuple[str, ...]) -> int:
    """Writes the records of a stretch of iterations; returns how many.

    Args:
        run: the run.
        last: number of the stretch's last iteration.
        bads: `mjx_s2r.learn.nan_guard.NanSnapshot` on the host, every leaf stacked [K, ...].
        names: names of the table's rows.
    """
    folder, count = run.path / FOLDER, 0
    if not run.writes or not bads.found.any():
        return 0
    for k in np.flatnonzero(bads.found):
        one = jax.tree.map(lambda x, k=k: x[k], bads)
        iteration = last - len(bads.found) + 1 + int(k)
        try:
            folder.mkdir(exist_ok=True)
            if len(list(folder.glob("*.json"))) >= MOST:
                break
            _write(folder / f"{iteration:06d}", iteration, one, names)
            count += 1
        except OSError as error:
            run.note_loss(FOLDER, error)
    return count


def snapshot_files(path: Path) -> list[Path]:
    """Returns the records of the run in ``path``, oldest first, without their suffix."""
    return [file.with_suffix("") for file in sorted((path / FOLDER).glob("*.json"))]


def load_snapshot(env: Env, record: Path) -> tuple[State, jax.Array]:
    """Returns the world before the step and the action it was given.

    Raises:
        QuarantineError: files missing or cut short, or of another task or program.
    """
    try:
        with np.load(record.with_suffix(".npz")) as file:
            held = {name: file[name] for name in file.files}
    except (OSError, ValueError) as error:
        raise NanReplayError(f"{record}.npz cannot be read: {error}") from error
    like = jax.eval_shape(env.reset, jax.random.key(0))
    sim = _fill(like.pipeline_state, held, "env_state", record)
    obs = _fill(like.obs, held, "obs", record)
    blank = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), replace(like, pipeline_state=None))
    return replace(blank, pipeline_state=sim, obs=obs), jnp.asarray(held["action"])


def replay_snapshot(env: Env, record: Path) -> ReplayResult:
    """Takes the recorded step again, in MJX and in C MuJoCo, and says which of them loses it.

    Raises:
        QuarantineError: a record that does not fit the environment.
    """
    before, action = load_snapshot(env, record)
    after = jax.jit(env.step)(before, action)
    lost = _lost(env, after, action) if float(after.metrics["nan"]) else ()
    step, warning, speed = _in_c(env, before, after)
    return ReplayResult(record.name, lost, step, warning, speed)


def _lost(env: Env, after: State, action: jax.Array) -> tuple[str, ...]:
    """Returns the names of what is not finite after a step: of physics, else of the task."""
    sim = after.pipeline_state
    core = sim.physics_state
    moved = {"qpos": core.qpos, "qvel": core.qvel, "command": sim.command}
    lost = tuple(name for name, x in moved.items() if not bool(all_finite(x)))
    if lost:
        return lost

    @jax.jit
    def told(state: State) -> dict[str, jax.Array]:
        """Returns whether each result of the task's functions is finite, by name."""
        found = task_calls.call_all(env.task, env.view(state), action)
        found |= {"memory": state.pipeline_state.physics_state.memory}
        return {name: all_finite(x) for name, x in found.items()}

    wrong = tuple(name for name, fine in told(after).items() if not bool(fine))
    return wrong or (("the episode's start",) if bool(sim.invalid) else ("observations",))


def _in_c(env: Env, before: State, after: State) -> tuple[int, str, float]:
    """Returns where C MuJoCo gave up, what it said, and its largest speed."""
    old, new = before.pipeline_state, after.pipeline_state
    xi = env.current_params(before)
    mj_model = copy.copy(env.task.mj_model)
    write(mj_model, env.binding, np.asarray(old.episode_params.xi))
    mj_model.opt.disableflags |= mujoco.mjtDisableBit.mjDSBL_AUTORESET
    data = mujoco.MjData(mj_model)
    data.qpos[:], data.qvel[:], data.time = (
        old.physics_state.qpos,
        old.physics_state.qvel,
        float(old.physics_state.time),
    )
    data.ctrl[:] = old.physics_state.ctrl
    data.act[:], data.qacc_warmstart[:] = old.physics_state.act, old.physics_state.warmstart
    data.mocap_pos[:], data.mocap_quat[:] = (
        old.physics_state.mocap_pos,
        old.physics_state.mocap_quat,
    )
    if new.push is not None:
        data.xfrc_applied[:] = world.wrench(env.world, new.push, xi)
    stall = mj_model.actuator_forcerange.copy()
    loss = actuator.values(env.actuator, xi)["speed_loss"]
    speed = 0.0
    for step in range(env.task.substeps):
        drive = actuator.drive(env.actuator, new.actuator, xi, jnp.int32(step))
        data.ctrl[env.drives.actuators] = drive
        if env.motor is not None:
            qvel = np.asarray(data.qvel)
            force = motor.force_range(env.motor, np, stall, np.asarray(loss), qvel)
            mj_model.actuator_forcerange[:] = force
        mujoco.mj_step(mj_model, data)
        if given_up := burst(data):
            return step + 1, ", ".join(given_up), speed
        speed = max(speed, float(np.abs(data.qvel).max(initial=0.0)))
    return 0, "", speed


def _write(path: Path, iteration: int, bad: Any, names: tuple[str, ...]) -> None:
    """Writes one record; the .json comes last and makes it valid."""
    arrays = {"action": np.asarray(bad.action)}
    for part in ("env_state", "obs"):
        for where, leaf in jax.tree_util.tree_leaves_with_path(getattr(bad, part)):
            arrays[part + jax.tree_util.keystr(where)] = np.asarray(leaf)
    np.savez(path.with_suffix(".npz"), **arrays)  # type: ignore[arg-type]
    xi = [float(x) for x in bad.env_state.episode_params.xi]
    about = {
        "iteration": iteration,
        "step": int(bad.step),
        "world": int(bad.world),
        "xi": dict(zip(names, map(repr, xi), strict=True)),  # words: they may not be finite
        "action": [repr(float(x)) for x in bad.action],
    }
    write_json(path.with_suffix(".json"), about)


def _fill(like: Any, held: dict[str, np.ndarray], part: str, record: Path) -> Any:
    """Returns the tree ``like`` with the arrays of a record."""
    pairs, structure = jax.tree_util.tree_flatten_with_path(like)
    leaves = []
    for where, leaf in pairs:
        name = part + jax.tree_util.keystr(where)
        value = held.get(name)
        is_key = checkpoint_leaves.is_key(leaf)
        if value is None or (not is_key and value.shape != leaf.shape):
            found = "nothing" if value is None else value.shape
            raise NanReplayError(
                f"{record} holds {found} for {name}, the environment expects {leaf.shape}; replay "
                "it with the program and the task that wrote it"
            )
        leaves.append(
            jax.random.wrap_key_data(jnp.asarray(value)) if is_key else jnp.asarray(value)
        )
    return jax.tree.unflatten(structure, leaves)


def record_about(record: Path) -> dict[str, Any]:
    """Returns what a record says of itself: iteration, step, world, xi and action in words."""
    return dict(json.loads(record.with_suffix(".json").read_text()))
