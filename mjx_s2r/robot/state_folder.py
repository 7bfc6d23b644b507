"""The folder in which a robot's state outlives a run: stages, the latch of the e-stop, the lock.

It does not depend on where a command is started from: a latched e-stop stays latched in every
folder. MJX_S2R_ROBOTS names another place.
"""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mjx_s2r.params import unknown


class BusyError(RuntimeError):
    """Another process drives the robot; the message names it and the remedy."""


def plain_name(robot: str) -> str:
    """Returns the name of a robot as a folder can have it."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", robot).strip(".-") or "robot"


def state_folder(robot: str) -> Path:
    """Returns the folder of a robot, which is made if needed."""
    folder = _root() / plain_name(robot)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def known_folder(robot: str) -> Path:
    """Returns the folder of a robot that was driven before.

    Raises:
        ParamError: it never was; names the near ones.
    """
    folder = _root() / plain_name(robot)
    if not folder.is_dir():
        there = sorted(p.name for p in _root().glob("*") if p.is_dir())
        raise unknown("robot", robot, there)
    return folder


def _root() -> Path:
    """Returns the folder of all robots."""
    home = os.environ.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
    return Path(os.environ.get("MJX_S2R_ROBOTS") or Path(home) / "mjx_s2r" / "robots")


@contextmanager
def only_one(folder: Path) -> Iterator[None]:
    """Holds the lock of a robot; the operating system gives it back whatever ends the process.

    Raises:
        BusyError: another process holds it.
    """
    import fcntl  # POSIX alone

    with open(folder / "lock", "a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            file.seek(0)
            holder = file.read().strip() or "unknown"
            raise BusyError(
                f"robot {folder.name!r} is driven by process {holder}; end that one first"
            ) from error
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
        yield


def latch_path(folder: Path) -> Path:
    """Returns the file that keeps an emergency stop latched; it is there as long as that is so."""
    return folder / "estop.json"


def history_path(folder: Path) -> Path:
    """Returns the file that keeps who cleared which emergency stop, one line of JSON for each."""
    return folder / "resets.jsonl"
