"""The fixed-rate loop that drives a robot: read, guard, assemble, ask, guard, send, log.

No command reaches the driver unless the guard let it through in the same step. Whatever ends the
loop, the driver is stopped first; an exception (Ctrl-C is one) is logged and raised again.
"""

import math
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np

from mjx_s2r.contract import ContractError, PolicyContract, assemble
from mjx_s2r.robot.clock import Clock
from mjx_s2r.robot.driver import COMMAND, Driver, Reading, check
from mjx_s2r.robot.frames import FrameStack
from mjx_s2r.robot.log import FlightLog, Step
from mjx_s2r.robot.policy import Actor
from mjx_s2r.robot.safety import Event, Guard, GuardState, Mode, SafetyConfig


@dataclass(frozen=True)
class ControllerConfig:
    """Settings of one run.

    Attributes:
        duration_s: longest run, s.
        safety: limits of the guard.
    """

    duration_s: float = 10.0
    safety: SafetyConfig = field(default_factory=SafetyConfig)

    def __post_init__(self) -> None:
        """Checks the duration.

        Raises:
            ValueError: not a positive, finite number.
        """
        if not (math.isfinite(self.duration_s) and self.duration_s > 0):
            raise ValueError(f"duration_s = {self.duration_s} must be positive")

    def to_json(self) -> dict[str, Any]:
        """Returns the settings as JSON values, for the head of a log."""
        return asdict(self)


@dataclass(frozen=True)
class FlightSummary:
    """Summary of a run.

    Attributes:
        reason: "until" (the caller's condition), "duration" or "guard" (a STOP).
        steps: commands that were sent.
        duration_s: from the first reading to the end, s.
        overruns: deadlines that were missed.
        worst_late_s: latest arrival at a deadline, s.
        busy_s: (steps,) time from each reading to the end of its write, s.
        held: steps in HOLD.
        events: how often each kind of event occurred, by code.
        stopped_by: the events of the STOP.
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


def run(
    driver: Driver,
    policy: Actor,
    clock: Clock,
    config: ControllerConfig,
    log: FlightLog | None = None,
    until: Callable[[Reading], bool] | None = None,
) -> FlightSummary:
    """Drives a connected robot with a policy until the time is over, ``until`` says so or a STOP.

    Args:
        driver: a robot after `Driver.connect`; it is stopped, not closed, at the end.
        policy: what to run.
        clock: the time that the driver's time stamps are in.
        config: settings.
        log: where every step goes; None keeps nothing.
        until: called with every reading before it is used; True ends the run.

    Raises:
        ContractError: the policy does not fit the robot; nothing was sent.
        BaseException: whatever was raised inside the loop, after the robot was stopped.
    """
    info = driver.describe()
    check(policy.contract, info)
    guard = Guard.build(config.safety, policy.contract, info)
    steps = math.ceil(config.duration_s * policy.contract.control_hz - 1e-9)
    tally = _Tally(clock.now_s())
    try:
        reason = _loop(_Parts(driver, policy, clock, guard, log, until), tally, steps)
    except BaseException as error:
        try:
            _stop(driver)
        finally:
            _log_failure(log, Step(tally.step, clock.now_s(), Mode.STOP), error)
        raise
    _stop(driver)
    return FlightSummary(
        reason=reason,
        steps=tally.sent,
        duration_s=clock.now_s() - tally.start_s,
        overruns=clock.overruns,
        worst_late_s=tally.worst_late_s,
        busy_s=np.array(tally.busy_s),
        held=tally.held,
        events=dict(tally.events),
        stopped_by=tally.stopped_by,
    )


@dataclass(frozen=True)
class Homing:
    """An `Actor` that asks for one pose for ever; the guard's speed limit makes the way there."""

    contract: PolicyContract

    def act(self, obs: np.ndarray, images: Mapping[str, np.ndarray]) -> np.ndarray:
        """Returns (J,) zeros: the contract's home, unchanged."""
        return np.zeros(len(self.contract.action.joints), np.float32)


def homing(contract: PolicyContract, target: tuple[float, ...] | None = None) -> Homing:
    """Returns the actor that moves the joints to ``target`` (J,), or to the contract's home.

    Raises:
        ContractError: the contract commands efforts, which lead to no pose.
    """
    if contract.action.mode == "effort":
        raise ContractError("a robot in effort mode cannot be sent home; move it by hand")
    home = contract.action.home if target is None else target
    action = replace(contract.action, mode="position", home=home)
    return Homing(replace(contract, action=action, cameras=()))


@dataclass(frozen=True)
class _Parts:
    """What the loop works with."""

    driver: Driver
    policy: Actor
    clock: Clock
    guard: Guard
    log: FlightLog | None
    until: Callable[[Reading], bool] | None


@dataclass
class _Tally:
    """Running counts of one run; the only state that the loop changes in place."""

    start_s: float
    step: int = 0
    sent: int = 0
    held: int = 0
    worst_late_s: float = 0.0
    busy_s: list[float] = field(default_factory=list)
    events: Counter[str] = field(default_factory=Counter)
    stopped_by: tuple[Event, ...] = ()


def _loop(parts: _Parts, tally: _Tally, steps: int) -> str:
    """Runs at most ``steps`` steps; returns why it ended."""
    state: GuardState | None = None
    late: tuple[Event, ...] = ()
    frames = FrameStack(parts.policy.contract)
    parts.clock.start(1 / parts.policy.contract.control_hz)
    for tally.step in range(steps):
        reading = parts.driver.read()
        if parts.until is not None and parts.until(reading):
            return "until"
        now_s = parts.clock.now_s()
        seen = frames.push(reading.images, reading.image_time_s)
        step, state = decide(parts.guard, parts.policy, state, reading, now_s, seen)
        if step.command is None:
            _stop(parts.driver)
        else:
            parts.driver.write(step.command)
        busy_s = parts.clock.now_s() - now_s
        step = replace(step, step=tally.step, busy_s=busy_s, events=(*late, *step.events))
        _record(parts, tally, step)
        if step.command is None:
            return "guard"
        late = _wait(parts, tally)
    return "duration"


def _record(parts: _Parts, tally: _Tally, step: Step) -> None:
    """Counts and logs one step that is over."""
    tally.sent += step.command is not None
    tally.held += step.mode == Mode.HOLD
    tally.busy_s.append(step.busy_s)
    tally.events.update(event.code for event in step.events)
    if step.mode == Mode.STOP:
        tally.stopped_by = tuple(event for event in step.events if event.mode == Mode.STOP)
    if parts.log is not None:
        parts.log.append(step)


def _wait(parts: _Parts, tally: _Tally) -> tuple[Event, ...]:
    """Waits for the deadline; returns the overrun, if it was one, for the log of the next step."""
    before = parts.clock.overruns
    late_s = parts.clock.wait()
    tally.worst_late_s = max(tally.worst_late_s, late_s)
    if parts.clock.overruns == before:
        return ()
    return (Event("overrun", "loop", late_s, 1 / parts.policy.contract.control_hz),)


def decide(
    guard: Guard,
    policy: Actor,
    state: GuardState | None,
    reading: Reading,
    now_s: float,
    seen: Mapping[str, np.ndarray],
) -> tuple[Step, GuardState | None]:
    """Returns one step, before anything is sent, and the guard's next state.

    Args:
        guard: the rules.
        policy: asked only when the reading is good.
        state: None before the first good reading, which says where the robot is held.
        reading: what the robot reported.
        now_s: the clock, s.
        seen: the last pictures of each camera, (H, W, 3 F), from `frames.FrameStack`.
    """
    inspection = guard.inspect(reading, now_s)
    if state is None and inspection.mode != Mode.RUN:
        events = tuple(replace(e, mode=Mode.STOP) for e in inspection.events)
        return Step(0, now_s, Mode.STOP, reading, events=events), None
    state = state or guard.start(_held(guard, reading))
    observation = output = None
    if inspection.mode == Mode.RUN and state.mode != Mode.STOP:
        observation = _observe(guard.contract, reading, state.command)
        output = policy.act(observation, seen)
    decision, after = guard.review(state, inspection, reading, output)
    step = Step(
        step=0,
        time_s=now_s,
        mode=decision.mode,
        reading=reading,
        observation=observation,
        output=output,
        command=decision.command,
        events=decision.events,
    )
    return step, after


def _observe(contract: PolicyContract, reading: Reading, command: np.ndarray) -> np.ndarray:
    """Returns the observation (P,) float32; the last command sent is one of its signals."""
    if not contract.signals:
        return np.zeros(0, np.float32)
    return np.asarray(assemble(np, contract, {**reading.signals, COMMAND: command}))


def _held(guard: Guard, reading: Reading) -> np.ndarray:
    """Returns the command (J,) that leaves the robot where it is: its positions, or no effort."""
    if guard.contract.action.mode == "effort":
        return np.zeros(len(guard.contract.action.joints), np.float32)
    return np.asarray(reading.signals[guard.config.position_signal], np.float32)


def _stop(driver: Driver) -> None:
    """Stops the driver; a Ctrl-C in the middle of it makes it try once more."""
    try:
        driver.stop()
    except KeyboardInterrupt:
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
