"""Mesh decimation: as few triangles as stay within a given distance of a mesh.

A mesh is first clustered in a grid of cubes (P. Lindstrom, "Out-of-Core Simplification of Large
Polygonal Models", SIGGRAPH 2000), which joins the loose pieces of a CAD export and removes whatever
is smaller than a cube, and then loses edges by quadric collapse (M. Garland and P. Heckbert,
"Surface Simplification Using Quadric Error Metrics", SIGGRAPH 1997; package fast-simplification),
which is the better one on large plain faces but stops early or eats loose pieces. Several cubes and
several targets are tried, and the fewest triangles win that come near enough to the mesh.

Runs once, before any picture.
"""

from dataclasses import dataclass

import fast_simplification
import numpy as np
import trimesh
from scipy.spatial import KDTree
from scipy.spatial.distance import cdist

AGGRESSIVENESS = 7.0  # of edge collapse
CUBES = (0.25, 0.5, 1.0, 1.5)  # sides of the cubes, in tolerances; the first judges the others
ROUNDS = 5  # steps of bisection for the target of edge collapse
SAMPLE = 500  # points of each surface that judge between them
FLAT = 1e-3  # eigenvalue ratio below which a cell does not fix its vertex (Lindstrom, section 3.2)
CREASE = 0.8  # faces whose normals have a smaller inner product meet at a sharp edge
PAIRS = 2**21  # point-triangle pairs looked at together


@dataclass(frozen=True, eq=False)
class Fewer:
    """A decimated mesh.

    Attributes:
        corners: (F, 3, 3) [m].
        normals: (F, 3, 3) unit normals at the corners.
    """

    corners: np.ndarray
    normals: np.ndarray


def decimate(corners: np.ndarray, tolerance_m: float) -> tuple[Fewer | None, float]:
    """Returns few triangles near triangles (F, 3, 3) [m], and their distance [m] either way.

    None, and a distance of 0, where nothing near enough has fewer triangles.
    """
    vertices, label = np.unique(corners.reshape(-1, 3), axis=0, return_inverse=True)
    fine = _sound(*_clustered(corners, CUBES[0] * tolerance_m))
    bases = [fine, *(_sound(*_clustered(corners, c * tolerance_m)) for c in CUBES[1:])]
    if len(corners) < 2 * len(fine[1]):
        bases.append((vertices, label.reshape(-1, 3)))
    judge = _Judge(vertices, fine[0][fine[1]] if len(fine[1]) else corners)
    best, error = None, 0.0
    least = len(corners)
    for points, faces in bases:
        low, high = 4, min(len(faces), least)
        tried = [(points, faces)] if len(faces) < least else []
        for _ in range(ROUNDS):
            middle = int(np.sqrt(low * high))
            if tried:
                found = tried.pop()
            elif middle < len(faces):
                found = _sound(
                    *fast_simplification.simplify(
                        points, faces, target_count=middle, agg=AGGRESSIVENESS
                    )
                )
            else:
                break
            distance_m = judge.distance(found[0][found[1]])
            if distance_m <= tolerance_m:
                high = min(high, len(found[1]))
                if len(found[1]) < least:
                    best, error, least = found, distance_m, len(found[1])
            else:
                low = max(low, middle)
            if high <= 1.1 * low:
                break
    if best is None:
        return None, 0.0
    points, faces = best
    return Fewer(points[faces], corner_normals(points, faces)), error


class _Judge:
    """Tells how far a decimated mesh is from the mesh, by a sample of both."""

    def __init__(self, vertices: np.ndarray, fine: np.ndarray) -> None:
        """Takes the vertices (V, 3) of the mesh, and triangles (F, 3, 3) that are very near it."""
        self._points = vertices[:: len(vertices) // SAMPLE + 1]
        self._fine = fine

    def distance(self, corners: np.ndarray) -> float:
        """Returns the largest distance [m] found, either way; infinite without triangles."""
        if not len(corners):
            return np.inf
        back = np.concatenate([corners.reshape(-1, 3), corners.mean(axis=1)])
        back = back[:: len(back) // SAMPLE + 1]
        return max(distance(self._points, corners), distance(back, self._fine))


def _sound(points: np.ndarray, faces: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the mesh without triangles that have hardly any area."""
    if not len(faces):
        return points, faces
    area = np.linalg.norm(area_normals(points[faces]), axis=1)
    return points, faces[area > FLAT**3 * np.ptp(points, axis=0).max() ** 2]


def is_closed(corners: np.ndarray) -> bool:
    """Returns whether every edge of triangles (F, 3, 3) runs once one way and once the other."""
    label = np.unique(corners.reshape(-1, 3), axis=0, return_inverse=True)[1].reshape(-1, 3)
    start, end = label.ravel().astype(np.int64), np.roll(label, -1, axis=1).ravel()
    many = label.max() + 1
    there, back = np.sort(start * many + end), np.sort(end * many + start)
    return bool(np.array_equal(there, back))


def carried(texcoords: np.ndarray, mesh: np.ndarray, corners: np.ndarray) -> np.ndarray:
    """Returns the texture coordinates (F, 3, 2) of a decimated mesh (F, 3, 3).

    Each corner takes those of the nearest point of the mesh; a point a little towards the middle of
    the triangle is looked up, so that a corner at a seam stays on its own side.

    Args:
        texcoords: (M, 3, 2) at the corners of the mesh.
        mesh: (M, 3, 3) [m].
        corners: (F, 3, 3) [m].
    """
    inner = corners + 0.1 * (corners.mean(axis=1, keepdims=True) - corners)
    near = KDTree(mesh.mean(axis=1)).query(inner.reshape(-1, 3), k=min(8, len(mesh)))[1]
    near = near.reshape(len(inner) * 3, -1)
    points = np.repeat(inner.reshape(-1, 3), near.shape[1], axis=0)
    closest = trimesh.triangles.closest_point(mesh[near.ravel()], points)
    best = np.linalg.norm(closest - points, axis=1).reshape(near.shape).argmin(axis=1)
    row = np.arange(len(near))
    face = near[row, best]
    weight = trimesh.triangles.points_to_barycentric(mesh[face], corners.reshape(-1, 3))
    weight = np.clip(np.nan_to_num(weight), -1.0, 2.0)
    return np.einsum("nk,nkc->nc", weight, texcoords[face]).reshape(*corners.shape[:2], 2)


def _clustered(corners: np.ndarray, width: float) -> tuple[np.ndarray, np.ndarray]:
    """Returns vertices (V, 3) and faces (F, 3) of triangles (F, 3, 3), one vertex per cube."""
    label = _labels(corners.reshape(-1, 3), width)
    return _representatives(corners, label, width), _faces(label)


def _labels(points: np.ndarray, width: float) -> np.ndarray:
    """Returns (N,) which cell of a grid of cubes each point is in, counted without gaps."""
    cell = np.floor((points - points.min(axis=0)) / width).astype(np.int64)
    along = cell.max() + 1
    number = (cell[:, 0] * along + cell[:, 1]) * along + cell[:, 2]
    return np.unique(number, return_inverse=True)[1]


def _faces(label: np.ndarray) -> np.ndarray:
    """Returns the triangles (F, 3) that keep three different vertices, each once."""
    faces = label.reshape(-1, 3)
    faces = faces[(faces != np.roll(faces, 1, axis=1)).all(axis=1)]
    # The same triangle has the same row when it starts at its smallest vertex.
    turn = (faces.argmin(axis=1)[:, None] + np.arange(3)) % 3
    faces = np.take_along_axis(faces, turn, axis=1)
    many = label.max() + 1
    number = np.unique((faces[:, 0] * many + faces[:, 1]) * many + faces[:, 2])
    return np.stack([number // many**2, number // many % many, number % many], axis=1)


def _representatives(corners: np.ndarray, label: np.ndarray, width: float) -> np.ndarray:
    """Returns the vertex (L, 3) of each cell: A x = b solved about the mean of its vertices.

    Directions in which A is nearly zero keep the mean, and so does a solution outside the cell.
    """
    count = np.bincount(label)
    mean = _summed(corners.reshape(-1, 3), label) / count[:, None]
    normal = np.repeat(area_normals(corners), 3, axis=0)
    offset = np.sum(normal * (corners.reshape(-1, 3) - mean[label]), axis=1)
    outer = _summed((normal[:, :, None] * normal[:, None, :]).reshape(-1, 9), label)
    right = _summed(normal * offset[:, None], label)
    value, vector = np.linalg.eigh(outer.reshape(-1, 3, 3))
    firm = value > FLAT * np.maximum(value[:, -1:], 1e-300)
    inverse = np.where(firm, 1 / np.where(firm, value, 1.0), 0.0)
    shift = np.einsum("lij,lj,lkj,lk->li", vector, inverse, vector, right)
    near = np.abs(shift).max(axis=1, keepdims=True) <= width
    return mean + np.where(near, shift, 0.0)


def _summed(rows: np.ndarray, label: np.ndarray) -> np.ndarray:
    """Returns the sum (L, K) of the rows (N, K) of each label (N,)."""
    columns = [np.bincount(label, weights=column) for column in rows.T]
    return np.stack(columns, axis=1)


def area_normals(corners: np.ndarray) -> np.ndarray:
    """Returns the outward normal (F, 3) of each triangle, as long as twice its area [m^2]."""
    return np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])


def unit(vectors: np.ndarray) -> np.ndarray:
    """Returns vectors (..., 3) of length 1; zero stays zero."""
    length = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return vectors / np.where(length > 0, length, 1.0)


def corner_normals(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Returns unit normals (F, 3, 3) at the corners of faces (F, 3): smooth, but not over creases.

    A corner's normal is the mean over the faces at its vertex, by area, without those that meet
    this face at a sharp edge, in the manner of MuJoCo's ``smoothnormal="false"``.
    """
    large = area_normals(vertices[faces])
    normal = unit(large)
    out = np.empty((len(faces), 3, 3))
    for f, face in enumerate(faces):
        alike = (normal @ normal[f] >= CREASE)[:, None]
        for k in range(3):
            shared = ((faces == face[k]) & alike).any(axis=1)
            out[f, k] = large[shared].sum(axis=0)
    return unit(out)


def distance(points: np.ndarray, corners: np.ndarray) -> float:
    """Returns the largest distance [m] of points (N, 3) to triangles (F, 3, 3), nearest each.

    Of each point only those triangles are looked at whose bounding sphere, about the middle, is no
    farther than the nearest corner or middle.
    """
    middle = corners.mean(axis=1)
    radius = np.linalg.norm(corners - middle[:, None], axis=2).max(axis=1)
    bound, _ = KDTree(np.concatenate([corners.reshape(-1, 3), middle])).query(points)
    least = bound.copy()
    size = max(1, PAIRS // len(corners))
    for start in range(0, len(points), size):
        part = slice(start, start + size)
        far = cdist(points[part], middle) - radius > bound[part, None]
        point, face = np.nonzero(~far)
        point += start
        closest = trimesh.triangles.closest_point(corners[face], points[point])
        np.minimum.at(least, point, np.linalg.norm(closest - points[point], axis=1))
    return float(least.max())
