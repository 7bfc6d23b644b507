"""The loss of PPO: clipped surrogate, value error, entropy bonus (Schulman et al. 2017).

An actor that began as a student may be held near its teacher by a divergence.
"""

from typing import Any

import jax
import jax.numpy as jnp
from flax import struct

from mjx_s2r.learn.networks import gaussian
from mjx_s2r.learn.networks.actor_critic import ActorCritic
from mjx_s2r.learn.networks.gaussian import Gaussian
from mjx_s2r.learn.ppo.config import PPOConfig


@struct.dataclass
class Batch:
    """Minibatch of a gradient step, fields (T, B, ...); recurrent states before it are (1, B, H).

    Attributes:
        actor_obs: (P,) normalized.
        critic_obs: (Q,) normalized.
        images: per camera (H, W, C) uint8.
        is_first: () bool, an episode begins here.
        raw_action: (J,) action before the squash.
        log_prob: () its log density when it was taken.
        advantage: () normalized over the whole rollout.
        target: () what the value should be.
        value: () what the value was.
        actor_rnn_state: the actor's recurrent state before the rollout.
        critic_rnn_state: the critic's.
        teacher: the distribution of raw actions (J,) that is still imitated, if any.
    """

    actor_obs: jax.Array
    critic_obs: jax.Array
    images: tuple[jax.Array, ...]
    is_first: jax.Array
    raw_action: jax.Array
    log_prob: jax.Array
    advantage: jax.Array
    target: jax.Array
    value: jax.Array
    actor_rnn_state: jax.Array
    critic_rnn_state: jax.Array
    teacher: Gaussian | None = None


@struct.dataclass
class LossMetrics:
    """Figures of the loss, all (); ``kl`` is KL(old || new) in nats.

    ``teacher_kl`` is KL(teacher || new) in nats, None where nobody is imitated.
    """

    kl: jax.Array
    actor_loss: jax.Array
    critic_loss: jax.Array
    policy_entropy: jax.Array
    clip_fraction: jax.Array
    teacher_kl: jax.Array | None


def ppo_loss(
    nets: ActorCritic,
    params: tuple[Any, Any],
    batch: Batch,
    imitation: jax.Array | float | None = None,
) -> tuple[jax.Array, LossMetrics]:
    """Returns the loss to minimize (Schulman et al. 2017, eq. 7 and 9) and what it is made of.

    Args:
        nets: actor and critic.
        params: their parameters.
        batch: a minibatch.
        imitation: weight of the divergence from the teacher, where the batch has one.
    """
    config = nets.config
    _, policy = nets.policy(
        params[0], batch.actor_rnn_state[0], batch.actor_obs, batch.images, batch.is_first
    )
    log_ratio = gaussian.log_prob(policy, batch.raw_action) - batch.log_prob
    ratio = jnp.exp(log_ratio)
    bounded = jnp.clip(ratio, 1 - config.clip_epsilon, 1 + config.clip_epsilon)
    actor_loss = -jnp.minimum(ratio * batch.advantage, bounded * batch.advantage).mean()
    _, value = nets.value(params[1], batch.critic_rnn_state[0], batch.critic_obs, batch.is_first)
    critic_loss = 0.5 * jnp.mean(squared_value_error(config, value, batch))
    entropy = gaussian.entropy(policy).mean()
    total = actor_loss + config.value_coef * critic_loss - config.entropy_coef * entropy
    teacher_kl = None
    if batch.teacher is not None and imitation is not None:
        teacher_kl = gaussian.kl(batch.teacher, policy).mean()
        total = total + imitation * teacher_kl
    return total, LossMetrics(
        kl=jnp.mean(ratio - 1 - log_ratio),  # Schulman's estimator k3 of KL(old || new)
        actor_loss=actor_loss,
        critic_loss=critic_loss,
        policy_entropy=entropy,
        clip_fraction=jnp.mean(ratio != bounded),
        teacher_kl=teacher_kl,
    )


def squared_value_error(config: PPOConfig, value: jax.Array, batch: Batch) -> jax.Array:
    """Returns (T, B) the squared error, the larger of clipped and free (as OpenAI's baselines)."""
    error = (value - batch.target) ** 2
    if not config.value_clip:
        return error
    near = batch.value + jnp.clip(value - batch.value, -config.value_clip, config.value_clip)
    return jnp.maximum(error, (near - batch.target) ** 2)
