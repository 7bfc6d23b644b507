"""python -m train sweep --seeds 0..4 --set ppo.learning_rate=1e-3,3e-4: many teachers, one table.

Every combination of the settings is one run of `train teacher` in a folder of its own. submitit
starts them, on this machine, where each can have a GPU of its own, or as SLURM jobs. A SLURM job
that is preempted or whose time is up saves, is queued again and goes on by itself. Asked again, the
same sweep starts only what has not ended, and each run goes on from its last checkpoint.
"""

import itertools
import math
import re
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tyro
from rich import box
from rich.table import Table

from mjx_s2r.api.teacher import TeacherConfig, ranges_given, recipe
from mjx_s2r.envs.registry import task_spec
from mjx_s2r.io.run import (
    CHECKPOINTS,
    CONFIG,
    RunError,
    check_writable,
    last_metrics,
    read_settings,
)
from mjx_s2r.io.run import write_json as write
from mjx_s2r.runtime.devices import accelerators
from mjx_s2r.runtime.progress import console
from mjx_s2r.runtime.signals import sigterm_interrupts
from train.command_line import base, gather_ranges
from train.sweeping.engine import executor, grace_s, numbers, places, run_all, slurm_options
from train.sweeping.job import Settings

SHOWN = ("success", "return", "env_steps", "seconds")
RARE = ("nan_envs",)  # shown where it is not zero
COMPARED = ("success", "return")
RANGES = ("range", "ranges")
SWEEP = "sweep.json"


@dataclass(frozen=True)
class SweepConfig:
    """Settings of a sweep."""

    task: str = "reach"
    """Name of a task, or module:Class."""
    run: Path = Path("runs/sweep")
    """Folder of the sweep; each run is a folder in it."""
    seeds: str = "0"
    """Seeds: 0..4 is 0 to 4, both included; or 1,5,7."""
    set: tuple[str, ...] = ()
    """Settings of the teacher, each as name=value,value; every combination is run."""
    ranges: Path | None = None
    """A TOML or JSON file of ranges of rows instead of the task's: name = [low, high], or a value
    for a fixed row."""
    range: tuple[str, ...] = ()
    """Ranges of rows, each as name=low,high or name=value; they go before those of the file."""
    where: Literal["local", "slurm"] = "local"
    """Who runs them: processes on this machine, or SLURM."""
    gpus: str = ""
    """GPUs of this machine, one for each run at a time: 0..7, or 0,1,2; empty: every run sees all
    of them."""
    at_once: int = 0
    """Runs at the same time on this machine; 0 is one, or one for each of the GPUs that are named.
    More than these share them. SLURM has its own limits."""
    hours: float = 24.0
    """Longest time of one job. A SLURM job is then queued again and goes on; on this machine a run
    is stopped, and the same sweep goes on with it."""
    slurm: tuple[str, ...] = ()
    """Options of SLURM, each as name=value, e.g. partition=gpu, gpus_per_node=1."""


@dataclass(frozen=True)
class Point:
    """One run of a sweep: its name, and its settings as (name, value) pairs."""

    name: str
    settings: tuple[tuple[str, str], ...]


def seeds_of(text: str) -> tuple[str, ...]:
    """Returns the seeds that ``text`` names.

    Raises:
        RunError: it names none.
    """
    return numbers("seeds", text)


def grid(config: SweepConfig) -> list[Point]:
    """Returns every combination of the settings, seeds varying fastest.

    Raises:
        RunError: a setting without a name or values, or named twice.
    """
    axes: dict[str, tuple[str, ...]] = {}
    for text in config.set:
        name, _, values = text.partition("=")
        name, found = name.strip(), tuple(v.strip() for v in values.split(",") if v.strip())
        if (
            not name
            or not found
            or name in axes
            or name in ("seed", "run", "task", "resume", *RANGES)
        ):
            raise RunError(
                f"set {text!r}: write name=value,value, each name once; seeds, run, task and "
                "ranges have options of their own"
            )
        axes[name] = found
    axes["seed"] = seeds_of(config.seeds)
    points = []
    for chosen in itertools.product(*axes.values()):
        settings = tuple(zip(axes, chosen, strict=True))
        points.append(Point("_".join(_word(*pair) for pair in settings), settings))
    names = [p.name for p in points]
    twice = {n for n in names if names.count(n) > 1}
    if twice:
        raise RunError(f"set: {sorted(twice)[0]} stands for two runs; name each value once")
    return points


def command(config: SweepConfig, point: Point) -> list[str]:
    """Returns the command line of one run, which starts it and, given again, goes on with it."""
    folder = (config.run / point.name).absolute()
    line = [sys.executable, "-m", "train", "teacher", "--task", config.task, "--run", str(folder)]
    ranges = ranges_given(config)
    line += ["--range", *ranges] if ranges else []
    for name, value in point.settings:
        line += [f"--{name.replace('_', '-')}", value]
    return [*line, "--resume"]


def check(config: SweepConfig, points: Sequence[Point]) -> None:
    """Reads the command of every run before the first one starts.

    Raises:
        ParamError: an unknown task.
        ConfigError: a recipe's file that cannot be used.
        SystemExit: a setting that the teacher does not know, or a value that it refuses.
    """
    task_spec(config.task)
    for point in points:
        line = command(config, point)
        default = recipe(*base(line[4:]))
        tyro.cli(TeacherConfig, prog=" ".join(line[1:4]), args=line[4:], default=default)


def ended(folder: Path) -> bool:
    """Returns whether a run has done all of its iterations and saved the last state."""
    if not (folder / CONFIG).exists():
        return False
    last = int(read_settings(folder)["iterations"])
    done = last_metrics(folder).get("step", -1)
    return bool(done >= last and (folder / CHECKPOINTS / str(last)).is_dir())


def slots(config: SweepConfig, runs: int) -> list[Settings]:
    """Returns the environment of each of the runs that go on at the same time.

    Raises:
        RunError: GPUs or a number of runs that cannot be, or GPUs of this machine for SLURM.
    """
    if config.where == "local":
        if config.gpus and "cuda" not in accelerators():
            raise RunError(
                f"gpus {config.gpus!r}: jax finds no NVIDIA GPU here; install the extra 'cuda', "
                "look at JAX_PLATFORMS, or leave --gpus out"
            )
        return places(config.gpus, config.at_once, runs)
    if config.gpus:
        raise RunError(
            f"gpus {config.gpus!r} are those of this machine; with --where slurm write "
            "--slurm gpus_per_node=1"
        )
    return [()] * runs


def start(
    config: SweepConfig, points: Sequence[Point], at_once: Sequence[Settings]
) -> dict[str, str]:
    """Starts the runs of ``points`` and waits for them; returns what became of each.

    Raises:
        RunError: no engine, or an option of SLURM that is not one.
        KeyboardInterrupt: asked to stop.
    """
    local = config.where == "local"
    options = {} if local else slurm_options(config.slurm)
    engine = executor(config.run / "jobs", config.where, config.hours, options)
    lines = {p.name: command(config, p) for p in points}
    with sigterm_interrupts() if local else nullcontext():
        return run_all(lines, engine, at_once, grace_s(config.where, options))


def table(config: SweepConfig, points: Sequence[Point], became: dict[str, str]) -> Table:
    """Returns one row per run: its settings, its last figures and how it ended."""
    fixed, varied = told(points)
    rows = [last_metrics(config.run / point.name) for point in points]
    shown = [*SHOWN, *(name for name in RARE if any(row.get(name) for row in rows))]
    title = f"{config.task}, {len(points)} runs in {config.run}{fixed}"
    out = _table(title, [*varied, *shown, "state"])
    for point, row in zip(points, rows, strict=True):
        state = "done" if ended(config.run / point.name) else became.get(point.name, "not started")
        own = dict(point.settings)
        out.add_row(*(own[n] for n in varied), *(_figure(row.get(n)) for n in shown), state)
    return out


def summary(config: SweepConfig, points: Sequence[Point]) -> Table | None:
    """Returns one row per setting, over its seeds, the best success first; None with one seed."""
    groups: dict[tuple[tuple[str, str], ...], list[dict[str, float]]] = {}
    for point in points:
        if ended(config.run / point.name):
            row = last_metrics(config.run / point.name)
            groups.setdefault(point.settings[:-1], []).append(row)  # all but the seed
    if max(map(len, groups.values()), default=0) < 2:
        return None
    varied = [name for name in told(points)[1] if name != "seed"]
    out = _table("over seeds: mean (least to most)", [*varied, "seeds", *COMPARED])
    order = sorted(groups, key=lambda s: -_spread(groups[s], COMPARED[0])[0])
    for settings in order:
        rows, own = groups[settings], dict(settings)
        cells = ["{} ({} to {})".format(*map(_figure, _spread(rows, n))) for n in COMPARED]
        out.add_row(*(own[n] for n in varied), str(len(rows)), *cells)
    return out


def told(points: Sequence[Point]) -> tuple[str, list[str]]:
    """Returns the settings that are the same in all runs, in words, and the names of the others."""
    values = {name: {dict(p.settings)[name] for p in points} for name, _ in points[0].settings}
    fixed = [f"{name}={min(found)}" for name, found in values.items() if len(found) == 1]
    varied = [name for name, found in values.items() if len(found) > 1]
    return "".join(f", {text}" for text in fixed), varied


def _table(title: str, names: Sequence[str]) -> Table:
    """Returns an empty table in which a narrow screen breaks lines and cuts nothing off."""
    out = Table(title=title, box=box.SIMPLE_HEAD, padding=(0, 1), collapse_padding=True)
    for name in names:
        out.add_column(name.rpartition(".")[2], justify="right", overflow="fold")
    return out


def _figure(value: float | None) -> str:
    """Returns a figure as a cell; empty where there is none."""
    if value is None:
        return ""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def _spread(rows: Sequence[dict[str, float]], name: str) -> tuple[float, float, float]:
    """Returns mean, least and most of a figure; NaN where a run has none."""
    found = [row.get(name, math.nan) for row in rows]
    return sum(found) / len(found), min(found), max(found)


def main(argv: Sequence[str]) -> int:
    """Runs what has not ended yet and shows the table; returns the exit status."""
    config = tyro.cli(SweepConfig, args=gather_ranges(argv))
    points = grid(config)
    open_ = [p for p in points if not ended(config.run / p.name)]
    at_once = slots(config, len(open_))
    check_writable(config.run)
    check(config, points)
    became = start(config, open_, at_once) if open_ else {}
    done = {p.name: last_metrics(config.run / p.name) for p in points}
    finite = {n: {k: v for k, v in row.items() if math.isfinite(v)} for n, row in done.items()}
    write(config.run / SWEEP, {"task": config.task, "became": became, "runs": finite})
    console.print(table(config, points, became))
    over_seeds = summary(config, points)
    if over_seeds is not None:
        console.print(over_seeds)
    return 0 if all(ended(config.run / p.name) for p in points) else 1


def _word(name: str, value: str) -> str:
    """Returns a setting as a part of a folder's name."""
    return re.sub(r"[^\w.+-]", "-", f"{name.rpartition('.')[2]}-{value}")
