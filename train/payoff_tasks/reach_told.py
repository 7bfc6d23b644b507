"""Reach by a policy that is told where the cube is, as a tracker on the robot would tell it.

Arm, table of parameters and start are those of `reach`. The contract has no camera, and the cube's
place among the signals: so a teacher reads what a robot has, is exported itself, and the difference
between two of them is that of the physics they were trained in. The goal is twice as small and the
time half as long, because with those of `reach` a policy copes with any arm by taking its time.
"""

from dataclasses import dataclass, field, replace

import jax
import jax.numpy as jnp
import mujoco
from mujoco import mjx

from mjx_s2r.contract import PolicyContract, Signal
from mjx_s2r.envs.reach import SPACE, Reach
from mjx_s2r.envs.registry import register
from mjx_s2r.learn.ppo.config import PPOConfig
from mjx_s2r.params import ParamSpace
from mjx_s2r.sim.task import InitialState, StepResult

CUBE = Signal("cube", 3, "m", 0.1, (0.2, 0.0, 0.02), -0.5, 0.5)
TOLERANCE = 0.01  # m
FELT = ParamSpace(tuple(row for row in SPACE.rows if row.group != "visual"))


@dataclass(frozen=True)
class ToldReach:
    """The task. See `mjx_s2r.sim.task.Task` for what each part means.

    Attributes:
        arm: the task that it is but for its contract and its looks.
    """

    arm: Reach = field(default_factory=Reach)
    name: str = "reach_told"
    substeps: int = Reach.substeps
    episode_s: float = 2.0
    hold_s: float = Reach.hold_s
    ends_on_success: bool = Reach.ends_on_success
    success_reward: float = Reach.success_reward
    space: ParamSpace = FELT

    @property
    def mj_model(self) -> mujoco.MjModel:
        """Returns the arm's model."""
        return self.arm.mj_model

    @property
    def contract(self) -> PolicyContract:
        """Returns the arm's contract with the cube's place instead of a camera."""
        told = self.arm.contract
        return replace(told, task=self.name, signals=(*told.signals, CUBE), cameras=())

    def reset(self, *, key: jax.Array) -> InitialState:
        """Puts arm and cube where `Reach` does."""
        return self.arm.reset(key=key)

    def signals(self, data: mjx.Data) -> dict[str, jax.Array]:
        """Joint angles and speeds, rad and rad/s, and where the cube is, m."""
        return self.arm.signals(data) | {"cube": self.arm.label(data)}

    def label(self, data: mjx.Data) -> jax.Array:
        """Where the cube is, m: (3,)."""
        return self.arm.label(data)

    def privileged(self, data: mjx.Data) -> jax.Array:
        """What the critic of `Reach` sees: (9,)."""
        return self.arm.privileged(data)

    def reward(self, data: mjx.Data, action: jax.Array) -> StepResult:
        """Rewards what `Reach` rewards; its goal is nearer to the point."""
        way = self.arm.privileged(data)[-3:] / 10
        on_goal = jnp.linalg.norm(way) < TOLERANCE
        return replace(self.arm.reward(data, action), on_goal=on_goal)


register(
    "reach_told",
    ToldReach,
    ppo=PPOConfig(reward_scale=0.1, actor_obs="state"),
    iterations=90,
    study_iterations=70,
)
