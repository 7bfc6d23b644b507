"""The stand-in as a named driver: the robot of the contract's task, flown in virtual time."""

from dataclasses import replace

import numpy as np
import pytest

from mjx_s2r.contract import ContractError
from mjx_s2r.envs.registry import make_task
from mjx_s2r.robot.clock import VirtualClock
from mjx_s2r.robot.controller import ControllerConfig, homing, run
from mjx_s2r.robot.driver import EpisodicDriver, TaskRules
from mjx_s2r.robot.drivers.named import open_driver
from mjx_s2r.robot.verdict import DISTANCE, LOST, ON_GOAL

CONTRACT = replace(make_task("reach").contract, cameras=())


def test_it_is_the_tasks_robot_and_goes_home() -> None:
    clock = VirtualClock()
    driver = open_driver("stand-in", CONTRACT, clock, {"seed": "3"})
    driver.connect()
    assert driver.describe().joints == CONTRACT.action.joints
    summary = run(driver, homing(CONTRACT), clock, ControllerConfig(duration_s=6.0))
    assert summary.reason == "duration"
    joints = driver.read().signals["joint_pos"][: len(CONTRACT.action.joints)]
    # The servos sag under the weight of the arm.
    np.testing.assert_allclose(joints, CONTRACT.action.home, atol=0.1)
    driver.close()


def test_it_knows_its_task_and_begins_episodes_anew() -> None:
    clock, task = VirtualClock(), make_task("reach")
    driver = open_driver("stand-in", CONTRACT, clock, {"seed": "3"})
    driver.connect()
    assert isinstance(driver, EpisodicDriver)
    assert driver.describe().task == TaskRules(task.episode_s, task.hold_s)
    starts, ways = [], []
    for number in (1, 2, 1):
        driver.begin_episode(number)
        signals = driver.read().signals
        starts.append(signals["joint_pos"])
        ways.append(float(signals[DISTANCE][0]))
        assert signals[ON_GOAL].tolist() == signals[LOST].tolist() == [0.0]
    np.testing.assert_array_equal(starts[0], starts[2])
    assert ways[0] == ways[2] != ways[1] and 0.02 < ways[0] < 0.6  # m, on a small arm's table
    driver.close()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"sead": "3"}, "'sead' is none of task, reality, robots, seed"),
        ({"robots": "real"}, "must be held_out or rehearsal"),
        ({"seed": "x"}, "no stand-in for task 'reach'"),
        ({"task": "reech"}, "did you mean 'reach'"),
        ({"reality": "/no/such.toml"}, "no stand-in for task 'reach'"),
    ],
)
def test_what_cannot_be_built_is_one_sentence(options: dict[str, str], said: str) -> None:
    with pytest.raises(ContractError, match=said):
        open_driver("stand-in", CONTRACT, VirtualClock(), options)


def test_a_task_of_ones_own_is_told_how_it_is_named() -> None:
    mine = replace(CONTRACT, task="my_arm")
    with pytest.raises(ContractError, match=r"unknown task 'my_arm'.*--option task=module:Class"):
        open_driver("stand-in", mine, VirtualClock(), {})
