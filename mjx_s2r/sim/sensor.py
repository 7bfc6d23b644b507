"""What lies between a true reading and what the policy is told: bias, noise, delay.

    reading = true(t - delay) + bias_std * b + noise_std * n

with b ~ N(0, 1) drawn once per episode and component, n ~ N(0, 1) at every step. Delay is in
control steps, linearly interpolated between the kept readings. The standard deviations are rows of
the table, one per signal, in the signal's unit.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from mjx_s2r.params import Edit, ParamSpace, apply, bind


@dataclass(frozen=True)
class SensorSpec:
    """The sensor rows bound to the signals of a contract.

    Attributes:
        edits: the bound rows of room "sensor".
        nominal: noise (S,) and bias (S,) standard deviations per signal, delay_s ().
        sizes: signal name -> number of components, in order; P in total.
        control_dt: s between readings.
        depth: K, how many readings are kept.
    """

    edits: tuple[Edit, ...]
    nominal: dict[str, np.ndarray]
    sizes: dict[str, int]
    control_dt: float
    depth: int


@struct.dataclass
class SensorState:
    """Readings kept and the episode's bias.

    Attributes:
        history: (K, P) true readings, newest first.
        bias: (P,) standard normal draws of the episode.
    """

    history: jax.Array
    bias: jax.Array


def bind_sensor(space: ParamSpace, sizes: Mapping[str, int], control_dt: float) -> SensorSpec:
    """Binds the "sensor" rows of the table to signals ``sizes`` (name -> components).

    Raises:
        ParamError: an unknown array or signal.
    """
    count = len(sizes)
    nominal = {
        "noise": np.zeros(count, np.float32),
        "bias": np.zeros(count, np.float32),
        "delay_s": np.zeros((), np.float32),
    }
    edits = bind(space, "sensor", nominal, {"noise": list(sizes), "bias": list(sizes)})
    longest = sum(r.limits[1] for r in space.rows if r.field == "sensor.delay_s")
    return SensorSpec(edits, nominal, dict(sizes), control_dt, 1 + math.ceil(longest / control_dt))


def init(spec: SensorSpec, true: Mapping[str, jax.Array], *, key: jax.Array) -> SensorState:
    """Returns the state of sensors that have read ``true`` for ever, with a fresh bias."""
    flat = _join(spec, true)
    return SensorState(
        history=jnp.broadcast_to(flat, (spec.depth, *flat.shape)),
        bias=jax.random.normal(key, flat.shape),
    )


def push(spec: SensorSpec, state: SensorState, true: Mapping[str, jax.Array]) -> SensorState:
    """Returns the state with one more set of ``true`` readings."""
    history = jnp.concatenate([_join(spec, true)[None], state.history[:-1]])
    return replace(state, history=history)


def read(
    spec: SensorSpec, state: SensorState, xi: jax.Array, *, key: jax.Array
) -> dict[str, jax.Array]:
    """Returns the readings by signal name, as the policy gets them."""
    values = {**spec.nominal, **apply(jnp, spec.nominal, spec.edits, xi)}
    age = jnp.clip(values["delay_s"] / spec.control_dt, 0, spec.depth - 1)
    weight = jnp.clip(1 - jnp.abs(jnp.arange(spec.depth) - age), 0, 1)
    delayed = jnp.sum(weight[:, None] * state.history, 0)
    repeat = np.array(list(spec.sizes.values()))
    spread = [
        jnp.repeat(jnp.asarray(values[k]), repeat, total_repeat_length=repeat.sum())
        for k in ("bias", "noise")
    ]
    noisy = delayed + spread[0] * state.bias + spread[1] * jax.random.normal(key, delayed.shape)
    return dict(zip(spec.sizes, jnp.split(noisy, np.cumsum(repeat)[:-1]), strict=True))


def _join(spec: SensorSpec, readings: Mapping[str, jax.Array]) -> jax.Array:
    """Returns (P,) the readings in order."""
    return jnp.concatenate([jnp.atleast_1d(readings[name]) for name in spec.sizes])
