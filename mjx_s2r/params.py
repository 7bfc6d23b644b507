"""The table of parameters: everything that may differ between simulation and reality.

One row is one scalar. Its value for one world is one entry of `xi`, shape (D,), D rows. What a row
touches is written as ``field`` ("room.array"), the names of the elements in that array and a
column; how the value enters (scale, add, set) is its ``mode``. Values always enter from the nominal
arrays, so applying twice equals applying once.

This module knows no simulator and no jax: the same functions run on numpy (the robot stand-in, the
report) and on jax.numpy (thousands of worlds), by the array module ``xp`` they are given.
"""

import difflib
import fnmatch
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import ModuleType
from typing import Any, Literal

import numpy as np

Array = Any  # numpy.ndarray or jax.Array; which one follows from `xp`
Mode = Literal["scale", "add", "set"]
Law = Literal["uniform", "log_uniform"]
Range = tuple[float, float]

ROOMS = ("model", "actuator", "sensor", "visual")


class ParamError(ValueError):
    """A row, a name or a range that cannot be used; the message names it and the remedy."""


def unknown(kind: str, name: str, known: Sequence[str]) -> ParamError:
    """Returns the error for a ``name`` that is not among the ``known`` names, listing near ones."""
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.4)
    hint = f"did you mean {', '.join(map(repr, near))}?" if near else f"known: {', '.join(known)}"
    return ParamError(f"unknown {kind} {name!r}; {hint}")


@dataclass(frozen=True)
class Param:
    """One row of the table.

    Attributes:
        name: unique name of the row.
        field: "room.array", e.g. "model.geom_friction" or "visual.light_dir".
        of: names (or glob patterns) of the elements; empty for an array without named elements.
        column: component within an element; None touches all of them.
        mode: how the value enters: nominal * x, nominal + x, or x.
        nominal: the value that leaves the model as it was written (1 for scale, 0 for add).
        initial: range at the start of training, in ``unit``; a curriculum never goes inside it.
        limits: hard limits that no curriculum and no draw leaves.
        law: "uniform" or "log_uniform" (uniform in the logarithm; limits must be positive).
        unit: unit of the value; "1" for a ratio.
        source: where the limits come from.
    """

    name: str
    field: str
    of: tuple[str, ...] = ()
    column: int | None = None
    mode: Mode = "scale"
    nominal: float = 1.0
    initial: Range = (1.0, 1.0)
    limits: Range = (1.0, 1.0)
    law: Law = "uniform"
    unit: str = "1"
    source: str = ""

    def __post_init__(self) -> None:
        """Checks the row by itself.

        Raises:
            ParamError: NaN, low above high, a range outside its limits; an unknown room, mode, law.
        """
        where = f"parameter {self.name!r}"
        room = self.field.split(".", 1)[0]
        if room not in ROOMS or "." not in self.field:
            raise ParamError(
                f"{where}: field {self.field!r} must start with one of {ROOMS} and a dot"
            )
        if self.mode not in ("scale", "add", "set"):
            raise ParamError(f"{where}: mode {self.mode!r} must be 'scale', 'add' or 'set'")
        if self.law not in ("uniform", "log_uniform"):
            raise ParamError(f"{where}: law {self.law!r} must be 'uniform' or 'log_uniform'")
        if not math.isfinite(self.nominal):
            raise ParamError(f"{where}: nominal {self.nominal} must be finite")
        for label, (low, high) in (("initial", self.initial), ("limits", self.limits)):
            if not all(map(math.isfinite, (low, high))):
                raise ParamError(f"{where}: {label} ({low}, {high}) must be finite")
            if low > high:
                raise ParamError(f"{where}: {label} low {low} is above high {high}; swap them")
        if not self.limits[0] <= self.initial[0] <= self.initial[1] <= self.limits[1]:
            raise ParamError(
                f"{where}: initial range {self.initial} leaves the limits {self.limits}; "
                "widen the limits or narrow the range"
            )
        if self.law == "log_uniform" and self.limits[0] <= 0:
            raise ParamError(f"{where}: log_uniform needs limits above zero, got {self.limits}")

    @property
    def room(self) -> str:
        """The part of the system that the row belongs to: one of `ROOMS`."""
        return self.field.split(".", 1)[0]

    @property
    def array(self) -> str:
        """The name of the array that the row touches, without its room."""
        return self.field.split(".", 1)[1]


def scale(name: str, field: str, of: tuple[str, ...], limits: Range, **more: Any) -> Param:
    """Returns a row that multiplies; nominal 1, closed at the start."""
    return Param(name, field, of, limits=limits, **more)


def add(name: str, field: str, of: tuple[str, ...], limits: Range, **more: Any) -> Param:
    """Returns a row that is added; nominal 0, closed at the start."""
    return Param(name, field, of, mode="add", nominal=0.0, initial=(0, 0), limits=limits, **more)


def put(
    name: str, field: str, of: tuple[str, ...], limits: Range, *, nominal: float = 0.0, **more: Any
) -> Param:
    """Returns a row that replaces the value; closed at its nominal value at the start."""
    start = (nominal, nominal)
    return Param(name, field, of, mode="set", nominal=nominal, initial=start, limits=limits, **more)


@dataclass(frozen=True)
class ParamSpace:
    """The table: rows in order, and the vectors that follow from it.

    Every vector has shape (D,) and the order of ``rows``.
    """

    rows: tuple[Param, ...]

    def __post_init__(self) -> None:
        """Checks that names are unique.

        Raises:
            ParamError: two rows with one name.
        """
        seen: set[str] = set()
        for row in self.rows:
            if row.name in seen:
                raise ParamError(f"parameter {row.name!r} appears twice; rename one of the rows")
            seen.add(row.name)

    def __len__(self) -> int:
        """Number of rows, D."""
        return len(self.rows)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the rows."""
        return tuple(row.name for row in self.rows)

    @property
    def nominal(self) -> np.ndarray:
        """(D,) the values that leave the model unchanged."""
        return np.array([row.nominal for row in self.rows], np.float32)

    @property
    def initial(self) -> np.ndarray:
        """(2, D) low and high at the start of training."""
        return np.array([row.initial for row in self.rows], np.float32).reshape(-1, 2).T

    @property
    def limits(self) -> np.ndarray:
        """(2, D) low and high that are never left."""
        return np.array([row.limits for row in self.rows], np.float32).reshape(-1, 2).T

    @property
    def logarithmic(self) -> np.ndarray:
        """(D,) True where the law is log_uniform."""
        return np.array([row.law == "log_uniform" for row in self.rows], bool)

    def index(self, name: str) -> int:
        """Returns the position of the row called ``name``.

        Raises:
            ParamError: no such row; the message lists near names.
        """
        if name not in self.names:
            raise unknown("parameter", name, self.names)
        return self.names.index(name)

    def in_room(self, *rooms: str) -> np.ndarray:
        """Returns (D,) True for the rows of the given rooms.

        Raises:
            ParamError: a room that does not exist.
        """
        for room in rooms:
            if room not in ROOMS:
                raise unknown("room", room, ROOMS)
        return np.array([row.room in rooms for row in self.rows], bool)

    def with_ranges(self, ranges: Mapping[str, Range]) -> "ParamSpace":
        """Returns the table with other initial ranges, by row name.

        An end that is a limit up to float32 rounding becomes that limit.

        Raises:
            ParamError: an unknown row, or a range outside its limits.
        """
        rows = {r.name: r for r in self.rows}
        for name, ends in ranges.items():
            row = self.rows[self.index(name)]
            snapped = (_snap(ends[0], row.limits), _snap(ends[1], row.limits))
            rows[name] = replace(row, initial=snapped)
        return ParamSpace(tuple(rows.values()))

    def pinned(self) -> "ParamSpace":
        """Returns the table with every range closed at its nominal value: no randomization.

        The limits stay, so that a policy reads xi in the same scale as one trained with ranges.
        """
        return self.with_ranges({row.name: (row.nominal, row.nominal) for row in self.rows})

    def values(self, given: Mapping[str, float]) -> np.ndarray:
        """Returns (D,) the nominal xi with the ``given`` rows replaced, by name.

        Raises:
            ParamError: an unknown row, or a value outside its limits.
        """
        xi = self.nominal
        for name, value in given.items():
            row = self.rows[self.index(name)]
            if not row.limits[0] <= value <= row.limits[1]:
                raise ParamError(f"parameter {name!r}: {value} is outside its limits {row.limits}")
            xi[self.index(name)] = value
        return xi

    def normalize(self, xp: ModuleType, xi: Array) -> Array:
        """Returns xi (..., D) mapped to [-1, 1] between the limits; a closed row becomes 0."""
        low, high = self.limits
        half = (high - low) / 2
        return (xi - (low + high) / 2) / xp.where(half > 0, half, 1.0).astype(xi.dtype)

    def sample(self, xp: ModuleType, unit: Array, low: Array, high: Array) -> Array:
        """Maps ``unit`` (..., D) in [0, 1] into [low, high] by each row's law.

        log_uniform: x = low (high/low)^u, so log x is uniform.
        """
        log = self.logarithmic
        safe = xp.where(log, low, 1.0), xp.where(log, high, 1.0)
        flat = low + (high - low) * unit
        bent = xp.exp(xp.log(safe[0]) + (xp.log(safe[1]) - xp.log(safe[0])) * unit)
        return xp.clip(xp.where(log, bent, flat), low, high)


def _snap(value: float, limits: Range) -> float:
    """Returns the limit that ``value`` equals up to float32 rounding, else ``value``."""
    near = (x for x in limits if np.float32(x) == np.float32(value))
    return next(near, float(value))


@dataclass(frozen=True)
class Edit:
    """A row bound to an array: ``mask`` has the array's shape and is True where the row enters."""

    array: str
    row: int
    mode: Mode
    mask: np.ndarray


def bind(
    space: ParamSpace,
    room: str,
    nominal: Mapping[str, np.ndarray],
    elements: Mapping[str, Sequence[str]],
) -> tuple[Edit, ...]:
    """Binds the rows of one room to its nominal arrays, by name.

    Args:
        space: the table.
        room: which rows to bind.
        nominal: array name -> nominal value, (E, ...) where the array has named elements.
        elements: array name -> the E element names; absent where elements have no names.

    Raises:
        ParamError: unknown array, element or column; the message lists near names.
    """
    edits = []
    for index, row in enumerate(space.rows):
        if row.room != room:
            continue
        if row.array not in nominal:
            raise unknown(
                f"array of room {room!r} in parameter {row.name!r}:", row.array, list(nominal)
            )
        mask = _mask(row, np.shape(nominal[row.array]), elements.get(row.array))
        edits.append(Edit(row.array, index, row.mode, mask))
    return tuple(edits)


def _mask(row: Param, shape: tuple[int, ...], names: Sequence[str] | None) -> np.ndarray:
    """Returns the boolean mask of ``shape`` that a row touches."""
    mask = np.zeros(shape, bool)
    chosen: Any = ...
    if names is not None:
        if not row.of:
            raise ParamError(
                f"parameter {row.name!r}: say which of {row.array!r} it touches, e.g. ('*',)"
            )
        chosen = [i for pattern in row.of for i in _matches(row, pattern, names)]
    elif row.of:
        raise ParamError(
            f"parameter {row.name!r}: {row.array!r} has no named elements, drop {row.of}"
        )
    if row.column is None:
        mask[chosen] = True
    elif not shape or not 0 <= row.column < shape[-1]:
        raise ParamError(
            f"parameter {row.name!r}: column {row.column} is not in {row.array!r} {shape}"
        )
    elif names is None:
        mask[..., row.column] = True
    else:
        mask[chosen, ..., row.column] = True
    return mask


def _matches(row: Param, pattern: str, names: Sequence[str]) -> list[int]:
    """Returns the indices of the ``names`` that match a name or glob ``pattern``."""
    found = [i for i, name in enumerate(names) if fnmatch.fnmatchcase(name, pattern)]
    if not found:
        raise unknown(
            f"element of {row.array!r} in parameter {row.name!r}:", pattern, [n for n in names if n]
        )
    return found


def apply(
    xp: ModuleType, nominal: Mapping[str, Array], edits: Sequence[Edit], xi: Array
) -> dict[str, Array]:
    """Returns the touched arrays of one world with xi (D,) entered, from the nominal values.

    Rows on one array act in table order; arrays that no row touches are left out.
    """
    out: dict[str, Array] = {}
    for edit in edits:
        now = out.get(edit.array, nominal[edit.array])
        x = xi[edit.row]
        new = {"scale": now * x, "add": now + x, "set": xp.zeros_like(now) + x}[edit.mode]
        out[edit.array] = xp.where(edit.mask, new, now)
    return out
