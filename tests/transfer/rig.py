"""A servo on a pendulum in plain C MuJoCo: what identification is tested against."""

import mujoco
import numpy as np

from mjx_s2r.transfer.recording import Channel, Recording

XML = """
<mujoco>
  <option timestep="0.002" integrator="implicitfast"><flag contact="disable"/></option>
  <worldbody>
    <body name="rod">
      <joint name="servo" type="hinge" axis="0 -1 0" damping="{damping}"
        frictionloss="{friction}" armature="{armature}"/>
      <geom type="capsule" size=".004" fromto="0 0 0 0 0 -.1" mass="0.02"/>
      <body name="bob" pos="0 0 -.1"><geom type="sphere" size=".02" mass="{mass}"/></body>
    </body>
  </worldbody>
  <actuator>
    <general name="servo" joint="servo" gainprm="{kp}" biastype="affine" biasprm="0 -{kp} -{kd}"
      forcerange="-{limit} {limit}" dyntype="{filter}" dynprm="{lag}"/>
  </actuator>
  <sensor><jointactuatorfrc name="torque" joint="servo"/></sensor>
</mujoco>
"""
WRITTEN = {
    "damping": 0.02,
    "friction": 0.02,
    "armature": 0.004,
    "mass": 0.5,
    "kp": 6.0,
    "kd": 0.05,
    "limit": 3.0,
    "filter": "none",
    "lag": 0.0,
}


def pendulum(**changed: object) -> mujoco.MjModel:
    """Returns the pendulum with other numbers than `WRITTEN`."""
    return mujoco.MjModel.from_xml_string(XML.format(**{**WRITTEN, **changed}))


def wave(seconds: float, hz: float = 50.0, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Returns times (T,) and commands (T, 1): a sum of sines with steps on it."""
    time_s = np.arange(round(seconds * hz)) / hz
    rng = np.random.default_rng(seed)
    out = np.zeros(len(time_s))
    for f, phase in zip((0.3, 0.7, 1.3, 2.3), rng.uniform(0, 2 * np.pi, 4), strict=True):
        out += 0.3 * np.sin(2 * np.pi * f * time_s + phase)
    return time_s, (out + 0.3 * np.sign(np.sin(2 * np.pi * 0.4 * time_s)))[:, None]


def record(
    model: mujoco.MjModel,
    time_s: np.ndarray,
    commands: np.ndarray,
    *,
    delay_s: float = 0.0,
    quantum: float = 0.0,
    finer: int = 1,
    released: np.ndarray | None = None,
    name: str = "log",
    seed: int | None = None,
    **more: object,
) -> Recording:
    """Returns what a robot with this model does; stepped one by one, as a robot is not simulated.

    Args:
        model: of the robot.
        time_s: (T,) times of commands and readings.
        commands: (T, 1) what is sent.
        delay_s: after which a command acts.
        quantum: step of the encoder, rad; with noise of half of it where there is a seed.
        finer: how many physics steps the robot makes in one of the model's.
        released: (T,) True where the actuator is off.
        name: of the recording.
        seed: of the noise; None for none.
        more: further fields of the recording.
    """
    model.opt.timestep = 0.002 / finer
    data, dt = mujoco.MjData(model), 0.002 / finer
    strength = model.actuator_gainprm[0, 0], model.actuator_biasprm[0, 1:3].copy()
    arrives = time_s + delay_s
    data.ctrl[0] = commands[0, 0]
    if model.na:
        data.act[0] = commands[0, 0]
    rows, step = np.zeros((len(time_s), 2)), 0
    off = np.zeros(len(time_s), bool) if released is None else released
    for t, at in enumerate(time_s):
        while step * dt < at - 1e-9:
            now = int(np.searchsorted(arrives, step * dt + 1e-9, side="right")) - 1
            data.ctrl[0] = commands[max(now, 0), 0]
            mujoco.mj_step(model, data)
            step += 1
        rows[t] = data.qpos[0], data.qvel[0]
        model.actuator_gainprm[0, 0] = 0.0 if off[t] else strength[0]
        model.actuator_biasprm[0, 1:3] = 0.0 if off[t] else strength[1]
    model.actuator_gainprm[0, 0], model.actuator_biasprm[0, 1:3] = strength
    if seed is not None:
        rows[:, 0] += 0.5 * quantum * np.random.default_rng(seed).standard_normal(len(rows))
    if quantum:
        rows[:, 0] = quantum * np.round(rows[:, 0] / quantum)
    model.opt.timestep = 0.002
    return Recording(
        name=name,
        time_s=time_s,
        joints=("servo",),
        mode="position",
        commands=commands,
        driven=~off,
        channels=(Channel("joint_pos", "servo"),),
        readings=rows[:, :1],
        **more,  # type: ignore[arg-type]
    )
