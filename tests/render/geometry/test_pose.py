"""Where everything is, and where each pixel looks, with C MuJoCo as the oracle."""

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
import pytest
from mujoco import mjx

from mjx_s2r.render.geometry import pose as poses
from mjx_s2r.render.geometry.pose import scene_pose
from mjx_s2r.render.geometry.scene import build_scene
from tests.render.scenes import EVERYTHING, cast, draw, load, look_of, pose_of, single

MOVING = """
<mujoco>
  <statistic extent="2"/>
  <worldbody>
    <light name="sun" type="directional"/>
    <camera name="front" pos="0 -2 1" xyaxes="1 0 0 0 .5 1"/>
    <geom name="floor" type="plane" size="0 0 .1"/>
    <body name="cart" pos="0 0 .4">
      <joint name="slide" type="slide" axis="1 0 0"/>
      <joint name="turn" axis="0 1 .3"/>
      <geom name="cart" type="box" size=".2 .1 .1" pos=".1 0 0" quat=".9 .1 .2 .3"/>
      <site name="tip" pos=".3 0 .1" size=".05"/>
      <light name="torch" type="spot" pos=".1 0 .3" dir="0 .4 -1"/>
      <camera name="own" pos="0 -1.5 .3" xyaxes="1 0 0 0 .2 1"/>
      <camera name="track" mode="track" pos="0 -1.5 .3" xyaxes="1 0 0 0 .2 1"/>
      <camera name="trackcom" mode="trackcom" pos="0 -1.5 .3" xyaxes="1 0 0 0 .2 1"/>
    </body>
    <camera name="target" mode="targetbody" target="cart" pos="1 -2 1"/>
  </worldbody>
</mujoco>
"""


@pytest.fixture(scope="module")
def moved() -> tuple[mujoco.MjModel, mujoco.MjData]:
    """The moving scene, away from its reference pose."""
    model, data = load(MOVING)
    data.qpos[:] = 0.4, 0.6
    mujoco.mj_forward(model, data)
    return model, data


@pytest.mark.parametrize("name", ["front", "own", "track", "trackcom", "target"])
def test_pose_from_mjx_is_that_of_c_mujoco(
    moved: tuple[mujoco.MjModel, mujoco.MjData], name: str
) -> None:
    model, data = moved
    scene = build_scene(model, name, 8, 8)
    put = mjx.camlight(mjx.put_model(model), mjx.put_data(model, data))
    ours, theirs = scene_pose(scene, put), single(pose_of(scene, data))
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)
    names = [g.name for g in scene.geoms]
    tip = ours.geom_pos[names.index("site/tip")]
    np.testing.assert_allclose(tip, data.site("tip").xpos, atol=1e-6)
    box = ours.geom_pos[names.index("cart")]
    np.testing.assert_allclose(box, data.geom("cart").xpos, atol=1e-6)


@pytest.mark.parametrize("name", ["own", "track", "target"])
def test_moving_cameras_see_what_mj_ray_meets(
    moved: tuple[mujoco.MjModel, mujoco.MjData], name: str
) -> None:
    model, data = moved
    scene = build_scene(model, name, 32, 32)
    seen = pose_of(scene, data), look_of(model, camera=name)
    image = draw(scene, *seen, outputs=("depth", "segmentation"))
    depth, ids = cast(model, data, scene)
    ours = np.asarray(image.segmentation[0])
    solid = (ours < model.ngeom) & (ids >= 0)  # mj_ray does not see sites
    assert solid.mean() > 0.3
    assert np.mean(ours[solid] == ids[solid]) > 0.995
    same = solid & (ours == ids)
    np.testing.assert_allclose(np.asarray(image.depth[0])[same], depth[same], rtol=1e-4)


def test_pixels_run_from_the_upper_left() -> None:
    x, y = poses.pixels(2, 4)
    np.testing.assert_allclose(x, [-1.5, -0.5, 0.5, 1.5] * 2)
    np.testing.assert_allclose(y, [0.5] * 4 + [-0.5] * 4)
    assert jnp.asarray(x).dtype == jnp.float32


@pytest.mark.parametrize("k", [(0.2, 0.0), (-0.3, 0.05), (0.0, 0.0)])
def test_a_straightened_ray_is_distorted_back(k: tuple[float, float]) -> None:
    rng = np.random.default_rng(0)
    x, y = rng.uniform(-0.7, 0.7, (2, 200)).astype(np.float32)
    square = x * x + y * y
    bend = 1 + k[0] * square + k[1] * square**2
    back = poses.straighten(jnp.asarray(x * bend), jnp.asarray(y * bend), jnp.array(k))
    np.testing.assert_allclose(back, (x, y), atol=2e-4)


def test_sensor_and_principal_point_are_those_of_mujoco() -> None:
    """Intrinsics instead of fovy, against MuJoCo's renderer: what is where in the picture."""
    xml = EVERYTHING.replace(
        'fovy="70"/>',
        'sensorsize=".004 .003" resolution="64 48" focalpixel="40 50" principalpixel="6 -4"/>',
    )
    model, data = load(xml)
    scene = build_scene(model, "front", 48, 64)
    image = draw(scene, pose_of(scene, data), look_of(model), outputs=("segmentation",))
    try:
        renderer = mujoco.Renderer(model, 48, 64)
    except Exception as error:  # every back end fails with a type of its own
        pytest.skip(f"no OpenGL here: {error}")
    with renderer:
        renderer.enable_segmentation_rendering()
        renderer.update_scene(data, "front")
        theirs = renderer.render()[..., 0]
    assert np.mean(np.asarray(image.segmentation[0]) == theirs) > 0.98


def test_sizes_of_a_world_are_drawn() -> None:
    model, data = load(EVERYTHING)
    scene = build_scene(model, "front", 32, 32)
    sizes = jnp.asarray(model.geom_size, jnp.float32)
    sizes = sizes.at[model.geom("ball").id].mul(1.5)
    pose = jax.tree.map(
        lambda x: jnp.float32(x)[None], scene_pose(scene, data, {"geom_size": sizes})
    )
    image = draw(scene, pose, look_of(model), outputs=("depth", "segmentation"))
    model.geom_size[model.geom("ball").id] *= 1.5
    model.geom_rbound[model.geom("ball").id] *= 1.5
    depth, ids = cast(model, data, scene)
    assert np.mean(np.asarray(image.segmentation[0]) == ids) > 0.995
    assert np.quantile(np.abs(np.asarray(image.depth[0]) - depth), 0.99) < 1e-3
