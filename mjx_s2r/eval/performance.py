"""How well a policy does: success, return and length of episodes, each with its 95 % interval.

The same figures whoever played the episodes: thousands of simulated worlds, or a few robots.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mjx_s2r.eval.intervals import Interval, clusters_of, design_effect, mean_interval, wilson


@dataclass(frozen=True)
class EpisodeFigure:
    """A figure and its 95 % interval.

    Attributes:
        value: the figure.
        low: low end.
        high: high end.
    """

    value: float
    low: float
    high: float

    @property
    def interval(self) -> Interval:
        """Both ends."""
        return self.low, self.high

    def to_json(self) -> list[float | None]:
        """Returns value, low and high; an end that is not finite is null."""
        return [float(x) if np.isfinite(x) else None for x in (self.value, self.low, self.high)]


@dataclass(frozen=True)
class Performance:
    """Figures of episodes in G groups (robots or worlds).

    Attributes:
        episodes: how many.
        groups: how many robots or worlds they were played in.
        successes: how many of them.
        effective: independent episodes that tell as much about the success rate.
        success: share of successes.
        episode_return: sum of rewards of an episode.
        length: control steps of an episode.
    """

    episodes: int
    groups: int
    successes: int
    effective: float
    success: EpisodeFigure
    episode_return: EpisodeFigure
    length: EpisodeFigure

    @property
    def clusters(self) -> int:
        """Groups of several episodes, which may resemble each other; 0 where all are of one."""
        return clusters_of(self.groups, self.episodes)

    def to_json(self) -> dict[str, Any]:
        """Returns the figures as JSON values; estimates are [value, low, high]."""
        return {
            "episodes": self.episodes,
            "groups": self.groups,
            "successes": self.successes,
            "success": self.success.to_json(),
            "return": self.episode_return.to_json(),
            "length": self.length.to_json(),
        }


def performance_of(
    success: Sequence[bool] | np.ndarray,
    returns: Sequence[float] | np.ndarray,
    lengths: Sequence[float] | np.ndarray,
    groups: Sequence[str],
) -> Performance:
    """Returns the figures of N episodes; episodes of one group may resemble each other.

    Args:
        success: (N,) whether the goal was reached.
        returns: (N,) sums of rewards.
        lengths: (N,) control steps.
        groups: (N,) robot or world of each.

    Raises:
        ValueError: no episodes.
    """
    if not len(groups):
        raise ValueError("no episodes: play at least one")
    good = np.asarray(success, bool)
    trials = Counter(groups)
    names = np.asarray(groups)
    scatter = design_effect([int(good[names == g].sum()) for g in trials], list(trials.values()))
    count, hits = len(good), int(good.sum())
    clusters = clusters_of(len(trials), count)
    low, high = wilson(hits / scatter, count / scatter, clusters=clusters)

    def mean(values: Sequence[float] | np.ndarray) -> EpisodeFigure:
        """Returns the mean with its interval."""
        found = np.asarray(values, float)
        return EpisodeFigure(float(found.mean()), *mean_interval(found, groups))

    return Performance(
        episodes=count,
        groups=len(trials),
        successes=hits,
        effective=count / scatter,
        success=EpisodeFigure(hits / count, low, high),
        episode_return=mean(returns),
        length=mean(lengths),
    )
