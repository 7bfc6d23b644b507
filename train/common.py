"""What the verbs share: the loop of a training, compiling before it, a progress line."""

import sys
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh
from jax.stages import Lowered
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from mjx_s2r.io.checkpoints import Checkpoints, DiskFullError
from mjx_s2r.io.run import Run
from mjx_s2r.runtime import distributed
from mjx_s2r.runtime.compilation import compile_all
from mjx_s2r.runtime.signals import defer_signals

console = Console(file=sys.stderr)
console.soft_wrap = not console.is_terminal  # a path in a pipe must not be broken in two


def print_line(text: str) -> None:
    """Writes a line to the screen, as long as it is: a broken path cannot be copied."""
    console.print(text, soft_wrap=True, highlight=False)


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
        """Moves the bar; prints a line instead where nobody watches a terminal."""
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
    with console.status("compiling") as status:

        def tell(done: int, total: int) -> None:
            """Shows how far it is."""
            status.update(f"compiling: {done} of {total} programs")

        compile_all(programs, tell)


@dataclass(frozen=True)
class LogWindow:
    """What happened since the last line.

    Attributes:
        done: iterations done in all.
        state: the training's state now.
        metrics: the iterations' metrics, every leaf stacked on the host, [K, ...].
        iterations: K.
        seconds: since the loop began, s.
        iterations_per_s: speed of these K.
    """

    done: int
    state: Any
    metrics: Any
    iterations: int
    seconds: float
    iterations_per_s: float


@dataclass(frozen=True)
class LoopConfig:
    """A training that can be interrupted and resumed.

    Attributes:
        what: its name on the screen.
        iterations: how many in all.
        log_every: iterations between two lines.
        checkpoint_every: iterations between two checkpoints.
        resume: start from the newest checkpoint where there is one.
        iterate: state -> (state, metrics); the state counts its iterations in ``steps``.
        log: writes the lines of a stretch and returns a short note for the screen.
    """

    what: str
    iterations: int
    log_every: int
    checkpoint_every: int
    resume: bool
    iterate: Callable[[Any], tuple[Any, Any]]
    log: Callable[[Run, LogWindow], str]


def run_loop(job: LoopConfig, run: Run, checkpoints: Checkpoints, fresh: Any) -> Any:
    """Runs or resumes a training from its ``fresh`` state; returns the last state.

    Checkpoints are written beside the training, the last one is waited for.

    Raises:
        KeyboardInterrupt: asked to stop; the state is saved.
        DiskFullError: there is no room for the last checkpoint.
    """
    with distributed.fail_fast(checkpoints.settle):
        state, first = fresh, 0
        if job.resume and distributed.broadcast(checkpoints.latest_step() or 0):
            state, first = checkpoints.restore(fresh)
        if job.resume:
            run.rewind(first)  # also where there is none yet, and lines of a first try are
        with run, defer_signals() as stopped, progress(job.what, job.iterations, first) as bar:
            state = _loop(job, run, checkpoints, (state, first), (stopped, bar))
        checkpoints.close()
    return state


def _loop(
    job: LoopConfig,
    run: Run,
    checkpoints: Checkpoints,
    start: tuple[Any, int],
    hooks: tuple[Callable[[], bool], ProgressBar],
) -> Any:
    """Iterates from the ``start`` (state, iterations done); returns the last state."""
    (state, first), (stopped, bar) = start, hooks
    window = _Window(time.perf_counter())
    for done in range(first + 1, job.iterations + 1):
        state, metrics = job.iterate(state)
        window.add(metrics)
        last = done == job.iterations
        lined = done % job.log_every == 0 or last
        if lined:
            note = job.log(run, window.close(done, state))
            if distributed.is_writer():
                bar.update(done, note)
        if done % job.checkpoint_every == 0 or last:
            _save(checkpoints, done, state, last)
        # Several processes stop at the same iteration; asking them costs time, so only at a line.
        if (lined or not distributed.is_distributed()) and distributed.any_process(stopped()):
            if not last and done % job.checkpoint_every:
                _save(checkpoints, done, state, last=True)
            checkpoints.close()
            raise KeyboardInterrupt
    return state


def _save(checkpoints: Checkpoints, done: int, state: Any, last: bool) -> None:
    """Saves the state; a full disk is a warning, and an error only at the ``last`` one.

    The state in memory is all there is of the work since the checkpoint before: going on, in the
    hope of room at the next one, can save it, and stopping cannot.

    Raises:
        DiskFullError: no room for the last one.
    """
    for attempt in range(2):  # the first error may be that of the checkpoint before
        try:
            checkpoints.save(done, state, wait=last)
            return
        except DiskFullError as error:
            if last and attempt:
                raise
            warnings.warn(f"{error}. Training goes on", RuntimeWarning, stacklevel=2)


class _Window:
    """Metrics since the last line, kept on the device until then.

    The first iteration compiles; its time says nothing of the speed and is left out of it.
    """

    def __init__(self, now_s: float) -> None:
        """Starts the clock."""
        self._start_s, self._last_s = now_s, now_s
        self._kept: list[Any] = []
        self._compiled, self._untimed = False, 0

    def add(self, metrics: Any) -> None:
        """Keeps one iteration's metrics."""
        self._kept.append(metrics)
        if not self._compiled:
            self._compiled = True
            jax.block_until_ready(metrics)
            self._untimed, self._last_s = 1, time.perf_counter()

    def close(self, done: int, state: Any) -> LogWindow:
        """Returns what was kept, and begins anew."""
        metrics = jax.tree.map(lambda *x: np.stack(x), *jax.device_get(self._kept))
        now_s, count = time.perf_counter(), len(self._kept)
        timed = count - self._untimed
        since_s = self._last_s if timed else self._start_s  # a line of the first iteration alone
        speed = (timed or count) / (now_s - since_s)
        self._kept, self._last_s, self._untimed = [], now_s, 0
        return LogWindow(done, state, metrics, count, now_s - self._start_s, speed)
