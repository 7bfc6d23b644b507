"""Two runs side by side: what a figure was, what it is, and their ratio."""

import math
from pathlib import Path
from typing import Any

from rich.table import Table

from benchmarks.rows import Row, load

SAME = ("cpu", "cores", "devices", "versions", "xla_flags", "settings")


def compare(old: Path, new: Path) -> tuple[Table, list[str]]:
    """Returns the table of ratios (new over old), and what else differs between the two runs.

    Raises:
        BenchmarkError: a file that holds no run.
    """
    (old_about, old_rows), (new_about, new_rows) = load(old), load(new)
    before = {(r.case, r.metric): r for r in old_rows}
    after = {(r.case, r.metric): r for r in new_rows}
    table = Table(title=f"{old.name} -> {new.name}")
    for name in ("case", "metric", "unit"):
        table.add_column(name)
    for name in ("old", "new", "new / old"):
        table.add_column(name, justify="right")
    for at in dict.fromkeys([*before, *after]):
        row = after.get(at, before.get(at))
        assert row is not None
        was, now = (_value(rows.get(at)) for rows in (before, after))
        table.add_row(*at, row.unit, number(was), number(now), number(ratio(was, now)))
    return table, _differences(old_about, new_about)


def ratio(old: float, new: float) -> float:
    """Returns new / old, NaN where there is none."""
    return new / old if old and math.isfinite(old) and math.isfinite(new) else math.nan


def number(value: float) -> str:
    """Returns a figure with four digits that count, "-" for none."""
    if not math.isfinite(value):
        return "-"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def _value(row: Row | None) -> float:
    """Returns a row's value, NaN for no row."""
    return row.value if row is not None else math.nan


def _differences(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """Returns, in words, which entries of the headers make the runs hard to compare."""
    differ = [name for name in SAME if old.get(name) != new.get(name)]
    return [f"{name}: {old.get(name)} -> {new.get(name)}" for name in differ]
