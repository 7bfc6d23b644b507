"""PPO (Schulman et al. 2017): act, and an update of normalizers, advantages and gradient steps.

The actor and the critic read whichever observation the configuration names; a teacher reads
"privileged" (true state and xi) with both, an asymmetric student-to-be gives its actor "state".
Both may have a memory: gradients then flow back through a rollout, and what was remembered before
it is taken as given (truncated backpropagation through time). The learning rate follows the
measured KL (Schulman's rule, as in rsl_rl) unless that is switched off.

Minibatches are made of single steps, or of whole worlds where the networks remember. Neighbouring
steps of a world are alike, and minibatches of whole worlds teach less: on Playground's cartpole one
of five seeds returned 700 after 1.8 million steps with them, and three with single steps.
"""

from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import struct

from mjx_s2r.learn import minibatches, normalizer
from mjx_s2r.learn.gae import gae
from mjx_s2r.learn.networks import gaussian
from mjx_s2r.learn.networks.actor_critic import ActorCritic, RnnState
from mjx_s2r.learn.networks.encoders.pretrained import scale_backbone
from mjx_s2r.learn.networks.gaussian import Gaussian
from mjx_s2r.learn.networks.modules import merge_time, split_time
from mjx_s2r.learn.normalizer import Normalizer
from mjx_s2r.learn.ppo.config import PPOConfig
from mjx_s2r.learn.ppo.losses import Batch, LossMetrics, ppo_loss
from mjx_s2r.learn.ppo.start import StudentStart
from mjx_s2r.learn.rollout import Images, Rollout, Transition, is_first
from mjx_s2r.sim.env import inferable_columns
from mjx_s2r.sim.interface import Environment, State


@struct.dataclass
class PPOState:
    """State of PPO between updates.

    Attributes:
        actor: parameters of the actor.
        critic: parameters of the critic.
        optimizer: Adam's moments for both.
        learning_rate: () step size.
        actor_norm: moments of the actor's observation.
        critic_norm: moments of the critic's observation.
        imitation: () weight of the divergence from the teacher; None where nobody is imitated.
    """

    actor: Any
    critic: Any
    optimizer: optax.OptState
    learning_rate: jax.Array
    actor_norm: Normalizer
    critic_norm: Normalizer
    imitation: jax.Array | None = None


@struct.dataclass
class PPOMetrics(LossMetrics):
    """Figures of one update, all (): means over gradient steps, and of the whole update.

    ``explained_variance`` is the share of the targets' variance that the values explained before.
    """

    learning_rate: jax.Array
    explained_variance: jax.Array


@dataclass(frozen=True, eq=False)
class PPO:
    """The algorithm; its state is a `PPOState`, see `mjx_s2r.learn.algorithm.Algorithm`.

    Attributes:
        config: settings.
        num_actions: J.
        image_shapes: (H, W, C) of what each camera shows the actor.
        deployed: `policy` is laid out for ONNX and continues episodes, whatever ``is_first`` says.
        start: the student that the actor begins as, if any.
        inferable: first column, and the one behind the last, of what a student could find out in
            "privileged"; see `mjx_s2r.sim.env.inferable_columns`.
    """

    config: PPOConfig
    num_actions: int
    image_shapes: tuple[tuple[int, int, int], ...] = ()
    deployed: bool = False
    inferable: tuple[int, int] | None = None
    start: StudentStart | None = None

    @cached_property
    def nets(self) -> ActorCritic:
        """The networks, without parameters."""
        student = None if self.start is None else self.start.student
        return ActorCritic(self.config, self.num_actions, self.image_shapes, student)

    def init(self, obs: dict[str, jax.Array], *, key: jax.Array) -> PPOState:
        """Returns the state before the first update, for observations {name: (B, P)}."""
        sizes = self.actor_obs(obs).shape[-1], obs[self.config.critic_obs].shape[-1]
        actor, critic = self.nets.init(*sizes, key=key)
        state = PPOState(
            actor=actor,
            critic=critic,
            optimizer=adam(self.config).init((actor, critic)),
            learning_rate=jnp.float32(self.config.learning_rate),
            actor_norm=normalizer.init(sizes[0]),
            critic_norm=normalizer.init(sizes[1]),
        )
        return state if self.start is None else self._begun(state, self.start)

    def _begun(self, state: PPOState, start: StudentStart) -> PPOState:
        """Returns the state with the student as actor, and its teacher's critic if it has one."""
        if start.critic is not None:
            taught = jax.tree.map(jnp.asarray, start.critic.params)
            state = replace(state, critic=taught, critic_norm=start.critic.obs_norm)
        return replace(
            state,
            actor=jax.tree.map(jnp.asarray, start.params),
            actor_norm=start.obs_norm,
            imitation=jnp.float32(self.config.imitation_coef),
        )

    def actor_obs(self, obs: dict[str, jax.Array]) -> jax.Array:
        """Returns (..., P) the numbers that the actor reads of observations {name: (..., P)}.

        Raises:
            ValueError: nobody has said what a student could find out.
        """
        if self.config.actor_reads != "inferable":
            return obs[self.config.actor_reads]
        if self.inferable is None:
            raise ValueError(
                "ppo.actor_obs 'inferable': this trainer was not told which columns a student "
                "could find out; build PPO with `make_ppo`"
            )
        return jnp.concatenate((obs["state"], obs["privileged"][..., slice(*self.inferable)]), -1)

    def zero_rnn_state(self, num_envs: int) -> RnnState:
        """Returns the recurrent states (B, H) of actor and critic at the start of an episode."""
        return self.nets.zero_state(num_envs)

    def act(
        self, state: PPOState, rnn_state: jax.Array, worlds: State, images: Images, key: jax.Array
    ) -> tuple[jax.Array, jax.Array, jax.Array]:
        """Returns the recurrent state (B, H), a raw action (B, J) and its log density (B,)."""
        rnn_state, policy = self.policy(state, rnn_state, worlds.obs, images, is_first(worlds))
        raw = gaussian.sample(policy, key=key)
        return rnn_state, raw, gaussian.log_prob(policy, raw)

    def policy(
        self,
        state: PPOState,
        rnn_state: jax.Array,
        obs: dict[str, jax.Array],
        images: Images,
        is_first: jax.Array,
    ) -> tuple[jax.Array, Gaussian]:
        """Returns the recurrent state (B, H) and the distribution of raw actions (B, J)."""
        x = normalizer.apply(state.actor_norm, self.actor_obs(obs))
        if self.deployed:
            return self.nets.deployed_step(state.actor, rnn_state, x, images)
        shown = tuple(image[None] for image in images)
        rnn_states, policy = self.nets.policy(
            state.actor, rnn_state, x[None], shown, is_first[None]
        )
        return rnn_states[0], jax.tree.map(lambda p: p[0], policy)

    def update(
        self, state: PPOState, rollout: Rollout, rnn_state: RnnState, *, key: jax.Array
    ) -> tuple[PPOState, jax.Array, PPOMetrics]:
        """Returns the state after all gradient steps, the critic's recurrent state, and metrics."""
        obs = rollout.transitions.obs
        batch, critic_rnn_state, explained = self.batch(state, rollout.transitions, rnn_state)
        state, loss = run_epochs(self.nets, state, batch, key=key)
        imitation = state.imitation
        if self.start is not None and imitation is not None:
            step = self.config.imitation_coef / self.start.updates
            imitation = jnp.maximum(0.0, imitation - step)
        state = replace(
            state,
            imitation=imitation,
            actor_norm=normalizer.update(state.actor_norm, self.actor_obs(obs)),
            critic_norm=normalizer.update(state.critic_norm, obs[self.config.critic_obs]),
        )
        metrics = PPOMetrics(
            **vars(loss), learning_rate=state.learning_rate, explained_variance=explained
        )
        return state, critic_rnn_state, metrics

    def batch(
        self, state: PPOState, steps: Transition, rnn_state: RnnState
    ) -> tuple[Batch, jax.Array, jax.Array]:
        """Returns what gradient steps read, the critic's recurrent state, and the explained share.

        Observations are normalized as they were when the actions were taken.
        """
        critic_obs = normalizer.apply(state.critic_norm, steps.obs[self.config.critic_obs])
        kept, value = self.nets.value(state.critic, rnn_state.critic, critic_obs, steps.is_first)
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
            actor_obs=normalizer.apply(state.actor_norm, self.actor_obs(steps.obs)),
            critic_obs=critic_obs,
            images=steps.images,
            is_first=steps.is_first,
            raw_action=steps.raw_action,
            log_prob=steps.extras,
            advantage=(advantage - advantage.mean()) / (advantage.std() + 1e-8),
            target=target,
            value=value,
            actor_rnn_state=rnn_state.actor[None],
            critic_rnn_state=rnn_state.critic[None],
            teacher=None if self.start is None else self.start.teacher(steps.obs),
        )
        explained = 1 - jnp.var(target - value) / (jnp.var(target) + 1e-8)
        return batch, kept[-1], explained

    def _next_value(self, state: PPOState, kept: jax.Array, steps: Transition) -> jax.Array:
        """Returns (T, B) the value of what was seen after each step, before any reset."""
        x = normalizer.apply(state.critic_norm, steps.next_obs[self.config.critic_obs])
        flat = merge_time(x)[None]
        goes_on = jnp.zeros(flat.shape[:2], bool)
        value = self.nets.value(state.critic, merge_time(kept), flat, goes_on)[1]
        return split_time(value[0], x.shape[0])


def make_ppo(
    config: PPOConfig,
    env: Environment,
    image_shapes: tuple[tuple[int, int, int], ...] = (),
    start: StudentStart | None = None,
) -> PPO:
    """Returns the algorithm for an environment whose cameras, if any, show the given shapes."""
    columns = inferable_columns(env) if config.actor_obs == "inferable" else None
    return PPO(config, env.action_size, image_shapes, inferable=columns, start=start)


def adam(config: PPOConfig) -> optax.GradientTransformation:
    """Returns Adam's direction with clipped gradients; the step size is applied outside."""
    return optax.chain(
        optax.clip_by_global_norm(config.max_grad_norm), optax.scale_by_adam(eps=1e-5)
    )


def run_epochs(
    nets: ActorCritic, state: PPOState, batch: Batch, *, key: jax.Array
) -> tuple[PPOState, LossMetrics]:
    """Runs every epoch over freshly shuffled minibatches; metrics are means over all of them."""
    config, groups = nets.config, nets.config.groups
    batch = batch if config.rnn_hidden else by_steps(batch, groups)
    size = batch.target.shape[1] // groups

    def step(state: PPOState, chosen: jax.Array) -> tuple[PPOState, LossMetrics]:
        return gradient_step(nets, state, minibatches.take_items(batch, chosen))

    def epoch(state: PPOState, key: jax.Array) -> tuple[PPOState, LossMetrics]:
        chosen = minibatches.chosen(groups, size, config.num_minibatches, key=key)
        return jax.lax.scan(step, state, chosen)

    state, metrics = jax.lax.scan(epoch, state, jax.random.split(key, config.num_epochs))
    return state, jax.tree.map(jnp.mean, metrics)


def gradient_step(nets: ActorCritic, state: PPOState, batch: Batch) -> tuple[PPOState, LossMetrics]:
    """Takes one Adam step on one minibatch and adapts the learning rate to the measured KL."""
    loss = jax.grad(partial(ppo_loss, nets), has_aux=True)
    gradient, metrics = loss((state.actor, state.critic), batch, state.imitation)
    direction, optimizer = adam(nets.config).update(gradient, state.optimizer)
    if nets.student is not None:  # its pretrained encoder goes on at its own share of the rate
        slower = scale_backbone(nets.student.encoder)
        direction = slower.update(direction[0], optax.EmptyState())[0], direction[1]
    scaled = jax.tree.map(lambda x: -state.learning_rate * x, direction)
    actor, critic = optax.apply_updates((state.actor, state.critic), scaled)
    rate = adapt_learning_rate(nets.config, state.learning_rate, metrics.kl)
    state = replace(state, actor=actor, critic=critic, optimizer=optimizer, learning_rate=rate)
    return state, metrics


def adapt_learning_rate(config: PPOConfig, rate: jax.Array, kl: jax.Array) -> jax.Array:
    """Returns the step size, larger where the policy moved too little, smaller where too much."""
    if config.target_kl <= 0:
        return rate
    rate = jnp.where(kl > 2 * config.target_kl, rate / 1.5, rate)
    rate = jnp.where(kl < 0.5 * config.target_kl, rate * 1.5, rate)
    return jnp.clip(rate, 1e-5, 1e-2)


def by_steps(batch: Batch, groups: int) -> Batch:
    """Returns the batch with every step an item of its own, (1, T B, ...), group by group."""
    out = minibatches.single_steps(batch, groups)
    none = jnp.zeros((*out.target.shape, 0))
    return replace(out, actor_rnn_state=none, critic_rnn_state=none)
