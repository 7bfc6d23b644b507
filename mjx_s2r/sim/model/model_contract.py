"""A policy contract from the MuJoCo model itself: what a contract says of the model is read there.

Joints and their order, the kind of action, units, gains, efforts, limits and the pose at the start
are the model's; rates and scales are what is usual, each with its source below. Every number can be
given instead.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import fields
from numbers import Real
from typing import Any

import mujoco
import numpy as np

from mjx_s2r.contract import ActionSpec, CameraSignal, ContractError, PolicyContract, Signal
from mjx_s2r.contract import camera_signal as read_camera
from mjx_s2r.drives import (
    ON_JOINT,
    Drives,
    called,
    command_unit,
    effort_limits,
    motor_gain,
    not_a_motor,
    not_a_servo,
    position_limits,
    resolve,
)
from mjx_s2r.params import ParamError, unknown

INSIDE = 0.95  # share of a joint's range that commands keep to
SPEED = 1.5  # rad/s at full output of "delta_position", as reach and lift have (hobby servos)
CROSSING_S = 2.0  # s in which a full output crosses a joint's range, where that is slower
SWING = 0.5  # rad from home at full output of "position" (MuJoCo Playground's Go1)
FREE = (math.pi, 0.5)  # rad and m to either side of home, for joints without limits
VEL_SCALE = {"delta_position": 0.2, "position": 0.05, "effort": 0.1}  # 1 / (rad/s)
VEL_MOST = 100.0  # rad/s that are believed; the fastest of the tasks here reaches 30
POS_ROOM = 0.5  # rad or m beyond the joints' ranges that are believed


def home_qpos(mj_model: mujoco.MjModel) -> np.ndarray:
    """Returns (nq,) the pose of the model's first keyframe, or as it is written, m and rad."""
    return np.array(mj_model.key_qpos[0] if mj_model.nkey else mj_model.qpos0, np.float64)


def drive_kinds(mj_model: mujoco.MjModel) -> tuple[dict[str, str], list[str]]:
    """Returns what a policy can command: name -> "position" or "effort", in order of actuators.

    A drive has the name of its joint, or of its actuator where the joint has none of its own. The
    second is a sentence about each actuator that no policy can command.
    """
    kinds, left_out = {}, []
    for actuator in range(mj_model.nu):
        name, why = _name_of(mj_model, actuator)
        if not name:
            left_out.append(f"{called(mj_model, actuator)}: {why}")
        elif not not_a_servo(mj_model, actuator):
            kinds[name] = "position"
        elif not not_a_motor(mj_model, actuator):
            kinds[name] = "effort"
        else:
            left_out.append(f"{called(mj_model, actuator)}: {not_a_servo(mj_model, actuator)}")
    return kinds, left_out


def action_of(
    mj_model: mujoco.MjModel,
    joints: Sequence[str] = (),
    mode: str = "",
    *,
    control_hz: float,
    **given: Any,
) -> ActionSpec:
    """Returns the action on some of a model's joints.

    Args:
        mj_model: the model.
        joints: names of actuators, or of joints with one; empty: all position servos in the order
            of the actuators, or all motors where there is no servo.
        mode: as of `ActionSpec`; empty: delta_position on servos, effort on motors.
        control_hz: rate of the policy, Hz.
        **given: fields of `ActionSpec` instead of those of the model: scale, home, low, high,
            max_rate, max_effort, kp, kd; one number counts for all joints.

    Raises:
        ParamError: a joint or a field that does not exist.
        ContractError: no actuator that a policy can command, a motor without limits, or numbers
            that do not fit each other.
    """
    known = [f.name for f in fields(ActionSpec) if f.name not in ("joints", "mode", "unit")]
    for name in given:
        if name not in known:
            raise unknown("field of an action", name, known)
    names = tuple(joints) or _all_of_a_kind(mj_model)
    drives = resolve(mj_model, names)
    servo = not not_a_servo(mj_model, int(drives.actuators[0]))
    mode = mode or ("delta_position" if servo else "effort")
    if mode == "effort":
        found = _efforts(mj_model, drives, given)
    else:
        found = _positions(mj_model, drives, mode, control_hz, given)
    found |= {name: _each(value, len(names)) for name, value in given.items()}
    unit = command_unit(mj_model, drives, servo=mode != "effort")
    chosen: Any = mode
    return ActionSpec(joints=names, mode=chosen, unit=unit, **found)


def contract_of(
    mj_model: mujoco.MjModel,
    task: str,
    *,
    control_hz: float = 25.0,
    joints: Sequence[str] = (),
    mode: str = "",
    signals: Sequence[Signal] = (),
    cameras: Sequence[str | CameraSignal] = (),
    **action: Any,
) -> PolicyContract:
    """Returns the contract of a policy that reads its joints and what is named beside them.

    Args:
        mj_model: the model.
        task: name of the task.
        control_hz: rate of the policy, Hz; the nearest one that is a whole number of the model's
            timesteps is taken.
        joints: as of `action_of`.
        mode: as of `action_of`.
        signals: signals beside joint_pos, joint_vel and, on servos, command; one of these names
            replaces it.
        cameras: NAME:HEIGHTxWIDTH@RATE, or `CameraSignal`.
        **action: as ``given`` of `action_of`.

    Raises:
        ParamError: as `action_of`.
        ContractError: as `action_of`; a camera in another form.
    """
    control_hz = round(1 / (substeps_of(mj_model, control_hz) * mj_model.opt.timestep), 9)
    spec = action_of(mj_model, joints, mode, control_hz=control_hz, **action)
    seen = {s.name: s for s in (*_joint_signals(mj_model, spec), *signals)}
    looks = tuple(read_camera(c) if isinstance(c, str) else c for c in cameras)
    return PolicyContract(task, control_hz, tuple(seen.values()), spec, looks)


def substeps_of(mj_model: mujoco.MjModel, control_hz: float) -> int:
    """Returns how many physics steps come nearest to one control step; at least one."""
    if not 0 < control_hz < math.inf:
        raise ContractError(f"control_hz {control_hz!r} must be a positive number")
    return max(1, round(1 / (control_hz * mj_model.opt.timestep)))


def _name_of(mj_model: mujoco.MjModel, actuator: int) -> tuple[str, str]:
    """Returns the name by which a contract finds an actuator; "" and why where there is none."""
    names = [mj_model.actuator(actuator).name]
    if mj_model.actuator_trntype[actuator] in ON_JOINT:
        names.insert(0, mj_model.joint(int(mj_model.actuator_trnid[actuator, 0])).name)
    why = "neither it nor its joint has a name"
    for name in filter(None, names):
        try:
            if resolve(mj_model, (name,)).actuators[0] == actuator:
                return name, ""
        except (ContractError, ParamError) as error:
            why = str(error)
    return "", why


def _all_of_a_kind(mj_model: mujoco.MjModel) -> tuple[str, ...]:
    """Returns the names of all position servos, or of all motors.

    Raises:
        ContractError: there are none of either.
    """
    kinds, left_out = drive_kinds(mj_model)
    for kind in ("position", "effort"):
        names = tuple(name for name, value in kinds.items() if value == kind)
        if names:
            return names
    raise ContractError(
        "the MuJoCo model has no actuator that a policy can command "
        f"({left_out[0] if left_out else 'it has none at all'}); "
        'write e.g. <position name="elbow" joint="elbow" kp="10" kv="1"/> for every joint, or let '
        "`python -m train prepare` write them"
    )


def _positions(
    mj_model: mujoco.MjModel, drives: Drives, mode: str, control_hz: float, given: Mapping[str, Any]
) -> dict[str, Any]:
    """Returns scale, home, limits, rate, effort and gains of position servos."""
    home, count = home_qpos(mj_model)[drives.qpos], len(drives.names)
    if "home" in given:
        home = np.array(_each(given["home"], count), float)
    ends = np.array([_range(mj_model, drives, i, float(home[i])) for i in range(count)])
    span = np.ptp(ends, axis=1)
    middle, half = ends.mean(1), INSIDE * span / 2
    low, high = middle - half, middle + half
    if mode == "position":
        scale = np.minimum(SWING, span / 4)
        rate = 2 * np.array(_each(given.get("scale", scale), count)) * control_hz
    else:
        scale = np.minimum(SPEED, span / CROSSING_S) / control_hz
        rate = 4 / 3 * np.array(_each(given.get("scale", scale), count)) * control_hz
    bias = mj_model.actuator_biasprm[drives.actuators]
    return {
        "scale": scale,
        "home": np.clip(home, low, high) if "home" not in given else home,
        "low": low,
        "high": high,
        "max_rate": rate,
        "max_effort": [_both_ways(mj_model, int(a)) for a in drives.actuators],
        "kp": mj_model.actuator_gainprm[drives.actuators, 0],
        "kd": np.abs(bias[:, 2]),
    }


def _efforts(mj_model: mujoco.MjModel, drives: Drives, given: Mapping[str, Any]) -> dict[str, Any]:
    """Returns scale and limits of motors, in units of their controls.

    Raises:
        ContractError: a motor whose force nothing limits, with no ``scale`` given.
    """
    ends = []
    for index, actuator in enumerate(drives.actuators):
        gain = motor_gain(mj_model, int(actuator)) or 1.0
        limits = effort_limits(mj_model, int(actuator))
        low = max((min(x.low / gain, x.high / gain) for x in limits), default=-math.inf)
        high = min((max(x.low / gain, x.high / gain) for x in limits), default=math.inf)
        if not (math.isfinite(low) and math.isfinite(high)) and "scale" not in given:
            name = drives.names[index]
            raise ContractError(
                f"joint {name!r}: {called(mj_model, actuator)} has no ctrlrange, so its largest "
                'effort is not known; write ctrlrange="-1 1" (with numbers of the motor) into the '
                "MuJoCo model, or scale=... into the contract"
            )
        ends.append((low, high))
    lows, highs = np.array(ends).T
    zero, free = np.zeros(len(ends)), np.full(len(ends), math.inf)
    return {
        "scale": np.maximum(-lows, highs),
        "home": zero,
        "low": lows,
        "high": highs,
        "max_rate": free,
        "max_effort": np.maximum(0.0, np.minimum(-lows, highs)),
        "kp": zero,
        "kd": zero,
    }


def _range(
    mj_model: mujoco.MjModel, drives: Drives, index: int, home: float
) -> tuple[float, float]:
    """Returns the range of a servo's joint, rad or m; one about home where none is written.

    A range that the model writes and does not enforce counts, too.
    """
    limits = position_limits(mj_model, int(drives.actuators[index]))
    written = mj_model.jnt_range[drives.joints[index]]
    pairs = [(x.low, x.high) for x in limits] + [tuple(written)] * bool(written[0] < written[1])
    if pairs:
        return max(float(p[0]) for p in pairs), min(float(p[1]) for p in pairs)
    room = FREE[0] if drives.hinge[index] else FREE[1]
    return home - room, home + room


def _both_ways(mj_model: mujoco.MjModel, actuator: int) -> float:
    """Returns the largest force that a servo has both ways, N m or N; inf where nothing limits."""
    limits = effort_limits(mj_model, actuator)
    return max(0.0, min((min(-x.low, x.high) for x in limits), default=math.inf))


def _joint_signals(mj_model: mujoco.MjModel, spec: ActionSpec) -> list[Signal]:
    """Returns joint_pos, joint_vel and, on servos, command."""
    count, drives = len(spec.joints), resolve(mj_model, spec.joints)
    unit = command_unit(mj_model, drives, servo=True)
    speed = ", ".join(f"{word}/s" for word in unit.split(", "))
    low, high = -math.inf, math.inf
    if mj_model.jnt_limited[drives.joints].all():
        ends = mj_model.jnt_range[drives.joints]
        low = round(float(ends.min()) - POS_ROOM, 3)
        high = round(float(ends.max()) + POS_ROOM, 3)
    servo = spec.mode != "effort"
    rest = spec.home if servo else home_qpos(mj_model)[drives.qpos].tolist()
    rest = tuple(round(x, 6) for x in rest)
    found = [
        Signal("joint_pos", count, unit, 1.0, rest, low, high),
        Signal("joint_vel", count, speed, VEL_SCALE[spec.mode], (0.0,), -VEL_MOST, VEL_MOST),
    ]
    return [*found, Signal("command", count, unit, 1.0, rest, low, high)] if servo else found


def _each(value: Any, count: int) -> tuple[float, ...]:
    """Returns one number for each joint; one number counts for all."""
    return (float(value),) * count if isinstance(value, Real) else tuple(map(float, value))
