"""python -m train study curricula: which curriculum makes a teacher that stands wide worlds best?

Every method trains a teacher per seed with one and the same number of steps. All of them are then
judged without exploration on one held-out grid: boxes that go a quarter, a half, three quarters and
all of the way from nominal to the limits, and in each box Sobol points (Sobol 1967, scrambled) and
corners. One compiled program per task serves all methods and seeds: the schedule is chosen by a
number in its state (see `mjx_s2r.curriculum.mixture.choice`).

Each finished training leaves one file below rows/, written whole or not at all: a study that was
killed goes on with the first one that is missing, and two processes may share a folder if each is
given tasks of its own.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from rich.table import Table
from scipy.stats import qmc

from mjx_s2r.curriculum.adr import ADRConfig
from mjx_s2r.curriculum.coordinates import bounds_at_width, select_rows
from mjx_s2r.curriculum.doraemon_solver import MaxentConfig
from mjx_s2r.curriculum.interface import Curriculum
from mjx_s2r.curriculum.mixture import choice
from mjx_s2r.curriculum.registry import (
    ADR,
    ALL_BUT_LOOKS,
    CURRICULA,
    CurriculumConfig,
    Schedules,
    Uniform,
)
from mjx_s2r.curriculum.scalar import DifficultyConfig
from mjx_s2r.envs.registry import make_env, task_spec
from mjx_s2r.io.run import REPORT, Run, write_json
from mjx_s2r.learn.ppo.config import PPOConfig
from mjx_s2r.learn.ppo.ppo import make_ppo
from mjx_s2r.learn.trainer import Trainer
from mjx_s2r.params import ParamError, ParamSpace, unknown
from mjx_s2r.report.charts import Curve, comparison, draw_curves, inline
from mjx_s2r.runtime import devices
from mjx_s2r.runtime.progress import console, progress
from mjx_s2r.runtime.signals import sigterm_interrupts
from mjx_s2r.sim.backends.physics_config import PhysicsConfig
from mjx_s2r.sim.env import require_native
from train.studies.again import study_command
from train.studies.conclusions import Cell, Comparison, Judged, conclude
from train.studies.curricula_run import StudyRun, train_and_score
from train.studies.page import StudyResult, write_study_page
from train.studies.plan import (
    ROWS,
    Arm,
    Panel,
    Preset,
    Study,
    StudySettings,
    gathered_rows,
    read_rows,
    spread_rows,
    write_figures,
)

Row = dict[str, Any]
FIGURES = "curricula.json"
METHOD = "schedule {}, see docs/curricula.md"
# Methods beside the schedules in `CURRICULA`.
VARIANTS = {
    "narrow": Uniform(width=0.25),
    "half": Uniform(width=0.5),
    "wide": Uniform(),
    "adr_fast": ADR(window=12, step=0.15),  # fewer scores per move, longer moves
}
# A study's trainings are short (a world of cartpole plays about 8 episodes), so these schedules
# decide on fewer scores than in a long training.
SCHEDULES = Schedules(
    difficulty=DifficultyConfig(step=0.05, window=64, rest=2),
    maxent=MaxentConfig(window=128),
)


@dataclass(frozen=True)
class StudyConfig:
    """Settings of a study."""

    tasks: tuple[str, ...] = ("cartpole", "reach")
    """Tasks to study."""
    methods: tuple[str, ...] = ("none", "narrow", "wide", "difficulty", "adr", "maxent")
    """What to compare: curricula by name; narrow, half and wide are a quarter, a half and all of
    the limits from the first episode on, adr_fast is ADR with fewer scores per move."""
    seeds: int = 3
    """Trainings per method and task."""
    iterations: int = 0
    """PPO iterations of every training; 0 takes the study's own number for the task."""
    checks: int = 1
    """How often each training is judged on the grid, evenly over its iterations."""
    actor_obs: str = ""
    """What every actor reads: state, privileged or inferable; empty: as the task's recipe."""
    physics: PhysicsConfig = field(default_factory=lambda: PhysicsConfig("auto"))
    """What takes the physics steps: --physics.backend auto, jax, warp or c."""
    widths: tuple[float, ...] = (0.25, 0.5, 0.75, 1.0)
    """Boxes of the held-out grid, as shares of the way to the limits."""
    points: int = 64
    """Sobol points per box, a power of two."""
    corners: int = 64
    """Corners per box: all where there are no more, else drawn at random."""
    grid_seed: int = 12345
    """Seed of the grid and of its starts, the same for every policy."""
    rows: tuple[str, ...] = ()
    """Rows that are randomized and judged, as patterns; empty: all but looks."""
    run: Path = Path("runs/curricula")
    """Folder of the study."""
    result: Path | None = None
    """A second place for the rows, a JSON file, and for their picture beside it; RUN/curricula.json
    and RUN/curricula.svg are written always."""
    ppo: PPOConfig | None = None
    """Settings of PPO for every task; absent, each task's recipe."""
    adr: ADRConfig = field(default_factory=ADRConfig)
    """Settings of method adr."""
    schedules: Schedules = field(default_factory=lambda: SCHEDULES)
    """Settings of the other schedules."""

    def __post_init__(self) -> None:
        """Checks the sizes.

        Raises:
            ParamError: a size that cannot be, or no such method; named.
        """
        known = [*CURRICULA, *VARIANTS]
        for method in self.methods:
            if method not in known:
                raise unknown("method", method, known)
        if self.seeds < 1 or not self.methods or not self.tasks:
            raise ParamError("study: it needs a task, a method and a seed")
        if not 1 <= self.checks <= (self.iterations or self.checks):
            raise ParamError(
                f"study.checks {self.checks} must be 1 to {self.iterations}, the iterations"
            )
        if self.points < 1 or self.points & (self.points - 1):
            raise ParamError(f"study.points {self.points} must be a power of two (Sobol)")
        if self.corners < 1 or any(not 0 < w <= 1 for w in self.widths):
            raise ParamError(
                f"study: corners {self.corners} must be >= 1, widths {self.widths} in (0, 1]"
            )


def run(config: StudyConfig) -> list[Row]:
    """Runs what is missing of a study; returns its rows."""
    may_change = ("tasks", "methods", "seeds", "run", "result")
    Run.create(config.run, config, resume=True, may_change=may_change).close()
    with sigterm_interrupts():
        for task in config.tasks:
            _one_task(config, task)
            rows = gathered_rows(config.run, "widths")
            publish(config, rows)
    console.print(table(rows))
    return rows


def _one_task(config: StudyConfig, task: str) -> None:
    """Trains and judges every method and seed of one task that is not done yet."""
    plan = [(method, seed) for seed in range(config.seeds) for method in config.methods]
    missing = [(m, s) for m, s in plan if not _file(config.run, task, m, s).exists()]
    if not missing:
        return
    trial = build_trial(config, task)
    total = config.iterations or _iterations(task)
    first = total * (len(plan) - len(missing))
    with progress(f"study {task}, iterations", total * len(plan), first) as bar:
        for before, (method, seed) in enumerate(missing, len(plan) - len(missing)):

            def tell(done: int, at: int = total * before, who: str = f"{method} {seed}") -> None:
                """Shows how far it is."""
                if console.is_terminal:
                    bar.update(at + done, who)

            start_s = time.perf_counter()
            which = config.methods.index(method)
            found = train_and_score(trial, which, total, seed, config.checks, tell)
            about = {"task": task, "method": method, "seed": seed, "engine": trial.engine}
            row = about | found | {"seconds": time.perf_counter() - start_s}
            path = _file(config.run, task, method, seed)
            path.parent.mkdir(parents=True, exist_ok=True)
            write_json(path, row)
            widest = found["widths"][-1]
            note = f"{method} seed {seed}: success {widest['success']:.2f} at full width"
            bar.update(total * (before + 1), note)


def build_trial(config: StudyConfig, task: str) -> StudyRun:
    """Builds what all trainings of a task share: learner, grid and compiled functions.

    Raises:
        ParamError: an unknown task, method or row.
    """
    ppo = config.ppo or task_spec(task).ppo
    ppo = replace(ppo, actor_obs=config.actor_obs or ppo.actor_obs)
    env = require_native(make_env(task, config.physics, ppo.num_envs))
    space = env.space
    rows = select_rows(space, config.rows or ALL_BUT_LOOKS)
    parts = [schedule(config, space, method) for method in config.methods]
    trainer = Trainer(env, choice(parts), make_ppo(ppo, env))
    worlds, engine = grid(config, space, rows), env.physics.backend
    return StudyRun(trainer, config.widths, worlds, config.grid_seed, config.points, engine)


def schedule(config: StudyConfig, space: ParamSpace, method: str) -> Curriculum:
    """Returns the curriculum of a method over the rows of the study; all others stay nominal."""
    named = VARIANTS.get(method) or CurriculumConfig(
        method, adr=config.adr, schedules=config.schedules
    )
    return replace(named, rows=config.rows).build(space.pinned())


def grid(config: StudyConfig, space: ParamSpace, rows: np.ndarray) -> np.ndarray:
    """Returns (W, N, D) the held-out worlds of each box: Sobol points first, then corners."""
    open_rows = np.flatnonzero(rows & (space.limits[1] > space.limits[0]))
    size = max(len(open_rows), 1)
    rng = np.random.default_rng(config.grid_seed)
    sobol = qmc.Sobol(size, scramble=True, rng=rng).random(config.points)
    if 2**size <= config.corners:
        ends = (np.arange(2**size)[:, None] >> np.arange(size)) % 2
    else:
        ends = rng.integers(0, 2, (config.corners, size))
    unit = np.full((config.points + len(ends), len(space)), 0.5)
    unit[:, open_rows] = np.concatenate((sobol, ends))[:, : len(open_rows)]
    boxes = [bounds_at_width(space, width, rows) for width in config.widths]
    return np.stack([_inside(space, unit, low, high) for low, high in boxes]).astype(np.float32)


def _inside(space: ParamSpace, unit: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Returns the worlds (N, D) at ``unit`` between two bounds, evenly in the law coordinate.

    Laws and groups play no part: the grid covers the box, however rare its worlds are.
    """
    log = space.logarithmic
    ends = [np.where(log, np.log(np.where(log, x, 1.0)), x) for x in (low, high)]
    flat = ends[0] + (ends[1] - ends[0]) * unit
    return np.clip(
        space.snap_discrete(np, np.where(log, np.exp(np.where(log, flat, 0)), flat)), low, high
    )


def _iterations(task: str) -> int:
    """Returns the study's number of iterations for a task.

    Raises:
        ParamError: a task that the study has no number for.
    """
    found = task_spec(task).study_iterations
    if not found:
        raise ParamError(
            f"task {task!r} registers no study_iterations, so the study does not know how long to "
            "train it; give --iterations"
        )
    return found


def _file(folder: Path, task: str, method: str, seed: int) -> Path:
    """Returns where the row of one training lies."""
    return folder / ROWS / f"{task.replace(':', '.')}-{method}-{seed}.json"


def publish(config: StudyConfig, rows: Sequence[Row]) -> None:
    """Writes the rows with what they were measured on, and the picture beside them."""
    # A file to be kept says nothing of where it was made.
    result = config.result and Path(config.result.name)
    study = replace(config, run=Path(config.run.name), result=result)
    brief = [{name: value for name, value in row.items() if name != "checks"} for row in rows]
    body = {"about": devices.describe(), "study": study, "rows": brief}
    body |= {"steps": _steps(read_rows(config.run))}
    panels = {
        task: [_curve(method, group) for method, group in methods.items()]
        for task, methods in _grouped(rows).items()
    }
    picture = comparison(panels, "width of the worlds, share of the limits", "success")
    for file in write_figures(body, config.run / FIGURES, config.result):
        file.with_suffix(".svg").write_text(picture)
    write_study_page(config.run / REPORT, study_result(config))


def study_result(config: StudyConfig) -> StudyResult:
    """Returns what the page of the study shows; a box of the grid of a task is a place."""
    kept = [row for row in read_rows(config.run) if row["task"] in config.tasks]
    rows = [
        {"arm": row["method"], "trained_s": row["seconds"], "judged_s": 0.0, "curve": ()} | row
        for row in kept
    ]
    judged = [
        Judged(
            arm=row["method"],
            seed=row["seed"],
            place=f"worlds of {row['task']}, {100 * box['width']:g} % of the limits",
            robot="grid",
            successes=round(box["success"] * box["worlds"]),
            episodes=box["worlds"],
        )
        for row in kept
        for box in row["widths"]
    ]
    widest = [
        p for p in dict.fromkeys(j.place for j in judged) if p.endswith(" 100 % of the limits")
    ]
    comparisons = [
        Comparison(Cell(method, place), Cell("wide", place))
        for place in widest
        for method in config.methods
        if method != "wide" and "wide" in config.methods
    ]
    study = Study(
        name="curricula",
        question="Which curriculum makes a teacher that stands wide worlds best?",
        about=(
            "Every method trains a teacher per seed with one number of steps; all are judged in "
            "the simulator of the training, on Sobol points and corners of boxes between nominal "
            "and the limits, the same for all."
        ),
        arms=tuple(Arm(name, METHOD.format(name)) for name in config.methods),
        presets={},
        comparisons=tuple(comparisons),
        panels=lambda rows, preset: _panels(rows),
    )
    sizes = Preset(
        task=", ".join(config.tasks),
        iterations=max(config.iterations, 1),
        seeds=config.seeds,
        places={},
        count=config.points + config.corners,
        episodes=1,
        minutes=0,
        engine=config.physics.backend,
    )
    settings = StudySettings(config.run, "curricula", "full", sizes)
    again = study_command("curricula", config)
    findings, about = conclude(judged, comparisons), devices.describe()
    return StudyResult(study, settings, rows, judged, findings, (), about, again, config)


def _steps(kept: Sequence[Row]) -> list[Row]:
    """Returns a row for each box of each judgement on the way; empty where there was but one."""
    return [
        {name: row[name] for name in ("task", "method", "seed")}
        | {name: check[name] for name in ("env_steps", "entropy")}
        | {name: box[name] for name in ("width", "success")}
        for row in kept
        if len(row.get("checks", ())) > 1
        for check in row["checks"]
        for box in check["widths"]
    ]


def _panels(kept: Sequence[Row]) -> list[Panel]:
    """Returns success against width, and against steps where trainings were judged on the way."""
    out = []
    for task, methods in _grouped(spread_rows(kept, "widths")).items():
        curves = [_curve(method, rows) for method, rows in methods.items()]
        charts = [(f"{task}: success against the width of the worlds", _chart(curves, "width"))]
        steps = [row for row in _steps(kept) if row["task"] == task]
        for width in sorted({row["width"] for row in steps}, reverse=True):
            at = _grouped([row for row in steps if row["width"] == width])[task]
            lines = [_curve(method, rows, "env_steps") for method, rows in at.items()]
            title = f"{task}: success against steps, worlds of {100 * width:g} % of the limits"
            charts.append((title, _chart(lines, "environment steps")))
        text = "Means over trainings, with the lowest and the highest one."
        out.append(Panel(f"Curves of {task}", text, tuple(charts)))
    return out


def _chart(curves: Sequence[Curve], x_label: str) -> str:
    """Returns the <svg> of a chart of success."""
    return inline(
        f"success over {x_label}", (270, 190), lambda axes: draw_curves(axes, curves, x_label)
    )


def _grouped(rows: Sequence[Row]) -> dict[str, dict[str, list[Row]]]:
    """Returns task -> method -> rows."""
    out: dict[str, dict[str, list[Row]]] = {}
    for row in rows:
        out.setdefault(row["task"], {}).setdefault(row["method"], []).append(row)
    return out


def _by(rows: Sequence[Row], over: str = "width") -> Mapping[float, list[float]]:
    """Returns width, or what else is named, -> success per seed."""
    places = sorted({row[over] for row in rows})
    return {x: [row["success"] for row in rows if row[over] == x] for x in places}


def _curve(method: str, rows: Sequence[Row], over: str = "width") -> Curve:
    """Returns a method's mean over seeds against width, with the lowest and the highest seed."""
    found = _by(rows, over)
    figures: list[Callable[[list[float]], float]] = [lambda x: float(np.mean(x)), min, max]
    mean, low, high = (np.array([f(x) for x in found.values()]) for f in figures)
    return Curve(method, np.array([*found]), mean, low, high)


def table(rows: Sequence[Row]) -> Table:
    """Returns mean success by task, method and width, over all, and the lowest in the widest."""
    widths = sorted({row["width"] for row in rows})
    shown = Table(title="success of the teacher on the held-out grid, mean over seeds")
    for name in ("task", "method", *(f"{w:g}" for w in widths), "mean", "lowest"):
        words = name in ("task", "method")
        shown.add_column(name, justify="left" if words else "right", no_wrap=True)
    for task, methods in _grouped(rows).items():
        means = {m: float(np.mean([r["success"] for r in group])) for m, group in methods.items()}
        for method in sorted(methods, key=lambda m: -means[m]):
            found = _by(methods[method])
            cells = [f"{np.mean(x):.2f}" for x in found.values()]
            lowest = min(found[widths[-1]])  # of the seeds, in the widest box
            shown.add_row(task, method, *cells, f"{means[method]:.3f}", f"{lowest:.2f}")
    return shown


def main(argv: Sequence[str]) -> None:
    """Parses the command line and runs the study."""
    run(tyro.cli(StudyConfig, args=list(argv)))


CONFIG = StudyConfig
