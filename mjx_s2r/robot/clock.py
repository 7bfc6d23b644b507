"""Time for a fixed-rate loop: the machine's monotonic clock, and a virtual one for stand-ins.

Deadlines are absolute (start + k * period), so the time a step takes does not shift the next one.
A step that arrives after its deadline moves the whole grid: the next deadline is one period after
that arrival. Two commands are therefore never much closer than a period, and a rate limit that is
counted per step holds in real time, too.
"""

import math
import time
from dataclasses import dataclass, replace
from typing import Protocol


class Clock(Protocol):
    """Time in seconds and the deadlines of one loop.

    Attributes:
        is_real: whether it is the machine's time, which passes while a call blocks.
    """

    is_real: bool

    @property
    def overruns(self) -> int:
        """Deadlines missed since `start`."""
        ...

    def now_s(self) -> float:
        """Returns the time, s; only differences mean anything."""
        ...

    def start(self, period_s: float) -> None:
        """Sets the first deadline one period from now."""
        ...

    def wait(self) -> float:
        """Waits for the deadline and sets the next; returns how late it was reached, s."""
        ...


@dataclass(frozen=True)
class Deadlines:
    """The grid of deadlines: ``origin_s + count * period_s`` is the next one."""

    period_s: float = math.inf
    origin_s: float = 0.0
    count: int = 1
    overruns: int = 0

    @property
    def next_s(self) -> float:
        """The next deadline, s."""
        return self.origin_s + self.count * self.period_s


def begin(now_s: float, period_s: float) -> Deadlines:
    """Returns the grid whose first deadline is one period from now.

    Raises:
        ValueError: the period is not a positive, finite number.
    """
    if not (math.isfinite(period_s) and period_s > 0):
        raise ValueError(f"period {period_s} s must be positive; give 1 / control rate")
    return Deadlines(period_s, now_s)


def arrive(grid: Deadlines, now_s: float, tolerance_s: float) -> Deadlines:
    """Returns the grid after a step that ended at ``now_s``; a late one moves the grid."""
    late_s = now_s - grid.next_s
    if late_s <= 0:
        return replace(grid, count=grid.count + 1)
    return Deadlines(grid.period_s, now_s, 1, grid.overruns + (late_s > tolerance_s))


class RealClock:
    """The machine's monotonic clock.

    Attributes:
        spin_s: last stretch before a deadline that is spent awake; 0 sleeps all the way.
        tolerance_s: lateness that does not count as an overrun.
    """

    is_real = True

    def __init__(self, spin_s: float = 0.0, tolerance_s: float = 0.001) -> None:
        """Takes the jitter settings; `start` begins a loop."""
        self.spin_s = spin_s
        self.tolerance_s = tolerance_s
        self._grid = Deadlines()

    @property
    def overruns(self) -> int:
        """Deadlines missed since `start`."""
        return self._grid.overruns

    def now_s(self) -> float:
        """Returns the monotonic time, s."""
        return time.monotonic()

    def start(self, period_s: float) -> None:
        """Sets the first deadline one period from now."""
        self._grid = begin(self.now_s(), period_s)

    def wait(self) -> float:
        """Sleeps until the deadline; returns how late the step arrived at it, s."""
        now_s, deadline_s = self.now_s(), self._grid.next_s
        self._grid = arrive(self._grid, now_s, self.tolerance_s)
        rest_s = deadline_s - now_s - self.spin_s
        if rest_s > 0:
            time.sleep(rest_s)
        while self.now_s() < deadline_s:
            pass
        return max(0.0, now_s - deadline_s)


class VirtualClock:
    """Time that moves only by a call: `wait`, or by `advance` to act out a slow computation."""

    is_real = False

    def __init__(self, now_s: float = 0.0) -> None:
        """Starts at ``now_s``."""
        self._now_s = now_s
        self._grid = Deadlines()

    @property
    def overruns(self) -> int:
        """Deadlines missed since `start`."""
        return self._grid.overruns

    def now_s(self) -> float:
        """Returns the virtual time, s."""
        return self._now_s

    def advance(self, seconds: float) -> None:
        """Moves time forward, as a computation of that length would.

        Raises:
            ValueError: ``seconds`` is negative or NaN.
        """
        if not seconds >= 0:
            raise ValueError(f"cannot advance by {seconds} s; time only moves forward")
        self._now_s += seconds

    def start(self, period_s: float) -> None:
        """Sets the first deadline one period from now."""
        self._grid = begin(self._now_s, period_s)

    def wait(self) -> float:
        """Jumps to the deadline; returns how late the step arrived at it, s."""
        deadline_s = self._grid.next_s
        late_s = max(0.0, self._now_s - deadline_s)
        self._grid = arrive(self._grid, self._now_s, 0.0)
        self._now_s = max(self._now_s, deadline_s)
        return late_s
