"""Two processes train a student and an actor that sees as one process does."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from mjx_s2r.api.teacher import TeacherConfig, train_teacher
from mjx_s2r.io.run import read_jsonl
from mjx_s2r.learn.ppo.config import PPOConfig
from mjx_s2r.sim.backends.physics_config import PhysicsConfig
from tests.train.hosts import arrays, finish, launch, same, status

pytestmark = pytest.mark.slow
WAIT_S = 280
BEGUN, DONE = 1, 2
C = PhysicsConfig("c")
PPO = PPOConfig(
    num_envs=8,
    num_steps=2,
    num_minibatches=2,
    num_epochs=1,
    actor_hidden=(4,),
    critic_hidden=(6,),
)


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run of a teacher that reads numbers, in an engine that steps on one device."""
    run = tmp_path_factory.mktemp("runs") / "teacher"
    train_teacher(
        TeacherConfig(task="cartpole", run=run, iterations=1, ppo=PPO, devices=1, physics=C)
    )
    return run


def student(teacher: Path) -> list[str]:
    """Returns the command of a student that keeps pictures: two, of a camera at half the rate."""
    sizes = "num-envs=8 num-steps=4 num-minibatches=2 num-epochs=1 cnn-channels=4 hidden=8"
    line = ["student", "--teacher", str(teacher), "--cameras", "fixed:16x16@25x2"]
    line += ["--physics.backend", "jax"]
    return [*line, "--distill.iterations", str(DONE), *options(sizes)]


def seeing(teacher: Path) -> list[str]:
    """Returns the command of a PPO actor that reads pixels."""
    del teacher
    line = ["teacher", "--task", "cartpole", "--cameras", "fixed:16x16@50"]
    sizes = "num-envs=8 num-steps=2 num-minibatches=2 num-epochs=1 cnn-channels=4 actor-hidden=4"
    pixels = ["--iterations", str(DONE), "--ppo.actor-obs", "pixels", "--physics.backend", "jax"]
    return [*line, *pixels, *options(sizes, "ppo")]


def options(sizes: str, whose: str = "distill") -> list[str]:
    """Returns the options of small settings."""
    return [f"--{whose}.{size}" for size in sizes.split()]


@pytest.mark.timeout(900)
@pytest.mark.parametrize("command", [student, seeing])
def test_two_hosts_see_as_one(
    command: Callable[[Path], list[str]], teacher: Path, tmp_path: Path
) -> None:
    """They go on where one process stopped and end where it ends, in one folder."""
    alone, both = tmp_path / "alone", tmp_path / "both"
    line = [*command(teacher), "--checkpoint-every", "1", "--log-every", "1", "--resume"]
    children = launch(1, "train", *line, "--run", str(alone))
    said = finish(children, WAIT_S)
    assert status(children) == [0], said
    shutil.copytree(alone, both)
    shutil.rmtree(both / "checkpoints" / str(DONE))
    children = launch(2, "train", *line, "--run", str(both))
    said = finish(children, WAIT_S)
    assert status(children) == [0, 0], said
    # Rounding differs, and the first steps of Adam are the gradient's sign: a learning rate apart.
    same(arrays(both, DONE), arrays(alone, DONE), rtol=1e-2, atol=2e-2)
    assert [row["step"] for row in read_jsonl(both / "metrics.jsonl")] == [BEGUN, DONE]
