"""Recipes that learn from demonstrations on one robot.

Demonstrations are flights of an expert on the robot itself, through controller and guard, kept
where the goal was reached: what `train adapt` takes of a person's or another controller's flights.
The robot's numbers are fixed; its episodes differ by where things lie.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from mjx_s2r.api.adapt import AdaptConfig, train_adapted
from mjx_s2r.api.student import StudentConfig, train_student
from mjx_s2r.envs.registry import make_task, task_spec
from mjx_s2r.eval.robot_episodes import log_name
from mjx_s2r.io.run import write_json
from mjx_s2r.learn.adapt.config import AdaptationConfig
from mjx_s2r.learn.networks.encoders.config import EncoderConfig
from mjx_s2r.params import ParamError
from mjx_s2r.robot.log.writer import remove_log
from train.studies.plan import Job, Made
from train.studies.recipes import CameraPolicy, TeacherRecipe, curve_of, export, log_every
from train.studies.robots import fly_policy, make_robots, open_pilot

FIRST = 1000  # number of the first robot that is flown for demonstrations; judged ones begin at 0
LIST = "demonstrations.json"
TRIES = 3  # flights per demonstration, at most


@dataclass(frozen=True)
class Expert:
    """Flights that are learned from.

    Attributes:
        policy: who flies.
        count: demonstrations that are kept.
    """

    policy: CameraPolicy
    count: int

    def record(self, job: Job) -> tuple[Path, ...]:
        """Returns the logs of the demonstrations; flies where there are none yet.

        Raises:
            ParamError: an expert that reaches the goal too seldom.
        """
        with job.making(f"{self.count}_demonstrations_of_{self.policy.name}") as folder:
            found = folder / LIST
            if not found.exists():
                write_json(found, self._fly(job, folder))
        return tuple(folder / name for name in json.loads(found.read_text()))

    def _fly(self, job: Job, folder: Path) -> list[str]:
        """Flies until there are enough demonstrations; returns their files' names."""
        policy = self.policy.make(job).policy
        (reality,) = job.preset.places.values()
        task = make_task(job.preset.task)
        folder.mkdir(parents=True, exist_ok=True)
        kept: list[str] = []
        robots = make_robots(task, reality, TRIES * self.count, FIRST)
        pilot = open_pilot(policy, task, folder)
        for robot in robots:
            (episode,) = fly_policy(pilot, robot, 1)
            name = log_name(robot.name)
            if episode.success:
                kept.append(name)
            else:
                remove_log(folder / name)
            if len(kept) == self.count:
                return kept
        raise ParamError(
            f"the expert reached the goal in {len(kept)} of {len(robots)} flights, and "
            f"{self.count} demonstrations are needed; train it longer (--iterations)"
        )


@dataclass(frozen=True)
class TunedPolicy:
    """A camera student that goes on from demonstrations.

    Attributes:
        start: the student that it begins as.
        expert: whose demonstrations it learns from.
        count: how many of them; 0 is the start itself.
        adapt: settings of the adaptation, one stage.
    """

    start: CameraPolicy
    expert: Expert
    count: int
    adapt: AdaptationConfig

    def make(self, job: Job) -> Made:
        """Records demonstrations, trains the start, and adapts.

        In this order: the arm that is the start trains it, while another one trains the expert.
        """
        if not self.count:
            return self.start.make(job)
        logs, settings = self.expert.record(job), self.adapt
        start = self.start.make(job)
        policy = _adapted(job, start.policy.parent, logs, settings, self.count)
        return Made(policy, start.env_steps + _frames(settings), curve_of(policy.parent))


@dataclass(frozen=True)
class AlignedPolicy:
    """A camera student that goes on from pictures of the robot, whatever was done in them.

    Attributes:
        start: the student that it begins as.
        expert: whose flights show the room; its actions are not read.
        adapt: settings of the adaptation, with an alignment.
    """

    start: CameraPolicy
    expert: Expert
    adapt: AdaptationConfig

    def make(self, job: Job) -> Made:
        """Records flights, trains the start, and aligns."""
        logs, settings = self.expert.record(job), self.adapt
        start = self.start.make(job)
        policy = _adapted(job, start.policy.parent, (), settings, unlabelled=logs)
        return Made(policy, start.env_steps + _frames(settings), curve_of(policy.parent))


@dataclass(frozen=True)
class ClonedDemonstrations:
    """A camera student that has seen nothing but demonstrations.

    It begins as a network that was trained for one iteration, and simulation has no weight.

    Attributes:
        teacher: of that one iteration.
        encoder: what finds features in pictures; its weights are the job's.
        expert: whose demonstrations it learns from.
        adapt: settings of the adaptation, one stage.
    """

    teacher: TeacherRecipe
    encoder: EncoderConfig
    expert: Expert
    adapt: AdaptationConfig

    def make(self, job: Job) -> Made:
        """Begins a student and trains it on the demonstrations alone."""
        logs = self.expert.record(job)
        taught = self.teacher.train(job)
        encoder = self.encoder
        if encoder.pretrained:
            encoder = replace(encoder, weights=job.weights)
        distill = job.preset.distill or task_spec(job.preset.task).distill
        begun = StudentConfig(
            teacher=taught.run,
            run=job.named(f"begun_{job.arm}"),
            seed=job.seed,
            curriculum="none",
            distill=replace(distill, iterations=1, encoder=encoder),
            keep=1,
            resume=True,
        )
        train_student(begun)
        policy = _adapted(job, begun.run, logs, self.adapt)
        return Made(policy, 0, curve_of(policy.parent))


def _frames(settings: AdaptationConfig) -> int:
    """Returns the simulated frames of an adaptation."""
    return settings.all_iterations * settings.num_envs * settings.num_steps


def _adapted(
    job: Job,
    student: Path,
    logs: tuple[Path, ...],
    adapt: AdaptationConfig,
    count: int = 0,
    unlabelled: tuple[Path, ...] = (),
) -> Path:
    """Adapts a student; returns the exported file.

    Args:
        job: says seed and folders.
        student: folder of the run to start from.
        logs: demonstrations; of these, ``count`` are learned from, or all if it is 0.
        adapt: settings of the adaptation.
        count: of demonstrations.
        unlabelled: flights of which the pictures alone are read.
    """
    run = job.named()
    config = AdaptConfig(
        student=student,
        run=run,
        data=logs,
        unlabelled=unlabelled,
        count=count,
        held_out=0.0,
        seed=job.seed,
        split_seed=job.seed,
        log_every=log_every(adapt.all_iterations),
        keep=1,
        resume=True,
        adapt=adapt,
    )
    trainer, state, _ = train_adapted(config)
    return export(trainer, state, run)


def one_stage(
    simulated: float, iterations: int, learning_rate: float, replay: float, worlds: int
) -> AdaptationConfig:
    """Returns an adaptation of one stage that trains the whole network.

    Args:
        simulated: share of simulated frames in the loss.
        iterations: of the stage.
        learning_rate: of the stage.
        replay: weight of the simulated loss beside its share.
        worlds: how many run beside it.
    """
    return AdaptationConfig(
        simulated=(simulated,),
        iterations=(iterations,),
        learning_rate=(learning_rate,),
        trained=("all",),
        num_envs=worlds,
        replay_weight=replay,
    )


def told(counts: Sequence[int]) -> list[str]:
    """Returns the names of arms by their number of demonstrations."""
    return [f"{count} demonstrations" for count in counts]
