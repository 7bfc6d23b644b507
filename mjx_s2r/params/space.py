"""The table of parameters: everything that may differ between simulation and reality.

One row is one scalar. Its value for one world is one entry of `xi`, shape (D,), D rows. What a row
touches is written as ``field`` ("group.array"), the names of the elements in that array and a
column; how the value enters (scale, add, set) is its ``mode``. Values always enter from the nominal
arrays, so applying twice equals applying once.

This module knows no simulator and no jax: the same functions run on numpy (the robot stand-in, the
report) and on jax.numpy (thousands of worlds), by the array module ``xp`` they are given.
"""

import fnmatch
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from types import ModuleType
from typing import Any, Literal

import numpy as np

from mjx_s2r.params import bounds as physical
from mjx_s2r.params import distributions
from mjx_s2r.params.bounds import Bound
from mjx_s2r.params.param import GROUPS, Edit, Param, ParamError, Range, unknown

Array = Any  # numpy.ndarray or jax.Array; which one follows from `xp`


@dataclass(frozen=True)
class ParamSpace:
    """The table: rows in order, and the vectors that follow from it.

    Every vector has shape (D,) and the order of ``rows``.
    """

    rows: tuple[Param, ...]

    def __post_init__(self) -> None:
        """Checks that names are unique and that groups can be drawn.

        Raises:
            ParamError: two rows with one name; a group of one row or of rows that are not drawn
                at the same time.
        """
        seen: set[str] = set()
        for row in self.rows:
            if row.name in seen:
                raise ParamError(f"parameter {row.name!r} appears twice; rename one of the rows")
            seen.add(row.name)
        for group in {row.correlation for row in self.rows} - {""}:
            rows = [row for row in self.rows if row.correlation == group]
            if len(rows) == 1:
                raise ParamError(
                    f"parameter {rows[0].name!r} is alone in group {group!r}; name the group in "
                    "another row or drop it"
                )
            if len({row.resample for row in rows}) > 1 or rows[0].resample == "step":
                raise ParamError(
                    f"group {group!r}: rows {[row.name for row in rows]} must all be drawn per "
                    "episode or all per world"
                )

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
        return self.where("law", "log_uniform")

    def where(self, attribute: Literal["law", "resample", "group"], value: str) -> np.ndarray:
        """Returns (D,) True for the rows whose law, period or group is ``value``."""
        return np.array([getattr(row, attribute) == value for row in self.rows], bool)

    def index(self, name: str) -> int:
        """Returns the position of the row called ``name``.

        Raises:
            ParamError: no such row; the message lists near names.
        """
        if name not in self.names:
            raise unknown("parameter", name, self.names)
        return self.names.index(name)

    def in_group(self, *groups: str) -> np.ndarray:
        """Returns (D,) True for the rows of the given groups.

        Raises:
            ParamError: a group that does not exist.
        """
        for group in groups:
            if group not in GROUPS:
                raise unknown("group", group, GROUPS)
        return np.array([row.group in groups for row in self.rows], bool)

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
        """Maps ``unit`` (..., D) in [0, 1] into [low, high] by each row's law and group.

        log_uniform: x = low (high/low)^u, so log x is uniform.
        """
        if any(row.correlation for row in self.rows):
            unit = distributions.correlate(
                xp, unit, self._leaders(), np.array([r.rho for r in self.rows])
            )
        if (gaussian := self.where("law", "gaussian")).any():
            unit = xp.where(gaussian, distributions.bell(xp, unit), unit)
        log = self.logarithmic
        safe = xp.where(log, low, 1.0), xp.where(log, high, 1.0)
        flat = low + (high - low) * unit
        bent = xp.exp(xp.log(safe[0]) + (xp.log(safe[1]) - xp.log(safe[0])) * unit)
        x = xp.clip(xp.where(log, bent, flat), low, high)
        if (whole := self.where("law", "categorical")).any():
            first, last = self.snap_discrete(xp, low), self.snap_discrete(xp, high)
            x = xp.where(
                whole, xp.clip(xp.floor(first + (last - first + 1) * unit), first, last), x
            )
        return x

    def _leaders(self) -> np.ndarray:
        """Returns (D,) the row that leads each row's group; a row without a group leads itself."""
        groups = [row.correlation for row in self.rows]
        return np.array([groups.index(g) if g else i for i, g in enumerate(groups)])

    def snap_discrete(self, xp: ModuleType, xi: Array) -> Array:
        """Returns xi (..., D) with categorical rows at the next whole number towards nominal.

        A schedule may move a bound by a fraction; the value that acts is a whole number.
        """
        whole = self.where("law", "categorical")
        if not whole.any():
            return xi
        inner = xp.where(xi >= self.nominal, xp.floor(xi + 1e-4), xp.ceil(xi - 1e-4))
        return xp.where(whole, inner, xi)

    def resample_steps(self, xp: ModuleType, xi: Array, unit: Array) -> Array:
        """Returns the xi (D,) of one control step: rows per step drawn between nominal and xi.

        Args:
            xp: numpy or jax.numpy.
            xi: (D,) the episode's parameters.
            unit: (S,) draws in [0, 1], one for each row per step, in table order.
        """
        often = self.where("resample", "step")
        place = np.flatnonzero(often)
        nominal, reach = self.nominal[place], xi[place]
        some = ParamSpace(tuple(self.rows[i] for i in place))
        drawn = some.sample(xp, unit, xp.minimum(nominal, reach), xp.maximum(nominal, reach))
        return xp.where(often, drawn[np.maximum(np.cumsum(often) - 1, 0)], xi)


def _snap(value: float, limits: Range) -> float:
    """Returns the limit that ``value`` equals up to float32 rounding, else ``value``."""
    near = (x for x in limits if np.float32(x) == np.float32(value))
    return next(near, float(value))


def bind(
    space: ParamSpace,
    group: str,
    nominal: Mapping[str, np.ndarray],
    elements: Mapping[str, Sequence[str]],
    bounds: Mapping[str, Bound] | None = None,
    *,
    only: Collection[int] | None = None,
) -> tuple[Edit, ...]:
    """Binds the rows of one group to its nominal arrays, by name.

    Args:
        space: the table.
        group: which rows to bind.
        nominal: array name -> nominal value, (E, ...) where the array has named elements.
        elements: array name -> the E element names; absent where elements have no names.
        bounds: array name -> what no row and no rows together may leave; see `params.bounds`.
        only: positions of the rows to bind; None for all of the group.

    Raises:
        ParamError: unknown array, element or column (the message lists near names); a row that
            scales zero; a row whose values a later row replaces; limits that reach a value that
            cannot be.
    """
    edits = []
    for index, row in enumerate(space.rows):
        if row.group != group or (only is not None and index not in only):
            continue
        if row.array not in nominal:
            raise unknown(
                f"array of group {group!r} in parameter {row.name!r}:", row.array, list(nominal)
            )
        value = nominal[row.array]
        mask = _mask(row, np.shape(value), elements.get(row.array))
        if row.mode == "scale" and group != "visual" and not np.asarray(value)[mask].any():
            raise ParamError(
                f"parameter {row.name!r} scales {row.array!r}, which is zero there and would stay "
                "zero; use mode 'add' or 'set'"
            )
        edits.append(Edit(row.array, index, row.mode, mask))
    _refuse_hidden(space, edits)
    physical.check(space.rows, edits, nominal, elements, bounds or {})
    return tuple(edits)


def _refuse_hidden(space: ParamSpace, edits: Sequence[Edit]) -> None:
    """Raises ParamError for a row of which later rows that set leave nothing."""
    for i, edit in enumerate(edits):
        later = [e for e in edits[i + 1 :] if e.array == edit.array and e.mode == "set"]
        if later and not (edit.mask & ~np.logical_or.reduce([e.mask for e in later])).any():
            row, other = space.rows[edit.row], space.rows[later[-1].row]
            raise ParamError(
                f"parameter {row.name!r} has no effect: {other.name!r}, later in the table, sets "
                f"all of {row.field!r} that it touches; put it behind that row, or drop it"
            )


def _mask(row: Param, shape: tuple[int, ...], names: Sequence[str] | None) -> np.ndarray:
    """Returns the boolean mask of ``shape`` that a row touches."""
    mask = np.zeros(shape, bool)
    chosen: Any = ...
    if names is not None:
        if not row.elements:
            raise ParamError(
                f"parameter {row.name!r}: say which of {row.array!r} it touches, e.g. ('*',)"
            )
        chosen = [i for pattern in row.elements for i in matching_elements(row, pattern, names)]
    elif row.elements:
        raise ParamError(
            f"parameter {row.name!r}: {row.array!r} has no named elements, drop {row.elements}"
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


def matching_elements(row: Param, pattern: str, names: Sequence[str]) -> list[int]:
    """Returns the indices of the ``names`` that match a name or glob ``pattern``."""
    found = [i for i, name in enumerate(names) if name == pattern]  # names may hold brackets
    found = found or [i for i, name in enumerate(names) if fnmatch.fnmatchcase(name, pattern)]
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
