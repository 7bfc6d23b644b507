"""Names of a MuJoCo model resolved for the robot stand-in: joints, actuators, cameras, limits."""

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import mujoco
import numpy as np

from mjx_s2r.contract import CameraSignal, PolicyContract
from mjx_s2r.params import unknown
from mjx_s2r.robot.driver import CameraInfo, DriverInfo

Camera = Callable[[mujoco.MjModel, mujoco.MjData, str], np.ndarray]
Pose = tuple[Sequence[float], Sequence[float]]  # position (3,) m and quaternion (4,) w, x, y, z


@dataclass(frozen=True)
class Rig:
    """Joints, actuators and cameras of the model, and how each is reached.

    Attributes:
        joints: commanded joints, in order; each has one actuator.
        control_hz: fastest control rate, Hz.
        cameras: cameras of the model that are delivered, with size and rate.
        sensed: joints with an encoder, in order; empty for the commanded joints.
        max_rate: fastest command change per joint, unit/s; empty where unknown.
        extra: further signals: name -> function of (model, data) that returns (size,).
        camera: another renderer, (model, data, camera name) -> (H, W, 3) uint8; None for MuJoCo's.
    """

    joints: tuple[str, ...]
    control_hz: float
    cameras: tuple[CameraSignal, ...] = ()
    sensed: tuple[str, ...] = ()
    max_rate: tuple[float, ...] = ()
    extra: Mapping[str, Callable[[mujoco.MjModel, mujoco.MjData], np.ndarray]] = field(
        default_factory=dict
    )
    camera: Camera | None = None


def rig_for(contract: PolicyContract, camera: Camera | None = None) -> Rig:
    """Returns the rig that a contract asks for."""
    action = contract.action
    return Rig(
        action.joints, contract.control_hz, contract.cameras, (), action.max_rate, {}, camera
    )


@dataclass(frozen=True)
class Wiring:
    """Addresses in the model, resolved once by name.

    Attributes:
        actuators: (J,) actuator of each commanded joint.
        joint_ids: (J,) commanded joints.
        driven_qpos: (J,) positions of the commanded joints in qpos.
        sensed_qpos: (S,) positions of the joints with an encoder in qpos.
        sensed_qvel: (S,) their velocities in qvel.
        driven_hinge: (J,) 1 for a hinge, 0 for a slide.
        sensed_hinge: (S,) the same for the joints with an encoder.
        servo: whether the actuators are position servos; else they are motors.
    """

    actuators: np.ndarray
    joint_ids: np.ndarray
    driven_qpos: np.ndarray
    sensed_qpos: np.ndarray
    sensed_qvel: np.ndarray
    driven_hinge: np.ndarray
    sensed_hinge: np.ndarray
    servo: bool


def weaken(mj_model: mujoco.MjModel, actuators: np.ndarray, strength: float) -> mujoco.MjModel:
    """Returns a copy of the model whose actuators give ``strength`` times their force."""
    model = copy.copy(mj_model)
    model.actuator_gainprm[actuators] *= strength
    model.actuator_biasprm[actuators] *= strength
    model.actuator_forcerange[actuators] *= strength
    return model


def _ids(mj_model: mujoco.MjModel, kind: mujoco.mjtObj, names: Sequence[str]) -> np.ndarray:
    """Returns the indices of the named things.

    Raises:
        ParamError: a name that the model does not have; the message lists near ones.
    """
    ids = [mujoco.mj_name2id(mj_model, kind, name) for name in names]
    for name, index in zip(names, ids, strict=True):
        if index < 0:
            count = {
                mujoco.mjtObj.mjOBJ_JOINT: mj_model.njnt,
                mujoco.mjtObj.mjOBJ_CAMERA: mj_model.ncam,
                mujoco.mjtObj.mjOBJ_BODY: mj_model.nbody,
            }[kind]
            known = [mujoco.mj_id2name(mj_model, kind, i) or "" for i in range(count)]
            raise unknown(kind.name.removeprefix("mjOBJ_").lower(), name, known)
    return np.array(ids, int)


def wire(mj_model: mujoco.MjModel, rig: Rig) -> Wiring:
    """Resolves the rig's names.

    Raises:
        ParamError: an unknown name, or a commanded joint without exactly one actuator.
        ValueError: servos and motors are mixed.
    """
    joints = _ids(mj_model, mujoco.mjtObj.mjOBJ_JOINT, rig.joints)
    sensed = _ids(mj_model, mujoco.mjtObj.mjOBJ_JOINT, rig.sensed or rig.joints)
    _ids(mj_model, mujoco.mjtObj.mjOBJ_CAMERA, [c.name for c in rig.cameras])
    on_joint = mj_model.actuator_trntype == mujoco.mjtTrn.mjTRN_JOINT
    actuators = []
    for name, joint in zip(rig.joints, joints, strict=True):
        found = np.flatnonzero(on_joint & (mj_model.actuator_trnid[:, 0] == joint))
        if len(found) != 1:
            raise ValueError(f"joint {name!r} has {len(found)} actuators; the stand-in needs one")
        actuators.append(int(found[0]))
    servo = mj_model.actuator_biasprm[actuators, 1] != 0
    if servo.any() != servo.all():
        mixed = [name for name, is_servo in zip(rig.joints, servo, strict=True) if not is_servo]
        raise ValueError(f"joints {mixed} have motors, the others position servos; use one kind")
    hinge = mj_model.jnt_type == mujoco.mjtJoint.mjJNT_HINGE
    return Wiring(
        actuators=np.array(actuators),
        joint_ids=joints,
        driven_qpos=mj_model.jnt_qposadr[joints],
        sensed_qpos=mj_model.jnt_qposadr[sensed],
        sensed_qvel=mj_model.jnt_dofadr[sensed],
        driven_hinge=hinge[joints].astype(float),
        sensed_hinge=hinge[sensed].astype(float),
        servo=bool(servo.all()),
    )


def describe(mj_model: mujoco.MjModel, rig: Rig) -> DriverInfo:
    """Returns the data sheet of the model and its rig."""
    wiring = wire(mj_model, rig)
    joints, actuators = wiring.joint_ids, wiring.actuators
    limited = mj_model.jnt_limited[joints].astype(bool)[:, None]
    span = np.where(limited, mj_model.jnt_range[joints], (-np.inf, np.inf))
    hinge = bool(wiring.driven_hinge.all())
    unit = ("rad" if hinge else "m") if wiring.servo else ("N m" if hinge else "N")
    sensed = len(wiring.sensed_qpos)
    return DriverInfo(
        name="mujoco stand-in",
        joints=rig.joints,
        command="position" if wiring.servo else "effort",
        unit=unit,
        low=tuple(span[:, 0].tolist()),
        high=tuple(span[:, 1].tolist()),
        max_rate=rig.max_rate or (math.inf,) * len(rig.joints),
        max_effort=tuple(_max_effort(mj_model, actuators, wiring.servo).tolist()),
        max_hz=rig.control_hz,
        signals={"joint_pos": sensed, "joint_vel": sensed, **_extra_sizes(mj_model, rig)},
        cameras=tuple(CameraInfo(c.name, c.height, c.width, c.rate_hz) for c in rig.cameras),
    )


def _max_effort(mj_model: mujoco.MjModel, actuators: np.ndarray, servo: bool) -> np.ndarray:
    """Returns (J,) the largest joint force, by the force range or the motor's control range."""
    gear = np.abs(mj_model.actuator_gear[actuators, 0])
    limited = mj_model.actuator_forcelimited[actuators].astype(bool)
    force = np.where(limited, mj_model.actuator_forcerange[actuators, 1], np.inf)
    if not servo:
        held = mj_model.actuator_ctrllimited[actuators].astype(bool)
        gain = mj_model.actuator_gainprm[actuators, 0]
        top = np.where(held, mj_model.actuator_ctrlrange[actuators, 1] * gain, np.inf)
        force = np.minimum(force, top)
    return force * gear


def _extra_sizes(mj_model: mujoco.MjModel, rig: Rig) -> dict[str, int]:
    """Returns the sizes of the extra signals, by reading them once."""
    data = mujoco.MjData(mj_model)
    mujoco.mj_forward(mj_model, data)
    return {name: int(np.size(f(mj_model, data))) for name, f in rig.extra.items()}


def place_body(mj_model: mujoco.MjModel, data: mujoco.MjData, name: str, pose: Pose) -> None:
    """Puts a mocap or free body at a pose.

    Raises:
        ParamError: no such body.
        ValueError: a body that is fixed or hangs on a joint.
    """
    body = int(_ids(mj_model, mujoco.mjtObj.mjOBJ_BODY, [name])[0])
    mocap, joint = mj_model.body_mocapid[body], mj_model.body_jntadr[body]
    if mocap >= 0:
        data.mocap_pos[mocap], data.mocap_quat[mocap] = pose
    elif joint >= 0 and mj_model.jnt_type[joint] == mujoco.mjtJoint.mjJNT_FREE:
        address = mj_model.jnt_qposadr[joint]
        data.qpos[address : address + 7] = [*pose[0], *pose[1]]
    else:
        raise ValueError(f"body {name!r} is neither mocap nor free; it cannot be placed")
