"""Friction and play of a servo from sweeps at constant speed, to and fro over the same positions.

What the servo must give at constant speed is tau = b v + c sign(v) + g(q). It is read from the
servo itself ("joint_effort") or from its lag, tau = kp (u - q) - kd v, where the command is ahead
by the delay d, and on average by half a period T in which it holds:
u - q = (c sign(v) + (b + kd + kp (d + T / 2)) v + g(q)) / kp. Gravity is the same both ways.
"""

import math
from dataclasses import dataclass

import numpy as np

from mjx_s2r.robot.diagnose.estimate import (
    Diagnosis,
    DiagnosisError,
    FitCurve,
    IntervalEstimate,
    from_deviation,
)
from mjx_s2r.robot.diagnose.fit import jackknife
from mjx_s2r.robot.diagnose.settings import DiagnosisSettings
from mjx_s2r.robot.diagnose.track import JointTrack

SETTLED_S = 0.45  # after a turn
LEAST_PASSES = 6
SPEED, SIGN = 0, 1


@dataclass(frozen=True, eq=False)
class SweepFit:
    """The regression y = slope v + jump sign(v) + gravity over P passes of constant speed.

    Attributes:
        slope: of the speed, and its standard deviation.
        jump: of the sign of the speed, and its standard deviation.
        speed: (P,) of each pass.
        level: (P,) mean of y of each pass without gravity's part.
        error: root mean square of what is left.
    """

    slope: tuple[float, float]
    jump: tuple[float, float]
    speed: np.ndarray
    level: np.ndarray
    error: float

    @property
    def passes(self) -> int:
        """Number of passes."""
        return len(self.speed)

    def curve(self, title: str, y_label: str, unit: str) -> FitCurve:
        """Returns the passes and the fit over speed."""
        order = np.argsort(self.speed)
        speed = self.speed[order]
        fitted = self.slope[0] * speed + self.jump[0] * np.sign(speed)
        return FitCurve(title, f"speed, {unit}/s", y_label, speed, self.level[order], fitted)


def fit_sweeps(track: JointTrack, load: np.ndarray) -> SweepFit:
    """Returns the regression of ``load`` (T,) over the passes of constant speed.

    Raises:
        DiagnosisError: too few passes, or passes in one direction only.
    """
    cuts = track.passes(SETTLED_S)
    speeds = np.array([np.polyfit(track.time_s[a:b], track.position[a:b], 1)[0] for a, b in cuts])
    if len(cuts) < LEAST_PASSES or not (speeds > 0).any() or not (speeds < 0).any():
        raise DiagnosisError(
            f"joint {track.joint!r}: {len(cuts)} sweeps of constant speed in the log, at least "
            f"{LEAST_PASSES} in both directions are needed; give it a larger --amplitude, or more "
            "--trials"
        )
    longest = max(b - a for a, b in cuts)
    count = np.array([b - a for a, b in cuts])
    index = np.array([np.minimum(np.arange(a, a + longest), b - 1) for a, b in cuts])
    seen = np.arange(longest) < count[:, None]
    weight = seen / np.sqrt(count)[:, None]  # slow passes hold more readings, not more to say
    q, v = track.position[index], np.broadcast_to(speeds[:, None], index.shape)
    bends = [np.sin(q), np.cos(q)] if track.hinge else [np.ones_like(q)]
    table = np.stack([v, np.sign(v), *bends], axis=-1) * weight[..., None]
    wanted = load[index] * weight
    flat = table.reshape(-1, table.shape[-1])
    size = np.linalg.norm(flat, axis=0)
    solved = np.linalg.lstsq(flat / size, wanted.ravel(), rcond=1e-9)[0] / size
    residual = wanted - table @ solved
    deviation = np.sqrt(np.diag(jackknife(table, residual)))
    pull = np.stack(bends, axis=-1) @ solved[2:]
    level = np.sum((load[index] - pull) * seen, axis=1) / count
    return SweepFit(
        slope=(float(solved[SPEED]), float(deviation[SPEED])),
        jump=(float(solved[SIGN]), float(deviation[SIGN])),
        speed=speeds,
        level=level,
        error=float(np.sqrt(np.sum(residual**2) / len(cuts))),
    )


def sweep_friction(track: JointTrack, settings: DiagnosisSettings) -> Diagnosis:
    """Returns the friction of a servo's joint.

    Raises:
        DiagnosisError: neither effort nor stiffness is known; too few sweeps.
    """
    force = "N m" if track.hinge else "N"
    if track.effort is not None:
        found, notes = fit_sweeps(track, track.effort), []
        known = 0.0
    elif math.isfinite(settings.kp):
        found = fit_sweeps(track, settings.kp * (track.command - track.position))
        notes = ["the servo's own dead zone and play count as dry friction here; see backlash"]
        known = settings.kd + settings.kp * (settings.delay_s + track.period_s / 2)
    else:
        raise DiagnosisError(
            f"joint {track.joint!r}: its servo tells no 'joint_effort' and its stiffness is not "
            "known; say --kp, or drive it in a mode of efforts"
        )
    dry = from_deviation(
        "model.dof_frictionloss", max(0.0, found.jump[0]), found.jump[1], found.passes, force, 0.0
    )
    rows = [dry]
    viscous = f"{force} s/{track.unit}"
    if math.isfinite(known):
        value, deviation = max(0.0, found.slope[0] - known), found.slope[1]
        damping = from_deviation("model.dof_damping", value, deviation, found.passes, viscous, 0.0)
        rows.append(damping)
        if track.effort is None:
            off = 1e-3 * settings.kp
            notes.append(f"1 ms of error in --delay-s is {off:.2g} {viscous} of damping")
    else:
        name = "damping, servo and delay together"
        rows.append(from_deviation(name, found.slope[0], found.slope[1], found.passes, viscous))
        notes.append("with --kd and --delay known the joint's own damping can be told apart")
    curve = found.curve(f"{track.joint}: effort without gravity", f"effort, {force}", track.unit)
    return Diagnosis(
        "friction", track.joint, tuple(rows), (curve,), found.passes, found.error, track.noise,
        tuple(notes),
    )  # fmt: skip


def backlash(track: JointTrack, settings: DiagnosisSettings) -> Diagnosis:
    """Returns the play of a joint from the difference between its ways to and fro.

    Raises:
        DiagnosisError: a robot that takes efforts; too few sweeps.
    """
    if track.mode == "effort":
        raise DiagnosisError("play shows in a servo's lag, and this robot takes efforts")
    found = fit_sweeps(track, track.command - track.position)
    name = "half of the way lost at a reversal"
    lost = from_deviation(name, found.jump[0], found.jump[1], found.passes, track.unit)
    rows: list[IntervalEstimate] = [lost]
    notes = []
    if math.isfinite(settings.kp) and math.isfinite(settings.dry):
        bent = settings.dry / settings.kp
        value = max(0.0, lost.value - bent)
        rows.insert(0, IntervalEstimate(
            "actuator.backlash", value, max(0.0, lost.low - bent), max(0.0, lost.high - bent),
            track.unit,
        ))  # fmt: skip
    else:
        notes.append(
            "this holds play, dead zone and dry friction over stiffness; with --kp and --dry known "
            "the play can be told apart"
        )
    curve = found.curve(f"{track.joint}: command minus position", f"lag, {track.unit}", track.unit)
    return Diagnosis(
        "backlash", track.joint, tuple(rows), (curve,), found.passes, found.error, track.noise,
        tuple(notes),
    )  # fmt: skip
