"""Row selection by pattern, and the coordinates in which bounds and densities move.

The law coordinate of a row is its logarithm where the row is log_uniform, its value otherwise: a
step there is the same share of the limits everywhere. The unit coordinate is the place between the
limits, 0 to 1, in the law coordinate. Draws themselves are the table's business (`space.sample`).
"""

import fnmatch
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from mjx_s2r.params import ParamError, ParamSpace, unknown
from mjx_s2r.params.param import GROUPS

_WHOLE_GROUPS = tuple(f"{group}.*" for group in GROUPS)


def select_rows(space: ParamSpace, patterns: str | Sequence[str]) -> np.ndarray:
    """Returns (D,) True for rows whose name or field ("group.array") fits one of the patterns.

    A pattern with a leading "~" takes rows out: of all rows where no other pattern names some, so
    "~visual.*" is every row but the looks.

    Args:
        space: the table.
        patterns: globs, e.g. ("model.*", "~model.body_mass"), or one text with commas between them.

    Raises:
        ParamError: a pattern that fits no row; lists the near names and fields. A whole group may
            be taken out of a table that has none of it.
    """
    given = row_patterns(patterns)
    wanted = [pattern for pattern in given if not pattern.startswith("~")]
    unwanted = [pattern[1:] for pattern in given if pattern.startswith("~")]
    mask = np.full(len(space), not wanted and bool(unwanted))
    for pattern in wanted:
        mask |= _fitting_rows(space, pattern)
    for pattern in unwanted:
        find = matching_rows if pattern in _WHOLE_GROUPS else _fitting_rows
        mask &= ~find(space, pattern)
    return mask


def row_patterns(patterns: str | Sequence[str]) -> tuple[str, ...]:
    """Returns patterns of rows one by one, of one text with commas between them or of several."""
    given = patterns.split(",") if isinstance(patterns, str) else patterns
    return tuple(pattern.strip() for pattern in given)


def _fitting_rows(space: ParamSpace, pattern: str) -> np.ndarray:
    """Returns (D,) what `matching_rows` does; raises ParamError where no row fits."""
    fits = matching_rows(space, pattern)
    if not fits.any():
        fields = sorted({row.field for row in space.rows})
        raise unknown("rows, by name or field:", pattern, [*space.names, *fields])
    return fits


def matching_rows(space: ParamSpace, pattern: str) -> np.ndarray:
    """Returns (D,) True for rows whose name or field fits a glob ``pattern``."""
    return np.array(
        [any(fnmatch.fnmatchcase(x, pattern) for x in (row.name, row.field)) for row in space.rows],
        bool,
    )


def movable_rows(space: ParamSpace, active: np.ndarray | None = None) -> np.ndarray:
    """Returns (D,) True for ``active`` rows (None: all) with open limits.

    A world keeps the first value of a row per world, so no schedule can test or move such a row.

    Raises:
        ParamError: a mask of another length than the table.
    """
    low, high = space.limits
    if active is not None and np.shape(active) != (len(space),):
        raise ParamError(
            f"rows to schedule: a mask of shape {np.shape(active)} for {len(space)} rows; "
            "make it with select_rows(space, patterns)"
        )
    chosen = np.ones(len(space), bool) if active is None else active
    return chosen & (high > low) & ~space.where("resample", "world")


def limits_where(space: ParamSpace, moves: np.ndarray) -> jax.Array:
    """Returns (2, D) the limits of the rows that move (D,), the initial ranges of the others."""
    return jnp.asarray(np.where(moves, space.limits, space.initial))


def to_law(space: ParamSpace, values: jax.Array) -> jax.Array:
    """Returns the law coordinates (..., D) of parameter values."""
    log = jnp.asarray(space.logarithmic)
    return jnp.where(log, jnp.log(jnp.where(log, values, 1.0)), values)


def from_law(space: ParamSpace, flat: jax.Array) -> jax.Array:
    """Returns parameter values (..., D) of law coordinates, never outside the limits."""
    log = jnp.asarray(space.logarithmic)
    low, high = space.limits
    return jnp.clip(jnp.where(log, jnp.exp(jnp.where(log, flat, 0.0)), flat), low, high)


def position_in_range(
    space: ParamSpace, values: jax.Array, low: jax.Array, high: jax.Array
) -> jax.Array:
    """Returns where values (..., D) lie between two bounds (D,), 0 to 1; 0.5 where they are one."""
    start, end = to_law(space, low), to_law(space, high)
    width = end - start
    share = (to_law(space, values) - start) / jnp.where(width > 0, width, 1.0)
    return jnp.where(width > 0, jnp.clip(share, 0.0, 1.0), 0.5)


def to_unit(space: ParamSpace, values: jax.Array) -> jax.Array:
    """Returns the unit coordinates (..., D) of values; 0.5 where the limits are closed."""
    low, high = jnp.asarray(space.limits)
    return position_in_range(space, values, low, high)


def from_unit(space: ParamSpace, unit: jax.Array) -> jax.Array:
    """Returns the values (..., D) at unit coordinates."""
    low, high = to_law(space, jnp.asarray(space.limits))
    return from_law(space, low + (high - low) * unit)


def bounds_at_width(
    space: ParamSpace, width: float, active: np.ndarray | None = None
) -> np.ndarray:
    """Returns (2, D) the bounds that go ``width`` of the way from nominal to the limits.

    Rows that are not ``active`` stay nominal; categorical ends are whole numbers.

    Raises:
        ParamError: a width outside [0, 1].
    """
    if not 0 <= width <= 1:
        raise ParamError(f"width {width} is a share of the way to the limits; it lies in [0, 1]")
    nominal = jnp.asarray(space.nominal)
    centre, ends = to_law(space, nominal), to_law(space, jnp.asarray(space.limits))
    found = space.snap_discrete(jnp, from_law(space, centre + width * (ends - centre)))
    return np.asarray(jnp.where(jnp.asarray(movable_rows(space, active)), found, nominal))


def space_at_width(space: ParamSpace, width: float, active: np.ndarray | None = None) -> ParamSpace:
    """Returns the table whose initial ranges are those of `bounds_at_width`."""
    low, high = bounds_at_width(space, width, active)
    ranges = {
        row.name: (float(np.clip(a, *row.limits)), float(np.clip(b, *row.limits)))
        for row, a, b in zip(space.rows, low, high, strict=True)
    }
    return space.pinned().with_ranges(ranges)
