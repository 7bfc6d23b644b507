"""What the verdict says, case by case."""

from dataclasses import replace

import pytest

from mjx_s2r.eval.intervals import design_effect, wilson
from mjx_s2r.eval.performance import performance_of
from mjx_s2r.report.findings import (
    NOMINAL,
    PLAIN,
    RANDOMIZED,
    STAND_IN,
    DemoReport,
    Outcome,
    Verdict,
    percent,
    verdict,
)


def judged(ours: int, bare: int | None, target: float | None = None, n: int = 200) -> Verdict:
    """Returns the verdict on two counts of successes in ``n`` episodes."""
    rows = [Outcome("student", RANDOMIZED, STAND_IN, ours, n)]
    rows += [] if bare is None else [Outcome("student", PLAIN, STAND_IN, bare, n)]
    return verdict(DemoReport("Reach", outcomes=tuple(rows), target=target))


def test_a_clear_gain_and_a_target_that_was_reached() -> None:
    # Wilson: 172/200 -> 0.805..0.901, 24/200 -> 0.082..0.172
    result = judged(172, 24, target=0.8)
    assert result.mood == "good"
    assert result.headline == "Target reached. Randomization helped"
    assert result.sentences[0] == (
        "The randomized student reached the goal in 86 % of 200 episodes on the stand-in "
        "(95 % interval 81 to 90 %); without randomization 12 % of 200 (8 to 17 %)."
    )
    assert result.sentences[1] == "This reaches the target of 80 %."
    assert "gained 74 points" in result.sentences[2]


def test_a_difference_that_may_be_chance_is_not_called_help() -> None:
    result = judged(106, 100)
    assert result.mood == "open"
    assert result.headline == "No clear difference"
    assert "+3 points (-7 to +13) may be chance" in result.sentences[1]


def test_episodes_on_robots_that_differ_count_for_less() -> None:
    # Ten robots of ten episodes, five always and five never right: ten coins, not a hundred.
    good, played = [10] * 5 + [0] * 5, [10] * 10
    effect = design_effect(good, played)
    row = Outcome("student", RANDOMIZED, STAND_IN, sum(good), sum(played), effect, 10)
    names = [f"robot {i // 10}" for i in range(100)]
    success = [i // 10 < 5 for i in range(100)]
    same = performance_of(success, [0.0] * 100, [1] * 100, names).success.interval
    assert row.interval(0.95) == pytest.approx(same)
    assert row.interval(0.95)[0] < wilson(5, 10)[0] + 0.02
    report = DemoReport("Reach", outcomes=(row, replace(row, pipeline=PLAIN, successes=30)))
    assert verdict(report).mood == "open"  # 20 points of a hundred coins would be a gain
    assert judged(50, 30, n=100).mood == "good"


def test_a_loss_is_said() -> None:
    result = judged(40, 160)
    assert (result.mood, result.headline) == ("bad", "Randomization made it worse")
    assert "lost 60 points" in result.sentences[1]


@pytest.mark.parametrize(
    ("ours", "text"),
    [
        (190, "reaches the target of 80 %."),
        (161, "reaches the target of 80 %, though the interval goes below it."),
        (155, "misses the target of 80 %, though the interval includes it."),
        (100, "misses the target of 80 %."),
    ],
)
def test_the_target(ours: int, text: str) -> None:
    result = judged(ours, 20, target=0.8)
    assert result.sentences[1].endswith(text)
    assert result.mood == ("good" if ours >= 160 else "bad")
    assert result.headline.startswith("Target reached." if ours >= 160 else "Target missed.")


def test_without_a_second_policy_nothing_is_compared() -> None:
    result = judged(172, None)
    assert (result.mood, result.headline) == ("open", "Nothing to compare with")
    assert "did not run" in result.sentences[0]


def test_without_episodes_there_is_no_verdict() -> None:
    empty = DemoReport("Reach", outcomes=(Outcome("student", RANDOMIZED, STAND_IN, 0, 0),))
    assert verdict(empty).headline == verdict(DemoReport("Reach")).headline == "No verdict"


def test_a_weak_plain_policy_is_a_weak_comparison() -> None:
    rows = (
        Outcome("student", RANDOMIZED, STAND_IN, 172, 200),
        Outcome("student", PLAIN, STAND_IN, 24, 200),
        Outcome("student", PLAIN, NOMINAL, 60, 200),
    )
    report = DemoReport("Reach", outcomes=rows)
    assert "only 30 % in its own simulation" in verdict(report).sentences[-1]
    strong = (*rows[:2], replace(rows[2], successes=180))
    assert "its own simulation" not in verdict(replace(report, outcomes=strong)).sentences[-1]


@pytest.mark.parametrize(
    ("rate", "text"),
    [
        (0, "0 %"),
        (0.0004, "0.1 %"),
        (0.12, "12 %"),
        (0.995, "99.5 %"),
        (0.9999, "99.9 %"),
        (1, "100 %"),
    ],
)
def test_only_certainty_is_written_0_or_100_percent(rate: float, text: str) -> None:
    assert percent(rate) == text


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"successes": 3}, "3 of 2"),
        ({"pipeline": "ours"}, "'ours'"),
        ({"where": "robot"}, "'robot'"),
    ],
)
def test_outcomes_are_checked(change: dict[str, str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(Outcome("student", PLAIN, STAND_IN, 1, 2), **change)
