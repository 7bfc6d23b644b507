"""The features of a model by engine: who simulates what, from the engines' own lists.

Kinds of elements are looked up in the module `types` of each engine, as its own put_model does;
MJX must also name them in the code that steps. C MuJoCo takes all, but for what this project
cannot resume from (`mjx_s2r.sim.backends.c_batch`).
"""

from collections.abc import Iterator
from dataclasses import dataclass

import mujoco
import numpy as np

from mjx_s2r.sim.backends.engine_fields import JAX, WARP, names_listed, names_read
from mjx_s2r.sim.backends.step_cost import StepCost, unsupported_pairs

ENGINES = ("jax", "warp", "c")
_ENUMS = (
    ("joint", "jnt_type", mujoco.mjtJoint),
    ("transmission", "actuator_trntype", mujoco.mjtTrn),
    ("dynamics", "actuator_dyntype", mujoco.mjtDyn),
    ("gain", "actuator_gaintype", mujoco.mjtGain),
    ("bias", "actuator_biastype", mujoco.mjtBias),
    ("equality", "eq_type", mujoco.mjtEq),
    ("sensor", "sensor_type", mujoco.mjtSensor),
    ("tendon over", "wrap_type", mujoco.mjtWrap),
)
_OPTIONS = (
    ("integrator", mujoco.mjtIntegrator),
    ("cone", mujoco.mjtCone),
    ("solver", mujoco.mjtSolver),
)


@dataclass(frozen=True)
class Feature:
    """One feature of a model.

    Attributes:
        kind: such as "sensor".
        name: such as "rangefinder".
        count: how many elements have it.
        engines: the engines that simulate it.
    """

    kind: str
    name: str
    count: int
    engines: tuple[str, ...]


def features(m: mujoco.MjModel, cost: StepCost) -> tuple[Feature, ...]:
    """Returns the features that a model has, with the engines that simulate each."""
    return (*kinds(m), *_pairs(m, cost))


def kinds(m: mujoco.MjModel) -> tuple[Feature, ...]:
    """Returns the features of a model but for the pairs of shapes that may touch."""
    return (*_elements(m), *_options(m), *_rest(m))


def _elements(m: mujoco.MjModel) -> Iterator[Feature]:
    """Yields the kinds of joints, actuators, equalities, sensors and tendons."""
    for kind, field, enum in _ENUMS:
        codes, counts = np.unique(getattr(m, field), return_counts=True)
        for code, count in zip(codes, counts, strict=True):
            full = enum(int(code)).name
            name = full.partition("_")[2].lower()
            if name not in ("none", "pulley"):
                yield Feature(kind, name, int(count), _takers(full))


def _options(m: mujoco.MjModel) -> Iterator[Feature]:
    """Yields integrator, cone and solver."""
    for kind, enum in _OPTIONS:
        full = enum(int(getattr(m.opt, kind))).name
        yield Feature(kind, full.partition("_")[2].lower(), 1, _takers(full))


def _takers(full: str) -> tuple[str, ...]:
    """Returns the engines that know a value of an enumeration by its full name."""
    short = full.partition("_")[2]
    jax = full in names_listed(JAX) and short in names_read(JAX)
    warp = full in names_listed(WARP)
    return tuple(e for e, ok in zip(ENGINES, (jax, warp, True), strict=True) if ok)


def _pairs(m: mujoco.MjModel, cost: StepCost) -> Iterator[Feature]:
    """Yields the pairs of shapes that may touch."""
    for shapes, count in sorted(cost.pairs.items()):
        yield Feature("contact", f"{shapes[0]} and {shapes[1]}", count, ENGINES)
    for shapes, count in sorted(unsupported_pairs(m).items()):
        yield Feature("contact", f"{shapes[0]} and {shapes[1]}", count, ("warp", "c"))


def _rest(m: mujoco.MjModel) -> Iterator[Feature]:
    """Yields features that are no kind of an element."""
    fluid = m.opt.density > 0 or m.opt.viscosity > 0
    implicit = m.opt.integrator == mujoco.mjtIntegrator.mjINT_IMPLICITFAST
    delays = sum(int((getattr(m, f"{k}_delay", np.zeros(0)) > 0).sum()) for k in _DELAYED)
    stateful = mujoco.mj_stateSize(m, mujoco.mjtState.mjSTATE_PLUGIN) > 0
    rows: tuple[tuple[str, int, tuple[str, ...]], ...] = (
        ("gravity compensation", int((m.body_gravcomp != 0).sum()), ENGINES),
        ("fluid drag", int(fluid), ("warp", "c") if implicit else ENGINES),
        ("flexes", m.nflex, ()),
        ("plugins", m.nplugin, ("c",) if not stateful else ()),
        ("delays of MuJoCo", delays, ()),
        ("mocap bodies", m.nmocap, ENGINES),
        ("height fields", m.nhfield, ENGINES),
    )
    for name, count, engines in rows:
        if count:
            yield Feature("also", name, count, engines)


_DELAYED = ("actuator", "sensor")
