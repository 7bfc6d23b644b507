"""Commands arrive late by exactly their delay, get lost as often as told, and carry an offset."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mjx_s2r.params import Param, ParamError, ParamSpace
from mjx_s2r.sim import actuator

CONTROL_DT, PHYSICS_DT, SUBSTEPS = 0.04, 0.01, 4
SPACE = ParamSpace(
    (
        Param("delay", "actuator.delay_s", (), None, "set", 0.0, (0, 0), (0, 0.1), unit="s"),
        Param("hold", "actuator.hold", (), None, "set", 0.0, (0, 0), (0, 0.5)),
        Param("zero_b", "actuator.offset", ("b",), None, "add", 0.0, (0, 0), (-1, 1), unit="rad"),
    )
)
SPEC = actuator.bind_actuator(SPACE, ("a", "b"), CONTROL_DT, PHYSICS_DT)


@jax.jit
def followed(xi: jax.Array, commands: jax.Array, key: jax.Array) -> jax.Array:
    """Returns what is followed at every physics step (T * SUBSTEPS, 2) of commands (T, 2)."""

    def control(state: actuator.ActuatorState, inputs: tuple) -> tuple:
        command, key = inputs
        state = actuator.issue(SPEC, state, xi, command, key=key)
        steps = jnp.arange(SUBSTEPS)
        return state, jax.vmap(lambda s: actuator.drive(SPEC, state, xi, s))(steps)

    start = actuator.init(SPEC, jnp.zeros(2))
    keys = jax.random.split(key, len(commands))
    return jax.lax.scan(control, start, (commands, keys))[1].reshape(-1, 2)


@pytest.mark.parametrize("delay", [0.0, 0.004, 0.01, 0.02, 0.033, 0.04, 0.05, 0.0799, 0.08, 0.1])
def test_a_step_arrives_after_exactly_its_delay(delay: float, key: jax.Array) -> None:
    """The command jumps after 2 control steps; first seen at a time not before that plus delay."""
    commands = jnp.concatenate((jnp.zeros((2, 2)), jnp.ones((5, 2))))
    out = followed(jnp.asarray(SPACE.values({"delay": delay})), commands, key)
    time = np.arange(len(out)) * PHYSICS_DT
    expected = (time - 2 * CONTROL_DT - delay >= -1e-6).astype(float)
    np.testing.assert_array_equal(out, np.stack((expected, expected), 1))


def test_a_delay_beyond_what_is_kept_is_cut_off(key: jax.Array) -> None:
    assert SPEC.depth == 4  # now, and 0.1 s at 0.04 s a command
    commands = jnp.concatenate((jnp.zeros((2, 2)), jnp.ones((6, 2))))
    out = followed(jnp.array((9.0, 0.0, 0.0)), commands, key)
    assert int(np.argmax(out[:, 0] > 0)) == (2 + 3) * SUBSTEPS


def test_every_world_has_its_own_delay(key: jax.Array) -> None:
    commands = jnp.concatenate((jnp.zeros((1, 2)), jnp.ones((5, 2))))
    xi = jnp.stack([jnp.asarray(SPACE.values({"delay": d})) for d in (0.0, 0.03, 0.06)])
    out = jax.vmap(followed, (0, None, None))(xi, commands, key)
    assert [int(np.argmax(o[:, 0] > 0)) for o in out] == [4, 7, 10]


def test_commands_get_lost_as_often_as_told(key: jax.Array) -> None:
    """A lost command leaves the last one in place: 3,000 trials at p = 0.3, six sigma = 0.05."""
    commands = jnp.arange(1.0, 3001.0)[:, None] * jnp.ones(2)
    out = followed(jnp.asarray(SPACE.values({"hold": 0.3})), commands, key)[::SUBSTEPS, 0]
    lost = out != commands[:, 0]
    assert np.mean(lost) == pytest.approx(0.3, abs=0.05)
    where = np.flatnonzero(lost)
    where = where[where > 0]
    np.testing.assert_array_equal(out[where], out[where - 1])


def test_nothing_gets_lost_at_nominal(key: jax.Array) -> None:
    commands = jax.random.normal(key, (50, 2))
    out = followed(jnp.asarray(SPACE.nominal), commands, key)
    np.testing.assert_array_equal(out, np.repeat(commands, SUBSTEPS, 0))


def test_the_offset_is_added_to_its_joint_alone(key: jax.Array) -> None:
    out = followed(
        jnp.asarray(SPACE.values({"zero_b": 0.25, "delay": 0.04})), jnp.ones((4, 2)), key
    )
    np.testing.assert_allclose(out[-1], (1.0, 1.25))
    np.testing.assert_allclose(out[0], (0.0, 0.25))


def test_a_table_without_actuator_rows_keeps_one_command() -> None:
    spec = actuator.bind_actuator(ParamSpace(()), ("a",), CONTROL_DT, PHYSICS_DT)
    state = actuator.init(spec, jnp.zeros(1))
    state = actuator.issue(spec, state, jnp.zeros(0), jnp.ones(1), key=jax.random.key(0))
    assert spec.depth == 1 and state.history.shape == (1, 1)
    np.testing.assert_array_equal(actuator.drive(spec, state, jnp.zeros(0), jnp.int32(0)), [1.0])


def test_a_wrong_joint_lists_the_near_ones() -> None:
    row = Param("zero", "actuator.offset", ("elbo",))
    with pytest.raises(ParamError, match="'elbo'; did you mean 'elbow'"):
        actuator.bind_actuator(ParamSpace((row,)), ("elbow", "wrist"), CONTROL_DT, PHYSICS_DT)
