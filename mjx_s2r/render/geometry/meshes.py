"""Mesh loading: the meshes of a MuJoCo model as triangles, as fine as a picture can show.

MuJoCo's compiler moves the vertices of a mesh to its centre of mass and principal axes, and the
geom's pose with it, so they are given in the geom's own frame as they stand.
"""

from dataclasses import dataclass

import mujoco
import numpy as np

from mjx_s2r.render.geometry import simplify
from mjx_s2r.render.geometry.collapse import area_normals

FEW_FACES = 64  # so many triangles are drawn as they are


class MeshGeometryError(ValueError):
    """A mesh that cannot be drawn; the message names it and the remedy."""


@dataclass(frozen=True, eq=False)
class Triangles:
    """A surface in the geom's frame, closed or open.

    Attributes:
        corners: (F, 3, 3) float32 [m] corners, counter-clockwise from outside.
        normals: (F, 3, 3) float32 unit normals at the corners.
        texcoords: (F, 3, 2) float32 texture coordinates at the corners, or None.
        closed: whether every edge of the mesh has a triangle on both sides.
        error_m: largest distance [m] found between the mesh and the surface drawn, either way; 0 if
            all triangles are drawn.
    """

    corners: np.ndarray
    normals: np.ndarray
    texcoords: np.ndarray | None
    closed: bool
    error_m: float

    @property
    def texture_m(self) -> float:
        """How many metres [m] of the surface a texture covers, by its area."""
        if self.texcoords is None:
            return 1.0
        area = np.linalg.norm(area_normals(self.corners), axis=1).sum()
        first, second = (self.texcoords[:, k] - self.texcoords[:, 0] for k in (1, 2))
        laid = np.abs(first[:, 0] * second[:, 1] - first[:, 1] * second[:, 0]).sum()
        return float(np.sqrt(area / max(laid, 1e-12)))


def solid_of(mj_model: mujoco.MjModel, mesh_id: int, tolerance_m: float = 0.0) -> Triangles:
    """Returns mesh ``mesh_id`` in as few triangles as come within ``tolerance_m`` [m] of it.

    Raises:
        MeshGeometryError: a mesh without area.
    """
    name = mesh_name(mj_model, mesh_id)
    corners, normals, texcoords = _read(mj_model, mesh_id)
    solid = np.linalg.norm(area_normals(corners), axis=1) > 0
    if not solid.any():
        raise MeshGeometryError(
            f"mesh {name!r}: none of its {len(corners)} triangles has an area; remove the geom, "
            "put it in a group above 2, or repair the mesh"
        )
    closed = simplify.is_closed(corners)
    corners, normals = corners[solid], normals[solid]
    texcoords = None if texcoords is None else texcoords[solid]
    error = 0.0
    if len(corners) > FEW_FACES and tolerance_m > 0:
        fewer, error = simplify.decimate(corners, tolerance_m)
        if fewer is not None:
            if texcoords is not None:
                texcoords = simplify.carry_texture(texcoords, corners, fewer.corners)
            corners, normals = fewer.corners, fewer.normals
    return Triangles(
        corners.astype(np.float32),
        normals.astype(np.float32),
        None if texcoords is None else texcoords.astype(np.float32),
        closed,
        error,
    )


def mesh_name(mj_model: mujoco.MjModel, mesh_id: int) -> str:
    """Returns the name of a mesh; an unnamed one is called "mesh" and its id."""
    return mj_model.mesh(mesh_id).name or f"mesh{mesh_id}"


def _read(
    mj_model: mujoco.MjModel, mesh_id: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """Returns corners (F, 3, 3) [m], normals (F, 3, 3) and texture coordinates (F, 3, 2) or None.

    As MuJoCo draws it: a corner's normal that leans far from its triangle is that of the triangle,
    unless the mesh has texture coordinates.
    """
    first, count = mj_model.mesh_faceadr[mesh_id], mj_model.mesh_facenum[mesh_id]
    faces = slice(first, first + count)
    face = mj_model.mesh_face[faces] + mj_model.mesh_vertadr[mesh_id]
    normal = mj_model.mesh_facenormal[faces] + mj_model.mesh_normaladr[mesh_id]
    corners = mj_model.mesh_vert[face].astype(float)
    normals = mj_model.mesh_normal[normal].astype(float)
    start = mj_model.mesh_texcoordadr[mesh_id]
    if start >= 0:
        return corners, normals, mj_model.mesh_texcoord[mj_model.mesh_facetexcoord[faces] + start]
    flat = simplify.unit(area_normals(corners))[:, None]
    leans = np.sum(normals * flat, axis=2, keepdims=True) < simplify.CREASE
    return corners, np.where(leans, flat, normals), None
