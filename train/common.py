"""What the verbs share: a progress line that survives pipes, signals that end a run cleanly."""

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

console = Console(file=sys.stderr)


@contextmanager
def progress(what: str, total: int, done: int = 0) -> Iterator["Bar"]:
    """Shows a bar with elapsed and remaining time and a free text; plain lines in a pipe."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        TextColumn("{task.completed}/{task.total}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    with Progress(*columns, console=console, disable=not console.is_terminal) as shown:
        task = shown.add_task(what, total=total, completed=done, note="compiling")
        yield Bar(shown, task, what, total)


class Bar:
    """The bar of one loop."""

    def __init__(self, shown: Progress, task: object, what: str, total: int) -> None:
        """Wraps a rich task."""
        self._shown, self._task, self._what, self._total = shown, task, what, total

    def update(self, done: int, note: str) -> None:
        """Moves the bar; prints a line instead where nobody watches a terminal."""
        if console.is_terminal:
            self._shown.update(self._task, completed=done, note=note)  # type: ignore[arg-type]
        else:
            console.print(f"{self._what} {done}/{self._total} {note}", highlight=False)


@contextmanager
def interruptible() -> Iterator[None]:
    """Turns SIGTERM into KeyboardInterrupt, so that a preempted run saves as on Ctrl-C."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
