"""Weights of other libraries' backbones, as ours: other names and layouts, normalization folded.

A batch normalization at work is one scale and one shift per channel, so the convolution before it
takes both in:  k' = k s,  b' = beta - mean s,  s = gamma / sqrt(variance + epsilon).

Read are state dicts of torchvision's MobileNetV2 and of the EfficientNet-Lite0 that was converted
from TensorFlow for PyTorch (names as in lukemelas' EfficientNet-PyTorch).
"""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mjx_s2r.learn.networks.encoders.architecture import Architecture, EncoderError, architecture
from mjx_s2r.learn.networks.encoders.backbone import parameter_shapes
from mjx_s2r.learn.networks.encoders.torch_file import read_torch_file
from mjx_s2r.learn.networks.encoders.weights import write_weights

# SHA-256 of the makers' files that the conversion was proved on.
PROVED = {
    "b03531047ffacf1e2488318dcd2aba1126cde36e3bfe1aa5cb07700aeeee9889": "mobilenet_v2",
    "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db": "efficientnet_lite0",
}


@dataclass(frozen=True)
class Converted:
    """Result of a conversion.

    Attributes:
        kind: name of the backbone.
        source_sha256: of the maker's file.
        sha256: of the file written.
        proved: whether the maker's file is one that the conversion was proved on.
    """

    kind: str
    source_sha256: str
    sha256: str
    proved: bool


def convert_weights(source: Path, out: Path) -> Converted:
    """Reads a file of PyTorch, finds out what it is of, and writes its weights as npz/safetensors.

    Raises:
        EncoderError: no file of PyTorch; weights of a backbone that is not known; a layer that is
            missing or of another shape.
    """
    if not source.is_file():
        raise EncoderError(f"{source}: no such file")
    state = read_torch_file(source)
    if "features.0.0.weight" in state:
        kind = "mobilenet_v2"
    elif "_conv_stem.weight" in state:
        kind = "efficientnet_lite0"
    else:
        raise EncoderError(
            f"{source}: weights of a network that is not known, beginning with "
            f"{next(iter(state))!r}; known are mobilenet_v2 (torchvision) and efficientnet_lite0"
        )
    arrays = folded_weights(kind, state, str(source))
    checksum = hashlib.sha256(source.read_bytes()).hexdigest()
    return Converted(kind, checksum, write_weights(out, kind, arrays), checksum in PROVED)


def folded_weights(
    kind: str, state: Mapping[str, np.ndarray], source: str = "weights"
) -> dict[str, np.ndarray]:
    """Returns our weights of a state dict.

    Args:
        kind: name of the backbone.
        state: arrays by the names of the other library.
        source: where they are from, for errors.

    Raises:
        EncoderError: a layer that is missing, or of another shape.
    """
    net = architecture(kind)
    shapes = parameter_shapes(kind)

    def take(name: str, shape: tuple[int, ...]) -> np.ndarray:
        """Returns an array of the state in float64, checked."""
        if name not in state:
            raise EncoderError(f"{source}: no {name!r} of shape {shape}, which {kind} has")
        if state[name].shape != shape:
            raise EncoderError(
                f"{source}: {name!r} has shape {state[name].shape}, and {kind} has {shape}"
            )
        return state[name].astype(np.float64)

    out: dict[str, np.ndarray] = {}
    for ours, kernel, norm in _layers(kind, net):
        shape = shapes[f"{ours}.kernel"]
        weight = take(f"{kernel}.weight", _torch_shape(ours, shape))
        if not norm:
            out[f"{ours}.kernel"] = weight.T
            out[f"{ours}.bias"] = take(f"{kernel}.bias", shape[-1:])
            continue
        gamma, beta, mean, variance = (
            take(f"{norm}.{part}", shape[-1:])
            for part in ("weight", "bias", "running_mean", "running_var")
        )
        scale = gamma / np.sqrt(variance + net.epsilon)
        out[f"{ours}.kernel"] = weight.transpose(2, 3, 1, 0).reshape(shape) * scale
        out[f"{ours}.bias"] = beta - mean * scale
    return {name: out[name].astype(np.float32) for name in shapes}


def _torch_shape(name: str, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Returns the shape of one of our kernels in PyTorch: outputs, inputs, rows, columns."""
    if name == "classes":
        return shape[::-1]
    if len(shape) == 2:
        return (*shape[::-1], 1, 1)
    if len(shape) == 3:  # depthwise
        return (shape[2], 1, *shape[:2])
    return (shape[3], shape[2], *shape[:2])


def _layers(kind: str, net: Architecture) -> Iterator[tuple[str, str, str]]:
    """Yields our name of each layer, that of its convolution, and that of its normalization."""
    torchvision = kind == "mobilenet_v2"
    if torchvision:
        yield "stem", "features.0.0", "features.0.1"
    else:
        yield "stem", "_conv_stem", "_bn0"
    for index, block in enumerate(net.blocks):
        ours, widens = f"block{index}", block.wide != block.inputs
        if torchvision:
            theirs = f"features.{index + 1}.conv"
            at = int(widens)
            if widens:
                yield f"{ours}.widen", f"{theirs}.0.0", f"{theirs}.0.1"
            yield f"{ours}.filter", f"{theirs}.{at}.0", f"{theirs}.{at}.1"
            yield f"{ours}.narrow", f"{theirs}.{at + 1}", f"{theirs}.{at + 2}"
        else:
            theirs = f"_blocks.{index}"
            if widens:
                yield f"{ours}.widen", f"{theirs}._expand_conv", f"{theirs}._bn0"
            yield f"{ours}.filter", f"{theirs}._depthwise_conv", f"{theirs}._bn1"
            yield f"{ours}.narrow", f"{theirs}._project_conv", f"{theirs}._bn2"
    if torchvision:
        yield "head", f"features.{len(net.blocks) + 1}.0", f"features.{len(net.blocks) + 1}.1"
        yield "classes", "classifier.1", ""
    else:
        yield "head", "_conv_head", "_bn1"
        yield "classes", "_fc", ""
