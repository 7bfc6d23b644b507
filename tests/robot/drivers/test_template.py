"""The driver to copy and the guard agree on what may be sent at the ends of joints."""

from dataclasses import replace

import numpy as np
import pytest

from mjx_s2r.robot.clock import RealClock, VirtualClock
from mjx_s2r.robot.collect.actors import motion_contract
from mjx_s2r.robot.controller import ControllerConfig, run
from mjx_s2r.robot.driver import DriverInfo
from mjx_s2r.robot.drivers.template import COUNTS, MIDDLE, MyRobot
from mjx_s2r.robot.safety import SafetyConfig
from tests.robot.fakes import FakeDriver, FakePolicy, contract_for, info_for

BEYOND = -1.62  # rad, where the shoulder rests; its end is at -1.6
SLOW = SafetyConfig(ramp_s=0.0, speed_fraction=0.25)  # 0.75 rad/s, 15 mrad per command


def test_a_joint_that_rests_beyond_its_end_comes_back_at_the_allowed_speed() -> None:
    robot, sent = MyRobot(), list[float]()
    robot.connect()
    robot._open().goal(np.round(np.array([BEYOND, 0, 0]) * COUNTS + MIDDLE).astype(int))
    robot.connect()
    write = robot.write

    def noted(command: np.ndarray) -> None:
        write(command)
        sent.append(float(command[0]))

    robot.write = noted  # type: ignore[method-assign]
    policy = FakePolicy(motion_contract(robot.describe(), 50.0), lambda _: np.zeros(3))
    config = ControllerConfig(duration_s=0.3, safety=SLOW)
    assert run(robot, policy, RealClock(), config).reason == "duration"
    assert sent[0] == pytest.approx(BEYOND, abs=1 / COUNTS) and sent[-1] > -1.5
    steps = np.diff(sent)
    assert np.all(steps >= 0) and steps.max() <= 0.75 / 50 + 1e-6
    for wrong in (-1.7, BEYOND):  # farther out than it rested; and where it does not rest any more
        with pytest.raises(ValueError, match="outside"):
            write(np.array([wrong, 0, 0]))


class Strict(FakeDriver):
    """A robot that refuses what lies beyond its data sheet by a bit."""

    def describe(self) -> DriverInfo:
        """Returns limits none of which a float32 can hold."""
        info, effort = info_for(self.contract), self.contract.action.mode == "effort"
        ends = {} if effort else {"low": (-0.7, -1.6), "high": (0.7, 1.6)}
        return replace(info, max_effort=(0.1, 2.9), **ends)  # type: ignore[arg-type]

    def write(self, command: np.ndarray) -> None:
        """Takes a command in its limits."""
        info = self.describe()
        effort = info.command == "effort"
        low = -np.array(info.max_effort) if effort else np.array(info.low)
        high = np.array(info.max_effort) if effort else np.array(info.high)
        wide = command.astype(float)
        if np.any(wide < low) or np.any(wide > high):
            raise ValueError(f"command {wide} is outside {low} to {high}")
        self.commands.append(command)
        if not effort:
            self.position = wide


@pytest.mark.parametrize("mode", ["position", "effort"])
@pytest.mark.parametrize("side", [-9.0, 9.0])
def test_the_whole_range_may_be_used_and_no_bit_more(mode: str, side: float) -> None:
    plain = contract_for(mode)  # type: ignore[arg-type]
    ends = (0.1, 2.9) if mode == "effort" else (0.7, 1.6)
    low = tuple(-x for x in ends)
    action = replace(plain.action, low=low, high=ends, max_effort=(0.1, 2.9), kp=())
    clock = VirtualClock(100.0)
    driver = Strict(replace(plain, action=action), clock.now_s)
    driver.position = np.array([0.70001, 1.60001]) * np.sign(side)  # noise beyond the end
    policy = FakePolicy(driver.contract, lambda _: np.full(2, side))
    safety = SafetyConfig(ramp_s=0.0, soft_limit=1.0)
    summary = run(driver, policy, clock, ControllerConfig(duration_s=3.0, safety=safety))
    assert summary.reason == "duration"
    np.testing.assert_allclose(driver.commands[-1], np.sign(side) * np.array(ends), rtol=1e-6)
