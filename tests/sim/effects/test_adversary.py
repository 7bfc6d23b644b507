"""The random network: new for every episode, frozen within it, and mixed in by its share."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mjx_s2r.sim.effects import adversary

JOINTS, SIGNALS, NETWORKS = 3, 7, 400


@pytest.fixture(scope="module")
def answers() -> np.ndarray:
    """Returns (NETWORKS, 50, J) what each network answers to the same 50 observations."""
    obs = jax.random.normal(jax.random.key(1), (50, SIGNALS))
    keys = jax.random.split(jax.random.key(2), NETWORKS)
    networks = jax.vmap(lambda k: adversary.sample(JOINTS, key=k))(keys)
    each = jax.vmap(adversary.forward, (None, 0))
    return np.asarray(jax.jit(jax.vmap(each, (0, None)))(networks, obs))


def test_a_network_is_a_function_and_another_key_is_another_one() -> None:
    obs = jnp.linspace(-1, 1, SIGNALS)
    one, same, other = (
        adversary.forward(adversary.sample(JOINTS, key=jax.random.key(k)), obs) for k in (0, 0, 1)
    )
    np.testing.assert_array_equal(one, same)
    assert np.abs(one - other).max() > 0.05


def test_networks_use_the_whole_range_and_favour_no_side(answers: np.ndarray) -> None:
    """60,000 outputs; networks are independent, so the mean is known to 1 / sqrt(400) = 0.05."""
    assert np.abs(answers).max() <= 1.0
    assert abs(answers.mean()) < 0.1
    assert (np.abs(answers) > 0.8).mean() > 0.3
    assert answers.std(1).mean() > 0.3  # it depends on what it sees
    assert answers.mean(1).std() > 0.2  # and on which network it is
    assert abs(np.corrcoef(answers[..., 0].ravel(), answers[..., 1].ravel())[0, 1]) < 0.1


def test_mixing_is_the_formula_of_the_paper() -> None:
    mixed = adversary.mix(jnp.float32(0.25), jnp.array((1.0, -1.0)), jnp.array((-1.0, 0.6)))
    np.testing.assert_allclose(mixed, (0.75 - 0.25, -0.75 + 0.15), rtol=1e-6)
