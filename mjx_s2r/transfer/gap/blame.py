"""Blame: which rows, moved how far inside their limits, explain what simulation got wrong.

The error of a replay is its mean square error less what the readings' noise makes of it, over that
of the nominal model: 1 where nothing changes, 0 where only noise is left. Channels of one kind (all
angles) are added as they are, kinds over their mean square motion. A row explains the share of it
that goes away when that row alone goes to its best value. Then rows are added greedily, each time
the one that helps most together with those before it: two rows are looked at on a grid of both,
since a gain and a delay may help only together, and all that were taken are adjusted at once by the
cross-entropy method.

Rows that do the same to these recordings (a gain and a strength) explain the same share and can
stand for each other; the posterior of an identification says so better than any ranking.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from mjx_s2r.params import ParamSpace
from mjx_s2r.transfer.fit import RowFitConfig, fit_rows
from mjx_s2r.transfer.gap.replay import motion_in_windows, root_mean_square
from mjx_s2r.transfer.simulator import ReplaySimulator
from mjx_s2r.transfer.unit_coordinates import nominal_z, values_at
from mjx_s2r.transfer.windows import Windows, channel_noise, some_windows

# (P, D) row values -> (P,) error, 1 for the nominal model
ReplayError = Callable[[np.ndarray], np.ndarray]

POINTS = 17  # of the first scan of a row over its limits
FINER = 9  # of the scan between the two neighbours of its best point
PAIRED = 7  # points of each row in the grid of two
MOST_ROWS = 3  # that are added greedily
ROUNDS, CLOUD, ELITE = 5, 48, 10  # of the adjustment: rounds, candidates, and the best of them
LEAST_SHARE = 0.01  # of the error, that is worth another row
MOST_WINDOWS = 30
TOGETHER = RowFitConfig(candidates=64, generations=0, search_windows=24, starts=2, iterations=8)


@dataclass(frozen=True)
class BlamedRow:
    """One row and what it explains.

    Attributes:
        name: of the row.
        unit: of its values.
        nominal: value of the nominal model.
        best: value that explains most.
        place: where that is between the limits, 0 to 1, by the row's law.
        share: of the error that goes away, 0 to 1; in a greedy sequence with all rows before it.
        trained: whether the training drew from there; None where it is not known.
    """

    name: str
    unit: str
    nominal: float
    best: float
    place: float
    share: float
    trained: bool | None = None

    def to_json(self) -> dict[str, Any]:
        """Returns the row as JSON values."""
        return dict(vars(self))


@dataclass(frozen=True)
class Blame:
    """Which rows explain the difference.

    Attributes:
        single: each row alone, the one that explains most first.
        greedy: rows added one after another; ``best`` and ``place`` are those of the last step.
        together: share that all rows together explain by a fit; NaN where it was not run.
        together_best: row -> value of that fit.
    """

    single: tuple[BlamedRow, ...]
    greedy: tuple[BlamedRow, ...]
    together: float
    together_best: dict[str, float]


def replay_error(simulator: ReplaySimulator, most: int = MOST_WINDOWS) -> ReplayError:
    """Returns the error of a simulator's candidates over at most so many windows."""
    windows, space = simulator.windows, simulator.space
    which = some_windows(np.ones(len(windows), bool), most)
    readings = windows.readings[which]
    weights = _weights(windows, readings)
    floor = channel_noise(windows) ** 2

    def beyond_noise(xi: np.ndarray) -> np.ndarray:
        """Returns (P,) the weighted sum over channels of what is left beyond noise."""
        left = root_mean_square(readings - simulator.predict(xi, which=which)[:, which]) ** 2
        return np.asarray(np.nansum(weights * np.maximum(left - floor, 0.0), axis=1))

    usual = float(beyond_noise(space.nominal[None])[0])

    def error(xi: np.ndarray) -> np.ndarray:
        """Returns (P,) the share of the nominal model's error that is left."""
        return beyond_noise(xi) / usual if usual > 0 else np.ones(len(xi))

    return error


def _weights(windows: Windows, readings: np.ndarray) -> np.ndarray:
    """Returns (C,) one over the mean square motion of each channel's kind; 0 where it stands still.

    Args:
        windows: whose channels and noise, below twice of which nothing moved.
        readings: (W, K, C) of some of them.
    """
    kinds = [(c.kind if c.kind != "sensor" else c.element, c.unit) for c in windows.channels]
    alike = np.array([[a == b for b in kinds] for a in kinds], float)
    alike /= alike.sum(1, keepdims=True)
    motion = alike @ np.nan_to_num(motion_in_windows(readings)) ** 2
    noise = alike @ channel_noise(windows) ** 2
    return np.where(motion > 4 * noise, 1 / np.maximum(motion, 1e-300), 0.0)


def find_blame(
    error: ReplayError,
    space: ParamSpace,
    bounds: np.ndarray | None = None,
    tell: Callable[[float, str], None] = lambda share, note: None,
) -> Blame:
    """Returns what each row explains alone, and what the best few explain together.

    Args:
        error: of candidates (P, D).
        space: the D rows.
        bounds: (2, D) the ranges that the training drew from, if they are known.
        tell: is called with how much of it is done, 0 to 1, and what was found.
    """
    start, names = nominal_z(space), list(space.names)
    found = _scan(error, space, start, range(len(names)))
    order = sorted(found, key=lambda i: found[i][1])
    single = tuple(_row(space, i, *found[i], bounds) for i in order)
    tell(0.4, f"{single[0].name} alone explains {single[0].share:.0%}")
    taken: list[int] = []
    shares: list[float] = []
    z, left = start.copy(), 1.0
    for step in range(min(MOST_ROWS, len(names))):
        others = [i for i in range(len(names)) if i not in taken]
        if len(taken) == 1:
            tried = _pairs(error, space, z, taken[0], others)
        else:
            scanned = found if not taken else _scan(error, space, z, others)
            tried = {i: (_at(z, i, place), cost) for i, (place, cost) in scanned.items()}
        best = min(tried, key=lambda i: tried[i][1])
        candidate, cost = tried[best]
        if taken:
            candidate, cost = _adjusted(error, space, candidate, cost, [*taken, best])
        if left - cost < LEAST_SHARE:
            break
        z, left = candidate, cost
        taken.append(best)
        shares.append(min(1.0, 1 - left))
        tell(0.4 + 0.6 * (step + 1) / MOST_ROWS, f"{len(taken)} rows explain {shares[-1]:.0%}")
    greedy = tuple(
        _row(space, i, float(z[i]), 1 - share, bounds)
        for i, share in zip(taken, shares, strict=True)
    )
    return Blame(single, greedy, float("nan"), {})


def explained_together(
    simulator: ReplaySimulator, error: ReplayError, config: RowFitConfig = TOGETHER
) -> tuple[float, dict[str, float]]:
    """Returns the share of the error that all rows together explain by a fit, and their values."""
    found = fit_rows(simulator, config)
    values = values_at(simulator.space, found.z)
    share = min(1.0, 1 - float(error(values[None])[0]))
    return share, dict(zip(simulator.space.names, map(float, values), strict=True))


def _scan(
    error: ReplayError, space: ParamSpace, z: np.ndarray, rows: Any
) -> dict[int, tuple[float, float]]:
    """Returns row -> its best unit coordinate and the error there, all others staying at ``z``."""
    rows = list(rows)
    grid = {i: np.unique(np.append(np.linspace(0, 1, POINTS), z[i])) for i in rows}
    first = _costs(error, space, z, grid)
    finer = {}
    for i in rows:
        at = int(np.argmin(first[i]))
        low, high = grid[i][max(at - 1, 0)], grid[i][min(at + 1, len(grid[i]) - 1)]
        finer[i] = np.linspace(low, high, FINER)
    second = _costs(error, space, z, finer)
    out = {}
    for i in rows:
        places = np.concatenate((grid[i], finer[i]))
        costs = np.concatenate((first[i], second[i]))
        at = int(np.argmin(costs))
        out[i] = float(places[at]), float(costs[at])
    return out


def _at(z: np.ndarray, row: int, place: float) -> np.ndarray:
    """Returns unit coordinates (D,) with one of them replaced."""
    out = z.copy()
    out[row] = place
    return out


def _pairs(
    error: ReplayError, space: ParamSpace, z: np.ndarray, first: int, others: list[int]
) -> dict[int, tuple[np.ndarray, float]]:
    """Returns row -> the best of a grid over it and the ``first`` row, and the error there."""
    grid = np.linspace(0, 1, PAIRED)
    one, two = (x.ravel() for x in np.meshgrid(np.append(grid, z[first]), grid))
    points = np.tile(z, (len(others), len(one), 1))
    points[:, :, first] = one
    for place, i in enumerate(others):
        points[place, :, i] = two
    costs = error(values_at(space, points.reshape(-1, len(z)))).reshape(len(others), -1)
    at = costs.argmin(1)
    return {
        i: (points[place, at[place]], float(costs[place, at[place]]))
        for place, i in enumerate(others)
    }


def _adjusted(
    error: ReplayError, space: ParamSpace, z: np.ndarray, cost: float, rows: list[int]
) -> tuple[np.ndarray, float]:
    """Returns ``z`` (D,) with its ``rows`` adjusted together, and the error there."""
    rng, middle = np.random.default_rng(0), z[rows].copy()
    spread = np.diag(np.full(len(rows), (0.5 / (PAIRED - 1)) ** 2))
    for _ in range(ROUNDS):
        cloud = np.clip(rng.multivariate_normal(middle, spread, CLOUD), 0, 1)
        points = np.tile(z, (CLOUD, 1))
        points[:, rows] = cloud
        costs = error(values_at(space, points))
        order = np.argsort(costs)
        if costs[order[0]] < cost:
            z, cost = points[order[0]], float(costs[order[0]])
        best = cloud[order[:ELITE]]
        middle = best.mean(0)
        spread = np.atleast_2d(np.cov(best.T, bias=True)) + 1e-8 * np.eye(len(rows))
    return z, cost


def _costs(
    error: ReplayError, space: ParamSpace, z: np.ndarray, grid: dict[int, np.ndarray]
) -> dict[int, np.ndarray]:
    """Returns the errors at the unit coordinates of a grid, row by row, in one batch."""
    points = np.concatenate([np.tile(z, (len(places), 1)) for places in grid.values()])
    at = 0
    for i, places in grid.items():
        points[at : at + len(places), i] = places
        at += len(places)
    costs = error(values_at(space, points))
    ends = np.cumsum([len(places) for places in grid.values()])[:-1]
    return dict(zip(grid, np.split(costs, ends), strict=True))


def _row(
    space: ParamSpace, i: int, place: float, cost: float, bounds: np.ndarray | None
) -> BlamedRow:
    """Returns a row at a unit coordinate."""
    row, z = space.rows[i], nominal_z(space)
    z[i] = place
    best = float(values_at(space, z)[i])
    trained = None
    if bounds is not None:
        slack = 1e-6 * (row.limits[1] - row.limits[0])
        trained = bool(bounds[0, i] - slack <= best <= bounds[1, i] + slack)
    return BlamedRow(
        row.name, row.unit, row.nominal, best, place, min(1.0, max(0.0, 1 - cost)), trained
    )
