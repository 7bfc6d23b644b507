"""Whatever file is given as a policy, the answer is a policy or one sentence."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, external_data_helper, helper

from mjx_s2r.contract import METADATA_KEY, ContractError, to_json
from mjx_s2r.robot.onnx_file import GRAPH_KEY, read_onnx
from mjx_s2r.robot.policy import GOLDEN_KEY, VARIANT_KEY, Policy, golden_images, golden_json
from mjx_s2r.robot.policy_description import describe_policy
from mjx_s2r.robot.runtime import READS, resolve_providers, runtime_needed
from tests.robot.fakes import contract_for, expected_action, write_onnx

CONTRACT = contract_for(cameras=True)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A policy file with everything that an export writes into it."""
    path = tmp_path_factory.mktemp("files") / "whole.onnx"
    sha256 = read_onnx(write_onnx(path, CONTRACT, {})).sha256
    obs = np.random.default_rng(1).normal(size=(4, CONTRACT.size)).astype(np.float32)
    action = expected_action(CONTRACT, obs, golden_images(CONTRACT, 7, 4))
    golden = {GOLDEN_KEY: golden_json(7, obs, action)}
    return write_onnx(path, CONTRACT, {METADATA_KEY: to_json(CONTRACT), GRAPH_KEY: sha256} | golden)


def changed(whole: Path, path: Path, change: Callable[[onnx.ModelProto], None]) -> Path:
    """Writes a changed copy without the graph's hash, so that other checks are reached."""
    model = onnx.load(whole)
    kept = {p.key: p.value for p in model.metadata_props if p.key != GRAPH_KEY}
    del model.metadata_props[:]
    helper.set_model_props(model, kept)
    change(model)
    onnx.save(model, path)
    return path


def one_sentence(error: pytest.ExceptionInfo[ContractError]) -> bool:
    """Returns whether the message is one line that does not speak of onnxruntime's insides."""
    text = str(error.value)
    return "\n" not in text and not any(x in text for x in ("ONNXRuntimeError", ".cc:", "::"))


def with_input_type(kind: int) -> Callable[[onnx.ModelProto], None]:
    """Returns the change that gives "obs" another type."""

    def change(model: onnx.ModelProto) -> None:
        model.graph.input[0].type.tensor_type.elem_type = kind
        cast = helper.make_node("Cast", ["obs"], ["as_float"], to=TensorProto.FLOAT)
        model.graph.node[0].input[0] = "as_float"
        model.graph.node.insert(0, cast)

    return change


def with_dynamic_size(model: onnx.ModelProto) -> None:
    """Leaves the length of "obs" open."""
    model.graph.input[0].type.tensor_type.shape.dim[1].dim_param = "n"


def with_an_extra_input(model: onnx.ModelProto) -> None:
    """Asks for something that no contract names."""
    model.graph.input.append(helper.make_tensor_value_info("clock", TensorProto.FLOAT, ["B", 1]))


def with_ir(model: onnx.ModelProto) -> None:
    """Writes a format that nobody reads yet."""
    model.ir_version = 99


def with_opset(model: onnx.ModelProto) -> None:
    """Asks for operators that nobody has yet."""
    model.opset_import[0].version = 99


def with_an_old_opset(model: onnx.ModelProto) -> None:
    """Asks for operators of long ago."""
    model.opset_import[0].version = 5


def with_an_unknown_operator(model: onnx.ModelProto) -> None:
    """Asks for an operator that there is not."""
    model.graph.node[-2].op_type = "Tanhh"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (with_input_type(TensorProto.DOUBLE), r"'obs' is tensor\(double\) .*says tensor\(float\)"),
        (with_dynamic_size, r"'obs' is tensor\(float\) \('B', 'n'\), the contract says"),
        (with_an_extra_input, "input 'clock' is not in the contract"),
        (
            with_ir,
            rf"IR version 99, and ONNX Runtime {onnxruntime.__version__} reads up to \d+; in",
        ),
        (with_opset, rf"opset 99, and ONNX Runtime {onnxruntime.__version__} reads up to \d+; in"),
        (with_an_old_opset, "opset 5, and ONNX Runtime reads from 7 on; export the policy again"),
        (with_an_unknown_operator, "is no ONNX file that ONNX Runtime .* can read"),
    ],
)
def test_a_graph_that_cannot_be_flown_is_refused(
    change: Callable[[onnx.ModelProto], None], says: str, whole: Path, tmp_path: Path
) -> None:
    with pytest.raises(ContractError, match=says) as error:
        Policy.load(changed(whole, tmp_path / "p.onnx", change))
    assert one_sentence(error)


def test_a_runtime_to_install_is_named() -> None:
    assert runtime_needed(17, 8) == "1.15" and runtime_needed(21, 10) == "1.18"
    assert runtime_needed(21, 13) == "1.24" and runtime_needed(99, 8) == ""
    mine = tuple(map(int, onnxruntime.__version__.split(".")[:2]))
    assert mine >= tuple(map(int, READS[0][0].split(".")))


def test_the_file_of_another_project_is_named_with_its_writer(whole: Path, tmp_path: Path) -> None:
    def change(model: onnx.ModelProto) -> None:
        del model.metadata_props[:]
        model.producer_name = "pytorch"

    with pytest.raises(ContractError, match=r"written by 'pytorch', has no metadata key 'mjx_s2r'"):
        Policy.load(changed(whole, tmp_path / "p.onnx", change))


def test_weights_in_another_file_must_be_there(whole: Path, tmp_path: Path) -> None:
    path = tmp_path / "p.onnx"

    def change(model: onnx.ModelProto) -> None:
        external_data_helper.convert_model_to_external_data(
            model, location="p.weights", size_threshold=70
        )

    changed(whole, path, change)
    assert read_onnx(path).weights == ("p.weights",)
    Policy.load(path)
    (tmp_path / "p.weights").unlink()
    with pytest.raises(
        ContractError, match=r"'p\.weights', which is not beside it; copy both"
    ) as e:
        Policy.load(path)
    assert one_sentence(e)


def test_a_changed_graph_is_refused_without_golden_vectors_too(whole: Path, tmp_path: Path) -> None:
    model = onnx.load(whole)
    kept = {p.key: p.value for p in model.metadata_props if p.key != GOLDEN_KEY}
    del model.metadata_props[:]
    helper.set_model_props(model, kept)
    onnx.save(model, tmp_path / "same.onnx")
    Policy.load(tmp_path / "same.onnx")
    weights = next(x for x in model.graph.initializer if x.name == "w")
    weights.raw_data = weights.raw_data[:-4] + b"\0\0\0\0"
    onnx.save(model, tmp_path / "p.onnx")
    with pytest.raises(ContractError, match="the graph was changed after export"):
        Policy.load(tmp_path / "p.onnx")


def test_whatever_is_cut_or_flipped_the_answer_is_one_sentence(whole: Path, tmp_path: Path) -> None:
    body, rng = whole.read_bytes(), np.random.default_rng(0)
    path, refused = tmp_path / "p.onnx", 0
    for turn in range(120):
        damaged = bytearray(body)
        if turn % 2:
            del damaged[int(rng.integers(len(body))) :]
        else:
            damaged[int(rng.integers(len(body)))] ^= int(rng.integers(1, 256))
        path.write_bytes(damaged)
        try:
            Policy.load(path)
        except ContractError as error:
            refused += 1
            assert "\n" not in str(error) and "ONNXRuntimeError" not in str(error)
    assert refused > 110, "all that is cut, and nearly all that is flipped"


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"policy: best\n" * 40, "520 bytes. is no ONNX file"),
        (b"PK\3\4" + bytes(200), "is no ONNX file"),
        (bytes(64), "is no ONNX file"),
        (b"\x08\x08", "No graph in it"),
    ],
)
def test_other_files_are_no_policy(body: bytes, says: str, tmp_path: Path) -> None:
    path = tmp_path / "p.onnx"
    path.write_bytes(body)
    with pytest.raises(ContractError, match=says):
        Policy.load(path)


def test_a_contract_that_lacks_something_is_refused(whole: Path, tmp_path: Path) -> None:
    body = {"schema": 1, "task": "t"}
    digest = hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()
    text = json.dumps(body | {"sha256": digest})
    with pytest.raises(ContractError, match="lacks something or holds it in another form"):
        Policy.load(write_onnx(tmp_path / "p.onnx", CONTRACT, {METADATA_KEY: text}))
    odd = {METADATA_KEY: to_json(CONTRACT), VARIANT_KEY: '{"bits": 4}'}
    with pytest.raises(ContractError, match="its variant is unreadable"):
        Policy.load(write_onnx(tmp_path / "p.onnx", CONTRACT, odd))


def test_inputs_of_another_type_or_size_are_named(whole: Path) -> None:
    policy = Policy.load(whole)
    obs, image = np.zeros(CONTRACT.size, np.float32), np.zeros((8, 6, 3), np.uint8)
    policy.act(obs.astype(float), {"front": image})
    for given, picture, says in (
        (obs[:-1], image, r"'obs' is float32 \(5,\), the policy reads float32 \(6,\)"),
        (obs, image.astype(np.float32), "'front' is float32"),
        (obs, image[:1], r"'front' is uint8 \(1, 6, 3\)"),
    ):
        with pytest.raises(ContractError, match=says):
            policy.act(given, {"front": picture})


def test_a_runtime_that_copies_answers_alike(whole: Path) -> None:
    """Buffers are bound on the CPU alone; elsewhere each call hands them over."""
    policy, copying = Policy.load(whole), Policy.load(whole)
    assert policy._binding is not None
    copying._binding = None
    rng = np.random.default_rng(2)
    for _ in range(3):
        obs, image = rng.normal(size=CONTRACT.size), rng.integers(0, 256, (8, 6, 3), np.uint8)
        answers = [p.act(obs, {"front": image}) for p in (policy, copying)]
        np.testing.assert_array_equal(*answers)


def test_answers_are_not_the_buffer(whole: Path) -> None:
    policy, image = Policy.load(whole), np.zeros((8, 6, 3), np.uint8)
    first = policy.act(np.ones(CONTRACT.size), {"front": image})
    kept = first.copy()
    policy.act(-np.ones(CONTRACT.size), {"front": image})
    np.testing.assert_array_equal(first, kept)


def test_providers_have_short_names(whole: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert Policy.load(whole, "cpu").providers == ("CPUExecutionProvider",)
    assert Policy.load(whole, ("CPUExecutionProvider",)).contract == CONTRACT
    with pytest.raises(ContractError, match=r"'abacus' is not in .* which has \[.*'cpu'.*\]; name"):
        Policy.load(whole, "abacus")
    with pytest.raises(ContractError, match="no provider is named"):
        Policy.load(whole, ())
    there = ["CUDAExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: there)
    assert resolve_providers("cuda") == tuple(there)
    with pytest.raises(ContractError, match=r"'tensorrt' .*\['cuda', 'cpu'\]; pip install onnxru"):
        resolve_providers("tensorrt")


def test_a_policy_is_described_for_people(whole: Path) -> None:
    found = describe_policy(whole)
    text = found.text()
    for piece in ("task 'test', 10 Hz", "joint_vel", "8x6", "graph and golden", "not told"):
        assert piece in text
    body = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert body["bytes"] == whole.stat().st_size and body["opset"] == 18
    assert body["contract"]["cameras"][0]["name"] == "front"
    wide = replace(CONTRACT.signals[0], low=-np.inf, high=np.inf)
    assert "anything" in replace(found, contract=replace(CONTRACT, signals=(wide,))).text()
