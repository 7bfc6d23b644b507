"""From xi to the model of one world: the "model" room of the table.

`nominal` lists the arrays that rows may touch, `Binding` holds the rows bound by name, `leaves`
returns the touched MJX fields of one world, `write` puts the same values into a C MuJoCo model.
Always from the nominal value. Arrays that are not fields of MuJoCo but of the trade:

    body_mass           moves inertia with it: I' = I m'/m, so the pseudo-inertia stays positive
                        definite (Rucker and Wensing 2022, log-Cholesky parameters alpha)
    actuator_kp, _kd    the position loop: gainprm[0] and biasprm[1] = -kp, biasprm[2] = -kd
    actuator_strength   all of an actuator's gain, bias and force range
    gravity             opt.gravity
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
import mujoco
import numpy as np

from mjx_s2r.params import Array, Edit, ParamSpace, apply, bind
from mjx_s2r.sim.constants import DERIVED_FROM, derived_constants
from mjx_s2r.sim.physics import Leaves, ModelError, Physics

# array -> kind of element that names its first axis
_ELEMENTS = {
    "body_mass": "body",
    "body_inertia": "body",
    "body_ipos": "body",
    "body_pos": "body",
    "body_quat": "body",
    "geom_friction": "geom",
    "geom_solref": "geom",
    "geom_solimp": "geom",
    "geom_pos": "geom",
    "jnt_stiffness": "joint",
    "dof_damping": "dof",
    "dof_armature": "dof",
    "dof_frictionloss": "dof",
    "qpos0": "qpos",
    "actuator_kp": "actuator",
    "actuator_kd": "actuator",
    "actuator_strength": "actuator",
    "gravity": None,
}
_FROM_ZERO = {"dof_frictionloss": "joint"}
_VIRTUAL = ("actuator_kp", "actuator_kd", "actuator_strength", "gravity")


@dataclass(frozen=True)
class Binding:
    """The model rows of a table bound to one MuJoCo model.

    Attributes:
        edits: the bound rows.
        nominal: array name -> nominal value.
        fixed: MuJoCo arrays that `expand` needs beside the touched ones.
    """

    edits: tuple[Edit, ...]
    nominal: Mapping[str, np.ndarray]
    fixed: Mapping[str, np.ndarray]


def element_names(mj_model: mujoco.MjModel, kind: str) -> list[str]:
    """Returns the names along the first axis of an array over ``kind``.

    A dof and a qpos entry carry the name of their joint.
    """
    if kind in ("dof", "qpos"):
        owner = mj_model.dof_jntid if kind == "dof" else _qpos_owner(mj_model)
        return [mj_model.joint(int(j)).name for j in owner]
    count = {
        "body": mj_model.nbody,
        "geom": mj_model.ngeom,
        "joint": mj_model.njnt,
        "actuator": mj_model.nu,
    }
    return [getattr(mj_model, kind)(i).name for i in range(count[kind])]


def _qpos_owner(mj_model: mujoco.MjModel) -> np.ndarray:
    """Returns (nq,) the joint that owns each entry of qpos."""
    width = {0: 7, 1: 4, 2: 1, 3: 1}
    return np.repeat(np.arange(mj_model.njnt), [width[int(t)] for t in mj_model.jnt_type])


def nominal(mj_model: mujoco.MjModel) -> dict[str, np.ndarray]:
    """Returns the arrays of the "model" room with their nominal values."""
    arrays = {
        name: np.array(getattr(mj_model, name), np.float32)
        for name in _ELEMENTS
        if name not in _VIRTUAL
    }
    arrays["actuator_kp"] = mj_model.actuator_gainprm[:, 0].astype(np.float32)
    arrays["actuator_kd"] = -mj_model.actuator_biasprm[:, 2].astype(np.float32)
    arrays["actuator_strength"] = np.ones(mj_model.nu, np.float32)
    arrays["gravity"] = np.array(mj_model.opt.gravity, np.float32)
    return arrays


def bind_model(space: ParamSpace, mj_model: mujoco.MjModel) -> Binding:
    """Binds the "model" rows of the table to a MuJoCo model, by name.

    Raises:
        ParamError: an unknown array, element or column.
        ModelError: a row that would start from a zero which MJX compiles out.
    """
    arrays = nominal(mj_model)
    names = {a: element_names(mj_model, k) for a, k in _ELEMENTS.items() if k is not None}
    edits = bind(space, "model", arrays, names)
    for edit in edits:
        _refuse_from_zero(space, edit, arrays, names)
    fixed = {
        name: np.array(getattr(mj_model, name), np.float32)
        for name in ("body_inertia", "actuator_gainprm", "actuator_biasprm", "actuator_forcerange")
    }
    return Binding(edits, arrays, fixed)


def _refuse_from_zero(
    space: ParamSpace,
    edit: Edit,
    arrays: Mapping[str, np.ndarray],
    names: Mapping[str, Sequence[str]],
) -> None:
    """Raises ModelError where a row touches a zero that MJX has compiled out."""
    kind = _FROM_ZERO.get(edit.array)
    if kind is None:
        return
    zero = np.flatnonzero(edit.mask & (arrays[edit.array] == 0))
    if zero.size:
        element = names[edit.array][int(zero[0])]
        raise ModelError(
            f"parameter {space.rows[edit.row].name!r} randomizes {edit.array} of {kind} "
            f"{element!r} from zero; MJX compiles a zero term out, so it would stay zero. Write a "
            "tiny value (1e-6) into the MuJoCo model"
        )


def expand(xp: ModuleType, binding: Binding, touched: Mapping[str, Array]) -> dict[str, Array]:
    """Returns the MuJoCo fields (dotted paths) that follow from one world's touched arrays."""
    out = {name: value for name, value in touched.items() if name not in _VIRTUAL}
    if "body_mass" in touched:
        mass = binding.nominal["body_mass"]
        ratio = xp.where(mass > 0, touched["body_mass"] / np.where(mass > 0, mass, 1), 1)
        base = touched.get("body_inertia", binding.fixed["body_inertia"])
        out["body_inertia"] = base * ratio[:, None]
    if any(name in touched for name in _VIRTUAL[:3]):
        out |= _actuators(xp, binding, touched)
    if "gravity" in touched:
        out["opt.gravity"] = touched["gravity"]
    return out


def _actuators(xp: ModuleType, binding: Binding, touched: Mapping[str, Array]) -> dict[str, Array]:
    """Returns gain, bias and force range of the actuators with kp, kd and strength entered."""
    now = {name: touched.get(name, binding.nominal[name]) for name in _VIRTUAL[:3]}
    gain, bias = binding.fixed["actuator_gainprm"], binding.fixed["actuator_biasprm"]
    strength = now["actuator_strength"]
    servo = bias[:, 1] != 0
    first = now["actuator_kp"][:, None]
    gain = xp.concatenate([first, gain[:, 1:] + 0 * first], -1)
    stiffness = xp.where(servo, -now["actuator_kp"], bias[:, 1])[:, None]
    damping = -now["actuator_kd"][:, None]
    bias = xp.concatenate(
        [bias[:, :1] + 0 * first, stiffness, damping, bias[:, 3:] + 0 * first], -1
    )
    return {
        "actuator_gainprm": gain * strength[:, None],
        "actuator_biasprm": bias * strength[:, None],
        "actuator_forcerange": binding.fixed["actuator_forcerange"] * strength[:, None],
    }


def leaves(physics: Physics, binding: Binding, xi: jax.Array) -> Leaves:
    """Returns the MJX model fields of one world for xi (D,), dependent constants recomputed.

    Only fields that the table touches, and the constants that follow from them, are returned.
    """
    out = expand(jnp, binding, apply(jnp, binding.nominal, binding.edits, xi))
    if DERIVED_FROM & out.keys():
        out |= derived_constants(physics, out)
    return out


def write(mj_model: mujoco.MjModel, binding: Binding, xi: np.ndarray) -> None:
    """Puts xi (D,) into a C MuJoCo model and has MuJoCo recompute its dependent constants."""
    fields: dict[str, Any] = expand(np, binding, apply(np, binding.nominal, binding.edits, xi))
    for path, value in fields.items():
        holder = mj_model.opt if path.startswith("opt.") else mj_model
        getattr(holder, path.removeprefix("opt."))[:] = value
    mujoco.mj_setConst(mj_model, mujoco.MjData(mj_model))
