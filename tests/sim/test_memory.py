"""A task's memory: it moves with the verdict, physics leaves it alone, and is free for others."""

from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
import pytest
from mujoco import mjx

from mjx_s2r.sim.env import Env, make
from mjx_s2r.sim.interface import auto_reset
from mjx_s2r.sim.task import InitialState, StepResult, TaskError
from tests.sim.toy import XML, Toy

B = 4
ROOM = XML.replace("<worldbody>", '<size nuserdata="2"/><worldbody>')


@dataclass(frozen=True)
class Adding:
    """The toy, which also remembers the sum of its actions and a number drawn at the start."""

    toy: Toy = field(default_factory=Toy)
    mj_model: mujoco.MjModel = field(default_factory=lambda: mujoco.MjModel.from_xml_string(ROOM))

    def __getattr__(self, name: str) -> Any:
        """Returns the toy's own part."""
        return getattr(object.__getattribute__(self, "toy"), name)

    def reset(self, *, key: jax.Array) -> InitialState:
        """Starts with a sum of zero and any number."""
        drawn = jnp.stack((jnp.float32(0), jax.random.uniform(key)))
        return self.toy.reset(key=key).replace(memory=drawn)

    def privileged(self, data: mjx.Data) -> jax.Array:
        """The memory: (2,)."""
        return data.userdata

    def reward(self, data: mjx.Data, action: jax.Array) -> StepResult:
        """Adds the action; the reward is the sum before."""
        verdict = self.toy.reward(data, action)
        memory = data.userdata.at[0].add(action[0])
        return verdict.replace(reward=data.userdata[0], memory=memory)


@pytest.fixture(scope="module")
def adding() -> Env:
    """The environment of the adding task."""
    return make(Adding())


@pytest.mark.slow
def test_memory_moves_with_the_verdict_and_starts_anew(adding: Env) -> None:
    reset, step = jax.jit(jax.vmap(adding.reset)), jax.jit(jax.vmap(adding.step))
    start = state = reset(jax.random.split(jax.random.key(0), B))
    own = slice(adding.task.contract.size, adding.task.contract.size + 2)
    drawn = np.asarray(start.obs["privileged"][:, own])
    assert not drawn[:, 0].any() and len(set(drawn[:, 1])) == B
    for k in range(1, 4):
        state = step(state, jnp.full((B, 1), 0.25))
        np.testing.assert_allclose(state.reward, 0.25 * (k - 1))
        seen = np.asarray(state.obs["privileged"][:, own])
        np.testing.assert_allclose(seen[:, 0], 0.25 * k)  # the observation has the new memory
        np.testing.assert_array_equal(seen[:, 1], drawn[:, 1])
    kept = jax.vmap(adding.view)(state).userdata
    np.testing.assert_array_equal(kept, state.pipeline_state.physics_state.memory)
    over = state.replace(done=jnp.array((1.0, 0.0, 0.0, 1.0)))
    memory = auto_reset(over, start).pipeline_state.physics_state.memory
    np.testing.assert_allclose(memory[:, 0], (0.0, 0.75, 0.75, 0.0))


def test_a_memory_without_room_is_refused() -> None:
    with pytest.raises(TaskError, match=r'room for 0 numbers; write <size nuserdata="2"/>'):
        make(Adding(mj_model=mujoco.MjModel.from_xml_string(XML)))


def test_a_task_without_memory_carries_none() -> None:
    state = jax.eval_shape(lambda k: make(Toy()).reset(k), jax.random.key(0))
    assert state.pipeline_state.physics_state.memory.shape == (0,)
