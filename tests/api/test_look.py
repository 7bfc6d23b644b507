"""Pictures of worlds to look at: beside MuJoCo's, and each world in its own numbers."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
import pytest

from mjx_s2r.api.look import see_worlds
from mjx_s2r.envs.cartpole import CONTRACT, Cartpole
from mjx_s2r.params import ParamError
from mjx_s2r.robot.drivers.sim_robot import can_render
from mjx_s2r.sim.backends.physics_config import PhysicsConfig
from mjx_s2r.sim.env import make
from mjx_s2r.sim.interface import EpisodeParams


@pytest.mark.skipif(not can_render(), reason="no OpenGL to compare with")
def test_worlds_are_shown_as_they_are() -> None:
    env = make(Cartpole(), PhysicsConfig("c"))
    space, model = env.task.space, env.task.mj_model
    xi = jnp.stack((space.nominal, space.values({"pole_length": 1.33})))
    none = jnp.full(2, -1, jnp.int32)
    params = EpisodeParams(xi, none, jnp.zeros_like(none))
    worlds = jax.jit(jax.vmap(env.reset))(jax.random.split(jax.random.key(0), 2), params)
    (pictures,) = see_worlds(env, worlds, key=jax.random.key(1))
    assert pictures.shape == (2, 64, 64, 3) and pictures.dtype == np.uint8
    data = mujoco.MjData(model)
    data.qpos[:] = np.asarray(worlds.pipeline_state.physics_state.qpos[0])
    mujoco.mj_forward(model, data)
    with mujoco.Renderer(model, 64, 64) as renderer:
        renderer.update_scene(data, "fixed")
        theirs = renderer.render().astype(int)
    nominal, longer = np.abs(pictures.astype(int) - theirs).mean(axis=(1, 2, 3))
    assert nominal < 3 and longer > nominal, "of 255: edges of shadows differ, and the long pole"


def test_a_task_without_a_camera_has_nothing_to_show() -> None:
    env = make(replace(Cartpole(), contract=replace(CONTRACT, cameras=())))
    with pytest.raises(ParamError, match=r"no camera in its contract; give it one by"):
        see_worlds(env, None, key=jax.random.key(0))  # type: ignore[arg-type]
