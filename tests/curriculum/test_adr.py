"""Boundary ADR: the right share of tests, bounds that move when told, and scores never mixed."""

from collections.abc import Callable
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from mjx_s2r.curriculum.adr import ADRConfig, ADRState, adr
from mjx_s2r.curriculum.interface import Curriculum, Episodes
from mjx_s2r.params import Param, ParamError, ParamSpace
from tests.curriculum.fakes import SPACE, compiled, episodes, episodes_of

CONFIG = ADRConfig(window=4, step=0.1)
MASS_LOW, MASS_HIGH, FRICTION_LOW, FRICTION_HIGH = 0, 1, 4, 5
OPEN = (MASS_LOW, MASS_HIGH, FRICTION_LOW, FRICTION_HIGH)


@pytest.fixture(scope="module")
def schedule() -> Curriculum:
    """ADR over the small table."""
    return compiled(adr(SPACE, CONFIG))


@pytest.fixture(scope="module")
def update(schedule: Curriculum) -> Callable[[ADRState, Episodes], ADRState]:
    """Its update."""
    return schedule.update


def bounds(schedule: Curriculum, state: ADRState) -> np.ndarray:
    """Returns (D, 2) the bounds in the units of the table."""
    report = schedule.report(state)
    return np.stack((report.low, report.high), 1)


def test_forty_percent_of_the_worlds_test_a_bound(schedule: Curriculum, key: jax.Array) -> None:
    """20,000 draws: the share is known to 0.35 %, each bound's share of the tests to 0.5 %."""
    kind = np.asarray(schedule.sample(schedule.init(), 20000, key).kind)
    assert np.mean(kind >= 0) == pytest.approx(0.4, abs=0.02)
    shares = [np.mean(kind[kind >= 0] == bound) for bound in OPEN]
    np.testing.assert_allclose(shares, 0.25, atol=0.03)
    assert set(np.unique(kind)) == {-1, *OPEN}


def test_a_test_pins_one_row_at_its_bound_and_draws_the_others(
    schedule: Curriculum, update: Callable, key: jax.Array
) -> None:
    state = update(schedule.init(), episodes([FRICTION_HIGH] * 4, [1] * 4))
    draw = schedule.sample(state, 2000, key)
    now, kind, xi = bounds(schedule, state), np.asarray(draw.kind), np.asarray(draw.xi)
    for bound in OPEN:
        mine = xi[kind == bound]
        np.testing.assert_array_equal(mine[:, bound // 2], now[bound // 2, bound % 2])
        other = 2 if bound < 2 else 0
        if now[other, 0] < now[other, 1]:
            assert len(np.unique(mine[:, other])) > 10
    assert (xi >= now[:, 0] - 1e-6).all() and (xi <= now[:, 1] + 1e-6).all()
    version = np.asarray(draw.version)
    np.testing.assert_array_equal(version, kind == FRICTION_HIGH)  # only that bound has moved, once


def test_a_bound_moves_when_its_window_is_full(schedule: Curriculum, update: Callable) -> None:
    """0.1 of the width 2 of the limits: 1.1 becomes 1.3."""
    state = update(schedule.init(), episodes([MASS_HIGH] * 3, [1, 1, 1]))
    np.testing.assert_allclose(bounds(schedule, state)[0], (0.9, 1.1), rtol=1e-6)
    assert state.count[MASS_HIGH] == 3
    state = update(state, episodes([MASS_HIGH], [1]))
    np.testing.assert_allclose(bounds(schedule, state)[0], (0.9, 1.3), rtol=1e-6)
    assert state.count[MASS_HIGH] == 0 and state.moves.count[MASS_HIGH] == 1
    assert not np.delete(np.asarray(state.moves.count), MASS_HIGH).any()


def test_a_logarithmic_bound_moves_by_a_factor(schedule: Curriculum, update: Callable) -> None:
    """A tenth of two decades each way: 1 becomes 10^0.2 and 10^-0.2."""
    both = [FRICTION_LOW] * 4 + [FRICTION_HIGH] * 4
    state = update(schedule.init(), episodes(both, [1] * 8))
    np.testing.assert_allclose(bounds(schedule, state)[2], (10**-0.2, 10**0.2), rtol=1e-5)


@pytest.mark.parametrize(
    ("scores", "moves"),
    [([1, 1, 1, 0.2], 1), ([1, 1, 1, 0.16], 0), ([0, 0, 1, 1], -1), ([0.5, 0.6, 0.5, 0.6], 0)],
)
def test_the_mean_decides_outwards_inwards_or_not_at_all(
    schedule: Curriculum, update: Callable, scores: list, moves: int
) -> None:
    """From 0.9 - 0.2 = 0.7: outwards at a mean of 0.8, inwards at 0.5, and emptied in any case."""
    state = update(schedule.init(), episodes([MASS_LOW] * 4, [1] * 4))
    state = update(state, episodes([MASS_LOW] * 4, scores, [1] * 4))
    assert bounds(schedule, state)[0, 0] == pytest.approx(0.7 - 0.2 * moves)
    assert state.count[MASS_LOW] == 0
    assert state.moves.count[MASS_LOW] == (2 if moves else 1)


def test_bounds_stop_at_the_limits_and_at_the_initial_range(
    schedule: Curriculum, update: Callable
) -> None:
    inwards = update(schedule.init(), episodes([MASS_LOW] * 4, [0] * 4))
    np.testing.assert_allclose(bounds(schedule, inwards)[0], (0.9, 1.1), rtol=1e-6)
    assert inwards.moves.count[MASS_LOW] == 0
    state = schedule.init()
    for _ in range(9):
        version = [int(state.moves.count[MASS_HIGH])] * 4
        state = update(state, episodes([MASS_HIGH] * 4, [1] * 4, version))
    assert bounds(schedule, state)[0, 1] == 2.5
    assert state.moves.count[MASS_HIGH] == 7  # 1.1 + 7 x 0.2 = 2.5; after that it stands still


def test_scores_for_a_bound_that_has_moved_since_are_not_counted(
    schedule: Curriculum, update: Callable
) -> None:
    state = update(schedule.init(), episodes([MASS_HIGH] * 4, [1] * 4))
    late = update(state, episodes([MASS_HIGH] * 6, [0] * 6, [0] * 6))
    assert late.count[MASS_HIGH] == 0 and late.stats.dropped == 0
    mixed = update(state, episodes([MASS_HIGH] * 6, [0, 0, 0, 1, 1, 1], [0, 0, 0, 1, 1, 1]))
    assert mixed.count[MASS_HIGH] == 3
    np.testing.assert_array_equal(mixed.scores[MASS_HIGH, :3], 1)


def test_scores_beyond_a_window_are_left_out(schedule: Curriculum, update: Callable) -> None:
    """The first four are ones, which is enough; twelve zeros after them do not count."""
    state = update(schedule.init(), episodes([MASS_HIGH] * 16, [1] * 4 + [0] * 12))
    assert bounds(schedule, state)[0, 1] == pytest.approx(1.3)


def test_scores_that_are_no_scores_are_dropped_and_counted(
    schedule: Curriculum, update: Callable
) -> None:
    bad = [np.nan, np.inf, -np.inf, -0.1, 1.1]
    state = update(schedule.init(), episodes([MASS_HIGH] * 6, [*bad, 1]))
    assert state.stats.dropped == 5 and state.count[MASS_HIGH] == 1
    for leaf in jax.tree.leaves(state):
        assert np.isfinite(leaf).all()


def test_episodes_that_did_not_end_or_tested_nothing_are_not_filed(
    schedule: Curriculum, update: Callable
) -> None:
    what = episodes([MASS_HIGH, -1, MASS_LOW], [1, 1, 1])
    state = update(schedule.init(), what.replace(ended=jnp.array([[False, True, True]])))
    assert int(state.count.sum()) == 1 and state.count[MASS_LOW] == 1
    assert float(state.stats.plain_score) == pytest.approx(0.1)


def test_bounds_keep_to_their_rails_through_a_thousand_random_updates(
    schedule: Curriculum, key: jax.Array
) -> None:
    n = 40

    def one(state: ADRState, inputs: tuple) -> tuple:
        index, key = inputs
        key_draw, key_score, key_ended, key_bad = jax.random.split(key, 4)
        draw = schedule.sample(state, n, key_draw)
        lean = 0.5 + 0.5 * jnp.sin(index / 60)  # times of success and times of failure
        score = (jax.random.uniform(key_score, (n,)) < lean).astype(jnp.float32)
        score = jnp.where(jax.random.uniform(key_bad, (n,)) < 0.02, jnp.nan, score)
        ended = jax.random.bernoulli(key_ended, 0.7, (n,))
        what = Episodes(ended, score, draw.kind, draw.version, draw.xi)
        state = schedule.update(state, jax.tree.map(lambda x: x[None], what))
        report = schedule.report(state)
        return state, (report.low, report.high, report.entropy, draw.xi)

    run = jax.jit(
        lambda k: jax.lax.scan(one, schedule.init(), (jnp.arange(1000), jax.random.split(k, 1000)))
    )
    state, (low, high, entropy, xi) = jax.tree.map(np.asarray, run(key))
    tiny = 1e-5
    assert (low >= SPACE.limits[0]).all() and (high <= SPACE.limits[1]).all()
    assert (low <= SPACE.initial[0] + tiny).all() and (high >= SPACE.initial[1] - tiny).all()
    assert (xi >= SPACE.limits[0]).all() and (xi <= SPACE.limits[1]).all()
    assert (entropy <= tiny).all() and np.isfinite(entropy).all()
    assert state.moves.count[list(OPEN)].min() > 20 and state.stats.dropped > 0
    assert np.ptp(high[:, 0]) > 1.0  # it did go far


def test_inactive_rows_are_never_tested_and_keep_their_range(key: jax.Array) -> None:
    schedule = compiled(adr(SPACE, CONFIG, active=np.array((False, True, True))))
    draw = schedule.sample(schedule.init(), 2000, key)
    assert set(np.unique(draw.kind)) == {-1, FRICTION_LOW, FRICTION_HIGH}
    assert np.ptp(draw.xi[:, 0]) > 0.15


def test_a_pinned_table_is_the_narrowest_start_of_the_same_rows(key: jax.Array) -> None:
    """What holds a row still is ``active``; a closed range with open limits is tested and moves."""
    schedule = compiled(adr(SPACE.pinned(), CONFIG))
    draw = schedule.sample(schedule.init(), 2000, key)
    assert set(np.unique(draw.kind)) == {-1, *OPEN}
    np.testing.assert_allclose(draw.xi, np.tile(SPACE.nominal, (2000, 1)), rtol=1e-6)
    state = schedule.update(schedule.init(), episodes([MASS_HIGH] * 4, [1] * 4))
    np.testing.assert_allclose(bounds(schedule, state)[0], (1.0, 1.2), rtol=1e-6)


def test_looks_take_part_and_rows_per_world_do_not(key: jax.Array) -> None:
    """A world keeps its first value of a row per world, so that no later draw could test it."""
    space = ParamSpace(
        (
            Param("look", "visual.brightness", limits=(0.5, 2.0)),
            Param("gain", "sensor.gain", ("p",), limits=(0.5, 2.0), resample="world"),
        )
    )
    schedule = compiled(adr(space, CONFIG))
    draw = schedule.sample(schedule.init(), 500, key)
    assert set(np.unique(draw.kind)) == {-1, 0, 1}
    state = schedule.update(schedule.init(), episodes_of(space, [1] * 4, [1] * 4))
    np.testing.assert_allclose(bounds(schedule, state)[0], (1.0, 1.15), rtol=1e-6)


def test_a_bound_of_whole_numbers_is_tested_at_a_whole_number(key: jax.Array) -> None:
    """A step is 0.4 of 4: after three moves the bound is at 1.2 and 1 is what acts."""
    steps = Param("steps", "actuator.delay_s", (), None, "set", 0, (0, 0), (0, 4), "categorical")
    schedule = compiled(adr(ParamSpace((steps,)), CONFIG))
    state = replace(schedule.init(), bounds=jnp.array((0.0, 1.2)))
    draw = schedule.sample(state, 300, key)
    np.testing.assert_array_equal(draw.xi[np.asarray(draw.kind) == 1], 1.0)
    assert set(np.unique(draw.xi)) == {0.0, 1.0}


def test_without_an_open_row_every_world_is_plain(key: jax.Array) -> None:
    schedule = compiled(adr(SPACE, CONFIG, active=np.array((False, True, False))))
    draw = schedule.sample(schedule.init(), 500, key)
    assert (np.asarray(draw.kind) == -1).all() and not draw.version.any()


def test_two_devices_give_the_update_of_one(schedule: Curriculum, key: jax.Array) -> None:
    cpus = jax.devices("cpu")
    assert len(cpus) == 2, "tests/conftest.py asks for two"
    keys = jax.random.split(key, 3)
    shape = (5, 8)
    kind = jax.random.choice(keys[0], jnp.array((-1, *OPEN)), shape).astype(jnp.int32)
    score = jax.random.bernoulli(keys[1], 0.9, shape).astype(jnp.float32)
    ended = jax.random.bernoulli(keys[2], 0.8, shape)
    xi = jnp.tile(jnp.asarray(SPACE.nominal), (*shape, 1))
    what = Episodes(ended, score, kind, jnp.zeros_like(kind), xi)
    split = NamedSharding(Mesh(np.array(cpus), ("worlds",)), PartitionSpec(None, "worlds"))
    whole = NamedSharding(split.mesh, PartitionSpec())
    update = jax.jit(schedule.update)
    alone = update(*jax.device_put((schedule.init(), what), cpus[0]))
    start = jax.device_put(schedule.init(), whole)
    together = update(start, jax.device_put(what, split))
    for a, b in zip(jax.tree.leaves(alone), jax.tree.leaves(together), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6)
    assert int(alone.moves.count.sum()) > 0


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"boundary_share": 1.1}, r"boundary_share 1.1 must lie in \[0, 1\]"),
        ({"widen_above": 0.4}, "narrow_below 0.5 must be below widen_above 0.4"),
        ({"narrow_below": -0.1}, "both in"),
        ({"window": 0}, "window 0 must be >= 1"),
        ({"step": 0.0}, "step 0.0 in"),
        ({"step": float("nan")}, "step nan in"),
    ],
)
def test_settings_that_cannot_work_are_named(settings: dict, message: str) -> None:
    with pytest.raises(ParamError, match=message):
        ADRConfig(**settings)
