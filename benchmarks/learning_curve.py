"""The course of one training: seconds and return of each stretch; and two libraries' compared."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from benchmarks.compare import ratio
from benchmarks.rows import Row

COMPILING = 2  # stretches in which something may still be compiled


@dataclass(frozen=True)
class LearningCurve:
    """One training in stretches of equal work.

    Attributes:
        start_s: from the call to the first stretch, s: tracing, compiling, first worlds.
        seconds: (K,) what each stretch took, s.
        returns: (K,) mean return of the policy after each stretch.
        steps: environment steps in one stretch.
        shares: part of the library -> its share of the time once compiled, where it was watched.
    """

    start_s: float
    seconds: tuple[float, ...]
    returns: tuple[float, ...]
    steps: int
    shares: Mapping[str, float] = field(default_factory=dict)

    @property
    def typical_s(self) -> float:
        """Median time of a stretch in which nothing is compiled, s."""
        return float(np.median(self.seconds[COMPILING:] or self.seconds[-1:]))

    @property
    def compile_s(self) -> float:
        """What the start took, and the first stretches beyond the typical time, s."""
        extra = [max(0.0, s - self.typical_s) for s in self.seconds[:COMPILING]]
        return self.start_s + sum(extra)

    @property
    def steps_per_s(self) -> float:
        """Speed once compiled, env steps/s."""
        return self.steps / self.typical_s

    @property
    def whole_steps_per_s(self) -> float:
        """Speed from the call to the end, compiling included, env steps/s."""
        return len(self.seconds) * self.steps / float(self.clock(True)[-1])

    def clock(self, compiling: bool) -> np.ndarray:
        """Returns (K,) the time at which each stretch ends, s, with or without compiling."""
        if compiling:
            return self.start_s + np.cumsum(self.seconds)
        first = [self.typical_s] * len(self.seconds[:COMPILING])
        return np.cumsum([*first, *self.seconds[COMPILING:]])

    def time_to(self, wanted: float, compiling: bool) -> float:
        """Returns when a stretch first ends with the ``wanted`` return, s; NaN for never."""
        reached = np.flatnonzero(np.array(self.returns) >= wanted)
        return float(self.clock(compiling)[reached[0]]) if reached.size else math.nan

    def note(self) -> str:
        """Returns the course in a few words."""
        return (
            f"{self.steps_per_s:,.0f} steps/s, compile {self.compile_s:.0f} s, return "
            f"{self.returns[-1]:.0f} (best {max(self.returns):.0f})"
        )

    def rows(self, case: str, name: str, wanted: float) -> Iterator[Row]:
        """Yields the figures, and the whole curve under "curve."."""
        yield Row(case, f"{name}.steps_per_s", self.steps_per_s, "steps/s")
        yield Row(case, f"{name}.steps_per_s.compile", self.compile_s, "s")
        yield Row(case, f"{name}.steps_per_s_with_compile", self.whole_steps_per_s, "steps/s")
        for part, share in self.shares.items():
            yield Row(case, f"{name}.{part}_share", share, "1")
        yield Row(case, f"{name}.final_return", self.returns[-1], "1")
        yield Row(case, f"{name}.time_to_return", self.time_to(wanted, False), "s")
        yield Row(case, f"{name}.time_to_return_with_compile", self.time_to(wanted, True), "s")
        for k, (end, value) in enumerate(zip(self.clock(False), self.returns, strict=True), 1):
            yield Row(case, f"curve.{name}.{k * self.steps}.seconds", float(end), "s")
            yield Row(case, f"curve.{name}.{k * self.steps}.return", value, "1")


def verdicts(
    case: str,
    ours: Sequence[LearningCurve],
    theirs: Sequence[LearningCurve],
    name: str,
    wanted: float,
) -> Iterator[Row]:
    """Yields the medians of both sides, and of the ratios ours / theirs, seed by seed.

    A time ratio counts the seeds in which both sides got there; the share that did stands beside.
    "_at_most" also counts those in which only we did: the other side needs longer than it trained.
    """
    sides = {"ours": ours, name: theirs}
    for side, courses in sides.items():
        finals = [c.returns[-1] for c in courses]
        times = [c.time_to(wanted, False) for c in courses]
        yield Row(case, f"{side}.steps_per_s", _median([c.steps_per_s for c in courses]), "steps/s")
        yield Row(case, f"{side}.steps_per_s.compile", _median([c.compile_s for c in courses]), "s")
        for part in courses[0].shares:
            yield Row(case, f"{side}.{part}_share", _median([c.shares[part] for c in courses]), "1")
        yield Row(case, f"{side}.final_return", _median(finals), "1")
        yield Row(case, f"{side}.worst_final_return", min(finals), "1")
        yield Row(case, f"{side}.time_to_return", _median(times), "s")
        yield Row(case, f"{side}.reached", float(np.isfinite(times).mean()), "1")
    asked: dict[str, Callable[[LearningCurve], float]] = {
        "speed_ratio": lambda c: c.steps_per_s,
        "speed_with_compile_ratio": lambda c: c.whole_steps_per_s,
        "compile_ratio": lambda c: c.compile_s,
        "time_to_return_ratio": lambda c: c.time_to(wanted, False),
        "time_to_return_with_compile_ratio": lambda c: c.time_to(wanted, True),
    }
    for metric, figure in asked.items():
        pairs = zip(ours, theirs, strict=True)
        yield Row(case, metric, _median([ratio(figure(b), figure(a)) for a, b in pairs]), "1")
    for metric, compiling in (("", False), ("_with_compile", True)):
        pairs = zip(ours, theirs, strict=True)
        bounds = [_at_most(a, b, wanted, compiling) for a, b in pairs]
        yield Row(case, f"time_to_return{metric}_ratio_at_most", _median(bounds), "1")


def _at_most(ours: LearningCurve, theirs: LearningCurve, wanted: float, compiling: bool) -> float:
    """Returns what ours / theirs of the time to a return is at most, NaN if unknown."""
    reached = theirs.time_to(wanted, compiling)
    limit = reached if math.isfinite(reached) else float(theirs.clock(compiling)[-1])
    return ours.time_to(wanted, compiling) / limit


def _median(values: Sequence[float]) -> float:
    """Returns the median of the finite values, NaN where there are none."""
    finite = [x for x in values if math.isfinite(x)]
    return float(np.median(finite)) if finite else math.nan
