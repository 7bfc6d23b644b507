"""What is drawn, and what cannot be drawn."""

import mujoco
import numpy as np
import pytest

from mjx_s2r.params import ParamError
from mjx_s2r.render.geometry import scene as scenes
from mjx_s2r.render.geometry.meshes import Triangles
from mjx_s2r.render.geometry.scene import SceneError, build_scene
from tests.render.scenes import EVERYTHING, load

MESH = """
<mujoco><asset><mesh name="m" vertex="0 0 0 1 0 0 0 1 0 0 0 1"/></asset><worldbody>
  <camera name="front"/><geom name="chair" type="mesh" mesh="m"/></worldbody></mujoco>
"""
MORE = """
<mujoco><worldbody>
  <camera name="front"/><camera name="flat" projection="orthographic"/>
  <site name="mark" size=".1"/><site name="hidden" size=".1" group="4"/>
  <geom name="glass" size=".1" rgba="1 1 1 .5"/>
  <body name="arm"><joint name="j"/><geom size=".1"/><light name="torch" type="spot" cutoff="30"/>
    <site name="a"/></body>
  <light name="sun" type="directional" castshadow="false"/>
  <light type="point" mode="track" active="false"/>
  </worldbody>
  <tendon><spatial name="rope"><site site="mark"/><site site="a"/></spatial>
    <fixed name="sum"><joint joint="j" coef="1"/></fixed></tendon></mujoco>
"""


def test_draws_what_mujoco_shows_by_default() -> None:
    model, _ = load(EVERYTHING)
    scene = build_scene(model, "front", 48, 64)
    names = {geom.name for geom in scene.geoms}
    assert names == {"floor", "box", "capsule", "can", "ball", "egg", "shelf"}
    assert all(model.geom(geom.name).id == geom.id for geom in scene.geoms)
    assert [g.shape for g in scene.geoms][:2] == ["plane", "plane"]
    assert scene.left_out == ()


def test_unknown_camera_lists_near_names() -> None:
    model, _ = load(EVERYTHING)
    with pytest.raises(ParamError, match=r"unknown camera 'frnt'; did you mean 'front'"):
        build_scene(model, "frnt", 8, 8)


@pytest.mark.parametrize(("height", "width"), [(0, 8), (8, -1)])
def test_picture_without_area_is_refused(height: int, width: int) -> None:
    model, _ = load(EVERYTHING)
    with pytest.raises(SceneError, match="has no area"):
        build_scene(model, "front", height, width)


def test_orthographic_camera_is_refused() -> None:
    with pytest.raises(SceneError, match="camera 'flat' is orthographic"):
        build_scene(load(MORE)[0], "flat", 8, 8)


def test_unsupported_geom_is_named() -> None:
    model, _ = load(MESH)
    model.geom_type[0] = mujoco.mjtGeom.mjGEOM_ARROW
    with pytest.raises(SceneError, match="'chair': type mjGEOM_ARROW cannot be drawn"):
        build_scene(model, "front", 8, 8)


def test_a_mesh_is_drawn_by_its_triangles() -> None:
    solid = build_scene(load(MESH)[0], "front", 8, 8).geoms[0].solid
    assert isinstance(solid, Triangles)
    assert len(solid.corners) == 4


def test_a_mesh_without_area_names_its_geom() -> None:
    model, _ = load(MESH)
    model.mesh_vert[:] = 0
    with pytest.raises(SceneError, match="geom 'chair' cannot be drawn: mesh 'm'"):
        build_scene(model, "front", 8, 8)


def test_hidden_mesh_is_no_obstacle() -> None:
    model, _ = load(MESH.replace('type="mesh"', 'type="mesh" group="3"'))
    assert build_scene(model, "front", 8, 8).geoms == ()


def test_unnamed_geom_is_called_by_its_id() -> None:
    model, _ = load(EVERYTHING.replace('name="ball"', ""))
    assert "geom4" in {geom.name for geom in build_scene(model, "front", 8, 8).geoms}


def test_colour_of_its_own_beats_the_material() -> None:
    xml = """<mujoco><asset><material name="m" rgba="1 0 0 1"/></asset><worldbody>
      <geom type="sphere" size="1" material="m"/>
      <geom type="sphere" size="1" material="m" rgba="0 1 0 1"/></worldbody></mujoco>"""
    model, _ = load(xml)
    np.testing.assert_allclose(scenes.rgba(model, "geom", 0), [1, 0, 0, 1])
    np.testing.assert_allclose(scenes.rgba(model, "geom", 1), [0, 1, 0, 1])


def test_sites_are_decor_of_the_groups_that_show() -> None:
    model, _ = load(MORE)
    decor = [g for g in build_scene(model, "front", 8, 8).geoms if g.decor]
    assert {(g.name, g.id) for g in decor} == {
        ("site/mark", model.ngeom),
        ("site/a", model.ngeom + 2),
    }


def test_a_solid_shines_through_once_at_each_face() -> None:
    scene = build_scene(load(MORE)[0], "front", 8, 8)
    glass = [g.name for g in scene.geoms].index("glass")
    assert scene.clear == (glass,)
    assert scene.geoms[glass].alpha == pytest.approx(0.75)


def test_lights_keep_their_kind_and_their_body() -> None:
    model, _ = load(MORE)
    lights = {light.name: light for light in build_scene(model, "front", 8, 8).lights}
    assert {name: light.kind for name, light in lights.items()} == {
        "torch": "spot",
        "sun": "directional",
        "light1": "point",
    }
    assert lights["torch"].body == model.body("arm").id
    assert lights["torch"].cutoff == pytest.approx(np.cos(np.pi / 6))
    assert not lights["sun"].shadow


def test_what_is_not_drawn_is_named() -> None:
    left_out = build_scene(load(MORE)[0], "front", 8, 8).left_out
    assert left_out == ("1 spatial tendons", "the motion of tracking light 'light1'")


def test_too_many_lights_are_refused() -> None:
    lights = "<light/>" * (scenes.MOST_LIGHTS + 1)
    model, _ = load(f'<mujoco><worldbody><camera name="front"/>{lights}</worldbody></mujoco>')
    with pytest.raises(SceneError, match="the model has 9 lights; at most 8"):
        build_scene(model, "front", 8, 8)
