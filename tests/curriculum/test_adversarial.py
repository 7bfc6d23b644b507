"""The search for the hardest worlds, the rows it blames, and the schedule that mixes some in."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mjx_s2r.curriculum.adversarial import SearchConfig, first_order, hardest
from mjx_s2r.curriculum.coordinates import to_unit
from mjx_s2r.curriculum.hard import UNIFORM, HardConfig, HardState, hard
from mjx_s2r.curriculum.interface import Curriculum, Episodes, Moves
from mjx_s2r.params import Param, ParamError, ParamSpace
from tests.curriculum.fakes import SPACE as SMALL
from tests.curriculum.fakes import episodes

SPACE = ParamSpace(
    (
        Param("idle", "model.body_mass", ("a",), limits=(0.5, 2.0)),
        Param("weight", "model.body_mass", ("b",), limits=(0.5, 1.5)),
        Param("closed", "model.body_mass", ("c",)),
        Param("drag", "model.dof_damping", ("j",), limits=(0.1, 10.0), law="log_uniform"),
    )
)
CONFIG = SearchConfig(worlds=64, generations=8, hardest=4)


def bowl(xi: jax.Array, key: jax.Array) -> jax.Array:
    """Is hardest, 0, at weight 1.4 and drag 0.2 (unit 0.9 and 0.1505); the others do nothing."""
    q = to_unit(SPACE, xi)
    return (q[:, 1] - 0.9) ** 2 + 0.25 * (q[:, 3] - 0.1505) ** 2


def test_the_search_finds_the_hardest_world(key: jax.Array) -> None:
    found = hardest(bowl, SPACE, CONFIG, key=key)
    assert found.xi[0, 1] == pytest.approx(1.4, abs=0.05)
    assert found.xi[0, 3] == pytest.approx(0.2, rel=0.25)
    assert found.score[0] < 1e-3 and (np.diff(found.score) >= 0).all()
    low, high = SPACE.limits
    assert (found.xi >= low).all() and (found.xi <= high).all()
    np.testing.assert_array_equal(found.xi[:, 2], 1.0)
    assert found.evaluations == 64 * 8 + 4 * (1 + 3)


def test_it_blames_the_rows_that_failure_needs(key: jax.Array) -> None:
    """Back at nominal (0.5) weight gains 0.4^2 = 0.16, drag 0.25 x 0.3495^2 = 0.031, idle 0."""
    found = hardest(bowl, SPACE, CONFIG, key=key)
    assert found.ranking == ("weight", "drag", "idle")
    np.testing.assert_allclose(found.recovery, (0, 0.16, 0, 0.031), atol=0.015)
    assert found.share[1] > 0.8 and found.share[2] == 0 and found.share[0] < 0.1


def test_rows_that_are_not_searched_stay_nominal(key: jax.Array) -> None:
    only = np.array((True, False, False, True))
    found = hardest(bowl, SPACE, CONFIG, only, key=key)
    np.testing.assert_array_equal(found.xi[:, 1], 1.0)
    assert found.ranking == ("drag", "idle")


def test_a_score_that_is_not_finite_is_the_worst(key: jax.Array) -> None:
    def broken(xi: jax.Array, key: jax.Array) -> jax.Array:
        """Is NaN for heavy weights."""
        return jnp.where(xi[:, 1] > 1.3, jnp.nan, 1.0)

    found = hardest(broken, SPACE, CONFIG, key=key)
    assert (found.xi[:, 1] > 1.3).all() and np.isneginf(found.score).all()
    np.testing.assert_array_equal(found.recovery, (0, 1, 0, 0))  # one below the lowest, which is 1
    assert found.ranking[0] == "weight"


def test_a_search_that_cannot_be_is_refused(key: jax.Array) -> None:
    with pytest.raises(ParamError, match="no row has open limits"):
        hardest(bowl, SPACE, CONFIG, np.zeros(4, bool), key=key)
    with pytest.raises(ParamError, match=r"shape \(\); return one figure each"):
        hardest(lambda xi, key: jnp.float32(1), SPACE, CONFIG, key=key)
    for settings, message in (
        ({"elite": 1.0}, "elite 1.0"),
        ({"hardest": 999}, "hardest 999"),
        ({"worlds": 8}, "fewer than 2"),
    ):
        with pytest.raises(ParamError, match=message):
            SearchConfig(**settings)


def test_first_order_shares_are_those_of_the_formula() -> None:
    """Of q0 + 0.5 q1 + noise of the same variance as 0.5 q1: shares 1 / 1.5, 0.25 / 1.5, 0."""
    rng = np.random.default_rng(0)
    unit = rng.random((20000, 3))
    y = unit[:, 0] + 0.5 * unit[:, 1] + 0.5 * np.sqrt(1 / 12) * rng.standard_normal(20000)
    np.testing.assert_allclose(first_order(unit, y), (1 / 1.5, 0.25 / 1.5, 0), atol=0.02)
    assert not first_order(unit, np.ones(20000)).any()


HARD = HardConfig(window=8, keep=0.0, share=0.3)


@pytest.fixture(scope="module")
def schedule() -> Curriculum:
    """The adversarial schedule over the small table."""
    return hard(SMALL, HARD)


def test_a_share_of_the_worlds_is_hard(schedule: Curriculum, key: jax.Array) -> None:
    state = replace(
        schedule.init(),
        mean=jnp.full(3, 0.9),
        spread=jnp.full(3, 0.05),
        moves=Moves(jnp.int32(5), jnp.int32(0)),
    )
    draw = schedule.sample(state, 10000, key)
    chosen = np.asarray(draw.kind) == 0
    assert chosen.mean() == pytest.approx(0.3, abs=0.02)
    np.testing.assert_array_equal(draw.version, np.where(chosen, 5, 0))
    unit = np.asarray(to_unit(SMALL, draw.xi))[:, 0]
    assert unit[chosen].mean() == pytest.approx(0.9, abs=0.01)
    assert unit[~chosen].mean() == pytest.approx(0.5, abs=0.02)


def hard_scores(masses: list[float], scores: list[float], version: int = 0) -> Episodes:
    """Returns hard episodes at these masses."""
    what = episodes([0] * len(masses), scores, [version] * len(masses))
    return what.replace(xi=what.xi.at[0, :, 0].set(jnp.array(masses)))


def test_the_gaussian_moves_to_the_failures(schedule: Curriculum) -> None:
    """Failures at masses 2.1 and 2.3, unit 0.8 and 0.9: mean 0.85, deviation 0.05."""
    masses, scores = [2.1, 2.3, 2.1, 2.3, 1, 1, 1, 1], [0, 0, 0, 0, 1, 1, 1, 1]
    state = schedule.update(schedule.init(), hard_scores(masses, scores))
    assert float(state.mean[0]) == pytest.approx(0.85, abs=1e-4)
    assert float(state.spread[0]) == pytest.approx(0.05, abs=1e-3)
    assert state.moves.count == 1 and state.count == 0
    late = schedule.update(state, hard_scores(masses, scores, version=0))
    assert late.count == 0


def test_it_opens_again_where_nothing_fails(schedule: Curriculum) -> None:
    state = replace(schedule.init(), mean=jnp.full(3, 0.9), spread=jnp.full(3, 0.05))
    state: HardState = schedule.update(state, hard_scores([2.3] * 8, [1] * 8))
    np.testing.assert_allclose(state.mean, 0.5)
    np.testing.assert_allclose(state.spread, UNIFORM, rtol=1e-6)


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"share": 1.0}, "share 1.0"), ({"floor": 0.5}, "floor 0.5"), ({"window": 1}, "window 1")],
)
def test_settings_that_cannot_work_are_named(settings: dict, message: str) -> None:
    with pytest.raises(ParamError, match=message):
        HardConfig(**settings)
