"""Batched ray-cast renderer: rgb, depth, segmentation, mask and normals of many worlds.

Worlds are drawn in chunks (`lax.map`), so memory grows with the pictures asked for and not with
worlds x pixels x geoms. Inside a chunk the last axis is pixels and geoms are unrolled, which lets
the compiler make one loop over pixels out of all intersections. A picture takes a few such loops,
each handing the next one integer per pixel: nearest geom, arriving light, normal, colour.
"""

import functools
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct

from mjx_s2r.render.geometry.pose import ScenePose
from mjx_s2r.render.geometry.rays import View, look_from, rays_of
from mjx_s2r.render.geometry.scene import Scene, SceneError
from mjx_s2r.render.looks.appearance import Appearance
from mjx_s2r.render.looks.assets import RenderAssets
from mjx_s2r.render.sensor import depth_camera, optics, photometry
from mjx_s2r.render.sensor.photometry import Planes
from mjx_s2r.render.shading import shade, visibility

OUTPUTS = ("rgb", "depth", "segmentation", "mask", "normal")
CHUNK_PIXELS = 2**16  # pixels drawn at once; a few planes of them fit a core's cache


@struct.dataclass
class Image:
    """Pictures of one camera; channels that were not asked for are None.

    Attributes:
        rgb: (N, H, W, 3) uint8.
        depth: (N, H, W) float32 [m] along the optical axis, as MuJoCo's; 0 where there is sky, and
            where a depth camera has no answer.
        segmentation: (N, H, W) int32 id of the geom in the model, for a site the number of geoms
            plus its id, -1 for the sky.
        mask: (N, H, W) bool, True where one of the assets's foreground geoms is seen.
        normal: (N, H, W, 3) float32 unit normal in the camera's frame, 0 where there is sky.
    """

    rgb: jax.Array | None = None
    depth: jax.Array | None = None
    segmentation: jax.Array | None = None
    mask: jax.Array | None = None
    normal: jax.Array | None = None


@struct.dataclass
class _Frame:
    """One frame of one world: what is seen, how it looks, the seed (2,) of its noise or None."""

    view: View
    look: Appearance
    seed: jax.Array | None


@struct.dataclass
class _Layer:
    """Results of the stages per pixel (P,), all packed: nearest geom, light, normal, texture."""

    nearest: jax.Array
    arriving: jax.Array
    normal: jax.Array
    pattern: jax.Array | None = None


Stage = Callable[..., jax.Array]


def render(
    scene: Scene,
    pose: ScenePose,
    look: Appearance,
    *,
    assets: RenderAssets | None = None,
    outputs: Sequence[str] = ("rgb",),
    chunk: int | None = None,
    key: jax.Array | None = None,
) -> Image:
    """Draws N worlds; works inside jit and scan, and on a world axis sharded over devices.

    Worlds are dealt out to chunks like cards, so that every device has its part of every chunk.

    A world with a pose or look that is not finite comes out white, with depth NaN and segmentation
    -2, mask False and normal NaN; its neighbours are drawn.

    Args:
        scene: what is drawn.
        pose: where everything is, leading axis N.
        look: what it looks like, leading axis N.
        assets: textures and photographs that the looks choose from, shared by all worlds.
        outputs: which of `OUTPUTS` to compute.
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
    painter = _Painter(scene, assets or RenderAssets(), tuple(outputs))
    return jax.tree.map(join, jax.lax.map(lambda c: painter.draw(*c), chunks))


class _Painter:
    """Draws one chunk of worlds at once, stage by stage."""

    def __init__(self, scene: Scene, assets: RenderAssets, outputs: tuple[str, ...]) -> None:
        """Keeps what is the same in every world."""
        self._scene, self._assets, self._outputs = scene, assets, outputs

    def draw(self, pose: ScenePose, look: Appearance, seeds: jax.Array | None) -> Image:
        """Returns the pictures of B worlds."""
        scene, wants = self._scene, self._outputs
        view = jax.vmap(functools.partial(look_from, scene))(pose, look)
        sane = _finite((view, look))
        frame = _Frame(view, look, seeds)
        shape = (sane.shape[0], scene.height, scene.width)
        mask = sane[:, None, None]
        rgb = depth = ids = kept = normal = None
        if "rgb" in wants:
            packed = self._picture(sane, frame)
            rgb = jax.lax.bitcast_convert_type(packed, jnp.uint8)[..., :3].reshape(*shape, 3)
            rgb = jnp.where(mask[..., None], rgb, jnp.uint8(255))
        if set(wants) - {"rgb"}:
            everything = tuple(range(len(scene.geoms)))
            nearest = self._stage(sane, functools.partial(self._nearest, everything), frame)
            far, slot = visibility.unpack_hit(scene, nearest)
            far = jnp.where(slot < 0, 0.0, far)
        if "depth" in wants:
            far = jax.vmap(functools.partial(depth_camera.sense_depth, width=scene.width))(
                look, far, seeds
            )
            depth = jnp.where(mask, far.reshape(shape), jnp.nan)
        if "segmentation" in wants:
            ids = jnp.where(mask, shade.choose(slot, list(scene.ids), -1).reshape(shape), -2)
        if "mask" in wants:
            kept = mask & self._assets.keeps(slot).reshape(shape)
        if "normal" in wants:
            packed = self._stage(sane, self._normal, frame, nearest)
            normal = jnp.stack(shade.unpack_normal(packed), axis=-1)
            normal = jnp.where((slot < 0)[..., None], 0.0, normal).reshape(*shape, 3)
            normal = jnp.where(mask[..., None], normal, jnp.nan)
        return Image(rgb, depth, ids, kept, normal)

    def _picture(self, sane: jax.Array, frame: _Frame) -> jax.Array:
        """Returns the pictures (B, P) of one chunk, a byte per channel of one integer."""
        scene, look = self._scene, frame.look
        stage = functools.partial(self._stage, sane)
        layer = self._layer(stage, frame, scene.opaque)
        if not scene.clear and not optics.spreads(look):
            return stage(self._develop_layer, frame, layer)
        raw = stage(self._raw, frame, layer)
        if scene.clear:
            front = self._layer(stage, frame, scene.clear)
            raw = stage(self._blend, frame, layer, front, raw, stage(self._raw, frame, front))
        for effect in optics.lens_effects(look):
            raw = stage(functools.partial(self._through, effect), frame, raw)
        return stage(self._develop, frame, raw)

    def _layer(self, stage: Stage, frame: _Frame, among: tuple[int, ...]) -> _Layer:
        """Returns what is seen of some of the geoms."""
        nearest = stage(functools.partial(self._nearest, among), frame)
        arriving, normal = (stage(f, frame, nearest) for f in (self._arriving, self._normal))
        layer = _Layer(nearest, arriving, normal)
        if not shade.textured(frame.look, self._assets):
            return layer
        return replace(layer, pattern=stage(self._pattern, frame, layer))

    def _stage(self, sane: jax.Array, function: Stage, *args: Any) -> jax.Array:
        """Runs one stage on B worlds as a computation of its own.

        A branch is a fence to the compiler's loop fusion, which would else compute a stage again
        for every use in the next one (100 times slower on a CPU). Inside a stage a costly value
        should have one use, for the same reason: that is why stages hand over packed integers.
        """
        many = jax.vmap(function)
        shape = jax.eval_shape(many, *args)

        def skip(*_: Any) -> jax.Array:
            """Stands in where no world can be drawn."""
            return jnp.zeros(shape.shape, shape.dtype)

        return jax.lax.cond(sane.any(), many, skip, *args)

    def _nearest(self, among: tuple[int, ...], frame: _Frame) -> jax.Array:
        """Returns depth and geom (P,) of each pixel in one integer; see `visibility.nearest`."""
        view = frame.view
        return visibility.nearest(self._scene, view, rays_of(self._scene, view), among)

    def _arriving(self, frame: _Frame, nearest: jax.Array) -> jax.Array:
        """Returns how much of each light arrives (P,), packed."""
        view, hit = frame.view, visibility.unpack_hit(self._scene, nearest)
        rays = rays_of(self._scene, view)
        return visibility.arriving(self._scene, view, frame.look, rays, *hit)

    def _normal(self, frame: _Frame, nearest: jax.Array) -> jax.Array:
        """Returns the packed normals (P,)."""
        view, hit = frame.view, visibility.unpack_hit(self._scene, nearest)
        return shade.pack_normal(shade.normals(self._scene, view, rays_of(self._scene, view), *hit))

    def _pattern(self, frame: _Frame, layer: _Layer) -> jax.Array:
        """Returns what the textures multiply the colours by (P,), packed."""
        surface = self._surface(frame, layer)
        return photometry.pack_planes(
            shade.pattern(self._scene, frame.view, frame.look, self._assets, surface)
        )

    def _surface(self, frame: _Frame, layer: _Layer) -> shade.Surface:
        """Returns what each pixel shows (P,), unpacked."""
        depth, slot = visibility.unpack_hit(self._scene, layer.nearest)
        return shade.Surface(
            rays=rays_of(self._scene, frame.view),
            depth=depth,
            slot=slot,
            normal=shade.unpack_normal(layer.normal),
            arriving=layer.arriving,
            pattern=None if layer.pattern is None else photometry.unpack_planes(layer.pattern),
        )

    def _incoming(self, frame: _Frame, layer: _Layer) -> Planes:
        """Returns the light that reaches the lens (P,) per channel."""
        return _lit(self._scene, frame.view, frame.look, self._assets, self._surface(frame, layer))

    def _raw(self, frame: _Frame, layer: _Layer) -> jax.Array:
        """Returns the light that reaches the lens (P,), packed."""
        return photometry.pack_planes(self._incoming(frame, layer))

    def _blend(
        self, frame: _Frame, behind: _Layer, front: _Layer, raw: jax.Array, raw_front: jax.Array
    ) -> jax.Array:
        """Returns the packed picture (P,) with what shines through drawn over the rest."""
        depth, slot = visibility.unpack_hit(self._scene, front.nearest)
        alpha = shade.choose(slot, [g.alpha for g in self._scene.geoms], 0.0)
        alpha = jnp.where(depth < visibility.unpack_hit(self._scene, behind.nearest)[0], alpha, 0.0)
        pairs = zip(photometry.unpack_planes(raw), photometry.unpack_planes(raw_front), strict=True)
        return photometry.pack_planes(tuple(b + alpha * (f - b) for b, f in pairs))

    def _through(self, effect: optics.Effect, frame: _Frame, raw: jax.Array) -> jax.Array:
        """Returns the packed picture (P,) after one effect of the lens."""
        planes = photometry.unpack_planes(raw)
        return photometry.pack_planes(effect(frame.look, planes, self._scene.height))

    def _develop(self, frame: _Frame, raw: jax.Array) -> jax.Array:
        """Returns the finished picture (P,) from what came through the lens."""
        return self._finish(frame, photometry.unpack_planes(raw))

    def _develop_layer(self, frame: _Frame, layer: _Layer) -> jax.Array:
        """Returns the finished picture (P,) of one layer."""
        return self._finish(frame, self._incoming(frame, layer))

    def _finish(self, frame: _Frame, planes: Planes) -> jax.Array:
        """Returns the picture (P,), one byte per channel in one uint32."""
        exposed = photometry.expose_planes(frame.look, planes, self._scene.height)
        digits = photometry.digitise(frame.look, exposed, frame.seed)
        red, green, blue = (c.astype(jnp.uint32) for c in digits)
        return red | green << 8 | blue << 16


def _lit(
    scene: Scene, view: View, look: Appearance, assets: RenderAssets, surface: shade.Surface
) -> Planes:
    """Returns the light that reaches the lens (P,); with a green screen, before its photograph."""
    planes = shade.colour(scene, view, look, assets, surface)
    if not assets.kept:
        return planes
    _, photo = assets.photograph(scene, look)
    keep = assets.keeps(surface.slot)
    return tuple(jnp.where(keep, c, p) for c, p in zip(planes, photo, strict=True))


def _finite(tree: Any) -> jax.Array:
    """Returns (B,) True where every number of a world is finite."""
    leaves = [x for x in jax.tree.leaves(tree) if jnp.issubdtype(x.dtype, jnp.floating)]
    return jnp.stack([jnp.isfinite(x).reshape(x.shape[0], -1).all(-1) for x in leaves]).all(0)


def float_image(
    scene: Scene, pose: ScenePose, look: Appearance, assets: RenderAssets | None = None
) -> jax.Array:
    """Returns one picture (H, W, 3) in [0, 1] before noise and rounding, to differentiate.

    Which geom a pixel shows and what lies in shadow is held fixed; depth, shading, colours and
    photometry carry gradients. What shines through is drawn as if it were solid.
    """
    view = look_from(scene, pose, look)
    rays = rays_of(scene, view)
    everything = tuple(range(len(scene.geoms)))
    depth, slot = visibility.unpack_hit(scene, visibility.nearest(scene, view, rays, everything))
    depth = visibility.refined(scene, view, rays, depth, slot)
    normal = shade.normals(scene, view, rays, depth, slot)
    light = visibility.arriving(scene, view, look, rays, depth, slot)
    surface = shade.Surface(rays, depth, slot, normal, light)
    if shade.textured(look, assets or RenderAssets()):
        own = shade.pattern(scene, view, look, assets or RenderAssets(), surface)
        surface = replace(surface, pattern=own)
    planes = _lit(scene, view, look, assets or RenderAssets(), surface)
    for effect in optics.lens_effects(look):
        planes = effect(look, planes, scene.height)
    planes = photometry.expose_planes(look, planes, scene.height)
    return jnp.stack(planes, axis=-1).reshape(scene.height, scene.width, 3)


def _check(scene: Scene, pose: ScenePose, look: Appearance, outputs: Sequence[str]) -> None:
    """Raises SceneError on an unknown output, or a pose or look of another scene."""
    for name in outputs:
        if name not in OUTPUTS:
            raise SceneError(f"unknown output {name!r}; known: {', '.join(OUTPUTS)}")
    geoms = len(scene.geoms)
    if pose.cam_pos.ndim != 2 or pose.geom_pos.shape[1:] != (geoms, 3):
        raise SceneError(
            f"pose of cam_pos {pose.cam_pos.shape}, geom_pos {pose.geom_pos.shape} does not fit: "
            f"(N, 3) and (N, {geoms}, 3) are needed; use pose.scene_pose, and a world axis"
        )
    if look.geom_rgb.shape != pose.geom_pos.shape:
        raise SceneError(
            f"look of geom_rgb {look.geom_rgb.shape} does not fit {pose.geom_pos.shape[0]} worlds "
            f"of {geoms} geoms; vmap appearance.appearance over as many worlds"
        )
