"""Checks of a task against its contract that only calling the task can tell.

The robot delivers joint positions and speeds in the order of ``action.joints``; so must a task. And
a servo outside the contract keeps one control through training, which should be where it starts.
"""

import warnings
from dataclasses import fields

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
from mujoco import mjx

from mjx_s2r.contract import ContractError
from mjx_s2r.drives import Drives, called
from mjx_s2r.sim import task_calls
from mjx_s2r.sim.model.fields import element_names
from mjx_s2r.sim.physics import Physics
from mjx_s2r.sim.task import Task

SAME = 1e-6  # between a number and itself in float32
PULLS = 0.01  # rad or m from a servo's start to where its control takes it


def check_order(task: Task, engine: Physics, drives: Drives) -> None:
    """Refuses joint_pos and joint_vel that are entries of qpos and qvel, but others than named.

    The task is asked at a state in which all of them differ. What is computed from them is let
    through.

    Raises:
        ContractError: a signal whose order is not that of the commanded joints.
    """
    sizes = {s.name: s.size for s in task.contract.signals}
    joints = {"joint_pos": ("qpos", drives.qpos), "joint_vel": ("qvel", drives.dof)}
    asked = {k: v for k, v in joints.items() if sizes.get(k) == len(drives.names)}
    if not asked:
        return
    data = _probe(task.mj_model)

    @jax.jit
    def read(data: mjx.Data) -> dict[str, jax.Array]:
        """Returns the signals that are compared."""
        return {name: task_calls.signals(task, data)[name] for name in asked}

    found = read(_as_mjx(data, engine.empty_data))
    for name, (state, wanted) in asked.items():
        same = np.abs(getattr(data, state) - np.asarray(found[name])[:, None]) < SAME
        if not same.any(1).all() or (same.argmax(1) == wanted).all():
            continue
        owners = element_names(task.mj_model, {"qpos": "qpos", "qvel": "dof"}[state])
        raise ContractError(
            f"{task.name}.signals returns {name!r} of joints {[owners[i] for i in same.argmax(1)]}"
            f", and a robot delivers it in the order of action.joints, "
            f"{[owners[i] for i in wanted]}; return data.{state}[jnp.array("
            f"{[int(i) for i in wanted]})]"
        )


def warn_of_pulling_servos(
    task: Task, engine: Physics, drives: Drives, starts: task_calls.Start
) -> None:
    """Warns where a servo outside the contract starts away from where its control holds it."""
    m = task.mj_model
    outside = np.setdiff1d(np.arange(m.nu), drives.actuators)
    affine = m.actuator_biastype[outside] == int(mujoco.mjtBias.mjBIAS_AFFINE)
    fixed = m.actuator_gaintype[outside] == int(mujoco.mjtGain.mjGAIN_FIXED)
    servos = outside[affine & fixed & (m.actuator_biasprm[outside, 1] < 0)]
    if not servos.size:
        return
    data = mujoco.MjData(m)
    data.qpos[:], data.mocap_pos[:] = starts.qpos[0], starts.mocap_pos[0]
    data.mocap_quat[:] = starts.mocap_quat[0]
    mujoco.mj_fwdPosition(m, data)
    ctrl, act = (np.asarray(x) for x in (engine.empty_data.ctrl, engine.empty_data.act))
    for i in servos:
        held = (
            ctrl[i] if m.actuator_dyntype[i] == int(mujoco.mjtDyn.mjDYN_NONE) else _last(m, act, i)
        )
        bias = m.actuator_biasprm[i]
        goal = (m.actuator_gainprm[i, 0] * held + bias[0]) / -bias[1]
        now = float(data.actuator_length[i])
        if abs(now - goal) > PULLS:
            why = "of the model's first keyframe" if m.nkey else "as the model has no keyframe"
            warnings.warn(
                f"{called(m, i)} is outside the contract and keeps control {held:g}, {why}: it "
                f"starts at {now:.3g} and is pulled to {goal:.3g}. Write its ctrl into a keyframe "
                "of the MuJoCo model, or its joint into action.joints",
                RuntimeWarning,
                stacklevel=3,
            )


def _last(mj_model: mujoco.MjModel, act: np.ndarray, actuator: int) -> float:
    """Returns an actuator's last activation, which its force follows from."""
    first, count = mj_model.actuator_actadr[actuator], mj_model.actuator_actnum[actuator]
    return float(act[first + count - 1])


def _probe(mj_model: mujoco.MjModel) -> mujoco.MjData:
    """Returns C's Data at a state whose positions and speeds all differ, and none is zero."""
    data = mujoco.MjData(mj_model)
    golden = (np.sqrt(5) - 1) / 2
    data.qpos[:] = 0.1 + 0.3 * (golden * np.arange(1, mj_model.nq + 1) % 1)
    data.qvel[:] = 0.5 + 0.3 * (golden * np.arange(1, mj_model.nv + 1) % 1)
    mujoco.mj_normalizeQuat(mj_model, data.qpos)
    mujoco.mj_forward(mj_model, data)
    return data


def _as_mjx(data: mujoco.MjData, blank: mjx.Data) -> mjx.Data:
    """Returns a Data with all that C computed and both have."""
    known = {}
    for field in fields(blank):
        mine, theirs = getattr(blank, field.name), getattr(data, field.name, None)
        if isinstance(mine, jax.Array) and theirs is not None and np.size(theirs) == mine.size:
            known[field.name] = jnp.asarray(np.reshape(theirs, mine.shape), mine.dtype)
    return blank.replace(**known)
