"""A sweep expands its grid, goes on where it was, and shows what came out."""

import io
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from mjx_s2r.io.run import RunError
from mjx_s2r.params import ParamError
from train import sweep
from train.sweep import (
    SweepConfig,
    command,
    ended,
    grid,
    seeds_of,
    slots,
    summary,
    table,
)


def finished(folder: Path, success: float, step: int = 40) -> None:
    """Writes a run that has come to ``step`` of 40."""
    (folder / "checkpoints" / str(step)).mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps({"schema": 2, "iterations": 40}))
    (folder / "metrics.jsonl").write_text(json.dumps({"step": step, "success": success}) + "\n")


def test_seeds() -> None:
    assert seeds_of("0..3") == ("0", "1", "2", "3")
    assert seeds_of("7, 2..3,2") == ("7", "2", "3")
    for wrong in ("", "3..1", "a", "1..", "-1"):
        with pytest.raises(RunError, match="neither a number nor first"):
            seeds_of(wrong)


def test_the_grid_is_the_product_in_order() -> None:
    config = SweepConfig(seeds="0..1", set=("ppo.learning_rate=1e-3,3e-4", "curriculum=adr"))
    points = grid(config)
    assert [p.name for p in points] == [
        "learning_rate-1e-3_curriculum-adr_seed-0",
        "learning_rate-1e-3_curriculum-adr_seed-1",
        "learning_rate-3e-4_curriculum-adr_seed-0",
        "learning_rate-3e-4_curriculum-adr_seed-1",
    ]
    assert points[2].settings == (
        ("ppo.learning_rate", "3e-4"),
        ("curriculum", "adr"),
        ("seed", "0"),
    )


@pytest.mark.parametrize(
    "wrong", [("ppo.clip_epsilon",), ("=1",), ("ppo.clip_epsilon=",), ("a=1", "a=2"), ("seed=1",)]
)
def test_a_setting_that_cannot_be_is_named(wrong: tuple[str, ...]) -> None:
    with pytest.raises(RunError, match=wrong[-1].split("=")[0] or "=1"):
        grid(SweepConfig(set=wrong))


def test_two_runs_never_share_a_folder() -> None:
    with pytest.raises(RunError, match="stands for two runs"):
        grid(SweepConfig(set=("rows=a/b,a-b",)))


def test_a_command_parses_and_is_the_same_before_and_after_a_first_try(tmp_path: Path) -> None:
    import tyro

    from mjx_s2r.api.teacher import TeacherConfig

    config = SweepConfig(task="cartpole", run=tmp_path, set=("ppo.learning_rate=3e-4",))
    (point,) = grid(config)
    line = command(config, point)
    assert line[:4] == [sys.executable, "-m", "train", "teacher"]
    parsed = tyro.cli(TeacherConfig, args=line[4:])
    assert (parsed.task, parsed.seed, parsed.ppo.learning_rate) == ("cartpole", 0, 3e-4)
    assert parsed.run == tmp_path / point.name and parsed.resume
    finished(tmp_path / point.name, 0.5, step=10)
    assert not ended(tmp_path / point.name)
    assert command(config, point) == line


def test_the_table_shows_the_last_figures(tmp_path: Path) -> None:
    config = SweepConfig(run=tmp_path, seeds="0..1")
    points = grid(config)
    finished(tmp_path / points[0].name, 0.75)
    console = Console(width=120, record=True, file=io.StringIO())
    console.print(table(config, points, {points[1].name: "exit status 2"}))
    text = console.export_text()
    assert "0.75" in text and "done" in text and "exit status 2" in text


def test_a_narrow_screen_cuts_no_figure_off(tmp_path: Path) -> None:
    config = SweepConfig(
        run=tmp_path, seeds="0..1", set=("ppo.learning_rate=1e-3,3e-4", "iterations=40")
    )
    points = grid(config)
    for point, success in zip(points, (0.2, 0.4, 0.9, 0.7), strict=True):
        finished(tmp_path / point.name, success)
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(table(config, points, {}))
    console.print(summary(config, points))
    text = console.export_text()
    assert "…" not in text and "iterations=40" in text and "nan_envs" not in text
    assert "learning_rate" in text and "3e-4" in text
    head, _, below = text.partition("over seeds")
    assert [head.count(x) for x in ("0.2", "0.4", "0.9", "0.7")] == [1, 1, 1, 1]
    assert below.index("0.8 (0.7 to 0.9)") < below.index("0.3 (0.2 to 0.4)"), "the best comes first"
    (tmp_path / points[0].name / "metrics.jsonl").write_text('{"step": 40, "nan_envs": 3}\n')
    console.print(table(config, points, {}))
    assert "nan_envs" in console.export_text()


def test_one_seed_needs_no_summary(tmp_path: Path) -> None:
    config = SweepConfig(run=tmp_path, set=("ppo.learning_rate=1e-3,3e-4",))
    points = grid(config)
    for point in points:
        finished(tmp_path / point.name, 0.5)
    assert summary(config, points) is None


def test_what_the_teacher_would_refuse_is_refused_before_any_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ParamError, match="cartpole"):
        sweep.main(["--run", str(tmp_path), "--task", "cartpol"])
    with pytest.raises(SystemExit):
        sweep.main(["--run", str(tmp_path), "--set", "ppo.learning_rte=1e-3"])
    assert "learning-rte" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        sweep.main(["--run", str(tmp_path), "--set", "ppo.num_envs=many"])
    assert not list(tmp_path.glob("*seed*"))


def test_nothing_is_started_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both runs have ended: no engine is asked for, and the file and the table are written."""

    def never(*_: object) -> Any:
        """Stands for the engine."""
        raise AssertionError("an engine was asked for")

    monkeypatch.setattr(sweep, "executor", never)
    for seed in range(2):
        finished(tmp_path / f"seed-{seed}", 0.5 + seed / 4)
    assert sweep.main(["--run", str(tmp_path), "--seeds", "0..1"]) == 0
    kept = json.loads((tmp_path / "sweep.json").read_text())
    assert kept["runs"]["seed-1"]["success"] == 0.75


def test_only_what_is_open_is_started_and_each_run_has_a_gpu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One of three runs has ended: the other two are started, on the first two of four GPUs."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    asked: list[Any] = []

    def take(lines: dict[str, list[str]], engine: Any, at_once: Sequence[Any], _: float) -> Any:
        """Stands for the loop that runs the jobs."""
        asked.extend(
            [list(lines), engine, [dict(place)["CUDA_VISIBLE_DEVICES"] for place in at_once]]
        )
        return dict.fromkeys(lines, "exit status 2")

    monkeypatch.setattr(sweep, "accelerators", lambda: {"cuda"})
    monkeypatch.setattr(sweep, "executor", lambda *words: words[1:])
    monkeypatch.setattr(sweep, "run_all", take)
    finished(tmp_path / "seed-1", 0.5)
    line = ["--run", str(tmp_path), "--seeds", "0..2", "--gpus", "4..7", "--hours", "2"]
    assert sweep.main(line) == 1
    assert asked == [["seed-0", "seed-2"], ("local", 2.0, {}), ["4", "5"]]


def test_slurm_has_gpus_of_its_own_and_limits_of_its_own() -> None:
    config = SweepConfig(where="slurm", at_once=2)
    assert slots(config, 5) == [()] * 5
    with pytest.raises(RunError, match=r"gpus '0\.\.7'.*--slurm gpus_per_node=1"):
        slots(SweepConfig(where="slurm", gpus="0..7"), 5)


def test_gpus_are_refused_where_there_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweep, "accelerators", lambda: {"tpu"})
    with pytest.raises(RunError, match=r"gpus '0': jax finds no NVIDIA GPU.*'cuda'"):
        slots(SweepConfig(gpus="0"), 1)
    assert len(slots(SweepConfig(at_once=2), 5)) == 2
