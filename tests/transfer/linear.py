"""Logs of a system that is linear in its rows, so that everything about its fit is known."""

from dataclasses import dataclass

import numpy as np

from mjx_s2r.params import ParamSpace, scale
from mjx_s2r.transfer.linearization import Linearization

STEP_S = 0.01
CHANNELS = 2


@dataclass(frozen=True, eq=False)
class LinearLog:
    """W windows of K readings in two channels, the rows' true coordinates among them.

    Attributes:
        truth: (D,) true unit coordinates.
        fit: linearization at `at`.
    """

    truth: np.ndarray
    fit: Linearization


def linear_space(count: int) -> ParamSpace:
    """Returns a table of ``count`` rows between 0.5 and 2, even in the logarithm."""
    rows = (
        scale(f"row{i}", "model.body_mass", ("b",), (0.5, 2.0), law="log_uniform")
        for i in range(count)
    )
    return ParamSpace(tuple(rows))


def linear_log(
    effect: np.ndarray,
    rng: np.random.Generator,
    *,
    windows: int = 40,
    readings: int = 30,
    noise: float = 1.0,
    known_noise: float = 1.0,
    lasting_s: float = 0.0,
    shared: float = 0.0,
    gaps: float = 0.0,
    recordings: int = 4,
    truth: np.ndarray | None = None,
    begin: float | None = None,
) -> LinearLog:
    """Returns a log whose rows act by random patterns of each window, mixed by ``effect``.

    Args:
        effect: (D, D) how patterns act through rows: identity for independent rows; its rank is
            what can be seen.
        rng: where everything is drawn from.
        windows: W.
        readings: K.
        noise: deviation of the readings.
        known_noise: deviation that the linearization claims.
        lasting_s: time in which noise falls to 1/e; 0: white.
        shared: deviation of an error in each pattern that pairs of neighbouring windows share.
        gaps: share of the readings that are missing.
        recordings: R.
        truth: (D,) true coordinates; None draws them in the middle.
        begin: where all rows are linearized; None: at the truth, or the limit nearest to it.
    """
    count = len(effect)
    where = rng.uniform(0.3, 0.7, count) if truth is None else truth
    size = (windows, readings, CHANNELS)
    jacobian = rng.normal(size=(*size, count)) @ effect
    start_jacobian = np.stack(
        [np.ones(size), np.arange(readings)[None, :, None] * STEP_S * np.ones(size)], -1
    )
    start = rng.normal(size=(windows, 2))
    kept = np.exp(-STEP_S / lasting_s) if lasting_s else 0.0
    error = rng.normal(size=size)
    for k in range(1, readings):
        error[:, k] = kept * error[:, k - 1] + np.sqrt(1 - kept**2) * error[:, k]
    error = noise * error
    pairs = rng.normal(size=((windows + 1) // 2, count)).repeat(2, 0)[:windows]
    error += shared * np.einsum("wkcd,wd->wkc", jacobian, pairs)
    at = np.clip(where, 0.0, 1.0) if begin is None else np.full(count, begin)
    residual = jacobian @ (where - at) + np.einsum("wkcs,ws->wkc", start_jacobian, start) + error
    residual[rng.uniform(size=size) < gaps] = np.nan
    return LinearLog(
        where,
        Linearization(
            space=linear_space(count),
            z=at,
            residual=residual,
            jacobian=jacobian,
            start_jacobian=start_jacobian,
            start_std=np.ones(2),
            start_shift=np.zeros((windows, 2)),
            time_s=np.tile(np.arange(readings) * STEP_S, (windows, 1)),
            recording=np.arange(windows) * recordings // windows,
            noise_std=np.full(CHANNELS, known_noise),
        ),
    )
