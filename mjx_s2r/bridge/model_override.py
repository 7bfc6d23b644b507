"""Rows of the table in another library's environment: its MJX model, swapped in each world.

Playground keeps the model in ``_mjx_model``, Brax (backend "mjx") in ``sys``. A shallow copy of the
environment gets the model of one world and steps; the environment itself is never touched.
"""

import copy
from dataclasses import dataclass
from operator import attrgetter
from types import MethodType
from typing import Any

import jax
import numpy as np
from mujoco import mjx

from mjx_s2r.params import ParamError, ParamSpace, apply
from mjx_s2r.sim import physics
from mjx_s2r.sim.model.leaves import ModelBinding, bind_model, expand, leaves
from mjx_s2r.sim.physics import Leaves, Physics

HOLDERS = ("_mjx_model", "sys")


@dataclass(frozen=True, eq=False)
class ModelOverride:
    """The rows bound to the MuJoCo model of another library's environment.

    Attributes:
        physics: that model as ours, from which dependent constants are computed.
        binding: the rows.
        holder: attribute of the environment that holds its MJX model.
    """

    physics: Physics
    binding: ModelBinding
    holder: str

    def leaves(self, xi: jax.Array) -> Leaves:
        """Returns the model fields of one world for xi (D,)."""
        return leaves(self.physics, self.binding, xi)


def bind_model_override(env: Any, space: ParamSpace, name: str) -> ModelOverride | None:
    """Binds a table to an environment; None for a table without rows.

    Raises:
        ParamError: a row that is not of the model; an environment without an MJX model, or whose
            MJX model is not what its MuJoCo model says.
        ModelError: a row that would have no effect, or leave an impossible model.
    """
    if not len(space):
        return None
    for row in space.rows:
        if row.group != "model":
            raise ParamError(
                f"parameter {row.name!r}: {name} is another library's environment, of which only "
                f"the model can be randomized, not {row.field!r}; drop the row, or write the task "
                "as mjx_s2r/envs/cartpole.py does"
            )
    base = getattr(env, "unwrapped", env)
    holder = next((h for h in HOLDERS if isinstance(vars(base).get(h), mjx.Model)), None)
    if holder is None or getattr(base, "backend", "mjx") != "mjx":
        raise ParamError(
            f"{name} has no MJX model to randomize: none in its {' or '.join(HOLDERS)}, or its "
            "backend is not 'mjx'. Drop the table, or choose backend='mjx'"
        )
    own = getattr(base, holder)
    mj_model = base.mj_model if holder == "_mjx_model" else own.mj_model
    swap = ModelOverride(physics.put_model(mj_model), bind_model(space, mj_model), holder)
    _agree(swap, own, space, name)
    return swap


def _agree(swap: ModelOverride, own: mjx.Model, space: ParamSpace, name: str) -> None:
    """Raises ParamError where the environment's MJX model is not its MuJoCo model."""
    touched = apply(np, swap.binding.nominal, swap.binding.edits, space.nominal)
    for path, value in expand(np, swap.binding, touched).items():
        there = np.asarray(attrgetter(path)(own))
        if not np.allclose(there, value, rtol=1e-4, atol=1e-6):
            raise ParamError(
                f"{name} has changed {path!r} of its MJX model after compiling it; rows start from "
                "the MuJoCo model and would undo that. Change the MuJoCo model instead"
            )


def within(env: Any, swap: ModelOverride | None, model: Leaves) -> Any:
    """Returns the environment of one world, whose model has the fields ``model``."""
    if swap is None:
        return env
    twin = copy.copy(env)
    if "env" in vars(env):  # a wrapper: the model is further inside
        object.__setattr__(twin, "env", within(env.env, swap, model))
    else:
        whole = getattr(env, swap.holder).tree_replace(model)
        object.__setattr__(twin, swap.holder, whole)
    for name, value in vars(env).items():
        if isinstance(value, MethodType) and value.__self__ is env:
            object.__setattr__(twin, name, MethodType(value.__func__, twin))
    return twin
