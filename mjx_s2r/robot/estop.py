"""Emergency stops: what a person or another machine presses, asked once a control step.

Each is latched: once pressed it stays pressed until a person calls `reset`, which does nothing
while the cause lasts. A stop by file or by heartbeat may also be given to the watchdog
(`mjx_s2r.robot.watchdog`), which then honours it even where the controller is stuck.
"""

import atexit
import contextlib
import os
import select
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, Protocol

from mjx_s2r.contract import ContractError

KEYS = b" q"  # space and q; Ctrl-C is a signal and the controller's
SILENCE_S = 0.5  # time without a heartbeat that presses the stop
BEAT_S = 0.1  # time between two heartbeats of the sender
FIRST_BEAT_S = 3.0  # how long a first heartbeat is waited for
ALIVE, PRESS = b"mjx_s2r alive", b"mjx_s2r stop"
FORMS = "keyboard, signal, file:PATH, udp://[HOST]:PORT or udp://[HOST]:PORT?SECONDS"


class StopSource(Protocol):
    """One emergency stop.

    ``pressed`` is asked at every control step and returns within microseconds. Once pressed it
    stays pressed until a person resets it.
    """

    @property
    def name(self) -> str:
        """What is pressed, for the log: "keyboard", "file stop", ..."""
        ...

    def pressed(self) -> bool:
        """Returns whether it is pressed."""
        ...


@dataclass
class _Latch:
    """What all stops share: a name, and a flag that stays."""

    name: str
    down: bool = False


class KeyboardStop(_Latch):
    """The space bar or q, on a terminal.

    The terminal gives each key at once and shows none (cbreak) until `close`, which also runs when
    the interpreter ends. Use `terminal_here` to learn whether there is a terminal.
    """

    def __init__(self, stream: Any = None) -> None:
        """Takes the terminal of ``stream``, by default the standard input.

        Raises:
            ContractError: it is no terminal.
        """
        import termios
        import tty

        super().__init__("keyboard")
        stream = sys.stdin if stream is None else stream
        if not terminal_here(stream):
            raise ContractError(
                "the keyboard stop needs a terminal, and the standard input is none; start in a "
                f"terminal, or use another stop: {FORMS}"
            )
        self._file = stream.fileno()
        self._before: Any = termios.tcgetattr(self._file)
        atexit.register(self.close)
        tty.setcbreak(self._file)

    def pressed(self) -> bool:
        """Returns whether space or q was pressed."""
        while self._before is not None and select.select([self._file], [], [], 0)[0]:
            keys = os.read(self._file, 64)
            self.down = self.down or any(key in KEYS for key in keys)
            if not keys:  # the terminal went away, and nobody can press any more
                self.down = True
                break
        return self.down

    def reset(self) -> None:
        """Releases the stop; keys that wait are read first and forgotten."""
        self.pressed()
        self.down = False

    def close(self) -> None:
        """Gives the terminal back as it was."""
        import termios

        before, self._before = self._before, None
        if before is not None:
            with contextlib.suppress(termios.error, OSError, ValueError):
                termios.tcsetattr(self._file, termios.TCSADRAIN, before)
            atexit.unregister(self.close)


def terminal_here(stream: Any = None) -> bool:
    """Returns whether a stream, by default the standard input, is a terminal."""
    stream = sys.stdin if stream is None else stream
    try:
        return bool(stream.isatty())
    except (AttributeError, ValueError):  # no standard input at all, or a closed one
        return False


class SignalStop(_Latch):
    """A signal to the process, SIGUSR1: ``kill -USR1 PID``."""

    def __init__(self) -> None:
        """Takes the signal over.

        Raises:
            ContractError: another thread than the main one, which Python gives no signals.
        """
        super().__init__("signal SIGUSR1")
        try:
            self._before: Any = signal.signal(signal.SIGUSR1, self._press)
        except ValueError as error:
            raise ContractError(
                "the signal stop must be made in the main thread; make it there"
            ) from error

    def _press(self, number: int, frame: FrameType | None) -> None:
        """Notes the signal."""
        self.down = True

    def pressed(self) -> bool:
        """Returns whether the signal came."""
        return self.down

    def reset(self) -> None:
        """Releases the stop."""
        self.down = False

    def close(self) -> None:
        """Gives the signal back."""
        signal.signal(signal.SIGUSR1, self._before)


class FileStop(_Latch):
    """A file: pressed when something is there, ``touch PATH``. Remove it, then reset."""

    def __init__(self, path: Path) -> None:
        """Watches ``path``.

        Raises:
            ContractError: its folder is not there, so that nobody could press it.
        """
        super().__init__(f"file {path}")
        self._path = str(path)
        if not Path(path).absolute().parent.is_dir():
            raise ContractError(f"stop file {path} lies in no folder; make the folder first")

    def _is_there(self) -> bool:
        """Returns whether the file is there; a folder that cannot be read presses, too."""
        try:
            os.stat(self._path)
        except FileNotFoundError:
            return not os.path.isdir(os.path.dirname(os.path.abspath(self._path)))
        except OSError:
            return True
        return True

    def pressed(self) -> bool:
        """Returns whether the file is there, or was."""
        self.down = self.down or self._is_there()
        return self.down

    def reset(self) -> None:
        """Releases the stop, where the file is gone."""
        self.down = self._is_there()

    def close(self) -> None:
        """Does nothing."""


class HeartbeatStop(_Latch):
    """Another machine's heartbeat by UDP: silence presses, and so does a datagram that says so.

    The other end runs ``python -m mjx_s2r.robot.estop HOST:PORT`` or sends `ALIVE` itself. The time
    of silence counts from the first heartbeat; before it the stop is pressed, so that a robot does
    not start without the other machine. Anybody in the network can send: this is a stop against
    accidents, not against attackers.
    """

    def __init__(
        self,
        address: tuple[str, int],
        silence_s: float = SILENCE_S,
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        """Listens at ``address``, host ("" for all) and port.

        Raises:
            ContractError: the port is taken or the address is none.
        """
        super().__init__(f"heartbeat at port {address[1]}", True)
        self._silence_s, self._now_s, self._last_s = silence_s, now_s, float("-inf")
        self._asked = True  # until a first heartbeat
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            self._socket.bind(address)
        except (OSError, OverflowError) as error:
            self._socket.close()
            raise ContractError(f"cannot listen for heartbeats at {address}: {error}") from error
        self._socket.setblocking(False)
        self.port = int(self._socket.getsockname()[1])

    def _listen(self) -> None:
        """Reads what has come."""
        for _ in range(256):  # a flood must not hold the controller up
            try:
                said = self._socket.recv(64)
            except OSError:
                return
            if said == ALIVE:
                self._last_s = self._now_s()
                if self._asked:
                    self.down = self._asked = False
            elif said == PRESS:
                self.down, self._asked = True, False

    def _is_silent(self) -> bool:
        """Returns whether the last heartbeat is too old."""
        return self._now_s() - self._last_s > self._silence_s

    @property
    def awaited(self) -> bool:
        """Whether the other machine has not been heard yet; then nobody has pressed anything."""
        self._listen()
        return self._asked

    def pressed(self) -> bool:
        """Returns whether the other machine pressed it or fell silent."""
        self._listen()
        self.down = self.down or self._is_silent()
        return self.down

    def reset(self) -> None:
        """Releases the stop, where the heartbeat is there."""
        self._listen()
        self.down, self._asked = self._is_silent(), False

    def close(self) -> None:
        """Stops listening."""
        self._socket.close()


LatchedStop = KeyboardStop | SignalStop | FileStop | HeartbeatStop


def open_stop(form: str) -> LatchedStop:
    """Makes an emergency stop from its form: `FORMS`.

    Raises:
        ContractError: another form; a stop that cannot be had here, with the reason.
    """
    kind, _, rest = form.partition(":")
    if form == "keyboard":
        return KeyboardStop()
    if form == "signal":
        return SignalStop()
    if kind == "file" and rest:
        return FileStop(Path(rest))
    if kind == "udp":
        where, _, silence = rest.removeprefix("//").partition("?")
        host, port = parse_address(where)
        try:
            silence_s = float(silence or SILENCE_S)
        except ValueError:
            silence_s = float("nan")
        if not 0 < silence_s < 3600:
            raise ContractError(f"stop {form!r}: the silence must be seconds, e.g. ?0.5")
        return HeartbeatStop((host, port), silence_s)
    raise ContractError(f"unknown stop {form!r}; write {FORMS}")


def hear_first(stops: Iterable[LatchedStop], limit_s: float = FIRST_BEAT_S) -> None:
    """Waits until every other machine was heard, so that its silence means something.

    Raises:
        ContractError: one was not; the message says what to start there.
    """
    end_s = time.monotonic() + limit_s
    for stop in stops:
        while isinstance(stop, HeartbeatStop) and stop.awaited:
            if time.monotonic() > end_s:
                raise ContractError(
                    f"no {stop.name} within {limit_s:g} s; start it on the other machine first, "
                    f"python -m mjx_s2r.robot.estop THIS_MACHINE:{stop.port}, or leave this "
                    "--estop out"
                )
            time.sleep(BEAT_S / 10)


def parse_address(text: str) -> tuple[str, int]:
    """Reads HOST:PORT; an empty host is every interface of this machine.

    Raises:
        ContractError: no port, or one that is none.
    """
    host, _, port = text.rpartition(":")
    if not port.isascii() or not port.isdigit() or not 0 <= int(port) < 65536:
        raise ContractError(f"address {text!r} must read HOST:PORT, e.g. 192.168.1.7:9870")
    return host, int(port)


def send_heartbeats(address: tuple[str, int], interval_s: float = BEAT_S) -> None:
    """Sends heartbeats until Ctrl-C, then the stop, several times."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        print("alive; Ctrl-C stops the robot", flush=True)
        try:
            while True:
                with contextlib.suppress(OSError):  # the robot's machine is not there yet
                    sender.sendto(ALIVE, address)
                time.sleep(interval_s)
        except KeyboardInterrupt:
            for _ in range(5):  # a datagram may get lost
                with contextlib.suppress(OSError):
                    sender.sendto(PRESS, address)
                time.sleep(0.01)
            print("stop sent")


def heartbeat_main() -> None:
    """Runs the sender: ``python -m mjx_s2r.robot.estop HOST:PORT``."""
    try:
        host, port = parse_address(sys.argv[1] if len(sys.argv) == 2 else "")
        send_heartbeats((socket.gethostbyname(host or "127.0.0.1"), port))
    except (ContractError, OSError) as error:
        raise SystemExit(f"heartbeat: {error}") from error


if __name__ == "__main__":
    heartbeat_main()
