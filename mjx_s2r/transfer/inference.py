"""From a fit to a posterior: samples and intervals of the rows about their best values.

The limits are the prior, uniform in the rows' laws; the logs are a normal law about the best values
with the covariance of `mjx_s2r.transfer.intervals`, flat in directions that they do not see. A row
that is not seen therefore keeps its limits as interval, and rows that are only seen together are
sampled along the ridge that the logs leave between the limits.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from mjx_s2r.transfer import identifiability
from mjx_s2r.transfer.information import Information, fitted_noise, information_of
from mjx_s2r.transfer.intervals import CONFIDENCE, NORMAL, STEP, Uncertainty, uncertainty_of
from mjx_s2r.transfer.linearization import Linearization
from mjx_s2r.transfer.noise import Noise
from mjx_s2r.transfer.posterior import Posterior
from mjx_s2r.transfer.truncated import truncated_normal
from mjx_s2r.transfer.unit_coordinates import values_at

AT_BOUND = 1e-3  # of the limits: a best value so near to one lies at it
FLAT = 0.9  # share of the limits' deviation from which a row's samples say nothing new
WIDE = 0.2  # of the limits: a deviation from which they shape an interval
TAIL = 0.05  # of the limits: samples that come so near to one reach it


def posterior_of(
    linearization: Linearization,
    *,
    task: str = "",
    logs: Sequence[str] = (),
    noise: Noise | None = None,
    quantum: Sequence[float] | np.ndarray | None = None,
    held_out: Linearization | None = None,
    count: int = 1000,
    seed: int = 0,
) -> Posterior:
    """Returns the posterior of the rows about a fit.

    The best values make one last linear step under the estimated noise; where a fit had converged
    under other weights that is the step to the better weights (Le Cam's one-step estimate).

    Args:
        linearization: at the best values, of the windows that were fitted.
        task: name of the task or of the model's file.
        logs: names of the recordings.
        noise: of the readings; None: estimated from what the fit leaves.
        quantum: (C,) steps of the readings, for the estimate of the noise.
        held_out: of windows that were not fitted, at the same values; where their misfit is larger
            than that of the fitted ones, all deviations grow by the root of the ratio.
        count: how many samples.
        seed: of samples and bootstrap.
    """
    lin = linearization
    noise = fitted_noise(lin, quantum) if noise is None else noise
    found = information_of(lin, noise)
    step = found.step(-lin.z, 1 - lin.z)
    fitted = found.moved(step)
    inflation = 1.0 if held_out is None else _inflation(fitted, held_out, noise, step)
    law = uncertainty_of(fitted, step, inflation, seed)
    best = np.clip(lin.z + step, 0.0, 1.0)
    rng = np.random.default_rng(seed)
    samples = truncated_normal(best, law.precision, count, rng)
    seen = identifiability.check([replace(lin, z=best)], noise)
    tied = {name for group in seen.groups for name in group.rows}
    flat = np.std(samples, 0) > FLAT / identifiability.PRIOR**0.5
    names = lin.space.names
    unseen = tuple(n for n, f in zip(names, flat, strict=True) if f and n not in tied)
    hidden = np.array([n in unseen for n in names])
    interval = np.where(hidden[:, None], (0.0, 1.0), _interval(best, law, samples))
    near = np.minimum(best, 1 - best) < AT_BOUND
    return Posterior(
        space=lin.space,
        best=values_at(lin.space, best),
        samples=values_at(lin.space, samples),
        interval=values_at(lin.space, interval.T).T,
        unseen=unseen,
        at_bound=tuple(n for n, b, h in zip(names, near, hidden, strict=True) if b and not h),
        groups=tuple(group.rows for group in seen.groups),
        correlation=_correlation(samples),
        logs=tuple(logs),
        task=task,
        notes=(
            *(group.words for group in seen.groups),
            *_doubts(law, inflation),
        ),
    )


def _inflation(
    fitted: Information, held_out: Linearization, noise: Noise, step: np.ndarray
) -> float:
    """Returns the root of the held-out over the fitted square residual, at least 1."""
    apart = information_of(held_out, noise).moved(step)
    return max(1.0, (apart.typical_misfit() / max(fitted.typical_misfit(), 1e-300)) ** 0.5)


def _interval(best: np.ndarray, law: Uncertainty, samples: np.ndarray) -> np.ndarray:
    """Returns (D, 2) the 95 % interval of each row.

    It is that of the normal law, cut off at the limits, where its deviation is small beside them.
    Where the limits of this or another row shape it, it is that of the samples; an end that comes
    near a limit is the limit, since a truth may lie on it.
    """
    half = NORMAL * law.deviation()
    normal = np.stack([np.clip(best - half, 0, 1), np.clip(best + half, 0, 1)], 1)
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(samples, (tail, 1 - tail), axis=0)
    drawn = np.stack([np.where(low < TAIL, 0.0, low), np.where(high > 1 - TAIL, 1.0, high)], 1)
    drawn = np.stack([np.minimum(drawn[:, 0], best), np.maximum(drawn[:, 1], best)], 1)
    return np.where((law.deviation() < WIDE)[:, None], normal, drawn)


def _correlation(samples: np.ndarray) -> np.ndarray:
    """Returns (D, D) the correlation of samples (M, D); zero beside a row that is constant."""
    away = samples - samples.mean(0)
    size = np.sqrt((away**2).sum(0))
    unit = away / np.where(size > 0, size, 1.0)
    out = unit.T @ unit
    np.fill_diagonal(out, 1.0)
    return np.asarray(out)


def _doubts(law: Uncertainty, inflation: float) -> tuple[str, ...]:
    """Returns what makes the intervals doubtful, a sentence each."""
    found = []
    if STEP in law.widest:
        found.append(
            "the best values under white noise and under the noise that was estimated lie further "
            "apart than chance allows, and intervals are widened by that: the model is wrong in a "
            "way that lasts, or the fit had not converged"
        )
    if inflation > 1:
        found.append(
            f"intervals are {inflation:.2f} times as wide as those of the fitted windows, since "
            "held-out windows are explained so much worse"
        )
    return tuple(found)
