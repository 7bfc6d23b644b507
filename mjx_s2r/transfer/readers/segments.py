"""Where a log is cut into recordings: where its clock jumps, and where nothing was commanded."""

from dataclasses import dataclass

import numpy as np

from mjx_s2r.transfer.recording import Channel, CommandMode, Recording
from mjx_s2r.transfer.telemetry.finding import TelemetryFinding

USUAL_STEPS = 5.0  # a longer step splits
LEAST_GAP_S = 0.05
LEAST_ROWS = 3


@dataclass(frozen=True, eq=False)
class LogRows:
    """The rows of one clip in SI units; T rows, J commanded joints, C channels.

    Attributes:
        label: file and clip.
        time_s: (T,) since the first row, s; as the log has it, so it may jump or stand still.
        joints: (J,) joints or actuators.
        mode: what a command is.
        commands: (T, J).
        driven: (T,) bool.
        channels: (C,).
        readings: (T, C).
        usable: (T,) bool, rows that may be in a recording.
        own_control: joints whose effort is the actuator's own control, see `Recording`.
    """

    label: str
    time_s: np.ndarray
    joints: tuple[str, ...]
    mode: CommandMode
    commands: np.ndarray
    driven: np.ndarray
    channels: tuple[Channel, ...]
    readings: np.ndarray
    usable: np.ndarray
    own_control: tuple[str, ...] = ()

    def recording(self, rows: np.ndarray, name: str) -> Recording:
        """Returns some rows as a recording."""
        return Recording(
            name=name,
            time_s=self.time_s[rows],
            joints=self.joints,
            mode=self.mode,
            commands=self.commands[rows],
            driven=self.driven[rows],
            channels=self.channels,
            readings=self.readings[rows],
            own_control=self.own_control,
        )


def cut_stretches(
    rows: LogRows, gap_s: float = 0.0
) -> tuple[list[np.ndarray], list[TelemetryFinding]]:
    """Returns the stretches of rows that are one recording each, and what the clock did.

    Rows without a time are left out, and those that repeat the time of the one before. A new
    stretch begins where the clock jumps back or over a gap, and behind rows that are not usable.

    Args:
        rows: of one clip.
        gap_s: a longer step splits; 0 takes five usual ones, at least 0.05 s.
    """
    found: list[TelemetryFinding] = []
    usable, time_s = rows.usable & np.isfinite(rows.time_s), rows.time_s
    numbers = np.flatnonzero(usable)
    lost = int((rows.usable & ~np.isfinite(time_s)).sum())
    if lost:
        found.append(_finding("clock lost", rows, f"{lost} rows have no time", "they are left out"))
    if len(numbers) < LEAST_ROWS:
        return [], found
    steps = np.diff(time_s[numbers])
    stands = np.append(False, steps == 0)
    if stands.any():
        first = numbers[stands][0]
        found.append(
            _finding(
                "clock stands still",
                rows,
                f"{stands.sum()} rows repeat the time of the row before, first row {first}",
                "they are left out; log the time at which each row was read",
            )
        )
        numbers = numbers[~stands]
        steps = np.diff(time_s[numbers])
    if len(numbers) < LEAST_ROWS:
        return [], found
    rising = steps[steps > 0]
    usual = float(np.median(rising)) if rising.size else 0.0
    gap_s = gap_s or max(USUAL_STEPS * usual, LEAST_GAP_S)
    breaks = (steps < 0) | (steps > gap_s)
    # Rows that are not usable split; those that repeat a time or have none do not.
    unusable = np.append(0, np.cumsum(~rows.usable))
    holes = unusable[numbers[1:]] > unusable[numbers[:-1]]
    back = np.flatnonzero(steps < 0)
    if back.size:
        at, step = numbers[back[0] + 1], steps[back[0]]
        found.append(
            _finding(
                "clock jumps back",
                rows,
                f"the clock jumps back {back.size} times, first by {-step:.4g} s in row {at}",
                "the recording is split there; use a clock that is not set while it records",
            )
        )
    gaps = np.flatnonzero((steps > gap_s) & ~holes)
    if gaps.size:
        longest = gaps[np.argmax(steps[gaps])]
        found.append(
            _finding(
                "clock has gaps",
                rows,
                f"{gaps.size} gaps longer than {gap_s:.3g} s, the longest of "
                f"{steps[longest]:.4g} s at {time_s[numbers[longest]]:.4g} s",
                "the recording is split there; set gap_s in [time] where that is wrong",
            )
        )
    edges = np.flatnonzero(breaks | holes) + 1
    stretches = [x for x in np.split(numbers, edges) if len(x) >= LEAST_ROWS]
    return stretches, found


def _finding(code: str, rows: LogRows, what: str, remedy: str) -> TelemetryFinding:
    return TelemetryFinding("warning", code, rows.label, what, remedy)
