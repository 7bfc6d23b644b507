"""Episodes on a simulated robot: how long they last, what is filmed, and what counts."""

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import cast

import mujoco
import numpy as np
import pytest

from mjx_s2r.contract import PolicyContract
from mjx_s2r.eval.robot_episodes import (
    EvalConfig,
    GoalState,
    JudgedRobot,
    RobotEpisode,
    mean_wear,
    run_episodes,
)
from mjx_s2r.robot.controller import ControllerConfig
from mjx_s2r.robot.drivers.imperfections import Imperfections
from mjx_s2r.robot.policy import Policy
from mjx_s2r.robot.safety import SafetyConfig
from tests.robot.drivers.test_sim_robot import MODEL
from tests.robot.fakes import contract_for

SAFETY = SafetyConfig(ramp_s=0.0)


@dataclass
class Forward:
    """Moves the first joint forward."""

    contract: PolicyContract

    def act(self, obs: np.ndarray, images: Mapping[str, np.ndarray]) -> np.ndarray:
        """Returns a step of the first joint."""
        assert set(images) == {camera.name for camera in self.contract.cameras}
        return np.array((0.1, 0.0), np.float32)


@dataclass
class Beyond:
    """Asks for the first joint beyond 0.2 rad, from zero; all is lost beyond ``lost`` rad."""

    lost: float = 9.0
    state: GoalState = field(default_factory=GoalState)
    sizes: Mapping[str, int] = field(default_factory=dict)
    courses: bool = False
    loads: bool = False

    def begin(self, seed: int) -> Callable[[mujoco.MjModel, mujoco.MjData], None]:
        """Begins at zero."""
        return lambda model, data: None

    def note(self, action: np.ndarray) -> None:
        """Checks that an action is told as a share of its scale."""
        np.testing.assert_allclose(action, (1.0, 0.0), rtol=1e-6)

    def read(
        self, model: mujoco.MjModel, data: mujoco.MjData, qpos: np.ndarray, qvel: np.ndarray
    ) -> Mapping[str, np.ndarray]:
        """Reads nothing, and looks where the joint is."""
        here = float(data.joint("a").qpos[0])
        self.state = GoalState(here > 0.2, here > self.lost)
        return {}

    def course(self, command: np.ndarray) -> np.ndarray:
        """Leaves the command as it is."""
        return command[None]

    def load(self, model: mujoco.MjModel, data: mujoco.MjData) -> None:
        """Does nothing."""


ROBOT = JudgedRobot("toy", MODEL, MODEL, Imperfections(), Beyond())


def picture(model: mujoco.MjModel, data: mujoco.MjData, name: str) -> np.ndarray:
    """Returns a black picture."""
    return np.zeros((8, 6, 3), np.uint8)


def episodes(
    cameras: bool, duration_s: float, hold_s: float, robot: JudgedRobot = ROBOT
) -> list[RobotEpisode]:
    """Returns two episodes, the first of them filmed where there is a camera."""
    rules = EvalConfig(
        hold_s=hold_s,
        films=1,
        camera=picture,
        controller=ControllerConfig(duration_s, SAFETY),
    )
    policy = cast(Policy, Forward(contract_for(cameras=cameras)))
    return list(run_episodes(policy, [robot], 2, rules))


@pytest.mark.parametrize("duration_s", [0.5, 1.2])
def test_an_episode_lasts_as_long_as_its_controller_says(duration_s: float) -> None:
    for episode in episodes(cameras=False, duration_s=duration_s, hold_s=100.0):
        assert episode.reason == "time over" and not episode.success
        assert episode.steps == round(10 * duration_s)


def test_a_goal_that_is_held_ends_it_as_a_success() -> None:
    for episode in episodes(cameras=False, duration_s=5.0, hold_s=0.3):
        assert episode.success and episode.reason == "success"
        assert 3 <= episode.steps < 20


def test_a_task_that_is_lost_ends_it() -> None:
    robot = JudgedRobot("toy", MODEL, MODEL, Imperfections(), Beyond(lost=0.25))
    for episode in episodes(cameras=False, duration_s=5.0, hold_s=2.0, robot=robot):
        assert not episode.success and episode.reason == "task failed" and episode.steps < 20


def test_the_guards_reason_is_told() -> None:
    contract = contract_for()
    tight = replace(contract.signals[0], high=0.15)
    policy = cast(Policy, Forward(replace(contract, signals=(tight, *contract.signals[1:]))))
    rules = EvalConfig(1.0, controller=ControllerConfig(5.0, SAFETY))
    (episode,) = run_episodes(policy, [ROBOT], 1, rules)
    assert episode.reason == "stopped by the guard: range joint_pos" and not episode.success


def test_only_a_camera_films() -> None:
    assert [e.frames for e in episodes(cameras=False, duration_s=0.5, hold_s=1.0)] == [None, None]
    first, second = episodes(cameras=True, duration_s=0.5, hold_s=1.0)
    assert first.frames is not None and first.frames.shape[1:] == (8, 6, 3)
    assert second.frames is None


def test_what_wears_the_robot_is_told_of_commands_and_true_places() -> None:
    """A command that goes from the middle to where the guard ends it, by the joint's stop."""
    narrow = copy.deepcopy(MODEL)
    narrow.jnt_range[narrow.joint("a").id] = -1.0, 1.0
    robot = JudgedRobot("narrow", narrow, narrow, Imperfections(), Beyond())
    first, second = episodes(cameras=False, duration_s=8.0, hold_s=100.0, robot=robot)
    worn, still = mean_wear((first, second))
    assert worn.reversals_hz == still.reversals_hz == still.change == still.parked == 0
    assert worn.change == pytest.approx(0.475 / 80, rel=0.01) and worn.parked_low == 0
    assert worn.parked_high < 0.9
