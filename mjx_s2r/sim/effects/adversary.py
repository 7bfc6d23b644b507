"""A random network that bends the actions: forces and friction that no row knows.

RNA of Akkaya et al. 2019 (arXiv 1910.07113): a frozen random network looks at the
observation and its action is mixed in, a = (1 - alpha) a_policy + alpha a_adversary; a new network
for every episode, alpha itself a parameter ("actuator.adversary").

Their network is three layers of 265 units with discrete outputs. A world here cannot carry 150,000
weights: the first layer is shared by all worlds, and each episode draws shifts of its 16 units and
a read-out of its own, 16 (J + 1) numbers. Outputs are continuous and mostly near -1 or 1.
"""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

UNITS = 16
STEEPNESS = 2.0  # standard deviation of what enters each tanh, for observations of about one


@struct.dataclass
class Adversary:
    """Weights of one episode's network: shift (H,) and readout (J, H)."""

    shift: jax.Array
    readout: jax.Array


def sample(joints: int, *, key: jax.Array) -> Adversary:
    """Returns the network of one episode for ``joints`` action components."""
    numbers = jax.random.normal(key, (joints + 1, UNITS))
    return Adversary(STEEPNESS * numbers[0], numbers[1:] * (STEEPNESS / UNITS**0.5))


def forward(adversary: Adversary, obs: jax.Array) -> jax.Array:
    """Returns its action (J,) in (-1, 1) for the policy's readings (P,)."""
    hidden = jnp.tanh(obs @ _first_layer(obs.shape[-1]) + adversary.shift)
    return jnp.tanh(adversary.readout @ hidden)


def mix(alpha: jax.Array, action: jax.Array, other: jax.Array) -> jax.Array:
    """Returns ``action`` (J,) with the share ``alpha`` () of the ``other`` one."""
    return (1 - alpha) * action + alpha * other


@cache
def _first_layer(size: int) -> np.ndarray:
    """Returns the weights (P, H) that all worlds share."""
    weights = np.random.default_rng(0).standard_normal((size, UNITS))
    return (STEEPNESS * weights / size**0.5).astype(np.float32)
