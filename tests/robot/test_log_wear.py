"""What wears a robot, against motions whose chatter and rest are known on paper."""

import math
from dataclasses import replace

import numpy as np
import pytest

from mjx_s2r.robot.log.wear import joint_wear, wear_remarks

RATE_HZ, SECONDS = 100.0, 10.0
TIME_S = np.arange(int(RATE_HZ * SECONDS) + 1) / RATE_HZ
LIMITS = np.array([[-2.0, 2.0]])


def column(values: np.ndarray | float) -> np.ndarray:
    """Returns (T, 1) of values over the time."""
    return np.broadcast_to(values, TIME_S.shape).astype(float)[:, None]


def sine(amplitude: float, hz: float) -> np.ndarray:
    """Returns (T, 1) a sine about zero."""
    return column(amplitude * np.sin(2 * np.pi * hz * TIME_S))


@pytest.mark.parametrize("hz", [0.5, 1.0, 5.0])
def test_a_sine_reverses_twice_in_a_period_and_goes_four_amplitudes(hz: float) -> None:
    (wear,) = joint_wear(sine(0.3, hz), column(0.0), LIMITS, RATE_HZ)
    assert wear.reversals_hz == pytest.approx(2 * hz)
    # 4 amplitudes in a period of RATE_HZ / hz steps, over a range of 4; crests fall on steps
    assert wear.change == pytest.approx(4 * 0.3 * hz / RATE_HZ / 4.0)
    assert (wear.parked_low, wear.parked_high) == (0.0, 0.0)


def test_a_ripple_within_the_play_is_no_reversal() -> None:
    ripple = 0.0018 * (np.arange(len(TIME_S)) % 2)  # of a range of 4, below a thousandth of it
    (wear,) = joint_wear(column(ripple), column(0.0), LIMITS, RATE_HZ)
    assert wear.reversals_hz == 0.0 and wear.change == pytest.approx(0.0018 / 4)
    (wear,) = joint_wear(column(3 * ripple), column(0.0), LIMITS, RATE_HZ)
    assert wear.reversals_hz == pytest.approx(RATE_HZ, rel=0.01)  # all but the first two steps
    slow = joint_wear(column(ripple + 0.1 * TIME_S), column(0.0), LIMITS, RATE_HZ)
    assert slow[0].reversals_hz == 0.0


def test_a_parked_joint() -> None:
    positions = column(0.0)
    positions[:250], positions[250:300], positions[300:400] = 1.93, 1.91, -2.3
    (wear,) = joint_wear(column(0.0), positions, LIMITS, RATE_HZ)
    count = len(TIME_S)
    assert wear.parked_high == pytest.approx(250 / count)  # 1.93 is within 0.08 of 2, 1.91 is not
    assert wear.parked_low == pytest.approx(100 / count)  # beyond a limit is at it
    assert wear.parked == pytest.approx(350 / count)
    assert (wear.change, wear.reversals_hz) == (0.0, 0.0)


def test_nothing_is_counted_across_what_was_not_sent() -> None:
    up = np.linspace(0.0, 1.0, 11)[:, None]
    joined = np.concatenate([up, [[np.nan]], up])  # falls back by 1 between the episodes
    (wear,) = joint_wear(joined, joined, LIMITS, 10.0)
    assert wear.reversals_hz == 0.0 and wear.change == pytest.approx(0.1 / 4)
    (whole,) = joint_wear(np.concatenate([up, up]), np.zeros((22, 1)), LIMITS, 10.0)
    assert whole.reversals_hz == pytest.approx(2 / 2.1)  # down and up again, in 21 steps


def test_each_joint_by_its_own_range_and_efforts_by_theirs() -> None:
    limits = np.array([[-2.0, 2.0], [0.0, 0.1]])
    commands = np.tile(sine(0.03, 1.0), 2)
    first, second = joint_wear(commands, np.tile(column(0.05), 2), limits, RATE_HZ)
    assert second.change == pytest.approx(40 * first.change)
    (effort,) = joint_wear(
        sine(3.0, 1.0), column(1.99), LIMITS, RATE_HZ, command_limits=np.array([[-6.0, 6.0]])
    )
    assert effort.change == pytest.approx(4 * 3.0 / RATE_HZ / 12.0) and effort.parked == 1.0


def test_a_wheel_has_no_limits_to_stand_at() -> None:
    (wear,) = joint_wear(sine(0.3, 2.0), column(9.0), np.array([[-np.inf, np.inf]]), RATE_HZ)
    assert math.isnan(wear.change) and wear.parked == 0.0
    assert wear.reversals_hz == pytest.approx(4.0)


def test_what_is_not_known_is_nan() -> None:
    nothing = np.full((5, 1), np.nan)
    (wear,) = joint_wear(nothing, nothing, LIMITS, RATE_HZ)
    assert all(map(math.isnan, (wear.change, wear.reversals_hz, wear.parked)))
    assert not wear_remarks(["elbow"], [wear])
    (alone,) = joint_wear(np.zeros((1, 1)), np.zeros((1, 1)), LIMITS, RATE_HZ)
    assert math.isnan(alone.change) and alone.parked == 0.0


def test_the_bad_is_said_in_one_sentence_with_its_remedy() -> None:
    commands = np.concatenate([sine(0.1, 4.5), sine(0.1, 1.0), column(0.0)], axis=1)
    positions = np.concatenate([column(0.0), column(0.0), column(-2.0)], axis=1)
    wear = joint_wear(commands, positions, np.repeat(LIMITS, 3, axis=0), RATE_HZ)
    said = wear_remarks(("elbow", "wrist", "jaw"), wear)
    assert len(said) == 2
    assert said[0].startswith("joint elbow reverses 9 times a second: ") and "reward" in said[0]
    assert said[1].startswith("joint jaw stands at the lower limit 100 % of the time: ")
    many = wear_remarks(("elbow", "wrist"), (wear[0], replace(wear[0], reversals_hz=12.2)))
    assert len(many) == 1
    assert many[0].startswith("joints elbow, wrist reverse 9 to 12 times a second: ")
