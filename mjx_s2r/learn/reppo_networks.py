"""The networks of REPPO: an actor, and a critic of actions that speaks in bins.

Each hidden layer is normalized (Ba et al. 2016): Voelcker et al. 2025 need it for a critic that
learns from what is on-policy alone. Everything takes flat arrays (N, ...).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, cast

import flax.linen as nn
import jax
import jax.numpy as jnp

from mjx_s2r.learn.actor_critic import Memory
from mjx_s2r.learn.distribution import Gaussian, gaussian
from mjx_s2r.learn.reppo_settings import ReppoConfig
from mjx_s2r.learn.reppo_targets import encode
from mjx_s2r.learn.swish import swish

_FLOOR = 0.01  # share that an untrained critic spreads over all bins, so that none is out of reach


def _active(x: jax.Array) -> jax.Array:
    """Returns ``x`` (..., H) normalized and activated."""
    return swish(nn.LayerNorm()(x))


class ReppoActor(nn.Module):
    """Readings (N, P) -> distribution over raw actions (N, J), as wide as the state asks for."""

    hidden: Sequence[int]
    actions: int

    @nn.compact
    def __call__(self, x: jax.Array) -> Gaussian:
        """Returns the action distribution; untrained, its standard deviation is about 1."""
        for size in self.hidden:
            x = _active(nn.Dense(size)(x))
        small = nn.initializers.variance_scaling(0.01, "fan_in", "truncated_normal")
        out = nn.Dense(2 * self.actions, kernel_init=small)(x)
        mean, log_std = jnp.split(out, 2, axis=-1)
        return gaussian(mean, log_std)


class ReppoCritic(nn.Module):
    """Readings (N, Q) and actions (N, J) -> features (N, H) and logits of the bins (N, K)."""

    hidden: Sequence[int]
    bins: int
    first: tuple[float, ...]

    @nn.compact
    def __call__(self, x: jax.Array, action: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Returns the features and logits; untrained, these say ``first``."""
        x = jnp.concatenate((x, action), axis=-1)
        for size in self.hidden[:-1]:
            x = _active(nn.Dense(size)(x))
        features = nn.Dense(self.hidden[-1])(x)
        small = nn.initializers.variance_scaling(0.01, "fan_in", "truncated_normal")

        def bias(key: jax.Array, shape: tuple[int, ...], dtype: Any = jnp.float32) -> jax.Array:
            """Returns what is said before anything is learned."""
            del key
            return jnp.asarray(self.first, dtype).reshape(shape)

        head = nn.Dense(self.bins, kernel_init=small, bias_init=bias)
        return features, head(_active(features))


class Foresight(nn.Module):
    """Features (N, H) -> the features one step later and the reward (N, H + 1)."""

    @nn.compact
    def __call__(self, features: jax.Array) -> jax.Array:
        """Returns what is foreseen."""
        size = features.shape[-1]
        return nn.Dense(size + 1)(_active(nn.Dense(size)(_active(features))))


@dataclass(frozen=True)
class ReppoNets:
    """The networks that a configuration asks for, without parameters.

    Attributes:
        config: settings of REPPO.
        actions: J.
    """

    config: ReppoConfig
    actions: int

    @cached_property
    def _actor(self) -> ReppoActor:
        """The actor."""
        return ReppoActor(self.config.actor_hidden, self.actions)

    @cached_property
    def _critic(self) -> ReppoCritic:
        """The critic; untrained, it says 0."""
        bins = self.config.bins
        with jax.ensure_compile_time_eval():
            zero = encode(jnp.float32(0), *self.config.support, bins, self.config.spread)
            first = jnp.log((1 - _FLOOR) * zero + _FLOOR / bins)
        return ReppoCritic(self.config.critic_hidden, bins, tuple(first.tolist()))

    def blank(self, worlds: int) -> Memory:
        """Returns the memory of B worlds: these networks remember nothing, (B, 0)."""
        none = jnp.zeros((worlds, 0))
        return Memory(none, none)

    def init(self, actor_size: int, critic_size: int, *, key: jax.Array) -> tuple[Any, Any]:
        """Returns parameters of actor and critic for readings (P,) and (Q,)."""
        keys = jax.random.split(key, 3)
        actor = self._actor.init(keys[0], jnp.zeros((1, actor_size)))
        blank = jnp.zeros((1, critic_size)), jnp.zeros((1, self.actions))
        (features, _), value = self._critic.init_with_output(keys[1], *blank)
        if not self.config.self_prediction:
            return actor, {"value": value}
        return actor, {"value": value, "foresight": Foresight().init(keys[2], features)}

    def policy(self, params: Any, x: jax.Array) -> Gaussian:
        """Returns action distributions (..., J) for normalized readings (..., P)."""
        flat = self._actor.apply(params, x.reshape(-1, x.shape[-1]))
        policy = cast(Gaussian, flat)
        return jax.tree.map(lambda p: p.reshape(*x.shape[:-1], self.actions), policy)

    def judge(self, params: Any, x: jax.Array, action: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Returns features (N, H) and logits (N, K) of actions (N, J) in [-1, 1]."""
        out = self._critic.apply(params["value"], x, action)
        return cast(tuple[jax.Array, jax.Array], out)

    def foresee(self, params: Any, features: jax.Array) -> jax.Array:
        """Returns (N, H + 1) the features and the reward that follow ``features`` (N, H)."""
        return cast(jax.Array, Foresight().apply(params["foresight"], features))
