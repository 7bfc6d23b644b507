"""Weights of a backbone in a local file: npz or safetensors, never a pickle, with a checksum.

A file holds one array for each name of `parameter_shapes` and says which backbone it is of. Reading
it runs nothing that it contains.
"""

import hashlib
import io
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from mjx_s2r.learn.networks.encoders.architecture import EncoderError
from mjx_s2r.learn.networks.encoders.backbone import parameter_shapes

KIND_KEY = "kind"  # says which backbone a file is of
SUFFIXES = (".npz", ".safetensors")


@dataclass(frozen=True, eq=False)
class Weights:
    """Weights of a backbone.

    Attributes:
        kind: name of the backbone.
        arrays: by name, float32.
        sha256: of the file that they were read from.
    """

    kind: str
    arrays: Mapping[str, np.ndarray]
    sha256: str


def read_weights(path: Path, kind: str, stage: int | None = None) -> Weights:
    """Returns the weights of a backbone, or of its part that leads to a stage.

    Args:
        path: an npz or safetensors file.
        kind: name of the backbone that they must be of.
        stage: pixels to one place of the feature maps; absent: with the classes.

    Raises:
        EncoderError: no such file, a pickle, weights of another backbone, an array that is missing,
            of another shape, or not finite: file, name and shape are named.
        ImportError: a safetensors file without its library.
    """
    content = _content(path)
    arrays = dict(_arrays(path, content))
    found = arrays.pop(KIND_KEY, None)
    said = "" if found is None else f", which says that it is of {str(found)!r}"
    chosen: dict[str, np.ndarray] = {}
    for name, shape in parameter_shapes(kind, stage).items():
        if name not in arrays:
            raise EncoderError(
                f"{path}{said}: no {name!r} of shape {shape}, which {kind} needs; convert the "
                "maker's file with python -m train weights"
            )
        array = arrays[name]
        if array.shape != shape:
            raise EncoderError(
                f"{path}{said}: {name!r} has shape {array.shape}, and {kind} needs {shape}"
            )
        if not np.issubdtype(array.dtype, np.floating) or not np.isfinite(array).all():
            raise EncoderError(f"{path}: {name!r} ({array.dtype}) holds what are no finite numbers")
        chosen[name] = np.asarray(array, np.float32)
    if str(found) != kind:
        raise EncoderError(f"{path}{said or ' says not what it is of'}: not of {kind!r}")
    return Weights(kind, chosen, hashlib.sha256(content).hexdigest())


def write_weights(path: Path, kind: str, arrays: Mapping[str, np.ndarray]) -> str:
    """Writes all weights of a backbone as npz or safetensors, by the suffix; returns the checksum.

    Raises:
        EncoderError: another suffix, or arrays that are not those of the backbone.
        ImportError: a safetensors file without its library.
    """
    if path.suffix not in SUFFIXES:
        raise EncoderError(f"{path}: the name must end in {' or '.join(SUFFIXES)}")
    shapes = parameter_shapes(kind)
    if {name: a.shape for name, a in arrays.items()} != shapes:
        raise EncoderError(f"{path}: these are not the weights of {kind}")
    ordered = {name: np.ascontiguousarray(arrays[name], np.float32) for name in shapes}
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".npz":
        with path.open("wb") as file:
            named: dict[str, Any] = {KIND_KEY: np.array(kind), **ordered}
            np.savez(file, **named)
    else:
        _safetensors().numpy.save_file(ordered, path, metadata={KIND_KEY: kind})
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _content(path: Path) -> bytes:
    """Returns what a file holds, once it is sure to be no pickle."""
    if not path.is_file():
        raise EncoderError(
            f"encoder.weights {path}: no such file; docs/encoders.md says where weights come from"
        )
    content = path.read_bytes()
    if content[:1] == b"\x80" or path.suffix in (".pth", ".pt", ".pkl", ".pickle", ".bin"):
        raise EncoderError(
            f"{path}: a pickle, which runs code as it is read; convert it with python -m train "
            "weights, which runs none"
        )
    return content


def _arrays(path: Path, content: bytes) -> Mapping[str, Any]:
    """Returns the arrays of a file, and what it says that it is of."""
    if content[:4] == b"PK\x03\x04":
        try:
            with np.load(io.BytesIO(content), allow_pickle=False) as file:
                return {name: file[name] for name in file.files}
        except (ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
            raise EncoderError(f"{path}: no npz file of arrays ({error})") from error
    if path.suffix != ".safetensors":
        raise EncoderError(f"{path}: neither npz nor safetensors")
    library = _safetensors()
    try:
        with library.safe_open(path, framework="numpy") as file:
            kind = (file.metadata() or {}).get(KIND_KEY)
            found = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except library.SafetensorError as error:
        raise EncoderError(f"{path}: no safetensors file ({error})") from error
    return found if kind is None else found | {KIND_KEY: kind}


def _safetensors() -> ModuleType:
    """Returns the library that reads and writes safetensors.

    Raises:
        ImportError: it is not installed; names the extra.
    """
    try:
        import safetensors
        import safetensors.numpy
    except ImportError as error:
        raise ImportError(
            "weights in a safetensors file need its library: pip install 'mjx_s2r[encoders]', or "
            "take an npz file"
        ) from error
    return safetensors
