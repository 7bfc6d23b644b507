"""What a rollout of distillation hands to the learner, and what the learner says of it."""

import jax
from flax import struct

from mjx_s2r.learn.networks.gaussian import Gaussian


@struct.dataclass
class DistillBatch:
    """What a gradient step reads; fields (N, ...): readings, images, teacher's answer, label."""

    obs: jax.Array
    images: tuple[jax.Array, ...]
    teacher: Gaussian
    label: jax.Array


@struct.dataclass
class EpisodeCounts:
    """How many episodes ended in a step, and how many of them were successes, both ()."""

    episodes: jax.Array
    success: jax.Array


@struct.dataclass
class DistillMetrics:
    """Figures of one iteration, all ()."""

    loss: jax.Array
    kl: jax.Array
    mean_error: jax.Array
    label_error_m: jax.Array
    beta: jax.Array
    episodes: jax.Array
    success: jax.Array
