"""The colour of a lamp against tabulated chromaticities of the Planckian locus."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mjx_s2r.render.looks import temperature


# Illuminant A is a Planckian radiator of 2856 K (CIE 15). The others: Wyszecki and Stiles,
# "Color Science", the Planckian locus.
@pytest.mark.parametrize(
    ("kelvin", "x", "y"),
    [
        (1000, 0.6528, 0.3444),
        (2000, 0.5267, 0.4133),
        (2856, 0.4476, 0.4074),
        (6504, 0.3135, 0.3236),
        (1e4, 0.2807, 0.2884),
    ],
)
def test_chromaticity_is_as_tabulated(kelvin: float, x: float, y: float) -> None:
    out = temperature.chromaticity(jnp.float32(kelvin))
    np.testing.assert_allclose(out, (x, y), atol=5e-4)


@pytest.mark.parametrize("kelvin", [2500.0, 4000.0, 15000.0])
def test_chromaticity_follows_plancks_law(kelvin: float) -> None:
    """Integrates Planck's law with the CIE 1931 observer, as fitted by Wyman et al. 2013."""
    wave = np.arange(380.0, 781.0)

    def lobe(scale: float, peak: float, left: float, right: float) -> np.ndarray:
        """Returns a Gaussian with another width on each side of its peak."""
        return scale * np.exp(-0.5 * ((wave - peak) * np.where(wave < peak, left, right)) ** 2)

    observer = (
        lobe(1.056, 599.8, 0.0264, 0.0323)
        + lobe(0.362, 442.0, 0.0624, 0.0374)
        + lobe(-0.065, 501.1, 0.0490, 0.0382),
        lobe(0.821, 568.8, 0.0213, 0.0247) + lobe(0.286, 530.9, 0.0613, 0.0322),
        lobe(1.217, 437.0, 0.0845, 0.0278) + lobe(0.681, 459.0, 0.0385, 0.0725),
    )
    power = wave**-5.0 / np.expm1(1.438777e7 / (wave * kelvin))
    xyz = np.array([(power * bar).sum() for bar in observer])
    np.testing.assert_allclose(
        temperature.chromaticity(jnp.float32(kelvin)), xyz[:2] / xyz.sum(), atol=6e-3
    )


def test_daylight_is_white_and_the_tint_keeps_its_luminance() -> None:
    tints = np.asarray(jax.vmap(temperature.tint)(jnp.array([6500.0, 2856.0, 10000.0, 1200.0])))
    np.testing.assert_allclose(tints[0], 1.0, atol=1e-6)
    np.testing.assert_allclose(tints @ temperature.LUMINANCE, 1.0, atol=1e-5)
    assert tints[1][0] > 1 > tints[1][2]  # warm: more red, less blue
    assert tints[2][2] > 1 > tints[2][0]
    assert tints[3].min() == 0


def test_tint_of_a_bulb_is_the_ratio_of_the_tabulated_colours() -> None:
    """Illuminant A over 6500 K, from their chromaticities and the matrix of IEC 61966-2-1."""
    xy = np.array([[0.44757, 0.40745], [0.31352, 0.32363]])
    xyz = np.stack([xy[:, 0] / xy[:, 1], np.ones(2), (1 - xy.sum(axis=1)) / xy[:, 1]])
    matrix = np.linalg.inv(
        [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
    )
    bulb, day = (matrix @ xyz).T
    expected = bulb / day / (np.array([0.2126, 0.7152, 0.0722]) @ (bulb / day))
    np.testing.assert_allclose(temperature.tint(jnp.float32(2856.0)), expected, atol=5e-3)


def test_slope_is_that_of_finite_differences() -> None:
    with jax.enable_x64(True):
        for kelvin in (2500.0, 6500.0, 9000.0):
            slope = jax.jacfwd(temperature.tint)(jnp.asarray(kelvin))
            ends = [np.asarray(temperature.tint(jnp.asarray(kelvin + d))) for d in (0.5, -0.5)]
            np.testing.assert_allclose(slope, ends[0] - ends[1], rtol=1e-3, atol=1e-9)
