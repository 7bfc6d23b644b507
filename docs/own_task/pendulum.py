"""A pendulum that swings up: a task of one's own in one file. The text is in docs/own_task.md."""

import jax
import jax.numpy as jnp
import mujoco
from mujoco import mjx

from mjx_s2r.contract import PolicyContract, Signal
from mjx_s2r.envs.registry import register
from mjx_s2r.learn.ppo.config import PPOConfig
from mjx_s2r.params import ParamSpace, add, scale, set_to
from mjx_s2r.sim.model.model_contract import action_of
from mjx_s2r.sim.task import InitialState, StepResult
from mjx_s2r.sim.task_defaults import TaskDefaults

# 1. The model. Upright is 0 rad; the motor is too weak to lift the pole in one go.
XML = """
<mujoco model="pendulum">
  <option timestep="0.01"/>
  <worldbody>
    <light pos="0 -1 2" dir="0 0.4 -1"/>
    <camera name="front" pos="0 -1.6 0.6" xyaxes="1 0 0 0 0 1"/>
    <geom name="floor" type="plane" size="2 2 0.1" rgba="0.8 0.8 0.8 1"/>
    <geom name="post" type="capsule" fromto="0 0.06 0 0 0.06 0.6" size="0.02" rgba="0.3 0.3 0.3 1"/>
    <body name="pole" pos="0 0 0.6">
      <joint name="hinge" axis="0 1 0" damping="0.002"/>
      <geom name="rod" type="capsule" fromto="0 0 0 0 0 0.35" size="0.012" mass="0.05"
            rgba="0.2 0.4 0.8 1"/>
      <geom name="bob" type="sphere" pos="0 0 0.35" size="0.035" mass="0.15" rgba="0.9 0.5 0.1 1"/>
    </body>
  </worldbody>
  <actuator><motor name="hinge" joint="hinge" ctrlrange="-0.35 0.35"/></actuator>
</mujoco>
"""
MODEL = mujoco.MjModel.from_xml_string(XML)

# 2. The table: what may differ between this model and the thing on the bench, and how far.
BENCH = "weighed and measured on a kitchen scale, within a third"
MOTOR = "a small geared motor: supply voltage, wear"
SPACE = ParamSpace(
    (
        scale("mass", "model.body_mass", ("pole",), (0.7, 1.4), law="log_uniform", source=BENCH),
        scale("length", "model.link_length", ("pole",), (0.8, 1.25), source=BENCH),
        add("damping", "model.dof_damping", ("hinge",), (0, 0.006), unit="N m s/rad", source=MOTOR),
        scale("strength", "model.actuator_strength", ("hinge",), (0.8, 1.2), source=MOTOR),
        set_to("speed_noise", "sensor.noise", ("speed",), (0, 0.2), unit="rad/s", source="encoder"),
        set_to("delay", "actuator.delay_s", (), (0, 0.02), unit="s", source="one bus cycle"),
    )
)

# 3. The contract: what the policy reads and writes. It travels inside the exported file.
CONTRACT = PolicyContract(
    task="pendulum",
    control_hz=50.0,
    signals=(
        Signal("angle", 2, "1", low=-1.01, high=1.01),  # cosine and sine
        Signal("speed", 1, "rad/s", scale=0.1, low=-60.0, high=60.0),
    ),
    action=action_of(MODEL, control_hz=50.0),  # the model's motor: N m, as far as its ctrlrange
)


# 4. The task: how an episode begins, what is read, and what is wanted.
class Pendulum(TaskDefaults):
    """See `mjx_s2r.sim.task.Task` for what each part means; what is not here is usual."""

    mj_model = MODEL
    space = SPACE
    contract = CONTRACT
    hold_s = 1.0

    def reset(self, *, key: jax.Array) -> InitialState:
        """Lets the pole hang at any angle near down, all but still."""
        key_pos, key_vel = jax.random.split(key)
        qpos = jnp.pi + 0.3 * jax.random.normal(key_pos, (1,))
        return InitialState(qpos, 0.1 * jax.random.normal(key_vel, (1,)))

    def signals(self, data: mjx.Data) -> dict[str, jax.Array]:
        """Cosine and sine of the angle, and the speed."""
        angle = data.qpos[0]
        return {"angle": jnp.stack((jnp.cos(angle), jnp.sin(angle))), "speed": data.qvel}

    def label(self, data: mjx.Data) -> jax.Array:
        """Where the pole's tip is, m: (3,)."""
        return data.geom_xpos[-1]

    def reward(self, data: mjx.Data, action: jax.Array) -> StepResult:
        """Rewards an upright, slow pole and little effort, between 0 and 1 a step."""
        upright = (jnp.cos(data.qpos[0]) + 1) / 2
        slow = jnp.exp(-0.05 * data.qvel[0] ** 2)
        reward = upright * (0.7 + 0.2 * slow + 0.1 * (1 - action[0] ** 2))
        on_goal = (jnp.cos(data.qpos[0]) > 0.95) & (jnp.abs(data.qvel[0]) < 1.0)
        return StepResult(reward, on_goal)


# 5. The name and the settings to train it with: an actor that reads what the robot has.
register("pendulum", Pendulum, ppo=PPOConfig(actor_obs="state"), iterations=100)
