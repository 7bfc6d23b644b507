"""A long log thinned to what a chart can show: the least and the largest value of each pixel."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from mjx_s2r.robot.log.reader import Flight
from mjx_s2r.robot.log.records import Step
from mjx_s2r.robot.safety import Mode
from mjx_s2r.robot.verdict import DISTANCE, ON_GOAL, told

BINS = 900  # about one for each pixel of a chart


@dataclass(frozen=True)
class Thinned:
    """A flight in B bins of equally many steps.

    Attributes:
        time_s: (B,) time of each bin's first step since the start of the flight, s.
        low: (B, J) least position; NaN where none was read.
        high: (B, J) largest position.
        command_low: (B, J) least command; NaN where none was sent.
        command_high: (B, J) largest command.
        modes: (B,) the worst mode of the guard.
        phases: name of the last phase of each bin; all "passive" where the log holds none.
        events: cause -> (B,) worst mode of its events, -1 where there is none.
        on_goal: (B,) whether the task's goal holds at all steps of a bin, 1 or 0; NaN where nobody
            says.
        distance: (least, largest) distance to the goal, (B,) each, m; NaN where nobody says.
        busy_s: (T,) of every step, s.
        interval_s: (T - 1,) between steps, s.
    """

    time_s: np.ndarray
    low: np.ndarray
    high: np.ndarray
    command_low: np.ndarray
    command_high: np.ndarray
    modes: np.ndarray
    phases: list[str]
    events: dict[str, np.ndarray]
    on_goal: np.ndarray
    distance: tuple[np.ndarray, np.ndarray]
    busy_s: np.ndarray
    interval_s: np.ndarray


@dataclass
class _Bins:
    """Bins that are being filled."""

    count: int
    joints: int
    time_s: np.ndarray = field(init=False)
    position: tuple[np.ndarray, np.ndarray] = field(init=False)
    command: tuple[np.ndarray, np.ndarray] = field(init=False)
    modes: np.ndarray = field(init=False)
    phases: list[str] = field(init=False)
    events: dict[str, np.ndarray] = field(default_factory=dict)
    on_goal: np.ndarray = field(init=False)
    distance: tuple[np.ndarray, np.ndarray] = field(init=False)

    def __post_init__(self) -> None:
        """Makes them empty."""
        size = self.count, self.joints
        self.time_s = np.full(self.count, np.nan)
        self.position = np.full(size, np.nan), np.full(size, np.nan)
        self.command = np.full(size, np.nan), np.full(size, np.nan)
        self.modes = np.full(self.count, int(Mode.RUN))
        self.phases = [""] * self.count
        self.on_goal = np.full(self.count, np.nan)
        self.distance = np.full(self.count, np.nan), np.full(self.count, np.nan)

    def add(self, index: int, step: Step) -> None:
        """Puts one step into a bin."""
        if np.isnan(self.time_s[index]):
            self.time_s[index] = step.time_s
        position = step.reading.signals.get("joint_pos") if step.reading else None
        for (low, high), value in ((self.position, position), (self.command, step.command)):
            if value is not None and value.shape == (self.joints,) and value.dtype.kind in "biuf":
                np.fmin(low[index], value, out=low[index])
                np.fmax(high[index], value, out=high[index])
        if step.reading is not None:
            self._add_told(index, step.reading.signals)
        self.modes[index] = max(self.modes[index], int(step.mode))
        self.phases[index] = step.phase.value
        for event in step.events:
            marks = self.events.setdefault(event.code, np.full(self.count, -1))
            marks[index] = max(marks[index], int(event.mode))

    def _add_told(self, index: int, signals: Mapping[str, np.ndarray]) -> None:
        """Puts into a bin what a task says of a step."""
        on_goal, distance = told(signals, ON_GOAL), told(signals, DISTANCE)
        if on_goal is not None:
            self.on_goal[index] = np.fmin(self.on_goal[index], on_goal)
        if distance is not None:
            low, high = self.distance
            low[index], high[index] = np.fmin(low[index], distance), np.fmax(high[index], distance)


def thin(flight: Flight, bins: int = BINS) -> Thinned:
    """Returns a flight, which has a step at least, in at most so many bins."""
    total = len(flight.steps)
    made = _Bins(min(bins, total), len(flight.contract.action.joints))
    times, busy = np.zeros(total), np.zeros(total)
    for index, step in enumerate(flight.bare()):
        times[index], busy[index] = step.time_s, step.busy_s
        made.add(index * made.count // total, step)
    return Thinned(
        time_s=made.time_s - times[0],
        low=made.position[0],
        high=made.position[1],
        command_low=made.command[0],
        command_high=made.command[1],
        modes=made.modes,
        phases=made.phases,
        events=made.events,
        on_goal=made.on_goal,
        distance=made.distance,
        busy_s=busy,
        interval_s=np.diff(times),
    )
