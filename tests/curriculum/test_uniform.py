"""Fixed ranges: draws follow each row's law between its bounds, and nothing ever moves."""

import jax
import numpy as np
import pytest

from mjx_s2r.curriculum.uniform import uniform
from tests.curriculum.fakes import SPACE, episodes

OPEN = SPACE.with_ranges({"friction": (0.1, 10.0)})


def test_draws_follow_the_law_of_each_row(key: jax.Array) -> None:
    """6,000 draws; the median of friction in [0.1, 10] is its geometric mean, 1."""
    curriculum = uniform(OPEN)
    draw = curriculum.sample(curriculum.init(), 6000, key)
    xi = np.asarray(draw.xi)
    assert xi[:, 0].min() >= np.float32(0.9) and xi[:, 0].max() <= np.float32(1.1)
    assert xi[:, 0].mean() == pytest.approx(1.0, abs=0.01)
    assert xi[:, 0].std() == pytest.approx(0.2 / np.sqrt(12), rel=0.05)
    np.testing.assert_array_equal(xi[:, 1], 1.0)
    assert np.log(xi[:, 2]).mean() == pytest.approx(0.0, abs=0.1)
    assert np.log(xi[:, 2]).std() == pytest.approx(np.log(100) / np.sqrt(12), rel=0.05)
    assert (np.asarray(draw.kind) == -1).all() and not draw.version.any()


def test_a_pinned_table_gives_nominal_worlds_only(key: jax.Array) -> None:
    curriculum = uniform(OPEN.pinned())
    draw = curriculum.sample(curriculum.init(), 64, key)
    np.testing.assert_allclose(draw.xi, np.tile(SPACE.nominal, (64, 1)), rtol=1e-6)
    assert (np.asarray(draw.kind) == -1).all()


def test_bounds_stay_and_success_is_followed() -> None:
    """Nine tenths old plus one tenth new: 0.1 x 0.75 = 0.075."""
    curriculum = uniform(OPEN)
    state = curriculum.update(curriculum.init(), episodes([-1] * 4, [1, 1, 1, 0]))
    report = curriculum.report(state)
    np.testing.assert_array_equal((report.low, report.high), OPEN.initial)
    assert float(report.plain_score) == pytest.approx(0.075)
    assert float(report.entropy) == pytest.approx(np.log(0.1) / 2, abs=1e-5)


def test_worlds_that_test_a_bound_or_did_not_end_do_not_count() -> None:
    curriculum = uniform(OPEN)
    state = curriculum.update(curriculum.init(), episodes([-1, -1], [1, 1]))
    before = float(state.stats.plain_score)
    running = episodes([-1, -1], [0, 0])
    running = running.replace(ended=running.ended & False)
    for what in (running, episodes([0, 5], [0, 0])):
        assert float(curriculum.update(state, what).stats.plain_score) == before


def test_a_score_that_is_not_finite_does_not_spoil_the_mean() -> None:
    curriculum = uniform(OPEN)
    state = curriculum.update(curriculum.init(), episodes([-1, -1, 0], [1, np.nan, np.nan]))
    assert float(state.stats.plain_score) == pytest.approx(0.1)
