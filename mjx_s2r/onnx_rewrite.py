"""ONNX graphs made shorter without changing what they compute.

A policy's network is so small that half of its time goes into starting one operator after another,
so an operator less is time less. ONNX Runtime's own optimizer at its basic level, which writes ONNX
that any machine can read, folds constants and fuses what it knows; the rules here are for what the
conversion from JAX leaves behind. Each rule keeps the function to the last bits of float32; the
exporter measures it.
"""

import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import numpy_helper

MAIN_DOMAINS = ("", "ai.onnx")


def shortened(model: onnx.ModelProto) -> onnx.ModelProto:
    """Returns a model that computes the same in fewer operators, in the oldest format it can have.

    The batch is the first axis of inputs and outputs and has a symbol.
    """
    model = _folded(model)
    rules = (_keep_batch, _join_alone, _sigmoid, _move_transpose_to_bytes, _scale_kernel)
    for rule in rules:
        rule(model)
        _drop_unused(model)
    model = _folded(model)
    used = {node.domain for node in _all_nodes(model.graph)} | {""}
    kept = [o for o in model.opset_import if o.domain in used]
    del model.opset_import[:]
    model.opset_import.extend(kept)
    model.ir_version = onnx.helper.find_min_ir_version_for(kept)
    del model.graph.value_info[:]
    onnx.checker.check_model(model)
    return model


def _folded(model: onnx.ModelProto) -> onnx.ModelProto:
    """Returns the model after ONNX Runtime's basic optimizations."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.log_severity_level = 4  # it warns of every constant that it cannot fold
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "folded.onnx"
        options.optimized_model_filepath = str(path)
        onnxruntime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        folded = onnx.load(path)
    if not {node.domain for node in _all_nodes(folded.graph)} <= set(MAIN_DOMAINS):
        return model  # operators that only ONNX Runtime knows
    return folded


def _all_nodes(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    """Yields the nodes of a graph and of the graphs within them."""
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                yield from _all_nodes(inner)


@dataclass(frozen=True, eq=False)
class _Wires:
    """Which node makes a value, who reads it, and what constants hold."""

    graph: onnx.GraphProto

    @cached_property
    def makers(self) -> Mapping[str, onnx.NodeProto]:
        """Name of a value -> the node that makes it."""
        return {name: node for node in self.graph.node for name in node.output}

    @cached_property
    def readers(self) -> Mapping[str, int]:
        """Name of a value -> how often it is read, the graph's outputs counted in."""
        names = [n for node in _all_nodes(self.graph) for n in node.input]
        names += [x.name for x in self.graph.output]
        return {name: names.count(name) for name in set(names)}

    @cached_property
    def _constants(self) -> Mapping[str, onnx.TensorProto]:
        return {x.name: x for x in self.graph.initializer}

    def value(self, name: str) -> np.ndarray | None:
        """Returns what a constant holds; None for what is no constant."""
        if name not in self._constants:
            return None
        return np.asarray(numpy_helper.to_array(self._constants[name]))

    def is_number(self, name: str, number: float) -> bool:
        """Returns whether a constant is this one number."""
        value = self.value(name)
        return value is not None and value.size == 1 and float(value.reshape(-1)[0]) == number

    def made_by(self, name: str, kind: str) -> onnx.NodeProto | None:
        """Returns the node of this kind that makes a value that nobody else reads, or None."""
        node = self.makers.get(name)
        alone = node is not None and node.op_type == kind and node.domain in MAIN_DOMAINS
        return node if alone and self.readers[name] == 1 else None

    def factor(self, node: onnx.NodeProto, number: float) -> str:
        """Returns what a product or sum with one ``number`` takes beside it; "" for another."""
        for one, other in (tuple(node.input), tuple(node.input)[::-1]):
            if self.is_number(one, number):
                return other
        return ""


def _keep_batch(model: onnx.ModelProto) -> None:
    """Writes reshapes to (size of the input's first axis, constants ...) as (0, constants ...).

    Zero is ONNX's word for "as in the input"; the conversion measures the axis with five nodes.
    """
    wires = _Wires(model.graph)
    for node in model.graph.node:
        if node.op_type != "Reshape" or any(a.name == "allowzero" and a.i for a in node.attribute):
            continue
        joined = wires.makers.get(node.input[1])
        if joined is None or joined.op_type != "Concat":
            continue
        rest = [wires.value(name) for name in joined.input[1:]]
        if any(x is None for x in rest) or not _is_first_axis(
            wires, joined.input[0], node.input[0]
        ):
            continue
        sizes = [0, *(int(n) for x in rest if x is not None for n in np.atleast_1d(x))]
        name = f"{node.output[0]}_shape"
        model.graph.initializer.append(numpy_helper.from_array(np.array(sizes, np.int64), name))
        node.input[1] = name


def _is_first_axis(wires: _Wires, name: str, of: str) -> bool:
    """Returns whether a value is the length of the first axis of another one."""
    node = wires.makers.get(name)
    while node is not None and node.op_type in ("Unsqueeze", "Squeeze", "Reshape"):
        node = wires.makers.get(node.input[0])
    if node is None or node.op_type not in ("Gather", "Slice"):
        return False
    shape, first = wires.makers.get(node.input[0]), node.input[1]
    ends = node.op_type == "Gather" or wires.is_number(node.input[2], 1)
    if shape is None or shape.op_type != "Shape" or not ends or not wires.is_number(first, 0):
        return False
    return shape.input[0] == of or _batch_of(wires, shape.input[0]) == _batch_of(wires, of) != ""


def _batch_of(wires: _Wires, name: str) -> str:
    """Returns the symbol of the batch, where a value is an input of the graph; else ""."""
    for x in wires.graph.input:
        if x.name == name and x.type.tensor_type.shape.dim:
            return str(x.type.tensor_type.shape.dim[0].dim_param)
    return ""


def _join_alone(model: onnx.ModelProto) -> None:
    """Takes out what joins one thing with nothing."""
    for node in list(model.graph.node):
        if node.op_type == "Concat" and len(node.input) == 1:
            _replace(model, node, node.input[0])


def _replace(model: onnx.ModelProto, node: onnx.NodeProto, name: str) -> None:
    """Takes a node out and has its readers read the value ``name``; outputs keep their names."""
    if node.output[0] in {x.name for x in model.graph.output}:
        return
    for reader in _all_nodes(model.graph):
        for index, given in enumerate(reader.input):
            if given == node.output[0]:
                reader.input[index] = name
    model.graph.node.remove(node)


def _sigmoid(model: onnx.ModelProto) -> None:
    """Writes 0.5 + 0.5 tanh(0.5 x) as sigmoid(x), which it is (`mjx_s2r.learn.networks.swish`)."""
    wires = _Wires(model.graph)
    for node in model.graph.node:
        if node.op_type != "Add":
            continue
        outer = wires.made_by(wires.factor(node, 0.5), "Mul")
        tanh = outer and wires.made_by(wires.factor(outer, 0.5), "Tanh")
        inner = tanh and wires.made_by(tanh.input[0], "Mul")
        x = wires.factor(inner, 0.5) if inner else ""
        if x:
            node.op_type = "Sigmoid"
            del node.input[:]
            node.input.append(x)


def _move_transpose_to_bytes(model: onnx.ModelProto) -> None:
    """Turns a picture's axes while it still is bytes: a quarter of the memory to move.

    Cast, and products and sums with one number, do not care in which order they come.
    """
    wires = _Wires(model.graph)
    pictures = {
        x.name
        for x in model.graph.input
        if x.type.tensor_type.elem_type in (onnx.TensorProto.UINT8, onnx.TensorProto.UINT16)
    }
    for node in list(model.graph.node):
        if node.op_type != "Transpose":
            continue
        chain: list[onnx.NodeProto] = []
        name = node.input[0]
        while name not in pictures:
            before = wires.makers.get(name)
            if before is None or wires.readers[name] != 1 or not _is_pointwise(wires, before):
                break
            chain.append(before)
            name = before.input[0]
        if name not in pictures or not chain:
            continue
        first, last = chain[-1], chain[0]
        turned = f"{name}_{node.output[0]}"
        last.output[0], node.output[0] = node.output[0], turned
        node.input[0], first.input[0] = name, turned
        model.graph.node.remove(node)
        model.graph.node.insert(list(model.graph.node).index(first), node)
        wires = _Wires(model.graph)


def _scale_kernel(model: onnx.ModelProto) -> None:
    """Moves the divisor of a picture into the kernel: W * (x / d - b) is W / d * (x - d b)."""
    wires = _Wires(model.graph)
    for conv in model.graph.node:
        kernel = wires.value(conv.input[1]) if conv.op_type == "Conv" else None
        if kernel is None:
            continue
        sub = wires.made_by(conv.input[0], "Sub")
        div = wires.made_by(sub.input[0], "Div") if sub is not None else None
        if sub is None or div is None:
            continue
        if not (_is_pointwise(wires, sub) and _is_pointwise(wires, div)):
            continue
        divisor, offset = wires.value(div.input[1]), wires.value(sub.input[1])
        assert divisor is not None and offset is not None
        for node, index, value in (
            (conv, 1, (kernel / divisor).astype(kernel.dtype)),
            (sub, 1, (divisor * offset).astype(offset.dtype)),
        ):
            name = f"{node.output[0]}_{index}"
            model.graph.initializer.append(numpy_helper.from_array(np.asarray(value), name))
            node.input[index] = name
        sub.input[0] = div.input[0]


def _is_pointwise(wires: _Wires, node: onnx.NodeProto) -> bool:
    """Returns whether a node changes every number alike, the number being its first input."""
    if node.op_type == "Cast":
        return True
    if node.op_type not in ("Mul", "Div", "Add", "Sub"):
        return False
    other = wires.value(node.input[1])
    return other is not None and other.size == 1 and other.ndim == 0


def _drop_unused(model: onnx.ModelProto) -> None:
    """Takes out what nobody reads, constants too."""
    while True:
        read = {n for node in _all_nodes(model.graph) for n in node.input}
        read |= {x.name for x in model.graph.output}
        idle = [n for n in model.graph.node if not read.intersection(n.output)]
        for node in idle:
            model.graph.node.remove(node)
        if not idle:
            break
    for x in [x for x in model.graph.initializer if x.name not in read]:
        model.graph.initializer.remove(x)
