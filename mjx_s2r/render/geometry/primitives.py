"""Ray intersection with MuJoCo's primitive shapes, in the shape's own frame.

A ray is eye + t * ray. `eye` and `ray` are triples of arrays that broadcast together, so one
function serves camera rays (one eye, many directions) and shadow rays (many origins, one
direction), and what all pixels share is computed once. Every function returns the interval of t
inside the shape, (near, far); a miss has near = MISS and far = -MISS. Convex shapes make one
interval, and a shape cut out of two others is the intersection of their intervals (Kay and Kajiya
1986 for slabs).

For quadrics a t^2 + 2 b t + c = 0 the discriminant b^2 - a c is written by Lagrange's identity as
a r^2 - |eye x ray|^2, which does not cancel in float32 when the eye is far away.
"""

from typing import Any

import jax.numpy as jnp

Array = Any
Triple = tuple[Array, ...]  # three of them
RayInterval = tuple[Array, Array]

MISS = 1e9  # a distance [m] no scene has; finite, so that its bits can carry a tag
TINY = 1e-20


def ray_plane(eye: Triple, ray: Triple, size: Triple) -> RayInterval:
    """Plane z = 0 seen from above, of half sizes size[0] and size[1] [m]; nothing from below."""
    facing = (ray[2] < -TINY) & (eye[2] > 0)
    t = -eye[2] / jnp.where(facing, ray[2], -1.0)
    inside = (jnp.abs(eye[0] + t * ray[0]) <= size[0]) & (jnp.abs(eye[1] + t * ray[1]) <= size[1])
    hit = facing & inside
    return jnp.where(hit, t, MISS), jnp.where(hit, t, -MISS)


def ray_sphere(eye: Triple, ray: Triple, size: Triple) -> RayInterval:
    """Sphere of radius size[0] [m]."""
    a, b, perpendicular = dot(ray, ray), dot(eye, ray), cross(eye, ray)
    return _quadric(a, b, a * size[0] ** 2 - dot(perpendicular, perpendicular))


def ray_ellipsoid(eye: Triple, ray: Triple, size: Triple) -> RayInterval:
    """Ellipsoid of semi-axes size [m]: the unit sphere in coordinates divided by them."""
    scaled = tuple(e / s for e, s in zip(eye, size, strict=True))
    bent = tuple(r / s for r, s in zip(ray, size, strict=True))
    return ray_sphere(scaled, bent, (1.0, 1.0, 1.0))


def ray_box(eye: Triple, ray: Triple, size: Triple) -> RayInterval:
    """Box of half sizes size [m]: three slabs."""
    slabs = [_slab(e, r, s) for e, r, s in zip(eye, ray, size, strict=True)]
    near = jnp.maximum(jnp.maximum(slabs[0][0], slabs[1][0]), slabs[2][0])
    far = jnp.minimum(jnp.minimum(slabs[0][1], slabs[1][1]), slabs[2][1])
    return _checked(near, far)


def ray_cylinder(eye: Triple, ray: Triple, size: Triple) -> RayInterval:
    """Cylinder along z of radius size[0] and half height size[1] [m]: a tube and a slab."""
    tube, slab = _tube(eye, ray, size[0]), _slab(eye[2], ray[2], size[1])
    return _checked(jnp.maximum(tube[0], slab[0]), jnp.minimum(tube[1], slab[1]))


def ray_capsule(eye: Triple, ray: Triple, size: Triple) -> RayInterval:
    """Capsule along z of radius size[0] and half length size[1] [m].

    A ray enters through the tube if it meets it between the ends, else through the ball at the end
    beyond which it meets the tube; the same holds for where it leaves.
    """
    near, far = _tube(eye, ray, size[0])
    return (
        jnp.where(near < MISS, _capped(eye, ray, size, near, -1.0), MISS),
        jnp.where(near < MISS, _capped(eye, ray, size, far, 1.0), -MISS),
    )


def _capped(eye: Triple, ray: Triple, size: Triple, t: Array, side: float) -> Array:
    """Returns t, or the end ball's crossing (near for side -1, far for +1) if t is past an end."""
    z = eye[2] + t * ray[2]
    end = jnp.where(z > 0, size[1], -size[1])
    moved = (eye[0], eye[1], eye[2] - end)
    a, b, perpendicular = dot(ray, ray), dot(moved, ray), cross(moved, ray)
    disc = a * size[0] ** 2 - dot(perpendicular, perpendicular)
    ball = (side * jnp.sqrt(jnp.maximum(disc, TINY)) - b) / a
    ball = jnp.where(disc > 0, ball, -side * MISS)
    return jnp.where(jnp.abs(z) <= size[1], t, ball)


def _tube(eye: Triple, ray: Triple, radius: Array) -> RayInterval:
    """Infinite cylinder along z."""
    a = ray[0] * ray[0] + ray[1] * ray[1] + TINY
    b = eye[0] * ray[0] + eye[1] * ray[1]
    perpendicular = eye[0] * ray[1] - eye[1] * ray[0]
    return _quadric(a, b, a * radius**2 - perpendicular * perpendicular)


def _quadric(a: Array, b: Array, disc: Array) -> RayInterval:
    """RayInterval between the roots of a t^2 + 2 b t + c, given its discriminant."""
    root, inverse = jnp.sqrt(jnp.maximum(disc, TINY)), 1.0 / a
    hit = disc > 0
    return (
        jnp.where(hit, (-b - root) * inverse, MISS),
        jnp.where(hit, (root - b) * inverse, -MISS),
    )


def _slab(eye: Array, ray: Array, half: Array) -> RayInterval:
    """RayInterval between the planes at -half and +half; a parallel ray divides by TINY instead."""
    inverse = 1.0 / jnp.where(jnp.abs(ray) > TINY, ray, TINY)
    middle, width = -eye * inverse, half * jnp.abs(inverse)
    return middle - width, middle + width


def _checked(near: Array, far: Array) -> RayInterval:
    """Turns an empty interval into a miss."""
    return jnp.where(near <= far, near, MISS), jnp.where(near <= far, far, -MISS)


def dot(a: Triple, b: Triple) -> Array:
    """Inner product."""
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


def cross(a: Triple, b: Triple) -> Triple:
    """Outer product."""
    return (a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0])


def primitive_normal(shape: str, point: Triple, size: Triple) -> Triple:
    """Returns the outward unit normal at a surface ``point`` of a shape, in its own frame."""
    x, y, z = point
    zero = jnp.zeros_like(x)
    if shape == "plane":
        return zero, zero, jnp.ones_like(x)
    if shape == "sphere":
        return x / size[0], y / size[0], z / size[0]
    if shape == "capsule":
        return x / size[0], y / size[0], (z - jnp.clip(z, -size[1], size[1])) / size[0]
    if shape == "ellipsoid":
        gradient = tuple(p / s**2 for p, s in zip(point, size, strict=True))
        length = jnp.sqrt(dot(gradient, gradient) + TINY)
        return gradient[0] / length, gradient[1] / length, gradient[2] / length
    if shape == "cylinder":
        side = jnp.sqrt(x * x + y * y + TINY) - size[0] >= jnp.abs(z) - size[1]
        return (
            jnp.where(side, x / size[0], 0),
            jnp.where(side, y / size[0], 0),
            jnp.where(side, 0, jnp.sign(z)),
        )
    depth = [jnp.abs(p) - s for p, s in zip(point, size, strict=True)]
    first = (depth[0] >= depth[1]) & (depth[0] >= depth[2])
    second = ~first & (depth[1] >= depth[2])
    return (
        jnp.where(first, jnp.sign(x), 0),
        jnp.where(second, jnp.sign(y), 0),
        jnp.where(first | second, 0, jnp.sign(z)),
    )


RAY_SHAPES = {
    "plane": ray_plane,
    "sphere": ray_sphere,
    "capsule": ray_capsule,
    "ellipsoid": ray_ellipsoid,
    "cylinder": ray_cylinder,
    "box": ray_box,
}
