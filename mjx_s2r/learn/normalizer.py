"""Running mean and variance of observations (Welford, merged by Chan et al. 1979).

A single reading of a world that bursts could make a column's deviation so large that the column
reads zero for the rest of the training. So, once enough has been seen, what lies far off counts as
if it lay `FAR` deviations from the mean: one reading can hardly move them, and those of a column
whose scale has changed, which are many, still do.
"""

import jax
import jax.numpy as jnp
from flax import struct

CLIP = 5.0  # standard deviations; beyond them readings look alike
FAR = 20.0  # standard deviations; what lies beyond counts as if it lay there
ENOUGH = 1000  # readings after which moments are trusted to say what is far


@struct.dataclass
class Normalizer:
    """Moments so far: count (), mean (P,), m2 (P,) sum of squared deviations."""

    count: jax.Array
    mean: jax.Array
    m2: jax.Array


def init(size: int) -> Normalizer:
    """Returns the normalizer that has seen nothing: it passes observations through."""
    return Normalizer(jnp.float32(0), jnp.zeros((size,)), jnp.zeros((size,)))


def update(state: Normalizer, batch: jax.Array) -> Normalizer:
    """Returns the moments with a ``batch`` (..., P) merged in; see above for what lies far off."""
    reach = jnp.where(state.count >= ENOUGH, FAR * std(state), jnp.inf)
    batch = jnp.clip(batch, state.mean - reach, state.mean + reach)
    axes, new = tuple(range(batch.ndim - 1)), batch.size // batch.shape[-1]
    count = state.count + new
    mean = batch.mean(axes)
    delta = mean - state.mean
    share = new / count
    m2 = state.m2 + jnp.sum((batch - mean) ** 2, axes) + delta**2 * state.count * share
    return Normalizer(count, state.mean + delta * share, m2)


def std(state: Normalizer) -> jax.Array:
    """Returns (P,) the standard deviation, 1 before the first update, never below 0.1.

    Tasks scale what they offer to about one, and a row of xi that has been constant must not
    explode when its range first opens.
    """
    return jnp.where(state.count > 0, jnp.sqrt(state.m2 / jnp.maximum(state.count, 1)), 1.0).clip(
        0.1
    )


def apply(state: Normalizer, x: jax.Array) -> jax.Array:
    """Returns x (..., P) centred, scaled and clipped to +-5."""
    return jnp.clip((x - state.mean) / std(state), -CLIP, CLIP)
