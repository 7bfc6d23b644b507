"""A replay of a log is exact with the policy that flew, and names what differs with another."""

from dataclasses import replace

import numpy as np
import pytest

from mjx_s2r.contract import ContractError
from mjx_s2r.robot.clock import VirtualClock
from mjx_s2r.robot.controller import ControllerConfig, run
from mjx_s2r.robot.driver import Driver, Reading
from mjx_s2r.robot.drivers.replay import ReplayDriver
from mjx_s2r.robot.log import Flight, FlightLog, read
from mjx_s2r.robot.policy import Policy
from mjx_s2r.robot.replay import replay
from mjx_s2r.robot.safety import SafetyConfig
from tests.robot.fakes import (
    FakeDriver,
    FakePolicy,
    contract_for,
    info_for,
    with_joints,
    write_onnx,
)

CONTRACT = contract_for(cameras=True)
CONFIG = ControllerConfig(3.0, SafetyConfig(ramp_s=0.5, soft_limit=0.9))


@pytest.fixture(scope="module")
def student(tmp_path_factory: pytest.TempPathFactory) -> Policy:
    """A policy of one camera and two joints."""
    return Policy.load(write_onnx(tmp_path_factory.mktemp("policy") / "a.onnx", CONTRACT))


@pytest.fixture(scope="module")
def flight(student: Policy, tmp_path_factory: pytest.TempPathFactory) -> Flight:
    """A flight with pictures that change, and limits that are met."""
    clock, rng = VirtualClock(), np.random.default_rng(0)
    driver = FakeDriver(CONTRACT, clock.now_s)
    driver.position = np.array([0.9, -0.9])

    def with_picture(reading: Reading) -> Reading:
        return replace(reading, images={"front": rng.integers(0, 256, (8, 6, 3), np.uint8)})

    driver.on_read = with_picture
    path = tmp_path_factory.mktemp("log") / "a.log"
    sheet = info_for(CONTRACT)
    with FlightLog(path, CONTRACT, "fake", CONFIG.to_json(), driver=sheet, may_drop=False) as log:
        run(driver, student, clock, CONFIG, log)
    return read(path)


def test_the_same_policy_gives_the_same_bits(flight: Flight, student: Policy) -> None:
    report = replay(flight, student)
    assert report.exact, report.describe()
    assert report.replayed == report.steps == len(flight.steps) and report.asked >= 29
    assert not report.notes and "every bit is the same" in report.describe()
    assert any(event.code == "rate" for step in flight.steps for event in step.events)


def test_another_policy_is_told_apart(flight: Flight) -> None:
    other = FakePolicy(CONTRACT, lambda obs: np.zeros(2))
    report = replay(flight, other)
    (output,) = [d for d in report.differences if d.what == "output"]
    asked = [s for s in flight.steps if s.output is not None]
    largest = max(float(np.abs(s.output).max()) for s in asked if s.output is not None)
    assert output.count == len(asked) and output.largest == pytest.approx(largest)
    assert output.step == asked[0].step and output.item in ("a", "b")
    assert not [d for d in report.differences if d.what == "observation"]
    assert "output:" in report.describe() and not report.to_json()["exact"]


def test_one_changed_reading_is_one_difference(flight: Flight, student: Policy) -> None:
    steps = list(flight.steps)
    reading = steps[12].reading
    assert reading is not None
    moved = reading.signals | {"joint_vel": np.array([0.0, 0.25])}
    steps[12] = replace(steps[12], reading=replace(reading, signals=moved))
    report = replay(replace(flight, steps=steps), student)  # type: ignore[arg-type]
    (seen,) = [d for d in report.differences if d.what == "observation"]
    assert (seen.count, seen.step, seen.item) == (1, 12, "joint_vel[1]")
    assert seen.largest == pytest.approx(0.125)  # the contract's scale is a half


def test_other_limits_are_told_apart(flight: Flight, student: Policy) -> None:
    body = CONFIG.to_json()
    slow = body | {"safety": body["safety"] | {"speed_fraction": 0.1, "of_before": 1}}
    report = replay(replace(flight, config=slow), student)
    assert {d.what for d in report.differences} >= {"command", "events"}
    assert "of_before" in report.notes[0]
    assert len(replay(replace(flight, config={}, driver=None), student).notes) == 2


def test_a_policy_that_does_not_fit_is_refused(flight: Flight) -> None:
    with pytest.raises(ContractError, match="the log's joints"):
        replay(flight, FakePolicy(with_joints(CONTRACT, ("a", "c")), lambda obs: np.zeros(2)))
    with pytest.raises(ContractError, match="the log's cameras"):
        replay(flight, FakePolicy(contract_for(), lambda obs: np.zeros(2)))


def test_the_driver_gives_the_readings_at_their_times(flight: Flight) -> None:
    clock = VirtualClock(50.0)
    driver: Driver = ReplayDriver(flight, clock)
    with pytest.raises(ContractError, match="call connect"):
        driver.read()
    driver.connect()
    steps = list(flight.steps)
    for index in (0, 1, 5, 5, 20):
        clock.advance(50.0 + steps[index].time_s - steps[0].time_s - clock.now_s())
        got, logged = driver.read(), steps[index].reading
        assert logged is not None
        np.testing.assert_array_equal(got.signals["joint_pos"], logged.signals["joint_pos"])
        np.testing.assert_array_equal(got.images["front"], logged.images["front"])
        assert got.time_s == pytest.approx(50.0 + logged.time_s - steps[0].time_s)
    clock.advance(1000.0)
    last = driver.read()
    assert isinstance(driver, ReplayDriver)
    assert last.time_s < clock.now_s() - 900  # an old reading, on which the guard stops
    with pytest.raises(ContractError, match="cannot move"):
        driver.write(np.zeros(2))
    driver.stop()
    driver.close()
    assert driver.describe() == info_for(CONTRACT)


def test_a_dry_run_flies_the_log(flight: Flight, student: Policy) -> None:
    clock = VirtualClock()
    driver = ReplayDriver(flight, clock, dry_run=True)
    driver.connect()
    summary = run(driver, student, clock, replace(CONFIG, duration_s=1.0))
    assert summary.steps == len(driver.commands) >= 9
