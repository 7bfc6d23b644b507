"""Alignment of features of two domains: the loss that makes pictures of either look alike inside.

The source is what has right actions (simulation), the target what may have none (real pictures). A
small term beside the loss of the task asks that features of both be distributed alike:

    dann     a domain classifier reads the features, which are trained to fool it through a layer
             that reverses the gradient (Ganin et al. 2016)
    cdan     so, and it reads the features' outer product with the action (Long et al. 2018)
    moments  maximum mean discrepancy, or means and covariances
    ot       unbalanced optimal transport on features and actions (arXiv 2509.18631)

Alignment can hurt: where the two domains hold different states, it makes different things look
alike. So the strength has a ceiling, which it rises to over the run, and is reported; the
classifier is small; conditioning on the action (cdan, ot) lets different situations differ.
"""

from dataclasses import dataclass, fields
from typing import Any, Literal, cast, get_args

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from mjx_s2r.learn.adapt import distances
from mjx_s2r.learn.adapt.discernibility import discernibility
from mjx_s2r.learn.networks.modules import Mlp

Method = Literal["none", "dann", "cdan", "moments", "ot"]
Moments = Literal["mmd", "coral", "both"]


@dataclass(frozen=True)
class AlignmentConfig:
    """Settings of alignment."""

    method: Method = "none"
    """none; dann: features fool a domain classifier; cdan: one that reads the action, too; moments:
    distances of distributions; ot: unbalanced optimal transport of features and actions."""
    weight: float = 0.1
    """Highest strength: the share of the alignment's gradient that features get, from 0 to 1."""
    ramp: float = 10.0
    """Sharpness of the rise of the strength, 2 / (1 + exp(-ramp progress)) - 1; 0: at once."""
    hidden: tuple[int, ...] = (32,)
    """Layers of the domain classifier; small ones make a weak adversary."""
    projection: int = 1024
    """cdan: largest product of features and actions that is taken whole; a larger one is projected
    at random to so many numbers."""
    moments: Moments = "mmd"
    """moments: mmd: Gaussian kernels of several widths; coral: means and covariances; both."""
    blur: float = 0.05
    """ot: weight of the entropy, in units of the cost."""
    relaxation: float = 1.0
    """ot: price of leaving mass where it is, in units of the cost; inf moves everything."""
    action_weight: float = 1.0
    """ot: weight of squared differences of actions beside those of features."""
    samples: int = 512
    """moments, ot: how many samples of a batch, drawn at random, are compared at most; both are
    quadratic in them."""

    def __post_init__(self) -> None:
        """Checks the settings.

        Raises:
            ValueError: a setting that cannot work, named.
        """
        for name, kind in (("method", Method), ("moments", Moments)):
            if (value := getattr(self, name)) not in get_args(kind):
                raise ValueError(f"alignment.{name} {value!r}: one of {', '.join(get_args(kind))}")
        if not 0 <= self.weight <= 1:
            raise ValueError(f"alignment.weight {self.weight} must lie in [0, 1]")
        for name in ("ramp", "action_weight"):
            if not (value := getattr(self, name)) >= 0:
                raise ValueError(f"alignment.{name} {value} must not be negative")
        for name in ("blur", "relaxation", "projection", "samples"):
            if not (value := getattr(self, name)) > 0:
                raise ValueError(f"alignment.{name} {value} must be positive")


@struct.dataclass
class AlignmentBatch:
    """Samples of one domain: features (N, F) and actions in [-1, 1] (N, J).

    Actions are what the features lead to: right ones where they are known, else the policy's own.
    They carry no gradient.
    """

    features: jax.Array
    actions: jax.Array


@struct.dataclass
class AlignmentParams:
    """What alignment learns or draws once; empty where the method needs none.

    Attributes:
        classifier: parameters of the domain classifier.
        features_map: (F, D) random map of features; (F, 0) where the product is taken whole.
        actions_map: (1 + J, D) random map of one and the actions; (1 + J, 0) likewise.
    """

    classifier: Any
    features_map: jax.Array
    actions_map: jax.Array


@struct.dataclass
class AlignmentMetrics:
    """Figures of alignment, all ().

    Attributes:
        alignment_loss: of the classifier in nats, or the distance.
        alignment_strength: share of its gradient that the features get.
        domain_accuracy: of the domain classifier on this batch, which it is trained on; of a linear
            one held out (`discernibility`), where the method has none. 0.5 tells nothing apart.
        transported: mass that optimal transport moves, below 1 where samples have no counterpart;
            1 for other methods.
    """

    alignment_loss: jax.Array
    alignment_strength: jax.Array
    domain_accuracy: jax.Array
    transported: jax.Array


def init_alignment(
    config: AlignmentConfig, feature_size: int, num_actions: int, *, key: jax.Array
) -> AlignmentParams:
    """Returns the parameters, which an optimizer trains together with those of the policy.

    Args:
        config: settings.
        feature_size: F.
        num_actions: J.
        key: random key.

    Raises:
        ImportError: the method needs a library that is not installed.
        ValueError: a method on actions where there are none.
    """
    if config.method in ("cdan", "ot") and not num_actions:
        raise ValueError(f"alignment.method {config.method!r} needs actions; take 'dann'")
    if config.method == "ot":
        distances.require_ott()
    product, drawn = feature_size * (1 + num_actions), 0
    if config.method == "cdan" and product > config.projection:
        product = drawn = config.projection
    key_classifier, key_features, key_actions = jax.random.split(key, 3)
    seen = {"dann": feature_size, "cdan": product}.get(config.method)
    classifier = {} if seen is None else _classifier(config).init(key_classifier, jnp.zeros(seen))
    return AlignmentParams(
        classifier=classifier,
        features_map=jax.random.normal(key_features, (feature_size, drawn)),
        actions_map=jax.random.normal(key_actions, (1 + num_actions, drawn)),
    )


def alignment_loss(
    config: AlignmentConfig,
    params: AlignmentParams,
    source: AlignmentBatch,
    target: AlignmentBatch,
    progress: jax.Array,
    *,
    key: jax.Array,
) -> tuple[jax.Array, AlignmentMetrics]:
    """Returns the term () to add to the loss of the task, weighted, and its figures.

    Features are divided by their spread over both domains, one number without a gradient, so that
    strengths mean the same for every network and method. The value of an adversary's term falls
    while it tells the domains apart better; its gradient with respect to features is the reversed
    one, times the strength.

    Args:
        config: settings.
        params: of `init_alignment`.
        source: N samples.
        target: M samples; N and M may differ.
        progress: () share of the run that is done, in [0, 1].
        key: random key, for the samples that are compared where there are many.

    Raises:
        ValueError: batches of different sizes of features or actions, or not those of ``params``.
    """
    _check(params, source, target)
    strength = alignment_strength(config, progress)
    together = jnp.concatenate((source.features, target.features))
    spread = jax.lax.stop_gradient(jnp.sqrt(jnp.mean(jnp.var(together, 0)) + 1e-8))
    a, b = (
        AlignmentBatch(x.features / spread, jax.lax.stop_gradient(x.actions))
        for x in (source, target)
    )
    moved = jnp.ones(())
    if config.method in ("dann", "cdan"):
        distance, accuracy = _adversary(config, params, a, b, strength)
        loss = distance  # the classifier learns at full strength, the features do not
    else:
        keys = jax.random.split(key)
        a, b = (_drawn(x, config.samples, key=k) for x, k in zip((a, b), keys, strict=True))
        distance, moved = _distance(config, a, b)
        loss = strength * distance
        accuracy = discernibility(*jax.lax.stop_gradient((a.features, b.features)))
    return loss, AlignmentMetrics(distance, strength, accuracy, moved)


def alignment_strength(config: AlignmentConfig, progress: jax.Array) -> jax.Array:
    """Returns () what the gradient of features is multiplied by: weight (2 / (1 + e^-rp) - 1).

    The rise of Ganin et al. 2016 with r = 10: 0.46 of the weight after a tenth of the run, 0.99
    after half. The classifier learns first, and the features follow.
    """
    if config.method == "none":
        return jnp.zeros(())
    if not config.ramp:
        return jnp.full((), config.weight)
    return config.weight * jnp.tanh(0.5 * config.ramp * progress)


@jax.custom_vjp
def reverse_gradient(x: jax.Array, strength: jax.Array) -> jax.Array:
    """Returns x, with a gradient of -strength times the one that comes back (Ganin et al. 2016)."""
    return x


def _reverse_forward(x: jax.Array, strength: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Returns x and what the gradient needs."""
    return x, strength


def _reverse_backward(strength: jax.Array, dy: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Returns the reversed gradient, and none for the strength."""
    return -strength * dy, jnp.zeros_like(strength)


reverse_gradient.defvjp(_reverse_forward, _reverse_backward)


def conditioned(params: AlignmentParams, batch: AlignmentBatch) -> jax.Array:
    """Returns (N, D) what a conditional classifier reads: the outer product of features and (1, a).

    The one lets it read the features themselves where the action is zero. Where D is that of random
    maps R and Q, it is (R f) * (Q (1, a)) / sqrt(D), whose inner products are those of the outer
    products in the mean (Long et al. 2018, section 3.2).
    """
    ones = jnp.ones((*batch.actions.shape[:-1], 1), batch.actions.dtype)
    actions = jnp.concatenate((ones, batch.actions), -1)
    if size := params.features_map.shape[1]:
        maps = jax.lax.stop_gradient((params.features_map, params.actions_map))
        return (batch.features @ maps[0]) * (actions @ maps[1]) / np.sqrt(size)
    product = batch.features[:, :, None] * actions[:, None, :]
    return product.reshape(product.shape[0], -1)


def _classifier(config: AlignmentConfig) -> Mlp:
    """Returns the domain classifier: (N, P) -> (N, 1) log odds of the source."""
    return Mlp((*config.hidden, 1))


def _adversary(
    config: AlignmentConfig,
    params: AlignmentParams,
    source: AlignmentBatch,
    target: AlignmentBatch,
    strength: jax.Array,
) -> tuple[jax.Array, jax.Array]:
    """Returns the cross entropy of the domain classifier, nats, and its accuracy, each domain half.

    The classifier descends on it, the features behind it ascend.
    """
    seen = [
        x.features if config.method == "dann" else conditioned(params, x) for x in (source, target)
    ]
    reversed_ = [reverse_gradient(x, strength) for x in seen]
    odds = [cast(jax.Array, _classifier(config).apply(params.classifier, x)) for x in reversed_]
    towards = (odds[0], -odds[1])  # log odds of the right answer
    losses = [jnp.mean(jax.nn.softplus(-x)) for x in towards]
    # An undecided classifier is right half of the time.
    right = [jnp.mean(0.5 * (1 + jnp.sign(x))) for x in towards]
    return jnp.mean(jnp.stack(losses)), jnp.mean(jnp.stack(right))


def _distance(
    config: AlignmentConfig, source: AlignmentBatch, target: AlignmentBatch
) -> tuple[jax.Array, jax.Array]:
    """Returns the distance of the method, and the mass moved."""
    a, b = source.features, target.features
    if config.method == "ot":
        pairs = ((source.features, source.actions), (target.features, target.actions))
        cost = distances.joint_cost(*pairs, config.action_weight)
        return distances.transport(cost, config.blur, config.relaxation)
    if config.method == "none":
        return jnp.zeros(()), jnp.ones(())
    parts = {"mmd": distances.mmd, "coral": distances.coral}
    chosen = [f(a, b) for name, f in parts.items() if config.moments in (name, "both")]
    return jnp.sum(jnp.stack(chosen)), jnp.ones(())


def _drawn(batch: AlignmentBatch, count: int, *, key: jax.Array) -> AlignmentBatch:
    """Returns at most ``count`` samples of a batch, in order."""
    size = batch.features.shape[0]
    if size <= count:
        return batch
    chosen = jnp.sort(jax.random.choice(key, size, (count,), replace=False))
    return AlignmentBatch(batch.features[chosen], batch.actions[chosen])


def _check(params: AlignmentParams, source: AlignmentBatch, target: AlignmentBatch) -> None:
    """Checks that both batches hold what the parameters are for."""
    sizes = {"features": params.features_map.shape[0], "actions": params.actions_map.shape[0] - 1}
    for domain, batch in (("source", source), ("target", target)):
        for field in fields(batch):
            shape = getattr(batch, field.name).shape
            if len(shape) != 2 or shape[1] != sizes[field.name] or not shape[0]:
                raise ValueError(
                    f"alignment: {field.name} of the {domain} of shape {shape}, where (samples, "
                    f"{sizes[field.name]}) is expected; take {field.name} of the same network"
                )
