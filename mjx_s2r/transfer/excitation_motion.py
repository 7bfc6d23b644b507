"""Motions whose shape is free, inside the limits of the guard.

Of each joint: where it moves about, how much of the largest amplitude it takes, how much of its
wave is steps and how long these hold and rise, and frequencies, weights and phases of a few sines
that are the rest; all numbers lie in [0, 1]. Whatever the numbers are, the motion begins and ends
at home and at rest and stays inside `SHARE` of position, speed and acceleration. The usual motions
(chirps, noise, steps, rests) are made as large as the same limits leave, to be compared with.
"""

import math
from dataclasses import dataclass

import numpy as np

from mjx_s2r.robot.collect import waves
from mjx_s2r.robot.collect.plan import (
    FINE,
    SHARE,
    MotionConfig,
    allowed_amplitudes,
    motion_shapes,
    wave_peaks,
)
from mjx_s2r.robot.safety import Guard

WAY_S = 2.0  # longest time that a joint takes to the place that it moves about
FADE_S = 1.0  # longest time in which its wave grows
FARTHEST = 0.8  # of the room to either side, that this place may be away from home
HOLDS_S = 0.25, 2.5  # shortest and longest step
RISES = 0.2, 0.9  # shortest and longest rise of a step, as a share of its time
SEED_HOLDS_S = 0.4, 0.7, 1.2  # of the motions that a search may begin from
APART = 0.25  # share by which the steps of each joint last longer than those of the one before
OF_JOINT = 5  # numbers of a joint besides those of its sines
LEAST_GAIN = 0.05  # of the largest amplitude


@dataclass(frozen=True, eq=False)
class FreeMotion:
    """What all motions of one search share.

    Attributes:
        guard: the limits, and joints and rate of the commands.
        home: (J,) the pose that motions begin and end in.
        seconds: how long they are, s.
        first_hz: lowest frequency, Hz.
        last_hz: highest frequency, Hz.
        sines: K, number of sines of each joint.
        max_acceleration: largest acceleration of a command, unit/s^2, where less is wanted than the
            guard allows.
    """

    guard: Guard
    home: np.ndarray
    seconds: float
    first_hz: float
    last_hz: float
    sines: int = 4
    max_acceleration: float = math.inf

    @property
    def size(self) -> int:
        """How many numbers in [0, 1] make a motion."""
        return len(self.home) * (OF_JOINT + 3 * self.sines)

    def targets(self, numbers: np.ndarray) -> np.ndarray:
        """Returns the commands (T, J) of a motion's numbers (size,)."""
        of_joint = np.reshape(np.clip(numbers, 0.0, 1.0), (len(self.home), -1))
        ways = [self._way(j, each) for j, each in enumerate(of_joint)]
        return np.stack(ways, axis=1)

    def _way(self, j: int, numbers: np.ndarray) -> np.ndarray:
        """Returns the way (T,) of one joint."""
        home, limits, hz = float(self.home[j]), self.guard.limits, self.guard.contract.control_hz
        count = math.ceil(self.seconds * hz) * FINE
        time_s = np.arange(count) / (hz * FINE)
        shift, gain = 2 * numbers[0] - 1, LEAST_GAIN + (1 - LEAST_GAIN) * numbers[1]
        side = limits.high[j] - home if shift > 0 else home - limits.low[j]
        shift = FARTHEST * SHARE * float(side) * shift
        sines, steps = self._sines(time_s, numbers[OF_JOINT:]), _steps(time_s, *numbers[3:OF_JOINT])
        wave = (numbers[2] * steps + (1 - numbers[2]) * sines) * _raised(time_s, FADE_S)
        peaks = wave_peaks(wave, hz)
        allowed = allowed_amplitudes(self.guard, j, home + shift, peaks, self.max_acceleration)
        way = shift * _raised(time_s, WAY_S) + gain * min(allowed.values()) * wave
        # On the way there the wave adds to its speed and is not yet about its middle: where that is
        # too much, all comes nearer home.
        allowed = allowed_amplitudes(
            self.guard, j, home, wave_peaks(way, hz), self.max_acceleration
        )
        up, down = max(float(way.max()), 1e-9), max(-float(way.min()), 1e-9)
        room = min((limits.high[j] - home) / up, (home - limits.low[j]) / down)
        shrink = min(1.0, allowed["speed"], allowed["acceleration"], SHARE * float(room))
        return home + shrink * way[::FINE]

    def _sines(self, time_s: np.ndarray, numbers: np.ndarray) -> np.ndarray:
        """Returns a sum of sines (T,), its largest value made 1."""
        weight, place, phase = np.reshape(numbers, (3, self.sines))
        first, last = math.log(self.first_hz), math.log(self.last_hz)
        wave = np.zeros_like(time_s)
        for k in range(self.sines):
            rate = math.exp(first + (last - first) * place[k])
            wave += weight[k] * np.sin(2 * np.pi * (rate * time_s + phase[k]))
        return wave / max(float(np.max(np.abs(wave))), 1e-9)

    def seeds(self) -> list[np.ndarray]:
        """Returns the numbers (size,) of motions that a search may begin from: steps, full size.

        The steps of no two joints are of one length, so that all pairs of directions occur.
        """
        found = []
        for hold_s in SEED_HOLDS_S:
            numbers = np.full((len(self.home), OF_JOINT + 3 * self.sines), 0.5)
            numbers[:, 1:3] = 1.0
            lengths = hold_s * (1 + APART * np.arange(len(self.home)))
            numbers[:, 3] = np.log(lengths / HOLDS_S[0]) / math.log(HOLDS_S[1] / HOLDS_S[0])
            found.append(np.clip(numbers, 0.0, 1.0).ravel())
        return found

    def usual(self, config: MotionConfig) -> np.ndarray:
        """Returns the commands (T, J) of a usual motion of all joints, as large as limits leave.

        Its ``amplitude`` is not looked at. A joint that the motion's time does not move stays.
        """
        guard, hz = self.guard, self.guard.contract.control_hz
        shapes = motion_shapes(config, hz, range(len(self.home)))
        out = np.tile(self.home, (len(shapes) // FINE, 1))
        for j, shape in enumerate(shapes.T):
            peaks = wave_peaks(shape, hz)
            allowed = allowed_amplitudes(
                guard, j, float(self.home[j]), peaks, self.max_acceleration
            )
            out[:, j] += min(allowed.values()) * shape[::FINE]
        return out


def _steps(time_s: np.ndarray, hold: float, rise: float) -> np.ndarray:
    """Returns steps (T,) of a length and a rise that two numbers in [0, 1] say."""
    hold_s = HOLDS_S[0] * (HOLDS_S[1] / HOLDS_S[0]) ** float(hold)
    share = RISES[0] + (RISES[1] - RISES[0]) * float(rise)
    return waves.steps(time_s, hold_s, share * hold_s)


def _raised(time_s: np.ndarray, rise_s: float) -> np.ndarray:
    """Returns (T,) from 0 to 1 by minimum jerk and, at the end, back to 0."""
    rise_s = min(rise_s, time_s[-1] / 4)
    return waves.minimum_jerk(time_s / rise_s) * waves.minimum_jerk((time_s[-1] - time_s) / rise_s)
