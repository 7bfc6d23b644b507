"""The reader of a flight log: its steps one after another, in bounded memory.

A log of several parts reads as one flight. A part that was closed has an index at its end, so a
range of time is found without reading what lies before it; where the index is missing (the process
was killed), the part is read through once when it is opened, which also finds its torn tail.
"""

import json
import os
import zlib
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, overload

import numpy as np

from mjx_s2r.contract import CameraSignal, ContractError, Optics, PolicyContract, from_json
from mjx_s2r.robot.driver import CameraInfo, DriverInfo, TaskRules
from mjx_s2r.robot.log.records import (
    HEAD,
    INDEX,
    INDEX_MARK,
    MAGIC,
    MAGIC_1,
    PICTURE,
    STEP,
    TRAILER,
    LogError,
    LoggedPicture,
    Step,
    pack_picture,
    split,
    unpack_picture,
    unpack_step,
)
from mjx_s2r.robot.log.writer import BLOCK, log_parts, part_path

BUFFER = 2**20  # bytes read at once


@dataclass(frozen=True)
class LogPart:
    """One file of a log, opened and understood.

    Attributes:
        path: the file.
        start: where its records begin, bytes.
        end: where its last whole record ends.
        steps: number of steps.
        blocks: [(step in this part, its time, its byte), ...] of every `BLOCK`-th step.
        pictures: byte of each picture.
        torn_bytes: length of the broken tail.
        kinds: whether records name their kind; those of format 1 do not.
    """

    path: Path
    start: int
    end: int
    steps: int
    blocks: Sequence[tuple[int, float, int]]
    pictures: Sequence[int]
    torn_bytes: int
    kinds: bool

    def iterate(self, block: int, images: bool) -> Iterator[Step]:
        """Yields the steps from one block on.

        Raises:
            LogError: a record that was damaged after the part was closed.
        """
        album = _Album(self)
        for file, step, numbers in self._unpacked(block):
            yield album.illustrate(file, step, numbers) if images else _bare(step)

    def dropped(self) -> Iterator[tuple[str, Any]]:
        """Yields camera and stamp of each picture that was dropped, as often as it is shown."""
        for _, step, numbers in self._unpacked(0):
            for camera, number in numbers.items():
                if number is None and step.reading is not None:
                    yield camera, step.reading.image_time_s.get(camera)

    def _unpacked(self, block: int) -> Iterator[tuple[BinaryIO, Step, dict[str, int | None]]]:
        """Yields the file, the steps from one block on, and the numbers of their pictures."""
        if not self.blocks:
            return
        with self.path.open("rb", BUFFER) as file:
            at = self.blocks[block][2]
            while at < self.end:
                payload = _record(file, at)
                if payload is None:
                    raise LogError(
                        f"{self.path} is damaged at byte {at}; read it with use_index=False, up to "
                        "there"
                    )
                at += HEAD.size + len(payload)
                if not self.kinds or payload[:1] == STEP:
                    yield file, *unpack_step(payload, int(self.kinds))

    def picture(self, file: BinaryIO, number: int) -> LoggedPicture | None:
        """Returns one picture; None where it never reached the disk."""
        if not 0 <= number < len(self.pictures):
            return None
        payload = _record_at(file, self.pictures[number])
        return None if payload is None else unpack_picture(payload)


class _Album:
    """The last picture of each camera that was decoded, since many steps show the same one."""

    def __init__(self, part: LogPart) -> None:
        """Starts empty."""
        self._part = part
        self._last: dict[str, tuple[int, np.ndarray | None]] = {}

    def illustrate(self, file: BinaryIO, step: Step, numbers: Mapping[str, int | None]) -> Step:
        """Returns a step with its pictures; one that was dropped is missing."""
        if step.reading is None or not numbers:
            return step
        images = dict(step.reading.images)
        for camera, number in numbers.items():
            if number is None:
                continue
            if self._last.get(camera, (-1, None))[0] != number:
                found = self._part.picture(file, number)
                self._last[camera] = number, None if found is None else found.array()
            image = self._last[camera][1]
            if image is not None:
                images[camera] = image
        return replace(step, reading=replace(step.reading, images=images))


class LoggedSteps(Sequence[Step]):
    """The steps of a flight, read when they are asked for."""

    def __init__(self, parts: Sequence[LogPart], images: bool) -> None:
        """Takes the parts in order."""
        self.parts, self._images = parts, images

    def __len__(self) -> int:
        """Returns the number of steps."""
        return sum(part.steps for part in self.parts)

    def __iter__(self) -> Iterator[Step]:
        """Yields the steps in order."""
        for part in self.parts:
            yield from part.iterate(0, self._images)

    @overload
    def __getitem__(self, index: int) -> Step: ...

    @overload
    def __getitem__(self, index: slice) -> tuple[Step, ...]: ...

    def __getitem__(self, index: int | slice) -> Step | tuple[Step, ...]:
        """Returns one step, or those of a slice."""
        if isinstance(index, slice):
            return tuple(self[i] for i in range(*index.indices(len(self))))
        rest = index + len(self) if index < 0 else index
        for part in self.parts:
            if 0 <= rest < part.steps:
                block = bisect_right(part.blocks, rest, key=lambda b: b[0]) - 1
                steps = part.iterate(block, self._images)
                return next(islice(steps, rest - part.blocks[block][0], None))
            rest -= part.steps
        raise IndexError(f"step {index} of a flight of {len(self)}")

    def between(self, start_s: float, stop_s: float) -> Iterator[Step]:
        """Yields the steps with ``start_s`` <= time < ``stop_s``, by the controller's clock."""
        for part in self.parts:
            if not part.blocks or part.blocks[0][1] >= stop_s:
                continue
            block = max(0, bisect_right(part.blocks, start_s, key=lambda b: b[1]) - 1)
            for step in part.iterate(block, self._images):
                if step.time_s >= stop_s:
                    break
                if step.time_s >= start_s:
                    yield step

    def pictures(self, camera: str) -> Iterator[LoggedPicture]:
        """Yields the pictures of a camera in order, each once, as they lie in the log."""
        for part in self.parts:
            if not part.kinds:
                yield from _old_pictures(part, camera)
            with part.path.open("rb") as file:
                for number in range(len(part.pictures)):
                    picture = part.picture(file, number)
                    if picture is not None and picture.camera == camera:
                        yield picture


@dataclass(frozen=True)
class Flight:
    """A log that was opened; its steps are read when they are asked for.

    Attributes:
        contract: of the policy that flew.
        robot: name of the robot.
        config: settings of the controller, as JSON values.
        steps: in order.
        torn_bytes: length of the broken tails that are left out; 0 for a log that was closed.
        driver: data sheet of the robot; None where the log does not hold it.
        started_s: Unix time when the log was opened, s; NaN in format 1.
        missing_parts: numbers of the parts that should be there and are not.
    """

    contract: PolicyContract
    robot: str
    config: Mapping[str, Any]
    steps: LoggedSteps
    torn_bytes: int = 0
    driver: DriverInfo | None = None
    started_s: float = float("nan")
    missing_parts: tuple[int, ...] = ()
    paths: tuple[Path, ...] = field(default=())

    @property
    def time_s(self) -> np.ndarray:
        """(T,) time of each step, s."""
        return np.array([s.time_s for s in self.bare()])

    @property
    def commands(self) -> np.ndarray:
        """(T, J) commands that were sent; NaN where none was."""
        return _stack([s.command for s in self.bare()], len(self.contract.action.joints))

    @property
    def outputs(self) -> np.ndarray:
        """(T, J) what the policy answered; NaN where it was not asked."""
        return _stack([s.output for s in self.bare()], len(self.contract.action.joints))

    def signal(self, name: str) -> np.ndarray:
        """Returns (T, size) raw readings of one signal; NaN where none was read.

        Raises:
            LogError: no step holds that signal; the message lists those that exist.
        """
        rows: list[np.ndarray | None] = []
        known: set[str] = set()
        for step in self.bare():
            signals = step.reading.signals if step.reading else {}
            rows.append(signals.get(name))
            known.update(signals)
        sizes = [row.size for row in rows if row is not None]
        if not sizes:
            raise LogError(f"no signal {name!r} in this log; it holds {sorted(known)}")
        return _stack(rows, sizes[0])

    def dropped(self) -> set[tuple[str, Any]]:
        """Returns camera and stamp of the pictures that found the queue full; reads all steps."""
        return {key for part in self.steps.parts for key in part.dropped()}

    def bare(self) -> LoggedSteps:
        """Returns the steps without pictures, which is faster."""
        return LoggedSteps(self.steps.parts, images=False)


def read(path: str | Path, *, images: bool = True, use_index: bool = True) -> Flight:
    """Opens a flight; torn tails are left out and counted.

    Args:
        path: the log, its first part; or a later part, which is read alone.
        images: whether the steps bring their camera pictures.
        use_index: whether the indices of closed parts are trusted; without, every byte is checked.

    Raises:
        LogError: not a flight log, a header that is not whole, or a part of another flight.
    """
    path = Path(path)
    numbers = log_parts(path)
    if not numbers:
        raise LogError(f"{path} does not exist; name the flight log's first file")
    if numbers[0]:
        raise LogError(
            f"{path} is missing, but {part_path(path, numbers[0])} is there; name it to read it "
            "alone"
        )
    paths = tuple(part_path(path, number) for number in numbers)
    headers = [_header(p) for p in paths]
    first = headers[0][0]
    for other, (header, _, _) in zip(paths, headers, strict=True):
        if header.get("flight") != first.get("flight"):
            raise LogError(f"{other} is a part of another flight than {path}; move it away")
    parts = [
        _open_part(p, start, kinds, use_index)
        for p, (_, start, kinds) in zip(paths, headers, strict=True)
    ]
    try:
        contract = from_json(first["contract"])
        driver = _data_sheet(first.get("driver"))
    except (ContractError, KeyError, TypeError) as error:
        raise LogError(f"{path}: the header is not that of a flight log ({error})") from error
    return Flight(
        contract=contract,
        robot=first["robot"],
        config=first["config"],
        steps=LoggedSteps(parts, images),
        torn_bytes=sum(part.torn_bytes for part in parts),
        driver=driver,
        started_s=first.get("wall_s", float("nan")),
        missing_parts=tuple(n for n in range(numbers[-1]) if n not in numbers),
        paths=paths,
    )


def _header(path: Path) -> tuple[dict[str, Any], int, bool]:
    """Returns the header of one file, where its records begin, and whether they name their kind.

    Raises:
        LogError: not a flight log.
    """
    try:
        with path.open("rb") as file:
            magic, line = file.readline(64), file.readline()
    except OSError as error:
        raise LogError(f"{path} cannot be read: {error.strerror}") from error
    if magic not in (MAGIC, MAGIC_1):
        raise LogError(f"{path} is not a flight log: it starts with {magic[:24]!r}")
    try:
        header = json.loads(line)
    except ValueError as error:
        raise LogError(f"{path}: the header is not JSON ({error})") from error
    if not isinstance(header, dict) or not {"contract", "robot", "config"} <= header.keys():
        raise LogError(f"{path}: the header is not that of a flight log; it holds {header!r:.80}")
    return header, len(magic) + len(line), magic == MAGIC


def _open_part(path: Path, start: int, kinds: bool, use_index: bool) -> LogPart:
    """Returns one part by its index or, where that is missing, by reading it through."""
    found = _indexed(path, start) if kinds and use_index else None
    return found if found is not None else _scanned(path, start, kinds)


def _indexed(path: Path, start: int) -> LogPart | None:
    """Returns a part by the index at its end; None where there is no whole one."""
    size = path.stat().st_size
    if size < start + TRAILER.size:
        return None
    with path.open("rb") as file:
        file.seek(size - TRAILER.size)
        at, mark = TRAILER.unpack(file.read(TRAILER.size))
        if mark != INDEX_MARK or not start <= at < size:
            return None
        payload = _record(file, at)
    if payload is None or at + HEAD.size + len(payload) != size or payload[:1] != INDEX:
        return None
    meta, _ = split(payload, 1)
    blocks = [(int(step), float(at_s), int(byte)) for step, at_s, byte in meta["blocks"]]
    return LogPart(path, start, at, meta["steps"], blocks, meta["pictures"], 0, True)


def _scanned(path: Path, start: int, kinds: bool) -> LogPart:
    """Returns a part by reading all of it."""
    blocks: list[tuple[int, float, int]] = []
    pictures: list[int] = []
    steps, at, size = 0, start, path.stat().st_size
    with path.open("rb", BUFFER) as file:
        while (payload := _record(file, at)) is not None:
            kind = payload[:1] if kinds else STEP
            if kind == STEP:
                if steps % BLOCK == 0:
                    blocks.append((steps, split(payload, int(kinds))[0]["time_s"], at))
                steps += 1
            elif kind == PICTURE:
                pictures.append(at)
            at += HEAD.size + len(payload)
    return LogPart(path, start, at, steps, blocks, pictures, size - at, kinds)


def _record(file: BinaryIO, at: int) -> bytes | None:
    """Returns the payload of the record at ``at``; None where no whole one starts there."""
    if file.tell() != at:
        file.seek(at)
    head = file.read(HEAD.size)
    if len(head) < HEAD.size:
        return None
    length, checksum = HEAD.unpack(head)
    if length > os.fstat(file.fileno()).st_size - at:
        return None  # a torn length may ask for gigabytes
    payload = file.read(length)
    return payload if len(payload) == length and zlib.crc32(payload) == checksum else None


def _record_at(file: BinaryIO, at: int) -> bytes | None:
    """Returns the payload of a record without moving the file's place."""
    length, checksum = HEAD.unpack(os.pread(file.fileno(), HEAD.size, at))
    payload = os.pread(file.fileno(), length, at + HEAD.size)
    return payload if zlib.crc32(payload) == checksum else None


def _old_pictures(part: LogPart, camera: str) -> Iterator[LoggedPicture]:
    """Yields the pictures of a part of format 1, where each step holds those that it shows."""
    last = None
    for step in part.iterate(0, True):
        image = step.reading.images.get(camera) if step.reading else None
        if step.reading is None or image is None or step.reading.image_time_s[camera] == last:
            continue
        last = step.reading.image_time_s[camera]
        record = b"".join(pack_picture(camera, last, image))
        yield unpack_picture(record[HEAD.size :])


def _bare(step: Step) -> Step:
    """Returns a step without pictures; those of format 1 lie in the step."""
    if step.reading is None or not step.reading.images:
        return step
    return replace(step, reading=replace(step.reading, images={}))


def _data_sheet(body: dict[str, Any] | None) -> DriverInfo | None:
    """Returns a robot's data sheet from JSON."""
    if body is None:
        return None
    plain = _tuples(body)
    plain["cameras"] = tuple(
        CameraInfo(**(camera | {"optics": Optics(**_tuples(camera["optics"]))}))
        for camera in plain["cameras"]
    )
    plain["task"] = None if plain.get("task") is None else TaskRules(**plain["task"])
    return DriverInfo(**plain)


def _tuples(body: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a mapping of JSON with tuples for lists."""
    return {k: tuple(v) if isinstance(v, list) else v for k, v in body.items()}


def data_sheet_of(contract: PolicyContract, name: str) -> DriverInfo:
    """Returns the data sheet that a contract implies, for logs that hold none."""
    action = contract.action
    effort, joints = action.mode == "effort", len(action.joints)
    return DriverInfo(
        name=name,
        joints=action.joints,
        command="effort" if effort else "position",
        unit=action.unit,
        low=(-np.inf,) * joints if effort else action.low,
        high=(np.inf,) * joints if effort else action.high,
        max_rate=(np.inf,) * joints if effort else action.max_rate,
        max_effort=action.max_effort,
        max_hz=contract.control_hz,
        signals=contract.sensed,
        cameras=tuple(_camera_info(c) for c in contract.cameras),
    )


def _camera_info(camera: CameraSignal) -> CameraInfo:
    """Returns a camera as a driver describes it."""
    return CameraInfo(
        camera.name, camera.height, camera.width, camera.rate_hz, camera.kind, camera.optics
    )


def _stack(rows: list[np.ndarray | None], size: int) -> np.ndarray:
    """Returns (T, size) float64 with NaN for the rows that are None, or of another shape."""
    out = np.full((len(rows), size), np.nan)
    for line, row in zip(out, rows, strict=True):
        if row is not None and row.shape == (size,) and row.dtype.kind in "biuf":
            line[:] = row
    return out
