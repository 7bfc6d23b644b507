"""World effects from outside: pushes at random times, where it starts, what lies about.

    push, push_torque   force N and torque N m on bodies, at their centres of mass; all pushed
                        bodies of a world are pushed together, in a direction drawn anew each time
    push_rate_hz        pushes per second (a Poisson process, thinned to control steps)
    push_s              how long one lasts, s
    start_pos, _vel     half width of the spread that is added to a joint's start, by joint
    mocap_shift         where mocap bodies (cubes, distractors) are moved at the start, m
    mocap_hidden        1 puts a mocap body out of sight; a categorical row from 0 to 1

A task needs to know nothing of this. What no row touches is not computed.
"""

from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
from flax import struct

from mjx_s2r.params import Edit, ParamError, ParamSpace, apply, bind, bounds
from mjx_s2r.sim.model.fields import element_names
from mjx_s2r.sim.physics import ModelError, PhysicsState

OUT_OF_SIGHT_M = -100.0  # how far down a hidden body is put
PUSHES = ("push", "push_torque")
TIMES = ("push_rate_hz", "push_s")


@dataclass(frozen=True)
class WorldSpec:
    """The world rows bound to a model.

    Attributes:
        edits: the bound rows of group "world".
        nominal: push (nbody,) N, push_torque (nbody,) N m, push_rate_hz (), push_s () s, start_pos
            and start_vel (njnt,) in the joint's unit, mocap_shift (nmocap, 3) m, mocap_hidden
            (nmocap,) 0 or 1.
        qpos: (njnt,) address of each joint in qpos.
        dof: (njnt,) address of each joint in qvel.
        span: (2, njnt) limits of the joints, infinite where there are none.
        control_dt: s between control steps.
    """

    edits: tuple[Edit, ...]
    nominal: dict[str, np.ndarray]
    qpos: np.ndarray
    dof: np.ndarray
    span: np.ndarray
    control_dt: float

    def touches(self, *arrays: str) -> bool:
        """Returns whether a row touches one of ``arrays``."""
        return any(e.array in arrays for e in self.edits)


@struct.dataclass
class Push:
    """The push under way.

    Attributes:
        direction: (2, 3) unit vectors of force and torque, in the world's axes.
        left_s: () how long it still lasts, s.
    """

    direction: jax.Array
    left_s: jax.Array


def bind_world(space: ParamSpace, mj_model: mujoco.MjModel, control_dt: float) -> WorldSpec:
    """Binds the "world" rows of the table.

    Raises:
        ParamError: an unknown array or element; a rate of pushes without a push; limits that reach
            what cannot be; a duration that is never longer than a control step.
        ModelError: a push on a fixed body; a start spread of a joint that is no hinge or slide.
    """
    nominal = {name: np.zeros(mj_model.nbody, np.float32) for name in PUSHES}
    nominal |= {name: np.zeros(mj_model.njnt, np.float32) for name in ("start_pos", "start_vel")}
    nominal |= {"push_rate_hz": np.array(1.0, np.float32), "push_s": np.array(0.1, np.float32)}
    nominal["mocap_shift"] = np.zeros((mj_model.nmocap, 3), np.float32)
    nominal["mocap_hidden"] = np.zeros(mj_model.nmocap, np.float32)
    kinds = dict.fromkeys(PUSHES, "body") | dict.fromkeys(("start_pos", "start_vel"), "joint")
    kinds |= dict.fromkeys(("mocap_shift", "mocap_hidden"), "mocap")
    names = {array: element_names(mj_model, kind) for array, kind in kinds.items()}
    edits = bind(space, "world", nominal, names, bounds.WORLD)
    touched = {e.array: space.rows[e.row].name for e in edits}
    for time in TIMES:
        if time in touched and not touched.keys() & set(PUSHES):
            raise ParamError(
                f"parameter {touched[time]!r} says when to push, but no row pushes; add one on "
                "'world.push' or 'world.push_torque'"
            )
    for edit in edits:
        _refuse(space, edit, mj_model)
    lasting = [edit for edit in edits if edit.array == "push_s"]
    longest = float(bounds.reach(nominal["push_s"], lasting, space.rows)[1])
    if lasting and longest <= control_dt + 1e-6:
        raise ParamError(
            f"parameter {touched['push_s']!r}: a push_s of at most {longest:.4g} s changes "
            f"nothing, since a push lasts one control step of {control_dt:.4g} s at least; raise "
            "its high limit above that, or drop the row"
        )
    limited = mj_model.jnt_limited.astype(bool)[:, None]
    span = np.where(limited, mj_model.jnt_range, (-np.inf, np.inf)).T.astype(np.float32)
    address = np.array(mj_model.jnt_qposadr), np.array(mj_model.jnt_dofadr)
    return WorldSpec(edits, nominal, *address, span, control_dt)


def _refuse(space: ParamSpace, edit: Edit, mj_model: mujoco.MjModel) -> None:
    """Raises ModelError where a row pushes what cannot move or spreads what has no single place."""
    where = f"parameter {space.rows[edit.row].name!r}"
    if edit.array in PUSHES:
        fixed = np.flatnonzero(edit.mask & (mj_model.body_weldid == 0))
        if fixed.size:
            raise ModelError(
                f"{where} pushes body {mj_model.body(int(fixed[0])).name!r}, which is fixed to "
                "the world; name bodies that move"
            )
    if edit.array in ("start_pos", "start_vel"):
        wrong = np.flatnonzero(edit.mask & ~np.isin(mj_model.jnt_type, (2, 3)))  # slide, hinge
        if wrong.size:
            raise ModelError(
                f"{where} spreads the start of joint {mj_model.joint(int(wrong[0])).name!r}, "
                "which is no hinge or slide; spread it in the task's start"
            )


def scatter(spec: WorldSpec, core: PhysicsState, xi: jax.Array, *, key: jax.Array) -> PhysicsState:
    """Returns the start of an episode spread and furnished as the table says."""
    now = apply(jnp, spec.nominal, spec.edits, xi)
    drawn = jax.random.uniform(key, (2, len(spec.qpos)), minval=-1.0)
    if "start_pos" in now:
        place = core.qpos[spec.qpos] + now["start_pos"] * drawn[0]
        touched = now["start_pos"] != 0
        place = jnp.where(touched, jnp.clip(place, *spec.span), core.qpos[spec.qpos])
        core = replace(core, qpos=core.qpos.at[spec.qpos].set(place))
    if "start_vel" in now:
        core = replace(core, qvel=core.qvel.at[spec.dof].add(now["start_vel"] * drawn[1]))
    if "mocap_shift" in now:
        core = replace(core, mocap_pos=core.mocap_pos + now["mocap_shift"])
    if "mocap_hidden" in now:
        down = OUT_OF_SIGHT_M * now["mocap_hidden"]
        core = replace(core, mocap_pos=core.mocap_pos.at[:, 2].add(down))
    return core


def calm(spec: WorldSpec) -> Push | None:
    """Returns the state before any push; None where no row pushes."""
    if not spec.touches(*PUSHES):
        return None
    return Push(jnp.tile(jnp.array((1.0, 0.0, 0.0)), (2, 1)), jnp.float32(0))


def push(spec: WorldSpec, state: Push, xi: jax.Array, *, key: jax.Array) -> Push:
    """Returns the push of the next control step: the one under way, a new one, or none.

    Directions are uniform on the sphere: height U(-1, 1), angle U(0, 2 pi) (Archimedes).
    """
    now = {**spec.nominal, **apply(jnp, spec.nominal, spec.edits, xi)}
    drawn = jax.random.uniform(key, (5,))
    left = state.left_s - spec.control_dt
    starts = (left <= 1e-6) & (drawn[0] < now["push_rate_hz"] * spec.control_dt)
    height, angle = 2 * drawn[1:3] - 1, 2 * jnp.pi * drawn[3:5]
    flat = jnp.sqrt(1 - height**2)
    fresh = jnp.stack((flat * jnp.cos(angle), flat * jnp.sin(angle), height), -1)
    return Push(
        direction=jnp.where(starts, fresh, state.direction),
        left_s=jnp.where(starts, now["push_s"], jnp.maximum(left, 0.0)),
    )


def wrench(spec: WorldSpec, state: Push, xi: jax.Array) -> jax.Array:
    """Returns (nbody, 6) force N and torque N m on every body now."""
    now = {**spec.nominal, **apply(jnp, spec.nominal, spec.edits, xi)}
    size = jnp.stack((now["push"], now["push_torque"]), -1)[:, :, None]
    on = state.left_s > 1e-6
    return jnp.where(on, (size * state.direction).reshape(-1, 6), 0.0)
