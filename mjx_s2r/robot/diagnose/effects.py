"""Friction, inertia, delay, gains and free motion of a joint, from the fit of its motion.

A robot that takes efforts shows everything in physical units: the command is the torque. A servo
shows ratios, kp / I and the like; with its stiffness or its inertia known they become numbers.
"""

import math
from collections.abc import Callable

import numpy as np

from mjx_s2r.robot.diagnose.estimate import (
    Diagnosis,
    DiagnosisError,
    FitCurve,
    IntervalEstimate,
    derived,
)
from mjx_s2r.robot.diagnose.joint_model import COSINE, DAMPING, DELAY, DRIVE, DRY, SINE
from mjx_s2r.robot.diagnose.motion_fit import MotionFit, fit_motion
from mjx_s2r.robot.diagnose.settings import DiagnosisSettings
from mjx_s2r.robot.diagnose.sweep_fit import sweep_friction
from mjx_s2r.robot.diagnose.track import JointTrack

Formula = Callable[[np.ndarray], float]
SUM = "delay of the command and age of the reading are seen in sum"


def joint_friction(track: JointTrack, settings: DiagnosisSettings) -> Diagnosis:
    """Returns b and c of tau = b v + c sign(v).

    Raises:
        DiagnosisError: a servo of which neither effort nor stiffness is known; too little motion.
    """
    if track.mode == "position":
        return sweep_friction(track, settings)
    found = fit_motion(track, settings, track.from_zero(2 * settings.hold_s + 1.0))
    rows = _friction(found, lambda theta: 1 / theta[DRIVE])
    return _diagnosis("friction", found, rows, (_levels(found), found.curve()))


def inertia(track: JointTrack, settings: DiagnosisSettings) -> Diagnosis:
    """Returns the inertia about a joint, and the rotor's where the links' is known.

    Raises:
        DiagnosisError: a servo whose stiffness is not known; too little motion.
    """
    if track.mode == "position" and not math.isfinite(settings.kp):
        raise DiagnosisError(
            f"joint {track.joint!r}: steps of a servo show kp / I only; say --kp, or drive it in a "
            "mode of efforts"
        )
    cuts = track.from_zero(2 * settings.hold_s + 1.0) if track.mode == "effort" else None
    found = fit_motion(track, settings, cuts or track.from_each_change(settings.hold_s + 0.5))
    force = 1.0 if track.mode == "effort" else settings.kp
    rows = [_row(found, "inertia about the joint", _mass(found), lambda t: force / t[DRIVE])]
    limits = []
    if math.isfinite(settings.link_inertia):
        links, whole = settings.link_inertia, rows[0]
        low, best, high = (max(0.0, x - links) for x in (whole.low, whole.value, whole.high))
        rows.insert(0, IntervalEstimate("model.dof_armature", best, low, high, _mass(found)))
    else:
        limits.append("with --link-inertia known the rotor's part (dof_armature) can be told apart")
    rows += _friction(found, lambda t: force / t[DRIVE]) if track.mode == "effort" else []
    return _diagnosis("inertia", found, rows, (found.curve(),), limits)


def delay(track: JointTrack, settings: DiagnosisSettings) -> Diagnosis:
    """Returns the delay between a command and the motion, to a fraction of a control period.

    The shape of every response is fitted, so readings before and after the onset count alike. Each
    trial's own delay, less what the noise alone would scatter it by, gives the jitter.
    """
    if track.mode == "effort":
        found = fit_motion(track, settings, track.from_zero(settings.hold_s + 0.5))
    else:
        found = fit_motion(track, settings, track.from_each_change(settings.hold_s + 0.5))
    jitter = found.fit.jitter_s()
    times = found.fit.delay_of_trial[np.isfinite(found.fit.delay_of_trial)]
    rows = (
        _row(found, "actuator.delay_s", "s", lambda t: t[DELAY]),
        IntervalEstimate("jitter of the delay", *jitter, "s"),
    )
    histogram = _delays(found, times)
    return _diagnosis("delay", found, rows, (histogram, found.curve()), [SUM])


def gains(track: JointTrack, settings: DiagnosisSettings) -> Diagnosis:
    """Returns natural frequency and damping ratio of a servo; kp and kd with the inertia known.

    w = sqrt(kp / I) and zeta = (kd + b) / (2 sqrt(kp I)).

    Raises:
        DiagnosisError: a robot that takes efforts; too little motion.
    """
    if track.mode == "effort":
        raise DiagnosisError("gains belong to a servo, and this robot takes efforts")
    found = fit_motion(track, settings, track.from_each_change(settings.hold_s + 0.5))
    rows = [
        _row(found, "natural frequency", "rad/s", lambda t: math.sqrt(t[DRIVE])),
        _row(found, "damping ratio", "1", lambda t: t[DAMPING] / (2 * math.sqrt(t[DRIVE]))),
        _row(found, "error at rest by dry friction", track.unit, lambda t: t[DRY] / t[DRIVE]),
        _row(found, "actuator.delay_s", "s", lambda t: t[DELAY]),
    ]
    force = "N m" if track.hinge else "N"
    stiff, viscous = f"{force}/{track.unit}", f"{force} s/{track.unit}"
    mass, limits = settings.inertia, [SUM]
    if math.isfinite(mass):
        rows = [
            _row(found, "model.actuator_kp", stiff, lambda t: t[DRIVE] * mass),
            _row(found, "model.actuator_kd", viscous, lambda t: t[DAMPING] * mass),
            *rows,
        ]
        limits.append("kd holds the joint's own damping; subtract what friction finds")
    elif math.isfinite(settings.kp):
        kp = settings.kp
        rows = [
            _row(found, "model.actuator_kd", viscous, lambda t: t[DAMPING] * kp / t[DRIVE]),
            _row(found, "inertia about the joint", _mass(found), lambda t: kp / t[DRIVE]),
            *rows,
        ]
        limits.append("kd holds the joint's own damping; subtract what friction finds")
    else:
        limits.append("with --inertia (or --kp) known, kp and kd are told in their units")
    if settings.gravity:
        limits.append(
            "stiffness holds gravity's change along the way, which is kp's if it is small"
        )
    return _diagnosis("gains", found, rows, (found.curve(),), limits)


def free_motion(track: JointTrack, settings: DiagnosisSettings) -> Diagnosis:
    """Returns the friction that ends a free motion; in its units with the inertia known.

    Of a swing, viscous friction alone makes the envelope an exponential, dry friction alone a
    straight line; of a joint without gravity, they do the same to the speed.

    Raises:
        DiagnosisError: a servo, which never lets go; too little motion.
    """
    if track.mode == "position":
        raise DiagnosisError(
            f"joint {track.joint!r} is held by its servo; free motion needs a mode of efforts"
        )
    found = fit_motion(track, settings, track.coasts(settings.hold_s), free_swing=True)
    pull = "rad/s^2" if track.hinge else "m/s^2"
    rows = [
        _row(found, "rate of decay, b / I", "1/s", lambda t: t[DAMPING]),
        _row(found, "dry deceleration, c / I", pull, lambda t: t[DRY]),
    ]
    limits = []
    if settings.gravity and track.hinge:
        swing: Formula = lambda t: math.sqrt(math.hypot(t[SINE], t[COSINE]))  # noqa: E731
        rows.append(_row(found, "frequency of a small swing", "rad/s", swing))
    if math.isfinite(settings.inertia):
        rows = [*_friction(found, lambda _: settings.inertia), *rows]
    else:
        limits.append("with --inertia known, b and c are told in their units")
    return _diagnosis("free-motion", found, rows, (found.curve(),), limits)


def _row(found: MotionFit, name: str, unit: str, formula: Formula) -> IntervalEstimate:
    """Returns a function of the fitted parameters with its interval."""
    return derived(name, unit, formula, found.fit.theta, found.fit.spread)


def _mass(found: MotionFit) -> str:
    """Returns the unit of an inertia."""
    return "kg m^2" if found.track.hinge else "kg"


def _friction(found: MotionFit, mass: Formula) -> list[IntervalEstimate]:
    """Returns b and c, by what gives the inertia from the parameters."""
    force = "N m" if found.track.hinge else "N"
    viscous = f"{force} s/{found.track.unit}"
    return [
        _row(found, "model.dof_damping", viscous, lambda t: t[DAMPING] * mass(t)),
        _row(found, "model.dof_frictionloss", force, lambda t: t[DRY] * mass(t)),
    ]


def _diagnosis(
    what: str,
    found: MotionFit,
    rows: tuple[IntervalEstimate, ...] | list[IntervalEstimate],
    curves: tuple[FitCurve, ...],
    limits: list[str] | None = None,
) -> Diagnosis:
    """Returns the diagnosis of a fit."""
    return Diagnosis(
        what=what,
        element=found.track.joint,
        estimates=tuple(rows),
        curves=curves,
        trials=len(found.trials),
        residual=found.fit.error,
        noise=found.track.noise,
        limits=(*found.limits, *(limits or ())),
    )


def _levels(found: MotionFit) -> FitCurve:
    """Returns the friction force over speed: each trial's balance of effort, inertia and gravity.

    Over a trial, effort minus I times the change of speed minus gravity is the friction's impulse;
    divided by the time it is b v + c sign(v) at the mean speed.
    """
    theta, trials = found.fit.theta, found.trials
    speeds, forces = [], []
    for g in range(len(trials)):
        q = found.fit.predicted[g][trials.seen[g]]
        at = trials.time_s[g][trials.seen[g]]
        v = np.gradient(q, at)
        third = slice(2, max(8, len(q) // 2))
        effort = trials.command.mean(at[third] - theta[DELAY])
        middle = (q[third][1:] + q[third][:-1]) / 2
        pull = theta[SINE] * np.sin(middle) + theta[COSINE] * np.cos(middle)
        pull = pull if trials.hinge else theta[COSINE] + 0 * middle
        bend = np.diff(v[third]) / np.diff(at[third])
        speeds.append(float(np.mean(v[third])))
        forces.append(float(np.mean(effort - (bend + pull) / theta[DRIVE])))
    order = np.argsort(speeds)
    speed = np.array(speeds)[order]
    line = (theta[DAMPING] * speed + theta[DRY] * np.sign(speed)) / theta[DRIVE]
    unit, force = found.track.unit, found.track.command_unit
    title = f"{found.track.joint}: friction, gravity and inertia taken off"
    return FitCurve(
        title, f"speed, {unit}/s", f"friction, {force}", speed, np.array(forces)[order], line
    )


def _delays(found: MotionFit, times: np.ndarray) -> FitCurve:
    """Returns the trials' delays in the order of their size, beside the mean."""
    share = (np.arange(len(times)) + 0.5) / max(1, len(times))
    mean = np.full(len(times), 1e3 * found.fit.theta[DELAY])
    return FitCurve(
        f"{found.track.joint}: delay of each trial, sorted; the line is the mean",
        "share of the trials, 1",
        "delay, ms",
        share,
        1e3 * np.sort(times),
        mean,
    )
