"""Charts of training logs by matplotlib, as SVG text with one theme.

`timeline`, `learning` and `comparison` return whole SVG files on white paper. `inline` returns a
chart for an HTML page: its colours are the page's CSS variables, so it follows light and dark mode.
The same numbers always give the same text. matplotlib is imported when the first chart is drawn.
"""

import io
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mjx_s2r.io.run import BOUNDS, METRICS, read_jsonl
from mjx_s2r.params import Param, ParamSpace

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Rows = Sequence[Mapping[str, Any]]  # lines of a .jsonl log
Points = tuple[np.ndarray, np.ndarray]  # x and y, (T,)

PAPER, INK, SOFT, RULE, LANE = "#ffffff", "#1c2127", "#58626d", "#d9dee3", "#f1f3f5"
SOLID, DASHED = "#1667b0", "#b4540a"  # the two kinds of line, told apart without colour, too
CSS_VARIABLES = {
    INK: "var(--ink)",
    SOFT: "var(--soft)",
    RULE: "var(--rule)",
    LANE: "var(--lane)",
    SOLID: "var(--a)",
    DASHED: "var(--b)",
}
LINE_STYLES: dict[str, dict[str, Any]] = {
    "a": {"color": SOLID, "linestyle": "-"},
    "b": {"color": DASHED, "linestyle": (0, (4, 2))},
}
METHODS = ("#1667b0", "#c8553d", "#3d8b57", "#8a5aa8", "#b8860b", "#5a6472", "#d1495b", "#2f8f9d")
MARKERS = "os^D"
FONTS = "system-ui, 'Segoe UI', 'DejaVu Sans', sans-serif"  # of the reader; none is loaded
THEME = {
    "svg.fonttype": "none",
    "svg.hashsalt": "mjx_s2r",
    "text.parse_math": False,  # a $ in a name is a $
    "path.simplify_threshold": 0.5,  # px
    "font.family": "DejaVu Sans",  # comes with matplotlib: the same layout on every machine
    "font.size": 10.5,
    "text.color": INK,
    "figure.facecolor": PAPER,
    "axes.facecolor": "none",
    "axes.edgecolor": RULE,
    "axes.labelcolor": SOFT,
    "axes.titlesize": 11.0,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlepad": 8.0,
    "axes.spines.left": False,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.xmargin": 0.0,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.axisbelow": True,
    "grid.color": RULE,
    "grid.linewidth": 0.8,
    "xtick.color": RULE,
    "xtick.labelcolor": SOFT,
    "xtick.minor.size": 0.0,
    "ytick.labelcolor": SOFT,
    "ytick.major.size": 0.0,
    "ytick.minor.size": 0.0,
    "lines.linewidth": 1.6,
    "lines.markersize": 4.5,
    "legend.frameon": False,
}
ROUND = (1, 2, 2.5, 5, 10)  # ticks are one of these apart, times a power of ten
CELL, CELL_HEIGHT, COLUMNS = 216, 258, 5  # px and number of the parameters' cells in a timeline


@dataclass(frozen=True)
class Curve:
    """One method of a study: ``x``, ``y``, and the lowest and highest over seeds, all (W,)."""

    name: str
    x: np.ndarray
    y: np.ndarray
    low: np.ndarray
    high: np.ndarray


def draw_training(folder: Path, space: ParamSpace) -> None:
    """Draws curriculum.svg, ranges over time, and learning.svg, returns over environment steps.

    Args:
        folder: the run folder, with its metrics and bounds.
        space: the table of parameters.
    """
    bounds, metrics = (read_jsonl(folder / name) for name in (BOUNDS, METRICS))
    (folder / "curriculum.svg").write_text(timeline(space, bounds, metrics))
    (folder / "learning.svg").write_text(learning(metrics))


def timeline(space: ParamSpace, bounds: Rows, metrics: Rows) -> str:
    """Returns an SVG file: entropy, success, and each open parameter's range over iterations.

    Below each range stands the success of episodes near its two ends.

    Args:
        space: the table of parameters.
        bounds: lines of bounds.jsonl.
        metrics: lines of metrics.jsonl.
    """
    rows = [row for row in space.rows if row.limits[0] < row.limits[1]]
    step = column(bounds, "step")
    width = CELL * COLUMNS + 16
    height = 270 + CELL_HEIGHT * math.ceil(len(rows) / COLUMNS)
    with theme():
        figure = _figure(width, height)
        top = (
            ("Width of randomization, nats per parameter", (step, column(bounds, "entropy"))),
            ("Success", (column(metrics, "step"), column(metrics, "success"))),
        )
        for index, (title, line) in enumerate(top):
            axes = _axes_at(figure, (44 + 520 * index, 34, 460, 150), title)
            ends = (None, 0.0) if index == 0 else (0.0, 1.0)
            draw_lines(axes, {"a": line}, "iterations", ends)
        figure.text(
            10 / width,
            1 - 246 / height,
            "Each parameter: its range within its limits; below, the success of episodes near the "
            "upper end (solid) and near the lower end (dashed).",
            color=SOFT,
        )
        for index, row in enumerate(rows):
            x, y = 44 + CELL * (index % COLUMNS), 286 + CELL_HEIGHT * (index // COLUMNS)
            axes = _axes_at(figure, (x, y, CELL - 52, 84), ", ".join(filter(None, named(row))))
            draw_band(axes, row, step, bound(bounds, "low", row), bound(bounds, "high", row))
            scores = {
                kind: (step, bound(bounds, f"score_{end}", row))
                for kind, end in (("a", "high"), ("b", "low"))
            }
            axes = _axes_at(figure, (x, y + 108, CELL - 52, 84))
            draw_lines(axes, scores, "", (0.0, 1.0), ticks=2)
        return to_svg(figure, "Ranges and success over a training")


def learning(metrics: Rows) -> str:
    """Returns an SVG file: return and success over environment steps.

    Dashed while exploring; solid by mean actions, of the iteration that was judged.

    Args:
        metrics: lines of metrics.jsonl.
    """
    steps = column(metrics, "env_steps")
    judged = column(metrics, "eval_at") * steps / column(metrics, "step")
    with theme():
        figure = _figure(760, 252)
        for index, (name, ends) in enumerate((("return", (None, None)), ("success", (0.0, 1.0)))):
            lines = {
                "b": (steps, column(metrics, name)),
                "a": (judged, column(metrics, f"eval_{name}")),
            }
            axes = _axes_at(figure, (58 + 380 * index, 34, 306, 160), name.capitalize())
            draw_lines(axes, lines, "environment steps", ends)
        note = "Dashed: while exploring. Solid: by mean actions."
        figure.text(10 / 760, 10 / 252, note, color=SOFT)
        return to_svg(figure, "Return and success over a training")


def comparison(panels: Mapping[str, Sequence[Curve]], x_label: str, y_label: str) -> str:
    """Returns an SVG file with a panel per task: a curve per method with whiskers over seeds."""
    names = list(dict.fromkeys(curve.name for curves in panels.values() for curve in curves))
    columns = min(len(names), 4 * len(panels))  # that fit below the panels
    legend = 20 * math.ceil(len(names) / max(columns, 1))
    width, height = 440 * max(len(panels), 1), 326 + legend
    with theme():
        figure = _figure(width, height)
        for index, (title, curves) in enumerate(panels.items()):
            axes = _axes_at(figure, (60 + 440 * index, 36, 360, 240), title)
            draw_comparison(axes, curves, names)
            axes.set_xlabel(x_label)
            axes.set_ylabel(y_label)
        if panels:
            handles = {
                text: handle
                for axes in figure.axes
                for handle, text in zip(*axes.get_legend_handles_labels(), strict=True)
            }
            figure.legend(
                [handles[name] for name in names],
                names,
                loc="lower left",
                bbox_to_anchor=(50 / width, 0),
                ncols=columns,
            )
        return to_svg(figure, f"{y_label} against {x_label}")


def draw_lines(
    axes: "Axes",
    lines: Mapping[str, Points],
    x_label: str = "",
    ends: tuple[float | None, float | None] = (None, None),
    log: bool = False,
    ticks: int = 4,
) -> None:
    """Draws lines with a dot at their last point.

    Args:
        axes: where to draw.
        lines: "a" (solid) or "b" (dashed) -> x and y (T,); points that are not finite, or not
            positive on a logarithmic scale, are left out.
        x_label: what is counted from left to right.
        ends: lowest and highest value of the vertical axis; None takes those of the points.
        log: logarithmic vertical axis.
        ticks: about as many on each axis.
    """
    from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter, NullLocator

    if log:
        axes.set_yscale("log")
    for kind, (x, y) in lines.items():
        fine = np.isfinite(x) & np.isfinite(y) & ((y > 0) | (not log))
        if fine.any():
            axes.plot(x[fine], y[fine], **LINE_STYLES[kind], clip_on=False)
            color = LINE_STYLES[kind]["color"]
            axes.plot(x[fine][-1:], y[fine][-1:], "o", color=color, clip_on=False)
    low, high = (
        auto if end is None else end for end, auto in zip(ends, axes.get_ylim(), strict=True)
    )
    axes.set_ylim(*_apart((low, high), log))
    axes.set_xlim(left=min(0.0, axes.get_xlim()[0]))
    axes.set_xlabel(x_label)
    axes.xaxis.set_major_locator(MaxNLocator(ticks, steps=ROUND) if axes.lines else NullLocator())
    axes.yaxis.set_major_locator(
        LogLocator(subs=(1.0, 3.0), numticks=6) if log else MaxNLocator(ticks, steps=ROUND)
    )
    axes.yaxis.set_minor_formatter(NullFormatter())
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(lambda value, _: short(value))


def draw_band(axes: "Axes", row: Param, x: np.ndarray, low: np.ndarray, high: np.ndarray) -> None:
    """Draws a parameter's range over time; the frame is its limits, the dotted line its nominal.

    Args:
        axes: where to draw.
        row: the parameter; one with a logarithmic law has a logarithmic axis.
        x: (T,) time.
        low: (T,) lower ends; a time whose ends are not finite is left out.
        high: (T,) upper ends.
    """
    fine = np.isfinite(x) & np.isfinite(low) & np.isfinite(high)
    x, low, high = x[fine], low[fine], high[fine]
    if x.size == 1:  # one line of the log: the range as it stood all the time
        x, low, high = np.array([0.0, x[0] or 1.0]), low.repeat(2), high.repeat(2)
    log = row.law == "log_uniform"
    if log:
        axes.set_yscale("log")
    axes.set(facecolor=LANE, ylim=_apart(row.limits, log))
    axes.grid(False)
    if x.size:
        axes.fill_between(x, low, high, facecolor=SOLID, alpha=0.4, linewidth=0)
        for edge in (low, high):
            axes.plot(x, edge, color=SOLID, linewidth=1.0, clip_on=False)
        left, right = _apart((min(0.0, float(x[0])), float(x[-1])), log=False)
        axes.set(xlim=(left, right))
        axes.set_xticks([left, right], [short(left), short(right)])
        first, last = axes.get_xticklabels()
        first.set_horizontalalignment("left")
        last.set_horizontalalignment("right")
    axes.axhline(row.nominal, color=INK, linewidth=0.9, linestyle=(0, (2, 2)))
    axes.set_yticks(marks := _marks(row, log), [short(mark) for mark in marks])
    axes.set_yticks([], minor=True)


def draw_comparison(axes: "Axes", curves: Sequence[Curve], names: Sequence[str]) -> None:
    """Draws a curve per method with whiskers; its place in ``names`` gives colour and marker."""
    widest = max(float(curve.x.max()) for curve in curves)
    for curve in curves:
        place = names.index(curve.name)
        shift = 0.008 * widest * (place - (len(names) - 1) / 2)  # keeps whiskers apart
        drawn = axes.errorbar(
            curve.x + shift,
            curve.y,
            (curve.y - curve.low, curve.high - curve.y),
            color=METHODS[place % len(METHODS)],
            marker=MARKERS[place // len(METHODS) % len(MARKERS)],
            elinewidth=1.1,
            label=curve.name,
            clip_on=False,
        )
        drawn.lines[0].set_gid(f"curve-{curve.name}")
    axes.set(xlim=(0.0, 1.06 * widest), ylim=(0.0, 1.0))
    axes.set_xticks(sorted({0.0, *(float(x) for curve in curves for x in curve.x)}))
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(lambda value, _: short(value))


def draw_curves(axes: "Axes", curves: Sequence[Curve], x_label: str) -> None:
    """Draws a line per method with a band from the lowest to the highest seed, and a legend.

    Args:
        axes: where to draw.
        curves: of shares in [0, 1].
        x_label: what is counted from left to right.
    """
    from matplotlib.ticker import MaxNLocator

    for place, curve in enumerate(curves):
        color = METHODS[place % len(METHODS)]
        axes.fill_between(curve.x, curve.low, curve.high, facecolor=color, alpha=0.15, linewidth=0)
        dashes = "--" if place >= len(METHODS) else "-"  # of more methods than colours
        axes.plot(curve.x, curve.y, dashes, color=color, label=curve.name, clip_on=False)
    axes.set(xlim=(0.0, max(float(curve.x.max()) for curve in curves) or 1.0), ylim=(0.0, 1.0))
    axes.set_xlabel(x_label)
    axes.xaxis.set_major_locator(MaxNLocator(5, steps=ROUND))
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(lambda value, _: short(value))
    axes.legend(loc="best")


def draw_ranges(
    axes: "Axes",
    row: Param,
    x: np.ndarray,
    ends: Sequence[tuple[np.ndarray, np.ndarray]],
    beside: tuple[float, float] | None = None,
) -> None:
    """Draws a parameter's range over time for several seeds, over one that was set by hand.

    Args:
        axes: where to draw; the frame is the row's limits, the dotted line its nominal value.
        row: the parameter; one with a logarithmic law has a logarithmic axis.
        x: (T,) time.
        ends: lower and upper ends (T,) of each seed.
        beside: a range to compare with, shaded.
    """
    log = row.law == "log_uniform"
    if log:
        axes.set_yscale("log")
    axes.set(facecolor="none", ylim=_apart(row.limits, log), xlim=(0.0, float(x[-1])))
    axes.grid(False)
    if beside is not None:
        axes.axhspan(*beside, facecolor=LANE, linewidth=0)
    for place, seed in enumerate(ends):
        for edge in seed:
            axes.plot(x, edge, color=METHODS[place % len(METHODS)], linewidth=1.1, clip_on=False)
    axes.axhline(row.nominal, color=INK, linewidth=0.9, linestyle=(0, (2, 2)))
    axes.set_yticks(marks := _marks(row, log), [short(mark) for mark in marks])
    axes.set_yticks([], minor=True)


def inline(
    label: str,
    size: tuple[int, int],
    draw: Callable[["Axes"], None],
    margins: tuple[int, int, int, int] = (40, 10, 8, 38),
) -> str:
    """Returns the <svg> element of one chart for an HTML page with the page's CSS variables.

    Args:
        label: what the chart shows, for those who cannot see it.
        size: width and height, px; the page scales it.
        draw: draws into the chart's axes.
        margins: left, right, top and bottom of the axes, px.
    """
    with theme():
        width, height = size
        figure = _figure(width, height)
        figure.set_facecolor("none")
        left, right, top, bottom = margins
        draw(_axes_at(figure, (left, top, width - left - right, height - top - bottom)))
        text = to_svg(figure, label)
    # A page has many charts: their ids would collide, and their <style> would reach all of it.
    text = re.sub(r'<g id="[^"]*"', "<g", text[text.index("<svg") :])
    text = re.sub(r"<defs>\s*<style.*?</style>\s*</defs>\s*", "", text, flags=re.DOTALL)
    head, _, rest = text.partition(">")
    head = re.sub(r' (xmlns(:\w+)?|width|height|version|font-family)="[^"]*"', "", head)
    text = f"{head}>{rest}".replace("<svg", '<svg class="chart"', 1)
    for colour, variable in CSS_VARIABLES.items():
        text = text.replace(colour, variable)
    return text


@contextmanager
def theme() -> Iterator[None]:
    """Draws by matplotlib's defaults and `THEME` within, whatever the user's settings are."""
    from matplotlib import style

    with style.context(["default", THEME]):
        yield


def to_svg(figure: "Figure", label: str) -> str:
    """Returns a figure as a whole SVG file; the same figure always gives the same text."""
    buffer = io.StringIO()
    nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    figure.savefig(buffer, format="svg", metadata=nothing, facecolor=figure.get_facecolor())
    text = re.sub(r"<!DOCTYPE.*?>\s*", "", buffer.getvalue(), flags=re.DOTALL)
    text = re.sub(r"font-family: [^;\"]*;? ?", "", text)  # once, below, instead of at every text
    text = re.sub(r' d="[^"]*"', lambda m: re.sub(r"(\.\d\d)\d+", r"\1", m[0]), text)  # 0.01 px
    text = re.sub(r' transform="rotate\(-0 [^"]*\)"', "", text)
    text = re.sub(r'(width|height)="([\d.]+)pt"', r'\1="\2"', text, count=2)
    root = f'<svg role="img" aria-label="{escape(label)}" font-family="{FONTS}" '
    return re.sub(r"\s*\n\s*", "\n", text).replace("<svg ", root, 1)


def column(rows: Rows, name: str) -> np.ndarray:
    """Returns one number of every line, (T,); NaN where a line has none."""
    return np.array([_number(row.get(name)) for row in rows], float)


def bound(rows: Rows, key: str, row: Param) -> np.ndarray:
    """Returns a parameter's entry of the list ``key`` of every line, (T,); NaN where missing."""

    def entry(line: Mapping[str, Any]) -> float:
        names, entries = line.get("names", []), line.get(key, [])
        return (
            _number(entries[names.index(row.name)]) if entries and row.name in names else math.nan
        )

    return np.array([entry(line) for line in rows], float)


def named(row: Param) -> tuple[str, str]:
    """Returns a parameter's name and its unit; a factor on the nominal value is a "ratio"."""
    return row.name, row.unit if row.unit != "1" else "ratio" if row.mode == "scale" else ""


def short(value: float) -> str:
    """Returns a number with three digits, and k, M and G for thousands and more."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:.3g}{letter}"
    return re.sub(r"e([+-])0*", lambda m: "e" + m[1].strip("+"), f"{value:.3g}")


def _number(value: Any) -> float:
    return float(value) if isinstance(value, int | float) else math.nan


def _apart(ends: tuple[float, float], log: bool) -> tuple[float, float]:
    """Returns ``ends``, set apart when they are equal."""
    low, high = ends
    if high > low:
        return low, high
    return (low / 2, low * 2) if log else (low - 0.5 * (abs(low) or 1), low + 0.5 * (abs(low) or 1))


def _marks(row: Param, log: bool) -> list[float]:
    """Returns the limits of a parameter, and its nominal value where there is room to write it."""
    low, nominal, high = (
        math.log(v) if log else v for v in (row.limits[0], row.nominal, row.limits[1])
    )
    room = 0.16 * (high - low)
    fits = min(nominal - low, high - nominal) > room
    return sorted({*row.limits, row.nominal} if fits else {*row.limits})


def _figure(width: float, height: float) -> "Figure":
    """Returns a figure whose units in the SVG are px."""
    from matplotlib.figure import Figure

    return Figure((width / 72, height / 72))


def _axes_at(figure: "Figure", box: tuple[float, float, float, float], title: str = "") -> "Axes":
    """Returns axes at (left, top, width, height) px, counted from the upper left corner."""
    width, height = 72 * figure.get_size_inches()
    left, top, wide, tall = box
    axes = figure.add_axes((left / width, 1 - (top + tall) / height, wide / width, tall / height))
    axes.set_title(title)
    return axes
