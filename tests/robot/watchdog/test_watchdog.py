"""The watchdog's process: what it passes on, what it refuses, and that it stops the robot."""

import json
import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from benchmarks.watchdog_trials import failure_times
from mjx_s2r.contract import ContractError, to_json
from mjx_s2r.robot import estop
from mjx_s2r.robot.cli.parser import RefusedError
from mjx_s2r.robot.cli.press_test import release_own
from mjx_s2r.robot.driver import DriverError
from mjx_s2r.robot.watchdog import process
from mjx_s2r.robot.watchdog.config import WatchdogConfig
from mjx_s2r.robot.watchdog.proxy import WatchdogError, WatchedDriver
from tests.robot.waiting import until
from tests.robot.watchdog.fake_robots import contract_at

ROBOT = "tests.robot.watchdog.fake_robots:recorder"
HZ = 50.0
PATIENT = WatchdogConfig(timeout_s=1.0, heartbeat_s=1.0, realtime=False)
ZERO = np.zeros(2, np.float32)
Start = Callable[..., tuple[WatchedDriver, Path]]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Yields a function that starts a watchdog with a recorder behind it, and ends it."""
    started = []

    def starts(
        config: WatchdogConfig = PATIENT, cameras: bool = False, **options: str
    ) -> tuple[WatchedDriver, Path]:
        path = tmp_path / "calls"
        contract = contract_at(HZ, cameras)
        driver = WatchedDriver(ROBOT, contract, {"path": str(path), **options}, config)
        started.append(driver)
        driver.connect()
        return driver, path

    yield starts
    for driver in started:
        driver.close()


def calls(path: Path, kind: str = "") -> list[list[str]]:
    """Returns the robot's calls, each as its words."""
    lines = [line.split() for line in path.read_text().splitlines()]
    return [words for words in lines if not kind or words[0] == kind]


def go(driver: WatchedDriver) -> None:
    """Sends one command that answers a new reading."""
    driver.read()
    driver.write(ZERO)


def is_tripped(driver: WatchedDriver) -> bool:
    """Returns whether the watchdog latched a stop."""
    return driver.status().state == "tripped"


def test_commands_and_readings_pass_unchanged(start: Start) -> None:
    driver, path = start(cameras=True)
    sent = np.array([[0.01, -0.02], [0.023456789, -1e-9], [1 / 3e2, 0.0]], np.float32)
    for number, command in enumerate(sent):
        driver.read()
        driver.write(command)
        assert until(lambda n=number: len(calls(path, "write")) > n)
    got = [[float.fromhex(x) for x in words[2:]] for words in calls(path, "write")]
    assert got == sent.astype(float).tolist()
    assert until(lambda: driver.read().signals["joint_pos"].tolist() == sent[-1].tolist())
    first = driver.read()
    assert until(lambda: driver.read().images["front"][0, 0, 0] != first.images["front"][0, 0, 0])
    assert all(len(np.unique(r.images["front"])) == 1 for r in (first, driver.read()))
    assert first.images["front"].shape == (8, 6, 3)
    assert 0 <= time.monotonic() - driver.read().time_s < 1


def test_a_stop_that_is_asked_for_is_not_latched(start: Start) -> None:
    driver, path = start()
    go(driver)
    driver.stop()
    driver.stop()
    assert driver.status().state == "idle"
    count = len(calls(path, "stop"))
    assert count >= 2
    go(driver)
    assert until(lambda: driver.status().state == "moving")
    driver.close()
    driver.close()
    driver.stop()
    assert [words[0] for words in calls(path)][-2:] == ["stop", "close"]


def test_silence_stops_the_robot_until_a_person_resets(start: Start, tmp_path: Path) -> None:
    log = tmp_path / "watchdog.jsonl"
    driver, path = start(WatchdogConfig(timeout_s=0.1, heartbeat_s=5.0, log=str(log)))
    go(driver)
    assert until(lambda: is_tripped(driver))
    with pytest.raises(WatchdogError, match=r"no command for \d+ ms \(limit 100 ms\).*reset"):
        driver.write(ZERO)
    assert until(lambda: len(calls(path, "stop")) == 1)
    assert driver.read().signals["joint_pos"].shape == (2,)
    driver.reset()
    go(driver)
    driver.close()
    events = {line["event"]: line for line in map(json.loads, log.read_text().splitlines())}
    assert list(events)[:3] == ["started", "connected", "moving"]
    tripped = events["tripped"]
    assert tripped["decided_s"] - tripped["last_command_s"] >= 0.1
    stop_s = float(calls(path, "stop")[0][1])
    assert tripped["decided_s"] <= stop_s <= tripped["stopped_s"]


REFUSED = {
    "nan": (np.array([np.nan, 0.0]), "not finite"),
    "infinity": (np.array([0.0, -np.inf]), "'b' is not finite"),
    "range": (np.array([1.5, 0.0]), "'a' is outside"),
    "jump": (np.array([0.0, 0.9]), "'b' jumps"),
}


def test_what_no_guard_lets_through_stops_the_robot(start: Start) -> None:
    driver, path = start()
    for command, said in REFUSED.values():
        go(driver)
        assert until(lambda: driver.status().state == "moving")
        # The proxy refuses what is not finite, so a broken controller's memory is acted out.
        now_s = time.monotonic()
        driver._board.put_command(command, (1, now_s), now_s, now_s + 1)
        os.write(driver._wake, b"c")
        assert until(lambda: is_tripped(driver)), said
        assert said in driver.status().reason
        driver.reset()
    sent = {tuple(words[2:]) for words in calls(path, "write")}
    assert sent == {((0.0).hex(), (0.0).hex())}
    assert len(calls(path, "stop")) == len(REFUSED)


def test_a_command_whose_time_is_over_is_not_sent(start: Start) -> None:
    driver, path = start()
    now_s = time.monotonic()
    driver._board.put_command(ZERO, (1, now_s), now_s - 1, now_s - 0.01)  # came too late
    os.write(driver._wake, b"c")
    time.sleep(0.05)
    driver._board.put_command(ZERO, (1, now_s - 1), now_s, now_s + 1)  # answers an old reading
    os.write(driver._wake, b"c")
    time.sleep(0.05)
    assert calls(path, "write") == []
    assert driver.status().state == "idle"


@pytest.mark.parametrize("call", ["read", "write"])
def test_a_driver_that_raises_is_named(start: Start, call: str) -> None:
    driver, path = start(fail=call, after="3")
    with pytest.raises(DriverError, match=f"driver failed in {call[:4]}.*unplugged"):
        for _ in range(1000):
            driver.read()
            driver.write(ZERO)
            time.sleep(0.005)
    assert until(lambda: bool(calls(path, "stop")))


def test_a_reset_connects_a_driver_that_failed_again(start: Start) -> None:
    driver, path = start(fail="read", after="3", mended="5")
    assert until(lambda: is_tripped(driver))
    with pytest.raises(DriverError, match="unplugged"):
        driver.reset()
    driver.reset()
    go(driver)
    assert until(lambda: driver.status().state == "moving")
    assert [w[0] for w in calls(path) if w[0] != "stop"][-3:] == ["close", "connect", "write"]


@pytest.mark.parametrize("call", ["read", "write"])
def test_a_driver_that_hangs_is_stopped_beside(start: Start, call: str) -> None:
    config = WatchdogConfig(timeout_s=5.0, heartbeat_s=5.0, io_s=0.05)
    driver, path = start(config, hang=call, after="3", seconds="0.5")
    began_s = time.monotonic()
    with pytest.raises(WatchdogError, match="driver does not answer"):
        while time.monotonic() < began_s + 5:
            driver.read()
            driver.write(ZERO)
            time.sleep(0.005)
    assert until(lambda: bool(calls(path, "stop")))
    first_s = float(calls(path, "stop")[0][1])
    assert first_s - float(calls(path, "write")[-1][1]) < 0.45  # before the call came back
    assert until(lambda: len(calls(path, "stop")) >= 2)  # and again when it did


def test_a_stop_that_fails_is_tried_again(start: Start) -> None:
    driver, path = start(WatchdogConfig(timeout_s=0.05, heartbeat_s=5.0), fail="stop")
    go(driver)
    assert until(lambda: len(calls(path, "stop")) >= 3)
    with pytest.raises(WatchdogError, match="NOT STOPPED"):  # and nobody is told that it worked
        driver.stop()


def test_a_dead_watchdog_is_noticed(start: Start) -> None:
    driver, _ = start()
    go(driver)
    os.kill(driver.pid, signal.SIGKILL)
    with pytest.raises(WatchdogError, match=r"watchdog died.*timeout of none at all"):
        for _ in range(500):
            driver.read()
            driver.write(ZERO)
            time.sleep(0.01)
    with pytest.raises(WatchdogError, match="e-stop"):
        driver.stop()
    assert driver.status().state == "gone"


def test_a_signal_stops_the_robot_first(start: Start) -> None:
    driver, path = start()
    go(driver)
    os.kill(driver.pid, signal.SIGTERM)
    assert until(lambda: [words[0] for words in calls(path)][-2:] == ["stop", "close"])
    with pytest.raises(DriverError):
        for _ in range(500):
            driver.read()
            driver.write(ZERO)
            time.sleep(0.002)
    driver.stop()


def test_a_signal_stops_a_robot_whose_driver_hangs(start: Start, tmp_path: Path) -> None:
    """The stop comes beside the call that does not come back, long before that does."""
    log = tmp_path / "watchdog.jsonl"
    config = WatchdogConfig(timeout_s=5.0, heartbeat_s=5.0, io_s=5.0, log=str(log), realtime=False)
    driver, path = start(config, hang="write", seconds="1.5")
    go(driver)
    assert until(lambda: bool(calls(path, "write")))
    os.kill(driver.pid, signal.SIGTERM)
    signalled_s = time.monotonic()
    assert until(lambda: bool(calls(path, "stop")))
    assert float(calls(path, "stop")[0][1]) - signalled_s < 0.75
    with pytest.raises(WatchdogError, match="a signal ended the watchdog"):
        driver.write(ZERO)
    assert until(lambda: [words[0] for words in calls(path)][-2:] == ["stop", "close"])
    assert until(lambda: '"left"' in log.read_text())
    noted = {line["event"]: line for line in map(json.loads, log.read_text().splitlines())}
    assert noted["tripped"]["moved"] and noted["left"]["reason"] == "a signal ended the watchdog"


def test_a_stop_file_is_honoured_where_the_controller_is_stuck(
    start: Start, tmp_path: Path
) -> None:
    button = tmp_path / "stop"
    config = WatchdogConfig(timeout_s=5.0, heartbeat_s=5.0, stops=(f"file:{button}",))
    driver, path = start(config)
    go(driver)
    button.touch()
    assert until(lambda: bool(calls(path, "stop")))
    assert until(lambda: driver.read().estop)
    with pytest.raises(WatchdogError, match="e-stop: file"):
        driver.write(ZERO)
    with pytest.raises(WatchdogError, match="still pressed"):
        driver.reset()
    button.unlink()
    driver.reset()
    assert until(lambda: not driver.read().estop)
    go(driver)


@pytest.mark.parametrize("moved", [False, True])
def test_the_robots_own_stop_stays_pressed_until_a_person_resets(
    start: Start, tmp_path: Path, moved: bool
) -> None:
    """Also where it was pressed and released between two flights."""
    button = tmp_path / "button"
    driver, path = start(button=str(button))
    if moved:
        go(driver)
    button.touch()
    assert until(lambda: is_tripped(driver))
    with pytest.raises(WatchdogError, match="still pressed; release it first"):
        driver.reset()
    button.unlink()
    assert until(lambda: not driver.read().estop)
    written = len(calls(path, "write"))
    with pytest.raises(WatchdogError, match="the robot's own e-stop is pressed; find the cause"):
        driver.write(ZERO)
    driver.reset()
    assert [words[0] for words in calls(path)][-2:] == ["close", "connect"], "greeted anew"
    go(driver)
    assert until(lambda: len(calls(path, "write")) == written + 1)


def test_what_was_pressed_for_the_checklist_is_released_with_it(
    start: Start, tmp_path: Path
) -> None:
    button = tmp_path / "button"
    driver, _ = start(button=str(button))
    release_own(driver)
    assert driver.status().state == "idle"
    button.touch()
    assert until(lambda: is_tripped(driver))
    with pytest.raises(RefusedError, match=r"is not released.*nothing was moved"):
        release_own(driver)
    button.unlink()
    release_own(driver)
    go(driver)
    driver.stop()


def test_a_heartbeat_that_never_came_is_no_press(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "FIRST_BEAT_S", 0.05)
    config = WatchdogConfig(stops=("udp://127.0.0.1:0",), realtime=False)
    setup = {"driver": ROBOT, "contract": to_json(contract_at(HZ)), "config": config.to_json()}
    memory = os.memfd_create("test")
    watchdog = process.Watchdog(setup | {"options": {"path": str(tmp_path / "calls")}}, memory)
    (stop,) = watchdog._stops
    assert watchdog._overdue(time.monotonic()) == ""
    with pytest.raises(ContractError, match="no heartbeat at port"):
        watchdog._connect()
    assert calls(tmp_path / "calls") == [], "the robot is not opened"
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.sendto(estop.ALIVE, ("127.0.0.1", stop.port))
        watchdog._connect()
        assert watchdog._overdue(time.monotonic()) == ""
        sender.sendto(estop.PRESS, ("127.0.0.1", stop.port))
        assert until(lambda: "e-stop: heartbeat" in watchdog._overdue(time.monotonic()))
    watchdog._leave("the test is over")
    os.close(memory)


def test_what_cannot_be_built_is_said_by_the_constructor(tmp_path: Path) -> None:
    contract = contract_at(HZ)
    with pytest.raises(ContractError, match=r"did you mean 'bench'"):
        WatchedDriver("bensch", contract)
    with pytest.raises(ContractError, match=r"latency_ms.*must be a number"):
        WatchedDriver("bench", contract, {"latency_ms": "much"})
    with pytest.raises(WatchdogError, match=r"No such file"):
        WatchedDriver("bench", contract, None, WatchdogConfig(log=str(tmp_path / "no" / "log")))


def test_a_data_sheet_that_cannot_be_told_is_said_by_the_constructor(tmp_path: Path) -> None:
    options = {"path": str(tmp_path / "calls"), "bytes": "yes"}
    with pytest.raises(WatchdogError, match=r"cannot be used: TypeError: .*bytes"):
        WatchedDriver(ROBOT, contract_at(HZ), options, PATIENT)


def test_times_follow_from_the_rate() -> None:
    config = WatchdogConfig()
    limits = {hz: config.command_timeout_s(hz) for hz in (1000.0, 50.0, 25.0, 10.0)}
    assert limits == pytest.approx({1000.0: 0.04, 50.0: 0.04, 25.0: 0.05, 10.0: 0.11})
    assert config.reading_hz(25.0, 60.0) == 60.0
    assert (config.silence_s(), WatchdogConfig(timeout_s=0.3).silence_s()) == (0.04, 0.3)
    for wrong in ({"timeout_s": -1}, {"heartbeat_s": -1}, {"io_s": np.nan}, {"stops": ("signal",)}):
        with pytest.raises(ContractError):
            WatchdogConfig(**wrong)


@pytest.mark.parametrize("kind", ["stopped", "killed", "blocked", "memory"])
def test_a_robot_is_not_left_to_itself(kind: str) -> None:
    assert failure_times(kind, 1).max() < 500  # 50 ms on a machine that is not overrun


@pytest.mark.slow
@pytest.mark.parametrize(
    "kind", ["stopped", "killed", "interrupted", "blocked", "waiting", "memory", "out of memory"]
)
@pytest.mark.timeout(900)
def test_the_robot_stops_within_50_ms(kind: str) -> None:
    """p99 and not the longest: a virtual machine that stands still for a moment stops nothing."""
    assert np.percentile(failure_times(kind, 200), 99) < 50
