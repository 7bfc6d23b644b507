"""The course of one training: seconds and score of each stretch; and libraries compared by it."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from benchmarks.compare import ratio
from benchmarks.rows import Row

COMPILING = 2  # stretches in which something may still be compiled


@dataclass(frozen=True)
class Measure:
    """What trainings are compared by; its words name the figures.

    Attributes:
        amount: what a training goes through.
        score: what a policy is judged by.
        rises: whether more of it is better.
        short: format of a score.
    """

    amount: str
    score: str
    rises: bool
    short: str

    def reached(self, scores: Sequence[float], wanted: float) -> np.ndarray:
        """Returns (K,) bool: which scores are as good as ``wanted``."""
        got = np.array(scores)
        return np.asarray(got >= wanted if self.rises else got <= wanted)

    def best(self, scores: Sequence[float]) -> float:
        """Returns the best of some scores."""
        return max(scores) if self.rises else min(scores)

    def worst(self, scores: Sequence[float]) -> float:
        """Returns the worst of some scores."""
        return min(scores) if self.rises else max(scores)


RETURN = Measure("steps", "return", True, ".0f")
ERROR = Measure("pictures", "error", False, ".4f")


@dataclass(frozen=True)
class LearningCurve:
    """One training in stretches of equal work.

    Attributes:
        start_s: from the call to the first stretch, s: tracing, compiling, first worlds.
        seconds: (K,) what each stretch took, s.
        scores: (K,) score of the policy after each stretch: its mean return, or its error.
        amount: environment steps in one stretch, or pictures.
        shares: part of the library -> its share of the time once compiled, where it was watched.
        measure: what amount and scores are.
        cpu_seconds: (K,) processor time of each stretch, where it was watched: of all threads, and
            less at the mercy of other programs.
    """

    start_s: float
    seconds: tuple[float, ...]
    scores: tuple[float, ...]
    amount: int
    shares: Mapping[str, float] = field(default_factory=dict)
    measure: Measure = RETURN
    cpu_seconds: tuple[float, ...] = ()

    @property
    def typical_s(self) -> float:
        """Median time of a stretch in which nothing is compiled, s."""
        return _typical(self.seconds)

    @property
    def compile_s(self) -> float:
        """What the start took, and the first stretches beyond the typical time, s."""
        extra = [max(0.0, s - self.typical_s) for s in self.seconds[:COMPILING]]
        return self.start_s + sum(extra)

    @property
    def speed(self) -> float:
        """Amount per second once compiled."""
        return self.amount / self.typical_s

    @property
    def cpu_speed(self) -> float:
        """Amount per second of processor time once compiled, NaN where that was not watched."""
        return self.amount / _typical(self.cpu_seconds) if self.cpu_seconds else math.nan

    @property
    def whole_speed(self) -> float:
        """Amount per second from the call to the end, compiling included."""
        return len(self.seconds) * self.amount / float(self.clock(True)[-1])

    def clock(self, compiling: bool) -> np.ndarray:
        """Returns (K,) the time at which each stretch ends, s, with or without compiling."""
        if compiling:
            return self.start_s + np.cumsum(self.seconds)
        first = [self.typical_s] * len(self.seconds[:COMPILING])
        return np.cumsum([*first, *self.seconds[COMPILING:]])

    def time_to(self, wanted: float, compiling: bool) -> float:
        """Returns when a stretch first ends with the ``wanted`` score, s; NaN for never."""
        reached = np.flatnonzero(self.measure.reached(self.scores, wanted))
        return float(self.clock(compiling)[reached[0]]) if reached.size else math.nan

    def note(self) -> str:
        """Returns the course in a few words."""
        m, best = self.measure, self.measure.best(self.scores)
        return (
            f"{self.speed:,.0f} {m.amount}/s, compile {self.compile_s:.0f} s, {m.score} "
            f"{self.scores[-1]:{m.short}} (best {best:{m.short}})"
        )

    def rows(self, case: str, name: str, wanted: float) -> Iterator[Row]:
        """Yields the figures, and the whole curve under "curve."."""
        m, speed = self.measure, f"{name}.{self.measure.amount}_per_s"
        yield Row(case, speed, self.speed, f"{m.amount}/s")
        yield Row(case, f"{speed}.compile", self.compile_s, "s")
        yield Row(case, f"{speed}_with_compile", self.whole_speed, f"{m.amount}/s")
        if self.cpu_seconds:
            yield Row(case, f"{name}.{m.amount}_per_cpu_s", self.cpu_speed, f"{m.amount}/s")
        for part, share in self.shares.items():
            yield Row(case, f"{name}.{part}_share", share, "1")
        yield Row(case, f"{name}.final_{m.score}", self.scores[-1], "1")
        yield Row(case, f"{name}.time_to_{m.score}", self.time_to(wanted, False), "s")
        yield Row(case, f"{name}.time_to_{m.score}_with_compile", self.time_to(wanted, True), "s")
        for k, (end, value) in enumerate(zip(self.clock(False), self.scores, strict=True), 1):
            yield Row(case, f"curve.{name}.{k * self.amount}.seconds", float(end), "s")
            yield Row(case, f"curve.{name}.{k * self.amount}.{m.score}", value, "1")


def medians(case: str, side: str, courses: Sequence[LearningCurve], wanted: float) -> Iterator[Row]:
    """Yields the medians of one side's trainings, and the share of them that got there."""
    m = courses[0].measure
    finals = [c.scores[-1] for c in courses]
    times = [c.time_to(wanted, False) for c in courses]
    speed = f"{side}.{m.amount}_per_s"
    yield Row(case, speed, _median([c.speed for c in courses]), f"{m.amount}/s")
    yield Row(case, f"{speed}.compile", _median([c.compile_s for c in courses]), "s")
    if courses[0].cpu_seconds:
        cpu_speed = _median([c.cpu_speed for c in courses])
        yield Row(case, f"{side}.{m.amount}_per_cpu_s", cpu_speed, f"{m.amount}/s")
    for part in courses[0].shares:
        yield Row(case, f"{side}.{part}_share", _median([c.shares[part] for c in courses]), "1")
    yield Row(case, f"{side}.final_{m.score}", _median(finals), "1")
    yield Row(case, f"{side}.worst_final_{m.score}", m.worst(finals), "1")
    yield Row(case, f"{side}.time_to_{m.score}", _median(times), "s")
    yield Row(case, f"{side}.reached", float(np.isfinite(times).mean()), "1")


def ratios(
    case: str,
    ours: Sequence[LearningCurve],
    theirs: Sequence[LearningCurve],
    wanted: float,
    prefix: str = "",
) -> Iterator[Row]:
    """Yields the medians of the ratios ours / theirs, seed by seed.

    A time ratio counts the seeds in which both sides got there; the share that did stands beside.
    "_at_most" also counts those in which only we did: the other side needs longer than it trained.
    """
    time_to = f"time_to_{ours[0].measure.score}"
    asked: dict[str, Callable[[LearningCurve], float]] = {
        "speed_ratio": lambda c: c.speed,
        "speed_with_compile_ratio": lambda c: c.whole_speed,
        "compile_ratio": lambda c: c.compile_s,
        f"{time_to}_ratio": lambda c: c.time_to(wanted, False),
        f"{time_to}_with_compile_ratio": lambda c: c.time_to(wanted, True),
    }
    if ours[0].cpu_seconds and theirs[0].cpu_seconds:
        asked["cpu_speed_ratio"] = lambda c: c.cpu_speed
    for metric, figure in asked.items():
        pairs = zip(ours, theirs, strict=True)
        value = _median([ratio(figure(b), figure(a)) for a, b in pairs])
        yield Row(case, f"{prefix}{metric}", value, "1")
    for metric, compiling in (("", False), ("_with_compile", True)):
        pairs = zip(ours, theirs, strict=True)
        bounds = [_at_most(a, b, wanted, compiling) for a, b in pairs]
        yield Row(case, f"{prefix}{time_to}{metric}_ratio_at_most", _median(bounds), "1")


def verdicts(
    case: str, courses: Mapping[str, Sequence[LearningCurve]], wanted: float
) -> Iterator[Row]:
    """Yields the medians of every side, then the `ratios` of the first to each other one.

    Where several are compared with, the names of ratios begin with theirs.
    """
    for side, trained in courses.items():
        yield from medians(case, side, trained, wanted)
    ours, *others = courses
    for name in others:
        prefix = f"{name}." if len(others) > 1 else ""
        yield from ratios(case, courses[ours], courses[name], wanted, prefix)


def _at_most(ours: LearningCurve, theirs: LearningCurve, wanted: float, compiling: bool) -> float:
    """Returns what ours / theirs of the time to a score is at most, NaN if unknown."""
    reached = theirs.time_to(wanted, compiling)
    limit = reached if math.isfinite(reached) else float(theirs.clock(compiling)[-1])
    return ours.time_to(wanted, compiling) / limit


def _typical(seconds: Sequence[float]) -> float:
    """Returns the median time of a stretch in which nothing is compiled, s."""
    return float(np.median(seconds[COMPILING:] or seconds[-1:]))


def _median(values: Sequence[float]) -> float:
    """Returns the median of the finite values, NaN where there are none."""
    finite = [x for x in values if math.isfinite(x)]
    return float(np.median(finite)) if finite else math.nan
