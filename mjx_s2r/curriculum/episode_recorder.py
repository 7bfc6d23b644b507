"""A schedule that remembers the last episodes, so that they can be written to the run's log.

The ring is part of the schedule's state: nothing leaves the device until the log asks for it.
"""

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from mjx_s2r.curriculum.interface import Curriculum, Episodes, Report
from mjx_s2r.params import ParamError, ParamSpace
from mjx_s2r.sim.interface import Draw


@struct.dataclass
class RecordState:
    """A schedule's state and a ring of R episodes.

    Attributes:
        inner: the schedule's state.
        xi: (R, D) parameters.
        score: (R,) scores, as they came.
        role: (R,) int32 roles.
        stamp: (R,) int32 stamps.
        seen: () int32 episodes in all; episode i lies at place i mod R.
    """

    inner: Any
    xi: jax.Array
    score: jax.Array
    role: jax.Array
    stamp: jax.Array
    seen: jax.Array


def record(space: ParamSpace, curriculum: Curriculum, size: int) -> Curriculum:
    """Returns ``curriculum`` with a ring of the last ``size`` episodes.

    Raises:
        ParamError: a size below one.
    """
    if size < 1:
        raise ParamError(f"record: a ring of {size} episodes holds nothing; use at least 1")

    def init() -> RecordState:
        return RecordState(
            inner=curriculum.init(),
            xi=jnp.zeros((size, len(space))),
            score=jnp.zeros((size,)),
            role=jnp.zeros((size,), jnp.int32),
            stamp=jnp.zeros((size,), jnp.int32),
            seen=jnp.int32(0),
        )

    def sample(state: RecordState, n: int, key: jax.Array) -> Draw:
        return curriculum.sample(state.inner, n, key)

    def update(state: RecordState, episodes: Episodes) -> RecordState:
        return replace(_push(state, episodes), inner=curriculum.update(state.inner, episodes))

    def report(state: RecordState) -> Report:
        return curriculum.report(state.inner)

    return Curriculum(init, sample, update, report)


def _push(state: RecordState, episodes: Episodes) -> RecordState:
    """Returns the ring with the episodes that ended; of more than R the last R stay."""
    size = state.score.shape[0]
    ended = episodes.ended.reshape(-1)
    order = jnp.cumsum(ended) - 1
    stays = ended & (order >= ended.sum() - size)
    slot = jnp.where(stays, (state.seen + order) % size, size)

    def put(ring: jax.Array, new: jax.Array) -> jax.Array:
        """Writes the new entries into their places."""
        return ring.at[slot].set(new.reshape(-1, *ring.shape[1:]), mode="drop")

    return replace(
        state,
        xi=put(state.xi, episodes.xi),
        score=put(state.score, episodes.score),
        role=put(state.role, episodes.role),
        stamp=put(state.stamp, episodes.stamp),
        seen=state.seen + ended.sum(dtype=jnp.int32),
    )


@struct.dataclass
class Log:
    """Episodes on the host, oldest first: xi (N, D), score, role and stamp (N,).

    ``lost`` counts those that had left the ring before they were read.
    """

    xi: np.ndarray
    score: np.ndarray
    role: np.ndarray
    stamp: np.ndarray
    lost: int


def since(state: RecordState, seen: int) -> Log:
    """Returns the episodes after the first ``seen`` ones."""
    host = jax.device_get(replace(state, inner=None))
    size, total = host.score.shape[0], int(host.seen)
    first = max(seen, total - size)
    index = np.arange(first, total) % size
    return Log(host.xi[index], host.score[index], host.role[index], host.stamp[index], first - seen)
