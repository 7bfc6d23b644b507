"""Which schedule a training uses, and over which rows: from settings to a curriculum."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Literal, get_args

import numpy as np

from mjx_s2r.curriculum.adr import ADRConfig, adr
from mjx_s2r.curriculum.coordinates import select_rows, widened
from mjx_s2r.curriculum.doraemon_solver import MaxentConfig
from mjx_s2r.curriculum.hard import HardConfig, hard
from mjx_s2r.curriculum.interface import Curriculum
from mjx_s2r.curriculum.learnability import LearnabilityConfig, learnability_replay
from mjx_s2r.curriculum.maxent import maxent
from mjx_s2r.curriculum.mixture import Part, mixture
from mjx_s2r.curriculum.scalar import (
    DIFFICULTY,
    EXPAND,
    PROGRESSIVE,
    STAGED,
    ScalarConfig,
    scalar,
)
from mjx_s2r.curriculum.uniform import uniform
from mjx_s2r.params import ParamError, ParamSpace, unknown

Kind = Literal[
    "adr",
    "uniform",
    "none",
    "progressive",
    "staged",
    "expand",
    "difficulty",
    "maxent",
    "hard",
    "replay",
]


@dataclass(frozen=True)
class Schedules:
    """Settings of every schedule but ADR; only the chosen ones are read."""

    width: float = 1.0
    """uniform: how far its ranges go, as a share of the way from nominal to the limits."""
    progressive: ScalarConfig = PROGRESSIVE
    """All ranges grow by a factor on success."""
    staged: ScalarConfig = STAGED
    """Groups of rows open one after another."""
    expand: ScalarConfig = EXPAND
    """All ranges expand on success and contract on failure."""
    difficulty: ScalarConfig = DIFFICULTY
    """One difficulty in equal steps."""
    maxent: MaxentConfig = field(default_factory=MaxentConfig)
    """The widest density that keeps the success."""
    hard: HardConfig = field(default_factory=HardConfig)
    """A share of the worlds where the policy fails."""
    replay: LearnabilityConfig = field(default_factory=LearnabilityConfig)
    """Worlds that teach most are drawn again."""


def build_curriculum(
    kind: str, settings: Schedules, adr_settings: ADRConfig, space: ParamSpace, rows: np.ndarray
) -> Curriculum:
    """Returns the schedule ``kind`` over the ``rows`` (D,).

    "none" keeps everything nominal, "uniform" every other row; the others leave rows that they do
    not schedule at their initial ranges.

    Raises:
        ParamError: no such kind; lists the near ones.
    """
    makers: dict[str, Callable[[], Curriculum]] = {
        "adr": lambda: adr(space, adr_settings, rows),
        "uniform": lambda: uniform(widened(space, settings.width, rows), rows),
        "none": lambda: uniform(space.pinned(), rows),
        "progressive": lambda: scalar(space, settings.progressive, rows),
        "staged": lambda: scalar(space, settings.staged, rows),
        "expand": lambda: scalar(space, settings.expand, rows),
        "difficulty": lambda: scalar(space, settings.difficulty, rows),
        "maxent": lambda: maxent(space, settings.maxent, rows),
        "hard": lambda: hard(space, settings.hard, rows),
        "replay": lambda: learnability_replay(space, settings.replay, rows),
    }
    if kind not in makers:
        raise unknown("curriculum", kind, get_args(Kind))
    return makers[kind]()


def rows_or_default(space: ParamSpace, patterns: Sequence[str]) -> np.ndarray:
    """Returns (D,) the rows that fit the patterns; without any, all that a teacher can feel."""
    return select_rows(space, patterns) if patterns else ~space.in_group("visual")


def build_mixture(
    kind: str,
    rows: np.ndarray,
    mix: Sequence[str],
    make: Callable[[str, ParamSpace, np.ndarray], Curriculum],
    space: ParamSpace,
) -> Curriculum:
    """Returns ``kind`` over the ``rows`` (D,) that no entry of ``mix`` takes, and its schedules.

    An entry is written "kind:pattern,pattern", e.g. "maxent:model.*,visual.camera_pos".

    Raises:
        ParamError: an entry of another form, an unknown kind, a pattern that fits no row, or a row
            that two entries claim.
    """
    if not mix:
        return make(kind, space, rows)
    parts: list[Part] = []
    left = rows.copy()
    for entry in mix:
        name, colon, patterns = entry.partition(":")
        if not (colon and patterns):
            raise ParamError(f"mix {entry!r}: write it as kind:pattern,pattern, e.g. adr:model.*")
        mine = select_rows(space, [p.strip() for p in patterns.split(",")])
        left &= ~mine
        parts.append((mine, partial(make, name)))
    if left.any():
        parts.append((left, partial(make, kind)))
    return mixture(space, parts)
