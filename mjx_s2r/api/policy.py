"""Trained policies of any run, teachers and students alike: loading and exporting."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, cast, get_args

import jax
import jax.numpy as jnp
import numpy as np

from mjx_s2r import onnx_export as exporter
from mjx_s2r import onnx_variants as exporter_variants
from mjx_s2r.api.export_facts import seen_signals, trained_optics, training_inputs
from mjx_s2r.api.student import open_student
from mjx_s2r.api.teacher import open_teacher
from mjx_s2r.contract import ContractError, PolicyContract, TrainedRange
from mjx_s2r.curriculum.coordinates import space_at_width
from mjx_s2r.curriculum.uniform import uniform
from mjx_s2r.io.checkpoints import Checkpoints
from mjx_s2r.io.run import RunError, is_student, read_settings
from mjx_s2r.learn.adapt.adaptation import Adaptation
from mjx_s2r.learn.algorithm import Algorithm
from mjx_s2r.learn.distill.distillation import Distillation
from mjx_s2r.learn.ppo.config import PPOConfig
from mjx_s2r.learn.ppo.ppo import PPO
from mjx_s2r.learn.trainer import Trainer, TrainState
from mjx_s2r.params import unknown
from mjx_s2r.robot.policy import Policy
from mjx_s2r.sim.env import require_native
from mjx_s2r.sim.interface import Environment, EpisodeParams
from mjx_s2r.sim.model.kinematic_tree import chain_of

VARIANT_LIMIT = 0.05  # largest error of a variant, as a share of the action's scale
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
    trainer, checkpoints = open_policy_run(run, env)
    return TrainedPolicy(trainer, checkpoints.restore(trainer.state_shapes(), step=iteration)[0])


def open_policy_run(run: Path, env: Environment | None = None) -> tuple[Trainer, Checkpoints]:
    """Returns trainer and checkpoints of a teacher's or a student's run.

    Raises:
        RunError: no run there, or several seeds.
    """
    if isinstance(read_settings(run).get("teacher"), dict):
        raise RunError(f"{run} holds several seeds; name one of them, e.g. {run / 'seed_0'}")
    _, trainer, checkpoints = (open_student if is_student(run) else open_teacher)(run, env)
    return trainer, checkpoints


def export_policy(
    policy: TrainedPolicy,
    path: Path,
    *,
    inputs: int = 1000,
    variants: Sequence[str] = ("float32",),
    variant_limit: float = VARIANT_LIMIT,
) -> exporter.Exported:
    """Writes a policy to ``path`` as one ONNX file, with what it was trained on.

    Args:
        policy: a student, or a teacher whose actor reads what the robot has ("state" or "pixels").
        path: where the file goes; other variants than float32 go beside it, NAME.VARIANT.onnx.
        inputs: random inputs on which ONNX Runtime must agree with JAX.
        variants: "float32", which is always written, "float16", "int8".
        variant_limit: largest error of a variant, as a share of the action's scale.

    Raises:
        ExportError: an actor that reads what no robot knows; a graph that does not compute what JAX
            computes; a variant that is unknown or too far from it.
        ParamError: a policy of another library's environment, which has no contract.
    """
    if inputs < 1:
        raise exporter.ExportError(f"inputs {inputs} must be at least 1, or nothing is compared")
    exporter_variants.check_names(variants)
    trainer, state = policy.trainer, policy.state
    env = require_native(trainer.env)
    _check_exportable(trainer)
    report = jax.device_get(trainer.curriculum.report(state.curriculum))
    ranges = exporter.trained_ranges(env.space, np.asarray(report.low), np.asarray(report.high))
    contract = _trained_contract(policy, ranges)
    done = exporter.export_onnx(
        policy_function(trainer.algorithm, state.learner, contract),
        contract,
        path,
        ranges=ranges,
        inputs=inputs,
        deployed=policy_function(deployed_algorithm(trainer.algorithm), state.learner, contract),
    )
    others = [name for name in variants if name != "float32"]
    if others:
        samples = training_inputs(policy, contract, exporter_variants.SAMPLES)
        made = exporter_variants.export_variants(path, others, samples, limit=variant_limit)
        done = replace(done, variants=made)
    return done


def _check_exportable(trainer: Trainer) -> None:
    """Raises ExportError for an actor that reads what no robot knows."""
    config = trainer.config
    if isinstance(config, PPOConfig) and config.actor_obs in ("privileged", "inferable"):
        raise exporter.ExportError(
            f"this teacher's actor reads {config.actor_obs!r}, which no robot knows; train it with "
            "--ppo.actor-obs state or pixels, or distil a student from this one"
        )


def exported_difference(policy: TrainedPolicy, file: Policy, inputs: int = 64) -> float:
    """Returns the largest difference between a file's actions and a trained policy's.

    It is a share of the action's scale, over random readings; 0.0 but for rounding where the file
    was exported from this policy.

    Args:
        policy: without cameras.
        file: what was exported, from whatever.
        inputs: how many readings.

    Raises:
        ExportError: an actor that reads what no robot knows, so that no file is of it.
        ContractError: the file commands or reads something else.
    """
    _check_exportable(policy.trainer)
    contract = _trained_contract(policy, ())
    for what in ("action", "memory", "size"):
        mine, theirs = getattr(contract, what), getattr(file.contract, what)
        if mine != theirs:
            raise ContractError(
                f"the file is of another policy than the run: {what} {theirs}, the run's {mine}; "
                "name the run that it is from"
            )
    function = policy_function(policy.trainer.algorithm, policy.state.learner, contract)
    return exporter.parity(file, function, inputs) / max(contract.action.scale)


def _trained_contract(policy: TrainedPolicy, ranges: tuple[TrainedRange, ...]) -> PolicyContract:
    """Returns the task's contract with what only training knows: memory, optics, readings met."""
    trainer, learner = policy.trainer, policy.state.learner
    env = require_native(trainer.env)
    contract = env.task.contract
    moments = getattr(learner, "obs_norm", getattr(learner, "actor_norm", None))
    cameras = contract.cameras if trainer.cameras is not None else ()
    return replace(
        contract,
        engine=env.physics.backend,
        chain=chain_of(env.task.mj_model, contract.action.joints),
        memory=memory_size(trainer.algorithm),
        signals=contract.signals if moments is None else seen_signals(contract.signals, moments),
        cameras=tuple(
            replace(c, optics=trained_optics(env.task.mj_model, env.space, c, ranges))
            for c in cameras
        ),
    )


def deployed_algorithm(algorithm: Algorithm) -> Algorithm:
    """Returns the algorithm with the actor of ours laid out for ONNX; another one as it is.

    A student leaves its teacher, and with it what that remembers.
    """
    if isinstance(algorithm, Distillation):
        alone = replace(algorithm.teacher, rnn_size=0)
        return replace(algorithm, student=algorithm.student.clone(deployed=True), teacher=alone)
    if isinstance(algorithm, Adaptation):
        inner = deployed_algorithm(algorithm.distillation)
        return replace(algorithm, distillation=cast(Distillation, inner))
    if isinstance(algorithm, PPO):
        return replace(algorithm, deployed=True)
    return algorithm


def memory_size(algorithm: Algorithm) -> int:
    """Returns H, how much the policy remembers when it acts by itself; 0 without memory."""
    return int(deployed_algorithm(algorithm).zero_rnn_state(1).actor.shape[-1])


def policy_function(
    algorithm: Algorithm, learner: Any, contract: PolicyContract
) -> exporter.PolicyFunction:
    """Returns the mean action in the exporter's form, in float32 whatever training computed in."""
    if isinstance(algorithm, PPO):
        algorithm = replace(algorithm, config=replace(algorithm.config, bf16=False))

    def act(obs: jax.Array, memory: jax.Array, *images: jax.Array) -> tuple[jax.Array, jax.Array]:
        first = jnp.zeros(obs.shape[:1], bool)
        memory, out = algorithm.policy(learner, memory, {"state": obs}, images, first)
        return jnp.tanh(out.mean), memory

    def forgetful(obs: jax.Array, *images: jax.Array) -> jax.Array:
        return act(obs, obs[:, :0], *images)[0]

    return act if contract.memory else forgetful
