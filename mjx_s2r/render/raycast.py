"""Pictures of many worlds: rgb, depth and segmentation from poses and looks.

Worlds are drawn in chunks (`lax.map`), so memory grows with the pictures asked for and not with
worlds x pixels x geoms. Inside a chunk the last axis is pixels and geoms are unrolled, which lets the
compiler make one loop over pixels out of all intersections.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct

from mjx_s2r.render import camera as cam
from mjx_s2r.render import photometry, shade, trace
from mjx_s2r.render.appearance import Appearance
from mjx_s2r.render.camera import Pose, Scene, SceneError, View

OUTPUTS = ("rgb", "depth", "segmentation")
CHUNK = 16  # worlds drawn at once


@struct.dataclass
class Image:
    """What the camera saw; what was not asked for is None.

    Attributes:
        rgb: (N, H, W, 3) uint8.
        depth: (N, H, W) float32 [m] along the optical axis, as MuJoCo's depth; 0 where there is sky.
        segmentation: (N, H, W) int32 id of the geom in the model, -1 for the sky.
    """

    rgb: jax.Array | None = None
    depth: jax.Array | None = None
    segmentation: jax.Array | None = None


def render(
    scene: Scene,
    pose: Pose,
    look: Appearance,
    *,
    outputs: Sequence[str] = ("rgb",),
    chunk: int = CHUNK,
    key: jax.Array | None = None,
) -> Image:
    """Draws N worlds.

    Args:
        scene: what is drawn.
        pose: where everything is, leading axis N.
        look: what it looks like, leading axis N.
        outputs: which of "rgb", "depth" and "segmentation" to compute.
        chunk: worlds drawn at once.
        key: random key for pixel noise; without one there is no noise.

    Raises:
        SceneError: an unknown output, or a pose of another scene.
    """
    _check(scene, pose, outputs)
    worlds = pose.cam_pos.shape[0]
    seeds = None if key is None else jax.random.bits(key, (worlds, 2), jnp.uint32)
    size = min(chunk, worlds)
    count = -(-worlds // size)

    def split(leaf: jax.Array) -> jax.Array:
        """Pads the worlds with copies of the last one and cuts them into chunks."""
        padded = jnp.concatenate([leaf, jnp.repeat(leaf[-1:], count * size - worlds, axis=0)])
        return padded.reshape(count, size, *leaf.shape[1:])

    chunks = jax.tree.map(split, (pose, look, seeds))
    images = jax.lax.map(lambda args: draw(scene, *args, tuple(outputs)), chunks)
    return jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:])[:worlds], images)


def draw(
    scene: Scene, pose: Pose, look: Appearance, seeds: jax.Array | None, outputs: tuple[str, ...]
) -> Image:
    """Draws one chunk of worlds at once: `render` without the loop."""
    view = jax.vmap(functools.partial(look_from, scene))(pose, look)
    sane = jnp.isfinite(view.eye).all() & jnp.isfinite(view.turn).all()
    nearest = _stage(sane, jax.vmap(functools.partial(_nearest, scene)), view)
    worlds = (view.focal.shape[0], scene.height, scene.width)
    rgb = depth = ids = None
    if "rgb" in outputs:
        paint = jax.vmap(functools.partial(_paint, scene), in_axes=(0, 0, 0, None if seeds is None else 0))
        packed = _stage(sane, paint, view, look, nearest, seeds)
        rgb = jax.lax.bitcast_convert_type(packed, jnp.uint8)[..., :3].reshape(*worlds, 3)
    if "depth" in outputs or "segmentation" in outputs:
        far, slot = trace.unpack(scene, nearest)
        depth = jnp.where(slot < 0, 0.0, far).reshape(worlds) if "depth" in outputs else None
        for g, geom in enumerate(scene.geoms):
            slot = jnp.where(slot == g, geom.id, slot)
        ids = slot.reshape(worlds)
    return Image(rgb, depth, ids if "segmentation" in outputs else None)


def _stage(sane: jax.Array, function: Callable[..., jax.Array], *args: Any) -> jax.Array:  # noqa: ANN401
    """Runs one stage of the pipeline as a computation of its own; all ones in bits if not ``sane``.

    A branch is a fence to the compiler's loop fusion, which would else compute each stage again for
    every use in the next one (100 times slower on a CPU).
    """
    shape = jax.eval_shape(function, *args)
    return jax.lax.cond(sane, function, lambda *_: jnp.full(shape.shape, -1, shape.dtype), *args)


def _nearest(scene: Scene, view: View) -> jax.Array:
    """Returns depth and geom (P,) of each pixel in one integer; see `trace.nearest`."""
    return trace.nearest(scene, view, _rays(scene, view))


def _paint(
    scene: Scene, view: View, look: Appearance, nearest: jax.Array, seed: jax.Array | None
) -> jax.Array:
    """Returns the picture (P,), one byte per channel in one uint32."""
    rays = _rays(scene, view)
    depth, slot = trace.unpack(scene, nearest)
    planes = photometry.expose(look, colour(scene, view, look, rays, depth, slot), scene.height)
    red, green, blue = (c.astype(jnp.uint32) for c in photometry.digitise(look, planes, seed))
    return red | green << 8 | blue << 16


def _rays(scene: Scene, view: View) -> trace.Rays:
    """Returns the rays of the scene's pixels."""
    x, y = cam.pixels(scene.height, scene.width)
    return trace.Rays(x * view.focal, y * view.focal)


def float_image(scene: Scene, pose: Pose, look: Appearance) -> jax.Array:
    """Returns one picture (H, W, 3) in [0, 1] before noise and rounding, to differentiate.

    Which geom a pixel shows is held fixed; depth, shading and colours carry gradients.
    """
    view = look_from(scene, pose, look)
    rays = _rays(scene, view)
    depth, slot = trace.unpack(scene, trace.nearest(scene, view, rays))
    depth = trace.refined(scene, view, rays, depth, slot)
    planes = photometry.expose(look, colour(scene, view, look, rays, depth, slot), scene.height)
    return jnp.stack(planes, axis=-1).reshape(scene.height, scene.width, 3)


def colour(
    scene: Scene,
    view: View,
    look: Appearance,
    rays: trace.Rays,
    depth: jax.Array,
    slot: jax.Array,
) -> photometry.Planes:
    """Returns what reaches the camera (P,) per channel, before photometry."""
    normal = shade.normals(scene, view, rays, depth, slot)
    dark = trace.shadowed(scene, view, rays, depth, slot)
    even, diffuse, glow, highlight = shade.light(scene, view, look, rays, normal, dark)
    surface = shade.albedo(scene, view, look, rays, depth, slot)
    tint, back = trace.triple(look.light_rgb), shade.sky(view, look, rays)
    return tuple(
        jnp.where(
            slot < 0,
            back[c],
            surface[c] * (even + tint[c] * diffuse) + glow + tint[c] * highlight,
        )
        for c in range(3)
    )


def look_from(scene: Scene, pose: Pose, look: Appearance) -> View:
    """Returns one frame seen from the camera, with this world's camera error and light."""
    parent = pose.cam_mat @ cam.quat_mat(scene.camera_quat).T
    eye = pose.cam_pos + parent @ look.camera_pos
    axes = pose.cam_mat @ cam.rotation(look.camera_rot)
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


def _check(scene: Scene, pose: Pose, outputs: Sequence[str]) -> None:
    """Raises SceneError on an unknown output or a pose of another scene."""
    for name in outputs:
        if name not in OUTPUTS:
            raise SceneError(f"unknown output {name!r}; known: {', '.join(OUTPUTS)}")
    if pose.cam_pos.ndim != 2 or pose.geom_pos.shape[1:] != (len(scene.geoms), 3):
        raise SceneError(
            f"pose of cam_pos {pose.cam_pos.shape}, geom_pos {pose.geom_pos.shape} does not fit: "
            f"(N, 3) and (N, {len(scene.geoms)}, 3) are needed; use camera.pose, and a world axis"
        )
