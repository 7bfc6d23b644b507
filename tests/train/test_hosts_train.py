"""Two processes train as one; one that is lost ends the other, and one goes on alone."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import orbax.checkpoint as ocp
import pytest

from mjx_s2r.io.run import read_jsonl
from mjx_s2r.runtime.distributed import ADDRESS_ENV, COUNT_ENV, HEARTBEAT_ENV, INDEX_ENV

ROOT = Path(__file__).parents[2]
ITERATIONS = 6
TIMEOUT_S = 120


def launch(run: Path, count: int, *options: str) -> list[subprocess.Popen[str]]:
    """Starts ``count`` processes that train together."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    plain = {k: v for k, v in os.environ.items() if k not in ("XLA_FLAGS", "JAX_PLATFORMS")}
    plain |= {"JAX_PLATFORMS": "cpu", "OMP_NUM_THREADS": "1", HEARTBEAT_ENV: "10"}
    line = [sys.executable, "-m", "tests.train.tiny", str(run), str(ITERATIONS), *options]
    children = []
    for index in range(count):
        mine = {ADDRESS_ENV: f"127.0.0.1:{port}", COUNT_ENV: str(count), INDEX_ENV: str(index)}
        env = plain | (mine if count > 1 else {})
        children.append(
            subprocess.Popen(line, cwd=ROOT, env=env, stderr=subprocess.PIPE, text=True)
        )
    return children


def finish(children: list[subprocess.Popen[str]]) -> list[str]:
    """Returns the words of each; none outlives the time limit."""
    try:
        said = [child.communicate(timeout=TIMEOUT_S)[1] for child in children]
    finally:
        for child in children:
            child.kill()
    return said


def status(children: list[subprocess.Popen[str]]) -> list[int]:
    """Returns the exit statuses, after all have ended."""
    return [child.wait(timeout=TIMEOUT_S) for child in children]


def arrays(run: Path) -> dict[str, np.ndarray]:
    """Returns the arrays of the last checkpoint."""
    folder = run / "checkpoints" / str(ITERATIONS) / "arrays"
    found = ocp.Checkpointer(ocp.StandardCheckpointHandler()).restore(folder)
    return {name: np.asarray(x) for name, x in found.items()}


def same(run: Path, other: dict[str, np.ndarray]) -> None:
    """Compares the last checkpoint with another: counts and keys to the bit, the rest closely."""
    mine = arrays(run)
    assert mine.keys() == other.keys()
    for name, value in mine.items():
        if value.dtype.kind == "f":
            np.testing.assert_allclose(value, other[name], rtol=1e-4, atol=1e-5)
        else:
            np.testing.assert_array_equal(value, other[name])


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run of one process that has all the worlds; checkpoints at half of it and at the end."""
    run = tmp_path_factory.mktemp("alone") / "run"
    children = launch(run, 1)
    said = finish(children)
    assert status(children) == [0], said
    return run


@pytest.fixture(scope="module")
def alone(whole: Path) -> dict[str, np.ndarray]:
    """Its last checkpoint."""
    return arrays(whole)


@pytest.mark.slow
def test_two_processes_train_as_one(alone: dict[str, np.ndarray], tmp_path: Path) -> None:
    """They write one folder, once."""
    run = tmp_path / "run"
    children = launch(run, 2)
    said = finish(children)
    assert status(children) == [0, 0], said
    same(run, alone)
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
    children = launch(run, 2)
    said = finish(children)
    assert status(children) == [0, 0], said
    same(run, alone)
    counts = [row["processes"] for row in read_jsonl(run / "metrics.jsonl")]
    assert counts == [1, 1, 1, 2, 2, 2]


@pytest.mark.slow
@pytest.mark.parametrize("victim", [0, 1])
def test_a_lost_process_ends_the_other_and_one_goes_on(
    alone: dict[str, np.ndarray], tmp_path: Path, victim: int
) -> None:
    run, start_s = tmp_path / "run", time.time()
    # the pause lets the checkpoint of iteration 3, written beside training, reach the disk
    children = launch(run, 2, "--die-at", "5", "--die", str(victim), "--pause", "1")
    said = finish(children)
    ended = status(children)
    assert ended[victim] == -signal.SIGKILL
    assert ended[1 - victim] not in (0, -signal.SIGKILL)
    assert time.time() - start_s < TIMEOUT_S
    words = said[1 - victim]
    assert "another process of this run is gone" in words or "coordination service" in words.lower()
    again = launch(run, 1)
    words = finish(again)
    assert status(again) == [0], words
    same(run, alone)
    counts = [row["processes"] for row in read_jsonl(run / "metrics.jsonl")]
    assert counts[0] == 2 and counts[-1] == 1 and len(counts) == ITERATIONS


@pytest.mark.slow
def test_sigterm_stops_both_at_the_same_iteration(
    alone: dict[str, np.ndarray], tmp_path: Path
) -> None:
    """One process goes on to two, both are stopped, and two go on to the end."""
    run = tmp_path / "run"
    children = launch(run, 2, "--pause", "0.5", "--every", "100")
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
    again = launch(run, 2)
    said = finish(again)
    assert status(again) == [0, 0], said
    same(run, alone)
