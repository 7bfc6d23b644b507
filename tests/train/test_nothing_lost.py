"""A training killed, stopped or spoilt at any moment ends with the bits of an undisturbed one."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import orbax.checkpoint as ocp
import pytest

from mjx_s2r.io.run import read_jsonl

ROOT = Path(__file__).parents[2]
ITERATIONS = 24
TIMEOUT_S = 120


def environment() -> dict[str, str]:
    """Returns the environment of a training on one device."""
    plain = {k: v for k, v in os.environ.items() if k not in ("XLA_FLAGS", "JAX_PLATFORMS")}
    return plain | {"JAX_PLATFORMS": "cpu", "OMP_NUM_THREADS": "1"}


def launch(run: Path, *options: str, iterations: int = ITERATIONS) -> subprocess.Popen[str]:
    """Starts the tiny training, or goes on with it."""
    line = [sys.executable, "-m", "tests.train.tiny", str(run), str(iterations), *options]
    return subprocess.Popen(line, cwd=ROOT, env=environment(), stderr=subprocess.PIPE, text=True)


def finish(child: subprocess.Popen[str]) -> str:
    """Waits for a training that must end well; returns what it said."""
    try:
        said = child.communicate(timeout=TIMEOUT_S)[1]
    finally:
        child.kill()
    assert child.returncode == 0, said[-3000:]
    return said


def arrays(run: Path) -> dict[str, bytes]:
    """Returns the bytes of every array in the last checkpoint."""
    folder = run / "checkpoints" / str(newest(run)) / "arrays"
    found = ocp.Checkpointer(ocp.StandardCheckpointHandler()).restore(folder)
    return {name: np.asarray(x).tobytes() for name, x in found.items()}


def newest(run: Path) -> int:
    """Returns the newest complete checkpoint; 0 if there is none."""
    folder = run / "checkpoints"
    names = [f.name for f in folder.iterdir()] if folder.is_dir() else []
    return max((int(n) for n in names if n.isdigit()), default=0)


def wait_for(what: str, child: subprocess.Popen[str], run: Path, step: int) -> None:
    """Waits until ``what`` ("checkpoint" or "half") of a later ``step`` is on disk."""
    deadline = time.time() + TIMEOUT_S
    folder = run / "checkpoints"
    while child.poll() is None and time.time() < deadline:
        if what == "half" and folder.is_dir() and newest(run) > step:
            if any("tmp" in f.name for f in folder.iterdir()):
                return
        elif what == "checkpoint" and newest(run) > step:
            return
        time.sleep(0.001)
    assert child.poll() is None or child.returncode == 0, child.communicate()[1][-3000:]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The last checkpoint of a run that nothing disturbed."""
    run = tmp_path_factory.mktemp("alone") / "run"
    finish(launch(run, "--every", "100"))
    return arrays(run)


def survive(run: Path, kills: int, iterations: int = ITERATIONS) -> None:
    """Kills a training again and again, every other time inside a write, and then ends it."""
    for attempt in range(kills):
        child = launch(run, "--every", "1", "--pause", "0.02", iterations=iterations)
        wait_for("half" if attempt % 2 else "checkpoint", child, run, newest(run))
        if attempt % 2 == 0:
            time.sleep(random.uniform(0, 0.1))
        child.send_signal(signal.SIGKILL)
        assert child.wait() == -signal.SIGKILL  # it had not ended by itself
        assert child.stderr is not None
        child.stderr.close()
    finish(launch(run, "--every", "4", iterations=iterations))


def check_whole(run: Path, undisturbed: dict[str, bytes], iterations: int = ITERATIONS) -> None:
    """Compares a run's end with the undisturbed one, and its lines with what they must be."""
    assert newest(run) == iterations
    assert arrays(run) == undisturbed
    steps = [row["step"] for row in read_jsonl(run / "metrics.jsonl")]
    assert steps == list(range(1, iterations + 1))
    assert not [f.name for f in (run / "checkpoints").iterdir() if "tmp" in f.name]


@pytest.mark.slow
def test_two_kills_lose_nothing(undisturbed: dict[str, bytes], tmp_path: Path) -> None:
    """One between two checkpoints, one within the writing of one."""
    survive(tmp_path / "run", 2)
    check_whole(tmp_path / "run", undisturbed)


@pytest.mark.slow
def test_twenty_kills_lose_nothing(tmp_path: Path) -> None:
    long = 400  # iterations: twenty starts do not come to the end of them
    finish(launch(tmp_path / "alone", "--every", "100", iterations=long))
    survive(tmp_path / "run", 20, long)
    check_whole(tmp_path / "run", arrays(tmp_path / "alone"), long)


@pytest.mark.slow
def test_sigterm_saves_and_a_spoilt_newest_is_passed_over(
    undisturbed: dict[str, bytes], tmp_path: Path
) -> None:
    """SIGTERM: the iteration under way ends, is saved, and the exit status says interrupted."""
    run = tmp_path / "run"
    child = launch(run, "--every", "7", "--pause", "0.05")
    wait_for("checkpoint", child, run, 0)
    child.send_signal(signal.SIGTERM)
    said = child.communicate(timeout=TIMEOUT_S)[1]
    assert child.returncode == 130, said[-3000:]
    assert "what was saved is kept" in said
    last, lines = newest(run), read_jsonl(run / "metrics.jsonl")
    assert last == lines[-1]["step"] and last % 7
    files = [f for f in (run / "checkpoints" / str(last)).rglob("d/*") if f.is_file()]
    assert files
    for file in files:  # which of them hold arrays that are read is orbax's own affair
        body = np.frombuffer(file.read_bytes(), np.uint8).copy()
        body[len(body) // 4 :] ^= 1
        file.write_bytes(body.tobytes())
    (run / "checkpoints" / "99.orbax-checkpoint-tmp").mkdir()  # half a step: not one
    said = finish(launch(run, "--every", "7"))
    assert f"checkpoint {last} in" in said and "damaged and passed over" in said
    check_whole(run, undisturbed)
