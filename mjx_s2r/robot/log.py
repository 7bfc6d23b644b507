r"""The flight log: one file per run, everything that the controller saw, decided and sent.

Layout, little endian:

    b"mjx_s2r flight log 1\n"
    one line of JSON: {"contract": text of `contract.to_json`, "robot": name, "config": {...}}, "\n"
    records, each:
        uint32 length of the payload, uint32 CRC-32 of the payload
        payload: uint32 length of the JSON part, the JSON part, then the arrays' bytes in C order
        JSON part: {"step", "time_s", "busy_s", "mode", "phase", "events": [[code, name, value,
        limit, mode], ...], "reading_s", "image_s": {camera: s}, "arrays": [[key, dtype, shape],
        ...]}

Array keys: "signal/NAME", "image/NAME", "observation", "output", "command". A key that is missing
did not exist at that step (no command was sent, no policy was asked).

Each record is one unbuffered write to a file opened for appending, so a killed process loses at
most the record it was writing; the reader finds a torn tail by length and checksum and drops it. A
power failure may lose what the operating system had not yet written.
"""

import json
import os
import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from mjx_s2r.contract import PolicyContract, from_json, to_json
from mjx_s2r.robot.driver import Reading
from mjx_s2r.robot.phases import Phase
from mjx_s2r.robot.safety import Event, Mode

MAGIC = b"mjx_s2r flight log 1\n"
HEAD = struct.Struct("<II")
SIZE = struct.Struct("<I")


class LogError(ValueError):
    """A file that is not a flight log; the message says what was found."""


@dataclass(frozen=True)
class Step:
    """One step of the controller.

    Attributes:
        step: number of the step, from 0.
        time_s: clock when the reading was inspected, s.
        mode: the guard's mode.
        reading: what the driver reported; None when it could not.
        observation: (P,) what the policy read; None when it was not asked.
        output: (J,) what it answered, physical units.
        command: (J,) what was sent; None when nothing was sent.
        events: interventions of the guard.
        busy_s: time from the reading to the end of the write, s.
        phase: of the flight; PASSIVE where the log is older than phases.
    """

    step: int
    time_s: float
    mode: Mode
    reading: Reading | None = None
    observation: np.ndarray | None = None
    output: np.ndarray | None = None
    command: np.ndarray | None = None
    events: tuple[Event, ...] = ()
    busy_s: float = 0.0
    phase: Phase = Phase.PASSIVE


@dataclass(frozen=True)
class Flight:
    """A log that was read back.

    Attributes:
        contract: of the policy that flew.
        robot: name of the robot.
        config: settings of the controller, as JSON values.
        steps: in order.
        torn_bytes: length of the broken tail that was dropped; 0 for a log that was closed.
    """

    contract: PolicyContract
    robot: str
    config: Mapping[str, Any]
    steps: tuple[Step, ...]
    torn_bytes: int = 0

    @property
    def time_s(self) -> np.ndarray:
        """(T,) time of each step, s."""
        return np.array([s.time_s for s in self.steps])

    @property
    def commands(self) -> np.ndarray:
        """(T, J) commands that were sent; NaN where none was."""
        return _stack([s.command for s in self.steps], len(self.contract.action.joints))

    @property
    def outputs(self) -> np.ndarray:
        """(T, J) what the policy answered; NaN where it was not asked."""
        return _stack([s.output for s in self.steps], len(self.contract.action.joints))

    def signal(self, name: str) -> np.ndarray:
        """Returns (T, size) raw readings of one signal; NaN where none was read.

        Raises:
            LogError: no step holds that signal; the message lists those that exist.
        """
        rows = [s.reading.signals.get(name) if s.reading else None for s in self.steps]
        sizes = [row.size for row in rows if row is not None]
        if not sizes:
            known = sorted({n for s in self.steps if s.reading for n in s.reading.signals})
            raise LogError(f"no signal {name!r} in this log; it holds {known}")
        return _stack(rows, sizes[0])


class FlightLog:
    """Writes one flight log; a context manager."""

    def __init__(
        self,
        path: str | Path,
        contract: PolicyContract,
        robot: str,
        config: Mapping[str, Any] | None = None,
        *,
        images: bool = True,
    ) -> None:
        """Creates the file and writes its header.

        Args:
            path: a file that does not exist yet.
            contract: of the policy.
            robot: name of the robot.
            config: settings to keep, as JSON values.
            images: whether camera frames are kept.

        Raises:
            FileExistsError: a log is never overwritten.
        """
        self._images = images
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND
        self._file: int | None = os.open(path, flags, 0o644)
        header = {"contract": to_json(contract), "robot": robot, "config": dict(config or {})}
        self._write(MAGIC + json.dumps(header).encode() + b"\n")

    def append(self, step: Step) -> None:
        """Writes one step; it is with the operating system when this returns."""
        payload = _pack(step, self._images)
        self._write(HEAD.pack(len(payload), zlib.crc32(payload)) + payload)

    def close(self) -> None:
        """Forces the file to disk and closes it; a second call does nothing."""
        if self._file is not None:
            os.fsync(self._file)
            os.close(self._file)
            self._file = None

    def __enter__(self) -> "FlightLog":
        """Returns itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Closes the file."""
        self.close()

    def _write(self, data: bytes) -> None:
        """Writes all of ``data``.

        Raises:
            LogError: the log was closed.
            OSError: the disk is full.
        """
        if self._file is None:
            raise LogError("the flight log is closed; open another one")
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(self._file, rest) :]


def read(path: str | Path, *, images: bool = True) -> Flight:
    """Returns a flight; a torn tail is dropped and counted.

    Args:
        path: the log.
        images: whether camera frames are loaded.

    Raises:
        LogError: not a flight log, or a header that is not whole.
    """
    data = Path(path).read_bytes()
    end = data.find(b"\n", len(MAGIC))
    if not data.startswith(MAGIC) or end < 0:
        raise LogError(f"{path} is not a flight log: it starts with {data[: len(MAGIC)]!r}")
    try:
        header = json.loads(data[len(MAGIC) : end])
    except ValueError as error:
        raise LogError(f"{path}: the header is not JSON ({error})") from error
    steps, at = [], end + 1
    while (payload := _record(data, at)) is not None:
        steps.append(_unpack(payload, images))
        at += HEAD.size + len(payload)
    return Flight(
        contract=from_json(header["contract"]),
        robot=header["robot"],
        config=header["config"],
        steps=tuple(steps),
        torn_bytes=len(data) - at,
    )


def _record(data: bytes, at: int) -> bytes | None:
    """Returns the payload of the record that starts at ``at``; None where no whole one does."""
    if at + HEAD.size > len(data):
        return None
    length, checksum = HEAD.unpack_from(data, at)
    payload = data[at + HEAD.size : at + HEAD.size + length]
    return payload if len(payload) == length and zlib.crc32(payload) == checksum else None


def _pack(step: Step, images: bool) -> bytes:
    """Returns the payload of one step."""
    named = {"observation": step.observation, "output": step.output, "command": step.command}
    arrays = {key: np.ascontiguousarray(x) for key, x in named.items() if x is not None}
    meta: dict[str, Any] = {
        "step": step.step,
        "time_s": step.time_s,
        "busy_s": step.busy_s,
        "mode": step.mode.name,
        "phase": step.phase.value,
        "events": [[e.code, e.name, e.value, e.limit, e.mode.name] for e in step.events],
    }
    if step.reading is not None:
        meta |= {"reading_s": step.reading.time_s, "image_s": dict(step.reading.image_time_s)}
        for name, value in step.reading.signals.items():
            arrays[f"signal/{name}"] = np.ascontiguousarray(value)
        for name, value in step.reading.images.items() if images else ():
            arrays[f"image/{name}"] = np.ascontiguousarray(value)
    meta["arrays"] = [[key, x.dtype.str, x.shape] for key, x in arrays.items()]
    text = json.dumps(meta, separators=(",", ":")).encode()
    return b"".join([SIZE.pack(len(text)), text, *(x.tobytes() for x in arrays.values())])


def _unpack(payload: bytes, images: bool) -> Step:
    """Returns the step of one payload."""
    length = SIZE.unpack_from(payload)[0]
    meta = json.loads(payload[SIZE.size : SIZE.size + length])
    arrays, at = {}, SIZE.size + length
    for key, dtype, shape in meta["arrays"]:
        count = int(np.prod(shape, dtype=int))
        if images or not key.startswith("image/"):
            arrays[key] = np.frombuffer(payload, dtype, count, at).reshape(shape)
        at += count * np.dtype(dtype).itemsize
    return Step(
        step=meta["step"],
        time_s=meta["time_s"],
        mode=Mode[meta["mode"]],
        reading=_reading(meta, arrays),
        observation=arrays.get("observation"),
        output=arrays.get("output"),
        command=arrays.get("command"),
        events=tuple(Event(e[0], e[1], e[2], e[3], Mode[e[4]]) for e in meta["events"]),
        busy_s=meta["busy_s"],
        phase=Phase(meta.get("phase", Phase.PASSIVE.value)),
    )


def _reading(meta: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> Reading | None:
    """Returns the reading of one record; None where there was none."""
    if "reading_s" not in meta:
        return None
    part: dict[str, dict[str, np.ndarray]] = {"signal": {}, "image": {}}
    for key, value in arrays.items():
        kind, _, name = key.partition("/")
        if name:
            part[kind][name] = value
    return Reading(meta["reading_s"], part["signal"], part["image"], meta["image_s"])


def _stack(rows: list[np.ndarray | None], size: int) -> np.ndarray:
    """Returns (T, size) float64 with NaN for the rows that are None."""
    blank = np.full(size, np.nan)
    return np.array([blank if row is None else row for row in rows], float).reshape(-1, size)
