"""The tutorial: its commands run on a robot of meshes, its example as MuJoCo does."""

import importlib
import re
import shlex
from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
import pytest

from benchmarks.mesh_robot import write_mesh_robot
from docs.own_task.fly import fly
from docs.own_task.pendulum import XML
from mjx_s2r.api.policy import TrainedPolicy, export_policy
from mjx_s2r.api.teacher import TeacherConfig, teacher_trainer
from mjx_s2r.contract import Chain, PolicyContract
from mjx_s2r.envs.reach import SPACE as REACH
from mjx_s2r.envs.registry import make_env, task_spec
from mjx_s2r.learn import normalizer
from mjx_s2r.learn.ppo.ppo import PPO
from mjx_s2r.onnx_export import ExportError
from mjx_s2r.params.ranges import changed_space, read_ranges
from mjx_s2r.robot.policy import Policy
from mjx_s2r.sim.env import Env, require_native
from tests.learn.untrained import untrained_state
from tests.robot.fakes import first_actions

TASK = "docs.own_task.pendulum:Pendulum"
TEXT = (Path(__file__).parents[2] / "docs" / "own_task.md").read_text()
CONFIG = TeacherConfig(
    task=TASK,
    range=("delay=0.01",),
    ppo=replace(task_spec(TASK).ppo, actor_hidden=(8,), critic_hidden=()),
)


@pytest.fixture(scope="module")
def env() -> Env:
    """The environment of the example."""
    return require_native(make_env(TASK))


@pytest.mark.slow
def test_a_few_steps_go_as_mujoco_says(env: Env) -> None:
    state = jax.jit(env.reset)(jax.random.key(0))
    model = mujoco.MjModel.from_xml_string(XML)
    data = mujoco.MjData(model)
    core = state.pipeline_state.physics_state
    data.qpos[:], data.qvel[:] = np.asarray(core.qpos), np.asarray(core.qvel)
    step = jax.jit(env.step)
    for action in (1.0, 1.0, -0.5, 0.0):
        state = step(state, jnp.full(1, action))
        data.ctrl[:] = 0.35 * action
        mujoco.mj_step(model, data, env.task.substeps)
    assert np.asarray(state.pipeline_state.physics_state.qpos) == pytest.approx(data.qpos, abs=1e-4)
    angle = data.qpos[0]
    seen = np.asarray(state.obs["state"])
    assert seen == pytest.approx((np.cos(angle), np.sin(angle), 0.1 * data.qvel[0]), abs=1e-3)
    assert float(state.reward) < 0.1, "it still hangs"


def test_hanging_is_worth_nothing_and_standing_everything(env: Env) -> None:
    blank = env.physics.empty_data
    down, up = (blank.replace(qpos=jnp.array([q]), qvel=jnp.zeros(1)) for q in (jnp.pi, 0.0))
    assert float(env.task.reward(down, jnp.zeros(1)).reward) == pytest.approx(0, abs=1e-6)
    upright = env.task.reward(up, jnp.zeros(1))
    assert float(upright.reward) == pytest.approx(1) and bool(upright.on_goal)


@pytest.fixture(scope="module")
def teacher() -> TrainedPolicy:
    """The example's policy with weights at random, and moments of readings as after training."""
    trainer = teacher_trainer(CONFIG)
    state = untrained_state(trainer, jax.random.key(1))
    readings = jax.random.normal(jax.random.key(2), (64, 1, 3))
    norm = normalizer.update(normalizer.init(3), readings)
    return TrainedPolicy(trainer, replace(state, learner=replace(state.learner, actor_norm=norm)))


def test_an_export_leaves_jax_as_it_was(teacher: TrainedPolicy, tmp_path: Path) -> None:
    before = {name: value for name, value in vars(jnp).items() if callable(value)}
    export_policy(teacher, tmp_path / "policy.onnx", inputs=8)
    assert not [name for name, value in before.items() if getattr(jnp, name) is not value]
    assert jnp.cumsum(jnp.ones((2, 1)), 0).tolist() == [[1.0], [2.0]]


def test_an_actor_that_reads_what_the_robot_has_is_exported(
    teacher: TrainedPolicy, tmp_path: Path
) -> None:
    trainer, state = teacher.trainer, teacher.state
    done = export_policy(teacher, tmp_path / "policy.onnx", inputs=40)
    assert done.parity < 1e-5 and done.inputs == 40
    policy = Policy.load(done.path)
    rng = np.random.default_rng(0)
    obs = rng.standard_normal((5, 3)).astype(np.float32)
    expected = 0.35 * np.tanh(np.asarray(trainer.policy(state, {"state": jnp.asarray(obs)}).mean))
    assert first_actions(policy, obs, {}) == pytest.approx(expected, abs=1e-5)
    assert np.ptp(expected) > 1e-3, "the network answers"
    task = require_native(trainer.env).task
    ranges = {r.name: (r.low, r.high) for r in policy.contract.ranges}
    assert list(ranges) == list(task.space.names)
    assert ranges["delay"] == pytest.approx((0.01, 0.01)), "what the run's settings fixed"
    assert policy.contract.engine == "jax"
    angle, speed = policy.contract.signals  # readings of about 1, and of about 10 rad/s
    assert angle.seen_low == (-1.01, -1.01), "no lower than what is believed"
    assert 30 < speed.seen_high[0] < 60
    signals = tuple(replace(s, seen_low=(), seen_high=()) for s in policy.contract.signals)
    assert policy.contract.chain.joints, "the kinematic tree travels along"
    plain = replace(policy.contract, ranges=(), engine="", signals=signals, chain=Chain())
    assert plain == task.contract


def test_an_actor_that_no_robot_can_run_is_refused(teacher: TrainedPolicy, tmp_path: Path) -> None:
    config = replace(CONFIG.ppo, actor_obs="privileged")
    trainer = replace(teacher.trainer, algorithm=PPO(config, teacher.trainer.env.action_size))
    with pytest.raises(ExportError, match="train it with"):
        export_policy(TrainedPolicy(trainer, teacher.state), tmp_path / "policy.onnx", inputs=8)
    assert not (tmp_path / "policy.onnx").exists()


# What the commands of the tutorial get beside what it says, so that they end soon.
QUICK = {
    "check": "--rows link_mass --starts 1 --seconds 0.1",
    "teacher": "--iterations 1 --physics.backend c --ppo.num-envs 8 --ppo.num-steps 4 "
    "--ppo.num-minibatches 2 --ppo.num-epochs 1 --devices 1",
    "student": "--distill.iterations 1 --distill.num-envs 8 --distill.num-steps 4 "
    "--distill.num-minibatches 2 --distill.num-epochs 1 --devices 1",
    "evaluate": "--count 1 --episodes 1",
}


@pytest.mark.slow
def test_the_tutorial_runs_on_a_robot_of_meshes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    block = next(b for b in re.findall(r"^```sh\n(.*?)^```", TEXT, re.M | re.S) if "inspect" in b)
    write_mesh_robot(Path("maker"), faces=2000)
    done = []
    for verb, *words in (shlex.split(line)[3:] for line in block.splitlines()):
        more = shlex.split(QUICK.get(verb, ""))
        assert not importlib.import_module(f"train.{verb}").main([*words, *more]), verb
        done.append(verb)
    assert done[2:] == ["new", "check", "teacher", "student", "export", "evaluate"]
    contract = Policy.load(Path("runs/my_arm/student/policy.onnx")).contract
    assert contract.task == "my_arm" and contract.cameras and len(contract.action.joints) == 4


def test_the_ranges_of_the_tutorial_fit_a_table(tmp_path: Path) -> None:
    """The arm of reach has rows of the same names."""
    found = re.search(r"^```toml\n(.*?)^```", TEXT, re.M | re.S)
    assert found is not None
    (tmp_path / "measured.toml").write_text(found[1])
    space = changed_space(REACH, read_ranges(tmp_path / "measured.toml"))
    changed = {row.name: row.limits for row in space.rows if row not in REACH.rows}
    assert changed == {
        "link_mass": (0.95, 1.05),
        "action_delay": (0.02, 0.02),
        "kp": (0.5, 1.2),
    }


class Energy:
    """Swings up by hand: pushes along with the speed below, holds by a spring above.

    After Astrom and Furuta 2000, "Swinging up a pendulum by energy control".
    """

    def __init__(self, contract: PolicyContract) -> None:
        """Keeps the contract."""
        self.contract = contract

    def act(self, obs: np.ndarray, images: object) -> np.ndarray:
        """Returns the torque (1,), N m."""
        cos, sin, speed = obs[0], obs[1], obs[2] / 0.1
        standing = 9.81 * (0.15 * 0.35 + 0.05 * 0.175)  # J, the weights of bob and rod
        energy = 0.5 * 0.0206 * speed**2 + standing * cos  # inertia about the hinge, kg m^2
        pump = 5.0 * (standing - energy) * (1.0 if speed >= 0 else -1.0)
        hold = -3.0 * np.arctan2(sin, cos) - 0.3 * speed
        return np.clip(np.array([hold if cos > 0.9 else pump]), -0.35, 0.35)


def test_the_policy_is_flown_as_the_contract_says(env: Env) -> None:
    """A controller known to swing up does so, one that does nothing does not."""
    assert fly(Energy(env.task.contract), 8.0) > 3.0

    class Idle(Energy):
        """Does nothing."""

        def act(self, obs: np.ndarray, images: object) -> np.ndarray:
            """Returns no torque."""
            return np.zeros(1)

    assert fly(Idle(env.task.contract), 2.0) == 0.0
