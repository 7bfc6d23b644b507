"""A number with its 95 % interval, and what a diagnosis found: numbers, charts' data, limits.

Numbers that a row of the parameter table can take are named by its field, "model.dof_damping";
the others by words.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from mjx_s2r.contract import ContractError

LEVEL = 0.95
FORMAT = "mjx_s2r diagnosis 1"


class DiagnosisError(ContractError):
    """A joint or a log that cannot be diagnosed; the message names the value and the remedy."""


@dataclass(frozen=True)
class IntervalEstimate:
    """One number.

    Attributes:
        name: field of the table, "group.array", where there is one; else words.
        value: best value.
        low: low end of the 95 % interval.
        high: its high end.
        unit: of all three.
    """

    name: str
    value: float
    low: float
    high: float
    unit: str

    @property
    def is_row(self) -> bool:
        """Whether a row of the table can take it."""
        return self.name.partition(".")[0] in ("model", "actuator", "sensor")

    def text(self) -> str:
        """Returns the number for people."""
        return f"{self.value:.4g} {self.unit} ({self.low:.4g} to {self.high:.4g})".replace(
            " 1 ", " "
        )


@dataclass(frozen=True, eq=False)
class FitCurve:
    """One chart of a diagnosis: N measured points and what the fit says there.

    Attributes:
        title: what is shown.
        x_label: quantity and unit along.
        y_label: quantity and unit upwards.
        x: (N,) rising.
        measured: (N,) points.
        fitted: (N,) the fit; NaN where it says nothing.
    """

    title: str
    x_label: str
    y_label: str
    x: np.ndarray
    measured: np.ndarray
    fitted: np.ndarray


@dataclass(frozen=True, eq=False)
class Diagnosis:
    """What a routine found of one joint (or of one body, for a drop test).

    Attributes:
        what: the routine.
        element: name of the joint, of the signal or of the body.
        estimates: numbers.
        curves: charts.
        trials: independent trials that the intervals rest on.
        residual: root mean square of what the fit leaves, in the unit of the readings.
        noise: of the readings at rest, the same; NaN where it was not seen.
        limits: what limits the result, a sentence each.
    """

    what: str
    element: str
    estimates: tuple[IntervalEstimate, ...]
    curves: tuple[FitCurve, ...]
    trials: int
    residual: float = math.nan
    noise: float = math.nan
    limits: tuple[str, ...] = ()

    def __getitem__(self, name: str) -> IntervalEstimate:
        """Returns the estimate of a name.

        Raises:
            KeyError: there is none; the message lists those that exist.
        """
        for estimate in self.estimates:
            if estimate.name == name:
                return estimate
        raise KeyError(f"no estimate {name!r}; there are {[e.name for e in self.estimates]}")

    def lines(self) -> list[str]:
        """Returns the diagnosis for people."""
        wide = max(len(e.name) for e in self.estimates)
        found = [f"{self.element}: {self.what}, {self.trials} trials"]
        found += [f"  {e.name:<{wide}}  {e.text()}" for e in self.estimates]
        return [*found, *(f"  note: {text}" for text in self.limits)]


def student_t(dof: float) -> float:
    """Returns the t for which a share of `LEVEL` lies within +-t, with ``dof`` degrees of freedom.

    With t = sqrt(dof) tan(phi) the density in phi is proportional to cos(phi)^(dof - 1).
    """
    phi = np.linspace(0.0, np.pi / 2, 20_001)[:-1]
    density = np.cos(phi) ** (dof - 1)
    share = np.concatenate([[0.0], np.cumsum(density[1:] + density[:-1])])
    return math.sqrt(dof) * math.tan(float(np.interp(LEVEL, share / share[-1], phi)))


def from_deviation(
    name: str, value: float, deviation: float, trials: int, unit: str, least: float = -math.inf
) -> IntervalEstimate:
    """Returns an estimate from a standard deviation that ``trials`` independent trials gave."""
    half = student_t(max(1, trials - 1)) * deviation
    return IntervalEstimate(name, value, max(least, value - half), max(least, value + half), unit)


def derived(
    name: str,
    unit: str,
    formula: Callable[[np.ndarray], float],
    theta: np.ndarray,
    spread: tuple[np.ndarray, int],
) -> IntervalEstimate:
    """Returns a function of fitted parameters by the delta method, not below zero.

    Args:
        name: of the number.
        unit: of the number.
        formula: (P,) -> value.
        theta: (P,) best parameters.
        spread: (P, P) covariance, and the number of trials behind it.
    """
    covariance, trials = spread
    value = formula(theta)
    slope = np.zeros(len(theta))
    for p in range(len(theta)):
        step = 1e-4 * max(abs(float(theta[p])), 1e-6)
        up, down = theta.copy(), theta.copy()
        up[p] += step
        down[p] -= step
        slope[p] = (formula(up) - formula(down)) / (2 * step)
    deviation = math.sqrt(max(0.0, float(slope @ covariance @ slope)))
    return from_deviation(name, value, deviation, trials, unit, 0.0)
