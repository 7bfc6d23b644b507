"""A ball that spins and rolls on a floor beside a servo arm, and a row on all of theirs."""

import mujoco
import numpy as np

from mjx_s2r.params import Param, ParamSpace, add, scale, set_to

XML = """
<mujoco><option timestep="0.002" iterations="30" ls_iterations="20"/>
<worldbody>
  <geom name="floor" type="plane" size="2 2 1" condim="6" friction="0.6 0.02 0.01"/>
  <body name="ball" pos="0 0 0.099"><freejoint name="ball"/>
    <geom name="ball" size="0.1" mass="0.5" condim="6" friction="0.5 0.02 0.01"/></body>
  <body name="base" pos="0 1 0.2">
    <geom name="base" type="box" size="0.05 0.05 0.05" contype="0" conaffinity="0"/>
    <body name="upper" pos="0 0 0.1">
      <joint name="shoulder" axis="0 1 0" armature="0.02" damping="0.1" frictionloss="0.02"
             stiffness="0.3"/>
      <geom name="upper" type="capsule" fromto="0 0 0 0.3 0 0" size="0.03" mass="0.6" contype="0"
            conaffinity="0"/>
      <site name="mark" pos="0.1 0 0.03"/>
      <camera name="eye" pos="0.2 0 0.05"/>
      <body name="lower" pos="0.3 0 0">
        <joint name="elbow" axis="0 0.8 0.6" pos="0.02 0 0" armature="0.01" damping="0.05"/>
        <geom name="lower" type="box" pos="0.1 0 0.01" size="0.1 0.03 0.02" mass="0.4" contype="0"
              conaffinity="0"/>
      </body>
    </body>
  </body>
</worldbody>
<actuator>
  <position name="shoulder" joint="shoulder" kp="10" kv="0.4" forcerange="-3 3"/>
  <position name="elbow" joint="elbow" kp="5" kv="0.2" forcerange="-0.4 0.4"/>
</actuator></mujoco>
"""
CTRL = (0.5, -0.7)  # rad
QVEL = (0.4, 0.0, 0.0, 0.0, 3.0, 8.0, 0.5, -0.5)  # m/s and rad/s: the ball spins, the arm swings

BALL, FLOOR, BOTH = ("ball",), ("floor",), ("ball", "floor")
SHOULDER, ELBOW = ("shoulder",), ("elbow",)
SPACE = ParamSpace(
    (
        scale("slide", "model.geom_friction", BOTH, (0.5, 1.6), column=0),
        scale("torsion", "model.geom_friction", BOTH, (0.5, 3.0), column=1),
        scale("roll", "model.geom_friction", BOTH, (0.5, 3.0), column=2),
        scale("mass", "model.body_mass", ("lower",), (0.5, 2.0)),
        add("payload", "model.body_mass", ("lower",), (0, 0.3), unit="kg"),
        add("com", "model.body_ipos", ("lower",), (0, 0.04), column=0, unit="m"),
        scale("inertia", "model.body_inertia", ("lower",), (0.5, 4.0)),
        scale("shape", "model.body_shape", ("lower",), (0.5, 2.5), column=0),
        scale("damping", "model.dof_damping", ELBOW, (0.5, 4.0)),
        scale("friction", "model.dof_frictionloss", SHOULDER, (0.5, 6.0)),
        scale("stiffness", "model.jnt_stiffness", SHOULDER, (0.5, 8.0)),
        scale("armature", "model.dof_armature", ELBOW, (0.5, 2.0)),
        scale("softness", "model.geom_solref", BOTH, (0.5, 3.0), column=0),
        set_to("impedance", "model.geom_solimp", BOTH, (0.4, 0.9), nominal=0.9, column=0),
        set_to("restitution", "model.geom_restitution", BOTH, (0, 0.6)),
        scale("gravity", "model.gravity", (), (0.5, 1.5), column=2),
        add("tilt_x", "model.gravity_tilt", (), (0, 0.2), column=0, unit="rad"),
        add("tilt_y", "model.gravity_tilt", (), (0, 0.2), column=1, unit="rad"),
        scale("length", "model.link_length", ("upper",), (0.8, 1.3)),
        scale("size", "model.geom_size", BALL, (0.8, 1.02)),
        add("ground", "model.geom_pos", FLOOR, (-0.01, 0.002), column=2, unit="m"),
        add("slope", "model.geom_tilt", FLOOR, (0, 0.01), column=1, unit="rad"),
        add("zero", "model.qpos0", ELBOW, (0, 0.2), unit="rad"),
        scale("kp", "model.actuator_kp", SHOULDER, (0.5, 2.0)),
        scale("kd", "model.actuator_kd", SHOULDER, (0.5, 3.0)),
        scale("strength", "model.actuator_strength", ELBOW, (0.5, 1.5)),
        scale("limit", "model.actuator_force_limit", ELBOW, (0.5, 1.5)),
        add("place", "model.body_pos", ("lower",), (0, 0.05), column=2, unit="m"),
        add("mounting", "model.body_tilt", ("base",), (0, 0.3), column=1, unit="rad"),
    )
)


def load() -> mujoco.MjModel:
    """Returns a fresh copy of the model."""
    return mujoco.MjModel.from_xml_string(XML)


def one_by_one(space: ParamSpace = SPACE) -> np.ndarray:
    """Returns (D + 1, D): the nominal xi, then one world per row with that row at its far limit."""
    xi = np.tile(space.nominal, (len(space) + 1, 1))
    low, high = space.limits
    far = np.where(high - space.nominal >= space.nominal - low, high, low)
    xi[1:][np.eye(len(space), dtype=bool)] = far
    return xi


def only(row: Param) -> ParamSpace:
    """Returns the table of one row."""
    return ParamSpace((row,))
