"""Profiling of an iteration: a trace for a profiler, and a table of seconds by part.

Traces the iterations after the first two, which compile, into RUN/profile. Then the parts of an
iteration are compiled one by one and timed, each waited for. Together they may take longer than the
whole, in which the compiler can merge and overlap them.
"""

import statistics
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax

from mjx_s2r.io.run import write_json
from mjx_s2r.runtime.devices import gradient_compiler_options
from mjx_s2r.runtime.progress import print_line

if TYPE_CHECKING:
    from mjx_s2r.learn.trainer import Trainer

FOLDER = "profile"
PARTS = "parts.json"
PERFETTO = "perfetto_trace.json.gz"
FIRST = 2  # iterations that are left alone: they compile
REPEAT = 3

Iterate = Callable[[Any], tuple[Any, Any]]


@dataclass
class Profiler:
    """Runs iterations, traces some of them, and then times the parts.

    Attributes:
        iterate: runs one iteration.
        trainer: for the seconds by part, which one with cameras does not have.
        folder: the run's folder.
        count: how many iterations are traced.
        writes: whether this process is the one that traces and tells.
    """

    iterate: Iterate
    trainer: "Trainer"
    folder: Path
    count: int
    writes: bool = True
    _called: int = 0
    _tracing: bool = False

    def __call__(self, state: Any) -> tuple[Any, Any]:
        """Runs one iteration."""
        if self._called == FIRST and self.writes:
            self._start(state)
        self._called += 1
        state, metrics = self.iterate(state)
        if self._called == FIRST + self.count:
            jax.block_until_ready(state)
            self.close()
            self._parts(state)
        return state, metrics

    def close(self) -> None:
        """Ends a trace that is still open and says where it is, or why there is none."""
        if not self._tracing:
            if self._called <= FIRST and self.count and self.writes:
                print_line(
                    f"nothing was traced: the first {FIRST} iterations compile, and {self._called} "
                    f"were run; ask for at least {FIRST + self.count} with --iterations"
                )
            return
        self._tracing = False
        try:
            jax.profiler.stop_trace()
        except (OSError, RuntimeError) as error:
            _give_up(self._where, error)
            return
        _tell(self._where, min(self._called - FIRST, self.count))

    @property
    def _where(self) -> Path:
        """The folder of the traces."""
        return self.folder / FOLDER

    def _start(self, state: Any) -> None:
        """Begins the trace once all that was asked for before is done."""
        jax.block_until_ready(state)
        try:
            self._where.mkdir(exist_ok=True)
            jax.profiler.start_trace(str(self._where), create_perfetto_trace=True)
            self._tracing = True
        except (OSError, RuntimeError) as error:
            _give_up(self._where, error)

    def _parts(self, state: Any) -> None:
        """Times the parts and writes them down."""
        if self.trainer.cameras is not None:
            return
        if self.writes:
            print_line("timing the parts of an iteration; each is compiled once more by itself")
        line = breakdown(self.trainer, self.iterate, state)
        if not self.writes:
            return
        parts = "  ".join(f"{name[:-2]} {s:.4f}" for name, s in line.items() if name != "whole_s")
        print_line(f"seconds of an iteration: {line['whole_s']:.4f}; apart: {parts}")
        try:
            write_json(self._where / PARTS, line)
        except OSError as error:
            _give_up(self._where, error)


def breakdown(trainer: "Trainer", iterate: Iterate, state: Any) -> dict[str, float]:
    """Returns the seconds of a whole iteration and of each part, the medians of a few calls.

    ``reset_pool_s`` fresh worlds, ``collect_s`` acting and physics, ``update_s`` values,
    advantages, gradient steps and curriculum. The state is left as it was; the whole is run on
    copies, so there must be room for a second one.
    """
    prepared = trainer.prepare(state)
    collect = jax.jit(trainer.collect)
    after, collected = collect(state, prepared)
    update = jax.jit(trainer.update, compiler_options=gradient_compiler_options())
    copies = [jax.tree.map(lambda leaf: leaf.copy(), state) for _ in range(2)]
    whole = [_seconds(partial(iterate, copy)) for copy in copies]
    return {
        "whole_s": min(whole),
        "reset_pool_s": _median(lambda: trainer.prepare(state)),
        "collect_s": _median(lambda: collect(state, prepared)),
        "update_s": _median(lambda: update(after, collected)),
    }


def _median(call: Callable[[], Any]) -> float:
    """Returns the seconds of a call, the median of some after one that compiles."""
    jax.block_until_ready(call())
    return statistics.median(_seconds(call) for _ in range(REPEAT))


def _seconds(call: Callable[[], Any]) -> float:
    """Returns the seconds of one call, its result waited for."""
    start_s = time.perf_counter()
    jax.block_until_ready(call())
    return time.perf_counter() - start_s


def _tell(where: Path, count: int) -> None:
    """Says where the newest trace is and how to open it."""
    found = sorted(where.glob(f"plugins/profile/*/{PERFETTO}"))
    print_line(f"{where}: {count} iterations; pip install xprof && xprof --logdir {where}")
    if found:
        print_line(f"{found[-1]}: open it at https://ui.perfetto.dev")


def _give_up(where: Path, error: Exception) -> None:
    """Warns that there is no trace."""
    warnings.warn(
        f"{where}: no profile ({type(error).__name__}: {error}); training goes on",
        RuntimeWarning,
        stacklevel=3,
    )
