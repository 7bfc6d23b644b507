"""The torque-speed curve of a DC motor: the faster it turns, the less force it has left.

    tau_max(w) = tau_stall (1 - loss w)    for forces along the motion, loss = 1 / no-load speed
    tau_max(w) = tau_stall                 for forces against it (the driver limits the current)

The row "actuator.speed_loss" is that loss, s/rad (s/m for slides); zero is a force range that no
speed changes, as MuJoCo has it. The range is a model field, put anew at every physics step.
"""

from dataclasses import dataclass
from types import ModuleType

import mujoco
import numpy as np

from mjx_s2r.drives import find_actuator
from mjx_s2r.params import Array, ParamSpace
from mjx_s2r.sim.model.fields import element_names
from mjx_s2r.sim.physics import ModelError

FIELD = "actuator_forcerange"


@dataclass(frozen=True)
class MotorSpec:
    """Places of a contract's joints in the model.

    Attributes:
        index: (J,) actuators.
        dof: (J,) degree of freedom that each one drives.
        sign: (J,) sign of its gear.
        stall: (nu, 2) force range as written, N m or N.
        spread: (J, nu) one where a joint has its actuator, else zero.
    """

    index: np.ndarray
    dof: np.ndarray
    sign: np.ndarray
    stall: np.ndarray
    spread: np.ndarray


def bind_motor(
    space: ParamSpace, mj_model: mujoco.MjModel, joints: tuple[str, ...]
) -> MotorSpec | None:
    """Returns where speeds are read and ranges put; None where no row asks for the curve.

    Raises:
        ModelError: an actuator without a force limit, or not on a hinge or slide.
    """
    rows = [row for row in space.rows if row.field == "actuator.speed_loss"]
    if not rows:
        return None
    names, where = element_names(mj_model, "actuator"), f"parameter {rows[0].name!r}"
    index = np.array([find_actuator(mj_model, joint) for joint in joints])
    for i in index:
        if not mj_model.actuator_forcelimited[i]:
            raise ModelError(
                f"{where}: actuator {names[i]!r} has no force limit that could fall with speed; "
                'write forcerange="-3 3" (with numbers of the motor) into the MuJoCo model'
            )
        kind = mj_model.jnt_type[mj_model.actuator_trnid[i, 0]]
        on_joint = mj_model.actuator_trntype[i] == mujoco.mjtTrn.mjTRN_JOINT
        if not on_joint or kind not in (2, 3):  # slide, hinge
            raise ModelError(
                f"{where}: actuator {names[i]!r} does not drive one hinge or slide, so it has no "
                "joint speed; drop the row"
            )
    dof = mj_model.jnt_dofadr[mj_model.actuator_trnid[index, 0]]
    sign = np.sign(mj_model.actuator_gear[index, 0]).astype(np.float32)
    spread = (index[:, None] == np.arange(mj_model.nu)).astype(np.float32)
    stall = np.array(mj_model.actuator_forcerange, np.float32)
    return MotorSpec(index, dof, sign, stall, spread)


def force_range(spec: MotorSpec, xp: ModuleType, stall: Array, loss: Array, qvel: Array) -> Array:
    """Returns the force range (..., nu, 2) at the speeds ``qvel`` (..., nv).

    Args:
        spec: from `bind_motor`.
        xp: numpy or jax.numpy.
        stall: (..., nu, 2) force range of this world at rest.
        loss: (..., J) share of the force lost per rad/s or m/s.
        qvel: (..., nv) joint speeds.
    """
    speed = (loss * spec.sign * qvel[..., spec.dof]) @ spec.spread
    return stall * xp.clip(xp.stack((1 + speed, 1 - speed), -1), 0.0, 1.0)
