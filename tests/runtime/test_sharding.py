"""Placement over devices: worlds are split, the rest is copied, and the numbers stay the same."""

import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from mjx_s2r.learn.ppo.config import PPOConfig
from mjx_s2r.learn.trainer import Trainer, TrainState
from mjx_s2r.params import Param, ParamSpace
from mjx_s2r.runtime import sharding as module
from mjx_s2r.runtime.sharding import (
    MeshError,
    check_num_envs,
    device_mesh,
    init_sharded,
    jit_sharded,
    placement,
)
from tests.learn.probes import Probe, ppo_trainer

SPACE = ParamSpace((Param("nothing", "model.body_mass", ("a",)),))
CONFIG = PPOConfig(
    num_envs=16,
    num_steps=4,
    num_minibatches=2,
    num_epochs=2,
    learning_rate=1e-2,
    actor_hidden=(8,),
    critic_hidden=(8,),
)
ITERATIONS = 4
CODE = """
from mjx_s2r.runtime import devices
devices.configure()
from tests.runtime.test_sharding import compare
compare(8)
"""


def small_trainer() -> Trainer:
    """Returns a trainer that compiles in a moment."""
    probe = Probe(2, lambda step, action: jnp.where(step == 1, action[0], 0.5))
    return ppo_trainer(probe, CONFIG, SPACE)


def run(count: int) -> tuple[TrainState, list[int]]:
    """Returns the state after some iterations on ``count`` devices, and compilations of each."""
    trainer, mesh, compiled = small_trainer(), device_mesh(count), [0]

    def note(event: str, seconds: float, **_: object) -> None:
        """Counts programs that the backend compiles or takes from the cache."""
        compiled[0] += event == "/jax/core/compile/backend_compile_duration"

    jax.monitoring.register_event_duration_secs_listener(note)
    state = init_sharded(mesh, lambda: trainer.init(jax.random.key(0)))
    step, counts = trainer.sharded_iterate(mesh), []
    for _ in range(ITERATIONS):
        before = compiled[0]
        state, metrics = step(state)
        counts.append(compiled[0] - before)
    assert all(leaf.is_fully_replicated for leaf in jax.tree.leaves(metrics))
    return state, counts


def compare(count: int) -> None:
    """Trains on one device and on ``count``; raises where they differ or places are wrong."""
    (one, _), (many, counts) = run(1), run(count)
    assert counts[0] >= 1 and counts[1:] == [0] * (ITERATIONS - 1), counts
    size = CONFIG.num_envs // count
    for leaf in jax.tree.leaves(many.env_state):
        assert [s.data.shape[0] for s in leaf.addressable_shards] == [size] * count
    for leaf in jax.tree.leaves((many.learner, many.curriculum, many.key)):
        assert leaf.is_fully_replicated and len(leaf.sharding.device_set) == count
    start = jax.tree.leaves(small_trainer().init(jax.random.key(0)).learner.actor)
    moved = 0.0
    for mine, other, first in zip(
        jax.tree.leaves(many.learner.actor), jax.tree.leaves(one.learner.actor), start, strict=True
    ):
        np.testing.assert_allclose(mine, other, rtol=1e-3, atol=2e-5)
        moved = max(moved, float(jnp.abs(other - first).max()))
    assert moved > 1e-3  # there was something to differ in


def test_two_devices_train_as_one() -> None:
    compare(2)


@pytest.mark.slow
def test_eight_devices_train_as_one() -> None:
    done = subprocess.run(
        [sys.executable, "-c", CODE],
        cwd=Path(__file__).parents[2],
        env=os.environ | {"XLA_FLAGS": "--xla_force_host_platform_device_count=8"},
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr[-3000:]


def test_fields_are_placed_by_name() -> None:
    trainer, mesh = small_trainer(), device_mesh(2)
    where = placement(mesh, trainer.state_shapes())
    split = NamedSharding(mesh, PartitionSpec(module.WORLDS))
    assert set(jax.tree.leaves((where.env_state, where.rnn_state))) == {split}
    whole = {NamedSharding(mesh, PartitionSpec())}
    assert set(jax.tree.leaves((where.learner, where.curriculum, where.iteration))) == whole


def test_one_device_changes_nothing() -> None:
    trainer, mesh = small_trainer(), device_mesh(1)
    assert jit_sharded(mesh, trainer.iterate) == trainer.iterate
    assert init_sharded(mesh, lambda: "as it is") == "as it is"


def test_devices_that_are_not_there_or_do_not_divide_are_named() -> None:
    assert device_mesh().size == device_mesh(0).size == 2
    with pytest.raises(MeshError, match="devices 3 asked for, 2 cpu devices found; ask for 1 to 2"):
        device_mesh(3)
    with pytest.raises(MeshError, match="devices -1 asked for"):
        device_mesh(-1)
    check_num_envs(device_mesh(2), 6)
    with pytest.raises(
        MeshError, match=r"7 worlds do not divide into 2 devices; use 6 or 8 worlds, or --devices 1"
    ):
        check_num_envs(device_mesh(2), 7)
    with pytest.raises(MeshError, match=r"use 2 worlds, or"):
        check_num_envs(device_mesh(2), 1)
