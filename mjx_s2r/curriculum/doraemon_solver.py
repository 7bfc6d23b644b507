"""The optimization inside the max-entropy schedule: penalized Adam, then an exact line search.

Both problems of `mjx_s2r.curriculum.maxent` move z = (log a, log b) of the active rows from the
present density. Adam minimizes

    main     -H + 10 max(0, KL / trust - 1) + 100 max(0, success - G) + 100 max(0, share - ESS / N)
    back-up  -100 G + 10 max(0, KL / trust - 1) + 100 max(0, share - ESS / N)

The penalties are exact (of first order), so the answer lies at the border, a little to either side.
The line search takes the last of 21 even points between start and answer that lies inside.
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import optax
from flax import struct

from mjx_s2r.curriculum import beta
from mjx_s2r.curriculum.beta import Betas
from mjx_s2r.params import ParamError

POINTS = 21
SLACK = 1e-5  # of float32 sums


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
    steps: int = 100
    """Adam steps per problem."""
    learning_rate: float = 0.05
    """Adam step size at first, in the logarithm of a and b; it falls to zero."""
    quantile: float = 0.05
    """Share of the density left out at either end where ranges are reported."""

    def __post_init__(self) -> None:
        """Checks the settings.

        Raises:
            ParamError: a setting outside its range.
        """
        if not 0 < self.success < 1:
            raise ParamError(f"maxent.success {self.success} must lie in (0, 1)")
        if not (self.trust > 0 and self.start > 0 and self.learning_rate > 0):
            raise ParamError(
                f"maxent: trust {self.trust}, start {self.start} and learning_rate "
                f"{self.learning_rate} must be above 0"
            )
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


def _loss(figures: Estimate, main: jax.Array, config: MaxentConfig) -> jax.Array:
    """Returns the penalized main or back-up problem."""
    short = jnp.maximum(0.0, config.success - figures.success)
    far = jnp.maximum(0.0, figures.kl / config.trust - 1)
    few = jnp.maximum(0.0, config.effective - figures.effective)
    wanted = jnp.where(main, 100 * short - figures.entropy, -100 * figures.success)
    return wanted + 10 * far + 100 * few


def _search(problem: Problem, start: Betas, main: jax.Array, config: MaxentConfig) -> Betas:
    """Returns the best allowed density between ``start`` and what Adam finds from there."""
    optimizer = optax.adam(optax.linear_schedule(config.learning_rate, 0.0, config.steps))
    slope = jax.grad(lambda z: _loss(estimate(problem, _from_free(z, config)), main, config))

    def descend(_: int, carry: tuple[Betas, optax.OptState]) -> tuple[Betas, optax.OptState]:
        """Takes one projected Adam step."""
        free, state = carry
        gradient = jax.tree.map(lambda g: jnp.where(problem.dense, g, 0.0), slope(free))
        update, state = optimizer.update(gradient, state)
        free = _to_free(_from_free(optax.apply_updates(free, update), config))
        return free, state

    first = _to_free(start)
    last, _ = jax.lax.fori_loop(0, config.steps, descend, (first, optimizer.init(first)))
    share = jnp.linspace(0.0, 1.0, POINTS)[:, None]
    path = jax.tree.map(lambda a, b: a + share * (b - a), first, last)
    betas = jax.tree.map(lambda x, x0: x.at[0].set(x0), _from_free(path, config), start)
    found = jax.lax.map(lambda b: estimate(problem, b), betas)
    allowed = (found.kl <= config.trust + SLACK) & (found.effective >= config.effective - SLACK)
    allowed &= ~main | (found.success >= config.success)
    value = jnp.where(main, found.entropy, found.success)
    best = jnp.argmax(jnp.where(allowed.at[0].set(True), value, -jnp.inf))
    return jax.tree.map(lambda x, old: jnp.where(problem.dense, x[best], old), betas, start)


def _to_free(betas: Betas) -> Betas:
    """Returns the logarithms of a and b."""
    return jax.tree.map(jnp.log, betas)


def _from_free(free: Betas, config: MaxentConfig) -> Betas:
    """Returns densities from logarithms, a and b between 1 and 1 + the largest concentration."""
    return jax.tree.map(lambda z: jnp.clip(jnp.exp(z), 1.0, 1.0 + config.start), free)
