"""Shorter graphs compute the same; what only looks like a rule's pattern is left alone."""

from collections.abc import Sequence

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import NodeProto, TensorProto, helper, numpy_helper

from mjx_s2r.onnx_rewrite import shortened

RNG = np.random.default_rng(0)
KERNEL = RNG.normal(size=(2, 3, 3, 3)).astype(np.float32)


def model_of(nodes: Sequence[NodeProto], **constants: np.ndarray) -> onnx.ModelProto:
    """Returns a graph from "picture" (B, 4, 5, 3) uint8 and "x" (B, 6) to "y"."""
    inputs = [
        helper.make_tensor_value_info("picture", TensorProto.UINT8, ["B", 4, 5, 3]),
        helper.make_tensor_value_info("x", TensorProto.FLOAT, ["B", 6]),
    ]
    kinds = {node.op_type for node in nodes}
    rank = 4 if "Conv" in kinds else 3 if "Reshape" in kinds else 2
    output = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["B", *"hwc"[: rank - 1]])
    weights = [numpy_helper.from_array(np.asarray(x), name) for name, x in constants.items()]
    graph = helper.make_graph(nodes, "g", inputs, [output], weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)


def answer(model: onnx.ModelProto, batch: int) -> np.ndarray:
    """Returns "y" for inputs that are always the same."""
    rng = np.random.default_rng(1)
    feed = {
        "picture": rng.integers(0, 256, (batch, 4, 5, 3), np.uint8),
        "x": rng.normal(size=(batch, 6)).astype(np.float32),
    }
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    wanted = {x.name for x in session.get_inputs()}
    out = session.run(["y"], {name: x for name, x in feed.items() if name in wanted})[0]
    return np.asarray(out)


def operators(model: onnx.ModelProto) -> list[str]:
    """Returns the kinds of operators, in order."""
    return [node.op_type for node in model.graph.node]


def node(kind: str, inputs: str, output: str, **attributes: object) -> NodeProto:
    """Returns a node; inputs are separated by spaces."""
    return helper.make_node(kind, inputs.split(), [output], **attributes)


F = np.float32
SIGMOID = [
    node("Mul", "x half", "a"),
    node("Tanh", "a", "b"),
    node("Mul", "half b", "c"),
    node("Add", "c half", "d"),
    node("Mul", "x d", "y"),
]
PICTURE = [
    node("Cast", "picture", "a", to=TensorProto.FLOAT),
    node("Div", "a most", "b"),
    node("Sub", "b half", "c"),
    node("Transpose", "c", "d", perm=[0, 3, 1, 2]),
    node("Conv", "d kernel", "y"),
]
RESHAPE = [
    node("Shape", "x", "s"),
    node("Gather", "s zero", "n", axis=0),
    node("Concat", "n two three", "shape", axis=0),
    node("Reshape", "x shape", "y"),
]
AXES = {"zero": np.array([0]), "two": np.array([2]), "three": np.array([3])}
SHORT = {
    "sigmoid": (SIGMOID, {"half": F(0.5)}, ["Sigmoid", "Mul"]),
    "picture": (
        PICTURE,
        {"most": F(255), "half": F(0.5), "kernel": KERNEL},
        ["Transpose", "Cast", "Sub", "Conv"],
    ),
    "reshape": (RESHAPE, AXES, ["Reshape"]),
}


@pytest.mark.parametrize("name", SHORT)
def test_a_shorter_graph_computes_the_same(name: str) -> None:
    nodes, constants, wanted = SHORT[name]
    model = model_of(nodes, **constants)
    short = shortened(model)
    assert operators(short) == wanted
    assert short.ir_version == 8, "the oldest format that opset 17 has"
    for batch in (1, 3):
        np.testing.assert_allclose(answer(short, batch), answer(model, batch), rtol=2e-6, atol=2e-6)


OTHER = {
    "another factor": ([*SIGMOID[:2], node("Mul", "third b", "c"), *SIGMOID[3:]], "Tanh"),
    "read twice": ([*SIGMOID[:4], node("Mul", "b d", "y")], "Tanh"),
    "each channel its own": (
        [*PICTURE[:2], node("Sub", "b each", "c"), *PICTURE[3:]],
        "Div",
    ),
    "read before it is turned": (
        [
            *PICTURE[:4],
            node("ReduceMax", "c", "m", keepdims=1),
            node("Add", "d m", "e"),
            node("Conv", "e kernel", "y"),
        ],
        "Div",
    ),
    "another axis": (
        [RESHAPE[0], node("Gather", "s one", "n", axis=0), *RESHAPE[2:3], RESHAPE[3]],
        "Reshape",
    ),
}


@pytest.mark.parametrize("name", OTHER)
def test_what_only_looks_alike_still_computes_the_same(name: str) -> None:
    nodes, kept = OTHER[name]
    constants = {"half": F(0.5), "third": F(0.3), "most": F(255), "kernel": KERNEL}
    constants |= {"each": RNG.normal(size=3).astype(F), "one": np.array([1])} | AXES
    if name == "another axis":  # (6, ...) of B = 1: the second axis
        constants["two"], constants["three"] = np.array([1]), np.array([1])
    used = {x for n in nodes for x in n.input}
    model = model_of(nodes, **{k: v for k, v in constants.items() if k in used})
    short = shortened(model)
    assert kept in operators(short)
    for batch in (1,) if name == "another axis" else (1, 3):
        np.testing.assert_allclose(answer(short, batch), answer(model, batch), rtol=1e-5, atol=1e-5)
