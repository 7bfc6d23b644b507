"""Small models that reach every branch of the recomputed constants, and tables that move them."""

from collections.abc import Callable
from functools import cache

import jax
import mujoco
import numpy as np

from mjx_s2r.params import Param, ParamSpace
from mjx_s2r.sim import physics
from mjx_s2r.sim.model import leaves
from mjx_s2r.sim.physics import Leaves

FREE = """
<mujoco><option timestep="0.002"/><worldbody>
  <body name="link1" pos="0 0 1"><freejoint name="root"/>
    <geom name="box" type="box" size="0.1 0.2 0.3" mass="2"/>
    <body name="link2" pos="0.1 0 0.3">
      <joint name="hinge" axis="0 1 0" armature="0.02" damping="0.1"/>
      <geom name="arm" type="capsule" fromto="0 0 0 0.3 0.1 0.2" size="0.04" mass="0.7"/>
    </body>
  </body>
</worldbody><actuator><motor name="hinge" joint="hinge"/></actuator></mujoco>
"""

TENDON = """
<mujoco><option timestep="0.002"/><worldbody>
  <body name="base"><geom name="base" size="0.05" mass="1"/>
    <body name="link1" pos="0 0 0.1">
      <joint name="shoulder" axis="0 1 0" armature="0.05" damping="0.2"/>
      <geom name="upper" type="capsule" fromto="0 0 0 0.3 0 0" size="0.03" mass="0.8"/>
      <body name="link2" pos="0.3 0 0">
        <joint name="elbow" axis="0 0 1" armature="0.01" frictionloss="0.01"/>
        <geom name="lower" type="box" pos="0.1 0 0.02" size="0.1 0.03 0.02" mass="0.4"/>
      </body>
    </body>
  </body>
</worldbody>
<tendon><fixed name="pull" damping="0.1">
  <joint joint="shoulder" coef="0.5"/><joint joint="elbow" coef="-1"/>
</fixed></tendon>
<actuator><position name="shoulder" joint="shoulder" kp="20" kv="1" forcerange="-3 3"/>
  <position name="elbow" joint="elbow" kp="10" kv="0.5" forcerange="-2 2"/></actuator></mujoco>
"""

SLIDES = """
<mujoco><option timestep="0.002"/><worldbody>
  <body name="link1"><joint name="x" type="slide" axis="1 0 0" range="-1 1" limited="true"/>
    <geom name="x" type="box" size="0.1 0.1 0.1" mass="1"/>
    <body name="link2" pos="0 0 0.2"><joint name="y" type="slide" axis="0.6 0.8 0" armature="0.1"/>
      <geom name="y" size="0.05" mass="0.5"/>
      <body name="welded" pos="0.1 0 0"><geom name="welded" size="0.04" mass="0.2"/></body>
    </body>
  </body>
</worldbody><actuator><motor name="x" joint="x" gear="5"/></actuator></mujoco>
"""

BALL = """
<mujoco><option timestep="0.002"/><worldbody>
  <body name="link1" pos="0 0 1"><joint name="ball" type="ball" armature="0.01" damping="0.05"/>
    <geom name="first" type="capsule" fromto="0 0 0 0 0.1 -0.4" size="0.05" mass="0.9"/>
    <body name="link2" pos="0 0.1 -0.4"><joint name="swing" type="ball"/>
      <geom name="second" type="box" pos="0 0 -0.2" size="0.03 0.05 0.2" mass="0.5"/>
    </body>
  </body>
</worldbody></mujoco>
"""

XML = {"free": FREE, "tendon": TENDON, "slides": SLIDES, "ball": BALL}

SPACE = ParamSpace(
    (
        Param("mass", "model.body_mass", ("link1",), limits=(0.5, 2.0)),
        Param(
            "payload", "model.body_mass", ("link2",), None, "add", 0.0, (0, 0), (0, 0.5), unit="kg"
        ),
        Param("com", "model.body_ipos", ("link1",), 0, "add", 0.0, (0, 0), (-0.05, 0.05), unit="m"),
        Param(
            "far_com", "model.body_ipos", ("link2",), 1, "add", 0.0, (0, 0), (-0.1, 0.1), unit="m"
        ),
        Param("inertia", "model.body_inertia", ("link2",), limits=(0.8, 1.5)),
        Param("armature", "model.dof_armature", ("*",), None, "add", 0.0, (0, 0), (0, 0.1)),
        Param("damping", "model.dof_damping", ("*",), None, "add", 0.0, (0, 0), (0, 1.0)),
        Param("gravity", "model.gravity", (), 2, limits=(0.5, 1.5)),
    )
)


def load(name: str) -> mujoco.MjModel:
    """Returns a fresh copy of the model called ``name``."""
    return mujoco.MjModel.from_xml_string(XML[name])


def draws(n: int, seed: int = 0) -> np.ndarray:
    """Returns (n, D) draws of `SPACE` from all of its limits."""
    unit = np.random.default_rng(seed).uniform(size=(n, len(SPACE))).astype(np.float32)
    return SPACE.sample(np, unit, *SPACE.limits)


@cache
def batch_of_leaves(name: str) -> tuple[Callable[[np.ndarray], Leaves], list[str]]:
    """Returns the compiled leaves of a batch of worlds and a list that grows by every trace."""
    mj_model = load(name)
    engine, binding = physics.put_model(mj_model), leaves.bind_model(SPACE, mj_model)
    traces: list[str] = []

    def one(xi: jax.Array) -> Leaves:
        traces.append(name)
        return leaves.leaves(engine, binding, xi)

    return jax.jit(jax.vmap(one)), traces
