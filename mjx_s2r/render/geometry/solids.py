"""Ray intersection with meshes: convex polytopes and triangle soups, constants of the program.

The form is that of `primitives`: a ray is eye + t * ray in the geom's own frame, eye and ray are
triples of arrays that broadcast, MISS is a miss. A loop over chunks of planes or triangles keeps
one number per pixel, so the compiled program does not grow with the mesh.

A triangle is met where the volumes that the ray spans with its three edges have one sign (J.
Amanatides and K. Choi, "Ray Tracing Triangular Meshes", 1997). Neighbours compute the volume of a
shared edge from the same two ends in the same order, and triangles reach a little over their edges,
so that no ray slips between them. If all rays start in one point, the volumes are linear in the
direction, and if all have one direction, they are linear in the start; what multiplies them is
computed once per triangle and world.
"""

import jax
import jax.numpy as jnp
import numpy as np

from mjx_s2r.render.geometry.primitives import MISS, TINY, Array, RayInterval, Triple, dot
from mjx_s2r.render.geometry.simplify import area_normals

CHUNK = 8  # planes or triangles per turn of the loop
SEAM = 3e-5  # triangles reach this part of their size over their edges
UNROLLED = 32  # so many planes need no loop: three times faster, and still quick to compile


def ray_polytope(eye: Triple, ray: Triple, planes: np.ndarray) -> RayInterval:
    """Polytope of planes (F, 4), n . x <= d [m]: the intersection of its half spaces.

    A plane that the ray enters bounds t from below, one that it leaves bounds it from above (Kay
    and Kajiya 1986).
    """
    shape = jnp.broadcast_shapes(*(jnp.shape(c) for c in (*eye, *ray)))
    start = jnp.full(shape, -MISS), jnp.full(shape, MISS)

    def bound(interval: RayInterval, rows: Array) -> tuple[RayInterval, None]:
        """Cuts the interval (near, far) with a chunk of planes."""
        near, far = interval
        for row in rows:
            normal = row[0], row[1], row[2]
            slope = dot(ray, normal)
            slope = jnp.where(jnp.abs(slope) > TINY, slope, -TINY)
            t = (row[3] - dot(eye, normal)) / slope
            near = jnp.where(slope < 0, jnp.maximum(near, t), near)
            far = jnp.where(slope < 0, far, jnp.minimum(far, t))
        return (near, far), None

    if len(planes) <= UNROLLED:
        near, far = bound(start, planes.astype(np.float32))[0]
    else:
        near, far = jax.lax.scan(bound, start, jnp.asarray(_chunks(planes)))[0]
    hit = near <= far
    return jnp.where(hit, near, MISS), jnp.where(hit, far, -MISS)


def polytope_normal(point: Triple, planes: np.ndarray, shading: np.ndarray | None = None) -> Triple:
    """Returns the unit normal at a surface ``point``: that of the plane that it lies on.

    Args:
        point: in the geom's frame [m].
        planes: (F, 4).
        shading: (F, 3, 4) normals that are affine functions of the point; None for the planes'.
    """
    place = jax.lax.stop_gradient(point)
    start = jnp.full(jnp.shape(place[0]), -MISS), jnp.zeros(jnp.shape(place[0]), jnp.int32)

    def highest(best: tuple[Array, Array], item: tuple[Array, Array]) -> tuple[RayInterval, None]:
        """Keeps the plane that the point is highest above."""
        height, plane = best
        rows, first = item
        for k in range(CHUNK):
            above = dot(place, (rows[k, 0], rows[k, 1], rows[k, 2])) - rows[k, 3]
            plane = jnp.where(above > height, first + k, plane)
            height = jnp.maximum(above, height)
        return (height, plane), None

    rows = jnp.asarray(_chunks(planes))
    first = jnp.arange(len(rows), dtype=jnp.int32) * CHUNK
    (_, plane), _ = jax.lax.scan(highest, start, (rows, first))
    if shading is None:
        return _taken(planes[:, :3], plane)
    return _affine(shading, plane, point)


def _chunks(rows: np.ndarray) -> np.ndarray:
    """Returns rows (F, ...) as (F / CHUNK, CHUNK, ...), filled up with copies of the last."""
    rows = np.concatenate([rows, np.repeat(rows[-1:], -len(rows) % CHUNK, axis=0)])
    return rows.reshape(-1, CHUNK, *rows.shape[1:]).astype(np.float32)


def ray_triangles(
    eye: Triple, ray: Triple, corners: np.ndarray, after: Array, *, cull: bool = True
) -> Array:
    """Returns the nearest t > ``after`` >= 0 at which rays meet triangles (F, 3, 3) [m], or MISS.

    Args:
        eye: starts of the rays; scalars unless ``ray`` is three scalars.
        ray: their directions.
        corners: counter-clockwise from outside.
        after: the camera's near plane.
        cull: whether triangles are not there from inside, as OpenGL draws them.
    """
    return _plane_depth(eye, ray, corners, _nearest(eye, ray, corners, after, cull))


def triangles_normal(
    eye: Triple, ray: Triple, corners: np.ndarray, normals: np.ndarray, after: Array
) -> Triple:
    """Returns the unit normal of what `ray_triangles` meets, smooth between the corners' (F, 3, 3).

    It is an affine function of the point on each triangle, made unit. Where nothing is met it is
    that of some triangle.
    """
    face = _nearest(eye, ray, corners, after, True)
    depth = _plane_depth(eye, ray, corners, face)
    depth = jnp.where(depth < MISS, depth, 0.0)
    point = tuple(e + depth * r for e, r in zip(eye, ray, strict=True))
    return _affine(_normal_maps(corners, normals), jnp.maximum(face, 0), point)


def occludes(
    eye: Triple, ray: Triple, corners: np.ndarray, *, after: Array, until: Array = MISS
) -> Array:
    """Returns whether a triangle (F, 3, 3) [m] stands at after < t < until, either side of it.

    Args:
        eye: points in question, with the scalar ``ray`` towards the sun; or the scalar place of a
            lamp, with rays from it to the points and ``until`` a little below 1.
        ray: see ``eye``.
        corners: the triangles.
        after: what is nearer does not count.
        until: what is farther does not count.
    """
    moving, terms = _terms(eye, ray, corners)

    def stands(dark: Array, rows: Array) -> tuple[Array, None]:
        """Adds a chunk of triangles."""
        for row in rows:
            t = _meet(moving, row, cull=False)
            dark = dark | ((t > after) & (t < until))
        return dark, None

    shape = jnp.broadcast_shapes(*(jnp.shape(c) for c in (*eye, *ray)))
    return jax.lax.scan(stands, jnp.zeros(shape, bool), terms)[0]


def _nearest(eye: Triple, ray: Triple, corners: np.ndarray, after: Array, cull: bool) -> Array:
    """Returns the position (P,) of the nearest triangle met after ``after``, -1 for none.

    The lowest bits of the depth are replaced by the position as in `visibility.nearest`, so one
    integer minimum keeps both; with 256 triangles two that are 3e-5 of their depth apart count as
    equal.
    """
    eye, ray = jax.lax.stop_gradient((eye, ray))
    moving, terms = _terms(eye, ray, corners)
    mask = np.int32((1 << max(1, (len(corners) + CHUNK - 1).bit_length())) - 1)
    shape = jnp.broadcast_shapes(*(jnp.shape(c) for c in (*eye, *ray)))
    start = jnp.full(shape, np.float32(MISS).view(np.int32))

    def nearer(best: Array, item: tuple[Array, Array]) -> tuple[Array, None]:
        """Adds a chunk of triangles."""
        rows, first = item
        for k in range(CHUNK):
            t = _meet(moving, rows[k], cull)
            t = jnp.where((t > after) & (t > 0), t, MISS)
            bits = jax.lax.bitcast_convert_type(t, jnp.int32)
            best = jnp.minimum(best, (bits & ~mask) | (first + k))
        return best, None

    first = jnp.arange(len(terms), dtype=jnp.int32) * CHUNK
    best, _ = jax.lax.scan(nearer, start, (terms, first))
    found = jax.lax.bitcast_convert_type(best & ~mask, jnp.float32) < 0.5 * MISS
    return jnp.where(found, jnp.minimum(best & mask, len(corners) - 1), -1)


def _terms(eye: Triple, ray: Triple, corners: np.ndarray) -> tuple[Triple, Array]:
    """Returns what differs between the rays, and what multiplies it: (F / CHUNK, CHUNK, 10 or 17).

    Of rays from one point: three edges' factors (9,) and the numerator of t (). Of parallel rays:
    the edges' factors (9,) and constants (3,), the numerator's factors (3,) and constant (), and
    the denominator ().
    """
    start, edge, sign = _edges(_chunks(corners).reshape(-1, 3, 3))
    first = jnp.asarray(_chunks(corners).reshape(-1, 3, 3)[:, 0])
    normal = jnp.asarray(area_normals(_chunks(corners).reshape(-1, 3, 3)))
    if all(jnp.ndim(c) == 0 for c in eye):
        centre = jnp.stack([jnp.asarray(c) for c in eye])
        factor = sign * jnp.cross(edge, start - centre)
        above = jnp.sum((centre - first) * normal, axis=1, keepdims=True)
        terms: list[Array] = [factor.reshape(-1, 9), above]
    elif all(jnp.ndim(c) == 0 for c in ray):
        way = jnp.stack([jnp.asarray(c) for c in ray])
        factor = sign * jnp.cross(way, edge)
        constant = jnp.sum(start * factor, axis=2)
        base = jnp.sum(first * normal, axis=1, keepdims=True)
        slope = -jnp.sum(way * normal, axis=1, keepdims=True)
        terms = [factor.reshape(-1, 9), constant, normal, base, slope]
    else:
        raise ValueError(
            f"rays with eyes {jnp.shape(eye[0])} and directions {jnp.shape(ray[0])}: one of the "
            "two must be three scalars; start all rays in one point, or make them parallel"
        )
    rows = jnp.concatenate(terms, axis=1)
    return (ray if len(terms) == 2 else eye), rows.reshape(-1, CHUNK, rows.shape[1])


def _meet(moving: Triple, row: Array, cull: bool) -> Array:
    """Returns t (P,) where rays meet one triangle, MISS where they do not; see `_terms`."""
    parts = [dot(moving, (row[3 * k], row[3 * k + 1], row[3 * k + 2])) for k in range(3)]
    if row.shape[0] == 10:
        above, slope = row[9], parts[0] + parts[1] + parts[2]
    else:
        parts = [row[9 + k] - part for k, part in enumerate(parts)]
        above, slope = dot(moving, (row[12], row[13], row[14])) - row[15], row[16]
    low = jnp.minimum(jnp.minimum(parts[0], parts[1]), parts[2])
    inside = (low >= -SEAM * slope) & (slope > 0)
    if not cull:
        high = jnp.maximum(jnp.maximum(parts[0], parts[1]), parts[2])
        inside = inside | ((high <= -SEAM * slope) & (slope < 0))
    return jnp.where(inside, above / jnp.where(inside, slope, 1.0), MISS)


def _edges(corners: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns start (F, 3, 3), vector (F, 3, 3) and sign (F, 3, 1) of the edges opposite corners.

    An edge runs from the end that comes first by its coordinates, the same for both neighbours;
    the sign is -1 where that is against the direction round the triangle.
    """
    start, end = np.roll(corners, -1, axis=1), np.roll(corners, -2, axis=1)
    differs = start != end
    axis = differs.argmax(axis=2)[..., None]
    ordered = np.take_along_axis(start, axis, 2) <= np.take_along_axis(end, axis, 2)
    low, high = np.where(ordered, start, end), np.where(ordered, end, start)
    return low, high - low, np.where(ordered, 1, -1).astype(np.float32)


def _plane_depth(eye: Triple, ray: Triple, corners: np.ndarray, face: Array) -> Array:
    """Returns t (P,) where rays meet the planes of the triangles ``face``, MISS where -1.

    Exact, unlike the depth that the search compares, and with a gradient.
    """
    normal = area_normals(corners.astype(float))
    normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), TINY)
    offset = np.sum(normal * corners[:, 0], axis=1, keepdims=True)
    plane = _taken(np.concatenate([normal, offset], axis=1), jnp.maximum(face, 0))
    slope = dot(ray, plane[:3])
    met = (face >= 0) & (jnp.abs(slope) > TINY)
    return jnp.where(met, (plane[3] - dot(eye, plane[:3])) / jnp.where(met, slope, 1.0), MISS)


def _normal_maps(corners: np.ndarray, normals: np.ndarray) -> np.ndarray:
    """Returns (F, 3, 4) the normal on each triangle as an affine function of the point (x, 1).

    The least function that has the corners' normals at the corners: constant across the plane.
    """
    corners, normals = corners.astype(float), normals.astype(float)
    edges = corners[:, 1:] - corners[:, :1]
    slope = np.swapaxes(np.linalg.pinv(edges, rcond=1e-6) @ (normals[:, 1:] - normals[:, :1]), 1, 2)
    constant = normals[:, 0] - np.einsum("fij,fj->fi", slope, corners[:, 0])
    return np.concatenate([slope, constant[..., None]], axis=2)


def _affine(maps: np.ndarray, row: Array, point: Triple) -> Triple:
    """Returns the unit vectors that the affine maps (F, 3, 4) of the rows (P,) give at points."""
    table = _taken(maps.reshape(-1, 12), row)
    out = tuple(dot(point, table[i : i + 3]) + table[i + 3] for i in (0, 4, 8))
    length = jnp.sqrt(dot(out, out) + TINY)
    return tuple(c / length for c in out)


def _taken(table: np.ndarray, row: Array) -> Triple:
    """Returns the columns (P,) of the rows (P,) of a table (F, K)."""
    columns = table.T.astype(np.float32)
    return tuple(jnp.take(jnp.asarray(column), row, mode="clip") for column in columns)
