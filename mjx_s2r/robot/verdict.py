"""What a task says of an episode: success, time over or failed. Only a stand-in can tell.

A stand-in knows the true state, so its readings bring, beside what a robot would read, whether the
task's goal holds, whether all is lost and how far the goal is. Who flies it (the command line), who
evaluates on it and who reads its log judge by the one referee here. Of a real robot nobody knows
any of this, and nothing is said.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from mjx_s2r.robot.driver import Reading, TaskRules

SUCCESS, TIME, FAILED = "success", "time over", "task failed"
ON_GOAL, LOST, DISTANCE = "task_on_goal", "task_failed", "task_distance"  # signals of a reading
TOLD = (ON_GOAL, LOST, DISTANCE)
RULES = "task_rules"  # key of a log's settings
SLACK = 0.25  # of a control period, for clocks that jitter


@dataclass(frozen=True)
class TaskVerdict:
    """What became of an episode.

    Attributes:
        rules: of the task.
        result: `SUCCESS`, `TIME`, `FAILED`, or "" where it ended before either.
        at_s: when that was decided, or the last reading, since the first one, s.
        nearest: least distance to the goal, m; None where the task measures none.
        last: the distance when it was decided, m.
    """

    rules: TaskRules
    result: str = ""
    at_s: float = 0.0
    nearest: float | None = None
    last: float | None = None

    def text(self) -> str:
        """Returns it in words."""
        whole = f"{self.rules.episode_s:g} s"
        words = {
            SUCCESS: f"success after {self.at_s:.2f} s of the task's {whole}",
            TIME: f"time over: no success within the task's {whole}",
            FAILED: f"task failed after {self.at_s:.2f} s",
            "": f"not decided: it ended after {self.at_s:.2f} s of the task's {whole}",
        }
        if self.last is None or self.nearest is None:
            return words[self.result]
        at = f"{100 * self.last:.1f} cm from the goal at that time"
        return f"{words[self.result]}, {at}, {100 * self.nearest:.1f} cm at the nearest"

    def to_json(self) -> dict[str, Any]:
        """Returns it as JSON values."""
        return asdict(self) | {"result": self.result or "not decided"}


class Referee:
    """Judges an episode, reading by reading, until it is decided."""

    def __init__(self, rules: TaskRules, control_hz: float) -> None:
        """Takes the rules, and the rate of the readings."""
        self._rules, self._period_s = rules, 1 / control_hz
        self._hold_s = max(1, round(rules.hold_s * control_hz)) / control_hz
        self._longest_s = round(rules.episode_s * control_hz) / control_hz
        self._first_s: float | None = None
        self._since_s: float | None = None
        self._now_s = 0.0
        self.result = ""
        self._last: float | None = None
        self._nearest: float | None = None

    @property
    def verdict(self) -> TaskVerdict:
        """What became of the episode so far."""
        return TaskVerdict(self._rules, self.result, self._now_s, self._nearest, self._last)

    def judge(
        self, time_s: float, *, on_goal: bool, failed: bool, distance: float | None = None
    ) -> str:
        """Takes what the task says at one reading; returns the result, "" while there is none.

        Args:
            time_s: of the reading, by any clock.
            on_goal: the goal holds.
            failed: all is lost.
            distance: to the goal, m; None where the task measures none.
        """
        if self.result:
            return self.result
        self._first_s = time_s if self._first_s is None else self._first_s
        self._now_s, slack_s = time_s - self._first_s, SLACK * self._period_s
        self._last = distance
        if distance is not None:
            self._nearest = min(distance, distance if self._nearest is None else self._nearest)
        if not on_goal:
            self._since_s = None
        elif self._since_s is None:
            self._since_s = time_s
        held_s = 0.0 if self._since_s is None else time_s - self._since_s + self._period_s
        if held_s >= self._hold_s - slack_s:
            self.result = SUCCESS
        elif failed:
            self.result = FAILED
        elif self._now_s >= self._longest_s - slack_s:
            self.result = TIME
        return self.result

    def see(self, reading: Reading) -> str:
        """Judges a reading of a stand-in that knows its task, as `judge` does."""
        if not isinstance(reading.time_s, float) or ON_GOAL not in reading.signals:
            return self.result
        on_goal, failed, distance = (told(reading.signals, name) for name in TOLD)
        return self.judge(
            reading.time_s, on_goal=bool(on_goal), failed=bool(failed), distance=distance
        )


def told(signals: Mapping[str, np.ndarray], name: str) -> float | None:
    """Returns the one number of a signal; None where it is missing or no number."""
    value = signals.get(name)
    if not isinstance(value, np.ndarray) or value.size != 1 or value.dtype.kind not in "biuf":
        return None
    return float(value.reshape(-1)[0])


def logged_rules(config: Mapping[str, Any]) -> TaskRules | None:
    """Returns the rules that a log's settings hold; None where nobody knew the task."""
    body = config.get(RULES)
    if not isinstance(body, Mapping) or not {"episode_s", "hold_s"} <= body.keys():
        return None
    return TaskRules(float(body["episode_s"]), float(body["hold_s"]))
