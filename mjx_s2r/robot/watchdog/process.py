"""The watchdog's process: it owns the driver, passes commands on, and stops the robot.

Two threads share the driver by a lock. The worker reads it, checks commands and writes them. The
supervisor wakes every `TICK_S` and stops the robot when commands or signs of life are missing, a
stop is pressed, a signal ends the process or the driver holds the worker up; a call of the driver
that does not come back gets `WatchdogConfig.grace_s`, and then the robot is stopped beside it.

A stop that the watchdog decided on is latched until `WatchedDriver.reset`; one that the controller
asked for is not. The process leaves when its controller does, after it stopped the robot.
"""

import contextlib
import json
import mmap
import os
import select
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from typing import Any

import numpy as np

from mjx_s2r.contract import from_json
from mjx_s2r.robot.clock import RealClock
from mjx_s2r.robot.driver import Driver, EpisodicDriver, Reading, check
from mjx_s2r.robot.drivers.named import open_driver
from mjx_s2r.robot.estop import FIRST_BEAT_S, HeartbeatStop, LatchedStop, hear_first, open_stop
from mjx_s2r.robot.watchdog.board import ARMED, GONE, IDLE, TRIPPED, SentCommand, SharedBoard
from mjx_s2r.robot.watchdog.config import WatchdogConfig
from mjx_s2r.robot.watchdog.journal import Journal
from mjx_s2r.robot.watchdog.judge import CommandJudge
from mjx_s2r.robot.watchdog.privileges import FIFO, hold_steady, hurry

TICK_S = 0.002  # between two looks of the supervisor
NAP_S = 0.005  # longest sleep of the worker
AGAIN_S = 0.05  # between two tries of a stop that failed
LAST_TRIES = 10  # of them when the process leaves
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
SIGNALLED = "a signal ended the watchdog"
POSITIONS = "joint_pos"
BEGIN = "begin "  # and the number of an episode
OWN_ESTOP = "the robot's own e-stop is pressed"


def serve(orders: socket.socket, wake: int, memory: int) -> None:
    """Runs a watchdog until its controller leaves.

    Args:
        orders: stream to the controller: one line of JSON each way.
        wake: end of a pipe that says "look for a command".
        memory: file that both ends map.
    """
    lines = orders.makefile("rb")
    setup = json.loads(lines.readline())
    try:
        watchdog = Watchdog(setup, memory)
        _say(orders, info=watchdog.describe())
    except Exception as error:  # whatever a driver of somebody else raises is the controller's
        _say(orders, error=str(error), kind=type(error).__name__)
        return
    watchdog.run(orders, wake)


def _say(orders: socket.socket, **answer: Any) -> None:
    """Answers the controller, if it is still there."""
    with contextlib.suppress(OSError):
        orders.sendall(json.dumps(answer).encode() + b"\n")


class Watchdog:
    """The two threads and what they share."""

    def __init__(self, setup: dict[str, Any], memory: int) -> None:
        """Builds the driver and the stops; connects nothing.

        Raises:
            Exception: whatever the driver raises.
        """
        self._config = WatchdogConfig(**setup["config"])
        contract = from_json(setup["contract"])
        self._journal = Journal(self._config.log, realtime=self._config.realtime)
        self._driver: Driver = open_driver(setup["driver"], contract, RealClock(), setup["options"])
        self._info = self._driver.describe()
        check(contract, self._info)  # before anything reckons with limits of other joints
        self._judge = CommandJudge(contract, self._info)
        self._board = SharedBoard(self._info)
        os.ftruncate(memory, self._board.size)
        self._board.attach(mmap.mmap(memory, self._board.size))
        self._stops: list[LatchedStop] = [open_stop(form) for form in self._config.stops]
        self._timeout_s = self._config.command_timeout_s(contract.control_hz)
        self._silence_s = self._config.silence_s()
        self._answer_s = self._config.answer_s(contract.control_hz)
        self._period_s = 1 / self._config.reading_hz(contract.control_hz, self._info.max_hz)
        self._measures = dict(self._info.signals).get(POSITIONS) == len(self._info.joints)
        self._lock = threading.Lock()  # who holds it calls the driver
        self._deciding = threading.Lock()  # who holds it changes the state
        self._reading: Reading | None = None
        self._busy_s = float("inf")  # when the call of the driver under way began
        self._again_s = float("inf")  # when a stop that failed is tried again
        self._halts = 0
        self._fresh_s = float("-inf")  # when the newest command that answers a new reading was sent
        self._seen = 0  # number of the last command that was judged
        self._connected = self._leaving = self._failed = False
        self._pressed = False  # the robot's own e-stop, since the last reset
        self._next_s = 0.0
        self._counts = {"passed": 0, "late": 0, "readings": 0}
        self._longest_s = 0.0
        self._supervisor = threading.Thread(target=self._supervise, daemon=True)

    def describe(self) -> dict[str, Any]:
        """Returns the driver's data sheet as JSON values."""
        return asdict(self._info)

    def run(self, orders: socket.socket, wake: int) -> None:
        """Works until the controller leaves or a signal ends the process; the robot is stopped."""
        got = hold_steady(realtime=self._config.realtime)
        for number in SIGNALS:
            signal.signal(number, self._on_signal)
        self._journal.note(
            "started",
            pid=os.getpid(),
            robot=self._info.name,
            got=got,
            timeout_s=self._timeout_s,
            heartbeat_s=self._silence_s,
        )
        self._supervisor.start()
        why = "the watchdog failed"
        try:
            why = self._work(orders, wake)
        except Exception as error:
            why = f"the watchdog failed: {type(error).__name__}: {error}"
            self._journal.note("failed", error=why)
        finally:
            self._leave(why)

    def _on_signal(self, number: int, frame: object) -> None:
        """Notes a signal that ends the process: a robot that moves is stopped, the worker leaves.

        The supervisor stops it, because the worker may be inside a call of the driver.
        """
        self._leaving = True

    def _work(self, orders: socket.socket, wake: int) -> str:
        """Serves the controller; returns why it ended."""
        lines, files = b"", [orders.fileno(), wake]
        self._next_s = time.monotonic()
        while not self._leaving:
            now_s = time.monotonic()
            self._board.set("alive_s", now_s)
            wait_s = self._next_s - now_s if self._connected else NAP_S
            ready = select.select(files, (), (), min(max(wait_s, 0.0), NAP_S))[0]
            if wake in ready:
                os.read(wake, 4096)
            if files[0] in ready:
                got = orders.recv(4096)
                if not got:
                    return "the controller's process ended"
                lines += got
                while b"\n" in lines:
                    line, _, lines = lines.partition(b"\n")
                    if not self._obey(line.decode().strip(), orders):
                        return "closed by the controller"
            if self._connected:
                self._pass_commands()
                if time.monotonic() >= self._next_s:
                    self._next_s = max(self._next_s + self._period_s, time.monotonic())
                    self._read()
        return SIGNALLED

    def _obey(self, order: str, orders: socket.socket) -> bool:
        """Carries one order out and answers; returns whether to go on."""
        try:
            if order == "connect":
                self._connect()
            elif order == "reset":
                self._reset()
            elif order.startswith(BEGIN):
                self._begin(int(order.removeprefix(BEGIN)))
            elif order == "close":
                self._leave("closed by the controller")
                _say(orders, ok=True)
                return False
        except Exception as error:
            _say(orders, error=str(error), kind=type(error).__name__)
        else:
            _say(orders, ok=True)
        return True

    def _connect(self) -> None:
        """Opens the robot and takes the first reading.

        Raises:
            ContractError: a heartbeat that was never heard.
            Exception: what the driver raises.
        """
        if not self._connected:
            hear_first(self._stops, min(FIRST_BEAT_S, self._config.start_s / 2))
            with self._lock:
                self._driver.connect()
                self._reading = self._driver.read()
            self._board.put_reading(self._reading)
            self._connected = True
            self._journal.note("connected")
            self._heed(self._reading)

    def _begin(self, number: int) -> None:
        """Has a stand-in that knows its task begin an episode.

        Raises:
            RuntimeError: the robot moves, or is no such one.
            Exception: what the driver raises.
        """
        driver = self._driver
        if not self._connected or self._info.task is None or not isinstance(driver, EpisodicDriver):
            raise RuntimeError("only a stand-in that knows its task begins episodes")
        if self._board.get("state") == ARMED:
            raise RuntimeError("the robot moves; stop it before another episode begins")
        with self._lock:
            driver.begin_episode(number)
            self._reading = driver.read()
        self._board.put_reading(self._reading)

    def _reset(self) -> None:
        """Releases what was latched.

        A driver that failed is closed and connected again, and so is a robot whose own e-stop was
        pressed: it may take no commands before it is greeted anew.

        Raises:
            RuntimeError: a stop that is still pressed.
            Exception: what the driver raises again.
        """
        for stop in self._stops:
            stop.reset()
            if stop.pressed():
                raise RuntimeError(f"the stop {stop.name} is still pressed; release it first")
        if self._connected:
            with self._lock:
                if self._failed or self._pressed:
                    self._driver.close()
                    self._driver.connect()
                self._reading = self._driver.read()
            if self._reading.estop:
                raise RuntimeError("the robot's own e-stop is still pressed; release it first")
            self._board.put_reading(self._reading)
        with self._deciding:
            self._seen = int(self._board.get("commands"))
            self._judge.rest()
            self._failed = self._pressed = False
            self._board.set_state(IDLE, "", time.monotonic())
        self._journal.note("reset")

    def _read(self) -> None:
        """Reads the driver and publishes the reading; what fails stops the robot."""
        if self._failed:
            return
        try:
            measured: Reading = self._call(self._driver.read)
            is_down = any(stop.down for stop in self._stops)
            reading = replace(measured, estop=True) if is_down else measured
            self._board.put_reading(reading)
            self._reading = reading
        except Exception as error:
            self._fail("reading", error)
            return
        self._counts["readings"] += 1
        self._heed(measured)

    def _heed(self, reading: Reading) -> None:
        """Stops the robot and latches it where its own e-stop is pressed, also between flights."""
        if reading.estop:
            self._pressed = True
            self._trip(OWN_ESTOP)

    def _pass_commands(self) -> None:
        """Judges every new command in its order and sends the newest, if all are good."""
        newest, halts = int(self._board.get("commands")), self._halts
        if self._board.get("state") == TRIPPED:
            self._seen = newest
        command = None
        for number in range(self._seen + 1, newest + 1):
            sent, self._seen = self._board.take_command(number), number
            wrong = "a command was lost while the driver held the watchdog up"
            if sent is not None:
                wrong = self._judged(sent)
            if wrong:
                self._trip(wrong)
                return
            assert sent is not None
            command = None if self._is_late(sent) else sent.command
        if command is not None and halts == self._halts:
            try:
                self._call(lambda: self._write(command, halts))
            except Exception as error:
                self._fail("writing", error)

    def _judged(self, sent: SentCommand) -> str:
        """Returns what is wrong with a command, or ""."""
        if not sent.sent_s <= time.monotonic() + TICK_S:
            return f"a command says that it was sent at {sent.sent_s:.3f} s, which is to come"
        reading, measured = self._reading, None
        if self._measures and reading is not None and POSITIONS in reading.signals:
            measured = np.asarray(reading.signals[POSITIONS], float)
        return self._judge.judge(sent.command, sent.sent_s, measured)

    def _is_late(self, sent: SentCommand) -> bool:
        """Returns whether a command came too late; it is not sent, and keeps nothing alive."""
        now_s = time.monotonic()
        is_late = now_s > sent.until_s or now_s - sent.reading_s > self._answer_s
        self._counts["late"] += is_late
        return is_late

    def _write(self, command: np.ndarray, halts: int) -> None:
        """Sends a command, unless the robot was stopped since it was judged."""
        with self._deciding:
            if self._halts != halts or self._board.get("state") == TRIPPED:
                return
            if self._board.get("state") == IDLE:
                self._journal.note("moving")
                self._board.set_state(ARMED, "", time.monotonic())
        self._driver.write(command)
        self._counts["passed"] += 1

    def _call(self, function: Callable[[], Any]) -> Any:
        """Calls the driver; stops it once more where it was stopped meanwhile."""
        with self._lock:
            halts, self._busy_s = self._halts, time.monotonic()
            try:
                return function()
            finally:
                self._longest_s = max(self._longest_s, time.monotonic() - self._busy_s)
                self._busy_s = float("inf")
                if self._halts != halts:
                    self._driver.stop()

    def _fail(self, doing: str, error: Exception) -> None:
        """Stops the robot because its driver raised."""
        self._failed = True
        self._trip(f"the driver failed in {doing}: {type(error).__name__}: {error}")

    def _supervise(self) -> None:
        """Looks every tick for a reason to stop, until the robot was stopped for the last time."""
        if self._config.realtime:
            hurry(FIFO + 1)
        while self._board.get("state") != GONE:
            time.sleep(TICK_S)
            now_s = time.monotonic()
            asked = int(self._board.get("stop_asked"))
            if asked != self._board.get("stop_done"):
                self._stop_as_asked(asked)
            reason = self._overdue(now_s)
            if reason:
                self._trip(reason)
            if now_s > self._again_s:
                self._try_to_stop()

    def _overdue(self, now_s: float) -> str:
        """Returns why the robot must be stopped now, or ""."""
        state = self._board.get("state")
        if state == TRIPPED:
            return ""
        for stop in self._stops:
            if isinstance(stop, HeartbeatStop) and stop.awaited:
                continue  # `_connect` refuses a robot whose other machine was never heard
            if stop.pressed():
                return f"e-stop: {stop.name}"
        if state != ARMED:
            return ""
        if self._leaving:
            return SIGNALLED
        self._fresh_s = max(self._fresh_s, self._board.last_sent_s(self._answer_s))
        silent_s = now_s - self._fresh_s
        if silent_s > self._timeout_s:
            return f"no command for {1e3 * silent_s:.0f} ms (limit {1e3 * self._timeout_s:.0f} ms)"
        silent_s = now_s - self._board.get("beat_s")
        limit_s = self._silence_s
        if silent_s > limit_s:
            return (
                f"no sign of life of the controller's process for {1e3 * silent_s:.0f} ms (limit "
                f"{1e3 * limit_s:.0f} ms)"
            )
        held_s = now_s - self._busy_s
        if held_s > self._config.io_s:
            return f"the driver does not answer for {1e3 * held_s:.0f} ms"
        return ""

    def _trip(self, reason: str) -> None:
        """Stops the robot and latches it, with the reason."""
        with self._deciding:
            if self._board.get("state") in (TRIPPED, GONE):
                return
            moved = bool(self._board.get("state") == ARMED)
            sent_s, beat_s = self._board.last_sent_s(), float(self._board.get("beat_s"))
            decided_s = time.monotonic()
            self._board.set_state(TRIPPED, reason, decided_s)
            self._halts += 1
        stopped = self._try_to_stop()
        self._journal.note(
            "tripped",
            reason=reason,
            moved=moved,
            decided_s=decided_s,
            stopped_s=time.monotonic() if stopped else None,
            last_command_s=sent_s,
            beat_s=beat_s,
            **self._counts,
        )

    def _stop_as_asked(self, asked: int) -> None:
        """Stops the robot because the controller asked for it; nothing is latched."""
        with self._deciding:
            self._seen = int(self._board.get("commands"))
            self._judge.rest()
            self._halts += 1
            if self._board.get("state") == ARMED:
                self._board.set_state(IDLE, "", time.monotonic())
        if self._try_to_stop():
            self._journal.note("stopped as asked", **self._counts)
        else:
            self._trip("the driver failed in stopping; the watchdog goes on trying")
        self._board.set("stop_done", asked)

    def _try_to_stop(self) -> bool:
        """Stops the driver; waits for a call under way for `grace_s` only.

        Returns:
            Whether it stopped; the supervisor tries again where it did not.
        """
        held = self._lock.acquire(timeout=self._config.grace_s)
        try:
            if self._connected:
                self._driver.stop()
            self._again_s = float("inf")
            self._board.set("unstopped", 0)
        except Exception as error:
            self._board.set("unstopped", 1)
            self._journal.note("stop failed", error=f"{type(error).__name__}: {error}")
            self._again_s = time.monotonic() + AGAIN_S
            return False
        finally:
            if held:
                self._lock.release()
        return True

    def _leave(self, reason: str) -> None:
        """Stops the robot, releases it and ends the log; once."""
        if self._board.get("state") == GONE:
            return
        with self._deciding:
            self._halts += 1
            if self._board.get("state") == ARMED:
                self._board.set_state(IDLE, "", time.monotonic())
        stopped = False
        for _ in range(LAST_TRIES):
            stopped = self._try_to_stop()
            if stopped:
                break
            time.sleep(AGAIN_S)
        left_s = time.monotonic()
        with self._deciding:
            self._board.set_state(GONE, self._board.reason or reason, left_s)
        if self._supervisor.is_alive():
            self._supervisor.join(1.0)  # it may be stopping the robot, which is not closed before
        self._journal.note(
            "left",
            reason=reason,
            stopped_s=left_s if stopped else None,
            last_command_s=self._board.last_sent_s(),
            beat_s=self._board.get("beat_s"),
            longest_call_s=self._longest_s,
            **self._counts,
        )
        held = self._lock.acquire(timeout=self._config.io_s)
        try:
            self._driver.close()
        except Exception as error:
            self._journal.note("close failed", error=f"{type(error).__name__}: {error}")
        finally:
            if held:
                self._lock.release()
            for stop in self._stops:
                stop.close()
            self._journal.close()


def run_watchdog() -> None:
    """Runs the watchdog of the file numbers on the command line; `proxy` starts it."""
    numbers = [int(x) for x in sys.argv[1:4]]
    serve(socket.socket(fileno=numbers[0]), numbers[1], numbers[2])
