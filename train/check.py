"""python -m train check --task module:Class: a task beside C MuJoCo, before it is trained.

Every row of the group "model" at both of its ends, and every signal, privileged value, label and
reward, in MJX (--physics.backend names another engine) and in C MuJoCo, from random starts for half
a second. Exit status 1 says that something differs, acts not, or is no number; each such thing gets
a sentence. What was not compared is told, too. MJX compiles a small robot in a minute, and one of
many meshes in some.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from rich.table import Table

from mjx_s2r.api.teacher import ranges_given
from mjx_s2r.curriculum.coordinates import select_rows
from mjx_s2r.envs.registry import make_task
from mjx_s2r.eval.engine_check import NOMINAL, NOTED, REFUSALS, CheckResult, check_engine
from mjx_s2r.io.run import write_json
from mjx_s2r.params import ParamSpace
from mjx_s2r.render.cameras import check_looks
from mjx_s2r.runtime.progress import console, print_line, progress
from mjx_s2r.sim.backends.physics_config import PhysicsConfig, faster_in_c
from mjx_s2r.sim.env import make
from mjx_s2r.sim.task import Task
from train.command_line import gather_ranges

STAGES = 3
UNDECIDED = ("not tried", "not told", "as nominal")
ENGINES = {"c": "C MuJoCo itself", "jax": "MJX on jax", "warp": "MuJoCo Warp"}


@dataclass(frozen=True)
class CheckConfig:
    """Settings of a check."""

    task: str = "reach"
    """Name of a task, or module:Class."""
    ranges: Path | None = None
    """A TOML or JSON file of ranges of rows instead of the task's: name = [low, high], or a value
    for a fixed row."""
    range: tuple[str, ...] = ()
    """Ranges of rows, each as name=low,high or name=value; they go before those of the file."""
    rows: str = "*"
    """Rows to check, globs of names or fields, comma-separated; ~ takes out."""
    seconds: float = 0.5
    """How long the worlds run, s."""
    starts: int = 4
    """Random starts of the nominal world; each end of a row takes two of them."""
    seed: int = 0
    """Seed of starts and actions."""
    strict: bool = False
    """Exit status 1 also where geoms touch in other points and where the solver stops early."""
    json: Path | None = None
    """File that the verdicts go to."""
    physics: PhysicsConfig = field(default_factory=PhysicsConfig)
    """Engine that is compared with C MuJoCo."""

    def __post_init__(self) -> None:
        """Checks the settings.

        Raises:
            ValueError: no time, or no start.
        """
        if not 0 < self.seconds <= 60:
            raise ValueError(f"seconds {self.seconds} must lie in (0, 60]")
        if self.starts < 1:
            raise ValueError(f"starts {self.starts} must be at least 1")


def check(task: Task, config: CheckConfig) -> list[CheckResult]:
    """Binds a task as a training does, and compares it with C MuJoCo.

    Raises:
        ParamError: rows that do not exist.
    """
    try:
        env = make(task, config.physics)
        check_looks(env.space, task.mj_model, task.contract)
    except REFUSALS as error:
        return [CheckResult("task", "bound", "refused", text=str(error))]
    if config.physics.backend == "c":
        text = (
            "engine c is C MuJoCo itself; check the engine that it replaces, --physics.backend jax"
        )
        return [CheckResult("task", "bound", "ok", text=text)]
    chosen = _asked(env.space, config.rows) & ~_fixed(env.space)
    with progress(f"checking {task.name}", STAGES) as bar:
        found = check_engine(
            env,
            chosen,
            seconds=config.seconds,
            starts=config.starts,
            seed=config.seed,
            tell=bar.update,
        )
    return [CheckResult("task", "bound", "ok"), *found]


def _asked(space: ParamSpace, rows: str) -> np.ndarray:
    """Returns (D,) True for the rows that the option names.

    Raises:
        ParamError: a pattern that fits no row.
    """
    return np.asarray(select_rows(space, rows)) if len(space) else np.zeros(0, bool)


def _fixed(space: ParamSpace) -> np.ndarray:
    """Returns (D,) True for the rows that a range fixes: they have no two ends."""
    low, high = space.limits
    return np.asarray(low == high)


def not_compared(space: ParamSpace, config: CheckConfig, found: Sequence[CheckResult]) -> list[str]:
    """Returns a sentence for each reason why rows of the table were not compared, with their names.

    Args:
        space: the table.
        config: settings of the check.
        found: what it found.
    """
    asked, fixed = _asked(space, config.rows), _fixed(space)
    model = space.in_group("model") if len(space) else fixed
    others = sorted({row.group for row in space.rows} - {"model"})
    verdicts = {v.name: v.verdict for v in found if v.section == "rows"}
    idle = np.array([verdicts.get(name) in UNDECIDED for name in space.names], bool)
    left = asked & ~fixed
    reasons = (
        (left & ~model, f"C MuJoCo has none of {', '.join(others)}, which are ours in any engine"),
        (asked & fixed, "a range fixes them"),
        (~asked, "--rows leaves them out"),
        (left & model & idle, "these worlds did not tell, see above"),
    )
    return [
        f"not compared: {int(rows.sum())} of {len(space)} rows, since {why}: "
        + ", ".join(name for name, one in zip(space.names, rows, strict=True) if one)
        for rows, why in reasons
        if rows.any()
    ]


def training_engine(task: Task) -> str:
    """Returns the engine that a training of the task would take here: "c" or "jax"."""
    if not faster_in_c(task.mj_model):
        return "jax"
    try:
        return make(task, PhysicsConfig("auto")).physics.backend
    except REFUSALS:  # the check itself says why
        return "jax"


def engine_told(trained: str, checked: str) -> str:
    """Returns a line on the engine that a training would take, and the one that is compared."""
    if checked == "c":
        return f"training takes {ENGINES[trained]} here, and there is nothing to compare C with"
    if trained == checked:
        return f"training takes {ENGINES[trained]} here, which is compared with C MuJoCo"
    return (
        f"training takes {ENGINES[trained]} here, unless --physics.backend names another engine; "
        f"what is compared with C MuJoCo is {ENGINES[checked]}"
        + (", which training takes on an accelerator" if trained == "c" else "")
    )


def table(found: Sequence[CheckResult], title: str) -> Table:
    """Returns the verdicts as a table, in sections."""
    shown = Table(title=title)
    for name in ("of", "name", "verdict"):
        shown.add_column(name)
    for name in ("gap", "allowed"):
        shown.add_column(name, justify="right")
    last = ""
    for v in found:
        if v.section != last:
            shown.add_section()
        style = "bold red" if v.failed else "" if v.verdict == "ok" else "yellow"
        numbers = (f"{100 * v.gap:.1g} %", f"{100 * v.allowed:.1g} %") if v.allowed else ("", "")
        shown.add_row(
            v.section if v.section != last else "", v.name, v.verdict, *numbers, style=style
        )
        last = v.section
    return shown


def to_json(
    found: Sequence[CheckResult], config: CheckConfig, trained: str = "", left: Sequence[str] = ()
) -> dict[str, Any]:
    """Returns the verdicts in plain values; a gap that is not finite is null.

    Args:
        found: the verdicts.
        config: settings of the check.
        trained: the engine that a training would take.
        left: sentences on rows that were not compared.
    """
    lines = [{**vars(v), "gap": v.gap if np.isfinite(v.gap) else None} for v in found]
    return {
        "task": config.task,
        "backend": config.physics.backend,
        "training": trained,
        "not_compared": list(left),
        "seconds": config.seconds,
        "ok": not any(v.failed for v in found),
        "verdicts": lines,
    }


def main(argv: Sequence[str]) -> int:
    """Checks a task; returns 1 where something is wrong.

    Raises:
        ParamError: a task or rows that do not exist.
    """
    config = tyro.cli(CheckConfig, args=gather_ranges(argv))
    task = make_task(config.task, ranges_given(config))
    trained = training_engine(task)
    print_line(engine_told(trained, config.physics.backend))
    found = check(task, config)
    console.print(table(found, f"{config.task}: {config.physics.backend} beside C MuJoCo"))
    for v in found:
        if v.text:
            print_line(f"{v.verdict}: {v.text}")
    bound = any(v.section == "rows" for v in found)
    left = not_compared(task.space, config, found) if bound else []
    for line in left:
        print_line(line)
    if config.json is not None:
        config.json.parent.mkdir(parents=True, exist_ok=True)
        write_json(config.json, to_json(found, config, trained, left))
    wrong = sum(v.failed or (config.strict and v.verdict in NOTED) for v in found)
    rows = sum(
        v.section == "rows" and v.name != NOMINAL and v.verdict not in UNDECIDED for v in found
    )
    functions = sum(v.section == "functions" for v in found)
    print_line(
        f"compared: {rows} of {len(task.space)} rows and {functions} functions; "
        f"{wrong or 'nothing'} to mend"
    )
    return int(wrong > 0)
