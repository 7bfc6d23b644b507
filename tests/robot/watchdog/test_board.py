"""The shared memory: what is read is whole, whatever the writer is doing."""

import mmap
import threading
import time
from dataclasses import replace

import numpy as np
import pytest

from mjx_s2r.contract import ContractError
from mjx_s2r.robot.driver import CameraInfo
from mjx_s2r.robot.watchdog.board import COMMANDS, SharedBoard, TornError
from tests.robot.fakes import contract_for, info_for, reading_at

CONTRACT = contract_for(cameras=True)
INFO = replace(
    info_for(CONTRACT),
    cameras=(CameraInfo("front", 8, 6, 10.0), CameraInfo("depth", 4, 4, 10.0, "depth")),
)


def boards() -> tuple[SharedBoard, SharedBoard]:
    """Returns the two ends of one memory."""
    ends = SharedBoard(INFO), SharedBoard(INFO)
    memory = mmap.mmap(-1, ends[0].size)
    for end in ends:
        end.attach(memory)
    return ends


def test_everything_a_reading_holds_arrives() -> None:
    writer, reader = boards()
    depth = np.arange(16, dtype=np.uint16).reshape(4, 4)
    sent = reading_at(3.5, CONTRACT, joint_pos=[0.1, np.nan], temperature=[40.0, 41.0])
    sent = replace(
        sent,
        images={**sent.images, "depth": depth},
        image_time_s={**sent.image_time_s, "depth": 2.5},
        estop=True,
    )
    writer.put_reading(sent)
    number, got = reader.take_reading()
    assert (number, got.time_s, got.estop) == (1, 3.5, True)
    assert sorted(got.signals) == ["joint_pos", "joint_vel", "temperature"]
    np.testing.assert_array_equal(got.signals["joint_pos"], [0.1, np.nan])
    np.testing.assert_array_equal(got.images["depth"], depth)
    assert got.images["depth"].dtype == np.uint16
    assert got.image_time_s == {"front": 3.5, "depth": 2.5}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"joint_pos": np.zeros(3)}, r"'joint_pos' has shape \(3,\)"),
        ({"joint_pos": "left"}, "'joint_pos' is 'left'"),
        ({"front": np.zeros((8, 6, 3))}, "float64"),
        ({"front": [1]}, "list"),
    ],
)
def test_what_is_not_as_described_is_named(change: dict[str, object], said: str) -> None:
    writer, _ = boards()
    good = reading_at(1.0, CONTRACT)
    part = "images" if "front" in change else "signals"
    with pytest.raises(ContractError, match=said):
        writer.put_reading(replace(good, **{part: {**getattr(good, part), **change}}))


def test_no_reading_is_ever_torn() -> None:
    """A writer in another thread writes as fast as it can; every reading holds one number only."""
    writer, reader = boards()
    done = threading.Event()

    def write() -> None:
        number = 0
        while not done.is_set():
            number += 1
            reading = reading_at(float(number), CONTRACT, joint_pos=np.full(2, number))
            reading.images["front"][...] = number % 251
            writer.put_reading(reading)

    thread = threading.Thread(target=write)
    thread.start()
    seen, end_s = set(), time.monotonic() + 0.5
    try:
        while time.monotonic() < end_s:
            try:
                number, got = reader.take_reading()
            except TornError:
                continue  # before the first
            seen.add(number)
            assert got.time_s == number
            assert set(got.signals["joint_pos"]) == {number}
            assert set(np.unique(got.images["front"])) == {number % 251}
    finally:
        done.set()
        thread.join()
    assert len(seen) > 10


def test_a_writer_that_died_in_the_middle_blocks_nobody() -> None:
    writer, reader = boards()
    with pytest.raises(TornError):
        reader.take_reading()
    writer.put_reading(reading_at(1.0, CONTRACT))
    slot = writer._readings[2]
    slot["number"][()] = 2  # the next record was begun and never sealed
    assert reader.take_reading()[0] == 1
    writer.set("readings", 2)
    with pytest.raises(TornError):
        reader.take_reading()


def test_commands_are_kept_in_their_order() -> None:
    writer, reader = boards()
    for number in range(1, COMMANDS + 37):
        writer.put_command(np.full(2, number), (number, 0.5), number, number + 1)
    slot = reader.take_command(COMMANDS + 36)
    assert slot is not None
    assert (slot.command.tolist(), slot.until_s) == ([COMMANDS + 36.0] * 2, COMMANDS + 37.0)
    assert reader.take_command(37) is not None
    assert reader.take_command(36) is None  # written over
    assert reader.last_sent_s() == COMMANDS + 36
