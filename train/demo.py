"""python -m train demo: the whole pipeline, with and without randomization, on one page.

Two pipelines run beside each other, one randomized, one not, each on its own processor: a teacher,
a camera student, one ONNX file, and its episodes on robots that training never saw. The page with
the result is runs/demo/report.html; the figures are in result.json. An interrupted demo goes on
where it stopped when the same command is given again; a finished one only says again what it found.
"""

import json
import os
import re
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
from mjx_s2r.io.config import differences, told_differences
from mjx_s2r.io.run import (
    REPORT,
    RESULT,
    RunError,
    check_space,
    check_writable,
    lock_holder,
    write_json,
)
from mjx_s2r.runtime.progress import console
from mjx_s2r.runtime.signals import PARENT, sigterm_interrupts
from train.command_line import gather_ranges
from train.demo_summary import write_report

KINDS = ("randomized", "plain")
LOG = "log.txt"  # of a pipeline
TAIL = 2000  # characters of it that are told of a failure without an error
SPENT = "seconds.json"  # time that a demo has taken so far, over all its starts
STARTED = "MJX_S2R_STARTED"  # when make began, s since 1970, so that installing counts
# Stages of a pipeline as its log names them: where each begins and ends on the bar.
STAGES = {"teacher": (0.0, 0.4), "student": (0.4, 0.85), "robots": (0.85, 1.0)}
COUNTED = re.compile(r"(teacher|student|robots)\b.*?(\d+)/(\d+)")


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
    "small": Budget(teacher_iterations=120, student_iterations=200, robots=40, episodes=3),
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
    again: bool = False
    """Train anew although the folder holds a finished demo, which is moved aside."""


def run(config: DemoConfig) -> Path:
    """Runs or resumes the demo; returns the path of the report.

    Raises:
        ParamError: an unknown task, or one without robots; nothing has been trained.
        RunError: a folder that another process writes, a finished demo of other settings, or a
            pipeline that failed.
    """
    require_robots(config.task)
    make_task(config.task, ranges_given(config))  # a range that cannot be is refused here
    check_writable(config.run)
    if _finished(config):
        return config.run / REPORT
    check_space(config.run, 1000)
    _check_free(config.run)
    clock = Clock(config.run / SPENT)
    budget = BUDGETS[config.budget]
    children = {kind: _spawn(config, budget, kind) for kind in KINDS}
    try:
        _watch(config.run, children, clock)
    except BaseException:
        _end(children)
        raise
    figures = {kind: _figures(config.run / kind) for kind in KINDS}
    result = _result(config, figures, clock.keep())
    write_report(config.run, (config.task, config.seed), result, figures)
    write_json(config.run / RESULT, result)
    _tell(config.run, result)
    return config.run / REPORT


class Clock:
    """The time that a demo takes, over all its starts: it is kept in a file now and then."""

    def __init__(self, path: Path) -> None:
        """Reads what earlier starts took; a first start counts from when make began."""
        self._path = path
        told, now = os.environ.get(STARTED, ""), time.time()
        began = float(told) if re.fullmatch(r"\d+(\.\d+)?", told) else now
        self._before = float(json.loads(path.read_text())["seconds"]) if path.exists() else 0.0
        self._began = min(began, now)

    def keep(self) -> float:
        """Keeps the seconds so far; returns them."""
        seconds = self._before + time.time() - self._began
        write_json(self._path, {"seconds": seconds})
        return seconds


def _settings(config: DemoConfig) -> dict[str, Any]:
    """Returns what a demo's figures depend on."""
    given = {"task": config.task, "budget": config.budget, "seed": config.seed}
    return given | {"ranges": list(map(str, ranges_given(config)))}


def _finished(config: DemoConfig) -> bool:
    """Returns whether the folder's demo is finished, and says what it found; moves it if asked.

    Raises:
        RunError: it was made with other settings.
    """
    folder = config.run
    if not (folder / RESULT).exists():
        return False
    if config.again:
        stamp = time.localtime((folder / RESULT).stat().st_mtime)
        kept = folder.with_name(f"{folder.name}-{time.strftime('%Y%m%d-%H%M%S', stamp)}")
        folder.rename(kept)
        folder.mkdir(parents=True)
        console.print(f"the finished demo was moved to {kept}")
        return False
    result, now = json.loads((folder / RESULT).read_text()), _settings(config)
    then = result.get("settings", now)
    if found := differences(then, now):
        raise RunError(
            f"{folder} holds a finished demo of other settings ({told_differences(found)}); name "
            "another --run, or move it aside and train by --again"
        )
    console.print("this demo is finished; --again moves it aside and trains anew")
    _tell(folder, result)
    return True


def _check_free(folder: Path) -> None:
    """Checks that no process of an earlier start still trains in the folder.

    Raises:
        RunError: one does.
    """
    for stage in (folder / kind / name for kind in KINDS for name in ("teacher", "student")):
        if holder := lock_holder(stage):
            raise RunError(f"{stage} is in use: {holder} writes it; stop it, or wait for it")


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
    with (folder / LOG).open("ab") as log:
        return subprocess.Popen(
            command,
            stdout=log,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            env=os.environ | {PARENT: str(os.getpid())},
        )


def _watch(folder: Path, children: Mapping[str, subprocess.Popen[bytes]], clock: Clock) -> None:
    """Shows both pipelines until they end.

    Raises:
        RunError: one of them failed; shows why.
        KeyboardInterrupt: one was interrupted.
    """
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        TextColumn("{task.percentage:>3.0f} %"),
        TimeElapsedColumn(),
        TextColumn("{task.fields[note]}"),
    )
    begun = {kind: (folder / kind / LOG).stat().st_size for kind in children}
    with (
        sigterm_interrupts(),
        Progress(*columns, console=console, disable=not console.is_terminal) as shown,
    ):
        bars = {k: shown.add_task(f"{k:<10}", total=1.0, note="starting") for k in children}
        said: dict[str, str] = {}
        if not console.is_terminal:
            console.print(f"each pipeline writes its progress into {folder}/*/{LOG}")
        while any(child.poll() is None for child in children.values()):
            for kind, bar in bars.items():
                share, stage, note = _standing(folder / kind, begun[kind])
                shown.update(bar, completed=share, note=note)
                if not console.is_terminal and said.get(kind) != stage:
                    console.print(f"{kind}: {stage}", highlight=False)
                    said[kind] = stage
            _check(folder, children, begun)
            clock.keep()
            time.sleep(1.0)
    _check(folder, children, begun)


def _check(
    folder: Path, children: Mapping[str, subprocess.Popen[bytes]], begun: Mapping[str, int]
) -> None:
    """Raises where a pipeline has failed or was interrupted.

    Args:
        folder: of the demo.
        children: the pipelines' processes.
        begun: length of each log when its process began.

    Raises:
        RunError: one has failed; tells its error, or the end of its output.
        KeyboardInterrupt: one was interrupted.
    """
    for kind, child in children.items():
        status = child.poll()
        if status in (130, -signal.SIGINT, -signal.SIGTERM):
            raise KeyboardInterrupt
        if status not in (None, 0):
            path = folder / kind / LOG
            text = _said(folder / kind, begun[kind])
            told = [found.start() for found in re.finditer("^error: ", text, re.MULTILINE)]
            last = text[told[-1] if told else -TAIL :].rstrip()
            raise RunError(f"the {kind} pipeline ended with status {status} ({path}):\n{last}")


def _said(folder: Path, begun: int) -> str:
    """Returns what a pipeline has written into its log since it was ``begun`` bytes long."""
    with (folder / LOG).open("rb") as log:
        log.seek(begun)
        return log.read().decode(errors="replace")


def _standing(folder: Path, begun: int) -> tuple[float, str, str]:
    """Returns how far a pipeline is, 0 to 1, its stage, and the last line of its log.

    Args:
        folder: of the pipeline.
        begun: length of the log when the process began: earlier lines are of earlier starts.
    """
    if (folder / RESULT).exists():
        return 1.0, "done", "done"
    done = {"student.json": "robots", "teacher.json": "student"}
    stage = next((name for file, name in done.items() if (folder / file).exists()), "teacher")
    first, last = STAGES[stage]
    lines = _said(folder, begun).splitlines()
    counted = [found for line in lines if (found := COUNTED.match(line)) and found[1] == stage]
    if not counted:
        resumed = any(folder.glob(f"{stage}/checkpoints/*")) and stage != "robots"
        return first, stage, f"{stage}: {'going on' if resumed else 'compiling'}"
    share = int(counted[-1][2]) / max(int(counted[-1][3]), 1)
    return first + (last - first) * share, stage, counted[-1].string


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


def _result(config: DemoConfig, figures: Mapping[str, Any], seconds: float) -> dict[str, Any]:
    """Returns the content of result.json."""
    ours, plain = figures["randomized"], figures["plain"]
    return {
        "settings": _settings(config),
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
    run(tyro.cli(DemoConfig, args=gather_ranges(argv)))
