"""Worlds of training as robots: their numbers, starts and returns, and the verdict against them."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

import mujoco
import numpy as np
import pytest

from mjx_s2r.contract import CameraSignal, ContractError, PolicyContract, TrainedRange
from mjx_s2r.eval.reality import Reality
from mjx_s2r.eval.robot_episodes import EvalConfig, JudgedRobot, RobotEpisode, run_episodes
from mjx_s2r.eval.simulated_worlds import simulated_worlds, trained_bounds
from mjx_s2r.eval.stand_ins import stand_ins
from mjx_s2r.eval.task_judge import TaskJudge
from mjx_s2r.params import ParamSpace, scale
from mjx_s2r.robot.controller import ControllerConfig
from mjx_s2r.robot.log.reader import read
from mjx_s2r.robot.policy import Policy
from mjx_s2r.robot.safety import SafetyConfig
from mjx_s2r.sim.task import Task
from tests.eval.toy_task import SPACE, ToyArm
from tests.robot.fakes import write_onnx
from train import evaluate

TASK = cast(Task, ToyArm())
RANGES = (
    TrainedRange("mass", "1", 1.0, 0.8, 1.5),
    TrainedRange("noise", "rad", 0.0, 0.0, 0.05),
    TrainedRange("adversary", "1", 0.0, 0.0, 0.1),
    TrainedRange("hue", "rad", 0.0, 0.0, 0.1),
)
CONTRACT = replace(TASK.contract, ranges=RANGES)


@dataclass
class Still:
    """A policy that moves nothing."""

    contract: PolicyContract

    def act(self, obs: np.ndarray, images: Mapping[str, np.ndarray]) -> np.ndarray:
        """Returns no change."""
        return np.zeros(2, np.float32)


def played(robots: list[JudgedRobot], logs: Path | None = None) -> list[RobotEpisode]:
    """Returns one episode on each robot."""
    control = ControllerConfig(TASK.episode_s, SafetyConfig(ramp_s=0.0))
    rules = EvalConfig(TASK.hold_s, success_reward=3.0, controller=control, logs=logs)
    return list(run_episodes(cast(Policy, Still(TASK.contract)), robots, 1, rules))


def test_rows_lie_in_the_ranges_and_starts_are_the_robots(tmp_path: Path) -> None:
    worlds = list(simulated_worlds(TASK, CONTRACT, [7, 8, 9]))
    masses = [world.model.body("fore").mass[0] for world in worlds]
    assert len(set(masses)) == 3 and all(0.08 <= mass <= 0.15 for mass in masses)
    (plain,) = simulated_worlds(TASK, CONTRACT, [7], nominal=True)
    assert plain.model.body("fore").mass[0] == pytest.approx(0.1)
    (robot,) = stand_ins(TASK, [Reality(name="other", count=1, first=7, rows={"mass": 0.6})])
    played([worlds[0], plain, robot], tmp_path)
    logs = [read(tmp_path / name) for name in ("simulation_0.flight", "nominal_world_0.flight")]
    ball = read(tmp_path / "other_7.flight").signal("ball")[0]
    for log in logs:
        np.testing.assert_array_equal(log.signal("ball")[0], ball)


def test_the_return_is_the_sum_of_the_tasks_rewards(tmp_path: Path) -> None:
    """The toy pays minus the distance of tip and ball, which the log of a flawless robot holds."""
    (world,) = simulated_worlds(TASK, CONTRACT, [3], nominal=True)
    (episode,) = played([world], tmp_path)
    log = read(tmp_path / "nominal_world_0.flight")
    apart = np.linalg.norm(log.signal("tip") - log.signal("ball"), axis=1)
    assert len(apart) == episode.steps == 50  # what the last command led to is judged, not logged
    last = 2 * apart[-1] - apart[-2]
    expected = -apart[1:].sum() - last + 3.0 * episode.success
    assert episode.episode_return == pytest.approx(expected, abs=2e-3)


@pytest.mark.slow
def test_pictures_are_the_trainings() -> None:
    """Visual rows act, though MuJoCo's own camera knows nothing of brightness."""
    bright = scale("bright", "visual.brightness", (), (0.5, 1.5))
    task = cast(Task, ToyArm(space=ParamSpace((*SPACE.rows, bright))))
    dim = TrainedRange("bright", "1", 1.0, 0.5, 0.6)
    camera = CameraSignal("eye", 12, 16, 25.0)
    contract = replace(CONTRACT, cameras=(camera,), ranges=(dim,))
    (plain,) = simulated_worlds(task, contract, [5], nominal=True)
    (world,) = simulated_worlds(task, contract, [5])
    assert plain.camera is not None and world.camera is not None
    data = mujoco.MjData(plain.model)
    mujoco.mj_forward(plain.model, data)
    one, other = (w.camera(plain.model, data, "eye") for w in (plain, world) if w.camera)
    assert one.shape == (12, 16, 3) and one.dtype == np.uint8 and one.std() > 1
    assert 0.3 < other.mean() / one.mean() < 0.8


def test_a_policy_of_another_table_is_refused() -> None:
    strange = replace(CONTRACT, ranges=(TrainedRange("masss", "1", 1.0, 0.8, 1.5),))
    with pytest.raises(ContractError, match="'masss'; did you mean 'mass'"):
        trained_bounds(TASK, strange)


def test_evaluate_says_a_verdict(tmp_path: Path) -> None:
    policy = write_onnx(tmp_path / "p.onnx", CONTRACT)
    task = ["--task", "tests.eval.toy_task:ToyArm"]
    few = ["--count", "2", "--episodes", "1", "--simulated", "2"]
    evaluate.main(["--policy", str(policy), *task, *few])
    told = json.loads((tmp_path / "p.evaluation.json").read_text())
    assert told["simulation"]["episodes"] == 4 and told["simulation"]["groups"] == 2
    assert told["verdict"]["sentence"].startswith(told["verdict"]["word"])


def test_the_robots_figures_stay_where_the_verdict_is_interrupted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*given: object, **more: object) -> None:
        raise KeyboardInterrupt

    policy = write_onnx(tmp_path / "p.onnx", CONTRACT)
    monkeypatch.setattr(evaluate, "evaluate_in_simulation", interrupted)
    words = ["--policy", str(policy), "--task", "tests.eval.toy_task:ToyArm", "--count", "1"]
    with pytest.raises(KeyboardInterrupt):
        evaluate.main([*words, "--episodes", "1"])
    told = json.loads((tmp_path / "p.evaluation.json").read_text())
    assert told["episodes"] == 1 and "verdict" not in told and told["policy"] == str(policy)


def test_the_judge_of_a_world_knows_its_rows() -> None:
    (world,) = simulated_worlds(TASK, CONTRACT, [11])
    assert isinstance(world.judge, TaskJudge)
    values = world.judge._values
    assert set(values) == {"mass", "noise"} and 0 < values["noise"] <= 0.05
