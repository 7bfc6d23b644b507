"""Pictures of many worlds: rgb, depth and segmentation from poses and looks.

Worlds are drawn in chunks (`lax.map`), so memory grows with the pictures asked for and not with
worlds x pixels x geoms. Inside a chunk the last axis is pixels and geoms are unrolled, which lets
the compiler make one loop over pixels out of all intersections. A picture takes four such loops,
each handing the next one integer per pixel: nearest geom, shadow, normal, colour.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct

from mjx_s2r.render import photometry, shade, trace
from mjx_s2r.render.appearance import Appearance
from mjx_s2r.render.camera import Pose, Scene, SceneError
from mjx_s2r.render.view import View, look_from, rays_of

OUTPUTS = ("rgb", "depth", "segmentation")
CHUNK_PIXELS = 2**16  # pixels drawn at once; a few planes of them fit a core's cache


@struct.dataclass
class Image:
    """What the camera saw; what was not asked for is None.

    Attributes:
        rgb: (N, H, W, 3) uint8.
        depth: (N, H, W) float32 [m] along the optical axis, as MuJoCo's; 0 where there is sky.
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
    chunk: int | None = None,
    key: jax.Array | None = None,
) -> Image:
    """Draws N worlds; works inside jit and scan, and on a world axis sharded over devices.

    Worlds are dealt out to chunks like cards, so that every device has its part of every chunk.

    A chunk with a pose that is not finite comes out white with depth NaN and segmentation -2.

    Args:
        scene: what is drawn.
        pose: where everything is, leading axis N.
        look: what it looks like, leading axis N.
        outputs: which of "rgb", "depth" and "segmentation" to compute.
        chunk: worlds drawn at once; None for as many as make `CHUNK_PIXELS`.
        key: random key for pixel noise; without one there is no noise.

    Raises:
        SceneError: an unknown output, or a pose or look that does not fit.
    """
    _check(scene, pose, look, outputs)
    worlds = pose.cam_pos.shape[0]
    seeds = None if key is None else jax.random.bits(key, (worlds, 2), jnp.uint32)
    size = min(worlds, chunk or max(1, CHUNK_PIXELS // (scene.height * scene.width)))
    count = -(-worlds // size)

    def split(leaf: jax.Array) -> jax.Array:
        """Pads the worlds with copies of the last one and deals them out to chunks."""
        missing = count * size - worlds
        if missing:
            leaf = jnp.concatenate([leaf, jnp.repeat(leaf[-1:], missing, axis=0)])
        return leaf.reshape(size, count, *leaf.shape[1:]).swapaxes(0, 1)

    def join(leaf: jax.Array) -> jax.Array:
        """Undoes `split`."""
        return leaf.swapaxes(0, 1).reshape(-1, *leaf.shape[2:])[:worlds]

    chunks = jax.tree.map(split, (pose, look, seeds))
    images = jax.lax.map(lambda c: draw(scene, c[0], c[1], c[2], tuple(outputs)), chunks)
    return jax.tree.map(join, images)


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
        rgb = _picture(scene, sane, view, look, nearest, seeds).reshape(*worlds, 3)
    far, slot = trace.unpack(scene, nearest)
    if "depth" in outputs:
        depth = jnp.where(sane, jnp.where(slot < 0, 0.0, far), jnp.nan).reshape(worlds)
    if "segmentation" in outputs:
        ids = jnp.where(sane, shade.choose(slot, list(scene.ids), -1), -2).reshape(worlds)
    return Image(rgb, depth, ids)


def _picture(
    scene: Scene,
    sane: jax.Array,
    view: View,
    look: Appearance,
    nearest: jax.Array,
    seeds: jax.Array | None,
) -> jax.Array:
    """Returns the uint8 pictures (B, P, 3) of one chunk, stage by stage."""

    def stage(function: Callable[..., jax.Array], *args: Any) -> jax.Array:
        return _stage(sane, jax.vmap(functools.partial(function, scene)), *args)

    dark = stage(_dark, view, nearest)
    normal = stage(_normal, view, nearest)
    if look.blur_px is None:
        packed = stage(_develop, look, _Seen(view, look, nearest, normal, dark), seeds)
    else:
        raw = stage(_raw, _Seen(view, look, nearest, normal, dark))
        raw = stage(functools.partial(_blurred, axis=0), look, raw)
        raw = stage(functools.partial(_blurred, axis=1), look, raw)
        packed = stage(_develop, look, raw, seeds)
    return jax.lax.bitcast_convert_type(packed, jnp.uint8)[..., :3]


def _stage(sane: jax.Array, function: Callable[..., jax.Array], *args: Any) -> jax.Array:
    """Runs one stage of the pipeline as a computation of its own; all bits 1 if not ``sane``.

    A branch is a fence to the compiler's loop fusion, which would else compute a stage again for
    every use in the next one (100 times slower on a CPU). Inside a stage a costly value should have
    one use, for the same reason: that is why stages hand over one packed integer.
    """
    shape = jax.eval_shape(function, *args)
    return jax.lax.cond(sane, function, lambda *_: jnp.full(shape.shape, -1, shape.dtype), *args)


@struct.dataclass
class _Seen:
    """What the stages before the last one found, per pixel; `trace` and `shade` pack it."""

    view: View
    look: Appearance
    nearest: jax.Array
    normal: jax.Array
    dark: jax.Array


def _nearest(scene: Scene, view: View) -> jax.Array:
    """Returns depth and geom (P,) of each pixel in one integer; see `trace.nearest`."""
    return trace.nearest(scene, view, rays_of(scene, view))


def _dark(scene: Scene, view: View, nearest: jax.Array) -> jax.Array:
    """Returns True (P,) in the shadow."""
    return trace.shadowed(scene, view, rays_of(scene, view), *trace.unpack(scene, nearest))


def _normal(scene: Scene, view: View, nearest: jax.Array) -> jax.Array:
    """Returns the packed normals (P,)."""
    rays = rays_of(scene, view)
    return shade.pack_normal(shade.normals(scene, view, rays, *trace.unpack(scene, nearest)))


def _raw(scene: Scene, seen: _Seen) -> jax.Array:
    """Returns the light that reaches the lens (P,), packed."""
    return photometry.pack(_incoming(scene, seen))


def _blurred(scene: Scene, look: Appearance, raw: jax.Array, *, axis: int) -> jax.Array:
    """Returns the packed picture (P,) blurred along one axis."""
    planes = photometry.unpack(raw)
    return photometry.pack(photometry.blur(look, planes, scene.height, axis))


def _develop(
    scene: Scene, look: Appearance, seen: _Seen | jax.Array, seed: jax.Array | None
) -> jax.Array:
    """Returns the picture (P,), one byte per channel in one uint32."""
    planes = _incoming(scene, seen) if isinstance(seen, _Seen) else photometry.unpack(seen)
    planes = photometry.digitise(look, photometry.expose(look, planes), seed)
    red, green, blue = (c.astype(jnp.uint32) for c in planes)
    return red | green << 8 | blue << 16


def _incoming(scene: Scene, seen: _Seen) -> photometry.Planes:
    """Returns the light that reaches the lens (P,) per channel."""
    rays, normal = rays_of(scene, seen.view), shade.unpack_normal(seen.normal)
    depth, slot = trace.unpack(scene, seen.nearest)
    surface = shade.Surface(rays, depth, slot, normal, seen.dark)
    return shade.colour(scene, seen.view, seen.look, surface)


def float_image(scene: Scene, pose: Pose, look: Appearance) -> jax.Array:
    """Returns one picture (H, W, 3) in [0, 1] before noise and rounding, to differentiate.

    Which geom a pixel shows and what lies in shadow is held fixed; depth, shading, colours and
    photometry carry gradients.
    """
    view = look_from(scene, pose, look)
    rays = rays_of(scene, view)
    depth, slot = trace.unpack(scene, trace.nearest(scene, view, rays))
    depth = trace.refined(scene, view, rays, depth, slot)
    normal = shade.normals(scene, view, rays, depth, slot)
    dark = trace.shadowed(scene, view, rays, depth, slot)
    surface = shade.Surface(rays, depth, slot, normal, dark)
    planes = shade.colour(scene, view, look, surface)
    if look.blur_px is not None:
        for axis in (0, 1):
            planes = photometry.blur(look, planes, scene.height, axis)
    planes = photometry.expose(look, planes)
    return jnp.stack(planes, axis=-1).reshape(scene.height, scene.width, 3)


def _check(scene: Scene, pose: Pose, look: Appearance, outputs: Sequence[str]) -> None:
    """Raises SceneError on an unknown output, or a pose or look of another scene."""
    for name in outputs:
        if name not in OUTPUTS:
            raise SceneError(f"unknown output {name!r}; known: {', '.join(OUTPUTS)}")
    geoms = len(scene.geoms)
    if pose.cam_pos.ndim != 2 or pose.geom_pos.shape[1:] != (geoms, 3):
        raise SceneError(
            f"pose of cam_pos {pose.cam_pos.shape}, geom_pos {pose.geom_pos.shape} does not fit: "
            f"(N, 3) and (N, {geoms}, 3) are needed; use camera.pose, and a world axis"
        )
    if look.geom_rgb.shape != pose.geom_pos.shape:
        raise SceneError(
            f"look of geom_rgb {look.geom_rgb.shape} does not fit {pose.geom_pos.shape[0]} worlds "
            f"of {geoms} geoms; vmap appearance.appearance over as many worlds"
        )
