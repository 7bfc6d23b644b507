"""Teachers: settings of a run, the trainer that they describe, and loading a trained one."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Protocol, TypeVar

import tyro

from mjx_s2r.contract import camera_signal
from mjx_s2r.curriculum.adr import ADRConfig
from mjx_s2r.curriculum.episode_recorder import with_episode_recorder
from mjx_s2r.curriculum.interface import Curriculum
from mjx_s2r.curriculum.registry import CurriculumConfig, Schedules
from mjx_s2r.envs.registry import make_env, task_spec
from mjx_s2r.io import tracker
from mjx_s2r.io.checkpoints import Checkpoints
from mjx_s2r.io.config import ConfigError, over
from mjx_s2r.io.origin import Origin, with_origin_found
from mjx_s2r.io.run import CHECKPOINTS, CONFIG, read_config, read_recipe, read_settings
from mjx_s2r.learn.camera_schedule import CameraSchedule, bind_camera_schedule
from mjx_s2r.learn.networks.modules import check_pictures
from mjx_s2r.learn.ppo.config import PPOConfig
from mjx_s2r.learn.ppo.ppo import make_ppo
from mjx_s2r.learn.ppo.start import StudentStart
from mjx_s2r.learn.train_logger import width_told
from mjx_s2r.learn.trainer import Trainer, TrainState, fit
from mjx_s2r.params import ParamSpace
from mjx_s2r.params.ranges import as_ranges, read_ranges
from mjx_s2r.render.cameras import bind_cameras
from mjx_s2r.render.looks.assets import RenderConfig
from mjx_s2r.report.charts import draw_training
from mjx_s2r.runtime import distributed
from mjx_s2r.runtime.devices import check_jax_config
from mjx_s2r.runtime.progress import console, print_line
from mjx_s2r.runtime.sharding import device_mesh
from mjx_s2r.sim.backends.physics_config import PhysicsConfig, one_device
from mjx_s2r.sim.env import Env, require_native
from mjx_s2r.sim.interface import Environment, EpisodeParams
from mjx_s2r.sim.task import seen_by

# Settings that a resumed run may change.
MAY_CHANGE = (
    *("run", "resume", "recipe", "start", "devices", "iterations"),
    *("log_every", "checkpoint_every", "keep", "wandb", "profile"),
)


class RangeConfig(Protocol):
    """Settings that can give rows other ranges."""

    @property
    def ranges(self) -> Path | None:
        """A TOML or JSON file of them."""
        ...

    @property
    def range(self) -> tuple[str, ...]:
        """Single ones, as texts."""
        ...


C = TypeVar("C", bound=Any)


@dataclass(frozen=True)
class TeacherConfig:
    """Settings of a teacher run."""

    task: str = "reach"
    """Name of a task, or module:Class."""
    run: Path = Path("runs/teacher")
    """Folder of the run."""
    recipe: Path | None = None
    """A JSON file with settings to start from, as config.json of another run; by default those
    that fit the task. What the command line names goes first."""
    start: Path | None = None
    """Folder of a student's run that an actor reading pixels begins as: PPO goes on from its
    network, and imitates its teacher less and less (ppo.imitation_coef)."""
    start_iteration: int | None = None
    """Checkpoint of that student; by default the newest when the run begins, which it keeps."""
    start_sha256: Annotated[str, tyro.conf.Suppress] = ""
    """Checksum of what that student had learnt; a run keeps that of the one it began as."""
    seed: int = 0
    """Seed of everything."""
    iterations: int = 140
    """Iterations in all."""
    curriculum: str = "adr"
    """Schedule of the ranges: adr widens bound by bound, uniform keeps the widest, initial those it
    starts from, none keeps everything nominal; docs/curricula.md has the others."""
    rows: tuple[str, ...] = ()
    """Rows that it schedules, as patterns of names or fields ("sensor.*", or "~sensor.*" for all
    others); empty: all that the policy can feel, looks only where it sees."""
    mix: tuple[str, ...] = ()
    """Further schedules with rows of their own, each as kind:pattern,pattern."""
    ranges: Path | None = None
    """A TOML or JSON file of ranges of rows instead of the task's: name = [low, high], or a value
    for a fixed row; or a posterior.json, whose intervals it starts from. config.json keeps them in
    `range`."""
    range: tuple[str, ...] = ()
    """Ranges of rows, each as name=low,high or name=value; they go before those of the file."""
    episodes: int = 0
    """Episodes kept between two lines for episodes.jsonl; 0 writes none."""
    log_every: int = 5
    """Iterations between two lines of metrics."""
    checkpoint_every: int = 50
    """Iterations between two checkpoints."""
    keep: int = 3
    """How many of the newest checkpoints stay; `judge` compares them."""
    resume: bool = False
    """Go on where the folder holds this run; start where it holds none."""
    devices: int = 0
    """Devices that the worlds are split over; 0 takes all that there are."""
    eval_every: int = 0
    """Iterations between two evaluations without exploration, 64 episodes each; 0 makes none."""
    wandb: str = ""
    """Project of Weights & Biases that the figures also go to; empty: none."""
    profile: int = 0
    """Iterations traced for a profiler, after the first two, into RUN/profile; 0 traces none."""
    cameras: tuple[str, ...] = ()
    """Cameras of an actor that reads pixels, as those of `student`; empty: those of the task."""
    render: RenderConfig = field(default_factory=RenderConfig)
    """How pictures are drawn, for an actor that reads pixels."""
    physics: PhysicsConfig = field(default_factory=lambda: PhysicsConfig("auto"))
    """What takes the physics steps: --physics.backend auto, jax, warp or c."""
    ppo: PPOConfig = field(default_factory=PPOConfig)
    """Settings of PPO."""
    adr: ADRConfig = field(default_factory=ADRConfig)
    """Settings of ADR."""
    schedules: Schedules = field(default_factory=Schedules)
    """Settings of the other schedules."""


def recipe(task: str, file: Path | None = None) -> TeacherConfig:
    """Returns the settings that fit a task, and over them those of a recipe's ``file``.

    Without a ``task`` it is the file's, else reach.

    Raises:
        ParamError: an unknown task.
        ConfigError: a file that cannot be read, or a setting in it that does not exist or fit.
    """
    body = {} if file is None else read_recipe(file)
    task = task or str(body.get("task", "reach"))
    spec = task_spec(task)
    config = TeacherConfig(task=task, iterations=spec.iterations, ppo=spec.ppo)
    if file is None:
        return config
    try:
        return replace(over(config, body | {"task": task}), recipe=file)
    except ConfigError as error:
        raise ConfigError(f"recipe {file}: {error}") from error


def teacher_trainer(config: TeacherConfig, env: Environment | None = None) -> Trainer:
    """Returns the trainer that the settings describe.

    Args:
        config: settings.
        env: an environment instead of the one that ``config.task`` names, with its own engine.

    Raises:
        JaxConfigError: a setting of jax under which trainings fail.
        ParamError: an unknown task, row or camera; another library's environment for an actor that
            reads pixels.
        ConfigError: a student to begin as that does not fit.
    """
    check_jax_config()
    if env is None:
        worlds, ranges = config.ppo.num_envs, ranges_given(config)
        env = make_env(config.task, config.physics, worlds, ranges)
    sees = config.ppo.actor_obs == "pixels"
    cameras: CameraSchedule | None = None
    if sees:
        native = require_native(env)
        env = with_cameras(native, config.cameras)
        cameras = camera_schedule(env, config.render)
    shapes = () if cameras is None else tuple(c.shape for c in cameras.signals)
    curriculum = make_curriculum(config, env.space, sees=sees)
    start = _start(config, env, shapes)
    return Trainer(env, curriculum, make_ppo(config.ppo, env, shapes, start), cameras)


def _start(
    config: TeacherConfig, env: Environment, shapes: tuple[tuple[int, int, int], ...]
) -> StudentStart | None:
    """Returns the student that the run begins as, if its settings name one."""
    if config.start is None:
        return None
    from mjx_s2r.api.student_start import student_start  # which loads a student by way of this file

    return student_start(config, config.start, require_native(env), shapes)


def ranges_given(config: RangeConfig) -> tuple[str, ...]:
    """Returns the ranges of a file and, over them, of single rows, one text for each row.

    Raises:
        ParamError: a file that cannot be read, or a range in another form.
    """
    file = () if config.ranges is None else read_ranges(config.ranges)
    return as_ranges((*file, *config.range))


def with_ranges_kept(config: C) -> C:
    """Returns settings that hold the ranges themselves and not the path of their file.

    Raises:
        ParamError: as `ranges_given`.
    """
    return replace(config, ranges=None, range=ranges_given(config))


def with_cameras(env: Env, cameras: Sequence[str]) -> Env:
    """Returns ``env`` with the cameras NAME:HEIGHTxWIDTH@RATE instead of the task's, if any."""
    return replace(env, task=seen_by(env.task, [camera_signal(text) for text in cameras]))


def camera_schedule(
    env: Env, render: RenderConfig, look_each_step: bool = False, steady_share: float = 0.0
) -> CameraSchedule:
    """Returns the cameras of an environment's contract, bound to it.

    Raises:
        ContractError: a camera whose pictures our networks cannot take.
    """
    task = env.task
    check_pictures(task.contract.cameras)
    cameras = bind_cameras(task.space, task.mj_model, task.contract, render)
    return bind_camera_schedule(
        env, cameras, task.contract, look_each_step=look_each_step, steady_share=steady_share
    )


def make_curriculum(config: TeacherConfig, space: ParamSpace, *, sees: bool) -> Curriculum:
    """Returns the curriculum that the settings name, over the rows that they name.

    By default these are all rows that the policy can feel: looks only where it sees.
    """
    named = CurriculumConfig.of(config)
    whole = replace(named, rows=named.rows or (("*",) if sees else ())).build(space)
    return with_episode_recorder(space, whole, config.episodes) if config.episodes else whole


def train_teacher(
    config: TeacherConfig,
    env: Environment | None = None,
    *,
    judged_on: Callable[[Trainer], EpisodeParams] | None = None,
) -> tuple[Trainer, TrainState]:
    """Runs or resumes the training; returns the trainer and its last state.

    Args:
        config: settings.
        env: the environment; by default the one that they name.
        judged_on: worlds in which the teacher will be evaluated when it is trained.

    Raises:
        MeshError: devices that are not there, or that do not divide the worlds.
        HostError: another process of the same run failed.
        RunError: a folder that cannot be used, or a tracker that is not installed.
        ConfigError: a run that goes on with another student to begin as than it began with.
    """
    config = with_ranges_kept(config)
    config = with_origin_found(config, "start")
    distributed.join()
    if config.wandb:
        tracker.require()
    devices = device_mesh(config.devices).size
    one_device(config.physics, devices)
    config = with_engine_found(config) if config.resume else config
    if devices > 1:
        config = _with_engine(config, "jax")
    trainer = teacher_trainer(config, env)
    config = with_engine_taken(config, trainer.env)
    start, origin = getattr(trainer.algorithm, "start", None), None
    if start is not None and config.start is not None:
        origin = Origin("start", config.start, start.iteration)
        config = replace(config, start_iteration=start.iteration, start_sha256=start.sha256)
    if not config.resume and distributed.is_writer():
        moves = CurriculumConfig.of(config).moves
        if line := width_told(trainer.env.space, trainer.curriculum, moves=moves):
            print_line(line)
    state = fit(
        trainer,
        config,
        what="teacher",
        task=config.task,
        iterations=config.iterations,
        may_change=MAY_CHANGE,
        origin=origin,
        judged_on=None if judged_on is None else judged_on(trainer),
    )
    if distributed.is_writer():
        draw_training(config.run, trainer.env.space)
    return trainer, state


def with_engine_kept(config: TeacherConfig, kept: Mapping[str, Any]) -> TeacherConfig:
    """Returns settings whose engine, where it is "auto", is the one in a run's settings."""
    return _with_engine(config, kept.get("physics", {}).get("backend", "jax"))


def with_engine_found(config: TeacherConfig, part: str = "") -> TeacherConfig:
    """Returns settings whose engine, where it is "auto", is that of the run in their folder.

    Args:
        config: settings.
        part: name of a teacher's settings in those of the run; "" where they are the whole.
    """
    if not (config.run / CONFIG).exists():
        return config
    kept = read_settings(config.run)
    return with_engine_kept(config, kept.get(part, {}) if part else kept)


def with_engine_taken(config: TeacherConfig, env: Environment) -> TeacherConfig:
    """Returns settings that name the engine which an environment took for "auto", and says it."""
    taken = env.physics.backend if isinstance(env, Env) else "jax"
    if config.physics.backend == "auto" and taken != "jax":
        console.print(f"physics in C MuJoCo, faster here for {config.task} (--physics.backend jax)")
    return _with_engine(config, taken)


def _with_engine(config: TeacherConfig, engine: Any) -> TeacherConfig:
    """Returns settings with ``engine`` in the place of "auto"."""
    if config.physics.backend != "auto":
        return config
    return replace(config, physics=replace(config.physics, backend=engine))


def open_teacher(
    run: Path, env: Environment | None = None
) -> tuple[TeacherConfig, Trainer, Checkpoints]:
    """Returns settings, trainer and checkpoints of a teacher's run.

    Raises:
        RunError: no run there, or one of another schema.
    """
    config = replace(read_config(TeacherConfig, run), run=run)
    trainer = teacher_trainer(config, env)
    names = trainer.env.space.names
    return config, trainer, Checkpoints(run / CHECKPOINTS, task=config.task, rows=names)


def load_teacher(
    run: Path, iteration: int | None = None, env: Environment | None = None
) -> tuple[TeacherConfig, Trainer, TrainState]:
    """Returns settings, trainer and state of a teacher's run, the newest or that of an iteration.

    Raises:
        RunError: no run there.
        CheckpointError: no checkpoint, or one of another task or table.
    """
    config, trainer, checkpoints = open_teacher(run, env)
    state = checkpoints.restore(trainer.state_shapes(), step=iteration)[0]
    return config, trainer, state
