"""Numbers of one signal: the step of its quantization, its noise, how far and when it moves."""

from collections.abc import Sequence

import numpy as np

MOST_LEVELS = 4000  # distinct values that are looked at
MULTIPLES = 0.98  # share of the differences that must be whole multiples of the step
OFF = 0.05  # of a step, how far a multiple may be off
ORDERS = (2, 3, 4)
LEAST_CHANGES = 8


def _quantum(signals: Sequence[np.ndarray]) -> float:
    """Returns the step of which all differences between values are multiples; 0 for none.

    The smallest difference between two values is the first guess, or a half or a third of it. It is
    then fitted to ever larger differences, whose multiples must come out whole.

    Args:
        signals: (T,) of the same channel, one of each recording.
    """
    values = np.concatenate([x[np.isfinite(x)] for x in signals]) if signals else np.empty(0)
    if not values.size:
        return 0.0
    levels = np.unique(values)
    tiny = 1e-9 * max(float(np.abs(levels).max()), 1e-12)
    levels = levels[np.append(True, np.diff(levels) > tiny)]
    if len(levels) < 3:
        return float(levels[1] - levels[0]) if len(levels) == 2 else 0.0
    if len(levels) > MOST_LEVELS:
        levels = levels[np.linspace(0, len(levels) - 1, MOST_LEVELS).astype(int)]
    gaps = np.diff(levels)
    smallest = np.sort(gaps)[:5]
    for divisor in (1, 2, 3):
        step = _fitted_step(levels - levels[0], float(smallest[0]) / divisor)
        if step and len(levels) > 0.02 * (levels[-1] - levels[0]) / step:
            return step
    return 0.0


def usual_quantum(signals: Sequence[np.ndarray]) -> float:
    """Returns the step of all recordings or, where they differ, the median of each one's."""
    step = _quantum(signals)
    if step or len(signals) < 2:
        return step
    steps = np.array([_quantum([x]) for x in signals])
    return float(np.median(steps[steps > 0])) if (steps > 0).mean() > 0.5 else 0.0


def _fitted_step(above: np.ndarray, guess: float) -> float:
    """Returns the step near a guess of which values are multiples; 0 where they are none.

    Args:
        above: (L,) rising, from 0.
        guess: of the step.
    """
    reach = 20.0 * guess
    while True:
        near = above[above <= reach]
        counts = np.round(near / guess)
        if counts.any():
            guess = float((counts * near).sum() / (counts * counts).sum())
        if reach >= above[-1]:
            break
        reach *= 4
    off = np.abs(above / guess - np.round(above / guess))
    return guess if np.mean(off <= OFF) >= MULTIPLES else 0.0


def noise_deviation(signals: Sequence[np.ndarray], step: float) -> float:
    """Returns the deviation of a channel's noise, from what is left of high differences.

    The n-th difference of noise of deviation s has deviation s sqrt(C(2n, n)), that of a smooth
    motion next to none. The least over several n is taken, of the 68th percentile, which a few
    jumps do not move. It is at least that of rounding, step / sqrt(12) (Widrow and Kollar, 2008).

    Args:
        signals: (T,) of the same channel, one of each recording.
        step: of its quantization, 0 for none.
    """
    found = [step / np.sqrt(12)]
    estimates = []
    for order in ORDERS:
        parts = [np.abs(_differences(x, order)) for x in signals if len(x) > order]
        rest = np.concatenate(parts) if parts else np.empty(0)
        rest = rest[np.isfinite(rest)]
        if rest.size >= LEAST_CHANGES:
            scale = np.sqrt(float(_central_binomial(order)))
            estimates.append(float(np.percentile(rest, 68.27)) / scale)
    if estimates:
        found.append(min(estimates))
    return float(max(found))


def _differences(values: np.ndarray, order: int) -> np.ndarray:
    """Returns the differences of an order, NaN where the signal does not change at all."""
    still = np.ones(len(values) - order, bool)
    for k in range(order):
        still &= values[k : len(values) - order + k] == values[k + 1 : len(values) - order + k + 1]
    return np.where(still, np.nan, np.diff(values, order))


def _central_binomial(n: int) -> int:
    """Returns C(2n, n), the sum of the squares of the n-th difference's coefficients."""
    out = 1
    for k in range(1, n + 1):
        out = out * (n + k) // k
    return out


def spread_of(signals: Sequence[np.ndarray]) -> float:
    """Returns the distance between the 2nd and 98th percentile of what is finite; 0 for nothing."""
    known = np.concatenate([x[np.isfinite(x)] for x in signals]) if signals else np.empty(0)
    return float(np.subtract(*np.percentile(known, [98, 2]))) if known.size > 1 else 0.0


def runs_of(mask: np.ndarray) -> list[tuple[int, int]]:
    """Returns (start, stop) of each run of True."""
    edges = np.flatnonzero(np.diff(np.concatenate(([0], mask.astype(int), [0]))))
    return [(int(a), int(b)) for a, b in zip(edges[::2], edges[1::2], strict=True)]


def reversals(values: np.ndarray, least: float) -> int:
    """Returns how often a signal turns around by at least ``least`` before it turns again."""
    count, direction = 0, 0
    known = values[np.isfinite(values)]
    if not known.size:
        return 0
    low = high = known[0]
    for x in known:
        low, high = min(low, x), max(high, x)
        if direction >= 0 and x < high - least:
            count += direction > 0
            direction, low = -1, x
            high = x
        elif direction <= 0 and x > low + least:
            count += direction < 0
            direction, high = 1, x
            low = x
    return int(count)
