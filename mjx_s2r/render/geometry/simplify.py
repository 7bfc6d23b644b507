"""Mesh decimation: fewer triangles or fewer planes for a large mesh, and the error of that.

A mesh is decimated by quadric edge collapse (M. Garland and P. Heckbert, "Surface Simplification
Using Quadric Error Metrics", SIGGRAPH 1997; package fast-simplification) and by vertex clustering
(P. Lindstrom, "Out-of-Core Simplification of Large Polygonal Models", SIGGRAPH 2000), and whichever
comes nearer to the mesh is kept. Edge collapse is the better one on closed surfaces (error at 256
triangles: torus 1.5 instead of 1.8 % of the size, dented box 0.2 instead of 5.9 %); it cannot join
loose pieces, of which a robot's CAD export has many, and there it stops early or eats them (a leg
of Barkour: 49 instead of 11 %).

Convex shapes become the hull of fewer of their own vertices. Runs once, before any picture.
"""

import fast_simplification
import numpy as np
import trimesh
from scipy.spatial import ConvexHull, KDTree
from scipy.spatial.distance import cdist

AGGRESSIVENESS = (3.0, 7.0)  # of edge collapse: careful, and surer to reach the target
CELLS = 256  # finest grid tried, cells along the longest side
ROUNDS = 14  # steps of bisection
SHIFTS = (0.0, 0.2, 0.4, 0.6, 0.8)  # places of the grid tried, in cells
SAMPLE = 600  # points of each surface that judge between them
FLAT = 1e-3  # eigenvalue ratio below which a cell does not fix its vertex (Lindstrom, section 3.2)
CREASE = 0.8  # faces whose normals have a smaller inner product meet at a sharp edge
MERGE = 1e-4  # planes whose normals differ by less [rad] are one
PAIRS = 2**21  # point-triangle pairs looked at together


def decimate(corners: np.ndarray, max_faces: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns at most ``max_faces`` triangles (F, 3, 3) [m] and their corner normals (F, 3, 3).

    Of what edge collapse and vertex clustering make, the one nearest to the mesh, by a sample. No
    triangle may be left.
    """
    vertices, label = np.unique(corners.reshape(-1, 3), axis=0, return_inverse=True)
    found = []
    for agg in AGGRESSIVENESS if max_faces < len(corners) else ():
        found.append(
            fast_simplification.simplify(
                vertices, label.reshape(-1, 3), target_count=max_faces, agg=agg
            )
        )
    found += [_clustered(corners, max_faces, shift) for shift in SHIFTS]
    best, least = (np.zeros((0, 3)), np.zeros((0, 3), int)), np.inf
    for points, faces in found:
        area = np.linalg.norm(area_normals(points[faces]), axis=1)
        kept = faces[area > FLAT**3 * np.ptp(vertices, axis=0).max() ** 2]
        if 0 < len(kept) <= max_faces:
            error = deviation(corners, points[kept], SAMPLE)
            if error < least:
                best, least = (points, kept), error
    points, faces = best
    return points[faces], corner_normals(points, faces)


def _clustered(corners: np.ndarray, max_faces: int, shift: float) -> tuple[np.ndarray, np.ndarray]:
    """Returns vertices (V, 3) and faces (F, 3) of the finest grid that leaves few triangles."""
    label, width = _bisected(corners.reshape(-1, 3), max_faces, shift)
    return _representatives(corners, label, width), _faces(label)


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
    planes = merged_planes(hull, points[chosen])
    while len(chosen) < len(points):
        outside = (points @ planes[:, :3].T - planes[:, 3]).max(axis=1)
        chosen.append(int(outside.argmax()))
        larger = ConvexHull(points[chosen])
        larger_planes = merged_planes(larger, points[chosen])
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


def merged_planes(hull: ConvexHull, points: np.ndarray) -> np.ndarray:
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


def deviation(a: np.ndarray, b: np.ndarray, count: int | None = None) -> float:
    """Returns the Hausdorff distance [m] of two surfaces of triangles (F, 3, 3), as far as found.

    The largest distance from a corner or middle of a triangle of one to the surface of the other,
    both ways; of about ``count`` of each if given.
    """
    ends = []
    for corners, other in ((a, b), (b, a)):
        points = np.concatenate([np.unique(corners.reshape(-1, 3), axis=0), corners.mean(axis=1)])
        ends.append(distance(points[:: 1 if count is None else len(points) // count + 1], other))
    return max(ends)


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
