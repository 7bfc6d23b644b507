"""Results of a run: what its JSON files count, as lines of one table, and its flight logs.

Every verb that judges writes objects with "success", "episodes" and their kin; whatever has them is
a line here, however deep it lies, with the names above it as its label. So the files of evaluate,
judge, gap, pipeline, demo and a study are read by one rule, and those to come as well. Numbers and
short texts beside them are facts of the file.
"""

import json
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mjx_s2r.contract import ContractError
from mjx_s2r.io.run import CONFIG, RESULT, TABLE
from mjx_s2r.report.browser.folders import EVALUATION, FLIGHT, RunFolder, UnusableFile
from mjx_s2r.report.browser.logs import rounded
from mjx_s2r.report.browser.pictures import ByteBudget
from mjx_s2r.robot.log import LogError, read

COUNTED = ("success", "successes", "episodes", "groups", "interval", "return", "length", "reasons")
# An entry of a list is called by the name and value of some numbers, and by some texts.
TITLES = ("iteration", "stage", "width", "seed")
NAMES = ("worlds", "robot", "method", "task", "name")
UNNAMED = ("per_robot", "judged", "rows", "widths", "places", "stages")  # lists that need no label
OWN = (CONFIG, TABLE, "posterior.json", "fit.json")  # files that hold no figures to compare
MOST_BYTES = 1_000_000  # of a file that is read
MOST_LINES, MOST_FACTS, MOST_TEXT = 200, 40, 300


def read_results(run: RunFolder, problems: list[UnusableFile]) -> list[dict[str, Any]]:
    """Returns what each JSON file of a run counts: its name, lines and facts.

    Args:
        run: the run.
        problems: what could not be read is added here.
    """
    out = []
    for file in run.files:
        if file.suffix != ".json" or file.name in OWN:
            continue
        try:
            if file.stat().st_size > MOST_BYTES:
                continue
            body = json.loads(file.read_text())
        except OSError as error:
            problems.append(UnusableFile(str(file), f"cannot be read ({error.strerror})"))
            continue
        except ValueError as error:
            problems.append(UnusableFile(str(file), f"is not JSON ({error})"))
            continue
        lines = list(score_lines(body))
        name = file.relative_to(run.path).as_posix()
        found: dict[str, Any] = {"file": name, "lines": lines[:MOST_LINES], "facts": facts(body)}
        if len(lines) > MOST_LINES:
            found["left_out"] = len(lines) - MOST_LINES
        if found["lines"] or found["facts"]:
            out.append(found)
    return out


def score_lines(body: Any, label: str = "", part: bool = False) -> Iterator[dict[str, Any]]:
    """Yields a line for every object with a share of successes in a file's content.

    A line has "label", "success" [value, low, high] as shares, "return" and "length" alike where
    they are known, "episodes", "robots" (whether they were counted by robot), "part" (whether it is
    one of those robots) and "note".
    """
    if isinstance(body, list):
        for entry in body:
            if isinstance(entry, Mapping):
                yield from score_lines(entry, _join(label, _title(entry)), part)
    if not isinstance(body, Mapping):
        return
    success = _estimate(body.get("success"), body.get("interval"))
    good, episodes = body.get("successes"), body.get("episodes")
    if success is None and isinstance(good, int) and isinstance(episodes, int) and episodes > 0:
        success = _estimate(good / episodes, body.get("interval"))
    if success is not None:
        line: dict[str, Any] = {"label": label, "success": success}
        for name in ("return", "length"):
            line[name] = _estimate(body.get(name), None)
        line["episodes"] = episodes if isinstance(episodes, int) else None
        line |= {"robots": "per_robot" in body, "part": part}
        reasons = body.get("reasons")
        if isinstance(reasons, Mapping) and reasons:
            line["note"] = ", ".join(f"{why} ({count})" for why, count in reasons.items())
        yield line
    for name, inner in body.items():
        if isinstance(inner, Mapping | list) and name not in COUNTED:
            below = label if name in UNNAMED else _join(label, str(name))
            yield from score_lines(inner, below, part or name == "per_robot")


def facts(body: Any) -> dict[str, Any]:
    """Returns the numbers and short texts of a file that are no counts, by dotted name."""
    out: dict[str, Any] = {}
    for name, value in _leaves(body, ""):
        if len(out) == MOST_FACTS:
            break
        out[name] = value
    return out


def robot_success(results: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """Returns the line of all robots together: of the run's result, or else of an evaluation."""
    found = [
        (
            file["file"] != RESULT,
            not file["file"].endswith(EVALUATION),
            line | {"file": file["file"]},
        )
        for file in results
        for line in file["lines"]
        if line["robots"]
    ]
    return min(found, key=lambda f: f[:2])[2] if found else None


def read_flights(
    run: RunFolder, room: ByteBudget, problems: list[UnusableFile]
) -> dict[str, Any] | None:
    """Returns a summary of a run's flight logs, or None where it has none.

    Steps and seconds of a log come from its index. What the guard did is counted step by step, for
    as many bytes of logs as there is ``room`` for; "counted" says of how many logs.

    Args:
        run: the run.
        room: bytes that may still be read for this page.
        problems: what could not be read is added here.
    """
    logs: list[dict[str, Any]] = []
    modes: Counter[str] = Counter()
    events: Counter[str] = Counter()
    counted = 0
    for file in run.files:
        if file.suffix != FLIGHT:
            continue
        try:
            flight = read(file, images=False)
            ends = [flight.steps[i].time_s for i in (0, -1)] if len(flight.steps) else [0.0, 0.0]
            size = sum(path.stat().st_size for path in flight.paths)
            if room.take(size):
                counted += 1
                for step in flight.steps:
                    modes[step.mode.name] += 1
                    events.update(event.code for event in step.events)
        except (LogError, ContractError, OSError) as error:
            problems.append(UnusableFile(str(file), str(error)))
            continue
        logs.append(
            {
                "file": file.relative_to(run.path).as_posix(),
                "robot": flight.robot,
                "steps": len(flight.steps),
                "seconds": rounded(ends[1] - ends[0]),
                "begun": rounded(flight.started_s, 12),
                "bytes": size,
                "torn": flight.torn_bytes,
            }
        )
    if not logs:
        return None
    about = {"modes": dict(modes), "events": dict(events.most_common()), "counted": counted}
    return {"logs": logs, **about}


def _estimate(value: Any, interval: Any) -> list[Any] | None:
    """Returns [value, low, high] of a figure that is written as a number or as those three."""
    if isinstance(value, list) and len(value) == 3:
        value, *interval = value
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    ends = interval if isinstance(interval, list) and len(interval) == 2 else (None, None)
    known = [x if isinstance(x, int | float) else math.nan for x in ends]
    return [rounded(float(value)), *(rounded(float(x)) for x in known)]


def _title(entry: Mapping[str, Any]) -> str:
    """Returns what an entry of a list is called."""
    named = [str(entry[name]) for name in NAMES if isinstance(entry.get(name), str)]
    counted = [f"{n} {entry[n]}" for n in TITLES if isinstance(entry.get(n), int | float)]
    return ", ".join(counted + named)


def _join(*parts: str) -> str:
    """Returns the parts of a label that are not empty."""
    return ", ".join(filter(None, parts))


def _leaves(body: Any, where: str) -> Iterator[tuple[str, Any]]:
    """Yields dotted name and value of what is short enough to be read."""
    if isinstance(body, Mapping):
        for name, inner in body.items():
            if name not in COUNTED and name != "per_robot":
                yield from _leaves(inner, f"{where}.{name}" if where else str(name))
    elif isinstance(body, bool | str) and body != "":
        yield where, body[:MOST_TEXT] if isinstance(body, str) else body
    elif isinstance(body, int | float):
        yield where, rounded(float(body), 6)
    elif (
        isinstance(body, list)
        and 0 < len(body) <= 4
        and not any(isinstance(x, list | Mapping) for x in body)
    ):
        yield (
            where,
            ", ".join(str(rounded(x) if isinstance(x, float) else x) for x in body)[:MOST_TEXT],
        )
