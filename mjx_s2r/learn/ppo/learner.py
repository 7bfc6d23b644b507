"""PPO (Schulman et al. 2017) as compiled iterations: rollout, advantages, epochs, curriculum.

The actor and the critic read whichever observation the configuration names; a teacher reads
"privileged" (true state and xi) with both, an asymmetric student-to-be gives its actor "state".
Both may have a memory: gradients then flow back through a rollout, and what was remembered before
it is taken as given (truncated backpropagation through time). The learning rate follows the
measured KL (Schulman's rule, as in rsl_rl) unless that is switched off. Everything that training
needs to go on bit by bit is in `TrainState`.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import struct
from jax.stages import Lowered

from mjx_s2r.curriculum.interface import Curriculum
from mjx_s2r.io.config import ConfigError
from mjx_s2r.learn import normalizer
from mjx_s2r.learn.compiled_step import ELSEWHERE, CompiledStep
from mjx_s2r.learn.gae import gae
from mjx_s2r.learn.nan_guard import NanSnapshot
from mjx_s2r.learn.networks import gaussian
from mjx_s2r.learn.networks.actor_critic import ActorCritic, Images, RnnState
from mjx_s2r.learn.networks.gaussian import Gaussian
from mjx_s2r.learn.networks.modules import merge_time, split_time
from mjx_s2r.learn.normalizer import Normalizer
from mjx_s2r.learn.ppo.config import PPOConfig
from mjx_s2r.learn.ppo.losses import Batch, LossMetrics, TrainableParams, adam, run_epochs
from mjx_s2r.learn.reset_pool import ResetPool
from mjx_s2r.learn.rollout import (
    EpisodeStats,
    Rollout,
    Transition,
    is_first,
    randomize_episode_time,
    rollout,
)
from mjx_s2r.sim.interface import Environment, State


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
        env_state: the B worlds.
        rnn_state: what actor and critic remember of each world.
        curriculum: state of the schedule.
        key: random key.
        iteration: () int32 iterations done.
        frames: pictures that worlds keep, for an actor that sees several at once.
    """

    actor: Any
    critic: Any
    optimizer: optax.OptState
    learning_rate: jax.Array
    actor_norm: Normalizer
    critic_norm: Normalizer
    env_state: State
    rnn_state: RnnState
    curriculum: Any
    key: jax.Array
    iteration: jax.Array
    frames: tuple[jax.Array, ...] = ()


@struct.dataclass
class Metrics:
    """Figures of one iteration, all (): sums over episodes, means over gradient steps.

    ``explained`` is the share of the targets' variance that the values explained beforehand;
    ``bad`` is the first world that ceased to be finite, as it was before that.
    """

    episodes: EpisodeStats
    nan_snapshot: NanSnapshot
    loss: LossMetrics
    learning_rate: jax.Array
    explained_variance: jax.Array


@dataclass(frozen=True, eq=False)
class PPOLearner:
    """A learner: an environment, a schedule and settings. State lives in `TrainState`.

    Attributes:
        env: the environment of one world.
        curriculum: the schedule.
        config: settings.
        image_shapes: (H, W, C) of what each camera shows the actor; see `mjx_s2r.learn.ppo.pixels`.
    """

    env: Environment
    curriculum: Curriculum
    config: PPOConfig
    image_shapes: tuple[tuple[int, int, int], ...] = ()

    @cached_property
    def nets(self) -> ActorCritic:
        """The networks."""
        return ActorCritic(self.config, self.env.action_size, self.image_shapes)

    def init(self, key: jax.Array) -> TrainState:
        """Returns the state before the first iteration."""
        return self._begin(*self._supply.initial(key))

    def programs(self, key: jax.Array) -> Iterator[Lowered]:
        """Yields the programs that `init` and `iterate` run, traced; the longest comes first."""
        yield from self.iteration.programs(jax.eval_shape(self.init, key))
        yield from self._supply.programs(key)
        yield PPOLearner._begin.lower(self, *jax.eval_shape(self._supply.initial, key))

    @cached_property
    def _supply(self) -> ResetPool:
        """Where worlds come from."""
        return ResetPool(self.env, self.curriculum, self.config.num_envs)

    @partial(jax.jit, static_argnums=0)
    def _begin(self, schedule: Any, worlds: State, keys: list[jax.Array]) -> TrainState:
        """Returns the state of a training that has not begun; its worlds have."""
        key_times, key_nets, key_next = keys
        worlds = randomize_episode_time(self.env, worlds, key=key_times)
        sizes = [worlds.obs[name].shape[-1] for name in self._names]
        actor, critic = self.nets.init(*sizes, key=key_nets)
        return TrainState(
            actor=actor,
            critic=critic,
            optimizer=adam(self.config).init((actor, critic)),
            learning_rate=jnp.float32(self.config.learning_rate),
            actor_norm=normalizer.init(sizes[0]),
            critic_norm=normalizer.init(sizes[1]),
            env_state=worlds,
            rnn_state=self.nets.zero_state(self.config.num_envs),
            curriculum=schedule,
            key=key_next,
            iteration=jnp.int32(0),
        )

    def iterate(self, state: TrainState) -> tuple[TrainState, Metrics]:
        """Runs one iteration: rollout, normalizer, advantages, epochs, curriculum."""
        state, metrics = self.iteration(state)
        return state, metrics

    @cached_property
    def iteration(self) -> CompiledStep:
        """The parts of an iteration, compiled."""

        def act(
            state: TrainState, ready: tuple[State, list[jax.Array]]
        ) -> tuple[TrainState, tuple[Rollout, jax.Array]]:
            """Runs the rollout; worlds are in what it leaves behind."""
            fresh, (key_next, key_roll, key_learn) = ready
            rolled = self.roll(state, fresh, key_roll)
            return replace(state, env_state=ELSEWHERE, key=key_next), (rolled, key_learn)

        def learn(
            state: TrainState, happened: tuple[Rollout, jax.Array]
        ) -> tuple[TrainState, Metrics]:
            """Learns from it."""
            return self.learn(state, happened[0], (), happened[1])

        return CompiledStep(self.prepare, act, learn)

    def prepare(self, state: TrainState) -> tuple[State, list[jax.Array]]:
        """Returns fresh worlds, and keys for the next state, the rollout and learning."""
        return self._supply.resample(state.curriculum, state.env_state, state.key)

    def roll(self, state: TrainState, fresh: State, key: jax.Array) -> Rollout:
        """Returns a rollout in which finished worlds become ``fresh`` ones."""
        act, memory, steps = partial(self.act, state), state.rnn_state.actor, self.config.num_steps
        return rollout(self.env, act, memory, state.env_state, fresh, steps, key=key)

    def act(
        self,
        state: TrainState,
        memory: jax.Array,
        worlds: State,
        key: jax.Array,
        images: Images = (),
    ) -> tuple[jax.Array, jax.Array, jax.Array]:
        """Returns the memory (B, H) after this step, a raw action (B, J) and its log density."""
        memory, policy = self.apply_policy(state, memory, worlds, images)
        raw = gaussian.sample(policy, key=key)
        return memory, raw, gaussian.log_prob(policy, raw)

    def apply_policy(
        self, state: TrainState, memory: jax.Array, worlds: State, images: Images = ()
    ) -> tuple[jax.Array, Gaussian]:
        """Returns the memory (B, H) after this step and the distribution of actions (B, J)."""
        x = normalizer.apply(state.actor_norm, worlds.obs[self._names[0]])
        shown = tuple(image[None] for image in images)
        memories, policy = self.nets.policy(
            state.actor, memory, x[None], shown, is_first(worlds)[None]
        )
        return memories[0], jax.tree.map(lambda p: p[0], policy)

    def policy(self, state: TrainState, obs: dict[str, jax.Array]) -> Gaussian:
        """Returns the distribution of actions (..., J) of an actor without memory.

        Raises:
            ConfigError: this one has a memory, or sees.
        """
        if self.config.rnn_hidden or self.image_shapes:
            raise ConfigError(
                f"this actor has a memory of {self.config.rnn_hidden} units and "
                f"{len(self.image_shapes)} cameras and cannot be asked one step at a time; train "
                "one with ppo.rnn_hidden 0 that reads numbers"
            )
        x = normalizer.apply(state.actor_norm, obs[self._names[0]])
        first = jnp.zeros((1, *x.shape[:-1]), bool)
        _, policy = self.nets.policy(state.actor, jnp.zeros((*x.shape[:-1], 0)), x[None], (), first)
        return jax.tree.map(lambda p: p[0], policy)

    @property
    def _names(self) -> tuple[str, str]:
        """Names of the observations that actor and critic read."""
        return self.config.actor_reads, self.config.critic_obs

    def learn(
        self, state: TrainState, rolled: Rollout, images: Images, key: jax.Array
    ) -> tuple[TrainState, Metrics]:
        """Returns the state after the gradient steps on a rollout; images are (T, B, H, W, C)."""
        batch, memory, explained = self.batch(state, rolled.transitions, images)
        weights = TrainableParams(state.actor, state.critic, state.optimizer, state.learning_rate)
        weights, figures = run_epochs(self.nets, weights, batch, key=key)
        names = self._names
        state = replace(
            state,
            actor=weights.actor,
            critic=weights.critic,
            optimizer=weights.optimizer,
            learning_rate=weights.learning_rate,
            actor_norm=normalizer.update(state.actor_norm, rolled.transitions.obs[names[0]]),
            critic_norm=normalizer.update(state.critic_norm, rolled.transitions.obs[names[1]]),
            env_state=rolled.env_state,
            rnn_state=RnnState(rolled.rnn_state, memory),
            curriculum=self.curriculum.update(state.curriculum, rolled.episodes),
            iteration=state.iteration + 1,
        )
        return state, Metrics(
            rolled.stats, rolled.nan_snapshot, figures, weights.learning_rate, explained
        )

    def batch(
        self, state: TrainState, steps: Transition, images: Images
    ) -> tuple[Batch, jax.Array, jax.Array]:
        """Returns what gradient steps read, the critic's memory (B, H), and its explained share.

        Observations are normalized as they were when the actions were taken.
        """
        critic_obs = normalizer.apply(state.critic_norm, steps.obs[self._names[1]])
        first, memory = steps.is_first, state.rnn_state
        kept, value = self.nets.value(state.critic, memory.critic, critic_obs, first)
        advantage, target = gae(
            steps.reward * self.config.reward_scale,
            value,
            self._next_value(state, kept, steps),
            steps.terminated,
            steps.done,
            gamma=self.config.gamma,
            gae_lambda=self.config.gae_lambda,
        )
        batch = Batch(
            actor_obs=normalizer.apply(state.actor_norm, steps.obs[self._names[0]]),
            critic_obs=critic_obs,
            images=images,
            is_first=first,
            raw_action=steps.raw_action,
            log_prob=steps.log_prob,
            advantage=(advantage - advantage.mean()) / (advantage.std() + 1e-8),
            target=target,
            value=value,
            actor_rnn_state=memory.actor[None],
            critic_rnn_state=memory.critic[None],
        )
        explained = 1 - jnp.var(target - value) / (jnp.var(target) + 1e-8)
        return batch, kept[-1], explained

    def _next_value(self, state: TrainState, kept: jax.Array, steps: Transition) -> jax.Array:
        """Returns (T, B) the value of what was seen after each step, before any reset."""
        x = normalizer.apply(state.critic_norm, steps.next_obs[self._names[1]])
        flat = merge_time(x)[None]
        goes_on = jnp.zeros(flat.shape[:2], bool)
        value = self.nets.value(state.critic, merge_time(kept), flat, goes_on)[1]
        return split_time(value[0], x.shape[0])
