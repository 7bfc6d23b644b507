"""Texture mapping with mipmaps: one gather of one integer per pixel.

Where a pixel reads (`texel_places`) and what it finds there (`read_texels`) are two functions, for
two stages of a picture: what a compiler makes of one loop with a gather in it takes no vector
instructions, and 13 geoms' texture coordinates are much to compute without them.

`pack_pool` writes every texture and its halved copies ("mip maps": Williams, "Pyramidal
parametrics", SIGGRAPH 1983) one after the other, a texel a uint32. `lookup` reads the nearest texel
of the copy whose texels are about as wide as the pixel, so that far textures do not flicker. The
pool is the same in every world: under vmap it needs no world axis.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from mjx_s2r.render.geometry.scene import Geom

Triple = tuple[jax.Array, ...]  # three of (P,)
WHITE = np.uint32(0xFFFFFF)  # a packed texel
GRAZING = 0.02  # cosine below which a surface counts as seen at this angle


def pack_pool(pool: np.ndarray) -> np.ndarray:
    """Returns (K, 2 R^2) uint32: each texture and its halved copies down to one texel, row by row.

    A texel of a copy is the mean of four of the one before it. The copy of side S starts at
    2 (R^2 - S^2): room is left between them, so that no pixel needs a division to find its copy.

    Args:
        pool: (K, R, R, 3) uint8, R a power of two.

    Raises:
        ValueError: another shape or type.
    """
    shape = np.shape(pool)
    square = len(shape) == 4 and shape[1] == shape[2] and shape[3] == 3 and shape[0] > 0
    if not square or shape[1] & (shape[1] - 1) or np.asarray(pool).dtype != np.uint8:
        raise ValueError(
            f"textures of shape {shape} and type {np.asarray(pool).dtype}: give (K, R, R, 3) "
            "uint8, R a power of two, as textures.textures makes them"
        )
    level, whole = np.asarray(pool, np.float64), shape[1]
    out = np.zeros((shape[0], 2 * whole * whole), np.uint32)
    while True:
        side = level.shape[1]
        start = 2 * (whole * whole - side * side)
        texels = pack_texels((level + 0.5).astype(np.uint8)).reshape(shape[0], -1)
        out[:, start : start + side * side] = texels
        if side == 1:
            return out
        level = (level[:, ::2] + level[:, 1::2]) / 2
        level = (level[:, :, ::2] + level[:, :, 1::2]) / 2


def pack_texels(pictures: np.ndarray) -> np.ndarray:
    """Returns (...) uint32 of pictures (..., 3) uint8: red in the lowest byte."""
    red, green, blue = (pictures[..., c].astype(np.uint32) for c in range(3))
    return red | green << 8 | blue << 16


def unpack_texels(texels: jax.Array) -> Triple:
    """Returns the planes (P,) in [0, 1] of packed texels (P,)."""
    fields = texels & 255, texels >> 8 & 255, texels >> 16 & 255
    return tuple(field.astype(jnp.int32).astype(jnp.float32) * (1 / 255) for field in fields)


def texel_places(
    pool: jax.Array,
    index: jax.Array,
    u: jax.Array,
    v: jax.Array,
    footprint: jax.Array | None = None,
) -> jax.Array:
    """Returns (P,) int32 which texel of a pool each pixel shows, -1 for none.

    Args:
        pool: (K, M) uint32, of `pack_pool`.
        index: (P,) int32 which texture; below 0 there is none.
        u: (P,) along the columns; a texture covers 0 to 1 and repeats.
        v: (P,) along the rows, from the first one on.
        footprint: (P,) width of the pixel on the surface, in textures (see `footprint_of`); None
            to read the full size everywhere.
    """
    count, length = pool.shape
    whole = round(np.sqrt(length / 2))
    if footprint is None:
        side, start = jnp.int32(whole), jnp.int32(0)
    else:
        # The copy whose texels are nearest to the pixel in width, by ratio: the exponent of the
        # float is its logarithm, for a tenth of the price.
        wide = jnp.maximum(footprint * (whole * np.sqrt(2.0)), 1.0).astype(jnp.float32)
        level = (jax.lax.bitcast_convert_type(wide, jnp.int32) >> 23) - 127
        side = jnp.int32(whole) >> jnp.minimum(level, round(np.log2(whole)))
        start = 2 * (whole * whole - side * side)
    # A share just below 1 may round up to 1: the mask brings it back to the first column.
    column, row = (
        ((x - jnp.floor(x)) * side.astype(x.dtype)).astype(jnp.int32) & (side - 1) for x in (u, v)
    )
    place = jnp.minimum(index, count - 1) * length + start + row * side + column
    return jnp.where(index < 0, -1, place)


def read_texels(pool: jax.Array, places: jax.Array) -> jax.Array:
    """Returns (P,) uint32 the texels at places of a pool, packed; white where there is none."""
    found = jnp.take(pool.ravel(), places, mode="clip")
    return jnp.where(places < 0, WHITE, found)


def footprint_of(
    depth: jax.Array, facing: jax.Array, pixel: jax.Array, metres: jax.Array
) -> jax.Array:
    """Returns (P,) how many textures wide a pixel is on a surface, along its longer side.

    A pixel is ``depth * pixel`` wide, and longer by 1 / cosine where the surface is seen at an
    angle; OpenGL takes the longer side, too (specification 4.6, 8.14.1).

    Args:
        depth: (P,) [m] along the optical axis.
        facing: (P,) cosine between the normal and the way to the camera.
        pixel: () width of a pixel at a depth of 1 m [m], 2 tan(fovy / 2) / height.
        metres: (P,) [m] length after which the texture repeats, the shorter one of u and v.
    """
    return depth * pixel / (jnp.maximum(facing, GRAZING) * metres)


def triplanar(
    point: Triple, normal: Triple, metres: Sequence[jax.Array]
) -> tuple[jax.Array, jax.Array]:
    """Returns u and v (P,): the two coordinates across the axis that the normal is nearest to.

    They are (x, y) on a face that looks along z, (y, z) along x, (x, z) along y.

    Args:
        point: three (P,) [m], in the geom's frame.
        normal: three (P,), in the geom's frame.
        metres: two [m] after which the texture repeats along u and v, each () or (P,).
    """
    x, y, z = (jnp.abs(n) for n in normal)
    along_x = (x > y) & (x > z)
    along_z = ~along_x & (z >= y)
    u = jnp.where(along_x, point[1], point[0])
    v = jnp.where(along_z, point[1], point[2])
    return u * (1.0 / metres[0]), v * (1.0 / metres[1])


def texture_coordinates(
    geom: Geom, point: Triple, normal: Triple | None, side: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Returns texture coordinates u and v (P,) at points of a geom, in its own frame [m].

    MuJoCo lays a texture on a plane or box from the corner at -x and +y, its first row there, and
    on other shapes around their middle. The sides of a solid get it too, each along its own axes;
    a ``normal`` of None looks along z.
    """
    if normal is None:
        u, v = point[0] * (1.0 / side[0]), point[1] * (1.0 / side[1])
    else:
        u, v = triplanar(point, normal, (side[0], side[1]))
    if geom.shape in ("plane", "box") and not geom.infinite:
        return u + geom.size[0] / side[0], geom.size[1] / side[1] - v
    return u + 0.5, 0.5 - v
