"""A teacher killed at a random moment and resumed ends with the bits of an undisturbed one."""

import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from mjx_s2r.api.teacher import TeacherConfig, train_teacher
from mjx_s2r.io.checkpoints import CheckpointError, Checkpoints
from mjx_s2r.io.run import RunError, read_jsonl
from mjx_s2r.learn.ppo.config import PPOConfig
from mjx_s2r.sim.backends.physics_config import PhysicsConfig

ROOT = Path(__file__).parents[2]
TASK = "tests.sim.toy:Toy"
SMALL = PPOConfig(  # as in test_teacher_logs and test_watching: one program in the cache for all
    num_envs=8, num_steps=4, num_minibatches=2, num_epochs=1, actor_hidden=(4,), critic_hidden=(4,)
)
ITERATIONS = 40


def settings(run: Path) -> TeacherConfig:
    """Returns a run of some seconds with a checkpoint every other iteration."""
    return TeacherConfig(
        task=TASK,
        run=run,
        iterations=ITERATIONS,
        curriculum="expand",
        episodes=64,
        log_every=1,
        checkpoint_every=2,
        devices=1,
        physics=PhysicsConfig("c"),
        ppo=SMALL,
    )


def command(run: Path) -> list[str]:
    """Returns the command line of the same run."""
    options = {
        "task": TASK,
        "run": run,
        "iterations": ITERATIONS,
        "curriculum": "expand",
        "episodes": 64,
        "log-every": 1,
        "checkpoint-every": 2,
        "devices": 1,
        "physics.backend": "c",
        "ppo.num_envs": 8,
        "ppo.num_steps": 4,
        "ppo.num_minibatches": 2,
        "ppo.num_epochs": 1,
    }
    line = [sys.executable, "-m", "train", "teacher"]
    for name, value in options.items():
        line += [f"--{name}", str(value)]
    return [*line, "--ppo.actor-hidden", "4", "--ppo.critic-hidden", "4"]


def leaves(tree: Any) -> list[np.ndarray]:
    """Returns every leaf as a host array, keys as their data."""

    def plain(x: jax.Array) -> jax.Array:
        is_key = jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key)
        return jax.random.key_data(x) if is_key else x

    return [np.asarray(plain(x)) for x in jax.tree.leaves(tree)]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The state at the end of a run that nothing disturbed."""
    return train_teacher(settings(tmp_path_factory.mktemp("runs") / "whole"))[1]


def test_a_killed_run_resumes_to_the_same_bits(undisturbed: Any, tmp_path: Path) -> None:
    run = tmp_path / "killed"
    child = subprocess.Popen(command(run), cwd=ROOT, env=dict(os.environ))
    deadline = time.time() + 240
    checkpoints = run / "checkpoints"
    while not (checkpoints.is_dir() and any(f.name.isdigit() for f in checkpoints.iterdir())):
        assert child.poll() is None, "the run ended before its first checkpoint"
        assert time.time() < deadline
        time.sleep(0.05)
    time.sleep(random.uniform(0, 0.5))  # twenty checkpoints take longer
    child.send_signal(signal.SIGKILL)
    child.wait()
    resumed = train_teacher(replace(settings(run), resume=True))[1]
    for mine, other in zip(leaves(resumed), leaves(undisturbed), strict=True):
        np.testing.assert_array_equal(mine, other)
    steps = [row["step"] for row in read_jsonl(run / "metrics.jsonl")]
    assert steps == list(range(1, ITERATIONS + 1))  # no line twice, none missing


def test_resume_refuses_other_settings_and_another_task(undisturbed: Any, tmp_path: Path) -> None:
    config = replace(settings(tmp_path / "short"), iterations=2)
    trainer, state = train_teacher(config)
    other = replace(config, resume=True, ppo=replace(SMALL, gamma=0.5))
    with pytest.raises(RunError, match=r"ppo\.gamma"):
        train_teacher(other)
    with pytest.raises(RunError, match="holds another run"):
        train_teacher(config)
    rows = trainer.env.task.space.names
    with pytest.raises(CheckpointError, match="reach"):
        Checkpoints(config.run / "checkpoints", task="reach", rows=rows).restore(state)
