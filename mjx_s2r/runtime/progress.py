"""Progress on the screen: a console, a bar for loops, and the state of compiling."""

import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta

from jax.sharding import Mesh
from jax.stages import Lowered
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from mjx_s2r.runtime.compilation import compile_all

console = Console(file=sys.stderr)
console.soft_wrap = not console.is_terminal  # a path in a pipe must not be broken in two


def print_line(text: str) -> None:
    """Writes a line to the screen, as long as it is: a broken path cannot be copied."""
    console.print(text, soft_wrap=True, highlight=False, markup=False)


@contextmanager
def progress(what: str, total: int, done: int = 0) -> Iterator["ProgressBar"]:
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
        yield ProgressBar(shown, task, what, (done, total))


class ProgressBar:
    """The bar of one loop."""

    def __init__(self, shown: Progress, task: object, what: str, span: tuple[int, int]) -> None:
        """Wraps a rich task that begins and ends at the numbers of ``span``."""
        self._shown, self._task, self._what = shown, task, what
        self._first, self._total = span
        self._began_s = time.perf_counter()

    def update(self, done: int, note: str) -> None:
        """Moves the bar; prints a line instead where there is no terminal."""
        if console.is_terminal:
            self._shown.update(self._task, completed=done, note=note)  # type: ignore[arg-type]
        else:
            took_s = time.perf_counter() - self._began_s
            left_s = took_s / max(done - self._first, 1) * (self._total - done)
            left = f"  {timedelta(seconds=round(left_s))} left" if done < self._total else ""
            console.print(f"{self._what} {done}/{self._total} {note}{left}", highlight=False)


def compile_ahead(mesh: Mesh, programs: Iterable[Lowered]) -> None:
    """Compiles the ``programs`` of a training side by side, and shows how far it is.

    Over several devices other programs run; then nothing is done.
    """
    if mesh.size > 1:
        return
    if not console.is_terminal:
        print_line("compiling, a minute or some")
    with console.status("compiling") as status:

        def tell(done: int, total: int) -> None:
            """Shows how far it is."""
            status.update(f"compiling: {done} of {total} programs")

        compile_all(programs, tell)
