"""State pruning: the fields of another library's state that its step reads, and no others.

Such a state holds the whole of mjx.Data, most of which the next step computes anew. Carried through
a rollout and picked from a fresh world at every step, that traffic costs more than the physics of a
small robot. Which leaves matter is read off the traced step, so nothing can be left out wrongly.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.interpreters.partial_eval import dce_jaxpr

from mjx_s2r.params import ParamError

Step = Callable[..., tuple[Any, Any]]


def strong(leaf: Any) -> jax.Array:
    """Returns a leaf as an array whose type is not weak, so that no second step compiles anew."""
    array = jnp.asarray(leaf)
    special = jnp.issubdtype(array.dtype, jax.dtypes.extended)
    return array if special else jax.lax.convert_element_type(array, array.dtype)


def settle(after: Any, shape: Any, name: str) -> Any:
    """Returns the state ``after`` a step with the types of the ``shape`` that reset returns.

    Raises:
        ParamError: another structure or another shape; ``name`` says of what environment.
    """
    before: Any = jax.tree.structure(shape)
    now: Any = jax.tree.structure(after)
    if before != now:
        raise ParamError(
            f"{name}: step returns another structure than reset, so it cannot be looped; let reset "
            f"fill every entry of info and metrics. reset: {before}; step: {now}"
        )
    pairs = zip(jax.tree_util.tree_leaves_with_path(after), jax.tree.leaves(shape), strict=True)
    for (path, leaf), want in pairs:
        if jnp.shape(leaf) != want.shape:
            raise ParamError(
                f"{name}: step returns {jax.tree_util.keystr(path)} of shape {jnp.shape(leaf)}, "
                f"reset of shape {want.shape}; make them equal"
            )
    return jax.tree.map(
        lambda leaf, want: strong(jnp.asarray(leaf).astype(want.dtype)), after, shape
    )


def carried(step: Step, shape: Any, *inputs: Any) -> tuple[bool, ...]:
    """Returns for each leaf of a state whether a later step or a watcher depends on it.

    Args:
        step: (state, *inputs) -> the state afterwards, and what is watched of it.
        shape: the state, as shapes and types.
        inputs: the other arguments, as shapes and types or arrays.
    """
    tree, count = jax.tree.structure(shape), len(jax.tree.leaves(shape))

    def flat(leaves: list[Any], inputs: Sequence[Any]) -> tuple[list[Any], list[Any]]:
        after, watched = step(jax.tree.unflatten(tree, leaves), *inputs)
        return jax.tree.leaves(after), jax.tree.leaves(watched)

    jaxpr = jax.make_jaxpr(flat)(jax.tree.leaves(shape), inputs).jaxpr
    keep = [False] * count
    while True:
        wanted = keep + [True] * (len(jaxpr.outvars) - count)
        used = dce_jaxpr(jaxpr, wanted)[1][:count]
        grown = [old or new for old, new in zip(keep, used, strict=True)]
        if grown == keep:
            return tuple(keep)
        keep = grown


def pack(state: Any, keep: Sequence[bool]) -> tuple[jax.Array, ...]:
    """Returns the leaves of a state that are carried."""
    return tuple(x for x, kept in zip(jax.tree.leaves(state), keep, strict=True) if kept)


def unpack(kept: Sequence[jax.Array], shape: Any, keep: Sequence[bool]) -> Any:
    """Returns the state again, zeros where nothing reads it."""
    rest = iter(kept)
    leaves = [
        next(rest) if held else jnp.zeros(want.shape, want.dtype)
        for held, want in zip(keep, jax.tree.leaves(shape), strict=True)
    ]
    return jax.tree.unflatten(jax.tree.structure(shape), leaves)
