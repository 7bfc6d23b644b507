"""Drop and slide of a body, from positions that something else has measured: a camera, a table.

Between two impacts a body flies on a parabola. Where the parabolas before and after an impact
meet, the speed after it is e times the speed before (Newton's restitution); for a fixed floor this
is also the ratio of two neighbouring times between impacts. On a level floor a body that slides
slows down by mu g (Coulomb).
"""

import csv
import math
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np

from mjx_s2r.robot.diagnose.estimate import (
    Diagnosis,
    DiagnosisError,
    FitCurve,
    from_deviation,
)
from mjx_s2r.robot.diagnose.fit import jackknife

GRAVITY = 9.81  # m/s^2
LEAST_ARC = 5  # readings between two impacts
LEAST_IMPACTS = 3
BLOCKS = 8  # of one slide, left out in turn
SLIDING = 0.97  # of its way, after which a body is called at rest


def read_body(path: Path, column: str) -> list[tuple[np.ndarray, np.ndarray]]:
    """Returns the (N,) times, s, and (N,) positions, m, of every trial of a CSV file.

    Its columns are "time_s", the named one, and "trial" where there are several.

    Raises:
        DiagnosisError: a missing file or column, a value that is no number, times that do not rise.
    """
    try:
        with path.open(newline="") as file:
            rows = list(csv.DictReader(file))
    except OSError as error:
        raise DiagnosisError(f"{path} cannot be read: {error.strerror or error}") from error
    known = list(rows[0]) if rows else []
    for name in ("time_s", column):
        if name not in known:
            raise DiagnosisError(f"{path} has no column {name!r}; it has {known}")
    trials: dict[str, list[tuple[float, float]]] = {}
    for number, row in enumerate(rows, 2):
        try:
            pair = float(row["time_s"]), float(row[column])
        except (TypeError, ValueError) as error:
            raise DiagnosisError(f"{path}, line {number}: {error}") from error
        trials.setdefault(row.get("trial") or "", []).append(pair)
    found = [tuple(np.array(pairs).T) for pairs in trials.values()]
    for time_s, _ in found:
        if len(time_s) < 2 * LEAST_ARC or not (np.diff(time_s) > 0).all():
            raise DiagnosisError(
                f"{path}: a trial needs {2 * LEAST_ARC} rows whose time_s rises, and has "
                f"{len(time_s)}"
            )
    return [(t, x) for t, x in found]


def drop(body: str, trials: Sequence[tuple[np.ndarray, np.ndarray]]) -> Diagnosis:
    """Returns the restitution of a body that falls and bounces; heights in m, upwards.

    Raises:
        DiagnosisError: fewer than three impacts with enough readings on both sides.
    """
    pairs, falls, curve = [], [], None
    for time_s, height in trials:
        arcs = _arcs(time_s, height)
        fits = [np.polynomial.polynomial.polyfit(time_s[a:b], height[a:b], 2) for a, b in arcs]
        falls += [(-2 * f[2], (b - a) ** 5) for (a, b), f in zip(arcs, fits, strict=True)]
        for (_, end), before, after in zip(arcs[:-1], fits[:-1], fits[1:], strict=True):
            speeds = _impact(before, after, float(time_s[end]))
            if speeds is not None:
                pairs.append(speeds)
        curve = curve or _bounces(body, time_s, height, arcs, fits)
    if len(pairs) < LEAST_IMPACTS or curve is None:
        raise DiagnosisError(
            f"{body!r}: {len(pairs)} impacts with {LEAST_ARC} readings on both sides were found, "
            f"{LEAST_IMPACTS} are needed; take positions more often, or drop it from higher"
        )
    down, up = np.array(pairs).T
    value, deviation = _weighted(up / down, down**2)
    row = from_deviation("model.geom_restitution", value, deviation, len(pairs), "1", 0.0)
    pull, unsure = _weighted(*np.array(falls).T)
    fall = from_deviation("gravity", pull, unsure, len(falls), "m/s^2")
    limits = ["restitution depends on the speed of the impact; these were "
              f"{down.min():.2g} to {down.max():.2g} m/s"]  # fmt: skip
    if not 0.95 * GRAVITY < fall.value < 1.05 * GRAVITY:
        limits.append(
            f"the body falls with {fall.value:.3g} m/s^2 instead of {GRAVITY}: look at the unit of "
            "the heights, the clock, or the drag of the air"
        )
    return Diagnosis("drop", body, (row, fall), (curve,), len(pairs), limits=tuple(limits))


def _weighted(values: np.ndarray, weights: np.ndarray) -> tuple[float, float]:
    """Returns the weighted mean of (N,) values and its standard deviation.

    The weights are the inverse variances that equal noise of the positions gives: of a speed's
    ratio the square of the speed, of a parabola's bend the fifth power of its readings.
    """
    share = weights / np.sum(weights)
    mean = float(share @ values)
    spread = float(np.sum(share**2 * (values - mean) ** 2)) * len(values) / (len(values) - 1)
    return mean, math.sqrt(spread)


def _arcs(time_s: np.ndarray, height: np.ndarray) -> list[tuple[int, int]]:
    """Returns (first, past the last) reading of each flight between impacts.

    An impact is where the speed jumps upwards by more than a few readings of gravity.
    """
    speed = np.diff(height) / np.diff(time_s)
    jump = np.diff(speed)
    threshold = max(4 * GRAVITY * float(np.median(np.diff(time_s))), 0.15 * float(np.max(jump)))
    hits = (np.flatnonzero((jump > threshold) & (speed[:-1] < 0)) + 1).tolist()
    merged = [h for n, h in enumerate(hits) if n == 0 or h - hits[n - 1] > 1]
    edges = [0, *merged]  # the flight that the readings end in may hold small bounces
    found = []
    for a, b in pairwise(edges):
        first = a + 1 if a == 0 else a + 2
        if b - 1 - first < LEAST_ARC:
            break  # the bounces have become too short to be seen
        found.append((first, b - 1))
    return found


def _impact(before: np.ndarray, after: np.ndarray, near_s: float) -> tuple[float, float] | None:
    """Returns the speeds down before and up after the impact of two parabolas; None without one."""
    roots = np.roots((after - before)[::-1])
    real = roots[np.abs(roots.imag) < 1e-9].real
    if not len(real):
        return None
    at = float(real[np.argmin(np.abs(real - near_s))])
    down, up = -(before[1] + 2 * before[2] * at), after[1] + 2 * after[2] * at
    return (float(down), float(up)) if down > 0 and up > 0 else None


def _bounces(
    body: str,
    time_s: np.ndarray,
    height: np.ndarray,
    arcs: list[tuple[int, int]],
    fits: list[np.ndarray],
) -> FitCurve:
    """Returns the chart of the heights and their parabolas."""
    fitted = np.full(len(time_s), np.nan)
    for (a, b), fit in zip(arcs, fits, strict=True):
        fitted[a:b] = np.polynomial.polynomial.polyval(time_s[a:b], fit)
    return FitCurve(
        f"{body}: flights between impacts", "time, s", "height, m", time_s, height, fitted
    )


def slide(body: str, trials: Sequence[tuple[np.ndarray, np.ndarray]]) -> Diagnosis:
    """Returns the sliding friction of a body that slows down on a level floor; positions in m.

    Raises:
        DiagnosisError: a body that hardly slides, or is not slowed down.
    """
    slowing, spread, curve = [], 0.0, None
    for time_s, position in trials:
        way = (position - position[0]) * math.copysign(1.0, position[-1] - position[0])
        last = int(np.argmax(way >= SLIDING * way[-1])) + 1
        if last < 2 * BLOCKS:
            raise DiagnosisError(
                f"{body!r} slides for {last} readings only, {2 * BLOCKS} are needed; push it "
                "harder, or take positions more often"
            )
        at = time_s[:last] - time_s[0]
        fit = np.polynomial.polynomial.polyfit(at, way[:last], 2)
        slowing.append(-2 * float(fit[2]))
        spread = _block_spread(at, way[:last], fit)
        fitted = np.full(len(way), np.nan)
        fitted[:last] = np.polynomial.polynomial.polyval(at, fit)
        curve = curve or FitCurve(
            f"{body}: slide", "time, s", "way, m", time_s - time_s[0], way, fitted
        )
    several = len(slowing) >= LEAST_IMPACTS
    count = len(slowing) if several else BLOCKS
    if several:
        spread = float(np.std(slowing, ddof=1)) / math.sqrt(len(slowing))
    value = float(np.mean(slowing)) / GRAVITY
    if not value > 0 or curve is None:
        raise DiagnosisError(
            f"{body!r} is not slowed down ({-value * GRAVITY:.3g} m/s^2 faster); is it level?"
        )
    row = from_deviation("model.geom_friction", value, spread / GRAVITY, count, "1", 0.0)
    limits = ["the floor is taken as level: a slope of 1 degree is an error of 0.017"]
    if not several:
        limits.append("one slide shows the readings' noise alone; slides differ, make some more")
    return Diagnosis("slide", body, (row,), (curve,), len(slowing), limits=tuple(limits))


def _block_spread(at: np.ndarray, way: np.ndarray, fit: np.ndarray) -> float:
    """Returns the standard deviation of the deceleration when blocks of readings are left out."""
    wide = len(at) // BLOCKS
    index = np.arange(wide * BLOCKS).reshape(BLOCKS, wide)
    table = np.stack([at**0, at, at**2], axis=-1)[index]
    left = (way - np.polynomial.polynomial.polyval(at, fit))[index]
    return 2 * math.sqrt(float(jackknife(table, left)[2, 2]))
