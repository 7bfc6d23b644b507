"""One task of the payoff study: robots, their logs, identification, trainings and verdicts.

The robots are stand-ins in C MuJoCo of one reality. Each is flown, its log goes to `train
identify`, and what comes of that is a posterior as a file. Trainings differ only in the table that
they are given and in the schedule over it, so those on one table share one compiled program. Every
policy is exported and judged on robots through controller and guard, as `evaluate` does.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import jax
import jax.numpy as jnp

from mjx_s2r.api.policy import TrainedPolicy, export_policy
from mjx_s2r.curriculum.mixture import choice
from mjx_s2r.curriculum.registry import CurriculumConfig
from mjx_s2r.envs.registry import make_task, task_spec
from mjx_s2r.eval.robot_episodes import JudgedRobot
from mjx_s2r.learn.ppo.ppo import make_ppo
from mjx_s2r.learn.trainer import Trainer
from mjx_s2r.params.ranges import changed_space, read_ranges
from mjx_s2r.sim.backends.physics_config import PhysicsConfig
from mjx_s2r.sim.env import Env
from mjx_s2r.sim.env import make as make_native_env
from mjx_s2r.sim.task import Task
from train.studies.curricula_run import begin_with
from train.studies.robots import make_robots


@dataclass(frozen=True)
class Method:
    """What a training draws its worlds from.

    Attributes:
        curriculum: name of the schedule.
        identified: whether its table is that of the robot's posterior instead of the task's.
    """

    curriculum: str
    identified: bool


METHODS = {
    "nominal": Method("none", identified=False),
    "wide": Method("uniform", identified=False),
    "adr": Method("adr", identified=False),
    "identified": Method("none", identified=True),
    "posterior": Method("initial", identified=True),
    "posterior_adr": Method("adr", identified=True),
}


@dataclass(frozen=True, eq=False)
class Bench:
    """A task's environment and its robots, each built once.

    Attributes:
        task: the task.
        env: what is trained in; its table is the task's.
        robots: the stand-ins.
    """

    task: Task
    env: Env
    robots: tuple[JudgedRobot, ...]


def make_bench(name: str, reality: Path, count: int) -> Bench:
    """Returns the bench of a task with the first ``count`` robots of a reality file.

    Raises:
        ParamError, ConfigError, ModelError, TaskError: as `stand_ins`.
    """
    task = make_task(name)
    robots = make_robots(task, reality, count)
    env = make_native_env(task, PhysicsConfig("auto"), task_spec(name).ppo.num_envs)
    return Bench(task, env, robots)


def make_trainer(
    bench: Bench, name: str, methods: Sequence[str], posterior: Path | None
) -> Trainer:
    """Returns the trainer whose curriculum is a choice among ``methods``, in their order.

    Args:
        bench: of the task.
        name: of the task.
        methods: names in `METHODS`.
        posterior: posterior.json whose ranges the identified ones start from.
    """
    space = bench.env.space
    tables = {False: space.pinned()}
    if posterior is not None:
        tables[True] = changed_space(space.pinned(), read_ranges(posterior))
    parts = [
        CurriculumConfig(METHODS[m].curriculum).build(tables[METHODS[m].identified])
        for m in methods
    ]
    return Trainer(bench.env, choice(parts), make_ppo(task_spec(name).ppo, bench.env))


def train_policy(trainer: Trainer, which: int, iterations: int, seed: int, path: Path) -> float:
    """Trains one policy and exports it; returns its success in training at the end."""
    state = begin_with(trainer, jnp.int32(which), jax.random.key(seed))
    for _ in range(iterations):
        state, _metrics = trainer.iterate(state)
    path.parent.mkdir(parents=True, exist_ok=True)
    export_policy(TrainedPolicy(trainer, state), path)
    return float(trainer.curriculum.report(state.curriculum).plain_score)
