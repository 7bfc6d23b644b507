"""What every schedule over the table offers: init, sample, update, report.

A curriculum is a record of four pure functions, its state is a pytree: it is jitted with the
learner, checkpointed with it, and global over devices, because the world axis is only sharded.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from mjx_s2r.params import ParamSpace
from mjx_s2r.sim.env import Draw


@struct.dataclass
class Episodes:
    """What happened in a rollout of T steps in B worlds; every field (T, B) unless said otherwise.

    Attributes:
        ended: bool, an episode ended at this step; the other entries count only there.
        score: success of the episode, in [0, 1].
        role: int32 of the episode's `Draw`.
        stamp: int32 of the episode's `Draw`.
        xi: (T, B, D) parameters of the episode.
    """

    ended: jax.Array
    score: jax.Array
    role: jax.Array
    stamp: jax.Array
    xi: jax.Array


class Report(NamedTuple):
    """Where the schedule stands.

    Attributes:
        low: (D,) lower bounds now.
        high: (D,) upper bounds now.
        entropy: () mean over open rows of log(width / width of limits); 0 is as wide as allowed.
        plain_score: () running success over plain episodes (-1 where not kept).
    """

    low: jax.Array
    high: jax.Array
    entropy: jax.Array
    plain_score: jax.Array


class Curriculum(NamedTuple):
    """A schedule over the table.

    Attributes:
        init: () -> state.
        sample: (state, n, key) -> Draw with a leading axis n.
        update: (state, Episodes) -> state.
        report: (state) -> Report.
    """

    init: Callable[[], Any]
    sample: Callable[[Any, int, jax.Array], Draw]
    update: Callable[[Any, Episodes], Any]
    report: Callable[[Any], Report]


def normalized_entropy(
    space: ParamSpace, low: jax.Array, high: jax.Array, active: np.ndarray | None = None
) -> jax.Array:
    """Returns () mean over ``active`` rows with open limits of log(width / width of the limits).

    Widths of log_uniform rows are taken in the logarithm. A closed row counts as 1e-3 of its
    limits, as in DeXtreme's nats per dimension; unlike those, this figure does not depend on units.
    """
    log = jnp.asarray(space.logarithmic)
    limit_low, limit_high = jnp.asarray(space.limits)

    def width(a: jax.Array, b: jax.Array) -> jax.Array:
        ratio = jnp.where(log, b, 1.0) / jnp.where(log, a, 1.0)
        return jnp.where(log, jnp.log(ratio), b - a)

    full = width(limit_low, limit_high)
    is_open = (full > 0) & (jnp.ones(len(space), bool) if active is None else active)
    share = width(low, high) / jnp.where(is_open, full, 1.0)
    nats = jnp.where(is_open, jnp.log(jnp.maximum(share, 1e-3)), 0.0)
    return nats.sum() / jnp.maximum(is_open.sum(), 1)
