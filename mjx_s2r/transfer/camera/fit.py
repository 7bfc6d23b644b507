"""The camera that explains pictures best: coarse to fine, search first, then Gauss-Newton.

The cost of a camera is that of what its best coefficients leave (`regions`), by a robust function
that lets shadows and unknown things pull with bounded force,

    rho(r) = c^2 (sqrt(1 + |r|^2 / c^2) - 1)      (Charbonnier et al. 1997)

and a weak prior: half of a row's limits are two deviations. Visibility has no gradient, so the
first level is searched by CMA-ES over hundreds of cameras; the later ones are Gauss-Newton steps
whose slopes are differences over half a pixel, the coefficients solved anew at both ends.
"""

import functools
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from mjx_s2r.params import ParamSpace
from mjx_s2r.transfer.camera.regions import (
    Blur,
    PosedScene,
    blur_of,
    coefficients,
)

SOFT = 0.06  # c, of full scale: residuals above pull no harder
STEP_PX = 0.5  # difference quotients move the picture by this much
PRIOR_STDS = 2.0  # deviations of the prior between the middle of the limits and their ends


@dataclass(frozen=True)
class FitConfig:
    """Settings of a fit.

    Attributes:
        search_blur_px: blur of the pictures that are searched, as a share of their height.
        blurs: blurs of the Gauss-Newton levels, as shares of the height, coarse to fine.
        population: cameras of one generation of the search.
        generations: of the search; 0 leaves it out.
        most_steps: Gauss-Newton steps of a level.
        seed: of the search.
    """

    search_blur: float = 0.04
    blurs: tuple[float, ...] = (0.03, 0.012)
    population: int = 24
    generations: int = 30
    most_steps: int = 8
    seed: int = 0


@dataclass(frozen=True, eq=False)
class CameraFit:
    """What a fit found, and what is needed to judge it.

    Attributes:
        xi: (D,) the rows' values, in their units.
        residual: (M, h, w, 3) measured minus predicted, at the last level.
        jacobian: (M, h, w, 3, D) how that changes with the rows' unit coordinates.
        weights: (M, h, w) of the robust cost.
        trace: (T, 2) cameras drawn so far, and the best cost then.
    """

    xi: np.ndarray
    residual: np.ndarray
    jacobian: np.ndarray
    weights: np.ndarray
    trace: np.ndarray


class Level:
    """One level of the pyramid: residuals of a camera, as functions of unit coordinates.

    A unit coordinate is -1 at a row's low limit and 1 at its high one.
    """

    def __init__(
        self, posed: PosedScene, space: ParamSpace, pictures: np.ndarray, share: float
    ) -> None:
        """Blurs the pictures (M, H, W, 3) uint8 by a share of their height."""
        _, height, width = posed.size
        blur = blur_of(height, width, share * height)
        self.pictures = jax.jit(blur)(jnp.asarray(pictures, jnp.float32) / 255)
        self._posed, self._space = posed, space
        self._leave = jax.jit(functools.partial(_residual, blur))

    def residual(self, u: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
        """Returns (M, h, w, 3) measured minus predicted at unit coordinates u (D,).

        ``weights`` (M, h, w) are those of the coefficients' least squares; None for even ones.
        """
        basis = self._posed.basis(to_values(self._space, u))
        given = self.even() if weights is None else weights
        return np.asarray(self._leave(basis, self.pictures, jnp.asarray(given, jnp.float32)))

    def cost(self, u: np.ndarray) -> float:
        """Returns the mean robust cost and the prior's at unit coordinates u (D,)."""
        return robust_cost(self.residual(u)) + prior_cost(u, self.even().size)

    def even(self) -> np.ndarray:
        """Returns (M, h, w) equal weights."""
        return np.ones(self.pictures.shape[:-1], np.float32)


def _frame(space: ParamSpace) -> tuple[np.ndarray, np.ndarray]:
    """Returns the middle of the limits and half of their span, (D,) each."""
    low, high = space.limits
    return (low + high) / 2, (high - low) / 2


def to_values(space: ParamSpace, u: np.ndarray) -> np.ndarray:
    """Returns the rows' values (..., D) at unit coordinates."""
    middle, half = _frame(space)
    return middle + half * u


def to_units(space: ParamSpace, xi: np.ndarray) -> np.ndarray:
    """Returns the unit coordinates (..., D) of values."""
    middle, half = _frame(space)
    return (xi - middle) / half


def _residual(
    blur: Blur, basis: jax.Array, pictures: jax.Array, weights: jax.Array
) -> jax.Array:
    """Returns (M, h, w, 3) what the best coefficients leave of blurred pictures."""
    smooth = blur(basis)
    return pictures - smooth @ coefficients(smooth, pictures, weights)


def robust_cost(residual: np.ndarray) -> float:
    """Returns the mean robust cost of residuals (..., 3)."""
    square = np.sum(residual.astype(float) ** 2, axis=-1)
    return float(SOFT**2 * np.mean(np.sqrt(1 + square / SOFT**2) - 1))


def robust_weights(residual: np.ndarray) -> np.ndarray:
    """Returns (...) the weights of iteratively reweighted least squares at residuals (..., 3)."""
    return 1 / np.sqrt(1 + np.sum(residual**2, axis=-1) / SOFT**2)


def prior_cost(u: np.ndarray, pixels: int) -> float:
    """Returns the prior of unit coordinates (D,), as a mean over pixels."""
    return float(0.5 * (SOFT * PRIOR_STDS) ** 2 * np.sum(np.square(u)) / pixels)


def search(level: Level, start: np.ndarray, config: FitConfig) -> tuple[np.ndarray, np.ndarray]:
    """Returns the best unit coordinates (D,) that CMA-ES finds, and the trace (T, 2)."""
    import cma

    best, trace = (np.inf, start), []
    strategy = cma.CMAEvolutionStrategy(
        start,
        0.35,
        {
            "popsize": config.population,
            "bounds": [-1, 1],
            "seed": config.seed + 1,
            "verbose": -9,
            "maxiter": config.generations,
        },
    )
    while not strategy.stop():
        drawn = strategy.ask()
        costs = np.array([level.cost(u) for u in drawn])
        strategy.tell(drawn, costs.tolist())
        if costs.min() < best[0]:
            best = float(costs.min()), np.array(drawn[int(costs.argmin())])
        trace.append((strategy.countevals, best[0]))
    return best[1], np.array(trace).reshape(-1, 2)


def descend(
    level: Level, u: np.ndarray, steps: np.ndarray, most: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, list[tuple[int, float]]]:
    """Goes down by damped Gauss-Newton steps on the reweighted cost.

    Args:
        level: whose residuals.
        u: (D,) where to begin.
        steps: (D,) half of what difference quotients span, in unit coordinates.
        most: steps at most.

    Returns:
        u (D,), residual (M, h, w, 3), jacobian (M, h, w, 3, D), weights (M, h, w), and the trace.
    """
    size, damping, trace, drawn = len(u), 1e-3, [], 0
    cost = level.cost(u)
    weights = robust_weights(level.residual(u))
    for _ in range(most):
        residual = level.residual(u, weights)
        weights = robust_weights(residual)
        slopes = [
            (level.residual(u + one, weights) - level.residual(u - one, weights)) / (2 * one.sum())
            for one in np.diag(steps)
        ]
        jacobian = np.stack(slopes, axis=-1)
        drawn += 2 * size + 2
        hessian, slope = normal_equations(jacobian, residual, weights, u)
        better = False
        for _ in range(5):
            damped = hessian + damping * np.diag(np.diag(hessian))
            move = -np.linalg.solve(damped, slope)
            near = np.clip(u + move, -1, 1)
            found = level.cost(near)
            drawn += 1
            if found < cost:
                better = True
                break
            damping *= 8
        if not better:
            break
        small = np.all(np.abs(near - u) < 0.02 * steps)
        u, cost, damping = near, found, damping / 8
        trace.append((drawn, cost))
        if small:
            break
    residual = level.residual(u, weights)
    return u, residual, jacobian, robust_weights(residual), trace


def normal_equations(
    jacobian: np.ndarray, residual: np.ndarray, weights: np.ndarray, u: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the Hessian (D, D) and the slope (D,) of the reweighted cost and its prior."""
    flat = jacobian.reshape(-1, jacobian.shape[-1]).astype(float)
    weight = np.repeat(weights.ravel(), 3).astype(float)
    prior = (SOFT * PRIOR_STDS) ** 2
    hessian = flat.T @ (weight[:, None] * flat) + prior * np.eye(len(u))
    slope = flat.T @ (weight * residual.ravel()) + prior * u
    return hessian, slope
