"""Approaches A to D ranked: randomization, identification, teacher and student, progressive.

All end in a policy that reads what the robot has, with one budget of PPO steps. B knows its robot:
a policy without randomization flies it once, the log is identified, and the training stands at what
came out; so it has a training for each robot.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any, cast

from mjx_s2r.api.student import StudentConfig, student_space
from mjx_s2r.api.teacher import load_teacher
from mjx_s2r.curriculum.registry import CurriculumConfig, Uniform
from mjx_s2r.curriculum.uniform import uniform
from mjx_s2r.envs.registry import make_task
from mjx_s2r.eval.robot_episodes import log_name
from mjx_s2r.learn.distill.config import DistillConfig
from mjx_s2r.learn.distill.distillation import make_distillation
from mjx_s2r.learn.distill.teachers import ppo_teacher
from mjx_s2r.learn.ppo.ppo import PPO
from mjx_s2r.learn.trainer import Trainer, fit
from mjx_s2r.params.ranges import as_ranges, read_ranges
from mjx_s2r.sim.env import require_native
from mjx_s2r.transfer.fit import RowFitConfig
from train.studies.conclusions import Cell, Comparison, judged_of, rate_of
from train.studies.identified import BRIEF_FIT, identify_robot
from train.studies.places import CARTPOLE_OTHER, QUICK_CARTPOLE, SWING_UP
from train.studies.plan import Arm, Job, Made, Preset, Row, Study
from train.studies.recipes import (
    PLAIN,
    StatePolicy,
    TeacherRecipe,
    curve_of,
    export,
    log_every,
    steps_of,
)
from train.studies.robots import fly_policy, make_robots, open_pilot

OTHER = "other robots"
A, B, C, D = "A randomization", "B identification", "C teacher-student", "D progressive"
WIDTH = 0.5
# A student without pictures: it remembers, so that it can find out what world it is in.
STUDENT = DistillConfig(
    num_envs=256,
    num_steps=16,
    iterations=60,
    num_minibatches=4,
    learning_rate=2e-3,
    rnn_hidden=32,
    label_weight=0.0,
    place_weight=0.0,
    look_each_step=False,
)


@dataclass(frozen=True)
class IdentifiedPolicy:
    """A policy trained at what was identified of one robot.

    Attributes:
        pilot: whose flight is identified; its trainings are shared.
        fit: settings of the identification.
    """

    pilot: StatePolicy
    fit: RowFitConfig

    def make(self, job: Job) -> Made:
        """Flies the robot, identifies the log, and trains at the best values."""
        posterior = self._posterior(job)
        return StatePolicy(PLAIN, as_ranges(read_ranges(posterior))).make(job)

    def _posterior(self, job: Job) -> Path:
        """Returns the posterior of the job's robot."""
        assert job.robot is not None, "the arm has each_robot"
        folder = job.folder / f"identified-robot{job.robot}-{job.seed}"
        found = folder / "posterior.json"
        if found.exists():
            return found
        pilot = self.pilot.make(job).policy
        (reality,) = job.preset.places.values()
        task = make_task(job.preset.task)
        (robot,) = make_robots(task, reality, 1, job.robot)
        fly_policy(open_pilot(pilot, task, folder), robot, 1)
        return identify_robot([folder / log_name(robot.name)], job.preset.task, folder, self.fit)


@dataclass(frozen=True)
class StateStudent:
    """A student without pictures of a privileged teacher: it reads and remembers.

    Attributes:
        teacher: whom it learns from.
        distill: settings of the distillation.
    """

    teacher: TeacherRecipe
    distill: DistillConfig

    def make(self, job: Job) -> Made:
        """Trains teacher and student and exports the student."""
        taught, run = self.teacher.train(job), job.named()
        _, trainer, state = load_teacher(taught.run)
        env = require_native(trainer.env)
        answers = ppo_teacher(cast(PPO, trainer.algorithm), state.learner)
        algorithm = make_distillation(env, (), answers, self.distill)
        student = Trainer(env, uniform(student_space(trainer, state)), algorithm)
        config = StudentConfig(
            teacher=taught.run,
            run=run,
            seed=job.seed,
            distill=self.distill,
            log_every=log_every(self.distill.iterations),
            keep=1,
            resume=True,
        )
        given: dict[str, Any] = {"task": env.task.name, "iterations": self.distill.iterations}
        learnt = fit(student, config, what="student", may_change=("run", "teacher"), **given)
        size = self.distill.iterations * self.distill.num_envs * self.distill.num_steps
        return Made(export(student, learnt, run), steps_of(taught) + size, curve_of(run))


def notes(rows: Sequence[Row], preset: Preset) -> list[str]:
    """Returns the order of the means, with the warning that it is one of means."""
    judged = [*judged_of(rows)]
    found = {arm.name: rate_of(judged, Cell(arm.name, OTHER)) for arm in STUDY.arms}
    means = {name: rate.success for name, rate in found.items() if rate is not None}
    if len(means) < 2:
        return []
    order = sorted(means, key=lambda name: -means[name])
    told = ", ".join(f"{name} ({100 * means[name]:.0f} %)" for name in order)
    return [f"By mean success: {told}. Only the differences that are shown above are a ranking."]


PILOT = StatePolicy(PLAIN, name="pilot")
STUDY = Study(
    name="approaches",
    question="Randomization, identification, teacher and student, or progressive ranges?",
    about=(
        "A: ranges half-way to the limits from the first episode on. B: each robot is flown once "
        "by a policy without randomization, its log identified, and a policy trained at the best "
        "values. C: a teacher that knows the world's parameters, trained as A, and a student with "
        "a memory that learns from it without them. D: ranges that grow whenever the policy "
        "succeeds. PPO has one budget of steps; C takes its student's on top."
    ),
    arms=(
        Arm(A, "half-way to the limits, throughout", StatePolicy(Uniform(width=WIDTH))),
        Arm(
            B, "nominal at what was identified", IdentifiedPolicy(PILOT, BRIEF_FIT), each_robot=True
        ),
        Arm(
            C,
            "privileged teacher as A, recurrent student by DAgger",
            StateStudent(TeacherRecipe("half", Uniform(width=WIDTH)), STUDENT),
        ),
        Arm(D, "ranges grow on success", StatePolicy(CurriculumConfig("progressive"))),
    ),
    presets={
        "small": Preset(
            task=QUICK_CARTPOLE,
            iterations=140,
            seeds=2,
            places={OTHER: CARTPOLE_OTHER},
            count=3,
            episodes=10,
            minutes=8,
            ppo=SWING_UP,
        ),
        "full": Preset(
            task=QUICK_CARTPOLE,
            iterations=240,
            seeds=5,
            places={OTHER: CARTPOLE_OTHER},
            count=10,
            episodes=10,
            minutes=180,
            ppo=SWING_UP,
        ),
    },
    comparisons=tuple(
        Comparison(Cell(x, OTHER), Cell(y, OTHER)) for x, y in combinations((A, B, C, D), 2)
    ),
    notes=notes,
)
