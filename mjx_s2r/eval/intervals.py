"""Confidence intervals of success rates, of their difference and their ratio, and of means.

Wilson: E. B. Wilson, Probable inference, the law of succession, and statistical inference, Journal
of the American Statistical Association 22 (1927) 209-212. Newcombe: R. G. Newcombe, Interval
estimation for the difference between independent proportions, Statistics in Medicine 17 (1998)
873-890, method 10 (Wilson's interval of each side, no continuity correction).

Both count episodes that are independent of each other. Episodes on one robot are not: robots differ
more than chance, and `design_effect` says by how much; dividing counts by it makes Wilson's
interval right again (Rao and Scott, A simple method for the analysis of clustered binary data,
Biometrics 48 (1992) 577-585). A few robots say little of how much robots differ: with C of them the
interval reaches as far as Student's t with C - 1 degrees of freedom (Korn and Graubard, Confidence
intervals for proportions with small expected number of positive counts estimated from survey data,
Survey Methodology 24 (1998) 193-201). Episodes of one trained policy tell how good that policy is,
not how much policies of different training seeds differ.
"""

import math
from collections.abc import Sequence
from statistics import NormalDist

import numpy as np
from scipy.stats import t as student_t

Interval = tuple[float, float]


def wilson(successes: float, n: float, confidence: float = 0.95, *, clusters: int = 0) -> Interval:
    """Returns (low, high) of the probability behind ``successes`` in ``n`` trials.

    The ends are the p that solve (k/n - p)^2 = z^2 p (1 - p) / n. Counts that were divided by a
    design effect need not be whole.

    Args:
        successes: of the trials.
        n: trials.
        confidence: probability that the interval holds the one behind them.
        clusters: of several trials each, whose scatter is in the counts: z is then Student's. Below
            2 the trials are independent, or all of one cluster, which the interval is then about.

    Raises:
        ValueError: no trials, successes outside 0..n, or a confidence outside (0, 1).
    """
    if n < 1 or not 0 <= successes <= n:
        raise ValueError(
            f"{successes} successes in {n} trials; need n >= 1 and 0 <= successes <= n"
        )
    if not 0 < confidence < 1:
        raise ValueError(f"confidence {confidence} must lie between 0 and 1, e.g. 0.95")
    tail = (1 + confidence) / 2
    z = NormalDist().inv_cdf(tail) if clusters < 2 else float(student_t.ppf(tail, clusters - 1))
    rate = successes / n
    middle = rate + z * z / (2 * n)
    half = z * math.sqrt(rate * (1 - rate) / n + z * z / (4 * n * n))
    low = 0.0 if successes == 0 else (middle - half) / (1 + z * z / n)
    high = 1.0 if successes == n else (middle + half) / (1 + z * z / n)
    return low, high


def newcombe(
    first: tuple[float, float],
    second: tuple[float, float],
    confidence: float = 0.95,
    *,
    clusters: tuple[int, int] = (0, 0),
) -> Interval:
    """Returns (low, high) of the difference of two probabilities, first minus second.

    Counts that were divided by a design effect need not be whole.

    Args:
        first: (successes, trials).
        second: (successes, trials), independent of the first.
        confidence: probability that the interval holds the difference.
        clusters: of each, as in `wilson`.

    Raises:
        ValueError: as in `wilson`.
    """
    low1, high1 = wilson(*first, confidence, clusters=clusters[0])
    low2, high2 = wilson(*second, confidence, clusters=clusters[1])
    rate1, rate2 = first[0] / first[1], second[0] / second[1]
    down = math.hypot(rate1 - low1, high2 - rate2)
    up = math.hypot(high1 - rate1, rate2 - low2)
    return rate1 - rate2 - down, rate1 - rate2 + up


def design_effect(successes: Sequence[int], trials: Sequence[int]) -> float:
    """Returns how many times wider than by chance the rates of clusters scatter, at least 1.

    With p the rate over all C clusters of n_c trials, x_c successes and n trials in all, it is
    C / (C - 1) sum (x_c - p n_c)^2 / n over p (1 - p) (Rao and Scott 1992, equation 1).

    Args:
        successes: (C,) of each cluster.
        trials: (C,) of each cluster, at least 1.
    """
    good, count = np.asarray(successes, float), np.asarray(trials, float)
    rate, clusters, total = good.sum() / count.sum(), len(count), count.sum()
    if clusters < 2 or rate in (0.0, 1.0):
        return 1.0
    scatter = clusters / (clusters - 1) * ((good - rate * count) ** 2).sum() / total
    return max(1.0, float(scatter / (rate * (1 - rate))))


def clusters_of(groups: int, trials: int) -> int:
    """Returns how many clusters so many ``groups`` of ``trials`` are; 0 where each has just one."""
    return groups if trials > groups else 0


def rate_ratio(
    first: tuple[float, Interval], second: tuple[float, Interval]
) -> tuple[float, Interval]:
    """Returns a rate over another, independent one, and the interval of that ratio.

    Donner and Zou, Closed-form confidence intervals for functions of the normal mean and standard
    deviation, Statistical Methods in Medical Research 21 (2012) 347-359, equation 9: the ends of
    both intervals are carried over to the ratio.

    Args:
        first: rate and its interval, above the line.
        second: rate, above 0, and its interval.
    """
    (a, (a_low, a_high)), (b, (b_low, b_high)) = first, second
    down = max((a * b) ** 2 - a_low * b_high * (2 * a - a_low) * (2 * b - b_high), 0.0)
    up = max((a * b) ** 2 - a_high * b_low * (2 * a - a_high) * (2 * b - b_low), 0.0)
    below, above = b_high * (2 * b - b_high), b_low * (2 * b - b_low)
    low = (a * b - math.sqrt(down)) / below if below > 0 else 0.0
    high = (a * b + math.sqrt(up)) / above if above > 0 else math.inf
    return a / b, (max(low, 0.0), high)


def mean_interval(
    values: Sequence[float] | np.ndarray, groups: Sequence[str] = (), confidence: float = 0.95
) -> Interval:
    """Returns (low, high) of the mean behind ``values``: Student's t over the means of groups.

    Without groups, or where all are of one, they count as independent of each other. One value has
    no interval: its ends are not finite.

    Args:
        values: (N,) figures.
        groups: (N,) what each is of, e.g. the robot; or none.
        confidence: probability that the interval holds the mean.
    """
    found, names = np.asarray(values, float), np.asarray(groups)
    several = len(set(groups)) > 1
    means = np.array([found[names == name].mean() for name in dict.fromkeys(groups)])
    means = means if several else found
    if len(means) < 2:
        return -math.inf, math.inf
    reach = float(student_t.ppf((1 + confidence) / 2, len(means) - 1))
    half = reach * float(means.std(ddof=1)) / math.sqrt(len(means))
    middle = float(means.mean())
    return middle - half, middle + half
