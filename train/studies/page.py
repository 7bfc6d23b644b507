"""The page of a study: conclusion, rates with intervals, comparisons, curves, how it was made."""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import markupsafe
import numpy as np

from mjx_s2r.io.config import to_dict
from mjx_s2r.report.charts import Curve, draw_curves, inline, short
from mjx_s2r.report.findings import percent, span
from mjx_s2r.report.page import duration, write_page
from train.studies.conclusions import (
    Cell,
    Finding,
    Judged,
    Rate,
    level_of,
    rate_of,
    wider,
)
from train.studies.plan import Row, Study, StudySettings

POINTS = 40  # of a curve


@dataclass(frozen=True)
class StudyResult:
    """Everything that a page shows.

    Attributes:
        study: what was asked.
        settings: sizes, task, robots.
        rows: finished trainings.
        judged: their verdicts.
        findings: what the comparisons came to.
        notes: further sentences from the rows.
        about: machine, versions, commit.
        command: what to type to get the same again.
        config: settings that the page prints, of a study that is a program of its own.
    """

    study: Study
    settings: StudySettings
    rows: Sequence[Row]
    judged: Sequence[Judged]
    findings: Sequence[Finding]
    notes: Sequence[str]
    about: Mapping[str, Any]
    command: str
    config: Any = None


def write_study_page(path: Path, found: StudyResult) -> None:
    """Writes the page, one file without links to others."""
    study, settings, rows = found.study, found.settings, found.rows
    shown = [f for f in found.findings if f.difference is not None and f.difference.shown]
    measured = [f for f in found.findings if f.difference is not None]
    seconds = sum(row["trained_s"] + row["judged_s"] for row in rows)
    write_page(
        path,
        "study.html.j2",
        title=study.question,
        name=settings.study,
        size=settings.size,
        task=settings.preset.task,
        trainings=len(rows),
        episodes=sum(j.episodes for j in found.judged),
        seconds=seconds,
        mood="good" if shown else "open",
        headline=_headline(len(shown), len(measured), found.notes),
        sentences=[f.sentence for f in found.findings] + list(found.notes),
        fine_print=fine_print(len(found.findings), settings.preset.seeds),
        places=[*_places(found)],
        table=[*_table(found)],
        table_head=(
            *("robots", "arm", "success", "by episodes", "by trainings"),
            *("lowest training", "episodes"),
        ),
        comparisons=[*_comparisons(found.findings)],
        level=_level(len(found.findings)),
        curves=_curves(found),
        panels=_panels(found),
        about=study.about,
        arms=[*_arms(found)],
        command=found.command,
        facts=[*facts_of(found)],
        files=[*settings.places.items()],
        settings=json.dumps(_printed(found), indent=2),
    )


def _printed(found: StudyResult) -> dict[str, Any]:
    """Returns the settings that the page prints; what places are made of stands on it already."""
    if found.config is not None:
        return dict(to_dict(found.config))
    return dict(to_dict(found.settings) | {"places": None})


def fine_print(comparisons: int, seeds: int) -> str:
    """Returns what kind of claim the sentences are."""
    many = "its" if comparisons < 2 else f"all {comparisons} intervals together hold with 95 %; an"
    text = (
        f"Stated is the wider of two intervals, over episodes and over trainings; {many} interval "
    )
    text += "that holds zero shows nothing"
    if seeds < 2:
        text += ". One training of each arm says nothing about how another one would turn out"
    return f"{text}."


def _level(comparisons: int) -> str:
    """Returns at which level the intervals of the comparisons are drawn."""
    return (
        f"Differences in points, first minus second, paired by seed. Each interval at "
        f"{100 * level_of(comparisons):.3g} %, so that all together hold with 95 % (Bonferroni). "
        "By episodes: Newcombe's, counts divided by their design effect; by trainings: Student's "
        "over the pairs."
    )


def _headline(shown: int, measured: int, notes: Sequence[str]) -> str:
    """Returns the first line of the verdict."""
    if not measured:
        return "See below" if notes else "Nothing has been compared yet"
    if not shown:
        return "No difference is shown"
    if shown == measured:
        return "The difference is shown" if shown == 1 else f"All {shown} differences are shown"
    return f"{shown} of {measured} differences are shown"


def _cells(found: StudyResult) -> Iterator[tuple[str, str, Rate]]:
    """Yields place, arm and rate of everything that was judged."""
    for place in dict.fromkeys(j.place for j in found.judged):
        for arm in found.study.arms:
            rate = rate_of(found.judged, Cell(arm.name, place))
            if rate is not None:
                yield place, arm.name, rate


def _places(found: StudyResult) -> Iterator[dict[str, Any]]:
    """Yields the bars of each family of robots."""
    cells = [*_cells(found)]
    for place in dict.fromkeys(place for place, _, _ in cells):
        bars = []
        for _, arm, rate in (cell for cell in cells if cell[0] == place):
            low, high = wider(rate.by_episodes, rate.by_trainings)
            low, high = max(low, 0.0), min(high, 1.0)  # what a share can be
            each = ", ".join(percent(x).removesuffix(" %") for x in rate.each.values())
            counts = f"{rate.episodes} episodes of {len(rate.each)} policies"
            bar = {"arm": arm, "rate": rate.success, "low": low, "high": high}
            bars.append(bar | {"each": each, "counts": counts})
        yield {"name": place, "cells": bars}


def _table(found: StudyResult) -> Iterator[tuple[str, ...]]:
    """Yields the rows of the table of rates."""
    for place, arm, rate in _cells(found):
        low, high = rate.by_trainings
        known = math.isfinite(low)
        yield (
            place,
            arm,
            percent(rate.success),
            span(*rate.by_episodes),
            span(max(low, 0.0), min(high, 1.0)) if known else "one training",
            percent(min(rate.each.values())),
            str(rate.episodes),
        )


def _comparisons(findings: Sequence[Finding]) -> Iterator[tuple[str, ...]]:
    """Yields the rows of the table of comparisons."""
    for item in findings:
        names = (item.comparison.first.words, item.comparison.second.words)
        if item.difference is None:
            yield (*names, "not measured", "", "", "")
            continue
        ends = (item.difference.by_episodes, item.difference.by_trainings)
        yield (
            *names,
            f"{100 * item.difference.value:+.0f}",
            *(_points(*end) if math.isfinite(end[0]) else "none" for end in ends),
            str(item.difference.pairs),
        )


def _points(low: float, high: float) -> str:
    """Returns an interval of a difference of shares in points, cut to what it can be."""
    return f"{100 * max(low, -1.0):+.0f} to {100 * min(high, 1.0):+.0f}"


def _curves(found: StudyResult) -> markupsafe.Markup | str:
    """Returns the chart of success over the trainings, empty where no arm has a curve."""
    curves = []
    for arm in found.study.arms:
        logs = [row["curve"] for row in found.rows if row["arm"] == arm.name and row["curve"]]
        if logs:
            curves.append(mean_curve(arm.name, logs))
    if not curves:
        return ""
    label = "Success while training over environment steps"
    return markupsafe.Markup(
        inline(label, (700, 300), lambda axes: draw_curves(axes, curves, "environment steps"))
    )


def mean_curve(name: str, logs: Sequence[Sequence[Mapping[str, Any]]]) -> Curve:
    """Returns the mean of several logs of success over steps, with the lowest and the highest.

    Args:
        name: of the curve.
        logs: lines with env_steps and success of each training; lines without success are left out.
    """
    lines = [
        [(r["env_steps"], r["success"]) for r in log if r["success"] is not None] or [(0.0, 0.0)]
        for log in logs
    ]
    steps = np.linspace(0.0, max(log[-1][0] for log in lines), POINTS)
    each = np.stack([np.interp(steps, *np.array(log, float).T) for log in lines])
    return Curve(name, steps, each.mean(0), each.min(0), each.max(0))


def _panels(found: StudyResult) -> list[dict[str, Any]]:
    """Returns the study's own sections, their charts marked as safe."""
    panels = found.study.panels
    return [
        {
            "title": panel.title,
            "text": panel.text,
            "table": panel.table,
            "charts": [(title, markupsafe.Markup(svg)) for title, svg in panel.charts],
        }
        for panel in (panels(found.rows, found.settings.preset) if panels else ())
    ]


def _arms(found: StudyResult) -> Iterator[tuple[str, ...]]:
    """Yields the rows of the table of arms."""
    for arm in found.study.arms:
        mine = [row for row in found.rows if row["arm"] == arm.name]
        if mine:
            steps = short(float(np.mean([row["env_steps"] for row in mine])))
            took = duration(float(np.mean([row["trained_s"] for row in mine])))
            yield arm.name, arm.about, str(len(mine)), steps, took
        else:
            yield arm.name, arm.about, "0", "", ""


def facts_of(found: StudyResult) -> Iterator[tuple[str, str]]:
    """Yields what a result must carry to be compared."""
    about, preset = found.about, found.settings.preset
    seeds = sorted({row["seed"] for row in found.rows})
    yield "task", preset.task
    yield "seeds", ", ".join(map(str, seeds))
    taken = dict.fromkeys(row["engine"] for row in found.rows if "engine" in row)
    yield "engine of the trainings", ", ".join(taken) or preset.engine
    long = {row["task"]: row["iterations"] for row in found.rows if "iterations" in row}
    if long:
        yield "iterations of a training", ", ".join(f"{task} {n}" for task, n in long.items())
    if any("robots" in row for row in found.rows):
        yield "robots", f"{preset.count} of each family, {preset.episodes} episodes on each"
        yield "engine of the robots", "C MuJoCo, through controller, guard and ONNX file"
    changed = " (with changes)" if about.get("changed") else ""
    yield "commit", f"{about.get('commit')}{changed}"
    yield "machine", f"{about.get('cpu')}, {about.get('cores')} cores"
    versions = about.get("versions", {})
    yield "versions", ", ".join(f"{name} {number}" for name, number in versions.items())
