"""Students: settings of a run, the trainer that they describe, and loading a trained one."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Literal, cast

import jax
import numpy as np
import tyro

from mjx_s2r.api.teacher import (
    TeacherConfig,
    camera_schedule,
    load_teacher,
    ranges_given,
    with_cameras,
    with_ranges_kept,
)
from mjx_s2r.curriculum.adr import ADRConfig
from mjx_s2r.curriculum.interface import Curriculum
from mjx_s2r.curriculum.pictures import PictureSchedule, picture_rows, schedule_by_pictures
from mjx_s2r.curriculum.registry import CurriculumConfig, Schedules
from mjx_s2r.envs.registry import make_env, name_of, task_spec
from mjx_s2r.io import tracker
from mjx_s2r.io.checkpoints import Checkpoints
from mjx_s2r.io.config import ConfigError
from mjx_s2r.io.origin import Origin, origin_folder, with_origin_found, with_origin_kept
from mjx_s2r.io.run import CHECKPOINTS, CONFIG, is_adapted, read_config
from mjx_s2r.learn.camera_schedule import CameraSchedule, check_picture_memory
from mjx_s2r.learn.distill.config import DistillConfig
from mjx_s2r.learn.distill.distillation import make_distillation
from mjx_s2r.learn.distill.teachers import ppo_teacher
from mjx_s2r.learn.networks.encoders.config import check_encoder
from mjx_s2r.learn.networks.encoders.pretrained import load_weights, with_checksum
from mjx_s2r.learn.ppo.ppo import PPO
from mjx_s2r.learn.train_logger import width_told
from mjx_s2r.learn.trainer import Trainer, TrainState, fit
from mjx_s2r.params import ParamError, ParamSpace
from mjx_s2r.params.ranges import changed_space, read_range
from mjx_s2r.render.cameras import to_rgb
from mjx_s2r.render.looks.assets import RenderConfig
from mjx_s2r.runtime import distributed
from mjx_s2r.runtime.progress import console, print_line
from mjx_s2r.runtime.random_keys import FRAMES
from mjx_s2r.runtime.sharding import device_mesh
from mjx_s2r.sim.backends.physics_config import ONE_DEVICE, PhysicsConfig, one_device
from mjx_s2r.sim.backends.step_cost import memory_here
from mjx_s2r.sim.env import Env, require_native
from mjx_s2r.sim.interface import Environment


@dataclass(frozen=True)
class StudentPhysics:
    """What steps a student's worlds."""

    backend: Literal["teacher", "jax"] = "teacher"
    """Engine of the physics: the teacher's, or MJX on jax. A new run on several devices takes jax
    where the teacher's engine steps all worlds on one; a run keeps what it took."""


@dataclass(frozen=True)
class StudentConfig:
    """Settings of a student run."""

    teacher: Path = Path("runs/teacher")
    """Folder of the teacher's run."""
    teacher_iteration: int | None = None
    """Checkpoint of the teacher; by default the newest when the run begins, which it keeps."""
    teacher_sha256: Annotated[str, tyro.conf.Suppress] = ""
    """Checksum of what the teacher had learnt; a run keeps that of the one it began with."""
    run: Path = Path("runs/student")
    """Folder of this run."""
    seed: int = 0
    """Seed of everything."""
    curriculum: str = "uniform"
    """Schedule of the looks and of the camera's timing: uniform draws them from their limits
    throughout, none keeps them nominal, adr and the others begin there and widen them as the
    student copes. Rows of physics keep the ranges that the teacher reached."""
    rows: tuple[str, ...] = ()
    """Rows that it schedules, as patterns of names or fields; empty: all visual ones."""
    mix: tuple[str, ...] = ()
    """Further schedules with rows of their own, each as kind:pattern,pattern."""
    ranges: Path | None = None
    """A TOML or JSON file of ranges of rows instead of those that the teacher reached, within the
    limits of its run: name = [low, high], or a value for a fixed row."""
    range: tuple[str, ...] = ()
    """Ranges of rows, each as name=low,high or name=value; they go before those of the file."""
    log_every: int = 5
    """Iterations between two lines of metrics."""
    checkpoint_every: int = 40
    """Iterations between two checkpoints."""
    keep: int = 3
    """How many of the newest checkpoints stay."""
    resume: bool = False
    """Go on where the folder holds this run; start where it holds none."""
    devices: int = 0
    """Devices that the worlds are split over; 0 takes all that there are."""
    eval_every: Annotated[int, tyro.conf.Suppress] = 0
    """0: a student is evaluated on robots."""
    wandb: str = ""
    """Project of Weights & Biases that the figures also go to; empty: none."""
    profile: int = 0
    """Iterations traced for a profiler, after the first two, into RUN/profile; 0 traces none."""
    cameras: tuple[str, ...] = ()
    """Cameras instead of the task's: NAME:HEIGHTxWIDTH@RATE, or ...@RATExFRAMES for a stack."""
    render: RenderConfig = field(default_factory=RenderConfig)
    """How pictures are made."""
    physics: StudentPhysics = field(default_factory=StudentPhysics)
    """What steps the worlds."""
    distill: DistillConfig = field(default_factory=DistillConfig)
    """Settings of distillation."""
    adr: ADRConfig = field(default_factory=ADRConfig)
    """Settings of ADR."""
    schedules: Schedules = field(default_factory=Schedules)
    """Settings of the other schedules."""

    @property
    def teacher_folder(self) -> Path:
        """The teacher's run: the copy that this run keeps of it, else the one that is named."""
        return origin_folder(self.run, "teacher", self.teacher)


MAY_CHANGE = (
    *("run", "teacher", "resume", "devices"),
    *("log_every", "checkpoint_every", "keep", "wandb", "profile"),
)


def student_recipe(teacher: Path, run: Path) -> StudentConfig:
    """Returns the settings that fit the task of a teacher's run; the general ones without a run.

    Args:
        teacher: folder of the teacher's run.
        run: folder of the student's run; one that goes on there holds what it needs of the teacher.
    """
    folder = StudentConfig(teacher=teacher, run=run).teacher_folder
    if not folder.exists():
        return StudentConfig(teacher=teacher)
    task = read_config(TeacherConfig, folder).task
    return StudentConfig(teacher=teacher, distill=task_spec(task).distill)


def student_space(trainer: Trainer, state: TrainState, given: Sequence[str] = ()) -> ParamSpace:
    """Returns the table with the ranges that the teacher reached as initial ones, looks nominal.

    Args:
        trainer: the teacher's.
        state: the teacher's.
        given: ranges of rows instead (`mjx_s2r.params.ranges`): the limits of a look, and what is
            drawn of a row of physics.

    Raises:
        ParamError: a range that its row cannot have.
    """
    return _student_table(trainer.env.space, trainer.reached_ranges(state), given)


def _student_table(
    space: ParamSpace, reached: Mapping[str, tuple[float, float]], given: Sequence[str]
) -> ParamSpace:
    """Returns the table of a student whose teacher has ``reached`` ranges, by row.

    Raises:
        ParamError: a range that its row cannot have.
    """
    ranges, looks = dict(reached), list[str]()
    for change in map(read_range, given):
        changed = changed_space(space, (str(change),))
        row = changed.rows[changed.index(change.name)]
        if change.limits is not None or change.nominal is not None:
            raise ParamError(
                f"range of {change.name!r}: a student keeps the limits and nominal values of its "
                "teacher's run; give low and high alone, or train the teacher with others"
            )
        if row.group == "visual":
            looks.append(str(change))
        else:
            ranges[change.name] = row.limits
    space = changed_space(space, looks)
    for row in space.rows:
        if row.group == "visual":
            ranges[row.name] = (row.nominal, row.nominal)
    return space.with_ranges(ranges)


def student_curriculum(
    config: StudentConfig, space: ParamSpace, *, by_pictures: bool
) -> tuple[Curriculum, PictureSchedule | None]:
    """Returns the schedule of a student's worlds, and that of single pictures if there is one.

    Args:
        config: settings.
        space: the table, from `student_space`.
        by_pictures: every picture shows a look of its own, and is scored for it.
    """
    named = CurriculumConfig.of(config)
    build = partial(named.build, space, default=space.in_group("visual"), keep_others=True)
    if not by_pictures:
        return build(), None
    shown = picture_rows(space)
    return schedule_by_pictures(space, build(within=~shown), build(within=shown))


def student_trainer(
    config: StudentConfig, env: Environment | None = None, *, trained: bool = False
) -> Trainer:
    """Returns the trainer of a student of a teacher's run.

    Args:
        config: settings.
        env: an environment instead of the one that the teacher's task names.
        trained: the student is read from a checkpoint, so that no pretrained weights are read.

    Raises:
        RunError: no teacher's run there.
        CheckpointError: the teacher's run has no such checkpoint.
        ContractError: a camera whose rate does not divide the control rate.
        ConfigError: a teacher that sees, of another task, or another one than the run began with.
        EncoderError: pretrained weights that are not there or of another network, or pictures that
            a pretrained encoder cannot take.
        ValueError: worlds that do not divide by the control steps between two pictures.
    """
    return _begin(config, env, trained)[1]


def _begin(
    config: StudentConfig, env: Environment | None, trained: bool
) -> tuple[StudentConfig, Trainer]:
    """Returns settings that hold the checksums of what a student begins with, and its trainer."""
    _check_teacher(config, env)
    weights = None if trained else load_weights(config.distill.encoder)
    _, teacher, state = load_teacher(config.teacher_folder, config.teacher_iteration, env)
    reached = config.teacher, int(state.iteration), state.learner
    config = with_origin_kept(config, "teacher", *reached)
    native = require_native(teacher.env)
    if config.physics.backend == "jax" != native.physics.backend:
        native = require_native(make_env(native, PhysicsConfig("jax"), config.distill.num_envs))
    native, cameras = _with_eyes(config, native)
    shapes = tuple(c.shape for c in cameras.signals)
    given = ranges_given(config)
    space = student_space(teacher, state, given)
    curriculum, looks = student_curriculum(config, space, by_pictures=cameras.look_each_step)
    taught = ppo_teacher(cast(PPO, teacher.algorithm), state.learner)
    algorithm = make_distillation(native, shapes, taught, config.distill, weights)
    encoder = with_checksum(config.distill.encoder, weights)
    config = replace(config, distill=replace(config.distill, encoder=encoder))
    return config, Trainer(native, curriculum, algorithm, cameras, looks)


def with_origins_found(config: StudentConfig) -> StudentConfig:
    """Returns settings with the teacher and the weights that the run in their folder began with.

    What the settings say themselves stays. Without a run there they are returned as they are.
    """
    config = with_origin_found(config, "teacher")
    if config.distill.encoder.sha256 or not (config.run / CONFIG).exists():
        return config
    kept = read_config(StudentConfig, config.run).distill.encoder.sha256
    encoder = replace(config.distill.encoder, sha256=kept)
    return replace(config, distill=replace(config.distill, encoder=encoder))


def _with_engine(config: StudentConfig, env: Environment | None, devices: int) -> StudentConfig:
    """Returns the settings of a run with an engine that steps worlds on so many devices.

    Raises:
        ModelError: the run began with one that cannot.
    """
    settled = (config.run / CONFIG).exists()
    if settled and config.physics.backend == "teacher":
        config = replace(config, physics=read_config(StudentConfig, config.run).physics)
    if config.physics.backend == "jax":
        return config
    teacher = read_config(TeacherConfig, config.teacher_folder)
    engine = teacher.physics if env is None else PhysicsConfig(require_native(env).physics.backend)
    if devices > 1 and engine.backend in ONE_DEVICE and not settled:
        console.print(f"physics in MJX: the teacher's {engine.backend!r} is for one device")
        return replace(config, physics=StudentPhysics("jax"))
    one_device(engine, devices)
    return config


def _with_eyes(config: StudentConfig, env: Env) -> tuple[Env, CameraSchedule]:
    """Returns a teacher's environment with the student's cameras, and these bound to it.

    Raises:
        ConfigError: a schedule that moves by episodes of the student's own, which has none.
    """
    distill, env = config.distill, with_cameras(env, config.cameras)
    check_encoder(distill.encoder, env.task.contract.cameras)
    cameras = camera_schedule(env, config.render, distill.changes_looks, distill.steady_share)
    moves = bool(config.mix) or config.curriculum not in ("uniform", "none")
    if moves and distill.acts == "teacher" and not cameras.look_each_step:
        raise ConfigError(
            f"curriculum {config.curriculum!r}: a student with a memory or a stack of pictures "
            "widens its looks by episodes of its own; distill.acts 'teacher' has none: "
            "take distill.acts mixture, or curriculum uniform"
        )
    return env, cameras


def check_student(config: StudentConfig, env: Env) -> None:
    """Checks all that can be known of a student before there is a teacher.

    Args:
        config: settings; there need be no run at ``config.teacher``.
        env: what its teacher will be trained in.

    Raises:
        RunError: a tracker that is not installed.
        ContractError: pictures that a network cannot take, or a camera's rate that does not divide
            the control rate.
        EncoderError: pretrained weights that are not there or of another network, or pictures that
            a pretrained encoder cannot take.
        ParamError: a camera, range, row or schedule that does not exist or fit.
        ModelError: pictures that ask for more memory than there is.
        ValueError: worlds that do not divide by the control steps between two pictures.
    """
    if config.wandb:
        tracker.require()
    given, distill = ranges_given(config), config.distill
    load_weights(distill.encoder)
    cameras = _with_eyes(config, env)[1]
    cameras.check_num_envs(distill.num_envs)
    check_picture_memory(cameras.signals, distill.num_envs, distill.num_steps, memory_here())
    space = _student_table(env.space, {row.name: row.limits for row in env.space.rows}, given)
    student_curriculum(config, space, by_pictures=cameras.look_each_step)


def _check_teacher(config: StudentConfig, env: Environment | None) -> None:
    """Checks, before anything is loaded, that a teacher's run can have a student.

    Raises:
        RunError: no teacher's run there.
        ConfigError: a teacher that sees; one of another task than ``env``, where that is given.
    """
    kept = read_config(TeacherConfig, config.teacher_folder)
    if kept.ppo.actor_obs == "pixels":
        raise ConfigError(
            f"teacher {config.teacher}: its actor reads pixels (ppo.actor_obs), and a student "
            "copies one that reads numbers; export that run itself, or name another teacher"
        )
    name = kept.task if env is None else name_of(env)
    by_class = ":" in name + kept.task  # names of classes lead to one in two ways
    if name != kept.task and not by_class:
        raise ConfigError(
            f"teacher {config.teacher}: a teacher of task {kept.task!r}, and the student's "
            f"environment is of {name!r}; name a teacher of the same task"
        )


def train_student(
    config: StudentConfig, env: Environment | None = None
) -> tuple[Trainer, TrainState]:
    """Runs or resumes the distillation; returns the trainer and its last state.

    Raises:
        MeshError: devices that are not there, or that do not divide the worlds.
        ModelError: several devices, and an engine that steps all worlds on one.
        HostError: another process of the same run failed.
        RunError: no teacher's run, a folder that cannot be used, a tracker that is not installed.
        ConfigError: a run that goes on with another teacher than it began with.
    """
    config = with_origins_found(with_ranges_kept(config))
    distributed.join()
    if config.wandb:
        tracker.require()
    config = _with_engine(config, env, device_mesh(config.devices).size)
    config, trainer = _begin(config, env, trained=False)
    assert config.teacher_iteration is not None, "the teacher was loaded"
    if not config.resume and distributed.is_writer():
        named = CurriculumConfig.of(config)  # without rows of their own its schedules are of looks
        moves = named.moves and bool(named.rows or named.mix)
        line = width_told(trainer.env.space, trainer.curriculum, moves=moves, copies=True)
        if line:
            print_line(line)
    state = fit(
        trainer,
        config,
        what="student",
        task=require_native(trainer.env).task.name,
        iterations=config.distill.iterations,
        may_change=MAY_CHANGE,
        origin=Origin("teacher", config.teacher, config.teacher_iteration),
    )
    return trainer, state


def open_student(
    run: Path, env: Environment | None = None
) -> tuple[StudentConfig, Trainer, Checkpoints]:
    """Returns settings, trainer and checkpoints of a student's run.

    Raises:
        RunError: no run there, or its teacher's is gone.
    """
    if is_adapted(run):
        from mjx_s2r.api.adapt import open_adapted  # it builds on this file

        return open_adapted(run, env)
    config = replace(read_config(StudentConfig, run), run=run)
    trainer = student_trainer(config, env, trained=True)
    task = require_native(trainer.env).task
    return config, trainer, Checkpoints(run / CHECKPOINTS, task=task.name, rows=task.space.names)


def load_student(
    run: Path, iteration: int | None = None, env: Environment | None = None
) -> tuple[StudentConfig, Trainer, TrainState]:
    """Returns settings, trainer and state of a student's run, the newest or of an iteration.

    Raises:
        RunError: no run there, or its teacher's is gone.
        CheckpointError: no checkpoint, or one of another task or table.
    """
    config, trainer, checkpoints = open_student(run, env)
    return config, trainer, checkpoints.restore(trainer.state_shapes(), step=iteration)[0]


def student_mosaic(trainer: Trainer, state: TrainState, count: int) -> np.ndarray:
    """Returns (count, H, W, 3) uint8: what the first camera shows in training, in fresh looks.

    The worlds are the first of those in ``state``, at most all of them: the programs that draw them
    are compiled already.
    """
    assert trainer.cameras is not None, "a student sees"
    key_looks, key_draw = jax.random.split(jax.random.fold_in(state.key, FRAMES))
    params = trainer.curriculum.sample(state.curriculum, trainer.config.num_envs, key_looks)
    shown = trainer.cameras.pictures(state.env_state, params.xi, key_draw)
    return to_rgb(np.asarray(shown[0][:count]))
