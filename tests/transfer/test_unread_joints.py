"""Joints without a reading: mimic fingers follow, and a robot that floats is refused."""

import mujoco
import numpy as np
import pytest

from mjx_s2r.params import ParamSpace, scale
from mjx_s2r.transfer.camera.pictures import PosedPictures, model_positions
from mjx_s2r.transfer.problem import IdentifyProblem, task_problem
from mjx_s2r.transfer.recording import Channel, Recording, RecordingError
from mjx_s2r.transfer.recording_checks import check_recordings
from mjx_s2r.transfer.simulator import ReplaySimulator
from mjx_s2r.transfer.unread_joints import follow_ties
from mjx_s2r.transfer.windows import cut_windows

TIED = """
<mujoco><option timestep="0.002" integrator="implicitfast"/><worldbody>
  <body><joint name="left" type="slide" axis="0 1 0" damping="5"/>
    <geom size=".01" mass=".05"/></body>
  <body pos="0 -.1 0"><joint name="right" type="slide" axis="0 -1 0" damping="5"/>
    <geom size=".01" mass=".05"/></body>
  <body pos="0 .5 0"><joint name="third" type="hinge" axis="0 0 1" ref="20"/>
    <geom size=".01" mass=".001" pos=".02 0 0"/></body>
</worldbody>
<equality><joint joint1="right" joint2="left" polycoef="0 1 8 0 0"/>
  <joint joint1="third" joint2="right" polycoef=".1 20 0 0 0"/></equality>
<actuator><position name="left" joint="left" kp="200" kv="5"/></actuator></mujoco>
"""
FLOATING = """
<mujoco><worldbody>
  <geom type="plane" size="1 1 1"/>
  <body name="trunk" pos="0 0 .3"><freejoint name="root"/><geom size=".05" mass="2"/>
    <body pos="0 0 -.05"><joint name="lift" type="slide"/><geom size=".01" mass=".1"/>
    <body><joint name="servo" axis="0 1 0"/>
      <geom type="capsule" fromto="0 0 0 0 0 -.1" size=".01" mass=".1"/></body></body></body>
  <body name="cube" pos="1 0 .1"><freejoint/><geom size=".05" mass=".1"/></body>
</worldbody>{equality}
<actuator><position name="servo" joint="servo" kp="5"/></actuator></mujoco>
"""
HELD = '<equality><weld body1="trunk"/></equality>'


def recorded(model: mujoco.MjModel, joint: str, unit: str) -> Recording:
    """Returns what one joint of a model does, whose commands are steps of its one actuator."""
    data, time_s = mujoco.MjData(model), np.arange(100) / 50
    commands = 0.02 + 0.01 * np.sign(np.sin(2 * np.pi * 1.3 * time_s))
    rows = np.zeros((len(time_s), 1))
    for t, command in enumerate(commands):
        rows[t] = data.joint(joint).qpos[0]
        data.ctrl[:] = command
        mujoco.mj_step(model, data, 10)
    name, driven = model.actuator(0).name, np.ones(len(time_s), bool)
    channels = (Channel("joint_pos", joint, unit=unit),)
    return Recording("log", time_s, (name,), "position", commands[:, None], driven, channels, rows)


@pytest.mark.parametrize("read", ["left", "right", "third"])
def test_tied_joints_are_where_mujoco_wants_them(read: str) -> None:
    """MuJoCo's own residuals of the equalities, forward and backward along the chain, and rates."""
    model = mujoco.MjModel.from_xml_string(TIED)
    data, joint = mujoco.MjData(model), model.joint(read)
    qpos, qvel = np.tile(model.qpos0, (1, 1)), np.zeros((1, model.nv))
    qpos[0, joint.qposadr[0]] = model.qpos0[joint.qposadr[0]] + (0.5 if read == "third" else 0.02)
    qvel[0, joint.dofadr[0]] = 0.3
    follow_ties(model, [joint.id], qpos, qvel)
    data.qpos[:], data.qvel[:] = qpos[0], qvel[0]
    mujoco.mj_forward(model, data)
    ties = data.efc_type == int(mujoco.mjtConstraint.mjCNSTR_EQUALITY)
    assert ties.sum() == 2 and np.abs(qpos[0] - model.qpos0).min() > 0.01
    assert data.efc_pos[ties] == pytest.approx([0, 0], abs=1e-8)
    assert data.efc_vel[ties] == pytest.approx([0, 0], abs=1e-8)


@pytest.mark.parametrize("read", ["left", "right"])
def test_one_finger_of_two_is_replayed(read: str) -> None:
    model = mujoco.MjModel.from_xml_string(TIED)
    log = recorded(model, read, "m")
    table = ParamSpace((scale("damping", "model.dof_damping", ("left",), (0.2, 5.0)),))
    problem = IdentifyProblem("grip", model, table, (log,))
    found = ReplaySimulator(problem, cut_windows((log,), 0.2))
    apart = found.predict(table.nominal[None])[0] - found.windows.readings
    assert np.sqrt(np.nanmean(apart**2)) < 0.05 * log.readings.std()


def test_pictures_show_the_finger_that_is_not_read_where_it_was() -> None:
    model = mujoco.MjModel.from_xml_string(TIED)
    images = np.zeros((2, 1, 1, 3), np.uint8)
    posed = PosedPictures(images, np.array([[0.0], [0.02]]), ("left",), ("a", "b"), "here")
    right = model.joint("right").qposadr[0]
    assert model_positions(posed, model)[:, right] == pytest.approx([0.0, 0.02 + 8 * 0.02**2])


def test_a_robot_whose_trunk_floats_is_refused_until_it_is_held() -> None:
    """The log is the same; a cube that floats beside the robot is nobody's trunk."""
    table = ParamSpace((scale("kp", "model.actuator_kp", ("servo",), (0.2, 5.0)),))
    models = [mujoco.MjModel.from_xml_string(FLOATING.format(equality=x)) for x in ("", HELD)]
    log = recorded(models[1], "servo", "rad")
    with pytest.raises(RecordingError, match=r"free joint of body 'trunk'.*hang the robot up"):
        task_problem("walk", models[0], table, np.ones(1, bool), [log])
    assert task_problem("walk", models[1], table, np.ones(1, bool), [log]).name == "walk"
    codes = [
        {(f.code, f.element, f.severity) for f in check_recordings([log], m).findings}
        for m in models
    ]
    assert ("floating robot", "trunk", "error") in codes[0]
    assert not {c for c in codes[1] if c[0] == "floating robot"}
    assert ("unread joint", "lift", "warning") in codes[1]
