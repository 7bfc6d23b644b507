"""The interface of a robot driver, its readings, and the check that a policy fits a robot.

A driver is thin: it moves bytes and converts units. It makes no decision; limits, holds and stops
are the guard's (`mjx_s2r.robot.safety`). Units and names are the contract's.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import numpy as np

from mjx_s2r.contract import CameraSignal, ContractError, Optics, PolicyContract

COMMAND = "command"  # the signal that the controller supplies: the last command that was sent
FOV_SLACK_DEG = 1.0  # what a camera's calibration may be off by
BEND_SLACK = 0.02  # likewise of k1 and k2: at 45 degrees off the axis a fiftieth of the radius
BEYOND = 0.1  # share of a joint's range by which a reading may lie outside of it
SLACK = 1e-6  # relative room for float32 limits that were written down in float64


class DriverError(RuntimeError):
    """A robot that does not answer, or that stopped by itself; the message says what to do."""


@dataclass(frozen=True)
class Reading:
    """Reading of a robot at one instant.

    Attributes:
        time_s: when the signals were measured, s, in the time of the controller's clock.
        signals: contract signal name -> raw reading (size,), in the signal's unit.
        images: camera name -> (H, W, 3) uint8 RGB, row 0 at the top; of a depth camera (H, W),
            float32 metres or uint16 counts of the contract's ``unit_m``, 0 for no answer.
        image_time_s: camera name -> when that image was taken, s, in the same time.
        estop: whether the robot's own emergency stop is pressed.

    A driver may report more signals than the policy reads. The guard judges those that it knows:
    "temperature" (J,) degrees Celsius, "voltage" (1,) V, "gravity" (3,) direction of gravity in the
    base's frame, "joint_effort" (J,) N m or N.
    """

    time_s: float
    signals: Mapping[str, np.ndarray]
    images: Mapping[str, np.ndarray] = field(default_factory=dict)
    image_time_s: Mapping[str, float] = field(default_factory=dict)
    estop: bool = False


@dataclass(frozen=True)
class CameraInfo:
    """One camera as the driver delivers it, after its own cropping and resizing."""

    name: str
    height: int
    width: int
    rate_hz: float
    kind: str = "rgb"
    optics: Optics = field(default_factory=Optics)

    def __post_init__(self) -> None:
        """Makes plain numbers of numpy's, as `DriverInfo` does.

        Raises:
            ContractError: a size or rate that is no number above zero.
        """
        for name in ("height", "width", "rate_hz"):
            value = _number(f"camera {self.name!r}: {name}", getattr(self, name))
            if not value > 0:
                raise ContractError(f"camera {self.name!r}: {name} = {value:g} must be above zero")
            object.__setattr__(self, name, value if name == "rate_hz" else int(value))


@dataclass(frozen=True)
class TaskRules:
    """When an episode of a task is over.

    Attributes:
        episode_s: longest episode, s.
        hold_s: how long the goal must hold to be a success, s.
    """

    episode_s: float
    hold_s: float


@dataclass(frozen=True)
class DriverInfo:
    """Description of a robot by its driver: joints, limits, rates, signals, cameras.

    Attributes:
        name: what the robot is called in logs.
        joints: commanded joints, in the order of `Driver.write`.
        command: "position" or "effort".
        unit: unit of the command: "rad", "m", "N m" or "N".
        low: lowest position, per joint, rad or m (-inf where there is no stop).
        high: highest position, per joint.
        max_rate: fastest position change, per joint, rad/s or m/s (inf where unknown), also of a
            robot that takes efforts.
        max_effort: largest force or torque, per joint, N m or N (inf where unknown).
        max_hz: fastest control rate that the bus carries.
        signals: signal name -> size, without ``"command"``, which the controller supplies.
        cameras: cameras that are delivered.
        timeout_s: time without a command after which the robot stops by itself, s; inf: never.
        task: rules of the task that a stand-in judges by its true state, see `EpisodicDriver`; None
            for every robot that cannot know, which is any real one.
    """

    name: str
    joints: tuple[str, ...]
    command: str
    unit: str
    low: tuple[float, ...]
    high: tuple[float, ...]
    max_rate: tuple[float, ...]
    max_effort: tuple[float, ...]
    max_hz: float
    signals: Mapping[str, int]
    cameras: tuple[CameraInfo, ...] = ()
    timeout_s: float = math.inf
    task: TaskRules | None = None

    def __post_init__(self) -> None:
        """Checks the limits, and makes plain tuples and numbers of arrays.

        A limit that is NaN would let everything through: no number is above it, and none below.

        Raises:
            ContractError: a limit of another length, one that is NaN or no number, or two that are
                the wrong way round; the message names robot, joint and value.
        """
        here = f"driver {self.name!r}:"
        object.__setattr__(self, "joints", tuple(str(joint) for joint in self.joints))
        for name in ("low", "high", "max_rate", "max_effort"):
            values = tuple(getattr(self, name))
            if len(values) != len(self.joints):
                raise ContractError(
                    f"{here} {name} has {len(values)} values for {len(self.joints)} joints; give "
                    "one per joint"
                )
            plain = tuple(
                _number(f"{here} {name} of joint {joint!r}", x)
                for joint, x in zip(self.joints, values, strict=True)
            )
            object.__setattr__(self, name, plain)
        for joint, low, high, *most in zip(
            self.joints, self.low, self.high, self.max_rate, self.max_effort, strict=True
        ):
            if low > high:
                raise ContractError(
                    f"{here} joint {joint!r} has low {low:g} above high {high:g}; the lower one "
                    "belongs in low"
                )
            for name, x in zip(("max_rate", "max_effort"), most, strict=True):
                if x < 0:
                    raise ContractError(
                        f"{here} {name} of joint {joint!r} is {x:g}, which is below zero; write "
                        "its size, or inf where it is unknown"
                    )
        for name in ("max_hz", "timeout_s"):
            value = _number(f"{here} {name}", getattr(self, name))
            if not value > 0:
                raise ContractError(f"{here} {name} = {value:g} must be above zero")
            object.__setattr__(self, name, value)
        sizes = {str(k): int(_number(f"{here} size of {k!r}", x)) for k, x in self.signals.items()}
        object.__setattr__(self, "signals", sizes)
        object.__setattr__(self, "cameras", tuple(self.cameras))


def _number(what: str, value: Any) -> float:
    """Returns a value as a plain number.

    Raises:
        ContractError: it is NaN, or no number.
    """
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if number != value:
        raise ContractError(f"{what} is {value!r}; write a number, inf where it is unknown")
    return number


class Driver(Protocol):
    """A robot.

    ``write`` sends exactly the command it is given or raises; it never clips in silence, because
    the last command is an input of the policy. A joint may rest beyond its end: ``write`` takes a
    command that leaves it there or brings it back, as the guard sends. ``stop`` must be safe to
    call at any time, twice, and after a failure: hold for position control, damp or zero for effort
    control. It may come from another thread, while ``read`` or ``write`` blocks.
    """

    def describe(self) -> DriverInfo:
        """Returns what the robot can do; may be called before `connect`."""
        ...

    def connect(self) -> None:
        """Opens the bus and the cameras; the robot does not move."""
        ...

    def read(self) -> Reading:
        """Returns the newest reading."""
        ...

    def write(self, command: np.ndarray) -> None:
        """Sends one command, (J,)."""
        ...

    def stop(self) -> None:
        """Brings the robot to rest and leaves it safe."""
        ...

    def close(self) -> None:
        """Stops if needed and releases the bus and the cameras."""
        ...


@runtime_checkable
class EpisodicDriver(Driver, Protocol):
    """A stand-in that knows its task: it names rules in `DriverInfo.task`.

    Its readings tell what the task says of the true state, by the signals that
    `mjx_s2r.robot.verdict` names; no policy reads them.
    """

    def begin_episode(self, number: int) -> None:
        """Puts robot and things where episode ``number``, from 1, begins; it rests meanwhile."""
        ...


def believed_positions(info: DriverInfo) -> tuple[np.ndarray, np.ndarray]:
    """Returns the lowest and the highest position (J,) that is believed of each joint, rad or m.

    A joint that reads beyond its ends by more than `BEYOND` of its range has another unit or zero.
    """
    low, high = np.array(info.low, float), np.array(info.high, float)
    span = high - low
    room = BEYOND * np.where(np.isfinite(span), span, 0.0)
    return low - room, high + room


def fastest_change(contract: PolicyContract, info: DriverInfo) -> np.ndarray:
    """Returns the fastest change of each command (J,), unit/s: the robot's, where it is narrower.

    A data sheet says how fast a joint moves. That limits positions; how fast an effort may change
    it does not say.
    """
    own = np.array(contract.action.max_rate, float)
    return own if contract.action.mode == "effort" else np.minimum(own, info.max_rate)


def largest_lag(contract: PolicyContract, info: DriverInfo) -> np.ndarray:
    """Returns how far each servo (J,) can stand from its command, rad or m: its effort over gain.

    Where the contract tells no gain, or nobody an effort, it is infinite.
    """
    kp = np.array(contract.action.kp or (0.0,) * len(contract.action.joints))
    most = np.minimum(contract.action.max_effort, info.max_effort)
    return np.where(kp > 0, most / np.where(kp > 0, kp, 1.0), np.inf)


def check(contract: PolicyContract, info: DriverInfo) -> None:
    """Checks that a policy fits a robot.

    Raises:
        ContractError: lists every mismatch with its remedy, one per line.
    """
    problems = [
        *_joints(contract, info),
        *_command(contract, info),
        *_limits(contract, info),
        *_signals(contract, info),
        *_cameras(contract, info),
    ]
    if contract.control_hz > info.max_hz * (1 + SLACK):
        problems.append(
            f"control rate {contract.control_hz} Hz is above the robot's {info.max_hz} Hz; "
            "train at a lower rate or raise the driver's bus rate"
        )
    if problems:
        head = f"policy for task {contract.task!r} does not fit robot {info.name!r}:"
        raise ContractError("\n - ".join([head, *problems]))


def _joints(contract: PolicyContract, info: DriverInfo) -> list[str]:
    """Returns the mismatches between the joint names."""
    wanted, given = contract.action.joints, info.joints
    if wanted == given:
        return []
    if sorted(wanted) == sorted(given):
        return [
            f"joint order {given} differs from the policy's {wanted}; reorder the driver's joints"
        ]
    missing = [j for j in wanted if j not in given]
    extra = [j for j in given if j not in wanted]
    return [
        f"joints missing on the robot: {missing}, unknown to the policy: {extra}; map the names"
    ]


def _command(contract: PolicyContract, info: DriverInfo) -> list[str]:
    """Returns the mismatches between what is commanded and its unit."""
    wanted = "effort" if contract.action.mode == "effort" else "position"
    problems = []
    if wanted != info.command:
        problems.append(
            f"action mode {contract.action.mode!r} needs {wanted} commands but the robot takes "
            f"{info.command}; switch the driver's mode or train the other mode"
        )
    if contract.action.unit != info.unit:
        problems.append(
            f"commands are in {contract.action.unit!r} but the robot takes {info.unit!r}; "
            "convert in the driver"
        )
    return problems


def _limits(contract: PolicyContract, info: DriverInfo) -> list[str]:
    """Returns the limits of the action that reach outside the robot's, joint by joint."""
    if contract.action.joints != info.joints:
        return []
    action = contract.action
    bounds = [("max_effort", action.max_effort, info.max_effort)]
    if action.mode == "effort":
        bounds += [("high", action.high, info.max_effort)]
        bounds += [("-low", tuple(-x for x in action.low), info.max_effort)]
    else:
        bounds += [("max_rate", action.max_rate, info.max_rate), ("high", action.high, info.high)]
        bounds += [("-low", tuple(-x for x in action.low), tuple(-x for x in info.low))]
    return [
        f"action.{name} {wanted:g} of joint {joint!r} is outside the robot's {given:g}; narrow it"
        for name, values, limits in bounds
        for joint, wanted, given in zip(action.joints, values, limits, strict=True)
        if wanted > given + SLACK * max(1.0, abs(given))
    ]


def _signals(contract: PolicyContract, info: DriverInfo) -> list[str]:
    """Returns the signals that are missing or have another size."""
    sizes = {**info.signals, COMMAND: len(info.joints)}
    problems = []
    for s in contract.signals:
        if s.name not in sizes:
            problems.append(f"signal {s.name!r} is missing; the robot reads {sorted(info.signals)}")
        elif s.size != sizes[s.name]:
            problems.append(
                f"signal {s.name!r} has {sizes[s.name]} values on the robot, the policy reads "
                f"{s.size}; deliver the joints that the policy was trained on"
            )
    return problems


def _cameras(contract: PolicyContract, info: DriverInfo) -> list[str]:
    """Returns the cameras that are missing, slower or of another size."""
    known = {c.name: c for c in info.cameras}
    problems = []
    for c in contract.cameras:
        given = known.get(c.name)
        if given is None:
            problems.append(f"camera {c.name!r} is missing; the robot has {sorted(known)}")
            continue
        if given.kind != c.kind:
            problems.append(
                f"camera {c.name!r} delivers {given.kind}, the policy reads {c.kind}; deliver that "
                "stream under this name"
            )
        if (given.height, given.width) != (c.height, c.width):
            problems.append(
                f"camera {c.name!r} delivers {given.height}x{given.width}, the policy reads "
                f"{c.height}x{c.width}; resize in the driver"
            )
        if given.rate_hz < c.rate_hz * (1 - SLACK):
            problems.append(
                f"camera {c.name!r} runs at {given.rate_hz} Hz, the policy expects {c.rate_hz} Hz; "
                "raise its rate or train at the lower one"
            )
        problems += lens_problems(c, given)
    return problems


def lens_problems(camera: CameraSignal, given: CameraInfo) -> list[str]:
    """Returns what a robot's lens does to a picture that the policy has not met in training.

    What either side does not claim is not compared, see `lens_notes`.
    """
    wanted, has = camera.optics, given.optics
    where = f"camera {camera.name!r}"
    problems = []
    if wanted.fov_deg and has.fov_deg:
        low, high = wanted.fov_range or (wanted.fov_deg, wanted.fov_deg)
        if not low - FOV_SLACK_DEG <= has.fov_deg <= high + FOV_SLACK_DEG:
            trained = f"{wanted.fov_deg:g}" if low == high else f"{low:g} to {high:g}"
            problems.append(
                f"{where} sees {has.fov_deg:g} degrees from top to bottom, the policy was trained "
                f"at {trained}; {_wider_or_narrower(camera, given)}"
            )
    if wanted.fov_deg and camera.kind == "rgb" and wanted.order != has.order:
        problems.append(
            f"{where} delivers {has.order}, the policy reads {wanted.order}; turn the colours "
            "around in the driver"
        )
    if wanted.fov_deg and has.fov_deg and wanted.fit != has.fit:
        problems.append(
            f"{where} is fitted by {has.fit!r}, the policy was trained with {wanted.fit!r}; "
            f"{'cut' if wanted.fit == 'crop' else 'squeeze'} the sensor's picture in the driver"
        )
    if wanted.fov_deg and has.distortion:
        problems += _bent(camera, given)
    return problems


def lens_notes(contract: PolicyContract, info: DriverInfo) -> list[str]:
    """Returns the cameras whose lens nobody compares with the one trained with, and why."""
    known = {c.name: c for c in info.cameras}
    notes = []
    for c in contract.cameras:
        given = known.get(c.name)
        if given is None:
            continue
        if not c.optics.fov_deg:
            notes.append(
                f"camera {c.name!r}: the policy does not say at which field of view it was "
                "trained; compare the pictures yourself, or export it again"
            )
        elif not given.optics.fov_deg:
            notes.append(
                f"camera {c.name!r}: the driver does not say its field of view, the policy was "
                f"trained at {c.optics.fov_deg:g} degrees; fill in CameraInfo.optics"
            )
    return notes


def _wider_or_narrower(camera: CameraSignal, given: CameraInfo) -> str:
    """Returns how a picture of another field of view is made to fit."""
    half, mine = (
        math.tan(math.radians(x) / 2) for x in (given.optics.fov_deg, camera.optics.fov_deg)
    )
    more = f"train with a row visual.camera_fovy that reaches {given.optics.fov_deg:g} degrees"
    if mine >= half:
        return f"take a wider lens, or {more}"
    height, width = (max(1, round(x * mine / half)) for x in (given.height, given.width))
    return (
        f"cut the middle {height}x{width} out of each {given.height}x{given.width} (that share of "
        f"the sensor's picture) and resize it in the driver, or {more}"
    )


def _bent(camera: CameraSignal, given: CameraInfo) -> list[str]:
    """Returns the terms of a lens's distortion that are outside of what was trained with."""
    wanted = camera.optics
    nominal = wanted.distortion or (0.0,) * 5
    ranges = [(x, x) for x in nominal]
    for k, pair in enumerate(wanted.distortion_range):
        ranges[k] = (pair[0], pair[1])
    names = ("k1", "k2", "p1", "p2", "k3")
    outside = [
        f"{name} {x:g} (trained from {low:g} to {high:g})"
        for name, x, (low, high) in zip(names, given.optics.distortion, ranges, strict=True)
        if not low - BEND_SLACK <= x <= high + BEND_SLACK
    ]
    if not outside:
        return []
    return [
        f"camera {camera.name!r} bends the picture by {', '.join(outside)}; undistort it in the "
        "driver, or train with a row visual.camera_distortion that reaches it"
    ]
