"""python -m train adversary --run runs/teacher: the worlds where a teacher fails, and why.

Searches the limits of the table, or the ranges of a file (--within posterior.json), for the worlds
in which the teacher, by its mean action, scores lowest (the cross-entropy method, see
`mjx_s2r.curriculum.adversarial`). Prints the rows to blame, most critical first, and writes them
with the hardest worlds to RUN/adversary.json. RUN/hard_ranges.json holds ranges for a training that
begins with such worlds: --ranges RUN/hard_ranges.json.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import jax
import numpy as np
import tyro
from rich.table import Table

from mjx_s2r.api.teacher import load_teacher
from mjx_s2r.curriculum.adversarial import Hardest, SearchConfig, hardest
from mjx_s2r.curriculum.coordinates import movable_rows, select_rows
from mjx_s2r.curriculum.registry import ALL_BUT_LOOKS
from mjx_s2r.eval.world_judge import judge_worlds
from mjx_s2r.io.run import write_json
from mjx_s2r.params import ParamError, ParamSpace
from mjx_s2r.params.ranges import changed_space, read_ranges
from mjx_s2r.runtime.progress import console, print_line, progress

RESULT, HARD_RANGES = "adversary.json", "hard_ranges.json"


@dataclass(frozen=True)
class AdversaryConfig:
    """Settings of a search for the hardest worlds."""

    run: Path = Path("runs/teacher")
    """Folder of the teacher's run."""
    iteration: int | None = None
    """Checkpoint of the teacher; by default the newest."""
    by: Literal["success", "return"] = "success"
    """What is lowest in the hardest worlds: the success rate, or the mean return."""
    episodes: int = 4
    """Episodes in each world; its score is their mean."""
    rows: tuple[str, ...] = ()
    """Rows that are searched, as patterns of names or fields ("~sensor.*" for all others); empty:
    all but looks. The others stay nominal."""
    within: Path | None = None
    """File of ranges that the search stays within instead of the limits, as --ranges of a training
    takes them: a posterior of an identification, or your own."""
    seed: int = 0
    """Seed of the search."""
    search: SearchConfig = field(default_factory=SearchConfig)
    """Settings of the search."""

    def __post_init__(self) -> None:
        """Checks the settings.

        Raises:
            ParamError: no episodes.
        """
        if self.episodes < 1:
            raise ParamError(f"episodes {self.episodes} must be at least 1")


def find_hardest(config: AdversaryConfig) -> tuple[ParamSpace, Hardest]:
    """Returns the table of a teacher, and the worlds in which it scores lowest.

    Raises:
        RunError: no run there.
        CheckpointError: no such checkpoint.
        ParamError: a pattern that fits no row, no row with open limits, or ranges that do not fit.
    """
    given = () if config.within is None else read_ranges(config.within)
    teacher, trainer, state = load_teacher(config.run, config.iteration)
    space = changed_space(trainer.env.space, given)
    rows = select_rows(space, config.rows or ALL_BUT_LOOKS)
    # What `hardest` runs: generations, their hardest worlds again, and once more for each row.
    batches = config.search.generations + 1 + int(movable_rows(space, rows).sum())
    with progress(f"searching {teacher.task}", batches) as bar:
        done = 0

        def score(xi: jax.Array, key: jax.Array) -> np.ndarray:
            """Returns (N,) mean scores in the worlds ``xi`` (N, D)."""
            nonlocal done
            scores = judge_worlds(trainer, state, xi, config.episodes, key=key)
            each = scores.success if config.by == "success" else scores.episode_return
            means = each.mean(1)
            done += 1
            bar.update(done, f"{config.by} {float(means.mean()):.3g}, lowest {means.min():.3g}")
            return means

        found = hardest(score, space, config.search, rows, key=jax.random.key(config.seed))
    return space, found


def blame_table(space: ParamSpace, found: Hardest, by: str) -> Table:
    """Returns the searched rows, most critical first: what is gained without them, and where."""
    shown = Table(
        title=f"rows to blame: {by} in the {len(found.score)} hardest worlds "
        f"{found.score.mean():.3g}"
    )
    columns = ("row", "nominal", "limits", "in the hardest world", f"{by} gained at nominal")
    for name in (*columns, "share of variance"):
        shown.add_column(name, justify="left" if name == "row" else "right")
    for name in found.ranking:
        i = space.index(name)
        row = space.rows[i]
        shown.add_row(
            name,
            f"{row.nominal:.3g}{f' {row.unit}' if row.unit != '1' else ''}",
            f"{row.limits[0]:.3g} to {row.limits[1]:.3g}",
            f"{found.xi[0, i]:.3g}",
            f"{found.recovery[i]:+.3g}",
            f"{found.share[i]:.0%}",
        )
    return shown


def to_result(space: ParamSpace, found: Hardest, config: AdversaryConfig) -> dict[str, Any]:
    """Returns what was found as JSON values; a score that is not finite is null."""
    worlds = [
        {
            "score": float(score) if np.isfinite(score) else None,
            "params": dict(zip(space.names, xi.tolist(), strict=True)),
        }
        for score, xi in zip(found.score, found.xi, strict=True)
    ]
    rows = [
        {
            "name": name,
            "recovery": float(found.recovery[space.index(name)]),
            "share": float(found.share[space.index(name)]),
        }
        for name in found.ranking
    ]
    about = {"by": config.by, "iteration": config.iteration, "seed": config.seed}
    episodes = found.evaluations * config.episodes
    return {**about, "episodes": episodes, "rows": rows, "worlds": worlds}


def hard_ranges(space: ParamSpace, found: Hardest) -> dict[str, dict[str, list[float]]]:
    """Returns ranges for a training that begins with the worlds where the teacher fails.

    A row to blame (one that gains by going back to nominal) begins as the range from its nominal
    value to those in the hardest worlds; its limits stay, and all other rows stay as they are.
    """
    out = {}
    for name in found.ranking:
        i = space.index(name)
        if found.recovery[i] > 0:
            values = [*found.xi[:, i].tolist(), space.rows[i].nominal]
            out[name] = {
                "initial": np.clip((min(values), max(values)), *space.limits[:, i]).tolist()
            }
    return out


def main(argv: Sequence[str]) -> None:
    """Parses the command line, searches, prints, and writes RUN/adversary.json."""
    config = tyro.cli(AdversaryConfig, args=list(argv))
    space, found = find_hardest(config)
    console.print(blame_table(space, found, config.by))
    write_json(config.run / RESULT, to_result(space, found, config))
    print_line(f"the hardest worlds are in {config.run / RESULT}")
    opened = hard_ranges(space, found)
    if opened:
        write_json(config.run / HARD_RANGES, opened)
        print_line(f"a training that begins with them: --ranges {config.run / HARD_RANGES}")
