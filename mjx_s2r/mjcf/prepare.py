"""A maker's model made ready for training: read, changed on a copy, written beside, and compared.

The original is read alone. What is changed is recorded with its reason.
"""

import importlib.util
import json
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import mujoco
import numpy as np

from mjx_s2r.mjcf.assets import MeshChange, copy_files, write_meshes
from mjx_s2r.mjcf.check_prepared import Check, compare
from mjx_s2r.mjcf.checks import check_model
from mjx_s2r.mjcf.collision import LinkFit, fit_links
from mjx_s2r.mjcf.exact_xml import exact_xml
from mjx_s2r.mjcf.finding import ModelFinding, merged
from mjx_s2r.mjcf.load import LoadedModel, load
from mjx_s2r.mjcf.naming import name_everything
from mjx_s2r.mjcf.pairs import Pair, find_pairs
from mjx_s2r.mjcf.plausible import FLAT
from mjx_s2r.mjcf.servos import RATE_HZ, Servo, add_servos, design_servos
from mjx_s2r.mjcf.shapes import KINDS, Kind
from mjx_s2r.mjcf.surroundings import (
    add_camera,
    add_floor,
    add_light,
    find_home,
    fit_solver,
    frame,
    lowest,
    pose_of_rest,
)
from mjx_s2r.sim.backends.physics_config import ModelError

MODEL, FACTS = "robot.xml", "prepare.json"
PART, OLD = ".part", ".old"  # folders of a model that is being made, and of the one before
WRITTEN = (MODEL, FACTS, "report.html", "meshes", "textures", "hfields", "skins")
EXTRA = ("manifold3d", "vhacdx")  # the extra `model`
Tell = Callable[[str, str], None]


@dataclass(frozen=True)
class PrepareOptions:
    """What is done to a model, and how closely."""

    collision_error: float = 0.04
    """Error of the collision shapes that is aimed at, as a share of each link's diagonal."""
    max_parts: int = 3
    """Collision shapes that a link at an end of the robot (a finger, a foot, and the link before
    it) may get, where one is worse than that."""
    inner_parts: int = 1
    """The same for the other links, which seldom touch anything."""
    shapes: tuple[Kind, ...] = KINDS
    """Kinds of collision shapes to choose from."""
    visual_error_mm: float = 1.0
    """How far a drawn mesh may be from the original, mm."""
    floating: bool = False
    """Let the robot travel: a free joint on its root, standing on the floor."""
    floor: bool = True
    """Add a floor where there is none."""
    poses: int = 5000
    """Random poses in which pairs of links are tried for contact."""
    keep_pairs: tuple[str, ...] = ()
    """Pairs of bodies whose contacts are kept whatever is found: BODY:BODY."""
    servo_hz: float = RATE_HZ
    """Natural frequency of the servos that a model without actuators gets, Hz."""


@dataclass(frozen=True)
class Change:
    """Something that differs from the original, and why."""

    what: str
    why: str


@dataclass(frozen=True, eq=False)
class Prepared:
    """What was done.

    Attributes:
        path: of the new model.
        original: as it was loaded.
        model: what the new file compiles to.
        home: (nq,) the pose of rest that the pictures show.
        links: fits of the colliding meshes.
        meshes: the drawn meshes before and after.
        pairs: pairs of bodies that could touch.
        servos: the actuators that were added.
        changes: everything that differs.
        checks: the new model measured against the original.
        findings: what is amiss with the new model itself, gravest first.
        options: what was asked for.
    """

    path: Path
    original: LoadedModel
    model: mujoco.MjModel
    home: np.ndarray
    links: tuple[LinkFit, ...] = ()
    meshes: tuple[MeshChange, ...] = ()
    pairs: tuple[Pair, ...] = ()
    servos: tuple[Servo, ...] = ()
    changes: tuple[Change, ...] = ()
    checks: tuple[Check, ...] = ()
    findings: tuple[ModelFinding, ...] = ()
    options: PrepareOptions = PrepareOptions()


@dataclass
class _Work:
    """A specification on its way, and what was done to it."""

    spec: mujoco.MjSpec
    changes: list[Change] = field(default_factory=list)

    def note(self, what: str, why: str) -> None:
        self.changes.append(Change(what, why))


def check_options(options: PrepareOptions) -> None:
    """Checks the options, and what is installed, before anything is read.

    Raises:
        ModelError: an option that means nothing, with what it should be; a library that is missing.
    """
    missing = [name for name in EXTRA if importlib.util.find_spec(name) is None]
    if missing:
        raise ModelError(
            f"preparing a model needs {' and '.join(missing)}; pip install 'mjx_s2r[model]'"
        )
    for name in (
        "collision_error",
        "max_parts",
        "inner_parts",
        "visual_error_mm",
        "poses",
        "servo_hz",
    ):
        value = getattr(options, name)
        if not value > 0 or not np.isfinite(value):
            raise ModelError(f"{name} is {value}; it must be above 0")
    if not options.shapes:
        raise ModelError(f"no shapes to choose from; name some of {', '.join(KINDS)}")
    for pair in options.keep_pairs:
        if len(pair.split(":")) != 2 or not all(pair.split(":")):
            raise ModelError(f"keep_pairs {pair!r} is no pair; write BODY:BODY")


def check_folder(folder: Path, original: Path, overwrite: bool) -> None:
    """Checks that a prepared model may be written to a folder.

    Raises:
        ModelError: it is there and not to be overwritten, is no folder, is no prepared model's
            folder, or holds the original.
    """
    if folder.exists():
        if not folder.is_dir():
            raise ModelError(f"{folder} is a file; name a folder for the prepared model")
        if original.resolve().is_relative_to(folder.resolve()):
            raise ModelError(
                f"{folder} holds the original {original.name}; name another folder, e.g. "
                f"{folder}_prepared"
            )
        inside = {path.name for path in folder.iterdir()}
        if inside and not overwrite:
            raise ModelError(f"{folder} is there already; name another one, or add --overwrite")
        if inside and not inside & {FACTS, PART, OLD}:
            raise ModelError(
                f"{folder} holds other things than a prepared model; name another folder"
            )


def _remove(path: Path) -> None:
    """Removes a file or a folder, if it is there."""
    shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink(missing_ok=True)


def _put_in_place(folder: Path) -> None:
    """Puts a finished model in the place of the one before; what else lies there stays."""
    (folder / OLD).mkdir()
    for name in WRITTEN:
        if (folder / name).exists():
            (folder / name).rename(folder / OLD / name)
        if (folder / PART / name).exists():
            (folder / PART / name).rename(folder / name)


def prepare(
    path: Path,
    folder: Path,
    options: PrepareOptions | None = None,
    overwrite: bool = False,
    tell: Tell = lambda stage, what: None,
) -> Prepared:
    """Writes a model made ready for training to ``folder``, and returns what was done.

    The folder is self-contained: robot.xml, meshes/, textures/ and prepare.json. Two runs write
    the same bytes. The model is made in a hidden folder inside, and takes the place of an earlier
    one when it is complete; other files stay.

    Args:
        path: the original, MJCF or URDF.
        folder: made here.
        options: what is done.
        overwrite: whether an earlier prepared model there may be replaced.
        tell: is told what is being done: the stage, and the element.

    Raises:
        ModelError: a model or options that cannot be used; an earlier model stays then.
    """
    options = options or PrepareOptions()
    check_options(options)
    tell("reading", path.name)
    original = load(path)
    _check_floating(original, options)
    _check_kept(original.model, options)
    check_folder(folder, path, overwrite)
    new = not folder.exists()
    for name in (PART, OLD):  # an earlier run may have ended in it
        _remove(folder / name)
    (folder / PART).mkdir(parents=True)
    try:
        done = _prepare(original, path.parent, folder / PART, options, tell)
        _put_in_place(folder)
    finally:
        for name in (PART, OLD):
            _remove(folder / name)
        if new and not any(folder.iterdir()):
            folder.rmdir()
    return replace(done, path=folder / MODEL)


def _prepare(
    original: LoadedModel, origin: Path, folder: Path, options: PrepareOptions, tell: Tell
) -> Prepared:
    """Writes the model to an empty folder, and returns what was done.

    Args:
        original: as it was loaded.
        origin: its folder.
        folder: of the new model.
        options: what is done.
        tell: as that of `prepare`.
    """
    m = original.model
    work = _Work(original.spec.copy())
    for note in original.notes:
        work.note(note, "found while reading")
    _freeze(work, m)
    _name(work)
    named = work.spec.compile()
    links = fit_links(
        work.spec,
        named,
        options.collision_error,
        (options.max_parts, options.inner_parts),
        options.shapes,
        lambda what: tell("fitting", what),
    )
    if links:
        count = sum(len(link.primitives) for link in links)
        meshes = sum(link.meshes for link in links)
        work.note(
            f"{meshes} colliding meshes became {count} primitives",
            "MJX collides primitives at a fraction of the cost of meshes",
        )
    drawn = write_meshes(
        work.spec,
        named,
        folder,
        options.visual_error_mm / 1e3,
        lambda what: tell("decimating", what),
    )
    before = int(m.mesh_facenum.sum())
    if before:
        work.note(
            f"meshes of {before} faces became {sum(mesh.faces_left for mesh in drawn)}",
            f"drawn within {options.visual_error_mm:g} mm of the original",
        )
    copy_files(work.spec, origin, folder)
    tell("completing", "actuators, floor, camera")
    servos = _surround(work, named, folder, options)
    tell("trying poses", f"{options.poses}")
    pairs, home = _part(work, folder, options)
    text = exact_xml(work.spec, _compiled(work, folder))
    (folder / MODEL).write_text(text)
    model = mujoco.MjModel.from_xml_path(str(folder / MODEL))
    tell("comparing", "with the original")
    done = Prepared(
        path=folder / MODEL,
        original=original,
        model=model,
        home=home,
        links=tuple(links),
        meshes=tuple(drawn),
        pairs=tuple(pairs),
        servos=tuple(servos),
        changes=tuple(work.changes),
        checks=tuple(compare(named, model, home)),
        findings=merged(check_model(model, "mjcf")),
        options=options,
    )
    (folder / FACTS).write_text(json.dumps(_facts(done), indent=1) + "\n")
    return done


def _compiled(work: _Work, folder: Path) -> mujoco.MjModel:
    """Returns the model of the specification as it stands."""
    work.spec.modelfiledir = str(folder)
    return work.spec.compile()


def _check_floating(original: LoadedModel, options: PrepareOptions) -> None:
    """Checks that a robot that is to travel has one root, which stands still so far."""
    if not options.floating:
        return
    m = original.model
    roots = np.flatnonzero((m.body_parentid == 0) & (np.arange(m.nbody) > 0))
    moving = [r for r in roots if (m.body_rootid[m.jnt_bodyid] == r).any()] or list(roots)
    if len(moving) != 1:
        names = ", ".join(m.body(r).name or f"body {r}" for r in moving) or "none"
        raise ModelError(f"--floating needs one root body, and the model has {names}; take it off")
    if m.body_jntnum[moving[0]] or m.body_mocapid[moving[0]] >= 0:
        raise ModelError(
            f"body {m.body(moving[0]).name!r} moves in the world already; take --floating off"
        )


def _check_kept(m: mujoco.MjModel, options: PrepareOptions) -> None:
    """Checks the names of the pairs that are to be kept."""
    names = [m.body(b).name for b in range(m.nbody)]
    for pair in options.keep_pairs:
        for name in pair.split(":"):
            if name not in names:
                raise ModelError(
                    f"keep_pairs names {name!r}, which is no body; the bodies are "
                    f"{', '.join(names[1:12])}{' ...' if len(names) > 12 else ''}"
                )


def _freeze(work: _Work, m: mujoco.MjModel) -> None:
    """Writes down the masses and inertias that the original compiles to, body by body."""
    compiler = work.spec.compiler
    compiler.inertiafromgeom = mujoco.mjtInertiaFromGeom.mjINERTIAFROMGEOM_AUTO
    compiler.settotalmass, compiler.boundmass, compiler.boundinertia = -1, 0, 0
    compiler.balanceinertia = compiler.discardvisual = compiler.fusestatic = False
    from_geoms = []
    for body in work.spec.bodies:
        if body.id == 0:
            continue
        if m.body_mass[body.id] <= 0:
            for geom in body.geoms:
                geom.mass = 0.0
            continue
        if not body.explicitinertial:
            from_geoms.append(body.name or f"body {body.id}")
        body.explicitinertial = True
        body.mass, body.inertia = m.body_mass[body.id], m.body_inertia[body.id]
        body.ipos, body.iquat = m.body_ipos[body.id], m.body_iquat[body.id]
        body.fullinertia = [np.nan, 0, 0, 0, 0, 0]
    for geom in work.spec.geoms:
        if geom.meshname and geom.type not in _MESHED:  # a primitive fitted to a mesh
            geom.size, geom.meshname = m.geom_size[geom.id], ""
            geom.pos, geom.quat = m.geom_pos[geom.id], m.geom_quat[geom.id]
            geom.fromto = [np.nan] * 6
    if from_geoms:
        work.note(
            f"inertials of {', '.join(from_geoms)} written down",
            "they came from geoms that are replaced",
        )


_MESHED = (mujoco.mjtGeom.mjGEOM_MESH, mujoco.mjtGeom.mjGEOM_SDF)


def _name(work: _Work) -> None:
    """Names what has no name."""
    given = name_everything(work.spec)
    kinds: dict[str, list[str]] = {}
    for kind, name in given:
        kinds.setdefault(kind, []).append(name)
    for kind, names in kinds.items():
        shown = ", ".join(names[:6]) + (", ..." if len(names) > 6 else "")
        work.note(f"{len(names)} named {kind}: {shown}", "a table of parameters speaks of names")


def _surround(
    work: _Work, named: mujoco.MjModel, folder: Path, options: PrepareOptions
) -> list[Servo]:
    """Adds what is missing about the robot: a free joint, servos, floor, camera, light, solver."""
    spec = work.spec
    rest = pose_of_rest(named)
    root = None
    fixed_low = frame(named, rest, static=True).lowest
    roots = [b for b in range(1, named.nbody) if named.body_parentid[b] == 0]
    has_floor = bool(np.isin(named.geom_type, FLAT).any())
    if options.floating:
        jointed = [b for b in roots if (named.body_rootid[named.jnt_bodyid] == b).any()] or roots
        root = named.body(jointed[0]).name
        free_joint = spec.body(root).add_freejoint()
        free_joint.name = f"{root}_free"
        lift = -lowest(_compiled(work, folder))
        spec.body(root).pos = spec.body(root).pos + np.array((0, 0, lift))
        for key in spec.keys:
            pose = [*spec.body(root).pos, *named.body(root).quat]
            key.qpos = [*pose, *key.qpos] if len(key.qpos) else key.qpos
            key.qvel = [*[0.0] * 6, *key.qvel] if len(key.qvel) else key.qvel
        work.note(f"free joint {root}_free", f"--floating; raised by {1e3 * lift:.1f} mm to stand")
    free = [j for j in range(named.njnt) if named.jnt_type[j] == mujoco.mjtJoint.mjJNT_FREE]
    if root is None and free:
        root = named.body(named.jnt_bodyid[free[0]]).name
    servos = []
    if not named.nu and named.njnt:
        servos = design_servos(named, rest, options.servo_hz)
        add_servos(spec, servos)
        if servos:
            work.note(
                f"{len(servos)} position servos of {options.servo_hz:g} Hz, critically damped",
                "the file has no actuators; the gains follow from the inertia at home",
            )
        for name in ("armature", "damping"):
            joints = [servo.joint for servo in servos if getattr(servo, name)]
            if joints:
                work.note(f"{name} of {', '.join(joints)}", "the file has none")
    seen = frame(named, rest)
    if options.floor and not has_floor:
        height = 0.0 if root else fixed_low
        add_floor(spec, height, seen.radius)
        work.note(f"floor at {1e3 * height:.1f} mm", "there was none; --no-floor leaves it out")
    if not named.ncam:
        if root and options.floating:
            seen = replace(seen, centre=seen.centre + np.array((0, 0, lift)))
        name = add_camera(spec, seen, root)
        work.note(f"camera {name!r}, three quarter view of the robot", "there was none")
    fixed = named.light_mode == int(mujoco.mjtCamLight.mjCAMLIGHT_FIXED)
    if not fixed.any():
        add_light(spec, seen)
        why = "those of the file follow a body" if named.nlight else "there was none"
        work.note("light 'sun' from above", why)
    for what, why in fit_solver(spec):
        work.note(what, why)
    return servos


def _part(work: _Work, folder: Path, options: PrepareOptions) -> tuple[list[Pair], np.ndarray]:
    """Excludes the pairs that need no contacts and adds a keyframe; returns pairs and home."""
    m = _compiled(work, folder)
    rest = pose_of_rest(m)
    kept = tuple(tuple(pair.split(":")) for pair in options.keep_pairs)
    clearance = CLEARANCE * float(frame(m, rest, drawn=False).radius)
    pairs = find_pairs(m, rest, options.poses, clearance, kept)  # type: ignore[arg-type]
    counts: dict[str, int] = {}
    for pair in pairs:
        if pair.reason != "kept":
            counts[pair.reason] = counts.get(pair.reason, 0) + 1
            exclude = work.spec.add_exclude(bodyname1=pair.bodies[0], bodyname2=pair.bodies[1])
            exclude.name = f"{pair.bodies[0]}_{pair.bodies[1]}"
    for reason, count in counts.items():
        work.note(f"contacts of {count} pairs of bodies left out", _WHY[reason].format(clearance))
    m = _compiled(work, folder)
    home = find_home(m, rest)
    if not m.nkey:
        work.spec.add_key(name="home", qpos=home, ctrl=_holding(m, home))
        work.note("keyframe 'home'", "there was none; within the limits, without deep contact")
    return pairs, home


CLEARANCE = 0.02  # share of the robot's radius; pairs that are never nearer never touch
_WHY = {
    "parent and child": "they are joined, and overlap there",
    "touches at rest": "they touch in the pose of rest",
    "always touches": "they touch in every pose",
    "never touches": "never nearer than {:.2g} m in any pose tried",
}


def _holding(m: mujoco.MjModel, pose: np.ndarray) -> np.ndarray:
    """Returns the commands (nu,) with which position servos hold a pose; others rest at zero."""
    data = mujoco.MjData(m)
    data.qpos[:] = pose
    mujoco.mj_forward(m, data)
    servo = (m.actuator_biastype == mujoco.mjtBias.mjBIAS_AFFINE) & (
        np.isclose(m.actuator_gainprm[:, 0], -m.actuator_biasprm[:, 1])
        & (m.actuator_gainprm[:, 0] > 0)
    )
    hold = np.where(servo, data.actuator_length, 0.0)
    low, high = m.actuator_ctrlrange.T
    return np.where(m.actuator_ctrllimited, np.clip(hold, low, high), hold)


def _facts(done: Prepared) -> dict[str, Any]:
    """Returns what prepare.json says."""
    links = [
        {
            "body": link.body,
            "geoms": list(link.names),
            "kinds": [one.kind for one in link.primitives],
            "meshes": link.meshes,
            "dent_mm": _short(link.dent_mm),
            "accepted_mm": _short(link.accepted_mm),
            **{name: _short(value) for name, value in asdict(link.error).items()},
            "missed": link.missed,
        }
        for link in done.links
    ]
    return {
        "original": done.original.path.name,
        "model": MODEL,
        "options": asdict(done.options),
        "links": links,
        "meshes": [asdict(mesh) | {"error_mm": _short(mesh.error_mm)} for mesh in done.meshes],
        "pairs": [asdict(pair) for pair in done.pairs],
        "servos": [asdict(servo) for servo in done.servos],
        "changes": [asdict(change) for change in done.changes],
        "checks": [asdict(check) for check in done.checks],
        "findings": [asdict(finding) for finding in done.findings],
    }


def _short(value: float) -> float:
    return float(f"{value:.4g}")
