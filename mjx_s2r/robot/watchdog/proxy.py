"""The controller's end of the watchdog: a `Driver` that talks to the process owning the robot."""

import contextlib
import json
import math
import mmap
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from mjx_s2r.contract import ContractError, Optics, PolicyContract, to_json
from mjx_s2r.robot.driver import CameraInfo, DriverError, DriverInfo, Reading, TaskRules
from mjx_s2r.robot.watchdog.board import GONE, TRIPPED, SharedBoard
from mjx_s2r.robot.watchdog.config import WatchdogConfig

BEAT_S = 0.005  # between two signs of life
DEAD_S = 0.5  # silence of the watchdog after which it counts as dead
ANSWER_S = 1.0  # longest wait for a stop
CLOSE_S = 3.0  # for a driver to close
CODE = (
    "import json, sys; sys.path[:] = json.loads(sys.argv.pop());"
    "from mjx_s2r.robot.watchdog.process import run_watchdog; run_watchdog()"
)
State = Literal["idle", "moving", "tripped", "gone"]
STATES: tuple[State, ...] = ("idle", "moving", "tripped", "gone")


class WatchdogError(DriverError):
    """The watchdog stopped the robot, or is gone; the message says why and what to do."""


@dataclass(frozen=True)
class WatchdogStatus:
    """State of the watchdog, why, and since when, s on the monotonic clock."""

    state: State
    reason: str
    since_s: float


class WatchedDriver:
    """A robot behind a watchdog; implements `mjx_s2r.robot.driver.Driver`.

    `read` returns the newest reading without a system call. `write` raises where the watchdog has
    stopped the robot; a person calls `reset` then. Times are those of `RealClock`.
    """

    def __init__(
        self,
        name: str,
        contract: PolicyContract,
        options: Mapping[str, str] | None = None,
        config: WatchdogConfig | None = None,
    ) -> None:
        """Starts the process, which builds the driver; the robot is not connected yet.

        Args:
            name: of the driver, see `mjx_s2r.robot.drivers.named.open_driver`.
            contract: the policy that will drive it.
            options: of the driver.
            config: settings of the watchdog.

        Raises:
            ContractError: the driver, its options, a stop or the log cannot be had.
            WatchdogError: the process does not start.
        """
        self._config = config or WatchdogConfig()
        self._valid_s = self._config.command_timeout_s(contract.control_hz)
        self._answer_s = self._config.answer_s(contract.control_hz)
        memory = _memory_file()
        ours, theirs = socket.socketpair()
        wake, self._wake = os.pipe()
        os.set_blocking(self._wake, False)
        self._process = subprocess.Popen(
            [sys.executable, "-c", CODE, str(theirs.fileno()), str(wake), str(memory),
             json.dumps([path or os.getcwd() for path in sys.path])],
            pass_fds=(theirs.fileno(), wake, memory),
            stdin=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C in the terminal reaches the controller alone
        )  # fmt: skip
        theirs.close()
        os.close(wake)
        self._orders, self._answers = ours, ours.makefile("rb")
        self._gone = threading.Event()
        self._ready = False
        setup = {
            "driver": name,
            "contract": to_json(contract),
            "options": dict(options or {}),
            "config": self._config.to_json(),
        }
        try:
            answer = self._ask(json.dumps(setup))
            self._info = _info_of(answer["info"])
            self._board = SharedBoard(self._info)
            self._board.attach(mmap.mmap(memory, self._board.size))
        except BaseException:
            self._abandon()
            raise
        finally:
            os.close(memory)
        self._answered = 0, -math.inf

    @property
    def pid(self) -> int:
        """Process id of the watchdog."""
        return self._process.pid

    def __enter__(self) -> "WatchedDriver":
        """Returns itself; `close` runs at the end."""
        return self

    def __exit__(self, *_: object) -> None:
        """Closes."""
        self.close()

    def describe(self) -> DriverInfo:
        """Returns the data sheet of the robot."""
        return self._info

    def connect(self) -> None:
        """Opens the robot and waits for its first reading.

        Raises:
            ContractError: what the driver refuses.
            WatchdogError: what the driver raises else, or a watchdog that is gone.
        """
        self._ask("connect")
        self._ready = True
        self._board.set("beat_s", time.monotonic())
        threading.Thread(target=self._beat, name="watchdog beat", daemon=True).start()

    def begin_episode(self, number: int) -> None:
        """Has a stand-in that knows its task begin an episode, see `EpisodicDriver`.

        Raises:
            WatchdogError: the robot is no such one, or moves.
        """
        self._need_ready()
        self._ask(f"begin {number}")

    def read(self) -> Reading:
        """Returns the newest reading.

        Raises:
            WatchdogError: the driver failed, or the watchdog is gone.
            TornError: the shared memory is damaged.
        """
        self._need_ready()
        now_s = time.monotonic()
        if self._board.get("state") == GONE or now_s - self._board.get("alive_s") > DEAD_S:
            self._check_alive(now_s)
        if self._board.get("state") == TRIPPED and "the driver failed" in self._board.reason:
            raise self._stopped()
        number, reading = self._board.take_reading()
        self._answered = number, reading.time_s
        return reading

    def write(self, command: np.ndarray) -> None:
        """Sends one command (J,), which answers the last reading that was taken.

        Raises:
            ContractError: not (J,) finite numbers.
            WatchdogError: the watchdog stopped the robot, or is gone; no reading was taken, or too
                long ago.
        """
        self._need_ready()
        joints = len(self._info.joints)
        if np.shape(command) != (joints,) or not np.all(np.isfinite(command)):
            raise ContractError(f"command {command} must be {joints} finite numbers")
        if self._board.get("state") == TRIPPED:
            raise self._stopped()
        now_s = time.monotonic()
        age_s = now_s - self._answered[1]
        if age_s > self._answer_s:
            raise WatchdogError(
                f"the command answers a reading that is {age_s:.3f} s old (limit "
                f"{self._answer_s:g} s); read the robot again before each command"
            )
        self._board.put_command(command, self._answered, now_s, now_s + self._valid_s)
        try:
            os.write(self._wake, b"c")
        except BlockingIOError:  # it has been told often enough
            pass
        except OSError as error:
            raise self._lost() from error

    def stop(self) -> None:
        """Stops the robot and waits until it is stopped.

        Raises:
            WatchdogError: the watchdog is dead or does not answer, or the driver fails in
                stopping, so that the robot's own timeout and its e-stop are what is left.
        """
        if not self._ready:
            return
        if self._board.get("state") == GONE:  # it stopped the robot first, or could not
            self._need_stopped()
            return
        asked = int(self._board.get("stop_asked")) + 1
        self._board.set("stop_asked", asked)
        give_up_s = time.monotonic() + ANSWER_S
        while self._board.get("stop_done") < asked:
            if self._board.get("state") == GONE:
                break
            now_s = time.monotonic()
            if now_s > give_up_s or self._process.poll() is not None:
                raise self._lost()
            time.sleep(BEAT_S / 10)
        self._need_stopped()

    def close(self) -> None:
        """Stops the robot, closes its driver and ends the watchdog; safe to call twice."""
        if not self._gone.is_set():
            with contextlib.suppress(DriverError):
                self.stop()
            with contextlib.suppress(DriverError, ContractError, OSError):
                self._ask("close", CLOSE_S)
            self._abandon()

    def status(self) -> WatchdogStatus:
        """Returns what the watchdog is doing, and why."""
        board = self._board
        since_s = float(board.get("since_s"))
        if board.get("state") != GONE and self._process.poll() is not None:
            return WatchdogStatus("gone", "the watchdog's process died", since_s)
        return WatchdogStatus(STATES[int(board.get("state"))], board.reason, since_s)

    def reset(self) -> None:
        """Releases a stop that the watchdog latched; for a person to call.

        Raises:
            WatchdogError: a cause that lasts, named.
        """
        self._need_ready()
        self._ask("reset")

    def _need_ready(self) -> None:
        """Raises WatchdogError before `connect` and after `close`."""
        if not self._ready or self._gone.is_set():
            raise WatchdogError("the robot is not connected; call connect first")

    def _beat(self) -> None:
        """Gives signs of life until the end."""
        while not self._gone.wait(BEAT_S):
            self._board.set("beat_s", time.monotonic())

    def _ask(self, order: str, limit_s: float = math.inf) -> dict[str, Any]:
        """Sends an order and returns the answer, waiting at most `start_s` or ``limit_s``.

        Raises:
            ContractError, DriverError: what the watchdog answers, or that it does not.
        """
        self._orders.settimeout(min(limit_s, self._config.start_s))
        try:
            self._orders.sendall(order.encode() + b"\n")
            line = self._answers.readline()
        except OSError as error:
            raise self._lost() from error
        if not line:
            raise self._lost()
        answer: dict[str, Any] = json.loads(line)
        if "error" not in answer:
            return answer
        if answer["kind"] == "ContractError":
            raise ContractError(answer["error"])
        if answer["kind"] == "DriverError":
            raise DriverError(answer["error"])
        raise WatchdogError(f"the robot cannot be used: {answer['kind']}: {answer['error']}")

    def _check_alive(self, now_s: float) -> None:
        """Raises WatchdogError for a watchdog that left or died; one that sleeps may go on."""
        if self._board.get("state") == GONE:
            raise WatchdogError(f"the watchdog stopped the robot and left: {self._board.reason}")
        if self._process.poll() is not None:
            raise self._lost()

    def _need_stopped(self) -> None:
        """Raises WatchdogError where the driver failed in stopping."""
        if self._board.get("unstopped"):
            raise self._stopped()

    def _stopped(self) -> WatchdogError:
        """Returns the error of a robot that the watchdog stopped, or could not."""
        if self._board.get("unstopped"):
            return WatchdogError(
                "THE ROBOT IS NOT STOPPED, its driver fails in stop(): press the emergency stop in "
                f"hardware now, then look at the watchdog's log; {self._board.reason}"
            )
        since_s = time.monotonic() - float(self._board.get("since_s"))
        return WatchdogError(
            f"the watchdog stopped the robot {since_s:.2f} s ago: {self._board.reason}; find the "
            "cause, then reset"
        )

    def _lost(self) -> WatchdogError:
        """Returns the error of a watchdog that does not answer."""
        code = self._process.poll()
        said = "does not answer" if code is None else f"died (exit code {code})"
        return WatchdogError(
            f"the watchdog {said}; the robot is left to its own timeout of "
            f"{self._timeout()}: press its e-stop, then start again"
        )

    def _timeout(self) -> str:
        """Returns the robot's own timeout in words."""
        info = getattr(self, "_info", None)
        if info is None or math.isinf(info.timeout_s):
            return "none at all"
        return f"{info.timeout_s:g} s"

    def _abandon(self) -> None:
        """Lets go of the process, which stops the robot when its controller is gone."""
        self._gone.set()
        with contextlib.suppress(OSError):
            self._answers.close()
            self._orders.close()
        try:
            self._process.wait(2.0)
        except subprocess.TimeoutExpired:  # a driver that does not come back; the robot was stopped
            self._process.kill()
            self._process.wait()
        if self._wake >= 0:
            os.close(self._wake)
            self._wake = -1


def _memory_file() -> int:
    """Returns the file number of a memory that both processes can map and that leaves no trace."""
    if hasattr(os, "memfd_create"):
        return os.memfd_create("mjx_s2r_watchdog")
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())


def _info_of(values: dict[str, Any]) -> DriverInfo:
    """Returns a data sheet from JSON values."""
    cameras = tuple(
        CameraInfo(**{**c, "optics": Optics(**c["optics"])}) for c in values.pop("cameras")
    )
    rules = values.pop("task")
    tuples = {k: tuple(v) for k, v in values.items() if isinstance(v, list)}
    task = None if rules is None else TaskRules(**rules)
    return DriverInfo(**{**values, **tuples}, cameras=cameras, task=task)
