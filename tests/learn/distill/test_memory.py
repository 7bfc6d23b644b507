"""Students and teachers that remember: gradients through time, and what is carried."""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mjx_s2r.contract import CameraSignal
from mjx_s2r.envs.cartpole import CONTRACT, Cartpole
from mjx_s2r.learn import normalizer
from mjx_s2r.learn.distill.config import DistillConfig
from mjx_s2r.learn.distill.distillation import Distillation, DistillState
from mjx_s2r.learn.distill.losses import DistillBatch, distill_loss, imitation_loss
from mjx_s2r.learn.distill.teachers import TeacherAnswer, TeacherModel, ppo_teacher, teacher_of
from mjx_s2r.learn.networks.gaussian import Gaussian, gaussian
from mjx_s2r.learn.networks.modules import StudentNetwork, StudentOutput
from mjx_s2r.learn.ppo.config import PPOConfig
from mjx_s2r.learn.ppo.ppo import PPO
from mjx_s2r.learn.trainer import Trainer
from tests.learn.distill.students import student_of
from tests.learn.untrained import untrained_state

UNITS = 6
CONFIG = DistillConfig(
    num_envs=4,
    num_steps=3,
    iterations=4,
    num_minibatches=2,
    num_epochs=1,
    hidden=(8,),
    cnn_channels=4,
    rnn_hidden=UNITS,
    shift_pixels=1,
)
STUDENT = StudentNetwork(
    (8,), num_actions=1, num_labels=2, cnn_channels=4, rnn_hidden=UNITS, value_head=True
)


@pytest.fixture(scope="module")
def batch() -> DistillBatch:
    """Three steps of two worlds; the second begins an episode at the last."""
    rng = np.random.default_rng(0)
    normal = lambda *shape: jnp.asarray(rng.normal(size=shape), jnp.float32)  # noqa: E731
    return DistillBatch(
        obs=normal(3, 2, 3),
        images=(jnp.asarray(rng.integers(0, 256, (3, 2, 8, 8, 3)), jnp.uint8),),
        is_first=jnp.zeros((3, 2), bool).at[2, 1].set(True),
        teacher=TeacherAnswer(gaussian(normal(3, 2, 1), normal(3, 2, 1)), normal(3, 2)),
        label=normal(3, 2, 2),
        rnn_state=normal(1, 2, UNITS),
    )


@pytest.mark.slow
def test_gradients_flow_back_through_the_steps_of_a_rollout(
    batch: DistillBatch, key: jax.Array
) -> None:
    """The oracle: one step at a time in a Python loop, its state handed on by hand."""
    config = replace(CONFIG, shift_pixels=0, value_weight=1.0)
    given = batch.rnn_state[0], batch.obs, batch.images, batch.is_first
    params = jax.jit(STUDENT.init)(key, *given)

    def unrolled(params: object) -> jax.Array:
        state, outs = batch.rnn_state[0], []
        for t in range(3):
            state = jnp.where(batch.is_first[t][:, None], 0, state)
            never = jnp.zeros((1, 2), bool)
            out = STUDENT.apply(
                params, state, batch.obs[t][None], (batch.images[0][t][None],), never
            )
            state = out.rnn_state[0]
            outs.append(out)
        whole: StudentOutput = jax.tree.map(lambda *x: jnp.concatenate(x), *outs)
        return imitation_loss(config, whole, batch.teacher, batch.label)[0]

    ours = jax.jit(jax.grad(lambda p: distill_loss(STUDENT, config, p, batch, key)[0]))(params)
    theirs = jax.jit(jax.grad(unrolled))(params)
    jax.tree.map(partial(np.testing.assert_allclose, rtol=2e-3, atol=2e-5), ours, theirs)
    assert np.abs(ours["params"]["GRUCell_0"]["hn"]["kernel"]).max() > 1e-4


PPO_CONFIG = PPOConfig(actor_obs="state", rnn_hidden=5, actor_hidden=(8,), critic_hidden=(8,))


@pytest.fixture(scope="module")
def recurrent() -> TeacherModel:
    """A teacher that remembers, with weights at random."""
    algorithm = PPO(PPO_CONFIG, 1)
    obs = {"state": jnp.zeros((1, CONTRACT.size)), "privileged": jnp.zeros((1, 22))}
    shapes = jax.eval_shape(partial(algorithm.init, obs), key=jax.random.key(0))
    rng = np.random.default_rng(1)
    learner = jax.tree.map(
        lambda x: (
            jnp.asarray(rng.normal(0, 0.7, x.shape), x.dtype)
            if jnp.issubdtype(x.dtype, jnp.floating)
            else jnp.zeros(x.shape, x.dtype)
        ),
        shapes,
    )
    norms = {"actor_norm": normalizer.init(CONTRACT.size), "critic_norm": normalizer.init(22)}
    return ppo_teacher(algorithm, replace(learner, **norms))


def test_a_teacher_forgets_where_an_episode_begins(recurrent: TeacherModel) -> None:
    obs = {"state": jnp.ones((2, CONTRACT.size)), "privileged": jnp.ones((2, 22))}
    begins = jnp.array((True, False))
    assert recurrent.rnn_size == 10
    answers = [
        recurrent.answer(jnp.full((2, 10), x), obs, begins)[1].policy.mean[:, 0] for x in (0.0, 1.0)
    ]
    assert answers[0][0] == answers[1][0] and answers[0][1] != answers[1][1]
    _, said = recurrent.answer(jnp.zeros((2, 10)), obs, begins)
    assert said.value.shape == (2,) and said.value[0] == said.value[1] != 0


TASK = Cartpole(contract=replace(CONTRACT, cameras=(CameraSignal("fixed", 16, 16, 50.0),)))


@pytest.fixture(scope="module")
def trainer(recurrent: TeacherModel) -> Trainer:
    """Distillation where both remember, and the teacher acts until the error is below 1000."""
    config = replace(CONFIG, beta="threshold", beta_error=1000.0, value_weight=1.0)
    return student_of(recurrent, TASK, config)


@pytest.mark.parametrize("acts", ["student", "teacher", "mixture"])
def test_who_acts(acts: str, trainer: Trainer, recurrent: TeacherModel) -> None:
    """In a mixture both do, each in worlds of their own; the oracle asks both by themselves."""
    algorithm = trainer.algorithm
    assert isinstance(algorithm, Distillation)
    config = replace(
        algorithm.config, acts=acts, beta="exponential", beta_decay=0.5, action_noise=0.0
    )
    born = untrained_state(trainer, jax.random.key(0))
    algorithm, state = replace(algorithm, config=config), born.learner
    state = replace(state, taken_over=None, updates=jnp.int32(1))
    both = jax.random.normal(jax.random.key(3), (4, UNITS + 10))
    images = (jnp.zeros((4, 16, 16, 3), jnp.uint8),)
    sim = born.env_state.pipeline_state.replace(steps=jnp.array((0, 1, 2, 0)))
    now = born.env_state.replace(pipeline_state=sim)
    asked = algorithm.acting(state)
    kept, raw, (answer, *_) = algorithm.act(asked, both, now, images, jax.random.key(5))
    first = now.pipeline_state.steps == 0
    theirs, said = recurrent.answer(both[:, UNITS:], now.obs, first)
    own, mine = algorithm.student_step(state, both[:, :UNITS], now.obs["state"], images, first)
    np.testing.assert_allclose(kept, np.concatenate((own, theirs), 1), atol=1e-6)
    bounded = np.clip(said.policy.mean, -2, 2)
    np.testing.assert_allclose(answer.policy.mean, bounded, atol=1e-6)
    is_teacher, is_student = (np.isclose(raw, x, atol=1e-6)[:, 0] for x in (bounded, mine.mean))
    assert (is_teacher != is_student).all()
    beta = {"student": 0.0, "teacher": 1.0, "mixture": 0.5}[acts]
    assert float(algorithm.beta(state)) == beta
    who = {"student": {False}, "teacher": {True}, "mixture": {False, True}}[acts]
    assert set(is_teacher.tolist()) == who


@pytest.mark.slow
def test_the_student_takes_over_when_it_is_near_enough(trainer: Trainer) -> None:
    state = trainer.init(jax.random.key(0))
    assert state.rnn_state.actor.shape == (4, UNITS + 10)
    betas = []
    for _ in range(2):
        state, metrics = trainer.iterate(state)
        betas.append(float(metrics.loss.beta))
        assert np.isfinite(float(metrics.loss.value_error))
    assert betas == [1.0, 0.0]
    moved = np.abs(np.asarray(state.rnn_state.actor)).max(0)
    assert (moved > 0).all()  # both remember something


def test_the_share_of_the_teacher_falls_as_written() -> None:
    """Linear over 40 of 100 iterations; by a tenth in each."""
    nobody = StudentNetwork((8,), 1, 0)

    def betas(config: DistillConfig) -> list[float]:
        algorithm = Distillation(config, nobody, teacher_of(lambda _: Gaussian(0, 0)), len, ())
        shares = [
            algorithm.beta(DistillState(None, None, None, jnp.int32(n))) for n in (0, 1, 10, 50)
        ]
        return [float(x) for x in shares]

    linear = DistillConfig(iterations=100)
    np.testing.assert_allclose(betas(linear), [1, 0.975, 0.75, 0], atol=1e-6)
    decay = replace(linear, beta="exponential", beta_decay=0.9)
    np.testing.assert_allclose(betas(decay), [1, 0.9, 0.9**10, 0.9**50], rtol=1e-5)


def test_a_value_needs_a_teacher_that_knows_one() -> None:
    config = replace(CONFIG, value_weight=1.0)
    with pytest.raises(ValueError, match=r"distill.value_weight 1.0: this teacher has no critic"):
        student_of(lambda obs: gaussian(obs["state"][:, :1], jnp.zeros(1)), TASK, config)
