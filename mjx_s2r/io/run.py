"""A run folder: its settings, metrics and results. One run is one folder.

    config.json     the settings and the number of their schema, written first
    metrics.jsonl   one line a log: step and numbers; the same goes to TensorBoard
    bounds.jsonl    one line a log: the ranges that the curriculum draws from
    table.json      the rows of the parameter table that the run was started with
    episodes.jsonl  where asked for, one line a log: xi, score, kind and version of every episode
    checkpoints/    see `mjx_s2r.io.checkpoints`
    policy.onnx, result.json, report.html   written at the end

    nan/            where a world's numbers ceased to be finite, see `mjx_s2r.sim.nan_replay`
    .lock           held by the process that writes the run, and says which one that is

Lines are flushed as they are written. A process killed in the middle leaves at most one torn last
line, which reading ignores and resuming removes. A line that finds no room on the disk is lost with
a warning and no trace, since figures of a training are worth less than the training.
"""

import contextlib
import fnmatch
import json
import math
import os
import re
import shutil
import socket
import sys
import tempfile
import time
import warnings
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from mjx_s2r.io.config import ConfigError, differences, from_dict, to_dict
from mjx_s2r.io.tensorboard import Board

if sys.platform != "win32":
    import fcntl

T = TypeVar("T")
SCHEMA = 2  # of config.json; 1, which no file names, had other names for most settings
CONFIG = "config.json"
METRICS = "metrics.jsonl"
BOUNDS = "bounds.jsonl"
EPISODES = "episodes.jsonl"
TABLE = "table.json"
CHECKPOINTS = "checkpoints"
ORIGINS = ".origin"  # copies of other runs' checkpoints; hidden, since none is a run of its own
POLICY = "policy.onnx"
RESULT = "result.json"
REPORT = "report.html"
LOCK = ".lock"
LOCK_WAIT_S = 0.5  # a process that is just ending, or another that opens and closes the folder
FREE_MB = 200
# Settings of one run, which a recipe does not hand on.
ONCE = ("run", "resume", "recipe", "start_iteration", "start_sha256")

# An address as pathlib keeps it ("gs:/bucket/run") or as it was written. One letter is a drive.
_ADDRESS = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]+):/+(?P<rest>.*)")
_REMEDIES = {"gs": "gcsfuse", "s3": "mountpoint-s3"}


class RunError(RuntimeError):
    """A run folder that cannot be used as asked; the message names it and the remedy."""


class Run:
    """One run folder, open for writing. Make it with `Run.create`, end it with `close`."""

    def __init__(self, path: Path, *, writes: bool = True) -> None:
        """Wraps an existing folder; nothing is checked or written.

        Args:
            path: the folder.
            writes: whether anything is ever written; of several processes only the first one does.
        """
        self.path = path
        self.writes = writes
        self.lost_lines = 0
        self._lock: _FolderLock | None = None
        self._board = Board(path)
        self._seen: int | None = None

    @classmethod
    def create(
        cls,
        path: Path,
        config: Any,
        *,
        resume: bool = False,
        may_change: Sequence[str] = (),
        writes: bool = True,
    ) -> "Run":
        """Opens a run folder, after every check that can fail before work is lost.

        The process that writes holds the folder's lock until `close`, or until it ends.

        Args:
            path: the folder; made where it is missing.
            config: the settings, a dataclass.
            resume: go on where the folder holds a run with the same settings, start where it
                holds none.
            may_change: dotted names or patterns of settings that may differ when resuming.
            writes: whether this process is the one that checks and writes.

        Raises:
            RunError: an address, not writable, too little space, in use by another process, another
                run's folder, a run of another schema, other settings.
        """
        path = Path(path)
        check_local(path)
        if not writes:
            return cls(path, writes=False)
        body = to_dict(config)
        check_writable(path)
        check_space(path)
        run = cls(path)
        run._lock = _FolderLock(path)
        try:
            run._begin(body, resume, may_change)
        except BaseException:
            run.close()
            raise
        return run

    def _begin(self, body: Any, resume: bool, may_change: Sequence[str]) -> None:
        """Checks what the folder holds and writes the settings, under the lock."""
        path = self.path
        held = check_vacant(path, resume)
        if held:
            check_same_settings(path, body, may_change)
        else:
            shutil.rmtree(path / ORIGINS, ignore_errors=True)  # of a run whose files were deleted
        write_json(path / CONFIG, {"schema": SCHEMA} | body)
        if held:
            self.rewind(None)

    def __enter__(self) -> "Run":
        """Returns the run itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Closes the run."""
        self.close()

    @property
    def checkpoints(self) -> Path:
        """The folder of the checkpoints."""
        return self.path / CHECKPOINTS

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Writes one line of numbers, and the same numbers to TensorBoard.

        NaN and infinity become null in the file, since JSON has no word for them.
        """
        values = {name: float(value) for name, value in metrics.items()}
        self._line(METRICS, {"step": int(step)} | values)
        if self.writes:
            try:
                self._board.add(int(step), values)
            except OSError as error:
                self.note_loss("TensorBoard", error)

    def log_bounds(
        self,
        step: int,
        names: Sequence[str],
        low: Iterable[float],
        high: Iterable[float],
        scores: Sequence[Iterable[float]] | None = None,
        **extra: float,
    ) -> None:
        """Writes one line of the ranges that are drawn from.

        Args:
            step: when.
            names: the D row names.
            low: (D,) lower ends, in each row's unit.
            high: (D,) upper ends.
            scores: (2, D) success at the lower and at the upper end; negative where not known.
            **extra: further numbers of the curriculum, e.g. its entropy.

        Raises:
            RunError: the lengths differ.
        """
        ends = [float(x) for x in low], [float(x) for x in high]
        if not len(names) == len(ends[0]) == len(ends[1]):
            raise RunError(f"bounds: {len(names)} names, {len(ends[0])} low, {len(ends[1])} high")
        more = {name: float(value) for name, value in extra.items()}
        line = {"step": int(step), "names": list(names), "low": ends[0], "high": ends[1]}
        if scores is not None:
            at_ends = [[float(x) if x >= 0 else math.nan for x in end] for end in scores]
            line |= {"score_low": at_ends[0], "score_high": at_ends[1]}
        self._line(BOUNDS, line | more)

    def keep_table(self, rows: Sequence[Any]) -> None:
        """Keeps the table's rows, dataclasses with a name, or compares them with those kept.

        Raises:
            RunError: the run was started with other rows; names them and what differs.
        """
        if not self.writes:
            return
        file, body = self.path / TABLE, {row.name: to_dict(row) for row in rows}
        if not file.exists():
            write_json(file, body)
            return
        old, new = json.loads(file.read_text()), json.loads(json.dumps(body))
        changed = [
            f"{name}: the run has {was!r}, now {now!r}"
            for name, (was, now) in differences(old, new).items()
            if not name.endswith(".source")  # words, not numbers
        ]
        if list(old) != list(new) and not changed:
            changed = ["the order of the rows"]
        if changed:
            raise RunError(
                f"{self.path} was started with another parameter table; start a new run or take "
                "the change back:\n  " + "\n  ".join(changed)
            )

    def log_episodes(
        self, step: int, columns: Mapping[str, Sequence[Any]], *, count: int, lost: int = 0
    ) -> None:
        """Writes one line of episodes: each column holds one entry per episode.

        Args:
            step: when.
            columns: name -> N entries, e.g. "xi" (N, D), "score", "kind".
            count: N.
            lost: episodes before these that could not be kept.
        """
        self._seen = self.seen_episodes() + lost + count
        held = {"step": int(step), "seen": self._seen, "lost": int(lost)}
        self._line(EPISODES, held | {name: list(x) for name, x in columns.items()})

    def seen_episodes(self) -> int:
        """Returns how many episodes the log accounts for, lost ones included."""
        if self._seen is None:
            file = self.path / EPISODES
            rows = read_jsonl(file) if file.exists() else []
            self._seen = int(rows[-1]["seen"]) if rows else 0
        return self._seen

    def rewind(self, step: int | None) -> None:
        """Drops every line after ``step``, so that work done again is not logged twice.

        Call it with the step of the restored checkpoint; None only drops a torn last line.
        """
        self._close_board()
        if not self.writes:
            return
        self._board = Board(self.path, purge=None if step is None else step + 1)
        self._seen = None
        for name in (METRICS, BOUNDS, EPISODES):
            file = self.path / name
            if file.exists():
                kept = [row for row in read_jsonl(file) if step is None or row["step"] <= step]
                write_text_whole(file, "".join(_line(row) for row in kept))

    def close(self) -> None:
        """Ends the TensorBoard file and lets go of the folder, which another run may then open."""
        self._close_board()
        if self._lock is not None:
            self._lock.release()

    def _close_board(self) -> None:
        """Ends the TensorBoard file; logging again opens another."""
        try:
            self._board.close()
        except OSError as error:
            self.note_loss("TensorBoard", error)

    def _line(self, name: str, row: Mapping[str, Any]) -> None:
        """Adds one line to the file called ``name``; without room for it, it is lost."""
        if not self.writes:
            return
        try:
            _append(self.path / name, row)
        except OSError as error:
            self.note_loss(name, error)

    def note_loss(self, name: str, error: OSError) -> None:
        """Counts what was not written, and warns of the first."""
        self.lost_lines += 1
        if self.lost_lines == 1:
            warnings.warn(
                f"{self.path / name}: figures are lost ({error.strerror}); training goes on",
                RuntimeWarning,
                stacklevel=4,
            )


class _FolderLock:
    """An exclusive lock on a run folder; the operating system takes it back when a process ends.

    Of several computers that share a disk it holds where the disk passes locks on, as NFS does.
    """

    def __init__(self, folder: Path) -> None:
        """Takes the lock and leaves the holder's name in the file.

        Raises:
            RunError: another process has it, or the file cannot be opened.
        """
        self._file: int | None = None
        try:
            file = self._file = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o666)
        except OSError as error:
            raise RunError(
                f"{folder / LOCK} cannot be opened ({error.strerror}); name another folder"
            ) from error
        until_s = time.monotonic() + LOCK_WAIT_S
        while not _lock(file, folder):
            if time.monotonic() > until_s:
                holder = os.read(file, 1000).decode(errors="replace") or "another process"
                holder += ", this one," if holder == _this_process() else ""
                self.release()
                raise RunError(
                    f"{folder} is in use: {holder} writes it; wait until it is closed, stop it, "
                    "or name another folder"
                )
            time.sleep(0.05)
        with contextlib.suppress(OSError):  # a name for others; the lock holds without it
            os.ftruncate(file, 0)
            os.write(file, _this_process().encode())

    def release(self) -> None:
        """Gives the lock back; more than once is harmless."""
        file, self._file = self._file, None
        if file is not None:
            os.close(file)

    def __del__(self) -> None:
        """Gives the lock of a forgotten run back."""
        self.release()


def _this_process() -> str:
    """Returns the name that the holder of a lock leaves."""
    return f"process {os.getpid()} on {socket.gethostname()}"


def _lock(file: int, folder: Path) -> bool:
    """Returns whether this process now has the lock; true, with a warning, where there are none."""
    if sys.platform == "win32":
        return True
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):  # which of them depends on the file system
        return False
    except OSError as error:
        warnings.warn(
            f"{folder} cannot be locked ({error.strerror}); see to it that one process writes it",
            RuntimeWarning,
            stacklevel=5,
        )
    return True


def read_settings(folder: Path) -> dict[str, Any]:
    """Returns the settings in a run folder's config.json as plain values, without the schema.

    Raises:
        RunError: an address, no run there, a file that cannot be read, a run of another schema.
    """
    check_local(folder)
    file = folder / CONFIG
    try:
        body = json.loads(file.read_text())
    except (FileNotFoundError, NotADirectoryError) as error:
        raise RunError(
            f"{folder} holds no run ({CONFIG} is missing); name the folder of one, or train first"
        ) from error
    except OSError as error:
        raise RunError(f"{file} cannot be read ({error.strerror}); name another run") from error
    except ValueError as error:
        raise RunError(
            f"{file} is not readable JSON ({error}); mend that line, or train anew"
        ) from error
    schema = body.pop("schema", None) if isinstance(body, dict) else None
    if schema != SCHEMA:
        found = "without a schema number" if schema is None else f"of schema {schema!r}"
        raise RunError(
            f"{folder} is a run {found}, and this version reads schema {SCHEMA}: train it anew, or "
            "use the commit that wrote it"
        )
    return dict(body)


def read_config(kind: type[T], folder: Path) -> T:
    """Returns the settings of the run in ``folder`` as dataclass ``kind``.

    Raises:
        RunError: what `read_settings` raises, or settings of another kind of run.
    """
    try:
        return from_dict(kind, read_settings(folder))
    except ConfigError as error:
        raise RunError(
            f"{folder / CONFIG} does not hold a {kind.__name__} ({error}); name another run"
        ) from error


def is_student(folder: Path) -> bool:
    """Returns whether a run folder holds a student: its settings name whom it has learned from.

    That is a teacher's folder or, of a student that was adapted, a student's.

    Raises:
        RunError: what `read_settings` raises.
    """
    return isinstance(read_settings(folder).get("teacher"), str) or is_adapted(folder)


def is_adapted(folder: Path) -> bool:
    """Returns whether a run folder holds a student that was adapted to real pictures.

    Raises:
        RunError: what `read_settings` raises.
    """
    return isinstance(read_settings(folder).get("student"), str)


def read_recipe(file: Path) -> dict[str, Any]:
    """Returns the settings in a recipe's file, without those of one run only.

    A recipe is JSON in the shape of a run's settings, with as many of them as it cares to name; the
    config.json of any run is one.

    Raises:
        ConfigError: no such file, not an object in JSON, or one of another schema.
    """
    try:
        body = json.loads(file.read_text())
    except OSError as error:
        raise ConfigError(
            f"recipe {file}: cannot be read ({error.strerror}); name a JSON file, such as the "
            f"{CONFIG} of a run"
        ) from error
    except ValueError as error:
        raise ConfigError(f"recipe {file}: not JSON ({error})") from error
    if not isinstance(body, dict):
        raise ConfigError(f"recipe {file}: expected settings in braces, got {str(body)[:40]}")
    schema = body.pop("schema", SCHEMA)  # one written by hand names none
    if schema != SCHEMA:
        raise ConfigError(
            f"recipe {file}: of schema {schema!r}, and this version reads schema {SCHEMA}; write "
            "its settings anew"
        )
    return {name: value for name, value in body.items() if name not in ONCE}


def check_local(path: Path) -> None:
    """Refuses an address such as gs://bucket/run, which would become a local folder called "gs:".

    A run appends to files, renames them and locks its folder, none of which a bucket can do.

    Raises:
        RunError: an address; names what to do instead.
    """
    found = _ADDRESS.match(str(path))
    if not found:
        return
    scheme, rest = found["scheme"], found["rest"]
    if scheme.lower() == "file":
        raise RunError(f"file:///{rest} is an address; write it as a path: /{rest}")
    mount = _REMEDIES.get(scheme.lower())
    remedy = f"mount it (with {mount}) and name the mounted folder, or " if mount else ""
    raise RunError(
        f"{scheme}://{rest} is an address and not a folder of this machine; {remedy}name a local "
        "folder and copy"
    )


def check_writable(path: Path) -> None:
    """Makes the folder ``path`` and proves that a file can be written in it.

    Raises:
        RunError: an address, or it cannot.
    """
    check_local(path)
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            pass
    except OSError as error:
        raise RunError(
            f"{path}: cannot write here ({error.strerror}); name another folder"
        ) from error


def check_space(path: Path, need_mb: float = FREE_MB) -> None:
    """Proves that the disk of ``path`` has room.

    Raises:
        RunError: fewer than ``need_mb`` megabytes are free.
    """
    free_mb = shutil.disk_usage(path).free / 1e6
    if free_mb < need_mb:
        raise RunError(
            f"{path}: {free_mb:.0f} MB free, {need_mb:.0f} MB needed; "
            "make room or name a folder on another disk"
        )


def write_json(path: Path, body: Any) -> None:
    """Writes ``body`` as JSON, whole or not at all.

    Raises:
        ConfigError: NaN, infinity or a value that JSON cannot hold, named by its path.
    """
    write_text_whole(path, json.dumps(to_dict(body), indent=2, allow_nan=False) + "\n")


def read_jsonl(path: Path) -> list[dict[str, Any]]:
    """Returns the lines of a .jsonl file; null numbers become NaN, a torn last line is left out.

    Raises:
        RunError: a broken line that is not the last.
    """
    rows, broken = read_whole_lines(path)
    for number, line in broken.items():
        raise RunError(f"{path} line {number} is not JSON: {line[:60]!r}; remove it")
    return rows


def read_whole_lines(path: Path) -> tuple[list[dict[str, Any]], dict[int, str]]:
    """Returns the lines of a .jsonl file that are whole, and by number the text of those broken.

    Null numbers become NaN; a torn last line, as a killed process leaves it, is in neither.
    """
    lines = Path(path).read_text(errors="replace").split("\n")
    rows: list[dict[str, Any]] = []
    broken = {}
    for number, line in enumerate(lines, 1):
        if not line:
            continue
        try:
            row = json.loads(line)
            rows.append({name: math.nan if v is None else v for name, v in row.items()})
        except (ValueError, AttributeError):  # no JSON, or JSON that is no object
            if number < len(lines):
                broken[number] = line
    return rows, broken


def last_metrics(folder: Path) -> dict[str, Any]:
    """Returns the newest line of a run's metrics; empty where there is none.

    Raises:
        RunError: a broken line that is not the last.
    """
    rows = read_jsonl(folder / METRICS) if (folder / METRICS).exists() else []
    return rows[-1] if rows else {}


def lock_holder(folder: Path) -> str:
    """Returns the name of the process that writes a run folder now; empty where none does."""
    if sys.platform == "win32":
        return ""
    try:
        file = os.open(folder / LOCK, os.O_RDONLY)
    except OSError:
        return ""
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)  # for a moment; a run waits that long
    except (BlockingIOError, PermissionError):
        return os.read(file, 1000).decode(errors="replace") or "another process"
    except OSError:
        return ""
    finally:
        os.close(file)
    return ""


def check_vacant(folder: Path, resume: bool) -> bool:
    """Returns whether a folder holds a run already.

    Raises:
        RunError: it does, and nobody wants to ``resume`` it; names what is there.
    """
    held = [n for n in (CONFIG, METRICS, BOUNDS, CHECKPOINTS) if (folder / n).exists()]
    if held and not resume:
        raise RunError(
            f"{folder} holds another run ({', '.join(held)}); resume it (--resume) or name "
            "another folder"
        )
    return bool(held)


def check_same_settings(path: Path, body: Any, may_change: Sequence[str] = ()) -> None:
    """Checks that a folder holds a run with these settings.

    Args:
        path: the folder.
        body: the settings as plain values, see `mjx_s2r.io.config.to_dict`.
        may_change: dotted names or patterns of settings that may differ.

    Raises:
        RunError: parts of a run without its settings, or other settings, each named.
    """
    file = path / CONFIG
    if not file.exists():
        raise RunError(
            f"{path} holds parts of a run and not its settings ({CONFIG} is missing), so nothing "
            "can say whether they fit; put the file back or name another folder"
        )
    old = read_settings(path)
    changed = [
        f"{name}: the run has {was!r}, now {now!r}"
        for name, (was, now) in differences(old, json.loads(json.dumps(body))).items()
        if not any(fnmatch.fnmatchcase(name, pattern) for pattern in may_change)
    ]
    if changed:
        raise RunError(
            f"{path} was started with other settings:\n  "
            + "\n  ".join(changed)
            + "\nname another folder for these, or repeat the run's own to go on"
        )


def _append(path: Path, row: Mapping[str, Any]) -> None:
    """Adds one line and hands it to the operating system at once; all of it, or nothing."""
    line = _line(row).encode()
    file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
    try:
        size = os.fstat(file).st_size
        done = 0
        try:
            while done < len(line):
                done += os.write(file, line[done:])
        except OSError:
            if done:  # half a line would spoil the next one
                os.ftruncate(file, size)
            raise
    finally:
        os.close(file)


def _line(row: Mapping[str, Any]) -> str:
    """Returns a row as one line of JSON."""
    return json.dumps({name: _finite(value) for name, value in row.items()}) + "\n"


def _finite(value: Any) -> Any:
    """Returns ``value``, numbers that JSON cannot hold as None."""
    if isinstance(value, list):
        return [_finite(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def write_text_whole(path: Path, text: str) -> None:
    """Writes ``text`` whole or not at all: beside ``path``, then renamed into place."""
    beside = path.with_name(path.name + ".tmp")
    with beside.open("w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)
