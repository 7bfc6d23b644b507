"""A full disk costs figures, not the training; checkpoints are written beside it."""

import errno
import os
import shutil
import threading
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mjx_s2r.io import checkpoints as module
from mjx_s2r.io.checkpoints import Checkpoints, DiskFullError
from mjx_s2r.io.run import METRICS, Run, read_jsonl
from mjx_s2r.learn.train_logger import LogWindow
from mjx_s2r.learn.trainer import LoopConfig, run_loop

FULL = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.fixture
def store(tmp_path: Path) -> Checkpoints:
    """The checkpoints of a run."""
    return Checkpoints(tmp_path / "checkpoints", task="count", rows=())


@pytest.fixture
def gate(store: Checkpoints, monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Holds every write back until it is set."""
    opened, write = threading.Event(), store._write

    def late(*args: Any) -> None:
        """Writes once the gate is open."""
        assert opened.wait(30)
        write(*args)

    monkeypatch.setattr(store, "_write", late)
    return opened


def without_room(monkeypatch: pytest.MonkeyPatch, folder: Path) -> Callable[[bool], None]:
    """Returns a switch for how much room the disk of the checkpoints has."""
    folder.mkdir(parents=True, exist_ok=True)
    usage = shutil.disk_usage(folder)

    def switch(full: bool) -> None:
        """Sets the room."""
        free = usage._replace(free=1000 if full else 10**12)
        monkeypatch.setattr(module.shutil, "disk_usage", lambda _: free)

    return switch


def test_a_line_without_room_is_lost_and_training_goes_on(tmp_path: Path) -> None:
    """Every write to /dev/full fails as on a full disk; one warning is enough."""
    run = Run(tmp_path)
    (tmp_path / METRICS).symlink_to("/dev/full")
    with pytest.warns(RuntimeWarning, match=r"metrics\.jsonl.*No space left.*training goes on"):
        run.log(1, {"loss": 1.0})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run.log(2, {"loss": 0.5})
    assert run.lost_lines == 2
    (tmp_path / METRICS).unlink()
    run.log(3, {"loss": 0.2})
    run.close()
    assert [row["step"] for row in read_jsonl(tmp_path / METRICS)] == [3]


def test_half_a_line_is_taken_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk has room for ten more bytes; the line after it must not grow onto them."""
    run, write, left = Run(tmp_path), os.write, [10**9]

    def short(file: int, body: bytes) -> int:
        """Writes what there is room for."""
        part = body[: left[0]]
        if not part:
            raise FULL
        left[0] -= len(part)
        return write(file, part)

    monkeypatch.setattr("mjx_s2r.io.run.os.write", short)
    run.log(1, {"loss": 1.0})
    left[0] = 10
    with pytest.warns(RuntimeWarning, match="are lost"):
        run.log(2, {"loss": 0.5})
    left[0] = 10**9
    run.log(3, {"loss": 0.2})
    run.close()
    assert [row["step"] for row in read_jsonl(tmp_path / METRICS)] == [1, 3]


def test_points_without_room_do_not_stop_the_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More points than any queue holds: nobody waits for a writer that has given up."""
    run = Run(tmp_path)
    run.log(0, {"a": 1.0})

    def fail(*_: Any) -> None:
        raise FULL

    monkeypatch.setattr("mjx_s2r.io.tensorboard.EventsWriter.write_event", fail)
    with pytest.warns(RuntimeWarning, match="TensorBoard"):
        for step in range(1, 30):
            run.log(step, {"a": 1.0, "b": 2.0})
    assert len(read_jsonl(tmp_path / METRICS)) == 30


def test_only_the_writer_leaves_anything(tmp_path: Path) -> None:
    run = Run.create(tmp_path / "run", {"seed": 0}, writes=False)
    run.log(1, {"loss": 1.0})
    run.log_bounds(1, ("a",), (0,), (1,))
    run.log_episodes(1, {"score": [1.0]}, count=1)
    run.keep_table(())
    run.rewind(0)
    run.close()
    assert not (tmp_path / "run").exists()


def test_the_copy_is_taken_at_once(store: Checkpoints, gate: threading.Event) -> None:
    """The state's memory is given away while its checkpoint still waits for the disk."""
    step = jax.jit(lambda x: x + 1, donate_argnums=0)
    tree = {"x": step(jnp.zeros(100_000)), "host": np.zeros(3)}
    store.save(1, tree, wait=False)
    assert store.steps() == []
    tree["host"][:] = 9
    for _ in range(5):
        tree["x"] = step(tree["x"])
    gate.set()
    store.wait()
    assert store.steps() == [1]
    back, _ = store.restore({"x": jnp.zeros(100_000), "host": np.zeros(3)})
    np.testing.assert_array_equal(back["x"], np.ones(100_000))
    np.testing.assert_array_equal(back["host"], np.zeros(3))


def test_one_at_a_time_and_the_last_is_waited_for(
    store: Checkpoints, gate: threading.Event
) -> None:
    store.save(1, {"x": jnp.ones(3)}, wait=False)
    threading.Timer(0.2, gate.set).start()
    store.save(2, {"x": jnp.ones(3)}, wait=False)
    assert 1 in store.steps()  # the second had to wait for the first
    store.close()
    assert store.steps() == [1, 2]


def test_an_error_beside_the_training_comes_up(
    store: Checkpoints, monkeypatch: pytest.MonkeyPatch
) -> None:
    room = without_room(monkeypatch, store.folder)
    room(True)
    store.save(1, {"x": jnp.ones(3)}, wait=False)
    with pytest.raises(DiskFullError, match="disk is full, step 1 is not saved"):
        store.save(2, {"x": jnp.ones(3)}, wait=False)
    room(False)
    store.save(2, {"x": jnp.ones(3)}, wait=False)
    store.close()
    assert store.steps() == [2]


def job(when_full: Callable[[int], bool], switch: Callable[[bool], None], every: int) -> LoopConfig:
    """Returns a training that counts to 8 while the disk fills and empties."""

    def iterate(state: Any) -> tuple[Any, Any]:
        switch(when_full(int(state) + 1))
        return state + 1, {"x": state}

    return LoopConfig("count", 8, 1, every, False, iterate, lambda run, stretch: "")


def test_a_checkpoint_without_room_is_tried_again(
    store: Checkpoints, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Full from iteration 3 to 6: step 4 is lost, step 8 is there, the training never stopped."""
    switch = without_room(monkeypatch, store.folder)
    counting = job(lambda done: 3 <= done <= 6, switch, every=2)
    with pytest.warns(RuntimeWarning, match=r"the disk is full.*Training goes on"):
        state = run_loop(counting, Run(tmp_path), store, jnp.int32(0))
    assert int(state) == 8
    assert 8 in store.steps() and 4 not in store.steps()


def test_a_run_without_a_checkpoint_begins_its_lines_anew(
    store: Checkpoints, tmp_path: Path
) -> None:
    """Killed before its first checkpoint, a resumed run must not count its first lines twice."""
    run = Run(tmp_path)
    for step in (1, 2, 3):
        run.log(step, {"loss": 0.0})
    run.close()
    again = LoopConfig("count", 4, 1, 4, True, lambda state: (state + 1, {"x": state}), _count_line)
    run_loop(again, Run(tmp_path), store, jnp.int32(0))
    assert [row["step"] for row in read_jsonl(tmp_path / METRICS)] == [1, 2, 3, 4]


def _count_line(run: Run, stretch: LogWindow) -> str:
    """Writes one line."""
    run.log(stretch.done, {"loss": 1.0})
    return ""


def test_a_last_checkpoint_without_room_is_an_error(
    store: Checkpoints, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    switch = without_room(monkeypatch, store.folder)
    store.save(4, jnp.int32(4))
    with (
        pytest.warns(RuntimeWarning, match="Training goes on"),
        pytest.raises(DiskFullError, match=r"step 8 is not saved; steps \[4\] are kept"),
    ):
        run_loop(job(lambda done: True, switch, every=100), Run(tmp_path), store, jnp.int32(0))
    assert store.steps() == [4]
