"""The latch of an emergency stop: a small file per robot that outlives the process.

While it exists, no flight begins. A person looks at the robot and resets it.
"""

import json
import os
import time
from pathlib import Path

from mjx_s2r.contract import ContractError


class LatchedError(ContractError):
    """An emergency stop that nobody has reset; the message says how to."""


def set_latch(path: Path, robot: str, why: str) -> None:
    """Writes the latch, and forces it to disk; one that is there already stays as it is.

    Raises:
        OSError: it cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    note = {"robot": robot, "why": why, "when": time.strftime("%Y-%m-%dT%H:%M:%S%z")}
    try:
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
    except FileExistsError:
        return
    try:
        os.write(file, json.dumps(note).encode() + b"\n")
        os.fsync(file)
    finally:
        os.close(file)


def require_unlatched(path: Path) -> None:
    """Checks that no emergency stop is latched.

    Raises:
        LatchedError: one is; the message says why, since when, and the remedy. A latch that cannot
            be read counts.
    """
    if not path.exists() and not path.is_symlink():
        return
    try:
        note = json.loads(path.read_text())
        cause = f"{note['why']} at {note['when']}"
    except (OSError, ValueError, KeyError, TypeError):
        cause = "unknown cause"
    raise LatchedError(
        f"the emergency stop is latched ({cause}); look at the robot, release the stop, then "
        f"delete {path}"
    )


def reset_latch(path: Path) -> bool:
    """Removes the latch, as a person has asked; returns whether there was one."""
    existed = path.exists() or path.is_symlink()
    path.unlink(missing_ok=True)
    return existed
