"""Betas against scipy."""

import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats
from scipy.integrate import quad

from mjx_s2r.curriculum import beta
from mjx_s2r.curriculum.beta import Betas

A, B = np.array((1.0, 1.0, 2.5, 60.0)), np.array((1.0, 40.0, 5.5, 30.0))
BETAS = Betas(jnp.asarray(A, jnp.float32), jnp.asarray(B, jnp.float32))


def test_densities_are_scipys() -> None:
    unit = np.linspace(0.05, 0.95, 7)[:, None] * np.ones(4)
    found = beta.log_density(BETAS, jnp.asarray(unit, jnp.float32))
    np.testing.assert_allclose(found, stats.beta.logpdf(unit, A, B), rtol=1e-4, atol=1e-3)


def test_entropies_are_scipys() -> None:
    np.testing.assert_allclose(beta.entropy(BETAS), stats.beta.entropy(A, B), atol=1e-3)


def test_divergences_are_the_integral() -> None:
    """KL(p || q) = integral of p log(p / q), against the next density in the row."""
    other = Betas(jnp.roll(BETAS.a, 1), jnp.roll(BETAS.b, 1))
    found = np.asarray(beta.kl(BETAS, other))
    for i in range(4):
        p, q = stats.beta(A[i], B[i]), stats.beta(np.roll(A, 1)[i], np.roll(B, 1)[i])
        area = quad(lambda x, p=p, q=q: p.pdf(x) * (p.logpdf(x) - q.logpdf(x)), 1e-9, 1 - 1e-9)
        assert found[i] == pytest.approx(area[0], rel=2e-3, abs=2e-3)


@pytest.mark.parametrize("share", [0.05, 0.5, 0.95])
def test_quantiles_are_scipys(share: float) -> None:
    found = beta.quantile(BETAS, share)
    np.testing.assert_allclose(found, stats.beta.ppf(share, A, B), atol=1e-4)


def test_ranges_become_densities_with_their_middle_and_width() -> None:
    """The full range is uniform; [0.4, 0.6] has the deviation 0.2 / sqrt(12); a point is cut."""
    low, high = np.array((0.0, 0.4, 0.5, 0.0)), np.array((1.0, 0.6, 0.5, 0.0))
    found = beta.around(jnp.asarray(low), jnp.asarray(high), 100.0)
    spread = stats.beta.std(np.asarray(found.a), np.asarray(found.b))
    np.testing.assert_allclose((found.a[0], found.b[0]), 1.0, rtol=1e-6)
    assert spread[1] == pytest.approx(0.2 / np.sqrt(12), rel=0.2)
    np.testing.assert_allclose((found.a[2:], found.b[2:]), ((51, 1), (51, 101)), rtol=1e-5)
