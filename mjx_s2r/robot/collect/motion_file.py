"""Motions as files: the commands of a robot's joints over time, made elsewhere and checked here.

A file is JSON: "format", "made_by", "control_hz", "joints", "unit", and "targets", one list of
commands per control step. Whoever makes one (`python -m train excite`) need not know the limits
that it will run under: the guard's limits of the day decide whether it may.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mjx_s2r.contract import ContractError
from mjx_s2r.params import unknown
from mjx_s2r.robot.collect.plan import JointPlan, MotionPlan, motion_actor_contract
from mjx_s2r.robot.safety import Guard

FORMAT = "mjx_s2r motion 1"
DIGITS = 6  # of a command; finer than an encoder
STILL = 0.05  # share of the speed limit that a motion may begin and end with
LEAD_S = 2.0  # hold before a motion: the way to its beginning ends near it, and the guard ramps up
ROOM = 1e-6  # relative, for commands that were rounded


@dataclass(frozen=True, eq=False)
class MotionFile:
    """Commands over time.

    Attributes:
        path: where it was read; "" for one that was just made.
        made_by: what made it, for people.
        control_hz: commands per second.
        joints: (J,) names.
        unit: of the commands.
        targets: (T, J) commands.
    """

    path: str
    made_by: str
    control_hz: float
    joints: tuple[str, ...]
    unit: str
    targets: np.ndarray


def write_motion(motion: MotionFile, path: str | Path) -> None:
    """Writes a motion.

    Raises:
        ContractError: the file cannot be written.
    """
    body = {
        "format": FORMAT,
        "made_by": motion.made_by,
        "control_hz": motion.control_hz,
        "joints": list(motion.joints),
        "unit": motion.unit,
        "targets": np.round(motion.targets, DIGITS).tolist(),
    }
    try:
        Path(path).write_text(json.dumps(body) + "\n", encoding="utf-8")
    except OSError as error:
        raise ContractError(f"motion {path} cannot be written: {error.strerror}") from error


def read_motion(path: str | Path) -> MotionFile:
    """Reads a motion.

    Raises:
        ContractError: no such file, another format, or commands that are no table of numbers.
    """
    try:
        body = json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise ContractError(f"motion {path} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise ContractError(f"motion {path} is no JSON file ({error})") from error
    said = body.get("format") if isinstance(body, dict) else None
    if said != FORMAT:
        raise ContractError(
            f"motion {path} has format {said!r} and not {FORMAT!r}; make it with "
            "`python -m train excite`"
        )
    return _parsed(str(path), body)


def _parsed(path: str, body: dict[str, Any]) -> MotionFile:
    """Returns what a file's JSON says; raises ContractError."""
    try:
        joints = tuple(str(name) for name in body["joints"])
        targets = np.array(body["targets"], float)
        rate, unit, made_by = float(body["control_hz"]), str(body["unit"]), str(body["made_by"])
    except (KeyError, TypeError, ValueError) as error:
        raise ContractError(f"motion {path} is broken at {error}; make it again") from error
    if targets.ndim != 2 or targets.shape[1] != len(joints) or len(targets) < 2:
        raise ContractError(
            f"motion {path}: targets of shape {targets.shape} for {len(joints)} joints; there must "
            "be one command of every joint per control step"
        )
    if not (np.isfinite(targets).all() and 0 < rate < np.inf):
        raise ContractError(f"motion {path}: a command or the rate {rate} Hz is not finite")
    return MotionFile(path, made_by, rate, joints, unit, targets)


def plan_from_file(motion: MotionFile, guard: Guard) -> MotionPlan:
    """Returns the plan of a motion from a file, after a hold; what does not fit is refused.

    Raises:
        ContractError: joints, unit or rate of another robot; commands beyond what the guard allows
            in position, speed or acceleration; a motion that begins or ends at speed.
        ParamError: a joint that the robot does not have.
    """
    contract, limits = guard.contract, guard.limits
    action, where = contract.action, f"motion {motion.path}"
    for joint in motion.joints:
        if joint not in action.joints:
            raise unknown("joint", joint, action.joints)
    if action.mode == "effort" or sorted(motion.joints) != sorted(action.joints):
        raise ContractError(
            f"{where} holds positions of joints {motion.joints}, and the contract commands "
            f"{action.mode}s of {action.joints}; make it for this robot"
        )
    if motion.unit != action.unit or abs(motion.control_hz - contract.control_hz) > 1e-6:
        raise ContractError(
            f"{where} is in {motion.unit} at {motion.control_hz:g} Hz, and the contract in "
            f"{action.unit} at {contract.control_hz:g} Hz; make it again for this contract"
        )
    targets = motion.targets[:, [motion.joints.index(joint) for joint in action.joints]]
    speed = np.diff(targets, axis=0) * motion.control_hz
    change = np.diff(speed, axis=0) * motion.control_hz
    plans = []
    for j, name in enumerate(action.joints):
        way = targets[:, j]
        fastest, hardest = (float(np.max(np.abs(x[:, j]), initial=0.0)) for x in (speed, change))
        _require(name, action.unit, way, fastest, hardest, guard, j)
        centre = float(way[0])
        room = min(centre - limits.low[j], limits.high[j] - centre)
        farthest = float(np.max(np.abs(way - centre)))
        plans.append(
            JointPlan(
                joint=name,
                centre=centre,
                amplitude=farthest,
                asked=farthest,
                room=float(room),
                speed=fastest,
                max_speed=float(limits.rate[j]),
                acceleration=hardest,
            )
        )
    if np.any(np.abs(speed[[0, -1]]) > STILL * limits.rate):
        raise ContractError(f"{where} begins or ends at speed; a motion must begin and end at rest")
    contract = motion_actor_contract(guard, targets[0])
    hold = np.tile(targets[0], (round(LEAD_S * motion.control_hz), 1))
    return MotionPlan(contract, np.concatenate([hold, targets]), tuple(plans), "plan")


def _require(
    name: str,
    unit: str,
    way: np.ndarray,
    fastest: float,
    hardest: float,
    guard: Guard,
    j: int,
) -> None:
    """Raises ContractError where a joint's way (T,) leaves what the guard allows."""
    low, high = float(guard.limits.low[j]), float(guard.limits.high[j])
    room = ROOM * max(1.0, abs(low), abs(high))
    if way.min() < low - room or way.max() > high + room:
        raise ContractError(
            f"joint {name!r}: the motion goes from {way.min():.3f} to {way.max():.3f} {unit} and "
            f"commands may use {low:.3f} to {high:.3f}; make it again inside these limits"
        )
    rounding = 2 * 10.0**-DIGITS * guard.contract.control_hz
    for what, asked, allowed, slack, per in (
        ("speed", fastest, float(guard.limits.rate[j]), rounding, "s"),
        (
            "acceleration",
            hardest,
            float(guard.limits.acceleration[j]),
            2 * rounding * guard.contract.control_hz,
            "s^2",
        ),
    ):
        if asked > allowed * (1 + ROOM) + slack:
            raise ContractError(
                f"joint {name!r}: the motion's {what} reaches {asked:.3g} {unit}/{per} and "
                f"{allowed:.3g} is allowed now; fly at a higher stage of speed, or make it again "
                "for this limit"
            )
