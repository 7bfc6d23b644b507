"""PPO (Schulman et al. 2017) as one compiled iteration: rollout, advantages, epochs, curriculum.

The actor and the critic read whichever observation the configuration names; a teacher reads
"privileged" (true state and xi) with both, an asymmetric student-to-be gives its actor "state".
The learning rate follows the measured KL (Schulman's rule, as in rsl_rl) unless that is switched
off. Everything that training needs to go on bit by bit is in `TrainState`.
"""

from dataclasses import dataclass, replace
from functools import partial
from typing import Any, cast

import jax
import jax.numpy as jnp
import optax
from flax import struct

from mjx_s2r.curriculum.interface import Curriculum
from mjx_s2r.learn import distribution, normalizer
from mjx_s2r.learn.distribution import Gaussian
from mjx_s2r.learn.gae import gae
from mjx_s2r.learn.networks import Actor, Critic
from mjx_s2r.learn.normalizer import Normalizer
from mjx_s2r.learn.rollout import Tally, Transition, reset_worlds, rollout, stagger
from mjx_s2r.sim.interface import Environment, State, keep_worlds


@dataclass(frozen=True)
class PpoConfig:
    """Settings of PPO."""

    worlds: int = 512
    """Number of worlds, B."""
    unroll: int = 16
    """Control steps per rollout, T."""
    minibatches: int = 4
    """Minibatches per epoch."""
    epochs: int = 4
    """Passes over a rollout."""
    discount: float = 0.97
    """gamma per control step."""
    trace: float = 0.95
    """lambda of GAE."""
    clip: float = 0.2
    """Clip of the probability ratio."""
    value_weight: float = 0.5
    """Weight of the value loss."""
    entropy_weight: float = 2e-3
    """Weight of the entropy bonus."""
    learning_rate: float = 1e-3
    """Adam step size at the start."""
    target_kl: float = 0.01
    """KL per update that the learning rate is steered to; 0 keeps the rate."""
    max_grad_norm: float = 1.0
    """Largest global norm of a gradient."""
    reward_scale: float = 1.0
    """Rewards are multiplied by this."""
    actor_hidden: tuple[int, ...] = (64, 64)
    """Hidden layers of the actor."""
    critic_hidden: tuple[int, ...] = (64, 64)
    """Hidden layers of the critic."""
    actor_obs: str = "privileged"
    """Observation that the actor reads: "state" or "privileged"."""
    critic_obs: str = "privileged"
    """Observation that the critic reads."""

    def __post_init__(self) -> None:
        """Checks the settings.

        Raises:
            ValueError: a setting that cannot work, named.
        """
        for name in ("worlds", "unroll", "minibatches", "epochs"):
            if getattr(self, name) < 1:
                raise ValueError(f"ppo.{name} {getattr(self, name)} must be at least 1")
        if (self.worlds * self.unroll) % self.minibatches:
            raise ValueError(
                f"ppo: {self.worlds} worlds x {self.unroll} steps do not divide into "
                f"{self.minibatches} minibatches"
            )
        for name in ("actor_obs", "critic_obs"):
            if getattr(self, name) not in ("state", "privileged"):
                raise ValueError(
                    f"ppo.{name} {getattr(self, name)!r} must be 'state' or 'privileged'"
                )


@struct.dataclass
class TrainState:
    """Everything that training carries from one iteration to the next.

    Attributes:
        actor: parameters of the actor.
        critic: parameters of the critic.
        optimizer: Adam's moments for both.
        learning_rate: () step size.
        actor_norm: moments of the actor's observation.
        critic_norm: moments of the critic's observation.
        worlds: the B worlds.
        curriculum: state of the schedule.
        key: random key.
        steps: () int32 iterations done.
    """

    actor: Any
    critic: Any
    optimizer: optax.OptState
    learning_rate: jax.Array
    actor_norm: Normalizer
    critic_norm: Normalizer
    worlds: State
    curriculum: Any
    key: jax.Array
    steps: jax.Array


@struct.dataclass
class Batch:
    """What a gradient step reads; fields (N, ...)."""

    actor_obs: jax.Array
    critic_obs: jax.Array
    raw: jax.Array
    log_prob: jax.Array
    advantage: jax.Array
    target: jax.Array


@struct.dataclass
class Metrics:
    """Figures of one iteration, all (): sums over episodes, and means over gradient steps."""

    tally: Tally
    kl: jax.Array
    actor_loss: jax.Array
    critic_loss: jax.Array
    entropy: jax.Array
    learning_rate: jax.Array


@dataclass(frozen=True, eq=False)
class Ppo:
    """A learner: an environment, a schedule and settings. State lives in `TrainState`."""

    env: Environment
    curriculum: Curriculum
    config: PpoConfig

    @property
    def actor(self) -> Actor:
        """The actor network."""
        return Actor(self.config.actor_hidden, self.env.action_size)

    @property
    def critic(self) -> Critic:
        """The critic network."""
        return Critic(self.config.critic_hidden)

    def policy(self, actor: Any, x: jax.Array) -> Gaussian:
        """Returns the actor's distribution for normalized observations (..., P)."""
        return cast(Gaussian, self.actor.apply(actor, x))

    def value(self, critic: Any, x: jax.Array) -> jax.Array:
        """Returns the critic's value (...) of normalized observations (..., Q)."""
        return cast(jax.Array, self.critic.apply(critic, x))

    @partial(jax.jit, static_argnums=0)
    def init(self, key: jax.Array) -> TrainState:
        """Returns the state before the first iteration."""
        key_draw, key_reset, key_stagger, key_actor, key_critic, key_next = jax.random.split(key, 6)
        schedule = self.curriculum.init()
        draws = self.curriculum.sample(schedule, self.config.worlds, key_draw)
        worlds = reset_worlds(self.env, draws, key=key_reset)
        worlds = stagger(self.env, worlds, key=key_stagger)
        actor_obs, critic_obs = (worlds.obs[n] for n in self._names)
        actor = self.actor.init(key_actor, actor_obs)
        critic = self.critic.init(key_critic, critic_obs)
        return TrainState(
            actor=actor,
            critic=critic,
            optimizer=_adam(self.config).init((actor, critic)),
            learning_rate=jnp.float32(self.config.learning_rate),
            actor_norm=normalizer.init(actor_obs.shape[-1]),
            critic_norm=normalizer.init(critic_obs.shape[-1]),
            worlds=worlds,
            curriculum=schedule,
            key=key_next,
            steps=jnp.int32(0),
        )

    @partial(jax.jit, static_argnums=0, donate_argnums=1)
    def iterate(self, state: TrainState) -> tuple[TrainState, Metrics]:
        """Runs one iteration: rollout, normalizer, advantages, epochs, curriculum."""
        key_next, key_draw, key_reset, key_roll, key_epochs = jax.random.split(state.key, 5)
        draws = self.curriculum.sample(state.curriculum, self.config.worlds, key_draw)
        draws = keep_worlds(self.env.space, draws, state.worlds.pipeline_state.draw)
        fresh = reset_worlds(self.env, draws, key=key_reset)
        act = partial(self._act, state)
        worlds, steps, episodes, tally = rollout(
            self.env, act, state.worlds, fresh, self.config.unroll, key=key_roll
        )
        batch = self._prepare(state, steps)
        state = replace(
            state,
            actor_norm=normalizer.update(state.actor_norm, steps.obs[self._names[0]]),
            critic_norm=normalizer.update(state.critic_norm, steps.obs[self._names[1]]),
            worlds=worlds,
            curriculum=self.curriculum.update(state.curriculum, episodes),
            key=key_next,
            steps=state.steps + 1,
        )
        state, figures = self._epochs(state, batch, key_epochs)
        return state, Metrics(tally=tally, learning_rate=state.learning_rate, **figures)

    @property
    def _names(self) -> tuple[str, str]:
        """Names of the observations that actor and critic read."""
        return self.config.actor_obs, self.config.critic_obs

    def answer(self, state: TrainState, obs: dict[str, jax.Array]) -> Gaussian:
        """Returns the actor's distribution for observations (B, ...)."""
        return self.policy(state.actor, normalizer.apply(state.actor_norm, obs[self._names[0]]))

    def _act(
        self, state: TrainState, obs: dict[str, jax.Array], key: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        """Samples a raw action (B, J) and its log density (B,)."""
        policy = self.answer(state, obs)
        raw = distribution.sample(policy, key=key)
        return raw, distribution.log_prob(policy, raw)

    def _prepare(self, state: TrainState, steps: Transition) -> Batch:
        """Returns the rollout as a flat batch with normalized observations and advantages."""
        name = self._names[1]
        critic_obs = normalizer.apply(state.critic_norm, steps.obs[name])
        next_obs = normalizer.apply(state.critic_norm, steps.next_obs[name])
        advantage, target = gae(
            steps.reward * self.config.reward_scale,
            self.value(state.critic, critic_obs),
            self.value(state.critic, next_obs),
            steps.terminated,
            steps.done,
            discount=self.config.discount,
            trace=self.config.trace,
        )
        batch = Batch(
            actor_obs=normalizer.apply(state.actor_norm, steps.obs[self._names[0]]),
            critic_obs=critic_obs,
            raw=steps.raw,
            log_prob=steps.log_prob,
            advantage=(advantage - advantage.mean()) / (advantage.std() + 1e-8),
            target=target,
        )
        return jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), batch)

    def _epochs(
        self, state: TrainState, batch: Batch, key: jax.Array
    ) -> tuple[TrainState, dict[str, jax.Array]]:
        """Runs every epoch over freshly shuffled minibatches."""
        parts = self.config.minibatches

        def epoch(state: TrainState, key: jax.Array) -> tuple[TrainState, dict[str, jax.Array]]:
            order = jax.random.permutation(key, batch.advantage.shape[0])
            shuffled = jax.tree.map(lambda x: x[order].reshape(parts, -1, *x.shape[1:]), batch)
            return jax.lax.scan(self._gradient_step, state, shuffled)

        state, figures = jax.lax.scan(epoch, state, jax.random.split(key, self.config.epochs))
        return state, jax.tree.map(jnp.mean, figures)

    def _gradient_step(
        self, state: TrainState, batch: Batch
    ) -> tuple[TrainState, dict[str, jax.Array]]:
        """Takes one Adam step on one minibatch and steers the learning rate."""
        loss = jax.grad(partial(_loss, self), has_aux=True)
        gradient, figures = loss((state.actor, state.critic), batch)
        update, optimizer = _adam(self.config).update(gradient, state.optimizer)
        scaled = jax.tree.map(lambda x: -state.learning_rate * x, update)
        actor, critic = optax.apply_updates((state.actor, state.critic), scaled)
        rate = _steer(self.config, state.learning_rate, figures["kl"])
        state = replace(state, actor=actor, critic=critic, optimizer=optimizer, learning_rate=rate)
        return state, figures


def _adam(config: PpoConfig) -> optax.GradientTransformation:
    """Returns Adam's direction with clipped gradients; the step size is applied outside."""
    return optax.chain(
        optax.clip_by_global_norm(config.max_grad_norm), optax.scale_by_adam(eps=1e-5)
    )


def _steer(config: PpoConfig, rate: jax.Array, kl: jax.Array) -> jax.Array:
    """Returns the step size, larger where the policy moved too little, smaller where too much."""
    if config.target_kl <= 0:
        return rate
    rate = jnp.where(kl > 2 * config.target_kl, rate / 1.5, rate)
    rate = jnp.where(kl < 0.5 * config.target_kl, rate * 1.5, rate)
    return jnp.clip(rate, 1e-5, 1e-2)


def _loss(
    ppo: Ppo, params: tuple[Any, Any], batch: Batch
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """Returns the clipped surrogate (eq. 7 of the paper) plus value loss minus entropy bonus."""
    policy = ppo.policy(params[0], batch.actor_obs)
    log_ratio = distribution.log_prob(policy, batch.raw) - batch.log_prob
    ratio = jnp.exp(log_ratio)
    bounded = jnp.clip(ratio, 1 - ppo.config.clip, 1 + ppo.config.clip)
    actor_loss = -jnp.minimum(ratio * batch.advantage, bounded * batch.advantage).mean()
    value = ppo.value(params[1], batch.critic_obs)
    critic_loss = 0.5 * jnp.mean((value - batch.target) ** 2)
    entropy = distribution.entropy(policy).mean()
    total = actor_loss + ppo.config.value_weight * critic_loss - ppo.config.entropy_weight * entropy
    figures = {
        "kl": jnp.mean(ratio - 1 - log_ratio),  # Schulman's estimator k3 of KL(old || new)
        "actor_loss": actor_loss,
        "critic_loss": critic_loss,
        "entropy": entropy,
    }
    return total, figures
