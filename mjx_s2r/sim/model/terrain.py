"""Ground that each world has for itself: the heights of a height field from two numbers.

    height  = level + terrain_height (relief - level)
    relief  = the field as written where terrain_seed is 0, else random ground number terrain_seed

``level`` is the height as written in the field's middle. Random ground is a Gaussian random field
with the correlation exp(-d^2 / (4 w^2)) over a distance d, w = `WIDTH_M`, as a sum of M waves of
random phase (spectral representation: Shinozuka and Deodatis, "Simulation of stochastic processes
by spectral representation", Applied Mechanics Reviews 44, 1991),

    n(x) = sqrt(2 / M) sum over m: cos(k_m x + phase_m),   k_m ~ N(0, 1 / (2 w^2)) per axis,

cut off at two deviations. Its highest hill and its deepest hole are those of the field as written,
and it is level in the middle, where robots start. The waves are the same for every seed, the phases
are not: phase_m = 2 pi frac(seed a_m + b_m), numbers a_m and b_m drawn once. So the grounds of many
worlds are one product of matrices, waves times phases.
"""

from dataclasses import dataclass
from functools import lru_cache
from types import ModuleType

import mujoco
import numpy as np

from mjx_s2r.params import Array

ARRAYS = ("terrain_height", "terrain_seed")
WIDTH_M = 0.3  # of a bump
MOST_SEED = 9999  # beyond that float32 has no phases left
WAVES = 32
LEVEL_M = (0.5, 1.5)  # level up to here from the middle; the whole relief from here
LEVEL_SHARES = (1 / 12, 1 / 4)  # of the field's half width, where that is less
CUT = 2.0  # deviations


@dataclass(frozen=True, eq=False)
class Field:
    """One height field as written, R rows along y and C columns along x.

    Attributes:
        first: where its numbers begin in hfield_data.
        heights: (R, C) as written, 0 to 1.
        share: (R, C) of the relief that there is: 0 in the middle, 1 farther out.
        waves: (2 M, R C) cosine and sine of every wave.
    """

    first: int
    heights: np.ndarray
    share: np.ndarray
    waves: np.ndarray

    @property
    def level(self) -> np.float32:
        """Height in the middle, 0 to 1."""
        rows, columns = self.heights.shape
        return np.float32(self.heights[rows // 2, columns // 2])

    @property
    def hill(self) -> np.float32:
        """Highest above the level."""
        return np.float32(self.heights.max() - self.level)

    @property
    def hole(self) -> np.float32:
        """Deepest below the level."""
        return np.float32(self.level - self.heights.min())


def fields_of(mj_model: mujoco.MjModel) -> tuple[Field, ...]:
    """Returns the height fields of a model, in order."""
    found = []
    for i in range(mj_model.nhfield):
        rows, columns = int(mj_model.hfield_nrow[i]), int(mj_model.hfield_ncol[i])
        first = int(mj_model.hfield_adr[i])
        half_x, half_y = (float(x) for x in mj_model.hfield_size[i, :2])
        place = _places(rows, columns, half_x, half_y)
        away = np.hypot(place[..., 0], place[..., 1])
        near, far = (
            min(m, part * min(half_x, half_y))
            for m, part in zip(LEVEL_M, LEVEL_SHARES, strict=True)
        )
        share = np.clip((away - near) / (far - near), 0, 1).astype(np.float32)
        data = mj_model.hfield_data[first : first + rows * columns]
        heights = np.array(data, np.float32).reshape(rows, columns)
        found.append(Field(first, heights, share, _waves(rows, columns, half_x, half_y)))
    return tuple(found)


def _places(rows: int, columns: int, half_x: float, half_y: float) -> np.ndarray:
    """Returns (R, C, 2) m from the middle."""
    x, y = np.linspace(-half_x, half_x, columns), np.linspace(-half_y, half_y, rows)
    return np.stack(np.meshgrid(x, y), -1)


@lru_cache(maxsize=4)
def _waves(rows: int, columns: int, half_x: float, half_y: float) -> np.ndarray:
    """Returns (2 M, R C) cosine and sine of every wave."""
    angle = _places(rows, columns, half_x, half_y).reshape(-1, 2) @ _numbers()[0]
    return np.concatenate((np.cos(angle.T), np.sin(angle.T))).astype(np.float32)


def _numbers() -> tuple[np.ndarray, np.ndarray]:
    """Returns (2, M) wave numbers, rad/m, and (2, M) float32 what makes phases of a seed."""
    rng = np.random.default_rng(0)
    numbers = rng.standard_normal((2, WAVES)) / (np.sqrt(2) * WIDTH_M)
    return numbers, rng.uniform(size=(2, WAVES)).astype(np.float32)


def most_height(field: Field) -> float:
    """Returns the largest terrain_height that the field has room for: heights stay in 0 to 1."""
    room = (1 - field.level, field.hill), (field.level, field.hole)
    return float(min((space / part for space, part in room if part > 0), default=np.inf))


def hfield_data(
    xp: ModuleType,
    fields: tuple[Field, ...],
    written: np.ndarray,
    now: dict[str, Array],
    moved: np.ndarray,
) -> Array:
    """Returns the model's hfield_data (nhfielddata,) with the ground of one world.

    Args:
        xp: numpy or jax.numpy.
        fields: from `fields_of`.
        written: hfield_data as written.
        now: the arrays of `ARRAYS`, (nhfield,) each.
        moved: (nhfield,) True for fields that a row touches.
    """
    parts, at = [], 0
    for i, field in enumerate(fields):
        if not moved[i]:
            continue
        height, seed = (now[name][i] for name in ARRAYS)
        relief = (field.heights - field.level).reshape(-1)
        number = xp.floor(seed + 0.5)
        bumps = xp.clip(_noise(xp, field, number) / CUT, -1.0, 1.0) * field.share.reshape(-1)
        bumps = bumps * xp.where(bumps > 0, field.hill, field.hole)
        ground = field.level + height * xp.where(number > 0, bumps, relief)
        parts += [written[at : field.first], ground]
        at = field.first + field.heights.size
    return xp.concatenate([part for part in (*parts, written[at:]) if part.size])


def _noise(xp: ModuleType, field: Field, seed: Array) -> Array:
    """Returns (R C,) random ground of unit variance."""
    rate, start = _numbers()[1]
    turns = seed * rate + start
    phase = (2 * np.pi) * (turns - xp.floor(turns))
    parts = xp.concatenate([xp.cos(phase), -xp.sin(phase)])
    return np.float32(np.sqrt(2 / WAVES)) * (parts @ field.waves)
