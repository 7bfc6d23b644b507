"""The colour of a pixel: ambient, headlight, one directional light with its shadow, highlights, sky.

The model is that of OpenGL with a local viewer, as MuJoCo's renderer sets it up (Blinn 1977). With
unit vectors n (surface), l (to the light), v (to the camera), z (against the camera's axis), and h
along l + v, k along z + v,

    colour = albedo (ambient + headlight n.z + strength light n.l)
           + specular (gloss_light strength light (n.h)^s + gloss_head (n.k)^s)

where the terms of the light count outside its shadow only.
"""

import jax
import jax.numpy as jnp

from mjx_s2r.render import intersect
from mjx_s2r.render.appearance import Appearance
from mjx_s2r.render.camera import INFINITE, Scene, View
from mjx_s2r.render.photometry import Planes
from mjx_s2r.render.trace import Rays, Triple, local_point, triple


def normals(
    scene: Scene, view: View, rays: Rays, depth: jax.Array, slot: jax.Array
) -> Triple:
    """Returns the unit normal (P,) that each pixel shows, camera frame; 0 where it shows the sky."""
    out = (jnp.zeros_like(depth),) * 3
    for g, geom in enumerate(scene.geoms):
        point = local_point(view, g, rays, depth)
        own = intersect.normal(geom.shape, point, triple(view.size[g]))
        turn = view.turn[g]
        out = tuple(jnp.where(slot == g, _dot(own, triple(turn[i])), out[i]) for i in range(3))
    return out


def albedo(
    scene: Scene, view: View, look: Appearance, rays: Rays, depth: jax.Array, slot: jax.Array
) -> Planes:
    """Returns the surface colour (P,) of each pixel, per channel; 0 where it shows the sky."""
    out = []
    checkers = {
        g: _checker(scene, view, look, k, rays, depth) for k, g in enumerate(scene.planes)
    }
    for channel in range(3):
        colour = jnp.zeros_like(depth)
        for g in range(len(scene.geoms)):
            own = look.geom_rgb[g, channel]
            if g in checkers:
                second = look.checker_rgb[scene.planes.index(g), channel]
                own = jnp.where(checkers[g], second, own)
            colour = jnp.where(slot == g, own, colour)
        out.append(colour)
    return tuple(out)


def light(
    scene: Scene, view: View, look: Appearance, rays: Rays, normal: Triple, dark: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array]:
    """Returns four factors (P,): even and diffuse times albedo, the headlight's and the highlight.

    The diffuse factor and the highlight are to be multiplied by the light's colour.
    """
    inverse = jax.lax.rsqrt(rays.x * rays.x + rays.y * rays.y + 1.0)
    view_dir = (-rays.x * inverse, -rays.y * inverse, inverse)
    to_view, to_light = _dot(normal, view_dir), _dot(normal, triple(view.sun))
    half = (to_light + to_view) * jax.lax.rsqrt(2.0 + 2.0 * _dot(view_dir, triple(view.sun)) + 1e-6)
    head = (normal[2] + to_view) * jax.lax.rsqrt(2.0 + 2.0 * view_dir[2])
    strength = jnp.where(dark | (to_light <= 0), 0.0, look.light_strength)
    return (
        look.ambient + look.headlight * jnp.maximum(normal[2], 0.0),
        strength * to_light,
        look.specular * scene.gloss[1] * _power(head, scene.shininess),
        look.specular * scene.gloss[0] * strength * _power(half, scene.shininess),
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


def _checker(
    scene: Scene, view: View, look: Appearance, k: int, rays: Rays, depth: jax.Array
) -> jax.Array:
    """Returns True (P,) on the second colour of the k-th plane; squares start at its corner."""
    g = scene.planes[k]
    x, y, _ = local_point(view, g, rays, depth)
    left, low = (0.0 if half >= INFINITE else half for half in scene.geoms[g].size[:2])
    column = jnp.floor((x + left) / look.checker_m[k, 0])
    squares = column + jnp.floor((y + low) / look.checker_m[k, 1])
    return squares - 2 * jnp.floor(squares / 2) > 0.5


def _dot(a: Triple, b: Triple) -> jax.Array:
    """Inner product."""
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]
