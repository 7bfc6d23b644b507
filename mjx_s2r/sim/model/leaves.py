"""From xi to the model of one world: the "model" group of the table.

`ModelBinding` holds the rows bound by name, `leaves` returns the touched MJX fields of one world,
`write` puts the same values into a C MuJoCo model. Always from the nominal value. Beside this file:
which arrays rows may touch (`fields`), what those mean that MuJoCo does not know
(`virtual_fields`), and what is refused (`row_checks`).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
import mujoco
import numpy as np

from mjx_s2r.params import Array, Bound, Edit, ParamSpace, apply, bind
from mjx_s2r.sim.backends import warp
from mjx_s2r.sim.model import row_checks, terrain
from mjx_s2r.sim.model import virtual_fields as trade
from mjx_s2r.sim.model.derived_constants import derived_constants, follows
from mjx_s2r.sim.model.fields import ELEMENTS, SERVO, VIRTUAL, base, bounds, nominal
from mjx_s2r.sim.model.fields import element_names as element_names
from mjx_s2r.sim.model.virtual_fields import Anatomy, anatomy
from mjx_s2r.sim.physics import Leaves, ModelError, Physics


@dataclass(frozen=True)
class ModelBinding:
    """The model rows of a table bound to one MuJoCo model.

    Attributes:
        edits: the bound rows.
        nominal: array name -> nominal value.
        fixed: MuJoCo arrays that `expand` starts from beside the touched ones.
        form: what hangs on what.
        resized: (nbody,) bodies whose length a row touches.
        radius: (ngeom,) geom_rbound as written.
        fields: height fields as written.
        ground: (nhfield,) height fields whose ground a row touches.
    """

    edits: tuple[Edit, ...]
    nominal: Mapping[str, np.ndarray]
    fixed: Mapping[str, np.ndarray]
    form: Anatomy
    resized: np.ndarray
    radius: np.ndarray
    fields: tuple[terrain.Field, ...]
    ground: np.ndarray


def bind_model(space: ParamSpace, mj_model: mujoco.MjModel) -> ModelBinding:
    """Binds the "model" rows of the table to a MuJoCo model, by name.

    Raises:
        ParamError: an unknown array, element or column; limits that reach what cannot be.
        ModelError: a row that would have no effect, or leave an impossible model.
    """
    arrays = nominal(mj_model)
    names = {a: element_names(mj_model, k) for a, k in ELEMENTS.items() if k is not None}
    bounce = Bound("a bounce that a contact can have", 0.0, trade.MOST_BOUNCE)
    limits = bounds(mj_model, arrays) | {"geom_restitution": bounce}
    edits = bind(space, "model", arrays, names, limits)
    row_checks.check(space, edits, mj_model, arrays, names)
    resized, ground = np.zeros(mj_model.nbody, bool), np.zeros(mj_model.nhfield, bool)
    for edit in edits:
        if edit.array == "link_length":
            resized |= edit.mask
        if edit.array in terrain.ARRAYS:
            ground |= edit.mask
    return ModelBinding(
        edits=edits,
        nominal=arrays,
        fixed=base(mj_model),
        form=anatomy(mj_model),
        resized=resized,
        radius=np.array(mj_model.geom_rbound, np.float32),
        fields=terrain.fields_of(mj_model),
        ground=ground,
    )


def expand(xp: ModuleType, binding: ModelBinding, touched: Mapping[str, Array]) -> dict[str, Array]:
    """Returns the MuJoCo fields (dotted paths) that follow from one world's touched arrays."""
    out = {name: value for name, value in touched.items() if name not in VIRTUAL}
    out |= trade.bodies(xp, binding.nominal, binding.fixed, touched)
    out |= trade.geoms(xp, binding.fixed, touched)
    if "link_length" in touched:
        now = {**binding.fixed, **out}
        out |= trade.links(xp, binding.form, binding.resized, touched["link_length"], now)
    if "geom_size" in out:
        out["geom_rbound"] = trade.reach_of_geoms(
            xp, binding.form.geom_type, out["geom_size"], binding.radius
        )
    if touched.keys() & set(SERVO):
        out |= trade.actuators(xp, binding.nominal, binding.fixed, touched)
    if "actuator_time_constant" in touched:
        out |= trade.filters(xp, binding.fixed, touched)
    if touched.keys() & {"gravity", "gravity_tilt"}:
        out |= trade.gravity(xp, binding.nominal, touched)
    if touched.keys() & set(terrain.ARRAYS):
        now = {name: touched.get(name, binding.nominal[name]) for name in terrain.ARRAYS}
        written = binding.fixed["hfield_data"]
        out["hfield_data"] = terrain.hfield_data(xp, binding.fields, written, now, binding.ground)
    return out


def leaves(physics: Physics, binding: ModelBinding, xi: jax.Array) -> Leaves:
    """Returns the MJX model fields of one world for xi (D,), dependent constants recomputed.

    Only fields that the table touches, and the constants that follow from them, are returned.
    """
    out = expand(jnp, binding, apply(jnp, binding.nominal, binding.edits, xi))
    if follows(physics.model, out):
        out |= derived_constants(physics, out)
    if physics.warp is not None:
        out |= warp.boxes(physics.warp, binding.form.geom_type, out)
    return out


def refuse_shared(space: ParamSpace, binding: ModelBinding) -> None:
    """Refuses rows on fields that MuJoCo Warp cannot vary from world to world.

    Raises:
        ModelError: names the row, the field and the remedy.
    """
    for edit in binding.edits:
        touched = apply(np, binding.nominal, (edit,), space.nominal)
        shared = [name for name in expand(np, binding, touched) if not warp.varies(name)]
        if shared:
            raise ModelError(
                f"parameter {space.rows[edit.row].name!r} randomizes {shared[0]!r}, of which "
                f"MuJoCo Warp has one for all worlds; {warp.REMEDY}, or drop the row"
            )


def write(mj_model: mujoco.MjModel, binding: ModelBinding, xi: np.ndarray) -> None:
    """Puts xi (D,) into a C MuJoCo model and has MuJoCo recompute its dependent constants.

    Where sizes or places of geoms change, the mid-phase of collision is switched off: its tree of
    boxes was built by the compiler and is not rebuilt.
    """
    fields: dict[str, Any] = expand(np, binding, apply(np, binding.nominal, binding.edits, xi))
    for path, value in fields.items():
        holder = mj_model.opt if path.startswith("opt.") else mj_model
        getattr(holder, path.removeprefix("opt."))[:] = value
    if "geom_size" in fields:
        mj_model.geom_aabb[:] = trade.boxes_of_geoms(
            np, mj_model.geom_type, mj_model.geom_size, mj_model.geom_aabb
        )
    if fields.keys() & trade.MOVES_BOXES:
        mj_model.opt.disableflags |= mujoco.mjtDisableBit.mjDSBL_MIDPHASE
    mujoco.mj_setConst(mj_model, mujoco.MjData(mj_model))
