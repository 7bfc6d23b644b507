"""Blinn-Phong shading: ambient, headlight, lights with shadows, highlights, sky.

The model is that of OpenGL with a local viewer, as MuJoCo's renderer sets it up (Blinn 1977). With
unit vectors n (surface), l (to a light), v (to the camera), z (against the camera's axis), and h
along l + v, k along z + v,

    colour = albedo (ambient + headlight n.z + sum over lights: share strength falloff light n.l)
           + specular (sum: gloss share strength falloff light (n.h)^s + gloss_head (n.k)^s)

where share is how much of the light arrives. Of a point light and a spot, with the distance d,

    falloff = 1 / (a + b d + c d^2), and for a spot times (l.axis)^e inside its cone, 0 outside.

Planes throw back no highlights: OpenGL lights a large face at its corners, where it has none.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct

from mjx_s2r.render.geometry import facets as mesh_facets
from mjx_s2r.render.geometry import hfield, primitives
from mjx_s2r.render.geometry.facets import Facets
from mjx_s2r.render.geometry.hfield import Heights
from mjx_s2r.render.geometry.meshes import Triangles
from mjx_s2r.render.geometry.primitives import Triple, dot
from mjx_s2r.render.geometry.raster import Soup
from mjx_s2r.render.geometry.rays import Rays, View, geom_in_world, local_point, triple
from mjx_s2r.render.geometry.scene import Light, Scene
from mjx_s2r.render.looks.appearance import Appearance
from mjx_s2r.render.looks.assets import RenderAssets
from mjx_s2r.render.looks.temperature import tint
from mjx_s2r.render.sensor.photometry import Planes
from mjx_s2r.render.shading import visibility
from mjx_s2r.render.shading.texture import footprint_of, texture_coordinates

NORMAL_BITS = (11, 11, 10)


@struct.dataclass
class Surface:
    """Surface seen by each of P pixels.

    Attributes:
        rays: the camera's rays.
        depth: (P,) [m] along the optical axis.
        slot: (P,) position of the geom, -1 for the sky.
        normal: three (P,), unit, camera frame.
        arriving: (P,) each, which shadow rays arrive, packed by `visibility.arriving`.
        pattern: three (P,) what the textures multiply the colours by, or None without textures.
        photograph: three (P,) the photograph behind everything, or None without photographs.
    """

    rays: Rays
    depth: jax.Array
    slot: jax.Array
    normal: Triple
    arriving: tuple[jax.Array, ...]
    pattern: Planes | None = None
    photograph: Planes | None = None


def choose(slot: jax.Array, values: Sequence[Any], default: Any) -> jax.Array:
    """Returns (P,) the value at each pixel's slot; a chain of selects, faster than a gather."""
    out = jnp.full(slot.shape, default)
    for g, value in enumerate(values):
        out = jnp.where(slot == g, value, out)
    return out


def normals(
    scene: Scene,
    view: View,
    rays: Rays,
    depth: jax.Array,
    slot: jax.Array,
    among: Sequence[int],
    before: Triple,
) -> Triple:
    """Returns the unit normal (P,) that each pixel shows, camera frame; 0 for the sky.

    Args:
        scene: what is drawn.
        view: from where.
        rays: of the pixels.
        depth: (P,) [m] of what is shown.
        slot: (P,) position of what is shown.
        among: positions of the geoms to look at, no meshes.
        before: three (P,) what pixels get that show none of them.
    """
    own = []
    for g in among:
        local = local_normal(scene, view, g, rays, depth)
        own.append(tuple(dot(local, triple(view.turn[g, i])) for i in range(3)))
    out = list(before)
    for g, normal in zip(among, own, strict=True):
        out = [jnp.where(slot == g, n, o) for n, o in zip(normal, out, strict=True)]
    return tuple(out)


def local_normal(scene: Scene, view: View, g: int, rays: Rays, depth: jax.Array) -> Triple:
    """Returns the unit normal (P,) of geom ``g`` where each pixel shows it, in its own frame."""
    geom, point = geom_in_world(scene, view, g), local_point(view, g, rays, depth)
    if isinstance(geom.solid, Heights):
        return hfield.hfield_normal(point, geom.solid)
    return primitives.primitive_normal(geom.shape, point, triple(view.size[g]))


def pack_normal(normal: Triple) -> jax.Array:
    """Packs unit vectors (P,) into one uint32: 11, 11 and 10 bits, half a thousandth apart."""
    x, y, z = (
        ((n + 1.0) * ((2**bits - 1) / 2) + 0.5).astype(jnp.uint32)
        for n, bits in zip(normal, NORMAL_BITS, strict=True)
    )
    return x | y << 11 | z << 22


def unpack_normal(packed: jax.Array) -> Triple:
    """Returns the unit vectors that `pack_normal` packed."""
    fields = packed & 2047, packed >> 11 & 2047, packed >> 22
    x, y, z = (
        field.astype(jnp.int32).astype(jnp.float32) * (2 / (2**bits - 1)) - 1.0
        for field, bits in zip(fields, NORMAL_BITS, strict=True)
    )
    inverse = jax.lax.rsqrt(x * x + y * y + z * z)
    return x * inverse, y * inverse, z * inverse


def colour(
    scene: Scene, view: View, look: Appearance, assets: RenderAssets, surface: Surface
) -> Planes:
    """Returns what reaches the camera (P,) per channel, before photometry."""
    matt, shine = light(scene, view, look, surface)
    own = albedo(scene, look, surface)
    back = sky(view, look, assets, surface)
    return tuple(
        jnp.where(surface.slot < 0, back[c], own[c] * matt[c] + shine[c]) for c in range(3)
    )


def albedo(scene: Scene, look: Appearance, surface: Surface) -> Planes:
    """Returns the surface colour (P,) of each pixel, per channel; 0 where it shows the sky."""
    rgb = look.geom_rgb
    plain = tuple(
        choose(surface.slot, [rgb[g, c] for g in range(len(scene.geoms))], 0.0) for c in range(3)
    )
    if surface.pattern is None:
        return plain
    return tuple(p * t for p, t in zip(plain, surface.pattern, strict=True))


def light(
    scene: Scene, view: View, look: Appearance, surface: Surface
) -> tuple[list[jax.Array], list[jax.Array]]:
    """Returns what multiplies the albedo and what is added to it, three (P,) each."""
    x, y, normal = surface.rays.x, surface.rays.y, surface.normal
    inverse = jax.lax.rsqrt(x * x + y * y + 1.0)
    toward = (-x * inverse, -y * inverse, inverse)
    to_view = dot(normal, toward)
    flat = [g for g, geom in enumerate(scene.geoms) if geom.shape == "plane"]
    matt_only = surface.slot < 0 if not flat else surface.slot <= max(flat)
    specular = jnp.where(matt_only, 0.0, look.specular)
    head = (normal[2] + to_view) * jax.lax.rsqrt(2.0 + 2.0 * inverse)
    even = look.ambient + look.headlight * jnp.maximum(normal[2], 0.0)
    glow = specular * scene.head_gloss * _power(head, scene.shininess)
    matt, shine = [even] * 3, [glow] * 3
    for index, lamp in enumerate(scene.lights):
        to_lamp, strength = _incoming(scene, view, look, surface, index)
        cosine = dot(normal, to_lamp)
        strength = jnp.where(cosine > 0, strength, 0.0)
        half = (cosine + to_view) * jax.lax.rsqrt(2.0 + 2.0 * dot(toward, to_lamp) + 1e-6)
        gloss = specular * lamp.gloss * strength * _power(half, scene.shininess)
        rgb = lamp_colour(look, index)
        matt = [m + rgb[c] * (strength * cosine) for c, m in enumerate(matt)]
        shine = [g + rgb[c] * gloss for c, g in enumerate(shine)]
    return matt, shine


def lamp_colour(look: Appearance, index: int) -> jax.Array:
    """Returns (3,) the colour of a light, its temperature counted in."""
    rgb = look.light_rgb[index]
    return rgb if look.light_kelvin is None else rgb * tint(look.light_kelvin[index])


def _incoming(
    scene: Scene, view: View, look: Appearance, surface: Surface, index: int
) -> tuple[Triple, jax.Array]:
    """Returns the unit vectors (P,) to a light, camera frame, and how bright it is there."""
    lamp = scene.lights[index]
    strength = look.light_strength[index]
    if look.light_count is not None:
        strength = jnp.where(index < look.light_count, strength, 0.0)
    if lamp.shadow:
        strength = strength * visibility.share(scene, look, surface.arriving, index)
    place = triple(view.lamps.place[index])
    if lamp.kind == "directional":
        return place, strength
    x, y, depth = surface.rays.x, surface.rays.y, surface.depth
    way = place[0] - depth * x, place[1] - depth * y, place[2] + depth
    inverse = jax.lax.rsqrt(dot(way, way) + 1e-12)
    to_lamp = tuple(w * inverse for w in way)
    return to_lamp, strength * _falloff(lamp, view.lamps.axis[index], to_lamp, inverse)


def _falloff(lamp: Light, axis: jax.Array, to_lamp: Triple, inverse: jax.Array) -> jax.Array:
    """Returns (P,) how much of a lamp's light is left, by distance and by the angle from a spot."""
    a, b, c = lamp.attenuation
    far = 1.0 / inverse
    left = 1.0 / (a + b * far + c * far * far) if b or c else jnp.full(far.shape, 1.0 / a)
    if lamp.kind == "point":
        return left
    cosine = dot(to_lamp, triple(axis))
    cone = jnp.exp(lamp.exponent * jnp.log(jnp.maximum(cosine, 1e-6)))
    return left * jnp.where(cosine > lamp.cutoff, cone, 0.0)


def _power(x: jax.Array, exponent: int) -> jax.Array:
    """Returns x in [0, 1] to the power of a power of two, by squaring."""
    x = jnp.clip(x, 0.0, 1.0)
    for _ in range(exponent.bit_length() - 1):
        x = x * x
    return x


def sky(view: View, look: Appearance, assets: RenderAssets, surface: Surface) -> Planes:
    """Returns the background (P,) per channel: two colours by elevation, or a photograph."""
    rays, photograph = surface.rays, surface.photograph
    up = rays.x * view.up[0] + rays.y * view.up[1] - view.up[2]
    mix = 0.5 + 0.5 * up * jax.lax.rsqrt(rays.x * rays.x + rays.y * rays.y + 1.0)
    low, high = look.background_low, look.background_high
    plain = tuple(low[c] + mix * (high[c] - low[c]) for c in range(3))
    if look.background is None or photograph is None:
        return plain
    chosen = assets.photograph_index(look) >= 0
    return tuple(jnp.where(chosen, p, q) for p, q in zip(photograph, plain, strict=True))


def textured(look: Appearance, assets: RenderAssets) -> bool:
    """Returns whether some geom may carry a texture."""
    return look.texture is not None and bool(assets.textured)


def pattern_places(
    scene: Scene,
    view: View,
    look: Appearance,
    assets: RenderAssets,
    surface: Surface,
    meshes: tuple[Soup, Facets] | None,
) -> jax.Array:
    """Returns (P,) int32 which texel of the textures each pixel shows, -1 for none.

    A mesh with texture coordinates is laid out by them, whatever the metres of the look.
    """
    assert look.texture is not None
    rays, depth, normal = surface.rays, surface.depth, surface.normal
    u = v = side = jnp.ones(depth.shape)
    index = jnp.full(depth.shape, -1, jnp.int32)
    for g in assets.textured:
        here, metres, solid = surface.slot == g, look.texture_m[g], scene.geoms[g].solid
        if meshes is not None and isinstance(solid, Triangles) and solid.texcoords is not None:
            own = mesh_facets.texture_places(*meshes, rays)
            metres = jnp.float32(solid.texture_m)
        else:
            point = local_point(view, g, rays, depth)
            own = texture_coordinates(
                scene.geoms[g], point, _facing(scene, view, g, point, normal), metres
            )
        u, v = jnp.where(here, own[0], u), jnp.where(here, own[1], v)
        side = jnp.where(here, jnp.min(metres), side)
        index = jnp.where(here, assets.texture_index(look.texture[g]), index)
    inverse = jax.lax.rsqrt(rays.x * rays.x + rays.y * rays.y + 1.0)
    facing = (normal[2] - rays.x * normal[0] - rays.y * normal[1]) * inverse
    width = view.focal * (2.0 / scene.height)
    return assets.texel_places(index, u, v, footprint_of(depth, facing, width, side))


def _facing(scene: Scene, view: View, g: int, point: Triple, normal: Triple) -> Triple | None:
    """Returns vectors (P,) that lean to the axis which a surface looks along, in its own frame.

    None for a plane, which looks along z. On a box they say which face a point is nearest to, which
    is cheaper than turning the ``normal`` from the camera's frame.
    """
    if scene.geoms[g].shape == "plane":
        return None
    if scene.geoms[g].shape == "box":
        size = triple(view.size[g])
        inside = [jnp.abs(p) - s for p, s in zip(point, size, strict=True)]
        return tuple(depth + 2.0 * jnp.max(view.size[g]) for depth in inside)
    turn = view.turn[g]
    return tuple(dot(normal, triple(turn[:, i])) for i in range(3))
