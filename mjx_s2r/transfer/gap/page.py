"""The page of a measured gap: one HTML file; the words are in templates/gap.html.j2."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from markupsafe import Markup

from mjx_s2r.contract import CameraSignal
from mjx_s2r.params import ParamSpace
from mjx_s2r.report import charts, media
from mjx_s2r.report.findings import percent
from mjx_s2r.report.page import write_page
from mjx_s2r.transfer.gap.blame import BlamedRow
from mjx_s2r.transfer.gap.domains import DomainGap
from mjx_s2r.transfer.gap.observations import SeenSignal
from mjx_s2r.transfer.gap.replay import ReplayGap
from mjx_s2r.transfer.gap.result import GapReport, PictureGap, Place
from mjx_s2r.transfer.unit_coordinates import nominal_z

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOOD = {"good": "good", "moderate": "open", "poor": "bad"}
MOST_SINGLE, MOST_SIGNALS, MOST_PAIRS, MOST_CHARTS = 10, 12, 6, 6
CHART = (420, 190)  # px
SHOWN_S = 4.0  # of a recording


def write_gap_page(path: Path, report: GapReport, command: str = "") -> Path:
    """Writes the page whole or not at all; returns its path.

    Args:
        path: where it goes.
        report: what was found.
        command: what to type to get it again.
    """
    verdict = report.verdict
    write_page(
        path,
        "gap.html.j2",
        title=f"{report.task}: the gap between simulation and robot",
        report=report,
        mood="open" if verdict is None else MOOD.get(verdict.word, "open"),
        verdict=verdict,
        places=[_place(place) for place in report.places],
        replay=None if report.replay is None else _replay(report.replay),
        charts=[] if report.replay is None else _charts(report.replay),
        single=_rows(report.blame.single[:MOST_SINGLE], report.space) if report.blame else [],
        greedy=_rows(report.blame.greedy, report.space) if report.blame else [],
        together=_together(report),
        observations=None if report.observations is None else _signals(report),
        pictures=[_pictures(found) for found in report.pictures],
        command=command,
    )
    return path


def _together(report: GapReport) -> str:
    """Returns the share that all rows explain together; "" where no fit was run."""
    found = report.blame
    return "" if found is None or not np.isfinite(found.together) else _share(found.together)


def _place(place: Place) -> dict[str, Any]:
    """Returns what a place's line shows."""
    figures = place.performance
    return {
        "name": place.name,
        "about": place.about,
        "rate": figures.success.value,
        "interval": figures.success.interval,
        "counts": f"{figures.successes} of {figures.episodes}",
        "figures": tuple(_estimate(x) for x in (figures.episode_return, figures.length)),
    }


def _estimate(estimate: Any) -> str:
    """Returns a mean with its interval; what nobody measured is said."""
    value, low, high = estimate.to_json()
    if value is None:
        return "not measured"
    ends = "" if low is None or high is None else f" ({charts.short(low)} to {charts.short(high)})"
    return f"{charts.short(value)}{ends}"


def _replay(replay: ReplayGap) -> list[tuple[str, ...]]:
    """Returns the table of errors, channel by channel."""
    columns = zip(
        replay.channels,
        replay.error(),
        replay.motion(),
        replay.share(),
        replay.inside(),
        strict=True,
    )
    return [
        (
            str(channel),
            f"{charts.short(error)} {channel.unit}",
            f"{charts.short(motion)} {channel.unit}",
            _share(share),
            _share(inside),
        )
        for channel, error, motion, share, inside in columns
    ]


def _share(share: float) -> str:
    """Returns a share in per cent; a dash where there is none."""
    if not np.isfinite(share):
        return "\u2013"
    return percent(share) if share <= 1 else f"{100 * share:.0f} %"


def _charts(replay: ReplayGap) -> list[dict[str, Any]]:
    """Returns charts of the recording with the largest error, the channels that are worst first."""
    windows = replay.windows
    apart = (windows.readings - replay.nominal) / np.maximum(replay.motion(), replay.noise_std)
    seen = np.isfinite(apart)
    total = np.where(seen, apart, 0.0) ** 2
    recordings = np.unique(windows.recording)
    each = [
        total[windows.recording == r].sum() / max(seen[windows.recording == r].sum(), 1)
        for r in recordings
    ]
    chosen = int(recordings[int(np.argmax(each))])
    mine = np.flatnonzero(windows.recording == chosen)
    begin = windows.start_s[mine].min()
    mine = mine[windows.start_s[mine] < begin + SHOWN_S]
    order = np.argsort(-np.nan_to_num(replay.share()))[:MOST_CHARTS]
    out = []
    for c in sorted(order.tolist()):
        channel = replay.channels[c]
        draw = partial(_draw, replay=replay, mine=mine, channel=c, begin=begin)
        label = f"{channel} in {channel.unit} over time: measured, simulated, and trained ranges"
        svg = charts.inline(label, CHART, draw, (44, 8, 8, 34))
        out.append({"title": str(channel), "unit": channel.unit, "svg": Markup(svg)})
    name = windows.recordings[chosen].name
    return [chart | {"recording": name} for chart in out]


def _draw(axes: "Axes", replay: ReplayGap, mine: np.ndarray, channel: int, begin: float) -> None:
    """Draws one channel: each window's simulation is a line of its own."""
    from matplotlib.ticker import MaxNLocator

    windows = replay.windows
    for w in mine:
        t = windows.time_s[w] + windows.start_s[w] - begin
        known = np.isfinite(t)
        low, high = (x[w, known, channel] for x in (replay.low, replay.high))
        axes.fill_between(t[known], low, high, facecolor=charts.SOFT, alpha=0.25, linewidth=0)
        axes.plot(t[known], windows.readings[w, known, channel], color=charts.INK, linewidth=1.3)
        nominal = replay.nominal[w, known, channel]
        axes.plot(t[known], nominal, color=charts.DASHED, linestyle=(0, (4, 2)), linewidth=1.3)
    axes.set_xlabel("s")
    axes.yaxis.set_major_locator(MaxNLocator(4, steps=charts.ROUND))
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(lambda value, _: charts.short(value))


def _rows(rows: Sequence[BlamedRow], space: ParamSpace) -> list[dict[str, Any]]:
    """Returns what the table of blamed rows shows."""
    usual, out = 100 * nominal_z(space), []
    for row in rows:
        i = space.index(row.name)
        named = space.rows[i]
        place = 100 * row.place
        told = {True: "inside what was trained", False: "outside what was trained", None: ""}
        out.append(
            {
                "name": row.name,
                "unit": charts.named(named)[1],
                "nominal": row.nominal,
                "best": row.best,
                "limits": named.limits,
                "share": _share(row.share),
                "trained": told[row.trained] + (" (a limit)" if row.place in (0.0, 1.0) else ""),
                "from": min(place, usual[i]),
                "wide": abs(place - usual[i]),
                "at": usual[i],
            }
        )
    return out


def _signals(report: GapReport) -> list[tuple[str, ...]]:
    """Returns the numbers of the observation that differ most."""
    assert report.observations is not None
    order = sorted(report.observations.signals, key=lambda s: s.overlap)[:MOST_SIGNALS]
    return [_signal(signal) for signal in order]


def _signal(signal: SeenSignal) -> tuple[str, ...]:
    """Returns one line of the table of signals."""
    unit = "" if signal.unit == "1" else f" {signal.unit}"
    spans = [
        f"{charts.short(low)} to {charts.short(high)}{unit}"
        for low, high in (signal.robot, signal.simulation)
    ]
    return (
        signal.name,
        _share(signal.outside_training),
        _share(signal.outside_simulation),
        _share(signal.overlap),
        *spans,
    )


def _pictures(found: PictureGap) -> dict[str, Any]:
    """Returns what is shown of one camera."""
    pairs = found.pairs
    kept = media.evenly_spaced(len(pairs), MOST_PAIRS)
    shown = []
    for i in kept:
        robot, simulated = (_as_rgb(pairs.camera, x[i]) for x in (pairs.robot, pairs.simulated))
        apart = np.abs(robot.astype(int) - simulated.astype(int)).astype(np.uint8)
        shown.append([media.png_url(x) for x in (robot, simulated, apart)])
    size = None if found.action is None else float(np.sqrt((found.action**2).mean()))
    worst = None if found.action is None else float(np.abs(found.action).max())
    return {
        "camera": pairs.camera.name,
        "count": len(pairs),
        "shown": shown,
        "action": None if size is None else _share(size),
        "worst": None if worst is None else _share(worst),
        "domains": [
            ("renders of the same moments", *_domain(found.paired)),
            ("simulated flights in worlds of the training", *_domain(found.varied)),
        ],
    }


def _domain(domain: DomainGap | None) -> tuple[str, str]:
    """Returns accuracy and distance in words."""
    if domain is None:
        return "\u2013", "\u2013"
    low, high = domain.accuracy.interval
    accuracy = f"{percent(domain.accuracy.value)} ({100 * low:.0f} to {100 * high:.0f})"
    return accuracy, charts.short(domain.distance)


def _as_rgb(camera: CameraSignal, picture: np.ndarray) -> np.ndarray:
    """Returns a picture (H, W, C) to look at: colours as they are, depth as grey, near bright."""
    if camera.kind == "rgb":
        return np.asarray(picture, np.uint8)
    share = (picture - camera.near) / (camera.far - camera.near)
    grey = np.where(picture > 0, 255 * (1 - np.clip(share, 0, 1)), 0).astype(np.uint8)
    return np.repeat(grey[..., :1], 3, axis=-1)
