"""A thread that stops the driver when a call of the loop does not return in time.

A driver that blocks in `read` leaves the last command acting. The lookout calls the driver's
``stop`` from its own thread, so that the robot is stopped while the call still blocks; when it
returns, the flight ends. It is a help, not a guarantee: code that blocks without letting go of
Python's lock blocks this thread, too, and a killed process has no threads. The guarantee is the
watchdog, another process that owns the way to the robot.
"""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from mjx_s2r.robot.driver import Driver

LOOKS = 8  # in the time that a call may take


class Lookout:
    """Watches the calls of one loop, in the time of the machine."""

    def __init__(self, driver: Driver, limit_s: float) -> None:
        """Takes the driver and how long a call may take, s."""
        self._driver, self.limit_s = driver, limit_s
        self._since: tuple[str, float] | None = None
        self._over = threading.Event()
        self.blocked = ""

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Runs the thread inside."""
        thread = threading.Thread(target=self._look, name="mjx_s2r lookout", daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._over.set()
            thread.join()

    def enter(self, what: str) -> None:
        """Notes that a call begins."""
        self._since = what, time.monotonic()

    def leave(self) -> None:
        """Notes that the call has returned."""
        self._since = None

    def _look(self) -> None:
        """Stops the driver once, when a call takes too long."""
        while not self._over.wait(self.limit_s / LOOKS):
            call = self._since
            if call is None or time.monotonic() - call[1] <= self.limit_s:
                continue
            self.blocked = call[0]
            with suppress(Exception):  # the loop's own stop follows, and raises it
                self._driver.stop()
            return
