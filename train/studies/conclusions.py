"""What the rows of a study allow to say: differences with intervals, and sentences made of them.

A difference has two intervals. Newcombe's is over episodes, with counts divided by their design
effect, since episodes of one policy on one robot resemble each other: it says how well *these*
policies are known. Student's is over trainings, paired by seed: it says what another training would
do. A sentence claims a difference between two ways of training only where both exclude zero, and
states the wider ends. With a single training each there is no second interval, and the sentence
speaks of the two policies alone.

Of m comparisons each interval is drawn at 1 - 0.05 / m (Bonferroni), so that all hold together with
at least 95 %.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mjx_s2r.eval.intervals import Interval, design_effect, mean_interval, newcombe, wilson

LEVEL = 0.95


@dataclass(frozen=True)
class Judged:
    """Episodes of one policy on one robot.

    Attributes:
        arm: how it was made.
        seed: of its training.
        place: family of the robot.
        robot: its name.
        successes: episodes that reached the goal.
        episodes: all of them.
    """

    arm: str
    seed: int
    place: str
    robot: str
    successes: int
    episodes: int


@dataclass(frozen=True)
class Cell:
    """Policies of one arm on one family of robots; an empty place is all families together."""

    arm: str
    place: str = ""

    @property
    def words(self) -> str:
        """Arm and place in words."""
        return f"{self.arm}{_on(self)}"


@dataclass(frozen=True)
class Comparison:
    """What is set beside each other: the first minus the second.

    Attributes:
        first: policies and robots.
        second: the others.
        says: a few words on what the difference is, e.g. "the drop"; may be empty.
    """

    first: Cell
    second: Cell
    says: str = ""


@dataclass(frozen=True)
class Rate:
    """Success of a cell.

    Attributes:
        success: mean over trainings.
        episodes: how many.
        by_episodes: Wilson's interval, counts divided by their design effect.
        by_trainings: Student's interval over the trainings' means; not finite for one training.
        each: seed -> mean over robots.
    """

    success: float
    episodes: int
    by_episodes: Interval
    by_trainings: Interval
    each: Mapping[int, float]


@dataclass(frozen=True)
class Difference:
    """A difference of two cells.

    Attributes:
        value: mean over the trainings' pairs.
        low: lower end, the farther of both intervals.
        high: upper end, the farther of both intervals.
        by_episodes: Newcombe's interval.
        by_trainings: Student's interval over pairs of one seed; not finite for one pair.
        pairs: how many seeds both cells have.
    """

    value: float
    low: float
    high: float
    by_episodes: Interval
    by_trainings: Interval
    pairs: int

    @property
    def shown(self) -> bool:
        """Whether the interval excludes zero."""
        return self.low > 0 or self.high < 0


@dataclass(frozen=True)
class Finding:
    """A comparison with what came out.

    Attributes:
        comparison: what was compared.
        difference: None where one of the cells has not been measured.
        sentence: what may be said.
    """

    comparison: Comparison
    difference: Difference | None
    sentence: str

    def to_json(self) -> dict[str, Any]:
        """Returns it as JSON values; an end that is not finite is null."""
        first, second = self.comparison.first, self.comparison.second
        body: dict[str, Any] = {
            "first": [first.arm, first.place],
            "second": [second.arm, second.place],
            "says": self.comparison.says,
            "sentence": self.sentence,
        }
        if self.difference is not None:
            found = self.difference
            body |= {
                "difference": found.value,
                "interval": [found.low, found.high],
                "by_episodes": list(found.by_episodes),
                "by_trainings": [x if math.isfinite(x) else None for x in found.by_trainings],
                "pairs": found.pairs,
            }
        return body


def rate_of(rows: Iterable[Judged], cell: Cell, confidence: float = LEVEL) -> Rate | None:
    """Returns the success of a cell, or None where nothing of it has been judged."""
    mine = _of(rows, cell)
    if not mine:
        return None
    good, count = _effective(mine)
    each = _by_seed(mine)
    values = [*each.values()]
    return Rate(
        success=float(np.mean(values)),
        episodes=sum(row.episodes for row in mine),
        by_episodes=wilson(good, count, confidence),
        by_trainings=mean_interval(values, confidence=confidence),
        each=each,
    )


def difference_of(
    rows: Sequence[Judged], comparison: Comparison, confidence: float = LEVEL
) -> Difference | None:
    """Returns the difference of two cells, or None where they have no seed in common."""
    first, second = (_of(rows, cell) for cell in (comparison.first, comparison.second))
    seeds = sorted({r.seed for r in first} & {r.seed for r in second})
    if not seeds:
        return None
    first, second = ([r for r in part if r.seed in seeds] for part in (first, second))
    one, other = _by_seed(first), _by_seed(second)
    pairs = [one[seed] - other[seed] for seed in seeds]
    by_episodes = newcombe(_effective(first), _effective(second), confidence)
    by_trainings = mean_interval(pairs, confidence=confidence)
    low, high = (float(np.clip(end, -1.0, 1.0)) for end in wider(by_episodes, by_trainings))
    return Difference(float(np.mean(pairs)), low, high, by_episodes, by_trainings, len(pairs))


def conclude(rows: Sequence[Judged], comparisons: Sequence[Comparison]) -> tuple[Finding, ...]:
    """Returns what may be said of each comparison, all of them together with 95 %."""
    confidence = level_of(len(comparisons))
    out = []
    for comparison in comparisons:
        found = difference_of(rows, comparison, confidence)
        out.append(Finding(comparison, found, sentence_of(comparison, found)))
    return tuple(out)


def level_of(comparisons: int) -> float:
    """Returns at which level each of some intervals is drawn, so that all together hold with 95 %.

    It is Bonferroni's.
    """
    return 1 - (1 - LEVEL) / max(comparisons, 1)


def wider(by_episodes: Interval, by_trainings: Interval) -> Interval:
    """Returns the hull of both intervals; one training alone has only the first."""
    if not all(math.isfinite(end) for end in by_trainings):
        return by_episodes
    return min(by_episodes[0], by_trainings[0]), max(by_episodes[1], by_trainings[1])


def judged_of(rows: Sequence[Mapping[str, Any]]) -> Iterator[Judged]:
    """Yields the verdicts in the rows of finished trainings."""
    for row in rows:
        for found in row["robots"]:
            yield Judged(
                arm=row["arm"],
                seed=row["seed"],
                place=found["place"],
                robot=found["robot"],
                successes=found["successes"],
                episodes=found["episodes"],
            )


def sentence_of(comparison: Comparison, found: Difference | None) -> str:
    """Returns a sentence that is no stronger than the interval."""
    first, second = comparison.first, comparison.second
    begin = f"{comparison.says[0].upper()}{comparison.says[1:]}: " if comparison.says else ""
    if found is None:
        return f"{begin}{first.words} and {second.words} have not both been measured."
    if found.shown:
        up = found.value if found.low > 0 else -found.value
        ends = (found.low, found.high) if found.low > 0 else (-found.high, -found.low)
        winner, loser = (first, second) if found.low > 0 else (second, first)
        text = f"{_against(winner, loser)} by {_points(up, ends)}"
    else:
        text = f"no difference is shown between {_apart(first, second)}: " + _points(
            found.value, (found.low, found.high), signed=True
        )
    if found.pairs == 1:
        text += "; one training each, so this is about these policies and not about the methods"
    text = begin + text
    return f"{text[0].upper()}{text[1:]}."


def _of(rows: Iterable[Judged], cell: Cell) -> list[Judged]:
    """Returns the rows of a cell."""
    return [r for r in rows if r.arm == cell.arm and cell.place in ("", r.place)]


def _by_seed(rows: Sequence[Judged]) -> dict[int, float]:
    """Returns seed -> mean success over its robots, each counted once."""
    out: dict[int, list[float]] = {}
    for row in rows:
        out.setdefault(row.seed, []).append(row.successes / row.episodes)
    return {seed: float(np.mean(values)) for seed, values in sorted(out.items())}


def _effective(rows: Sequence[Judged]) -> tuple[float, float]:
    """Returns successes and episodes over the design effect; clusters are policies on robots."""
    good, count = [r.successes for r in rows], [r.episodes for r in rows]
    scatter = min(design_effect(good, count), float(sum(count)))  # one episode is the least
    return sum(good) / scatter, sum(count) / scatter


def _against(winner: Cell, loser: Cell) -> str:
    """Returns "A beats B on ...", whichever of arm and place they differ in."""
    if winner.place == loser.place:
        return f"{winner.arm} beats {loser.words}"
    if winner.arm == loser.arm:
        return f"{winner.arm} succeeds more often on {winner.place} than on {loser.place}"
    return f"{winner.words} beats {loser.words}"


def _apart(first: Cell, second: Cell) -> str:
    """Returns what no difference is shown between."""
    if first.place == second.place:
        return f"{first.arm} and {second.words}"
    if first.arm == second.arm:
        return f"{first.place} and {second.place} for {first.arm}"
    return f"{first.words} and {second.words}"


def _on(cell: Cell) -> str:
    """Returns " on PLACE", or nothing for all places."""
    return f" on {cell.place}" if cell.place else ""


def _points(value: float, ends: Interval, signed: bool = False) -> str:
    """Returns a difference of rates in points, with its interval."""
    form = "+.0f" if signed else ".0f"
    middle, low, high = (format(100 * x, form).replace("-0", "0") for x in (value, *ends))
    return f"{middle} points ({low} to {high})"
