"""python -m train inspect MODEL: what a robot's file holds, and what each engine makes of it.

Nothing is compiled. Exit status 0: the chosen engine can train it; 1: it would refuse it, or find
no room for that many worlds; 2: the file is no model that can be read.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro
from rich.console import Console
from rich.table import Table
from rich.text import Text

from mjx_s2r.io.run import write_json
from mjx_s2r.mjcf.features import ENGINES
from mjx_s2r.mjcf.inspect import ModelInspection, inspect_model
from mjx_s2r.mjcf.load import load
from mjx_s2r.sim.backends.step_cost import in_bytes

STYLES = {"refused": "bold red", "differs": "yellow", "note": "bold"}
NAMES = {"jax": "MJX", "warp": "Warp", "c": "C"}


@dataclass(frozen=True)
class InspectConfig:
    """Settings of a look at a model."""

    model: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="MODEL")]
    """The robot's file, MJCF (.xml) or URDF."""
    worlds: int = 512
    """Worlds that are to be trained at once."""
    engine: Literal["jax", "warp", "c"] = "jax"
    """Engine that the exit status speaks of."""
    json: Path | None = None
    """File that everything goes to."""

    def __post_init__(self) -> None:
        """Checks the settings.

        Raises:
            ValueError: no worlds.
        """
        if self.worlds < 1:
            raise ValueError(f"worlds {self.worlds} must be at least 1")


def contents(found: ModelInspection) -> Table:
    """Returns what is in the model."""
    shown = Table(title=f"{found.loaded.path.name}: what is in it", show_header=False)
    shown.add_column(style="bold")
    shown.add_column()
    for name, text in found.counts.items():
        shown.add_row(name, text)
    for note in found.loaded.notes:
        shown.add_row("read", note)
    return shown


def by_engine(found: ModelInspection) -> Table:
    """Returns who simulates which feature."""
    shown = Table(title="who simulates it")
    shown.add_column("feature")
    shown.add_column("count", justify="right")
    for engine in ENGINES:
        shown.add_column(NAMES[engine])
    for feature in found.features:
        marks = ["yes" if e in feature.engines else "[bold red]no[/]" for e in ENGINES]
        shown.add_row(f"{feature.kind}: {feature.name}", str(feature.count), *marks)
    marks = ["[bold]yes[/]" if found.simulates(e) else "[bold red]no[/]" for e in ENGINES]
    shown.add_section()
    shown.add_row("[bold]the whole[/]", "", *marks)
    return shown


def costs(found: ModelInspection) -> Table:
    """Returns contacts, memory and compile time of a step in MJX."""
    cost = found.cost
    shown = Table(title="a step in MJX on jax, estimated", show_header=False)
    shown.add_column(style="bold")
    shown.add_column()
    pairs = ", ".join(f"{n} {a}-{b}" for (a, b), n in cost.pairs.most_common())
    shown.add_row("pairs of geoms", pairs or "none")
    shown.add_row("contact points, rows", f"{cost.points}, {cost.rows} in every world")
    shown.add_row("memory of a world", in_bytes(cost.world_bytes))
    whole = in_bytes(cost.world_bytes * found.worlds)
    shown.add_row(f"of {found.worlds} worlds", f"{whole}; here are {in_bytes(found.memory)}")
    shown.add_row("compiling", f"about {cost.compile_s:.0f} s on two cores, the step alone")
    return shown


def remarks(found: ModelInspection) -> Iterator[Text]:
    """Yields the findings, gravest first, each in two lines."""
    for one in found.findings:
        who = f" by {NAMES.get(one.engine, one.engine)}" if one.engine else ""
        text = Text(f"{one.severity}{who}  ", style=STYLES[one.severity])
        text.append(f"{one.element}: {one.value}", style="default")
        if one.remedy:
            text.append(f"\n    {one.remedy}", style="dim")
        yield text


def main(argv: Sequence[str]) -> int:
    """Shows what a model holds; returns 1 where the chosen engine would not train it.

    Raises:
        ModelError: a file that is no model, or names files that are not there.
    """
    config = tyro.cli(InspectConfig, args=list(argv))
    found = inspect_model(load(config.model), config.worlds)
    screen = Console()
    for table in (contents(found), by_engine(found), costs(found)):
        screen.print(table)
    for text in remarks(found):
        screen.print(text)
    if config.json is not None:
        config.json.parent.mkdir(parents=True, exist_ok=True)
        write_json(config.json, found.to_json())
    trains = found.simulates(config.engine)
    screen.print(
        f"{NAMES[config.engine]} {'can train' if trains else 'cannot train'} "
        f"{config.worlds} worlds of {config.model.name} here as it is",
        style="bold green" if trains else "bold red",
    )
    return int(not trains)
