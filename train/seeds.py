"""python -m train seeds --count 4 --teacher.task cartpole: one teacher from several seeds at once.

The seeds train side by side in one program. Each ends as a run folder of its own, seed_0 and so on,
from which every other verb can go on; the folder above holds the checkpoints and figures of all.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import tyro

from mjx_s2r.checkpoints import Checkpoints
from mjx_s2r.learn.learner import Learner
from mjx_s2r.learn.quarantine import Bad
from mjx_s2r.learn.seeds import Seeds, take
from mjx_s2r.runs import Run
from mjx_s2r.sim import quarantine
from train.common import Job, Stretch, task_of, work
from train.lines import figures, speed
from train.teacher import TeacherConfig, learner, recipe

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
        for name in ("eval_every", "episodes", "devices", "profile", "wandb"):
            if getattr(self.teacher, name):
                raise ValueError(
                    f"teacher.{name} {getattr(self.teacher, name)}: seeds side by side run on one "
                    "device, untraced, and keep no evaluations or episodes; leave it out"
                )


def train(config: SeedsConfig) -> list[Path]:
    """Runs or resumes the trainings; returns the folders of the single seeds."""
    teacher = config.teacher
    ppo = learner(teacher)
    run = Run.create(
        teacher.run,
        config,
        resume=teacher.resume,
        may_change=(
            "teacher.run",
            "teacher.resume",
            "teacher.iterations",
            "teacher.log_every",
            "teacher.checkpoint_every",
        ),
    )
    run.keep_table(ppo.env.space.rows)
    checkpoints = Checkpoints(run.checkpoints, task=teacher.task, rows=ppo.env.space.names)
    seeds = Seeds(ppo)
    job = Job(
        what=f"{config.count} teachers {teacher.task}",
        iterations=teacher.iterations,
        log_every=teacher.log_every,
        checkpoint_every=teacher.checkpoint_every,
        resume=teacher.resume,
        iterate=seeds.iterate,
        log=partial(_log, ppo, config.count),
    )
    keys = jax.vmap(jax.random.key)(teacher.seed + jnp.arange(config.count))
    states = work(job, run, checkpoints, seeds.init(keys))
    return [_part(config, ppo, run, states, index) for index in range(config.count)]


def _log(ppo: Learner, count: int, run: Run, stretch: Stretch) -> str:
    """Writes one line with the mean of every figure and the spread of some; returns a note."""
    each = [figures(_second(stretch.metrics, index)) for index in range(count)]
    line = {name: float(np.mean([one[name] for one in each])) for name in each[0]}
    for name in WATCHED:
        line |= {f"{name}/{index}": one[name] for index, one in enumerate(each)}
    line |= speed(stretch, count * ppo.config.worlds * ppo.config.unroll)
    run.log(stretch.done, line)
    quarantine.keep(run, stretch.done, one_bad(stretch.metrics.bad), ppo.env.space.names)
    returns = " ".join(f"{one['return']:.0f}" for one in each)
    return f"{line['steps_per_s']:,.0f} steps/s  returns {returns}"


def one_bad(bads: Bad) -> Bad:
    """Returns of (K, S, ...) what is kept, (K, ...): the bad world of the first seed with one."""
    rows, seed = np.arange(len(bads.found)), np.argmax(bads.found, axis=1)
    return jax.tree.map(lambda leaf: leaf[rows, seed], bads)


def _second(metrics: Any, index: int) -> Any:
    """Returns one seed's part of metrics (K, S, ...)."""
    return jax.tree.map(lambda leaf: leaf[:, index], metrics)


def _part(config: SeedsConfig, ppo: Learner, run: Run, states: Any, index: int) -> Path:
    """Writes one seed as a run folder of its own; one that is complete already stays."""
    teacher, folder = config.teacher, run.path / f"seed_{index}"
    own = replace(teacher, run=folder, seed=teacher.seed + index, resume=True)
    part = Run.create(folder, own, resume=folder.exists(), may_change=("run", "iterations"))
    part.keep_table(ppo.env.space.rows)
    kept = Checkpoints(part.checkpoints, task=teacher.task, rows=ppo.env.space.names)
    if kept.latest_step() != teacher.iterations:
        kept.save(teacher.iterations, take(states, index))
    kept.close()
    return folder


def main(argv: Sequence[str]) -> None:
    """Parses the command line and trains."""
    task = task_of([part.replace("--teacher.task", "--task") for part in argv])
    teacher = replace(recipe(task), run=Path("runs/seeds"))
    default = SeedsConfig(teacher=teacher)
    config = tyro.cli(SeedsConfig, args=list(argv), default=default)
    print("\n".join(map(str, train(config))))
