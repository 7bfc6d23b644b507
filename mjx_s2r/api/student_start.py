"""A teacher's run that begins as a student: what is taken over, and whether it fits."""

from typing import TYPE_CHECKING

import jax

from mjx_s2r.api.student import load_student
from mjx_s2r.api.teacher import TeacherConfig, load_teacher
from mjx_s2r.io.config import ConfigError
from mjx_s2r.io.origin import origin_folder, with_origin_kept
from mjx_s2r.learn.distill.distillation import Distillation
from mjx_s2r.learn.distill.teachers import bounded
from mjx_s2r.learn.networks.gaussian import Gaussian
from mjx_s2r.learn.ppo.start import StudentStart, TaughtCritic
from mjx_s2r.learn.trainer import TrainState
from mjx_s2r.runtime.progress import print_line
from mjx_s2r.sim.env import Env, require_native

if TYPE_CHECKING:
    from pathlib import Path


def student_start(
    config: TeacherConfig, run: "Path", env: Env, image_shapes: tuple[tuple[int, int, int], ...]
) -> StudentStart:
    """Returns the student of ``run`` as the place where a teacher's run begins.

    Args:
        config: settings of the teacher's run.
        run: folder of the student's run.
        env: what the teacher's run trains in.
        image_shapes: (H, W, C) of what its cameras show.

    Raises:
        RunError: no student's run there, or its teacher's is gone.
        ConfigError: a student of another task, other cameras or another memory; an actor that does
            not read pixels; a student whose teacher has a memory or cameras; another one than the
            run began with.
    """
    if config.ppo.actor_obs != "pixels":
        raise ConfigError(
            f"start {run}: ppo.actor_obs is {config.ppo.actor_obs!r}, and a student sees; give "
            "--ppo.actor-obs pixels"
        )
    student, trainer, state = load_student(
        origin_folder(config.run, "start", run), config.start_iteration
    )
    iteration = int(state.iteration)
    begun = with_origin_kept(config, "start", run, iteration, state.learner)
    if not isinstance(trainer.algorithm, Distillation):
        raise ConfigError(
            f"start {run}: a student that was adapted has more than the network that PPO goes on "
            "from; name the student that it was adapted from"
        )
    theirs, algorithm = require_native(trainer.env), trainer.algorithm
    if theirs.task.name != env.task.name:
        raise ConfigError(
            f"start {run}: a student of task {theirs.task.name!r}, and this run trains "
            f"{env.task.name!r}; name a student of the same task"
        )
    if algorithm.image_shapes != image_shapes:
        seen = ", ".join(f"{c.name} {c.shape}" for c in theirs.task.contract.cameras)
        raise ConfigError(
            f"start {run}: the student sees {seen}, and this run's cameras show {image_shapes}; "
            "give --cameras as the student's run has them"
        )
    if algorithm.student.rnn_hidden != config.ppo.rnn_hidden:
        size = algorithm.student.rnn_hidden
        raise ConfigError(
            f"start {run}: the student has a memory of {size}, and ppo.rnn_hidden is "
            f"{config.ppo.rnn_hidden}; give --ppo.rnn-hidden {size}"
        )
    before, whose, taught = load_teacher(student.teacher_folder, student.teacher_iteration)
    memory = whose.algorithm.zero_rnn_state(1).actor.shape[-1]
    if memory or whose.cameras is not None:
        raise ConfigError(
            f"start {run}: its teacher {student.teacher} has a memory of {memory} and "
            f"{0 if whose.cameras is None else len(whose.cameras.signals)} cameras; only one "
            "without both can be imitated on"
        )

    def teacher(obs: dict[str, jax.Array]) -> Gaussian:
        """Returns the teacher's distribution, its means bounded as in distillation."""
        return bounded(whose.policy(taught, obs))

    return StudentStart(
        student=algorithm.student,
        params=state.learner.params,
        obs_norm=state.learner.obs_norm,
        teacher=teacher,
        critic=_taught_critic(before, config, taught),
        updates=config.iterations,
        iteration=iteration,
        sha256=begun.start_sha256,
    )


def _taught_critic(
    before: TeacherConfig, config: TeacherConfig, taught: TrainState
) -> TaughtCritic | None:
    """Returns the teacher's critic where it judges by the same numbers; else says why not."""
    names = ("critic_obs", "critic_hidden", "rnn_hidden", "gamma", "reward_scale")
    other = [n for n in names if getattr(before.ppo, n) != getattr(config.ppo, n)]
    if other:
        had = ", ".join(f"ppo.{n} {getattr(before.ppo, n)}" for n in other)
        print_line(f"the critic begins anew: that of the teacher {before.run} has {had}")
        return None
    return TaughtCritic(taught.learner.critic, taught.learner.critic_norm)
