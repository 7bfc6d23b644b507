"""Episodes on a simulated robot: how long they last, what is filmed, and what counts."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

import mujoco
import numpy as np
import pytest

from mjx_s2r.contract import PolicyContract
from mjx_s2r.eval.robot_episodes import (
    EvalConfig,
    JudgedRobot,
    RobotEpisode,
    StartPose,
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


def beyond(model: mujoco.MjModel, data: mujoco.MjData) -> bool:
    """Returns whether the first joint is beyond 0.2 rad."""
    return bool(data.joint("a").qpos[0] > 0.2)


ROBOT = JudgedRobot(
    "toy", MODEL, Imperfections(), lambda rng: StartPose(np.array((0.0, 0.0)), {}), beyond
)


def picture(model: mujoco.MjModel, data: mujoco.MjData, name: str) -> np.ndarray:
    """Returns a black picture."""
    return np.zeros((8, 6, 3), np.uint8)


def episodes(cameras: bool, duration_s: float, hold_s: float) -> list[RobotEpisode]:
    """Returns two episodes, the first of them filmed where there is a camera."""
    rules = EvalConfig(
        hold_s=hold_s,
        films=1,
        camera=picture,
        controller=ControllerConfig(duration_s, SAFETY),
    )
    policy = cast(Policy, Forward(contract_for(cameras=cameras)))
    return list(run_episodes(policy, [ROBOT], 2, rules))


@pytest.mark.parametrize("duration_s", [0.5, 1.2])
def test_an_episode_lasts_as_long_as_its_controller_says(duration_s: float) -> None:
    for episode in episodes(cameras=False, duration_s=duration_s, hold_s=100.0):
        assert episode.reason == "duration" and not episode.success
        assert episode.steps == round(10 * duration_s)


def test_a_goal_that_is_held_ends_it_as_a_success() -> None:
    for episode in episodes(cameras=False, duration_s=5.0, hold_s=0.3):
        assert episode.success and episode.reason == "until"
        assert 3 <= episode.steps < 20


def test_only_a_camera_films() -> None:
    assert [e.frames for e in episodes(cameras=False, duration_s=0.5, hold_s=1.0)] == [None, None]
    first, second = episodes(cameras=True, duration_s=0.5, hold_s=1.0)
    assert first.frames is not None and first.frames.shape[1:] == (8, 6, 3)
    assert second.frames is None
