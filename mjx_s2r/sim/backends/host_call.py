"""Calls of a numpy function from inside a compiled program, for all worlds of a `jax.vmap` at once.

`jax.pure_callback` puts the arguments on a device again before it calls the function. On a CPU with
few cores it can wait for ever: the copy of an array above 100 KiB is given to the very threads that
wait for the callback (github.com/jax-ml/jax/issues/24255). Here the function gets the numpy arrays
of the compiled program as they are.
"""

from collections.abc import Callable, Sequence
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import Primitive
from jax.interpreters import batching, mlir

Arrays = Sequence[np.ndarray]
_call_p = Primitive("call_on_host")
_call_p.multiple_results = True


def call_on_host(function: Callable[..., Any], like: Any, *given: Any) -> Any:
    """Returns what ``function(*given)`` returns, a tree of numpy arrays shaped ``like`` this tree.

    Under `jax.vmap` the function is called once, and every leaf, given or returned, has a leading
    axis of all that is mapped over. The result must depend on nothing but what is given. The
    arrays given are those of the program: read only, and no longer there after the call.

    Args:
        function: takes trees of numpy arrays.
        like: tree of `jax.ShapeDtypeStruct`.
        given: trees of arrays.
    """
    leaves, within = jax.tree.flatten(given)
    shapes, without = jax.tree.flatten(like)

    def flat(*leaves: np.ndarray) -> Arrays:
        """Calls the function with leaves in place of trees."""
        return jax.tree.leaves(function(*jax.tree.unflatten(within, leaves)))

    found = _call_p.bind(
        *map(jnp.asarray, leaves), flat=flat, shapes=tuple((x.shape, x.dtype) for x in shapes)
    )
    return jax.tree.unflatten(without, found)


def _lower(
    ctx: mlir.LoweringRuleContext, *operands: Any, flat: Callable[..., Arrays], shapes: Any
) -> Any:
    """Writes the call into the compiled program."""
    del shapes

    def call(*leaves: np.ndarray) -> tuple[np.ndarray, ...]:
        """Calls with plain arrays, whatever kind of buffer the program hands over."""
        return tuple(flat(*map(np.asarray, leaves)))

    results, _, _ = mlir.emit_python_callback(
        ctx,
        call,
        None,
        list(operands),
        cast(Sequence[jax.core.ShapedArray], ctx.avals_in),
        cast(Sequence[jax.core.ShapedArray], ctx.avals_out),
        has_side_effect=False,
        returns_token=False,
    )
    return results


def _batch(
    leaves: Sequence[jax.Array], axes: Sequence[Any], *, flat: Callable[..., Arrays], shapes: Any
) -> tuple[Sequence[jax.Array], Sequence[int]]:
    """Gives every leaf the leading axis that some of them are mapped over."""
    mapped = [(x, a) for x, a in zip(leaves, axes, strict=True) if a is not batching.not_mapped]
    size = mapped[0][0].shape[mapped[0][1]]
    whole = [
        jnp.broadcast_to(x, (size, *x.shape))
        if axis is batching.not_mapped
        else jnp.moveaxis(x, axis, 0)
        for x, axis in zip(leaves, axes, strict=True)
    ]
    grown = tuple(((size, *shape), dtype) for shape, dtype in shapes)
    return _call_p.bind(*whole, flat=flat, shapes=grown), [0] * len(shapes)


def _evaluate(*leaves: jax.Array, flat: Callable[..., Arrays], shapes: Any) -> Sequence[jax.Array]:
    """Calls outside of any compiled program."""
    del shapes
    return [jnp.asarray(x) for x in flat(*map(np.asarray, leaves))]


def _abstract(*_: Any, flat: Callable[..., Arrays], shapes: Any) -> Sequence[jax.core.ShapedArray]:
    """Returns shapes and types of the results."""
    del flat
    return [jax.core.ShapedArray(shape, dtype) for shape, dtype in shapes]


_call_p.def_impl(_evaluate)
_call_p.def_abstract_eval(_abstract)
batching.primitive_batchers[_call_p] = _batch
mlir.register_lowering(_call_p, _lower)
