"""Checks that a contract fits its model: what it says is what the model does, or it is refused.

The contract travels to the robot: its gains bound what the guard lets through, its limits are what
a policy was trained on, its units are what the driver is told. So each is compared with what the
MuJoCo model does with it. Limits that are narrower than the model's are fine, and an infinite
``max_effort`` claims nothing.
"""

import warnings
from collections.abc import Sequence

import mujoco
import numpy as np

from mjx_s2r.contract import ContractError, PolicyContract
from mjx_s2r.drives import (
    ON_JOINT,
    SLACK,
    Drives,
    Limit,
    called,
    command_unit,
    effort_limits,
    motor_gain,
    not_a_motor,
    not_a_servo,
    position_limits,
    resolve,
)
from mjx_s2r.params import Edit, ParamSpace, unknown
from mjx_s2r.sim.backends.physics_config import ModelError
from mjx_s2r.sim.model.fields import element_names

ROUNDED = 1e-3  # relative room for gains, which are written down rounded
POSITIONS = "joint_pos"


def check_contract(contract: PolicyContract, mj_model: mujoco.MjModel) -> Drives:
    """Compares a contract with its model and returns where its joints are.

    Raises:
        ParamError: a joint or a camera that the model does not have.
        ContractError: an actuator of another kind, a gain, limit or unit that the model does not
            have, a camera out of step, or positions that are not those of the commanded joints.
    """
    action = contract.action
    cameras = element_names(mj_model, "camera")
    for camera in contract.cameras:
        if camera.name not in cameras:
            raise unknown("camera in the contract:", camera.name, cameras)
        steps = round(contract.control_hz / camera.rate_hz)
        if steps < 1 or abs(steps * camera.rate_hz / contract.control_hz - 1) > SLACK:
            raise ContractError(
                f"camera {camera.name!r}: {camera.rate_hz} Hz is no whole part of the control rate "
                f"{contract.control_hz} Hz; use e.g. {contract.control_hz / max(1, steps):g} Hz"
            )
    drives = resolve(mj_model, action.joints)
    if mj_model.opt.disableflags & mujoco.mjtDisableBit.mjDSBL_ACTUATION:
        raise ContractError(
            f"joint {action.joints[0]!r}: the model switches all actuators off; take "
            '<flag actuation="disable"/> out of it'
        )
    servo = action.mode != "effort"
    for name, actuator in zip(drives.names, drives.actuators, strict=True):
        _check_kind(mj_model, contract, name, int(actuator))
    _check_unit(mj_model, contract, drives)
    for index in range(len(drives.names)):
        if servo:
            _check_gains(mj_model, contract, drives, index)
        _check_effort(mj_model, contract, drives, index)
        _check_commands(mj_model, contract, drives, index)
    if servo:
        _check_positions(contract)
    return drives


def refuse_clipped_rows(space: ParamSpace, edits: Sequence[Edit], mj_model: mujoco.MjModel) -> None:
    """Refuses rows on force limits that the joints' own limits hide over their whole range.

    MuJoCo clips the force of an actuator to its forcerange and then the sum of forces on a joint to
    its actuatorfrcrange (engine_forward.c: mj_fwdActuation).

    Raises:
        ModelError: such a row.
    """
    if any(row.field == "actuator.speed_loss" for row in space.rows):
        return  # the curve brings every force limit down to zero
    least = {
        "actuator_force_limit": np.ones(mj_model.nu),
        "actuator_strength": np.ones(mj_model.nu),
    }
    for edit in edits:
        if edit.array in least:
            ends = np.array(space.rows[edit.row].limits) + (1.0 if edit.mode == "add" else 0.0)
            least[edit.array][edit.mask] = np.minimum(least[edit.array][edit.mask], ends.min())
    factor = least["actuator_force_limit"] * least["actuator_strength"]
    for edit in edits:
        chosen = np.flatnonzero(edit.mask) if edit.array == "actuator_force_limit" else ()
        hidden = [i for i in chosen if _is_hidden(mj_model, int(i), float(factor[i]))]
        if len(chosen) and len(hidden) == len(chosen):
            joint = mj_model.joint(int(mj_model.actuator_trnid[hidden[0], 0]))
            low, high = mj_model.jnt_actfrcrange[joint.id]
            raise ModelError(
                f"parameter {space.rows[edit.row].name!r} randomizes actuator_force_limit of "
                f"{element_names(mj_model, 'actuator')[hidden[0]]!r}, and joint {joint.name!r} has "
                f"actuatorfrcrange {low:g} to {high:g}, which is narrower over the row's whole "
                "range; drop the row, or widen actuatorfrcrange in the MuJoCo model"
            )


def _is_hidden(mj_model: mujoco.MjModel, actuator: int, factor: float) -> bool:
    """Returns whether a joint's force limit lies inside ``factor`` times the actuator's."""
    joint = int(mj_model.actuator_trnid[actuator, 0])
    if mj_model.actuator_trntype[actuator] not in ON_JOINT or not mj_model.jnt_actfrclimited[joint]:
        return False
    gear = mj_model.actuator_gear[actuator, 0]
    low, high = sorted(factor * gear * mj_model.actuator_forcerange[actuator])
    least, most = mj_model.jnt_actfrcrange[joint]
    return bool(low <= least and most <= high)


def _check_kind(
    mj_model: mujoco.MjModel, contract: PolicyContract, name: str, actuator: int
) -> None:
    """Refuses an actuator whose control is not what the action is."""
    mode, unit = contract.action.mode, contract.action.unit
    if mode != "effort":
        why = not_a_servo(mj_model, actuator)
        remedy = (
            'write <position kp="..." kv="..."/> with gear 1, or use mode "effort" on a <motor>'
        )
    else:
        why = not_a_motor(mj_model, actuator)
        remedy = 'write <motor/>, or use mode "position" on a <position> servo'
    if why:
        raise ContractError(
            f"joint {name!r}: action mode {mode!r} does not fit "
            f"{called(mj_model, actuator)}: {why}; {remedy}"
        )
    if mode == "effort" and unit != "1":
        gain = motor_gain(mj_model, actuator)
        if abs(gain - 1) > SLACK:
            raise ContractError(
                f"joint {name!r}: a command of 1 {unit} acts as {gain:g} {unit}, the gain times "
                f"the gear of {called(mj_model, actuator)}; write gear 1 into the MuJoCo model, or "
                'the unit "1" (a share of the full force) into the contract'
            )


def _check_unit(mj_model: mujoco.MjModel, contract: PolicyContract, drives: Drives) -> None:
    """Refuses units that no command has, and warns of a hinge's unit for a slide."""
    unit, effort = contract.action.unit, contract.action.mode == "effort"
    if effort and unit == "1":
        return
    fitting = command_unit(mj_model, drives, servo=not effort)
    turn, push = ("N m", "N") if effort else ("rad", "m")
    given = [word.strip() for word in unit.split(",")]
    if len(given) not in (1, len(drives.names)) or not set(given) <= {turn, push}:
        raise ContractError(
            f"action.unit {unit!r}: commands in mode {contract.action.mode!r} act on joints "
            f"{list(drives.names)} in {fitting!r}; write that, and every limit in it"
        )
    given = given * len(drives.names) if len(given) == 1 else given
    for name, hinge, word in zip(drives.names, drives.hinge, given, strict=True):
        if word != (turn if hinge else push):
            warnings.warn(
                f"action.unit {unit!r}: joint {name!r} is a {'hinge' if hinge else 'slide'}, and "
                f"its commands act in {turn if hinge else push!r}; write unit {fitting!r}, or the "
                "robot stand-in refuses the policy",
                RuntimeWarning,
                stacklevel=4,
            )
            return


def _check_gains(
    mj_model: mujoco.MjModel, contract: PolicyContract, drives: Drives, index: int
) -> None:
    """Refuses stiffness and damping that are not the servo's.

    Damping may be given with that of the joint, which acts on the same speed.
    """
    action, name = contract.action, drives.names[index]
    bias = mj_model.actuator_biasprm[drives.actuators[index]]
    stiffness, damping = -float(bias[1]), -float(bias[2])
    with_joint = damping + float(np.ravel(mj_model.dof_damping[drives.dof[index]])[0])
    for label, values, known in (
        ("kp", action.kp, (stiffness,)),
        ("kd", action.kd, (damping, with_joint)),
    ):
        if values and not any(np.isclose(values[index], x, rtol=ROUNDED, atol=1e-9) for x in known):
            attribute = {"kp": "kp", "kd": "kv"}[label]
            raise ContractError(
                f"joint {name!r}: action.{label} {values[index]:g} is not the {attribute} of its "
                f"servo, {known[0]:g}; write {label}={known[0]:g} into the contract or "
                f'{attribute}="{values[index]:g}" into the MuJoCo model'
            )


def _check_effort(
    mj_model: mujoco.MjModel, contract: PolicyContract, drives: Drives, index: int
) -> None:
    """Refuses a largest effort that actuator or joint do not let through in both directions."""
    most = contract.action.max_effort[index]
    if not np.isfinite(most):
        return
    for limit in _in_commands(mj_model, contract, drives, index):
        reach = max(0.0, min(-limit.low, limit.high))
        if most > reach + SLACK * max(1.0, reach):
            raise ContractError(
                f"joint {drives.names[index]!r}: action.max_effort {most:g} is above {reach:g}, "
                f"which the {limit.source} ({limit.low:g} to {limit.high:g}) lets through both "
                f"ways; write max_effort {reach:g}, or widen that range in the MuJoCo model"
            )


def _check_commands(
    mj_model: mujoco.MjModel, contract: PolicyContract, drives: Drives, index: int
) -> None:
    """Refuses commands beyond what the joint can do or the actuator hears."""
    action = contract.action
    if action.mode == "effort":
        limits = _in_commands(mj_model, contract, drives, index)
    else:
        limits = position_limits(mj_model, int(drives.actuators[index]))
    low, high = action.low[index], action.high[index]
    for limit in limits:
        room = SLACK * max(1.0, abs(limit.low), abs(limit.high))
        if low < limit.low - room or high > limit.high + room:
            raise ContractError(
                f"joint {drives.names[index]!r}: commands from {low:g} to {high:g} (action.low and "
                f"action.high) leave the {limit.source}, {limit.low:g} to {limit.high:g}, so the "
                "policy would be told of commands that never act; narrow action.low and "
                "action.high, or widen that range in the MuJoCo model"
            )


def _in_commands(
    mj_model: mujoco.MjModel, contract: PolicyContract, drives: Drives, index: int
) -> list[Limit]:
    """Returns the limits of a joint's effort in N m or N, or in shares where the unit is "1"."""
    actuator = int(drives.actuators[index])
    limits = effort_limits(mj_model, actuator)
    if contract.action.mode != "effort":
        return limits
    gain = motor_gain(mj_model, actuator)
    return [Limit(x.source, *sorted((x.low / gain, x.high / gain))) for x in limits]


def _check_positions(contract: PolicyContract) -> None:
    """Refuses position commands without the positions of exactly the commanded joints."""
    joints = contract.action.joints
    sizes = {s.name: s.size for s in contract.signals}
    if POSITIONS not in sizes:
        raise ContractError(
            f"action mode {contract.action.mode!r} needs a signal {POSITIONS!r} of {len(joints)} "
            f"values, the positions of {list(joints)}, and the contract has {sorted(sizes)}; add "
            "it: the first command and the robot's guard come from it"
        )
    if sizes[POSITIONS] != len(joints):
        raise ContractError(
            f"signal {POSITIONS!r} has {sizes[POSITIONS]} values, and action mode "
            f"{contract.action.mode!r} needs exactly the {len(joints)} positions of "
            f"{list(joints)}, in that order; read joints that are not commanded in another "
            f"signal, e.g. Signal('passive_pos', ...)"
        )
