"""Intervals of counted rates, against scipy and against Newcombe's published examples."""

import pytest
from scipy.stats import binomtest

from mjx_s2r.eval.intervals import newcombe, wilson


@pytest.mark.parametrize("n", [1, 7, 200, 5000])
@pytest.mark.parametrize("share", [0.0, 0.13, 0.5, 0.86, 1.0])
@pytest.mark.parametrize("confidence", [0.68, 0.95, 0.99])
def test_wilson_agrees_with_scipy(n: int, share: float, confidence: float) -> None:
    k = round(share * n)
    theirs = binomtest(k, n).proportion_ci(confidence, method="wilson")
    assert wilson(k, n, confidence) == pytest.approx((theirs.low, theirs.high), abs=1e-12)


def test_wilson_ends_solve_the_score_equation() -> None:
    z = 1.959963984540054  # 97.5 % point of the normal distribution
    for p in wilson(172, 200):
        assert (172 / 200 - p) ** 2 == pytest.approx(z * z * p * (1 - p) / 200, rel=1e-9)


def test_wilson_of_certainty_ends_exactly() -> None:
    assert wilson(0, 50)[0] == 0.0
    assert wilson(50, 50)[1] == 1.0


@pytest.mark.parametrize(("k", "n"), [(0, 0), (-1, 10), (11, 10)])
def test_wilson_refuses_impossible_counts(k: int, n: int) -> None:
    with pytest.raises(ValueError, match=f"{k} successes in {n} trials"):
        wilson(k, n)


def test_wilson_refuses_a_confidence_in_percent() -> None:
    with pytest.raises(ValueError, match="confidence 95"):
        wilson(1, 2, 95)


# Newcombe 1998, table II, method 10.
@pytest.mark.parametrize(
    ("first", "second", "low", "high"),
    [
        ((56, 70), (48, 80), 0.0524, 0.3339),
        ((9, 10), (3, 10), 0.1705, 0.8090),
        ((6, 7), (2, 7), 0.0582, 0.8062),
        ((5, 56), (0, 29), -0.0381, 0.1926),
        ((10, 10), (0, 10), 0.6075, 1.0000),
    ],
)
def test_newcombe_published_examples(
    first: tuple[int, int], second: tuple[int, int], low: float, high: float
) -> None:
    assert newcombe(first, second) == pytest.approx((low, high), abs=6e-5)


def test_newcombe_changes_sign_with_its_arguments() -> None:
    low, high = newcombe((30, 40), (20, 50))
    assert newcombe((20, 50), (30, 40)) == pytest.approx((-high, -low))
