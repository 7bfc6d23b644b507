"""The watchdog's log: what it did and when, as JSON lines, written by a thread of its own."""

import contextlib
import json
import os
import queue
import threading
import time
from typing import Any

from mjx_s2r.robot.watchdog.privileges import FIFO, hurry

FLUSH_S = 0.5


class Journal:
    """A log that never holds up who writes to it: a full or hanging disk costs lines, no time."""

    def __init__(self, path: str, *, realtime: bool) -> None:
        """Opens ``path`` for appending; "" keeps nothing.

        Args:
            path: the file.
            realtime: whether the thread asks for the priority of those that write to it. A slower
                one may be put aside by the system while it keeps the interpreter's lock.

        Raises:
            OSError: it cannot be opened.
        """
        self._lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._file, self._realtime = -1, realtime
        if path:
            self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
            self._thread = threading.Thread(target=self._write, daemon=True)
            self._thread.start()

    def note(self, event: str, **values: Any) -> None:
        """Writes what happened, with the monotonic time and the time of day, s."""
        if self._file >= 0:
            line = {"time_s": time.monotonic(), "unix_s": time.time(), "event": event, **values}
            self._lines.put(json.dumps(line, default=float) + "\n")

    def close(self) -> None:
        """Waits a moment for the last lines."""
        if self._file >= 0:
            self._lines.put(None)
            self._thread.join(FLUSH_S)

    def _write(self) -> None:
        """Writes lines as they come."""
        if self._realtime:
            hurry(FIFO)
        while (line := self._lines.get()) is not None:
            with contextlib.suppress(OSError):
                os.write(self._file, line.encode())
