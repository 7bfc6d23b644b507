"""A run folder: refusals before work is lost, metrics that survive a kill, resuming, one writer."""

import json
import math
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from mjx_s2r.io import run as run_io
from mjx_s2r.io.config import ConfigError
from mjx_s2r.io.run import (
    Run,
    RunError,
    check_local,
    is_student,
    read_config,
    read_jsonl,
    read_recipe,
    read_settings,
)


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
        "schema": 2,
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
    run.close()
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
    run.close()
    (run.path / "config.json").unlink()
    with pytest.raises(RunError, match=r"parts of a run and not its settings \(config.json"):
        Run.create(run.path, Settings(), resume=True)


def test_resume_names_settings_that_differ(run: Run) -> None:
    run.close()
    with pytest.raises(RunError) as caught:
        Run.create(run.path, Settings(seed=1, steps=20, sizes=(4, 4)), resume=True)
    assert "seed: the run has 0, now 1" in str(caught.value)
    assert "sizes: the run has [4], now [4, 4]" in str(caught.value)
    again = Run.create(run.path, Settings(steps=20), resume=True, may_change=("steps",))
    assert read_settings(again.path)["steps"] == 20
    again.close()


def test_resume_drops_what_came_after_the_checkpoint(run: Run) -> None:
    run.log_bounds(1, ("m",), [0], [1])
    run.log_bounds(3, ("m",), [0], [2])
    run.close()
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
    run.close()
    again = Run.create(run.path, Settings(), resume=True)
    again.log(3, {"loss": 9.0})
    again.close()
    assert [row["step"] for row in read_jsonl(metrics)] == [1, 2, 3]


def test_a_broken_line_in_the_middle_is_named(run: Run) -> None:
    metrics = run.path / "metrics.jsonl"
    metrics.write_text(metrics.read_text().replace('{"step": 2', '{"step" 2'))
    with pytest.raises(RunError, match=r"metrics\.jsonl line 2 is not JSON"):
        read_jsonl(metrics)


def test_settings_are_read_back(run: Run) -> None:
    assert read_config(Settings, run.path) == Settings()
    assert read_settings(run.path) == {"seed": 0, "rate": 0.1, "steps": 10, "sizes": [4]}


@pytest.mark.parametrize(
    ("schema", "says"),
    [({}, "without a schema number"), ({"schema": 1}, "of schema 1"), ({"schema": 3}, "schema 3")],
)
def test_a_run_of_another_schema_is_refused(
    tmp_path: Path, schema: dict[str, int], says: str
) -> None:
    """For whoever reads it, and for a training that would go on with it."""
    (tmp_path / "config.json").write_text(json.dumps({"seed": 0, **schema}))
    message = rf"{tmp_path} is a run .*{says}.*reads schema 2: train it anew, or use the commit"
    with pytest.raises(RunError, match=message):
        read_config(Settings, tmp_path)
    with pytest.raises(RunError, match=message):
        Run.create(tmp_path, Settings(), resume=True)


@pytest.mark.parametrize("text", ["", "{", "[1]", "\xff"])
def test_settings_that_cannot_be_read_are_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "config.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(RunError, match=str(tmp_path)):
        read_settings(tmp_path)


def test_a_folder_without_a_run_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for folder in (tmp_path, tmp_path / "none", tmp_path / "file"):
        with pytest.raises(RunError, match=f"{folder} holds no run .*name the folder of one"):
            read_settings(folder)


@pytest.mark.parametrize(
    ("settings", "student"),
    [({"teacher": "runs/t"}, True), ({"teacher": {"seed": 0}}, False), ({"seed": 0}, False)],
)
def test_a_student_names_its_teacher(
    tmp_path: Path, settings: dict[str, object], student: bool
) -> None:
    run_io.write_json(tmp_path / "config.json", {"schema": 2, **settings})
    assert is_student(tmp_path) is student


def test_another_kind_of_run_is_named(run: Run) -> None:
    @dataclass(frozen=True)
    class Other:
        speed: float = 0.0

    with pytest.raises(RunError, match=r"config\.json does not hold a Other .*'seed'"):
        read_config(Other, run.path)


def test_a_recipe_holds_what_others_may_take_over(tmp_path: Path) -> None:
    file = tmp_path / "recipe.json"
    file.write_text('{"schema": 2, "run": "runs/a", "resume": true, "seed": 3}')
    assert read_recipe(file) == {"seed": 3}
    file.write_text('{"seed": 3}')
    assert read_recipe(file) == {"seed": 3}
    file.write_text('{"schema": 1, "seed": 3}')
    with pytest.raises(ConfigError, match=r"recipe\.json: of schema 1.*reads schema 2"):
        read_recipe(file)


@pytest.mark.parametrize(
    ("address", "remedy"),
    [
        ("gs://bucket/run", "gs://bucket/run is an address.*mount it .with gcsfuse."),
        ("s3://bucket/run", "s3://bucket/run is an address.*mount it .with mountpoint-s3."),
        ("hf://datasets/run", "hf://datasets/run is an address.*name a local folder and copy"),
        ("https://host/run", "https://host/run is an address"),
        ("file:///tmp/run", "write it as a path: /tmp/run"),
    ],
)
def test_an_address_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, address: str, remedy: str
) -> None:
    monkeypatch.chdir(tmp_path)
    for writes in (True, False):
        with pytest.raises(RunError, match=remedy):
            Run.create(Path(address), Settings(), writes=writes)
    with pytest.raises(RunError, match=remedy):
        read_settings(Path(address))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("path", ["runs/a", "C:/runs/a", "/mnt/gs/run", "a:b/c", "runs/b:/c"])
def test_folders_with_colons_are_folders(path: str) -> None:
    check_local(Path(path))


HOLDER = """
import sys, time
from pathlib import Path
from tests.io.test_run import Settings
from mjx_s2r.io.run import Run
run = Run.create(Path(sys.argv[1]), Settings(), resume=True)
print("ready", flush=True)
time.sleep(60)
"""


def test_one_process_writes_a_folder_until_it_ends(tmp_path: Path) -> None:
    """The other one is named; killed without a word, it lets go."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path)], stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None and holder.stdout.readline() == "ready\n"
        name = f"process {holder.pid} on {socket.gethostname()}"
        for resume in (True, False):
            with pytest.raises(RunError, match=f"{tmp_path} is in use: {name} writes it"):
                Run.create(tmp_path, Settings(), resume=resume)
        with Run.create(tmp_path, Settings(), resume=True, writes=False):
            pass  # another process of the same training
        assert read_config(Settings, tmp_path) == Settings()  # reading is free
        os.kill(holder.pid, signal.SIGKILL)
        holder.wait()
    with Run.create(tmp_path, Settings(), resume=True) as run:
        run.log(1, {"x": 1.0})


def test_a_folder_is_held_until_the_run_is_closed(tmp_path: Path) -> None:
    run = Run.create(tmp_path, Settings())
    run.log(1, {"x": 1.0})
    run.rewind(0)
    with pytest.raises(RunError, match=f"in use: process {os.getpid()} on"):
        Run.create(tmp_path, Settings(), resume=True)
    run.close()
    run.close()
    again = Run.create(tmp_path, Settings(), resume=True)
    del again  # forgotten without an end
    Run.create(tmp_path, Settings(), resume=True).close()


def test_a_run_that_is_refused_holds_nothing(tmp_path: Path) -> None:
    Run.create(tmp_path, Settings()).close()
    with pytest.raises(RunError, match="other settings") as kept:
        Run.create(tmp_path, Settings(seed=1), resume=True)
    Run.create(tmp_path, Settings(), resume=True).close()
    assert kept.value  # as in a notebook, which keeps the last error


def test_a_disk_without_locks_is_warned_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(run_io.fcntl, "flock", refuse)
    with pytest.warns(RuntimeWarning, match="cannot be locked .Operation not supported"):
        Run.create(tmp_path, Settings()).close()
