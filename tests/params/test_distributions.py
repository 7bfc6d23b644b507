"""The normal and the copula behind the laws, against the standard library and closed forms."""

from statistics import NormalDist

import jax.numpy as jnp
import numpy as np
import pytest

from mjx_s2r.params import distributions

NORMAL = NormalDist()
SHARES = np.array((1e-6, 1e-3, 0.05, 0.0749, 0.0751, 0.3, 0.5, 0.77, 0.9251, 0.999, 1 - 1e-6))


def test_quantiles_are_those_of_the_standard_library() -> None:
    expected = [NORMAL.inv_cdf(u) for u in SHARES]
    np.testing.assert_allclose(distributions.quantile(np, SHARES), expected, atol=2e-6)
    single = jnp.asarray(SHARES, jnp.float32)
    near = [NORMAL.inv_cdf(float(u)) for u in np.asarray(single, float)]
    np.testing.assert_allclose(distributions.quantile(jnp, single), near, atol=2e-4, rtol=1e-3)


def test_shares_are_those_of_the_standard_library() -> None:
    score = np.linspace(-5, 5, 41)
    expected = [NORMAL.cdf(z) for z in score]
    np.testing.assert_allclose(distributions.cumulative(np, score), expected, atol=1.5e-7)
    np.testing.assert_allclose(
        distributions.cumulative(jnp, jnp.asarray(score)), expected, atol=1e-6
    )


def test_the_bell_is_a_normal_cut_at_two_deviations() -> None:
    """Its deviation: sqrt(1 - 4 phi(2) / (2 cdf(2) - 1)) = 0.8796 of the quarter of the range."""
    x = distributions.bell(np, (np.arange(20000) + 0.5) / 20000)
    cut = np.sqrt(1 - 4 * NORMAL.pdf(2) / (2 * NORMAL.cdf(2) - 1))
    assert x.mean() == pytest.approx(0.5, abs=1e-5)
    assert x.std() == pytest.approx(cut / 4, rel=1e-3)
    np.testing.assert_allclose(
        distributions.bell(np, np.array((0.0, 0.5, 1.0))), (0, 0.5, 1), atol=1e-6
    )


def test_tied_columns_stay_uniform_and_correlate_as_told() -> None:
    """40,000 draws: a correlation is known to 0.005, four sigma 0.02."""
    unit = np.random.default_rng(0).uniform(size=(40000, 5))
    lead, rho = np.array((0, 0, 0, 3, 0)), np.array((1.0, 0.8, -0.5, 1.0, 1.0))
    tied = distributions.correlate(np, unit, lead, rho)
    np.testing.assert_array_equal(tied[:, (0, 3)], unit[:, (0, 3)])
    np.testing.assert_allclose(tied[:, 4], unit[:, 0], atol=1e-5)
    score = distributions.quantile(np, np.clip(tied, 1e-6, 1 - 1e-6))
    seen = np.corrcoef(score.T)
    assert seen[0, 1] == pytest.approx(0.8, abs=0.02)
    assert seen[0, 2] == pytest.approx(-0.5, abs=0.02)
    assert seen[1, 2] == pytest.approx(-0.4, abs=0.02)
    assert seen[3, 1] == pytest.approx(0.0, abs=0.02)
    deciles = np.quantile(tied, np.linspace(0.1, 0.9, 9), axis=0)
    np.testing.assert_allclose(deciles, np.tile(np.linspace(0.1, 0.9, 9)[:, None], 5), atol=0.015)
