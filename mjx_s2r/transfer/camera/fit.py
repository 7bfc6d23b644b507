"""The camera that explains pictures best: coarse to fine, search first, then Gauss-Newton.

The cost of a camera is that of what its best coefficients leave (`regions`), by a robust function
(Barron 2019, "A general and adaptive robust loss function"), and a weak prior: half of a row's
limits are two deviations. The function is sharpened from level to level: at first (shape 1) a
residual pulls with bounded force, so that an edge far off is still felt; at last (shape -1) what is
far off hardly pulls at all, and shadows, highlights and unknown things lose their say. The last
blur stays about a pixel wide: pictures without antialiasing would else draw edges to the grid.

Visibility has no gradient, so the first level is searched by CMA-ES over hundreds of cameras; the
others are Gauss-Newton steps whose slopes are differences over about a pixel and a half, with
coefficients and weights found anew at both ends. Differences are taken along the principal
directions of what the pictures say (`even_moves`): place, turn and field of view trade with one
another, and slopes along the axes cannot tell such a valley from the noise of the grid.
"""

import functools
from collections.abc import Callable
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

DARKEST_SHADOW = 0.3  # share of a surface's light that its shadow keeps, at least
SHADOW_PRICE = 0.25  # residual of a shadow that takes all light
SCALE = 0.08  # of full scale: residuals above it pull no harder
ROUNDS = 2  # of reweighting for the coefficients of one camera
TRIES = 8  # of a step, each damped eight times as much
STEP_PX = 1.5  # difference quotients move the picture by this much
LONGEST_MOVE = 0.3  # of a unit coordinate in one difference quotient
PRIOR_STDS = 2.0  # deviations of the prior between the middle of the limits and their ends


@dataclass(frozen=True)
class LevelConfig:
    """Settings of one level.

    Attributes:
        blur: deviation of the blur, as a share of the picture's height.
        shape: of the robust function: 1 Charbonnier, -2 Geman and McClure.
    """

    blur: float
    shape: float


@dataclass(frozen=True)
class CameraFitConfig:
    """Settings of a fit.

    Attributes:
        coarse: the level that is searched.
        levels: those of the Gauss-Newton steps, in order.
        rough_pictures: pictures that the search looks at, one ray a pixel.
        population: cameras of one generation of the search.
        generations: of the search; 0 leaves it out.
        most_steps: Gauss-Newton steps of a level.
        seed: of the search.
    """

    coarse: LevelConfig = LevelConfig(0.04, 1.0)
    levels: tuple[LevelConfig, ...] = (
        LevelConfig(0.03, 1.0),
        LevelConfig(0.027, -1.0),
        LevelConfig(0.015, -1.0),
    )
    rough_pictures: int = 6
    population: int = 20
    generations: int = 30
    most_steps: int = 8
    seed: int = 0


class Level:
    """One level of the pyramid: residuals of a camera, as functions of unit coordinates.

    A unit coordinate is -1 at a row's low limit and 1 at its high one.
    """

    def __init__(
        self, posed: PosedScene, space: ParamSpace, pictures: np.ndarray, config: LevelConfig
    ) -> None:
        """Blurs the pictures (M, H, W, 3) uint8."""
        _, height, width = posed.size
        blur = blur_of(height, width, config.blur * height)
        self.shape = config.shape
        self._blur, self._solve = jax.jit(blur), jax.jit(coefficients)
        self.pictures = self._blur(jnp.asarray(pictures, jnp.float32) / 255)
        self._posed, self._space = posed, space
        self._leave = jax.jit(functools.partial(_residual, blur, config.shape, ROUNDS))
        self._leave_evenly = jax.jit(functools.partial(_residual, blur, config.shape, 0))

    def residual(self, u: np.ndarray, order: np.ndarray | None = None) -> np.ndarray:
        """Returns (M, h, w, 4) what a camera leaves of the pictures, at unit coordinates u (D,).

        Measured minus predicted, in the shadow that suits each pixel best, and the price of that
        shadow; of the pictures in another ``order`` (M,) of poses if one is given.
        """
        basis = self._posed.basis(to_values(self._space, u))
        return np.asarray(self._leave(basis if order is None else basis[order], self.pictures))

    def cost(self, u: np.ndarray) -> float:
        """Returns the mean robust cost and the prior's at unit coordinates u (D,)."""
        residual = self.residual(u)
        return robust_cost(residual, self.shape) + prior_cost(u, residual[..., 0].size)

    def quick_cost(self, u: np.ndarray) -> float:
        """Returns `cost` with coefficients of even weights, for the search."""
        basis = self._posed.basis(to_values(self._space, u))
        residual = np.asarray(self._leave_evenly(basis, self.pictures))
        return robust_cost(residual, self.shape) + prior_cost(u, residual[..., 0].size)

    def predict(
        self, u: np.ndarray, given: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Returns (M, H, W, 3) uint8 what is predicted at u (D,), and its coefficients (R, 3)."""
        basis = self._posed.basis(to_values(self._space, u))
        if given is None:
            smooth, weights = self._blur(basis), jnp.asarray(self.even())
            for _ in range(3):
                found = self._solve(smooth, self.pictures, weights)
                left = np.asarray(self.pictures - smooth @ found)
                weights = jnp.asarray(robust_weights(left, self.shape), jnp.float32)
            given = np.asarray(found)
        shown = np.asarray(basis @ jnp.asarray(given))
        return np.rint(255 * np.clip(shown, 0, 1)).astype(np.uint8), given

    def even(self) -> np.ndarray:
        """Returns (M, h, w) equal weights."""
        return np.ones(self.pictures.shape[:-1], np.float32)


@dataclass(frozen=True, eq=False)
class CameraFit:
    """What a fit found, and what is needed to judge it.

    Attributes:
        space: the D rows.
        u: (D,) their unit coordinates.
        residual: (M, h, w, 4) measured minus predicted and the shadows' price, at the last level.
        jacobian: (M, h, w, 4, D) how that changes with the rows' unit coordinates.
        weights: (M, h, w) of the robust cost.
        trace: (T, 2) cameras drawn so far, and the best cost then.
        level: the last one.
    """

    space: ParamSpace
    u: np.ndarray
    residual: np.ndarray
    jacobian: np.ndarray
    weights: np.ndarray
    trace: np.ndarray
    level: Level

    def cost(self, order: np.ndarray | None = None) -> float:
        """Returns the robust cost, of the pictures in another ``order`` (M,) of poses if given."""
        return robust_cost(self.level.residual(self.u, order), self.level.shape)

    def predict(
        self, u: np.ndarray, coefficients: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Returns (M, H, W, 3) uint8 what a camera shows, without shadows, and the coefficients.

        They are those (R, 3) of the fit at u (D,) where none are given.
        """
        return self.level.predict(u, coefficients)


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
    blur: Blur, shape: float, rounds: int, basis: jax.Array, pictures: jax.Array
) -> jax.Array:
    """Returns what the best coefficients leave, see `Level.residual`, after rounds of reweighting.

    Shadows have a price: without it a bright surface could stand for every darker one of its hue.
    """
    smooth, weights = blur(basis), jnp.ones(pictures.shape[:-1], jnp.float32)
    lit = smooth @ coefficients(smooth, pictures, weights)
    for _ in range(rounds):
        square = jnp.sum((pictures - lit) ** 2, axis=-1) / SCALE**2
        weights = (square / abs(shape - 2) + 1) ** (shape / 2 - 1)
        lit = smooth @ coefficients(smooth, pictures, weights)
    like = jnp.sum(pictures * lit, axis=-1) / jnp.maximum(jnp.sum(lit * lit, axis=-1), 1e-4)
    share = jnp.clip(like, DARKEST_SHADOW, 1.0)[..., None]
    return jnp.concatenate((pictures - share * lit, SHADOW_PRICE * (1 - share)), axis=-1)


def robust_cost(residual: np.ndarray, shape: float) -> float:
    """Returns the mean robust cost of residuals (..., C).

    With a the shape and x = |r| / `SCALE`: `SCALE`^2 (|a - 2| / a) ((x^2 / |a - 2| + 1)^(a/2) - 1),
    Barron's equation 1; its weight is (x^2 / |a - 2| + 1)^(a/2 - 1).
    """
    far = _far(residual, shape)
    return float(SCALE**2 * abs(shape - 2) / shape * np.mean(far ** (shape / 2) - 1))


def robust_weights(residual: np.ndarray, shape: float) -> np.ndarray:
    """Returns (...) the weights of iteratively reweighted least squares at residuals (..., C)."""
    return _far(residual, shape) ** (shape / 2 - 1)


def _far(residual: np.ndarray, shape: float) -> np.ndarray:
    """Returns (...) x^2 / |a - 2| + 1."""
    square = np.sum(residual.astype(float) ** 2, axis=-1) / SCALE**2
    return square / abs(shape - 2) + 1


def prior_cost(u: np.ndarray, pixels: int) -> float:
    """Returns the prior of unit coordinates (D,), as a mean over pixels."""
    return float(0.5 * (SCALE * PRIOR_STDS) ** 2 * np.sum(np.square(u)) / pixels)


def search(
    level: Level, start: np.ndarray, config: CameraFitConfig
) -> tuple[np.ndarray, np.ndarray]:
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
        costs = np.array([level.quick_cost(u) for u in drawn])
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
        steps: (D,) half of what the first difference quotients span, in unit coordinates.
        most: steps at most.

    Returns:
        u (D,), residual (M, h, w, 4), jacobian (M, h, w, 4, D), weights (M, h, w), and the trace.
    """
    moves, damping, trace, drawn = np.diag(steps), 1e-3, [], 0
    jacobian, residual, weights = _slopes(level, u, moves)
    moves = even_moves(normal_equations(jacobian, residual, weights, u)[0], steps)
    for _ in range(most):
        jacobian, residual, weights = _slopes(level, u, moves)
        hessian, slope = normal_equations(jacobian, residual, weights, u)
        moves = even_moves(hessian, steps)
        cost = robust_cost(residual, level.shape) + prior_cost(u, weights.size)
        drawn += 2 * len(u) + 2
        curved, down = moves @ hessian @ moves.T, moves @ slope
        for _ in range(TRIES):
            damped = curved + damping * np.diag(np.diag(curved))
            near = np.clip(u - np.linalg.solve(damped, down) @ moves, -1, 1)
            found = level.cost(near)
            drawn += 1
            if found < cost:
                break
            damping *= 8
        else:
            break
        small = np.all(np.abs(near - u) < 0.02 * steps)
        u, damping = near, damping / 8
        trace.append((drawn, found))
        if small:
            break
    residual = level.residual(u)
    return u, residual, jacobian, robust_weights(residual, level.shape), trace


def _slopes(
    level: Level, u: np.ndarray, moves: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns jacobian (M, h, w, 4, D), by differences along moves (D, D), residual and weights."""
    residual = level.residual(u)
    along = [(level.residual(u + one) - level.residual(u - one)) / 2 for one in moves]
    jacobian = np.stack(along, axis=-1) @ np.linalg.inv(moves.T)
    return jacobian, residual, robust_weights(residual, level.shape)


def find_camera(
    posed: PosedScene,
    space: ParamSpace,
    pictures: np.ndarray,
    config: CameraFitConfig,
    tell: Callable[[str], None] = lambda _: None,
) -> CameraFit:
    """Finds the camera that explains pictures best.

    Args:
        posed: the scene in the pictures' poses.
        space: the D rows of the camera.
        pictures: (M, H, W, 3) uint8.
        config: settings.
        tell: called with what is being done.
    """
    steps = difference_steps(posed, space)
    u, trace = to_units(space, space.nominal), np.zeros((0, 2))
    if config.generations:
        tell("searching")
        rough, few = posed.rough(config.rough_pictures)
        u, trace = search(Level(rough, space, pictures[few], config.coarse), u, config)
    rows = [(float(count), float(cost)) for count, cost in trace]
    for number, settings in enumerate(config.levels, 1):
        tell(f"fitting, level {number} of {len(config.levels)}")
        level = Level(posed, space, pictures, settings)
        done = descend(level, u, steps, config.most_steps)
        u, drawn = done[0], rows[-1][0] if rows else 0.0
        rows += [(drawn + count, cost) for count, cost in done[4]]
    return CameraFit(space, *done[:4], np.array(rows).reshape(-1, 2), level)


def even_moves(hessian: np.ndarray, steps: np.ndarray) -> np.ndarray:
    """Returns (D, D) moves, one a row, along the principal directions of what the pictures say.

    Place, turn and field of view trade with one another: along such a direction the pictures hardly
    change, and a difference of one coordinate's slopes would be the grid's noise. Each move is
    therefore made as long as it must be to change the pictures as much as the middle one of
    ``steps``, up to `LONGEST_MOVE`.

    Args:
        hessian: (D, D) of the cost.
        steps: (D,) of the unit coordinates.
    """
    scaled = steps[:, None] * hessian * steps
    strength, directions = np.linalg.eigh(scaled)
    moves = np.sqrt(np.median(np.diag(scaled)) / np.maximum(strength, 1e-12)) * directions
    moves = (steps[:, None] * moves).T
    longest = np.abs(moves).max(1, keepdims=True)
    return moves * np.minimum(1, LONGEST_MOVE / longest)


def difference_steps(posed: PosedScene, space: ParamSpace) -> np.ndarray:
    """Returns (D,) steps of unit coordinates that move the pictures by `STEP_PX`.

    A turn moves them by the focal length, a place by that over the distance of what is seen, the
    field of view by the picture's half at its edge; the lens by what it bends there.
    """
    _, height, _ = posed.size
    fovy = float(posed.binding.nominal["camera_fovy"])
    tangent = np.tan(np.deg2rad(fovy) / 2)
    focal_px = height / (2 * tangent)
    away = np.linalg.norm(
        np.asarray(posed.pose.geom_pos) - np.asarray(posed.pose.cam_pos)[:, None], axis=-1
    )
    moved = {
        "camera_pos": focal_px / float(np.median(away)),
        "camera_rot": focal_px,
        "camera_fovy": 0.5 * height / 2 / tangent * (1 + tangent**2) / 2 * np.deg2rad(1),
        "camera_centre": float(height),
        "camera_distortion": 0.5 * focal_px * tangent**3,
    }
    per_unit = np.array([moved[row.array] for row in space.rows]) * _frame(space)[1]
    return np.minimum(STEP_PX / per_unit, 0.3)


def normal_equations(
    jacobian: np.ndarray, residual: np.ndarray, weights: np.ndarray, u: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the Hessian (D, D) and the slope (D,) of the reweighted cost and its prior."""
    flat = jacobian.reshape(-1, jacobian.shape[-1]).astype(float)
    weight = np.repeat(weights.ravel(), residual.shape[-1]).astype(float)
    prior = (SCALE * PRIOR_STDS) ** 2
    hessian = flat.T @ (weight[:, None] * flat) + prior * np.eye(len(u))
    slope = flat.T @ (weight * residual.ravel()) + prior * u
    return hessian, slope
