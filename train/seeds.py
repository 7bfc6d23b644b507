"""python -m train seeds --count 4 --teacher.task cartpole: one teacher from several seeds at once.

The seeds train side by side in one program. Each has a run folder of its own, seed_0 and so on,
with the figures and pictures of the teacher it would be alone, from which every other verb can go
on; the folder above holds the checkpoints of all and the means of their figures.
"""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import tyro

from mjx_s2r.api.teacher import (
    MAY_CHANGE,
    TeacherConfig,
    recipe,
    teacher_trainer,
    with_engine_found,
    with_engine_taken,
    with_ranges_kept,
)
from mjx_s2r.io.checkpoints import Checkpoints
from mjx_s2r.io.config import ConfigError
from mjx_s2r.io.run import Run
from mjx_s2r.learn.multi_seed import Seeds, take_seed
from mjx_s2r.learn.train_logger import LogWindow, TrainLogger, speed
from mjx_s2r.learn.trainer import LoopConfig, Trainer, run_loop, train_logger
from mjx_s2r.report.charts import draw_training
from train.command_line import base, gather_ranges

WATCHED = ("return", "success")


@dataclass(frozen=True)
class SeedsConfig:
    """Settings of several seeds at once."""

    count: int = 4
    """Number of seeds S: teacher.seed, teacher.seed + 1, ..."""
    teacher: TeacherConfig = field(default_factory=TeacherConfig)
    """Settings of each."""

    def __post_init__(self) -> None:
        """Checks the settings.

        Raises:
            ValueError: a setting that cannot work, named.
        """
        if self.count < 1:
            raise ValueError(f"count {self.count} must be at least 1")
        for name in ("devices", "profile", "wandb"):
            if getattr(self.teacher, name):
                raise ValueError(
                    f"teacher.{name} {getattr(self.teacher, name)}: seeds side by side run on one "
                    "device, untraced, and send nothing elsewhere; leave it out"
                )


def train(config: SeedsConfig) -> list[Path]:
    """Runs or resumes the trainings; returns the folders of the single seeds."""
    teacher = with_ranges_kept(config.teacher)
    if teacher.ppo.actor_obs == "pixels":
        raise ConfigError(
            "ppo.actor_obs 'pixels': seeds side by side read numbers, 'state' or 'privileged'; "
            "train an actor that sees with `teacher`"
        )
    teacher = with_engine_found(teacher, "teacher") if teacher.resume else teacher
    trainer = teacher_trainer(teacher)
    teacher = with_engine_taken(teacher, trainer.env)
    config = replace(config, teacher=teacher)
    may_change = tuple(f"teacher.{name}" for name in MAY_CHANGE)
    rows = trainer.env.space.rows
    with ExitStack() as held:
        run = Run.create(teacher.run, config, resume=teacher.resume, may_change=may_change)
        held.enter_context(run).keep_table(rows)
        parts = [held.enter_context(_part(config, index)) for index in range(config.count)]
        for part in parts:
            part.keep_table(rows)
        checkpoints = Checkpoints(
            run.checkpoints,
            task=teacher.task,
            rows=trainer.env.space.names,
            max_to_keep=teacher.keep,
        )
        own = train_logger(trainer, teacher.iterations, teacher.eval_every)
        seeds, log = Seeds(trainer), _Log(parts, [replace(own) for _ in parts])
        job = LoopConfig(
            what=f"{config.count} teachers {teacher.task}",
            iterations=teacher.iterations,
            log_every=teacher.log_every,
            checkpoint_every=teacher.checkpoint_every,
            resume=teacher.resume,
            iterate=seeds.iterate,
            log=log.write,
        )
        keys = jax.vmap(jax.random.key)(teacher.seed + jnp.arange(config.count))
        states = run_loop(job, run, checkpoints, seeds.init(keys))
        for index, part in enumerate(parts):
            _keep(teacher, trainer, part, take_seed(states, index))
            draw_training(part.path, trainer.env.space)
    return [part.path for part in parts]


@dataclass
class _Log:
    """Writes the lines of all seeds.

    Attributes:
        parts: the run folder of each seed.
        lines: what writes in each.
    """

    parts: list[Run]
    lines: list[TrainLogger]
    _begun: bool = field(default=False, init=False)

    def write(self, run: Run, window: LogWindow) -> str:
        """Writes a line in every seed's folder, and their means above them; returns a note."""
        if not self._begun:  # what a first try said of these iterations is said again
            for part in self.parts:
                part.rewind(window.done - window.iterations)
            self._begun = True
        each = []
        for index, (part, lines) in enumerate(zip(self.parts, self.lines, strict=True)):
            metrics = jax.tree.map(lambda leaf, i=index: leaf[:, i], window.metrics)
            own = replace(window, state=take_seed(window.state, index), metrics=metrics)
            lines.write(part, own)
            each.append(lines.line)
        line = {name: float(np.mean([one[name] for one in each])) for name in each[0]}
        for name in WATCHED:
            line |= {f"{name}/{index}": one[name] for index, one in enumerate(each)}
        line |= speed(window, len(each) * self.lines[0].steps_per_iteration)
        run.log(window.done, line)
        returns = " ".join(f"{one['return']:.0f}" for one in each)
        return f"{line['steps_per_s']:,.0f} steps/s  returns {returns}"


def _part(config: SeedsConfig, index: int) -> Run:
    """Opens one seed's run folder, that of the teacher it would be alone."""
    folder = config.teacher.run / f"seed_{index}"
    own = replace(config.teacher, run=folder, seed=config.teacher.seed + index, resume=True)
    return Run.create(folder, own, resume=True, may_change=MAY_CHANGE)


def _keep(teacher: TeacherConfig, trainer: Trainer, part: Run, state: Any) -> None:
    """Saves the last state of one seed; one that is complete already stays."""
    kept = Checkpoints(part.checkpoints, task=teacher.task, rows=trainer.env.space.names)
    if kept.latest_step() != teacher.iterations:
        kept.save(teacher.iterations, state)
    kept.close()


def main(argv: Sequence[str]) -> None:
    """Parses the command line and trains."""
    argv = gather_ranges(argv, "teacher.")
    teacher = replace(recipe(*base(argv)), run=Path("runs/seeds"))
    default = SeedsConfig(teacher=teacher)
    config = tyro.cli(SeedsConfig, args=argv, default=default)
    print("\n".join(map(str, train(config))))
