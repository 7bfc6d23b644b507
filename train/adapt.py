"""python -m train adapt --student runs/student --data flights/*.log: better with real pictures.

Demonstrations are flight logs or LeRobot dataset folders (docs/real_data.md); stages go from
simulated to real frames (docs/adapt.md). The folder is a student's run: python -m train export
--student runs/adapted. What the adaptation did goes into result.json beside it.
"""

from collections.abc import Sequence

import tyro
from rich.table import Table

from mjx_s2r.api.adapt import AdaptConfig, train_adapted
from mjx_s2r.api.adapt_report import AdaptFigures, AdaptReport, StageFigures, adapt_report
from mjx_s2r.io.run import RESULT, write_json
from mjx_s2r.runtime.progress import console


def main(argv: Sequence[str]) -> None:
    """Parses the command line, adapts, prints and writes."""
    config = tyro.cli(AdaptConfig, args=list(argv))
    trainer, state, data = train_adapted(config)
    report = adapt_report(config, trainer, state, data)
    write_json(config.run / RESULT, report.to_json())
    for note in report.notes:
        console.print(f"note: {note}", highlight=False)
    learned, held_out = report.demonstrations
    console.print(
        f"{learned} demonstrations learned from ({report.rows[0]} rows), {held_out} held out; "
        f"{100 * report.clipped:.1f} % of the actions were clipped",
        highlight=False,
    )
    console.print(stages_table(report.stages))
    console.print(figures_table(report))
    console.print(f"written to {config.run / RESULT}", highlight=False)


def stages_table(stages: Sequence[StageFigures]) -> Table:
    """Returns the figures of each stage."""
    names = ("stage", "share", "trains", "steps", "simulated", "real", "held out")
    out = Table(*names, "success", "domain", title="errors of squashed actions by stage")
    for x in stages:
        last = (x.simulated_error, x.real_error, x.held_out_error, x.success, x.domain_accuracy)
        given = str(x.stage), f"{x.simulated:g}", x.trained, str(x.iterations)
        out.add_row(*given, *map(_number, last))
    return out


def figures_table(report: AdaptReport) -> Table:
    """Returns the student before and after."""
    out = Table("", "before", "after")
    for name in AdaptFigures.__dataclass_fields__:
        pair = (getattr(x, name) for x in (report.before, report.after))
        out.add_row(name.replace("_", " "), *map(_number, pair))
    return out


def _number(value: float | None) -> str:
    """Returns a figure for people."""
    return "" if value is None else f"{value:.3g}"
