"""The depthwise convolution as sums of shifts, against XLA's grouped convolution."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mjx_s2r.learn.networks.encoders.depthwise import depthwise


@pytest.mark.parametrize(
    ("size", "stride", "pads"), [(3, 1, (1, 1)), (3, 2, (1, 1)), (3, 2, (0, 1)), (5, 2, (1, 2))]
)
def test_output_and_gradients_are_those_of_xla(size: int, stride: int, pads: tuple) -> None:
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.normal(size=(3, 8, 6, 5)), jnp.float32)
    kernel = jnp.asarray(rng.normal(size=(size, size, 5)), jnp.float32)

    def grouped(x: jax.Array, kernel: jax.Array) -> jax.Array:
        layout = ("NHWC", "HWIO", "NHWC")
        return jax.lax.conv_general_dilated(
            x,
            kernel[:, :, None],
            (stride, stride),
            [pads, pads],
            dimension_numbers=layout,
            feature_group_count=5,
        )

    expected, their_back = jax.vjp(grouped, x, kernel)
    ours, back = jax.vjp(lambda x, k: depthwise(x, k, stride, pads), x, kernel)
    np.testing.assert_allclose(ours, expected, atol=1e-5)
    dy = jnp.asarray(rng.normal(size=ours.shape), jnp.float32)
    for mine, theirs in zip(back(dy), their_back(dy), strict=True):
        np.testing.assert_allclose(mine, theirs, atol=1e-4)
