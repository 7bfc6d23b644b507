"""One step of a flight: from a reading to a command, in the order of the guard's two questions.

The pilot holds what does not change; the state of the flight goes in and comes out, so that a
recorded flight can be decided again.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np

from mjx_s2r.robot.driver import Reading
from mjx_s2r.robot.latency import GUARD, INFER, INSPECT, Stopwatch
from mjx_s2r.robot.log import Step
from mjx_s2r.robot.observation import ObservationBuffer
from mjx_s2r.robot.phases import Deed, Findings, Phase, next_phase
from mjx_s2r.robot.policy import Actor
from mjx_s2r.robot.safety import Event, Guard, GuardState, History, Inspection, Mode
from mjx_s2r.robot.safety.readings import loggable

MAY_COME = ("missing", "stale")  # findings that are waited for before the first command
STILL = 0.002  # of a joint's range (1 where it has none): so little is noise or creep, no motion


@dataclass(frozen=True)
class FlightState:
    """State of a flight between steps.

    Attributes:
        phase: of the flight.
        deed: what is to be done about the last step.
        guard: state of the guard; None before the first command.
        past: what is remembered of the readings, before the first command.
        since_s: clock at the first reading, s; None before it.
    """

    phase: Phase = Phase.PASSIVE
    deed: Deed = Deed.NOTHING
    guard: GuardState | None = None
    past: History = field(default_factory=History)
    since_s: float | None = None


@dataclass(frozen=True)
class Standing:
    """Where a flight left the robot.

    Attributes:
        command: (J,) the last command that was sent.
        position: (J,) the joints as they were measured last, under that command.
    """

    command: np.ndarray
    position: np.ndarray


class Surroundings(Protocol):
    """What a step asks of the loop around it."""

    def ask(self, observation: np.ndarray, seen: Mapping[str, np.ndarray]) -> np.ndarray:
        """Returns the policy's answer (J,)."""
        ...

    def later(self) -> tuple[float, tuple[Event, ...]]:
        """Returns the clock after the answer, s, and what has gone wrong meanwhile."""
        ...

    def way(self, target: np.ndarray) -> np.ndarray:
        """Returns the first command (J,) on the way to the one that the policy asks for."""
        ...


class Pilot:
    """Decides the steps of one policy on one robot."""

    def __init__(
        self,
        guard: Guard,
        policy: Actor,
        dt_s: float | None = None,
        start: Standing | None = None,
    ) -> None:
        """Takes the rules, the policy, the time between commands, s, and how the robot was left."""
        self.guard, self.policy, self._start = guard, policy, start
        self._dt_s = dt_s or 1 / guard.contract.control_hz
        self._buffer = ObservationBuffer(guard.contract)

    def decide(
        self,
        flight: FlightState,
        reading: Reading,
        now_s: float,
        seen: Mapping[str, np.ndarray],
        faults: tuple[Event, ...] = (),
        around: Surroundings | None = None,
        watch: Stopwatch | None = None,
        number: int = 0,
    ) -> tuple[Step, FlightState]:
        """Returns one step, before anything is sent, and the flight's next state.

        Args:
            flight: the last state; the first is ``FlightState()``.
            reading: whatever the driver returned.
            now_s: the clock, s.
            seen: the last pictures of each camera, (H, W, 3 F), from `frames.FrameStack`.
            faults: what went wrong outside of the reading: emergency stops, missed deadlines.
            around: the loop; None asks the policy at once and at its own rate, as in a replay.
            watch: takes the time of the stages.
            number: of the step.
        """
        since_s = now_s if flight.since_s is None else flight.since_s
        past = flight.past if flight.guard is None else flight.guard.past
        command = None if flight.guard is None else flight.guard.command
        inspection = _with(self.guard.inspect(reading, now_s, past, command), faults)
        _lap(watch, INSPECT)
        if flight.guard is None:
            flight = replace(flight, since_s=since_s)
            step, flight = self._first(flight, inspection, reading, now_s)
            return replace(step, step=number), flight
        observation = output = None
        state = flight.guard
        if inspection.mode == Mode.RUN and state.mode != Mode.STOP:
            observation = self._buffer.fill(reading.signals, state.command)
            ask = self.policy.act if around is None else around.ask
            _lap(watch, GUARD)
            output = ask(observation, seen)
            _lap(watch, INFER)
            if around is not None:
                then_s, late = around.later()
                inspection = self.guard.still_fresh(_with(inspection, late), reading, then_s)
        way = None if around is None else around.way
        decision, state = self.guard.review(state, inspection, reading, output, self._dt_s, way)
        phase, deed = next_phase(flight.phase, self._findings(inspection, decision.mode, state))
        _lap(watch, GUARD)
        step = Step(
            step=number,
            time_s=now_s,
            mode=decision.mode,
            reading=loggable(reading),
            observation=observation,
            output=_plain(output),
            command=decision.command,
            events=decision.events,
            phase=phase,
        )
        return step, FlightState(phase, deed, state, flight.past, since_s)

    def _first(
        self, flight: FlightState, inspection: Inspection, reading: Reading, now_s: float
    ) -> tuple[Step, FlightState]:
        """Returns a step before the first command: wait, give up, or send the measured pose."""
        assert flight.since_s is not None
        events, waited_s = inspection.events, now_s - flight.since_s
        limit_s = self.guard.config.check_s
        wrong = [event for event in events if event.mode == Mode.STOP]
        found = Findings(
            mode=inspection.mode,
            estop=any(event.code == "estop" for event in events),
            waiting=inspection.mode != Mode.RUN and all(e.code in MAY_COME for e in wrong),
            overdue=waited_s >= limit_s,
        )
        phase, deed = next_phase(flight.phase, found)
        mode = {Deed.SEND: Mode.RUN, Deed.NOTHING: Mode.HOLD, Deed.STOP: Mode.STOP}[deed]
        state = command = None
        if deed is Deed.STOP:
            if found.waiting:
                events += (Event("check", "first reading", waited_s, limit_s),)
            events = tuple(replace(event, mode=Mode.STOP) for event in events)
        elif deed is Deed.NOTHING:
            events = tuple(replace(event, mode=min(event.mode, Mode.HOLD)) for event in events)
        else:
            command = self._pose(reading)
            state = self.guard.start(command, inspection.past)
        flight = replace(flight, phase=phase, deed=deed, guard=state, past=inspection.past)
        reading_kept = loggable(reading)
        step = Step(0, now_s, mode, reading_kept, command=command, events=events, phase=phase)
        return step, flight

    def _pose(self, reading: Reading) -> np.ndarray:
        """Returns the command (J,) that leaves the robot where it is held: its pose, or no effort.

        That is the last command of the flight before, of a joint that it holds where it was
        measured then: another one would let it dip under its load. A joint that has moved since,
        because it sank or a person moved it, would leap back to that command and begins at its
        pose. A pose that lies beyond a joint's end by less than a period's motion, as noise does,
        is put there.
        """
        guard = self.guard
        if guard.contract.action.mode == "effort":
            return np.zeros(len(guard.contract.action.joints), np.float32)
        pose = np.asarray(reading.signals[guard.config.position_signal], np.float32)
        inside = np.clip(pose, guard.limits.stop_low, guard.limits.stop_high)
        stride = np.abs(inside - pose) <= guard.limits.rate * self._dt_s
        pose = np.where(stride, inside, pose).astype(np.float32)
        if self._start is None or np.shape(self._start.command) != pose.shape:
            return pose
        span = guard.limits.stop_high - guard.limits.stop_low
        still = STILL * np.where(np.isfinite(span), span, 1.0)
        held = np.abs(pose - self._start.position) <= still
        held &= np.abs(self._start.command - pose) <= guard.limits.reach
        return np.where(held, self._start.command, pose).astype(np.float32)

    def _findings(self, inspection: Inspection, mode: Mode, state: GuardState) -> Findings:
        """Returns what was found at a step of the flight."""
        return Findings(
            mode=mode,
            estop=any(event.code == "estop" for event in inspection.events),
            ramped=state.ramp_s >= self.guard.config.ramp_s - 1e-9,
        )


def _with(inspection: Inspection, faults: tuple[Event, ...]) -> Inspection:
    """Returns the finding with other faults, which come first."""
    if not faults:
        return inspection
    mode = max(inspection.mode, *(event.mode for event in faults), Mode.RUN)
    return replace(inspection, mode=mode, events=(*faults, *inspection.events))


def _lap(watch: Stopwatch | None, stage: int) -> None:
    """Notes the end of a stage."""
    if watch is not None:
        watch.lap(stage)


def _plain(output: Any) -> np.ndarray | None:
    """Returns an answer that a log can hold."""
    return output if isinstance(output, np.ndarray) and output.dtype.kind in "fiub" else None
