"""What becomes of a mesh: planes, triangles, normals, and how honest its error is."""

import numpy as np
import pytest
from scipy.spatial import ConvexHull

from mjx_s2r.render.geometry import simplify
from mjx_s2r.render.geometry.meshes import MeshGeometryError, Polytope, Triangles, solid_of
from tests.render.scenes import load
from tests.render.shapes import CONVEX, CUBE, ROUGH, ball, ell, load_mesh, mesh_xml, ring

PLANES = {"cube": 6, "octahedron": 8, "icosahedron": 20, "prism": 9}


def _gap(point: np.ndarray, corners: np.ndarray) -> float:
    """Returns the distance [m] of a point (3,) to triangles (F, 3, 3), by a fine grid on each."""
    u, v = np.meshgrid(np.linspace(0, 1, 21), np.linspace(0, 1, 21))
    u, v = u[u + v <= 1 + 1e-9], v[u + v <= 1 + 1e-9]
    weight = np.stack([1 - u - v, u, v], axis=1)
    surface = np.einsum("wk,fkc->fwc", weight, corners)
    return float(np.linalg.norm(surface - point, axis=2).min())


@pytest.mark.parametrize("name", CONVEX)
def test_a_convex_mesh_becomes_its_planes(name: str) -> None:
    model, _ = load_mesh(CONVEX[name])
    solid = solid_of(model, 0)
    assert isinstance(solid, Polytope)
    assert len(solid.planes) == PLANES[name]
    assert solid.error_m == 0
    np.testing.assert_allclose(np.linalg.norm(solid.planes[:, :3], axis=1), 1, atol=1e-6)
    above = model.mesh_vert @ solid.planes[:, :3].T - solid.planes[:, 3]
    assert above.max() < 1e-6
    assert np.all(np.sum(above > -1e-6, axis=0) >= 3)  # every plane holds a face


@pytest.mark.parametrize("name", ROUGH)
def test_a_mesh_that_is_not_convex_keeps_its_triangles(name: str) -> None:
    vertices, faces = ROUGH[name]
    model, _ = load_mesh(vertices, faces)
    solid = solid_of(model, 0)
    assert isinstance(solid, Triangles)
    assert solid.error_m == 0
    np.testing.assert_array_equal(solid.corners, model.mesh_vert[model.mesh_face])


def test_an_open_mesh_is_not_closed_by_its_hull() -> None:
    hull = ConvexHull(CUBE)
    normal, faces = hull.equations[:, :3], hull.simplices
    inward = np.sum(simplify.area_normals(CUBE[faces]) * normal, axis=1) < 0
    faces = np.where(inward[:, None], faces[:, ::-1], faces)
    model, _ = load(mesh_xml(CUBE, faces, inertia="shell"))
    assert isinstance(solid_of(model, 0), Polytope)
    lidless = faces[normal[:, 2] < 0.5]
    assert len(lidless) == 10
    model, _ = load(mesh_xml(CUBE, lidless, inertia="shell"))
    solid = solid_of(model, 0)
    assert isinstance(solid, Triangles)
    assert len(solid.corners) == 10


def test_sharp_edges_stay_sharp_and_round_ones_become_smooth() -> None:
    model, _ = load_mesh(*ell())
    solid = solid_of(model, 0)
    assert isinstance(solid, Triangles)
    flat = simplify.unit(simplify.area_normals(solid.corners))
    np.testing.assert_allclose(solid.normals, np.repeat(flat[:, None], 3, axis=1), atol=1e-5)
    model, _ = load_mesh(*ring(40, 30))
    solid = solid_of(model, 0, max_faces=5000)
    assert isinstance(solid, Triangles)
    # A torus about its own z axis: the normal points away from the circle in its middle.
    axis = np.argmin(np.ptp(solid.corners.reshape(-1, 3), axis=0))
    around = np.delete(np.arange(3), axis)
    out = solid.corners.copy()
    length = np.linalg.norm(out[..., around], axis=-1, keepdims=True)
    out[..., around] *= 1 - 0.35 / length
    assert np.min(np.sum(simplify.unit(out) * solid.normals, axis=2)) > 0.99


def test_a_cube_is_shaded_flat() -> None:
    model, _ = load_mesh(CUBE)
    solid = solid_of(model, 0)
    assert isinstance(solid, Polytope)
    np.testing.assert_allclose(solid.shading[:, :, :3], 0, atol=1e-5)
    np.testing.assert_allclose(solid.shading[:, :, 3], solid.planes[:, :3], atol=1e-5)


@pytest.mark.parametrize("limit", [12, 40])
def test_too_many_planes_become_the_hull_of_fewer_points(limit: int) -> None:
    model, _ = load_mesh(ball(200))
    solid = solid_of(model, 0, max_planes=limit)
    assert isinstance(solid, Polytope)
    assert limit - 4 <= len(solid.planes) <= limit
    # The vertices lie outside, so each is at least as far away as its highest plane says.
    above = (model.mesh_vert @ solid.planes[:, :3].T - solid.planes[:, 3]).max(axis=1)
    assert above.min() > -1e-6
    assert above.max() - 1e-6 <= solid.error_m < 0.3


@pytest.mark.parametrize("limit", [40, 200])
def test_the_error_of_fewer_triangles_is_honest(limit: int) -> None:
    model, _ = load_mesh(*ring(30, 20))
    solid = solid_of(model, 0, max_faces=limit)
    assert isinstance(solid, Triangles)
    assert limit // 3 <= len(solid.corners) <= limit
    # The farthest point by brute force, both ways, and that the error shrinks with more triangles.
    mesh = model.mesh_vert[model.mesh_face]
    there = max(_gap(vertex, solid.corners) for vertex in model.mesh_vert[::11])
    back = max(_gap(middle, mesh) for middle in solid.corners.mean(axis=1)[::8])
    assert max(there, back) <= solid.error_m + 2e-3
    exact = simplify.distance(model.mesh_vert[::11].astype(float), solid.corners.astype(float))
    assert abs(there - exact) < 2e-3
    assert solid.error_m < (0.11 if limit == 40 else 0.02)
    outward = np.sum(simplify.area_normals(solid.corners)[:, None] * solid.normals, axis=2)
    assert np.all(outward > 0)


def test_loose_pieces_are_kept_where_edges_cannot_collapse() -> None:
    """A ball cannot lose more than all but four faces: collapse alone cannot reach the limit."""
    one = ConvexHull(ball(20))
    inward = np.sum(simplify.area_normals(one.points[one.simplices]) * one.equations[:, :3], 1) < 0
    faces = np.where(inward[:, None], one.simplices[:, ::-1], one.simplices)
    corners = 0.1 * one.points[faces] + ball(100)[:, None, None] @ np.diag([4.0, 1.0, 1.0])
    few, _ = simplify.decimate(corners.reshape(-1, 3, 3), 256)
    assert 100 < len(few) <= 256
    assert simplify.deviation(corners.reshape(-1, 3, 3), few) < 0.15  # of a length of 2.4 m


def test_distance_to_a_triangle_is_known_at_face_edge_and_corner() -> None:
    triangle = np.array([[[0.0, 0, 0], [1, 0, 0], [0, 1, 0]]])
    for point, expected in [
        ((0.2, 0.2, 0.3), 0.3),
        ((0.5, -0.4, 0.0), 0.4),
        ((-0.3, -0.4, 0.0), 0.5),
        ((1.0, 1.0, 0.0), 0.5**0.5),
    ]:
        assert simplify.distance(np.array([point]), triangle) == pytest.approx(expected, abs=1e-12)


def test_what_cannot_be_drawn_is_named() -> None:
    model, _ = load_mesh(*ring(12, 8))
    with pytest.raises(MeshGeometryError, match=r"mesh 'shape': .*max_planes 3"):
        solid_of(model, 0, max_planes=3)
    with pytest.raises(
        MeshGeometryError, match=r"mesh 'shape': .*cannot be simplified to 1; raise max"
    ):
        solid_of(model, 0, max_faces=1)
    model.mesh_vert[:] = 0.5
    with pytest.raises(
        MeshGeometryError, match="mesh 'shape': none of its 192 triangles has an area"
    ):
        solid_of(model, 0)
