"""Two processes train as one; one that is lost ends the other, and one goes on alone."""

import shutil
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest

from mjx_s2r.io.run import read_jsonl
from tests.train.hosts import TIMEOUT_S, arrays, finish, launch, same, status

ITERATIONS = 6

TINY = "tests.train.tiny"


def train(run: Path, count: int, *options: str) -> list[subprocess.Popen[str]]:
    """Starts ``count`` processes of the tiny training."""
    return launch(count, TINY, str(run), str(ITERATIONS), *options)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run of one process that has all the worlds; checkpoints at half of it and at the end."""
    run = tmp_path_factory.mktemp("alone") / "run"
    children = train(run, 1)
    said = finish(children)
    assert status(children) == [0], said
    return run


@pytest.fixture(scope="module")
def alone(whole: Path) -> dict[str, np.ndarray]:
    """Its last checkpoint."""
    return arrays(whole, ITERATIONS)


@pytest.mark.slow
def test_two_processes_train_as_one(alone: dict[str, np.ndarray], tmp_path: Path) -> None:
    """They write one folder, once."""
    run = tmp_path / "run"
    children = train(run, 2)
    said = finish(children)
    assert status(children) == [0, 0], said
    same(arrays(run, ITERATIONS), alone)
    rows = read_jsonl(run / "metrics.jsonl")
    assert [row["step"] for row in rows] == list(range(1, ITERATIONS + 1))
    assert {row["processes"] for row in rows} == {2}
    assert len(list(run.glob("events*"))) == 1


@pytest.mark.slow
def test_two_go_on_where_one_stopped(
    whole: Path, alone: dict[str, np.ndarray], tmp_path: Path
) -> None:
    run = tmp_path / "run"
    shutil.copytree(whole, run)
    shutil.rmtree(run / "checkpoints" / str(ITERATIONS))
    children = train(run, 2)
    said = finish(children)
    assert status(children) == [0, 0], said
    same(arrays(run, ITERATIONS), alone)
    counts = [row["processes"] for row in read_jsonl(run / "metrics.jsonl")]
    assert counts == [1, 1, 1, 2, 2, 2]


@pytest.mark.slow
@pytest.mark.parametrize("victim", [0, 1])
def test_a_lost_process_ends_the_other_and_one_goes_on(
    alone: dict[str, np.ndarray], tmp_path: Path, victim: int
) -> None:
    run, start_s = tmp_path / "run", time.time()
    # the pause lets the checkpoint of iteration 3, written beside training, reach the disk
    children = train(run, 2, "--die-at", "5", "--die", str(victim), "--pause", "1")
    said = finish(children)
    ended = status(children)
    assert ended[victim] == -signal.SIGKILL
    assert ended[1 - victim] not in (0, -signal.SIGKILL)
    assert time.time() - start_s < TIMEOUT_S
    words = said[1 - victim]
    assert "another process of this run is gone" in words or "coordination service" in words.lower()
    again = train(run, 1)
    words = finish(again)
    assert status(again) == [0], words
    same(arrays(run, ITERATIONS), alone)
    counts = [row["processes"] for row in read_jsonl(run / "metrics.jsonl")]
    assert counts[0] == 2 and counts[-1] == 1 and len(counts) == ITERATIONS


@pytest.mark.slow
def test_sigterm_stops_both_at_the_same_iteration(
    alone: dict[str, np.ndarray], tmp_path: Path
) -> None:
    """One process goes on to two, both are stopped, and two go on to the end."""
    run = tmp_path / "run"
    children = train(run, 2, "--pause", "0.5", "--every", "100")
    deadline = time.time() + TIMEOUT_S
    while not (run / "metrics.jsonl").exists() and time.time() < deadline:
        time.sleep(0.05)
    for child in children:
        child.send_signal(signal.SIGTERM)
        time.sleep(0.2)
    said = finish(children)
    assert status(children) == [130, 130], said
    steps = [int(f.name) for f in (run / "checkpoints").iterdir()]
    assert steps == [len(read_jsonl(run / "metrics.jsonl"))] and 0 < steps[0] < ITERATIONS
    again = train(run, 2)
    said = finish(again)
    assert status(again) == [0, 0], said
    same(arrays(run, ITERATIONS), alone)
