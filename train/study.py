"""python -m train study NAME: answers a question by trainings, judged on robots.

Without a name it lists the studies with their question, what they cost and what came out last.
NAME --help shows the settings. Each study leaves RUN/report.html, one page with rates, intervals
and a conclusion that is no stronger than these, and RUN/result.json. One that was stopped goes on
by the same command. A study of your own is named module:STUDY, see docs/studies.md.
"""

import importlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import tyro
from rich.table import Table

from mjx_s2r.io.run import REPORT, RESULT
from mjx_s2r.params import unknown
from mjx_s2r.runtime.progress import console, print_line

# Names of studies in train/studies; those of `OWN` are programs with settings of their own.
NAMES = (
    *("strength", "gap", "adr", "randomized", "cloning", "approaches", "critical"),
    *("finetune", "adaptation", "cotraining", "encoder"),
)
OWN = {
    "curricula": "Which curriculum makes a teacher that stands wide worlds best?",
    "payoff": "Does identification pay in training?",
}
KEPT = Path("benchmarks/results")


def main(argv: Sequence[str]) -> None:
    """Finds the study and runs it, or lists all."""
    if not argv:
        console.print(table())
        print_line("python -m train study NAME runs one; python -m train study NAME --help")
        return
    if argv[0] in ("-h", "--help"):
        print_line(__doc__ or "")
        return
    name, rest = argv[0], argv[1:]
    settings = config_of(name)
    if name in OWN:
        importlib.import_module(f"train.studies.{name}").main(rest)
        return
    from train.studies.run import find_study, run_study  # imports jax

    study = find_study(name, NAMES)
    options = tyro.cli(
        settings,
        prog=f"python -m train study {name}",
        description=f"{study.question} {study.about}",
        args=list(rest),
    )
    run_study(study, options, name, apart=True)


def config_of(name: str) -> type[Any]:
    """Returns the class of a study's settings.

    Raises:
        ParamError: no such study; lists the near ones.
    """
    if name in OWN:
        found: type[Any] = importlib.import_module(f"train.studies.{name}").CONFIG
        return found
    if name.startswith("-") or (":" not in name and name not in NAMES):
        raise unknown("study", name, [*NAMES, *OWN])
    from train.studies.run import StudyOptions

    return StudyOptions


def table() -> Table:
    """Returns every study with its question, its cost and its last conclusion."""
    from train.studies.run import RUNS, find_study

    shown = Table(caption="minutes: estimated, on two cores, small / full")
    shown.add_column("study", no_wrap=True)
    shown.add_column("question", ratio=2)
    shown.add_column("minutes", no_wrap=True)
    shown.add_column("last result", ratio=3)
    for name in NAMES:
        study = find_study(name, NAMES)
        cost = " / ".join(f"{preset.minutes:g}" for preset in study.presets.values())
        shown.add_row(name, study.question, cost, last_result(name, RUNS))
        shown.add_section()
    for name, question in OWN.items():
        shown.add_row(name, question, "hours", f"see docs/{name}.md")
        shown.add_section()
    return shown


def last_result(name: str, runs: Path, kept: Path = KEPT) -> str:
    """Returns what a study said last: of a run here, else of the kept results.

    Args:
        name: of the study.
        runs: where runs of studies lie.
        kept: where results are kept.
    """
    files = [path for path in runs.glob(f"{name}-*/{RESULT}") if path.is_file()]
    files = sorted(files, key=lambda path: path.stat().st_mtime)
    files = files[-1:] or [p for p in (kept / f"study_{name}.json",) if p.is_file()]
    if not files:
        return "none yet"
    body: dict[str, Any] = json.loads(files[-1].read_text())
    where = files[-1].parent / REPORT
    said = " ".join(body.get("conclusion", ()))
    return f"{said} ({where})" if where.is_file() else said
