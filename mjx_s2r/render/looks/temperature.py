"""Colour temperature of a light: the tint of a Planckian radiator relative to daylight.

Krystek, "An algorithm to calculate correlated colour temperature", Color Research and Application
10(1), 1985: rational fits of the Planckian locus in the CIE 1960 diagram, valid from 1000 to
15000 K. CIE 15 leads from there to XYZ, IEC 61966-2-1 to linear sRGB.
"""

import jax
import jax.numpy as jnp

NEUTRAL_K = 6500.0  # a lamp of this temperature is white
COLDEST_K, HOTTEST_K = 1000.0, 15000.0  # where the fit holds
# Coefficients of 1, T and T^2, numerator and denominator.
FIT_U = ((0.860117757, 1.54118254e-4, 1.28641212e-7), (1.0, 8.42420235e-4, 7.08145163e-7))
FIT_V = ((0.317398726, 4.22806245e-5, 4.20481691e-8), (1.0, -2.89741816e-5, 1.61456053e-7))
# XYZ to linear sRGB; luminance of linear sRGB. IEC 61966-2-1.
FROM_XYZ = (
    (3.2406, -1.5372, -0.4986),
    (-0.9689, 1.8758, 0.0415),
    (0.0557, -0.2040, 1.0570),
)
LUMINANCE = (0.2126, 0.7152, 0.0722)


def tint(kelvin: jax.Array) -> jax.Array:
    """Returns what a lamp's temperature () does to its colour, as gains (3,) of linear sRGB.

    The gains are relative to 6500 K, where they are 1, and keep the luminance of white, so that a
    row for the temperature does not change what a row for the strength does. They are smooth in
    the temperature; a temperature outside of the fit counts as its nearest end. Blue, which sRGB
    cannot show below about 1900 K, stops at 0.
    """
    gains = _linear_srgb(kelvin) / _linear_srgb(jnp.asarray(NEUTRAL_K))
    gains = jnp.maximum(gains, 0.0)
    return gains / (gains * jnp.asarray(LUMINANCE)).sum() * sum(LUMINANCE)


def chromaticity(kelvin: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Returns the CIE 1931 chromaticity x () and y () of a Planckian radiator."""
    kelvin = jnp.clip(kelvin, COLDEST_K, HOTTEST_K)
    u, v = (_quadratic(top, kelvin) / _quadratic(low, kelvin) for top, low in (FIT_U, FIT_V))
    scale = 2 * u - 8 * v + 4
    return 3 * u / scale, 2 * v / scale


def _quadratic(coefficients: tuple[float, float, float], x: jax.Array) -> jax.Array:
    """Returns the polynomial with the coefficients of 1, x and x^2."""
    a, b, c = coefficients
    return a + x * (b + x * c)


def _linear_srgb(kelvin: jax.Array) -> jax.Array:
    """Returns the radiator's colour (3,) at luminance Y = 1."""
    x, y = chromaticity(kelvin)
    return jnp.asarray(FROM_XYZ) @ jnp.stack([x / y, jnp.ones_like(x), (1 - x - y) / y])
