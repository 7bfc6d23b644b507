"""The optimization inside the max-entropy schedule: feasible steps along the natural gradient.

Both problems of `mjx_s2r.curriculum.maxent` move (a, b) of the active rows from the present
density. A step of the main problem goes along

    d = F^-1 (grad H + l_G grad G - l_K grad KL)

where F is the Fisher information of the density where it stands (a 2 x 2 block for each row; Amari
1998, Natural Gradient Works Efficiently in Learning), so that every row moves as its own width
allows and a step of length s costs about s^2 / 2 nats. l_G and l_K, each zero or what keeps G, or
KL, as it is, slide along a constraint. The back-up problem has grad G in place of grad H. Of the
four steps the best one is taken that leaves no constraint; where none gains, the length is halved.
So every point on the way is allowed, and none is worse than the start.
"""

from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
from flax import struct
from jax.scipy.special import polygamma

from mjx_s2r.curriculum import beta
from mjx_s2r.curriculum.beta import Betas
from mjx_s2r.params import ParamError

SLACK = 1e-5  # of float32 sums
FIRST, LONGER = 0.25, 1.5  # first step as a share of the trust region; growth of one that gained


@dataclass(frozen=True)
class MaxentConfig:
    """Max-entropy schedule: the widest density that keeps the success."""

    success: float = 0.6
    """Least mean success that the density must keep."""
    trust: float = 0.5
    """Largest KL divergence of one move, nats over all rows."""
    effective: float = 0.1
    """Least effective sample size, as a share of the window."""
    window: int = 256
    """Episodes per move."""
    start: float = 100.0
    """Largest concentration a + b - 2 at the start and ever after."""
    steps: int = 60
    """Steps of the optimizer per problem."""
    quantile: float = 0.05
    """Share of the density left out at either end where ranges are reported."""

    def __post_init__(self) -> None:
        """Checks the settings.

        Raises:
            ParamError: a setting outside its range.
        """
        if not 0 < self.success < 1:
            raise ParamError(f"maxent.success {self.success} must lie in (0, 1)")
        if not (self.trust > 0 and self.start > 0):
            raise ParamError(f"maxent: trust {self.trust} and start {self.start} must be above 0")
        if not 0 < self.effective < 1 or not 0 < self.quantile < 0.5:
            raise ParamError(
                f"maxent: effective {self.effective} must lie in (0, 1) and quantile "
                f"{self.quantile} in (0, 0.5)"
            )
        if self.window < 2 or self.steps < 1:
            raise ParamError(f"maxent: window {self.window} must be >= 2, steps {self.steps} >= 1")


@struct.dataclass
class Problem:
    """The present density and the episodes drawn from it.

    Attributes:
        now: the density, (D,).
        dense: (D,) bool, the rows that it moves.
        unit: (N, D) unit coordinates of the episodes.
        score: (N,) their scores.
    """

    now: Betas
    dense: jax.Array
    unit: jax.Array
    score: jax.Array


@struct.dataclass
class Estimate:
    """Objective and constraints of a density, all (): entropy and KL, nats; G; ESS / N."""

    entropy: jax.Array
    kl: jax.Array
    success: jax.Array
    effective: jax.Array


def estimate(problem: Problem, betas: Betas) -> Estimate:
    """Returns the figures of a density, rows that do not move left out."""
    now, dense = problem.now, problem.dense
    ratio = beta.log_density(betas, problem.unit) - beta.log_density(now, problem.unit)
    log_weight = jnp.sum(jnp.where(dense, ratio, 0.0), -1)
    weight = jax.nn.softmax(log_weight)
    return Estimate(
        entropy=jnp.sum(jnp.where(dense, beta.entropy(betas), 0.0)),
        kl=jnp.sum(jnp.where(dense, beta.kl(betas, now), 0.0)),
        success=jnp.sum(weight * problem.score),
        effective=1 / (jnp.sum(weight**2) * weight.shape[0]),
    )


def solve(problem: Problem, config: MaxentConfig) -> Betas:
    """Returns the next density: the back-up problem where it is needed, then the main one."""

    def phase(index: jax.Array, betas: Betas) -> Betas:
        """Solves the back-up problem (0) where ``betas`` fails, the main one (1) where not."""
        main = index == 1
        due = (estimate(problem, betas).success >= config.success) == main
        return jax.lax.cond(due, lambda b: _search(problem, b, main, config), lambda b: b, betas)

    return jax.lax.fori_loop(0, 2, phase, problem.now)


def _search(problem: Problem, start: Betas, main: jax.Array, config: MaxentConfig) -> Betas:
    """Returns the best density that steps from ``start`` lead to, all of them allowed."""
    longest = (2 * config.trust) ** 0.5
    figures = estimate(problem, start)

    def step(_: int, carry: tuple[Betas, Estimate, jax.Array]) -> tuple[Betas, Estimate, jax.Array]:
        """Takes the best of four steps, or none."""
        betas, now, length = carry
        ways = _directions(problem, betas, main)
        tried = jax.tree.map(
            lambda x, d: jnp.where(
                problem.dense, jnp.clip(x + length * d, 1.0, 1.0 + config.start), x
            ),
            betas,
            ways,
        )
        found = jax.vmap(lambda b: estimate(problem, b))(tried)
        value = jnp.where(_allowed(found, main, config), _objective(found, main), -jnp.inf)
        best = jnp.argmax(value)
        gains = value[best] > _objective(now, main) + SLACK
        pick = lambda new, old: jnp.where(gains, new[best], old)  # noqa: E731
        longer = jnp.minimum(LONGER * length, longest)
        return (
            jax.tree.map(pick, tried, betas),
            jax.tree.map(pick, found, now),
            jnp.where(gains, longer, length / 2),
        )

    begun = start, figures, jnp.float32(FIRST * longest)
    return jax.lax.fori_loop(0, config.steps, step, begun)[0]


def _objective(found: Estimate, main: jax.Array) -> jax.Array:
    """Returns what a problem makes large."""
    return jnp.where(main, found.entropy, found.success)


def _allowed(found: Estimate, main: jax.Array, config: MaxentConfig) -> jax.Array:
    """Returns where the constraints hold."""
    near = (found.kl <= config.trust + SLACK) & (found.effective >= config.effective - SLACK)
    return near & (~main | (found.success >= config.success))


def _directions(problem: Problem, betas: Betas, main: jax.Array) -> Betas:
    """Returns four steps (4, D) of length 1: straight, along G, along KL, and along both."""

    def figures(at: Betas) -> tuple[jax.Array, jax.Array, jax.Array]:
        """Returns objective, G and -KL: a step may lower neither of the last two."""
        found = estimate(problem, at)
        return _objective(found, main), found.success, -found.kl

    wanted, success, near = jax.jacrev(figures)(betas)
    fisher = _fisher(betas)
    plain = _natural(fisher, wanted)
    along_success = _sliding(fisher, plain, success)
    along_both = _sliding(fisher, _sliding(fisher, along_success, near), success)
    ways = (plain, along_success, _sliding(fisher, plain, near), along_both)
    return jax.vmap(partial(_unit, fisher))(jax.tree.map(lambda *x: jnp.stack(x), *ways))


@struct.dataclass
class _Fisher:
    """Entries (D,) of the Fisher information of each Beta density, by aa, ab and bb."""

    aa: jax.Array
    ab: jax.Array
    bb: jax.Array


def _fisher(betas: Betas) -> _Fisher:
    """Returns the Fisher information."""
    a, b, both = polygamma(1, jnp.stack((betas.a, betas.b, betas.a + betas.b)))
    return _Fisher(a - both, -both, b - both)


def _natural(fisher: _Fisher, slope: Betas) -> Betas:
    """Returns F^-1 times a gradient."""
    size = fisher.aa * fisher.bb - fisher.ab**2
    a = (fisher.bb * slope.a - fisher.ab * slope.b) / size
    return Betas(a, (fisher.aa * slope.b - fisher.ab * slope.a) / size)


def _sliding(fisher: _Fisher, way: Betas, slope: Betas) -> Betas:
    """Returns a step without the part of it that goes against a gradient, if any does."""
    natural = _natural(fisher, slope)
    against = jnp.minimum(_dot(way, slope), 0.0)
    share = against / jnp.maximum(_dot(natural, slope), 1e-12)
    return jax.tree.map(lambda x, n: x - share * n, way, natural)


def _unit(fisher: _Fisher, way: Betas) -> Betas:
    """Returns a step of length 1 in the norm of F; 0 where there is none."""
    square = fisher.aa * way.a**2 + 2 * fisher.ab * way.a * way.b + fisher.bb * way.b**2
    return jax.tree.map(lambda x: x / jnp.sqrt(jnp.maximum(square.sum(), 1e-12)), way)


def _dot(one: Betas, two: Betas) -> jax.Array:
    """Returns the inner product."""
    return jnp.sum(one.a * two.a + one.b * two.b)
