"""What is wrong with one channel by itself: missing, stuck, wrapped, pinned, spikes, rough ends."""

import math
from collections.abc import Sequence

import numpy as np

from mjx_s2r.transfer.recording import Channel, Recording
from mjx_s2r.transfer.telemetry.finding import TelemetryFinding, TelemetrySeverity
from mjx_s2r.transfer.telemetry.signals import runs_of, spread_of

TURN = 2 * math.pi
LONG_S = 0.25  # readings that are missing for longer are worth a word
PINNED_ROWS = 8
PINNED = 0.02  # share of the rows that may be pinned
END_S, PEAK = 0.05, 3.0  # an end is that long, and rough where it is that much larger
LEAST_ROWS = 50  # of a recording whose channel stands still
SPIKE = 20.0  # deviations of the noise


def check_channel(
    recordings: Sequence[Recording], c: int, step: float, noise: float, hinge: bool
) -> list[TelemetryFinding]:
    """Returns what is wrong with channel ``c`` of recordings that share their channels.

    Args:
        recordings: at least one.
        c: number of the channel.
        step: of its quantization.
        noise: its deviation.
        hinge: whether it is the position of a hinge.
    """
    channel = recordings[0].channels[c]
    signals = [r.readings[:, c] for r in recordings]
    if not any(np.isfinite(x).any() for x in signals):
        what, remedy = "it holds no value at all", "map another column, or leave it out"
        return [TelemetryFinding("error", "no values", "", what, remedy, str(channel))]
    width = spread_of(signals)
    found = []
    for r, x in zip(recordings, signals, strict=True):
        found += _missing(r, x, channel)
        if hinge:
            found += _wrapped(r, x, channel)
        found += _pinned(r, x, channel, step)
        if channel.kind == "joint_vel":  # which contacts make jump
            found += rough_ends(r, x, str(channel))
        else:
            found += _spikes(r, x, channel, max(SPIKE * noise, 0.3 * width))
    return found


def _missing(r: Recording, x: np.ndarray, channel: Channel) -> list[TelemetryFinding]:
    """Returns what is missing of a channel."""
    unread = ~np.isfinite(x)
    if not unread.any():
        return []
    holes = runs_of(unread)
    long = [(a, b) for a, b in holes if r.time_s[min(b, len(x) - 1)] - r.time_s[a] > LONG_S]
    share, sizes = float(unread.mean()), [b - a for a, b in holes]
    slow = max(sizes) <= 2 * np.median(sizes) + 1  # than the rows, and read in time all the same
    if not long and (share < 0.5 or slow):
        return []
    a, b = max(holes, key=lambda hole: hole[1] - hole[0])
    what = (
        f"{100 * share:.0f} % of its rows have no value, the longest hole begins at "
        f"{r.time_s[a]:.3g} s and has {b - a} rows"
    )
    remedy = "they count as unread; if that surprises you, look at the column and at missing"
    return [TelemetryFinding("warning", "missing values", r.name, what, remedy, str(channel))]


def _wrapped(r: Recording, x: np.ndarray, channel: Channel) -> list[TelemetryFinding]:
    """Returns where an angle jumps by a turn."""
    known = np.flatnonzero(np.isfinite(x))
    jumps = np.diff(x[known])
    wraps = np.flatnonzero(np.abs(np.abs(jumps) - TURN) < 0.1 * TURN)
    usual = float(np.percentile(np.abs(jumps), 95)) if jumps.size else 0.0
    if not wraps.size or usual > 0.5 * TURN:
        return []
    what = f"it jumps by a turn {wraps.size} times, first at {r.time_s[known[wraps[0]]]:.3g} s"
    remedy = "write unwrap = true for its column, or unwrap it in the driver"
    return [TelemetryFinding("error", "wraps", r.name, what, remedy, str(channel))]


def _pinned(r: Recording, x: np.ndarray, channel: Channel, step: float) -> list[TelemetryFinding]:
    """Returns where a channel stays at its largest or smallest value as if it could not go on."""
    if channel.kind == "joint_pos" or not np.isfinite(x).any():
        return []
    for extreme in (np.nanmax(x), np.nanmin(x)):
        at = x == extreme
        long = [(a, b) for a, b in runs_of(at) if b - a >= PINNED_ROWS]
        share = sum(b - a for a, b in long) / len(x)
        others = np.abs(x[np.isfinite(x) & ~at])
        fine = step < 0.02 * abs(extreme)
        if extreme and long and share > PINNED and fine and others.size:
            what = (
                f"it stays at {extreme:.5g}, its extreme value, for {100 * share:.0f} % of the rows"
            )
            remedy = "it may be saturated: a fit reads it as motion; widen the sensor's range"
            return [TelemetryFinding("warning", "saturated", r.name, what, remedy, str(channel))]
    return []


def _spikes(r: Recording, x: np.ndarray, channel: Channel, least: float) -> list[TelemetryFinding]:
    """Returns single readings that lie far from both neighbours, which lie together."""
    if len(x) < 5 or not least:
        return []
    before, here, after = x[:-2], x[1:-1], x[2:]
    apart = np.minimum(np.abs(here - before), np.abs(here - after))
    with np.errstate(invalid="ignore"):
        spikes = (apart > least) & (np.abs(after - before) < 0.3 * apart)
        spikes &= np.sign(here - before) == np.sign(here - after)
    if not spikes.any():
        return []
    first = int(np.flatnonzero(spikes)[0]) + 1
    count = int(spikes.sum())
    what = f"{count} single readings jump away and back, first {x[first]:.4g} in row {first}"
    remedy = "they look like broken messages; drop them, or list the value under missing"
    return [TelemetryFinding("warning", "spikes", r.name, what, remedy, str(channel))]


def rough_ends(r: Recording, x: np.ndarray, element: str) -> list[TelemetryFinding]:
    """Returns an end of a recording that is much rougher than its middle: switching on or off."""
    ends = (r.time_s < r.time_s[0] + END_S), (r.time_s > r.time_s[-1] - END_S)
    middle = np.abs(x[~(ends[0] | ends[1]) & np.isfinite(x)])
    if middle.size < 20:
        return []
    usual = float(np.percentile(middle, 99.5))
    found = []
    for end, at, word in ((ends[0], "from_s", "first"), (ends[1], "to_s", "last")):
        peak = float(np.nanmax(np.abs(x[end]), initial=0.0))
        if usual > 0 and peak > PEAK * usual:
            what = f"in the {word} {END_S} s it reaches {peak:.3g}, elsewhere {usual:.3g}"
            remedy = f"cut the end off with {at} in [[keep]]"
            found.append(TelemetryFinding("warning", "rough end", r.name, what, remedy, element))
    return found


def check_stuck(
    recordings: Sequence[Recording], c: int, step: float, commands_move: Sequence[bool]
) -> list[TelemetryFinding]:
    """Returns a channel that does not change, in all recordings or where its commands do.

    Args:
        recordings: that share their channels.
        c: number of the channel.
        step: of its quantization.
        commands_move: whether the commands to its joint change, of each recording.
    """
    element = str(recordings[0].channels[c])
    still, first = [], float("nan")
    for r in recordings:
        known = r.readings[np.isfinite(r.readings[:, c]), c]
        still.append(not known.size or float(np.ptp(known)) <= step * 1.01)
        first = float(known[0]) if known.size and math.isnan(first) else first
    if math.isnan(first):
        return []  # it holds no value, which is told elsewhere
    remedy = "the sensor is dead, the robot stood still, or another column is meant"
    if all(still):
        severity: TelemetrySeverity = "error" if any(commands_move) else "warning"
        moved = " while the commands to its joint change" if any(commands_move) else ""
        what = f"it stays at {first:.5g} in all recordings{moved}"
        return [TelemetryFinding(severity, "constant signal", "", what, remedy, element)]
    what = "it does not change while the commands to its joint do"
    return [
        TelemetryFinding("warning", "constant signal", r.name, what, remedy, element)
        for r, stands, moves in zip(recordings, still, commands_move, strict=True)
        if stands and moves and len(r) >= LEAST_ROWS
    ]
