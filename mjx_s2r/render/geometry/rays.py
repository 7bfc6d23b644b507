"""View transform and camera rays: camera, lights and rays in each geom's own frame."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
from flax import struct

from mjx_s2r.render.geometry.hfield import Heights
from mjx_s2r.render.geometry.pose import ScenePose, pixels, straighten
from mjx_s2r.render.geometry.primitives import Triple
from mjx_s2r.render.geometry.scene import Geom, Scene
from mjx_s2r.render.looks.appearance import Appearance


@struct.dataclass
class Lamps:
    """The L lights, seen from the camera and from each of the G geoms; directions towards a light.

    Of a directional light `place` and `local` are unit vectors towards it, of the others its
    position [m].

    Attributes:
        place: (L, 3) in the camera's frame.
        axis: (L, 3) unit vector against the way the light travels, in the camera's frame.
        local: (L, G, 3) in the geom's frame.
        side: (L, 2, G, 3) two unit vectors across the light's axis, in the geom's frame.
    """

    place: jax.Array
    axis: jax.Array
    local: jax.Array
    side: jax.Array


@struct.dataclass
class View:
    """One frame seen from the camera, in each geom's own frame; no world axis.

    Attributes:
        eye: (G, 3) [m] the camera's centre in the geom's frame.
        turn: (G, 3, 3) the camera's x, y and z axes, one a row, in the geom's frame.
        size: (G, 3) [m] geom sizes.
        lamps: the lights.
        up: (3,) world z in the camera's frame.
        focal: () tan(fovy / 2).
        centre: (2,) where the axis meets the picture [half heights], or None for its middle.
        bend: (2,) k1 and k2 of the lens, or None.
        shown: (G,) True where a geom is drawn, or None for all.
        hfield_data: (nhfielddata,) heights of this world, or None for those of the scene.
    """

    eye: jax.Array
    turn: jax.Array
    size: jax.Array
    lamps: Lamps
    up: jax.Array
    focal: jax.Array
    centre: jax.Array | None
    bend: jax.Array | None
    shown: jax.Array | None
    hfield_data: jax.Array | None = None


@struct.dataclass
class Rays:
    """The camera's rays (x, y, -1), x and y (P,)."""

    x: jax.Array
    y: jax.Array


def look_from(scene: Scene, pose: ScenePose, look: Appearance) -> View:
    """Returns one frame seen from the camera, with this world's camera error and lights."""
    eye, axes = camera_in_world(scene, pose, look)
    place = pose.geom_pos if look.geom_offset is None else pose.geom_pos + look.geom_offset
    sizes = np.array([g.size for g in scene.geoms], np.float32).reshape(-1, 3)
    return View(
        eye=jnp.einsum("gij,gi->gj", pose.geom_mat, eye - place),
        turn=jnp.einsum("gij,ik->gkj", pose.geom_mat, axes),
        size=jnp.asarray(sizes) if pose.geom_size is None else pose.geom_size,
        lamps=_lamps(scene, pose, look, place, eye, axes),
        up=axes[2],
        focal=jnp.tan(jnp.deg2rad(look.camera_fovy) / 2),
        centre=None if look.camera_centre is None else 2.0 * look.camera_centre,
        bend=look.camera_distortion,
        shown=None if look.geom_shown is None else look.geom_shown > 0.5,
        hfield_data=pose.hfield_data,
    )


def geom_in_world(scene: Scene, view: View, g: int) -> Geom:
    """Returns geom ``g`` of the scene, a height field with the heights of this world."""
    geom = scene.geoms[g]
    if view.hfield_data is None or not isinstance(geom.solid, Heights):
        return geom
    return replace(geom, solid=geom.solid.in_world(view.hfield_data))


def camera_in_world(scene: Scene, pose: ScenePose, look: Appearance) -> tuple[jax.Array, jax.Array]:
    """Returns place (3,) [m] and rotation (3, 3) of the camera, this world's error counted in."""
    parent = pose.cam_mat @ quat_mat(scene.camera_quat).T
    return pose.cam_pos + parent @ look.camera_pos, pose.cam_mat @ rotation(look.camera_rot)


def places_in_picture(
    scene: Scene, pose: ScenePose, look: Appearance, points: jax.Array
) -> jax.Array:
    """Returns (K, 2) where points of the world are seen: columns and rows, in [-1, 1] inside.

    It undoes `rays_of`; the lens is Brown's (1966), r (1 + k1 r^2 + k2 r^4). A point behind the
    camera is far outside.

    Args:
        scene: what is drawn, its camera among it.
        pose: of this world.
        look: the camera's error and lens in this world.
        points: (K, 3) m.
    """
    eye, axes = camera_in_world(scene, pose, look)
    right, up, back = jnp.moveaxis((points - eye) @ axes, -1, 0)
    ahead = jnp.where(back < -1e-3, -back, 1e-3)
    x, y = right / ahead, up / ahead
    if look.camera_distortion is not None:
        square = x * x + y * y
        k = look.camera_distortion
        bent = 1 + square * (k[0] + square * k[1])
        x, y = x * bent, y * bent
    focal = jnp.tan(jnp.deg2rad(look.camera_fovy) / 2)
    x, y = x / (focal * scene.stretch), y / focal
    if look.camera_centre is not None:
        x, y = x + 2 * look.camera_centre[0], y + 2 * look.camera_centre[1]
    return jnp.stack((x * scene.height / scene.width, -y), -1)


def lights_in_world(pose: ScenePose, look: Appearance) -> tuple[jax.Array, jax.Array]:
    """Returns place (L, 3) [m] of the lights and the way their light travels (L, 3), unit."""
    where, along = look.light_pos, look.light_dir
    if pose.light_pos is not None and pose.light_mat is not None:
        where = pose.light_pos + jnp.einsum("lij,lj->li", pose.light_mat, where)
        along = jnp.einsum("lij,lj->li", pose.light_mat, along)
    return where, along / jnp.linalg.norm(along, axis=-1, keepdims=True)


def _lamps(
    scene: Scene,
    pose: ScenePose,
    look: Appearance,
    place: jax.Array,
    eye: jax.Array,
    axes: jax.Array,
) -> Lamps:
    """Returns the lights of one world.

    Args:
        scene: what is drawn.
        pose: where everything is.
        look: what it looks like.
        place: (G, 3) [m] where the geoms are seen.
        eye: (3,) [m] place of the camera.
        axes: (3, 3) its rotation.
    """
    where, along = lights_in_world(pose, look)
    toward = -along
    far = np.array([light.kind == "directional" for light in scene.lights], bool)[:, None]
    own = jnp.einsum("gij,lgi->lgj", pose.geom_mat, where[:, None] - place)
    local = jnp.einsum("gij,li->lgj", pose.geom_mat, toward)
    side = jnp.einsum("gij,lki->lkgj", pose.geom_mat, jax.vmap(across)(toward))
    return Lamps(
        place=jnp.where(far, toward @ axes, (where - eye) @ axes),
        axis=toward @ axes,
        local=jnp.where(far[:, None], local, own),
        side=side,
    )


def across(axis: jax.Array) -> jax.Array:
    """Returns (2, 3) two unit vectors at right angles to the unit vector ``axis`` (3,)."""
    start = jnp.where(jnp.abs(axis[2]) < 0.9, jnp.array([0.0, 0, 1]), jnp.array([1.0, 0, 0]))
    first = jnp.cross(axis, start)
    first = first / jnp.linalg.norm(first)
    return jnp.stack((first, jnp.cross(axis, first)))


def rays_of(scene: Scene, view: View) -> Rays:
    """Returns the rays of the scene's pixels, through the lens of this world."""
    x, y = (jnp.asarray(axis) for axis in pixels(scene.height, scene.width))
    if view.centre is not None:
        x, y = x - view.centre[0], y - view.centre[1]
    x, y = x * (view.focal * scene.stretch), y * view.focal
    return Rays(x, y) if view.bend is None else Rays(*straighten(x, y, view.bend))


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
