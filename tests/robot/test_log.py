"""A flight log gives back what was written, and loses no more than a torn last record."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mjx_s2r.robot.log import FlightLog, LogError, Step, read
from mjx_s2r.robot.safety import Event, Mode
from tests.robot.fakes import contract_for, reading_at

CONTRACT = contract_for(cameras=True)
EVENT = Event("rate", "a", 0.25, 0.2, Mode.RUN)


def step_at(index: int) -> Step:
    """Returns a step whose numbers tell which one it is."""
    return Step(
        step=index,
        time_s=0.1 * index,
        mode=Mode.RUN,
        reading=reading_at(0.1 * index, CONTRACT, joint_pos=[index, -index]),
        observation=np.full(6, index, np.float32),
        output=np.full(2, index, np.float32),
        command=np.full(2, 2 * index, np.float32),
        events=(EVENT,),
        busy_s=0.001,
    )


def write(path: Path, count: int = 5, *, images: bool = True) -> bytes:
    """Writes a log of ``count`` steps and returns its bytes."""
    with FlightLog(path, CONTRACT, "fake", {"ramp_s": 1.0}, images=images) as log:
        for index in range(count):
            log.append(step_at(index))
    return path.read_bytes()


def test_round_trip(tmp_path: Path) -> None:
    write(tmp_path / "a.log")
    flight = read(tmp_path / "a.log")
    assert (flight.contract, flight.robot, flight.config) == (CONTRACT, "fake", {"ramp_s": 1.0})
    assert flight.torn_bytes == 0 and len(flight.steps) == 5
    got, sent = flight.steps[3], step_at(3)
    assert (got.step, got.time_s, got.busy_s) == (3, sent.time_s, 0.001)
    assert (got.mode, got.events) == (Mode.RUN, (EVENT,))
    assert got.reading is not None and sent.reading is not None
    assert got.reading.time_s == sent.reading.time_s
    assert got.reading.image_time_s == sent.reading.image_time_s
    np.testing.assert_array_equal(got.reading.images["front"], sent.reading.images["front"])
    np.testing.assert_array_equal(flight.signal("joint_pos")[:, 0], np.arange(5))
    np.testing.assert_array_equal(flight.commands, np.repeat(2.0 * np.arange(5), 2).reshape(5, 2))
    np.testing.assert_array_equal(flight.outputs, np.repeat(1.0 * np.arange(5), 2).reshape(5, 2))
    np.testing.assert_allclose(flight.time_s, 0.1 * np.arange(5))


def test_what_did_not_happen_is_nan(tmp_path: Path) -> None:
    with FlightLog(tmp_path / "a.log", CONTRACT, "fake") as log:
        log.append(step_at(0))
        log.append(Step(1, 0.1, Mode.STOP))
    flight = read(tmp_path / "a.log")
    assert flight.steps[1].reading is None and flight.steps[1].command is None
    assert np.isnan(flight.commands[1]).all() and np.isnan(flight.signal("joint_pos")[1]).all()
    with pytest.raises(LogError, match="no signal 'torque'"):
        flight.signal("torque")


def test_images_can_be_left_out(tmp_path: Path) -> None:
    write(tmp_path / "full.log")
    reading = read(tmp_path / "full.log", images=False).steps[0].reading
    assert reading is not None and not reading.images and reading.image_time_s
    small = len(write(tmp_path / "small.log", images=False))
    assert small < (tmp_path / "full.log").stat().st_size - 5 * 8 * 6 * 3


def test_every_torn_tail_is_dropped(tmp_path: Path) -> None:
    data = write(tmp_path / "whole.log", 3)
    two = len(write(tmp_path / "two.log", 2))
    for cut in [*range(two, len(data), 37), len(data) - 1]:
        torn = tmp_path / "torn.log"
        torn.write_bytes(data[:cut])
        flight = read(torn)
        assert len(flight.steps) == 2 and flight.torn_bytes == cut - two


def test_changed_bytes_are_found(tmp_path: Path) -> None:
    data = bytearray(write(tmp_path / "a.log", 3))
    data[-5] ^= 1
    (tmp_path / "a.log").write_bytes(data)
    flight = read(tmp_path / "a.log")
    assert len(flight.steps) == 2 and flight.torn_bytes > 0


def test_killed_process_leaves_its_steps(tmp_path: Path) -> None:
    path = tmp_path / "killed.log"
    script = (
        "import sys, itertools; from tests.robot.test_log import *\n"
        "log = FlightLog(sys.argv[1], CONTRACT, 'fake')\n"
        "for i in itertools.count():\n"
        "    log.append(step_at(i)); print(i, flush=True)\n"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", script, str(path)],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )
    assert child.stdout is not None
    deadline = time.monotonic() + 30
    while int(child.stdout.readline()) < 50:
        assert time.monotonic() < deadline
    child.send_signal(signal.SIGKILL)
    rest = child.stdout.read().split()
    child.wait()
    child.stdout.close()
    last = int(rest[-1]) if rest else 50
    assert len(read(path).steps) >= last + 1


def test_a_log_is_never_overwritten(tmp_path: Path) -> None:
    write(tmp_path / "a.log")
    with pytest.raises(FileExistsError):
        FlightLog(tmp_path / "a.log", CONTRACT, "fake")


def test_closed_log_refuses(tmp_path: Path) -> None:
    log = FlightLog(tmp_path / "a.log", CONTRACT, "fake")
    log.close()
    log.close()
    with pytest.raises(LogError, match="closed"):
        log.append(replace(step_at(0), reading=None))


@pytest.mark.parametrize("data", [b"", b"something else\n\n", b"mjx_s2r flight log 1\n{\n"])
def test_other_files_are_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "x").write_bytes(data)
    with pytest.raises(LogError):
        read(tmp_path / "x")
