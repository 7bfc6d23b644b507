"""Paired replay: what a robot did under recorded commands, beside what simulation does.

A recording is cut into windows; each is simulated in open loop from the state that was measured at
its begin, by the commands that were sent (`mjx_s2r.transfer.simulator`), in the time steps of the
training and with all that they do. The error is that of the nominal model. Candidates drawn from
the ranges that a policy was trained on span a band, and the share of the readings inside it says
whether the training has met a robot like this one.
"""

from dataclasses import dataclass, replace

import mujoco
import numpy as np
from scipy.stats import qmc

from mjx_s2r.params import ParamError, ParamSpace
from mjx_s2r.transfer.problem import is_fitted, task_problem
from mjx_s2r.transfer.recording import Channel, Recording
from mjx_s2r.transfer.simulator import ReplaySimulator
from mjx_s2r.transfer.unit_coordinates import values_at
from mjx_s2r.transfer.windows import Windows, channel_noise, cut_windows

DRAWS = 64  # candidates that span the band
CHOOSERS = 16  # that choose between two estimates of the start states
EXACT = 0.01  # of a position's motion, below which an error is none
NOISE_REACH = 2.0  # deviations of a reading's noise that the band is widened by


@dataclass(frozen=True, eq=False)
class ReplayGap:
    """W windows of K readings in C channels, measured and simulated.

    Attributes:
        windows: what was measured.
        nominal: (W, K, C) prediction of the nominal model.
        low: (W, K, C) low end of the band that the trained ranges span.
        high: (W, K, C) its high end.
        noise_std: (C,) deviation of the readings' noise.
    """

    windows: Windows
    nominal: np.ndarray
    low: np.ndarray
    high: np.ndarray
    noise_std: np.ndarray

    @property
    def channels(self) -> tuple[Channel, ...]:
        """(C,) what is measured."""
        return self.windows.channels

    def error(self) -> np.ndarray:
        """Returns (C,) the root mean square error of the nominal model, in the channel's unit."""
        return root_mean_square(self.windows.readings - self.nominal)

    def motion(self) -> np.ndarray:
        """Returns (C,) the root mean square motion of a reading about its window's mean."""
        return motion_in_windows(self.windows.readings)

    def share(self) -> np.ndarray:
        """Returns (C,) the error as a share of the motion; NaN where nothing moved."""
        motion = self.motion()
        moved = motion > self.noise_std
        return np.where(moved, self.error() / np.where(moved, motion, 1.0), np.nan)

    def is_exact(self) -> bool:
        """Returns whether no position is off by more than noise or a hundredth of its motion."""
        positions = np.array([c.kind == "joint_pos" for c in self.channels])
        small = np.maximum(EXACT * self.motion(), self.noise_std)
        return bool(positions.any() and (self.error() <= small)[positions].all())

    def inside(self) -> np.ndarray:
        """Returns (C,) the share of the readings inside the band of the trained ranges."""
        readings = self.windows.readings
        seen = np.isfinite(readings)
        good = seen & (self.low <= readings) & (readings <= self.high)
        count = seen.sum((0, 1))
        return good.sum((0, 1)) / np.where(count > 0, count, np.nan)


def motion_in_windows(readings: np.ndarray) -> np.ndarray:
    """Returns (C,) the root mean square motion of readings (W, K, C) about each window's mean."""
    seen = np.isfinite(readings)
    total = np.where(seen, readings, 0.0).sum(1, keepdims=True)
    return root_mean_square(readings - total / np.maximum(seen.sum(1, keepdims=True), 1))


def root_mean_square(apart: np.ndarray) -> np.ndarray:
    """Returns (..., C) the root mean square of differences (..., W, K, C) where they are known."""
    seen = np.isfinite(apart)
    total = (np.where(seen, apart, 0.0) ** 2).sum((-3, -2))
    count = seen.sum((-3, -2))
    return np.sqrt(total / np.where(count > 0, count, np.nan))


def replayer(
    name: str,
    mj_model: mujoco.MjModel,
    table: ParamSpace,
    rows: np.ndarray,
    recordings: tuple[Recording, ...],
    window_s: float,
) -> ReplaySimulator:
    """Returns the simulator of recordings, cut into windows, with some rows of a task's table.

    Windows start from states estimated from the readings about their begin, or from the very
    readings there, whichever lets some candidate come nearer to what follows: where commands are
    hard and readings few, the former smooths too much.

    Args:
        name: of the task.
        mj_model: its model.
        table: its rows.
        rows: (all rows,) True for those that may move; rows that motion cannot tell are left out.
        recordings: what was measured.
        window_s: length of a window, s.

    Raises:
        ParamError: no row is left.
        RecordingError: recordings that do not fit each other or the model.
    """
    chosen = rows & np.array([is_fitted(row) for row in table.rows], bool)
    if not chosen.any():
        named = [row.name for row, wanted in zip(table.rows, rows, strict=True) if wanted]
        raise ParamError(
            f"none of the rows {named} acts on motion, so no replay can tell of them; name rows of "
            "model.*, actuator.delay_s or actuator.offset"
        )
    problem = task_problem(name, mj_model, table, chosen, recordings, own_step=True)
    problem = replace(problem, as_simulated=True)
    windows = cut_windows(problem.recordings, window_s)
    usual, direct = (ReplaySimulator(problem, w) for w in (windows, read_starts(windows)))
    some = values_at(problem.space, _spread(problem.space, CHOOSERS))
    tried = np.concatenate((problem.space.nominal[None], some))
    scale = np.maximum(root_mean_square(windows.readings), 1e-12)
    errors = [
        np.nanmean(root_mean_square(windows.readings - x.predict(tried)) / scale, axis=1).min()
        for x in (usual, direct)
    ]
    return direct if errors[1] < errors[0] else usual


def _spread(space: ParamSpace, count: int) -> np.ndarray:
    """Returns (count, D) points spread evenly over the unit box (Sobol 1967)."""
    return np.asarray(qmc.Sobol(len(space), rng=np.random.default_rng(0)).random(count))


def read_starts(windows: Windows) -> Windows:
    """Returns windows whose start states are the readings at their begin, as far as there are."""
    channels = [(c.kind, c.element) for c in windows.channels]
    joints, start = windows.joints, windows.start.copy()
    wanted = [("joint_pos", j) for j in joints] + [("joint_vel", j) for j in joints]
    for w, (number, at) in enumerate(zip(windows.recording, windows.start_s, strict=True)):
        recording = windows.recordings[number]
        row = int(np.argmin(np.abs(recording.time_s - at)))
        for place, name in enumerate(wanted):
            value = recording.readings[row, channels.index(name)] if name in channels else np.nan
            if np.isfinite(value):
                start[w, place] = value
    return replace(windows, start=start)


def measure_replay(simulator: ReplaySimulator, low: np.ndarray, high: np.ndarray) -> ReplayGap:
    """Returns how far the nominal model is from the recordings, and the trained ranges' band.

    Args:
        simulator: of the recordings.
        low: (D,) low ends of the trained ranges of the simulator's rows.
        high: (D,) high ends.
    """
    space, windows = simulator.space, simulator.windows
    drawn = space.sample(np, _spread(space, DRAWS), low, high)
    found = simulator.predict(np.concatenate((space.nominal[None], drawn)))
    noise = channel_noise(windows)
    reach = NOISE_REACH * noise
    return ReplayGap(windows, found[0], found.min(0) - reach, found.max(0) + reach, noise_std=noise)
