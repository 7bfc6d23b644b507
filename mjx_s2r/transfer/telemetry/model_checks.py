"""What does not fit the model: positions beyond a joint's range, commands beyond an actuator's."""

import math
from collections.abc import Sequence

import mujoco
import numpy as np

from mjx_s2r.robot.units import DEGREES
from mjx_s2r.transfer.recording import Recording
from mjx_s2r.transfer.telemetry.finding import TelemetryFinding, TelemetrySeverity

TURN = 2 * math.pi
BEYOND = 0.25  # of a joint's range that a reading may lie outside, for play and a poor zero
SOME, MOST = 0.01, 0.5  # shares of the rows
FASTEST = 300.0  # rad/s; no joint of a robot turns faster


def is_hinge(model: mujoco.MjModel, joint: str) -> bool:
    """Returns whether the model has a hinge of that name."""
    i = mujoco.mj_name2id(model, mujoco.mjtObj.mjOBJ_JOINT, joint)
    return i >= 0 and int(model.jnt_type[i]) == int(mujoco.mjtJoint.mjJNT_HINGE)


def actuator_of(model: mujoco.MjModel, name: str) -> int:
    """Returns the number of the actuator of that name, or of the one that drives that joint; -1."""
    i = mujoco.mj_name2id(model, mujoco.mjtObj.mjOBJ_ACTUATOR, name)
    joint = mujoco.mj_name2id(model, mujoco.mjtObj.mjOBJ_JOINT, name)
    if i >= 0 or joint < 0:
        return int(i)
    on_joint = model.actuator_trntype == int(mujoco.mjtTrn.mjTRN_JOINT)
    driving = np.flatnonzero(on_joint & (model.actuator_trnid[:, 0] == joint))
    return int(driving[0]) if driving.size else -1


def check_positions(
    recordings: Sequence[Recording], c: int, model: mujoco.MjModel
) -> list[TelemetryFinding]:
    """Returns positions that the model's joint cannot have."""
    channel = recordings[0].channels[c]
    x = np.concatenate([r.readings[:, c] for r in recordings])
    x = x[np.isfinite(x)]
    i = mujoco.mj_name2id(model, mujoco.mjtObj.mjOBJ_JOINT, channel.element)
    if i < 0 or not x.size or not model.jnt_limited[i]:
        return []
    low, high = map(float, model.jnt_range[i])
    room = BEYOND * (high - low)
    outside = float(((x < low - room) | (x > high + room)).mean())
    if outside <= SOME:
        return []
    reach = (
        f"it reads {x.min():.4g} to {x.max():.4g} where the model's joint goes {low:.4g} to "
        f"{high:.4g}"
    )
    hinge = is_hinge(model, channel.element)
    degrees = float(np.ptp(x)) > high - low  # a degree or two of motion cannot be judged
    if hinge and degrees and _fits(x / DEGREES, low - room, high + room):
        remedy = 'these are degrees: write unit = "deg" for its column, or convert in the driver'
        return [TelemetryFinding("error", "degrees for radians", "", reach, remedy, str(channel))]
    turns = round((float(np.median(x)) - (low + high) / 2) / TURN)
    if hinge and turns and _fits(x - turns * TURN, low - room, high + room):
        remedy = f"it has wound {turns} turns: write offset = {-turns * TURN:.4f} for its column"
        return [TelemetryFinding("error", "winds over turns", "", reach, remedy, str(channel))]
    remedy = "another robot's log, another zero (offset) or another unit"
    severity: TelemetrySeverity = "error" if outside > MOST else "warning"
    return [
        TelemetryFinding(
            severity,
            "beyond the joint's range",
            "",
            f"{reach} ({100 * outside:.0f} % of the rows are beyond it)",
            remedy,
            str(channel),
        )
    ]


def _fits(x: np.ndarray, low: float, high: float) -> bool:
    return bool(np.mean((x >= low) & (x <= high)) > 1 - SOME)


def check_commands(
    recordings: Sequence[Recording], j: int, model: mujoco.MjModel
) -> list[TelemetryFinding]:
    """Returns commands that the model's actuator would clip."""
    joint = recordings[0].joints[j]
    x = np.concatenate([r.commands[r.driven, j] for r in recordings])
    x = x[np.isfinite(x)]
    i = actuator_of(model, joint)
    if i < 0:
        what, remedy = "no actuator of the model drives it", "name an actuator, or add one"
        return [TelemetryFinding("error", "no actuator", "", what, remedy, joint)]
    if not x.size or not model.actuator_ctrllimited[i]:
        return []
    low, high = map(float, model.actuator_ctrlrange[i])
    if recordings[0].mode == "effort" and is_hinge(model, joint):
        gear = abs(float(model.actuator_gear[i, 0]))
        low, high = low * gear, high * gear
    room = 0.01 * (high - low)
    outside = float(((x < low - room) | (x > high + room)).mean())
    if outside <= SOME:
        return []
    what = (
        f"{100 * outside:.0f} % of its commands, {x.min():.4g} to {x.max():.4g}, are beyond the "
        f"actuator's ctrlrange {low:.4g} to {high:.4g} and would be clipped"
    )
    degrees = _fits(x / DEGREES, low - room, high + room) and float(np.ptp(x)) > 3 * (high - low)
    remedy = (
        'these are degrees: write unit = "deg" for the column'
        if degrees
        else "widen ctrlrange if the robot does not clip; else look at unit, zero and robot"
    )
    code = "degrees for radians" if degrees else "commands out of range"
    severity: TelemetrySeverity = "error" if degrees or outside > MOST else "warning"
    return [TelemetryFinding(severity, code, "", what, remedy, joint)]


def check_speeds(recordings: Sequence[Recording], c: int) -> list[TelemetryFinding]:
    """Returns speeds that no joint has."""
    channel = recordings[0].channels[c]
    x = np.abs(np.concatenate([r.readings[:, c] for r in recordings]))
    x = x[np.isfinite(x)]
    if not x.size or float(np.percentile(x, 99)) < FASTEST:
        return []
    what = f"it reaches {float(np.percentile(x, 99)):.4g} {channel.unit}"
    remedy = 'no joint is as fast; write its unit, e.g. "deg/s" or "rpm"'
    return [TelemetryFinding("error", "degrees for radians", "", what, remedy, str(channel))]


def check_joints(recordings: Sequence[Recording], model: mujoco.MjModel) -> list[TelemetryFinding]:
    """Returns actuators of the model that the logs do not command."""
    used = {actuator_of(model, joint) for r in recordings for joint in r.joints}
    left = [model.actuator(i).name or f"number {i}" for i in range(model.nu) if i not in used]
    if not left:
        return []
    if not any(r.joints for r in recordings):
        what = "nothing is commanded in the logs, so the actuators are taken as off"
        remedy = "name the commands' columns in [commands] if they were on"
        return [TelemetryFinding("warning", "uncommanded", "", what, remedy)]
    what = f"{len(left)} of the model's {model.nu} actuators are not commanded in the logs: " + (
        ", ".join(left[:6])
    )
    remedy = "name their columns too; if this is another robot's log, name another model"
    severity: TelemetrySeverity = "error" if len(left) == model.nu else "warning"
    return [TelemetryFinding(severity, "uncommanded", "", what, remedy)]
