"""Meshes of fewer triangles within a stated distance of the original, texture coordinates kept.

A closed mesh is simplified within a tolerance by the Manifold library (E. Lalish, manifold3d). From
there, or from the mesh itself where it is not closed, edges are collapsed by quadrics (M. Garland
and P. Heckbert, "Surface Simplification Using Quadric Error Metrics", SIGGRAPH 1997; package
fast-simplification). Each result is measured, and the fewest triangles that stay within the
distance are kept.
"""

from dataclasses import dataclass

import fast_simplification
import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import KDTree

from mjx_s2r.render.geometry.collapse import area_normals
from mjx_s2r.render.geometry.simplify import distance, unit

SHARES = (1.0, 0.5, 0.25)  # of the distance, that Manifold is given as its tolerance
AGGRESSIVENESS = 3.0  # of edge collapse: careful
STOP = 0.3  # difference of the logarithms of two numbers of triangles that ends the search
FEWEST = 12
SAMPLES = 700  # points of each surface that are measured
NEAR = 8  # original triangles looked at for the texture of one


@dataclass(frozen=True, eq=False)
class DrawnMesh:
    """A mesh to be drawn.

    Attributes:
        vertices: (V, 3) [m].
        faces: (F, 3) indices into the vertices.
        uv: (F, 3, 2) texture coordinates at the corners, or None.
    """

    vertices: np.ndarray
    faces: np.ndarray
    uv: np.ndarray | None = None

    @property
    def corners(self) -> np.ndarray:
        """(F, 3, 3) corners of the triangles [m]."""
        return np.asarray(self.vertices[self.faces])


def decimate_within(mesh: DrawnMesh, error: float) -> tuple[DrawnMesh, float]:
    """Returns a mesh of few triangles, and how far its surface is from the original's [m].

    The distance is the largest both ways from ``SAMPLES`` points of each.

    Args:
        mesh: the original.
        error: how far it may be [m]; the original comes back where nothing smaller is as near.
    """
    vertices, label = np.unique(mesh.vertices, axis=0, return_inverse=True)
    faces = label[mesh.faces]
    whole = DrawnMesh(vertices, faces[(area_normals(vertices[faces]) ** 2).sum(axis=1) > 0])
    best, off = mesh, 0.0
    starts = [_within_tolerance(whole, share * error) for share in SHARES]
    for start in [one for one in starts if one is not None] or [whole]:
        far = 0.0 if start is whole else _apart(mesh, start, error)
        if far <= error and len(start.faces) < len(best.faces):
            best, off = start, far
        low, high = np.log(FEWEST), np.log(max(len(start.faces), FEWEST))
        while high - low > STOP:
            middle = (low + high) / 2
            target = int(np.exp(middle))
            found = DrawnMesh(
                *fast_simplification.simplify(
                    start.vertices, start.faces, target_count=target, agg=AGGRESSIVENESS
                )
            )
            far = _apart(mesh, found, error)
            if far <= error and len(found.faces) < len(best.faces):
                best, off = found, far
            low, high = (low, middle) if far <= error else (middle, high)
    if best is not mesh and mesh.uv is not None:
        best = DrawnMesh(best.vertices, best.faces, _texture(mesh, mesh.uv, best.corners))
    return best, off


def _apart(mesh: DrawnMesh, other: DrawnMesh, error: float) -> float:
    """Returns how far two surfaces are apart [m], or something above ``error`` if they are."""
    if not len(other.faces):
        return np.inf
    far = float(distance(_samples(mesh), other.corners).max())
    return far if far > error else max(far, float(distance(_samples(other), mesh.corners).max()))


def _samples(mesh: DrawnMesh) -> np.ndarray:
    """Returns about ``SAMPLES`` corners and middles (N, 3) of triangles [m]."""
    points = np.concatenate([mesh.vertices, mesh.corners.mean(axis=1)])
    return points[:: len(points) // SAMPLES + 1]


def _within_tolerance(mesh: DrawnMesh, tolerance: float) -> DrawnMesh | None:
    """Returns a closed mesh whose surface moved by less than about ``tolerance`` [m], or None.

    None where the triangles enclose nothing, which Manifold cannot take, or where nothing is left.
    """
    import manifold3d

    solid = manifold3d.Manifold(
        manifold3d.Mesh(mesh.vertices.astype(np.float32), mesh.faces.astype(np.uint32))
    )
    if solid.status() != manifold3d.Error.NoError:
        return None
    found = solid.simplify(tolerance).to_mesh()
    faces = np.asarray(found.tri_verts, np.int64)
    return DrawnMesh(np.asarray(found.vert_properties, float)[:, :3], faces) if len(faces) else None


def _texture(mesh: DrawnMesh, uv: np.ndarray, corners: np.ndarray) -> np.ndarray:
    """Returns texture coordinates (K, 3, 2) for new triangles (K, 3, 3).

    Each takes them from one chart of the original (triangles that share texture coordinates), the
    chart of the triangle nearest to its middle among those that face the same way, so that no seam
    runs through it; coordinates go on linearly beyond the nearest triangle of that chart.
    """
    charts = _charts(uv)
    old = mesh.corners
    normals, facing = unit(area_normals(old)), unit(area_normals(corners))
    middle = corners.mean(axis=1)
    _, near = KDTree(old.mean(axis=1)).query(middle, k=min(NEAR, len(old)))
    near = near.reshape(len(middle), -1)
    alike = np.einsum("knx,kx->kn", normals[near], facing)
    best = near[np.arange(len(near)), np.where(alike > 0.5, 1.0, alike).argmax(axis=1)]
    out = np.empty((len(corners), 3, 2))
    for chart in np.unique(charts[best]):
        rows, members = charts[best] == chart, np.flatnonzero(charts == chart)
        points = corners[rows] * 0.98 + middle[rows][:, None] * 0.02
        _, found = KDTree(old[members].mean(axis=1)).query(points.reshape(-1, 3))
        face = members[found]
        share = _barycentric(old[face], corners[rows].reshape(-1, 3))
        out[rows] = np.einsum("nk,nkc->nc", share, uv[face]).reshape(-1, 3, 2)
    return out


def _charts(uv: np.ndarray) -> np.ndarray:
    """Returns (F,) the number of the chart of each triangle, from its coordinates (F, 3, 2)."""
    _, label = np.unique(uv.reshape(-1, 2).round(7), axis=0, return_inverse=True)
    label = label.reshape(-1, 3)
    edges = label[:, [0, 1, 1, 2]].reshape(-1, 2)
    size = int(label.max()) + 1
    graph = coo_array((np.ones(len(edges), bool), edges.T), (size, size))
    return np.asarray(connected_components(graph, directed=False)[1][label[:, 0]])


def _barycentric(triangles: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Returns coordinates (N, 3) of points (N, 3) in the planes of triangles (N, 3, 3)."""
    a, b = triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0]
    p = points - triangles[:, 0]
    aa, ab, bb = (a * a).sum(1), (a * b).sum(1), (b * b).sum(1)
    pa, pb = (p * a).sum(1), (p * b).sum(1)
    area = np.maximum(aa * bb - ab * ab, 1e-30)
    v, w = (bb * pa - ab * pb) / area, (aa * pb - ab * pa) / area
    share = np.clip(np.stack([1 - v - w, v, w], axis=1), -1.0, 2.0)
    return np.asarray(share / share.sum(axis=1, keepdims=True))
