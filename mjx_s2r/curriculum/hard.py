"""Adversarial schedule: a share of the worlds is drawn where the policy fails now.

The search of `mjx_s2r.curriculum.adversarial` as a part of training: a Gaussian in unit
coordinates, cut off at the box, follows the failures. Every ``window`` of its own episodes it is
fitted to them with the weights 1 - score (the cross-entropy method for a smooth indicator); where
too little failed it opens again towards the uniform density, so that it never stays on a spot that
the policy has learned. The other worlds are drawn over the limits by the table's laws.

    kind     0 for a hard world, below zero for a plain one
    version  how often the Gaussian has moved; older scores do not count
"""

from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from mjx_s2r.curriculum.coordinates import from_unit, limits_where, movable_rows, to_unit
from mjx_s2r.curriculum.interface import (
    Curriculum,
    CurriculumStats,
    Episodes,
    Moves,
    Report,
    current_scores,
    init_stats,
    make_report,
    no_moves,
    update_stats,
)
from mjx_s2r.params import ParamError, ParamSpace
from mjx_s2r.sim.interface import EpisodeParams

UNIFORM = 12**-0.5  # standard deviation of the uniform density on [0, 1]


@dataclass(frozen=True)
class HardConfig:
    """Adversarial schedule: a share of the worlds is drawn where the policy fails."""

    share: float = 0.3
    """Share of hard worlds."""
    window: int = 128
    """Hard episodes per move of the Gaussian."""
    fails: float = 0.1
    """Least mean failure of a window that the Gaussian follows; below it opens."""
    keep: float = 0.5
    """Weight of the old Gaussian in a move."""
    floor: float = 0.05
    """Least standard deviation, as a share of the limits."""

    def __post_init__(self) -> None:
        """Checks the settings.

        Raises:
            ParamError: a setting outside its range.
        """
        if not 0 <= self.share < 1 or not 0 <= self.keep < 1:
            raise ParamError(f"hard: share {self.share} and keep {self.keep} must lie in [0, 1)")
        if not 0 < self.floor < UNIFORM or not 0 < self.fails <= 1:
            raise ParamError(
                f"hard: floor {self.floor} must lie in (0, {UNIFORM:.2f}), fails {self.fails} in "
                "(0, 1]"
            )
        if self.window < 2:
            raise ParamError(f"hard: window {self.window} must be >= 2")


@struct.dataclass
class HardState:
    """The Gaussian and its weighted sums since it last moved.

    Attributes:
        mean: (D,) in unit coordinates.
        spread: (D,) standard deviation.
        first: (D,) sum of (1 - score) q.
        second: (D,) sum of (1 - score) q^2.
        fails: () sum of (1 - score).
        count: () int32 episodes.
        moves: () of the Gaussian.
        stats: the figures.
    """

    mean: jax.Array
    spread: jax.Array
    first: jax.Array
    second: jax.Array
    fails: jax.Array
    count: jax.Array
    moves: Moves
    stats: CurriculumStats


def hard(space: ParamSpace, config: HardConfig, active: np.ndarray | None = None) -> Curriculum:
    """Returns the schedule; ``active`` (D,) rows range over their limits, others as at first."""
    movable = movable_rows(space, active)
    low, high = limits_where(space, movable)

    def init() -> HardState:
        size = (len(space),)
        return HardState(
            mean=jnp.full(size, 0.5, jnp.float32),
            spread=jnp.full(size, UNIFORM, jnp.float32),
            first=jnp.zeros(size),
            second=jnp.zeros(size),
            fails=jnp.float32(0),
            count=jnp.int32(0),
            moves=no_moves(),
            stats=init_stats(space),
        )

    def sample(state: HardState, n: int, key: jax.Array) -> EpisodeParams:
        key_unit, key_hard, key_kind = jax.random.split(key, 3)
        shape = (n, len(space))
        xi = space.sample(jnp, jax.random.uniform(key_unit, shape), low, high)
        unit = jnp.clip(state.mean + state.spread * jax.random.normal(key_hard, shape), 0.0, 1.0)
        worst: jax.Array = space.snap_discrete(jnp, from_unit(space, unit))
        chosen = jax.random.uniform(key_kind, (n,)) < config.share
        kind = jnp.where(chosen, 0, -1).astype(jnp.int32)
        xi = jnp.where(chosen[:, None] & movable, worst, xi)
        return EpisodeParams(xi, kind, jnp.where(chosen, state.moves.count, 0).astype(jnp.int32))

    def update(state: HardState, episodes: Episodes) -> HardState:
        stats = update_stats(space, state.stats, episodes, low, high)
        state = replace(state, stats=stats, moves=state.moves.older())
        return _move(_add(space, state, episodes), config)

    def report(state: HardState) -> Report:
        return make_report(space, state.stats, low, high, active)

    return Curriculum(init, sample, update, report)


def _add(space: ParamSpace, state: HardState, episodes: Episodes) -> HardState:
    """Adds the hard episodes that carry the present version."""
    mine = current_scores(episodes, state.moves) & (episodes.kind >= 0)
    failed = jnp.where(mine, 1 - episodes.score, 0.0).reshape(-1)
    unit = to_unit(space, episodes.xi.reshape(-1, len(space)))
    return replace(
        state,
        first=state.first + failed @ unit,
        second=state.second + failed @ unit**2,
        fails=state.fails + failed.sum(),
        count=state.count + mine.sum(dtype=jnp.int32),
    )


def _move(state: HardState, config: HardConfig) -> HardState:
    """Moves the Gaussian where the window is full: after the failures, or open again."""
    full = state.count >= config.window
    follows = state.fails >= config.fails * state.count
    weight = jnp.maximum(state.fails, 1e-6)
    centre = state.first / weight
    fitted = jnp.sqrt(jnp.maximum(state.second / weight - centre**2, 0.0))
    goal = jnp.where(follows, centre, 0.5), jnp.where(follows, fitted, UNIFORM)
    mean = config.keep * state.mean + (1 - config.keep) * goal[0]
    spread = config.keep * state.spread + (1 - config.keep) * goal[1]
    spread = jnp.clip(spread, config.floor, UNIFORM)
    return replace(
        state,
        mean=jnp.where(full, mean, state.mean),
        spread=jnp.where(full, spread, state.spread),
        first=jnp.where(full, 0.0, state.first),
        second=jnp.where(full, 0.0, state.second),
        fails=jnp.where(full, 0.0, state.fails),
        count=jnp.where(full, 0, state.count),
        moves=state.moves.after(full),
    )
