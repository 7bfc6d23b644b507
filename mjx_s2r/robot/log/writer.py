"""The writer of a flight log: steps at once, pictures compressed in a thread of their own.

`FlightLog.append` packs a step and hands it to the operating system; it neither compresses nor
waits for the disk. So a killed process loses at most the pictures that were waiting and the record
it was writing; a power failure may lose what the operating system had not yet written. Pictures
wait in a queue of bounded size. What does not fit is dropped, counted and marked in its steps.
"""

import json
import os
import shutil
import threading
import time
import uuid
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

import numpy as np

from mjx_s2r.contract import PolicyContract, to_json
from mjx_s2r.robot.driver import DriverInfo, Reading
from mjx_s2r.robot.log.records import (
    INDEX,
    INDEX_MARK,
    MAGIC,
    TRAILER,
    LogError,
    Step,
    is_array,
    pack_picture,
    pack_step,
    record_of,
)

BLOCK = 256  # steps between two entries of the index
PART_BYTES = 2**30
PART_S = 3600.0
QUEUE_BYTES = 2**26


def part_path(path: str | Path, part: int) -> Path:
    """Returns the file of one part of a log."""
    return Path(f"{path}.{part}") if part else Path(path)


def log_parts(path: str | Path) -> list[int]:
    """Returns the numbers of the parts of a log that exist, in order."""
    path = Path(path)
    suffixes = (p.name[len(path.name) + 1 :] for p in path.parent.glob(f"{path.name}.*"))
    later = sorted(int(text) for text in suffixes if text.isdecimal() and text[0] != "0")
    return [0, *later] if path.exists() else later


def remove_log(path: str | Path) -> None:
    """Deletes all parts of a log, if there are any."""
    for part in log_parts(path):
        part_path(path, part).unlink()


class FlightLog:
    """Writes one flight log; a context manager."""

    def __init__(
        self,
        path: str | Path,
        contract: PolicyContract,
        robot: str,
        config: Mapping[str, Any] | None = None,
        *,
        driver: DriverInfo | None = None,
        images: bool = True,
        part_bytes: int = PART_BYTES,
        part_s: float = PART_S,
        queue_bytes: int = QUEUE_BYTES,
        may_drop: bool = True,
    ) -> None:
        """Creates the file and writes its header.

        Args:
            path: a file that does not exist yet.
            contract: of the policy.
            robot: name of the robot.
            config: settings to keep, as JSON values.
            driver: the robot's data sheet; a replay needs it to judge by the same limits.
            images: whether camera frames are kept.
            part_bytes: size at which the next part begins.
            part_s: time after which the next part begins, s of the controller's clock.
            queue_bytes: largest size of the pictures that wait to be compressed.
            may_drop: whether a picture that finds the queue full is dropped; in virtual time, where
                nobody is late, it had better wait.

        Raises:
            FileExistsError: a log is never overwritten.
            LogError: no such folder, or no room.
        """
        if old := log_parts(path):
            raise FileExistsError(
                f"{part_path(path, old[0])} exists, and a log is never overwritten; name another"
            )
        self._path, self._images, self._may_drop = Path(path), images, may_drop
        self._part_bytes, self._part_s, self._queue_bytes = part_bytes, part_s, queue_bytes
        self._header = {
            "contract": to_json(contract),
            "robot": robot,
            "config": dict(config or {}),
            "driver": None if driver is None else asdict(driver),
            "flight": uuid.uuid4().hex,
        }
        self._jobs: SimpleQueue[tuple[_Part, tuple[str, float, np.ndarray] | None] | None] = (
            SimpleQueue()
        )
        self._free: dict[Any, SimpleQueue[np.ndarray]] = {}
        self._queued = self._done = 0  # bytes; one thread counts each
        self._worker: threading.Thread | None = None
        self._failure: OSError | None = None
        self._kept: dict[str, tuple[Any, ...]] = {}
        self._numbers: dict[str, int | None] = {}
        self._count = 0
        self.dropped_pictures = 0
        self._part: _Part | None = self._open(0)

    def append(self, step: Step) -> None:
        """Writes one step; it is with the operating system when this returns.

        Raises:
            LogError: the log was closed, or the disk is full; the message says what is left. What
                was written before stays readable.
        """
        if self._part is None:
            raise LogError("the flight log is closed; open another one")
        if self._failure is not None:
            raise self._no_room(self._failure)
        try:
            self._part = self._next_part(self._part, step.time_s)
            pictures = self._take(self._part, step.reading) if self._images else {}
            data = pack_step(step, time.time(), pictures)
            self._part.append_step(data, step.time_s)
        except OSError as error:
            self._failure = error
            raise self._no_room(error) from error

    def close(self) -> None:
        """Writes what waits, forces it to disk and closes the log; a second call does nothing.

        Raises:
            LogError: the last pictures found no room.
        """
        if self._part is None:
            return
        part, self._part = self._part, None
        known = self._failure
        if self._worker is not None:
            self._jobs.put(None)
            self._worker.join()
        try:
            part.finish(whole=self._failure is None)
        except OSError as error:
            self._failure = self._failure or error
        if self._failure is not known and self._failure is not None:
            raise self._no_room(self._failure)

    def __enter__(self) -> "FlightLog":
        """Returns itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Closes the files."""
        self.close()

    def _open(self, number: int) -> "_Part":
        """Creates one part and writes its header."""
        path = part_path(self._path, number)
        header = self._header | {"part": number, "wall_s": time.time()}
        try:
            return _Part(path, MAGIC + json.dumps(header).encode() + b"\n")
        except FileExistsError:
            raise
        except OSError as error:
            raise self._no_room(error) from error

    def _next_part(self, part: "_Part", time_s: float) -> "_Part":
        """Returns the part that the next step goes to; a full one is finished by the thread."""
        full = part.size >= self._part_bytes or time_s - part.first_s >= self._part_s
        if not full or not part.steps:
            return part
        following = self._open(part.number + 1)
        following.number = part.number + 1
        self._kept.clear()  # each part holds the pictures of its steps
        self._count = 0
        self._send(part, None)
        return following

    def _take(self, part: "_Part", reading: Any) -> dict[str, int | None]:
        """Hands new pictures to the thread; returns the number of each camera's picture."""
        if not isinstance(reading, Reading) or not isinstance(reading.images, Mapping):
            return {}
        stamps = reading.image_time_s if isinstance(reading.image_time_s, Mapping) else {}
        numbers: dict[str, int | None] = {}
        for name, image in reading.images.items():
            if not is_array(image):
                continue
            seen = (stamps.get(name), image.shape, image.dtype)
            if self._kept.get(name) != seen:
                self._kept[name] = seen
                self._numbers[name] = self._enqueue(part, str(name), seen[0], image)
            numbers[name] = self._numbers[name]
        return numbers

    def _enqueue(self, part: "_Part", name: str, time_s: Any, image: np.ndarray) -> int | None:
        """Returns the number of a picture that now waits; None where there was no room for it."""
        while (waiting := self._queued - self._done) and (
            waiting + image.nbytes > self._queue_bytes
        ):
            if self._may_drop:
                self.dropped_pictures += 1
                return None
            time.sleep(0.0005)
        self._queued += image.nbytes
        self._send(part, (name, time_s, self._copy(image)))
        self._count += 1
        return self._count - 1

    def _copy(self, image: np.ndarray) -> np.ndarray:
        """Returns a copy of a picture, into memory of one that was written, if there is any."""
        free = self._free.setdefault((image.shape, image.dtype), SimpleQueue())
        try:
            copy = free.get_nowait()
        except Empty:
            return image.copy()
        np.copyto(copy, image)
        return copy

    def _send(self, part: "_Part", picture: tuple[str, Any, np.ndarray] | None) -> None:
        """Gives the thread a picture to write, or, without one, a part to finish."""
        if self._worker is None:
            self._worker = threading.Thread(target=self._work, name="flight log", daemon=True)
            self._worker.start()
        self._jobs.put((part, picture))

    def _work(self) -> None:
        """Writes pictures and finishes parts until None comes."""
        while (job := self._jobs.get()) is not None:
            part, picture = job
            try:
                if picture is None:
                    part.finish(whole=self._failure is None)
                elif self._failure is None:
                    part.append_picture(pack_picture(*picture))
            except OSError as error:
                self._failure = self._failure or error
            if picture is not None:
                self._done += picture[2].nbytes
                self._free[picture[2].shape, picture[2].dtype].put(picture[2])

    def _no_room(self, error: OSError) -> LogError:
        """Returns the error of a log that cannot be written."""
        try:
            free = f"{shutil.disk_usage(self._path.parent).free / 1e6:.0f} MB free there"
        except OSError:
            free = f"{self._path.parent} is no folder"
        return LogError(
            f"flight log {self._path} cannot be written: {error.strerror or error} ({free}); make "
            "room, or log to another disk"
        )


class _Part:
    """One file of a log, open for appending by two threads."""

    def __init__(self, path: Path, head: bytes) -> None:
        """Creates the file.

        Raises:
            OSError: it exists, or has no room.
        """
        self.number = 0
        self.steps = 0
        self.first_s = self.last_s = 0.0
        self._blocks: list[tuple[int, float, int]] = []  # step, its time, its byte
        self._pictures = array("q")
        self._lock = threading.Lock()
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND
        self._file = os.open(path, flags, 0o644)
        self.size = 0
        try:
            self._write([head])
        except OSError:
            os.close(self._file)
            path.unlink()
            raise

    def append_step(self, data: Sequence[bytes], time_s: float) -> None:
        """Writes the record of a step."""
        with self._lock:
            start = self.size
            self._write(data)
        if not self.steps:
            self.first_s = time_s
        if self.steps % BLOCK == 0:
            self._blocks.append((self.steps, time_s, start))
        self.steps += 1
        self.last_s = time_s

    def append_picture(self, data: Sequence[bytes]) -> None:
        """Writes the record of a picture."""
        with self._lock:
            start = self.size
            self._write(data)
        self._pictures.append(start)

    def finish(self, *, whole: bool) -> None:
        """Writes the index of a part that is ``whole``, forces it to disk and closes the file."""
        try:
            if whole:
                meta = {
                    "steps": self.steps,
                    "first_s": self.first_s,
                    "last_s": self.last_s,
                    "blocks": self._blocks,
                    "pictures": self._pictures.tolist(),
                }
                self._write(
                    record_of(INDEX, json.dumps(meta), [TRAILER.pack(self.size, INDEX_MARK)])
                )
            os.fsync(self._file)
        finally:
            os.close(self._file)

    def _write(self, pieces: Sequence[bytes]) -> None:
        """Writes all pieces or, where there is no room, nothing.

        Raises:
            OSError: the disk is full.
        """
        size = sum(map(len, pieces))
        try:
            written = os.writev(self._file, pieces)
            if written < size:  # a signal came, or the disk is full, which the next call says
                rest = memoryview(b"".join(pieces))
                while written < size:
                    written += os.write(self._file, rest[written:])
        except OSError:
            os.ftruncate(self._file, self.size)
            raise
        self.size += size
