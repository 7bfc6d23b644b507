"""The ring of episodes: complete, in order, and honest about what it lost."""

import jax
import numpy as np
import pytest

from mjx_s2r.curriculum.adr import ADRConfig, adr
from mjx_s2r.curriculum.episode_recorder import RecorderState, episodes_since, with_episode_recorder
from mjx_s2r.params import ParamError
from tests.curriculum.fakes import SPACE, compiled, episodes

INNER = compiled(adr(SPACE, ADRConfig(window=4)))


def played(count: int, size: int) -> RecorderState:
    """Returns a ring after ``count`` updates of three episodes, scored 0, 1, 2, ... hundredths."""
    schedule = compiled(with_episode_recorder(SPACE, INNER, size))
    update, state = schedule.update, schedule.init()
    for i in range(count):
        scores = [(3 * i + k) / 100 for k in range(3)]
        what = episodes([-1, 1, 4], scores, [0, 0, 7])
        state = update(state, what)
    return state


def test_episodes_come_out_in_the_order_they_ended() -> None:
    log = episodes_since(played(3, 16), 0)
    np.testing.assert_allclose(log.score, np.arange(9) / 100)
    np.testing.assert_array_equal(log.kind, [-1, 1, 4] * 3)
    np.testing.assert_array_equal(log.version, [0, 0, 7] * 3)
    np.testing.assert_array_equal(log.xi, np.tile(SPACE.nominal, (9, 1)))
    assert log.lost == 0


def test_only_what_is_new_comes_out() -> None:
    log = episodes_since(played(3, 16), 6)
    np.testing.assert_allclose(log.score, [0.06, 0.07, 0.08])


def test_a_small_ring_keeps_the_last_and_counts_the_lost() -> None:
    log = episodes_since(played(4, 5), 2)
    np.testing.assert_allclose(log.score, [0.07, 0.08, 0.09, 0.10, 0.11])
    assert log.lost == 5
    log = episodes_since(played(1, 2), 0)  # more in one update than it holds
    np.testing.assert_allclose(log.score, [0.01, 0.02])
    assert log.lost == 1


def test_episodes_that_did_not_end_are_not_kept() -> None:
    schedule = compiled(with_episode_recorder(SPACE, INNER, 4))
    what = episodes([-1, 1, 4], [0, 1, 1])
    state = schedule.update(schedule.init(), what.replace(ended=what.ended.at[0, 1].set(False)))
    np.testing.assert_array_equal(episodes_since(state, 0).kind, [-1, 4])
    assert state.inner.count[4] == 1 and state.inner.count[1] == 0


def test_draws_and_report_are_those_of_the_schedule_within(key: jax.Array) -> None:
    schedule = compiled(with_episode_recorder(SPACE, INNER, 4))
    state = schedule.init()
    mine, theirs = schedule.sample(state, 16, key), INNER.sample(INNER.init(), 16, key)
    np.testing.assert_array_equal(mine.xi, theirs.xi)
    np.testing.assert_array_equal(schedule.report(state).high, INNER.report(INNER.init()).high)


def test_an_empty_ring_is_refused() -> None:
    with pytest.raises(ParamError, match="ring of 0 episodes"):
        with_episode_recorder(SPACE, INNER, 0)
