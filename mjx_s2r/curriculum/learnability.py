"""Learnability: worlds that sometimes succeed and sometimes fail are drawn again.

A buffer of M worlds keeps a running success p of each. A share of the episodes takes a world from
it with a probability in proportion to its learnability p (1 - p) (SFL: Rutherford et al. 2024,
arXiv 2408.15099; the buffer that is filled while it is used is that of prioritized level replay,
Jiang et al. 2021, arXiv 2010.03934); the others draw fresh ones from the limits. When fresh
episodes have ended, the worlds that taught least give up their places to them.

    p        starts as Laplace's estimate (score + 1) / 3 of the first episode, then moves by
             1 / (visits + 1), at least ``forget``, towards each mean of new scores
    kind     the place in the buffer; fresh worlds are plain
    version  how often the place was taken; scores of the world that lay there before do not count
"""

from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from mjx_s2r.curriculum.coordinates import limits_where, movable_rows
from mjx_s2r.curriculum.interface import (
    Curriculum,
    CurriculumStats,
    Episodes,
    Report,
    init_stats,
    make_report,
    update_stats,
    valid_scores,
)
from mjx_s2r.params import ParamError, ParamSpace
from mjx_s2r.sim.interface import EpisodeParams


@dataclass(frozen=True)
class LearnabilityConfig:
    """Learnability: worlds that teach most are drawn again."""

    size: int = 256
    """Worlds in the buffer, M."""
    share: float = 0.5
    """Share of episodes that replay one of them."""
    swaps: int = 4
    """Places that fresh worlds may take per update."""
    visits: int = 4
    """Episodes that a world plays at least before it can lose its place."""
    forget: float = 0.1
    """Least weight of new scores in the running success, since the policy changes."""

    def __post_init__(self) -> None:
        """Checks the settings.

        Raises:
            ParamError: a setting outside its range.
        """
        if not 0 <= self.share < 1 or not 0 < self.forget <= 1:
            raise ParamError(
                f"replay: share {self.share} must lie in [0, 1) and forget {self.forget} in (0, 1]"
            )
        if not 1 <= self.swaps <= self.size or self.visits < 1:
            raise ParamError(
                f"replay: swaps {self.swaps} must lie in 1..size {self.size}, visits "
                f"{self.visits} must be >= 1"
            )


@struct.dataclass
class LearnabilityState:
    """The buffer.

    Attributes:
        xi: (M, D) its worlds.
        success: (M,) running success of each.
        visits: (M,) int32 episodes played in each; 0 is an empty place.
        taken: (M,) int32 how often each place was taken.
        stats: the figures.
    """

    xi: jax.Array
    success: jax.Array
    visits: jax.Array
    taken: jax.Array
    stats: CurriculumStats


def learnability_replay(
    space: ParamSpace, config: LearnabilityConfig, active: np.ndarray | None = None
) -> Curriculum:
    """Returns the schedule; ``active`` (D,) rows range over their limits, others as at first."""
    moves = movable_rows(space, active)
    low, high = limits_where(space, moves)

    def init() -> LearnabilityState:
        return LearnabilityState(
            xi=jnp.tile(jnp.asarray(space.nominal), (config.size, 1)),
            success=jnp.full((config.size,), 0.5, jnp.float32),
            visits=jnp.zeros((config.size,), jnp.int32),
            taken=jnp.zeros((config.size,), jnp.int32),
            stats=init_stats(space),
        )

    def sample(state: LearnabilityState, n: int, key: jax.Array) -> EpisodeParams:
        key_unit, key_kind, key_place = jax.random.split(key, 3)
        fresh = space.sample(jnp, jax.random.uniform(key_unit, (n, len(space))), low, high)
        weight = learnability_score(state)
        index = jax.random.categorical(key_place, jnp.log(weight), shape=(n,))
        again = jax.random.uniform(key_kind, (n,)) < config.share
        kind = jnp.where(again & (weight > 0).any(), index, -1).astype(jnp.int32)
        xi = jnp.where(kind[:, None] >= 0, state.xi[kind], fresh)
        return EpisodeParams(xi, kind, jnp.where(kind >= 0, state.taken[kind], 0))

    def update(state: LearnabilityState, episodes: Episodes) -> LearnabilityState:
        state = replace(state, stats=update_stats(space, state.stats, episodes, low, high))
        return _admit(_score(state, episodes, config), episodes, config)

    def report(state: LearnabilityState) -> Report:
        return make_report(space, state.stats, low, high, active)

    return Curriculum(init, sample, update, report)


def learnability_score(state: LearnabilityState) -> jax.Array:
    """Returns (M,) p (1 - p), 0 for empty places; worlds of certain outcome keep a little."""
    taught = jnp.maximum(state.success * (1 - state.success), 1e-3)
    return jnp.where(state.visits > 0, taught, 0.0)


def _score(
    state: LearnabilityState, episodes: Episodes, config: LearnabilityConfig
) -> LearnabilityState:
    """Moves the running success of the worlds that were played again."""
    kind, version = episodes.kind.reshape(-1), episodes.version.reshape(-1)
    size = state.visits.shape[0]
    inside = (kind >= 0) & (kind < size)
    mine = valid_scores(episodes).reshape(-1) & inside & (version == state.taken[kind])
    where = jnp.where(mine, kind, size)
    score = jnp.where(mine, episodes.score.reshape(-1), 0.0)
    count = jnp.zeros((size,), jnp.int32).at[where].add(1, mode="drop")
    total = jnp.zeros((size,)).at[where].add(score, mode="drop")
    mean = total / jnp.maximum(count, 1)
    visits = state.visits + count
    least = 1 - (1 - config.forget) ** count.astype(jnp.float32)  # count steps of ``forget``
    weight = jnp.maximum(count / (visits + 1), least)
    success = jnp.where(count > 0, state.success + weight * (mean - state.success), state.success)
    return replace(state, success=success, visits=visits)


def _admit(
    state: LearnabilityState, episodes: Episodes, config: LearnabilityConfig
) -> LearnabilityState:
    """Gives the places that teach least to the first fresh worlds that ended in this update."""
    fresh = (valid_scores(episodes) & (episodes.kind < 0)).reshape(-1)
    (index,) = jnp.nonzero(fresh, size=config.swaps, fill_value=-1)
    first = (episodes.score.reshape(-1)[index] + 1) / 3
    worth = jnp.where(
        (state.visits > 0) & (state.visits < config.visits), 1.0, learnability_score(state)
    )
    place = jnp.argsort(worth)[: config.swaps]
    better = (index >= 0) & (first * (1 - first) > worth[place])
    where = jnp.where(better, place, state.visits.shape[0])
    xi = episodes.xi.reshape(-1, state.xi.shape[1])[index]
    return replace(
        state,
        xi=state.xi.at[where].set(xi, mode="drop"),
        success=state.success.at[where].set(first, mode="drop"),
        visits=state.visits.at[where].set(1, mode="drop"),
        taken=state.taken.at[where].add(1, mode="drop"),
    )
