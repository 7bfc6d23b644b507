"""Drivers by name: what a name leads to, and what a wrong one says."""

import json
import math
import re
from pathlib import Path

import pytest

from mjx_s2r.contract import ContractError
from mjx_s2r.robot.cli.robots import RobotChoice, open_unknown
from mjx_s2r.robot.clock import VirtualClock
from mjx_s2r.robot.collect.actors import motion_contract
from mjx_s2r.robot.controller import ControllerConfig, homing, run
from mjx_s2r.robot.drivers.bench import BenchRobot
from mjx_s2r.robot.drivers.lerobot import LeRobotRobot
from mjx_s2r.robot.drivers.named import open_driver
from mjx_s2r.robot.drivers.replay import ReplayDriver
from mjx_s2r.robot.drivers.ros2 import RosRobot
from mjx_s2r.robot.drivers.template import MyRobot
from mjx_s2r.robot.drivers.udp import UdpRobot
from mjx_s2r.robot.log import FlightLog
from tests.robot.drivers.test_lerobot import RANGES, FakeArm, contract_of_two
from tests.robot.fakes import contract_for

CONTRACT = contract_for()
CALIBRATED = {"drive_mode": 0, "homing_offset": 0, "range_min": 1000, "range_max": 3000}


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("bench", BenchRobot),
        ("udp://127.0.0.1:9870", UdpRobot),
        ("mjx_s2r.robot.drivers.template:MyRobot", MyRobot),  # a class that takes nothing
        ("mjx_s2r.robot.drivers.bench:bench_factory", BenchRobot),
        ("ros2", RosRobot),
    ],
)
def test_a_name_leads_to_a_driver(name: str, kind: type) -> None:
    assert isinstance(open_driver(name, CONTRACT, VirtualClock()), kind)


def test_a_lerobot_arm_has_a_name(tmp_path: Path) -> None:
    path = tmp_path / "arm.json"
    path.write_text(json.dumps({m: CALIBRATED | {"id": i} for i, m in enumerate(RANGES)}))
    name = "lerobot:tests.robot.drivers.test_lerobot:FakeArm"
    options = {"calibration": str(path), "names": "left=a,right=b", "max_hz": "50"}
    driver = open_driver(name, contract_of_two(), VirtualClock(), options)
    assert isinstance(driver, LeRobotRobot)
    assert (driver.describe().joints, driver.describe().max_hz) == (("a", "b"), 50)


class LeftArm(FakeArm):
    """One of two arms of a kind."""

    id = "left"


def test_two_robots_of_a_kind_are_two_robots(tmp_path: Path) -> None:
    """What one has earned, or has latched, is not the other's."""
    path = tmp_path / "arm.json"
    path.write_text(json.dumps({m: CALIBRATED | {"id": i} for i, m in enumerate(RANGES)}))
    options = {"calibration": str(path), "names": "left=a,right=b"}
    arms = [
        open_driver(f"lerobot:{module}:{kind}", contract_of_two(), VirtualClock(), options)
        for module, kind in (
            ("tests.robot.drivers.test_lerobot", "FakeArm"),
            ("tests.robot.drivers.test_named", "LeftArm"),
        )
    ]
    assert [arm.describe().name for arm in arms] == ["fake_arm", "fake_arm-left"]
    ways = ({}, {"name": "left"}, {"commands": "/left/go"}, {"joint_states": "/left/joints"})
    names = [open_driver("ros2", CONTRACT, VirtualClock(), x).describe().name for x in ways]
    assert names == ["ros2", "left", "ros2 /left/go", "ros2 /left/joints"]


def test_an_arm_of_lerobot_moves_without_a_policy(tmp_path: Path) -> None:
    """Its joints and their ends come from the calibration."""
    path = tmp_path / "arm.json"
    path.write_text(json.dumps({m: CALIBRATED | {"id": i} for i, m in enumerate(RANGES)}))
    name = "lerobot:tests.robot.drivers.test_lerobot:FakeArm"
    options = {"calibration": str(path)}
    info = open_unknown(RobotChoice(name, options), VirtualClock()).describe()
    contract = motion_contract(info, 25.0)
    assert contract.action.joints == tuple(RANGES)
    assert contract.action.high == pytest.approx([2000 / 4096 * math.pi] * 2)
    assert open_driver(name, contract, VirtualClock(), options).describe() == info
    with pytest.raises(ContractError, match="'ros2' takes joints and limits from a policy's"):
        open_unknown(RobotChoice("ros2", {}), VirtualClock())


def test_a_log_has_a_name(tmp_path: Path) -> None:
    clock, path = VirtualClock(), tmp_path / "a.flight"
    robot = BenchRobot(CONTRACT, clock)
    robot.connect()
    with FlightLog(path, CONTRACT, "bench") as log:
        run(robot, homing(CONTRACT), clock, ControllerConfig(duration_s=1.0), log)
    again = open_driver(f"replay:{path}", CONTRACT, clock)
    assert isinstance(again, ReplayDriver)
    again.connect()
    assert sorted(again.read().signals) == ["joint_pos", "joint_vel"]


def test_a_driver_that_cannot_be_made_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the error's own words and place; nothing has moved."""
    (tmp_path / "my_driver_of_a_test.py").write_text(
        "def make():\n    raise OSError('no arm on the bus')\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    words = r"OSError: no arm on the bus \(.*my_driver_of_a_test\.py:2\); is the robot connected"
    with pytest.raises(ContractError, match=words):
        open_driver("my_driver_of_a_test:make", CONTRACT, VirtualClock())


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        ("bnech", {}, "did you mean 'bench'"),
        ("standin", {}, "did you mean 'stand-in'"),
        ("udb://1.2.3.4:5", {}, "did you mean 'udp'"),
        ("zzz", {}, "known: bench, stand-in, udp, replay, lerobot, ros2, module:factory"),
        ("bench:3", {}, "must read bench"),
        ("udp", {}, "must read udp://HOST:PORT"),
        ("udp://host:port", {}, "must read HOST:PORT"),
        ("no_such_module:x", {}, "cannot import 'no_such_module'"),
        ("mjx_s2r.robot.drivers.template:MyRobo", {}, "did you mean 'MyRobot'"),
        ("mjx_s2r.robot.clock:VirtualClock", {}, "a VirtualClock without describe"),
        ("bench", {"latencyms": "3"}, "did you mean 'latency_ms'"),
        ("replay:/no/such.flight", {}, "nothing to replay: /no/such.flight"),
        ("replay:x", {"speed": "2"}, "this driver has none"),
        ("replay", {}, "must read replay:LOG"),
        ("lerobot:a:b", {}, "calibration=FILE"),
        ("lerobot:a:b", {"calibrate": "x"}, "did you mean 'calibration'"),
        ("ros2", {"controller": "x"}, "is forward or trajectory"),
        ("bench", {"seed": "x"}, "seed='x' must be a number"),
    ],
)
def test_a_wrong_name_is_refused(name: str, options: dict[str, str], said: str) -> None:
    with pytest.raises(ContractError, match=re.escape(said)):
        open_driver(name, CONTRACT, VirtualClock(), options)
