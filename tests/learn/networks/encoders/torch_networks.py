"""The backbones as their makers have them: state dicts in PyTorch's names, and ONNX graphs of them.

The graphs hold convolutions and batch normalizations apart, in the layout of PyTorch, and are put
together from the makers' tables here: an oracle for names, layouts, padding and folding.
"""

import io
import pickle
import struct
import sys
import types
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

# Filter size, widening, channels, repeats, stride: table 2 of Sandler et al. 2018, and
# EfficientNet-B0 of Tan and Le 2019, table 1, as torch names its layers.
MOBILENET = [
    *((3, 1, 16, 1, 1), (3, 6, 24, 2, 2), (3, 6, 32, 3, 2), (3, 6, 64, 4, 2)),
    *((3, 6, 96, 3, 1), (3, 6, 160, 3, 2), (3, 6, 320, 1, 1)),
]
LITE0 = [
    *((3, 1, 16, 1, 1), (3, 6, 24, 2, 2), (5, 6, 40, 2, 2), (3, 6, 80, 3, 2)),
    *((5, 6, 112, 3, 1), (5, 6, 192, 4, 2), (3, 6, 320, 1, 1)),
]
State = Mapping[str, np.ndarray]
# Kind of layer, name of its convolution and of its normalization, shape of the weight, stride
Layer = tuple[str, str, str, tuple[int, ...], int]


def layers(kind: str) -> Iterator[Layer]:
    """Yields the layers in order; the kind is conv, add (no layer: the sum of a block), or line."""
    torchvision = kind == "mobilenet_v2"
    stem = ("features.0.0", "features.0.1") if torchvision else ("_conv_stem", "_bn0")
    yield "conv6", *stem, (32, 3, 3, 3), 2
    inputs, index = 32, 0
    for size, widening, outputs, repeats, first in MOBILENET if torchvision else LITE0:
        for repeat in range(repeats):
            stride, wide = first if repeat == 0 else 1, inputs * widening
            if torchvision:
                block = f"features.{index + 1}.conv"
                names = [f"{block}.{i}" for i in ("0.0", "0.1", "1.0", "1.1", "2", "3")]
                if widening == 1:
                    names = [*names[:2], *(f"{block}.{i}" for i in ("0.0", "0.1", "1", "2"))]
            else:
                ours = ("_expand_conv", "_bn0", "_depthwise_conv", "_bn1", "_project_conv", "_bn2")
                names = [f"_blocks.{index}.{name}" for name in ours]
            yield "begin", "", "", (), 1
            if widening > 1:
                yield "conv6", names[0], names[1], (wide, inputs, 1, 1), 1
            yield "conv6", names[2], names[3], (wide, 1, size, size), stride
            yield "conv", names[4], names[5], (outputs, wide, 1, 1), 1
            yield ("add" if stride == 1 and inputs == outputs else "end"), "", "", (), 1
            inputs, index = outputs, index + 1
    head = ("features.18.0", "features.18.1") if torchvision else ("_conv_head", "_bn1")
    yield "conv6", *head, (1280, 320, 1, 1), 1
    yield "line", "classifier.1" if torchvision else "_fc", "", (1000, 1280), 1


def random_state(kind: str, seed: int = 0) -> dict[str, np.ndarray]:
    """Returns a state dict of random weights, with normalizations that change what they get."""
    rng = np.random.default_rng(seed)
    state: dict[str, np.ndarray] = {}
    for what, name, norm, shape, _ in layers(kind):
        if not name:
            continue
        fan_in = int(np.prod(shape[1:]))
        state[f"{name}.weight"] = rng.normal(size=shape) * np.sqrt(2 / fan_in)
        if what == "line":
            state[f"{name}.bias"] = rng.normal(size=shape[0])
            continue
        state[f"{norm}.weight"] = rng.uniform(0.5, 1.5, shape[0])
        state[f"{norm}.bias"] = rng.normal(size=shape[0]) * 0.5
        state[f"{norm}.running_mean"] = rng.normal(size=shape[0]) * 0.5
        state[f"{norm}.running_var"] = rng.uniform(0.2, 2.0, shape[0])
        state[f"{norm}.num_batches_tracked"] = np.array(7, np.int64)
    return {k: v if v.dtype == np.int64 else v.astype(np.float32) for k, v in state.items()}


def run_in_onnx(kind: str, state: State, images: np.ndarray, blocks: int | None) -> np.ndarray:
    """Returns what ONNX Runtime computes of pictures (N, H, W, 3) in [0, 1].

    Args:
        kind: of the backbone.
        state: in PyTorch's names.
        images: the pictures.
        blocks: after how many inverted residual blocks to stop, feature maps (N, C, H', W');
            absent: log odds of the classes (N, 1000).
    """
    torchvision = kind == "mobilenet_v2"
    mean, std = (
        ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
        if torchvision
        else ((127 / 255,) * 3, (128 / 255,) * 3)
    )
    x = ((images - np.array(mean)) / np.array(std)).astype(np.float32).transpose(0, 3, 1, 2)
    nodes, constants, count = [], {"six": np.float32(6), "zero": np.float32(0)}, 0
    at, before, done, rows = "x", "x", 0, x.shape[2]

    def put(operation: str, inputs: list[str], **attributes: object) -> str:
        """Appends a node and returns the name of its output."""
        nonlocal count
        count += 1
        nodes.append(helper.make_node(operation, inputs, [f"v{count}"], **attributes))
        return f"v{count}"

    for what, name, norm, shape, stride in layers(kind):
        if what == "begin":
            before = at
        elif what in ("add", "end"):
            at = put("Add", [before, at]) if what == "add" else at
            done += 1
            if done == blocks:
                break
        elif what == "line":
            constants |= {"w": state[f"{name}.weight"], "b": state[f"{name}.bias"]}
            at = put("Flatten", [put("GlobalAveragePool", [at])])
            at = put("Gemm", [at, "w", "b"], transB=1)
        else:
            names = [f"{name}.weight"]
            parts = ("weight", "bias", "running_mean", "running_var")
            norms = [f"{norm}.{part}" for part in parts]
            constants |= {n: state[n] for n in (*names, *norms)}
            size = shape[2]
            total = max((-(-rows // stride) - 1) * stride + size - rows, 0)  # TensorFlow's SAME
            pads = [size // 2] * 4
            if not torchvision:
                pads = [total // 2, total // 2, total - total // 2, total - total // 2]
            rows = -(-rows // stride)
            group = shape[0] if shape[1] == 1 and size > 1 else 1
            at = put("Conv", [at, *names], strides=[stride] * 2, pads=pads, group=group)
            at = put("BatchNormalization", [at, *norms], epsilon=1e-5 if torchvision else 1e-3)
            at = put("Clip", [at, "zero", "six"]) if what == "conv6" else at
    tensors = [numpy_helper.from_array(np.asarray(v), k) for k, v in constants.items()]
    io_of = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "oracle",
        [io_of("x", TensorProto.FLOAT, x.shape)],
        [io_of(at, TensorProto.FLOAT, ["n", "c"] if blocks is None else ["n", "c", "h", "w"])],
        tensors,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    return session.run(None, {"x": x})[0]


class Stored:
    """A storage of PyTorch, as its pickler marks one."""

    def __init__(self, key: str, kind: type, numbers: np.ndarray) -> None:
        """Keeps key, class and numbers."""
        self.key, self.kind, self.numbers = key, kind, numbers


class Reduced:
    """An object that is pickled as a call of a function."""

    def __init__(self, function: object, *arguments: object) -> None:
        """Keeps the call."""
        self.call = (function, arguments)

    def __reduce__(self) -> tuple:
        """Returns the call."""
        return self.call


def _rebuild_tensor_v2(*arguments: object) -> None:
    """Stands in for what PyTorch's reader would call."""
    raise AssertionError("nothing is called")


TORCH, UTILS = types.ModuleType("torch"), types.ModuleType("torch._utils")
for storage in ("FloatStorage", "LongStorage"):
    vars(TORCH)[storage] = type(storage, (), {"__module__": "torch"})
_rebuild_tensor_v2.__module__ = "torch._utils"
vars(UTILS)["_rebuild_tensor_v2"] = _rebuild_tensor_v2


@contextmanager
def torch_named() -> Iterator[None]:
    """Lets a pickler find what PyTorch's files name."""
    saved = {name: sys.modules.get(name) for name in ("torch", "torch._utils")}
    sys.modules |= {"torch": TORCH, "torch._utils": UTILS}
    try:
        yield
    finally:
        for name, module in saved.items():
            if module is None:
                del sys.modules[name]
            else:
                sys.modules[name] = module


class TorchPickler(pickle.Pickler):
    """A pickler that marks storages the way `torch.save` does."""

    def persistent_id(self, obj: object) -> object:
        """Returns the mark of a storage."""
        if not isinstance(obj, Stored):
            return None
        mark = ("storage", obj.kind, obj.key, "cpu", obj.numbers.size)
        return (*mark, None) if self.legacy else mark


def torch_pickle(value: object, *, legacy: bool) -> bytes:
    """Returns a pickle in protocol 2 with marked storages."""
    out = io.BytesIO()
    pickler = TorchPickler(out, protocol=2)
    pickler.legacy = legacy
    with torch_named():
        pickler.dump(value)
    return out.getvalue()


def view_of(numbers: np.ndarray, offset: int, shape: tuple, strides: tuple) -> Reduced:
    """Returns a tensor over numbers, as PyTorch pickles it."""
    stored = Stored("0", TORCH.FloatStorage, numbers)
    return Reduced(_rebuild_tensor_v2, stored, offset, shape, strides, False, OrderedDict())


def tensors_of(state: State) -> tuple[OrderedDict, list[Stored]]:
    """Returns a state dict as PyTorch pickles it, and its storages."""
    found, storages = OrderedDict(), []
    for index, (name, array) in enumerate(state.items()):
        kind = TORCH.LongStorage if array.dtype == np.int64 else TORCH.FloatStorage
        stored = Stored(str(index), kind, np.ascontiguousarray(array).reshape(-1))
        strides = tuple(s // array.itemsize for s in array.copy(order="C").strides)
        arguments = (stored, 0, array.shape, strides, False, OrderedDict())
        found[name] = Reduced(_rebuild_tensor_v2, *arguments)
        storages.append(stored)
    return found, storages


def write_legacy(path: Path, state: State, *, value: object = None) -> None:
    """Writes a state dict, or another value, as torch.save did before 1.6."""
    found, storages = tensors_of(state)
    parts = [
        pickle.dumps(0x1950A86A20F9469CFC6C, 2),
        pickle.dumps(1001, 2),
        pickle.dumps({"protocol_version": 1001, "little_endian": True}, 2),
        torch_pickle(found if value is None else value, legacy=True),
        pickle.dumps([s.key for s in storages], 2),
    ]
    data = [struct.pack("<q", s.numbers.size) + s.numbers.tobytes() for s in storages]
    path.write_bytes(b"".join([*parts, *data]))
