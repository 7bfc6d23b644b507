"""A look at a model: what is in it, what each engine simulates, what it costs, what is amiss.

Nothing is traced or compiled. `inspect_model` gathers: the counts (`counts`), the features by
engine (`mjx_s2r.mjcf.features`), the cost of a step in MJX (`mjx_s2r.sim.backends.step_cost`), and
findings: those of the engines, in their own words, and those about the model itself
(`mjx_s2r.mjcf.checks`).
"""

import warnings
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import mujoco
import numpy as np

from mjx_s2r.mjcf.checks import check_model, colliding, size_of
from mjx_s2r.mjcf.features import ENGINES, Feature, features, kinds
from mjx_s2r.mjcf.finding import ModelFinding, from_message, merged
from mjx_s2r.mjcf.load import LoadedModel
from mjx_s2r.render.geometry import scene
from mjx_s2r.sim.backends import engine_fields, mjx_gaps
from mjx_s2r.sim.backends.mjx_gaps import shape_name
from mjx_s2r.sim.backends.physics_config import ModelError, PhysicsConfig
from mjx_s2r.sim.backends.step_cost import StepCost, memory_here, step_cost, too_large
from mjx_s2r.sim.backends.warp import without_contacts
from mjx_s2r.sim.physics import put_model

_MESH = int(mujoco.mjtGeom.mjGEOM_MESH)


@dataclass(frozen=True, eq=False)
class ModelInspection:
    """What a look at a model found.

    Attributes:
        loaded: the model.
        counts: what is in it, by name.
        features: what it uses, by engine.
        cost: what a step of one world in MJX on jax asks for.
        worlds: worlds that memory was judged for.
        memory: bytes that there are here.
        findings: what is amiss, gravest first.
    """

    loaded: LoadedModel
    counts: dict[str, str]
    features: tuple[Feature, ...]
    cost: StepCost
    worlds: int
    memory: float
    findings: tuple[ModelFinding, ...]

    def simulates(self, engine: str) -> bool:
        """Returns whether an engine would take the model, and the worlds find room in it."""
        return not any(f.severity == "refused" and f.engine in (engine, "") for f in self.findings)

    def to_json(self) -> dict[str, Any]:
        """Returns everything in plain values."""
        cost = self.cost
        return {
            "file": str(self.loaded.path),
            "kind": self.loaded.kind,
            "resolved": list(self.loaded.notes),
            "counts": self.counts,
            "engines": {engine: self.simulates(engine) for engine in ENGINES},
            "features": [asdict(feature) for feature in self.features],
            "contacts": {
                "pairs": {" and ".join(shapes): n for shapes, n in sorted(cost.pairs.items())},
                "points": cost.points,
                "rows": cost.rows,
            },
            "cost": {
                "world_bytes": round(cost.world_bytes),
                "worlds": self.worlds,
                "all_bytes": round(cost.world_bytes * self.worlds),
                "here_bytes": round(self.memory),
                "compile_s": round(cost.compile_s, 1),
            },
            "findings": [asdict(finding) for finding in self.findings],
        }


def inspect_model(loaded: LoadedModel, worlds: int = 512) -> ModelInspection:
    """Returns what there is to know about a model before anything is compiled.

    Args:
        loaded: the model, as `load` returns it.
        worlds: how many are to be trained at once.
    """
    m = loaded.model
    cost, memory = step_cost(m), memory_here()
    found = [
        *_of_mjx(m),
        *(from_message("refused", "jax", text) for text in too_large(m, cost, worlds, memory)),
        *_other_points(cost),
        *_of_warp(m),
        *_of_c(m),
        *_of_pictures(m),
        *check_model(m, loaded.kind),
    ]
    return ModelInspection(
        loaded, counts(m), features(m, cost), cost, worlds, memory, merged(found)
    )


def _of_mjx(m: mujoco.MjModel) -> Iterator[ModelFinding]:
    """Yields what MJX on jax refuses or steps otherwise than C MuJoCo."""
    messages = [
        *engine_fields.complaints(m, engine_fields.JAX),
        *mjx_gaps.gaps(m),
        *mjx_gaps.pairs_without_function(m),
    ]
    yield from (from_message("refused", "jax", message) for message in messages)
    unknown = [] if messages else list(_unknown_kinds(m, "jax", "MJX on jax"))
    yield from unknown
    if (
        not messages and not unknown
    ):  # its own last word, on everything but contacts, whose hulls take long
        yield from _refusal("jax", without_contacts(m), None)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        mjx_gaps.warn_of_gaps(m)
    yield from (from_message("differs", "jax", str(w.message)) for w in caught)


_CORNERED = frozenset(("box", "mesh", "cylinder"))


def _other_points(cost: StepCost) -> Iterator[ModelFinding]:
    """Yields pairs of which MJX keeps other points of contact than C, so that a tilt parts them."""
    pairs = {
        shapes: count
        for shapes, count in cost.pairs.items()
        if "hfield" in shapes or ("sphere" not in shapes and _CORNERED.intersection(shapes))
    }
    if pairs:
        words = ", ".join(f"{count} {a}-{b}" for (a, b), count in sorted(pairs.items()))
        yield ModelFinding(
            "differs", "jax", "points of contact",
            f"of {words} are other ones in MJX on jax, and fewer: what tips over an edge or a "
            "corner parts from C MuJoCo by millimetres within 0.2 s",
            "use spheres and capsules where that matters, or physics.backend c, and compare with "
            "`python -m train check`",
        )  # fmt: skip


def _refusal(
    engine: str, m: mujoco.MjModel, config: PhysicsConfig | None
) -> Iterator[ModelFinding]:
    """Yields why `put_model` refuses a model."""
    try:
        put_model(m, config)
    except ModelError as error:
        yield from_message("refused", engine, str(error))


def _of_warp(m: mujoco.MjModel) -> Iterator[ModelFinding]:
    """Yields what MuJoCo Warp ignores or does not know, as far as its code tells without it."""
    for message in engine_fields.complaints(m, engine_fields.WARP):
        yield from_message("refused", "warp", message)
    yield from _unknown_kinds(m, "warp", "MuJoCo Warp")
    if m.opt.enableflags & mujoco.mjtEnableBit.mjENBL_SLEEP:
        yield ModelFinding(
            "refused", "warp", 'flag sleep="enable"',
            "which bodies sleep is not kept between steps", "take it out of <flag/>",
        )  # fmt: skip


def _unknown_kinds(m: mujoco.MjModel, engine: str, name: str) -> Iterator[ModelFinding]:
    """Yields the kinds of elements that an engine does not know."""
    for feature in kinds(m):
        if engine not in feature.engines:
            yield ModelFinding(
                "refused", engine, f"{feature.kind} {feature.name}",
                f"is in the model {feature.count} times, and {name} does not simulate it",
                "take it out, or use another engine",
            )  # fmt: skip


def _of_c(m: mujoco.MjModel) -> Iterator[ModelFinding]:
    """Yields why engine c refuses a model."""
    yield from _refusal("c", m, PhysicsConfig("c"))


def _of_pictures(m: mujoco.MjModel) -> Iterator[ModelFinding]:
    """Yields what the renderer cannot draw, or leaves out."""
    try:
        scene.drawn_geoms(m)
        scene.lights_of(m)
    except scene.SceneError as error:
        yield from_message("refused", "render", str(error))
    if left_out := scene.left_out(m):
        yield ModelFinding("note", "render", "pictures", f"leave out {', '.join(left_out)}", "")
    if not m.ncam:
        yield ModelFinding(
            "note", "render", "cameras", "there is none", "write <camera>, or let `prepare` add one"
        )
    if not m.nlight and not m.vis.headlight.active:
        yield ModelFinding("note", "render", "lights", "there is none", "write <light>")


def counts(m: mujoco.MjModel) -> dict[str, str]:
    """Returns what is in a model, in words, by name."""
    touching = colliding(m)
    drawn = (m.geom_group < 3) & (m.geom_rgba[:, 3] > 0)
    meshes = m.geom_dataid[drawn & (m.geom_type == _MESH)]
    size = size_of(m)
    every = {
        "bodies": str(m.nbody - 1),
        "joints": _by_kind(m.jnt_type, mujoco.mjtJoint),
        "degrees of freedom": f"{m.nv} (qpos {m.nq})",
        "actuators": _actuators(m),
        "sensors": _by_kind(m.sensor_type, mujoco.mjtSensor),
        "tendons": str(m.ntendon),
        "equalities": _by_kind(m.eq_type, mujoco.mjtEq),
        "cameras": _named(m, "camera", m.ncam),
        "lights": str(m.nlight),
        "geoms that collide": _shapes(m.geom_type[touching]),
        "geoms that are only seen": _shapes(m.geom_type[~touching]),
        "meshes": f"{m.nmesh} with {int(m.mesh_facenum.sum()):,} faces",
        "drawn": f"{int(drawn.sum())} geoms with {int(m.mesh_facenum[meshes].sum()):,} faces",
        "textures": f"{m.ntex} for {m.nmat} materials",
        "keyframes": str(m.nkey),
        "mass": f"{float(m.body_mass.sum()):.4g} kg",
        "size": " x ".join(f"{x:.3g}" for x in size) + " m",
        "timestep": f"{m.opt.timestep:g} s",
        "solver": (
            f"{_word(mujoco.mjtSolver(m.opt.solver))}, {m.opt.iterations} iterations, "
            f"{_word(mujoco.mjtIntegrator(m.opt.integrator))}, "
            f"{_word(mujoco.mjtCone(m.opt.cone))} cone"
        ),
    }
    return {name: text for name, text in every.items() if text not in ("", "0")}


def _word(value: Any) -> str:
    """Returns a value of one of MuJoCo's enumerations in words."""
    return str(value.name).partition("_")[2].lower()


def _by_kind(codes: np.ndarray, enum: Any) -> str:
    """Returns how many there are of each kind, such as "6 hinge, 1 free"."""
    found = Counter(_word(enum(int(code))) for code in codes)
    return ", ".join(f"{count} {name}" for name, count in found.most_common())


def _shapes(codes: np.ndarray) -> str:
    """Returns how many geoms there are of each shape."""
    found = Counter(shape_name(int(code)) for code in codes)
    return ", ".join(f"{count} {name}" for name, count in found.most_common())


def _named(m: mujoco.MjModel, kind: str, count: int) -> str:
    """Returns how many there are, with their names."""
    names = [getattr(m, kind)(i).name or "(no name)" for i in range(count)]
    return f"{count} ({', '.join(names[:6])}{' ...' if count > 6 else ''})" if count else "0"


def _actuators(m: mujoco.MjModel) -> str:
    """Returns how many actuators there are of each kind, called as in MJCF."""
    return ", ".join(
        f"{count} {name}"
        for name, count in Counter(actuator_kind(m, i) for i in range(m.nu)).most_common()
    )


def actuator_kind(m: mujoco.MjModel, index: int) -> str:
    """Returns the element of MJCF that an actuator's numbers are those of."""
    gain, bias = m.actuator_gainprm[index], m.actuator_biasprm[index]
    if m.actuator_gaintype[index] == int(mujoco.mjtGain.mjGAIN_MUSCLE):
        return "muscle"
    if m.actuator_trntype[index] == int(mujoco.mjtTrn.mjTRN_BODY):
        return "adhesion"
    if m.actuator_biastype[index] == int(mujoco.mjtBias.mjBIAS_AFFINE):
        if bias[1] < 0:
            return "position"
        return "velocity" if bias[2] < 0 and np.isclose(gain[0], -bias[2]) else "general"
    if m.actuator_biastype[index] != int(mujoco.mjtBias.mjBIAS_NONE):
        return "general"
    plain = m.actuator_dyntype[index] == int(mujoco.mjtDyn.mjDYN_NONE)
    return "motor" if plain and gain[0] else "general"
