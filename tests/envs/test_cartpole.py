"""Cartpole: readings against C MuJoCo, and the reward of the dm_control suite by hand."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
import pytest

from mjx_s2r.envs.cartpole import Cartpole, tolerance
from mjx_s2r.sim import physics

TASK = Cartpole()


@pytest.fixture(scope="module")
def look() -> Callable:
    """Returns verdict, signals and label at (qpos, qvel, action)."""
    engine = physics.put_model(TASK.mj_model)

    @jax.jit
    def at(qpos: jax.Array, qvel: jax.Array, action: jax.Array) -> tuple:
        data = physics.forward_positions(engine, {}, physics.initial_state(engine, qpos, qvel))
        return TASK.reward(data, action), TASK.signals(data), TASK.label(data)

    return lambda *given: at(*(jnp.array(x, jnp.float32) for x in given))


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        (((0, 0), (0, 0), (0,)), 1.0),
        (((0, np.pi), (0, 0), (0,)), 0.0),  # hanging
        (((0, np.pi / 2), (0, 0), (0,)), 0.5),  # level
        (((2, 0), (0, 0), (0,)), 0.55),  # two metres away: (1 + 0.1) / 2
        (((0, 0), (0, 5), (0,)), 0.55),  # 5 rad/s: (1 + 0.1) / 2
        (((0, 0), (0, 0), (1,)), 0.8),  # full force: 4 / 5
        (((0, np.pi / 2), (3, -5), (-1,)), 0.5 * 0.55 * 0.8),  # the cart's own speed is free
    ],
)
def test_reward_by_hand(look: Callable, state: tuple, expected: float) -> None:
    verdict = look(*state)[0]
    assert float(verdict.reward) == pytest.approx(expected, abs=1e-5)
    assert not bool(verdict.failed)


@pytest.mark.parametrize(
    ("angle", "expected"), [(0.0, True), (0.31, True), (0.33, False), (3.0, False)]
)
def test_upright_is_a_cosine_above_095(look: Callable, angle: float, expected: bool) -> None:
    """cos(0.3176) = 0.95."""
    assert bool(look((0, angle), (0, 0), (0,))[0].on_goal) == expected


def test_signals_and_label_are_those_of_c(look: Callable) -> None:
    data = mujoco.MjData(TASK.mj_model)
    data.qpos[:], data.qvel[:] = (0.4, 1.1), (-0.3, 2.0)
    mujoco.mj_forward(TASK.mj_model, data)
    _, signals, label = look(data.qpos, data.qvel, (0,))
    upright = data.body("pole").xmat[8]
    np.testing.assert_allclose(signals["position"], data.qpos[:1], rtol=1e-6)
    np.testing.assert_allclose(signals["angle"], (upright, data.body("pole").xmat[2]), rtol=1e-5)
    np.testing.assert_allclose(signals["speeds"], data.qvel, rtol=1e-6)
    np.testing.assert_allclose(label, data.geom("pole").xpos, atol=1e-6)


def test_the_pole_starts_hanging() -> None:
    starts = jax.vmap(lambda k: TASK.reset(key=k))(jax.random.split(jax.random.key(0), 200))
    assert np.abs(np.asarray(starts.qpos) - (0, np.pi)).max() < 0.06
    assert 0.005 < np.std(np.asarray(starts.qpos)[:, 1]) < 0.02


def test_tolerance_is_one_tenth_at_its_margin() -> None:
    np.testing.assert_allclose(
        tolerance(jnp.array((0.0, 2.0, -2.0)), 2.0), (1, 0.1, 0.1), rtol=1e-5
    )
