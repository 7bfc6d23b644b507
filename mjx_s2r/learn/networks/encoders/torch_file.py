"""Tensors out of a file of PyTorch, without PyTorch and without running what the file says.

`torch.save` writes a pickle: a little program that names functions to call. Here its operations are
read one by one (`pickletools.genops`, which runs nothing); those that build plain values and name a
tensor's storage are followed, any other ends the reading with its name and place. Two layouts are
known: the older one, five pickles and then the storages one after another (torch < 1.6), and the
newer, a zip archive with a pickle and a file for each storage.
"""

import io
import math
import pickletools
import struct
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mjx_s2r.learn.networks.encoders.architecture import EncoderError

MAGIC = 0x1950A86A20F9469CFC6C  # first number of the older layout
STORAGES = {
    "FloatStorage": np.float32,
    "DoubleStorage": np.float64,
    "HalfStorage": np.float16,
    "LongStorage": np.int64,
    "IntStorage": np.int32,
    "ByteStorage": np.uint8,
    "BoolStorage": np.bool_,
}
_MARK = object()
_DAMAGED = (ValueError, TypeError, EOFError, LookupError, AttributeError, struct.error)


@dataclass(frozen=True)
class _Name:
    """A function or class that a pickle names; it is never looked up."""

    name: str


@dataclass(frozen=True)
class _Storage:
    """A run of numbers that tensors are views of: its key in the file, their type, how many."""

    key: str
    dtype: np.dtype
    count: int


@dataclass(frozen=True)
class _Tensor:
    """A view of a storage: where it begins, its shape and strides, in numbers."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def read_torch_file(path: Path) -> dict[str, np.ndarray]:
    """Returns the tensors of a state dict by name.

    Raises:
        EncoderError: no file of PyTorch; an operation that builds no tensor, named with its place;
            a tensor beyond its storage; a file that ends too early.
    """
    with path.open("rb") as file:
        start = file.read(4)
        file.seek(0)
        try:
            if start == b"PK\x03\x04":
                return _read_zip(path)
            return _read_legacy(path, file)
        except _DAMAGED as error:
            if isinstance(error, EncoderError):
                raise
            raise EncoderError(
                f"{path}: no file of torch.save that can be read: {error}"
            ) from error


def _read_legacy(path: Path, file: io.BufferedReader) -> dict[str, np.ndarray]:
    """Reads the older layout."""
    if _plain(path, file) != MAGIC:
        raise EncoderError(f"{path}: no file of torch.save: it begins with another number")
    _plain(path, file)  # version of the layout
    if not _plain(path, file).get("little_endian", False):
        raise EncoderError(f"{path}: written on a big-endian machine; write it again on another")
    tensors = _tensors(path, _plain(path, file))
    kinds = {t.storage.key: t.storage for t in tensors.values()}
    data: dict[str, np.ndarray] = {}
    for key in _plain(path, file):
        (count,) = struct.unpack("<q", file.read(8))
        if key not in kinds:
            raise EncoderError(f"{path}: storage {key!r} belongs to no tensor")
        if count != kinds[key].count:
            raise EncoderError(f"{path}: storage {key!r} of {count} numbers, not as announced")
        data[key] = _numbers(path, kinds[key], file.read(count * kinds[key].dtype.itemsize))
    return {name: _view(path, name, t, data) for name, t in tensors.items()}


def _read_zip(path: Path) -> dict[str, np.ndarray]:
    """Reads the newer layout."""
    try:
        with zipfile.ZipFile(path) as archive:
            pickles = [n for n in archive.namelist() if n.endswith("/data.pkl")]
            if len(pickles) != 1:
                raise EncoderError(f"{path}: no file of torch.save: it holds no data.pkl")
            folder = pickles[0].removesuffix("data.pkl")
            if f"{folder}byteorder" in archive.namelist():
                order = archive.read(f"{folder}byteorder")
                if order != b"little":
                    raise EncoderError(f"{path}: byte order {order!r}, not little")
            tensors = _tensors(path, _plain(path, io.BytesIO(archive.read(pickles[0]))))
            data = {}
            for s in {t.storage for t in tensors.values()}:
                file = archive.getinfo(f"{folder}data/{s.key}")
                fits = file.file_size == s.count * s.dtype.itemsize
                data[s.key] = _numbers(path, s, archive.read(file) if fits else b"")
    except zipfile.BadZipFile as error:
        raise EncoderError(f"{path}: a damaged archive ({error})") from error
    return {name: _view(path, name, t, data) for name, t in tensors.items()}


def _numbers(path: Path, storage: _Storage, content: bytes) -> np.ndarray:
    """Returns the numbers of a storage."""
    if len(content) != storage.count * storage.dtype.itemsize:
        raise EncoderError(f"{path}: ends within storage {storage.key!r}; fetch it again")
    return np.frombuffer(content, storage.dtype)


def _tensors(path: Path, found: Any) -> dict[str, _Tensor]:
    """Returns the tensors of a state dict, which may lie under the key "state_dict"."""
    if isinstance(found, dict) and isinstance(found.get("state_dict"), dict):
        found = found["state_dict"]
    if not isinstance(found, dict) or not found:
        raise EncoderError(f"{path}: holds no state dict, but {type(found).__name__}")
    for name, value in found.items():
        if not isinstance(name, str) or not isinstance(value, _Tensor):
            raise EncoderError(f"{path}: {name!r} is no tensor; save model.state_dict() alone")
    return found


def _view(path: Path, name: str, tensor: _Tensor, data: Mapping[str, np.ndarray]) -> np.ndarray:
    """Returns a copy of a tensor, after checking that it lies within its storage."""
    numbers = data[tensor.storage.key]
    sizes = (*tensor.shape, *tensor.strides, tensor.offset)
    if len(tensor.shape) != len(tensor.strides) or not all(
        isinstance(n, int) and n >= 0 for n in sizes
    ):
        raise EncoderError(f"{path}: {name!r} has shape {tensor.shape}, strides {tensor.strides}")
    steps = zip(tensor.shape, tensor.strides, strict=True)
    last = tensor.offset + sum((n - 1) * s for n, s in steps)
    if 0 in tensor.shape:
        return np.zeros(tensor.shape, numbers.dtype)
    if last >= numbers.size or math.prod(tensor.shape) > numbers.size:
        raise EncoderError(f"{path}: {name!r} reaches beyond its storage of {numbers.size} numbers")
    strides = [s * numbers.itemsize for s in tensor.strides]
    start = numbers[tensor.offset :]
    return np.lib.stride_tricks.as_strided(start, tensor.shape, strides, writeable=False).copy()


def _plain(path: Path, file: Any) -> Any:
    """Follows one pickle and returns its value; stops at an operation that is not expected."""
    stack: list[Any] = []
    kept: dict[Any, Any] = {}
    for operation, argument, place in pickletools.genops(file):
        name = operation.name
        if name == "STOP":
            return stack[-1]
        if name in _VALUES:
            stack.append(_VALUES[name](argument))
        elif name in ("BINPUT", "LONG_BINPUT"):
            kept[argument] = stack[-1]
        elif name == "MEMOIZE":
            kept[len(kept)] = stack[-1]
        elif name in ("BINGET", "LONG_BINGET"):
            stack.append(kept[argument])
        elif name in _ACTIONS:
            try:
                _ACTIONS[name](stack)
            except EncoderError as error:
                raise EncoderError(f"{path}: byte {place}: {error}") from None
        elif name not in ("PROTO", "FRAME"):
            raise EncoderError(
                f"{path}: byte {place}: operation {name} of the pickle builds no tensor; it is not "
                "followed, nor anything in this file"
            )
    raise EncoderError(f"{path}: the pickle has no end")


def _since_mark(stack: list[Any]) -> list[Any]:
    """Takes what was put since the last mark off the stack, with the mark."""
    at = next((i for i in reversed(range(len(stack))) if stack[i] is _MARK), None)
    if at is None:
        raise EncoderError("a mark is missing")
    found = stack[at + 1 :]
    del stack[at:]
    return found


def _put_tuple(stack: list[Any], count: int | None) -> None:
    """Replaces the last values by their tuple; those since the mark if there is no count."""
    if count is None:
        stack.append(tuple(_since_mark(stack)))
        return
    values = tuple(stack[len(stack) - count :])
    del stack[len(stack) - count :]
    stack.append(values)


def _set_items(stack: list[Any], pairs: list[Any]) -> None:
    """Puts keys and values into the dict below them."""
    if not isinstance(stack[-1], dict):
        raise EncoderError("items of what is no dict")
    stack[-1].update(zip(pairs[::2], pairs[1::2], strict=True))


def _set_item(stack: list[Any]) -> None:
    """Puts one key and value into the dict below them."""
    value, key = stack.pop(), stack.pop()
    _set_items(stack, [key, value])


def _append(stack: list[Any], values: list[Any]) -> None:
    """Puts values into the list below them."""
    if not isinstance(stack[-1], list):
        raise EncoderError("values of what is no list")
    stack[-1].extend(values)


def _build(stack: list[Any]) -> None:
    """Leaves out the state of a dict, which holds versions of layers."""
    stack.pop()
    if not isinstance(stack[-1], dict):
        raise EncoderError("an object with a state, where only dicts are expected")


def _persistent(stack: list[Any]) -> None:
    """Replaces the mark of a storage by it."""
    mark = stack.pop()
    if not isinstance(mark, tuple) or len(mark) < 5 or mark[0] != "storage":
        raise EncoderError(f"a reference to what is no storage: {str(mark)[:80]}")
    kind, key, count = mark[1], mark[2], mark[4]
    name = kind.name.removeprefix("torch ") if isinstance(kind, _Name) else str(kind)
    if name not in STORAGES:
        raise EncoderError(f"numbers of type {name!r}; known are {', '.join(STORAGES)}")
    if not isinstance(count, int) or count < 0 or mark[5:] not in ((), (None,)):
        raise EncoderError(f"storage {key!r} of {count!r} numbers, or a view of another")
    stack.append(_Storage(str(key), np.dtype(STORAGES[name]), count))


def _reduce(stack: list[Any]) -> None:
    """Makes a tensor or an empty dict of the name of a function and its arguments."""
    arguments, function = stack.pop(), stack.pop()
    name = function.name if isinstance(function, _Name) else str(function)
    if name == "collections OrderedDict" and arguments == ():
        stack.append({})
        return
    tensor = name == "torch._utils _rebuild_tensor_v2" and isinstance(arguments, tuple)
    if not tensor or len(arguments) < 4 or not isinstance(arguments[0], _Storage):
        raise EncoderError(f"a call of {name!r}, which makes no tensor; nothing is called")
    storage, offset, shape, strides = arguments[:4]
    stack.append(_Tensor(storage, offset, tuple(shape), tuple(strides)))


def _global(stack: list[Any]) -> None:
    """Names what the two strings on the stack name."""
    name, module = stack.pop(), stack.pop()
    stack.append(_Name(f"{module} {name}"))


def _same(argument: Any) -> Any:
    """Returns a value as it stands in the pickle."""
    return argument


# Operation -> the value that it puts on the stack, of its argument.
_VALUES: dict[str, Callable[[Any], Any]] = {
    **dict.fromkeys(("BININT", "BININT1", "BININT2", "LONG1", "BINUNICODE"), _same),
    **dict.fromkeys(("SHORT_BINUNICODE", "BINFLOAT"), _same),
    "GLOBAL": _Name,
    "NONE": lambda _: None,
    "NEWTRUE": lambda _: True,
    "NEWFALSE": lambda _: False,
    "EMPTY_TUPLE": lambda _: (),
    "EMPTY_DICT": lambda _: {},
    "EMPTY_LIST": lambda _: [],
    "MARK": lambda _: _MARK,
}
# Operation -> what it does to the stack.
_ACTIONS: dict[str, Callable[[list[Any]], None]] = {
    "TUPLE": lambda stack: _put_tuple(stack, None),
    "TUPLE1": lambda stack: _put_tuple(stack, 1),
    "TUPLE2": lambda stack: _put_tuple(stack, 2),
    "TUPLE3": lambda stack: _put_tuple(stack, 3),
    "SETITEM": _set_item,
    "SETITEMS": lambda stack: _set_items(stack, _since_mark(stack)),
    "APPEND": lambda stack: _append(stack, [stack.pop()]),
    "APPENDS": lambda stack: _append(stack, _since_mark(stack)),
    "BUILD": _build,
    "BINPERSID": _persistent,
    "REDUCE": _reduce,
    "STACK_GLOBAL": _global,
}
