"""Sphere, capsule and box: signed distance and points on the surface."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.spatial.transform import Rotation

Kind = Literal["sphere", "capsule", "box"]
KINDS: tuple[Kind, ...] = ("sphere", "capsule", "box")  # from the cheapest in contact


@dataclass(frozen=True, eq=False)
class Primitive:
    """A shape in the frame of a body.

    Attributes:
        kind: which.
        size: as MuJoCo's geom has it [m]: (radius,), (radius, half length) or half sizes (3,).
        pos: (3,) centre [m].
        quat: (4,) unit quaternion, scalar first; a capsule lies along its z axis.
    """

    kind: Kind
    size: np.ndarray
    pos: np.ndarray
    quat: np.ndarray

    def distance(self, points: np.ndarray) -> np.ndarray:
        """Returns the signed distance (N,) [m] of points (N, 3): negative inside."""
        local = np.abs((points - self.pos) @ self._matrix())
        if self.kind == "box":
            over = local - self.size
            outside = np.linalg.norm(np.maximum(over, 0.0), axis=1)
            return np.asarray(outside + np.minimum(over.max(axis=1), 0.0))
        if self.kind == "capsule":
            local[:, 2] = np.maximum(local[:, 2] - self.size[1], 0.0)
        return np.asarray(np.linalg.norm(local, axis=1) - self.size[0])

    def surface(self, directions: np.ndarray) -> np.ndarray:
        """Returns points (N, 3) [m] on the surface, spread as the unit directions (N, 3) are."""
        if self.kind == "box":
            local = directions / np.abs(directions).max(axis=1, keepdims=True) * self.size
        else:
            local = directions * self.size[0]
            if self.kind == "capsule":  # two half balls, and the tube between them
                tube = np.abs(local[:, 2]) < self.size[0] / 2
                local[:, 2] += np.sign(local[:, 2]) * self.size[1]
                flat = local[tube, :2]
                flat *= self.size[0] / np.linalg.norm(flat, axis=1, keepdims=True)
                local[tube, :2] = flat
                local[tube, 2] = directions[tube, 2] * 2 * self.size[1]
        return np.asarray(local @ self._matrix().T + self.pos)

    @property
    def volume(self) -> float:
        """Volume [m^3]."""
        if self.kind == "box":
            return float(8 * np.prod(self.size))
        ball = 4 / 3 * np.pi * self.size[0] ** 3
        tube = 2 * np.pi * self.size[0] ** 2 * self.size[1] if self.kind == "capsule" else 0.0
        return float(ball + tube)

    def _matrix(self) -> np.ndarray:
        return Rotation.from_quat(self.quat, scalar_first=True).as_matrix()


def fibonacci(count: int) -> np.ndarray:
    """Returns unit directions (N, 3) spread evenly (R. Swinbank, R. J. Purser 2006, eq. 1)."""
    index = np.arange(count) + 0.5
    turn = np.pi * (1 + 5**0.5) * index
    z = 1 - 2 * index / count
    ring = np.sqrt(1 - z**2)
    return np.stack([ring * np.cos(turn), ring * np.sin(turn), z], axis=1)
