"""Evaluation robots of reach: C MuJoCo with numbers and looks that training never saw.

`held_out` writes the reality (docs/reality.md) of robots and rooms for the verdict. They are fixed
by their seeds; no policy, range or threshold is tuned on them. `rehearsal` is the nominal robot in
the nominal room, seen through MuJoCo's own camera: that one is for development.

What differs from the simulator, besides the drawn numbers: the cube is a free body that can be
pushed, things collide, physics runs at 2 ms with a converged solver, the arm's base is tilted, the
table is speckled, a second lamp casts another shadow, clutter stands at the rim, and the flaws of
`mjx_s2r.robot.drivers.imperfections` (backlash, bus latency with jitter, lost commands, encoder
counts, late and dropped frames, sensor noise, drifting exposure).
"""

from functools import cache
from pathlib import Path
from typing import Any

import mujoco
import numpy as np

from mjx_s2r.envs.reach import SPACE
from mjx_s2r.eval.reality import (
    CameraError,
    ExtraGeom,
    ExtraLight,
    Headlight,
    LightLook,
    Reality,
    RealityLooks,
    RealityScene,
    Speckle,
    StandInPhysics,
    effects_of,
)
from mjx_s2r.robot.drivers.imperfections import SERVO_ARM

ASSETS, XML = Path(__file__).parent / "assets", "reach.xml"
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
PHYSICS = StandInPhysics(timestep=0.002, iterations=50, ls_iterations=20)
TOUCHING = {
    **dict.fromkeys(("cube", "table"), (1, 1)),
    **dict.fromkeys(("finger", "jaw", "palm", "lower_arm"), (0, 1)),
}
THINGS: dict[str, Any] = {"free": ("cube",), "mass": {"cube": 0.04}, "collide": TOUCHING}
_HELD_OUT_SEED = 80_000  # another one for every verdict that is to count


def held_out(index: int) -> Reality:
    """Returns the reality of the held-out robot number ``index`` in its room."""
    rng = np.random.default_rng(_HELD_OUT_SEED + index)
    tilt = _tilt(rng, 0.012)
    shade = np.array(TABLES[rng.integers(len(TABLES))]) * rng.uniform(0.9, 1.05)
    speckles = Speckle(_numbers(np.clip(shade, 0, 1)), _numbers(np.clip(0.8 * shade, 0, 1)))
    scene = RealityScene(
        **THINGS,
        tilt={"base": tilt},
        geoms=tuple(_clutter(side, rng) for side in (-1, 1)),
        lights=(_lamp(rng),),
    )
    rows = _parameters(rng)
    looks = _looks(rng, {"table": speckles})
    offset = float(rng.normal(0, 0.8))
    strength = float(rng.uniform(0.88, 1.0))
    return Reality(
        name="held out",
        model=XML,
        folder=ASSETS,
        count=1,
        first=index,
        rows=rows,
        effects={**effects_of(SERVO_ARM), "strength": strength, "offset_deg": offset},
        physics=PHYSICS,
        scene=scene,
        looks=looks,
    )


def rehearsal(index: int) -> Reality:
    """Returns the reality of the nominal robot, seen by MuJoCo's camera, without flaws."""
    scene = RealityScene(**THINGS)
    return Reality("rehearsal", XML, 1, index, physics=PHYSICS, scene=scene, folder=ASSETS)


def _clutter(side: int, rng: np.random.Generator) -> ExtraGeom:
    """Returns a box at the rim."""
    grey = rng.uniform(0.1, 0.7)
    pos = (rng.uniform(0.0, 0.3), side * rng.uniform(0.34, 0.38), 0.03)
    rgb = (grey, grey * rng.uniform(0.9, 1.0), grey * rng.uniform(0.85, 1.0))
    return ExtraGeom(name=f"clutter{side}", size=(0.03, 0.02, 0.03), pos=pos, rgb=rgb)


def _lamp(rng: np.random.Generator) -> ExtraLight:
    """Returns a second lamp, straight from above."""
    pos = (rng.uniform(-0.5, 0.8), rng.uniform(-1, 1), 1.2)
    return ExtraLight(name="lamp", pos=pos, diffuse=rng.uniform(0.05, 0.25))


def _parameters(rng: np.random.Generator) -> dict[str, Any]:
    """Returns the held-out numbers of the robot; rows that it has no say in stay nominal."""
    drawn = {
        "link_mass": rng.normal(1.05, 0.05),
        "payload": rng.uniform(0.005, 0.03),
        "damping": np.exp(rng.normal(np.log(1.2), 0.15)),
        "friction": np.exp(rng.normal(np.log(1.3), 0.25)),
        "armature": np.exp(rng.normal(0.0, 0.08)),
        "kp": np.exp(rng.normal(np.log(0.92), 0.08)),
    }
    limits = dict(zip(SPACE.names, SPACE.limits.T, strict=True))
    return {name: float(np.clip(x, *limits[name])) for name, x in drawn.items()}


def _looks(rng: np.random.Generator, speckles: dict[str, Speckle]) -> RealityLooks:
    """Returns light, colours and the camera's mounting."""
    sun = _sun() + rng.normal(0, 0.2, 3) * (1, 1, 0)
    diffuse = rng.uniform(0.4, 0.75) * rng.uniform(0.93, 1.0, 3)
    headlight = Headlight(ambient=rng.uniform(0.25, 0.45), diffuse=rng.uniform(0.1, 0.35))
    colours = {
        "cube": _numbers(np.clip(rng.normal((0.78, 0.12, 0.12), 0.05), 0, 1)),
        "floor": _numbers(rng.uniform(0.15, 0.6, 3)),
    }
    front = CameraError(
        pos=_numbers(rng.normal(0, 0.007, 3)),
        fovy=float(rng.normal(0, 0.8)),
        turn=_tilt(rng, 0.012),
    )
    return RealityLooks(
        colours=colours,
        speckles=speckles,
        lights={"sun": LightLook(dir=_numbers(sun), diffuse=_numbers(diffuse))},
        cameras={"front": front},
        headlight=headlight,
    )


@cache
def _sun() -> np.ndarray:
    """Returns (3,) the way the sun's light travels in the model."""
    return np.array(mujoco.MjModel.from_xml_path(str(ASSETS / XML)).light("sun").dir)


def _tilt(rng: np.random.Generator, spread_rad: float) -> tuple[Any, ...]:
    """Returns a quaternion of a small random rotation about all three axes."""
    vector = rng.normal(0, spread_rad, 3)
    quat = np.array((1.0, *(vector / 2)))
    return _numbers(quat / np.linalg.norm(quat))


def _numbers(values: np.ndarray) -> Any:
    """Returns an array as a tuple of numbers, as a reality file has them."""
    return tuple(map(float, values))
