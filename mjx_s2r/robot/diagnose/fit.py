"""The joint model fitted to trials: Gauss-Newton over all trials, each from its own start state.

The start states are eliminated trial by trial (variable projection; Golub and Pereyra, "The
differentiation of pseudo-inverses and nonlinear least squares problems", 1973). The intervals come
from the jackknife over trials (CR3; Bell and McCaffrey, "Bias reduction in standard errors for
linear regression with multi-stage samples", 2002), so neither quantized readings nor what the model
leaves unexplained within a trial has to be white.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mjx_s2r.robot.diagnose.estimate import DiagnosisError
from mjx_s2r.robot.diagnose.joint_model import (
    COSINE,
    DAMPING,
    DELAY,
    DRIVE,
    DRY,
    PARAMETERS,
    SINE,
    Trials,
    simulate,
)

ROUNDS = 30
TRIED = 3  # places of the grid from which the fit is tried
DRY_SHARES = (0.0, 0.03, 0.1)  # dry friction to begin with, as an error at rest over the motion
LOUD = 1.5  # a residual this many times the noise
STEP = 1e-4  # of a parameter's size, for derivatives
SIZES = np.array([1.0, 1.0, 0.1, 1.0, 1.0, 0.02])  # of parameters that are about zero
START_SIZES = np.array([1e-2, 1e-1])  # of position and speed at the start
LOWEST = np.array([1e-6, 0.0, 0.0, -np.inf, -np.inf, 0.0])


@dataclass(frozen=True, eq=False)
class JointFit:
    """A fitted joint.

    Attributes:
        theta: (6,) best parameters, in the order of `PARAMETERS`.
        covariance: (6, 6) of them; zero where a parameter was given.
        predicted: (G, K) positions of the fit.
        residual: (G, K) reading minus prediction, NaN where there is no reading.
        trials: number of trials, G.
        delay_of_trial: (G,) each trial's own delay, linearized about the fit, s.
        delay_variance: (G,) its variance, of the readings' noise alone, s^2.
    """

    theta: np.ndarray
    covariance: np.ndarray
    predicted: np.ndarray
    residual: np.ndarray
    trials: int
    delay_of_trial: np.ndarray
    delay_variance: np.ndarray

    def jitter_s(self) -> tuple[float, float, float]:
        """Returns the deviation of the trials' delays beyond their noise, with its interval, s.

        The variance of a variance is 2 / (G - 1) of its square.
        """
        own = np.isfinite(self.delay_of_trial)
        if own.sum() < 4:
            return 0.0, 0.0, math.inf
        seen = float(np.var(self.delay_of_trial[own], ddof=1))
        beyond = seen - float(np.mean(self.delay_variance[own]))
        doubt = 1.96 * math.sqrt(2 / (own.sum() - 1)) * seen
        low, value, high = (
            math.sqrt(max(0.0, x)) for x in (beyond - doubt, beyond, beyond + doubt)
        )
        return value, low, high

    @property
    def error(self) -> float:
        """Root mean square of the residual."""
        return float(np.sqrt(np.nanmean(self.residual**2)))

    @property
    def spread(self) -> tuple[np.ndarray, int]:
        """Covariance and number of trials."""
        return self.covariance, self.trials


@dataclass(frozen=True, eq=False)
class _Local:
    """The fit about one point: residual (G, K + 2), derivatives (G, K + 2, P) and (G, K + 2, 2)."""

    residual: np.ndarray
    slope: np.ndarray
    start_slope: np.ndarray

    @property
    def cost(self) -> float:
        """Sum of squares."""
        return float(np.sum(self.residual**2))


def fit_joint(trials: Trials, guess: np.ndarray, free: Sequence[int]) -> JointFit:
    """Returns the parameters that explain the readings best.

    Args:
        trials: at least three.
        guess: (6,) where to begin; parameters that are not free keep its values.
        free: places in `PARAMETERS` of those that are fitted.

    Raises:
        DiagnosisError: fewer than three trials, or a fit that does not come to rest.
    """
    if len(trials) < 3:
        raise DiagnosisError(
            f"{len(trials)} trials are too few for an interval; ask for more with --trials"
        )
    chosen, noise = np.array(free, int), trials.noise
    theta, start, local = _descend(trials, guess.astype(float), trials.start, chosen, noise)
    error = math.sqrt(local.cost / max(1, int(trials.seen.sum())))
    if error > LOUD * noise:  # the starts are surer than what the model leaves of the rest
        theta, start, local = _descend(trials, theta, start, chosen, error)
    if not np.isfinite(local.cost):
        raise DiagnosisError("the fit of the joint does not come to rest; look at the log")
    return _finish(trials, theta, start, chosen, local)


def _descend(
    trials: Trials, theta: np.ndarray, start: np.ndarray, chosen: np.ndarray, noise: float
) -> tuple[np.ndarray, np.ndarray, "_Local"]:
    """Returns parameters, start states and the fit about them, by Levenberg and Marquardt.

    Args:
        trials: what is fitted.
        theta: (6,) where to begin.
        start: (G, 2) likewise.
        chosen: (P,) places of the parameters that are free.
        noise: deviation of what the model does not explain, against which the starts are weighed.
    """
    local, damp = _linearize(trials, theta, start, chosen, noise), 1e-3
    for _ in range(ROUNDS):
        change, start_change = _step(local, damp, theta[chosen] - LOWEST[chosen])
        new = theta.copy()
        new[chosen] = np.maximum(theta[chosen] + change, LOWEST[chosen])
        start_new, cost = _better_start(trials, new, (start, start + start_change), noise)
        if not cost < local.cost:
            damp *= 10.0
            if damp > 1e9:
                break
            continue
        gain = 1 - cost / local.cost if local.cost else 0.0
        theta, start, damp = new, start_new, max(damp / 10, 1e-9)
        local = _linearize(trials, theta, start, chosen, noise)
        if gain < 1e-6 and damp < 1e-2:
            break
    return theta, start, local


def guess_effort(trials: Trials, free: Sequence[int], delays_s: Sequence[float]) -> np.ndarray:
    """Returns (6,) parameters to begin with, by regression of the accelerations, per delay.

    Differences over several readings stand for speed and acceleration; of the delays, the one whose
    simulation fits best is taken.
    """
    start = trials.start
    found = np.array([_regress(trials, [f for f in free if f != DELAY], d) for d in delays_s])
    costs = _costs(trials, found, start)
    return found[int(np.argmin(costs))]


def guess_servo(
    trials: Trials, free: Sequence[int], delays_s: Sequence[float], most: int = 8
) -> np.ndarray:
    """Returns (6,) parameters to begin with, from a grid of frequency, damping ratio and delay.

    The best places of the grid are followed downhill on ``most`` of the trials.
    """
    few = trials.some(np.unique(np.linspace(0, len(trials) - 1, most).astype(int)))
    start = few.start
    grid = []
    for rad_s in np.geomspace(4.0, 200.0, 12):
        for ratio in (0.3, 0.7, 1.5):
            grid += [(rad_s**2, 2 * ratio * rad_s, 0.0, 0.0, 0.0, d) for d in delays_s]
    found = np.array(grid)
    order = np.argsort(_costs(few, found, start))
    chosen = np.array(free, int)
    span = float(np.ptp(few.position[few.seen]))
    tried = []
    for place in found[order[: 3 * TRIED : 3]]:
        for share in DRY_SHARES:  # the cost has a valley of its own where nothing sticks
            place[DRY] = share * span * place[DRIVE]
            tried.append(_descend(few, place, start, chosen, few.noise))
    return min(tried, key=lambda x: x[2].cost)[0]


def _regress(trials: Trials, free: Sequence[int], delay_s: float) -> np.ndarray:
    """Returns (6,) parameters of one delay, from accelerations by differences of readings."""
    gap_s = float(np.median(np.diff(trials.time_s)[trials.seen[:, 1:]]))
    wide = max(1, round(0.06 / gap_s))
    rows, wanted = [], []
    for g in range(len(trials)):
        count = int(trials.seen[g].sum())
        k = np.arange(wide, count - wide)
        if not len(k):
            continue
        at, q = trials.time_s[g], trials.position[g]
        span = (at[k + wide] - at[k - wide]) / 2
        speed = (q[k + wide] - q[k - wide]) / (2 * span)
        bend = (q[k + wide] - 2 * q[k] + q[k - wide]) / span**2
        drive = np.array([trials.command.mean(np.array([a, b]) - delay_s)[0]
                          for a, b in zip(at[k - wide], at[k + wide], strict=True)])  # fmt: skip
        sine, cosine = (np.sin(q[k]), np.cos(q[k])) if trials.hinge else (0 * span, 1 + 0 * span)
        rows.append(np.stack([drive, -speed, -np.sign(speed), -sine, -cosine, 0 * drive], axis=1))
        wanted.append(bend)
    if not rows:
        raise DiagnosisError("the trials hold too few readings each; ask for longer ones")
    table = np.concatenate(rows)[:, list(free)]
    size = np.linalg.norm(table, axis=0)
    size = np.where(size > 0, size, 1.0)
    solved = np.linalg.lstsq(table / size, np.concatenate(wanted), rcond=1e-8)[0] / size
    theta = np.zeros(len(PARAMETERS))
    theta[list(free)] = solved
    theta[DELAY] = delay_s
    return np.maximum(theta, LOWEST)


def _errors(trials: Trials, theta: np.ndarray, start: np.ndarray) -> np.ndarray:
    """Returns (V, G) sums of squares of V variants (V, 6), from start states (V, G, 2)."""
    error = np.where(trials.seen, trials.position - simulate(trials, theta, start), 0.0)
    error = np.nan_to_num(error, nan=1e6, posinf=1e6, neginf=-1e6)
    cost = np.sum(np.clip(error, -1e6, 1e6) ** 2, axis=2)
    return np.where(np.isfinite(cost), cost, np.inf)


def _costs(trials: Trials, theta: np.ndarray, start: np.ndarray) -> np.ndarray:
    """Returns (V,) sums of squares of V variants (V, 6)."""
    return _errors(trials, theta, np.broadcast_to(start, (len(theta), *start.shape))).sum(1)


def _better_start(
    trials: Trials, theta: np.ndarray, starts: tuple[np.ndarray, np.ndarray], noise: float
) -> tuple[np.ndarray, float]:
    """Returns (G, 2) the better of two start states of each trial, and the sum of squares."""
    errors = _errors(trials, np.stack([theta, theta]), np.stack(starts))
    errors += np.stack([np.sum(_off(trials, x, noise) ** 2, axis=1) for x in starts])
    better = (errors[1] < errors[0])[:, None]
    return np.where(better, starts[1], starts[0]), float(errors.min(0).sum())


def _off(trials: Trials, start: np.ndarray, noise: float) -> np.ndarray:
    """Returns (G, 2) how far start states are from what was seen, weighed like readings."""
    return (trials.start - start) * noise / trials.start_std


def _linearize(
    trials: Trials, theta: np.ndarray, start: np.ndarray, chosen: np.ndarray, noise: float
) -> _Local:
    """Returns residual and derivatives by differences, all simulated at once.

    What is known of the start states stands behind the readings as two more.
    """
    steps = STEP * np.maximum(np.abs(theta), SIZES)
    variants = np.tile(theta, (1 + len(chosen) + 2, 1))
    starts = np.tile(start, (len(variants), 1, 1))
    for n, p in enumerate(chosen):
        variants[1 + n, p] += steps[p]
    for n in range(2):
        starts[1 + len(chosen) + n, :, n] += STEP * START_SIZES[n]
    ways = simulate(trials, variants, starts)
    moved = np.where(trials.seen, ways[1:] - ways[0], 0.0)
    sizes = np.concatenate([steps[chosen], STEP * START_SIZES])
    slopes = np.moveaxis(moved / sizes[:, None, None], 0, -1)
    residual = np.where(trials.seen, trials.position - ways[0], 0.0)
    known = np.zeros((len(trials), 2, slopes.shape[-1]))
    known[:, [0, 1], [-2, -1]] = noise / trials.start_std
    slopes = np.concatenate([slopes, known], axis=1)
    residual = np.concatenate([residual, _off(trials, start, noise)], axis=1)
    return _Local(residual, slopes[..., :-2], slopes[..., -2:])


def _without_start(local: _Local) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns residual (G, K) and derivatives (G, K, P) with the start states' part taken out.

    The third is (G, 2, K), what gives the start states from a residual.
    """
    inverse = np.linalg.pinv(local.start_slope, rcond=1e-9)
    slope = local.slope - local.start_slope @ (inverse @ local.slope)
    part = local.start_slope @ (inverse @ local.residual[..., None])
    return local.residual - part[..., 0], slope, inverse


def _step(local: _Local, damp: float, above: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the change of the parameters (P,) and of the start states (G, 2).

    Args:
        local: the fit about the present point.
        damp: Levenberg's damping.
        above: (P,) how far each parameter is above its lowest value; one that stands there and
            would sink stays.
    """
    residual, slope, inverse = _without_start(local)
    normal = np.einsum("gkp,gkq->pq", slope, slope)
    pull = np.einsum("gkp,gk->p", slope, residual)
    size = np.sqrt(np.diag(normal))
    size = np.where(size > 0, size, 1.0)
    scaled = normal / np.outer(size, size) + damp * np.eye(len(size))
    stays = (above <= 0) & (pull < 0)
    scaled = np.where(np.outer(~stays, ~stays), scaled, np.eye(len(size)))
    change = np.linalg.solve(scaled, np.where(stays, 0.0, pull) / size) / size
    left = local.residual - local.slope @ change
    return change, (inverse @ left[..., None])[..., 0]


def _finish(
    trials: Trials, theta: np.ndarray, start: np.ndarray, chosen: np.ndarray, local: _Local
) -> JointFit:
    """Returns the fit with its covariance and each trial's own delay."""
    residual, slope, _ = _without_start(local)
    covariance = np.zeros((len(theta), len(theta)))
    covariance[np.ix_(chosen, chosen)] = jackknife(slope, residual)
    own, variance = np.full(len(trials), theta[DELAY]), np.full(len(trials), np.inf)
    if DELAY in chosen:
        late = slope[..., list(chosen).index(DELAY)]
        power = np.sum(late**2, axis=1)
        known = power > 1e-3 * np.max(power)
        count = np.maximum(trials.seen.sum(1) - 3, 1)
        noise = float(np.sum(residual**2) / np.sum(count))
        own = own + np.where(
            known, np.sum(late * residual, 1) / np.where(known, power, 1.0), np.nan
        )
        variance = np.where(known, noise / np.where(known, power, 1.0), np.nan)
    return JointFit(
        theta=theta,
        covariance=covariance,
        predicted=trials.position - local.residual[:, :-2],
        residual=np.where(trials.seen, local.residual[:, :-2], np.nan),
        trials=len(trials),
        delay_of_trial=own,
        delay_variance=variance,
    )


def jackknife(slope: np.ndarray, residual: np.ndarray) -> np.ndarray:
    """Returns (P, P) covariance of least squares by leaving out one of G groups at a time.

    Args:
        slope: (G, K, P) derivatives of the predictions.
        residual: (G, K) reading minus prediction at the best parameters.
    """
    each = np.einsum("gkp,gkq->gpq", slope, slope)
    pulls = np.einsum("gkp,gk->gp", slope, residual)
    size = np.sqrt(np.diag(each.sum(0)))
    size = np.where(size > 0, size, 1.0)
    each, pulls = each / np.outer(size, size), pulls / size
    others = np.linalg.pinv(each.sum(0) - each, rcond=1e-10, hermitian=True)
    moved = np.einsum("gpq,gq->gp", others, pulls)
    groups = len(slope)
    found = (groups - 1) / groups * np.einsum("gp,gq->pq", moved, moved)
    return found / np.outer(size, size)


def free_of(gravity: bool, hinge: bool, dry: bool = True) -> list[int]:
    """Returns the places of the parameters that a joint's trials can tell."""
    found = [DRIVE, DAMPING, *([DRY] if dry else []), DELAY]
    if gravity:
        found += [SINE, COSINE] if hinge else [COSINE]
    return sorted(found)
