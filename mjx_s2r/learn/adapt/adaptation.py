"""Adaptation of a camera student to real pictures: co-training in stages.

An iteration runs B simulated worlds as distillation does, the student acting and the teacher naming
the right action. Each gradient step then takes a minibatch of these frames and a batch of real
ones, with the share s of simulation that the stage has:

    (s + w_replay) L_distill + (1 - s) w_real |tanh m - a|^2 + w_l2 |theta - theta_0|^2 + L_align

in which a is the demonstrated action (co-training: arXiv 2503.24361; L2-SP: Li et al. 2018). The
expectation is that of a minibatch mixed with share s; one compiled program serves all stages. The
normalizer of readings stays that of the student. Held-out demonstrations judge the student on the
way; at its end a stage goes back to the best parameters so far.

The real frames of an iteration come from the host, `RealFrames` in `Rollout.host`.
"""

from dataclasses import dataclass, replace
from functools import partial
from typing import Any, cast

import jax
import jax.numpy as jnp
import optax
from flax import struct

from mjx_s2r.curriculum.interface import Episodes
from mjx_s2r.learn import minibatches, normalizer
from mjx_s2r.learn.adapt.adapted_student import (
    REAL,
    AdaptedParams,
    AdaptedStudent,
    trained_leaves,
    with_adapter,
)
from mjx_s2r.learn.adapt.alignment import (
    AlignmentBatch,
    AlignmentMetrics,
    alignment_loss,
    init_alignment,
)
from mjx_s2r.learn.adapt.config import AdaptationConfig
from mjx_s2r.learn.distill.config import DistillConfig
from mjx_s2r.learn.distill.distillation import Distillation, DistillState
from mjx_s2r.learn.distill.losses import (
    DistillBatch,
    DistillLossMetrics,
    augment_frames,
    augment_images,
    loss_of_batch,
)
from mjx_s2r.learn.distill.teachers import TeacherModel
from mjx_s2r.learn.networks.actor_critic import RnnState
from mjx_s2r.learn.networks.gaussian import Gaussian
from mjx_s2r.learn.networks.modules import StudentNetwork, StudentOutput
from mjx_s2r.learn.normalizer import Normalizer
from mjx_s2r.learn.rollout import Images, Rollout
from mjx_s2r.sim.interface import State

LEAST_GAIN = 1e-6  # of the held-out error, squared action


@struct.dataclass
class RealFrames:
    """Real frames, fields (T, M, ...), or (G, T, M, ...) for the G gradient steps of an iteration.

    Attributes:
        obs: (P,) readings.
        images: per camera (H, W, C) uint8.
        is_first: () bool, a student that remembers begins anew.
        actions: (J,) demonstrated actions in [-1, 1]; None of pictures without labels.
    """

    obs: jax.Array
    images: Images
    is_first: jax.Array
    actions: jax.Array | None


@struct.dataclass
class RealBatch:
    """What an iteration gets from the host.

    Attributes:
        labelled: demonstrations, (G, T, M, ...); None where there are none.
        target: pictures to align with, (G, T, M, ...); None takes the demonstrations.
        held_out: demonstrations to judge by, (T, K, ...); None where none are kept.
    """

    labelled: RealFrames | None
    target: RealFrames | None
    held_out: RealFrames | None


@struct.dataclass
class AdaptState:
    """State of adaptation between updates.

    Attributes:
        params: the student's parameters now.
        optimizer: Adam's moments.
        obs_norm: moments of the readings; they stay.
        updates: () int32 updates done.
        start: the network's parameters at the start.
        stage: () int32 the stage; S once all are over.
        stage_updates: () int32 updates done in it.
        best: the parameters with the smallest held-out error so far.
        best_error: () that error, inf where nothing is held out.
        waited: () int32 looks in this stage since it became smaller.
        last_error: () the held-out error at the last look, NaN where nothing is held out.
        teacher: who is asked; None but while acting (`Adaptation.acting`).
    """

    params: AdaptedParams
    optimizer: optax.OptState
    obs_norm: Normalizer
    updates: jax.Array
    start: Any
    stage: jax.Array
    stage_updates: jax.Array
    best: AdaptedParams
    best_error: jax.Array
    waited: jax.Array
    last_error: jax.Array
    teacher: TeacherModel | None = None


@struct.dataclass
class AdaptMetrics(DistillLossMetrics):
    """Figures of one update, all (); those of distillation are of simulated frames.

    Attributes:
        real_error: squared squashed action on the real frames that are learned from.
        held_out_error: the same on held-out demonstrations, without augmentation, at the last
            look; NaN where none are held out.
        drift: squared distance of the network's parameters from the start.
        stage: number of the stage.
        simulated: share of simulation.
        learning_rate: Adam's step size.
        alignment_loss: see `AlignmentMetrics`, as those below.
    """

    real_error: jax.Array
    held_out_error: jax.Array
    drift: jax.Array
    stage: jax.Array
    simulated: jax.Array
    learning_rate: jax.Array
    alignment_loss: jax.Array
    alignment_strength: jax.Array
    domain_accuracy: jax.Array
    transported: jax.Array


@struct.dataclass
class _StepInputs:
    """What one gradient step takes.

    Attributes:
        chosen: places of the simulated items.
        labelled: real frames (T, M, ...).
        target: frames to align with; None takes the real frames.
        key: random key.
    """

    chosen: jax.Array
    labelled: RealFrames | None
    target: RealFrames | None
    key: jax.Array


@dataclass(frozen=True, eq=False)
class Adaptation:
    """The algorithm; its state is an `AdaptState`, see `mjx_s2r.learn.algorithm.Algorithm`.

    Attributes:
        settings: of adaptation.
        distillation: that of the student, whose network is an `AdaptedStudent`.
        start: the student's parameters and normalizer.
    """

    settings: AdaptationConfig
    distillation: Distillation
    start: tuple[AdaptedParams, Normalizer]

    @property
    def config(self) -> DistillConfig:
        """Settings of distillation, with the numbers of worlds and steps."""
        return self.distillation.config

    @property
    def student(self) -> AdaptedStudent:
        """The student, as it is told that it is in simulation."""
        return cast(AdaptedStudent, self.distillation.student)

    @property
    def on_robot(self) -> AdaptedStudent:
        """The student, as it is told that it is on the robot."""
        return replace(self.student, domain=REAL)

    def init(self, obs: dict[str, jax.Array], *, key: jax.Array) -> AdaptState:
        """Returns the state before the first update."""
        params, obs_norm = self.start
        actions = self.student.network.num_actions
        size = self._seen_size(params, obs["state"].shape[-1])
        alignment = init_alignment(self.settings.alignment, size, actions, key=key)
        params = replace(params, alignment=alignment)
        return AdaptState(
            params=params,
            optimizer=self._optimizer.init(params),
            obs_norm=obs_norm,
            updates=jnp.int32(0),
            start=params.student,
            stage=jnp.int32(0),
            stage_updates=jnp.int32(0),
            best=params,
            best_error=jnp.float32(jnp.inf),
            waited=jnp.int32(0),
            last_error=jnp.float32(jnp.nan),
        )

    def zero_rnn_state(self, num_envs: int) -> RnnState:
        """Returns the recurrent states at the start of an episode."""
        return self.distillation.zero_rnn_state(num_envs)

    def acting(self, state: AdaptState) -> AdaptState:
        """Returns the state with the teacher that `act` asks."""
        return replace(state, teacher=self.distillation.teacher)

    def act(
        self,
        state: AdaptState,
        rnn_state: jax.Array,
        worlds: State,
        images: Images,
        key: jax.Array,
    ) -> tuple[jax.Array, jax.Array, Any]:
        """Acts as the student does in simulation, with noise; the teacher's answer is an extra."""
        return self.distillation.act(
            self.distilled(state, state.params), rnn_state, worlds, images, key
        )

    def policy(
        self,
        state: AdaptState,
        rnn_state: jax.Array,
        obs: dict[str, jax.Array],
        images: Images,
        is_first: jax.Array,
    ) -> tuple[jax.Array, Gaussian]:
        """Returns the recurrent states and the distribution (B, J), as on the robot."""
        robot = replace(self.distillation, student=cast(StudentNetwork, self.on_robot))
        return robot.policy(self.distilled(state, state.params), rnn_state, obs, images, is_first)

    def update(
        self, state: AdaptState, rollout: Rollout, rnn_state: RnnState, *, key: jax.Array
    ) -> tuple[AdaptState, jax.Array, AdaptMetrics]:
        """Returns the state after all gradient steps, no critic's recurrent state, and metrics.

        Raises:
            ValueError: no real frames came with the rollout.
        """
        real = rollout.host
        if not isinstance(real, RealBatch):
            raise ValueError("adaptation needs real frames: give the trainer a host_batch")
        state = self.judged_at_start(state, real.held_out)
        batch = self.distillation.batch(state.obs_norm, rollout, rnn_state)
        share, rate = self._of_stage("simulated", state), self._of_stage("learning_rate", state)
        stage = state.stage
        state, (distilled, figures) = self._run_steps(state, batch, real, key)
        state = self.advance(state, real.held_out)
        return (
            state,
            rnn_state.critic,
            AdaptMetrics(
                **vars(distilled),
                **figures,
                held_out_error=state.last_error,
                stage=stage.astype(jnp.float32),
                simulated=share,
                learning_rate=rate,
            ),
        )

    def scored_episodes(self, state: AdaptState, rollout: Rollout) -> Episodes:
        """Returns all episodes: the student acts alone."""
        del state
        return rollout.episodes

    def picture_scores(self, rollout: Rollout) -> jax.Array:
        """Returns (T, B) the agreement of student and teacher about each picture."""
        return self.distillation.picture_scores(rollout)

    def action_error(self, state: AdaptState, params: AdaptedParams, real: RealFrames) -> jax.Array:
        """Returns () the mean squared difference of squashed actions on frames (T, M, ...)."""
        return squashed_error(self._on_real(state, params, real), real)

    def real_features(
        self, state: AdaptState, params: AdaptedParams, real: RealFrames
    ) -> jax.Array:
        """Returns (T, M, F) what the student makes of real pictures."""
        return self.student.seen(self._on_real(state, params, real), real.obs.shape[-1])

    def simulated_features(
        self, state: AdaptState, params: AdaptedParams, obs: jax.Array, images: Images
    ) -> jax.Array:
        """Returns (N, F) what it makes of simulated pictures at the start of an episode."""
        shown = tuple(image[None] for image in images)
        memory = jnp.zeros((obs.shape[0], self.student.rnn_hidden))
        first = jnp.ones((1, obs.shape[0]), bool)
        x = normalizer.apply(state.obs_norm, obs)[None]
        out = self.student.apply(params, memory, x, shown, first)
        return self.student.seen(out, obs.shape[-1])[0]

    @property
    def _optimizer(self) -> optax.GradientTransformation:
        """Adam's direction for clipped gradients; the stage's step size comes after it."""
        return optax.chain(optax.clip_by_global_norm(1.0), optax.scale_by_adam())

    def distilled(self, state: AdaptState, params: AdaptedParams) -> DistillState:
        """Returns the state as distillation has it, of a student that acts alone."""
        return DistillState(
            params=params,
            optimizer=(),
            obs_norm=state.obs_norm,
            updates=state.updates,
            teacher=state.teacher,
        )

    def _seen_size(self, params: AdaptedParams, readings: int) -> int:
        """Returns F, the number of features of what was seen."""
        images = tuple(
            jax.ShapeDtypeStruct((1, 1, *shape), jnp.float32)
            for shape in self.distillation.image_shapes
        )
        memory = jax.ShapeDtypeStruct((1, self.student.rnn_hidden), jnp.float32)
        obs = jax.ShapeDtypeStruct((1, 1, readings), jnp.float32)
        first = jax.ShapeDtypeStruct((1, 1), jnp.bool_)
        out = jax.eval_shape(self.student.apply, params, memory, obs, images, first)
        return int(jax.eval_shape(lambda o: self.student.seen(o, readings), out).shape[-1])

    def _of_stage(self, name: str, state: AdaptState) -> jax.Array:
        """Returns () the value that a setting has in this stage."""
        values = jnp.asarray(self.settings.per_stage(name), jnp.float32)
        return values[jnp.minimum(state.stage, self.settings.num_stages - 1)]

    def _run_steps(
        self, state: AdaptState, batch: DistillBatch, real: RealBatch, key: jax.Array
    ) -> tuple[AdaptState, tuple[DistillLossMetrics, dict[str, jax.Array]]]:
        """Takes one gradient step on each minibatch; returns the state and the mean figures."""
        key_order, key_steps = jax.random.split(key)
        parts, groups = self.settings.num_minibatches, self.config.groups
        size = batch.is_first.shape[1] // groups
        inputs = _StepInputs(
            chosen=minibatches.chosen(groups, size, parts, key=key_order),
            labelled=real.labelled,
            target=real.target,
            key=jax.random.split(key_steps, parts),
        )
        stages = self.settings.per_stage("trained")
        masks = trained_leaves(state.params, stages, self.student.network)
        stage = jnp.minimum(state.stage, self.settings.num_stages - 1)
        rate = self._of_stage("learning_rate", state)

        def step(state: AdaptState, given: _StepInputs) -> tuple[AdaptState, Any]:
            frames = minibatches.take_items(batch, given.chosen)
            loss = jax.grad(partial(self._loss, state, frames, given), has_aux=True)
            gradient, metrics = loss(state.params)
            gradient = jax.tree.map(lambda g, mask: g * mask[stage], gradient, masks)
            update, optimizer = self._optimizer.update(gradient, state.optimizer)
            params = jax.tree.map(
                lambda p, u, mask: p - rate * mask[stage] * u, state.params, update, masks
            )
            return replace(state, params=params, optimizer=optimizer), metrics

        state, metrics = jax.lax.scan(step, state, inputs)
        return state, jax.tree.map(jnp.mean, metrics)

    def _loss(
        self, state: AdaptState, frames: DistillBatch, given: _StepInputs, params: AdaptedParams
    ) -> tuple[jax.Array, tuple[DistillLossMetrics, dict[str, jax.Array]]]:
        """Returns the loss of one gradient step, and its figures."""
        settings, share = self.settings, self._of_stage("simulated", state)
        if given.labelled is None:
            share = jnp.ones(())  # there is nothing that could have the rest
        key_simulated, key_real, key_target, key_align = jax.random.split(given.key, 4)
        frames = augment_frames(self.config, frames, key=key_simulated)
        network = cast(StudentNetwork, self.student)
        loss, distilled, ours = loss_of_batch(network, self.config, params, frames)
        total = (share + settings.replay_weight) * loss
        error, theirs = jnp.float32(jnp.nan), None
        if given.labelled is not None:
            theirs = self._on_real(state, params, self._augmented(given.labelled, key_real))
            error = squashed_error(theirs, given.labelled)
            total += (1 - share) * settings.real_weight * error
        now = with_adapter(params.student, params.adapter)
        apart = jax.tree.map(lambda a, b: jnp.sum((a - b) ** 2), now, state.start)
        drift = jnp.sum(jnp.stack(jax.tree.leaves(apart)))
        total += settings.l2_weight * drift
        target = given.labelled
        if given.target is not None and settings.alignment.method != "none":
            target = given.target
            theirs = self._on_real(state, params, self._augmented(target, key_target))
        sides = self._sides(ours, frames, theirs, target)
        aligned, alike = self._alignment(state, params, sides, key_align)
        figures = {"real_error": error, "drift": drift, **vars(alike)}
        return total + aligned, (replace(distilled, loss=total + aligned), figures)

    def _sides(
        self,
        ours: StudentOutput,
        frames: DistillBatch,
        theirs: StudentOutput | None,
        target: RealFrames | None,
    ) -> tuple[AlignmentBatch, AlignmentBatch] | None:
        """Returns what is to be aligned: features and actions of simulated and of real frames."""
        if theirs is None or target is None:
            return None
        own = jnp.tanh(theirs.policy.mean)
        pairs = (
            (ours, jnp.tanh(frames.teacher.policy.mean)),
            (theirs, own if target.actions is None else target.actions),
        )
        readings = frames.obs.shape[-1]
        return cast(
            tuple[AlignmentBatch, AlignmentBatch],
            tuple(
                AlignmentBatch(_rows(self.student.seen(out, readings)), _rows(actions))
                for out, actions in pairs
            ),
        )

    def _alignment(
        self,
        state: AdaptState,
        params: AdaptedParams,
        sides: tuple[AlignmentBatch, AlignmentBatch] | None,
        key: jax.Array,
    ) -> tuple[jax.Array, AlignmentMetrics]:
        """Returns the alignment's term and its figures."""
        if sides is None or self.settings.alignment.method == "none":
            nothing = jnp.zeros(())
            return nothing, AlignmentMetrics(nothing, nothing, jnp.float32(jnp.nan), jnp.ones(()))
        progress = state.updates / self.settings.all_iterations
        given = self.settings.alignment, params.alignment
        return alignment_loss(*given, *sides, progress, key=key)

    def _on_real(self, state: AdaptState, params: AdaptedParams, real: RealFrames) -> StudentOutput:
        """Applies the student to real frames (T, M, ...), its memory empty before them."""
        memory = jnp.zeros((real.obs.shape[1], self.student.rnn_hidden))
        x = normalizer.apply(state.obs_norm, real.obs)
        return self.on_robot.apply(params, memory, x, real.images, real.is_first)

    def _augmented(self, real: RealFrames, key: jax.Array) -> RealFrames:
        """Returns real frames with the augmentation that simulated ones get."""
        return replace(real, images=augment_images(self.config, real.images, key=key))

    def judged_at_start(self, state: AdaptState, held_out: RealFrames | None) -> AdaptState:
        """Returns the state whose smallest error, before the first update, is the student's."""
        if held_out is None:
            return state
        error = jax.lax.cond(
            state.updates == 0,
            lambda: self.action_error(state, state.params, held_out),
            lambda: state.best_error,
        )
        return replace(state, best_error=error)

    def advance(self, state: AdaptState, held_out: RealFrames | None) -> AdaptState:
        """Returns the state one update later, in the next stage where this one is over."""
        settings = self.settings
        done = state.stage_updates + 1
        whole = jnp.asarray(settings.per_stage("iterations"), jnp.int32)
        over = done >= whole[jnp.minimum(state.stage, settings.num_stages - 1)]
        if held_out is not None:
            due = (done % settings.check_every == 0) | over
            error = jax.lax.cond(
                due,
                lambda: self.action_error(state, state.params, held_out),
                lambda: state.last_error,
            )
            better = due & (error < state.best_error - LEAST_GAIN)
            best = jax.tree.map(partial(jnp.where, better), state.params, state.best)
            waited = jnp.where(better, 0, state.waited + due)
            over |= (settings.patience > 0) & (waited >= settings.patience)
            state = replace(
                state,
                best=best,
                best_error=jnp.where(better, error, state.best_error),
                params=jax.tree.map(partial(jnp.where, over), best, state.params),
                waited=jnp.where(over, 0, waited),
                last_error=error,
            )
        begun = self._optimizer.init(state.params)  # moments of one stage are none of the next's
        return replace(
            state,
            optimizer=jax.tree.map(partial(jnp.where, over), begun, state.optimizer),
            updates=state.updates + 1,
            stage=state.stage + over,
            stage_updates=jnp.where(over, 0, done),
        )


def squashed_error(out: StudentOutput, real: RealFrames) -> jax.Array:
    """Returns () the mean over frames of |tanh m - a|^2, m the means and a the demonstrations."""
    assert real.actions is not None, "frames without labels"
    return jnp.sum((jnp.tanh(out.policy.mean) - real.actions) ** 2, -1).mean()


def _rows(x: jax.Array) -> jax.Array:
    """Returns (T M, n) of x (T, M, n)."""
    return x.reshape(-1, x.shape[-1])
