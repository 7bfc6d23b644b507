"""The fixed-rate loop that drives a robot: read, guard, assemble, ask, guard, send, log.

No command reaches the driver unless the guard let it through in the same step. Time is judged
twice: how old readings are before the policy is asked, and again before its command leaves; and at
each of the commands between two answers, which a pause of the process may have made old.
Whatever ends the loop, the driver is stopped first: an exception (Ctrl-C is one) is logged and
raised again, and a signal that ends the process ends it afterwards. What cannot be caught in this
process, a crash in C or SIGKILL, is the watchdog's, which is another process.
"""

import math
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, get_args

import numpy as np

from mjx_s2r.contract import ContractError, PolicyContract
from mjx_s2r.params import ParamError
from mjx_s2r.robot.camera_warp import CameraCalibration, warps_of
from mjx_s2r.robot.clock import Clock
from mjx_s2r.robot.decisions import FlightState, Pilot, Standing
from mjx_s2r.robot.driver import Driver, DriverInfo, Reading, check
from mjx_s2r.robot.estop import StopSource
from mjx_s2r.robot.frames import FrameStack
from mjx_s2r.robot.interpolation import Course, Interpolation
from mjx_s2r.robot.latch import require_unlatched, set_latch
from mjx_s2r.robot.latency import GUARD, KEPT, LOG, READ, WRITE, Latency, Stopwatch
from mjx_s2r.robot.log import FlightLog, Step
from mjx_s2r.robot.lookout import Lookout
from mjx_s2r.robot.phases import Deed, Phase
from mjx_s2r.robot.policy import Actor
from mjx_s2r.robot.safety import Event, Guard, Inspection, Mode, SafetyConfig
from mjx_s2r.robot.terminations import Terminated, raised

SHORTEST_CALL_S = 0.1  # that a call may take however fast the control rate is


@dataclass(frozen=True)
class ControllerConfig:
    """Settings of one run.

    Attributes:
        duration_s: longest flight, s, from the first command.
        safety: limits of the guard.
        inner_hz: commands per second, a multiple of the policy's rate; 0 is the policy's rate.
        interpolation: how commands between two answers of the policy go: "hold", "linear" or
            "cubic".
        call_limit_s: how long the driver or the policy may take over one call before the driver is
            stopped, s; 0 is `SafetyConfig.reading_stop_periods`, at least 0.1 s.
        overrun_limit_s: time for which deadlines may be missed without a break, s.
        latch: file that keeps an emergency stop latched, one per robot; None latches for this
            flight only.
        calibrations: of real cameras, whose pictures are turned into those of the model's.
    """

    duration_s: float = 10.0
    safety: SafetyConfig = field(default_factory=SafetyConfig)
    inner_hz: float = 0.0
    interpolation: Interpolation = "linear"
    call_limit_s: float = 0.0
    overrun_limit_s: float = 2.0
    latch: Path | None = None
    calibrations: tuple[CameraCalibration, ...] = ()

    def __post_init__(self) -> None:
        """Checks the numbers.

        Raises:
            ParamError: a setting outside its range; the message names it.
        """
        if not (math.isfinite(self.duration_s) and self.duration_s > 0):
            raise ParamError(f"duration_s = {self.duration_s} must be positive and finite")
        for name in ("inner_hz", "call_limit_s"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ParamError(f"{name} = {getattr(self, name)} must be finite; 0 is the default")
        if not self.overrun_limit_s > 0:
            raise ParamError(
                f"overrun_limit_s = {self.overrun_limit_s} must be above zero; inf sets no limit"
            )
        if self.interpolation not in get_args(Interpolation):
            raise ParamError(
                f"interpolation = {self.interpolation!r} must be one of "
                f"{list(get_args(Interpolation))}"
            )

    def to_json(self) -> dict[str, Any]:
        """Returns the settings as JSON values, for the head of a log."""
        return asdict(self) | {"latch": None if self.latch is None else str(self.latch)}


@dataclass(frozen=True)
class FlightSummary:
    """Summary of a run.

    Attributes:
        reason: "until" (the caller's condition), "duration", "guard" (a STOP) or "estop".
        steps: control steps in which commands were sent.
        duration_s: from the first reading to the end, s.
        overruns: deadlines that were missed.
        worst_late_s: latest arrival at a deadline, s.
        busy_s: (steps,) time from each reading to the end of its write, s; of the last steps.
        held: steps in HOLD.
        events: how often each kind of event occurred, by code.
        stopped_by: the events of the STOP.
        phase: the last phase: PASSIVE, or DAMP or ESTOP after a STOP.
        latency: p50, p99 and longest of every stage of a step, by `latency.STAGES_OF_A_STEP`.
        command: (J,) the last command that was sent; None if none was.
        position: (J,) the joints as they were measured last; None if they never were.
    """

    reason: str
    steps: int
    duration_s: float
    overruns: int
    worst_late_s: float
    busy_s: np.ndarray
    held: int
    events: Mapping[str, int]
    stopped_by: tuple[Event, ...] = ()
    phase: Phase = Phase.PASSIVE
    latency: Mapping[str, Latency] = field(default_factory=dict)
    command: np.ndarray | None = None
    position: np.ndarray | None = None

    @property
    def standing(self) -> Standing | None:
        """How the flight left the robot, for the next one; None where that is not known."""
        if self.command is None or self.position is None:
            return None
        return Standing(self.command, self.position)


def run(
    driver: Driver,
    policy: Actor,
    clock: Clock,
    config: ControllerConfig,
    log: FlightLog | None = None,
    until: Callable[[Reading], bool] | None = None,
    stops: Sequence[StopSource] = (),
    start: Standing | None = None,
) -> FlightSummary:
    """Drives a connected robot with a policy until the time is over, ``until`` says so or a STOP.

    The first command is the measured pose (no effort in effort mode), or that of ``start``.

    Args:
        driver: a robot after `Driver.connect`; it is stopped, not closed, at the end.
        policy: what to run; its ``reset``, if it has one, is called first.
        clock: the time that the driver's time stamps are in.
        config: settings.
        log: where every step goes; None keeps nothing.
        until: called with every reading before it is used; True ends the run.
        stops: emergency stops, asked at every command.
        start: how the flight before left the robot (`FlightSummary.standing`): a loaded arm sags
            below its last command and would dip if it were told to stay where it is measured. That
            command counts for joints alone that have not moved since.

    Raises:
        LatchedError: an emergency stop that nobody has reset; nothing was sent.
        ContractError: the policy does not fit the robot; nothing was sent.
        Terminated: a signal asked the process to end; the robot was stopped.
        BaseException: whatever was raised inside the loop, after the robot was stopped.
    """
    if config.latch is not None:
        require_unlatched(config.latch)
    info = driver.describe()
    check(policy.contract, info)
    guard = Guard.build(config.safety, policy.contract, info)
    ticks = _ticks(config, policy.contract, info)
    parts = _Parts(driver, policy, clock, config, log, until, tuple(stops), ticks)
    with raised():
        return _fly(parts, guard, info, start)


def _ticks(config: ControllerConfig, contract: PolicyContract, info: DriverInfo) -> int:
    """Returns how many commands each answer of the policy becomes.

    Raises:
        ContractError: an inner rate that is no multiple of the policy's, or above the robot's.
    """
    if not config.inner_hz:
        return 1
    ratio = config.inner_hz / contract.control_hz
    if round(ratio) < 1 or abs(ratio - round(ratio)) > 1e-6 * ratio:
        raise ContractError(
            f"inner_hz = {config.inner_hz} must be a multiple of the policy's "
            f"{contract.control_hz} Hz, e.g. {contract.control_hz * max(1, round(ratio))}"
        )
    if config.inner_hz > info.max_hz * (1 + 1e-6):
        raise ContractError(
            f"inner_hz = {config.inner_hz} is above the {info.max_hz} Hz of robot {info.name!r}; "
            "lower it, or raise the driver's bus rate"
        )
    return round(ratio)


@dataclass(frozen=True)
class Homing:
    """An `Actor` that asks for one pose for ever; the guard's speed limit makes the way there."""

    contract: PolicyContract

    def act(self, obs: np.ndarray, images: Mapping[str, np.ndarray]) -> np.ndarray:
        """Returns (J,) zeros: the contract's home, unchanged."""
        return np.zeros(len(self.contract.action.joints), np.float32)


def homing(contract: PolicyContract) -> Homing:
    """Returns the actor that moves the joints to the contract's home.

    Raises:
        ContractError: the contract commands efforts, which lead to no pose.
    """
    if contract.action.mode == "effort":
        raise ContractError("a robot in effort mode cannot be sent home; move it by hand")
    action = replace(contract.action, mode="position")
    return Homing(replace(contract, action=action, cameras=()))


@dataclass(frozen=True)
class _Parts:
    """What the loop works with."""

    driver: Driver
    policy: Actor
    clock: Clock
    config: ControllerConfig
    log: FlightLog | None
    until: Callable[[Reading], bool] | None
    stops: tuple[StopSource, ...]
    ticks: int

    @property
    def period_s(self) -> float:
        """Time between two commands, s."""
        return 1 / (self.ticks * self.policy.contract.control_hz)

    @property
    def call_limit_s(self) -> float:
        """How long one call may take, s."""
        periods_s = self.config.safety.reading_stop_periods / self.policy.contract.control_hz
        return self.config.call_limit_s or max(SHORTEST_CALL_S, periods_s)


@dataclass
class _Tally:
    """Running counts of one run; the only state that the loop changes in place."""

    start_s: float
    step: int = 0
    sent: int = 0
    held: int = 0
    worst_late_s: float = 0.0
    late_s: float = 0.0
    busy_s: deque[float] = field(default_factory=lambda: deque(maxlen=KEPT))
    events: Counter[str] = field(default_factory=Counter)
    stopped_by: tuple[Event, ...] = ()
    command: np.ndarray | None = None
    watch: Stopwatch = field(default_factory=Stopwatch)


def _fly(parts: _Parts, guard: Guard, info: DriverInfo, start: Standing | None) -> FlightSummary:
    """Runs the loop, stops the driver whatever happens, and sums up."""
    driver, clock = parts.driver, parts.clock
    tally = _Tally(clock.now_s())
    lookout = Lookout(driver, parts.call_limit_s)
    loop = _Loop(parts, Pilot(guard, parts.policy, parts.period_s, start), tally, lookout)
    try:
        with lookout.watching() if clock.is_real else nullcontext():
            reason = loop.run()
        _stop(driver)  # in here, so that a signal at the end of the flight stops the robot again
    except BaseException as error:
        try:
            _stop(driver)
        finally:
            for event in _latch(parts, info.name, loop.felt()):
                error.add_note(event.name)
            failed = Step(tally.step, clock.now_s(), Mode.STOP, phase=Phase.DAMP)
            _log_failure(parts.log, failed, error)
        raise
    phase = loop.flight.phase
    tally.stopped_by += _latch(parts, info.name, _estops(tally.stopped_by))
    return FlightSummary(
        reason="estop" if phase is Phase.ESTOP else reason,
        steps=tally.sent,
        duration_s=clock.now_s() - tally.start_s,
        overruns=clock.overruns,
        worst_late_s=tally.worst_late_s,
        busy_s=np.array(tally.busy_s),
        held=tally.held,
        events=dict(tally.events),
        stopped_by=tally.stopped_by,
        phase=phase if phase in (Phase.DAMP, Phase.ESTOP) else Phase.PASSIVE,
        latency=tally.watch.summary(),
        command=tally.command,
        position=None if loop.flight.guard is None else loop.flight.guard.past.position,
    )


def _estops(events: tuple[Event, ...]) -> tuple[Event, ...]:
    """Returns the emergency stops among the events."""
    return tuple(event for event in events if event.code == "estop")


def _latch(parts: _Parts, robot: str, felt: tuple[Event, ...]) -> tuple[Event, ...]:
    """Latches the emergency stops that were felt; returns the event of what cannot be written."""
    if not felt or parts.config.latch is None:
        return ()
    try:
        set_latch(parts.config.latch, robot, ", ".join(event.name for event in felt))
    except OSError as error:
        return (Event("estop", f"latch not written: {error}", math.nan, 0, Mode.STOP),)
    return ()


class _Loop:
    """The steps of one flight."""

    def __init__(self, parts: _Parts, pilot: Pilot, tally: _Tally, lookout: Lookout) -> None:
        """Takes what it works with."""
        self._parts, self._pilot, self._tally, self._lookout = parts, pilot, tally, lookout
        self._frames = FrameStack(
            parts.policy.contract, warps_of(parts.config.calibrations, parts.policy.contract)
        )
        self._faults: tuple[Event, ...] = ()
        self._course: Course | None = None
        self.flight = FlightState()

    def run(self) -> str:
        """Runs until the end; returns why it ended."""
        parts, tally = self._parts, self._tally
        reset = getattr(parts.policy, "reset", None)
        if reset is not None:
            reset()
        steps = math.ceil(parts.config.duration_s * parts.policy.contract.control_hz - 1e-9)
        origin_s = parts.clock.now_s()
        parts.clock.start(parts.period_s)
        while True:
            if self.flight.phase in (Phase.PASSIVE, Phase.CHECK):
                origin_s = parts.clock.now_s()
            flown_s, stops = parts.clock.now_s() - origin_s, self._has_stop()
            is_over = tally.sent >= steps or flown_s >= parts.config.duration_s - 1e-9
            if is_over and not stops:
                return "duration"
            tally.watch.begin()
            reading = self._call("read", parts.driver.read)
            if not stops and self._is_done(reading):
                return "until"
            tally.watch.lap(READ)
            if self._step(reading) is Deed.STOP:
                return "guard"
            if not self._has_stop():
                self._wait()
            tally.step += 1

    def _is_done(self, reading: Any) -> bool:
        """Returns whether the caller's condition ends the flight at a reading."""
        until = self._parts.until
        return until is not None and isinstance(reading, Reading) and until(reading)

    def _step(self, reading: Reading) -> Deed:
        """Judges one reading, asks the policy and does what follows."""
        parts, tally = self._parts, self._tally
        now_s = parts.clock.now_s()
        faults = (*self._faults, *self._pressed(), *self._blocked())
        self._faults = ()
        seen = _pictures(self._frames, reading, now_s + parts.config.safety.future_s)
        step, self.flight = self._pilot.decide(
            self.flight, reading, now_s, seen, faults, self, tally.watch, tally.step
        )
        if self.flight.deed is Deed.STOP:
            tally.stopped_by = tuple(e for e in step.events if e.mode == Mode.STOP)
            _stop(parts.driver)
        elif step.command is not None:
            step = self._send(step, reading)
        tally.watch.lap(WRITE)
        self._record(step.after(parts.clock.now_s() - now_s))
        return self.flight.deed

    def felt(self) -> tuple[Event, ...]:
        """Returns the emergency stops of a flight that an error ended: felt so far, or down now."""
        known = _estops((*self._tally.stopped_by, *self._faults))
        return known or self._pressed()

    def later(self) -> tuple[float, tuple[Event, ...]]:
        """Returns the clock, s, and what has gone wrong since the policy was asked."""
        return self._parts.clock.now_s(), self._blocked()

    def ask(self, observation: np.ndarray, seen: Mapping[str, np.ndarray]) -> np.ndarray:
        """Returns the policy's answer (J,)."""
        self._lookout.enter("act")
        try:
            return self._parts.policy.act(observation, seen)
        finally:
            self._lookout.leave()

    def way(self, target: np.ndarray) -> np.ndarray:
        """Returns the first command (J,) on the way to ``target``, and keeps the course."""
        if self._parts.ticks == 1:
            return target
        assert self.flight.guard is not None
        start = self.flight.guard.command.astype(float)
        slope = self._course.end_slope if self._course is not None else np.zeros_like(start)
        self._course = Course(self._parts.config.interpolation, start, slope, target.astype(float))
        return self._course.at(1 / self._parts.ticks)

    def _send(self, step: Step, reading: Reading) -> Step:
        """Sends the commands of one control period; returns the step with what was sent last."""
        assert step.command is not None
        begun_s = self._parts.clock.now_s()
        self._write(step.command)
        if step.mode != Mode.RUN:
            self._course = None
        for tick in range(2, self._parts.ticks + 1):
            self._tally.watch.lap(WRITE)
            self._wait()
            self._tally.watch.skip()
            late = self._late(reading, begun_s + (tick - 1) * self._parts.period_s, begun_s)
            stale = tuple(event for event in late if event.mode == Mode.STOP)
            self._faults += (*self._pressed(), *self._blocked(), *stale)
            if self._has_stop():
                return step  # the next step, which follows at once, stops
            if late:
                step = self._hold(step, late)
            assert self.flight.guard is not None
            share = tick / self._parts.ticks
            wish = self.flight.guard.command if self._course is None else self._course.at(share)
            decision, state = self._pilot.guard.follow(
                self.flight.guard, wish, reading, self._parts.period_s
            )
            self._tally.watch.lap(GUARD)
            assert decision.command is not None
            self.flight = replace(self.flight, guard=state)
            self._write(decision.command)
            step = replace(step, command=decision.command, events=(*step.events, *decision.events))
        return step

    def _late(self, reading: Reading, planned_s: float, begun_s: float) -> tuple[Event, ...]:
        """Returns what is too old for a command between two answers of the policy.

        A reading may age by the part of the control period that has passed by plan; what goes
        beyond that is a pause of this process.

        Args:
            reading: that the policy answered.
            planned_s: when the command should leave, s.
            begun_s: when the first command of the period left, s.
        """
        assert self.flight.guard is not None
        if self.flight.guard.mode != Mode.RUN:
            return ()  # nothing that is sent answers the reading
        now_s = begun_s + max(0.0, self._parts.clock.now_s() - planned_s)
        return self._pilot.guard.still_fresh(Inspection(Mode.RUN), reading, now_s).events

    def _hold(self, step: Step, late: tuple[Event, ...]) -> Step:
        """Holds for the rest of a control period; returns the step with the reason."""
        assert self.flight.guard is not None
        held = replace(self.flight.guard, mode=Mode.HOLD)
        self.flight, self._course = replace(self.flight, phase=Phase.HOLD, guard=held), None
        return replace(step, mode=Mode.HOLD, phase=Phase.HOLD, events=(*step.events, *late))

    def _has_stop(self) -> bool:
        """Returns whether a fault of this step asks for a stop; no deadline is waited for then."""
        return any(event.mode == Mode.STOP for event in self._faults)

    def _write(self, command: np.ndarray) -> None:
        """Sends one command."""
        self._call("write", lambda: self._parts.driver.write(command))
        self._tally.command = command

    def _call(self, what: str, call: Callable[[], Any]) -> Any:
        """Returns what a call of the driver returns; one that took too long is a fault."""
        clock, limit_s = self._parts.clock, self._lookout.limit_s
        before_s = clock.now_s()
        self._lookout.enter(what)
        try:
            found = call()
        finally:
            self._lookout.leave()
        took_s = clock.now_s() - before_s
        if took_s > limit_s and not self._lookout.blocked:
            self._faults += (Event("blocked", what, took_s, limit_s, Mode.STOP),)
        return found

    def _blocked(self) -> tuple[Event, ...]:
        """Returns the call for which the lookout has stopped the driver."""
        if not self._lookout.blocked:
            return ()
        limit_s = self._lookout.limit_s
        return (Event("blocked", self._lookout.blocked, limit_s, limit_s, Mode.STOP),)

    def _pressed(self) -> tuple[Event, ...]:
        """Returns the emergency stops that are pressed; one that cannot answer is."""
        events: tuple[Event, ...] = ()
        for source in self._parts.stops:
            try:
                if source.pressed():
                    events += (Event("estop", source.name, 1, 0, Mode.STOP),)
            except Exception as error:  # whatever a line to a person may raise
                name = f"{type(source).__name__} raised {type(error).__name__}"
                events += (Event("estop", name, 1, 0, Mode.STOP),)
        return events

    def _record(self, step: Step) -> None:
        """Counts and logs one step that is over."""
        tally, log = self._tally, self._parts.log
        tally.sent += step.command is not None
        tally.held += step.phase is Phase.HOLD
        tally.busy_s.append(step.busy_s)
        if step.events:
            tally.events.update(event.code for event in step.events)
        if log is not None:
            self._lookout.enter("log")
            try:
                log.append(step)
            finally:
                self._lookout.leave()
        tally.watch.lap(LOG)
        tally.watch.end()

    def _wait(self) -> None:
        """Waits for the deadline; notes the overrun, if it was one, for the log of the next step.

        Deadlines that are missed without a break for too long end the flight: a policy that is too
        slow for its rate does not fly as it was trained.
        """
        clock, tally = self._parts.clock, self._tally
        before = clock.overruns
        late_s = clock.wait()
        tally.worst_late_s = max(tally.worst_late_s, late_s)
        if clock.overruns == before:
            tally.late_s = 0.0
            return
        tally.late_s += self._parts.period_s + late_s
        limit_s = self._parts.config.overrun_limit_s
        self._faults += (Event("overrun", "loop", late_s, self._parts.period_s),)
        if tally.late_s > limit_s:
            self._faults += (Event("overrun", "without end", tally.late_s, limit_s, Mode.STOP),)


def _pictures(frames: FrameStack, reading: Any, latest_s: float) -> dict[str, np.ndarray]:
    """Returns the last pictures of each camera; what is wrong with a reading says the guard."""
    try:
        return frames.push(reading.images, reading.image_time_s, latest_s)
    except Exception:  # a reading of any type
        return {}


def _stop(driver: Driver) -> None:
    """Stops the driver; a Ctrl-C or a signal in the middle of it makes it try once more."""
    try:
        driver.stop()
    except (KeyboardInterrupt, Terminated):
        driver.stop()
        raise


def _log_failure(log: FlightLog | None, step: Step, error: BaseException) -> None:
    """Writes the exception as the last step; a log that fails, too, leaves a note on the error."""
    if log is None:
        return
    event = Event("exception", f"{type(error).__name__}: {error}", math.nan, 0, Mode.STOP)
    try:
        log.append(replace(step, events=(event,)))
    except (OSError, ValueError) as second:
        error.add_note(f"the flight log failed, too: {second}")
