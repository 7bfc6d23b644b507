"""Charts of a flight as inline SVG, without a library: lines with limits, bands, histograms.

Colours are classes of the page's style sheet, so they follow light and dark mode.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import numpy as np

WIDTH, LEFT, RIGHT = 960, 64, 12  # px
TITLE = 16  # px above a chart
LINE_HEIGHT, BAND_HEIGHT, HISTOGRAM_HEIGHT, POINT_HEIGHT = 150, 18, 150, 240  # px
VALUE_TICKS, TIME_TICKS = 7, 16  # at most, of an axis
MOST_POINTS = 1500  # of a chart


@dataclass(frozen=True)
class Line:
    """One line of a chart: the least and largest value of each bin, (B,), and its CSS class."""

    low: np.ndarray
    high: np.ndarray
    style: str


@dataclass(frozen=True)
class Mark:
    """A moment that is marked on a chart: when, s, what it is called, and its CSS class."""

    time_s: float
    name: str
    style: str = "mark"


def line_chart(
    title: str,
    unit: str,
    time_s: np.ndarray,
    lines: Sequence[Line],
    limits: tuple[float, float],
    marks: Sequence[Mark] = (),
) -> str:
    """Returns a chart of lines over time, with the limits as dashes.

    Args:
        title: what is shown.
        unit: of the values.
        time_s: (B,) time of each bin, s.
        lines: what is drawn, the last on top.
        limits: lowest and highest allowed value; infinite ones are not drawn.
        marks: moments that are marked, without their names.
    """
    values = np.concatenate([x for line in lines for x in (line.low, line.high)])
    known = values[np.isfinite(values)]
    ends = [float(x) for x in (known.min(), known.max())] if known.size else [0.0, 1.0]
    span = max(ends[1] - ends[0], 1e-6)
    ends += [x for x in limits if math.isfinite(x) and ends[0] - span < x < ends[1] + span]
    bottom, top = min(ends), max(ends)
    room = 0.06 * max(top - bottom, 1e-6)
    scale = _Scale(time_s, bottom - room, top + room, LINE_HEIGHT)
    parts = [_grid(scale), *(_mark(scale, mark) for mark in marks)]
    for limit in limits:
        if math.isfinite(limit) and bottom <= limit <= top:
            y = scale.y(limit)
            parts.append(
                f'<line class="limit" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y}" y2="{y}"/>'
            )
    parts += [f'<path class="{line.style}" d="{_path(scale, time_s, line)}"/>' for line in lines]
    return _svg(parts, LINE_HEIGHT + 18, title, f"{title}, {unit}" if unit else title)


def band_chart(
    time_s: np.ndarray, rows: Sequence[tuple[str, Sequence[str]]], marks: Sequence[Mark] = ()
) -> str:
    """Returns bands over time.

    Args:
        time_s: (B,) time of each bin, s.
        rows: name, and the CSS class of each bin ("" for none).
        marks: moments that are marked, with their names in a line of their own.
    """
    height = BAND_HEIGHT * len(rows)
    scale = _Scale(time_s, 0.0, 1.0, height)
    edges = [scale.x(t) for t in time_s.tolist()] + [WIDTH - RIGHT]
    parts = [_time_axis(scale)]
    for number, (name, styles) in enumerate(rows):
        y = BAND_HEIGHT * number
        parts.append(f'<text class="row" x="{LEFT - 6}" y="{y + 13}">{escape(name)}</text>')
        for start, stop, style in _runs(styles):
            wide = max(1.5, edges[stop] - edges[start])
            box = (
                f'x="{edges[start]:.1f}" y="{y + 2}" width="{wide:.1f}" height="{BAND_HEIGHT - 4}"'
            )
            parts.append(f'<rect class="{style}" {box}/>')
    parts += [_mark(scale, mark) for mark in marks]
    names = [_mark_name(scale, mark, line) for line, mark in enumerate(marks)]
    return _svg([*parts, *names], height + 18 + 14 * len(names), "bands over time")


def histogram(title: str, values_ms: np.ndarray, limit_ms: float) -> str:
    """Returns a histogram of times, ms, logarithmic upwards, with a limit as a dashed line."""
    known = values_ms[np.isfinite(values_ms)]
    top = max(float(known.max(initial=0.0)), limit_ms) * 1.05 or 1.0
    counts, edges = np.histogram(known, bins=80, range=(0.0, top))
    most = math.log10(max(1, int(counts.max(initial=1)))) + 0.3
    wide = (WIDTH - LEFT - RIGHT) / len(counts)
    floor = HISTOGRAM_HEIGHT
    parts = []
    for i, count in enumerate(counts.tolist()):
        if count:
            tall = floor * (math.log10(count) + 0.3) / (most + 0.1)
            box = f'x="{LEFT + i * wide:.1f}" y="{floor - tall:.1f}" width="{wide - 1:.1f}"'
            parts.append(
                f'<rect class="bar" {box} height="{tall:.1f}"><title>{edges[i]:.3g} to '
                f"{edges[i + 1]:.3g} ms: {count}</title></rect>"
            )
    for power in range(math.ceil(most)):
        y = round(floor - floor * (power + 0.3) / (most + 0.1), 1)
        parts.insert(0, _value_tick(y, 10**power))
    x = LEFT + (WIDTH - LEFT - RIGHT) * limit_ms / top
    parts.append(f'<line class="limit" x1="{x:.1f}" x2="{x:.1f}" y1="0" y2="{floor}"/>')
    parts.append(_number_axis(_Scale(np.array([top]), 0.0, 1.0, floor), 0.0, top))
    return _svg(parts, floor + 20, title, f"{title}, ms")


def point_chart(
    title: str,
    labels: tuple[str, str],
    x: np.ndarray,
    points: np.ndarray,
    line: np.ndarray,
) -> str:
    """Returns a chart of measured points and a fitted line over any quantity.

    Args:
        title: what is shown.
        labels: quantity and unit along, and upwards.
        x: (N,) rising.
        points: (N,) measured.
        line: (N,) fitted, broken where it is NaN and where ``x`` leaps.
    """
    values = np.concatenate([points, line])
    known = values[np.isfinite(values)]
    low, high = (float(known.min()), float(known.max())) if known.size else (0.0, 1.0)
    room = 0.06 * max(high - low, 1e-9)
    begin, span = float(x[0]), max(float(x[-1] - x[0]), 1e-9)
    scale = _Scale(np.array([span]), low - room, high + room, POINT_HEIGHT)
    every = max(1, len(x) // MOST_POINTS)
    dots = [
        f'<circle r="1.8" cx="{scale.x(a):.1f}" cy="{scale.y(b)}"/>'
        for a, b in zip((x - begin)[::every].tolist(), points[::every].tolist(), strict=True)
        if math.isfinite(b)
    ]
    path = f'<path class="command" d="{_path(scale, x - begin, Line(line, line, ""))}"/>'
    ticks = _number_axis(scale, begin, span)
    head = f"{title}: {labels[1]}, over {labels[0]}"
    return _svg([_value_grid(scale), ticks, *dots, path], POINT_HEIGHT + 18, title, head)


@dataclass(frozen=True)
class _Scale:
    """Where times and values lie on a chart, px."""

    time_s: np.ndarray
    bottom: float
    top: float
    height: float

    @property
    def last_s(self) -> float:
        """End of the time axis, s."""
        return max(float(self.time_s[-1]), 1e-9)

    def x(self, time_s: float) -> float:
        """Returns the place of a time."""
        return LEFT + (WIDTH - LEFT - RIGHT) * time_s / self.last_s

    def y(self, value: float) -> float:
        """Returns the place of a value."""
        return round(self.height * (self.top - value) / (self.top - self.bottom), 1)


def _path(scale: _Scale, time_s: np.ndarray, line: Line) -> str:
    """Returns a line as a path that is broken where there is no value, or no step for long."""
    steps = np.diff(time_s)
    usual = float(np.median(steps)) if steps.size else 0.0
    text, drawing, last_s = [], False, 0.0
    for t, low, high in zip(time_s.tolist(), line.low.tolist(), line.high.tolist(), strict=True):
        if not (math.isfinite(low) and math.isfinite(high)):
            drawing = False
            continue
        drawing = drawing and t - last_s <= 5 * usual
        x, y, last_s = f"{scale.x(t):.1f}", scale.y(low), t
        text.append(f"{'L' if drawing else 'M'}{x},{y}")
        if scale.y(high) != y or not drawing:
            text.append(f"L{x},{scale.y(high)}")
        drawing = True
    return "".join(text)


def _runs(styles: Sequence[str]) -> list[tuple[int, int, str]]:
    """Returns (start, stop, style) of equal neighbours, those without a style left out."""
    runs, start = [], 0
    for i in range(1, len(styles) + 1):
        if i == len(styles) or styles[i] != styles[start]:
            if styles[start]:
                runs.append((start, i, styles[start]))
            start = i
    return runs


def _grid(scale: _Scale) -> str:
    """Returns the axes of a line chart with their numbers."""
    return _value_grid(scale) + _time_axis(scale)


def _number_axis(scale: _Scale, begin: float, span: float) -> str:
    """Returns the numbers of an axis that begins anywhere."""
    step = _round_step(span / TIME_TICKS)
    ticks = range(math.ceil(begin / step - 1e-9), math.floor((begin + span) / step + 1e-9) + 1)
    return "".join(
        f'<text class="tick" x="{scale.x(k * step - begin):.1f}" y="{scale.height + 14}">'
        f"{k * step:.6g}</text>"
        for k in ticks
    )


def _value_grid(scale: _Scale) -> str:
    """Returns the lines of round values with their numbers."""
    step = _round_step((scale.top - scale.bottom) / VALUE_TICKS)
    first = math.ceil(scale.bottom / step)
    ticks = range(first, math.floor(scale.top / step) + 1)
    return "".join(_value_tick(scale.y(k * step), k * step) for k in ticks)


def _value_tick(y: float, value: float) -> str:
    """Returns the line of a value, and its number."""
    return (
        f'<line class="rule" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y}" y2="{y}"/>'
        f'<text class="row" x="{LEFT - 6}" y="{y + 4}">{value:.6g}</text>'
    )


def _mark(scale: _Scale, mark: Mark) -> str:
    """Returns the line of a moment."""
    x = scale.x(mark.time_s)
    return (
        f'<line class="{mark.style}" x1="{x:.1f}" x2="{x:.1f}" y1="0" y2="{scale.height}">'
        f"<title>{escape(mark.name)}</title></line>"
    )


def _mark_name(scale: _Scale, mark: Mark, line: int) -> str:
    """Returns the name of a moment below the time axis, on the side where there is room."""
    x = scale.x(mark.time_s)
    side = "row" if x > WIDTH / 2 else "after"
    return (
        f'<text class="{side}" x="{x:.1f}" y="{scale.height + 28 + 14 * line}">'
        f"{escape(mark.name)}</text>"
    )


def _time_axis(scale: _Scale) -> str:
    """Returns the lines of round times with their numbers, s."""
    step = _round_step(scale.last_s / TIME_TICKS)
    parts = []
    for k in range(math.floor(scale.last_s / step + 1e-9) + 1):
        x, unit = f"{scale.x(k * step):.1f}", " s" if k == 0 else ""
        parts.append(f'<line class="rule" x1="{x}" x2="{x}" y1="0" y2="{scale.height}"/>')
        parts.append(
            f'<text class="tick" x="{x}" y="{scale.height + 14}">{k * step:.6g}{unit}</text>'
        )
    return "".join(parts)


def _round_step(least: float) -> float:
    """Returns the least of 1, 2, 5 times a power of ten that is not below ``least``."""
    power = 10.0 ** math.floor(math.log10(max(least, 1e-12)))
    return next(k * power for k in (1, 2, 5, 10) if k * power >= least * (1 - 1e-9))


def _svg(parts: Sequence[str], height: float, label: str, title: str = "") -> str:
    """Returns an SVG of the page's width, with a title above it if there is one."""
    top = TITLE if title else 0
    head = f'<text class="title" x="{LEFT}" y="11">{escape(title)}</text>' if title else ""
    box = f'viewBox="0 0 {WIDTH} {height + top}" role="img" aria-label="{escape(label)}"'
    return f'<svg {box}>{head}<g transform="translate(0,{top})">{"".join(parts)}</g></svg>'
