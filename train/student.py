"""python -m train student --teacher runs/teacher: a camera student that copies the teacher."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import jax
import tyro

from mjx_s2r.contract import camera_signal
from mjx_s2r.curriculum.uniform import uniform
from mjx_s2r.envs.registry import task_spec
from mjx_s2r.io.checkpoints import Checkpoints
from mjx_s2r.io.config import from_dict
from mjx_s2r.io.run import CHECKPOINTS, CONFIG, Run, RunError
from mjx_s2r.learn.algorithm import Learner
from mjx_s2r.learn.distill import learner as distillation
from mjx_s2r.learn.distill.learner import Distill, DistillConfig, DistillState
from mjx_s2r.params import ParamSpace
from mjx_s2r.render.cameras import bind_cameras
from mjx_s2r.render.looks.assets import RenderConfig
from mjx_s2r.runtime import distributed
from mjx_s2r.runtime.sharding import check_num_envs, init_sharded, reshard
from mjx_s2r.runtime.sharding import device_mesh as device_mesh
from mjx_s2r.sim.env import require_native
from mjx_s2r.sim.task import seen_by
from train.common import LogWindow, LoopConfig, compile_ahead, run_loop
from train.teacher import TeacherConfig, learner


@dataclass(frozen=True)
class StudentConfig:
    """Settings of a student run."""

    teacher: Path = Path("runs/teacher")
    """Folder of the teacher's run."""
    teacher_iteration: int | None = None
    """Checkpoint of the teacher; by default the newest."""
    run: Path = Path("runs/student")
    """Folder of this run."""
    seed: int = 0
    """Seed of everything."""
    plain_looks: bool = False
    """Keep every look nominal instead of drawing it from the limits."""
    log_every: int = 5
    """Iterations between two lines of metrics."""
    checkpoint_every: int = 40
    """Iterations between two checkpoints."""
    resume: bool = False
    """Go on where the folder holds this run; start where it holds none."""
    devices: int = 0
    """Devices that the worlds are split over; 0 takes all that there are."""
    cameras: tuple[str, ...] = ()
    """Cameras instead of the task's: NAME:HEIGHTxWIDTH@RATE, or ...@RATExFRAMES for a stack."""
    render: RenderConfig = field(default_factory=RenderConfig)
    """How pictures are made."""
    distill: DistillConfig = field(default_factory=DistillConfig)
    """Settings of distillation."""


def load_teacher(run: Path, iteration: int | None = None) -> tuple[TeacherConfig, Learner, Any]:
    """Returns settings, learner and state of a teacher's run, the newest or that of an iteration.

    Raises:
        RunError: no run there.
        CheckpointError: no checkpoint, or one of another task or table.
    """
    config, ppo, checkpoints, like = open_teacher(run)
    return config, ppo, checkpoints.restore(like, step=iteration)[0]


def open_teacher(run: Path) -> tuple[TeacherConfig, Learner, Checkpoints, Any]:
    """Returns settings, learner, checkpoints and the shapes of a state of a teacher's run.

    Raises:
        RunError: no run there.
    """
    if not (run / CONFIG).exists():
        raise RunError(f"{run} holds no teacher ({CONFIG} is missing); train one first")
    config = from_dict(TeacherConfig, json.loads((run / CONFIG).read_text()))
    ppo = learner(config)
    like = jax.eval_shape(ppo.init, jax.random.key(0))
    checkpoints = Checkpoints(run / CHECKPOINTS, task=config.task, rows=ppo.env.space.names)
    return config, ppo, checkpoints, like


def student_space(ppo: Learner, state: Any, plain_looks: bool) -> ParamSpace:
    """Returns the table with the ranges that the teacher reached, and looks over their limits."""
    space = ppo.env.space
    report = jax.device_get(ppo.curriculum.report(state.curriculum))
    looks = space.in_group("visual")
    ranges = {}
    for i, row in enumerate(space.rows):
        nominal = (row.nominal, row.nominal)
        found = (float(report.low[i]), float(report.high[i]))
        ranges[row.name] = (nominal if plain_looks else row.limits) if looks[i] else found
    return space.with_ranges(ranges)


def distiller(config: StudentConfig) -> Distill:
    """Builds a distillation from a teacher's run."""
    _, ppo, state = load_teacher(config.teacher, config.teacher_iteration)
    env = require_native(ppo.env)
    task = seen_by(env.task, [camera_signal(text) for text in config.cameras])
    space = student_space(ppo, state, config.plain_looks)
    return distillation.make(
        env=replace(env, task=task),
        cameras=bind_cameras(task.space, task.mj_model, task.contract, config.render),
        curriculum=uniform(space),
        teacher=partial(ppo.policy, state),
        config=config.distill,
    )


def train(config: StudentConfig) -> tuple[Distill, DistillState]:
    """Runs or resumes the distillation; returns it and its last state.

    Raises:
        MeshError: devices that are not there, or that do not divide the worlds.
        HostError: several processes; a student trains in one, on all its devices.
    """
    distributed.require_single(f"student {config.run}")
    mesh = device_mesh(config.devices)
    check_num_envs(mesh, config.distill.num_envs)
    distill = distiller(config)
    task, total = distill.env.task, config.distill.iterations
    run = Run.create(
        config.run,
        config,
        resume=config.resume,
        may_change=("run", "teacher", "resume", "log_every", "checkpoint_every", "devices"),
    )
    checkpoints = Checkpoints(run.checkpoints, task=task.name, rows=task.space.names)
    job = LoopConfig(
        what=f"student {task.name}",
        iterations=total,
        log_every=config.log_every,
        checkpoint_every=config.checkpoint_every,
        resume=config.resume,
        iterate=reshard(mesh, distill.iterate),
        log=partial(_log, distill),
    )
    key = jax.random.key(config.seed)
    compile_ahead(mesh, distill.programs(key))
    fresh = distill.load(init_sharded(mesh, lambda: distill.blank(key)), key)
    return distill, run_loop(job, run, checkpoints, fresh)


def _log(distill: Distill, run: Run, stretch: LogWindow) -> str:
    """Writes one line of metrics, and the ranges at the end; returns a note for the screen."""
    kept, config = stretch.metrics, distill.config
    per_iteration = config.num_envs * config.num_steps
    episodes = float(kept.episodes.sum())
    line = {
        "images": float(stretch.done * per_iteration),
        "seconds": stretch.seconds,
        "images_per_s": stretch.iterations_per_s * per_iteration,
        "loss": float(kept.loss.mean()),
        "kl": float(kept.kl.mean()),
        "mean_error": float(kept.mean_error.mean()),
        "label_error_m": float(kept.label_error_m.mean()),
        "beta": float(kept.beta[-1]),
        "episodes": episodes,
        "success": float(kept.success.sum()) / episodes if episodes else float("nan"),
    }
    run.log(stretch.done, line)
    if stretch.done == config.iterations:
        report = distill.curriculum.report(stretch.state.curriculum)
        run.log_bounds(stretch.done, distill.env.space.names, report.low, report.high)
    return (
        f"{line['images_per_s']:,.0f} images/s  success {line['success']:.2f}  "
        f"finds it within {100 * line['label_error_m']:.1f} cm"
    )


def main(argv: Sequence[str]) -> None:
    """Parses the command line and distils."""
    where = tyro.cli(_Teacher, args=list(argv), return_unknown_args=True, add_help=False)[0].teacher
    default = StudentConfig(teacher=where)
    if (where / CONFIG).exists():
        task = str(json.loads((where / CONFIG).read_text())["task"])
        default = replace(default, distill=task_spec(task).distill)
    train(tyro.cli(StudentConfig, args=list(argv), default=default))


@dataclass(frozen=True)
class _Teacher:
    """The first look at the command line: whose task's recipe to start from."""

    teacher: Path = Path("runs/teacher")
