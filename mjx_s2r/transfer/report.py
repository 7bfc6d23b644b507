"""The page of an identification: what was found, how sure it is, and how well it explains the logs.

The words are in report/templates/identification.html.j2; here are the numbers and the charts.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from markupsafe import Markup

from mjx_s2r.params import Param
from mjx_s2r.report import charts
from mjx_s2r.report.charts import short
from mjx_s2r.report.page import write_page
from mjx_s2r.transfer.posterior import Posterior
from mjx_s2r.transfer.recording import Channel
from mjx_s2r.transfer.result import Identification, SignalFit

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_CHANNELS = 8  # whose curves are drawn; the tables have all
MOST_NAMED = 3  # of rows that are only seen together, named beside each; "What to run next" has all
MOST_PAIRS = 6  # of rows that are only seen together, drawn as samples
MOST_DOTS = 400  # samples in one of these pictures
MOST_POINTS = 320  # of a curve
NEIGHBOURS = 2  # windows that are drawn on either side of a chosen one
MOST_LAGS = 40  # of the residuals' correlation in time
GOOD_COVERAGE = 0.90, 0.99  # share of the readings inside a 95 % band that passes for honest
CURVE, SMALL, SQUARE = (460, 190), (240, 150), (240, 210)  # px
CELL = 34  # px of a square of the correlation
MARGINS = (48, 10, 8, 36)
SIDES = ((True, "held out"), (False, "fitted"))  # which recordings, and how a page calls them


@dataclass(frozen=True)
class RowLine:
    """One row of the table as the page shows it; percents are places between the limits."""

    name: str
    unit: str
    nominal: str
    best: str
    interval: str
    limits: str
    nominal_percent: float
    best_percent: float
    low_percent: float
    high_percent: float
    flags: tuple[str, ...]


@dataclass(frozen=True)
class ErrorLine:
    """Root mean square errors of what one side's recordings say of one quantity or channel.

    Attributes:
        name: the channel, or the kind of all of them.
        side: "held out" or "fitted".
        unit: of the errors.
        nominal: of the model as it was written.
        fitted: at the best values.
        noise: deviation of the readings' noise; the least that an error can be.
        coverage: share of the readings inside the 95 % band; NaN where there is none.
        typical: the median over windows of their errors, nominal and fitted: where the motion
            passes a place from which it may fall either way, one window decides the others.
    """

    name: str
    side: str
    unit: str
    nominal: float
    fitted: float
    noise: float
    coverage: float
    typical: tuple[float, float]

    @property
    def factor(self) -> float:
        """How many times smaller the error has become."""
        return self.nominal / self.fitted if self.fitted > 0 else np.inf


@dataclass(frozen=True)
class Curves:
    """One window of one channel, drawn."""

    title: str
    chart: Markup


@dataclass(frozen=True)
class ChannelCharts:
    """What is drawn of one channel."""

    name: str
    windows: tuple[Curves, ...]
    residuals: tuple[Curves, ...]
    note: str


def write_report(
    found: Identification,
    path: str | Path,
    *,
    command: str = "",
    settings: Mapping[str, object] | None = None,
    experiment: Sequence[str] = (),
) -> None:
    """Writes the page of an identification: one HTML file that needs nothing beside it.

    Args:
        found: the identification.
        path: of the page.
        command: the command line that made it, to be run again.
        settings: name -> value of what was asked for.
        experiment: which motion to run next, a sentence or a command each; see
            `mjx_s2r.transfer.excitation`.

    Raises:
        ValueError: an identification without a recording.
    """
    if not found.fits:
        raise ValueError("the identification holds no recording: there is nothing to report")
    posterior = found.posterior
    totals = error_by_kind(found)
    verdict, sentence = _verdict(found, totals)
    shown = _worth_drawing(found)
    write_page(
        Path(path),
        "identification.html.j2",
        title=f"Identification of {posterior.task}",
        task=posterior.task,
        verdict=verdict,
        sentence=sentence,
        stats=_stats(found, totals),
        warnings=found.warnings,
        notes=posterior.notes,
        rows=posterior_lines(posterior),
        errors=_error_lines(found),
        channels=[_channel(found, c) for c in shown],
        left_out=len(found.channels) - len(shown),
        correlation=_correlation(posterior),
        correlation_px=_correlation_size(posterior)[0],
        pairs=_pairs(posterior),
        trace=_trace(found),
        seconds=found.seconds,
        experiment=list(experiment),
        unseen=posterior.unseen,
        groups=posterior.groups,
        command=command,
        settings=[(name, str(value)) for name, value in (settings or {}).items()],
        recordings=[
            (fit.name, "held out" if fit.held_out else "fitted", f"{_seconds(fit):.1f}")
            for fit in found.fits
        ],
        short=short,
    )


def posterior_lines(posterior: Posterior) -> list[RowLine]:
    """Returns the table's rows as the page shows them."""
    return [_row_line(posterior, d, row) for d, row in enumerate(posterior.space.rows)]


def _row_line(posterior: Posterior, d: int, row: Param) -> RowLine:
    low, high = posterior.range_of(row.name)
    best = float(posterior.best[d])
    flags = []
    if row.name in posterior.unseen:
        flags.append("not seen in the logs")
    if row.name in posterior.at_bound:
        flags.append("at a limit: widen it, or doubt the model")
    for group in posterior.groups:
        if row.name in group:
            others = set_apart(group, row.name)
            told = ", ".join(others) if len(others) <= MOST_NAMED else f"{len(others)} other rows"
            flags.append(f"only seen together with {told}")
    return RowLine(
        name=row.name,
        unit=charts.named(row)[1],
        nominal=short(row.nominal),
        best=short(best),
        interval=f"{short(low)} to {short(high)}",
        limits=f"{short(row.limits[0])} to {short(row.limits[1])}",
        nominal_percent=_percent(row, row.nominal),
        best_percent=_percent(row, best),
        low_percent=_percent(row, low),
        high_percent=_percent(row, high),
        flags=tuple(flags),
    )


def set_apart(group: Sequence[str], name: str) -> list[str]:
    """Returns the others of a group."""
    return [other for other in group if other != name]


def _percent(row: Param, value: float) -> float:
    """Returns where between its limits a value lies, by the row's law, 0 to 100."""
    ends = np.array([row.limits[0], value, row.limits[1]], float)
    low, x, high = np.log(ends) if row.law == "log_uniform" else ends
    return float(100 * np.clip((x - low) / (high - low), 0, 1)) if high > low else 50.0


def error_by_kind(found: Identification) -> list[ErrorLine]:
    """Returns the error of each side and each kind of channel, over all their readings.

    Channels of one kind and unit are taken together, e.g. all joint positions in rad.
    """
    kinds = dict.fromkeys((channel.kind, channel.unit) for channel in found.channels)
    return [
        line
        for held_out, side in SIDES
        for kind, unit in kinds
        if (
            line := _error(
                found,
                held_out,
                [c for c, one in enumerate(found.channels) if (one.kind, one.unit) == (kind, unit)],
                (KIND_WORDS[kind], side, unit),
            )
        )
    ]


KIND_WORDS = {"joint_pos": "joint positions", "joint_vel": "joint velocities", "sensor": "sensors"}


def _error_lines(found: Identification) -> list[ErrorLine]:
    """Returns the error of each channel on each side."""
    return [
        line
        for c, channel in enumerate(found.channels)
        for held_out, side in SIDES
        if (line := _error(found, held_out, [c], (str(channel), side, channel.unit)))
    ]


def _error(
    found: Identification, held_out: bool, which: Sequence[int], named: tuple[str, str, str]
) -> ErrorLine | None:
    """Returns the errors of some channels on one side; None where nothing was read."""
    wanted = {found.channels[c] for c in which}
    apart: dict[str, list[np.ndarray]] = {"nominal": [], "fitted": []}
    inside: list[np.ndarray] = []
    windows: dict[str, list[np.ndarray]] = {"nominal": [], "fitted": []}
    for fit in found.fits:
        columns = [c for c, channel in enumerate(fit.channels) if channel in wanted]
        if fit.held_out != held_out or not columns:
            continue
        measured = fit.measured[..., columns]
        seen = np.isfinite(measured)
        for name, parts in apart.items():
            parts.append((getattr(fit, name)[..., columns] - measured)[seen])
            windows[name].append(_by_window(getattr(fit, name)[..., columns] - measured))
        band = seen & np.isfinite(fit.low[..., columns])
        within = (fit.low[..., columns] <= measured) & (measured <= fit.high[..., columns])
        inside.append(within[band])
    sizes = {name: np.concatenate(parts) if parts else np.zeros(0) for name, parts in apart.items()}
    if not sizes["nominal"].size:
        return None
    nominal, fitted = (float(np.sqrt(np.nanmean(x**2))) for x in sizes.values())
    covered = np.concatenate(inside)
    noise = float(np.sqrt(np.mean(found.noise_std[list(which)] ** 2)))
    coverage = float(covered.mean()) if covered.size else np.nan
    usual = [float(np.nanmedian(np.concatenate(windows[name]))) for name in ("nominal", "fitted")]
    return ErrorLine(*named, nominal, fitted, noise, coverage, (usual[0], usual[1]))


def _by_window(apart: np.ndarray) -> np.ndarray:
    """Returns (W,) root mean squares of differences (W, K, C); NaN where nothing was read."""
    seen = np.isfinite(apart)
    total = (np.where(seen, apart, 0.0) ** 2).sum((1, 2))
    count = seen.sum((1, 2))
    return np.sqrt(total / np.where(count > 0, count, np.nan))


def _judged(totals: Sequence[ErrorLine]) -> list[ErrorLine]:
    """Returns the held-out lines, or those of the fit where nothing was held out."""
    return [line for line in totals if line.side == SIDES[0][1]] or list(totals)


def _verdict(found: Identification, totals: Sequence[ErrorLine]) -> tuple[str, str]:
    """Returns "good", "open" or "bad", and the page's first sentence."""
    lines = _judged(totals)
    worse = [line for line in lines if not line.fitted < line.nominal]
    low, high = GOOD_COVERAGE
    honest = all(low <= line.coverage <= high for line in lines)
    told = ", ".join(
        f"{line.name} {short(line.nominal)} to {short(line.fitted)} {line.unit} "
        f"({short(line.factor)} times less)"
        for line in lines
    )
    which = "recordings kept from the fit" if lines[0].side == SIDES[0][1] else "fitted recordings"
    if worse:
        return "bad", f"The fit does not explain the {which} better than the model did: {told}."
    judged = lines[0].side == SIDES[0][1]
    sound = judged and honest and not (found.warnings or found.posterior.at_bound)
    return ("good" if sound else "open"), f"Error on {which}: {told}."


def _stats(found: Identification, totals: Sequence[ErrorLine]) -> list[tuple[str, str, str]]:
    """Returns the title, value and note of the numbers at the top."""
    posterior = found.posterior
    stats = [
        (
            f"Error of {line.name}, {line.side}",
            f"{short(line.factor)} times less",
            f"{short(line.nominal)} {line.unit} before, {short(line.fitted)} after",
        )
        for line in _judged(totals)
    ]
    covered = [line.coverage for line in _judged(totals) if np.isfinite(line.coverage)]
    if covered:
        worst = max(covered, key=lambda share: abs(share - 0.95))
        stats.append(
            ("Inside the 95 % band", f"{100 * worst:.1f} %", "of the readings; the kind worst off")
        )
    seen = len(posterior.space) - len(posterior.unseen)
    stats.append(
        (
            "Rows that the logs see",
            f"{seen} of {len(posterior.space)}",
            f"at a limit: {len(posterior.at_bound)}; groups only seen together: "
            f"{len(posterior.groups)}",
        )
    )
    return stats


def _seconds(fit: SignalFit) -> float:
    """Returns how much of a recording its windows cover, s."""
    starts, ends = fit.time_s[:, 0], np.nanmax(fit.time_s, axis=1)
    return float(np.sum(ends - starts))


def _worth_drawing(found: Identification) -> list[int]:
    """Returns the channels that are drawn, in order: those with the most error left."""
    left = np.zeros(len(found.channels))
    for c in range(len(found.channels)):
        lines = [_error(found, held_out, [c], ("", "", "")) for held_out, _ in SIDES]
        left[c] = next((x.fitted / max(x.noise, 1e-300) for x in lines if x), -np.inf)
    return sorted(np.argsort(-left, kind="stable")[:MOST_CHANNELS].tolist())


def _channel(found: Identification, c: int) -> ChannelCharts:
    """Returns the charts of one channel: windows of both sides, and what is left of it."""
    channel = found.channels[c]
    windows: list[Curves] = []
    for held_out, side in SIDES:
        windows += _windows(found, channel, held_out, side)
    residuals, note = _residuals(found, channel, float(found.noise_std[c]))
    return ChannelCharts(str(channel), tuple(windows), residuals, note)


def _windows(found: Identification, channel: Channel, held_out: bool, side: str) -> list[Curves]:
    """Returns the window in the middle of all by its error, and the worst one."""
    ranked = []
    for fit in found.fits:
        if fit.held_out != held_out or channel not in fit.channels:
            continue
        c = fit.channels.index(channel)
        apart = fit.fitted[..., c] - fit.measured[..., c]
        for w in np.flatnonzero(np.isfinite(apart).sum(1) > 1):
            ranked.append((float(np.sqrt(np.nanmean(apart[w] ** 2))), fit, int(w), c))
    ranked.sort(key=lambda entry: entry[0])
    if not ranked:
        return []
    chosen = {"typical": ranked[(len(ranked) - 1) // 2], "worst": ranked[-1]}
    if len(ranked) == 1:
        chosen.pop("typical")
    return [
        Curves(
            f"{side}, {word if len(ranked) > 1 else 'only'} window: {fit.name}, error "
            f"{short(error)} {channel.unit}",
            _svg(
                f"{channel}, {side}, {word} window",
                CURVE,
                partial(_draw_window, fit=fit, w=w, c=c, unit=channel.unit),
            ),
        )
        for word, (error, fit, w, c) in chosen.items()
    ]


def _draw_window(axes: "Axes", fit: SignalFit, w: int, c: int, unit: str) -> None:
    """Draws what was measured, both predictions and the 95 % band of a window and its neighbours.

    Each window's predictions begin anew; the window that is meant has a darker ground.
    """
    near = range(max(0, w - NEIGHBOURS), min(len(fit.time_s), w + NEIGHBOURS + 1))
    there = {v: np.flatnonzero(np.isfinite(fit.time_s[v])) for v in near}
    stride = -(-sum(map(len, there.values())) // MOST_POINTS)
    axes.axvspan(*fit.time_s[w, there[w][[0, -1]]], facecolor=charts.LANE, linewidth=0)
    for v, rows in there.items():
        keep = np.unique(np.append(rows[::stride], rows[-1:]))
        time_s = fit.time_s[v, keep]
        low, high = fit.low[v, keep, c], fit.high[v, keep, c]
        axes.fill_between(time_s, low, high, facecolor=charts.SOLID, alpha=0.25, linewidth=0)
        seen = keep[np.isfinite(fit.measured[v, keep, c])]
        measured = fit.time_s[v, seen], fit.measured[v, seen, c]
        axes.plot(*measured, color=charts.INK, linewidth=3.6, alpha=0.3)
        axes.plot(time_s, fit.nominal[v, keep, c], **charts.LINE_STYLES["b"])
        axes.plot(time_s, fit.fitted[v, keep, c], **charts.LINE_STYLES["a"])
    _label(axes, "time, s", unit)


def _residuals(
    found: Identification, channel: Channel, noise: float
) -> tuple[tuple[Curves, ...], str]:
    """Returns the distribution of what the fit leaves and its correlation in time, and a sentence.

    Of the held-out recordings where they read the channel, of the fitted ones otherwise.
    """
    side, parts = _left(found, channel)
    values = np.concatenate([part[np.isfinite(part)] for part in parts] or [np.zeros(0)])
    if values.size < 2 or not noise > 0:
        return (), ""
    lags = autocorrelation(parts)
    drawn = (
        Curves(
            f"{side}: residual over noise; dashed: noise alone",
            _svg(
                f"Residuals of {channel}",
                SMALL,
                partial(_draw_histogram, values=values / noise),
            ),
        ),
        Curves(
            f"{side}: correlation of residuals, by readings apart",
            _svg(
                f"Correlation in time of the residuals of {channel}",
                SMALL,
                partial(_draw_lags, lags=lags),
            ),
        ),
    )
    spread = float(np.sqrt(np.mean(values**2)) / noise)
    note = f"Residuals are {short(spread)} times the noise"
    if len(lags) > 1:
        note += f"; from one reading to the next they correlate by {lags[1] + 0.0:.2f}"
    return drawn, note.replace("-0.00", "0.00") + "."


def _left(found: Identification, channel: Channel) -> tuple[str, list[np.ndarray]]:
    """Returns what the fit leaves of a channel, (W, K) of each recording, and of which side."""
    found_parts = {
        side: [
            fit.measured[..., c] - fit.fitted[..., c]
            for fit in found.fits
            if fit.held_out == held_out
            for c, one in enumerate(fit.channels)
            if one == channel
        ]
        for held_out, side in SIDES
    }
    for side, parts in found_parts.items():
        if sum(int(np.isfinite(part).sum()) for part in parts) > 1:
            return side, parts
    return "", []


def autocorrelation(windows: Sequence[np.ndarray], most: int = MOST_LAGS) -> np.ndarray:
    """Returns (L,) the correlation of residuals that are 0, 1, ... readings apart.

    Pairs are taken within windows and where both were read. The mean stays in: a residual that
    is off by a constant is correlated.

    Args:
        windows: (W, K) residuals, NaN where there is none.
        most: largest L.
    """
    longest = max(part.shape[1] for part in windows)
    found: list[float] = []
    for lag in range(min(most, longest)):
        pairs = [(part[:, : part.shape[1] - lag], part[:, lag:]) for part in windows]
        both = [np.isfinite(a) & np.isfinite(b) for a, b in pairs]
        if sum(int(seen.sum()) for seen in both) < 2:
            break
        product, first, second = (
            sum(
                float(np.sum(f(a[seen], b[seen]))) for (a, b), seen in zip(pairs, both, strict=True)
            )
            for f in (lambda a, b: a * b, lambda a, _: a**2, lambda _, b: b**2)
        )
        found.append(product / np.sqrt(first * second) if first > 0 and second > 0 else 0.0)
    return np.array(found)


def _draw_histogram(axes: "Axes", values: np.ndarray) -> None:
    """Draws the density of residuals in units of noise, and the normal one."""
    reach = float(np.clip(np.quantile(np.abs(values), 0.995), 3.0, 50.0))
    edges = np.linspace(-reach, reach, 31)
    density, _ = np.histogram(np.clip(values, -reach, reach), edges, density=True)
    axes.stairs(density, edges, fill=True, color=charts.SOLID, alpha=0.6)
    x = np.linspace(-reach, reach, 121)
    axes.plot(x, np.exp(-(x**2) / 2) / np.sqrt(2 * np.pi), **charts.LINE_STYLES["b"])
    _label(axes, "deviations of the noise", "")
    axes.set_ylim(bottom=0.0)


def _draw_lags(axes: "Axes", lags: np.ndarray) -> None:
    """Draws correlations (L,) as bars."""
    axes.bar(np.arange(len(lags)), lags, width=0.7, color=charts.SOLID)
    axes.axhline(0.0, color=charts.INK, linewidth=0.8)
    axes.set_ylim(min(-0.3, float(lags.min())), 1.0)
    _label(axes, "readings apart", "")


def _correlation(posterior: Posterior) -> Markup | None:
    """Returns the picture of the rows' correlation; None for a single row."""
    if len(posterior.space) < 2:
        return None
    width, height = size = _correlation_size(posterior)
    wide = CELL * len(posterior.space)
    return _svg(
        "Correlation of the rows",
        size,
        partial(_draw_correlation, posterior=posterior),
        (width - wide - 10, 10, 6, height - wide - 6),
    )


def _correlation_size(posterior: Posterior) -> tuple[int, int]:
    """Returns width and height of that picture, px, with room for the names."""
    names = 7 * max(len(name) for name in posterior.space.names) + 14
    wide = CELL * len(posterior.space)
    return names + wide + 10, wide + names + 6


def _draw_correlation(axes: "Axes", posterior: Posterior) -> None:
    """Draws squares as dark as rows go together: one colour rising together, one against."""
    from matplotlib.patches import Rectangle

    names, values = posterior.space.names, np.nan_to_num(posterior.correlation)
    for (i, j), value in np.ndenumerate(values):
        colour = charts.SOLID if value >= 0 else charts.DASHED
        if abs(value) < 0.02:
            continue
        square = Rectangle((j, i), 1, 1, facecolor=colour, alpha=min(abs(value), 1.0), linewidth=0)
        axes.add_patch(square)
        if i != j and abs(value) >= 0.3:
            axes.text(j + 0.5, i + 0.5, f"{value:.2f}", ha="center", va="center", fontsize=8.5)
    axes.set(xlim=(0, len(names)), ylim=(len(names), 0))
    places = np.arange(len(names)) + 0.5
    axes.set_xticks(places, names, rotation=90)
    axes.set_yticks(places, names)
    axes.tick_params(length=0)
    axes.grid(False)


def _pairs(posterior: Posterior) -> list[Curves]:
    """Returns the samples of rows that are only seen together, pair by pair."""
    pairs = [pair for group in posterior.groups for pair in combinations(group, 2)]
    rows = {row.name: row for row in posterior.space.rows}
    return [
        Curves(
            f"{one} and {other}",
            _svg(
                f"Samples of {one} and {other}",
                SQUARE,
                partial(_draw_pair, posterior=posterior, rows=(rows[one], rows[other])),
            ),
        )
        for one, other in pairs[:MOST_PAIRS]
    ]


def _draw_pair(axes: "Axes", posterior: Posterior, rows: tuple[Param, Param]) -> None:
    """Draws samples of two rows, the best values and the nominal ones."""
    step = -(-len(posterior.samples) // MOST_DOTS)
    place = [posterior.space.index(row.name) for row in rows]
    x, y = posterior.samples[::step, place].T
    axes.plot(x, y, "o", color=charts.SOLID, alpha=0.35, markersize=2.5, markeredgewidth=0)
    best = posterior.best[place]
    axes.plot(best[:1], best[1:], "x", color=charts.INK, markersize=7)
    axes.margins(0.06)
    _label(axes, *(", ".join(filter(None, charts.named(row))) for row in rows))


def _trace(found: Identification) -> Markup | None:
    """Returns the chart of the search; None where it left no trace."""
    if len(found.trace) < 2:
        return None
    line = found.trace[:, 0], found.trace[:, 1]

    def draw(axes: "Axes") -> None:
        log = bool(np.nanmax(line[1]) > 10 * np.nanmin(line[1]) > 0)
        charts.draw_lines(axes, {"a": line}, "simulated windows", log=log)

    return _svg("Best cost over the search", CURVE, draw)


def _label(axes: "Axes", x: str, y: str) -> None:
    """Names the axes, with few ticks written short."""
    from matplotlib.ticker import MaxNLocator

    axes.set_xlabel(x)
    axes.set_ylabel(y)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(4, steps=charts.ROUND))
        axis.set_major_formatter(lambda value, _: short(value))


def _svg(
    label: str,
    size: tuple[int, int],
    draw: Any,
    margins: tuple[int, int, int, int] = MARGINS,
) -> Markup:
    """Returns a chart as the page takes it."""
    return Markup(charts.inline(label, size, draw, margins))
