"""MuJoCo Warp as the engine of the physics steps: what it needs, and what it can give each world.

MJX calls it as one program for all worlds (impl="warp"). Contacts of all worlds lie in one pool
(naconmax); constraint rows belong to a world (njmax). What does not fit is left out, and the world
is marked: `full` reads the marks. Only the step is Warp's: positions for tasks and cameras, and the
constants that follow from masses, are computed by MJX on jax, from a model without contacts, so
that a pair of geoms that only Warp can collide is no obstacle.

Warp has no gradient here and runs on one device.
"""

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
from mujoco import mjx
from mujoco.mjx import warp as mjx_warp
from mujoco.mjx.warp import types

from mjx_s2r.sim.backends import engine_fields
from mjx_s2r.sim.backends.contacts import most_contacts, rows_of_contacts
from mjx_s2r.sim.backends.physics_config import Leaves, ModelError, PhysicsConfig
from mjx_s2r.sim.model.virtual_fields import boxes_of_geoms

REMEDY = "use physics.backend jax, which runs everywhere"
MOST = 64  # contacts of a world by default; more are seldom needed, and `full` counts when they are
# Least limit of the solver's iterations. Models for MJX on jax ask for one or two, with which Warp
# is far from the solution where jax is not; it stops at the tolerance, well before this limit.
ITERATIONS = 10
# mujoco_warp's OverflowType, the bits by which contacts or their rows are lost: NEFC, NJMAX_NNZ,
# BROADPHASE, NARROWPHASE, CCD, HFIELD; the others speak of sensors and of solvers cut short
LOST = 0b111111


@dataclass(frozen=True, eq=False)
class Engine:
    """A model in MuJoCo Warp.

    Attributes:
        model: the nominal model.
        blank: an empty Data with room for one world.
    """

    model: mjx.Model
    blank: mjx.Data


def require(config: PhysicsConfig) -> None:
    """Checks that this machine can step with Warp.

    Raises:
        ModelError: it cannot; says what to do.
    """
    if not mjx_warp.WARP_INSTALLED:
        raise ModelError(
            f"physics.backend 'warp' needs warp-lang; pip install 'mjx_s2r[warp]', or {REMEDY}"
        )
    if not (_has_cuda() or (config.cpu and jax.default_backend() == "cpu")):
        raise ModelError(
            "physics.backend 'warp' needs an NVIDIA GPU, jax runs on "
            f"{jax.default_backend()!r}; {REMEDY}"
        )


def _has_cuda() -> bool:
    """Returns whether jax has an NVIDIA GPU."""
    try:
        return bool(jax.devices("cuda"))
    except RuntimeError:
        return False


def put(mj_model: mujoco.MjModel, config: PhysicsConfig) -> Engine:
    """Puts a model into MuJoCo Warp.

    Raises:
        ModelError: no Warp on this machine, or a model that it cannot simulate.
    """
    require(config)
    if mj_model.opt.enableflags & mujoco.mjtEnableBit.mjENBL_SLEEP:
        raise ModelError(
            "the model's flag sleep: which bodies sleep is not kept between steps. Remove "
            'sleep="enable" from the MuJoCo model'
        )
    engine_fields.refuse_unread(mj_model, engine_fields.WARP)
    contacts, rows = sizes(mj_model, config)
    solved = copy.copy(mj_model)
    solved.opt.iterations = max(mj_model.opt.iterations, ITERATIONS)
    try:
        model = mjx.put_model(solved, impl="warp")
        blank = mjx.make_data(mj_model, impl="warp", naconmax=contacts, njmax=rows)
    except (NotImplementedError, ValueError) as error:
        raise ModelError(
            f"physics.backend 'warp': MuJoCo Warp cannot simulate this model ({error}); change the "
            f"model, or {REMEDY}"
        ) from error
    # What is lost is counted, not printed by the GPU at every step.
    return Engine(model.tree_replace({"opt._impl.warn_overflow": 0}), blank)


def sizes(mj_model: mujoco.MjModel, config: PhysicsConfig) -> tuple[int, int]:
    """Returns contacts for each world and rows of constraints of one world.

    What is not set is what the model can have at most, with no more than `MOST` contacts.

    Raises:
        ModelError: a negative setting.
    """
    for name in ("contacts", "rows"):
        if getattr(config, name) < 0:
            raise ModelError(
                f"physics.{name} {getattr(config, name)} is negative; leave it at 0 for a size "
                "that fits the model"
            )
    contacts = config.contacts or max(min(most_contacts(mj_model), MOST), 1)
    m = mj_model
    limits = int(m.jnt_limited.sum() + m.tendon_limited.sum())
    friction = int((m.dof_frictionloss > 0).sum() + (m.tendon_frictionloss > 0).sum())
    width = {mujoco.mjtEq.mjEQ_CONNECT: 3, mujoco.mjtEq.mjEQ_WELD: 6}
    equal = sum(width.get(mujoco.mjtEq(int(kind)), 1) for kind in m.eq_type)
    rows = limits + friction + equal + contacts * rows_of_contacts(m)
    return contacts, config.rows or max(rows, 1)


def room(blank: mjx.Data, worlds: int) -> mjx.Data:
    """Returns an empty Data of one world of ``worlds``: contacts lie in a pool for all of them."""
    small = blank._impl
    pool = small.naconmax * worlds
    grown: dict[str, Any] = {"naconmax": pool, "naccdmax": small.naccdmax * worlds}
    for field in (name for name in types.DATA_NON_VMAP if name.startswith("contact__")):
        array = getattr(small, field)
        if array.shape[0]:
            grown[field] = jnp.broadcast_to(array[:1], (pool, *array.shape[1:]))
    return blank.replace(_impl=replace(small, **grown))


def full(model: mjx.Model, data: mjx.Data) -> jax.Array:
    """Returns () bool: contacts or their rows found no room in the step that made ``data``."""
    del model
    return (data._impl.overflow & LOST) != 0


def varies(field: str) -> bool:
    """Returns whether Warp can give each world its own ``field`` (dotted path) of the model."""
    return bool(types._BATCH_DIM["Model"].get(field.replace(".", "__")))


def usable(leaves: Leaves) -> Leaves:
    """Returns the leaves that Warp reads; the others are constants that it has no use for."""
    return {name: leaf for name, leaf in leaves.items() if varies(name)}


def boxes(engine: Engine, geom_type: np.ndarray, leaves: Leaves) -> Leaves:
    """Returns the boxes about geoms that follow from ``leaves``: Warp's broad phase reads them."""
    if "geom_size" not in leaves:
        return {}
    nominal = jnp.asarray(engine.model.geom_aabb).reshape(-1, 6)
    found = boxes_of_geoms(jnp, geom_type, leaves["geom_size"], nominal)
    return {"geom_aabb": found.reshape(-1, 2, 3)}


def without_contacts(mj_model: mujoco.MjModel) -> mujoco.MjModel:
    """Returns a copy in which no geom touches another, explicit pairs apart."""
    still = copy.copy(mj_model)
    still.geom_contype[:] = 0
    still.geom_conaffinity[:] = 0
    return still


def merge_batch_axes(
    axis_size: int, batched: Sequence[Any], args: Sequence[Any]
) -> tuple[Any, ...]:
    """Returns arguments (A, N, ...) of a batched call as (A N, ...), those not batched repeated."""

    def flat(is_batched: bool, leaf: jax.Array) -> jax.Array:
        """Merges the two leading axes of one leaf."""
        whole = leaf if is_batched else jnp.broadcast_to(leaf, (axis_size, *leaf.shape))
        return whole.reshape(axis_size * whole.shape[1], *whole.shape[2:])

    return tuple(jax.tree.map(flat, b, a) for b, a in zip(batched, args, strict=True))
