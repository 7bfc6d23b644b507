"""The gradient steps of REPPO: a critic by cross-entropy, an actor through the critic, two prices.

Of Voelcker et al. 2025: the actor follows the critic's own gradient with respect to the action (a
pathwise derivative) where it has moved by less than the bound, and goes back where by more. Price
alpha holds its entropy, price beta the Kullback-Leibler divergence from the actor of the rollout.
"""

from dataclasses import replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import struct

from mjx_s2r.learn import distribution, shuffle
from mjx_s2r.learn.distribution import Gaussian
from mjx_s2r.learn.reppo_networks import ReppoNets
from mjx_s2r.learn.reppo_settings import ReppoConfig
from mjx_s2r.learn.reppo_targets import decode, encode

_LOG_PRICES = -9.0, 6.0  # so that neither price gets lost where it does not matter for long


@struct.dataclass
class Prices:
    """Logarithms () of what entropy (alpha) and divergence (beta) cost."""

    alpha: jax.Array
    beta: jax.Array


@struct.dataclass
class ReppoWeights:
    """What gradient steps change: both networks, both prices, Adam's moments for each."""

    actor: Any
    critic: Any
    prices: Prices
    optimizer: tuple[optax.OptState, optax.OptState, optax.OptState]


@struct.dataclass
class ReppoBatch:
    """What a gradient step reads, fields (N, ...), or (G, N/G, ...) before samples are shuffled.

    Attributes:
        actor_obs: (P,) normalized.
        critic_obs: (Q,) normalized.
        action: (J,) what was done, in [-1, 1].
        before: the distribution that it was drawn from.
        target: () what its value should be.
        ahead: (H + 1,) features of the next step and the reward; None where nobody foresees them.
    """

    actor_obs: jax.Array
    critic_obs: jax.Array
    action: jax.Array
    before: Gaussian
    target: jax.Array
    ahead: jax.Array | None = None


@struct.dataclass
class ReppoFigures:
    """What is said of gradient steps, all (); the first five mean what those of PPO do.

    Attributes:
        kl: divergence from the actor of the rollout, nats.
        actor_loss: loss of the actor.
        critic_loss: cross-entropy of the critic.
        entropy: entropy of the action in [-1, 1], nats.
        clipped: share of states in which the actor has moved beyond the bound.
        explained: share of the targets' variance that the critic explained.
        outside: share of targets beyond the critic's bins; a reward scale may be wrong.
        alpha: price of entropy.
        beta: price of divergence.
    """

    kl: jax.Array
    actor_loss: jax.Array
    critic_loss: jax.Array
    entropy: jax.Array
    clipped: jax.Array
    explained: jax.Array
    outside: jax.Array
    alpha: jax.Array
    beta: jax.Array


def squashed_log_prob(policy: Gaussian, raw: jax.Array) -> jax.Array:
    """Returns (...) the log density of tanh(raw), raw (..., J), among actions in [-1, 1].

    log(1 - tanh(u)^2) = 2 (log 2 - u - softplus(-2 u)), which does not overflow.
    """
    squash = 2 * (jnp.log(2.0) - raw - jax.nn.softplus(-2 * raw))
    return distribution.log_prob(policy, raw) - squash.sum(-1)


def first_prices(config: ReppoConfig) -> Prices:
    """Returns the prices at the start."""
    return Prices(*(jnp.log(jnp.float32(x)) for x in (config.first_alpha, config.first_beta)))


def first_moments(
    config: ReppoConfig, actor: Any, critic: Any
) -> tuple[optax.OptState, optax.OptState, optax.OptState]:
    """Returns Adam's moments at the start, of actor, critic and prices."""
    clipped, plain = _optimizers(config)
    return clipped.init(actor), clipped.init(critic), plain.init(first_prices(config))


def _optimizers(
    config: ReppoConfig,
) -> tuple[optax.GradientTransformation, optax.GradientTransformation]:
    """Returns Adam for a network and for the prices."""
    network = optax.chain(
        optax.clip_by_global_norm(config.max_grad_norm), optax.adam(config.learning_rate)
    )
    return network, optax.adam(config.multiplier_rate)


def epochs(
    nets: ReppoNets, weights: ReppoWeights, batch: ReppoBatch, *, key: jax.Array
) -> tuple[ReppoWeights, ReppoFigures]:
    """Runs every epoch over freshly shuffled minibatches of a batch (T, B, ...).

    Returns:
        the weights, and figures (E, M) of E epochs with M minibatches.
    """
    config = nets.config
    groups = config.groups
    batch = jax.tree.map(partial(shuffle.grouped, groups=groups), batch)
    size = batch.target.shape[1]

    def step(
        weights: ReppoWeights, inputs: tuple[jax.Array, jax.Array]
    ) -> tuple[ReppoWeights, ReppoFigures]:
        """Takes one step on the chosen (G, n) samples of each group."""
        chosen, key = inputs
        return _step(nets, weights, jax.tree.map(partial(shuffle.pick, chosen=chosen), batch), key)

    def epoch(weights: ReppoWeights, key: jax.Array) -> tuple[ReppoWeights, ReppoFigures]:
        """Goes through all samples once."""
        key_order, key_steps = jax.random.split(key)
        chosen = shuffle.chosen(groups, size, config.minibatches, key=key_order)
        keys = jax.random.split(key_steps, config.minibatches)
        return jax.lax.scan(step, weights, (chosen, keys))

    return jax.lax.scan(epoch, weights, jax.random.split(key, config.epochs))


def _step(
    nets: ReppoNets, weights: ReppoWeights, batch: ReppoBatch, key: jax.Array
) -> tuple[ReppoWeights, ReppoFigures]:
    """Takes one Adam step with the critic, then one with the actor and the prices."""
    network, plain = _optimizers(nets.config)
    moments = weights.optimizer
    gradient, said = jax.grad(partial(_critic_loss, nets), has_aux=True)(weights.critic, batch)
    update, critic_moments = network.update(gradient, moments[1])
    critic = optax.apply_updates(weights.critic, update)
    weights = replace(weights, critic=critic)

    judged = jax.grad(partial(_actor_loss, nets, weights, batch, key), has_aux=True)
    gradient, (loss, kl, entropy) = judged(weights.actor)
    update, actor_moments = network.update(gradient, moments[0])
    actor = optax.apply_updates(weights.actor, update)

    pull = _price_gradient(nets, weights.prices, kl.mean(), entropy.mean())
    change, price_moments = plain.update(pull, moments[2])
    prices = jax.tree.map(lambda p, d: jnp.clip(p + d, *_LOG_PRICES), weights.prices, change)
    figures = ReppoFigures(
        kl=kl.mean(),
        actor_loss=loss,
        critic_loss=said[0],
        entropy=entropy.mean(),
        clipped=jnp.mean(kl > nets.config.kl_bound),
        explained=said[1],
        outside=said[2],
        alpha=jnp.exp(prices.alpha),
        beta=jnp.exp(prices.beta),
    )
    moved = (actor_moments, critic_moments, price_moments)
    return replace(weights, actor=actor, prices=prices, optimizer=moved), figures


def _critic_loss(
    nets: ReppoNets, params: Any, batch: ReppoBatch
) -> tuple[jax.Array, tuple[jax.Array, jax.Array, jax.Array]]:
    """Returns the critic's loss; and the cross-entropy, the explained and the outside share."""
    config, (low, high) = nets.config, nets.config.support
    features, logits = nets.judge(params, batch.critic_obs, batch.action)
    said = encode(batch.target, low, high, config.bins, config.spread)
    cross = -jnp.mean(jnp.sum(said * jax.nn.log_softmax(logits), -1))
    loss = cross
    if batch.ahead is not None:
        error = (nets.foresee(params, features) - batch.ahead) ** 2
        loss = cross + config.self_prediction * error.mean()
    wrong = batch.target - decode(logits, low, high)
    explained = 1 - jnp.var(wrong) / (jnp.var(batch.target) + 1e-8)
    outside = jnp.mean((batch.target < low) | (batch.target > high))
    return loss, (cross, explained, outside)


def _actor_loss(
    nets: ReppoNets, weights: ReppoWeights, batch: ReppoBatch, key: jax.Array, params: Any
) -> tuple[jax.Array, tuple[jax.Array, jax.Array, jax.Array]]:
    """Returns the actor's loss; and it again, the divergence and the entropy in each state.

    Within the bound  alpha log pi(a) - Q(a),  a = tanh(mean + std e);  beyond it  beta KL  alone.
    """
    policy = nets.policy(params, batch.actor_obs)
    raw = distribution.sample(policy, key=key)
    log_prob = squashed_log_prob(policy, raw)
    _, logits = nets.judge(weights.critic, batch.critic_obs, jnp.tanh(raw))
    value = decode(logits, *nets.config.support)
    kl = distribution.kl(batch.before, policy)
    gain = jnp.exp(weights.prices.alpha) * log_prob - value
    cost = jnp.exp(weights.prices.beta) * kl
    loss = jnp.where(kl < nets.config.kl_bound, gain, cost).mean()
    return loss, (loss, kl, -log_prob)


def _price_gradient(nets: ReppoNets, prices: Prices, kl: jax.Array, entropy: jax.Array) -> Prices:
    """Returns the gradient of  alpha (H - target) - beta (KL - bound)  by the logarithms."""
    goal = nets.config.entropy_target * nets.actions
    alpha = jnp.exp(prices.alpha) * (entropy - goal)
    beta = jnp.exp(prices.beta) * (kl - nets.config.kl_bound)
    return Prices(alpha, -beta)
