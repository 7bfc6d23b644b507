"""Height fields against mj_ray: depth, normals, shadows, gradients, and what is refused."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
import pytest

from mjx_s2r.render.geometry import hfield
from mjx_s2r.render.geometry.hfield import Heights, HeightsError, heights_of
from mjx_s2r.render.geometry.primitives import MISS
from tests.render.scenes import load
from tests.render.shapes import aimed, cast

ROWS, COLUMNS, RAYS = 9, 13, 300
FIELD = """
<mujoco><asset><hfield name="ground" nrow="{}" ncol="{}" size=".5 .4 .3 .1"/></asset><worldbody>
<geom type="hfield" hfield="ground" pos=".3 -.2 .1" quat=".5 .3 -.6 .2"/></worldbody></mujoco>
"""
EYES = {
    "above": (0.1, 0.2, 1.5),
    "side": (0.9, 0.1, 0.15),
    "corner": (-0.8, -0.7, 0.4),
    "below": (0.2, 0.1, -1.0),
    "valley": (0.02, 0.03, 0.32),
}

Field = tuple[mujoco.MjModel, mujoco.MjData, Heights]
Look = Callable[[np.ndarray, np.ndarray], np.ndarray]


def _triple(array: jax.Array) -> tuple[jax.Array, ...]:
    """Returns the three columns of an array (..., 3)."""
    return tuple(jnp.moveaxis(jnp.asarray(array), -1, 0))


@pytest.fixture(scope="module")
def field() -> Field:
    """A field of random heights that includes zero and the top."""
    model, data = load(FIELD.format(ROWS, COLUMNS))
    heights = np.random.default_rng(0).uniform(0, 1, ROWS * COLUMNS)
    heights[[7, 40]] = 0.0, 1.0
    model.hfield_data[:] = heights
    return model, data, heights_of(model, 0)


@pytest.fixture(scope="module")
def look(field: Field) -> Look:
    """Depth (P,) from one eye, compiled."""
    draw = jax.jit(lambda eye, ray: hfield.ray_hfield(_triple(eye), _triple(ray), field[2], 0.0))
    return lambda eye, ray: np.asarray(draw(eye, ray))


@pytest.mark.parametrize("place", EYES)
def test_depth_and_normal_match_mj_ray(place: str, field: Field, look: Look) -> None:
    model, data, heights = field
    eye = np.array(EYES[place], np.float32)
    ray = aimed(np.random.default_rng(1), RAYS, eye)
    near = look(eye, ray)
    expected, flat = cast(model, data, np.tile(eye, (RAYS, 1)), ray)
    hit = expected >= 0
    assert np.mean((near < MISS) == hit) >= 0.999
    both = hit & (near < MISS)
    assert both.sum() > 100
    assert np.quantile(np.abs(near - expected)[both], 0.999) < 1e-5
    normal = hfield.hfield_normal(_triple((eye + near[:, None] * ray)[both]), heights)
    aligned = np.sum(np.stack(normal, axis=1) * flat[both], axis=1)
    assert np.mean(aligned > 0.9999) > 0.99  # on an edge either side is right


def test_shadow_rays_match_mj_ray(field: Field) -> None:
    model, data, heights = field
    rng = np.random.default_rng(2)
    point = rng.uniform((-0.6, -0.5, 0.0), (0.6, 0.5, 0.3), (RAYS, 3)).astype(np.float32)
    sun = np.array([0.8, 0.5, 0.25], np.float32)
    near = np.asarray(hfield.ray_hfield(_triple(point), _triple(sun), heights, 1e-4))
    dark, _ = cast(model, data, point, np.tile(sun, (RAYS, 1)))
    under = _under(heights, point)
    # mj_ray also stops a ray that starts under the ground; ours lets it out.
    assert np.all((near < MISS)[~under] == (dark > 0)[~under])
    assert 0.2 < np.mean(near[~under] < MISS) < 0.9
    assert np.mean(under) > 0.1


def _under(heights: Heights, point: np.ndarray) -> np.ndarray:
    """Returns which points (N, 3) lie in the solid."""
    (sx, sy), (rows, columns) = heights.radius, heights.grid.shape
    u = (point[:, 0] + sx) / (2 * sx) * (columns - 1)
    v = (point[:, 1] + sy) / (2 * sy) * (rows - 1)
    within = (u >= 0) & (u <= columns - 1) & (v >= 0) & (v <= rows - 1)
    c, r = np.clip(u.astype(int), 0, columns - 2), np.clip(v.astype(int), 0, rows - 2)
    h, u, v = heights.grid, u - c, v - r
    first = h[r, c] + (h[r, c + 1] - h[r, c]) * u + (h[r + 1, c + 1] - h[r, c + 1]) * v
    second = h[r, c] + (h[r + 1, c + 1] - h[r + 1, c]) * u + (h[r + 1, c] - h[r, c]) * v
    return within & (point[:, 2] < np.where(u > v, first, second))


def test_the_camera_sees_out_of_the_ground_that_it_is_inside_of(field: Field, look: Look) -> None:
    model, data, _ = field
    eye = np.array([0.1, -0.1, -0.05], np.float32)
    ray = aimed(np.random.default_rng(3), RAYS, eye)
    near = look(eye, ray)
    # mj_ray, too, if what it meets from behind is passed through.
    expected, _ = cast(model, data, np.tile(eye, (RAYS, 1)), ray, fronts=True)
    hit = expected >= 0
    assert 20 < hit.sum() < RAYS - 50
    np.testing.assert_array_equal(near < MISS, hit)
    np.testing.assert_allclose(near[hit], expected[hit], atol=1e-5)


def test_no_ray_slips_through_along_grid_lines_and_diagonals(field: Field, look: Look) -> None:
    heights = field[2]
    x = np.linspace(-0.5, 0.5, COLUMNS)[1:-1]
    y = np.linspace(-0.4, 0.4, ROWS)[1:-1]
    corners = np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 2)
    eye = np.array([corners[30, 0], corners[30, 1], 1.0], np.float32)
    target = np.insert(corners, 2, heights.grid[1:-1, 1:-1].reshape(-1), axis=1)
    middle = 0.5 * (target[:, None] + target).reshape(-1, 3) * (1, 1, 0)
    ray = (np.concatenate([target, middle]) - eye).astype(np.float32)
    near = look(eye, ray)
    assert np.all(near < 1.01)
    assert np.all(near[: len(target)] <= 1 + 1e-5)


def test_flat_ground_is_met_where_a_box_would_be() -> None:
    flat = Heights(np.full((2, 2), 0.2, np.float32), (0.5, 0.4), 0.1)
    ray = np.array([[0, 0, -1], [0.4, 0.1, -1], [0.9, 0, -1], [0, 0, 1]], np.float32)
    near = hfield.ray_hfield((0.0, 0.0, 1.0), _triple(ray), flat, 0.0)
    np.testing.assert_allclose(near, [0.8, 0.8, MISS, MISS], rtol=1e-6)


def test_depth_has_the_gradient_of_the_ground_that_is_met(field: Field) -> None:
    model, data, heights = field
    eye, ray = np.array([0.12, 0.23, 1.2]), np.array([[-0.2, -0.33, -1.0], [0.05, -0.1, -1.1]])

    def depth(eye: jax.Array) -> jax.Array:
        """Returns the summed depth of all rays."""
        return hfield.ray_hfield(_triple(eye), _triple(ray.astype(np.float32)), heights, 0.0).sum()

    gradient = jax.grad(depth)(jnp.asarray(eye, jnp.float32))
    for axis, shift in enumerate(1e-5 * np.eye(3)):
        ends = [cast(model, data, np.tile(eye + s * shift, (2, 1)), ray)[0].sum() for s in (1, -1)]
        assert gradient[axis] == pytest.approx((ends[0] - ends[1]) / 2e-5, abs=2e-3)


def test_what_cannot_be_drawn_is_named(field: Field) -> None:
    model, _ = load(FIELD.format(3, 4))
    np.testing.assert_allclose(heights_of(model, 0).grid, np.zeros((3, 4)))
    model.hfield_data[5] = np.nan
    with pytest.raises(HeightsError, match="height field 'ground': row 1, column 1 is nan"):
        heights_of(model, 0)
    model.hfield_nrow[0] = 1
    with pytest.raises(HeightsError, match="'ground': 1 rows and 4 columns make no ground"):
        heights_of(model, 0)
