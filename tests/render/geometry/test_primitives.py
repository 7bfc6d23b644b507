"""Every shape against mj_ray: distance and normal from random rays at random sizes."""

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
import pytest

from mjx_s2r.render.geometry import primitives
from tests.render.scenes import load

SIZES = {
    "plane": "{0} {1} .1",
    "sphere": "{0}",
    "capsule": "{0} {1}",
    "ellipsoid": "{0} {1} {2}",
    "cylinder": "{0} {1}",
    "box": "{0} {1} {2}",
}
RAYS, GEOMS = 250, 4
GROUPS = np.ones(6, np.uint8)


def _rays(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Returns eyes outside a ball of 1 m, and rays that aim near the origin."""
    eye = rng.normal(size=(RAYS, 3))
    eye *= rng.uniform(1.0, 3.0, (RAYS, 1)) / np.linalg.norm(eye, axis=1, keepdims=True)
    aim = rng.uniform(-0.5, 0.5, (RAYS, 3))
    return eye.astype(np.float32), (aim - eye).astype(np.float32)


def _oracle(
    model: mujoco.MjModel, data: mujoco.MjData, eye: np.ndarray, ray: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Returns distances (-1 for a miss) and normals by mj_ray."""
    t, normals, found = np.zeros(RAYS), np.zeros((RAYS, 3)), np.zeros(1, np.int32)
    for i in range(RAYS):
        start, way = eye[i].astype(float), ray[i].astype(float)
        t[i] = mujoco.mj_ray(model, data, start, way, GROUPS, True, -1, found, normals[i])
    return t, normals


@pytest.mark.parametrize("shape", SIZES)
def test_distance_and_normal_match_mj_ray(shape: str) -> None:
    rng = np.random.default_rng(list(SIZES).index(shape))

    @jax.jit
    def enter(eye: jax.Array, ray: jax.Array, size: jax.Array) -> tuple[jax.Array, jax.Array]:
        near, _ = primitives.RAY_SHAPES[shape](tuple(eye.T), tuple(ray.T), tuple(size))
        point = eye + near[:, None] * ray
        return near, jnp.stack(
            primitives.primitive_normal(shape, tuple(point.T), tuple(size)), axis=1
        )

    hits = 0
    for _ in range(GEOMS):
        text = SIZES[shape].format(*rng.uniform(0.05, 0.5, 3).round(3))
        model, data = load(
            f'<mujoco><worldbody><geom type="{shape}" size="{text}"/></worldbody></mujoco>'
        )
        eye, ray = _rays(rng)
        near, normal = map(np.asarray, enter(eye, ray, model.geom_size[0].astype(np.float32)))
        expected, expected_normal = _oracle(model, data, eye, ray)
        hit = expected >= 0
        assert np.mean((near < primitives.MISS) == hit) > 0.995  # grazing rays may differ
        both = hit & (near < primitives.MISS)
        scale = np.linalg.norm(ray, axis=1)[both]
        assert np.max(np.abs(near - expected)[both] * scale) < 1e-4
        aligned = np.sum(normal * expected_normal, axis=1)[both]
        assert np.mean(aligned > 0.9999) > 0.99  # at an edge either face is right
        hits += both.sum()
    assert hits > 50


@pytest.mark.parametrize("shape", [s for s in SIZES if s != "plane"])
def test_far_end_is_the_near_end_of_the_ray_turned_round(shape: str) -> None:
    rng = np.random.default_rng(1)
    eye, ray = _rays(rng)
    size = (0.3, 0.4, 0.2)
    back = eye + 4 * ray
    near, far = primitives.RAY_SHAPES[shape](tuple(eye.T), tuple(ray.T), size)
    turned, _ = primitives.RAY_SHAPES[shape](tuple(back.T), tuple(-ray.T), size)
    hit = np.asarray((near < primitives.MISS) & (turned < primitives.MISS))
    assert hit.sum() > 50
    np.testing.assert_allclose(np.asarray(far)[hit], 4 - np.asarray(turned)[hit], atol=1e-3)


def test_plane_is_not_there_from_below() -> None:
    up, down = np.float32(1), np.float32(-1)
    near, _ = primitives.ray_plane((0.0, 0.0, up), (0.0, 0.0, down), (1.0, 1.0, 0.0))
    below, _ = primitives.ray_plane((0.0, 0.0, down), (0.0, 0.0, up), (1.0, 1.0, 0.0))
    assert near == 1
    assert below == primitives.MISS


@pytest.mark.parametrize("shape", SIZES)
def test_ray_along_an_axis_is_finite(shape: str) -> None:
    zero, one = np.zeros(3, np.float32), np.eye(3, dtype=np.float32)
    eye = 2 * one + 0.01
    near, far = primitives.RAY_SHAPES[shape](tuple(eye.T), tuple(-one.T + zero), (0.3, 0.4, 0.2))
    assert np.isfinite(near).all()
    assert np.isfinite(far).all()
