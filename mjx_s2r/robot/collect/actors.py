"""Actors that make logs: a planned motion, and a person with a teleoperator.

They are asked like a policy, so that the controller and the guard stand between them and the robot.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol

import numpy as np

from mjx_s2r.contract import ActionSpec, ContractError, PolicyContract, Signal
from mjx_s2r.robot.calibration import JointCalibration
from mjx_s2r.robot.collect.plan import MotionPlan
from mjx_s2r.robot.driver import DriverInfo, believed_positions
from mjx_s2r.robot.log.reader import data_sheet_of

LEROBOT = "action_features"  # what each teleoperator of LeRobot has, and names its numbers
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
    robot's commands; or under the names of its motors, in their units, where a calibration says
    which joint each moves. LeRobot's own devices show -100 to 100, or degrees.
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

    def __init__(
        self,
        contract: PolicyContract,
        device: Teleoperator,
        calibration: Sequence[JointCalibration] = (),
        info: DriverInfo | None = None,
    ) -> None:
        """Takes the contract of the robot and the device.

        Args:
            contract: of the robot.
            device: opened before the first `act`.
            calibration: one entry per joint, of the device's motors; none where the device shows
                the unit of the robot's commands.
            info: the robot's data sheet, which says what a pose may be where there is no
                calibration; None believes the contract's limits.

        Raises:
            ContractError: the contract commands efforts, a joint has no calibration, or the device
                is one of LeRobot's and there is none at all.
        """
        if contract.action.mode == "effort":
            raise ContractError("a teleoperator shows positions and this contract commands efforts")
        action = replace(contract.action, mode="position")
        self.contract = replace(contract, action=action, memory=0)
        self._device = device
        self._motors = {x.joint: x for x in calibration}
        missing = [joint for joint in action.joints if joint not in self._motors]
        if self._motors and missing:
            raise ContractError(
                f"the teleoperator's calibration has no joint {missing}; it has "
                f"{sorted(self._motors)}: give the robot's names in it"
            )
        if not self._motors and hasattr(device, LEROBOT):
            raise ContractError(
                f"the teleoperator {type(device).__name__} is one of LeRobot's, whose numbers are "
                f"-100 to 100 or degrees and commands are in {action.unit!r}; give the calibration "
                "of its motors: --teleop-calibration FILE"
            )
        sheet = info or data_sheet_of(contract, "")
        self._low, self._high = believed_positions(sheet)

    def pose(self) -> np.ndarray:
        """Returns the pose (J,) that the device shows, in the unit of the robot's commands.

        Raises:
            ContractError: a joint that the device does not show, or, where no calibration says the
                unit, a pose that the robot cannot have; it is stopped for that.
        """
        shown, joints = self._device.get_action(), self.contract.action.joints
        motors = [self._motors[j].motor if self._motors else j for j in joints]
        names = [f"{m}.pos" if f"{m}.pos" in shown else m for m in motors]
        absent = [m for m, name in zip(motors, names, strict=True) if name not in shown]
        if absent:
            kind = "motors" if self._motors else "joints"
            raise ContractError(
                f"the teleoperator shows {sorted(shown)} and not {kind} {absent}; map their names"
            )
        values = [float(shown[name]) for name in names]
        if self._motors:
            pairs = zip(joints, values, strict=True)
            return np.array([self._motors[joint].to_joint(value) for joint, value in pairs])
        for joint, value, low, high in zip(joints, values, self._low, self._high, strict=True):
            if not low <= value <= high:
                raise ContractError(
                    f"the teleoperator shows {value:g} for joint {joint!r}, which goes from "
                    f"{low:.4g} to {high:.4g} {self.contract.action.unit} at the most: another "
                    "unit or zero; say what its numbers mean: --teleop-calibration FILE"
                )
        return np.array(values)

    def act(self, obs: np.ndarray, images: Mapping[str, np.ndarray]) -> np.ndarray:
        """Returns the shown pose (J,), away from home.

        Raises:
            ContractError: as `pose`; the robot is stopped for it.
        """
        return np.asarray(self.pose() - self.contract.action.home, np.float32)
