"""python -m train fly reach: a trained policy of the gallery, flown and filmed on its stand-in.

Without a name it lists the gallery. The ONNX file runs through controller and guard on simulated
robots, one episode on each; a film and a page of what became of them are written. --policy flies a
file of one's own, --reality on robots of one's own (docs/reality.md).
"""

import os
import sys
import webbrowser
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro
from rich.console import Console
from rich.table import Table

from mjx_s2r.api.gallery import GalleryPolicy, gallery, gallery_policy
from mjx_s2r.params import ParamError
from mjx_s2r.runtime import devices

WIDTH = 120  # columns of the list in a pipe


@dataclass(frozen=True)
class FlyConfig:
    """Settings of a flight to look at."""

    name: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="NAME")] = ""
    """Policy of the gallery; left out, all of them are listed."""
    policy: Path | None = None
    """A policy file of your own instead."""
    task: str = ""
    """Its task, a name or module:Class; empty: the card's, or the name in the policy's contract."""
    episodes: int = 4
    """Episodes, each on a robot of its own."""
    robots: Literal["held_out", "rehearsal"] = "held_out"
    """held_out: numbers and flaws that training never saw; rehearsal: the robots of development."""
    reality: Path | None = None
    """A reality file (docs/reality.md) that says what the robots are made of instead."""
    out: Path = Path("runs/fly")
    """Folder that film and page go to, in one of the policy's name."""
    card: bool = False
    """Only print the card: how the policy was made, and what it makes."""
    window: bool = False
    """Watch it in MuJoCo's window as it flies; needs a display."""
    browser: bool = True
    """Open the page when it is done, where there is a display."""


def main(argv: Sequence[str]) -> None:
    """Parses the command line; lists, or flies, films and shows."""
    config = tyro.cli(FlyConfig, args=list(argv))
    if not config.name and config.policy is None:
        _list()
        return
    if config.name and config.policy is not None:
        raise ParamError(
            f"{config.name!r} is of the gallery, --policy {config.policy} another one; leave "
            "one of the two out"
        )
    if config.episodes < 1:
        raise ParamError(f"episodes {config.episodes} must be at least 1")
    entry = gallery_policy(config.name) if config.name else None
    if config.card:
        print("a policy of your own has no card" if entry is None else entry)
        return
    path = config.policy if entry is None else entry.path
    assert path is not None
    _fly(config, path, entry)


def _fly(config: FlyConfig, path: Path, entry: GalleryPolicy | None) -> None:
    """Flies a policy, and says where film and page are."""
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    console.print(f"flying {path} ...")
    devices.configure()
    devices.import_mjx_quietly()
    from mjx_s2r.api.fly import show_flight
    from mjx_s2r.api.robots import EvaluateConfig
    from mjx_s2r.io.run import POLICY, check_writable
    from mjx_s2r.robot.policy import Policy

    task = config.task or ("" if entry is None else entry.card.task)
    settings = EvaluateConfig(
        policy=path,
        task=task,
        reality=config.reality,
        robots=config.robots,
        count=config.episodes,
        episodes=1,
    )
    own = path.resolve().parent.name if path.name == POLICY else path.stem
    out = config.out / (config.name or own)
    check_writable(out)
    with ExitStack() as stack:
        watch = None
        if config.window:
            from train.viewer.window import MujocoWindow

            watch = stack.enter_context(MujocoWindow(Policy.load(path).contract.control_hz))
        done = show_flight(settings, out, entry=entry, watch=watch)
    print(f"{done.successes} of {len(done.episodes)} episodes reached the goal")
    for episode in done.episodes:
        print(f"  {episode.robot}: {episode.reason}")
    if entry is not None:
        for outcome in entry.card.outcomes:
            print(f"its card: {outcome.words}")
    print(f"film: {done.film}" if done.film else "no film: MuJoCo found no OpenGL to draw with")
    print(f"page: {done.page}")
    if config.browser and (os.environ.get("DISPLAY") or sys.platform in ("darwin", "win32")):
        webbrowser.open(done.page.resolve().as_uri())


def _list() -> None:
    """Prints the gallery."""
    table = Table("name", "reads", "success", "trained in", box=None, pad_edge=False)
    for name, entry in gallery().items():
        card = entry.card
        if card.untrained:
            table.add_row(name, "", f"untrained: {card.untrained}", "")
            continue
        success = "\n".join(outcome.words for outcome in card.outcomes)
        table.add_row(name, card.reads, success, f"{card.steps / 1e6:.1f} M steps, {card.engine}")
    width = None if sys.stdout.isatty() else WIDTH
    Console(highlight=False, width=width).print(table)
    print("\npython -m train fly NAME flies one; with --card it prints how it was made")
