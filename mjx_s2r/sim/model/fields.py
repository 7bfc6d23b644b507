"""Arrays that rows of the "model" group may touch: elements by name, and nominal values.

Most arrays are fields of MuJoCo. Those in `VIRTUAL` are not; what they mean is in
`mjx_s2r.sim.model.virtual_fields`.
"""

import mujoco
import numpy as np

# array -> kind of element that names its first axis; None where elements have no names
ELEMENTS = {
    "body_mass": "body",
    "body_inertia": "body",
    "body_ipos": "body",
    "body_pos": "body",
    "body_quat": "body",
    "body_shape": "body",
    "body_tilt": "body",
    "link_length": "body",
    "geom_friction": "geom",
    "geom_solref": "geom",
    "geom_solimp": "geom",
    "geom_restitution": "geom",
    "geom_pos": "geom",
    "geom_tilt": "geom",
    "geom_size": "geom",
    "jnt_stiffness": "joint",
    "dof_damping": "dof",
    "dof_armature": "dof",
    "dof_frictionloss": "dof",
    "qpos0": "qpos",
    "actuator_kp": "actuator",
    "actuator_kd": "actuator",
    "actuator_strength": "actuator",
    "actuator_force_limit": "actuator",
    "gravity": None,
    "gravity_tilt": None,
}
SERVO = ("actuator_kp", "actuator_kd", "actuator_strength", "actuator_force_limit")
VIRTUAL = frozenset(
    (
        *SERVO,
        "body_shape",
        "body_tilt",
        "link_length",
        "geom_restitution",
        "geom_tilt",
        "gravity",
        "gravity_tilt",
    )
)
# MuJoCo arrays that `expand` starts from where no row touches them
BASE = (
    *("body_inertia", "body_ipos", "body_pos", "body_quat", "jnt_pos", "site_pos", "cam_pos"),
    *("geom_pos", "geom_quat", "geom_size", "geom_solref", "eq_data"),
    *("actuator_gainprm", "actuator_biasprm", "actuator_forcerange"),
)


def element_names(mj_model: mujoco.MjModel, kind: str) -> list[str]:
    """Returns the names along the first axis of an array over ``kind``.

    A dof and a qpos entry carry the name of their joint.
    """
    if kind in ("dof", "qpos"):
        owner = mj_model.dof_jntid if kind == "dof" else qpos_owner(mj_model)
        return [mj_model.joint(int(j)).name for j in owner]
    if kind == "mocap":
        ids = np.flatnonzero(mj_model.body_mocapid >= 0)
        return [mj_model.body(int(i)).name for i in ids[np.argsort(mj_model.body_mocapid[ids])]]
    count = {
        "body": mj_model.nbody,
        "geom": mj_model.ngeom,
        "joint": mj_model.njnt,
        "actuator": mj_model.nu,
    }
    return [getattr(mj_model, kind)(i).name for i in range(count[kind])]


def qpos_owner(mj_model: mujoco.MjModel) -> np.ndarray:
    """Returns (nq,) the joint that owns each entry of qpos."""
    width = {0: 7, 1: 4, 2: 1, 3: 1}
    return np.repeat(np.arange(mj_model.njnt), [width[int(t)] for t in mj_model.jnt_type])


def nominal(mj_model: mujoco.MjModel) -> dict[str, np.ndarray]:
    """Returns the arrays of the "model" group with their nominal values."""
    arrays = {
        name: np.array(getattr(mj_model, name), np.float32)
        for name in ELEMENTS
        if name not in VIRTUAL
    }
    gain, bias = mj_model.actuator_gainprm, mj_model.actuator_biasprm
    return arrays | {
        "actuator_kp": gain[:, 0].astype(np.float32),
        "actuator_kd": -bias[:, 2].astype(np.float32),
        "actuator_strength": np.ones(mj_model.nu, np.float32),
        "actuator_force_limit": np.ones(mj_model.nu, np.float32),
        "body_shape": np.ones((mj_model.nbody, 3), np.float32),
        "body_tilt": np.zeros((mj_model.nbody, 3), np.float32),
        "link_length": np.ones(mj_model.nbody, np.float32),
        "geom_restitution": np.zeros(mj_model.ngeom, np.float32),
        "geom_tilt": np.zeros((mj_model.ngeom, 3), np.float32),
        "gravity": np.array(mj_model.opt.gravity, np.float32),
        "gravity_tilt": np.zeros(2, np.float32),
    }


def base(mj_model: mujoco.MjModel) -> dict[str, np.ndarray]:
    """Returns the MuJoCo arrays that `expand` starts from."""
    return {name: np.array(getattr(mj_model, name), np.float32) for name in BASE}
