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
from mjx_s2r.mjcf.load import load
from mjx_s2r.params import ParamError, ParamSpace
from mjx_s2r.robot.collect.actors import motion_contract
from mjx_s2r.robot.drivers.mujoco_wiring import Rig, describe
from mjx_s2r.robot.safety import Guard, SafetyConfig
from mjx_s2r.sim.task import Task
from mjx_s2r.transfer.excitation import Experiment, MotionSearchConfig, prior_precision
from mjx_s2r.transfer.excitation_motion import FreeMotion
from mjx_s2r.transfer.posterior import Posterior
from mjx_s2r.transfer.problem import (
    USUAL,
    IdentifyProblem,
    is_fitted,
    model_problem,
    task_problem,
)
from mjx_s2r.transfer.recording import Channel, Recording
from mjx_s2r.transfer.unit_coordinates import nominal_z, unit_of

SWING_S = 4.0  # period of the swing that a model's table is sized by, s


def experiment_of_task(
    task: Task,
    config: MotionSearchConfig,
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
    usual = np.array([is_fitted(row) for row in task.space.rows])
    table, chosen = _open_rows(task.space, usual, rows, posterior)
    planned = _planned(task.mj_model, rig, form.home)
    problem = task_problem(task.name, task.mj_model, table, chosen, [planned])
    return _experiment(problem, form, config, about, posterior)


def experiment_of_model(
    path: str | Path,
    config: MotionSearchConfig,
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
        path: MJCF or URDF file with an actuator at every joint that moves; a motor is taken for a
            servo, as an identification of recorded positions does.
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
    model = load(Path(path)).model
    joints = tuple(
        model.joint(int(model.actuator_trnid[i, 0])).name
        for i in range(model.nu)
        if model.actuator_trntype[i] in drives.ON_JOINT
    )
    if not joints:
        raise ContractError(f"model {path} has no actuator at a joint; nothing can be moved")
    found = drives.resolve(model, joints)
    at_rest = model.key_qpos[0] if model.nkey else model.qpos0
    pose = np.array(home, float) if len(home) else at_rest[found.qpos]
    if pose.shape != (len(joints),):
        raise ContractError(f"home has {len(pose)} values for the {len(joints)} joints {joints}")
    rig = Rig(joints, control_hz, max_rate=(max_rate,) * len(joints))
    planned = _planned(model, rig, pose)
    whole = model_problem(model, [planned], Path(path).stem)
    form = _form(whole.mj_model, rig, pose, config)
    usual = select_rows(whole.space, USUAL)
    table, chosen = _open_rows(whole.space, usual, rows, posterior)
    problem = task_problem(whole.name, whole.mj_model, table, chosen, [planned])
    return _experiment(problem, form, config, about, posterior)


def _open_rows(
    table: ParamSpace, usual: np.ndarray, rows: Sequence[str], posterior: Posterior | None
) -> tuple[ParamSpace, np.ndarray]:
    """Returns a table, with a posterior's own rows in place of its, and a mask of those open.

    Args:
        table: of the task or the model.
        usual: (all rows,) True for those that are open where neither rows nor posterior say so.
        rows: globs of the open rows; () is all of the posterior.
        posterior: what is known; its rows have the limits that they were searched in.
    """
    if posterior is None:
        return table, select_rows(table, list(rows)) if rows else usual
    known = posterior.space
    others = [row for row in table.rows if row.name not in known.names]
    alone = tuple(replace(row, correlation="", rho=1.0) for row in (*known.rows, *others))
    whole = ParamSpace(alone)
    first = np.arange(len(whole)) < len(known)
    return whole, select_rows(whole, list(rows)) if rows else first


def _form(
    mj_model: mujoco.MjModel, rig: Rig, home: np.ndarray, config: MotionSearchConfig
) -> FreeMotion:
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


def _planned(mj_model: mujoco.MjModel, rig: Rig, home: np.ndarray) -> Recording:
    """Returns a log of a robot that goes where it is told: what tables are sized by.

    Every joint swings about home, a quarter of its range to either side.
    """
    found = drives.resolve(mj_model, rig.joints)
    limited = mj_model.jnt_limited[found.joints].astype(bool)
    reach = np.where(limited, np.ptp(mj_model.jnt_range[found.joints], axis=1) / 4, 0.5)
    time_s = np.arange(round(SWING_S * rig.control_hz)) / rig.control_hz
    targets = home + reach * np.sin(2 * np.pi * time_s[:, None] / SWING_S)
    channels = tuple(
        Channel("joint_pos", mj_model.joint(int(j)).name, unit="rad" if hinge else "m")
        for j, hinge in zip(found.joints, found.hinge, strict=True)
    )
    driven = np.ones(len(targets), bool)
    return Recording("planned", time_s, rig.joints, "position", targets, driven, channels, targets)


def _experiment(
    problem: IdentifyProblem,
    form: FreeMotion,
    config: MotionSearchConfig,
    about: Sequence[str],
    posterior: Posterior | None,
) -> Experiment:
    """Returns the experiment on a problem's rows, at the posterior's best values.

    Raises:
        ParamError: no row is left.
    """
    space = problem.space
    if not len(space):
        raise ParamError(
            f"{problem.name}: there is no row to look for; name rows that motion can tell"
        )
    z = nominal_z(space)
    if posterior is not None:
        best = dict(zip(posterior.space.names, posterior.best.tolist(), strict=True))
        values = np.array([best.get(row.name, row.nominal) for row in space.rows], float)
        known = np.array([row.name in best for row in space.rows])
        z = np.where(known, np.clip(unit_of(space, values), 0.0, 1.0), z)
    named = select_rows(space, list(about)) if about else np.ones(len(space), bool)
    precision = prior_precision(space, posterior)
    return Experiment(replace(problem, recordings=()), form, config, z, precision, named)
