"""Judging of exported policies on families of robots, each robot built once for all policies.

Every episode runs through controller, guard and ONNX file, by the rules of `train evaluate`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mjx_s2r.envs.registry import make_task
from mjx_s2r.eval.reality import load_reality
from mjx_s2r.eval.robot_episodes import EvalConfig, JudgedRobot, RobotEpisode, run_episodes
from mjx_s2r.eval.stand_ins import stand_ins
from mjx_s2r.render.cameras import RayCamera
from mjx_s2r.robot.controller import ControllerConfig
from mjx_s2r.robot.drivers.sim_robot import can_render
from mjx_s2r.robot.policy import Policy
from mjx_s2r.robot.safety import SafetyConfig
from mjx_s2r.sim.task import Task

RAMP_S = 0.3  # as `train evaluate` has it


@dataclass(frozen=True, eq=False)
class RobotFamilies:
    """Families of robots of one task.

    Attributes:
        task: the task.
        families: place -> its robots.
        rules: of an episode.
    """

    task: Task
    families: Mapping[str, Sequence[JudgedRobot]]
    rules: EvalConfig


def make_rules(task: Task) -> EvalConfig:
    """Returns the rules of a task's episodes."""
    control = ControllerConfig(task.episode_s, SafetyConfig(ramp_s=RAMP_S))
    return EvalConfig(hold_s=task.hold_s, controller=control)


def make_robots(task: Task, reality: Path, count: int, first: int = 0) -> tuple[JudgedRobot, ...]:
    """Returns ``count`` robots of a reality file, or one of each file of a folder of them.

    Args:
        task: the task.
        reality: file, or folder of files whose order is that of their names.
        count: how many.
        first: number of the first robot of a file; other numbers are other robots.

    Raises:
        ParamError, ConfigError, ModelError, TaskError: as `stand_ins`.
    """
    if reality.is_dir():
        files = sorted(reality.iterdir())[:count]
        return tuple(stand_ins(task, [replace(load_reality(file), count=1) for file in files]))
    return tuple(stand_ins(task, [replace(load_reality(reality), count=count, first=first)]))


def make_families(name: str, places: Mapping[str, Path], count: int) -> RobotFamilies:
    """Returns the families of robots of a task, ``count`` of each.

    Raises:
        ParamError, ConfigError, ModelError, TaskError: as `stand_ins`.
    """
    task = make_task(name)
    families = {place: make_robots(task, file, count) for place, file in places.items()}
    return RobotFamilies(task, families, make_rules(task))


def fly_policy(
    rules: EvalConfig, path: Path, robot: JudgedRobot, episodes: int, logs: Path | None = None
) -> list[RobotEpisode]:
    """Returns the episodes of an exported policy on a robot; ``logs`` gets the first one's log."""
    policy = Policy.load(path)
    rules = replace(rules, logs=logs)
    if policy.contract.cameras and not can_render():
        rules = replace(rules, camera=RayCamera(policy.contract))
    return [*run_episodes(policy, [robot], episodes, rules)]


def robot_verdict(robot: JudgedRobot, episodes: Sequence[RobotEpisode]) -> dict[str, Any]:
    """Returns a row's figures: robot, episodes, successes and their share."""
    good = sum(e.success for e in episodes)
    return {
        "robot": robot.name,
        "episodes": len(episodes),
        "successes": good,
        "success": good / len(episodes),
    }
