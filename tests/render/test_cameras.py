"""The cameras of a contract, and our renderer in the place of MuJoCo's."""

import mujoco
import numpy as np
import pytest

from mjx_s2r.envs.reach import HOME, Reach
from mjx_s2r.render.cameras import RayCamera
from mjx_s2r.robot.drivers.sim_robot import can_render


@pytest.fixture(scope="module")
def reach() -> tuple[Reach, RayCamera]:
    """The task and its camera, which compiles once for a model."""
    task = Reach()
    return task, RayCamera(task.contract)


@pytest.mark.skipif(not can_render(), reason="no OpenGL to compare with")
def test_the_ray_camera_stands_in_for_mujocos(reach: tuple[Reach, RayCamera]) -> None:
    task, camera = reach
    data = mujoco.MjData(task.mj_model)
    data.qpos[:] = HOME
    mujoco.mj_forward(task.mj_model, data)
    ours = camera(task.mj_model, data, "front")
    with mujoco.Renderer(task.mj_model, 64, 64) as renderer:
        renderer.update_scene(data, "front")
        theirs = renderer.render()
    assert ours.shape == theirs.shape == (64, 64, 3)
    assert ours.dtype == np.uint8
    assert np.abs(ours.astype(int) - theirs).mean() < 3  # of 255: edges of shadows differ


def test_the_ray_camera_follows_the_state(reach: tuple[Reach, RayCamera]) -> None:
    task, camera = reach
    data = mujoco.MjData(task.mj_model)
    mujoco.mj_forward(task.mj_model, data)
    before = camera(task.mj_model, data, "front")
    data.qpos[0] = 0.8
    mujoco.mj_forward(task.mj_model, data)
    assert (camera(task.mj_model, data, "front") != before).any()
