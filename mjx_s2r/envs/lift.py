"""Lift: the desktop arm of reach grasps a cube of 25 mm and holds it above the table.

The arm is that of assets/arm.xml, so are its rows of the table and its looks (see reach.py). The
cube is a free body with contacts. It must be 8 cm above the table, in the gripper, for 0.5 s.

The reward follows two published ones. PandaPickCube (MuJoCo Playground, Zakka et al. 2025):
nearness 1 - tanh(5 d) of gripper and cube, then of cube and goal. Isaac Lab's lift (Mittal et al.
2023): a share for height, goals on a coarse and a fine scale. Height counts only for a cube that is
in the gripper, so that nothing is gained by flicking it.
"""

from dataclasses import dataclass, field
from pathlib import Path

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
from mujoco import mjx

from mjx_s2r.contract import CameraSignal, PolicyContract, Signal
from mjx_s2r.envs.reach import (
    CAMERA_TIMING,
    JOINTS,
    LOOKS,
    PHYSICS,
    TIMING_AND_SENSING,
)
from mjx_s2r.envs.registry import register
from mjx_s2r.learn.ppo.config import PPOConfig
from mjx_s2r.params import ParamSpace, add, scale, set_to
from mjx_s2r.params.camera_rows import camera_pose
from mjx_s2r.sim.model.model_contract import action_of
from mjx_s2r.sim.task import InitialState, StepResult

HOME = (0.0, -0.9, 0.75, 1.2, 0.0, 0.6)  # rad; open gripper raised above the middle of the table
GRASP = (-0.014, 0.013, 0.0)  # m from the tip to the middle of a cube between finger and jaw
HALF = 0.0125  # m, half an edge of the cube
HEIGHT = 0.08  # m that the cube must rise
HELD = 0.03  # m from the grasp within which a cube counts as held
RADIUS = (0.15, 0.24)  # m from the arm's axis, where the cube may lie
SECTOR = 0.8  # rad to either side
TABLE = ((-0.12, -0.42), (0.52, 0.42))  # m, corners of the table

CUBE = ("cube",)
BLOCKS = "cubes of ManiSkill's SO100GraspCube: half edge 11 to 14 mm"
STUFF = "foam 10 g, hard wood 40 g"
GRIP = "usual is 0.5 to 1.5; below 0.65 the wedge of finger and jaw lets the cube slip out"
RUBBER = "from wood on a desk to a rubber cube; texts on sim-to-real suggest 0 to 0.3"
CENTRE = "Playground's LEAP cube: centre of mass off by 5 mm of 35"

CUBE_ROWS = (
    scale("cube_mass", "model.body_mass", CUBE, (0.5, 2.0), law="log_uniform", source=STUFF),
    scale("cube_friction", "model.geom_friction", CUBE, (0.7, 1.5), column=0, source=GRIP),
    set_to("cube_bounce", "model.geom_restitution", CUBE, (0, 0.3), source=RUBBER),
    scale("cube_size", "model.geom_size", CUBE, (0.88, 1.12), source=BLOCKS),
    *(
        add(f"cube_com_{c}", "model.body_ipos", CUBE, (-0.002, 0.002), column=i, unit="m", source=s)
        for i, (c, s) in enumerate(zip("xyz", (CENTRE,) * 3, strict=True))
    ),
)
TURNED = 0.087  # rad to either side that each camera may be turned, 5 degrees
EACH_CAMERA = tuple(row for c in ("front", "wrist") for row in camera_pose(c, c, angle=TURNED))
ROOM = "the wrist sees the room; builtin photographs and grey to white walls"
SKY = (
    set_to("room", "visual.background", (), (0, 1), source=ROOM),
    set_to("wall_low", "visual.background_low", (), (0, 0.8), source=ROOM),
    set_to("wall_high", "visual.background_high", (), (0, 0.9), source=ROOM),
)
SPACE = ParamSpace(
    (
        *(*PHYSICS, *CUBE_ROWS, *TIMING_AND_SENSING),
        *(row for row in LOOKS if row not in camera_pose("camera")),
        *(*EACH_CAMERA, *SKY, *CAMERA_TIMING),
    )
)


def _contract(mj_model: mujoco.MjModel) -> PolicyContract:
    """Returns what the policy reads and writes; limits come from the model, 5 % inside."""
    ends = np.array([mj_model.joint(name).range for name in JOINTS])
    return PolicyContract(
        task="lift",
        control_hz=25.0,
        signals=(
            Signal("joint_pos", 6, "rad", 1.0, HOME, -3.2, 3.2),
            Signal("joint_vel", 6, "rad/s", 0.2, (0.0,), -30.0, 30.0),
            Signal("command", 6, "rad", 1.0, HOME, -3.2, 3.2),
        ),
        action=action_of(
            mj_model,
            JOINTS,
            "delta_position",
            control_hz=25.0,
            scale=(0.06,) * 5 + (0.08,),
            home=HOME,
            low=0.95 * ends[:, 0],
            high=0.95 * ends[:, 1],
            max_rate=2.0,
        ),
        cameras=(CameraSignal("front", 64, 64, 25.0), CameraSignal("wrist", 64, 64, 25.0)),
    )


@dataclass(frozen=True)
class Lift:
    """The task. See `mjx_s2r.sim.task.Task` for what each part means."""

    name: str = "lift"
    substeps: int = 4
    episode_s: float = 5.0
    hold_s: float = 0.5
    ends_on_success: bool = True
    success_reward: float = 150.0
    space: ParamSpace = SPACE
    mj_model: mujoco.MjModel = field(
        default_factory=lambda: mujoco.MjModel.from_xml_path(
            str(Path(__file__).parent / "assets" / "lift.xml")
        )
    )

    @property
    def contract(self) -> PolicyContract:
        """Returns the policy's contract."""
        return _contract(self.mj_model)

    def reset(self, *, key: jax.Array) -> InitialState:
        """Puts the arm near home and the cube anywhere within reach, turned at random."""
        key_arm, key_radius, key_angle, key_turn = jax.random.split(key, 4)
        spread = jnp.array((0.5, 0.2, 0.2, 0.2, 0.3, 0.2))
        arm = jnp.array(HOME) + spread * jax.random.uniform(key_arm, (6,), minval=-1.0)
        square = jax.random.uniform(key_radius, minval=RADIUS[0] ** 2, maxval=RADIUS[1] ** 2)
        angle = SECTOR * jax.random.uniform(key_angle, minval=-1.0)
        radius = jnp.sqrt(square)  # uniform over the area
        drop = HALF + 0.002  # the largest cube of the table is not started in the table
        place = jnp.array((0.0388, 0.0, drop)) + jnp.stack(
            (radius * jnp.cos(angle), radius * jnp.sin(angle), jnp.float32(0.0))
        )
        half = 0.25 * jnp.pi * jax.random.uniform(key_turn, minval=-1.0)
        turn = jnp.stack((jnp.cos(half), jnp.float32(0), jnp.float32(0), jnp.sin(half)))
        return InitialState(jnp.concatenate((arm, place, turn)))

    def signals(self, data: mjx.Data) -> dict[str, jax.Array]:
        """Joint angles and speeds, rad and rad/s."""
        return {"joint_pos": data.qpos[:6], "joint_vel": data.qvel[:6]}

    def label(self, data: mjx.Data) -> jax.Array:
        """Where the cube is, m: (3,)."""
        return data.xpos[self._body("cube")]

    def keypoints(self, data: mjx.Data) -> jax.Array:
        """The cube, and the middle of a gripped one, m: (2, 3)."""
        return jnp.stack((self.label(data), self.grasp(data)))

    def privileged(self, data: mjx.Data) -> jax.Array:
        """Returns (23,) grasp, cube, the way between, the cube's turn in the gripper, speeds, gaps.

        Lengths in tenths of a metre, the way in the gripper's axes in hundredths of two metres,
        the turn as two columns of the rotation (Zhou et al. 2019), speeds in m/s and 10 rad/s,
        gaps in centimetres.
        """
        grasp, cube = self.grasp(data), self.label(data)
        hand = data.xmat[self._body("gripper")].reshape(3, 3)
        turn = hand.T @ data.xmat[self._body("cube")].reshape(3, 3)
        way = jnp.clip(50 * hand.T @ (cube - grasp), -5, 5)
        speeds = jnp.concatenate((data.qvel[6:9], 0.1 * data.qvel[9:12]))
        gaps = jnp.clip(100 * self.gaps(data), -1, 5)
        parts = (10 * grasp, 10 * cube, way, turn[:, :2].reshape(-1), jnp.clip(speeds, -5, 5), gaps)
        return jnp.concatenate(parts)

    def grasp(self, data: mjx.Data) -> jax.Array:
        """Returns (3,) where the middle of a gripped cube would be, m."""
        hand = data.xmat[self._body("gripper")].reshape(3, 3)
        return data.site_xpos[self.mj_model.site("tip").id] + hand @ jnp.array(GRASP)

    def gaps(self, data: mjx.Data) -> jax.Array:
        """Returns (2,) the gaps from finger and jaw to the cube of nominal size, m.

        Kinematics hold no contacts, so they are measured: the distance to a box (the closed form)
        from nine points along the middle of each capsule, less its radius.
        """
        box, gaps = self.mj_model.geom("cube").id, []
        for name in ("finger", "jaw"):
            geom = self.mj_model.geom(name)
            along = jnp.linspace(-1.0, 1.0, 9)[:, None] * geom.size[1]
            points = data.geom_xpos[geom.id] + along * data.geom_xmat[geom.id].reshape(3, 3)[:, 2]
            inside = (points - data.geom_xpos[box]) @ data.geom_xmat[box].reshape(3, 3)
            over = jnp.abs(inside) - HALF
            outside = jnp.linalg.norm(jnp.maximum(over, 0.0), axis=-1)
            gaps.append((outside + jnp.minimum(over.max(-1), 0.0)).min() - geom.size[0])
        return jnp.stack(gaps)

    def reward(self, data: mjx.Data, action: jax.Array) -> StepResult:
        """Rewards nearness, a grip from both sides, height in the grip; charges effort."""
        grasp, cube = self.grasp(data), self.label(data)
        distance = jnp.linalg.norm(cube - grasp)
        height = cube[2] - HALF
        held = distance < HELD
        on_goal = held & (height >= HEIGHT)
        near = 0.5 * (1.0 - jnp.tanh(5.0 * distance)) + 0.25 * (1.0 - jnp.tanh(distance / 0.02))
        pinch = held * (1.0 - jnp.tanh(jnp.maximum(self.gaps(data), 0.0) / 0.01)).prod()
        rise = held * jnp.clip(height / HEIGHT, 0.0, 1.0)
        reward = near + 0.25 * pinch + 2.0 * rise + on_goal - 0.02 * jnp.sum(action**2)
        low, high = jnp.array(TABLE)
        off = (cube[:2] < low).any() | (cube[:2] > high).any() | (jnp.abs(cube[2]) > 0.6)
        return StepResult(reward=reward, on_goal=on_goal, failed=off)

    def _body(self, name: str) -> int:
        """Index of a body."""
        return int(self.mj_model.body(name).id)


register(
    "lift",
    Lift,
    ppo=PPOConfig(
        num_envs=1024,
        num_steps=16,
        num_minibatches=8,
        entropy_coef=5e-3,
        target_kl=0.02,
        reward_scale=0.1,
        actor_hidden=(128, 128),
        critic_hidden=(128, 128),
    ),
    iterations=300,
)
