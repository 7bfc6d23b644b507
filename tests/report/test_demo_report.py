"""The page: whole, by itself, safe against odd names, and honest about what is missing."""

import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mjx_s2r.io.run import RunError
from mjx_s2r.params import Param, ParamSpace
from mjx_s2r.report.demo_report import write
from mjx_s2r.report.findings import (
    NOMINAL,
    PLAIN,
    RANDOMIZED,
    STAND_IN,
    VARIED,
    DemoReport,
    Film,
    Outcome,
    Pipeline,
    Provenance,
    RobotSide,
)

SECTIONS = [
    *("outcomes", "films", "worlds", "learning", "bounds", "ranges", "robot"),
    *("next", "provenance"),
]
NOTHING = "No data for this section."
VOID = {"meta", "link", "img", "br", "source"}
SPACE = ParamSpace(
    (
        Param(
            "payload",
            "model.body_mass",
            ("hand",),
            mode="add",
            nominal=0,
            initial=(0, 0),
            limits=(0, 0.05),
            unit="kg",
        ),
        Param("<kp>", "model.actuator_kp", ("*",), limits=(0.5, 2.0), law="log_uniform"),
        Param("hue", "visual.hue", mode="add", nominal=0, initial=(0, 0), limits=(-0.5, 0.5)),
    )
)


class Page(HTMLParser):
    """Reads a page: its text, its sections, what it refers to; fails where tags do not match."""

    def __init__(self, html: str) -> None:
        """Reads ``html`` to its end."""
        super().__init__()
        self.open: list[str] = []
        self.sections: dict[str, str] = {}
        self.links: list[str] = []
        self.tags: list[str] = []
        self.feed(html)
        assert not self.open, f"never closed: {self.open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Notes a tag, its references and the begin of a section."""
        named = dict(attrs)
        self.tags.append(tag)
        self.links += [v or "" for k, v in attrs if k in ("src", "href", "srcset", "xlink:href")]
        if tag == "section":
            self.sections[named["id"] or ""] = ""
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Notes a tag that is closed at once."""
        self.tags.append(tag)

    def handle_endtag(self, tag: str) -> None:
        """Checks that the innermost tag is closed first."""
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        """Notes text under its section."""
        if self.sections and "section" in self.open:
            self.sections[[*self.sections][-1]] += data


def lines(path: Path, rows: list[dict[str, Any]]) -> Path:
    """Writes a .jsonl file."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture
def full(tmp_path: Path) -> DemoReport:
    """Everything there is, small."""
    teacher = [{"step": i, "env_steps": 1000 * i, "success": i / 9, "return": i} for i in range(10)]
    student = [
        {"step": i, "images": 64 * i, "kl": 2.0**-i, "label_error_m": 0.031} for i in range(4)
    ]
    student[1]["kl"] = None
    names = list(SPACE.names)
    widened = [
        {
            "step": i,
            "names": names,
            "low": [0, 1 - i / 9, 0],
            "high": [0.01 * i, 1 + i / 9, 0],
            "entropy": i - 6,
        }
        for i in range(4)
    ]
    images = np.random.default_rng(0).integers(0, 256, (6, 8, 8, 3), np.uint8)
    pipeline = Pipeline(
        teacher=lines(tmp_path / "teacher.jsonl", teacher),
        student=lines(tmp_path / "student.jsonl", student),
        bounds=lines(tmp_path / "bounds.jsonl", widened),
        worlds=images,
        films=(Film(images, True, "episode 0"), Film(images[:2], False, "<i>episode 1</i>")),
        robot=RobotSide(2000, {"rate": 30, "odd": 1, "overrun": 4}, latency_us=(1234.0, 2000.0)),
    )
    counts = ((NOMINAL, 190, 180), (VARIED, 170, 30), (STAND_IN, 172, 24))
    rows = [
        Outcome("student", name, where, n, 200)
        for where, *both in counts
        for name, n in zip((RANDOMIZED, PLAIN), both, strict=True)
    ]
    return DemoReport(
        task="Reach <&> grasp",
        goal='Find the "cube".',
        total_s=3125,
        outcomes=(*rows, Outcome("teacher", PLAIN, NOMINAL, 0, 0)),
        target=0.8,
        stages_s={"teacher": 61.0},
        space=SPACE,
        randomized=pipeline,
        plain=replace(pipeline, bounds=None, robot=RobotSide(0)),
        provenance=Provenance(
            command="make demo <x>",
            machine="2 cores",
            seeds={"training": 0},
            versions={"jax": "0.9"},
            effects={"backlash_deg": 0.5},
            not_modelled=("Links do not bend.",),
        ),
        policy="runs/<x>/policy.onnx",
    )


def test_the_page_needs_nothing_beside_it(full: DemoReport, tmp_path: Path) -> None:
    html = write(tmp_path / "report.html", full).read_text()
    page = Page(html)
    assert all(link.startswith(("data:", "#")) for link in page.links)
    assert "script" not in page.tags and "@import" not in html
    assert html.count("url(") == html.count("url(#"), "parts of its own charts only"
    assert not re.search(r"(?:https?:)?//[a-z]", re.sub(r"base64,[^\"]*", "", html))
    assert not list(tmp_path.glob("*.tmp"))


def test_every_section_has_its_data(full: DemoReport, tmp_path: Path) -> None:
    page = Page(write(tmp_path / "report.html", full).read_text())
    assert [*page.sections] == SECTIONS
    assert {f"#{name}" for name in SECTIONS} <= set(page.links)
    assert not [name for name, text in page.sections.items() if NOTHING in text]
    assert "86 %" in page.sections["outcomes"] and "no episodes" in page.sections["outcomes"]
    assert "randomized: 3.1" in page.sections["learning"]  # 0.031 m in cm
    assert "Kept at one value while the teacher learned: hue." in page.sections["bounds"]
    assert "0 to 0.03" in page.sections["ranges"] and "only 0" in page.sections["ranges"]
    assert "15" in page.sections["robot"] and "1,234 \u00b5s" in page.sections["robot"]
    assert "missed a deadline" not in page.sections["robot"]  # has a row of its own
    assert "Links do not bend." in page.sections["provenance"]


def test_bars_stand_at_their_numbers(full: DemoReport, tmp_path: Path) -> None:
    """172 of 200 is 86 %, with Wilson's interval from 80.5 to 90.1; limits (0.5, 2) are a log."""
    html = write(tmp_path / "report.html", full).read_text()
    assert "--from:0%;--wide:86.00%" in html
    low, wide = map(float, re.findall(r"--low:([\d.]+)%;--wide:([\d.]+)%", html)[0])
    assert (low, low + wide) == pytest.approx((80.5, 90.1), abs=0.1)
    assert html.count("--target:80.00%") == 2, "asked for on the stand-in, of both policies"
    table = html[html.index('id="ranges"') : html.index('id="robot"')]
    bars = re.findall(r"--from:([\d.]+)%;--wide:([\d.]+)%.*?--nominal:([\d.]+)%", table)
    places = {tuple(map(float, bar)) for bar in bars}
    low_kp, high_kp = (50 + 50 * np.log2(end) for end in (1 - 3 / 9, 1 + 3 / 9))
    expected = {(0, 60, 0), (50, 0, 50), (round(low_kp, 2), round(high_kp - low_kp, 2), 50)}
    assert places == expected


def test_the_figures_at_the_top(full: DemoReport, tmp_path: Path) -> None:
    html = write(tmp_path / "report.html", full).read_text()
    top = html[html.index('<dl class="stats">') : html.index("</dl>")]
    assert re.findall(r"</dt><dd>([^<]+)", top) == ["86 %", "12 %", "1.23 ms", "52 min 5 s"]


def test_the_verdict_comes_first(full: DemoReport, tmp_path: Path) -> None:
    html = write(tmp_path / "report.html", full).read_text()
    head = html[html.index("<body>") : html.index("<section")]
    assert 'class="verdict good"' in head and "Target reached. Randomization helped" in head
    assert "52 min 5 s" in head


def test_names_cannot_break_the_page(full: DemoReport, tmp_path: Path) -> None:
    html = write(tmp_path / "report.html", full).read_text()
    assert "Reach &lt;&amp;&gt; grasp" in html and "&lt;i&gt;episode 1" in html
    assert "&lt;kp&gt;" in html and "<kp>" not in html
    assert "make demo &lt;x&gt;" in html


def test_a_report_without_data_says_so(tmp_path: Path) -> None:
    page = Page(write(tmp_path / "report.html", DemoReport("Reach")).read_text())
    assert [*page.sections] == SECTIONS
    missing = [name for name, text in page.sections.items() if NOTHING in text]
    assert missing == SECTIONS[:-1]
    assert "Not stated." in page.sections["provenance"]


def test_empty_and_absent_files_are_no_data(tmp_path: Path) -> None:
    empty = lines(tmp_path / "empty.jsonl", [])
    absent = tmp_path / "absent.jsonl"
    bare = Pipeline(
        teacher=empty, student=absent, bounds=empty, worlds=np.zeros((0, 8, 8, 3), np.uint8)
    )
    report = DemoReport("Reach", space=SPACE, randomized=bare, plain=bare)
    page = Page(write(tmp_path / "report.html", report).read_text())
    for name in ("worlds", "learning", "bounds"):
        assert NOTHING in page.sections[name]
    assert "only 1" in page.sections["ranges"]  # the initial ranges of the table


def test_lines_without_the_usual_keys_are_tolerated(tmp_path: Path) -> None:
    odd = lines(tmp_path / "odd.jsonl", [{"step": 0}, {"step": 1, "success": 0.5, "return": "x"}])
    bounds = lines(
        tmp_path / "bounds.jsonl",
        [{"step": 0}, {"step": 1, "names": ["new"], "low": [0], "high": [None]}],
    )
    pipeline = Pipeline(teacher=odd, student=odd, bounds=bounds)
    report = DemoReport("Reach", space=SPACE, randomized=pipeline)
    page = Page(write(tmp_path / "report.html", report).read_text())
    assert "Success" in page.sections["learning"]
    assert "Return" not in page.sections["learning"]
    assert NOTHING in page.sections["bounds"]


def test_a_broken_line_is_named(tmp_path: Path) -> None:
    torn = tmp_path / "metrics.jsonl"
    torn.write_text('{"step": 0\n{"step": 1}\n')
    with pytest.raises(RunError, match="line 1"):
        write(tmp_path / "report.html", DemoReport("Reach", randomized=Pipeline(teacher=torn)))
    assert not (tmp_path / "report.html").exists()


def test_one_policy_alone_has_a_story_of_one(full: DemoReport, tmp_path: Path) -> None:
    rows = tuple(o for o in full.outcomes if o.pipeline == RANDOMIZED)
    alone = replace(full, plain=Pipeline(), outcomes=rows)
    html = write(tmp_path / "report.html", alone).read_text()
    assert "One policy was trained" in html and "Two policies" not in html
