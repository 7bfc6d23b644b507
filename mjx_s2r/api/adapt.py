"""Students that learn from real pictures: settings of a run, its data, its trainer, loading it.

A run begins with a student's run and recordings, and ends as a student's run: it is exported and
evaluated as any other. The recordings are read once, into RUN/data and RUN/unlabelled, before any
work begins; what is wrong with them is said then.
"""

import shutil
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, cast

import jax
import jax.numpy as jnp
import numpy as np
import tyro

from mjx_s2r.api.real_frames import RealFeed, frames_of
from mjx_s2r.api.student import StudentConfig, load_student
from mjx_s2r.api.teacher import camera_schedule
from mjx_s2r.contract import PolicyContract
from mjx_s2r.curriculum.uniform import uniform
from mjx_s2r.io import tracker
from mjx_s2r.io.checkpoints import Checkpoints
from mjx_s2r.io.config import ConfigError
from mjx_s2r.io.origin import Origin, origin_folder, with_origin_found, with_origin_kept
from mjx_s2r.io.run import CHECKPOINTS, RunError, check_vacant, read_config
from mjx_s2r.learn.adapt.adaptation import Adaptation, AdaptState
from mjx_s2r.learn.adapt.adapted_student import AdaptedStudent
from mjx_s2r.learn.adapt.config import AdaptationConfig
from mjx_s2r.learn.adapt.distances import require_ott
from mjx_s2r.learn.distill.distillation import Distillation
from mjx_s2r.learn.networks.modules import StudentNetwork
from mjx_s2r.learn.rollout import Images, reset_envs
from mjx_s2r.learn.trainer import Trainer, TrainState, fit
from mjx_s2r.render.looks import textures
from mjx_s2r.runtime import distributed
from mjx_s2r.runtime.sharding import device_mesh
from mjx_s2r.sim.backends.physics_config import PhysicsConfig, one_device
from mjx_s2r.sim.env import require_native
from mjx_s2r.sim.interface import Environment, State
from mjx_s2r.transfer.demonstrations.batches import PictureMixing, Pictures, RowSampler
from mjx_s2r.transfer.demonstrations.compositing import remove_backgrounds, write_backgrounds
from mjx_s2r.transfer.demonstrations.dataset import (
    INDEX,
    Demonstrations,
    EpisodeSplit,
    split_episodes,
)
from mjx_s2r.transfer.demonstrations.flight_frames import FlightLabels, PictureFit
from mjx_s2r.transfer.demonstrations.frame_checks import check_colour_order
from mjx_s2r.transfer.demonstrations.read import (
    DemonstrationFiles,
    check_all_is_read,
    read_demonstrations,
)

DATA, UNLABELLED, BACKGROUNDS = "data", "unlabelled", "backgrounds"
CHECKED = 64  # pictures whose colours are compared


@dataclass(frozen=True)
class AdaptConfig:
    """Settings of a run that adapts a student."""

    student: Path = Path("runs/student")
    """Folder of the student's run to start from."""
    student_iteration: int | None = None
    """Checkpoint of the student; by default the newest when the run begins, which it keeps."""
    student_sha256: Annotated[str, tyro.conf.Suppress] = ""
    """Checksum of what the student had learnt; a run keeps that of the one it began with."""
    run: Path = Path("runs/adapted")
    """Folder of this run."""
    data: tuple[Path, ...] = ()
    """Demonstrations: flight logs and LeRobot dataset folders."""
    unlabelled: tuple[Path, ...] = ()
    """The same without their actions: pictures to align features with."""
    mapping: Path | None = None
    """File that says which column and which video of a LeRobot dataset is what; by default by their
    names."""
    calibration: Path | None = None
    """File that makes a LeRobot dataset's motor values joint angles, ours or LeRobot's; a mapping
    names its own instead."""
    camera_calibration: tuple[Path, ...] = ()
    """Files of train calibrate, of cameras whose pictures are turned into those of the model's; by
    default those that a flight log was flown with."""
    labels: FlightLabels = "sent"
    """What flight logs teach: the commands that were sent, or what the policy proposed."""
    fit: PictureFit = "refuse"
    """What becomes of pictures of another size: refuse; crop to the middle; squash."""
    count: int = 0
    """How many demonstrations to learn from; 0 takes all that are not held out."""
    held_out: float = 0.2
    """Share of the demonstrations that is kept for judging and early stopping."""
    split_seed: int = 0
    """Seed of what is held out, and of which demonstrations a smaller count takes."""
    seed: int = 0
    """Seed of everything else."""
    backgrounds: int = 0
    """How many real frames stand behind simulated things as photographs; 0: the student's own."""
    foreground: tuple[str, ...] = ()
    """Geoms (names or patterns) that are drawn before these frames."""
    mixing: PictureMixing = field(default_factory=PictureMixing)
    """What is done to real pictures before they are learned from."""
    pool: tuple[str, ...] = ("clutter", "clouds")
    """What stands where a green screen was, and shines through: builtin names of backgrounds, image
    files, folders of images."""
    log_every: int = 1
    """Iterations between two lines of metrics."""
    checkpoint_every: int = 10
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
    adapt: AdaptationConfig = field(default_factory=AdaptationConfig)
    """Settings of adaptation."""

    def __post_init__(self) -> None:
        """Checks that there is something to learn from.

        Raises:
            ConfigError: settings that contradict each other, named.
        """
        aligned = self.adapt.alignment.method != "none"
        if self.unlabelled and not aligned:
            raise ConfigError(
                "unlabelled pictures teach nothing by themselves; name an adapt.alignment.method "
                "that uses them, e.g. dann"
            )
        if self.adapt.alignment.method == "ot":
            try:
                require_ott()
            except ImportError as error:
                raise ConfigError(f"adapt.alignment.method 'ot': {error}") from error
        if self.foreground and not self.backgrounds:
            raise ConfigError(f"foreground {self.foreground} needs backgrounds, how many frames")
        if self.backgrounds and not self.foreground:
            raise ConfigError(
                f"backgrounds {self.backgrounds} needs foreground: the geoms that are drawn before "
                "the real frames"
            )
        if not 0 <= self.held_out < 1 or self.count < 0:
            raise ConfigError(
                f"held_out {self.held_out} must lie in [0, 1), and count {self.count} be at least 0"
            )


MAY_CHANGE = (
    *("run", "student", "data", "unlabelled", "resume", "devices"),
    *("log_every", "checkpoint_every", "keep", "wandb", "profile"),
)


@dataclass(frozen=True, eq=False)
class AdaptData:
    """What a run learns from.

    Attributes:
        labelled: demonstrations; None where there are none.
        split: which of them are learned from and held out.
        unlabelled: pictures alone; None where there are none.
    """

    labelled: Demonstrations | None
    split: EpisodeSplit | None
    unlabelled: Demonstrations | None


def train_adapted(
    config: AdaptConfig, env: Environment | None = None
) -> tuple[Trainer, TrainState, AdaptData]:
    """Runs or resumes the adaptation; returns the trainer, its last state and the data.

    Raises:
        RecordingError: recordings that cannot be used, named with file and row.
        ConfigError: nothing to learn from.
        MeshError: devices that are not there, or that do not divide the worlds.
        ModelError: several devices, and an engine that steps all worlds on one.
        HostError: several processes; an adaptation runs in one, on all its devices.
        RunError: no student's run, a folder that cannot be used, a tracker that is not installed.
        ConfigError: a run that goes on with another student than it began with.
    """
    distributed.require_single(f"adaptation {config.run}")
    if not (config.data or config.unlabelled):
        raise ConfigError("there is nothing to learn from: name data, unlabelled, or both")
    if not check_vacant(config.run, config.resume):
        _clear(config.run)
    if config.wandb:
        tracker.require()
    config = with_origin_found(config, "student")
    config, student, start, state = _load_origin(config, env)
    engine = PhysicsConfig(require_native(start.env).physics.backend)
    one_device(engine, device_mesh(config.devices).size)
    data = read_data(config, start)
    trainer = adapted_trainer(config, student, start, state)
    algorithm = cast(Adaptation, trainer.algorithm)
    feed = _feed(config, data, algorithm)
    trainer = replace(trainer, host_batch=feed)
    assert config.student_iteration is not None, "the student was loaded"
    state = fit(
        trainer,
        config,
        what="adaptation",
        task=require_native(trainer.env).task.name,
        iterations=config.adapt.all_iterations,
        may_change=MAY_CHANGE,
        finished=lambda state: int(state.learner.stage) >= config.adapt.num_stages,
        part=lambda state: int(state.learner.stage),
        origin=Origin("student", config.student, config.student_iteration),
    )
    return trainer, state, data


def _clear(run: Path) -> None:
    """Removes what a start that failed before its run began has left: its files may be others."""
    for name in (DATA, UNLABELLED):
        if (run / name / INDEX).exists():  # a folder of somebody else's stays
            shutil.rmtree(run / name)
    remove_backgrounds(run / BACKGROUNDS)


def _load_origin(
    config: AdaptConfig, env: Environment | None
) -> tuple[AdaptConfig, StudentConfig, Trainer, TrainState]:
    """Returns settings that name the student's checkpoint; its settings, trainer and state.

    Raises:
        RunError: no student's run there, or its teacher's is gone.
        CheckpointError: no checkpoint, or one of another task or table.
        ConfigError: another student than the run began with.
    """
    folder = origin_folder(config.run, "student", config.student)
    student, start, state = load_student(folder, config.student_iteration, env)
    reached = config.student, int(state.iteration), state.learner
    return with_origin_kept(config, "student", *reached), student, start, state


def read_data(config: AdaptConfig, start: Trainer) -> AdaptData:
    """Returns the recordings of a run, checked against the student that is to learn from them.

    Args:
        config: settings.
        start: the student's trainer.

    Raises:
        RecordingError: recordings that cannot be used, named with file and row.
    """
    contract = require_native(start.env).task.contract
    files = DemonstrationFiles(
        (*config.data, *config.unlabelled),
        config.mapping,
        config.calibration,
        config.camera_calibration,
        config.labels,
        config.fit,
    )
    check_all_is_read(files)
    labelled = split = unlabelled = None
    if config.data:
        part = files.part(config.data, labelled=True)
        labelled = read_demonstrations(part, contract, config.run / DATA)
        split = split_episodes(labelled, config.held_out, config.count, seed=config.split_seed)
    if config.unlabelled:
        part = files.part(config.unlabelled, labelled=False)
        unlabelled = read_demonstrations(part, contract, config.run / UNLABELLED)
    found = [x for x in (labelled, unlabelled) if x is not None]
    ours = nominal_pictures(start, CHECKED)
    for demonstrations in found:
        for number, camera in enumerate(contract.cameras):
            if camera.kind == "rgb":
                rows = np.unique(np.linspace(0, len(demonstrations) - 1, CHECKED).astype(int))
                seen = np.asarray(demonstrations.images[number][rows])
                check_colour_order(demonstrations.source, camera.name, seen, ours[number])
    if config.backgrounds and not (config.run / BACKGROUNDS).exists():
        write_backgrounds(found[-1], 0, config.run / BACKGROUNDS, config.backgrounds)
    return AdaptData(labelled, split, unlabelled)


def adapted_trainer(
    config: AdaptConfig, student: StudentConfig, start: Trainer, state: TrainState
) -> Trainer:
    """Returns the trainer of an adaptation, without its real frames.

    Args:
        config: settings.
        student: settings of the student's run.
        start: the student's trainer.
        state: its last state.

    Raises:
        RunError: a run that has been adapted before.
    """
    distillation = start.algorithm
    if not isinstance(distillation, Distillation):
        raise RunError(
            f"{config.student} has been adapted already; start from the student that it started "
            "from, with more stages or data"
        )
    settings = config.adapt
    distill = replace(
        distillation.config,
        num_envs=settings.num_envs,
        num_steps=settings.num_steps,
        num_minibatches=settings.num_minibatches,
        num_epochs=1,
        acts="student",
        shift_pixels=settings.shift_pixels,
        augment=settings.augment,
    )
    env, cameras = require_native(start.env), start.cameras
    if config.backgrounds:
        photographs = (str(config.run / BACKGROUNDS),)
        render = replace(student.render, photographs=photographs, foreground=config.foreground)
        cameras = camera_schedule(env, render, distill.changes_looks, distill.steady_share)
    network = AdaptedStudent(distillation.student, settings.residual_hidden, settings.domain_bit)
    shown = _random_inputs(distillation, env.task.contract)
    key = jax.random.key(config.seed)
    params = network.init(state.learner.params, *shown, rank=settings.adapter_rank, key=key)
    adapted = replace(distillation, config=distill, student=cast(StudentNetwork, network))
    algorithm = Adaptation(settings, adapted, (params, state.learner.obs_norm))
    curriculum = uniform(env.space.with_ranges(start.reached_ranges(state)))
    return Trainer(env, curriculum, algorithm, cameras)


def open_adapted(
    run: Path, env: Environment | None = None
) -> tuple[StudentConfig, Trainer, Checkpoints]:
    """Returns settings of the student, trainer and checkpoints of an adapted run.

    Raises:
        RunError: no run there, or that of its student or teacher is gone.
        CheckpointError: the student's run has no checkpoint, or one of another task or table.
    """
    config = replace(read_config(AdaptConfig, run), run=run)
    config, student, start, state = _load_origin(config, env)
    trainer = adapted_trainer(config, student, start, state)
    task = require_native(trainer.env).task
    checkpoints = Checkpoints(run / CHECKPOINTS, task=task.name, rows=task.space.names)
    return replace(student, run=run), trainer, checkpoints


def nominal_pictures(trainer: Trainer, count: int) -> tuple[np.ndarray, ...]:
    """Returns per camera (count, H, W, C) what there is to see in fresh worlds, looks nominal."""
    worlds, keys = _fresh_worlds(trainer, count)
    assert trainer.cameras is not None, "a student sees"
    xi = jnp.tile(jnp.asarray(trainer.env.space.nominal, jnp.float32), (count, 1))
    return tuple(np.asarray(x) for x in trainer.cameras.pictures(worlds, xi, keys[2]))


def fresh_views(trainer: Trainer, count: int) -> tuple[State, Images]:
    """Returns worlds at the start of an episode, and what the student sees in each.

    They are as many as asked for, or the next number that can take turns before slow cameras.
    """
    assert trainer.cameras is not None, "a student sees"
    worlds, keys = _fresh_worlds(trainer, trainer.cameras.enough_worlds(count))
    xi = worlds.pipeline_state.episode_params.xi
    frames = trainer.cameras.initial(worlds, xi, keys[2])
    return worlds, trainer.cameras.observe(frames, worlds, xi, 0, keys[3])[1]


def _fresh_worlds(trainer: Trainer, count: int) -> tuple[State, list[jax.Array]]:
    """Returns worlds that are the same for every state of a trainer, and keys to go on with."""
    keys = list(jax.random.split(jax.random.key(1_000_003), 4))
    params = trainer.curriculum.sample(trainer.curriculum.init(), count, keys[0])
    return reset_envs(trainer.env, params, key=keys[1]), keys


def _random_inputs(
    distillation: Distillation, contract: PolicyContract
) -> tuple[jax.Array, jax.Array, Images, jax.Array]:
    """Returns inputs of the student's network, (T, B) = (1, 1), no two of them alike."""
    keys = jax.random.split(jax.random.key(0), 1 + len(distillation.image_shapes))
    obs = jax.random.normal(keys[0], (1, 1, contract.size))
    images = tuple(
        jax.random.uniform(k, (1, 1, *shape), minval=-0.5, maxval=0.5)
        for k, shape in zip(keys[1:], distillation.image_shapes, strict=True)
    )
    memory = jnp.zeros((1, distillation.student.rnn_hidden))
    return memory, obs, images, jnp.ones((1, 1), bool)


def _feed(config: AdaptConfig, data: AdaptData, algorithm: Adaptation) -> RealFeed:
    """Returns what gives each iteration its real frames.

    Raises:
        RecordingError: a green screen that is not there.
        TextureError: a picture of the pool that cannot be read.
    """
    settings = config.adapt
    steps = settings.real_steps if algorithm.student.rnn_hidden else 1
    labelled = target = held_out = None
    if data.labelled is not None and data.split is not None:
        pool: Pictures = ()
        if config.mixing != PictureMixing(overlay_strength=config.mixing.overlay_strength):
            pool = tuple(
                textures.photographs(config.pool, c.height, c.width) for c in data.labelled.cameras
            )
        rows = data.split.learned
        labelled = RowSampler(data.labelled, rows, steps, config.mixing, pool)
        if len(data.split.held_out):
            judged = RowSampler(data.labelled, data.split.held_out, steps)
            held_out = frames_of(judged, judged.spread(settings.held_out_rows))
    if data.unlabelled is not None:
        target = RowSampler(data.unlabelled, np.arange(len(data.unlabelled)), steps)
    return RealFeed(config.seed, settings, labelled, target, held_out)


def adapted_state(state: TrainState) -> AdaptState:
    """Returns the learner's state of an adaptation."""
    return cast(AdaptState, state.learner)
