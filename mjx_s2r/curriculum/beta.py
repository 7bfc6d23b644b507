"""Products of Beta densities on the unit box, for the max-entropy schedule.

    log p(q) = (a - 1) log q + (b - 1) log(1 - q) - log B(a, b)
    H        = log B - (a - 1) psi(a) - (b - 1) psi(b) + (a + b - 2) psi(a + b)
    KL(1||2) = log B2 - log B1 + (a1 - a2) psi(a1) + (b1 - b2) psi(b1)
               + (a2 - a1 + b2 - b1) psi(a1 + b1)

(Johnson, Kotz, Balakrishnan, Continuous Univariate Distributions, vol. 2, ch. 25.) The uniform
density is a = b = 1; its entropy is 0 and every other one's is below.
"""

import jax
import jax.numpy as jnp
from flax import struct
from jax.scipy.special import betainc, betaln, digamma

TINY = 1e-4  # a draw nearer than this to an end counts as lying there: log q must stay finite


@struct.dataclass
class Betas:
    """D independent Beta densities: a (D,) and b (D,), both at least 1."""

    a: jax.Array
    b: jax.Array


def log_density(betas: Betas, unit: jax.Array) -> jax.Array:
    """Returns (..., D) log densities at ``unit`` (..., D) in [0, 1]."""
    q = jnp.clip(unit, TINY, 1 - TINY)
    shape = (betas.a - 1) * jnp.log(q) + (betas.b - 1) * jnp.log1p(-q)
    return shape - betaln(betas.a, betas.b)


def entropy(betas: Betas) -> jax.Array:
    """Returns (D,) differential entropies, nats; 0 is uniform."""
    a, b = betas.a, betas.b
    inner = (a - 1) * digamma(a) + (b - 1) * digamma(b) - (a + b - 2) * digamma(a + b)
    return betaln(a, b) - inner


def kl(one: Betas, two: Betas) -> jax.Array:
    """Returns (D,) KL(one || two), nats."""
    a, b, c, d = one.a, one.b, two.a, two.b
    inner = (a - c) * digamma(a) + (b - d) * digamma(b) + (c - a + d - b) * digamma(a + b)
    return betaln(c, d) - betaln(a, b) + inner


def quantile(betas: Betas, share: float) -> jax.Array:
    """Returns (D,) the points below which ``share`` of each density lies, by 30 bisections."""

    def halve(_: int, ends: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        """Keeps the half that holds the point."""
        low, high = ends
        middle = (low + high) / 2
        below = betainc(betas.a, betas.b, middle) < share
        return jnp.where(below, middle, low), jnp.where(below, high, middle)

    start = jnp.zeros_like(betas.a), jnp.ones_like(betas.a)
    low, high = jax.lax.fori_loop(0, 30, halve, start)
    return (low + high) / 2


def around(low: jax.Array, high: jax.Array, most: float) -> Betas:
    """Returns the densities that stand for ranges [low, high] (D,) of the unit box.

    The mode is the middle of the range; the deviation is that of the uniform law on it, width /
    sqrt(12), but the concentration a + b - 2 stays below ``most``, so that a closed range is no
    point. The full range gives the uniform density.
    """
    middle, width = (low + high) / 2, jnp.maximum(high - low, 1e-6)
    spread = 12 * jnp.maximum(middle * (1 - middle), 1e-3) / width**2
    sharp = jnp.clip(spread - 3.0, 0.0, most)
    return Betas(1 + sharp * middle, 1 + sharp * (1 - middle))
