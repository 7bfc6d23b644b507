"""The door: what a notebook needs, from a task's name to a policy on a robot.

Every function here is what the command line's verb of that name does; trained objects come back
with their trainer inside, whose pure `init` and `iterate` are there for one's own loops.
"""

import dataclasses
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp

from mjx_s2r.api.fly import ShownFlight, show_flight
from mjx_s2r.api.gallery import GalleryPolicy, gallery_policy
from mjx_s2r.api.gallery import gallery as gallery
from mjx_s2r.api.policy import (
    VARIANT_LIMIT,
    TrainedPolicy,
    Worlds,
    export_policy,
    load_policy,
    memory_size,
)
from mjx_s2r.api.robots import EvaluateConfig, summary
from mjx_s2r.api.robots import evaluate_on_robots as evaluate_on_robots
from mjx_s2r.api.student import StudentConfig, student_recipe, train_student
from mjx_s2r.api.teacher import recipe, train_teacher
from mjx_s2r.contract import camera_signal
from mjx_s2r.curriculum.coordinates import row_patterns
from mjx_s2r.curriculum.registry import ADR as ADR
from mjx_s2r.curriculum.registry import CurriculumConfig
from mjx_s2r.curriculum.registry import NoCurriculum as NoCurriculum
from mjx_s2r.curriculum.registry import Uniform as Uniform
from mjx_s2r.envs.registry import make_env, name_of
from mjx_s2r.eval.world_judge import judge_worlds
from mjx_s2r.io.config import ConfigError
from mjx_s2r.io.run import CHECKPOINTS, CONFIG, POLICY, RunError, is_student
from mjx_s2r.onnx_export import Exported
from mjx_s2r.params import unknown
from mjx_s2r.params.ranges import as_ranges
from mjx_s2r.runtime.random_keys import evaluation_keys
from mjx_s2r.sim.backends.physics_config import PhysicsConfig
from mjx_s2r.sim.env import Env
from mjx_s2r.sim.interface import Environment
from mjx_s2r.sim.task import ranges_of


class Overrides:
    """Settings laid over those that fit a task; see `PPO` and `Distill`."""

    def __init__(self, **settings: Any) -> None:
        """Takes settings by name."""
        self.settings = settings

    def over(self, base: Any) -> Any:
        """Returns the settings ``base``, a dataclass, with these over them.

        Raises:
            ParamError: a setting that does not exist; lists the near ones.
            ValueError: a value that cannot work.
        """
        known = [f.name for f in dataclasses.fields(base)]
        for name in self.settings:
            if name not in known:
                raise unknown(f"setting of {type(base).__name__}", name, known)
        return dataclasses.replace(base, **self.settings)


class PPO(Overrides):
    """PPO with the settings that fit the task, and over them those given.

    `mjx_s2r.learn.ppo.config.PPOConfig` lists them, e.g. ``PPO(num_envs=1024, gamma=0.99)``.
    """


class Distill(Overrides):
    """Distillation with the settings that fit the task, and over them those given.

    `mjx_s2r.learn.distill.config.DistillConfig` lists them, e.g. ``Distill(iterations=500)``.
    """


def make(
    task: Any,
    *,
    physics: PhysicsConfig | None = None,
    ranges: Mapping[str, Any] | Sequence[str] = (),
) -> Environment:
    """Returns the environment of a task, with pure `reset` and `step` for one world.

    Vectorize them with `jax.vmap`. The compiler has been configured by then.

    Args:
        task: a name ("reach"), "module:Class", "playground:NAME", "brax:NAME", or a task object.
        physics: the engine of the physics steps; MJX on JAX if absent.
        ranges: ranges of rows instead of those of the task, ``{"mass": (0.9, 1.2), "delay": 0.02}``
            or as a command line has them, ``["mass=0.9,1.2"]``; see `mjx_s2r.params.ranges`.

    Raises:
        ParamError: an unknown name, no task, or a range that its row cannot have.
        ModelError: an engine that this machine, the model or a row cannot use.
    """
    return make_env(task, physics, ranges=as_ranges(ranges))


@dataclasses.dataclass(frozen=True, eq=False)
class _Trained:
    """A run with its policy: what a teacher and a student have in common."""

    run: Path
    trained: TrainedPolicy

    @property
    def env(self) -> Environment:
        """The environment that it was trained in; a student's has its cameras in the contract."""
        return self.trained.trainer.env

    @property
    def ranges(self) -> dict[str, tuple[float, float]]:
        """The range of every row that it was trained on, in the row's unit."""
        return self.trained.ranges

    def export(
        self,
        path: str | Path = "",
        *,
        inputs: int = 1000,
        variants: Sequence[str] = ("float32",),
        variant_limit: float = VARIANT_LIMIT,
    ) -> Exported:
        """Writes one ONNX file; by default policy.onnx in the run folder.

        Args:
            path: where it goes.
            inputs: random inputs on which ONNX Runtime must agree with JAX.
            variants: "float16" and "int8" are written beside it.
            variant_limit: largest error of a variant, as a share of the action's scale.

        Raises:
            ExportError: an actor that reads what no robot knows; ONNX Runtime and JAX differ by
                more than 1e-4; or a variant is unknown or too far from float32.
        """
        return export_policy(
            self.trained,
            Path(path or self.run / POLICY),
            inputs=inputs,
            variants=variants,
            variant_limit=variant_limit,
        )

    def save(self, folder: str | Path) -> Path:
        """Copies settings and checkpoints to another run folder, which `load` reads.

        Raises:
            RunError: the folder exists already.
        """
        to = Path(folder)
        if to.exists():
            raise RunError(f"{to} exists already; name a new folder")
        to.mkdir(parents=True)
        shutil.copy2(self.run / CONFIG, to / CONFIG)
        shutil.copytree(self.run / CHECKPOINTS, to / CHECKPOINTS)
        return to


class Teacher(_Trained):
    """A trained teacher.

    Attributes:
        run: its run folder.
        trained: trainer and state.
    """

    def policy(self, obs: Mapping[str, jax.Array]) -> jax.Array:
        """Returns the mean action (..., J) in [-1, 1] for observations {name: (..., P)}.

        Raises:
            ConfigError: an actor with a memory or cameras, which needs more than one step's
                observations; step it with ``trained.trainer.apply_policy``.
        """
        return jnp.tanh(self.trained.trainer.policy(self.trained.state, dict(obs)).mean)

    def evaluate(
        self, worlds: Worlds = "opened", *, episodes: int = 256, seed: int = 0
    ) -> dict[str, float]:
        """Returns success, mean return and mean length over episodes without exploration.

        Args:
            worlds: nominal; opened (the ranges trained on); whole (the limits of the table).
            episodes: how many, one a world, all at once.
            seed: of the worlds.

        Raises:
            ParamError: another kind of worlds.
            ValueError: an actor that sees, and episodes that cannot take turns before its cameras.
        """
        key_params, key_play = evaluation_keys(seed)
        params = self.trained.evaluation_params(worlds, episodes, key=key_params)
        trainer, state = self.trained.trainer, self.trained.state
        scores = judge_worlds(trainer, state, params.xi, key=key_play)
        return {
            "success": float(scores.success.mean()),
            "return": float(scores.episode_return.mean()),
            "length": float(scores.length.mean()),
        }


@dataclasses.dataclass(frozen=True, eq=False)
class Student(_Trained):
    """A distilled camera student.

    Attributes:
        run: its run folder.
        trained: trainer and state.
        task: name of its task, for the robots that it is judged on.
    """

    task: str

    def policy(self, obs: jax.Array, *images: jax.Array) -> jax.Array:
        """Returns the mean action (N, J) in [-1, 1].

        Args:
            obs: (N, P) assembled readings.
            images: (N, H, W, C) uint8, one per camera of the contract.

        Raises:
            ConfigError: a student with a memory, which needs more than one step; step it with
                ``trained.trainer.apply_policy``.
        """
        trainer, count = self.trained.trainer, obs.shape[0]
        if size := memory_size(trainer.algorithm):
            raise ConfigError(
                f"this student has a memory of {size} units and cannot be asked one step at a "
                "time; step it with trained.trainer.apply_policy, or distil one with rnn_hidden 0"
            )
        memory, first = trainer.algorithm.zero_rnn_state(count).actor, jnp.zeros(count, bool)
        learner = self.trained.state.learner
        out = trainer.algorithm.policy(learner, memory, {"state": obs}, images, first)
        return jnp.tanh(out[1].mean)

    def evaluate(
        self,
        robots: Literal["held_out", "rehearsal"] = "held_out",
        *,
        reality: str | Path | None = None,
        count: int | None = None,
        episodes: int = 20,
    ) -> dict[str, Any]:
        """Returns the success on robots, with its 95 % interval and what the guard did.

        The exported file runs through controller and guard, as on a real robot.

        Args:
            robots: held_out for the verdict, rehearsal for development.
            reality: file that says what the robots are made of instead (docs/reality.md).
            count: number of robots; by default as many as the file says, or 10.
            episodes: episodes on each.

        Raises:
            ParamError: a task that no name leads to, or a reality that does not fit it.
            ConfigError: a reality file that cannot be used.
        """
        return evaluate(
            self,
            robots=robots,
            reality=reality,
            count=count,
            episodes=episodes,
            task=self.task,
        )


def train(
    env: Environment | Any,
    algorithm: PPO | None = None,
    *,
    curriculum: CurriculumConfig | str = "adr",
    run: str | Path = "runs/teacher",
    iterations: int | None = None,
    seed: int = 0,
    resume: bool = False,
    ranges: Mapping[str, Any] | Sequence[str] = (),
    **settings: Any,
) -> Teacher:
    """Trains a privileged teacher; shows progress, keeps checkpoints, survives interruptions.

    Args:
        env: from `make`, or whatever `make` takes.
        algorithm: settings over those that fit the task.
        curriculum: how ranges open: "adr", "uniform", "none" ..., or ADR(...), Uniform(...).
        run: folder of the run.
        iterations: iterations in all; by default those that fit the task.
        seed: of everything.
        resume: go on where the folder holds this run; start where it holds none.
        ranges: as of `make`; beside those that ``env`` was made with.
        settings: further settings of `mjx_s2r.api.teacher.TeacherConfig`, e.g. eval_every=50.

    Raises:
        ParamError: an unknown setting, row or schedule.
        RunError: a folder that cannot be used.
    """
    bound = isinstance(env, Env)
    physics = settings.get("physics") or (None if bound else PhysicsConfig("auto"))
    env = make(env, physics=physics if ranges or not bound else None, ranges=ranges)
    if isinstance(env, Env) and env.physics.backend == "warp" and physics is None:
        raise ConfigError(
            "the environment steps in 'warp'; give train(..., physics=...) what make was given, so "
            "that the run can be loaded again"
        )
    name = name_of(env)
    config = recipe(name)
    ppo = (algorithm or PPO()).over(config.ppo)
    if isinstance(curriculum, str):
        curriculum = CurriculumConfig(curriculum)
    config = Overrides(
        ppo=ppo,
        run=Path(run),
        seed=seed,
        resume=resume,
        iterations=config.iterations if iterations is None else iterations,
        curriculum=curriculum.kind,
        rows=row_patterns(curriculum.rows) if curriculum.rows else (),
        mix=curriculum.mix,
        adr=curriculum.adr,
        schedules=curriculum.schedules,
        range=as_ranges(ranges_of(env.task)) if isinstance(env, Env) else (),
        **settings,
    ).over(config)
    trainer, state = train_teacher(config, env)
    return Teacher(Path(run), TrainedPolicy(trainer, state))


def distill(
    teacher: Teacher | str | Path,
    algorithm: Distill | None = None,
    *,
    cameras: str | Sequence[str] = (),
    run: str | Path = "runs/student",
    seed: int = 0,
    resume: bool = False,
    **settings: Any,
) -> Student:
    """Distils a camera student from a teacher.

    Args:
        teacher: from `train` or `load`, or its run folder.
        algorithm: settings over those that fit the task.
        cameras: NAME:HEIGHTxWIDTH@RATE, one or several; empty: those of the task.
        run: folder of the run.
        seed: of everything.
        resume: go on where the folder holds this run; start where it holds none.
        settings: further settings of `mjx_s2r.api.student.StudentConfig`.

    Raises:
        ParamError: an unknown setting.
        RunError: no teacher's run, or a folder that cannot be used.
        ContractError: a camera in another form, or whose rate does not divide the control rate.
    """
    folder = teacher.run if isinstance(teacher, Teacher) else Path(teacher)
    names = (cameras,) if isinstance(cameras, str) else tuple(cameras)
    for text in names:
        camera_signal(text)  # before the teacher is loaded
    config: StudentConfig = student_recipe(folder, Path(run))
    config = Overrides(
        distill=(algorithm or Distill()).over(config.distill),
        cameras=names,
        run=Path(run),
        seed=seed,
        resume=resume,
        **settings,
    ).over(config)
    env = teacher.env if isinstance(teacher, Teacher) else None
    trainer, state = train_student(config, env)
    task = name_of(trainer.env if env is None else env)
    return Student(Path(run), TrainedPolicy(trainer, state), task)


def evaluate(
    policy: GalleryPolicy | Teacher | Student | str | Path,
    *,
    robots: Literal["held_out", "rehearsal"] = "held_out",
    reality: str | Path | None = None,
    count: int | None = None,
    episodes: int = 20,
    task: str = "",
) -> dict[str, Any]:
    """Returns the success of a policy on robots, with its interval and what the guard did.

    A teacher whose actor reads what no robot knows has no file to fly: its ``evaluate`` judges it
    in simulation.

    Args:
        policy: a student, a teacher that can be exported, an ONNX file, or one of the gallery.
        robots: held_out for the verdict, rehearsal for development.
        reality: file that says what the robots are made of instead (docs/reality.md).
        count: number of robots; by default as many as the file says, or 10.
        episodes: episodes on each.
        task: its task, a name or "module:Class"; empty: the name in the policy's contract.

    Raises:
        ParamError: a task that no name leads to, or a reality that does not fit it.
        ConfigError: a reality file that cannot be used.
        ExportError: a teacher that cannot be exported.
    """
    config = EvaluateConfig(
        task=task,
        reality=None if reality is None else Path(reality),
        robots=robots,
        count=count,
        episodes=episodes,
        films=0,
    )
    with _file_of(policy, task) as (path, name):
        config = dataclasses.replace(config, policy=path, task=name)
        return dict(summary(evaluate_on_robots(config)))


def fly(
    policy: GalleryPolicy | Teacher | Student | str | Path,
    *,
    robots: Literal["held_out", "rehearsal"] = "held_out",
    reality: str | Path | None = None,
    episodes: int = 4,
    out: str | Path = "runs/fly",
    task: str = "",
) -> ShownFlight:
    """Flies a policy on stand-ins, one episode on each, and writes a film and a page of it.

    Args:
        policy: a name of the gallery, or a place in it; a student, a teacher that can be exported,
            or an ONNX file.
        robots: held_out or rehearsal.
        reality: file that says what the robots are made of instead (docs/reality.md).
        episodes: how many.
        out: folder of both.
        task: its task, a name or "module:Class"; empty: the card's, or the name in the contract.

    Raises:
        ParamError: no such name; a task that nobody has trained; as `evaluate`.
        ConfigError, ExportError: as `evaluate`.
    """
    if isinstance(policy, str) and not policy.endswith(".onnx"):
        policy = gallery_policy(policy)
    entry = policy if isinstance(policy, GalleryPolicy) else None
    with _file_of(policy, task) as (path, name):
        config = EvaluateConfig(
            policy=path,
            task=name,
            reality=None if reality is None else Path(reality),
            robots=robots,
            count=episodes,
            episodes=1,
        )
        return show_flight(config, Path(out), entry=entry)


@contextmanager
def _file_of(
    policy: GalleryPolicy | Teacher | Student | str | Path, task: str
) -> Iterator[tuple[Path, str]]:
    """Yields the ONNX file of a policy, and its task; one that is not written yet is, for a while.

    Raises:
        ParamError: a place of the gallery without a policy.
        ExportError: a policy that cannot be exported.
    """
    if isinstance(policy, GalleryPolicy):
        yield policy.path, task or policy.card.task
    elif isinstance(policy, Teacher | Student):
        with tempfile.TemporaryDirectory() as folder:
            path = policy.export(Path(folder) / POLICY, inputs=64).path
            yield path, task or name_of(policy.env)
    else:
        yield Path(policy), task


def export(
    policy: Teacher | Student | str | Path,
    path: str | Path = "",
    *,
    inputs: int = 1000,
    variants: Sequence[str] = ("float32",),
    variant_limit: float = VARIANT_LIMIT,
) -> Exported:
    """Writes a policy as one ONNX file that carries its contract.

    Args:
        policy: a student, a teacher whose actor reads what the robot has, or a run folder.
        path: where the file goes; policy.onnx in the run folder by default.
        inputs: random inputs on which ONNX Runtime must agree with JAX.
        variants: "float16" and "int8" are written beside it.
        variant_limit: largest error of a variant, as a share of the action's scale.

    Raises:
        ExportError: a policy that no robot can run, a graph that differs from JAX, or a variant
            that is too far from it.
    """
    trained = policy if isinstance(policy, Teacher | Student) else load(policy)
    return trained.export(path, inputs=inputs, variants=variants, variant_limit=variant_limit)


def load(
    run: str | Path, *, iteration: int | None = None, env: Environment | None = None
) -> Teacher | Student:
    """Returns the teacher or student of a run folder, the newest or that of an iteration.

    Args:
        run: its folder.
        iteration: which checkpoint; the newest if absent.
        env: the environment, where the task was an object that no name leads to.

    Raises:
        RunError: no run there, or one of another schema.
        CheckpointError: no checkpoint, or one of another task or table.
    """
    folder = Path(run)
    if not folder.exists() and str(run) in gallery():
        raise RunError(
            f"{str(run)!r} is no run folder, and load reads runs; the policy of the gallery is "
            f"gallery()[{str(run)!r}], and fly({str(run)!r}) shows it"
        )
    trained = load_policy(folder, iteration, env)
    if is_student(folder):
        return Student(folder, trained, name_of(trained.trainer.env if env is None else env))
    return Teacher(folder, trained)
