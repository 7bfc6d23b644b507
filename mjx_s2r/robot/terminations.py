"""Signals that end a process, turned into an exception, so that the robot is stopped first.

`kill`, `systemctl stop`, `docker stop` and a closed terminal send SIGTERM or SIGHUP, which end
Python without any ``except`` or ``finally``. Inside `raised` they raise `Terminated`; the process
unwinds, and dies of the signal when the interpreter ends. SIGKILL, a crash in C and a machine
without memory cannot be caught: they are the watchdog's (another process).
"""

import atexit
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

ENDING = ("SIGTERM", "SIGHUP", "SIGQUIT", "SIGINT")


class Terminated(SystemExit):
    """The process was asked to end by a signal; uncaught, it dies of that signal."""

    def __init__(self, number: int) -> None:
        """Takes the signal's number; the exit code is 128 more, as shells count."""
        super().__init__(128 + number)
        self.number = number

    def __str__(self) -> str:
        """Returns the signal's name."""
        return signal.Signals(self.number).name


@contextmanager
def raised() -> Iterator[None]:
    """Raises `Terminated` where a signal that ends the process arrives, once.

    What the caller has set for a signal (a handler, or to ignore it, as nohup does) stays; Ctrl-C
    raises KeyboardInterrupt as ever. A second signal while the robot is being stopped is ignored.
    Outside the main thread nothing is set, because Python runs handlers there only.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[int] = []

    def handle(number: int, frame: FrameType | None) -> None:
        if came:
            return
        came.append(number)
        raise Terminated(number)

    before = {}
    for name in ENDING:
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) == signal.SIG_DFL:
            before[number] = signal.signal(number, handle)
    try:
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, old)
        if came:
            atexit.register(_die_of, came[0], os.getpid())


def _die_of(number: int, process: int) -> None:
    """Ends this process by a signal, so that its parent sees why; not a child that was forked."""
    if os.getpid() == process:
        signal.signal(number, signal.SIG_DFL)
        os.kill(process, number)
