"""Max-entropy schedule under a success constraint: DORAEMON (Tiboni et al. 2024, arXiv 2311.01885).

The density over the active rows is a product of Betas on the box of the limits. Every ``window``
episodes it becomes the solution of

    max H(nu)   subject to   G(nu) >= success,   KL(nu || nu_now) <= trust,   ESS(nu) >= share N

    G(nu) = sum w score / sum w,  w_k = nu(xi_k) / nu_now(xi_k),  ESS = (sum w)^2 / sum w^2

over the N episodes just collected: no world is spent on tests. Where even nu_now fails the success
constraint, the back-up problem max G under the same two others is solved first; the main problem
follows from its answer if that is feasible.

Where this differs from the paper, and why:

    solver  steps along the natural gradient that leave no constraint: all inside jit, and no answer
            can violate one. The paper calls scipy's trust-constr on the host.
    G       self-normalized weights: G stays in [0, 1] and in many dimensions varies less.
    ESS     a guard that the paper does not have: without it, few episodes decide.
    shape   a, b >= 1 (the paper also allows 0.8): densities with one mode, widest when uniform.
    version scores of worlds drawn from an older density are not counted.

Rows not active keep their initial ranges and law; so do categorical ones, which have no density,
and rows per world, which outlive the density that they were drawn from.
Active rows are drawn independently, whatever their law and group in the table.
"""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from mjx_s2r.curriculum import beta
from mjx_s2r.curriculum.beta import Betas
from mjx_s2r.curriculum.coordinates import from_unit, movable_rows, to_unit
from mjx_s2r.curriculum.doraemon_solver import MaxentConfig, Problem, solve
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
from mjx_s2r.curriculum.uniform import plain_params
from mjx_s2r.params import ParamSpace
from mjx_s2r.sim.interface import EpisodeParams


@struct.dataclass
class MaxentState:
    """The density and the episodes drawn from it.

    Attributes:
        betas: the density, (D,); rows that are not scheduled keep theirs unused.
        unit: (N, D) unit coordinates of the episodes, the first ``count`` are valid.
        score: (N,) their scores.
        count: () int32 how many.
        moves: () of the density.
        stats: the figures.
    """

    betas: Betas
    unit: jax.Array
    score: jax.Array
    count: jax.Array
    moves: Moves
    stats: CurriculumStats


def maxent(space: ParamSpace, config: MaxentConfig, active: np.ndarray | None = None) -> Curriculum:
    """Returns the schedule over the ``active`` (D,) rows."""
    dense = jnp.asarray(movable_rows(space, active) & ~space.where("law", "categorical"))
    inner = to_unit(space, jnp.asarray(space.initial))

    def ends(state: MaxentState) -> tuple[jax.Array, jax.Array]:
        """Returns the central range of each row, (D,) and (D,), never inside the initial one."""
        low = beta.quantile(state.betas, config.quantile)
        high = beta.quantile(state.betas, 1 - config.quantile)
        full = jnp.ones_like(low)
        low = jnp.where(_flat(state.betas), 0.0, jnp.minimum(low, inner[0]))
        high = jnp.where(_flat(state.betas), full, jnp.maximum(high, inner[1]))
        start, end = jnp.asarray(space.initial)
        found = from_unit(space, low), from_unit(space, high)
        return jnp.where(dense, found[0], start), jnp.where(dense, found[1], end)

    def init() -> MaxentState:
        return MaxentState(
            betas=beta.around(inner[0], inner[1], config.start),
            unit=jnp.full((config.window, len(space)), 0.5, jnp.float32),
            score=jnp.zeros((config.window,)),
            count=jnp.int32(0),
            moves=no_moves(),
            stats=init_stats(space),
        )

    def sample(state: MaxentState, n: int, key: jax.Array) -> EpisodeParams:
        key_law, key_beta = jax.random.split(key)
        shape = (n, len(space))
        rest = space.sample(jnp, jax.random.uniform(key_law, shape), *jnp.asarray(space.initial))
        unit = jax.random.beta(key_beta, state.betas.a, state.betas.b, shape)
        return plain_params(jnp.where(dense, from_unit(space, unit), rest), state.moves.count)

    def update(state: MaxentState, episodes: Episodes) -> MaxentState:
        stats = update_stats(space, state.stats, episodes, *ends(state))
        state = replace(state, stats=stats, moves=state.moves.older())
        state = add_episodes(space, state, episodes)
        full = state.count >= config.window
        return jax.lax.cond(full, lambda s: _move(s, dense, config), lambda s: s, state)

    def report(state: MaxentState) -> Report:
        return make_report(space, state.stats, *ends(state), active)

    return Curriculum(init, sample, update, jax.jit(report))


def _flat(betas: Betas) -> jax.Array:
    """Returns (D,) True where a density is uniform up to a hundredth: its range is the limits."""
    return (betas.a < 1.01) & (betas.b < 1.01)


def add_episodes(space: ParamSpace, state: MaxentState, episodes: Episodes) -> MaxentState:
    """Files the episodes of the present density; those beyond the window are left out."""
    mine = current_scores(episodes, state.moves) & (episodes.kind < 0)
    mine = mine.reshape(-1)
    size = state.score.shape[0]
    slot = jnp.where(mine, state.count + jnp.cumsum(mine) - 1, size)
    unit = to_unit(space, episodes.xi.reshape(-1, len(space)))
    return replace(
        state,
        unit=state.unit.at[slot].set(unit, mode="drop"),
        score=state.score.at[slot].set(episodes.score.reshape(-1), mode="drop"),
        count=jnp.minimum(state.count + mine.sum(), size).astype(jnp.int32),
    )


def _move(state: MaxentState, dense: jax.Array, config: MaxentConfig) -> MaxentState:
    """Returns the state with the next density and an empty window."""
    problem = Problem(state.betas, dense, state.unit, state.score)
    betas = solve(problem, config)
    changed = jnp.any((betas.a != state.betas.a) | (betas.b != state.betas.b))
    return replace(
        state,
        betas=betas,
        count=jnp.int32(0),
        moves=state.moves.after(changed),
    )
