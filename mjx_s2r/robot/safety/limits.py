"""Limits on one command: effort, range, and the speed at which it may change.

Each limit is an interval around what is known (the joint, the last command), and a command is
clipped into one interval after the other. The later one has the last word: rate after
acceleration after braking after position after jerk after effort, so a command never jumps, even
back into the allowed range. A command inside all of them passes unchanged to the bit, and so does
a second time what the first time was clipped. Intervals nest: a tighter limit never lets a command
go farther.

The law of braking is that of libfranka (`computeUpperLimitsJointVelocity`): the allowed speed
towards a stop shrinks with the square root of the distance d to it. With steps of s per period and
a deceleration D per period^2 the joint can still stop if s + s^2 / (2 D) <= d, so
s = sqrt(D^2 + 2 D d) - D.
"""

from dataclasses import dataclass

import numpy as np

from mjx_s2r.contract import ContractError, PolicyContract
from mjx_s2r.robot.driver import DriverInfo, fastest_change, largest_lag
from mjx_s2r.robot.safety.causes import Event
from mjx_s2r.robot.safety.config import SafetyConfig

ROOM = 1e-6  # relative to max(1, |command|); commands travel as float32


@dataclass(frozen=True)
class CommandLimits:
    """The limits of one policy's commands on one robot; arrays are (J,) float64.

    Attributes:
        joints: names.
        low: lowest command.
        high: highest command.
        stop_low: the joint's own stop, -inf where there is none.
        stop_high: the joint's other stop.
        rate: fastest change of the command, unit/s.
        acceleration: fastest change of that, unit/s^2.
        jerk: fastest change of that, unit/s^3.
        deceleration: what the law of braking reckons with, unit/s^2; inf where it does not count.
        reach: farthest from the measured position; inf where it does not count.
        reach_codes: cause of that, "effort" or "lead".
        zone: distance from a stop beyond which braking limits nothing.
        has_jerk: whether any jerk is limited.
        has_acceleration: whether any acceleration is.
    """

    joints: tuple[str, ...]
    low: np.ndarray
    high: np.ndarray
    stop_low: np.ndarray
    stop_high: np.ndarray
    rate: np.ndarray
    acceleration: np.ndarray
    jerk: np.ndarray
    deceleration: np.ndarray
    reach: np.ndarray
    reach_codes: tuple[str, ...]
    zone: np.ndarray
    has_jerk: bool
    has_acceleration: bool


@dataclass(frozen=True)
class Motion:
    """The last command (J,) float32 and its derivatives, (J,) float64 unit/s and unit/s^2."""

    command: np.ndarray
    speed: np.ndarray
    acceleration: np.ndarray


def at_rest(command: np.ndarray) -> Motion:
    """Returns the motion of a command (J,) that does not change."""
    still = np.zeros(len(command))
    return Motion(np.asarray(command, np.float32), still, still)


def advance_motion(motion: Motion, command: np.ndarray, dt_s: float) -> Motion:
    """Returns the motion after another command (J,), ``dt_s`` later."""
    speed = (command.astype(float) - motion.command) / dt_s
    return Motion(command, speed, (speed - motion.speed) / dt_s)


def command_limits(
    config: SafetyConfig, contract: PolicyContract, info: DriverInfo
) -> CommandLimits:
    """Returns the limits of contract, robot and settings, whichever is narrower.

    Raises:
        ContractError: an acceleration or a jerk for another number of joints.
    """
    action, joints = contract.action, len(contract.action.joints)
    effort = action.mode == "effort"
    low, high = _range(config, contract, info)
    stops = _inside(np.array(info.low, float), np.array(info.high, float))
    fastest = fastest_change(contract, info)
    acceleration = _each("max_acceleration", config.max_acceleration, joints)
    free = np.full(joints, np.inf)
    # A stiff servo that limits its own force, as the contract says, must be led by what a command
    # may change in one period, or it would crawl. A robot that allows less is never led by more.
    stride = fastest / contract.control_hz
    reach = largest_lag(contract, info)
    own = np.isfinite(stride) & (np.array(action.max_effort) <= np.array(info.max_effort))
    reach = np.where(own, np.maximum(reach, stride), reach)
    rate = fastest if effort else config.speed_fraction * fastest
    brake = free if effort else np.minimum(fastest / config.stop_s, acceleration)
    jerk = _each("max_jerk", config.max_jerk, joints)
    return CommandLimits(
        joints=action.joints,
        low=low,
        high=high,
        stop_low=-free if effort else stops[0],
        stop_high=free if effort else stops[1],
        rate=rate,
        acceleration=acceleration,
        jerk=jerk,
        deceleration=brake,
        reach=free if effort else np.where(np.isfinite(reach), reach, config.lead_s * fastest),
        reach_codes=tuple("effort" if np.isfinite(x) else "lead" for x in reach),
        zone=_braking_zone(rate, brake, 1 / contract.control_hz),
        has_jerk=bool(np.isfinite(jerk).any()),
        has_acceleration=bool(np.isfinite(acceleration).any()),
    )


def _braking_zone(rate: np.ndarray, brake: np.ndarray, period_s: float) -> np.ndarray:
    """Returns (J,) the distance that one step at the full rate and the braking after it need."""
    bound = np.isfinite(brake) & np.isfinite(rate)
    speed, slow = np.where(bound, rate, 0.0), np.where(bound, brake, 1.0)
    without = np.where(np.isfinite(brake), np.inf, -np.inf)
    return np.where(bound, speed * period_s + speed**2 / (2 * slow), without)


def _each(name: str, values: tuple[float, ...], joints: int) -> np.ndarray:
    """Returns (J,) of a setting that is absent, one number or one per joint."""
    if len(values) not in (0, 1, joints):
        raise ContractError(
            f"safety.{name} has {len(values)} values for {joints} joints; give one, or one each"
        )
    return np.broadcast_to(np.array(values or (np.inf,), float), joints)


def _range(
    config: SafetyConfig, contract: PolicyContract, info: DriverInfo
) -> tuple[np.ndarray, np.ndarray]:
    """Returns (J,) lowest and (J,) highest command."""
    action = contract.action
    if action.mode == "effort":
        top = config.speed_fraction * np.minimum(action.max_effort, info.max_effort)
        low, high = np.maximum(action.low, -top), np.minimum(action.high, top)
    else:
        bottom, top = np.array(info.low), np.array(info.high)
        open_ended = ~(np.isfinite(bottom) & np.isfinite(top))
        span = np.where(open_ended, 0.0, top) - np.where(open_ended, 0.0, bottom)
        margin = span * (1 - config.soft_limit) / 2
        low, high = np.maximum(action.low, bottom + margin), np.minimum(action.high, top - margin)
    return _inside(low, high)


def _inside(low: np.ndarray, high: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the ends of ranges (J,) as float32 writes them, neither outside of the range.

    A driver refuses what lies beyond its end by a bit. A range of less than a bit has both ends
    where the nearest float32 is.
    """
    bottom, top = low.astype(np.float32), high.astype(np.float32)
    bottom = np.where(bottom < low, np.nextafter(bottom, np.float32(np.inf)), bottom)
    top = np.where(top > high, np.nextafter(top, np.float32(-np.inf)), top)
    is_point = bottom > top
    bottom, top = (np.where(is_point, low.astype(np.float32), x) for x in (bottom, top))
    return bottom.astype(float), top.astype(float)


def limit(
    limits: CommandLimits,
    motion: Motion,
    wish: np.ndarray,
    position: np.ndarray | None,
    dt_s: float,
    share: float,
) -> tuple[np.ndarray, list[Event]]:
    """Returns the command (J,) float32 inside every limit, and one event for each change.

    Args:
        limits: of the commands.
        motion: the last command and its derivatives.
        wish: (J,) float32 the command that is asked for.
        position: (J,) measured; None leaves effort and lead out.
        dt_s: time since the last command, s.
        share: of the rate that is allowed now, in [0, 1].
    """
    last = motion.command.astype(float)
    now = wish.astype(float)
    intervals = _intervals(limits, motion, last, position, dt_s, share)
    if all(bool(((now >= low) & (now <= high)).all()) for _, low, high in intervals):
        return wish, []
    room = ROOM * np.maximum(1.0, np.abs(last))
    events: list[Event] = []
    for code, low, high in intervals:
        over = now > high + (0.0 if code == "position" else room)
        under = now < low - (0.0 if code == "position" else room)
        if over.any() or under.any():
            inside = np.where(over, high, np.where(under, low, now))
            for j in np.flatnonzero(np.abs(inside - now) > room):
                cause = limits.reach_codes[j] if code == "reach" else code
                events.append(Event(cause, limits.joints[j], float(now[j]), float(inside[j])))
            now = inside
    # Rounding must not leave the range either, unless the last command was out there.
    now = np.minimum(np.maximum(now, np.minimum(limits.low, last)), np.maximum(limits.high, last))
    return now.astype(np.float32), events


def _intervals(
    limits: CommandLimits,
    motion: Motion,
    last: np.ndarray,
    position: np.ndarray | None,
    dt_s: float,
    share: float,
) -> list[tuple[str, np.ndarray, np.ndarray]]:
    """Returns cause, lowest and highest command of each limit, the weakest first."""
    found = []
    if position is not None:
        found.append(("reach", position - limits.reach, position + limits.reach))
    if limits.has_jerk:
        coast = last + motion.speed * dt_s
        middle, half = coast + motion.acceleration * dt_s**2, limits.jerk * dt_s**3
        found.append(("jerk", middle - half, middle + half))
    found.append(("position", limits.low, limits.high))
    floor, ceiling = limits.stop_low, limits.stop_high
    if limits.has_acceleration:  # then commands must be able to come to rest inside the range, too
        bound = np.isfinite(limits.acceleration)
        floor = np.where(bound, np.maximum(limits.low, floor), floor)
        ceiling = np.where(bound, np.minimum(limits.high, ceiling), ceiling)
    if not ((last - floor >= limits.zone) & (ceiling - last >= limits.zone)).all():
        decelerates = np.isfinite(limits.deceleration)
        brake = np.where(decelerates, limits.deceleration, 1.0) * dt_s**2
        down = np.where(decelerates, _brakable(last - floor, brake), np.inf)
        up = np.where(decelerates, _brakable(ceiling - last, brake), np.inf)
        found.append(("braking", last - down, last + up))
    if limits.has_acceleration:
        coast = last + motion.speed * dt_s
        half = limits.acceleration * dt_s**2
        found.append(("acceleration", coast - half, coast + half))
    step = limits.rate * dt_s * share if share else np.zeros_like(last)
    found.append(("rate", last - step, last + step))
    return found


def _brakable(distance: np.ndarray, brake: np.ndarray) -> np.ndarray:
    """Returns the largest step (J,) after which the joint still stops within a distance (J,).

    Args:
        distance: to the stop, before the step; negative beyond it.
        brake: deceleration, per period^2.
    """
    return np.sqrt(brake**2 + 2 * brake * np.maximum(distance, 0.0)) - brake
