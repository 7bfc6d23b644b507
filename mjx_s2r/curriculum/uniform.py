"""Fixed ranges: every episode draws each row by its law between the same two bounds."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from mjx_s2r.curriculum.interface import (
    Curriculum,
    CurriculumStats,
    Episodes,
    Report,
    init_stats,
    make_report,
    update_stats,
)
from mjx_s2r.params import ParamSpace
from mjx_s2r.sim.interface import EpisodeParams


@struct.dataclass
class UniformState:
    """Bounds low (D,) and high (D,), and the figures."""

    low: jax.Array
    high: jax.Array
    stats: CurriculumStats


def uniform(space: ParamSpace, active: np.ndarray | None = None) -> Curriculum:
    """Returns the schedule that keeps the table's initial ranges; entropy is of ``active`` rows."""

    def init() -> UniformState:
        low, high = jnp.asarray(space.initial)
        return UniformState(low, high, init_stats(space))

    def sample(state: UniformState, n: int, key: jax.Array) -> EpisodeParams:
        unit = jax.random.uniform(key, (n, len(space)))
        return plain(space.sample(jnp, unit, state.low, state.high))

    def update(state: UniformState, episodes: Episodes) -> UniformState:
        return replace(
            state, stats=update_stats(space, state.stats, episodes, state.low, state.high)
        )

    def report(state: UniformState) -> Report:
        return make_report(space, state.stats, state.low, state.high, active)

    return Curriculum(init, sample, update, report)


def plain(xi: jax.Array, stamp: jax.Array | int = 0) -> EpisodeParams:
    """Returns plain draws of ``xi`` (n, D), all with one ``stamp``."""
    count = xi.shape[0]
    return EpisodeParams(
        xi, jnp.full((count,), -1, jnp.int32), jnp.full((count,), stamp, jnp.int32)
    )
