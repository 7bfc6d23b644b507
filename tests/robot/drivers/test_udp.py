"""The UDP protocol: its C++ end compiled and driven, also over a wire that loses and damages."""

import contextlib
import itertools
import os
import queue
import random
import select
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import mjx_s2r.robot
from mjx_s2r.contract import ContractError
from mjx_s2r.robot.driver import DriverError, DriverInfo
from mjx_s2r.robot.drivers import udp
from mjx_s2r.robot.drivers.conformance import check_driver
from mjx_s2r.robot.watchdog.config import WatchdogConfig
from mjx_s2r.robot.watchdog.proxy import WatchedDriver
from tests.robot.fakes import contract_for
from tests.robot.waiting import until

SOURCES = Path(mjx_s2r.robot.__file__).parent / "udp_end"
TIMEOUT_S = 0.5  # of the robot itself
needs_compiler = pytest.mark.skipif(shutil.which("g++") is None, reason="no g++ here")


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Returns the example robot, compiled with every warning an error."""
    path = tmp_path_factory.mktemp("udp") / "example_robot"
    flags = ["-std=c++17", "-O1", "-Wall", "-Wextra", "-Wpedantic", "-Werror"]
    subprocess.run(["g++", *flags, SOURCES / "example_robot.cpp", "-o", path], check=True)
    return path


class Robot:
    """The example robot's process: its port, and what it tells."""

    def __init__(self, program: Path) -> None:
        """Starts it."""
        self.process = subprocess.Popen(
            [program, "0", str(TIMEOUT_S), "a,b"], stdout=subprocess.PIPE, text=True
        )
        self._lines: queue.Queue[list[str]] = queue.Queue()
        threading.Thread(target=self._listen, daemon=True).start()
        self.port = int(self.tells("port")[0])

    def _listen(self) -> None:
        """Takes its lines as they come."""
        assert self.process.stdout is not None
        with self.process.stdout as lines:
            for line in lines:
                self._lines.put(line.split())

    def tells(self, word: str) -> list[str]:
        """Waits for a line that begins with a word; returns the rest of it."""
        while (line := self._lines.get(timeout=10.0))[:1] != [word]:
            pass
        return line[1:]


@pytest.fixture
def robot(program: Path) -> Iterator[Robot]:
    """Yields a running robot."""
    started = Robot(program)
    yield started
    started.process.kill()
    started.process.wait()


def drive(driver: udp.UdpRobot | WatchedDriver, target: np.ndarray, seconds: float) -> np.ndarray:
    """Commands a target (J,) for a time, ramping to it; returns where the joints are."""
    start, began_s = driver.read().signals["joint_pos"], time.monotonic()
    while (share := (time.monotonic() - began_s) / seconds) < 1.5:
        driver.read()
        driver.write(start + min(share, 1.0) * (target - start))
        time.sleep(0.01)
    return driver.read().signals["joint_pos"]


@needs_compiler
def test_a_robot_in_another_language_is_driven(robot: Robot) -> None:
    driver = udp.UdpRobot(("127.0.0.1", robot.port))
    info = driver.describe()
    assert info.joints == ("a", "b")
    assert info.timeout_s == TIMEOUT_S
    driver.connect()
    target = np.array([0.2, -0.1])
    np.testing.assert_allclose(drive(driver, target, 0.2), target, atol=1e-9)
    assert -0.005 < time.monotonic() - driver.read().time_s < 0.1
    driver.stop()
    robot.tells("stopped")
    driver.read()
    driver.write(target)  # a stop that was asked for is not latched
    robot.tells("moving")
    assert float(robot.tells("timed_out")[0]) > 0  # without a further command
    time.sleep(0.02)
    driver.read()
    with pytest.raises(DriverError, match=r"stopped by itself: no command reached it for 0\.5 s"):
        driver.write(target)
    driver.connect()
    driver.write(target)
    robot.tells("moving")
    driver.close()
    robot.tells("stopped")


@needs_compiler
def test_the_robots_own_timeout_is_what_is_left(robot: Robot) -> None:
    """The watchdog is killed, and nobody can send a stop any more."""
    contract = contract_for()
    patient = WatchdogConfig(timeout_s=5.0, heartbeat_s=5.0, realtime=False)
    driver = WatchedDriver(f"udp://127.0.0.1:{robot.port}", contract, config=patient)
    with driver:
        driver.connect()
        driver.read()
        last_s = 0.0
        for _ in range(10):
            driver.read()
            last_s = time.monotonic()
            driver.write(np.zeros(2))
            time.sleep(0.01)
        killed_s = time.monotonic()
        os.kill(driver.pid, signal.SIGKILL)
        stopped_s = float(robot.tells("timed_out")[0])
        assert stopped_s >= last_s + TIMEOUT_S - 0.01
        assert stopped_s - killed_s < TIMEOUT_S + 0.5
        with pytest.raises(DriverError, match=r"own timeout of 0\.5 s"):
            while time.monotonic() < killed_s + 5:
                driver.read()
                driver.write(np.zeros(2))
                time.sleep(0.01)


@needs_compiler
def test_its_own_button_needs_a_new_connection(robot: Robot) -> None:
    driver = udp.UdpRobot(("127.0.0.1", robot.port))
    driver.connect()
    driver.write(np.zeros(2))
    robot.tells("moving")
    robot.process.send_signal(signal.SIGUSR1)
    robot.tells("stopped")
    until_s = time.monotonic() + 5
    while not driver.read().estop and time.monotonic() < until_s:
        time.sleep(0.005)
    with pytest.raises(DriverError, match="e-stop is pressed"):
        driver.write(np.zeros(2))
    driver.connect()  # does not release a button
    with pytest.raises(DriverError, match="e-stop is pressed"):
        driver.write(np.zeros(2))
    robot.process.send_signal(signal.SIGUSR2)
    while driver.read().estop and time.monotonic() < until_s:
        time.sleep(0.005)
    driver.connect()
    driver.write(np.zeros(2))
    robot.tells("moving")
    driver.close()


@needs_compiler
def test_a_button_that_was_pressed_and_released_while_idle_is_not_passed_over(
    robot: Robot,
) -> None:
    """The robot takes no commands after it, so a flight of them would be one of a robot at rest."""
    driver = udp.UdpRobot(("127.0.0.1", robot.port))
    with contextlib.closing(driver):
        driver.connect()
        robot.process.send_signal(signal.SIGUSR1)
        assert until(lambda: driver.read().estop)
        robot.process.send_signal(signal.SIGUSR2)
        assert until(lambda: not driver.read().estop)
        with pytest.raises(DriverError, match="was pressed, and released since; connect again"):
            driver.write(np.zeros(2))
        driver.connect()
        driver.write(np.zeros(2))
        robot.tells("moving")


@needs_compiler
def test_the_watchdogs_reset_greets_a_robot_whose_button_was_released(robot: Robot) -> None:
    patient = WatchdogConfig(timeout_s=5.0, heartbeat_s=5.0, realtime=False)
    with WatchedDriver(f"udp://127.0.0.1:{robot.port}", contract_for(), config=patient) as driver:
        driver.connect()
        robot.process.send_signal(signal.SIGUSR1)
        assert until(lambda: driver.status().state == "tripped")
        robot.process.send_signal(signal.SIGUSR2)
        assert until(lambda: not driver.read().estop)
        driver.reset()
        driver.read()
        driver.write(np.zeros(2))
        robot.tells("moving")


def test_a_robot_that_takes_no_command_is_noticed() -> None:
    """An end that says nothing of itself: readings come, and what it took is never newer."""
    robot = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    robot.bind(("127.0.0.1", 0))
    robot.setblocking(False)
    driver = udp.UdpRobot(("127.0.0.1", robot.getsockname()[1]), patience_s=0.5)
    sheet = (
        b'{"name": "r", "joints": ["a"], "command": "position", "unit": "rad", "max_hz": 50,'
        b' "timeout_s": 0.05, "signals": [["joint_pos", 1]]}'
    )
    sequence, is_over, takes = itertools.count(1), threading.Event(), threading.Event()

    def answer() -> None:
        """Answers like a robot."""
        session, peer, taken = 0, None, 0
        while not is_over.wait(0.002):
            with contextlib.suppress(BlockingIOError):
                data, peer = robot.recvfrom(4096)
                got = udp.unpack_datagram(data)
                assert isinstance(got, udp.Datagram)
                session = got.session
                kinds = {1: (udp.Kind.DESCRIBE, sheet), 3: (udp.Kind.ECHOED, got.payload)}
                kinds[7] = udp.Kind.STOPPED, udp.CRC.pack(got.sequence)
                if got.kind == udp.Kind.COMMAND and takes.is_set():
                    taken = got.sequence
                if got.kind in kinds:
                    send(session, peer, *kinds[got.kind])
            if peer is not None:
                head = udp.READING_HEAD.pack(0, taken, time.monotonic())
                send(session, peer, udp.Kind.READING, head + bytes(8))

    def send(session: int, peer: tuple[str, int], kind: udp.Kind, payload: bytes) -> None:
        """Sends a datagram."""
        datagram = udp.Datagram(kind, session, next(sequence), time.monotonic(), payload)
        robot.sendto(udp.pack_datagram(datagram), peer)

    def command(seconds: float) -> None:
        """Sends commands for a time."""
        end_s = time.monotonic() + seconds
        while time.monotonic() < end_s:
            driver.read()
            driver.write(np.zeros(1))
            time.sleep(0.01)

    thread = threading.Thread(target=answer)
    thread.start()
    try:
        driver.connect()
        takes.set()
        command(0.2)
        driver.stop()
        takes.clear()
        began_s = time.monotonic()
        with pytest.raises(DriverError, match="taken none of the commands"):
            command(2.0)
        assert 0.1 < time.monotonic() - began_s < 0.5
    finally:
        driver.close()
        is_over.set()
        thread.join()
        robot.close()


@needs_compiler
def test_it_keeps_the_rules_of_drivers(robot: Robot, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mjx_s2r.robot.drivers.conformance.MOVE_S", 0.3)
    findings = check_driver(udp.UdpRobot(("127.0.0.1", robot.port)))
    assert [finding for finding in findings if not finding.is_kept] == []


class BadWire:
    """A relay that loses, doubles, reorders and damages datagrams, and adds foreign ones."""

    def __init__(self, robot_port: int, seed: int) -> None:
        """Listens at a port of its own."""
        self._rng = random.Random(seed)
        self._sides = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2)]
        for side in self._sides:
            side.bind(("127.0.0.1", 0))
        self.port = self._sides[0].getsockname()[1]
        self._peers: list[tuple[str, int] | None] = [None, ("127.0.0.1", robot_port)]
        self._kept: list[list[bytes]] = [[], []]
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._relay)
        self._thread.start()

    def close(self) -> None:
        """Ends."""
        self._done.set()
        self._thread.join()
        for side in self._sides:
            side.close()

    def _relay(self) -> None:
        """Passes datagrams on, as badly as it can."""
        while not self._done.is_set():
            for side in select.select(self._sides, [], [], 0.05)[0]:
                end = self._sides.index(side)
                data, sender = side.recvfrom(65536)
                if end == 0:
                    self._peers[0] = sender
                for each in self._spoiled(data, self._kept[end]):
                    if (peer := self._peers[1 - end]) is not None:
                        self._sides[1 - end].sendto(each, peer)

    def _spoiled(self, data: bytes, kept: list[bytes]) -> Iterator[bytes]:
        """Yields what comes of one datagram."""
        chance = self._rng.random()
        if chance < 0.15:
            return  # lost
        if chance < 0.25:
            bit = self._rng.randrange(8 * len(data))
            damaged = bytearray(data)
            damaged[bit // 8] ^= 1 << bit % 8
            yield bytes(damaged)
            return
        if chance < 0.35:
            kept.append(data)  # comes later
            return
        yield data
        if chance < 0.5:
            yield data
        if chance < 0.6:
            yield self._rng.randbytes(self._rng.randrange(100))
        if kept and chance < 0.8:
            yield kept.pop(0)


@needs_compiler
def test_a_bad_wire_is_survived(robot: Robot) -> None:
    wire = BadWire(robot.port, seed=3)
    driver = udp.UdpRobot(("127.0.0.1", wire.port))
    try:
        driver.connect()
        stamps, target = [], np.array([0.3, -0.2])
        for index in range(80):
            stamps.append(driver.read().time_s)
            driver.write(target * min(1.0, index / 40))
            time.sleep(0.01)
        assert np.all(np.diff(stamps) > -0.01)
        np.testing.assert_allclose(driver.read().signals["joint_pos"], target, atol=1e-6)
        assert driver.counts["damaged"] > 0
        assert driver.counts["foreign"] > 0
        assert driver.counts["old"] > 0
        driver.stop()  # and waits until the robot has acknowledged it
    finally:
        driver.close()
        wire.close()


def test_one_changed_bit_is_always_found() -> None:
    data = udp.pack_datagram(udp.Datagram(udp.Kind.COMMAND, 7, 8, 1.5, bytes(range(40))))
    assert udp.unpack_datagram(data) == udp.Datagram(6, 7, 8, 1.5, bytes(range(40)))
    for bit in range(8 * len(data)):
        damaged = bytearray(data)
        damaged[bit // 8] ^= 1 << bit % 8
        assert udp.unpack_datagram(bytes(damaged)) in ("damaged", "foreign")
    assert udp.unpack_datagram(data[:-1]) == udp.unpack_datagram(data + b"x") == "damaged"
    assert udp.unpack_datagram(b"") == udp.unpack_datagram(data[:31]) == "foreign"


def test_nobody_there_is_said() -> None:
    driver = udp.UdpRobot(("127.0.0.1", 9), patience_s=0.1)
    driver.stop()
    with pytest.raises(DriverError, match=r"udp://127\.0\.0\.1:9 does not answer"):
        driver.describe()
    with pytest.raises(DriverError, match="call connect first"):
        driver.read()
    with pytest.raises(DriverError, match="press its e-stop"):
        driver.close()


@pytest.mark.parametrize(
    "text", [b"{", b"[]", b'{"joints": ["a"]}', b'{"joints": 3, "signals": []}']
)
def test_a_description_that_is_none_is_refused(text: bytes) -> None:
    with pytest.raises(ContractError, match="description cannot be used"):
        udp._described(text)


def test_limits_that_are_not_described_are_none() -> None:
    text = (
        b'{"name": "r", "joints": ["a"], "command": "position", "unit": "rad", "max_hz": 50,'
        b' "high": [1], "low": [null], "signals": [["joint_pos", 1]], "more": 3}'
    )
    inf = float("inf")
    wanted = DriverInfo(
        "r", ("a",), "position", "rad", (-inf,), (1.0,), (inf,), (inf,), 50, {"joint_pos": 1}
    )
    assert udp._described(text) == replace(wanted, timeout_s=inf)
