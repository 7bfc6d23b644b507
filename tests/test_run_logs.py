"""What a run keeps of its curriculum: the table it started with, ranges, success, episodes."""

from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from mjx_s2r.io.run import BOUNDS, EPISODES, TABLE, Run, RunError, read_jsonl
from mjx_s2r.params import Param

ROWS = (
    Param("mass", "model.body_mass", ("a",), limits=(0.5, 2.0)),
    Param("drag", "model.dof_damping", ("j",), limits=(0.1, 10.0), law="log_uniform"),
)


@dataclass(frozen=True)
class Settings:
    """Settings of a run."""

    seed: int = 0


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """A fresh run."""
    return Run.create(tmp_path / "run", Settings())


def test_a_table_is_kept_and_the_same_one_accepted(run: Run) -> None:
    run.keep_table(ROWS)
    assert (run.path / TABLE).exists()
    run.keep_table(ROWS)
    run.keep_table((replace(ROWS[0], source="a better citation"), ROWS[1]))


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        ((replace(ROWS[0], limits=(0.5, 3.0)), ROWS[1]), r"mass\.limits: the run has \[0.5, 2.0\]"),
        ((ROWS[0], replace(ROWS[1], law="uniform")), r"drag\.law: the run has 'log_uniform'"),
        (ROWS[:1], "drag: the run has"),
        (ROWS[::-1], "the order of the rows"),
    ],
)
def test_a_changed_table_is_refused_by_row(run: Run, rows: tuple, says: str) -> None:
    run.keep_table(ROWS)
    with pytest.raises(RunError, match=says):
        run.keep_table(rows)


def test_success_at_the_ends_goes_with_the_bounds(run: Run) -> None:
    run.log_bounds(3, ("a", "b"), (0, 1), (2, 3), ((0.5, -1), (1, 0)), entropy=-1.0)
    (line,) = read_jsonl(run.path / BOUNDS)
    assert line["score_low"] == [0.5, None] and line["score_high"] == [1.0, 0.0]
    run.log_bounds(4, ("a", "b"), (0, 1), (2, 3))
    assert "score_low" not in read_jsonl(run.path / BOUNDS)[1]


def test_episodes_are_counted_across_rewinding(run: Run) -> None:
    """Lost ones are accounted for; lines after a checkpoint go, and so does their count."""
    assert run.seen_episodes() == 0
    run.log_episodes(1, {"score": [1.0, 0.0], "role": [-1, 3]}, count=2)
    run.log_episodes(2, {"score": [1.0], "role": [-1]}, count=1, lost=4)
    assert run.seen_episodes() == 7
    run.close()
    again = Run.create(run.path, Settings(), resume=True)
    assert again.seen_episodes() == 7
    again.rewind(1)
    assert again.seen_episodes() == 2
    (line,) = read_jsonl(run.path / EPISODES)
    assert line == {"step": 1, "seen": 2, "lost": 0, "score": [1.0, 0.0], "role": [-1, 3]}
