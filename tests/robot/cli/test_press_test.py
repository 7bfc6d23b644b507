"""The press test feels stops that work, and says no to those that do not."""

import os
import signal
import socket
import threading
from pathlib import Path

import pytest

from mjx_s2r.robot.checklist import estop_press
from mjx_s2r.robot.cli import press_test
from mjx_s2r.robot.cli.press_test import press_all
from mjx_s2r.robot.estop import (
    ALIVE,
    FileStop,
    HeartbeatStop,
    LatchedStop,
    SignalStop,
    open_stop,
)


def test_signal_and_file_are_pressed_by_the_program_and_left_released(tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGUSR1)
    form = f"file:{tmp_path / 'stop'}"
    found = press_all(("signal", form), {}, None)
    assert found.ok and "SIGUSR1 was pressed and felt" in found.note and "stop was" in found.note
    assert signal.getsignal(signal.SIGUSR1) == before and not list(tmp_path.iterdir())


def test_a_stop_that_is_pressed_already_is_a_no(tmp_path: Path) -> None:
    (tmp_path / "stop").touch()
    found = press_all((f"file:{tmp_path / 'stop'}", "signal"), {}, None)
    assert found.ok is False and "pressed already" in found.note
    assert (tmp_path / "stop").exists(), "what a person pressed stays pressed"


def test_a_stop_that_nobody_presses_is_a_no(tmp_path: Path) -> None:
    found = estop_press(FileStop(tmp_path / "stop"), None, wait_s=0.1)
    assert found.ok is False and "not pressed within 0.1 s" in found.note


def test_a_signal_that_does_not_arrive_is_a_no(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "kill", lambda pid, number: None)
    assert press_all(("signal",), {}, None).ok is False


def test_a_heartbeat_that_the_watchdog_hears_is_a_question() -> None:
    class Watchdog:
        """Stands for one that listens."""

    assert press_all(("udp://:9",), {}, Watchdog()).ok is None  # type: ignore[arg-type]


def test_the_stops_of_the_flight_are_the_ones_pressed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(press_test, "HEARTBEAT_S", 1.0)
    stops: dict[str, LatchedStop] = {
        "signal": SignalStop(),
        f"file:{tmp_path / 'stop'}": FileStop(tmp_path / "stop"),
        "udp://127.0.0.1:0?0.1": open_stop("udp://127.0.0.1:0?0.1"),
    }
    heartbeat = stops["udp://127.0.0.1:0?0.1"]
    assert isinstance(heartbeat, HeartbeatStop)
    is_over, is_asked = threading.Event(), threading.Event()

    def beat() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            while not is_over.wait(0.01):
                if not is_asked.is_set():
                    sender.sendto(ALIVE, ("127.0.0.1", heartbeat.port))

    def person(text: str) -> None:
        (is_asked.set if "now stop" in text else is_asked.clear)()

    monkeypatch.setattr(press_test, "_say", person)
    sender = threading.Thread(target=beat)
    sender.start()
    try:
        found = press_all(tuple(stops), stops, None)
        assert found.ok and found.note.count("was pressed and felt") == 3
        assert not any(stop.pressed() for stop in stops.values())
        os.kill(os.getpid(), signal.SIGUSR1)
        assert stops["signal"].pressed(), "still open"
    finally:
        is_over.set()
        sender.join()
        for stop in stops.values():
            stop.close()
