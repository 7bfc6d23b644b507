"""Primitives that stand for convex pieces: best fits, and how far they are off.

A fit minimizes the squared distances from points on the surface of a piece, spread by area, to the
surface of the primitive (S. J. Ahn, "Least Squares Orthogonal Distance Fitting of Curves and
Surfaces in Space", 2004). It starts from the oriented bounding box of the trimesh library and is
solved by scipy's least squares.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import trimesh
from scipy.optimize import least_squares
from scipy.spatial.transform import Rotation

from mjx_s2r.mjcf.convex import Piece, hull_piece
from mjx_s2r.mjcf.shapes import KINDS, Kind, Primitive, fibonacci

POINTS = 200  # on a piece that a primitive is fitted to
SURFACE = fibonacci(600)  # points on a primitive that are measured
GRID = 24  # cells along each side of the box in which volumes are counted
WORSE, ROUNDER, FINE = 1.5, 1.1, 0.25
ROUND = 2**0.5  # radius about a square over its half side
LIKELY = 5  # pairs of groups tried where two must be joined
LEAST = 2e-4  # m; no radius or half size is smaller


@dataclass(frozen=True)
class Error:
    """How far primitives are from the solid that they stand for.

    Attributes:
        out_mm: how far they stick out, at most [mm].
        short_mm: how far they fall short, at most [mm].
        volume_ratio: their volume over the solid's.
        overlap: volume of what both have, over that of what one of them has.
    """

    out_mm: float
    short_mm: float
    volume_ratio: float
    overlap: float


def fit_primitive(kind: Kind, piece: Piece) -> Primitive:
    """Returns the sphere, capsule or box nearest to the surface of a convex piece."""
    points = piece.surface(POINTS)
    if kind == "sphere":
        return _sphere(points)
    turn, centre, half = _oriented_box(piece)
    if kind == "capsule":
        found = [_capsule(points, piece.points, (turn, centre, half), k) for k in range(3)]
    else:
        found = [_box(points, piece.points, (turn, centre, half))]
    return min(found, key=lambda one: _spread(one, [piece]))


def best_fit(
    pieces: Sequence[Piece], accepted: float, kinds: Sequence[Kind] = KINDS, worse: float = WORSE
) -> Primitive:
    """Returns one primitive for pieces: the cheapest that is nearly as good as the best.

    Cheap is what has few contact points: a sphere before a capsule before a box. Nearly as good is
    an error of ``FINE`` of what is accepted [m], or of a little more than the least for a sphere,
    of ``worse`` times the least for a capsule.
    """
    whole = (
        pieces[0] if len(pieces) == 1 else hull_piece(np.concatenate([p.points for p in pieces]))
    )
    found = [fit_primitive(kind, whole) for kind in KINDS if kind in kinds]
    errors = [quick_error(one, pieces) for one in found]
    enough = {"sphere": ROUNDER, "capsule": worse, "box": 1.0}
    least = min(errors)
    return next(
        one
        for one, error in zip(found, errors, strict=True)
        if error <= max(enough[one.kind] * least, FINE * accepted) or error == least
    )


def quick_error(primitive: Primitive, pieces: Sequence[Piece]) -> float:
    """Returns how far a primitive and the union of pieces are apart, at most and about [m]."""
    outside = np.min([piece.depth(primitive.surface(SURFACE)) for piece in pieces], axis=0)
    short = max(float(primitive.distance(piece.points).max()) for piece in pieces)
    return max(float(outside.max()), short, 0.0)


def _spread(primitive: Primitive, pieces: Sequence[Piece]) -> float:
    """Returns the mean square distance [m^2] between a primitive's surface and that of pieces."""
    outside = np.min([piece.depth(primitive.surface(SURFACE)) for piece in pieces], axis=0)
    on_pieces = np.concatenate([piece.surface(POINTS) for piece in pieces])
    return float(np.square(outside).mean() + np.square(primitive.distance(on_pieces)).mean())


def measure(primitives: Sequence[Primitive], pieces: Sequence[Piece]) -> Error:
    """Returns how far the union of primitives is from the union of pieces, both ways."""
    on_shapes = np.concatenate([one.surface(SURFACE) for one in primitives])
    outside = _nearest(on_shapes, pieces)
    on_pieces = np.concatenate([np.vstack([p.points, p.surface(POINTS)]) for p in pieces])
    short = np.min([one.distance(on_pieces) for one in primitives], axis=0)
    low = np.minimum(on_shapes.min(axis=0), on_pieces.min(axis=0))
    high = np.maximum(on_shapes.max(axis=0), on_pieces.max(axis=0))
    cell = (np.indices((GRID, GRID, GRID)).reshape(3, -1).T + 0.5) / GRID
    cells = low + cell * (high - low)
    shape = np.any([one.distance(cells) < 0 for one in primitives], axis=0)
    solid = np.any([piece.depth(cells) < 0 for piece in pieces], axis=0)
    return Error(
        out_mm=1e3 * float(outside.max()),
        short_mm=1e3 * max(float(short.max()), 0.0),
        volume_ratio=float(shape.sum() / max(solid.sum(), 1)),
        overlap=float((shape & solid).sum() / max((shape | solid).sum(), 1)),
    )


def cluster(
    pieces: Sequence[Piece],
    accepted: float,
    most: int,
    kinds: Sequence[Kind] = KINDS,
    worse: float = WORSE,
) -> list[tuple[Primitive, tuple[int, ...]]]:
    """Returns few primitives for pieces, each with the indices of the pieces that it stands for.

    Starts from one for each piece and joins the two groups whose common hull holds the least empty
    space, while one primitive stands for both within ``accepted`` [m] or there are more than
    ``most``.
    """
    groups: list[tuple[int, ...]] = [(i,) for i in range(len(pieces))]
    fits = {group: best_fit([pieces[i] for i in group], accepted, kinds, worse) for group in groups}
    volumes = {group: pieces[group[0]].volume for group in groups}
    refused: set[tuple[int, ...]] = set()
    excess: dict[tuple[int, ...], float] = {}
    while len(groups) > 1:
        pairs = {
            tuple(sorted(a + b)): (a, b)
            for k, a in enumerate(groups)
            for b in groups[k + 1 :]
            if len(groups) > most or tuple(sorted(a + b)) not in refused
        }
        if not pairs:
            break
        for joined in pairs.keys() - excess.keys():
            hull = hull_piece(np.concatenate([pieces[i].points for i in joined]))
            excess[joined] = hull.volume - sum(pieces[i].volume for i in joined)
            volumes[joined] = hull.volume
        likely = sorted(pairs, key=lambda one: (excess[one] / volumes[one], one))
        near = {}
        for joined in likely[: LIKELY if len(groups) > most else 1]:
            members = [pieces[i] for i in joined]
            if joined not in fits:
                fits[joined] = best_fit(members, accepted, kinds, worse)
            near[joined] = quick_error(fits[joined], members)
            if near[joined] <= accepted:
                break
        joined = min(near, key=lambda one: (near[one], one))
        if len(groups) > most or near[joined] <= accepted:
            groups = [g for g in groups if g not in pairs[joined]] + [joined]
        else:
            refused.add(joined)
    return [(fits[group], group) for group in sorted(groups)]


def without_hidden(primitives: Sequence[Primitive], depth: float) -> list[int]:
    """Returns the indices of primitives that stand out of the others by more than ``depth`` [m]."""
    kept = list(range(len(primitives)))
    for i in sorted(kept, key=lambda i: (primitives[i].volume, i)):
        others = [primitives[k] for k in kept if k != i]
        if others:
            away = np.min([o.distance(primitives[i].surface(SURFACE)) for o in others], axis=0)
            if away.max() <= depth:
                kept.remove(i)
    return kept


def _nearest(points: np.ndarray, pieces: Sequence[Piece]) -> np.ndarray:
    """Returns the distance (N,) [m] of points (N, 3) to a union; those surely nearer are skipped.

    Only points that are far by the bound can have the largest distance: the others keep the bound.
    """
    bound = np.maximum(np.min([piece.depth(points) for piece in pieces], axis=0), 0.0)
    far = np.argsort(-bound)[:60]
    bound[far] = np.min([piece.distance(points[far]) for piece in pieces], axis=0)
    return bound


@lru_cache(maxsize=4)
def _oriented_box(piece: Piece) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns axes (3, 3) in columns, centre (3,) and half sizes (3,) of a box about a piece."""
    to_box, sizes = trimesh.bounds.oriented_bounds(piece.points, angle_digits=2, ordered=False)
    from_box = np.linalg.inv(to_box)
    return from_box[:3, :3], from_box[:3, 3], np.maximum(sizes / 2, LEAST)


def _sphere(points: np.ndarray) -> Primitive:
    """Returns the sphere |p - c| = r of least squares."""
    centre = points.mean(axis=0)
    radius = np.linalg.norm(points - centre, axis=1).mean()

    def residual(x: np.ndarray) -> np.ndarray:
        return np.asarray(np.linalg.norm(points - x[:3], axis=1) - x[3])

    x = least_squares(residual, [*centre, radius], x_scale=radius).x
    if not 0 < x[3] < 2 * radius:  # a flat piece: part of a huge sphere
        x = np.append(centre, radius)
    return Primitive("sphere", np.maximum(x[3:], LEAST), x[:3], np.array([1.0, 0.0, 0.0, 0.0]))


def _capsule(
    points: np.ndarray, corners: np.ndarray, box: tuple[np.ndarray, ...], side: int
) -> Primitive:
    """Returns the capsule of least squares: r from the segment c - v to c + v.

    Args:
        points: (N, 3) on the surface [m].
        corners: (V, 3) of the piece [m].
        box: axes in columns (3, 3), centre (3,) and half sizes (3,) of a box about it.
        side: the axis of the box along which the capsule starts.
    """
    turn, centre, half = box
    radius = float(np.delete(half, side).mean())
    reach, axis = max(float(half[side]) - radius, 0.1 * radius), turn[:, side]

    def residual(x: np.ndarray) -> np.ndarray:
        away, v = points - x[:3], x[3:6]
        share = np.clip(away @ v / max(v @ v, 1e-18), -1.0, 1.0)
        return np.asarray(np.linalg.norm(away - share[:, None] * v, axis=1) - x[6])

    start = np.array([*centre, *(reach * axis), radius])
    x = least_squares(residual, start, x_scale=radius).x
    if not 0 < x[6] < np.delete(half, side).max() * ROUND:  # a flat piece: part of a huge tube
        x = start
    along = x[3:6] / max(float(np.linalg.norm(x[3:6])), 1e-12)
    low, high = _span(corners - x[:3], along)  # it ends where the piece does
    size = np.maximum([abs(x[6]), (high - low) / 2 - abs(x[6])], LEAST)
    return Primitive("capsule", size, x[:3] + (low + high) / 2 * along, _along(along))


def _span(points: np.ndarray, axis: np.ndarray) -> tuple[float, float]:
    """Returns the least and the largest coordinate of points (N, 3) along an axis (3,)."""
    share = points @ axis
    return float(share.min()), float(share.max())


def _along(axis: np.ndarray) -> np.ndarray:
    """Returns the quaternion (4,) that turns z into an axis (3,) or its opposite."""
    axis = axis * np.sign(axis[np.abs(axis).argmax()])
    half = np.array([1.0 + axis[2], -axis[1], axis[0], 0.0])
    if half[0] < 1e-9:
        return np.array([0.0, 1.0, 0.0, 0.0])
    return np.asarray(half / np.linalg.norm(half))


def _box(points: np.ndarray, corners: np.ndarray, box: tuple[np.ndarray, ...]) -> Primitive:
    """Returns the box of least squares, turned and moved from a first one; see ``_capsule``."""
    turn, centre, half = box
    scale = float(half.max())
    frame = Rotation.from_matrix(turn)

    def placed(x: np.ndarray) -> Primitive:
        quat = (frame * Rotation.from_rotvec(x[3:6])).as_quat(canonical=True, scalar_first=True)
        return Primitive("box", np.maximum(np.abs(x[6:]), LEAST), x[:3], quat)

    def residual(x: np.ndarray) -> np.ndarray:
        return placed(x).distance(points)

    start = np.concatenate([centre, np.zeros(3), half])
    spread = np.array([scale] * 3 + [1.0] * 3 + [scale] * 3)
    x = least_squares(residual, start, x_scale=spread).x
    axes = turn @ Rotation.from_rotvec(x[3:6]).as_matrix()
    spans = np.array([_span(corners - x[:3], axis) for axis in axes.T])  # no larger than the piece
    low, high = np.maximum(spans[:, 0], -np.abs(x[6:])), np.minimum(spans[:, 1], np.abs(x[6:]))
    x[:3] += axes @ (low + high) / 2
    x[6:] = (high - low) / 2
    return placed(x)
