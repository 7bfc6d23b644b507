"""Charts: numbers at their places, complete, and the same text for the same numbers."""

import math
import re
import subprocess
import sys
from collections.abc import Iterator
from xml.etree import ElementTree

import matplotlib
import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from mjx_s2r.params import Param, ParamSpace
from mjx_s2r.report import charts
from mjx_s2r.report.charts import Curve, comparison, draw_band, draw_lines, inline, learning

SVG = "{http://www.w3.org/2000/svg}"
MASS = Param("mass <a> $", "model.body_mass", ("a",), limits=(0.5, 2.0), unit="kg")
DRAG = Param("drag", "model.dof_damping", ("j",), limits=(0.1, 10.0), law="log_uniform")
SPACE = ParamSpace((MASS, Param("closed", "model.body_mass", ("b",)), DRAG))


@pytest.fixture
def axes() -> Iterator[Axes]:
    """Empty axes in the theme."""
    with charts.theme():
        yield Figure().subplots()


def texts(svg: str) -> list[str | None]:
    """Returns the text of a picture, in order."""
    return [text.text for text in ElementTree.fromstring(svg).iter(f"{SVG}text")]


def bounds_line(step: int, high: float, score: float | None) -> dict:
    """Returns a line of bounds.jsonl."""
    return {
        "step": step,
        "names": list(SPACE.names),
        "low": [1.0, 1.0, 1.0],
        "high": [high, 1.0, high],
        "entropy": -1.0 / step,
        "score_low": [score, None, None],
        "score_high": [score, None, 0.5],
    }


def test_a_line_has_its_points_and_a_dot_at_its_end(axes: Axes) -> None:
    """Points that are no numbers are left out; the line goes on."""
    x, y = np.arange(4.0), np.array([np.nan, 1.0, np.inf, 2.0])
    draw_lines(axes, {"a": (x, y), "b": (x, 0 * x)}, "steps", (0.0, 5.0))
    line, dot, dashed, _ = axes.get_lines()
    assert np.array_equal(line.get_xydata(), [(1, 1), (3, 2)])
    assert np.array_equal(dot.get_xydata(), [(3, 2)])
    assert line.get_linestyle() == "-" and dashed.get_linestyle() == "--"
    assert line.get_color() != dashed.get_color()
    assert axes.get_ylim() == (0, 5) and axes.get_xlim()[0] == 0
    assert axes.get_xlabel() == "steps"


def test_a_logarithmic_axis_leaves_out_what_is_not_positive(axes: Axes) -> None:
    draw_lines(axes, {"a": (np.arange(3.0), np.array([0.0, 0.1, 1.0]))}, log=True)
    assert axes.get_yscale() == "log"
    assert axes.get_lines()[0].get_ydata().tolist() == [0.1, 1.0]


@pytest.mark.parametrize("log", [False, True])
def test_one_point_has_room_around_it(axes: Axes, log: bool) -> None:
    draw_lines(axes, {"a": (np.zeros(1), np.ones(1))}, log=log)
    low, high = axes.get_ylim()
    assert low < 1 < high


def test_a_band_lies_within_its_limits(axes: Axes) -> None:
    low, high = np.array([1.0, math.nan, 0.5]), np.array([1.0, 1.0, 2.0])
    draw_band(axes, MASS, np.array([0.0, 5.0, 10.0]), low, high)
    corners = axes.collections[0].get_paths()[0].vertices
    assert set(map(tuple, corners.tolist())) == {(0, 1), (10, 0.5), (10, 2)}
    assert axes.get_ylim() == MASS.limits and axes.get_xlim() == (0, 10)
    assert axes.get_lines()[-1].get_ydata() == [1, 1], "the nominal value"
    assert [label.get_text() for label in axes.get_yticklabels()] == ["0.5", "1", "2"]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["0", "10"]


def test_a_band_of_a_logarithmic_law_has_its_nominal_in_the_middle(axes: Axes) -> None:
    draw_band(axes, DRAG, np.arange(2.0), np.full(2, 0.5), np.full(2, 2.0))
    places = axes.transData.transform([(0, 0.1), (0, 1.0), (0, 10.0)])[:, 1]
    assert places[1] == pytest.approx((places[0] + places[2]) / 2)


def test_a_band_of_one_line_is_drawn_all_along(axes: Axes) -> None:
    draw_band(axes, MASS, np.array([7.0]), np.array([0.8]), np.array([1.2]))
    corners = axes.collections[0].get_paths()[0].vertices
    assert {x for x, _ in corners.tolist()} == {0, 7}


def test_a_timeline_shows_every_open_parameter() -> None:
    bounds = [bounds_line(5, 1.0, None), bounds_line(10, 1.5, 0.8)]
    metrics = [{"step": 5, "success": math.nan}, {"step": 10, "success": 0.7}]
    picture = charts.timeline(SPACE, bounds, metrics)
    shown = texts(picture)
    assert "mass <a> $, kg" in shown and "drag, ratio" in shown
    assert not any(text and text.startswith("closed") for text in shown)
    assert picture.count('<g id="FillBetweenPolyCollection') == 2


def test_a_run_without_lines_still_gives_a_picture() -> None:
    assert "drag, ratio" in texts(charts.timeline(SPACE, [], []))
    assert "Success" in texts(learning([]))
    assert comparison({}, "width", "success")


def test_a_comparison_has_a_curve_and_whiskers_per_method(axes: Axes) -> None:
    x = np.array((0.5, 1.0))
    best = Curve("adr", x, np.array((1.0, 0.5)), np.array((1.0, 0.25)), np.array((1.0, 0.75)))
    worst = Curve("none", x, np.zeros(2), np.zeros(2), np.zeros(2))
    charts.draw_comparison(axes, [best, worst], ["adr", "none"])
    curve, _, (whiskers,) = axes.containers[0]
    assert curve.get_ydata().tolist() == [1.0, 0.5]
    assert [segment[:, 1].tolist() for segment in whiskers.get_segments()] == [[1, 1], [0.25, 0.75]]
    apart = axes.containers[1].lines[0].get_xdata() - curve.get_xdata()
    assert (apart > 0).all(), "whiskers of two methods do not hide each other"

    picture = comparison({"cartpole": [best, worst], "reach": [worst]}, "width", "success")
    assert picture.count('<g id="curve-none"') == 2 and picture.count('<g id="curve-adr"') == 1
    assert [text for text in texts(picture) if text in ("adr", "none")] == ["adr", "none"]
    first, second = (
        picture.split('<g id="curve-none"')[i].split("stroke: ")[1][:7] for i in (1, 2)
    )
    assert first == second == charts.METHODS[1], "a method has one colour in all panels"


def test_a_legend_of_many_methods_stays_inside_its_picture() -> None:
    x = np.array((0.5, 1.0))
    names = [f"method{i}" for i in range(8)]
    picture = comparison({"reach": [Curve(n, x, x, x, x) for n in names]}, "width", "success")
    width = float(re.search(r'viewBox="0 0 (\S+)', picture)[1])  # type: ignore[index]
    legend = re.findall(r'<text[^>]* x="(\S+)"[^>]*>method\d<', picture)
    assert len(legend) == 8 and max(map(float, legend)) < width - 40


def test_learning_shows_an_evaluation_where_it_judged(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two lines of 10 and 20 iterations; the second reports on the policy after iteration 10."""
    drawn = []
    monkeypatch.setattr(charts, "draw_lines", lambda _, lines, *__: drawn.append(lines))
    first = {"step": 10, "env_steps": 1000.0, "return": 1.0, "success": None}
    second = {"step": 20, "env_steps": 2000.0, "return": 2.0, "success": 0.5}
    learning([first, second | {"eval_at": 10.0, "eval_return": 3.0, "eval_success": 1.0}])
    (x, y), (steps, returns) = drawn[0]["a"], drawn[0]["b"]
    assert (x[1], y[1]) == (1000, 3) and np.isnan(y[0])
    assert steps.tolist() == [1000, 2000] and returns.tolist() == [1, 2]


def test_the_same_numbers_give_the_same_text_whatever_the_users_settings() -> None:
    rows = [{"step": i, "env_steps": 10.0 * i, "return": i, "success": 0.5} for i in range(1, 5)]
    plain = learning(rows)
    with matplotlib.rc_context({"lines.linewidth": 9.0, "svg.fonttype": "path"}):
        assert learning(rows) == plain
        assert matplotlib.rcParams["lines.linewidth"] == 9.0
    assert "Matplotlib" not in plain and "dc:date" not in plain
    assert "Return" in texts(plain), "text is text"


def test_a_chart_in_a_page_has_the_pages_colours_and_no_names_to_collide() -> None:
    line = (np.arange(2.0), np.arange(2.0))
    svg = inline('<b>"', (200, 100), lambda axes: draw_lines(axes, {"a": line, "b": line}, "<x>"))
    root = ElementTree.fromstring(svg.replace("xlink:", ""))
    assert root.get("aria-label") == '<b>"' and root.get("viewBox") == "0 0 200 100"
    assert not list(root.iter("style")) and not [g for g in root.iter("g") if g.get("id")]
    assert "var(--a)" in svg and "var(--b)" in svg and "var(--ink)" not in svg
    assert not [c for c in (charts.SOLID, charts.RULE, to_hex("white")) if c in svg]
    assert "//" not in svg


def test_long_lines_are_drawn_with_fewer_points() -> None:
    x = np.arange(20_000.0)
    noise = np.random.default_rng(0).normal(size=x.size)
    svg = inline("", (260, 180), lambda axes: draw_lines(axes, {"a": (x, noise)}))
    assert len(svg) < 60_000


def test_short_numbers() -> None:
    values = (0, 0.5, 1234, 2.5e6, 1e9, 3e-6, -2000)
    assert [charts.short(v) for v in values] == ["0", "0.5", "1.23k", "2.5M", "1G", "3e-6", "-2k"]


def test_matplotlib_waits_for_the_first_chart() -> None:
    code = "import sys, mjx_s2r.report.charts; sys.exit('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
