"""Any task on its stand-in: what is read, what is judged, what rows do, and what is refused."""

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
import pytest
from mujoco import mjx
from rich.console import Console

from mjx_s2r.api import robots
from mjx_s2r.contract import ContractError, PolicyContract, Signal
from mjx_s2r.envs.registry import make_task
from mjx_s2r.eval.reality import (
    CameraError,
    ExtraGeom,
    LightLook,
    Reality,
    RealityLooks,
    RealityScene,
    StandInPhysics,
    draw_robot,
    load_reality,
)
from mjx_s2r.eval.reality_model import build_model
from mjx_s2r.eval.robot_episodes import EvalConfig, JudgedRobot, RobotEpisode, run_episodes
from mjx_s2r.eval.stand_ins import default_reality, plain_reality, stand_ins
from mjx_s2r.eval.task_judge import TaskFunctions, TaskJudge
from mjx_s2r.io.config import ConfigError
from mjx_s2r.params import ParamError
from mjx_s2r.robot.clock import VirtualClock
from mjx_s2r.robot.controller import ControllerConfig
from mjx_s2r.robot.drivers.mujoco_wiring import rig_for
from mjx_s2r.robot.drivers.sim_robot import SimRobot
from mjx_s2r.robot.policy import Policy
from mjx_s2r.robot.safety import SafetyConfig
from mjx_s2r.sim import physics, task_calls
from mjx_s2r.sim.backends.physics_config import ModelError
from mjx_s2r.sim.task import InitialState, Task
from tests.eval.toy_task import NEAR_M, XML, ToyArm
from tests.robot.fakes import write_onnx
from train import evaluate

TASK = cast(Task, ToyArm())
# The same arm by another hand: other things first, joints the other way round in the tree's order.
OTHER = """
<mujoco model="other">
  <compiler angle="radian"/>
  <option timestep="0.005"><flag contact="disable"/></option>
  <worldbody>
    <geom type="plane" size="1 1 0.1"/>
    <body name="thing" pos="1 1 1"><freejoint/><geom size="0.1"/><site name="mark"/></body>
    <body name="upper" pos="0 0 0.5">
      <site name="elbow" pos="0.2 0 0"/>
      <joint name="a" axis="0 1 0" damping="0.1" range="-2 2" limited="true"/>
      <geom name="upper" type="capsule" fromto="0 0 0 0.2 0 0" size="0.02" mass="0.2"/>
      <body name="fore" pos="0.2 0 0">
        <joint name="b" axis="0 1 0" damping="0.1" range="-2 2" limited="true"/>
        <geom type="capsule" fromto="0 0 0 0.2 0 0" size="0.02" mass="0.1"/>
        <site name="tip" pos="0.2 0 0"/>
      </body>
    </body>
    <body name="ball" pos="0.3 0 0.3">
      <freejoint name="rolls"/><geom name="ball" size="0.03"/>
    </body>
  </worldbody>
  <actuator>
    <position name="b" joint="b" kp="8" kv="0.5" forcerange="-5 5"/>
    <position name="a" joint="a" kp="8" kv="0.5" forcerange="-5 5"/>
  </actuator>
</mujoco>
"""


@dataclass
class Constant:
    """A policy that always does the same."""

    contract: PolicyContract
    action: Sequence[float]

    def act(self, obs: np.ndarray, images: Mapping[str, np.ndarray]) -> np.ndarray:
        """Returns the action."""
        return np.array(self.action, np.float32)


@pytest.fixture(scope="module")
def functions() -> TaskFunctions:
    """The toy task's functions, without rows."""
    return TaskFunctions(TASK, ())


def built(task: Task, realities: Sequence[Reality]) -> list[JudgedRobot]:
    """Returns all robots of some realities."""
    return list(stand_ins(task, realities))


def episodes(robots: Sequence[JudgedRobot], action: Sequence[float]) -> list[RobotEpisode]:
    """Returns one episode on each robot."""
    control = ControllerConfig(TASK.episode_s, SafetyConfig(ramp_s=0.0))
    policy = cast(Policy, Constant(TASK.contract, action))
    return list(run_episodes(policy, robots, 1, EvalConfig(TASK.hold_s, controller=control)))


def robot_of(
    functions: TaskFunctions, values: Mapping[str, float], model: mujoco.MjModel | None = None
) -> tuple[SimRobot, TaskJudge, VirtualClock]:
    """Returns a stand-in of the toy arm after an episode began, its judge and its clock."""
    model = TASK.mj_model if model is None else model
    judge, clock = TaskJudge(functions, model, values), VirtualClock()
    rig = replace(
        rig_for(TASK.contract),
        senses=judge,
        course=judge.course if judge.courses else None,
        load=judge.load if judge.loads else None,
    )
    robot = SimRobot(model, rig, clock)
    robot.reset(place=judge.begin(4))
    clock.start(1 / TASK.contract.control_hz)
    return robot, judge, clock


def test_signals_are_those_that_training_reads(functions: TaskFunctions) -> None:
    """MJX's kinematics at the same state, on the task's model and on one of another order."""
    engine = physics.put_model(TASK.mj_model)
    for model in (TASK.mj_model, mujoco.MjModel.from_xml_string(OTHER)):
        robot, _, clock = robot_of(functions, {}, model)
        for steps in range(3):
            told = robot.read().signals
            data = robot.data
            joints = [data.joint(name) for name in "ab"]
            qpos, qvel = (
                jnp.array([x[0] for x in y])
                for y in zip(*((j.qpos, j.qvel) for j in joints), strict=True)
            )
            core = physics.initial_state(engine, qpos, qvel)
            ball = np.array(data.body("ball").xpos, np.float32)[None]
            memory = jnp.array((10.0 + steps,))
            core = replace(core, mocap_pos=jnp.asarray(ball), memory=memory)
            true = task_calls.signals(TASK, physics.forward_positions(engine, {}, core))
            for name, value in true.items():
                np.testing.assert_allclose(told[name], value, atol=1e-4, err_msg=name)
            robot.write(np.array((0.3, -0.4)))
            clock.wait()


def test_episodes_begin_where_the_task_says(functions: TaskFunctions) -> None:
    robot, judge, _ = robot_of(functions, {}, mujoco.MjModel.from_xml_string(OTHER))
    key = jax.random.split(jax.random.fold_in(jax.random.key(4), 0))[0]
    start = ToyArm().reset(key=key)
    assert start.mocap_pos is not None
    here = [robot.data.joint(name).qpos[0] for name in "ab"]
    np.testing.assert_allclose(here, start.qpos, atol=1e-6)
    np.testing.assert_allclose(robot.data.body("ball").xpos, start.mocap_pos[0], atol=1e-6)
    robot.reset(place=judge.begin(5))
    assert not np.allclose([robot.data.joint(name).qpos[0] for name in "ab"], start.qpos)


def test_the_judge_is_the_task(functions: TaskFunctions) -> None:
    """The goal by the closed form: how far the tip is from the ball."""
    robot, judge, clock = robot_of(functions, {})
    seen = []
    for step in range(60):
        robot.read()
        apart = np.linalg.norm(robot.data.site("tip").xpos - robot.data.body("ball").xpos)
        low = robot.data.body("fore").xpos[2] < 0.32
        if step and abs(apart - NEAR_M) > 1e-4:
            assert judge.state.on_goal == (apart < NEAR_M)
            assert judge.state.failed == low
            seen.append((judge.state.on_goal, judge.state.failed))
        robot.write(np.full(2, 0.03 * step))
        clock.wait()
    assert {on for on, _ in seen} == {True, False} and seen[-1][1]


def test_an_episode_says_how_it_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # where MuJoCo writes its log
    still = built(TASK, [plain_reality(1)])
    (lost,) = episodes(still, (0.1, 0.1))
    assert (lost.success, lost.reason) == (False, "task failed")
    (over,) = episodes(still, (-0.1, 0.0))
    assert (over.reason, over.steps) == ("time over", 50)
    unstable = built(TASK, [plain_reality(1)])[0]
    unstable.model.actuator_gainprm[:, 0] = 1e15
    unstable.model.actuator_biasprm[:, 1] = -1e15
    unstable.model.actuator_forcelimited[:] = 0
    (gone,) = episodes([unstable], (0.1, 0.1))
    assert not gone.success and gone.reason == "physics unstable"


def test_a_delay_of_the_table_is_exact_to_a_physics_step() -> None:
    """The same in plain C MuJoCo: each command is followed 30 ms after it was sent."""
    robot, _, clock = robot_of(TaskFunctions(TASK, ("delay",)), {"delay": 0.03})
    model, data = TASK.mj_model, mujoco.MjData(TASK.mj_model)
    data.qpos[:] = robot.data.qpos
    start = robot.data.qpos.copy()
    sent = [start + 0.1 * np.array((k, -k)) for k in range(6)]
    for step in range(12):
        due = step - 3  # 30 ms are three physics steps; a command is sent at every second one
        data.ctrl[:] = sent[due // 2] if due >= 0 else start
        mujoco.mj_step(model, data)
    for command in sent:
        robot.read()
        robot.write(command)
        clock.wait()
    robot.advance()
    np.testing.assert_allclose(robot.data.qpos, data.qpos, atol=1e-6)


def test_sensor_rows_act_on_what_is_read_alone() -> None:
    rows = TaskFunctions(TASK, ("noise", "late"))
    robot, _, clock = robot_of(rows, {"noise": 0.1, "late": 0.04})
    heard, joints, tips, true = [], [], [], []
    for step in range(50):
        told = robot.read().signals
        heard.append(told["joint_pos"])
        joints.append(robot.data.qpos.copy())
        tips.append(told["tip"])
        true.append(robot.data.site("tip").xpos.copy())
        robot.write(np.full(2, 0.02 * step))
        clock.wait()
    np.testing.assert_allclose(tips[2:], true[:-2], atol=1e-6)  # 40 ms are two control steps
    noise = np.array(heard[2:]) - np.array(joints[:-2])
    assert 0.07 < np.std(noise) < 0.14 and abs(noise.mean()) < 0.04


def test_pushes_of_the_table_push() -> None:
    rows = TaskFunctions(TASK, ("push", "push_rate"))
    robot, _, clock = robot_of(rows, {"push": 3.0, "push_rate": 20.0})
    sizes = []
    for _ in range(40):
        robot.read()
        robot.write(np.zeros(2))
        clock.wait()
        robot.advance()
        fore = robot.data.xfrc_applied[TASK.mj_model.body("fore").id]
        sizes.append(float(np.linalg.norm(fore[:3])))
    pushed = np.array(sizes) > 0
    assert pushed.sum() > 5 and np.array(sizes)[pushed] == pytest.approx(3.0, rel=1e-5)


def test_rows_of_the_model_are_in_the_model_and_not_in_the_data_sheet() -> None:
    physics_ = StandInPhysics(timestep=0.005, iterations=7, integrator="RK4")
    reality = Reality(rows={"mass": 1.5, "kp": 0.5}, physics=physics_)
    built = build_model(TASK, draw_robot(reality, 0))
    assert built.model.body("fore").mass[0] == pytest.approx(0.15, rel=1e-6)
    assert built.model.actuator_gainprm[0, 0] == pytest.approx(4.0)
    assert built.sheet.actuator_gainprm[0, 0] == 8.0
    option = built.model.opt
    assert (option.timestep, option.iterations) == (0.005, 7)
    assert option.integrator == mujoco.mjtIntegrator.mjINT_RK4
    assert TASK.mj_model.opt.timestep == 0.01  # the task's own is left alone


def other(folder: Path, text: str = OTHER) -> Reality:
    """Returns a reality of a model file."""
    (folder / "other.xml").write_text(text)
    return Reality(name="other", model="other.xml", folder=folder, count=1)


def test_things_in_the_scene_are_there(tmp_path: Path) -> None:
    (tmp_path / "shelf.xml").write_text('<geom name="shelf" size="0.1" pos="0 1 0"/>')
    scene = RealityScene(
        mjcf="shelf.xml",
        geoms=(
            ExtraGeom("mug", (0.03, 0.04), "cylinder", pos=(0.0, -0.5, 0.1), mass=0.2),
            ExtraGeom("wall", (0.1, 0.1, 0.1), touches=True),
        ),
        tilt={"upper": 90.0},
        mass={"upper": 0.7},
        collide={"upper": (2, 4)},
    )
    looks = RealityLooks(colours={"upper": (0.1, 0.2, 0.3)})
    reality = replace(other(tmp_path), scene=scene, looks=looks)
    model = build_model(TASK, draw_robot(reality, 0)).model
    assert model.geom("shelf").pos[1] == 1 and model.body("mug").mass[0] == pytest.approx(0.2)
    assert model.body("mug").jntnum[0] == 1 and model.geom("wall").contype[0] == 1
    assert model.body("upper").mass[0] == pytest.approx(0.7)
    assert (model.geom("upper").contype[0], model.geom("upper").conaffinity[0]) == (2, 4)
    np.testing.assert_allclose(model.geom("upper").rgba[:3], (0.1, 0.2, 0.3), rtol=1e-6)
    turn = np.zeros(4)
    mujoco.mju_axisAngle2Quat(turn, np.ones(3) / np.sqrt(3), np.sqrt(3) * np.pi / 2)
    np.testing.assert_allclose(model.body("upper").quat, turn, atol=1e-12)
    found = built(TASK, [reality])
    assert episodes(found, (0.0, 0.0))[0].steps > 0


BAD = [
    (Reality(scene=RealityScene(free=("bal",))), ParamError, "unknown body.*'bal'.*'ball'"),
    (Reality(scene=RealityScene(free=("upper",))), ConfigError, "'upper' is no mocap body"),
    (Reality(scene=RealityScene(mass={"upper": -1.0})), ConfigError, "must be above zero, kg"),
    (Reality(scene=RealityScene(tilt={"upper": (1.0, 2.0)})), ConfigError, "one number or three"),
    (Reality(scene=RealityScene(mjcf="<geom>")), ConfigError, "scene.mjcf.*mend that MJCF"),
    (Reality(scene=RealityScene(mjcf="none.xml")), ConfigError, "there is no file .*none.xml"),
    (
        Reality(scene=RealityScene(mjcf='<geom name="upper" size="1"/>')),
        ConfigError,
        "the model has 'upper' among its geoms; rename",
    ),
    (
        Reality(scene=RealityScene(geoms=(ExtraGeom("upper", (0.1,)),))),
        ConfigError,
        "the model has a geom 'upper'; rename",
    ),
    (
        Reality(scene=RealityScene(geoms=(ExtraGeom("mug", (-0.1,), "sphere"),))),
        ConfigError,
        "does not compile",
    ),
    (Reality(looks=RealityLooks(colours={"uper": (0.0, 0.0, 0.0)})), ParamError, "'upper'"),
    (
        Reality(looks=RealityLooks(cameras={"eye": CameraError(fovy=-60.0)})),
        ConfigError,
        "field of view of -15 degrees",
    ),
    (
        Reality(looks=RealityLooks(lights={"sun": LightLook(dir=(0.0, 0.0, 0.0))})),
        ConfigError,
        "is no direction",
    ),
    (Reality(physics=StandInPhysics(timestep=0.003)), ConfigError, "does not divide the control"),
    (Reality(model="none.xml"), ModelError, "there is no model file"),
    (Reality(rows={"hue": 0.05}), ModelError, "MuJoCo's own camera does not have"),
    (Reality(rows={"adversary": 0.05}), ParamError, "part of training and of no robot"),
    (Reality(rows={"pus": 1.0}), ParamError, "unknown parameter 'pus'; did you mean 'push'"),
]


@pytest.mark.parametrize(("reality", "error", "says"), BAD)
def test_what_cannot_be_is_refused_by_name(
    reality: Reality, error: type[Exception], says: str, tmp_path: Path
) -> None:
    if reality.model == "":
        (tmp_path / "toy.xml").write_text(XML)
        reality = replace(reality, model="toy.xml", folder=tmp_path)
    with pytest.raises(error, match=says) as caught:
        built(TASK, [reality])
    assert "\n" not in str(caught.value)


def test_another_model_must_have_what_the_task_needs(tmp_path: Path) -> None:
    without = OTHER.replace('site name="tip"', 'site name="end"')
    found = built(TASK, [other(tmp_path, without)])
    with pytest.raises(ModelError, match=r"signal 'tip'.*cannot be read.*lacks site 'tip'"):
        episodes(found, (0.0, 0.0))
    renamed = OTHER.replace('joint name="b"', 'joint name="bb"').replace('joint="b"', 'joint="bb"')
    with pytest.raises(ModelError, match=r"unknown joint 'b'; did you mean 'bb'"):
        built(TASK, [other(tmp_path, renamed)])
    fixed = OTHER.replace('<freejoint name="rolls"/>', "")
    with pytest.raises(ModelError, match="has no mocap or free body 'ball'"):
        built(TASK, [other(tmp_path, fixed)])
    with pytest.raises(ModelError, match="cannot be read"):
        built(TASK, [other(tmp_path, "<mujoco>")])


def test_a_model_without_a_file_must_be_named_to_be_added_to() -> None:
    mujoco.MjModel.from_xml_string("<mujoco/>")
    made = mujoco.MjSpec.from_string(XML).compile()
    task = cast(Task, replace(ToyArm(), mj_model=made, name="made"))
    scene = RealityScene(tilt={"upper": 1.0})
    built = build_model(task, draw_robot(Reality(scene=scene), 0)).model  # its class reads the XML
    assert built.body("upper").quat[1] > 0
    made.body_mass[:] *= 2
    with pytest.raises(ModelError, match=r'is not known.*model = "robot.xml"'):
        build_model(task, draw_robot(Reality(scene=scene), 0))


SHIPPED = ("cartpole", "reach", "lift", "quadruped", "quadruped_rough", "reorient")


@pytest.mark.parametrize("name", SHIPPED)
def test_every_task_has_a_default_reality(name: str) -> None:
    task = make_task(name)
    reality = default_reality(task, 1)
    low, high = task.space.limits
    drawn = draw_robot(reality, 0)
    for row, value in drawn.rows.items():
        place = task.space.index(row)
        assert low[place] - 1e-6 <= value <= high[place] + 1e-6  # type: ignore[operator]
    model = build_model(task, drawn).model
    assert model.opt.timestep == task.mj_model.opt.timestep / 2
    assert not np.array_equal(model.body_mass, task.mj_model.body_mass)
    data = mujoco.MjData(model)
    mujoco.mj_step(model, data, 3)
    assert np.isfinite(data.qpos).all()


@pytest.mark.slow
@pytest.mark.parametrize("name", SHIPPED)
def test_every_task_reads_on_its_stand_in_what_it_reads_in_training(name: str) -> None:
    """Signals by MJX at the state of the stand-in, in which C MuJoCo computed them."""
    task = make_task(name)
    judged = built(task, [plain_reality(1)])[0]
    clock, judge = VirtualClock(), judged.judge
    robot = SimRobot(judged.model, replace(rig_for(task.contract), cameras=(), senses=judge), clock)
    robot.reset(place=judge.begin(1))
    clock.start(1 / task.contract.control_hz)
    engine = physics.put_model(task.mj_model)
    for step in range(4):
        told = robot.read().signals
        data = robot.data
        core = physics.initial_state(engine, jnp.array(data.qpos), jnp.array(data.qvel))
        core = replace(
            core,
            mocap_pos=jnp.array(data.mocap_pos),
            mocap_quat=jnp.array(data.mocap_quat),
            act=jnp.array(data.act),
            time=jnp.float32(data.time),
            ctrl=jnp.array(data.ctrl),
            memory=jnp.array(cast(Any, judge)._memory),
        )
        forward = physics.forward_all if cast(Any, judge)._functions.forces else None
        view = (forward or physics.forward_positions)(engine, {}, core)
        for signal, value in task_calls.signals(task, view).items():
            np.testing.assert_allclose(told[signal], value, atol=1e-4, rtol=1e-4, err_msg=signal)
        effort = task.contract.action.mode == "effort"
        low, high = np.array(task.contract.action.low), np.array(task.contract.action.high)
        robot.write(0.3 * high if effort else np.clip(told["joint_pos"] + 0.05 * step, low, high))
        clock.wait()


@pytest.mark.slow
def test_forces_and_contacts_are_those_that_training_reads(tmp_path: Path) -> None:
    """MJX's mj_forward at the same state, of a ball that lies on the floor under an arm."""
    floor = '<geom name="floor" type="plane" size="1 1 0.1"/>'
    rest = '<body name="egg" pos="0 0.5 0.029"><freejoint/><geom name="egg" size="0.03"/></body>'
    sensors = '<sensor><framelinacc name="acc" objtype="site" objname="tip"/></sensor></mujoco>'
    xml = XML.replace('<flag contact="disable"/>', "").replace("<worldbody>", f"<worldbody>{floor}")
    xml = xml.replace("</worldbody>", f"{rest}</worldbody>").replace("</mujoco>", sensors)
    task = cast(Task, FeelingArm(mj_model=mujoco.MjModel.from_xml_string(xml)))
    extra = '<body name="first" pos="2 2 2"><freejoint/><geom size="0.1"/></body>'
    (tmp_path / "more.xml").write_text(xml.replace("<worldbody>", f"<worldbody>{extra}"))
    more = Reality(model="more.xml", folder=tmp_path, count=1)
    for judged in built(task, [plain_reality(1), more]):
        clock, judge = VirtualClock(), judged.judge
        robot = SimRobot(judged.model, replace(rig_for(task.contract), senses=judge), clock)
        robot.reset(place=judge.begin(1))
        clock.start(1 / task.contract.control_hz)
        engine, model = physics.put_model(task.mj_model), task.mj_model
        free = robot.model.joint(robot.model.body("egg").jntadr[0])
        for _ in range(3):
            told, data = robot.read().signals, robot.data
            joints = [data.joint(name) for name in "ab"]
            start, speed = int(free.qposadr[0]), int(free.dofadr[0])
            qpos = np.concatenate([*(j.qpos for j in joints), data.qpos[start : start + 7]])
            qvel = np.concatenate([*(j.qvel for j in joints), data.qvel[speed : speed + 6]])
            core = physics.initial_state(engine, jnp.array(qpos), jnp.array(qvel))
            ctrl = [data.ctrl[robot.model.actuator(model.actuator(i).name).id] for i in range(2)]
            ball = jnp.array(data.body("ball").xpos)[None]
            core = replace(core, ctrl=jnp.array(ctrl), memory=jnp.zeros(1), mocap_pos=ball)
            true = task_calls.signals(task, physics.forward_all(engine, {}, core))
            for name in ("acc", "force", "touches", "torque"):
                np.testing.assert_allclose(
                    told[name], true[name], rtol=1e-2, atol=1e-2, err_msg=name
                )
            assert told["touches"] == 1
            robot.write(np.array((0.3, -0.4)))
            clock.wait()


@dataclass(frozen=True)
class FeelingArm(ToyArm):
    """The toy arm with a contract that reads forces, accelerations and contacts."""

    name: str = "feeling_arm"

    @property
    def contract(self) -> PolicyContract:
        """Returns other signals."""
        sizes = {"acc": 3, "force": 2, "touches": 1, "torque": 2}
        extra = (Signal("joint_pos", 2, "rad"), *(Signal(n, k, "1") for n, k in sizes.items()))
        return replace(super().contract, signals=extra)

    def reset(self, *, key: jax.Array) -> InitialState:
        """Begins as the model is, slightly bent."""
        qpos = jnp.array((0.2, -0.1, 0.0, 0.5, 0.029, 1.0, 0.0, 0.0, 0.0))
        return InitialState(qpos)

    def signals(self, data: mjx.Data) -> dict[str, jax.Array]:
        """What is felt."""
        return {
            "joint_pos": data.qpos[:2],
            "acc": data.sensordata,
            "force": data.actuator_force,
            "touches": (data._impl.contact.dist < 0).sum(keepdims=True),
            "torque": data.qfrc_bias[:2],
        }


def test_the_command_line_judges_a_task_of_ones_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    policy = write_onnx(tmp_path / "p.onnx", TASK.contract)
    (tmp_path / "desk.toml").write_text(
        "count = 2\n[rows]\nmass = { uniform = [0.8, 1.2] }\n[effects]\nbacklash_deg = 0.5\n"
    )
    words = ["--policy", str(policy), "--task", "tests.eval.toy_task:ToyArm", "--episodes", "2"]
    figures, said = [], io.StringIO()
    for module in (evaluate, robots):
        monkeypatch.setattr(module, "console", Console(file=said, width=120))
    for _ in range(2):
        evaluate.main([*words, "--reality", str(tmp_path / "desk.toml")])
        figures.append(json.loads((tmp_path / "p.evaluation.json").read_text()))
    shown = said.getvalue()
    assert "mass: uniform 0.8, 1.2" in shown and "desk 1" in shown
    assert figures[0]["per_robot"] == figures[1]["per_robot"]
    assert figures[0]["episodes"] == 4 and set(figures[0]["per_robot"]) == {"desk 0", "desk 1"}
    counted = [
        row["successes"] + sum(row["reasons"].values()) for row in figures[0]["per_robot"].values()
    ]
    assert counted == [2, 2]
    mean, low, high = figures[0]["return"]
    assert low < mean < high and figures[0]["length"][0] > 0
    assert "no verdict: the file does not say what it was trained on" in shown
    with pytest.raises(ContractError, match="name the policy's own task by --task"):
        evaluate.main(["--policy", str(policy), "--task", "cartpole"])
    with pytest.raises(ParamError, match="episodes 0 must be at least 1"):
        evaluate.main([*words, "--episodes", "0"])
    with pytest.raises(ParamError, match="count -1 must be at least 1"):
        evaluate.main([*words, "--count", "-1"])


def test_the_example_of_the_page_is_a_reality(tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "reality.md").read_text()
    (tmp_path / "desk.toml").write_text(page.split("```toml\n")[1].split("```")[0])
    reality, task = load_reality(tmp_path / "desk.toml"), make_task("reach")
    found = built(task, [reality])
    assert len(found) == 5
    model = found[1].model
    places = [model.geom(name).pos[1] for name in ("mug", "shelf")]
    assert places == pytest.approx([0.36, 0.45], rel=1e-6)
    assert model.light("lamp").pos[1] != found[0].model.light("lamp").pos[1]
    assert found[0].imperfections.gain == (1.05, 1.0, 0.95)
