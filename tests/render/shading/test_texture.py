"""Texture lookup against plain numpy indexing, one pixel at a time."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mjx_s2r.render.looks import textures
from mjx_s2r.render.shading import texture

SIZE = 16


def lookup(
    pool: jax.Array,
    index: jax.Array,
    u: jax.Array,
    v: jax.Array,
    footprint: jax.Array | None = None,
) -> texture.Triple:
    """Returns what a pixel's place in the pool shows (P,), per channel."""
    places = texture.texel_places(pool, index, u, v, footprint)
    return texture.unpack_texels(texture.read_texels(pool, places))


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    """Three textures of random texels (3, R, R, 3)."""
    return np.random.default_rng(0).integers(0, 256, (3, SIZE, SIZE, 3), np.uint8)


def test_lookup_is_numpy_indexing_with_wrap(images: np.ndarray) -> None:
    rng = np.random.default_rng(1)
    index, u, v = rng.integers(0, 3, 200), rng.uniform(-3, 3, 200), rng.uniform(-3, 3, 200)
    u[:3], v[:3] = [-1e-9, 0.0, 1.0], [0.0, -1e-9, 5e8]  # a share that rounds to 1; far away
    u, v = u.astype(np.float32), v.astype(np.float32)
    out = lookup(texture.pack_pool(images), jnp.asarray(index), jnp.asarray(u), v)
    columns, rows = (np.floor(x.astype(float) * SIZE).astype(int) % SIZE for x in (u, v))
    columns[0], rows[1] = 0, 0  # float32 has no share between the last texel and 1
    expected = images[index, rows, columns] / 255
    np.testing.assert_allclose(np.stack(out, axis=-1), expected, atol=1e-6)


def test_no_texture_is_white(images: np.ndarray) -> None:
    out = lookup(texture.pack_pool(images), jnp.array([-1]), jnp.zeros(1), jnp.zeros(1))
    assert [float(c[0]) for c in out] == [1, 1, 1]


@pytest.mark.parametrize(("footprint", "level"), [(0.5, 0), (1.3, 0), (1.6, 1), (4, 2), (1e9, 4)])
def test_wide_pixels_read_block_means(images: np.ndarray, footprint: float, level: int) -> None:
    """A pixel of ``footprint`` texels; a copy of level l is the mean over 2^l by 2^l texels."""
    side = SIZE >> level
    blocks = images.reshape(3, side, 2**level, side, 2**level, 3).mean(axis=(2, 4))
    rows, columns = (a.ravel() for a in np.mgrid[:side, :side])
    u, v = (jnp.asarray((a + 0.5) / side, jnp.float32) for a in (columns, rows))
    index = jnp.full(side * side, 2)
    wide = jnp.full(side * side, footprint / SIZE)
    out = lookup(texture.pack_pool(images), index, u, v, wide)
    np.testing.assert_allclose(np.stack(out, axis=-1) * 255, blocks[2, rows, columns], atol=0.51)


def test_pool_is_shared_by_the_worlds_and_read_by_one_gather(images: np.ndarray) -> None:
    packed = jnp.asarray(texture.pack_pool(images))
    index, u = jnp.array([[0, 1], [2, -1]]), jnp.array([[0.1, 0.6], [0.3, 0.9]])
    look = jax.vmap(lookup, in_axes=(None, 0, 0, 0, 0))
    both = np.stack(look(packed, index, u, u, u))
    each = [np.stack(lookup(packed, i, x, x, x)) for i, x in zip(index, u, strict=True)]
    np.testing.assert_array_equal(both, np.stack(each, axis=1))
    assert str(jax.make_jaxpr(look)(packed, index, u, u, u)).count(" gather[") == 1


def test_a_far_checker_is_grey_and_does_not_flicker() -> None:
    packed = texture.pack_pool(textures.textures(["checker"], 64))
    u = jnp.asarray(np.random.default_rng(0).uniform(0, 99, 500), jnp.float32)
    index, wide = jnp.zeros(500, jnp.int32), jnp.full(500, 0.5)  # two squares in a pixel
    near, far = (np.asarray(lookup(packed, index, u, u, f)[0]) for f in (None, wide))
    assert len(np.unique(near)) == 1  # the diagonal of a checker
    assert near.std() == 0
    off = lookup(packed, index, u, u + 0.3, None)[0]
    assert np.std(off) > 0.1
    np.testing.assert_allclose(far, 0.75, atol=0.01)


def test_triplanar_drops_the_axis_that_the_normal_is_nearest_to() -> None:
    rng = np.random.default_rng(2)
    point, normal = rng.normal(size=(2, 50, 3)).astype(np.float32)
    u, v = texture.triplanar(tuple(point.T), tuple(normal.T), (jnp.float32(0.5), jnp.float32(2.0)))
    for i, (p, n) in enumerate(zip(point, normal, strict=True)):
        across = {0: (1, 2), 1: (0, 2), 2: (0, 1)}[int(np.argmax(np.abs(n)))]
        np.testing.assert_allclose((u[i], v[i]), p[list(across)] / (0.5, 2.0), rtol=1e-6)


def test_footprint_is_the_length_on_the_surface_between_two_rays() -> None:
    """Rays one pixel apart hit a plane, tilted by 60 deg, at places 1 / cos 60 deg as far apart."""
    pixel, depth, tilt = 1e-4, 2.0, np.deg2rad(60)
    normal = np.array([np.sin(tilt), 0, -np.cos(tilt)])
    rays = np.array([[-pixel / 2, 0, 1], [pixel / 2, 0, 1]])
    hits = rays * (depth * normal[2] / (rays @ normal))[:, None]
    length = np.linalg.norm(hits[1] - hits[0])
    out = texture.footprint_of(*(jnp.float32(x) for x in (depth, np.cos(tilt), pixel, 0.25)))
    assert float(out) == pytest.approx(length / 0.25, rel=1e-3)


@pytest.mark.parametrize(
    "bad", [np.zeros((1, 12, 12, 3), np.uint8), np.zeros((1, 8, 8, 3)), np.zeros((8, 8, 3), "u1")]
)
def test_wrong_pools_are_refused(bad: np.ndarray) -> None:
    with pytest.raises(ValueError, match="R a power of two"):
        texture.pack_pool(bad)
