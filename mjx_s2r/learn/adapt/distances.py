"""Distances between two clouds of features, each () and differentiable in both.

`mmd` and `coral` compare the features alone, `transport` compares features and actions together.
All are zero for equal clouds, but for the blur of entropic transport. Rows are samples.
"""

import warnings
from types import ModuleType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

KERNEL_WIDTHS = (0.25, 0.5, 1.0, 2.0, 4.0)  # of the mean squared distance of two samples
MAX_SINKHORN = 500  # iterations; the plan is used as it is then


def squared_distances(a: jax.Array, b: jax.Array) -> jax.Array:
    """Returns (N, M) squared Euclidean distances of rows a (N, F) and b (M, F), never negative."""
    square = jnp.sum(a**2, -1)[:, None] + jnp.sum(b**2, -1)[None] - 2 * a @ b.T
    return jnp.maximum(square, 0.0)


def mmd(a: jax.Array, b: jax.Array) -> jax.Array:
    """Returns the squared maximum mean discrepancy of a (N, F) and b (M, F), in [0, 2].

        mean k(a, a') + mean k(b, b') - 2 mean k(a, b),   k(x, y) = exp(-|x - y|^2 / w)

    averaged over the widths w of `KERNEL_WIDTHS` times the mean squared distance of the two clouds
    together (Gretton et al. 2012; several kernels as in Long et al. 2015). Pairs of a sample with
    itself count, so that equal clouds give zero. The widths carry no gradient.
    """
    within_a, within_b, across = (
        squared_distances(a, a),
        squared_distances(b, b),
        squared_distances(a, b),
    )
    count = a.shape[0] + b.shape[0]
    total = jnp.sum(within_a) + jnp.sum(within_b) + 2 * jnp.sum(across)
    mean = jax.lax.stop_gradient(total / (count * (count - 1))) + 1e-12

    def similarity(square: jax.Array) -> jax.Array:
        """Returns the mean over pairs and kernels."""
        kernels = [jnp.mean(jnp.exp(-square / (width * mean))) for width in KERNEL_WIDTHS]
        return jnp.mean(jnp.stack(kernels))

    return similarity(within_a) + similarity(within_b) - 2 * similarity(across)


def coral(a: jax.Array, b: jax.Array) -> jax.Array:
    """Returns the distance of the first two moments of a (N, F) and b (M, F).

        |mean_a - mean_b|^2 / F  +  |C_a - C_b|_F^2 / (4 F^2)

    with the sample covariances C (N - 1); the second term is the loss of Deep CORAL (Sun and Saenko
    2016), which compares no means.
    """
    size = a.shape[1]
    shift = jnp.sum((jnp.mean(a, 0) - jnp.mean(b, 0)) ** 2) / size
    spread = jnp.sum((_covariance(a) - _covariance(b)) ** 2) / (4 * size**2)
    return shift + spread


def _covariance(x: jax.Array) -> jax.Array:
    """Returns the sample covariance (F, F) of rows (N, F)."""
    centred = x - jnp.mean(x, 0)
    return centred.T @ centred / max(1, x.shape[0] - 1)


def transport(cost: jax.Array, blur: float, relaxation: float) -> tuple[jax.Array, jax.Array]:
    """Returns the cost of unbalanced optimal transport and the mass that it moves, both ().

    The plan P (N, M) minimizes, with uniform weights a and b (Chizat et al. 2018),

        <P, cost> + blur KL(P | a b^T) + relaxation (KL(P 1 | a) + KL(P^T 1 | b))

    and the result is <P, cost> with P held fixed, whose gradient is that of the minimum (Danskin);
    so align Cheng et al. 2025 (arXiv 2509.18631) simulated with real samples. Where a sample has no
    counterpart, its mass stays at home, and what is moved is below 1.

    Args:
        cost: (N, M) of moving a unit of mass.
        blur: weight of the entropy, in units of the cost; small is exact and slow.
        relaxation: price of leaving mass, in units of the cost; infinite is balanced transport.
    """
    plan = jax.lax.stop_gradient(transport_plan(jax.lax.stop_gradient(cost), blur, relaxation))
    return jnp.sum(plan * cost), jnp.sum(plan)


def transport_plan(cost: jax.Array, blur: float, relaxation: float) -> jax.Array:
    """Returns the plan (N, M) that `transport` uses, by OTT's Sinkhorn iterations."""
    ott = require_ott()
    # OTT's entropy is against the counting measure; this constant makes it one against a b^T.
    shifted = cost + blur * jnp.log(float(cost.shape[0] * cost.shape[1]))
    share = 1.0 if relaxation == float("inf") else relaxation / (relaxation + blur)
    problem = ott.problem.LinearProblem(
        ott.geometry.Geometry(cost_matrix=shifted, epsilon=blur), tau_a=share, tau_b=share
    )
    solver = ott.sinkhorn.Sinkhorn(max_iterations=MAX_SINKHORN, threshold=1e-4)
    return solver(problem).matrix


class OttModules(NamedTuple):
    """The modules of OTT that transport needs."""

    geometry: ModuleType
    problem: ModuleType
    sinkhorn: ModuleType


def require_ott() -> OttModules:
    """Returns OTT, which the extra ``alignment`` brings.

    Raises:
        ImportError: it is not installed; names the extra.
    """
    try:
        with warnings.catch_warnings():
            # OTT 0.6 loads a library for one solver of its own that is not used here.
            warnings.filterwarnings("ignore", "JAXopt is no longer maintained", DeprecationWarning)
            from ott.geometry import geometry
            from ott.problems.linear import linear_problem
            from ott.solvers.linear import sinkhorn
    except ImportError as error:
        raise ImportError(
            "optimal transport needs OTT: pip install 'mjx_s2r[alignment]'"
        ) from error
    return OttModules(geometry, linear_problem, sinkhorn)


def joint_cost(source: tuple[Any, Any], target: tuple[Any, Any], action_weight: float) -> jax.Array:
    """Returns (N, M): mean squared difference of features, plus that of actions times a weight.

    Args:
        source: features (N, F) and actions (N, J).
        target: features (M, F) and actions (M, J).
        action_weight: of the actions; 0 leaves the features alone.
    """
    features = squared_distances(source[0], target[0]) / source[0].shape[1]
    if not action_weight:
        return features
    return features + action_weight * squared_distances(source[1], target[1]) / source[1].shape[1]
