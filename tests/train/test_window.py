"""What the lines of a training say: its speed without compiling, and every evaluation."""

import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import jax.numpy as jnp
import numpy as np
import pytest

from mjx_s2r.curriculum.interface import Report
from mjx_s2r.io.checkpoints import Checkpoints
from mjx_s2r.io.run import Run
from mjx_s2r.learn import train_logger
from mjx_s2r.learn.evaluation import EpisodeScores
from mjx_s2r.learn.rollout import EpisodeStats
from mjx_s2r.learn.train_logger import LogWindow, MetricsWindow, TrainLogger
from mjx_s2r.learn.trainer import LoopConfig, run_loop
from mjx_s2r.params import ParamSpace


def test_the_first_iteration_is_left_out_of_the_speed(monkeypatch: pytest.MonkeyPatch) -> None:
    """60 s of compiling, then iterations of 2 s, in lines of three, two and one."""
    now = [100.0]
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    window = MetricsWindow(now[0])
    speeds = []
    for count in (3, 2, 1):
        for _ in range(count):
            now[0] += 60.0 if now[0] == 100.0 else 2.0
            window.add(jnp.zeros(()))
        stretch = window.close(0, None)
        speeds.append(stretch.iterations_per_s)
    assert speeds == pytest.approx([0.5, 0.5, 0.5])
    assert stretch.seconds == 60.0 + 2.0 * 5 and stretch.iterations == 1


def evaluated(
    monkeypatch: pytest.MonkeyPatch, lines: range, *, eval_every: int, iterations: int
) -> list[tuple[int, float]]:
    """Returns (step of the line, iteration judged) of all that a training says in ``lines``."""
    said: list[tuple[int, float]] = []

    class Listener:
        """A run that keeps what is judged."""

        writes = False

        def log(self, step: int, line: dict[str, float]) -> None:
            if "eval_at" in line:
                assert line["env_steps"] == 8 * step and line["eval_success"] == 0.5
                said.append((step, line["eval_at"]))

        def log_bounds(self, *given: Any, **more: Any) -> None: ...

    monkeypatch.setattr(train_logger.nan_replay, "save_snapshots", lambda *given: None)
    none, one = np.zeros(0), np.zeros(1)
    report = Report(none, none, np.float32(0), np.float32(0), np.zeros((2, 0)), np.int32(0))
    scores = EpisodeScores(one, np.array([0.0, 1.0]), one)
    logger = TrainLogger(
        space=ParamSpace(()),
        curriculum=cast(Any, SimpleNamespace(report=lambda state: report)),
        steps_per_iteration=8,
        iterations=iterations,
        eval_every=eval_every,
        evaluate=lambda state, key: scores,
    )
    stats = EpisodeStats(one, one, one, one, one, one)
    metrics = SimpleNamespace(episodes=stats, loss=SimpleNamespace(), nan_snapshot=None)
    state = SimpleNamespace(curriculum=None)
    for done in lines:
        logger.write(cast(Any, Listener()), LogWindow(done, state, metrics, lines.step, 1.0, 1.0))
    return said


def test_every_evaluation_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    """A line late, the last one with its line, and the one before it in a line of its own."""
    found = evaluated(monkeypatch, range(5, 25, 5), eval_every=5, iterations=20)
    assert found == [(10, 5), (15, 10), (15, 15), (20, 20)]
    found = evaluated(monkeypatch, range(4, 28, 4), eval_every=10, iterations=26)
    assert [at for _, at in found] == [12, 20]
    found = evaluated(monkeypatch, range(5, 25, 5), eval_every=0, iterations=20)
    assert found == []


@pytest.mark.parametrize("stop", [10, 60, 95])
def test_evaluations_do_not_depend_on_where_a_training_was_resumed(
    stop: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def judged(lines: range) -> list[float]:
        return [at for _, at in evaluated(monkeypatch, lines, eval_every=50, iterations=200)]

    whole = judged(range(5, 205, 5))
    assert whole == [50, 100, 150, 200]
    assert judged(range(5, stop + 5, 5)) + judged(range(stop + 5, 205, 5)) == whole


def test_no_line_tells_of_two_stages(tmp_path: Path) -> None:
    """Stages of 10, 20 and 6 iterations; a line is due every 20."""
    ends, lines = np.cumsum((10, 20, 6)), []

    def iterate(state: np.ndarray) -> tuple[np.ndarray, int]:
        return state + 1, int(np.searchsorted(ends, state, side="right"))

    def log(run: Run, window: LogWindow) -> str:
        lines.append((window.done, sorted(set(window.metrics.tolist()))))
        return ""

    loop = LoopConfig(
        what="counting",
        iterations=36,
        log_every=20,
        checkpoint_every=36,
        resume=False,
        iterate=iterate,
        log=log,
        part=lambda state: int(np.searchsorted(ends, state, side="right")),
    )
    kept = Checkpoints(tmp_path / "checkpoints", task="counting", rows=())
    run_loop(loop, Run(tmp_path), kept, np.int64(0))
    assert lines == [(10, [0]), (20, [1]), (30, [1]), (36, [2])]


def test_a_line_of_the_first_iteration_alone_counts_its_compiling(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = [0.0]
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    window = MetricsWindow(0.0)
    now[0] = 50.0
    window.add(jnp.zeros(()))
    assert window.close(1, None).iterations_per_s == pytest.approx(0.02)
