"""Checkpoints: seconds to save and to restore the training state of reach, and its size."""

import itertools
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import numpy as np

from benchmarks.rows import Row, Settings
from benchmarks.timing import measure
from benchmarks.workload import sized
from mjx_s2r.api.teacher import recipe, teacher_trainer
from mjx_s2r.io.checkpoints import Checkpoints
from mjx_s2r.sim.backends.physics_config import PhysicsConfig


def run(settings: Settings) -> list[Row]:
    """Returns times, size and the share of leaves that come back to the bit."""
    config = replace(recipe("reach"), physics=PhysicsConfig())
    trainer = teacher_trainer(replace(config, ppo=sized(config.ppo, settings.num_envs)))
    state = jax.block_until_ready(trainer.init(jax.random.key(0)))
    steps = itertools.count(1)
    with tempfile.TemporaryDirectory() as folder:
        where = Path(folder) / "checkpoints"
        keeper = Checkpoints(where, task=config.task, rows=trainer.env.space.names)
        calls = {
            "save": lambda: keeper.save(next(steps), state),
            "restore": lambda: keeper.restore(state)[0],
        }
        timings = measure(calls, settings.repeat)
        again, newest = keeper.restore(state)
        size = sum(f.stat().st_size for f in (where / str(newest)).rglob("*") if f.is_file())
        keeper.close()
    return [
        Row("checkpoint", "save", timings["save"].median_s, "s"),
        Row("checkpoint", "restore", timings["restore"].median_s, "s"),
        Row("checkpoint", "size", size / 1e6, "MB"),
        Row("checkpoint", "restored_exactly", _same(state, again), "1"),
    ]


def _same(first: Any, second: Any) -> float:
    """Returns the share of leaves that are equal bit by bit."""
    pairs = zip(jax.tree.leaves(first), jax.tree.leaves(second), strict=True)
    return float(np.mean([_bits(a) == _bits(b) for a, b in pairs]))


def _bits(leaf: jax.Array) -> bytes:
    """Returns the bytes of a leaf."""
    is_key = jax.numpy.issubdtype(leaf.dtype, jax.dtypes.prng_key)
    return np.asarray(jax.random.key_data(leaf) if is_key else leaf).tobytes()
