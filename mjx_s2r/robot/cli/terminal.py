"""The person at the terminal: questions, and a status line that updates in place.

Nothing is asked where nobody can answer. The status is printed by a thread of its own: a terminal
that is stopped (Ctrl-S) must not stop the robot's loop.
"""

import os
import sys
import threading
from collections.abc import Callable

PLAIN_EVERY_S = 10.0  # where no line can be updated in place
LIVE_EVERY_S = 0.25


def somebody_there() -> bool:
    """Returns whether there is a terminal to ask at."""
    return sys.stdin is not None and sys.stdin.isatty() and sys.stderr.isatty()


def lively() -> bool:
    """Returns whether a line can be updated in place."""
    return sys.stderr.isatty() and os.environ.get("TERM", "dumb") != "dumb"


def ask(question: str) -> bool:
    """Returns whether a person says yes; anything else, and the end of the input, is a no."""
    print(f"{question} [y/N] ", end="", file=sys.stderr, flush=True)
    try:
        return input().strip().casefold() in ("y", "yes")
    except EOFError:
        print(file=sys.stderr)
        return False


def ask_name() -> str:
    """Returns the name of the person at the terminal; Enter takes the account's."""
    account = os.environ.get("USER") or os.environ.get("LOGNAME") or ""
    print(f"who is at the robot? [{account}] ", end="", file=sys.stderr, flush=True)
    try:
        return input().strip() or account
    except EOFError:
        print(file=sys.stderr)
        return account


class StatusLine:
    """Prints what ``text`` returns until it is closed; a context manager.

    Without a terminal a full line is printed every `PLAIN_EVERY_S`.
    """

    def __init__(self, text: Callable[[], str]) -> None:
        """Takes what says the state."""
        self._text = text
        self._live = lively()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._work, daemon=True, name="status")

    def __enter__(self) -> "StatusLine":
        """Starts the thread."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Ends the thread and leaves the cursor on a line of its own."""
        self._over.set()
        self._thread.join(timeout=1.0)
        if self._live:
            self._print(end="\n")

    def _work(self) -> None:
        """Prints now and then."""
        while not self._over.wait(LIVE_EVERY_S if self._live else PLAIN_EVERY_S):
            self._print(end="" if self._live else "\n")

    def _print(self, end: str) -> None:
        """Prints the state once."""
        text = self._text()
        if not text:
            return
        if self._live:
            width = (os.get_terminal_size(sys.stderr.fileno()).columns or 80) - 1
            text = f"\r\x1b[2K{text[:width]}"
        print(text, end=end, file=sys.stderr, flush=True)
