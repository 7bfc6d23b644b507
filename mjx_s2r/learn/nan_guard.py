"""NaN guard: a snapshot of the first world whose numbers cease to be finite, from just before.

The environment ends and counts such worlds (metrics["nan"]); by then their state is gone. Inside
the rollout's scan `record_first_nan` copies one world, before the step, the first time it happens.
Every other step pays for one `any` over the worlds. `mjx_s2r.sim.nan_replay` writes and replays it.
"""

from typing import Any

import jax
import jax.numpy as jnp
from flax import struct

from mjx_s2r.io.checkpoint_leaves import is_key
from mjx_s2r.sim.interface import State


@struct.dataclass
class NanSnapshot:
    """The first world of a rollout that ceased to be finite, as it was before that step.

    Attributes:
        found: () bool whether there was one; all else is zero where not.
        step: () int32 step of the rollout.
        world: () int32 which of the B worlds.
        env_state: its pipeline_state, random keys as their bits.
        obs: its observations.
        action: (J,) its action in that step.
    """

    found: jax.Array
    step: jax.Array
    world: jax.Array
    env_state: Any
    obs: dict[str, jax.Array]
    action: jax.Array


def empty_snapshot(state: State, size: int) -> NanSnapshot:
    """Returns the record before the first step of B worlds ``state`` with actions (size,)."""

    def blank(leaf: jax.Array) -> jax.Array:
        return jnp.zeros(leaf.shape[1:], leaf.dtype)

    sim, obs = jax.tree.map(blank, (_plain(state.pipeline_state), state.obs))
    no, zero = jnp.zeros((), bool), jnp.int32(0)
    return NanSnapshot(no, zero, zero, sim, obs, jnp.zeros((size,), jnp.float32))


def record_first_nan(
    bad: NanSnapshot, before: State, after: State, action: jax.Array, step: jax.Array
) -> NanSnapshot:
    """Returns the record after one step of B worlds; unchanged once a world is in it.

    Args:
        bad: the record so far.
        before: the worlds before the step.
        after: the worlds after it, not yet reset.
        action: (B, J) their actions, as the environment got them.
        step: () int32 step of the rollout.
    """
    worlds = after.metrics["nan"] > 0

    def note() -> NanSnapshot:
        i = jnp.argmax(worlds)
        held = (_plain(before.pipeline_state), before.obs, action)
        sim, obs, acted = jax.tree.map(lambda x: x[i], held)
        return NanSnapshot(jnp.ones((), bool), jnp.int32(step), jnp.int32(i), sim, obs, acted)

    return jax.lax.cond(worlds.any() & ~bad.found, note, lambda: bad)


def _plain(tree: Any) -> Any:
    """Returns ``tree`` with random keys as their bits, which can be stacked on the host."""

    def raw(leaf: jax.Array) -> jax.Array:
        return jax.random.key_data(leaf) if is_key(leaf) else leaf

    return jax.tree.map(raw, tree)
