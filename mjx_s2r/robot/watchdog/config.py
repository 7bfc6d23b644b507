"""Settings of the watchdog, and the times that follow from the rate of control."""

import math
from dataclasses import asdict, dataclass
from typing import Any

from mjx_s2r.contract import ContractError

FASTEST_S, USUAL_S = 0.040, 0.050  # shortest time without a command, longest of a fast loop
LATE_S = 0.010  # least lateness that a command is allowed
READ_RATIO = 4  # readings per control period
SLOWEST_READ_HZ, FASTEST_READ_HZ = 100.0, 1000.0


@dataclass(frozen=True)
class WatchdogConfig:
    """Settings of the watchdog; 0 of a time or rate asks for the one that suits the control rate.

    Attributes:
        timeout_s: time without a valid command after which the robot is stopped, s; 0: two control
            periods, at least 40 and at most 50 ms, but at least one period and 10 ms.
        heartbeat_s: time without a sign of life of the controller's process, s; 0: 40 ms, or a
            ``timeout_s`` that was given and is longer. It matters at long control periods; else the
            time without a command is over first.
        io_s: longest read or write of the driver while the robot moves, s.
        grace_s: time that a stop waits for a read or write under way, before it no longer does, s.
        answer_periods: control periods that a command may come after the reading it answers.
        read_hz: readings per second; 0: four per control period, 100 to 1000, as the bus allows.
        stops: emergency stops that the watchdog itself asks, ``file:PATH`` and ``udp://:PORT``.
        log: path of its log, JSON lines; "" keeps none.
        realtime: whether it asks for real-time priority and to be kept in memory.
        start_s: longest time to build and connect the driver, s.
    """

    timeout_s: float = 0.0
    heartbeat_s: float = 0.0
    io_s: float = 0.25
    grace_s: float = 0.010
    answer_periods: float = 5.0
    read_hz: float = 0.0
    stops: tuple[str, ...] = ()
    log: str = ""
    realtime: bool = True
    start_s: float = 60.0

    def __post_init__(self) -> None:
        """Checks the times.

        Raises:
            ContractError: one that is negative, not finite, or zero where that means nothing.
        """
        object.__setattr__(self, "stops", tuple(self.stops))
        for name in ("timeout_s", "heartbeat_s", "read_hz", "grace_s"):
            self._check(name, getattr(self, name) >= 0)
        for name in ("io_s", "answer_periods", "start_s"):
            self._check(name, getattr(self, name) > 0)
        for stop in self.stops:
            if not stop.startswith(("file:", "udp:")):
                raise ContractError(
                    f"watchdog stop {stop!r} must be file:PATH or udp://:PORT; give the others to "
                    "the controller"
                )

    def _check(self, name: str, is_good: bool) -> None:
        """Raises ContractError where a number is not good."""
        value = getattr(self, name)
        if not (is_good and math.isfinite(value)):
            raise ContractError(f"watchdog.{name} = {value} must be a finite time or rate above 0")

    def command_timeout_s(self, control_hz: float) -> float:
        """Returns the time without a command that stops the robot, s."""
        period_s = 1 / control_hz
        usual_s = min(max(2 * period_s, FASTEST_S), USUAL_S)
        return self.timeout_s or max(usual_s, period_s + LATE_S)

    def silence_s(self) -> float:
        """Returns the time without a sign of life that stops the robot, s."""
        return self.heartbeat_s or max(FASTEST_S, self.timeout_s)

    def answer_s(self, control_hz: float) -> float:
        """Returns how long after its reading a command may come, s; never below the timeout."""
        return max(self.answer_periods / control_hz, self.command_timeout_s(control_hz))

    def reading_hz(self, control_hz: float, max_hz: float) -> float:
        """Returns how often the driver is read, Hz."""
        usual_hz = min(max(READ_RATIO * control_hz, SLOWEST_READ_HZ), FASTEST_READ_HZ)
        return min(self.read_hz or max(usual_hz, control_hz), max_hz)

    def to_json(self) -> dict[str, Any]:
        """Returns the settings as JSON values."""
        return asdict(self)
