"""Triangle meshes of a model's geoms, for viewers that know nothing of MuJoCo's shapes."""

import mujoco
import numpy as np
import trimesh
from trimesh import creation

SIDES = 24  # of a circle
SUBDIVISIONS = 3  # of the icosahedron that stands for a sphere: 1280 triangles
REACH = 5.0  # of a plane without end, in extents of the model
GROUPS = 3  # geoms of groups 0, 1 and 2 are shown, as in MuJoCo's own viewer
PLAIN = (0.5, 0.5, 0.5, 1.0)  # the colour of a geom that was given none


def shown(mj_model: mujoco.MjModel) -> list[int]:
    """Returns the indices of the geoms that are to be seen."""
    kept = (mj_model.geom_group < GROUPS) & (colours(mj_model)[:, 3] > 0)
    return [int(i) for i in np.flatnonzero(kept)]


def colours(mj_model: mujoco.MjModel) -> np.ndarray:
    """Returns (ngeom, 4) colours in [0, 1]: a geom's own, or its material's where it has none."""
    rgba = np.array(mj_model.geom_rgba, float)
    plain = (rgba == np.array(PLAIN)).all(axis=1) & (mj_model.geom_matid >= 0)
    rgba[plain] = mj_model.mat_rgba[mj_model.geom_matid[plain]]
    return rgba


def triangle_mesh(
    mj_model: mujoco.MjModel, geom: int, size: np.ndarray | None = None
) -> trimesh.Trimesh:
    """Returns a geom's surface in its own frame [m], its triangles counter-clockwise from outside.

    Args:
        mj_model: the model.
        geom: index of the geom.
        size: (3,) its size in this world [m]; as the model has it if absent.

    Raises:
        ValueError: a kind of geom without a surface.
    """
    x, y, z = (float(s) for s in (mj_model.geom_size[geom] if size is None else size))
    kind, data = mujoco.mjtGeom(int(mj_model.geom_type[geom])), int(mj_model.geom_dataid[geom])
    match kind:
        case mujoco.mjtGeom.mjGEOM_MESH | mujoco.mjtGeom.mjGEOM_SDF:
            return _asset_mesh(mj_model, data)
        case mujoco.mjtGeom.mjGEOM_HFIELD:
            return _height_field(mj_model, data)
        case mujoco.mjtGeom.mjGEOM_PLANE:
            far = REACH * float(mj_model.stat.extent)
            return _grid(np.zeros((2, 2)), x if x > 0 else far, y if y > 0 else far)
        case mujoco.mjtGeom.mjGEOM_BOX:
            box = creation.box(extents=(2 * x, 2 * y, 2 * z))
            box.unmerge_vertices()  # so that its edges stay sharp
            return box
        case mujoco.mjtGeom.mjGEOM_CYLINDER:
            return creation.cylinder(radius=x, height=2 * y, sections=SIDES)
        case mujoco.mjtGeom.mjGEOM_CAPSULE:
            return creation.capsule(height=2 * y, radius=x, count=(SIDES, SIDES))
        case mujoco.mjtGeom.mjGEOM_SPHERE:
            return creation.icosphere(subdivisions=SUBDIVISIONS, radius=x)
        case mujoco.mjtGeom.mjGEOM_ELLIPSOID:
            return creation.icosphere(subdivisions=SUBDIVISIONS).apply_scale((x, y, z))
    name = mj_model.geom(geom).name or geom
    raise ValueError(f"geom {name!r} is a {kind.name}, which has no surface to show")


def _asset_mesh(mj_model: mujoco.MjModel, mesh: int) -> trimesh.Trimesh:
    """Returns a mesh as MuJoCo keeps it, in the frame of its inertia."""
    start, count = mj_model.mesh_vertadr[mesh], mj_model.mesh_vertnum[mesh]
    first, number = mj_model.mesh_faceadr[mesh], mj_model.mesh_facenum[mesh]
    points = np.array(mj_model.mesh_vert[start : start + count], float)
    faces = np.array(mj_model.mesh_face[first : first + number], int)
    return trimesh.Trimesh(points, faces, process=False)


def _height_field(mj_model: mujoco.MjModel, field: int) -> trimesh.Trimesh:
    """Returns the top of a height field."""
    rows, columns = int(mj_model.hfield_nrow[field]), int(mj_model.hfield_ncol[field])
    start = int(mj_model.hfield_adr[field])
    x_half, y_half, top, _ = mj_model.hfield_size[field]
    flat = np.array(mj_model.hfield_data[start : start + rows * columns], float)
    return _grid(top * flat.reshape(rows, columns), x_half, y_half)


def _grid(height: np.ndarray, x_half: float, y_half: float) -> trimesh.Trimesh:
    """Returns the surface of heights (R, C) [m] over rows along y and columns along x."""
    rows, columns = height.shape
    x, y = np.meshgrid(np.linspace(-x_half, x_half, columns), np.linspace(-y_half, y_half, rows))
    points = np.stack((x, y, height), axis=-1).reshape(-1, 3)
    corner = np.arange(rows * columns).reshape(rows, columns)
    a, b, c, d = corner[:-1, :-1], corner[:-1, 1:], corner[1:, 1:], corner[1:, :-1]
    halves = (np.stack((a, b, c), -1), np.stack((a, c, d), -1))
    faces = np.concatenate([half.reshape(-1, 3) for half in halves])
    return trimesh.Trimesh(points, faces, process=False)
