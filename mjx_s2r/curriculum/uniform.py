"""Fixed ranges: every episode draws each row by its law between the same two bounds."""

from dataclasses import replace

import jax
import jax.numpy as jnp
from flax import struct

from mjx_s2r.curriculum.interface import Curriculum, Episodes, Report, normalized_entropy
from mjx_s2r.params import ParamSpace
from mjx_s2r.sim.env import Draw


@struct.dataclass
class UniformState:
    """Bounds and a running success: low (D,), high (D,), plain_score ()."""

    low: jax.Array
    high: jax.Array
    plain_score: jax.Array


def uniform(space: ParamSpace) -> Curriculum:
    """Returns the schedule that keeps the table's initial ranges."""

    def init() -> UniformState:
        low, high = jnp.asarray(space.initial)
        return UniformState(low, high, jnp.float32(0))

    def sample(state: UniformState, n: int, key: jax.Array) -> Draw:
        unit = jax.random.uniform(key, (n, len(space)))
        xi = space.sample(jnp, unit, state.low, state.high)
        return Draw(xi, jnp.full((n,), -1, jnp.int32), jnp.zeros((n,), jnp.int32))

    def update(state: UniformState, episodes: Episodes) -> UniformState:
        return replace(state, plain_score=running(state.plain_score, episodes))

    def report(state: UniformState) -> Report:
        entropy = normalized_entropy(space, state.low, state.high)
        return Report(state.low, state.high, entropy, state.plain_score)

    return Curriculum(init, sample, update, report)


def running(score: jax.Array, episodes: Episodes, keep: float = 0.9) -> jax.Array:
    """Returns the running mean success of plain episodes, unchanged where none has ended."""
    plain = episodes.ended & (episodes.role < 0) & jnp.isfinite(episodes.score)
    count = plain.sum()
    mean = jnp.sum(jnp.where(plain, episodes.score, 0.0)) / jnp.maximum(count, 1)
    return jnp.where(count > 0, keep * score + (1 - keep) * mean, score)
