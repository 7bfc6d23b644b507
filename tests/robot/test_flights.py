"""Whole flights: phases, emergency stops, first frames, inner loops, slow parts and signals."""

import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mjx_s2r.contract import Chain, ChainLink, ChainPoint, ContractError
from mjx_s2r.params import ParamError
from mjx_s2r.robot.clock import RealClock, VirtualClock
from mjx_s2r.robot.controller import ControllerConfig, run
from mjx_s2r.robot.driver import Reading
from mjx_s2r.robot.latch import LatchedError, reset_latch
from mjx_s2r.robot.log import FlightLog, read
from mjx_s2r.robot.phases import Phase
from mjx_s2r.robot.replay import replay
from mjx_s2r.robot.safety import SafetyConfig
from tests.robot.fakes import FakeDriver, FakePolicy, contract_for

PLAIN = SafetyConfig(ramp_s=0.0)
CONFIG = ControllerConfig(duration_s=1.0, safety=PLAIN)
CHILD = """
import sys
import numpy as np
from mjx_s2r.robot.clock import RealClock
from mjx_s2r.robot.controller import ControllerConfig, run
from tests.robot.fakes import FakeDriver, FakePolicy, contract_for
clock = RealClock()
driver = FakeDriver(contract_for(), clock.now_s)
driver.on_stop = lambda: print("stopped", flush=True)
driver.on_write = lambda command: print("flying", flush=True)
run(driver, FakePolicy(driver.contract, lambda obs: (0, 0)), clock, ControllerConfig(20.0))
"""


def parts(**contract: object) -> tuple[FakeDriver, FakePolicy, VirtualClock]:
    """Returns a fake robot, a policy that asks for +0.05 rad a step, and a clock."""
    clock = VirtualClock(100.0)
    driver = FakeDriver(replace(contract_for(), **contract), clock.now_s)
    return driver, FakePolicy(driver.contract, lambda obs: (0.05, 0.05)), clock


class Button:
    """An emergency stop that is pressed when it is asked for the ``at``-th time."""

    name = "button"

    def __init__(self, at: int) -> None:
        """Takes when it is pressed."""
        self._left = at

    def pressed(self) -> bool:
        """Counts."""
        self._left -= 1
        return self._left <= 0


def test_an_emergency_stop_outlives_the_flight(tmp_path: Path) -> None:
    config = replace(CONFIG, latch=tmp_path / "robot.stop")
    driver, policy, clock = parts()
    summary = run(driver, policy, clock, config, stops=(Button(4),))
    assert (summary.reason, summary.phase, summary.steps) == ("estop", Phase.ESTOP, 3)
    assert [e.name for e in summary.stopped_by] == ["button"] and driver.calls[-1] == "stop"
    driver.calls.clear()
    with pytest.raises(LatchedError, match=r"latched .button.*delete"):
        run(driver, policy, clock, config)
    assert driver.calls == []
    assert config.latch is not None and reset_latch(config.latch)
    assert run(driver, policy, clock, config).reason == "duration"


@pytest.mark.parametrize("error", [OSError("bus lost"), KeyboardInterrupt()])
def test_an_emergency_stop_is_latched_though_the_driver_cannot_stop(
    error: BaseException, tmp_path: Path
) -> None:
    config = replace(CONFIG, latch=tmp_path / "robot.stop")
    driver, policy, clock = parts()

    def fail() -> None:
        raise error

    driver.on_stop = fail
    with pytest.raises(type(error)):
        run(driver, policy, clock, config, stops=(Button(4),))
    assert driver.calls.count("write") == 3 and driver.calls.count("stop") >= 2
    with pytest.raises(LatchedError, match=r"latched .button"):
        run(driver, policy, clock, config)


def test_a_stop_whose_press_kills_the_bus_is_latched(tmp_path: Path) -> None:
    config = replace(CONFIG, latch=tmp_path / "robot.stop")
    driver, policy, clock = parts()

    def lost(command: np.ndarray) -> None:
        raise OSError("bus lost")

    driver.on_write = lost
    with pytest.raises(OSError, match="bus lost"):
        run(driver, policy, clock, config, stops=(Button(2),))
    with pytest.raises(LatchedError, match=r"latched .button"):
        run(driver, policy, clock, config)


@pytest.mark.parametrize("at", [5, 98])
def test_an_emergency_stop_between_inner_commands_stops_at_once(at: int, tmp_path: Path) -> None:
    """Also in the last control period, whose end is the end of the flight."""
    driver, policy, clock = parts()
    config = replace(CONFIG, inner_hz=100.0, latch=tmp_path / "robot.stop")
    button = Button(at)
    pressed_s: list[float] = []

    class Timed:
        """The button, and when it was first felt."""

        name = "button"

        def pressed(self) -> bool:
            is_down = button.pressed()
            if is_down:
                pressed_s.append(clock.now_s())
            return is_down

    stopped_s: list[float] = []
    driver.on_stop = lambda: stopped_s.append(clock.now_s())
    summary = run(driver, policy, clock, config, stops=(Timed(),))
    assert summary.phase is Phase.ESTOP and (tmp_path / "robot.stop").exists()
    assert stopped_s[0] == pressed_s[0], "no deadline is waited for"
    assert len(driver.commands) == at - 1


def test_an_error_without_an_emergency_stop_latches_nothing(tmp_path: Path) -> None:
    config = replace(CONFIG, latch=tmp_path / "robot.stop")
    driver, policy, clock = parts()
    policy.answer = lambda obs: 1 / 0
    with pytest.raises(ZeroDivisionError):
        run(driver, policy, clock, config, stops=(Button(99),))
    assert not list(tmp_path.iterdir())


def test_a_first_picture_is_waited_for_and_nothing_is_sent() -> None:
    clock = VirtualClock(100.0)
    driver = FakeDriver(contract_for(cameras=True), clock.now_s)
    policy = FakePolicy(driver.contract, lambda obs: (0.0, 0.0))
    driver.on_read = lambda r: r if clock.now_s() > 100.35 else replace(r, images={})
    summary = run(driver, policy, clock, CONFIG)
    assert (summary.reason, summary.steps) == ("duration", 10)
    assert driver.calls[:6] == ["read"] * 5 + ["write"]
    driver.on_read = lambda r: replace(r, images={})
    driver.commands.clear()
    summary = run(driver, policy, clock, CONFIG)
    assert summary.reason == "guard" and not driver.commands and summary.duration_s < 6
    assert {e.code for e in summary.stopped_by} == {"missing", "check"}


def test_one_picture_of_the_future_does_not_blind_the_policy() -> None:
    clock = VirtualClock(100.0)
    driver = FakeDriver(contract_for(cameras=True), clock.now_s)
    policy = FakePolicy(driver.contract, lambda obs: (0.0, 0.0))
    seen: list[int] = []

    def look(obs: np.ndarray, images: Mapping[str, np.ndarray]) -> np.ndarray:
        seen.append(int(images["front"][0, 0, 0]))
        return np.zeros(2, np.float32)

    policy.act = look  # type: ignore[method-assign]

    def shows(reading: Reading) -> Reading:
        """Shows the number of the reading; the third picture is stamped an hour ahead."""
        number = driver.calls.count("read")
        images = {"front": np.full((8, 6, 3), number, np.uint8)}
        ahead_s = 3600.0 if number == 3 else 0.0
        return replace(reading, images=images, image_time_s={"front": reading.time_s + ahead_s})

    driver.on_read = shows
    tolerant = replace(CONFIG, safety=replace(PLAIN, tolerated_bad=1))
    summary = run(driver, policy, clock, tolerant)
    assert summary.events == {"future": 1} and summary.held == 1
    assert seen == [2, 4, 5, 6, 7, 8, 9, 10]


def test_pictures_that_never_change_hold() -> None:
    clock = VirtualClock(100.0)
    driver = FakeDriver(contract_for(cameras=True), clock.now_s)
    policy = FakePolicy(driver.contract, lambda obs: (0.0, 0.0))
    summary = run(driver, policy, clock, replace(CONFIG, duration_s=4.0))
    assert set(summary.events) == {"frozen"} and summary.held == summary.events["frozen"] > 15


def test_a_slow_policy_sends_nothing_old_and_does_not_fly_for_longer() -> None:
    driver, policy, clock = parts()
    policy.answer = lambda obs: (clock.advance(1.0), (0.1, 0.1))[1]
    summary = run(driver, policy, clock, replace(CONFIG, duration_s=3.0))
    assert summary.stopped_by[0].code == "stale" and summary.duration_s < 1.2
    np.testing.assert_array_equal(driver.commands, np.float32([[0.3, -0.2]]))


def test_deadlines_that_are_always_missed_end_the_flight() -> None:
    driver, policy, clock = parts()
    policy.answer = lambda obs: (clock.advance(0.15), (0.0, 0.0))[1]
    summary = run(driver, policy, clock, replace(CONFIG, duration_s=30.0))
    assert summary.stopped_by[0].code == "overrun" and summary.duration_s < 3.0


def test_a_blocked_read_stops_the_driver_while_it_blocks() -> None:
    clock = RealClock()
    driver = FakeDriver(contract_for("effort"), clock.now_s)
    policy = FakePolicy(driver.contract, lambda obs: (0.1, 0.1))
    stopped: list[float] = []
    driver.on_stop = lambda: stopped.append(clock.now_s())
    began: list[float] = []

    def block(reading: object) -> object:
        """Blocks the third time."""
        if driver.calls.count("read") == 3:
            began.append(clock.now_s())
            time.sleep(0.6)
        return reading

    driver.on_read = block  # type: ignore[assignment]
    summary = run(driver, policy, clock, replace(CONFIG, call_limit_s=0.1))
    assert "blocked" in [e.code for e in summary.stopped_by]
    assert stopped[0] - began[0] < 0.5 and driver.calls[-1] == "stop"


@pytest.mark.parametrize("kind", ["hold", "linear", "cubic"])
def test_inner_commands_arrive_where_the_policy_wants(kind: str) -> None:
    driver, policy, clock = parts()
    config = replace(CONFIG, inner_hz=100.0, interpolation=kind)  # type: ignore[arg-type]
    driver.on_read = lambda r: replace(r, time_s=clock.now_s())
    summary = run(driver, policy, clock, config)
    sent = np.array(driver.commands)
    assert sent.shape == (100, 2) and summary.overruns == 0
    ends = np.array([0.3, -0.2]) + 0.05 * np.arange(10)[:, None]
    np.testing.assert_allclose(sent[9::10], ends, atol=1e-6)
    steps = np.diff(sent[:, 0])
    assert steps.max() <= 2.0 / 100 + 1e-6  # max_rate, at the inner rate
    if kind == "cubic":  # the slope is continuous: no jump of the speed like that of a line
        assert np.abs(np.diff(steps)).max() < 0.003
    with pytest.raises(ContractError, match="multiple"):
        run(driver, policy, clock, replace(CONFIG, inner_hz=25.0))


class Pausing(VirtualClock):
    """A clock whose process stands still once, within a wait, as by SIGSTOP or a full memory."""

    def __init__(self, start_s: float, at: int, pause_s: float) -> None:
        """Takes the number of the wait and the time."""
        super().__init__(start_s)
        self._left, self._pause_s = at, pause_s

    def wait(self) -> float:
        """Waits, and stands still afterwards if it is time: the wait itself notices nothing."""
        late_s = super().wait()
        self._left -= 1
        if self._left == 0:
            self.advance(self._pause_s)
        return late_s


@pytest.mark.parametrize(("pause_s", "phase"), [(0.3, Phase.PASSIVE), (1.5, Phase.DAMP)])
@pytest.mark.parametrize("kind", ["hold", "linear", "cubic"])
def test_no_inner_command_follows_an_old_reading_after_a_pause(
    pause_s: float, phase: Phase, kind: str, tmp_path: Path
) -> None:
    """What the policy wanted before the pause moves no joint after it, in the fifth period."""
    clock = Pausing(100.0, 43, pause_s)
    driver = FakeDriver(contract_for(), clock.now_s)
    policy = FakePolicy(driver.contract, lambda obs: (0.05, 0.05))
    sent: list[tuple[float, float, float]] = []  # time, age of the reading, command
    read_s = [0.0]
    driver.on_read = lambda r: (read_s.__setitem__(0, r.time_s), r)[1]
    driver.on_write = lambda x: sent.append((clock.now_s(), clock.now_s() - read_s[0], x[0]))
    config = replace(CONFIG, inner_hz=100.0, interpolation=kind)  # type: ignore[arg-type]
    with FlightLog(tmp_path / "a.log", driver.contract, "fake", config.to_json()) as log:
        summary = run(driver, policy, clock, config, log)
    before, after = sent[42], [x for x in sent[43:] if x[1] > 0.2]
    assert before[1] < 0.1
    assert {x[2] for x in after} <= {before[2]}
    assert summary.phase is phase and summary.events["stale"] == 1
    assert (summary.held, bool(after)) == ((1, True) if phase is Phase.PASSIVE else (0, False))
    report = replay(read(tmp_path / "a.log"), policy)
    assert report.exact and report.replayed > 4, report.describe()


def test_a_reading_may_age_by_the_period_that_its_answer_is_for() -> None:
    """At the end of a period it is older than what holds, by plan; nothing is held for that."""
    driver, policy, clock = parts()
    driver.on_read = lambda r: replace(r, time_s=r.time_s - 0.15)
    summary = run(driver, policy, clock, replace(CONFIG, inner_hz=100.0))
    assert (summary.held, summary.events.get("stale")) == (0, None)
    assert len(driver.commands) == 100


def test_a_point_stays_above_the_floor() -> None:
    """A bar of 1 m that turns about y: its end is at -sin(a)."""
    links = (
        ChainLink("bar", -1, (0.0,) * 3, (1.0, 0.0, 0.0, 0.0), "hinge", "a", (0.0, 1.0, 0.0)),
        ChainLink("tip", 0, (1.0, 0.0, 0.0), (1.0, 0.0, 0.0, 0.0)),
    )
    chain = Chain(("a", "b"), links, (ChainPoint("tip", 1, (0.0,) * 3, 0.01),))
    driver, policy, clock = parts(chain=chain)
    driver.position = np.zeros(2)
    config = replace(CONFIG, duration_s=3.0, safety=replace(PLAIN, floor=-0.5))
    summary = run(driver, policy, clock, config)
    lowest = -np.sin(np.array(driver.commands, float)[:, 0]).max() - 0.01
    assert -0.5 - 1e-6 <= lowest < -0.49 and summary.events["workspace"] > 5
    with pytest.raises(ContractError, match="kinematic tree"):
        run(*parts(), config)


@pytest.mark.parametrize(
    ("signals", "code"),
    [
        ({"temperature": np.array([20.0, 90.0])}, "temperature"),
        ({"gravity": np.array([1.0, 0.0, 0.0])}, "tilt"),
        ({"joint_effort": np.array([0.0, 9.0])}, "load"),
        ({"temperature": "hot"}, "type"),
        ({"joint_vel": np.array([0.0, 15.0])}, "speed"),
    ],
)
def test_what_the_robot_reports_is_judged(signals: dict[str, object], code: str) -> None:
    driver, policy, clock = parts()
    calls = driver.calls
    driver.on_read = lambda r: (
        r if calls.count("read") < 4 else replace(r, signals={**r.signals, **signals})
    )
    summary = run(driver, policy, clock, CONFIG)
    assert code in summary.events and len(policy.seen) == 2


def test_readings_unlike_training_are_said_or_held() -> None:
    contract = contract_for()
    seen = replace(contract.signals[0], seen_low=(-0.4, -0.4), seen_high=(0.4, 0.4))
    for unseen, held in (("ignore", 0), ("warn", 0), ("hold", 5)):
        driver, policy, clock = parts(signals=(seen, *contract.signals[1:]))
        safety = replace(PLAIN, unseen=unseen)  # type: ignore[arg-type]
        summary = run(driver, policy, clock, replace(CONFIG, safety=safety))
        assert (summary.events.get("unseen", 0) > 0) == (unseen != "ignore")
        assert (summary.held > 0) == (held > 0)


@pytest.mark.parametrize(
    ("moved", "first"),
    [
        (0.0, "last command"),
        (0.004, "last command"),  # noise
        (-0.06, "pose"),  # it sank when the driver was stopped
        (0.06, "pose"),  # a person moved it towards the last command, or beyond it
        (0.2, "pose"),
        (-0.2, "pose"),  # within the servo's reach of 0.3 rad
        (-1.0, "pose"),
    ],
)
def test_the_next_flight_begins_at_the_last_command_where_nothing_moved(
    moved: float, first: str
) -> None:
    """A loaded arm keeps what holds it; one that was moved meanwhile does not leap back."""
    driver, policy, clock = parts()
    shift = np.array([-0.05, -0.05])  # the arm sags below its command
    driver.on_read = lambda r: replace(
        r, signals={**r.signals, "joint_pos": r.signals["joint_pos"] + shift}
    )
    policy.answer = lambda obs: (0.0, 0.0)
    before = run(driver, policy, clock, CONFIG)
    assert before.command is not None and before.standing is not None
    np.testing.assert_allclose(before.standing.position, before.command + shift, atol=1e-6)
    shift[0] += moved  # joint a alone
    run(driver, policy, clock, replace(CONFIG, duration_s=0.1), start=before.standing)
    wanted = {"last command": before.command, "pose": before.command + shift}[first]
    np.testing.assert_allclose(driver.commands[-1][0], wanted[0], atol=1e-6)
    assert driver.commands[-1][1] == before.command[1]


@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP"])
def test_a_signal_stops_the_robot_and_then_ends_the_process(name: str) -> None:
    child = subprocess.Popen([sys.executable, "-c", CHILD], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None and child.stdout.readline() == "flying\n"
    child.send_signal(getattr(signal, name))
    said, _ = child.communicate(timeout=30)
    assert said.endswith("stopped\n") and child.returncode == -getattr(signal, name)


@pytest.mark.parametrize(
    "change", [{"inner_hz": -1.0}, {"overrun_limit_s": 0.0}, {"interpolation": "spline"}]
)
def test_settings_of_a_run_are_checked(change: dict[str, object]) -> None:
    with pytest.raises(ParamError, match=next(iter(change))):
        ControllerConfig(**change)  # type: ignore[arg-type]
