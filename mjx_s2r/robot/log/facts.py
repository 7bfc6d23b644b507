"""What a flight log says, for people and programs: duration, rates, phases, interventions, gaps.

The log is read once, step by step; of each step only a few numbers are kept.
"""

import json
import math
import time
from array import array
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field

import numpy as np

from mjx_s2r.robot.log.reader import Flight
from mjx_s2r.robot.log.records import LogError, Step
from mjx_s2r.robot.log.wear import JointWear, joint_wear, limits_in_flight, wear_remarks
from mjx_s2r.robot.phases import Phase
from mjx_s2r.robot.plain_json import plain_json
from mjx_s2r.robot.safety import Mode
from mjx_s2r.robot.units import suspect_motion
from mjx_s2r.robot.verdict import Referee, TaskVerdict, logged_rules

GAP = 2.5  # periods without a step
NEAR = 0.02  # share of the range of the commands that is near a limit


@dataclass(frozen=True)
class Percentiles:
    """Three numbers of many."""

    p50: float
    p99: float
    max: float

    @classmethod
    def of(cls, values: Sequence[float] | np.ndarray) -> "Percentiles":
        """Returns those of some values; NaN where there are none."""
        known = np.asarray(values, float)
        known = known[np.isfinite(known)]
        if not known.size:
            return cls(math.nan, math.nan, math.nan)
        return cls(*map(float, np.percentile(known, (50, 99, 100))))


@dataclass
class EventFacts:
    """How often one cause occurred.

    Attributes:
        code: the cause.
        count: how often.
        modes: how often it ran on, held or stopped.
        names: how often by signal, camera or joint.
        first_step: the first time.
        first_s: its time since the first step, s.
        value: what was found then.
        limit: what was allowed then.
    """

    code: str
    first_step: int
    first_s: float
    value: float
    limit: float
    count: int = 0
    modes: dict[str, int] = field(default_factory=dict)
    names: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class LogFacts:
    """Facts of one log. Times are s, rates Hz.

    Attributes:
        robot: name.
        task: of the policy.
        joints: names.
        control_hz: rate of the contract.
        started: local date and time, or "".
        files: parts that were read.
        size_bytes: of all parts.
        torn_bytes: broken tails that were left out.
        missing_parts: numbers of parts that are not there.
        steps: number of steps.
        duration_s: from the first to the last step.
        rate_hz: steps per second that were reached.
        interval_s: between two steps.
        busy_s: from the reading to the end of the write.
        age_s: of readings when they were inspected.
        overruns: deadlines missed.
        modes: steps by the guard's mode.
        phases: seconds in each phase, where the log holds phases.
        events: by cause, the most frequent first.
        near_limits: share of the commands near the lowest or highest one, by joint.
        gaps: (time since the start, length) of breaks between steps.
        cameras: name -> pictures kept and dropped, and their rate.
        suspicions: what looks like a mistake, one sentence each.
        ended: the last events that stopped, or "".
        virtual: whether the clock was a virtual one: the times of steps say nothing then.
        verdict: of the task, in a log of a stand-in that knew it; else None.
        wear: what wears each joint, by its name.
        wearing: what wears a joint too much, one sentence each.
    """

    robot: str
    task: str
    joints: tuple[str, ...]
    control_hz: float
    started: str
    files: int
    size_bytes: int
    torn_bytes: int
    missing_parts: tuple[int, ...]
    steps: int
    duration_s: float
    rate_hz: float
    interval_s: Percentiles
    busy_s: Percentiles
    age_s: Percentiles
    overruns: int
    modes: Mapping[str, int]
    phases: Mapping[str, float]
    events: tuple[EventFacts, ...]
    near_limits: Mapping[str, float]
    gaps: tuple[tuple[float, float], ...]
    cameras: Mapping[str, Mapping[str, float]]
    suspicions: tuple[str, ...]
    ended: str
    virtual: bool
    verdict: TaskVerdict | None
    wear: Mapping[str, JointWear]
    wearing: tuple[str, ...]

    def to_json(self) -> str:
        """Returns the facts as JSON text; what is not known is null."""
        return json.dumps(plain_json(asdict(self)), indent=2)

    def describe(self) -> str:
        """Returns the facts as lines of text."""
        rows = self.lines()
        wide = max(14, *(len(name) for name, _ in rows))
        return "\n".join(f"{name:<{wide}} {text}" for name, text in rows)

    def lines(self) -> list[tuple[str, str]]:
        """Returns the facts for people: name and text of each line."""
        reached = f"{self.rate_hz:.2f} Hz" if math.isfinite(self.rate_hz) else "unknown"
        rows = [
            ("robot", self.robot),
            ("task", f"{self.task}, {len(self.joints)} joints at {self.control_hz:g} Hz"),
            ("started", self.started or "unknown"),
            ("duration", f"{self.duration_s:.1f} s, {self.steps} steps"),
        ]
        if self.verdict is not None:
            rows.insert(2, ("verdict", self.verdict.text()))
        if self.virtual:
            rows.append(("rate", f"{reached} in virtual time, which no computation takes"))
        else:
            share = 100 * self.overruns / max(1, self.steps)
            rows += [
                ("rate", f"{reached}; {_ms('interval', self.interval_s)}"),
                ("step", f"{_ms('busy', self.busy_s)}; {_ms('age of readings', self.age_s)}"),
                ("overruns", f"{self.overruns} ({share:.2f} %)"),
            ]
        rows.append(("modes", _counted(self.modes, " steps")))
        if self.phases:
            times = ", ".join(f"{name} {s:.1f} s" for name, s in self.phases.items())
            rows.append(("phases", times))
        for e in self.events:
            who = ", ".join(f"{n} {c}" for n, c in Counter(e.names).most_common(4))
            text = f"{e.count} times ({_counted(e.modes)}): {who}; first at {e.first_s:.2f} s"
            rows.append((f"  {e.code}", f"{text}: {e.value:.4g}, limit {e.limit:.4g}"))
        near = {n: x for n, x in self.near_limits.items() if x > 0}
        if near:
            shares = ", ".join(f"{name} {100 * share:.0f} %" for name, share in near.items())
            rows.append(("near limits", shares))
        rows += [(f"wear {name}", _wear_text(one)) for name, one in self.wear.items()]
        for name, c in self.cameras.items():
            text = f"{c['kept']:.0f} pictures at {c['rate_hz']:.1f} Hz, {c['dropped']:.0f} dropped"
            rows.append((f"camera {name}", text))
        if self.gaps:
            longest = max(self.gaps, key=lambda gap: gap[1])
            text = f"{len(self.gaps)}, longest {longest[1]:.3f} s at {longest[0]:.2f} s"
            rows.append(("gaps", text))
        rows.append(("file", f"{self.size_bytes / 1e6:.1f} MB in {self.files} part(s)"))
        if self.torn_bytes:
            rows.append(("torn", f"{self.torn_bytes} bytes at the end were not whole"))
        if self.missing_parts:
            rows.append(("missing", f"parts {', '.join(map(str, self.missing_parts))}"))
        if self.ended:
            rows.append(("stopped by", self.ended))
        rows += [("wears", text) for text in self.wearing]
        return rows + [("suspicious", text) for text in self.suspicions]


def inspect_log(flight: Flight) -> LogFacts:
    """Returns the facts of an opened log.

    Raises:
        LogError: a log without a step.
    """
    if not len(flight.steps):
        raise LogError("the log holds no step")
    seen = _Tally(flight)
    for step in flight.bare():
        seen.add(step)
    return seen.facts()


class _Tally:
    """Numbers of the steps so far."""

    def __init__(self, flight: Flight) -> None:
        """Starts with none."""
        self._flight = flight
        self._times: list[float] = []
        self._busy: list[float] = []
        self._ages: list[float] = []
        self._modes: Counter[str] = Counter()
        self._phases: defaultdict[str, float] = defaultdict(float)
        self._events: dict[str, EventFacts] = {}
        self._ended = ""
        joints = len(flight.contract.action.joints)
        self._near, self._sent = np.zeros(joints), 0
        self._every = max(1, len(flight.steps) // 20_000)  # enough to see units
        self._moves: list[tuple[np.ndarray, np.ndarray]] = []
        self._absent = np.full(joints, np.nan, np.float32)
        self._commands, self._positions = array("f"), array("f")
        rules = logged_rules(flight.config)
        control_hz = flight.contract.control_hz
        self._referee = None if rules is None else Referee(rules, control_hz)

    def add(self, step: Step) -> None:
        """Counts one step."""
        first_s = self._times[0] if self._times else step.time_s
        last_s = self._times[-1] if self._times else step.time_s
        self._times.append(step.time_s)
        self._busy.append(step.busy_s)
        self._modes[step.mode.name] += 1
        self._phases[step.phase.value] += max(0.0, step.time_s - last_s)
        if step.reading is not None and isinstance(step.reading.time_s, int | float):
            self._ages.append(step.time_s - step.reading.time_s)
        for e in step.events:
            fact = self._events.setdefault(
                e.code, EventFacts(e.code, step.step, step.time_s - first_s, e.value, e.limit)
            )
            fact.count += 1
            fact.modes[e.mode.name] = fact.modes.get(e.mode.name, 0) + 1
            fact.names[e.name] = fact.names.get(e.name, 0) + 1
        if step.mode == Mode.STOP:
            causes = [f"{e.code} {e.name}" for e in step.events if e.mode == Mode.STOP]
            self._ended = f"{', '.join(causes)} at step {step.step}" if causes else self._ended
        if self._referee is not None and step.reading is not None:
            self._referee.see(step.reading)
        position = step.reading.signals.get("joint_pos") if step.reading else None
        for kept, value in ((self._commands, step.command), (self._positions, position)):
            kept.frombytes(self._row(value).tobytes())
        if step.command is not None:
            self._command(step, step.command)

    def _row(self, value: np.ndarray | None) -> np.ndarray:
        """Returns (J,) float32 values; NaN where there are none of every joint."""
        whole = value is not None and value.shape == self._absent.shape
        if value is None or not whole or value.dtype.kind not in "biuf":
            return self._absent
        return value.astype(np.float32)

    def _wear(self) -> tuple[JointWear, ...]:
        """Returns what wears each joint."""
        joints = len(self._absent)
        commands, positions = (
            np.frombuffer(x, np.float32).reshape(-1, joints)
            for x in (self._commands, self._positions)
        )
        limits, of_commands = limits_in_flight(self._flight)
        rate_hz = self._flight.contract.control_hz
        return joint_wear(commands, positions, limits, rate_hz, of_commands)

    def _command(self, step: Step, command: np.ndarray) -> None:
        """Counts one command."""
        action = self._flight.contract.action
        if command.shape != (len(action.joints),):
            return
        low, high = np.array(action.low), np.array(action.high)
        room = NEAR * np.where(np.isfinite(high - low), high - low, 0.0)
        self._near += (command <= low + room) | (command >= high - room)
        self._sent += 1
        position = step.reading.signals.get("joint_pos") if step.reading else None
        is_pair = position is not None and position.shape == command.shape
        if position is not None and is_pair and self._sent % self._every == 0:
            self._moves.append((command.astype(float), position.astype(float)))

    def facts(self) -> LogFacts:
        """Returns what was counted."""
        flight, times = self._flight, np.array(self._times)
        contract, steps = flight.contract, np.diff(times)
        long = np.flatnonzero(steps > GAP / contract.control_hz)
        duration_s = float(times[-1] - times[0])
        suspicions: list[str] = []
        if self._moves and contract.action.mode != "effort":
            commands, positions = (np.array(x) for x in zip(*self._moves, strict=True))
            suspicions = suspect_motion(contract.action.joints, commands, positions)
        overruns = self._events.get("overrun")
        wear = self._wear()
        virtual = bool(flight.config.get("virtual", len(self._busy) > 1 and not any(self._busy)))
        started = flight.started_s
        return LogFacts(
            robot=flight.robot,
            task=contract.task,
            joints=contract.action.joints,
            control_hz=contract.control_hz,
            started=_date(started) if math.isfinite(started) else "",
            files=len(flight.paths),
            size_bytes=sum(path.stat().st_size for path in flight.paths),
            torn_bytes=flight.torn_bytes,
            missing_parts=flight.missing_parts,
            steps=len(times),
            duration_s=duration_s,
            rate_hz=(len(times) - 1) / duration_s if duration_s > 0 else math.nan,
            interval_s=Percentiles.of(steps),
            busy_s=Percentiles.of(self._busy),
            age_s=Percentiles.of(self._ages),
            overruns=overruns.count if overruns else 0,
            modes=dict(self._modes),
            phases={} if set(self._phases) == {Phase.PASSIVE.value} else dict(self._phases),
            events=tuple(sorted(self._events.values(), key=lambda e: -e.count)),
            near_limits=dict(
                zip(contract.action.joints, (self._near / max(1, self._sent)).tolist(), strict=True)
            ),
            gaps=tuple((float(times[i] - times[0]), float(steps[i])) for i in long),
            cameras=_cameras(flight, duration_s),
            suspicions=tuple(suspicions),
            ended=self._ended,
            virtual=virtual,
            verdict=None if self._referee is None else self._referee.verdict,
            wear=dict(zip(contract.action.joints, wear, strict=True)),
            wearing=tuple(wear_remarks(contract.action.joints, wear)),
        )


def _cameras(flight: Flight, duration_s: float) -> dict[str, dict[str, float]]:
    """Returns how many pictures of each camera were kept and dropped, and their rate."""
    lost = Counter(camera for camera, _ in flight.dropped())
    found = {}
    for camera in flight.contract.cameras:
        kept = sum(1 for _ in flight.steps.pictures(camera.name))
        every = kept + lost[camera.name]
        rate = (every - 1) / duration_s if duration_s > 0 and every else 0.0
        found[camera.name] = {"kept": kept, "dropped": lost[camera.name], "rate_hz": rate}
    return found


def _wear_text(wear: JointWear) -> str:
    """Returns what wears a joint, for people."""
    if math.isnan(wear.reversals_hz):
        return "unknown: no commands one after another"
    change = "" if math.isnan(wear.change) else f"changes {100 * wear.change:.2g} % a step, "
    text = f"{change}reverses {wear.reversals_hz:.2g} times a second"
    if math.isnan(wear.parked):
        return text
    low, high = 100 * wear.parked_low, 100 * wear.parked_high
    return f"{text}, at its lower limit {low:.0f} % of the time, at its upper {high:.0f} %"


def _date(unix_s: float) -> str:
    """Returns local date and time."""
    return time.strftime("%Y-%m-%d %H:%M:%S %Z", time.localtime(unix_s))


def _ms(name: str, spread: Percentiles) -> str:
    """Returns three times in ms for people."""
    if not math.isfinite(spread.p50):
        return f"{name} unknown"
    p50, p99, most = (f"{1e3 * x:.3g}" for x in (spread.p50, spread.p99, spread.max))
    return f"{name} {p50} ms, p99 {p99}, at most {most}"


def _counted(counts: Mapping[str, int], unit: str = "") -> str:
    """Returns counts for people."""
    return ", ".join(f"{name} {count}{unit}" for name, count in counts.items())
