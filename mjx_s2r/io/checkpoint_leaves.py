"""Leaves of a tree as bits: copied to the host, described, compared, put back where they belong.

This is what lies under `mjx_s2r.io.checkpoints`, which owns the files.
"""

import zlib
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


class CheckpointError(RuntimeError):
    """A checkpoint that cannot be written or does not fit; the message names what and why."""


def flatten(tree: Any) -> tuple[list[str], list[Any]]:
    """Returns the names and the leaves of a tree, in order."""
    pairs = jax.tree_util.tree_leaves_with_path(tree)
    return [jax.tree_util.keystr(path) or "(root)" for path, _ in pairs], [x for _, x in pairs]


def is_key(leaf: Any) -> bool:
    """Returns whether a leaf holds typed random keys."""
    return hasattr(leaf, "dtype") and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def to_host(name: str, leaf: Any, *, copy: bool) -> np.ndarray:
    """Returns the bits of a leaf as a numpy array, in memory of its own if ``copy``.

    On a CPU numpy otherwise looks at the device's own memory, which the next iteration takes over.
    """
    raw = jax.random.key_data(leaf) if is_key(leaf) else leaf
    array = np.array(raw) if copy else np.asarray(raw)
    if array.dtype == object:
        raise CheckpointError(f"leaf {name} is {type(leaf).__name__}, not an array or a number")
    return array


def _dtype(leaf: Any) -> str:
    """Returns the dtype of a leaf by name; "key<...>" for typed random keys."""
    return str(leaf.dtype) if hasattr(leaf, "dtype") else str(np.asarray(leaf).dtype)


def describe(name: str, leaf: Any, array: np.ndarray) -> dict[str, Any]:
    """Returns what restoring needs to know about one leaf; its checksum comes later."""
    return {
        "name": name,
        "shape": list(np.shape(leaf)),
        "dtype": _dtype(leaf),
        "key": str(jax.random.key_impl(leaf)) if is_key(leaf) else None,
        "bits": [str(array.dtype), list(array.shape)],
    }


def crc(array: np.ndarray) -> int:
    """Returns the CRC-32 of an array's bytes."""
    return zlib.crc32(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)


def size(about: dict[str, Any]) -> int:
    """Returns the number of elements that lie on disk for a leaf."""
    return int(np.prod(about["bits"][1], dtype=np.int64))


def shape_of(leaf: Any) -> Any:
    """Returns a leaf without its devices, for a look that only one process takes."""
    if isinstance(leaf, jax.Array | jax.ShapeDtypeStruct):
        return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype)
    return leaf


def place_leaf(like: Any, value: np.ndarray, about: dict[str, Any]) -> Any:
    """Returns the bits as the type, and on the devices, of the leaf ``like``."""
    if isinstance(like, jax.Array) and not like.is_fully_addressable:
        return _place_apart(like, value, about)
    if about["key"] is not None:
        keys = jax.random.wrap_key_data(jnp.asarray(value), impl=about["key"])
        return jax.device_put(keys, like.sharding) if _is_placed(like) else keys
    if isinstance(like, bool | int | float | complex):
        return type(like)(value.item())
    if isinstance(like, np.ndarray | np.generic):
        return value[()] if isinstance(like, np.generic) else value
    return jax.device_put(value, like.sharding) if _is_placed(like) else jnp.asarray(value)


def _place_apart(like: jax.Array, value: np.ndarray, about: dict[str, Any]) -> jax.Array:
    """Returns the bits over several processes' devices; each takes its part of the whole."""
    if about["key"] is None:
        return jax.make_array_from_callback(value.shape, like.sharding, lambda i: value[i])
    where = like.sharding
    if not isinstance(where, jax.sharding.NamedSharding):
        raise CheckpointError(f"leaf {about['name']} lies {where}; place it on a mesh")
    whole = jax.sharding.NamedSharding(where.mesh, jax.sharding.PartitionSpec())
    everywhere = jax.make_array_from_callback(value.shape, whole, lambda i: value[i])
    wrap = partial(jax.random.wrap_key_data, impl=about["key"])
    return jax.jit(wrap, out_shardings=where)(everywhere)


def _is_placed(like: Any) -> bool:
    """Returns whether a leaf asks for certain devices; an uncommitted array follows the others."""
    if isinstance(like, jax.Array):
        return bool(like.committed)
    return getattr(like, "sharding", None) is not None


def check_leaves(
    saved: list[dict[str, Any]], names: list[str], leaves: list[Any], where: str
) -> None:
    """Raises CheckpointError naming the leaves that differ between disk and program."""
    disk = {leaf["name"]: (tuple(leaf["shape"]), leaf["dtype"]) for leaf in saved}
    here = {n: (np.shape(x), _dtype(x)) for n, x in zip(names, leaves, strict=True)}
    wrong = [
        f"{name}: saved {disk.get(name, 'nothing')}, expected {here.get(name, 'nothing')}"
        for name in dict.fromkeys([*here, *disk])
        if disk.get(name) != here.get(name)
    ]
    if wrong:
        more = f"\n  and {len(wrong) - 5} more" if len(wrong) > 5 else ""
        raise CheckpointError(f"{where} does not fit:\n  " + "\n  ".join(wrong[:5]) + more)
