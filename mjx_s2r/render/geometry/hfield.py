"""Ray intersection with height fields, in the geom's own frame, and the surface normal.

MuJoCo's form: heights over a grid of rows along y and columns along x, each cell cut in two by the
diagonal from its low corner (smallest x and y) to its high one, vertical sides, a flat bottom.
A ray walks from cell to cell (J. Amanatides and A. Woo, "A Fast Voxel Traversal Algorithm for Ray
Tracing", Eurographics 1987) and looks at its height over the ground at each crossing of a border
or diagonal. Along such a piece that height is linear, and what one piece ends with the next one
starts with, so that no ray slips between two triangles.
"""

from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
from flax import struct

from mjx_s2r.render.geometry.primitives import MISS, TINY, Array, Triple


class HeightsError(ValueError):
    """A height field that cannot be drawn; the message names it and the remedy."""


@dataclass(frozen=True, eq=False)
class Heights:
    """A height field in the geom's frame.

    Attributes:
        grid: (R, C) float32 [m] height at rows along y and columns along x.
        radius: half sizes along x and y [m].
        base: depth [m] of the bottom below zero.
        first: where its numbers begin in the model's hfield_data.
        top: height [m] of the number 1 there.
    """

    grid: np.ndarray | jax.Array
    radius: tuple[float, float]
    base: float
    first: int = 0
    top: float = 1.0

    def in_world(self, hfield_data: jax.Array) -> "Heights":
        """Returns the field with the heights that one world's hfield_data (nhfielddata,) gives."""
        size = self.grid.shape[0] * self.grid.shape[1]
        own = hfield_data[self.first : self.first + size].reshape(self.grid.shape)
        return replace(self, grid=own * self.top)


@struct.dataclass
class _Rays:
    """Rays in units of the grid, each (P,) or (): (x, y, z) + t (step_x, step_y, step_z).

    Attributes:
        x: start along x [cells].
        y: start along y [cells].
        z: start along z [m].
        step_x: direction along x [cells], never zero.
        step_y: direction along y [cells], never zero.
        step_z: direction along z [m].
        near: (P,) t at which the ray enters the box round the heights.
        far: (P,) t at which it leaves it.
    """

    x: Array
    y: Array
    z: Array
    step_x: Array
    step_y: Array
    step_z: Array
    near: Array
    far: Array


@struct.dataclass
class _Walk:
    """Rays on their way over the grid.

    Only ``bits`` needs the heights, and it holds three things in one, so that a turn looks up the
    heights once: the compiler would do so again for every array that needs them.

    Attributes:
        bits: (P,) int32, t as a float; the lowest bit is 1 under the ground, the sign 1 at a hit.
        cell: (P,) int32, the row plus one in the upper 16 bits, the column plus one in the lower.
        turn: () how many cells were crossed.
    """

    bits: Array
    cell: Array
    turn: Array


def heights_of(mj_model: mujoco.MjModel, hfield_id: int) -> Heights:
    """Returns height field ``hfield_id`` of a model.

    Raises:
        HeightsError: fewer than two rows or columns, or heights that are not finite.
    """
    name = mj_model.hfield(hfield_id).name or f"hfield{hfield_id}"
    rows, columns = int(mj_model.hfield_nrow[hfield_id]), int(mj_model.hfield_ncol[hfield_id])
    if rows < 2 or columns < 2:
        raise HeightsError(
            f"height field {name!r}: {rows} rows and {columns} columns make no ground; use 2 or "
            "more of each"
        )
    first = mj_model.hfield_adr[hfield_id]
    x, y, top, base = (float(s) for s in mj_model.hfield_size[hfield_id])
    grid = mj_model.hfield_data[first : first + rows * columns].reshape(rows, columns) * top
    if not np.isfinite(grid).all():
        bad = np.argwhere(~np.isfinite(grid))[0]
        raise HeightsError(
            f"height field {name!r}: row {bad[0]}, column {bad[1]} is {grid[tuple(bad)]}; "
            "write finite numbers to hfield_data"
        )
    return Heights(grid.astype(np.float32), (x, y), base, int(first), top)


def ray_hfield(eye: Triple, ray: Triple, heights: Heights, after: Array) -> Array:
    """Returns the t > ``after`` at which rays first enter the solid below the heights, or MISS.

    A ray that is inside at ``after`` must come out before it can be stopped, as OpenGL draws it.
    """
    rays = _rays(eye, ray, heights)
    still = jax.lax.stop_gradient(rays)
    hit = _walked(still, heights.grid, jax.lax.stop_gradient(jnp.asarray(after)))
    side = hit == still.near
    exact = _plane_depth(rays, heights.grid, hit)
    # The walk's t to the last bit, with the gradient of the plane of the triangle it met.
    ground = hit + exact - jax.lax.stop_gradient(exact)
    return jnp.where(hit >= MISS, MISS, jnp.where(side, rays.near, ground))


def hfield_normal(point: Triple, heights: Heights) -> Triple:
    """Returns the unit normal at a surface ``point``: flat on each triangle, as MuJoCo draws it."""
    x, y, z = point
    (sx, sy), (rows, columns) = heights.radius, heights.grid.shape
    across, along = 0.5 * (columns - 1) / sx, 0.5 * (rows - 1) / sy
    column, row = (x + sx) * across, (y + sy) * along
    cell = _cell(column, columns), _cell(row, rows)
    corners = _corners(heights.grid, *cell)
    u, v = column - cell[0], row - cell[1]
    slope_x, slope_y = (
        g * k for g, k in zip(_slopes(corners, u > v), (across, along), strict=True)
    )
    length = jnp.sqrt(1 + slope_x * slope_x + slope_y * slope_y)
    zero, one = jnp.zeros_like(z), jnp.ones_like(z)
    faces = [
        ((z - _ground(corners, u, v)) / length, (-slope_x / length, -slope_y / length, 1 / length)),
        (jnp.abs(x) - sx, (jnp.sign(x), zero, zero)),
        (jnp.abs(y) - sy, (zero, jnp.sign(y), zero)),
        (-heights.base - z, (zero, zero, -one)),
    ]
    best, normal = faces[0]
    for height, other in faces[1:]:
        normal = tuple(jnp.where(height > best, o, n) for o, n in zip(other, normal, strict=True))
        best = jnp.maximum(best, height)
    return normal


def _rays(eye: Triple, ray: Triple, heights: Heights) -> _Rays:
    """Returns rays in units of the grid."""
    ray = tuple(jnp.where(jnp.abs(c) > TINY, c, TINY) for c in ray)
    (sx, sy), (rows, columns) = heights.radius, heights.grid.shape
    low = (-sx, -sy, -heights.base)
    high = (sx, sy, heights.grid.max())
    ends = [((a - e) / r, (b - e) / r) for a, b, e, r in zip(low, high, eye, ray, strict=True)]
    first, last = [jnp.minimum(*pair) for pair in ends], [jnp.maximum(*pair) for pair in ends]
    across, along = 0.5 * (columns - 1) / sx, 0.5 * (rows - 1) / sy
    return _Rays(
        x=(eye[0] + sx) * across,
        y=(eye[1] + sy) * along,
        z=eye[2],
        step_x=ray[0] * across,
        step_y=ray[1] * along,
        step_z=ray[2],
        near=jnp.maximum(jnp.maximum(first[0], first[1]), first[2]),
        far=jnp.minimum(jnp.minimum(last[0], last[1]), last[2]),
    )


def _walked(rays: _Rays, grid: np.ndarray | jax.Array, after: Array) -> Array:
    """Returns the t (P,) at which rays meet the sides, the bottom or the ground, or MISS."""
    start = jnp.maximum(rays.near, after)
    column = _cell(rays.x + start * rays.step_x, grid.shape[1])
    row = _cell(rays.y + start * rays.step_y, grid.shape[0])
    under = _over(rays, _corners(grid, column, row), column, row, start) <= 0
    entered = under & (rays.near > after) & (rays.near <= rays.far)
    walk = _Walk(_packed(start, under, entered), (row + 1) << 16 | (column + 1), jnp.int32(0))
    walk = jax.lax.while_loop(
        lambda walk: jnp.any(_active(rays, grid, walk)) & (walk.turn < sum(grid.shape)),
        lambda walk: _crossed(rays, grid, walk),
        walk,
    )
    hit = jnp.where(walk.bits < 0, _t(walk.bits), MISS)
    return jnp.where(entered, rays.near, hit)


def _packed(t: Array, under: Array, hit: Array) -> Array:
    """Returns the bits of a `_Walk`."""
    bits = jax.lax.bitcast_convert_type(t, jnp.int32) & np.int32(0x7FFFFFFE)
    return bits | under.astype(jnp.int32) | jnp.where(hit, np.int32(-(2**31)), 0)


def _t(bits: Array) -> Array:
    """Returns the t of a `_Walk`'s bits."""
    return jax.lax.bitcast_convert_type(bits & np.int32(0x7FFFFFFE), jnp.float32)


def _place(cell: Array) -> tuple[Array, Array]:
    """Returns column and row of a `_Walk`'s cell."""
    return (cell & 0xFFFF) - 1, (cell >> 16) - 1


def _active(rays: _Rays, grid: np.ndarray | jax.Array, walk: _Walk) -> Array:
    """Returns which rays (P,) are over the grid and have met nothing."""
    column, row = _place(walk.cell)
    within = (column >= 0) & (column < grid.shape[1] - 1)
    within = within & (row >= 0) & (row < grid.shape[0] - 1)
    return within & (walk.bits >= 0) & (_t(walk.bits) < rays.far)


def _crossed(rays: _Rays, grid: np.ndarray | jax.Array, walk: _Walk) -> _Walk:
    """Takes every ray that is on its way across its cell, in two pieces cut by the diagonal."""
    t, active = _t(walk.bits), _active(rays, grid, walk)
    column, row = _place(walk.cell)
    edge_x = (column + (rays.step_x > 0) - rays.x) / rays.step_x
    edge_y = (row + (rays.step_y > 0) - rays.y) / rays.step_y
    end = jnp.minimum(jnp.maximum(jnp.minimum(edge_x, edge_y), t), rays.far)
    lean = rays.step_x - rays.step_y
    lean = jnp.where(jnp.abs(lean) > TINY, lean, TINY)
    diagonal = (column - row - rays.x + rays.y) / lean
    middle = jnp.clip(diagonal, t, end)
    corners = _corners(grid, column, row)
    over = [_over(rays, corners, column, row, at) for at in (t, middle, end)]
    # Whether a ray starts under the ground is taken from the cell before, whatever the rounding.
    first = ((walk.bits & 1) == 0) & (over[1] <= 0)
    second = (over[1] > 0) & (over[2] <= 0)
    left = jnp.where(end < rays.far, end, MISS)  # past the box, whatever the rounding
    hit = jnp.where(first, _zero(t, over[0], middle, over[1]), left)
    hit = jnp.where(second, _zero(middle, over[1], end, over[2]), hit)
    bits = _packed(hit, over[2] <= 0, first | second)
    aside = edge_x <= edge_y
    step_x = jnp.where(rays.step_x > 0, 1, -1)
    step_y = jnp.where(rays.step_y > 0, 1 << 16, -(1 << 16))
    return _Walk(
        bits=jnp.where(active, bits, walk.bits),
        cell=walk.cell + jnp.where(active, jnp.where(aside, step_x, step_y), 0),
        turn=walk.turn + 1,
    )


def _zero(t: Array, over: Array, end: Array, under: Array) -> Array:
    """Returns where a height that is linear from (t, over) to (end, under) is 0."""
    over = jnp.maximum(over, 0.0)
    return t + (end - t) * over / jnp.maximum(over - under, TINY)


def _plane_depth(rays: _Rays, grid: np.ndarray | jax.Array, hit: Array) -> Array:
    """Returns t (P,) where rays meet the plane of the triangle that they met at ``hit``."""
    x, y = rays.x + hit * rays.step_x, rays.y + hit * rays.step_y
    column, row = _cell(x, grid.shape[1]), _cell(y, grid.shape[0])
    corners = _corners(grid, column, row)
    slope_x, slope_y = _slopes(corners, jax.lax.stop_gradient(x - column > y - row))
    sinking = rays.step_z - slope_x * rays.step_x - slope_y * rays.step_y
    sinking = jnp.where(sinking < -TINY, sinking, -1.0)
    at = corners[0] + slope_x * (rays.x - column) + slope_y * (rays.y - row)
    return (at - rays.z) / sinking


def _cell(place: Array, count: int) -> Array:
    """Returns the cell of a ``place`` [cells] along an axis of ``count`` heights."""
    return jnp.clip(jnp.floor(place), 0, count - 2).astype(jnp.int32)


def _corners(grid: np.ndarray | jax.Array, column: Array, row: Array) -> Triple:
    """Returns the heights of a cell's corners: low, one column on, one row on, both on."""
    flat, columns = grid.reshape(-1), grid.shape[1]
    low = row * columns + column
    # Four tables and one index are faster than one table and four indices.
    roll = np.roll if isinstance(flat, np.ndarray) else jnp.roll
    tables = (roll(flat, -k) for k in (0, 1, columns, columns + 1))
    return tuple(jnp.take(jnp.asarray(table), low, mode="clip") for table in tables)


def _slopes(corners: Triple, lower: Array) -> tuple[Array, Array]:
    """Returns the rise [m] per cell along x and y of the triangle with u > v, or of the other."""
    low, across, along, high = corners
    return (
        jnp.where(lower, across - low, high - along),
        jnp.where(lower, high - across, along - low),
    )


def _ground(corners: Triple, u: Array, v: Array) -> Array:
    """Returns the height of the ground [m] at (u, v) in a cell."""
    slope_x, slope_y = _slopes(corners, u > v)
    return corners[0] + slope_x * u + slope_y * v


def _over(rays: _Rays, corners: Triple, column: Array, row: Array, t: Array) -> Array:
    """Returns the height [m] of rays over the ground of a cell, at ``t``."""
    ground = _ground(corners, rays.x + t * rays.step_x - column, rays.y + t * rays.step_y - row)
    return rays.z + t * rays.step_z - ground
