"""A Gaussian squashed by tanh: the action distribution of every policy here.

The policy's raw sample u ~ N(mean, std) is kept; the environment gets tanh(u) in [-1, 1]. Ratios
and divergences are taken over u, where they are exact and finite; the squash cancels in both.
"""

import jax
import jax.numpy as jnp
from flax import struct

LOG_STD_MIN, LOG_STD_MAX = -5.0, 2.0


@struct.dataclass
class Gaussian:
    """A diagonal Gaussian over raw actions: mean (..., J), log_std (..., J)."""

    mean: jax.Array
    log_std: jax.Array


def gaussian(mean: jax.Array, log_std: jax.Array) -> Gaussian:
    """Returns the distribution with log_std clamped to [-5, 2]."""
    bounded = jnp.clip(log_std, LOG_STD_MIN, LOG_STD_MAX)
    return Gaussian(mean, jnp.broadcast_to(bounded, mean.shape))


def sample(policy: Gaussian, *, key: jax.Array) -> jax.Array:
    """Returns one raw action (..., J)."""
    return policy.mean + jnp.exp(policy.log_std) * jax.random.normal(key, policy.mean.shape)


def log_prob(policy: Gaussian, raw: jax.Array) -> jax.Array:
    """Returns (...) the log density of raw actions (..., J)."""
    z = (raw - policy.mean) * jnp.exp(-policy.log_std)
    return jnp.sum(-0.5 * z**2 - policy.log_std - 0.5 * jnp.log(2 * jnp.pi), -1)


def entropy(policy: Gaussian) -> jax.Array:
    """Returns (...) the entropy of the raw action, nats: sum of log_std + log(2 pi e) / 2."""
    return jnp.sum(policy.log_std + 0.5 * jnp.log(2 * jnp.pi * jnp.e), -1)


def kl(teacher: Gaussian, student: Gaussian) -> jax.Array:
    """Returns (...) KL(teacher || student) over the raw action, nats.

    log(s2/s1) + (s1^2 + (m1 - m2)^2) / (2 s2^2) - 1/2, summed over components.
    """
    ratio = 2 * (teacher.log_std - student.log_std)
    distance = ((teacher.mean - student.mean) * jnp.exp(-student.log_std)) ** 2
    return 0.5 * jnp.sum(jnp.exp(ratio) + distance - 1 - ratio, -1)
