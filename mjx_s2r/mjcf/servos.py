"""Position servos for a model without actuators, with gains computed from its own inertia."""

from dataclasses import dataclass

import mujoco
import numpy as np

RATE_HZ = 5.0  # natural frequency of a servo with its load
ARMATURE = 0.1  # of a joint's inertia at home, where the file gives no armature
DAMPING = 0.1  # of the servo's damping, where the file gives none
FULL = {"rad": 1.0, "m": 0.1}  # error at which a servo gives all its force, at most
FASTEST_HZ = 25.0  # natural frequency that the armature keeps a servo below
TURN = np.pi  # command of a hinge without limits, both ways [rad]


@dataclass(frozen=True)
class Servo:
    """A position servo: force = kp (command - position) - kv velocity, within its limit.

    Attributes:
        joint: its name.
        unit: of the position, rad or m.
        inertia: at home, armature included [kg m^2 or kg].
        kp: stiffness [N m/rad or N/m].
        kv: damping [N m s/rad or N s/m].
        force: limit [N m or N]; 0 for none.
        armature: written because the file has none, or 0.
        damping: the same.
        sag: how far gravity bends it at home [rad or m].
        low: least command.
        high: largest command.
    """

    joint: str
    unit: str
    inertia: float
    kp: float
    kv: float
    force: float
    armature: float
    damping: float
    sag: float
    low: float
    high: float


def design_servos(m: mujoco.MjModel, home: np.ndarray, rate_hz: float = RATE_HZ) -> list[Servo]:
    """Returns a critically damped servo for each hinge and slide that nothing else moves.

    With I the joint's own entry of the mass matrix at home and w = 2 pi ``rate_hz``, kp is I w^2,
    or what gives the file's effort at an error of 1 rad (0.1 m) where that is more, and kv is
    2 sqrt(kp I). Where the file has no armature, a tenth of I is added, and as much as keeps the
    natural frequency below 25 Hz. Joints that an equality ties to another one get none.

    Args:
        m: the model.
        home: (nq,) the pose.
        rate_hz: natural frequency [Hz].
    """
    data = mujoco.MjData(m)
    data.qpos[:] = home
    mujoco.mj_forward(m, data)
    mass = np.zeros((m.nv, m.nv))
    mujoco.mj_fullM(m, data, mass)
    tied = set(m.eq_obj1id[m.eq_type == mujoco.mjtEq.mjEQ_JOINT].tolist())
    rate = 2 * np.pi * rate_hz
    out = []
    for j in range(m.njnt):
        hinge = m.jnt_type[j] == mujoco.mjtJoint.mjJNT_HINGE
        if j in tied or not (hinge or m.jnt_type[j] == mujoco.mjtJoint.mjJNT_SLIDE):
            continue
        dof, unit = m.jnt_dofadr[j], "rad" if hinge else "m"
        force = float(m.jnt_actfrcrange[j, 1]) if m.jnt_actfrclimited[j] else 0.0
        inertia, armature = float(mass[dof, dof]), 0.0
        if not m.dof_armature[dof]:
            slow = force / FULL[unit] / (2 * np.pi * FASTEST_HZ) ** 2
            armature = _round(max(ARMATURE * inertia, slow - inertia))
        inertia += armature
        kp = max(inertia * rate**2, force / FULL[unit])
        kv = 2 * float(np.sqrt(kp * inertia))
        low, high = m.jnt_range[j] if m.jnt_limited[j] else (-TURN, TURN)
        out.append(
            Servo(
                joint=m.joint(j).name,
                unit=unit,
                inertia=inertia,
                kp=_round(kp),
                kv=_round(kv),
                force=force,
                armature=armature,
                damping=0.0 if m.dof_damping[dof] else _round(DAMPING * kv),
                sag=abs(float(data.qfrc_bias[dof])) / kp,
                low=float(low),
                high=float(high),
            )
        )
    return out


def add_servos(spec: mujoco.MjSpec, servos: list[Servo]) -> None:
    """Adds the servos to a specification, each called after its joint."""
    for servo in servos:
        joint = spec.joint(servo.joint)
        if servo.armature:
            joint.armature = servo.armature
        if servo.damping:
            joint.damping[0] = servo.damping
        actuator = spec.add_actuator(name=servo.joint, target=servo.joint)
        actuator.trntype = mujoco.mjtTrn.mjTRN_JOINT
        actuator.set_to_position(kp=servo.kp, kv=servo.kv)
        actuator.ctrllimited = mujoco.mjtLimited.mjLIMITED_TRUE
        actuator.ctrlrange = [servo.low, servo.high]
        if servo.force:
            actuator.forcelimited = mujoco.mjtLimited.mjLIMITED_TRUE
            actuator.forcerange = [-servo.force, servo.force]


def _round(value: float) -> float:
    """Returns a number of three digits: gains are no more certain."""
    return float(f"{value:.3g}")
