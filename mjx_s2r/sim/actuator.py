"""What lies between a command and the actuator: delay, lost commands, a zero offset.

A command is issued once per control step and holds until the next (zero-order hold). With delay d
the actuator at physics step i of a control step follows the command that was issued at or before
t + i dt - d. The last K commands are kept, so the delay is exact to one physics step and may be any
real number. MJX-JAX ignores MuJoCo's own `delay` attribute, which is why this is here.

Gains and strength are numbers of the model and live in sim/model.py.
"""

import math
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from mjx_s2r.params import Edit, ParamSpace, apply, bind


@dataclass(frozen=True)
class ActuatorSpec:
    """The actuator rows bound to J joints.

    Attributes:
        edits: the bound rows of room "actuator".
        nominal: delay_s () s, hold () probability of a lost command, offset (J,) in command units.
        control_dt: s between commands.
        physics_dt: s between physics steps.
        depth: K, how many commands are kept.
    """

    edits: tuple[Edit, ...]
    nominal: dict[str, np.ndarray]
    control_dt: float
    physics_dt: float
    depth: int


@struct.dataclass
class ActuatorState:
    """Commands on their way: ``history`` (K, J), newest first."""

    history: jax.Array


def bind_actuator(
    space: ParamSpace, joints: tuple[str, ...], control_dt: float, physics_dt: float
) -> ActuatorSpec:
    """Binds the "actuator" rows of the table.

    Raises:
        ParamError: an unknown array or joint.
    """
    nominal = {
        "delay_s": np.zeros((), np.float32),
        "hold": np.zeros((), np.float32),
        "offset": np.zeros(len(joints), np.float32),
    }
    edits = bind(space, "actuator", nominal, {"offset": joints})
    longest = sum(r.limits[1] for r in space.rows if r.field == "actuator.delay_s")
    depth = 1 + math.ceil(round(longest / control_dt, 6))
    return ActuatorSpec(edits, nominal, control_dt, physics_dt, depth)


def init(spec: ActuatorSpec, command: jax.Array) -> ActuatorState:
    """Returns the state of actuators that have followed ``command`` (J,) for ever."""
    return ActuatorState(jnp.broadcast_to(command, (spec.depth, *command.shape)))


def issue(
    spec: ActuatorSpec, state: ActuatorState, xi: jax.Array, command: jax.Array, *, key: jax.Array
) -> ActuatorState:
    """Returns the state after ``command`` (J,) is sent, or lost with probability "hold"."""
    if not any(e.array == "hold" for e in spec.edits):
        newest = command
    else:
        lost = jax.random.bernoulli(key, apply(jnp, spec.nominal, spec.edits, xi)["hold"])
        newest = jnp.where(lost, state.history[0], command)
    return ActuatorState(jnp.concatenate([newest[None], state.history[:-1]]))


def drive(spec: ActuatorSpec, state: ActuatorState, xi: jax.Array, step: jax.Array) -> jax.Array:
    """Returns what the actuators follow (J,) at physics ``step`` () of the control step."""
    values = {**spec.nominal, **apply(jnp, spec.nominal, spec.edits, xi)}
    age = (values["delay_s"] - step * spec.physics_dt) / spec.control_dt
    index = jnp.clip(jnp.ceil(age - 1e-6), 0, spec.depth - 1)
    chosen = jnp.arange(spec.depth) == index
    return jnp.sum(jnp.where(chosen[:, None], state.history, 0.0), 0) + values["offset"]
