"""How far a fit to pictures may be off: a sandwich covariance over pictures and over places.

Neighbouring pixels err together, all pixels of a picture share its joint readings, and what does
not move (an edge of the table, a thing that the model lacks) errs alike in all pictures. The scores
are therefore summed over clusters of two kinds, the pictures and the blocks of the picture's plane
through all pictures, and both add (an upper bound of Cameron, Gelbach and Miller 2011, equation
2.11, which takes away what both share):

    V = H^-1 (sum_m s_m s_m' + sum_b s_b s_b' + P SCALE^2) H^-1,        H = J'WJ + P

with P the prior's part, so that what the pictures do not see keeps its prior.
"""

from dataclasses import dataclass

import numpy as np
from scipy import stats

from mjx_s2r.params import ParamSpace
from mjx_s2r.transfer.camera.fit import PRIOR_STDS, SCALE, to_values
from mjx_s2r.transfer.posterior import Posterior

BLOCKS = 8  # blocks along each side of the picture
SEEN = 0.6  # of the prior's deviation: rows left wider were not seen
TIED = 0.95  # correlation above which rows are only seen together


def picture_covariance(
    jacobian: np.ndarray, residual: np.ndarray, weights: np.ndarray
) -> np.ndarray:
    """Returns the covariance (D, D) of unit coordinates.

    Args:
        jacobian: (M, h, w, 3, D) of the residual.
        residual: (M, h, w, 3).
        weights: (M, h, w) of the robust cost.
    """
    count, height, width, _, size = jacobian.shape
    scores = np.einsum("mhw,mhwc,mhwcd->mhwd", weights, residual, jacobian, optimize=True)
    prior = (SCALE * PRIOR_STDS) ** 2 * np.eye(size)
    flat = (np.sqrt(weights)[..., None, None] * jacobian).reshape(-1, size).astype(float)
    inverse = np.linalg.inv(flat.T @ flat + prior)
    by_picture = scores.sum((1, 2))
    rows, columns = (np.minimum(np.arange(n) * BLOCKS // n, BLOCKS - 1) for n in (height, width))
    by_block = np.zeros((BLOCKS, BLOCKS, size))
    np.add.at(by_block, (rows[:, None], columns[None]), scores.sum(0))
    by_block = by_block.reshape(-1, size)
    meat = count / (count - 1) * by_picture.T @ by_picture + by_block.T @ by_block
    return inverse @ (meat + SCALE**2 * prior) @ inverse


@dataclass(frozen=True, eq=False)
class RowEstimate:
    """Rows with values and their covariance, in unit coordinates.

    Attributes:
        space: D rows.
        u: (D,) unit coordinates of the best values.
        covariance: (D, D) of them.
    """

    space: ParamSpace
    u: np.ndarray
    covariance: np.ndarray


def joint_posterior(
    parts: tuple[RowEstimate, ...],
    freedom: int,
    *,
    logs: tuple[str, ...],
    task: str,
    notes: tuple[str, ...],
    count: int = 2000,
    seed: int = 0,
) -> Posterior:
    """Returns the posterior of estimates that are independent of each other.

    Samples are Student's t with the degrees of freedom of the pictures, cut off at the limits.

    Args:
        parts: the estimates.
        freedom: degrees of freedom.
        logs: what was read.
        task: its name.
        notes: what a reader must know.
        count: number of samples.
        seed: of the samples.
    """
    rng = np.random.default_rng(seed)
    space = ParamSpace(tuple(row for part in parts for row in part.space.rows))
    best = np.concatenate([to_values(part.space, part.u) for part in parts])
    samples, ends, unseen, groups = [], [], [], []
    for part in parts:
        std = np.sqrt(np.diag(part.covariance))
        normal = rng.multivariate_normal(np.zeros(len(std)), part.covariance, count, method="eigh")
        tails = np.sqrt(freedom / rng.chisquare(freedom, count))[:, None]
        samples.append(to_values(part.space, np.clip(part.u + normal * tails, -1, 1)))
        reach = stats.t.ppf(0.975, freedom) * std
        lost = std > SEEN / PRIOR_STDS
        low = np.where(lost, -1, np.maximum(part.u - reach, -1))
        high = np.where(lost, 1, np.minimum(part.u + reach, 1))
        ends.append(np.stack([to_values(part.space, low), to_values(part.space, high)], axis=1))
        unseen += [name for name, out in zip(part.space.names, lost, strict=True) if out]
        groups += _tied(part, std, lost)
    drawn = np.concatenate(samples, axis=1)
    u = np.concatenate([part.u for part in parts])
    return Posterior(
        space=space,
        best=best,
        samples=drawn,
        interval=np.concatenate(ends),
        unseen=tuple(unseen),
        at_bound=tuple(n for n, x in zip(space.names, u, strict=True) if abs(x) > 0.995),
        groups=tuple(groups),
        correlation=np.corrcoef(drawn, rowvar=False),
        logs=logs,
        task=task,
        notes=notes,
    )


def _tied(part: RowEstimate, std: np.ndarray, lost: np.ndarray) -> list[tuple[str, ...]]:
    """Returns the groups of rows that are strongly correlated."""
    linked = np.abs(part.covariance) > TIED * np.outer(std, std)
    linked &= ~(lost[:, None] | lost[None])
    groups: list[tuple[str, ...]] = []
    left = set(range(len(std)))
    while left:
        group, grown = {min(left)}, True
        while grown:
            more = {j for i in group for j in left if linked[i, j]} - group
            group, grown = group | more, bool(more)
        left -= group
        if len(group) > 1:
            groups.append(tuple(part.space.names[i] for i in sorted(group)))
    return groups
