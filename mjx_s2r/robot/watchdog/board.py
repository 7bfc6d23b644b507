"""The memory that controller and watchdog share: readings one way, commands the other.

Nothing here waits or makes a system call. Records lie in rings: the writer fills the slot after the
newest and then raises a counter; a reader takes the slot that the counter names and looks at the
counter again. A slot is written again only after the whole ring, so a reader neither blocks a
writer nor is blocked by one that died in the middle. Every record ends in the CRC-32 of its bytes:
memory of some processors (Arm) becomes visible in another order than it was written in, and the
reader then tries again.

Pictures lie in rings of their own; the record of a reading says which picture is its newest.
"""

import mmap
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from mjx_s2r.contract import ContractError
from mjx_s2r.robot.driver import CameraInfo, DriverInfo, Reading

READINGS, PICTURES, COMMANDS = 4, 4, 1024  # slots of the rings; a second of commands at 1 kHz
TRIES = 1000
REASON_BYTES = 512
IDLE, ARMED, TRIPPED, GONE = range(4)  # states of the watchdog
PAGE = 64  # bytes that parts are aligned to
KINDS = ("uint8", "float32", "uint16")

_HEAD = np.dtype(
    [
        ("readings", "<i8"),  # records written so far
        ("commands", "<i8"),
        ("stop_asked", "<i8"),  # stops that the controller asked for, and those done
        ("stop_done", "<i8"),
        ("state", "<i8"),
        ("unstopped", "<i8"),  # whether the last stop of the driver failed
        ("reason_bytes", "<i8"),
        ("since_s", "<f8"),  # of the state
        ("beat_s", "<f8"),  # last sign of life of the controller's process
        ("alive_s", "<f8"),  # last sign of life of the watchdog
        ("reason", f"<V{REASON_BYTES}"),
    ]
)


class TornError(RuntimeError):
    """A record that is never whole: the other process died, or memory is damaged."""


@dataclass(frozen=True)
class SentCommand:
    """A command (J,) as the controller sent it; times in s.

    Attributes:
        command: (J,) what the robot is to do.
        reading_s: time of the reading that it answers.
        sent_s: when it was sent.
        until_s: when it is no longer valid.
    """

    command: np.ndarray
    reading_s: float
    sent_s: float
    until_s: float


def extra_signals(info: DriverInfo) -> dict[str, int]:
    """Returns the well-known signals that a driver may report beyond its description."""
    joints = len(info.joints)
    known = {"temperature": joints, "voltage": 1, "gravity": 3, "joint_effort": joints}
    return {name: size for name, size in known.items() if name not in info.signals}


class SharedBoard:
    """Both ends' view of the shared memory of one robot."""

    def __init__(self, info: DriverInfo) -> None:
        """Lays the parts out; `attach` puts them into memory."""
        self._info = info
        self._sizes = {**dict(info.signals), **extra_signals(info)}
        joints, signals, cameras = len(info.joints), sum(self._sizes.values()), len(info.cameras)
        self._reading = np.dtype(
            [
                ("number", "<i8"),
                ("time_s", "<f8"),
                ("estop", "<i8"),
                ("present", "<i8", (len(self._sizes),)),
                ("signals", "<f8", (signals,)),
                ("picture", "<i8", (cameras,)),  # number of the newest picture; 0 for none
                ("kind", "<i8", (cameras,)),
                ("taken_s", "<f8", (cameras,)),
                ("crc", "<u8"),
            ]
        )
        self._command = np.dtype(
            [
                ("number", "<i8"),
                ("answers", "<i8"),  # number of the reading that it answers
                ("reading_s", "<f8"),
                ("sent_s", "<f8"),
                ("until_s", "<f8"),
                ("command", "<f8", (joints,)),
                ("crc", "<u8"),
            ]
        )
        parts = [_HEAD.itemsize, READINGS * self._reading.itemsize]
        parts += [COMMANDS * self._command.itemsize]
        parts += [PICTURES * _picture_bytes(c) for c in info.cameras]
        starts = np.cumsum([0, *(-(-n // PAGE) * PAGE for n in parts)])
        self._starts, self.size = [int(x) for x in starts[:-1]], int(starts[-1])

    def attach(self, memory: mmap.mmap) -> None:
        """Takes the parts' places in a memory of at least `size` bytes."""
        starts = self._starts
        self._view = memoryview(memory)
        self._head: Any = np.ndarray((1,), _HEAD, memory, starts[0])
        self._counters = {n: self._head[n] for n in _HEAD.names or () if n != "reason"}
        self._reason_at = starts[0] + _HEAD.fields["reason"][1]  # type: ignore[index]
        self._readings = _slots(memory, self._view, starts[1], READINGS, self._reading)
        self._commands = _slots(memory, self._view, starts[2], COMMANDS, self._command)
        self._pictures = [
            [
                np.ndarray((_picture_bytes(c),), np.uint8, memory, start + i * _picture_bytes(c))
                for i in range(PICTURES)
            ]
            for c, start in zip(self._info.cameras, starts[3:], strict=True)
        ]
        self._taken: dict[str, tuple[int, float]] = {}  # of the writer: newest picture, its time
        self._kept: dict[str, tuple[int, np.ndarray]] = {}  # of the reader

    def get(self, name: str) -> Any:
        """Returns a number of the head."""
        return self._counters[name][0]

    def set(self, name: str, value: float) -> None:
        """Sets a number of the head."""
        self._counters[name][0] = value

    @property
    def reason(self) -> str:
        """Why the watchdog is in its state."""
        start = self._reason_at
        text = bytes(self._view[start : start + int(self.get("reason_bytes"))])
        return text.decode(errors="replace")

    def set_state(self, state: int, reason: str, now_s: float) -> None:
        """Writes the watchdog's state and why."""
        text = reason.encode()[:REASON_BYTES]
        self._view[self._reason_at : self._reason_at + len(text)] = text
        self.set("reason_bytes", len(text))
        self.set("since_s", now_s)
        self.set("state", state)

    def put_reading(self, reading: Reading) -> None:
        """Publishes a reading.

        Raises:
            ContractError: a signal or picture that is not as the driver described it.
        """
        number = int(self.get("readings")) + 1
        slot = self._readings[number % READINGS]
        slot["number"][()] = number
        slot["time_s"][()] = reading.time_s
        slot["estop"][()] = bool(reading.estop)
        start = 0
        for index, (name, size) in enumerate(self._sizes.items()):
            value = reading.signals.get(name)
            slot["present"][index] = value is not None
            if value is not None:
                slot["signals"][start : start + size] = _vector(name, value, size)
            start += size
        for index, camera in enumerate(self._info.cameras):
            image = reading.images.get(camera.name)
            taken_s = reading.image_time_s.get(camera.name)
            if image is None or taken_s is None:
                slot["picture"][index] = 0
                continue
            slot["picture"][index] = self._put_picture(index, camera, image, float(taken_s))
            slot["kind"][index] = KINDS.index(image.dtype.name)
            slot["taken_s"][index] = taken_s
        _seal(slot)
        self.set("readings", number)

    def _put_picture(
        self, index: int, camera: CameraInfo, image: np.ndarray, taken_s: float
    ) -> int:
        """Writes a picture that is new; returns its number."""
        last, last_s = self._taken.get(camera.name, (0, float("nan")))
        if taken_s == last_s:
            return last
        depth = camera.kind == "depth"
        shape = (camera.height, camera.width, *(() if depth else (3,)))
        kinds = KINDS[1:] if depth else KINDS[:1]
        if (
            not isinstance(image, np.ndarray)
            or image.shape != shape
            or image.dtype.name not in (kinds)
        ):
            raise ContractError(
                f"camera {camera.name!r} gave {getattr(image, 'dtype', type(image).__name__)} "
                f"{getattr(image, 'shape', '')}, and the driver described {kinds[0]} {shape}"
            )
        number = last + 1
        memory = self._pictures[index][number % PICTURES]
        memory[: image.nbytes].view(image.dtype).reshape(shape)[...] = image
        self._taken[camera.name] = number, taken_s
        return number

    def take_reading(self) -> tuple[int, Reading]:
        """Returns the newest reading and its number.

        Raises:
            TornError: none was ever written, or none is whole.
        """
        for _ in range(TRIES):
            number = int(self.get("readings"))
            slot = self._readings[number % READINGS]
            if number == 0 or not _is_whole(slot, number):
                continue
            reading = self._reading_of(slot)
            if reading is not None and _is_whole(slot, number):
                return number, reading
        raise TornError("the watchdog published no whole reading; it may have died in the middle")

    def _reading_of(self, slot: dict[str, Any]) -> Reading | None:
        """Returns the reading in a slot; None where a picture was written over meanwhile."""
        flat, present = slot["signals"].copy(), slot["present"]
        signals, start = {}, 0
        for index, (name, size) in enumerate(self._sizes.items()):
            if present[index]:
                signals[name] = flat[start : start + size]
            start += size
        images: dict[str, np.ndarray] = {}
        times: dict[str, float] = {}
        for index, camera in enumerate(self._info.cameras):
            number = int(slot["picture"][index])
            if number == 0:
                continue
            kept, image = self._kept.get(camera.name, (0, np.empty(0)))
            if kept != number:
                image = self._picture(index, camera, number, KINDS[int(slot["kind"][index])])
                newest = self._readings[int(self.get("readings")) % READINGS]["picture"][index]
                if newest - number > PICTURES - 2:
                    return None
                self._kept[camera.name] = number, image
            images[camera.name] = image
            times[camera.name] = float(slot["taken_s"][index])
        return Reading(float(slot["time_s"][()]), signals, images, times, bool(slot["estop"][()]))

    def _picture(self, index: int, camera: CameraInfo, number: int, kind: str) -> np.ndarray:
        """Returns a copy of a picture."""
        shape = (camera.height, camera.width, *(() if camera.kind == "depth" else (3,)))
        size = int(np.prod(shape)) * np.dtype(kind).itemsize
        return self._pictures[index][number % PICTURES][:size].copy().view(kind).reshape(shape)

    def put_command(
        self, command: np.ndarray, answers: tuple[int, float], sent_s: float, until_s: float
    ) -> None:
        """Publishes a command (J,).

        Args:
            command: what the robot is to do.
            answers: number and time of the reading that it follows from.
            sent_s: now, s.
            until_s: when it is no longer valid, s.
        """
        number = int(self.get("commands")) + 1
        slot = self._commands[number % COMMANDS]
        slot["number"][()] = number
        slot["answers"][()], slot["reading_s"][()] = answers
        slot["sent_s"][()], slot["until_s"][()] = sent_s, until_s
        slot["command"][:] = command
        _seal(slot)
        self.set("commands", number)

    def take_command(self, number: int) -> SentCommand | None:
        """Returns a command by its number; None where it is torn or written over."""
        slot = self._commands[number % COMMANDS]
        for _ in range(TRIES):
            if _is_whole(slot, number):
                times = (float(slot[name][()]) for name in ("reading_s", "sent_s", "until_s"))
                sent = SentCommand(slot["command"].copy(), *times)
                if _is_whole(slot, number):
                    return sent
        return None

    def last_sent_s(self, answer_s: float = float("inf")) -> float:
        """Returns when the newest command was sent, s; -inf before the first.

        Args:
            answer_s: a command that was sent later than this after its reading does not count, s.
        """
        number = int(self.get("commands"))
        slot = self._commands[number % COMMANDS]
        sent_s = float(slot["sent_s"][()])
        is_late = sent_s - float(slot["reading_s"][()]) > answer_s
        return float("-inf") if number == 0 or is_late else sent_s


def _picture_bytes(camera: CameraInfo) -> int:
    """Returns the room for one picture, aligned."""
    per_pixel = 4 if camera.kind == "depth" else 3
    return -(-camera.height * camera.width * per_pixel // PAGE) * PAGE


def _slots(
    memory: mmap.mmap, view: memoryview, start: int, count: int, kind: np.dtype
) -> list[dict[str, Any]]:
    """Returns the slots of a ring, each as field name -> view, with "bytes" before the CRC."""
    ring = np.ndarray((count,), kind, memory, start)
    size = kind.itemsize
    return [
        {name: ring[name][i] if kind[name].shape else ring[name][i : i + 1].reshape(())
         for name in kind.names or ()}
        | {"bytes": view[start + i * size : start + (i + 1) * size - 8]}
        for i in range(count)
    ]  # fmt: skip


def _seal(slot: Mapping[str, Any]) -> None:
    """Writes the CRC of a slot."""
    slot["crc"][()] = zlib.crc32(slot["bytes"])


def _is_whole(slot: Mapping[str, Any], number: int) -> bool:
    """Returns whether a slot holds record ``number``, whole."""
    return int(slot["number"][()]) == number and int(slot["crc"][()]) == zlib.crc32(slot["bytes"])


def _vector(name: str, value: Any, size: int) -> np.ndarray:
    """Returns a signal as (size,) float64.

    Raises:
        ContractError: it is none.
    """
    try:
        vector = np.asarray(value, np.float64)
    except (TypeError, ValueError) as error:
        raise ContractError(f"signal {name!r} is {value!r}, which is no vector of numbers") from (
            error
        )
    if vector.shape != (size,):
        raise ContractError(
            f"signal {name!r} has shape {vector.shape}, and the driver described ({size},)"
        )
    return vector
