"""The workspace of a robot's points: a box and a floor that no command leads out of."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from mjx_s2r.contract import ContractError, PolicyContract
from mjx_s2r.robot.chain import ForwardKinematics
from mjx_s2r.robot.safety.causes import Event
from mjx_s2r.robot.safety.config import SafetyConfig

HALVINGS = 12  # of the way from the last command to the one that leads out
ROUNDING_M = 1e-7  # float32 commands


@dataclass(frozen=True)
class Workspace:
    """The box of one robot's points.

    Attributes:
        kinematics: where the points are.
        order: (N,) index of the command of each of the chain's joints.
        low: (3,) m in the base's frame, -inf where there is no limit.
        high: (3,) m.
    """

    kinematics: ForwardKinematics
    order: np.ndarray
    low: np.ndarray
    high: np.ndarray

    def outside(self, command: np.ndarray) -> np.ndarray:
        """Returns (P,) how far each point is outside at a command (J,), m; 0 inside."""
        points = self.kinematics.points(command[self.order])
        radius = self.kinematics.radius[:, None]
        beyond = np.maximum(self.low + radius - points, points - self.high + radius)
        return np.maximum(beyond.max(axis=1), 0.0)

    def limit(
        self, start: np.ndarray, rest: Callable[[], np.ndarray], command: np.ndarray
    ) -> tuple[np.ndarray, list[Event]]:
        """Returns the command (J,) as far as no point leaves the box, or goes farther out.

        Args:
            start: (J,) the last command.
            rest: gives (J,) the command that comes to rest at once, as far as other limits allow.
            command: (J,) inside every other limit.
        """
        allowed = self.outside(start) + ROUNDING_M
        wanted = self.outside(command)
        if (wanted <= allowed).all():
            return command, []
        point = int(np.argmax(wanted - allowed))
        still = rest()
        near, far = 0.0, 1.0
        for _ in range(HALVINGS):
            middle = (near + far) / 2
            if (self.outside(_between(still, command, middle)) <= allowed).all():
                near = middle
            else:
                far = middle
        inside = _between(still, command, near)
        left = float(self.outside(inside)[point])
        name = self.kinematics.chain.points[point].name
        return inside, [Event("workspace", name, float(wanted[point]), left)]


def _between(start: np.ndarray, end: np.ndarray, share: float) -> np.ndarray:
    """Returns the command (J,) float32 at a share of the way."""
    if not share:
        return start
    way = end.astype(float) - start
    return (start + share * way).astype(np.float32)


def workspace_of(config: SafetyConfig, contract: PolicyContract) -> Workspace | None:
    """Returns the workspace that the settings ask for; None where they ask for none.

    Raises:
        ContractError: the contract does not say where the robot's points are, or commands efforts.
    """
    if not config.has_workspace:
        return None
    chain, joints = contract.chain, contract.action.joints
    if not chain.points or contract.action.mode == "effort":
        raise ContractError(
            "safety.workspace_low, workspace_high and floor need position commands and a policy "
            "whose file has the robot's kinematic tree; export the policy again, or leave them out"
        )
    missing = [name for name in chain.joints if name not in joints]
    if missing:
        raise ContractError(
            f"the kinematic tree moves by joints {missing}, which are not among the commanded "
            f"{list(joints)}; export the policy again"
        )
    low = np.array(config.workspace_low or (-math.inf,) * 3, float)
    high = np.array(config.workspace_high or (math.inf,) * 3, float)
    low[2] = max(low[2], config.floor)
    order = np.array([joints.index(name) for name in chain.joints], int)
    return Workspace(ForwardKinematics(chain), order, low, high)
