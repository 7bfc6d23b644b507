"""The loss of REINFORCE with a baseline (Williams 1992; Sutton and Barto 2018, section 13.4)."""

from typing import Any, cast

import jax
import jax.numpy as jnp
from flax import struct

from mjx_s2r.learn.networks import gaussian
from mjx_s2r.learn.networks.gaussian import Gaussian
from mjx_s2r.learn.networks.modules import ActorHead, CriticHead


@struct.dataclass
class Batch:
    """What the gradient step reads, fields (T, B, ...).

    Attributes:
        obs: (P,) readings.
        raw_action: (J,) action before the squash.
        advantage: () return from here on less the baseline.
        target: () return from here on.
    """

    obs: jax.Array
    raw_action: jax.Array
    advantage: jax.Array
    target: jax.Array


@struct.dataclass
class ReinforceMetrics:
    """Figures of one update, all ()."""

    actor_loss: jax.Array
    baseline_loss: jax.Array


def reinforce_loss(
    actor: ActorHead, baseline: CriticHead, params: tuple[Any, Any], batch: Batch
) -> tuple[jax.Array, ReinforceMetrics]:
    """Returns the loss to minimize, -log pi(u) A + (G - b)^2 / 2, and its two parts."""
    policy = cast(Gaussian, actor.apply(params[0], batch.obs))
    actor_loss = -jnp.mean(gaussian.log_prob(policy, batch.raw_action) * batch.advantage)
    value = cast(jax.Array, baseline.apply(params[1], batch.obs))
    baseline_loss = 0.5 * jnp.mean((batch.target - value) ** 2)
    return actor_loss + baseline_loss, ReinforceMetrics(actor_loss, baseline_loss)
