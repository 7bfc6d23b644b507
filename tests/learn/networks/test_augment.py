"""Random shifts: every picture is a window of itself with replicated edges."""

import jax
import jax.numpy as jnp
import numpy as np

from mjx_s2r.learn.networks.augment import random_shift, to_float


def test_every_shift_is_a_window_of_the_padded_picture(key: jax.Array) -> None:
    rng, pixels = np.random.default_rng(0), 2
    images = rng.normal(size=(64, 6, 8, 3)).astype(np.float32)
    out = np.asarray(random_shift(jnp.asarray(images), pixels, key=key))
    assert out.shape == images.shape
    found = set()
    for image, shifted in zip(images, out, strict=True):
        padded = np.pad(image, ((pixels, pixels), (pixels, pixels), (0, 0)), mode="edge")
        corners = [
            (i, j)
            for i in range(2 * pixels + 1)
            for j in range(2 * pixels + 1)
            if np.array_equal(padded[i : i + 6, j : j + 8], shifted)
        ]
        assert len(corners) == 1
        found |= set(corners)
    rows, columns = (set(x) for x in zip(*found, strict=True))
    assert rows == columns == set(range(5))  # both ends are reached


def test_no_shift_is_the_picture_itself(key: jax.Array) -> None:
    images = jnp.arange(12.0).reshape(1, 2, 2, 3)
    assert random_shift(images, 0, key=key) is images


def test_bytes_become_numbers_around_zero() -> None:
    out = to_float(jnp.array([[[[0, 51, 255]]]], jnp.uint8))
    assert out.dtype == jnp.float32
    np.testing.assert_allclose(out, [[[[-0.5, -0.3, 0.5]]]], atol=1e-6)
