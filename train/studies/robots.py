"""Judging of exported policies on families of robots, each robot built once for all policies.

Every episode runs through controller, guard and ONNX file, by the rules of `train evaluate`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mjx_s2r.api.robots import episode_rules
from mjx_s2r.envs.registry import make_task
from mjx_s2r.eval.reality import load_reality
from mjx_s2r.eval.robot_episodes import EvalConfig, JudgedRobot, RobotEpisode, run_episodes
from mjx_s2r.eval.stand_ins import stand_ins
from mjx_s2r.robot.policy import Policy
from mjx_s2r.sim.task import Task


@dataclass(frozen=True, eq=False)
class RobotFamilies:
    """Families of robots of one task.

    Attributes:
        task: the task.
        families: place -> its robots.
    """

    task: Task
    families: Mapping[str, Sequence[JudgedRobot]]


@dataclass(frozen=True, eq=False)
class Pilot:
    """A policy and the rules of its episodes."""

    policy: Policy
    rules: EvalConfig


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
    return RobotFamilies(task, families)


def open_pilot(path: Path, task: Task, logs: Path | None = None) -> Pilot:
    """Returns an exported policy, ready to fly; ``logs`` gets each robot's first log.

    Raises:
        ContractError: a policy that cannot be read.
    """
    policy = Policy.load(path)
    return Pilot(policy, episode_rules(policy.contract, task, logs=logs))


def fly_policy(pilot: Pilot, robot: JudgedRobot, episodes: int) -> list[RobotEpisode]:
    """Returns the episodes of a policy on a robot."""
    return [*run_episodes(pilot.policy, [robot], episodes, pilot.rules)]


def robot_verdict(robot: JudgedRobot, episodes: Sequence[RobotEpisode]) -> dict[str, Any]:
    """Returns a row's figures: robot, episodes, successes and their share."""
    good = sum(e.success for e in episodes)
    return {
        "robot": robot.name,
        "episodes": len(episodes),
        "successes": good,
        "success": good / len(episodes),
    }
