"""Facets: which triangle of the meshes each pixel shows, and which pixels triangles shade.

Everything here draws N worlds at once, and `raster` does the work; the readers at the end take one
world, as the stages of `raycast` do.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct

from mjx_s2r.render.geometry import raster
from mjx_s2r.render.geometry.primitives import MISS, TINY, Triple, dot
from mjx_s2r.render.geometry.raster import FAR, SMALL_TILE, TILE, Frame, Soup
from mjx_s2r.render.geometry.rays import Rays, View, rays_of, triple
from mjx_s2r.render.geometry.scene import Scene

OWN_GAP = 2e-3  # a shadow needs its caster this far [m] past a surface that can shade itself

Fence = Callable[..., Any]  # runs function(*args) as a computation of its own


@struct.dataclass
class Facets:
    """The triangles that a picture shows. N worlds, or none of these axes in the readers.

    Attributes:
        face: (N, P) int32 position in the soup, -1 where no mesh is met.
        table: (N, T, 16) from `raster.table_of`.
    """

    face: jax.Array
    table: jax.Array


def seen(scene: Scene, soup: Soup, view: View, fence: Fence) -> Facets:
    """Returns the nearest triangle of each pixel, of N worlds.

    Args:
        scene: what is drawn.
        soup: the triangles that count.
        view: from where, leading axis N.
        fence: runs a function on N worlds as a computation of its own.
    """
    size = scene.height, scene.width

    def bounds(view: View, corners: jax.Array) -> raster.TriangleBoxes:
        """Returns where the triangles of one world are in its picture."""
        return raster.picture_bounds(soup, _camera(view), corners, scene.near, view.shown)

    def words(view: View, bounds: raster.TriangleBoxes) -> jax.Array:
        """Returns which triangles each tile of one world has."""
        return raster.picture_words(bounds, *_tiled_rays(scene, view), *size)

    def faces(
        view: View, bounds: raster.TriangleBoxes, table: jax.Array, words: jax.Array
    ) -> jax.Array:
        """Returns the triangle of each pixel."""
        x, y = jax.vmap(functools.partial(_tiled_rays, scene))(view)
        limit = 1.0 / jnp.maximum(scene.near, bounds.nearest)
        found = raster.largest(table, words, (x, y, jnp.float32(-1)), limit)
        return raster.untiled(found, *size, TILE)

    view = jax.lax.stop_gradient(view)
    table = jax.vmap(lambda view: raster.table_of(soup, _camera(view)))(view)
    corners = fence(jax.vmap(lambda view: raster.sampled(soup, _camera(view))), view)
    boxes = fence(jax.vmap(bounds), view, corners)
    lists = fence(jax.vmap(words), view, boxes)
    return Facets(fence(faces, view, boxes, table, lists), table)


def _camera(view: View) -> Frame:
    """Returns the frame of one world's picture."""
    return raster.from_point(view.turn, view.eye)


def _tiled_rays(scene: Scene, view: View) -> tuple[jax.Array, jax.Array]:
    """Returns x and y (tiles, 64) of the rays of one world."""
    rays = rays_of(scene, view)
    size = scene.height, scene.width
    x, y = (jnp.broadcast_to(c, (size[0] * size[1],)) for c in (rays.x, rays.y))
    return raster.tiled(x, *size, TILE), raster.tiled(y, *size, TILE)


def shaded(
    scene: Scene,
    soup: Soup,
    view: View,
    index: int,
    depth: jax.Array,
    there: jax.Array,
    fence: Fence,
    offset: jax.Array,
) -> jax.Array:
    """Returns True (N, P) where a triangle stands between what is shown and light ``index``.

    All pixels aim at one point of a soft light at a time: the penumbra comes in steps.

    Args:
        scene: what is drawn.
        soup: the triangles that cast shadows.
        view: from where, leading axis N.
        index: of the light.
        depth: (N, P) [m] of what is shown.
        there: (N, P) where it matters.
        fence: runs a function on N worlds as a computation of its own.
        offset: (N, 2) moves the point of the light that the rays aim at, in tangents.
    """
    parallel = scene.lights[index].kind == "directional"
    size = scene.height, scene.width

    def frame(view: View, offset: jax.Array) -> Frame:
        """Returns the frame of one world's shadow rays."""
        return _toward(view, index, offset, parallel)

    def bounds(view: View, offset: jax.Array, corners: jax.Array) -> raster.TriangleBoxes:
        """Returns where the triangles of one world are, seen from the light."""
        return raster.light_bounds(soup, frame(view, offset), corners, parallel, view.shown)

    def samples(view: View, offset: jax.Array, depth: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Returns (3, P) samples of one world and the value (P,) that its casters must exceed."""
        rays = rays_of(scene, view)
        point = depth * rays.x, depth * rays.y, -depth
        return _aimed(view, index, offset, parallel, point)

    def words(bounds: raster.TriangleBoxes, samples: jax.Array, there: jax.Array) -> jax.Array:
        """Returns which triangles each tile of one world has."""
        where = samples[:2]
        if not parallel:
            inverse = jax.lax.rsqrt(jnp.sum(samples * samples, axis=0) + 1e-12)
            where = samples * inverse
        low, high = bounds.low.min((1, 2)), bounds.high.max((1, 2))
        near = jnp.all((where >= low[:, None]) & (where <= high[:, None]), axis=0) & there
        tiles = raster.tiled(where, *size, SMALL_TILE)
        near = raster.tiled(near, *size, SMALL_TILE)
        least = jnp.where(near, tiles, FAR).min(-1)
        most = jnp.where(near, tiles, -FAR).max(-1)
        return raster.light_words(bounds, least, most)

    def dark(table: jax.Array, words: jax.Array, samples: jax.Array, limit: jax.Array) -> jax.Array:
        """Returns where the nearest triangle to the light is before the surface."""
        tiles = raster.tiled(samples, *size, SMALL_TILE)
        third = jnp.float32(1) if parallel else tiles[:, 2]
        found = raster.largest(table, words, (tiles[:, 0], tiles[:, 1], third), None)
        return (raster.untiled(found, *size, SMALL_TILE) > limit) & there

    table = jax.vmap(lambda v, o: raster.table_of(soup, frame(v, o)))(view, offset)
    corners = fence(jax.vmap(lambda v, o: raster.sampled(soup, frame(v, o))), view, offset)
    boxes = fence(jax.vmap(bounds), view, offset, corners)
    where, limit = fence(jax.vmap(samples), view, offset, depth)
    lists = fence(jax.vmap(words), boxes, where, there)
    return fence(dark, table, lists, where, limit)


def _toward(view: View, index: int, offset: jax.Array, parallel: bool) -> Frame:
    """Returns the frame of one world's rays towards a light, its point moved by tangents (2,)."""
    local, side = view.lamps.local[index], view.lamps.side[index]
    if parallel:
        way = local + offset[0] * side[0] + offset[1] * side[1]
        return raster.along(jnp.stack([side[0], side[1], way], axis=1), view.eye)
    reach = jnp.sqrt(jnp.sum(local * local, axis=1, keepdims=True))
    lamp = local + reach * (offset[0] * side[0] + offset[1] * side[1])
    return raster.from_point(view.turn, lamp)


def _aimed(
    view: View, index: int, offset: jax.Array, parallel: bool, point: Triple
) -> tuple[jax.Array, jax.Array]:
    """Returns (3, P) samples of points (P,) in the camera's frame, and the value of casters there.

    ``view.turn`` of any geom brings the light's axes back to the camera's frame.
    """
    turn = view.turn[0]
    first, second = (turn @ view.lamps.side[index, k, 0] for k in range(2))
    place = view.lamps.place[index]
    if parallel:
        height = dot(point, triple(place))
        across = (
            dot(point, triple(first)) - offset[0] * height,
            dot(point, triple(second)) - offset[1] * height,
        )
        return jnp.stack([*across, jnp.ones_like(height)]), height + OWN_GAP
    reach = jnp.linalg.norm(place)
    lamp = place + reach * (offset[0] * first + offset[1] * second)
    way = tuple(p - c for p, c in zip(point, lamp, strict=True))
    away = jnp.sqrt(dot(way, way) + 1e-12)
    return jnp.stack(way), 1.0 / jnp.maximum(1.0 - OWN_GAP / away, 1e-3)


def _columns(facets: Facets, columns: range) -> tuple[jax.Array, ...]:
    """Returns columns (P,) of the table at each pixel's triangle, of one world."""
    row = jnp.maximum(facets.face, 0)
    flat = facets.table.reshape(-1)
    return tuple(jnp.take(flat, row * raster.COLUMNS + k, mode="clip") for k in columns)


def slots(soup: Soup, facets: Facets) -> jax.Array:
    """Returns (P,) int32 position of the geom of each pixel's triangle, any where there is none."""
    return jnp.take(
        jnp.asarray(soup.slots), jnp.maximum(facets.face, 0) // raster.WORD, mode="clip"
    )


def depths(facets: Facets, rays: Rays) -> jax.Array:
    """Returns (P,) [m] depth of each pixel's triangle in one world, MISS where there is none."""
    x, y, z, facing = _columns(facets, range(9, 13))
    slope = x * rays.x + y * rays.y - z
    met = (facets.face >= 0) & (slope > TINY)
    return jnp.where(met, facing / jnp.where(met, slope, 1.0), MISS)


def weights(facets: Facets, rays: Rays) -> Triple:
    """Returns three (P,) shares of the corners at the point that each pixel of one world shows."""
    e = _columns(facets, range(9))
    parts = [
        jnp.maximum(e[3 * k] * rays.x + e[3 * k + 1] * rays.y - e[3 * k + 2], 0.0) for k in range(3)
    ]
    inverse = 1.0 / jnp.maximum(parts[0] + parts[1] + parts[2], TINY)
    return tuple(part * inverse for part in parts)


def mesh_normals(soup: Soup, view: View, facets: Facets, rays: Rays) -> Triple:
    """Returns the unit normals (P,), camera frame, of each pixel's triangle in one world.

    They are smooth between the corners.
    """
    share = weights(facets, rays)
    face = jnp.maximum(facets.face, 0)
    local = [
        sum(
            s * jnp.take(jnp.asarray(table[j]), face, mode="clip")
            for s, table in zip(share, soup.normals, strict=True)
        )
        for j in range(3)
    ]
    slot, turn = slots(soup, facets), view.turn.reshape(-1)
    out = tuple(
        sum(local[j] * jnp.take(turn, slot * 9 + 3 * i + j, mode="clip") for j in range(3))
        for i in range(3)
    )
    inverse = jax.lax.rsqrt(dot(out, out) + TINY)
    return tuple(c * inverse for c in out)


def texture_places(soup: Soup, facets: Facets, rays: Rays) -> tuple[jax.Array, jax.Array]:
    """Returns texture coordinates u and v (P,) of each pixel's triangle in one world."""
    assert soup.texcoords is not None
    share, face = weights(facets, rays), jnp.maximum(facets.face, 0)
    return tuple(
        sum(
            s * jnp.take(jnp.asarray(table[j]), face, mode="clip")
            for s, table in zip(share, soup.texcoords, strict=True)
        )
        for j in range(2)
    )
