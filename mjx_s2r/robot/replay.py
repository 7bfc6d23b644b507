"""A flight log through policy and guard again, and every difference from what was flown.

Each step is decided anew from the logged reading and the command that was really sent before it, so
one difference does not make all that follow differ. The same policy file with the same version of
this package and of onnxruntime gives the same bits.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from mjx_s2r.contract import ContractError, PolicyContract
from mjx_s2r.robot.camera_warp import CameraCalibration, warps_of
from mjx_s2r.robot.decisions import FlightState, Pilot, Standing
from mjx_s2r.robot.frames import FrameStack
from mjx_s2r.robot.log import Flight, Step
from mjx_s2r.robot.log.reader import data_sheet_of
from mjx_s2r.robot.policy import Actor
from mjx_s2r.robot.safety import Event, Guard, SafetyConfig
from mjx_s2r.robot.safety.config import logged_safety
from mjx_s2r.robot.safety.limits import advance_motion

OUTSIDE = ("overrun", "exception", "blocked", "estop")  # of the loop: no reading brings them back


@dataclass(frozen=True)
class Difference:
    """One kind of difference between a log and its replay.

    Attributes:
        what: "observation", "output", "command", "mode", "phase" or "events".
        count: steps that differ.
        step: the first of them.
        time_s: its time, s.
        item: which signal, joint or event differs there.
        logged: what the log holds there.
        replayed: what came out now.
        largest: largest difference of a number over all steps; 0 where there are no numbers.
    """

    what: str
    count: int
    step: int
    time_s: float
    item: str
    logged: str
    replayed: str
    largest: float = 0.0


@dataclass(frozen=True)
class ReplayReport:
    """Result of a replay.

    Attributes:
        steps: steps of the log.
        replayed: steps that were decided again; those without a reading cannot be.
        asked: steps in which the policy was asked, in the log and again.
        differences: by kind; none means that every bit is the same.
        notes: what the log does not hold, so that it could not be replayed as it was flown.
    """

    steps: int
    replayed: int
    asked: int
    differences: tuple[Difference, ...]
    notes: tuple[str, ...] = ()

    @property
    def exact(self) -> bool:
        """Whether nothing differs."""
        return not self.differences

    def to_json(self) -> dict[str, Any]:
        """Returns the result as JSON values."""
        return asdict(self) | {"exact": self.exact}

    def describe(self) -> str:
        """Returns the result for people."""
        head = f"replayed {self.replayed} of {self.steps} steps, the policy was asked {self.asked}"
        lines = [f"{head} times: {'every bit is the same' if self.exact else 'it differs'}"]
        for d in self.differences:
            size = f", at most by {d.largest:.3g}" if d.largest else ""
            lines.append(
                f"  {d.what}: {d.count} steps differ{size}; first at step {d.step} "
                f"({d.time_s:.3f} s), {d.item}: logged {d.logged}, now {d.replayed}"
            )
        return "\n".join([*lines, *(f"  note: {note}" for note in self.notes)])


def replay(flight: Flight, policy: Actor) -> ReplayReport:
    """Decides every step of a log again and compares.

    Args:
        flight: an opened log, with its pictures.
        policy: the policy that flew, or another one with the same joints, signals and cameras.

    Raises:
        ContractError: the policy reads what the log does not hold, or the log's settings are not
            those of this version.
    """
    _check_fits(flight.contract, policy.contract)
    notes = [] if flight.driver else ["the log has no data sheet; the contract's limits are used"]
    config, passed_by = logged_safety(flight.config)
    notes += passed_by
    info = flight.driver or data_sheet_of(flight.contract, flight.robot)
    guard = Guard.build(config, policy.contract, info)
    calibrations = map(CameraCalibration.of_json, flight.config.get("calibrations") or ())
    frames = FrameStack(policy.contract, warps_of(tuple(calibrations), policy.contract))
    reset = getattr(policy, "reset", None)
    if reset is not None:
        reset()
    ratio = float(flight.config.get("inner_hz") or 0) / policy.contract.control_hz
    if ratio > 1:
        notes.append("commands between two answers of the policy are not decided again")
    found = _Comparison(policy.contract, commands=ratio <= 1)
    around, dt_s = _Around(policy), 1 / policy.contract.control_hz
    pilot, state = Pilot(guard, policy, dt_s, _start(flight, config)), FlightState()
    for step in flight.steps:
        found.steps += 1
        if step.reading is None:
            continue
        reading, latest_s = step.reading, step.time_s + config.future_s
        seen = frames.push(reading.images, reading.image_time_s, latest_s)
        around.begin(step)
        faults = _outside(step, between=ratio > 1)
        before = state.guard
        again, state = pilot.decide(state, step.reading, step.time_s, seen, faults, around)
        found.compare(step, again)
        if before is not None and state.guard is not None and _differ(step.command, again.command):
            assert step.command is not None
            motion = advance_motion(before.motion, step.command, dt_s)
            state = replace(state, guard=replace(state.guard, motion=motion))
    return ReplayReport(
        found.steps, found.replayed, found.asked, tuple(found.kinds.values()), tuple(notes)
    )


def _outside(step: Step, *, between: bool) -> tuple[Event, ...]:
    """Returns what went wrong outside of a step's reading.

    Between two answers of the policy the reading before may have grown too old, which stops the
    step after it before the policy is asked.
    """
    codes = (*OUTSIDE, "stale") if between and step.output is None else OUTSIDE
    return tuple(event for event in step.events if event.code in codes)


class _Around:
    """What stands around a step of a replay: the policy, and what the log says of the time."""

    def __init__(self, policy: Actor) -> None:
        """Takes the policy."""
        self._policy = policy
        self._step: Step | None = None

    def begin(self, step: Step) -> None:
        """Takes the step that is decided again."""
        self._step = step

    def ask(self, observation: np.ndarray, seen: Mapping[str, np.ndarray]) -> np.ndarray:
        """Returns the policy's answer (J,)."""
        return self._policy.act(observation, seen)

    def later(self) -> tuple[float, tuple[Event, ...]]:
        """Returns the time, s, and the readings that were too old after the policy was asked."""
        assert self._step is not None
        late = self._step.events if self._step.output is not None else ()
        return self._step.time_s, tuple(event for event in late if event.code == "stale")

    def way(self, target: np.ndarray) -> np.ndarray:
        """Returns the command (J,) that the policy asks for."""
        return target


def _start(flight: Flight, config: SafetyConfig) -> Standing | None:
    """Returns the first command of a log, which the robot may have held since the flight before."""
    first = next((step for step in flight.steps if step.command is not None), None)
    if first is None or first.command is None or first.reading is None:
        return None
    position = first.reading.signals.get(config.position_signal)
    return None if position is None else Standing(first.command, position)


def _differ(logged: np.ndarray | None, again: np.ndarray | None) -> bool:
    """Returns whether a command was sent that the replay would not send."""
    return logged is not None and (again is None or not np.array_equal(logged, again))


def _check_fits(logged: PolicyContract, contract: PolicyContract) -> None:
    """Raises ContractError for a policy that reads or writes something else than the log holds."""
    pairs = (
        ("joints", logged.action.joints, contract.action.joints),
        ("action mode", logged.action.mode, contract.action.mode),
        ("signals", _sizes(logged), _sizes(contract)),
        ("cameras", [c.name for c in logged.cameras], [c.name for c in contract.cameras]),
        ("control rate", logged.control_hz, contract.control_hz),
    )
    for name, ours, theirs in pairs:
        if ours != theirs:
            raise ContractError(
                f"the log's {name} are {ours}, the policy's {theirs}; replay a policy that fits"
            )


def _sizes(contract: PolicyContract) -> dict[str, int]:
    """Returns the size of each signal."""
    return {s.name: s.size for s in contract.signals}


class _Comparison:
    """Counts of what differs."""

    def __init__(self, contract: PolicyContract, *, commands: bool) -> None:
        """Starts with nothing; ``commands`` and what limits them may be left out."""
        self._commands = commands
        self.steps = self.replayed = self.asked = 0
        self.kinds: dict[str, Difference] = {}
        self._joints = contract.action.joints
        self._signals = [f"{s.name}[{i}]" for s in contract.signals for i in range(s.size)]

    def compare(self, logged: Step, again: Step) -> None:
        """Compares one step."""
        self.replayed += 1
        self.asked += logged.output is not None and again.output is not None
        self._arrays("observation", self._signals, logged, again)
        self._arrays("output", self._joints, logged, again)
        if not self._commands:
            return
        self._arrays("command", self._joints, logged, again)
        if logged.phase != again.phase:
            self._note("phase", logged, "phase", logged.phase.value, again.phase.value, 0.0)
        if logged.mode != again.mode:
            self._note("mode", logged, "mode", logged.mode.name, again.mode.name, 0.0)
        ours, theirs = _judged(logged.events), _judged(again.events)
        if ours != theirs:
            first = next(iter(set(ours) ^ set(theirs)), "order")
            self._note("events", logged, str(first), _listed(ours), _listed(theirs), 0.0)

    def _arrays(self, what: str, names: Sequence[str], logged: Step, again: Step) -> None:
        """Compares one array of a step, bit by bit."""
        ours, theirs = getattr(logged, what), getattr(again, what)
        if ours is None or theirs is None:
            if ours is not theirs:
                self._note(what, logged, what, _some(ours), _some(theirs), 0.0)
            return
        if ours.shape != theirs.shape:
            self._note(what, logged, "shape", str(ours.shape), str(theirs.shape), 0.0)
            return
        apart = np.abs(ours.astype(float) - theirs.astype(float))
        differ = ~((ours == theirs) | (np.isnan(ours) & np.isnan(theirs)))
        if differ.any():
            worst = int(np.argmax(np.where(differ, np.nan_to_num(apart, nan=np.inf), -1.0)))
            was, now = (repr(float(x[worst])) for x in (ours, theirs))
            name = names[worst] if worst < len(names) else f"[{worst}]"
            self._note(what, logged, name, was, now, float(apart[worst]))

    def _note(
        self, what: str, step: Step, item: str, logged: str, replayed: str, size: float
    ) -> None:
        """Counts one difference."""
        old = self.kinds.get(what)
        if old is None:
            self.kinds[what] = Difference(
                what, 1, step.step, step.time_s, item, logged, replayed, size
            )
        else:
            self.kinds[what] = replace(old, count=old.count + 1, largest=max(old.largest, size))


def _judged(events: Sequence[Event]) -> tuple[str, ...]:
    """Returns the events that a reading or the policy brought about."""
    return tuple(
        sorted(f"{e.mode.name} {e.code} {e.name}" for e in events if e.code not in OUTSIDE)
    )


def _listed(events: Sequence[str]) -> str:
    """Returns events for people."""
    return ", ".join(events) or "none"


def _some(value: np.ndarray | None) -> str:
    """Returns whether there was something, for people."""
    return "none" if value is None else "one"
