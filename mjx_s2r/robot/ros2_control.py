"""The limits and the controller of ros2_control, from a policy's contract, as YAML.

Names of the parameters: ros2_control, joint_limits/joint_limits_rosparam.hpp; ros2_controllers,
forward_command_controller and joint_trajectory_controller. ros2_control's limiters are off unless
the hardware's description or the controller asks for them; see docs/ros2.md.
"""

import json
import math
from collections.abc import Sequence
from typing import Literal, get_args

from mjx_s2r.contract import ContractError, PolicyContract

RosController = Literal["forward", "trajectory"]
TYPES = {
    "forward": "forward_command_controller/ForwardCommandController",
    "trajectory": "joint_trajectory_controller/JointTrajectoryController",
}
CONTROLLER = "policy_controller"  # name of the controller in the files
MANAGER_HZ = 100.0  # rate of the controller manager, at least; else ten times the policy's


def to_ros2_control(
    contract: PolicyContract,
    *,
    controller: RosController = "forward",
    max_acceleration: Sequence[float] = (),
) -> dict[str, str]:
    """Returns the files: name -> YAML text, "joint_limits.yaml" and "controllers.yaml".

    Args:
        contract: of the policy.
        controller: which controller takes the commands.
        max_acceleration: largest acceleration per joint, rad/s^2 or m/s^2, one for all joints or
            one each; () sets no limit.

    Raises:
        ContractError: an unknown controller, one that cannot take efforts, or limits that are
            neither one nor one per joint.
    """
    if controller not in get_args(RosController):
        raise ContractError(
            f"controller {controller!r} must be one of {list(get_args(RosController))}"
        )
    effort, joints = contract.action.mode == "effort", contract.action.joints
    if effort and controller == "trajectory":
        raise ContractError(
            "a trajectory has positions, and the policy commands efforts; take controller 'forward'"
        )
    most = tuple(max_acceleration) * (len(joints) if len(max_acceleration) == 1 else 1)
    if len(most) not in (0, len(joints)) or not all(x > 0 for x in most):
        raise ContractError(
            f"max_acceleration {tuple(max_acceleration)} must be one positive number, or one for "
            f"each of {list(joints)}"
        )
    rate = round(max(MANAGER_HZ, 10 * contract.control_hz))
    return {
        "joint_limits.yaml": _limits(contract, most),
        "controllers.yaml": _controllers(contract, controller, rate),
    }


def _limits(contract: PolicyContract, max_acceleration: Sequence[float]) -> str:
    """Returns joint_limits.yaml."""
    action = contract.action
    effort = action.mode == "effort"
    lines = [
        f"# Limits of the policy for task {_text(contract.task)}, as it was trained.",
        "/**:",
        "  ros__parameters:",
        "    joint_limits:",
    ]
    for j, joint in enumerate(action.joints):
        bounded = not effort and math.isfinite(action.low[j]) and math.isfinite(action.high[j])
        lines.append(f"      {_text(joint)}:")
        rows: list[tuple[str, str | float | bool]] = [("has_position_limits", bounded)]
        if bounded:
            rows += [("min_position", action.low[j]), ("max_position", action.high[j])]
        most = max(abs(action.low[j]), abs(action.high[j])) if effort else action.max_effort[j]
        strongest = min(most, action.max_effort[j])
        for kind, value in (
            ("velocity", math.inf if effort else action.max_rate[j]),
            ("acceleration", max_acceleration[j] if max_acceleration else math.inf),
            ("jerk", math.inf),
            ("effort", math.inf if action.unit == "1" else strongest),
        ):
            limited = math.isfinite(value)
            rows.append((f"has_{kind}_limits", limited))
            if limited:
                rows.append((f"max_{kind}", value))
        lines += [f"        {name}: {_value(value)}" for name, value in rows]
    return "\n".join(lines) + "\n"


def _controllers(contract: PolicyContract, controller: RosController, rate: int) -> str:
    """Returns controllers.yaml."""
    interface = "effort" if contract.action.mode == "effort" else "position"
    lines = [
        "controller_manager:",
        "  ros__parameters:",
        f"    update_rate: {rate}  # Hz; the policy runs at {contract.control_hz:g}",
        "    joint_state_broadcaster:",
        "      type: joint_state_broadcaster/JointStateBroadcaster",
        f"    {CONTROLLER}:",
        f"      type: {TYPES[controller]}",
        f"{CONTROLLER}:",
        "  ros__parameters:",
        "    joints:",
        *(f"      - {_text(joint)}" for joint in contract.action.joints),
    ]
    if controller == "forward":
        lines.append(f"    interface_name: {interface}")
    else:
        lines += [
            f"    command_interfaces: [{interface}]",
            "    state_interfaces: [position, velocity]",
            "    allow_partial_joints_goal: false",
        ]
    return "\n".join(lines) + "\n"


def _value(value: str | float | bool) -> str:
    """Returns a value as YAML; numbers as ROS wants them, with a point."""
    return str(value).lower() if isinstance(value, bool) else repr(float(value))


def _text(text: str) -> str:
    """Returns a text as YAML: in double quotes, which is JSON's way, too."""
    return json.dumps(text)
