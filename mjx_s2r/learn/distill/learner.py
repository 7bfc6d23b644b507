"""A camera student from a privileged teacher: on-policy DAgger (Ross et al. 2011) with images.

In every iteration B worlds run T steps. In each world and step the teacher acts with probability
beta, the student otherwise; the teacher names the right action everywhere. The student then takes
gradient steps on

    w_kl KL(teacher || student) + w_mean |tanh m_t - tanh m_s|^2 + w_label |label - estimate|^2

over the raw Gaussians, the teacher's means bounded to +-2 (tanh 2 = 0.96): beyond that the squash
makes them all the same action, but their distances would rule the loss. The last term asks the
student where the thing to find is, which simulation knows (as the auxiliary object pose of
DEXTRAH); the robot does not use the answer.

With ``look_each_step`` a world wears a new look at every step. A student without memory cannot
tell, and one rollout then shows T times as many looks; one that sees several pictures at once, or
one picture for several steps, gets one look per episode.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import struct
from jax.stages import Lowered

from mjx_s2r.curriculum.interface import Curriculum
from mjx_s2r.learn import minibatches, normalizer
from mjx_s2r.learn.camera_schedule import CameraSchedule, Frames, bind_camera_schedule
from mjx_s2r.learn.distill.batch import DistillBatch, DistillMetrics, EpisodeCounts
from mjx_s2r.learn.networks import gaussian
from mjx_s2r.learn.networks.augment import random_shift, to_float
from mjx_s2r.learn.networks.gaussian import Gaussian
from mjx_s2r.learn.networks.modules import Student
from mjx_s2r.learn.normalizer import Normalizer
from mjx_s2r.learn.rollout import first_worlds, fresh_worlds, reset_envs, step_envs
from mjx_s2r.render.cameras import Cameras
from mjx_s2r.sim.env import Env
from mjx_s2r.sim.interface import State, auto_reset

_BOUND = 2.0  # of the teacher's raw mean

Teacher = Callable[[dict[str, jax.Array]], Gaussian]


@dataclass(frozen=True)
class DistillConfig:
    """Settings of distillation."""

    num_envs: int = 256
    """Number of worlds, B."""
    num_steps: int = 4
    """Control steps per iteration, T."""
    iterations: int = 120
    """Iterations in all; the learning rate falls to zero over them."""
    num_minibatches: int = 4
    """Minibatches per epoch."""
    num_epochs: int = 2
    """Passes over an iteration's images."""
    learning_rate: float = 2e-3
    """Adam step size at the start."""
    beta_share: float = 0.4
    """Share of the iterations over which the teacher's part falls from 1 to 0."""
    action_noise: float = 0.1
    """Standard deviation of the noise on the acting policy's raw action."""
    kl_weight: float = 0.1
    """Weight of the KL divergence."""
    mean_weight: float = 5.0
    """Weight of the mean matching."""
    label_weight: float = 10.0
    """Weight of the auxiliary estimate; labels count in tenths of a metre."""
    shift_pixels: int = 2
    """Largest random shift of an image, px."""
    look_each_step: bool = True
    """New look in every world at every step, where the student sees one picture at a time."""
    hidden: tuple[int, ...] = (128, 64)
    """Layers after the eyes."""
    cnn_channels: int = 16
    """Feature maps of each eye."""

    def __post_init__(self) -> None:
        """Checks the settings.

        Raises:
            ValueError: a setting that cannot work, named.
        """
        if (self.num_envs * self.num_steps) % self.num_minibatches:
            raise ValueError(
                f"distill: {self.num_envs} worlds x {self.num_steps} steps do not divide into "
                f"{self.num_minibatches} minibatches"
            )
        if not 0 <= self.beta_share <= 1:
            raise ValueError(f"distill.beta_share {self.beta_share} must lie in [0, 1]")

    @property
    def groups(self) -> int:
        """Number of groups of neighbouring worlds within which images are shuffled."""
        return minibatches.groups(
            self.num_envs, self.num_envs * self.num_steps, self.num_minibatches
        )


@struct.dataclass
class DistillState:
    """Everything that distillation carries from one iteration to the next.

    Attributes:
        params: the student's parameters.
        optimizer: Adam's moments.
        obs_norm: moments of the readings.
        env_state: the B worlds.
        curriculum: state of the schedule.
        key: random key.
        iteration: () int32 iterations done.
        frames: pictures that worlds keep; empty for a student that sees one per control step.
    """

    params: Any
    optimizer: optax.OptState
    obs_norm: Normalizer
    env_state: State
    curriculum: Any
    key: jax.Array
    iteration: jax.Array
    frames: Frames = ()


@dataclass(frozen=True, eq=False)
class Distill:
    """A distillation; build it with `make`.

    Attributes:
        env: the environment.
        watch: takes the pictures.
        curriculum: the schedule; its visual rows give the worlds their looks.
        teacher: observations -> the teacher's distribution.
        student: the student network.
        config: settings.
    """

    env: Env
    watch: CameraSchedule
    curriculum: Curriculum
    teacher: Teacher
    student: Student
    config: DistillConfig

    def init(self, key: jax.Array) -> DistillState:
        """Returns the state before the first iteration."""
        return self.load(self.blank(key), key)

    def load(self, state: DistillState, key: jax.Array) -> DistillState:
        """Returns ``state`` with a frames in its cameras."""
        xi = state.env_state.pipeline_state.episode_params.xi
        return replace(
            state, frames=self.watch.initial(state.env_state, xi, jax.random.fold_in(key, 1))
        )

    def like(self) -> DistillState:
        """Returns the shapes and types of a state, to restore one into."""
        state = cast(DistillState, jax.eval_shape(self.blank, jax.random.key(0)))
        return replace(state, frames=cast(Frames, self.watch.frame_shapes(self.config.num_envs)))

    def programs(self, key: jax.Array) -> Iterator[Lowered]:
        """Yields the programs that `init` and `iterate` run, traced; those of the pictures not.

        See `mjx_s2r.runtime.compilation`.
        """
        state, steps = self.like(), self.config.num_steps
        fresh, _, keys, key_learn = jax.eval_shape(self._prepare, state)
        shapes = [(self.config.num_envs, *camera.shape) for camera in self.watch.signals]
        images = tuple(jax.ShapeDtypeStruct(shape, jnp.uint8) for shape in shapes)
        given = (state, state.env_state, fresh, images, keys[0])
        yield Distill._advance.lower(self, *given)
        yield Distill._prepare.lower(self, state)
        yield Distill.blank.lower(self, key)
        worlds, lesson, outcome = jax.eval_shape(self._advance, *given)
        state = replace(state, env_state=worlds, frames=())
        yield Distill._learn.lower(self, state, [lesson] * steps, [outcome] * steps, key_learn)

    @partial(jax.jit, static_argnums=0)
    def blank(self, key: jax.Array) -> DistillState:
        """Returns the state before the first iteration, without pictures."""
        *keys, key_net, key_next = jax.random.split(key, 5)
        schedule, count = self.curriculum.init(), self.config.num_envs
        worlds = first_worlds(self.env, self.curriculum, schedule, count, keys)
        blank = [jnp.zeros((1, *c.shape)) for c in self.watch.signals]
        params = self.student.init(key_net, worlds.obs["state"][:1], blank)
        return DistillState(
            params=params,
            optimizer=self._optimizer.init(params),
            obs_norm=normalizer.init(worlds.obs["state"].shape[-1]),
            env_state=worlds,
            curriculum=schedule,
            key=key_next,
            iteration=jnp.int32(0),
        )

    def iterate(self, state: DistillState) -> tuple[DistillState, DistillMetrics]:
        """Runs one iteration: a rollout with images, then epochs over them.

        Physics, pictures and learning are compiled apart, since on a CPU each is fastest with
        other compiler switches.
        """
        fresh, looks, keys, key_learn = self._prepare(state)
        frames, worlds, lessons, outcomes = state.frames, state.env_state, [], []
        each_step = self.config.look_each_step and not self.watch.keeps_frames
        begun = self.watch.initial(fresh, fresh.pipeline_state.episode_params.xi, key_learn)
        first = int(state.iteration) * self.config.num_steps if self.watch.keeps_frames else 0
        for step, (look, key) in enumerate(zip(looks, keys, strict=True), first):
            xi = look if each_step else self._present(worlds)
            frames, images = self.watch.observe(frames, worlds, xi, step, key)
            worlds, lesson, outcome = self._advance(state, worlds, fresh, images, key)
            frames = self.watch.auto_reset(frames, begun, worlds)
            lessons.append(lesson)
            outcomes.append(outcome)
        state = replace(state, env_state=worlds, frames=())
        state, metrics = self._learn(state, lessons, outcomes, key_learn)
        return replace(state, frames=frames), metrics

    def mosaic(self, state: DistillState, count: int) -> np.ndarray:
        """Returns (count, H, W, 3) uint8: what the student sees in ``count`` fresh worlds."""
        key_draw, key_reset, key_picture = jax.random.split(jax.random.fold_in(state.key, 1), 3)
        draws = self.curriculum.sample(state.curriculum, count, key_draw)
        worlds = reset_envs(self.env, draws, key=key_reset)
        return np.asarray(self.watch.pictures(worlds, draws.xi, key_picture)[0])

    def act(self, state: DistillState, obs: jax.Array, images: Sequence[jax.Array]) -> Gaussian:
        """Returns the student's distribution for readings (N, P), uint8 images (N, H, W, 3 F)."""
        seen = [to_float(image) for image in images]
        return self._student_of(state.params, normalizer.apply(state.obs_norm, obs), seen)[0]

    def _student_of(
        self, params: Any, obs: jax.Array, images: Sequence[jax.Array]
    ) -> tuple[Gaussian, jax.Array]:
        """Returns the student's distribution and estimate for normalized inputs."""
        return cast(tuple[Gaussian, jax.Array], self.student.apply(params, obs, images))

    @property
    def _optimizer(self) -> optax.GradientTransformation:
        """Adam with clipped gradients and a cosine schedule."""
        per_iteration = self.config.num_epochs * self.config.num_minibatches
        rate = optax.cosine_decay_schedule(
            self.config.learning_rate, self.config.iterations * per_iteration, alpha=0.02
        )
        return optax.chain(optax.clip_by_global_norm(1.0), optax.adam(rate))

    def _beta(self, steps: jax.Array) -> jax.Array:
        """Returns the teacher's share of the acting, falling from 1 to 0."""
        whole = max(1.0, self.config.beta_share * self.config.iterations)
        return jnp.clip(1.0 - steps / whole, 0.0, 1.0)

    @partial(jax.jit, static_argnums=0)
    def _prepare(
        self, state: DistillState
    ) -> tuple[State, list[jax.Array], list[jax.Array], jax.Array]:
        """Returns fresh worlds, T looks (B, D) and T keys for a rollout, and a key for learning."""
        *keys, key_roll, key_learn = jax.random.split(state.key, 4)
        fresh = fresh_worlds(self.env, self.curriculum, state.curriculum, state.env_state, keys)
        steps = list(jax.random.split(key_roll, self.config.num_steps))
        looks = [
            self.curriculum.sample(
                state.curriculum, self.config.num_envs, jax.random.fold_in(k, 2)
            ).xi
            for k in steps
        ]
        return fresh, looks, steps, key_learn

    @partial(jax.jit, static_argnums=0)
    def _advance(
        self,
        state: DistillState,
        worlds: State,
        fresh: State,
        images: tuple[jax.Array, ...],
        key: jax.Array,
    ) -> tuple[State, DistillBatch, EpisodeCounts]:
        """Asks the teacher, acts with either, and renews finished worlds."""
        key_who, key_noise = jax.random.split(jax.random.fold_in(key, 1))
        answer = self.teacher(worlds.obs)
        answer = replace(answer, mean=jnp.clip(answer.mean, -_BOUND, _BOUND))
        mine = self.act(state, worlds.obs["state"], images)
        teaches = jax.random.bernoulli(
            key_who, self._beta(state.iteration), (mine.mean.shape[0], 1)
        )
        raw = jnp.where(teaches, answer.mean, mine.mean)
        raw = raw + self.config.action_noise * jax.random.normal(key_noise, raw.shape)
        label = jax.vmap(partial(find, self.env))(worlds)
        lesson = DistillBatch(worlds.obs["state"], images, answer, label)
        after = step_envs(self.env, worlds, jnp.tanh(raw))
        ended = after.done > 0
        outcome = EpisodeCounts(ended.sum(), jnp.sum(after.metrics["success"] * ended))
        return auto_reset(after, fresh), lesson, outcome

    @partial(jax.jit, static_argnums=0)
    def _learn(
        self,
        state: DistillState,
        lessons: Sequence[DistillBatch],
        outcomes: Sequence[EpisodeCounts],
        key: jax.Array,
    ) -> tuple[DistillState, DistillMetrics]:
        """Takes the gradient steps of one iteration."""
        stacked = jax.tree.map(lambda *x: jnp.stack(x), *lessons)
        whole = jax.tree.map(partial(minibatches.grouped, groups=self.config.groups), stacked)
        state = replace(state, obs_norm=normalizer.update(state.obs_norm, whole.obs))
        key_next, key_epochs = jax.random.split(key)
        state, figures = self._epochs(state, whole, key_epochs)
        total = jax.tree.map(lambda *x: jnp.stack(x).sum(), *outcomes)
        metrics = DistillMetrics(
            beta=self._beta(state.iteration),
            episodes=total.episodes,
            success=total.success,
            **figures,
        )
        return replace(state, key=key_next, iteration=state.iteration + 1), metrics

    @partial(jax.jit, static_argnums=0)
    def _present(self, worlds: State) -> jax.Array:
        """Returns the parameters (B, D) that hold now in each world."""
        return jax.vmap(self.env.current_params)(worlds)

    def _epochs(
        self, state: DistillState, lessons: DistillBatch, key: jax.Array
    ) -> tuple[DistillState, dict[str, jax.Array]]:
        """Runs every epoch over freshly shuffled minibatches of ``lessons`` (G, N, ...)."""
        parts = self.config.num_minibatches
        groups, size = lessons.obs.shape[:2]

        def one(
            state: DistillState, inputs: tuple[jax.Array, jax.Array]
        ) -> tuple[DistillState, dict[str, jax.Array]]:
            part = jax.tree.map(partial(minibatches.pick, chosen=inputs[0]), lessons)
            loss = jax.grad(self._loss, has_aux=True)
            gradient, figures = loss(state.params, state.obs_norm, part, inputs[1])
            update, optimizer = self._optimizer.update(gradient, state.optimizer)
            params = optax.apply_updates(state.params, update)
            return replace(state, params=params, optimizer=optimizer), figures

        def epoch(state: DistillState, key: jax.Array) -> tuple[DistillState, dict[str, jax.Array]]:
            key_order, key_shift = jax.random.split(key)
            chosen = minibatches.chosen(groups, size, parts, key=key_order)
            return jax.lax.scan(one, state, (chosen, jax.random.split(key_shift, parts)))

        state, figures = jax.lax.scan(epoch, state, jax.random.split(key, self.config.num_epochs))
        return state, jax.tree.map(jnp.mean, figures)

    def _loss(
        self, params: Any, norm: Normalizer, lesson: DistillBatch, key: jax.Array
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        """Returns the loss of the module's docstring and its parts."""
        keys = jax.random.split(key, len(lesson.images))
        images = [
            random_shift(to_float(image), self.config.shift_pixels, key=k)
            for image, k in zip(lesson.images, keys, strict=True)
        ]
        obs = normalizer.apply(norm, lesson.obs)
        mine, estimate = self._student_of(params, obs, images)
        kl = gaussian.kl(lesson.teacher, mine).mean()
        squared = (jnp.tanh(lesson.teacher.mean) - jnp.tanh(mine.mean)) ** 2
        mean_error = squared.sum(-1).mean()
        miss = jnp.sum((lesson.label - estimate) ** 2, -1)
        total = (
            self.config.kl_weight * kl
            + self.config.mean_weight * mean_error
            + self.config.label_weight * miss.mean()
        )
        figures = {
            "loss": total,
            "kl": kl,
            "mean_error": mean_error,
            "label_error_m": 0.1 * jnp.sqrt(miss + 1e-12).mean(),
        }
        return total, figures


def find(env: Env, world: State) -> jax.Array:
    """Returns (L,) what the student should be able to see in one world, in 0.1 m."""
    return 10.0 * env.task.label(env.view(world))


def make(
    env: Env,
    cameras: Cameras,
    curriculum: Curriculum,
    teacher: Teacher,
    config: DistillConfig,
) -> Distill:
    """Builds a distillation.

    Raises:
        ContractError: a camera whose rate does not divide the control rate.
        ValueError: worlds that do not divide by the control steps between two pictures.
    """
    view = bind_camera_schedule(env, cameras, env.task.contract)
    view.check_num_envs(config.num_envs)
    start = jax.eval_shape(env.reset, jax.random.key(0))
    labels = jax.eval_shape(partial(find, env), start).shape[0]
    student = Student(config.hidden, env.action_size, labels, cnn_channels=config.cnn_channels)
    return Distill(env, view, curriculum, teacher, student, config)
