"""The check of telemetry: what is wrong with recordings, before any long work is done on them.

It runs in about a second, never fails on odd values, and also tells what the fit needs to know of
each channel: the step of its quantization and the deviation of its noise.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import mujoco
import numpy as np

from mjx_s2r.transfer.recording import Channel, Recording, RecordingError
from mjx_s2r.transfer.telemetry.excitation import check_excitation, check_length, check_motion
from mjx_s2r.transfer.telemetry.finding import TelemetryFinding, merged_findings
from mjx_s2r.transfer.telemetry.model_checks import (
    check_commands,
    check_joints,
    check_positions,
    check_speeds,
    check_unread,
    is_hinge,
)
from mjx_s2r.transfer.telemetry.pairing import check_pairs
from mjx_s2r.transfer.telemetry.signals import noise_deviation, runs_of, usual_quantum
from mjx_s2r.transfer.telemetry.single_channels import check_channel, check_stuck, rough_ends
from mjx_s2r.transfer.telemetry.tracks import tracks_of
from mjx_s2r.transfer.windows import unread_in

MIXED = 1.8  # 90th over 10th percentile of the steps of one recording
LONG_S = 3.0  # recordings whose signals are compared by themselves
SILENT_S = 0.5  # a command that is missing for longer while the actuators are on


@dataclass(frozen=True, eq=False)
class TelemetryReport:
    """What was found.

    Attributes:
        findings: errors first.
        channels: (C,) all channels of the recordings.
        quantum: (C,) step of each channel's quantization, in its unit; 0 for none.
        noise_std: (C,) deviation of each channel's noise, in its unit, at least quantum / sqrt(12).
    """

    findings: tuple[TelemetryFinding, ...]
    channels: tuple[Channel, ...]
    quantum: np.ndarray
    noise_std: np.ndarray

    @property
    def errors(self) -> tuple[TelemetryFinding, ...]:
        """What forbids a fit."""
        return tuple(x for x in self.findings if x.severity == "error")

    def require_usable(self) -> None:
        """Refuses recordings from which a fit would be wrong with confidence.

        Raises:
            RecordingError: there are errors; the message lists them.
        """
        if self.errors:
            lines = "\n".join(f"  {x}" for x in self.errors)
            raise RecordingError(f"the logs cannot be used as they are:\n{lines}")


def check_recordings(
    recordings: Sequence[Recording],
    model: mujoco.MjModel,
    findings: Sequence[TelemetryFinding] = (),
) -> TelemetryReport:
    """Checks recordings of one robot.

    Args:
        recordings: held-out ones too.
        model: of the robot.
        findings: what the readers found; it is told with the rest.

    Raises:
        RecordingError: there is no recording.
    """
    if not recordings:
        raise RecordingError("there is no recording to check; name at least one log")
    found = [*findings, *check_joints(recordings, model), *check_unread(recordings, model)]
    found += check_length(recordings) + _windowless(recordings)
    for r in recordings:
        found += _rates(r) + _silence(r)
    seen: dict[Channel, tuple[float, float]] = {}
    for group in _alike(recordings):
        first, tracks = group[0], tracks_of(group)
        numbers = {}
        for c, channel in enumerate(first.channels):
            signals = [r.readings[:, c] for r in group]
            step = usual_quantum(signals)
            numbers[channel] = step, noise_deviation(signals, step)
        floors: dict[int, float] = {}
        moved = {joint: [_moves(r, j) for r in group] for j, joint in enumerate(first.joints)}
        for c, channel in enumerate(first.channels):
            step, noise = numbers[channel]
            position = channel.kind == "joint_pos"
            hinge = position and is_hinge(model, channel.element)
            found += check_channel(group, c, step, noise, hinge)
            found += check_stuck(group, c, step, moved.get(channel.element, [False] * len(group)))
            if position:
                found += check_positions(group, c, model)
                floors[c] = max(step, 2 * noise)
                found += check_excitation(group, tracks, c, floors[c])
            elif channel.kind == "joint_vel" and is_hinge(model, channel.element):
                found += check_speeds(group, c)
        found += check_motion(group, floors)
        for j, joint in enumerate(first.joints):
            found += check_commands(group, j, model)
            if not any(moved[joint]):
                found.append(_constant_command(joint))
            if first.mode == "effort":
                for r in group:
                    found += rough_ends(r, r.commands[:, j], joint)
        noises = np.array([numbers[x][1] for x in first.channels])
        for part in _judged_together(group):
            found += check_pairs(part, tracks_of(part), noises)
        for channel, pair in numbers.items():
            before = seen.get(channel, (0.0, 0.0))
            seen[channel] = max(before[0], pair[0]), max(before[1], pair[1])
    steps, noises = (np.array([x[i] for x in seen.values()]) for i in (0, 1))
    return TelemetryReport(merged_findings(found), tuple(seen), steps, noises)


def _alike(recordings: Sequence[Recording]) -> list[list[Recording]]:
    """Returns recordings in groups that share joints, mode and channels."""
    groups: dict[tuple[object, ...], list[Recording]] = {}
    for r in recordings:
        groups.setdefault((r.joints, r.mode, r.channels), []).append(r)
    return list(groups.values())


def _judged_together(group: list[Recording]) -> list[list[Recording]]:
    """Returns each long recording by itself, so that one bad log shows, and all short ones."""
    long = [[r] for r in group if r.seconds >= LONG_S]
    short = [r for r in group if 0 < r.seconds < LONG_S]
    return [*long, short] if short else long


def _moves(r: Recording, j: int) -> bool:
    """Returns whether the commands to a joint change while the actuators are on."""
    known = r.commands[r.driven & np.isfinite(r.commands[:, j]), j]
    return bool(known.size) and float(np.ptp(known)) > 0


def _constant_command(joint: str) -> TelemetryFinding:
    """Returns that a joint's command never changes."""
    what = "its command never changes while the actuators are on"
    remedy = "only free motion can be told from that; record steps or sweeps of its command"
    return TelemetryFinding("warning", "constant command", "", what, remedy, joint)


def _rates(r: Recording) -> list[TelemetryFinding]:
    """Returns that the rows of one recording come at several rates."""
    steps = np.diff(r.time_s)
    if len(steps) < 10:
        return []
    fast, slow = np.percentile(steps, (10, 90))
    if fast <= 0 or slow / fast < MIXED:
        return []
    what = f"its rows are {1e3 * fast:.3g} to {1e3 * slow:.3g} ms apart (10th, 90th percentile)"
    remedy = "that is allowed; if the clock is that of the disk and not of the robot, use another"
    return [TelemetryFinding("warning", "mixed rates", r.name, what, remedy)]


def _windowless(recordings: Sequence[Recording]) -> list[TelemetryFinding]:
    """Returns recordings that lack a joint's position which others read."""
    channels = dict.fromkeys(c for r in recordings for c in r.channels)
    joints = [c.element for c in channels if c.kind == "joint_pos"]
    found = []
    for r in recordings:
        what, _, remedy = unread_in(r, joints).partition("; ")
        if what:
            found.append(TelemetryFinding("warning", "not fitted", r.name, what, remedy))
    return found


def _silence(r: Recording) -> list[TelemetryFinding]:
    """Returns stretches without a command while the actuators are on."""
    silent = r.driven & ~np.isfinite(r.commands).all(1) if r.joints else np.zeros(len(r), bool)
    long = [(a, b) for a, b in runs_of(silent) if r.time_s[b - 1] - r.time_s[a] > SILENT_S]
    if not long:
        return []
    what = f"for {len(long)} stretches nothing is commanded, first at {r.time_s[long[0][0]]:.3g} s"
    remedy = 'write missing_command = "off" or "splits" in [driven]'
    return [TelemetryFinding("warning", "no command", r.name, what, remedy)]
