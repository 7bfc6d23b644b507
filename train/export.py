"""python -m train export --student runs/student: one ONNX file with its contract inside.

With --run it is any run: a student's, or a teacher's whose actor reads what the robot has
(ppo.actor_obs state) and remembers nothing. Such a teacher needs no student.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import tyro

from mjx_s2r.api.policy import export_policy, load_policy
from mjx_s2r.io.run import POLICY
from mjx_s2r.runtime.progress import console


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


def main(argv: Sequence[str]) -> None:
    """Parses the command line and exports."""
    config = tyro.cli(ExportConfig, args=list(argv))
    run = config.run or config.student
    policy = load_policy(run, config.iteration)
    done = export_policy(policy, run / POLICY, inputs=config.inputs)
    console.print(
        f"{done.path}: differs from JAX by at most {done.parity:.1e} on {done.inputs} inputs"
    )
