"""Quadruped: a four-legged robot walks as a joystick asks: forwards, sideways, turning, standing.

The robot has the proportions of a Unitree Go2 (see assets/quadruped.xml for sources). Two commands,
one after the other, are drawn at the start of an episode. While a command asks for motion, a clock
asks for a trot: the policy reads its phase, and the feet are paid for leaving the ground in time.

An episode is a success once the mean velocity (over about 0.3 s) has been within 0.25 m/s and
0.3 rad/s of what was asked for 7.5 of its 10 s. Nothing but feet may touch the ground.
"""

from dataclasses import dataclass, field
from pathlib import Path

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
from flax import struct
from mujoco import mjx

from mjx_s2r.contract import CameraSignal, PolicyContract, Signal
from mjx_s2r.envs.registry import register
from mjx_s2r.learn.ppo.config import PPOConfig
from mjx_s2r.params import ParamSpace, add, scale, set_to
from mjx_s2r.params.camera_rows import camera_pose
from mjx_s2r.sim.model.model_contract import action_of
from mjx_s2r.sim.task import InitialState, StepResult

LEGS = ("FL", "FR", "RL", "RR")
JOINTS = tuple(f"{leg}_{part}" for leg in LEGS for part in ("hip", "thigh", "calf"))
HOME = (0.0, 0.9, -1.8) * 4  # rad, the home pose of Menagerie's unitree_go2
REACH = (0.3, 0.5, 0.5) * 4  # rad from home at full output; Playground's Go1: 0.5
HEIGHT_M = 0.315  # where the trunk starts: soles 0 to 5 cm above the ground
POSE_WEIGHTS = np.array((1.0, 1.0, 0.1) * 4, np.float32)  # Playground's Go1
RATE_HZ = 50.0

ASKED = ((-0.5, -0.3, -0.7), (1.0, 0.3, 0.7))  # m/s, m/s and rad/s, least and most
STILL, NONE = 0.1, 0.25  # share of the commands that ask to stand; of single parts that are zero
STRETCH_S = 5.0  # s for which a command lasts
NEAR = (0.25, 0.3)  # m/s and rad/s that count as followed
FOLLOWED_S = 7.5  # s of an episode that make a success
MEAN_S = 0.3  # time constant of the mean velocity, s

TROT_HZ, SWING_M = 2.0, 0.07  # the clock, and how high a foot swings
PHASES = np.array((0.0, np.pi, np.pi, 0.0), np.float32)  # of LEGS: diagonals go together
FOOT_M = 0.022  # radius of a foot
LOWEST_M, UPRIGHT = (0.14, 0.02), 0.5  # an episode ends with trunk or a knee below, or this tilt
XML = Path(__file__).parent / "assets" / "quadruped.xml"
TRUNK, FLOOR, LINKS = ("trunk",), ("floor",), ("*_hip", "*_thigh", "*_calf")
LEG_PARTS = (("thigh_length", ("*_thigh",)), ("calf_length", ("*_calf",)))

# Where the limits come from.
GO1 = "Go1 of MuJoCo Playground: trunk +-1 kg, and another for what it carries; noise is uniform"
GAINS = "walk-these-ways (Margolis and Agrawal 2022)"
BUS = "our margin: a control step and a half for commands, one for readings"
SHOVE = "a push of 0.5 m/s in 0.1 s every 5 s; legged_gym (Rudin et al. 2022): 1 m/s every 15 s"
LAMP = "free light from above (Tobin et al. 2017)"
WET = "from a wet tile, 0.3, to rubber on concrete, 1.5"
SUGGESTED = "what texts on sim-to-real suggest, see docs/coverage.md"
CAST = "cast and moulded links: 2 %, as printed ones of reach"
GREASE = "viscous part of a joint's friction; walk-these-ways and Menagerie's Go2: 0 to 0.5"
SENT = "a camera module over USB or the network: one to two pictures of 40 ms, 1 in 50 lost"

SPACE = ParamSpace(
    (
        scale("floor_friction", "model.geom_friction", FLOOR, (0.5, 2.5), column=0, source=WET),
        scale("joint_friction", "model.dof_frictionloss", JOINTS, (0.9, 1.1), source=GO1),
        scale("armature", "model.dof_armature", JOINTS, (1.0, 1.05), source=GO1),
        set_to("bounce", "model.geom_restitution", FLOOR, (0, 0.3), source=SUGGESTED),
        scale("leg_mass", "model.body_mass", LINKS, (0.8, 1.2), source=SUGGESTED),
        add("payload", "model.body_mass", TRUNK, (-1.4, 2.0), unit="kg", source=GO1),
        *(
            add(f"com_{c}", "model.body_ipos", TRUNK, (-0.05, 0.05), column=i, unit="m", source=GO1)
            for i, c in enumerate("xyz")
        ),
        *(scale(n, "model.link_length", link, (0.98, 1.02), source=CAST) for n, link in LEG_PARTS),
        *(
            add(
                f"slope_{c}",
                "model.gravity_tilt",
                (),
                (-0.087, 0.087),
                column=i,
                unit="rad",
                source=SUGGESTED,
            )
            for i, c in enumerate("xy")
        ),
        scale("gravity", "model.gravity", (), (0.82, 1.02), column=2, source=SUGGESTED),
        set_to("damping", "model.dof_damping", JOINTS, (0, 0.5), unit="N m s/rad", source=GREASE),
        scale("kp", "model.actuator_kp", JOINTS, (0.8, 1.3), source=GAINS),
        scale("kd", "model.actuator_kd", JOINTS, (0.5, 1.5), source=GAINS),
        scale("strength", "model.actuator_strength", JOINTS, (0.9, 1.1), source=GAINS),
        set_to("action_delay", "actuator.delay_s", (), (0, 0.03), unit="s", source=BUS),
        set_to("action_noise", "actuator.noise", ("*",), (0, 0.05), unit="rad", source=SUGGESTED),
        set_to("sensor_delay", "sensor.delay_s", (), (0, 0.02), unit="s", source=BUS),
        set_to("push", "world.push", TRUNK, (0, 75.0), unit="N", source=SHOVE),
        set_to("push_rate", "world.push_rate_hz", (), (0.1, 0.4), nominal=0.2, unit="Hz"),
        set_to("angle_bias", "sensor.bias", ("joint_pos",), (0, 0.03), unit="rad", source=GO1),
        set_to("angle_noise", "sensor.noise", ("joint_pos",), (0, 0.02), unit="rad", source=GO1),
        set_to("speed_noise", "sensor.noise", ("joint_vel",), (0, 0.9), unit="rad/s", source=GO1),
        set_to("gyro_noise", "sensor.noise", ("gyro",), (0, 0.12), unit="rad/s", source=GO1),
        set_to("gravity_noise", "sensor.noise", ("gravity",), (0, 0.03), source=GO1),
        *camera_pose("camera", "front", angle=0.087),
        set_to("floor_texture", "visual.texture", FLOOR, (0, 1), source=LAMP),
        scale("light_strength", "visual.light_strength", ("sun",), (0.4, 1.6), source=LAMP),
        scale("ambient", "visual.ambient", (), (0.5, 1.6), source=LAMP),
        scale("brightness", "visual.brightness", (), (0.7, 1.3), source=LAMP),
        set_to("pixel_noise", "visual.noise_std", (), (0, 0.03), source=LAMP),
        set_to("background", "visual.background", (), (0, 1), source=LAMP),
        set_to("sky_low", "visual.background_low", (), (0, 0.8), source=LAMP),
        set_to("sky_high", "visual.background_high", (), (0, 1), source=LAMP),
        set_to("camera_delay", "visual.frame_delay_s", (), (0, 0.08), unit="s", source=SENT),
        set_to("camera_loss", "visual.frame_dropout", (), (0, 0.05), source=SENT),
    )
)


@struct.dataclass
class Memory:
    """What must last from step to step; it travels in MuJoCo's userdata.

    Attributes:
        asked: (2, 3) the episode's commands: forwards m/s, to the left m/s, turning rad/s.
        action: (12,) last action.
        feet: (4, 2) where the feet were, m in the world.
        mean: (3,) velocity over the last moments, in the units of a command.
        followed_s: () for how long a command was followed, s.
    """

    asked: jax.Array
    action: jax.Array
    feet: jax.Array
    mean: jax.Array
    followed_s: jax.Array | float


def recall(data: mjx.Data) -> Memory:
    """Returns what the task remembers."""
    u = data.userdata
    return Memory(u[:6].reshape(2, 3), u[6:18], u[18:26].reshape(4, 2), u[26:29], u[29])


def keep(memory: Memory) -> jax.Array:
    """Returns (30,) the memory as `recall` reads it."""
    return jnp.concatenate([jnp.ravel(x) for x in jax.tree.leaves(memory)])


def asked(data: mjx.Data) -> jax.Array:
    """Returns (3,) the command that holds now; all zeros ask to stand."""
    stretch = jnp.minimum(jnp.floor(data.time / STRETCH_S + 1e-4), 1).astype(jnp.int32)
    return recall(data).asked[stretch]


def phases(data: mjx.Data) -> tuple[jax.Array, jax.Array]:
    """Returns (4,) phase of each leg's step, rad, and () whether the command asks for steps."""
    moving = jnp.any(asked(data) != 0.0)
    return 2 * jnp.pi * TROT_HZ * data.time + PHASES, moving


def draw_asked(key: jax.Array) -> jax.Array:
    """Returns (2, 3) commands, uniform between the limits; some parts, and some commands, are 0."""
    key_speed, key_part, key_still = jax.random.split(key, 3)
    low, high = (jnp.array(x) for x in ASKED)
    speed = jax.random.uniform(key_speed, (2, 3), minval=low, maxval=high)
    speed = jnp.where(jax.random.bernoulli(key_part, NONE, (2, 3)), 0.0, speed)
    return jnp.where(jax.random.bernoulli(key_still, STILL, (2, 1)), 0.0, speed)


def _contract(name: str, mj_model: mujoco.MjModel) -> PolicyContract:
    """Returns what the policy reads and writes; limits come from the model, 5 % inside."""
    return PolicyContract(
        task=name,
        control_hz=RATE_HZ,
        signals=(
            Signal("gyro", 3, "rad/s", 0.25, (0.0,), -40.0, 40.0),
            Signal("gravity", 3, "1", 1.0, (0.0,), -1.5, 1.5),
            Signal("joint_pos", 12, "rad", 1.0, HOME, -5.0, 5.0),
            Signal("joint_vel", 12, "rad/s", 0.05, (0.0,), -80.0, 80.0),
            Signal("joystick", 3, "m/s, m/s, rad/s", 1.0, (0.0,), -2.0, 2.0),
            Signal("clock", 2, "1", 1.0, (0.0,), -1.01, 1.01),
            Signal("command", 12, "rad", 2.0, HOME, -5.0, 5.0),
        ),
        action=action_of(mj_model, JOINTS, "position", control_hz=RATE_HZ, scale=REACH, home=HOME),
        cameras=(CameraSignal("front", 64, 64, 25.0),),
    )


@dataclass(frozen=True)
class Quadruped:
    """The task. See `mjx_s2r.sim.task.Task` for what each part means."""

    name: str = "quadruped"
    substeps: int = 4
    episode_s: float = 10.0
    hold_s: float = 1 / RATE_HZ
    ends_on_success: bool = False
    success_reward: float = 0.0
    space: ParamSpace = SPACE
    mj_model: mujoco.MjModel = field(default_factory=lambda: mujoco.MjModel.from_xml_path(str(XML)))

    @property
    def contract(self) -> PolicyContract:
        """Returns the policy's contract."""
        return _contract(self.name, self.mj_model)

    def reset(self, *, key: jax.Array) -> InitialState:
        """Lets the robot down near its home pose, facing anywhere, nearly at rest."""
        key_yaw, key_pose, key_speed, key_asked = jax.random.split(key, 4)
        half = 0.5 * jnp.pi * jax.random.uniform(key_yaw, minval=-1.0)
        quat = jnp.stack((jnp.cos(half), jnp.float32(0), jnp.float32(0), jnp.sin(half)))
        pose = jnp.array(HOME) + 0.1 * jax.random.uniform(key_pose, (12,), minval=-1.0)
        speed = 0.3 * jax.random.uniform(key_speed, (6,), minval=-1.0)
        fresh = Memory(draw_asked(key_asked), jnp.zeros(12), jnp.zeros((4, 2)), jnp.zeros(3), 0.0)
        return InitialState(
            qpos=jnp.concatenate((jnp.array((0.0, 0.0, HEIGHT_M)), quat, pose)),
            qvel=jnp.concatenate((speed, jnp.zeros(12))),
            memory=keep(fresh),
        )

    def signals(self, data: mjx.Data) -> dict[str, jax.Array]:
        """What the robot's IMU and encoders read, what it is asked for, and the clock's phase."""
        phase, moving = phases(data)
        return {
            "gyro": data.qvel[3:6],  # of a free joint in its body's axes (MuJoCo: mjData.qvel)
            "gravity": -self._turn(data)[2],
            "joint_pos": data.qpos[7:],
            "joint_vel": data.qvel[6:],
            "joystick": asked(data),
            "clock": moving * jnp.stack((jnp.sin(phase[0]), jnp.cos(phase[0]))),
        }

    def label(self, data: mjx.Data) -> jax.Array:
        """Where the ground 1 m ahead lies from the trunk, in its axes, m: (3,)."""
        turn, height = self._turn(data), self._clearance(data)[:1]
        ahead = turn[:2, 0] / jnp.maximum(jnp.linalg.norm(turn[:2, 0]), 1e-6)
        return jnp.concatenate((ahead, -height)) @ turn

    def privileged(self, data: mjx.Data) -> jax.Array:
        """Velocity, mean velocity, heights of trunk and feet: (11,)."""
        speed, height = data.qvel[:3] @ self._turn(data), self._clearance(data)[:1]
        return jnp.concatenate((speed, recall(data).mean, 10 * self._lifted(data), 4 * height))

    def reward(self, data: mjx.Data, action: jax.Array) -> StepResult:
        """Pays for following the command with a trot; charges what robots should not do.

        Weights are those of Playground's Go1, divided so that a step pays 1 at most; torque is
        charged as in legged_gym (Rudin et al. 2022). The kernels are narrower (there 0.25), a
        change of the action costs five times as much, and where it is asked to stand, so do moving
        joints: what trembles follows the command, too.
        """
        now, then = asked(data), recall(data)
        turn, feet = self._turn(data), self._feet(data)
        velocity, spin = data.qvel[:3] @ turn, data.qvel[3:6]
        speed = jnp.stack((velocity[0], velocity[1], spin[2]))
        mean = then.mean + (speed - then.mean) / (MEAN_S * RATE_HZ)
        near = jnp.hypot(*(mean - now)[:2]) < NEAR[0]
        followed_s = then.followed_s + (near & (jnp.abs(mean - now)[2] < NEAR[1])) / RATE_HZ
        gain = (
            jnp.exp(-jnp.sum((speed - now)[:2] ** 2) / 0.15)
            + 0.5 * jnp.exp(-((speed - now)[2] ** 2) / 0.2)
            + self._gait(data)
            + 0.5 * jnp.exp(-jnp.sum(POSE_WEIGHTS * (data.qpos[7:] - jnp.array(HOME)) ** 2))
        )
        loss = (
            0.5 * velocity[2] ** 2
            + 0.05 * jnp.sum(spin[:2] ** 2)
            + 5.0 * jnp.sum(turn[2, :2] ** 2)
            + 0.05 * jnp.sum((action - then.action) ** 2)
            + 0.1 * self._slip(data, feet[:, :2] - then.feet)
            + self._effort(data, action)
            + 0.02 * jnp.all(now == 0.0) * jnp.sum(data.qvel[6:] ** 2)
        )
        low = self._clearance(data) < jnp.array(LOWEST_M)
        memory = Memory(then.asked, action, feet[:, :2], mean, followed_s)
        return StepResult(
            reward=jnp.maximum(gain - loss, 0.0) / 3,
            on_goal=followed_s > FOLLOWED_S - 1e-3,
            failed=low.any() | (turn[2, 2] < UPRIGHT),
            memory=keep(memory),
        )

    def _gait(self, data: mjx.Data) -> jax.Array:
        """Returns () in [0, 1] how well the feet keep to the clock (Siekmann et al. 2021)."""
        phase, moving = phases(data)
        wanted = SWING_M * moving * jnp.maximum(jnp.sin(phase), 0.0) ** 2
        return jnp.exp(-jnp.sum((self._lifted(data) - wanted) ** 2) / 0.003)

    def _slip(self, data: mjx.Data, moved: jax.Array) -> jax.Array:
        """Returns () the squared speed of feet on the ground that moved by ``moved`` (4, 2) m."""
        down = (self._lifted(data) < 0.01) & (data.time > 1.5 / RATE_HZ)
        return jnp.sum(jnp.where(down[:, None], moved * RATE_HZ, 0.0) ** 2)

    def _effort(self, data: mjx.Data, action: jax.Array) -> jax.Array:
        """Returns () the charge for torque and power, of nominal gains at the end of the step."""
        spec = self.contract.action
        kp, kd, most = (jnp.array(x) for x in (spec.kp, spec.kd, spec.max_effort))
        way = jnp.array(HOME) + jnp.array(REACH) * action - data.qpos[7:]
        force = jnp.clip(kp * way - kd * data.qvel[6:], -most, most)
        return 2e-4 * jnp.sum(force**2) + 1e-3 * jnp.sum(jnp.abs(force * data.qvel[6:]))

    def _turn(self, data: mjx.Data) -> jax.Array:
        """Returns (3, 3) the trunk's axes, as columns, in the world."""
        return data.xmat[self.mj_model.body("trunk").id].reshape(3, 3)

    def _feet(self, data: mjx.Data) -> jax.Array:
        """Returns (4, 3) the centres of the feet in the world, m."""
        return data.geom_xpos[np.array([self.mj_model.geom(f"{leg}_foot").id for leg in LEGS])]

    def _lifted(self, data: mjx.Data) -> jax.Array:
        """Returns (4,) the height of each foot above the lowest one, m."""
        height = self._feet(data)[:, 2]
        return height - height.min()

    def _clearance(self, data: mjx.Data) -> jax.Array:
        """Returns (2,) how high the trunk and the lowest knee are above the lowest sole, m."""
        calves = np.array([self.mj_model.body(f"{leg}_calf").id for leg in LEGS])  # begin at knees
        height = jnp.stack((data.qpos[2], data.xpos[calves, 2].min()))
        return height - self._feet(data)[:, 2].min() + FOOT_M


register(
    "quadruped",
    Quadruped,
    ppo=PPOConfig(
        num_steps=24,
        gamma=0.97,
        entropy_coef=0.005,
        target_kl=0.02,
        actor_hidden=(128, 128, 64),
        critic_hidden=(128, 128, 64),
    ),
    iterations=800,
)
