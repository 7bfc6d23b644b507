"""What every schedule promises: limits, initial ranges, sound figures, and one result anywhere."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from mjx_s2r.curriculum.adr import ADRConfig, adr
from mjx_s2r.curriculum.doraemon_solver import MaxentConfig
from mjx_s2r.curriculum.episode_recorder import with_episode_recorder
from mjx_s2r.curriculum.hard import HardConfig, hard
from mjx_s2r.curriculum.interface import Curriculum, Episodes
from mjx_s2r.curriculum.learnability import LearnabilityConfig, learnability_replay
from mjx_s2r.curriculum.maxent import maxent
from mjx_s2r.curriculum.mixture import choice, mixture
from mjx_s2r.curriculum.scalar import ScalarConfig, scalar
from mjx_s2r.curriculum.uniform import uniform
from mjx_s2r.io.checkpoints import Checkpoints
from mjx_s2r.params import Param, ParamSpace

# Every law, a closed row, a look, and ranges that are open from the start.
SPACE = ParamSpace(
    (
        Param("mass", "model.body_mass", ("a",), initial=(0.9, 1.1), limits=(0.5, 2.5)),
        Param("fixed", "model.body_mass", ("b",)),
        Param("friction", "model.geom_friction", ("c",), limits=(0.1, 10.0), law="log_uniform"),
        Param("noise", "sensor.noise", ("p",), None, "set", 0.0, (0, 0), (0, 0.2)),
        Param("delay", "actuator.delay_steps", (), None, "set", 0, (0, 0), (0, 4), "categorical"),
        Param("tilt", "visual.camera_rot", (), None, "add", 0, (0, 0), (-0.1, 0.1), "gaussian"),
    )
)
LEFT_OUT = SPACE.index("friction")
ACTIVE = np.arange(len(SPACE)) != LEFT_OUT
WORLDS = 40

ADR = ADRConfig(window=4)
MAXENT = MaxentConfig(window=32, steps=15)
SCALAR = ScalarConfig(step=0.1, back=0.05, widen_above=0.6, narrow_below=0.4, window=16)
BUILT: dict[str, Callable[[ParamSpace, np.ndarray | None], Curriculum]] = {
    "uniform": lambda space, _: uniform(space),
    "adr": lambda space, active: adr(space, ADR, active),
    "scalar": lambda space, active: scalar(space, SCALAR, active),
    "staged": lambda space, active: scalar(
        space, ScalarConfig(step=0.1, window=16, stages=("sensor.*", "*delay*", "*")), active
    ),
    "maxent": lambda space, active: maxent(space, MAXENT, active),
    "replay": lambda space, active: learnability_replay(
        space, LearnabilityConfig(size=16, swaps=8), active
    ),
    "hard": lambda space, active: hard(space, HardConfig(window=16), active),
    "mixture": lambda space, _: mixture(
        space,
        (
            (("model.body_mass", "visual.*"), lambda s, rows: adr(s, ADR, rows)),
            (("noise", "delay"), lambda s, rows: scalar(s, SCALAR, rows)),
        ),
    ),
    "record": lambda space, active: with_episode_recorder(space, adr(space, ADR, active), 64),
}


@pytest.fixture(scope="module", params=BUILT)
def schedule(request: pytest.FixtureRequest) -> Curriculum:
    """Each schedule over all rows but one."""
    return BUILT[request.param](SPACE, ACTIVE)


def play(schedule: Curriculum, state: Any, inputs: tuple) -> tuple[Any, tuple]:
    """Draws worlds, scores them at random in good times and bad ones, and updates."""
    index, key = inputs
    key_draw, key_score, key_ended, key_bad = jax.random.split(key, 4)
    draw = schedule.sample(state, WORLDS, key_draw)
    lean = 0.5 + 0.5 * jnp.sin(index / 60)
    score = (jax.random.uniform(key_score, (WORLDS,)) < lean).astype(jnp.float32)
    score = jnp.where(jax.random.uniform(key_bad, (WORLDS,)) < 0.02, jnp.nan, score)
    ended = jax.random.bernoulli(key_ended, 0.7, (WORLDS,))
    what = Episodes(ended, score, draw.kind, draw.version, draw.xi)
    what = jax.tree.map(lambda x: x[None], what)
    bad = (ended & jnp.isnan(score)).sum()
    state = schedule.update(state, what)
    report = schedule.report(state)
    return state, (report.low, report.high, report.entropy, draw.xi, bad)


MAXENT_AT_NIGHT = [pytest.param(n, marks=pytest.mark.slow if n == "maxent" else ()) for n in BUILT]


@pytest.mark.parametrize("schedule", MAXENT_AT_NIGHT, indirect=True)
def test_a_thousand_random_updates_keep_to_the_rails(schedule: Curriculum, key: jax.Array) -> None:
    run = jax.jit(
        lambda k: jax.lax.scan(
            lambda s, x: play(schedule, s, x),
            schedule.init(),
            (jnp.arange(1000), jax.random.split(k, 1000)),
        )
    )
    state, seen = run(key)
    low, high, entropy, xi, bad = jax.tree.map(np.asarray, seen)
    tiny = 1e-5
    assert (low >= SPACE.limits[0]).all() and (high <= SPACE.limits[1]).all()
    assert (low <= SPACE.initial[0] + tiny).all() and (high >= SPACE.initial[1] - tiny).all()
    assert (xi >= SPACE.limits[0]).all() and (xi <= SPACE.limits[1]).all()
    assert (xi[..., SPACE.index("delay")] % 1 == 0).all()
    np.testing.assert_array_equal(xi[..., LEFT_OUT], 1.0)
    np.testing.assert_array_equal(xi[..., SPACE.index("fixed")], 1.0)
    assert np.isfinite(entropy).all() and (entropy <= tiny).all()
    inner = [x for x in jax.tree.leaves(state) if x.shape != (64,)]  # the log keeps what it saw
    assert all(np.isfinite(x).all() for x in inner)
    report = schedule.report(state)
    assert int(report.dropped) == bad.sum() > 100
    assert 0 < float(report.plain_score) < 1
    assert ((report.edge_score == -1) | (report.edge_score >= 0)).all()


@pytest.mark.slow
def test_two_devices_give_the_update_of_one(
    schedule: Curriculum, key: jax.Array, request: pytest.FixtureRequest
) -> None:
    """Up to rounding, which the steps of maxent make some hundredths of a shape."""
    descends = request.node.callspec.params["schedule"] == "maxent"
    rtol = 0.1 if descends else 1e-5
    cpus = jax.devices("cpu")
    shape = (5, 8)
    key_draw, key_score, key_ended = jax.random.split(key, 3)
    draw = jax.jit(schedule.sample, static_argnums=1)(schedule.init(), 40, key_draw)
    draw = jax.tree.map(lambda x: x.reshape(*shape, *x.shape[1:]), draw)
    score = jax.random.bernoulli(key_score, 0.9, shape).astype(jnp.float32)
    ended = jax.random.bernoulli(key_ended, 0.9, shape)
    what = Episodes(ended, score, draw.kind, draw.version, draw.xi)
    split = NamedSharding(Mesh(np.array(cpus), ("worlds",)), PartitionSpec(None, "worlds"))
    whole = NamedSharding(split.mesh, PartitionSpec())
    update = jax.jit(schedule.update)
    start = schedule.init()
    alone = update(*jax.device_put((start, what), cpus[0]))
    together = update(jax.device_put(start, whole), jax.device_put(what, split))
    for a, b in zip(jax.tree.leaves(alone), jax.tree.leaves(together), strict=True):
        np.testing.assert_allclose(a, b, rtol=rtol, atol=1e-6)
    assert float(schedule.report(alone).plain_score) > 0


def test_an_update_changes_no_type(schedule: Curriculum, key: jax.Array) -> None:
    """Another type, weak for strong even, would compile the whole training a second time."""
    state = jax.eval_shape(schedule.init)
    after = jax.eval_shape(lambda s: play(schedule, s, (jnp.int32(0), key))[0], state)
    for a, b in zip(jax.tree.leaves(state), jax.tree.leaves(after), strict=True):
        assert (a.shape, a.dtype, a.weak_type) == (b.shape, b.dtype, b.weak_type)


def test_no_two_leaves_share_memory(schedule: Curriculum) -> None:
    """A training gives its state's memory away at each iteration; once for each leaf."""
    places = [x.unsafe_buffer_pointer() for x in jax.tree.leaves(schedule.init())]
    assert len(set(places)) == len(places)


def test_the_same_key_draws_the_same_and_another_does_not(
    schedule: Curriculum, key: jax.Array
) -> None:
    state = schedule.init()
    sample = jax.jit(schedule.sample, static_argnums=1)
    one, two, other = (sample(state, 8, k) for k in (key, key, jax.random.key(1)))
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(two), strict=True):
        np.testing.assert_array_equal(a, b)
    assert not np.array_equal(one.xi, other.xi)


@pytest.mark.slow
def test_a_saved_schedule_goes_on_to_the_bit(
    schedule: Curriculum, key: jax.Array, tmp_path: Path
) -> None:
    once = jax.jit(partial(play, schedule))
    state, _ = once(schedule.init(), (jnp.int32(100), key))
    checkpoints = Checkpoints(tmp_path, task="toy", rows=SPACE.names)
    checkpoints.save(1, state)
    again, _ = checkpoints.restore(schedule.init())
    checkpoints.close()
    one, other = (once(s, (jnp.int32(100), jax.random.key(5))) for s in (state, again))
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_choice_is_the_schedule_that_it_names(key: jax.Array) -> None:
    parts = [BUILT[name](SPACE, ACTIVE) for name in ("uniform", "scalar", "adr")]
    chosen = choice(parts)
    once = jax.jit(chosen.sample, static_argnums=1), jax.jit(chosen.update)
    chosen = chosen._replace(sample=once[0], update=once[1])
    for which, part in enumerate(parts):
        state = chosen.init().replace(which=jnp.int32(which))
        inputs = jnp.int32(200), key
        mine, seen = jax.jit(partial(play, part))(part.init(), inputs)
        theirs, also = play(chosen, state, inputs)
        np.testing.assert_allclose(also[3], seen[3], rtol=1e-6)
        for a, b in zip(jax.tree.leaves(theirs.states[which]), jax.tree.leaves(mine), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


SLOW, QUICK, ROLLOUT = 96, 32, 16  # control steps
OPEN = ParamSpace((Param("mass", "model.body_mass", ("a",), limits=(0.5, 2.5)),))
OPENING: dict[str, Callable[[], Curriculum]] = {
    "adr": lambda: adr(OPEN, ADRConfig(window=8, step=0.2)),
    "expand": lambda: scalar(
        OPEN, ScalarConfig(step=0.1, back=0.1, widen_above=0.7, narrow_below=0.7, window=48)
    ),
    "maxent": lambda: maxent(OPEN, MaxentConfig(window=128, success=0.7)),
}


def opened(schedule: Curriculum, chance: float, lengths: jax.Array, key: jax.Array) -> jax.Array:
    """Returns (N,) the entropy of a schedule after each update, where success is pure chance.

    Args:
        schedule: over one row.
        chance: of success, whatever the row is.
        lengths: (2,) control steps of an episode that fails, and of one that succeeds.
        key: random key.
    """
    worlds, longest = 256, -(-SLOW // ROLLOUT)

    def one(carry: tuple, key: jax.Array) -> tuple[tuple, jax.Array]:
        state, params, score, left = carry
        keys = jax.random.split(key, 2)
        fresh = schedule.sample(state, worlds, keys[0])
        ended = left <= ROLLOUT
        what = Episodes(ended, score, params.kind, params.version, params.xi)
        what = jax.tree.map(lambda x: x[None], what)
        state = schedule.update(state, replace(what, longest=longest))
        good = jax.random.bernoulli(keys[1], chance, (worlds,)).astype(jnp.float32)
        pick = lambda new, old: jnp.where(ended.reshape(-1, *[1] * (new.ndim - 1)), new, old)  # noqa: E731
        params = jax.tree.map(pick, fresh, params)
        left = left - ROLLOUT + jnp.where(ended, lengths[good.astype(int)], 0)
        return (state, params, pick(good, score), left), schedule.report(state).entropy

    key_draw, key_left, key = jax.random.split(key, 3)
    state = schedule.init()
    left = jax.random.randint(key_left, (worlds,), 1, SLOW)
    start = (state, schedule.sample(state, worlds, key_draw), jnp.zeros(worlds), left)
    return jax.lax.scan(one, start, jax.random.split(key, 400))[1]


@pytest.mark.slow
@pytest.mark.parametrize("name", OPENING)
def test_the_length_of_episodes_does_not_bias_what_opens(name: str, key: jax.Array) -> None:
    """Success that comes quickly opens no range too far, and failure that does closes none."""
    play_on = jax.jit(partial(opened, OPENING[name]()))
    rare = play_on(0.4, jnp.array((SLOW, QUICK)), key)[-100:].mean()
    often = play_on(0.9, jnp.array((QUICK, SLOW)), key)[-100:].mean()
    assert rare < -0.3 and often > -0.1  # noise alone takes max-entropy to and fro
