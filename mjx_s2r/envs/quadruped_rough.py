"""Quadruped on uneven ground: the task of quadruped on a field of smooth bumps.

Train it as --task quadruped_rough. Every world has bumps of its own: `bump_height` is how high they
are, a share of 5 cm, and `bumps` which random ground it is, 0 for the field as written. Heights are
judged above the lowest foot, so that the task needs no map of the ground.
"""

import mujoco
import numpy as np

from mjx_s2r.envs.quadruped import FLOOR, SPACE, XML, Quadruped
from mjx_s2r.envs.registry import register, task_spec
from mjx_s2r.params import Param, ParamSpace

BUMP_M = 0.05  # highest bump
FIELD_M, CELLS = 12.0, 160  # half the width of the field, and how many heights it has each way
SMOOTH_M = 0.3  # width of a bump
LEVEL_M = (
    0.5,
    1.5,
)  # level up to here from the middle, where the robot starts; all bumps from here

UNEVEN = "our choice: a lawn; legged_gym (Rudin et al. 2022) walks on bumps of 2 to 10 cm"
GROUND = (
    Param(
        "bump_height",
        "model.terrain_height",
        FLOOR,
        initial=(0.0, 1.0),
        limits=(0.0, 1.0),
        source=UNEVEN,
    ),
    Param(
        "bumps",
        "model.terrain_seed",
        FLOOR,
        mode="set",
        nominal=0.0,
        initial=(0, 999),
        limits=(0, 999),
        law="categorical",
    ),
)


def heights(seed: int) -> np.ndarray:
    """Returns (CELLS, CELLS) heights in [-1, 1]: smooth noise, level in the middle."""
    noise = np.random.default_rng(seed).normal(size=(CELLS, CELLS))
    waves = 2 * np.pi * np.fft.fftfreq(CELLS, 2 * FIELD_M / CELLS)
    smooth = np.exp(-((SMOOTH_M * np.hypot(*np.meshgrid(waves, waves))) ** 2) / 2)
    bumps = np.fft.ifft2(np.fft.fft2(noise) * smooth).real
    place = np.linspace(-FIELD_M, FIELD_M, CELLS)
    away = np.hypot(*np.meshgrid(place, place))
    share = np.clip((away - LEVEL_M[0]) / (LEVEL_M[1] - LEVEL_M[0]), 0, 1)
    return np.asarray(share * np.clip(bumps / bumps.std() / 2, -1, 1))


def quadruped_rough() -> Quadruped:
    """Returns the task with a height field for a floor."""
    spec = mujoco.MjSpec.from_file(str(XML))
    spec.add_hfield(
        name="floor",
        nrow=CELLS,
        ncol=CELLS,
        size=(FIELD_M, FIELD_M, 2 * BUMP_M, 0.1),
        userdata=((heights(seed=0) + 1) / 2).ravel(),
    )
    floor = spec.geom("floor")
    floor.type, floor.hfieldname = mujoco.mjtGeom.mjGEOM_HFIELD, "floor"
    floor.pos = (0.0, 0.0, -BUMP_M)
    spec.stat.extent = 1.0  # m; else cameras cut away what is nearer than a share of the field
    space = ParamSpace((*SPACE.rows, *GROUND))
    return Quadruped(name="quadruped_rough", space=space, mj_model=spec.compile())


_FLAT = task_spec("quadruped")
register("quadruped_rough", quadruped_rough, ppo=_FLAT.ppo, iterations=_FLAT.iterations)
