"""Observations of a robot among simulated ones: shares that are known by construction."""

import numpy as np
import pytest

from mjx_s2r.contract import ActionSpec, PolicyContract, Signal
from mjx_s2r.transfer.gap.observations import compare_observations

ACTION = ActionSpec(("a",), "effort", "N m", (1.0,), (0.0,), (-1.0,), (1.0,), (9.0,), (1.0,))
SIGNALS = (
    Signal("angle", 2, "rad", 2.0, (0.5,), seen_low=(-1.5, -1.5), seen_high=(2.5, 2.5)),
    Signal("speed", 1, "rad/s"),
)
CONTRACT = PolicyContract("toy", 50.0, SIGNALS, ACTION)


def test_equal_observations_are_not_told_apart() -> None:
    rng = np.random.default_rng(0)
    robot, simulated = rng.normal(size=(2, 4000, 3))
    found = compare_observations(CONTRACT, robot, simulated)
    assert found.unusual == pytest.approx(0.01, abs=0.006)
    assert found.distance == pytest.approx(1.0, abs=0.05)
    for signal in found.signals:
        assert signal.overlap > 0.93 and signal.outside_simulation == pytest.approx(0.01, abs=0.007)
    # angle = obs / 2 + 0.5 lies outside (-1.5, 2.5) where |obs| > 4
    assert [s.outside_training for s in found.signals[:2]] == [0.0, 0.0]
    assert np.isnan(found.signals[2].outside_training)
    assert found.signals[2].to_json()["outside_training"] is None


def test_what_differs_is_named_in_its_own_unit() -> None:
    rng = np.random.default_rng(1)
    robot, simulated = rng.normal(size=(2, 4000, 3))
    robot[:, 1] += 8.0  # 4 rad
    found = compare_observations(CONTRACT, robot, simulated)
    first, second, third = found.signals
    assert (first.name, second.name, third.name) == ("angle[0]", "angle[1]", "speed[0]")
    assert second.overlap < 0.01 and second.outside_simulation > 0.99 and first.overlap > 0.93
    assert second.outside_training == 1.0
    assert np.mean(second.robot) == pytest.approx(4.5, abs=0.1)
    assert found.unusual > 0.99 and found.distance > 3


def test_numbers_that_move_together_are_judged_together() -> None:
    """On the robot the second is the first turned round; alone each of them looks right."""
    rng = np.random.default_rng(2)
    one = rng.normal(size=(3000, 1))
    noise = 0.05 * rng.normal(size=(3000, 1))
    simulated = np.concatenate((one, one + noise, 0 * one), axis=1)
    robot = np.concatenate((one, -one + noise, 0 * one), axis=1)
    found = compare_observations(CONTRACT, robot, simulated)
    assert all(signal.overlap > 0.9 for signal in found.signals) and found.unusual > 0.5


def test_nothing_to_compare_is_said() -> None:
    with pytest.raises(ValueError, match=r"robot observations of shape \(0, 0\): need some of 3"):
        compare_observations(CONTRACT, np.zeros((0, 0)), np.zeros((5, 3)))
