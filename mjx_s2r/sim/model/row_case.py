"""One bound row of the "model" group, and what is needed to judge it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import mujoco
import numpy as np

from mjx_s2r.params import Edit, Param, ParamSpace, bounds
from mjx_s2r.params.bounds import Reach
from mjx_s2r.sim.physics import ModelError


@dataclass(frozen=True)
class Case:
    """One bound row and what is needed to judge it.

    Attributes:
        mj_model: the model.
        space: the table.
        edit: the bound row.
        edits: the bound rows on the same array, in table order.
        nominal: nominal value of the array that it touches.
        names: names of the array's elements.
    """

    mj_model: mujoco.MjModel
    space: ParamSpace
    edit: Edit
    edits: Sequence[Edit]
    nominal: np.ndarray
    names: Sequence[str]

    @property
    def row(self) -> Param:
        """The row of the table."""
        return self.space.rows[self.edit.row]

    @property
    def chosen(self) -> np.ndarray:
        """(E,) True for the elements that the row touches."""
        mask = self.edit.mask
        return np.asarray(mask.reshape(mask.shape[0], -1).any(-1))

    @property
    def first(self) -> int:
        """The first element that the row touches."""
        return int(np.flatnonzero(self.chosen)[0])

    def off(self, flag: mujoco.mjtDisableBit) -> bool:
        """Returns whether the model switches a part of the simulation off."""
        return bool(self.mj_model.opt.disableflags & flag)

    def reach(self, fixed: Mapping[int, float] | None = None) -> Reach:
        """Returns what the array can be, some rows held ``fixed``; see `params.bounds.reach`."""
        return bounds.reach(self.nominal, self.edits, self.space.rows, fixed)

    def ends(self) -> Reach:
        """Returns the array at the row's lowest and highest value, other rows at their highest."""
        low, high = (self.reach({self.edit.row: x})[1] for x in bounds.row_span(self.row))
        return np.minimum(low, high), np.maximum(low, high)

    def error(self, element: int, what: str) -> ModelError:
        """Returns the error of this row on one element."""
        name = self.names[element] or f"element {element}"
        return ModelError(
            f"parameter {self.row.name!r} randomizes {self.edit.array} of {name!r}: {what}"
        )

    def forbid(self, wrong: np.ndarray, what: str) -> None:
        """Refuses a row that touches an element where it would act ``wrong`` (E,).

        Raises:
            ModelError: names the row and the element.
        """
        found = np.flatnonzero(self.chosen & wrong)
        if found.size:
            raise self.error(int(found[0]), what)

    def refuse(self, dead: np.ndarray, what: str) -> None:
        """Refuses a row of which every element, or one that it names in full, is ``dead`` (E,).

        Raises:
            ModelError: names the row and the element.
        """
        named = np.array([name in self.row.elements for name in self.names])
        self.forbid(dead & named, what)
        if not (self.chosen & ~dead).any():
            self.forbid(dead, what)
