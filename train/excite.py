"""python -m train excite --task T: the motion to run next, by what its log would tell of the rows.

Writes motion.json for `mjx-s2r-robot collect plan`, and shows what each row's interval would be
after it, and after chirps, noise, steps and rests of the same length inside the same limits.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import tyro
from rich.table import Table

from mjx_s2r.envs.registry import make_task
from mjx_s2r.params import ParamError
from mjx_s2r.report.charts import short
from mjx_s2r.robot.collect.motion_file import MotionFile, write_motion
from mjx_s2r.runtime.progress import console, print_line, progress
from mjx_s2r.transfer.excitation import (
    ExcitationResult,
    Experiment,
    MotionSearchConfig,
    find_motion,
)
from mjx_s2r.transfer.excitation_setup import experiment_of_model, experiment_of_task
from mjx_s2r.transfer.posterior import Posterior


@dataclass(frozen=True)
class ExciteConfig:
    """Settings of a search for a motion."""

    task: str = ""
    """Name of a task, or module:Class: its robot, rows and limits."""
    model: Path | None = None
    """A robot's file instead of a task, MJCF or URDF, with position servos."""
    rows: tuple[str, ...] = ()
    """Rows that are open, globs of names or fields; ~ takes out. Those of the posterior if none are
    named, or all that motion tells (of a robot's file: all but masses)."""
    about: tuple[str, ...] = ()
    """Rows among them that count, globs; all if none are named."""
    posterior: Path | None = None
    """What is known of the rows: posterior.json of an identification."""
    out: Path = Path("motion.json")
    """File of the motion."""
    control_hz: float = 50.0
    """Commands per second, of a robot's file."""
    max_rate: float = 1.0
    """Fastest change of a command, rad/s or m/s, of a robot's file."""
    home: tuple[float, ...] = ()
    """Pose that motions begin and end in, of a robot's file; else that of its first keyframe."""
    search: MotionSearchConfig = field(default_factory=MotionSearchConfig)
    """Motion, readings and search."""


def experiment_of(config: ExciteConfig) -> Experiment:
    """Returns the experiment that is asked for.

    Raises:
        ParamError: neither or both of a task and a robot's file.
    """
    if bool(config.task) == (config.model is not None):
        raise ParamError("name a task by --task, or a robot's file by --model, one of the two")
    known = Posterior.load(config.posterior) if config.posterior else None
    if config.model is None:
        task = make_task(config.task)
        return experiment_of_task(task, config.search, config.rows, config.about, known)
    return experiment_of_model(
        config.model,
        config.search,
        config.rows,
        config.about,
        known,
        control_hz=config.control_hz,
        max_rate=config.max_rate,
        home=config.home,
    )


def intervals_table(found: ExcitationResult) -> Table:
    """Returns the intervals of the rows before and after the motion, and beside the usual ones."""
    shown = Table(title="95 % intervals before and after")
    for name in ("row", "unit", "now", f"after the {found.best.name} motion"):
        shown.add_column(name)
    for trial in found.usual:
        shown.add_column(trial.name, justify="right")
    now, after = found.interval(found.now), found.interval(found.best.covariance)
    for d, row in enumerate(found.space.rows):
        widths = [f"{x.deviation[d] / found.best.deviation[d]:.2f}" for x in found.usual]
        ends = (f"{short(low)} to {short(high)}" for low, high in (now[d], after[d]))
        mark = "" if found.named[d] else " (not looked for)"
        shown.add_row(row.name + mark, row.unit, *ends, *widths)
    ratios = [f"{found.ratio(trial):.2f}" for trial in found.usual]
    shown.add_row("all that count", "", "", "times as wide:", *ratios, style="bold")
    return shown


def main(argv: Sequence[str]) -> None:
    """Parses the command line, searches and writes the motion."""
    config = tyro.cli(ExciteConfig, args=list(argv))
    experiment = experiment_of(config)
    names = experiment.problem.space.names
    print_line(f"{experiment.problem.name}: {len(names)} rows: {', '.join(names)}")
    with progress("motions", 100) as bar:
        found = find_motion(
            experiment, lambda share, score: bar.update(round(100 * share), f"{score:.2f}")
        )
    action = experiment.form.guard.contract.action
    made_by = (
        f"train excite: {experiment.problem.name}, {found.best.name}, "
        f"{config.search.seconds:g} s, rows {', '.join(np.array(names)[found.named])}"
    )
    rate = experiment.form.guard.contract.control_hz
    motion = MotionFile("", made_by, rate, action.joints, action.unit, found.best.targets)
    write_motion(motion, config.out)
    console.print(intervals_table(found))
    print_line(f"{found.tried} motions tried; the intervals hold if noise is all that a fit leaves")
    print_line(f"{config.out}: mjx-s2r-robot collect plan {config.out} --driver DRIVER")
