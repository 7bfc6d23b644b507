"""python -m train study payoff: does identification pay in training?

Robots with numbers that no training knows are flown, their logs identified, and teachers trained
with one budget of steps: by randomization alone, at the identified values alone, and by a schedule
that starts from the posterior. Each is exported and judged on the robots. A method that knows
nothing of the robots has a training per seed, judged on all of them; one that was identified has a
training per robot and seed, judged on that robot.

What differs between trained policies is more than what their episodes tell, so a method's mean
success stands with two intervals: Wilson's over episodes, and Student's over the trainings, the
seeds' means; and with its difference to the best method without identification, paired by robot
and seed. Each finished training leaves one file below rows/, as in every study.
"""

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from rich.table import Table

from mjx_s2r.envs.registry import make_task, task_spec
from mjx_s2r.eval.intervals import Interval, mean_interval, wilson
from mjx_s2r.eval.reality import draw_robot, load_reality
from mjx_s2r.eval.robot_episodes import JudgedRobot
from mjx_s2r.eval.robot_motion import record_motion
from mjx_s2r.io.run import REPORT, Run, write_json
from mjx_s2r.learn.trainer import Trainer
from mjx_s2r.params import ParamError, unknown
from mjx_s2r.robot.collect.plan import MotionConfig
from mjx_s2r.runtime import devices
from mjx_s2r.runtime.progress import console, progress
from mjx_s2r.runtime.signals import sigterm_interrupts
from mjx_s2r.transfer.fit import RowFitConfig
from mjx_s2r.transfer.posterior import Posterior
from train.studies.again import study_command
from train.studies.conclusions import Cell, Comparison, Judged, conclude
from train.studies.identified import BRIEF_FIT, identify_robot
from train.studies.page import StudyResult, write_study_page
from train.studies.payoff_run import METHODS, Bench, make_bench, make_trainer, train_policy
from train.studies.plan import (
    ROWS,
    Arm,
    Preset,
    Study,
    StudySettings,
    gathered_rows,
    read_rows,
    write_figures,
)
from train.studies.robots import Pilot, fly_policy, open_pilot, robot_verdict

Row = dict[str, Any]
FIGURES = "payoff.json"
FIRST = "nominal"  # the method whose flights are logged where no motion can be planned
FITTED = {  # rows that are fitted; of other tasks all that motion tells, which takes longer
    "reach_told": (
        *("kp", "strength", "friction", "damping", "armature", "link_mass", "payload"),
        *("action_delay", "backlash"),
    )
}
ABOUT = {
    "nominal": "the nominal values of the table",
    "wide": "all of the limits of the table",
    "adr": "ADR, from nominal outwards",
    "identified": "the best values that were identified, and nothing else",
    "posterior": "the ranges of the posterior, to the end",
    "posterior_adr": "ADR, from the ranges of the posterior outwards",
}
PAIRS = (  # what the page compares: with the robot's log, and without
    *(("identified", "nominal"), ("identified", "wide"), ("identified", "adr")),
    *(("posterior_adr", "adr"), ("posterior_adr", "identified")),
)
ROBOTS = Path("train/payoff_tasks")  # a reality per task, NAME.toml


@dataclass(frozen=True)
class PayoffConfig:
    """Settings of the study."""

    tasks: tuple[str, ...] = (
        "docs.own_task.pendulum:Pendulum",
        "train.payoff_tasks.reach_told:ToldReach",
    )
    """Tasks, each with an actor that reads what its robot has, and a reality in `robots`."""
    robots: Path = ROBOTS
    """Folder with the reality file of each task, named as the task is."""
    methods: tuple[str, ...] = ("nominal", "wide", "adr", "identified", "posterior_adr")
    """What to compare: nominal does not randomize, wide draws from all of the limits, adr widens
    from nominal; identified does not randomize and stands at the best values, posterior draws from
    the posterior's ranges, posterior_adr widens from them."""
    count: int = 3
    """Robots of each task."""
    seeds: int = 3
    """Trainings per method, and per robot where it was identified."""
    iterations: int = 0
    """PPO iterations of every training; 0 takes the task's own number."""
    episodes: int = 20
    """Episodes of each policy on a robot."""
    motion_s: float = 30.0
    """Length of the motion that is recorded, s, a multi-sine of all joints; a robot of efforts is
    flown by the policies of method nominal instead."""
    amplitude: float = 0.4
    """Its amplitude, in the command's unit, where the limits leave so much."""
    fit: RowFitConfig = field(default_factory=lambda: BRIEF_FIT)
    """Settings of the identification."""
    run: Path = Path("runs/payoff")
    """Folder of the study."""
    result: Path | None = None
    """A second place for the rows, a JSON file; RUN/payoff.json is written always."""

    def __post_init__(self) -> None:
        """Checks methods and sizes.

        Raises:
            ParamError: no such method, or a size that cannot be; named.
        """
        for method in self.methods:
            if method not in METHODS:
                raise unknown("method", method, list(METHODS))
        for name in ("count", "seeds", "episodes"):
            if getattr(self, name) < 1:
                raise ParamError(f"payoff.{name} {getattr(self, name)} must be at least 1")
        if FIRST not in self.methods or not self.tasks:
            raise ParamError(f"payoff: it needs a task, and method {FIRST!r}, which flies first")


def run(config: PayoffConfig) -> list[Row]:
    """Runs what is missing of the study; returns its rows."""
    may_change = ("tasks", "methods", "count", "seeds", "run", "result")
    Run.create(config.run, config, resume=True, may_change=may_change).close()
    with sigterm_interrupts():
        for name in config.tasks:
            _Study(config, name).run()
            publish(config)
    rows = gathered_rows(config.run, "robots")
    for task in dict.fromkeys(row["task"] for row in rows):
        console.print(summary_table(task, [row for row in rows if row["task"] == task]))
    return rows


class _Study:
    """The study of one task."""

    def __init__(self, config: PayoffConfig, name: str) -> None:
        """Builds robots and environment."""
        self.config, self.name = config, name
        self.label = make_task(name).name
        self.bench: Bench = make_bench(name, config.robots / f"{self.label}.toml", config.count)
        self.iterations = config.iterations or task_spec(name).iterations
        self._trainers: dict[int | None, Trainer] = {}

    def run(self) -> None:
        """Trains and judges what is missing; the first method's policies fly before all others."""
        plan = self._plan()
        with progress(f"payoff {self.label}", len(plan)) as bar:
            for done, (method, seed, index) in enumerate(plan, 1):
                path = self._file(method, seed, index)
                row = json.loads(path.read_text()) if path.exists() else {}
                judged = {found["robot"] for found in row.get("robots", ())}
                missing = [robot for robot in self._robots(index) if robot.name not in judged]
                if missing:
                    row = row or self._train(method, seed, index)
                    path.parent.mkdir(parents=True, exist_ok=True)
                    write_json(path, row)
                    pilot = self._pilot(method, seed, index)
                    for robot in missing:
                        flown = fly_policy(pilot, robot, self.config.episodes)
                        row["robots"].append(robot_verdict(robot, flown))
                        write_json(path, row)
                    mean = float(np.mean([found["success"] for found in row["robots"]]))
                    bar.update(done, f"{method} seed {seed}: {mean:.2f}")

    def _plan(self) -> list[tuple[str, int, int | None]]:
        """Returns method, seed and robot of every training, None for all robots; seed by seed."""
        config = self.config
        first: list[tuple[str, int, int | None]] = [(FIRST, s, None) for s in range(config.seeds)]
        rest = [
            (method, seed, index)
            for seed in range(config.seeds)
            for method in config.methods
            if method != FIRST
            for index in (range(config.count) if METHODS[method].identified else (None,))
        ]
        return [*first, *rest]

    def _train(self, method: str, seed: int, index: int | None) -> Row:
        """Trains and exports one policy; returns its row, without a verdict yet."""
        began = time.perf_counter()
        trainer, which = self._trainer(method, index)
        path = self._policy(method, seed, index)
        score = train_policy(trainer, which, self.iterations, seed, path)
        return {
            "task": self.label,
            "method": method,
            "seed": seed,
            "engine": self.bench.env.physics.backend,
            "iterations": self.iterations,
            "env_steps": self.iterations * trainer.config.num_envs * trainer.config.num_steps,
            "train_success": score,
            "train_s": time.perf_counter() - began,
            "robots": [],
        }

    def _robots(self, index: int | None) -> tuple[JudgedRobot, ...]:
        """Returns the robots that a training is judged on: that of ``index``, or all."""
        return self.bench.robots if index is None else self.bench.robots[index : index + 1]

    def _trainer(self, method: str, index: int | None) -> tuple[Trainer, int]:
        """Returns the trainer of a method, one for all on the same table, and its number there."""
        methods = [m for m in self.config.methods if METHODS[m].identified == (index is not None)]
        if index not in self._trainers:
            posterior = None if index is None else self.posterior(index)
            self._trainers[index] = make_trainer(self.bench, self.name, methods, posterior)
        return self._trainers[index], methods.index(method)

    def _pilot(self, method: str, seed: int, index: int | None) -> Pilot:
        """Returns a policy, ready to be judged; the logs of the first method's flights are kept."""
        logs = self.config.run / "logs" / f"{self.label}-{seed}" if method == FIRST else None
        return open_pilot(self._policy(method, seed, index), self.bench.task, logs)

    def posterior(self, index: int) -> Path:
        """Returns the posterior of a robot; records and identifies where there is none yet."""
        folder = self.config.run / "identified" / f"{self.label}-{index}"
        found = folder / "posterior.json"
        if not found.exists():
            rows = FITTED.get(self.label, ())
            identify_robot(self._logs(index), self.name, folder, self.config.fit, rows)
        return found

    def _logs(self, index: int) -> list[Path]:
        """Returns the logs of a robot."""
        robot, config = self.bench.robots[index], self.config
        if self.bench.task.contract.action.mode == "effort":
            name = f"{robot.name.replace(' ', '_')}.flight"
            folders = [config.run / "logs" / f"{self.label}-{s}" for s in range(config.seeds)]
            return [folder / name for folder in folders]
        path = config.run / "logs" / f"{self.label}-{index}.flight"
        motion = MotionConfig(
            "multi-sine", amplitude=config.amplitude, seconds=config.motion_s, together=True
        )
        record_motion(robot, replace(self.bench.task.contract, cameras=()), motion, path)
        return [path]

    def _name(self, method: str, seed: int, index: int | None) -> str:
        """Returns what the files of one training are called."""
        robot = "all" if index is None else str(index)
        return f"{self.label}-{method}-{robot}-{seed}"

    def _policy(self, method: str, seed: int, index: int | None) -> Path:
        """Returns where a policy lies."""
        return self.config.run / "policies" / f"{self._name(method, seed, index)}.onnx"

    def _file(self, method: str, seed: int, index: int | None) -> Path:
        """Returns where the row of one training lies."""
        return self.config.run / ROWS / f"{self._name(method, seed, index)}.json"


def found_rows(config: PayoffConfig) -> list[Row]:
    """Returns what was identified, beside the truth: a row per task, robot and fitted parameter.

    Flaws that act beside a row, as the bus beside the delay, are no part of its truth.
    """
    found = []
    for path in sorted((config.run / "identified").glob("*/posterior.json")):
        posterior = Posterior.load(path)
        task, _, index = path.parent.name.rpartition("-")
        drawn = draw_robot(load_reality(config.robots / f"{task}.toml"), int(index))
        for i, row in enumerate(posterior.space.rows):
            about = {"task": task, "robot": int(index), "row": row.name, "nominal": row.nominal}
            figures = {
                "truth": drawn.rows.get(row.name, row.nominal),
                "best": float(posterior.best[i]),
                "interval": posterior.range_of(row.name),
                "unseen": row.name in posterior.unseen,
            }
            found.append(about | figures)
    return found


def publish(config: PayoffConfig) -> None:
    """Writes the rows, and what was identified, with what they were measured on."""
    # A file to be kept says nothing of where it was made.
    kept = replace(
        config,
        run=Path(config.run.name),
        result=config.result and Path(config.result.name),
        robots=Path(config.robots.name),
    )
    body = {"about": devices.describe(), "study": kept, "rows": gathered_rows(config.run, "robots")}
    body |= {"identified": found_rows(config)}
    write_figures(body, config.run / FIGURES, config.result)
    write_study_page(config.run / REPORT, study_result(config))


def study_result(config: PayoffConfig) -> StudyResult:
    """Returns what the page of the study shows; each task's robots are a place of their own."""
    kept = read_rows(config.run)
    rows = [
        {"arm": row["method"], "trained_s": row["train_s"], "judged_s": 0.0, "curve": ()} | row
        for row in kept
    ]
    judged = [
        Judged(
            arm=row["method"],
            seed=row["seed"],
            place=f"robots of {row['task']}",
            robot=found["robot"],
            successes=found["successes"],
            episodes=found["episodes"],
        )
        for row in kept
        for found in row["robots"]
    ]
    places = list(dict.fromkeys(j.place for j in judged))
    comparisons = [
        Comparison(Cell(one, place), Cell(other, place))
        for place in places
        for one, other in PAIRS
        if {one, other} <= set(config.methods)
    ]
    study = Study(
        name="payoff",
        question="Does identification pay in training?",
        about=(
            "Robots with numbers that no training knows are flown, their logs identified, and "
            "policies trained with one budget of steps: by randomization alone, at the identified "
            "values alone, and by a schedule that starts from the posterior."
        ),
        arms=tuple(Arm(name, ABOUT[name]) for name in config.methods),
        presets={},
        comparisons=tuple(comparisons),
    )
    files = {f"robots of {p.stem}": p.read_text() for p in sorted(config.robots.glob("*.toml"))}
    sizes = Preset(
        task=", ".join(config.tasks),
        iterations=max(config.iterations, 1),
        seeds=config.seeds,
        places={},
        count=config.count,
        episodes=config.episodes,
        minutes=0,
        engine="auto",
    )
    settings = StudySettings(
        config.run, "payoff", "full", sizes, places={n: t for n, t in files.items() if n in places}
    )
    again = study_command("payoff", config)
    findings, about = conclude(judged, comparisons), devices.describe()
    return StudyResult(study, settings, rows, judged, findings, (), about, again, config)


def cells(rows: Sequence[Row]) -> dict[tuple[str, int], float]:
    """Returns (robot, seed) -> success, of one method's rows."""
    return {(row["robot"], row["seed"]): float(row["success"]) for row in rows}


def by_seed(found: Mapping[tuple[str, int], float]) -> list[float]:
    """Returns the mean over robots of each seed: one value per independent set of trainings."""
    seeds = sorted({seed for _, seed in found})
    return [float(np.mean([x for (_, s), x in found.items() if s == seed])) for seed in seeds]


def summary_table(task: str, rows: Sequence[Row]) -> Table:
    """Returns success with its intervals, and the gain over the best method that is blind.

    Args:
        task: what it is of.
        rows: of that task; a gain is paired by robot and seed.
    """
    shown = Table(title=f"{task}: success on the robots")
    for name in ("method", "mean", "by episodes", "by seeds", "lowest", "gain, by seeds"):
        shown.add_column(name, justify="left" if name == "method" else "right", no_wrap=True)
    parts = {m: [row for row in rows if row["method"] == m] for m in METHODS}
    table = {m: cells(part) for m, part in parts.items() if part}
    means = {m: float(np.mean([*found.values()])) for m, found in table.items()}
    best = max((m for m in table if not METHODS[m].identified), key=lambda m: means[m])
    for method, found in table.items():
        good, flown = (sum(r[name] for r in parts[method]) for name in ("successes", "episodes"))
        pairs = {key: x - table[best][key] for key, x in found.items() if key in table[best]}
        shown.add_row(
            method,
            f"{means[method]:.2f}",
            _span(wilson(good, flown)),
            _span(mean_interval(by_seed(found))),
            f"{min(found.values()):.2f}",
            "" if method == best else _signed(mean_interval(by_seed(pairs)), pairs),
        )
    return shown


def _span(ends: Interval) -> str:
    """Returns an interval of a share, cut to what a share can be."""
    return f"{max(ends[0], 0.0):.2f} to {min(ends[1], 1.0):.2f}"


def _signed(ends: Interval, pairs: Mapping[tuple[str, int], float]) -> str:
    """Returns a difference with its interval."""
    mean = float(np.mean([*pairs.values()]))
    return f"{mean:+.2f} ({ends[0]:+.2f} to {ends[1]:+.2f})"


def main(argv: Sequence[str]) -> None:
    """Parses the command line and runs the study."""
    run(tyro.cli(PayoffConfig, args=list(argv)))


CONFIG = PayoffConfig
