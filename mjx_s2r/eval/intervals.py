"""Confidence intervals of success rates: Wilson's, and Newcombe's for a difference.

Wilson: E. B. Wilson, Probable inference, the law of succession, and statistical inference, Journal
of the American Statistical Association 22 (1927) 209-212. Newcombe: R. G. Newcombe, Interval
estimation for the difference between independent proportions, Statistics in Medicine 17 (1998)
873-890, method 10 (Wilson's interval of each side, no continuity correction).

Both count episodes that are independent of each other. Episodes of one trained policy tell how good
that policy is, not how much policies of different training seeds differ.
"""

import math
from statistics import NormalDist

Interval = tuple[float, float]


def wilson(successes: int, n: int, confidence: float = 0.95) -> Interval:
    """Returns (low, high) of the probability behind ``successes`` in ``n`` trials.

    The ends are the p that solve (k/n - p)^2 = z^2 p (1 - p) / n.

    Raises:
        ValueError: no trials, successes outside 0..n, or a confidence outside (0, 1).
    """
    if n < 1 or not 0 <= successes <= n:
        raise ValueError(
            f"{successes} successes in {n} trials; need n >= 1 and 0 <= successes <= n"
        )
    if not 0 < confidence < 1:
        raise ValueError(f"confidence {confidence} must lie between 0 and 1, e.g. 0.95")
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    rate = successes / n
    middle = rate + z * z / (2 * n)
    half = z * math.sqrt(rate * (1 - rate) / n + z * z / (4 * n * n))
    low = 0.0 if successes == 0 else (middle - half) / (1 + z * z / n)
    high = 1.0 if successes == n else (middle + half) / (1 + z * z / n)
    return low, high


def newcombe(first: tuple[int, int], second: tuple[int, int], confidence: float = 0.95) -> Interval:
    """Returns (low, high) of the difference of two probabilities, first minus second.

    Args:
        first: (successes, trials).
        second: (successes, trials), independent of the first.
        confidence: probability that the interval holds the difference.

    Raises:
        ValueError: as in `wilson`.
    """
    (low1, high1), (low2, high2) = wilson(*first, confidence), wilson(*second, confidence)
    rate1, rate2 = first[0] / first[1], second[0] / second[1]
    down = math.hypot(rate1 - low1, high2 - rate2)
    up = math.hypot(high1 - rate1, rate2 - low2)
    return rate1 - rate2 - down, rate1 - rate2 + up
