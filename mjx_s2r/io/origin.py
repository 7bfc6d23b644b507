"""The checkpoint of another run that a run began with or learns from.

A run's settings name the folder of the other one, and keep two things beside it: WHO_iteration,
which checkpoint that was, and WHO_sha256, a checksum of what was learnt by then. The checkpoint
itself is copied into the run, below .origin/WHO, with the settings that it was trained with. So a
run that goes on, or is read again, has the same one although the other run has been trained on,
moved or deleted, and does not take another for it.
"""

import hashlib
import os
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import jax
import numpy as np

from mjx_s2r.io.config import ConfigError
from mjx_s2r.io.run import CHECKPOINTS, CONFIG, ORIGINS, TABLE, RunError, read_settings

C = TypeVar("C", bound=Any)


@dataclass(frozen=True)
class Origin:
    """The checkpoint of another run that a run began with or learns from.

    Attributes:
        who: what it is to the run: "teacher", "student" or "start".
        folder: of the other run.
        iteration: of its checkpoint.
    """

    who: str
    folder: Path
    iteration: int


def origin_folder(run: Path, who: str, named: Path) -> Path:
    """Returns the folder to read an origin from: the run's own copy of it, else the one ``named``.

    A folder other than the run's settings name is read itself, and its checksum judged.
    """
    copy = run / ORIGINS / who
    kept = (copy / CONFIG).exists() and (run / CONFIG).exists()
    if not kept or read_settings(run).get(who) != str(named):
        return named
    return copy


def keep_origin(run: Path, origin: Origin) -> None:
    """Copies an origin, and the origins that it has itself, into a run's folder; once.

    Raises:
        RunError: it cannot be read or written.
    """
    copy = run / ORIGINS / origin.who
    if (copy / CONFIG).exists():
        return
    part = copy.with_name(f"{origin.who}.part")
    try:
        shutil.rmtree(part, ignore_errors=True)
        step = Path(CHECKPOINTS) / str(origin.iteration)
        shutil.copytree(origin.folder / step, part / step)
        for name in (CONFIG, TABLE):
            if (origin.folder / name).exists():
                shutil.copy2(origin.folder / name, part / name)
        if (origin.folder / ORIGINS).is_dir():
            shutil.copytree(origin.folder / ORIGINS, part / ORIGINS)
        os.replace(part, copy)
    except OSError as error:
        raise RunError(
            f"{run}: {origin.who} {origin.folder}, checkpoint {origin.iteration}, cannot be copied "
            f"to {copy} ({error}); free some room, or put the checkpoint back"
        ) from error


def with_origin_found(config: C, who: str) -> C:
    """Returns settings whose origin, where they leave it open, is that of the run in their folder.

    Args:
        config: settings with a folder ``run``, WHO_iteration and WHO_sha256.
        who: "teacher", "student" or "start".
    """
    if not (config.run / CONFIG).exists():
        return config
    kept, names = read_settings(config.run), (f"{who}_iteration", f"{who}_sha256")
    open_ones = [n for n in names if getattr(config, n) in (None, "") and n in kept]
    if getattr(config, who) is None and kept.get(who):
        config = replace(config, **{who: Path(kept[who])})
    return replace(config, **{name: kept[name] for name in open_ones})


def with_origin_kept(config: C, who: str, folder: Path, iteration: int, learnt: Any) -> C:
    """Returns settings that name the checkpoint that was loaded.

    Args:
        config: settings with WHO_iteration and WHO_sha256.
        who: "teacher", "student" or "start".
        folder: of the other run.
        iteration: of its checkpoint.
        learnt: what its algorithm had learnt, a pytree.

    Raises:
        ConfigError: the settings name the checksum of another.
    """
    found, kept = checksum(learnt), getattr(config, f"{who}_sha256")
    if kept not in ("", found):
        raise ConfigError(
            f"{who} {folder}: what it had learnt by iteration {iteration} has the SHA-256 "
            f"{found[:16]}, and {config.run} began with one of {kept[:16]}; name the folder of "
            "that one, or another folder for a new run"
        )
    return replace(config, **{f"{who}_iteration": iteration, f"{who}_sha256": found})


def checksum(tree: Any) -> str:
    """Returns the SHA-256 of the bits, shapes and types of a pytree's arrays."""
    digest = hashlib.sha256()
    for leaf in map(np.asarray, jax.tree.leaves(tree)):
        digest.update(f"{leaf.dtype}{leaf.shape}".encode())
        digest.update(np.ascontiguousarray(leaf).tobytes())
    return digest.hexdigest()
