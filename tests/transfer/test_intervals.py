"""Intervals hold the truth as often as they say, whatever the noise, and ridges stay ridges."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import truncnorm

from mjx_s2r.transfer.inference import posterior_of
from mjx_s2r.transfer.information import Information, fitted_noise, information_of
from mjx_s2r.transfer.intervals import uncertainty_of
from mjx_s2r.transfer.noise import white_noise
from mjx_s2r.transfer.truncated import truncated_normal
from mjx_s2r.transfer.unit_coordinates import unit_of, values_at
from tests.transfer.linear import LinearLog, linear_log, linear_space

INDEPENDENT = 0.7 * np.eye(3)
TOGETHER = 0.7 * np.array([[1.0, 1.0, 0.0], [0.0, 0.0, 0.0], [0.0, 0.0, 1.0]])  # z0 + z1, and z2
LOGS = 30


def covered(log: LinearLog, seed: int) -> np.ndarray:
    """Returns (D,) whether the interval of each row holds its truth."""
    posterior = posterior_of(log.fit, count=50, seed=seed)
    low, high = unit_of(posterior.space, posterior.interval.T)
    return np.asarray((low <= log.truth) & (log.truth <= high))


def at_best(found: Information, log: LinearLog) -> tuple[Information, np.ndarray]:
    """Returns what windows say at the best values, and the step (D,) there."""
    step = found.step(-log.fit.z, 1 - log.fit.z)
    return found.moved(step), step


@pytest.mark.parametrize(
    "log",
    [
        {"gaps": 0.3},
        {"noise": 3.0, "known_noise": 1.0},
        {"lasting_s": 0.1},
        {"shared": 0.1, "windows": 60, "readings": 10},
    ],
    ids=["gaps", "noise unknown", "lasting", "windows share errors"],
)
def test_intervals_hold_the_truth(log: dict[str, float]) -> None:
    """90 intervals, 3 rows of 30 logs: 95 % of them, less four deviations of 2.3 %."""
    hits = [
        covered(linear_log(INDEPENDENT, np.random.default_rng(s), **log), s) for s in range(LOGS)
    ]
    assert np.mean(hits) >= 0.86


def test_a_long_white_log_gives_the_deviation_of_least_squares(rng: np.random.Generator) -> None:
    """Information adds up over readings: J'J / noise^2, start states aside, which take a little."""
    log = linear_log(INDEPENDENT, rng, windows=400, readings=20)
    found = information_of(log.fit, white_noise(np.ones(2)))
    expected = np.sqrt(1 / (0.49 * 400 * (20 * 2 - 2)))  # of 40 readings, 2 go into the start
    deviation = uncertainty_of(*at_best(found, log)).deviation()
    assert (deviation > 0.95 * expected).all() and (deviation < 1.5 * expected).all()


def test_errors_that_windows_share_count(rng: np.random.Generator) -> None:
    log = linear_log(INDEPENDENT, rng, windows=400, readings=20, shared=0.2)
    found = information_of(log.fit, white_noise(np.ones(2)))
    law = uncertainty_of(*at_best(found, log))
    # 200 pairs whose rows are off by 0.2 each: their mean is off by 0.2 / sqrt(200), beside noise
    expected = np.hypot(0.2 / 200**0.5, 0.0115)
    assert (law.deviation() > 0.8 * expected).all() and (law.deviation() < 1.8 * expected).all()
    assert all(what.startswith("blocks of") for what in law.widest)


def test_the_noise_is_found_beside_what_lasts(rng: np.random.Generator) -> None:
    log = linear_log(INDEPENDENT, rng, windows=100, readings=100, lasting_s=0.05)
    fit = log.fit
    fit = replace(fit, residual=fit.residual + 0.5 * rng.normal(size=fit.residual.shape))
    noise = fitted_noise(fit)
    # start states take a part of what lasts, and with it some of its size and time
    assert noise.white == pytest.approx(0.5, rel=0.2)
    assert noise.drift == pytest.approx(1.0, rel=0.2)
    assert noise.lasting_s == pytest.approx(0.05, rel=0.4)


def test_a_reading_is_as_uncertain_as_its_rounding(rng: np.random.Generator) -> None:
    log = linear_log(INDEPENDENT, rng, noise=1e-6)
    assert fitted_noise(log.fit, (0.12, 0.0)).std[0] == pytest.approx(0.12 / 12**0.5, rel=0.02)


def test_samples_of_rows_seen_together_lie_along_their_ridge(rng: np.random.Generator) -> None:
    log = linear_log(TOGETHER, rng, truth=np.array([0.5, 0.5, 0.4]))
    posterior = posterior_of(log.fit, seed=1)
    z = unit_of(posterior.space, posterior.samples)
    assert np.std(z[:, 0] + z[:, 1]) < 0.1 and np.std(z[:, 0] - z[:, 1]) > 0.45
    assert posterior.correlation[0, 1] < -0.95 and abs(posterior.correlation[0, 2]) < 0.3
    assert posterior.groups == (("row0", "row1"),) and not posterior.unseen
    low, high = unit_of(posterior.space, posterior.interval.T)
    assert (high - low)[:2].min() > 0.85 and (high - low)[2] < 0.2
    assert "only the product of row0 and row1 is seen" in posterior.notes


def test_a_row_that_nothing_shows_keeps_its_limits(rng: np.random.Generator) -> None:
    log = linear_log(np.diag([0.7, 0.0]), rng, truth=np.array([0.4, 0.5]))
    posterior = posterior_of(log.fit)
    assert posterior.unseen == ("row1",) and posterior.range_of("row1") == (0.5, 2.0)
    assert np.std(unit_of(posterior.space, posterior.samples)[:, 1]) == pytest.approx(
        12**-0.5, rel=0.1
    )
    assert posterior.best[1] == pytest.approx(1.0), "it stays where the fit began"


def test_a_fit_at_a_limit_is_named_and_its_interval_holds_the_limit(
    rng: np.random.Generator,
) -> None:
    log = linear_log(INDEPENDENT, rng, truth=np.array([-0.2, 0.5, 0.0]))
    posterior = posterior_of(log.fit)
    assert "row0" in posterior.at_bound and "row1" not in posterior.at_bound
    assert posterior.range_of("row0")[0] == posterior.range_of("row2")[0] == 0.5
    assert (posterior.samples >= 0.5).all()


def test_held_out_windows_that_fit_worse_widen_the_intervals(rng: np.random.Generator) -> None:
    log = linear_log(INDEPENDENT, rng)
    other = linear_log(INDEPENDENT, rng, noise=3.0, truth=log.truth)
    near, far = posterior_of(log.fit), posterior_of(log.fit, held_out=other.fit)
    # residuals three times as large, of which the start states take as many in both
    ratio = np.ptp(np.log(far.interval), 1) / np.ptp(np.log(near.interval), 1)
    assert ratio == pytest.approx(3.0, rel=0.1)
    assert any("held-out windows" in note for note in far.notes)


def test_a_fit_that_is_far_from_its_best_says_so(rng: np.random.Generator) -> None:
    """The best values are still found, and the way there counts: a third of 0.4 is a deviation."""
    log = linear_log(INDEPENDENT, rng, windows=400, truth=np.array([0.1, 0.5, 0.9]), begin=0.5)
    posterior = posterior_of(log.fit)
    assert any("had not converged" in note for note in posterior.notes)
    assert unit_of(posterior.space, posterior.best) == pytest.approx(log.truth, abs=0.06)
    low, high = unit_of(posterior.space, posterior.interval.T)
    assert (high - low)[[0, 2]].min() > 0.3 and covered(log, 0).all()


def test_draws_between_limits_follow_the_cut_off_normal() -> None:
    rng = np.random.default_rng(0)
    precision = np.diag([25.0, 400.0, 0.0])
    z = truncated_normal(np.array([0.0, 0.9, 0.5]), precision, 4000, rng)
    shares = np.array([0.025, 0.25, 0.5, 0.75, 0.975])
    found = np.quantile(z, shares, 0).T
    assert found[0] == pytest.approx(truncnorm.ppf(shares, 0, 5, scale=0.2), abs=0.02)
    assert found[1] == pytest.approx(truncnorm.ppf(shares, -18, 2, loc=0.9, scale=0.05), abs=0.006)
    assert found[2] == pytest.approx(shares, abs=0.04)


def test_unit_coordinates_are_straight_in_the_law() -> None:
    space = linear_space(2)
    assert values_at(space, np.array([0.5, 1.0])) == pytest.approx([1.0, 2.0])
    assert unit_of(space, np.array([1.0, 0.5])) == pytest.approx([0.5, 0.0])
