"""Findings of a demonstration as plain data, and the verdict that follows from its numbers.

Nothing here knows a task: names and sentences about the task are given.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from mjx_s2r.eval.intervals import Interval, clusters_of, newcombe, wilson
from mjx_s2r.params import ParamSpace

RANDOMIZED, PLAIN = "randomized", "plain"
NOMINAL, VARIED, STAND_IN = "simulation, nominal", "simulation, randomized", "stand-in"
PLACES = (NOMINAL, VARIED, STAND_IN)
WORDS = {RANDOMIZED: "randomized", PLAIN: "without randomization"}
KIND = {RANDOMIZED: "a", PLAIN: "b"}  # kinds of line in `mjx_s2r.report.charts`


@dataclass(frozen=True)
class Outcome:
    """Success count of one policy in one place.

    Attributes:
        label: what was tested, e.g. "student".
        pipeline: `RANDOMIZED` or `PLAIN`.
        where: one of `PLACES`.
        successes: episodes that reached the goal.
        episodes: all of them.
        effect: their design effect (`mjx_s2r.eval.intervals.design_effect`), above 1 where episodes
            on one robot are alike.
        robots: on how many robots, 0 where that is not told.
    """

    label: str
    pipeline: str
    where: str
    successes: int
    episodes: int
    effect: float = 1.0
    robots: int = 0

    def __post_init__(self) -> None:
        """Checks the counts and the two names.

        Raises:
            ValueError: counts that cannot be, or a name that is not known.
        """
        if not 0 <= self.successes <= self.episodes:
            raise ValueError(
                f"outcome {self.label!r}: {self.successes} of {self.episodes} episodes"
            )
        if self.pipeline not in (RANDOMIZED, PLAIN) or self.where not in PLACES:
            raise ValueError(
                f"outcome {self.label!r}: pipeline {self.pipeline!r} must be one of "
                f"{(RANDOMIZED, PLAIN)} and where {self.where!r} one of {PLACES}"
            )

    @property
    def rate(self) -> float:
        """Successes over episodes."""
        return self.successes / self.episodes

    @property
    def independent(self) -> tuple[float, float]:
        """Successes and episodes, divided by the design effect: as if all were independent."""
        return self.successes / self.effect, self.episodes / self.effect

    @property
    def clusters(self) -> int:
        """Robots with several episodes each; 0 where there are none or that is not told."""
        return clusters_of(self.robots, self.episodes)

    def interval(self, confidence: float) -> Interval:
        """Returns Wilson's interval of the rate."""
        return wilson(*self.independent, confidence, clusters=self.clusters)


@dataclass(frozen=True)
class Film:
    """One episode as the policy's camera saw it.

    Attributes:
        frames: (F, H, W, 3) uint8; episodes need not be equally long.
        success: whether the goal was reached.
        caption: a few words, e.g. "episode 12, closest 1.4 cm".
        frame_s: time between two frames, s.
    """

    frames: np.ndarray
    success: bool
    caption: str = ""
    frame_s: float = 0.04


@dataclass(frozen=True)
class RobotSide:
    """Counts of the safety layer and the control loop for one policy; None is not measured.

    Attributes:
        steps: control steps.
        events: interventions and findings by code, as in `mjx_s2r.robot.safety.Event`.
        held: steps in HOLD.
        stops: runs that ended by a STOP of the guard.
        overruns: deadlines that were missed; None where time was virtual.
        worst_late_ms: latest arrival at a deadline, ms.
        latency_us: (median, 99th percentile) of one ONNX inference, microseconds.
        parity_error: largest difference between the ONNX file and the trained network.
    """

    steps: int
    events: Mapping[str, int] = field(default_factory=dict)
    held: int = 0
    stops: int = 0
    overruns: int | None = None
    worst_late_ms: float | None = None
    latency_us: tuple[float, float] | None = None
    parity_error: float | None = None


@dataclass(frozen=True)
class Pipeline:
    """One training, from teacher to robot; whatever is absent is left out of the page.

    Attributes:
        teacher: metrics.jsonl of the teacher.
        student: metrics.jsonl of the student.
        bounds: bounds.jsonl of the teacher.
        ranges: bounds.jsonl of the student, whose last line is what the policy was trained on.
        worlds: (N, H, W, 3) uint8, worlds of training as the student sees them.
        films: episodes on the stand-in.
        robot: the robot side.
    """

    teacher: Path | None = None
    student: Path | None = None
    bounds: Path | None = None
    ranges: Path | None = None
    worlds: np.ndarray | None = None
    films: tuple[Film, ...] = ()
    robot: RobotSide | None = None


@dataclass(frozen=True)
class Provenance:
    """Setup that the numbers come from.

    Attributes:
        command: what to type to get them again.
        machine: processor, memory, accelerator, in words.
        commit: of the source; say so when the tree had changes.
        seeds: name of the random seed -> seed.
        versions: package -> version.
        effects: flaw of the stand-in -> its value.
        not_modelled: sentences on what neither simulator nor stand-in has.
    """

    command: str = ""
    machine: str = ""
    commit: str = ""
    seeds: Mapping[str, int] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    effects: Mapping[str, Any] = field(default_factory=dict)
    not_modelled: tuple[str, ...] = ()


@dataclass(frozen=True)
class DemoReport:
    """Everything on the page.

    Attributes:
        task: name of the task.
        goal: one or two sentences: what the robot must do and when it counts as done.
        total_s: duration of the whole run, s.
        outcomes: rows of the table of successes. The verdict compares the first row of each
            pipeline on the stand-in.
        target: success rate on the stand-in that the project asks of itself; None asks nothing.
        stages_s: part of the run -> its duration, s, in order.
        space: the table of parameters.
        randomized: the training in worlds that differ.
        plain: the same training in the nominal world.
        provenance: where the numbers come from.
        policy: path of the randomized policy's file, for what to do next.
        confidence: of every interval.
    """

    task: str
    goal: str = ""
    total_s: float = 0.0
    outcomes: tuple[Outcome, ...] = ()
    target: float | None = None
    stages_s: Mapping[str, float] = field(default_factory=dict)
    space: ParamSpace | None = None
    randomized: Pipeline = Pipeline()
    plain: Pipeline = Pipeline()
    provenance: Provenance = Provenance()
    policy: str = ""
    confidence: float = 0.95


@dataclass(frozen=True)
class Verdict:
    """The result in words: ``mood`` is "good", "open" or "bad"."""

    mood: str
    headline: str
    sentences: tuple[str, ...]


def outcome(report: DemoReport, pipeline: str, where: str, label: str = "") -> Outcome | None:
    """Returns the first row of a pipeline in one place that has episodes, or None."""
    rows = (o for o in report.outcomes if o.episodes and (o.pipeline, o.where) == (pipeline, where))
    return next((o for o in rows if not label or o.label == label), None)


def verdict(report: DemoReport) -> Verdict:
    """Returns what the numbers allow to say, and no more."""
    ours, bare = (outcome(report, p, STAND_IN) for p in (RANDOMIZED, PLAIN))
    if ours is None:
        return Verdict(
            "open", "No verdict", ("The randomized policy did not run on the stand-in.",)
        )
    low, high = ours.interval(report.confidence)
    robots = f"{ours.robots} simulated robots" if ours.robots else "the stand-in"
    measured = (
        f"The randomized {ours.label} reached the goal in {percent(ours.rate)} of {ours.episodes} "
        f"episodes on {robots} ({percent(report.confidence)} interval {span(low, high)})"
    )
    if bare is None:
        first = measured + ". The policy without randomization did not run there."
        return _with_target(report, ours, Verdict("open", "Nothing to compare with", (first,)))
    ends = bare.interval(report.confidence)
    first = (
        f"{measured}; without randomization {percent(bare.rate)} of {bare.episodes} "
        f"({span(*ends)})."
    )
    difference = _difference(report, ours, bare)
    caveat = _caveat(report, bare)
    sentences = (first, *difference.sentences, *caveat)
    return _with_target(report, ours, Verdict(difference.mood, difference.headline, sentences))


def percent(rate: float) -> str:
    """Returns a rate as a percentage; only certainty is written 0 % or 100 %."""
    if 0 < rate < 0.01 or 0.99 < rate < 1:
        return f"{min(max(100 * rate, 0.1), 99.9):.1f} %"
    return f"{100 * rate:.0f} %"


def span(low: float, high: float) -> str:
    """Returns two rates as "81 to 90 %"."""
    return f"{percent(low).removesuffix(' %')} to {percent(high)}"


def _difference(report: DemoReport, ours: Outcome, bare: Outcome) -> Verdict:
    """Returns what can be said about randomized against plain."""
    counts = ours.independent, bare.independent
    clusters = ours.clusters, bare.clusters
    low, high = (100 * x for x in newcombe(*counts, report.confidence, clusters=clusters))
    points = 100 * (ours.rate - bare.rate)
    if low > 0:
        gain = f"{points:.0f} points ({low:.0f} to {high:.0f})"
        text = f"Randomization gained {gain}, more than chance explains."
        return Verdict("good", "Randomization helped", (text,))
    if high < 0:
        loss = f"{-points:.0f} points ({-high:.0f} to {-low:.0f})"
        text = f"Randomization lost {loss}, more than chance explains."
        return Verdict("bad", "Randomization made it worse", (text,))
    text = (
        f"The difference of {points:+.0f} points ({low:+.0f} to {high:+.0f}) may be chance: "
        "these episodes do not show that randomization helped."
    )
    return Verdict("open", "No clear difference", (text,))


def _caveat(report: DemoReport, bare: Outcome) -> tuple[str, ...]:
    """Returns a warning when the plain policy is weak in its own world already."""
    home = outcome(report, PLAIN, NOMINAL, bare.label)
    if home is None or home.rate >= 0.5:
        return ()
    return (
        f"Without randomization the policy reached only {percent(home.rate)} in its own "
        "simulation, so its failures on the stand-in say little about the step to the robot.",
    )


def _with_target(report: DemoReport, ours: Outcome, so_far: Verdict) -> Verdict:
    """Returns the verdict with what became of the target."""
    if report.target is None:
        return so_far
    low, high = ours.interval(report.confidence)
    goal = f"the target of {percent(report.target)}"
    if ours.rate < report.target:
        text = f"This misses {goal}" + (
            ", though the interval includes it." if high >= report.target else "."
        )
        mood, headline = "bad", f"Target missed. {so_far.headline}"
    else:
        text = f"This reaches {goal}" + (
            "." if low >= report.target else ", though the interval goes below it."
        )
        mood, headline = so_far.mood, f"Target reached. {so_far.headline}"
    return Verdict(mood, headline, (so_far.sentences[0], text, *so_far.sentences[1:]))
