"""What a robot alone lacks for training: a pose of rest, a floor, a camera, a light, a solver."""

from dataclasses import dataclass

import mujoco
import numpy as np
from scipy.spatial.transform import Rotation

from mjx_s2r.mjcf.pairs import ONE_NUMBER, penetration, random_poses
from mjx_s2r.mjcf.plausible import FLAT

POSES = 200  # tried for home
INSIDE = 0.06  # share of a joint's range that home keeps from either end
TOUCH = 1e-3  # m; a contact at home may be this deep
FOVY = 45.0  # deg
AZIMUTH, ELEVATION = np.radians(35.0), np.radians(25.0)  # of the camera, seen from the robot
ALL_BITS = 2**31 - 1  # of contype and conaffinity
FRICTION = (1.0, 0.005, 0.0001)  # MuJoCo's own default
ITERATIONS, LINE_SEARCH = 6, 12  # of the solver, as the tasks with contacts here have them


@dataclass(frozen=True)
class Framing:
    """What a camera looks at.

    Attributes:
        centre: (3,) [m].
        radius: of the ball that holds all drawn geoms [m].
        lowest: their lowest point [m].
    """

    centre: np.ndarray
    radius: float
    lowest: float


def pose_of_rest(m: mujoco.MjModel) -> np.ndarray:
    """Returns (nq,) the maker's first keyframe, or the zero pose, moved well within the limits.

    A policy's commands end 5 % before a joint does, so that is where a robot must not start.
    """
    pose = m.key_qpos[0].copy() if m.nkey else m.qpos0.copy()
    for j in np.flatnonzero(m.jnt_limited):
        if m.jnt_type[j] in ONE_NUMBER:
            low, high = m.jnt_range[j]
            room = INSIDE * (high - low)
            pose[m.jnt_qposadr[j]] = np.clip(pose[m.jnt_qposadr[j]], low + room, high - room)
    return np.asarray(pose)


def find_home(m: mujoco.MjModel, rest: np.ndarray) -> np.ndarray:
    """Returns (nq,) a pose near rest, within the limits and without deep contact.

    Rest itself if it is free; else the middle of the ranges; else the free pose nearest to rest of
    some random ones; else rest.
    """
    middle = rest.copy()
    moved = []
    for j in np.flatnonzero(m.jnt_limited):
        if m.jnt_type[j] in ONE_NUMBER:
            middle[m.jnt_qposadr[j]] = m.jnt_range[j].mean()
            moved.append(m.jnt_qposadr[j])
    others = random_poses(m, rest, POSES)
    order = np.argsort(np.linalg.norm((others - rest)[:, moved], axis=1), kind="stable")
    for pose in (rest, middle, *others[order]):
        if penetration(m, pose) <= TOUCH:
            return np.asarray(pose)
    return rest


def lowest(m: mujoco.MjModel) -> float:
    """Returns the lowest point [m] of the colliding geoms of moving bodies in the zero pose."""
    data = mujoco.MjData(m)
    mujoco.mj_kinematics(m, data)
    touching = (m.geom_contype != 0) | (m.geom_conaffinity != 0)
    moving = m.body_weldid[m.geom_bodyid] != 0
    found = [lowest_point(m, data, int(g)) for g in np.flatnonzero(touching & moving)]
    return min(found, default=0.0)


def lowest_point(m: mujoco.MjModel, data: mujoco.MjData, geom: int) -> float:
    """Returns the height of the lowest point of a geom, m: its support function, straight down."""
    down, size = data.geom_xmat[geom].reshape(3, 3)[2], m.geom_size[geom]
    kind, z = int(m.geom_type[geom]), float(data.geom_xpos[geom, 2])
    if kind == int(mujoco.mjtGeom.mjGEOM_MESH):
        mesh = int(m.geom_dataid[geom])
        first, count = m.mesh_vertadr[mesh], m.mesh_vertnum[mesh]
        return z + float((m.mesh_vert[first : first + count] @ down).min())
    reach = {
        int(mujoco.mjtGeom.mjGEOM_SPHERE): size[0],
        int(mujoco.mjtGeom.mjGEOM_CAPSULE): abs(down[2]) * size[1] + size[0],
        int(mujoco.mjtGeom.mjGEOM_CYLINDER): abs(down[2]) * size[1]
        + size[0] * np.sqrt(max(0.0, 1 - down[2] ** 2)),
        int(mujoco.mjtGeom.mjGEOM_ELLIPSOID): float(np.linalg.norm(down * size)),
        int(mujoco.mjtGeom.mjGEOM_BOX): float(np.abs(down) @ size),
    }
    return z - float(reach.get(kind, m.geom_rbound[geom]))


def frame(m: mujoco.MjModel, pose: np.ndarray, drawn: bool = True, static: bool = False) -> Framing:
    """Returns the ball about a model's geoms in a pose, planes and height fields aside.

    Args:
        m: the model.
        pose: (nq,).
        drawn: of the geoms that are drawn (groups 0 to 2) alone.
        static: of the bodies that stand fixed in the world alone, if there are geoms on any.
    """
    data = mujoco.MjData(m)
    data.qpos[:] = pose
    mujoco.mj_kinematics(m, data)
    geoms = np.flatnonzero(~np.isin(m.geom_type, FLAT))
    seen = [g for g in geoms if not drawn or (m.geom_group[g] <= 2 and m.geom_rgba[g, 3] > 0)]
    seen = seen or list(geoms)
    still = [g for g in seen if m.body_weldid[m.geom_bodyid[g]] == 0]
    corners = [extremes(m, data, int(g)) for g in (still if static and still else seen)]
    points = np.concatenate(corners) if corners else np.zeros((1, 3))
    low, high = points.min(axis=0), points.max(axis=0)
    centre = (low + high) / 2
    away = float(np.linalg.norm(points - centre, axis=1).max())
    return Framing(centre, max(away, 1e-2), float(low[2]))


def extremes(m: mujoco.MjModel, data: mujoco.MjData, g: int) -> np.ndarray:
    """Returns the vertices of a geom's mesh, or the corners of its box, in the world (N, 3) [m]."""
    if m.geom_type[g] == mujoco.mjtGeom.mjGEOM_MESH:
        first = m.mesh_vertadr[m.geom_dataid[g]]
        points = m.mesh_vert[first : first + m.mesh_vertnum[m.geom_dataid[g]]].astype(float)
    else:
        signs = np.array(np.meshgrid(*[(-1, 1)] * 3)).reshape(3, -1).T
        points = m.geom_aabb[g, :3] + signs * m.geom_aabb[g, 3:]
    return np.asarray(data.geom_xpos[g] + points @ data.geom_xmat[g].reshape(3, 3).T)


def add_floor(spec: mujoco.MjSpec, height: float, radius: float) -> None:
    """Adds a floor at a height [m], wide enough for a robot of a radius [m].

    It touches whatever touches anything, and is seen, whatever defaults the file has for its geoms.
    """
    names = {texture.name for texture in spec.textures} | {one.name for one in spec.materials}
    if "floor" not in names:
        spec.add_texture(
            name="floor",
            type=mujoco.mjtTexture.mjTEXTURE_2D,
            builtin=mujoco.mjtBuiltin.mjBUILTIN_CHECKER,
            rgb1=[0.78, 0.78, 0.76],
            rgb2=[0.7, 0.7, 0.68],
            width=64,
            height=64,
        )
        material = spec.add_material(name="floor", texuniform=True, texrepeat=[2 / radius] * 2)
        material.textures[mujoco.mjtTextureRole.mjTEXROLE_RGB] = "floor"
    geom = spec.worldbody.add_geom(name="floor", type=mujoco.mjtGeom.mjGEOM_PLANE)
    geom.size = [0, 0, 0.05]
    geom.pos = [0, 0, round(height, 6)]
    geom.material = "floor"
    geom.contype = geom.conaffinity = ALL_BITS
    geom.condim, geom.group, geom.friction = 3, 0, FRICTION
    geom.margin = geom.gap = 0.0


def add_camera(spec: mujoco.MjSpec, seen: Framing, root: str | None) -> str:
    """Adds a camera that frames the robot from three quarters; returns its name.

    Args:
        spec: the specification.
        seen: what it frames.
        root: body of a robot that travels: the camera goes along with it; else None.
    """
    back = np.array(
        [
            np.cos(ELEVATION) * np.cos(AZIMUTH),
            np.cos(ELEVATION) * np.sin(AZIMUTH),
            np.sin(ELEVATION),
        ]
    )
    right = np.array([-np.sin(AZIMUTH), np.cos(AZIMUTH), 0.0])
    distance = 1.05 * seen.radius / np.sin(np.radians(FOVY / 2))
    place = seen.centre + distance * back
    camera = (spec.body(root) if root else spec.worldbody).add_camera(name="three_quarter")
    if root:
        camera.mode = mujoco.mjtCamLight.mjCAMLIGHT_TRACKCOM
        place = place - spec.body(root).pos
    camera.pos = place
    axes = np.stack([right, np.cross(back, right), back], axis=1)
    camera.quat = Rotation.from_matrix(axes).as_quat(canonical=True, scalar_first=True)
    camera.fovy = FOVY
    return "three_quarter"


def add_light(spec: mujoco.MjSpec, seen: Framing) -> None:
    """Adds a light from above that casts shadows."""
    light = spec.worldbody.add_light(name="sun")
    light.type = mujoco.mjtLightType.mjLIGHT_DIRECTIONAL
    light.pos = seen.centre + seen.radius * np.array((0.5, -0.5, 3.0))
    light.dir = [-0.16, 0.16, -0.97]
    light.diffuse = [0.7, 0.7, 0.7]
    light.castshadow = True


def fit_solver(spec: mujoco.MjSpec) -> list[tuple[str, str]]:
    """Sets what has MuJoCo's default to what MJX steps fast; returns each setting and why."""
    plain, option, said = mujoco.MjSpec().option, spec.option, []
    if option.integrator == plain.integrator:
        option.integrator = mujoco.mjtIntegrator.mjINT_IMPLICITFAST
        said.append(("integrator implicitfast", "stable with damped servos at a large step"))
    if option.iterations == plain.iterations and option.ls_iterations == plain.ls_iterations:
        option.iterations, option.ls_iterations = ITERATIONS, LINE_SEARCH
        said.append(
            (
                f"iterations {ITERATIONS}, ls_iterations {LINE_SEARCH}",
                "MJX runs them all in every step; they suffice for contacts of primitives",
            )
        )
    return said
