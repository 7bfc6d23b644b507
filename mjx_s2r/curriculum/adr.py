"""Boundary ADR, vectorized: the table's bounds widen where the policy still succeeds on them.

Algorithm 1 of Akkaya et al. 2019 (arXiv 1910.07113) in the vectorized form of DeXtreme (Handa et
al., arXiv 2210.13702): a share of the worlds pins one row at one of its bounds and scores the
policy there; when a bound has ``window`` scores, their mean moves it by ``step`` and its scores
are cleared. Everything is an array of 2D bounds, so the update is a few scatters inside jit.

Where this differs from the sources, and why:

    step      a share of the width of the limits (in the logarithm for log_uniform rows), not an
              absolute number: units do not matter, and a run of this length reaches the limits.
    version   a draw carries how often its bound had moved; a score for a bound that has moved since
              is not counted. Old and new bounds are never mixed.
    share     40 % boundary worlds, as the paper writes; DeXtreme's released code has 60 %.
    score     success in [0, 1]; one that is not finite or lies outside is dropped and counted.

A pinned table is the narrowest start: every row with open limits is tested and widens. To hold rows
where they are, leave them out of ``active``; then they are neither tested nor moved, whatever their
limits. Rows of any group can take part; a look that the policy cannot see just widens. Rows per
world are not tested, since a world keeps its first value of them.
"""

from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from mjx_s2r.curriculum.coordinates import from_law, movable_rows, to_law
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


@dataclass(frozen=True)
class ADRConfig:
    """Settings of boundary ADR."""

    boundary_share: float = 0.4
    """Share of worlds that test a bound."""
    window: int = 32
    """Scores per bound before it may move."""
    widen_above: float = 0.8
    """Mean success at a bound above which it moves outwards."""
    narrow_below: float = 0.5
    """Mean success at a bound below which it moves inwards."""
    step: float = 0.1
    """How far a bound moves, as a share of the width of the limits."""

    def __post_init__(self) -> None:
        """Checks the thresholds.

        Raises:
            ParamError: a setting outside its range.
        """
        if not 0 <= self.boundary_share <= 1:
            raise ParamError(f"adr.boundary_share {self.boundary_share} must lie in [0, 1]")
        if not 0 <= self.narrow_below < self.widen_above <= 1:
            raise ParamError(
                f"adr thresholds: narrow_below {self.narrow_below} must be below widen_above "
                f"{self.widen_above}, both in [0, 1]"
            )
        if self.window < 1 or not 0 < self.step <= 1:
            raise ParamError(
                f"adr: window {self.window} must be >= 1 and step {self.step} in (0, 1]"
            )


@struct.dataclass
class ADRState:
    """Bounds in law space (logarithm for log_uniform rows) and the scores collected at each.

    Bound 2i is the lower one of row i, 2i+1 the upper one.

    Attributes:
        bounds: (2D,) the bounds.
        scores: (2D, M) collected scores, the first ``count`` of each row are valid.
        count: (2D,) int32 how many.
        moves: (2D,) of each bound.
        stats: the figures.
    """

    bounds: jax.Array
    scores: jax.Array
    count: jax.Array
    moves: Moves
    stats: CurriculumStats


@struct.dataclass
class Bounds:
    """Between what each bound may move, (2D,) in law space: inner, outer, and one ``step``."""

    inner: jax.Array
    outer: jax.Array
    step: jax.Array


def adr(space: ParamSpace, config: ADRConfig, active: np.ndarray | None = None) -> Curriculum:
    """Returns boundary ADR over the ``active`` (D,) rows; others keep their initial ranges."""
    limits = _bounds(space, config)
    tested = jnp.asarray(movable_rows(space, active))
    testable = jnp.repeat(tested, 2) & (limits.inner != limits.outer)

    def ends(state: ADRState) -> tuple[jax.Array, jax.Array]:
        """Returns low and high (D,) as values."""
        return from_law(space, state.bounds[0::2]), from_law(space, state.bounds[1::2])

    def init() -> ADRState:
        size = 2 * len(space)
        return ADRState(
            bounds=limits.inner,
            scores=jnp.zeros((size, config.window)),
            count=jnp.zeros((size,), jnp.int32),
            moves=no_moves(size),
            stats=init_stats(space),
        )

    def sample(state: ADRState, n: int, key: jax.Array) -> EpisodeParams:
        key_unit, key_kind, key_bound = jax.random.split(key, 3)
        low, high = ends(state)
        xi = space.sample(jnp, jax.random.uniform(key_unit, (n, len(space))), low, high)
        logits = jnp.where(testable, 0.0, -jnp.inf)
        bound = jax.random.categorical(key_bound, logits, shape=(n,))
        tests = jax.random.uniform(key_kind, (n,)) < config.boundary_share
        kind = jnp.where(tests & testable.any(), bound, -1).astype(jnp.int32)
        pinned = kind[:, None] // 2 == jnp.arange(len(space))
        at_bound: jax.Array = space.snap_discrete(jnp, from_law(space, state.bounds[kind][:, None]))
        xi = jnp.where(pinned, at_bound, xi)
        return EpisodeParams(xi, kind, jnp.where(kind >= 0, state.moves.count[kind], 0))

    def update(state: ADRState, episodes: Episodes) -> ADRState:
        stats = update_stats(space, state.stats, episodes, *ends(state))
        state = replace(state, stats=stats, moves=state.moves.older())
        return _move(_collect(state, episodes, config.window), limits, config)

    def report(state: ADRState) -> Report:
        return make_report(space, state.stats, *ends(state), active)

    return Curriculum(init, sample, update, report)


def _bounds(space: ParamSpace, config: ADRConfig) -> Bounds:
    """Returns the limits of every bound: initial range inside, limits outside."""
    inner = to_law(space, jnp.asarray(space.initial)).T.reshape(-1)
    outer = to_law(space, jnp.asarray(space.limits)).T.reshape(-1)
    step = jnp.repeat(config.step * (outer[1::2] - outer[0::2]), 2)
    return Bounds(inner, outer, step)


def _collect(state: ADRState, episodes: Episodes, window: int) -> ADRState:
    """Files the scores of finished boundary episodes under their bounds.

    Scores beyond a full window are left out; they were collected at the same bound and the window
    is emptied in the same update.
    """
    kind, score = episodes.kind.reshape(-1), episodes.score.reshape(-1)
    moves = jax.tree.map(lambda x: x[episodes.kind], state.moves)
    use = current_scores(episodes, moves).reshape(-1) & (kind >= 0)
    mine = use[:, None] & (kind[:, None] == jnp.arange(state.count.shape[0]))
    slot = jnp.sum(jnp.where(mine, jnp.cumsum(mine, 0) - 1 + state.count, 0), 1)
    where = jnp.where(use & (slot < window), kind, state.count.shape[0])
    return replace(
        state,
        scores=state.scores.at[where, slot].set(score, mode="drop"),
        count=jnp.minimum(state.count + mine.sum(0), window).astype(jnp.int32),
    )


def _move(state: ADRState, limits: Bounds, config: ADRConfig) -> ADRState:
    """Moves every bound whose window is full, and empties the window whether it moved or not."""
    full = state.count >= config.window
    mean = state.scores.mean(-1)
    outward = jnp.where(jnp.arange(state.count.shape[0]) % 2 == 0, -1.0, 1.0)
    way = jnp.where(
        mean >= config.widen_above, 1.0, jnp.where(mean <= config.narrow_below, -1.0, 0.0)
    )
    target = state.bounds + outward * way * limits.step
    target = jnp.clip(
        target, jnp.minimum(limits.inner, limits.outer), jnp.maximum(limits.inner, limits.outer)
    )
    bounds = jnp.where(full, target, state.bounds)
    return replace(
        state,
        bounds=bounds,
        count=jnp.where(full, 0, state.count),
        moves=state.moves.after(bounds != state.bounds),
    )
