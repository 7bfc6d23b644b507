"""Adversarial search: the hardest worlds for a policy, and a ranking of the rows to blame.

The search is the cross-entropy method (Rubinstein 1999; De Boer et al. 2005, A Tutorial on the
Cross-Entropy Method) over the box of the limits in unit coordinates: draw from a Gaussian cut off
at the box, keep the worst share, fit the Gaussian to them, repeat. It needs scores only, so any
policy can be searched: ``score`` runs a batch of worlds.

Two measures say which rows matter:

    recovery  how much the score of the hardest worlds rises when this row alone is put back to its
              nominal value, averaged over them: the rows that failure needs
    share     of the variance of the scores over the whole box, that of the row's own conditional
              mean (Sobol 1993, first order, by tenths of the box): the rows that matter everywhere
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from mjx_s2r.curriculum.coordinates import from_unit, movable_rows, to_unit
from mjx_s2r.params import ParamError, ParamSpace

# (xi (N, D), key) -> (N,), lower is harder
Score = Callable[[jax.Array, jax.Array], jax.Array | np.ndarray]

BINS = 10
FLOOR = 0.02  # least deviation of the search, as a share of the limits


@dataclass(frozen=True)
class SearchConfig:
    """Settings of the search."""

    worlds: int = 128
    """Worlds per generation."""
    generations: int = 8
    """Generations; the first is uniform over the limits."""
    elite: float = 0.15
    """Share of the worlds that the next generation is fitted to."""
    keep: float = 0.3
    """Weight of the old mean and deviation in the fit."""
    hardest: int = 8
    """How many worlds are returned."""

    def __post_init__(self) -> None:
        """Checks the settings.

        Raises:
            ParamError: a setting outside its range.
        """
        if not 0 < self.elite < 1 or not 0 <= self.keep < 1:
            raise ParamError(
                f"search: elite {self.elite} must lie in (0, 1) and keep {self.keep} in [0, 1)"
            )
        if self.generations < 1 or not 1 <= self.hardest <= self.worlds:
            raise ParamError(
                f"search: generations {self.generations} must be >= 1, hardest {self.hardest} in "
                f"1..worlds {self.worlds}"
            )
        if self.elite * self.worlds < 2:
            raise ParamError(
                f"search: elite {self.elite} of {self.worlds} worlds is fewer than 2; raise either"
            )


class Hardest(NamedTuple):
    """Result of an adversarial search.

    Attributes:
        xi: (K, D) the hardest worlds, hardest first.
        score: (K,) their scores, measured again with fresh random numbers.
        recovery: (D,) gain of the score with the row put back to nominal; see the module.
        share: (D,) share of the score's variance over the box that the row alone explains.
        ranking: names of the searched rows, most critical first: by recovery, then by share.
        evaluations: how many worlds were run.
    """

    xi: np.ndarray
    score: np.ndarray
    recovery: np.ndarray
    share: np.ndarray
    ranking: tuple[str, ...]
    evaluations: int


def hardest(
    score: Score,
    space: ParamSpace,
    config: SearchConfig,
    active: np.ndarray | None = None,
    *,
    key: jax.Array,
) -> Hardest:
    """Returns the worlds of lowest ``score`` within the limits and the rows to blame.

    Rows that are not ``active`` (D,) stay nominal. A score that is not finite counts as the worst:
    as minus infinity in the search, as one below the lowest in the measures.

    Raises:
        ParamError: no row to search, or a score of another shape than one figure per world.
    """
    moves = movable_rows(space, active)
    if not moves.any():
        raise ParamError("search: no row has open limits; open some or name other rows")
    key_search, key_final = jax.random.split(key)
    xi, scores = _search(score, space, config, moves, key_search)
    order = np.argsort(scores, kind="stable")
    found, first = xi[order[: config.hardest]], slice(0, config.worlds)
    again, recovery = _blame(score, space, found, moves, key_final)
    unit = np.asarray(to_unit(space, jnp.asarray(xi[first])))
    share = first_order(unit, _tame(scores[first])) * moves
    rows = sorted(np.flatnonzero(moves), key=lambda i: (-recovery[i], -share[i]))
    by_score = np.argsort(again, kind="stable")
    return Hardest(
        xi=found[by_score],
        score=again[by_score],
        recovery=recovery,
        share=share,
        ranking=tuple(space.names[i] for i in rows),
        evaluations=len(scores) + len(found) * (1 + int(moves.sum())),
    )


def first_order(unit: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Returns (D,) first-order shares of the variance of ``scores`` (N,) at ``unit`` (N, D).

    The variance of the means of `BINS` equal bins per row, less what chance alone gives (the
    variance within the bins over their sizes), as a share of the whole; never below 0.
    """
    whole = scores.var()
    if whole == 0:
        return np.zeros(unit.shape[1])
    bins = np.minimum((unit * BINS).astype(int), BINS - 1)
    shares = np.zeros(unit.shape[1])
    for row in range(unit.shape[1]):
        member = bins[:, row][None] == np.arange(BINS)[:, None]
        count = member.sum(1)
        mean = member @ scores / np.maximum(count, 1)
        within = (scores - mean[bins[:, row]]) @ (scores - mean[bins[:, row]]) / len(scores)
        between = count @ (mean - scores.mean()) ** 2 / len(scores)
        chance = within * ((count > 0).sum() - 1) / max(len(scores) - (count > 0).sum(), 1)
        shares[row] = max(between - chance, 0.0) / whole
    return shares


def _search(
    score: Score, space: ParamSpace, config: SearchConfig, moves: np.ndarray, key: jax.Array
) -> tuple[np.ndarray, np.ndarray]:
    """Returns every world that was run, (E, D), and its score (E,)."""
    middle = np.full(len(space), 0.5)
    spread = np.full(len(space), np.inf)
    count = round(config.elite * config.worlds)
    all_xi, all_scores = [], []
    for generation in range(config.generations):
        key, key_draw, key_score = jax.random.split(key, 3)
        noise = np.asarray(jax.random.normal(key_draw, (config.worlds, len(space))))
        if generation == 0:
            unit = np.asarray(jax.random.uniform(key_draw, noise.shape))
        else:
            unit = np.clip(middle + spread * noise, 0.0, 1.0)
        xi = _values(space, unit, moves)
        scores = _run(score, xi, key_score)
        best = unit[np.argsort(scores, kind="stable")[:count]]
        keep = config.keep if generation else 0.0
        middle = keep * middle + (1 - keep) * best.mean(0)
        old = spread if generation else np.zeros(len(space))
        spread = np.maximum(keep * old + (1 - keep) * best.std(0), FLOOR)
        all_xi.append(xi)
        all_scores.append(scores)
    return np.concatenate(all_xi), np.concatenate(all_scores)


def _values(space: ParamSpace, unit: np.ndarray, moves: np.ndarray) -> np.ndarray:
    """Returns the worlds (N, D) at unit coordinates, rows that are not searched nominal."""
    xi = space.snap_discrete(jnp, from_unit(space, jnp.asarray(unit, jnp.float32)))
    return np.where(moves, np.asarray(xi), space.nominal)


def _run(score: Score, xi: np.ndarray, key: jax.Array) -> np.ndarray:
    """Returns (N,) scores, minus infinity where they are not finite."""
    found = np.asarray(score(jnp.asarray(xi), key), np.float64)
    if found.shape != (len(xi),):
        raise ParamError(
            f"search: the score of {len(xi)} worlds has shape {found.shape}; return one figure each"
        )
    return np.where(np.isfinite(found), found, -np.inf)


def _blame(
    score: Score, space: ParamSpace, found: np.ndarray, moves: np.ndarray, key: jax.Array
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the scores (K,) of worlds (K, D) run again, and the recovery (D,) of each row.

    The same random numbers serve each repaired batch, so that only the row makes the difference.
    """
    runs = [_run(score, found, key)]
    for row in np.flatnonzero(moves):
        repaired = found.copy()
        repaired[:, row] = space.nominal[row]
        runs.append(_run(score, repaired, key))
    tamed = _tame(np.stack(runs))
    recovery = np.zeros(len(space))
    recovery[moves] = (tamed[1:] - tamed[0]).mean(1)
    return runs[0], recovery


def _tame(scores: np.ndarray) -> np.ndarray:
    """Returns scores (...) with one below the lowest in place of minus infinity."""
    fine = np.isfinite(scores)
    return np.where(fine, scores, scores[fine].min() - 1 if fine.any() else 0.0)
