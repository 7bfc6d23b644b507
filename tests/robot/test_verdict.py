"""The referee of a task's episode, against episodes whose end is counted by hand."""

import numpy as np
import pytest

from mjx_s2r.robot.driver import Reading, TaskRules
from mjx_s2r.robot.verdict import (
    DISTANCE,
    FAILED,
    LOST,
    ON_GOAL,
    RULES,
    SUCCESS,
    TIME,
    Referee,
    logged_rules,
    told,
)

HZ = 10.0
RULES_OF_TASK = TaskRules(episode_s=2.0, hold_s=0.5)  # 20 steps, 5 readings of which hold it


def decided(on_goal: list[int], lost: int = -1, jitter_s: float = 0.0) -> tuple[str, int]:
    """Returns the result and the reading, from 0, at which it came; the goal holds at some."""
    referee = Referee(RULES_OF_TASK, HZ)
    for k in range(40):
        time_s = 100.0 + k / HZ + jitter_s * (-1) ** k
        if referee.judge(time_s, on_goal=k in on_goal, failed=k == lost):
            return referee.result, k
    return "", 40


def test_a_goal_that_is_held_is_a_success() -> None:
    assert decided([3, 4, 5, 6, 7]) == (SUCCESS, 7)
    assert decided([3, 4, 5, 6, 8, 9, 10, 11, 12]) == (SUCCESS, 12), "let go in between"
    assert decided([3, 4, 5, 6, 7], jitter_s=0.01) == (SUCCESS, 7)


def test_the_time_ends_and_a_loss_ends() -> None:
    assert decided([]) == (TIME, 20)
    assert decided([17, 18, 19, 20, 21]) == (TIME, 20)
    assert decided([16, 17, 18, 19, 20]) == (SUCCESS, 20), "held in the last moment"
    assert decided([3, 4], lost=9) == (FAILED, 9)
    assert decided([3, 4, 5, 6, 7], lost=9) == (SUCCESS, 7), "what follows changes nothing"


def test_readings_tell_and_the_distance_is_kept() -> None:
    referee = Referee(RULES_OF_TASK, HZ)
    for k, metres in enumerate((0.30, 0.02, 0.05)):
        signals = {ON_GOAL: np.zeros(1), LOST: np.zeros(1), DISTANCE: np.array([metres])}
        assert not referee.see(Reading(5.0 + k / HZ, signals))
    referee.see(Reading(9.0, {"joint_pos": np.zeros(2)}))  # which says nothing of a task
    verdict = referee.verdict
    assert (verdict.result, verdict.nearest, verdict.last) == ("", 0.02, 0.05)
    assert verdict.at_s == pytest.approx(0.2)
    assert verdict.text() == (
        "not decided: it ended after 0.20 s of the task's 2 s, 5.0 cm from the goal at that time, "
        "2.0 cm at the nearest"
    )
    assert verdict.to_json()["result"] == "not decided"


def test_what_no_task_says_is_nothing() -> None:
    assert told({ON_GOAL: np.array(["x"])}, ON_GOAL) is None and told({}, ON_GOAL) is None
    assert logged_rules({}) is None and logged_rules({RULES: {"hold_s": 1}}) is None
    assert logged_rules({RULES: {"episode_s": 2, "hold_s": 0.5}}) == RULES_OF_TASK
