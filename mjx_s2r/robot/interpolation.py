"""Commands between two answers of the policy, for inner loops faster than the policy."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

Interpolation = Literal["hold", "linear", "cubic"]


@dataclass(frozen=True)
class Course:
    """The way of one control period; arrays are (J,).

    Attributes:
        kind: "hold" is at the end at once; "linear" goes there in a line; "cubic" is a Hermite
            cubic that begins with the slope with which the one before ended.
        start: command at the beginning.
        slope: its slope there, unit per period.
        end: command at the end.
    """

    kind: Interpolation
    start: np.ndarray
    slope: np.ndarray
    end: np.ndarray

    @property
    def end_slope(self) -> np.ndarray:
        """(J,) slope at the end, unit per period: that of the line from start to end."""
        return self.end - self.start

    def at(self, share: float) -> np.ndarray:
        """Returns the command (J,) at a share of the period, in (0, 1]."""
        if self.kind == "hold" or share >= 1:
            return self.end
        way = self.end - self.start
        if self.kind == "linear":
            return self.start + share * way
        # Hermite basis: h10(t) = t (1 - t)^2, h01(t) = t^2 (3 - 2 t), h11(t) = t^2 (t - 1).
        rest = 1 - share
        first, second = share * rest**2, share**2 * rest
        rise = share**2 * (3 - 2 * share)
        return self.start + first * self.slope + rise * way - second * self.end_slope
