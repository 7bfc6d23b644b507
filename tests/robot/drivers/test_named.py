"""Drivers by name: what a name leads to, and what a wrong one says."""

import re

import pytest

from mjx_s2r.contract import ContractError
from mjx_s2r.robot.clock import VirtualClock
from mjx_s2r.robot.drivers.bench import BenchRobot
from mjx_s2r.robot.drivers.named import open_driver
from mjx_s2r.robot.drivers.template import MyRobot
from mjx_s2r.robot.drivers.udp import UdpRobot
from tests.robot.fakes import contract_for

CONTRACT = contract_for()


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("bench", BenchRobot),
        ("udp://127.0.0.1:9870", UdpRobot),
        ("mjx_s2r.robot.drivers.template:MyRobot", MyRobot),  # a class that takes nothing
        ("mjx_s2r.robot.drivers.bench:bench_factory", BenchRobot),
    ],
)
def test_a_name_leads_to_a_driver(name: str, kind: type) -> None:
    assert isinstance(open_driver(name, CONTRACT, VirtualClock()), kind)


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        ("bnech", {}, "did you mean 'bench'"),
        ("standin", {}, "did you mean 'stand-in'"),
        ("udb://1.2.3.4:5", {}, "did you mean 'udp'"),
        ("zzz", {}, "known: bench, stand-in, udp, lerobot, replay, ros2, module:factory"),
        ("bench:3", {}, "must read bench"),
        ("lerobot", {}, "must read lerobot:MODULE.FUNCTION"),
        ("lerobot:no_such.make", {}, "must name a function"),
        ("lerobot:tests.robot.fakes.contract_for", {}, "calibration=FILE"),
        ("lerobot:tests.robot.fakes.contract_for", {"calibraton": "x"}, "mean 'calibration'"),
        ("replay:missing.log", {}, "missing.log does not exist"),
        ("ros2", {"controller": "pid"}, "must be 'forward' or 'trajectory'"),
        ("udp", {}, "must read udp://HOST:PORT"),
        ("udp://host:port", {}, "must read HOST:PORT"),
        ("no_such_module:x", {}, "cannot import 'no_such_module'"),
        ("mjx_s2r.robot.drivers.template:MyRobo", {}, "did you mean 'MyRobot'"),
        ("mjx_s2r.robot.clock:VirtualClock", {}, "a VirtualClock without describe"),
        ("bench", {"latencyms": "3"}, "did you mean 'latency_ms'"),
        ("bench", {"seed": "x"}, "seed='x' must be a number"),
    ],
)
def test_a_wrong_name_is_refused(name: str, options: dict[str, str], said: str) -> None:
    with pytest.raises(ContractError, match=re.escape(said)):
        open_driver(name, CONTRACT, VirtualClock(), options)
