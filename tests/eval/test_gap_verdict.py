"""Figures of episodes and the verdict on a gap: closed forms, coverage, and careful words."""

import math

import numpy as np
import pytest

from mjx_s2r.eval.gap_verdict import UNKNOWN, judge_gap
from mjx_s2r.eval.intervals import design_effect, mean_interval, newcombe, rate_ratio, wilson
from mjx_s2r.eval.performance import Performance, performance_of


def counted(good: int, count: int, groups: int = 0) -> Performance:
    """Returns the figures of ``good`` successes, dealt out over the groups in turn."""
    names = [f"{index % (groups or count)}" for index in range(count)]
    hits = [index < good for index in range(count)]
    return performance_of(hits, np.zeros(count), np.ones(count), names)


def test_clusters_that_scatter_by_chance_count_in_full() -> None:
    # rate 1/2, clusters 10 of 10 and 0 of 10: 2 / 1 * (25 + 25) / 20 / (1 / 4) = 20
    assert design_effect([10, 0], [10, 10]) == pytest.approx(20.0)
    assert design_effect([5, 5], [10, 10]) == 1.0
    assert design_effect([10, 10], [10, 10]) == 1.0
    rng = np.random.default_rng(0)
    found = [design_effect(rng.binomial(20, 0.7, 40), [20] * 40) for _ in range(200)]
    assert np.mean(found) == pytest.approx(1.1, abs=0.1)  # max(1, .) of a figure about 1


def test_robots_that_differ_widen_the_interval() -> None:
    """Rates of robots drawn from a Beta: Wilson's interval alone covers too little."""
    rng = np.random.default_rng(1)
    plain, clustered = 0, 0
    for _ in range(400):
        rates = rng.beta(4, 2, 12)
        names = [f"{robot}" for robot in range(12) for _ in range(20)]
        good = rng.random(240) < np.repeat(rates, 20)
        low, high = performance_of(good, np.zeros(240), np.zeros(240), names).success.interval
        clustered += low <= 4 / 6 <= high
        low, high = wilson(int(good.sum()), 240)
        plain += low <= 4 / 6 <= high
    assert plain / 400 < 0.75 and 0.90 <= clustered / 400 <= 0.99


@pytest.mark.parametrize("robots", [3, 5, 10])
def test_few_robots_are_no_less_sure_than_they_say(robots: int) -> None:
    """Rates of robots are from a Beta whose mean is 0.8; one episode each needs no wider ones."""
    rng = np.random.default_rng(3)
    names = [f"{robot}" for robot in range(robots) for _ in range(20)]
    count, inside = len(names), 0
    for _ in range(500):
        good = rng.random(count) < np.repeat(rng.beta(2.4, 0.6, robots), 20)
        found = performance_of(good, np.zeros(count), np.zeros(count), names)
        inside += found.success.low <= 0.8 <= found.success.high
    assert inside / 500 > 0.915
    apart = performance_of(good, good, good, [str(i) for i in range(count)])
    assert apart.clusters == 0 and found.clusters == robots
    assert apart.success.interval == pytest.approx(
        wilson(apart.effective * good.mean(), apart.effective)
    )


def test_wilson_of_clusters_solves_the_score_equation_with_students_quantile() -> None:
    """t(0.975, 4) = 2.776445; so it is where all have succeeded, whose scatter says nothing."""
    for good, count in ((43, 50), (25.5, 30.2), (60, 60)):
        for p in wilson(good, count, clusters=5)[: 1 if good == count else 2]:
            reach = 2.776445**2 * p * (1 - p) / count
            assert (good / count - p) ** 2 == pytest.approx(reach, rel=1e-5)
    assert wilson(5, 9, clusters=1) == wilson(5, 9)
    low, high = newcombe((8, 10), (3, 10), clusters=(5, 7))
    (low1, high1), (low2, high2) = wilson(8, 10, clusters=5), wilson(3, 10, clusters=7)
    assert low == pytest.approx(0.5 - math.hypot(0.8 - low1, high2 - 0.3))
    assert high == pytest.approx(0.5 + math.hypot(high1 - 0.8, 0.3 - low2))


def test_the_interval_of_a_mean_is_students() -> None:
    # means of groups 1, 2, 3: t(0.975, 2) = 4.30265, deviation 1, half 4.30265 / sqrt(3)
    low, high = mean_interval([0.5, 1.5, 2, 2, 3, 3], ["a", "a", "b", "b", "c", "c"])
    assert (high + low) / 2 == pytest.approx(2.0)
    assert (high - low) / 2 == pytest.approx(4.30265 / math.sqrt(3), rel=1e-5)
    one = mean_interval([1.0, 3.0], ["a", "a"])  # t(0.975, 1) = 12.7062, deviation sqrt(2)
    assert one[1] - 2.0 == pytest.approx(12.7062, rel=1e-5)
    assert mean_interval([1.0], ["a"]) == (-math.inf, math.inf)


def test_the_interval_of_a_ratio_covers() -> None:
    rng = np.random.default_rng(2)
    inside = 0
    for _ in range(2000):
        above, below = rng.binomial(60, 0.6), rng.binomial(200, 0.9)
        _, (low, high) = rate_ratio(
            (above / 60, wilson(above, 60)), (below / 200, wilson(below, 200))
        )
        inside += low <= 0.6 / 0.9 <= high
    assert 0.93 <= inside / 2000 <= 0.975


def test_the_ratio_to_certainty_is_the_rate() -> None:
    exact = 0.5, (0.4, 0.6)
    ratio, ends = rate_ratio(exact, (1.0, (1.0, 1.0)))
    assert ratio == 0.5 and ends == pytest.approx((0.4, 0.6))
    assert rate_ratio((0.0, (0.0, 0.1)), (0.9, (0.8, 0.95)))[1][0] == 0.0


@pytest.mark.parametrize(
    ("robot", "word"), [(940, "good"), (760, "moderate"), (400, "poor"), (0, "poor")]
)
def test_the_word_holds_over_the_whole_interval(robot: int, word: str) -> None:
    verdict = judge_gap(counted(950, 1000), counted(robot, 1000))
    assert verdict.word == word and verdict.more is None
    assert verdict.gap.value == pytest.approx(1 - robot / 950)
    assert verdict.gap.low <= verdict.gap.value <= verdict.gap.high
    assert verdict.sentence.startswith(word)


def test_too_few_episodes_are_no_verdict_and_say_how_many_would_be() -> None:
    simulated, robot = counted(95, 100), counted(16, 20)
    verdict = judge_gap(simulated, robot)
    assert verdict.word == UNKNOWN and verdict.more is not None
    times = (20 + verdict.more) / 20
    later = judge_gap(
        counted(round(95 * times), round(100 * times)),
        counted(round(16 * times), round(20 * times)),
    )
    assert later.word == "moderate"
    assert f"{verdict.more} more episodes" in verdict.sentence


def test_a_gap_on_a_boundary_is_not_promised() -> None:
    verdict = judge_gap(counted(100, 100), counted(90, 100))
    assert verdict.word == UNKNOWN and verdict.more is None and "boundary" in verdict.sentence


def test_a_policy_that_fails_in_simulation_has_no_gap() -> None:
    verdict = judge_gap(counted(0, 50), counted(0, 50))
    assert verdict.word == UNKNOWN and math.isnan(verdict.gap.value)
    assert verdict.to_json()["gap"] == [None, None, None] and "never succeeds" in verdict.sentence
