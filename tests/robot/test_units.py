"""Degrees in place of radians are found, and nothing else is."""

from dataclasses import replace

import numpy as np
import pytest

from mjx_s2r.contract import Signal
from mjx_s2r.robot.units import suspect_motion, suspect_reading
from tests.robot.fakes import contract_for

CONTRACT = contract_for()  # joints from -1 to 1 rad


@pytest.mark.parametrize("pose", [[0.5, -0.9], [1.0, 0.1], [-1.0, 0.8]])
def test_a_reading_in_degrees_is_found(pose: list[float]) -> None:
    assert not suspect_reading(CONTRACT, {"joint_pos": np.array(pose)})
    found = suspect_reading(CONTRACT, {"joint_pos": np.rad2deg(pose)})
    assert len(found) == 1 and "look like degrees" in found[0]


@pytest.mark.parametrize(
    "pose", [[1.2, -1.1], [np.nan, 0.1], [0.5 + 2 * np.pi, 0.0], [400.0, 0.0], [0.0, 0.0]]
)
def test_other_readings_are_not_taken_for_degrees(pose: list[float]) -> None:
    """Somewhat outside, broken, or too far even in degrees: other checks say so."""
    assert not suspect_reading(CONTRACT, {"joint_pos": np.array(pose)})


def test_velocities_are_judged_by_what_training_met() -> None:
    seen = Signal("joint_vel", 2, "rad/s", seen_low=(-2.0, -2.0), seen_high=(2.0, 2.0))
    contract = replace(CONTRACT, signals=(seen,))
    assert suspect_reading(contract, {"joint_vel": np.array([80.0, 0.0])})
    assert not suspect_reading(contract, {"joint_vel": np.array([5.0, 0.0])})
    assert not suspect_reading(CONTRACT, {"joint_vel": np.array([80.0, 0.0])})  # claims nothing


def test_a_joint_that_moves_at_the_start_alone_is_no_unit_mistake() -> None:
    """A short flight: the command is there in three steps, the servo follows in ten."""
    command = np.full((30, 1), -0.127)
    command[:3, 0] = -0.0686, -0.1168, -0.12
    position = -0.117 + 0.237 * np.exp(-np.arange(30) / 3.0)[:, None]
    assert not suspect_motion(("gripper",), command, position)
    assert suspect_motion(("gripper",), command, np.rad2deg(command) - 3.0)


def test_motion_in_two_units_is_found() -> None:
    t = np.linspace(0, 10, 500)
    command = np.stack([0.4 * np.sin(t), 0.3 * np.sin(2 * t)], 1)
    position = np.stack([0.38 * np.sin(t - 0.1), 0.25 * np.sin(2 * t - 0.2)], 1)
    assert not suspect_motion(("a", "b"), command, position)
    assert len(suspect_motion(("a", "b"), command, np.rad2deg(position))) == 2
    small = command * [1, np.pi / 180]  # targets 57.3 times too small
    (found,) = suspect_motion(("a", "b"), small, position)
    assert "joint 'b': readings move" in found
    blocked = np.zeros_like(position)
    assert not suspect_motion(("a", "b"), command, blocked)
    assert not suspect_motion(("a", "b"), np.full_like(command, np.nan), position)
