"""Batched ray-cast renderer: rgb, depth, segmentation, mask and normals of many worlds.

Worlds are drawn in chunks (`lax.map`), so memory grows with the pictures asked for and not with
worlds x pixels x geoms. Inside a chunk the last axis is pixels and geoms are unrolled, which lets
the compiler make one loop over pixels out of all intersections. A picture takes a few such loops,
each handing the next one integer per pixel: nearest geom, arriving light, normal, colour.
"""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct

from mjx_s2r.render.geometry import facets as mesh_facets
from mjx_s2r.render.geometry import raster
from mjx_s2r.render.geometry.facets import Facets
from mjx_s2r.render.geometry.pose import ScenePose
from mjx_s2r.render.geometry.primitives import dot
from mjx_s2r.render.geometry.raster import Soup
from mjx_s2r.render.geometry.rays import View, look_from, rays_of, triple
from mjx_s2r.render.geometry.scene import Scene, SceneError
from mjx_s2r.render.looks.appearance import Appearance
from mjx_s2r.render.looks.assets import RenderAssets
from mjx_s2r.render.sensor import depth_camera, optics, photometry
from mjx_s2r.render.sensor.photometry import Planes
from mjx_s2r.render.shading import shade, visibility
from mjx_s2r.render.shading.texture import unpack_texels

OUTPUTS = ("rgb", "depth", "segmentation", "mask", "normal")
CHUNK_PIXELS = 2**16  # pixels drawn at once; a few planes of them fit a core's cache
GROUP = 16  # geoms of one loop over pixels: with many more the compiler makes slow loops


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
    """Results of the stages per pixel (P,), all packed.

    Attributes:
        nearest: depth and geom.
        arriving: which shadow rays arrive.
        normal: of the surface.
        pattern: the texels of the textures, or None without textures.
        photograph: the texels of the photograph behind everything, or None without photographs.
    """

    nearest: jax.Array
    arriving: tuple[jax.Array, ...]
    normal: jax.Array
    pattern: jax.Array | None = None
    photograph: jax.Array | None = None


@dataclass(frozen=True)
class _Seen:
    """Which geom each pixel of B worlds shows.

    Attributes:
        nearest: (B, P) int32 packed depth and geom.
        among: positions of the geoms without meshes that were looked at.
        soup: the triangles that were looked at, or None.
        facets: which of them each pixel shows.
    """

    nearest: jax.Array
    among: tuple[int, ...]
    soup: Soup | None
    facets: Facets | None


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
            stage = functools.partial(self._stage, sane)
            seen = self._seen(stage, frame, tuple(range(len(scene.geoms))))
            nearest = seen.nearest
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
            packed = self._normals(stage, frame, seen)
            normal = jnp.stack(shade.unpack_normal(packed), axis=-1)
            normal = jnp.where((slot < 0)[..., None], 0.0, normal).reshape(*shape, 3)
            normal = jnp.where(mask[..., None], normal, jnp.nan)
        return Image(rgb, depth, ids, kept, normal)

    def _picture(self, sane: jax.Array, frame: _Frame) -> jax.Array:
        """Returns the pictures (B, P) of one chunk, a byte per channel of one integer."""
        scene, look = self._scene, frame.look
        stage, photograph = functools.partial(self._stage, sane), None
        if self._assets.photographs is not None:
            photograph = stage(self._photograph, frame)
        layer = replace(self._layer(stage, frame, scene.opaque), photograph=photograph)
        if not scene.clear and not optics.spreads(look):
            return stage(self._develop_layer, frame, layer)
        raw = stage(self._raw, frame, layer)
        if scene.clear:
            front = replace(self._layer(stage, frame, scene.clear), photograph=photograph)
            raw = stage(self._blend, frame, layer, front, raw, stage(self._raw, frame, front))
        for effect in optics.lens_effects(look):
            raw = stage(functools.partial(self._through, effect), frame, raw)
        return stage(self._develop, frame, raw)

    def _layer(self, stage: Stage, frame: _Frame, among: tuple[int, ...]) -> _Layer:
        """Returns what is seen of some of the geoms, without the photograph behind them."""
        seen = self._seen(stage, frame, among)
        normal = self._normals(stage, frame, seen)
        arriving = self._arrivals(stage, frame, seen.nearest, normal)
        layer = _Layer(seen.nearest, arriving, normal)
        if not shade.textured(frame.look, self._assets):
            return layer
        aim = functools.partial(self._texel_places, seen.soup)
        places = stage(aim, frame, layer, seen.facets)
        return replace(layer, pattern=stage(self._assets.read_texels, places))

    def _stage(self, sane: jax.Array, function: Stage, *args: Any) -> jax.Array:
        """Runs one stage on B worlds as a computation of its own.

        A branch is a fence to the compiler's loop fusion, which would else compute a stage again
        for every use in the next one (100 times slower on a CPU). Inside a stage a costly value
        should have one use, for the same reason: that is why stages hand over packed integers.
        """
        return _fenced(sane, jax.vmap(function), *args)

    def _seen(self, stage: Stage, frame: _Frame, among: tuple[int, ...]) -> _Seen:
        """Returns which of some geoms each pixel shows."""
        plain = tuple(g for g in among if self._scene.geoms[g].shape != "mesh")
        soup, facets = raster.soup_of(self._scene, among), None
        groups = [plain[i : i + GROUP] for i in range(0, len(plain), GROUP)] or [()]
        nearest = stage(functools.partial(self._nearest, groups[0]), frame, None)
        for group in groups[1:]:
            nearest = stage(functools.partial(self._nearest, group), frame, nearest)
        if soup is not None:
            facets = mesh_facets.seen(self._scene, soup, frame.view, self._fence(frame))
            nearest = stage(functools.partial(self._nearer, soup), frame, nearest, facets)
        return _Seen(nearest, plain, soup, facets)

    def _fence(self, frame: _Frame) -> Callable[..., Any]:
        """Returns a function that runs functions on B worlds as computations of their own."""
        return functools.partial(_fenced, _finite((frame.view, frame.look)))

    def _nearest(
        self, among: tuple[int, ...], frame: _Frame, before: jax.Array | None
    ) -> jax.Array:
        """Returns depth and geom (P,) of each pixel in one integer; see `visibility.nearest`."""
        rays = rays_of(self._scene, frame.view)
        before = visibility.nothing(rays) if before is None else before
        return visibility.nearest(self._scene, frame.view, rays, among, before)

    def _nearer(self, soup: Soup, frame: _Frame, nearest: jax.Array, facets: Facets) -> jax.Array:
        """Returns what `_nearest` does, the meshes counted in."""
        rays = rays_of(self._scene, frame.view)
        return jnp.minimum(nearest, visibility.nearest_mesh(self._scene, soup, facets, rays))

    def _arrivals(
        self, stage: Stage, frame: _Frame, nearest: jax.Array, normal: jax.Array
    ) -> tuple[jax.Array, ...]:
        """Returns which shadow rays arrive (P,), in words of 32; any at what looks away."""
        casters = visibility.casters(self._scene)
        plain = tuple(g for g in casters if self._scene.geoms[g].shape != "mesh")
        soup = raster.soup_of(self._scene, casters)
        out = []
        for word in visibility.shadow_rays(self._scene, frame.look):
            groups = [plain[i : i + GROUP] for i in range(0, len(plain), GROUP)] or [()]
            parts = [
                stage(functools.partial(self._arriving, group, word), frame, nearest)
                for group in groups
            ]
            arriving = functools.reduce(jnp.bitwise_and, parts)
            if soup is not None:
                arriving = arriving & ~self._mesh_shadows(frame, nearest, normal, soup, word)
            out.append(arriving)
        return tuple(out)

    def _arriving(
        self,
        casters: tuple[int, ...],
        word: tuple[tuple[int, int], ...],
        frame: _Frame,
        nearest: jax.Array,
    ) -> jax.Array:
        """Returns which shadow rays of a word pass some geoms (P,); see `visibility.arriving`."""
        view, hit = frame.view, visibility.unpack_hit(self._scene, nearest)
        rays = rays_of(self._scene, view)
        return visibility.arriving(self._scene, view, frame.look, rays, *hit, casters, word)

    def _mesh_shadows(
        self,
        frame: _Frame,
        nearest: jax.Array,
        normal: jax.Array,
        soup: Soup,
        word: tuple[tuple[int, int], ...],
    ) -> jax.Array:
        """Returns (B, P) uint32 which shadow rays of a word a mesh stops."""
        scene, fence = self._scene, self._fence(frame)
        depth, slot = visibility.unpack_hit(scene, nearest)
        out = jnp.zeros(depth.shape, jnp.uint32)
        for index in dict.fromkeys(light for light, _ in word):
            rays = {bit: k for bit, (light, k) in enumerate(word) if light == index}
            lit = functools.partial(self._looks_at, index)
            there = (slot >= 0) & fence(jax.vmap(lit), frame.view, depth, normal)
            aim = functools.partial(visibility.mesh_offset, scene, index)
            offsets = jnp.stack(
                [jax.vmap(functools.partial(aim, k))(frame.look) for k in rays.values()]
            )
            shaded = functools.partial(mesh_facets.shaded, scene, soup, frame.view, index)
            dark = jax.lax.map(functools.partial(shaded, depth, there, fence), offsets)
            for bit, one in zip(rays, dark, strict=True):
                out = out | one.astype(jnp.uint32) << bit
        return out

    def _looks_at(self, index: int, view: View, depth: jax.Array, normal: jax.Array) -> jax.Array:
        """Returns whether the surface of each pixel (P,) is turned to a light."""
        to_light = triple(view.lamps.place[index])
        if self._scene.lights[index].kind != "directional":
            rays = rays_of(self._scene, view)
            point = depth * rays.x, depth * rays.y, -depth
            to_light = tuple(a - b for a, b in zip(to_light, point, strict=True))
        return dot(shade.unpack_normal(normal), to_light) > 0

    def _normals(self, stage: Stage, frame: _Frame, seen: _Seen) -> jax.Array:
        """Returns the packed normals (P,)."""
        slots = seen.among
        groups = [slots[i : i + GROUP] for i in range(0, len(slots), GROUP)] or [()]
        packed = None
        for group in groups:
            packed = stage(functools.partial(self._normal, group), frame, seen.nearest, packed)
        assert packed is not None  # there is at least one group
        if seen.soup is None:
            return packed
        return stage(
            functools.partial(self._mesh_normal, seen.soup),
            frame,
            seen.nearest,
            seen.facets,
            packed,
        )

    def _normal(
        self, among: tuple[int, ...], frame: _Frame, nearest: jax.Array, before: jax.Array | None
    ) -> jax.Array:
        """Returns the packed normals (P,) of some geoms, and those of before elsewhere."""
        view, (depth, slot) = frame.view, visibility.unpack_hit(self._scene, nearest)
        zero = jnp.zeros(depth.shape)
        normal = shade.normals(
            self._scene, view, rays_of(self._scene, view), depth, slot, among, (zero, zero, zero)
        )
        packed = shade.pack_normal(normal)
        if before is None:
            return packed
        return jnp.where((slot >= among[0]) & (slot <= among[-1]), packed, before)

    def _mesh_normal(
        self, soup: Soup, frame: _Frame, nearest: jax.Array, facets: Facets, before: jax.Array
    ) -> jax.Array:
        """Returns the packed normals (P,), those of the meshes counted in."""
        view, (_, slot) = frame.view, visibility.unpack_hit(self._scene, nearest)
        normal = mesh_facets.mesh_normals(soup, view, facets, rays_of(self._scene, view))
        shown = visibility.is_mesh(self._scene, slot)
        return jnp.where(shown, shade.pack_normal(normal), before)

    def _texel_places(
        self, soup: Soup | None, frame: _Frame, layer: _Layer, facets: Facets | None
    ) -> jax.Array:
        """Returns (P,) which texel each pixel shows, -1 for none."""
        surface = self._surface(frame, layer)
        meshes = None if soup is None or facets is None else (soup, facets)
        given = self._scene, frame.view, frame.look, self._assets, surface, meshes
        return shade.pattern_places(*given)

    def _photograph(self, frame: _Frame) -> jax.Array:
        """Returns the texels (P,) of the photograph behind everything, packed."""
        return self._assets.read_photograph(self._scene, frame.look)

    def _surface(self, frame: _Frame, layer: _Layer) -> shade.Surface:
        """Returns what each pixel shows (P,), unpacked."""
        depth, slot = visibility.unpack_hit(self._scene, layer.nearest)
        return shade.Surface(
            rays=rays_of(self._scene, frame.view),
            depth=depth,
            slot=slot,
            normal=shade.unpack_normal(layer.normal),
            arriving=layer.arriving,
            pattern=None if layer.pattern is None else unpack_texels(layer.pattern),
            photograph=None if layer.photograph is None else unpack_texels(layer.photograph),
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
    planes, photograph = shade.colour(scene, view, look, assets, surface), surface.photograph
    if not assets.kept or photograph is None:
        return planes
    keep = assets.keeps(surface.slot)
    return tuple(jnp.where(keep, c, p) for c, p in zip(planes, photograph, strict=True))


def _fenced(sane: jax.Array, function: Callable[..., Any], *args: Any) -> Any:
    """Runs a function on B worlds behind a branch, that is taken if any world can be drawn."""
    shape = jax.eval_shape(function, *args)

    def skip(*_: Any) -> Any:
        """Stands in where no world can be drawn."""
        return jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shape)

    return jax.lax.cond(sane.any(), function, skip, *args)


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
    painter = _Painter(scene, assets or RenderAssets(), ())
    view = look_from(scene, pose, look)
    rays = rays_of(scene, view)
    still = jax.tree.map(lambda x: jax.lax.stop_gradient(x)[None], (view, look))
    frame = _Frame(still[0], still[1], None)
    stage = functools.partial(painter._stage, jnp.ones(1, bool))
    seen = painter._seen(stage, frame, tuple(range(len(scene.geoms))))
    normals = painter._normals(stage, frame, seen)
    arriving = painter._arrivals(stage, frame, seen.nearest, normals)
    facets = None
    if seen.soup is not None and seen.facets is not None:
        table = raster.table_of(seen.soup, raster.from_point(view.turn, view.eye))
        facets = Facets(seen.facets.face[0], table)
    depth, slot = visibility.unpack_hit(scene, seen.nearest[0])
    depth = visibility.refined(scene, view, rays, depth, slot, facets)
    zero = jnp.zeros(depth.shape)
    normal = shade.normals(scene, view, rays, depth, slot, seen.among, (zero, zero, zero))
    meshes = None
    if seen.soup is not None and facets is not None:
        meshes = seen.soup, facets
        own = mesh_facets.mesh_normals(*meshes[:1], view, facets, rays)
        shown = visibility.is_mesh(scene, slot)
        normal = tuple(jnp.where(shown, a, b) for a, b in zip(own, normal, strict=True))
    assets = assets or RenderAssets()
    surface = shade.Surface(rays, depth, slot, normal, tuple(a[0] for a in arriving))
    if assets.photographs is not None:
        photograph = unpack_texels(assets.read_photograph(scene, look))
        surface = replace(surface, photograph=photograph)
    if shade.textured(look, assets):
        places = shade.pattern_places(scene, view, look, assets, surface, meshes)
        surface = replace(surface, pattern=unpack_texels(assets.read_texels(places)))
    planes = _lit(scene, view, look, assets, surface)
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
