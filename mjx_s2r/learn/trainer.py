"""The trainer: one loop for every algorithm, with or without cameras.

`Trainer` joins an environment, a curriculum, an algorithm and perhaps cameras. An iteration is a
rollout (`collect`), then the algorithm's gradient steps and the curriculum's move (`update`).
Without cameras it is compiled by `CompiledStep`; with cameras physics, pictures and learning are
compiled apart, since on a CPU each is fastest with other compiler switches. `fit` runs iterations
with checkpoints, logs and signals; everything needed to go on bit by bit is in `TrainState`.
"""

import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import cached_property, partial
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple, Protocol, cast

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jax.sharding import Mesh
from jax.stages import Lowered

from mjx_s2r.curriculum.interface import Curriculum
from mjx_s2r.curriculum.pictures import PictureSchedule, scored_pictures
from mjx_s2r.curriculum.uniform import plain_params
from mjx_s2r.io.checkpoints import Checkpoints, DiskFullError
from mjx_s2r.io.config import ConfigError
from mjx_s2r.io.origin import Origin, keep_origin
from mjx_s2r.io.run import Run
from mjx_s2r.io.tracker import ending, track
from mjx_s2r.learn.algorithm import Algorithm, AlgorithmConfig, Imitator
from mjx_s2r.learn.camera_schedule import CameraSchedule, Frames, check_picture_memory
from mjx_s2r.learn.compiled_step import CompiledStep
from mjx_s2r.learn.evaluation import (
    EpisodeScores,
    evaluate_on_images,
    evaluate_policy,
    lower_evaluation,
)
from mjx_s2r.learn.nan_guard import NanSnapshot, empty_snapshot
from mjx_s2r.learn.networks.actor_critic import RnnState
from mjx_s2r.learn.networks.gaussian import Gaussian
from mjx_s2r.learn.profiler import Profiler
from mjx_s2r.learn.rollout import (
    EpisodeStats,
    Images,
    ResetPool,
    Rollout,
    StepRecord,
    as_rollout,
    episode_stats,
    is_first,
    randomize_episode_time,
    rollout,
    rollout_step,
)
from mjx_s2r.learn.train_logger import LogWindow, MetricsWindow, TrainLogger
from mjx_s2r.runtime import distributed
from mjx_s2r.runtime.devices import (
    check_jax_config,
    gradient_compiler_options,
    quick_compiler_options,
)
from mjx_s2r.runtime.progress import ProgressBar, compile_ahead, progress
from mjx_s2r.runtime.random_keys import FRAMES
from mjx_s2r.runtime.sharding import (
    check_num_envs,
    device_mesh,
    init_sharded,
    jit_sharded,
    reshard,
)
from mjx_s2r.runtime.signals import defer_signals
from mjx_s2r.sim.backends.physics_config import PhysicsConfig
from mjx_s2r.sim.backends.step_cost import memory_here, refuse_too_large
from mjx_s2r.sim.effects.frame_timing import where_world
from mjx_s2r.sim.env import Env
from mjx_s2r.sim.interface import Environment, EpisodeParams, State

EVAL_EPISODES = 64


@struct.dataclass
class TrainState:
    """Everything that training carries from one iteration to the next.

    Attributes:
        learner: the algorithm's state: parameters, optimizer, normalizers.
        env_state: the B worlds.
        rnn_state: recurrent states of actor and critic in each world.
        curriculum: the curriculum's state.
        key: random key.
        iteration: () int32 iterations done.
        frames: pictures that worlds keep, where a policy sees several or a camera is slow.
    """

    learner: Any
    env_state: State
    rnn_state: RnnState
    curriculum: Any
    key: jax.Array
    iteration: jax.Array
    frames: Frames = ()


@struct.dataclass
class Metrics:
    """Figures of one iteration, all ().

    Attributes:
        episodes: sums over the episodes that ended.
        nan_snapshot: the first world that ceased to be finite, as it was before that.
        loss: the algorithm's own figures.
    """

    episodes: EpisodeStats
    nan_snapshot: NanSnapshot
    loss: Any


class SeenStepKeys(NamedTuple):
    """The random keys of one control step that begins with a picture.

    Attributes:
        looks: which look every world wears.
        see: noise of the pictures, and which are lost.
        act: the action.
    """

    looks: jax.Array
    see: jax.Array
    act: jax.Array


@dataclass(frozen=True, eq=False)
class Trainer:
    """An environment, a curriculum, an algorithm, perhaps cameras. State is a `TrainState`.

    Attributes:
        env: the environment of one world.
        curriculum: draws the parameters of episodes; visual rows give the worlds their looks.
        algorithm: acts and learns.
        cameras: takes the pictures that the actor sees; None for an actor that reads numbers.
        looks: where every picture shows a look of its own, what draws those and counts their
            scores; a part of ``curriculum``. Absent, they are drawn as episodes are.
        host_batch: iteration -> arrays of the host that the algorithm's update finds in
            `Rollout.host`, always of the same shapes; for actors that see.
    """

    env: Environment
    curriculum: Curriculum
    algorithm: Algorithm
    cameras: CameraSchedule | None = None
    looks: PictureSchedule | None = None
    host_batch: Callable[[int], Any] | None = None

    def __post_init__(self) -> None:
        """Checks that worlds find room, and can take turns before slow cameras.

        Raises:
            ModelError: their contacts ask for more memory than there is.
            ValueError: they do not divide by the control steps between two pictures.
        """
        if isinstance(self.env, Env):
            engine = PhysicsConfig(self.env.physics.backend)
            refuse_too_large(self.env.task.mj_model, engine, self.config.num_envs)
        if self.cameras is not None:
            self.cameras.check_num_envs(self.config.num_envs)

    @property
    def config(self) -> AlgorithmConfig:
        """Settings of the algorithm."""
        return self.algorithm.config

    @cached_property
    def reset_pool(self) -> ResetPool:
        """Pool of fresh worlds."""
        return ResetPool(self.env, self.curriculum, self.config.num_envs)

    def init(self, key: jax.Array) -> TrainState:
        """Returns the state before the first iteration."""
        return self.with_frames(self.init_without_frames(key), key)

    def init_without_frames(self, key: jax.Array) -> TrainState:
        """Returns the state before the first iteration; pictures, if any, are still missing."""
        made = self.reset_pool.initial(key)
        traced = any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(made))
        return cast(TrainState, self._init(*made) if traced else self._init_compiled(*made))

    def with_frames(self, state: TrainState, key: jax.Array) -> TrainState:
        """Returns ``state`` with the pictures that its worlds keep."""
        if self.cameras is None:
            return state
        xi = state.env_state.pipeline_state.episode_params.xi
        frames = self.cameras.initial(state.env_state, xi, jax.random.fold_in(key, FRAMES))
        return replace(state, frames=frames)

    def state_shapes(self) -> TrainState:
        """Returns the shapes and types of a state, to restore one into."""
        state = cast(TrainState, jax.eval_shape(self.init_without_frames, jax.random.key(0)))
        if self.cameras is None:
            return state
        return replace(state, frames=self.cameras.frame_shapes(self.config.num_envs))

    def iterate(self, state: TrainState) -> tuple[TrainState, Metrics]:
        """Runs one iteration: reset pool, rollout, update. The old state is given away."""
        if self.cameras is None:
            return cast(tuple[TrainState, Metrics], self.compiled_step(state))
        return self._iterate_with_cameras(self.cameras, state)

    def prepare(self, state: TrainState) -> tuple[State, list[jax.Array]]:
        """Returns fresh worlds, and keys for the next iteration, the rollout and the update."""
        return self.reset_pool.resample(state.curriculum, state.env_state, state.key)

    def collect(
        self, state: TrainState, prepared: tuple[State, list[jax.Array]]
    ) -> tuple[TrainState, tuple[Rollout, RnnState, jax.Array]]:
        """Runs a rollout; returns the state after it, and what `update` takes.

        That is the batch, the recurrent states before it and a key.
        """
        fresh, (key_next, key_rollout, key_update) = prepared
        act = partial(self.algorithm.act, self._acting(state.learner))
        before, steps = state.rnn_state, self.config.num_steps
        actor, worlds, batch = rollout(
            self.env, act, before.actor, state.env_state, fresh, steps, key=key_rollout
        )
        after = replace(before, actor=actor)
        state = replace(state, env_state=worlds, rnn_state=after, key=key_next)
        return state, (batch, before, key_update)

    def update(
        self, state: TrainState, collected: tuple[Rollout, RnnState, jax.Array]
    ) -> tuple[TrainState, Metrics]:
        """Takes the gradient steps on a batch and moves the curriculum."""
        batch, before, key = collected
        longest = -(-self.env.episode_steps // self.config.num_steps)
        batch = replace(batch, episodes=replace(batch.episodes, longest=longest))
        learner, critic, loss = self.algorithm.update(state.learner, batch, before, key=key)
        scored = batch.episodes
        if isinstance(self.algorithm, Imitator):
            scored = self.algorithm.scored_episodes(state.learner, batch)
        state = replace(
            state,
            learner=learner,
            rnn_state=replace(state.rnn_state, critic=critic),
            curriculum=self.curriculum.update(state.curriculum, scored),
            iteration=state.iteration + 1,
        )
        return state, Metrics(batch.stats, batch.nan_snapshot, loss)

    def apply_policy(
        self, state: TrainState, rnn_state: jax.Array, worlds: State, images: Images = ()
    ) -> tuple[jax.Array, Gaussian]:
        """Returns the recurrent state (B, H) after this step and the distribution (B, J)."""
        first = is_first(worlds)
        return self.algorithm.policy(state.learner, rnn_state, worlds.obs, images, first)

    def policy(self, state: TrainState, obs: dict[str, jax.Array]) -> Gaussian:
        """Returns the distribution of raw actions (..., J) of an actor without memory or cameras.

        Raises:
            ConfigError: this one has a memory, or sees.
        """
        count = jax.tree.leaves(obs)[0].shape[:-1]
        memory = self.algorithm.zero_rnn_state(1).actor.shape[-1]
        cameras = 0 if self.cameras is None else len(self.cameras.signals)
        if memory or cameras:
            raise ConfigError(
                f"this actor has a memory of {memory} units and {cameras} cameras and cannot be "
                "asked one step at a time; train one with ppo.rnn_hidden 0 that reads numbers"
            )
        none, first = jnp.zeros((*count, 0)), jnp.zeros(count, bool)
        return self.algorithm.policy(state.learner, none, obs, (), first)[1]

    def reached_ranges(self, state: TrainState) -> dict[str, tuple[float, float]]:
        """Returns the range of every row that the curriculum draws from now, in the row's unit."""
        report = jax.device_get(self.curriculum.report(state.curriculum))
        pairs = zip(report.low.tolist(), report.high.tolist(), strict=True)
        return dict(zip(self.env.space.names, pairs, strict=True))

    def evaluate(
        self, state: TrainState, params: EpisodeParams, *, key: jax.Array
    ) -> EpisodeScores:
        """Returns the scores of one episode without exploration in each of B worlds ``params``.

        An actor that sees cannot be evaluated inside a compiled function.

        Raises:
            ValueError: worlds that do not divide by the control steps between two pictures.
        """
        rnn_state = self.algorithm.zero_rnn_state(params.kind.shape[0]).actor
        if self.cameras is not None:
            env, act = cast(Env, self.env), self._mean_action
            return evaluate_on_images(env, self.cameras, act, state, rnn_state, params, key=key)
        return evaluate_policy(self.env, self._mean_action, state, rnn_state, params, key=key)

    def evaluation_programs(self, state: TrainState, params: EpisodeParams) -> Iterator[Lowered]:
        """Yields what `evaluate` compiles beside a training of B worlds; nothing with cameras."""
        if self.cameras is None:
            rnn_state = self.algorithm.zero_rnn_state(params.kind.shape[0]).actor
            yield lower_evaluation(self.env, self._mean_action, state, rnn_state, params)

    @partial(jax.jit, static_argnums=0)
    def evaluate_now(self, state: TrainState, key: jax.Array) -> EpisodeScores:
        """Returns the scores of `EVAL_EPISODES` worlds of the ranges that training draws from now.

        They are drawn by the table's laws; none tests a bound, is hard or is drawn again.
        """
        key_params, key_reset = jax.random.split(key)
        report = self.curriculum.report(state.curriculum)
        unit = jax.random.uniform(key_params, (EVAL_EPISODES, len(self.env.space)))
        xi = self.env.space.sample(jnp, unit, report.low, report.high)
        params = plain_params(xi, jnp.int32(0))
        return self.evaluate(state, params, key=key_reset)

    def _acting(self, learner: Any) -> Any:
        """Returns the learner as its algorithm's `act` takes it."""
        return self.algorithm.acting(learner) if isinstance(self.algorithm, Imitator) else learner

    @cached_property
    def _mean_action(self) -> Callable[..., tuple[jax.Array, jax.Array]]:
        def act(
            state: TrainState, rnn_state: jax.Array, worlds: State, images: Images = ()
        ) -> tuple[jax.Array, jax.Array]:
            rnn_state, policy = self.apply_policy(state, rnn_state, worlds, images)
            return rnn_state, jnp.tanh(policy.mean)

        return act

    @cached_property
    def _picture_schedule(self) -> PictureSchedule | None:
        """What draws a look for every picture; None where a world keeps its look."""
        if self.cameras is None or not self.cameras.look_each_step:
            return None
        return self.looks or PictureSchedule(self.curriculum.sample, lambda state, seen: state)

    @cached_property
    def _steady(self) -> np.ndarray:
        """(B,) bool: the worlds that keep their look for an episode."""
        assert self.cameras is not None, "worlds have looks where there are cameras"
        return self.cameras.keeps_look(self.config.num_envs)

    @cached_property
    def compiled_step(self) -> CompiledStep:
        """An iteration without cameras, compiled."""
        return CompiledStep(self.prepare, self.collect, self.update, aside="curriculum")

    def programs(self, key: jax.Array) -> Iterator[Lowered]:
        """Yields the programs that `init` and `iterate` run, traced; the longest comes first.

        See `mjx_s2r.runtime.compilation`.
        """
        state = self.state_shapes()
        if self.cameras is None:
            yield from self.compiled_step.programs(state)
        else:
            yield from self._programs_with_cameras(self.cameras, state)
        yield from self.reset_pool.programs(key)
        yield self._init_compiled.lower(*jax.eval_shape(self.reset_pool.initial, key))

    @cached_property
    def _init_compiled(self) -> Any:
        """`_init`, compiled in a hurry: it runs once."""
        return jax.jit(self._init, compiler_options=quick_compiler_options())

    def _init(self, schedule: Any, worlds: State, keys: list[jax.Array]) -> TrainState:
        key_times, key_learner, key_next = keys
        worlds = randomize_episode_time(self.env, worlds, key=key_times)
        return TrainState(
            learner=self.algorithm.init(worlds.obs, key=key_learner),
            env_state=worlds,
            rnn_state=self.algorithm.zero_rnn_state(self.config.num_envs),
            curriculum=schedule,
            key=key_next,
            iteration=jnp.int32(0),
        )

    def _iterate_with_cameras(
        self, cameras: CameraSchedule, state: TrainState
    ) -> tuple[TrainState, Metrics]:
        """Runs one iteration whose every step begins with a picture."""
        fresh, (key_next, key_rollout, key_update) = self.prepare(state)
        fresh_xi = fresh.pipeline_state.episode_params.xi
        fresh_frames = cameras.fresh(fresh, fresh_xi, jax.random.fold_in(key_update, FRAMES))
        before, frames, worlds = state.rnn_state, state.frames, state.env_state
        carry = (before.actor, worlds, self._empty_snapshot(worlds))
        steps: list[StepRecord] = []
        # Kept on the device: who reads it there waits for the update before.
        first = state.iteration * self.config.num_steps if cameras.keeps_frames else 0
        keys = self._step_keys(key_rollout)
        drawn: list[tuple[EpisodeParams, jax.Array]] = []
        acting = self._acting(state.learner)
        for index, key in enumerate(keys):
            looks = self._looks(state.curriculum, carry[1], key.looks)
            frames, images = cameras.observe(frames, carry[1], looks.xi, first + index, key.see)
            age = cameras.picture_age(frames, carry[1])
            if self._picture_schedule is not None:
                drawn.append((looks, age))
            places = cameras.places(carry[1], looks.xi, age)
            shown = (images, places, jnp.int32(index), key.act)
            carry, step = self._step(acting, carry, fresh, *shown)
            frames = cameras.auto_reset(frames, fresh_frames, carry[1])
            steps.append(step)
        actor, worlds, snapshot = carry
        after = replace(before, actor=actor)
        host = None if self.host_batch is None else self.host_batch(int(state.iteration))
        state = replace(state, env_state=worlds, rnn_state=after, key=key_next, frames=())
        given = (state, steps, snapshot, before, drawn, key_update, host)
        state, metrics = self._update_compiled(*given)
        return replace(state, frames=frames), metrics

    @partial(jax.jit, static_argnums=0)
    def _step_keys(self, key: jax.Array) -> list[SeenStepKeys]:
        keys = jax.random.split(key, (self.config.num_steps, len(SeenStepKeys._fields)))
        return [SeenStepKeys(*step) for step in keys]

    @partial(jax.jit, static_argnums=0)
    def _looks(self, schedule: Any, worlds: State, key: jax.Array) -> EpisodeParams:
        """Returns the parameters (B, D) whose visual rows give each world its look now."""
        xi = jax.vmap(cast(Env, self.env).current_params)(worlds)
        kept = replace(worlds.pipeline_state.episode_params, xi=xi)
        if self._picture_schedule is None:
            return kept
        count = self.config.num_envs
        fresh = self._picture_schedule.sample(schedule, count, key)
        steady = jnp.asarray(self._steady)
        return jax.tree.map(partial(where_world, steady), kept, fresh)

    @partial(jax.jit, static_argnums=0)
    def _empty_snapshot(self, worlds: State) -> NanSnapshot:
        return empty_snapshot(worlds, self.env.action_size)

    @partial(jax.jit, static_argnums=0)
    def _step(
        self,
        learner: Any,
        carry: tuple[jax.Array, State, NanSnapshot],
        fresh: State,
        images: Images,
        places: tuple[jax.Array, ...],
        index: jax.Array,
        key: jax.Array,
    ) -> tuple[tuple[jax.Array, State, NanSnapshot], StepRecord]:
        act = partial(self.algorithm.act, learner)
        given = (self.env, act, carry, fresh, images, index)
        return rollout_step(*given, places=places, key=key)

    @cached_property
    def _update_compiled(self) -> Any:
        """`_update_from_steps`, compiled."""
        return jax.jit(self._update_from_steps, compiler_options=gradient_compiler_options())

    def _update_from_steps(
        self,
        state: TrainState,
        steps: list[StepRecord],
        snapshot: NanSnapshot,
        before: RnnState,
        drawn: list[tuple[EpisodeParams, jax.Array]],
        key: jax.Array,
        host: Any = None,
    ) -> tuple[TrainState, Metrics]:
        stacked = cast(StepRecord, jax.tree.map(lambda *x: jnp.stack(x), *steps))
        batch = replace(as_rollout(stacked, snapshot), host=host)
        if self._picture_schedule is not None and self._steady.any():
            ended = batch.episodes.ended & jnp.asarray(self._steady)
            episodes = replace(batch.episodes, ended=ended)
            stats = episode_stats(episodes, stacked[2])
            stats = replace(stats, reused_resets=batch.stats.reused_resets)
            batch = replace(batch, episodes=episodes, stats=stats)
        after, metrics = self.update(state, (batch, before, key))
        if self._picture_schedule is not None and isinstance(self.algorithm, Imitator):
            looks, age = jax.tree.map(lambda *x: jnp.stack(x), *drawn)
            age = jnp.where(jnp.asarray(self._steady), -1, age)  # no tests of a single picture
            seen = scored_pictures(looks, age, self.algorithm.picture_scores(batch))
            schedule = self._picture_schedule.update(after.curriculum, seen)
            after = replace(after, curriculum=schedule)
        return after, metrics

    def _programs_with_cameras(
        self, cameras: CameraSchedule, state: TrainState
    ) -> Iterator[Lowered]:
        count, key = self.config.num_envs, state.key
        images = cameras.image_shapes(count)
        snapshot = jax.eval_shape(self._empty_snapshot, state.env_state)
        carry = (state.rnn_state.actor, state.env_state, snapshot)
        index = jax.ShapeDtypeStruct((), jnp.int32)
        looks = jax.eval_shape(self._looks, state.curriculum, state.env_state, key)
        places = jax.eval_shape(cameras.find, state.env_state, looks.xi)
        learner = self._acting(state.learner)
        given = (learner, carry, state.env_state, images, places, index, key)
        yield Trainer._step.lower(self, *given)
        yield Trainer._looks.lower(self, state.curriculum, state.env_state, key)
        yield from cameras.programs(state.env_state, looks.xi, key)
        carry, step = jax.eval_shape(self._step, *given)
        steps, state = [step] * self.config.num_steps, replace(state, frames=())
        host = None if self.host_batch is None else self.host_batch(0)
        age = jax.ShapeDtypeStruct((count,), jnp.int32)
        drawn = [(looks, age)] * self.config.num_steps if self._picture_schedule is not None else []
        collected = (steps, carry[2], state.rnn_state, drawn, key, host)
        yield self._update_compiled.lower(state, *collected)

    def sharded_iterate(self, mesh: Mesh) -> Callable[[TrainState], tuple[TrainState, Metrics]]:
        """Returns `iterate` whose state stays split over the devices of ``mesh``."""
        return (jit_sharded if self.cameras is None else reshard)(mesh, self.iterate)


class FitConfig(Protocol):
    """Settings of a run that `fit` reads; those of teachers and students have them."""

    @property
    def run(self) -> Path:
        """Folder of the run."""
        ...

    @property
    def seed(self) -> int:
        """Seed of everything."""
        ...

    @property
    def log_every(self) -> int:
        """Iterations between two lines of metrics."""
        ...

    @property
    def checkpoint_every(self) -> int:
        """Iterations between two checkpoints."""
        ...

    @property
    def keep(self) -> int:
        """How many of the newest checkpoints stay."""
        ...

    @property
    def resume(self) -> bool:
        """Go on where the folder holds this run; start where it holds none."""
        ...

    @property
    def devices(self) -> int:
        """Devices that the worlds are split over; 0 takes all that there are."""
        ...

    @property
    def eval_every(self) -> int:
        """Iterations between two evaluations without exploration; 0 makes none."""
        ...

    @property
    def wandb(self) -> str:
        """Project of Weights & Biases; empty: none."""
        ...

    @property
    def profile(self) -> int:
        """Iterations traced for a profiler; 0 traces none."""
        ...


def fit(
    trainer: Trainer,
    config: FitConfig,
    *,
    what: str,
    task: str,
    iterations: int,
    may_change: Sequence[str] = (),
    finished: Callable[[TrainState], bool] | None = None,
    part: Callable[[TrainState], int] | None = None,
    origin: Origin | None = None,
    judged_on: EpisodeParams | None = None,
) -> TrainState:
    """Runs or resumes a training in its run folder; returns the last state.

    Args:
        trainer: what is trained.
        config: settings of the run; written into the folder.
        what: its name on the screen.
        task: name of the task, kept with the checkpoints.
        iterations: how many in all.
        may_change: settings that a resumed run may change.
        finished: whether a state needs no further iteration; None runs all of them.
        part: which part of the training a state begins; no line tells of two of them.
        origin: the checkpoint of another run that this one learns from; a copy of it is kept.
        judged_on: worlds that `Trainer.evaluate` will be asked for afterwards; its program is
            compiled with the others.

    Raises:
        JaxConfigError: a setting of jax under which trainings fail.
        MeshError: devices that are not there, or that do not divide the worlds.
        HostError: another process of the same run failed.
        ConfigError: no iterations, or none between two lines or checkpoints; an evaluation of an
            actor that sees.
        ModelError: pictures that ask for more memory than there is.
        RunError: a folder that cannot be used, or a tracker that is not installed.
        KeyboardInterrupt: asked to stop; the state is saved.
        DiskFullError: there is no room for the last checkpoint.
    """
    check_jax_config()
    if iterations < 1:
        raise ConfigError(f"iterations {iterations}: a training needs at least one")
    _check_counts(config, ("log_every", "checkpoint_every", "keep"))
    mesh = device_mesh(config.devices)
    check_num_envs(mesh, trainer.config.num_envs)
    if trainer.cameras is not None:
        if config.eval_every:
            raise ConfigError(
                f"eval_every {config.eval_every}: an actor that sees is judged while it explores; "
                "leave it at 0"
            )
        worlds, steps = trainer.config.num_envs, trainer.config.num_steps
        check_picture_memory(trainer.cameras.signals, worlds, steps, memory_here())
    space = trainer.env.space

    def open_run() -> Run:
        return Run.create(
            config.run,
            config,
            resume=config.resume,
            may_change=may_change,
            writes=distributed.is_writer(),
        )

    with distributed.run_on_all("opening the run", open_run) as run:
        distributed.run_on_all("keeping the table", partial(run.keep_table, space.rows))
        if origin is not None:
            distributed.run_on_all("keeping the origin", partial(_keep_origin, run, origin))
        checkpoints = Checkpoints(
            run.checkpoints, task=task, rows=space.names, max_to_keep=config.keep
        )
        begin = partial(track, run.path, config.wandb if run.writes else "", config)
        tracked = distributed.run_on_all("opening the tracker", begin)
        iterate = trainer.sharded_iterate(mesh)
        profiler = Profiler(iterate, trainer, run.path, config.profile, run.writes)
        logger = train_logger(trainer, iterations, config.eval_every)
        logger.tracker = tracked
        loop = LoopConfig(
            what=f"{what} {task}",
            iterations=iterations,
            log_every=config.log_every,
            checkpoint_every=config.checkpoint_every,
            resume=config.resume,
            iterate=profiler if config.profile else iterate,
            log=logger.write,
            finished=finished,
            part=part,
        )
        key = jax.random.key(config.seed)
        programs = trainer.programs(key)
        if judged_on is not None:
            programs = chain(
                programs, trainer.evaluation_programs(trainer.state_shapes(), judged_on)
            )
        compile_ahead(mesh, programs)
        state = init_sharded(mesh, lambda: trainer.init_without_frames(key))
        state = trainer.with_frames(state, key)
        with closing(profiler), ending(tracked):
            return cast(TrainState, run_loop(loop, run, checkpoints, state))


def _keep_origin(run: Run, origin: Origin) -> None:
    """Copies an origin into the run's folder, in the process that writes it."""
    if run.writes:
        keep_origin(run.path, origin)


def train_logger(trainer: Trainer, iterations: int, eval_every: int) -> TrainLogger:
    """Returns what writes the lines of a training of so many iterations."""
    return TrainLogger(
        space=trainer.env.space,
        curriculum=trainer.curriculum,
        steps_per_iteration=trainer.config.num_envs * trainer.config.num_steps,
        iterations=iterations,
        sees=trainer.cameras is not None,
        eval_every=eval_every,
        evaluate=trainer.evaluate_now,
    )


@dataclass(frozen=True)
class LoopConfig:
    """A loop that can be interrupted and resumed.

    Attributes:
        what: its name on the screen.
        iterations: how many in all.
        log_every: iterations between two lines.
        checkpoint_every: iterations between two checkpoints.
        resume: start from the newest checkpoint where there is one.
        iterate: state -> (state, metrics).
        log: writes the lines of a window and returns a short note for the screen.
        finished: whether a state needs no further iteration; None runs all of them.
        part: which part of the training a state begins: where another one begins, a line is written
            though none is due; None where there are no parts. It is asked after every iteration.
    """

    what: str
    iterations: int
    log_every: int
    checkpoint_every: int
    resume: bool
    iterate: Callable[[Any], tuple[Any, Any]]
    log: Callable[[Run, LogWindow], str]
    finished: Callable[[Any], bool] | None = None
    part: Callable[[Any], int] | None = None

    def __post_init__(self) -> None:
        """Checks the sizes.

        Raises:
            ConfigError: one below 1, named.
        """
        _check_counts(self, ("iterations", "log_every", "checkpoint_every"))


def _check_counts(config: Any, names: Sequence[str]) -> None:
    """Raises ConfigError for a number of settings that is below 1."""
    for name in names:
        if getattr(config, name) < 1:
            raise ConfigError(f"{name} {getattr(config, name)} must be at least 1")


def run_loop(loop: LoopConfig, run: Run, checkpoints: Checkpoints, fresh: Any) -> Any:
    """Iterates from the ``fresh`` state or the newest checkpoint; returns the last state.

    Checkpoints are written beside the training, the last one is waited for.

    Raises:
        KeyboardInterrupt: asked to stop; the state is saved.
        DiskFullError: there is no room for the last checkpoint.
    """
    with run, distributed.fail_fast(checkpoints.settle):  # the folder is ours until all is written
        state, first = fresh, 0
        if loop.resume and distributed.broadcast(checkpoints.latest_step() or 0):
            state, first = checkpoints.restore(fresh)
        if loop.resume:
            run.rewind(first)  # also where there is none yet, and lines of a first try are
        with defer_signals() as stopped, progress(loop.what, loop.iterations, first) as bar:
            state = _iterations(loop, run, checkpoints, state, first, stopped, bar)
        checkpoints.close()
    return state


def _iterations(
    loop: LoopConfig,
    run: Run,
    checkpoints: Checkpoints,
    state: Any,
    first: int,
    stopped: Callable[[], bool],
    bar: ProgressBar,
) -> Any:
    window = MetricsWindow(time.perf_counter())
    over = loop.finished is not None and loop.finished(state)
    part = None if loop.part is None else loop.part(state)
    for done in range(first + 1, loop.iterations + 1):
        if over:
            break
        state, metrics = loop.iterate(state)
        window.add(metrics)
        over = loop.finished is not None and loop.finished(state)
        last = done == loop.iterations or over
        before, part = part, None if loop.part is None else loop.part(state)
        due = done % loop.log_every == 0 or last or part != before
        if due:
            note = loop.log(run, window.close(done, state))
            if distributed.is_writer():
                bar.update(done, note)
        if done % loop.checkpoint_every == 0 or last:
            _save(checkpoints, done, state, last)
        # Several processes stop at the same iteration; asking them costs time, so only at a line.
        if (due or not distributed.is_distributed()) and distributed.any_process(stopped()):
            if not last and done % loop.checkpoint_every:
                _save(checkpoints, done, state, last=True)
            checkpoints.close()
            raise KeyboardInterrupt
    return state


def _save(checkpoints: Checkpoints, done: int, state: Any, last: bool) -> None:
    """Saves the state; a full disk is a warning, and an error only at the ``last`` one.

    The state in memory is all there is of the work since the checkpoint before: going on, in the
    hope of room at the next one, can save it, and stopping cannot.

    Raises:
        DiskFullError: no room for the last one.
    """
    for attempt in range(2):  # the first error may be that of the checkpoint before
        try:
            checkpoints.save(done, state, wait=last)
            return
        except DiskFullError as error:
            if last and attempt:
                raise
            warnings.warn(f"{error}. Training goes on", RuntimeWarning, stacklevel=2)
