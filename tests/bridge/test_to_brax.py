"""Our environments behind Brax's interface: its wrappers end, renew and count them rightly."""

import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of Brax's own imports
    pytest.importorskip("brax")
    from brax.envs.wrappers import training

from mjx_s2r.bridge.to_brax import to_brax
from mjx_s2r.params import Param, ParamError, ParamSpace
from tests.bridge.fakes import Gain

SPACE = ParamSpace((Param("gain", "world.gain", initial=(0.5, 2.0), limits=(0.5, 2.0)),))
B = 16


def wrapped(length: int) -> object:
    """Returns B worlds as Brax's trainers wrap them."""
    return training.wrap(to_brax(Gain(SPACE), dt=0.1), length)


def test_it_has_what_brax_asks_for() -> None:
    env = to_brax(Gain(SPACE), dt=0.1)
    assert env.observation_size == {"state": (1,), "privileged_state": (2,)}
    assert to_brax(Gain(SPACE), dt=0.1, asymmetric=False).observation_size == 1
    assert (env.action_size, env.dt, env.backend, env.episode_length) == (1, 0.1, "mjx", 5)
    assert env.unwrapped is env
    with pytest.raises(ParamError, match="Gain does not say how long its step is"):
        to_brax(Gain(SPACE))


def test_worlds_draw_their_own_parameters() -> None:
    state = wrapped(5).reset(jax.random.split(jax.random.PRNGKey(0), B))
    gain = np.asarray(state.obs["privileged_state"][:, 1])
    assert len(np.unique(gain)) == B and gain.min() >= 0.5 and gain.max() <= 2
    assert gain.min() < 0.8 and gain.max() > 1.5


def test_brax_truncates_and_we_terminate() -> None:
    env = wrapped(5)
    step = jax.jit(env.step)
    start = env.reset(jax.random.split(jax.random.PRNGKey(1), 2))
    gain = start.obs["privileged_state"][:, 1]
    states, state = [], start
    for n in range(5):  # world 0 stays, world 1 ends at the third step
        state = step(state, jnp.stack((0 * gain[0], (0.45 / gain[1]) * (n < 4)))[:, None])
        states.append(state)
    assert [s.done.tolist() for s in states] == [[0, 0]] * 2 + [[0, 1]] + [[0, 0]] + [[1, 0]]
    assert states[2].info["truncation"].tolist() == [0, 0]
    assert states[4].info["truncation"].tolist() == [1, 0]
    # back at its first place, with its own parameters
    np.testing.assert_array_equal(states[2].obs["state"][1], start.obs["state"][1])
    np.testing.assert_array_equal(states[2].obs["privileged_state"][1, 1], gain[1])
    # success counts once in an episode and again in the next
    assert [float(s.metrics["success"][1]) for s in states] == [0, 1, 0, 0, 0]
    assert states[2].info["episode_metrics"]["success"].tolist() == [0, 1]
    again = step(states[4], jnp.array([[0.0], [0.45 / float(gain[1])]]))
    assert again.metrics["success"].tolist() == [0, 1]


@pytest.mark.slow
@pytest.mark.skipif(jax.__version_info__ >= (0, 10), reason="brax needs jax < 0.10")
def test_brax_ppo_trains_it() -> None:
    from brax.training.agents.ppo import train as ppo

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        env = to_brax(Gain(SPACE), dt=0.1, asymmetric=False)
        _, params, metrics = ppo.train(
            env,
            num_timesteps=4096,
            episode_length=env.episode_length,
            num_envs=16,
            unroll_length=4,
            batch_size=16,
            num_minibatches=2,
            num_evals=2,
            num_eval_envs=16,
            max_devices_per_host=1,
        )
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(params))
    assert 0 <= metrics["eval/episode_success"] <= 1
