"""Fits and decimation, against shapes whose sizes are known."""

import numpy as np
import pytest
import trimesh
from scipy.spatial.transform import Rotation

from benchmarks.mesh_robot import SHAPES, Rounded, part_mesh
from mjx_s2r.mjcf.convex import Piece, convex_pieces, hull_piece
from mjx_s2r.mjcf.decimate import DrawnMesh, decimate_within
from mjx_s2r.mjcf.fit import best_fit, cluster, measure, without_hidden
from mjx_s2r.mjcf.shapes import Primitive

TURN = Rotation.from_rotvec([0.4, -0.9, 0.3])
SHIFT = np.array([0.3, -0.2, 0.5])


def placed(shape: tuple[Rounded, ...], faces: int = 2000) -> Piece:
    """Returns the hull of a shape, turned and moved."""
    return hull_piece(TURN.apply(part_mesh(shape, faces).vertices) + SHIFT)


def test_a_sphere_is_found() -> None:
    found = best_fit([placed((Rounded((0, 0, 0), 0.05),))], accepted=0.005)
    assert found.kind == "sphere"
    assert found.size[0] == pytest.approx(0.05, rel=0.02)
    np.testing.assert_allclose(found.pos, SHIFT, atol=5e-4)


def test_a_capsule_is_found() -> None:
    found = best_fit([placed((Rounded((0, 0, 0.1), 0.03),))], accepted=0.005)
    assert found.kind == "capsule"
    np.testing.assert_allclose(found.size, (0.03, 0.1), atol=1e-3)
    np.testing.assert_allclose(found.pos, SHIFT, atol=5e-4)
    axis = Rotation.from_quat(found.quat, scalar_first=True).apply([0, 0, 1])
    assert abs(axis @ TURN.apply([0, 0, 1])) > np.cos(0.01)


def test_a_sharp_box_is_found_exactly() -> None:
    corners = trimesh.creation.box((0.2, 0.1, 0.06)).vertices
    found = best_fit([hull_piece(TURN.apply(corners) + SHIFT)], accepted=0.002)
    assert found.kind == "box"
    np.testing.assert_allclose(sorted(found.size), (0.03, 0.05, 0.1), atol=1e-4)
    np.testing.assert_allclose(found.pos, SHIFT, atol=1e-4)


def test_a_thin_plate_stays_thin() -> None:
    flat = trimesh.creation.box((0.2, 0.1, 0.0)).vertices
    found = best_fit([hull_piece(flat)], accepted=0.01)
    assert min(found.size) < 1e-3
    assert max(found.size) == pytest.approx(0.1, abs=2e-3)


def test_the_error_is_the_distance_of_the_surfaces() -> None:
    """A ball of 50 mm stands for one of 40 mm that is 3 mm away: 13 mm out, and none short."""
    ball = Primitive("sphere", np.array([0.05]), np.array([0.003, 0, 0]), np.array([1.0, 0, 0, 0]))
    solid = hull_piece(part_mesh((Rounded((0, 0, 0), 0.04),), 8000).vertices)
    error = measure([ball], [solid])
    assert error.out_mm == pytest.approx(13.0, abs=0.6)
    assert error.short_mm == 0.0
    assert error.volume_ratio == pytest.approx((50 / 40) ** 3, rel=0.05)
    small = measure([Primitive("sphere", np.array([0.03]), np.zeros(3), ball.quat)], [solid])
    assert small.short_mm == pytest.approx(10.0, abs=0.2)
    assert small.out_mm == 0.0


def test_an_l_becomes_two_boxes() -> None:
    mesh = part_mesh(SHAPES["forearm"], 600)
    pieces = convex_pieces(mesh.vertices, mesh.faces, accepted=0.005)
    fits = cluster(pieces, accepted=0.006, most=4)
    error = measure([one for one, _ in fits], pieces)
    whole = hull_piece(mesh.vertices)
    alone = measure([best_fit([whole], 0.006)], pieces)
    assert 2 <= len(fits) <= 4
    assert error.out_mm < alone.out_mm / 2
    assert error.overlap > 0.85 > alone.overlap


def test_what_hides_in_others_is_dropped() -> None:
    stay = np.array([1.0, 0, 0, 0])
    large = Primitive("box", np.array([0.1, 0.1, 0.1]), np.zeros(3), stay)
    small = Primitive("sphere", np.array([0.02]), np.array([0.05, 0, 0]), stay)
    out = Primitive("sphere", np.array([0.02]), np.array([0.12, 0, 0]), stay)
    assert without_hidden([large, small, out], 1e-3) == [0, 2]


def test_decimation_stays_within_the_distance() -> None:
    mesh = part_mesh((Rounded((0.03, 0.02, 0.05), 0.01),), 4000)
    found, off = decimate_within(DrawnMesh(mesh.vertices, mesh.faces), 0.5e-3)
    assert len(found.faces) < len(mesh.faces) / 5
    assert off <= 0.5e-3
    points = found.corners.mean(axis=1)  # the distance of a filleted box is known
    beyond = np.maximum(np.abs(points) - (0.03, 0.02, 0.05), 0)
    inside = np.minimum((np.abs(points) - (0.03, 0.02, 0.05)).max(axis=1), 0)
    assert np.abs(np.linalg.norm(beyond, axis=1) + inside - 0.01).max() < 0.7e-3


def test_texture_coordinates_follow_the_surface() -> None:
    """The coordinates of a plate are a linear map of its places, before and after."""
    mesh = part_mesh(SHAPES["cover"], 2000)
    low, high = mesh.bounds

    def uv(points: np.ndarray) -> np.ndarray:
        return ((points - low) / (high - low))[..., 1:]

    whole = DrawnMesh(mesh.vertices, mesh.faces, uv(mesh.vertices)[mesh.faces])
    found, _ = decimate_within(whole, 0.3e-3)
    assert len(found.faces) < len(mesh.faces) / 4
    assert found.uv is not None
    np.testing.assert_allclose(found.uv, uv(found.corners), atol=0.03)
