"""Logs of a run, thinned for a page: curves of its metrics, and its ranges over time.

The rule for curves: a log of at most N lines is shown as it is. Of a longer one the first and the
last line are kept, and the lines between are cut into N - 2 groups of neighbours, of which the mean
is shown, of x and of y. So a spike is flattened and never left out. Numbers keep four digits.

The rule for ranges: M lines, evenly spaced, with the first and the last. The ends of a row's range
are whole percents of the way through its limits, in the logarithm where its law is logarithmic.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np

from mjx_s2r.io.run import read_whole_lines
from mjx_s2r.report.browser.folders import UnusableFile
from mjx_s2r.report.media import evenly_spaced

X_AXES = ("step", "env_steps", "seconds")
DIGITS = 4
Rows = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Detail:
    """How finely logs are shown, so that a page over many runs stays small.

    Attributes:
        points: of a curve, at most.
        times: at which ranges are shown, at most.
    """

    points: int
    times: int

    @classmethod
    def of(cls, runs: int) -> "Detail":
        """Returns what a number of runs leaves room for: some megabytes for hundreds of them."""
        runs = max(runs, 1)
        return cls(min(max(20_000 // runs, 24), 240), min(max(3_000 // runs, 6), 40))


def read_metrics(file: Path, problems: list[UnusableFile]) -> list[dict[str, Any]]:
    """Returns the lines of a log that are whole, with seconds that never fall.

    A process that resumes a run counts seconds from zero again; they are added to those before.
    """
    try:
        rows, broken = read_whole_lines(file)
    except OSError as error:
        problems.append(UnusableFile(str(file), f"cannot be read ({error.strerror})"))
        return []
    if broken:
        lines = ", ".join(map(str, list(broken)[:5])) + (" ..." if len(broken) > 5 else "")
        problems.append(UnusableFile(str(file), f"line {lines} is not JSON and was left out"))
    before = last = 0.0
    for row in rows:
        now = row.get("seconds")
        if isinstance(now, int | float) and math.isfinite(now):
            before += last if now < last else 0.0
            last = float(now)
            row["seconds"] = before + now
    return rows


def curves(rows: Rows, points: int) -> tuple[dict[str, list[Any]], dict[str, list[Any]]]:
    """Returns the thinned axes and the thinned metrics of a log; what is not finite is None.

    Args:
        rows: lines of metrics.jsonl.
        points: most points of a curve, at least 3.
    """
    names = list(dict.fromkeys(name for row in rows for name in row))
    table = np.array([[_number(row.get(name)) for name in names] for row in rows]).reshape(
        len(rows), len(names)
    )
    kept = np.isfinite(table).any(axis=0)
    thin = {
        name: [rounded(x, 7 if name in X_AXES else DIGITS) for x in values]
        for name, values, finite in zip(names, _means(table, points).T.tolist(), kept, strict=True)
        if finite
    }
    axes = {name: thin.pop(name) for name in X_AXES if name in thin}
    return axes, thin


def last_figures(rows: Rows) -> dict[str, float]:
    """Returns the newest finite value of every metric."""
    out: dict[str, float] = {}
    missing = {name for row in rows for name in row}
    for row in reversed(rows):
        found = [name for name in missing if math.isfinite(_number(row.get(name)))]
        out |= {name: rounded(float(row[name]), 7) for name in found}
        missing.difference_update(found)
        if not missing:
            break
    return out


def ranges(
    file: Path, table: Mapping[str, Any], times: int, problems: list[UnusableFile]
) -> dict[str, Any] | None:
    """Returns the ranges over time: "step" (T,), and per row [lows, highs, low, high], or None.

    ``lows`` and ``highs`` (T,) are percents of the way through the limits, one number where they
    never change; low and high are the last ends, in the row's unit. A row whose limits are one
    value is left out.

    Args:
        file: bounds.jsonl.
        table: table.json, row name -> row; a row that it does not know is left out.
        times: most times T.
        problems: what could not be read is added here.
    """
    try:
        lines = [line for line in file.read_text(errors="replace").split("\n") if line]
    except OSError as error:
        problems.append(UnusableFile(str(file), f"cannot be read ({error.strerror})"))
        return None
    whole = [line for line in lines if line[0] == "{" and line[-1] == "}"]
    if whole != lines[: len(whole)] or len(lines) - len(whole) > 1:
        problems.append(UnusableFile(str(file), f"{len(lines) - len(whole)} lines are torn"))
    kept = []
    for index in evenly_spaced(len(whole), times) if whole else ():
        try:
            row = json.loads(whole[index])
            kept.append((row["step"], dict(zip(row["names"], _pairs(row), strict=True))))
        except (ValueError, KeyError, TypeError):
            problems.append(UnusableFile(str(file), f"line {index + 1} holds no ranges"))
    if not kept:
        return None
    rows: dict[str, Any] = {}
    for name, about in table.items():
        found = [at.get(name) for _, at in kept]
        limits = about.get("limits") if isinstance(about, Mapping) else None
        if None in found or not _is_range(limits) or about.get("law") == "categorical":
            continue
        ends = np.array(found, float)
        shares = _through(ends, *limits, log=about.get("law") == "log_uniform")
        last = [rounded(float(end)) for end in ends[-1]]
        rows[name] = [_short(shares[:, 0]), _short(shares[:, 1]), *last]
    return {"step": [step for step, _ in kept], "rows": rows}


def _pairs(row: Mapping[str, Any]) -> list[tuple[float, float]]:
    """Returns the ends of every row's range in one line of bounds.jsonl."""
    return [(float(low), float(high)) for low, high in zip(row["low"], row["high"], strict=True)]


def _is_range(limits: Any) -> TypeGuard[list[float]]:
    """Returns whether limits are two numbers of which the second is larger."""
    return (
        isinstance(limits, list)
        and len(limits) == 2
        and all(isinstance(x, int | float) for x in limits)
        and limits[0] < limits[1]
    )


def _through(ends: np.ndarray, low: float, high: float, *, log: bool) -> np.ndarray:
    """Returns how far through the limits values are, in percent, the same shape."""
    if log and low > 0:
        ends, low, high = np.log(np.maximum(ends, low)), math.log(low), math.log(high)
    return np.clip(np.round(100 * (ends - low) / (high - low)), 0, 100)


def _short(shares: np.ndarray) -> int | list[int]:
    """Returns percents as whole numbers; one number where all are the same."""
    whole = [int(x) for x in np.nan_to_num(shares)]
    return whole[0] if len(set(whole)) == 1 else whole


def _means(table: np.ndarray, most: int) -> np.ndarray:
    """Returns (P, M) the points of a log (T, M): its lines, or means of groups of them.

    Of each group the finite numbers count; one without any is NaN.
    """
    count = len(table)
    if count <= most:
        return table
    # Where groups begin: the first line, most - 2 groups of lines between, the last line.
    middle = 1 + np.arange(most - 2) * (count - 2) // (most - 2)
    begins = np.concatenate(([0], middle, [count - 1]))
    finite = np.isfinite(table)
    sums = np.add.reduceat(np.where(finite, table, 0.0), begins)
    counts = np.add.reduceat(finite.astype(float), begins)
    return np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)


def _number(value: Any) -> float:
    """Returns a number as it is, everything else as NaN."""
    return float(value) if isinstance(value, int | float) else math.nan


def rounded(value: float, digits: int = DIGITS) -> Any:
    """Returns a number with so many digits, a whole one as int, one that is not finite as None."""
    if not math.isfinite(value):
        return None
    short = float(f"{value:.{digits}g}")
    return int(short) if short == int(short) and abs(short) < 1e15 else short
