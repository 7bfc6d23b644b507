"""The fit: a global search over the rows, then Gauss-Newton with start states of every window.

The cost is a mean over the windows of NU log(1 + m / NU), m the mean of ((reading - prediction) /
deviation)^2 in one window (a Student likelihood by window, Lange, Little and Taylor 1989): where
the model holds it is least squares, and a window that it cannot explain does not decide. A
deviation is that of a channel's noise at first and, once a good fit is known, of its residuals, so
that no channel counts more than the model can explain of it.

The search spreads candidates over the whole table (Sobol points), refines the best region by CMA-ES
(Hansen 2016, arXiv 1604.00772, the library `cma`), and Gauss-Newton with Levenberg's damping
(Nocedal and Wright 2006, Numerical Optimization, chapter 10) starts from several of the best.
Derivatives are central differences through C MuJoCo, all rows and windows in one batch. The start
states are eliminated window by window (Schur complement), so they cost no dimension.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import cma
import numpy as np
from scipy.stats import qmc

from mjx_s2r.params import ParamError, ParamSpace
from mjx_s2r.transfer.linearization import Linearization
from mjx_s2r.transfer.simulator import ReplaySimulator
from mjx_s2r.transfer.unit_coordinates import nominal_z, values_at
from mjx_s2r.transfer.windows import Windows, channel_noise

STEP = 1e-3  # of a unit coordinate, for differences
START_STEP = 0.05  # of the deviation of a start state
LEAST_GAIN = 3e-4  # relative change of the cost that is worth another iteration
DAMPINGS = (0.1, 10.0)  # of the last damping, tried together
MOVED = 0.01  # of a unit coordinate, from which derivatives are taken anew
START_MOVED = 0.05  # the same for those by the start states, which change less
NU = 5.0  # mean squares beyond which a window loses weight
COARSE = 10  # iterations of Gauss-Newton on the search's windows
HUGE = 1e6  # residual, in deviations, beyond which it is not looked at more closely


@dataclass(frozen=True)
class RowFitConfig:
    """Settings of a fit."""

    window_s: float = 0.5
    """Length of a window that is simulated in open loop, s."""
    held_out: float = 0.2
    """Share of the windows that judge the fit: the last of each recording, or of short recordings
    some as a whole. Recordings that the mapping holds out take their place."""
    candidates: int = 256
    """Candidates of the first search, spread over the whole table."""
    generations: int = 40
    """Generations of CMA-ES after it; 0 leaves it out."""
    search_windows: int = 32
    """Windows that the search looks at, evenly over the recordings; Gauss-Newton takes all."""
    starts: int = 3
    """Starts of Gauss-Newton: the best of the search, and the nominal model."""
    iterations: int = 25
    """Iterations of Gauss-Newton from each start, at most."""
    seed: int = 0
    """Seed of the search."""

    def __post_init__(self) -> None:
        """Checks the settings.

        Raises:
            ParamError: a number that no fit can have.
        """
        for name, least in (("candidates", 1), ("search_windows", 1), ("starts", 1)):
            if getattr(self, name) < least:
                raise ParamError(f"{name} {getattr(self, name)} must be at least {least}")
        if not self.window_s > 0:
            raise ParamError(f"window_s {self.window_s} must be above zero, s")
        if not 0 <= self.held_out < 1:
            raise ParamError(f"held_out {self.held_out} is a share of the windows, 0 to below 1")


@dataclass(frozen=True, eq=False)
class Fit:
    """The best values, and all that follows from them.

    Attributes:
        space: the D rows.
        z: (D,) unit coordinates of the best values.
        start: (W, S) start states of all windows, those of held-out ones as they were estimated.
        cost: mean squared residual of the fitted windows, in deviations of `noise_std`.
        noise_std: (C,) deviation of each channel that the residuals were divided by.
        linearization: about the best values, of the fitted windows.
        trace: (G, 2) windows simulated so far, and the best cost then.
    """

    space: ParamSpace
    z: np.ndarray
    start: np.ndarray
    cost: float
    noise_std: np.ndarray
    linearization: Linearization
    trace: np.ndarray

    @property
    def values(self) -> np.ndarray:
        """(D,) the best values, in the rows' units."""
        return values_at(self.space, self.z)


@dataclass(frozen=True, eq=False)
class _Slopes:
    """Derivatives that were taken last.

    Attributes:
        which: (W,) True for the windows that they are of.
        rows_at: (D,) unit coordinates where those by the rows were taken.
        by_rows: (W', K, C, D) these.
        start_at: (D,) unit coordinates where those by the start states were taken.
        by_start: (W', K, C, S) these.
    """

    which: np.ndarray
    rows_at: np.ndarray
    by_rows: np.ndarray
    start_at: np.ndarray
    by_start: np.ndarray


@dataclass
class _Search:
    """What the stages of a fit share.

    Attributes:
        simulator: of all windows.
        fitted: (W,) True for windows that are fitted.
        noise_std: (C,) deviation of each channel, of the residuals as they are expected now.
        floor: (C,) deviation of each channel's noise, which no residual is expected below.
        report: called with the stage, its progress 0 to 1 and the best cost.
        count: windows simulated so far.
        best: the lowest cost so far.
        trace: of both.
        slopes: derivatives that serve as long as the rows hardly move.
    """

    simulator: ReplaySimulator
    fitted: np.ndarray
    noise_std: np.ndarray
    floor: np.ndarray
    report: Callable[[str, float, float], None]
    count: int = 0
    best: float = np.inf
    trace: list[tuple[int, float]] = field(default_factory=list)
    slopes: _Slopes | None = None

    @property
    def windows(self) -> Windows:
        """The windows of the recordings."""
        return self.simulator.windows

    def residual(self, z: np.ndarray, start: np.ndarray, which: np.ndarray) -> np.ndarray:
        """Returns (P, W', K, C) reading minus prediction of the windows ``which`` (W,) True."""
        xi = values_at(self.simulator.space, np.atleast_2d(z))
        predicted = self.simulator.predict(xi, start, which)[:, which]
        self.count += len(xi) * int(which.sum())
        return self.windows.readings[which] - predicted

    def linearized(self, z: np.ndarray, start: np.ndarray, which: np.ndarray) -> Linearization:
        """Returns residuals at ``z`` (D,), and derivatives at it or so near that they will do."""
        last, by_rows, by_start = self.slopes, None, None
        if last is not None and np.array_equal(last.which, which):
            by_rows = last.by_rows if np.abs(z - last.rows_at).max() <= MOVED else None
            by_start = last.by_start if np.abs(z - last.start_at).max() <= START_MOVED else None
        local = _linearized(
            self.simulator, z, start, which, self.noise_std, False, by_rows, by_start
        )
        taken = (by_rows is None) * len(z) + (by_start is None) * start.shape[1]
        self.count += (1 + taken) * int(which.sum())
        self.slopes = _Slopes(
            which,
            z if by_rows is None or last is None else last.rows_at,
            local.jacobian,
            z if by_start is None or last is None else last.start_at,
            local.start_jacobian,
        )
        return local

    def restart(self, noise_std: np.ndarray) -> None:
        """Takes other deviations; costs before and after do not compare."""
        self.noise_std, self.best = noise_std, np.inf

    def note(self, cost: float) -> None:
        """Remembers a cost."""
        self.best = min(self.best, float(cost))
        self.trace.append((self.count, self.best))


def fit_rows(
    simulator: ReplaySimulator,
    config: RowFitConfig,
    report: Callable[[str, float, float], None] = lambda stage, share, cost: None,
) -> Fit:
    """Fits the rows to the windows that are not held out.

    Args:
        simulator: of the problem's windows.
        config: settings.
        report: called with the stage ("search", "refine"), how much of it is done, 0 to 1, and the
            lowest cost.
    """
    windows, space = simulator.windows, simulator.space
    fitted = ~windows.held_out
    noise = channel_noise(windows)
    work = _Search(simulator, fitted, noise, noise, report)
    nominal = nominal_z(space)
    which = _some(fitted, windows, config.search_windows)
    found = _searched(work, nominal, which, config)
    work.restart(_weights(work, found[0], windows.start, which))
    best: tuple[np.ndarray, np.ndarray, float] | None = None
    for number, z in enumerate(found):
        done = number / (2 * len(found)), 1 / (2 * len(found))
        candidate = _gauss_newton(work, z, windows.start, which, COARSE, done)
        if best is None or candidate[2] < best[2]:
            best = candidate
    assert best is not None
    z, start = best[0], windows.start
    for part in (0.5, 0.75):  # the deviations are known only near the best
        work.restart(_weights(work, z, start, fitted))
        z, start, cost = _gauss_newton(work, z, start, fitted, config.iterations, (part, 0.25))
    made = linearize(simulator, z, start, fitted, work.noise_std)
    return Fit(space, z, start, cost, work.noise_std, weighted(made), np.array(work.trace))


def _weights(work: _Search, z: np.ndarray, start: np.ndarray, which: np.ndarray) -> np.ndarray:
    """Returns (C,) deviations that weigh the channels: of the residuals, at least the noise's.

    The median over windows keeps a few wild ones from deciding.
    """
    apart = work.residual(z, start, which)[0]
    counted = np.isfinite(apart).sum(1)
    each = np.where(np.isfinite(apart), apart, 0.0) ** 2
    mean = each.sum(1) / np.where(counted > 0, counted, np.nan)
    typical = np.sqrt(np.nan_to_num(np.nanmedian(mean, axis=0)))
    return np.maximum(work.floor, typical)


def _mean_squares(residual: np.ndarray, noise_std: np.ndarray) -> np.ndarray:
    """Returns (..., W) mean squared residuals (..., W, K, C) of windows, in deviations."""
    scaled = np.clip(residual / noise_std, -HUGE, HUGE)
    seen = np.isfinite(scaled)
    total = np.where(seen, scaled, 0.0) ** 2
    return np.asarray(total.sum((-1, -2)) / np.maximum(seen.sum((-1, -2)), 1))


def weighted(local: Linearization) -> Linearization:
    """Returns a linearization in which windows count as they do in the cost."""
    share = np.sqrt(1 / (1 + _mean_squares(local.residual, local.noise_std) / NU))
    share = share / np.sqrt(np.mean(share**2))
    return replace(
        local,
        residual=local.residual * share[:, None, None],
        jacobian=local.jacobian * share[:, None, None, None],
        start_jacobian=local.start_jacobian * share[:, None, None, None],
    )


def _searched(
    work: _Search, nominal: np.ndarray, which: np.ndarray, config: RowFitConfig
) -> list[np.ndarray]:
    """Returns unit coordinates to start Gauss-Newton from, the most promising first."""
    size, start = len(nominal), work.windows.start
    rng = np.random.default_rng(config.seed)
    points = qmc.Sobol(size, seed=rng).random_base2(int(np.ceil(np.log2(config.candidates))))
    points = np.concatenate([nominal[None], 0.02 + 0.96 * points[: config.candidates]])
    costs = np.concatenate(
        [_robust(work, part, start, which) for part in np.array_split(points, 8) if len(part)]
    )
    work.note(costs.min())
    order = np.argsort(costs)
    found = [points[order[0]]]
    if config.generations:
        found = [_evolved(work, points[order[0]], which, config), *found]
    found += [nominal, *points[order[1:]]]
    return found[: config.starts]


def _evolved(
    work: _Search, begin: np.ndarray, which: np.ndarray, config: RowFitConfig
) -> np.ndarray:
    """Returns the best point of CMA-ES from ``begin`` (D,)."""
    size = len(begin)
    population = max(16, 4 + int(3 * np.log(size)) * 2)
    options: dict[str, Any] = {
        "bounds": [0.0, 1.0],
        "popsize": population,
        "seed": config.seed + 1,
        "verbose": -9,
        "tolfun": 1e-6,
    }
    if size == 1:  # CMA-ES wants two dimensions
        points = np.linspace(0, 1, config.generations * population)[:, None]
        return points[int(np.argmin(_robust(work, points, work.windows.start, which)))]
    engine = cma.CMAEvolutionStrategy(np.clip(begin, 0.02, 0.98), 0.2, options)
    for generation in range(config.generations):
        if engine.stop():
            break
        asked = engine.ask()
        costs = _robust(work, np.array(asked), work.windows.start, which)
        engine.tell(asked, costs.tolist())
        work.note(float(costs.min()))
        work.report("search", (generation + 1) / config.generations, work.best)
    return np.clip(np.asarray(engine.result.xbest), 0.0, 1.0)


def _robust(work: _Search, z: np.ndarray, start: np.ndarray, which: np.ndarray) -> np.ndarray:
    """Returns (P,) costs: log(1 + m) of each window, since nothing fits at first."""
    each = _mean_squares(work.residual(z, start, which), work.noise_std)
    return np.asarray(np.log1p(each).mean(-1))


def _some(fitted: np.ndarray, windows: Windows, most: int) -> np.ndarray:
    """Returns (W,) True for at most so many fitted windows, evenly over the recordings."""
    mine = np.flatnonzero(fitted)
    chosen = mine[
        np.unique(np.linspace(0, len(mine) - 1, min(most, len(mine))).round().astype(int))
    ]
    mask = np.zeros(len(windows), bool)
    mask[chosen] = True
    return mask


def linearize(
    simulator: ReplaySimulator,
    z: np.ndarray,
    start: np.ndarray,
    which: np.ndarray,
    noise_std: np.ndarray,
    *,
    central: bool = True,
    by_rows: bool = True,
) -> Linearization:
    """Returns residuals of the windows ``which`` (W,) True and their derivatives at ``z`` (D,).

    Args:
        simulator: of the windows.
        z: unit coordinates.
        start: (W, S) start states.
        which: windows that count.
        noise_std: (C,) deviation of each channel.
        central: central differences, twice as dear and an order better.
        by_rows: whether derivatives by the rows are taken; else the jacobian has no columns.
    """
    none = np.zeros((*simulator.windows.readings[which].shape, 0))
    known = None if by_rows else none
    return _linearized(simulator, z, start, which, noise_std, central, known, None)


def _linearized(
    simulator: ReplaySimulator,
    z: np.ndarray,
    start: np.ndarray,
    which: np.ndarray,
    noise_std: np.ndarray,
    central: bool,
    by_rows: np.ndarray | None,
    by_start: np.ndarray | None,
) -> Linearization:
    """Returns the same with derivatives (W', K, C, D) and (W', K, C, S) that may be known."""
    windows, space = simulator.windows, simulator.space
    size, states = (
        0 if by_rows is not None else len(z),
        0 if by_start is not None else start.shape[1],
    )
    steps = np.where(z > 0.5, -STEP, STEP)
    moved = [z + steps * unit for unit in np.eye(len(z))[:size]]
    inside = (z >= STEP) & (z <= 1 - STEP)
    if central:
        moved += [z - np.where(inside, steps, 0.0) * unit for unit in np.eye(len(z))[:size]]
    h = START_STEP * windows.start_std
    points = [z, *moved, *[z] * states]
    starts = [start] * (1 + len(moved)) + [start + h * unit for unit in np.eye(len(h))[:states]]
    predicted = simulator.predict(values_at(space, np.array(points)), np.array(starts), which)[
        :, which
    ]
    base, up = predicted[0], predicted[1 : 1 + size]
    if by_rows is None:
        down = predicted[1 + size : 1 + 2 * size] if central else np.repeat(base[None], size, 0)
        width = steps + (np.where(inside, steps, 0.0) if central else 0.0)
        by_rows = np.moveaxis((up - down) / width[:, None, None, None], 0, -1)
    if by_start is None:
        by_start = np.moveaxis((predicted[1 + len(moved) :] - base) / h[:, None, None, None], 0, -1)
    return Linearization(
        space=space,
        z=z,
        residual=windows.readings[which] - base,
        jacobian=by_rows,
        start_jacobian=by_start,
        start_std=windows.start_std,
        start_shift=start[which] - windows.start[which],
        time_s=windows.time_s[which],
        recording=windows.recording[which],
        noise_std=noise_std,
    )


def _gauss_newton(
    work: _Search,
    z: np.ndarray,
    start: np.ndarray,
    which: np.ndarray,
    iterations: int,
    done: tuple[float, float],
) -> tuple[np.ndarray, np.ndarray, float]:
    """Returns unit coordinates, start states and cost at a minimum near ``z`` (D,).

    Args:
        work: what the stages share.
        z: where to begin.
        start: (W, S) start states to begin with.
        which: (W,) True for the windows that count.
        iterations: at most.
        done: share of the whole that was done before, and share that this is.
    """
    start, cost, damping = start.copy(), np.inf, 1e-2
    for iteration in range(iterations):
        local = work.linearized(z, start, which)
        cost = float(_objective(local.residual, local.start_shift, local))
        factors = [damping * f for f in DAMPINGS]
        tried = [_step(local, z, factor) for factor in factors]
        points = np.array([point for point, _ in tried])
        shifts = np.zeros((len(tried), *start.shape))
        shifts[:, which] = np.array([shift for _, shift in tried])
        residuals = work.residual(points, start + shifts, which)
        moved = [local.start_shift + shift for _, shift in tried]
        values = [_objective(r, m, local) for r, m in zip(residuals, moved, strict=True)]
        chosen = int(np.argmin(values))
        work.report("refine", done[0] + done[1] * (iteration + 1) / iterations, cost)
        if not values[chosen] < cost:
            if damping > 1e4:
                break
            damping *= 100
            continue
        z, start = points[chosen], start + shifts[chosen]
        damping = max(factors[chosen], 1e-7)
        gain, cost = cost - values[chosen], values[chosen]
        work.note(cost)
        if gain < LEAST_GAIN * cost:
            break
    return z, start, cost


def _objective(residual: np.ndarray, shift: np.ndarray, local: Linearization) -> float:
    """Returns the cost of residuals (W, K, C) with the prior of the start states (W, S)."""
    each = _mean_squares(residual, local.noise_std)
    count = np.isfinite(residual).sum((1, 2))
    prior = ((shift / local.start_std) ** 2).sum()
    return float((count @ (NU * np.log1p(each / NU)) + prior) / max(count.sum(), 1))


def _step(local: Linearization, z: np.ndarray, damping: float) -> tuple[np.ndarray, np.ndarray]:
    """Returns the next z (D,), inside [0, 1], and the moves of the start states (W, S).

    Rows that stand at an end and want to leave are kept there; what the others do is solved anew.
    """
    weight = 1 / local.noise_std
    seen = np.isfinite(local.residual) & (np.abs(local.residual) * weight < HUGE)
    r = np.where(seen, local.residual, 0.0) * weight
    j = np.where(seen[..., None], np.nan_to_num(local.jacobian), 0.0) * weight[:, None]
    s = np.where(seen[..., None], np.nan_to_num(local.start_jacobian), 0.0) * weight[:, None]
    share = np.sqrt(1 / (1 + _mean_squares(local.residual, local.noise_std) / NU))
    r, j = r * share[:, None, None], j * share[:, None, None, None]
    s = s * share[:, None, None, None]
    windows = len(r)
    r, j = r.reshape(windows, -1), j.reshape(windows, -1, len(z))
    s = s.reshape(windows, r.shape[1], -1)
    prior = np.diag(1 / local.start_std**2)
    hss = np.einsum("wks,wkt->wst", s, s) + prior
    hsz = np.einsum("wks,wkd->wsd", s, j)
    gs = np.einsum("wks,wk->ws", s, r) - local.start_shift / local.start_std**2
    hzz, gz = np.einsum("wkd,wke->de", j, j), np.einsum("wkd,wk->d", j, r)
    hzz = hzz - np.einsum("wsd,wse->de", hsz, np.linalg.solve(hss, hsz))
    gz = gz - np.einsum("wsd,ws->d", hsz, np.linalg.solve(hss, gs[..., None])[..., 0])
    scale = np.maximum(np.diag(hzz), 1e-9 * max(float(np.diag(hzz).max()), 1e-12))
    free = np.ones(len(z), bool)
    move = np.zeros(len(z))
    for _ in range(len(z)):
        move[:] = 0.0
        system = hzz + np.diag(scale * damping)
        if free.any():
            system = system[np.ix_(free, free)]
            move[free] = np.linalg.lstsq(system, gz[free], rcond=1e-12)[0]
        out = free & (((z <= 0) & (move < 0)) | ((z >= 1) & (move > 0)))
        if not out.any():
            break
        free &= ~out
    goal = np.clip(z + np.clip(move, -0.3, 0.3), 0.0, 1.0)
    rest = gs - np.einsum("wsd,d->ws", hsz, goal - z)
    return goal, np.linalg.solve(hss, rest[..., None])[..., 0]
