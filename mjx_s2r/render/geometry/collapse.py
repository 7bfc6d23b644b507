"""Edge collapse: fewer triangles for a mesh, many edges at a time.

Quadric edge collapse (M. Garland and P. Heckbert, "Surface Simplification Using Quadric Error
Metrics", SIGGRAPH 1997) of whatever edges have a small error and no common neighbours, round after
round. Unlike fast-simplification, whose closed surfaces must stay closed surfaces, it takes any
triangles: of the clustered meshes of a robot's CAD export that one leaves three times as many at
the same distance, and of some it cannot remove any.
"""

from dataclasses import dataclass

import numpy as np

ROUNDS = 80
FLIP = 0.2  # a triangle may not turn by more than the angle of this cosine
STEPS = 8  # errors this part of the limit apart count as equal, and chance decides
FIRM = 1e-3  # how strongly a new vertex is drawn to the middle of its edge where nothing holds it

Mesh = tuple[np.ndarray, np.ndarray]  # vertices (V, 3) [m] and faces (F, 3)


@dataclass
class _Quadrics:
    """Squared distances from the planes that met at each vertex, by area.

    Attributes:
        matrix: (V, 4, 4).
        weight: (V,) [m^2] twice the area of the triangles.
    """

    matrix: np.ndarray
    weight: np.ndarray


@dataclass(frozen=True)
class _Edges:
    """Edges that may collapse.

    Attributes:
        ends: (E, 2) vertices, the smaller number first.
        place: (E, 3) [m] where the two become one.
        error: (E,) [m] root of the mean square distance from the planes there.
    """

    ends: np.ndarray
    place: np.ndarray
    error: np.ndarray

    def __getitem__(self, kept: np.ndarray) -> "_Edges":
        """Returns some of them."""
        return _Edges(self.ends[kept], self.place[kept], self.error[kept])


def collapsed(points: np.ndarray, faces: np.ndarray, limit_m: float) -> Mesh:
    """Returns a mesh without the edges that can collapse with an error of ``limit_m`` [m] or less.

    Args:
        points: (V, 3) [m] vertices.
        faces: (F, 3) triangles.
        limit_m: largest root of the mean square distance from the planes that met at a vertex.
    """
    points, quadrics = points.copy(), _quadrics(points, faces)
    banned = np.zeros((0, 2), int)
    rng = np.random.default_rng(0)
    for _ in range(ROUNDS):
        edges = _candidates(points, faces, quadrics, banned, limit_m)
        if not len(edges.ends):
            break
        steps = np.floor(STEPS * edges.error / limit_m)
        order = np.lexsort((rng.random(len(steps)), steps))
        chosen = edges[_apart(faces, edges.ends, order, len(points))]
        turned = _turned(points, faces, chosen, limit_m)
        good = chosen[~turned]
        first, second = good.ends.T
        points[first] = good.place
        quadrics.matrix[first] += quadrics.matrix[second]
        quadrics.weight[first] += quadrics.weight[second]
        moved = np.zeros(len(points), bool)
        moved[good.ends] = True
        banned = np.concatenate([banned, chosen.ends[turned]])
        banned = banned[~moved[banned].any(axis=1)]
        into = np.arange(len(points))
        into[second] = first
        faces = distinct(into[faces])
    used, faces = np.unique(faces, return_inverse=True)
    return points[used], faces.reshape(-1, 3)


def distinct(faces: np.ndarray) -> np.ndarray:
    """Returns the triangles (F, 3) that keep three different vertices, each once."""
    faces = faces[(faces != np.roll(faces, 1, axis=1)).all(axis=1)]
    # The same triangle has the same row when it starts at its smallest vertex.
    turn = (faces.argmin(axis=1)[:, None] + np.arange(3)) % 3
    faces = np.take_along_axis(faces, turn, axis=1).astype(np.int64)
    many = int(faces.max()) + 1 if len(faces) else 1
    number = np.unique((faces[:, 0] * many + faces[:, 1]) * many + faces[:, 2])
    return np.stack([number // many**2, number // many % many, number % many], axis=1)


def _quadrics(points: np.ndarray, faces: np.ndarray) -> _Quadrics:
    """Returns the quadrics of the triangles at each vertex, and of open edges across their face."""
    matrix, weight = np.zeros((len(points), 4, 4)), np.zeros(len(points))
    normal = area_normals(points[faces])
    area = np.linalg.norm(normal, axis=1)
    outer = _plane_quadrics(normal, points[faces[:, 0]], area)
    for k in range(3):
        np.add.at(matrix, faces[:, k], outer)
        np.add.at(weight, faces[:, k], area)
    ends = np.concatenate([faces[:, [k, (k + 1) % 3]] for k in range(3)])
    _, label, count = np.unique(
        np.sort(ends, axis=1), axis=0, return_inverse=True, return_counts=True
    )
    open_ = np.flatnonzero(count[label] == 1)
    way = points[ends[open_, 1]] - points[ends[open_, 0]]
    across = np.cross(normal[open_ % len(faces)], way)
    outer = _plane_quadrics(across, points[ends[open_, 0]], np.sum(way * way, axis=1))
    for k in range(2):
        np.add.at(matrix, ends[open_, k], outer)
    return _Quadrics(matrix, weight)


def _plane_quadrics(normal: np.ndarray, through: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Returns (N, 4, 4) of planes of normals (N, 3) of any length through points (N, 3)."""
    normal = normal / np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-30)
    plane = np.concatenate([normal, -np.sum(normal * through, axis=1, keepdims=True)], axis=1)
    return weight[:, None, None] * plane[:, :, None] * plane[:, None, :]


def _candidates(
    points: np.ndarray,
    faces: np.ndarray,
    quadrics: _Quadrics,
    banned: np.ndarray,
    limit_m: float,
) -> _Edges:
    """Returns the edges that are not banned and have a small error.

    Their new vertex is the best of four: where the quadric is least, the middle, the two ends.
    """
    many = len(points)
    ends = np.sort(np.concatenate([faces[:, [k, (k + 1) % 3]] for k in range(3)]), axis=1)
    number = np.unique(ends[:, 0].astype(np.int64) * many + ends[:, 1])
    number = number[~np.isin(number, banned[:, 0] * many + banned[:, 1])]
    ends = np.stack([number // many, number % many], axis=1)
    matrix = quadrics.matrix[ends].sum(axis=1)
    two, middle = points[ends], points[ends].mean(axis=1)
    pull = FIRM * np.trace(matrix[:, :3, :3], axis1=1, axis2=2) / 3 + 1e-30
    least = np.linalg.solve(
        matrix[:, :3, :3] + pull[:, None, None] * np.eye(3),
        (pull[:, None] * middle - matrix[:, :3, 3])[..., None],
    )[..., 0]
    far = np.linalg.norm(least - middle, axis=1) > limit_m + np.linalg.norm(
        two[:, 0] - two[:, 1], axis=1
    )
    least = np.where(far[:, None], middle, least)
    places = np.stack([least, middle, two[:, 0], two[:, 1]], axis=1)
    height = np.concatenate([places, np.ones((*places.shape[:2], 1))], axis=2)
    square = np.einsum("eci,eij,ecj->ec", height, matrix, height, optimize=True)
    best = square.argmin(axis=1)
    row = np.arange(len(ends))
    weight = np.maximum(quadrics.weight[ends].sum(axis=1), 1e-30)
    error = np.sqrt(np.maximum(square[row, best], 0) / weight)
    return _Edges(ends, places[row, best], error)[error <= limit_m]


def _apart(faces: np.ndarray, ends: np.ndarray, order: np.ndarray, count: int) -> np.ndarray:
    """Returns (E,) True for edges that come first among all at their ends and these's neighbours.

    No triangle then touches two of them.

    Args:
        faces: (F, 3).
        ends: (E, 2) of the edges.
        order: (E,) the edges, the first to collapse first.
        count: how many vertices there are.
    """
    rank = np.empty(len(ends), int)
    rank[order] = np.arange(len(ends))
    least = np.full(count, len(ends))
    for k in range(2):
        np.minimum.at(least, ends[:, k], rank)
    around = least.copy()
    for k in range(3):
        np.minimum.at(around, faces[:, k], least[faces].min(axis=1))
    return (rank[:, None] == around[ends]).all(axis=1)


def _turned(points: np.ndarray, faces: np.ndarray, edges: _Edges, limit_m: float) -> np.ndarray:
    """Returns (E,) True for edges whose collapse would turn a triangle over."""
    owner = np.full(len(points), -1)
    owner[edges.ends] = np.arange(len(edges.ends))[:, None]
    by = owner[faces]
    touched = ((by >= 0).sum(axis=1) == 1).nonzero()[0]  # those at both ends vanish
    by, old = by[touched], points[faces[touched]]
    new = np.where((by >= 0)[..., None], edges.place[np.maximum(by, 0)], old)
    before, after = area_normals(old), area_normals(new)
    length = np.linalg.norm(before, axis=1)
    over = np.sum(before * after, axis=1) < FLIP * length * np.linalg.norm(after, axis=1)
    over &= length > 1e-3 * limit_m * limit_m  # a sliver looks anywhere
    turned = np.zeros(len(edges.ends), bool)
    turned[by.max(axis=1)[over]] = True
    return turned


def area_normals(corners: np.ndarray) -> np.ndarray:
    """Returns the outward normal (F, 3) of each triangle, as long as twice its area [m^2]."""
    return np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
