"""What is wrong between two signals: swapped joints, flipped signs, degrees for radians, speeds.

Movements are compared, not values: how far each signal goes within 0.1 s, pooled over recordings,
by the correlation about zero at lags up to half a second.
"""

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from mjx_s2r.robot.units import DEGREES
from mjx_s2r.transfer.recording import Recording
from mjx_s2r.transfer.telemetry.finding import TelemetryFinding
from mjx_s2r.transfer.telemetry.signals import spread_of
from mjx_s2r.transfer.telemetry.tracks import (
    EvenTrack,
    Following,
    following,
    movement,
    travelled,
    window_rows,
)

CLEAR = 0.6  # a correlation that says that one signal follows another
MARGIN = 0.3  # by which another joint's is so much larger that it is worth a word
EXCHANGE, EXCHANGE_S = 0.5, 5.0  # gain of an exchange that is sure, and times s in short logs
SURE, NEAR_DEGREES = 1.5, 3.0  # a ratio within these factors of 57.3
SCALE_OFF = 0.15  # of a speed against the position's derivative
SIGN_MARGIN = 0.02  # likewise, of the correlation of either sign
LEAST_MOVES = 12  # windows
LATE = 0.5  # share of the unexplained variance that must be left at the better lag
FIX = "swap the columns in the mapping, or the joints in the driver"


def check_pairs(
    recordings: Sequence[Recording], tracks: Sequence[EvenTrack], noise_std: np.ndarray
) -> list[TelemetryFinding]:
    """Returns what is wrong between commands and readings, and between positions and speeds.

    Args:
        recordings: that share joints, mode and channels.
        tracks: the same on an even clock.
        noise_std: (C,) deviation of each channel's noise.
    """
    first = recordings[0]
    columns = {
        kind: {x.element: c for c, x in enumerate(first.channels) if x.kind == kind}
        for kind in ("joint_pos", "joint_vel")
    }
    moves = {
        joint: [movement(t.readings[:, c], window_rows(t.step_s)) for t in tracks]
        for joint, c in columns["joint_pos"].items()
        if _moves(tracks, c, noise_std[c])
    }
    found = _same(recordings, columns)
    if first.mode == "position":
        found += _commands_and_positions(recordings, tracks, moves, columns["joint_pos"])
    elif first.mode == "velocity":
        ways = _ways(tracks, {j: i for i, j in enumerate(first.joints)}, commands=True)
        paired = {j: list(zip(ways[j], x, strict=True)) for j, x in moves.items() if j in ways}
        found += _follows("command", ways, moves, paired, tracks[0].step_s)
    ways = {
        joint: way
        for joint, way in _ways(tracks, columns["joint_vel"]).items()
        if _is_audible(tracks, moves.get(joint, []), way, noise_std[columns["joint_vel"][joint]])
    }
    found += _speeds(tracks, moves, ways)
    where = first.name if len(recordings) == 1 else f"{len(recordings)} short recordings"
    return [replace(one, where=where) for one in found]


def _moves(tracks: Sequence[EvenTrack], c: int, noise: float) -> bool:
    """Returns whether a channel moves by more than its noise."""
    return bool(tracks) and spread_of([t.readings[:, c] for t in tracks]) > 8 * noise


def _is_audible(
    tracks: Sequence[EvenTrack], moves: list[np.ndarray], way: list[np.ndarray], noise: float
) -> bool:
    """Returns whether a joint moves by more than the noise of its speed makes of it.

    Args:
        tracks: the recordings.
        moves: how far its position moves within each window; empty where that is too little.
        way: the integral of its speed over each window.
        noise: deviation of the speed's noise.
    """
    if not moves:
        return False
    step_s = tracks[0].step_s
    made = noise * step_s * math.sqrt(window_rows(step_s))
    return max(_root_mean_square(moves), _root_mean_square(way)) > 3 * made


def _root_mean_square(parts: list[np.ndarray]) -> float:
    known = np.concatenate(parts)
    known = known[np.isfinite(known)]
    return float(np.sqrt(np.mean(known**2))) if known.size else 0.0


def _ways(
    tracks: Sequence[EvenTrack], columns: dict[str, int], *, commands: bool = False
) -> dict[str, list[np.ndarray]]:
    """Returns joint -> the integral of its speed over each window, of each recording."""
    return {
        joint: [
            travelled(
                (t.commands if commands else t.readings)[:, c], window_rows(t.step_s), t.step_s
            )
            for t in tracks
        ]
        for joint, c in columns.items()
    }


def _commands_and_positions(
    recordings: Sequence[Recording],
    tracks: Sequence[EvenTrack],
    moves: dict[str, list[np.ndarray]],
    columns: dict[str, int],
) -> list[TelemetryFinding]:
    """Returns what is wrong between position commands and positions."""
    found = []
    sent = {}
    for j, joint in enumerate(recordings[0].joints):
        rows = [movement(t.commands[:, j], window_rows(t.step_s)) for t in tracks]
        if any(np.nanmax(np.abs(x), initial=0.0) > 0 for x in rows):
            sent[joint] = rows
        if joint in columns:
            commands = [np.where(r.driven, r.commands[:, j], np.nan) for r in recordings]
            positions = [
                np.where(r.driven, r.readings[:, columns[joint]], np.nan) for r in recordings
            ]
            found += _units(joint, spread_of(commands), spread_of(positions))
    paired = {
        joint: [_about_means(t.commands[:, j], t.readings[:, columns[joint]]) for t in tracks]
        for j, joint in enumerate(recordings[0].joints)
        if joint in moves and joint in sent
    }
    return found + _follows("command", sent, moves, paired, tracks[0].step_s)


def _about_means(sent: np.ndarray, read: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns commands (n,) and positions (n,) less their means; NaN where one is unknown."""
    both = np.isfinite(sent) & np.isfinite(read)
    if not both.any():
        return np.full(len(sent), np.nan), np.full(len(read), np.nan)
    return sent - sent[both].mean(), np.where(both, read - read[both].mean(), np.nan)


def _follows(
    word: str,
    leaders: dict[str, list[np.ndarray]],
    moves: dict[str, list[np.ndarray]],
    paired: dict[str, list[tuple[np.ndarray, np.ndarray]]],
    step_s: float,
) -> list[TelemetryFinding]:
    """Returns joints whose positions follow another joint's leader, or the own one backward.

    Args:
        word: what a leader is.
        leaders: joint -> how far its command goes within each window, of each recording.
        moves: joint -> how far its position goes.
        paired: joint -> the signals whose sign is compared: in position mode the values about
            their means, which slow motion rules; else a wave looks turned around half a period on.
        step_s: of the clock.
    """
    if not leaders or not moves:
        return []
    table = {
        (a, b): following(list(zip(leaders[a], moves[b], strict=True)), step_s)
        for a in leaders
        for b in moves
    }
    seconds = step_s * max(map(_count, moves.values()))
    found = _swapped(word, table, list(leaders), list(moves), seconds)
    swapped = {x.element for x in found if x.severity == "error"}
    for joint, pairs in paired.items():
        if joint not in swapped and _count(moves[joint]) >= LEAST_MOVES:
            found += _turned_around(word, joint, following(pairs, step_s))
    return found


def _turned_around(word: str, joint: str, own: Following) -> list[TelemetryFinding]:
    """Returns a joint that moves against what leads it."""
    at, to = int(np.argmin(own.correlation)), int(np.argmax(own.correlation))
    least, most = float(own.correlation[at]), float(own.correlation[to])
    first = at < to and -least > most + SIGN_MARGIN
    if -least < CLEAR or not (first or most < -least / 2):
        return []
    what = f"it moves against its {word} (correlation {least:.2f} at the best lag)"
    remedy = "write sign = -1 for one of the two columns"
    return [TelemetryFinding("error", "flipped sign", "", what, remedy, joint)]


def _swapped(
    word: str,
    table: dict[tuple[str, str], Following],
    leaders: list[str],
    moved: list[str],
    seconds: float,
) -> list[TelemetryFinding]:
    """Returns joints whose signal is another joint's, by how the exchange would explain both.

    Links pull one another: the elbow of a light arm with a weak servo goes with the shoulder's
    command more than with its own, though each column is right. But then the shoulder follows its
    own command closely. What counts is how much less of both movements is left unexplained after
    the exchange, the sum of log((1 - own^2) / (1 - other^2)): the log-likelihood ratio of two
    linear models, per independent moment and doubled. Each lag was chosen as the best, so chance
    makes some of it, more in short logs.

    Args:
        word: what a leader is.
        table: (leader, joint) -> how the joint follows it.
        leaders: joints that have one.
        moved: joints that move.
        seconds: how much motion was compared.
    """
    found = []
    strength = {pair: float(np.abs(x.correlation).max()) for pair, x in table.items()}
    sure = max(EXCHANGE, EXCHANGE_S / max(seconds, 1e-9))
    for joint in moved:
        others = [a for a in leaders if a != joint]
        if joint not in leaders or not others:
            continue
        own = strength[joint, joint]
        gain = {a: _gain(strength, joint, a) for a in others}
        other = max(others, key=lambda a: gain[a])
        most = strength[other, joint]
        if most <= CLEAR or most <= own:
            continue
        what = f"it follows the {word} of {other!r} (correlation {most:.2f}) "
        if gain[other] > sure:
            what += f"and not its own ({own:.2f})"
            found.append(TelemetryFinding("error", "swapped signals", "", what, FIX, joint))
        elif gain[other] > 0 or most > own + MARGIN:
            what += (
                f"more than its own ({own:.2f}), which links that pull one another may do, or "
                "swapped columns"
            )
            remedy = f"look at the columns; if they are right, move {joint!r} more, or by itself"
            found.append(TelemetryFinding("warning", "pulled along", "", what, remedy, joint))
    return found


def _gain(strength: dict[tuple[str, str], float], joint: str, other: str) -> float:
    """Returns how much better two columns are explained if they are exchanged, see `_swapped`.

    A joint that does not move explains nothing, however it is called.
    """

    def left(leader: str, follower: str) -> float:
        """Returns the logarithm of the share that a leader leaves unexplained."""
        return math.log(max(1 - strength.get((leader, follower), 0.0) ** 2, 1e-6))

    now = left(joint, joint) + left(other, other)
    return now - left(other, joint) - left(joint, other)


def _same(
    recordings: Sequence[Recording], columns: dict[str, dict[str, int]]
) -> list[TelemetryFinding]:
    """Returns joints that read the very values of another one: one column under two names."""
    found = []
    for kind, named in columns.items():
        values = {
            joint: np.concatenate([r.readings[:, c] for r in recordings])
            for joint, c in named.items()
        }
        moving = [joint for joint, x in values.items() if len(np.unique(x[np.isfinite(x)])) > 1]
        for i, joint in enumerate(moving):
            for other in moving[:i]:
                if np.array_equal(values[joint], values[other], equal_nan=True):
                    what = f"it reads what {kind} {other} reads, in every row"
                    remedy = "map its own column"
                    element = f"{kind} {joint}"
                    found.append(
                        TelemetryFinding("error", "same signal", "", what, remedy, element)
                    )
                    break
    return found


def _units(joint: str, sent: float, read: float) -> list[TelemetryFinding]:
    """Returns degrees for radians, by how far commands and positions go."""
    if min(sent, read) <= 0 or max(sent, read) < 0.02:
        return []
    ratio, which = (sent / read, "commands") if sent > read else (read / sent, "readings")
    off = max(ratio / DEGREES, DEGREES / ratio)
    if off > NEAR_DEGREES:
        return []
    sure = off < SURE
    what = f"its {which} go {ratio:.1f} times as far as the other (57.3 is degrees for radians)"
    remedy = 'write unit = "deg" for the column that is in degrees; if the robot is that weak, look'
    return [
        TelemetryFinding(
            "error" if sure else "warning", "degrees for radians", "", what, remedy, joint
        )
    ]


def _speeds(
    tracks: Sequence[EvenTrack],
    moves: dict[str, list[np.ndarray]],
    ways: dict[str, list[np.ndarray]],
) -> list[TelemetryFinding]:
    """Returns speeds that are not the derivatives of their positions."""
    if not tracks or not ways or not moves:
        return []
    step_s = tracks[0].step_s
    both = [joint for joint in ways if joint in moves]
    table = {
        (a, b): following(list(zip(ways[a], moves[b], strict=True)), step_s, backward=True)
        for a in both
        for b in both
    }
    seconds = step_s * max((_count(moves[joint]) for joint in both), default=0)
    found = _swapped("velocity", table, both, both, seconds)
    swapped = {x.element for x in found if x.severity == "error"}
    for joint in both:
        if joint in swapped or _count(moves[joint]) < LEAST_MOVES:
            continue
        found += _speed(joint, table[joint, joint], step_s)
    return found


def _speed(joint: str, own: Following, step_s: float) -> list[TelemetryFinding]:
    """Returns what is wrong with one joint's speed; ``own`` is position after speed."""
    best, element = own.best, f"joint_vel {joint}"
    correlation, slope = float(own.correlation[best]), float(own.slope[best])
    if abs(correlation) < CLEAR:
        what = f"it is not the derivative of the position (correlation {correlation:.2f})"
        remedy = "look which column it is; without a good velocity, leave it out"
        return [TelemetryFinding("error", "wrong velocity", "", what, remedy, element)]
    found = []
    if correlation < 0:
        what, remedy = "its sign is that of the other direction", "write sign = -1 for its column"
        found.append(TelemetryFinding("error", "flipped sign", "", what, remedy, element))
    ratio = 1 / abs(slope)
    if max(ratio / DEGREES, DEGREES / ratio) < SURE or max(ratio * DEGREES, 1 / ratio / DEGREES) < (
        SURE
    ):
        what = f"it is {ratio:.3g} times the derivative of the position (57.3 is degrees)"
        remedy = 'write unit = "deg/s" for it, or "deg" for the position'
        found.append(TelemetryFinding("error", "degrees for radians", "", what, remedy, element))
    elif abs(math.log(ratio)) > math.log(1 + SCALE_OFF):
        what = f"it is {ratio:.3g} times the derivative of the position"
        remedy = f"write scale = {1 / ratio:.4g} for its column, or leave it out"
        found.append(TelemetryFinding("warning", "scaled velocity", "", what, remedy, element))
    late_s = -float(own.lag_s[best])
    now = float(abs(own.correlation[np.argmin(np.abs(own.lag_s))]))
    if abs(late_s) > max(0.005, 1.5 * step_s) and 1 - correlation**2 < LATE * (1 - now**2):
        word = "late" if late_s > 0 else "early"
        what = f"it is {1e3 * abs(late_s):.0f} ms {word} against the position's derivative"
        remedy = "it is filtered or stamped otherwise; leave it out, or give it its own delay"
        found.append(TelemetryFinding("warning", "late velocity", "", what, remedy, element))
    return found


def _count(parts: Sequence[np.ndarray]) -> int:
    """Returns how many movements are known."""
    return sum(int(np.isfinite(x).sum()) for x in parts)
