"""python -m train gap runs/student/policy.onnx: how far simulation is from the robot, and why.

The file flies stand-ins (--reality my_robot.toml), or logs of a real robot are given (--flights
mon/episode-1.log tue/episode-1.log --successes 2). It plays in worlds of its training from the same
starts; recorded commands are replayed in simulation, and rows of the table are blamed for what
differs; observations and pictures of both sides are compared. --run RUN alone takes the policy.onnx
of that run, and has its training's own engine play it, too. One page and gap.json go into the
folder "gap" beside the policy, or --out. See docs/gap.md.
"""

import shlex
from collections.abc import Sequence

import tyro

from mjx_s2r.api.gap import FIGURES_FILE, GapConfig, measure_gap
from mjx_s2r.io.run import check_writable
from mjx_s2r.runtime.progress import console
from mjx_s2r.transfer.gap.page import write_gap_page
from mjx_s2r.transfer.gap.result import GapReport

PAGE = "gap.html"


def main(argv: Sequence[str]) -> None:
    """Parses the command line, measures, prints and writes."""
    config = tyro.cli(GapConfig, args=list(argv))
    if config.file.is_file():
        check_writable(config.folder.parent)
        config.folder.mkdir(parents=True, exist_ok=True)
    report = measure_gap(config)
    command = shlex.join(["python", "-m", "train", "gap", *argv])
    page = write_gap_page(config.folder / PAGE, report, command)
    for line in _told(report):
        console.print(line, highlight=False, markup=False)
    console.print(f"{page}, {config.folder / FIGURES_FILE}", highlight=False)


def _told(report: GapReport) -> list[str]:
    """Returns what the page says, in a few lines."""
    lines = [
        f"{place.name}: success {place.performance.success.value:.0%} of "
        f"{place.performance.episodes}"
        for place in report.places
    ]
    if report.verdict is not None:
        lines.append(f"gap: {report.verdict.sentence}")
    if report.blame is not None and report.blame.greedy:
        said = ", then ".join(
            f"{row.name} {row.nominal:.3g} -> {row.best:.3g}" for row in report.blame.greedy
        )
        lines.append(f"to blame: {said}; explains {report.blame.greedy[-1].share:.1%} of the error")
    return [*lines, *(f"left out: {sentence}" for sentence in report.missing)]
