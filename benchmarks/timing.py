"""Timing of asynchronous calls: wait for the result, warm up, repeat, take the median.

Calls that are compared take turns (A B A B), so that a machine that slows down slows both.
"""

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np


@dataclass(frozen=True)
class Timing:
    """How long one call took.

    Attributes:
        compile_s: the first call less the median: tracing and compiling.
        seconds: one call's time in each repeat, s.
    """

    compile_s: float
    seconds: tuple[float, ...]

    @property
    def median_s(self) -> float:
        """The middle of the repeats, s."""
        return float(np.median(self.seconds))

    @property
    def spread(self) -> float:
        """How far slowest and quickest repeat lie apart, as a share of the median."""
        return (max(self.seconds) - min(self.seconds)) / self.median_s


class Stepper:
    """A call that carries a state: ``function(state, count) -> (state, out)``."""

    def __init__(self, function: Callable[[Any, int], tuple[Any, Any]], state: Any) -> None:
        """Takes the function and its first state."""
        self._function, self.state = function, state
        self.count = 0
        self.out: Any = None

    def __call__(self) -> Any:
        """Moves the state on by one call and returns it."""
        self.state, self.out = self._function(self.state, self.count)
        self.count += 1
        return self.state


def measure(
    calls: Mapping[str, Callable[[], Any]], repeat: int, min_s: float = 0.0
) -> dict[str, Timing]:
    """Returns the timing of every call, taken in turns.

    Args:
        calls: name -> a function of nothing that returns arrays, or anything.
        repeat: how often.
        min_s: a call quicker than this is made several times per repeat, s.
    """
    first = {name: _seconds(call, 1) for name, call in calls.items()}
    warm = {name: _seconds(call, 1) for name, call in calls.items()}
    loops = {name: max(1, math.ceil(min_s / max(warm[name], 1e-7))) for name in calls}
    taken: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(repeat):
        for name, call in calls.items():
            taken[name].append(_seconds(call, loops[name]))
    medians = {name: float(np.median(seconds)) for name, seconds in taken.items()}
    return {
        name: Timing(max(0.0, first[name] - medians[name]), tuple(seconds))
        for name, seconds in taken.items()
    }


def latencies(call: Callable[[], Any], count: int) -> np.ndarray:
    """Returns (count,) the time of single calls, s, after a tenth as many to warm up."""
    for _ in range(count // 10 + 1):
        call()
    return np.array([_seconds(call, 1) for _ in range(count)])


def _seconds(call: Callable[[], Any], loops: int) -> float:
    """Returns the mean time of ``loops`` calls, s, until the last result is there."""
    start = time.perf_counter()
    result = None
    for _ in range(loops):
        result = call()
    jax.block_until_ready(result)
    return (time.perf_counter() - start) / loops
