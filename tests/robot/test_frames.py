"""Stacks of pictures on the robot: newest first, filled up at the start, none counted twice."""

from dataclasses import replace

import numpy as np
import pytest

from mjx_s2r.contract import CameraSignal, PolicyContract
from mjx_s2r.robot.frames import FrameStack
from tests.robot.fakes import contract_for


def _stack(frames: int) -> FrameStack:
    """Returns the stack of a contract with one camera of 2 x 2 px."""
    contract: PolicyContract = replace(
        contract_for(), cameras=(CameraSignal("front", 2, 2, 50.0, frames),)
    )
    return FrameStack(contract)


def _picture(value: int) -> dict[str, np.ndarray]:
    """Returns a picture of one grey."""
    return {"front": np.full((2, 2, 3), value, np.uint8)}


def test_newest_picture_comes_first_and_the_first_fills_the_rest() -> None:
    stack = _stack(3)
    seen = [stack.push(_picture(v), {"front": 0.1 * v})["front"] for v in (1, 2, 3, 4)]
    greys = [picture[0, 0, ::3].tolist() for picture in seen]
    assert greys == [[1, 1, 1], [2, 1, 1], [3, 2, 1], [4, 3, 2]]
    assert seen[0].shape == (2, 2, 9)


def test_a_picture_seen_before_does_not_count_again() -> None:
    stack = _stack(2)
    for value, time_s in ((1, 0.0), (2, 0.1), (9, 0.1), (9, 0.05)):
        seen = stack.push(_picture(value), {"front": time_s})["front"]
    assert seen[0, 0, ::3].tolist() == [2, 1]


def test_one_frame_is_handed_through() -> None:
    image = _picture(7)
    assert _stack(1).push(image, {"front": 0.0})["front"] is image["front"]


def test_no_picture_yet_is_no_entry() -> None:
    assert _stack(2).push({}, {}) == {}


def test_another_size_is_left_to_the_guard() -> None:
    stack = _stack(2)
    stack.push(_picture(1), {"front": 0.0})
    seen = stack.push({"front": np.zeros((4, 4, 3), np.uint8)}, {"front": 1.0})
    assert seen["front"].shape == (2, 2, 6)


@pytest.mark.parametrize("stamp", [9.0, float("inf"), float("nan")])
def test_a_picture_of_the_future_does_not_keep_the_later_ones_out(stamp: float) -> None:
    stack = _stack(1)
    assert stack.push(_picture(9), {"front": stamp}, 0.05) == {}
    for value, time_s in ((1, 0.1), (2, 0.2)):
        seen = stack.push(_picture(value), {"front": time_s}, time_s)["front"]
        assert seen[0, 0, 0] == value
        stack.push(_picture(9), {"front": stamp}, time_s)
