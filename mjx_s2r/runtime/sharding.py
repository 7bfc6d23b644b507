"""Sharding is placement: the worlds are split over all devices, everything else is copied.

A training's state is made in place by `init_sharded` and stays there by `jit_sharded`; the code
between the two does not say where anything lies. The compiler partitions the plain jitted program
(GSPMD, Xu et al. 2021) and adds the sums over devices that statistics and gradients need. Where the
devices belong to other processes, nothing changes here: a mesh spans all of them.

Call nothing of this before `runtime.devices.configure` and `runtime.distributed.join`.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

WORLDS = "worlds"  # name of the mesh's axis
SPLIT = (
    "env_state",
    "rnn_state",
    "frames",
)  # fields of a training's state with one entry per world


class MeshError(ValueError):
    """Devices that cannot be used as asked; the message names the sizes and the remedy."""


def device_mesh(count: int = 0) -> Mesh:
    """Returns the first ``count`` devices as a mesh with one axis; 0 takes all of them.

    Raises:
        MeshError: there are not so many, or some of several processes' devices would be left out.
    """
    found = jax.devices()
    if count < 0 or count > len(found):
        raise MeshError(
            f"devices {count} asked for, {len(found)} {found[0].platform} devices found; ask for 1 "
            f"to {len(found)}, or 0 for all"
        )
    if count and jax.process_count() > 1 and count != len(found):
        raise MeshError(
            f"devices {count} asked for in a run of {jax.process_count()} processes with "
            f"{len(found)} devices; a run of several processes uses all of them: leave it at 0"
        )
    return Mesh(found[: count or len(found)], (WORLDS,))


def check_num_envs(mesh: Mesh, worlds: int) -> None:
    """Proves that the devices divide the worlds.

    Raises:
        MeshError: they do not; names the nearest numbers that fit.
    """
    size = mesh.size
    if worlds % size:
        below, above = worlds - worlds % size, worlds + size - worlds % size
        near = f"{below} or {above}" if below else str(above)
        fewer = max(d for d in range(1, size) if worlds % d == 0)
        raise MeshError(
            f"{worlds} worlds do not divide into {size} devices; use {near} worlds, or "
            f"--devices {fewer}"
        )


def placement(mesh: Mesh, tree: Any, split: Sequence[str] = SPLIT) -> Any:
    """Returns a tree of shardings like ``tree``: fields named in ``split`` by their first axis.

    Args:
        mesh: the devices.
        tree: a training's state, or its shapes.
        split: names of its fields whose leaves (N, ...) are split; all others are copied.
    """
    apart = NamedSharding(mesh, PartitionSpec(WORLDS))
    whole = NamedSharding(mesh, PartitionSpec())

    def place(path: tuple[Any, ...], _: Any) -> NamedSharding:
        """Returns where one leaf belongs."""
        return apart if path and getattr(path[0], "name", None) in split else whole

    return jax.tree_util.tree_map_with_path(place, tree)


def init_sharded(mesh: Mesh, make: Callable[[], Any], split: Sequence[str] = SPLIT) -> Any:
    """Returns ``make()``, every leaf made where it belongs; see `placement`.

    No process ever holds the worlds of another. On one device this is ``make()`` itself.
    """
    if mesh.size == 1 and mesh.devices.flat[0] == jax.devices()[0]:
        return make()
    return jax.jit(make, out_shardings=placement(mesh, jax.eval_shape(make), split))()


def jit_sharded(
    mesh: Mesh, iterate: Callable[[Any], tuple[Any, Any]], split: Sequence[str] = SPLIT
) -> Callable[[Any], tuple[Any, Any]]:
    """Returns ``iterate``: state -> (state, metrics), whose state stays where it lies.

    Left to itself the compiler may put a result elsewhere than the argument was: then memory that
    was given away is not taken over, and the second call compiles again. Metrics are copied to
    every device, so that each process can read them.
    """
    if mesh.size == 1:
        return iterate
    whole = NamedSharding(mesh, PartitionSpec())
    compiled: list[Callable[[Any], tuple[Any, Any]]] = []

    def step(state: Any) -> tuple[Any, Any]:
        """Runs one iteration; compiles at the first."""
        if not compiled:
            where = (placement(mesh, state, split), whole)
            compiled.append(jax.jit(iterate, out_shardings=where, donate_argnums=0))
        return compiled[0](state)

    return step


def reshard(
    mesh: Mesh, iterate: Callable[[Any], tuple[Any, Any]], split: Sequence[str] = SPLIT
) -> Callable[[Any], tuple[Any, Any]]:
    """Returns ``iterate``: state -> (state, metrics), whose state is put back where it belongs.

    For an iteration that is made of several programs, which cannot become one (`jit_sharded`). What
    already lies in its place is not moved.
    """
    if mesh.size == 1:
        return iterate
    whole = NamedSharding(mesh, PartitionSpec())

    def step(state: Any) -> tuple[Any, Any]:
        """Runs one iteration."""
        state, metrics = iterate(state)
        return jax.device_put(state, placement(mesh, state, split)), jax.device_put(metrics, whole)

    return step
