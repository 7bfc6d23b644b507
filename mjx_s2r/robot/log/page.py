"""A flight log as one HTML file: facts, bands of modes and events, joints, times, pictures.

The page needs nothing from elsewhere, and no library but numpy made it.
"""

import base64
import math
from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path

import numpy as np

from mjx_s2r.contract import CameraSignal
from mjx_s2r.robot.log import png
from mjx_s2r.robot.log.facts import LogFacts, inspect_log
from mjx_s2r.robot.log.reader import Flight
from mjx_s2r.robot.log.records import LogError, LoggedPicture
from mjx_s2r.robot.log.svg import Line, Mark, band_chart, histogram, line_chart
from mjx_s2r.robot.log.thinning import Thinned, thin
from mjx_s2r.robot.log.wear import limits_in_flight
from mjx_s2r.robot.phases import Phase
from mjx_s2r.robot.safety import Mode
from mjx_s2r.robot.verdict import FAILED, SUCCESS, TIME, TaskVerdict

STRIP = 10  # pictures of each camera
MODE_STYLES = {int(Mode.RUN): "run", int(Mode.HOLD): "hold", int(Mode.STOP): "stop"}
EVENT_STYLES = {**MODE_STYLES, int(Mode.RUN): "limited"}
VERDICT_STYLES = {SUCCESS: "good", TIME: "open", FAILED: "bad"}
PHASE_STYLES = {"run": "run", "hold": "hold", "damp": "stop", "estop": "stop"}
STYLE = """
:root { color-scheme: light dark; --paper: #fff; --ink: #1c2127; --soft: #58626d;
  --rule: #d9dee3; --lane: #f1f3f5; --a: #1667b0; --b: #b4540a; --good: #7fbf97;
  --open: #e0a800; --bad: #c62f25; --other: #9aa9bb; --limited: #8a63c9; }
@media screen and (prefers-color-scheme: dark) { :root { --paper: #15181c; --ink: #e6e9ec;
  --soft: #9aa5b0; --rule: #353c44; --lane: #20252b; --a: #6ab0f3; --b: #f2a25c; --good: #3f8a5c;
  --open: #d0a030; --bad: #f0655a; --other: #5a6878; --limited: #a98ae0; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 2rem 1.25rem 4rem; max-width: 64rem; background: var(--paper);
  color: var(--ink); font: 1rem/1.5 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }
h1 { font-size: 1.7rem; line-height: 1.2; margin: 0 0 .4rem; }
h2 { font-size: 1.2rem; margin: 2.2rem 0 .5rem; padding-top: .8rem;
  border-top: 1px solid var(--rule); }
p, .soft { color: var(--soft); margin: .2rem 0 .8rem; }
table { border-collapse: collapse; font-size: .925rem; }
td, th { text-align: left; vertical-align: top; padding: .12rem 1.2rem .12rem 0;
  font-variant-numeric: tabular-nums; }
th { color: var(--soft); font-weight: 400; white-space: nowrap; }
.warning, .verdict { border-left: .3rem solid var(--bad); background: var(--lane);
  padding: .5rem .9rem; margin: .3rem 0; }
.verdict { border-color: var(--other); } .verdict.good { border-color: var(--good); }
.verdict.open { border-color: var(--open); } .verdict.bad { border-color: var(--bad); }
.number { text-align: right; }
svg { display: block; width: 100%; height: auto; margin: .4rem 0; font: 11px sans-serif; }
svg text { fill: var(--soft); } svg .title { fill: var(--ink); }
.row { text-anchor: end; } .after { text-anchor: start; } .tick { text-anchor: middle; }
path { fill: none; stroke-width: 1.3; stroke-linejoin: round; }
path.position { stroke: var(--a); } path.command { stroke: var(--b); stroke-width: 1.1; }
.rule { stroke: var(--rule); stroke-width: .7; }
.mark { stroke: var(--ink); stroke-width: 1.4; stroke-dasharray: 2 3; }
.mark.good { stroke: var(--good); stroke-dasharray: none; stroke-width: 2; }
.mark.bad { stroke: var(--bad); stroke-dasharray: none; stroke-width: 2; }
.limit { stroke: var(--bad); stroke-dasharray: 5 4; }
rect.run { fill: var(--good); } rect.hold { fill: var(--open); } rect.stop { fill: var(--bad); }
rect.limited { fill: var(--limited); } rect.other { fill: var(--other); }
rect.bar { fill: var(--a); } circle { fill: var(--a); }
.key { display: inline-block; width: 1.4rem; border-top: .2rem solid; margin: 0 .35rem 0 .9rem;
  vertical-align: middle; }
.strip { display: grid; grid-template-columns: repeat(5, 1fr); gap: .5rem; margin: .5rem 0; }
figure { margin: 0; } figcaption { color: var(--soft); font-size: .8rem; }
img { display: block; width: 100%; image-rendering: pixelated; background: var(--lane); }
"""


def write_log_page(flight: Flight, path: str | Path) -> None:
    """Writes the page of a log.

    Raises:
        LogError: a log without a step, or a page that cannot be written.
    """
    text = log_page(flight)
    try:
        Path(path).write_text(text, encoding="utf-8")
    except OSError as error:
        raise LogError(f"{path} cannot be written: {error.strerror or error}") from error


def log_page(flight: Flight) -> str:
    """Returns the page of a log as HTML.

    Raises:
        LogError: a log without a step.
    """
    facts, thinned = inspect_log(flight), thin(flight)
    name = flight.paths[0].name if flight.paths else facts.robot
    marks = _marks(facts)
    parts = [
        f"<h1>{escape(facts.robot)}: {escape(facts.task)}</h1>",
        f'<p class="soft">{escape(name)}, {escape(facts.started or "time unknown")}</p>',
        *_verdict(facts.verdict),
        *(f'<div class="warning">{escape(text)}</div>' for text in _warnings(facts)),
        _table(facts),
        "<h2>Modes and interventions</h2>",
        _key(),
        band_chart(thinned.time_s, _bands(thinned), marks),
        *_distance(facts, thinned, marks),
        "<h2>Wear</h2>",
        *_wear(facts),
        "<h2>Joints</h2>",
        '<p class="soft"><span class="key" style="border-color:var(--a)"></span>measured'
        '<span class="key" style="border-color:var(--b)"></span>commanded'
        '<span class="key" style="border-color:var(--bad);border-top-style:dashed"></span>'
        "limits of the commands</p>",
        *_joints(flight, thinned, marks),
        "<h2>Time of the steps</h2>",
        *_times(flight, thinned, virtual=facts.virtual),
        *_strips(flight),
    ]
    return html_page(f"{facts.robot}: {facts.task}", parts)


def html_page(title: str, parts: Sequence[str]) -> str:
    """Returns a whole page, with its style, of parts in HTML."""
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<link rel="icon" href="data:,">\n<title>{escape(title)}</title>\n'
        f"<style>{STYLE}</style>\n</head>\n<body>\n" + "\n".join(parts) + "\n</body>\n</html>\n"
    )


def _warnings(facts: LogFacts) -> list[str]:
    """Returns what a reader must know first."""
    found = [*facts.suspicions]
    if facts.torn_bytes:
        found.append(f"The last {facts.torn_bytes} bytes of the log were not whole.")
    if facts.missing_parts:
        found.append(f"Parts {', '.join(map(str, facts.missing_parts))} of the log are missing.")
    if facts.ended:
        found.append(f"Stopped by {facts.ended}.")
    return found


def _verdict(verdict: TaskVerdict | None) -> list[str]:
    """Returns what became of the task's episode; nothing of a robot that cannot know."""
    if verdict is None:
        return []
    text = verdict.text()
    style = VERDICT_STYLES.get(verdict.result, "")
    return [f'<div class="verdict {style}">{escape(text[0].upper() + text[1:])}.</div>']


def _marks(facts: LogFacts) -> list[Mark]:
    """Returns the moments that matter to the task: its time, and when it was decided before."""
    verdict = facts.verdict
    if verdict is None:
        return []
    marks, end_s = [], facts.duration_s + 1 / facts.control_hz
    if verdict.result in (SUCCESS, FAILED):
        style = f"mark {VERDICT_STYLES[verdict.result]}"
        marks.append(Mark(min(verdict.at_s, facts.duration_s), f"{verdict.result}", style))
    episode_s = verdict.rules.episode_s
    if episode_s <= end_s:
        name = f"the task's time, {episode_s:g} s"
        marks.append(Mark(min(episode_s, facts.duration_s), name))
    return marks


def _distance(facts: LogFacts, thinned: Thinned, marks: Sequence[Mark]) -> Iterator[str]:
    """Yields the distance to the goal, where the task measures one."""
    if facts.verdict is None or not np.any(np.isfinite(thinned.distance[0])):
        return
    yield "<h2>Task</h2>"
    low, high = thinned.distance
    way, free = Line(100 * low, 100 * high, "position"), (-math.inf, math.inf)
    yield line_chart("distance to the goal", "cm", thinned.time_s, [way], free, marks)


def _wear(facts: LogFacts) -> Iterator[str]:
    """Yields what wears each joint."""
    yield from (f'<div class="warning">{escape(text)}</div>' for text in facts.wearing)
    heads = ("joint", "change a step", "reversals", "at the lower limit", "at the upper limit")
    head = "".join(f"<th>{text}</th>" for text in heads)
    rows = []
    for joint, one in facts.wear.items():
        cells = (
            _known(100 * one.change, ".2g", " % of its range"),
            _known(one.reversals_hz, ".2g", " a second"),
            _known(100 * one.parked_low, ".0f", " % of the time"),
            _known(100 * one.parked_high, ".0f", " % of the time"),
        )
        row = "".join(f'<td class="number">{cell}</td>' for cell in cells)
        rows.append(f"<tr><td>{escape(joint)}</td>{row}</tr>")
    yield f"<table><tr>{head}</tr>{''.join(rows)}</table>"
    yield (
        '<p class="soft">Of the commands: their mean change in a step, and how often they turn '
        "back by more than a thousandth of their range. At a limit: measured within 2 % of the "
        "range from the end that commands may reach.</p>"
    )


def _known(value: float, form: str, unit: str) -> str:
    """Returns a number with its unit, or that it is not known."""
    return f"{value:{form}}{unit}" if math.isfinite(value) else "unknown"


def _table(facts: LogFacts) -> str:
    """Returns the facts as a table; wear has one of its own."""
    rows = (
        f"<tr><th>{escape(name.strip())}</th><td>{escape(text)}</td></tr>"
        for name, text in facts.lines()
        if not name.startswith(("wear ", "wears", "verdict"))
    )
    return f"<table>{''.join(rows)}</table>"


def _key() -> str:
    """Returns the meaning of the bands' colours."""
    entries = (
        ("good", "run, goal holds"),
        ("limited", "a command limited, or a warning"),
        ("open", "hold"),
        ("bad", "stop"),
        ("other", "other phases, as ramp-in"),
    )
    boxes = (
        f'<span class="key" style="border-color:var(--{colour});border-top-width:.6rem"></span>'
        f"{escape(text)}"
        for colour, text in entries
    )
    return f'<p class="soft">{"".join(boxes)}</p>'


def _bands(thinned: Thinned) -> list[tuple[str, list[str]]]:
    """Returns the rows of the bands: mode, phase if the log holds it, and each cause."""
    rows = [("mode", [MODE_STYLES[m] for m in thinned.modes.tolist()])]
    if set(thinned.phases) != {Phase.PASSIVE.value}:
        rows.append(("phase", [PHASE_STYLES.get(p, "other") for p in thinned.phases]))
    for code, marks in thinned.events.items():
        rows.append((code, [EVENT_STYLES.get(m, "") for m in marks.tolist()]))
    if np.any(np.isfinite(thinned.on_goal)):
        rows.append(("on goal", ["run" if holds == 1 else "" for holds in thinned.on_goal]))
    return rows


def _joints(flight: Flight, thinned: Thinned, marks: Sequence[Mark]) -> Iterator[str]:
    """Yields a chart for each joint."""
    action, ends = flight.contract.action, limits_in_flight(flight)[1]
    effort = action.mode == "effort"
    unit = next((s.unit for s in flight.contract.signals if s.name == "joint_pos"), "")
    for j, joint in enumerate(action.joints):
        lines = [Line(thinned.low[:, j], thinned.high[:, j], "position")]
        sent = Line(thinned.command_low[:, j], thinned.command_high[:, j], "command")
        limits = float(ends[j, 0]), float(ends[j, 1])
        if effort:
            free = (-math.inf, math.inf)
            yield line_chart(joint, unit, thinned.time_s, lines, free, marks)
            name = f"{joint}, command"
            yield line_chart(name, action.unit, thinned.time_s, [sent], limits, marks)
        else:
            unit = action.units[j]
            yield line_chart(joint, unit, thinned.time_s, [sent, *lines], limits, marks)


def _times(flight: Flight, thinned: Thinned, *, virtual: bool) -> Iterator[str]:
    """Yields the histograms of the steps' times, which virtual time has none of."""
    if virtual:
        yield (
            '<p class="soft">Flown in virtual time, which stands still while anything is computed: '
            "how long steps take on this machine is not in this log. Measure it with "
            "mjx-s2r-robot bench, or fly without --virtual.</p>"
        )
        return
    period_ms = 1e3 / flight.contract.control_hz
    yield histogram("from the reading to the end of the write", 1e3 * thinned.busy_s, period_ms)
    if thinned.interval_s.size:
        yield histogram("between two steps", 1e3 * thinned.interval_s, period_ms)
    yield '<p class="soft">Dashed: one control period. Upwards: how many steps, logarithmic.</p>'


def _strips(flight: Flight) -> Iterator[str]:
    """Yields a strip of pictures for each camera."""
    start_s = flight.steps[0].time_s
    for camera in flight.contract.cameras:
        pictures = _spread(flight, camera)
        if not pictures:
            continue
        yield f"<h2>Camera {escape(camera.name)}</h2>"
        figures = (
            f'<figure><img alt="" src="data:image/png;base64,{_png(camera, picture)}">'
            f"<figcaption>{picture.time_s - start_s:.2f} s</figcaption></figure>"
            for picture in pictures
        )
        yield f'<div class="strip">{"".join(figures)}</div>'


def _spread(flight: Flight, camera: CameraSignal) -> list[LoggedPicture]:
    """Returns some pictures of a camera, evenly spread, with the first and the last."""
    total = sum(1 for _ in flight.steps.pictures(camera.name))
    wanted = set(np.linspace(0, total - 1, min(STRIP, total)).round().astype(int).tolist())
    pictures = enumerate(flight.steps.pictures(camera.name))
    return [picture for index, picture in pictures if index in wanted]


def _png(camera: CameraSignal, picture: LoggedPicture) -> str:
    """Returns a picture as a PNG in base64; depth in grays, near is bright."""
    data = picture.data
    if camera.kind == "depth" or picture.codec != "png":
        image = picture.array()
        metres = image.astype(float) * (camera.unit_m if image.dtype == np.uint16 else 1.0)
        far = camera.far or float(np.nanmax(metres, initial=1.0))
        share = np.where(metres > 0, 1 - metres / far, 0.0)
        gray = np.nan_to_num(255 * np.clip(share, 0, 1)).astype(np.uint8)
        data = b"".join(png.encode_png(gray.reshape(gray.shape[:2])))
    return base64.b64encode(data).decode()
