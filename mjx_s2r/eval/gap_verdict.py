"""The gap between simulation and robot, and what may be said of it.

    gap = 1 - success on the robot / success in simulation

is the share of the simulated success that the robot loses: 95 % in simulation and 76 % on the robot
are a gap of 20 %. Below `GOOD` it is good, above `POOR` poor, between them moderate; but only where
the whole interval says so. Otherwise nobody can tell yet, and how many more episodes would decide
it is said instead.
"""

import math
from dataclasses import dataclass
from typing import Any

from mjx_s2r.eval.intervals import rate_ratio, wilson
from mjx_s2r.eval.performance import EpisodeFigure, Performance

GOOD, POOR = 0.10, 0.30
UNKNOWN = "cannot tell yet"
WORDS = ("good", "moderate", "poor")
MOST = 400.0  # times as many episodes as there were; more than that nobody plays


@dataclass(frozen=True)
class GapVerdict:
    """What may be said of a gap.

    Attributes:
        word: "good", "moderate", "poor" or `UNKNOWN`.
        gap: share of the simulated success that is lost; below 0 the robot does better.
        more: further episodes on the robot, and as many times more in simulation, that would decide
            it if the rates stayed as they are; None where it is decided or they would not.
        sentence: all of that in words.
    """

    word: str
    gap: EpisodeFigure
    more: int | None
    sentence: str

    def to_json(self) -> dict[str, Any]:
        """Returns the verdict as JSON values."""
        about = {"word": self.word, "gap": self.gap.to_json(), "more_episodes": self.more}
        return about | {"sentence": self.sentence}


def judge_gap(simulated: Performance, robot: Performance) -> GapVerdict:
    """Returns the verdict on a policy's successes in simulation and on robots."""
    if not simulated.successes:
        nothing = EpisodeFigure(math.nan, -math.inf, math.inf)
        text = (
            f"{UNKNOWN}: the policy never succeeds in simulation ({simulated.episodes} episodes), "
            "so there is nothing that a robot could lose; train it first"
        )
        return GapVerdict(UNKNOWN, nothing, None, text)
    gap = _gap(simulated, robot, 1.0)
    word, more = _word(gap), None
    shown = f"gap {gap.value:.0%} ({gap.low:.0%} to {gap.high:.0%})"
    if word != UNKNOWN:
        return GapVerdict(word, gap, None, f"{word}: {shown}")
    times = 1.0
    while times < MOST and _word(_gap(simulated, robot, times)) == UNKNOWN:
        times *= 1.1
    if times < MOST:
        more = math.ceil((times - 1) * robot.episodes)
        text = (
            f"{UNKNOWN}: {more} more episodes on the robot, and in simulation in proportion, would "
            f"decide it at these rates; {shown}"
        )
    else:
        text = (
            f"{UNKNOWN}: it lies so near a boundary that {MOST:.0f} times as many episodes would "
            f"not decide it; {shown}"
        )
    return GapVerdict(word, gap, more, text)


def _gap(simulated: Performance, robot: Performance, times: float) -> EpisodeFigure:
    """Returns the gap if ``times`` as many episodes had given the same rates."""
    sides = []
    for side in (robot, simulated):
        count = times * side.effective
        ends = wilson(side.success.value * count, count, clusters=side.clusters)
        sides.append((side.success.value, ends))
    ratio, (low, high) = rate_ratio(*sides)
    return EpisodeFigure(1 - ratio, 1 - high, 1 - low)


def _word(gap: EpisodeFigure) -> str:
    """Returns the word that holds over the whole interval."""
    ends = (-math.inf, GOOD, POOR, math.inf)
    for word, low, high in zip(WORDS, ends, ends[1:], strict=False):
        if low <= gap.low and gap.high <= high:
            return word
    return UNKNOWN
