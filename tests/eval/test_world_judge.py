"""The judge of policies in chosen worlds: the scores are those of the worlds, and repeatable."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mjx_s2r.api.teacher import TeacherConfig, teacher_trainer
from mjx_s2r.eval.world_judge import judge_worlds
from mjx_s2r.learn.ppo.config import PPOConfig
from mjx_s2r.learn.trainer import Trainer, TrainState
from mjx_s2r.params import ParamError
from mjx_s2r.sim.backends.physics_config import PhysicsConfig
from tests.learn.untrained import untrained_state

SMALL = PPOConfig(num_envs=4, num_steps=2, num_minibatches=2, actor_hidden=(4,), critic_hidden=(4,))


@pytest.fixture(scope="module")
def trained() -> tuple[Trainer, TrainState]:
    """Returns a trainer of the toy and a fresh policy."""
    config = TeacherConfig(task="tests.sim.toy:Toy", physics=PhysicsConfig("c"), ppo=SMALL)
    trainer = teacher_trainer(config)
    return trainer, untrained_state(trainer, jax.random.key(0))


@pytest.mark.slow
def test_scores_are_those_of_the_worlds(trained: tuple[Trainer, TrainState]) -> None:
    trainer, state = trained
    nominal = trainer.env.space.nominal
    mass = trainer.env.space.index("mass")
    xi = np.tile(nominal, (3, 1))
    xi[1, mass] = 4.0
    judge = partial(judge_worlds, trainer, state, key=jax.random.key(1))
    scores = judge(xi, 2)
    assert scores.success.shape == scores.episode_return.shape == scores.length.shape == (3, 2)
    assert not np.allclose(scores.episode_return[1], scores.episode_return[0], rtol=1e-4)
    again = judge(xi, 2)
    np.testing.assert_array_equal(scores.episode_return, again.episode_return)
    figures = scores.performance()
    assert (figures.episodes, figures.groups) == (6, 3)
    assert figures.episode_return.value == pytest.approx(scores.episode_return.mean())
    told = judge(xi, 2, xi)  # told the truth it is the same policy
    np.testing.assert_allclose(told.episode_return, scores.episode_return, rtol=1e-5, atol=1e-6)
    other = judge(xi, 2, jnp.asarray(xi) * 1.7)
    assert not np.allclose(other.episode_return, scores.episode_return, rtol=1e-6)


def test_no_episodes_are_no_verdict(trained: tuple[Trainer, TrainState]) -> None:
    with pytest.raises(ParamError, match="episodes 0 must be at least 1"):
        judge_worlds(*trained, np.zeros((1, 4)), 0, key=jax.random.key(0))
