"""Checkpoints: the whole state of a training, to the bit, with proof that it is whole.

orbax writes a step under another name and renames it when it is complete, so a killed process
leaves no half step under a good name. Beside the arrays lies a description: task, rows of the
parameter table, and for every leaf its name, shape, dtype and checksum. Restoring checks all of it:
a damaged step is passed over with a warning, a step of another program is refused by name.

Arrays lie whole on disk, gathered to process 0, which alone writes: a run goes on with any number
of devices and processes. Writing can happen beside training: the bits are copied at once, since the
next iteration takes their memory over, and a thread of our own checks and writes the copy. At most
one is on its way. What went wrong with it is raised by whoever asks next: `save`, `wait`, `close`.
"""

import errno
import shutil
import threading
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
from orbax.checkpoint.options import MultiprocessingOptions

from mjx_s2r.io import checkpoint_leaves
from mjx_s2r.io.checkpoint_leaves import CheckpointError as CheckpointError
from mjx_s2r.io.run import check_local
from mjx_s2r.runtime import distributed

SCHEMA = 1
ARRAYS, ABOUT = "arrays", "about"
MARGIN_MB = 20


class DiskFullError(CheckpointError):
    """No room for a checkpoint; those that are there are kept."""


class _DamagedError(Exception):
    """A step whose files are missing, cut short or changed."""


class Checkpoints:
    """The checkpoints of one run. Reading changes nothing on disk; only one process may save."""

    def __init__(
        self, folder: Path, *, task: str, rows: Sequence[str], max_to_keep: int = 3
    ) -> None:
        """Takes the folder and what the checkpoints are of; touches nothing yet.

        Args:
            folder: where the steps lie, one folder each.
            task: name of the task.
            rows: names of the parameter table's rows, in order.
            max_to_keep: how many of the newest steps stay.

        Raises:
            CheckpointError: none would stay.
            RunError: an address instead of a folder.
        """
        check_local(folder)
        if max_to_keep < 1:
            raise CheckpointError(f"of {folder} {max_to_keep} steps are to stay; keep 1 or more")
        self.folder = Path(folder).absolute()
        self._about = {"schema": SCHEMA, "task": task, "rows": list(rows)}
        self._max_to_keep = max_to_keep
        self._damaged: set[int] = set()
        self._manager: Any = None
        self._thread: threading.Thread | None = None
        self._failure: BaseException | None = None

    def steps(self) -> list[int]:
        """Returns the complete steps on disk, oldest first."""
        if not self.folder.is_dir():
            return []
        return sorted(int(f.name) for f in self.folder.iterdir() if f.is_dir() and f.name.isdigit())

    def latest_step(self) -> int | None:
        """Returns the newest step on disk, or None."""
        return max(self.steps(), default=None)

    def save(self, step: int, tree: Any, *, wait: bool = True) -> None:
        """Writes ``tree`` as ``step``; with ``wait`` it is complete on disk afterwards.

        Without, the tree is copied and the disk is written beside what the caller does next. Of
        several processes all must call this.

        Raises:
            DiskFullError: no room for this step, or for the one that was on its way.
            CheckpointError: a step as new as this one is there.
        """
        self.wait()
        names, leaves = checkpoint_leaves.flatten(distributed.collect(tree))
        self._agreed(lambda: self._begin(step, names, leaves, wait))

    def wait(self) -> None:
        """Returns when no step is on its way to the disk.

        Raises:
            DiskFullError: there was no room for it.
        """
        self._agreed(self._end)

    def settle(self) -> None:
        """Lets this process's own writing end, a minute at most, and asks no other process."""
        if self._thread is not None:
            self._thread.join(60)

    def restore(self, like: Any, *, step: int | None = None) -> tuple[Any, int]:
        """Returns the newest whole tree and its step, or the tree of a given ``step``.

        Args:
            like: a tree of the same structure; gives types and placement. A leaf may be a
                jax or numpy array, a number or a jax.ShapeDtypeStruct.
            step: which step; None takes the newest that is whole.

        Raises:
            CheckpointError: none there or none whole; another task, table, leaf, shape or dtype.
        """
        self.wait()
        return distributed.run_on_all("restoring", lambda: self._restore(like, step))

    def _restore(self, like: Any, step: int | None) -> tuple[Any, int]:
        """Returns tree and step, of several processes the step that the first one finds whole."""
        if not distributed.is_distributed():
            return self._newest(like, step)
        found, failure = -1, None
        if distributed.is_writer():
            try:
                found = self._newest(jax.tree.map(checkpoint_leaves.shape_of, like), step)[1]
            except Exception as error:
                failure = error
        found = distributed.broadcast(found)
        if found < 0:
            raise failure or CheckpointError(f"{self.folder}: process 0 found nothing to restore")
        try:
            return self._read(found, like), found
        except _DamagedError as error:
            raise CheckpointError(
                f"{self.folder} step {found} is whole for process 0 and not here: {error}; the "
                "folder must lie on a disk that all processes see"
            ) from error

    def _newest(self, like: Any, step: int | None) -> tuple[Any, int]:
        """Returns the newest whole tree and its step, or that of a given ``step``."""
        held = self.steps()
        if step is not None and step not in held:
            raise CheckpointError(
                f"{self.folder} holds no checkpoint {step}; it holds {held}: name one of them, or "
                "put that one back"
            )
        steps = [step] if step is not None else held[::-1]
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
            raise CheckpointError(
                f"{self.folder}: none of steps {steps[::-1]} is whole; it holds {held}"
            )
        raise CheckpointError(f"{self.folder} holds no checkpoint; train first")

    def close(self) -> None:
        """Waits for the step on its way and lets go of the folder."""
        try:
            self.wait()
        finally:
            if self._manager is not None:
                self._manager.close()
                self._manager = None

    def _agreed(self, action: Callable[[], None]) -> None:
        """Runs ``action``; a full disk that process 0 meets is one for all of them."""
        full: list[DiskFullError] = []

        def careful() -> None:
            """Keeps a full disk apart from other failures, after which nobody goes on."""
            try:
                action()
            except DiskFullError as error:
                full.append(error)

        distributed.run_on_all("checkpoint", careful)
        if distributed.any_process(bool(full)):
            raise full[0] if full else DiskFullError(f"{self.folder}: the disk is full")

    def _begin(self, step: int, names: list[str], leaves: list[Any], wait: bool) -> None:
        """Copies the leaves and writes them, or has a thread write them."""
        if not distributed.is_writer():
            return
        for damaged in sorted(self._damaged):
            shutil.rmtree(self.folder / str(damaged), ignore_errors=True)
        newer = [s for s in self.steps() if s >= step]
        if newer:
            raise CheckpointError(f"{self.folder} holds steps {newer} already; cannot save {step}")
        arrays = [
            checkpoint_leaves.to_host(n, leaf, copy=not wait)
            for n, leaf in zip(names, leaves, strict=True)
        ]
        about = [
            checkpoint_leaves.describe(n, x, a)
            for n, x, a in zip(names, leaves, arrays, strict=True)
        ]
        if wait:
            self._store(step, arrays, about)
            return

        def work() -> None:
            """Keeps what goes wrong for `wait`."""
            try:
                self._store(step, arrays, about)
            except BaseException as error:
                self._failure = error

        self._thread = threading.Thread(target=work, name=f"checkpoint {step}")
        self._thread.start()

    def _end(self) -> None:
        """Waits for the thread and raises what it met."""
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        failure, self._failure = self._failure, None
        if failure is not None:
            raise failure

    def _store(self, step: int, arrays: list[np.ndarray], about: list[dict[str, Any]]) -> None:
        """Writes one step, or leaves nothing of it."""
        for array, leaf in zip(arrays, about, strict=True):
            leaf["crc32"] = checkpoint_leaves.crc(array)
        try:
            self._check_space(sum(a.nbytes for a in arrays))
            # orbax refuses arrays of size zero; their description is enough to make them again
            items = {_item(i): a for i, a in enumerate(arrays) if a.size}
            self._write(step, items, self._about | {"leaves": about})
        except Exception as error:
            self._sweep()
            if not _disk_full(error):
                raise
            raise DiskFullError(
                f"{self.folder}: the disk is full, step {step} is not saved; steps {self.steps()} "
                "are kept; make room and resume"
            ) from error

    def _write(self, step: int, items: dict[str, np.ndarray], about: dict[str, Any]) -> None:
        """Hands one step to orbax, which must not wait for other processes: they do not write."""
        if self._manager is None:
            self._sweep()
            alone = (
                MultiprocessingOptions(active_processes={0})
                if distributed.is_distributed()
                else None
            )
            options = ocp.CheckpointManagerOptions(
                max_to_keep=self._max_to_keep,
                enable_async_checkpointing=False,
                create=False,
                multiprocessing_options=alone or MultiprocessingOptions(),
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
        names, leaves = checkpoint_leaves.flatten(like)
        checkpoint_leaves.check_leaves(about["leaves"], names, leaves, f"{self.folder} step {step}")
        items = {}
        if any(checkpoint_leaves.size(leaf) for leaf in about["leaves"]):
            items = _load(self.folder / str(step), ARRAYS, ocp.StandardCheckpointHandler())
        values = [_take(items, i, leaf) for i, leaf in enumerate(about["leaves"])]
        placed = map(checkpoint_leaves.place_leaf, leaves, values, about["leaves"])
        return jax.tree.unflatten(jax.tree.structure(like), placed)

    def _check_space(self, nbytes: int) -> None:
        """Raises ENOSPC before the first byte where the disk has no room."""
        self.folder.mkdir(parents=True, exist_ok=True)
        if shutil.disk_usage(self.folder).free < nbytes + MARGIN_MB * 1e6:
            raise OSError(errno.ENOSPC, "No space left on device")

    def _sweep(self) -> None:
        """Removes what a failed save or a killed process left under its unfinished name."""
        for folder in self.folder.glob("*orbax-checkpoint-tmp*"):
            shutil.rmtree(folder, ignore_errors=True)


def _load(folder: Path, item: str, handler: Any) -> Any:
    """Returns one item of a step; every failure to read it means damage."""
    mine = jax.process_index()
    alone = MultiprocessingOptions(primary_host=mine, active_processes={mine})
    try:
        if not distributed.is_distributed():
            return ocp.Checkpointer(handler).restore(folder / item)
        # each process reads for itself; orbax would wait for the others at every file
        return ocp.Checkpointer(handler, multiprocessing_options=alone).restore(folder / item)
    except Exception as error:
        raise _DamagedError(f"{item}: {str(error).splitlines()[0][:200]}") from error


def _take(items: dict[str, Any], index: int, about: dict[str, Any]) -> np.ndarray:
    """Returns the bits of one leaf, checked against their description."""
    dtype, shape = about["bits"]
    if not checkpoint_leaves.size(about):
        return np.zeros(shape, jnp.dtype(dtype))
    value = np.asarray(items[_item(index)]) if _item(index) in items else None
    if value is None or str(value.dtype) != dtype or list(value.shape) != shape:
        raise _DamagedError(f"leaf {about['name']} is missing or of another shape")
    if checkpoint_leaves.crc(value) != about["crc32"]:
        raise _DamagedError(f"leaf {about['name']} has another checksum than when it was saved")
    return value


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


def _item(index: int) -> str:
    """Returns the name that a leaf has on disk; its own name may hold any sign."""
    return f"leaf{index:05d}"
