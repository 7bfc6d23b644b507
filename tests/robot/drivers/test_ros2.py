"""The ROS 2 driver against a fake of the calls of rclpy that it uses."""

import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

from mjx_s2r.contract import CameraSignal, ContractError
from mjx_s2r.robot.clock import VirtualClock
from mjx_s2r.robot.controller import ControllerConfig, run
from mjx_s2r.robot.driver import check
from mjx_s2r.robot.drivers.ros2 import RosRobot
from mjx_s2r.robot.safety import SafetyConfig
from mjx_s2r.robot.watchdog.config import WatchdogConfig
from tests.robot.fakes import CAMERA, FakePolicy, contract_for

Message = SimpleNamespace


class FakeRos:
    """What a robot behind ROS would do: it answers commands, and speaks when it is told to."""

    def __init__(self) -> None:
        """Starts silent."""
        self.subscriptions: dict[str, Callable[[Any], None]] = {}
        self.published: list[tuple[str, Any]] = []
        self.time_ns = 5_000_000_000
        self.first: dict[str, Any] = {}  # what comes as soon as somebody listens
        self.nodes = 0

    def create_node(self, name: str) -> "FakeRos":
        """Returns itself as the node."""
        self.nodes += 1
        return self

    def create_subscription(self, kind: type, topic: str, callback: Any, quality: Any) -> None:
        """Keeps the callback."""
        self.subscriptions[topic] = callback

    def create_publisher(self, kind: type, topic: str, depth: int) -> Any:
        """Returns a publisher that writes down."""
        return SimpleNamespace(publish=lambda message: self.published.append((topic, message)))

    def get_clock(self) -> Any:
        """Returns the ROS clock."""
        return SimpleNamespace(now=lambda: SimpleNamespace(nanoseconds=self.time_ns))

    def destroy_node(self) -> None:
        """Counts."""
        self.nodes -= 1

    def say(self, topic: str, message: Any) -> None:
        """Delivers a message."""
        self.subscriptions[topic](message)


@pytest.fixture
def ros(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeRos]:
    """A machine with ROS."""
    fake = FakeRos()
    state = {"ok": False}

    class Executor:
        """Delivers the first messages, then sleeps until it is shut down."""

        def __init__(self) -> None:
            self.over = threading.Event()

        def add_node(self, node: Any) -> None:
            """Does nothing."""

        def spin(self) -> None:
            """Runs in the driver's thread."""
            for topic, message in fake.first.items():
                fake.say(topic, message)
            self.over.wait(10)

        def shutdown(self) -> None:
            """Ends `spin`."""
            self.over.set()

    def module(name: str, **content: Any) -> None:
        made = ModuleType(name)
        made.__dict__.update(content)
        monkeypatch.setitem(sys.modules, name, made)

    module(
        "rclpy",
        ok=lambda: state["ok"],
        init=lambda: state.update(ok=True),
        shutdown=lambda: state.update(ok=False),
        create_node=fake.create_node,
    )
    module("rclpy.executors", SingleThreadedExecutor=Executor)
    module("rclpy.qos", qos_profile_sensor_data="best effort")
    for package, names in {
        "sensor_msgs": ("JointState", "Image"),
        "std_msgs": ("Float64MultiArray",),
        "trajectory_msgs": ("JointTrajectory", "JointTrajectoryPoint"),
        "builtin_interfaces": ("Duration",),
    }.items():
        module(package)
        module(f"{package}.msg", **{name: type(name, (Message,), {}) for name in names})
    yield fake
    assert fake.nodes == 0 and not state["ok"]


def stamped(**content: Any) -> Any:
    """Returns a message that is a tenth of a second old when ROS time is 5 s."""
    stamp = SimpleNamespace(sec=4, nanosec=900_000_000)
    return Message(header=SimpleNamespace(stamp=stamp), **content)


def joints(a: float, b: float, **content: Any) -> Any:
    """Returns joint states with one joint more, in another order."""
    content = {"velocity": [], "effort": []} | content
    return stamped(name=["b", "wheel", "a"], position=[b, 9.0, a], **content)


def image_of(picture: np.ndarray, encoding: str, padding: int = 0) -> Any:
    """Returns a picture as a message, with unused bytes at the end of each row."""
    rows = picture.reshape(len(picture), -1).view(np.uint8)
    data = np.pad(rows, ((0, 0), (0, padding))).tobytes()
    step = rows.shape[1] + padding
    height, width = picture.shape[:2]
    size = {"height": height, "width": width, "step": step}
    return stamped(encoding=encoding, is_bigendian=0, data=data, **size)


def test_readings(ros: FakeRos) -> None:
    clock = VirtualClock(100.0)
    picture = np.random.default_rng(0).integers(0, 256, (8, 6, 3), np.uint8)
    ros.first = {
        "/joint_states": joints(0.1, 0.2, velocity=[2.0, 0.0, 1.0], effort=[4.0, 0.0, 3.0]),
        "/front/image_raw": image_of(picture[..., ::-1].copy(), "bgr8", padding=2),
    }
    contract = contract_for(cameras=True)
    robot = RosRobot(contract, clock)
    check(contract, robot.describe())
    robot.connect()
    reading = robot.read()
    np.testing.assert_array_equal(reading.signals["joint_pos"], [0.1, 0.2])
    np.testing.assert_array_equal(reading.signals["joint_vel"], [1.0, 2.0])
    np.testing.assert_array_equal(reading.signals["joint_effort"], [3.0, 4.0])
    np.testing.assert_array_equal(reading.images["front"], picture)
    assert reading.time_s == pytest.approx(99.9) and reading.image_time_s["front"] == 99.9
    robot.close()
    robot.close()


def test_depth(ros: FakeRos) -> None:
    camera = CameraSignal("deep", 4, 3, 10.0, kind="depth", near=0.1, far=2.0)
    metres = np.linspace(0, 2, 12, dtype=np.float32).reshape(4, 3)
    ros.first = {"/joint_states": joints(0, 0), "/d": image_of(metres, "32FC1")}
    contract = replace(contract_for(), cameras=(camera,))
    robot = RosRobot(contract, VirtualClock(), images={"deep": "/d"})
    robot.connect()
    np.testing.assert_array_equal(robot.read().images["deep"], metres)
    ros.say("/d", image_of(metres, "yuv422"))
    with pytest.raises(ContractError, match="encoding 'yuv422'"):
        robot.read()
    robot.close()


def test_commands(ros: FakeRos) -> None:
    ros.first = {"/joint_states": joints(0, 0)}
    robot = RosRobot(contract_for(), VirtualClock())
    robot.stop()
    robot.connect()
    robot.write(np.array([0.1, 0.2]))
    robot.stop()
    robot.close()
    assert [topic for topic, _ in ros.published] == ["/policy_controller/commands"] * 3
    assert all(message.data == [0.1, 0.2] for _, message in ros.published)
    robot = RosRobot(contract_for(), VirtualClock(), controller="trajectory", commands="/go")
    robot.connect()
    robot.write(np.array([0.3, 0.4]))
    with pytest.raises(ContractError, match="not sent"):
        robot.write(np.array([np.nan, 0.4]))
    robot.close()
    topic, message = ros.published[3]
    assert (topic, message.joint_names) == ("/go", ["a", "b"])
    assert message.points[0].positions == [0.3, 0.4]
    assert message.points[0].time_from_start.nanosec == 100_000_000


def test_efforts_end_at_zero(ros: FakeRos) -> None:
    ros.first = {"/joint_states": joints(0, 0)}
    robot = RosRobot(contract_for("effort"), VirtualClock())
    robot.connect()
    robot.write(np.array([1.0, 2.0]))
    robot.close()
    assert ros.published[-1][1].data == [0.0, 0.0]
    with pytest.raises(ContractError, match="no efforts"):
        RosRobot(contract_for("effort"), VirtualClock(), controller="trajectory")


def test_the_controller_flies_it(ros: FakeRos) -> None:
    ros.first = {"/joint_states": joints(0.3, -0.2)}
    clock, contract = VirtualClock(), contract_for()
    robot = RosRobot(contract, clock)
    robot.connect()
    write = robot.write

    def answer(command: np.ndarray) -> None:
        write(command)
        ros.time_ns = 5_000_000_000
        message = joints(*command.tolist())
        message.header.stamp = SimpleNamespace(sec=5, nanosec=0)
        clock.advance(0.001)
        ros.say("/joint_states", message)

    robot.write = answer  # type: ignore[method-assign]
    policy = FakePolicy(contract, lambda obs: [0.05, 0.05])
    summary = run(robot, policy, clock, ControllerConfig(1.0, SafetyConfig(ramp_s=0.0)))
    robot.close()
    assert summary.steps >= 8 and len(ros.published) >= 8


def test_what_does_not_fit_is_refused(ros: FakeRos) -> None:
    contract = replace(contract_for(), cameras=(CAMERA,))
    ros.first = {"/joint_states": joints(0, 0)}
    with pytest.raises(ContractError, match=r"no message on /front/image_raw within 0\.02 s"):
        RosRobot(contract, VirtualClock(), wait_s=0.02).connect()
    ros.first = {"/joint_states": stamped(name=["x"], position=[0], velocity=[], effort=[])}
    with pytest.raises(ContractError, match=r"no joint \['a', 'b'\], only \['x'\]"):
        RosRobot(contract_for(), VirtualClock(), wait_s=0.02).connect()


def test_another_publishers_joint_states_are_passed_by(ros: FakeRos) -> None:
    """A gripper that publishes its joint alone ends no flight, and makes no reading young."""
    clock = VirtualClock(100.0)
    ros.first = {"/joint_states": joints(0.1, 0.2)}
    robot = RosRobot(contract_for(), clock)
    robot.connect()
    whole = robot.read()
    clock.advance(1.0)
    ros.say("/joint_states", stamped(name=["b"], position=[7.0], velocity=[], effort=[]))
    assert robot.read().time_s == whole.time_s
    np.testing.assert_array_equal(robot.read().signals["joint_pos"], [0.1, 0.2])
    ros.say("/joint_states", joints(0.3, 0.4))
    np.testing.assert_array_equal(robot.read().signals["joint_pos"], [0.3, 0.4])
    robot.close()


def test_it_is_read_as_often_as_other_robots() -> None:
    """So that a reading is not older than a quarter of a period when the controller takes it."""
    contract = contract_for()
    info = RosRobot(contract, VirtualClock()).describe()
    assert WatchdogConfig().reading_hz(50.0, 5 * info.max_hz) == 200.0
    assert info.max_hz == 4 * contract.control_hz
    assert RosRobot(contract, VirtualClock(), max_hz=500.0).describe().max_hz == 500.0


def test_without_ros_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rclpy", None)
    with pytest.raises(ContractError, match=r"setup\.bash"):
        RosRobot(contract_for(), VirtualClock()).connect()
