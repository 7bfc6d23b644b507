"""The loop: nothing unchecked is sent, and whatever happens the driver is stopped last."""

import signal
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import FrameType

import numpy as np
import pytest

from mjx_s2r.contract import ContractError, PolicyContract
from mjx_s2r.robot.clock import RealClock, VirtualClock
from mjx_s2r.robot.controller import ControllerConfig, FlightSummary, _fly, homing, run
from mjx_s2r.robot.driver import Reading
from mjx_s2r.robot.log import FlightLog, read
from mjx_s2r.robot.policy import Policy
from mjx_s2r.robot.safety import Mode, SafetyConfig
from mjx_s2r.robot.terminations import Terminated
from tests.robot.fakes import (
    FakeDriver,
    FakePolicy,
    contract_for,
    with_home,
    with_joints,
    write_onnx,
)

CONFIG = ControllerConfig(duration_s=1.0, safety=SafetyConfig(ramp_s=0.0))


def parts(
    contract: PolicyContract | None = None, answer: Callable[[np.ndarray], object] | None = None
) -> tuple[FakeDriver, FakePolicy, VirtualClock]:
    """Returns a fake robot, a policy that asks for +0.05 rad a step, and a clock."""
    clock = VirtualClock(100.0)
    contract = contract or contract_for(cameras=True)
    driver = FakeDriver(contract, clock.now_s)
    return driver, FakePolicy(contract, answer or (lambda obs: (0.05, 0.05))), clock


def fails_at(count: int, error: BaseException) -> Callable[[object], object]:
    """Returns a hook that raises at its ``count``-th call and passes its argument on before."""
    calls = iter(range(1, count + 1))

    def hook(value: object) -> object:
        """Counts and raises."""
        if next(calls) == count:
            raise error
        return value

    return hook


def test_commands_start_where_the_robot_is(tmp_path: Path) -> None:
    driver, policy, clock = parts()
    with FlightLog(tmp_path / "a.log", driver.contract, "fake", CONFIG.to_json()) as log:
        summary = run(driver, policy, clock, CONFIG, log)
    expected = np.array([0.3, -0.2]) + 0.05 * np.arange(10)[:, None]
    np.testing.assert_allclose(driver.commands, expected, atol=1e-6)
    assert (summary.reason, summary.steps, summary.held, summary.overruns) == ("duration", 10, 0, 0)
    assert summary.duration_s == pytest.approx(1.0)
    flight = read(tmp_path / "a.log")
    np.testing.assert_allclose(flight.commands, expected, atol=1e-6)
    np.testing.assert_allclose(flight.time_s, 100 + 0.1 * np.arange(10))
    assert flight.config["safety"]["ramp_s"] == 0.0
    assert driver.calls == ["read", "write"] * 10 + ["stop"]


def test_policy_sees_the_command_that_was_sent() -> None:
    driver, policy, clock = parts(answer=lambda obs: (9.0, 0.0))  # far beyond the rate limit
    run(driver, policy, clock, CONFIG)
    seen = np.array(policy.seen)[:, 4:6]
    np.testing.assert_array_equal(driver.commands[0], np.float32([0.3, -0.2]))
    np.testing.assert_array_equal(seen, np.array(driver.commands)[:-1])


def test_command_is_the_controllers_not_the_drivers() -> None:
    driver, policy, clock = parts()
    driver.on_read = lambda r: replace(r, signals=r.signals | {"command": np.full(2, 7.0)})
    run(driver, policy, clock, CONFIG)
    assert np.abs(np.array(policy.seen)[:, 4:6]).max() < 1.0


def test_observation_is_offset_and_scaled_in_order() -> None:
    driver, policy, clock = parts()
    driver.on_read = lambda r: replace(r, signals=r.signals | {"joint_vel": np.array([1.0, 2.0])})
    run(driver, policy, clock, replace(CONFIG, duration_s=0.2))
    np.testing.assert_allclose(policy.seen[0], [0.3, -0.2, 0.5, 1.0, 0.3, -0.2], atol=1e-6)


@pytest.mark.parametrize("where", ["on_read", "on_write", "answer"])
@pytest.mark.parametrize("error", [RuntimeError("bus lost"), KeyboardInterrupt(), SystemExit(1)])
def test_exceptions_stop_the_driver(where: str, error: BaseException, tmp_path: Path) -> None:
    driver, policy, clock = parts()
    hook = fails_at(3, error)
    if where == "answer":
        policy.answer = lambda obs: (hook(obs), (0.05, 0.05))[1]
    else:
        setattr(driver, where, hook)
    with (
        FlightLog(tmp_path / "a.log", driver.contract, "fake") as log,
        pytest.raises(type(error)) as caught,
    ):
        run(driver, policy, clock, CONFIG, log)
    assert caught.value is error
    assert len(driver.commands) == (3 if where == "answer" else 2)  # the first is the pose
    assert driver.calls[-1] == "stop" and driver.calls.count("stop") == 1
    last = read(tmp_path / "a.log").steps[-1]
    assert last.mode == Mode.STOP and last.command is None
    assert last.events[0].code == "exception" and type(error).__name__ in last.events[0].name


@pytest.mark.usefixtures("plain_signals")
def test_a_real_ctrl_c_stops_the_driver() -> None:
    driver, policy, clock = parts()
    driver.on_write = lambda command: (
        signal.raise_signal(signal.SIGINT) if driver.calls.count("write") == 3 else None
    )
    with pytest.raises(KeyboardInterrupt):
        run(driver, policy, clock, CONFIG)
    assert driver.calls[-1] == "stop" and driver.calls.count("write") == 3


def test_ctrl_c_while_stopping_stops_again() -> None:
    driver, policy, clock = parts()
    driver.on_read = fails_at(2, RuntimeError("bus lost"))
    hook = fails_at(1, KeyboardInterrupt())
    driver.on_stop = lambda: hook(None) if driver.calls.count("stop") == 1 else None
    with pytest.raises(KeyboardInterrupt):
        run(driver, policy, clock, CONFIG)
    assert driver.calls[-2:] == ["stop", "stop"]


@pytest.mark.usefixtures("plain_signals")
@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP"])
@pytest.mark.parametrize("first", [None, KeyboardInterrupt(), RuntimeError("bus lost")])
def test_a_signal_while_stopping_stops_again(
    name: str, first: BaseException | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the normal end of a flight, after a Ctrl-C and after an error: the last stop is whole."""
    monkeypatch.setattr("mjx_s2r.robot.terminations._die_of", lambda *a: None)  # of the tests
    driver, policy, clock = parts()
    if first is not None:
        driver.on_read = fails_at(2, first)
    whole: list[bool] = []

    def stop() -> None:
        """Gets the signal in the middle of the first stop."""
        whole.append(False)
        if len(whole) == 1:
            signal.raise_signal(getattr(signal, name))
        whole[-1] = True

    driver.on_stop = stop
    with pytest.raises(Terminated, match=name):
        run(driver, policy, clock, CONFIG)
    assert whole[0] is False and whole[-1] is True


def test_an_interrupt_at_any_line_around_the_loop_stops_the_driver() -> None:
    """Also between the last step and the stop at the end of a flight."""
    lines, number = 0, 0

    def trace(frame: FrameType, event: str, argument: object) -> object:
        """Interrupts at one line of the function around the loop."""
        nonlocal lines
        if frame.f_code is not _fly.__code__:
            return None
        lines += event == "line"
        if lines == number:
            raise KeyboardInterrupt
        return trace

    while lines >= number:
        driver, policy, clock = parts()
        lines, number = 0, number + 1
        before = sys.gettrace()
        sys.settrace(trace)
        try:
            run(driver, policy, clock, replace(CONFIG, duration_s=0.2))
        except KeyboardInterrupt:
            pass
        finally:
            sys.settrace(before)
        assert "write" not in driver.calls or driver.calls[-1] == "stop", f"line {number}"
    assert number > 10


def test_failing_log_stops_the_driver(tmp_path: Path) -> None:
    driver, policy, clock = parts()
    log = FlightLog(tmp_path / "a.log", driver.contract, "fake")
    driver.on_read = lambda r: (log.close() if len(driver.calls) > 4 else None, r)[1]
    with pytest.raises(ValueError, match="closed") as caught:
        run(driver, policy, clock, CONFIG, log)
    assert driver.calls[-1] == "stop"
    assert "the flight log failed, too" in caught.value.__notes__[0]


def test_failing_until_stops_the_driver() -> None:
    driver, policy, clock = parts()
    with pytest.raises(ZeroDivisionError):
        run(driver, policy, clock, CONFIG, until=lambda reading: 1 / 0 > 0)
    assert driver.calls == ["read", "stop"]


def test_guard_stop_ends_the_run(tmp_path: Path) -> None:
    driver, policy, clock = parts()
    bad = {"joint_pos": np.array([np.nan, 0.0])}
    driver.on_read = lambda r: (
        r if driver.calls.count("read") < 4 else replace(r, signals=r.signals | bad)
    )
    with FlightLog(tmp_path / "a.log", driver.contract, "fake") as log:
        summary = run(driver, policy, clock, CONFIG, log)
    assert (summary.reason, summary.steps, len(driver.commands)) == ("guard", 3, 3)
    assert [(e.code, e.name) for e in summary.stopped_by] == [("nan", "joint_pos")]
    assert summary.events == {"nan": 1}
    assert "write" not in driver.calls[driver.calls.index("stop") :]
    assert len(policy.seen) == 2  # the policy is not asked about a bad reading
    assert read(tmp_path / "a.log").steps[-1].mode == Mode.STOP


@pytest.mark.parametrize(
    "spoil",
    [
        lambda r: replace(r, signals=r.signals | {"joint_pos": np.array([np.nan, 0.0])}),
        lambda r: replace(r, time_s=r.time_s - 0.3),
    ],
)
def test_no_command_without_a_good_first_reading(spoil: Callable[[Reading], Reading]) -> None:
    driver, policy, clock = parts()
    driver.on_read = spoil
    summary = run(driver, policy, clock, CONFIG)
    assert summary.reason == "guard" and summary.steps == 0 and summary.stopped_by
    assert not driver.commands and not policy.seen and driver.calls[-1] == "stop"


def test_nan_action_is_not_sent() -> None:
    driver, policy, clock = parts(answer=lambda obs: (np.nan, 0.0))
    assert run(driver, policy, clock, CONFIG).stopped_by[0].code == "output"
    np.testing.assert_array_equal(driver.commands, np.float32([[0.3, -0.2]]))


def test_stale_image_holds_the_last_command() -> None:
    driver, policy, clock = parts()
    frozen_s = clock.now_s()
    driver.on_read = lambda r: replace(r, image_time_s={"front": frozen_s})
    summary = run(driver, policy, clock, CONFIG)
    assert summary.held == 4 and summary.events == {"stale": 4}  # older than 5 of 10 periods
    np.testing.assert_array_equal(driver.commands[-1], driver.commands[5])
    assert len(policy.seen) == 5


def test_until_ends_before_the_next_command() -> None:
    driver, policy, clock = parts()
    summary = run(
        driver, policy, clock, CONFIG, until=lambda r: bool(r.signals["joint_pos"][0] > 0.42)
    )
    assert (summary.reason, summary.steps) == ("until", 4)
    assert driver.calls[-2:] == ["read", "stop"]


def test_overruns_are_counted_and_logged(tmp_path: Path) -> None:
    driver, policy, clock = parts()
    policy.answer = _slow_third(policy, clock)
    with FlightLog(tmp_path / "a.log", driver.contract, "fake") as log:
        summary = run(driver, policy, clock, CONFIG, log)
    assert summary.overruns == 1 and summary.worst_late_s == pytest.approx(0.05)
    flight = read(tmp_path / "a.log")
    assert [s.step for s in flight.steps if s.events] == [4]
    assert flight.steps[4].events[0].code == "overrun"
    assert flight.steps[3].busy_s == pytest.approx(0.15)


def _slow_third(policy: FakePolicy, clock: VirtualClock) -> Callable[[np.ndarray], object]:
    """Returns an answer that takes 0.15 s the third time."""

    def answer(obs: np.ndarray) -> object:
        """Waits and answers."""
        clock.advance(0.15 if len(policy.seen) == 3 else 0.0)
        return (0.0, 0.0)

    return answer


def test_wrong_robot_is_never_commanded() -> None:
    driver, policy, clock = parts()
    policy.contract = with_joints(policy.contract, ("b", "a"))
    with pytest.raises(ContractError, match="joint order"):
        run(driver, policy, clock, CONFIG)
    assert driver.calls == []


def test_homing_goes_to_the_pose_at_the_allowed_speed() -> None:
    driver, _, clock = parts()
    summary = run(driver, homing(with_home(driver.contract, (0.9, -0.2))), clock, CONFIG)
    np.testing.assert_allclose(
        np.array(driver.commands)[:5, 0], [0.3, 0.5, 0.7, 0.9, 0.9], atol=1e-6
    )
    np.testing.assert_allclose(driver.position, (0.9, -0.2), atol=1e-6)
    assert summary.events == {"effort": 2, "rate": 2}
    with pytest.raises(ContractError, match="effort mode"):
        homing(contract_for("effort"))


def test_onnx_policy_in_real_time(tmp_path: Path) -> None:
    contract = replace(contract_for(cameras=True), control_hz=100.0)
    policy = Policy.load(write_onnx(tmp_path / "p.onnx", contract))
    clock = RealClock()
    driver = FakeDriver(contract, clock.now_s)
    summary: FlightSummary = run(driver, policy, clock, replace(CONFIG, duration_s=0.2))
    assert summary.reason == "duration" and 0 < summary.steps <= 20
    assert summary.duration_s >= 0.2 - 1e-6


@pytest.mark.parametrize("duration_s", [0.0, -1.0, float("inf"), float("nan")])
def test_duration_is_checked(duration_s: float) -> None:
    with pytest.raises(ValueError, match="duration_s"):
        ControllerConfig(duration_s=duration_s)
