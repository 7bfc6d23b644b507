"""Every rule of the guard, one row each: what was wrong, what the guard said and what it sent."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from mjx_s2r.contract import ContractError, PolicyContract
from mjx_s2r.robot.decisions import Pilot
from mjx_s2r.robot.driver import Reading
from mjx_s2r.robot.safety import Decision, Event, Guard, GuardState, Mode, SafetyConfig
from tests.robot.fakes import CAMERA, JOINTS, FakePolicy, contract_for, info_for, reading_at

CONTRACT = contract_for(cameras=True)
NOW_S = 10.0
PLAIN = SafetyConfig(ramp_s=0.0)


def guard_for(
    config: SafetyConfig = PLAIN, contract: PolicyContract = CONTRACT, **info: Any
) -> Guard:
    """Returns a guard on the fake robot; ``info`` replaces parts of its data sheet."""
    return Guard.build(config, contract, replace(info_for(contract), **info))


def once(
    guard: Guard, reading: Reading, output: Any = (0.0, 0.0), state: GuardState | None = None
) -> tuple[Decision, GuardState]:
    """Runs one inspection and review from rest at zero."""
    state = state or guard.start(np.zeros(2))
    found = guard.inspect(reading, NOW_S)
    answer = None if output is None else np.asarray(output, np.float32)
    return guard.review(state, found, reading, answer)


GOOD = reading_at(NOW_S, CONTRACT)
BLANK = np.zeros((CAMERA.height, CAMERA.width, 3), np.uint8)


def test_a_joint_far_beyond_its_own_end_stops_by_name() -> None:
    """The fake's joints end at 2 rad; a tenth of the range beyond is still believed."""
    (event,) = guard_for().inspect(reading_at(NOW_S, CONTRACT, joint_pos=[0.1, 2.45]), NOW_S).events
    assert (event.code, event.name, event.mode) == ("range", JOINTS[1], Mode.STOP)
    assert event.value == pytest.approx(2.45) and event.limit == pytest.approx(2.4)
    near = reading_at(NOW_S, CONTRACT, joint_pos=[-2.35, 2.35])
    assert not guard_for().inspect(near, NOW_S).events
    endless = guard_for(low=(-np.inf,) * 2, high=(np.inf,) * 2)
    assert not endless.inspect(reading_at(NOW_S, CONTRACT, joint_pos=[2.9, 2.9]), NOW_S).events


@pytest.mark.parametrize(("pose", "first"), [(2.001, 2.0), (2.3, 2.3), (1.2, 1.2)])
def test_the_first_command_lies_inside_the_ends_where_that_is_no_jump(
    pose: float, first: float
) -> None:
    pilot = Pilot(guard_for(), FakePolicy(CONTRACT, np.zeros(2)))
    found = pilot._pose(reading_at(NOW_S, CONTRACT, joint_pos=[pose, -pose]))
    np.testing.assert_allclose(found, [first, -first], atol=1e-6)


@pytest.mark.parametrize(
    ("reading", "code", "name", "mode"),
    [
        (replace(GOOD, signals={"joint_pos": np.zeros(2)}), "missing", "joint_vel", Mode.STOP),
        (reading_at(NOW_S, CONTRACT, joint_pos=[0.0]), "shape", "joint_pos", Mode.STOP),
        (reading_at(NOW_S, CONTRACT, joint_pos=[np.nan, 0]), "nan", "joint_pos", Mode.STOP),
        (reading_at(NOW_S, CONTRACT, joint_vel=[0, np.inf]), "nan", "joint_vel", Mode.STOP),
        (reading_at(NOW_S, CONTRACT, joint_pos=[0, 3.1]), "range", "joint_pos", Mode.STOP),
        (reading_at(NOW_S, CONTRACT, joint_vel=[-20.5, 0]), "range", "joint_vel", Mode.STOP),
        (replace(GOOD, images={}), "missing", "front", Mode.STOP),
        (replace(GOOD, image_time_s={}), "missing", "front", Mode.STOP),
        (replace(GOOD, images={"front": BLANK[1:]}), "shape", "front", Mode.STOP),
        (replace(GOOD, images={"front": BLANK.astype(float)}), "shape", "front", Mode.STOP),
        (replace(GOOD, time_s=NOW_S - 0.25), "stale", "reading", Mode.HOLD),
        (replace(GOOD, time_s=NOW_S - 0.55), "stale", "reading", Mode.STOP),
        (replace(GOOD, time_s=np.nan), "future", "reading", Mode.STOP),
        (replace(GOOD, time_s=NOW_S + 0.1), "future", "reading", Mode.STOP),
        (replace(GOOD, image_time_s={"front": NOW_S - 0.6}), "stale", "front", Mode.HOLD),
        (replace(GOOD, image_time_s={"front": NOW_S - 2.6}), "stale", "front", Mode.STOP),
        (replace(GOOD, image_time_s={"front": NOW_S + 1.0}), "future", "front", Mode.STOP),
    ],
)
def test_reading_rules(reading: Reading, code: str, name: str, mode: Mode) -> None:
    state = guard_for().start(np.array([0.4, -0.4]))
    decision, after = once(guard_for(), reading, (0.1, 0.1), state)
    assert [(e.code, e.name, e.mode) for e in decision.events] == [(code, name, mode)]
    assert decision.mode == after.mode == mode
    if mode == Mode.STOP:
        assert decision.command is None
    else:
        np.testing.assert_array_equal(decision.command, state.command)


@pytest.mark.parametrize(
    ("output", "name"),
    [(None, "missing"), ([0.0], "shape"), ([np.nan, 0.0], "a"), ([0.0, -np.inf], "b")],
)
def test_output_rules(output: Any, name: str) -> None:
    decision, _ = once(guard_for(), GOOD, output)
    assert decision.mode == Mode.STOP and decision.command is None
    assert [(e.code, e.name) for e in decision.events] == [("output", name)]


# Fake robot: 10 Hz, max_rate 2 rad/s (0.2 rad a step), kp 10 and 3 N m (0.3 rad from the joint),
# commands in +-1 rad, joint stops at +-2 rad.
@pytest.mark.parametrize(
    ("config", "info", "last", "position", "output", "command", "codes"),
    [
        ({}, {}, (0, 0), (0, 0), (0.1, -0.1), (0.1, -0.1), []),
        ({}, {}, (0, 0), (0, 0), (0.25, -0.1), (0.2, -0.1), [("rate", "a")]),
        ({"speed_fraction": 0.5}, {}, (0, 0), (0, 0), (0.2, 0), (0.1, 0), [("rate", "a")]),
        ({}, {"max_rate": (0.5, 9)}, (0, 0), (0, 0), (0.1, 0.1), (0.05, 0.1), [("rate", "a")]),
        ({}, {}, (0.3, 0), (0.1, 0), (0.15, 0), (0.4, 0), [("effort", "a")]),
        ({}, {"max_effort": (1, 1)}, (0, 0), (0, 0), (0.15, 0), (0.1, 0), [("effort", "a")]),
        ({}, {}, (0.95, 0), (0.95, 0), (0.1, 0), (1.0, 0), []),
        ({}, {"high": (1.0, 1.0), "low": (-1.0, -1.0)}, (0.9, 0), (0.9, 0), (0.1, 0), (0.95, 0),
         [("position", "a")]),
        ({"soft_limit": 0.4}, {}, (0, -0.7), (0, -0.7), (0, -0.15), (0, -0.8), [("position", "b")]),
        # A joint that rests outside the soft limits comes back at the allowed speed, no faster.
        ({"soft_limit": 0.25}, {}, (0.9, 0), (0.9, 0), (0, 0), (0.7, 0),
         [("position", "a"), ("rate", "a")]),
        # A blocked joint: the command is drawn towards the joint, but never faster than the rate.
        ({}, {}, (0.9, 0), (0.0, 0), (0.1, 0), (0.7, 0), [("effort", "a"), ("rate", "a")]),
    ],
)  # fmt: skip
def test_command_rules(
    config: dict[str, Any],
    info: dict[str, Any],
    last: tuple[float, float],
    position: tuple[float, float],
    output: tuple[float, float],
    command: tuple[float, float],
    codes: list[tuple[str, str]],
) -> None:
    guard = guard_for(replace(PLAIN, **config), **info)
    reading = reading_at(NOW_S, CONTRACT, joint_pos=position)
    decision, after = once(guard, reading, output, guard.start(np.array(last)))
    assert decision.mode == Mode.RUN
    np.testing.assert_allclose(decision.command, command, atol=1e-6)
    np.testing.assert_array_equal(after.command, decision.command)
    assert [(e.code, e.name) for e in decision.events] == codes


def test_stop_is_final() -> None:
    guard = guard_for()
    _, state = once(guard, reading_at(NOW_S, CONTRACT, joint_pos=[np.nan, 0]))
    decision, state = once(guard, GOOD, (0.1, 0.1), state)
    assert decision.mode == Mode.STOP and decision.command is None and state.mode == Mode.STOP


def test_hold_ends_when_readings_are_fresh() -> None:
    guard = guard_for()
    _, state = once(guard, replace(GOOD, time_s=NOW_S - 0.3))
    decision, state = once(guard, GOOD, (0.1, 0.1), state)
    assert decision.mode == Mode.RUN
    np.testing.assert_allclose(decision.command, 0.1)


def test_bad_readings_are_tolerated_in_a_row() -> None:
    guard = guard_for(replace(PLAIN, tolerated_bad=2))
    bad = reading_at(NOW_S, CONTRACT, joint_pos=[np.nan, 0])
    old = replace(GOOD, time_s=NOW_S - 0.3)
    state, modes = guard.start(np.zeros(2)), []
    for reading in (bad, bad, GOOD, bad, old, bad, bad, bad):
        decision, state = once(guard, reading, (0.0, 0.0), state)
        modes.append(decision.mode)
        assert all(event.mode == decision.mode for event in decision.events)
    run, hold, stop = Mode.RUN, Mode.HOLD, Mode.STOP
    assert modes == [hold, hold, run, hold, hold, hold, hold, stop]


@pytest.mark.parametrize("dt_s", [0.1, 0.01, 0.001])
def test_a_hold_is_timed_in_seconds_at_every_inner_rate(dt_s: float) -> None:
    """At 10 Hz the limit of 0.25 s is over in the third period, however many commands it has."""
    guard = guard_for(replace(PLAIN, hold_stop_s=0.25))
    old, state, modes = replace(GOOD, time_s=NOW_S - 0.3), guard.start(np.zeros(2)), []
    for _ in range(3):
        decision, state = guard.review(state, guard.inspect(old, NOW_S), old, None, dt_s)
        modes.append(decision.mode)
        for _ in range(round(0.1 / dt_s) - 1):
            if decision.mode != Mode.STOP:
                decision, state = guard.follow(state, np.zeros(2), old, dt_s)
    assert modes == [Mode.HOLD, Mode.HOLD, Mode.STOP]


@pytest.mark.parametrize(("overrun", "mode"), [(Mode.RUN, Mode.HOLD), (Mode.STOP, Mode.STOP)])
def test_a_late_step_makes_no_tolerated_reading_final(overrun: Mode, mode: Mode) -> None:
    guard = guard_for(replace(PLAIN, tolerated_bad=1))
    bad = reading_at(NOW_S, CONTRACT, joint_pos=[np.nan, 0])
    late = Event("overrun", "loop", 0.01, 0.1, overrun)
    found = guard.inspect(bad, NOW_S)
    found = replace(found, events=(late, *found.events))
    decision, _ = guard.review(guard.start(np.zeros(2)), found, bad, None)
    assert decision.mode == mode and decision.events[0].mode == overrun


def test_speed_ramps_in() -> None:
    guard = guard_for(replace(PLAIN, ramp_s=0.4, speed_fraction=0.5))
    state, steps = guard.start(np.zeros(2)), []
    for _ in range(6):
        before = state.command
        here = reading_at(NOW_S, CONTRACT, joint_pos=before)
        _, state = once(guard, here, (1.0, 0.0), state)
        steps.append(float(state.command[0] - before[0]))
    # Half of 0.2 rad a step, reached in four steps.
    np.testing.assert_allclose(steps, [0.025, 0.05, 0.075, 0.1, 0.1, 0.1], atol=1e-6)


def test_effort_mode_clips_and_holds_with_none() -> None:
    contract = contract_for("effort")
    guard = guard_for(replace(PLAIN, speed_fraction=0.25), contract)
    good = reading_at(NOW_S, contract)
    decision, state = once(guard, good, (0.9, -0.5))
    np.testing.assert_allclose(decision.command, (0.75, -0.5))
    assert [(e.code, e.name) for e in decision.events] == [("position", "a")]
    held, _ = once(guard, replace(good, time_s=NOW_S - 0.3), (0.9, 0.9), state)
    np.testing.assert_array_equal(held.command, (0.0, 0.0))


def test_position_commands_need_positions() -> None:
    blind = replace(CONTRACT, signals=CONTRACT.signals[1:])
    with pytest.raises(ContractError, match="need a signal 'joint_pos' with 2 values"):
        guard_for(PLAIN, blind)


@pytest.mark.parametrize(
    "change",
    [
        {"soft_limit": 0.0},
        {"soft_limit": 1.1},
        {"speed_fraction": 0.0},
        {"ramp_s": -1.0},
        {"tolerated_bad": -1},
        {"reading_hold_periods": 9.0},
        {"image_hold_periods": 0.0},
    ],
)
def test_settings_are_checked(change: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(change))):
        SafetyConfig(**change)
