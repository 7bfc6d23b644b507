"""The routines by name: how each moves a joint, in which mode, and what makes of its log."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from mjx_s2r.contract import PolicyContract
from mjx_s2r.params import unknown
from mjx_s2r.robot.clock import Clock
from mjx_s2r.robot.diagnose import effects, excitation
from mjx_s2r.robot.diagnose.estimate import Diagnosis, DiagnosisError
from mjx_s2r.robot.diagnose.excitation import Excitation, room_of
from mjx_s2r.robot.diagnose.noise import noise
from mjx_s2r.robot.diagnose.settings import DiagnosisSettings
from mjx_s2r.robot.diagnose.sweep_fit import backlash
from mjx_s2r.robot.diagnose.track import JointTrack, track_of
from mjx_s2r.robot.driver import Driver, DriverInfo
from mjx_s2r.robot.first_look import look
from mjx_s2r.robot.log import Flight
from mjx_s2r.robot.safety import Guard

LOOK_S = 1.0
Excite = Callable[[DiagnosisSettings, Guard, np.ndarray, excitation.JointRoom], Excitation]
Fit = Callable[[JointTrack, DiagnosisSettings], Diagnosis]


@dataclass(frozen=True)
class RoutineSpec:
    """One routine.

    Attributes:
        tells: what it finds, for people.
        by_position: how a servo is moved; None where it cannot be diagnosed.
        by_effort: how a robot that takes efforts is moved; None likewise.
        joint_fit: what it makes of a joint's track; None for what looks at all signals.
        trials: how many it makes by itself.
        hold_s: of a trial, s, likewise.
        amplitude: from where the joint stands, rad or m, likewise.
        remedy: what to do where the mode is wrong.
    """

    tells: str
    by_position: Excite | None
    by_effort: Excite | None
    joint_fit: Fit | None
    trials: int
    hold_s: float
    amplitude: float
    remedy: str = ""

    def complete(self, settings: DiagnosisSettings, contract: PolicyContract) -> DiagnosisSettings:
        """Returns the settings with the routine's own numbers and the contract's gains filled in.

        Raises:
            ParamError: an unknown joint.
        """
        action = contract.action
        if settings.joint not in action.joints:
            raise unknown("joint", settings.joint, action.joints)
        j = action.joints.index(settings.joint)
        kp = action.kp[j] if action.kp and action.kp[j] > 0 else math.nan
        kd = action.kd[j] if action.kd and action.kd[j] > 0 else math.nan
        return replace(
            settings,
            trials=settings.trials or self.trials,
            hold_s=settings.hold_s or self.hold_s,
            amplitude=settings.amplitude or self.amplitude,
            kp=kp if math.isnan(settings.kp) else settings.kp,
            kd=kd if math.isnan(settings.kd) else settings.kd,
        )

    def plan(
        self, settings: DiagnosisSettings, guard: Guard, info: DriverInfo, rest: np.ndarray
    ) -> Excitation:
        """Returns the motion that is made, or refuses it.

        Args:
            settings: after `complete`.
            guard: the limits in force.
            info: the robot's data sheet.
            rest: (N, J) readings of the joints at rest.

        Raises:
            DiagnosisError: the wrong mode, too little room, limits that are too narrow, noise that
                hides the motion.
        """
        effort = guard.contract.action.mode == "effort"
        excite = self.by_effort if effort else self.by_position
        if excite is None:
            takes = "efforts" if effort else "positions"
            raise DiagnosisError(
                f"{settings.what} cannot be diagnosed on robot {info.name!r}, which takes {takes}; "
                f"{self.remedy}"
            )
        return excite(settings, guard, rest, room_of(settings, guard, info, rest))

    def fit(self, flight: Flight, settings: DiagnosisSettings) -> list[Diagnosis]:
        """Returns what a log says.

        Raises:
            DiagnosisError: a log that does not show it.
        """
        if self.joint_fit is None:
            return noise(flight)
        return [self.joint_fit(track_of(flight, settings.joint), settings)]


SERVO = "use a driver in a position mode"
MOTOR = "use a driver in a mode of efforts"
ROUTINES = {
    "friction": RoutineSpec(
        "viscous and dry friction",
        excitation.sweeps, excitation.levels, effects.joint_friction, 40, 1.5, 0.4,
    ),
    "inertia": RoutineSpec(
        "inertia about the joint, and the rotor's",
        excitation.position_steps, excitation.pulses, effects.inertia, 20, 0.5, 0.4,
    ),
    "delay": RoutineSpec(
        "delay from command to motion, and its jitter",
        excitation.position_steps, excitation.pulses, effects.delay, 100, 0.4, 0.05,
    ),
    "gains": RoutineSpec(
        "natural frequency, damping ratio, kp and kd of a servo",
        excitation.position_steps, None, effects.gains, 30, 0.8, 0.05, SERVO,
    ),
    "free-motion": RoutineSpec(
        "friction that ends a free motion",
        None, excitation.coasts, effects.free_motion, 12, 4.0, 0.4, MOTOR,
    ),
    "noise": RoutineSpec(
        "noise, quantum and drift of every signal at rest",
        excitation.stillness, excitation.stillness, None, 20, 1.0, 0.1,
    ),
    "backlash": RoutineSpec(
        "play between a servo and its joint",
        excitation.sweeps, None, backlash, 40, 1.0, 0.4, SERVO,
    ),
}  # fmt: skip


def rest_readings(driver: Driver, clock: Clock, contract: PolicyContract) -> np.ndarray:
    """Returns (N, J) what the joints of a connected robot read while nothing is commanded.

    Raises:
        DiagnosisError: positions that are missing, of another size, or no numbers.
    """
    joints = len(contract.action.joints)
    glances = look(driver, clock, contract.control_hz, LOOK_S)
    rows = [np.asarray(g.reading.signals.get("joint_pos", ()), float) for g in glances]
    if any(row.shape != (joints,) or not np.all(np.isfinite(row)) for row in rows):
        raise DiagnosisError(
            f"the robot does not read {joints} joint positions ('joint_pos'); run check first"
        )
    return np.array(rows)
