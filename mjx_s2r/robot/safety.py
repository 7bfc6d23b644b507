"""The guard between a policy and a robot: it checks every reading and limits every command.

Order of one step: are the readings whole, finite, believable and fresh; are the images fresh; is
the policy's output finite; then the command is brought inside what the joints' effort, range and
speed allow. Speed has the last word: a command never jumps, even back into the allowed range.

Modes: RUN sends the policy's command; HOLD sends the last command again (no effort in effort
mode); STOP is final: nothing is sent any more and the controller stops the driver. Every
intervention is an `Event`. The functions are pure: state goes in and comes out.
"""

import math
from dataclasses import dataclass, replace
from enum import IntEnum

import numpy as np

from mjx_s2r.contract import ContractError, PolicyContract, next_command
from mjx_s2r.robot.driver import COMMAND, DriverInfo, Reading
from mjx_s2r.robot.frames import is_picture

STAGES = (0.10, 0.25, 0.50, 0.75, 1.00)  # speed fractions of a first deployment, slow to full


class Mode(IntEnum):
    """Verdict of the guard on a step; the larger value wins."""

    RUN = 0
    HOLD = 1
    STOP = 2


@dataclass(frozen=True)
class SafetyConfig:
    """Limits of the guard. Periods of readings are control periods, of images the camera's.

    Attributes:
        soft_limit: fraction of the robot's joint range that commands may use, about its middle.
        speed_fraction: fraction of the contract's ``max_rate`` (of ``max_effort`` in effort mode)
            that is allowed; go through `STAGES` on a new robot.
        ramp_s: time over which the allowed ``max_rate`` grows from zero after the start, s.
        position_signal: signal with the (J,) joint positions, in the order of the action; the
            first command and the effort limit come from it. Not used in effort mode.
        tolerated_bad: bad readings in a row that are answered by HOLD before STOP.
        reading_hold_periods: age of a reading that holds.
        reading_stop_periods: age of a reading that stops.
        image_hold_periods: age of an image that holds.
        image_stop_periods: age of an image that stops.
        future_s: how far a time stamp may lie ahead of the clock, s.
    """

    soft_limit: float = 0.95
    speed_fraction: float = 1.0
    ramp_s: float = 1.0
    position_signal: str = "joint_pos"
    tolerated_bad: int = 0
    reading_hold_periods: float = 2.0
    reading_stop_periods: float = 5.0
    image_hold_periods: float = 5.0
    image_stop_periods: float = 25.0
    future_s: float = 0.005

    def __post_init__(self) -> None:
        """Checks the settings.

        Raises:
            ValueError: a setting outside its range; the message names it.
        """
        for name in ("soft_limit", "speed_fraction"):
            if not 0 < getattr(self, name) <= 1:
                raise ValueError(f"safety.{name} = {getattr(self, name)} must be in (0, 1]")
        if self.ramp_s < 0 or self.tolerated_bad < 0:
            raise ValueError("safety.ramp_s and safety.tolerated_bad cannot be negative")
        for kind in ("reading", "image"):
            hold = getattr(self, f"{kind}_hold_periods")
            stop = getattr(self, f"{kind}_stop_periods")
            if not 0 < hold <= stop:
                raise ValueError(f"safety.{kind}_hold_periods = {hold} must be in (0, {stop}]")


@dataclass(frozen=True)
class Event:
    """One intervention or finding.

    Attributes:
        code: "missing", "shape", "nan", "range", "stale", "future", "output", "position", "rate",
            "effort"; the controller adds "overrun" and "exception".
        name: the signal, camera or joint.
        value: what was found.
        limit: what was allowed.
        mode: what the guard did about it; RUN means that the command was changed and sent.
    """

    code: str
    name: str
    value: float
    limit: float
    mode: Mode = Mode.RUN


@dataclass(frozen=True)
class Inspection:
    """The finding on one reading; needed to get a command out of `Guard.review`."""

    mode: Mode
    events: tuple[Event, ...] = ()


@dataclass(frozen=True)
class GuardState:
    """State of the guard between steps.

    Attributes:
        command: (J,) float32, the last command that was let through.
        mode: the last mode; STOP is never left.
        ramp_steps: steps in RUN so far.
        bad: bad readings in a row.
    """

    command: np.ndarray
    mode: Mode = Mode.RUN
    ramp_steps: int = 0
    bad: int = 0


@dataclass(frozen=True)
class Decision:
    """Decision of the guard on one step: ``command`` (J,) is None exactly when the mode is STOP."""

    mode: Mode
    command: np.ndarray | None
    events: tuple[Event, ...]


@dataclass(frozen=True)
class Guard:
    """The rules of one policy on one robot; arrays are (J,) float64."""

    config: SafetyConfig
    contract: PolicyContract
    low: np.ndarray
    high: np.ndarray
    max_step: np.ndarray
    max_effort: np.ndarray
    kp: np.ndarray

    @classmethod
    def build(cls, config: SafetyConfig, contract: PolicyContract, info: DriverInfo) -> "Guard":
        """Takes the limits of contract and robot, whichever is narrower.

        Raises:
            ContractError: position commands without a signal that brings the joint positions.
        """
        action, joints = contract.action, len(contract.action.joints)
        low, high = _range(config, contract, info)
        kp = np.array(action.kp or (0.0,) * joints)
        sizes = {s.name: s.size for s in contract.signals}
        if action.mode != "effort" and sizes.get(config.position_signal) != joints:
            raise ContractError(
                f"position commands need a signal {config.position_signal!r} with {joints} values "
                f"in the contract, which has {sizes}; set safety.position_signal"
            )
        rate = np.minimum(action.max_rate, info.max_rate)
        return cls(
            config=config,
            contract=contract,
            low=low,
            high=high,
            max_step=rate / contract.control_hz,
            max_effort=np.minimum(action.max_effort, info.max_effort),
            kp=kp,
        )

    def start(self, command: np.ndarray) -> GuardState:
        """Returns the first state; ``command`` (J,) is where the robot is held now."""
        return GuardState(np.asarray(command, np.float32))

    def inspect(self, reading: Reading, now_s: float) -> Inspection:
        """Returns what is wrong with a reading; an empty finding has mode RUN."""
        events = [*_signals(self.contract, reading), *_images(self.contract, reading)]
        events += _ages(self.config, self.contract, reading, now_s)
        return Inspection(max((e.mode for e in events), default=Mode.RUN), tuple(events))

    def review(
        self,
        state: GuardState,
        inspection: Inspection,
        reading: Reading,
        output: np.ndarray | None,
    ) -> tuple[Decision, GuardState]:
        """Returns what to send after a reading was inspected, and the next state.

        Args:
            state: the last state.
            inspection: the finding on ``reading``.
            reading: the reading.
            output: (J,) what the policy answered, physical units; None where it was not asked.
        """
        mode, events, bad = _tolerate(self.config, state, inspection)
        if mode == Mode.RUN:
            found = _output(self.contract, output)
            mode, events = max(mode, *(e.mode for e in found), Mode.RUN), (*events, *found)
        if state.mode == Mode.STOP or mode == Mode.STOP:
            return Decision(Mode.STOP, None, events), replace(state, mode=Mode.STOP, bad=bad)
        if mode == Mode.HOLD:
            effort = self.contract.action.mode == "effort"
            held = np.zeros_like(state.command) if effort else state.command
            return Decision(mode, held, events), GuardState(held, mode, state.ramp_steps, bad)
        assert output is not None
        wish = next_command(np, self.contract.action, state.command, np.asarray(output, np.float32))
        command, changes = _limit(self, state, reading, wish)
        after = GuardState(command, mode, state.ramp_steps + 1, 0)
        return Decision(mode, command, (*events, *changes)), after


def _range(
    config: SafetyConfig, contract: PolicyContract, info: DriverInfo
) -> tuple[np.ndarray, np.ndarray]:
    """Returns (J,) lowest and (J,) highest command."""
    action = contract.action
    if action.mode == "effort":
        top = config.speed_fraction * np.minimum(action.max_effort, info.max_effort)
        return np.maximum(action.low, -top), np.minimum(action.high, top)
    bottom, top = np.array(info.low), np.array(info.high)
    open_ended = ~(np.isfinite(bottom) & np.isfinite(top))
    margin = np.where(open_ended, 0.0, top - bottom) * (1 - config.soft_limit) / 2
    return np.maximum(action.low, bottom + margin), np.minimum(action.high, top - margin)


def _signals(contract: PolicyContract, reading: Reading) -> list[Event]:
    """Returns the signals that are missing, of another size, not finite or out of range."""
    events = []
    for s in contract.signals:
        if s.name == COMMAND:
            continue
        if s.name not in reading.signals:
            events.append(Event("missing", s.name, 0, s.size, Mode.STOP))
            continue
        value = np.asarray(reading.signals[s.name])
        if value.shape != (s.size,):
            events.append(Event("shape", s.name, value.size, s.size, Mode.STOP))
            continue
        low, high = float(value.min()), float(value.max())
        if not (math.isfinite(low) and math.isfinite(high)):
            events.append(Event("nan", s.name, math.nan, 0, Mode.STOP))
        elif low < s.low:
            events.append(Event("range", s.name, low, s.low, Mode.STOP))
        elif high > s.high:
            events.append(Event("range", s.name, high, s.high, Mode.STOP))
    return events


def _images(contract: PolicyContract, reading: Reading) -> list[Event]:
    """Returns the images that are missing or of another size or type."""
    events = []
    for c in contract.cameras:
        image = reading.images.get(c.name)
        if image is None or c.name not in reading.image_time_s:
            events.append(Event("missing", c.name, 0, 1, Mode.STOP))
        elif not is_picture(c, image):
            size = c.height * c.width * c.channels
            events.append(Event("shape", c.name, image.size, size, Mode.STOP))
    return events


def _ages(
    config: SafetyConfig, contract: PolicyContract, reading: Reading, now_s: float
) -> list[Event]:
    """Returns what is too old, and what claims to come from the future (another time base)."""
    hold, stop = config.reading_hold_periods, config.reading_stop_periods
    found = [_age("reading", now_s - reading.time_s, contract.control_hz, (hold, stop), config)]
    hold, stop = config.image_hold_periods, config.image_stop_periods
    for c in contract.cameras:
        if c.name in reading.image_time_s:
            age_s = now_s - reading.image_time_s[c.name]
            found.append(_age(c.name, age_s, c.rate_hz, (hold, stop), config))
    return [event for event in found if event is not None]


def _age(
    name: str, age_s: float, rate_hz: float, periods: tuple[float, float], config: SafetyConfig
) -> Event | None:
    """Returns the finding on one age, s; ``periods`` hold and stop."""
    hold_s, stop_s = periods[0] / rate_hz, periods[1] / rate_hz
    if not age_s >= -config.future_s:
        return Event("future", name, age_s, -config.future_s, Mode.STOP)
    if age_s > stop_s:
        return Event("stale", name, age_s, stop_s, Mode.STOP)
    if age_s > hold_s:
        return Event("stale", name, age_s, hold_s, Mode.HOLD)
    return None


def _tolerate(
    config: SafetyConfig, state: GuardState, inspection: Inspection
) -> tuple[Mode, tuple[Event, ...], int]:
    """Returns mode, events and bad readings in a row, with the tolerated ones answered by HOLD."""
    if inspection.mode != Mode.STOP:
        return inspection.mode, inspection.events, 0
    bad = state.bad + 1
    if bad > config.tolerated_bad:
        return Mode.STOP, inspection.events, bad
    return Mode.HOLD, tuple(replace(e, mode=Mode.HOLD) for e in inspection.events), bad


def _output(contract: PolicyContract, output: np.ndarray | None) -> list[Event]:
    """Returns what is wrong with the policy's answer."""
    joints = contract.action.joints
    if output is None:
        return [Event("output", "missing", 0, len(joints), Mode.STOP)]
    if output.shape != (len(joints),):
        return [Event("output", "shape", output.size, len(joints), Mode.STOP)]
    finite = np.isfinite(output)
    return [
        Event("output", joint, math.nan, 0, Mode.STOP)
        for joint, ok in zip(joints, finite, strict=True)
        if not ok
    ]


def _limit(
    guard: Guard, state: GuardState, reading: Reading, wish: np.ndarray
) -> tuple[np.ndarray, list[Event]]:
    """Returns the command (J,) inside every limit, and one event for each change of a joint."""
    last = state.command.astype(float)
    now = wish.astype(float)
    events: list[Event] = []
    for code, low, high in (
        ("effort", *_effort_bounds(guard, reading)),
        ("position", guard.low, guard.high),
        ("rate", *_rate_bounds(guard, state, last)),
    ):
        inside = np.minimum(np.maximum(now, low), high)
        changed = np.flatnonzero(np.abs(inside - now) > 1e-6)
        for j in changed:
            joint = guard.contract.action.joints[j]
            events.append(Event(code, joint, float(now[j]), float(inside[j])))
        now = inside
    return now.astype(np.float32), events


def _effort_bounds(guard: Guard, reading: Reading) -> tuple[np.ndarray, np.ndarray]:
    """Returns the commands (J,) at which a position loop reaches its largest effort.

    |kp (command - position)| <= max_effort. In effort mode the range limit does this work.
    """
    free = np.full(len(guard.kp), np.inf)
    if guard.contract.action.mode == "effort" or not guard.kp.any():
        return -free, free
    position = np.asarray(reading.signals[guard.config.position_signal], float)
    reach = np.where(guard.kp > 0, guard.max_effort / np.where(guard.kp > 0, guard.kp, 1.0), np.inf)
    return position - reach, position + reach


def _rate_bounds(
    guard: Guard, state: GuardState, last: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the commands (J,) that can be reached in one step at the speed allowed now."""
    config, effort = guard.config, guard.contract.action.mode == "effort"
    ramp = 1.0
    if config.ramp_s > 0:
        ramp = min(1.0, (state.ramp_steps + 1) / (config.ramp_s * guard.contract.control_hz))
    step = guard.max_step * ramp * (1.0 if effort else config.speed_fraction)
    return last - step, last + step
