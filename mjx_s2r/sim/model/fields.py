"""Arrays that rows of the "model" group may touch: elements by name, and nominal values.

Most arrays are fields of MuJoCo. Those in `VIRTUAL` are not; what they mean is in
`mjx_s2r.sim.model.virtual_fields`.
"""

from collections.abc import Mapping
from typing import Any

import mujoco
import numpy as np

from mjx_s2r.params import Bound
from mjx_s2r.sim.model import terrain

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
    "actuator_time_constant": "actuator",
    "gravity": None,
    "gravity_tilt": None,
    **dict.fromkeys(terrain.ARRAYS, "hfield"),
}
SERVO = ("actuator_kp", "actuator_kd", "actuator_strength", "actuator_force_limit")
VIRTUAL = frozenset(
    (
        *SERVO,
        "actuator_time_constant",
        "body_shape",
        "body_tilt",
        "link_length",
        "geom_restitution",
        "geom_tilt",
        "gravity",
        "gravity_tilt",
        *terrain.ARRAYS,
    )
)
# MuJoCo arrays that `expand` starts from where no row touches them
BASE = (
    *("body_inertia", "body_ipos", "body_pos", "body_quat", "jnt_pos", "site_pos", "cam_pos"),
    *("geom_pos", "geom_quat", "geom_size", "geom_solref", "eq_data"),
    *("actuator_gainprm", "actuator_biasprm", "actuator_forcerange", "actuator_dynprm"),
    "hfield_data",
)


def element_names(mj_model: mujoco.MjModel, kind: str) -> list[str]:
    """Returns the names along the first axis of an array over ``kind``.

    A dof and a qpos entry carry the name of their joint.
    """
    if kind in ("dof", "qpos"):
        owner = mj_model.dof_jntid if kind == "dof" else qpos_owner(mj_model)
        return [mj_model.joint(int(j)).name for j in owner]
    if kind == "mocap":
        return [mj_model.body(int(i)).name for i in mocap_bodies(mj_model)]
    count = {
        "body": mj_model.nbody,
        "geom": mj_model.ngeom,
        "joint": mj_model.njnt,
        "actuator": mj_model.nu,
        "hfield": mj_model.nhfield,
        "camera": mj_model.ncam,
    }
    return [getattr(mj_model, kind)(i).name for i in range(count[kind])]


def mocap_bodies(model: Any) -> np.ndarray:
    """Returns (nmocap,) the mocap bodies of MuJoCo's or MJX's model, in the order of mocap_pos."""
    return np.argsort(model.body_mocapid)[model.nbody - model.nmocap :]


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
        "actuator_time_constant": mj_model.actuator_dynprm[:, 0].astype(np.float32),
        "body_shape": np.ones((mj_model.nbody, 3), np.float32),
        "body_tilt": np.zeros((mj_model.nbody, 3), np.float32),
        "link_length": np.ones(mj_model.nbody, np.float32),
        "geom_restitution": np.zeros(mj_model.ngeom, np.float32),
        "geom_tilt": np.zeros((mj_model.ngeom, 3), np.float32),
        "gravity": np.array(mj_model.opt.gravity, np.float32),
        "gravity_tilt": np.zeros(2, np.float32),
        "terrain_height": np.ones(mj_model.nhfield, np.float32),
        "terrain_seed": np.zeros(mj_model.nhfield, np.float32),
    }


def base(mj_model: mujoco.MjModel) -> dict[str, np.ndarray]:
    """Returns the MuJoCo arrays that `expand` starts from."""
    return {name: np.array(getattr(mj_model, name), np.float32) for name in BASE}


_KIND = mujoco.mjtGeom
SIZES = {
    int(_KIND.mjGEOM_SPHERE): 1,
    int(_KIND.mjGEOM_CAPSULE): 2,
    int(_KIND.mjGEOM_CYLINDER): 2,
    int(_KIND.mjGEOM_ELLIPSOID): 3,
    int(_KIND.mjGEOM_BOX): 3,
}
"""Type of geom -> how many of its three sizes it uses; the others have none that act."""


def sizes_used(mj_model: mujoco.MjModel) -> np.ndarray:
    """Returns (ngeom, 3) True for the sizes that a geom's type uses (MuJoCo: geom/size)."""
    used = np.array([SIZES.get(int(kind), 0) for kind in mj_model.geom_type])
    return np.asarray(np.arange(3) < used[:, None])


def bounds(mj_model: mujoco.MjModel, arrays: Mapping[str, np.ndarray]) -> dict[str, Bound]:
    """Returns what the values of the "model" group must lie between, by array name.

    A mass or an inertia that is zero as written may stay so; coefficients keep the sign that they
    have as written. Contact softness: `mj_contactParam` and `getsolparam` of C MuJoCo
    (engine_collision_driver.c, engine_core_constraint.c), which clip solimp in silence and take the
    default for a solref of two signs.

    Args:
        mj_model: the model.
        arrays: nominal values, from `nominal`.
    """
    sized = sizes_used(mj_model)
    solref = arrays["geom_solref"]
    softness = (
        np.array([1e-4, 1e-4, 0.0, 1e-4, 1.0]),
        np.array([0.9999, 0.9999, np.inf, 0.9999, np.inf]),
    )
    width = np.zeros_like(arrays["geom_solimp"], bool)
    width[:, 2] = arrays["geom_solimp"][:, 2] > 0
    factor = Bound("a factor", 0.0, above=True)
    return {
        "body_mass": _weight("a mass", arrays["body_mass"]),
        "body_inertia": _weight("a moment of inertia", arrays["body_inertia"]),
        "body_shape": factor,
        "link_length": factor,
        "geom_friction": Bound("a coefficient of friction", 0.0),
        "geom_solref": Bound(
            "a solref, which keeps its sign,",
            np.where(solref > 0, 0.0, -np.inf),
            np.where(solref > 0, np.inf, 0.0),
            above=solref > 0,
        ),
        "geom_solimp": Bound("this number of a solimp", *softness, above=width),
        "geom_size": Bound("a size", np.where(sized, 0.0, -np.inf), above=sized),
        "jnt_stiffness": _same_sign("a stiffness", arrays["jnt_stiffness"]),
        "dof_damping": _same_sign("a damping", arrays["dof_damping"]),
        "dof_armature": Bound("an armature", 0.0),
        "dof_frictionloss": Bound("a friction loss", 0.0),
        "actuator_kp": _same_sign("a stiffness", arrays["actuator_kp"]),
        "actuator_kd": _same_sign("a damping", arrays["actuator_kd"]),
        "actuator_strength": Bound("a strength", 0.0),
        "actuator_force_limit": Bound("a force limit", 0.0),
        "actuator_time_constant": Bound(
            "a time constant", 0.0, above=arrays["actuator_time_constant"] > 0
        ),
        "terrain_height": Bound(
            "the share of a height field's relief that it has room for",
            0.0,
            np.array([terrain.most_height(f) for f in terrain.fields_of(mj_model)]),
        ),
        "terrain_seed": Bound("the number of a random ground", 0.0, terrain.MOST_SEED),
    }


def _weight(what: str, nominal: np.ndarray) -> Bound:
    """Returns the bound of a quantity above zero; where it is zero as written it may stay so."""
    return Bound(what, 0.0, above=nominal > 0)


def _same_sign(what: str, nominal: np.ndarray) -> Bound:
    """Returns the bound of a coefficient that keeps the sign it has as written."""
    negative = nominal < 0
    return Bound(what, np.where(negative, -np.inf, 0.0), np.where(negative, 0.0, np.inf))
