"""One observation that is no number costs one world, and not the normalizers and the weights."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from mujoco import mjx

from mjx_s2r.bridge.wrapper import from_brax
from mjx_s2r.learn.ppo.config import PPOConfig
from mjx_s2r.sim.backends.physics_config import PhysicsConfig
from mjx_s2r.sim.env import make
from mjx_s2r.sim.interface import Environment
from tests.bridge.fakes import Line
from tests.learn.probes import ppo_trainer
from tests.sim.toy import Toy

SMALL = PPOConfig(
    num_envs=16,
    num_steps=8,
    num_minibatches=2,
    num_epochs=1,
    actor_obs="state",
    actor_hidden=(8,),
    critic_hidden=(8,),
)


class Rooted(Toy):
    """Some readings are no numbers left of the middle, where every other world begins."""

    def signals(self, data: mjx.Data) -> dict[str, jax.Array]:
        """Reads the root of the place."""
        return {"position": jnp.sqrt(data.qpos), "speed": data.qvel}

    def privileged(self, data: mjx.Data) -> jax.Array:
        """Knows its logarithm."""
        return jnp.log(data.qpos)


class Rough(Line):
    """An environment of another library that sees no number left of zero."""

    def see(self, point: Any) -> Any:
        """Returns root and place."""
        return jnp.concatenate((jnp.sqrt(point.q), point.qd))


@pytest.mark.parametrize(
    "which", ["ours", pytest.param("another library's", marks=pytest.mark.slow)]
)
def test_worlds_are_lost_and_learning_goes_on(which: str) -> None:
    env: Environment = (
        make(Rooted(), PhysicsConfig("c"))
        if which == "ours"
        else from_brax(Rough(), episode_length=5)
    )
    trainer = ppo_trainer(env, SMALL)
    state, lost = trainer.init(jax.random.key(0)), 0.0
    for _ in range(3):
        state, metrics = trainer.iterate(state)
        lost += float(metrics.episodes.nan_envs)
    assert lost > 10
    for leaf in jax.tree.leaves(state.learner):
        assert np.isfinite(np.asarray(leaf, float)).all()
