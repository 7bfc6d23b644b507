"""Runs of students: one that remembers is trained, judged, exported, and continued by PPO."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mjx_s2r import make
from mjx_s2r.api import student_start
from mjx_s2r.api.policy import export_policy, load_policy
from mjx_s2r.api.student import StudentConfig, load_student, student_trainer, train_student
from mjx_s2r.api.teacher import TeacherConfig, load_teacher, teacher_trainer, train_teacher
from mjx_s2r.io.config import ConfigError
from mjx_s2r.io.origin import checksum, origin_folder
from mjx_s2r.io.run import CONFIG, RunError, read_config
from mjx_s2r.learn.distill.config import DistillConfig
from mjx_s2r.learn.ppo.config import PPOConfig
from mjx_s2r.learn.ppo.ppo import PPO
from mjx_s2r.robot.policy import Policy
from mjx_s2r.sim.backends.physics_config import ModelError, PhysicsConfig
from train import judge

pytestmark = pytest.mark.slow
EYES, UNITS = ("fixed:16x16@50",), 5
SMALL = PPOConfig(
    num_envs=4,
    num_steps=2,
    num_minibatches=2,
    num_epochs=1,
    actor_hidden=(4,),
    critic_hidden=(6,),
)
TEACHER = TeacherConfig(task="cartpole", iterations=1, curriculum="none", ppo=SMALL, devices=1)
DISTILL = DistillConfig(
    num_envs=4,
    num_steps=2,
    iterations=2,
    num_minibatches=2,
    num_epochs=1,
    hidden=(8,),
    cnn_channels=4,
    rnn_hidden=UNITS,
    value_weight=1.0,
)


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run of a teacher that reads numbers and remembers nothing."""
    folder = tmp_path_factory.mktemp("runs") / "teacher"
    train_teacher(replace(TEACHER, run=folder))
    return folder


@pytest.fixture(scope="module")
def student(teacher: Path) -> Path:
    """The run of its student, which remembers, on two devices."""
    run = teacher.parent / "student"
    train_student(StudentConfig(teacher=teacher, run=run, cameras=EYES, distill=DISTILL, devices=1))
    return run


def test_a_student_that_remembers_leaves_as_one_file(student: Path) -> None:
    """Ten steps of a flight: the file, and the student in JAX step by step."""
    policy = load_policy(student)
    done = export_policy(policy, student / "policy.onnx", inputs=32)
    assert done.parity < 1e-5
    flown = Policy.load(done.path)
    assert flown.contract.memory == UNITS
    rng = np.random.default_rng(0)
    obs = rng.normal(size=(10, flown.contract.size)).astype(np.float32)
    images = rng.integers(0, 256, (10, 16, 16, 3), np.uint8)
    algorithm, memory, expected = policy.trainer.algorithm, jnp.zeros((1, UNITS)), []
    for t, (x, image) in enumerate(zip(obs, images, strict=True)):
        memory, out = algorithm.policy(
            policy.state.learner, memory, {"state": x[None]}, (image[None],), jnp.array([t == 0])
        )
        expected.append(np.tanh(out.mean[0]) * np.array(flown.contract.action.scale))
    flown.reset()
    actions = [flown.act(x, {"fixed": image}) for x, image in zip(obs, images, strict=True)]
    np.testing.assert_allclose(actions, expected, atol=1e-5)
    assert np.abs(np.diff(np.asarray(expected), axis=0)).max() > 1e-4


def test_a_student_keeps_its_teacher(teacher: Path, student: Path, tmp_path: Path) -> None:
    """The checkpoint, in a folder that was moved and trained on; not what came later."""
    kept = read_config(StudentConfig, student)
    begun = load_teacher(teacher)[2]
    assert kept.teacher_iteration == int(begun.iteration) == 1
    assert kept.teacher_sha256 == checksum(begun.learner)
    moved = tmp_path / "moved"
    shutil.copytree(teacher, moved)
    train_teacher(replace(TEACHER, run=moved, iterations=2, resume=True))
    taught = student_trainer(replace(kept, teacher=moved), trained=True)
    assert taught.env.space == student_trainer(kept, trained=True).env.space
    with pytest.raises(ConfigError, match=f"teacher {moved}.*iteration 2"):
        student_trainer(replace(kept, teacher=moved, teacher_iteration=2))


def test_a_student_outlives_its_teacher(teacher: Path, student: Path, tmp_path: Path) -> None:
    """Its folder alone, on another computer: policy, table and teacher to the bit."""
    alone = tmp_path / "student"
    shutil.copytree(student, alone)
    gone = tmp_path / "gone"
    settings = json.loads((alone / CONFIG).read_text()) | {"teacher": str(gone)}
    (alone / CONFIG).write_text(json.dumps(settings))
    config, trainer, state = load_student(alone)
    there, whose, same = load_student(student)
    assert (config.run, config.teacher, there.teacher) == (alone, gone, teacher)
    assert checksum(state.learner) == checksum(same.learner)
    assert trainer.env.space == whose.env.space
    taught = load_teacher(origin_folder(alone, "teacher", gone), config.teacher_iteration)[2]
    assert checksum(taught.learner) == config.teacher_sha256
    with pytest.raises(RunError, match=r"elsewhere holds no run"):
        train_student(replace(config, teacher=tmp_path / "elsewhere", resume=True))


def test_a_student_of_two_devices_leaves_an_engine_of_one(tmp_path: Path) -> None:
    """Its worlds are MJX's then, and stay so on one device; an engine that was chosen is kept."""
    taught, one, two = tmp_path / "teacher", tmp_path / "one", tmp_path / "two"
    train_teacher(replace(TEACHER, run=taught, physics=PhysicsConfig("c")))
    settings = StudentConfig(teacher=taught, cameras=EYES, distill=replace(DISTILL, iterations=1))
    for run, devices, backend in ((one, 1, "teacher"), (two, 2, "jax"), (two, 1, "jax")):
        train_student(replace(settings, run=run, devices=devices, resume=run.exists()))
        assert read_config(StudentConfig, run).physics.backend == backend
    with pytest.raises(
        ModelError, match=r"'c' steps all worlds on one device, and the run is on 2"
    ):
        train_student(replace(settings, run=one, devices=2, resume=True))


def test_a_student_is_judged_as_a_teacher_is(student: Path) -> None:
    judge.main(["--run", str(student), "--episodes", "2"])
    told = json.loads((student / judge.JUDGED).read_text())
    assert {line["worlds"] for line in told["judged"]} == set(judge.KINDS)
    assert all(line["length"][0] > 1 for line in told["judged"])


def test_ppo_goes_on_from_a_student(student: Path) -> None:
    """It acts as the student does, and imitates less and less."""
    seeing = replace(SMALL, actor_obs="pixels", rnn_hidden=UNITS, imitation_coef=0.4)
    config = replace(TEACHER, cameras=EYES, start=student, iterations=4, ppo=seeing)
    trainer = teacher_trainer(config)
    state = trainer.init(jax.random.key(0))
    _, whose, taught = load_student(student)
    jax.tree.map(np.testing.assert_array_equal, state.learner.actor, taught.learner.params)
    obs = {"state": jnp.ones((2, 5)), "privileged": jnp.ones((2, 22))}
    images, first = (jnp.full((2, 16, 16, 3), 90, jnp.uint8),), jnp.zeros(2, bool)
    memory = jnp.ones((2, UNITS))
    answers = [
        a.policy(s.learner, memory, obs, images, first)[1].mean
        for a, s in ((trainer.algorithm, state), (whose.algorithm, taught))
    ]
    np.testing.assert_allclose(*answers, atol=1e-6)
    assert isinstance(trainer.algorithm, PPO)
    state, metrics = trainer.iterate(state)
    assert float(state.learner.imitation) == pytest.approx(0.3)
    assert float(metrics.loss.teacher_kl) > 0


@pytest.mark.parametrize(
    ("changes", "ppo", "message"),
    [
        ({}, {"actor_obs": "state"}, "and a student sees; give --ppo.actor-obs pixels"),
        ({}, {"rnn_hidden": 0}, "has a memory of 5, .* give --ppo.rnn-hidden 5"),
        ({"cameras": ("fixed:8x8@50",)}, {}, r"the student sees fixed \(16, 16, 3\)"),
    ],
)
def test_a_start_that_does_not_fit_is_named(
    student: Path, changes: dict, ppo: dict, message: str
) -> None:
    seeing = replace(SMALL, actor_obs="pixels", rnn_hidden=UNITS)
    config = replace(TEACHER, cameras=EYES, start=student, ppo=replace(seeing, **ppo))
    with pytest.raises(ConfigError, match=message):
        teacher_trainer(replace(config, **changes))


def test_a_teacher_that_cannot_have_this_student_is_named(teacher: Path, tmp_path: Path) -> None:
    """Settings alone tell: nothing is loaded."""
    settings = json.loads((teacher / "config.json").read_text())
    settings["ppo"]["actor_obs"] = "pixels"
    seeing = tmp_path / "seeing"
    seeing.mkdir()
    (seeing / "config.json").write_text(json.dumps(settings))
    with pytest.raises(ConfigError, match=r"reads pixels .* and a student copies one"):
        student_trainer(StudentConfig(teacher=seeing, cameras=EYES, distill=DISTILL))
    with pytest.raises(ConfigError, match=r"of task 'cartpole', and .* is of 'lift'"):
        student_trainer(StudentConfig(teacher=teacher, distill=DISTILL), make("lift"))


def test_ppo_goes_on_from_its_teachers_critic_where_that_fits(
    teacher: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One without a memory: another gamma is another value."""
    run = teacher.parent / "forgetful"
    distill = replace(DISTILL, rnn_hidden=0)
    train_student(StudentConfig(teacher=teacher, run=run, cameras=EYES, distill=distill, devices=1))
    seeing = replace(SMALL, actor_obs="pixels")
    config = replace(TEACHER, cameras=EYES, start=run, ppo=seeing)
    critic = load_teacher(teacher)[2].learner.critic
    state = teacher_trainer(config).init(jax.random.key(0))
    jax.tree.map(np.testing.assert_array_equal, state.learner.critic, critic)
    said: list[str] = []
    monkeypatch.setattr(student_start, "print_line", said.append)
    other = teacher_trainer(replace(config, ppo=replace(seeing, gamma=0.5)))
    assert isinstance(other.algorithm, PPO) and other.algorithm.start is not None
    assert other.algorithm.start.critic is None
    assert len(said) == 1 and "the critic begins anew" in said[0] and "ppo.gamma 0.97" in said[0]
