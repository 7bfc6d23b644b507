"""The folder in which a robot's state outlives a run: stages, the latch of the e-stop, the lock.

It does not depend on where a command is started from: a latched e-stop stays latched in every
folder. MJX_S2R_ROBOTS names another place.
"""

import hashlib
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mjx_s2r.params import unknown

NAME_FILE = "robot.txt"  # the robot's name, which a folder's name may not hold


class BusyError(RuntimeError):
    """Another process drives the robot; the message names it and the remedy."""


def plain_name(robot: str) -> str:
    """Returns the name of a robot as a folder can have it."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", robot).strip(".-") or "robot"


def state_folder(robot: str) -> Path:
    """Returns the folder of a robot, which is made if needed and keeps the robot's name."""
    folder = _folder_of(robot)
    folder.mkdir(parents=True, exist_ok=True)
    if not _name_of(folder):
        (folder / NAME_FILE).write_text(f"{robot}\n", encoding="utf-8")
    return folder


def known_robot(robot: str) -> tuple[Path, str]:
    """Returns the folder of a robot that was driven before, and its name as its driver gives it.

    Args:
        robot: that name, or the folder's.

    Raises:
        ParamError: it never was; names the near ones.
    """
    folder = _folder_of(robot)
    if folder.is_dir():
        return folder, robot
    folder = _root() / plain_name(robot)
    if folder.is_dir() and folder.name == robot:
        return folder, _name_of(folder)
    there = sorted(p for p in _root().glob("*") if p.is_dir())
    raise unknown("robot", robot, [_name_of(p) or p.name for p in there])


def _folder_of(robot: str) -> Path:
    """Returns the folder of a robot; of two whose names look alike in a path, each has its own.

    A folder that holds no name is of a version that kept none.
    """
    folder = _root() / plain_name(robot)
    if _name_of(folder) in ("", robot):
        return folder
    return folder.with_name(f"{folder.name}-{hashlib.sha256(robot.encode()).hexdigest()[:8]}")


def _name_of(folder: Path) -> str:
    """Returns the name of a folder's robot; "" where the folder does not say it."""
    try:
        return (folder / NAME_FILE).read_text(encoding="utf-8").strip()
    except (OSError, ValueError):
        return ""


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
