"""Evaluation of an exported policy on a task's simulated robots.

The file runs through controller, guard and driver, as on a real robot.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np

from mjx_s2r.eval.intervals import wilson
from mjx_s2r.eval.robot_episodes import (
    EvalConfig,
    JudgedRobot,
    RobotEpisode,
    interventions,
    run_episodes,
)
from mjx_s2r.io.run import check_local
from mjx_s2r.render.cameras import RayCamera
from mjx_s2r.robot.controller import ControllerConfig
from mjx_s2r.robot.drivers.sim_robot import can_render
from mjx_s2r.robot.policy import Policy
from mjx_s2r.robot.safety import SafetyConfig
from mjx_s2r.runtime.progress import console, progress


@dataclass(frozen=True)
class EvaluateConfig:
    """Settings of an evaluation."""

    policy: Path = Path("runs/student/policy.onnx")
    """The exported policy."""
    task: str = ""
    """Its task, a name or module:Class; empty: the name in the policy's contract."""
    robots: Literal["held_out", "rehearsal"] = "held_out"
    """Which robots: held out for the verdict, rehearsal for development."""
    count: int = 10
    """Number of robots."""
    episodes: int = 20
    """Episodes on each."""
    logs: Path | None = None
    """Folder for flight logs."""
    films: int = 1
    """Episodes per robot whose frames are kept."""
    safety: SafetyConfig = field(default_factory=lambda: SafetyConfig(ramp_s=0.3))
    """Settings of the guard."""


def robots(task: str, family: str, count: int) -> list[JudgedRobot]:
    """Returns the robots that a task is judged on.

    Raises:
        ParamError: the task has none.
    """
    from mjx_s2r.envs.registry import robots_of

    make = getattr(robots_of(task), family)
    return [make(index) for index in range(count)]


def evaluate_on_robots(config: EvaluateConfig) -> list[RobotEpisode]:
    """Runs every episode; shows progress."""
    if config.logs is not None:
        check_local(config.logs)
    from mjx_s2r.envs.registry import make_task

    policy = Policy.load(config.policy)
    if policy.contract.engine == "c":
        console.print(
            "trained in C MuJoCo, which also moves the stand-ins: they differ by their numbers and "
            "flaws, not by their engine"
        )
    name = config.task or policy.contract.task
    task = make_task(name)
    camera = None
    if policy.contract.cameras and not can_render():
        console.print("no OpenGL here: the robots' cameras use this project's own renderer")
        camera = RayCamera(policy.contract)
    rules = EvalConfig(
        camera=camera,
        hold_s=task.hold_s,
        films=config.films,
        logs=config.logs,
        controller=ControllerConfig(task.episode_s, config.safety),
    )
    chosen = robots(name, config.robots, config.count)
    done: list[RobotEpisode] = []
    total = config.count * config.episodes
    with progress(f"on {config.robots} robots", total) as bar:
        for episode in run_episodes(policy, chosen, config.episodes, rules):
            done.append(episode)
            good = sum(e.success for e in done)
            if len(done) % 10 == 0 or len(done) == total:
                bar.update(len(done), f"success {good / len(done):.2f}")
    return done


def summary(episodes: Sequence[RobotEpisode]) -> dict[str, object]:
    """Returns the figures of an evaluation as JSON values."""
    good = sum(e.success for e in episodes)
    act_us = 1e6 * np.concatenate([e.act_s for e in episodes])
    per_robot: dict[str, list[int]] = {}
    for episode in episodes:
        per_robot.setdefault(episode.robot, []).append(int(episode.success))
    return {
        "episodes": len(episodes),
        "successes": good,
        "success": good / len(episodes),
        "interval": list(wilson(good, len(episodes))),
        "per_robot": {name: float(np.mean(x)) for name, x in per_robot.items()},
        "steps": sum(e.steps for e in episodes),
        "interventions": dict(interventions(episodes)),
        "overruns": sum(e.overruns for e in episodes),
        "act_p50_us": float(np.percentile(act_us, 50)),
        "act_p99_us": float(np.percentile(act_us, 99)),
    }
