"""Geoms as triangles: closed, turned outwards, and as large as the shapes that they stand for."""

import math

import mujoco
import numpy as np
import pytest

from train.viewer.triangles import REACH, colours, shown, triangle_mesh

XML = """
<mujoco>
  <asset>
    <hfield name="hill" nrow="3" ncol="4" size="2 1 0.5 0.1"
            elevation="0 0 0 0  0 1 1 0  0 0 0 0"/>
    <mesh name="wedge" vertex="0 0 0  1 0 0  0 1 0  0 0 1"/>
    <material name="red" rgba="1 0 0 1"/>
  </asset>
  <worldbody>
    <geom name="floor" type="plane" size="0 3 1"/>
    <geom name="hill" type="hfield" hfield="hill"/>
    <geom name="ball" type="sphere" size="0.3" material="red"/>
    <geom name="pill" type="capsule" size="0.2 0.5" material="red" rgba="0 1 0 0.5"/>
    <geom name="egg" type="ellipsoid" size="0.1 0.2 0.4"/>
    <geom name="can" type="cylinder" size="0.2 0.5"/>
    <geom name="box" type="box" size="0.1 0.2 0.3"/>
    <geom name="wedge" type="mesh" mesh="wedge"/>
    <geom name="ghost" type="sphere" size="1" rgba="1 1 1 0"/>
    <geom name="hull" type="sphere" size="1" group="3"/>
  </worldbody>
</mujoco>
"""
VOLUMES = {
    "ball": 4 / 3 * math.pi * 0.3**3,
    "pill": 4 / 3 * math.pi * 0.2**3 + math.pi * 0.2**2 * 1.0,
    "egg": 4 / 3 * math.pi * 0.1 * 0.2 * 0.4,
    "can": math.pi * 0.2**2 * 1.0,
    "box": 8 * 0.1 * 0.2 * 0.3,
    "wedge": 1 / 6,
}
MODEL = mujoco.MjModel.from_xml_string(XML)


def corners(name: str) -> np.ndarray:
    """Returns the triangles (F, 3, 3) of a geom."""
    return np.asarray(triangle_mesh(MODEL, MODEL.geom(name).id).triangles)


@pytest.mark.parametrize("name", VOLUMES)
def test_a_solid_has_its_volume_with_all_sides_turned_outwards(name: str) -> None:
    """The divergence theorem: a triangle turned inwards or left out changes the sum."""
    a, b, c = np.moveaxis(corners(name), 1, 0)
    volume = np.einsum("fi,fi->", a, np.cross(b, c)) / 6
    assert 0.95 * VOLUMES[name] < volume <= VOLUMES[name] * (1 + 1e-6)
    assert np.cross(b - a, c - a).sum(0) == pytest.approx(0, abs=1e-9), "it is closed"


@pytest.mark.parametrize(
    ("name", "half"),
    [
        ("ball", (0.3, 0.3, 0.3)),
        ("pill", (0.2, 0.2, 0.7)),
        ("egg", (0.1, 0.2, 0.4)),
        ("can", (0.2, 0.2, 0.5)),
        ("box", (0.1, 0.2, 0.3)),
    ],
)
def test_a_solid_reaches_as_far_as_its_shape(name: str, half: tuple[float, ...]) -> None:
    found = np.abs(corners(name)).max((0, 1))
    assert found == pytest.approx(half, rel=1e-6)


def test_a_size_of_its_own_replaces_the_models() -> None:
    mesh = triangle_mesh(MODEL, MODEL.geom("ball").id, np.array((0.6, 0, 0)))
    assert np.linalg.norm(mesh.vertices, axis=1) == pytest.approx(0.6)


def test_planes_without_end_end_far_away_and_look_up() -> None:
    a, b, c = np.moveaxis(corners("floor"), 1, 0)
    assert np.abs(corners("floor")).max((0, 1)) == pytest.approx((REACH * MODEL.stat.extent, 3, 0))
    assert (np.cross(b - a, c - a)[:, 2] > 0).all()


def test_a_height_field_is_as_high_as_mujoco_finds_it() -> None:
    data, field = mujoco.MjData(MODEL), MODEL.geom("hill").id
    mujoco.mj_forward(MODEL, data)
    for x, y, z in triangle_mesh(MODEL, field).triangles_center:
        start = np.array((x, y, 5.0))
        seen = mujoco.mj_rayHfield(MODEL, data, field, start, np.array((0, 0, -1.0)), None)
        assert 5.0 - seen == pytest.approx(z, abs=1e-6)


def test_only_what_can_be_seen_is_shown_in_its_own_colour() -> None:
    names = [MODEL.geom(i).name for i in shown(MODEL)]
    assert names == ["floor", "hill", "ball", "pill", "egg", "can", "box", "wedge"]
    rgba = colours(MODEL)
    assert rgba[MODEL.geom("ball").id] == pytest.approx((1, 0, 0, 1))
    assert rgba[MODEL.geom("pill").id] == pytest.approx((0, 1, 0, 0.5))
