"""Derivatives of a replay by rows and start states: differences through C MuJoCo, all in one batch.

A derivative need not be as exact as the residual that it explains: what is minimal, and what is
left there, follows from the residual alone (inexact Gauss-Newton; Dembo, Eisenstat and Steihaug
1982, SIAM Journal on Numerical Analysis 19). So residuals are replayed at the model's own time
step and derivatives at one that is up to eight times as long, as long as such a replay moves as the
model does, which is measured at the point in question.
"""

import numpy as np

from mjx_s2r.transfer.linearization import Linearization
from mjx_s2r.transfer.simulator import ReplaySimulator
from mjx_s2r.transfer.unit_coordinates import values_at
from mjx_s2r.transfer.windows import channel_noise

STEP = 1e-3  # of a unit coordinate, for differences
START_STEP = 0.05  # of the deviation of a start state
LONGER = (8, 4, 2)  # times a time step that are tried
ROUGHLY = 0.03  # of the motion in a window, how far two replays may lie apart while a fit goes on
CLOSELY = 0.01  # the same where intervals follow from the derivatives
MOST_WINDOWS = 0.8  # share of the windows in which they must not lie further apart


def quick_replay(
    simulator: ReplaySimulator,
    z: np.ndarray,
    start: np.ndarray,
    which: np.ndarray,
    residual: np.ndarray,
    alike: float = ROUGHLY,
) -> ReplaySimulator:
    """Returns the replay by the longest time steps that moves as the simulator does about ``z``.

    That is the simulator itself where none does. No step is longer than an actuator's filter.

    Args:
        simulator: of the windows.
        z: (D,) unit coordinates.
        start: (W, S) start states.
        which: (W,) True for the windows that are compared.
        residual: (W', K, C) what the simulator leaves in them at ``z``.
        alike: how far they may lie apart, as a share of the motion in a window.
    """
    windows = simulator.windows
    seen, values = np.isfinite(residual), values_at(simulator.space, z[None])
    count = np.maximum(seen.sum(1), 1)
    readings, known = windows.readings[which], np.isfinite(windows.readings[which])
    first = np.take_along_axis(readings, known.argmax(1)[:, None], 1)
    away = np.where(known, readings - first, 0.0)
    moved = np.sqrt((away**2).sum((0, 1)) / np.maximum(known.sum((0, 1)), 1))
    moved = np.maximum(moved, channel_noise(windows))
    shortest_s = simulator.shortest_lag_s(values[0])
    for factor in LONGER:
        if factor * simulator.dt_s > shortest_s:
            continue  # a filter that is stepped over hardly moves the joint and has no derivative
        quick = simulator.with_longer_steps(factor)
        other = windows.readings[which] - quick.predict(values, start, which)[0, which]
        apart = np.where(seen, other - residual, 0.0)
        each = np.sqrt((apart**2).sum(1) / count)
        if np.all(np.quantile(each, MOST_WINDOWS, axis=0) <= alike * moved):
            return quick
    return simulator


def difference_quotients(
    quick: ReplaySimulator,
    z: np.ndarray,
    start: np.ndarray,
    which: np.ndarray,
    *,
    rows: bool = True,
    starts: bool = True,
    central: bool = False,
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the change of predictions by rows (W', K, C, D) and by start states (W', K, C, S).

    Args:
        quick: what is simulated.
        z: (D,) unit coordinates.
        start: (W, S) start states of all windows.
        which: (W,) True for the W' windows that count.
        rows: whether derivatives by the rows are taken; else they have no columns.
        starts: the same of start states.
        central: central differences by the rows, twice as dear and an order better.
    """
    axes, h = np.eye(len(z))[: len(z) * rows], START_STEP * quick.windows.start_std
    away = np.where(z > 0.5, -STEP, STEP)  # into the limits
    back = np.where((z >= STEP) & (z <= 1 - STEP), away, 0.0) * central
    moved = [z + away * unit for unit in axes] + [z - back * unit for unit in axes] * central
    shifted = [start + h * unit for unit in np.eye(len(h))[: len(h) * starts]]
    points = np.array([z, *moved, *[z] * len(shifted)])
    begin = np.array([*[start] * (1 + len(moved)), *shifted])
    found = quick.predict(values_at(quick.space, points), begin, which)[:, which]
    base, up = found[0], found[1 : 1 + len(axes)]
    down = found[1 + len(axes) : 1 + len(moved)] if central else base
    width = (away + back)[: len(axes), None, None, None]
    by_rows = np.moveaxis((up - down) / width, 0, -1)
    begun = found[1 + len(moved) :] - base
    by_start = np.moveaxis(begun / h[: len(shifted), None, None, None], 0, -1)
    return by_rows, by_start


def linearize(
    simulator: ReplaySimulator,
    z: np.ndarray,
    start: np.ndarray,
    which: np.ndarray,
    noise_std: np.ndarray,
    *,
    central: bool = True,
    by_rows: bool = True,
    residual: np.ndarray | None = None,
) -> Linearization:
    """Returns residuals of the windows ``which`` (W,) True and their derivatives at ``z`` (D,).

    Args:
        simulator: of the windows; derivatives are those of its quick replay.
        z: unit coordinates.
        start: (W, S) start states.
        which: windows that count.
        noise_std: (C,) deviation of each channel.
        central: central differences, twice as dear and an order better.
        by_rows: whether derivatives by the rows are taken; else the jacobian has no columns.
        residual: (W', K, C) what is left at ``z``, where that is known.
    """
    if residual is None:
        made = simulator.predict(values_at(simulator.space, z[None]), start, which)[0, which]
        residual = simulator.windows.readings[which] - made
    quick = quick_replay(simulator, z, start, which, residual, CLOSELY)
    slopes = difference_quotients(quick, z, start, which, rows=by_rows, central=central)
    return linearization_of(simulator, z, start, which, noise_std, residual, *slopes)


def linearization_of(
    simulator: ReplaySimulator,
    z: np.ndarray,
    start: np.ndarray,
    which: np.ndarray,
    noise_std: np.ndarray,
    residual: np.ndarray,
    by_rows: np.ndarray,
    by_start: np.ndarray,
) -> Linearization:
    """Returns a linearization at ``z`` (D,) and ``start`` (W, S) of residuals and derivatives."""
    windows = simulator.windows
    return Linearization(
        space=simulator.space,
        z=z,
        residual=residual,
        jacobian=by_rows,
        start_jacobian=by_start,
        start_std=windows.start_std,
        start_shift=start[which] - windows.start[which],
        time_s=windows.time_s[which],
        recording=windows.recording[which],
        noise_std=noise_std,
    )
