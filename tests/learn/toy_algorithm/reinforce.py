"""REINFORCE with a baseline: an algorithm written from the interface alone."""

from dataclasses import dataclass
from functools import partial
from typing import Any, cast

import jax
import jax.numpy as jnp
import optax
from flax import struct

from mjx_s2r.learn.gae import gae
from mjx_s2r.learn.networks import gaussian
from mjx_s2r.learn.networks.actor_critic import RnnState
from mjx_s2r.learn.networks.gaussian import Gaussian
from mjx_s2r.learn.networks.modules import ActorHead, CriticHead
from mjx_s2r.learn.rollout import Images, Rollout
from mjx_s2r.sim.interface import State
from tests.learn.toy_algorithm.config import ReinforceConfig
from tests.learn.toy_algorithm.losses import Batch, ReinforceMetrics, reinforce_loss


@struct.dataclass
class ReinforceState:
    """Parameters of actor and baseline, and Adam's moments for both."""

    params: tuple[Any, Any]
    optimizer: optax.OptState


@dataclass(frozen=True, eq=False)
class Reinforce:
    """The algorithm; its state is a `ReinforceState`. It reads "state", linearly.

    Attributes:
        config: settings.
        num_actions: J.
    """

    config: ReinforceConfig
    num_actions: int

    @property
    def _nets(self) -> tuple[ActorHead, CriticHead]:
        return ActorHead((), self.num_actions, self.config.init_std), CriticHead(())

    @property
    def _optimizer(self) -> optax.GradientTransformation:
        return optax.adam(self.config.learning_rate)

    def init(self, obs: dict[str, jax.Array], *, key: jax.Array) -> ReinforceState:
        """Returns the state before the first update."""
        keys = jax.random.split(key)
        actor, baseline = (
            net.init(k, obs["state"]) for net, k in zip(self._nets, keys, strict=True)
        )
        return ReinforceState((actor, baseline), self._optimizer.init((actor, baseline)))

    def zero_rnn_state(self, num_envs: int) -> RnnState:
        """Returns the recurrent states of networks without memory, (B, 0)."""
        return RnnState(jnp.zeros((num_envs, 0)), jnp.zeros((num_envs, 0)))

    def act(
        self, state: ReinforceState, rnn_state: jax.Array, worlds: State, images: Images, key: Any
    ) -> tuple[jax.Array, jax.Array, tuple[()]]:
        """Returns a sample of the policy (B, J); the update needs to know no more of it."""
        policy = self._policy(state, worlds.obs)
        return rnn_state, gaussian.sample(policy, key=key), ()

    def policy(
        self,
        state: ReinforceState,
        rnn_state: jax.Array,
        obs: dict[str, jax.Array],
        images: Images,
        is_first: jax.Array,
    ) -> tuple[jax.Array, Gaussian]:
        """Returns the distribution of raw actions (B, J)."""
        return rnn_state, self._policy(state, obs)

    def update(
        self, state: ReinforceState, rollout: Rollout, rnn_state: RnnState, *, key: jax.Array
    ) -> tuple[ReinforceState, jax.Array, ReinforceMetrics]:
        """Takes one gradient step on the whole rollout."""
        (actor, baseline), steps = self._nets, rollout.transitions
        value, next_value = (
            cast(jax.Array, baseline.apply(state.params[1], obs["state"]))
            for obs in (steps.obs, steps.next_obs)
        )
        ends = (steps.terminated, steps.done)
        advantage, target = gae(  # with lambda 1: returns to the end of the episode
            steps.reward, value, next_value, *ends, gamma=self.config.gamma, gae_lambda=1.0
        )
        batch = Batch(steps.obs["state"], steps.raw_action, advantage, target)
        loss = jax.grad(partial(reinforce_loss, actor, baseline), has_aux=True)
        gradient, metrics = loss(state.params, batch)
        moved, optimizer = self._optimizer.update(gradient, state.optimizer)
        params = optax.apply_updates(state.params, moved)
        return ReinforceState(params, optimizer), rnn_state.critic, metrics

    def _policy(self, state: ReinforceState, obs: dict[str, jax.Array]) -> Gaussian:
        return cast(Gaussian, self._nets[0].apply(state.params[0], obs["state"]))
