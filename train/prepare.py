"""python -m train prepare MODEL -o FOLDER: makes a maker's MJCF or URDF ready for training.

Writes robot.xml with its meshes and textures, prepare.json, and report.html with pictures of the
original and the prepared model side by side. The original is only read.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated

import tyro

from mjx_s2r.mjcf.prepare import PrepareOptions, prepare
from mjx_s2r.mjcf.prepare_report import aims_missed, write_prepare_report
from mjx_s2r.runtime.progress import console, print_line

OPTIONS = fields(PrepareOptions)


@dataclass(frozen=True, kw_only=True)
class PrepareConfig(PrepareOptions):
    """Settings of a preparation."""

    model: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="MODEL")]
    """The maker's file, MJCF or URDF."""
    out: Annotated[Path, tyro.conf.arg(aliases=["-o"])]
    """Folder of the prepared model; made here."""
    overwrite: bool = False
    """Replace a prepared model that is there already."""


def main(argv: Sequence[str]) -> None:
    """Parses the command line and prepares the model."""
    config = tyro.cli(PrepareConfig, args=list(argv))
    with console.status("reading") as status:

        def tell(stage: str, what: str) -> None:
            """Shows what is being done; a line for each stage in a pipe."""
            status.update(f"{stage}: {what}")
            if not console.is_terminal and stage not in told:
                print_line(stage)
                told.add(stage)

        told: set[str] = set()
        options = PrepareOptions(**{one.name: getattr(config, one.name) for one in OPTIONS})
        done = prepare(config.model, config.out, options, config.overwrite, tell)
        tell("drawing", "the report")
        report = write_prepare_report(done)
    for link in done.links:
        kinds = ", ".join(one.kind for one in link.primitives)
        print_line(
            f"{link.body}: {link.meshes} meshes -> {kinds}; sticks out {link.error.out_mm:.1f} mm, "
            f"falls short {link.error.short_mm:.1f} mm, aimed at {link.accepted_mm:.1f} mm"
            f"{': missed' if link.missed else ''}"
        )
    for aim in aims_missed(done):
        print_line(f"aim missed: {aim}")
    for check in done.checks:
        if not check.holds:
            off = f"{check.value:.2g} {check.unit}"
            print_line(f"differs from the original: {check.what}, by {off}")
    kept = sum(pair.reason == "kept" for pair in done.pairs)
    print_line(f"{kept} of {len(done.pairs)} pairs of bodies are looked at for contacts")
    for one in done.findings:
        print_line(
            f"{one.severity}: {one.element}: {one.value}"
            + (f"; {one.remedy}" if one.remedy else "")
        )
    print_line(f"{done.path}")
    print_line(f"{report}: look at it before you train")
    print_line(f"next: python -m train new my_task --model {done.path}")
