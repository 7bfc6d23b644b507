"""Runs below a folder: which folders are runs, of which verb and task, and how each of them stands.

A folder is a run where it holds what a verb leaves there (see `MARKS`). Files that lie deeper and
in no run of their own, such as flight logs, belong to the run above them. Nothing here fails
because of a file: what cannot be read is told as a `UnusableFile`.
"""

import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from mjx_s2r.io.run import (
    CHECKPOINTS,
    CONFIG,
    METRICS,
    POLICY,
    REPORT,
    RESULT,
    RunError,
    lock_holder,
    read_settings,
)

RunStatus = Literal["finished", "running", "interrupted", "failed"]

FLIGHT = ".flight"
LOG = "log.txt"
SWEEP, GAP, IDENTIFICATION, ADVERSARY = (
    f"{name}.json" for name in ("sweep", "gap", "identification", "adversary")
)
EVALUATION = ".evaluation.json"
MARKS = (CONFIG, METRICS, RESULT, REPORT, POLICY, SWEEP, GAP, IDENTIFICATION)
SKIPPED = (CHECKPOINTS, "profile", "jobs", "nan", "__pycache__")  # folders not looked into
PIPELINES = ("randomized", "plain")  # of a demo
FRESH_S = 180.0  # a study or a pipeline that wrote a file so lately is taken to go on
TAIL = 4000  # characters of a log in which the reason of a failure stands


@dataclass(frozen=True)
class UnusableFile:
    """A file that could not be used, and why."""

    file: str
    why: str


@dataclass
class RunFolder:
    """One run, as its folder tells it.

    Attributes:
        path: the folder.
        name: its path below the folder that was asked for, with slashes.
        verb: what made it, e.g. "teacher"; "folder" where nobody can tell.
        task: name of the task, or "".
        settings: of config.json; empty without it.
        files: the files in it, and those deeper that are in no run of their own.
        folders: names of its direct subfolders.
        inner: runs that lie in it.
    """

    path: Path
    name: str
    verb: str = "folder"
    task: str = ""
    settings: dict[str, Any] = field(default_factory=dict)
    files: list[Path] = field(default_factory=list)
    folders: list[str] = field(default_factory=list)
    inner: list["RunFolder"] = field(default_factory=list)

    def has(self, name: str) -> bool:
        """Returns whether a file of that name lies directly in the folder."""
        return self.path / name in self.files


def find_runs(folders: Sequence[Path], problems: list[UnusableFile]) -> list[RunFolder]:
    """Returns the runs below some folders, those that contain others before them.

    Args:
        folders: where to look. With several, each one's name begins the names of its runs.
        problems: what could not be read is added here.

    Raises:
        RunError: a folder that is not there.
    """
    out: list[RunFolder] = []
    for folder, label in zip(folders, _labels(folders), strict=True):
        if not folder.is_dir():
            raise RunError(f"{folder}: no such folder; name one that holds runs, e.g. runs")
        found, loose = _below(folder, folder, label, problems)
        if any(file.suffix == FLIGHT for file in loose):
            found.append(RunFolder(folder, label or folder.name, "flights", files=loose))
        out += [inner for run in found for inner in _flat(run)]
    for run in out:
        run.task = run.task or _task(run, out)
    return out


def _labels(folders: Sequence[Path]) -> list[str]:
    """Returns what the names of the runs of each folder begin with: as little as tells them apart.

    A folder is known by the part of its path that the others do not share.
    """
    whole = [folder.resolve() for folder in folders]
    if len(whole) == 1:
        return [""]
    shared = Path(os.path.commonpath(whole))
    return [str(p.relative_to(shared)) if p != shared else p.name for p in whole]


def _flat(run: RunFolder) -> Iterator[RunFolder]:
    """Yields a run and the runs in it."""
    yield run
    for inner in run.inner:
        yield from _flat(inner)


def _below(
    folder: Path, root: Path, label: str, problems: list[UnusableFile]
) -> tuple[list[RunFolder], list[Path]]:
    """Returns the runs at or below a folder, and the files that belong to none of them."""
    files, folders = [], []
    try:
        with os.scandir(folder) as entries:
            for entry in sorted(entries, key=lambda e: e.name):
                if entry.name.startswith("."):
                    continue
                if entry.is_dir(follow_symlinks=False):
                    folders.append(entry.name)
                elif entry.is_file():
                    files.append(Path(entry.path))
    except OSError as error:
        problems.append(UnusableFile(str(folder), f"cannot be read ({error.strerror})"))
        return [], []
    inner: list[RunFolder] = []
    loose: list[Path] = []
    for name in folders:
        if name not in SKIPPED:
            found, rest = _below(folder / name, root, label, problems)
            inner, loose = inner + found, loose + rest
    below = "" if folder == root else folder.relative_to(root).as_posix()
    name = "/".join(filter(None, (label, below))) or folder.name
    run = RunFolder(folder, name, files=files, folders=folders, inner=inner)
    if not _is_run(run):
        return inner, files + loose
    run.files = files + loose
    run.settings = _settings(run, problems)
    run.verb = _verb(run)
    return [run], []


def _is_run(run: RunFolder) -> bool:
    """Returns whether a folder is a run: by what is in it, or by the parts of a pipeline or demo.

    The folder above several runs is none. A config.json of something else makes none, either.
    """
    marks = [name for name in MARKS if run.has(name)]
    if marks == [CONFIG]:
        return _is_ours(run.path / CONFIG)
    held = {inner.path.name for inner in run.inner if inner.path.parent == run.path}
    return (
        bool(marks)
        or any(file.name.endswith(EVALUATION) for file in run.files)
        or (run.has(LOG) and ("teacher" in held or "student" in held))
        or ("jobs" in run.folders and bool(held))
        or held.issuperset(PIPELINES)
    )


def _is_ours(file: Path) -> bool:
    """Returns whether a config.json is a run's, or at least may have been one that was torn."""
    try:
        body = json.loads(file.read_text())
    except (OSError, ValueError):
        return True
    return isinstance(body, dict) and ("schema" in body or "run" in body)


def _settings(run: RunFolder, problems: list[UnusableFile]) -> dict[str, Any]:
    """Returns the settings of a run, empty where there are none that can be read."""
    if not run.has(CONFIG):
        return {}
    try:
        return read_settings(run.path)
    except RunError as error:
        problems.append(UnusableFile(str(run.path / CONFIG), str(error)))
        return {}


def _verb(run: RunFolder) -> str:
    """Returns the verb that made a run, by its settings or else by its files."""
    settings, held = run.settings, {Path(inner.name).name for inner in run.inner}
    by_settings = {
        "seeds": "count" in settings and isinstance(settings.get("teacher"), Mapping),
        "student": isinstance(settings.get("teacher"), str),
        "adapt": isinstance(settings.get("student"), str),
        "payoff": "methods" in settings and "robots" in settings,
        "study": "methods" in settings or "study" in settings,
        "teacher": "ppo" in settings and "iterations" in settings,
    }
    by_files = {
        "sweep": run.has(SWEEP) or ("jobs" in run.folders and bool(run.inner)),
        "gap": run.has(GAP),
        "identify": run.has(IDENTIFICATION),
        "demo": held.issuperset(PIPELINES),
        "pipeline": bool(held & {"teacher", "student"}),
        "export": run.has(POLICY) and not run.inner,
        "evaluate": any(file.name.endswith(EVALUATION) for file in run.files),
    }
    return next((verb for verb, holds in (by_settings | by_files).items() if holds), "folder")


def _task(run: RunFolder, runs: Sequence[RunFolder]) -> str:
    """Returns the task of a run: its own, that of whom it learned from, or that of its parts."""
    seen: set[Path] = set()
    while run.path not in seen:
        seen.add(run.path)
        for settings in (run.settings, run.settings.get("teacher")):
            if isinstance(settings, Mapping) and isinstance(settings.get("task"), str):
                return str(settings["task"])
        source = run.settings.get("teacher") or run.settings.get("student")
        if not isinstance(source, str):
            break
        found = next((r for r in runs if _same(r.path, Path(source), run.path)), None)
        if found is None:
            try:
                settings = read_settings(Path(source))
            except RunError:
                break
            found = RunFolder(Path(source), source, settings=settings)
        run = found
    tasks = run.settings.get("tasks")
    if isinstance(tasks, list):
        return ", ".join(map(str, tasks))
    for name in (SWEEP, GAP):
        if run.has(name):
            told = read_object(run.path / name).get("task")
            if isinstance(told, str) and told:
                return told
    parts = dict.fromkeys(inner.task or _task(inner, runs) for inner in run.inner)
    return ", ".join(filter(None, parts))


def _same(path: Path, source: Path, user: Path) -> bool:
    """Returns whether ``source``, as a run's settings name a folder, is the folder ``path``.

    Settings name a folder from where the command was typed, and runs may have been moved since; so
    a sibling of the same name counts, too.
    """
    if source.is_absolute() or source.exists():
        return path.resolve() == source.resolve()
    return path.name == source.name and path.parent == user.parent


def read_object(file: Path) -> dict[str, Any]:
    """Returns the object in a JSON file; empty where there is none that can be read."""
    try:
        body = json.loads(file.read_text())
    except (OSError, ValueError):
        return {}
    return body if isinstance(body, dict) else {}


def planned_iterations(run: RunFolder) -> int | None:
    """Returns how many iterations a run was asked for; None where it counts none."""
    settings = run.settings
    inside = {"student": "distill", "adapt": "adapt", "seeds": "teacher"}.get(run.verb)
    planned = (settings.get(inside) or {} if inside else settings).get("iterations")
    if isinstance(planned, list):  # of each stage, or the same of all
        stages = len(settings.get("adapt", {}).get("simulated", planned))
        planned = planned[0] * stages if len(planned) == 1 else sum(planned)
    if run.verb not in ("teacher", "student", "adapt", "seeds"):
        return None
    return planned if isinstance(planned, int) else None


def status(run: RunFolder, step: float, failures: Mapping[Path, str]) -> tuple[RunStatus, str]:
    """Returns how a run stands, and a note: who writes it, or why it failed.

    A run is running while a process holds its lock or that of one of its parts. It is finished
    where it has done its iterations or has left its result. Of a pipeline, a demo or a study, which
    hold no lock between their parts, a file that is `FRESH_S` young says that it goes on.

    Args:
        run: the run.
        step: iterations that it has done.
        failures: see `find_failures`.
    """
    holder = next((h for r in _flat(run) if (h := lock_holder(r.path))), "")
    if holder:
        return "running", holder
    planned = planned_iterations(run)
    if planned is None:
        done = any(run.has(name) for name in MARKS if name not in (CONFIG, METRICS))
        done = done or run.verb in ("flights", "evaluate") or run.verb == "folder"
        if run.verb in ("study", "payoff"):
            done = _rows_done(run)
    else:
        done = step >= planned
    if done:
        return "finished", ""
    for path, why in failures.items():
        if run.path == path or path in run.path.parents:
            return "failed", why
    if planned is None and (newest := _newest(run)):
        return "running", f"{newest.name} was written within the last {FRESH_S / 60:.0f} minutes"
    return "interrupted", ""


def _newest(run: RunFolder) -> Path | None:
    """Returns a file of a run, or of a run in it, that was written to lately; None without one."""
    now = time.time()
    for file in (file for each in _flat(run) for file in each.files):
        try:
            if now - file.stat().st_mtime < FRESH_S:
                return file
        except OSError:  # removed since it was listed
            continue
    return None


def _rows_done(run: RunFolder) -> bool:
    """Returns whether a study has all its rows: its result says so, or they are counted."""
    settings = run.settings
    lists = [settings.get(name) for name in ("tasks", "methods")]
    if not all(isinstance(one, list) for one in lists) or not isinstance(
        settings.get("seeds"), int
    ):
        return run.has(RESULT) and read_object(run.path / RESULT).get("finished", True) is True
    rows = sum(file.parent.name == "rows" and file.suffix == ".json" for file in run.files)
    return rows >= len(lists[0] or ()) * len(lists[1] or ()) * int(settings["seeds"])


def find_failures(runs: Sequence[RunFolder]) -> dict[Path, str]:
    """Returns the folders of runs that failed, and what was said last.

    That is known of the runs of a sweep, whose file tells how each ended, and of a pipeline whose
    log ends in an error.
    """
    out: dict[Path, str] = {}
    for run in runs:
        if run.has(SWEEP):
            became = read_object(run.path / SWEEP).get("became")
            for name, what in became.items() if isinstance(became, dict) else ():
                if what != "ended":
                    out[run.path / name] = str(what)
        if run.has(LOG):
            try:
                tail = (run.path / LOG).read_text(errors="replace")[-TAIL:].strip()
            except OSError:
                continue
            last = tail.splitlines()[-1:] or [""]
            if "Traceback (most recent call last)" in tail or last[0].startswith("error:"):
                out[run.path] = last[0][:200]
    return out
