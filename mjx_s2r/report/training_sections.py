"""The part of the report about training: learning curves, widening bounds, ranges trained on."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from mjx_s2r.io import run
from mjx_s2r.params import Param
from mjx_s2r.report import page
from mjx_s2r.report.findings import KIND, PLAIN, RANDOMIZED, WORDS, DemoReport
from mjx_s2r.report.plots import Axis, Band, Line, band_chart, line_chart, range_bar, short

Rows = Sequence[Mapping[str, Any]]
GROUP_WORDS = {
    "model": "Physics",
    "actuator": "Actuators",
    "sensor": "Sensors",
    "world": "Pushes and start",
    "visual": "Appearance and camera",
}


@dataclass(frozen=True)
class Curve:
    """One chart of learning.

    Attributes:
        title: above the chart.
        who: "teacher" or "student".
        x: key of the horizontal axis in a line of metrics.jsonl; "step" is used where it is absent.
        y: key of the vertical axis.
        axis: of the vertical axis.
        factor: from the file's unit to the axis's.
    """

    title: str
    who: str
    x: str
    y: str
    axis: Axis
    factor: float = 1.0


SHARE = Axis("%", 0.0, 100.0)
CURVES = (
    Curve("Teacher: success", "teacher", "env_steps", "success", SHARE, 100.0),
    Curve("Teacher: return", "teacher", "env_steps", "return", Axis("reward of an episode")),
    Curve("Teacher: speed", "teacher", "env_steps", "steps_per_s", Axis("steps/s", 0.0)),
    Curve("Student: success", "student", "images", "success", SHARE, 100.0),
    Curve(
        "Student: error in reading images",
        "student",
        "images",
        "label_error_m",
        Axis("cm", 0.0),
        100.0,
    ),
    Curve("Student: distance to teacher", "student", "images", "kl", Axis("KL", log=True)),
    Curve("Student: speed", "student", "images", "images_per_s", Axis("images/s", 0.0)),
)
X_WORDS = {"env_steps": "simulated steps", "images": "images", "step": "updates"}


def learning(report: DemoReport) -> str:
    """Returns the learning curves of both pipelines."""
    logs = {
        (name, who): _read(getattr(pipeline, who))
        for name, pipeline in ((RANDOMIZED, report.randomized), (PLAIN, report.plain))
        for who in ("teacher", "student")
    }
    charts = "".join(_chart(curve, logs) for curve in CURVES)
    intro = (
        "How both learned. The randomized teacher is tested in worlds that get harder as it "
        "improves, so its curves are not a comparison of skill. The error in reading images is how "
        "far off the student places what its camera must find. KL is how far its choice of action "
        "is from its teacher's, in nats."
    )
    return page.section(
        "learning", "Learning", intro, f'<div class="grid">{charts}</div>' if charts else ""
    )


def bounds(report: DemoReport) -> str:
    """Returns how the ranges widened, one small chart for each row of the table."""
    rows = _read(report.randomized.bounds)
    intro = (
        "Training starts narrow and widens a range when the policy still succeeds at its edge. "
        "Each frame is the widest allowed range, the band what was trained on at that time, the "
        "dotted line the nominal value; time runs from left to right."
    )
    return page.section("bounds", "How the training worlds widened", intro, _bounds(report, rows))


def ranges(report: DemoReport) -> str:
    """Returns the table of ranges at the end of training."""
    intro = "What the randomized policy was trained on at the end, and how far that could go."
    if report.space is None or not len(report.space):
        return page.section("ranges", "Ranges trained on", intro, "")
    last = _last(_read(report.randomized.ranges or report.randomized.bounds))
    lines = []
    for row in report.space.rows:
        low, high = last.get(row.name, row.initial)
        band = Band(
            np.zeros(1),
            np.array([low]),
            np.array([high]),
            row.limits,
            row.nominal,
            row.law == "log_uniform",
        )
        lines.append(
            [
                _row_words(row),
                f"{short(low)} to {short(high)}" if high > low else f"only {short(low)}",
                f"{short(row.limits[0])} to {short(row.limits[1])}",
                short(row.nominal),
                range_bar(band),
            ]
        )
    head = ["parameter", "trained on", "limits", "nominal", "share of the limits"]
    return page.section("ranges", "Ranges trained on", intro, page.table(head, lines, (1, 2, 3)))


def _read(path: Path | None) -> Rows:
    """Returns the lines of a log; none where there is no file."""
    return run.read_jsonl(path) if path is not None and Path(path).is_file() else []


def _column(rows: Rows, name: str) -> np.ndarray:
    """Returns (T,) the numbers called ``name``; NaN where a line has none."""
    return np.array([_number(row.get(name)) for row in rows], float)


def _number(value: Any) -> float:
    """Returns a number of a log, NaN for what is none."""
    return float(value) if isinstance(value, int | float) else math.nan


def _chart(curve: Curve, logs: Mapping[tuple[str, str], Rows]) -> str:
    """Returns one chart with the last values below it, or nothing without data."""
    lines, says = [], []
    mine = {name: rows for (name, who), rows in logs.items() if who == curve.who}
    known = any(np.isfinite(_column(rows, curve.x)).any() for rows in mine.values())
    x_key = curve.x if known else "step"
    for name, rows in mine.items():
        y = _column(rows, curve.y) * curve.factor
        lines.append(Line(KIND[name], _column(rows, x_key), y))
        fine = y[np.isfinite(y)]
        if fine.size:
            value = f"{WORDS[name]}: {short(fine[-1])} at the end"
            says.append(f'<span class="item"><span class="key {KIND[name]}"></span>{value}</span>')
    drawn = line_chart(curve.title, Axis(X_WORDS[x_key]), curve.axis, lines)
    title = f"<strong>{escape(curve.title)}</strong>, {escape(curve.axis.label)}"
    return page.figure(title + drawn, "".join(says)) if drawn else ""


def _bounds(report: DemoReport, rows: Rows) -> str:
    """Returns the entropy chart and the small charts by group."""
    space, x_key = report.space, "env_steps" if any("env_steps" in row for row in rows) else "step"
    x = _column(rows, x_key)
    entropy = Line("a", x, _column(rows, "entropy"))
    parts = [_entropy(entropy, X_WORDS[x_key])]
    still: list[str] = []
    for group, words in GROUP_WORDS.items() if space else ():
        charts = []
        for row in space.rows if space else ():
            band = _band(row, x, rows)
            if row.group == group and band is not None and (band.high > band.low).any():
                charts.append(page.figure(band_chart(row.name, band), _row_words(row)))
            elif row.group == group and band is not None:
                still.append(row.name)
        if charts:
            parts.append(f'<h3>{words}</h3><div class="grid small">{"".join(charts)}</div>')
    if still and len(parts) > 1:
        parts.append(
            f'<p class="soft">Kept at one value while the teacher learned: '
            f"{escape(', '.join(still))}.</p>"
        )
    return "\n".join(part for part in parts if part)


def _entropy(line: Line, x_label: str) -> str:
    """Returns the chart of the whole width over time."""
    drawn = line_chart(
        "Width of the randomization", Axis(x_label), Axis("nats per row", high=0.0), [line]
    )
    title = "<strong>Width of randomization</strong>, nats"
    words = (
        "Mean logarithm of (width / width of the limits) over the rows; 0 is as wide as allowed."
    )
    return f'<div class="grid">{page.figure(title + drawn, words)}</div>' if drawn else ""


def _band(row: Param, x: np.ndarray, rows: Rows) -> Band | None:
    """Returns the range of one row over time, or None when the log does not hold it."""
    ends = np.array([_ends(line).get(row.name, (math.nan, math.nan)) for line in rows]).reshape(
        -1, 2
    )
    if not np.isfinite(ends).all(1).any():
        return None
    return Band(x, ends[:, 0], ends[:, 1], row.limits, row.nominal, row.law == "log_uniform")


def _row_words(row: Param) -> str:
    """Returns the name of a row with its unit, as HTML."""
    unit = f'<span class="soft">, {escape(_unit(row))}</span>' if _unit(row) else ""
    return escape(row.name) + unit


def _unit(row: Param) -> str:
    """Returns the unit in words; a factor on the nominal value is a ratio."""
    if row.unit != "1":
        return row.unit
    return "ratio" if row.mode == "scale" else ""


def _ends(line: Mapping[str, Any]) -> dict[str, tuple[float, float]]:
    """Returns name -> (low, high) of one line of bounds.jsonl; another line gives none."""
    names, low, high = (line.get(key, ()) for key in ("names", "low", "high"))
    return {n: (_number(a), _number(b)) for n, a, b in zip(names, low, high, strict=True)}


def _last(rows: Rows) -> dict[str, tuple[float, float]]:
    """Returns the ranges of the last line, where they are numbers."""
    ends = _ends(rows[-1]) if rows else {}
    return {name: pair for name, pair in ends.items() if all(map(math.isfinite, pair))}
