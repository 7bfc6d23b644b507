"""What a flight log says of one joint, and how it is cut into trials."""

import math
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from mjx_s2r.params import unknown
from mjx_s2r.robot.diagnose.estimate import DiagnosisError
from mjx_s2r.robot.diagnose.joint_model import CommandSignal, DriveMode, Trials
from mjx_s2r.robot.diagnose.noise import quantum_of
from mjx_s2r.robot.log import Flight

LEAST_READINGS = 6  # of a trial
SETTLED_S = 0.1  # after which an effort that was taken away acts no more
STEADY = 0.002  # of the fastest speed: what a steady one may change by from step to step
BEFORE = 5  # readings that tell a trial's start state
REST_SHARE = 0.8  # of the time before the first motion that counts as rest
SAME = 1e-6  # relative to the largest command: changes below are rounding


@dataclass(frozen=True, eq=False)
class JointTrack:
    """T steps of one joint.

    Attributes:
        joint: its name.
        mode: what a command is.
        unit: of the positions, rad or m.
        command_unit: of the commands.
        issue_s: (T,) when each command was sent, s.
        command: (T,) what was sent.
        time_s: (T,) when each reading was taken, s.
        position: (T,) readings.
        fresh: (T,) whether a reading is another one than at the step before.
        effort: (T,) what the joint's own servo says it gives; None where it says nothing.
        others_moved: farthest that another joint went from where it was at first.
    """

    joint: str
    mode: DriveMode
    unit: str
    command_unit: str
    issue_s: np.ndarray
    command: np.ndarray
    time_s: np.ndarray
    position: np.ndarray
    fresh: np.ndarray
    effort: np.ndarray | None
    others_moved: float

    @property
    def hinge(self) -> bool:
        """Whether the joint turns."""
        return self.unit == "rad"

    @property
    def period_s(self) -> float:
        """Usual time between two readings, s."""
        return float(np.median(np.diff(self.time_s)))

    @property
    def rest(self) -> np.ndarray:
        """Readings before the command first changed."""
        moving = np.flatnonzero(np.abs(np.diff(self.command)) > self._same())
        first = int(moving[0]) + 1 if len(moving) else len(self.command)
        return self.position[: int(REST_SHARE * first)]

    @property
    def noise(self) -> float:
        """Standard deviation of the readings at rest; NaN where there are too few."""
        rest = self.rest
        return float(np.std(rest, ddof=1)) if len(rest) > 9 else math.nan

    def _same(self) -> float:
        """Change of a command that is none."""
        return SAME * max(1e-3, float(np.max(np.abs(self.command))))

    def stretches(self) -> list[tuple[int, int]]:
        """Returns (first, past the last) step of each stretch of one command."""
        edges = np.flatnonzero(np.abs(np.diff(self.command)) > self._same()) + 1
        return list(pairwise([0, *edges.tolist(), len(self.command)]))

    def trials(self, cuts: list[tuple[int, int]]) -> Trials:
        """Returns the readings of some stretches of steps, padded to the longest.

        Raises:
            DiagnosisError: none is long enough.
        """
        cuts = [(a, b) for a, b in cuts if b - a >= LEAST_READINGS]
        if not cuts:
            raise DiagnosisError(
                f"joint {self.joint!r}: the log holds no trial of {LEAST_READINGS} readings; was "
                "it made by diagnose?"
            )
        longest = max(b - a for a, b in cuts)
        index = np.array([np.minimum(np.arange(a, a + longest), b - 1) for a, b in cuts])
        seen = np.array([np.arange(longest) < b - a for a, b in cuts]) & self.fresh[index]
        return Trials(
            mode=self.mode,
            hinge=self.hinge,
            command=CommandSignal.of(self.issue_s, self.command),
            time_s=self.time_s[index],
            position=self.position[index],
            seen=seen,
            start=np.array([self._state(a)[0] for a, _ in cuts]),
            start_std=np.array([self._state(a)[1] for a, _ in cuts]),
            noise=self.unsure,
        )

    def _state(self, a: int) -> tuple[np.ndarray, np.ndarray]:
        """Returns (2,) position and speed at step ``a`` by a line through the readings up to it.

        The second is how sure they are: the noise's part, and how far a parabola says otherwise.
        """
        first = max(0, a - BEFORE + 1)
        at, q = self.time_s[first : a + 1] - self.time_s[a], self.position[first : a + 1]
        if len(at) < BEFORE or not np.ptp(at) > 0:
            return np.array([self.position[a], 0.0]), np.array([self.unsure, np.inf])
        line = np.polynomial.polynomial.polyfit(at, q, 1)
        bent = np.polynomial.polynomial.polyfit(at, q, 2)[:2]
        noise = self.unsure * np.array([1.0, 1 / (math.sqrt(10) * self.period_s)])
        return line, noise + np.abs(bent - line)

    @property
    def unsure(self) -> float:
        """Deviation of one reading: of its noise and of its rounding."""
        noise = self.noise if math.isfinite(self.noise) else 0.0
        least = 1e-6 * float(np.ptp(self.position))
        return math.sqrt(noise**2 + quantum_of(self.position) ** 2 / 12 + least**2)

    def from_each_change(self, longest_s: float) -> list[tuple[int, int]]:
        """Returns the trials that begin when a command changes after a rest of two steps or more.

        The last one, the way back, is none.

        Args:
            longest_s: what a trial may last, s; the rest of a longer one is left out.
        """
        calm = [(a, b) for a, b in self.stretches() if b - a >= 3]
        starts = [b - 1 for _, b in calm if b < len(self.command)]
        return self._until_next(starts, longest_s)[:-1]

    def from_zero(self, longest_s: float) -> list[tuple[int, int]]:
        """Returns the trials that begin when an effort follows on none."""
        still = np.abs(self.command) <= self._same()
        starts = np.flatnonzero(still[:-1] & ~still[1:]).tolist()
        return self._until_next(starts, longest_s)

    def coasts(self, longest_s: float) -> list[tuple[int, int]]:
        """Returns the trials that begin once the effort is taken away and its end has arrived."""
        still = np.abs(self.command) <= self._same()
        later = 1 + math.ceil(SETTLED_S / self.period_s)
        starts = (np.flatnonzero(~still[:-1] & still[1:]) + later).tolist()
        ends = [*(np.flatnonzero(still[:-1] & ~still[1:]) + 1).tolist(), len(still)]
        most = math.ceil(longest_s / self.period_s)
        found = [(a, min([a + most, *(e for e in ends if e > a - later)])) for a in starts]
        return [(a, b) for a, b in found if b - a > 4 * LEAST_READINGS]

    def _until_next(self, starts: list[int], longest_s: float) -> list[tuple[int, int]]:
        """Returns trials from each start to the next, or as long as allowed."""
        most = max(LEAST_READINGS, math.ceil(longest_s / self.period_s))
        ends = [*starts[1:], len(self.command)]
        return [(a, min(b, a + most)) for a, b in zip(starts, ends, strict=True)]

    def passes(self, skip_s: float) -> list[tuple[int, int]]:
        """Returns the stretches of constant speed of the command, their first ``skip_s`` left out.

        A stretch counts where it lasts longer than its skipped part and half as long again.
        """
        speed = np.diff(self.command) / np.diff(self.issue_s)
        top = float(np.max(np.abs(speed), initial=0.0))
        if not top:
            return []
        same = np.abs(np.diff(speed)) < STEADY * top
        edges = (np.flatnonzero(~same) + 1).tolist()
        skip = math.ceil(skip_s / self.period_s)
        found = []
        for a, b in pairwise([0, *edges, len(speed)]):
            if b - a > skip * 1.5 + LEAST_READINGS and abs(float(np.mean(speed[a:b]))) > 0.02 * top:
                found.append((a + skip, b))
        return found


def track_of(flight: Flight, joint: str) -> JointTrack:
    """Returns what a log says of one joint.

    Raises:
        ParamError: no such joint.
        DiagnosisError: a log without readings or commands of it.
    """
    action = flight.contract.action
    if joint not in action.joints:
        raise unknown("joint", joint, action.joints)
    j = action.joints.index(joint)
    units = {s.name: s.unit for s in flight.contract.signals}
    steps = [
        s
        for s in flight.bare()
        if s.command is not None and s.reading is not None and "joint_pos" in s.reading.signals
    ]
    if len(steps) < 3 * LEAST_READINGS:
        raise DiagnosisError(
            f"the log holds {len(steps)} steps with a command and a reading 'joint_pos'; it was "
            "stopped too early"
        )
    positions = np.array([s.reading.signals["joint_pos"] for s in steps if s.reading])
    efforts = [s.reading.signals.get("joint_effort") for s in steps if s.reading]
    commands = np.array([s.command for s in steps], float)
    read_s = np.array([s.reading.time_s for s in steps if s.reading])
    others = np.delete(positions - positions[0], j, axis=1)
    return JointTrack(
        joint=joint,
        mode="effort" if action.mode == "effort" else "position",
        unit=units["joint_pos"].split(",")[0],
        command_unit=action.unit.split(",")[0],
        issue_s=np.array([s.time_s + s.busy_s for s in steps]) - read_s[0],
        command=commands[:, j],
        time_s=np.maximum.accumulate(read_s - read_s[0]),
        position=positions[:, j],
        fresh=np.concatenate([[True], np.diff(read_s) > 0]),
        effort=None if any(e is None for e in efforts) else np.array(efforts)[:, j],
        others_moved=float(np.max(np.abs(others), initial=0.0)),
    )
