"""Learnability: the right worlds stay, are drawn in proportion to p (1 - p), and give way."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mjx_s2r.curriculum.interface import Curriculum, Episodes
from mjx_s2r.curriculum.learnability import (
    LearnabilityConfig,
    LearnabilityState,
    learnability_replay,
    learnability_score,
)
from mjx_s2r.params import ParamError
from tests.curriculum.fakes import SPACE, compiled, episodes

CONFIG = LearnabilityConfig(size=8, share=0.5, swaps=4, visits=2, forget=0.1)


@pytest.fixture(scope="module")
def schedule() -> Curriculum:
    """The schedule over the small table."""
    return compiled(learnability_replay(SPACE, CONFIG))


def filled(schedule: Curriculum, success: list[float]) -> LearnabilityState:
    """Returns a state whose places hold masses 0.5, 0.6, ... with these running successes."""
    xi = jnp.tile(jnp.asarray(SPACE.nominal), (8, 1)).at[:, 0].set(0.5 + 0.1 * jnp.arange(8))
    visits = jnp.full((8,), 9, jnp.int32)
    return replace(schedule.init(), xi=xi, success=jnp.array(success), visits=visits)


def test_worlds_are_drawn_by_what_they_teach(schedule: Curriculum, key: jax.Array) -> None:
    """By p (1 - p): 0.25 of 0.5, 0.09 of 0.9 and of 0.1, and a thousandth of certain ones."""
    state = filled(schedule, [0.5, 0.9, 0.1, 1, 1, 1, 0, 0])
    draw = schedule.sample(state, 20000, key)
    kind = np.asarray(draw.kind)
    assert np.mean(kind >= 0) == pytest.approx(0.5, abs=0.02)
    weight = np.array((0.25, 0.09, 0.09, *(5 * [1e-3])))
    share = np.bincount(kind[kind >= 0], minlength=8) / (kind >= 0).sum()
    np.testing.assert_allclose(share, weight / weight.sum(), atol=0.02)
    mass = np.asarray(draw.xi[:, 0])
    np.testing.assert_allclose(mass[kind >= 0], 0.5 + 0.1 * kind[kind >= 0], rtol=1e-6)
    fresh = mass[kind < 0]
    assert fresh.min() < 0.52 and fresh.max() > 2.48  # over the limits


def test_an_empty_buffer_draws_fresh_worlds_only(schedule: Curriculum, key: jax.Array) -> None:
    assert (np.asarray(schedule.sample(schedule.init(), 100, key).kind) == -1).all()


def test_fresh_worlds_take_empty_places(schedule: Curriculum) -> None:
    """Four at most per update; Laplace's estimates of 1, 0, 1, 0 are 2/3 and 1/3."""
    state = schedule.update(schedule.init(), episodes([-1] * 6, [1, 0, 1, 0, 1, 1]))
    assert sorted(np.asarray(state.visits)) == [0, 0, 0, 0, 1, 1, 1, 1]
    np.testing.assert_allclose(sorted(state.success), [1 / 3] * 2 + [0.5] * 4 + [2 / 3] * 2)
    assert int(state.taken.sum()) == 4


def test_running_success_moves_by_the_visits_and_never_stops(schedule: Curriculum) -> None:
    """Nine visits, one more: 1 / 11 is less than forget = 0.1; 0.5 + 0.1 x (1 - 0.5) = 0.55.

    Two scores of zero weigh 1 - 0.9^2 = 0.19: 0.5 becomes 0.405.
    """
    state = filled(schedule, [0.5] * 8)
    state = schedule.update(state, episodes([2, 5, 5], [1, 0, 0]))
    assert float(state.success[2]) == pytest.approx(0.55)
    assert float(state.success[5]) == pytest.approx(0.405)
    np.testing.assert_array_equal(state.visits, [9, 9, 10, 9, 9, 11, 9, 9])


def test_what_teaches_least_gives_way_and_its_late_scores_do_not_count(
    schedule: Curriculum,
) -> None:
    state = filled(schedule, [0.5, 0.5, 0.5, 0.99, 0.5, 0.5, 0.5, 0.5])
    state = schedule.update(state, episodes([-1], [1]))
    np.testing.assert_array_equal(state.taken, np.arange(8) == 3)
    assert float(state.success[3]) == pytest.approx(2 / 3) and state.visits[3] == 1
    late = schedule.update(state, episodes([3], [0], [0]))
    assert float(late.success[3]) == float(state.success[3])
    now = schedule.update(state, episodes([3], [0], [1]))
    assert float(now.success[3]) < float(state.success[3])


def test_worlds_on_trial_keep_their_place(schedule: Curriculum) -> None:
    state = replace(filled(schedule, [0.99] * 8), visits=jnp.full((8,), 1))
    state = schedule.update(state, episodes([-1] * 4, [1] * 4))
    assert int(state.taken.sum()) == 0


def test_it_finds_the_border_of_what_is_learned(key: jax.Array) -> None:
    """Masses far below 1.5 succeed, far above fail: worlds past their trial lie around 1.5."""
    schedule = compiled(learnability_replay(SPACE, replace(CONFIG, size=64, swaps=2, visits=4)))

    def one(state: LearnabilityState, key: jax.Array) -> tuple[LearnabilityState, None]:
        """Plays 64 episodes."""
        key_draw, key_score = jax.random.split(key)
        draw = schedule.sample(state, 64, key_draw)
        chance = jax.nn.sigmoid((1.5 - draw.xi[:, 0]) / 0.1)
        score = (jax.random.uniform(key_score, (64,)) < chance).astype(jnp.float32)
        what = Episodes(jnp.ones_like(score, bool), score, draw.kind, draw.version, draw.xi)
        return schedule.update(state, jax.tree.map(lambda x: x[None], what)), None

    state, _ = jax.jit(lambda k: jax.lax.scan(one, schedule.init(), jax.random.split(k, 300)))(key)
    away = np.abs(np.asarray(state.xi[:, 0]) - 1.5)
    kept = (np.asarray(learnability_score(state)) > 0.15) & (np.asarray(state.visits) >= 8)
    assert kept.sum() > 20
    assert np.median(away[kept]) < 0.2  # 0.5 for uniform draws


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"share": 1.0}, "share 1.0"), ({"forget": 0.0}, "forget 0.0"), ({"swaps": 300}, "swaps 300")],
)
def test_settings_that_cannot_work_are_named(settings: dict, message: str) -> None:
    with pytest.raises(ParamError, match=message):
        LearnabilityConfig(**settings)
