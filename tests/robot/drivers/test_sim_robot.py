"""The stand-in is MuJoCo when perfect, and every flaw of it can be seen."""

import math
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import mujoco
import numpy as np
import pytest

from mjx_s2r.contract import CameraSignal
from mjx_s2r.params import ParamError
from mjx_s2r.robot.clock import VirtualClock
from mjx_s2r.robot.controller import ControllerConfig, run
from mjx_s2r.robot.driver import Driver, Reading, check
from mjx_s2r.robot.drivers import sim_robot
from mjx_s2r.robot.drivers.imperfections import SERVO_ARM, Imperfections
from mjx_s2r.robot.drivers.mujoco_wiring import Rig, rig_for
from mjx_s2r.robot.drivers.sim_robot import NoDisplayError, SimRobot, can_render
from mjx_s2r.robot.safety import SafetyConfig
from tests.robot.fakes import FakePolicy, contract_for

ARM = """
<mujoco>
  <default><default class="mark"><geom contype="0" conaffinity="0"/></default></default>
  <compiler angle="radian"/>
  <option timestep="0.005" gravity="0 0 -9.81"/>
  <visual><quality shadowsize="0" offsamples="0"/></visual>
  <worldbody>
    <light pos="0 0 2"/>
    <camera name="front" pos="0.8 0 0.4" xyaxes="0 1 0 -0.4 0 0.8"/>
    <body name="cube" pos="0.2 0 0.5"><freejoint/><geom type="box" size=".02 .02 .02"/></body>
    <body name="mark" mocap="true"><geom type="sphere" size=".01" class="mark"/></body>
    <body name="upper">
      <joint name="a" axis="0 0 1" range="-2 2" damping="0.2" armature="0.02"/>
      <geom type="capsule" size="0.02" fromto="0 0 0 0.2 0 0" mass="0.2"/>
      <body name="fore" pos="0.2 0 0">
        <joint name="b" axis="0 0 1" range="-2 2" damping="0.2" armature="0.02"/>
        <geom type="capsule" size="0.02" fromto="0 0 0 0.2 0 0" mass="0.1" rgba="1 0 0 1"/>
      </body>
    </body>
    <body name="slider" pos="0 1 0"><joint name="c" type="slide" axis="1 0 0"/>
      <geom type="sphere" size="0.02" mass="0.5"/></body>
  </worldbody>
  <actuator>
    <position joint="a" kp="20" kv="0.5" forcerange="-3 3"/>
    <position joint="b" kp="20" kv="0.5" forcerange="-3 3"/>
    <motor joint="c" ctrlrange="-2 2" ctrllimited="true" gear="2"/>
  </actuator>
</mujoco>
"""
MODEL = mujoco.MjModel.from_xml_string(ARM)
CAMERA = CameraSignal("front", 4, 4, 20.0)
PERIOD_S = 0.05


def picture(model: mujoco.MjModel, data: mujoco.MjData, name: str) -> np.ndarray:
    """Returns a picture whose pixels are the time, in physics steps."""
    return np.full((4, 4, 3), round(data.time / model.opt.timestep) % 256, np.uint8)


RIG = Rig(("a", "b"), 20.0, (CAMERA,), camera=picture)


def robot(reality: Imperfections | None = None, rig: Rig = RIG) -> tuple[SimRobot, VirtualClock]:
    """Returns a stand-in at rest and its clock, started."""
    clock = VirtualClock(3.0)
    standin = SimRobot(MODEL, rig, clock, reality or Imperfections())
    standin.connect()
    clock.start(PERIOD_S)
    return standin, clock


def drive(reality: Imperfections, commands: np.ndarray, rig: Rig = RIG) -> list[Reading]:
    """Returns the readings before each of the commands (T, J), one a period."""
    standin, clock = robot(reality, rig)
    readings = []
    for command in commands:
        readings.append(standin.read())
        standin.write(command)
        clock.wait()
    standin.close()
    return readings


def positions(readings: list[Reading]) -> np.ndarray:
    """Returns (T, J) joint positions."""
    return np.array([r.signals["joint_pos"] for r in readings])


STEP = np.tile((0.4, -0.3), (20, 1))
WAVE = 0.3 * np.sin(np.arange(60)[:, None] * 0.2 + np.array([0.0, 1.0]))


def test_perfect_standin_is_mujoco() -> None:
    data = mujoco.MjData(MODEL)
    expected = []
    for command in STEP:
        expected.append(data.qpos[7:9].copy())
        data.ctrl[:2] = command
        mujoco.mj_step(MODEL, data, 10)  # 10 steps of 5 ms in a period of 50 ms
    np.testing.assert_allclose(positions(drive(Imperfections(), STEP)), expected, atol=1e-12)


def test_two_runs_of_one_seed_are_equal() -> None:
    first, again = drive(SERVO_ARM, WAVE), drive(SERVO_ARM, WAVE)
    other = drive(replace(SERVO_ARM, seed=1), WAVE)
    np.testing.assert_array_equal(positions(first), positions(again))
    for a, b in zip(first, again, strict=True):
        np.testing.assert_array_equal(a.images["front"], b.images["front"])
        np.testing.assert_array_equal(a.signals["joint_vel"], b.signals["joint_vel"])
    assert np.abs(positions(first) - positions(other)).max() > 1e-4


def test_reset_repeats_and_seeds() -> None:
    standin, clock = robot(SERVO_ARM)

    def episode(seed: int | None) -> np.ndarray:
        """Returns the positions of one episode."""
        standin.reset((0.1, 0.2), seed=seed)
        clock.start(PERIOD_S)
        rows = []
        for command in WAVE[:20]:
            rows.append(standin.read().signals["joint_pos"])
            standin.write(command)
            clock.wait()
        return np.array(rows)

    first = episode(4)
    np.testing.assert_array_equal(first, episode(4))
    assert np.abs(first - episode(5)).max() > 1e-4


def test_latency_delays_the_joints() -> None:
    standin, clock = robot(Imperfections(latency_ms=30.0))
    standin.write(np.array([0.4, 0.0]))
    clock.advance(0.030)
    assert standin.read().signals["joint_pos"][0] == 0.0
    clock.advance(0.010)
    assert standin.read().signals["joint_pos"][0] > 1e-5


def test_backlash_leaves_the_joint_behind() -> None:
    # Up to 0.4 and back to 0.2: without friction the joint ends half the play away on each side.
    turn = np.concatenate([np.tile((0.4, 0.4), (40, 1)), np.tile((0.2, 0.2), (40, 1))])
    seen = positions(drive(Imperfections(backlash_deg=2.0), turn))
    half = math.radians(2.0)
    np.testing.assert_allclose(seen[39], 0.4 - half, atol=2e-4)
    np.testing.assert_allclose(seen[79], 0.2 + half, atol=2e-4)


def test_deadband_ignores_a_small_command() -> None:
    small = np.full((20, 2), math.radians(0.5))
    assert np.abs(positions(drive(Imperfections(deadband_deg=1.0), small))).max() < 1e-12
    assert np.abs(positions(drive(Imperfections(deadband_deg=0.1), small))).max() > 1e-3


def test_encoder_reads_whole_counts() -> None:
    quantum = 2 * math.pi / 4096
    read = positions(drive(Imperfections(encoder_counts=4096), WAVE))
    true = positions(drive(Imperfections(), WAVE))
    np.testing.assert_allclose(read / quantum, np.round(read / quantum), atol=1e-9)
    assert 0 < np.abs(read - true).max() <= quantum / 2 + 1e-12


def test_filtered_velocity_lags_the_true_one() -> None:
    true = np.array([r.signals["joint_vel"] for r in drive(Imperfections(), STEP)])
    slow = np.array(
        [r.signals["joint_vel"] for r in drive(Imperfections(velocity_cutoff_hz=2.0), STEP)]
    )
    assert np.abs(slow).max() < 0.8 * np.abs(true).max()


def test_zero_error_is_in_readings_and_commands() -> None:
    standin, clock = robot(Imperfections(offset_deg=3.0))
    zero = math.radians(3.0)
    np.testing.assert_allclose(standin.read().signals["joint_pos"], zero)
    for _ in range(40):
        standin.write(np.array([0.2, 0.2]))
        clock.wait()
    np.testing.assert_allclose(standin.read().signals["joint_pos"], 0.2, atol=1e-4)
    np.testing.assert_allclose(standin.data.qpos[7:9], 0.2 - zero, atol=1e-4)


def test_weak_actuators_are_slower_and_the_given_model_is_untouched() -> None:
    strong, weak = (positions(drive(Imperfections(strength=s), STEP)) for s in (1.0, 0.3))
    assert weak[1, 0] < 0.6 * strong[1, 0]
    # A weak servo still arrives: its stiffness shrinks with its force.
    late = positions(drive(Imperfections(strength=0.3), np.repeat(STEP, 4, axis=0)))
    np.testing.assert_allclose(late[-1], STEP[-1], atol=2e-3)
    assert MODEL.actuator_gainprm[0, 0] == 20.0


def test_lost_commands_are_not_followed() -> None:
    assert np.abs(positions(drive(Imperfections(lost_commands=1.0), STEP))).max() < 1e-12


def ages(readings: list[Reading]) -> np.ndarray:
    """Returns (T,) age of the image, in frames."""
    return np.array([(r.time_s - r.image_time_s["front"]) / PERIOD_S for r in readings])


def test_camera_is_on_time_and_its_picture_is_of_its_time() -> None:
    readings = drive(Imperfections(), STEP)
    np.testing.assert_allclose(ages(readings), 0.0, atol=1e-6)
    shown = [int(r.images["front"][0, 0, 0]) for r in readings]
    assert shown == [10 * k for k in range(20)]


def test_camera_latency_is_in_the_time_stamp() -> None:
    readings = drive(Imperfections(camera_latency_frames=2), STEP)
    np.testing.assert_allclose(ages(readings), np.minimum(np.arange(20), 2), atol=1e-6)
    assert [int(r.images["front"][0, 0, 0]) for r in readings][2:5] == [0, 10, 20]


def test_dropped_frame_keeps_image_and_time() -> None:
    readings = drive(Imperfections(dropped_frames=0.5), STEP)
    late = ages(readings)
    assert late.max() > 0.99 and late.min() < 0.01
    for r in readings:
        taken = round((r.image_time_s["front"] - 3.0) / 0.005)
        assert int(r.images["front"][0, 0, 0]) == taken


def test_time_stamps_never_go_back() -> None:
    readings = drive(Imperfections(camera_latency_frames=2, dropped_frames=0.4), WAVE)
    assert np.diff([r.image_time_s["front"] for r in readings]).min() >= 0.0


def test_slow_camera_keeps_its_own_rate() -> None:
    slow = replace(RIG, cameras=(replace(CAMERA, rate_hz=10.0),))
    taken = {r.image_time_s["front"] for r in drive(Imperfections(), STEP, slow)}
    np.testing.assert_allclose(sorted(taken), 3.0 + 0.1 * np.arange(10), atol=1e-9)


def test_stop_holds_here_and_drops_what_is_under_way() -> None:
    standin, clock = robot(Imperfections(latency_ms=20.0))
    standin.write(np.array([1.0, 0.0]))
    clock.wait()
    standin.read()
    standin.write(np.array([1.5, 0.0]))
    standin.stop()
    here = standin.data.qpos[7]
    for _ in range(40):
        clock.wait()
        standin.advance()
    assert standin.data.qpos[7] == pytest.approx(here, abs=1e-3)
    assert here < 0.9


def test_bodies_are_placed_by_name() -> None:
    standin, _ = robot()
    pose = ((0.3, 0.1, 0.7), (1.0, 0.0, 0.0, 0.0))
    standin.reset((0.5, -0.5), (0.1, 0.0), {"cube": pose, "mark": pose})
    assert standin.data.body("cube").xpos.tolist() == [0.3, 0.1, 0.7]
    assert standin.data.body("mark").xpos.tolist() == [0.3, 0.1, 0.7]
    np.testing.assert_allclose(standin.read().signals["joint_pos"], (0.5, -0.5))
    np.testing.assert_allclose(standin.read().signals["joint_vel"], (0.1, 0.0))
    with pytest.raises(ParamError, match="did you mean 'cube'"):
        standin.reset(bodies={"cubes": pose})
    with pytest.raises(ValueError, match="'fore' is neither mocap nor free"):
        standin.reset(bodies={"fore": pose})


def test_reset_pose_is_held() -> None:
    standin, clock = robot()
    standin.reset((0.5, -0.5))
    for _ in range(10):
        clock.wait()
    np.testing.assert_allclose(standin.read().signals["joint_pos"], (0.5, -0.5), atol=1e-6)


@dataclass
class Height:
    """Reads the first joint, as its encoder says, and how high the cube is."""

    sizes: Mapping[str, int] = field(default_factory=lambda: {"height": 2})

    def read(
        self, model: mujoco.MjModel, data: mujoco.MjData, qpos: np.ndarray, qvel: np.ndarray
    ) -> Mapping[str, np.ndarray]:
        """Returns rad and m."""
        return {"height": qpos[[7, 2]]}


def test_a_signal_of_the_tasks_reads_the_encoders() -> None:
    """Hinges are counted, whether or not they are commanded; free bodies are as they are."""
    rig = Rig(("a", "b"), 20.0, senses=Height())
    standin, clock = robot(Imperfections(encoder_counts=8, offset_deg=1.0), rig)
    standin.reset((0.7, 0.0))
    told = standin.read().signals
    assert told["height"] == pytest.approx([math.pi / 4, standin.data.qpos[2]])
    assert told["joint_pos"] == pytest.approx([math.pi / 4, 0.0])
    clock.wait()
    assert told["height"][1] != standin.read().signals["height"][1]  # the cube falls


def test_a_course_is_followed_step_by_step() -> None:
    """The same in plain C MuJoCo, told another command at every physics step."""
    steps = round(0.05 / MODEL.opt.timestep)
    course = np.linspace((0.0, 0.0), (0.2, -0.1), steps)
    standin, clock = robot(rig=Rig(("a", "b"), 20.0, course=lambda command: course))
    standin.write(np.zeros(2))
    clock.wait()
    standin.advance()
    data = mujoco.MjData(MODEL)
    for each in course:
        data.ctrl[:2] = each
        mujoco.mj_step(MODEL, data)
    np.testing.assert_allclose(standin.data.qpos, data.qpos, atol=1e-12)


def test_motor_is_an_effort_robot() -> None:
    rig = Rig(("c",), 20.0, sensed=("c", "a"), senses=Height())
    standin, clock = robot(Imperfections(offset_deg=30.0), rig)  # an encoder's zero moves no force
    info = standin.describe()
    assert (info.command, info.unit, info.max_effort) == ("effort", "1", (2.0,))  # gear 2
    assert dict(info.signals) == {"joint_pos": 2, "joint_vel": 2, "height": 2}
    standin.write(np.array([1.0]))
    clock.wait()
    # 2 N on 0.5 kg for 50 ms: 0.2 m/s. Then the force is taken away and the speed stays.
    assert standin.read().signals["joint_vel"][0] == pytest.approx(0.2, rel=1e-6)
    standin.stop()
    clock.wait()
    assert standin.read().signals["joint_vel"][0] == pytest.approx(0.2, rel=1e-6)


def test_data_sheet_fits_its_own_contract() -> None:
    contract = replace(contract_for(), control_hz=20.0)
    driver: Driver = SimRobot(MODEL, rig_for(contract), VirtualClock())
    check(contract, driver.describe())
    assert driver.describe().low == (-2.0, -2.0) and driver.describe().max_effort == (3.0, 3.0)


@pytest.mark.parametrize(
    ("rig", "message"),
    [
        (Rig(("a", "bb"), 20.0), "unknown actuator or joint 'bb'"),
        (Rig(("a",), 20.0, (replace(CAMERA, name="fornt"),)), "did you mean 'front'"),
        (Rig(("a", "c"), 20.0), r"\['c'\] have motors"),
    ],
)
def test_wrong_rig_is_named(rig: Rig, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SimRobot(MODEL, rig, VirtualClock())


def test_wrong_command_is_refused() -> None:
    standin, _ = robot()
    for command in ((0.0,), (0.0, math.nan)):
        with pytest.raises(ValueError, match="2 finite numbers"):
            standin.write(np.array(command))


def test_wrong_picture_is_refused() -> None:
    standin, _ = robot(rig=replace(RIG, camera=lambda m, d, n: np.zeros((4, 5, 3), np.uint8)))
    with pytest.raises(ValueError, match="camera 'front' gave uint8"):
        standin.read()
    standin.stop()  # works although the camera does not


def test_no_display_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: object) -> None:
        """Fails as every back end does."""
        raise mujoco.FatalError("an OpenGL platform library has not been loaded")

    sim_robot.require_rendering.cache_clear()
    monkeypatch.setattr(sim_robot.mujoco, "Renderer", fail)
    assert not can_render()
    with pytest.raises(NoDisplayError, match="MUJOCO_GL=egl"):
        SimRobot(MODEL, replace(RIG, camera=None), VirtualClock()).connect()


SCRIPT = """
import mujoco  # before anything of ours, as a notebook that builds a model
model = mujoco.MjModel.from_xml_string('<mujoco><worldbody><light pos="0 0 3"/>'
    '<camera name="front" pos="0 0 2"/><geom type="sphere" size="0.5" rgba="1 0 0 1"/><body>'
    '<joint name="j"/><geom size="0.1" mass="1"/></body></worldbody>'
    '<actuator><motor joint="j"/></actuator></mujoco>')
from mjx_s2r.contract import CameraSignal
from mjx_s2r.robot.clock import VirtualClock
from mjx_s2r.robot.drivers.mujoco_wiring import Rig
from mjx_s2r.robot.drivers.sim_robot import SimRobot
with_camera = Rig(("j",), 20.0, (CameraSignal("front", 16, 16, 20.0),))
robot = SimRobot(model, with_camera, VirtualClock())
robot.connect()
image = robot.read().images["front"]
print(image[8, 8, 0] > 100)
robot.close()
"""


@pytest.mark.parametrize("environment", [{}, {"MUJOCO_GL": ""}, {"MUJOCO_GL": "egl"}])
def test_without_a_display_the_camera_draws_off_screen(environment: dict[str, str]) -> None:
    if not can_render():
        pytest.skip("no OpenGL on this machine")
    hidden = ("MUJOCO_GL", "DISPLAY", "WAYLAND_DISPLAY", "PYOPENGL_PLATFORM")
    clean = {name: value for name, value in os.environ.items() if name not in hidden}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], env=clean | environment, capture_output=True, text=True
    )
    assert done.stdout == "True\n", done.stderr


@pytest.mark.parametrize(("name", "value"), [("MUJOCO_GL", "glfw"), ("DISPLAY", ":0")])
def test_what_the_user_chose_to_draw_with_stays(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    chosen = object()
    monkeypatch.delenv("MUJOCO_GL", raising=False)
    monkeypatch.setenv(name, value)
    monkeypatch.setattr(sim_robot.gl_context, "GLContext", chosen)
    sim_robot.choose_egl()
    assert sim_robot.gl_context.GLContext is chosen


def test_opengl_camera_sees_the_arm_move() -> None:
    if not can_render():
        pytest.skip("no OpenGL on this machine")
    rig = Rig(("a", "b"), 20.0, (replace(CAMERA, height=32, width=48),))
    standin, _ = robot(rig=rig)
    before = standin.read().images["front"]
    standin.reset((1.0, 1.0))
    after = standin.read().images["front"]
    assert before.shape == (32, 48, 3) and before.dtype == np.uint8
    assert np.abs(before.astype(int) - after).max() > 50
    standin.close()


def test_controller_drives_it_to_a_pose() -> None:
    contract = replace(contract_for(), control_hz=20.0)
    clock = VirtualClock()
    standin = SimRobot(MODEL, rig_for(contract), clock, SERVO_ARM)
    goal = np.array([0.6, -0.4])
    policy = FakePolicy(contract, lambda obs: np.clip(goal - obs[4:6], -0.1, 0.1))
    config = ControllerConfig(3.0, SafetyConfig(ramp_s=0.5))
    summary = run(standin, policy, clock, config)
    assert (summary.reason, summary.steps) == ("duration", 60)
    # Half the gear play, the dead band and one encoder count may remain.
    np.testing.assert_allclose(standin.data.qpos[7:9], goal, atol=math.radians(0.5 + 0.1 + 0.1))
