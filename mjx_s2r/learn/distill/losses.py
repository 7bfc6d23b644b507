"""The loss of distillation: divergences, mean matching, likelihood, value and auxiliary estimate.

With the raw Gaussians t = N(m_t, s_t^2) of the teacher and s = N(m_s, s_s^2) of the student, and d
the distance of the squashed means, d_j = tanh m_tj - tanh m_sj, the loss is the weighted sum of

    kl          KL(t || s)                  the student must not miss what the teacher may do
    reverse_kl  KL(s || t)                  the student must not do what the teacher would not
    mean        sum_j d_j^2                 as Brax clones; sees no deviations
    precision   sum_j d_j^2 / s_tj^2        where the teacher is sure, the student must be exact
    nll         -log s(m_t)                 maximum likelihood of the teacher's mean
    value       (V_s - V_t)^2               as OpenAI et al. 2019 (1910.07113) clone networks
    label       |label - estimate|^2        where the thing to find is, as DEXTRAH's object pose
    place       -sum_p q(p) log h_k(p)      where a picture shows keypoint k: cross entropy of the
                                            encoder's map k, h_k = softmax over places p, with a
                                            bell q around it (heat maps, Tompson et al. 2014)

The robot uses neither value nor estimate. Maximum likelihood of the teacher's samples would be the
first term: its mean over them is KL(t || s) and what does not depend on the student.
"""

from dataclasses import replace
from typing import Any, cast

import jax
import jax.numpy as jnp
from flax import struct

from mjx_s2r.learn.distill.config import DistillConfig
from mjx_s2r.learn.distill.teachers import TeacherAnswer
from mjx_s2r.learn.networks import gaussian
from mjx_s2r.learn.networks.augment import augment, shift_places
from mjx_s2r.learn.networks.modules import StudentNetwork, StudentOutput, merge_time

BELL = 0.6  # deviation of the bell around a keypoint, in places of the map


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
        places: per camera (K, 2), where it sees the task's keypoints, from -1 to 1; NaN or outside
            where it does not.
    """

    obs: jax.Array
    images: tuple[jax.Array, ...]
    is_first: jax.Array
    teacher: TeacherAnswer
    label: jax.Array
    rnn_state: jax.Array
    places: tuple[jax.Array, ...] = ()


@struct.dataclass
class DistillLossMetrics:
    """Figures of the loss, all (): nats, squared squashed action, and metres.

    ``value_error`` is squared, in the unit of returns; None without a value head.
    """

    loss: jax.Array
    kl: jax.Array
    reverse_kl: jax.Array
    mean_error: jax.Array
    nll: jax.Array
    label_error_m: jax.Array
    value_error: jax.Array | None


def distill_loss(
    student: StudentNetwork, config: DistillConfig, params: Any, batch: DistillBatch, key: jax.Array
) -> tuple[jax.Array, DistillLossMetrics]:
    """Returns the loss to minimize and its parts.

    Args:
        student: the network.
        config: weights of the terms, and the augmentation.
        params: the student's parameters.
        batch: a minibatch.
        key: random key for the augmentation.
    """
    return loss_of_batch(student, config, params, augment_frames(config, batch, key=key))[:2]


def loss_of_batch(
    student: StudentNetwork, config: DistillConfig, params: Any, batch: DistillBatch
) -> tuple[jax.Array, DistillLossMetrics, StudentOutput]:
    """Returns the loss, its parts, and what the student makes of the batch's images.

    Args:
        student: the network.
        config: weights of the terms.
        params: the student's parameters.
        batch: a minibatch, its images augmented.
    """
    given = batch.rnn_state[0], batch.obs, batch.images, batch.is_first
    answer, kept = student.apply(params, *given, mutable=["intermediates"])
    out = cast(StudentOutput, answer)
    total, metrics = imitation_loss(config, out, batch.teacher, batch.label)
    maps = encoder_maps(kept)
    if config.place_weight and maps and batch.places:
        losses = [place_loss(m, merge_time(p)) for m, p in zip(maps, batch.places, strict=True)]
        total += config.place_weight * sum(losses, start=jnp.zeros(()))
        metrics = replace(metrics, loss=total)
    return total, metrics, out


def encoder_maps(kept: Any) -> list[jax.Array]:
    """Returns per camera the maps (N, h, w, C) that image encoders have sown while applied."""
    found = kept.get("intermediates", {})
    names = sorted((n for n in found if "maps" in found[n]), key=lambda n: int(n.split("_")[-1]))
    return [found[name]["maps"][0] for name in names]


def place_loss(maps: jax.Array, places: jax.Array) -> jax.Array:
    """Returns () the mean cross entropy of the first K maps with where their keypoints are.

    Args:
        maps: (N, h, w, C) before the softmax over places, C >= K.
        places: (N, K, 2) columns and rows, from -1 to 1; others do not count.
    """
    height, width = maps.shape[1:3]
    columns = (jnp.arange(width) + 0.5) * 2 / width - 1
    rows = (jnp.arange(height) + 0.5) * 2 / height - 1
    seen = (jnp.abs(places) < 1).all(-1)  # NaN is not
    centre = jnp.where(seen[..., None], places, 0.0)
    across = (columns - centre[..., :1]) * width / (2 * BELL)
    down = (rows - centre[..., 1:]) * height / (2 * BELL)
    bell = jnp.exp(-0.5 * (down[..., :, None] ** 2 + across[..., None, :] ** 2))
    bell = bell / bell.sum((-1, -2), keepdims=True)
    chosen = jnp.moveaxis(maps[..., : places.shape[1]], -1, 1)
    flat = chosen.reshape(*chosen.shape[:2], height * width)
    log_share = jax.nn.log_softmax(flat).reshape(bell.shape)
    entropy = -jnp.sum(bell * log_share, (-1, -2))
    return jnp.sum(seen * entropy) / jnp.maximum(seen.sum(), 1)


def augment_frames(config: DistillConfig, batch: DistillBatch, *, key: jax.Array) -> DistillBatch:
    """Returns a minibatch with augmented images, and with places where these show them."""
    keys = jax.random.split(key, len(batch.images))  # as `augment_images` has them
    places = tuple(
        shift_places(place, config.shift_pixels, image.shape[2:4], key=k)
        for place, image, k in zip(batch.places, batch.images, keys, strict=bool(batch.places))
    )
    images = augment_images(config, batch.images, key=key)
    return replace(batch, images=images, places=places)


def augment_images(
    config: DistillConfig, images: tuple[jax.Array, ...], *, key: jax.Array
) -> tuple[jax.Array, ...]:
    """Returns the augmented images (T, B, H, W, C) per camera; those of a world change alike."""
    keys = jax.random.split(key, len(images))
    return tuple(
        augment(image, config.augment, config.shift_pixels, key=k)
        for image, k in zip(images, keys, strict=True)
    )


def imitation_loss(
    config: DistillConfig, out: StudentOutput, teacher: TeacherAnswer, label: jax.Array
) -> tuple[jax.Array, DistillLossMetrics]:
    """Returns the loss of a student's output, and its parts; means over all worlds and steps.

    Args:
        config: weights of the terms.
        out: of the student.
        teacher: answers, (...).
        label: (..., L) where the thing to find is, 0.1 m.
    """
    theirs, mine = teacher.policy, out.policy
    squared = (jnp.tanh(theirs.mean) - jnp.tanh(mine.mean)) ** 2
    precise = jnp.sum(squared * jnp.exp(-2 * theirs.log_std), -1).mean()
    miss = jnp.sum((label - out.estimate) ** 2, -1)
    metrics = DistillLossMetrics(
        loss=jnp.zeros(()),
        kl=gaussian.kl(theirs, mine).mean(),
        reverse_kl=gaussian.kl(mine, theirs).mean(),
        mean_error=squared.sum(-1).mean(),
        nll=-gaussian.log_prob(mine, theirs.mean).mean(),
        label_error_m=0.1 * jnp.sqrt(miss + 1e-12).mean(),
        value_error=jnp.mean((out.value - teacher.value) ** 2) if config.value_weight else None,
    )
    terms = (
        (config.kl_weight, metrics.kl),
        (config.mean_weight, metrics.mean_error),
        (config.label_weight, miss.mean()),
        (config.reverse_kl_weight, metrics.reverse_kl),
        (config.precision_weight, precise),
        (config.nll_weight, metrics.nll),
        (config.value_weight, metrics.value_error),
    )
    total = sum((w * x for w, x in terms if w and x is not None), start=jnp.zeros(()))
    return total, replace(metrics, loss=total)
