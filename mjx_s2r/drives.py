"""Drives: which actuator, joint and addresses of a MuJoCo model a contract's joint names mean.

Training and the robot stand-in both resolve names here, so they cannot move different joints. What
an actuator takes as its control, and how far it and its joint let a command or a force go, is read
here as MuJoCo computes it (engine_forward.c: mj_fwdActuation), for the data sheet of the stand-in
and for the check that a contract fits its model. It knows no jax.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import mujoco
import numpy as np

from mjx_s2r.contract import ContractError
from mjx_s2r.params import unknown

RANGE = "range of the joint"
SLACK = 1e-6  # relative room for numbers that were rounded to float32
# MuJoCo's enumerations as whole numbers: as they are, they do not compare with numpy's.
_NO_BIAS, _AFFINE = int(mujoco.mjtBias.mjBIAS_NONE), int(mujoco.mjtBias.mjBIAS_AFFINE)
_FIXED, _INTEGRATOR = int(mujoco.mjtGain.mjGAIN_FIXED), int(mujoco.mjtDyn.mjDYN_INTEGRATOR)
FILTERS = (int(mujoco.mjtDyn.mjDYN_FILTER), int(mujoco.mjtDyn.mjDYN_FILTEREXACT))
_PLAIN = (int(mujoco.mjtDyn.mjDYN_NONE), *FILTERS)
ON_JOINT = (int(mujoco.mjtTrn.mjTRN_JOINT), int(mujoco.mjtTrn.mjTRN_JOINTINPARENT))
_HINGE, _SLIDE = int(mujoco.mjtJoint.mjJNT_HINGE), int(mujoco.mjtJoint.mjJNT_SLIDE)


@dataclass(frozen=True)
class Limit:
    """A range that a command or a joint's force is kept in, and what keeps it there."""

    source: str
    low: float
    high: float


@dataclass(frozen=True, eq=False)
class Drives:
    """Addresses of commanded joints in the model, in the order of the names.

    Attributes:
        names: (J,) what the contract calls them.
        actuators: (J,) actuators.
        joints: (J,) joints that they drive.
        qpos: (J,) positions of the joints in qpos.
        dof: (J,) their degrees of freedom, in qvel.
        hinge: (J,) bool; the others are slides.
        act: (J,) activations of actuators that filter their control, in act; -1 for the others.
    """

    names: tuple[str, ...]
    actuators: np.ndarray
    joints: np.ndarray
    qpos: np.ndarray
    dof: np.ndarray
    hinge: np.ndarray
    act: np.ndarray


def resolve(mj_model: mujoco.MjModel, names: Sequence[str]) -> Drives:
    """Finds the drive of every name: one hinge or slide, moved by one actuator.

    Raises:
        ParamError: a name that neither an actuator nor a joint has.
        ContractError: a name that is an actuator's and another joint's; a joint with no actuator or
            several; an actuator on something else than a hinge or slide, or of a group that is
            switched off.
    """
    actuators = np.array([find_actuator(mj_model, name) for name in names], int)
    for name, actuator in zip(names, actuators, strict=True):
        _refuse_transmission(mj_model, name, int(actuator))
    joints = np.array(mj_model.actuator_trnid[actuators, 0], int)
    for name, actuator, joint in zip(names, actuators, joints, strict=True):
        _refuse_company(mj_model, name, int(actuator), int(joint))
        group = int(mj_model.actuator_group[actuator])
        if 0 <= group <= 30 and mj_model.opt.disableactuator & (1 << group):
            raise ContractError(
                f"joint {name!r}: {called(mj_model, actuator)} is of group {group}, which the "
                "model's actuatorgroupdisable switches off; take the group out of it"
            )
    for i, name in enumerate(names):
        first = int(np.flatnonzero(joints == joints[i])[0])
        if first < i:
            raise ContractError(
                f"{names[first]!r} and {name!r} of action.joints are one joint "
                f"({_joint(mj_model, joints[i])!r}); name it once"
            )
    filters = np.isin(mj_model.actuator_dyntype[actuators], FILTERS)
    return Drives(
        names=tuple(names),
        actuators=actuators,
        joints=joints,
        qpos=np.array(mj_model.jnt_qposadr[joints], int),
        dof=np.array(mj_model.jnt_dofadr[joints], int),
        hinge=mj_model.jnt_type[joints] == _HINGE,
        act=np.where(filters, mj_model.actuator_actadr[actuators], -1).astype(int),
    )


def find_actuator(mj_model: mujoco.MjModel, name: str) -> int:
    """Returns the actuator that ``name`` means: its own name, or that of the one joint it drives.

    Raises:
        ParamError: a name that neither an actuator nor a joint has.
        ContractError: a name that is an actuator's and another joint's, or a joint's without an
            actuator of its own.
    """
    actuator = mujoco.mj_name2id(mj_model, mujoco.mjtObj.mjOBJ_ACTUATOR, name) if name else -1
    joint = mujoco.mj_name2id(mj_model, mujoco.mjtObj.mjOBJ_JOINT, name) if name else -1
    if actuator >= 0:
        target = int(mj_model.actuator_trnid[actuator, 0])
        on_joint = mj_model.actuator_trntype[actuator] in ON_JOINT
        if joint >= 0 and on_joint and target != joint:
            raise ContractError(
                f"{name!r} of action.joints is a joint and an actuator, and that actuator drives "
                f"joint {_joint(mj_model, target)!r}; give actuators the names of their joints"
            )
        return int(actuator)
    if joint < 0:
        known = [mj_model.actuator(i).name for i in range(mj_model.nu)]
        known += [mj_model.joint(int(j)).name for j in driven_joints(mj_model)]
        raise unknown("actuator or joint", name, list(dict.fromkeys(filter(None, known))))
    found = actuators_of_joint(mj_model, int(joint))
    if len(found) == 1:
        return int(found[0])
    if not len(found):
        pulled = [called(mj_model, i) for i in _through_tendons(mj_model, int(joint))]
        raise ContractError(
            f"joint {name!r} has 0 actuators of its own and needs one"
            + (f" ({', '.join(pulled)} moves it through a tendon)" if pulled else "")
            + f'; write e.g. <position name="{name}" joint="{name}" kp="10"/> into the MuJoCo '
            "model, and couple other joints to it by an equality, or take it out of action.joints"
        )
    raise _several(mj_model, name, found)


def rest_controls(mj_model: mujoco.MjModel) -> tuple[np.ndarray, np.ndarray]:
    """Returns ctrl (nu,) and act (na,) that actuators outside a contract keep.

    They are those of the model's first keyframe, else zeros. A keyframe that writes no activation
    of a filter means that the filter is at rest, at its control.
    """
    ctrl, act = np.zeros(mj_model.nu), np.zeros(mj_model.na)
    if mj_model.nkey:
        ctrl, act = np.array(mj_model.key_ctrl[0]), np.array(mj_model.key_act[0])
    for i in np.flatnonzero(np.isin(mj_model.actuator_dyntype, FILTERS)):
        address = mj_model.actuator_actadr[i]
        act[address] = act[address] or ctrl[i]
    return ctrl, act


def not_a_servo(mj_model: mujoco.MjModel, actuator: int) -> str:
    """Returns why the control of an actuator is not a joint's position; "" where it is.

    A position servo gives kp (ctrl - q) - kd dq (MuJoCo: XML reference, actuator/position).
    """
    other = _not_plain(mj_model, actuator)
    if other:
        return other
    gain, bias = mj_model.actuator_gainprm[actuator], mj_model.actuator_biasprm[actuator]
    if mj_model.actuator_biastype[actuator] == _NO_BIAS or not bias[:3].any():
        return "it is a motor, whose control is a force"
    if mj_model.actuator_biastype[actuator] != _AFFINE:
        return f"its bias type is {_word(mujoco.mjtBias, mj_model.actuator_biastype[actuator])}"
    if bias[1] == 0:
        return "it is a velocity servo, whose control is a speed"
    if gain[0] <= 0 or not np.isclose(-bias[1], gain[0], rtol=1e-4) or bias[0] != 0:
        return (
            f"its force is {gain[0]:g} ctrl + {bias[0]:g} + {bias[1]:g} q, which is zero elsewhere "
            "than at q = ctrl"
        )
    if bias[2] > 0:
        return f"its damping kv={-bias[2]:g} is below zero"
    gear = mj_model.actuator_gear[actuator, 0]
    if not np.isclose(gear, 1, rtol=SLACK):
        return f"its gear is {gear:g}, so its control is {gear:g} times the joint's position"
    return ""


def not_a_motor(mj_model: mujoco.MjModel, actuator: int) -> str:
    """Returns why the control of an actuator is not proportional to a force; "" where it is."""
    other = _not_plain(mj_model, actuator)
    if other:
        return other
    bias = mj_model.actuator_biastype[actuator]
    if bias not in (_NO_BIAS, _AFFINE):
        return f"its bias type is {_word(mujoco.mjtBias, bias)}"
    if bias == _AFFINE and mj_model.actuator_biasprm[actuator, :3].any():
        position = mj_model.actuator_biasprm[actuator, 1] != 0
        kind = "position" if position else "velocity"
        return f"it is a {kind} servo, whose control is no force"
    if not motor_gain(mj_model, actuator):
        return "gain times gear is zero, so its control does nothing"
    return ""


def cannot_take(mj_model: mujoco.MjModel, actuator: int, mode: str) -> str:
    """Returns why an actuator takes no "position", "velocity" or "effort"; "" where it does."""
    if mode == "position":
        return not_a_servo(mj_model, actuator)
    if mode == "effort":
        return not_a_motor(mj_model, actuator)
    bias = mj_model.actuator_biasprm[actuator]
    return "" if bias[2] < 0 and bias[1] == 0 else "its actuator is no velocity servo"


def command_unit(mj_model: mujoco.MjModel, drives: Drives, servo: bool) -> str:
    """Returns the unit of commands; one per joint, comma-separated, where hinges meet slides.

    It is "1" for motors whose gain times gear is not one: a command is then a share of a force.
    """
    if not servo and any(abs(motor_gain(mj_model, a) - 1) > SLACK for a in drives.actuators):
        return "1"
    turn, push = ("rad", "m") if servo else ("N m", "N")
    units = [turn if hinge else push for hinge in drives.hinge]
    return units[0] if len(set(units)) == 1 else ", ".join(units)


def position_limits(mj_model: mujoco.MjModel, actuator: int) -> list[Limit]:
    """Returns what keeps the position of a servo's joint in a range, rad or m."""
    joint = int(mj_model.actuator_trnid[actuator, 0])
    limits = []
    if mj_model.jnt_limited[joint]:
        low, high = mj_model.jnt_range[joint]
        limits.append(Limit(RANGE, float(low), float(high)))
    return limits + control_limits(mj_model, actuator)


def control_limits(mj_model: mujoco.MjModel, actuator: int) -> list[Limit]:
    """Returns what keeps an actuator's control, after its filter, in a range."""
    limits = []
    clamps = not mj_model.opt.disableflags & mujoco.mjtDisableBit.mjDSBL_CLAMPCTRL
    if mj_model.actuator_ctrllimited[actuator] and clamps:
        low, high = mj_model.actuator_ctrlrange[actuator]
        limits.append(Limit("ctrlrange of the actuator", float(low), float(high)))
    if mj_model.actuator_actlimited[actuator]:
        low, high = mj_model.actuator_actrange[actuator]
        limits.append(Limit("actrange of the actuator", float(low), float(high)))
    return limits


def effort_limits(mj_model: mujoco.MjModel, actuator: int) -> list[Limit]:
    """Returns what keeps the force of an actuator on its joint in a range, N m or N."""
    joint = int(mj_model.actuator_trnid[actuator, 0])
    gear = float(mj_model.actuator_gear[actuator, 0])
    limits = []
    if mj_model.actuator_forcelimited[actuator]:
        low, high = sorted(gear * mj_model.actuator_forcerange[actuator])
        source = "forcerange of the actuator" + (f" times gear {gear:g}" if gear != 1 else "")
        limits.append(Limit(source, float(low), float(high)))
    if mj_model.jnt_actfrclimited[joint]:
        low, high = mj_model.jnt_actfrcrange[joint]
        limits.append(Limit("actuatorfrcrange of the joint", float(low), float(high)))
    if not not_a_motor(mj_model, actuator):
        gain = motor_gain(mj_model, actuator)
        for limit in control_limits(mj_model, actuator):
            low, high = sorted((gain * limit.low, gain * limit.high))
            source = limit.source + (f" times gain and gear {gain:g}" if gain != 1 else "")
            limits.append(Limit(source, low, high))
    return limits


def motor_gain(mj_model: mujoco.MjModel, actuator: int) -> float:
    """Returns the force at the joint per unit of a motor's control."""
    return float(mj_model.actuator_gainprm[actuator, 0] * mj_model.actuator_gear[actuator, 0])


def _not_plain(mj_model: mujoco.MjModel, actuator: int) -> str:
    """Returns what sets an actuator apart from motors and position servos; "" for nothing."""
    dynamics, gain = mj_model.actuator_dyntype[actuator], mj_model.actuator_gaintype[actuator]
    if dynamics == _INTEGRATOR:
        return "it integrates its control, which is a speed"
    if dynamics not in _PLAIN:
        return f"its dynamics are of type {_word(mujoco.mjtDyn, dynamics)}"
    if gain != _FIXED:
        return f"its gain type is {_word(mujoco.mjtGain, gain)}"
    return ""


def _refuse_transmission(mj_model: mujoco.MjModel, name: str, actuator: int) -> None:
    """Raises ContractError for an actuator on something else than one hinge or slide."""
    kind = mj_model.actuator_trntype[actuator]
    if kind not in ON_JOINT:
        on = _word(mujoco.mjtTrn, kind).replace("slidercrank", "slider-crank")
        remedy = (
            "drive one joint (e.g. one finger) and couple the others to it with "
            '<equality><joint joint1="..." joint2="..."/></equality>'
            if on == "tendon"
            else "put an actuator on a joint, and take this one out of action.joints"
        )
        raise ContractError(
            f"joint {name!r}: {called(mj_model, actuator)} acts through a {on}, and a command is "
            f"the position or force of one joint; {remedy}"
        )
    joint = int(mj_model.actuator_trnid[actuator, 0])
    shape = int(mj_model.jnt_type[joint])
    if shape not in (_HINGE, _SLIDE):
        raise ContractError(
            f"joint {name!r}: {called(mj_model, actuator)} drives joint "
            f"{_joint(mj_model, joint)!r} of type {_word(mujoco.mjtJoint, shape)}; a command moves "
            "one hinge or slide, so split the joint into hinges"
        )


def _refuse_company(mj_model: mujoco.MjModel, name: str, actuator: int, joint: int) -> None:
    """Raises ContractError where another actuator drives the same joint."""
    found = actuators_of_joint(mj_model, joint)
    if len(found) != 1:
        raise _several(mj_model, name, found)


def _several(mj_model: mujoco.MjModel, name: str, found: np.ndarray) -> ContractError:
    """Returns the error for a joint that several actuators drive."""
    listed = ", ".join(called(mj_model, int(a)) for a in found)
    return ContractError(
        f"joint {name!r} has {len(found)} actuators ({listed}) and needs one; a <position> with kp "
        "and kv is a servo with damping in one"
    )


def actuators_of_joint(mj_model: mujoco.MjModel, joint: int) -> np.ndarray:
    """Returns the actuators that act on a joint alone."""
    on_joint = np.isin(mj_model.actuator_trntype, ON_JOINT)
    return np.flatnonzero(on_joint & (mj_model.actuator_trnid[:, 0] == joint))


def _through_tendons(mj_model: mujoco.MjModel, joint: int) -> list[int]:
    """Returns the actuators on fixed tendons that a joint is part of."""
    on_tendon = mj_model.actuator_trntype == int(mujoco.mjtTrn.mjTRN_TENDON)
    found = []
    for i in np.flatnonzero(on_tendon):
        tendon = mj_model.actuator_trnid[i, 0]
        first, count = mj_model.tendon_adr[tendon], mj_model.tendon_num[tendon]
        part = slice(first, first + count)
        of_joints = mj_model.wrap_type[part] == int(mujoco.mjtWrap.mjWRAP_JOINT)
        if (of_joints & (mj_model.wrap_objid[part] == joint)).any():
            found.append(int(i))
    return found


def driven_joints(mj_model: mujoco.MjModel) -> np.ndarray:
    """Returns the joints that have an actuator."""
    return np.unique(mj_model.actuator_trnid[np.isin(mj_model.actuator_trntype, ON_JOINT), 0])


def called(mj_model: mujoco.MjModel, actuator: int) -> str:
    """Returns what an actuator is called, also where it has no name."""
    name = mj_model.actuator(int(actuator)).name
    return f"actuator {name!r}" if name else f"actuator number {int(actuator)}"


def _joint(mj_model: mujoco.MjModel, joint: int) -> str:
    """Returns the name of a joint."""
    return str(mj_model.joint(int(joint)).name)


def _word(kind: type, value: int) -> str:
    """Returns the lower-case word of a value of one of MuJoCo's enumerations."""
    return str(kind(int(value)).name).split("_", 1)[1].lower()
