"""Actors that make logs: a planned motion, and a person with a teleoperator.

They are asked like a policy, so that the controller and the guard stand between them and the robot.
"""

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Protocol

import numpy as np

from mjx_s2r.contract import ActionSpec, ContractError, PolicyContract, Signal
from mjx_s2r.robot.collect.plan import MotionPlan
from mjx_s2r.robot.driver import DriverInfo

RATE = 1.0  # unit/s that a joint may move where neither the robot nor the person says more


def motion_contract(info: DriverInfo, control_hz: float, max_rate: float = RATE) -> PolicyContract:
    """Returns a contract that commands the positions of a robot, from its data sheet alone.

    Args:
        info: the robot.
        control_hz: rate of the commands.
        max_rate: fastest change of a command where the robot names none, unit/s.

    Raises:
        ContractError: the robot takes efforts, has a joint without ends, or reports no positions.
    """
    joints = len(info.joints)
    if info.command != "position":
        raise ContractError(
            f"robot {info.name!r} takes {info.command} commands; motions need positions"
        )
    if info.signals.get("joint_pos") != joints:
        raise ContractError(
            f"robot {info.name!r} reports no 'joint_pos' of {joints} values; it has "
            f"{dict(info.signals)}"
        )
    for joint, low, high in zip(info.joints, info.low, info.high, strict=True):
        if not (math.isfinite(low) and math.isfinite(high) and low < high):
            raise ContractError(
                f"joint {joint!r} has no ends ({low} to {high}); give the driver its limits"
            )
    middle = tuple((a + b) / 2 for a, b in zip(info.low, info.high, strict=True))
    action = ActionSpec(
        joints=info.joints,
        mode="position",
        unit=info.unit,
        scale=tuple((b - a) / 2 for a, b in zip(info.low, info.high, strict=True)),
        home=middle,
        low=info.low,
        high=info.high,
        max_rate=tuple(rate if math.isfinite(rate) else max_rate for rate in info.max_rate),
        max_effort=info.max_effort,
    )
    units = {"joint_pos": info.unit, "joint_vel": f"{info.unit}/s"}
    signals = tuple(Signal(n, info.signals[n], u) for n, u in units.items() if n in info.signals)
    return PolicyContract("collect", control_hz, signals, action)


class MotionActor:
    """Makes a planned motion; a step in which the guard did not ask does not move it on."""

    def __init__(self, plan: MotionPlan) -> None:
        """Takes the plan."""
        self.contract = plan.contract
        self._outputs = (plan.targets - plan.contract.action.home).astype(np.float32)
        self._next = 0

    @property
    def done(self) -> bool:
        """Whether the whole motion was asked for."""
        return self._next >= len(self._outputs)

    def reset(self) -> None:
        """Begins again."""
        self._next = 0

    def act(self, obs: np.ndarray, images: Mapping[str, np.ndarray]) -> np.ndarray:
        """Returns the next target (J,), away from home; the last one for ever."""
        output = self._outputs[min(self._next, len(self._outputs) - 1)]
        self._next += 1
        return output


class Teleoperator(Protocol):
    """What leads a robot by hand; the part of LeRobot's ``Teleoperator`` that is used.

    ``get_action`` returns one number per joint under "<joint>.pos" or "<joint>", in the unit of the
    robot's commands.
    """

    def connect(self) -> None:
        """Opens the device."""
        ...

    def get_action(self) -> Mapping[str, Any]:
        """Returns where the joints should be."""
        ...

    def disconnect(self) -> None:
        """Closes the device."""
        ...


class TeleopActor:
    """Asks for the pose that a teleoperator shows."""

    def __init__(self, contract: PolicyContract, device: Teleoperator) -> None:
        """Takes the contract of the robot and the device.

        Raises:
            ContractError: the contract commands efforts.
        """
        if contract.action.mode == "effort":
            raise ContractError("a teleoperator shows positions and this contract commands efforts")
        action = replace(contract.action, mode="position")
        self.contract = replace(contract, action=action, memory=0)
        self._device = device

    def act(self, obs: np.ndarray, images: Mapping[str, np.ndarray]) -> np.ndarray:
        """Returns the shown pose (J,), away from home.

        Raises:
            ContractError: a joint that the device does not show; the robot is stopped for it.
        """
        shown = self._device.get_action()
        joints = self.contract.action.joints
        names = [f"{j}.pos" if f"{j}.pos" in shown else j for j in joints]
        absent = [j for j, name in zip(joints, names, strict=True) if name not in shown]
        if absent:
            raise ContractError(
                f"the teleoperator shows {sorted(shown)} and not joints {absent}; map their names"
            )
        pose = np.array([float(shown[name]) for name in names])
        return np.asarray(pose - self.contract.action.home, np.float32)
