"""One frame seen from the camera: geometry in each geom's own frame, and the rays of the pixels."""

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
from flax import struct

from mjx_s2r.render.appearance import Appearance
from mjx_s2r.render.camera import Pose, Scene, pixels

Triple = tuple[jax.Array, ...]  # three of them


@struct.dataclass
class View:
    """One frame seen from the camera, in each geom's own frame; no world axis.

    Attributes:
        eye: (G, 3) [m] the camera's centre in the geom's frame.
        turn: (G, 3, 3) the camera's x, y and z axes, one a row, in the geom's frame.
        size: (G, 3) [m] geom sizes.
        light: (G, 3) unit vector towards the light, in the geom's frame.
        sun: (3,) unit vector towards the light, in the camera's frame.
        up: (3,) world z in the camera's frame.
        focal: () tan(fovy / 2).
    """

    eye: jax.Array
    turn: jax.Array
    size: jax.Array
    light: jax.Array
    sun: jax.Array
    up: jax.Array
    focal: jax.Array


@struct.dataclass
class Rays:
    """The camera's rays (x, y, -1), x and y (P,): `camera.pixels` times the view's focal."""

    x: jax.Array
    y: jax.Array


def look_from(scene: Scene, pose: Pose, look: Appearance) -> View:
    """Returns one frame seen from the camera, with this world's camera error and light."""
    parent = pose.cam_mat @ quat_mat(scene.camera_quat).T
    eye = pose.cam_pos + parent @ look.camera_pos
    axes = pose.cam_mat @ rotation(look.camera_rot)
    light = -look.light_dir / jnp.linalg.norm(look.light_dir)
    size = jnp.array([g.size for g in scene.geoms]) if pose.geom_size is None else pose.geom_size
    return View(
        eye=jnp.einsum("gij,gi->gj", pose.geom_mat, eye - pose.geom_pos),
        turn=jnp.einsum("gij,ik->gkj", pose.geom_mat, axes),
        size=size,
        light=jnp.einsum("gij,i->gj", pose.geom_mat, light),
        sun=axes.T @ light,
        up=axes[2],
        focal=jnp.tan(jnp.deg2rad(look.camera_fovy) / 2),
    )


def rays_of(scene: Scene, view: View) -> Rays:
    """Returns the rays of the scene's pixels."""
    x, y = pixels(scene.height, scene.width)
    return Rays(jnp.asarray(x) * view.focal, jnp.asarray(y) * view.focal)


def triple(vector: jax.Array) -> Triple:
    """Returns the three scalars of a vector (3,)."""
    return vector[0], vector[1], vector[2]


def local_ray(view: View, g: int, rays: Rays) -> Triple:
    """Returns the camera's rays (P,) in the frame of geom ``g``."""
    turn = view.turn[g]
    return tuple(rays.x * turn[0, i] + rays.y * turn[1, i] - turn[2, i] for i in range(3))


def local_point(view: View, g: int, rays: Rays, depth: jax.Array) -> Triple:
    """Returns the point (P,) that each pixel shows, in the frame of geom ``g`` [m]."""
    ray = local_ray(view, g, rays)
    return tuple(view.eye[g, i] + depth * ray[i] for i in range(3))


def rotation(vector: jax.Array) -> jax.Array:
    """Returns the rotation matrix (3, 3) of a rotation vector (3,) [rad], smooth at zero.

    Rodrigues' formula, R = I + s K + c K^2 with s = sin(a)/a and c = (1 - cos(a))/a^2.
    """
    square = jnp.sum(vector * vector)
    small = square < 1e-8
    angle = jnp.sqrt(jnp.where(small, 1.0, square))
    sine = jnp.where(small, 1 - square / 6, jnp.sin(angle) / angle)
    cosine = jnp.where(small, 0.5 - square / 24, (1 - jnp.cos(angle)) / angle**2)
    x, y, z = vector
    zero = jnp.zeros_like(x)
    cross = jnp.array([[zero, -z, y], [z, zero, -x], [-y, x, zero]])
    return jnp.eye(3) + sine * cross + cosine * cross @ cross


def quat_mat(quat: tuple[float, float, float, float]) -> np.ndarray:
    """Returns the rotation matrix (3, 3) of a unit quaternion (w, x, y, z)."""
    out = np.zeros(9)
    mujoco.mju_quat2Mat(out, np.array(quat))
    return out.reshape(3, 3).astype(np.float32)
