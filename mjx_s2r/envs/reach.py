"""Reach: a desktop arm brings its gripper above a cube that it finds with a camera.

The arm has the proportions of an SO-101 (see assets/reach.xml for sources). The cube lies anywhere
on the table in front of it. The tip of the gripper must come within 2 cm of a point 6 cm above the
cube and stay for 0.5 s. The student reads images and joint readings only.
"""

from dataclasses import dataclass, field
from pathlib import Path

import jax
import jax.numpy as jnp
import mujoco
from mujoco import mjx

from mjx_s2r.contract import CameraSignal, PolicyContract, Signal
from mjx_s2r.envs.registry import register
from mjx_s2r.learn.ppo.config import PPOConfig
from mjx_s2r.params import Param, ParamSpace, add, scale, set_to
from mjx_s2r.params.camera_rows import TOBIN, camera_pose
from mjx_s2r.sim.model.model_contract import action_of
from mjx_s2r.sim.task import InitialState, StepResult

JOINTS = ("shoulder_pan", "shoulder_lift", "elbow_flex", "wrist_flex", "wrist_roll", "gripper")
HOME = (0.0, -0.9, 0.75, 1.2, 0.0, 0.3)  # rad; tip raised above the middle of the table
ABOVE = (0.0, 0.0, 0.06)  # m from the cube's centre to the goal
TOLERANCE = 0.02  # m
RADIUS = (0.15, 0.27)  # m from the arm's axis, where the cube may lie
SECTOR = 0.8  # rad to either side

LINKS = ("shoulder", "upper_arm", "lower_arm", "wrist", "gripper", "jaw")
PRINTED = ("base", "upper_arm", "lower_arm", "palm", "finger", "jaw")
SERVOS = ("base_servo", "shoulder", "elbow_servo", "wrist")
ARM = ("upper_arm", "lower_arm")
HAND, FLAT, LOG = ("gripper",), ("table", "floor"), "log_uniform"

# Where the limits come from.
SERVO = "STS3215 figures of TheRobotStudio/SO-ARM100, spread as in DeXtreme (Handa et al. 2022)"
BUS = "serial bus of hobby servos: delays of Playground's push cube, noise of its Go1"
ZERO = "encoder zero against the link: reading and command shift together (Playground, qpos0)"
DESK = "judgement: a desk or clamp off the level by 3 degrees"
GEAR = "half of the STS3215's play of about 0.5 degrees new, three times that worn"
CURVE = "no-load speed from 45 rpm up (STS3215): 1 / 4.7 rad/s"
RNA = "random network adversary: DeXtreme's ADR ended at 0.16"
COUNTS = "STS3215: 4096 counts a turn, 0.0015 rad; four of them"
WARM = "magnetic encoder and links that warm up: 0.01 rad in an episode of 4 s"
LAMP = "a lamp of 30 cm, 1 m away, fills 0.15 rad to either side"
DAYLIGHT = "from incandescent lamps to an overcast sky"
TINT = (0.88, 1.14)
CONSUMER = "judgement for consumer cameras: noise 0.02, brightness 0.7 to 1.3"

PHYSICS = (
    scale("link_mass", "model.body_mass", LINKS, (0.8, 1.2), source="Playground, x0.9-1.1"),
    add("payload", "model.body_mass", HAND, (0, 0.05), unit="kg", source="camera, cable"),
    add("gripper_com", "model.body_ipos", HAND, (-0.02, 0.02), column=0, unit="m", source=SERVO),
    scale("damping", "model.dof_damping", JOINTS, (0.5, 1.8), law=LOG, source=SERVO),
    scale("friction", "model.dof_frictionloss", JOINTS, (0.3, 3.0), law=LOG, source=SERVO),
    scale("armature", "model.dof_armature", JOINTS, (0.7, 1.4), law=LOG, source=SERVO),
    scale("kp", "model.actuator_kp", JOINTS, (0.6, 1.5), law=LOG, source=SERVO),
    scale("strength", "model.actuator_strength", JOINTS, (0.8, 1.1), source="supply voltage"),
    scale("gravity", "model.gravity", (), (0.97, 1.03), column=2, source="tilted mounting"),
    *(
        add(f"tilt_{c}", "model.gravity_tilt", (), (-0.05, 0.05), column=i, unit="rad", source=DESK)
        for i, c in enumerate("xy")
    ),
    scale("link_length", "model.link_length", ARM, (0.98, 1.02), source="printed parts: 2 %"),
    set_to("push", "world.push", HAND, (0, 1.5), unit="N", source="a cable that pulls, a finger"),
)
TIMING_AND_SENSING = (
    set_to("action_delay", "actuator.delay_s", (), (0, 0.06), unit="s", source=BUS),
    set_to("action_hold", "actuator.hold", (), (0, 0.15), source=BUS),
    set_to("action_noise", "actuator.noise", ("*",), (0, 0.01), unit="rad", source=BUS),
    set_to("backlash", "actuator.backlash", ("*",), (0, 0.015), unit="rad", source=GEAR),
    set_to("speed_loss", "actuator.speed_loss", ("*",), (0, 0.2), unit="s/rad", source=CURVE),
    set_to("adversary", "actuator.adversary", (), (0, 0.1), source=RNA),
    *(
        add(f"zero_{joint}", "model.qpos0", (joint,), (-0.05, 0.05), unit="rad", source=ZERO)
        for joint in JOINTS[:4]
    ),
    set_to("angle_noise", "sensor.noise", ("joint_pos",), (0, 0.01), unit="rad", source=BUS),
    set_to("angle_bias", "sensor.bias", ("joint_pos",), (0, 0.03), unit="rad", source=BUS),
    set_to("speed_noise", "sensor.noise", ("joint_vel",), (0, 0.2), unit="rad/s", source=BUS),
    set_to("sensor_delay", "sensor.delay_s", (), (0, 0.04), unit="s", source=BUS),
    set_to("sensor_jitter", "sensor.jitter_s", (), (0, 0.02), unit="s", source=BUS),
    set_to("sensor_dropout", "sensor.dropout", (), (0, 0.1), source=BUS),
    set_to("angle_step", "sensor.quantum", ("joint_pos",), (0, 0.006), unit="rad", source=COUNTS),
    set_to(
        "angle_walk", "sensor.walk", ("joint_pos",), (0, 0.005), unit="rad/sqrt(s)", source=WARM
    ),
)


def _colour(geom: str, nominal: tuple[float, ...], *limits: tuple[float, float]) -> list[Param]:
    """Returns three rows that set the colour of a geom, red, green and blue."""
    return [
        set_to(f"{geom}_{c}", "visual.geom_rgb", (geom,), limits[i], nominal=nominal[i], column=i)
        for i, c in enumerate("rgb")
    ]


LOOKS = (
    *_colour("cube", (0.8, 0.1, 0.1), (0.55, 1.0), (0.0, 0.3), (0.0, 0.3)),
    *_colour("table", (0.72, 0.7, 0.66), (0.25, 0.95), (0.25, 0.95), (0.25, 0.95)),
    *_colour("floor", (0.45, 0.42, 0.4), (0.05, 0.9), (0.05, 0.9), (0.05, 0.9)),
    *(
        scale(f"print_{c}", "visual.geom_rgb", PRINTED, (0.5, 1.3), column=i)
        for i, c in enumerate("rgb")
    ),
    add("servo_grey", "visual.geom_rgb", SERVOS, (-0.1, 0.15)),
    *(set_to(f"{g}_texture", "visual.texture", (g,), (0, 1), source=TOBIN) for g in FLAT),
    scale("texture_size", "visual.texture_m", FLAT, (0.5, 4.0), law=LOG, source=TOBIN),
    add("light_x", "visual.light_dir", ("sun",), (-0.6, 0.8), column=0, source=TOBIN),
    add("light_y", "visual.light_dir", ("sun",), (-0.5, 0.9), column=1, source=TOBIN),
    scale("light_strength", "visual.light_strength", ("sun",), (0.3, 1.6), source=TOBIN),
    set_to(
        "light_kelvin",
        "visual.light_kelvin",
        ("*",),
        (2700, 9000),
        nominal=6500,
        law=LOG,
        unit="K",
        source=DAYLIGHT,
    ),
    set_to("light_softness", "visual.light_softness", ("*",), (0, 0.15), unit="rad", source=LAMP),
    add("window_x", "visual.light_dir", ("window",), (-0.8, 0.8), column=0, source=TOBIN),
    add("window_y", "visual.light_dir", ("window",), (-0.8, 0.8), column=1, source=TOBIN),
    set_to("window_strength", "visual.light_strength", ("window",), (0, 0.35), source=TOBIN),
    scale("ambient", "visual.ambient", (), (0.5, 1.8), source=TOBIN),
    scale("headlight", "visual.headlight", (), (0.2, 1.8), source=TOBIN),
    scale("specular", "visual.specular", (), (0.0, 3.0), source=TOBIN),
    *camera_pose("camera"),
    scale("brightness", "visual.brightness", (), (0.7, 1.3), source=CONSUMER),
    scale("contrast", "visual.contrast", (), (0.8, 1.2), source=CONSUMER),
    scale("saturation", "visual.saturation", (), (0.7, 1.3), source=CONSUMER),
    scale("gamma", "visual.gamma", (), (0.8, 1.25), law=LOG, source=CONSUMER),
    scale("white_red", "visual.white_balance", (), TINT, column=0, law=LOG, source=CONSUMER),
    scale("white_blue", "visual.white_balance", (), TINT, column=2, law=LOG, source=CONSUMER),
    set_to("hue", "visual.hue", (), (-0.15, 0.15), unit="rad", source=CONSUMER),
    set_to("vignette", "visual.vignette", (), (0, 0.3), source=CONSUMER),
    set_to("pixel_noise", "visual.noise_std", (), (0, 0.03), source=CONSUMER),
    set_to("shot_noise", "visual.shot_noise", (), (0, 0.002), source=CONSUMER),
    set_to("defocus", "visual.blur_px", (), (0, 0.8), unit="px", source=CONSUMER),
)
SENT = "a web camera over USB: up to a picture of 40 ms late, 1 in 20 lost"
CAMERA_TIMING = (
    set_to("camera_delay", "visual.frame_delay_s", (), (0, 0.04), unit="s", source=SENT),
    set_to("camera_loss", "visual.frame_dropout", (), (0, 0.05), source=SENT),
)
SPACE = ParamSpace((*PHYSICS, *TIMING_AND_SENSING, *LOOKS, *CAMERA_TIMING))


def _contract(mj_model: mujoco.MjModel) -> PolicyContract:
    """Returns what the policy reads and writes; limits come from the model, 5 % inside."""
    low, high = (0.95 * mj_model.jnt_range[:, i] for i in (0, 1))
    return PolicyContract(
        task="reach",
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
            scale=0.06,
            home=HOME,
            low=low,
            high=high,
            max_rate=2.0,
        ),
        cameras=(CameraSignal("front", 64, 64, 25.0),),
    )


@dataclass(frozen=True)
class Reach:
    """The task. See `mjx_s2r.sim.task.Task` for what each part means."""

    name: str = "reach"
    substeps: int = 4
    episode_s: float = 4.0
    hold_s: float = 0.5
    ends_on_success: bool = True
    success_reward: float = 60.0
    space: ParamSpace = SPACE
    mj_model: mujoco.MjModel = field(
        default_factory=lambda: mujoco.MjModel.from_xml_path(
            str(Path(__file__).parent / "assets" / "reach.xml")
        )
    )

    @property
    def _tip(self) -> int:
        """Index of the site at the tip of the gripper."""
        return int(self.mj_model.site("tip").id)

    @property
    def _hand(self) -> int:
        """Index of the gripper's body."""
        return int(self.mj_model.body("gripper").id)

    @property
    def contract(self) -> PolicyContract:
        """Returns the policy's contract."""
        return _contract(self.mj_model)

    def reset(self, *, key: jax.Array) -> InitialState:
        """Puts the arm near home and the cube anywhere on the table, turned at random."""
        key_arm, key_radius, key_angle, key_turn = jax.random.split(key, 4)
        spread = jnp.array((0.5, 0.2, 0.2, 0.2, 0.3, 0.1))
        qpos = jnp.array(HOME) + spread * jax.random.uniform(key_arm, (6,), minval=-1.0)
        square = jax.random.uniform(key_radius, minval=RADIUS[0] ** 2, maxval=RADIUS[1] ** 2)
        angle = SECTOR * jax.random.uniform(key_angle, minval=-1.0)
        radius = jnp.sqrt(square)  # uniform over the area
        place = jnp.array((0.0388, 0.0, 0.02)) + jnp.stack(
            (radius * jnp.cos(angle), radius * jnp.sin(angle), jnp.float32(0.0))
        )
        half = 0.5 * jnp.pi * jax.random.uniform(key_turn)
        turn = jnp.stack((jnp.cos(half), jnp.float32(0), jnp.float32(0), jnp.sin(half)))
        return InitialState(qpos, jnp.zeros(6), place[None], turn[None])

    def signals(self, data: mjx.Data) -> dict[str, jax.Array]:
        """Joint angles and speeds, rad and rad/s."""
        return {"joint_pos": data.qpos, "joint_vel": data.qvel}

    def label(self, data: mjx.Data) -> jax.Array:
        """Where the cube is, m: (3,)."""
        return data.mocap_pos[0]

    def keypoints(self, data: mjx.Data) -> jax.Array:
        """The cube, and the tip of the gripper, m: (2, 3)."""
        return jnp.stack((data.mocap_pos[0], data.site_xpos[self._tip]))

    def privileged(self, data: mjx.Data) -> jax.Array:
        """Tip, cube, and the way from the tip to the goal, in tenths of a metre: (9,)."""
        tip, cube = data.site_xpos[self._tip], data.mocap_pos[0]
        return 10 * jnp.concatenate((tip, cube, cube + jnp.array(ABOVE) - tip))

    def goal_distance(self, data: mjx.Data) -> jax.Array:
        """From the tip of the gripper to the point above the cube, m: ()."""
        tip, cube = data.site_xpos[self._tip], data.mocap_pos[0]
        return jnp.linalg.norm(cube + jnp.array(ABOVE) - tip)

    def reward(self, data: mjx.Data, action: jax.Array) -> StepResult:
        """Rewards nearness to the goal, on two scales; charges effort and low links."""
        tip, distance = data.site_xpos[self._tip], self.goal_distance(data)
        on_goal = distance < TOLERANCE
        low = jnp.maximum(0.0, 0.05 - jnp.minimum(tip[2], data.xpos[self._hand, 2]))
        reward = (
            1.0
            - jnp.tanh(distance / 0.2)
            + 0.5 * (1.0 - jnp.tanh(distance / 0.04))
            + 0.5 * on_goal
            - 0.05 * jnp.sum(action**2)
            - 10.0 * low
        )
        return StepResult(reward=reward, on_goal=on_goal)


register(
    "reach",
    Reach,
    ppo=PPOConfig(reward_scale=0.1),
    iterations=120,
    robots="mjx_s2r.envs.reach_robots",
    study_iterations=90,
)
