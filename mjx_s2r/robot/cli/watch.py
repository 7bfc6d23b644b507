"""What is shown while a robot flies: phase, rate, latency, overruns, last event."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mjx_s2r.contract import PolicyContract
from mjx_s2r.robot.driver import DriverInfo
from mjx_s2r.robot.log import FlightLog, Step
from mjx_s2r.robot.safety import Event

KEPT = 1000  # steps that the rate and the latency are taken of


class FlightGauge:
    """Remembers what the status line says of the last steps."""

    def __init__(self) -> None:
        """Starts with none."""
        self._busy_s = np.zeros(KEPT)
        self._time_s = np.zeros(KEPT)
        self._count = 0
        self._overruns = 0
        self._last: Event | None = None
        self._phase = ""

    def note(self, step: Step) -> None:
        """Remembers a step."""
        place = self._count % KEPT
        self._busy_s[place], self._time_s[place] = step.busy_s, step.time_s
        self._count += 1
        self._phase = step.phase.value
        for event in step.events:
            self._overruns += event.code == "overrun"
            self._last = event

    @property
    def started(self) -> bool:
        """Whether a step was noted."""
        return self._count > 0

    def text(self) -> str:
        """Returns the status in one line; "" before the second step."""
        count = self._count
        if count < 2:
            return ""
        busy_s = self._busy_s[: min(count, KEPT)]
        newest = self._time_s[(count - 1) % KEPT]
        oldest = self._time_s[count % KEPT if count > KEPT else 0]
        rate = (min(count, KEPT) - 1) / max(newest - oldest, 1e-9)
        event = self._last
        last = f"{event.code} of {event.name}" if event else "none"
        return (
            f"{self._phase}  {rate:.1f} Hz  p99 {1e3 * np.percentile(busy_s, 99):.2f} ms  "
            f"{self._overruns} overruns  last event: {last}"
        )


class WatchedLog(FlightLog):
    """A flight log with a gauge."""

    def __init__(
        self,
        path: Path,
        contract: PolicyContract,
        robot: str,
        config: Mapping[str, Any],
        *,
        driver: DriverInfo,
        images: bool,
        may_drop: bool,
    ) -> None:
        """Creates the log, see `FlightLog`."""
        super().__init__(
            path, contract, robot, config, driver=driver, images=images, may_drop=may_drop
        )
        self.gauge = FlightGauge()

    def append(self, step: Step) -> None:
        """Notes and writes a step."""
        self.gauge.note(step)
        super().append(step)
