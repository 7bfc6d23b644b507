"""The watchdog's check of commands: every legal motion passes, a jump never."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mjx_s2r.robot.clock import VirtualClock
from mjx_s2r.robot.controller import ControllerConfig, run
from mjx_s2r.robot.driver import DriverInfo, Reading
from mjx_s2r.robot.log.reader import data_sheet_of
from mjx_s2r.robot.safety import SafetyConfig
from mjx_s2r.robot.watchdog.judge import BURST, CommandJudge
from tests.robot.fakes import FakeDriver, FakePolicy, contract_for, info_for

CONTRACT = contract_for()
RATE = 2.0  # rad/s, of the contract
PERIOD_S = 1 / CONTRACT.control_hz


def judge() -> CommandJudge:
    """Returns a judge of two joints."""
    return CommandJudge(CONTRACT, info_for(CONTRACT))


@settings(max_examples=25, deadline=None)
@given(
    moves=st.lists(
        st.tuples(st.floats(-1, 1), st.floats(0, 1)),  # share of a legal step, jitter of its time
        min_size=1,
        max_size=40,
    )
)
def test_what_a_guard_sends_passes_with_jitter(moves: list[tuple[float, float]]) -> None:
    one, command = judge(), np.zeros(2)
    for index, (share, jitter) in enumerate(moves):
        step = np.clip(command + share * RATE * PERIOD_S, -1, 1)
        sent_s = (index + 0.9 * jitter) * PERIOD_S
        assert one.judge(step, sent_s, np.zeros(2)) == ""
        command = step


@settings(max_examples=25, deadline=None)
@given(wishes=st.lists(st.floats(-1, 1), min_size=2, max_size=30), dt_s=st.floats(1e-4, 0.1))
def test_what_passes_is_never_faster_than_the_robot(wishes: list[float], dt_s: float) -> None:
    """Over any stretch of time, motion is at most max_rate times it, and the burst."""
    one = judge()
    passed = [(0.0, 0.0)]
    one.judge(np.zeros(2), 0.0, np.zeros(2))
    for index, wish in enumerate(wishes, 1):
        if one.judge(np.array([wish, 0.0]), index * dt_s, np.zeros(2)) == "":
            passed.append((index * dt_s, wish))
    times, commands = np.array(passed).T
    travel = np.concatenate([[0.0], np.cumsum(np.abs(np.diff(commands)))])
    for start in range(len(times)):
        span_s = times[start:] - times[start]
        most = RATE * (span_s + BURST * PERIOD_S) * 1.01 + 1e-4
        assert np.all(travel[start:] - travel[start] <= most)


def test_a_robot_that_rests_outside_may_stay_and_come_back() -> None:
    one, outside = judge(), np.array([1.3, 0.0])
    assert one.judge(outside, 0.0, outside) == ""
    assert one.judge(outside, 0.1, outside) == ""
    assert one.judge(np.array([1.2, 0.0]), 0.2, outside) == ""
    assert "outside" in one.judge(np.array([1.4, 0.0]), 0.3, np.array([1.2, 0.0]))
    assert "jumps from where" in judge().judge(np.array([0.9, 0.0]), 0.0, np.zeros(2))


@pytest.mark.parametrize("unknown", [False, True])
def test_a_robot_that_was_moved_while_it_stood_is_not_thrown_back(unknown: bool) -> None:
    """A servo of 0.9 N m and 1.5 N m/rad sags by 0.6 rad at most; by hand it goes anywhere.

    Of one whose gain is unknown 0.2 s at the top speed of 0.5 rad/s are believed.
    """
    action = replace(CONTRACT.action, kp=() if unknown else (1.5, 1.5), max_rate=(0.5, 0.5))
    contract = replace(CONTRACT, action=replace(action, max_effort=(0.9, 0.9)))
    last, near = np.array([0.7, 0.0]), 2 * PERIOD_S * 0.5 + 0.05
    most = max(near, 0.1 if unknown else 0.6)
    for off in (0.0, near - 0.01, most - 0.01, most + 0.01, -most - 0.01, 1.5):
        one, here = CommandJudge(contract, info_for(contract)), last - [off, 0.0]
        assert one.judge(last, 0.0, last) == ""
        one.rest()
        said = one.judge(last, 1.0, here)
        assert ("'a' jumps from where the joint is" in said) == (abs(off) > most), off
        one.rest()
        assert one.judge(here, 2.0, here) == ""  # where it is, it may begin
        one.rest()
        back = last - [2 * near, 0.0]  # nothing measured: only what it was told last is known
        assert (one.judge(back, 3.0, None) == "") == bool(np.all(np.abs(back - here) <= near)), off


@pytest.mark.parametrize("effort", [-3.1, 3.1])
def test_efforts_have_limits_and_may_jump(effort: float) -> None:
    contract = contract_for("effort")
    one = CommandJudge(contract, info_for(contract))
    assert one.judge(np.array([-1.0, 1.0]), 0.0, None) == ""
    assert one.judge(np.array([1.0, -1.0]), 0.01, None) == ""
    assert "'b' is outside" in one.judge(np.array([0.0, effort]), 0.02, None)


class Motors(FakeDriver):
    """A robot that takes efforts, and whose data sheet knows how fast its joints turn."""

    def describe(self) -> DriverInfo:
        """Returns the data sheet."""
        return replace(info_for(self.contract), max_rate=(3.0, 3.0))


@pytest.mark.parametrize("slew", [np.inf, 15.0])  # N m/s, of the contract
def test_a_brake_is_as_quick_as_the_contract_allows_and_a_hold_is_no_jump(slew: float) -> None:
    """The speed of a joint, 3 rad/s here, limits no torque; without a reading no torque is sent."""
    plain = contract_for("effort")
    contract = replace(plain, action=replace(plain.action, max_rate=(slew, slew)))
    clock = VirtualClock(100.0)
    driver = Motors(contract, clock.now_s)
    one = CommandJudge(contract, driver.describe())
    said: list[str] = []
    driver.on_write = lambda c: said.append(one.judge(c.astype(float), clock.now_s(), None))

    def held_up(reading: Reading) -> Reading:
        late_s = 0.3 if driver.calls.count("read") == 20 else 0.0
        still = {**reading.signals, "joint_pos": np.zeros(2)}
        return replace(reading, time_s=reading.time_s - late_s, signals=still)

    driver.on_read = held_up
    policy = FakePolicy(contract, lambda _: np.full(2, 1.0 if len(policy.seen) <= 8 else -1.0))
    safety = SafetyConfig(ramp_s=0.0)
    summary = run(driver, policy, clock, ControllerConfig(duration_s=3.0, safety=safety))
    sent = np.array(driver.commands)[:, 0]
    assert set(said) == {""} and summary.held == 1
    back = sent[int(np.argmax(np.diff(sent) < 0)) + 1]  # of the first command after the reversal
    assert back == pytest.approx(max(-1.0, 1.0 - slew / contract.control_hz))
    assert sent[18:21].tolist() == [-1.0, 0.0, -1.0]
    assert data_sheet_of(contract, "old log").max_rate == (np.inf, np.inf)
