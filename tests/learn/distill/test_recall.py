"""Distillation of what must be remembered: a cue shown once, and acted on at the last step.

The teacher is told the cue at every step. Who forgets it can only do the mean, 0, of the teacher's
tanh(m) = +-1/2 at two of three steps: a squared error of 2/3 x 1/4.
"""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mjx_s2r.curriculum.uniform import uniform
from mjx_s2r.learn.distill.config import DistillConfig
from mjx_s2r.learn.distill.distillation import Distillation
from mjx_s2r.learn.distill.teachers import teacher_of
from mjx_s2r.learn.networks.gaussian import Gaussian, gaussian
from mjx_s2r.learn.networks.modules import StudentNetwork
from mjx_s2r.learn.trainer import Trainer, TrainState
from mjx_s2r.runtime.sharding import device_mesh, init_sharded
from tests.learn.probes import Cue

CONFIG = DistillConfig(
    num_envs=64,
    num_steps=6,
    iterations=60,
    num_minibatches=2,
    num_epochs=2,
    learning_rate=1e-2,
    hidden=(16,),
    rnn_hidden=8,
)
FORGETFUL = 2 / 3 * 1 / 4


def told(obs: dict[str, jax.Array]) -> Gaussian:
    """Does half of the cue, which only "privileged" tells at every step."""
    mean = jnp.arctanh(0.5) * obs["privileged"][:, -1:]
    return gaussian(mean, jnp.full((1,), -1.0))


def trainer_of(config: DistillConfig) -> Trainer:
    """Returns a trainer of a student without cameras."""
    student = StudentNetwork(config.hidden, 1, 0, rnn_hidden=config.rnn_hidden)
    env = Cue()
    none = lambda worlds: jnp.zeros((worlds.reward.shape[0], 0))  # noqa: E731
    return Trainer(
        env, uniform(env.space), Distillation(config, student, teacher_of(told), none, ())
    )


def learnt(config: DistillConfig, devices: int = 1) -> tuple[TrainState, float]:
    """Returns the last state, and the error of the last five iterations."""
    trainer, mesh = trainer_of(config), device_mesh(devices)
    state = init_sharded(mesh, lambda: trainer.init(jax.random.key(0)))
    iterate, errors = trainer.sharded_iterate(mesh), []
    for _ in range(config.iterations):
        state, metrics = iterate(state)
        errors.append(float(metrics.loss.mean_error))
    return state, float(np.mean(errors[-5:]))


@pytest.mark.slow
def test_a_student_that_remembers_learns_what_one_that_forgets_cannot() -> None:
    assert learnt(CONFIG)[1] < 0.1 * FORGETFUL
    assert learnt(replace(CONFIG, rnn_hidden=0))[1] == pytest.approx(FORGETFUL, rel=0.15)


@pytest.mark.slow
def test_two_devices_teach_the_same_memory() -> None:
    short = replace(CONFIG, iterations=5)
    (one, error), (two, same) = learnt(short), learnt(short, devices=2)
    assert same == pytest.approx(error, rel=1e-3)
    shards = two.rnn_state.actor.addressable_shards
    assert [s.data.shape for s in shards] == [(CONFIG.num_envs // 2, CONFIG.rnn_hidden)] * 2
    np.testing.assert_allclose(two.rnn_state.actor, one.rnn_state.actor, atol=1e-3)
    assert np.std(one.rnn_state.actor) > 0.01
