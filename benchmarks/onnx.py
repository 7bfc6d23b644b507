"""An exported student of random weights: how far it is from JAX, and its size.

How fast it runs is a matter of the robot: see `benchmarks.robot`.
"""

import tempfile
from pathlib import Path

import jax

from benchmarks.rows import Row, Settings
from benchmarks.workload import untrained
from mjx_s2r.api.policy import TrainedPolicy, export_policy
from mjx_s2r.learn.distill.config import DistillConfig
from mjx_s2r.robot.policy import Policy

PARITY_INPUTS = 64


def run(settings: Settings) -> list[Row]:
    """Returns the largest difference of an action from JAX's, and the size of the file."""
    trainer = untrained(DistillConfig(num_envs=4), key=jax.random.key(0))
    trained = TrainedPolicy(trainer, trainer.init(jax.random.key(1)))
    with tempfile.TemporaryDirectory() as folder:
        done = export_policy(trained, Path(folder) / "policy.onnx", inputs=PARITY_INPUTS)
        size = done.path.stat().st_size
        unit = Policy.load(done.path).contract.action.unit
    return [Row("onnx", "parity", done.parity, unit), Row("onnx", "size", size / 1e6, "MB")]
