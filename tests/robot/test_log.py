"""A flight log gives back what was written, and loses no more than a torn last record."""

import io
import json
import math
import os
import resource
import signal
import struct
import subprocess
import sys
import threading
import time
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mjx_s2r.contract import to_json
from mjx_s2r.robot.driver import Reading
from mjx_s2r.robot.log import FlightLog, LogError, Step, read, reader, writer
from mjx_s2r.robot.log.records import MAGIC
from mjx_s2r.robot.log.writer import log_parts, part_path, remove_log
from mjx_s2r.robot.safety import Event, Mode
from tests.robot.fakes import contract_for, info_for, reading_at

CONTRACT = contract_for(cameras=True)
EVENT = Event("rate", "a", 0.25, 0.2, Mode.RUN)
SMALL = Step(0, 0.0, Mode.RUN, command=np.zeros(2, np.float32))


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


def records(data: bytes) -> list[int]:
    """Returns where each record of a log ends, found by the layout that `records` documents."""
    at, ends = data.index(b"\n", len(MAGIC)) + 1, []
    while at < len(data):
        at += 8 + int.from_bytes(data[at : at + 4], "little")
        ends.append(at)
    return ends


def test_a_log_cut_anywhere_reads_up_to_the_last_whole_record(tmp_path: Path) -> None:
    data = write(tmp_path / "whole.log", 30)
    start, ends = data.index(b"\n", len(MAGIC)) + 1, records(data)
    steps = [
        end for end, begin in zip(ends, [start, *ends], strict=False) if data[begin + 8] == 115
    ]
    assert len(steps) == 30 and ends[-1] == len(data)
    torn = tmp_path / "torn.log"
    for cut in np.random.default_rng(0).integers(start, len(data), 1000):
        torn.write_bytes(data[:cut])
        flight = read(torn)
        whole = max(end for end in [start, *ends] if end <= cut)
        assert len(flight.steps) == sum(end <= cut for end in steps)
        assert flight.torn_bytes == cut - whole
    assert flight.steps[0].reading is not None
    assert [s.step for s in flight.steps] == list(range(len(flight.steps)))


def test_changed_bytes_are_found(tmp_path: Path) -> None:
    data = bytearray(write(tmp_path / "a.log", 3, images=False))
    data[records(bytes(data))[2] - 5] ^= 1  # in the last step
    (tmp_path / "a.log").write_bytes(data)
    with pytest.raises(LogError, match="damaged at byte"):
        list(read(tmp_path / "a.log").steps)
    flight = read(tmp_path / "a.log", use_index=False)
    assert len(flight.steps) == 2 and flight.torn_bytes > 0


def test_format_1_is_read(tmp_path: Path) -> None:
    """A log of before, byte by byte as its format was written down."""
    arrays = [
        ("signal/joint_pos", np.array([1.0, 2.0])),
        ("image/front", np.arange(144, dtype=np.uint8).reshape(8, 6, 3)),
        ("command", np.array([0.5, 0.25], np.float32)),
    ]
    meta = {
        **{"step": 7, "time_s": 0.5, "busy_s": 0.01, "mode": "HOLD", "reading_s": 0.4},
        **{"image_s": {"front": 0.3}, "events": [["rate", "a", 0.25, 0.2, "RUN"]]},
        "arrays": [[key, x.dtype.str, x.shape] for key, x in arrays],
    }
    text = json.dumps(meta).encode()
    payload = struct.pack("<I", len(text)) + text + b"".join(x.tobytes() for _, x in arrays)
    record = struct.pack("<II", len(payload), zlib.crc32(payload)) + payload
    head = json.dumps({"contract": to_json(CONTRACT), "robot": "fake", "config": {}}).encode()
    path = tmp_path / "old.log"
    path.write_bytes(b"mjx_s2r flight log 1\n" + head + b"\n" + 3 * record + record[:-1])
    flight = read(path)
    assert (flight.contract, len(flight.steps), flight.torn_bytes) == (CONTRACT, 3, len(record) - 1)
    step = flight.steps[2]
    assert (step.step, step.mode, step.events) == (7, Mode.HOLD, (EVENT,))
    assert step.reading is not None and step.reading.image_time_s == {"front": 0.3}
    np.testing.assert_array_equal(step.reading.images["front"], arrays[1][1])
    bare = read(path, images=False).steps[0]
    assert bare.reading is not None and not bare.reading.images
    np.testing.assert_array_equal(bare.reading.signals["joint_pos"], [1.0, 2.0])


def test_parts_read_as_one_flight(tmp_path: Path) -> None:
    with FlightLog(tmp_path / "a.log", CONTRACT, "fake", part_s=1.0) as log:
        for index in range(35):
            log.append(step_at(index))
    assert log_parts(tmp_path / "a.log") == [0, 1, 2, 3]
    flight = read(tmp_path / "a.log")
    assert [s.step for s in flight.steps] == list(range(35)) and not flight.missing_parts
    assert flight.steps[-1].step == 34 and [s.step for s in flight.steps[9:12]] == [9, 10, 11]
    assert [s.step for s in flight.steps.between(0.95, 2.05)] == list(range(10, 21))
    assert all(s.reading is not None and "front" in s.reading.images for s in flight.steps)
    assert len(read(tmp_path / "a.log.2").steps) == 10  # a part alone
    (tmp_path / "a.log.2").unlink()
    flight = read(tmp_path / "a.log")
    assert flight.missing_parts == (2,) and len(flight.steps) == 25
    write(tmp_path / "b.log")
    (tmp_path / "b.log").rename(tmp_path / "a.log.2")
    with pytest.raises(LogError, match="part of another flight"):
        read(tmp_path / "a.log")


def test_parts_are_limited_by_size(tmp_path: Path) -> None:
    with FlightLog(tmp_path / "a.log", CONTRACT, "fake", images=False, part_bytes=6000) as log:
        for index in range(40):
            log.append(step_at(index))
    path = tmp_path / "a.log"
    sizes = [part_path(path, n).stat().st_size for n in log_parts(path)]
    assert len(sizes) > 2 and max(sizes) < 7500  # a step and the index more
    with pytest.raises(FileExistsError, match=r"a\.log\.1"):
        (tmp_path / "a.log").unlink()
        FlightLog(tmp_path / "a.log", CONTRACT, "fake")
    remove_log(tmp_path / "a.log")
    assert not list(tmp_path.iterdir())


def test_a_range_of_time_reads_little(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the index, or with the one that is rebuilt, only the steps around a range are read."""
    with FlightLog(tmp_path / "a.log", CONTRACT, "fake", images=False) as log:
        for index in range(3000):
            log.append(replace(SMALL, step=index, time_s=0.001 * index))
    seen = []
    unpack = reader.unpack_step
    monkeypatch.setattr(reader, "unpack_step", lambda *args: seen.append(args) or unpack(*args))
    for flight in (read(tmp_path / "a.log"), read(tmp_path / "a.log", use_index=False)):
        seen.clear()
        found = [s.step for s in flight.steps.between(2.0005, 2.0105)]
        assert found == list(range(2001, 2011)) and len(seen) < 300
        assert flight.steps[1234].step == 1234 and len(seen) < 600


def test_a_picture_is_kept_once(tmp_path: Path) -> None:
    """A camera slower than the loop, whose driver uses one buffer again and again."""
    rng = np.random.default_rng(0)
    shots = rng.integers(0, 256, (4, 8, 6, 3), np.uint8)
    buffer = np.zeros((8, 6, 3), np.uint8)
    with FlightLog(tmp_path / "a.log", CONTRACT, "fake") as log:
        for index in range(12):
            buffer[:] = shots[index // 3]
            reading = Reading(0.1 * index, {}, {"front": buffer}, {"front": float(index // 3)})
            log.append(replace(SMALL, step=index, reading=reading))
    flight = read(tmp_path / "a.log")
    for step in flight.steps:
        assert step.reading is not None
        np.testing.assert_array_equal(step.reading.images["front"], shots[step.step // 3])
    pictures = list(flight.steps.pictures("front"))
    assert [p.time_s for p in pictures] == [0.0, 1.0, 2.0, 3.0]
    opened = np.asarray(Image.open(io.BytesIO(pictures[2].data)))  # by another program
    np.testing.assert_array_equal(opened, shots[2])


@pytest.mark.parametrize(
    ("dtype", "shape"),
    [("uint8", (5, 7, 3)), ("uint8", (5, 7)), ("uint16", (5, 7)), ("float32", (5, 7))],
)
def test_pictures_are_kept_without_loss(tmp_path: Path, dtype: str, shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(1)
    image = rng.integers(0, 2**16, shape) if dtype != "uint8" else rng.integers(0, 256, shape)
    image = image.astype(dtype)
    with FlightLog(tmp_path / "a.log", CONTRACT, "fake") as log:
        log.append(replace(SMALL, reading=Reading(0.0, {}, {"front": image}, {"front": 0.0})))
    got = read(tmp_path / "a.log").steps[0].reading
    assert got is not None and got.images["front"].dtype == image.dtype
    np.testing.assert_array_equal(got.images["front"], image)


def test_pictures_that_find_no_room_are_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = threading.Event()
    pack = writer.pack_picture
    monkeypatch.setattr(writer, "pack_picture", lambda *args: (gate.wait(), pack(*args))[1])
    size = 8 * 6 * 3
    log = FlightLog(tmp_path / "a.log", CONTRACT, "fake", queue_bytes=2 * size)
    for index in range(5):
        log.append(step_at(index))
    assert log.dropped_pictures == 3
    gate.set()
    log.close()
    flight = read(tmp_path / "a.log")
    shown = [s.step for s in flight.steps if s.reading is not None and s.reading.images]
    assert shown == [0, 1] and len(flight.dropped()) == 3
    with FlightLog(tmp_path / "b.log", CONTRACT, "fake", queue_bytes=1, may_drop=False) as patient:
        for index in range(5):
            patient.append(step_at(index))
    assert patient.dropped_pictures == 0 and not read(tmp_path / "b.log").dropped()


def test_a_full_disk_is_said_and_leaves_a_log(tmp_path: Path) -> None:
    """A file that may not grow fails as on a full disk: a part is written, then nothing."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    log = FlightLog(tmp_path / "a.log", CONTRACT, "fake", images=False)
    written = 0
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (6000, hard))
        with pytest.raises(LogError, match=r"a\.log cannot be written: .* MB free there"):
            for written in range(100):
                log.append(step_at(written))
        with pytest.raises(LogError, match="cannot be written"):
            log.append(step_at(0))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    log.close()
    flight = read(tmp_path / "a.log")
    assert len(flight.steps) == written > 3 and flight.torn_bytes == 0


def test_a_disk_that_fills_with_pictures_is_said(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)  # 12 kB, even packed
    log = FlightLog(tmp_path / "a.log", CONTRACT, "fake")
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (8000, hard))
        log.append(replace(SMALL, reading=Reading(0.0, {}, {"front": noise}, {"front": 0.0})))
        with pytest.raises(LogError, match="cannot be written"):
            log.close()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert len(read(tmp_path / "a.log").steps) == 1


def test_missing_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LogError, match="no folder"):
        FlightLog(tmp_path / "nowhere" / "a.log", CONTRACT, "fake")
    with pytest.raises(LogError, match="does not exist"):
        read(tmp_path / "nowhere" / "a.log")


@pytest.mark.parametrize(
    "reading",
    [
        Reading(None, {"joint_pos": None, "joint_vel": [1, 2]}, {"front": None}, {"front": None}),
        Reading(
            "soon", {"joint_pos": np.array(["a"]), "x": 1 << 70}, {"front": [1]}, {"front": "x"}
        ),
        Reading(
            math.nan, {"joint_pos": np.array([1j]), "y": np.float32(2)}, {}, {"front": math.inf}
        ),
        Reading(0.0, None, None, None),
        Reading(0.0, {3: object()}, {4: np.zeros((8, 6, 3), np.uint8)}, {4: 0.0}),
        "no reading",
    ],
)
def test_whatever_a_driver_delivers_is_logged(tmp_path: Path, reading: Any) -> None:
    with FlightLog(tmp_path / "a.log", CONTRACT, "fake") as log:
        log.append(replace(SMALL, reading=reading))
    (step,) = read(tmp_path / "a.log").steps
    if isinstance(reading, Reading):
        assert step.reading is not None
        assert step.reading.time_s == reading.time_s or math.isnan(reading.time_s)
        for name in reading.signals or {}:
            assert str(name) in step.reading.signals
    else:
        assert step.reading is None


def test_the_data_sheet_and_the_e_stop_come_back(tmp_path: Path) -> None:
    sheet = info_for(CONTRACT)
    with FlightLog(tmp_path / "a.log", CONTRACT, "fake", driver=sheet) as log:
        log.append(replace(SMALL, reading=Reading(0.0, {}, estop=True)))
    before = time.time()
    flight = read(tmp_path / "a.log")
    assert flight.driver == sheet
    step = flight.steps[0]
    assert step.reading is not None and step.reading.estop
    assert before - 60 < flight.started_s <= step.wall_s <= before + 1


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
