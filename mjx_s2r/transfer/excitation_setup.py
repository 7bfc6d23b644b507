"""Experiments of a task's robot, or of a robot's file alone: rows, limits and home.

The limits are those of the robot side's guard (`mjx_s2r.robot.safety`) at its full speed, from the
data sheet that the model gives; the robot's own may be narrower, and it checks every motion.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import mujoco
import numpy as np

from mjx_s2r import drives
from mjx_s2r.contract import ContractError
from mjx_s2r.curriculum.coordinates import select_rows
from mjx_s2r.params import ParamError, ParamSpace
from mjx_s2r.robot.collect.actors import motion_contract
from mjx_s2r.robot.collect.plan import MotionConfig
from mjx_s2r.robot.drivers.mujoco_wiring import Rig, describe
from mjx_s2r.robot.safety import Guard, SafetyConfig
from mjx_s2r.sim.task import Task
from mjx_s2r.transfer.excitation import ExciteConfig, Experiment, prior_precision
from mjx_s2r.transfer.excitation_motion import FreeMotion
from mjx_s2r.transfer.posterior import Posterior
from mjx_s2r.transfer.problem import (
    USUAL,
    IdentifyProblem,
    is_fitted,
    load_model,
    model_problem,
    task_problem,
)
from mjx_s2r.transfer.recording import Channel, Recording
from mjx_s2r.transfer.unit_coordinates import nominal_z, unit_of


def experiment_of_task(
    task: Task,
    config: ExciteConfig,
    rows: Sequence[str] = (),
    about: Sequence[str] = (),
    posterior: Posterior | None = None,
) -> Experiment:
    """Returns the experiment of a task's robot.

    Args:
        task: its model, table, joints, rate, limits and home are taken.
        config: settings.
        rows: globs of rows that are open; () is what the posterior has, or all that motion tells.
        about: globs of those that count; () is all of them.
        posterior: what is known of them.

    Raises:
        ContractError: a robot that takes no positions, or whose home lies at a limit.
        ParamError: rows that do not exist or that motion does not tell.
    """
    action = task.contract.action
    if action.mode == "effort":
        raise ContractError(
            f"task {task.name!r} commands efforts, and motions are made of positions; write a "
            "model of the robot with position servos and name it by --model"
        )
    rig = Rig(action.joints, task.contract.control_hz, max_rate=action.max_rate)
    form = _form(task.mj_model, rig, np.array(action.home), config)
    fitted = np.array([is_fitted(row) for row in task.space.rows])
    chosen = select_rows(task.space, rows) if rows else fitted
    problem = task_problem(
        task.name, task.mj_model, task.space, chosen, [_planned(task.mj_model, form)]
    )
    return _experiment(problem, form, config, about, posterior, bool(rows))


def experiment_of_model(
    path: str | Path,
    config: ExciteConfig,
    rows: Sequence[str] = (),
    about: Sequence[str] = (),
    posterior: Posterior | None = None,
    *,
    control_hz: float = 50.0,
    max_rate: float = 1.0,
    home: Sequence[float] = (),
) -> Experiment:
    """Returns the experiment of a robot's file; see `experiment_of_task`.

    Args:
        path: MJCF or URDF file with a position servo at every joint that moves.
        config: settings.
        rows: globs of rows that are open; () is what the posterior has, or all but masses.
        about: globs of those that count; () is all of them.
        posterior: what is known of them.
        control_hz: commands per second.
        max_rate: fastest change of a command, unit/s.
        home: (J,) pose that motions begin and end in; () is that of the first keyframe, or of the
            file.

    Raises:
        ModelError: a file that is not there or that MuJoCo does not read.
        ContractError: a robot that takes no positions, or whose home lies at a limit.
        ParamError: rows that do not exist.
    """
    model = load_model(path)
    joints = tuple(
        model.joint(int(model.actuator_trnid[i, 0])).name
        for i in range(model.nu)
        if model.actuator_trntype[i] == mujoco.mjtTrn.mjTRN_JOINT
    )
    if not joints:
        raise ContractError(f"model {path} has no actuator at a joint; nothing can be moved")
    found = drives.resolve(model, joints)
    at_rest = model.key_qpos[0] if model.nkey else model.qpos0
    pose = np.array(home, float) if len(home) else at_rest[found.qpos]
    if pose.shape != (len(joints),):
        raise ContractError(f"home has {len(pose)} values for the {len(joints)} joints {joints}")
    rig = Rig(joints, control_hz, max_rate=(max_rate,) * len(joints))
    form = _form(model, rig, pose, config)
    problem = model_problem(model, [_planned(model, form)], Path(path).stem)
    chosen = select_rows(problem.space, rows or USUAL)
    space = ParamSpace(
        tuple(r for r, wanted in zip(problem.space.rows, chosen, strict=True) if wanted)
    )
    return _experiment(replace(problem, space=space), form, config, about, posterior, bool(rows))


def _form(mj_model: mujoco.MjModel, rig: Rig, home: np.ndarray, config: ExciteConfig) -> FreeMotion:
    """Returns the free motion of a model's robot.

    Raises:
        ContractError: it takes no positions, its home lies at a limit, or the frequencies are too
            high for its rate.
    """
    info = describe(mj_model, rig)
    guard = Guard.build(SafetyConfig(), motion_contract(info, rig.control_hz), info)
    for j, joint in enumerate(rig.joints):
        low, high = float(guard.limits.low[j]), float(guard.limits.high[j])
        if not low < home[j] < high:
            raise ContractError(
                f"joint {joint!r} is at {home[j]:.3f} at home, outside {low:.3f} to {high:.3f} "
                "that commands may use; name another home"
            )
    if config.last_hz > rig.control_hz / 4:
        raise ContractError(
            f"last_hz {config.last_hz} is above a quarter of the control rate "
            f"{rig.control_hz:g} Hz; ask for at most {rig.control_hz / 4:g} Hz"
        )
    return FreeMotion(
        guard,
        np.asarray(home, float),
        config.seconds,
        config.first_hz,
        config.last_hz,
        config.sines,
        config.max_acceleration,
    )


def _planned(mj_model: mujoco.MjModel, form: FreeMotion) -> Recording:
    """Returns a log of a robot that goes where it is told: what tables are sized by."""
    contract = form.guard.contract
    targets = form.usual(MotionConfig("chirp", seconds=form.seconds, together=True))
    found = drives.resolve(mj_model, contract.action.joints)
    channels = tuple(
        Channel("joint_pos", mj_model.joint(int(j)).name, unit="rad" if hinge else "m")
        for j, hinge in zip(found.joints, found.hinge, strict=True)
    )
    time_s, driven = np.arange(len(targets)) / contract.control_hz, np.ones(len(targets), bool)
    joints = contract.action.joints
    return Recording("planned", time_s, joints, "position", targets, driven, channels, targets)


def _experiment(
    problem: IdentifyProblem,
    form: FreeMotion,
    config: ExciteConfig,
    about: Sequence[str],
    posterior: Posterior | None,
    chosen: bool,
) -> Experiment:
    """Returns the experiment on a problem's rows, at the posterior's best values.

    Args:
        problem: model and rows.
        form: the free motion.
        config: settings.
        about: globs of rows that count.
        posterior: what is known.
        chosen: whether the rows were named; otherwise those of the posterior are taken.

    Raises:
        ParamError: no row is left.
    """
    space = problem.space
    if posterior is not None:
        known = {row.name: row for row in posterior.space.rows}
        rows = [known.get(row.name, row) for row in space.rows if chosen or row.name in known]
        space = ParamSpace(tuple(rows))
    if not len(space):
        raise ParamError(
            f"{problem.name}: there is no row to look for; name rows that motion can tell"
        )
    values = np.array([row.nominal for row in space.rows], float)
    z = nominal_z(space)
    if posterior is not None:
        for i, name in enumerate(space.names):
            if name in posterior.space.names:
                values[i] = posterior.best[posterior.space.index(name)]
        z = np.clip(unit_of(space, values), 0.0, 1.0)
    named = select_rows(space, list(about)) if about else np.ones(len(space), bool)
    return Experiment(
        replace(problem, space=space, recordings=()),
        form,
        config,
        z,
        prior_precision(space, posterior),
        named,
    )
