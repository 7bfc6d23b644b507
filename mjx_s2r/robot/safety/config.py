"""Settings of the guard, with defaults that are safe and that ordinary robots fly with."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal, get_args

from mjx_s2r.params import ParamError

Unseen = Literal["ignore", "warn", "hold"]


@dataclass(frozen=True)
class SafetyConfig:
    """Limits of the guard. Periods of readings are control periods, of images the camera's.

    Attributes:
        soft_limit: fraction of the robot's joint range that commands may use, about its middle.
        speed_fraction: fraction of the contract's ``max_rate`` (of ``max_effort`` in effort mode)
            that is allowed; go through `mjx_s2r.robot.stages.STAGES` on a new robot.
        ramp_s: time over which the allowed ``max_rate`` grows from zero after the start, s.
        position_signal: signal with the (J,) joint positions, in the order of the action; the
            first command and the effort limit come from it. Not needed in effort mode.
        velocity_signal: signal with the (J,) measured joint velocities, where there is one.
        tolerated_bad: bad readings in a row that are answered by HOLD before STOP.
        reading_hold_periods: age of a reading that holds.
        reading_stop_periods: age of a reading that stops.
        image_hold_periods: age of an image that holds.
        image_stop_periods: age of an image that stops.
        future_s: how far a time stamp may lie ahead of the clock, s.
        check_s: how long the first good reading and the first pictures are waited for, s.
        hold_stop_s: a HOLD that lasts longer stops, s.
        max_acceleration: of the command, unit/s^2, one number or one per joint; () sets no limit.
        max_jerk: of the command, unit/s^3; given up where position, braking or acceleration need
            a larger one.
        stop_s: time in which a joint at its full rate comes to rest before a stop, s; gives the
            deceleration of the law by which the allowed speed shrinks towards a joint's stop.
        lead_s: how far a command may run ahead of the measured joint, as time at the full rate, s;
            counts where the gain or the largest effort is unknown.
        overspeed: a measured velocity above this many times the full rate stops.
        jump_rates: a position that moved faster than this many times the full rate, and by more
            than a tenth of the joint's range besides, holds until it is back.
        stuck_s: positions without any change for longer hold if the command moved meanwhile, s.
        noisy_signals: signals that no reading leaves unchanged; such a one, unchanged for
            ``stuck_s``, holds.
        frozen_s: a picture that stays the same under fresh time stamps for longer holds, s.
        unseen: what to do about a reading outside of those met in training.
        unseen_margin: room beyond them, as a share of their range.
        max_tilt: largest angle between the signal "gravity" and straight down, rad.
        max_temperature: largest of the signal "temperature", degrees Celsius.
        min_voltage: smallest of the signal "voltage", V.
        max_voltage: largest of it, V.
        overload: a "joint_effort" above this many times the largest effort holds.
        workspace_low: (3,) corner of the box that the chain's points stay in, m in the base's
            frame; () sets no limit.
        workspace_high: (3,) the opposite corner.
        floor: least height of those points, m in the base's frame.
    """

    soft_limit: float = 0.95
    speed_fraction: float = 1.0
    ramp_s: float = 1.0
    position_signal: str = "joint_pos"
    velocity_signal: str = "joint_vel"
    tolerated_bad: int = 0
    reading_hold_periods: float = 2.0
    reading_stop_periods: float = 5.0
    image_hold_periods: float = 5.0
    image_stop_periods: float = 25.0
    future_s: float = 0.005
    check_s: float = 5.0
    hold_stop_s: float = 10.0
    max_acceleration: tuple[float, ...] = ()
    max_jerk: tuple[float, ...] = ()
    stop_s: float = 0.05
    lead_s: float = 0.2
    overspeed: float = 5.0
    jump_rates: float = 4.0
    stuck_s: float = 2.0
    noisy_signals: tuple[str, ...] = ()
    frozen_s: float = 2.0
    unseen: Unseen = "warn"
    unseen_margin: float = 0.1
    max_tilt: float = 1.2
    max_temperature: float = 70.0
    min_voltage: float = 0.0
    max_voltage: float = math.inf
    overload: float = 1.5
    workspace_low: tuple[float, ...] = ()
    workspace_high: tuple[float, ...] = ()
    floor: float = -math.inf

    def __post_init__(self) -> None:
        """Checks the settings.

        Raises:
            ParamError: a setting outside its range; the message names it.
        """
        for name in ("soft_limit", "speed_fraction"):
            if not 0 < getattr(self, name) <= 1:
                raise ParamError(f"safety.{name} = {getattr(self, name)} must be in (0, 1]")
        for name in ("ramp_s", "tolerated_bad", "future_s", "check_s", "unseen_margin"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ParamError(
                    f"safety.{name} = {getattr(self, name)} cannot be negative, and must be finite"
                )
        for name in (
            *("hold_stop_s", "stop_s", "lead_s", "overspeed", "jump_rates", "stuck_s"),
            *("frozen_s", "max_tilt", "overload"),
        ):
            if not getattr(self, name) > 0:
                raise ParamError(
                    f"safety.{name} = {getattr(self, name)} must be above zero; inf sets no limit"
                )
        if math.isnan(self.max_temperature) or not self.min_voltage <= self.max_voltage:
            raise ParamError(
                f"safety.max_temperature = {self.max_temperature}, min_voltage = "
                f"{self.min_voltage}, max_voltage = {self.max_voltage}: write numbers, the smaller "
                "voltage first"
            )
        for kind in ("reading", "image"):
            hold = getattr(self, f"{kind}_hold_periods")
            stop = getattr(self, f"{kind}_stop_periods")
            if not 0 < hold <= stop:
                raise ParamError(f"safety.{kind}_hold_periods = {hold} must be in (0, {stop}]")
        for name in ("max_acceleration", "max_jerk"):
            if not all(x > 0 for x in getattr(self, name)):
                raise ParamError(
                    f"safety.{name} = {getattr(self, name)} must be above zero; () sets no limit"
                )
        if self.unseen not in get_args(Unseen):
            raise ParamError(f"safety.unseen = {self.unseen!r} must be in {list(get_args(Unseen))}")
        self._check_box()

    def _check_box(self) -> None:
        """Raises ParamError for a workspace that is no box."""
        low, high = self.workspace_low, self.workspace_high
        sizes = len(low), len(high)
        if sizes not in ((0, 0), (3, 3)) or not all(a < b for a, b in zip(low, high, strict=True)):
            raise ParamError(
                f"safety.workspace_low = {low} and workspace_high = {high} must be two corners "
                "(x, y, z), m, the lower one first; () sets no limit"
            )
        if math.isnan(self.floor):
            raise ParamError("safety.floor is NaN; write a height in m, or leave it out")

    @property
    def has_workspace(self) -> bool:
        """Whether points of the robot are watched."""
        return bool(self.workspace_low) or self.floor > -math.inf


def logged_safety(settings: Mapping[str, Any]) -> tuple[SafetyConfig, list[str]]:
    """Returns the guard's settings that a log holds, and a sentence on each that it does not.

    Args:
        settings: the log's settings, as JSON values.
    """
    body = settings.get("safety")
    if not isinstance(body, Mapping):
        return SafetyConfig(), ["the log has no settings of the guard; the default ones are used"]
    known = {f.name for f in fields(SafetyConfig)}
    strange = sorted(body.keys() - known)
    notes = [f"settings of another version are passed by: {', '.join(strange)}"] * bool(strange)
    kept: dict[str, Any] = {
        k: tuple(v) if isinstance(v, list) else v for k, v in body.items() if k in known
    }
    return SafetyConfig(**kept), notes
