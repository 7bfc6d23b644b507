"""From a servo's numbers to joint angles: one line per joint, from a file of ours or LeRobot's.

LeRobot reports a motor in one of three units (`lerobot/motors/motors_bus.py`, `_normalize`), with
c its encoder count inside [range_min, range_max]:

    range_m100_100   200 (c - range_min) / (range_max - range_min) - 100
    range_0_100      100 (c - range_min) / (range_max - range_min)
    degrees          about the middle of the range; within half a count of 360 / 4096 per count

A joint's reading is zero + sign * k * value with k = span / 200, span / 100 and pi / 180, in this
order. The span is the angle from range_min to range_max, 2 pi (range_max - range_min) /
counts_per_turn unless the file says otherwise. `zero` is thus the joint's reading in the middle of
the range, or at range_min for range_0_100.
LeRobot has applied drive_mode and homing_offset before it reports a value.
"""

import json
import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal, get_args

from mjx_s2r.contract import ContractError

MotorUnit = Literal["range_m100_100", "range_0_100", "degrees", "radians"]
LEROBOT_KEYS = {"id", "drive_mode", "homing_offset", "range_min", "range_max"}
TURN = 4096  # counts per turn of the servos that LeRobot's arms have


@dataclass(frozen=True)
class JointCalibration:
    """How one motor's value becomes one joint's reading.

    Attributes:
        joint: name in the policy's contract.
        motor: name on the robot.
        unit: of the motor's value.
        range_min: encoder count at the lower end.
        range_max: encoder count at the upper end.
        counts_per_turn: encoder counts of one turn.
        sign: 1, or -1 where joint and motor turn opposite ways.
        zero: the joint's reading in the middle of the motor's range (of range_0_100: at its lower
            end), rad or m.
        span: how far the joint moves from range_min to range_max, rad or m; 0: by the counts.
    """

    joint: str
    motor: str
    unit: MotorUnit = "range_m100_100"
    range_min: int = 0
    range_max: int = TURN - 1
    counts_per_turn: int = TURN
    sign: int = 1
    zero: float = 0.0
    span: float = 0.0

    def __post_init__(self) -> None:
        """Checks the numbers and the unit.

        Raises:
            ContractError: an unknown unit, a range without width, a sign that is none.
        """
        where = f"calibration of joint {self.joint!r}"
        if self.unit not in get_args(MotorUnit):
            raise ContractError(
                f"{where}: unit {self.unit!r} must be {_one_of(get_args(MotorUnit))}"
            )
        for name in ("range_min", "range_max", "counts_per_turn", "sign", "zero", "span"):
            value = getattr(self, name)
            if (
                isinstance(value, bool)
                or not isinstance(value, int | float)
                or not math.isfinite(value)
            ):
                raise ContractError(f"{where}: {name} {value!r} must be a finite number")
        if not self.range_min < self.range_max:
            raise ContractError(
                f"{where}: range_min {self.range_min} is not below range_max {self.range_max}; "
                "calibrate the robot anew"
            )
        if self.counts_per_turn <= 0 or self.sign not in (1, -1) or self.span < 0:
            raise ContractError(
                f"{where}: counts_per_turn {self.counts_per_turn} must be above zero, sign "
                f"{self.sign} 1 or -1, span {self.span} at least zero"
            )

    @property
    def travel(self) -> float:
        """How far the joint moves from range_min to range_max, rad or m."""
        counts = self.range_max - self.range_min
        return self.span or 2 * math.pi * counts / self.counts_per_turn

    @property
    def scale(self) -> float:
        """Change of the joint per unit of the motor's value, with its sign."""
        units = {"range_m100_100": 200.0, "range_0_100": 100.0}
        if self.unit in units:
            return self.sign * self.travel / units[self.unit]
        return self.sign * (math.pi / 180 if self.unit == "degrees" else 1.0)

    @property
    def ends(self) -> tuple[float, float]:
        """Lowest and highest reading of the joint inside the motor's range, rad or m."""
        first = 0.0 if self.unit == "range_0_100" else -self.travel / 2
        a, b = (self.zero + self.sign * x for x in (first, first + self.travel))
        return min(a, b), max(a, b)

    def to_joint(self, value: float) -> float:
        """Returns the joint's reading, rad or m, for a motor's value."""
        return self.zero + self.scale * value

    def to_motor(self, reading: float) -> float:
        """Returns the motor's value for a joint's reading, rad or m."""
        return (reading - self.zero) / self.scale

    def describe(self) -> str:
        """Returns one line for people: where the joint's reading comes from."""
        low, high = self.ends
        turned = "" if self.sign == 1 else ", turned around"
        return (
            f"{self.joint} <- {self.motor} ({self.unit}{turned}): {low:+.3f} to {high:+.3f}, "
            f"zero at {self.to_motor(0.0):+.1f}"
        )


def read_calibration(
    path: str | Path,
    *,
    degrees: bool = False,
    names: Mapping[str, str] | None = None,
) -> tuple[JointCalibration, ...]:
    """Reads a calibration: a TOML or JSON file of ours, or LeRobot's JSON.

    Ours has one table per joint under "joints": ``[joints.NAME]`` with the fields of
    `JointCalibration`; ``motor`` is the joint's name where it is missing. LeRobot's has one object
    per motor; a motor called "gripper" is read as range_0_100, all others as range_m100_100.

    Args:
        path: the file.
        degrees: whether LeRobot's robot was opened with ``use_degrees``; of LeRobot's files alone.
        names: motor of the robot -> joint of the policy, where the names differ.

    Raises:
        ContractError: no such file, not readable, or a joint whose numbers are wrong.
    """
    body = _read_file(Path(path))
    if all(isinstance(x, dict) and x.keys() >= LEROBOT_KEYS for x in body.values()):
        joints = tuple(_from_lerobot(motor, x, degrees) for motor, x in body.items())
    else:
        joints = tuple(_from_ours(path, body))
    names = dict(names or {})
    motors = [x.motor for x in joints]
    for motor in names:
        if motor not in motors:
            raise ContractError(f"{path} has no motor {motor!r}; {_near(motor, motors)}")
    joints = tuple(replace(x, joint=names.get(x.motor, x.joint)) for x in joints)
    for kind, found in (("joint", [x.joint for x in joints]), ("motor", motors)):
        if twice := [x for x in found if found.count(x) > 1]:
            raise ContractError(f"{path} names {kind} {twice[0]!r} twice; name each once")
    return joints


def _read_file(path: Path) -> dict[str, Any]:
    """Returns the content of a JSON or TOML file.

    Raises:
        ContractError: no file, or none that can be read.
    """
    try:
        text = path.read_text(encoding="utf-8")
        body = tomllib.loads(text) if path.suffix == ".toml" else json.loads(text)
    except (OSError, ValueError) as error:
        raise ContractError(f"{path} is no calibration file, JSON or TOML: {error}") from error
    if not isinstance(body, dict) or not body:
        raise ContractError(f"{path} holds no calibration; it needs a table per joint")
    return body


def _from_lerobot(motor: str, body: Mapping[str, Any], degrees: bool) -> JointCalibration:
    """Returns a motor of LeRobot's file."""
    unit: MotorUnit = "degrees" if degrees else "range_m100_100"
    if motor == "gripper":
        unit = "range_0_100"
    return JointCalibration(motor, motor, unit, body["range_min"], body["range_max"])


def _from_ours(path: str | Path, body: Mapping[str, Any]) -> list[JointCalibration]:
    """Returns the joints of our file."""
    tables = body.get("joints")
    if not isinstance(tables, dict) or not tables:
        raise ContractError(f"{path} has no table 'joints' with one table per joint; add it")
    known = [f.name for f in fields(JointCalibration)]
    joints = []
    for joint, table in tables.items():
        if not isinstance(table, dict):
            raise ContractError(f"{path}: joints.{joint} is {table!r} and must be a table")
        for key in table:
            if key not in known[1:]:
                raise ContractError(f"{path}: joints.{joint} has {key!r}; {_near(key, known[1:])}")
        joints.append(JointCalibration(joint, **({"motor": joint} | table)))
    return joints


def _near(name: str, known: list[str]) -> str:
    """Returns what could have been meant, for an error."""
    near = get_close_matches(name, known, 3)
    return f"did you mean {_one_of(near)}?" if near else f"it must be {_one_of(known)}"


def _one_of(names: Any) -> str:
    """Returns names for an error."""
    return " or ".join(repr(name) for name in names)
