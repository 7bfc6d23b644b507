"""Readings that are written again until the next one comes: a slow sensor in a fast table.

Columns that were filled forward or resampled hold each reading several times. A fit would take
every repeat for a reading of its own, late by up to a period of the sensor. A run of equal values
between two clear changes tells the period; a repeat is then no reading (NaN).
"""

from dataclasses import replace

import numpy as np

from mjx_s2r.transfer.readers.segments import LogRows
from mjx_s2r.transfer.telemetry.finding import TelemetryFinding
from mjx_s2r.transfer.telemetry.signals import usual_quantum

CLEAR_STEPS = 3.0  # of the quantization, that a value changes by at once
LEAST_RUNS = 20  # of equal values between two such changes
LEAST_PERIOD = 1.4  # rows, on average; speeds of servos stand still now and then by themselves
UNEVEN = 0.6, 0.2  # deviation of a run's length, rows and of the period, at most
DISTINCT = 0.2  # of the runs' values, at least; a gripper that opens and shuts has two


def without_repeats(rows: LogRows) -> tuple[LogRows, list[TelemetryFinding]]:
    """Returns rows whose readings are each there once, and which channels were filled.

    Args:
        rows: of one clip.
    """
    readings, found = rows.readings.copy(), []
    step_s = np.diff(rows.time_s[np.isfinite(rows.time_s)])
    usual_s = float(np.median(step_s)) if step_s.size else 0.0
    for c, channel in enumerate(rows.channels):
        known = np.flatnonzero(np.isfinite(readings[:, c]))
        period = repeat_period(readings[known, c])
        if not period:
            continue
        again = known[_repeats(readings[known, c], period)]
        readings[again, c] = np.nan
        what = (
            f"each reading stands in {period:.3g} rows in a row ({1e3 * usual_s:.3g} ms apart), so "
            f"its column was filled or resampled; {len(again)} repeats are no readings"
        )
        remedy = "they are left out; log it at its own rate, or leave gaps where nothing was read"
        found.append(
            TelemetryFinding("warning", "repeated readings", rows.label, what, remedy, str(channel))
        )
    return (replace(rows, readings=readings) if found else rows), found


def repeat_period(values: np.ndarray) -> float:
    """Returns in how many rows each reading of a channel stands, on average; 0 for once.

    A signal that is read anew in every row does not stand still between two changes of several
    steps of its quantization, other than where it turns around.

    Args:
        values: (T,) known readings.
    """
    if len(values) < 2 * LEAST_RUNS:
        return 0.0
    changes = np.diff(values)
    clear = np.abs(changes) > CLEAR_STEPS * usual_quantum([values])
    at = np.flatnonzero(changes != 0)
    both = clear[at[:-1]] & clear[at[1:]]
    lengths = np.diff(at)[both]
    if len(lengths) < LEAST_RUNS:
        return 0.0
    lengths = lengths[lengths <= 3 * np.median(lengths)]  # rests in between
    period = float(lengths.mean())
    even = float(lengths.std()) <= UNEVEN[0] + UNEVEN[1] * period
    held = values[at[1:]][both]
    return period if period >= LEAST_PERIOD and even and _varied(held) else 0.0


def _varied(values: np.ndarray) -> bool:
    """Returns whether values (R,) of runs are many."""
    return len(np.unique(values)) >= max(LEAST_RUNS / 2, DISTINCT * len(values))


def _repeats(values: np.ndarray, period: float) -> np.ndarray:
    """Returns (T,) whether each value is the one before, written again.

    Of a longer run one value each period is kept: the sensor was read, and had not moved.
    """
    begins = np.concatenate(([True], np.diff(values) != 0))
    age = np.arange(len(values)) - np.maximum.accumulate(
        np.where(begins, np.arange(len(values)), 0)
    )
    return age % max(2, int(np.ceil(period - 0.05))) != 0
