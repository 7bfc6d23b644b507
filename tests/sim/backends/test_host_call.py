"""The call out of a compiled program: once for all worlds, with the arrays that it holds."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mjx_s2r.sim.backends.host_call import call_on_host


def test_it_is_one_call_for_all_worlds() -> None:
    """Nested maps, an argument that is not mapped, and a loop give what jax itself computes."""
    shapes = []

    def double(given: dict[str, np.ndarray], add: np.ndarray) -> np.ndarray:
        assert type(given["x"]) is np.ndarray and type(add) is np.ndarray
        shapes.append(given["x"].shape)
        return np.asarray(2 * given["x"] + add[..., None], np.float32)

    def one(x: jax.Array, add: jax.Array) -> jax.Array:
        return call_on_host(double, jax.ShapeDtypeStruct(x.shape, jnp.float32), {"x": x}, add)

    def three(x: jax.Array, add: jax.Array) -> jax.Array:
        return jax.lax.fori_loop(0, 3, lambda _, x: one(x, add), x)

    x, add = jnp.arange(24.0).reshape(2, 4, 3), jnp.arange(2.0)
    found = jax.jit(jax.vmap(jax.vmap(three, (0, None))))(x, add)
    np.testing.assert_array_equal(found, 8 * x + 7 * add[:, None, None])
    assert shapes == [(2, 4, 3)] * 3
    np.testing.assert_array_equal(one(x[0, 1], add[1]), 2 * x[0, 1] + 1)


def test_a_wrong_shape_is_told() -> None:
    like = jax.ShapeDtypeStruct((3,), jnp.float32)
    with pytest.raises(Exception, match="Incorrect output shape"):
        jax.block_until_ready(
            jax.jit(lambda x: call_on_host(lambda x: x[:2], like, x))(jnp.ones(3))
        )
