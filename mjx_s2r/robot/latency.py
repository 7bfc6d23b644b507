"""Time of each stage of a control step, kept in bounded memory."""

import time
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

STAGES_OF_A_STEP = ("read", "inspect", "infer", "guard", "write", "log")
READ, INSPECT, INFER, GUARD, WRITE, LOG = range(len(STAGES_OF_A_STEP))  # places in it
KEPT = 1 << 16  # the last steps; 18 hours at 1 Hz, a minute at 1 kHz


@dataclass(frozen=True)
class Latency:
    """Time of one stage over a flight, s."""

    p50_s: float
    p99_s: float
    max_s: float


class Stopwatch:
    """Laps of each step: time since the last lap goes to the stage that is named."""

    def __init__(self) -> None:
        """Starts with no step."""
        self._laps = np.zeros((256, len(STAGES_OF_A_STEP)))
        self._count = 0
        self._row = [0.0] * len(STAGES_OF_A_STEP)
        self._last_s = 0.0

    def begin(self) -> None:
        """Begins a step."""
        self._row = [0.0] * len(STAGES_OF_A_STEP)
        self._last_s = time.perf_counter()

    def lap(self, stage: int) -> None:
        """Adds the time since the last lap to a stage of `STAGES_OF_A_STEP`."""
        now_s = time.perf_counter()
        self._row[stage] += now_s - self._last_s
        self._last_s = now_s

    def skip(self) -> None:
        """Leaves the time since the last lap out."""
        self._last_s = time.perf_counter()

    def end(self) -> None:
        """Keeps the step."""
        if self._count == len(self._laps) < KEPT:
            self._laps = np.concatenate([self._laps, np.zeros_like(self._laps)])
        self._laps[self._count % len(self._laps)] = self._row
        self._count += 1

    def summary(self) -> Mapping[str, Latency]:
        """Returns the latency of every stage; none before the first step."""
        laps = self._laps[: self._count]
        if not len(laps):
            return {}
        middle, high, most = np.percentile(laps, (50, 99, 100), axis=0)
        return {
            name: Latency(float(middle[i]), float(high[i]), float(most[i]))
            for i, name in enumerate(STAGES_OF_A_STEP)
        }
