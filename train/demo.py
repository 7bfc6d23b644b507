"""python -m train demo: the whole pipeline, with and without randomization, on one page.

Two pipelines run beside each other, one randomized, one not, each on its own processor: a teacher,
a camera student, one ONNX file, and its episodes on robots that training never saw. The page with
the result is runs/demo/report.html; the figures are in result.json. An interrupted demo goes on
where it stopped when the same command is given again.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import tyro
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from mjx_s2r.api.teacher import ranges_given
from mjx_s2r.envs.registry import make_task, require_robots
from mjx_s2r.io.run import (
    REPORT,
    RESULT,
    check_space,
    check_writable,
    last_metrics,
    write_json,
)
from mjx_s2r.runtime.progress import console
from mjx_s2r.runtime.signals import sigterm_interrupts
from train.demo_summary import write_report

KINDS = ("randomized", "plain")


@dataclass(frozen=True)
class Budget:
    """Budget of a demo: iterations, robots and episodes."""

    teacher_iterations: int
    student_iterations: int
    robots: int
    episodes: int

    def episodes_of(self, kind: str) -> int:
        """Returns the episodes per robot: half for the plain policy, whose failures are long."""
        return self.episodes if kind == "randomized" else max(1, self.episodes // 2)


BUDGETS = {
    "small": Budget(teacher_iterations=120, student_iterations=300, robots=40, episodes=5),
    "full": Budget(teacher_iterations=400, student_iterations=1000, robots=80, episodes=5),
    "tiny": Budget(teacher_iterations=2, student_iterations=2, robots=2, episodes=1),
}


@dataclass(frozen=True)
class DemoConfig:
    """Settings of the demo."""

    task: str = "reach"
    """The task; it needs robots to be judged on."""
    run: Path = Path("runs/demo")
    """Folder of everything that the demo leaves."""
    ranges: Path | None = None
    """A TOML or JSON file of ranges of rows instead of the task's: name = [low, high], or a value
    for a fixed row."""
    range: tuple[str, ...] = ()
    """Ranges of rows, each as name=low,high or name=value; they go before those of the file."""
    budget: Literal["small", "full", "tiny"] = "small"
    """small fits a coffee break, full is the recipe for a good policy, tiny is a smoke test."""
    seed: int = 0
    """Seed of everything."""
    started: float = 0.0
    """When the command began, s since 1970, so that installing counts; 0 means now."""


def run(config: DemoConfig) -> Path:
    """Runs or resumes the demo; returns the path of the report.

    Raises:
        ParamError: an unknown task, or one without robots; nothing has been trained.
    """
    require_robots(config.task)
    make_task(config.task, ranges_given(config))  # a range that cannot be is refused here
    started = config.started or time.time()
    check_writable(config.run)
    check_space(config.run, 1000)
    _set_aside(config.run)
    budget = BUDGETS[config.budget]
    children = {kind: _spawn(config, budget, kind) for kind in KINDS}
    try:
        _watch(config.run, children, budget)
    except BaseException:
        _end(children)
        raise
    figures = {kind: _figures(config.run / kind) for kind in KINDS}
    result = _result(figures, time.time() - started)
    write_report(config.run, (config.task, config.seed), result, figures)
    write_json(config.run / RESULT, result)
    _tell(config.run, result)
    return config.run / REPORT


def _set_aside(folder: Path) -> None:
    """Moves a finished demo out of the way; nothing computed is lost."""
    if not (folder / RESULT).exists():
        return
    stamp = time.strftime("%Y%m%d-%H%M%S", time.localtime((folder / RESULT).stat().st_mtime))
    kept = folder.with_name(f"{folder.name}-{stamp}")
    folder.rename(kept)
    folder.mkdir(parents=True)
    console.print(f"the finished demo was moved to {kept}")


def _spawn(config: DemoConfig, budget: Budget, kind: str) -> subprocess.Popen[bytes]:
    """Starts one pipeline as a process of its own, its output in log.txt."""
    folder = config.run / kind
    folder.mkdir(parents=True, exist_ok=True)
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    command = [sys.executable, "-u", "-m", "train", "pipeline"]
    command += ["--task", config.task, "--run", str(folder), "--seed", str(config.seed)]
    command += ["--randomize" if kind == "randomized" else "--no-randomize"]
    command += ["--teacher.physics.backend", "jax"]  # the robots are C MuJoCo
    command += ["--teacher.iterations", str(budget.teacher_iterations)]
    command += ["--student.distill.iterations", str(budget.student_iterations)]
    command += ["--evaluate.count", str(budget.robots)]
    command += ["--evaluate.episodes", str(budget.episodes_of(kind))]
    ranges = ranges_given(config)
    command += ["--range", *ranges] if ranges else []
    if len(cores) >= 2:
        command += ["--core", str(cores[KINDS.index(kind)])]
    with (folder / "log.txt").open("ab") as log:
        return subprocess.Popen(
            command, stdout=log, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL
        )


def _watch(folder: Path, children: Mapping[str, subprocess.Popen[bytes]], budget: Budget) -> None:
    """Shows both pipelines until they end.

    Raises:
        RuntimeError: one of them failed; shows the end of its output.
    """
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        TextColumn("{task.percentage:>3.0f} %"),
        TimeElapsedColumn(),
        TextColumn("{task.fields[note]}"),
    )
    with (
        sigterm_interrupts(),
        Progress(*columns, console=console, disable=not console.is_terminal) as shown,
    ):
        bars = {k: shown.add_task(f"{k:<10}", total=1.0, note="starting") for k in children}
        said: dict[str, str] = {}
        while any(child.poll() is None for child in children.values()):
            for kind, bar in bars.items():
                share, note = _standing(folder / kind, budget)
                shown.update(bar, completed=share, note=note)
                stage = note.split(":")[0]
                if not console.is_terminal and said.get(kind) != stage:
                    console.print(f"{kind}: {stage}", highlight=False)
                    said[kind] = stage
            _check(folder, children)
            time.sleep(1.0)
    _check(folder, children)


def _check(folder: Path, children: Mapping[str, subprocess.Popen[bytes]]) -> None:
    """Raises RuntimeError where a pipeline has failed."""
    for kind, child in children.items():
        if child.poll() not in (None, 0):
            tail = (folder / kind / "log.txt").read_text(errors="replace")[-2000:]
            raise RuntimeError(
                f"the {kind} pipeline ended with status {child.returncode}; its last words "
                f"({folder / kind / 'log.txt'}):\n{tail}"
            )


def _standing(folder: Path, budget: Budget) -> tuple[float, str]:
    """Returns how far a pipeline is, 0 to 1, and what it is doing."""
    if (folder / RESULT).exists():
        return 1.0, "done"
    if (folder / "student.json").exists():
        return 0.9, "robots: judging the policy on robots it never saw"
    if (folder / "teacher.json").exists():
        row = last_metrics(folder / "student")
        share = row.get("step", 0) / budget.student_iterations
        note = f"finds it within {100 * row['label_error_m']:.1f} cm" if row else "compiling"
        return 0.4 + 0.5 * share, f"student: {note}"
    row = last_metrics(folder / "teacher")
    share = row.get("step", 0) / budget.teacher_iterations
    note = (
        f"success {row['success']:.2f} at {row['steps_per_s']:,.0f} steps/s" if row else "compiling"
    )
    return 0.4 * share, f"teacher: {note}"


def _end(children: Mapping[str, subprocess.Popen[bytes]]) -> None:
    """Asks the pipelines to save and stop, and waits for them."""
    for child in children.values():
        if child.poll() is None:
            child.send_signal(signal.SIGTERM)
    for child in children.values():
        child.wait()


def _figures(folder: Path) -> dict[str, Any]:
    """Returns what a pipeline has found, all stages in one."""
    names = ("teacher.json", "student.json", RESULT)
    return {k: v for name in names for k, v in json.loads((folder / name).read_text()).items()}


def _result(figures: Mapping[str, Any], seconds: float) -> dict[str, Any]:
    """Returns the content of result.json."""
    ours, plain = figures["randomized"], figures["plain"]
    return {
        "seconds": seconds,
        "episodes": ours["student"]["episodes"],
        "teacher": ours["teacher"],
        "student": ours["student"],
        "plain": plain["student"],
    }


def _tell(folder: Path, result: Mapping[str, Any]) -> None:
    """Prints the result in three lines."""
    for name, words in (("student", "randomized"), ("plain", "not randomized")):
        low, high = result[name]["interval"]
        console.print(
            f"{words:>15}: {result[name]['success']:.0%} of {result[name]['episodes']} episodes on "
            f"robots it never saw (95 % interval {low:.0%} to {high:.0%})",
            highlight=False,
        )
    console.print(
        f"{'page':>15}: {folder / REPORT}   ({result['seconds'] / 60:.1f} minutes in all)"
    )


def main(argv: Sequence[str]) -> None:
    """Parses the command line and runs the demo."""
    run(tyro.cli(DemoConfig, args=list(argv)))
