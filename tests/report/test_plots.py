"""Charts: where things are drawn, and what is left out."""

import re
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest

from mjx_s2r.report.plots import (
    MOST_POINTS,
    Axis,
    Band,
    Line,
    Scale,
    band_chart,
    decades,
    line_chart,
    range_bar,
    rate_bar,
    short,
    ticks,
)

X = Axis("steps")


def points(svg: str, tag: str) -> np.ndarray:
    """Returns (T, 2) the points of the first ``tag`` in a chart."""
    found = ElementTree.fromstring(svg).find(tag)
    assert found is not None
    return np.array([p.split(",") for p in found.get("points", "").split()], float)


def band(log: bool = False) -> Band:
    """Returns a range that widens from 1 to all of (0.5, 2)."""
    low, high = np.array([1.0, 0.5]), np.array([1.0, 2.0])
    return Band(np.array([0.0, 10.0]), low, high, (0.5, 2.0), 1.0, log)


def test_a_line_runs_between_the_ends_of_its_axes() -> None:
    line = Line("a", np.array([0.0, 5.0, 10.0]), np.array([0.0, 50.0, 100.0]))
    drawn = points(line_chart("t", X, Axis("%", 0.0, 100.0), [line]), "polyline")
    assert drawn[1] == pytest.approx((drawn[0] + drawn[2]) / 2)
    assert drawn[0][1] > drawn[2][1]  # up is up


def test_a_log_axis_spaces_decades_evenly() -> None:
    line = Line("a", np.arange(3.0), np.array([0.01, 0.1, 1.0]))
    drawn = points(line_chart("t", X, Axis("KL", log=True), [line]), "polyline")
    assert drawn[0][1] - drawn[1][1] == pytest.approx(drawn[1][1] - drawn[2][1], abs=0.11)


def test_points_that_are_no_numbers_are_left_out() -> None:
    y = np.array([np.nan, 1.0, np.inf, 2.0])
    assert (
        len(points(line_chart("t", X, Axis("y"), [Line("a", np.arange(4.0), y)]), "polyline")) == 2
    )
    nothing = Line("a", np.arange(4.0), np.full(4, np.nan))
    assert line_chart("t", X, Axis("y"), [nothing]) == ""
    assert line_chart("t", X, Axis("y", log=True), [Line("a", np.ones(1), np.zeros(1))]) == ""


@pytest.mark.parametrize("log", [False, True])
@pytest.mark.parametrize("value", [0.5, 3.0])
def test_one_point_has_room_around_it(value: float, log: bool) -> None:
    svg = line_chart("t", X, Axis("y", log=log), [Line("a", np.zeros(1), np.array([value]))])
    assert np.isfinite(points(svg, "polyline")).all()


def test_long_lines_are_thinned_and_keep_their_end() -> None:
    x = np.arange(10_001.0)
    drawn = points(line_chart("t", X, Axis("y"), [Line("a", x, x)]), "polyline")
    assert len(drawn) == MOST_POINTS
    assert drawn[-1].tolist() == [330, 10]


@pytest.mark.parametrize("log", [False, True])
def test_a_band_fills_its_frame_when_it_reaches_the_limits(log: bool) -> None:
    svg = band_chart("t", band(log))
    frame = ElementTree.fromstring(svg).find("rect")
    assert frame is not None
    top = float(frame.get("y", "nan"))
    ground = top + float(frame.get("height", "nan"))
    y = points(svg, "polygon")[:, 1]
    assert (y.min(), y.max()) == pytest.approx((top, ground), abs=0.1)
    # 1 is the middle of (0.5, 2) in the logarithm, and a third of it otherwise
    assert y[0] == pytest.approx(ground - (ground - top) * (1 / 2 if log else 1 / 3), abs=0.1)


def test_a_band_of_one_line_is_drawn_all_along() -> None:
    one = Band(np.array([7.0]), np.array([0.8]), np.array([1.2]), (0.5, 2.0), 1.0)
    drawn = points(band_chart("t", one), "polygon")
    assert len({x for x, _ in drawn.tolist()}) == 2


def test_bars_take_shares_of_their_width() -> None:
    bar = rate_bar(0.86, (0.805, 0.901), "a")
    assert 'width="86.00%"' in bar and 'x1="80.50%" x2="90.10%"' in bar
    left, width = re.findall(r'x="([\d.]+)%" y="2" width="([\d.]+)%"', range_bar(band()))[0]
    assert (float(left), float(width)) == (0, 100)


def test_titles_cannot_break_the_picture() -> None:
    line = Line("a", np.arange(2.0), np.arange(2.0))
    svg = line_chart('<b>"', Axis("<x>"), Axis("<y>"), [line])
    assert ElementTree.fromstring(svg).get("aria-label") == '<b>": <y> against <x>'


def test_ticks_are_round_and_inside() -> None:
    assert ticks(0, 100) == [0, 25, 50, 75, 100]
    assert ticks(-0.3, 0.9) == pytest.approx([0, 0.5])
    assert decades(0.002, 30) == pytest.approx([0.01, 0.1, 1, 10])
    assert decades(2, 6) == ticks(2, 6)


def test_short_numbers() -> None:
    values = (0, 0.5, 1234, 2.5e6, 1e9, 3e-6, -2000)
    assert [short(v) for v in values] == ["0", "0.5", "1.23k", "2.5M", "1G", "3e-6", "-2k"]


def test_a_scale_maps_its_ends() -> None:
    assert Scale(1, 100, 0, 10, log=True)(10.0) == pytest.approx(5)
    assert Scale(1, 3, 10, 0)(np.array([1, 2, 3])) == pytest.approx([10, 5, 0])
