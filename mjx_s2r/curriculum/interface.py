"""Curriculum interface: init, sample, update, report of a schedule over the parameter table.

The `EpisodeParams` of a schedule have a kind: below zero it is a plain episode, whose success
colours the training's figures; from zero on it is a special one (a bound under test, a replayed or
a hard world), counted apart. Their version is the schedule's own count of moves when the world was
drawn, so that the scores of an old range are never mixed with those of a new one.

Where the length of an episode depends on its success, those that end first after a move are not a
fair sample: of a task that ends with success they are successes, of one that ends with a fall they
are falls. So a schedule that moves counts scores from the time on when the longest episode that
began after the move has ended (`current_scores`). The same wait at the start of a training passes
over the fragments of episodes that its worlds begin with.

A curriculum is a record of four pure functions, its state is a pytree: it is jitted with the
learner, checkpointed with it, and global over devices, because the world axis is only sharded.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from mjx_s2r.curriculum.coordinates import position_in_range, to_law
from mjx_s2r.params import ParamSpace
from mjx_s2r.sim.interface import EpisodeParams

EDGE = 0.2  # share of a range, at either end, whose episodes count as those of that end
KEEP = 0.9  # weight of the old in running means


@struct.dataclass
class Episodes:
    """Episode results of a rollout of T steps in B worlds; fields are (T, B) unless said otherwise.

    Attributes:
        ended: bool, an episode ended at this step; the other entries count only there.
        score: success of the episode, in [0, 1].
        kind: int32 of the episode's `EpisodeParams`.
        version: int32 of them.
        xi: (T, B, D) parameters of the episode.
        longest: rollouts until an episode that begins in the next one has surely ended; 0 where
            all results take equally long.
    """

    ended: jax.Array
    score: jax.Array
    kind: jax.Array
    version: jax.Array
    xi: jax.Array
    longest: int = struct.field(pytree_node=False, default=0)


class Report(NamedTuple):
    """Bounds and figures of a schedule now.

    Attributes:
        low: (D,) lower bounds now.
        high: (D,) upper bounds now.
        entropy: () mean over open rows of log(width / width of limits); 0 is as wide as allowed.
        plain_score: () running success over plain episodes.
        edge_score: (2, D) running success of episodes whose row lay in the lowest and in the
            highest fifth of its range; -1 where there was none yet.
        dropped: () int32 scores that were not finite or outside [0, 1].
    """

    low: jax.Array
    high: jax.Array
    entropy: jax.Array
    plain_score: jax.Array
    edge_score: jax.Array
    dropped: jax.Array


class Curriculum(NamedTuple):
    """A schedule over the table.

    Attributes:
        init: () -> state.
        sample: (state, n, key) -> EpisodeParams with a leading axis n.
        update: (state, Episodes) -> state.
        report: (state) -> Report.
    """

    init: Callable[[], Any]
    sample: Callable[[Any, int, jax.Array], EpisodeParams]
    update: Callable[[Any, Episodes], Any]
    report: Callable[[Any], Report]


def normalized_entropy(
    space: ParamSpace, low: jax.Array, high: jax.Array, active: np.ndarray | None = None
) -> jax.Array:
    """Returns () mean over ``active`` rows with open limits of log(width / width of the limits).

    Widths of log_uniform rows are taken in the logarithm. A closed row counts as 1e-3 of its
    limits, as in DeXtreme's nats per dimension; unlike those, this figure does not depend on units.
    """
    limit_low, limit_high = to_law(space, jnp.asarray(space.limits))
    full = limit_high - limit_low
    is_open = (full > 0) & (jnp.ones(len(space), bool) if active is None else active)
    share = (to_law(space, high) - to_law(space, low)) / jnp.where(is_open, full, 1.0)
    nats = jnp.where(is_open, jnp.log(jnp.maximum(share, 1e-3)), 0.0)
    return nats.sum() / jnp.maximum(is_open.sum(), 1)


def closed_physics(space: ParamSpace, low: np.ndarray, high: np.ndarray) -> bool:
    """Returns whether all worlds have one physics: no row but looks has a range from low to high.

    Args:
        space: the table.
        low: (D,) lower bounds.
        high: (D,) upper bounds.
    """
    return not bool((np.asarray(high) > np.asarray(low))[physics_rows(space)].any())


def physics_rows(space: ParamSpace) -> np.ndarray:
    """Returns (D,) True for the rows that are no looks."""
    return ~space.in_group("visual") if len(space) else np.zeros(0, bool)


@struct.dataclass
class CurriculumStats:
    """The figures that every schedule keeps beside its own state; see `Report`.

    plain_score (), edge_score (2, D), dropped () int32.
    """

    plain_score: jax.Array
    edge_score: jax.Array
    dropped: jax.Array


def init_stats(space: ParamSpace) -> CurriculumStats:
    """Returns the figures before the first episode."""
    return CurriculumStats(
        jnp.float32(0), jnp.full((2, len(space)), -1.0, jnp.float32), jnp.int32(0)
    )


def valid_scores(episodes: Episodes) -> jax.Array:
    """Returns (T, B) True where an episode ended with a score that is one: finite, in [0, 1]."""
    score = episodes.score
    return episodes.ended & jnp.isfinite(score) & (score >= 0) & (score <= 1)


@struct.dataclass
class Moves:
    """How often something that episodes are drawn from has moved; (...) int32 of each such thing.

    Attributes:
        count: how often; episodes carry it as their version.
        age: updates since the last time.
    """

    count: jax.Array
    age: jax.Array

    def older(self) -> "Moves":
        """Returns the same an update later."""
        return replace(self, age=self.age + 1)

    def after(self, moved: jax.Array) -> "Moves":
        """Returns the same after a decision, where ``moved`` (...) says what has moved."""
        return Moves(self.count + moved, jnp.where(moved, 0, self.age))


def no_moves(*shape: int) -> Moves:
    """Returns `Moves` of nothing so far."""
    return Moves(jnp.zeros(shape, jnp.int32), jnp.zeros(shape, jnp.int32))


def current_scores(episodes: Episodes, moves: Moves) -> jax.Array:
    """Returns (T, B) True where an episode's score counts for the ranges as they are now.

    Args:
        episodes: of a rollout.
        moves: () or (T, B) of what each was drawn from, this update counted.
    """
    fair = moves.age > episodes.longest
    return valid_scores(episodes) & (episodes.version == moves.count) & fair


def update_stats(
    space: ParamSpace, stats: CurriculumStats, episodes: Episodes, low: jax.Array, high: jax.Array
) -> CurriculumStats:
    """Returns the figures after ``episodes`` that were drawn between ``low`` and ``high`` (D,)."""
    fine = valid_scores(episodes)
    score = jnp.where(fine, episodes.score, 0.0)
    flat = position_in_range(space, episodes.xi.reshape(score.size, len(space)), low, high)
    at_edge = jnp.stack((flat <= EDGE, flat >= 1 - EDGE)).astype(jnp.float32)
    count = jnp.einsum("end,n->ed", at_edge, fine.reshape(-1).astype(jnp.float32))
    mean = jnp.einsum("end,n->ed", at_edge, score.reshape(-1)) / jnp.maximum(count, 1.0)
    old = jnp.where(stats.edge_score < 0, mean, stats.edge_score)
    return CurriculumStats(
        plain_score=running_mean(stats.plain_score, episodes),
        edge_score=jnp.where(count > 0, KEEP * old + (1 - KEEP) * mean, stats.edge_score),
        dropped=stats.dropped + (episodes.ended & ~fine).sum(dtype=jnp.int32),
    )


def make_report(
    space: ParamSpace,
    stats: CurriculumStats,
    low: jax.Array,
    high: jax.Array,
    active: np.ndarray | None = None,
) -> Report:
    """Returns the report of a schedule that draws between ``low`` and ``high`` (D,) now."""
    entropy = normalized_entropy(space, low, high, active)
    return Report(low, high, entropy, stats.plain_score, stats.edge_score, stats.dropped)


def plain_rows(draw: EpisodeParams, key: jax.Array) -> jax.Array:
    """Returns xi (n, D) with special worlds replaced by plain ones of the same draw, at random."""
    is_plain = draw.kind < 0
    count = is_plain.shape[0]
    plain_first = jnp.argsort(~is_plain)
    place = jax.random.randint(key, (count,), 0, jnp.maximum(is_plain.sum(), 1))
    return draw.xi[jnp.where(is_plain, jnp.arange(count), plain_first[place])]


def merge_reports(
    space: ParamSpace, parts: Sequence[tuple[np.ndarray, Report]], plain_score: jax.Array
) -> Report:
    """Returns one report of schedules over rows of their own.

    Args:
        space: the table.
        parts: the rows (D,) of each, and its report; other rows have their initial ranges.
        plain_score: () of the whole.
    """
    low, high = space.initial
    edge = jnp.full((2, len(space)), -1.0)
    for rows, found in parts:
        low, high = jnp.where(rows, found.low, low), jnp.where(rows, found.high, high)
        edge = jnp.where(rows, found.edge_score, edge)
    taken = np.any([rows for rows, _ in parts], 0)
    entropy = normalized_entropy(space, low, high, taken)
    dropped = jnp.stack([found.dropped for _, found in parts]).sum()
    return Report(low, high, entropy, plain_score, edge, dropped)


def running_mean(score: jax.Array, episodes: Episodes) -> jax.Array:
    """Returns the running mean success of plain episodes, unchanged where none has ended."""
    plain = valid_scores(episodes) & (episodes.kind < 0)
    count = plain.sum()
    mean = jnp.sum(jnp.where(plain, episodes.score, 0.0)) / jnp.maximum(count, 1)
    return jnp.where(count > 0, KEEP * score + (1 - KEEP) * mean, score)


@struct.dataclass
class Window:
    """Scores of plain episodes since the last decision: total (), count () int32."""

    total: jax.Array
    count: jax.Array


def init_window() -> Window:
    """Returns an empty window."""
    return Window(jnp.float32(0), jnp.int32(0))


def accumulate(window: Window, episodes: Episodes, moves: Moves) -> Window:
    """Returns the window with the `current_scores` of plain episodes."""
    mine = current_scores(episodes, moves) & (episodes.kind < 0)
    total = jnp.sum(jnp.where(mine, episodes.score, 0.0))
    return replace(
        window, total=window.total + total, count=window.count + mine.sum(dtype=jnp.int32)
    )
