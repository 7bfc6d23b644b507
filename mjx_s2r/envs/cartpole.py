"""Cartpole swing-up: bring a hanging pole upright by pushing its cart, and keep it there.

Model and reward follow the task of that name in the dm_control suite (Tassa et al. 2018): 1,000
steps of 0.01 s, reward in [0, 1] a step, so a return counts on a scale of 1,000.
"""

from dataclasses import dataclass, field
from pathlib import Path

import jax
import jax.numpy as jnp
import mujoco
from mujoco import mjx

from mjx_s2r.contract import ActionSpec, CameraSignal, PolicyContract, Signal
from mjx_s2r.envs.registry import register
from mjx_s2r.learn.distill.config import DistillConfig
from mjx_s2r.learn.ppo.config import PPOConfig
from mjx_s2r.params import ParamSpace, add, scale, set_to
from mjx_s2r.sim.task import InitialState, StepResult

CART, POLE, HINGE, LOG = ("slider",), ("pole",), ("hinge",), "log_uniform"

# Where the limits come from: nobody owns this robot, so they are what a bench of its size may have.
BENCH = "a bench of this size: parts weighed and measured to a third, a rail levelled by eye"
MOTOR = "belt drive: supply voltage, wear, DeXtreme's effort range (Handa et al. 2022)"
BUS = "up to three control steps; encoder speeds differenced at 100 Hz"

SPACE = ParamSpace(
    (
        scale("cart_mass", "model.body_mass", ("cart",), (0.6, 1.6), law=LOG, source=BENCH),
        scale("pole_mass", "model.body_mass", POLE, (0.6, 1.6), law=LOG, source=BENCH),
        scale("pole_length", "model.link_length", POLE, (0.75, 1.33), law=LOG, source=BENCH),
        add("pole_com", "model.body_ipos", POLE, (-0.1, 0.1), column=2, unit="m", source=BENCH),
        add("cart_damping", "model.dof_damping", CART, (0, 0.5), unit="N s/m", source=BENCH),
        add("pole_damping", "model.dof_damping", HINGE, (0, 0.02), unit="N m s/rad", source=BENCH),
        scale("gravity", "model.gravity", (), (0.9, 1.1), column=2, source=BENCH),
        add("slope", "model.gravity_tilt", (), (-0.05, 0.05), column=1, unit="rad", source=BENCH),
        set_to("push", "world.push", POLE, (0, 1.0), unit="N", source="the weight of the pole"),
        scale("strength", "model.actuator_strength", CART, (0.7, 1.3), source=MOTOR),
        set_to("action_noise", "actuator.noise", CART, (0, 0.1), source=MOTOR),
        set_to("action_delay", "actuator.delay_s", (), (0, 0.03), unit="s", source=BUS),
        set_to("speed_noise", "sensor.noise", ("speeds",), (0, 0.2), unit="rad/s", source=BUS),
        set_to("sensor_delay", "sensor.delay_s", (), (0, 0.02), unit="s", source=BUS),
    )
)

CONTRACT = PolicyContract(
    task="cartpole",
    control_hz=100.0,
    signals=(
        Signal("position", 1, "m", 1.0, (0.0,), -2.5, 2.5),
        Signal("angle", 2, "1", 1.0, (0.0,), -1.01, 1.01),
        Signal("speeds", 2, "m/s, rad/s", 0.2, (0.0,), -60.0, 60.0),
    ),
    action=ActionSpec(
        joints=("slider",),
        mode="effort",
        unit="1",
        scale=(1.0,),
        home=(0.0,),
        low=(-1.0,),
        high=(1.0,),
        max_rate=(float("inf"),),
        max_effort=(1.0,),
        kp=(0.0,),
        kd=(0.0,),
    ),
    cameras=(CameraSignal("fixed", 64, 64, 50.0),),
)


def tolerance(x: jax.Array, margin: float, at_margin: float = 0.1) -> jax.Array:
    """Returns 1 at x = 0, falling as a Gaussian to ``at_margin`` at ``margin`` (dm_control)."""
    return jnp.exp(jnp.log(at_margin) * (x / margin) ** 2)


@dataclass(frozen=True)
class Cartpole:
    """The task. See `mjx_s2r.sim.task.Task` for what each part means."""

    name: str = "cartpole"
    substeps: int = 1
    episode_s: float = 10.0
    hold_s: float = 2.0
    ends_on_success: bool = False
    success_reward: float = 0.0
    space: ParamSpace = SPACE
    contract: PolicyContract = CONTRACT
    mj_model: mujoco.MjModel = field(
        default_factory=lambda: mujoco.MjModel.from_xml_path(
            str(Path(__file__).parent / "assets" / "cartpole.xml")
        )
    )

    def reset(self, *, key: jax.Array) -> InitialState:
        """Hangs the pole down, all but still."""
        key_pos, key_vel = jax.random.split(key)
        qpos = jnp.array((0.0, jnp.pi)) + 0.01 * jax.random.normal(key_pos, (2,))
        return InitialState(qpos, 0.01 * jax.random.normal(key_vel, (2,)))

    def signals(self, data: mjx.Data) -> dict[str, jax.Array]:
        """Cart position, cosine and sine of the pole's angle, both speeds."""
        angle = data.qpos[1]
        return {
            "position": data.qpos[:1],
            "angle": jnp.stack((jnp.cos(angle), jnp.sin(angle))),
            "speeds": data.qvel,
        }

    def label(self, data: mjx.Data) -> jax.Array:
        """Where the middle of the pole is, m: (3,)."""
        return data.geom_xpos[-1]

    def privileged(self, data: mjx.Data) -> jax.Array:
        """Nothing that the signals do not hold: (0,)."""
        return jnp.zeros((0,))

    def reward(self, data: mjx.Data, action: jax.Array) -> StepResult:
        """Rewards an upright pole on a centred cart, little control and little speed."""
        upright = (jnp.cos(data.qpos[1]) + 1) / 2
        centred = (1 + tolerance(data.qpos[0], 2.0)) / 2
        gentle = (4 + jnp.maximum(0.0, 1 - action[0] ** 2)) / 5
        slow = (1 + tolerance(data.qvel[1], 5.0)) / 2
        on_goal = jnp.cos(data.qpos[1]) > 0.95
        return StepResult(upright * centred * gentle * slow, on_goal)


register(
    "cartpole",
    Cartpole,
    ppo=PPOConfig(
        num_envs=512,
        num_steps=32,
        num_minibatches=8,
        gamma=0.995,
        entropy_coef=0.01,
        init_std=1.0,
    ),
    iterations=400,
    distill=DistillConfig(num_steps=16),
    study_iterations=240,
)
