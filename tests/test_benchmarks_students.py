"""The comparison of students: what its summary says of rows of known numbers."""

import pytest

from benchmarks.students import StudentsConfig, summarize


def _row(method: str, seed: int, robots: list[int]) -> dict:
    """Returns a row of three episodes on each robot."""
    return {
        "method": method,
        "family": "held_out",
        "seed": seed,
        "episodes_each": 3,
        "robots": robots,
    }


def test_the_summary_counts_robots_and_trainings() -> None:
    rows = [_row("a", 0, [3, 3, 0, 3]), _row("a", 1, [3, 0, 0, 3]), _row("b", 0, [3] * 4)]
    first, second = summarize(rows)
    assert first["success"] == pytest.approx(15 / 24)
    assert first["never"] == 1, "one robot fails in every episode of every training"
    low, high = first["interval"]
    assert 0.0 <= low < 15 / 24 < high <= 1.0
    assert second["interval"] == [1.0, 1.0] and second["trainings"] == 1


def test_names_that_do_not_exist_are_refused() -> None:
    with pytest.raises(ValueError, match="daggre"):
        StudentsConfig(methods=("daggre",))
    with pytest.raises(ValueError, match="home"):
        StudentsConfig(families=("home+calibrated",))
