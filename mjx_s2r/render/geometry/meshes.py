"""Mesh loading: the meshes of a MuJoCo model as planes where they are convex, else as triangles.

MuJoCo's compiler moves the vertices of a mesh to its centre of mass and principal axes, and the
geom's pose with it, so they are given in the geom's own frame as they stand.
"""

from dataclasses import dataclass

import mujoco
import numpy as np
from scipy.spatial import ConvexHull, QhullError

from mjx_s2r.render.geometry import simplify

MAX_FACES = 256  # triangles drawn of one mesh
MAX_PLANES = 128  # planes drawn of one convex mesh
FLUSH = 1e-5  # a vertex this part of the size below the hull is still on it
ALIKE = 1e-4  # relative difference of area and of volume at which a mesh is still its hull


class MeshGeometryError(ValueError):
    """A mesh that cannot be drawn; the message names it and the remedy."""


@dataclass(frozen=True, eq=False)
class Polytope:
    """A convex solid in the geom's frame.

    Attributes:
        planes: (F, 4) float32 (n, d), n a unit vector, n . x <= d [m] inside.
        shading: (F, 3, 4) float32 the normal to shade with on each plane, an affine function of the
            point (x, y, z, 1); n alone if the mesh has sharp edges.
        error_m: largest distance [m] between the mesh and the surface drawn, either way, as
            `simplify.deviation` finds it; 0 if all faces are drawn, to within `FLUSH`.
    """

    planes: np.ndarray
    shading: np.ndarray
    error_m: float


@dataclass(frozen=True, eq=False)
class Triangles:
    """A surface in the geom's frame, closed or open.

    Attributes:
        corners: (F, 3, 3) float32 [m] corners, counter-clockwise from outside.
        normals: (F, 3, 3) float32 unit normals at the corners.
        error_m: largest distance [m] between the mesh and the surface drawn, either way, as
            `simplify.deviation` finds it; 0 if all triangles are drawn.
    """

    corners: np.ndarray
    normals: np.ndarray
    error_m: float


def solid_of(
    mj_model: mujoco.MjModel,
    mesh_id: int,
    *,
    max_faces: int = MAX_FACES,
    max_planes: int = MAX_PLANES,
) -> Polytope | Triangles:
    """Returns mesh ``mesh_id`` as planes if it is convex, else as triangles.

    One with more than ``max_planes`` planes or ``max_faces`` triangles is simplified.

    Raises:
        MeshGeometryError: a mesh without area, or a limit too low to draw anything.
    """
    name = mesh_name(mj_model, mesh_id)
    if max_planes < 4 or max_faces < 1:
        raise MeshGeometryError(
            f"mesh {name!r}: max_planes {max_planes} and max_faces {max_faces} cannot make a "
            "shape; use 4 planes and 1 face or more"
        )
    corners, normals = _read(mj_model, mesh_id)
    solid = np.linalg.norm(simplify.area_normals(corners), axis=1) > 0
    if not solid.any():
        raise MeshGeometryError(
            f"mesh {name!r}: none of its {len(corners)} triangles has an area; remove the geom, "
            "put it in a group above 2, or repair the mesh"
        )
    corners, normals = corners[solid], normals[solid]
    points = np.unique(corners.reshape(-1, 3), axis=0)
    hull = _hull_if_convex(corners, points)
    if hull is not None:
        return _polytope(hull, corners, normals, points, max_planes)
    if len(corners) <= max_faces:
        return Triangles(corners.astype(np.float32), normals.astype(np.float32), 0.0)
    fewer, fewer_normals = simplify.decimate(corners, max_faces)
    if not len(fewer):
        raise MeshGeometryError(
            f"mesh {name!r}: its {len(corners)} triangles cannot be simplified to {max_faces}; "
            "raise max_faces, or give the geom a simpler mesh"
        )
    error = simplify.deviation(corners, fewer)
    return Triangles(fewer.astype(np.float32), fewer_normals.astype(np.float32), error)


def mesh_name(mj_model: mujoco.MjModel, mesh_id: int) -> str:
    """Returns the name of a mesh; an unnamed one is called "mesh" and its id."""
    return mj_model.mesh(mesh_id).name or f"mesh{mesh_id}"


def _read(mj_model: mujoco.MjModel, mesh_id: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns corners (F, 3, 3) [m] and corner normals (F, 3, 3) of a mesh of the model.

    As MuJoCo draws it: a corner's normal that leans far from its triangle is that of the triangle,
    unless the mesh has texture coordinates.
    """
    first, count = mj_model.mesh_faceadr[mesh_id], mj_model.mesh_facenum[mesh_id]
    face = mj_model.mesh_face[first : first + count] + mj_model.mesh_vertadr[mesh_id]
    normal = mj_model.mesh_facenormal[first : first + count] + mj_model.mesh_normaladr[mesh_id]
    corners = mj_model.mesh_vert[face].astype(float)
    normals = mj_model.mesh_normal[normal].astype(float)
    if mj_model.mesh_texcoordadr[mesh_id] >= 0:
        return corners, normals
    flat = simplify.unit(simplify.area_normals(corners))[:, None]
    leans = np.sum(normals * flat, axis=2, keepdims=True) < simplify.CREASE
    return corners, np.where(leans, flat, normals)


def _hull_if_convex(corners: np.ndarray, points: np.ndarray) -> ConvexHull | None:
    """Returns the hull of the points (V, 3) if the triangles (F, 3, 3) are its surface, else None.

    They are if area and volume are the same and no vertex lies inside; a mesh that is open, flat,
    turned inside out or has an inner wall is not.
    """
    try:
        hull = ConvexHull(points)
    except QhullError:
        return None
    normals = simplify.area_normals(corners)
    area = np.linalg.norm(normals, axis=1).sum() / 2
    volume = np.sum((corners[:, 0] - points.mean(axis=0)) * normals) / 6
    if abs(area / hull.area - 1) > ALIKE or abs(volume / hull.volume - 1) > ALIKE:
        return None
    depth = _depth(np.delete(points, hull.vertices, axis=0), hull)
    return hull if depth <= FLUSH * np.ptp(points, axis=0).max() else None


def _depth(points: np.ndarray, hull: ConvexHull) -> float:
    """Returns how deep [m] the deepest of the points (N, 3) lies inside of a hull."""
    planes = np.unique(hull.equations, axis=0)
    parts = np.array_split(points, len(points) // 256 + 1)
    depths = [-(part @ planes[:, :3].T + planes[:, 3]).max(axis=1) for part in parts if len(part)]
    return max((float(depth.max()) for depth in depths), default=0.0)


def _polytope(
    hull: ConvexHull,
    corners: np.ndarray,
    normals: np.ndarray,
    points: np.ndarray,
    max_planes: int,
) -> Polytope:
    """Returns a hull of the points (V, 3), or that of fewer points if it has too many planes.

    Args:
        hull: the hull.
        corners: (F, 3, 3) [m] triangles of the mesh.
        normals: (F, 3, 3) at their corners.
        points: the vertices [m].
        max_planes: how many planes are allowed.
    """
    planes, error = simplify.merged_planes(hull, points), 0.0
    if len(planes) > max_planes:
        mesh = corners
        planes, corners, normals = simplify.reduced_hull(points[hull.vertices], max_planes)
        error = simplify.deviation(mesh, corners)
    shading = _shading(planes, corners, normals)
    return Polytope(planes.astype(np.float32), shading.astype(np.float32), error)


def _shading(planes: np.ndarray, corners: np.ndarray, normals: np.ndarray) -> np.ndarray:
    """Returns (P, 3, 4) the affine function of the point nearest to the corners' normals.

    By least squares over the corners of the triangles on each plane; constant across the plane.
    """
    flat = simplify.unit(simplify.area_normals(corners))
    owner = (flat @ planes[:, :3].T).argmax(axis=1)
    out = np.concatenate([np.zeros((len(planes), 3, 3)), planes[:, :3, None]], axis=2)
    for p in np.unique(owner):
        place, normal = (a[owner == p].reshape(-1, 3) for a in (corners, normals))
        slope = np.linalg.pinv(place - place.mean(axis=0), rcond=1e-3) @ (
            normal - normal.mean(axis=0)
        )
        out[p, :, :3] = slope.T
        out[p, :, 3] = normal.mean(axis=0) - place.mean(axis=0) @ slope
    return out
