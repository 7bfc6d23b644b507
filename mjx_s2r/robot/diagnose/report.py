"""A diagnosis as files: one JSON for programs and one HTML page for people."""

import json
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from mjx_s2r.robot.diagnose.estimate import FORMAT, Diagnosis, IntervalEstimate
from mjx_s2r.robot.log.page import html_page
from mjx_s2r.robot.log.svg import point_chart
from mjx_s2r.robot.plain_json import plain_json


def write_diagnosis(folder: Path, found: Sequence[Diagnosis], facts: Mapping[str, Any]) -> Path:
    """Writes diagnosis.json and diagnosis.html; returns the page's path."""
    text = json.dumps(diagnosis_json(found, facts), indent=1, allow_nan=False)
    (folder / "diagnosis.json").write_text(text + "\n", encoding="utf-8")
    page = folder / "diagnosis.html"
    page.write_text(diagnosis_page(found, facts), encoding="utf-8")
    return page


def diagnosis_json(found: Sequence[Diagnosis], facts: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the numbers as JSON values.

    "rows" holds what rows of the parameter table can take: field, element, value, low, high, unit;
    "others" the rest.
    """
    pairs = [(d, e) for d in found for e in d.estimates]
    return {
        "format": FORMAT,
        "facts": dict(facts),
        "rows": [
            {"field": e.name, "element": d.element, **_numbers(e)} for d, e in pairs if e.is_row
        ],
        "others": [
            {"name": e.name, "element": d.element, **_numbers(e)} for d, e in pairs if not e.is_row
        ],
        "diagnoses": [
            {
                "what": d.what,
                "element": d.element,
                "trials": d.trials,
                "residual": plain_json(d.residual),
                "noise": plain_json(d.noise),
                "limits": list(d.limits),
            }
            for d in found
        ],
    }


def _numbers(estimate: IntervalEstimate) -> dict[str, Any]:
    """Returns value, interval and unit."""
    ends = {n: plain_json(getattr(estimate, n)) for n in ("value", "low", "high")}
    return ends | {"unit": estimate.unit}


def diagnosis_page(found: Sequence[Diagnosis], facts: Mapping[str, Any]) -> str:
    """Returns the page: for each diagnosis its numbers, what limits them, and its charts."""
    what = ", ".join(dict.fromkeys(d.what for d in found))
    about = ", ".join(f"{name} {value}" for name, value in facts.items() if value not in ("", None))
    parts = [f"<h1>{escape(what)}</h1>", f'<p class="soft">{escape(about)}</p>', _key()]
    for d in found:
        parts.append(f"<h2>{escape(d.element)}: {escape(d.what)}</h2>")
        parts.append(_table(d))
        parts += [f'<p class="soft">Note: {escape(text)}.</p>' for text in d.limits]
        parts += [
            point_chart(c.title, (c.x_label, c.y_label), c.x, c.measured, c.fitted)
            for c in d.curves
        ]
    return html_page(what, parts)


def _table(d: Diagnosis) -> str:
    """Returns the numbers of a diagnosis."""
    rows = "".join(
        f"<tr><td>{escape(e.name)}</td><td>{e.value:.5g}</td><td>{e.low:.5g} to {e.high:.5g}</td>"
        f"<td>{escape(e.unit)}</td></tr>"
        for e in d.estimates
    )
    head = "<tr><th>number</th><th>value</th><th>95 % interval</th><th>unit</th></tr>"
    trials = f'<p class="soft">from {d.trials} trials</p>'
    return f"<table>{head}{rows}</table>{trials}"


def _key() -> str:
    """Returns the meaning of the charts' colours."""
    return (
        '<p class="soft"><span class="key" style="border-color:var(--a)"></span>measured'
        '<span class="key" style="border-color:var(--b)"></span>fitted</p>'
    )
