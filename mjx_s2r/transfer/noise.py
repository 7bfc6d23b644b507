"""Noise of residuals: how large each channel's is, and how long it lasts.

The errors of a prediction in open loop are not independent: a sensor adds noise anew at each
reading, what the model leaves out lasts. A channel's residual is taken for the sum of both,

    cov(e(t), e(t + s)) = white^2 [s = 0] + drift^2 exp(-|s| / lasting_s),

an Ornstein-Uhlenbeck process (an AR(1) at equal steps) seen through white noise. The three numbers
come from the autocovariances of the residuals within windows: for each lasting on a grid the two
variances by least squares that are not negative, weighted by the number of pairs. What this form
misses, and what neighbouring windows share, is left to covariances clustered by window
(`mjx_s2r.transfer.intervals`).
"""

from dataclasses import dataclass

import numpy as np
from scipy.optimize import nnls

from mjx_s2r.transfer.linearization import Linearization

LAGS = 24  # autocovariances that a fit takes, evenly over the logarithm of the lag
SPAN = 0.5  # share of a window up to which lags are taken
GRID = 25  # lastings that are tried
TICKS = 100  # of a clock while noise falls to 1/e: windows whose ticks agree are whitened at once
LEAST = 1e-3  # white noise is at least this share of all: readings never determine each other


@dataclass(frozen=True, eq=False)
class Noise:
    """The noise of C channels.

    Attributes:
        white: (C,) deviation of what is drawn anew at each reading, in the channel's unit.
        drift: (C,) deviation of what lasts.
        lasting_s: (C,) time in which it falls to 1/e, s.
    """

    white: np.ndarray
    drift: np.ndarray
    lasting_s: np.ndarray

    @property
    def std(self) -> np.ndarray:
        """(C,) deviation of a single reading."""
        return np.hypot(self.white, self.drift)


def white_noise(std: np.ndarray) -> Noise:
    """Returns noise that is drawn anew at each reading, of deviation ``std`` (C,)."""
    return Noise(np.asarray(std, float), np.zeros(len(std)), np.ones(len(std)))


def estimate_noise(
    linearization: Linearization, residual: np.ndarray, fitted: float, quantum: np.ndarray
) -> Noise:
    """Returns the noise of residuals (W, K, C) that are left by a fit.

    Args:
        linearization: whose readings they are; a channel without any keeps its ``noise_std``.
        residual: what rows and start states leave.
        fitted: numbers that were fitted; the variances are enlarged by the readings they took.
        quantum: (C,) steps of the readings; a reading is at least so uncertain as its rounding,
            quantum / sqrt(12) (Widrow and Kollar 2008, Quantization Noise).
    """
    count = int(np.isfinite(residual).sum())
    spent = count / max(count - fitted, 0.2 * count, 1.0)
    rows = [
        _channel(linearization.time_s, residual[..., c], float(linearization.noise_std[c]))
        for c in range(residual.shape[-1])
    ]
    white, drift, lasting = np.array(rows).T.reshape(3, -1) * [[spent**0.5], [spent**0.5], [1.0]]
    return Noise(np.maximum(white, quantum / 12**0.5), drift, lasting)


def _channel(time_s: np.ndarray, residual: np.ndarray, known: float) -> tuple[float, float, float]:
    """Returns white, drift and lasting of one channel; time and residual are (W, K)."""
    time, left = _packed(time_s, residual)
    seen = np.isfinite(left)
    if not seen.any():
        return known, 0.0, 1.0
    total = float(np.nanmean(left**2))
    floor = max(total, 1e-30)
    most = int(SPAN * seen.sum(1).max())
    if most < 3:
        return floor**0.5, 0.0, 1.0
    lags = np.unique(np.geomspace(1, most, LAGS).astype(int))
    apart, found, pairs = np.array([_autocovariance(time, left, lag) for lag in lags]).T
    weight = np.sqrt(np.append(seen.sum(), pairs))
    target = np.append(total, found) * weight
    best = (np.inf, floor, 0.0, 1.0)
    for lasting in np.geomspace(apart[0] / 2, 2 * apart[-1], GRID):
        shape = np.append(1.0, np.exp(-apart / lasting))
        columns = np.stack([shape, np.eye(len(shape))[0]], 1) * weight[:, None]
        (slow, quick), cost = nnls(columns, target)
        if cost < best[0] * (1 - 1e-9):
            best = (cost, quick, slow, lasting)
    _, quick, slow, lasting = best
    if slow <= 0:
        return floor**0.5, 0.0, 1.0
    scaled = floor / (quick + slow)  # so that their sum is what was measured
    return max(quick * scaled, LEAST * floor) ** 0.5, (slow * scaled) ** 0.5, float(lasting)


def _packed(time_s: np.ndarray, residual: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns times and residuals (W, K) with what was read in front of each window."""
    order = np.argsort(~np.isfinite(residual), axis=1, kind="stable")
    return np.take_along_axis(time_s, order, 1), np.take_along_axis(residual, order, 1)


def _autocovariance(time: np.ndarray, left: np.ndarray, lag: int) -> tuple[float, float, float]:
    """Returns the mean time between readings ``lag`` apart, their mean product, and how many."""
    product = left[:, lag:] * left[:, :-lag]
    both = np.isfinite(product)
    count = max(int(both.sum()), 1)
    apart = np.where(both, time[:, lag:] - time[:, :-lag], 0.0).sum() / count
    return float(apart), float(np.where(both, product, 0.0).sum() / count), float(count)


def whiten(
    noise: Noise, channel: int, time_s: np.ndarray, seen: np.ndarray, columns: np.ndarray
) -> np.ndarray:
    """Returns columns (W, K, N) of one channel with the noise made white and of deviation 1.

    Each window is multiplied by the inverse of the Cholesky factor of its readings' covariance.

    Args:
        noise: of all channels.
        channel: number of this one.
        time_s: (W, K) time of the readings, s.
        seen: (W, K) where there is a reading; the others become zero.
        columns: what to whiten: residuals, derivatives.
    """
    kept = np.where(seen[..., None], columns, 0.0)
    if noise.drift[channel] == 0:
        return np.asarray(kept / noise.white[channel])
    tick = noise.lasting_s[channel] / TICKS
    clock = np.where(seen, np.round(np.where(seen, time_s, 0.0) / tick), -1.0)
    patterns, which = np.unique(clock, axis=0, return_inverse=True)
    out = np.zeros_like(kept)
    for k, pattern in enumerate(patterns):
        windows, rows = np.flatnonzero(which.reshape(-1) == k), np.flatnonzero(pattern >= 0)
        if not len(rows):
            continue
        apart = np.abs(pattern[rows, None] - pattern[rows]) / TICKS
        covariance = noise.drift[channel] ** 2 * np.exp(-apart)
        covariance += noise.white[channel] ** 2 * np.eye(len(rows))
        place = np.ix_(windows, rows)
        out[place] = np.linalg.inv(np.linalg.cholesky(covariance)) @ kept[place]
    return out
