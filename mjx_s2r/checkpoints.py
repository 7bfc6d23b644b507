"""Checkpoints: the whole state of a training, to the bit, with proof that it is whole.

orbax writes a step under another name and renames it when it is complete, so a killed process
leaves no half step under a good name. Beside the arrays lies a description: task, rows of the
parameter table, and for every leaf its name, shape, dtype and checksum. Restoring checks all of it:
a damaged step is passed over with a warning, a step of another program is refused by name.

Arrays are gathered to the host: one process, any number of devices.
"""

import errno
import shutil
import warnings
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp

SCHEMA = 1
ARRAYS, ABOUT = "arrays", "about"
MARGIN_MB = 20


class CheckpointError(RuntimeError):
    """A checkpoint that cannot be written or does not fit; the message names what and why."""


class _DamagedError(Exception):
    """A step whose files are missing, cut short or changed."""


class Checkpoints:
    """The checkpoints of one run. Reading changes nothing on disk; only one process may save."""

    def __init__(
        self, folder: Path, *, task: str, rows: Sequence[str], max_to_keep: int = 3
    ) -> None:
        """Says where and of what; touches nothing yet.

        Args:
            folder: where the steps lie, one folder each.
            task: name of the task.
            rows: names of the parameter table's rows, in order.
            max_to_keep: how many of the newest steps stay.
        """
        self.folder = Path(folder).absolute()
        self._about = {"schema": SCHEMA, "task": task, "rows": list(rows)}
        self._max_to_keep = max_to_keep
        self._damaged: set[int] = set()
        self._manager: Any = None

    def steps(self) -> list[int]:
        """Returns the complete steps on disk, oldest first."""
        if not self.folder.is_dir():
            return []
        return sorted(int(f.name) for f in self.folder.iterdir() if f.is_dir() and f.name.isdigit())

    def latest_step(self) -> int | None:
        """Returns the newest step on disk, or None."""
        return max(self.steps(), default=None)

    def save(self, step: int, tree: Any) -> None:
        """Writes ``tree`` as ``step`` and returns when it is complete on disk.

        Raises:
            CheckpointError: the disk is full, or a step as new as this one is there.
        """
        for damaged in sorted(self._damaged):
            shutil.rmtree(self.folder / str(damaged), ignore_errors=True)
        newer = [s for s in self.steps() if s >= step]
        if newer:
            raise CheckpointError(f"{self.folder} holds steps {newer} already; cannot save {step}")
        names, leaves = _flatten(tree)
        arrays = [_to_host(name, leaf) for name, leaf in zip(names, leaves, strict=True)]
        about = self._about | {"leaves": list(map(_describe, names, leaves, arrays))}
        try:
            self._check_space(sum(a.nbytes for a in arrays))
            # orbax refuses arrays of size zero; their description is enough to make them again
            items = {_item(i): a for i, a in enumerate(arrays) if a.size}
            self._write(step, items, about)
        except Exception as error:
            self._sweep()
            if not _disk_full(error):
                raise
            raise CheckpointError(
                f"{self.folder}: the disk is full, step {step} is not saved; steps {self.steps()} "
                "are kept; make room and resume"
            ) from error

    def restore(self, like: Any, *, step: int | None = None) -> tuple[Any, int]:
        """Returns the newest whole tree and its step, or the tree of a given ``step``.

        Args:
            like: a tree of the same structure; gives types and placement. A leaf may be a
                jax or numpy array, a number or a jax.ShapeDtypeStruct.
            step: which step; None takes the newest that is whole.

        Raises:
            CheckpointError: none there or none whole; another task, table, leaf, shape or dtype.
        """
        steps = [step] if step is not None else self.steps()[::-1]
        for candidate in steps:
            try:
                return self._read(candidate, like), candidate
            except _DamagedError as error:
                self._damaged.add(candidate)
                warnings.warn(
                    f"checkpoint {candidate} in {self.folder} is damaged and passed over: {error}",
                    RuntimeWarning,
                    stacklevel=2,
                )
        if steps:
            held = f"it holds {self.steps()}"
            raise CheckpointError(f"{self.folder}: none of steps {steps[::-1]} is whole; {held}")
        raise CheckpointError(f"{self.folder} holds no checkpoint; train first")

    def close(self) -> None:
        """Lets go of the folder."""
        if self._manager is not None:
            self._manager.close()
            self._manager = None

    def _write(self, step: int, items: dict[str, np.ndarray], about: dict[str, Any]) -> None:
        """Hands one step to orbax."""
        if self._manager is None:
            options = ocp.CheckpointManagerOptions(
                max_to_keep=self._max_to_keep, enable_async_checkpointing=False, create=True
            )
            self._manager = ocp.CheckpointManager(self.folder, options=options)
        elif self._damaged:
            self._manager.reload()
        self._damaged.clear()
        args = {ABOUT: ocp.args.JsonSave(about)}
        if items:
            args[ARRAYS] = ocp.args.StandardSave(items)
        self._manager.save(step, args=ocp.args.Composite(**args), force=True)

    def _read(self, step: int, like: Any) -> Any:
        """Returns the tree of one step.

        Raises:
            _DamagedError: files that are missing, cut short or changed.
            CheckpointError: a step that is whole and does not fit.
        """
        about = _load(self.folder / str(step), ABOUT, ocp.JsonCheckpointHandler())
        for key, mine in self._about.items():
            if about.get(key) != mine:
                raise CheckpointError(
                    f"{self.folder} step {step} is of {_differing(key, about.get(key), mine)}"
                )
        names, leaves = _flatten(like)
        _check_leaves(about["leaves"], names, leaves, f"{self.folder} step {step}")
        items = {}
        if any(_size(leaf) for leaf in about["leaves"]):
            items = _load(self.folder / str(step), ARRAYS, ocp.StandardCheckpointHandler())
        values = [_take(items, i, leaf) for i, leaf in enumerate(about["leaves"])]
        placed = map(_place, leaves, values, about["leaves"])
        return jax.tree.unflatten(jax.tree.structure(like), placed)

    def _check_space(self, nbytes: int) -> None:
        """Raises ENOSPC before the first byte where the disk has no room."""
        self.folder.mkdir(parents=True, exist_ok=True)
        if shutil.disk_usage(self.folder).free < nbytes + MARGIN_MB * 1e6:
            raise OSError(errno.ENOSPC, "No space left on device")

    def _sweep(self) -> None:
        """Removes what a failed save left under its unfinished name."""
        for folder in self.folder.glob("*orbax-checkpoint-tmp*"):
            shutil.rmtree(folder, ignore_errors=True)


def _flatten(tree: Any) -> tuple[list[str], list[Any]]:
    """Returns the names and the leaves of a tree, in order."""
    pairs = jax.tree_util.tree_leaves_with_path(tree)
    return [jax.tree_util.keystr(path) or "(root)" for path, _ in pairs], [x for _, x in pairs]


def _item(index: int) -> str:
    """Returns the name that a leaf has on disk; its own name may hold any sign."""
    return f"leaf{index:05d}"


def _is_key(leaf: Any) -> bool:
    """Returns whether a leaf holds typed random keys."""
    return hasattr(leaf, "dtype") and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _to_host(name: str, leaf: Any) -> np.ndarray:
    """Returns the bits of a leaf as a numpy array."""
    if isinstance(leaf, jax.Array) and not leaf.is_fully_addressable:
        raise CheckpointError(f"leaf {name} lies on other processes; save from one process")
    array = np.asarray(jax.random.key_data(leaf) if _is_key(leaf) else leaf)
    if array.dtype == object:
        raise CheckpointError(f"leaf {name} is {type(leaf).__name__}, not an array or a number")
    return array


def _dtype(leaf: Any) -> str:
    """Returns the dtype of a leaf by name; "key<...>" for typed random keys."""
    return str(leaf.dtype) if hasattr(leaf, "dtype") else str(np.asarray(leaf).dtype)


def _describe(name: str, leaf: Any, array: np.ndarray) -> dict[str, Any]:
    """Returns what restoring needs to know and to check about one leaf."""
    return {
        "name": name,
        "shape": list(np.shape(leaf)),
        "dtype": _dtype(leaf),
        "key": str(jax.random.key_impl(leaf)) if _is_key(leaf) else None,
        "bits": [str(array.dtype), list(array.shape)],
        "crc32": _crc(array),
    }


def _crc(array: np.ndarray) -> int:
    """Returns the CRC-32 of an array's bytes."""
    return zlib.crc32(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)


def _load(folder: Path, item: str, handler: Any) -> Any:
    """Returns one item of a step; every failure to read it means damage."""
    try:
        return ocp.Checkpointer(handler).restore(folder / item)
    except Exception as error:
        raise _DamagedError(f"{item}: {str(error).splitlines()[0][:200]}") from error


def _size(about: dict[str, Any]) -> int:
    """Returns the number of elements that lie on disk for a leaf."""
    return int(np.prod(about["bits"][1], dtype=np.int64))


def _take(items: dict[str, Any], index: int, about: dict[str, Any]) -> np.ndarray:
    """Returns the bits of one leaf, checked against their description."""
    dtype, shape = about["bits"]
    if not _size(about):
        return np.zeros(shape, jnp.dtype(dtype))
    value = np.asarray(items[_item(index)]) if _item(index) in items else None
    if value is None or str(value.dtype) != dtype or list(value.shape) != shape:
        raise _DamagedError(f"leaf {about['name']} is missing or of another shape")
    if _crc(value) != about["crc32"]:
        raise _DamagedError(f"leaf {about['name']} has another checksum than when it was saved")
    return value


def _place(like: Any, value: np.ndarray, about: dict[str, Any]) -> Any:
    """Returns the bits as the type, and on the devices, of the leaf ``like``."""
    if about["key"] is not None:
        keys = jax.random.wrap_key_data(jnp.asarray(value), impl=about["key"])
        return jax.device_put(keys, like.sharding) if _is_placed(like) else keys
    if isinstance(like, bool | int | float | complex):
        return type(like)(value.item())
    if isinstance(like, np.ndarray | np.generic):
        return value[()] if isinstance(like, np.generic) else value
    return jax.device_put(value, like.sharding) if _is_placed(like) else jnp.asarray(value)


def _is_placed(like: Any) -> bool:
    """Returns whether a leaf asks for certain devices; an uncommitted array follows the others."""
    if isinstance(like, jax.Array):
        return bool(like.committed)
    return getattr(like, "sharding", None) is not None


def _check_leaves(
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


def _differing(key: str, saved: Any, mine: Any) -> str:
    """Returns how two entries of the description differ, in words."""
    if key != "rows":
        return f"{key} {saved!r}, expected {mine!r}"
    gone, new = [r for r in saved if r not in mine], [r for r in mine if r not in saved]
    return f"another parameter table: rows only there {gone}, only here {new}, or another order"


def _disk_full(error: BaseException) -> bool:
    """Returns whether an error, by number or by word, says that the disk is full."""
    full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
    return full or "No space left on device" in str(error)
