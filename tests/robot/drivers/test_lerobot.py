"""The driver of LeRobot's robots against one of our own that follows LeRobot's interface."""

import math
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from mjx_s2r.contract import ContractError, PolicyContract
from mjx_s2r.robot.calibration import JointCalibration
from mjx_s2r.robot.clock import VirtualClock
from mjx_s2r.robot.controller import ControllerConfig, run
from mjx_s2r.robot.driver import check
from mjx_s2r.robot.drivers.lerobot import CommandChangedError, LeRobotRobot
from mjx_s2r.robot.drivers.pictures import resize
from mjx_s2r.robot.safety import SafetyConfig
from tests.robot.fakes import FakePolicy, contract_for

RANGES = {"left": (1024, 3072), "right": (0, 4095)}  # encoder counts
CALIBRATION = (
    JointCalibration("b", "right", range_min=0, range_max=4095),
    JointCalibration("a", "left", range_min=1024, range_max=3072, sign=-1, zero=0.1),
)


class FakeArm:
    """Two servos and a camera with LeRobot's interface: encoder counts, values of -100 to 100."""

    name = "fake_arm"

    def __init__(self, max_relative_target: float | None = None, height: int = 8) -> None:
        """Starts at the middle of both ranges, unconnected."""
        self.counts = {name: (low + high) // 2 for name, (low, high) in RANGES.items()}
        self.config = SimpleNamespace(
            max_relative_target=max_relative_target, disable_torque_on_disconnect=True
        )
        self.cameras = {"front": SimpleNamespace(fps=30, latest_timestamp=None)}
        self.is_connected, self.is_calibrated, self.has_torque = False, True, True
        self.frame: Any = np.zeros((height, 6, 3), np.uint8)
        self.sent: list[dict[str, float]] = []
        self.height = height

    @property
    def observation_features(self) -> dict[str, Any]:
        """Names and types of the observation."""
        return {"left.pos": float, "right.pos": float, "front": (self.height, 6, 3)}

    @property
    def action_features(self) -> dict[str, Any]:
        """Names and types of the action."""
        return {"left.pos": float, "right.pos": float}

    def connect(self, calibrate: bool = True) -> None:
        """Connects; a robot that would ask for a calibration must not be asked to."""
        assert not calibrate
        self.is_connected = True

    def value(self, motor: str) -> float:
        """Returns a motor's value, RANGE_M100_100."""
        low, high = RANGES[motor]
        return 200 * (self.counts[motor] - low) / (high - low) - 100

    def get_observation(self) -> dict[str, Any]:
        """Returns values and the newest picture."""
        if not self.is_connected:
            raise ConnectionError("not connected")
        return {f"{m}.pos": self.value(m) for m in RANGES} | {"front": self.frame}

    def send_action(self, action: dict[str, float]) -> dict[str, float]:
        """Moves at once, in whole counts, clipped as LeRobot does; returns what was sent."""
        sent = {}
        for key, goal in action.items():
            motor, most = key.removesuffix(".pos"), self.config.max_relative_target
            if most is not None:
                goal = min(max(goal, self.value(motor) - most), self.value(motor) + most)
            low, high = RANGES[motor]
            self.counts[motor] = int((min(max(goal, -100), 100) + 100) / 200 * (high - low) + low)
            sent[key] = goal
        self.sent.append(sent)
        return sent

    def disconnect(self) -> None:
        """Switches the torque off if that is set."""
        self.is_connected = False
        self.has_torque = not self.config.disable_torque_on_disconnect


def contract_of_two(cameras: bool = False) -> PolicyContract:
    """Returns the fakes' contract without effort limits, which LeRobot's robots lack."""
    contract = contract_for(cameras=cameras)
    action = replace(contract.action, max_effort=(np.inf, np.inf), kp=())
    return replace(contract, action=action)


def connected(arm: FakeArm, **settings: Any) -> tuple[LeRobotRobot, VirtualClock, list[str]]:
    """Returns a connected driver, its clock, and what it said."""
    said: list[str] = []
    clock = VirtualClock()
    driver = LeRobotRobot(arm, CALIBRATION, clock, say=said.append, **settings)
    driver.connect()
    return driver, clock, said


def test_counts_become_radians_in_the_policys_order() -> None:
    arm = FakeArm()
    driver, _, said = connected(arm, contract=contract_of_two())
    arm.counts = {"left": 2548, "right": 1000}
    signals = driver.read().signals
    turn = 2 * math.pi / 4096
    expected = [0.1 - turn * (2548 - 2048), turn * (1000 - 2047.5)]
    np.testing.assert_allclose(signals["joint_pos"], expected, atol=1e-9)
    check(contract_of_two(), driver.describe())
    assert "a <- left (range_m100_100, turned around): -1.471 to +1.671" in said[0]
    driver.close()
    driver.connect()
    assert len(said) == 1  # shown at the first use


def test_a_command_arrives_within_a_count() -> None:
    arm = FakeArm()
    driver, clock, _ = connected(arm, contract=contract_of_two())
    for target in ([0.5, -0.3], [-0.9, 0.9]):
        driver.write(np.array(target, np.float32))
        clock.advance(0.1)
        got = driver.read().signals["joint_pos"]
        np.testing.assert_allclose(got, target, atol=2 * math.pi / 4096)


def test_the_controller_flies_it() -> None:
    arm = FakeArm()
    driver, clock, _ = connected(arm, contract=contract_of_two(cameras=True))
    policy = FakePolicy(contract_of_two(), lambda obs: [0.05, -0.05])
    config = ControllerConfig(1.0, SafetyConfig(ramp_s=0.0))
    summary = run(driver, policy, clock, config)
    assert summary.steps > 8 and arm.value("left") < -1 and arm.value("right") < -1


def test_clipped_targets_raise() -> None:
    arm = FakeArm(max_relative_target=5.0)
    driver, _, _ = connected(arm)
    driver.write(driver.read().signals["joint_pos"])
    with pytest.raises(CommandChangedError, match="max_relative_target"):
        driver.write(np.array([1.0, 0.0]))


@pytest.mark.parametrize("target", [[4.0, 0.0], [0.0, -1.6], [math.nan, 0.0], [math.inf, 0.0]])
def test_what_lerobot_would_clip_is_not_sent(target: list[float]) -> None:
    arm = FakeArm()
    driver, _, _ = connected(arm)
    with pytest.raises(CommandChangedError, match="outside -100 to 100"):
        driver.write(np.array(target))
    assert not arm.sent


def test_a_lost_frame_is_the_last_one_with_its_old_stamp() -> None:
    arm = FakeArm()
    driver, clock, _ = connected(arm)
    arm.frame = None
    assert "front" not in driver.read().images
    arm.frame = np.full((8, 6, 3), 7, np.uint8)
    clock.advance(1.0)
    assert driver.read().image_time_s["front"] == 1.0
    for frame in (None, arm.frame, arm.frame.copy()):
        arm.frame = frame
        clock.advance(1.0)
        reading = driver.read()
        assert reading.image_time_s["front"] == 1.0 and reading.images["front"][0, 0, 0] == 7
    arm.frame[:] = 8  # the camera wrote into the same memory
    assert driver.read().image_time_s["front"] == clock.now_s()


@pytest.mark.parametrize("hole", [0.5, np.nan])
def test_a_depth_picture_that_came_before_is_old(hole: float) -> None:
    arm = FakeArm()
    arm.frame = np.full((8, 6, 1), 0.5, np.float32)
    arm.frame[0, 0] = hole  # depth that is not known
    driver, clock, _ = connected(arm)
    first_s = driver.read().image_time_s["front"]
    clock.advance(1.0)
    arm.frame = arm.frame.copy()
    assert driver.read().image_time_s["front"] == first_s
    arm.frame = arm.frame + np.float32(0.1)
    assert driver.read().image_time_s["front"] == clock.now_s()


def test_velocity_is_filtered_differences() -> None:
    """At a constant speed the filter comes up as 1 - exp(-t / tau)."""
    arm = FakeArm()
    driver, clock, _ = connected(arm, velocity_s=0.05)
    driver.read()
    speed = 40 * 2 * math.pi / 4096 / 0.02
    for k in range(1, 10):
        arm.counts["right"] += 40
        clock.advance(0.02)
        got = driver.read().signals["joint_vel"][0]
        assert got == pytest.approx(speed * (1 - math.exp(-0.02 * k / 0.05)), rel=1e-6)


def test_uncalibrated_robots_are_refused() -> None:
    arm = FakeArm()
    arm.is_calibrated = False
    with pytest.raises(ContractError, match="not calibrated"):
        connected(arm)


def test_other_names_are_refused() -> None:
    wrong = (replace(CALIBRATION[0], motor="rihgt"), CALIBRATION[1])
    with pytest.raises(ContractError, match=r"no motor \['rihgt'\]; it has \['left', 'right'\]"):
        LeRobotRobot(FakeArm(), wrong, VirtualClock())
    with pytest.raises(ContractError, match=r"no joint \['b'\]"):
        LeRobotRobot(FakeArm(), CALIBRATION[1:], VirtualClock(), contract=contract_of_two())


def test_degrees_are_found_at_the_first_reading() -> None:
    """A robot opened with degrees, and a calibration that takes them for radians."""
    arm = FakeArm()
    arm.counts["left"] = 2900
    wrong = tuple(replace(x, unit="radians") for x in CALIBRATION)
    driver = LeRobotRobot(arm, wrong, VirtualClock(), contract=contract_of_two(), say=print)
    with pytest.raises(ContractError, match="look like degrees"):
        driver.connect()


def test_stop_and_close_never_drop_the_arm() -> None:
    arm = FakeArm()
    unopened = LeRobotRobot(arm, CALIBRATION, VirtualClock())
    unopened.stop()
    unopened.close()
    driver, _, said = connected(arm)
    driver.stop()
    assert not arm.sent
    driver.write(np.array([0.2, 0.1]))
    driver.stop()
    driver.stop()
    assert arm.sent[0] == arm.sent[1] == arm.sent[2]
    arm.send_action = lambda action: 1 / 0  # type: ignore[method-assign,assignment,return-value]
    driver.close()
    assert "servos hold it" in said[-1] and arm.has_torque and not arm.is_connected


def test_pictures_come_in_the_policys_size() -> None:
    arm = FakeArm(height=32)
    arm.frame = np.arange(32 * 6 * 3, dtype=np.uint8).reshape(32, 6, 3)
    driver, _, _ = connected(arm, contract=contract_of_two(cameras=True))
    assert driver.read().images["front"].shape == (8, 6, 3)
    check(contract_of_two(cameras=True), driver.describe())


def test_resize_is_the_mean_of_each_area() -> None:
    image = np.random.default_rng(0).integers(0, 256, (12, 8, 3), np.uint8)
    expected = image.reshape(3, 4, 2, 4, 3).mean(axis=(1, 3))
    np.testing.assert_allclose(resize(image, 3, 2), expected, atol=0.51)
    np.testing.assert_array_equal(resize(image, 4, 4), resize(image[2:10], 4, 4, "squash"))
    depth = np.array([[0, 1, 2, 3], [4, 5, 6, 7]], np.float32)
    assert set(resize(depth, 1, 2).ravel()) <= set(depth.ravel())


def test_lerobots_own_arm_follows_the_interface() -> None:
    """Where LeRobot is installed, its SO-101 has every name that the driver uses."""
    robots = pytest.importorskip("lerobot.robots.so_follower")
    for name in ("observation_features", "action_features", "is_connected", "is_calibrated"):
        assert isinstance(getattr(robots.SO101Follower, name), property) or hasattr(
            robots.SO101Follower, name
        )
    for name in ("connect", "get_observation", "send_action", "disconnect"):
        assert callable(getattr(robots.SO101Follower, name))
