"""python -m train browse runs: one page over the runs of a folder, to compare them in a browser.

A table to sort and filter, curves of any metric over each other, the settings that differ, ranges
over time, results, pictures, flight logs and links, for runs of all verbs however deep they lie.
The page is one file that needs no network and no server. See docs/browse.md.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, get_args

import tyro

from mjx_s2r.params import ParamError
from mjx_s2r.report.browser.folders import RunStatus
from mjx_s2r.report.browser.page import PAGE, RunsPage, watch


@dataclass(frozen=True)
class BrowseConfig:
    """Settings of a page over runs."""

    folders: Annotated[tuple[Path, ...], tyro.conf.Positional] = (Path("runs"),)
    """Folders that hold runs, however deep."""
    out: Path | None = None
    """File of the page; absent: browse.html in the first folder. Its links lead to the runs as long
    as it stays where it is."""
    pictures_mb: float = 4.0
    """Room for pictures and films inside the page, MB; the newest runs come first. What finds none
    is shown from its own file, as long as the page lies beside the runs."""
    watch: bool = False
    """Write the page anew while runs go on, until Ctrl-C; a page that is open then follows."""
    every_s: float = 10.0
    """Time between two pages with --watch, s."""

    def __post_init__(self) -> None:
        """Checks the settings.

        Raises:
            ParamError: no folder, or a size or a time that cannot be.
        """
        if not self.folders:
            raise ParamError("folders: name at least one folder that holds runs, e.g. runs")
        if self.pictures_mb < 0:
            raise ParamError(f"pictures_mb {self.pictures_mb} must be at least 0")
        if self.every_s < 1:
            raise ParamError(f"every_s {self.every_s} must be at least 1")


def main(argv: Sequence[str]) -> int:
    """Writes the page, or goes on writing it; returns the exit status.

    Raises:
        RunError: a folder that is not there, or a page that cannot be written.
    """
    config = tyro.cli(BrowseConfig, args=list(argv))
    out = config.out or config.folders[0] / PAGE
    page = RunsPage(config.folders, out, config.pictures_mb)
    if config.watch:
        page.watch_s = config.every_s
        print(f"{out} follows the runs; Ctrl-C ends that", flush=True)
        watch(page, lambda body: print(told(body), flush=True))
        return 0
    body = page.write()
    for problem in body["problems"]:
        print(f"{problem['file']}: {problem['why']}")
    print(told(body))
    print(f"{out}  ({out.stat().st_size / 1e6:.1f} MB)")
    return 0


def told(body: dict[str, Any]) -> str:
    """Returns how many runs a page shows and how they stand, in words."""
    counts = Counter(run["status"] for run in body["runs"])
    stand = ", ".join(f"{counts[word]} {word}" for word in get_args(RunStatus) if counts[word])
    return f"{len(body['runs'])} runs" + (f": {stand}" if stand else "")
