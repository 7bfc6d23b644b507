"""Motions whose shape is free, inside the limits of the guard.

Of each joint: where it moves about, how much of the largest amplitude it takes, how square its wave
is (tanh of a sum of sines: steps and holds at one end, sines at the other), and frequencies,
weights and phases of the sines; all numbers lie in [0, 1]. Whatever the numbers
are, the motion begins and ends at home and at rest and stays inside `SHARE` of position, speed and
acceleration. The usual motions (chirps, noise, steps, rests) are made as large as the same limits
leave, to be compared with.
"""

import math
from dataclasses import dataclass

import numpy as np

from mjx_s2r.robot.collect.plan import (
    FINE,
    SHARE,
    MotionConfig,
    allowed_amplitudes,
    motion_shapes,
    wave_peaks,
)
from mjx_s2r.robot.collect.waves import minimum_jerk
from mjx_s2r.robot.safety import Guard

WAY_S = 2.0  # longest time that a joint takes to the place that it moves about
FADE_S = 1.0  # longest time in which its wave grows
FARTHEST = 0.8  # of the room to either side, that this place may be away from home
SQUAREST = 5.0  # largest slope of the tanh
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
        return len(self.home) * (3 + 3 * self.sines)

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
        weight, place, phase = np.reshape(numbers[3:], (3, self.sines))
        first, last = math.log(self.first_hz), math.log(self.last_hz)
        wave = np.zeros(count)
        for k in range(self.sines):
            rate = math.exp(first + (last - first) * place[k])
            wave += weight[k] * np.sin(2 * np.pi * (rate * time_s + phase[k]))
        wave /= max(float(np.max(np.abs(wave))), 1e-9)
        edge = SQUAREST * float(numbers[2]) + 1e-3
        wave = np.tanh(edge * wave) / math.tanh(edge) * _raised(time_s, FADE_S)
        peaks = wave_peaks(wave, hz)
        allowed = allowed_amplitudes(self.guard, j, home + shift, peaks, self.max_acceleration)
        way = shift * _raised(time_s, WAY_S) + gain * min(allowed.values()) * wave
        # The way there adds to the wave's speed; where that is too much, all comes nearer home.
        allowed = allowed_amplitudes(
            self.guard, j, home, wave_peaks(way, hz), self.max_acceleration
        )
        return home + min(1.0, allowed["speed"], allowed["acceleration"]) * way[::FINE]

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


def _raised(time_s: np.ndarray, rise_s: float) -> np.ndarray:
    """Returns (T,) from 0 to 1 by minimum jerk and, at the end, back to 0."""
    rise_s = min(rise_s, time_s[-1] / 4)
    return minimum_jerk(time_s / rise_s) * minimum_jerk((time_s[-1] - time_s) / rise_s)
