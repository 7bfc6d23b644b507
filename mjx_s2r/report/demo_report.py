"""The report of a demonstration: one HTML file that shows a newcomer what was found.

Give `write` a `DemoReport`; its curves are read from the run folders. A part that has no data says
so. The file needs nothing beside it, has no scripts, and follows the reader's light or dark mode.
The words are in templates/demo_report.html.j2; here are the numbers.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup

from mjx_s2r.io.run import read_jsonl
from mjx_s2r.params import Param
from mjx_s2r.report import charts, media
from mjx_s2r.report.charts import Rows, column, short
from mjx_s2r.report.findings import (
    KIND,
    NOMINAL,
    PLAIN,
    RANDOMIZED,
    STAND_IN,
    VARIED,
    WORDS,
    DemoReport,
    Outcome,
    Pipeline,
    RobotSide,
    outcome,
    percent,
    span,
    verdict,
)
from mjx_s2r.report.page import duration, write_page

MOST_FILMS, STRIP, MOST_TILES = 4, 6, 64
CHART, SMALL_CHART = (260, 180), (164, 100)  # px
SMALL_MARGINS = (36, 6, 8, 20)
SECTIONS = {
    "outcomes": "Success",
    "films": "Episodes",
    "worlds": "Training worlds",
    "learning": "Learning",
    "bounds": "Widening",
    "ranges": "Ranges",
    "robot": "Robot side",
    "next": "Next",
    "provenance": "Provenance",
}
PLACE_WORDS = {
    STAND_IN: "On the stand-in for the robot",
    VARIED: "In simulation, worlds that differ",
    NOMINAL: "In simulation, the nominal world",
}
GROUP_WORDS = {
    "model": "Physics",
    "actuator": "Actuators",
    "sensor": "Sensors",
    "world": "Pushes and start",
    "visual": "Appearance and camera",
}
EVENT_WORDS = {
    "rate": "command slowed to the allowed speed",
    "position": "command kept inside the joint range",
    "effort": "command kept inside the allowed force",
    "output": "policy answered no finite number",
    "missing": "a reading was missing",
    "shape": "a reading had the wrong size",
    "nan": "a reading was no finite number",
    "range": "a reading was outside what is possible",
    "stale": "a reading or image was too old",
    "future": "a time stamp lay in the future",
    "overrun": "the loop missed a deadline",
    "exception": "the loop ended by an error",
}


@dataclass(frozen=True)
class LearningCurve:
    """One chart of learning.

    Attributes:
        title: above the chart.
        unit: of the vertical axis.
        x: key of the horizontal axis in a line of metrics.jsonl; "step" is used where it is absent.
        y: key of the vertical axis.
        ends: of the vertical axis; None takes those of the data.
        log: logarithmic vertical axis.
        factor: from the file's unit to the axis's.
    """

    title: str
    unit: str
    x: str
    y: str
    ends: tuple[float | None, float | None] = (None, None)
    log: bool = False
    factor: float = 1.0


CURVES = {
    "teacher": (
        LearningCurve("Success", "%", "env_steps", "success", (0.0, 100.0), factor=100.0),
        LearningCurve("Return", "reward of an episode", "env_steps", "return"),
        LearningCurve("Speed", "steps/s", "env_steps", "steps_per_s", (0.0, None)),
    ),
    "student": (
        LearningCurve("Success", "%", "images", "success", (0.0, 100.0), factor=100.0),
        LearningCurve(
            "Error in reading images", "cm", "images", "label_error_m", (0.0, None), factor=100
        ),
        LearningCurve("Distance to teacher", "KL", "images", "kl", log=True),
        LearningCurve("Speed", "images/s", "images", "images_per_s", (0.0, None)),
    ),
}
X_WORDS = {"env_steps": "simulated steps", "images": "images", "step": "updates"}


@dataclass(frozen=True)
class ReportedPolicy:
    """One of the two policies: its key in the outcomes, words, kind of line, and training."""

    name: str
    words: str
    kind: str
    pipeline: Pipeline


def write(path: Path, report: DemoReport) -> Path:
    """Writes the page whole or not at all; returns its path.

    Raises:
        RunError: a metrics file with a broken line.
        ValueError: images that are not uint8 RGB.
    """
    policies = [
        ReportedPolicy(name, WORDS[name], KIND[name], pipeline)
        for name, pipeline in ((RANDOMIZED, report.randomized), (PLAIN, report.plain))
    ]
    compared = report.plain != Pipeline() or any(o.pipeline == PLAIN for o in report.outcomes)
    groups = dict.fromkeys(row.group for row in report.space.rows) if report.space else {}
    differ = ", ".join(GROUP_WORDS[group].lower() for group in groups)
    write_page(
        Path(path),
        "demo_report.html.j2",
        title=f"{report.task}: from simulation to the robot",
        report=report,
        verdict=verdict(report),
        stats=_stats(report, policies),
        policies=policies if compared else policies[:1],
        compared=compared,
        worlds_differ="simulated worlds that differ from each other"
        + (f" ({differ})" if differ else ""),
        sections=SECTIONS,
        places=_places(report, policies),
        films=_films(policies),
        worlds=_worlds(policies),
        learning=_learning(policies),
        bounds=_bounds(report),
        ranges=_ranges(report),
        robot=_robot(policies),
        facts=_facts(report),
    )
    return Path(path)


def _stats(report: DemoReport, policies: list[ReportedPolicy]) -> list[dict[str, Any]]:
    """Returns the figures at the top of the page."""
    out: list[dict[str, Any]] = []
    for policy in policies:
        row = outcome(report, policy.name, STAND_IN)
        if row is not None:
            ends = span(*row.interval(report.confidence))
            note = f"success of the {row.label} on the stand-in ({ends})"
            about = {"policy": policy, "title": policy.words}
            out.append(about | {"value": percent(row.rate), "note": note})
    side = report.randomized.robot
    if side is not None and side.latency_us is not None:
        median, tail = (f"{us / 1000:.3g}" for us in side.latency_us)
        out.append(
            {
                "policy": None,
                "title": "one ONNX inference",
                "value": f"{median} ms",
                "note": f"median; 99th percentile {tail} ms",
            }
        )
    if report.total_s > 0:
        took = {"policy": None, "title": "the whole run", "value": duration(report.total_s)}
        out.append(took | {"note": "training, tests and this page"})
    return out


def _places(report: DemoReport, policies: list[ReportedPolicy]) -> dict[str, list[dict[str, Any]]]:
    """Returns the success rates by place, with their intervals."""
    by_name = {policy.name: policy for policy in policies}

    def rate(row: Outcome) -> dict[str, Any]:
        return {
            "outcome": row,
            "policy": by_name[row.pipeline],
            "interval": row.interval(report.confidence) if row.episodes else None,
            "target": report.target if row.where == STAND_IN else None,
        }

    found = {
        words: [rate(row) for row in report.outcomes if row.where == where]
        for where, words in PLACE_WORDS.items()
    }
    return {words: rates for words, rates in found.items() if rates}


def _films(policies: list[ReportedPolicy]) -> list[tuple[ReportedPolicy, list[dict[str, Any]]]]:
    """Returns the episodes on the stand-in, each as an animation and a strip of frames."""
    out = []
    for policy in policies:
        shots = []
        for film in policy.pipeline.films[:MOST_FILMS]:
            frames = media.check_images(film.frames, 4)
            strip = [media.png_url(frames[i]) for i in media.evenly_spaced(len(frames), STRIP)]
            url = media.webp_url(frames, film.frame_s)
            shots.append(
                {"url": url, "strip": strip, "success": film.success, "caption": film.caption}
            )
        if shots:
            out.append((policy, shots))
    return out


def _worlds(policies: list[ReportedPolicy]) -> list[tuple[ReportedPolicy, str, int]]:
    """Returns a mosaic of training worlds and their number for each policy."""
    out = []
    for policy in policies:
        tiles = policy.pipeline.worlds
        if tiles is not None and len(tiles):
            tiles = tiles[:MOST_TILES]
            sheet = media.mosaic(tiles, min(len(tiles), 8))
            out.append((policy, media.png_url(sheet), len(tiles)))
    return out


def _learning(policies: list[ReportedPolicy]) -> dict[str, list[dict[str, Any]]]:
    """Returns the learning curves that have data, of teacher and student."""
    out = {}
    for who, curves in CURVES.items():
        logs = [(policy, _read(getattr(policy.pipeline, who))) for policy in policies]
        drawn = [_curve(who, curve, logs) for curve in curves]
        if any(drawn):
            out[who.capitalize()] = [chart for chart in drawn if chart]
    return out


def _curve(
    who: str, curve: LearningCurve, logs: list[tuple[ReportedPolicy, Rows]]
) -> dict[str, Any]:
    """Returns a chart with the last value of each line, or nothing without data."""
    known = any(np.isfinite(column(rows, curve.x)).any() for _, rows in logs)
    x_key = curve.x if known else "step"
    lines, ends = {}, []
    for policy, rows in logs:
        x, y = column(rows, x_key), column(rows, curve.y) * curve.factor
        fine = np.isfinite(x) & np.isfinite(y) & ((y > 0) | (not curve.log))
        if fine.any():
            lines[policy.kind] = (x, y)
            ends.append((policy, y[fine][-1]))
    if not lines:
        return {}
    svg = charts.inline(
        f"{who}, {curve.title}: {curve.unit} against {X_WORDS[x_key]}",
        CHART,
        lambda axes: charts.draw_lines(axes, lines, X_WORDS[x_key], curve.ends, curve.log),
    )
    return {"title": curve.title, "unit": curve.unit, "svg": Markup(svg), "ends": ends}


def _bounds(report: DemoReport) -> dict[str, Any]:
    """Returns the charts of how the ranges widened, by group; empty without data."""
    rows = _read(report.randomized.bounds)
    x_key = "env_steps" if any("env_steps" in row for row in rows) else "step"
    x, entropy = column(rows, x_key), column(rows, "entropy")
    groups: dict[str, list[tuple[str, str, Markup]]] = {}
    fixed = []
    for group, words in GROUP_WORDS.items():
        for row in report.space.rows if report.space else ():
            low, high = (charts.bound(rows, end, row) for end in ("low", "high"))
            if row.group != group or not np.isfinite(low + high).any():
                continue
            if not (high > low).any():
                fixed.append(row.name)
                continue
            label = f"{row.name}: range over time within {row.limits}"
            draw = partial(charts.draw_band, row=row, x=x, low=low, high=high)
            svg = charts.inline(label, SMALL_CHART, draw, SMALL_MARGINS)
            groups.setdefault(words, []).append((*charts.named(row), Markup(svg)))
    drawn = ""
    if np.isfinite(x + entropy).any():
        drawn = charts.inline(
            f"width of randomization against {X_WORDS[x_key]}",
            (360, 180),
            lambda axes: charts.draw_lines(axes, {"a": (x, entropy)}, X_WORDS[x_key], (None, 0.0)),
        )
    found = {"groups": groups, "entropy": Markup(drawn), "fixed": fixed if groups else []}
    return found if groups or drawn else {}


def _ranges(report: DemoReport) -> dict[str, list[dict[str, Any]]]:
    """Returns the ranges at the end of training by group, with places in percent of the limits."""
    rows = _read(report.randomized.ranges or report.randomized.bounds)[-1:]
    out: dict[str, list[dict[str, Any]]] = {}
    for row in report.space.rows if report.space else ():
        ends = [float(charts.bound(rows, key, row).sum()) for key in ("low", "high")]
        low, high = ends if rows and all(map(math.isfinite, ends)) else row.initial
        places = (_percent_of_limits(row, value) for value in (low, high, row.nominal))
        names = ("from_percent", "to_percent", "nominal_percent")
        name, unit = charts.named(row)
        about = {"name": name, "unit": unit, "low": low, "high": high}
        about |= {"limits": row.limits, "nominal": row.nominal}
        out.setdefault(GROUP_WORDS[row.group], []).append(
            about | dict(zip(names, places, strict=True))
        )
    return out


def _percent_of_limits(row: Param, value: float) -> float:
    """Returns where a value lies between the limits, in percent; by its law's coordinate."""
    low, high = row.limits
    if high <= low:
        return 50.0
    if row.law == "log_uniform":
        low, high, value = math.log(low), math.log(high), math.log(value)
    return 100 * (value - low) / (high - low)


def _robot(policies: list[ReportedPolicy]) -> dict[str, Any]:
    """Returns what the safety layer and the loop counted, one column a policy."""
    sides = {p.words: p.pipeline.robot for p in policies if p.pipeline.robot is not None}
    if not sides:
        return {}
    codes = dict.fromkeys(c for side in sides.values() for c in side.events if c != "overrun")
    figures: list[tuple[str, Callable[[RobotSide], str]]] = [
        ("control steps", lambda side: f"{side.steps:,}"),
        *((_event_words(code), _event_rate(code)) for code in codes),
        ("steps on hold, per 1,000", lambda side: _per_thousand(side.held, side.steps)),
        ("runs stopped by the safety layer", lambda side: f"{side.stops}"),
        ("missed deadlines, per 1,000", lambda side: _per_thousand(side.overruns, side.steps)),
        ("latest arrival at a deadline", lambda side: _measured(side.worst_late_ms, "ms")),
        ("ONNX inference, median", lambda side: _latency(side, 0)),
        ("ONNX inference, 99th percentile", lambda side: _latency(side, 1)),
        ("largest difference of ONNX to training", lambda side: _measured(side.parity_error, "")),
    ]
    rows = [(name, *(figure(side) for side in sides.values())) for name, figure in figures]
    return {"head": ("", *sides), "rows": rows}


def _event_words(code: str) -> str:
    return f"{EVENT_WORDS[code]} ({code})" if code in EVENT_WORDS else code


def _event_rate(code: str) -> Callable[[RobotSide], str]:
    return lambda side: _per_thousand(side.events.get(code, 0), side.steps)


def _per_thousand(count: int | None, steps: int) -> str:
    return "not measured" if count is None or steps < 1 else f"{1000 * count / steps:.3g}"


def _latency(side: RobotSide, which: int) -> str:
    return _measured(side.latency_us and side.latency_us[which], "\u00b5s")


def _measured(value: float | None, unit: str) -> str:
    if value is None:
        return "not measured"
    return f"{value:,.0f} {unit}" if value >= 1000 else f"{short(value)} {unit}".strip()


def _facts(report: DemoReport) -> list[tuple[str, str]]:
    """Returns what ran where, with which seeds and versions, and how long."""
    source = report.provenance
    facts: Mapping[str, str] = {
        "machine": source.machine,
        "commit": source.commit,
        **{f"seed, {name}": str(seed) for name, seed in source.seeds.items()},
        **source.versions,
        **{f"time, {name}": duration(s) for name, s in report.stages_s.items()},
    }
    return [(name, value) for name, value in facts.items() if value]


def _read(path: Path | None) -> Rows:
    """Returns the lines of a log; none where there is no file."""
    return read_jsonl(path) if path is not None and path.exists() else []
