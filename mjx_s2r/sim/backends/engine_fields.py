"""What an engine drops: fields that C MuJoCo acts on and the engine never reads.

Which fields an engine reads is taken from its installed code, not remembered: the names in the
compiled modules that its step imports. A field of the model that is not among them, is not known as
one that C's motion does not depend on (`STILL`, `VISUAL`) and is not at its neutral value is
refused, so a new MuJoCo fails loudly. What an engine reads and still does otherwise than C is in
`mjx_s2r.sim.backends.mjx_gaps`.
"""

import importlib.machinery
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import CodeType
from typing import Any

import mujoco
import numpy as np

from mjx_s2r.sim.backends.physics_config import ModelError


@dataclass(frozen=True)
class Reader:
    """The code of an engine.

    Attributes:
        name: what it is called in messages.
        folder: folder of its modules, below the one of mujoco.
        first: modules from which all others that it runs are imported.
        enums: whether the values of enumerations are named in its code.
    """

    name: str
    folder: str
    first: tuple[str, ...]
    enums: bool


JAX = Reader("MJX on jax", "mjx/_src", ("forward",), True)
WARP = Reader("MuJoCo Warp", "mjx/third_party/mujoco_warp/_src", ("forward", "io"), False)
_LISTS = ("types", "dataclasses")  # modules that list every field, read or not

VISUAL = (
    *(
        "bvh_",
        "cam_",
        "flex",
        "hfield_",
        "key_",
        "light_",
        "map",
        "mat_",
        "mesh_",
        "name",
        "numeric_",
    ),
    *("oct_", "plugin", "site_", "skin_", "ten_J_", "tex", "tree_", "tuple_"),
)
"""Beginnings of fields on which motion does not depend, or only through those of other names:
looks, names, keyframes, bounding volumes, patterns of sparse matrices. Flexes are refused as a
whole, plugins by the elements that have one, height fields and meshes by pairs of geoms."""

STILL = frozenset(
    (
        # addresses, counts and quantities that the compiler derives from other fields
        *("actuator_ctrladr", "actuator_ctrlspec", "actuator_outadr", "actuator_historyadr"),
        *("actuator_length0", "body_conaffinity", "body_contype", "body_jntadr", "body_jntnum"),
        *("body_margin", "body_sameframe", "body_simple", "body_treeid", "dof_M0", "dof_Madr"),
        *("dof_length", "dof_simplenum", "dof_treeid", "geom_aabb", "geom_sameframe"),
        *("jnt_actuatorid", "pair_signature", "sensor_historyadr", "tendon_actuatorid"),
        *("tendon_treeid", "tendon_treenum", "exclude_signature", "B_colind", "B_rowadr"),
        *("B_rownnz", "D_colind", "D_diag", "D_rowadr", "D_rownnz", "sensor_needstage"),
        *("efm0_L", "efm0_L_colind", "efm0_L_rowadr", "efm0_L_rownnz", "efm0_dofid", "efmC_perm"),
        # looks, groups and numbers of users
        *(
            "actuator_group",
            "actuator_user",
            "body_bvhadr",
            "body_bvhnum",
            "body_user",
            "geom_user",
        ),
        *("jnt_group", "jnt_user", "sensor_user", "tendon_group", "tendon_matid", "tendon_rgba"),
        *("tendon_user", "tendon_width"),
        # act only through others that are refused: slider cranks, delays
        *("actuator_cranklength", "actuator_history", "sensor_history"),
        # become part of the state before the first step
        "eq_active0",
        # contacts within the gap are listed, and without force
        *("geom_gap", "pair_gap"),
        # C adds no noise
        "sensor_noise",
        # how finely an engine solves, each in its own way; overrides act through a flag
        *("opt.ccd_iterations", "opt.ccd_tolerance", "opt.sdf_iterations", "opt.noslip_tolerance"),
        *("opt.sleep_tolerance", "opt.enableflags", "opt.jacobian", "opt.disableflags"),
        *("opt.o_friction", "opt.o_margin", "opt.o_solimp", "opt.o_solref"),
        # read through its groups by _disabled
        "opt.disableactuator",
    )
)
"""Fields on which C's motion does not depend."""

NEUTRAL: dict[str, float] = {
    **{f"{kind}_plugin": -1 for kind in ("actuator", "body", "geom", "sensor")},
    **{"actuator_ctrlnum": 1, "actuator_outnum": 1},
}
"""Values under which a field does nothing; 0 for all others."""

_ACTIVE: dict[str, Callable[[mujoco.MjModel], Any]] = {
    "geom_fluid": lambda m: m.opt.density > 0 or m.opt.viscosity > 0,
    "actuator_actearly": lambda m: m.actuator_dyntype != mujoco.mjtDyn.mjDYN_NONE,
}
"""Where a field acts, () or one value per element; everywhere for all others."""

_REMEDIES = {
    "actuator_armature": "give the joint that armature, times the gear squared, instead",
    "actuator_damping": "give the joint that damping, times the gear squared, instead",
    "geom_surfacevel": "move the geom on a joint or a mocap body instead",
    "geom_fluid": 'drop fluidshape="ellipsoid"',
    "opt.noslip_iterations": 'write noslip_iterations="0", and impratio="10" against slip',
    "sensor_interval": "drop the interval; camera and sensor rates are settings of the task",
}

_KINDS = {
    **{"actuator": "actuator", "body": "body", "geom": "geom", "jnt": "joint", "dof": "joint"},
    **{"tendon": "tendon", "sensor": "sensor", "pair": "pair", "eq": "equality", "site": "site"},
}
_BITS = {"mjtDisableBit": "mjDSBL_", "mjtEnableBit": "mjENBL_"}
_QUIET_BITS = frozenset(
    # how C finds contacts and splits its work, what it reports, and what it does about NaN
    ("MIDPHASE", "AUTORESET", "NATIVECCD", "ISLAND", "MULTICCD", "INVDISCRETE", "ENERGY", "FWDINV")
)
_ENUMS = {
    **{"opt.integrator": ("mjtIntegrator", "mjINT_"), "opt.cone": ("mjtCone", "mjCONE_")},
    **{"opt.solver": ("mjtSolver", "mjSOL_"), "sensor_type": ("mjtSensor", "mjSENS_")},
    **{"jnt_type": ("mjtJoint", "mjJNT_"), "actuator_dyntype": ("mjtDyn", "mjDYN_")},
    **{"actuator_gaintype": ("mjtGain", "mjGAIN_"), "actuator_trntype": ("mjtTrn", "mjTRN_")},
    **{"actuator_biastype": ("mjtBias", "mjBIAS_"), "eq_type": ("mjtEq", "mjEQ_")},
}


@cache
def names_read(reader: Reader) -> frozenset[str]:
    """Returns every name in the code that the engine runs; empty where it is not installed."""
    folder = Path(mujoco.__file__).parent / reader.folder
    found: dict[str, set[str]] = {}
    wanted = list(reader.first)
    while wanted:
        name = wanted.pop()
        path = folder / f"{name}.py"
        if name in found or not path.exists():
            continue
        loader = importlib.machinery.SourceFileLoader(name, str(path))
        names = _names(loader.get_code(name))
        found[name] = set() if name in _LISTS else names
        wanted += [each.rpartition(".")[2] for each in names]
    return frozenset().union(*found.values())


def _names(code: CodeType | None) -> set[str]:
    """Returns the names in a module's code, that of its functions entered."""
    if code is None:
        return set()
    inner = (_names(part) for part in code.co_consts if isinstance(part, CodeType))
    return set(code.co_names).union(*inner)


@cache
def names_listed(reader: Reader) -> frozenset[str]:
    """Returns the names in the module that lists what kinds of elements the engine takes."""
    path = Path(mujoco.__file__).parent / reader.folder / "types.py"
    if not path.exists():
        return frozenset()
    loader = importlib.machinery.SourceFileLoader("types", str(path))
    return frozenset(_names(loader.get_code("types")))


@cache
def _fields() -> tuple[str, ...]:
    """Returns the arrays of MjModel and the options, as dotted paths."""
    blank = mujoco.MjModel.from_xml_string("<mujoco/>")
    known = (n for n in dir(blank) if not n.startswith("_"))
    arrays = (n for n in known if isinstance(getattr(blank, n, None), np.ndarray))
    options = (n for n in dir(blank.opt) if not n.startswith("_"))
    plain = (n for n in options if isinstance(getattr(blank.opt, n), int | float | np.ndarray))
    return (*arrays, *(f"opt.{name}" for name in plain))


@cache
def dropped(reader: Reader) -> tuple[str, ...]:
    """Returns the fields (dotted paths) that C may act on and the engine never reads."""
    read = names_read(reader)
    unread = (f for f in _fields() if f.removeprefix("opt.") not in read and f not in STILL)
    return tuple(f for f in unread if not f.startswith(VISUAL)) if read else ()


def labelled(mj_model: mujoco.MjModel, kind: str, index: int) -> str:
    """Returns how an element of a ``kind`` such as "joint" is called in messages."""
    code = getattr(mujoco.mjtObj, f"mjOBJ_{kind.upper()}")
    name = mujoco.mj_id2name(mj_model, code, index)
    return f"{kind} {name!r}" if name else f"{kind} number {index}"


def refuse_unread(mj_model: mujoco.MjModel, reader: Reader) -> None:
    """Checks that the engine reads all that acts in a model.

    Raises:
        ModelError: names the element, the field, its value and the remedy.
    """
    for message in complaints(mj_model, reader):
        raise ModelError(message)


def complaints(mj_model: mujoco.MjModel, reader: Reader) -> Iterator[str]:
    """Yields what the engine would leave out, each with its value and the remedy."""
    yield from _disabled(mj_model, reader)
    for field in dropped(reader):
        yield from _not_neutral(mj_model, reader, field)
    yield from _flags(mj_model, reader)
    if reader.enums and names_read(reader):
        yield from _kinds(mj_model, reader)


def _not_neutral(mj_model: mujoco.MjModel, reader: Reader, field: str) -> Iterator[str]:
    """Yields the first element in which an unread ``field`` does something."""
    option = field.startswith("opt.")
    short = field.removeprefix("opt.")
    value = np.asarray(getattr(mj_model.opt if option else mj_model, short))
    acts = value != NEUTRAL.get(field, 0)
    if not acts.any():
        return
    if option:
        yield f"option {short}={_shown(value)} {_ignored(reader, field)}"
        return
    kind = _KINDS.get(short.partition("_")[0])
    if kind is None:
        yield f"the model's {field} {_ignored(reader, field)}"
        return
    acts = acts.reshape(len(acts), -1).any(-1) & _ACTIVE.get(field, lambda _: True)(mj_model)
    for index in np.flatnonzero(acts)[:1]:
        owner = mj_model.dof_jntid[index] if short.startswith("dof_") else index
        what = labelled(mj_model, kind, int(owner))
        yield (
            f"{what}: {short.partition('_')[2]} {_shown(value[index])} {_ignored(reader, field)}"
        )


def _ignored(reader: Reader, field: str) -> str:
    """Returns the end of a message: who ignores the field, and what to do."""
    remedy = _REMEDIES.get(field, "take it out of the MuJoCo model")
    return (
        f"is in the MuJoCo model, and {reader.name} ignores it; {remedy}, or use physics.backend c"
    )


def _shown(value: np.ndarray) -> str:
    """Returns a short form of a number or of a few."""
    flat = np.atleast_1d(value).ravel()
    return " ".join(f"{x:g}" for x in flat[:6]) + (" ..." if flat.size > 6 else "")


def _disabled(mj_model: mujoco.MjModel, reader: Reader) -> Iterator[str]:
    """Yields an actuator whose group is switched off, which an engine would go on driving."""
    groups = np.clip(mj_model.actuator_group, 0, 30)
    off = (mj_model.opt.disableactuator >> groups) & 1
    if "disableactuator" not in names_read(reader):
        for index in np.flatnonzero(off)[:1]:
            yield (
                f"{labelled(mj_model, 'actuator', int(index))}: its group {int(groups[index])} is "
                f"switched off by actuatorgroupdisable, which {reader.name} ignores; take the "
                "actuator out of the MuJoCo model"
            )


def _flags(mj_model: mujoco.MjModel, reader: Reader) -> Iterator[str]:
    """Yields a flag that the engine does not know."""
    read = names_read(reader)
    for kind, prefix in _BITS.items():
        held = mj_model.opt.disableflags if "Disable" in kind else mj_model.opt.enableflags
        for full, bit in getattr(mujoco, kind).__members__.items():
            name = full.removeprefix(prefix)
            counts = not full.startswith(prefix) or name in read or name in _QUIET_BITS
            if not counts and held & int(bit):
                state = "disable" if "Disable" in kind else "enable"
                yield (
                    f'flag {name.lower()}="{state}" is in the MuJoCo model, and {reader.name} '
                    "ignores it; take it out of <flag/>"
                )


def _kinds(mj_model: mujoco.MjModel, reader: Reader) -> Iterator[str]:
    """Yields an element or option of a kind that the engine's code does not name."""
    read = names_read(reader)
    for field, (enum, prefix) in _ENUMS.items():
        short = field.removeprefix("opt.")
        value = np.asarray(getattr(mj_model.opt if short != field else mj_model, short))
        known = getattr(mujoco, enum)
        for code in np.unique(value):
            name = known(int(code)).name.removeprefix(prefix)
            if name not in read:
                index = int(np.flatnonzero(np.atleast_1d(value) == code)[0])
                kind = _KINDS.get(short.partition("_")[0], "")
                what = f"option {short}" if short != field else labelled(mj_model, kind, index)
                yield (
                    f"{what} is of the kind {name.lower()}, which {reader.name} does not simulate; "
                    f"choose another kind{', or take it out' if short == field else ''}"
                )
