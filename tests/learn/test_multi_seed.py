"""Seeds side by side are the trainings that each gives alone."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mjx_s2r.learn.multi_seed import Seeds, take_seed
from mjx_s2r.learn.ppo.config import PPOConfig
from tests.learn.probes import Cue, ppo_trainer

CONFIG = PPOConfig(
    num_envs=8, num_steps=6, num_minibatches=2, actor_hidden=(8,), critic_hidden=(8,)
)


@pytest.mark.slow
def test_each_seed_is_the_training_that_it_gives_alone() -> None:
    trainer = ppo_trainer(Cue(), CONFIG)
    seeds = Seeds(trainer)
    keys = jax.vmap(jax.random.key)(jnp.arange(3))
    states = seeds.init(keys)
    for _ in range(3):
        states, metrics = seeds.iterate(states)
    assert metrics.episodes.episodes.shape == (3,)
    alone = trainer.init(jax.random.key(1))
    for _ in range(3):
        alone, _ = trainer.iterate(alone)
    mine = take_seed(states, 1)
    for a, b in zip(*(jax.tree.leaves(x.learner.actor) for x in (mine, alone)), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)
    parts = [take_seed(states, i) for i in range(3)]
    again = jax.tree.map(lambda *leaves: jnp.stack(leaves), *parts)
    assert jax.tree.structure(again) == jax.tree.structure(states)
    for a, b in zip(*(jax.tree.leaves(x.learner.actor) for x in (again, states)), strict=True):
        np.testing.assert_array_equal(a, b)
