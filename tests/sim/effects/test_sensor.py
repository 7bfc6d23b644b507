"""Readings carry the noise, the bias and the delay that the table says, each signal its own."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mjx_s2r.params import Param, ParamError, ParamSpace
from mjx_s2r.sim.effects import sensor

SPACE = ParamSpace(
    (
        Param("noise", "sensor.noise", ("angle",), None, "set", 0.0, (0, 0), (0, 1), unit="rad"),
        Param("bias", "sensor.bias", ("speed",), None, "set", 0.0, (0, 0), (0, 1), unit="rad/s"),
        Param("delay", "sensor.delay_s", (), None, "set", 0.0, (0, 0), (0, 0.1), unit="s"),
    )
)
SPEC = sensor.bind_sensor(SPACE, {"angle": 3, "speed": 2}, 0.04)
STEPS = 1500


@jax.jit
def told(xi: jax.Array, angle: jax.Array, key: jax.Array) -> dict[str, jax.Array]:
    """Returns the readings (T, ...) of a joint at ``angle`` (T,), its speed 5 throughout."""
    key_init, key_read = jax.random.split(key)

    def true(angle: jax.Array) -> dict[str, jax.Array]:
        return {"angle": jnp.full(3, angle), "speed": jnp.full(2, 5.0)}

    def one(state: sensor.SensorState, inputs: tuple) -> tuple:
        state = sensor.push(SPEC, state, true(inputs[0]))
        return sensor.read(SPEC, state, xi, key=inputs[1])

    start = sensor.init(SPEC, true(jnp.float32(0)), key=key_init)
    return jax.lax.scan(one, start, (angle, jax.random.split(key_read, len(angle))))[1]


def values(**given: float) -> jax.Array:
    """Returns the nominal xi with the ``given`` rows replaced."""
    return jnp.asarray(SPACE.values(given))


def test_nominal_readings_are_the_truth(key: jax.Array) -> None:
    angle = jnp.linspace(0, 1, STEPS)
    out = told(values(), angle, key)
    np.testing.assert_array_equal(out["angle"], np.tile(angle[:, None], 3))
    np.testing.assert_array_equal(out["speed"], 5.0)


def test_noise_has_its_spread_in_its_signal_alone(key: jax.Array) -> None:
    """4,500 draws: the standard deviation is known to 1 %, six sigma is 6 %."""
    out = told(values(noise=0.2), jnp.zeros(STEPS), key)
    noise = np.asarray(out["angle"])
    assert noise.std() == pytest.approx(0.2, rel=0.06)
    assert noise.mean() == pytest.approx(0.0, abs=0.02)
    assert abs(np.corrcoef(noise[1:, 0], noise[:-1, 0])[0, 1]) < 0.15
    assert abs(np.corrcoef(noise[:, 0], noise[:, 1])[0, 1]) < 0.15
    np.testing.assert_array_equal(out["speed"], 5.0)


def test_bias_stays_for_an_episode_and_differs_between_episodes(key: jax.Array) -> None:
    keys = jax.random.split(key, 300)
    out = jax.vmap(told, (None, None, 0))(values(bias=0.5), jnp.zeros(STEPS)[:3], keys)
    bias = np.asarray(out["speed"]) - 5.0
    np.testing.assert_array_equal(bias[:, 0], bias[:, -1])
    assert bias[:, 0].std() == pytest.approx(0.5, rel=0.25)
    assert len(np.unique(bias[:, 0])) == bias[:, 0].size
    np.testing.assert_array_equal(out["angle"], 0.0)


@pytest.mark.parametrize("delay", [0.0, 0.01, 0.04, 0.05, 0.08, 0.1])
def test_delay_interpolates_between_readings(delay: float, key: jax.Array) -> None:
    """A ramp of 0.04 per step of 0.04 s is time itself, so a delay of d reads t - d."""
    time = 0.04 * jnp.arange(1.0, STEPS + 1)
    out = told(values(delay=delay), time, key)["angle"][:20, 0]
    np.testing.assert_allclose(out[5:], time[5:20] - delay, atol=1e-6)


def test_before_the_episode_sensors_have_read_its_start(key: jax.Array) -> None:
    """Kept readings 4, 3, 2 steps old are zero; 0.08 s is two steps."""
    out = told(values(delay=0.08), jnp.ones(STEPS), key)["angle"][:4, 0]
    np.testing.assert_allclose(out, (0, 0, 1, 1), atol=1e-6)


def test_a_delay_beyond_what_is_kept_is_cut_off(key: jax.Array) -> None:
    assert SPEC.depth == 4  # now, and 0.1 s at 0.04 s a reading
    out = told(jnp.array((0.0, 0.0, 9.0)), jnp.ones(STEPS), key)["angle"][:5, 0]
    np.testing.assert_allclose(out, (0, 0, 0, 1, 1), atol=1e-6)


def test_a_wrong_signal_lists_the_near_ones() -> None:
    row = Param("n", "sensor.noise", ("joint_vle",))
    with pytest.raises(ParamError, match="'joint_vle'; did you mean 'joint_vel'"):
        sensor.bind_sensor(ParamSpace((row,)), {"joint_pos": 1, "joint_vel": 1}, 0.04)
    with pytest.raises(ParamError, match="'noises'; did you mean 'noise'"):
        sensor.bind_sensor(ParamSpace((Param("n", "sensor.noises", ("a",)),)), {"a": 1}, 0.04)


ROUGH = ParamSpace(
    (
        Param("walk", "sensor.walk", ("angle",), None, "set", 0.0, (0, 0), (0, 1)),
        Param("gain", "sensor.gain", ("speed",), limits=(0.5, 2.0)),
        Param("step", "sensor.quantum", ("speed",), None, "set", 0.0, (0, 0), (0, 1)),
        Param("jitter", "sensor.jitter_s", (), None, "set", 0.0, (0, 0), (0, 0.08), unit="s"),
        Param("lost", "sensor.dropout", (), None, "set", 0.0, (0, 0), (0, 0.9)),
        Param("period", "sensor.period_s", (), None, "set", 0.0, (0, 0), (0, 1), unit="s"),
    )
)
COARSE = sensor.bind_sensor(ROUGH, {"angle": 3, "speed": 2}, 0.04)


@jax.jit
def sampled(xi: jax.Array, key: jax.Array) -> dict[str, jax.Array]:
    """Returns the readings (T, ...) of an angle that is the time, the speed a sine of it."""
    key_init, key_read = jax.random.split(key)

    def true(time: jax.Array) -> dict[str, jax.Array]:
        return {"angle": jnp.full(3, time), "speed": jnp.full(2, jnp.sin(time))}

    def one(state: sensor.SensorState, inputs: tuple) -> tuple:
        state = sensor.push(COARSE, state, true(inputs[0]))
        return sensor.read(COARSE, state, xi, key=inputs[1])

    start = sensor.init(COARSE, true(jnp.float32(0)), key=key_init)
    return jax.lax.scan(one, start, (TIME, jax.random.split(key_read, STEPS)))[1]


TIME = 0.04 * jnp.arange(1.0, STEPS + 1)


def rough(key: jax.Array, **given: float) -> dict[str, np.ndarray]:
    """Returns the readings with the ``given`` rows."""
    return jax.tree.map(np.asarray, sampled(jnp.asarray(ROUGH.values(given)), key))


def test_a_rough_sensor_at_nominal_tells_the_truth(key: jax.Array) -> None:
    out = rough(key)
    np.testing.assert_array_equal(out["angle"][:, 0], TIME)
    np.testing.assert_allclose(out["speed"][:, 0], np.sin(TIME), atol=1e-6)


def test_the_bias_walks_with_the_root_of_time(key: jax.Array) -> None:
    """0.3 per root second: 100 walks of 3 components after 4 s spread by 0.6, known to 4 %."""
    runs = jax.vmap(sampled, (None, 0))(
        jnp.asarray(ROUGH.values({"walk": 0.3})), jax.random.split(key, 100)
    )
    off = np.asarray(runs["angle"]) - np.asarray(TIME)[:, None]
    for steps, spread in ((25, 0.3), (100, 0.6), (400, 1.2)):
        assert off[:, steps - 1].std() == pytest.approx(spread, rel=0.2)
    assert np.diff(off, axis=1).std() == pytest.approx(0.3 * 0.2, rel=0.03)
    np.testing.assert_allclose(runs["speed"][0, :, 0], np.sin(TIME), atol=1e-6)


def test_gain_and_quanta_act_on_their_signal(key: jax.Array) -> None:
    out = rough(key, gain=1.5, step=0.25)
    expected = 0.25 * np.round(1.5 * np.sin(np.asarray(TIME)) / 0.25)
    assert (np.abs(out["speed"][:, 1] - expected) > 1e-5).mean() < 0.002  # ties in float32
    np.testing.assert_array_equal(out["angle"][:, 0], TIME)


def test_jitter_is_a_delay_that_is_drawn_anew(key: jax.Array) -> None:
    """Uniform from 0 to 0.08 s: mean 0.04 s, deviation 0.08 / sqrt(12)."""
    late = (np.asarray(TIME) - rough(key, jitter=0.08)["angle"][:, 0])[5:]
    assert late.min() >= -1e-5 and late.max() <= 0.08 + 1e-4
    assert late.mean() == pytest.approx(0.04, abs=0.004)
    assert late.std() == pytest.approx(0.08 / 12**0.5, rel=0.1)


def test_a_lost_sample_repeats_the_last_one(key: jax.Array) -> None:
    """1,500 trials at p = 0.3: six sigma is 0.07."""
    out = rough(key, lost=0.3)["angle"]
    same = out[1:, 0] == out[:-1, 0]
    assert same.mean() == pytest.approx(0.3, abs=0.07)
    np.testing.assert_array_equal(out[1:][~same, 0], np.asarray(TIME)[1:][~same])
    assert out[0, 0] == TIME[0]  # an episode starts with a sample
    np.testing.assert_array_equal(out[:, 0], out[:, 2])  # they share a bus


@pytest.mark.parametrize(("period", "every"), [(0.04, 1), (0.08, 2), (0.1, 3), (0.2, 5)])
def test_a_slow_sensor_samples_and_holds(period: float, every: int, key: jax.Array) -> None:
    """Control steps of 0.04 s: a sample is taken once its period has passed."""
    out = rough(key, period=period)["angle"][:60, 0]
    expected = np.asarray(TIME)[(np.arange(60) // every) * every]
    np.testing.assert_allclose(out, expected, rtol=1e-6)


def test_what_no_row_touches_is_not_kept(key: jax.Array) -> None:
    bare = sensor.bind_sensor(ParamSpace(()), {"angle": 3}, 0.04)
    state = sensor.init(bare, {"angle": jnp.ones(3)}, key=key)
    assert [x.shape for x in jax.tree.leaves(state)] == [(1, 3)]
    np.testing.assert_array_equal(sensor.read(bare, state, jnp.zeros(0), key=key)[1]["angle"], 1.0)
