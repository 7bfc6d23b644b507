"""A two-joint arm whose logs C MuJoCo writes, for the tests of readers and checks."""

from dataclasses import replace
from functools import cache

import mujoco
import numpy as np

from mjx_s2r.transfer.recording import Channel, Recording

RATE_HZ, SECONDS = 100, 12.0
STEP = 2 * np.pi / 4096  # of the encoders, rad
JOINTS = ("shoulder", "elbow")
ARM = """
<mujoco>
  <option timestep="0.002"/>
  <worldbody>
    <body name="upper">
      <joint name="shoulder" axis="0 1 0" range="-120 120" damping="0.3" frictionloss="0.05"/>
      <geom type="capsule" fromto="0 0 0 0 0 -0.3" size="0.02" mass="0.5"/>
      <body name="lower" pos="0 0 -0.3">
        <joint name="elbow" axis="0 1 0" range="-120 120" damping="0.2" frictionloss="0.05"/>
        <geom type="capsule" fromto="0 0 0 0 0 -0.2" size="0.02" mass="0.3"/>
      </body>
    </body>
  </worldbody>
  <actuator>
    <position name="shoulder" joint="shoulder" kp="40" kv="1" ctrlrange="-2 2"/>
    <position name="elbow" joint="elbow" kp="20" kv="0.5" ctrlrange="-2 2"/>
  </actuator>
  <sensor><actuatorfrc name="forces" actuator="shoulder"/></sensor>
</mujoco>
"""


@cache
def arm() -> mujoco.MjModel:
    """Returns the model."""
    return mujoco.MjModel.from_xml_string(ARM)


@cache
def arm_recording() -> Recording:
    """Returns 12 s of waves and rests: positions rounded to the encoder's step, noisy speeds."""
    model, noise = arm(), np.random.default_rng(0)
    data = mujoco.MjData(model)
    rows = int(RATE_HZ * SECONDS)
    time_s = np.arange(rows) / RATE_HZ
    moving = (time_s % 4) < 3
    commands = np.stack([0.8 * np.sin(2.1 * time_s), 0.6 * np.sin(3.7 * time_s + 1)], 1)
    for t in range(1, rows):
        commands[t] = commands[t] if moving[t] else commands[t - 1]
    positions, speeds = np.empty((rows, 2)), np.empty((rows, 2))
    for t in range(rows):
        positions[t], speeds[t] = data.qpos, data.qvel
        data.ctrl = commands[t]
        mujoco.mj_step(model, data, 5)
    channels = [Channel("joint_pos", j) for j in JOINTS]
    channels += [Channel("joint_vel", j, unit="rad/s") for j in JOINTS]
    readings = np.round(positions / STEP) * STEP, speeds + noise.normal(0, 0.02, speeds.shape)
    return Recording(
        name="arm.log",
        time_s=time_s,
        joints=JOINTS,
        mode="position",
        commands=commands,
        driven=np.ones(rows, bool),
        channels=tuple(channels),
        readings=np.concatenate(readings, 1),
    )


def with_readings(**changes: np.ndarray) -> Recording:
    """Returns the arm's recording with some channels replaced, by "pos_elbow" and the like."""
    record = arm_recording()
    readings = record.readings.copy()
    for c, channel in enumerate(record.channels):
        name = f"{channel.kind.removeprefix('joint_')}_{channel.element}"
        if name in changes:
            readings[:, c] = changes.pop(name)
    assert not changes
    return replace(record, readings=readings)


def reading(name: str) -> np.ndarray:
    """Returns (T,) one channel of the arm's recording, by "pos_elbow" and the like."""
    kind, _, joint = name.partition("_")
    record = arm_recording()
    return record.readings[:, record.channels.index(_channel(f"joint_{kind}", joint))]


def _channel(kind: str, joint: str) -> Channel:
    """Returns the arm's channel of that kind and joint."""
    return next(c for c in arm_recording().channels if (c.kind, c.element) == (kind, joint))
