"""python -m train identify LOG... --task reach --rows "model.*": parameters from a robot's logs.

Reads flight logs, or any other log by a mapping file (docs/recordings.md), and fits rows of a
task's table, or those of a model alone (--model robot.xml), by simulating windows of the logs.
Writes a posterior that training starts from (--ranges OUT/posterior.json) and a page.
"""

import fnmatch
import shlex
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Annotated

import numpy as np
import tyro
from rich.table import Table

from mjx_s2r.curriculum.coordinates import select_rows
from mjx_s2r.envs.registry import make_task
from mjx_s2r.io.run import check_writable, write_json
from mjx_s2r.mjcf.load import load
from mjx_s2r.params import ParamError, ParamSpace, unknown
from mjx_s2r.params.ranges import changed_space
from mjx_s2r.runtime.progress import console, print_line, progress
from mjx_s2r.transfer.excitation import next_experiment
from mjx_s2r.transfer.fit import RowFitConfig
from mjx_s2r.transfer.identify import PreparedWindows, identify, prepare_windows
from mjx_s2r.transfer.mapping import read_mapping
from mjx_s2r.transfer.posterior import Posterior
from mjx_s2r.transfer.problem import (
    USUAL,
    IdentifyProblem,
    is_fitted,
    model_problem,
    task_problem,
    without_channels,
)
from mjx_s2r.transfer.readers.read import LogBook, read_recordings
from mjx_s2r.transfer.recording_checks import TelemetryReport, check_recordings
from mjx_s2r.transfer.report import error_by_kind, write_report
from mjx_s2r.transfer.result import Identification

STEPS = 1000  # of the bar
WEAK = 0.3  # of the limits' deviation, from which a row counts as left open
WIDE = 120  # columns of a table in a pipe
DOUBTFUL = ("late velocity", "scaled velocity")  # findings for which a channel is left out


@dataclass(frozen=True)
class IdentifyConfig:
    """Settings of an identification."""

    logs: Annotated[tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="LOG")]
    """Flight logs, or other logs by a mapping file; of a flight log of several parts the first."""
    task: str = ""
    """Task whose table is fitted; or give --model."""
    model: Path | None = None
    """MJCF or URDF file of a robot without a task; its rows follow from it and the logs."""
    mapping: Path | None = None
    """TOML or JSON file that says which column of a log is what (docs/recordings.md)."""
    rows: tuple[str, ...] = ()
    """Rows to fit, as patterns of names or fields ("model.*" "actuator.delay_s" "~model.body_*");
    empty: of a task all that motion can tell, of a model all but masses."""
    limits: tuple[str, ...] = ()
    """Other limits of rows to search in, name=low,high each."""
    channels: tuple[str, ...] = ()
    """Readings to fit, as patterns of "joint_pos NAME", "joint_vel NAME", "sensor NAME"; empty: all
    but speeds of joints whose position is read, which drivers filter."""
    out: Path | None = None
    """Folder of the results; by default runs/identify-NAME."""
    check_only: bool = False
    """Look at logs and rows, and say what they can tell, without a fit."""
    fit: RowFitConfig = field(default_factory=RowFitConfig)
    """Settings of the fit."""

    def __post_init__(self) -> None:
        """Checks the settings.

        Raises:
            ParamError: neither a task nor a model, or both.
        """
        if bool(self.task) == bool(self.model):
            raise ParamError(
                "give either --task, whose table is fitted, or --model, a robot's MJCF file"
            )

    @property
    def folder(self) -> Path:
        """Folder of the results."""
        name = self.model.stem if self.model else self.task.replace(":", "-")
        return self.out or Path("runs") / f"identify-{name}"


def main(argv: Sequence[str]) -> int:
    """Parses the command line, identifies, prints and writes; returns the exit status."""
    config = tyro.cli(IdentifyConfig, args=list(argv))
    check_writable(config.folder)
    problem, telemetry = open_problem(config)
    _print_telemetry(telemetry)
    telemetry.require_usable()
    prepared = prepare_windows(problem, config.fit)
    _print_prepared(prepared)
    if config.check_only:
        return 0
    with progress(f"identifying {problem.name}", STEPS) as bar:
        shares = {"search": (0.0, 0.3), "refine": (0.3, 0.65), "predict": (0.95, 0.05)}

        def report(stage: str, share: float, cost: float) -> None:
            """Moves the bar."""
            begin, width = shares[stage]
            bar.update(round(STEPS * (begin + width * share)), f"{stage}, misfit {cost:.3g}")

        keep = config.folder / "fit.json"
        found = identify(prepared, config.fit, report, keep, _quantum(prepared, telemetry))
        bar.update(STEPS, "done")
    warnings = tuple(str(f) for f in telemetry.findings) + found.warnings
    found = replace(found, warnings=warnings)
    _write(config, found, argv)
    if not console.is_terminal:
        console.width = WIDE
    console.print(rows_table(found.posterior))
    console.print(error_table(found))
    for warning in found.warnings:
        print_line(f"note: {warning}")
    print_line(f"page: {config.folder / 'report.html'}")
    print_line(f"train from it: --ranges {config.folder / 'posterior.json'}")
    return 0


def open_problem(config: IdentifyConfig) -> tuple[IdentifyProblem, TelemetryReport]:
    """Reads model, table and logs.

    Raises:
        RecordingError: logs that cannot be read.
        ParamError: rows that do not exist or that motion does not tell.
        ModelError: a model that cannot be read.
    """
    mapping = read_mapping(config.mapping) if config.mapping else None
    task = make_task(config.task) if config.task else None
    model = task.mj_model if task is not None else load(config.model or Path()).model
    book = read_recordings(config.logs, model, mapping)
    telemetry = check_recordings(book.recordings, model, book.findings)
    recordings = without_channels(book.recordings, _left_out(config, book, telemetry))
    if task is not None:
        table = changed_space(task.space, _as_limits(config.limits))
        if config.rows:
            chosen = select_rows(table, config.rows)
        else:
            chosen = np.array([is_fitted(row) for row in table.rows])
        return task_problem(config.task, model, table, chosen, recordings), telemetry
    name = config.model.stem if config.model else ""
    whole = model_problem(model, recordings, name)
    table = changed_space(whole.space, _as_limits(config.limits))
    chosen = select_rows(table, config.rows or USUAL)
    rows = tuple(row for row, wanted in zip(table.rows, chosen, strict=True) if wanted)
    return replace(whole, space=ParamSpace(rows)), telemetry


def _left_out(config: IdentifyConfig, book: LogBook, telemetry: TelemetryReport) -> set[str]:
    """Returns the channels that are not fitted, by name, and says which.

    Raises:
        ParamError: a pattern that fits none.
    """
    names = dict.fromkeys(str(c) for r in book.recordings for c in r.channels)
    if config.channels:
        for pattern in config.channels:
            if not fnmatch.filter(names, pattern):
                raise unknown("channel", pattern, list(names))
        found = {n for n in names if not any(fnmatch.fnmatchcase(n, p) for p in config.channels)}
    else:
        speeds = {n for n in names if n.replace("joint_vel", "joint_pos") in names.keys() - {n}}
        found = speeds | {f.element for f in telemetry.findings if f.code in DOUBTFUL}
    if found & names.keys():
        print_line(
            f"not fitted: {', '.join(sorted(found & names.keys()))} (--channels takes it in)"
        )
    return found


def _as_limits(given: Sequence[str]) -> list[str]:
    """Returns ranges "name=low,high" as ranges whose ends are the row's hard limits, too."""
    return [f"{text};limits={text.partition('=')[2]}" for text in given]


def _quantum(prepared: PreparedWindows, telemetry: TelemetryReport) -> np.ndarray:
    """Returns (C,) the steps of the readings in the order of the problem's channels."""
    known = dict(zip(telemetry.channels, telemetry.quantum.tolist(), strict=True))
    return np.array([known.get(channel, 0.0) for channel in prepared.windows.channels])


def _print_telemetry(telemetry: TelemetryReport) -> None:
    """Prints what was found in the logs."""
    for finding in telemetry.findings:
        print_line(str(finding))


def _print_prepared(prepared: PreparedWindows) -> None:
    """Prints what will be fitted, and what the logs can tell."""
    windows, found = prepared.windows, prepared.can_tell
    print_line(
        f"{len(prepared.problem.recordings)} recordings, {len(windows)} windows "
        f"({int(windows.held_out.sum())} held out), {len(found.rows)} rows"
    )
    if found.unseen:
        print_line(f"the logs tell nothing of {', '.join(found.unseen)}")
    weak = [
        f"{name} ({share:.0%} of its limits)"
        for name, share in zip(found.rows, found.left.tolist(), strict=True)
        if name not in found.unseen and share > WEAK
    ]
    if weak:
        print_line(f"left open by the logs before a fit: {', '.join(weak)}")
    for group in found.groups:
        print_line(f"seen only together: {group.words}")


def rows_table(posterior: Posterior) -> Table:
    """Returns the rows with their best values and intervals."""
    out = Table()
    for column in ("row", "nominal", "best", "95 % interval"):
        out.add_column(column, no_wrap=True, justify="left" if column == "row" else "right")
    out.add_column("note")
    tied = {name for group in posterior.groups for name in group}
    for i, row in enumerate(posterior.space.rows):
        low, high = posterior.range_of(row.name)
        notes = ["not told by the logs"] if row.name in posterior.unseen else []
        notes += ["at a limit"] if row.name in posterior.at_bound else []
        notes += ["only with others"] if row.name in tied else []
        cells = (f"{x:.4g}" for x in (row.nominal, posterior.best[i]))
        unit = "" if row.unit == "1" else f" {row.unit}"
        out.add_row(row.name, *cells, f"{low:.3g} to {high:.3g}{unit}", ", ".join(notes))
    return out


def error_table(found: Identification) -> Table:
    """Returns the open-loop errors of fitted and held-out windows, before and after."""
    out = Table()
    for column in ("windows", "of", "nominal", "fitted", "ratio", "typical", "in 95 %"):
        out.add_column(
            column, no_wrap=True, justify="left" if column in ("windows", "of") else "right"
        )
    for line in error_by_kind(found):
        cells = (f"{line.nominal:.3g}", f"{line.fitted:.3g} {line.unit}", f"{line.factor:.3g}")
        usual = "{:.3g} to {:.3g}".format(*line.typical)
        name = line.name.removeprefix("joint ")
        out.add_row(line.side, name, *cells, usual, f"{line.coverage:.0%}")
    return out


def _write(config: IdentifyConfig, found: Identification, argv: Sequence[str]) -> None:
    """Writes posterior, figures and page."""
    folder = config.folder
    found.posterior.save(folder / "posterior.json")
    recordings = [
        {
            "name": Path(fit.name).name,
            "held_out": fit.held_out,
            "channels": [str(c) for c in fit.channels],
            "nominal_rms": fit.error("nominal").tolist(),
            "fitted_rms": fit.error("fitted").tolist(),
            "inside_95": fit.coverage().tolist(),
        }
        for fit in found.fits
    ]
    write_json(
        folder / "identification.json",
        {
            "seconds": found.seconds,
            "noise_std": found.noise_std.tolist(),
            "recordings": recordings,
            "warnings": list(found.warnings),
            "fit": asdict(config.fit),
        },
    )
    command = f"python -m train identify {shlex.join(argv)}"
    source = f"--model {config.model}" if config.model else f"--task {config.task}"
    write_report(
        found,
        folder / "report.html",
        command=command,
        settings=asdict(config.fit),
        experiment=next_experiment(found.posterior, source, folder / "posterior.json"),
    )
