"""What is drawn, from where, and what cannot be drawn."""

import re

import jax.numpy as jnp
import mujoco
import numpy as np
import pytest
from mujoco import mjx

from mjx_s2r.params import ParamError
from mjx_s2r.render import camera
from mjx_s2r.render.camera import SceneError
from tests.render.scenes import EVERYTHING, load, pose_of

MESH = """
<mujoco><asset><mesh name="m" vertex="0 0 0 1 0 0 0 1 0 0 0 1"/></asset><worldbody>
  <camera name="front"/><geom name="chair" type="mesh" mesh="m"/></worldbody></mujoco>
"""


def test_draws_what_mujoco_shows_by_default() -> None:
    model, _ = load(EVERYTHING)
    scene = camera.build(model, "front", 48, 64)
    names = {geom.name for geom in scene.geoms}
    assert names == {"floor", "box", "capsule", "can", "ball", "egg", "shelf"}
    assert all(model.geom(geom.name).id == geom.id for geom in scene.geoms)
    assert [g.shape for g in scene.geoms][:2] == ["plane", "plane"]
    assert hash(scene) == hash(camera.build(model, "front", 48, 64))


def test_unknown_camera_lists_near_names() -> None:
    model, _ = load(EVERYTHING)
    with pytest.raises(ParamError, match=r"unknown camera 'frnt'; did you mean 'front'"):
        camera.build(model, "frnt", 8, 8)


@pytest.mark.parametrize(("height", "width"), [(0, 8), (8, -1)])
def test_picture_without_area_is_refused(height: int, width: int) -> None:
    model, _ = load(EVERYTHING)
    with pytest.raises(SceneError, match="has no area"):
        camera.build(model, "front", height, width)


def test_unsupported_geom_is_named() -> None:
    model, _ = load(MESH)
    with pytest.raises(SceneError, match=re.escape("geom 'chair': type mjGEOM_MESH")):
        camera.build(model, "front", 8, 8)


def test_hidden_mesh_is_no_obstacle() -> None:
    model, _ = load(MESH.replace('type="mesh"', 'type="mesh" group="3"'))
    assert camera.build(model, "front", 8, 8).geoms == ()


def test_unnamed_geom_is_called_by_its_id() -> None:
    model, _ = load(EVERYTHING.replace('name="ball"', ""))
    assert "geom4" in {geom.name for geom in camera.build(model, "front", 8, 8).geoms}


def test_colour_of_its_own_beats_the_material() -> None:
    xml = """<mujoco><asset><material name="m" rgba="1 0 0 1"/></asset><worldbody>
      <geom type="sphere" size="1" material="m"/>
      <geom type="sphere" size="1" material="m" rgba="0 1 0 1"/></worldbody></mujoco>"""
    model, _ = load(xml)
    np.testing.assert_allclose(camera.geom_rgba(model, 0), [1, 0, 0, 1])
    np.testing.assert_allclose(camera.geom_rgba(model, 1), [0, 1, 0, 1])


def test_pose_from_mjx_is_that_of_c_mujoco() -> None:
    model, data = load(EVERYTHING)
    scene = camera.build(model, "front", 8, 8)
    put = mjx.put_data(model, data)
    ours, theirs = camera.pose(scene, put), pose_of(scene, data)
    for name in ("geom_pos", "geom_mat", "cam_pos", "cam_mat"):
        np.testing.assert_allclose(getattr(ours, name), getattr(theirs, name)[0], atol=1e-6)
    box = [g.name for g in scene.geoms].index("box")
    np.testing.assert_allclose(ours.geom_pos[box], data.geom("box").xpos, atol=1e-6)


def test_pixels_run_from_the_upper_left() -> None:
    x, y = camera.pixels(2, 4)
    np.testing.assert_allclose(x, [-1.5, -0.5, 0.5, 1.5] * 2)
    np.testing.assert_allclose(y, [0.5] * 4 + [-0.5] * 4)
    assert jnp.asarray(x).dtype == jnp.float32


def test_main_light_is_the_one_with_a_shadow() -> None:
    xml = """<mujoco><worldbody><light castshadow="false"/><light/>
      <geom type="sphere" size="1"/></worldbody></mujoco>"""
    assert camera.main_light(load(xml)[0]) == 1
    assert camera.main_light(mujoco.MjModel.from_xml_string("<mujoco/>")) == -1
