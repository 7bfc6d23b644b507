"""Curriculum registry: every schedule by its name, and from settings to a `Curriculum`.

A schedule is one file with a settings class and a function, and one line in `CURRICULA`. Its
settings then are part of `Schedules`, and so of every command line.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, make_dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from mjx_s2r.curriculum.adr import ADRConfig, adr
from mjx_s2r.curriculum.coordinates import select_rows
from mjx_s2r.curriculum.doraemon_solver import MaxentConfig
from mjx_s2r.curriculum.hard import HardConfig, hard
from mjx_s2r.curriculum.interface import Curriculum
from mjx_s2r.curriculum.learnability import LearnabilityConfig, learnability_replay
from mjx_s2r.curriculum.maxent import maxent
from mjx_s2r.curriculum.mixture import Part, mixture
from mjx_s2r.curriculum.scalar import (
    DifficultyConfig,
    ExpandConfig,
    ProgressiveConfig,
    StagedConfig,
    scalar,
)
from mjx_s2r.curriculum.uniform import (
    InitialConfig,
    NominalConfig,
    UniformConfig,
    fixed_ranges,
    initial_ranges,
    nominal_ranges,
    uniform,
)
from mjx_s2r.params import ParamError, ParamSpace, unknown

# (table, settings, rows (D,) that it schedules) -> the schedule; other rows keep their initial
# ranges, or stay nominal where the schedule's ranges are fixed.
BuildCurriculum = Callable[[ParamSpace, Any, np.ndarray], Curriculum]

CURRICULA: dict[str, tuple[type, BuildCurriculum]] = {
    "adr": (ADRConfig, adr),
    "uniform": (UniformConfig, fixed_ranges),
    "initial": (InitialConfig, initial_ranges),
    "none": (NominalConfig, nominal_ranges),
    "progressive": (ProgressiveConfig, scalar),
    "staged": (StagedConfig, scalar),
    "expand": (ExpandConfig, scalar),
    "difficulty": (DifficultyConfig, scalar),
    "maxent": (MaxentConfig, maxent),
    "hard": (HardConfig, hard),
    "replay": (LearnabilityConfig, learnability_replay),
}
ALL_BUT_LOOKS = ("~visual.*",)
FIXED = ("uniform", "initial", "none")  # those whose ranges never move


def make_schedules(curricula: Mapping[str, tuple[type, BuildCurriculum]]) -> type:
    """Returns the dataclass with the settings of every schedule that has some, but ADR's.

    ADR's stand beside it in every command line, because it is the schedule that is used by default.
    """
    parts = [
        (name, config, field(default_factory=config))
        for name, (config, _) in curricula.items()
        if name != "adr" and fields(config)
    ]
    made = make_dataclass("Schedules", parts, frozen=True)
    made.__doc__ = "Settings of every schedule but ADR; only the chosen ones are read."
    made.__module__ = __name__
    return made


if TYPE_CHECKING:

    class Schedules:
        """Settings of every schedule but ADR by its name; only the chosen ones are read."""

        def __init__(self, **settings: Any) -> None:
            """Takes settings by the name of their schedule; the others have their defaults."""

else:
    Schedules = make_schedules(CURRICULA)


@dataclass(frozen=True)
class CurriculumConfig:
    """Settings of a curriculum: which schedule moves the ranges of which rows.

    Attributes:
        kind: a name in `CURRICULA`.
        rows: rows that it schedules, as patterns of names or fields, "~" in front of those to leave
            out (see `select_rows`); empty: all that a policy without cameras can feel.
        mix: further schedules with rows of their own, each as kind:pattern,pattern; ``kind`` has
            those of ``rows`` that none of them takes.
        adr: settings of ADR.
        schedules: settings of the others.
    """

    kind: str = "adr"
    rows: str | tuple[str, ...] = ()
    mix: tuple[str, ...] = ()
    adr: ADRConfig = field(default_factory=ADRConfig)
    schedules: Schedules = field(default_factory=Schedules)

    def __post_init__(self) -> None:
        """Checks the names of the schedules.

        Raises:
            ParamError: no such schedule, lists the near ones; an entry of ``mix`` in another form.
        """
        for entry in self.mix:
            if not all(entry.partition(":")):
                raise ParamError(
                    f"mix {entry!r}: write it as kind:pattern,pattern, e.g. 'adr:model.*'"
                )
        for kind in self._kinds:
            if kind not in CURRICULA:
                raise unknown("curriculum", kind, list(CURRICULA))

    @classmethod
    def of(cls, settings: Any) -> "CurriculumConfig":
        """Returns the curriculum of a training: its settings have the fields of the same names.

        ``kind`` is called ``curriculum`` there.
        """
        return cls(
            settings.curriculum, settings.rows, settings.mix, settings.adr, settings.schedules
        )

    @property
    def moves(self) -> bool:
        """Whether any of its schedules moves ranges."""
        return any(kind not in FIXED for kind in self._kinds)

    @property
    def _kinds(self) -> tuple[str, ...]:
        """The kinds of its schedules."""
        return (self.kind, *(entry.partition(":")[0] for entry in self.mix))

    def build(
        self,
        space: ParamSpace,
        *,
        default: np.ndarray | None = None,
        within: np.ndarray | None = None,
        keep_others: bool = False,
    ) -> Curriculum:
        """Returns the curriculum over a table.

        Args:
            space: the table.
            default: (D,) bool, the rows that it schedules where ``rows`` names none; absent, all
                that a policy without cameras can feel.
            within: (D,) bool, the rows that it may schedule at all; absent, every row.
            keep_others: rows that it does not schedule keep their initial ranges, even beside fixed
                ones, where they would stay nominal.

        Raises:
            ParamError: a pattern that fits no row, or a row that two entries of ``mix`` claim.
        """
        if not len(space):
            return uniform(space)
        may = np.ones(len(space), bool) if within is None else within
        default = select_rows(space, ALL_BUT_LOOKS) if default is None else default
        left = (select_rows(space, self.rows) if self.rows else default) & may
        parts: list[Part] = []
        for entry in self.mix:
            kind, _, patterns = entry.partition(":")
            rows = select_rows(space, patterns)
            left = left & ~rows
            parts.append((rows & may, partial(self._build_one, kind)))
        if not (parts or keep_others):
            return self._build_one(self.kind, space, left)
        parts.append((left, partial(self._build_one, self.kind)))
        parts = [part for part in parts if np.any(part[0])]
        return mixture(space, parts) if parts else uniform(space, may)

    def _build_one(self, kind: str, space: ParamSpace, rows: np.ndarray) -> Curriculum:
        """Returns the schedule called ``kind`` over ``rows`` (D,)."""
        config, build = CURRICULA[kind]
        settings = self.adr if kind == "adr" else getattr(self.schedules, kind, None)
        return build(space, config() if settings is None else settings, rows)


def ADR(  # noqa: N802  (it stands for a settings class)
    *, rows: str | tuple[str, ...] = (), **settings: Any
) -> CurriculumConfig:
    """Returns boundary ADR over ``rows``; ``settings`` are those of `ADRConfig`."""
    return CurriculumConfig("adr", rows, adr=ADRConfig(**settings))


def Uniform(  # noqa: N802
    *, rows: str | tuple[str, ...] = (), width: float = 1.0
) -> CurriculumConfig:
    """Returns fixed ranges over ``rows``, ``width`` of the way from nominal to the limits."""
    schedules = Schedules(uniform=UniformConfig(width))
    return CurriculumConfig("uniform", rows, schedules=schedules)


def NoCurriculum() -> CurriculumConfig:  # noqa: N802
    """Returns the settings that keep every row nominal."""
    return CurriculumConfig("none")
