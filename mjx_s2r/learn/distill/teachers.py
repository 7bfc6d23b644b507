"""Teachers of distillation: whoever names the right action, with or without a memory."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jax.tree_util import Partial

from mjx_s2r.learn import normalizer
from mjx_s2r.learn.networks.gaussian import Gaussian
from mjx_s2r.learn.ppo.ppo import PPO, PPOState

MAX_TEACHER_MEAN = 2.0

TeacherPolicy = Callable[[dict[str, jax.Array]], Gaussian]  # observations -> raw actions (B, J)


@struct.dataclass
class TeacherAnswer:
    """What a teacher says of B worlds: policy (B, J) of raw actions, value (B,) of the worlds."""

    policy: Gaussian
    value: jax.Array


@struct.dataclass
class TeacherModel:
    """A teacher, a pytree of its parameters.

    What is compiled takes these as arguments: compiled in as constants, a program would serve one
    teacher alone.

    Attributes:
        answer: (recurrent state (B, M), observations, is_first (B,)) -> (B, M) and the answer; a
            `jax.tree_util.Partial`, which holds the parameters.
        rnn_size: M; 0 remembers nothing.
        knows_value: whether its answers carry a value; else that is 0.
    """

    answer: Callable[[jax.Array, dict[str, jax.Array], jax.Array], tuple[jax.Array, TeacherAnswer]]
    rnn_size: int = struct.field(pytree_node=False, default=0)
    knows_value: bool = struct.field(pytree_node=False, default=False)


def bounded(policy: Gaussian) -> Gaussian:
    """Returns a teacher's distribution with its means within +-`MAX_TEACHER_MEAN`.

    Beyond that (tanh 2 = 0.96) the squash makes them all the same action, but their distances would
    rule a loss.
    """
    return replace(policy, mean=jnp.clip(policy.mean, -MAX_TEACHER_MEAN, MAX_TEACHER_MEAN))


def teacher_of(policy: TeacherPolicy) -> TeacherModel:
    """Returns the teacher that remembers nothing and judges no world."""

    def answer(
        rnn_state: jax.Array, obs: dict[str, jax.Array], is_first: jax.Array
    ) -> tuple[jax.Array, TeacherAnswer]:
        """Returns the policy's answer."""
        del is_first
        out = policy(obs)
        return rnn_state, TeacherAnswer(out, jnp.zeros(out.mean.shape[:-1]))

    return TeacherModel(Partial(answer))


def ppo_teacher(algorithm: PPO, learner: PPOState) -> TeacherModel:
    """Returns the teacher that PPO trained: its actor answers, its critic knows the value.

    Its recurrent state is the actor's with the critic's behind it. It must read numbers alone.
    """
    size = algorithm.config.rnn_hidden
    # Copies that belong to no device, so that worlds of several may ask.
    learner = jax.tree.map(lambda x: jnp.asarray(np.asarray(x)), replace(learner, optimizer=()))
    answer = Partial(partial(_ppo_answer, algorithm), learner)
    return TeacherModel(answer, 2 * size, knows_value=True)


def _ppo_answer(
    algorithm: PPO,
    learner: PPOState,
    rnn_state: jax.Array,
    obs: dict[str, jax.Array],
    is_first: jax.Array,
) -> tuple[jax.Array, TeacherAnswer]:
    """Returns the recurrent state (B, 2H) and the answer; what nobody reads is not computed."""
    actor, critic = jnp.split(rnn_state, 2, axis=-1)
    actor, policy = algorithm.policy(learner, actor, obs, (), is_first)
    x = normalizer.apply(learner.critic_norm, obs[algorithm.config.critic_obs])
    critics, value = algorithm.nets.value(learner.critic, critic, x[None], is_first[None])
    return jnp.concatenate((actor, critics[0]), -1), TeacherAnswer(policy, value[0])
