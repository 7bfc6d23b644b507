"""The YAML for ros2_control holds the contract's limits; read by another library."""

import math
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from mjx_s2r.contract import ContractError
from mjx_s2r.robot.cli.main import main
from mjx_s2r.robot.ros2_control import to_ros2_control
from tests.robot.fakes import contract_for, with_joints, write_onnx


def test_limits() -> None:
    contract = with_joints(contract_for(), ("yes", "1: #a"))  # names that YAML could misread
    files = to_ros2_control(contract, max_acceleration=(5.0, 6.0))
    limits = yaml.safe_load(files["joint_limits.yaml"])["/**"]["ros__parameters"]["joint_limits"]
    assert list(limits) == ["yes", "1: #a"]
    assert limits["1: #a"] == {
        "has_position_limits": True,
        "min_position": -1.0,
        "max_position": 1.0,
        "has_velocity_limits": True,
        "max_velocity": 2.0,
        "has_acceleration_limits": True,
        "max_acceleration": 6.0,
        "has_jerk_limits": False,
        "has_effort_limits": True,
        "max_effort": 3.0,
    }
    assert all(isinstance(x, float | bool) for x in limits["yes"].values())


def test_what_has_no_limit_claims_none() -> None:
    contract = contract_for()
    free = (math.inf, 2.0)
    action = replace(contract.action, low=(-math.inf, -1.0), max_rate=free, max_effort=free)
    text = to_ros2_control(replace(contract, action=action))["joint_limits.yaml"]
    limits = yaml.safe_load(text)["/**"]["ros__parameters"]["joint_limits"]
    assert limits["a"] == {f"has_{x}_limits": False for x in KINDS}
    efforts = yaml.safe_load(to_ros2_control(contract_for("effort"))["joint_limits.yaml"])
    a = efforts["/**"]["ros__parameters"]["joint_limits"]["a"]
    assert a["max_effort"] == 1.0 and not a["has_position_limits"]  # its commands end at 1


KINDS = ("position", "velocity", "acceleration", "jerk", "effort")


@pytest.mark.parametrize("controller", ["forward", "trajectory"])
def test_controllers(controller: str) -> None:
    files = to_ros2_control(contract_for(), controller=controller)  # type: ignore[arg-type]
    body = yaml.safe_load(files["controllers.yaml"])
    manager = body["controller_manager"]["ros__parameters"]
    assert manager["update_rate"] == 100
    assert controller in manager["policy_controller"]["type"]
    parameters = body["policy_controller"]["ros__parameters"]
    assert parameters["joints"] == ["a", "b"]
    if controller == "forward":
        assert parameters["interface_name"] == "position"
    else:
        assert parameters["command_interfaces"] == ["position"]


def test_refusals() -> None:
    with pytest.raises(ContractError, match="one of"):
        to_ros2_control(contract_for(), controller="pid")  # type: ignore[arg-type]
    with pytest.raises(ContractError, match="efforts"):
        to_ros2_control(contract_for("effort"), controller="trajectory")
    for wrong in ((1.0, 2.0, 3.0), (0.0,)):
        with pytest.raises(ContractError, match=r"max_acceleration .* must be one positive number"):
            to_ros2_control(contract_for(), max_acceleration=wrong)


def test_the_verb_takes_controller_and_acceleration(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    policy = write_onnx(tmp_path / "policy.onnx", contract_for())
    words = ["export", str(policy), "--ros2", str(tmp_path / "config")]
    assert main([*words, "--controller", "trajectory", "--max-acceleration", "9"]) == 0
    limits = yaml.safe_load((tmp_path / "config" / "joint_limits.yaml").read_text())
    joints = limits["/**"]["ros__parameters"]["joint_limits"]
    assert {name: found["max_acceleration"] for name, found in joints.items()} == {"a": 9, "b": 9}
    body = yaml.safe_load((tmp_path / "config" / "controllers.yaml").read_text())
    assert body["policy_controller"]["ros__parameters"]["command_interfaces"] == ["position"]
    assert main([*words, "--calibration", "arm.toml"]) != 0
    assert "--calibration is of --lerobot" in capsys.readouterr().err
