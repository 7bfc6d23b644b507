"""A gradient taken in parts is the gradient of the whole."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mjx_s2r.learn import minibatches
from mjx_s2r.learn.distill.config import DistillConfig


def squares(
    params: jax.Array, batch: dict[str, jax.Array], key: jax.Array
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """Returns the mean square of a linear fit's errors, and the mean of what it was given."""
    error = jnp.einsum("tni,i->tn", batch["x"], params) - batch["y"]
    return jnp.mean(error**2), {"x": batch["x"].mean()}


@pytest.mark.parametrize("count", [1, 2, 6, 12])
def test_parts_have_the_gradient_of_the_whole(count: int) -> None:
    """The oracle is the closed form: 2 / (T N) X^T (X w - y)."""
    keys = jax.random.split(jax.random.key(0), 3)
    x, y = jax.random.normal(keys[0], (3, 12, 4)), jax.random.normal(keys[1], (3, 12))
    w = jnp.arange(4.0)
    batch = {"x": x, "y": y}
    gradient, figures = minibatches.mean_gradient(squares, w, batch, keys[2], count)
    flat, told = np.asarray(x, np.float64).reshape(-1, 4), np.asarray(y, np.float64).ravel()
    expected = 2 / len(flat) * flat.T @ (flat @ np.arange(4.0) - told)
    np.testing.assert_allclose(gradient, expected, rtol=1e-4, atol=1e-5)
    assert float(figures["x"]) == pytest.approx(flat.mean(), abs=1e-6)


def test_every_part_draws_for_itself() -> None:
    def noisy(params: jax.Array, batch: jax.Array, key: jax.Array) -> tuple[jax.Array, jax.Array]:
        del batch
        return params.sum(), jax.random.normal(key)

    key = jax.random.key(7)
    _, mean = minibatches.mean_gradient(noisy, jnp.zeros(1), jnp.zeros((1, 4)), key, 4)
    drawn = [float(jax.random.normal(k)) for k in jax.random.split(key, 4)]
    assert len(set(drawn)) == 4
    assert float(mean) == pytest.approx(np.mean(drawn), abs=1e-6)


@pytest.mark.parametrize(
    ("items", "microbatch", "count"),
    [(128, 16, 8), (128, 0, 1), (128, 500, 1), (96, 36, 3), (7, 2, 7), (12, 5, 3)],
)
def test_parts_are_of_one_size_and_no_larger_than_asked(
    items: int, microbatch: int, count: int
) -> None:
    assert minibatches.microbatches(items, microbatch) == count


def test_a_student_that_remembers_takes_a_minibatch_whole() -> None:
    small = {"num_envs": 32, "num_steps": 4, "num_minibatches": 2, "microbatch": 8}
    assert DistillConfig(**small).microbatches == 8
    assert DistillConfig(**small, rnn_hidden=16).microbatches == 1
    with pytest.raises(ValueError, match=r"distill\.microbatch -1"):
        DistillConfig(microbatch=-1)
