"""The guard between a policy and a robot: it checks every reading and limits every command.

Order of one step: are the readings whole, finite, believable and fresh, and do they agree with
those before; is the policy's output finite; then the command is brought inside what the joints'
effort, range and speed allow, and the robot's points inside the workspace. Speed has the last
word: a command never jumps, even back into the allowed range.

Modes: RUN sends the policy's command; HOLD sends the last command again (no effort in effort
mode), or brings it to rest where accelerations are limited; STOP is final: nothing is sent any
more and the controller stops the driver. Every intervention is an `Event`, and its code is one of
`causes.CAUSES`. The functions are pure: state goes in and comes out.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from mjx_s2r.contract import ContractError, PolicyContract, next_command
from mjx_s2r.robot.driver import DriverInfo, Reading, believed_positions
from mjx_s2r.robot.safety import readings
from mjx_s2r.robot.safety.causes import Event, Mode
from mjx_s2r.robot.safety.config import SafetyConfig
from mjx_s2r.robot.safety.history import History, MotionLimits, judge, motion_limits
from mjx_s2r.robot.safety.limits import (
    CommandLimits,
    Motion,
    advance_motion,
    at_rest,
    command_limits,
    limit,
)
from mjx_s2r.robot.safety.workspace import Workspace, workspace_of

FINAL = ("estop", "clock", "blocked", "overrun")  # causes that are never tolerated


@dataclass(frozen=True)
class Inspection:
    """The finding on one reading; needed to get a command out of `Guard.review`.

    Attributes:
        mode: the verdict.
        events: what was found.
        past: what the next inspection is to remember.
    """

    mode: Mode
    events: tuple[Event, ...] = ()
    past: History = field(default_factory=History)


@dataclass(frozen=True)
class GuardState:
    """State of the guard between steps.

    Attributes:
        motion: the last command that was let through, and its derivatives.
        mode: the last mode; STOP is never left.
        ramp_s: time in RUN so far, s.
        held_s: time in HOLD without a break, s.
        bad: bad readings in a row.
        past: what is remembered of the readings.
    """

    motion: Motion
    mode: Mode = Mode.RUN
    ramp_s: float = 0.0
    held_s: float = 0.0
    bad: int = 0
    past: History = field(default_factory=History)

    @property
    def command(self) -> np.ndarray:
        """(J,) float32, the last command that was let through."""
        return self.motion.command


@dataclass(frozen=True)
class Decision:
    """Decision of the guard on one step: ``command`` (J,) is None exactly when the mode is STOP."""

    mode: Mode
    command: np.ndarray | None
    events: tuple[Event, ...]


@dataclass(frozen=True)
class Guard:
    """The rules of one policy on one robot.

    Attributes:
        config: settings.
        contract: of the policy.
        limits: of commands.
        motion: of the joints between two readings.
        max_effort: (J,) largest effort, N m or N.
        overspeed: (J,) largest velocity that is believed to be commanded, unit/s.
        ends: lowest and highest position (J,) that is believed of each joint.
        seen: what was met in training.
        workspace: where the robot's points stay; None anywhere.
    """

    config: SafetyConfig
    contract: PolicyContract
    limits: CommandLimits
    motion: MotionLimits
    max_effort: np.ndarray
    overspeed: np.ndarray
    ends: tuple[np.ndarray, np.ndarray]
    seen: tuple[readings.SeenRange, ...] = ()
    workspace: Workspace | None = None

    @classmethod
    def build(cls, config: SafetyConfig, contract: PolicyContract, info: DriverInfo) -> "Guard":
        """Takes the limits of contract and robot, whichever is narrower.

        Raises:
            ContractError: position commands without a signal that brings the joint positions, or
                settings that do not fit the robot.
        """
        action, joints = contract.action, len(contract.action.joints)
        sizes = {s.name: s.size for s in contract.signals}
        if action.mode != "effort" and sizes.get(config.position_signal) != joints:
            raise ContractError(
                f"position commands need a signal {config.position_signal!r} with {joints} values "
                f"in the contract, which has {sizes}; set safety.position_signal"
            )
        moves = motion_limits(contract, info)
        return cls(
            config=config,
            contract=contract,
            limits=command_limits(config, contract, info),
            motion=moves,
            max_effort=np.minimum(action.max_effort, info.max_effort),
            overspeed=config.overspeed * moves.rate,
            ends=believed_positions(info),
            seen=readings.seen_ranges(config, contract),
            workspace=workspace_of(config, contract),
        )

    def start(self, command: np.ndarray, past: History | None = None) -> GuardState:
        """Returns the first state; ``command`` (J,) is where the robot is held now."""
        return GuardState(at_rest(command), past=past or History())

    def inspect(
        self,
        reading: Reading,
        now_s: float,
        past: History | None = None,
        command: np.ndarray | None = None,
    ) -> Inspection:
        """Returns what is wrong with a reading; an empty finding has mode RUN.

        Args:
            reading: whatever the driver returned.
            now_s: the clock, s.
            past: what the last inspection remembered; None at the first.
            command: (J,) the last command that was sent; None before the first.
        """
        past = past or History()
        try:
            events, past = self._inspect(reading, now_s, past, command)
        except Exception as error:  # a mapping or an array with a mind of its own
            name = f"reading raised {type(error).__name__}"
            events = [Event("type", name, math.nan, 0, Mode.STOP)]
        return Inspection(max((e.mode for e in events), default=Mode.RUN), tuple(events), past)

    def _inspect(
        self, reading: Any, now_s: float, past: History, command: np.ndarray | None
    ) -> tuple[list[Event], History]:
        """Returns what is wrong with a reading, and the next past."""
        broken = readings.bad_containers(reading)
        if broken:
            return broken, past
        events = readings.own_estop(reading)
        events += readings.bad_signals(self.contract, reading)
        events += readings.bad_images(self.contract, reading)
        events += readings.old_parts(self.config, self.contract, reading, now_s)
        if any(event.mode == Mode.STOP for event in events):
            return events, past
        found, past = judge(self.config, self.contract, self.motion, past, reading, now_s, command)
        events += found
        events += self._ends(reading) + self._speed(reading)
        events += readings.unlike_training(self.config, self.seen, reading)
        events += readings.bad_extras(self.config, self.max_effort, reading)
        return events, past

    def _ends(self, reading: Reading) -> list[Event]:
        """Returns the joints that read far beyond their own ends: another unit, order or zero.

        Such a reading is no pose to begin from, or to go on from.
        """
        pose, (low, high) = reading.signals.get(self.config.position_signal), self.ends
        if not readings.is_numeric(pose) or pose.shape != low.shape:
            return []
        return [
            Event(
                "range",
                self.motion.joints[j],
                float(pose[j]),
                float(low[j] if pose[j] < low[j] else high[j]),
                Mode.STOP,
            )
            for j in np.flatnonzero((pose < low) | (pose > high))
        ]

    def _speed(self, reading: Reading) -> list[Event]:
        """Returns the joints that move faster, as measured, than any command may move them."""
        speed, most = reading.signals.get(self.config.velocity_signal), self.overspeed
        if not readings.is_numeric(speed) or speed.shape != most.shape:
            return []
        size = np.abs(speed)
        if (size <= most).all():
            return []
        return [
            Event("speed", self.motion.joints[j], float(speed[j]), float(most[j]), Mode.STOP)
            for j in np.flatnonzero(size > most)
        ]

    def still_fresh(self, inspection: Inspection, reading: Reading, now_s: float) -> Inspection:
        """Returns the finding after the ages were judged again, when the command is to leave.

        Args:
            inspection: the finding on the reading before the policy was asked.
            reading: the reading.
            now_s: the clock now, s.
        """
        if inspection.mode == Mode.STOP:
            return inspection
        late = readings.old_parts(self.config, self.contract, reading, now_s)
        if not late:
            return inspection
        before = tuple(e for e in inspection.events if e.code != "stale")
        mode = max(inspection.mode, *(e.mode for e in late))
        return replace(inspection, mode=mode, events=(*before, *late))

    def review(
        self,
        state: GuardState,
        inspection: Inspection,
        reading: Reading,
        output: np.ndarray | None,
        dt_s: float | None = None,
        way: Callable[[np.ndarray], np.ndarray] | None = None,
    ) -> tuple[Decision, GuardState]:
        """Returns what to send after a reading was inspected, and the next state.

        Args:
            state: the last state.
            inspection: the finding on ``reading``.
            reading: the reading.
            output: (J,) what the policy answered, physical units; None where it was not asked.
            dt_s: time to the next command, s; None is a control period.
            way: gives the first command (J,) on the way to the one that the policy asks for; None
                asks for that at once.
        """
        dt_s = dt_s or 1 / self.contract.control_hz
        state, mode, events = self._verdict(state, inspection)
        if mode == Mode.RUN:
            found = _output(self.contract, output)
            mode, events = max(mode, *(e.mode for e in found), Mode.RUN), (*events, *found)
        if state.mode == Mode.STOP or mode == Mode.STOP:
            return Decision(Mode.STOP, None, events), replace(state, mode=Mode.STOP)
        if mode == Mode.HOLD:
            return self._send(state, mode, None, None, events, dt_s)
        asked = np.asarray(output, np.float32)
        wish = next_command(np, self.contract.action, state.command, asked)
        wish = wish if way is None else way(wish).astype(np.float32)
        return self._send(state, mode, wish, reading, events, dt_s)

    def follow(
        self, state: GuardState, wish: np.ndarray, reading: Reading, dt_s: float
    ) -> tuple[Decision, GuardState]:
        """Returns a command on the way to ``wish`` (J,), between two answers of the policy.

        Args:
            state: the last state, in RUN or in HOLD, which asks for rest instead.
            wish: (J,) the command that is asked for.
            reading: the last one, which was good.
            dt_s: time to the next command, s.
        """
        if state.mode != Mode.RUN:
            return self._send(state, state.mode, None, None, (), dt_s)
        return self._send(state, state.mode, wish.astype(np.float32), reading, (), dt_s)

    def _verdict(
        self, state: GuardState, inspection: Inspection
    ) -> tuple[GuardState, Mode, tuple[Event, ...]]:
        """Returns the state with its counts, and mode and events after tolerance and patience.

        A verdict holds for a control period, however many commands are sent in it.
        """
        mode, events, bad = _tolerate(self.config, state, inspection)
        held_s = state.held_s + 1 / self.contract.control_hz if mode == Mode.HOLD else 0.0
        if held_s > self.config.hold_stop_s:
            mode = Mode.STOP
            held = Event("held", "guard", held_s, self.config.hold_stop_s, Mode.STOP)
            events = (*events, held)
        state = GuardState(
            state.motion, state.mode, state.ramp_s, held_s, bad, past=inspection.past
        )
        return state, mode, events

    def _send(
        self,
        state: GuardState,
        mode: Mode,
        wish: np.ndarray | None,
        reading: Reading | None,
        events: tuple[Event, ...],
        dt_s: float,
    ) -> tuple[Decision, GuardState]:
        """Returns the command on the way to ``wish``; None brings the last one to rest."""
        effort = self.contract.action.mode == "effort"
        changes: list[Event] = []
        if wish is None and effort:
            command = np.zeros_like(state.command)
        else:
            command, changes = self._limit(state, wish, reading, dt_s)
        after = GuardState(
            motion=advance_motion(state.motion, command, dt_s),
            mode=mode,
            ramp_s=state.ramp_s + dt_s * (mode == Mode.RUN),
            held_s=state.held_s,
            bad=state.bad,
            past=state.past,
        )
        return Decision(mode, command, (*events, *changes)), after

    def _limit(
        self, state: GuardState, wish: np.ndarray | None, reading: Reading | None, dt_s: float
    ) -> tuple[np.ndarray, list[Event]]:
        """Returns the command (J,) inside every limit, and one event for each change."""
        ramp_s = self.config.ramp_s
        share = min(1.0, (state.ramp_s + dt_s) / ramp_s) if ramp_s > 0 else 1.0
        last = state.motion
        if wish is None:
            return self._rest(last, dt_s, share)
        position = None
        if reading is not None and self.contract.action.mode != "effort":
            position = reading.signals[self.config.position_signal].astype(float)
        command, events = limit(self.limits, last, wish, position, dt_s, share)
        if self.workspace is not None:
            command, out = self.workspace.limit(
                last.command, lambda: self._rest(last, dt_s, share)[0], command
            )
            events += out
        return command, events

    def _rest(self, last: Motion, dt_s: float, share: float) -> tuple[np.ndarray, list[Event]]:
        """Returns the last command again, or as near to it as the accelerations allow."""
        if not last.speed.any() or not self.limits.has_acceleration:
            return last.command, []
        return limit(self.limits, last, last.command, None, dt_s, share)


def _tolerate(
    config: SafetyConfig, state: GuardState, inspection: Inspection
) -> tuple[Mode, tuple[Event, ...], int]:
    """Returns mode, events and bad readings in a row, with the tolerated ones answered by HOLD."""
    if inspection.mode != Mode.STOP:
        return inspection.mode, inspection.events, 0
    bad = state.bad + 1
    final = any(e.code in FINAL and e.mode == Mode.STOP for e in inspection.events)
    if final or bad > config.tolerated_bad:
        return Mode.STOP, inspection.events, bad
    events = tuple(replace(e, mode=min(e.mode, Mode.HOLD)) for e in inspection.events)
    return Mode.HOLD, events, bad


def _output(contract: PolicyContract, output: Any) -> list[Event]:
    """Returns what is wrong with the policy's answer."""
    joints = contract.action.joints
    if output is None:
        return [Event("output", "missing", 0, len(joints), Mode.STOP)]
    if not readings.is_numeric(output):
        kind = output.dtype.name if isinstance(output, np.ndarray) else type(output).__name__
        return [Event("output", f"type {kind}", math.nan, len(joints), Mode.STOP)]
    if output.shape != (len(joints),):
        return [Event("output", "shape", output.size, len(joints), Mode.STOP)]
    finite = np.abs(output) <= readings.LARGEST
    if finite.all():
        return []
    return [
        Event("output", joint, math.nan, 0, Mode.STOP)
        for joint, ok in zip(joints, finite, strict=True)
        if not ok
    ]
