"""The colour of a pixel: ambient, headlight, a directional light with its shadow, highlights, sky.

The model is that of OpenGL with a local viewer, as MuJoCo's renderer sets it up (Blinn 1977). With
unit vectors n (surface), l (to the light), v (to the camera), z (against the camera's axis), and h
along l + v, k along z + v,

    colour = albedo (ambient + headlight n.z + strength light n.l)
           + specular (gloss_light strength light (n.h)^s + gloss_head (n.k)^s)

where the terms of the light count outside its shadow only. Planes throw back no highlights: OpenGL
lights a large face at its corners, where it has none.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct

from mjx_s2r.render import intersect
from mjx_s2r.render.appearance import Appearance
from mjx_s2r.render.camera import INFINITE, Scene
from mjx_s2r.render.intersect import dot
from mjx_s2r.render.photometry import Planes
from mjx_s2r.render.view import Rays, Triple, View, local_point, triple

NORMAL_BITS = (11, 11, 10)


@struct.dataclass
class Surface:
    """What each of P pixels shows.

    Attributes:
        rays: the camera's rays.
        depth: (P,) [m] along the optical axis.
        slot: (P,) position of the geom, -1 for the sky.
        normal: three (P,), unit, camera frame.
        dark: (P,) True in the shadow.
    """

    rays: Rays
    depth: jax.Array
    slot: jax.Array
    normal: Triple
    dark: jax.Array


def choose(slot: jax.Array, values: Sequence[Any], default: Any) -> jax.Array:
    """Returns (P,) the value at each pixel's slot; a chain of selects, faster than a gather."""
    out = jnp.full(slot.shape, default)
    for g, value in enumerate(values):
        out = jnp.where(slot == g, value, out)
    return out


def normals(scene: Scene, view: View, rays: Rays, depth: jax.Array, slot: jax.Array) -> Triple:
    """Returns the unit normal (P,) that each pixel shows, camera frame; 0 for the sky."""
    own = []
    for g, geom in enumerate(scene.geoms):
        point = local_point(view, g, rays, depth)
        local = intersect.normal(geom.shape, point, triple(view.size[g]))
        own.append(tuple(dot(local, triple(view.turn[g, i])) for i in range(3)))
    return tuple(choose(slot, [n[i] for n in own], 0.0) for i in range(3))


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


def colour(scene: Scene, view: View, look: Appearance, surface: Surface) -> Planes:
    """Returns what reaches the camera (P,) per channel, before photometry."""
    even, diffuse, glow, highlight = light(scene, view, look, surface)
    own, back = albedo(scene, view, look, surface), sky(view, look, surface.rays)
    tint = triple(look.light_rgb)
    return tuple(
        jnp.where(
            surface.slot < 0,
            back[c],
            own[c] * (even + tint[c] * diffuse) + glow + tint[c] * highlight,
        )
        for c in range(3)
    )


def albedo(scene: Scene, view: View, look: Appearance, surface: Surface) -> Planes:
    """Returns the surface colour (P,) of each pixel, per channel; 0 where it shows the sky."""
    own = [[look.geom_rgb[g, c] for c in range(3)] for g in range(len(scene.geoms))]
    for k, g in enumerate(scene.planes):
        second = _checker(scene, view, look, k, surface)
        own[g] = [own[g][c] + jnp.where(second, look.checker_rgb[k, c], 0.0) for c in range(3)]
    return tuple(choose(surface.slot, [rgb[c] for rgb in own], 0.0) for c in range(3))


def light(
    scene: Scene, view: View, look: Appearance, surface: Surface
) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array]:
    """Returns four factors (P,): even and diffuse times albedo, the headlight's and the highlight.

    The diffuse factor and the highlight are to be multiplied by the light's colour.
    """
    x, y, normal, sun = surface.rays.x, surface.rays.y, surface.normal, triple(view.sun)
    inverse = jax.lax.rsqrt(x * x + y * y + 1.0)
    toward = (-x * inverse, -y * inverse, inverse)
    to_view, to_light = dot(normal, toward), dot(normal, sun)
    half = (to_light + to_view) * jax.lax.rsqrt(2.0 + 2.0 * dot(toward, sun) + 1e-6)
    head = (normal[2] + to_view) * jax.lax.rsqrt(2.0 + 2.0 * inverse)
    strength = jnp.where(surface.dark | (to_light <= 0), 0.0, look.light_strength)
    specular = jnp.where(surface.slot < len(scene.planes), 0.0, look.specular)
    return (
        look.ambient + look.headlight * jnp.maximum(normal[2], 0.0),
        strength * to_light,
        specular * scene.gloss[1] * _power(head, scene.shininess),
        specular * scene.gloss[0] * strength * _power(half, scene.shininess),
    )


def _power(x: jax.Array, exponent: int) -> jax.Array:
    """Returns x in [0, 1] to the power of a power of two, by squaring."""
    x = jnp.clip(x, 0.0, 1.0)
    for _ in range(exponent.bit_length() - 1):
        x = x * x
    return x


def sky(view: View, look: Appearance, rays: Rays) -> Planes:
    """Returns the background colour (P,) per channel, by the sine of the ray's elevation."""
    up = rays.x * view.up[0] + rays.y * view.up[1] - view.up[2]
    mix = 0.5 + 0.5 * up * jax.lax.rsqrt(rays.x * rays.x + rays.y * rays.y + 1.0)
    low, high = look.background_low, look.background_high
    return tuple(low[c] + mix * (high[c] - low[c]) for c in range(3))


def _checker(scene: Scene, view: View, look: Appearance, k: int, surface: Surface) -> jax.Array:
    """Returns True (P,) on the second colour of the k-th plane; squares start at its corner."""
    g = scene.planes[k]
    x, y, _ = local_point(view, g, surface.rays, surface.depth)
    left, low = (0.0 if half >= INFINITE else half for half in scene.geoms[g].size[:2])
    column = jnp.floor((x + left) / look.checker_m[k, 0])
    squares = column + jnp.floor((y + low) / look.checker_m[k, 1])
    return squares - 2 * jnp.floor(squares / 2) > 0.5
