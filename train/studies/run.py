"""The engine of studies: trains and judges what is missing, arm by arm and seed by seed.

Each finished training leaves one file below RUN/rows, written whole or not at all, and its verdicts
go into the same file robot by robot. So a study that was killed goes on where it was; more --seeds
and --count add to what is there. From the command line each training has a process of its own, and
as many are made at a time as there are processors; what arms share is made by one of them while the
others wait. After every seed RUN/result.json holds the rows and what may be concluded, and
RUN/report.html is the page.
"""

import importlib
import json
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import jax

from mjx_s2r.io.config import to_dict
from mjx_s2r.io.run import REPORT, RESULT, Run, write_json
from mjx_s2r.params import ParamError, unknown
from mjx_s2r.runtime import devices
from mjx_s2r.runtime.own_process import run_apart
from mjx_s2r.runtime.progress import print_line
from mjx_s2r.runtime.shared_jobs import processes_asked, share_jobs
from mjx_s2r.runtime.signals import sigterm_interrupts
from train.studies.again import study_command
from train.studies.conclusions import Finding, conclude, judged_of
from train.studies.page import StudyResult, write_study_page
from train.studies.plan import (
    ROWS,
    Arm,
    Job,
    Made,
    Preset,
    Row,
    Size,
    Study,
    StudySettings,
    read_rows,
    write_figures,
)
from train.studies.recipes import plain_preset
from train.studies.robots import (
    RobotFamilies,
    fly_policy,
    make_families,
    make_robots,
    open_pilot,
    robot_verdict,
)

RUNS = Path("runs/study")
Training = tuple[int, str, int | None]  # seed, arm, and robot of an arm that knows its robot


@dataclass(frozen=True)
class StudyOptions:
    """Settings of a study on the command line; what is 0 or empty is as the study has it."""

    size: Size = "small"
    """small takes some minutes on two cores and answers roughly; full is what a claim needs."""
    seeds: int = 0
    """Trainings of each arm, 0 for as many as the size has; more add to what is there."""
    iterations: int = 0
    """PPO iterations of every training, 0 for as many as the size has."""
    count: int = 0
    """Robots of each family, 0 for as many as the size has; more add to what is there."""
    episodes: int = 0
    """Episodes of each policy on each robot, 0 for as many as the size has."""
    arms: tuple[str, ...] = ()
    """Arms to train now, of those that the study has; all are reported."""
    weights: Path | None = None
    """File of a pretrained network, for studies that need one (python -m train weights)."""
    run: Path | None = None
    """Folder of the study; by default runs/study/NAME-SIZE."""
    processes: int = 0
    """Trainings at a time; 0: one per processor, at most 8, and a single one on a GPU or TPU."""
    result: Path | None = None
    """A second place for the rows and what they say, a JSON file; RUN/result.json is written
    always."""


SIZES = ("seeds", "iterations", "count", "episodes")  # options that change a preset
MAY_CHANGE = (
    "run",
    "size",
    "weights",
    "preset.seeds",
    "preset.count",
    "preset.minutes",
    "preset.places.*",
)


def find_study(name: str, names: Sequence[str] = ()) -> Study:
    """Returns the study called ``name``, or the one that "module:NAME" leads to.

    Args:
        name: of it.
        names: those that come with this repository.

    Raises:
        ParamError: no such study; lists the near ones.
    """
    module, _, attribute = name.partition(":")
    if not attribute:
        if name not in names:
            raise unknown("study", name, names)
        module, attribute = f"train.studies.{name}", "STUDY"
    try:
        found = getattr(importlib.import_module(module), attribute)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module}.".startswith(f"{error.name}."):
            raise
        raise ParamError(
            f"study {name!r}: there is no module {module}; start where it can be imported, or name "
            f"one of {', '.join(names)}"
        ) from error
    except AttributeError as error:
        raise ParamError(f"study {name!r}: module {module} has no {attribute}") from error
    if not isinstance(found, Study):
        raise ParamError(
            f"study {name!r} is {type(found).__name__}, no Study; see train/studies/strength.py"
        )
    return found


def resolve(study: Study, options: StudyOptions, name: str = "") -> StudySettings:
    """Returns the settings of a study's run.

    Args:
        study: what is asked.
        options: the command line's.
        name: what the study is called there, if not by its own name.

    Raises:
        ParamError: a size that the study does not have or that cannot be, no such arm, or a reality
            file that is not there.
    """
    if options.processes < 0:
        raise ParamError(f"processes {options.processes} must be at least 0 (0: one per processor)")
    if options.size not in study.presets:
        raise unknown(f"size of study {study.name}", options.size, list(study.presets))
    for asked in options.arms:
        if asked not in [arm.name for arm in study.arms]:
            raise unknown(f"arm of study {study.name}", asked, [arm.name for arm in study.arms])
    given = {n: getattr(options, n) for n in SIZES}
    preset = replace(study.presets[options.size], **{n: v for n, v in given.items() if v})
    for place, file in preset.places.items():
        if not file.is_file():
            raise ParamError(f"study {study.name}: robots {place!r}: there is no file {file}")
    return StudySettings(
        run=options.run or RUNS / f"{study.name}-{options.size}",
        study=name or study.name,
        size=options.size,
        preset=plain_preset(preset),
        arms={arm.name: to_dict(arm.recipe) for arm in study.arms},
        places={name: file.read_text() for name, file in preset.places.items()},
        weights=options.weights,
    )


def run_study(
    study: Study, options: StudyOptions, name: str = "", *, apart: bool = False
) -> tuple[Finding, ...]:
    """Runs what is missing of a study; says and returns what may be concluded.

    Args:
        study: what is asked.
        options: the command line's.
        name: what the study is called there, if not by its own name.
        apart: each training has a process of its own, in which the study is found by its name.

    Raises:
        ParamError: settings that do not fit, or something that the study needs and has not got.
        RunError: a folder that another process writes, or that was begun with other settings.
    """
    settings = resolve(study, options, name)
    why = study.missing(settings) if study.missing else ""
    if why:
        raise ParamError(f"study {study.name} cannot run: {why}")
    with (
        Run.create(settings.run, settings, resume=True, may_change=MAY_CHANGE),
        sigterm_interrupts(),
    ):
        arms = [arm for arm in study.arms if not options.arms or arm.name in options.arms]
        families = make_families(
            settings.preset.task, settings.preset.places, settings.preset.count
        )
        print_line(plan_of(arms, settings))
        jobs = _trainings(arms, settings.preset)
        work = partial(_one, study, settings, families, apart)
        left = Counter(seed for seed, *_ in jobs)
        seen: set[int] = set()  # seeds of which something was done now
        shared = share_jobs(
            _worker, (settings,), jobs, _processes(options) if apart else 1, work, apart=True
        )
        with closing(shared) as told:
            for seed, line in told:
                if line is not None:
                    print_line(line)
                    seen.add(seed)
                    continue
                left[seed] -= 1
                if left[seed]:
                    continue
                if seed in seen and any(left.values()):  # the last ones are published below
                    publish(study, settings, options)
                if not apart:
                    jax.clear_caches()  # programs of trainings that are over
        findings = publish(study, settings, options)
    for found in findings:
        print_line(found.sentence)
    print_line(f"page: {settings.run / REPORT}")
    return findings


def plan_of(arms: Sequence[Arm], settings: StudySettings) -> str:
    """Returns what a study is about to do, in a sentence."""
    preset = settings.preset
    trainings = preset.seeds * sum(len(_robots_of(arm, preset)) for arm in arms)
    return (
        f"study {settings.study}, {settings.size}: {trainings} trainings, as far as they are not "
        f"done, judged on {preset.count} robots of each family; about {preset.minutes:g} minutes "
        f"on two cores as it is written; all of it goes to {settings.run}"
    )


def command(study: Study, settings: StudySettings) -> str:
    """Returns what to type to get the same again."""
    base = resolve(study, StudyOptions(size=settings.size)).preset
    given = {name: getattr(settings.preset, name) for name in SIZES}
    asked = {name: size for name, size in given.items() if size != getattr(base, name)}
    options = StudyOptions(size=settings.size, weights=settings.weights, **asked)
    return study_command(settings.study, options, always=("size",))


def _processes(options: StudyOptions) -> int:
    """Returns how many trainings there are at a time."""
    if devices.accelerators() and not options.processes:
        return 1
    return processes_asked(options.processes)


def _trainings(arms: Sequence[Arm], preset: Preset) -> list[Training]:
    """Returns all trainings of a study, those of one seed together."""
    seeds = range(preset.seeds)
    return [
        (s, arm.name, robot) for s in seeds for arm in arms for robot in _robots_of(arm, preset)
    ]


def _worker(settings: StudySettings) -> Callable[[Training], Iterator[tuple[int, str | None]]]:
    """Returns what makes trainings of a study, which is found by its name; in another process."""
    study, preset = find_study(settings.study, (settings.study,)), settings.preset
    families = make_families(preset.task, preset.places, preset.count)
    return partial(_one, study, settings, families, True)


def _robots_of(arm: Arm, preset: Preset) -> Sequence[int | None]:
    """Returns the robots that an arm has trainings for; None for all robots."""
    return range(preset.count) if arm.each_robot else (None,)


def _finished(study: Study, preset: Preset, rows: Sequence[Row]) -> bool:
    """Returns whether every arm has a row for each of its seeds, and robots if it knows them."""
    made = {(row["arm"], row["robot"], row["seed"]) for row in rows}
    return all(
        (arm.name, robot, seed) in made
        for arm in study.arms
        for robot in _robots_of(arm, preset)
        for seed in range(preset.seeds)
    )


def _one(
    study: Study,
    settings: StudySettings,
    families: RobotFamilies,
    apart: bool,
    training: Training,
) -> Iterator[tuple[int, str | None]]:
    """Trains and judges one policy, as far as that is not done.

    Yields its seed with what is done now, in words, and None at the end.
    """
    seed, named, number = training
    arm = next(a for a in study.arms if a.name == named)
    name = arm.name.replace(" ", "_") + ("" if number is None else f"-robot{number}")
    path = settings.run / ROWS / f"{name}-{seed}.json"
    row: Row = json.loads(path.read_text()) if path.exists() else {}
    if not row:
        yield seed, f"study {study.name}: {arm.name}, seed {seed}"
        row = _row(study, (arm, number), seed, settings, apart)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, row)
    missing = _missing(row, arm, settings, families)
    if not missing:
        yield seed, None
        return
    began = time.perf_counter()
    good = count = 0
    pilot = open_pilot(settings.run / row["policy"], families.task)
    for place, robot in missing:
        flown = fly_policy(pilot, robot, settings.preset.episodes)
        found = {"place": place} | robot_verdict(robot, flown)
        row["robots"].append(found)
        good, count = good + found["successes"], count + found["episodes"]
        row["judged_s"] += time.perf_counter() - began
        began = time.perf_counter()
        write_json(path, row)
    yield seed, f"study {study.name}: {arm.name}, seed {seed}: {good} of {count} episodes"
    yield seed, None


def _row(
    study: Study, job: tuple[Arm, int | None], seed: int, settings: StudySettings, apart: bool
) -> Row:
    """Trains one policy, here or in a process of its own; returns its row without a verdict."""
    if not apart:
        return _train(study, job, seed, settings)
    return run_apart(_train_named, settings.study, job[0].name, job[1], seed, settings)


def _train_named(
    name: str, arm: str, number: int | None, seed: int, settings: StudySettings
) -> Row:
    """Trains one policy of the study and arm of these names; returns its row without a verdict."""
    study = find_study(name, (name,))
    chosen = next(a for a in study.arms if a.name == arm)
    return _train(study, (chosen, number), seed, settings)


def _train(study: Study, job: tuple[Arm, int | None], seed: int, settings: StudySettings) -> Row:
    """Trains one policy; returns its row, without a verdict yet."""
    began, (arm, number) = time.perf_counter(), job
    folder = settings.run / "policies"
    if study.shares:
        folder = settings.run.parent / f"{study.shares}-{settings.size}"
    assert arm.recipe is not None, f"arm {arm.name} has no recipe"
    made: Made = arm.recipe.make(
        Job(arm.name, seed, settings.preset, folder, number, settings.weights)
    )
    return {
        "arm": arm.name,
        "seed": seed,
        "robot": number,
        "policy": os.path.relpath(made.policy, settings.run),
        "env_steps": made.env_steps,
        "trained_s": time.perf_counter() - began,
        "judged_s": 0.0,
        "curve": [_finite(line) for line in made.curve],
        "bounds": [_finite(line) for line in made.bounds],
        "facts": dict(made.facts),
        "places": {n: os.path.relpath(file, settings.run) for n, file in made.places.items()},
        "robots": [],
    }


def _missing(
    row: Row, arm: Arm, settings: StudySettings, families: RobotFamilies
) -> list[tuple[str, Any]]:
    """Returns place and robot of each verdict that a row does not have yet."""
    judged = {(found["place"], found["robot"]) for found in row["robots"]}
    asked = dict(families.families)
    if arm.places:
        asked = {name: asked[name] for name in arm.places if name in asked}
    if row["robot"] is not None:
        asked = {name: robots[row["robot"] :][:1] for name, robots in asked.items()}
    for name, file in row["places"].items():
        asked[name] = make_robots(families.task, settings.run / file, settings.preset.count)
    return [
        (place, robot)
        for place, robots in asked.items()
        for robot in robots
        if (place, robot.name) not in judged
    ]


def _finite(line: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a log's line as JSON holds it: what is not finite is null, numbers have 5 digits."""

    def plain(value: Any) -> Any:
        """Returns one value of it."""
        if isinstance(value, list):
            return [plain(x) for x in value]
        if isinstance(value, float):
            return float(f"{value:.5g}") if value - value == 0 else None
        return value

    return {name: plain(value) for name, value in line.items()}


def publish(study: Study, settings: StudySettings, options: StudyOptions) -> tuple[Finding, ...]:
    """Writes what was found: result.json, the page, and the second JSON file if there is one."""
    rows = read_rows(settings.run)
    order = [arm.name for arm in study.arms]
    rows = sorted((r for r in rows if r["arm"] in order), key=lambda r: order.index(r["arm"]))
    judged = [*judged_of(rows)]
    findings = conclude(judged, study.comparisons)
    notes = [*study.notes(rows, settings.preset)] if study.notes else []
    about = devices.describe()
    weights = settings.weights and Path(settings.weights.name)
    kept = replace(settings, run=Path(settings.run.name), weights=weights)  # not where it was made
    body = {
        "about": about,
        "study": to_dict(kept) | {"question": study.question},
        "conclusion": [found.sentence for found in findings] + notes,
        "findings": [found.to_json() for found in findings],
        "finished": _finished(study, settings.preset, rows),
        "rows": rows,
    }
    body["study"]["preset"].pop("places")
    write_figures(body, settings.run / RESULT, options.result)
    again = command(study, settings)
    found = StudyResult(study, settings, rows, judged, findings, notes, about, again)
    write_study_page(settings.run / REPORT, found)
    return findings
