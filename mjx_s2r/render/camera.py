"""What is drawn and from where: the static scene, the pose of one frame, the camera's view of it.

Camera convention (MuJoCo, XMLreference "camera"): the camera looks along its -z axis, +x is right,
+y is up, `fovy` is the vertical field of view in degrees. Rays are not unit vectors: they are
(x f, y f, -1) with f = tan(fovy / 2), so the ray parameter is the depth along the optical axis.
"""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
from flax import struct

from mjx_s2r.params import unknown

SHAPES = {
    mujoco.mjtGeom.mjGEOM_PLANE: "plane",
    mujoco.mjtGeom.mjGEOM_SPHERE: "sphere",
    mujoco.mjtGeom.mjGEOM_CAPSULE: "capsule",
    mujoco.mjtGeom.mjGEOM_ELLIPSOID: "ellipsoid",
    mujoco.mjtGeom.mjGEOM_CYLINDER: "cylinder",
    mujoco.mjtGeom.mjGEOM_BOX: "box",
}
SHOWN_GROUPS = (0, 1, 2)  # mjv_defaultOption shows these geom groups
INFINITE = 1e6  # half size [m] that stands for an infinite plane


class SceneError(ValueError):
    """A scene that cannot be drawn; the message names what is wrong and the remedy."""


@dataclass(frozen=True)
class Geom:
    """One drawn geom: its name, its id in the model, its shape and its `geom_size` [m]."""

    name: str
    id: int
    shape: str
    size: tuple[float, float, float]


@dataclass(frozen=True)
class Scene:
    """Everything about a picture that is the same in every world; hashable, so it can be static.

    Attributes:
        geoms: the drawn geoms, grouped by shape; the order of every (G, ...) array of this room.
        camera: name of the camera.
        camera_id: its id in the model.
        camera_quat: (w, x, y, z) its rotation in its parent's frame; identity if it tracks.
        height: picture height [px].
        width: picture width [px].
        near: nearest depth drawn [m].
        far: farthest depth drawn [m].
        shininess: exponent of the highlights, a power of two.
        gloss: strength of the highlights of the light and of the headlight.
    """

    geoms: tuple[Geom, ...]
    camera: str
    camera_id: int
    camera_quat: tuple[float, float, float, float]
    height: int
    width: int
    near: float
    far: float
    shininess: int
    gloss: tuple[float, float]

    @property
    def ids(self) -> np.ndarray:
        """(G,) model ids of the drawn geoms."""
        return np.array([geom.id for geom in self.geoms], np.int32)

    @property
    def planes(self) -> tuple[int, ...]:
        """Positions of the planes among the drawn geoms."""
        return tuple(i for i, geom in enumerate(self.geoms) if geom.shape == "plane")


@struct.dataclass
class Pose:
    """Where everything is in one frame; leading axes are worlds.

    Attributes:
        geom_pos: (..., G, 3) [m] world position of the drawn geoms.
        geom_mat: (..., G, 3, 3) their world rotation.
        cam_pos: (..., 3) [m] world position of the camera.
        cam_mat: (..., 3, 3) its world rotation.
        geom_size: (..., G, 3) [m] sizes of this world, or None for the sizes of the scene.
    """

    geom_pos: jax.Array
    geom_mat: jax.Array
    cam_pos: jax.Array
    cam_mat: jax.Array
    geom_size: jax.Array | None = None


def build(mj_model: mujoco.MjModel, camera_name: str, height: int, width: int) -> Scene:
    """Returns the scene that MuJoCo would draw by default: groups 0 to 2, no sites, no tendons.

    Raises:
        SceneError: a picture without area, or a geom of a type that cannot be drawn.
        ParamError: no such camera; the message lists near names.
    """
    if height <= 0 or width <= 0:
        raise SceneError(f"picture of height {height} and width {width} has no area; use 1 or more")
    camera = camera_id(mj_model, camera_name)
    fixed = mj_model.cam_mode[camera] == mujoco.mjtCamLight.mjCAMLIGHT_FIXED
    quat = mj_model.cam_quat[camera] if fixed else np.array([1.0, 0.0, 0.0, 0.0])
    return Scene(
        geoms=drawn_geoms(mj_model),
        camera=camera_name,
        camera_id=camera,
        camera_quat=(float(quat[0]), float(quat[1]), float(quat[2]), float(quat[3])),
        height=height,
        width=width,
        near=float(mj_model.vis.map.znear * mj_model.stat.extent),
        far=float(mj_model.vis.map.zfar * mj_model.stat.extent),
        shininess=_shininess(mj_model),
        gloss=_gloss(mj_model),
    )


def main_light(mj_model: mujoco.MjModel) -> int:
    """Returns the id of the light that is drawn, the first with a shadow if any; -1 for none."""
    active = [i for i in range(mj_model.nlight) if mj_model.light_active[i]]
    return min(active, key=lambda i: not mj_model.light_castshadow[i], default=-1)


def _shininess(mj_model: mujoco.MjModel) -> int:
    """Returns the exponent of the highlights: MuJoCo's 128 times shininess, to a power of two.

    One exponent serves all geoms, that of the first material in use; 64 without materials.
    """
    used = [mj_model.mat_shininess[i] for i in mj_model.geom_matid if i >= 0] or [0.5]
    return 2 ** int(np.clip(np.round(np.log2(max(128 * used[0], 1.0))), 0, 7))


def _gloss(mj_model: mujoco.MjModel) -> tuple[float, float]:
    """Returns the mean specular strength of the light and of the headlight."""
    light, head = main_light(mj_model), mj_model.vis.headlight
    return (
        float(np.mean(mj_model.light_specular[light])) if light >= 0 else 0.0,
        float(np.mean(head.specular)) if head.active else 0.0,
    )


def camera_id(mj_model: mujoco.MjModel, name: str) -> int:
    """Returns the id of the camera called ``name``.

    Raises:
        ParamError: no such camera; the message lists near names.
    """
    known = [mj_model.camera(i).name for i in range(mj_model.ncam)]
    if name not in known:
        raise unknown("camera", name, known)
    return known.index(name)


def drawn_geoms(mj_model: mujoco.MjModel) -> tuple[Geom, ...]:
    """Returns the geoms that are visible, grouped by shape in the order of `SHAPES`.

    Raises:
        SceneError: a visible geom of an unsupported type.
    """
    geoms = []
    for i in range(mj_model.ngeom):
        if mj_model.geom_group[i] not in SHOWN_GROUPS or geom_rgba(mj_model, i)[3] == 0:
            continue
        kind = mujoco.mjtGeom(int(mj_model.geom_type[i]))
        name = geom_name(mj_model, i)
        if kind not in SHAPES:
            raise SceneError(
                f"geom {name!r}: type {kind.name} cannot be drawn, only "
                f"{', '.join(SHAPES.values())}; put it in a group above 2 or stand a primitive in"
            )
        geoms.append(Geom(name, i, SHAPES[kind], _size(SHAPES[kind], mj_model.geom_size[i])))
    order = list(SHAPES.values())
    return tuple(sorted(geoms, key=lambda geom: order.index(geom.shape)))


def _size(shape: str, size: np.ndarray) -> tuple[float, float, float]:
    """Returns the three sizes [m] of a geom, with infinite planes made very large."""
    if shape == "plane":
        size = np.where(size > 0, size, INFINITE)
    return (float(size[0]), float(size[1]), float(size[2]))


def geom_name(mj_model: mujoco.MjModel, index: int) -> str:
    """Returns the name of a geom; an unnamed one is called "geom" and its id."""
    return mj_model.geom(index).name or f"geom{index}"


def geom_rgba(mj_model: mujoco.MjModel, index: int) -> np.ndarray:
    """Returns (4,) the colour of a geom: its material's, unless it has one of its own.

    The rule of mjv_updateScene: a colour other than the default (0.5, 0.5, 0.5, 1) wins.
    """
    own, material = mj_model.geom_rgba[index], mj_model.geom_matid[index]
    if material >= 0 and np.array_equal(own, np.array([0.5, 0.5, 0.5, 1], own.dtype)):
        return mj_model.mat_rgba[material]
    return own


def pose(scene: Scene, data: Any) -> Pose:
    """Returns the pose of the scene from an `mjx.Data`, batched over worlds or not.

    Reads geom_xpos, geom_xmat, cam_xpos and cam_xmat as they are. `mjx.step` leaves them at the
    positions from before the step's integration; for the newest ones the caller runs
    `mjx.kinematics` and then `mjx.camlight` first.
    """
    geom_mat = jnp.reshape(data.geom_xmat, (*data.geom_xpos.shape, 3))
    cam_mat = jnp.reshape(data.cam_xmat, (*data.cam_xpos.shape, 3))
    return Pose(
        geom_pos=jnp.asarray(data.geom_xpos)[..., scene.ids, :],
        geom_mat=geom_mat[..., scene.ids, :, :],
        cam_pos=jnp.asarray(data.cam_xpos)[..., scene.camera_id, :],
        cam_mat=cam_mat[..., scene.camera_id, :, :],
    )


def pixels(height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns picture x and y (P,) of the pixel centres, row by row; y is 1 at the upper edge."""
    x = (np.arange(width) + 0.5 - width / 2) / (height / 2)
    y = (height / 2 - np.arange(height) - 0.5) / (height / 2)
    grid = np.meshgrid(x, y)
    return grid[0].ravel().astype(np.float32), grid[1].ravel().astype(np.float32)
