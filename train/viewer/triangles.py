"""Geoms of a MuJoCo model as triangles, for viewers that know nothing of MuJoCo's shapes."""

import mujoco
import numpy as np

SIDES = 24  # of a circle
RINGS = 6  # from pole to equator of a sphere
REACH = 5.0  # of a plane without end, in extents of the model
GROUPS = 3  # geoms of groups 0, 1 and 2 are shown, as in MuJoCo's own viewer
PLAIN = (0.5, 0.5, 0.5, 1.0)  # the colour of a geom that was given none

Surface = tuple[np.ndarray, np.ndarray]  # vertices (V, 3) m, corners of each triangle (F, 3) int


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


def surface(mj_model: mujoco.MjModel, geom: int, size: np.ndarray | None = None) -> Surface:
    """Returns a geom's surface in its own frame, seen from outside its corners turn to the left.

    Args:
        mj_model: the model.
        geom: index of the geom.
        size: (3,) its size in this world, m; as the model has it if absent.

    Raises:
        ValueError: a kind of geom without a surface.
    """
    size = np.asarray(mj_model.geom_size[geom] if size is None else size, float)
    kind, data = mujoco.mjtGeom(int(mj_model.geom_type[geom])), int(mj_model.geom_dataid[geom])
    if kind == mujoco.mjtGeom.mjGEOM_MESH:
        return _mesh(mj_model, data)
    if kind == mujoco.mjtGeom.mjGEOM_HFIELD:
        return _hfield(mj_model, data)
    if kind == mujoco.mjtGeom.mjGEOM_PLANE:
        far = REACH * float(mj_model.stat.extent)
        x, y = (side if side > 0 else far for side in size[:2])
        corners = np.array([(-x, -y, 0), (x, -y, 0), (x, y, 0), (-x, y, 0)], float)
        return corners, np.array([(0, 1, 2), (0, 2, 3)])
    if kind == mujoco.mjtGeom.mjGEOM_BOX:
        return _box(size)
    if kind == mujoco.mjtGeom.mjGEOM_CYLINDER:
        r, h = size[:2]
        return _lathe(np.array((0, r, r, r, r, 0.0)), np.array((-h, -h, -h, h, h, h)))
    arc = np.linspace(-np.pi / 2, 0, RINGS + 1)
    below, up = np.stack((np.cos(arc), np.sin(arc))), np.array([[1.0], [-1.0]])
    below[0, 0] = 0.0  # the pole is one point
    both = np.concatenate((below, (below * up)[:, ::-1]), axis=1)
    if kind == mujoco.mjtGeom.mjGEOM_CAPSULE:
        straight = np.repeat((-size[1], size[1]), RINGS + 1)
        return _lathe(size[0] * both[0], size[0] * both[1] + straight)
    if kind in (mujoco.mjtGeom.mjGEOM_SPHERE, mujoco.mjtGeom.mjGEOM_ELLIPSOID):
        points, faces = _lathe(*both)
        return points * (size[0] if kind == mujoco.mjtGeom.mjGEOM_SPHERE else size), faces
    name = mj_model.geom(geom).name or geom
    raise ValueError(f"geom {name!r} is a {kind.name}, which has no surface to show")


def _lathe(radius: np.ndarray, height: np.ndarray) -> Surface:
    """Returns the surface of a curve (K,), from bottom to top, that is turned about z."""
    turn = np.linspace(0, 2 * np.pi, SIDES, endpoint=False)
    ring = np.stack((np.cos(turn), np.sin(turn)), axis=1)
    flat = radius[:, None, None] * ring
    points = np.concatenate((flat, np.broadcast_to(height[:, None, None], flat[..., :1].shape)), -1)
    low = np.arange((len(radius) - 1) * SIDES).reshape(-1, SIDES)
    right, high = np.roll(low, -1, axis=1), low + SIDES
    halves = (np.stack((low, right, right + SIDES), -1), np.stack((low, right + SIDES, high), -1))
    return _solid(points.reshape(-1, 3), np.concatenate(halves, axis=1).reshape(-1, 3))


def _solid(points: np.ndarray, faces: np.ndarray) -> Surface:
    """Returns a surface without triangles that have no area, as at a pole."""
    a, b, c = (points[faces[:, i]] for i in range(3))
    area = np.linalg.norm(np.cross(b - a, c - a), axis=1)
    return points, faces[area > 1e-9 * max(float(area.max()), 1e-30)]


def _box(size: np.ndarray) -> Surface:
    """Returns a box, four corners a side, so that its edges stay sharp."""
    points: list[np.ndarray] = []
    faces: list[tuple[int, int, int]] = []
    for axis in range(3):
        for sign in (-1.0, 1.0):
            u, v = np.eye(3)[(axis + 1) % 3], np.eye(3)[(axis + 2) % 3]
            around = ((-1, -1), (1, -1), (1, 1), (-1, 1))[:: int(sign)]
            first = len(points)
            points += [sign * np.eye(3)[axis] + a * u + b * v for a, b in around]
            faces += [(first, first + 1, first + 2), (first, first + 2, first + 3)]
    return np.array(points) * size, np.array(faces)


def _mesh(mj_model: mujoco.MjModel, mesh: int) -> Surface:
    """Returns a mesh as MuJoCo keeps it, in the frame of its inertia."""
    start, count = mj_model.mesh_vertadr[mesh], mj_model.mesh_vertnum[mesh]
    first, number = mj_model.mesh_faceadr[mesh], mj_model.mesh_facenum[mesh]
    points = np.array(mj_model.mesh_vert[start : start + count], float)
    return points, np.array(mj_model.mesh_face[first : first + number], int)


def _hfield(mj_model: mujoco.MjModel, field: int) -> Surface:
    """Returns the top of a height field; columns lie along x, rows along y."""
    rows, columns = int(mj_model.hfield_nrow[field]), int(mj_model.hfield_ncol[field])
    start = int(mj_model.hfield_adr[field])
    x_half, y_half, top, _ = mj_model.hfield_size[field]
    z = top * np.array(mj_model.hfield_data[start : start + rows * columns], float)
    x, y = np.meshgrid(np.linspace(-x_half, x_half, columns), np.linspace(-y_half, y_half, rows))
    points = np.stack((x.ravel(), y.ravel(), z), axis=1)
    corner = np.arange(rows * columns).reshape(rows, columns)
    a, b, c, d = corner[:-1, :-1], corner[:-1, 1:], corner[1:, 1:], corner[1:, :-1]
    halves = (np.stack((a, b, c), -1), np.stack((a, c, d), -1))
    return points, np.concatenate([half.reshape(-1, 3) for half in halves])
