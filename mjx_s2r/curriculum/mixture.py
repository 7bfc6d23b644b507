"""Composite curricula: schedules over disjoint rows, or one chosen among several by its index.

`mixture` lets every part schedule its own rows. Scores must not be credited to the wrong part, so
each world is owned by one part: only that part learns from its episode, and only that part's draw
may be special there; the other parts contribute plain draws. The kind holds the owner:

    kind = -1 - k             a plain world, owned by part k
    kind = k STRIDE + kind_k  a special world of part k, whose own kind is kind_k

The version is the owner's. A plain kind stays below zero, as everywhere else.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from mjx_s2r.curriculum.coordinates import select_rows
from mjx_s2r.curriculum.interface import Curriculum, Episodes, Report, merge_reports, plain_rows
from mjx_s2r.params import ParamError, ParamSpace
from mjx_s2r.sim.interface import EpisodeParams

STRIDE = 1 << 20

Build = Callable[[ParamSpace, np.ndarray], Curriculum]  # over the rows of a mask (D,)
Part = tuple[np.ndarray | Sequence[str], Build]  # a mask (D,), or patterns of names and fields


def mixture(space: ParamSpace, parts: Sequence[Part]) -> Curriculum:
    """Returns the schedule made of ``parts``; rows that none names keep their initial ranges.

    Raises:
        ParamError: no part, a pattern that fits no row, or rows that two parts claim.
    """
    masks = _masks(space, [rows for rows, _ in parts])
    built = [build(space, mask) for mask, (_, build) in zip(masks, parts, strict=True)]

    def init() -> tuple[Any, ...]:
        return tuple(part.init() for part in built)

    def sample(state: tuple[Any, ...], n: int, key: jax.Array) -> EpisodeParams:
        key_rest, key_owner, *keys = jax.random.split(key, 2 + 2 * len(built))
        unit = jax.random.uniform(key_rest, (n, len(space)))
        xi = space.sample(jnp, unit, *jnp.asarray(space.initial))
        owner = jax.random.randint(key_owner, (n,), 0, len(built))
        kind = version = jnp.zeros((n,), jnp.int32)
        for k, part in enumerate(built):
            draw = part.sample(state[k], n, keys[2 * k])
            owns = owner == k
            others = plain_rows(draw, keys[2 * k + 1])
            mine = jnp.where(owns[:, None], draw.xi, others)
            xi = jnp.where(jnp.asarray(masks[k]), mine, xi)
            named = jnp.where(draw.kind < 0, -1 - k, k * STRIDE + draw.kind)
            kind = jnp.where(owns, named, kind)
            version = jnp.where(owns, draw.version, version)
        return EpisodeParams(xi, kind, version)

    def update(state: tuple[Any, ...], episodes: Episodes) -> tuple[Any, ...]:
        return tuple(
            part.update(state[k], owned_episodes(episodes, k)) for k, part in enumerate(built)
        )

    def report(state: tuple[Any, ...]) -> Report:
        reports = [part.report(s) for part, s in zip(built, state, strict=True)]
        plain = jnp.stack([found.plain_score for found in reports]).mean()
        return merge_reports(space, list(zip(masks, reports, strict=True)), plain)

    return Curriculum(init, sample, update, report)


def owned_episodes(episodes: Episodes, k: int) -> Episodes:
    """Returns the episodes that part ``k`` owns, with the part's own kinds."""
    kind = episodes.kind
    owner = jnp.where(kind < 0, -1 - kind, kind // STRIDE)
    own = jnp.where(kind < 0, -1, kind % STRIDE)
    return replace(episodes, ended=episodes.ended & (owner == k), kind=own)


def _masks(space: ParamSpace, rows: Sequence[np.ndarray | Sequence[str]]) -> list[np.ndarray]:
    """Returns the mask (D,) of each part.

    Raises:
        ParamError: as `mixture`.
    """
    if not rows:
        raise ParamError("mixture: no part; name at least one")
    masks = [r if isinstance(r, np.ndarray) else select_rows(space, r) for r in rows]
    twice = np.sum(masks, 0) > 1
    if twice.any():
        names = [name for name, both in zip(space.names, twice, strict=True) if both]
        raise ParamError(f"mixture: rows {names} are claimed by two parts; give each row to one")
    return masks


@struct.dataclass
class ChoiceState:
    """The states of all schedules, and which of them counts: which () int32."""

    which: jax.Array
    states: tuple[Any, ...]


def choice(parts: Sequence[Curriculum]) -> Curriculum:
    """Returns the schedule that is ``parts[which]``, where ``which`` is a number in the state.

    One compiled training then serves every schedule: set ``which`` before it starts. All parts
    must be over one table.
    """

    def init() -> ChoiceState:
        return ChoiceState(jnp.int32(0), tuple(part.init() for part in parts))

    def sample(state: ChoiceState, n: int, key: jax.Array) -> EpisodeParams:
        ways = [partial(_sample_one, part, k, n) for k, part in enumerate(parts)]
        return jax.lax.switch(state.which, ways, state.states, key)

    def update(state: ChoiceState, episodes: Episodes) -> ChoiceState:
        ways = [partial(_update_one, part, k) for k, part in enumerate(parts)]
        return replace(state, states=jax.lax.switch(state.which, ways, state.states, episodes))

    def report(state: ChoiceState) -> Report:
        k = int(state.which)
        return parts[k].report(state.states[k])

    return Curriculum(init, sample, update, report)


def _sample_one(
    part: Curriculum, k: int, n: int, states: tuple[Any, ...], key: jax.Array
) -> EpisodeParams:
    """Draws from part ``k``."""
    return part.sample(states[k], n, key)


def _update_one(
    part: Curriculum, k: int, states: tuple[Any, ...], episodes: Episodes
) -> tuple[Any, ...]:
    """Returns all states with that of part ``k`` updated."""
    return (*states[:k], part.update(states[k], episodes), *states[k + 1 :])
