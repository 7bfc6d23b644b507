"""python -m train export --student runs/student: one ONNX file with its contract inside."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import tyro

from mjx_s2r import export as exporter
from mjx_s2r.checkpoints import Checkpoints
from mjx_s2r.config import from_dict
from mjx_s2r.learn.distill import Distill, DistillState
from mjx_s2r.runs import CONFIG, POLICY, RunError
from train.common import console
from train.student import StudentConfig, distiller


@dataclass(frozen=True)
class ExportConfig:
    """Settings of an export."""

    student: Path = Path("runs/student")
    """Folder of the student's run."""
    inputs: int = 1000
    """Random inputs on which ONNX Runtime must agree with JAX."""


def load_student(run: Path) -> tuple[Distill, DistillState]:
    """Returns the distillation of a student's run and its newest state.

    Raises:
        RunError: no run there.
    """
    if not (run / CONFIG).exists():
        raise RunError(f"{run} holds no student ({CONFIG} is missing); distil one first")
    distill = distiller(from_dict(StudentConfig, json.loads((run / CONFIG).read_text())))
    space = distill.env.space
    checkpoints = Checkpoints(run / "checkpoints", task=distill.env.task.name, rows=space.names)
    return distill, checkpoints.restore(distill.like())[0]


def export(distill: Distill, state: DistillState, path: Path, inputs: int) -> exporter.Exported:
    """Writes the student to ``path`` with the ranges that it was trained on."""
    task = distill.env.task
    report = jax.device_get(distill.curriculum.report(state.curriculum))
    ranges = exporter.trained_ranges(task.space, np.asarray(report.low), np.asarray(report.high))

    def policy(obs: jax.Array, *images: jax.Array) -> jax.Array:
        return jnp.tanh(distill.act(state, obs, images).mean)

    return exporter.export(policy, task.contract, path, ranges=ranges, inputs=inputs)


def main(argv: Sequence[str]) -> None:
    """Parses the command line and exports."""
    config = tyro.cli(ExportConfig, args=list(argv))
    distill, state = load_student(config.student)
    done = export(distill, state, config.student / POLICY, config.inputs)
    console.print(
        f"{done.path}: differs from JAX by at most {done.parity:.1e} on {done.inputs} inputs"
    )
