"""Forward kinematics of a robot's chain, in numpy alone: where its points are.

The formulas are those of MuJoCo's `mj_kinematics` (engine_core_smooth.c): a link is its parent's
frame, moved by ``pos`` and turned by ``quat``; a hinge turns it about ``axis`` through ``anchor``
(Rodrigues: R = I + sin(q) K + (1 - cos(q)) K^2), a slide moves it along ``axis``.
"""

import math
from dataclasses import dataclass

import numpy as np

from mjx_s2r.contract import Chain, ChainLink, ContractError


@dataclass(frozen=True)
class _Link:
    """One link, prepared.

    Attributes:
        parent: index of the parent; -1 is the base.
        pos: (3,) in the parent's frame, m.
        turn: (3, 3) in the parent's frame.
        kind: "hinge", "slide" or "fixed".
        joint: index of the joint's reading.
        zero: reading at which the link is as written.
        axis: (3,) of the joint.
        anchor: (3,) on the axis of a hinge, m.
        cross: (3, 3) K, the cross product with the axis.
        cross2: (3, 3) K^2.
    """

    parent: int
    pos: np.ndarray
    turn: np.ndarray
    kind: str
    joint: int
    zero: float
    axis: np.ndarray
    anchor: np.ndarray
    cross: np.ndarray
    cross2: np.ndarray


class ForwardKinematics:
    """Positions of a chain's points for given joint positions."""

    def __init__(self, chain: Chain) -> None:
        """Prepares the constant parts.

        Raises:
            ContractError: an axis or an orientation without length.
        """
        self.chain = chain
        self._links = [_prepare(link, chain) for link in chain.links]
        self._on = np.array([p.link for p in chain.points], int)
        self._local = np.array([p.pos for p in chain.points], float).reshape(-1, 3, 1)
        self.radius = np.array([p.radius for p in chain.points], float)

    def points(self, joints: np.ndarray) -> np.ndarray:
        """Returns (P, 3) the centres of the points in the base's frame, m.

        Args:
            joints: (N,) readings in the order of ``chain.joints``, rad or m.
        """
        turns, places = np.empty((len(self._links), 3, 3)), np.empty((len(self._links), 3))
        for index, link in enumerate(self._links):
            turn, place = link.turn, link.pos
            if link.parent >= 0:
                above = turns[link.parent]
                turn, place = above @ turn, places[link.parent] + above @ place
            if link.kind == "hinge":
                angle = float(joints[link.joint]) - link.zero
                spin = math.sin(angle) * link.cross + (1 - math.cos(angle)) * link.cross2
                place = place - turn @ (spin @ link.anchor)
                turn = turn + turn @ spin
            elif link.kind == "slide":
                place = place + turn @ (link.axis * (float(joints[link.joint]) - link.zero))
            turns[index], places[index] = turn, place
        return (turns[self._on] @ self._local)[..., 0] + places[self._on]


def _prepare(link: ChainLink, chain: Chain) -> _Link:
    """Returns a link with its constant matrices."""
    axis = np.array(link.axis, float)
    length = float(np.linalg.norm(axis))
    if link.kind != "fixed" and not length > 0:
        raise ContractError(f"chain link {link.name!r}: axis {link.axis} has no direction")
    axis = axis / (length or 1.0)
    x, y, z = axis
    cross = np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])
    return _Link(
        parent=link.parent,
        pos=np.array(link.pos, float),
        turn=_matrix(link),
        kind=link.kind,
        joint=chain.joints.index(link.joint) if link.kind != "fixed" else -1,
        zero=link.zero,
        axis=axis,
        anchor=np.array(link.anchor, float),
        cross=cross,
        cross2=cross @ cross,
    )


def _matrix(link: ChainLink) -> np.ndarray:
    """Returns the (3, 3) rotation of a link's quaternion (w, x, y, z)."""
    quat = np.array(link.quat, float)
    length = float(np.linalg.norm(quat))
    if not length > 0:
        raise ContractError(f"chain link {link.name!r}: quat {link.quat} has no length")
    w, x, y, z = quat / length
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )
