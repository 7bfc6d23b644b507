"""Evaluation robots of reach: C MuJoCo with numbers and looks that training never saw.

`held_out` builds robots and rooms for the verdict. They are fixed by their seeds; no policy, range
or threshold is tuned on them. `rehearsal` builds the nominal robot in the nominal room, seen
through MuJoCo's own camera: that one is for development.

What differs from the simulator, besides the drawn numbers: the cube is a free body that can be
pushed, things collide, physics runs at 2 ms with a converged solver, the arm's base is tilted, the
table is speckled, a second lamp casts another shadow, clutter stands at the rim, and the flaws of
`mjx_s2r.robot.drivers.imperfections` (backlash, bus latency with jitter, lost commands, encoder
counts, late and dropped frames, sensor noise, drifting exposure).
"""

from dataclasses import replace
from pathlib import Path

import mujoco
import numpy as np

from mjx_s2r.envs.reach import ABOVE, HOME, RADIUS, SECTOR, SPACE, TOLERANCE
from mjx_s2r.eval.robot_episodes import JudgedRobot, StartPose
from mjx_s2r.robot.drivers.imperfections import SERVO_ARM, Imperfections
from mjx_s2r.sim.model.leaves import bind_model, write

XML = Path(__file__).parent / "assets" / "reach.xml"
GOAL = (
    "The tip of the gripper must come within 2 cm of a point above the cube and stay for half a "
    "second, within four seconds. The policy sees a 64 by 64 picture and the joint readings."
)
TABLES = (
    (0.82, 0.74, 0.6),
    (0.35, 0.33, 0.32),
    (0.6, 0.65, 0.7),
    (0.88, 0.88, 0.86),
    (0.5, 0.4, 0.3),
)
_HELD_OUT_SEED = 70_000  # another one for every verdict that is to count


def held_out(index: int) -> JudgedRobot:
    """Returns the held-out robot number ``index`` in its room."""
    rng = np.random.default_rng(_HELD_OUT_SEED + index)
    spec = _spec()
    _furnish(spec, rng)
    model = spec.compile()
    write(model, bind_model(SPACE, model), _parameters(rng))
    _light(model, rng)
    offset = float(rng.normal(0, 0.8))
    reality = replace(
        SERVO_ARM, seed=index, strength=float(rng.uniform(0.88, 1.0)), offset_deg=offset
    )
    return JudgedRobot(f"held out {index}", model, reality, start_pose, on_goal)


def rehearsal(index: int) -> JudgedRobot:
    """Returns the nominal robot, seen by MuJoCo's camera, without flaws."""
    return JudgedRobot(
        f"rehearsal {index}", _spec().compile(), Imperfections(seed=index), start_pose, on_goal
    )


def start_pose(rng: np.random.Generator) -> StartPose:
    """Returns where an episode starts: arm near home, cube anywhere in the task's area."""
    spread = np.array((0.5, 0.2, 0.2, 0.2, 0.3, 0.1))
    radius = np.sqrt(rng.uniform(RADIUS[0] ** 2, RADIUS[1] ** 2))
    angle, half = rng.uniform(-SECTOR, SECTOR), rng.uniform(0, np.pi / 2)
    where = (0.0388 + radius * np.cos(angle), radius * np.sin(angle), 0.02)
    turn = (np.cos(half), 0.0, 0.0, np.sin(half))
    return StartPose(np.array(HOME) + spread * rng.uniform(-1, 1, 6), {"cube": (where, turn)})


def on_goal(model: mujoco.MjModel, data: mujoco.MjData) -> bool:
    """Returns whether the tip is within 2 cm of the point above the cube, now."""
    goal = data.body("cube").xpos + np.array(ABOVE)
    return bool(np.linalg.norm(goal - data.site("tip").xpos) < TOLERANCE)


def _spec() -> mujoco.MjSpec:
    """Returns the arm with finer physics, collisions and a cube that can be pushed."""
    spec = mujoco.MjSpec.from_file(str(XML))
    spec.option.timestep = 0.002
    spec.option.iterations, spec.option.ls_iterations = 50, 20
    cube = spec.body("cube")
    cube.mocap = False
    cube.add_freejoint()
    for name in ("cube", "table", "finger", "jaw", "palm", "lower_arm"):
        geom = spec.geom(name)
        geom.contype, geom.conaffinity = (1, 1) if name in ("cube", "table") else (0, 1)
    spec.geom("cube").mass = 0.04
    return spec


def _furnish(spec: mujoco.MjSpec, rng: np.random.Generator) -> None:
    """Tilts the arm, speckles the table, adds clutter at the rim and a second lamp."""
    spec.body("base").quat = _tilt(rng, 0.012)
    shade = np.array(TABLES[rng.integers(len(TABLES))]) * rng.uniform(0.9, 1.05)
    texture = spec.add_texture(name="speckle", type=mujoco.mjtTexture.mjTEXTURE_2D)
    texture.builtin = mujoco.mjtBuiltin.mjBUILTIN_FLAT
    texture.mark = mujoco.mjtMark.mjMARK_RANDOM
    texture.random, texture.width, texture.height = 0.05, 256, 256
    texture.rgb1, texture.markrgb = np.clip(shade, 0, 1), np.clip(0.8 * shade, 0, 1)
    material = spec.add_material(name="speckle", texrepeat=[3, 3])
    material.textures[mujoco.mjtTextureRole.mjTEXROLE_RGB] = "speckle"
    spec.geom("table").material = "speckle"
    spec.geom("table").rgba = (1, 1, 1, 1)
    for side in (-1, 1):
        grey = rng.uniform(0.1, 0.7)
        spec.worldbody.add_geom(
            name=f"clutter{side}",
            type=mujoco.mjtGeom.mjGEOM_BOX,
            pos=(rng.uniform(0.0, 0.3), side * rng.uniform(0.34, 0.38), 0.03),
            size=(0.03, 0.02, 0.03),
            rgba=(grey, grey * rng.uniform(0.9, 1.0), grey * rng.uniform(0.85, 1.0), 1),
            contype=0,
            conaffinity=0,
        )
    spec.worldbody.add_light(
        name="lamp",
        pos=(rng.uniform(-0.5, 0.8), rng.uniform(-1, 1), 1.2),
        dir=(0, 0, -1),
        diffuse=np.full(3, rng.uniform(0.05, 0.25)),
        type=mujoco.mjtLightType.mjLIGHT_DIRECTIONAL,
        castshadow=True,
    )


def _parameters(rng: np.random.Generator) -> np.ndarray:
    """Returns (D,) the held-out numbers of the robot; rows that it has no say in stay nominal."""
    drawn = {
        "link_mass": rng.normal(1.05, 0.05),
        "payload": rng.uniform(0.005, 0.03),
        "damping": np.exp(rng.normal(np.log(1.2), 0.15)),
        "friction": np.exp(rng.normal(np.log(1.3), 0.25)),
        "armature": np.exp(rng.normal(0.0, 0.08)),
        "kp": np.exp(rng.normal(np.log(0.92), 0.08)),
    }
    limits = dict(zip(SPACE.names, SPACE.limits.T, strict=True))
    return SPACE.values({name: float(np.clip(x, *limits[name])) for name, x in drawn.items()})


def _light(model: mujoco.MjModel, rng: np.random.Generator) -> None:
    """Changes light, colours and the camera's mounting in place."""
    sun = model.light("sun").id
    model.light_dir[sun] += rng.normal(0, 0.2, 3) * (1, 1, 0)
    model.light_dir[sun] /= np.linalg.norm(model.light_dir[sun])
    model.light_diffuse[sun] = rng.uniform(0.4, 0.75) * rng.uniform(0.93, 1.0, 3)
    model.vis.headlight.ambient[:] = rng.uniform(0.25, 0.45)
    model.vis.headlight.diffuse[:] = rng.uniform(0.1, 0.35)
    model.geom_rgba[model.geom("cube").id, :3] = np.clip(rng.normal((0.78, 0.12, 0.12), 0.05), 0, 1)
    model.geom_rgba[model.geom("floor").id, :3] = rng.uniform(0.15, 0.6, 3)
    camera = model.camera("front").id
    model.cam_pos[camera] += rng.normal(0, 0.007, 3)
    model.cam_fovy[camera] += rng.normal(0, 0.8)
    turned = np.zeros(4)
    mujoco.mju_mulQuat(turned, model.cam_quat[camera], _tilt(rng, 0.012))
    model.cam_quat[camera] = turned


def _tilt(rng: np.random.Generator, spread_rad: float) -> np.ndarray:
    """Returns a quaternion of a small random rotation about all three axes."""
    vector = rng.normal(0, spread_rad, 3)
    quat = np.array((1.0, *(vector / 2)))
    return quat / np.linalg.norm(quat)
