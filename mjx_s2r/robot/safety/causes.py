"""Events of the guard, and the table of their causes: name, unit, limit and answer of each."""

from dataclasses import dataclass
from enum import IntEnum


class Mode(IntEnum):
    """Verdict of the guard on a step; the larger value wins."""

    RUN = 0
    HOLD = 1
    STOP = 2


@dataclass(frozen=True)
class Event:
    """One intervention or finding.

    Attributes:
        code: its cause, one of `CAUSES`.
        name: the signal, camera, joint or point.
        value: what was found.
        limit: what was allowed.
        mode: what the guard did about it; RUN means that a command was sent, changed or not.
    """

    code: str
    name: str
    value: float
    limit: float
    mode: Mode = Mode.RUN


@dataclass(frozen=True)
class Cause:
    """One cause of interventions.

    Attributes:
        code: its name in `Event.code`.
        unit: unit of the event's value and limit; "unit" is that of the signal or the command.
        limit: where the limit comes from: a setting of `SafetyConfig` or `ControllerConfig`, or a
            field of the contract or of the driver's description.
        answer: "limit" changes the command, "hold" sends the last one, "stop" ends the flight,
            "wait" keeps waiting during CHECK, "warn" only says so.
        meaning: what was found, in one phrase.
    """

    code: str
    unit: str
    limit: str
    answer: str
    meaning: str


CAUSES = (
    Cause("type", "1", "contract", "stop", "a reading of a type that no driver may deliver"),
    Cause("missing", "values", "contract", "stop", "a signal or picture is not there"),
    Cause("shape", "values", "contract", "stop", "a signal or picture of another size or type"),
    Cause("nan", "unit", "finite", "stop", "a signal that is not finite"),
    Cause("range", "unit", "Signal, DriverInfo.low", "stop", "a reading beyond what is believed"),
    Cause("stale", "s", "reading_*_periods, image_*_periods", "hold, stop", "too old"),
    Cause("future", "s", "future_s", "stop", "a time stamp ahead of the clock, or none"),
    Cause("backwards", "s", "last reading", "hold", "a reading older than the one before it"),
    Cause("clock", "s", "last step", "stop", "the controller's clock went backwards"),
    Cause("jump", "unit", "jump_rates", "hold", "a position that no joint reaches in that time"),
    Cause("wrap", "rad", "jump_rates", "hold", "a position that changed by whole turns"),
    Cause("speed", "unit/s", "overspeed", "stop", "a joint faster than commands may move it"),
    Cause("stuck", "s", "stuck_s", "hold", "positions without any change while commands move"),
    Cause("silent", "s", "stuck_s", "hold", "one of noisy_signals without any change"),
    Cause("frozen", "s", "frozen_s", "hold", "the same picture under fresh time stamps"),
    Cause("unseen", "unit", "Signal.seen_low, seen_high", "warn, hold", "unlike training"),
    Cause("temperature", "C", "max_temperature", "stop", "a motor that is too hot"),
    Cause("voltage", "V", "min_voltage, max_voltage", "stop", "a supply outside its range"),
    Cause("load", "N m, N", "overload", "hold", "a measured effort far beyond the largest"),
    Cause("tilt", "rad", "max_tilt", "stop", "the base leans too far"),
    Cause("estop", "1", "released", "stop", "an emergency stop is pressed"),
    Cause("output", "unit", "finite", "stop", "a policy's answer that is no command"),
    Cause("effort", "unit", "max_effort / kp", "limit", "a command beyond the largest effort"),
    Cause("lead", "unit", "lead_s", "limit", "a command too far ahead of the joint"),
    Cause("position", "unit", "soft_limit", "limit", "a command beyond the allowed range"),
    Cause("braking", "unit", "stop_s, max_acceleration", "limit", "too fast towards a stop"),
    Cause("jerk", "unit", "max_jerk", "limit", "a command whose acceleration changes too fast"),
    Cause("acceleration", "unit", "max_acceleration", "limit", "a command that speeds up too fast"),
    Cause("rate", "unit", "speed_fraction, ramp_s", "limit", "a command that moves too fast"),
    Cause("workspace", "m", "workspace_*, floor", "limit", "a point outside the workspace"),
    Cause("held", "s", "hold_stop_s", "stop", "a hold that lasted too long"),
    Cause("check", "s", "check_s", "stop", "readings or pictures that did not come in time"),
    Cause("blocked", "s", "call_limit_s", "stop", "a driver or policy that did not return in time"),
    Cause("overrun", "s", "overrun_limit_s", "warn, stop", "a deadline of the loop was missed"),
    Cause("exception", "1", "none", "stop", "an error inside the loop"),
)  # fmt: skip
