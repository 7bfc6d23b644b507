"""How far a fit to pictures may be off: a sandwich covariance over pictures and over places.

Neighbouring pixels err together, all pixels of a picture share its joint readings, and what does
not move (an edge of the table, a thing that the model lacks) errs alike in all pictures. The scores
are therefore summed over clusters of two kinds, the pictures and the blocks of the picture's plane
through all pictures, and both add (an upper bound of Cameron, Gelbach and Miller 2011, equation
2.11, which takes away what both share):

    V = H^-1 (sum_m s_m s_m' + sum_b s_b s_b' + sum_b g_b g_b' + P SCALE^2) H^-1,   H = J'WJ + P

with P the prior's part, so that what the pictures do not see keeps its prior. The g_b are the
scores of what no residual shows, an edge that lies somewhere else than the model has it (a table
that is not quite the drawn one, joint zeros, a lens, a grid of pixels without antialiasing): each
block of the picture, right and down, moved by `SHIFT_PX` in all pictures alike. That number was
measured, as a conformal prediction does (Vovk, Gammerman and Shafer 2005, chapter 2): it is the
least of 0.5, 0.7 and 1 px with which the intervals of eight simulated cameras of reach, combined
with the table (`with_prior`), held all seven rows (largest |error| / half an interval: 0.96; 1.27
with 0.5 px). A ninth camera of the same kind then has a row outside in one of nine cases at most.
benchmarks/camera.py says which cameras, and judges others.
"""

from dataclasses import dataclass

import numpy as np
from scipy import stats

from mjx_s2r.params import ParamSpace
from mjx_s2r.transfer.camera.fit import PRIOR_STDS, SCALE, to_units, to_values
from mjx_s2r.transfer.posterior import Posterior

SHIFT_PX = 0.7  # px by which an edge may lie elsewhere than the model has it
BLOCKS = 4  # along each side of the picture
SEEN = 0.6  # of the prior's deviation: rows left wider were not seen
TIED = 0.95  # correlation above which rows are only seen together


def picture_covariance(
    jacobian: np.ndarray,
    residual: np.ndarray,
    weights: np.ndarray,
    pictures: np.ndarray | None = None,
    height_px: float = 0.0,
) -> np.ndarray:
    """Returns the covariance (D, D) of unit coordinates.

    Args:
        jacobian: (M, h, w, C, D) of the residual.
        residual: (M, h, w, C).
        weights: (M, h, w) of the robust cost.
        pictures: (M, h, w, 3) the blurred pictures, by which edges are moved; None moves none.
        height_px: of the pictures before they were blurred, px.
    """
    count, height, _, _, size = jacobian.shape
    scores = np.einsum("mhw,mhwc,mhwcd->mhwd", weights, residual, jacobian, optimize=True)
    prior = (SCALE * PRIOR_STDS) ** 2 * np.eye(size)
    flat = (np.sqrt(weights)[..., None, None] * jacobian).reshape(-1, size).astype(float)
    inverse = np.linalg.inv(flat.T @ flat + prior)
    by_picture = scores.sum((1, 2))
    meat = count / (count - 1) * by_picture.T @ by_picture
    meat += _of_blocks(scores.sum(0))
    if pictures is not None:
        for axis in (1, 2):
            slope = np.gradient(pictures, axis=axis) * (SHIFT_PX * height / height_px)
            moved = np.einsum(
                "mhw,mhwc,mhwcd->hwd", weights, slope, jacobian[..., :3, :], optimize=True
            )
            meat += _of_blocks(moved)
    return inverse @ (meat + SCALE**2 * prior) @ inverse


def _of_blocks(scores: np.ndarray) -> np.ndarray:
    """Returns (D, D) the sum over blocks of the outer products of their sums of (h, w, D)."""
    height, width, size = scores.shape
    rows, columns = (np.minimum(np.arange(n) * BLOCKS // n, BLOCKS - 1) for n in (height, width))
    by_block = np.zeros((BLOCKS, BLOCKS, size))
    np.add.at(by_block, (rows[:, None], columns[None]), scores)
    blocks = by_block.reshape(-1, size)
    return blocks.T @ blocks


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


def with_prior(found: RowEstimate, table: ParamSpace) -> RowEstimate:
    """Returns an estimate combined with what the table says of its rows.

    Both are Gaussian: the pictures' with the sandwich covariance V (Mueller 2013, "Risk of Bayesian
    inference in misspecified models, and the sandwich covariance matrix"), the table's with the
    nominal value m and the larger distance to a hard limit as its deviation, P = diag(1 / std^2):

        C = (V^-1 + P)^-1        u = C (V^-1 u + P m)

    so that values that the pictures cannot tell from others move to the likely ones.

    Args:
        found: of the pictures.
        table: the task's; a row that it lacks or fixes has half of its limits as two deviations.
    """
    space, names = found.space, table.names
    middle = to_units(space, space.nominal)
    std = np.full(len(space), 1 / PRIOR_STDS)
    for i, row in enumerate(space.rows):
        if row.name in names:
            ends = np.array(table.rows[table.index(row.name)].limits)
            far = np.abs(ends - row.nominal).max() / (row.limits[1] - row.limits[0]) * 2
            std[i] = far or std[i]
    said = np.linalg.inv(found.covariance)
    covariance = np.linalg.inv(said + np.diag(std**-2))
    u = covariance @ (said @ found.u + middle / std**2)
    return RowEstimate(space, np.clip(u, -1, 1), covariance)


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
