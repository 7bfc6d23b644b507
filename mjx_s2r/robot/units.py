"""Unit mistakes: degrees where the contract says radians, or the other way around.

The factor of 57.3 between them is far from what noise, offsets or a poor calibration do, so it can
be told from one reading and the joints' limits, or from how far commands and readings moved.
"""

import math
from collections.abc import Mapping, Sequence

import numpy as np

from mjx_s2r.contract import PolicyContract

DEGREES = 180 / math.pi
BAND = 3.0  # a ratio is that of degrees when it is within this factor of 57.3
TURN = 2 * math.pi + 0.1  # rad
LEAST = 0.02  # rad; what moved less tells nothing
NOISE = 0.004  # rad; less is an encoder's noise, a gear's play, or a servo that settles


def suspect_reading(contract: PolicyContract, signals: Mapping[str, np.ndarray]) -> list[str]:
    """Returns what looks like degrees in one reading, one sentence per signal; mostly nothing.

    Positions are judged by the action's limits: one that lies beyond them by a turn or more,
    while all of them would lie inside if they were degrees. Other signals in rad or rad/s are
    judged by the range that was met in training.

    Args:
        contract: of the policy; units and limits.
        signals: signal name -> raw reading (size,).
    """
    found = []
    for s in contract.signals:
        value = signals.get(s.name)
        if s.unit not in ("rad", "rad/s") or value is None or np.shape(value) != (s.size,):
            continue
        low, high = np.asarray(s.seen_low, float), np.asarray(s.seen_high, float)
        positions = s.name == "joint_pos" and s.size == len(contract.action.joints)
        if positions and contract.action.mode != "effort":
            low, high = np.asarray(contract.action.low), np.asarray(contract.action.high)
        if low.shape != (s.size,) or high.shape != (s.size,):
            continue
        if _looks_like_degrees(np.asarray(value, float), low, high):
            found.append(
                f"signal {s.name!r} reads {np.round(value, 1).tolist()} where {s.unit} from "
                f"{np.round(low, 2).tolist()} to {np.round(high, 2).tolist()} are expected; these "
                "look like degrees, convert them in the driver"
            )
    return found


def suspect_motion(joints: Sequence[str], commands: np.ndarray, positions: np.ndarray) -> list[str]:
    """Returns the joints whose commands and readings move in different units.

    Args:
        joints: their names.
        commands: (T, J) targets that were sent; NaN where none was.
        positions: (T, J) readings of the same joints.
    """
    found = []
    for j, joint in enumerate(joints):
        sent, read = _spread(commands[:, j]), _spread(positions[:, j])
        if min(sent, read) < NOISE or max(sent, read) < LEAST:
            continue
        # A short log whose joint moves at its start alone is told by the whole way.
        ways = sent / read, np.ptp(_finite(commands[:, j])) / np.ptp(_finite(positions[:, j]))
        for power, which in ((1, "commands"), (-1, "readings")):
            ratio = ways[0] ** power
            if all(DEGREES / BAND < way**power < DEGREES * BAND for way in ways):
                found.append(
                    f"joint {joint!r}: {which} move {ratio:.0f} times as far as the other; one of "
                    "them is in degrees, convert it in the driver"
                )
    return found


def _looks_like_degrees(value: np.ndarray, low: np.ndarray, high: np.ndarray) -> bool:
    """Returns whether a reading is far outside as it is, and inside as degrees."""
    bounded = np.isfinite(value) & np.isfinite(low) & np.isfinite(high)
    if not bounded.any():
        return False
    value, low, high = value[bounded], low[bounded], high[bounded]
    width = np.maximum(high - low, LEAST)
    far = np.maximum(width, TURN)  # a reading that wrapped is another mistake
    beyond = (value > high + far) | (value < low - far)
    as_radians = value / DEGREES
    inside = (as_radians <= high + width / 2) & (as_radians >= low - width / 2)
    return bool(beyond.any() and inside.all())


def _spread(values: np.ndarray) -> float:
    """Returns the distance between the 5th and the 95th percentile of what is finite."""
    known = _finite(values)
    return float(np.subtract(*np.percentile(known, [95, 5]))) if known.size > 1 else 0.0


def _finite(values: np.ndarray) -> np.ndarray:
    """Returns the values that are finite."""
    return values[np.isfinite(values)]
