"""Samples of a normal law between limits, flat in the directions of which nothing is known.

Where the limits cut off little, a draw of the normal law that lies between them is a sample. Else:
hit and run (Smith 1984, Operations Research 32): each chain moves along one line after another, to
a draw from the law on that line, a normal cut off where the line leaves the unit cube. The lines
are the rows themselves and the principal directions of the precision, so that a narrow ridge of
rows that are only seen together is walked along and not across. All chains move at once.
"""

import numpy as np
from scipy.special import log_ndtr, ndtri_exp

SWEEPS = 25  # of all lines, before the chains' places are the samples
SHARP = 1e-12  # share of the largest principal value above which a direction is not flat
TINY = 1e-9  # share of a line along a row below which it does not move it
LEAST_INSIDE = 0.3  # share of the normal law's draws between the limits, that they may be sifted
FAR = 6.0  # deviations from the mean at which an end no longer counts


def truncated_normal(
    centre: np.ndarray, precision: np.ndarray, count: int, rng: np.random.Generator
) -> np.ndarray:
    """Returns (count, D) draws in [0, 1] of exp(-1/2 (z - centre)' precision (z - centre)).

    Args:
        centre: (D,) inside the unit cube.
        precision: (D, D), not negative; zero across directions that are flat.
        count: how many.
        rng: where the draws come from.
    """
    size = len(centre)
    values, principal = np.linalg.eigh(precision)
    if values[0] > SHARP * values[-1]:
        sifted = _sifted(centre, principal / np.sqrt(values), count, rng)
        if sifted is not None:
            return sifted
    lines = np.concatenate([principal.T, np.eye(size)])
    curvature = np.einsum("ld,de,le->l", lines, precision, lines)
    with np.errstate(divide="ignore"):
        per = np.where(np.abs(lines) > TINY, 1 / lines, np.inf)
    z = np.tile(centre, (count, 1))
    for _ in range(SWEEPS):
        for k in rng.permutation(len(lines)):
            line, moving = lines[k], np.isfinite(per[k])
            down, up = -z[:, moving] * per[k, moving], (1 - z[:, moving]) * per[k, moving]
            low, high = np.minimum(down, up).max(1), np.maximum(down, up).min(1)
            slope = (centre - z) @ (precision @ line)
            step = _draw(slope, curvature[k], low, high, rng)
            z = np.clip(z + step[:, None] * line, 0.0, 1.0)
    return z


def _sifted(
    centre: np.ndarray, root: np.ndarray, count: int, rng: np.random.Generator
) -> np.ndarray | None:
    """Returns (count, D) draws of a normal law that lie in [0, 1]; None where these are few.

    Args:
        centre: (D,) of the law.
        root: (D, D) root of its covariance.
        count: how many.
        rng: where the draws come from.
    """
    drawn = centre + rng.standard_normal((int(count / LEAST_INSIDE), len(centre))) @ root.T
    inside = drawn[((drawn >= 0) & (drawn <= 1)).all(1)]
    return inside[:count] if len(inside) >= count else None


def _draw(
    slope: np.ndarray,
    curvature: float,
    low: np.ndarray,
    high: np.ndarray,
    rng: np.random.Generator,
) -> np.ndarray:
    """Returns draws (M,) in [low, high] of exp(slope x - curvature x^2 / 2)."""
    unit = rng.uniform(size=len(low))
    high = np.maximum(high, low)
    if curvature * np.max((high - low) ** 2, initial=0.0) < 1e-8:
        return np.asarray(low + (high - low) * unit)
    deviation = curvature**-0.5
    mean = slope / curvature
    a, b = (low - mean) / deviation, (high - mean) / deviation
    if a.max() < -FAR and b.min() > FAR:
        return np.asarray(mean + deviation * rng.standard_normal(len(low)))
    turned = a > 0  # work in the lower tail, where logarithms are exact
    a, b = np.where(turned, -b, a), np.where(turned, -a, b)
    below, above = log_ndtr(a), log_ndtr(b)
    share = np.log(unit + (1 - unit) * np.exp(below - above))
    score = ndtri_exp(np.minimum(above + share, 0.0))
    score = np.clip(np.where(turned, -score, score), *np.where(turned, (-b, -a), (a, b)))
    return np.asarray(mean + deviation * score)
