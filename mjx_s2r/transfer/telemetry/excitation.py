"""Whether a joint moves enough to tell its parameters: how far, back and forth, and to rest."""

from collections.abc import Mapping, Sequence

import numpy as np

from mjx_s2r.transfer.recording import Recording
from mjx_s2r.transfer.telemetry.finding import TelemetryFinding
from mjx_s2r.transfer.telemetry.signals import reversals, spread_of
from mjx_s2r.transfer.telemetry.tracks import EvenTrack, movement, window_rows

LEAST_STEPS = 10.0  # of the encoder's step, or deviations of the noise
RESTING = 0.01  # share of the time
SHORT_S = 1.0


def check_excitation(
    recordings: Sequence[Recording], tracks: Sequence[EvenTrack], c: int, floor: float
) -> list[TelemetryFinding]:
    """Returns what a joint's position lacks for an identification.

    Args:
        recordings: that share their channels.
        tracks: the same on an even clock.
        c: number of the channel, a joint's position.
        floor: what its encoder and its noise tell apart.
    """
    channel = recordings[0].channels[c]
    signals = [r.readings[:, c] for r in recordings]
    width = spread_of(signals)
    element = str(channel)
    if width <= 0:
        return []  # a constant signal, which is told elsewhere
    if width < LEAST_STEPS * floor:
        what = (
            f"it moves by {width:.3g} {channel.unit}, {width / floor:.1f} times what its encoder "
            "or its noise tells apart"
        )
        sent = _commanded(recordings, channel.element)
        if sent > LEAST_STEPS * floor:
            what += f", while its command moves by {sent:.3g} {channel.unit}"
            remedy = "look at the column and its unit; else the joint was held, so leave it out"
            return [TelemetryFinding("error", "too little motion", "", what, remedy, element)]
        remedy = "record larger motions of it; from these nothing can be told of that joint"
        return [TelemetryFinding("warning", "too little motion", "", what, remedy, element)]
    found = []
    least = max(0.05 * width, 4 * floor)
    if not sum(reversals(x, least) for x in signals):
        what = "it never turns around"
        remedy = "move it both ways: else friction, gravity and zero are told by one another only"
        found.append(TelemetryFinding("warning", "one direction", "", what, remedy, element))
    if not _rests(tracks, c, 1.5 * floor):
        what = "it never rests"
        remedy = "let it stop now and then: where it starts again, friction and delay show"
        found.append(TelemetryFinding("warning", "no rest", "", what, remedy, element))
    return found


def check_motion(
    recordings: Sequence[Recording], floors: Mapping[int, float]
) -> list[TelemetryFinding]:
    """Returns that no joint moves enough.

    Args:
        recordings: that share their channels.
        floors: number of a channel, a joint's position -> what its encoder and noise tell apart.
    """
    for c, floor in floors.items():
        if spread_of([r.readings[:, c] for r in recordings]) > LEAST_STEPS * floor:
            return []
    if not floors:
        return []
    what = "no joint moves by more than a few steps of its encoder or its noise"
    remedy = "record motions of all joints; from these nothing can be told"
    return [TelemetryFinding("error", "too little motion", "", what, remedy)]


def _commanded(recordings: Sequence[Recording], joint: str) -> float:
    """Returns how far the position commands of a joint go; 0 for other commands."""
    first = recordings[0]
    if first.mode != "position" or joint not in first.joints:
        return 0.0
    j = first.joints.index(joint)
    return spread_of([np.where(r.driven, r.commands[:, j], np.nan) for r in recordings])


def _rests(tracks: Sequence[EvenTrack], c: int, least: float) -> bool:
    """Returns whether a channel stands still for some of the time."""
    moves = [movement(t.readings[:, c], window_rows(t.step_s)) for t in tracks]
    every = np.abs(np.concatenate(moves)) if moves else np.empty(0)
    every = every[np.isfinite(every)]
    return bool(every.size) and float((every <= least).mean()) > RESTING


def check_length(recordings: Sequence[Recording]) -> list[TelemetryFinding]:
    """Returns that the recordings are very short, all together."""
    seconds = sum(r.seconds for r in recordings)
    if seconds >= SHORT_S:
        return []
    what = f"all recordings together last {seconds:.3g} s"
    return [TelemetryFinding("warning", "short", "", what, "record ten seconds or more")]
