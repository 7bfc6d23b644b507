"""The door from an installed wheel: the six-line program, one's own loop, and what it refuses."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import mjx_s2r as s2r
from mjx_s2r.api import door
from mjx_s2r.api.teacher import TeacherConfig, make_curriculum
from mjx_s2r.curriculum.coordinates import select_rows
from mjx_s2r.robot.log import read
from mjx_s2r.sim.env import Env
from tests.robot.fakes import contract_for, write_onnx

ROOT = Path(__file__).parents[1]
SIX_LINES = """
import sys
import mjx_s2r as s2r
assert "jax" not in sys.modules and "site-packages" not in s2r.__file__
env = s2r.make("reach")
teacher = s2r.train(env, s2r.PPO(num_envs=8, num_steps=4, num_minibatches=2, num_epochs=1),
                    curriculum=s2r.ADR(rows="~visual.*"), run="runs/t", iterations=1)
distill = s2r.Distill(num_envs=4, num_steps=2, num_minibatches=2, iterations=1)
student = s2r.distill(teacher, distill, cameras="front:64x64@25", run="runs/s")
figures = student.evaluate(robots="held_out", count=1, episodes=1)
student.export("policy.onnx")
assert figures["episodes"] == 1 and figures["steps"] > 0, figures
assert set(teacher.ranges) == set(env.space.names) and s2r.load("runs/s").task == "reach"
"""
OWN_LOOP = """
import jax
import jax.numpy as jnp
import mjx_s2r as s2r

env = s2r.make("{task}")
reset, step = jax.jit(jax.vmap(env.reset)), jax.jit(jax.vmap(env.step))
state = reset(jax.random.split(jax.random.key(0), 3))
for _ in range(3):
    state = step(state, jnp.zeros((3, env.action_size)))
assert state.reward.shape == (3,) and state.obs["state"].ndim == 2
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the installed wheel, and nothing of the checkout."""
    folder = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "-q", "--disable-pip-version-check"]
    options = ["--no-deps", "--no-build-isolation"]
    subprocess.run([*pip, "wheel", *options, "-w", folder, "."], cwd=ROOT, check=True)
    (built,) = folder.glob("*.whl")
    target = folder / "installed"
    subprocess.run([*pip, "install", *options, "--target", target, built], check=True)
    return target


def run(code: str, wheel: Path, folder: Path, **environment: str) -> None:
    """Runs a program in a folder far from the checkout, with the wheel first on the path."""
    env = os.environ | {"PYTHONPATH": str(wheel)} | environment
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder,
        env=env,
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.mark.slow
def test_six_lines_go_from_a_name_to_a_policy_on_a_robot(wheel: Path, tmp_path: Path) -> None:
    run(SIX_LINES, wheel, tmp_path)
    assert (tmp_path / "policy.onnx").stat().st_size > 10_000


@pytest.mark.slow
def test_the_gallery_comes_along(wheel: Path, tmp_path: Path) -> None:
    code = "import mjx_s2r as s2r; assert s2r.gallery()['cartpole'].load().contract.ranges"
    run(f"{code}; assert 'site-packages' not in s2r.__file__", wheel, tmp_path)


@pytest.mark.slow
def test_a_task_of_ones_own_needs_no_checkout(wheel: Path, tmp_path: Path) -> None:
    """Tasks are named by module:Class, and reset and step beneath are pure functions.

    Compiled as users compile; see tests/conftest.py.
    """
    source = (ROOT / "docs" / "own_task" / "pendulum.py").read_text()
    (tmp_path / "pendulum.py").write_text(source)
    run(
        OWN_LOOP.format(task="pendulum:Pendulum"),
        wheel,
        tmp_path,
        JAX_DISABLE_MOST_OPTIMIZATIONS="0",
    )


@pytest.mark.slow
def test_two_commands_lead_from_a_policy_to_a_moving_robot(wheel: Path, tmp_path: Path) -> None:
    """In an environment of its own that has the robot extra and nothing else: install, run."""
    # pictures of noise have a brightness, which this policy turns into steady motion
    policy = write_onnx(tmp_path / "policy.onnx", contract_for(cameras=True))
    (built,) = wheel.parent.glob("*.whl")
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "robot"], check=True)
    tools = tmp_path / "robot" / "bin"
    env = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"} | {"HOME": str(tmp_path)}
    quiet = ("-q", "--disable-pip-version-check")
    install = [tools / "pip", "install", *quiet, f"{built}[robot]"]
    fly = [tools / "mjx-s2r-robot", "run", policy, "--driver", "bench", "--seconds", "2"]
    for command in (install, fly):
        done = subprocess.run(
            command, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=600
        )
        assert done.returncode == 0, done.stderr[-3000:]
    assert "20 commands" in done.stdout and "next:" in done.stdout
    (kept,) = (tmp_path / "flights").glob("*/*/episode-1.log")
    assert np.ptp(read(kept).signal("joint_pos"), axis=0).min() > 0.1, "it moves"
    listed = subprocess.run(
        [tools / "pip", "list", "--format=freeze", quiet[1]], capture_output=True, text=True
    ).stdout.casefold()
    assert "onnxruntime==" in listed and "numpy==" in listed
    assert not [
        x for x in ("jax", "mujoco", "tyro", "rich", "scipy", "pillow") if f"{x}==" in listed
    ]


def test_importing_it_loads_neither_jax_nor_mujoco() -> None:
    code = "import sys, mjx_s2r; print(*(n in sys.modules for n in ('jax', 'mujoco', 'numpy')))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False", "False"]


def test_it_shows_its_names() -> None:
    names = {"make", "train", "distill", "evaluate", "export", "load", "PPO", "ADR"}
    assert names <= set(dir(s2r)) and names <= set(s2r.__all__)
    with pytest.raises(AttributeError, match="'mjx_s2r' has no attribute 'teach'"):
        s2r.teach  # noqa: B018


def test_rows_of_a_curriculum_may_be_one_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it trains is what the same curriculum schedules by itself."""
    asked: list[TeacherConfig] = []

    def taught(config: TeacherConfig, env: Env) -> tuple[None, None]:
        asked.append(config)
        return None, None

    monkeypatch.setattr(door, "train_teacher", taught)
    monkeypatch.setattr(door, "TrainedPolicy", lambda *of: None)
    env = s2r.make("cartpole")
    for rows in ("model.*, ~gravity", ("model.*", "~gravity"), ""):
        named = s2r.Uniform(rows=rows)
        s2r.train(env, curriculum=named, run=tmp_path / "run")
        mine = make_curriculum(asked[-1], env.space, sees=False)
        for theirs in (mine, named.build(env.space)):
            report = theirs.report(theirs.init())
            fixed = np.isclose(report.low, report.high)
            wanted = select_rows(env.space, rows or "~visual.*")
            np.testing.assert_array_equal(~fixed, wanted)


def test_a_setting_that_does_not_exist_is_named_before_any_work(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="'num_env'; did you mean 'num_envs'"):
        s2r.train(s2r.make("cartpole"), s2r.PPO(num_env=3), run=tmp_path / "run")
    with pytest.raises(ValueError, match="'iteration'; did you mean 'iterations'"):
        s2r.train(s2r.make("cartpole"), run=tmp_path / "run", iteration=3)
    with pytest.raises(ValueError, match="curriculum 'adrr'"):
        s2r.train("cartpole", curriculum="adrr", run=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_task_object_that_no_name_leads_to_needs_its_environment(tmp_path: Path) -> None:
    from mjx_s2r.envs.registry import OBJECT, make_task, name_of

    task = make_task("cartpole")

    class Renamed:
        """A task that stands in no module."""

        name = "mine"

        def __getattr__(self, name: str) -> object:
            return getattr(task, name)

    assert name_of(s2r.make("cartpole")) == "cartpole"
    assert name_of(s2r.make(Renamed())) == f"{OBJECT}mine"
    with pytest.raises(ValueError, match="hand the environment over"):
        s2r.make(f"{OBJECT}mine")


def test_a_given_environment_is_trained_as_it_is() -> None:
    from mjx_s2r.api.teacher import recipe, teacher_trainer
    from mjx_s2r.envs.registry import OBJECT

    env = s2r.make("cartpole")
    assert teacher_trainer(recipe("cartpole"), env).env is env
    assert recipe(f"{OBJECT}mine").ppo == recipe("tests.sim.toy:Toy").ppo, "the general settings"
