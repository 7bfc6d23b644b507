"""Sensor effects between a true reading and the one that the policy gets.

    measured = gain true(t - delay - jitter u) + bias_std b + walk_std w + noise_std n
    told     = measured rounded to whole quanta; the last one again where the sample is lost, or
               where the sensor's period has not passed

with b ~ N(0, 1) drawn once per episode and component, n ~ N(0, 1) and u ~ U(0, 1) at every step,
w a random walk that starts at zero and gains unit variance per second (the bias instability of
inertial sensors, IEEE Std 952). The delay is linearly interpolated between the kept readings.
Deviations, gain and quantum are rows of the table, one per signal, in the signal's unit; what no
row touches is not computed. The signal "command" is no reading and stays as it is: the robot, too,
fills in the command that it has just sent.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from mjx_s2r.params import Edit, ParamError, ParamSpace, apply, bind, bounds

PER_SIGNAL = {"noise": 0.0, "bias": 0.0, "walk": 0.0, "gain": 1.0, "quantum": 0.0}
SINGLE = ("delay_s", "jitter_s", "dropout", "period_s")


@dataclass(frozen=True)
class SensorSpec:
    """The sensor rows bound to the signals of a contract.

    Attributes:
        edits: the bound rows of group "sensor".
        nominal: per signal (S,): noise and bias standard deviations, walk (unit per sqrt(s)), gain,
            quantum; of all together (): delay_s, jitter_s (s), dropout (probability), period_s (s).
        sizes: signal name -> number of components, in order; P in total.
        control_dt: s between readings.
        depth: K, how many readings are kept.
    """

    edits: tuple[Edit, ...]
    nominal: dict[str, np.ndarray]
    sizes: dict[str, int]
    control_dt: float
    depth: int

    def touches(self, *arrays: str) -> bool:
        """Returns whether a row touches one of ``arrays``."""
        return any(e.array in arrays for e in self.edits)

    def parts(self, array: str) -> np.ndarray:
        """Returns the components, of P, whose signal a row touches in ``array``; often few."""
        signals = np.zeros(len(self.sizes), bool)
        for edit in self.edits:
            if edit.array == array:
                signals |= edit.mask
        return np.flatnonzero(np.repeat(signals, np.array(list(self.sizes.values()), int)))


@struct.dataclass
class SensorState:
    """Readings kept and the episode's errors; None where no row asks for it.

    Attributes:
        history: (K, P) true readings, newest first.
        bias: standard normal draws of the episode, for the components that have one.
        walk: random walk, unit variance per second, for the components that have one.
        told: (P,) the reading that the policy got last.
        age_s: () s since a sample was taken.
    """

    history: jax.Array
    bias: jax.Array | None = None
    walk: jax.Array | None = None
    told: jax.Array | None = None
    age_s: jax.Array | None = None


def bind_sensor(space: ParamSpace, sizes: Mapping[str, int], control_dt: float) -> SensorSpec:
    """Binds the "sensor" rows of the table to signals ``sizes`` (name -> components).

    Raises:
        ParamError: an unknown array or signal, or the command, which no sensor reads; limits that
            reach what cannot be; a period that is never longer than a control step.
    """
    _refuse_command(space)
    count = len(sizes)
    nominal = {name: np.full(count, x, np.float32) for name, x in PER_SIGNAL.items()}
    nominal |= {name: np.zeros((), np.float32) for name in SINGLE}
    names = {name: tuple(sizes) for name in PER_SIGNAL}
    edits = bind(space, "sensor", nominal, names, bounds.SENSOR)
    _refuse_short_periods(space, edits, control_dt)
    late = ("sensor.delay_s", "sensor.jitter_s")
    longest = sum(row.limits[1] for row in space.rows if row.field in late)
    depth = 1 + math.ceil(round(longest / control_dt, 6))
    return SensorSpec(edits, nominal, dict(sizes), control_dt, depth)


def _refuse_command(space: ParamSpace) -> None:
    """Raises ParamError for a sensor's row of the signal "command"."""
    for row in space.rows:
        if row.group == "sensor" and "command" in row.elements:
            raise ParamError(
                f"parameter {row.name!r}: no sensor reads 'command', which is what was sent last; "
                "name other signals"
            )


def _refuse_short_periods(space: ParamSpace, edits: Sequence[Edit], control_dt: float) -> None:
    """Raises ParamError for a sensor's period that never leaves out a reading."""
    periods = [edit for edit in edits if edit.array == "period_s"]
    longest = float(bounds.reach(np.zeros(()), periods, space.rows)[1])
    if periods and longest <= control_dt + 1e-6:
        row = space.rows[periods[0].row]
        raise ParamError(
            f"parameter {row.name!r}: a period_s of at most {longest:.4g} s changes nothing, since "
            f"the policy reads once in {control_dt:.4g} s; raise its high limit above that, or "
            "drop the row"
        )


def init(spec: SensorSpec, true: Mapping[str, jax.Array], *, key: jax.Array) -> SensorState:
    """Returns the state of sensors that have read ``true`` for ever, with a fresh bias."""
    flat = _join(spec, true)
    kept = spec.touches("dropout", "period_s")
    return SensorState(
        history=jnp.broadcast_to(flat, (spec.depth, *flat.shape)),
        bias=jax.random.normal(key, spec.parts("bias").shape) if spec.touches("bias") else None,
        walk=jnp.zeros(spec.parts("walk").shape) if spec.touches("walk") else None,
        told=flat if kept else None,
        age_s=jnp.float32(1e6) if kept else None,
    )


def push(spec: SensorSpec, state: SensorState, true: Mapping[str, jax.Array]) -> SensorState:
    """Returns the state with one more set of ``true`` readings."""
    history = jnp.concatenate([_join(spec, true)[None], state.history[:-1]])
    return replace(state, history=history)


def read(
    spec: SensorSpec, state: SensorState, xi: jax.Array, *, key: jax.Array
) -> tuple[SensorState, dict[str, jax.Array]]:
    """Returns the state after one sample and the readings by signal name, as the policy gets them.

    The first sample of an episode is never lost.
    """
    now = {**spec.nominal, **apply(jnp, spec.nominal, spec.edits, xi)}
    late, lost = _chances(spec, key)
    age = jnp.clip((now["delay_s"] + now["jitter_s"] * late) / spec.control_dt, 0, spec.depth - 1)
    weight: jax.Array = jnp.clip(1 - jnp.abs(jnp.arange(spec.depth) - age), 0, 1)
    reading = jnp.sum(weight[:, None] * state.history, 0)
    state, reading = _disturbed(spec, state, now, reading, key=key)
    if spec.touches("quantum"):
        quantum = _spread(spec, now["quantum"])
        whole = jnp.round(reading / jnp.where(quantum > 0, quantum, 1.0)) * quantum
        reading = jnp.where(quantum > 0, whole, reading)
    if state.age_s is not None and state.told is not None:
        waited = state.age_s + spec.control_dt
        gone = (lost < now["dropout"]) & (waited < 1e5)
        fresh = (waited >= now["period_s"] - 1e-6) & ~gone
        reading = jnp.where(fresh, reading, state.told)
        state = replace(state, told=reading, age_s=jnp.where(fresh, 0.0, waited))
    ends = np.cumsum([0, *spec.sizes.values()])[:-1]
    return state, dict(zip(spec.sizes, jnp.split(reading, ends)[1:], strict=True))


def _chances(spec: SensorSpec, key: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Returns two draws in [0, 1], for jitter and for loss; zero and one where none is needed."""
    if not spec.touches("jitter_s", "dropout"):
        return jnp.float32(0), jnp.float32(1)
    chances = jax.random.uniform(jax.random.fold_in(key, 1), (2,))
    return chances[0], chances[1]


def _disturbed(
    spec: SensorSpec,
    state: SensorState,
    now: Mapping[str, jax.Array],
    reading: jax.Array,
    *,
    key: jax.Array,
) -> tuple[SensorState, jax.Array]:
    """Returns the state and ``reading`` (P,) with gain, bias, walk and noise."""
    if spec.touches("gain"):
        reading = reading * _spread(spec, now["gain"])
    if state.bias is not None:
        reading = _plus(spec, "bias", now, reading, state.bias)
    walks, noises = spec.parts("walk"), spec.parts("noise")
    if walks.size + noises.size:
        drawn = jax.random.normal(key, (walks.size + noises.size,))
        if state.walk is not None:
            walk = state.walk + math.sqrt(spec.control_dt) * drawn[: walks.size]
            state, reading = replace(state, walk=walk), _plus(spec, "walk", now, reading, walk)
        if noises.size:
            reading = _plus(spec, "noise", now, reading, drawn[walks.size :])
    return state, reading


def _plus(
    spec: SensorSpec,
    array: str,
    now: Mapping[str, jax.Array],
    reading: jax.Array,
    unit: jax.Array,
) -> jax.Array:
    """Returns ``reading`` (P,) with errors of ``unit`` size added where ``array`` has rows."""
    parts = spec.parts(array)
    return reading.at[parts].add(_spread(spec, now[array])[parts] * unit)


def _spread(spec: SensorSpec, per_signal: jax.Array) -> jax.Array:
    """Returns (P,) one value per component from one per signal."""
    repeat = np.array(list(spec.sizes.values()), int)
    return jnp.repeat(jnp.asarray(per_signal), repeat, total_repeat_length=int(repeat.sum()))


def _join(spec: SensorSpec, readings: Mapping[str, jax.Array]) -> jax.Array:
    """Returns (P,) the readings in order."""
    return jnp.concatenate([jnp.zeros(0), *(jnp.atleast_1d(readings[name]) for name in spec.sizes)])
