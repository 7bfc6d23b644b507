"""What is to be identified: a MuJoCo model, the rows to fit, and the recordings that speak of them.

A task brings its own table. A model alone gets one: per joint armature, viscous and dry friction,
encoder zero; per actuator gain, damping, force limit or strength, lag; the delay of all commands.
Their limits are wide and follow from the model and from the recordings: inertia at the joint,
torque that the recorded motion takes, speeds that were reached.
"""

import copy
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import mujoco
import numpy as np

from mjx_s2r import drives
from mjx_s2r.contract import ContractError
from mjx_s2r.params import Param, ParamError, ParamSpace, add, scale, set_to, unknown
from mjx_s2r.sim.model.fields import ELEMENTS, element_names
from mjx_s2r.sim.model.leaves import bind_model, write
from mjx_s2r.transfer.recording import Channel, CommandMode, Recording, RecordingError
from mjx_s2r.transfer.unread_joints import (
    floating_words,
    is_floating,
    read_hinges,
    unread_carriers,
)

FITTED_ARRAYS = {
    "actuator": ("delay_s", "offset", "backlash", "speed_loss"),
    "sensor": ("delay_s", "gain"),
}
"""Arrays with an effect that is the same at every repetition; noise and losses have none."""
LONGEST_DELAY_S = 0.15
LONGEST_STEP_S = 0.004  # of a replay's physics: longer ones bend inertia and damping
TINY = 1e-6  # MJX compiles a zero frictionloss out


@dataclass(frozen=True, eq=False)
class IdentifyProblem:
    """Rows to fit, and what they are fitted to.

    Attributes:
        name: of the task, or of the model's file.
        mj_model: the nominal model.
        space: the D rows that are fitted.
        recordings: at least one; all with the same joints and channels.
        notes: what was changed in the model so that it takes the recorded commands.
        as_simulated: the replay is what a simulation by these time steps does, with the inertia
            that they add or take; else rows are the robot's, in continuous time.
    """

    name: str
    mj_model: mujoco.MjModel
    space: ParamSpace
    recordings: tuple[Recording, ...]
    notes: tuple[str, ...] = ()
    as_simulated: bool = False


def task_problem(
    name: str,
    mj_model: mujoco.MjModel,
    table: ParamSpace,
    chosen: np.ndarray,
    recordings: Sequence[Recording],
    *,
    own_step: bool = False,
) -> IdentifyProblem:
    """Returns the problem of fitting some rows of a task's table.

    Args:
        name: of the task.
        mj_model: its model.
        table: its rows.
        chosen: (all rows,) True for those to fit.
        recordings: what was measured.
        own_step: replay at the model's own time step, as it is trained, however long it is.

    Raises:
        ParamError: a row that no recording can tell of, such as a noise.
        RecordingError: recordings that do not fit each other or the model, or commands of a kind
            that its actuators do not take.
    """
    rows = [row for row, wanted in zip(table.rows, chosen, strict=True) if wanted]
    for row in rows:
        if not is_fitted(row):
            raise ParamError(
                f"parameter {row.name!r} acts on {row.field!r}, which motion alone does not tell; "
                f'take it out of --rows ("~{row.name}"); fitted are rows on model.* and on '
                + ", ".join(f"{g}.{a}" for g, arrays in FITTED_ARRAYS.items() for a in arrays)
            )
    recordings = _alike(mj_model, recordings)
    _check_mode(mj_model, recordings[0])
    recordings = _as_controls(mj_model, recordings)
    alone = tuple(replace(row, correlation="", rho=1.0, resample="episode") for row in rows)
    fine, notes = (mj_model, ()) if own_step else _finer(mj_model)
    fine, notes = _released(fine, recordings, notes)
    return IdentifyProblem(name, fine, ParamSpace(alone), recordings, notes)


def is_fitted(row: Param) -> bool:
    """Returns whether a recording of motion can tell of a row."""
    if row.law == "categorical" or row.limits[0] == row.limits[1]:
        return False
    return row.group == "model" or row.array in FITTED_ARRAYS.get(row.group, ())


def model_problem(
    mj_model: mujoco.MjModel, recordings: Sequence[Recording], name: str = "model"
) -> IdentifyProblem:
    """Returns the problem of a model without a task, with every row that it can have.

    Actuators that do not take the recorded commands are made to: a motor that was sent positions
    becomes a servo whose gain is fitted, a servo that was sent efforts a motor.

    Raises:
        RecordingError: recordings that do not fit each other or the model.
        ContractError: a joint without an actuator of its own.
    """
    recordings = _alike(mj_model, recordings)
    first = recordings[0]
    fine, finer = _finer(mj_model)
    fine, finer = _released(fine, recordings, finer)
    model, notes = _taking(fine, first.joints, first.mode, recordings)
    recordings = _as_controls(model, recordings)
    rows = rows_of_model(model, recordings)
    return IdentifyProblem(name, model, rows, recordings, (*finer, *notes))


def without_channels(
    recordings: Sequence[Recording], names: Collection[str]
) -> tuple[Recording, ...]:
    """Returns recordings without the channels of these names, as `Channel` writes them."""
    found = []
    for r in recordings:
        kept = [c for c, channel in enumerate(r.channels) if str(channel) not in names]
        channels = tuple(r.channels[c] for c in kept)
        found.append(replace(r, channels=channels, readings=r.readings[:, kept]))
    return tuple(found)


def with_constants(mj_model: mujoco.MjModel, constants: Mapping[str, float]) -> mujoco.MjModel:
    """Returns the model of one recording: numbers of the log's head written into a copy.

    Keys are "array.element" with the arrays of the "model" group, e.g. "actuator_kp.servo" or
    "body_mass.bob", and "array.element[column]" for one number of several, e.g. "body_pos.bob[2]".

    Raises:
        ParamError: an array or element that the model does not have.
    """
    if not constants:
        return mj_model
    rows = []
    for key, value in constants.items():
        array, element, column = split_constant(key)
        if array not in ELEMENTS:
            raise unknown(f"array in the constant {key!r}:", array, list(ELEMENTS))
        elements = () if ELEMENTS[array] is None else (element,)
        more: dict[str, Any] = {} if column is None else {"column": column}
        ends = sorted((float(value), float(value) * (1 + 1e-9) + 1e-12))
        rows.append(
            set_to(key, f"model.{array}", elements, (ends[0], ends[1]), nominal=ends[0], **more)
        )
    space = ParamSpace(tuple(rows))
    model = copy.copy(mj_model)
    write(model, bind_model(space, model), space.nominal.astype(float))
    return model


def split_constant(key: str) -> tuple[str, str, int | None]:
    """Returns array, element and column of a constant's key; see `with_constants`.

    Raises:
        ParamError: a key of another form.
    """
    match = re.fullmatch(r"(\w+)(?:\.([^\[\]]+))?(?:\[(\d+)\])?", key)
    if match is None:
        raise ParamError(
            f"constant {key!r} must be array.element or array.element[column], e.g. "
            "actuator_kp.servo or body_pos.bob[2]"
        )
    return match[1], match[2] or "", None if match[3] is None else int(match[3])


def rows_of_model(mj_model: mujoco.MjModel, recordings: Sequence[Recording]) -> ParamSpace:
    """Returns a table for a model without a task; rows carry their joint's name.

    Limits are wide: two to four decades for what a data sheet seldom tells.
    """
    joints, mode = recordings[0].joints, recordings[0].mode
    found = drives.resolve(mj_model, joints)
    loads = _loads(mj_model, found, recordings)
    rows: list[Param] = []
    released = any(not r.driven.all() for r in recordings)
    written = [with_constants(mj_model, r.constants) for r in recordings]
    for i, joint in enumerate(joints):
        actuator, load = int(found.actuators[i]), loads[i]
        motor = mj_model.actuator(actuator).name
        suffix = f"_{joint}"
        unit, turn = ("N m", "rad") if found.hinge[i] else ("N", "m")
        rows += _rows_of_joint(mj_model, int(found.joints[i]), suffix, load)
        if mode == "effort":
            rows.append(_ratio(f"strength{suffix}", "model.actuator_strength", motor))
            force = abs(drives.motor_gain(mj_model, actuator))
            reach = load.effort / force
            rows.append(
                add(
                    f"offset{suffix}",
                    "actuator.offset",
                    (joint,),
                    (-reach, reach),
                    unit=unit if np.isclose(force, 1.0) else "1",
                    source=GUESS,
                )
            )
        else:
            stiffness = float(np.median([m.actuator_gainprm[actuator, 0] for m in written]))
            rows.append(_ratio(f"gain{suffix}", "model.actuator_kp", motor, load.gain, stiffness))
            kd = -float(mj_model.actuator_biasprm[actuator, 2])
            if kd > 0:
                rows.append(_ratio(f"kd{suffix}", "model.actuator_kd", motor))
            elif released:
                size = load.effort / load.speed
                rows.append(
                    _positive(
                        f"kd{suffix}", "model.actuator_kd", motor, 0.0, size, f"{unit} s/{turn}"
                    )
                )
            if mj_model.actuator_forcelimited[actuator]:
                rows.append(_ratio(f"limit{suffix}", "model.actuator_force_limit", motor))
                loss = (0.0, 1.25 / load.top_speed)
                rows.append(
                    set_to(
                        f"speed_loss{suffix}",
                        "actuator.speed_loss",
                        (joint,),
                        loss,
                        unit=f"s/{turn}",
                        source="a motor has no force left at its no-load speed",
                    )
                )
            rows.append(
                add(
                    f"offset{suffix}",
                    "actuator.offset",
                    (joint,),
                    (-0.3, 0.3),
                    unit=turn,
                    source=GUESS,
                )
            )
        if mj_model.actuator_dyntype[actuator] in drives.FILTERS:
            lag = float(mj_model.actuator_dynprm[actuator, 0])
            low, high = min(1e-3, lag / 3), max(0.3, 3 * lag)
            rows.append(
                set_to(
                    f"lag{suffix}",
                    "model.actuator_time_constant",
                    (motor,),
                    (low, high),
                    nominal=max(lag, low),
                    law="log_uniform",
                    unit="s",
                    source=GUESS,
                )
            )
    for free in _passive(mj_model, recordings[0]):
        load = _load(mj_model, free, recordings, None)
        rows += _rows_of_joint(mj_model, free, f"_{mj_model.joint(free).name}", load)
    if joints:
        rows.append(
            set_to("delay", "actuator.delay_s", (), (0.0, LONGEST_DELAY_S), unit="s", source=GUESS)
        )
    for body in _moved_bodies(mj_model):
        mass = float(mj_model.body(body).mass[0])
        rows.append(
            scale(
                f"mass_{body}",
                "model.body_mass",
                (body,),
                (0.3, 3.0),
                law="log_uniform",
                source=f"{GUESS}; {mass:.3g} kg as written",
            )
        )
    return ParamSpace(tuple(rows))


def _rows_of_joint(mj_model: mujoco.MjModel, joint: int, suffix: str, load: "_Load") -> list[Param]:
    """Returns the rows of a hinge or slide, whatever moves it."""
    dof, name = int(mj_model.jnt_dofadr[joint]), element_names(mj_model, "joint")[joint]
    hinge = int(mj_model.jnt_type[joint]) == int(mujoco.mjtJoint.mjJNT_HINGE)
    unit, turn = ("N m", "rad") if hinge else ("N", "m")
    damping = float(np.ravel(mj_model.dof_damping[dof])[0])
    friction = float(mj_model.dof_frictionloss[dof])
    sizes = {
        "armature": (float(mj_model.dof_armature[dof]), load.inertia, "kg m^2" if hinge else "kg"),
        "damping": (damping, load.effort / load.speed, f"{unit} s/{turn}"),
        "friction": (friction, load.effort, unit),
    }
    arrays = {"friction": "frictionloss"}
    return [
        *(
            _positive(f"{word}{suffix}", f"model.dof_{arrays.get(word, word)}", name, *numbers)
            for word, numbers in sizes.items()
        ),
        add(f"zero{suffix}", "model.qpos0", (name,), (-0.3, 0.3), unit=turn, source=GUESS),
    ]


def _passive(mj_model: mujoco.MjModel, recording: Recording) -> list[int]:
    """Returns the joints that are read and that nothing drives."""
    read = {c.element for c in recording.channels if c.kind == "joint_pos"}
    driven = set(drives.driven_joints(mj_model).tolist()) if recording.joints else set()
    return [j for j in range(mj_model.njnt) if mj_model.joint(j).name in read and j not in driven]


USUAL = ("~model.body_mass",)
"""Rows of a model that are fitted where none are named: masses can be weighed, and trade with
gains and friction."""
GUESS = "wide on purpose: the recordings decide"


@dataclass(frozen=True)
class _Load:
    """What a joint's motion takes: inertia kg m^2 or kg, effort N m or N, speed rad/s or m/s.

    Its gain is that effort over how far positions stay behind their commands; the top speed was
    hardly ever passed.
    """

    inertia: float
    effort: float
    speed: float
    gain: float
    top_speed: float


def _loads(
    mj_model: mujoco.MjModel, found: drives.Drives, recordings: Sequence[Recording]
) -> list[_Load]:
    """Returns what each commanded joint's recorded motion takes."""
    return [_load(mj_model, int(j), recordings, i) for i, j in enumerate(found.joints)]


def _load(
    mj_model: mujoco.MjModel, joint: int, recordings: Sequence[Recording], column: int | None
) -> _Load:
    """Returns what a joint's recorded motion takes, from inverse dynamics of the links alone.

    Args:
        mj_model: the model.
        joint: number of the joint.
        recordings: of its motion.
        column: of its commands; None where it has none.
    """
    data, full = mujoco.MjData(mj_model), np.zeros((mj_model.nv, mj_model.nv))
    mujoco.mj_forward(mj_model, data)
    mujoco.mj_fullM(mj_model, data, full)
    dof, address = int(mj_model.jnt_dofadr[joint]), int(mj_model.jnt_qposadr[joint])
    inertia = max(float(full[dof, dof]), 1e-8)
    where, speed, top, jerk = _motion(mj_model, joint, recordings)
    gravity = []
    for q in np.linspace(where[0], where[1], 9):
        mujoco.mj_resetData(mj_model, data)
        data.qpos[address] = q
        mujoco.mj_forward(mj_model, data)
        gravity.append(abs(float(data.qfrc_bias[dof])))
    effort = max(*gravity, inertia * jerk, 1e-6)
    behind = 1.0 if column is None else _lag(mj_model, joint, column, recordings)
    return _Load(inertia, effort, speed, effort / behind, top)


def _motion(
    mj_model: mujoco.MjModel, joint: int, recordings: Sequence[Recording]
) -> tuple[tuple[float, float], float, float, float]:
    """Returns a joint's range of positions, usual and top speed, and usual acceleration."""
    name, low, high = mj_model.joint(joint).name, np.inf, -np.inf
    speeds, tops, changes = [0.1], [0.1], [0.1]
    for r in recordings:
        for c, channel in enumerate(r.channels):
            if channel.kind != "joint_pos" or channel.element != name:
                continue
            seen = np.isfinite(r.readings[:, c])
            if seen.sum() < 5:
                continue
            q, t = r.readings[seen, c], r.time_s[seen]
            low, high = min(low, float(q.min())), max(high, float(q.max()))
            stride = max(1, round(0.03 / max(float(np.median(np.diff(t))), 1e-4)))
            v = (q[stride:] - q[:-stride]) / (t[stride:] - t[:-stride])
            speeds.append(float(np.percentile(np.abs(v), 95)))
            tops.append(float(np.percentile(np.abs(v), 99.5)))
            if len(v) > stride:
                a = (v[stride:] - v[:-stride]) / (t[stride:-stride] - t[: -2 * stride])
                changes.append(float(np.percentile(np.abs(a), 90)))
    if not np.isfinite(low):
        low = high = float(mj_model.qpos0[mj_model.jnt_qposadr[joint]])
    return (low, high), max(speeds), max(tops), max(changes)


def _lag(
    mj_model: mujoco.MjModel, joint: int, column: int, recordings: Sequence[Recording]
) -> float:
    """Returns how far a joint's position usually stays behind its command; at least a mrad."""
    name, found = mj_model.joint(joint).name, [np.zeros(0)]
    for r in recordings:
        for c, channel in enumerate(r.channels):
            if channel.kind == "joint_pos" and channel.element == name:
                apart = np.abs(r.commands[:, column] - r.readings[:, c])
                found.append(apart[np.isfinite(apart) & r.driven])
    apart = np.concatenate(found)
    return max(float(np.median(apart)) if len(apart) else 0.0, 1e-3)


def _positive(name: str, where: str, element: str, now: float, size: float, unit: str) -> Param:
    """Returns a row that sets a positive quantity of about ``size``, ``now`` as written."""
    low, high = 1e-3 * size, 10 * size
    if now > TINY:
        low, high = min(low, now / 20), max(high, 20 * now)
    nominal = min(max(now, low), high)
    return set_to(
        name,
        where,
        (element,),
        (low, high),
        nominal=nominal,
        law="log_uniform",
        unit=unit,
        source=GUESS,
    )


def _ratio(name: str, where: str, element: str, size: float = 1.0, now: float = 1.0) -> Param:
    """Returns a row that scales what is written, ``now``, to about ``size``."""
    low, high = min(0.05, 0.05 * size / now), max(20.0, 50 * size / now)
    return scale(name, where, (element,), (low, high), law="log_uniform", source=GUESS)


def _moved_bodies(mj_model: mujoco.MjModel) -> list[str]:
    """Returns the bodies with a name and a mass that a joint moves."""
    moved = [
        b
        for b in range(1, mj_model.nbody)
        if mj_model.body_weldid[b] != 0 and mj_model.body_mass[b] > 0
    ]
    return [mj_model.body(b).name for b in moved if mj_model.body(b).name]


def _finer(mj_model: mujoco.MjModel) -> tuple[mujoco.MjModel, tuple[str, ...]]:
    """Returns a copy of the model with a short time step, and a note if it is not its own."""
    model, own = copy.copy(mj_model), float(mj_model.opt.timestep)
    parts = max(1, int(np.ceil(own / LONGEST_STEP_S - 1e-6)))
    model.opt.timestep = own / parts
    if parts == 1:
        return model, ()
    return model, (
        f"logs were replayed at steps of {1e3 * own / parts:.3g} ms, not the model's "
        f"{1e3 * own:.3g}: these are the robot's numbers, which a simulation in long steps follows "
        "less closely",
    )


def _released(
    mj_model: mujoco.MjModel, recordings: Sequence[Recording], notes: tuple[str, ...]
) -> tuple[mujoco.MjModel, tuple[str, ...]]:
    """Returns the model and its notes; all actuators are off where nothing was commanded."""
    if recordings[0].joints or not mj_model.nu:
        return mj_model, notes
    model = copy.copy(mj_model)
    model.actuator_gainprm[:], model.actuator_biasprm[:] = 0, 0
    return model, (*notes, "nothing was commanded, so all actuators are taken as off")


def _alike(mj_model: mujoco.MjModel, recordings: Sequence[Recording]) -> tuple[Recording, ...]:
    """Returns recordings with the same channels, NaN where one did not read one.

    Raises:
        RecordingError: recordings of other joints, or that do not fit the model.
    """
    if not recordings:
        raise RecordingError("there is no recording; name at least one log")
    first = recordings[0]
    for r in recordings:
        if (r.joints, r.mode) != (first.joints, first.mode):
            raise RecordingError(
                f"{r.name} commands {r.joints} ({r.mode}), {first.name} {first.joints} "
                f"({first.mode}); identify them one by one"
            )
    channels = tuple(dict.fromkeys(c for r in recordings for c in r.channels))
    _check_channels(mj_model, first.name, channels)
    found = []
    for r in recordings:
        readings = np.full((len(r), len(channels)), np.nan)
        for c, channel in enumerate(r.channels):
            readings[:, channels.index(channel)] = r.readings[:, c]
        found.append(replace(r, channels=channels, readings=readings))
    return tuple(found)


def _check_mode(mj_model: mujoco.MjModel, recording: Recording) -> None:
    """Raises RecordingError where an actuator of the model takes something else than was sent."""
    found = drives.resolve(mj_model, recording.joints)
    for joint, actuator in zip(recording.joints, found.actuators.tolist(), strict=True):
        wrong = drives.cannot_take(mj_model, actuator, recording.mode)
        if wrong:
            raise RecordingError(
                f"{recording.name}: {recording.mode} commands of {joint!r} do not fit the model: "
                f"{drives.called(mj_model, actuator)} does not take them, {wrong}; name the column "
                "of what it takes and its mode in [commands], or change the task's actuator (a "
                "model without a task is made to take them, --model)"
            )


def _as_controls(
    mj_model: mujoco.MjModel, recordings: Sequence[Recording]
) -> tuple[Recording, ...]:
    """Returns recordings whose efforts are controls: N m or N over a motor's gain times gear."""
    if recordings[0].mode != "effort":
        return tuple(recordings)
    actuators = drives.resolve(mj_model, recordings[0].joints).actuators.tolist()
    found = []
    for r in recordings:
        model = with_constants(mj_model, r.constants)
        forces = [
            1.0 if joint in r.own_control else drives.motor_gain(model, a)
            for joint, a in zip(r.joints, actuators, strict=True)
        ]
        found.append(replace(r, commands=r.commands / forces, own_control=r.joints))
    return tuple(found)


def _check_channels(mj_model: mujoco.MjModel, name: str, channels: Sequence[Channel]) -> None:
    """Raises RecordingError for channels that the model lacks, or that do not tell its pose."""
    for channel in channels:
        kind = "sensor" if channel.kind == "sensor" else "joint"
        known = [
            getattr(mj_model, kind)(i).name
            for i in range(mj_model.nsensor if kind == "sensor" else mj_model.njnt)
        ]
        if channel.element not in known:
            raise RecordingError(
                f"{name}: " + str(unknown(f"{kind} of the model", channel.element, known))
            )
        if kind == "joint":
            joint = mj_model.joint(channel.element)
            if int(joint.type[0]) not in (2, 3):
                raise RecordingError(
                    f"{name}: joint {channel.element!r} is no hinge or slide, so it has no "
                    "single position; measure it by a sensor of the model"
                )
    if not any(c.kind == "joint_pos" for c in channels):
        raise RecordingError(
            f"{name}: no joint's position is read, so no window has a start; read "
            "joint_pos in the mapping"
        )
    read = read_hinges(mj_model, {c.element for c in channels if c.kind == "joint_pos"})
    for joint in unread_carriers(mj_model, read):
        if is_floating(mj_model, joint):
            what, remedy = floating_words(mj_model, joint)
            raise RecordingError(f"{name}: {what}; {remedy}")


def _taking(
    mj_model: mujoco.MjModel,
    joints: Sequence[str],
    mode: CommandMode,
    recordings: Sequence[Recording],
) -> tuple[mujoco.MjModel, list[str]]:
    """Returns a copy of the model whose actuators take the recorded commands, and what changed."""
    model, notes = copy.copy(mj_model), []
    found = drives.resolve(model, joints)
    loads = _loads(model, found, recordings)
    passive = model.jnt_dofadr[_passive(model, recordings[0])]
    model.dof_frictionloss[passive] = np.maximum(model.dof_frictionloss[passive], TINY)
    for i, joint in enumerate(joints):
        actuator, dof, load = int(found.actuators[i]), int(found.dof[i]), loads[i]
        if model.dof_frictionloss[dof] < TINY:
            model.dof_frictionloss[dof] = TINY
        wrong = drives.cannot_take(model, actuator, mode)
        if not wrong:
            continue
        if mode == "velocity":
            raise ContractError(
                f"{joint}: velocities were commanded, but {wrong}; write a <velocity> actuator"
            )
        model.actuator_gaintype[actuator] = mujoco.mjtGain.mjGAIN_FIXED
        model.actuator_gainprm[actuator] = 0
        model.actuator_biasprm[actuator] = 0
        model.actuator_ctrllimited[actuator] = 0
        model.actuator_gear[actuator] = 0
        model.actuator_gear[actuator, 0] = 1
        if mode == "effort":
            model.actuator_biastype[actuator] = mujoco.mjtBias.mjBIAS_NONE
            model.actuator_gainprm[actuator, 0] = 1
            notes.append(f"{joint}: efforts were commanded, but {wrong}; it is taken for a motor")
        else:
            kp = 10 * load.effort
            model.actuator_biastype[actuator] = mujoco.mjtBias.mjBIAS_AFFINE
            model.actuator_gainprm[actuator, 0] = kp
            model.actuator_biasprm[actuator, 1] = -kp
            notes.append(
                f"{joint}: positions were commanded, but {wrong}; it is taken for a servo of "
                f"{kp:.3g} N m/rad before its gain is fitted"
            )
    mujoco.mj_setConst(model, mujoco.MjData(model))
    return model, notes
