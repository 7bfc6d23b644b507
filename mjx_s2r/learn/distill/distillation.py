"""Distillation of a camera student from a privileged teacher: on-policy DAgger (Ross et al. 2011).

In every iteration B worlds run T steps. In each world and step the teacher acts with probability
beta, the student otherwise; the teacher names the right action everywhere. The student then takes
gradient steps on the loss of `mjx_s2r.learn.distill.losses`. With beta 1 throughout this is
behaviour cloning, with beta 0 the student's own states from the start. The teacher's means are
bounded (`mjx_s2r.learn.distill.teachers.bounded`).
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, cast

import jax
import jax.numpy as jnp
import optax
from flax import struct

from mjx_s2r.curriculum.interface import Episodes
from mjx_s2r.io.config import ConfigError
from mjx_s2r.learn import minibatches, normalizer
from mjx_s2r.learn.distill.config import DistillConfig
from mjx_s2r.learn.distill.losses import DistillBatch, DistillLossMetrics, distill_loss
from mjx_s2r.learn.distill.teachers import (
    TeacherAnswer,
    TeacherModel,
    TeacherPolicy,
    bounded,
    teacher_of,
)
from mjx_s2r.learn.networks.actor_critic import RnnState
from mjx_s2r.learn.networks.encoders.pretrained import put_weights, scale_backbone
from mjx_s2r.learn.networks.encoders.weights import Weights
from mjx_s2r.learn.networks.gaussian import Gaussian
from mjx_s2r.learn.networks.modules import StudentNetwork, StudentOutput
from mjx_s2r.learn.normalizer import Normalizer
from mjx_s2r.learn.rollout import Images, Rollout, is_first
from mjx_s2r.sim.env import Env
from mjx_s2r.sim.interface import State

ALONE = 0.02  # the teacher's share of the acting below which the student counts as acting alone


@struct.dataclass
class DistillState:
    """State of distillation between updates.

    Attributes:
        params: the student's parameters.
        optimizer: Adam's moments.
        obs_norm: moments of the readings.
        updates: () int32 updates done; beta falls with them.
        taken_over: () bool, the student has come near enough; None where nobody asks.
        alone: () int32 rollouts for which the student has acted alone by now; None where it is the
            same one who acts throughout.
        teacher: who is asked; None but while acting (`Distillation.acting`).
    """

    params: Any
    optimizer: optax.OptState
    obs_norm: Normalizer
    updates: jax.Array
    taken_over: jax.Array | None = None
    alone: jax.Array | None = None
    teacher: TeacherModel | None = None


@struct.dataclass
class DistillMetrics(DistillLossMetrics):
    """Figures of one update, all ().

    ``beta`` is the teacher's share of the acting, ``agreement`` the share of pictures about which
    student and teacher agree, as the looks' schedule counts them.
    """

    beta: jax.Array
    agreement: jax.Array


@dataclass(frozen=True, eq=False)
class Distillation:
    """The algorithm; its state is a `DistillState`, see `mjx_s2r.learn.algorithm.Algorithm`.

    What it carries from step to step is the student's recurrent state (B, H), and behind it that
    of a teacher that remembers (B, M).

    Attributes:
        config: settings.
        student: the student network; where that is deployed, `policy` continues episodes, whatever
            ``is_first`` says.
        teacher: who names the right action.
        label: worlds -> (B, L) where the thing to find is, 0.1 m.
        image_shapes: (H, W, C) of what each camera shows.
        weights: pretrained weights that the student begins with.
    """

    config: DistillConfig
    student: StudentNetwork
    teacher: TeacherModel
    label: Callable[[State], jax.Array]
    image_shapes: tuple[tuple[int, int, int], ...]
    weights: Weights | None = None

    def init(self, obs: dict[str, jax.Array], *, key: jax.Array) -> DistillState:
        """Returns the state before the first update, for observations {name: (B, P)}."""
        images = tuple(jnp.zeros((1, 1, *shape)) for shape in self.image_shapes)
        nothing, first = jnp.zeros((1, self.student.rnn_hidden)), jnp.zeros((1, 1), bool)
        params = self.student.init(key, nothing, obs["state"][None, :1], images, first)
        params = put_weights(params, self.weights)
        return DistillState(
            params=params,
            optimizer=self._optimizer.init(params),
            obs_norm=normalizer.init(obs["state"].shape[-1]),
            updates=jnp.int32(0),
            taken_over=jnp.bool_(False) if self._waits else None,
            alone=jnp.int32(0) if self.config.acts == "mixture" else None,
        )

    def zero_rnn_state(self, num_envs: int) -> RnnState:
        """Returns the recurrent states (B, H + M) at the start of an episode, and no critic's."""
        size = self.student.rnn_hidden + self.teacher.rnn_size
        return RnnState(jnp.zeros((num_envs, size)), jnp.zeros((num_envs, 0)))

    def acting(self, state: DistillState) -> DistillState:
        """Returns the state with the teacher that `act` asks."""
        return replace(state, teacher=self.teacher)

    def act(
        self,
        state: DistillState,
        rnn_state: jax.Array,
        worlds: State,
        images: Images,
        key: jax.Array,
    ) -> tuple[jax.Array, jax.Array, tuple[TeacherAnswer, jax.Array, jax.Array]]:
        """Acts as the teacher with probability beta, else as the student; both with noise.

        Args:
            state: as `acting` returns it.
            rnn_state: (B, H + M).
            worlds: B worlds.
            images: what the student sees of them.
            key: random key.

        Returns:
            The recurrent states (B, H + M), the raw action (B, J), and the teacher's answer with
            the labels (B, L) and the `agreement` (B,).
        """
        key_who, key_noise = jax.random.split(key)
        first = is_first(worlds)
        kept, mine = self.policy(state, rnn_state, worlds.obs, images, first)
        own, theirs = self._split(kept)
        assert state.teacher is not None, "`acting` names who is asked"
        theirs, answer = state.teacher.answer(theirs, worlds.obs, first)
        answer = replace(answer, policy=bounded(answer.policy))
        right = answer.policy.mean
        raw = right if self.config.acts == "teacher" else mine.mean
        if self.config.acts == "mixture":
            teaches = jax.random.bernoulli(key_who, self.beta(state), (raw.shape[0], 1))
            raw = jnp.where(teaches, right, raw)
        raw = raw + self.config.action_noise * jax.random.normal(key_noise, raw.shape)
        agrees = agreement(mine.mean, right, self.config.agrees_within)
        return jnp.concatenate((own, theirs), -1), raw, (answer, self.label(worlds), agrees)

    def policy(
        self,
        state: DistillState,
        rnn_state: jax.Array,
        obs: dict[str, jax.Array],
        images: Images,
        is_first: jax.Array,
    ) -> tuple[jax.Array, Gaussian]:
        """Returns the recurrent states and the student's distribution of raw actions (B, J).

        The student's recurrent state (B, H) moves on; what stands behind it stays.
        """
        own, theirs = self._split(rnn_state)
        own, policy = self.student_step(state, own, obs["state"], images, is_first)
        return jnp.concatenate((own, theirs), -1), policy

    def student_step(
        self,
        state: DistillState,
        rnn_state: jax.Array,
        obs: jax.Array,
        images: Images,
        is_first: jax.Array,
    ) -> tuple[jax.Array, Gaussian]:
        """Returns the student's recurrent state (B, H) after one step, and its distribution (B, J).

        Args:
            state: holds its parameters and normalizer.
            rnn_state: (B, H) before the step.
            obs: (B, P) readings.
            images: per camera (B, H, W, C) uint8.
            is_first: (B,) bool: an episode begins here.
        """
        x = normalizer.apply(state.obs_norm, obs)
        if self.student.deployed:
            out = self._student(state.params, rnn_state, x, images, is_first)
            return out.rnn_state, out.policy
        shown = tuple(image[None] for image in images)
        out = self._student(state.params, rnn_state, x[None], shown, is_first[None])
        return out.rnn_state[0], jax.tree.map(lambda p: p[0], out.policy)

    def update(
        self, state: DistillState, rollout: Rollout, rnn_state: RnnState, *, key: jax.Array
    ) -> tuple[DistillState, jax.Array, DistillMetrics]:
        """Returns the state after all gradient steps, no critic's recurrent state, and metrics."""
        obs, beta = rollout.transitions.obs["state"], self.beta(state)
        state = replace(state, obs_norm=normalizer.update(state.obs_norm, obs))
        batch = self.batch(state.obs_norm, rollout, rnn_state)
        state, loss = self._run_epochs(state, batch, key)
        taken_over, alone = state.taken_over, state.alone
        if taken_over is not None:
            taken_over |= loss.mean_error < self.config.beta_error
        if alone is not None:
            alone = jnp.where(beta < ALONE, alone + 1, 0)
        state = replace(state, updates=state.updates + 1, taken_over=taken_over, alone=alone)
        agreed = self.picture_scores(rollout).mean()
        return state, rnn_state.critic, DistillMetrics(**vars(loss), beta=beta, agreement=agreed)

    def batch(self, obs_norm: Normalizer, rollout: Rollout, rnn_state: RnnState) -> DistillBatch:
        """Returns the frames of a rollout as minibatches take them: whole worlds, or single steps.

        Args:
            obs_norm: moments of the readings.
            rollout: T steps in B worlds.
            rnn_state: the recurrent states before the first of them.
        """
        steps = rollout.transitions
        teacher, label, _ = steps.extras
        batch = DistillBatch(
            obs=normalizer.apply(obs_norm, steps.obs["state"]),
            images=steps.images,
            is_first=steps.is_first,
            teacher=teacher,
            label=label,
            rnn_state=self._split(rnn_state.actor)[0][None],
            places=steps.places,
        )
        if self.student.rnn_hidden:
            return batch
        out = minibatches.single_steps(batch, self.config.groups)
        return replace(out, rnn_state=jnp.zeros((*out.is_first.shape, 0)))

    def scored_episodes(self, state: DistillState, rollout: Rollout) -> Episodes:
        """Returns the episodes that the student acted alone from their start on.

        These are the ones that end once the longest episode in which the teacher had a part has
        surely ended: before that, those that have ended are the short ones.
        """
        episodes = rollout.episodes
        if state.alone is None:
            own = jnp.bool_(self.config.acts == "student")
        else:
            own = (self.beta(state) < ALONE) & (state.alone >= episodes.longest)
        return replace(episodes, ended=episodes.ended & own)

    def picture_scores(self, rollout: Rollout) -> jax.Array:
        """Returns (T, B) the `agreement` of student and teacher about each picture."""
        return cast(jax.Array, rollout.transitions.extras[2])

    def beta(self, state: DistillState) -> jax.Array:
        """Returns () the teacher's share of the acting in the next rollout."""
        config = self.config
        if config.acts != "mixture":
            return jnp.float32(config.acts == "teacher")
        if state.taken_over is not None:
            return jnp.where(state.taken_over, 0.0, 1.0)
        if config.beta == "exponential":
            return jnp.float32(config.beta_decay) ** state.updates
        whole = max(1.0, config.beta_share * config.iterations)
        return jnp.clip(1.0 - state.updates / whole, 0.0, 1.0)

    @property
    def _waits(self) -> bool:
        """Whether the teacher acts until the student has come near enough."""
        return self.config.acts == "mixture" and self.config.beta == "threshold"

    @property
    def _optimizer(self) -> optax.GradientTransformation:
        """Adam with clipped gradients and a cosine schedule."""
        per_iteration = self.config.num_epochs * self.config.num_minibatches
        rate = optax.cosine_decay_schedule(
            self.config.learning_rate, self.config.iterations * per_iteration, alpha=0.02
        )
        chain = [optax.clip_by_global_norm(1.0), optax.adam(rate)]
        if self.config.encoder.pretrained:
            chain.append(scale_backbone(self.config.encoder))
        return optax.chain(*chain)

    def _student(self, *args: Any) -> StudentOutput:
        """Applies the network to its parameters and inputs."""
        return cast(StudentOutput, self.student.apply(*args))

    def _split(self, rnn_state: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Returns the student's recurrent state (B, H) and what stands behind it."""
        size = self.student.rnn_hidden
        return rnn_state[:, :size], rnn_state[:, size:]

    def _run_epochs(
        self, state: DistillState, batch: DistillBatch, key: jax.Array
    ) -> tuple[DistillState, DistillLossMetrics]:
        """Runs every epoch over freshly shuffled minibatches of items (T, N, ...)."""
        parts, groups = self.config.num_minibatches, self.config.groups
        size = batch.is_first.shape[1] // groups

        def step(
            state: DistillState, inputs: tuple[jax.Array, jax.Array]
        ) -> tuple[DistillState, DistillLossMetrics]:
            part = minibatches.take_items(batch, inputs[0])
            loss = partial(distill_loss, self.student, self.config)
            gradient, metrics = minibatches.mean_gradient(
                loss, state.params, part, inputs[1], self.config.microbatches
            )
            update, optimizer = self._optimizer.update(gradient, state.optimizer)
            params = optax.apply_updates(state.params, update)
            return replace(state, params=params, optimizer=optimizer), metrics

        def epoch(state: DistillState, key: jax.Array) -> tuple[DistillState, DistillLossMetrics]:
            key_order, key_shift = jax.random.split(key)
            chosen = minibatches.chosen(groups, size, parts, key=key_order)
            return jax.lax.scan(step, state, (chosen, jax.random.split(key_shift, parts)))

        state, metrics = jax.lax.scan(epoch, state, jax.random.split(key, self.config.num_epochs))
        return state, jax.tree.map(jnp.mean, metrics)


def agreement(student: jax.Array, teacher: jax.Array, within: float) -> jax.Array:
    """Returns (B,) 1 where two raw actions (B, J) mean nearly the same to the robot, else 0.

    Nearly is a root mean square distance of the squashed actions below ``within``.
    """
    squared = jnp.mean((jnp.tanh(student) - jnp.tanh(teacher)) ** 2, axis=-1)
    return (squared < within**2).astype(jnp.float32)


def make_distillation(
    env: Env,
    image_shapes: tuple[tuple[int, int, int], ...],
    teacher: TeacherPolicy | TeacherModel,
    config: DistillConfig,
    weights: Weights | None = None,
) -> Distillation:
    """Returns the algorithm for a student of ``env`` that sees pictures of the given shapes.

    Without ``weights`` a pretrained encoder begins at random, which only a student may do whose
    parameters are read from a checkpoint.

    Raises:
        ConfigError: a weight for the value of a teacher that knows none; too few maps.
    """
    teacher = teacher if isinstance(teacher, TeacherModel) else teacher_of(teacher)
    if config.value_weight and not teacher.knows_value:
        raise ConfigError(
            f"distill.value_weight {config.value_weight}: this teacher has no critic to learn a "
            "value from; set it to 0"
        )

    def find(world: State) -> jax.Array:
        """Returns (L,) what the student should be able to see in one world, in 0.1 m."""
        return 10.0 * env.label(world)

    start = jax.eval_shape(env.reset, jax.random.key(0))
    points = jax.eval_shape(env.keypoints, start).shape[0]
    if config.place_weight and points > config.cnn_channels:
        raise ConfigError(
            f"distill.cnn_channels {config.cnn_channels}: the task names {points} keypoints, and "
            f"each has a map of its own; take {points} at least, or distill.place_weight 0"
        )
    student = StudentNetwork(
        config.hidden,
        env.action_size,
        num_labels=jax.eval_shape(find, start).shape[0],
        cnn_channels=config.cnn_channels,
        rnn_hidden=config.rnn_hidden,
        value_head=config.value_weight > 0,
        encoder=config.encoder,
    )
    return Distillation(config, student, teacher, jax.vmap(find), image_shapes, weights)
