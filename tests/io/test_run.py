"""A run folder: refusals before work is lost, metrics that survive a kill, resuming."""

import json
import math
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from mjx_s2r.io import run as run_io
from mjx_s2r.io.config import ConfigError
from mjx_s2r.io.run import Run, RunError, read_jsonl


@dataclass(frozen=True)
class Settings:
    """Settings of a small run."""

    seed: int = 0
    rate: float = 0.1
    steps: int = 10
    sizes: tuple[int, ...] = (4,)


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    """An open run with three lines of metrics."""
    with Run.create(tmp_path / "run", Settings()) as made:
        for step in (1, 2, 3):
            made.log(step, {"loss": 1 / step, "return": float(step)})
        yield made


def test_create_writes_the_settings_first(run: Run) -> None:
    assert json.loads((run.path / "config.json").read_text()) == {
        "seed": 0,
        "rate": 0.1,
        "steps": 10,
        "sizes": [4],
    }
    assert not list(run.path.glob("*.tmp"))


def test_metrics_go_to_lines_and_to_tensorboard(run: Run) -> None:
    run.log(4, {"loss": math.nan, "return": np.float32(0.5)})
    rows = read_jsonl(run.path / "metrics.jsonl")
    assert rows[0] == {"step": 1, "loss": 1.0, "return": 1.0}
    assert [row["step"] for row in rows] == [1, 2, 3, 4]
    assert math.isnan(rows[3]["loss"])
    assert rows[3]["return"] == 0.5
    run.close()  # the writer has a thread of its own
    events = list(run.path.glob("events.out.tfevents.*"))
    assert len(events) == 1
    assert b"return" in events[0].read_bytes()


def test_every_line_is_strict_json(run: Run) -> None:
    run.log(4, {"loss": math.inf})
    for line in (run.path / "metrics.jsonl").read_text().splitlines():
        json.loads(line, parse_constant=lambda word: pytest.fail(word))


def test_bounds_hold_names_and_ends(run: Run) -> None:
    run.log_bounds(2, ("mass", "friction"), np.array([0.5, 1.0]), np.array([1.5, 1.0]), entropy=-1)
    assert read_jsonl(run.path / "bounds.jsonl") == [
        {
            "step": 2,
            "names": ["mass", "friction"],
            "low": [0.5, 1.0],
            "high": [1.5, 1.0],
            "entropy": -1,
        }
    ]
    with pytest.raises(RunError, match="2 names, 1 low"):
        run.log_bounds(3, ("mass", "friction"), [0.5], [1.5])


def test_a_folder_with_another_run_is_refused(run: Run) -> None:
    with pytest.raises(RunError, match=r"holds another run \(config.json, metrics.jsonl\)"):
        Run.create(run.path, Settings())


def test_a_folder_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match=r"cannot write here .*name another folder"):
        Run.create(tmp_path / "file" / "run", Settings())


def test_a_full_disk_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(tmp_path)._replace(free=150_000_000)
    monkeypatch.setattr(run_io.shutil, "disk_usage", lambda _: usage)
    with pytest.raises(RunError, match="run: 150 MB free, 200 MB needed; make room"):
        Run.create(tmp_path / "run", Settings())


def test_settings_that_are_not_finite_are_refused_before_anything(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="rate: nan"):
        Run.create(tmp_path / "run", Settings(rate=math.nan))
    assert not (tmp_path / "run").exists()


def test_resume_starts_where_there_is_no_run(tmp_path: Path) -> None:
    """So that one command line both starts a run and goes on with it."""
    for _ in range(2):
        with Run.create(tmp_path / "run", Settings(), resume=True) as run:
            run.log(1, {"x": 1.0})
    assert (tmp_path / "run" / "config.json").exists()
    assert len(read_jsonl(tmp_path / "run" / "metrics.jsonl")) == 2


def test_resume_refuses_a_run_without_settings(run: Run) -> None:
    run.log(1, {"x": 1.0})
    (run.path / "config.json").unlink()
    with pytest.raises(RunError, match=r"parts of a run and not its settings \(config.json"):
        Run.create(run.path, Settings(), resume=True)


def test_resume_names_settings_that_differ(run: Run) -> None:
    with pytest.raises(RunError) as caught:
        Run.create(run.path, Settings(seed=1, steps=20, sizes=(4, 4)), resume=True)
    assert "seed: the run has 0, now 1" in str(caught.value)
    assert "sizes: the run has [4], now [4, 4]" in str(caught.value)
    again = Run.create(run.path, Settings(steps=20), resume=True, may_change=("steps",))
    assert json.loads((again.path / "config.json").read_text())["steps"] == 20


def test_resume_drops_what_came_after_the_checkpoint(run: Run) -> None:
    run.log_bounds(1, ("m",), [0], [1])
    run.log_bounds(3, ("m",), [0], [2])
    again = Run.create(run.path, Settings(), resume=True)
    again.rewind(2)
    again.log(3, {"loss": 9.0})
    again.close()
    rows = read_jsonl(run.path / "metrics.jsonl")
    assert [(row["step"], row["loss"]) for row in rows] == [(1, 1.0), (2, 0.5), (3, 9.0)]
    assert [row["step"] for row in read_jsonl(run.path / "bounds.jsonl")] == [1]


def test_a_torn_last_line_is_left_out_and_removed_on_resume(run: Run) -> None:
    metrics = run.path / "metrics.jsonl"
    metrics.write_text(metrics.read_text()[:-9])
    assert [row["step"] for row in read_jsonl(metrics)] == [1, 2]
    again = Run.create(run.path, Settings(), resume=True)
    again.log(3, {"loss": 9.0})
    again.close()
    assert [row["step"] for row in read_jsonl(metrics)] == [1, 2, 3]


def test_a_broken_line_in_the_middle_is_named(run: Run) -> None:
    metrics = run.path / "metrics.jsonl"
    metrics.write_text(metrics.read_text().replace('{"step": 2', '{"step" 2'))
    with pytest.raises(RunError, match=r"metrics\.jsonl line 2 is not JSON"):
        read_jsonl(metrics)


def test_result_is_written_whole(run: Run) -> None:
    path = run.write_result({"success": 0.95, "episodes": 20})
    assert json.loads(path.read_text()) == {"success": 0.95, "episodes": 20}
    with pytest.raises(ConfigError, match="success: nan"):
        run.write_result({"success": math.nan})
    assert json.loads(path.read_text())["success"] == 0.95
