"""Names of a MuJoCo model resolved for the robot stand-in: joints, actuators, cameras, limits."""

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import mujoco
import numpy as np

from mjx_s2r.contract import CameraSignal, ContractError, Optics, PolicyContract
from mjx_s2r.drives import (
    RANGE,
    Drives,
    command_unit,
    effort_limits,
    motor_gain,
    not_a_motor,
    not_a_servo,
    position_limits,
    resolve,
)
from mjx_s2r.params import unknown
from mjx_s2r.robot.driver import CameraInfo, DriverInfo

Camera = Callable[[mujoco.MjModel, mujoco.MjData, str], np.ndarray]
Pose = tuple[Sequence[float], Sequence[float]]  # position (3,) m and quaternion (4,) w, x, y, z


class Senses(Protocol):
    """Signals beyond joint positions and speeds, by whoever knows what they mean.

    Attributes:
        sizes: signal name -> number of values.
    """

    sizes: Mapping[str, int]

    def read(
        self, model: mujoco.MjModel, data: mujoco.MjData, qpos: np.ndarray, qvel: np.ndarray
    ) -> Mapping[str, np.ndarray]:
        """Returns signal name -> (size,), read once for each `Reading`.

        Args:
            model: the robot's model.
            data: the true state, positions of bodies up to date.
            qpos: (nq,) positions, those of hinges and slides as the encoders say.
            qvel: (nv,) velocities, those of hinges and slides as the encoders say.
        """
        ...


Course = Callable[[np.ndarray], np.ndarray]
"""(J,) command -> (n, J) what becomes of it in each of the n physics steps of a control step."""
Load = Callable[[mujoco.MjModel, mujoco.MjData], None]
"""Sets, before a physics step, what acts on the robot from outside and what its motors can give."""


@dataclass(frozen=True)
class Rig:
    """Joints, actuators and cameras of the model, and how each is reached.

    Attributes:
        joints: commanded joints, in order, by their names or those of their one actuator.
        control_hz: fastest control rate, Hz.
        cameras: cameras of the model that are delivered, with size and rate.
        sensed: joints with an encoder, in order; empty for the commanded joints.
        max_rate: fastest position change per joint, unit/s; empty where unknown.
        senses: further signals; one of the same name replaces joint positions or speeds.
        course: what becomes of a command before it is sent; None sends it as it is.
        load: called before every physics step; None for nothing.
        camera: another renderer, (model, data, camera name) -> (H, W, 3) uint8, or (H, W) float32
            metres of a depth camera; None for MuJoCo's.
        unit: "1" to command motors in shares of their control; else the unit is the model's.
    """

    joints: tuple[str, ...]
    control_hz: float
    cameras: tuple[CameraSignal, ...] = ()
    sensed: tuple[str, ...] = ()
    max_rate: tuple[float, ...] = ()
    senses: Senses | None = None
    course: Course | None = None
    load: Load | None = None
    camera: Camera | None = None
    unit: str = ""


def rig_for(contract: PolicyContract, camera: Camera | None = None) -> Rig:
    """Returns the rig that a contract asks for."""
    action = contract.action
    return Rig(
        joints=action.joints,
        control_hz=contract.control_hz,
        cameras=contract.cameras,
        max_rate=() if action.mode == "effort" else action.max_rate,
        camera=camera,
        unit=action.unit,
    )


@dataclass(frozen=True)
class Wiring:
    """Addresses in the model, resolved once by name.

    Attributes:
        drives: actuators, joints and addresses of what is commanded.
        encoded_qpos: (E,) positions of the joints with an encoder, all hinges and slides, in qpos.
        encoded_qvel: (E,) their velocities in qvel.
        encoded_hinge: (E,) 1 for a hinge, 0 for a slide.
        sensed: (S,) which of them are delivered as joint_pos and joint_vel.
        servo: whether the actuators are position servos; else they are motors.
    """

    drives: Drives
    encoded_qpos: np.ndarray
    encoded_qvel: np.ndarray
    encoded_hinge: np.ndarray
    sensed: np.ndarray
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
        ParamError: an unknown name.
        ContractError: a commanded or sensed joint that is not one hinge or slide, a commanded one
            without one actuator of its own, or an actuator that is neither position servo nor
            motor.
        ValueError: servos and motors are mixed.
    """
    drives = resolve(mj_model, rig.joints)
    sensed = _ids(mj_model, mujoco.mjtObj.mjOBJ_JOINT, rig.sensed) if rig.sensed else drives.joints
    _ids(mj_model, mujoco.mjtObj.mjOBJ_CAMERA, [c.name for c in rig.cameras])
    motor = np.array([not not_a_motor(mj_model, i) for i in drives.actuators])
    for name, actuator, is_motor in zip(rig.joints, drives.actuators, motor, strict=True):
        why = "" if is_motor else not_a_servo(mj_model, actuator)
        if why:
            raise ContractError(
                f"joint {name!r} has neither position servo nor motor: {why}; write <position> or "
                "<motor> into the MuJoCo model"
            )
    if motor.any() != motor.all():
        mixed = [name for name, is_motor in zip(rig.joints, motor, strict=True) if is_motor]
        raise ValueError(f"joints {mixed} have motors, the others position servos; use one kind")
    hinge = mj_model.jnt_type == mujoco.mjtJoint.mjJNT_HINGE
    encoded = np.flatnonzero(hinge | (mj_model.jnt_type == mujoco.mjtJoint.mjJNT_SLIDE))
    for joint in np.setdiff1d(sensed, encoded):
        raise ContractError(
            f"joint {mj_model.joint(int(joint)).name!r} is neither hinge nor slide and has no "
            "encoder; take it out of the sensed joints"
        )
    return Wiring(
        drives=drives,
        encoded_qpos=mj_model.jnt_qposadr[encoded],
        encoded_qvel=mj_model.jnt_dofadr[encoded],
        encoded_hinge=hinge[encoded].astype(float),
        sensed=np.searchsorted(encoded, sensed),
        servo=not motor.any(),
    )


def describe(mj_model: mujoco.MjModel, rig: Rig) -> DriverInfo:
    """Returns the data sheet of the model and its rig.

    Efforts are those that actuator and joint both let through in either direction. Where commands
    are shares of a force (unit "1"), efforts are shares too.
    """
    wiring = wire(mj_model, rig)
    drives, sensed = wiring.drives, len(wiring.sensed)
    unit = command_unit(mj_model, drives, wiring.servo)
    if rig.unit == "1" and not wiring.servo:
        unit = "1"
    spans = [position_limits(mj_model, i) for i in drives.actuators]
    if not wiring.servo:  # the control range of a motor is no position
        spans = [[x for x in limits if x.source == RANGE] for limits in spans]
    return DriverInfo(
        name="mujoco stand-in",
        joints=rig.joints,
        command="position" if wiring.servo else "effort",
        unit=unit,
        low=tuple(max((x.low for x in limits), default=-math.inf) for limits in spans),
        high=tuple(min((x.high for x in limits), default=math.inf) for limits in spans),
        max_rate=rig.max_rate or (math.inf,) * len(rig.joints),
        max_effort=tuple(_max_effort(mj_model, int(i), unit) for i in drives.actuators),
        max_hz=rig.control_hz,
        signals={
            **{"joint_pos": sensed, "joint_vel": sensed},
            **({} if rig.senses is None else rig.senses.sizes),
        },
        cameras=tuple(
            CameraInfo(
                c.name, c.height, c.width, c.rate_hz, c.kind, picture_optics(mj_model, c.name)
            )
            for c in rig.cameras
        ),
    )


def picture_optics(mj_model: mujoco.MjModel, camera: str) -> Optics:
    """Returns the lens of a camera of a model; an orthographic one has no angle to claim.

    MuJoCo draws with the focal length where the camera has a sensor size, else with ``fovy``
    (XMLreference, body/camera).

    Raises:
        ParamError: no such camera.
    """
    index = int(_ids(mj_model, mujoco.mjtObj.mjOBJ_CAMERA, [camera])[0])
    if mj_model.cam_projection[index] != mujoco.mjtProjection.mjPROJ_PERSPECTIVE:
        return Optics()
    height = float(mj_model.cam_sensorsize[index][1])
    if not mj_model.cam_sensorsize[index].all():
        return Optics(fov_deg=float(mj_model.cam_fovy[index]))
    focal = float(mj_model.cam_intrinsic[index][1])
    return Optics(fov_deg=math.degrees(2 * math.atan(height / (2 * focal))))


def _max_effort(mj_model: mujoco.MjModel, actuator: int, unit: str) -> float:
    """Returns the largest effort that is let through both ways; a share where the unit is "1"."""
    limits = effort_limits(mj_model, actuator)
    most = min((max(0.0, min(-x.low, x.high)) for x in limits), default=math.inf)
    return most / abs(motor_gain(mj_model, actuator)) if unit == "1" else most


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


def placed_bodies(mj_model: mujoco.MjModel, data: mujoco.MjData) -> dict[str, tuple[float, ...]]:
    """Returns where the mocap and free bodies with a name are: position, m, and quaternion (7,)."""
    out: dict[str, tuple[float, ...]] = {}
    for i in range(1, mj_model.nbody):
        name, mocap = mj_model.body(i).name, int(mj_model.body_mocapid[i])
        joint = int(mj_model.body_jntadr[i])
        if name and mocap >= 0:
            out[name] = (*data.mocap_pos[mocap].tolist(), *data.mocap_quat[mocap].tolist())
        elif name and joint >= 0 and mj_model.jnt_type[joint] == mujoco.mjtJoint.mjJNT_FREE:
            at = int(mj_model.jnt_qposadr[joint])
            out[name] = tuple(data.qpos[at : at + 7].tolist())
    return out
