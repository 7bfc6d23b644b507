"""From commands back to a policy's actions: the inverse of `mjx_s2r.contract.next_command`.

    delta_position   a_t = (target_t - held_{t-1}) / scale
    position         a_t = (target_t - home) / scale
    effort           a_t = target_t / scale

clipped to [-1, 1]. held is the command that such a policy would have sent, so what one action
cannot reach the next ones catch up with.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from mjx_s2r.contract import ActionSpec, PolicyContract, assemble, next_command
from mjx_s2r.transfer.recording import RecordingError

CLIP_SLACK = 1e-3  # of full output; rounding is no clipping


@dataclass(frozen=True, eq=False)
class RecoveredActions:
    """Actions of T rows, and what was sent before each.

    Attributes:
        actions: (T, J) float32 in [-1, 1].
        held: (T, J) float32 the command before each row, which a policy reads as "command".
        clipped: share of the values that would have had to lie outside of [-1, 1].
    """

    actions: np.ndarray
    held: np.ndarray
    clipped: float


def recover_actions(
    action: ActionSpec, targets: np.ndarray, start: np.ndarray, sent: np.ndarray | None = None
) -> RecoveredActions:
    """Returns the actions that lead to the targets.

    Args:
        action: of the policy's contract.
        targets: (T, J) goal positions or efforts, in the action's unit.
        start: (J,) command before the first row, e.g. the measured pose.
        sent: (T, J) commands that the robot held before each row, where they are known; they then
            take the place of those that the recovered actions lead to.
    """
    scale = np.asarray(action.scale, np.float32)
    held = np.clip(start, action.low, action.high).astype(np.float32)
    before, actions, outside = np.empty_like(targets, np.float32), [], 0
    for row, target in enumerate(targets.astype(np.float32)):
        held = held if sent is None else sent[row].astype(np.float32)
        before[row] = held
        if action.mode == "delta_position":
            base = held
        else:
            base = np.asarray(action.home if action.mode == "position" else 0.0, np.float32)
        wanted = (target - base) / scale
        outside += int((np.abs(wanted) > 1 + CLIP_SLACK).sum())
        actions.append(np.clip(wanted, -1, 1))
        held = next_command(np, action, held, actions[-1] * scale)
    found = np.asarray(actions, np.float32).reshape(targets.shape)
    return RecoveredActions(found, before, outside / max(targets.size, 1))


def first_held(action: ActionSpec, measured: np.ndarray | None) -> np.ndarray:
    """Returns the command (J,) that a controller holds before its first row.

    Args:
        action: of the policy's contract.
        measured: (J,) joint positions of the first row, where they were recorded.
    """
    if action.mode == "effort":
        return np.zeros(len(action.joints))
    return np.asarray(action.home if measured is None else measured)


def assembled_readings(
    contract: PolicyContract, signals: Mapping[str, np.ndarray], held: np.ndarray, where: str
) -> np.ndarray:
    """Returns (T, P) what a policy would have read.

    Velocities that were not recorded are differences of positions over the last control period, as
    drivers without a velocity reading make them.

    Args:
        contract: of the policy.
        signals: name -> (T, size) raw readings at the control rate.
        held: (T, J) the command before each row.
        where: file and episode, for the error.

    Raises:
        RecordingError: a signal that was not recorded.
    """
    known = dict(signals) | {"command": held}
    if "joint_vel" not in known and "joint_pos" in known:
        known["joint_vel"] = backward_difference(known["joint_pos"], contract.control_hz)
    for s in contract.signals:
        if s.name not in known:
            raise RecordingError(
                f"{where}: signal {s.name!r} of the policy was not recorded; recorded are "
                f"{sorted(signals)}: map a column to it, or train a student that does not read it"
            )
        if known[s.name].shape[1:] != (s.size,):
            raise RecordingError(
                f"{where}: signal {s.name!r} has {known[s.name].shape[1]} numbers, the policy "
                f"reads {s.size}"
            )
    return np.asarray(assemble(np, contract, known), np.float32)


def backward_difference(values: np.ndarray, hz: float) -> np.ndarray:
    """Returns (T, n) the change per second of values (T, n) since the row before; 0 in the first.

    It looks back alone, as a robot can.
    """
    out = np.zeros_like(values)
    out[1:] = np.diff(values, axis=0) * hz
    return out
