"""Running moments, merged batch by batch, against numpy over everything at once."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mjx_s2r.learn import normalizer


def seen(*batches: np.ndarray) -> normalizer.Normalizer:
    """Returns the normalizer that has seen the ``batches``."""
    state = normalizer.init(batches[0].shape[-1])
    for batch in batches:
        state = normalizer.update(state, jnp.asarray(batch))
    return state


def test_merged_batches_equal_one() -> None:
    rng = np.random.default_rng(0)
    sizes = [(5, 3), (1, 3), (4, 7, 3), (200, 3)]
    batches = [rng.normal((1, -50, 3), (2, 0.5, 9), size) for size in sizes]
    flat = np.concatenate([b.reshape(-1, 3) for b in batches])
    state = seen(*batches)
    assert float(state.count) == len(flat)
    np.testing.assert_allclose(state.mean, flat.mean(0), rtol=1e-5)
    np.testing.assert_allclose(normalizer.std(state), flat.std(0), rtol=1e-3)


def test_a_large_offset_does_not_eat_the_spread() -> None:
    """A naive sum of squares would lose it: 1000^2 has no digits left for 0.25 in float32."""
    rng = np.random.default_rng(1)
    batches = [rng.normal(1000.0, 0.5, (500, 1)) for _ in range(20)]
    np.testing.assert_allclose(normalizer.std(seen(*batches)), np.std(batches), rtol=0.02)


def test_what_has_seen_nothing_passes_through() -> None:
    x = jnp.array([[0.5, -3.0]])
    np.testing.assert_array_equal(normalizer.apply(normalizer.init(2), x), x)


def test_outputs_are_centred_scaled_and_cut_off() -> None:
    """Mean 2, standard deviation 2: 4 becomes 1, 100 becomes 5."""
    state = seen(np.array([[0.0], [4.0]]))
    out = normalizer.apply(state, jnp.array([[4.0], [100.0], [-100.0]]))
    np.testing.assert_allclose(out, [[1], [5], [-5]])


def test_a_constant_does_not_explode_when_it_first_moves() -> None:
    """The spread counts as at least 0.1: a step of 0.05 from a constant is 0.5."""
    state = seen(np.full((100, 1), 0.7))
    np.testing.assert_allclose(normalizer.apply(state, jnp.array([[0.75]])), [[0.5]], rtol=1e-4)


def test_one_burst_does_not_blind_a_column() -> None:
    """A reading of 1e8 counts as 20 deviations; the mean and the deviation hardly feel it."""
    rng = np.random.default_rng(2)
    batches = [rng.normal(3.0, 2.0, (8192, 2)) for _ in range(3)]
    batches[1][17, 0] = 1e8
    state, near = seen(*batches), batches[1].copy()
    near[17, 0] = batches[0][:, 0].mean() + 20 * batches[0][:, 0].std()
    flat = np.concatenate([batches[0], near, batches[2]])
    np.testing.assert_allclose(normalizer.std(state), flat.std(0), rtol=1e-3)
    np.testing.assert_allclose(state.mean, flat.mean(0), rtol=1e-3)
    assert float(normalizer.std(state)[0]) < 2.1


@pytest.mark.parametrize("scale", [10.0, 1000.0])
def test_a_change_of_scale_comes_in(scale: float) -> None:
    """Twenty batches of deviation 1, then ten of another; unbounded moments are the oracle."""
    rng = np.random.default_rng(3)
    batches = [rng.normal(0.0, 1.0 if i < 20 else scale, (500, 1)) for i in range(30)]
    found = float(normalizer.std(seen(*batches))[0])
    assert found == pytest.approx(np.std(batches), rel=0.3)


def test_update_keeps_its_types_and_runs_in_jit() -> None:
    state = normalizer.init(2)
    after = jax.jit(normalizer.update)(state, jnp.ones((3, 2)))
    assert jax.tree.map(jnp.shape, after) == jax.tree.map(jnp.shape, state)
    assert all(x.dtype == jnp.float32 for x in jax.tree.leaves(after))
