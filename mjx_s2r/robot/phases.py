"""The state machine of a flight: which phase follows from what was found, and what is done.

    PASSIVE -> CHECK -> RAMP_IN -> RUN <-> HOLD
    any of them -> DAMP (final for this flight) or ESTOP (until a person resets it)

The function is pure; the controller does what it says.
"""

from dataclasses import dataclass
from enum import Enum

from mjx_s2r.robot.safety import Mode


class Phase(Enum):
    """Phase of a flight."""

    PASSIVE = "passive"  # nothing was read and nothing is sent
    CHECK = "check"  # readings are judged, first pictures awaited, nothing is sent
    RAMP_IN = "ramp-in"  # the allowed speed grows from zero
    RUN = "run"  # the policy flies
    HOLD = "hold"  # the last command is sent again
    DAMP = "damp"  # the driver was stopped; the flight is over
    ESTOP = "estop"  # the driver was stopped; no flight begins before a person resets it


class Deed(Enum):
    """What the controller does with a step."""

    NOTHING = "nothing"
    SEND = "send"
    STOP = "stop"


@dataclass(frozen=True)
class Findings:
    """What was found at one step.

    Attributes:
        mode: the guard's verdict.
        estop: an emergency stop is pressed.
        waiting: all that is wrong is something that may still come: a first picture, a fresh stamp.
        overdue: it was waited for too long.
        ramped: the allowed speed has grown to its full value.
    """

    mode: Mode
    estop: bool = False
    waiting: bool = False
    overdue: bool = False
    ramped: bool = False


def next_phase(phase: Phase, found: Findings) -> tuple[Phase, Deed]:
    """Returns the phase after ``phase``, and what is done."""
    if phase is Phase.ESTOP or found.estop:
        return Phase.ESTOP, Deed.STOP
    if phase is Phase.DAMP:
        return Phase.DAMP, Deed.STOP
    if phase in (Phase.PASSIVE, Phase.CHECK):
        if found.waiting and not found.overdue:
            return Phase.CHECK, Deed.NOTHING
        if found.waiting or found.mode != Mode.RUN:
            return Phase.DAMP, Deed.STOP
        return Phase.RAMP_IN, Deed.SEND
    if found.mode == Mode.STOP:
        return Phase.DAMP, Deed.STOP
    if found.mode == Mode.HOLD:
        return Phase.HOLD, Deed.SEND
    return (Phase.RUN if found.ramped else Phase.RAMP_IN), Deed.SEND
