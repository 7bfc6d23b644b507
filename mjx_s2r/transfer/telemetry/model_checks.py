"""What does not fit the model: positions beyond a joint's range, commands beyond an actuator's."""

import math
from collections.abc import Sequence

import mujoco
import numpy as np

from mjx_s2r import drives
from mjx_s2r.robot.units import DEGREES
from mjx_s2r.transfer.recording import Recording
from mjx_s2r.transfer.telemetry.finding import TelemetryFinding, TelemetrySeverity
from mjx_s2r.transfer.unread_joints import (
    floating_words,
    is_floating,
    read_hinges,
    unread_carriers,
)

TURN = 2 * math.pi
BEYOND = 0.25  # of a joint's range that a reading may lie outside, for play and a poor zero
SOME, MOST = 0.01, 0.5  # shares of the rows
FASTEST = 300.0  # rad/s; no joint of a robot turns faster
FAST_SERVO = 100.0  # rad/s; nor any that is told positions
MOST_TURNS = 2.0  # that a servo without a range is believed to make
MOMENT_S = 0.05  # over which a speed is taken from positions


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
    driving = drives.actuators_of_joint(model, joint)
    return int(driving[0]) if driving.size else -1


def check_positions(
    recordings: Sequence[Recording], c: int, model: mujoco.MjModel
) -> list[TelemetryFinding]:
    """Returns positions that the model's joint cannot have."""
    channel = recordings[0].channels[c]
    x = np.concatenate([r.readings[:, c] for r in recordings])
    x = x[np.isfinite(x)]
    i = mujoco.mj_name2id(model, mujoco.mjtObj.mjOBJ_JOINT, channel.element)
    if i < 0 or not x.size:
        return []
    if not model.jnt_limited[i]:
        return _check_turns(recordings, c) if is_hinge(model, channel.element) else []
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


def _check_turns(recordings: Sequence[Recording], c: int) -> list[TelemetryFinding]:
    """Returns angles of a hinge without a range that are degrees by how far and fast they go."""
    first = recordings[0]
    element, mode = str(first.channels[c]), first.mode
    speeds = [_speeds_of(r.time_s, r.readings[:, c]) for r in recordings]
    fastest = float(np.percentile(np.concatenate(speeds), 99)) if any(map(len, speeds)) else 0.0
    remedy = 'write unit = "deg" for its column'
    if fastest > (FAST_SERVO if mode == "position" and first.joints else FASTEST):
        what = f"it would turn at {fastest:.4g} rad/s, so these are no radians"
        return [TelemetryFinding("error", "degrees for radians", "", what, remedy, element)]
    spans = [float(np.ptp(x)) for r in recordings if (x := _known(r.readings[:, c])).size]
    if mode == "position" and first.joints and max(spans, default=0.0) > MOST_TURNS * TURN:
        what = f"it goes over {max(spans) / TURN:.1f} turns, which few servos do"
        remedy = f"if these are degrees, {remedy}"
        return [TelemetryFinding("warning", "degrees for radians", "", what, remedy, element)]
    return []


def _known(x: np.ndarray) -> np.ndarray:
    return x[np.isfinite(x)]


def _speeds_of(time_s: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Returns how fast a signal (T,) changes over moments of about `MOMENT_S`."""
    seen = np.isfinite(x)
    x, time_s = x[seen], time_s[seen]
    if len(x) < 3:
        return np.empty(0)
    rows = min(len(x) - 1, max(1, round(MOMENT_S / max(float(np.median(np.diff(time_s))), 1e-6))))
    return np.abs(x[rows:] - x[:-rows]) / np.maximum(time_s[rows:] - time_s[:-rows], 1e-9)


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
    if drives.cannot_take(model, i, recordings[0].mode):
        return []  # its range is of something else; who needs the actuator says so
    low, high = map(float, model.actuator_ctrlrange[i])
    if recordings[0].mode == "effort" and joint not in recordings[0].own_control:
        force = drives.motor_gain(model, i)
        low, high = sorted((low * force, high * force))
    room = 0.01 * (high - low)
    outside = float(((x < low - room) | (x > high + room)).mean())
    if outside <= SOME:
        return []
    what = (
        f"{100 * outside:.0f} % of its commands, {x.min():.4g} to {x.max():.4g}, are beyond the "
        f"actuator's ctrlrange {low:.4g} to {high:.4g} and would be clipped"
    )
    degrees = recordings[0].mode != "effort" and float(np.ptp(x)) > 3 * (high - low)
    degrees = degrees and _fits(x / DEGREES, low - room, high + room)
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


def check_unread(recordings: Sequence[Recording], model: mujoco.MjModel) -> list[TelemetryFinding]:
    """Returns joints that carry those that are read, and whose own place no log tells."""
    named = {c.element for r in recordings for c in r.channels if c.kind == "joint_pos"}
    found = []
    for joint in unread_carriers(model, read_hinges(model, named)):
        if is_floating(model, joint):
            what, remedy = floating_words(model, joint)
            body = model.body(int(model.jnt_bodyid[joint])).name
            found.append(TelemetryFinding("error", "floating robot", "", what, remedy, body))
            continue
        what = (
            "no log reads it, and it carries joints that are read: every window starts it at "
            f"{float(model.qpos0[model.jnt_qposadr[joint]]):.4g}, at rest"
        )
        remedy = "read its position too, or hold it there and say so by an equality in the model"
        name = model.joint(joint).name
        found.append(TelemetryFinding("warning", "unread joint", "", what, remedy, name))
    return found
