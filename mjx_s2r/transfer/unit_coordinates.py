"""Unit coordinates z of rows on numpy: 0 at the low limit, 1 at the high one, straight in the law.

They are those of `mjx_s2r.curriculum.coordinates`, in double precision, so that differences of a
fit do not drown in rounding.
"""

import numpy as np

from mjx_s2r.params import ParamSpace


def law_ends(space: ParamSpace) -> np.ndarray:
    """Returns (2, D) the limits in the rows' laws: logarithms where a row is log_uniform."""
    ends = np.array([row.limits for row in space.rows], float).reshape(-1, 2).T
    log = space.logarithmic
    return np.where(log, np.log(np.where(log, ends, 1.0)), ends)


def values_at(space: ParamSpace, z: np.ndarray) -> np.ndarray:
    """Returns the values (..., D) at unit coordinates."""
    low, high = law_ends(space)
    flat = low + (high - low) * z
    log = space.logarithmic
    values = np.where(log, np.exp(np.where(log, flat, 0.0)), flat)
    limits = np.array([row.limits for row in space.rows], float).reshape(-1, 2).T
    return np.asarray(np.clip(values, *limits))


def unit_of(space: ParamSpace, values: np.ndarray) -> np.ndarray:
    """Returns the unit coordinates (..., D) of values; 0.5 where the limits are closed."""
    low, high = law_ends(space)
    log = space.logarithmic
    flat = np.where(log, np.log(np.where(log, values, 1.0)), values)
    width = high - low
    return np.where(width > 0, (flat - low) / np.where(width > 0, width, 1.0), 0.5)


def nominal_z(space: ParamSpace) -> np.ndarray:
    """Returns the unit coordinates (D,) of the nominal values, inside the limits."""
    ends = np.array([row.limits for row in space.rows], float).reshape(-1, 2)
    nominal = np.array([row.nominal for row in space.rows], float)
    return np.clip(unit_of(space, np.clip(nominal, ends[:, 0], ends[:, 1])), 0.0, 1.0)
