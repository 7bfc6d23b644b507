"""python -m train teacher --task reach: a privileged teacher by PPO, and its curriculum."""

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
import tyro

from mjx_s2r.contract import camera_signal
from mjx_s2r.curriculum.adr import ADRConfig
from mjx_s2r.curriculum.episode_recorder import with_episode_recorder
from mjx_s2r.curriculum.interface import Curriculum
from mjx_s2r.curriculum.registry import (
    Kind,
    Schedules,
    build_curriculum,
    build_mixture,
    rows_or_default,
)
from mjx_s2r.curriculum.uniform import uniform
from mjx_s2r.envs.registry import make_env, task_spec
from mjx_s2r.io import tracker
from mjx_s2r.io.checkpoints import Checkpoints
from mjx_s2r.io.config import ConfigError, over
from mjx_s2r.io.run import Run
from mjx_s2r.io.tracker import ending, track
from mjx_s2r.learn.algorithm import Learner
from mjx_s2r.learn.ppo import pixels
from mjx_s2r.learn.ppo.config import PPOConfig
from mjx_s2r.learn.ppo.learner import PPOLearner
from mjx_s2r.learn.ppo.pixels import PixelPpo
from mjx_s2r.learn.profiler import Profiler
from mjx_s2r.learn.train_logger import TrainLogger
from mjx_s2r.params import ParamSpace
from mjx_s2r.render.cameras import bind_cameras
from mjx_s2r.render.looks.assets import RenderConfig
from mjx_s2r.runtime import distributed
from mjx_s2r.runtime.sharding import check_num_envs, init_sharded, jit_sharded, reshard
from mjx_s2r.runtime.sharding import device_mesh as device_mesh
from mjx_s2r.sim.backends import warp
from mjx_s2r.sim.backends.physics_config import PhysicsConfig
from mjx_s2r.sim.env import require_native
from mjx_s2r.sim.task import seen_by
from train.common import LoopConfig, compile_ahead, run_loop
from train.recipes import base, read

# What a run that is resumed may be told otherwise.
MAY_CHANGE = (
    *("run", "resume", "recipe", "devices", "iterations"),
    *("log_every", "checkpoint_every", "keep", "wandb", "profile"),
)


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
    seed: int = 0
    """Seed of everything."""
    iterations: int = 140
    """Iterations in all."""
    curriculum: Kind = "adr"
    """Schedule of the ranges: adr widens bound by bound, uniform keeps the widest, none keeps
    everything nominal; the others are described in Schedules. Looks are wide open or nominal."""
    rows: tuple[str, ...] = ()
    """Rows that it schedules, as patterns of names or fields ("sensor.*"); empty: all but looks."""
    mix: tuple[str, ...] = ()
    """Further schedules with rows of their own, each as kind:pattern,pattern."""
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
    physics: PhysicsConfig = field(default_factory=PhysicsConfig)
    """What takes the physics steps: --physics.backend jax or warp."""
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
    body = {} if file is None else read(file)
    task = task or str(body.get("task", "reach"))
    spec = task_spec(task)
    config = TeacherConfig(task=task, iterations=spec.iterations, ppo=spec.ppo)
    if file is None:
        return config
    try:
        return replace(over(config, body | {"task": task}), recipe=file)
    except ConfigError as error:
        raise ConfigError(f"recipe {file}: {error}") from error


def learner(config: TeacherConfig) -> PPOLearner:
    """Builds task, environment, curriculum and PPO for an actor that reads numbers.

    Raises:
        ParamError: an unknown task or row.
        ConfigError: an actor that reads pixels.
    """
    if config.ppo.actor_obs == "pixels":
        raise ConfigError(
            "ppo.actor_obs 'pixels': here an actor must read 'state' or 'privileged'; train another"
        )
    env = make_env(config.task, config.physics)
    return PPOLearner(env, schedule(config, env.space), config.ppo)


def seeing(config: TeacherConfig) -> PixelPpo:
    """Builds task, environment, cameras, curriculum and PPO for an actor that reads pixels.

    Raises:
        ParamError: an unknown task, row or camera; another library's environment.
        ConfigError: an evaluation, which actors that see do not have yet.
    """
    if config.eval_every:
        raise ConfigError(
            f"eval_every {config.eval_every}: an actor that reads pixels is judged while it "
            "explores; leave it at 0"
        )
    env = require_native(make_env(config.task, config.physics))
    task = seen_by(env.task, [camera_signal(text) for text in config.cameras])
    cameras = bind_cameras(task.space, task.mj_model, task.contract, config.render)
    env = replace(env, task=task)
    looks = [row for row in env.space.rows if row.group == "visual"]
    wide = {} if config.curriculum == "none" else {row.name: row.limits for row in looks}
    return pixels.make(env, cameras, schedule(config, env.space.with_ranges(wide)), config.ppo)


def schedule(config: TeacherConfig, space: ParamSpace) -> Curriculum:
    """Returns the curriculum that the settings name, over the rows that they name."""
    if not len(space):
        return uniform(space)

    def make(kind: str, space: ParamSpace, rows: np.ndarray) -> Curriculum:
        """Builds one schedule."""
        return build_curriculum(kind, config.schedules, config.adr, space, rows)

    rows = rows_or_default(space, config.rows)
    whole = build_mixture(config.curriculum, rows, config.mix, make, space)
    return with_episode_recorder(space, whole, config.episodes) if config.episodes else whole


def train(config: TeacherConfig) -> tuple[Learner, Any]:
    """Runs or resumes the training; returns the learner and its last state.

    Raises:
        MeshError: devices that are not there, or that do not divide the worlds.
        HostError: another process of the same run failed.
        RunError: a folder that cannot be used, or a tracker that is not installed.
    """
    distributed.join()
    if config.wandb:
        tracker.require()
    sees = config.ppo.actor_obs == "pixels"
    if sees:
        distributed.require_single(f"an actor that reads pixels, {config.run},")
    mesh = device_mesh(config.devices)
    warp.one_device(config.physics, mesh.size)
    ppo = seeing(config) if sees else learner(config)
    core = ppo.core if isinstance(ppo, PixelPpo) else ppo
    check_num_envs(mesh, core.config.num_envs)
    run = distributed.run_on_all("opening the run", partial(_open, config, core.env.space))
    rows = core.env.space.names
    checkpoints = Checkpoints(run.checkpoints, task=config.task, rows=rows, max_to_keep=config.keep)
    tracked = track(run.path, config.wandb if run.writes else "", config)
    iterate = reshard(mesh, ppo.iterate) if sees else jit_sharded(mesh, ppo.iterate)
    apart = core if isinstance(core, PPOLearner) and not sees else None
    profiler = Profiler(iterate, apart, run.path, config.profile, run.writes)
    job = LoopConfig(
        what=f"teacher {config.task}",
        iterations=config.iterations,
        log_every=config.log_every,
        checkpoint_every=config.checkpoint_every,
        resume=config.resume,
        iterate=profiler if config.profile else iterate,
        log=TrainLogger(core, config.iterations, config.eval_every, tracked).write,
    )
    key = jax.random.key(config.seed)
    if not sees:  # an actor that sees runs other programs
        compile_ahead(mesh, core.programs(key))
    fresh = init_sharded(mesh, lambda: core.init(key))
    fresh = ppo.load(fresh, key) if isinstance(ppo, PixelPpo) else fresh
    with closing(profiler), ending(tracked):
        return core, run_loop(job, run, checkpoints, fresh)


def _open(config: TeacherConfig, space: ParamSpace) -> Run:
    """Opens the run's folder and keeps the table in it."""
    run = Run.create(
        config.run,
        config,
        resume=config.resume,
        may_change=MAY_CHANGE,
        writes=distributed.is_writer(),
    )
    run.keep_table(space.rows)
    return run


def main(argv: Sequence[str]) -> None:
    """Parses the command line and trains."""
    train(tyro.cli(TeacherConfig, args=list(argv), default=recipe(*base(argv))))
