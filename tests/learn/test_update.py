"""Minibatches are whole worlds, each once per epoch; values are clipped as written."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mjx_s2r.learn.settings import PpoConfig
from mjx_s2r.learn.swish import swish
from mjx_s2r.learn.update import Batch, _pick, _squared_error


@pytest.mark.parametrize(
    ("worlds", "minibatches", "groups"), [(512, 4, 64), (512, 8, 64), (96, 4, 8), (12, 4, 1)]
)
def test_groups_divide_into_minibatches(worlds: int, minibatches: int, groups: int) -> None:
    config = PpoConfig(worlds=worlds, minibatches=minibatches)
    assert config.groups == groups
    assert worlds % (groups * minibatches) == 0


def test_a_minibatch_takes_the_chosen_worlds_of_each_group_whole() -> None:
    """Two groups of four worlds; world b at time t is 10 t + b."""
    x = 10 * jnp.arange(3)[:, None] + jnp.arange(8)
    part = _pick(x, chosen=jnp.array([[3, 1], [0, 2]]))
    np.testing.assert_array_equal(part, 10 * np.arange(3)[:, None] + np.array((3, 1, 4, 6)))


def test_clipped_values_earn_nothing_beyond_the_clip() -> None:
    """Was 0, should be 1, may move 0.2: moved to 0.5, the error counts as if it were at 0.2."""
    batch = Batch(
        *[jnp.zeros(())] * 2, (), *[jnp.zeros(())] * 4, jnp.ones(()), *[jnp.zeros(())] * 3
    )
    free = PpoConfig()
    assert float(_squared_error(free, jnp.float32(0.5), batch)) == pytest.approx(0.25)
    clipped = replace(free, clip_value=0.2)
    assert float(_squared_error(clipped, jnp.float32(0.5), batch)) == pytest.approx(0.64)
    assert float(_squared_error(clipped, jnp.float32(0.1), batch)) == pytest.approx(0.81)
    assert float(_squared_error(clipped, jnp.float32(-0.5), batch)) == pytest.approx(2.25)


def test_swish_is_swish(key: jax.Array) -> None:
    """Values and derivatives against jax's own; the tails are exact, too."""
    x = jnp.concatenate((5 * jax.random.normal(key, (100,)), jnp.array((-80.0, 0.0, 80.0))))
    np.testing.assert_allclose(swish(x), jax.nn.swish(x), atol=2e-6)
    ours, theirs = (jax.vmap(jax.grad(f))(x) for f in (swish, jax.nn.swish))
    np.testing.assert_allclose(ours, theirs, atol=2e-6)
