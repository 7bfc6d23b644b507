"""Unit coordinates of rows in double precision: 0 at the low limit, 1 at the high one.

They are linear in the logarithm of a log_uniform row, else in its value, as in
`mjx_s2r.curriculum.coordinates`, whose float32 is too coarse for finite differences.
"""

import numpy as np

from mjx_s2r.params import ParamSpace


def from_z(space: ParamSpace, z: np.ndarray) -> np.ndarray:
    """Returns the values (..., D) at unit coordinates (..., D)."""
    low, high = _ends(space)
    flat = low + (high - low) * np.asarray(z, float)
    return np.where(space.logarithmic, np.exp(np.where(space.logarithmic, flat, 0.0)), flat)


def to_z(space: ParamSpace, values: np.ndarray) -> np.ndarray:
    """Returns the unit coordinates (..., D) of values (..., D)."""
    low, high = _ends(space)
    log = space.logarithmic
    values = np.asarray(values, float)
    flat = np.where(log, np.log(np.where(log, values, 1.0)), values)
    return (flat - low) / (high - low)


def nominal_z(space: ParamSpace) -> np.ndarray:
    """Returns the unit coordinates (D,) of the nominal values, inside the limits."""
    nominal = np.array([row.nominal for row in space.rows], float)
    ends = np.array([row.limits for row in space.rows], float).reshape(-1, 2)
    return np.clip(to_z(space, np.clip(nominal, ends[:, 0], ends[:, 1])), 0.0, 1.0)


def _ends(space: ParamSpace) -> tuple[np.ndarray, np.ndarray]:
    """Returns the limits (D,), (D,), in the logarithm where the row has its law there."""
    ends = np.array([row.limits for row in space.rows], float).reshape(-1, 2)
    log = space.logarithmic[:, None]
    flat = np.where(log, np.log(np.where(log, ends, 1.0)), ends)
    return flat[:, 0], flat[:, 1]
