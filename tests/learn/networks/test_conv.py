"""The convolution with its own gradient, against the gradient that XLA derives."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mjx_s2r.learn.networks.conv import Conv, conv


def plain(x: jax.Array, kernel: jax.Array, stride: int, pad: int) -> jax.Array:
    """Returns the convolution with jax's own gradient."""
    layout = ("NHWC", "HWIO", "NHWC")
    edges = [(pad, pad)] * 2
    return jax.lax.conv_general_dilated(x, kernel, (stride,) * 2, edges, dimension_numbers=layout)


@pytest.mark.parametrize(
    ("shape", "size", "stride", "pad"),
    [
        ((2, 9, 7, 3), 3, 1, 1),
        ((2, 6, 6, 2), 3, 1, 0),
        ((2, 6, 5, 2), 3, 1, 3),  # padded by more than the kernel reaches
        ((2, 16, 12, 3), 8, 4, 2),
        ((1, 11, 10, 2), 3, 2, 1),  # rows left over at the lower edge
        ((1, 5, 5, 1), 1, 1, 0),
        ((2, 9, 8, 12), 2, 1, 0),  # fewer features than channels
        ((2, 6, 7, 12), 3, 1, 1),
    ],
)
def test_output_and_gradients_are_those_of_xla(
    shape: tuple, size: int, stride: int, pad: int
) -> None:
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.normal(size=shape), jnp.float32)
    kernel = jnp.asarray(rng.normal(size=(size, size, shape[-1], 4)), jnp.float32)
    ours, back = jax.vjp(lambda x, k: conv(x, k, stride, pad), x, kernel)
    theirs, their_back = jax.vjp(lambda x, k: plain(x, k, stride, pad), x, kernel)
    np.testing.assert_allclose(ours, theirs, atol=1e-5)
    dy = jnp.asarray(rng.normal(size=ours.shape), jnp.float32)
    for mine, expected in zip(back(dy), their_back(dy), strict=True):
        np.testing.assert_allclose(mine, expected, atol=1e-4)


def test_the_layer_adds_a_bias(key: jax.Array) -> None:
    layer = Conv(features=5, size=3, stride=2, pad=1)
    params = layer.init(key, jnp.zeros((2, 8, 8, 3)))
    assert params["params"]["kernel"].shape == (3, 3, 3, 5)
    params = {"params": params["params"] | {"bias": jnp.arange(5.0)}}
    out = layer.apply(params, jnp.zeros((2, 8, 8, 3)))
    np.testing.assert_array_equal(out, np.broadcast_to(np.arange(5.0), (2, 4, 4, 5)))
