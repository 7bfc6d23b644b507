"""Ray casting: the nearest geom and its depth for each pixel, and shadow rays.

The nearest geom is found without branches: the bits of a positive float order like an integer, so
the depth's lowest bits are replaced by the geom's position and one integer minimum keeps both. With
up to 16 geoms depth loses 4 of its 23 bits, a relative error of 2e-6; with 256 geoms, 3e-5.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from mjx_s2r.render.geometry import facets as mesh_facets
from mjx_s2r.render.geometry import hfield, primitives
from mjx_s2r.render.geometry.facets import OWN_GAP, Facets
from mjx_s2r.render.geometry.hfield import Heights
from mjx_s2r.render.geometry.pose import pixels
from mjx_s2r.render.geometry.primitives import Triple
from mjx_s2r.render.geometry.raster import Soup
from mjx_s2r.render.geometry.rays import (
    Rays,
    View,
    geom_in_world,
    local_point,
    local_ray,
    triple,
)
from mjx_s2r.render.geometry.scene import Geom, Light, Scene
from mjx_s2r.render.looks.appearance import Appearance

SHADOW_GAP = 1e-4  # a shadow needs its caster this far [m] past the surface
WORD = 32  # shadow rays whose answers share an integer
_GOLDEN_RAD = np.pi * (3 - np.sqrt(5))


def tag_bits(scene: Scene) -> int:
    """Returns how many bits of a depth carry the geom."""
    return max(1, (len(scene.geoms) - 1).bit_length())


def nothing(rays: Rays) -> jax.Array:
    """Returns what `nearest` gives where there is nothing."""
    return jnp.full(rays.x.shape, np.float32(primitives.MISS).view(np.int32))


def nearest(
    scene: Scene, view: View, rays: Rays, among: Sequence[int], before: jax.Array
) -> jax.Array:
    """Returns depth and position (P,) of the nearest geom of each pixel, as one int32.

    A surface nearer than the near plane is cut away, as in OpenGL: the camera sees out of a geom
    that it is inside of.

    Args:
        scene: what is drawn.
        view: from where.
        rays: of the pixels.
        among: positions of the geoms that count, no meshes.
        before: (P,) what was found among others.
    """
    mask = np.int32((1 << tag_bits(scene)) - 1)
    for g in among:
        bits = jax.lax.bitcast_convert_type(entry(scene, view, g, rays), jnp.int32)
        before = jnp.minimum(before, (bits & ~mask) | np.int32(g))
    return before


def nearest_mesh(scene: Scene, soup: Soup, facets: Facets, rays: Rays) -> jax.Array:
    """Returns what `nearest` does, of the meshes."""
    mask = np.int32((1 << tag_bits(scene)) - 1)
    bits = jax.lax.bitcast_convert_type(mesh_facets.depths(facets, rays), jnp.int32)
    return (bits & ~mask) | mesh_facets.slots(soup, facets)


def unpack_hit(scene: Scene, nearest: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Returns depth [m] and geom position, -1 for the sky, of what `nearest` packed."""
    mask = np.int32((1 << tag_bits(scene)) - 1)
    depth = jax.lax.bitcast_convert_type(nearest & ~mask, jnp.float32)
    return depth, jnp.where(depth < scene.far, nearest & mask, -1)


def entry(scene: Scene, view: View, g: int, rays: Rays) -> jax.Array:
    """Returns the depth [m] (P,) at which rays enter geom ``g``, MISS if they do not."""
    eye, ray = triple(view.eye[g]), local_ray(view, g, rays)
    near = _enter(geom_in_world(scene, view, g), eye, ray, triple(view.size[g]), scene.near)
    return near if view.shown is None else jnp.where(view.shown[g], near, primitives.MISS)


def _enter(geom: Geom, eye: Triple, ray: Triple, size: Triple, after: float) -> jax.Array:
    """Returns the first t past ``after`` at which rays enter a geom's lit side, else MISS."""
    if isinstance(geom.solid, Heights):
        return hfield.ray_hfield(eye, ray, geom.solid, after)
    near, _ = primitives.RAY_SHAPES[geom.shape](eye, ray, size)
    return jnp.where(near > after, near, primitives.MISS)


def shadow_rays(scene: Scene, look: Appearance) -> tuple[tuple[tuple[int, int], ...], ...]:
    """Returns the shadow rays of a pixel, (light, count) each, in words of 32 at most."""
    many = 1 if look.light_softness is None else scene.shadow_rays
    lights = [index for index, light in enumerate(scene.lights) if light.shadow]
    rays = [(index, k) for index in lights for k in range(many)]
    return tuple(tuple(rays[i : i + WORD]) for i in range(0, len(rays), WORD))


def arriving(
    scene: Scene,
    view: View,
    look: Appearance,
    rays: Rays,
    depth: jax.Array,
    slot: jax.Array,
    casters: Sequence[int],
    word: Sequence[tuple[int, int]],
) -> jax.Array:
    """Returns (P,) uint32: a bit per shadow ray of a word, set where the ray arrives.

    Convex shapes do not shade their own lit side. A finite plane shades what the light would reach
    through its front; an infinite one is the ground and shades nothing; nor does a site, or a geom
    that something shines through.

    Args:
        scene: what is drawn.
        view: from where.
        look: what it looks like.
        rays: of the pixels.
        depth: (P,) [m] of what is shown.
        slot: (P,) position of what is shown.
        casters: positions of the geoms that stand in the way, no meshes.
        word: of `shadow_rays`.
    """
    disk = jnp.asarray(_disk(scene.height, scene.width, scene.shadow_rays))
    out = jnp.full(depth.shape, np.uint32(2 ** len(word) - 1))
    for bit, (index, k) in enumerate(word):
        offset = None
        if look.light_softness is not None:
            offset = disk[k] * jnp.tan(look.light_softness[index])
        dark = _blocked(scene, view, rays, depth, slot, index, offset, casters)
        out = out & ~(dark.astype(jnp.uint32) << bit)
    return out


def mesh_offset(scene: Scene, index: int, k: int, look: Appearance) -> jax.Array:
    """Returns (2,) where all pixels' shadow ray ``k`` from a mesh aims, that of the middle one."""
    if look.light_softness is None:
        return jnp.zeros(2)
    disk = _disk(scene.height, scene.width, scene.shadow_rays)
    return jnp.asarray(disk[k, :, disk.shape[2] // 2]) * jnp.tan(look.light_softness[index])


def casters(scene: Scene) -> tuple[int, ...]:
    """Returns the positions of the geoms that throw shadows."""
    return tuple(
        g
        for g, geom in enumerate(scene.geoms)
        if not (geom.infinite or geom.decor or geom.alpha < 1)
    )


def share(scene: Scene, look: Appearance, arriving: tuple[jax.Array, ...], index: int) -> jax.Array:
    """Returns (P,) the share of light ``index`` that arrives, from what `arriving` packed."""
    count, many = jnp.int32(0), 0
    for packed, word in zip(arriving, shadow_rays(scene, look), strict=True):
        for bit, (light, _) in enumerate(word):
            if light == index:
                count, many = count + (packed >> bit & 1).astype(jnp.int32), many + 1
    return count.astype(jnp.float32) * (1.0 / many)


def _disk(height: int, width: int, count: int) -> np.ndarray:
    """Returns (S, 2, P) points of the unit disk: Vogel's spiral, turned by another angle per pixel.

    The angles are interleaved gradient noise (Jimenez 2014), so that neighbours differ most.
    """
    x, y = pixels(height, width)
    column, row = (x + width / height) * height / 2, (1 - y) * height / 2
    angle = (
        2 * np.pi * np.mod(52.9829189 * np.mod(0.06711056 * column + 0.00583715 * row, 1.0), 1.0)
    )
    index = np.arange(count)[:, None]
    radius, turn = np.sqrt((index + 0.5) / count), index * _GOLDEN_RAD + angle
    return np.stack((radius * np.cos(turn), radius * np.sin(turn)), axis=1).astype(np.float32)


def _blocked(
    scene: Scene,
    view: View,
    rays: Rays,
    depth: jax.Array,
    slot: jax.Array,
    index: int,
    offset: jax.Array | None,
    casters: Sequence[int],
) -> jax.Array:
    """Returns True (P,) where one of the casters stands between what is shown and a light.

    ``offset`` (2, P) moves the point of the light that the ray aims at, in tangents.
    """
    light, dark = scene.lights[index], jnp.zeros(depth.shape, bool)
    away = _distance(view, light, index, rays, depth)
    for g in casters:
        geom, point = geom_in_world(scene, view, g), local_point(view, g, rays, depth)
        ray = _toward(view, index, g, point, away, offset)
        blocks = _shades(geom, point, ray, triple(view.size[g]), away)
        blocks = blocks if geom.shape == "hfield" else blocks & (slot != g)
        dark = dark | (blocks if view.shown is None else blocks & view.shown[g])
    return dark


def _distance(
    view: View, light: Light, index: int, rays: Rays, depth: jax.Array
) -> jax.Array | None:
    """Returns the distance [m] (P,) from what is shown to a light; None if it is directional."""
    if light.kind == "directional":
        return None
    x, y, z = triple(view.lamps.place[index])
    return jnp.sqrt(
        (x - depth * rays.x) ** 2 + (y - depth * rays.y) ** 2 + (z + depth) ** 2 + 1e-12
    )


def _toward(
    view: View,
    index: int,
    g: int,
    point: Triple,
    away: jax.Array | None,
    offset: jax.Array | None,
) -> Triple:
    """Returns rays (P,) from points towards light ``index``, in the frame of geom ``g``.

    They are unit vectors towards a directional light, and reach another light at t = 1.
    """
    ray = triple(view.lamps.local[index, g])
    if away is not None:
        ray = tuple(a - b for a, b in zip(ray, point, strict=True))
    if offset is None:
        return ray
    aim = offset if away is None else offset * away
    first, second = view.lamps.side[index, 0, g], view.lamps.side[index, 1, g]
    return tuple(ray[i] + aim[0] * first[i] + aim[1] * second[i] for i in range(3))


def _shades(
    geom: Geom, point: Triple, ray: Triple, size: Triple, away: jax.Array | None
) -> jax.Array:
    """Returns True (P,) where a geom stands on the way of a shadow ray.

    Args:
        geom: the geom.
        point: where the ray starts, in the geom's frame.
        ray: towards the light, from `_toward`.
        size: of the geom.
        away: distance [m] of the light, None for a directional one.
    """
    scale, end = (1.0, primitives.MISS) if away is None else (away, 1.0)
    if isinstance(geom.solid, Heights):
        start = tuple(p + OWN_GAP / scale * r for p, r in zip(point, ray, strict=True))
        return hfield.ray_hfield(start, ray, geom.solid, 0.0) < end
    if geom.shape == "plane":
        point, ray = (*point[:2], -point[2]), (*ray[:2], -ray[2])
    near, _ = primitives.RAY_SHAPES[geom.shape](point, ray, size)
    return (near * scale > SHADOW_GAP) & (near < end)


def refined(
    scene: Scene,
    view: View,
    rays: Rays,
    depth: jax.Array,
    slot: jax.Array,
    facets: Facets | None,
) -> jax.Array:
    """Returns the depth (P,) of the geoms shown, computed again: exact, and with a gradient."""
    for g, geom in enumerate(scene.geoms):
        if geom.shape != "mesh":
            depth = jnp.where(slot == g, entry(scene, view, g, rays), depth)
    if facets is None:
        return depth
    return jnp.where(is_mesh(scene, slot), mesh_facets.depths(facets, rays), depth)


def is_mesh(scene: Scene, slot: jax.Array) -> jax.Array:
    """Returns (P,) whether a pixel shows a mesh; they stand side by side among the geoms."""
    meshes = [g for g, geom in enumerate(scene.geoms) if geom.shape == "mesh"]
    return (slot >= meshes[0]) & (slot <= meshes[-1]) if meshes else jnp.zeros(slot.shape, bool)
