"""Which geom each pixel shows, how far away it is, and whether the light reaches it.

The nearest geom is found without branches: the bits of a positive float order like an integer, so
the depth's lowest bits are replaced by the geom's position and one integer minimum keeps both. With
up to 16 geoms depth loses 4 of its 23 bits, a relative error of 2e-6; with 256 geoms, 3e-5.
"""

import jax
import jax.numpy as jnp
import numpy as np

from mjx_s2r.render import intersect
from mjx_s2r.render.camera import INFINITE, Scene
from mjx_s2r.render.view import Rays, View, local_point, local_ray, triple

SHADOW_GAP = 1e-4  # a shadow needs its caster this far [m] past the surface


def tag_bits(scene: Scene) -> int:
    """Returns how many bits of a depth carry the geom."""
    return max(1, (len(scene.geoms) - 1).bit_length())


def nearest(scene: Scene, view: View, rays: Rays) -> jax.Array:
    """Returns depth and position (P,) of the nearest geom of each pixel, as one int32.

    A surface nearer than the near plane is cut away, as in OpenGL: the camera sees out of a geom
    that it is inside of.
    """
    mask = np.int32((1 << tag_bits(scene)) - 1)
    best = jnp.full(rays.x.shape, np.float32(intersect.MISS).view(np.int32))
    for g, geom in enumerate(scene.geoms):
        near = entry(scene, view, g, geom.shape, rays)
        bits = jax.lax.bitcast_convert_type(near, jnp.int32)
        best = jnp.minimum(best, (bits & ~mask) | np.int32(g))
    return best


def unpack(scene: Scene, nearest: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Returns depth [m] and geom position, -1 for the sky, of what `nearest` packed."""
    mask = np.int32((1 << tag_bits(scene)) - 1)
    depth = jax.lax.bitcast_convert_type(nearest & ~mask, jnp.float32)
    return depth, jnp.where(depth < scene.far, nearest & mask, -1)


def entry(scene: Scene, view: View, g: int, shape: str, rays: Rays) -> jax.Array:
    """Returns the depth [m] (P,) at which rays enter geom ``g``, MISS if they do not."""
    near, _ = intersect.SHAPES[shape](
        triple(view.eye[g]), local_ray(view, g, rays), triple(view.size[g])
    )
    return jnp.where(near > scene.near, near, intersect.MISS)


def shadowed(scene: Scene, view: View, rays: Rays, depth: jax.Array, slot: jax.Array) -> jax.Array:
    """Returns True (P,) where a geom other than the one shown stands between it and the light.

    Convex shapes do not shade their own lit side. A finite plane shades what the light would reach
    through its front; an infinite one is the ground and shades nothing.
    """
    dark = jnp.zeros(depth.shape, bool)
    for g, geom in enumerate(scene.geoms):
        if geom.shape == "plane" and max(geom.size[:2]) >= INFINITE:
            continue
        point = local_point(view, g, rays, depth)
        light = triple(view.light[g])
        if geom.shape == "plane":
            point, light = (*point[:2], -point[2]), (*light[:2], -light[2])
        near, _ = intersect.SHAPES[geom.shape](point, light, triple(view.size[g]))
        dark = dark | ((near > SHADOW_GAP) & (near < intersect.MISS) & (slot != g))
    return dark


def refined(scene: Scene, view: View, rays: Rays, depth: jax.Array, slot: jax.Array) -> jax.Array:
    """Returns the depth (P,) of the geoms shown, computed again: exact, and with a gradient."""
    for g, geom in enumerate(scene.geoms):
        depth = jnp.where(slot == g, entry(scene, view, g, geom.shape, rays), depth)
    return depth
