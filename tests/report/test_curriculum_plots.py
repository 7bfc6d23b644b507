"""Pictures of curricula: well-formed, complete, and true to their numbers."""

import math
import re
from xml.etree import ElementTree

import numpy as np
import pytest

from mjx_s2r.params import Param, ParamSpace
from mjx_s2r.report.curriculum_plots import Curve, comparison, learning, timeline

SVG = "{http://www.w3.org/2000/svg}"
SPACE = ParamSpace(
    (
        Param("mass <a>", "model.body_mass", ("a",), limits=(0.5, 2.0)),
        Param("closed", "model.body_mass", ("b",)),
        Param("drag", "model.dof_damping", ("j",), limits=(0.1, 10.0), law="log_uniform"),
    )
)


def line(step: int, high: float, score: float | None) -> dict:
    """Returns a line of bounds.jsonl."""
    return {
        "step": step,
        "low": [1.0, 1.0, 1.0],
        "high": [high, 1.0, high],
        "entropy": -1.0 / step,
        "score_low": [score, None, None],
        "score_high": [score, None, 0.5],
    }


def test_a_timeline_shows_every_open_row() -> None:
    bounds = [line(5, 1.0, None), line(10, 1.5, 0.8)]
    metrics = [{"step": 5, "success": math.nan}, {"step": 10, "success": 0.7}]
    root = ElementTree.fromstring(timeline(SPACE, bounds, metrics))
    heads = [t.text for t in root.iter(f"{SVG}text") if t.get("class") == "h"]
    assert heads == ["width (entropy)", "success", "mass <a>, 1", "drag, 1"]
    assert len(root.findall(f".//{SVG}polygon")) == 2  # a band per open row
    assert len(root.findall(f".//{SVG}polyline")) == 5  # entropy, success, three known ends


def test_a_run_without_lines_still_gives_a_picture() -> None:
    assert ElementTree.fromstring(timeline(SPACE, [], [])).tag == f"{SVG}svg"


def test_a_comparison_has_a_curve_and_whiskers_per_method() -> None:
    """Success 1 lies at the top of the panel (y = 10), 0 at its foot (250)."""
    x = np.array((0.5, 1.0))
    best = Curve("adr", x, np.array((1.0, 0.5)), np.array((1.0, 0.25)), np.array((1.0, 0.75)))
    worst = Curve("none", x, np.zeros(2), np.zeros(2), np.zeros(2))
    text = comparison({"cartpole": [best, worst], "reach": [worst]}, "width", "success")
    root = ElementTree.fromstring(text)
    curves = root.findall(f".//{SVG}polyline")
    assert len(curves) == 3
    ys = [[float(p.split(",")[1]) for p in c.attrib["points"].split()] for c in curves]
    assert ys == [[10.0, 130.0], [250.0, 250.0], [250.0, 250.0]]
    whiskers = [w for w in root.iter(f"{SVG}line") if w.get("class") == "whisker"]
    ends = [float(whiskers[1].attrib[k]) for k in ("y1", "y2")]
    assert ends == pytest.approx([190.0, 70.0])
    assert curves[1].get("stroke") == curves[2].get("stroke") != curves[0].get("stroke")
    assert re.findall(r">(adr|none)<", text) == ["adr", "none"]


def test_learning_shows_an_evaluation_where_it_judged() -> None:
    """Two lines of 10 and 20 iterations; the second reports on the policy after iteration 10."""
    first = {"step": 10, "env_steps": 1000.0, "return": 1.0, "success": None}
    second = {"step": 20, "env_steps": 2000.0, "return": 2.0, "success": 0.5}
    picture = learning([first, second | {"eval_at": 10.0, "eval_return": 3.0, "eval_success": 1.0}])
    root = ElementTree.fromstring(picture)
    circles = [c.attrib for c in root.iter(f"{SVG}circle")]
    solid = [float(c["cx"]) for c in circles if c["class"] == "dot a"]
    dashed = [float(c["cx"]) for c in circles if c["class"] == "dot b"]
    assert len(solid) == len(dashed) == 2 and solid[0] < dashed[0]
    assert learning([first]).count("dot a") == 0
