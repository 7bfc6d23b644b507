"""What becomes of a mesh, how honest its error is, and that it is drawn where mj_ray meets it."""

import mujoco
import numpy as np
import pytest
from scipy.spatial import ConvexHull

from mjx_s2r.render.geometry import simplify
from mjx_s2r.render.geometry.collapse import area_normals
from mjx_s2r.render.geometry.detail import tolerances
from mjx_s2r.render.geometry.meshes import MeshGeometryError, solid_of
from mjx_s2r.render.geometry.scene import build_scene
from tests.render.scenes import assets_of, cast, draw, load, look_of, pose_of
from tests.render.shapes import CONVEX, CUBE, ROUGH, load_mesh, mesh_xml, ring

SIZE = 48
# From outside, from beside, and through the hole of the torus.
EYES = {"far": "0 -1.3 .5", "near": ".55 .1 -.4", "hole": ".3 -.2 .1"}


def _gap(point: np.ndarray, corners: np.ndarray) -> float:
    """Returns the distance [m] of a point (3,) to triangles (F, 3, 3), by a fine grid on each."""
    u, v = np.meshgrid(np.linspace(0, 1, 21), np.linspace(0, 1, 21))
    u, v = u[u + v <= 1 + 1e-9], v[u + v <= 1 + 1e-9]
    weight = np.stack([1 - u - v, u, v], axis=1)
    surface = np.einsum("wk,fkc->fwc", weight, corners)
    return float(np.linalg.norm(surface - point, axis=2).min())


@pytest.mark.parametrize("name", [*CONVEX, *ROUGH])
def test_without_a_tolerance_all_triangles_stay(name: str) -> None:
    model, _ = load_mesh(*ROUGH[name]) if name in ROUGH else load_mesh(CONVEX[name])
    solid = solid_of(model, 0)
    assert solid.error_m == 0 and solid.closed
    np.testing.assert_array_equal(solid.corners, model.mesh_vert[model.mesh_face])


def test_a_mesh_without_a_lid_is_open() -> None:
    hull = ConvexHull(CUBE)
    normal, faces = hull.equations[:, :3], hull.simplices
    inward = np.sum(area_normals(CUBE[faces]) * normal, axis=1) < 0
    lidless = np.where(inward[:, None], faces[:, ::-1], faces)[normal[:, 2] < 0.5]
    model, _ = load(mesh_xml(CUBE, lidless, inertia="shell"))
    solid = solid_of(model, 0)
    assert len(solid.corners) == 10 and not solid.closed


def test_normals_of_a_torus_point_away_from_the_circle_in_its_middle() -> None:
    model, _ = load_mesh(*ring(40, 30))
    solid = solid_of(model, 0)
    axis = np.argmin(np.ptp(solid.corners.reshape(-1, 3), axis=0))
    around = np.delete(np.arange(3), axis)
    out = solid.corners.copy()
    out[..., around] *= 1 - 0.35 / np.linalg.norm(out[..., around], axis=-1, keepdims=True)
    assert np.min(np.sum(simplify.unit(out) * solid.normals, axis=2)) > 0.99


@pytest.mark.slow
@pytest.mark.parametrize("tolerance_m", [0.02, 0.005])
def test_the_error_of_fewer_triangles_is_honest(tolerance_m: float) -> None:
    """The farthest point is found by brute force, both ways."""
    model, _ = load_mesh(*ring(60, 40))
    solid = solid_of(model, 0, tolerance_m)
    assert len(solid.corners) < 60 * 40 * 2 * (0.1 if tolerance_m == 0.02 else 0.5)
    mesh = model.mesh_vert[model.mesh_face]
    there = max(_gap(vertex, solid.corners) for vertex in model.mesh_vert[::43])
    back = max(_gap(middle, mesh) for middle in solid.corners.mean(axis=1)[::17])
    assert max(there, back) <= solid.error_m + 2e-3
    assert 0 < solid.error_m <= simplify.FARTHEST * tolerance_m
    outward = np.sum(area_normals(solid.corners)[:, None] * solid.normals, axis=2)
    assert np.mean(outward > 0) > 0.99


def test_distance_to_a_triangle_is_known_at_face_edge_and_corner() -> None:
    triangle = np.array([[[0.0, 0, 0], [1, 0, 0], [0, 1, 0]]])
    points = np.array([(0.2, 0.2, 0.3), (0.5, -0.4, 0.0), (-0.3, -0.4, 0.0), (1.0, 1.0, 0.0)])
    found = simplify.distance(points, triangle)
    np.testing.assert_allclose(found, [0.3, 0.4, 0.5, 0.5**0.5], atol=1e-12)


def test_a_tolerance_is_half_a_pixel_at_the_nearest_pose() -> None:
    """An arm of one hinge whose end comes as near as 1 m to the camera, and is 3 m away at rest."""
    model = mujoco.MjModel.from_xml_string(
        '<mujoco><worldbody><camera name="c" pos="2 0 0" fovy="90"/>'
        '<body><joint axis="0 0 1" range="-180 180"/><geom size=".01" pos="-1 0 0"/></body>'
        "</worldbody></mujoco>"
    )
    (found,) = tolerances(model, [0], 0, 100)
    assert 0.5 * 0.02 * 0.99 < found < 0.5 * 0.02 * 2.0


def test_a_mesh_without_area_is_named() -> None:
    model, _ = load_mesh(*ring(12, 8))
    model.mesh_vert[:] = 0.5
    with pytest.raises(
        MeshGeometryError, match="mesh 'shape': none of its 192 triangles has an area"
    ):
        solid_of(model, 0)


@pytest.mark.parametrize("name", ["torus", pytest.param("ell", marks=pytest.mark.slow)])
@pytest.mark.parametrize("eye", EYES)
def test_a_mesh_is_drawn_where_a_ray_meets_it(name: str, eye: str) -> None:
    """A camera within the mesh or in its hole sees what it sees, and nothing that is no number."""
    camera = f'<camera name="front" mode="targetbody" target="it" pos="{EYES[eye]}" fovy="60"/>'
    xml = mesh_xml(*ROUGH[name]).replace("<worldbody>", f'<worldbody><body name="it"/>{camera}')
    model, data = load(xml)
    scene = build_scene(model, "front", SIZE, SIZE)
    image = draw(
        scene,
        pose_of(scene, data),
        look_of(model),
        assets=assets_of(model, scene),
        outputs=("segmentation", "depth", "rgb"),
    )
    assert np.isfinite(image.depth).all()
    depth, ids = cast(model, data, scene)
    inside = eye == "hole" and name == "ell"  # C draws no inside, a ray meets it
    if inside:
        return
    assert np.mean(np.asarray(image.segmentation[0]) == ids) > 0.99
    both = (ids >= 0) & (np.asarray(image.segmentation[0]) == ids)
    assert both.sum() > 50
    assert np.quantile(np.abs(np.asarray(image.depth[0]) - depth)[both], 0.99) < 1e-3
