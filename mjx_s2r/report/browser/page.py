"""The page of the run browser: what runs hold as JSON, in one HTML file with its own program.

The program (templates/browse.js) builds everything that is seen from the JSON in the element
"data". What is chosen, sorted and filtered stands in the page's address, so a view can be linked.
"""

import json
import os
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

from markupsafe import Markup

from mjx_s2r.io.run import BOUNDS, CONFIG, METRICS, TABLE, check_writable
from mjx_s2r.report.browser.folders import (
    LOG,
    RunFolder,
    UnusableFile,
    find_failures,
    find_runs,
    planned_iterations,
    read_object,
    status,
)
from mjx_s2r.report.browser.logs import Detail, curves, last_figures, ranges, read_metrics
from mjx_s2r.report.browser.pictures import ByteBudget, pictures
from mjx_s2r.report.browser.results import read_flights, read_results, robot_success
from mjx_s2r.report.page import write_page

PAGE = "browse.html"
FLIGHTS_MB = 40.0  # of flight logs that are read step by step for one page
LINKED = (".html", ".onnx", ".mp4", ".webm")
NAMED = (LOG, CONFIG, METRICS)
MOST_LINKS = 24
PARTS = ("browse.css", "browse.js")
TEMPLATES = Path(__file__).parents[1] / "templates"
FileStats = list[tuple[Path, os.stat_result]]
# metric -> what it is, and its unit; of others their own name is shown.
METRIC_WORDS = {
    "success": ("success while training", "%"),
    "return": ("return of an episode", "reward"),
    "length": ("length of an episode", "control steps"),
    "eval_success": ("success by mean actions", "%"),
    "eval_return": ("return by mean actions", "reward"),
    "eval_length": ("length by mean actions", "control steps"),
    "eval_at": ("iteration judged by mean actions", "iteration"),
    "episodes": ("episodes since the last line", ""),
    "entropy": ("width of randomization", "nats per row"),
    "policy_entropy": ("entropy of the policy", "nats"),
    "kl": ("Kullback-Leibler divergence", "nats"),
    "reverse_kl": ("reverse Kullback-Leibler divergence", "nats"),
    "label_error_m": ("error in reading pictures", "m"),
    "steps_per_s": ("speed", "steps/s"),
    "images_per_s": ("speed of pictures", "pictures/s"),
    "images": ("pictures", ""),
    "agreement": ("agreement with the teacher", "%"),
    "clip_fraction": ("clipped ratios", "%"),
    "explained_variance": ("explained variance of returns", "share"),
    "learning_rate": ("learning rate", "per step"),
    "nan_envs": ("worlds that ceased to be finite", ""),
}


@dataclass
class RunsPage:
    """What a page over runs is made of, and what was read for the last one.

    Attributes:
        folders: where runs are looked for.
        out: file of the page.
        pictures_mb: room for pictures and films, MB.
        watch_s: time between two pages while it is watched, s; 0 for a page that stays.
    """

    folders: Sequence[Path]
    out: Path
    pictures_mb: float = 4.0
    watch_s: float = 0.0
    _read: dict[Path, tuple[Any, dict[str, Any]]] = field(default_factory=dict, repr=False)

    def write(self) -> dict[str, Any]:
        """Writes the page, whole or not at all; returns its content.

        Raises:
            RunError: a folder that is not there, or one that cannot be written to.
        """
        body = self.content()
        check_writable(self.out.parent)
        text = json.dumps(body, separators=(",", ":"), allow_nan=False)
        style, program = ((TEMPLATES / name).read_text(encoding="utf-8") for name in PARTS)
        write_page(
            self.out,
            "browse.html.j2",
            title=f"Runs in {', '.join(map(str, self.folders))}",
            # No "<" stays, so no text can end the element that it stands in.
            data=Markup(text.replace("<", "\\u003c")),
            browse_style=Markup(style),
            program=Markup(program),
            runs=body["runs"],
        )
        return body

    def content(self) -> dict[str, Any]:
        """Returns everything that the page shows, as JSON values.

        Raises:
            RunError: a folder that is not there.
        """
        problems: list[UnusableFile] = []
        found = find_runs(self.folders, problems)
        detail = Detail.of(sum(run.has(METRICS) for run in found))
        failures = find_failures(found)
        flight_room, room = ByteBudget(FLIGHTS_MB), ByteBudget(self.pictures_mb)
        shown = []
        stats = {run.path: _stats(run) for run in found}
        for run in sorted(found, key=lambda run: _changed(stats[run.path]), reverse=True):
            body = self._logged(run, stats[run.path], detail, flight_room, problems)
            word, note = status(run, float(body["last"].get("step", 0)), failures)
            shown.append(
                {
                    **body,
                    "task": run.task,
                    "status": word,
                    "note": note,
                    "pictures": pictures(run, room, self._link, problems),
                }
            )
        self._read = {run.path: self._read[run.path] for run in found}
        return {
            "folders": [str(folder) for folder in self.folders],
            "written": round(time.time()),
            "watch_s": self.watch_s,
            "points": detail.points,
            "times": detail.times,
            "metrics": {name: list(words) for name, words in METRIC_WORDS.items()},
            "problems": [asdict(problem) for problem in problems],
            "tables": _shared_tables(shown),
            "bases": _shared_settings(shown),
            "runs": shown,
        }

    def _logged(
        self,
        run: RunFolder,
        stats: FileStats,
        detail: Detail,
        flight_room: ByteBudget,
        problems: list[UnusableFile],
    ) -> dict[str, Any]:
        """Returns what the files of a run hold; read again only where one of them has changed."""
        state = (detail, run.verb, *((f, s.st_mtime_ns, s.st_size) for f, s in stats))
        kept = self._read.get(run.path)
        if kept is None or kept[0] != state:
            own: list[UnusableFile] = []
            body = self._from_files(run, stats, detail, flight_room, own)
            self._read[run.path] = kept = (state, body | {"problems": own})
        body = dict(kept[1])
        problems += body.pop("problems")
        return body

    def _from_files(
        self,
        run: RunFolder,
        stats: FileStats,
        detail: Detail,
        flight_room: ByteBudget,
        problems: list[UnusableFile],
    ) -> dict[str, Any]:
        """Reads the files of a run."""
        rows = read_metrics(run.path / METRICS, problems) if run.has(METRICS) else []
        axes, drawn = curves(rows, detail.points)
        table = read_object(run.path / TABLE) if run.has(TABLE) else {}
        opened = None
        if run.has(BOUNDS) and table:
            opened = ranges(run.path / BOUNDS, table, detail.times, problems)
        results = read_results(run, problems)
        return {
            "name": run.name,
            "verb": run.verb,
            "begun": round(min((stat.st_mtime for _, stat in stats), default=0)),
            "changed": round(_changed(stats)),
            "planned": planned_iterations(run),
            "lines": len(rows),
            "last": last_figures(rows),
            "x": axes,
            "curves": drawn,
            "settings": flat_settings(run.settings),
            "table": table if opened else {},
            "ranges": opened,
            "results": results,
            "robots": robot_success(results),
            "flights": read_flights(run, flight_room, problems),
            "links": self._links(run),
        }

    def _link(self, file: Path) -> str:
        """Returns the address of a file relative to the page."""
        way = os.path.relpath(file.resolve(), self.out.parent.resolve())
        return quote(Path(way).as_posix())

    def _links(self, run: RunFolder) -> list[list[str]]:
        """Returns title and address of the pages, policies, films and logs of a run."""
        found = [
            file
            for file in run.files
            if (file.suffix in LINKED or file.name in NAMED)
            and file.resolve() != self.out.resolve()
        ]
        found.sort(key=lambda file: (file.name in NAMED, len(file.parts)))
        return [[f.relative_to(run.path).as_posix(), self._link(f)] for f in found[:MOST_LINKS]]


def flat_settings(settings: Any, where: str = "") -> dict[str, Any]:
    """Returns dotted name -> value of settings; lists and what they hold are one text each."""
    if isinstance(settings, Mapping) and (settings or not where):
        out: dict[str, Any] = {}
        for name, inner in settings.items():
            out |= flat_settings(inner, f"{where}.{name}" if where else str(name))
        return out
    if isinstance(settings, list | Mapping):
        return {where: json.dumps(settings)}
    return {where: settings}


def _shared_settings(runs: Sequence[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Returns, per verb, the most usual value of every setting, and leaves the rest in the runs.

    In a run "settings" then holds what differs, and "without" the names that it does not have.
    """
    bases: dict[str, dict[str, Any]] = {}
    by_verb: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for run in runs:
        by_verb[run["verb"]].append(run)
    for verb, group in by_verb.items():
        names = dict.fromkeys(name for run in group for name in run["settings"])
        base = {}
        for name in names:
            seen = Counter(json.dumps(r["settings"][name]) for r in group if name in r["settings"])
            base[name] = json.loads(seen.most_common(1)[0][0])
        bases[verb] = base
        for run in group:
            own = run["settings"]
            run["without"] = [name for name in base if name not in own]
            # Compared as text: True is not 1, and 1 is not 1.0.
            run["settings"] = {
                name: value
                for name, value in own.items()
                if json.dumps(base[name]) != json.dumps(value)
            }
    return bases


def _shared_tables(runs: Sequence[dict[str, Any]]) -> list[dict[str, list[Any]]]:
    """Returns the different tables: row -> [unit, nominal, low, high, group]; runs name theirs.

    In a run "table" becomes the number of its table, None where no ranges are shown.
    """
    tables: dict[str, int] = {}
    out: list[dict[str, list[Any]]] = []
    for run in runs:
        rows = run["ranges"]["rows"] if run["ranges"] else {}
        short = {name: _row(run["table"][name]) for name in rows}
        text = json.dumps(short)
        if rows and text not in tables:
            tables[text] = len(out)
            out.append(short)
        run["table"] = tables.get(text)
    return out


def _row(about: Mapping[str, Any]) -> list[Any]:
    """Returns unit, nominal, limits and group of one row of a table."""
    unit, group = str(about.get("unit", "")), str(about.get("field", "")).partition(".")[0]
    if unit == "1":
        unit = "ratio" if about.get("mode") == "scale" else ""
    low, high = about["limits"]
    log = about.get("law") == "log_uniform"
    return [unit, about.get("nominal"), low, high, group, log]


def _stats(run: RunFolder) -> FileStats:
    """Returns the files of a run that are there, with their size and time."""
    out = []
    for file in run.files:
        try:
            out.append((file, file.stat()))
        except OSError:  # removed since it was listed
            continue
    return out


def _changed(stats: FileStats) -> float:
    """Returns when a file of a run was last written, Unix time in s."""
    return max((stat.st_mtime for _, stat in stats), default=0.0)


def watch(page: RunsPage, tell: Callable[[dict[str, Any]], None]) -> None:
    """Writes the page again and again until Ctrl-C, and then once more, as a page that stays.

    Args:
        page: the page; its ``watch_s`` is the time between two of them.
        tell: is given the content of each.
    """
    try:
        while True:
            tell(page.write())
            time.sleep(page.watch_s)
    except KeyboardInterrupt:
        page.watch_s = 0.0
        tell(page.write())
