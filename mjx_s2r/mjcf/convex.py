"""Convex pieces of a mesh: its hull, or the parts that V-HACD cuts it into."""

from dataclasses import dataclass

import numpy as np
import trimesh
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import ConvexHull, QhullError
from scipy.stats import qmc

from mjx_s2r.mjcf.shapes import fibonacci

VERTICES = 64  # of a piece, at most: those farthest in as many directions
THIN = 1e-4  # m; a flat mesh becomes this thick, so that it has a hull
MAX_PIECES = 8  # that a mesh is cut into
VOXELS = 40_000  # in which it is cut


@dataclass(frozen=True, eq=False)
class Piece:
    """A convex solid.

    Attributes:
        points: (V, 3) its corners [m].
        planes: (P, 4) rows (n, d) with n . x <= d inside.
        triangles: (T, 3, 3) its surface [m].
        volume: [m^3].
    """

    points: np.ndarray
    planes: np.ndarray
    triangles: np.ndarray
    volume: float

    def depth(self, points: np.ndarray) -> np.ndarray:
        """Returns (N,) [m] how far points (N, 3) lie above the highest plane; negative inside.

        Outside, that is a lower bound of the distance, and exact in front of a face.
        """
        return np.asarray((points @ self.planes[:, :3].T - self.planes[:, 3]).max(axis=1))

    def distance(self, points: np.ndarray) -> np.ndarray:
        """Returns the distance (N,) [m] of points (N, 3); zero inside."""
        count = len(self.triangles)
        each = np.repeat(points, count, axis=0)
        closest = trimesh.triangles.closest_point(
            np.tile(self.triangles, (len(points), 1, 1)), each
        )
        away = np.linalg.norm(closest - each, axis=1).reshape(-1, count).min(axis=1)
        return np.where(self.depth(points) > 0, away, 0.0)

    def surface(self, count: int) -> np.ndarray:
        """Returns points (N, 3) [m] spread over the surface by area, always the same ones."""
        edges = self.triangles[:, 1:] - self.triangles[:, :1]
        area = np.linalg.norm(np.cross(edges[:, 0], edges[:, 1]), axis=1)
        place = qmc.Halton(3, scramble=False).random(count + 1)[1:]
        face = np.searchsorted(np.cumsum(area) / area.sum(), place[:, 0], side="right")
        face = np.minimum(face, len(area) - 1)
        a, b = place[:, 1], place[:, 2]
        a, b = np.where(a + b > 1, 1 - a, a), np.where(a + b > 1, 1 - b, b)
        shift = a[:, None] * edges[face, 0] + b[:, None] * edges[face, 1]
        return np.asarray(self.triangles[face, 0] + shift)


def hull_piece(points: np.ndarray) -> Piece:
    """Returns the convex hull of points (N, 3) [m], of few of them where they are many."""
    try:
        hull = ConvexHull(points)
    except QhullError:  # flat, or a line: given a thickness
        shifts = np.concatenate([np.eye(3), -np.eye(3)]) * THIN / 2
        points = (points[:, None] + shifts).reshape(-1, 3)
        hull = ConvexHull(points)
    corners = points[hull.vertices]
    if len(corners) > VERTICES:
        farthest = np.unique((fibonacci(4 * VERTICES) @ corners.T).argmax(axis=1))
        hull = ConvexHull(corners[farthest])
        corners = hull.points[hull.vertices]
    return Piece(corners, hull.equations * (1, 1, 1, -1), hull.points[hull.simplices], hull.volume)


def dent(piece: Piece, points: np.ndarray) -> float:
    """Returns how deep below the surface of their hull points (N, 3) lie, at most [m]."""
    return float(-piece.depth(points).min())


def convex_pieces(vertices: np.ndarray, faces: np.ndarray, accepted: float) -> list[Piece]:
    """Returns convex pieces of a mesh: its hull, unless the mesh dents it by more than accepted.

    A mesh of few loose surfaces is taken apart into these first, without those inside others.

    Args:
        vertices: (V, 3) [m].
        faces: (F, 3).
        accepted: depth of a dent that is filled [m].
    """
    whole = hull_piece(vertices)
    if dent(whole, vertices[faces].reshape(-1, 3)) <= accepted:
        return [whole]
    pieces: list[Piece] = []
    for shell, corners in _shells(vertices, faces):
        if any(piece.depth(shell.points).max() <= 0 for piece in pieces):
            continue
        dented = dent(shell, vertices[corners].reshape(-1, 3)) > accepted
        pieces += _decompose(vertices, corners) if dented else [shell]
    return pieces


def _shells(vertices: np.ndarray, faces: np.ndarray) -> list[tuple[Piece, np.ndarray]]:
    """Returns the hulls and faces (F, 3) of what hangs together, largest first; one if many."""
    places, label = np.unique(vertices, axis=0, return_inverse=True)
    edges = label[faces][:, [0, 1, 1, 2]].reshape(-1, 2)
    ones = np.ones(len(edges), bool)
    graph = coo_array((ones, edges.T), (len(places), len(places)))
    _, part = connected_components(graph, directed=False)
    of_face = part[label[faces[:, 0]]]
    named = np.unique(of_face)
    groups = [faces[of_face == name] for name in named] if len(named) <= MAX_PIECES else [faces]
    shells = [(hull_piece(vertices[np.unique(group)]), group) for group in groups]
    return sorted(shells, key=lambda shell: -shell[0].volume)


def _decompose(vertices: np.ndarray, faces: np.ndarray) -> list[Piece]:
    """Returns convex pieces of a mesh, by V-HACD (K. Mamou, Game Engine Gems 3, 2016, chapter 12).

    V-HACD cuts along the axes, so it is given the mesh along the axes of its oriented box.
    """
    import vhacdx

    used, corners = np.unique(faces, return_inverse=True)
    to_box, _ = trimesh.bounds.oriented_bounds(hull_piece(vertices[used]).points, angle_digits=2)
    parts = vhacdx.compute_vhacd(
        trimesh.transform_points(vertices[used], to_box),
        np.column_stack([np.full(len(faces), 3), corners.reshape(-1, 3)]).astype(np.uint32).ravel(),
        maxConvexHulls=MAX_PIECES,
        resolution=VOXELS,
        minimumVolumePercentErrorAllowed=2.0,
        asyncACD=False,
    )
    back = np.linalg.inv(to_box)
    pieces = [hull_piece(trimesh.transform_points(points, back)) for points, _ in parts]
    return sorted(pieces, key=lambda piece: (-piece.volume, *piece.points.mean(axis=0)))
