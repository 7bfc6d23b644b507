r"""The records of a flight log: one step, one picture or the index of a part, as bytes.

A log is one or several files, its parts: ``NAME``, ``NAME.1``, ``NAME.2`` ... Layout of each,
little endian:

    b"mjx_s2r flight log 2\n"
    one line of JSON: {"contract": text of `contract.to_json`, "robot": name, "config": {...},
        "driver": data sheet or null, "flight": the same in every part, "part": from 0,
        "wall_s": Unix time}, "\n"
    records, each:
        uint32 length of the payload, uint32 CRC-32 of the payload
        payload: one byte for the kind, uint32 length of the JSON part, the JSON part, data

A step (kind "s") has in its JSON {"step", "time_s", "wall_s", "busy_s", "mode", "events",
"reading_s", "image_s": {camera: s}, "pictures": {camera: number in this part; null: dropped},
"arrays": [[key, dtype, shape], ...], "odd": {key: text of what was no array of numbers}}, and the
arrays' bytes in C order after it. Keys are "signal/NAME", "observation", "output", "command"; one
that is missing did not exist at that step (no command was sent, no policy was asked).

A picture (kind "p") has {"camera", "time_s", "codec", "dtype", "shape"} and a PNG file, or bytes
under zlib. It is kept once for its camera and stamp, and may lie behind the steps that show it.

An index (kind "i") is the last record of a part that was closed: {"steps", "first_s", "last_s",
"blocks": [[step in this part, its time_s, its byte], ...], "pictures": [byte of each]}; its last
16 bytes are where it starts and the mark `INDEX_MARK`.

Format 1 (read, not written) has neither kinds nor an index; its steps hold "image/NAME" arrays.
"""

import copy
import json
import math
import struct
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from mjx_s2r.robot.driver import Reading
from mjx_s2r.robot.log import png
from mjx_s2r.robot.phases import Phase
from mjx_s2r.robot.safety import Event, Mode

FAMILY = b"mjx_s2r flight log "  # that every format begins with
MAGIC = FAMILY + b"2\n"
MAGIC_1 = FAMILY + b"1\n"
HEAD = struct.Struct("<II")
SIZE = struct.Struct("<I")
TRAILER = struct.Struct("<Q8s")
INDEX_MARK = b"s2rindex"
STEP, PICTURE, INDEX = b"s", b"p", b"i"
NUMBERS = "biufc"  # kinds of numpy types that are kept as bytes
ODD_LENGTH = 200  # characters kept of what is no array of numbers


class LogError(ValueError):
    """A file that is no flight log, or one that cannot be written; the message says why."""


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
        wall_s: Unix time when the step was logged, s; the log fills it in.
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
    wall_s: float = math.nan
    phase: Phase = Phase.PASSIVE

    def after(self, busy_s: float) -> "Step":
        """Returns the step once it is over, ``busy_s`` after its reading."""
        done = copy.copy(self)
        object.__setattr__(done, "busy_s", busy_s)
        return done


@dataclass(frozen=True)
class LoggedPicture:
    """One picture of a camera, as it lies in a log.

    Attributes:
        camera: name of the camera.
        time_s: when it was taken, s.
        codec: "png" or "zlib".
        dtype: numpy's name of the type.
        shape: of the array.
        data: the file, or the compressed bytes.
    """

    camera: str
    time_s: float
    codec: str
    dtype: str
    shape: tuple[int, ...]
    data: bytes

    def array(self) -> np.ndarray:
        """Returns the picture as the driver delivered it."""
        if self.codec == "png":
            return png.decode_png(self.data)
        return np.frombuffer(zlib.decompress(self.data), self.dtype).reshape(self.shape)


def record_of(kind: bytes, meta: str, data: Iterable[bytes] = ()) -> list[bytes]:
    """Returns one record of format 2 in pieces, which are written one behind another."""
    text = meta.encode()
    pieces = [kind + SIZE.pack(len(text)) + text, *data]
    checksum = 0
    for piece in pieces:
        checksum = zlib.crc32(piece, checksum)
    return [HEAD.pack(sum(map(len, pieces)), checksum), *pieces]


def split(payload: bytes, start: int) -> tuple[Any, int]:
    """Returns the JSON part of a payload that begins at ``start``, and where its data begin."""
    length = SIZE.unpack_from(payload, start)[0]
    at = start + SIZE.size
    return json.loads(payload[at : at + length]), at + length


def pack_step(step: Step, wall_s: float, pictures: Mapping[str, int | None]) -> list[bytes]:
    """Returns the record of one step, whatever the driver delivered.

    Args:
        step: the step; its pictures are not packed.
        wall_s: Unix time, s.
        pictures: camera -> number of its picture in this part; None where it was dropped.
    """
    arrays: dict[str, np.ndarray] = {}
    odd: dict[str, str] = {}
    for key in ("observation", "output", "command"):
        value = getattr(step, key)
        if value is not None:
            _put(arrays, odd, key, value)
    parts = [
        f'"step":{_text(step.step)},"time_s":{_text(step.time_s)},"wall_s":{_text(wall_s)},'
        f'"busy_s":{_text(step.busy_s)},"mode":"{step.mode.name}","phase":"{step.phase.value}","events":'
        + _encode([[e.code, e.name, e.value, e.limit, e.mode.name] for e in step.events])
    ]
    if step.reading is not None:
        parts += _put_reading(arrays, odd, step.reading)
    if pictures:
        parts.append(f'"pictures":{_encode(pictures)}')
    if odd:
        parts.append(f'"odd":{_encode(odd)}')
    layout = ",".join([_layout(key, x.dtype, x.shape) for key, x in arrays.items()])
    text = f'{{{",".join(parts)},"arrays":[{layout}]}}'
    return record_of(STEP, text, [x.tobytes() for x in arrays.values()])


def unpack_step(payload: bytes, start: int) -> tuple[Step, dict[str, int | None]]:
    """Returns the step of one payload, without its pictures, and their numbers in this part.

    Args:
        payload: of the record.
        start: where its JSON part begins: 1, or 0 in format 1, whose pictures lie in the step.
    """
    meta, at = split(payload, start)
    arrays = {}
    for key, dtype, shape in meta["arrays"]:
        count = math.prod(shape)
        arrays[key] = np.frombuffer(payload, dtype, count, at).reshape(shape)
        at += arrays[key].nbytes
    arrays |= {key: np.array(text) for key, text in meta.get("odd", {}).items()}
    step = Step(
        step=meta["step"],
        time_s=meta["time_s"],
        mode=Mode[meta["mode"]],
        reading=_reading(meta, arrays),
        observation=arrays.get("observation"),
        output=arrays.get("output"),
        command=arrays.get("command"),
        events=tuple(Event(e[0], e[1], e[2], e[3], Mode[e[4]]) for e in meta["events"]),
        busy_s=meta["busy_s"],
        wall_s=meta.get("wall_s", math.nan),
        phase=Phase(meta.get("phase", Phase.PASSIVE.value)),
    )
    return step, meta.get("pictures", {})


def is_array(value: Any) -> bool:
    """Returns whether a value is an array of numbers, which a log keeps as bytes."""
    return isinstance(value, np.ndarray) and value.dtype.kind in NUMBERS


def pack_picture(camera: str, time_s: float, image: np.ndarray) -> list[bytes]:
    """Returns the record of one picture in pieces, compressed without loss."""
    as_png = png.can_encode(image)
    meta = {
        "camera": camera,
        "time_s": time_s,
        "codec": "png" if as_png else "zlib",
        "dtype": image.dtype.str,
        "shape": image.shape,
    }
    data = png.encode_png(image) if as_png else [zlib.compress(np.ascontiguousarray(image).data, 1)]
    return record_of(PICTURE, _encode(meta), data)


def unpack_picture(payload: bytes) -> LoggedPicture:
    """Returns the picture of one payload."""
    meta, at = split(payload, 1)
    return LoggedPicture(
        meta["camera"],
        meta["time_s"],
        meta["codec"],
        meta["dtype"],
        tuple(meta["shape"]),
        payload[at:],
    )


def _plain(value: Any) -> Any:
    """Returns a number of numpy as a plain one, and all that JSON does not know as text."""
    return value.item() if isinstance(value, np.number) else repr(value)[:ODD_LENGTH]


_encode = json.JSONEncoder(separators=(",", ":"), default=_plain).encode


def _put(arrays: dict[str, np.ndarray], odd: dict[str, str], key: str, value: Any) -> None:
    """Puts an array, or what can be made one, into ``arrays``, and all else as text into ``odd``.

    A list of numbers is kept as text, too: the guard refuses it, and so must a replay.
    """
    if not is_array(value) and type(value) in (int, float):
        value = np.asarray(value)  # an integer beyond 64 bits is none, even so
    if is_array(value):
        arrays[key] = value
    else:
        odd[key] = repr(value)[:ODD_LENGTH]


def _text(value: Any) -> str:
    """Returns a value as JSON; the usual one, a finite float, without the encoder."""
    return repr(value) if type(value) is float and math.isfinite(value) else _encode(value)


@lru_cache(maxsize=256)
def _layout(key: str, dtype: np.dtype, shape: tuple[int, ...]) -> str:
    """Returns what the JSON part says of one array."""
    return _encode([key, dtype.str, shape])


def _put_reading(arrays: dict[str, np.ndarray], odd: dict[str, str], reading: Any) -> list[str]:
    """Puts a reading's signals into a step's arrays; returns the rest of it as JSON.

    A reading of another type is kept as text.
    """
    if not isinstance(reading, Reading):
        odd["reading"] = repr(reading)[:ODD_LENGTH]
        return []
    parts = [f'"reading_s":{_text(reading.time_s)}']
    if reading.estop:
        parts.append('"estop":true')
    for name, value in _items(odd, "signal", reading.signals):
        _put(arrays, odd, f"signal/{name}", value)
    for name, value in _items(odd, "image", reading.images):
        if not is_array(value):
            odd[f"image/{name}"] = repr(value)[:ODD_LENGTH]
    stamps = {str(name): at_s for name, at_s in _items(odd, "image_s", reading.image_time_s)}
    if stamps:
        parts.append(f'"image_s":{_encode(stamps)}')
    return parts


def _items(odd: dict[str, str], key: str, mapping: Any) -> Iterable[tuple[Any, Any]]:
    """Returns the items of a mapping; what is none is kept as text."""
    if isinstance(mapping, Mapping):
        return mapping.items()
    odd[key] = repr(mapping)[:ODD_LENGTH]
    return ()


def _reading(meta: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> Reading | None:
    """Returns the reading of one record; None where there was none."""
    if "reading_s" not in meta:
        return None
    part: dict[str, dict[str, np.ndarray]] = {"signal": {}, "image": {}}
    for key, value in arrays.items():
        kind, _, name = key.partition("/")
        if name:
            part[kind][name] = value
    return Reading(
        time_s=meta["reading_s"],
        signals=part["signal"],
        images=part["image"],
        image_time_s=meta.get("image_s", {}),
        estop=meta.get("estop", False),
    )
