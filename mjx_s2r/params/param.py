"""One row of the table: what it touches, between what limits, by which law, and what is refused.

It knows no simulator and no jax.
"""

import difflib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np

Mode = Literal["scale", "add", "set"]
Law = Literal["uniform", "log_uniform", "gaussian", "categorical"]
Resample = Literal["episode", "world", "step"]
Range = tuple[float, float]

LARGEST = 1e30  # what a limit stays below: single precision ends at 3.4e38
GROUPS = ("model", "actuator", "sensor", "visual", "world")
EVERY_STEP = ("actuator", "sensor", "visual")  # groups whose rows may change at every step


class ParamError(ValueError):
    """A row, a name or a range that cannot be used; the message names it and the remedy."""


def unknown(kind: str, name: str, known: Sequence[str]) -> ParamError:
    """Returns the error for a ``name`` that is not among the ``known`` names, listing near ones."""
    plain = {word.casefold(): word for word in known}
    near = [plain[n] for n in difflib.get_close_matches(name.casefold(), plain, n=3, cutoff=0.4)]
    hint = f"did you mean {', '.join(map(repr, near))}?" if near else f"known: {', '.join(known)}"
    hint = hint if known else "there are none"
    return ParamError(f"unknown {kind} {name!r}; {hint}")


@dataclass(frozen=True)
class Param:
    """One row of the table.

    Attributes:
        name: unique name of the row.
        field: "group.array", e.g. "model.geom_friction" or "visual.light_dir".
        elements: names (or glob patterns) of elements; empty for an array without named ones.
        column: component within an element; None touches all of them.
        mode: how the value enters: nominal * x, nominal + x, or x.
        nominal: the value that leaves the model as it was written (1 for scale, 0 for add).
        initial: range at the start of training, in ``unit``; a curriculum never goes inside it.
        limits: hard limits that no curriculum and no draw leaves.
        law: "uniform"; "log_uniform" (uniform in the logarithm; limits must be positive);
            "gaussian" (mean in the middle of the bounds, which lie two deviations away and cut it
            off); "categorical" (whole numbers, each as likely).
        resample: "episode"; "world" (a world keeps its first value through all its episodes);
            "step" (xi is how far it may go: at each control step the value is drawn between nominal
            and xi).
        correlation: rows of one name are drawn together; the first of them in the table leads.
        rho: correlation of this row's normal score with the leader's, -1 to 1.
        unit: unit of the value; "1" for a ratio.
        source: where the limits come from.
    """

    name: str
    field: str
    elements: tuple[str, ...] = ()
    column: int | None = None
    mode: Mode = "scale"
    nominal: float = 1.0
    initial: Range = (1.0, 1.0)
    limits: Range = (1.0, 1.0)
    law: Law = "uniform"
    unit: str = "1"
    source: str = ""
    resample: Resample = "episode"
    correlation: str = ""
    rho: float = 1.0

    def __post_init__(self) -> None:
        """Checks the row by itself.

        Raises:
            ParamError: an unknown group, mode, law or period; a range that is NaN, turned round or
                outside its limits; a law or a period that does not fit.
        """
        where = f"parameter {self.name!r}"
        group = self.field.split(".", 1)[0]
        if group not in GROUPS or "." not in self.field:
            raise ParamError(
                f"{where}: field {self.field!r} must start with one of {GROUPS} and a dot"
            )
        for label in ("mode", "law", "resample"):
            known, value = _WORDS[label], getattr(self, label)
            if value not in known:
                listed = ", ".join(map(repr, known[:-1]))
                raise ParamError(f"{where}: {label} {value!r} must be {listed} or {known[-1]!r}")
        if not math.isfinite(self.nominal):
            raise ParamError(f"{where}: nominal {self.nominal} must be finite")
        for label, (low, high) in (("initial", self.initial), ("limits", self.limits)):
            if not all(abs(x) < LARGEST for x in (low, high)):
                raise ParamError(f"{where}: {label} ({low}, {high}) must be finite, in float32 too")
            if low > high:
                raise ParamError(f"{where}: {label} low {low} is above high {high}; swap them")
        if not self.limits[0] <= self.initial[0] <= self.initial[1] <= self.limits[1]:
            raise ParamError(
                f"{where}: initial range {self.initial} leaves the limits {self.limits}; "
                "widen the limits or narrow the range"
            )
        self._check_law(where)

    def _check_law(self, where: str) -> None:
        """Raises ParamError where law, period or group ask for what the ranges cannot give."""
        if self.law == "log_uniform" and self.limits[0] <= 0:
            raise ParamError(f"{where}: log_uniform needs limits above zero, got {self.limits}")
        ends = (self.nominal, *self.initial, *self.limits)
        if self.law == "categorical" and any(x != round(x) for x in ends):
            raise ParamError(
                f"{where}: categorical needs whole numbers as nominal {self.nominal}, initial "
                f"{self.initial} and limits {self.limits}"
            )
        if not -1 <= self.rho <= 1:
            raise ParamError(f"{where}: rho {self.rho} is a correlation; it must lie in [-1, 1]")
        if self.rho != 1 and not self.correlation:
            raise ParamError(
                f"{where}: rho {self.rho} needs a correlation; name it, e.g. correlation='supply'"
            )
        if self.resample != "step":
            return
        if self.group not in EVERY_STEP:
            raise ParamError(
                f"{where}: a row of group {self.group!r} cannot change at every step (its "
                "constants are computed at reset); use resample='episode', or a row of one of "
                f"{EVERY_STEP}"
            )
        if self.law == "log_uniform" and self.nominal <= 0:
            raise ParamError(
                f"{where}: resample='step' draws between nominal and xi; log_uniform needs a "
                f"nominal above zero, got {self.nominal}"
            )

    @property
    def group(self) -> str:
        """The part of the system that the row belongs to: one of `GROUPS`."""
        return self.field.split(".", 1)[0]

    @property
    def array(self) -> str:
        """The name of the array that the row touches, without its group."""
        return self.field.split(".", 1)[1]


@dataclass(frozen=True)
class Edit:
    """A row bound to an array: ``mask`` has the array's shape and is True where the row enters."""

    array: str
    row: int
    mode: Mode
    mask: np.ndarray


_WORDS = {"mode": get_args(Mode), "law": get_args(Law), "resample": get_args(Resample)}


def scale(name: str, field: str, elements: tuple[str, ...], limits: Range, **more: Any) -> Param:
    """Returns a row that multiplies; nominal 1, closed at the start."""
    return Param(name, field, elements, limits=limits, **more)


def add(name: str, field: str, elements: tuple[str, ...], limits: Range, **more: Any) -> Param:
    """Returns a row that is added; nominal 0, closed at the start."""
    return Param(
        name, field, elements, mode="add", nominal=0.0, initial=(0, 0), limits=limits, **more
    )


def set_to(
    name: str,
    field: str,
    elements: tuple[str, ...],
    limits: Range,
    *,
    nominal: float = 0.0,
    **more: Any,
) -> Param:
    """Returns a row that replaces the value; closed at its nominal value at the start."""
    start = (nominal, nominal)
    return Param(
        name, field, elements, mode="set", nominal=nominal, initial=start, limits=limits, **more
    )
