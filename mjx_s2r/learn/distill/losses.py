"""The loss of distillation: KL divergence, mean matching and the auxiliary estimate.

    w_kl KL(teacher || student) + w_mean |tanh m_t - tanh m_s|^2 + w_label |label - estimate|^2

over the raw Gaussians. The last term asks the student where the thing to find is, which simulation
knows (as the auxiliary object pose of DEXTRAH); the robot does not use the answer.
"""

from typing import Any, cast

import jax
import jax.numpy as jnp
from flax import struct

from mjx_s2r.learn.distill.config import DistillConfig
from mjx_s2r.learn.distill.teachers import TeacherAnswer
from mjx_s2r.learn.networks import gaussian
from mjx_s2r.learn.networks.augment import random_shift
from mjx_s2r.learn.networks.modules import StudentNetwork, StudentOutput


@struct.dataclass
class DistillBatch:
    """Minibatch of a gradient step, fields (T, B, ...); the state before it is (1, B, H).

    Attributes:
        obs: (P,) normalized readings.
        images: per camera (H, W, C) uint8.
        is_first: () bool, an episode begins here.
        teacher: the teacher's distribution of raw actions (J,), and value ().
        label: (L,) where the thing to find is, 0.1 m.
        rnn_state: the student's recurrent state before the rollout.
    """

    obs: jax.Array
    images: tuple[jax.Array, ...]
    is_first: jax.Array
    teacher: TeacherAnswer
    label: jax.Array
    rnn_state: jax.Array


@struct.dataclass
class DistillLossMetrics:
    """Figures of the loss, all (): nats, squared squashed action, and metres."""

    loss: jax.Array
    kl: jax.Array
    mean_error: jax.Array
    label_error_m: jax.Array


def distill_loss(
    student: StudentNetwork, config: DistillConfig, params: Any, batch: DistillBatch, key: jax.Array
) -> tuple[jax.Array, DistillLossMetrics]:
    """Returns the loss to minimize and its parts.

    Args:
        student: the network.
        config: weights of the terms, and the largest shift of an image.
        params: the student's parameters.
        batch: a minibatch.
        key: random key for the augmentation.
    """
    keys = jax.random.split(key, len(batch.images))
    images = tuple(
        jax.vmap(lambda x, k=k: random_shift(x, config.shift_pixels, key=k))(image)
        for image, k in zip(batch.images, keys, strict=True)
    )
    out = cast(
        StudentOutput,
        student.apply(params, batch.rnn_state[0], batch.obs, images, batch.is_first),
    )
    teacher, policy = batch.teacher.policy, out.policy
    kl = gaussian.kl(teacher, policy).mean()
    squared = (jnp.tanh(teacher.mean) - jnp.tanh(policy.mean)) ** 2
    mean_error = squared.sum(-1).mean()
    miss = jnp.sum((batch.label - out.estimate) ** 2, -1)
    total = (
        config.kl_weight * kl + config.mean_weight * mean_error + config.label_weight * miss.mean()
    )
    label_error_m = 0.1 * jnp.sqrt(miss + 1e-12).mean()
    return total, DistillLossMetrics(total, kl, mean_error, label_error_m)
