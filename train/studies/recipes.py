"""Recipes: how the policy of an arm is made, by the verbs that a user would take.

Every training is a run folder of its own with checkpoints, so a study that was killed goes on in
the middle of a training.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from mjx_s2r.api.policy import TrainedPolicy, export_policy
from mjx_s2r.api.student import StudentConfig, train_student
from mjx_s2r.api.teacher import TeacherConfig, recipe, train_teacher
from mjx_s2r.curriculum.registry import CurriculumConfig
from mjx_s2r.envs.registry import task_spec
from mjx_s2r.io.run import BOUNDS, METRICS, POLICY, read_jsonl
from mjx_s2r.learn.trainer import Trainer, TrainState
from mjx_s2r.sim.backends.physics_config import PhysicsConfig
from train.studies.plan import Job, Made, Preset

LINES = 50  # of a training's log, at most about so many
INPUTS = 200  # random inputs on which ONNX Runtime must agree with JAX
PLAIN = CurriculumConfig("none")


@dataclass(frozen=True)
class StatePolicy:
    """PPO with an actor that reads what the robot has; it is exported as it is.

    Attributes:
        curriculum: schedule of the ranges.
        ranges: ranges of rows instead of the task's, as a command line has them.
        keeps_bounds: whether the study looks at the ranges over the training.
        name: of the training; empty: the arm's. Arms that name one share it.
    """

    curriculum: CurriculumConfig = PLAIN
    ranges: tuple[str, ...] = ()
    keeps_bounds: bool = False
    name: str = ""

    def make(self, job: Job) -> Made:
        """Trains and exports the policy."""
        with job.making(self.name) as run:
            config = teacher_settings(job, run, self.curriculum, self.ranges, "state")
            trainer, state = train_teacher(config)
            policy = export(trainer, state, run)
        bounds = read_jsonl(run / BOUNDS) if self.keeps_bounds else ()
        return Made(policy, steps_of(config), curve_of(run), bounds)


@dataclass(frozen=True)
class TeacherRecipe:
    """A privileged teacher; arms whose teachers have one name share it.

    Attributes:
        name: of it.
        curriculum: schedule of the ranges.
        ranges: ranges of rows instead of the task's.
    """

    name: str
    curriculum: CurriculumConfig = PLAIN
    ranges: tuple[str, ...] = ()

    def train(self, job: Job) -> TeacherConfig:
        """Trains it if nobody has; returns the settings of its training."""
        with job.making(f"teacher_{self.name}") as run:
            config = teacher_settings(job, run, self.curriculum, self.ranges, "privileged")
            train_teacher(config)
        return config


@dataclass(frozen=True)
class CameraPolicy:
    """A camera student of a privileged teacher.

    Attributes:
        name: of its training; arms of studies that share a folder share it, too.
        teacher: whom it learns from; worlds have the ranges that the teacher reached.
        curriculum: schedule of the looks.
        acts: who acts while it learns.
        ranges: ranges of rows instead of those.
    """

    name: str
    teacher: TeacherRecipe
    curriculum: CurriculumConfig = PLAIN
    acts: Literal["mixture", "student", "teacher"] = "mixture"
    ranges: tuple[str, ...] = ()

    def make(self, job: Job) -> Made:
        """Trains teacher and student and exports the student."""
        with job.making(self.name) as run:
            return self._make(job, run)

    def _make(self, job: Job, run: Path) -> Made:
        """Trains and exports into a folder."""
        taught = self.teacher.train(job)
        distill = job.preset.distill or task_spec(job.preset.task).distill
        named = self.curriculum
        config = StudentConfig(
            teacher=taught.run,
            run=run,
            seed=job.seed,
            curriculum=named.kind,
            rows=tuple(named.rows),
            mix=named.mix,
            adr=named.adr,
            schedules=named.schedules,
            range=self.ranges,
            distill=replace(distill, acts=self.acts),
            log_every=log_every(distill.iterations),
            keep=1,
            resume=True,
        )
        trainer, state = train_student(config)
        policy = export(trainer, state, run)
        steps = steps_of(taught) + distill.iterations * distill.num_envs * distill.num_steps
        return Made(policy, steps, curve_of(run))


def teacher_settings(
    job: Job, run: Path, curriculum: CurriculumConfig, ranges: tuple[str, ...], reads: str
) -> TeacherConfig:
    """Returns the settings of a PPO training of a study.

    Args:
        job: says task, sizes and seed.
        run: folder of the training.
        curriculum: schedule of the ranges.
        ranges: ranges of rows instead of the task's.
        reads: what the actor reads: "state" or "privileged".
    """
    preset = job.preset
    config = recipe(preset.task)
    return replace(
        config,
        run=run,
        seed=job.seed,
        iterations=preset.iterations,
        curriculum=curriculum.kind,
        rows=tuple(curriculum.rows),
        mix=curriculum.mix,
        adr=curriculum.adr,
        schedules=curriculum.schedules,
        range=ranges,
        log_every=log_every(preset.iterations),
        keep=1,
        resume=True,
        physics=PhysicsConfig(preset.engine),
        ppo=replace(preset.ppo or config.ppo, actor_obs=reads),
    )


def export(trainer: Trainer, state: TrainState, run: Path) -> Path:
    """Writes the policy of a run into its folder; returns the file."""
    return export_policy(TrainedPolicy(trainer, state), run / POLICY, inputs=INPUTS).path


def steps_of(config: TeacherConfig) -> int:
    """Returns the environment steps of a PPO training."""
    return config.iterations * config.ppo.num_envs * config.ppo.num_steps


def curve_of(run: Path) -> Sequence[Mapping[str, Any]]:
    """Returns step, environment steps and success of each line of a run's metrics."""
    names = ("step", "env_steps", "success")
    return [{name: row.get(name) for name in names} for row in read_jsonl(run / METRICS)]


def plain_preset(preset: Preset) -> Preset:
    """Returns a preset whose settings of PPO are written out, so that a run's settings say them."""
    return replace(preset, ppo=preset.ppo or task_spec(preset.task).ppo)


def log_every(iterations: int) -> int:
    """Returns how many iterations lie between two lines."""
    return max(1, iterations // LINES)
