"""python -m train export --student runs/student: one ONNX file with its contract inside.

With --run it is any run: a student's, or a teacher's whose actor reads what the robot has
(ppo.actor_obs state) and remembers nothing. Such a teacher needs no student.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import tyro

from mjx_s2r import export as exporter
from mjx_s2r.io.checkpoints import Checkpoints
from mjx_s2r.io.config import from_dict
from mjx_s2r.io.run import CONFIG, POLICY, RunError
from mjx_s2r.learn.algorithm import Learner
from mjx_s2r.learn.distill.learner import Distill, DistillState
from mjx_s2r.sim.env import require_native
from train.common import console
from train.student import StudentConfig, distiller, load_teacher


@dataclass(frozen=True)
class ExportConfig:
    """Settings of an export."""

    student: Path = Path("runs/student")
    """Folder of the student's run."""
    run: Path | None = None
    """Folder of any run instead, a student's or a teacher's."""
    iteration: int | None = None
    """Checkpoint to export; by default the newest."""
    inputs: int = 1000
    """Random inputs on which ONNX Runtime must agree with JAX."""


def load_student(run: Path, iteration: int | None = None) -> tuple[Distill, DistillState]:
    """Returns the distillation of a student's run and its state, the newest or of an iteration.

    Raises:
        RunError: no run there.
    """
    if not (run / CONFIG).exists():
        raise RunError(f"{run} holds no student ({CONFIG} is missing); distil one first")
    distill = distiller(from_dict(StudentConfig, json.loads((run / CONFIG).read_text())))
    space = distill.env.space
    checkpoints = Checkpoints(run / "checkpoints", task=distill.env.task.name, rows=space.names)
    return distill, checkpoints.restore(distill.like(), step=iteration)[0]


def export(distill: Distill, state: DistillState, path: Path, inputs: int) -> exporter.Exported:
    """Writes the student to ``path`` with the ranges that it was trained on."""
    task = distill.env.task
    report = jax.device_get(distill.curriculum.report(state.curriculum))
    ranges = exporter.trained_ranges(task.space, np.asarray(report.low), np.asarray(report.high))

    def policy(obs: jax.Array, *images: jax.Array) -> jax.Array:
        return jnp.tanh(distill.act(state, obs, images).mean)

    return exporter.export(policy, task.contract, path, ranges=ranges, inputs=inputs)


def export_teacher(ppo: Learner, state: Any, path: Path, inputs: int) -> exporter.Exported:
    """Writes a teacher whose actor reads "state" to ``path``, with the ranges it was trained on.

    Raises:
        ExportError: an actor that reads what no robot knows, or that remembers.
        ParamError: a teacher of another library's environment, which has no contract.
    """
    told = ppo.config.actor_obs
    if told != "state" or ppo.config.rnn_hidden:
        raise exporter.ExportError(
            f"this teacher's actor reads {told!r} with a memory of {ppo.config.rnn_hidden} units; "
            "a robot can run one that reads 'state' with 0: train it with --ppo.actor-obs state, "
            "or distil a student from this one"
        )
    task = require_native(ppo.env).task
    report = jax.device_get(ppo.curriculum.report(state.curriculum))
    ranges = exporter.trained_ranges(task.space, np.asarray(report.low), np.asarray(report.high))

    def policy(obs: jax.Array) -> jax.Array:
        """Returns the squashed mean action."""
        return jnp.tanh(ppo.policy(state, {"state": obs}).mean)

    contract = replace(task.contract, cameras=())
    return exporter.export(policy, contract, path, ranges=ranges, inputs=inputs)


def is_student(run: Path) -> bool:
    """Returns whether a folder holds a student's run; also where it holds none at all."""
    file = run / CONFIG
    return not file.exists() or "teacher" in json.loads(file.read_text())


def main(argv: Sequence[str]) -> None:
    """Parses the command line and exports."""
    config = tyro.cli(ExportConfig, args=list(argv))
    run = config.run or config.student
    if is_student(run):
        distill, state = load_student(run, config.iteration)
        done = export(distill, state, run / POLICY, config.inputs)
    else:
        _, ppo, trained = load_teacher(run, config.iteration)
        done = export_teacher(ppo, trained, run / POLICY, config.inputs)
    console.print(
        f"{done.path}: differs from JAX by at most {done.parity:.1e} on {done.inputs} inputs"
    )
