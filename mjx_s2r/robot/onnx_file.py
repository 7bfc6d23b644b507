"""What an ONNX file says of itself, read without the onnx package.

An ONNX file is one message `ModelProto` in protobuf's wire format (onnx/onnx.proto;
https://protobuf.dev/programming-guides/encoding/). Only its first two levels are read here: the
versions, the metadata, and where the weights lie. The weights themselves are skipped.
"""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from mjx_s2r.contract import ContractError

GRAPH_KEY = "mjx_s2r_graph"  # metadata: `OnnxFile.sha256` at export
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5  # wire types
# Fields of ModelProto, GraphProto, TensorProto and of entries with a key and a value
_IR_VERSION, _PRODUCER, _GRAPH, _OPSET, _METADATA = 1, 2, 7, 8, 14
_NODE, _INITIALIZER = 1, 5
_EXTERNAL = 13
_KEY, _VALUE = 1, 2


class _BrokenError(ValueError):
    """Bytes that are no protobuf message."""


@dataclass(frozen=True)
class OnnxFile:
    """The head of an ONNX file.

    Attributes:
        path: where it lies.
        size: bytes.
        ir_version: version of the file format.
        opsets: domain of operators -> version; "" is ONNX's own.
        producer: the tool that wrote it.
        metadata: what its writer noted.
        nodes: number of operators in the graph.
        weights: files beside it that hold weights.
        sha256: of everything in it but the metadata.
    """

    path: Path
    size: int
    ir_version: int
    opsets: Mapping[str, int]
    producer: str
    metadata: Mapping[str, str]
    nodes: int
    weights: tuple[str, ...]
    sha256: str

    @property
    def opset(self) -> int:
        """Version of ONNX's own operators; 0 where none is used."""
        return self.opsets.get("", 0)


def read_onnx(path: str | Path) -> OnnxFile:
    """Reads the head of an ONNX file.

    Raises:
        ContractError: no file, one that cannot be read, or none in ONNX's format.
    """
    path = Path(path)
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "does not exist"
        raise ContractError(f"{path} {what}; name the ONNX file of a policy, or export one")
    try:
        body = path.read_bytes()
    except OSError as error:
        raise ContractError(
            f"{path} cannot be read ({error.strerror}); copy it again, or change its permissions"
        ) from error
    try:
        return _model(path, memoryview(body))
    except (_BrokenError, UnicodeDecodeError) as error:
        raise ContractError(
            f"{path} ({len(body)} bytes) is no ONNX file, or not the whole of one ({error}); copy "
            "it again, or export it anew"
        ) from error


def _model(path: Path, body: memoryview) -> OnnxFile:
    """Returns what a ModelProto says of itself."""
    ir_version, producer, graph = 0, "", memoryview(b"")
    opsets: dict[str, int] = {}
    metadata: dict[str, str] = {}
    digest = hashlib.sha256()
    for number, value, raw in _fields(body):
        if number != _METADATA:
            digest.update(raw)
        if number == _IR_VERSION:
            ir_version = _whole(value)
        elif number == _PRODUCER:
            producer = str(_bytes(value), "utf-8")
        elif number == _GRAPH:
            graph = _bytes(value)
        elif number == _OPSET:
            domain, version = _entry(_bytes(value))
            opsets[str(_bytes(domain), "utf-8")] = _whole(version)
        elif number == _METADATA:
            key, text = (str(_bytes(x), "utf-8") for x in _entry(_bytes(value), b""))
            metadata[key] = text
    if not graph or not ir_version:
        raise _BrokenError("No graph in it")
    nodes, weights = _contents(graph)
    return OnnxFile(
        path=path,
        size=len(body),
        ir_version=ir_version,
        opsets=opsets,
        producer=producer,
        metadata=metadata,
        nodes=nodes,
        weights=weights,
        sha256=digest.hexdigest(),
    )


def _contents(graph: memoryview) -> tuple[int, tuple[str, ...]]:
    """Returns the number of nodes of a GraphProto, and the files that its weights lie in."""
    nodes, files = 0, dict[str, None]()
    for number, value, _ in _fields(graph):
        nodes += number == _NODE
        if number != _INITIALIZER:
            continue
        for inner, entry, _ in _fields(_bytes(value)):
            if inner == _EXTERNAL:
                key, where = (str(_bytes(x), "utf-8") for x in _entry(_bytes(entry), b""))
                if key == "location":
                    files[where] = None
    return nodes, tuple(files)


def _entry(body: memoryview, second: int | bytes = 0) -> tuple[int | memoryview, int | memoryview]:
    """Returns field 1 and field 2 of a message; absent ones are empty, or ``second``."""
    found: dict[int, int | memoryview] = {
        _KEY: memoryview(b""),
        _VALUE: second if isinstance(second, int) else memoryview(second),
    }
    found.update((number, value) for number, value, _ in _fields(body))
    return found[_KEY], found[_VALUE]


def _fields(body: memoryview) -> Iterator[tuple[int, int | memoryview, memoryview]]:
    """Yields number, value and raw bytes of each field of a message.

    Raises:
        _BrokenError: bytes in another form.
    """
    at = 0
    while at < len(body):
        begin = at
        tag, at = _varint(body, at)
        number, wire = tag >> 3, tag & 7
        value: int | memoryview
        if wire == _VARINT:
            value, at = _varint(body, at)
        elif wire in (_FIXED64, _FIXED32, _BYTES):
            length, at = (8 if wire == _FIXED64 else 4, at)
            if wire == _BYTES:
                length, at = _varint(body, at)
            value, at = body[at : at + length], at + length
        else:
            raise _BrokenError(f"byte {begin} begins no field")
        if at > len(body):
            raise _BrokenError(f"it ends {at - len(body)} bytes too early")
        if not number:
            raise _BrokenError(f"byte {begin} begins no field")
        yield number, value, body[begin:at]


def _varint(body: memoryview, at: int) -> tuple[int, int]:
    """Returns a number of seven bits per byte, lowest first, and where it ends."""
    value = 0
    for index in range(10):
        if at + index >= len(body):
            raise _BrokenError("it ends within a number")
        byte = body[at + index]
        value |= (byte & 127) << 7 * index
        if byte < 128:
            return value, at + index + 1
    raise _BrokenError(f"byte {at} begins no number")


def _whole(value: int | memoryview) -> int:
    """Returns a field that holds a number."""
    if not isinstance(value, int):
        raise _BrokenError("text in the place of a number")
    return value


def _bytes(value: int | memoryview) -> memoryview:
    """Returns a field that holds bytes."""
    if isinstance(value, int):
        raise _BrokenError("a number in the place of text")
    return value
