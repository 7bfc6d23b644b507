"""The cameras of a contract, and our renderer in the place of MuJoCo's."""

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
import pytest

from mjx_s2r.contract import CameraSignal, PolicyContract
from mjx_s2r.envs.cartpole import CONTRACT
from mjx_s2r.envs.reach import HOME, Reach
from mjx_s2r.params import ParamSpace, add
from mjx_s2r.render.cameras import RayCamera, bind_cameras, places, take_pictures
from mjx_s2r.render.geometry.pose import scene_pose
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


BALLS = """<mujoco><worldbody>
<light pos="0 0 3"/><camera name="eye" pos="0.1 -0.8 0.5" xyaxes="1 0.1 0 0 0.5 0.86" fovy="50"/>
<geom name="ball" type="sphere" size="0.03" pos="{0} {1} {2}" rgba="1 0.1 0.1 1"/>
</worldbody></mujoco>"""
LENS = (
    *(add(f"x{i}", "visual.camera_pos", (), (-0.05, 0.05), column=i) for i in range(3)),
    *(add(f"r{i}", "visual.camera_rot", (), (-0.1, 0.1), column=i) for i in range(3)),
    *(add(f"c{i}", "visual.camera_centre", (), (-0.05, 0.05), column=i) for i in range(2)),
    add("fovy", "visual.camera_fovy", (), (-6, 6)),
    add("bend", "visual.camera_distortion", (), (-0.15, 0.15), column=0),
)


@pytest.mark.slow
@pytest.mark.parametrize("point", [(0.1, 0.1, 0.1), (-0.15, 0.3, -0.1)])
def test_a_point_is_where_its_picture_shows_it(point: tuple[float, ...]) -> None:
    """The oracle is the renderer: the middle of the pixels that a small red ball colours."""
    mj_model = mujoco.MjModel.from_xml_string(BALLS.format(*point))
    data = mujoco.MjData(mj_model)
    mujoco.mj_forward(mj_model, data)
    contract = PolicyContract(
        task="ball",
        control_hz=25.0,
        signals=(),
        action=CONTRACT.action,
        cameras=(CameraSignal("eye", 64, 96, 25.0),),
    )
    space = ParamSpace(LENS)
    cameras = bind_cameras(space, mj_model, contract)
    where = jax.tree.map(
        lambda x: jnp.tile(jnp.asarray(x, jnp.float32), (12, *[1] * np.ndim(x))),
        scene_pose(cameras.scenes[0], data),
    )
    low, high = space.limits
    xi = jnp.asarray(np.random.default_rng(0).uniform(low, high, (12, len(space))), jnp.float32)
    (pictures,) = take_pictures(cameras, (where,), xi, key=jax.random.key(0))
    points = jnp.tile(jnp.array(point), (12, 1, 1))
    (found,) = places(cameras, (where,), xi, points)
    pictures = np.asarray(pictures, int)
    red = pictures[..., 0] - pictures[..., 1] > 40
    assert (red.sum((1, 2)) > 3).all(), "the ball is in every picture"
    for mask, place in zip(red, np.asarray(found)[:, 0], strict=True):
        rows, columns = np.nonzero(mask)
        seen = np.array((columns.mean() + 0.5, rows.mean() + 0.5))
        assert np.abs((place + 1) * (48, 32) - seen).max() < 0.6  # px
