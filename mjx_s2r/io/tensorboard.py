"""Event files for TensorBoard, written as the points come.

A writer with a thread of its own ends without a word when it meets a full disk, and the training
then waits for ever to hand it the next point. Without one, errors come back to the caller.
"""

import contextlib
import itertools
import math
import os
import time
from collections.abc import Mapping
from pathlib import Path

from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto.event_pb2 import Event, SessionLog
from tensorboardX.summary import scalar

_SERIAL = itertools.count()


class Board:
    """One event file in a run folder; made at the first point."""

    def __init__(self, folder: Path, purge: int | None = None) -> None:
        """Takes the folder of the run; writes nothing yet.

        Args:
            folder: the run's folder.
            purge: TensorBoard hides points of this step and later in older files; None hides none.
        """
        self._folder, self._purge = folder, purge
        self._file: EventsWriter | None = None
        self._failed = False

    def add(self, step: int, values: Mapping[str, float]) -> None:
        """Writes one point for every finite number; none any more once that has failed.

        Half a point spoils what comes after it, and every new file takes a handle.

        Raises:
            OSError: the disk is full.
        """
        if self._failed:
            return
        try:
            self._add(step, values)
        except OSError:
            self._failed = True
            with contextlib.suppress(OSError):
                self.close()
            raise

    def _add(self, step: int, values: Mapping[str, float]) -> None:
        """Writes one point for every finite number."""
        if self._file is None:
            suffix = f".{os.getpid()}.{next(_SERIAL)}"  # its own name is the second it was made in
            self._file = EventsWriter(str(self._folder / "events"), suffix)
            if self._purge is not None:
                start = SessionLog(status=SessionLog.START)
                self._file.write_event(Event(step=self._purge, session_log=start))
        now_s = time.time()
        for name, value in values.items():
            if math.isfinite(value):
                point = Event(wall_time=now_s, step=step, summary=scalar(name, value))
                self._file.write_event(point)
        self._file.flush()

    def close(self) -> None:
        """Ends the file; another point opens another.

        Raises:
            OSError: the disk is full.
        """
        file, self._file = self._file, None
        if file is not None:
            file.close()
