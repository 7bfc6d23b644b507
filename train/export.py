"""python -m train export --student runs/student: one ONNX file with its contract inside.

With --run it is any run: a student's, or a teacher's whose actor reads what the robot has
(ppo.actor_obs state or pixels). Such a teacher needs no student. --variant float16 int8 writes
those beside it, each with its error against float32 inside. What the policy made in training is
told with it: a file can be written of any policy, of one that has learnt nothing, too.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tyro

from mjx_s2r.api.policy import VARIANT_LIMIT, export_policy, load_policy
from mjx_s2r.curriculum.interface import closed_physics, physics_rows
from mjx_s2r.io.run import METRICS, POLICY, read_jsonl
from mjx_s2r.params import ParamSpace
from mjx_s2r.runtime.progress import console

POOR = 0.5  # success in training below which a file comes with a warning


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
    variant: tuple[str, ...] = ("float32",)
    """Also float16 or int8, as policy.float16.onnx; float32 is always written."""
    variant_limit: float = VARIANT_LIMIT
    """Largest error of a variant, as a share of the action's scale; beyond it none is written."""


def main(argv: Sequence[str]) -> None:
    """Parses the command line and exports."""
    config = tyro.cli(ExportConfig, args=list(argv))
    run = config.run or config.student
    policy = load_policy(run, config.iteration)
    done = export_policy(
        policy,
        run / POLICY,
        inputs=config.inputs,
        variants=config.variant,
        variant_limit=config.variant_limit,
    )
    console.print(success_told(run, int(policy.state.iteration)), soft_wrap=True)
    if line := single_physics_told(policy.trainer.env.space, policy.ranges):
        console.print(line, soft_wrap=True)
    console.print(
        f"{done.path}: differs from JAX by at most {done.parity:.1e} on {done.inputs} inputs"
    )
    for made in done.variants:
        error = made.variant
        console.print(
            f"{made.path}: differs from float32 by at most {error.error_max:.1e} {error.unit}, "
            f"99 of 100 by less than {error.error_p99:.1e}, on {error.inputs} inputs"
        )


def single_physics_told(space: ParamSpace, ranges: Mapping[str, tuple[float, float]]) -> str:
    """Returns a warning where a policy has met one physics alone; empty where it met several.

    Args:
        space: the table.
        ranges: what it was trained on, by row.
    """
    low, high = np.array([ranges[name] for name in space.names]).reshape(-1, 2).T
    if not closed_physics(space, low, high):
        return ""
    rows = int(physics_rows(space).sum())
    why = f"none of the table's {rows} rows of physics had a range"
    return (
        "[yellow]trained on a single physics, that of the model: "
        f"{why if rows else 'the table has no rows of physics'}, and a robot is another one; train "
        "the teacher with --curriculum adr or uniform, or give it the ranges that you know "
        "(--range), before this flies[/yellow]"
    )


def success_told(run: Path, iteration: int) -> str:
    """Returns what a run's policy made in training by an iteration, and what to do about little."""
    file = run / METRICS
    lines = read_jsonl(file) if file.exists() else []
    known = [
        (line["step"], line["success"])
        for line in lines
        if line["step"] <= iteration and not math.isnan(line.get("success", math.nan))
    ]
    if not known:
        return f"iteration {iteration}: no episode of the policy's own ended in training"
    step, success = known[-1]
    told = f"iteration {iteration}: in training {success:.0%} of its episodes succeeded"
    told += "" if step == iteration else f" (iteration {step})"
    if success >= POOR:
        return told
    return (
        f"[yellow]{told}; what fails in simulation fails on the robot: train on with a larger "
        "number of iterations and --resume, or narrow the ranges[/yellow]"
    )
