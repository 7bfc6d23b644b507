"""An iteration in parts does what it does in one, and can be part of another program."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mjx_s2r.learn.compiled_step import CompiledStep
from mjx_s2r.runtime import devices

OPTIONS = {"xla_llvm_disable_expensive_passes": False}


def toy() -> CompiledStep:
    """Returns an iteration whose state holds a number and worlds that are moved by it."""
    prepare = jax.jit(lambda state: jnp.sin(state["x"]))

    def act(state: dict[str, Any], wave: jax.Array) -> tuple[dict[str, Any], jax.Array]:
        worlds = state["worlds"] + wave
        return {"x": state["x"]}, worlds

    def learn(state: dict[str, Any], worlds: jax.Array) -> tuple[dict[str, Any], jax.Array]:
        return {"x": state["x"] + worlds.mean(), "worlds": worlds}, worlds.sum()

    return CompiledStep(prepare, act, learn)


def begin() -> dict[str, Any]:
    """Returns a first state; each call its own, since iterations take it over."""
    return {"x": jnp.float32(0.3), "worlds": jnp.arange(4.0)}


def expected(state: dict[str, Any]) -> tuple[float, np.ndarray]:
    """Returns what one iteration makes of it, by hand."""
    worlds = np.asarray(state["worlds"]) + np.sin(float(state["x"]))
    return float(state["x"]) + float(worlds.mean()), worlds


@pytest.mark.parametrize("options", [None, OPTIONS])
def test_one_program_or_two_give_the_same(monkeypatch: Any, options: dict | None) -> None:
    monkeypatch.setattr(devices, "gradient_compiler_options", lambda: options)
    run = toy()
    x, worlds = expected(begin())
    state, total = run(begin())
    np.testing.assert_allclose(state["x"], x, rtol=1e-6)
    np.testing.assert_allclose(state["worlds"], worlds, rtol=1e-6)
    np.testing.assert_allclose(total, worlds.sum(), rtol=1e-6)
    assert ("_whole" in vars(run)) == (options is None)
    assert ("_update" in vars(run)) == (options is not None)
    own, held = run.memory(begin())
    assert own >= 5 * 4 and held >= own


def test_within_another_program_it_is_part_of_that(monkeypatch: Any) -> None:
    """Its own compiler options would be refused there."""
    monkeypatch.setattr(devices, "gradient_compiler_options", lambda: OPTIONS)
    run = toy()
    states = jax.tree.map(lambda x: jnp.stack((x, 2 * x)), begin())
    x, worlds = expected(jax.tree.map(lambda leaf: leaf[1], states))
    after, _ = jax.jit(jax.vmap(run))(states)
    np.testing.assert_allclose(after["x"][1], x, rtol=1e-6)
    np.testing.assert_allclose(after["worlds"][1], worlds, rtol=1e-6)
    assert "_update" not in vars(run)
