"""Episode recorder: a schedule with a ring buffer of its last episodes, for the run's log.

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
from mjx_s2r.sim.interface import EpisodeParams


@struct.dataclass
class RecorderState:
    """A schedule's state and a ring of R episodes.

    Attributes:
        inner: the schedule's state.
        xi: (R, D) parameters.
        score: (R,) scores, as they came.
        kind: (R,) int32 kinds.
        version: (R,) int32 versions.
        seen: () int32 episodes in all; episode i lies at place i mod R.
    """

    inner: Any
    xi: jax.Array
    score: jax.Array
    kind: jax.Array
    version: jax.Array
    seen: jax.Array


def with_episode_recorder(space: ParamSpace, curriculum: Curriculum, size: int) -> Curriculum:
    """Returns ``curriculum`` with a ring of the last ``size`` episodes.

    Raises:
        ParamError: a size below one.
    """
    if size < 1:
        raise ParamError(f"record: a ring of {size} episodes holds nothing; use at least 1")

    def init() -> RecorderState:
        return RecorderState(
            inner=curriculum.init(),
            xi=jnp.zeros((size, len(space))),
            score=jnp.zeros((size,)),
            kind=jnp.zeros((size,), jnp.int32),
            version=jnp.zeros((size,), jnp.int32),
            seen=jnp.int32(0),
        )

    def sample(state: RecorderState, n: int, key: jax.Array) -> EpisodeParams:
        return curriculum.sample(state.inner, n, key)

    def update(state: RecorderState, episodes: Episodes) -> RecorderState:
        return replace(_push(state, episodes), inner=curriculum.update(state.inner, episodes))

    def report(state: RecorderState) -> Report:
        return curriculum.report(state.inner)

    return Curriculum(init, sample, update, report)


def _push(state: RecorderState, episodes: Episodes) -> RecorderState:
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
        kind=put(state.kind, episodes.kind),
        version=put(state.version, episodes.version),
        seen=state.seen + ended.sum(dtype=jnp.int32),
    )


@struct.dataclass
class EpisodeLog:
    """Episodes on the host, oldest first: xi (N, D), score, kind and version (N,).

    ``lost`` counts those that had left the ring before they were read.
    """

    xi: np.ndarray
    score: np.ndarray
    kind: np.ndarray
    version: np.ndarray
    lost: int


def episodes_since(state: RecorderState, seen: int) -> EpisodeLog:
    """Returns the episodes after the first ``seen`` ones."""
    host = jax.device_get(replace(state, inner=None))
    size, total = host.score.shape[0], int(host.seen)
    first = max(seen, total - size)
    index = np.arange(first, total) % size
    return EpisodeLog(
        host.xi[index], host.score[index], host.kind[index], host.version[index], first - seen
    )
