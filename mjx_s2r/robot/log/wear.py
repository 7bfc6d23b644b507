"""What wears a robot: commands that chatter, and joints that stand at the ends of their ranges.

A gear wears by turning back and forth through its play, and a motor is warm by every command that
it starts towards. What a servo does not show, because its filter or its play swallows it, is not
counted as a reversal.
"""

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np

from mjx_s2r.robot.log.reader import Flight, data_sheet_of
from mjx_s2r.robot.safety.config import logged_safety
from mjx_s2r.robot.safety.limits import command_limits

PLAY = 0.001  # of the range: a shorter way back is no reversal; 0.2 to 0.4 degrees of most servos
PARKED = 0.02  # of the range: this close to a limit, a joint is parked there
OFTEN_HZ = 6.0  # reversals per second that a motion is seldom made of
LONG = 0.25  # share of the time at a limit that is worth a word


@dataclass(frozen=True)
class JointWear:
    """What wears one joint; nan where that is not known.

    Attributes:
        change: mean size of the change of the command in a step, as a share of its range.
        reversals_hz: how often in a second the command turns back, by `PLAY` at least.
        parked_low: share of the time in which the joint stands at its lower limit, or beyond.
        parked_high: the same of its upper limit.
    """

    change: float
    reversals_hz: float
    parked_low: float
    parked_high: float

    @property
    def parked(self) -> float:
        """Share of the time at either limit; nan where that is not known."""
        return self.parked_low + self.parked_high


def joint_wear(
    commands: np.ndarray,
    positions: np.ndarray,
    limits: np.ndarray,
    rate_hz: float,
    command_limits: np.ndarray | None = None,
) -> tuple[JointWear, ...]:
    """Returns what wears each of J joints.

    Episodes may be joined with a row of NaN between them: nothing is counted across it.

    Args:
        commands: (T, J) that were sent; NaN where none was.
        positions: (T, J) as they were measured; NaN where they were not.
        limits: (J, 2) lowest and highest position; infinite where a joint has none, which then has
            no share at a limit.
        rate_hz: steps per second.
        command_limits: (J, 2) lowest and highest command, where commands are no positions; by
            default ``limits``. Of a joint without them the change is not known, and all that turns
            back is a reversal.
    """
    ranges = np.asarray(limits if command_limits is None else command_limits, float)
    spans = _spans(ranges)
    sizes = np.abs(np.diff(np.asarray(commands, float), axis=0))
    low, high = np.asarray(limits, float).T
    room = PARKED * _spans(np.asarray(limits, float))
    known = np.sum(np.isfinite(positions), axis=0)
    at_low = np.sum(positions <= low + room, axis=0)  # of NaN neither is true
    at_high = np.sum(positions >= high - room, axis=0)
    found = []
    for j, span in enumerate(spans.tolist()):
        moves = sizes[np.isfinite(sizes[:, j]), j]
        turns = _reversals(commands[:, j].tolist(), 0.0 if math.isnan(span) else PLAY * span)
        found.append(
            JointWear(
                change=float(moves.mean()) / span if len(moves) else math.nan,
                reversals_hz=turns * rate_hz / len(moves) if len(moves) else math.nan,
                parked_low=_share(at_low[j], known[j], room[j]),
                parked_high=_share(at_high[j], known[j], room[j]),
            )
        )
    return tuple(found)


def wear_remarks(joints: Sequence[str], wear: Sequence[JointWear]) -> list[str]:
    """Returns a sentence on each thing that wears joints too much; mostly none.

    Args:
        joints: their names.
        wear: what wears each of them.
    """
    found = []
    often = {n: w.reversals_hz for n, w in zip(joints, wear, strict=True)}
    if bad := {name: hz for name, hz in often.items() if hz >= OFTEN_HZ}:
        found.append(
            f"{_subject(bad, 'reverse')} {_between(bad.values())} times a second: that wears gears "
            "and heats motors; charge the task's reward for what the action changes, or smooth the "
            "commands by max_acceleration and max_jerk in --limits"
        )
    for part, end in (("parked_low", "lower"), ("parked_high", "upper")):
        shares = {n: 100 * getattr(w, part) for n, w in zip(joints, wear, strict=True)}
        if bad := {name: share for name, share in shares.items() if share >= 100 * LONG}:
            found.append(
                f"{_subject(bad, 'stand')} at the {end} limit {_between(bad.values())} % of the "
                "time: a motor that presses against a stop runs hot, and one that the guard holds "
                "back does not obey; charge the task's reward for being near the limits, or begin "
                "the task farther from them"
            )
    return found


def _subject(joints: Collection[str], verb: str) -> str:
    """Returns joints and what they do."""
    if len(joints) == 1:
        return f"joint {next(iter(joints))} {verb}s"
    return f"joints {', '.join(joints)} {verb}"


def _between(values: Collection[float]) -> str:
    """Returns from where to where values go, in whole numbers."""
    low, high = f"{min(values):.0f}", f"{max(values):.0f}"
    return low if low == high else f"{low} to {high}"


def _spans(limits: np.ndarray) -> np.ndarray:
    """Returns (J,) the lengths of (J, 2) ranges; NaN where one has no end, or no length."""
    lengths = np.subtract(limits[:, 1], limits[:, 0])
    return np.where(np.isfinite(lengths) & (lengths > 0), lengths, np.nan)


def _share(count: int, known: int, room: float) -> float:
    """Returns the share of the readings that are at a limit; 0 for a joint without limits."""
    if not known:
        return math.nan
    return count / known if math.isfinite(room) else 0.0


def _reversals(values: list[float], play: float) -> int:
    """Returns how often values turn back by more than ``play`` from the farthest they came."""
    count = direction = 0
    low, high = math.inf, -math.inf
    for value in values:
        if math.isnan(value):
            direction, low, high = 0, math.inf, -math.inf
            continue
        low, high = min(low, value), max(high, value)
        if direction >= 0 and high - value > play:
            count += direction > 0
            direction, low = -1, value
        elif direction <= 0 and value - low > play:
            count += direction < 0
            direction, high = 1, value
    return count


def limits_in_flight(flight: Flight) -> tuple[np.ndarray, np.ndarray]:
    """Returns (J, 2) the limits of the positions and (J, 2) those of the commands of a flight.

    Commands keep to the narrower of contract and robot, and away from its ends as the guard's
    ``soft_limit`` says: a joint that leans on the guard is parked, too. Where efforts are
    commanded, positions have the robot's own limits.
    """
    contract = flight.contract
    info = flight.driver or data_sheet_of(contract, flight.robot)
    limits = command_limits(logged_safety(flight.config)[0], contract, info)
    commands = np.stack((limits.low, limits.high), axis=1)
    if contract.action.mode != "effort":
        return commands, commands
    return np.stack((info.low, info.high), axis=1), commands
