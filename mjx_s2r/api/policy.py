"""Trained policies of any run, teachers and students alike: loading and exporting."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, get_args

import jax
import jax.numpy as jnp
import numpy as np

from mjx_s2r import onnx_export as exporter
from mjx_s2r.api.student import load_student
from mjx_s2r.api.teacher import load_teacher
from mjx_s2r.curriculum.coordinates import space_at_width
from mjx_s2r.curriculum.uniform import uniform
from mjx_s2r.io.run import RunError, is_student, read_settings
from mjx_s2r.learn.distill.distillation import Distillation
from mjx_s2r.learn.ppo.config import PPOConfig
from mjx_s2r.learn.trainer import Trainer, TrainState
from mjx_s2r.params import unknown
from mjx_s2r.sim.env import require_native
from mjx_s2r.sim.interface import Environment, EpisodeParams
from mjx_s2r.sim.model.kinematic_tree import chain_of

Worlds = Literal["nominal", "opened", "whole"]


@dataclass(frozen=True, eq=False)
class TrainedPolicy:
    """A trainer and the state that a checkpoint holds: whatever was trained, by whatever.

    Attributes:
        trainer: environment, curriculum, algorithm, cameras.
        state: its last state.
    """

    trainer: Trainer
    state: TrainState

    @property
    def ranges(self) -> dict[str, tuple[float, float]]:
        """The range of every row that it was trained on, in the row's unit."""
        return self.trainer.reached_ranges(self.state)

    def evaluation_params(self, worlds: Worlds, count: int, *, key: jax.Array) -> EpisodeParams:
        """Returns the parameters (count, ...) of worlds to be evaluated in; none tests a bound.

        Args:
            worlds: nominal; opened (the ranges trained on); whole (the limits of the table). With
                the same key they are drawn from the same random numbers.
            count: how many.
            key: random key.

        Raises:
            ParamError: another kind of worlds.
        """
        space = self.trainer.env.space
        if worlds == "opened":
            space = space.with_ranges(self.ranges)
        elif worlds in ("nominal", "whole"):
            space = space_at_width(space, 0.0 if worlds == "nominal" else 1.0)
        else:
            raise unknown("kind of worlds", worlds, get_args(Worlds))
        schedule = uniform(space)
        return schedule.sample(schedule.init(), count, key)


def load_policy(
    run: Path, iteration: int | None = None, env: Environment | None = None
) -> TrainedPolicy:
    """Returns the policy of a teacher's or a student's run, the newest or that of an iteration.

    Args:
        run: folder of the run.
        iteration: which checkpoint; the newest if absent.
        env: an environment instead of the one that the run's task names.

    Raises:
        RunError: no run there, or several seeds.
        CheckpointError: no checkpoint, or one of another task or table.
    """
    if isinstance(read_settings(run).get("teacher"), dict):
        raise RunError(f"{run} holds several seeds; name one of them, e.g. {run / 'seed_0'}")
    load = load_student if is_student(run) else load_teacher
    _, trainer, state = load(run, iteration, env)
    return TrainedPolicy(trainer, state)


def export_policy(policy: TrainedPolicy, path: Path, *, inputs: int = 1000) -> exporter.Exported:
    """Writes a policy to ``path`` as one ONNX file, with the ranges that it was trained on.

    Args:
        policy: a student, or a teacher whose actor reads what the robot has ("state").
        path: where the file goes.
        inputs: random inputs on which ONNX Runtime must agree with JAX.

    Raises:
        ExportError: an actor that reads what no robot knows, remembers, or sees by PPO; a graph
            that does not compute what JAX computes.
        ParamError: a policy of another library's environment, which has no contract.
    """
    trainer, state = policy.trainer, policy.state
    env = require_native(trainer.env)
    contract = env.task.contract
    chain = chain_of(env.task.mj_model, contract.action.joints)
    contract = replace(contract, engine=env.physics.backend, chain=chain)
    report = jax.device_get(trainer.curriculum.report(state.curriculum))
    ranges = exporter.trained_ranges(env.space, np.asarray(report.low), np.asarray(report.high))
    algorithm = trainer.algorithm
    if isinstance(algorithm, Distillation):

        def student(obs: jax.Array, *images: jax.Array) -> jax.Array:
            return jnp.tanh(algorithm.student_policy(state.learner, obs, images).mean)

        return exporter.export_onnx(student, contract, path, ranges=ranges, inputs=inputs)
    config = trainer.config
    if isinstance(config, PPOConfig) and (config.actor_obs != "state" or config.rnn_hidden):
        raise exporter.ExportError(
            f"this teacher's actor reads {config.actor_obs!r} with a memory of "
            f"{config.rnn_hidden} units; a robot can run one that reads 'state' with 0: train it "
            "with --ppo.actor-obs state, or distil a student from this one"
        )

    def actor(obs: jax.Array) -> jax.Array:
        return jnp.tanh(trainer.policy(state, {"state": obs}).mean)

    blind = replace(contract, cameras=())
    return exporter.export_onnx(actor, blind, path, ranges=ranges, inputs=inputs)
