"""What a diagnosis is asked for, and what is known of the joint beforehand."""

import math
from dataclasses import dataclass
from typing import Literal, get_args

from mjx_s2r.params import unknown
from mjx_s2r.robot.diagnose.estimate import DiagnosisError

Routine = Literal["friction", "inertia", "delay", "gains", "free-motion", "noise", "backlash"]
POSITIVE = ("effort_share", "speed")


@dataclass(frozen=True)
class DiagnosisSettings:
    """Settings of one routine on one joint; what is not known is NaN.

    Attributes:
        what: the routine.
        joint: which joint moves.
        amplitude: farthest from where it stands, rad or m; 0 is what the routine takes.
        trials: how many; 0 is what the routine takes by itself.
        hold_s: longest time of one trial, s; 0 is what the routine takes by itself.
        effort_share: of the largest effort that is allowed, at most.
        speed: fastest sweep, rad/s or m/s.
        seed: of what is random in the trials.
        kp: stiffness of the servo, N m/rad or N/m.
        kd: its damping, N m s/rad or N s/m.
        inertia: about the joint with everything that moves, kg m^2 or kg.
        link_inertia: the same of the links alone, without the rotor.
        dry: dry friction of the joint, N m or N.
        delay_s: between a command and its effect in the readings.
        gravity: whether gravity pulls at the joint.
    """

    what: Routine
    joint: str
    amplitude: float = 0.0
    trials: int = 0
    hold_s: float = 0.0
    effort_share: float = 0.5
    speed: float = 0.5
    seed: int = 0
    kp: float = math.nan
    kd: float = math.nan
    inertia: float = math.nan
    link_inertia: float = math.nan
    dry: float = math.nan
    delay_s: float = math.nan
    gravity: bool = True

    def __post_init__(self) -> None:
        """Checks the settings.

        Raises:
            DiagnosisError: a setting that no diagnosis can have, named.
        """
        if self.what not in get_args(Routine):
            raise DiagnosisError(str(unknown("diagnosis", str(self.what), get_args(Routine))))
        for name in POSITIVE:
            value = getattr(self, name)
            if not (math.isfinite(value) and value > 0):
                raise DiagnosisError(f"{name} = {value} must be a positive number")
        if self.effort_share > 1:
            raise DiagnosisError(
                f"effort_share = {self.effort_share} is a share of the allowed effort, at most 1"
            )
        if self.trials < 0 or 0 < self.trials < 4:
            raise DiagnosisError(
                f"trials = {self.trials} leave no interval; ask for 4 at least, or leave it out"
            )
