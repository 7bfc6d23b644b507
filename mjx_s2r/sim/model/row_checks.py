"""Rows of the "model" group that would do nothing, or nothing sound: refused before long work.

Every refusal names the row, the element and the remedy. Known and not checked: of two geoms of one
priority the larger friction counts, so a row below the other geom's friction is not felt.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import mujoco
import numpy as np

from mjx_s2r.params import Edit, ParamError, ParamSpace
from mjx_s2r.sim.model.virtual_fields import MOST_BOUNCE
from mjx_s2r.sim.physics import ModelError


@dataclass(frozen=True)
class Case:
    """One bound row and what is needed to judge it.

    Attributes:
        mj_model: the model.
        space: the table.
        edit: the bound row.
        nominal: nominal value of the array that it touches.
        names: names of the array's elements.
    """

    mj_model: mujoco.MjModel
    space: ParamSpace
    edit: Edit
    nominal: np.ndarray
    names: Sequence[str]

    @property
    def chosen(self) -> np.ndarray:
        """(E,) True for the elements that the row touches."""
        mask = self.edit.mask
        return np.asarray(mask.reshape(mask.shape[0], -1).any(-1))

    def error(self, element: int, what: str) -> ModelError:
        """Returns the error of this row on one element."""
        row, name = self.space.rows[self.edit.row], self.names[element]
        return ModelError(
            f"parameter {row.name!r} randomizes {self.edit.array} of {name!r}: {what}"
        )


def check(
    space: ParamSpace,
    edits: Sequence[Edit],
    mj_model: mujoco.MjModel,
    nominal: Mapping[str, np.ndarray],
    names: Mapping[str, Sequence[str]],
) -> None:
    """Refuses rows that MJX would ignore or that no body could have.

    Raises:
        ModelError: a row without effect, or one that leaves an impossible model.
    """
    for edit in edits:
        judge = _JUDGES.get(edit.array)
        if judge is not None:
            array, known = nominal[edit.array], names.get(edit.array, ("the world",) * 3)
            judge(Case(mj_model, space, edit, array, known))


def _friction_loss(case: Case) -> None:
    """Refuses a zero that MJX has compiled out."""
    zero = np.flatnonzero(case.edit.mask & (case.nominal == 0))
    if zero.size:
        row, element = case.space.rows[case.edit.row], case.names[int(zero[0])]
        raise ModelError(
            f"parameter {row.name!r} randomizes dof_frictionloss of joint {element!r} from zero; "
            "MJX compiles a zero term out, so it would stay zero. Write a tiny value (1e-6) into "
            "the MuJoCo model"
        )


def _needs_contact(case: Case, dimensions: int = 1) -> None:
    """Refuses a contact row on geoms of which none has contacts of that many dimensions."""
    most = contact_dimensions(case.mj_model)
    if (most[case.chosen] >= dimensions).any():
        return
    element = int(np.flatnonzero(case.chosen)[0])
    if most[element] == 0:
        raise case.error(
            element,
            "it can touch nothing. Give it and another geom matching contype and conaffinity "
            "(explicit pairs have numbers of their own), or drop the row",
        )
    raise case.error(
        element,
        f"its contacts have condim {most[element]}, and this friction acts from condim "
        f'{dimensions} on. Write condim="{dimensions}" into the MuJoCo model, or drop the row',
    )


def _friction(case: Case) -> None:
    """Refuses sliding, torsional or rolling friction where condim leaves it out."""
    column = case.space.rows[case.edit.row].column
    _needs_contact(case, {None: 3, 0: 3, 1: 4, 2: 6}[column])


def _restitution(case: Case) -> None:
    """Refuses a bounce beyond the table of damping ratios, and on contacts in direct form."""
    _needs_contact(case)
    row = case.space.rows[case.edit.row]
    element = int(np.flatnonzero(case.chosen)[0])
    if row.mode == "scale" or row.limits[0] < 0 or row.limits[1] > MOST_BOUNCE:
        raise case.error(
            element, f"limits {row.limits} must lie in (0, {MOST_BOUNCE:.2f}), with mode 'set'"
        )
    direct = np.flatnonzero(case.chosen & (case.mj_model.geom_solref <= 0).any(-1))
    if direct.size:
        raise case.error(
            int(direct[0]),
            "its solref is given as stiffness and damping; write it as time constant and damping "
            'ratio, e.g. solref="0.02 1"',
        )


def _inertia(case: Case) -> None:
    """Refuses one axis of an inertia by itself: it may break the triangle inequality."""
    if case.space.rows[case.edit.row].column is not None:
        raise case.error(
            int(np.flatnonzero(case.chosen)[0]),
            "one axis alone may leave an inertia that no body has. Use 'model.body_shape', which "
            "stretches the mass along that axis, or drop the column",
        )
    _needs_motion(case)


def _needs_motion(case: Case) -> None:
    """Refuses mass and inertia of bodies that are all fixed to the world."""
    fixed = case.mj_model.body_weldid == 0
    if fixed[case.chosen].all():
        raise case.error(
            int(np.flatnonzero(case.chosen)[0]),
            "it is fixed to the world, where mass has no effect. Name a body that moves",
        )


def _size(case: Case) -> None:
    """Refuses sizes that are no sizes: of planes, meshes and height fields."""
    kind = mujoco.mjtGeom
    sized = (
        *(kind.mjGEOM_SPHERE, kind.mjGEOM_CAPSULE, kind.mjGEOM_ELLIPSOID),
        *(kind.mjGEOM_CYLINDER, kind.mjGEOM_BOX),
    )
    wrong = np.flatnonzero(case.chosen & ~np.isin(case.mj_model.geom_type, [int(k) for k in sized]))
    if wrong.size:
        name = kind(int(case.mj_model.geom_type[wrong[0]])).name.removeprefix("mjGEOM_").lower()
        raise case.error(int(wrong[0]), f"a {name} has no size that acts. Name other geoms")


def _length(case: Case) -> None:
    """Refuses to scale the world."""
    if case.chosen[0]:
        raise case.error(0, "the world has no length. Name bodies, e.g. elements=('upper_arm',)")


def _force_limit(case: Case) -> None:
    """Refuses a force limit on actuators without one."""
    free = np.flatnonzero(case.chosen & (case.mj_model.actuator_forcelimited == 0))
    if free.size:
        raise case.error(
            int(free[0]),
            'its force is not limited. Write forcerange="-3 3" (with numbers of the motor) into '
            "the MuJoCo model",
        )


def _tilt(case: Case) -> None:
    """Refuses a direction of gravity where there is none."""
    off = case.mj_model.opt.disableflags & mujoco.mjtDisableBit.mjDSBL_GRAVITY
    if off or not case.mj_model.opt.gravity.any():
        raise case.error(0, "gravity is zero or switched off, so its direction has no effect")


def contact_dimensions(mj_model: mujoco.MjModel) -> np.ndarray:
    """Returns (ngeom,) the largest condim among the contacts that a geom can have; 0 for none.

    Of two geoms the one of higher priority decides, else the larger condim (MuJoCo: Contact
    parameters). Explicit pairs are left out: their numbers are not those of the geoms.
    """
    m, off = mj_model, mj_model.opt.disableflags
    bits = mujoco.mjtDisableBit
    if off & (bits.mjDSBL_CONTACT | bits.mjDSBL_CONSTRAINT):
        return np.zeros(m.ngeom, int)
    weld = m.body_weldid[m.geom_bodyid]
    parent = m.body_weldid[m.body_parentid[weld]]
    meets = (m.geom_contype[:, None] & m.geom_conaffinity[None]) != 0
    apart = weld[:, None] != weld[None]
    if not off & bits.mjDSBL_FILTERPARENT:
        above = (parent[:, None] == weld[None]) & (weld[None] != 0)
        apart &= ~(above | above.T)
    rank, dim = m.geom_priority, m.geom_condim
    both = np.maximum(dim[:, None], dim[None])
    first = np.where(rank[:, None] > rank[None], dim[:, None], both)
    decided = np.where(rank[:, None] < rank[None], dim[None], first)
    return np.where((meets | meets.T) & apart, decided, 0).max(-1, initial=0)


_JUDGES: dict[str, Callable[[Case], None]] = {
    "dof_frictionloss": _friction_loss,
    "geom_friction": _friction,
    "geom_solref": _needs_contact,
    "geom_solimp": _needs_contact,
    "geom_restitution": _restitution,
    "geom_size": _size,
    "body_mass": _needs_motion,
    "body_ipos": _needs_motion,
    "body_shape": _needs_motion,
    "body_inertia": _inertia,
    "link_length": _length,
    "actuator_force_limit": _force_limit,
    "gravity": _tilt,
    "gravity_tilt": _tilt,
}


def closed_rows(space: ParamSpace) -> None:
    """Refuses a row whose limits are one value.

    Raises:
        ParamError: names the row; a number that never differs belongs into the model.
    """
    for row in space.rows:
        if row.limits[0] == row.limits[1]:
            raise ParamError(
                f"parameter {row.name!r}: its limits {row.limits} leave nothing to draw; widen "
                "them, or write the value into the model and drop the row"
            )
