"""Emergency stops: pressed by each cause, latched until a person resets."""

import os
import signal
import socket
import subprocess
import sys
import termios
from pathlib import Path

import pytest

from mjx_s2r.contract import ContractError
from mjx_s2r.robot import estop
from tests.robot.waiting import until

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(("keys", "is_pressed"), [(b" ", True), (b"xq", True), (b"xyz\n", False)])
def test_space_and_q_press_on_a_terminal(keys: bytes, is_pressed: bool) -> None:
    robot, person = os.openpty()
    with open(person, "rb", buffering=0) as terminal:
        before = termios.tcgetattr(person)
        stop = estop.KeyboardStop(terminal)
        assert not stop.pressed()
        os.write(robot, keys)
        assert until(stop.pressed, 0.5) is is_pressed
        assert stop.pressed() is is_pressed  # latched
        stop.reset()
        assert not stop.pressed()
        assert termios.tcgetattr(person) != before
        stop.close()
        stop.close()
        assert termios.tcgetattr(person) == before
    os.close(robot)


@pytest.mark.parametrize("ending", ["1 / 0", "sys.exit(3)", "os.kill(os.getpid(), 2)"])
def test_the_terminal_is_given_back(ending: str) -> None:
    robot, person = os.openpty()
    before = termios.tcgetattr(person)
    code = f"import os, sys\nfrom mjx_s2r.robot import estop\nestop.KeyboardStop()\n{ending}"
    done = subprocess.run(
        [sys.executable, "-c", code], stdin=person, stderr=subprocess.DEVNULL, cwd=ROOT
    )
    assert done.returncode
    assert termios.tcgetattr(person) == before
    os.close(robot)
    os.close(person)


def test_no_terminal_no_keyboard(tmp_path: Path) -> None:
    with open(tmp_path / "x", "w+") as file, pytest.raises(ContractError, match=r"is none; start"):
        estop.KeyboardStop(file)


def test_a_signal_presses() -> None:
    before = signal.getsignal(signal.SIGUSR1)
    stop = estop.open_stop("signal")
    assert not stop.pressed()
    os.kill(os.getpid(), signal.SIGUSR1)
    assert until(stop.pressed)
    stop.reset()
    assert not stop.pressed()
    stop.close()
    assert signal.getsignal(signal.SIGUSR1) == before


def test_a_file_presses_until_it_is_gone_and_reset(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    stop = estop.open_stop(f"file:{folder / 'stop'}")
    assert not stop.pressed()
    (folder / "stop").touch()
    assert stop.pressed()
    stop.reset()
    assert stop.pressed()
    (folder / "stop").unlink()
    assert stop.pressed()
    stop.reset()
    assert not stop.pressed()
    folder.rmdir()  # now nobody could press it
    assert stop.pressed()


def test_silence_and_a_word_press() -> None:
    now_s = [100.0]
    stop = estop.HeartbeatStop(("127.0.0.1", 0), 0.5, lambda: now_s[0])
    sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sender.connect(("127.0.0.1", stop.port))
    try:
        assert stop.pressed()  # the other machine is not there yet
        sender.send(b"garbage")
        assert stop.pressed()
        sender.send(estop.ALIVE)
        assert until(lambda: not stop.pressed())
        now_s[0] += 0.49
        assert not stop.pressed()
        now_s[0] += 0.02
        assert stop.pressed()
        sender.send(estop.ALIVE)
        assert not until(lambda: not stop.pressed(), 0.05)  # latched
        stop.reset()
        assert not stop.pressed()
        sender.send(estop.PRESS)
        assert until(stop.pressed)
    finally:
        stop.close()
        sender.close()


def test_a_machine_that_was_never_heard_is_named_and_has_pressed_nothing() -> None:
    stop = estop.HeartbeatStop(("127.0.0.1", 0))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        try:
            assert stop.awaited
            with pytest.raises(ContractError, match=rf"start it on .* THIS_MACHINE:{stop.port}"):
                estop.hear_first([stop], 0.02)
            sender.sendto(estop.ALIVE, ("127.0.0.1", stop.port))
            estop.hear_first([stop], 1.0)
            assert not stop.awaited and not stop.pressed()
        finally:
            stop.close()
    pressed = estop.HeartbeatStop(("127.0.0.1", 0))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.sendto(estop.PRESS, ("127.0.0.1", pressed.port))
        assert until(lambda: not pressed.awaited) and pressed.pressed()
        pressed.close()


def test_the_sender_keeps_a_robot_awake_and_stops_it_at_the_end() -> None:
    stop = estop.open_stop("udp://127.0.0.1:0?2.5")
    assert isinstance(stop, estop.HeartbeatStop)
    command = [sys.executable, "-m", "mjx_s2r.robot.estop", f"127.0.0.1:{stop.port}"]
    sender = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        assert until(lambda: not stop.pressed())
        sender.send_signal(signal.SIGINT)
        assert until(stop.pressed, 1.0)  # by its word, before its silence counts
        assert "stop sent" in sender.communicate(timeout=10)[0]
        assert sender.returncode == 0
    finally:
        sender.kill()
        sender.wait()
        stop.close()


@pytest.mark.parametrize(
    "form",
    ["", "mouse", "file:", "file:/no/such/folder/x", "udp://host", "udp://:9x", "udp://:9?x"],
)
def test_a_wrong_form_is_refused(form: str) -> None:
    with pytest.raises(ContractError):
        estop.open_stop(form)
