"""HTML pages from the templates beside this file: one file without scripts, fonts or links."""

from pathlib import Path
from typing import Any

import jinja2

from mjx_s2r.report.charts import short
from mjx_s2r.report.findings import percent, span


def render_page(template: str, **context: Any) -> str:
    """Returns a page; text is escaped, unless it is `markupsafe.Markup`.

    Args:
        template: name of a file in mjx_s2r/report/templates.
        context: what the template shows.
    """
    return _environment().get_template(template).render(**context)


def write_page(path: Path, template: str, **context: Any) -> None:
    """Writes `render_page`'s page, whole or not at all."""
    text = render_page(template, **context)
    beside = path.with_name(path.name + ".tmp")
    beside.write_text(text, encoding="utf-8")
    beside.replace(path)


def duration(seconds: float) -> str:
    """Returns a time span in words, e.g. "12 min 5 s"."""
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def _environment() -> jinja2.Environment:
    out = jinja2.Environment(
        loader=jinja2.PackageLoader("mjx_s2r.report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    out.filters |= {"duration": duration, "percent": percent, "short": short}
    out.globals["span"] = span
    return out
