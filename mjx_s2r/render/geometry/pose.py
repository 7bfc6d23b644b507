"""Scene poses of one frame, and the pinhole camera model: pixel grid and lens distortion.

Camera convention (MuJoCo, XMLreference "camera"): the camera looks along its -z axis, +x is right,
+y is up, `fovy` is the vertical field of view in degrees. Rays are not unit vectors: they are
(x f, y f, -1) with f = tan(fovy / 2), so the ray parameter is the depth along the optical axis.
"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from mjx_s2r.render.geometry.scene import Scene


@struct.dataclass
class ScenePose:
    """Poses of everything in one frame; leading axes are worlds. L lights, G geoms and sites.

    Attributes:
        geom_pos: (..., G, 3) [m] world position of the drawn geoms and sites.
        geom_mat: (..., G, 3, 3) their world rotation.
        cam_pos: (..., 3) [m] world position of the camera.
        cam_mat: (..., 3, 3) its world rotation.
        light_pos: (..., L, 3) [m] world position of the bodies that carry the lights, or None where
            all hang in the world.
        light_mat: (..., L, 3, 3) world rotation of those bodies, or None.
        geom_size: (..., G, 3) [m] sizes of this world, or None for the sizes of the scene.
        hfield_data: (..., nhfielddata) heights of this world, or None for those of the scene.
    """

    geom_pos: jax.Array
    geom_mat: jax.Array
    cam_pos: jax.Array
    cam_mat: jax.Array
    light_pos: jax.Array | None = None
    light_mat: jax.Array | None = None
    geom_size: jax.Array | None = None
    hfield_data: jax.Array | None = None


def scene_pose(scene: Scene, data: Any, leaves: Mapping[str, jax.Array] | None = None) -> ScenePose:
    """Returns the pose of the scene from an `mjx.Data` (or C data), batched over worlds or not.

    Reads positions of geoms, sites, bodies and cameras as they are. `mjx.step` leaves them at the
    positions from before the step's integration; for the newest ones the caller runs
    `mjx.kinematics` and then `mjx.camlight` first.

    Args:
        scene: what is drawn.
        data: where the model's elements are.
        leaves: model fields of each world, where rows of the table touch them: geom_size (...,
            ngeom, 3) and hfield_data (..., nhfielddata) are drawn.
    """
    geom_size = (leaves or {}).get("geom_size")
    count = data.geom_xpos.shape[-2]
    geoms = np.array([g.id for g in scene.geoms if not g.decor], np.int32)
    sites = np.array([g.id - count for g in scene.geoms if g.decor], np.int32)
    where = np.argsort([*np.flatnonzero([not g.decor for g in scene.geoms]), *_decor(scene)])
    kinds = [("geom", geoms), ("site", sites)] if len(sites) else [("geom", geoms)]
    position = [jnp.asarray(getattr(data, f"{k}_xpos"))[..., ids, :] for k, ids in kinds]
    rotation = [_square(getattr(data, f"{k}_xmat"))[..., ids, :, :] for k, ids in kinds]
    bodies = np.array([light.body for light in scene.lights], np.int32)
    carried = bool(bodies.any())
    return ScenePose(
        geom_pos=jnp.concatenate(position, axis=-2)[..., where, :],
        geom_mat=jnp.concatenate(rotation, axis=-3)[..., where, :, :],
        cam_pos=jnp.asarray(data.cam_xpos)[..., scene.camera_id, :],
        cam_mat=_square(data.cam_xmat)[..., scene.camera_id, :, :],
        light_pos=jnp.asarray(data.xpos)[..., bodies, :] if carried else None,
        light_mat=_square(data.xmat)[..., bodies, :, :] if carried else None,
        geom_size=None if geom_size is None else _sizes(scene, geom_size),
        hfield_data=(leaves or {}).get("hfield_data"),
    )


def _decor(scene: Scene) -> np.ndarray:
    """Returns the positions of the sites among what is drawn."""
    return np.flatnonzero([g.decor for g in scene.geoms])


def _sizes(scene: Scene, sizes: jax.Array) -> jax.Array:
    """Returns (..., G, 3) sizes of this world; planes, meshes and sites keep those of the scene."""
    own = np.array([g.size for g in scene.geoms], np.float32).reshape(-1, 3)
    fixed = np.array([g.decor or g.shape in ("plane", "mesh", "hfield") for g in scene.geoms], bool)
    ids = np.where(fixed, 0, scene.ids)
    return jnp.where(fixed[:, None], own, jnp.asarray(sizes)[..., ids, :])


def _square(mats: Any) -> jax.Array:
    """Returns rotations (..., E, 3, 3), which C MuJoCo keeps as (E, 9)."""
    mats = jnp.asarray(mats)
    return mats.reshape(*mats.shape[:-1], 3, 3) if mats.shape[-1] == 9 else mats


def pixels(height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns picture x and y (P,) of the pixel centres, row by row; y is 1 at the upper edge."""
    x = (np.arange(width) + 0.5 - width / 2) / (height / 2)
    y = (height / 2 - np.arange(height) - 0.5) / (height / 2)
    grid = np.meshgrid(x, y)
    return grid[0].ravel().astype(np.float32), grid[1].ravel().astype(np.float32)


def straighten(x: jax.Array, y: jax.Array, k: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Returns where the rays through distorted picture points really go.

    Brown 1966: a point at radius r (focal length 1) is seen at r (1 + k1 r^2 + k2 r^4). Inverted by
    three steps of Newton's method, exact to 1e-5 for |k1| up to 0.3 within 45 degrees of the axis.

    Args:
        x: (P,) seen, in focal lengths.
        y: (P,) likewise.
        k: (2,) k1 and k2.
    """
    seen = jnp.sqrt(x * x + y * y + 1e-12)
    radius = seen
    for _ in range(3):
        square = radius * radius
        value = radius * (1 + square * (k[0] + square * k[1])) - seen
        slope = 1 + square * (3 * k[0] + 5 * square * k[1])
        radius = radius - value / jnp.maximum(slope, 0.1)
    return x * (radius / seen), y * (radius / seen)
