"""What is said of a flight log: numbers that the test counts, and a page that is whole."""

import base64
import io
import json
import math
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mjx_s2r.contract import CameraSignal
from mjx_s2r.robot.driver import Reading
from mjx_s2r.robot.log import Flight, FlightLog, LogError, Step, read
from mjx_s2r.robot.log.facts import LogFacts, inspect_log
from mjx_s2r.robot.log.page import log_page, write_log_page
from mjx_s2r.robot.log.svg import Line, line_chart
from mjx_s2r.robot.log.thinning import thin
from mjx_s2r.robot.log.wear import limits_in_flight
from mjx_s2r.robot.phases import Phase
from mjx_s2r.robot.safety import Event, Mode
from mjx_s2r.robot.verdict import DISTANCE, LOST, ON_GOAL, RULES, SUCCESS
from tests.robot.fakes import contract_for

CAMERA = CameraSignal("front", 8, 6, 50.0)
DEEP = CameraSignal("deep", 4, 3, 50.0, kind="depth", near=0.1, far=2.0)
CONTRACT = replace(contract_for(), cameras=(CAMERA, DEEP), control_hz=50.0)
STEPS, GAP_AT = 400, 250


@pytest.fixture(scope="module")
def flight(tmp_path_factory: pytest.TempPathFactory) -> Flight:
    """400 steps at 50 Hz: 10 in HOLD, a gap of half a second, a STOP at the end."""
    path = tmp_path_factory.mktemp("log") / "a.log"
    with FlightLog(path, CONTRACT, "arm <b>", may_drop=False) as log:
        for k in range(STEPS):
            log.append(step_of(k))
    return read(path)


def step_of(k: int) -> Step:
    """Returns one step of the flight."""
    t = 0.02 * k + (0.5 if k >= GAP_AT else 0.0)
    target = np.array([1.0 if k % 4 == 0 else 0.2, 0.3 * np.sin(t)], np.float32)
    mode, phase, events = Mode.RUN, Phase.RUN, []
    if k % 4 == 0:
        events.append(Event("rate", "a", 1.5, 1.0))
    if 100 <= k < 110:
        mode, phase = Mode.HOLD, Phase.HOLD
        events.append(Event("stale", "front", 0.3, 0.2, Mode.HOLD))
    if k == STEPS - 1:
        mode, phase = Mode.STOP, Phase.DAMP
        events.append(Event("range", "joint_pos", 3.5, 3.0, Mode.STOP))
    signals = {"joint_pos": target.astype(float), "joint_vel": np.zeros(2)}
    image = np.full((8, 6, 3), k % 256, np.uint8)
    images = {"front": image, "deep": np.full((4, 3), 1.0, np.float32)}
    stamps = {"front": 0.04 * (k // 2), "deep": 0.0}
    reading = Reading(t - 0.003, signals, images, stamps)
    command = None if mode == Mode.STOP else target
    busy_s = 0.001 * (1 + k % 10)
    return Step(k, t, mode, reading, None, None, command, tuple(events), busy_s, phase=phase)


@pytest.fixture(scope="module")
def facts(flight: Flight) -> LogFacts:
    """What is said of it."""
    return inspect_log(flight)


def test_facts(facts: LogFacts) -> None:
    assert (facts.steps, facts.modes) == (STEPS, {"RUN": 389, "HOLD": 10, "STOP": 1})
    assert facts.duration_s == pytest.approx(0.02 * 399 + 0.5)
    assert facts.rate_hz == pytest.approx(399 / (0.02 * 399 + 0.5))
    assert facts.busy_s.max == pytest.approx(0.010)
    assert facts.busy_s.p50 == pytest.approx(0.0055)
    assert facts.age_s.p99 == pytest.approx(0.003)
    ((at, length),) = facts.gaps
    assert (at, length) == pytest.approx((0.02 * (GAP_AT - 1), 0.52))
    counts = {e.code: e.count for e in facts.events}
    assert counts == {"rate": 100, "stale": 10, "range": 1}
    assert facts.events[0].names == {"a": 100} and facts.events[0].limit == 1.0
    assert facts.near_limits == pytest.approx({"a": 100 / 399, "b": 0.0})
    assert facts.cameras["front"]["kept"] == 200 and facts.cameras["deep"]["kept"] == 1
    assert facts.phases["hold"] == pytest.approx(0.2) and not facts.suspicions
    assert facts.ended == "range joint_pos at step 399"


def test_text_and_json(facts: LogFacts) -> None:
    text = facts.describe()
    for part in ("400 steps", "busy 5.5 ms", "stale", "stopped by", "longest 0.520 s at 4.98 s"):
        assert part in text
    body = json.loads(facts.to_json())
    assert body["rate_hz"] == facts.rate_hz and body["events"][0]["names"] == {"a": 100}
    unknown = replace(facts, rate_hz=math.nan)
    assert json.loads(unknown.to_json())["rate_hz"] is None


def test_a_unit_mistake_is_said(tmp_path: Path) -> None:
    with FlightLog(tmp_path / "a.log", CONTRACT, "arm", images=False) as log:
        for k in range(200):
            step = step_of(k)
            assert step.reading is not None and step.command is not None
            signals = {"joint_pos": np.rad2deg(step.command)}
            log.append(replace(step, reading=replace(step.reading, signals=signals)))
    found = inspect_log(read(tmp_path / "a.log")).suspicions
    assert len(found) == 2 and "readings move 57 times" in found[0]


def test_a_log_without_steps_is_refused(tmp_path: Path) -> None:
    with FlightLog(tmp_path / "a.log", CONTRACT, "arm"):
        pass
    with pytest.raises(LogError, match="no step"):
        inspect_log(read(tmp_path / "a.log"))


def test_thinning_keeps_every_extreme(flight: Flight) -> None:
    thinned = thin(flight, bins=40)
    assert thinned.low.shape == (40, 2) and len(thinned.busy_s) == STEPS
    positions = flight.signal("joint_pos").reshape(40, 10, 2)
    np.testing.assert_array_equal(thinned.low, positions.min(1))
    np.testing.assert_array_equal(thinned.high, positions.max(1))
    assert thinned.modes.tolist() == [0] * 10 + [1] + [0] * 28 + [2]
    assert thin(flight).low.shape == (STEPS, 2)


class Tags(HTMLParser):
    """Checks that every tag is closed."""

    def __init__(self) -> None:
        """Starts with none open."""
        super().__init__()
        self.open: list[str] = []
        self.sources: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Opens a tag."""
        self.sources += [value or "" for name, value in attrs if name in ("src", "href")]
        if tag not in ("meta", "link", "img", "!doctype"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        """Closes it."""
        assert self.open.pop() == tag


def test_the_page_is_whole_and_needs_nothing(flight: Flight, tmp_path: Path) -> None:
    write_log_page(flight, tmp_path / "page.html")
    text = (tmp_path / "page.html").read_text()
    tags = Tags()
    tags.feed(text)
    assert not tags.open and all(source.startswith("data:") for source in tags.sources)
    assert "arm &lt;b&gt;" in text and "arm <b>" not in text and "nan" not in text.lower()
    pictures = re.findall(r"data:image/png;base64,([^\"]+)", text)
    assert len(pictures) == 10 + 1  # ten of the camera, the only one of the depth camera
    shown = np.asarray(Image.open(io.BytesIO(base64.b64decode(pictures[0]))))
    assert shown.shape == (8, 6, 3)
    gray = np.asarray(Image.open(io.BytesIO(base64.b64decode(pictures[-1]))))
    assert gray.shape == (4, 3) and gray[0, 0] == 127  # half of the way to 2 m
    with pytest.raises(LogError, match="cannot be written"):
        write_log_page(flight, tmp_path / "nowhere" / "page.html")


def told_flight(path: Path, *, busy_s: float) -> Flight:
    """Returns a second at 50 Hz of a stand-in whose goal holds from half a second on."""
    config = {RULES: {"episode_s": 0.8, "hold_s": 0.1}}
    with FlightLog(path, CONTRACT, "arm", config, images=False) as log:
        for k in range(50):
            step = step_of(4 * k + 1)
            assert step.reading is not None
            told = {ON_GOAL: k >= 25, LOST: False, DISTANCE: 0.5 - 0.01 * k}
            signals = {name: np.array([value], float) for name, value in told.items()}
            reading = replace(step.reading, signals={**step.reading.signals, **signals})
            reading = replace(reading, time_s=0.02 * k)
            log.append(replace(step, step=k, time_s=0.02 * k, reading=reading, busy_s=busy_s))
    return read(path)


def test_the_page_of_a_stand_in_shows_task_and_wear(tmp_path: Path) -> None:
    flown = told_flight(tmp_path / "a.log", busy_s=0.0)
    facts, text = inspect_log(flown), log_page(flown)
    verdict = facts.verdict
    # the fifth reading of the goal is number 29; 1 cm nearer at each
    assert verdict is not None and verdict.result == SUCCESS and facts.virtual
    assert verdict.at_s == pytest.approx(29 * 0.02) and verdict.last == pytest.approx(0.21)
    assert "verdict        success after 0.58 s of the task's 0.8 s, 21.0 cm" in facts.describe()
    assert 'class="verdict good">Success after 0.58 s' in text
    assert "distance to the goal, cm" in text and ">on goal<" in text
    assert text.count("<title>the task&#x27;s time, 0.8 s</title>") == 2 + len(facts.joints)
    assert "virtual time" in text and "from the reading to the end" not in text
    assert "<h2>Wear</h2>" in text and "a second</td>" in text
    tags = Tags()
    tags.feed(text)
    assert not tags.open and "nan" not in text.lower()


def test_times_of_a_real_clock_are_drawn_and_nothing_is_said_of_a_task(flight: Flight) -> None:
    facts, text = inspect_log(flight), log_page(flight)
    assert facts.verdict is None and not facts.virtual
    assert "from the reading to the end of the write" in text and "virtual" not in text
    assert "goal" not in text.replace("goal holds", "") and 'class="verdict' not in text


def test_what_wears_a_robot_is_said_of_its_log(flight: Flight) -> None:
    facts = inspect_log(flight)
    # Joint a jumps by 0.8 of a range of 1.9 (of -1 to 1, within the guard's 95 %) two times in
    # four steps, but for the ten steps in HOLD that this log goes on sending in; b is a slow sine.
    limits, _ = limits_in_flight(flight)
    np.testing.assert_allclose(limits, [[-0.95, 0.95]] * 2)
    jumps = np.abs(np.diff(flight.commands[:-1, 0]))
    assert facts.wear["a"].change == pytest.approx(jumps.mean() / 1.9)
    assert facts.wear["a"].change == pytest.approx(0.8 / 2 / 1.9, rel=0.01)
    assert facts.wear["a"].reversals_hz == pytest.approx(25.0, rel=0.02)
    assert facts.wear["a"].parked_high == pytest.approx(1 / 4) and facts.wear["b"].parked == 0.0
    assert facts.wear["b"].reversals_hz < 1.0
    reverses, stands = facts.wearing
    assert reverses.startswith("joint a reverses 25 times a second: ")
    assert stands.startswith("joint a stands at the upper limit 25 % of the time: ")
    text = facts.describe()
    assert "wear a         changes 21 % a step, reverses 25 times" in text and reverses in text
    assert json.loads(facts.to_json())["wear"]["a"]["parked_high"] == pytest.approx(0.25)


def test_limits_and_interventions_have_their_own_colours(flight: Flight) -> None:
    text = log_page(flight)
    colours = dict(re.findall(r"rect\.(\w+) \{ fill: var\((--\w+)\)", text))
    assert len(set(colours.values()) & {"--good", "--limited", "--open", "--bad"}) == 4
    assert 'class="limited"' in text and "a command limited, or a warning" in text


@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (-1.72, -0.31), (0.0, 4e-3), (-7.0, 950.0)])
def test_axes_have_enough_numbers_to_read_values(low: float, high: float) -> None:
    time_s = np.linspace(0.0, high - low, 200)
    line = Line(np.linspace(low, high, 200), np.linspace(low, high, 200), "position")
    chart = line_chart("a", "rad", time_s, [line], (-math.inf, math.inf))
    values = [float(x) for x in re.findall(r'class="row"[^>]*>([^<]+)<', chart)]
    times = re.findall(r'class="tick"[^>]*>([^<]+)<', chart)
    assert 3 <= len(values) <= 9 and 6 <= len(times) <= 17
    assert np.ptp(np.diff(sorted(values))) < 1e-6 * (high - low)


def test_a_log_of_one_step_has_a_page(tmp_path: Path) -> None:
    with FlightLog(tmp_path / "a.log", contract_for("effort"), "arm") as log:
        log.append(Step(0, 0.0, Mode.STOP))
    text = log_page(read(tmp_path / "a.log"))
    assert "<svg" in text and "nan" not in text.lower() and "unknown" in text
