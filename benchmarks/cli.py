"""The command line of the benchmarks: which cases there are, running them, showing the figures.

Measuring takes seconds, compiling the rest: nothing is taken from the compile cache unless asked,
so that compile times mean something. `wall` says how long a case took in all.
"""

import importlib
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import tyro
from rich.console import Console
from rich.table import Table

from benchmarks.compare import compare, number
from benchmarks.rows import BenchmarkError, Row, Settings, about, save
from mjx_s2r.params import ParamError, unknown

CASES = {
    "physics": "mjx.step alone, steps/s; drift from C MuJoCo",
    "engines": "C MuJoCo in batch against MJX: physics alone, and PPO end to end (five minutes)",
    "env": "environment steps/s; cost of drawing the whole table; memory of a world (two minutes)",
    "ppo": "PPO end to end; share of physics' speed; rollout against update (two minutes)",
    "worlds": "PPO's speed and memory against the number of worlds (five minutes)",
    "render": "pictures/s; the same by MuJoCo's renderer; how far they agree",
    "meshes": "pictures/s of a robot of meshes; time until the first one; agreement with MuJoCo's",
    "growth": "time of a picture against pixels, worlds, geoms, lights, solids and features",
    "distill": "distillation end to end, pictures/s; the share of each part (two minutes)",
    "encoders": "image encoders, pretrained and from scratch, pictures/s (five minutes)",
    "encoder_labels": "what pretrained encoders bring on reach (half an hour)",
    "onnx": "an exported student: how far it is from JAX, its size",
    "robot": "latency of a control step, a loop at 1 kHz, the watchdog, memory over an hour",
    "compile": "seconds to the first iteration, empty and full compile cache (two minutes)",
    "checkpoint": "seconds to save and restore a training, and its size",
    "camera": "intervals of calibrated cameras against the truth; pixels left (ten minutes)",
    "ppo_vs_brax": "PPO here and in Brax: speed, compile time, time to a return (half an hour)",
    "ppo_vs_rsl_rl": "the same against rsl_rl, and where its time goes (half an hour)",
    "distill_vs_rsl_rl": "a camera student here, in rsl_rl and in Brax, on one stock (ten minutes)",
    "identify": "robots of known numbers identified: coverage, errors, mujoco.sysid (half an hour)",
}
# Run only where they are named.
LONG = (
    *("camera", "encoders", "encoder_labels"),
    *("ppo_vs_brax", "ppo_vs_rsl_rl", "distill_vs_rsl_rl", "identify"),
)


@dataclass(frozen=True)
class Config:
    """Speed, memory and compile time of mjx_s2r, with one figure of correctness beside each."""

    cases: tyro.conf.Positional[tuple[str, ...]] = ()
    """Which cases to run; all but the longest if none is named."""
    json: Path | None = None
    """File that the figures are written to."""
    list_cases: Annotated[bool, tyro.conf.arg(name="list")] = False
    """List the cases and stop."""
    compare: tuple[Path, Path] | None = None
    """Two files of figures to show side by side, old and new; nothing is run."""
    cache: bool = False
    """Take compiled programs from the cache; the compile figures then say nothing."""
    settings: Settings = field(default_factory=Settings)
    """Sizes of the cases."""


def main(argv: Sequence[str]) -> int:
    """Runs what the command line asks for; returns the exit status."""
    markers = (tyro.conf.FlagCreatePairsOff, tyro.conf.OmitArgPrefixes)
    config = tyro.cli(Config, args=list(argv), prog="python -m benchmarks", config=markers)
    console = Console()
    if config.list_cases:
        lines = (f"  {name:<13} {what}" for name, what in CASES.items())
        console.print("\n".join(lines), highlight=False, soft_wrap=True)
        return 0
    try:
        if config.compare is not None:
            table, differences = compare(*config.compare)
            console.print(table)
            for difference in differences:
                console.print(f"not the same: {difference}", highlight=False, soft_wrap=True)
        else:
            _run(config, console)
    except (BenchmarkError, ParamError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def _run(config: Config, console: Console) -> None:
    """Runs the cases, shows each as it is done, and keeps what is there after each.

    Raises:
        ParamError: a case that does not exist; lists the near ones.
    """
    for name in config.cases:
        if name not in CASES:
            raise unknown("benchmark", name, list(CASES))
    if not config.cache:
        import jax

        jax.config.update("jax_enable_compilation_cache", False)
    head = about(config.settings)
    console.print(_title(head), highlight=False, soft_wrap=True)
    rows: list[Row] = []
    for name in config.cases or [name for name in CASES if name not in LONG]:
        start = time.perf_counter()
        so_far: dict[tuple[str, str], Row] = {}  # a figure that comes again takes its own place
        for row in importlib.import_module(f"benchmarks.{name}").run(config.settings):
            so_far[row.case, row.metric] = row
            found = list(so_far.values())
            if config.json is not None and name in LONG:  # a crash then loses one training
                save(config.json, head, [*rows, *found])
        found = [*so_far.values(), Row(name, "wall", time.perf_counter() - start, "s")]
        rows += found
        console.print(f"\n{name}: {CASES[name]}", highlight=False, soft_wrap=True)
        console.print(_table(found))
        if config.json is not None:
            save(config.json, head, rows)


def _title(head: dict[str, Any]) -> str:
    """Returns where and when the figures are taken, in one line."""
    commit = f"{(head['commit'] or 'no commit')[:10]}{' changed' if head['changed'] else ''}"
    versions = head["versions"]
    return (
        f"{head['cpu']}, {head['cores']} cores, {', '.join(head['devices'])}; "
        f"jax {versions['jax']}, mujoco {versions['mujoco']}; {commit}; {head['date']}; "
        f"load {head['load_before']}"
    )


def _table(rows: Sequence[Row]) -> Table:
    """Returns one case as a table, spread and compile time beside their speed, without curves."""
    table = Table()
    table.add_column("metric")
    for column in ("value", "spread", "compile s"):
        table.add_column(column, justify="right")
    table.add_column("unit")
    values = {row.metric: row.value for row in rows}
    for row in rows:
        if row.metric.endswith((".spread", ".compile")) or row.metric.startswith("curve."):
            continue
        beside = [values.get(f"{row.metric}.{x}") for x in ("spread", "compile")]
        shown = ["" if value is None else number(value) for value in beside]
        table.add_row(row.metric, number(row.value), *shown, row.unit)
    return table
