"""The joint model fitted to a track: where to begin, what is free, what to say of it."""

import math
from dataclasses import dataclass, replace

import numpy as np

from mjx_s2r.robot.diagnose.estimate import DiagnosisError, FitCurve
from mjx_s2r.robot.diagnose.fit import JointFit, fit_joint, free_of, guess_effort, guess_servo
from mjx_s2r.robot.diagnose.joint_model import DELAY, DRIVE, Trials
from mjx_s2r.robot.diagnose.settings import DiagnosisSettings
from mjx_s2r.robot.diagnose.track import JointTrack

SHOWN_TRIALS = 6
UNEXPLAINED = 1.5  # a residual this many times the noise is not noise alone
OTHERS = 0.1  # of the amplitude: other joints that moved farther took part
SHAKEN = 0.05  # jitter in times of the servo (1 / frequency) above which a fit is off
UNSTEADY = 0.1  # jitter in control periods above which one delay is not what acts
LONGEST_DELAY = 0.15  # s that is searched


@dataclass(frozen=True, eq=False)
class MotionFit:
    """A fit of a track, with what is to be said of it."""

    track: JointTrack
    trials: Trials
    fit: JointFit
    limits: tuple[str, ...]

    def curve(self) -> FitCurve:
        """Returns the first trials, measured and fitted, over time."""
        few = self.trials.some(np.arange(min(SHOWN_TRIALS, len(self.trials))))
        seen = few.seen
        x = few.time_s[seen]
        order = np.argsort(x, kind="stable")
        fitted = self.fit.predicted[: len(seen)][seen]
        return FitCurve(
            f"{self.track.joint}: first {len(seen)} of {len(self.trials)} trials",
            "time, s",
            f"position, {self.track.unit}",
            (x - x.min())[order],
            few.position[seen][order],
            fitted[order],
        )


def fit_motion(
    track: JointTrack,
    settings: DiagnosisSettings,
    cuts: list[tuple[int, int]],
    *,
    free_swing: bool = False,
) -> MotionFit:
    """Returns the joint model fitted to some stretches of a track.

    Args:
        track: of the joint.
        settings: what is known.
        cuts: first and past the last step of each trial.
        free_swing: no effort acts, so neither the drive nor its delay is fitted.

    Raises:
        DiagnosisError: too few trials, or a joint that did not move.
    """
    trials = track.trials(cuts)
    span = float(np.ptp(trials.position[trials.seen]))
    noise = track.noise
    if not span > 8 * (noise if np.isfinite(noise) else 0.0) or not span > 0:
        raise DiagnosisError(
            f"joint {track.joint!r} moved by {span:.2g} only, its readings shake by {noise:.2g}; "
            "ask for more effort or a larger amplitude"
        )
    delays = np.arange(0.0, LONGEST_DELAY, max(track.period_s, 0.01)).tolist()
    if free_swing:
        trials = replace(trials, start_std=np.full_like(trials.start_std, np.inf))
        free = [p for p in free_of(settings.gravity, trials.hinge) if p not in (DRIVE, DELAY)]
        guess = guess_effort(trials, free, (0.0,))
    elif track.mode == "effort":
        free = free_of(settings.gravity, trials.hinge)
        guess = guess_effort(trials, free, delays)
    else:
        trials = replace(trials, hinge=False)
        free = free_of(settings.gravity, hinge=False)
        guess = guess_servo(trials, free, delays)
    fit = fit_joint(trials, guess, free)
    return MotionFit(track, trials, fit, tuple(fit_limits(track, settings, fit, span)))


def fit_limits(
    track: JointTrack, settings: DiagnosisSettings, fit: JointFit, span: float
) -> list[str]:
    """Returns what limits a fit, a sentence each."""
    found = []
    noise = track.noise
    if np.isfinite(noise) and fit.error > UNEXPLAINED * max(noise, 1e-12) and noise > 0:
        found.append(
            f"the fit leaves {fit.error:.2g} {track.unit}, {fit.error / noise:.1f} times the noise "
            "at rest: quantized readings, play, a limit of force, a flexible link or friction that "
            "depends on more than the sign of the speed"
        )
    if track.others_moved > OTHERS * span:
        found.append(
            f"other joints moved by up to {track.others_moved:.2g}; their inertia is in the result"
        )
    if math.sqrt(fit.covariance[DRIVE, DRIVE]) > 0.3 * abs(fit.theta[DRIVE]):
        found.append("these motions hardly show the drive; ask for larger or faster ones")
    jitter_s, surely_s, _ = fit.jitter_s()
    if track.mode == "position" and surely_s * math.sqrt(fit.theta[DRIVE]) > SHAKEN:
        found.append(
            f"the delay jitters by {1e3 * jitter_s:.1f} ms, which makes the servo look slower and "
            "the delay shorter than they are, by more than the intervals say"
        )
    elif surely_s > UNSTEADY * track.period_s:
        found.append(
            f"the delay jitters by {1e3 * jitter_s:.1f} ms, {jitter_s / track.period_s:.0%} of the "
            f"control period of {1e3 * track.period_s:.3g} ms: the fit takes one delay for all "
            "trials, so delay and lag are less sure than their intervals say; ask for more trials, "
            "or train with the jitter"
        )
    if not settings.gravity and track.mode == "effort":
        found.append("gravity was said not to act and was not fitted")
    return found
