"""Minibatches: items shuffled within groups of neighbouring worlds.

Worlds of one group lie on one device, so shuffling moves nothing between devices; and what comes
out does not depend on how many there are.

Items are single steps, or whole worlds where networks remember: a minibatch keeps time in front,
(T, n, ...), and single steps have T = 1.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar, cast

import jax
import jax.numpy as jnp

Tree = TypeVar("Tree")


def count_items(worlds: int, steps: int, remembers: bool) -> int:
    """Returns how many items a rollout has: whole worlds where networks remember, else steps."""
    return worlds if remembers else worlds * steps


def check_items(
    worlds: int, steps: int, minibatches: int, remembers: bool, *, what: str, who: str
) -> None:
    """Checks that the items of a rollout divide into minibatches.

    Args:
        worlds: B.
        steps: T.
        minibatches: their number.
        remembers: whether items are whole worlds.
        what: the settings, for the message.
        who: what remembers, for the message.

    Raises:
        ValueError: they do not.
    """
    if not count_items(worlds, steps, remembers) % minibatches:
        return
    if remembers:
        raise ValueError(
            f"{what}: {worlds} worlds do not divide into {minibatches} minibatches, which are made "
            f"of whole worlds where {who}"
        )
    raise ValueError(
        f"{what}: {worlds} worlds x {steps} steps do not divide into {minibatches} minibatches"
    )


def groups(worlds: int, items: int, minibatches: int) -> int:
    """Returns the number of groups G, a power of two up to 64.

    It divides the worlds, and every minibatch takes as many of the ``items`` from each group.
    """
    sizes = (64, 32, 16, 8, 4, 2)
    fits = [g for g in sizes if worlds % g == 0 and items % (g * minibatches) == 0]
    return fits[0] if fits else 1


def chosen(groups: int, size: int, minibatches: int, *, key: jax.Array) -> jax.Array:
    """Returns (M, G, n) the places, within each group of ``size`` items, of each minibatch's.

    A place and the random number that it is sorted by share one integer: sorting those takes a CPU
    a fifth of the time of sorting pairs. Where two random numbers are alike, places keep their
    order, which changes little: they are the upper 16 bits even of groups of 65,536.
    """
    mask = jnp.uint32(2 ** max(1, (size - 1).bit_length()) - 1)
    ticket = jax.random.bits(key, (groups, size)) & ~mask
    order = jnp.sort(ticket | jnp.arange(size, dtype=jnp.uint32), axis=1) & mask
    order = order.astype(jnp.int32)
    return order.reshape(groups, minibatches, -1).transpose(1, 0, 2)


def grouped(x: jax.Array, *, groups: int) -> jax.Array:
    """Returns (G, T B / G, ...): the steps x (T, B, ...) of each group of neighbouring worlds."""
    steps, size = x.shape[0], x.shape[1] // groups
    apart = x.reshape(steps, groups, size, *x.shape[2:])
    return jnp.moveaxis(apart, 1, 0).reshape(groups, steps * size, *x.shape[2:])


def single_steps(batch: Tree, groups: int) -> Tree:
    """Returns a batch (T, B, ...) with every step an item of its own, (1, T B, ...), by group."""

    def flat(x: jax.Array) -> jax.Array:
        steps = x.shape[0] * x.shape[1]
        return grouped(x, groups=groups).reshape(1, steps, *x.shape[2:])

    return jax.tree.map(flat, batch)


def take_items(batch: Tree, chosen: jax.Array) -> Tree:
    """Returns (T, G n, ...): the ``chosen`` (G, n) items of each group of a batch (T, N, ...)."""
    return jax.tree.map(partial(_take, chosen), batch)


def _take(chosen: jax.Array, x: jax.Array) -> jax.Array:
    """Returns the chosen items of one leaf."""
    groups = chosen.shape[0]
    apart = x.reshape(x.shape[0], groups, x.shape[1] // groups, *x.shape[2:])
    part = jax.vmap(lambda own, which: own[:, which], (1, 0), 1)(apart, chosen)
    return part.reshape(x.shape[0], chosen.size, *x.shape[2:])


def microbatches(items: int, microbatch: int) -> int:
    """Returns into how many microbatches of at most ``microbatch`` items a minibatch divides.

    They are all of one size. A ``microbatch`` of 0 is the whole minibatch.
    """
    least = -(-items // microbatch) if microbatch else 1
    return next(count for count in range(max(least, 1), items + 1) if items % count == 0)


def mean_gradient(
    loss: Callable[[Any, Tree, jax.Array], tuple[jax.Array, Any]],
    params: Any,
    batch: Tree,
    key: jax.Array,
    count: int,
) -> tuple[Any, Any]:
    """Returns the mean over microbatches of a loss's gradient, and of its figures.

    Of a loss that is a mean over items it is the gradient of the whole, at the memory of one part.

    Args:
        loss: (params, batch, key) -> loss (), figures ().
        params: what is differentiated.
        batch: a minibatch (T, N, ...).
        key: random key.
        count: into how many parts the minibatch is cut; it divides N.
    """
    gradient = jax.grad(loss, has_aux=True)
    if count == 1:
        return gradient(params, batch, key)

    def cut(x: jax.Array) -> jax.Array:
        size = x.shape[1] // count
        return jnp.moveaxis(x.reshape(x.shape[0], count, size, *x.shape[2:]), 1, 0)

    def add(total: Any, part: tuple[Tree, jax.Array]) -> tuple[Any, None]:
        return jax.tree.map(jnp.add, total, gradient(params, *part)), None

    parts = jax.tree.map(cut, batch), jax.random.split(key, count)
    first = jax.tree.map(lambda x: x[0], parts)
    shapes = jax.eval_shape(gradient, params, *first)
    total, _ = jax.lax.scan(add, jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes), parts)
    return cast(tuple[Any, Any], jax.tree.map(lambda x: x / count, total))
