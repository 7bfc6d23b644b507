"""Small robots, contracts and ONNX files for the tests of the robot side."""

import json
from collections.abc import Callable, Mapping
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper

from mjx_s2r.contract import (
    METADATA_KEY,
    ActionMode,
    ActionSpec,
    CameraSignal,
    PolicyContract,
    Signal,
    to_json,
)
from mjx_s2r.robot.calibration import JointCalibration
from mjx_s2r.robot.driver import CameraInfo, DriverInfo, Reading
from mjx_s2r.robot.policy import Policy

JOINTS = ("a", "b")
CAMERA = CameraSignal("front", 8, 6, 10.0)


def contract_for(mode: ActionMode = "delta_position", cameras: bool = False) -> PolicyContract:
    """Returns a two-joint contract at 10 Hz."""
    effort = mode == "effort"
    action = ActionSpec(
        joints=JOINTS,
        mode=mode,
        unit="N m" if effort else "rad",
        scale=(0.1, 0.1),
        home=(0.0, 0.0),
        low=(-1.0, -1.0),
        high=(1.0, 1.0),
        max_rate=(np.inf, np.inf) if effort else (2.0, 2.0),
        max_effort=(3.0, 3.0),
        kp=() if effort else (10.0, 10.0),
    )
    signals = (
        Signal("joint_pos", 2, "rad", low=-3.0, high=3.0),
        Signal("joint_vel", 2, "rad/s", scale=0.5, low=-20.0, high=20.0),
        Signal("command", 2, "rad"),
    )
    return PolicyContract("test", 10.0, signals, action, (CAMERA,) if cameras else ())


def info_for(contract: PolicyContract) -> DriverInfo:
    """Returns the data sheet of a robot that fits the contract, with joint stops at +-2 rad."""
    effort = contract.action.mode == "effort"
    return DriverInfo(
        name="fake",
        joints=JOINTS,
        command="effort" if effort else "position",
        unit=contract.action.unit,
        low=(-2.0, -2.0),
        high=(2.0, 2.0),
        max_rate=(np.inf, np.inf) if effort else (2.5, 2.5),
        max_effort=(3.0, 3.0),
        max_hz=100.0,
        signals={"joint_pos": 2, "joint_vel": 2},
        cameras=tuple(CameraInfo(c.name, c.height, c.width, c.rate_hz) for c in contract.cameras),
    )


def reading_at(time_s: float, contract: PolicyContract, **signals: object) -> Reading:
    """Returns a good reading of zeros, with some signals replaced."""
    values = {"joint_pos": np.zeros(2), "joint_vel": np.zeros(2)}
    return Reading(
        time_s=time_s,
        signals=values | {name: np.asarray(x, float) for name, x in signals.items()},
        images={c.name: np.zeros((c.height, c.width, 3), np.uint8) for c in contract.cameras},
        image_time_s={c.name: time_s for c in contract.cameras},
    )


class FakeDriver:
    """A robot that reaches every command at once and writes down what is done to it."""

    def __init__(self, contract: PolicyContract, now_s: Callable[[], float]) -> None:
        """Takes the contract and the time."""
        self.contract = contract
        self.now_s = now_s
        self.position = np.array([0.3, -0.2])
        self.calls: list[str] = []
        self.commands: list[np.ndarray] = []
        self.on_read: Callable[[Reading], Reading] = lambda reading: reading
        self.on_write: Callable[[np.ndarray], None] = lambda command: None
        self.on_stop: Callable[[], None] = lambda: None

    def describe(self) -> DriverInfo:
        """Returns the data sheet."""
        return info_for(self.contract)

    def connect(self) -> None:
        """Does nothing."""

    def read(self) -> Reading:
        """Returns the position, through ``on_read``."""
        self.calls.append("read")
        return self.on_read(reading_at(self.now_s(), self.contract, joint_pos=self.position))

    def write(self, command: np.ndarray) -> None:
        """Moves at once, after ``on_write``."""
        self.calls.append("write")
        self.on_write(command)
        self.commands.append(command.copy())
        self.position = command.astype(float)

    def stop(self) -> None:
        """Counts."""
        self.calls.append("stop")
        self.on_stop()

    def close(self) -> None:
        """Does nothing."""


class FakePolicy:
    """Answers with a constant, or with a function of the observation."""

    def __init__(self, contract: PolicyContract, answer: Callable[[np.ndarray], object]) -> None:
        """Takes the contract and the answer."""
        self.contract = contract
        self.answer = answer
        self.seen: list[np.ndarray] = []

    def act(self, obs: np.ndarray, images: Mapping[str, np.ndarray]) -> np.ndarray:
        """Returns the answer as float32."""
        self.seen.append(obs)
        return np.asarray(self.answer(obs), np.float32)


def with_home(contract: PolicyContract, home: tuple[float, ...]) -> PolicyContract:
    """Returns the contract with another home."""
    return replace(contract, action=replace(contract.action, home=home))


def first_actions(policy: Policy, obs: np.ndarray, images: Mapping[str, np.ndarray]) -> np.ndarray:
    """Returns the actions (B, J) of B robots at their first step, for obs (B, P)."""
    memory = np.zeros((len(obs), policy.contract.memory), np.float32)
    return policy.step_batch(obs, images, memory)[0]


def write_calibration(path: Path, joints: tuple[JointCalibration, ...]) -> None:
    """Writes a calibration as our JSON."""
    tables = {x.joint: {f.name: getattr(x, f.name) for f in fields(x)[1:]} for x in joints}
    path.write_text(json.dumps({"joints": tables}))


def weights(contract: PolicyContract) -> tuple[np.ndarray, np.ndarray]:
    """Returns the (P, J) matrix of the ONNX file and the (J,) scale of its output."""
    rng = np.random.default_rng(0)
    w = rng.normal(size=(contract.size, len(contract.action.joints))).astype(np.float32)
    return w, np.asarray(contract.action.scale, np.float32)


def expected_action(
    contract: PolicyContract, obs: np.ndarray, images: Mapping[str, np.ndarray]
) -> np.ndarray:
    """Returns what the ONNX file of `write_onnx` computes, in numpy: scale tanh(obs W + mean)."""
    w, scale = weights(contract)
    brightness = sum(np.mean(x / 255.0, axis=(1, 2, 3)) for x in images.values())
    return np.tanh(obs @ w + np.reshape(brightness, (-1, 1))) * scale


def write_onnx(
    path: Path,
    contract: PolicyContract,
    metadata: Mapping[str, str] | None = None,
    matrix: np.ndarray | None = None,
) -> Path:
    """Writes a small policy and returns its path.

    ``metadata`` replaces the contract's entry, ``matrix`` (P, J) the random weights.
    """
    w, scale = weights(contract)
    w = w if matrix is None else matrix.astype(np.float32)
    nodes = [helper.make_node("MatMul", ["obs", "w"], ["sum0"])]
    inputs = [helper.make_tensor_value_info("obs", TensorProto.FLOAT, ["B", contract.size])]
    constants = {
        "w": w,
        "scale": scale,
        "axes": np.array([1, 2, 3]),
        "last": np.array([1]),
        "full": np.array(255, np.float32),
    }
    for i, c in enumerate(contract.cameras):
        shape = ["B", c.height, c.width, 3]
        inputs.append(helper.make_tensor_value_info(c.name, TensorProto.UINT8, shape))
        nodes += [
            helper.make_node("Cast", [c.name], [f"float{i}"], to=TensorProto.FLOAT),
            helper.make_node("ReduceMean", [f"float{i}", "axes"], [f"mean{i}"], keepdims=0),
            helper.make_node("Div", [f"mean{i}", "full"], [f"unit{i}"]),
            helper.make_node("Unsqueeze", [f"unit{i}", "last"], [f"column{i}"]),
            helper.make_node("Add", [f"sum{i}", f"column{i}"], [f"sum{i + 1}"]),
        ]
    nodes.append(helper.make_node("Tanh", [f"sum{len(contract.cameras)}"], ["squashed"]))
    nodes.append(helper.make_node("Mul", ["squashed", "scale"], ["action"]))
    graph = helper.make_graph(
        nodes,
        "policy",
        inputs,
        [helper.make_tensor_value_info("action", TensorProto.FLOAT, ["B", len(scale)])],
        [onnx.numpy_helper.from_array(x, name) for name, x in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    helper.set_model_props(
        model, dict(metadata) if metadata is not None else {METADATA_KEY: to_json(contract)}
    )
    onnx.save(model, path)
    return path


def with_joints(contract: PolicyContract, joints: tuple[str, ...]) -> PolicyContract:
    """Returns the contract with other joint names."""
    return replace(contract, action=replace(contract.action, joints=joints))
