"""A level pole that its servo must hold, and that sags by its weight over the servo's stiffness."""

import jax
import jax.numpy as jnp
import mujoco
from mujoco import mjx

from mjx_s2r.contract import PolicyContract, Signal
from mjx_s2r.params import ParamSpace, scale, set_to
from mjx_s2r.sim.model.model_contract import action_of
from mjx_s2r.sim.task import InitialState, StepResult
from mjx_s2r.sim.task_defaults import TaskDefaults

KP, TORQUE, GOAL, START = 40.0, 3.0, 0.15, 0.3  # N m/rad; N m of the weight; rad; rad
MODEL = mujoco.MjModel.from_xml_string(f"""
<mujoco model="held_pole">
  <compiler angle="radian"/>
  <option timestep="0.01"><flag contact="disable"/></option>
  <worldbody>
    <body name="pole" pos="0 0 0.5">
      <joint name="hinge" axis="0 1 0" armature="0.02" range="-1.5 1.5" limited="true"/>
      <geom size="0.02" pos="0.2 0 0" mass="{TORQUE / 9.81 / 0.2}"/>
    </body>
  </worldbody>
  <actuator>
    <position name="hinge" joint="hinge" kp="{KP}" kv="1" forcerange="-20 20"/>
  </actuator>
</mujoco>
""")
CONTRACT = PolicyContract(
    "held_pole",
    50.0,
    (Signal("joint_pos", 1, "rad"),),
    action_of(MODEL, control_hz=50.0, scale=0.002, home=0.0, max_rate=10.0),
)


class HeldPole(TaskDefaults):
    """See `mjx_s2r.sim.task.Task` for what each part means."""

    mj_model, contract = MODEL, CONTRACT
    space = ParamSpace(
        (
            scale("kp", "model.actuator_kp", ("*",), (0.05, 1.5)),
            scale("mass", "model.body_mass", ("pole",), (0.5, 2.0)),
            set_to("delay", "actuator.delay_s", (), (0, 0.06), unit="s"),
        )
    )
    episode_s, hold_s = 1.0, 0.5

    def reset(self, *, key: jax.Array) -> InitialState:
        """Begins anywhere near level, at rest."""
        return InitialState(jax.random.uniform(key, (1,), minval=-START, maxval=START))

    def signals(self, data: mjx.Data) -> dict[str, jax.Array]:
        """The angle, rad."""
        return {"joint_pos": data.qpos}

    def label(self, data: mjx.Data) -> jax.Array:
        """The angle, rad: (1,)."""
        return data.qpos

    def reward(self, data: mjx.Data, action: jax.Array) -> StepResult:
        """Pays for being level."""
        apart = jnp.abs(data.qpos[0])
        return StepResult(-apart, apart < GOAL)
