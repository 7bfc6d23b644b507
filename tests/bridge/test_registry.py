"""The real libraries, where they are installed; what is said where they are not."""

import sys
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mjx_s2r.bridge.registry import brax, playground, require
from mjx_s2r.bridge.wrapper import WrappedEnv, from_brax
from mjx_s2r.envs.registry import make_env
from mjx_s2r.params import ParamError, ParamSpace, scale
from mjx_s2r.sim.env import Env

MASS = ParamSpace((scale("pole", "model.body_mass", ("pole_1",), (0.5, 2)),))


@pytest.fixture(scope="module", autouse=True)
def quiet() -> object:
    """Lets the libraries warn as they like."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@pytest.mark.parametrize("name", ["brax:ant", "playground:CartpoleSwingup"])
def test_a_library_that_is_missing_is_named(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("brax", "brax.envs", "mujoco_playground"):
        monkeypatch.setitem(sys.modules, module, None)
    library = name.partition(":")[0]
    with pytest.raises(ParamError, match=rf"^{library} is needed .* pip install 'mjx_s2r\[peers\]"):
        make_env(name)


def test_a_name_without_a_library_is_a_task_of_ours() -> None:
    assert isinstance(make_env("cartpole"), Env)


@pytest.mark.slow
def test_playground_steps_as_by_itself_and_with_other_masses() -> None:
    pytest.importorskip("mujoco_playground")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        env = playground("CartpoleSwingup", MASS)
        assert isinstance(env, WrappedEnv) and env.episode_steps == 1000
        with pytest.raises(ParamError, match="did you mean 'CartpoleSwingup'"):
            playground("CartpoleSwingUp")
        action = jnp.array([0.5])
        ours, state = jax.jit(env.step), jax.jit(env.reset)(jax.random.key(4))
        theirs = jax.jit(env.env.step)
        inner = jax.jit(env.env.reset)(jax.random.key_data(jax.random.key(4)))
        heavy = jax.jit(env.reset)(
            jax.random.key(4), state.pipeline_state.episode_params.replace(xi=jnp.array([2.0]))
        )
        for _ in range(20):
            state, inner, heavy = ours(state, action), theirs(inner, action), ours(heavy, action)
    np.testing.assert_allclose(state.obs["state"], inner.obs, atol=1e-6)
    np.testing.assert_allclose(state.reward, inner.reward, atol=1e-6)
    assert np.abs(heavy.obs["state"] - state.obs["state"]).max() > 1e-3
    assert sum(env.keep) < len(env.keep) / 5


def test_brax_by_name() -> None:
    pytest.importorskip("brax")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        envs = require("brax.envs")
        with pytest.raises(ParamError, match="unknown environment of Brax 'antt'; did you mean"):
            brax("antt")
        env = brax("fast", episode_length=7)  # Brax's own stand-in for tests
        wrapped = envs.create("fast", auto_reset=False)
    assert env.episode_steps == 7
    state, push = env.reset(jax.random.key(0)), jnp.ones(env.action_size)
    for _ in range(2):  # 0.02 m/s more at each step of 0.02 s
        state = env.step(state, push)
    np.testing.assert_allclose(state.obs["state"], [0.02 * 0.02 + 0.02 * 0.04, 0.04], rtol=1e-6)
    with pytest.raises(ParamError, match="wrapped for a training"):
        from_brax(wrapped)
