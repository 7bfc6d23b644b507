"""Actors that remember and actors that see solve what numbers of the moment cannot."""

from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mjx_s2r.contract import CameraSignal
from mjx_s2r.curriculum.uniform import uniform
from mjx_s2r.learn.networks.actor_critic import ActorCritic
from mjx_s2r.learn.ppo.config import PPOConfig
from mjx_s2r.learn.ppo.ppo import PPO
from mjx_s2r.learn.trainer import Trainer, TrainState
from mjx_s2r.runtime.sharding import device_mesh, init_sharded
from mjx_s2r.sim.interface import State
from tests.learn.probes import Cue, ppo_trainer

CONFIG = PPOConfig(
    num_envs=64,
    num_steps=6,
    num_minibatches=2,
    num_epochs=4,
    gamma=0.9,
    learning_rate=1e-2,
    target_kl=0.02,
    entropy_coef=0.0,
    actor_hidden=(16,),
    critic_hidden=(16,),
    actor_obs="state",
)
SIZE = 8


@dataclass(frozen=True)
class Lamp:
    """A camera on cue probes: the left or the right half of its picture is lit."""

    signals: tuple[CameraSignal, ...] = (CameraSignal("lamp", SIZE, SIZE, 1.0),)
    keeps_frames: bool = False
    look_each_step: bool = False

    def check_num_envs(self, worlds: int) -> None:
        """Takes any number of worlds."""

    def initial(self, worlds: State, xi: jax.Array, key: jax.Array) -> tuple:
        """Keeps nothing."""
        return ()

    def observe(self, film: tuple, worlds: State, xi: Any, step: int, key: Any) -> tuple:
        """Returns what each world shows."""
        lit = worlds.pipeline_state.cue[:, None] * jnp.linspace(-1, 1, SIZE) > 0
        picture = jnp.broadcast_to(lit[:, None, :, None], (lit.shape[0], SIZE, SIZE, 3))
        return (), (255 * picture.astype(jnp.uint8),)

    def picture_age(self, film: tuple, worlds: State) -> jax.Array:
        """Shows what is there now."""
        return jnp.zeros(worlds.done.shape, jnp.int32)

    def places(self, worlds: State, xi: jax.Array, age: jax.Array) -> tuple:
        """Shows no keypoints."""
        return ()

    def fresh(self, worlds: State, xi: jax.Array, key: jax.Array) -> tuple:
        """Keeps nothing."""
        return ()

    def auto_reset(self, film: tuple, fresh: tuple, worlds: State) -> tuple:
        """Keeps nothing."""
        return ()


def paid(trainer: Trainer, iterations: int) -> float:
    """Returns the mean return of the last ten iterations."""
    state, returns = trainer.init(jax.random.key(0)), []
    for _ in range(iterations):
        state, metrics = trainer.iterate(state)
        returns.append(float(metrics.episodes.return_sum) / float(metrics.episodes.episodes))
        assert float(metrics.loss.explained_variance) <= 1
        assert 0 <= float(metrics.loss.clip_fraction) <= 1
    return float(np.mean(returns[-10:]))


@pytest.mark.parametrize(
    ("units", "low", "high"),
    [pytest.param(0, 0.4, 0.76, marks=pytest.mark.slow), (8, 0.88, 1.0)],
)
def test_a_memory_carries_the_cue_to_the_last_step(units: int, low: float, high: float) -> None:
    """Three steps between seeing and acting; 0.75 is the most that an actor without memory gets."""
    config = replace(CONFIG, rnn_hidden=units)
    assert low < paid(ppo_trainer(Cue(), config), 60) < high


def seeing() -> Trainer:
    """Returns a trainer whose actor only a picture tells the cue."""
    env, lamp = Cue(length=1, shown=False), Lamp()
    config = replace(CONFIG, actor_obs="pixels", cnn_channels=4)
    algorithm = PPO(config, env.action_size, ((SIZE, SIZE, 3),))
    return Trainer(env, uniform(env.space), algorithm, lamp)  # type: ignore[arg-type]


@pytest.mark.slow
def test_an_actor_that_sees_finds_the_cue_in_the_picture() -> None:
    """The numbers do not tell; without the picture 0.75 would be the most."""
    assert paid(seeing(), 50) > 0.88


@pytest.mark.slow
def test_two_devices_see_as_one() -> None:
    trainer, key, states = seeing(), jax.random.key(0), []
    for count in (1, 2):
        mesh = device_mesh(count)
        state = init_sharded(mesh, partial(trainer.init_without_frames, key))
        state = trainer.with_frames(state, key)
        iterate = trainer.sharded_iterate(mesh)
        for _ in range(3):
            state, metrics = iterate(state)
        states.append(state)
        assert np.isfinite(metrics.loss.explained_variance)
    shards = states[1].env_state.reward.addressable_shards
    assert [s.data.shape[0] for s in shards] == [CONFIG.num_envs // 2] * 2
    assert trainer.cameras is not None
    _, images = trainer.cameras.observe((), states[0].env_state, None, 0, None)  # type: ignore[arg-type]
    answers = []
    for state in jax.device_get(states):  # what they do: see test_distill for why not parameters
        memory = trainer.algorithm.zero_rnn_state(CONFIG.num_envs).actor
        answers.append(trainer.apply_policy(state, memory, states[0].env_state, images)[1].mean)
    np.testing.assert_allclose(*answers, rtol=1e-3, atol=1e-3)
    assert np.std(answers[0]) > 0.01


@pytest.mark.slow
def test_a_stretch_is_its_steps_one_by_one(key: jax.Array) -> None:
    """Memory through a rollout, with an episode that begins in the middle, against a plain loop."""
    nets = ActorCritic(replace(CONFIG, rnn_hidden=5), num_actions=2)
    params, _ = nets.init(4, 4, key=key)
    x = jax.random.normal(key, (6, 3, 4))
    first = jnp.zeros((6, 3), bool).at[3, 1].set(True)
    start = jax.random.normal(key, (3, 5))
    kept, policy = nets.policy(params, start, x, (), first)
    memory = start
    for t in range(6):
        memory = memory.at[1].set(0.0) if t == 3 else memory
        now, alone = nets.policy(params, memory, x[t : t + 1], (), jnp.zeros((1, 3), bool))
        memory = now[0]
        np.testing.assert_allclose(kept[t], memory, atol=1e-6)
        np.testing.assert_allclose(policy.mean[t], alone.mean[0], atol=1e-6)


def test_gradients_flow_back_to_the_first_step_and_not_beyond_a_beginning(key: jax.Array) -> None:
    nets = ActorCritic(replace(CONFIG, rnn_hidden=5), num_actions=2)
    params, _ = nets.init(4, 4, key=key)
    first = jnp.zeros((6, 2), bool).at[2, 1].set(True)

    def last(x: jax.Array) -> jax.Array:
        """Returns what the last step makes of all."""
        return nets.policy(params, jnp.zeros((2, 5)), x, (), first)[0][-1].sum()

    reach = np.abs(jax.grad(last)(jax.random.normal(key, (6, 2, 4)))).sum(-1)
    assert (reach[:, 0] > 0).all()
    np.testing.assert_array_equal(reach[:, 1] > 0, np.arange(6) >= 2)


@pytest.mark.slow
def test_the_memory_of_a_rollout_goes_on_in_the_next() -> None:
    """Seven steps of three-step episodes: the next rollout begins in the middle of one."""
    config = replace(CONFIG, rnn_hidden=8, num_steps=7)
    trainer = ppo_trainer(Cue(), config)
    state, _ = trainer.iterate(trainer.init(jax.random.key(0)))
    began = np.asarray(state.env_state.pipeline_state.steps == 0)
    assert began.any() and not began.all()
    assert (np.abs(state.rnn_state.actor).sum(-1) > 0).all()
    assert (np.abs(state.rnn_state.critic).sum(-1) > 0).all()


def test_who_keeps_frames_cannot_be_asked_one_step_at_a_time() -> None:
    trainer = ppo_trainer(Cue(), replace(CONFIG, rnn_hidden=8))
    state: TrainState = jax.eval_shape(trainer.init, jax.random.key(0))
    with pytest.raises(ValueError, match="a memory of 8 units and 0 cameras and cannot be asked"):
        trainer.policy(state, {"state": jnp.zeros((1, 5))})


@pytest.mark.slow
def test_halves_compute_and_wholes_remember() -> None:
    """bfloat16 inside; parameters, memory and what leaves stay float32, and it still learns."""
    config = replace(CONFIG, rnn_hidden=8, bf16=True)
    trainer = ppo_trainer(Cue(), config)
    state = trainer.init(jax.random.key(0))
    held = jax.tree.leaves((state.learner.actor, state.rnn_state))
    assert all(x.dtype == jnp.float32 for x in held)
    assert paid(ppo_trainer(Cue(length=1), replace(CONFIG, bf16=True)), 40) > 0.88
