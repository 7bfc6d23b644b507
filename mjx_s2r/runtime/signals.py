"""Signal handling: a process that is asked to end does so at once, at the next chance, or later.

Nothing here imports jax.
"""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from types import FrameType

PARENT = "MJX_S2R_PARENT"  # process without which this one shall not go on


@contextmanager
def handled(
    numbers: Sequence[signal.Signals], handler: Callable[[int, FrameType | None], None]
) -> Iterator[None]:
    """Gives signals another ``handler`` for a while."""
    before = [signal.signal(number, handler) for number in numbers]
    try:
        yield
    finally:
        for number, old in zip(numbers, before, strict=True):
            signal.signal(number, old)


def sigterm_interrupts() -> AbstractContextManager[None]:
    """Turns SIGTERM into KeyboardInterrupt, so that a preempted run saves as on Ctrl-C."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    return handled([signal.SIGTERM], stop)


@contextmanager
def defer_signals() -> Iterator[Callable[[], bool]]:
    """Holds Ctrl-C and SIGTERM back until the loop asks; a second Ctrl-C ends at once.

    A second SIGTERM does not: schedulers may send two, and mean what they said with the first.

    An iteration takes its state's memory over. Stopped in the middle, there would be neither the
    old state nor the new one to save. Yields the question whether one has come.
    """
    asked: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        if asked and number == signal.SIGINT:
            raise KeyboardInterrupt
        asked.append(number)

    with handled([signal.SIGTERM, signal.SIGINT], note):
        yield lambda: bool(asked)


@contextmanager
def starting_without_interrupts() -> Iterator[None]:
    """Starts processes that keep Ctrl-C for later, until they call `take_interrupts`.

    Ctrl-C reaches every process of a terminal. One that is still importing could only answer it
    with a traceback. In this process it also comes when this is over.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def take_interrupts() -> None:
    """Lets Ctrl-C through again, and one at once that came meanwhile.

    Raises:
        KeyboardInterrupt: it came.
    """
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})


def end_with_parent() -> None:
    """Has this process get SIGTERM when the one that `PARENT` names is gone, by kill -9, too.

    Without that variable, or if it names a process that is not the parent, nothing is done.
    """
    asked = os.environ.pop(PARENT, "")  # not for processes that this one starts
    if asked != str(os.getppid()):
        return

    def watch() -> None:
        """Waits until the process has another parent."""
        while str(os.getppid()) == asked:
            time.sleep(0.5)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, name="parent watch", daemon=True).start()
