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
from mjx_s2r.robot.log.svg import Line, band_chart, histogram, line_chart
from mjx_s2r.robot.log.thinning import Thinned, thin
from mjx_s2r.robot.phases import Phase
from mjx_s2r.robot.safety import Mode

STRIP = 10  # pictures of each camera
MODE_STYLES = {int(Mode.RUN): "run", int(Mode.HOLD): "hold", int(Mode.STOP): "stop"}
PHASE_STYLES = {"run": "run", "hold": "hold", "damp": "stop", "estop": "stop"}
STYLE = """
:root { color-scheme: light dark; --paper: #fff; --ink: #1c2127; --soft: #58626d;
  --rule: #d9dee3; --lane: #f1f3f5; --a: #1667b0; --b: #b4540a; --good: #7fbf97;
  --open: #e0a800; --bad: #c62f25; --other: #9aa9bb; }
@media screen and (prefers-color-scheme: dark) { :root { --paper: #15181c; --ink: #e6e9ec;
  --soft: #9aa5b0; --rule: #353c44; --lane: #20252b; --a: #6ab0f3; --b: #f2a25c; --good: #3f8a5c;
  --open: #d0a030; --bad: #f0655a; --other: #5a6878; } }
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
.warning { border-left: .3rem solid var(--bad); background: var(--lane); padding: .5rem .9rem; }
svg { display: block; width: 100%; height: auto; margin: .4rem 0; font: 11px sans-serif; }
svg text { fill: var(--soft); } svg .title { fill: var(--ink); }
.row { text-anchor: end; } .tick { text-anchor: middle; }
path { fill: none; stroke-width: 1.3; stroke-linejoin: round; }
path.position { stroke: var(--a); } path.command { stroke: var(--b); stroke-width: 1.1; }
.rule { stroke: var(--rule); } .limit { stroke: var(--bad); stroke-dasharray: 5 4; }
rect.run { fill: var(--good); } rect.hold { fill: var(--open); } rect.stop { fill: var(--bad); }
rect.other { fill: var(--other); } rect.bar { fill: var(--a); } circle { fill: var(--a); }
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
    parts = [
        f"<h1>{escape(facts.robot)}: {escape(facts.task)}</h1>",
        f'<p class="soft">{escape(name)}, {escape(facts.started or "time unknown")}</p>',
        *(f'<div class="warning">{escape(text)}</div>' for text in _warnings(facts)),
        _table(facts),
        "<h2>Modes and interventions</h2>",
        _key(),
        band_chart(thinned.time_s, _bands(thinned)),
        "<h2>Joints</h2>",
        '<p class="soft"><span class="key" style="border-color:var(--a)"></span>measured'
        '<span class="key" style="border-color:var(--b)"></span>commanded'
        '<span class="key" style="border-color:var(--bad);border-top-style:dashed"></span>'
        "limits of the commands</p>",
        *_joints(flight, thinned),
        "<h2>Time of the steps</h2>",
        *_times(flight, thinned),
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


def _table(facts: LogFacts) -> str:
    """Returns the facts as a table."""
    rows = (
        f"<tr><th>{escape(name.strip())}</th><td>{escape(text)}</td></tr>"
        for name, text in facts.lines()
    )
    return f"<table>{''.join(rows)}</table>"


def _key() -> str:
    """Returns the meaning of the bands' colours."""
    entries = (
        ("good", "run, or a command limited"),
        ("open", "hold"),
        ("bad", "stop"),
        ("other", "other phases"),
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
        rows.append((code, [MODE_STYLES.get(m, "") for m in marks.tolist()]))
    return rows


def _joints(flight: Flight, thinned: Thinned) -> Iterator[str]:
    """Yields a chart for each joint."""
    action = flight.contract.action
    effort = action.mode == "effort"
    unit = next((s.unit for s in flight.contract.signals if s.name == "joint_pos"), "")
    for j, joint in enumerate(action.joints):
        lines = [Line(thinned.low[:, j], thinned.high[:, j], "position")]
        sent = Line(thinned.command_low[:, j], thinned.command_high[:, j], "command")
        limits = (action.low[j], action.high[j])
        if effort:
            yield line_chart(joint, unit, thinned.time_s, lines, (-math.inf, math.inf))
            yield line_chart(f"{joint}, command", action.unit, thinned.time_s, [sent], limits)
        else:
            yield line_chart(joint, action.unit, thinned.time_s, [sent, *lines], limits)


def _times(flight: Flight, thinned: Thinned) -> Iterator[str]:
    """Yields the histograms of the steps' times."""
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
