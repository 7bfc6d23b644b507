"""Rasterization of triangles in tiles: the nearest triangle of each pixel, and their shadows.

A picture is cut into tiles of 8 by 8 samples. Each tile keeps one bit per triangle whose bounds
reach it, and then looks at those triangles one after the other, 64 samples at a time. Crowded tiles
are cut into parts, and parts with equally many triangles are drawn together, so that few wait for
others; no list has a capacity that could overflow.

A triangle covers the samples s (a vector of three) where its three edge functions e_k . s have one
sign (homogeneous edge functions: M. Olano and T. Greer, "Triangle Scan Conversion using 2D
Homogeneous Coordinates", 1997), so nothing has to be clipped. An edge is a line in space, and e_k
is linear in its Pluecker coordinates (moment, direction): one product of constants of the mesh with
numbers of the frame. Neighbours have the same edge with the other sign, so that no ray slips
between them. Three frames use the same form:

    picture            s = (x, y, -1)      e . s = d . (edge x (start - eye))    value = 1 / depth
    lamp               s = point - lamp    likewise, from the lamp               value = 1 / share
    parallel light     s = (u, v, 1)       the ray goes towards the light        value = height

and in each the triangle with the largest value = (row . s) / facing is the one that counts, where
facing > 0 if the triangle's outside is seen.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from mjx_s2r.render.geometry.collapse import area_normals
from mjx_s2r.render.geometry.meshes import Triangles
from mjx_s2r.render.geometry.scene import Scene

TILE = (8, 8)  # samples of a tile of a picture, down and across
SMALL_TILE = (8, 4)  # likewise of shadow rays, whose bounds are wider
BLOCK = 64  # parts drawn together
PART = 8  # words of triangles that make a part, at most 31
ROUND = 8  # triangles that a part takes at once
WORD = 32  # triangles of one geom that share a word of bits
COLUMNS = 16  # numbers per triangle, 13 of them used
LINES = 32  # of the grid that boxes across a light are widened to
SEAM = 3e-5  # triangles reach this part of their size over their edges
FAR = 1e9  # a coordinate that no box reaches


@dataclass(frozen=True, eq=False)
class Soup:
    """Triangles of some of a scene's geoms, T = 32 W of them: each geom's fill whole words.

    Attributes:
        slots: (W,) position of the geom of each word.
        lines: (6, W, 32, 16) float32 what a frame's numbers are multiplied with: moment and
            direction of the edges (9 columns), normal and offset of the plane (4 columns).
        corners: (3, 3, 32, W) float32 [m] corner, coordinate, place in the word, word.
        planes: (4, 32, W) float32 outward normal, twice the area long, and offset.
        thin: (W,) whether the mesh is open, so that its inside shades too.
        normals: (3, 3, T) float32 corner, coordinate: unit normals at the corners.
        texcoords: (3, 2, T) float32 corner, u and v; or None where no mesh has any.
    """

    slots: np.ndarray
    lines: np.ndarray
    corners: np.ndarray
    planes: np.ndarray
    thin: np.ndarray
    normals: np.ndarray
    texcoords: np.ndarray | None

    @property
    def count(self) -> int:
        """T."""
        return len(self.slots) * WORD


@struct.dataclass
class Frame:
    """Rays of one kind, seen from each of G geoms; see the module for the three kinds.

    Attributes:
        matrix: (G, 6, 16) what the soup's lines are multiplied with.
        toward: (G, 3) the eye or lamp in the geom's frame [m], or the direction of the light.
        axes: (G, 3, 3) the axes of the samples, one a row, in the geom's frame.
        origin: (G, 3) [m] where the samples are counted from, in the geom's frame.
    """

    matrix: jax.Array
    toward: jax.Array
    axes: jax.Array
    origin: jax.Array


@struct.dataclass
class TriangleBoxes:
    """Boxes round the triangles, in the coordinates that tiles are compared in.

    Attributes:
        low: (K, 32, W) least coordinates; `FAR` for a triangle that does not count.
        high: (K, 32, W) largest.
        nearest: () [m] least depth of a corner; 0 where it does not matter.
    """

    low: jax.Array
    high: jax.Array
    nearest: jax.Array


def soup_of(scene: Scene, among: Sequence[int]) -> Soup | None:
    """Returns the triangles of the meshes among some geoms, or None if there are no meshes."""
    slots: list[int] = []
    parts: list[tuple[np.ndarray, ...]] = []
    for g in among:
        solid = scene.geoms[g].solid
        if isinstance(solid, Triangles):
            words = -(-len(solid.corners) // WORD)
            slots += [g] * words
            missing = words * WORD - len(solid.corners)
            uv = solid.texcoords
            uv = np.zeros((len(solid.corners), 3, 2)) if uv is None else uv
            parts.append(tuple(_filled(a, missing) for a in (solid.corners, solid.normals, uv)))
    if not parts:
        return None
    corners, normals, uv = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    words = len(slots)
    solids = [scene.geoms[g].solid for g in slots]
    textured = any(isinstance(s, Triangles) and s.texcoords is not None for s in solids)
    by_place = corners.reshape(words, WORD, 3, 3).transpose(2, 3, 1, 0)
    normal = area_normals(corners.astype(float))
    offset = np.sum(normal * corners[:, 0], axis=1, keepdims=True)
    planes = np.concatenate([normal, offset], axis=1)
    return Soup(
        slots=np.array(slots, np.int32),
        lines=_lines(corners, planes),
        corners=np.ascontiguousarray(by_place, np.float32),
        planes=planes.reshape(words, WORD, 4).transpose(2, 1, 0).astype(np.float32),
        thin=np.array([isinstance(s, Triangles) and not s.closed for s in solids]),
        normals=normals.transpose(1, 2, 0).astype(np.float32),
        texcoords=uv.transpose(1, 2, 0).astype(np.float32) if textured else None,
    )


def _filled(rows: np.ndarray, missing: int) -> np.ndarray:
    """Returns rows (F, ...) with ``missing`` zeros behind: triangles without area."""
    return np.concatenate([rows, np.zeros((missing, *rows.shape[1:]), rows.dtype)])


def _lines(corners: np.ndarray, planes: np.ndarray) -> np.ndarray:
    """Returns `Soup.lines` of triangles (T, 3, 3) and their planes (T, 4).

    An edge runs from the end that comes first by its coordinates, the same for both neighbours.
    """
    start, end = np.roll(corners, -1, axis=1), np.roll(corners, -2, axis=1)
    axis = (start != end).argmax(axis=2)[..., None]
    ordered = np.take_along_axis(start, axis, 2) <= np.take_along_axis(end, axis, 2)
    low, high = np.where(ordered, start, end), np.where(ordered, end, start)
    edge = (high - low).astype(float)
    line = np.concatenate([np.cross(edge, low), edge], axis=2) * np.where(ordered, 1, -1)
    out = np.zeros((len(corners), COLUMNS, 6))
    out[:, :9] = np.repeat(line, 3, axis=1)
    out[:, 9:13, :4] = planes[:, None]
    return out.reshape(-1, WORD, COLUMNS, 6).transpose(3, 0, 1, 2).astype(np.float32)


def from_point(axes: jax.Array, origin: jax.Array) -> Frame:
    """Returns the frame of rays from one point: a camera's eye or a lamp.

    Args:
        axes: (G, 3, 3) the axes of the samples, one a row, in the geom's frame.
        origin: (G, 3) [m] the point, in the geom's frame.
    """
    turned = jnp.cross(axes, origin[:, None])
    edge = jnp.concatenate([axes, turned], axis=2)
    zero, one = jnp.zeros_like(origin), jnp.ones_like(origin[:, :1])
    row = jnp.concatenate([-axes, jnp.zeros_like(axes)], axis=2)
    facing = jnp.concatenate([origin, -one, zero[:, :2]], axis=1)
    return Frame(_matrix(edge, row, facing), origin, axes, origin)


def along(axes: jax.Array, origin: jax.Array) -> Frame:
    """Returns the frame of parallel rays towards a light, along the third of the axes.

    Args:
        axes: (G, 3, 3) two axes across and the way to the light, one a row, in the geom's frame.
        origin: (G, 3) [m] where the samples are counted from, in the geom's frame.
    """
    way, zero, one = axes[:, 2], jnp.zeros_like(origin), jnp.ones_like(origin[:, :1])
    edge = jnp.stack(
        [
            jnp.concatenate([zero, jnp.cross(axes[:, 0], way)], axis=1),
            jnp.concatenate([zero, jnp.cross(axes[:, 1], way)], axis=1),
            jnp.concatenate([-way, jnp.cross(origin, way)], axis=1),
        ],
        axis=1,
    )
    last = jnp.concatenate([-origin, one, zero[:, :2]], axis=1)
    first = jnp.concatenate([-axes[:, :2], jnp.zeros_like(axes[:, :2])], axis=2)
    row = jnp.concatenate([first, last[:, None]], axis=1)
    return Frame(_matrix(edge, row, jnp.concatenate([way, zero], axis=1)), way, axes, origin)


def _matrix(edge: jax.Array, row: jax.Array, facing: jax.Array) -> jax.Array:
    """Returns (G, 6, 16) of the numbers (G, 3, 6), (G, 3, 6) and (G, 6) of a frame."""
    unused = jnp.zeros((len(facing), COLUMNS - 13, 6))
    rows = jnp.concatenate([jnp.tile(edge, (1, 3, 1)), row, facing[:, None], unused], axis=1)
    return rows.swapaxes(1, 2)


def table_of(soup: Soup, frame: Frame) -> jax.Array:
    """Returns (T, 16) the edge functions (3 by 3), the row (3) and the facing of each triangle."""
    matrix = frame.matrix[soup.slots][:, :, None]
    out = soup.lines[0] * matrix[:, 0]
    for c in range(1, 6):
        out = out + soup.lines[c] * matrix[:, c]
    return out.reshape(soup.count, COLUMNS)


def picture_bounds(
    soup: Soup, frame: Frame, corners: jax.Array, near: float, shown: jax.Array | None
) -> TriangleBoxes:
    """Returns the boxes in x and y of the triangles that a camera may see from outside.

    Args:
        soup: the triangles.
        frame: of the camera.
        corners: (3, 3, 32, W) from `sampled`.
        near: [m] depth of the near plane.
        shown: (G,) whether a geom is drawn, or None for all.
    """
    depth = -corners[:, 2]
    ahead = depth > 0.5 * near
    points = corners[:, :2] / jnp.where(ahead, depth, 1.0)[:, None]
    counts = (_facing(soup, frame) > 0) & ahead.any(axis=0) & _shown(soup, shown)
    whole = ~ahead.all(axis=0)
    return TriangleBoxes(*_boxes(points, whole, counts), depth.min())


def light_bounds(
    soup: Soup, frame: Frame, corners: jax.Array, parallel: bool, shown: jax.Array | None
) -> TriangleBoxes:
    """Returns the boxes, across a parallel light or of the directions from a lamp.

    The arc between two directions leaves their box by less than a quarter of their distance's
    square, on the unit sphere.

    Args:
        soup: the triangles.
        frame: of the light.
        corners: (3, 3, 32, W) from `sampled`.
        parallel: whether the light is far away.
        shown: (G,) whether a geom is drawn, or None for all.
    """
    facing = _facing(soup, frame)
    counts = (facing > 0) | (jnp.asarray(soup.thin) & (facing < 0))
    counts = counts & _shown(soup, shown)
    if parallel:
        never = jnp.zeros(counts.shape, bool)
        return TriangleBoxes(*_boxes(corners[:, :2], never, counts), jnp.zeros(()))
    points = corners * jax.lax.rsqrt(jnp.sum(corners * corners, axis=1, keepdims=True) + 1e-12)
    apart = points - jnp.roll(points, 1, axis=0)
    square = jnp.sum(apart * apart, axis=1).max(axis=0)
    low, high = _boxes(points, square > 1.0, counts)
    return TriangleBoxes(low - 0.25 * square, high + 0.25 * square, jnp.zeros(()))


def sampled(soup: Soup, frame: Frame) -> jax.Array:
    """Returns (3, 3, 32, W) the triangles' corners, each along the frame's three axes."""
    axes, origin = frame.axes[soup.slots], frame.origin[soup.slots]
    base = jnp.sum(axes * origin[:, None], axis=2).T[:, None]
    axes = axes.transpose(1, 2, 0)[None, :, :, None]
    corners = soup.corners[:, None]
    along = [corners[:, :, i] * axes[:, :, i] for i in range(3)]
    return along[0] + along[1] + along[2] - base


def _facing(soup: Soup, frame: Frame) -> jax.Array:
    """Returns (32, W) the facing of each triangle, as in `table_of`."""
    row = frame.matrix[soup.slots][:, :4, 12]
    x, y, z, offset = soup.planes
    return x * row[:, 0] + y * row[:, 1] + z * row[:, 2] + offset * row[:, 3]


def _shown(soup: Soup, shown: jax.Array | None) -> jax.Array:
    """Returns (W,) or () whether the geom of each word is drawn."""
    return jnp.asarray(True) if shown is None else shown[soup.slots]


def _boxes(points: jax.Array, whole: jax.Array, counts: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Returns low and high (K, 32, W) of three points (3, K, 32, W); everything, or nothing."""
    low = jnp.where(counts, jnp.where(whole, -FAR, points.min(axis=0)), FAR)
    high = jnp.where(counts, jnp.where(whole, FAR, points.max(axis=0)), -FAR)
    return low, high


def tiled(plane: jax.Array, height: int, width: int, tile: tuple[int, int]) -> jax.Array:
    """Returns a plane (..., P) as tiles (..., tiles, samples), its edges repeated to whole tiles.

    Args:
        plane: row by row.
        height: [px] of the plane.
        width: [px] of the plane.
        tile: rows and columns of a tile.
    """
    lead = plane.shape[:-1]
    plane = plane.reshape(*lead, height, width)
    more = -height % tile[0], -width % tile[1]
    if any(more):
        plane = jnp.pad(plane, [(0, 0)] * len(lead) + [(0, n) for n in more], mode="edge")
    rows, columns = plane.shape[-2] // tile[0], plane.shape[-1] // tile[1]
    parts = plane.reshape(*lead, rows, tile[0], columns, tile[1])
    return parts.swapaxes(-3, -2).reshape(*lead, rows * columns, tile[0] * tile[1])


def untiled(tiles: jax.Array, height: int, width: int, tile: tuple[int, int]) -> jax.Array:
    """Returns the plane (..., P) that `tiled` cut up."""
    lead = tiles.shape[:-2]
    rows, columns = -(-height // tile[0]), -(-width // tile[1])
    parts = tiles.reshape(*lead, rows, columns, *tile).swapaxes(-3, -2)
    plane = parts.reshape(*lead, rows * tile[0], columns * tile[1])[..., :height, :width]
    return plane.reshape(*lead, height * width)


def picture_words(
    bounds: TriangleBoxes, x: jax.Array, y: jax.Array, height: int, width: int
) -> jax.Array:
    """Returns (tiles, W) uint32: bit i of word w is set if triangle 32 w + i may reach the tile.

    Args:
        bounds: from `picture_bounds`.
        x: (tiles, 64) of the rays.
        y: likewise.
        height: [px] of the picture.
        width: [px] of the picture.
    """
    rows, columns = -(-height // TILE[0]), -(-width // TILE[1])
    x, y = x.reshape(rows, columns, -1), y.reshape(rows, columns, -1)
    across = _reached(bounds, 0, x.min((0, 2)), x.max((0, 2)))
    down = _reached(bounds, 1, y.min((1, 2)), y.max((1, 2)))
    return (_packed(down)[:, None] & _packed(across)[None]).reshape(rows * columns, -1)


def light_words(bounds: TriangleBoxes, low: jax.Array, high: jax.Array) -> jax.Array:
    """Returns (tiles, W) uint32 as `picture_words` does, for boxes (K, tiles) of the samples.

    The boxes are widened to the lines of a grid, so that each triangle is compared with `LINES`
    lines and not with every tile. An empty box, low above high, stays empty.
    """
    least, most = bounds.low.min(axis=(1, 2)), bounds.high.max(axis=(1, 2))
    step = jnp.maximum(most - least, 1e-6) / (LINES - 1)
    out = jnp.full((low.shape[1], bounds.low.shape[2]), np.uint32(2**WORD - 1))
    for axis in range(len(low)):
        line = least[axis] + step[axis] * jnp.arange(LINES)
        below = _packed(bounds.low[axis] <= line[:, None, None])
        above = _packed(bounds.high[axis] >= line[:, None, None])
        first = (low[axis] - least[axis]) / step[axis]
        last = (high[axis] - least[axis]) / step[axis]
        first = jnp.clip(jnp.floor(first), 0, LINES - 1).astype(jnp.int32)
        last = jnp.clip(jnp.ceil(last), 0, LINES - 1).astype(jnp.int32)
        out = out & below[last] & above[first]
    return jnp.where((low <= high).all(axis=0)[:, None], out, np.uint32(0))


def _reached(bounds: TriangleBoxes, axis: int, low: jax.Array, high: jax.Array) -> jax.Array:
    """Returns (N, 32, W) whether the triangles overlap intervals (N,) along one axis."""
    low, high = low[:, None, None], high[:, None, None]
    return (bounds.low[axis] <= high) & (bounds.high[axis] >= low)


def _packed(bits: jax.Array) -> jax.Array:
    """Returns (N, W) uint32 of bits (N, 32, W)."""
    value = np.uint32(1) << np.arange(WORD, dtype=np.uint32)[:, None]
    return jnp.sum(jnp.where(bits, value, np.uint32(0)), axis=1, dtype=jnp.uint32)


def largest(
    table: jax.Array, words: jax.Array, samples: tuple[jax.Array, ...], limit: jax.Array | None
) -> jax.Array:
    """Returns the largest value of the triangles that cover each sample, N worlds at once.

    The work is cut into parts, a tile with `PART` words of triangles each. They are sorted by how
    many triangles they have and done in blocks, as long as there are any.

    Args:
        table: (N, T, 16) from `table_of`.
        words: (N, tiles, W) which triangles may reach each tile.
        samples: three (N, tiles, S) or scalars.
        limit: None for the values themselves, (N, tiles, S), -FAR where there is no triangle. Else
            (N,): only values below it count, and the result is int32, -1 or the position of the
            triangle; values that differ by less than a part in 2^(31 - bits of T) of the limit may
            be mistaken for each other.
    """
    worlds, tiles, width = words.shape
    parts = -(-width // PART)
    words = jnp.pad(words, [(0, 0), (0, 0), (0, parts * PART - width)])
    words = words.reshape(worlds * tiles * parts, PART)
    many = jax.lax.population_count(words).astype(jnp.float32)
    upto = (many @ np.tri(PART, dtype=np.float32).T).astype(jnp.int32)
    lanes = words.shape[0]
    bits = max(1, (lanes - 1).bit_length())
    few = PART * WORD - upto[:, -1]
    if bits + (PART * WORD).bit_length() < 32:  # twice as fast as an argsort
        order = jnp.sort(few << bits | jnp.arange(lanes, dtype=jnp.int32)) & ((1 << bits) - 1)
    else:
        order = jnp.argsort(few).astype(jnp.int32)
    order = jnp.pad(order, (0, -lanes % BLOCK), mode="edge")
    spare = jnp.arange(len(order)) >= lanes
    block = _Block(table, words, upto, samples, limit, tiles, parts)
    start = (worlds * tiles, next(s.shape[-1] for s in samples if jnp.ndim(s)))
    best = jnp.full(start, -FAR) if limit is None else jnp.full(start, -1, jnp.int32)

    def left(state: tuple[jax.Array, jax.Array]) -> jax.Array:
        """Returns whether the next block has triangles."""
        first = jnp.minimum(state[0] * BLOCK, lanes - 1)
        return (state[0] * BLOCK < lanes) & (upto[order[first], -1] > 0)

    def step(state: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        """Draws a block."""
        turn, best = state
        mine = jax.lax.dynamic_slice_in_dim(order, turn * BLOCK, BLOCK)
        idle = jax.lax.dynamic_slice_in_dim(spare, turn * BLOCK, BLOCK)
        return turn + 1, best.at[mine // parts].max(block.best(mine, idle))

    best = jax.lax.while_loop(left, step, (jnp.int32(0), best))[1].reshape(worlds, tiles, -1)
    if limit is None:
        return best
    return jnp.where(best < 0, -1, best & np.int32((1 << _id_bits(table.shape[1])) - 1))


def _id_bits(count: int) -> int:
    """Returns how many bits hold the position of one of so many triangles."""
    return max(1, (count - 1).bit_length())


class _Block:
    """Draws blocks of parts; holds what they share."""

    def __init__(
        self,
        table: jax.Array,
        words: jax.Array,
        upto: jax.Array,
        samples: tuple[jax.Array, ...],
        limit: jax.Array | None,
        tiles: int,
        parts: int,
    ) -> None:
        """Flattens worlds, tiles and parts."""
        self._count, self._table = table.shape[1], table.reshape(-1, COLUMNS)
        self._words, self._upto = words, upto
        self._samples, self._limit, self._tiles, self._parts = samples, limit, tiles, parts

    def best(self, lanes: jax.Array, idle: jax.Array) -> jax.Array:
        """Returns the best (BLOCK, S) of the parts ``lanes`` (BLOCK,), nothing of idle ones."""
        tile, part = lanes // self._parts, lanes % self._parts
        world = tile // self._tiles
        samples = [
            s if jnp.ndim(s) == 0 else s.reshape(-1, s.shape[-1])[tile] for s in self._samples
        ]
        limit = None if self._limit is None else self._limit[world]
        upto, words = self._upto[lanes], self._words[lanes]
        upto = jnp.where(idle[:, None], 0, upto)
        shape = next(s.shape for s in samples if jnp.ndim(s))
        best = jnp.full(shape, -FAR) if limit is None else jnp.full(shape, -1, jnp.int32)
        bits = None if limit is None else _id_bits(self._count)
        most = float(2 ** min(31 - (bits or 0), 23) - 2)
        turns = upto[:, -1].max()

        def step(state: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
            """Takes every part to its next triangles."""
            turn, best = state
            rank = turn + jnp.arange(ROUND, dtype=jnp.int32)
            face = _selected(words, upto, jnp.broadcast_to(rank, (len(lanes), ROUND)))
            face = jnp.where(face < 0, -1, face + (part * (PART * WORD))[:, None])
            place = (world * self._count)[:, None] + jnp.clip(face, 0, self._count - 1)
            rows = jnp.take(self._table, place.ravel(), axis=0, mode="clip")
            rows = rows.reshape(len(lanes), ROUND, COLUMNS)
            columns = _prepared(rows, face, limit, most)
            for k in range(ROUND):
                mine = [column[:, k] for column in columns]
                best = _better(best, mine, samples, face[:, k], bits, most)
            return turn + ROUND, best

        return jax.lax.while_loop(lambda s: s[0] < turns, step, (jnp.int32(0), best))[1]


def _selected(words: jax.Array, upto: jax.Array, rank: jax.Array) -> jax.Array:
    """Returns (N, R) the position of the set bits of these ranks, -1 where there are fewer.

    Args:
        words: (N, K) uint32.
        upto: (N, K) how many bits are set up to each word, it included.
        rank: (N, R) from 0 on.
    """
    before = upto[:, None] <= rank[..., None]
    word = jnp.sum(before, axis=2, dtype=jnp.int32)
    left = rank - jnp.max(jnp.where(before, upto[:, None], 0), axis=2)
    here = jnp.arange(words.shape[1]) == word[..., None]
    bits = jnp.sum(jnp.where(here, words[:, None], np.uint32(0)), axis=2, dtype=jnp.uint32)
    place = jnp.zeros_like(word)
    for half in (16, 8, 4, 2, 1):
        low = bits & np.uint32((1 << half) - 1)
        count = jax.lax.population_count(low).astype(jnp.int32)
        above = left >= count
        left = jnp.where(above, left - count, left)
        bits = jnp.where(above, bits >> half, low)
        place = place + jnp.where(above, half, 0)
    return jnp.where(word < words.shape[1], word * WORD + place, -1)


def _prepared(
    rows: jax.Array, face: jax.Array, limit: jax.Array | None, most: float
) -> tuple[jax.Array, ...]:
    """Returns 12 columns (BLOCK, R): three edge functions that are 0 or more inside, and the row.

    Here is done once per triangle and tile what would else be done once per sample: the sign of the
    facing, the seam, the division by the facing, the scale to integers, and nothing for face -1.
    """
    facing = rows[..., 12]
    sign = jnp.where(facing < 0, -1.0, 1.0)
    size = jnp.maximum(jnp.abs(facing), 1e-30)
    scale = sign / size if limit is None else sign / size * (most / limit[:, None])
    edges = []
    for j in range(3):
        parts = [rows[..., 3 * k + j] * sign for k in range(3)]
        whole = SEAM * (parts[0] + parts[1] + parts[2])
        edges.append([jnp.where(face >= 0, part + whole, 0.0) for part in parts])
    columns = [edges[j][k] for k in range(3) for j in range(3)]
    return (*columns, *(rows[..., 9 + j] * scale for j in range(3)))


def _better(
    best: jax.Array,
    columns: Sequence[jax.Array],
    samples: Sequence[jax.Array],
    face: jax.Array,
    bits: int | None,
    most: float,
) -> jax.Array:
    """Returns the best (BLOCK, S) after one more triangle ``face`` (BLOCK,) per part, -1 none.

    Args:
        best: before.
        columns: 12 of (BLOCK,), from `_prepared`.
        samples: three (BLOCK, S) or scalars.
        face: position of the triangle.
        bits: how many bits of the result are the position, or None where the result is the value.
        most: value that nothing visible reaches.
    """
    column = [c[:, None] for c in columns]
    first, second, third, value = (
        column[3 * k] * samples[0] + column[3 * k + 1] * samples[1] + column[3 * k + 2] * samples[2]
        for k in range(4)
    )
    # Comparisons, since the compiler's minimum minds NaN and takes three times as long.
    inside = (first >= 0) & (second >= 0) & (third >= 0) & (face >= 0)[:, None]
    if bits is None:
        return jnp.where(inside & (value > best), value, best)
    key = (value.astype(jnp.int32) << bits) | face[:, None]
    return jnp.maximum(best, jnp.where(inside & (value < most), key, -1))
