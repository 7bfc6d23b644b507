"""Fewer triangles or fewer planes for a shape that is too large to draw, and the error of that.

A mesh of any form is simplified by vertex clustering: vertices in one cell of a grid become one,
placed where the sum of squared distances to the planes of its triangles, weighted by area, is least
(P. Lindstrom, "Out-of-Core Simplification of Large Polygonal Models", SIGGRAPH 2000). Convex shapes
become the hull of fewer of their own vertices. numpy and scipy only; runs once, before any picture.
"""

import numpy as np
from scipy.spatial import ConvexHull, KDTree

CELLS = 256  # finest grid tried, cells along the longest side
ROUNDS = 14  # steps of bisection
SHIFTS = (0.0, 0.2, 0.4, 0.6, 0.8)  # places of the grid tried, in cells
SAMPLE = 600  # vertices that judge between them
FLAT = 1e-3  # eigenvalue ratio below which a cell does not fix its vertex (Lindstrom, section 3.2)
CREASE = 0.8  # faces whose normals have a smaller inner product meet at a sharp edge
MERGE = 1e-4  # planes whose normals differ by less [rad] are one
CHUNK = 2**19  # point-triangle pairs looked at together


def cluster(corners: np.ndarray, max_faces: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns at most ``max_faces`` triangles (F, 3, 3) [m] and their corner normals (F, 3, 3).

    For each of a few places of the grid, bisection finds the finest that is coarse enough; the one
    nearest to a sample of the vertices wins. No triangle may be left.
    """
    points = corners.reshape(-1, 3)
    sample = points[:: max(1, len(points) // SAMPLE)]
    best, least = (np.zeros((0, 3)), np.zeros((0, 3), int)), np.inf
    for shift in SHIFTS:
        label, width = _bisected(points, max_faces, shift)
        vertices, faces = _representatives(corners, label, width), _faces(label)
        flat = np.linalg.norm(area_normals(vertices[faces]), axis=1) < 1e-9 * width**2
        faces = faces[~flat]
        error = distance(sample, vertices[faces]) if len(faces) else np.inf
        if error < least:
            best, least = (vertices, faces), error
    vertices, faces = best
    return vertices[faces], corner_normals(vertices, faces)


def _bisected(points: np.ndarray, max_faces: int, shift: float) -> tuple[np.ndarray, float]:
    """Returns a cell for each point (N,), and the width of cells [m] that leaves few triangles."""
    side = np.ptp(points, axis=0).max()
    coarse, fine = 0.1, float(CELLS)  # a tenth of a cell holds everything, wherever it starts
    for _ in range(ROUNDS):
        middle = np.sqrt(coarse * fine)
        if len(_faces(_labels(points, side / middle, shift))) <= max_faces:
            coarse = middle
        else:
            fine = middle
    return _labels(points, side / coarse, shift), side / coarse


def _labels(points: np.ndarray, width: float, shift: float) -> np.ndarray:
    """Returns (N,) which cell of a grid of cubes each point is in, counted without gaps."""
    cell = np.floor((points - points.min(axis=0)) / width + shift).astype(int)
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


def reduced_hull(points: np.ndarray, max_planes: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns the hull of few of the points (N, 3): planes, triangles and corner normals.

    Planes are (P, 4), (n, d) with n . x <= d inside, triangles (F, 3, 3) [m] and their corners'
    normals (F, 3, 3). Starts from a tetrahedron and adds the point farthest outside while there are
    no more than ``max_planes`` planes.
    """
    chosen = _tetrahedron(points)
    hull = ConvexHull(points[chosen])
    planes = merged(hull, points[chosen])
    while len(chosen) < len(points):
        outside = (points @ planes[:, :3].T - planes[:, 3]).max(axis=1)
        chosen.append(int(outside.argmax()))
        larger = ConvexHull(points[chosen])
        larger_planes = merged(larger, points[chosen])
        if len(larger_planes) > max_planes:
            break
        hull, planes = larger, larger_planes
    return planes, *_surface(hull)


def _surface(hull: ConvexHull) -> tuple[np.ndarray, np.ndarray]:
    """Returns the triangles (F, 3, 3) of a hull, seen from outside, and their corner normals."""
    faces = hull.simplices
    inward = np.sum(area_normals(hull.points[faces]) * hull.equations[:, :3], axis=1) < 0
    faces = np.where(inward[:, None], faces[:, ::-1], faces)
    return hull.points[faces], corner_normals(hull.points, faces)


def _tetrahedron(points: np.ndarray) -> list[int]:
    """Returns four of the points (N, 3) that span much volume."""
    first = int(points[:, 0].argmin())
    away = points - points[first]
    second = int(np.linalg.norm(away, axis=1).argmax())
    area = np.linalg.norm(np.cross(away, away[second]), axis=1)
    third = int(area.argmax())
    fourth = int(np.abs(away @ np.cross(away[second], away[third])).argmax())
    return [first, second, third, fourth]


def merged(hull: ConvexHull, points: np.ndarray) -> np.ndarray:
    """Returns the planes (F, 4) of a hull of points (N, 3), one for all coplanar triangles.

    Each plane is moved out until it has all points on it or below.
    """
    normals = np.unique(hull.equations[:, :3], axis=0)
    twins = KDTree(normals).query_ball_point(normals, MERGE)
    fresh = np.ones(len(normals), bool)
    kept = []
    for i, twin in enumerate(twins):
        if fresh[i]:
            kept.append(normals[i])
            fresh[twin] = False
    planes = np.stack(kept)
    return np.concatenate([planes, (points @ planes.T).max(axis=0)[:, None]], axis=1)


def distance(points: np.ndarray, corners: np.ndarray) -> float:
    """Returns the largest distance [m] of points (N, 3) to triangles (F, 3, 3), nearest each."""
    size = max(1, CHUNK // len(corners))
    parts = [points[i : i + size] for i in range(0, len(points), size)]
    return float(np.sqrt(max(_squared(part, corners).min(axis=1).max() for part in parts)))


def _squared(points: np.ndarray, corners: np.ndarray) -> np.ndarray:
    """Returns squared distances (N, F) of points to triangles.

    That to the plane where a point lies over the inside, else that to the nearest of three edges.
    """
    normal = unit(area_normals(corners))
    height = points @ normal.T - np.sum(normal * corners[:, 0], axis=1)
    over = (np.linalg.norm(normal, axis=1) > 0.5) & np.ones(height.shape, bool)
    best = np.full(height.shape, np.inf)
    for k in range(3):
        start = corners[:, k]
        edge = corners[:, (k + 1) % 3] - start
        length = np.sum(edge * edge, axis=1)
        along = points @ edge.T - np.sum(start * edge, axis=1)
        part = np.clip(along / np.where(length > 0, length, 1.0), 0.0, 1.0)
        apart = np.sum(points**2, axis=1)[:, None] - 2 * points @ start.T + np.sum(start**2, axis=1)
        best = np.minimum(best, apart - part * (2 * along - part * length))
        inward = np.cross(normal, edge)
        over &= points @ inward.T >= np.sum(start * inward, axis=1)
    return np.where(over, height**2, np.maximum(best, 0.0))
