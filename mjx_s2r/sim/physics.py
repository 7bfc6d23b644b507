"""Physics: the only file that calls mjx.step.

The simulator carries the few arrays that a MuJoCo state really is (`Core`), not the whole mjx.Data:
a scan that carries full Data moves some 30 kB a world and step, most of it recomputed anyway.
"""

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import mujoco
from flax import struct
from mujoco import mjx

Leaves = dict[str, jax.Array]  # mjx.Model field (dotted path) -> value of one world


class ModelError(ValueError):
    """A MuJoCo model that cannot be simulated faithfully; names the element and the remedy."""


@struct.dataclass
class Core:
    """What must be kept of one world between two physics steps.

    Attributes:
        qpos: (nq,) generalized positions, m and rad.
        qvel: (nv,) generalized velocities, m/s and rad/s.
        act: (na,) actuator activations.
        mocap_pos: (nmocap, 3) positions of mocap bodies, m.
        mocap_quat: (nmocap, 4) orientations of mocap bodies, w x y z.
        warmstart: (nv,) last acceleration, where the constraint solver starts.
        time: () simulated time, s.
        memory: (nuserdata,) what the task remembers; physics leaves it alone.
    """

    qpos: jax.Array
    qvel: jax.Array
    act: jax.Array
    mocap_pos: jax.Array
    mocap_quat: jax.Array
    warmstart: jax.Array
    time: jax.Array
    memory: jax.Array


@struct.dataclass
class Physics:
    """The nominal model on the device and an empty Data to fill; both are shared by all worlds."""

    model: mjx.Model
    blank: mjx.Data


def put(mj_model: mujoco.MjModel) -> Physics:
    """Checks a MuJoCo model and puts it on the device.

    Raises:
        ModelError: the model uses something that MJX-JAX ignores without a word.
    """
    _refuse_native_delay(mj_model)
    model = mjx.put_model(mj_model, impl="jax")
    return Physics(model, mjx.make_data(mj_model, impl="jax"))


def _refuse_native_delay(mj_model: mujoco.MjModel) -> None:
    """Raises ModelError for MuJoCo's own actuator or sensor delay, which MJX-JAX leaves out."""
    for kind, count in (("actuator", mj_model.nu), ("sensor", mj_model.nsensor)):
        delays: Any = getattr(mj_model, f"{kind}_delay", None)
        for i in range(count if delays is not None else 0):
            if delays[i] > 0:
                name = getattr(mj_model, kind)(i).name
                raise ModelError(
                    f"{kind} {name!r} has delay={float(delays[i])} s in the MuJoCo model; MJX-JAX "
                    "ignores it. Remove it there and give the table a row on "
                    f"'{kind}.delay_s'"
                )


def core(physics: Physics, qpos: jax.Array, qvel: jax.Array) -> Core:
    """Returns the Core of a world at rest in ``qpos`` (nq,), ``qvel`` (nv,)."""
    blank = physics.blank
    return Core(
        qpos=qpos,
        qvel=qvel,
        act=blank.act,
        mocap_pos=blank.mocap_pos,
        mocap_quat=blank.mocap_quat,
        warmstart=jnp.zeros_like(qvel),
        time=jnp.zeros(()),
        memory=blank.userdata,
    )


def _fill(physics: Physics, state: Core) -> mjx.Data:
    """Returns a Data that holds ``state`` and nothing derived from it."""
    return physics.blank.replace(
        qpos=state.qpos,
        qvel=state.qvel,
        act=state.act,
        mocap_pos=state.mocap_pos,
        mocap_quat=state.mocap_quat,
        qacc_warmstart=state.warmstart,
        time=state.time,
        userdata=state.memory,
    )


def world_model(physics: Physics, leaves: Leaves) -> mjx.Model:
    """Returns the model of one world: the nominal one with its ``leaves`` put in."""
    return physics.model.tree_replace(leaves) if leaves else physics.model


def advance(
    physics: Physics, leaves: Leaves, state: Core, ctrl: jax.Array, wrench: jax.Array | None = None
) -> Core:
    """Returns the world one physics step later under ``ctrl`` (nu,).

    A ``wrench`` (nbody, 6), force N and torque N m in the world's axes at each body's centre of
    mass, pushes from outside.
    """
    given = _fill(physics, state).replace(ctrl=ctrl)
    if wrench is not None:
        given = given.replace(xfrc_applied=wrench)
    data = mjx.step(world_model(physics, leaves), given)
    return Core(
        qpos=data.qpos,
        qvel=data.qvel,
        act=data.act,
        mocap_pos=data.mocap_pos,
        mocap_quat=data.mocap_quat,
        warmstart=data.qacc_warmstart,
        time=data.time,
        memory=state.memory,
    )


def remember(state: Core, data: mjx.Data, memory: jax.Array | None) -> tuple[Core, mjx.Data]:
    """Returns the world and its view with another ``memory`` (nuserdata,); None changes nothing.

    Raises:
        ModelError: a memory of another size than the model has room for.
    """
    if memory is None:
        return state, data
    if memory.shape != state.memory.shape:
        raise ModelError(
            f"the task's memory has shape {memory.shape}, and the MuJoCo model has room for "
            f'{state.memory.shape[0]} numbers; write <size nuserdata="{memory.size}"/> into it'
        )
    return replace(state, memory=memory), data.replace(userdata=memory)


def view(physics: Physics, leaves: Leaves, state: Core) -> mjx.Data:
    """Returns Data with positions of bodies, geoms, sites and cameras up to date with ``state``.

    mjx.step leaves them one step behind; a task and a camera must see the present.
    """
    model = world_model(physics, leaves)
    data = mjx.kinematics(model, _fill(physics, state))
    return mjx.camlight(model, mjx.com_pos(model, data))
