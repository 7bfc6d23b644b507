"""Noise, quantum and drift of every signal of a robot that rests.

Of readings that are rounded to a quantum, a plain standard deviation says the rounding's. The
likelihood of the rounded values under Gaussian noise is used instead (interval-censored data; its
95 % interval where twice the logarithm falls by 3.84), so a noise far below the quantum is bounded
and not invented.
"""

import math

import numpy as np

from mjx_s2r.robot.diagnose.estimate import (
    Diagnosis,
    DiagnosisError,
    FitCurve,
    IntervalEstimate,
    from_deviation,
)
from mjx_s2r.robot.log import Flight
from mjx_s2r.robot.verdict import TOLD

LEAST = 50  # readings
FALL = 3.84 / 2  # of the logarithm of the likelihood, at the ends of a 95 % interval
COARSE = 1.0  # deviations: of a coarser quantum the likelihood of the rounded values is asked
DEVIATIONS = np.geomspace(0.02, 3.4, 160)  # quanta
SHIFTS = np.linspace(-0.5, 0.5, 101)  # quanta


def noise(flight: Flight) -> list[Diagnosis]:
    """Returns the noise of every column of every signal, a diagnosis each.

    Raises:
        DiagnosisError: too short a rest.
    """
    read = {name for s in flight.bare() if s.reading for name in s.reading.signals}
    names = sorted(read.difference(TOLD))
    found = []
    for name in names:
        values, time_s = _readings(flight, name)
        if len(values) < LEAST:
            raise DiagnosisError(
                f"signal {name!r}: {len(values)} readings at rest, {LEAST} are needed; rest longer"
            )
        for column in range(values.shape[1]):
            element = name if values.shape[1] == 1 else f"{name}[{column}]"
            found.append(column_noise(element, _unit(flight, name), time_s, values[:, column]))
    return found


def _readings(flight: Flight, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Returns (T, size) readings of a signal, each once, and (T,) their times, s."""
    rows: list[np.ndarray] = []
    times: list[float] = []
    for step in flight.bare():
        reading = step.reading
        if reading is None or name not in reading.signals:
            continue
        if not times or reading.time_s > times[-1]:
            rows.append(np.atleast_1d(reading.signals[name]))
            times.append(reading.time_s)
    return np.array(rows, float), np.array(times) - times[0]


def _unit(flight: Flight, name: str) -> str:
    """Returns the unit of a signal, "?" where the contract does not say."""
    return next((s.unit for s in flight.contract.signals if s.name == name), "?").split(",")[0]


def column_noise(element: str, unit: str, time_s: np.ndarray, values: np.ndarray) -> Diagnosis:
    """Returns the noise of one column (T,) read at (T,) s.

    Raises:
        DiagnosisError: readings that move.
    """
    quantum = quantum_of(values)
    count = len(values)
    hour = (time_s - time_s.mean()) / max(float(np.ptp(time_s)), 1e-9)
    slope = float(hour @ values / (hour @ hour)) / max(float(np.ptp(time_s)), 1e-9)
    left = values - values.mean() - slope * (time_s - time_s.mean())
    white = float(np.std(left, ddof=2))
    lag = float(left[1:] @ left[:-1] / max(float(left @ left), 1e-300)) if white else 0.0
    alike = max(0.0, min(0.99, lag))
    independent = max(4.0, count * (1 - alike) / (1 + alike))
    if white and quantum < COARSE * white:
        true = math.sqrt(max(0.0, white**2 - quantum**2 / 12))
        half = 1.96 * white / math.sqrt(2 * (independent - 1)) * white / max(true, 1e-12)
        deviation = IntervalEstimate("sensor.noise", true, max(0.0, true - half), true + half, unit)
    elif quantum:
        deviation = rounded_noise(values, quantum, unit)
    else:
        deviation = IntervalEstimate("sensor.noise", 0.0, 0.0, 0.0, unit)
    spread = white / math.sqrt(max(independent * float(np.var(time_s)), 1e-12))
    rows = [
        deviation,
        IntervalEstimate("sensor.quantum", quantum, quantum, quantum, unit),
        from_deviation("drift", slope, spread, int(independent), f"{unit}/s"),
    ]
    notes = []
    if alike > 0.2:
        notes.append(f"neighbouring readings are alike ({lag:.2f}): the noise is not white")
    if not white:
        notes.append("the reading never changed: a quantum larger than the noise, or a dead sensor")
    curve = FitCurve(
        f"{element} at rest", "time, s", f"reading, {unit}", time_s, values, values - left
    )
    return Diagnosis("noise", element, tuple(rows), (curve,), count, white, white, tuple(notes))


def quantum_of(values: np.ndarray) -> float:
    """Returns the step of which all differences of (T,) values are multiples; 0 where none shows.

    It takes the least difference that occurs, and asks whether the others are its multiples within
    a hundredth; float32 readings are told from coarse ones by a least of 1e-6 of their size.
    """
    levels = np.unique(np.round(values, 12))
    if len(levels) < 2:
        return 0.0
    gaps = np.diff(levels)
    least = float(gaps.min())
    near = gaps[gaps < 1.5 * least]
    step = float(near.mean())
    share = gaps / step
    size = max(float(np.max(np.abs(values))), 1e-12)
    if step < 1e-6 * size or float(np.max(np.abs(share - np.round(share)))) > 0.02:
        return 0.0
    return step if len(levels) < 0.5 * len(values) else 0.0


def rounded_noise(values: np.ndarray, quantum: float, unit: str) -> IntervalEstimate:
    """Returns the deviation of Gaussian noise behind values (T,) that are rounded to a quantum."""
    counts = np.round((values - np.median(values)) / quantum).astype(int)
    levels, often = np.unique(counts, return_counts=True)
    best = np.full(len(DEVIATIONS), -np.inf)
    for i, deviation in enumerate(DEVIATIONS):
        edges = (levels[:, None] + np.array([-0.5, 0.5]))[..., None] - SHIFTS
        shares = np.diff(_normal(edges / deviation), axis=1)[:, 0]
        best[i] = np.max(often @ np.log(np.maximum(shares, 1e-300)))
    top = int(np.argmax(best))
    inside = np.flatnonzero(best >= best[top] - FALL)
    low = 0.0 if inside[0] == 0 else quantum * DEVIATIONS[inside[0]]
    high = quantum * DEVIATIONS[inside[-1]]
    return IntervalEstimate("sensor.noise", quantum * float(DEVIATIONS[top]), low, high, unit)


def _normal(x: np.ndarray) -> np.ndarray:
    """Returns the normal distribution function of an array."""
    return 0.5 * (1 + np.vectorize(math.erf)(x / math.sqrt(2)))
