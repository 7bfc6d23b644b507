"""The report of a demonstration: one HTML file that shows a newcomer what was found.

Give `write` a `DemoReport`; its curves are read from the run folders. A part that has no data says
so. The file needs nothing beside it, has no scripts, and follows the reader's light or dark mode.
"""

from collections.abc import Callable
from html import escape
from pathlib import Path

from mjx_s2r.eval.intervals import wilson
from mjx_s2r.report import page, pictures
from mjx_s2r.report.findings import (
    KIND,
    NOMINAL,
    PLAIN,
    RANDOMIZED,
    STAND_IN,
    VARIED,
    WORDS,
    percent,
    span,
    verdict,
)
from mjx_s2r.report.findings import DemoReport as DemoReport
from mjx_s2r.report.findings import Film as Film
from mjx_s2r.report.findings import Outcome as Outcome
from mjx_s2r.report.findings import Pipeline as Pipeline
from mjx_s2r.report.findings import Provenance as Provenance
from mjx_s2r.report.findings import RobotSide as RobotSide
from mjx_s2r.report.plots import rate_bar, short
from mjx_s2r.report.training_sections import GROUP_WORDS, bounds, learning, ranges

MOST_FILMS, STRIP, MOST_TILES = 4, 6, 64
PLACE_WORDS = {
    STAND_IN: "On the stand-in for the robot",
    VARIED: "In simulation, worlds that differ",
    NOMINAL: "In simulation, the nominal world",
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


def write(path: Path, report: DemoReport) -> Path:
    """Writes the page whole or not at all; returns its path.

    Raises:
        RunError: a metrics file with a broken line.
        ValueError: images that are not uint8 RGB.
    """
    path = Path(path)
    text = page.page(f"{report.task}: from simulation to the robot", _sections(report))
    beside = path.with_name(path.name + ".tmp")
    beside.write_text(text, encoding="utf-8")
    beside.replace(path)
    return path


def _sections(report: DemoReport) -> list[str]:
    """Returns the page from top to bottom."""
    return [
        _head(report),
        _outcomes(report),
        _films(report),
        _worlds(report),
        learning(report),
        bounds(report),
        ranges(report),
        _robot(report),
        _provenance(report),
    ]


def _head(report: DemoReport) -> str:
    """Returns the title, the verdict and how to read the rest."""
    result = verdict(report)
    first, rest = result.sentences[0], " ".join(result.sentences[1:])
    time = f"The whole run took {page.duration(report.total_s)}." if report.total_s > 0 else ""
    contents = {
        "outcomes": "Success",
        "films": "Episodes",
        "worlds": "Training worlds",
        "learning": "Learning",
        "bounds": "Widening",
        "ranges": "Ranges",
        "robot": "Robot side",
        "provenance": "Provenance",
    }
    links = "".join(f'<a href="#{anchor}">{name}</a>' for anchor, name in contents.items())
    return f"""<header>
<h1>{escape(report.task)}: from simulation to the robot</h1>
<p>{escape(report.goal)}</p>
<div class="verdict {result.mood}"><strong>{escape(result.headline)}</strong>
<p>{escape(first)}</p>
<p>{escape(rest)} {time}</p></div>
<p>{escape(_story(report))}</p>
<p class="legend"><span><span class="key a"></span>randomized</span>
<span><span class="key b"></span>without randomization</span></p>
<nav aria-label="Sections">{links}</nav>
</header>"""


def _story(report: DemoReport) -> str:
    """Returns how the policies came about, in plain words."""
    groups = dict.fromkeys(row.group for row in report.space.rows) if report.space else {}
    differ = ", ".join(GROUP_WORDS[group].lower() for group in groups)
    worlds = "simulated worlds that differ from each other" + (f" ({differ})" if differ else "")
    if report.plain == Pipeline() and all(o.pipeline != PLAIN for o in report.outcomes):
        practice = f"One policy was trained in {worlds}. First a teacher that knows the true state"
    else:
        practice = (
            f"Two policies were trained in the same way. One practised in {worlds}, the other in a "
            "single world, the nominal one. In both cases first a teacher that knows the true state"
        )
    return (
        f"{practice} learned the task; then a student that has only the camera and the robot's own "
        "readings learned from the teacher. The student was written to an ONNX file and drove a "
        "stand-in for the robot: another physics program, another renderer, and flaws of its own, "
        "listed at the end. The stand-in is still a simulation, not a real robot."
    )


def _outcomes(report: DemoReport) -> str:
    """Returns the bars of success."""
    rows = []
    for where, words in PLACE_WORDS.items():
        here = [o for o in report.outcomes if o.where == where]
        if here:
            rows.append(f"<h3>{words}</h3>")
            rows += [_bar(o, report.confidence) for o in here]
    marks = "<span>0</span><span>50</span><span>100 %</span>"
    ends = f'<span class="blank"></span><div class="ends track">{marks}</div>'
    body = f'<div class="rates">{"".join(rows)}{ends}</div>' if rows else ""
    intro = (
        "Share of episodes that reached the goal. The thin line is the "
        f"{percent(report.confidence)} interval (Wilson 1927): how far chance could have moved the "
        "bar. It counts episodes of one training; another training seed may give another policy."
    )
    return page.section("outcomes", "Success", intro, body)


def _bar(row: Outcome, confidence: float) -> str:
    """Returns one line of the table of successes."""
    name = f'<div>{escape(row.label)}<br><span class="soft">{WORDS[row.pipeline]}</span></div>'
    if not row.episodes:
        track, value = '<span class="none">no episodes</span>', ""
    else:
        ends = wilson(row.successes, row.episodes, confidence)
        value = f"<strong>{percent(row.rate)}</strong> ({span(*ends)})<br>"
        value += f'<span class="soft">{row.successes} of {row.episodes}</span>'
        track = rate_bar(row.rate, ends, KIND[row.pipeline])
    cells = f'{name}<div class="track">{track}</div><div class="v">{value}</div>'
    return f'<div class="rate">{cells}</div>'


def _films(report: DemoReport) -> str:
    """Returns the episodes on the stand-in, both pipelines side by side."""
    columns = []
    for name, pipeline in ((RANDOMIZED, report.randomized), (PLAIN, report.plain)):
        films = "".join(_film(f, WORDS[name]) for f in pipeline.films[:MOST_FILMS])
        if films:
            title = f'<span class="key {KIND[name]}"></span>{WORDS[name].capitalize()}'
            columns.append(f"<div><h3>{title}</h3>{films}</div>")
    intro = (
        "What the camera of the stand-in saw, at the size the policy gets. Large: the episode at "
        "its own speed, again and again. Small: frames from its start to its end."
    )
    body = f'<div class="two">{"".join(columns)}</div>' if columns else ""
    return page.section("films", "Episodes on the stand-in", intro, body)


def _film(film: Film, words: str) -> str:
    """Returns one episode: the animation, a strip of frames, what happened."""
    frames = pictures.checked(film.frames, 4)
    stills = [pictures.still(frames[i]) for i in pictures.spread(len(frames), STRIP)]
    ended = "reached the goal" if film.success else "did not reach the goal"
    animation = pictures.animation(frames, film.frame_s)
    shown = page.moving(animation, stills[-1], f"Camera film, {words}: {ended}")
    strip = "".join(page.image(still, "") for still in stills)
    badge = f'<span class="{"reached" if film.success else "failed"}">{ended.capitalize()}</span>'
    caption = f"{badge} {escape(film.caption)}"
    return page.figure(f'<div>{shown}</div><div class="strip">{strip}</div>', caption, "film")


def _worlds(report: DemoReport) -> str:
    """Returns the mosaics of training worlds."""
    parts = []
    for name, pipeline in ((RANDOMIZED, report.randomized), (PLAIN, report.plain)):
        if pipeline.worlds is not None and len(pipeline.worlds):
            tiles = pictures.checked(pipeline.worlds, 4)[:MOST_TILES]
            source = pictures.mosaic(tiles, min(len(tiles), 8))
            alt = f"{len(tiles)} worlds, {WORDS[name]}"
            caption = f'<span class="key {KIND[name]}"></span>{WORDS[name].capitalize()}'
            parts.append(page.figure(page.image(source, alt), caption))
    intro = "Worlds of training as the students see them, each tile another world."
    body = f'<div class="two">{"".join(parts)}</div>' if parts else ""
    return page.section("worlds", "Training worlds", intro, body)


def _robot(report: DemoReport) -> str:
    """Returns what the safety layer and the loop counted, one column a policy."""
    sides = {
        WORDS[name]: pipeline.robot
        for name, pipeline in ((RANDOMIZED, report.randomized), (PLAIN, report.plain))
        if pipeline.robot is not None
    }
    intro = (
        "The same controller, safety layer and ONNX file would drive a real robot. Interventions "
        "are counted per 1,000 control steps; they are the safety layer at work, not faults."
    )
    if not sides:
        return page.section("robot", "Robot side", intro, "")
    codes = dict.fromkeys(c for side in sides.values() for c in side.events if c != "overrun")
    rows: list[tuple[str, Callable[[RobotSide], str]]] = [
        ("control steps", lambda side: f"{side.steps:,}"),
        *((_event_words(code), _per_1000(code)) for code in codes),
        ("steps on hold, per 1,000", lambda side: _per_thousand(side.held, side.steps)),
        ("runs stopped by the safety layer", lambda side: f"{side.stops}"),
        ("missed deadlines, per 1,000", lambda side: _per_thousand(side.overruns, side.steps)),
        ("latest arrival at a deadline", lambda side: _measured(side.worst_late_ms, "ms")),
        ("ONNX inference, median", lambda side: _latency(side, 0)),
        ("ONNX inference, 99th percentile", lambda side: _latency(side, 1)),
        ("largest difference of ONNX to training", lambda side: _measured(side.parity_error, "")),
    ]
    cells = [[escape(name), *(value(side) for side in sides.values())] for name, value in rows]
    columns = range(1, 1 + len(sides))
    return page.section("robot", "Robot side", intro, page.table(["", *sides], cells, [*columns]))


def _event_words(code: str) -> str:
    """Returns what a code of the safety layer means."""
    return f"{EVENT_WORDS[code]} ({code})" if code in EVENT_WORDS else code


def _per_1000(code: str) -> Callable[[RobotSide], str]:
    """Returns the reader of one code's rate."""
    return lambda side: _per_thousand(side.events.get(code, 0), side.steps)


def _per_thousand(count: int | None, steps: int) -> str:
    """Returns a count per 1,000 steps."""
    return "not measured" if count is None or steps < 1 else f"{1000 * count / steps:.3g}"


def _latency(side: RobotSide, which: int) -> str:
    """Returns the median (0) or the 99th percentile (1) of the inference time."""
    return _measured(side.latency_us and side.latency_us[which], "\u00b5s")


def _measured(value: float | None, unit: str) -> str:
    """Returns a number with its unit, or that there is none."""
    if value is None:
        return "not measured"
    return f"{value:,.0f} {unit}" if value >= 1000 else f"{short(value)} {unit}".strip()


def _provenance(report: DemoReport) -> str:
    """Returns what is needed to get the same numbers, and what they do not cover."""
    source = report.provenance
    facts = {"machine": source.machine, "commit": source.commit}
    facts |= {f"seed, {name}": str(seed) for name, seed in source.seeds.items()}
    facts |= dict(source.versions)
    facts |= {f"time, {name}": page.duration(s) for name, s in report.stages_s.items()}
    parts = []
    if source.command:
        parts.append(f"<p>To get these numbers again:</p><pre>{escape(source.command)}</pre>")
    rows = [[escape(name), escape(value)] for name, value in facts.items() if value]
    if rows:
        parts.append(f"<h3>Run</h3>{page.table(['', ''], rows)}")
    if source.effects:
        rows = [[escape(str(k)), escape(str(v))] for k, v in source.effects.items()]
        parts.append(f"<h3>Flaws of the stand-in</h3>{page.table(['flaw', 'value'], rows)}")
    words = page.listing(source.not_modelled) if source.not_modelled else "<p>Not stated.</p>"
    parts.append(f"<h3>What is not modelled</h3>{words}")
    return page.section("provenance", "Provenance", "", "\n".join(parts))
