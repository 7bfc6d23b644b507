"""Actuator effects between a command and its actuator: noise, play, loss, delay, offset.

A command is issued once per control step and holds until the next (zero-order hold):

    sent = command + relative n1 (command - last) + noise n2 + correlated c     n ~ N(0, 1)
    y    = clip(y, sent - w, sent + w)          play of half width w; a lost command leaves y alone
    followed at time t = y(t - d) + offset

c is a first-order autoregressive process of unit variance and time constant `CORRELATION_S`. Of an
effort the relative noise takes all, not the change. Play is rate independent (Krasnosel'skii and
Pokrovskii 1989), so it commutes with the delay and is taken once, when a command is issued.

With delay d the actuator at physics step i of a control step follows the command that was issued at
or before t + i dt - d. The last K commands are kept, so the delay is exact to one physics step and
may be any real number. MJX-JAX ignores MuJoCo's own `delay` attribute, which is why this is here.

Gains and strength are fields of the model (`mjx_s2r.sim.model.virtual_fields`), the torque-speed
curve is in `mjx_s2r.sim.effects.motor`, the adversary that bends actions in
`mjx_s2r.sim.effects.adversary`.
"""

import math
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from mjx_s2r.params import Edit, ParamSpace, apply, bind, bounds

CORRELATION_S = 0.5
NOISES = ("noise", "noise_relative", "noise_correlated")
PER_JOINT = (*NOISES, "offset", "backlash", "speed_loss")


@dataclass(frozen=True)
class ActuatorSpec:
    """The actuator rows bound to J joints.

    Attributes:
        edits: the bound rows of group "actuator".
        nominal: delay_s () s; hold () probability of a lost command; adversary () its share of the
            action; offset, noise, noise_correlated and backlash (J,) in command units;
            noise_relative (J,); speed_loss (J,) s/rad or s/m.
        control_dt: s between commands.
        physics_dt: s between physics steps.
        depth: K, how many commands are kept.
        effort: commands are efforts, not positions.
    """

    edits: tuple[Edit, ...]
    nominal: dict[str, np.ndarray]
    control_dt: float
    physics_dt: float
    depth: int
    effort: bool = False

    def touches(self, array: str) -> bool:
        """Returns whether a row touches ``array``; what none touches costs nothing."""
        return any(e.array == array for e in self.edits)


@struct.dataclass
class ActuatorState:
    """Commands on their way.

    Attributes:
        history: (K, J) commands after noise and play, newest first.
        drift: (J,) correlated noise of unit variance; None where no row asks for it.
    """

    history: jax.Array
    drift: jax.Array | None = None


def bind_actuator(
    space: ParamSpace,
    joints: tuple[str, ...],
    control_dt: float,
    physics_dt: float,
    effort: bool = False,
) -> ActuatorSpec:
    """Binds the "actuator" rows of the table.

    Raises:
        ParamError: an unknown array or joint; limits that reach what cannot be.
    """
    single = ("delay_s", "hold", "adversary")
    nominal: dict[str, np.ndarray] = {name: np.zeros((), np.float32) for name in single}
    nominal |= {name: np.zeros(len(joints), np.float32) for name in PER_JOINT}
    edits = bind(space, "actuator", nominal, dict.fromkeys(PER_JOINT, joints), bounds.ACTUATOR)
    longest = sum(r.limits[1] for r in space.rows if r.field == "actuator.delay_s")
    depth = 1 + math.ceil(round(longest / control_dt, 6))
    return ActuatorSpec(edits, nominal, control_dt, physics_dt, depth, effort)


def init(spec: ActuatorSpec, command: jax.Array, *, key: jax.Array | None = None) -> ActuatorState:
    """Returns the state of actuators that have followed ``command`` (J,) for ever.

    Correlated noise starts anywhere with a ``key``, at zero without.
    """
    history = jnp.broadcast_to(command, (spec.depth, *command.shape))
    if not spec.touches("noise_correlated"):
        return ActuatorState(history)
    drift = jnp.zeros(command.shape) if key is None else jax.random.normal(key, command.shape)
    return ActuatorState(history, drift)


def values(spec: ActuatorSpec, xi: jax.Array) -> dict[str, jax.Array]:
    """Returns every array of the group for the parameters of one world."""
    return {**spec.nominal, **apply(jnp, spec.nominal, spec.edits, xi)}


def issue(
    spec: ActuatorSpec, state: ActuatorState, xi: jax.Array, command: jax.Array, *, key: jax.Array
) -> ActuatorState:
    """Returns the state after ``command`` (J,) is sent, or lost with probability "hold"."""
    now, last, drift, newest = values(spec, xi), state.history[0], state.drift, command
    kinds = [name for name in NOISES if spec.touches(name)]
    if kinds:
        key, key_noise = jax.random.split(key)
        drawn = jax.random.normal(key_noise, (len(kinds), *command.shape))
        noise = dict(zip(kinds, drawn, strict=True))
        if "noise_relative" in noise:
            change = command if spec.effort else command - last
            newest = newest + now["noise_relative"] * noise["noise_relative"] * change
        if "noise" in noise:
            newest = newest + now["noise"] * noise["noise"]
        if drift is not None:
            keep = math.exp(-spec.control_dt / CORRELATION_S)
            drift = keep * drift + math.sqrt(1 - keep**2) * noise["noise_correlated"]
            newest = newest + now["noise_correlated"] * drift
    if spec.touches("backlash"):
        newest = jnp.clip(last, newest - now["backlash"], newest + now["backlash"])
    if spec.touches("hold"):
        newest = jnp.where(jax.random.bernoulli(key, now["hold"]), last, newest)
    return ActuatorState(jnp.concatenate([newest[None], state.history[:-1]]), drift)


def drive(spec: ActuatorSpec, state: ActuatorState, xi: jax.Array, step: jax.Array) -> jax.Array:
    """Returns what the actuators follow (J,) at physics ``step`` () of the control step."""
    now = values(spec, xi)
    age = (now["delay_s"] - step * spec.physics_dt) / spec.control_dt
    index = jnp.clip(jnp.ceil(age - 1e-6), 0, spec.depth - 1)
    chosen = jnp.arange(spec.depth) == index
    return jnp.sum(jnp.where(chosen[:, None], state.history, 0.0), 0) + now["offset"]
