"""What one reading cannot show: jumps, turns, sensors that stand still, time that goes backwards.

The functions are pure: the past goes in, findings and the next past come out.
"""

import math
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from mjx_s2r.contract import PolicyContract
from mjx_s2r.robot.driver import DriverInfo, Reading
from mjx_s2r.robot.safety.causes import Event, Mode
from mjx_s2r.robot.safety.config import SafetyConfig
from mjx_s2r.robot.safety.readings import is_numeric

TURN = 2 * math.pi
JUMP_SHARE = 0.1  # of a joint's range, that noise and a bump may add to a jump
TRAVEL_SHARE = 0.05  # of a joint's range; a command that moved this far should move the joint
OPEN_RANGE = 2.0  # rad or m, in the place of the range of a joint without stops


@dataclass(frozen=True)
class Picture:
    """The last picture of one camera: its stamp, its checksum, and the first stamp with that."""

    time_s: float
    checksum: int
    since_s: float


@dataclass(frozen=True)
class History:
    """What is remembered of the readings before.

    Attributes:
        now_s: clock at the last inspection, s.
        time_s: newest stamp of a reading, s.
        position: (J,) of the last reading without a jump; None before it.
        still_s: clock when the positions last changed, s.
        still_command: (J,) the last command at that time.
        pictures: by camera.
        silent: signal -> its last bytes and the clock when they were new.
    """

    now_s: float = -math.inf
    time_s: float = -math.inf
    position: np.ndarray | None = None
    still_s: float = 0.0
    still_command: np.ndarray | None = None
    pictures: Mapping[str, Picture] = field(default_factory=dict)
    silent: Mapping[str, tuple[bytes, float]] = field(default_factory=dict)


@dataclass(frozen=True)
class MotionLimits:
    """How far joints can move between readings; arrays are (J,).

    Attributes:
        joints: names.
        turns: whether a joint is a hinge.
        rate: fastest change of position, unit/s.
        slack: change that is believed at once.
        most: change that is never believed where no rate is known.
        at_once: change that is believed whatever the time between.
        travel: change of a position command that must show.
    """

    joints: tuple[str, ...]
    turns: np.ndarray
    rate: np.ndarray
    slack: np.ndarray
    most: np.ndarray
    at_once: np.ndarray
    travel: np.ndarray


def motion_limits(contract: PolicyContract, info: DriverInfo) -> MotionLimits:
    """Returns the limits of what the joints' positions may do between two readings."""
    joints = contract.action.joints
    turns = np.array([unit in ("rad", "N m") for unit in contract.action.units])
    span = np.array(info.high) - np.array(info.low)
    bounded = np.isfinite(span)
    size = np.where(bounded, span, OPEN_RANGE)
    effort = contract.action.mode == "effort"
    open_most = np.where(turns & (not effort), math.pi, np.inf)
    rate = np.minimum(np.inf if effort else contract.action.max_rate, info.max_rate)
    slack, most = JUMP_SHARE * size, np.where(bounded, size / 2, open_most)
    return MotionLimits(
        joints=joints,
        turns=turns,
        rate=rate,
        slack=slack,
        most=most,
        at_once=np.where(np.isfinite(rate), slack, most),
        travel=np.where(effort, np.inf, TRAVEL_SHARE * size),
    )


def judge(
    config: SafetyConfig,
    contract: PolicyContract,
    limits: MotionLimits,
    past: History,
    reading: Reading,
    now_s: float,
    command: np.ndarray | None,
) -> tuple[list[Event], History]:
    """Returns what a whole, finite reading says in the light of the past, and the next past.

    Args:
        config: settings.
        contract: of the policy.
        limits: of the joints' motion.
        past: what is remembered.
        reading: has every signal and picture of the contract, in the right shape.
        now_s: the clock, s.
        command: (J,) the last command that was sent; None before the first.
    """
    if now_s < past.now_s:
        events = [Event("clock", "clock", now_s - past.now_s, 0, Mode.STOP)]
        return events, past
    events = []
    if reading.time_s < past.time_s:
        events.append(Event("backwards", "reading", reading.time_s - past.time_s, 0, Mode.HOLD))
    position = reading.signals.get(config.position_signal)
    if not is_numeric(position) or position.shape != (len(limits.joints),):
        position = None
    still_s, still_command = now_s, command
    if position is not None:
        position = position.astype(float)
        if past.position is not None:
            events += _jumps(config, contract, limits, past, position, reading.time_s)
            if (position == past.position).all():
                still_s, still_command = past.still_s, past.still_command
                events += _stuck(config, limits, now_s - still_s, still_command, command)
    events_seen, pictures = _frozen(config, contract, past, reading, now_s)
    events_heard, silent = _silent(config, past, reading, now_s)
    moved = any(event.code in ("jump", "wrap") for event in events)
    after = History(
        now_s=now_s,
        time_s=max(past.time_s, reading.time_s),
        position=past.position if moved else position,
        still_s=still_s,
        still_command=command if still_command is None else still_command,
        pictures=pictures,
        silent=silent,
    )
    return [*events, *events_seen, *events_heard], after


def _jumps(
    config: SafetyConfig,
    contract: PolicyContract,
    limits: MotionLimits,
    past: History,
    position: np.ndarray,
    time_s: float,
) -> list[Event]:
    """Returns the joints that moved farther than they can."""
    period_s = 1 / contract.control_hz
    longest_s = config.reading_stop_periods * period_s
    elapsed_s = min(max(time_s - past.time_s, period_s), longest_s)
    change = position - past.position
    size = np.abs(change)
    if (size <= limits.at_once).all():
        return []
    reach = config.jump_rates * elapsed_s * limits.rate + limits.slack
    allowed = np.where(np.isfinite(reach), reach, limits.most)
    if (size <= allowed).all():
        return []
    rest = np.abs(size - TURN * np.round(size / TURN))
    wrapped = limits.turns & (size > math.pi) & (rest <= allowed)
    return [
        Event(
            "wrap" if wrapped[j] else "jump",
            limits.joints[j],
            float(change[j]),
            float(allowed[j]),
            Mode.HOLD,
        )
        for j in np.flatnonzero(size > allowed)
    ]


def _stuck(
    config: SafetyConfig,
    limits: MotionLimits,
    still_s: float,
    before: np.ndarray | None,
    command: np.ndarray | None,
) -> list[Event]:
    """Returns the finding on positions that are the same to the bit for ``still_s``."""
    if still_s <= config.stuck_s or before is None or command is None:
        return []
    if not (np.abs(command - before) > limits.travel).any():
        return []
    return [Event("stuck", config.position_signal, still_s, config.stuck_s, Mode.HOLD)]


def _frozen(
    config: SafetyConfig,
    contract: PolicyContract,
    past: History,
    reading: Reading,
    now_s: float,
) -> tuple[list[Event], Mapping[str, Picture]]:
    """Returns the cameras whose picture does not change, and what is remembered of each."""
    if not contract.cameras:
        return [], past.pictures
    events, pictures = [], dict(past.pictures)
    for camera in contract.cameras:
        image = reading.images[camera.name]
        time_s, last = float(reading.image_time_s[camera.name]), past.pictures.get(camera.name)
        if last is None or time_s > last.time_s:
            checksum = zlib.crc32(np.ascontiguousarray(image).data)
            same = last is not None and last.checksum == checksum
            since_s = last.since_s if same and last is not None else time_s
            pictures[camera.name] = last = Picture(time_s, checksum, since_s)
        for_s = last.time_s - last.since_s
        if for_s > config.frozen_s:
            events.append(Event("frozen", camera.name, for_s, config.frozen_s, Mode.HOLD))
    return events, pictures


def _silent(
    config: SafetyConfig, past: History, reading: Reading, now_s: float
) -> tuple[list[Event], Mapping[str, tuple[bytes, float]]]:
    """Returns the noisy signals without noise, and what is remembered of each."""
    if not config.noisy_signals:
        return [], past.silent
    events, silent = [], {}
    for name in config.noisy_signals:
        value = reading.signals.get(name)
        if not is_numeric(value):
            continue
        content = value.tobytes()
        last = past.silent.get(name)
        since_s = last[1] if last is not None and last[0] == content else now_s
        silent[name] = content, since_s
        if now_s - since_s > config.stuck_s:
            events.append(Event("silent", name, now_s - since_s, config.stuck_s, Mode.HOLD))
    return events, silent
