"""From draws in [0, 1] to the shapes that the table's laws need, on numpy or jax.numpy.

    quantile    of the standard normal: algorithm AS 241, PPND7 (Wichura 1988), 7 digits
    cumulative  of the standard normal: Abramowitz and Stegun 1964, 7.1.26, error below 1.5e-7
    bell        a normal with two standard deviations to either side, cut off there, as a share of
                its range: the Gaussian law between two bounds
    correlate   a Gaussian copula with one factor (Nelsen 2006, An Introduction to Copulas, 2.3)

It knows neither jax nor the table.
"""

from types import ModuleType
from typing import Any

Array = Any  # numpy.ndarray or jax.Array; which one follows from `xp`

_CENTRE = (
    (3.3871327179, 50.434271938, 159.29113202, 59.109374720),
    (1.0, 17.895169469, 78.757757664, 67.187563600),
)
_MIDDLE = (
    (1.4234372777, 2.7568153900, 1.3067284816, 0.17023821103),
    (1.0, 0.7370016425, 0.12021132975),
)
_TAIL = (
    (6.6579051150, 3.0812263860, 0.42868294337, 0.017337203997),
    (1.0, 0.24197894225, 0.012258202635),
)
_ERF = (0.254829592, -0.284496736, 1.421413741, -1.453152027, 1.061405429)
_EDGE = 0.022750132  # share of a normal that lies more than two standard deviations below its mean


def _ratio(pair: tuple[tuple[float, ...], tuple[float, ...]], x: Array) -> Array:
    """Returns the quotient of two polynomials at ``x``, coefficients from the constant up."""
    top, bottom = (sum(c * x**i for i, c in enumerate(row)) for row in pair)
    return top / bottom


def quantile(xp: ModuleType, unit: Array) -> Array:
    """Returns the standard normal score below which a share ``unit`` (...) in (0, 1) lies."""
    away = unit - 0.5
    inside = _ratio(_CENTRE, 0.180625 - xp.clip(away, -0.425, 0.425) ** 2) * away
    share = xp.clip(xp.where(away < 0, unit, 1 - unit), 1e-12, 0.5)
    depth = xp.sqrt(-xp.log(share))
    outside = xp.where(depth <= 5, _ratio(_MIDDLE, depth - 1.6), _ratio(_TAIL, depth - 5))
    return xp.where(xp.abs(away) <= 0.425, inside, xp.where(away < 0, -outside, outside))


def cumulative(xp: ModuleType, score: Array) -> Array:
    """Returns the share of the standard normal below ``score`` (...)."""
    x = xp.abs(score) / 2**0.5
    t = 1 / (1 + 0.3275911 * x)
    tail = 0.5 * sum(c * t ** (i + 1) for i, c in enumerate(_ERF)) * xp.exp(-x * x)
    return xp.where(score < 0, tail, 1 - tail)


def bell(xp: ModuleType, unit: Array) -> Array:
    """Returns where in its range [0, 1] a normal of a quarter of that range as deviation falls."""
    return xp.clip(0.5 + quantile(xp, _EDGE + (1 - 2 * _EDGE) * unit) / 4, 0.0, 1.0)


def correlate(xp: ModuleType, unit: Array, lead: Array, rho: Array) -> Array:
    """Returns ``unit`` (..., D) with each column tied to its leading column, still uniform.

    The normal scores become z_i = rho_i z_lead + sqrt(1 - rho_i^2) z_i, so rho_i is their
    correlation with the leader and rho_i rho_j that of two followers.

    Args:
        xp: numpy or jax.numpy.
        unit: independent draws in [0, 1].
        lead: (D,) column of each column's leader; a column that leads itself is left alone.
        rho: (D,) correlation with the leader, -1 to 1.
    """
    score = quantile(xp, xp.clip(unit, 1e-6, 1 - 1e-6))
    tied = cumulative(xp, rho * score[..., lead] + (1 - rho**2) ** 0.5 * score)
    return xp.where(lead == xp.arange(lead.shape[0]), unit, tied)
