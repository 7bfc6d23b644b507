"""Mesh decimation: as few triangles as stay within a given distance of a mesh.

A mesh is first clustered in a grid of cubes (P. Lindstrom, "Out-of-Core Simplification of Large
Polygonal Models", SIGGRAPH 2000), which joins the loose pieces of a CAD export and removes whatever
is smaller than a cube, and then loses edges (`collapse`), which large plain faces need. Several
cubes and several limits are tried, and the fewest triangles win that come near enough to the mesh.

Runs once, before any picture.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import trimesh
from scipy.spatial import KDTree
from scipy.spatial.distance import cdist

from mjx_s2r.render.geometry.collapse import Mesh, area_normals, collapsed, distinct

CUBES = (0.7, 1.2)  # sides of the cubes, in tolerances
SMALLER = (0.4, 0.25)  # likewise, where those come to nothing
FARTHEST = 3.0  # distance that no point may exceed, in tolerances
LIMITS = (0.6, 0.3, 0.15)  # errors of edge collapse, in tolerances, fewest triangles first
FINE = 0.25  # side of the cubes of the mesh that stands for the real one, in tolerances
CLOUD = 20000  # points that tell which of these can be seen from outside
SIDEWAYS = 0.1  # a point that looks the other way is twice this share of the size farther away
CELLS = 128  # along the largest side, as fine as that many points can fill
SAMPLE = 500  # points of each surface that judge between them
OUTLIERS = 0.05  # share of these points that may be farther away, up to `FARTHEST` tolerances
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

    The distance is at most the tolerance, but for a twentieth of the surface, where it may be three
    times as large; what lies inside of the mesh does not count. None, and a distance of 0, where
    nothing near enough has fewer triangles.
    """
    vertices, label = np.unique(corners.reshape(-1, 3), axis=0, return_inverse=True)
    fine = _clustered(corners, FINE * tolerance_m)
    judge = _Judge(corners, fine[0][fine[1]] if len(fine[1]) else corners, tolerance_m)
    best, error, least = None, 0.0, len(corners)
    bases = [_clustered(corners, cube * tolerance_m) for cube in CUBES]
    if len(corners) < 2 * len(fine[1]):
        bases.append((vertices, label.reshape(-1, 3)))
    spare = iter(SMALLER)
    for base in bases:
        for points, faces in _tries(*base, tolerance_m):
            if not 0 < len(faces) < least:
                continue
            most, farthest = judge.distances(points[faces])
            if most <= tolerance_m and farthest <= FARTHEST * tolerance_m:
                best, error, least = (points, faces), farthest, len(faces)
                break
        if best is None and base is bases[-1] and (cube := next(spare, None)) is not None:
            bases.append(_clustered(corners, cube * tolerance_m))
    if best is None:
        return None, 0.0
    points, faces = best
    return Fewer(points[faces], corner_normals(points, faces)), error


def _tries(points: np.ndarray, faces: np.ndarray, tolerance_m: float) -> Iterator[Mesh]:
    """Yields meshes, each nearer to the given one and with more triangles than the one before."""
    for limit in LIMITS:
        yield _sound(*collapsed(points, faces, limit * tolerance_m))
    yield points, faces


class _Judge:
    """Tells how far a decimated mesh is from the mesh, by a sample of both surfaces."""

    def __init__(self, corners: np.ndarray, fine: np.ndarray, tolerance_m: float) -> None:
        """Takes the mesh (F, 3, 3), triangles (G, 3, 3) that are very near it, and a length [m]."""
        points = _scattered(corners, SAMPLE)
        cloud = _scattered(corners, CLOUD)
        cell = max(tolerance_m, np.ptp(cloud, axis=0).max() / CELLS)
        outside = _outside(points, cloud, cell)
        self._points = points[outside] if outside.any() else points
        self._fine = fine

    def distances(self, corners: np.ndarray) -> tuple[float, float]:
        """Returns the distance [m] of most of the surface (see `OUTLIERS`) and of the farthest."""
        both = (
            distance(self._points, corners),
            distance(_scattered(corners, SAMPLE), self._fine),
        )
        return (
            max(float(np.quantile(d, 1 - OUTLIERS)) for d in both),
            max(float(d.max()) for d in both),
        )


def _scattered(corners: np.ndarray, count: int) -> np.ndarray:
    """Returns points (count, 3) spread evenly over the surface of triangles (F, 3, 3)."""
    face, weight = _places(corners, count)
    return np.einsum("nk,nkc->nc", weight, corners[face])


def _places(corners: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns faces (count,) and shares of their corners (count, 3), evenly over the surface."""
    area = np.cumsum(np.linalg.norm(area_normals(corners), axis=1))
    rng = np.random.default_rng(0)
    at = (np.arange(count) + rng.random(count)) / count * area[-1]
    face = np.minimum(np.searchsorted(area, at), len(corners) - 1)
    root, along = np.sqrt(rng.random(count)), rng.random(count)
    return face, np.stack([1 - root, root * (1 - along), root * along], axis=1)


def _outside(points: np.ndarray, cloud: np.ndarray, cell: float) -> np.ndarray:
    """Returns (N,) whether points (N, 3) can be seen past a cloud of points (M, 3) from outside.

    Looked at from the faces, edges and corners of a cube; a point is hidden where the cloud has one
    nearer to the eye by more than a cell, in the same cell [m] of the picture.
    """
    seen = np.zeros(len(points), bool)
    for way in np.stack(np.meshgrid(*[(-1, 0, 1)] * 3), axis=-1).reshape(-1, 3):
        if not way.any():
            continue
        third = way / np.linalg.norm(way)
        first = np.cross(third, np.eye(3)[np.abs(way).argmin()])
        first /= np.linalg.norm(first)
        axes = np.stack([first, np.cross(third, first), third])
        low = (cloud @ axes.T).min(axis=0)
        both = [(np.floor(((p @ axes.T) - low) / cell)[:, :2].astype(int)) for p in (points, cloud)]
        across = max(int(b.max()) for b in both) + 2
        where = [np.clip(b[:, 0], 0, None) * across + np.clip(b[:, 1], 0, None) for b in both]
        front = np.full(across * across, -np.inf)
        np.maximum.at(front, where[1], cloud @ third)
        seen |= points @ third >= front[where[0]] - cell
    return seen


def _sound(points: np.ndarray, faces: np.ndarray) -> Mesh:
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


def carry_texture(texcoords: np.ndarray, mesh: np.ndarray, corners: np.ndarray) -> np.ndarray:
    """Returns the texture coordinates (F, 3, 2) of a decimated mesh (F, 3, 3).

    Points all over a triangle take those of the nearest point of the mesh that looks the same way,
    and the corners get the affine function nearest to them.

    Args:
        texcoords: (M, 3, 2) at the corners of the mesh.
        mesh: (M, 3, 3) [m].
        corners: (F, 3, 3) [m].
    """
    face, weight = _places(mesh, CLOUD)
    cloud = np.einsum("nk,nkc->nc", weight, mesh[face])
    laid = np.einsum("nk,nkc->nc", weight, texcoords[face])
    turn = SIDEWAYS * np.ptp(mesh.reshape(-1, 3), axis=0).max()
    tree = KDTree(np.concatenate([cloud, turn * unit(area_normals(mesh))[face]], axis=1))
    share = np.array([(i, k, 8 - i - k) for i in range(9) for k in range(9 - i)]) / 8
    points = np.einsum("sk,fkc->fsc", share, corners)
    way = np.repeat(turn * unit(area_normals(corners))[:, None], len(share), axis=1)
    near = tree.query(np.concatenate([points, way], axis=2))[1]
    return np.einsum("ks,fsc->fkc", np.linalg.pinv(share), laid[near])


def _clustered(corners: np.ndarray, width: float) -> Mesh:
    """Returns vertices (V, 3) and faces (F, 3) of triangles (F, 3, 3), one vertex per cube."""
    label = _labels(corners.reshape(-1, 3), width)
    return _sound(_representatives(corners, label, width), distinct(label.reshape(-1, 3)))


def _labels(points: np.ndarray, width: float) -> np.ndarray:
    """Returns (N,) which cell of a grid of cubes each point is in, counted without gaps."""
    cell = np.floor((points - points.min(axis=0)) / width).astype(np.int64)
    along = cell.max() + 1
    number = (cell[:, 0] * along + cell[:, 1]) * along + cell[:, 2]
    return np.unique(number, return_inverse=True)[1]


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


def distance(points: np.ndarray, corners: np.ndarray) -> np.ndarray:
    """Returns the distance (N,) [m] of points (N, 3) to the nearest of triangles (F, 3, 3).

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
    return least
