"""A block on a rail, pushed by a force: the smallest task that has every part of one."""

from dataclasses import dataclass, field

import jax
import jax.numpy as jnp
import mujoco
from mujoco import mjx

from mjx_s2r.contract import ActionSpec, PolicyContract, Signal
from mjx_s2r.params import Param, ParamSpace
from mjx_s2r.sim.task import InitialState, StepResult

XML = """
<mujoco><option timestep="0.01" gravity="0 0 0"/><worldbody>
  <body name="block">
    <joint name="rail" type="slide" axis="1 0 0"/><geom name="block" size="0.1" mass="1"/>
  </body>
</worldbody><actuator><motor name="rail" joint="rail"/></actuator></mujoco>
"""

SPACE = ParamSpace(
    (
        Param(
            "mass",
            "model.body_mass",
            ("block",),
            None,
            "scale",
            1.0,
            (0.5, 2),
            (0.25, 4),
            "log_uniform",
        ),
        Param("delay", "actuator.delay_s", (), None, "set", 0.0, (0, 0), (0, 0.04), unit="s"),
        Param("noise", "sensor.noise", ("position",), None, "set", 0.0, (0, 0), (0, 0.1), unit="m"),
        Param("look", "visual.brightness", limits=(0.5, 2)),
    )
)

CONTRACT = PolicyContract(
    task="toy",
    control_hz=50.0,
    signals=(Signal("position", 1, "m"), Signal("speed", 1, "m/s", 0.5), Signal("command", 1, "N")),
    action=ActionSpec(
        ("rail",), "effort", "N", (2.0,), (0.0,), (-2.0,), (2.0,), (jnp.inf,), (2.0,)
    ),
)


@dataclass(frozen=True)
class Toy:
    """See `mjx_s2r.sim.task.Task`: right of 1 m is the goal, left of -1 m is failure."""

    name: str = "toy"
    substeps: int = 2
    episode_s: float = 0.2  # 10 control steps
    hold_s: float = 0.06  # 3 control steps
    ends_on_success: bool = False
    success_reward: float = 7.0
    space: ParamSpace = SPACE
    contract: PolicyContract = CONTRACT
    mj_model: mujoco.MjModel = field(default_factory=lambda: mujoco.MjModel.from_xml_string(XML))

    def reset(self, *, key: jax.Array) -> InitialState:
        """Puts the block near the middle, at rest."""
        qpos = 0.1 * jax.random.uniform(key, (1,), minval=-1.0)
        return InitialState(qpos)

    def signals(self, data: mjx.Data) -> dict[str, jax.Array]:
        """Position and speed."""
        return {"position": data.qpos, "speed": data.qvel}

    def privileged(self, data: mjx.Data) -> jax.Array:
        """Where the block is in the world: (3,)."""
        return data.xpos[1]

    def label(self, data: mjx.Data) -> jax.Array:
        """Where the block is in the world: (3,)."""
        return data.xpos[1]

    def reward(self, data: mjx.Data, action: jax.Array) -> StepResult:
        """Rewards the action itself, so that sums are known."""
        x = data.qpos[0]
        return StepResult(action[0], x > 1.0, x < -1.0)
