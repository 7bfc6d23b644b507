"""Commands arrive late by exactly their delay, get lost, and carry noise, play and an offset."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mjx_s2r.params import Param, ParamError, ParamSpace
from mjx_s2r.robot.drivers import imperfections
from mjx_s2r.sim.effects import actuator

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


NOISY = ParamSpace(
    (
        Param("white", "actuator.noise", ("a",), None, "set", 0.0, (0, 0), (0, 1), unit="rad"),
        Param("slow", "actuator.noise_correlated", ("b",), None, "set", 0.0, (0, 0), (0, 1)),
        Param("share", "actuator.noise_relative", ("c",), None, "set", 0.0, (0, 0), (0, 1)),
        Param("play", "actuator.backlash", ("d",), None, "set", 0.0, (0, 0), (0, 1), unit="rad"),
        Param("lost", "actuator.hold", (), None, "set", 0.0, (0, 0), (0, 1)),
    )
)
JOINTS, LONG = ("a", "b", "c", "d"), 4000


@partial(jax.jit, static_argnums=3)
def sent(xi: jax.Array, commands: jax.Array, key: jax.Array, effort: bool = False) -> jax.Array:
    """Returns what is followed (T, 4) after each of the commands (T, 4)."""
    spec = actuator.bind_actuator(NOISY, JOINTS, CONTROL_DT, PHYSICS_DT, effort)

    def control(state: actuator.ActuatorState, inputs: tuple) -> tuple:
        state = actuator.issue(spec, state, xi, inputs[0], key=inputs[1])
        return state, actuator.drive(spec, state, xi, jnp.int32(0))

    key_start, key_run = jax.random.split(key)
    start = actuator.init(spec, jnp.zeros(4), key=key_start)
    return jax.lax.scan(control, start, (commands, jax.random.split(key_run, len(commands))))[1]


def noisy(key: jax.Array, effort: bool = False, **given: float) -> np.ndarray:
    """Returns what is added to commands that rise by 0.5 a step, with the ``given`` rows."""
    commands = 0.5 * jnp.arange(1.0, LONG + 1)[:, None] * jnp.ones(4)
    return np.asarray(sent(jnp.asarray(NOISY.values(given)), commands, key, effort) - commands)


def test_white_noise_has_its_spread_in_its_joint_alone(key: jax.Array) -> None:
    """4,000 draws: the deviation is known to 1.1 %, six sigma 7 %."""
    off = noisy(key, white=0.1)
    assert off[:, 0].std() == pytest.approx(0.1, rel=0.07)
    assert abs(np.corrcoef(off[1:, 0], off[:-1, 0])[0, 1]) < 0.1
    np.testing.assert_array_equal(off[:, 1:], 0.0)


def test_correlated_noise_keeps_its_spread_and_forgets_in_half_a_second(key: jax.Array) -> None:
    """Lag one control step: exp(-0.04 / 0.5) = 0.923."""
    off = noisy(key, slow=0.2)[:, 1]
    assert off.std() == pytest.approx(0.2, rel=0.25)
    assert np.corrcoef(off[1:], off[:-1])[0, 1] == pytest.approx(np.exp(-0.08), abs=0.02)
    assert off[0] != 0.0  # it is under way when the episode starts


def test_relative_noise_follows_the_change_or_the_effort(key: jax.Array) -> None:
    """Rises by 0.5 a step (plus its own last error); an effort of 0.5 n has 0.05 n of noise."""
    off = noisy(key, share=0.1)[:, 2]
    assert off.std() == pytest.approx(0.1 * 0.5, rel=0.07)
    effort = noisy(key, effort=True, share=0.1)[:, 2] / (0.5 * np.arange(1, LONG + 1))
    assert effort.std() == pytest.approx(0.1, rel=0.07)


@pytest.mark.parametrize("lost", [0.0, 0.4])
def test_backlash_is_the_play_operator_of_the_stand_in(lost: float, key: jax.Array) -> None:
    """The robot's own play, on the commands that arrived (a lost one repeats the last)."""
    rng = np.random.default_rng(0)
    commands = np.cumsum(rng.normal(0, 0.1, (300, 1)), 0).astype(np.float32) * np.ones(4)
    xi = jnp.asarray(NOISY.values({"play": 0.15, "lost": lost}))
    out = np.asarray(sent(xi, jnp.asarray(commands), key))
    arrived, driven, expected = out[:, 0], np.zeros(1), []
    for target in arrived:
        driven = imperfections.play(driven, np.array([target]), np.array([0.15]))
        expected.append(driven[0])
    np.testing.assert_allclose(out[:, 3], expected, atol=1e-6)
    assert (out[:, 0] != commands[:, 0]).any() == (lost > 0)
    assert np.abs(out[:, 3] - out[:, 0]).max() == pytest.approx(0.15, abs=1e-5)


LATE = ParamSpace(
    (
        Param("play", "actuator.backlash", ("*",), None, "set", 0.0, (0, 0), (0, 1)),
        Param("delay", "actuator.delay_s", (), None, "set", 0.0, (0, 0), (0, 0.1)),
    )
)


@jax.jit
def late(xi: jax.Array, commands: jax.Array, key: jax.Array) -> jax.Array:
    """Returns what one joint follows at every physics step of commands (T, 1)."""
    spec = actuator.bind_actuator(LATE, ("a",), CONTROL_DT, PHYSICS_DT)

    def control(state: actuator.ActuatorState, command: jax.Array) -> tuple:
        state = actuator.issue(spec, state, xi, command, key=key)
        return state, jax.vmap(lambda s: actuator.drive(spec, state, xi, s))(jnp.arange(SUBSTEPS))

    return jax.lax.scan(control, actuator.init(spec, jnp.zeros(1)), commands)[1].reshape(-1)


def test_play_and_delay_commute(key: jax.Array) -> None:
    """Play taken at issue and then delayed is the play of the delayed command."""
    commands = jnp.asarray(np.random.default_rng(1).normal(0, 0.3, (60, 1)), jnp.float32)
    without = np.asarray(late(jnp.array((0.0, 0.05)), commands, key))
    driven, expected = np.zeros(1), []
    for target in without:
        driven = imperfections.play(driven, np.array([target]), np.array([0.2]))
        expected.append(driven[0])
    both = late(jnp.array((0.2, 0.05)), commands, key)
    np.testing.assert_allclose(both, expected, atol=1e-6)
