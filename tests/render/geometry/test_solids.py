"""Polytopes and triangles against mj_ray: depth, normals, shadows, no holes, gradients."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
import pytest

from mjx_s2r.render.geometry import solids
from mjx_s2r.render.geometry.meshes import Polytope, Triangles, solid_of
from mjx_s2r.render.geometry.primitives import MISS
from tests.render.shapes import CONVEX, ROUGH, aimed, ball, cast, load_mesh, ring

RAYS = 300
INSIDE = {"torus": (0.35, 0.0, 0.02), "ell": (-0.1, -0.1, 0.01)}

Loaded = tuple[mujoco.MjModel, mujoco.MjData, Triangles]


def _triple(array: jax.Array) -> tuple[jax.Array, ...]:
    """Returns the three columns of an array (..., 3)."""
    return tuple(jnp.moveaxis(jnp.asarray(array), -1, 0))


@functools.cache
def _camera(name: str) -> tuple[Loaded, Callable[..., tuple[jax.Array, jax.Array]]]:
    """Returns a rough mesh, and its depth and normals from one eye as a compiled function."""
    model, data = load_mesh(*ROUGH[name])
    solid = solid_of(model, 0)
    assert isinstance(solid, Triangles)

    @jax.jit
    def look(eye: jax.Array, ray: jax.Array, after: float) -> tuple[jax.Array, jax.Array]:
        """Returns depth (P,) and normals (P, 3)."""
        args = _triple(eye), _triple(ray), solid.corners
        normal = solids.triangles_normal(*args, solid.normals, after)
        return solids.ray_triangles(*args, after), jnp.stack(normal, axis=1)

    return (model, data, solid), look


def _compare(near: np.ndarray, expected: np.ndarray) -> np.ndarray:
    """Checks depths (N,) against mj_ray's, and returns where there are any."""
    hit = expected >= 0
    assert np.mean((near < MISS) == hit) >= 0.999
    both = hit & (near < MISS)
    assert both.sum() > 50
    assert np.quantile(np.abs(near - expected)[both], 0.999) < 1e-4
    return both


@pytest.mark.parametrize("name", CONVEX)
def test_polytope_matches_mj_ray(name: str) -> None:
    rng = np.random.default_rng(1)
    model, data = load_mesh(CONVEX[name])
    solid = solid_of(model, 0)
    assert isinstance(solid, Polytope)
    eye = rng.normal(size=(RAYS, 3))
    eye = (1.3 * eye / np.linalg.norm(eye, axis=1, keepdims=True)).astype(np.float32)
    ray = (rng.uniform(-0.4, 0.4, (RAYS, 3)) - eye).astype(np.float32)

    @jax.jit
    def look(eye: jax.Array, ray: jax.Array) -> tuple[jax.Array, ...]:
        """Returns near and far (P,) and normals (P, 3)."""
        near, far = solids.ray_polytope(_triple(eye), _triple(ray), solid.planes)
        normal = solids.polytope_normal(_triple(eye + near[:, None] * ray), solid.planes)
        return near, far, jnp.stack(normal, axis=1)

    near, far, normal = map(np.asarray, look(eye, ray))
    expected, expected_normal = cast(model, data, eye, ray)
    both = _compare(near, expected)
    assert np.mean(np.sum(normal * expected_normal, axis=1)[both] > 0.9999) > 0.99
    back, _ = cast(model, data, eye + 4 * ray, -ray)
    np.testing.assert_allclose(far[both], 4 - back[both], atol=1e-4)
    # From inside, what is met is behind the eye and the far side is ahead.
    near, far, _ = map(np.asarray, look(0 * eye, ray))
    expected, _ = cast(model, data, 0 * eye, ray)
    assert np.all(near < 0)
    np.testing.assert_allclose(far, expected, atol=1e-5)


def test_many_planes_in_a_loop_are_the_same_as_few_written_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model, _ = load_mesh(CONVEX["icosahedron"])
    solid = solid_of(model, 0)
    assert isinstance(solid, Polytope)
    eye = np.array([0.9, -0.5, 0.6], np.float32)
    args = _triple(eye), _triple(aimed(np.random.default_rng(2), RAYS, eye)), solid.planes
    plain = solids.ray_polytope(*args)
    monkeypatch.setattr(solids, "UNROLLED", 0)
    for ours, theirs in zip(solids.ray_polytope(*args), plain, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-6)


def test_a_round_polytope_is_shaded_as_the_ball_that_it_is_near() -> None:
    model, _ = load_mesh(ball(60))
    solid = solid_of(model, 0)
    assert isinstance(solid, Polytope)
    ray = np.random.default_rng(0).normal(size=(RAYS, 3)).astype(np.float32)
    ray /= np.linalg.norm(ray, axis=1, keepdims=True)
    _, far = solids.ray_polytope((0.0, 0.0, 0.0), _triple(ray), solid.planes)
    point = _triple(np.asarray(far)[:, None] * ray)
    flat = np.stack(solids.polytope_normal(point, solid.planes), axis=1)
    smooth = np.stack(solids.polytope_normal(point, solid.planes, solid.shading), axis=1)
    np.testing.assert_allclose(np.linalg.norm(smooth, axis=1), 1, atol=1e-5)
    wrong, less = (1 - np.sum(normal * ray, axis=1) for normal in (flat, smooth))
    assert less.mean() < 0.3 * wrong.mean()
    assert less.max() < 0.5 * wrong.max()


@pytest.mark.parametrize("name", ROUGH)
def test_triangles_match_mj_ray_from_outside_and_inside(name: str) -> None:
    rng = np.random.default_rng(3)
    (model, data, _), look = _camera(name)
    for eye in ((1.1, -0.9, 0.7), (-0.2, 0.8, -0.5), INSIDE[name]):
        point = np.array(eye, np.float32)
        ray = aimed(rng, RAYS, point)
        near, normal = map(np.asarray, look(point, ray, 0.0))
        expected, flat = cast(model, data, np.tile(point, (RAYS, 1)), ray, fronts=True)
        both = _compare(near, expected)
        lean = np.sum(normal * flat, axis=1)[both]
        assert np.quantile(lean, 0.01) > (0.85 if name == "torus" else 0.9999)
        np.testing.assert_allclose(np.linalg.norm(normal[both], axis=1), 1, atol=1e-5)


def test_normals_are_those_of_the_surface_that_is_approximated() -> None:
    (_, _, solid), look = _camera("torus")
    eye = np.array([0.4, -0.7, 1.0], np.float32)
    ray = aimed(np.random.default_rng(4), RAYS, eye)
    near, normal = map(np.asarray, look(eye, ray, 0.0))
    point = (eye + near[:, None] * ray)[near < MISS]
    axis = np.argmin(np.ptp(solid.corners.reshape(-1, 3), axis=0))
    around = np.delete(np.arange(3), axis)
    point[:, around] *= 1 - 0.35 / np.linalg.norm(point[:, around], axis=1, keepdims=True)
    point /= np.linalg.norm(point, axis=1, keepdims=True)
    assert np.quantile(np.sum(point * normal[near < MISS], axis=1), 0.05) > 0.97


def test_what_is_nearer_than_the_near_plane_is_cut_away() -> None:
    (model, data, _), look = _camera("torus")
    eye = np.array([1.2, 0.1, 0.05], np.float32)
    ray = aimed(np.random.default_rng(5), RAYS, eye)
    near = np.asarray(look(eye, ray, 0.0)[0])
    after = float(np.median(near[near < MISS]))
    cut = np.asarray(look(eye, ray, after)[0])
    far = near > after
    np.testing.assert_array_equal(cut[far], near[far])
    expected, _ = cast(model, data, eye + after * ray, ray, fronts=True)
    hit = expected >= 0
    assert np.mean((cut < MISS) == hit) > 0.99
    both = hit & (cut < MISS)
    np.testing.assert_allclose(cut[both], expected[both] + after, atol=1e-4)


@pytest.mark.parametrize("scale", [1.0, 0.02])
def test_no_ray_slips_between_two_triangles(scale: float) -> None:
    model, _ = load_mesh(*ring(16, 8))
    solid = solid_of(model, 0)
    assert isinstance(solid, Triangles)
    corners = solid.corners * np.float32(scale)
    rng = np.random.default_rng(6)
    # Rays at corners and at random points of edges, the hardest to hit.
    part = rng.uniform(0, 1, (40, *corners.shape[:2], 1))
    target = np.concatenate(
        [corners[None], corners + part * (np.roll(corners, 1, axis=1) - corners)]
    )
    target = target.reshape(-1, 3)

    @functools.partial(jax.jit, static_argnames="cull")
    def look(eye: jax.Array, aim: jax.Array, cull: bool) -> jax.Array:
        """Returns the depth (P,) of rays aimed at points."""
        return solids.ray_triangles(_triple(eye), _triple(aim - eye), corners, 0.0, cull=cull)

    # An eye inside of the tube sees it wherever it looks.
    axis = np.argmin(np.ptp(solid.corners.reshape(-1, 3), axis=0))
    eye = np.full(3, scale * 0.35 / 2**0.5, np.float32)
    eye[axis] = 0.01 * scale
    near = np.asarray(look(eye, target.astype(np.float32), cull=False))
    assert len(near) > 30000
    assert np.all(near < 1.001)
    # From outside, a ray whose neighbours all meet the torus meets it, too.
    eye = np.array([1.2, -0.9, 1.1], np.float32)
    sides = 0.01 * scale * np.concatenate([np.eye(3), -np.eye(3), [[0, 0, 0]]])
    hit = [np.asarray(look(eye, (target + s).astype(np.float32), cull=True)) < MISS for s in sides]
    inside = np.all(hit[:-1], axis=0)
    assert inside.mean() > 0.7
    assert hit[-1][inside].all()


def test_shadows_match_mj_ray() -> None:
    rng = np.random.default_rng(7)
    for name in ROUGH:
        model, data, solid = _camera(name)[0]
        point = rng.uniform(-0.6, 0.6, (RAYS, 3)).astype(np.float32)
        sun = np.array([0.3, -0.5, 0.8], np.float32)
        dark = solids.occludes(_triple(point), _triple(sun), solid.corners, after=1e-4)
        depth, _ = cast(model, data, point, np.tile(sun, (RAYS, 1)))
        assert np.mean(np.asarray(dark) == (depth > 1e-4)) >= 0.999
        assert 0.02 < np.mean(dark) < 0.9
        lamp = np.array([0.2, 0.1, 0.9], np.float32)
        dark = solids.occludes(
            _triple(lamp), _triple(point - lamp), solid.corners, after=0.0, until=1 - 1e-4
        )
        depth, _ = cast(model, data, np.tile(lamp, (RAYS, 1)), point - lamp)
        assert np.mean(np.asarray(dark) == ((depth > 0) & (depth < 1 - 1e-4))) >= 0.999


def test_depth_has_the_gradient_of_the_face_that_is_met() -> None:
    model, data, solid = _camera("ell")[0]
    eye = np.array([0.3, 0.4, 1.2])
    ray = np.array([[-0.4, -0.3, -1.2], [-0.35, -0.5, -1.1]])

    def depth(eye: jax.Array) -> jax.Array:
        """Returns the summed depth of all rays."""
        return solids.ray_triangles(
            _triple(eye), _triple(ray.astype(np.float32)), solid.corners, 0.0
        ).sum()

    gradient = jax.grad(depth)(jnp.asarray(eye, jnp.float32))
    for axis, shift in enumerate(1e-4 * np.eye(3)):
        ends = [cast(model, data, np.tile(eye + s * shift, (2, 1)), ray)[0].sum() for s in (1, -1)]
        assert gradient[axis] == pytest.approx((ends[0] - ends[1]) / 2e-4, abs=1e-3)


def test_rays_without_a_common_start_or_direction_are_refused() -> None:
    some = jnp.ones((4, 3))
    with pytest.raises(ValueError, match="one of the two must be three scalars"):
        solids.ray_triangles(_triple(some), _triple(some), np.ones((1, 3, 3), np.float32), 0.0)
