"""Windows: the stretches of recordings that are simulated from a start state of their own.

Multiple shooting (Bock and Plitt 1984, A multiple shooting algorithm for direct solution of optimal
control problems): a short window cannot drift away from what was measured, so the misfit stays a
smooth function of the rows, and chaos and unknown disturbances stay local. The start state of each
window is estimated from the readings about it by a local quadratic, and the fit may still move it
within its uncertainty.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from mjx_s2r.transfer.recording import Channel, Recording, RecordingError

ABOUT_S = 0.03  # half of the stretch that a start state is estimated from
LEAST_ROWS = 6  # of a window
LEAST_PLACES = 4  # readings of a joint that a start state is estimated from
NEXT = 1.6  # usual distances between two readings of a joint, over which its place is known
SPEED_SLACK = 3.0  # factor on the deviation of a start speed: a local quadratic is a model, too


@dataclass(frozen=True, eq=False)
class Windows:
    """W windows of at most K readings in C channels; S = 2 Q numbers of start state.

    Attributes:
        recordings: where they come from.
        joints: (Q,) joints whose positions are read, in the order of the start state.
        recording: (W,) number of the recording of each window.
        start_s: (W,) begin on the recording's clock, s.
        time_s: (W, K) time of the readings since the begin, s; NaN behind the last.
        readings: (W, K, C) NaN where nothing was read.
        driven: (W,) False where the actuators were switched off.
        held_out: (W,) kept for judging.
        start: (W, S) positions, then velocities.
        start_std: (S,) deviation of the start state about the truth.
    """

    recordings: tuple[Recording, ...]
    joints: tuple[str, ...]
    recording: np.ndarray
    start_s: np.ndarray
    time_s: np.ndarray
    readings: np.ndarray
    driven: np.ndarray
    held_out: np.ndarray
    start: np.ndarray
    start_std: np.ndarray

    def __len__(self) -> int:
        """Number of windows, W."""
        return len(self.start_s)

    @property
    def channels(self) -> tuple[Channel, ...]:
        """(C,) what is measured."""
        return self.recordings[0].channels


def cut_windows(recordings: Sequence[Recording], window_s: float, held_out: float = 0.0) -> Windows:
    """Cuts recordings into windows of at most ``window_s`` seconds.

    A window never crosses a switch of the actuators. Readings of the first instant belong to the
    start state.

    Args:
        recordings: with the same channels.
        window_s: length, s.
        held_out: share of the windows that are kept for judging where no recording is held out as
            a whole: the last of each recording, or of short recordings some as a whole.

    Raises:
        RecordingError: no window with enough readings, or none left to fit.
    """
    channels = recordings[0].channels
    positions = [c for c, ch in enumerate(channels) if ch.kind == "joint_pos"]
    joints = tuple(channels[c].element for c in positions)
    speed_of = {ch.element: c for c, ch in enumerate(channels) if ch.kind == "joint_vel"}
    whole = any(r.held_out for r in recordings)
    found: list[tuple[int, float, np.ndarray, np.ndarray, bool, bool]] = []
    starts, spreads = [], []
    for number, r in enumerate(recordings):
        mine = []
        noise = [reading_noise(r, c) for c in range(len(channels))]
        placed = _placed(r, positions)
        for first, last in _runs(r, placed):
            length = r.time_s[last] - r.time_s[first]
            count = max(1, round(length / window_s))
            edges = np.linspace(r.time_s[first], r.time_s[last], count + 1)
            for a, b in pairwise(edges):
                begin, end = np.searchsorted(r.time_s, (a - 1e-9, np.nextafter(b + 1e-9, np.inf)))
                rows = np.arange(max(begin, first), min(end, last + 1))
                rows = rows[int(np.argmax(placed[rows])) :] if placed[rows].any() else rows[:0]
                rows = rows[np.isfinite(r.readings[rows]).any(1)]
                if len(rows) >= LEAST_ROWS:
                    mine.append(rows)
        kept = len(mine) - (0 if whole else round(held_out * len(mine)))
        for place, rows in enumerate(mine):
            start, spread = _start(r, rows[0], positions, joints, speed_of, noise)
            starts.append(start)
            spreads.append(spread)
            begin = float(r.time_s[rows[0]])
            found.append(
                (
                    number,
                    begin,
                    r.time_s[rows[1:]] - begin,
                    r.readings[rows[1:]],
                    bool(r.driven[rows[0]]),
                    r.held_out if whole else place >= kept,
                )
            )
    if held_out and not any(f[5] for f in found) and len(found) * held_out >= 1:
        every = max(2, round(1 / held_out))
        found = [(*f[:5], i % every == every - 1) for i, f in enumerate(found)]
    if not found or all(f[5] for f in found):
        names = ", ".join(r.name for r in recordings)
        unread = [x for x in (unread_in(r, joints) for r in recordings) if x]
        raise RecordingError(
            f"{names}: no stretch with at least {LEAST_ROWS} readings is left to fit; "
            + ("; ".join(unread[:3]) if unread else "record more, or hold out less")
        )
    most = max(len(f[2]) for f in found)
    time_s = np.full((len(found), most), np.nan)
    readings = np.full((len(found), most, len(channels)), np.nan)
    for w, (_, _, times, values, _, _) in enumerate(found):
        time_s[w, : len(times)] = times
        readings[w, : len(times)] = values
    return Windows(
        recordings=tuple(recordings),
        joints=joints,
        recording=np.array([f[0] for f in found]),
        start_s=np.array([f[1] for f in found]),
        time_s=time_s,
        readings=readings,
        driven=np.array([f[4] for f in found]),
        held_out=np.array([f[5] for f in found]),
        start=np.array(starts),
        start_std=np.median(np.array(spreads), axis=0),
    )


def some_windows(which: np.ndarray, most: int) -> np.ndarray:
    """Returns (W,) True for at most so many of the windows ``which`` (W,) True, evenly over all."""
    mine = np.flatnonzero(which)
    places = np.unique(np.linspace(0, len(mine) - 1, min(most, len(mine))).round().astype(int))
    mask = np.zeros(len(which), bool)
    mask[mine[places]] = True
    return mask


def channel_noise(windows: Windows) -> np.ndarray:
    """Returns (C,) the deviation of each channel's noise, the median over the recordings."""
    return np.array(
        [
            np.median([reading_noise(r, c) for r in windows.recordings])
            for c in range(len(windows.channels))
        ]
    )


def reading_noise(recording: Recording, channel: int) -> float:
    """Returns the deviation of one channel's noise, its rounding included.

    The third difference of a smooth signal is small and that of white noise has variance
    20 sigma^2 (1 + 9 + 9 + 1); the median keeps peaks out.
    """
    values = recording.readings[:, channel]
    values = values[np.isfinite(values)]
    if len(values) < 8:
        return 1e-6
    quantum = reading_quantum(values)
    rough = float(np.median(np.abs(np.diff(values, n=3)))) / 0.6745 / np.sqrt(20.0)
    scale = float(np.ptp(values))
    return max(rough, quantum / np.sqrt(12.0), 1e-5 * scale, 1e-9)


def reading_quantum(values: np.ndarray) -> float:
    """Returns the step that readings (T,) are rounded to; 0 where there is none to be seen."""
    steps = np.abs(np.diff(np.unique(values)))
    steps = steps[steps > 1e-9]
    if len(steps) < 3 or len(np.unique(values)) > 0.8 * len(values):
        return 0.0
    return float(np.percentile(steps, 10))


def unread_in(recording: Recording, joints: Sequence[str]) -> str:
    """Returns why no window can begin in a recording: joints that it does not read; "" for none.

    Args:
        recording: one of several.
        joints: whose positions are read in any of them.
    """
    read = {
        c.element: int(np.isfinite(recording.readings[:, i]).sum())
        for i, c in enumerate(recording.channels)
        if c.kind == "joint_pos"
    }
    lost = [joint for joint in joints if read.get(joint, 0) < LEAST_PLACES]
    if not lost:
        return ""
    return (
        f"{recording.name} holds no position of {', '.join(map(repr, lost))}, so no window can "
        "begin in it; map that reading, or leave it out of all (--channels), or fit the log alone"
    )


def _placed(r: Recording, positions: Sequence[int]) -> np.ndarray:
    """Returns (T,) the rows that read a position, and at which the place of every joint is known.

    It is known where it is read and between two readings that are as near as they usually are:
    joints may be read in turn, or at rates of their own.
    """
    rows, placed = np.arange(len(r)), np.isfinite(r.readings[:, list(positions)]).any(1)
    for c in positions:
        read = np.isfinite(r.readings[:, c])
        known = np.flatnonzero(read)
        if len(known) < LEAST_PLACES:
            return np.zeros(len(r), bool)
        after = np.searchsorted(known, rows)
        inside = (after > 0) & (after < len(known))
        ends = known[np.clip(after - 1, 0, None)], known[np.clip(after, None, len(known) - 1)]
        usual_s = float(np.median(np.diff(r.time_s[known])))
        placed &= read | (inside & (r.time_s[ends[1]] - r.time_s[ends[0]] <= NEXT * usual_s))
    return placed


def _runs(r: Recording, placed: np.ndarray) -> list[tuple[int, int]]:
    """Returns first and last row of the stretches in which the actuators stay on or off.

    Args:
        r: the recording.
        placed: (T,) rows at which a window may begin.
    """
    edges = np.flatnonzero(np.diff(r.driven.astype(int))) + 1
    ends = [0, *edges.tolist(), len(r)]
    found = []
    for a, b in pairwise(ends):
        seen = np.flatnonzero(placed[a:b]) + a
        if len(seen) > LEAST_ROWS:
            found.append((int(seen[0]), int(seen[-1])))
    return found


def _start(
    r: Recording,
    row: int,
    positions: Sequence[int],
    joints: Sequence[str],
    speed_of: dict[str, int],
    noise_std: Sequence[float],
) -> tuple[np.ndarray, np.ndarray]:
    """Returns (S,) the state at a row, and its deviation, from the readings about it."""
    at = r.time_s[row]
    same = r.driven == r.driven[row]
    place, place_std, speed, speed_std = [], [], [], []
    for c, joint in zip(positions, joints, strict=True):
        q, seen = r.readings[:, c], np.isfinite(r.readings[:, c]) & same
        half = max(ABOUT_S, 2.6 * float(np.median(np.diff(r.time_s))))
        near = np.flatnonzero(seen & (np.abs(r.time_s - at) <= half))
        if len(near) < 4:
            order = np.flatnonzero(seen)
            near = order[np.argsort(np.abs(r.time_s[order] - at))[:5]]
        t = r.time_s[near] - at
        degree = 2 if len(near) >= 5 else 1
        basis = np.vander(t, degree + 1, increasing=True)
        noise = noise_std[c]
        solution, *_ = np.linalg.lstsq(basis, q[near], rcond=None)
        spread = np.linalg.pinv(basis.T @ basis) * noise**2
        place.append(solution[0])
        place_std.append(np.sqrt(spread[0, 0]) + 0.3 * noise)
        v, v_std = solution[1], SPEED_SLACK * np.sqrt(spread[1, 1])
        if joint in speed_of:
            told = r.readings[row, speed_of[joint]]
            told_std = 2 * noise_std[speed_of[joint]]
            if np.isfinite(told):
                weight = v_std**2 / (v_std**2 + told_std**2)
                v, v_std = v + weight * (told - v), np.sqrt(weight) * told_std
        speed.append(v)
        speed_std.append(v_std)
    return np.array([*place, *speed]), np.array([*place_std, *speed_std])
