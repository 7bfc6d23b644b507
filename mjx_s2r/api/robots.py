"""Evaluation of an exported policy on stand-ins of a task's robot.

The file runs through controller, guard and driver, as on a real robot.
"""

import hashlib
import inspect
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import mujoco
import numpy as np

from mjx_s2r.api.calibrated_robots import calibrated_cameras
from mjx_s2r.contract import ContractError, PolicyContract
from mjx_s2r.eval.intervals import wilson
from mjx_s2r.eval.kept_episodes import KeptEpisodes
from mjx_s2r.eval.performance import Performance, performance_of
from mjx_s2r.eval.reality import Reality, described, load_reality, robot_seed
from mjx_s2r.eval.robot_episodes import (
    EvalConfig,
    JudgedRobot,
    RobotEpisode,
    episodes_on,
    interventions,
    mean_wear,
)
from mjx_s2r.eval.simulated_worlds import simulated_worlds
from mjx_s2r.eval.stand_ins import default_reality, plain_reality, stand_ins
from mjx_s2r.io.run import check_local
from mjx_s2r.params import ParamError
from mjx_s2r.render.cameras import RayCamera
from mjx_s2r.robot.controller import ControllerConfig
from mjx_s2r.robot.driver import check
from mjx_s2r.robot.drivers.mujoco_wiring import describe, rig_for
from mjx_s2r.robot.drivers.sim_robot import can_render
from mjx_s2r.robot.log.wear import JointWear
from mjx_s2r.robot.policy import Policy
from mjx_s2r.robot.safety import SafetyConfig
from mjx_s2r.robot.stages import policy_digest
from mjx_s2r.robot.verdict import SUCCESS
from mjx_s2r.runtime.progress import console, progress
from mjx_s2r.runtime.shared_jobs import processes_asked, share_jobs
from mjx_s2r.sim.task import Task
from mjx_s2r.transfer.camera.pictures import LEAST_POSES

COUNT = 10  # robots, where nobody says how many
ROBOTS, SIMULATED_WORLDS, NOMINAL_WORLDS = "robots", "simulated worlds", "nominal worlds"  # parts
RAMPED = SafetyConfig(ramp_s=0.3)  # the guard of an evaluation


@dataclass(frozen=True)
class EvaluateConfig:
    """Settings of an evaluation."""

    policy: Path = Path("runs/student/policy.onnx")
    """The exported policy."""
    task: str = ""
    """Its task, a name or module:Class; empty: the name in the policy's contract."""
    reality: Path | None = None
    """Reality file (TOML or JSON, docs/reality.md); absent: the task's own robots, or its model
    with usual flaws and other numbers."""
    robots: Literal["held_out", "rehearsal"] = "held_out"
    """Without a reality file: held out for the verdict, rehearsal for development."""
    count: int | None = None
    """Number of robots; by default as many as the reality file says, or 10."""
    episodes: int = 20
    """Episodes on each."""
    logs: Path | None = None
    """Folder for flight logs."""
    json: Path | None = None
    """Where the figures go; by default beside the policy, as NAME.evaluation.json."""
    calibrate: int = 0
    """Poses from whose pictures each robot's cameras are calibrated before it is judged; 0 takes
    the cameras as they come."""
    films: int = 1
    """Episodes per robot whose frames are kept."""
    safety: SafetyConfig = field(default_factory=lambda: RAMPED)
    """Settings of the guard."""
    processes: int = 1
    """Processes that share the robots, this one among them; 0: one per processor, at most 8.
    Several import the main module, which must then do its work under __name__ == "__main__"."""


def realities(name: str, config: EvaluateConfig) -> list[Reality]:
    """Returns what the robots are made of on which a task is judged.

    Raises:
        ParamError: as `registry.robots_of`; a number of robots or episodes below one.
        ConfigError: a reality file that cannot be used.
    """
    from mjx_s2r.envs.registry import make_task, robots_of

    if 0 < config.calibrate < LEAST_POSES:
        raise ParamError(
            f"calibrate {config.calibrate}: at least {LEAST_POSES} poses tell where a camera is; "
            "give so many, or 0 for none"
        )
    for setting, value in (("count", config.count), ("episodes", config.episodes)):
        if value is not None and value < 1:
            raise ParamError(f"{setting} {value} must be at least 1")
    if config.processes < 0:
        raise ParamError(f"processes {config.processes} must be at least 0 (0: one per processor)")
    if config.reality is not None:
        found = load_reality(config.reality)
        return [found if config.count is None else replace(found, count=config.count)]
    suite, count = robots_of(name), config.count or COUNT
    if suite is not None:
        return [getattr(suite, config.robots)(index) for index in range(count)]
    if config.robots == "rehearsal":
        return [plain_reality(count)]
    return [default_reality(make_task(name), count)]


def evaluate_on_robots(
    config: EvaluateConfig, kept: KeptEpisodes | None = None
) -> list[RobotEpisode]:
    """Runs every episode; shows what the robots are, and progress.

    Args:
        config: settings.
        kept: where episodes are kept as they end; those that are there are not run again.

    Raises:
        ParamError, ConfigError, ModelError, TaskError: as `realities` and `stand_ins.stand_ins`.
        ContractError: a policy that cannot be read, of another task, or that does not fit.
    """
    evaluation = _Evaluation(config, ROBOTS)
    for line in _introduced(evaluation.policy.contract, evaluation.task, evaluation.chosen):
        console.print(line, highlight=False, markup=False)
    return _run(evaluation, kept)


def evaluation_settings(config: EvaluateConfig) -> dict[str, Any]:
    """Returns what a verdict depends on beside the policy; a reality file counts by its content."""
    own = ("policy", "task", "logs", "json", "processes")
    found = {name: value for name, value in asdict(config).items() if name not in own}
    if config.reality is not None:
        found["reality"] = f"{config.reality.name}, sha256 {_digest(config.reality.read_bytes())}"
    return found


def kept_episodes(config: EvaluateConfig, path: Path) -> KeptEpisodes:
    """Returns the episodes that an evaluation has kept in ``path``, if they are still true.

    They are where policy, settings, the task's file and its model are what they were.

    Raises:
        ContractError, ParamError, ConfigError: as `open_policy` and `realities`.
    """
    policy, task = open_policy(config.policy, config.task)
    realities(config.task or policy.contract.task, config)
    written = getattr(task, "unwrapped", task)
    model = np.zeros(mujoco.mj_sizeModel(task.mj_model), np.uint8)
    mujoco.mj_saveModel(task.mj_model, None, model)
    source = inspect.getsourcefile(type(written))
    key = {
        **evaluation_settings(config),
        "policy": policy_digest(config.policy),
        "task": task.name,
        "model": _digest(model.tobytes()),
        "source": _digest(Path(source).read_bytes()) if source else "",
        "version": version("mjx_s2r"),
    }
    return KeptEpisodes(path, key)


def _digest(content: bytes) -> str:
    """Returns the beginning of the sha256 of some bytes."""
    return hashlib.sha256(content).hexdigest()[:16]


def fitting_robots(
    contract: PolicyContract, task: Task, chosen: Sequence[Reality]
) -> Sequence[JudgedRobot]:
    """Returns the robots of realities, after a look whether a policy fits the first of them.

    Raises:
        ParamError, ConfigError, ModelError, TaskError: as `stand_ins.stand_ins`.
        ContractError: a policy that does not fit.
    """
    robots = stand_ins(task, chosen)
    first = robots[0]
    check(contract, describe(first.sheet, replace(rig_for(contract), senses=first.judge)))
    return robots


def evaluate_in_simulation(
    config: EvaluateConfig,
    *,
    episodes: int,
    nominal: bool = False,
    kept: KeptEpisodes | None = None,
) -> list[RobotEpisode]:
    """Runs the same file in worlds of its training, as many as robots, from the robots' starts.

    Args:
        config: settings of the evaluation on the robots.
        episodes: episodes in each world.
        nominal: all of them are the nominal world.
        kept: where episodes are kept as they end; those that are there are not run again.

    Raises:
        ParamError, ConfigError, TaskError: as `realities` and `simulated_worlds.simulated_worlds`.
        ContractError: a policy that cannot be read, of another task, or that does not fit.
    """
    plain = replace(config, episodes=episodes, calibrate=0)
    return _run(_Evaluation(plain, NOMINAL_WORLDS if nominal else SIMULATED_WORLDS), kept)


def open_policy(path: Path, task: str = "") -> tuple[Policy, Task]:
    """Returns a policy and its task, by the name given or by that in its contract.

    Raises:
        ContractError: a policy that cannot be read, or of another task.
        ParamError: a task that no name leads to.
    """
    from mjx_s2r.envs.registry import make_task

    policy = Policy.load(path)
    made = make_task(task or policy.contract.task)
    _check_task(policy.contract, made)
    return policy, made


class _Evaluation:
    """A policy, what it meets, and the rules; built in every process that plays a share of it."""

    def __init__(self, config: EvaluateConfig, part: str) -> None:
        """Prepares one part of an evaluation.

        Raises:
            RunError: a folder for logs that is none.
            Others: as `evaluate_on_robots` and `evaluate_in_simulation`.
        """
        if config.logs is not None:
            check_local(config.logs)
        self.config, self.part = config, part
        self.policy, self.task = open_policy(config.policy, config.task)
        contract = self.policy.contract
        self.chosen = realities(config.task or contract.task, config)
        if part == ROBOTS:
            self.robots = fitting_robots(contract, self.task, self.chosen)
        else:
            seeds = [
                robot_seed(r, r.first + index) for r in self.chosen for index in range(r.count)
            ]
            nominal = part == NOMINAL_WORLDS
            self.robots = simulated_worlds(self.task, contract, seeds, nominal=nominal)
        self._rules = episode_rules(
            contract, self.task, safety=config.safety, films=config.films, logs=config.logs
        )
        self._calibrate = None
        if config.calibrate and contract.cameras:
            self._calibrate = partial(
                calibrated_cameras,
                task=self.task,
                contract=contract,
                poses=config.calibrate,
                camera=self._rules.camera,
            )

    def jobs(self, known: Collection[int]) -> list["Job"]:
        """Returns what is left to do where the episodes of some numbers are known."""
        count = self.config.episodes
        left = [
            (robot, tuple(i for i in range(count) if robot * count + i not in known))
            for robot in range(len(self.robots))
        ]
        return [job for job in left if job[1]]

    def play(self, job: "Job") -> Iterator[tuple[int, RobotEpisode]]:
        """Yields the episodes of one job, with their numbers among all of the part."""
        place, numbers = job
        robot = self.robots[place]
        played = episodes_on(self.policy, robot, numbers, self._rules, self._calibrate)
        for number, episode in zip(numbers, played, strict=True):
            yield place * self.config.episodes + number, episode


Job = tuple[int, tuple[int, ...]]  # a robot's place, and which of its episodes


def _prepared(config: EvaluateConfig, part: str) -> Callable[[Job], Iterator[Any]]:
    """Returns what plays a share of an evaluation in another process."""
    return _Evaluation(config, part).play


def _run(evaluation: _Evaluation, kept: KeptEpisodes | None) -> list[RobotEpisode]:
    """Runs the episodes that are not kept yet; shows progress; returns all in their order."""
    config, part = evaluation.config, evaluation.part
    done = {} if kept is None else kept.episodes(part)
    count = len(evaluation.robots)
    total, before = count * config.episodes, len(done)
    found = share_jobs(
        _prepared,
        (config, part),
        evaluation.jobs(done),
        processes_asked(config.processes),
        evaluation.play,
    )
    with progress(f"{part}: {count}", total, before) as bar, closing(found):
        for number, episode in found:
            done[number] = episode
            if kept is not None:
                kept.add(part, number, episode)
            good = sum(e.success for e in done.values())
            if console.is_terminal or len(done) % 10 == 0 or len(done) in (before + 1, total):
                bar.update(len(done), f"success {good / len(done):.2f}")
    return [done[number] for number in sorted(done)]


def episode_rules(
    contract: PolicyContract,
    task: Task,
    *,
    safety: SafetyConfig = RAMPED,
    films: int = 0,
    logs: Path | None = None,
) -> EvalConfig:
    """Returns the rules of an episode of a task; says so where there is no OpenGL for cameras."""
    camera = None
    if contract.cameras and not can_render():
        console.print("no OpenGL here: the robots' cameras use this project's own renderer")
        camera = RayCamera(contract)
    return EvalConfig(
        camera=camera,
        hold_s=task.hold_s,
        success_reward=task.success_reward,
        films=films,
        logs=logs,
        controller=ControllerConfig(task.episode_s, safety),
    )


def _check_task(contract: PolicyContract, task: Task) -> None:
    """Raises ContractError for a policy that commands other joints than its task's."""
    mine, theirs = contract.action.joints, task.contract.action.joints
    if mine != theirs or contract.action.mode != task.contract.action.mode:
        raise ContractError(
            f"the policy was trained on task {contract.task!r} and commands {contract.action.mode} "
            f"of joints {list(mine)}, task {task.name!r} {task.contract.action.mode} of "
            f"{list(theirs)}; name the policy's own task by --task"
        )


def _introduced(contract: PolicyContract, task: Task, chosen: Sequence[Reality]) -> Iterator[str]:
    """Yields what the robots are, and in what they do not differ from the training."""
    if contract.engine == "c":
        yield (
            "trained in C MuJoCo, which also moves the stand-ins: they differ by their numbers and "
            "flaws, not by their engine"
        )
    if len(chosen) == 1:
        yield from described(chosen[0], task.space)
    else:
        yield f"{len(chosen)} robots of the task's own, {chosen[0].name!r}"


def wear_of(contract: PolicyContract, episodes: Sequence[RobotEpisode]) -> dict[str, JointWear]:
    """Returns joint -> what wore it, over all episodes."""
    return dict(zip(contract.action.joints, mean_wear(episodes), strict=False))


def summary(episodes: Sequence[RobotEpisode]) -> dict[str, object]:
    """Returns the figures of an evaluation as JSON values."""
    good = sum(e.success for e in episodes)
    figures = performance(episodes)
    act_us = 1e6 * np.concatenate([e.act_s for e in episodes])
    return {
        "episodes": len(episodes),
        "successes": good,
        "success": good / len(episodes),
        "interval": list(figures.success.interval),
        "return": figures.episode_return.to_json(),
        "length": figures.length.to_json(),
        "reasons": dict(failures(episodes)),
        "per_robot": per_robot(episodes),
        "steps": sum(e.steps for e in episodes),
        "interventions": dict(interventions(episodes)),
        "overruns": sum(e.overruns for e in episodes),
        "act_p50_us": float(np.percentile(act_us, 50)) if act_us.size else 0.0,
        "act_p99_us": float(np.percentile(act_us, 99)) if act_us.size else 0.0,
    }


def performance(episodes: Sequence[RobotEpisode]) -> Performance:
    """Returns success, return and length of episodes, with their intervals over robots."""
    return performance_of(
        [e.success for e in episodes],
        [e.episode_return for e in episodes],
        [e.steps for e in episodes],
        [e.robot for e in episodes],
    )


def per_robot(episodes: Sequence[RobotEpisode]) -> dict[str, dict[str, object]]:
    """Returns robot -> episodes, successes, their 95 % interval, and why the others failed."""
    out: dict[str, dict[str, object]] = {}
    for name in dict.fromkeys(e.robot for e in episodes):
        mine = [e for e in episodes if e.robot == name]
        good = sum(e.success for e in mine)
        out[name] = {
            "episodes": len(mine),
            "successes": good,
            "interval": list(wilson(good, len(mine))),
            "return": float(np.mean([e.episode_return for e in mine])),
            "length": float(np.mean([e.steps for e in mine])),
            "reasons": dict(failures(mine)),
        }
    return out


def failures(episodes: Sequence[RobotEpisode]) -> Counter[str]:
    """Returns how often episodes failed, by reason."""
    return Counter(e.reason for e in episodes if e.reason != SUCCESS)
