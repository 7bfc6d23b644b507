"""The fit: a global search over the rows, then Gauss-Newton with start states of every window.

The cost is a mean over the windows of NU log(1 + m / NU), m the mean of ((reading - prediction) /
deviation)^2 in one window (a Student likelihood by window, Lange, Little and Taylor 1989): where
the model holds it is least squares, and a window that it cannot explain does not decide. A
deviation is that of a channel's noise at first and, once a good fit is known, of its residuals, so
that no channel counts more than the model can explain of it.

The search spreads candidates over the whole table (Sobol points), refines the best region by CMA-ES
(Hansen 2016, arXiv 1604.00772, the library `cma`), and Gauss-Newton with Levenberg's damping
(Nocedal and Wright 2006, Numerical Optimization, chapter 10) starts from several of the best.
Derivatives are those of `mjx_s2r.transfer.differences`, kept as long as the rows hardly move and
steps gain what they promise. The start states are eliminated window by window (Schur complement),
so they cost no dimension. A first run of Gauss-Newton sees the search's windows by the quick replay
alone; the last ones see all windows at the model's own time step.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import cma
import numpy as np
from scipy.stats import qmc

from mjx_s2r.params import ParamError, ParamSpace
from mjx_s2r.transfer.differences import (
    CLOSELY,
    ROUGHLY,
    difference_quotients,
    linearization_of,
    linearize,
    quick_replay,
)
from mjx_s2r.transfer.linearization import Linearization
from mjx_s2r.transfer.simulator import ReplaySimulator
from mjx_s2r.transfer.unit_coordinates import nominal_z, values_at
from mjx_s2r.transfer.windows import Windows, channel_noise, some_windows

LEAST_GAIN = 3e-4  # relative change of the cost that is worth another iteration
EARLY_GAIN = 3e-3  # the same as long as the windows or the deviations are not the last ones
DAMPINGS = (0.1, 10.0)  # of the last damping, tried together where a replay is quick
MOST_DAMPING = 1e4  # beyond which nothing is to be gained
PROMISED = 0.5  # share of the gain that derivatives promised, below which they are taken anew
MOVED = 0.1  # of a unit coordinate, from which derivatives are taken anew
START_MOVED = 0.3  # the same for those by the start states, which change less
NU = 5.0  # mean squares beyond which a window loses weight
LEAST_WINDOWS = 8  # of the search, on which all candidates are compared
LOOKED_AT = 32  # best of them, that all of its windows judge
COARSE = 15  # iterations of Gauss-Newton on the search's windows
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
    """Candidates of the first search, spread over the whole table; 0: the nominal values alone,
    without a search."""
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
        for name, least in (("candidates", 0), ("search_windows", 1), ("starts", 1)):
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


@dataclass(frozen=True, eq=False)
class _Point:
    """Where a fit stands.

    Attributes:
        z: (D,) unit coordinates.
        start: (W, S) start states of all windows.
        residual: (W', K, C) what is left in the windows that count.
        cost: of these.
    """

    z: np.ndarray
    start: np.ndarray
    residual: np.ndarray
    cost: float = np.inf


@dataclass
class _Search:
    """What the stages of a fit share.

    Attributes:
        simulator: of all windows.
        quick: the replay that derivatives are taken of.
        fitted: (W,) True for windows that are fitted.
        noise_std: (C,) deviation of each channel, of the residuals as they are expected now.
        floor: (C,) deviation of each channel's noise, which no residual is expected below.
        report: called with the stage, its progress 0 to 1 and the best cost.
        count: windows simulated so far, in the time steps of the model.
        best: the lowest cost so far.
        trace: of both.
        slopes: derivatives that serve as long as the rows hardly move.
    """

    simulator: ReplaySimulator
    quick: ReplaySimulator
    fitted: np.ndarray
    noise_std: np.ndarray
    floor: np.ndarray
    report: Callable[[str, float, float], None]
    count: float = 0.0
    best: float = np.inf
    trace: list[tuple[float, float]] = field(default_factory=list)
    slopes: _Slopes | None = None

    @property
    def windows(self) -> Windows:
        """The windows of the recordings."""
        return self.simulator.windows

    def residual(
        self, replay: ReplaySimulator, z: np.ndarray, start: np.ndarray, which: np.ndarray
    ) -> np.ndarray:
        """Returns (P, W', K, C) reading minus prediction of the windows ``which`` (W,) True."""
        xi = values_at(replay.space, np.atleast_2d(z))
        predicted = replay.predict(xi, start, which)[:, which]
        self._simulated(replay, len(xi), which)
        return self.windows.readings[which] - predicted

    def linearized(self, at: _Point, which: np.ndarray) -> tuple[Linearization, bool]:
        """Returns residuals and derivatives, and whether those by rows are of this very point."""
        last, rows, starts = self.slopes, True, True
        if last is not None and np.array_equal(last.which, which):
            rows = bool(np.abs(at.z - last.rows_at).max() > MOVED)
            starts = bool(np.abs(at.z - last.start_at).max() > START_MOVED)
        if rows or starts:
            by_rows, by_start = difference_quotients(
                self.quick, at.z, at.start, which, rows=rows, starts=starts
            )
            self._simulated(self.quick, 1 + by_rows.shape[-1] + by_start.shape[-1], which)
            rows_at = start_at = at.z
            if last is not None and not rows:
                rows_at, by_rows = last.rows_at, last.by_rows
            if last is not None and not starts:
                start_at, by_start = last.start_at, last.by_start
            self.slopes = last = _Slopes(which, rows_at, by_rows, start_at, by_start)
        assert last is not None
        fresh = np.array_equal(last.rows_at, at.z)
        return (
            linearization_of(
                self.simulator,
                at.z,
                at.start,
                which,
                self.noise_std,
                at.residual,
                last.by_rows,
                last.by_start,
            ),
            fresh,
        )

    def look(self, at: _Point, which: np.ndarray, alike: float = ROUGHLY) -> None:
        """Chooses the quick replay anew; ``at.residual`` is that of the simulator."""
        found = quick_replay(self.simulator, at.z, at.start, which, at.residual, alike)
        if found is not self.quick:
            self.quick, self.slopes = found, None

    def restart(self, noise_std: np.ndarray) -> None:
        """Takes other deviations; costs before and after do not compare."""
        self.noise_std, self.best = noise_std, np.inf

    def note(self, cost: float) -> None:
        """Remembers a cost."""
        self.best = min(self.best, float(cost))
        self.trace.append((self.count, self.best))

    def _simulated(self, replay: ReplaySimulator, points: int, which: np.ndarray) -> None:
        """Counts windows that were simulated."""
        self.count += points * int(which.sum()) * self.simulator.dt_s / replay.dt_s


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
    work = _Search(simulator, simulator, fitted, noise, noise, report)
    which = some_windows(fitted, config.search_windows)
    found = _searched(work, nominal_z(space), which, config)
    begin = [_looked(work, z, windows.start, which) for z in found]
    work.restart(_weights(work, begin[0].residual))
    best = begin[0]
    for number, at in enumerate(begin):
        done = number / (2 * len(found)), 1 / (2 * len(found))
        work.look(at, which)
        at = replace(at, residual=work.residual(work.quick, at.z, at.start, which)[0])
        candidate = _gauss_newton(work, work.quick, at, which, COARSE, EARLY_GAIN, done)
        if number == 0 or candidate.cost < best.cost:
            best = candidate
    best = _looked(work, best.z, windows.start, fitted)
    for part, least, alike in ((0.5, EARLY_GAIN, ROUGHLY), (0.75, LEAST_GAIN, CLOSELY)):
        work.restart(_weights(work, best.residual))  # known only near the best
        work.look(best, fitted, alike)
        done = part, 0.25
        best = _gauss_newton(work, simulator, best, fitted, config.iterations, least, done)
    made = linearize_fit(simulator, best.z, best.start, fitted, work.noise_std, best.residual)
    return Fit(
        space,
        best.z,
        best.start,
        best.cost,
        work.noise_std,
        weighted(made),
        np.array(work.trace),
    )


def linearize_fit(
    simulator: ReplaySimulator,
    z: np.ndarray,
    start: np.ndarray,
    which: np.ndarray,
    noise_std: np.ndarray,
    residual: np.ndarray | None = None,
) -> Linearization:
    """Returns what intervals of a fit at ``z`` (D,) follow from, in some windows.

    Differences to one side do: they are a part in a thousand off, and stick and slip more.

    Args:
        simulator: of the windows.
        z: unit coordinates.
        start: (W, S) start states.
        which: windows that count.
        noise_std: (C,) deviation of each channel.
        residual: (W', K, C) what is left there, where that is known.
    """
    return linearize(simulator, z, start, which, noise_std, central=False, residual=residual)


def _looked(work: _Search, z: np.ndarray, start: np.ndarray, which: np.ndarray) -> _Point:
    """Returns where a fit stands at the model's own time step."""
    return _Point(z, start, work.residual(work.simulator, z, start, which)[0])


def _weights(work: _Search, apart: np.ndarray) -> np.ndarray:
    """Returns (C,) deviations that weigh the channels: of residuals (W', K, C), at least the noise.

    The median over windows keeps a few wild ones from deciding.
    """
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
    size, simulator = len(nominal), work.simulator
    if not config.candidates:
        return [nominal]
    rng = np.random.default_rng(config.seed)
    points = qmc.Sobol(size, seed=rng).random_base2(int(np.ceil(np.log2(config.candidates))))
    points = np.concatenate([nominal[None], 0.02 + 0.96 * points[: config.candidates]])
    few = some_windows(which, max(LEAST_WINDOWS, int(which.sum()) // 4))
    points = points[
        np.argsort(_robust(work, simulator, points, few))[: max(LOOKED_AT, config.starts)]
    ]
    costs = _robust(work, simulator, points, which)
    work.note(costs.min())
    order = np.argsort(costs)
    found = [points[order[0]]]
    if config.generations:
        work.look(_looked(work, found[0], work.windows.start, which), which)
        found = [_evolved(work, found[0], which, config), *found]
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
        "tolfun": 1e-3,  # Gauss-Newton goes on from there
        "tolx": 1e-2,
    }
    if size == 1:  # CMA-ES wants two dimensions
        points = np.linspace(0, 1, config.generations * population)[:, None]
        return points[int(np.argmin(_robust(work, work.quick, points, which)))]
    engine = cma.CMAEvolutionStrategy(np.clip(begin, 0.02, 0.98), 0.2, options)
    for generation in range(config.generations):
        if engine.stop():
            break
        asked = engine.ask()
        costs = _robust(work, work.quick, np.array(asked), which)
        engine.tell(asked, costs.tolist())
        work.note(float(costs.min()))
        work.report("search", (generation + 1) / config.generations, work.best)
    return np.clip(np.asarray(engine.result.xbest), 0.0, 1.0)


def _robust(work: _Search, replay: ReplaySimulator, z: np.ndarray, which: np.ndarray) -> np.ndarray:
    """Returns (P,) costs: log(1 + m) of each window, since nothing fits at first."""
    residual = work.residual(replay, z, work.windows.start, which)
    return np.asarray(np.log1p(_mean_squares(residual, work.noise_std)).mean(-1))


def _gauss_newton(
    work: _Search,
    replay: ReplaySimulator,
    at: _Point,
    which: np.ndarray,
    iterations: int,
    least: float,
    done: tuple[float, float],
) -> _Point:
    """Returns a minimum of the cost near a point.

    Args:
        work: what the stages share.
        replay: what is simulated; where it is the quick one, two dampings are tried together.
        at: where to begin; its residual is that of the replay.
        which: (W,) True for the windows that count.
        iterations: at most.
        least: relative change of the cost that is worth another iteration.
        done: share of the whole that was done before, and share that this is.
    """
    damping, choices = 1e-2, len(DAMPINGS) if replay is work.quick else 1
    for iteration in range(iterations):
        local, fresh = work.linearized(at, which)
        at = replace(at, cost=_objective(at.residual, local.start_shift, local))
        work.report("refine", done[0] + done[1] * (iteration + 1) / iterations, at.cost)
        tried = _promising(local, at, damping, least)[:choices]
        if not tried:
            break
        points = np.array([step.z for step in tried])
        starts = np.repeat(at.start[None], len(tried), axis=0)
        starts[:, which] += np.array([step.shift for step in tried])
        residuals = work.residual(replay, points, starts, which)
        shifts = starts[:, which] - work.windows.start[which]
        values = [_objective(r, m, local) for r, m in zip(residuals, shifts, strict=True)]
        chosen = int(np.argmin(values))
        gain, step = at.cost - values[chosen], tried[chosen]
        if not gain > 0:
            damping = 100 * max(step.damping for step in tried) if fresh else damping
            work.slopes = work.slopes if fresh else None
            continue
        at = _Point(step.z, starts[chosen], residuals[chosen], values[chosen])
        damping = max(step.damping, 1e-7)
        work.note(at.cost)
        if gain < least * at.cost:
            break
        if gain < PROMISED * step.promised:
            work.slopes = None
    return at


@dataclass(frozen=True, eq=False)
class _Step:
    """A step that a linearization promises something of.

    Attributes:
        damping: of it.
        z: (D,) where it leads.
        shift: (W', S) moves of the start states.
        promised: how much the cost falls if all is linear.
    """

    damping: float
    z: np.ndarray
    shift: np.ndarray
    promised: float


def _promising(local: Linearization, at: _Point, damping: float, least: float) -> list[_Step]:
    """Returns steps that promise more than ``least`` of the cost, the best first.

    The damping rises until there are any: long steps are cut, and may promise nothing. Empty where
    nothing is to be gained.
    """
    while damping <= MOST_DAMPING:
        found = []
        for factor in DAMPINGS:
            z, shift = _step(local, at.z, damping * factor)
            change = np.nan_to_num(local.jacobian) @ (z - at.z)
            change += np.einsum("wkcs,ws->wkc", np.nan_to_num(local.start_jacobian), shift)
            cost = _objective(local.residual - change, local.start_shift + shift, local)
            found.append(_Step(damping * factor, z, shift, at.cost - cost))
        found = [step for step in found if step.promised > least * at.cost]
        if found:
            return sorted(found, key=lambda step: -step.promised)
        damping *= DAMPINGS[1] / DAMPINGS[0]
    return []


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
