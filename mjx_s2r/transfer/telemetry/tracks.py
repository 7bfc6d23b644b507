"""Signals of several recordings side by side on even clocks, and how one follows another."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mjx_s2r.transfer.recording import Recording

MOST_ROWS = 20_000  # of all recordings together
LONGEST_LAG_S = 0.5
LAGS = 40
WINDOW_S = 0.1  # over which movements are compared


@dataclass(frozen=True, eq=False)
class EvenTrack:
    """One recording on an even clock: n rows, J commands, C channels.

    Attributes:
        step_s: time between rows.
        commands: (n, J) held between rows; NaN where the actuators were off.
        readings: (n, C) between rows on straight lines; NaN beyond those that were read.
    """

    step_s: float
    commands: np.ndarray
    readings: np.ndarray


def tracks_of(recordings: Sequence[Recording]) -> list[EvenTrack]:
    """Returns recordings of the same joints and channels on one even clock."""
    steps = [float(np.median(np.diff(r.time_s))) for r in recordings if len(r) > 1]
    if not steps:
        return []
    total = sum(r.seconds for r in recordings)
    step_s = max(float(np.median(steps)), total / MOST_ROWS, 1e-6)
    return [_track(r, step_s) for r in recordings if len(r) > 1]


def _track(recording: Recording, step_s: float) -> EvenTrack:
    """Returns one recording on an even clock."""
    time_s = recording.time_s
    grid = np.arange(time_s[0], time_s[-1] + 1e-9, step_s)
    before = np.clip(np.searchsorted(time_s, grid + 1e-9, side="right") - 1, 0, None)
    sent = np.where(recording.driven[:, None], recording.commands, np.nan)
    readings = np.full((len(grid), len(recording.channels)), np.nan)
    for c in range(readings.shape[1]):
        known = np.isfinite(recording.readings[:, c])
        if known.sum() > 1:
            values = recording.readings[known, c]
            readings[:, c] = np.interp(grid, time_s[known], values, np.nan, np.nan)
    return EvenTrack(step_s, sent[before], readings)


def window_rows(step_s: float) -> int:
    """Returns the rows of the window over which movements are compared."""
    return max(2, round(WINDOW_S / step_s))


def movement(values: np.ndarray, rows: int) -> np.ndarray:
    """Returns how far a signal (n,) moves within each window of some rows."""
    return values[rows:] - values[:-rows] if len(values) > rows else np.empty(0)


def travelled(speeds: np.ndarray, rows: int, step_s: float) -> np.ndarray:
    """Returns the integral of a speed (n,) over each window, by trapezoids."""
    if len(speeds) <= rows:
        return np.empty(0)
    way = np.append(0.0, np.cumsum((speeds[1:] + speeds[:-1]) / 2) * step_s)
    return way[rows:] - way[:-rows]


@dataclass(frozen=True, eq=False)
class Following:
    """How signal b follows signal a, by lag.

    Attributes:
        lag_s: (L,) by which b is later, s.
        correlation: (L,) about zero, -1 to 1; 0 where there is too little to say.
        slope: (L,) b per a.
    """

    lag_s: np.ndarray
    correlation: np.ndarray
    slope: np.ndarray

    @property
    def best(self) -> int:
        """Lag of the largest correlation of either sign."""
        return int(np.argmax(np.abs(self.correlation)))


def following(
    pairs: Sequence[tuple[np.ndarray, np.ndarray]], step_s: float, *, backward: bool = False
) -> Following:
    """Returns how the second signal of some pairs (n,), (n,) follows the first.

    Args:
        pairs: of each recording; NaN where nothing is known.
        step_s: of their clock.
        backward: also look at lags below zero.
    """
    reach = max(1, round(LONGEST_LAG_S / step_s))
    lags = np.unique(np.round(np.linspace(0, reach, min(LAGS, reach + 1))).astype(int))
    if backward:
        lags = np.unique(np.concatenate((-lags, lags)))
    sums = np.zeros((len(lags), 3))
    for a, b in pairs:
        known = np.isfinite(a), np.isfinite(b)
        a0, b0 = np.where(known[0], a, 0.0), np.where(known[1], b, 0.0)
        for i, lag in enumerate(lags):
            x, y = _shifted(a0, b0, int(lag))
            seen_x, seen_y = _shifted(known[0], known[1], int(lag))
            both = seen_x & seen_y
            sums[i] += (x * y)[both].sum(), (x * x)[both].sum(), (y * y)[both].sum()
    xy, xx, yy = sums.T
    norm = np.sqrt(xx * yy)
    enough = (xx > 0) & (xx > 0.3 * xx.max(initial=0.0)) & (yy > 0.3 * yy.max(initial=0.0))
    correlation = np.where(enough & (norm > 0), xy / np.where(norm > 0, norm, 1.0), 0.0)
    return Following(lags * step_s, correlation, xy / np.where(xx > 0, xx, 1.0))


def _shifted(a: np.ndarray, b: np.ndarray, lag: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns the parts of two signals that meet when b is ``lag`` rows later."""
    if lag >= 0:
        return a[: max(0, len(a) - lag)], b[lag : lag + max(0, len(a) - lag)]
    b, a = _shifted(b, a, -lag)
    return a, b
