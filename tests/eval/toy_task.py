"""A two-joint arm that must bring its tip to a ball; small, and it reads a bit of everything."""

from dataclasses import dataclass, field

import jax
import jax.numpy as jnp
import mujoco
from mujoco import mjx

from mjx_s2r.contract import ActionSpec, PolicyContract, Signal
from mjx_s2r.params import ParamSpace, scale, set_to
from mjx_s2r.sim.task import InitialState, StepResult

XML = """
<mujoco model="toy">
  <compiler angle="radian"/>
  <option timestep="0.01"><flag contact="disable"/></option>
  <size nuserdata="1"/>
  <worldbody>
    <light name="sun" pos="0 0 2"/>
    <camera name="eye" pos="0 -1 0.5" xyaxes="1 0 0 0 0 1"/>
    <body name="ball" mocap="true" pos="0.3 0 0.3"><geom name="ball" size="0.03"/></body>
    <body name="upper" pos="0 0 0.5">
      <joint name="a" axis="0 1 0" damping="0.1" range="-2 2" limited="true"/>
      <geom name="upper" type="capsule" fromto="0 0 0 0.2 0 0" size="0.02" mass="0.2"/>
      <body name="fore" pos="0.2 0 0">
        <joint name="b" axis="0 1 0" damping="0.1" range="-2 2" limited="true"/>
        <geom type="capsule" fromto="0 0 0 0.2 0 0" size="0.02" mass="0.1"/>
        <site name="tip" pos="0.2 0 0"/>
      </body>
    </body>
  </worldbody>
  <actuator>
    <position name="a" joint="a" kp="8" kv="0.5" forcerange="-5 5"/>
    <position name="b" joint="b" kp="8" kv="0.5" forcerange="-5 5"/>
  </actuator>
</mujoco>
"""
SPACE = ParamSpace(
    (
        scale("mass", "model.body_mass", ("fore",), (0.5, 2.0)),
        scale("kp", "model.actuator_kp", ("*",), (0.5, 1.5)),
        set_to("delay", "actuator.delay_s", (), (0, 0.1), unit="s"),
        set_to("adversary", "actuator.adversary", (), (0, 0.1)),
        set_to("noise", "sensor.noise", ("joint_pos",), (0, 0.2), unit="rad"),
        set_to("late", "sensor.delay_s", (), (0, 0.1), unit="s"),
        set_to("push", "world.push", ("fore",), (0, 5.0), unit="N"),
        set_to("push_rate", "world.push_rate_hz", (), (0.1, 20.0), nominal=1.0, unit="Hz"),
        set_to("hue", "visual.hue", (), (0, 0.1), unit="rad"),
    )
)
NEAR_M = 0.1


@dataclass(frozen=True)
class ToyArm:
    """See `mjx_s2r.sim.task.Task` for what each part means."""

    name: str = "toy_arm"
    substeps: int = 2
    episode_s: float = 1.0
    hold_s: float = 0.2
    ends_on_success: bool = True
    success_reward: float = 0.0
    space: ParamSpace = SPACE
    mj_model: mujoco.MjModel = field(default_factory=lambda: mujoco.MjModel.from_xml_string(XML))

    @property
    def contract(self) -> PolicyContract:
        """Returns what the policy reads and writes."""
        signals = (
            Signal("joint_pos", 2, "rad"),
            Signal("tip", 3, "m"),
            Signal("ball", 3, "m"),
            Signal("steps", 1, "1"),
            Signal("command", 2, "rad"),
        )
        action = ActionSpec(
            joints=("a", "b"),
            mode="delta_position",
            unit="rad",
            scale=(0.1, 0.1),
            home=(0.0, 0.0),
            low=(-1.9, -1.9),
            high=(1.9, 1.9),
            max_rate=(10.0, 10.0),
            max_effort=(5.0, 5.0),
        )
        return PolicyContract("toy_arm", 50.0, signals, action)

    def reset(self, *, key: jax.Array) -> InitialState:
        """Hangs the arm anywhere near level, and the ball anywhere near its reach."""
        one, two = jax.random.split(key)
        ball = jnp.array((0.3, 0.0, 0.3)) + 0.05 * jax.random.normal(two, (3,))
        qpos = 0.3 * jax.random.uniform(one, (2,), minval=-1.0)
        return InitialState(qpos, mocap_pos=ball[None], memory=jnp.array((10.0,)))

    def signals(self, data: mjx.Data) -> dict[str, jax.Array]:
        """Joint angles, rad; tip and ball, m; steps so far and ten."""
        tip = data.site_xpos[self.mj_model.site("tip").id]
        steps = data.userdata
        return {
            "joint_pos": data.qpos,
            "tip": tip,
            "ball": data.mocap_pos[0],
            "steps": steps,
        }

    def privileged(self, data: mjx.Data) -> jax.Array:
        """Nothing: (0,)."""
        return jnp.zeros((0,))

    def label(self, data: mjx.Data) -> jax.Array:
        """Where the ball is, m: (3,)."""
        return data.mocap_pos[0]

    def reward(self, data: mjx.Data, action: jax.Array) -> StepResult:
        """Pays for nearness; all is lost where the forearm is far down."""
        tip = data.site_xpos[self.mj_model.site("tip").id]
        apart = jnp.linalg.norm(tip - data.mocap_pos[0])
        low = data.xpos[self.mj_model.body("fore").id, 2] < 0.32
        return StepResult(-apart, apart < NEAR_M, low, data.userdata + 1)
