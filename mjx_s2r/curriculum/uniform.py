"""Fixed ranges: every episode draws each row by its law between the same two bounds."""

from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from mjx_s2r.curriculum.coordinates import space_at_width
from mjx_s2r.curriculum.interface import (
    Curriculum,
    CurriculumStats,
    Episodes,
    Report,
    init_stats,
    make_report,
    update_stats,
)
from mjx_s2r.params import ParamError, ParamSpace
from mjx_s2r.sim.interface import EpisodeParams


@dataclass(frozen=True)
class UniformConfig:
    """Fixed ranges, from the first episode to the last."""

    width: float = 1.0
    """How far they go, as a share of the way from nominal to the limits."""

    def __post_init__(self) -> None:
        """Checks the width.

        Raises:
            ParamError: a width outside [0, 1].
        """
        if not 0 <= self.width <= 1:
            raise ParamError(
                f"uniform.width {self.width} is a share of the way to the limits; it lies in [0, 1]"
            )


@dataclass(frozen=True)
class NominalConfig:
    """No randomization: everything stays nominal."""


@dataclass(frozen=True)
class InitialConfig:
    """The ranges that a training starts from, to its end: a posterior's, where it has one."""


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
        return plain_params(space.sample(jnp, unit, state.low, state.high))

    def update(state: UniformState, episodes: Episodes) -> UniformState:
        return replace(
            state, stats=update_stats(space, state.stats, episodes, state.low, state.high)
        )

    def report(state: UniformState) -> Report:
        return make_report(space, state.stats, state.low, state.high, active)

    return Curriculum(init, sample, update, report)


def fixed_ranges(
    space: ParamSpace, config: UniformConfig, active: np.ndarray | None = None
) -> Curriculum:
    """Returns the schedule over a share of the limits; rows not ``active`` (D,) stay nominal."""
    return uniform(space_at_width(space, config.width, active), active)


def nominal_ranges(
    space: ParamSpace, config: NominalConfig, active: np.ndarray | None = None
) -> Curriculum:
    """Returns the schedule that keeps every row nominal."""
    return uniform(space.pinned(), active)


def initial_ranges(
    space: ParamSpace, config: InitialConfig, active: np.ndarray | None = None
) -> Curriculum:
    """Returns the schedule that keeps every row in its initial range."""
    return uniform(space, active)


def plain_params(xi: jax.Array, version: jax.Array | int = 0) -> EpisodeParams:
    """Returns plain draws of ``xi`` (n, D), all with one ``version``."""
    count = xi.shape[0]
    return EpisodeParams(
        xi, jnp.full((count,), -1, jnp.int32), jnp.full((count,), version, jnp.int32)
    )
