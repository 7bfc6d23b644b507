"""Physics: the only file that calls mjx.step.

The simulator carries the few arrays that a MuJoCo state really is (`PhysicsState`), not the whole
mjx.Data: a scan that carries full Data moves some 30 kB a world and step, most of it recomputed
anyway.
"""

import copy
from collections.abc import Callable
from dataclasses import replace
from functools import cache, partial
from typing import Any, Literal, cast

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
from flax import struct
from jax.custom_batching import custom_vmap
from mujoco import mjx
from mujoco.mjx._src import types as mjx_types  # the public modules do not tell

from mjx_s2r.sim.backends import c_batch, contacts, engine_fields, implicit, mjx_gaps, warp
from mjx_s2r.sim.backends.contacts import Gauge
from mjx_s2r.sim.backends.host_call import call_on_host
from mjx_s2r.sim.backends.physics_config import Leaves as Leaves
from mjx_s2r.sim.backends.physics_config import ModelError as ModelError
from mjx_s2r.sim.backends.physics_config import PhysicsConfig
from mjx_s2r.sim.backends.warp import Engine

Look = Callable[[mjx.Model, mjx.Data], jax.Array]
Motor = tuple[Callable[..., Any], tuple[jax.Array, ...]]
"""(xp, *arrays, qvel) -> force range (nu, 2) of the actuators, and the arrays of a world."""
Place = tuple[jax.Array, jax.Array, jax.Array]
"""What moves a world's bodies: qpos (nq,), mocap_pos (nmocap, 3) and mocap_quat (nmocap, 4)."""

# Model fields that positions of bodies and centres of mass depend on (mjx kinematics, com_pos).
MOVING = frozenset(
    (
        *("body_pos", "body_quat", "body_ipos", "body_iquat", "body_mass", "body_inertia"),
        *("jnt_pos", "jnt_axis", "qpos0", "geom_pos", "geom_quat", "site_pos", "site_quat"),
    )
)

# Kinds of elements that MJX can hold, and one that stands in for others where only positions count.
_HELD: dict[str, tuple[Any, Any]] = {
    "actuator_trntype": (mjx_types.TrnType, mjx_types.TrnType.JOINT),
    "actuator_dyntype": (mjx_types.DynType, mjx_types.DynType.NONE),
    "actuator_gaintype": (mjx_types.GainType, mjx_types.GainType.FIXED),
    "actuator_biastype": (mjx_types.BiasType, mjx_types.BiasType.NONE),
    "eq_type": (mjx_types.EqType, mjx_types.EqType.JOINT),
    "sensor_type": (mjx_types.SensorType, mjx_types.SensorType.CLOCK),
    "wrap_type": (mjx_types.WrapType, mjx_types.WrapType.SITE),
}

# Fields of mjx.Data that `forward_all` makes those of C MuJoCo, by what they follow from. What is
# in none of these is not computed (qfrc_fluid is part of qfrc_passive), or an inside of the solver.
STATE_FIELDS = frozenset(
    (
        *("qpos", "qvel", "act", "time", "mocap_pos", "mocap_quat", "userdata", "ctrl"),
        *("qacc_warmstart", "eq_active", "qfrc_applied"),
    )
)
POSITION_FIELDS = frozenset(
    (
        *("xpos", "xquat", "xmat", "xipos", "ximat", "xanchor", "xaxis", "geom_xpos", "geom_xmat"),
        *("site_xpos", "site_xmat", "cam_xpos", "cam_xmat", "subtree_com", "cdof", "_impl.cinert"),
    )
)
SMOOTH_FIELDS = frozenset(
    (
        *("xfrc_applied", "act_dot", "ten_length", "cvel", "cdof_dot", "qfrc_bias", "qfrc_passive"),
        *("qfrc_gravcomp", "qfrc_actuator", "qfrc_smooth", "qacc_smooth", "actuator_force"),
        *("actuator_length", "_impl.crb", "_impl.ten_J", "_impl.ten_velocity"),
        *("_impl.actuator_moment", "_impl.actuator_velocity"),
        *("_impl.subtree_linvel", "_impl.subtree_angmom"),
    )
)
CONSTRAINT_FIELDS = frozenset(
    (
        *("qacc", "qfrc_constraint", "sensordata", "_impl.cacc", "_impl.cfrc_int"),
        "_impl.cfrc_ext",
        *(
            f"_impl.contact.{name}"
            for name in ("dist", "pos", "frame", "includemargin", "friction")
        ),
        *(f"_impl.contact.{name}" for name in ("solref", "solreffriction", "solimp")),
        *(f"_impl.contact.{name}" for name in ("geom", "geom1", "geom2")),
        *(f"_impl.efc_{name}" for name in ("type", "J", "pos", "margin", "frictionloss", "D")),
        *("_impl.efc_aref", "_impl.efc_force"),
    )
)


@struct.dataclass
class PhysicsState:
    """Physics state of one world: what must be kept between two physics steps.

    Attributes:
        qpos: (nq,) generalized positions, m and rad.
        qvel: (nv,) generalized velocities, m/s and rad/s.
        act: (na,) actuator activations.
        mocap_pos: (nmocap, 3) positions of mocap bodies, m.
        mocap_quat: (nmocap, 4) orientations of mocap bodies, w x y z.
        warmstart: (nv,) last acceleration, where the constraint solver starts.
        time: () simulated time, s.
        ctrl: (nu,) controls of the last physics step; before the first one, those it begins with.
        memory: (nuserdata,) what the task remembers; physics leaves it alone.
        full: () bool there was no room for one more contact in a step since it was last cleared;
            None where there is always room.
    """

    qpos: jax.Array
    qvel: jax.Array
    act: jax.Array
    mocap_pos: jax.Array
    mocap_quat: jax.Array
    warmstart: jax.Array
    time: jax.Array
    ctrl: jax.Array
    memory: jax.Array
    full: jax.Array | None = None


@struct.dataclass
class Physics:
    """The nominal model on the device and an empty Data to fill; both are shared by all worlds.

    Attributes:
        model: the model in MJX on jax; positions and constants come from it on every backend.
        empty_data: an empty Data of it.
        contact_limits: where the model's own limits can drop contacts; None where they cannot.
        warp: the model in MuJoCo Warp, where that takes the steps; else None.
        c: the model in C MuJoCo, where that takes the steps; else None.
    """

    model: mjx.Model
    empty_data: mjx.Data
    contact_limits: Gauge | None = struct.field(pytree_node=False, default=None)
    warp: Engine | None = struct.field(pytree_node=False, default=None)
    c: c_batch.CBatch | None = struct.field(pytree_node=False, default=None)

    @property
    def backend(self) -> Literal["jax", "warp", "c"]:
        """Name of the engine that takes the steps, as in `PhysicsConfig`."""
        return "warp" if self.warp is not None else "c" if self.c is not None else "jax"


def readable_fields(physics: Physics) -> frozenset[str]:
    """Returns the fields of mjx.Data that a task may read with this engine.

    With MuJoCo Warp the model on jax has no contacts, so what follows from them is not known;
    sensordata is, where no sensor reads accelerations or forces.
    """
    known = STATE_FIELDS | POSITION_FIELDS
    if physics.c is not None:
        return known | {"xfrc_applied", *c_batch.FORWARD_FIELDS}
    known |= SMOOTH_FIELDS
    if physics.warp is None:
        return known | CONSTRAINT_FIELDS
    late = physics.model.sensor_needstage == mujoco.mjtStage.mjSTAGE_ACC
    return known if np.any(late) else known | {"sensordata"}


def put_model(mj_model: mujoco.MjModel, config: PhysicsConfig | None = None) -> Physics:
    """Checks a MuJoCo model and puts it on the device.

    Raises:
        ModelError: the model uses something that the engine does otherwise than C MuJoCo, or not
            at all; or no Warp on this machine, where the settings ask for it.
    """
    refuse_native_delay(mj_model)
    engine, in_c = None, None
    if config is not None and config.backend == "c":
        in_c = c_batch.CBatch(mj_model)
        mj_model = _for_positions(mj_model)
    elif config is not None and config.backend == "warp":
        engine = warp.put(mj_model, config)
        mj_model = warp.without_contacts(mj_model)
    else:
        engine_fields.refuse_unread(mj_model, engine_fields.JAX)
        mjx_gaps.refuse_gaps(mj_model)
    if mj_model.opt.enableflags & mujoco.mjtEnableBit.mjENBL_ENERGY:  # it moves nothing
        mj_model = copy.copy(mj_model)
        mj_model.opt.enableflags &= ~int(mujoco.mjtEnableBit.mjENBL_ENERGY)
    mine = jax.local_devices()[0]  # MJX's own choice is the first of all, maybe another process's
    try:
        model = mjx.put_model(mj_model, impl="jax", device=mine)
        blank = mjx.make_data(mj_model, impl="jax", device=mine)
    except (NotImplementedError, ValueError) as error:
        if in_c is not None:
            raise ModelError(
                "physics.backend 'c' takes positions from MJX, which cannot hold this model "
                f"({error}); take that out of the MuJoCo model"
            ) from error
        raise mjx_gaps.gap_error(mj_model, error) from error
    limits = None if engine or in_c else contacts.gauge(mj_model)
    return Physics(model, blank, limits, engine, in_c)


def _for_positions(mj_model: mujoco.MjModel) -> mujoco.MjModel:
    """Returns a copy for positions alone: without contacts and with what MJX knows in every place.

    Positions follow from neither actuators, equalities nor sensors, so other kinds of them may
    stand there; their numbers, and all arrays, stay as they are.
    """
    still = warp.without_contacts(mj_model)
    still.opt.integrator, still.opt.solver = 0, int(mujoco.mjtSolver.mjSOL_NEWTON)
    still.opt.enableflags, still.opt.noslip_iterations = 0, 0
    still.opt.disableactuator = 0
    for field, (known, other) in _HELD.items():
        kinds = getattr(still, field)
        kinds[~np.isin(kinds, list(known))] = int(other)
    still.actuator_trnid[:, 0] = np.minimum(still.actuator_trnid[:, 0], max(still.njnt - 1, 0))
    return still


def refuse_native_delay(mj_model: mujoco.MjModel) -> None:
    """Raises ModelError for MuJoCo's own delays, whose past is not in `PhysicsState`."""
    for kind, count in (("actuator", mj_model.nu), ("sensor", mj_model.nsensor)):
        delays: Any = getattr(mj_model, f"{kind}_delay", None)
        for i in range(count if delays is not None else 0):
            if delays[i] > 0:
                name = getattr(mj_model, kind)(i).name
                raise ModelError(
                    f"{kind} {name!r} has delay={float(delays[i])} s in the MuJoCo model, which is "
                    "ignored here. Remove it there and give the table a row on "
                    f"'{kind}.delay_s'"
                )


def initial_state(physics: Physics, qpos: jax.Array, qvel: jax.Array) -> PhysicsState:
    """Returns the state of a world at rest in ``qpos`` (nq,), ``qvel`` (nv,)."""
    blank = physics.empty_data
    return PhysicsState(
        qpos=qpos,
        qvel=qvel,
        act=blank.act,
        mocap_pos=blank.mocap_pos,
        mocap_quat=blank.mocap_quat,
        warmstart=jnp.zeros_like(qvel),
        time=jnp.zeros(()),
        ctrl=blank.ctrl,
        memory=blank.userdata,
        full=None
        if physics.contact_limits is None and physics.warp is None
        else jnp.zeros((), bool),
    )


def _fill(blank: mjx.Data, state: PhysicsState) -> mjx.Data:
    """Returns a Data that holds ``state`` and nothing derived from it."""
    return blank.replace(
        qpos=state.qpos,
        qvel=state.qvel,
        act=state.act,
        mocap_pos=state.mocap_pos,
        mocap_quat=state.mocap_quat,
        qacc_warmstart=state.warmstart,
        time=state.time,
        ctrl=state.ctrl,
        userdata=state.memory,
    )


def world_model(physics: Physics, leaves: Leaves) -> mjx.Model:
    """Returns the model of one world: the nominal one with its ``leaves`` put in."""
    return physics.model.tree_replace(leaves) if leaves else physics.model


def advance(
    physics: Physics,
    leaves: Leaves,
    state: PhysicsState,
    ctrl: jax.Array,
    wrench: jax.Array | None = None,
) -> PhysicsState:
    """Returns the world one physics step later under ``ctrl`` (nu,).

    A ``wrench`` (nbody, 6), force N and torque N m in the world's axes at each body's centre of
    mass, pushes from outside.
    """
    if physics.c is not None:
        return advance_together(physics, leaves, state, ctrl[None], wrench)
    if physics.warp is not None:
        one = jax.tree.map(lambda x: x[None], (warp.usable(leaves), state, ctrl, wrench))
        return jax.tree.map(lambda x: x[0], _together(physics.warp)(*one))
    limits = physics.contact_limits
    look = None if limits is None else partial(contacts.full, limits)
    return _step(world_model(physics, leaves), physics.empty_data, look, (state, ctrl, wrench))


def advance_together(
    physics: Physics,
    leaves: Leaves,
    state: PhysicsState,
    ctrl: jax.Array,
    wrench: jax.Array | None = None,
    motor: Motor | None = None,
) -> PhysicsState:
    """Returns the world S physics steps later, by C MuJoCo in one call for all worlds.

    Args:
        physics: the model, with C as its engine.
        leaves: model fields of this world.
        state: the world now.
        ctrl: (S, nu) controls of every step.
        wrench: (nbody, 6) as in `advance`; None for none.
        motor: what gives the force range at a speed, and arrays of this world that it needs.
    """
    assert physics.c is not None
    engine, curve = physics.c, None if motor is None else motor[1]

    def steps(leaves: Any, parts: Any, ctrl: Any, wrench: Any, curve: Any) -> dict[str, np.ndarray]:
        """Steps N worlds."""
        force_range = None if motor is None else partial(motor[0], np, *curve)
        return engine.steps(leaves, parts, ctrl, wrench, force_range)

    moved = {name: getattr(state, name) for name in c_batch.MOVED}
    return replace(
        state, ctrl=ctrl[-1], **_call_c(steps, moved, leaves, state, ctrl, wrench, curve)
    )


def _call_c(
    function: Callable[..., dict[str, np.ndarray]],
    like: dict[str, jax.Array],
    leaves: Leaves,
    state: PhysicsState,
    *more: Any,
) -> dict[str, jax.Array]:
    """Returns what a function of N worlds in C returns, from inside a compiled program.

    It gets the leaves that C steps with (all but those of cameras), the parts of the state and
    ``more``, each with the leading axes of all worlds merged into one; results are ``like``.
    """

    def call(given: Any) -> dict[str, np.ndarray]:
        """Merges the leading axes, calls, and takes the results apart again."""
        axes = given[1]["time"].shape
        count = int(np.prod(axes))
        merged = jax.tree.map(lambda x: x.reshape(count, *x.shape[len(axes) :]), given)
        return {n: x.reshape((*axes, *x.shape[1:])) for n, x in function(*merged).items()}

    moving = {name: leaf for name, leaf in leaves.items() if not name.startswith("cam_")}
    parts = {name: getattr(state, name) for name in c_batch.STATE}
    shapes = {name: jax.ShapeDtypeStruct(x.shape, jnp.float32) for name, x in like.items()}
    return cast(dict[str, jax.Array], call_on_host(call, shapes, (moving, parts, *more)))


def _step(
    model: mjx.Model, blank: mjx.Data, look: Look | None, given: tuple[PhysicsState, jax.Array, Any]
) -> PhysicsState:
    """Returns the world one step later.

    Args:
        model: the model of this world.
        blank: an empty Data of the same backend.
        look: says of a model and the Data after the step whether contacts found no room.
        given: the world now, ctrl (nu,) and, or None, the wrench (nbody, 6).
    """
    state, ctrl, wrench = given
    before = _fill(blank, state).replace(ctrl=ctrl)
    if wrench is not None:
        before = before.replace(xfrc_applied=wrench)
    data = implicit.step(model, before)
    return PhysicsState(
        qpos=data.qpos,
        qvel=data.qvel,
        act=data.act,
        mocap_pos=data.mocap_pos,
        mocap_quat=data.mocap_quat,
        warmstart=data.qacc_warmstart,
        time=data.time,
        ctrl=ctrl,
        memory=state.memory,
        full=None if look is None or state.full is None else state.full | look(model, data),
    )


@cache
def _together(engine: Engine) -> Callable[..., PhysicsState]:
    """Returns the step of N worlds in MuJoCo Warp: every argument and the result (N, ...).

    Under `vmap`, nested or not, it stays one call for all worlds. Their number is known only here,
    so this is where the pool of contacts gets its size.
    """

    @custom_vmap
    def step(*given: Any) -> PhysicsState:
        """Steps N worlds."""
        return _worlds(engine, *given)

    @step.def_vmap
    def steps(axis_size: int, batched: list[Any], *args: Any) -> tuple[PhysicsState, PhysicsState]:
        """Steps A times N worlds as one."""
        out = step(*warp.merge_batch_axes(axis_size, batched, args))
        count = out.time.shape[0] // axis_size
        out = jax.tree.map(lambda x: x.reshape(axis_size, count, *x.shape[1:]), out)
        return out, jax.tree.map(lambda _: True, out)

    return step


def _worlds(
    engine: Engine, leaves: Leaves, state: PhysicsState, ctrl: jax.Array, wrench: jax.Array | None
) -> PhysicsState:
    """Returns N worlds one step later in MuJoCo Warp; see `advance`, every argument (N, ...)."""
    blank = warp.room(engine.blank, state.time.shape[0])

    def one(leaves: Leaves, *given: Any) -> PhysicsState:
        """Steps one of them."""
        return _step(engine.model.tree_replace(leaves), blank, warp.full, given)

    return jax.vmap(one)(leaves, state, ctrl, wrench)


def with_memory(
    state: PhysicsState, data: mjx.Data, memory: jax.Array | None
) -> tuple[PhysicsState, mjx.Data]:
    """Returns the world and its view with another ``memory`` (nuserdata,); None changes nothing."""
    if memory is None:
        return state, data
    return replace(state, memory=memory), data.replace(userdata=memory)


def forward_positions(physics: Physics, leaves: Leaves, state: PhysicsState) -> mjx.Data:
    """Returns Data with `STATE_FIELDS` and `POSITION_FIELDS` up to date, and nothing else.

    mjx.step leaves them one step behind; a task and a camera must see the present.
    """
    place = (state.qpos, state.mocap_pos, state.mocap_quat)
    data = positions(physics, leaves, place)
    data = replace(_fill(data, state), qpos=data.qpos)  # with quaternions of length one
    return mjx.camlight(world_model(physics, leaves), data)


def forward_all(
    physics: Physics, leaves: Leaves, state: PhysicsState, wrench: jax.Array | None = None
) -> mjx.Data:
    """Returns Data in which every one of `readable_fields` is right at ``state``.

    This is C MuJoCo's mj_forward under the controls of the last physics step, followed by
    mj_subtreeVel and mj_rnePostConstraint, which C computes only where a sensor asks for them. In a
    compiled program what nobody reads is removed: velocities alone cost no collision and no solver.

    Args:
        physics: the model on the device.
        leaves: model fields of this world.
        state: the world now.
        wrench: (nbody, 6) force N and torque N m from outside, as in `advance`; None for none.
    """
    if physics.c is not None:
        return _forward_in_c(physics, physics.c, leaves, state, wrench)
    return _forward(physics.model, physics.empty_data, leaves, state, wrench)


def _forward_in_c(
    physics: Physics,
    engine: c_batch.CBatch,
    leaves: Leaves,
    state: PhysicsState,
    wrench: jax.Array | None,
) -> mjx.Data:
    """Returns the Data of `forward_all` by C MuJoCo, in one call for all worlds."""
    data = forward_positions(physics, leaves, state)
    like = {name: getattr(data, name) for name in c_batch.FORWARD_FIELDS}
    out = _call_c(engine.forward, like, leaves, state, state.ctrl, wrench)
    if wrench is not None:
        out["xfrc_applied"] = wrench
    return data.replace(**out)


@jax.jit
def _forward(
    model: mjx.Model,
    blank: mjx.Data,
    leaves: Leaves,
    state: PhysicsState,
    wrench: jax.Array | None,
) -> mjx.Data:
    """Returns the Data of `forward_all`; a function of its own, so that it is traced once."""
    model = world_model(Physics(model, blank), leaves)
    before = _fill(blank, state)
    if wrench is not None:
        before = before.replace(xfrc_applied=wrench)
    data = mjx.rne_postconstraint(model, mjx.subtree_vel(model, mjx.forward(model, before)))
    if data._impl.efc_J.size == 0:  # mjx.forward returns before these sensors without constraints
        data = mjx.sensor_acc(model, data)
    return data.replace(qacc_warmstart=state.warmstart)


def positions(physics: Physics, leaves: Leaves, place: Place) -> mjx.Data:
    """Returns Data of one world with positions of bodies and centres of mass; nothing else is new.

    Several programs ask for them several times each, and MJX takes a second or two to trace: as a
    function of its own it is traced once, and turned into one for many worlds once for all callers
    that have the same things per world. So nothing is handed over that positions do not depend on.
    """
    moving = {name: leaf for name, leaf in leaves.items() if name in MOVING}
    return _positions(physics.model, physics.empty_data, moving, place)


@jax.jit
def _positions(model: mjx.Model, blank: mjx.Data, leaves: Leaves, place: Place) -> mjx.Data:
    """Returns the Data of `positions`; ``leaves`` are those of `MOVING`."""
    model = world_model(Physics(model, blank), leaves)
    data = blank.replace(qpos=place[0], mocap_pos=place[1], mocap_quat=place[2])
    return mjx.com_pos(model, mjx.kinematics(model, data))
