"""REPPO, relative entropy pathwise policy optimization (Voelcker et al. 2025, arXiv 2507.11019).

On-policy as PPO, and with the same rollouts, schedules and state; but the critic judges actions,
and the actor climbs its gradient instead of weighing what happened to be tried. That takes a critic
which is right about actions: it learns soft TD(lambda) returns in bins, with normalized layers and
several passes over each rollout, while a bound keeps the actor near where the critic has been shown
the world. No replay buffer, no target network, no memory and no pictures.
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
from mjx_s2r.learn import distribution, normalizer
from mjx_s2r.learn.actor_critic import Images, Memory
from mjx_s2r.learn.distribution import Gaussian
from mjx_s2r.learn.iteration import ELSEWHERE, Iteration
from mjx_s2r.learn.normalizer import Normalizer
from mjx_s2r.learn.quarantine import Bad
from mjx_s2r.learn.reppo_networks import ReppoNets
from mjx_s2r.learn.reppo_settings import ReppoConfig
from mjx_s2r.learn.reppo_targets import decode, td_lambda
from mjx_s2r.learn.reppo_update import (
    Prices,
    ReppoBatch,
    ReppoFigures,
    ReppoWeights,
    epochs,
    first_moments,
    first_prices,
    squashed_log_prob,
)
from mjx_s2r.learn.rollout import (
    Result,
    Tally,
    Transition,
    rollout,
    stagger,
)
from mjx_s2r.learn.supply import Supply
from mjx_s2r.sim.interface import Environment, State


@struct.dataclass
class ReppoState:
    """Everything that training carries from one iteration to the next.

    Attributes:
        actor: parameters of the actor.
        critic: parameters of the critic.
        prices: of entropy and divergence.
        optimizer: Adam's moments for actor, critic and prices.
        actor_norm: moments of the actor's observation.
        critic_norm: moments of the critic's observation.
        worlds: the B worlds.
        memory: nothing, (B, 0); those who ask any learner for it need not ask which it is.
        curriculum: state of the schedule.
        key: random key.
        steps: () int32 iterations done.
        film: nothing, as memory.
    """

    actor: Any
    critic: Any
    prices: Prices
    optimizer: tuple[optax.OptState, optax.OptState, optax.OptState]
    actor_norm: Normalizer
    critic_norm: Normalizer
    worlds: State
    memory: Memory
    curriculum: Any
    key: jax.Array
    steps: jax.Array
    film: tuple[jax.Array, ...] = ()


@struct.dataclass
class ReppoMetrics:
    """Figures of one iteration, all (): sums over episodes, means over gradient steps.

    ``explained`` is the share of the targets' variance that the critic explained beforehand, in the
    first minibatch; ``bad`` is the first world that ceased to be finite, as it was before that.
    """

    tally: Tally
    bad: Bad
    figures: ReppoFigures
    learning_rate: jax.Array
    explained: jax.Array


@dataclass(frozen=True, eq=False)
class Reppo:
    """A learner: an environment, a schedule and settings. State lives in `ReppoState`.

    Attributes:
        env: the environment of one world.
        curriculum: the schedule.
        config: settings.
    """

    env: Environment
    curriculum: Curriculum
    config: ReppoConfig

    @cached_property
    def nets(self) -> ReppoNets:
        """The networks."""
        return ReppoNets(self.config, self.env.action_size)

    def init(self, key: jax.Array) -> ReppoState:
        """Returns the state before the first iteration."""
        return self._begin(*self._supply.first(key))

    def programs(self, key: jax.Array) -> Iterator[Lowered]:
        """Yields the programs that `init` and `iterate` run, traced; the longest comes first."""
        yield from self.iteration.programs(jax.eval_shape(self.init, key))
        yield from self._supply.programs(key)
        yield Reppo._begin.lower(self, *jax.eval_shape(self._supply.first, key))

    @cached_property
    def _supply(self) -> Supply:
        """Where worlds come from."""
        return Supply(self.env, self.curriculum, self.config.worlds)

    @partial(jax.jit, static_argnums=0)
    def _begin(self, schedule: Any, worlds: State, keys: list[jax.Array]) -> ReppoState:
        """Returns the state of a training that has not begun; its worlds have."""
        key_times, key_nets, key_next = keys
        worlds = stagger(self.env, worlds, key=key_times)
        sizes = [worlds.obs[name].shape[-1] for name in self._names]
        actor, critic = self.nets.init(*sizes, key=key_nets)
        return ReppoState(
            actor=actor,
            critic=critic,
            prices=first_prices(self.config),
            optimizer=first_moments(self.config, actor, critic),
            actor_norm=normalizer.init(sizes[0]),
            critic_norm=normalizer.init(sizes[1]),
            worlds=worlds,
            memory=self.nets.blank(self.config.worlds),
            curriculum=schedule,
            key=key_next,
            steps=jnp.int32(0),
        )

    def iterate(self, state: ReppoState) -> tuple[ReppoState, ReppoMetrics]:
        """Runs one iteration: rollout, targets, epochs, normalizer, curriculum."""
        state, metrics = self.iteration(state)
        return state, metrics

    @cached_property
    def iteration(self) -> Iteration:
        """The parts of an iteration, compiled."""

        def prepare(state: ReppoState) -> tuple[State, list[jax.Array]]:
            """Returns fresh worlds, and keys for the next state, the rollout and learning."""
            return self._supply.fresh(state.curriculum, state.worlds, state.key)

        def act(
            state: ReppoState, ready: tuple[State, list[jax.Array]]
        ) -> tuple[ReppoState, tuple[Result, jax.Array]]:
            """Runs the rollout; worlds are in what it leaves behind."""
            fresh, (key_next, key_roll, key_learn) = ready
            act, memory, steps = partial(self._act, state), state.memory.actor, self.config.unroll
            rolled = rollout(self.env, act, memory, state.worlds, fresh, steps, key=key_roll)
            return replace(state, worlds=ELSEWHERE, key=key_next), (rolled, key_learn)

        def learn(
            state: ReppoState, happened: tuple[Result, jax.Array]
        ) -> tuple[ReppoState, ReppoMetrics]:
            """Learns from it."""
            return self._learn(state, *happened)

        return Iteration(prepare, act, learn)

    def watch(
        self, state: ReppoState, memory: jax.Array, worlds: State, images: Images = ()
    ) -> tuple[jax.Array, Gaussian]:
        """Returns the memory as it was, and the distribution of actions (B, J)."""
        del images
        return memory, self.answer(state, worlds.obs)

    def answer(self, state: ReppoState, obs: dict[str, jax.Array]) -> Gaussian:
        """Returns the distribution of actions (..., J)."""
        x = normalizer.apply(state.actor_norm, obs[self._names[0]])
        return self.nets.policy(state.actor, x)

    @property
    def _names(self) -> tuple[str, str]:
        """Names of the observations that actor and critic read."""
        return self.config.actor_obs, self.config.critic_obs

    def _act(
        self, state: ReppoState, memory: jax.Array, worlds: State, key: jax.Array
    ) -> tuple[jax.Array, jax.Array, jax.Array]:
        """Returns the memory, a raw action (B, J) and its log density."""
        policy = self.answer(state, worlds.obs)
        raw = distribution.sample(policy, key=key)
        return memory, raw, distribution.log_prob(policy, raw)

    def _learn(
        self, state: ReppoState, rolled: Result, key: jax.Array
    ) -> tuple[ReppoState, ReppoMetrics]:
        """Returns the state after the gradient steps on a rollout."""
        key_next, key_steps = jax.random.split(key)
        batch = self._batch(state, rolled.steps, key_next)
        weights = ReppoWeights(state.actor, state.critic, state.prices, state.optimizer)
        weights, figures = epochs(self.nets, weights, batch, key=key_steps)
        names = self._names
        state = replace(
            state,
            actor=weights.actor,
            critic=weights.critic,
            prices=weights.prices,
            optimizer=weights.optimizer,
            actor_norm=normalizer.update(state.actor_norm, rolled.steps.obs[names[0]]),
            critic_norm=normalizer.update(state.critic_norm, rolled.steps.obs[names[1]]),
            worlds=rolled.worlds,
            curriculum=self.curriculum.update(state.curriculum, rolled.episodes),
            steps=state.steps + 1,
        )
        rate = jnp.float32(self.config.learning_rate)
        said = jax.tree.map(jnp.mean, figures)
        return state, ReppoMetrics(rolled.tally, rolled.bad, said, rate, figures.explained[0, 0])

    def _batch(self, state: ReppoState, steps: Transition, key: jax.Array) -> ReppoBatch:
        """Returns what gradient steps read, fields (T, B, ...).

        Observations are normalized as they were when the actions were taken. What follows a step is
        what was seen after it, before any reset, and an action drawn there: so a truncation is
        bootstrapped from the last observation.
        """
        names, shape = self._names, steps.reward.shape
        actor_obs = normalizer.apply(state.actor_norm, steps.obs[names[0]])
        policy = self.answer(state, steps.next_obs)
        raw = distribution.sample(policy, key=key)
        seen = normalizer.apply(state.critic_norm, steps.next_obs[names[1]])
        flat = [x.reshape(-1, x.shape[-1]) for x in (seen, jnp.tanh(raw))]
        features, logits = self.nets.judge(state.critic, *flat)
        reward = steps.reward * self.config.reward_scale
        ahead = None
        if self.config.self_prediction:
            ahead = jnp.concatenate((features.reshape(*shape, -1), reward[..., None]), -1)
        return ReppoBatch(
            actor_obs=actor_obs,
            critic_obs=normalizer.apply(state.critic_norm, steps.obs[names[1]]),
            action=jnp.tanh(steps.raw),
            before=self.nets.policy(state.actor, actor_obs),
            target=td_lambda(
                reward,
                decode(logits, *self.config.support).reshape(shape),
                -jnp.exp(state.prices.alpha) * squashed_log_prob(policy, raw),
                steps.terminated,
                steps.done,
                discount=self.config.discount,
                trace=self.config.trace,
            ),
            ahead=ahead,
        )
