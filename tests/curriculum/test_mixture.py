"""Schedules side by side: own rows, own kinds, own versions, and no score in the wrong hands."""

from dataclasses import replace

import jax
import numpy as np
import pytest

from mjx_s2r.curriculum.adr import ADRConfig, adr
from mjx_s2r.curriculum.interface import Curriculum, Episodes
from mjx_s2r.curriculum.mixture import STRIDE, mixture, owned_episodes
from mjx_s2r.curriculum.scalar import ScalarConfig, scalar
from mjx_s2r.params import ParamError
from tests.curriculum.fakes import SPACE, compiled, episodes

ADR = ADRConfig(window=4, step=0.1)
OTHER = ADRConfig(window=4, step=0.25, boundary_share=0.5)
SCALAR = ScalarConfig(step=0.5, window=4)
FRICTION_HIGH = 5


@pytest.fixture(scope="module")
def schedule() -> Curriculum:
    """ADR over mass beside another ADR over friction."""
    parts = (
        (("mass",), lambda space, rows: adr(space, ADR, rows)),
        (("friction",), lambda space, rows: adr(space, OTHER, rows)),
    )
    return compiled(mixture(SPACE, parts))


def test_each_world_is_spoken_for_by_one_part(schedule: Curriculum, key: jax.Array) -> None:
    """Half of the worlds each; 40 % and 50 % of those test a bound of the part's own row."""
    kind = np.asarray(schedule.sample(schedule.init(), 20000, key).kind)
    assert set(np.unique(kind)) == {-2, -1, 0, 1, STRIDE + 4, STRIDE + 5}
    assert np.mean((kind == -1) | ((kind >= 0) & (kind < STRIDE))) == pytest.approx(0.5, abs=0.02)
    assert np.mean((kind >= 0) & (kind < STRIDE)) == pytest.approx(0.2, abs=0.02)
    assert np.mean(kind >= STRIDE) == pytest.approx(0.25, abs=0.02)


def test_only_the_speaker_tests(schedule: Curriculum, key: jax.Array) -> None:
    """Widened by one step of friction: in a world that tests mass, friction is drawn."""
    state = schedule.update(schedule.init(), episodes([STRIDE + FRICTION_HIGH] * 4, [1] * 4))
    high = float(schedule.report(state).high[2])
    assert high == pytest.approx(10**0.5, rel=1e-5)
    draw = schedule.sample(state, 4000, key)
    kind, friction = np.asarray(draw.kind), np.asarray(draw.xi[:, 2])
    testing = friction[kind == STRIDE + FRICTION_HIGH]
    np.testing.assert_allclose(testing, high, rtol=1e-6)
    others = friction[(kind >= 0) & (kind < STRIDE)]
    assert len(others) > 500 and not np.isclose(others, high, rtol=1e-6).any()
    np.testing.assert_array_equal(
        np.asarray(draw.version), (kind == STRIDE + FRICTION_HIGH).astype(int)
    )


def test_a_part_hears_its_own_worlds_only(schedule: Curriculum) -> None:
    what = episodes([-1, -2, 1, STRIDE + 5], [1, 1, 1, 1])
    for k, (ended, kind) in enumerate(
        (([1, 0, 1, 0], [-1, None, 1, None]), ([0, 1, 0, 1], [None, -1, None, 5]))
    ):
        heard = owned_episodes(what, k)
        np.testing.assert_array_equal(heard.ended[0], ended)
        assert all(r is None or int(heard.kind[0, i]) == r for i, r in enumerate(kind))
    state = schedule.update(schedule.init(), what)
    np.testing.assert_array_equal(state[0].count, [0, 1, 0, 0, 0, 0])
    np.testing.assert_array_equal(state[1].count, [0, 0, 0, 0, 0, 1])


def test_parts_of_other_kinds_keep_their_stamps_apart(key: jax.Array) -> None:
    """The scalar part has moved twice, ADR never: plain worlds carry their speaker's count."""
    parts = (
        (("mass",), lambda space, rows: adr(space, ADR, rows)),
        (("friction",), lambda space, rows: scalar(space, SCALAR, rows)),
    )
    both = compiled(mixture(SPACE, parts))
    state = both.init()
    for version in (0, 1):
        state = both.update(state, episodes([-2] * 4, [1] * 4, [version] * 4))
    assert state[1].moves.count == 2 and state[0].moves.count.sum() == 0
    draw = both.sample(state, 1000, key)
    np.testing.assert_array_equal(draw.version, np.where(draw.kind == -2, 2, 0))
    report = both.report(state)
    np.testing.assert_allclose((report.low[2], report.high[2]), (0.1, 10), rtol=1e-5)
    np.testing.assert_allclose((report.low[0], report.high[0]), (0.9, 1.1), rtol=1e-6)


def test_rows_that_nobody_schedules_keep_their_ranges(key: jax.Array) -> None:
    alone = mixture(SPACE, ((("friction",), lambda space, rows: adr(space, ADR, rows)),))
    mass = np.asarray(alone.sample(alone.init(), 2000, key).xi[:, 0])
    assert 0.9 <= mass.min() < 0.92 and 1.08 < mass.max() <= 1.1 + 1e-6


def test_rows_claimed_twice_are_named() -> None:
    def make(space: object, rows: np.ndarray) -> Curriculum:
        """Builds ADR."""
        return adr(SPACE, ADR, rows)

    with pytest.raises(ParamError, match=r"rows \['mass'\] are claimed by two parts"):
        mixture(SPACE, ((("mass",), make), (("model.body_mass",), make)))
    with pytest.raises(ParamError, match="no part"):
        mixture(SPACE, ())


def test_a_bad_score_is_counted_once(schedule: Curriculum) -> None:
    what: Episodes = episodes([-1, -2, 1], [np.nan, 1, 2])
    state = schedule.update(schedule.init(), replace(what, score=what.score))
    assert int(schedule.report(state).dropped) == 2
