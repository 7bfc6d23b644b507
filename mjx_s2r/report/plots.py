"""Charts as inline SVG text: lines over time, bands within limits, bars with an error bar.

Colours are CSS variables of the page, so one chart serves light, dark and print. Every chart is
drawn for a small width and the page puts several side by side; text keeps its size on a phone.
Kinds of line are "a" (solid) and "b" (dashed): they differ without colour, too.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import numpy as np

MOST_POINTS = 300


@dataclass(frozen=True)
class Line:
    """One curve: ``kind`` "a" or "b", and ``x`` and ``y`` (T,); NaN leaves a point out."""

    kind: str
    x: np.ndarray
    y: np.ndarray


@dataclass(frozen=True)
class Axis:
    """One axis.

    Attributes:
        label: what is counted, with its unit.
        low: lower end; None takes the smallest value.
        high: upper end; None takes the largest value.
        log: decades instead of a linear scale; values that are not positive are left out.
    """

    label: str
    low: float | None = None
    high: float | None = None
    log: bool = False


@dataclass(frozen=True)
class Band:
    """A range over time within its limits; ``x``, ``low`` and ``high`` (T,)."""

    x: np.ndarray
    low: np.ndarray
    high: np.ndarray
    limits: tuple[float, float]
    nominal: float
    log: bool = False


@dataclass(frozen=True)
class Scale:
    """Maps values between ``low`` and ``high`` to pixels between ``start`` and ``end``."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def __call__(self, values: np.ndarray | float) -> np.ndarray:
        """Returns the pixels of ``values``; outside values go outside."""
        low, high, v = self.low, self.high, np.asarray(values, float)
        if self.log:
            low, high, v = math.log(low), math.log(high), np.log(v)
        return self.start + (self.end - self.start) * (v - low) / (high - low)


def short(value: float) -> str:
    """Returns a number for a tick: three digits, k, M and G for thousands and more."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:.3g}{letter}"
    text = f"{value:.3g}"
    return text.replace("e-0", "e-").replace("e+0", "e") if "e" in text else text


def ticks(low: float, high: float, about: int = 4) -> list[float]:
    """Returns round values (1, 2, 2.5 or 5 times a power of ten apart) within [low, high]."""
    raw = (high - low) / about
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(m * power for m in (1, 2, 2.5, 5, 10) if m * power >= raw * (1 - 1e-9))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [i * step for i in range(first, last + 1)]


def decades(low: float, high: float, about: int = 4) -> list[float]:
    """Returns powers of ten within [low, high], thinned; round values where fewer than two fit."""
    first, last = math.ceil(math.log10(low) - 1e-9), math.floor(math.log10(high) + 1e-9)
    if last <= first:
        return ticks(low, high, about)
    every = math.ceil((last - first) / about)
    return [10.0**i for i in range(first, last + 1, every)]


def line_chart(title: str, x: Axis, y: Axis, lines: Sequence[Line]) -> str:
    """Returns the chart of ``lines``, or an empty string when no finite point is left."""
    lines = [kept for line in lines if (kept := _clean(line, y.log)).x.size]
    if not lines:
        return ""
    width, height, left, bottom = 340, 210, 44, 36
    across = _scale(x, np.concatenate([line.x for line in lines]), left, width - 10)
    up = _scale(y, np.concatenate([line.y for line in lines]), height - bottom, 10)
    marks = decades(up.low, up.high) if y.log else ticks(up.low, up.high)
    body = [_grid_y(v, float(up(v)), left, width - 10) for v in marks]
    body += [_tick_x(v, float(across(v)), height - bottom) for v in ticks(across.low, across.high)]
    body.append(
        f'<text x="{(left + width) / 2}" y="{height - 4}" class="m">{escape(x.label)}</text>'
    )
    body += [_curve(line, across, up) for line in lines]
    return _svg(width, height, f"{title}: {y.label} against {x.label}", body)


def band_chart(title: str, band: Band) -> str:
    """Returns the chart of a range over time; its frame is the limits of the row."""
    fine = np.isfinite(band.x) & np.isfinite(band.low) & np.isfinite(band.high)
    x, low, high = band.x[fine], band.low[fine], band.high[fine]
    if not x.size:
        return ""
    pick = _thin(x.size)
    x, low, high = x[pick], low[pick], high[pick]
    width, height, left, bottom = 190, 112, 42, 16
    across = _scale(Axis("", low=min(0.0, float(x[0]))), x, left, width - 6)
    up = Scale(*_open(band.limits, band.log), height - bottom, 6, band.log)
    top, ground, middle = (up(v) for v in (*band.limits[::-1], band.nominal))
    if x.size == 1:  # one line of the log: the range as it stood all the time
        x, low, high = np.array([across.low, across.high]), low.repeat(2), high.repeat(2)
    upper, lower = (zip(across(x), up(ends), strict=True) for ends in (high, low))
    edge = [*upper, *reversed([*lower])]
    body = [
        f'<rect x="{left}" y="{top:.1f}" width="{width - 6 - left}" '
        f'height="{ground - top:.1f}" class="box"/>',
        f'<polygon points="{_points(edge)}" class="band"/>',
        f'<line x1="{left}" x2="{width - 6}" y1="{middle:.1f}" y2="{middle:.1f}" class="nominal"/>',
    ]
    body += [_left(v, float(up(v)), left) for v in _apart(band, up)]
    body += [
        f'<text x="{left}" y="{height - 3}" class="s">{short(across.low)}</text>',
        f'<text x="{width - 6}" y="{height - 3}" class="e">{short(across.high)}</text>',
    ]
    return _svg(width, height, f"{title}: range over time within {band.limits}", body)


def rate_bar(rate: float, interval: tuple[float, float], kind: str) -> str:
    """Returns a bar of a rate in [0, 1] with its interval; it takes the width it is given."""
    low, high = (100 * end for end in interval)
    grid = "".join(f'<line x1="{p}%" x2="{p}%" y1="0" y2="24" class="grid"/>' for p in (25, 50, 75))
    caps = "".join(
        f'<line x1="{p:.2f}%" x2="{p:.2f}%" y1="7" y2="17" class="ink"/>' for p in (low, high)
    )
    return (
        '<svg class="bar" width="100%" height="24" aria-hidden="true">'
        f'<rect x="0" y="0" width="100%" height="24" class="lane"/>{grid}'
        f'<rect x="0" y="4" width="{100 * rate:.2f}%" height="16" class="fill {kind}"/>'
        f'<line x1="{low:.2f}%" x2="{high:.2f}%" y1="12" y2="12" class="ink"/>{caps}</svg>'
    )


def range_bar(band: Band) -> str:
    """Returns one row's reached range within its limits, a tick at the nominal; the last line."""
    scale = Scale(*_open(band.limits, band.log), 0, 100, band.log)
    low, high, nominal = (float(scale(v)) for v in (band.low[-1], band.high[-1], band.nominal))
    return (
        '<svg class="bar" width="100%" height="14" aria-hidden="true">'
        '<rect x="0" y="2" width="100%" height="10" class="lane"/>'
        f'<rect x="{low:.2f}%" y="2" width="{max(high - low, 0.5):.2f}%" height="10" '
        'class="fill a"/>'
        f'<line x1="{nominal:.2f}%" x2="{nominal:.2f}%" y1="0" y2="14" class="ink"/></svg>'
    )


def _clean(line: Line, log: bool) -> Line:
    """Returns a line without points that cannot be drawn, thinned."""
    fine = np.isfinite(line.x) & np.isfinite(line.y)
    fine &= (line.y > 0) | (not log)
    x, y = line.x[fine], line.y[fine]
    return Line(line.kind, x[_thin(x.size)], y[_thin(x.size)])


def _thin(count: int) -> np.ndarray:
    """Returns indices of at most `MOST_POINTS` of ``count`` points."""
    return np.unique(np.linspace(0, count - 1, min(count, MOST_POINTS)).round().astype(int))


def _scale(axis: Axis, values: np.ndarray, start: float, end: float) -> Scale:
    """Returns the scale of an axis that holds ``values``; a single value gets room around it."""
    low = float(values.min()) if axis.low is None else axis.low
    high = float(values.max()) if axis.high is None else axis.high
    return Scale(*_open((low, high), axis.log), start, end, axis.log)


def _open(ends: tuple[float, float], log: bool) -> tuple[float, float]:
    """Returns ``ends``, set apart when they are equal."""
    low, high = ends
    if high > low:
        return low, high
    return (low / 2, low * 2) if log else (low - 0.5 * (abs(low) or 1), low + 0.5 * (abs(low) or 1))


def _apart(band: Band, up: Scale) -> list[float]:
    """Returns the values to write beside a band: the limits, and the nominal if there is room."""
    ends = [*dict.fromkeys(band.limits)]
    near = min(abs(float(up(band.nominal)) - float(up(end))) for end in ends)
    return ends if near < 12 else [*ends, band.nominal]


def _curve(line: Line, across: Scale, up: Scale) -> str:
    """Returns a polyline, and a dot at its last point."""
    points = [*zip(across(line.x), up(line.y), strict=True)]
    end = (
        f'<circle cx="{points[-1][0]:.1f}" cy="{points[-1][1]:.1f}" r="3" class="dot {line.kind}"/>'
    )
    return f'<polyline points="{_points(points)}" class="line {line.kind}"/>{end}'


def _points(points: Sequence[tuple[float, float]]) -> str:
    """Returns SVG's list of points."""
    return " ".join(f"{px:.1f},{py:.1f}" for px, py in points)


def _grid_y(value: float, y: float, left: float, right: float) -> str:
    """Returns a horizontal grid line with its number."""
    line = f'<line x1="{left}" x2="{right}" y1="{y:.1f}" y2="{y:.1f}" class="grid"/>'
    return line + _left(value, y, left)


def _left(value: float, y: float, left: float) -> str:
    """Returns a number left of the axis."""
    return f'<text x="{left - 5}" y="{y + 3.5:.1f}" class="e">{short(value)}</text>'


def _tick_x(value: float, x: float, ground: float) -> str:
    """Returns a mark on the lower axis with its number."""
    mark = f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{ground}" y2="{ground + 4}" class="axis"/>'
    return f'{mark}<text x="{x:.1f}" y="{ground + 15}" class="m">{short(value)}</text>'


def _svg(width: int, height: int, label: str, body: Sequence[str]) -> str:
    """Returns an SVG picture with a name for those who cannot see it."""
    name = f'role="img" aria-label="{escape(label)}"'
    inner = "".join(body)
    return f'<svg class="chart" viewBox="0 0 {width} {height}" {name}>{inner}</svg>'
