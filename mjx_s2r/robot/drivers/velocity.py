"""Velocities of joints that a robot does not report: filtered differences of their positions."""

import math

import numpy as np


class VelocityFilter:
    """A first-order low-pass of differences: v += (1 - exp(-dt / tau)) (dx / dt - v)."""

    def __init__(self, joints: int, time_constant_s: float) -> None:
        """Starts at rest."""
        self._tau = time_constant_s
        self._last: tuple[float, np.ndarray] | None = None
        self._velocity = np.zeros(joints)

    def update(self, time_s: float, position: np.ndarray) -> np.ndarray:
        """Returns (J,) velocities after one more reading; one that is no newer changes nothing.

        Args:
            time_s: when it was measured, s.
            position: (J,) positions.
        """
        if self._last is not None and time_s > self._last[0]:
            elapsed_s = time_s - self._last[0]
            share = 1 - math.exp(-elapsed_s / self._tau) if self._tau > 0 else 1.0
            slope = (position - self._last[1]) / elapsed_s
            self._velocity = self._velocity + share * (slope - self._velocity)
        if self._last is None or time_s > self._last[0]:
            self._last = time_s, position
        return self._velocity
