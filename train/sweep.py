"""python -m train sweep --seeds 0..4 --set ppo.learning_rate=1e-3,3e-4: many teachers, one table.

Every combination of the settings is one run of `train teacher` in a folder of its own. submitit
starts them, on this machine or as SLURM jobs. Asked again, the same sweep starts only what has not
ended, and each run goes on from its last checkpoint.
"""

import itertools
import json
import math
import re
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import tyro
from rich.table import Table

from mjx_s2r.runs import CHECKPOINTS, CONFIG, METRICS, RunError, check_writable, read_jsonl
from mjx_s2r.runs import write_json as write
from train.common import console

ROOT = Path(__file__).parents[1]
SHOWN = ("success", "return", "env_steps", "seconds", "steps_per_s", "nan_worlds")
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
    where: Literal["local", "slurm"] = "local"
    """Who runs them: processes on this machine, or SLURM."""
    at_once: int = 1
    """Runs at the same time on this machine; SLURM has its own limits."""
    hours: float = 24.0
    """Longest time of one run."""
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
    out: list[str] = []
    for part in text.split(","):
        match = re.fullmatch(r"(\d+)(?:\.\.(\d+))?", part.strip())
        if not match or int(match[2] or match[1]) < int(match[1]):
            raise RunError(f"seeds {text!r}: {part!r} is neither a number nor first..last")
        out += map(str, range(int(match[1]), int(match[2] or match[1]) + 1))
    return tuple(dict.fromkeys(out))


def grid(config: SweepConfig) -> list[Point]:
    """Returns every combination of the settings, seeds varying fastest.

    Raises:
        RunError: a setting without a name or values, or named twice.
    """
    axes: dict[str, tuple[str, ...]] = {}
    for text in config.set:
        name, _, values = text.partition("=")
        name, found = name.strip(), tuple(v.strip() for v in values.split(",") if v.strip())
        if not name or not found or name in axes or name in ("seed", "run", "task", "resume"):
            raise RunError(
                f"set {text!r}: write name=value,value, each name once; seeds, run and task have "
                "options of their own"
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
    """Returns the command line of one run, to go on where there is something to go on from."""
    folder = (config.run / point.name).absolute()
    line = [sys.executable, "-m", "train", "teacher", "--task", config.task, "--run", str(folder)]
    for name, value in point.settings:
        line += [f"--{name.replace('_', '-')}", value]
    return [*line, "--resume"] if (folder / CONFIG).exists() else line


def ended(folder: Path) -> bool:
    """Returns whether a run has done all of its iterations and saved the last state."""
    if not (folder / CONFIG).exists() or not (folder / METRICS).exists():
        return False
    last = int(json.loads((folder / CONFIG).read_text())["iterations"])
    rows = read_jsonl(folder / METRICS)
    return bool(rows) and rows[-1]["step"] >= last and (folder / CHECKPOINTS / str(last)).is_dir()


def start(line: Sequence[str]) -> int:
    """Runs one command from the checkout; returns its exit status. This is what a job does."""
    return subprocess.run(list(line), cwd=ROOT, check=False).returncode


def executor(config: SweepConfig) -> Any:
    """Returns the engine that starts jobs.

    Raises:
        RunError: submitit is not installed, or an option of SLURM is not name=value.
    """
    try:
        import submitit
    except ModuleNotFoundError as error:
        raise RunError(
            "a sweep needs submitit: pip install 'submitit>=1.5' (or the extra 'sweep')"
        ) from error
    engine = submitit.AutoExecutor(config.run / "jobs", cluster=config.where)
    engine.update_parameters(timeout_min=math.ceil(config.hours * 60), name="mjx_s2r")
    for text in config.slurm if config.where == "slurm" else ():
        name, _, value = text.partition("=")
        if not name or not value:
            raise RunError(f"slurm {text!r}: write name=value, e.g. gpus_per_node=1")
        engine.update_parameters(**{f"slurm_{name}": int(value) if value.isdecimal() else value})
    return engine


def run_all(lines: dict[str, list[str]], engine: Any, at_once: int) -> dict[str, str]:
    """Runs the command of every name, ``at_once`` at a time; returns what became of each."""
    waiting, became = list(lines), dict[str, str]()
    running: dict[str, Any] = {}
    try:
        while waiting or running:
            while waiting and len(running) < at_once:
                name = waiting.pop(0)
                running[name] = engine.submit(start, lines[name])
                console.print(f"started {name} as job {running[name].job_id}", highlight=False)
            for name in [n for n, job in running.items() if job.done()]:
                became[name] = _outcome(running.pop(name))
                console.print(f"{name} {became[name]}", highlight=False)
            time.sleep(0.2)
    except KeyboardInterrupt:
        for job in running.values():
            job.cancel()
        raise
    return became


def table(config: SweepConfig, points: Sequence[Point], became: dict[str, str]) -> Table:
    """Returns one row per run: its settings, its last figures and what became of it."""
    out = Table(title=f"{config.task}, {len(points)} runs in {config.run}")
    for name in [n for n, _ in points[0].settings] + [*SHOWN, "state"]:
        out.add_column(name, justify="right")
    for point in points:
        last = figures(config.run / point.name)
        state = "done" if ended(config.run / point.name) else became.get(point.name, "not started")
        cells = [f"{last[n]:,.4g}" if n in last else "" for n in SHOWN]
        out.add_row(*(value for _, value in point.settings), *cells, state)
    return out


def figures(folder: Path) -> dict[str, float]:
    """Returns the last line of a run's metrics; empty where there is none."""
    rows = read_jsonl(folder / METRICS) if (folder / METRICS).exists() else []
    return rows[-1] if rows else {}


def main(argv: Sequence[str]) -> int:
    """Runs what has not ended yet and shows the table; returns the exit status."""
    config = tyro.cli(SweepConfig, args=list(argv))
    points = grid(config)
    check_writable(config.run)
    open_ = [p for p in points if not ended(config.run / p.name)]
    became: dict[str, str] = {}
    if open_:
        at_once = config.at_once if config.where == "local" else len(open_)
        lines = {p.name: command(config, p) for p in open_}
        became = run_all(lines, executor(config), max(at_once, 1))
    done = {p.name: figures(config.run / p.name) for p in points}
    finite = {n: {k: v for k, v in row.items() if math.isfinite(v)} for n, row in done.items()}
    write(config.run / SWEEP, {"task": config.task, "became": became, "runs": finite})
    console.print(table(config, points, became))
    return 0 if all(ended(config.run / p.name) for p in points) else 1


def _word(name: str, value: str) -> str:
    """Returns a setting as a part of a folder's name."""
    return re.sub(r"[^\w.+-]", "-", f"{name.rpartition('.')[2]}-{value}")


def _outcome(job: Any) -> str:
    """Returns what became of a job, in words."""
    try:
        status = job.result()
    except Exception as error:
        return f"failed: {str(error).splitlines()[-1][:80]}"
    return "ended" if status == 0 else f"exit status {status}"
