"""Pictures of curricula as whole SVG files: a run's ranges over time, and a study's comparison.

The charts are those of `mjx_s2r.report.plots`; here they are set side by side with colours of
their own, so that a file can be looked at without a page around it.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from mjx_s2r.io.run import BOUNDS, METRICS, read_jsonl
from mjx_s2r.params import ParamSpace
from mjx_s2r.report.plots import Axis, Band, Line, Scale, band_chart, line_chart, short, ticks

COLOURS = ("#1b6ca8", "#c8553d", "#3d8b57", "#8a5aa8", "#b8860b", "#5a6472", "#d1495b", "#2f8f9d")
STYLE = """
text{font:11px system-ui,sans-serif;fill:#333}.m{text-anchor:middle}.e{text-anchor:end}
.s{text-anchor:start}.h{font-size:13px;font-weight:600}.grid{stroke:#ddd}.axis{stroke:#999}
.box{fill:#f3f3f3;stroke:#ccc}.band{fill:#1b6ca8;fill-opacity:.35}.nominal{stroke:#c8553d}
.line{fill:none;stroke-width:1.8}.line.a{stroke:#1b6ca8}.line.b{stroke:#c8553d;
stroke-dasharray:5 3}.dot.a{fill:#1b6ca8}.dot.b{fill:#c8553d}.whisker{stroke-width:1.2}
"""
CELL, TALL, COLUMNS = 200, 250, 5


@dataclass(frozen=True)
class Curve:
    """One method of a study: ``x``, ``y``, and the lowest and highest over seeds, all (W,)."""

    name: str
    x: np.ndarray
    y: np.ndarray
    low: np.ndarray
    high: np.ndarray


def timeline(
    space: ParamSpace, bounds: Sequence[Mapping[str, Any]], metrics: Sequence[Mapping[str, Any]]
) -> str:
    """Returns an SVG file: entropy, success, and each open row's range and success over time.

    Args:
        space: the table.
        bounds: lines of bounds.jsonl.
        metrics: lines of metrics.jsonl.
    """
    step = _column(bounds, "step")
    entropy = Line("a", step, _column(bounds, "entropy"))
    success = Line("a", _column(metrics, "step"), _column(metrics, "success"))
    top = [
        line_chart("width", Axis("iterations", low=0.0), Axis("entropy, nats per row"), [entropy]),
        line_chart(
            "success", Axis("iterations", low=0.0), Axis("success", low=0.0, high=1.0), [success]
        ),
    ]
    parts = [_at(chart, 10 + 360 * i, 24, 340, 210) for i, chart in enumerate(top) if chart]
    parts += [_head(10 + 360 * i, 16, t) for i, t in enumerate(("width (entropy)", "success"))]
    rows = [row for row in space.rows if row.limits[0] < row.limits[1]]
    for index, row in enumerate(rows):
        x = 10 + CELL * (index % COLUMNS)
        y = 250 + TALL * (index // COLUMNS)
        column = space.index(row.name)
        low, high = (_entry(bounds, name, column) for name in ("low", "high"))
        log = row.law == "log_uniform"
        band = band_chart(row.name, Band(step, low, high, row.limits, row.nominal, log))
        at_low, at_high = (_entry(bounds, f"score_{end}", column) for end in ("low", "high"))
        ends = line_chart(
            row.name,
            Axis("", low=0.0),
            Axis("success at the ends", low=0.0, high=1.0),
            [Line("a", step, at_high), Line("b", step, at_low)],
        )
        parts.append(_head(x, y + 10, f"{row.name}, {row.unit}"))
        parts += [_at(band, x, y + 14, 190, 112)] if band else []
        parts += [_at(ends, x, y + 128, 190, 112)] if ends else []
    width = 20 + CELL * COLUMNS
    height = 260 + TALL * math.ceil(len(rows) / COLUMNS)
    legend = "success of episodes near the upper end (solid) and near the lower end (dashed)"
    parts.append(f'<text x="10" y="{height + 8}">{legend}</text>')
    return _file(width, height + 16, "Ranges and success over a training", parts)


def learning(metrics: Sequence[Mapping[str, Any]]) -> str:
    """Returns an SVG file: return and success over environment steps.

    Dashed while exploring; solid by mean actions, of the iteration that was judged.

    Args:
        metrics: lines of metrics.jsonl.
    """
    steps = _column(metrics, "env_steps")
    judged = _column(metrics, "eval_at") * steps / _column(metrics, "step")
    parts = []
    for index, (name, top) in enumerate((("return", None), ("success", 1.0))):
        lines = [
            Line("b", steps, _column(metrics, name)),
            Line("a", judged, _column(metrics, f"eval_{name}")),
        ]
        shown = [line for line in lines if np.isfinite(line.y).any()]
        low = None if top is None else 0.0
        chart = line_chart(name, Axis("environment steps"), Axis(name, low=low, high=top), shown)
        parts += [_at(chart, 10 + 360 * index, 24, 340, 210)] if chart else []
        parts.append(_head(10 + 360 * index, 16, name))
    parts.append('<text x="10" y="252">dashed while exploring, solid by mean actions</text>')
    return _file(730, 262, "Return and success over a training", parts)


def comparison(panels: Mapping[str, Sequence[Curve]], x_label: str, y_label: str) -> str:
    """Returns an SVG file with a panel per task: a curve per method with whiskers over seeds."""
    names = list(dict.fromkeys(curve.name for curves in panels.values() for curve in curves))
    parts = []
    for index, (title, curves) in enumerate(panels.items()):
        inner = _panel(curves, names, x_label, y_label)
        parts.append(f'<g transform="translate({420 * index},20)">{inner}</g>')
        parts.append(_head(420 * index + 44, 14, title))
    for i, name in enumerate(names):
        x, y = 50 + 130 * (i % 3), 320 + 18 * (i // 3)
        colour = COLOURS[i % len(COLOURS)]
        parts.append(f'<rect x="{x}" y="{y - 8}" width="12" height="8" fill="{colour}"/>')
        parts.append(f'<text x="{x + 17}" y="{y}">{escape(name)}</text>')
    height = 330 + 18 * math.ceil(len(names) / 3)
    return _file(420 * max(len(panels), 1), height, f"{y_label} against {x_label}", parts)


def _panel(curves: Sequence[Curve], names: Sequence[str], x_label: str, y_label: str) -> str:
    """Returns the curves of one task between their axes."""
    widest = np.concatenate([curve.x for curve in curves])
    across = Scale(0.0, max(float(widest.max()), 1e-6) * 1.04, 44, 400)
    up = Scale(0.0, 1.0, 250, 10)
    body = [
        f'<line x1="44" x2="400" y1="{float(up(v)):.1f}" y2="{float(up(v)):.1f}" class="grid"/>'
        f'<text x="39" y="{float(up(v)) + 3.5:.1f}" class="e">{short(v)}</text>'
        for v in ticks(0.0, 1.0)
    ]
    body += [
        f'<text x="{float(across(v)):.1f}" y="265" class="m">{short(v)}</text>'
        for v in ticks(across.low, across.high)
    ]
    body.append(f'<text x="222" y="283" class="m">{escape(x_label)}</text>')
    body.append(f'<text x="12" y="130" class="m" transform="rotate(-90 12 130)">{y_label}</text>')
    for curve in curves:
        place = names.index(curve.name)
        colour = COLOURS[place % len(COLOURS)]
        shift = 2.5 * (place - (len(names) - 1) / 2)  # px, so that whiskers stay apart
        px = across(curve.x) + shift
        points = " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(px, up(curve.y), strict=True))
        body.append(f'<polyline points="{points}" class="line" stroke="{colour}"/>')
        body += [
            f'<line x1="{a:.1f}" x2="{a:.1f}" y1="{b:.1f}" y2="{c:.1f}" class="whisker" '
            f'stroke="{colour}"/><circle cx="{a:.1f}" cy="{m:.1f}" r="2.6" fill="{colour}"/>'
            for a, b, c, m in zip(px, up(curve.low), up(curve.high), up(curve.y), strict=True)
        ]
    return "".join(body)


def _column(rows: Sequence[Mapping[str, Any]], name: str) -> np.ndarray:
    """Returns one number of every line, (T,); NaN where a line has none."""
    found = [row.get(name) for row in rows]
    return np.array([math.nan if x is None else x for x in found], float)


def _entry(rows: Sequence[Mapping[str, Any]], name: str, index: int) -> np.ndarray:
    """Returns one entry of a list in every line, (T,); NaN where it is missing or null."""
    found = [row[name][index] if name in row else None for row in rows]
    return np.array([math.nan if x is None else x for x in found], float)


def _at(chart: str, x: float, y: float, width: float, height: float) -> str:
    """Returns a chart placed in a larger picture."""
    return f'<svg x="{x}" y="{y}" width="{width}" height="{height}">{chart}</svg>'


def _head(x: float, y: float, text: str) -> str:
    """Returns a heading."""
    return f'<text x="{x}" y="{y}" class="h">{escape(text)}</text>'


def _file(width: float, height: float, label: str, parts: Sequence[str]) -> str:
    """Returns a whole SVG file on white."""
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        f'width="{width}" height="{height}" role="img" aria-label="{escape(label)}">'
        f'<style>{STYLE}</style><rect width="100%" height="100%" fill="white"/>'
        f"{''.join(parts)}</svg>\n"
    )


def draw_training(folder: Path, space: ParamSpace) -> None:
    """Draws curriculum.svg, ranges over time, and learning.svg, returns over environment steps.

    Args:
        folder: the run folder, with its metrics and bounds.
        space: the parameter table.
    """
    bounds, metrics = (read_jsonl(folder / name) for name in (BOUNDS, METRICS))
    (folder / "curriculum.svg").write_text(timeline(space, bounds, metrics))
    (folder / "learning.svg").write_text(learning(metrics))
