"""python -m train pipeline --run runs/reach: teacher, student, export and evaluation in one go.

Each stage leaves its result in the run folder; a stage that is done is not done again, an
interrupted one goes on from its checkpoint. A policy is judged anew where the settings of its
evaluation are others than those beside the result; its training is not repeated. A teacher whose
actor reads what the robot has (ppo.actor_obs state or pixels) needs no student: it is exported
itself.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import tyro

from mjx_s2r.api.policy import TrainedPolicy, export_policy, load_policy
from mjx_s2r.api.robots import (
    EvaluateConfig,
    evaluate_on_robots,
    evaluation_settings,
    realities,
    summary,
)
from mjx_s2r.api.student import MAY_CHANGE as STUDENT_MAY_CHANGE
from mjx_s2r.api.student import (
    StudentConfig,
    check_student,
    student_mosaic,
    train_student,
    with_origins_found,
)
from mjx_s2r.api.teacher import MAY_CHANGE as TEACHER_MAY_CHANGE
from mjx_s2r.api.teacher import (
    TeacherConfig,
    ranges_given,
    recipe,
    train_teacher,
    with_engine_found,
    with_ranges_kept,
)
from mjx_s2r.envs.registry import make_env, make_task, require_robots, task_spec
from mjx_s2r.eval.intervals import wilson
from mjx_s2r.eval.stand_ins import stand_ins
from mjx_s2r.io.config import differences, to_dict, told_differences
from mjx_s2r.io.origin import with_origin_found
from mjx_s2r.io.run import (
    POLICY,
    RESULT,
    RunError,
    check_same_settings,
    check_space,
    check_writable,
    write_json,
)
from mjx_s2r.learn.trainer import Trainer
from mjx_s2r.params import ParamError
from mjx_s2r.report.media import FILMS, write_films
from mjx_s2r.runtime.devices import kept_to
from mjx_s2r.runtime.progress import console, print_line
from mjx_s2r.sim.env import require_native
from mjx_s2r.sim.interface import EpisodeParams, nominal_params
from train.command_line import base, gather_option, gather_ranges

SETTINGS = "settings"  # in a stage's file: what its figures depend on


@dataclass(frozen=True)
class PipelineConfig:
    """Settings of the whole way from a task to a judged policy."""

    task: str = "reach"
    """Name of a task, or module:Class."""
    run: Path = Path("runs/reach")
    """Folder; teacher/, student/ and policy.onnx go below it."""
    seed: int = 0
    """Seed of everything."""
    ranges: Path | None = None
    """A TOML or JSON file of ranges of rows instead of the task's: name = [low, high], or a value
    for a fixed row."""
    range: tuple[str, ...] = ()
    """Ranges of rows, each as name=low,high or name=value; they go before those of the file."""
    randomize: bool = True
    """Randomize; off trains the same pipeline on the nominal model and look, whatever schedules
    teacher and student name."""
    nominal_worlds: int = 512
    """Worlds in which the teacher is counted at nominal parameters."""
    core: int | None = None
    """Processor that the trainings keep to; None leaves the choice to the system."""
    teacher: TeacherConfig = field(default_factory=lambda: recipe("reach"))
    """Settings of the teacher; task, run and seed come from above."""
    reality: Path | None = None
    """Reality file that the policy is judged on (docs/reality.md); absent: the task's robots."""
    student: StudentConfig = field(
        default_factory=lambda: StudentConfig(distill=task_spec("reach").distill)
    )
    """Settings of the student; teacher, run and seed come from above."""
    evaluate: EvaluateConfig = field(default_factory=lambda: EvaluateConfig(processes=0))
    """Settings of the evaluation; task, policy and reality come from above."""


def run(config: PipelineConfig) -> dict[str, Any]:
    """Runs every stage that is not done yet; returns the figures.

    Raises:
        ParamError: an unknown task, one that no robot can see, or robots that do not fit it.
        ConfigError: a reality file that cannot be used. Nothing has been trained.
        Others: what `check_student` finds in the student's settings, before its teacher is trained.
    """
    require_robots(config.task)
    judge, task = replace(config.evaluate, task=config.task), make_task(config.task)
    judge = replace(judge, reality=config.reality or judge.reality)
    robots = realities(config.task, judge)
    alone = config.teacher.ppo.actor_obs in ("state", "pixels")
    if not (alone or task.contract.cameras or config.student.cameras):
        raise ParamError(
            f"task {config.task!r} has no camera, and its teacher reads "
            f"{config.teacher.ppo.actor_obs!r}, which no robot has; put a CameraSignal into the "
            "contract, or train with --teacher.ppo.actor-obs state"
        )
    stand_ins(task, robots)
    check_writable(config.run)
    check_space(config.run)
    with kept_to(None if config.core is None else frozenset({config.core})):
        figures = _train(config, alone)
    policy = config.run / POLICY
    asked = evaluation_settings(judge)
    judge = replace(judge, policy=policy, logs=config.run / "flights")
    figures |= _stage(config.run / RESULT, asked, lambda: _judge(judge, config.run))
    return figures


def _train(config: PipelineConfig, alone: bool) -> dict[str, Any]:
    """Does what is not done yet of the trainings and the export; returns their figures.

    Args:
        config: settings of the pipeline.
        alone: the teacher reads what the robot has, and is exported itself.
    """
    teach = replace(
        config.teacher,
        task=config.task,
        run=config.run / "teacher",
        seed=config.seed,
        range=(*ranges_given(config.teacher), *ranges_given(config)),
        ranges=None,
    )
    learn = replace(
        config.student,
        teacher=teach.run,
        run=config.run / "student",
        seed=config.seed,
    )
    if not config.randomize:
        teach, learn = _nominal(teach), _nominal(learn)
    policy = config.run / POLICY
    taught, learnt = config.run / "teacher.json", config.run / "student.json"
    known = with_origin_found(with_engine_found(with_ranges_kept(teach)), "start")
    _check_finished(taught, known, TEACHER_MAY_CHANGE)
    if not alone:
        eyes = with_origins_found(with_ranges_kept(learn))
        _check_finished(learnt, eyes, STUDENT_MAY_CHANGE)
        if not taught.exists():
            worlds, ranges = teach.ppo.num_envs, ranges_given(teach)
            env = make_env(teach.task, teach.physics, worlds, ranges)
            check_student(learn, require_native(env))
    counts = {"nominal_worlds": config.nominal_worlds}
    figures = _stage(taught, counts, lambda: _teach(teach, config.nominal_worlds))
    if alone:
        figures |= _stage(learnt, {}, lambda: _export(teach.run, policy))
    else:
        figures |= _stage(learnt, {}, lambda: _distil(learn, policy))
    return figures


def _nominal(config: Any) -> Any:
    """Returns a stage's settings under which no row leaves its nominal value."""
    return replace(config, curriculum="none", mix=())


def _stage(
    path: Path, settings: Mapping[str, Any], work: Callable[[], dict[str, Any]]
) -> dict[str, Any]:
    """Returns the figures in ``path``, after doing the ``work`` that writes them if need be.

    Args:
        path: of a JSON file.
        settings: what the figures depend on beside the folder's runs; kept in the file, and the
            work is done again where they are others.
        work: returns the figures.
    """
    kept = json.loads(path.read_text()) if path.exists() else None
    now = json.loads(json.dumps(settings), parse_constant=str)  # no limit is "Infinity"
    if kept is None or (other := differences(kept.get(SETTINGS, {}), now)):
        if kept is not None:
            known = f"of other settings ({told_differences(other)})"
            why = known if SETTINGS in kept else "without their settings"
            print_line(f"{path} holds figures {why}; they are measured anew")
        kept = work() | ({SETTINGS: now} if now else {})
        write_json(path, kept)
    return {name: value for name, value in kept.items() if name != SETTINGS}


def _check_finished(figures: Path, config: Any, may_change: Sequence[str]) -> None:
    """Checks that a stage that is done was done with these settings.

    Args:
        figures: the file that a stage leaves when it is done.
        config: settings of the stage's run, which is in ``config.run``.
        may_change: settings that may differ, beside those of a run that goes on.

    Raises:
        RunError: other settings, which would change nothing any more.
    """
    if not figures.exists():
        return
    try:
        check_same_settings(
            config.run, to_dict(config), [m for m in may_change if m != "iterations"]
        )
    except RunError as error:
        raise RunError(
            f"{error}\nthis stage is finished and is not done again; name another --run"
        ) from error


def _resuming(config: Any) -> Any:
    """Returns the settings of a run that goes on where it was left."""
    return replace(config, resume=True)


def _teach(config: TeacherConfig, worlds: int) -> dict[str, Any]:
    """Trains the teacher and counts its successes at nominal parameters, without exploration."""

    def judged_on(trainer: Trainer) -> EpisodeParams:
        """Returns the nominal worlds; as many as take turns before the cameras, if there are."""
        cameras = trainer.cameras
        count = worlds if cameras is None else cameras.enough_worlds(worlds)
        nominal = nominal_params(trainer.env.space)
        return jax.tree.map(lambda x: jnp.broadcast_to(x, (count, *x.shape)), nominal)

    trainer, state = train_teacher(_resuming(config), judged_on=judged_on)
    params, key = judged_on(trainer), jax.random.key(config.seed + 1)
    success = trainer.evaluate(state, params, key=key).success
    good, count = int(success.sum()), len(success)
    interval = list(wilson(good, count))
    console.print(f"teacher at nominal: {good} of {count} episodes")
    return {"teacher": {"success": good / count, "interval": interval, "episodes": count}}


def _distil(config: StudentConfig, policy: Path) -> dict[str, Any]:
    """Distils the student, exports it, and keeps a mosaic of what it sees."""
    trainer, state = train_student(_resuming(config))
    np.savez_compressed(policy.parent / "mosaic.npz", images=student_mosaic(trainer, state, 40))
    done = export_policy(TrainedPolicy(trainer, state), policy, inputs=1000)
    console.print(f"{policy}: differs from JAX by at most {done.parity:.1e}")
    return {"export": {"parity": done.parity, "inputs": done.inputs}}


def _export(run: Path, policy: Path) -> dict[str, Any]:
    """Exports a teacher whose actor reads what the robot has."""
    done = export_policy(load_policy(run), policy, inputs=1000)
    console.print(f"{policy}: differs from JAX by at most {done.parity:.1e}")
    return {"export": {"parity": done.parity, "inputs": done.inputs}}


def _judge(config: EvaluateConfig, folder: Path) -> dict[str, Any]:
    """Judges the policy on the robots and keeps the films."""
    episodes = evaluate_on_robots(config)
    filmed = {i: (e.frames, e.success) for i, e in enumerate(episodes) if e.frames is not None}
    write_films(folder / FILMS, filmed)
    return {"student": summary(episodes)}


def main(argv: Sequence[str]) -> None:
    """Parses the command line and runs the pipeline."""
    argv = gather_option(gather_ranges(argv), r"--student\.range", "--student.range")
    taught = recipe(*base(argv))
    default = PipelineConfig(
        task=taught.task,
        teacher=taught,
        student=StudentConfig(distill=task_spec(taught.task).distill),
    )
    config = tyro.cli(PipelineConfig, args=argv, default=default)
    figures = run(config)
    judged = figures["student"]
    low, high = judged["interval"]
    console.print(
        f"on {judged['episodes']} episodes with {len(judged['per_robot'])} robots: success "
        f"{judged['success']:.2f}, 95 % interval {low:.2f} to {high:.2f}"
    )
