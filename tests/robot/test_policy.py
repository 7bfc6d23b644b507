"""A policy file is refused unless it is whole, and computes what it was exported with."""

import json
from pathlib import Path

import numpy as np
import pytest

from mjx_s2r.contract import METADATA_KEY, ContractError, to_json
from mjx_s2r.robot.policy import GOLDEN_KEY, Policy, golden_images, golden_json
from tests.robot.fakes import contract_for, expected_action, with_joints, write_onnx

CONTRACT = contract_for(cameras=True)


def golden(shift: float = 0.0) -> str:
    """Returns golden vectors of the test network, off by ``shift``."""
    obs = np.random.default_rng(1).normal(size=(4, CONTRACT.size)).astype(np.float32)
    action = expected_action(CONTRACT, obs, golden_images(CONTRACT, 7, 4))
    return golden_json(7, obs, action + shift)


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"not a network\n", "14 bytes.*is no ONNX file"),
        (b"version https://git-lfs.github.com/spec/v1\n", "is no ONNX file"),
        (b"", "0 bytes.*is no ONNX file.*No graph"),
        (None, "is no ONNX file.*copy it again, or export it anew"),
    ],
)
def test_what_is_no_onnx_file_is_named(tmp_path: Path, body: bytes | None, says: str) -> None:
    path = write_onnx(tmp_path / "p.onnx", CONTRACT)
    path.write_bytes(path.read_bytes()[:-20] if body is None else body)
    with pytest.raises(ContractError, match=rf"{path} .*{says}"):
        Policy.load(path)


def test_a_policy_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ContractError, match=r"none\.onnx does not exist; name the ONNX file"):
        Policy.load(tmp_path / "none.onnx")
    with pytest.raises(ContractError, match=f"{tmp_path} is a folder; name the ONNX file"):
        Policy.load(str(tmp_path))


def test_act_matches_numpy(tmp_path: Path) -> None:
    policy = Policy.load(write_onnx(tmp_path / "p.onnx", CONTRACT))
    assert policy.contract == CONTRACT
    obs = np.random.default_rng(3).normal(size=CONTRACT.size).astype(np.float32)
    images = golden_images(CONTRACT, 4, 1)
    action = policy.act(obs, {name: x[0] for name, x in images.items()})
    np.testing.assert_allclose(action, expected_action(CONTRACT, obs[None], images)[0], atol=1e-6)


def test_golden_vectors_are_run(tmp_path: Path) -> None:
    meta = {METADATA_KEY: to_json(CONTRACT)}
    Policy.load(write_onnx(tmp_path / "good.onnx", CONTRACT, meta | {GOLDEN_KEY: golden()}))
    bad = write_onnx(tmp_path / "bad.onnx", CONTRACT, meta | {GOLDEN_KEY: golden(1e-3)})
    with pytest.raises(ContractError, match="golden vectors differ by 0"):
        Policy.load(bad)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "unreadable"),
        ('{"seed": 1, "obs": []}', "unreadable"),
        (golden_json(7, np.zeros((1, 3)), np.zeros((1, 2))), "unreadable"),
        (golden_json(7, np.zeros((1, CONTRACT.size)), np.full((1, 2), np.nan)), "differ by nan"),
        (golden_json(7, np.zeros((1, CONTRACT.size)), np.zeros((1, 3))), "shape"),
    ],
)
def test_broken_golden_vectors(tmp_path: Path, text: str, message: str) -> None:
    meta = {METADATA_KEY: to_json(CONTRACT), GOLDEN_KEY: text}
    with pytest.raises(ContractError, match=message):
        Policy.load(write_onnx(tmp_path / "p.onnx", CONTRACT, meta))


def test_tampered_contract_is_refused(tmp_path: Path) -> None:
    body = json.loads(to_json(CONTRACT))
    body["action"]["max_rate"] = [99.0, 99.0]
    path = write_onnx(tmp_path / "p.onnx", CONTRACT, {METADATA_KEY: json.dumps(body)})
    with pytest.raises(ContractError, match="sha256 differs"):
        Policy.load(path)


def test_missing_contract_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ContractError, match="no metadata key"):
        Policy.load(write_onnx(tmp_path / "p.onnx", CONTRACT, {}))


def test_graph_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    no_camera = {METADATA_KEY: to_json(contract_for())}
    with pytest.raises(ContractError, match="'front' is not in the contract"):
        Policy.load(write_onnx(tmp_path / "a.onnx", CONTRACT, no_camera))
    with_camera = {METADATA_KEY: to_json(CONTRACT)}
    with pytest.raises(ContractError, match="'front' is missing in the graph"):
        Policy.load(write_onnx(tmp_path / "b.onnx", contract_for(), with_camera))


def test_graph_of_another_size_is_refused(tmp_path: Path) -> None:
    body = CONTRACT.__class__(**{**CONTRACT.__dict__, "signals": CONTRACT.signals[:2]})
    path = write_onnx(tmp_path / "p.onnx", CONTRACT, {METADATA_KEY: to_json(body)})
    with pytest.raises(ContractError, match="'obs' is"):
        Policy.load(path)


def test_golden_images_follow_the_cameras() -> None:
    images = golden_images(CONTRACT, 5, 2)
    again = np.random.default_rng(5).integers(0, 256, (2, 8, 6, 3), np.uint8)
    np.testing.assert_array_equal(images["front"], again)
    assert golden_images(with_joints(contract_for(), ("a", "b")), 5, 2) == {}
