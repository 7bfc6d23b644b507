"""Readings carry the noise, the bias and the delay that the table says, each signal its own."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mjx_s2r.params import Param, ParamError, ParamSpace
from mjx_s2r.sim import sensor

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
        return state, sensor.read(SPEC, state, xi, key=inputs[1])

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
