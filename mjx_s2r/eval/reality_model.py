"""The C MuJoCo model of a stand-in: what a `Reality` says, put into the task's or another model.

Things in the scene go in before the model is compiled, numbers by row and looks after it.
"""

import copy
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import mujoco
import numpy as np

from mjx_s2r.eval.reality import (
    CameraError,
    ExtraGeom,
    ExtraLight,
    Reality,
    RealityLooks,
    RealityScene,
    Speckle,
    StandInPhysics,
    row_values,
)
from mjx_s2r.io.config import ConfigError
from mjx_s2r.params import ParamError, ParamSpace, apply, bind, bounds, unknown
from mjx_s2r.params.camera_rows import rows_of_camera
from mjx_s2r.render.geometry import scene as scenes
from mjx_s2r.render.looks.appearance import look_elements, nominal_look
from mjx_s2r.sim.backends.physics_config import ModelError
from mjx_s2r.sim.model.fields import element_names
from mjx_s2r.sim.model.leaves import bind_model, write
from mjx_s2r.sim.task import Task

SAME = 1e-4  # relative, between a model and itself written as XML and read again
_PREFIX = "reality:"
_NO_THINGS = ("actuators", "sensors", "equalities", "tendons", "pairs", "excludes", "keys")
# Arrays of group "visual" that mean something to MuJoCo's own camera.
SEEN = (
    *("geom_rgb", "light_dir", "light_pos", "light_strength", "light_rgb", "ambient", "headlight"),
    *("camera_pos", "camera_rot", "camera_fovy"),
)


@dataclass(frozen=True)
class StandInModel:
    """The model of one stand-in.

    Attributes:
        model: with everything that the reality says.
        sheet: without rows and looks: what the maker of the robot would say of it.
    """

    model: mujoco.MjModel
    sheet: mujoco.MjModel


def build_model(task: Task, reality: Reality) -> StandInModel:
    """Returns the model of a settled reality (`reality.draw_robot`).

    Raises:
        ParamError: a body, geom, light or camera that the model does not have; a row that does not
            fit it.
        ConfigError: something in the reality that MuJoCo refuses.
        ModelError: a model file that MuJoCo cannot read; a row that MuJoCo's camera cannot show.
    """
    sheet = _compiled(task, reality)
    _set_physics(sheet, reality.physics, task.contract.control_hz)
    model = copy.copy(sheet)
    values = row_values(reality, task.space)
    _write_rows(model, task.space, values)
    _write_visual_rows(model, task, values)
    _write_looks(model, reality.looks)
    return StandInModel(model, sheet)


def _compiled(task: Task, reality: Reality) -> mujoco.MjModel:
    """Returns the compiled model with the things of the scene in it."""
    looks = reality.looks
    adds = reality.scene != RealityScene() or looks.speckles or looks.textures
    if not reality.model and not adds:
        return copy.copy(task.mj_model)
    spec = _spec(task, reality)
    _set_physics(spec, reality.physics, task.contract.control_hz)
    _arrange(spec, reality)
    for name, surface in looks.speckles.items():
        _speckle(spec, name, surface)
    for name, image in looks.textures.items():
        path = reality.folder / image.file
        if not path.is_file():
            raise ConfigError(f"looks.textures.{name}: there is no file {path}; name a PNG file")
        texture = spec.add_texture(name=f"reality {name}", type=mujoco.mjtTexture.mjTEXTURE_2D)
        texture.file = str(path.resolve())
        _cover(spec, name, f"reality {name}", image.repeat)
    try:
        return spec.compile()
    except ValueError as error:
        raise ConfigError(
            f"the stand-in of reality {reality.name!r} does not compile: {_first_line(error)}; "
            "mend what its scene or looks say"
        ) from error


def _spec(task: Task, reality: Reality) -> mujoco.MjSpec:
    """Returns the model to add things to: that of a file, or the task's own, written and read."""
    if reality.model:
        path = reality.folder / reality.model
        if not path.is_file():
            raise ModelError(f"reality {reality.name!r}: there is no model file {path}")
        try:
            return mujoco.MjSpec.from_file(str(path))
        except ValueError as error:
            raise ModelError(f"model {path} cannot be read: {_first_line(error)}") from error
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.xml"
        try:
            fresh = type(task)().mj_model  # MuJoCo writes the XML that it has read last
            mujoco.mj_saveLastXML(str(path), fresh)
            spec = mujoco.MjSpec.from_file(str(path))
            again = spec.copy().compile()
        except (TypeError, ValueError, mujoco.FatalError) as error:
            raise _no_source(task, reality, _first_line(error)) from error
    if not _alike(again, task.mj_model):
        raise _no_source(task, reality, "it was not read from one file")
    return spec


def _no_source(task: Task, reality: Reality, why: str) -> ModelError:
    """Returns the error for a task whose model has no XML to add things to."""
    return ModelError(
        f"reality {reality.name!r} adds to the scene, and the XML of task {task.name!r}'s model is "
        f'not known ({why}); name it in the reality file: model = "robot.xml"'
    )


def _alike(one: mujoco.MjModel, other: mujoco.MjModel) -> bool:
    """Returns whether two models are the same up to what XML rounds."""
    sizes = ("nq", "nv", "nu", "nbody", "ngeom", "nsite", "ncam", "nlight", "nsensor")
    if any(getattr(one, n) != getattr(other, n) for n in sizes) or one.names != other.names:
        return False
    fields = ("body_pos", "body_mass", "geom_size", "geom_rgba", "dof_damping", "cam_pos", "qpos0")
    return all(
        np.allclose(getattr(one, n), getattr(other, n), rtol=SAME, atol=1e-6) for n in fields
    )


def _first_line(error: BaseException) -> str:
    """Returns the first line of what an error says."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _set_physics(
    target: mujoco.MjSpec | mujoco.MjModel, settings: StandInPhysics, control_hz: float
) -> None:
    """Sets options of a spec or a model.

    Raises:
        ConfigError: physics steps that are not a whole number in a control step.
    """
    option: Any = target.option if isinstance(target, mujoco.MjSpec) else target.opt
    for name in ("timestep", "iterations", "ls_iterations", "noslip_iterations", "impratio"):
        value = getattr(settings, name)
        if value is not None:
            setattr(option, name, value)
    for name, enum, prefix in (
        ("integrator", mujoco.mjtIntegrator, "mjINT_"),
        ("solver", mujoco.mjtSolver, "mjSOL_"),
        ("cone", mujoco.mjtCone, "mjCONE_"),
    ):
        value = getattr(settings, name)
        if value is not None:
            setattr(option, name, getattr(enum, prefix + value.upper()))
    steps = 1 / (control_hz * option.timestep)
    if round(steps) < 1 or abs(steps - round(steps)) > 1e-6 * steps:
        raise ConfigError(
            f"physics.timestep {option.timestep:g} s does not divide the control step of "
            f"{1 / control_hz:g} s; write e.g. timestep = {1 / control_hz / max(1, round(steps)):g}"
        )


def _arrange(spec: mujoco.MjSpec, reality: Reality) -> None:
    """Frees, tilts and weighs what is there, and adds what is not."""
    scene = reality.scene
    for name in scene.free:
        body = _find(spec.bodies, "body", name)
        if not body.mocap:
            raise ConfigError(f"scene.free: body {name!r} is no mocap body; drop it")
        body.mocap = False
        body.add_freejoint()
    for name, masks in scene.collide.items():
        geom = _find(spec.geoms, "geom", name)
        geom.contype, geom.conaffinity = masks
    for name, mass in scene.mass.items():
        if not mass > 0:  # type: ignore[operator]
            raise ConfigError(f"scene.mass.{name} = {mass} must be above zero, kg")
        _find(spec.geoms, "geom", name).mass = mass
    for name, turn in scene.tilt.items():
        body = _find(spec.bodies, "body", name)
        if body.alt.type != mujoco.mjtOrientation.mjORIENTATION_QUAT:
            body.quat = spec.resolve_orientation(body.alt)
            body.alt.type = mujoco.mjtOrientation.mjORIENTATION_QUAT
        body.quat = _turned(body.quat, _quaternion(f"scene.tilt.{name}", turn))
    if scene.mjcf:
        _attach(spec, reality)
    for thing in scene.geoms:
        _add_geom(spec, thing)
    for light in scene.lights:
        _add_light(spec, light)


def _attach(spec: mujoco.MjSpec, reality: Reality) -> None:
    """Adds MJCF of things in the world.

    Raises:
        ConfigError: text that is no MJCF, or that holds more than things.
    """
    text, what = reality.scene.mjcf.strip(), "scene.mjcf"
    if not text.startswith("<"):
        path = reality.folder / text
        if not path.is_file():
            raise ConfigError(f"scene.mjcf: there is no file {path}, and it is no MJCF text")
        text, what = path.read_text(encoding="utf-8").strip(), f"scene.mjcf {path}"
    if not text.startswith(("<mujoco", "<?xml")):
        text = f"<mujoco><worldbody>{text}</worldbody></mujoco>"
    try:
        extra = mujoco.MjSpec.from_string(text)
    except ValueError as error:
        raise ConfigError(f"{what}: {_first_line(error)}; mend that MJCF") from error
    for kind in _NO_THINGS:
        if len(getattr(extra, kind)):
            raise ConfigError(
                f"{what} holds {kind}, which are no things in the world; write them into a model "
                "and name that by model"
            )
    spec.attach(extra, frame=spec.worldbody.add_frame(), prefix=_PREFIX)
    for kind in ("bodies", "joints", "geoms", "sites", "lights", "cameras"):
        taken = {item.name for item in getattr(spec, kind)}
        for item in getattr(spec, kind):  # MuJoCo dislikes to attach under the names as they are
            name = item.name.removeprefix(_PREFIX)
            if name != item.name:
                if name in taken:
                    raise ConfigError(
                        f"{what}: the model has {name!r} among its {kind}; rename the new one"
                    )
                item.name = name


def _add_geom(spec: mujoco.MjSpec, thing: ExtraGeom) -> None:
    """Adds a thing to the world; with a mass it is a free body of its own."""
    if any(geom.name == thing.name for geom in spec.geoms):
        raise ConfigError(f"scene.geoms: the model has a geom {thing.name!r}; rename the new one")
    where = {"pos": thing.pos, "quat": _quaternion(f"scene.geoms {thing.name}", thing.turn)}
    parent, masks = spec.worldbody, (1, 1) if thing.touches else (0, 0)
    more: dict[str, Any] = {}
    if thing.mass is not None:
        parent = parent.add_body(name=thing.name, **where)
        parent.add_freejoint()
        where, more = {}, {"mass": thing.mass}
    parent.add_geom(
        name=thing.name,
        type=getattr(mujoco.mjtGeom, f"mjGEOM_{thing.type.upper()}"),
        size=(*thing.size, 0.0, 0.0, 0.0)[:3],
        rgba=(*thing.rgb, 1),
        contype=masks[0],
        conaffinity=masks[1],
        group=0,
        **where,
        **more,
    )


def _add_light(spec: mujoco.MjSpec, light: ExtraLight) -> None:
    """Adds a light to the world."""
    if any(each.name == light.name for each in spec.lights):
        raise ConfigError(f"scene.lights: the model has a light {light.name!r}; rename the new one")
    kinds = mujoco.mjtLightType
    spec.worldbody.add_light(
        name=light.name,
        pos=light.pos,
        dir=light.dir,
        diffuse=np.broadcast_to(np.asarray(light.diffuse, float), 3),
        type=kinds.mjLIGHT_DIRECTIONAL if light.directional else kinds.mjLIGHT_SPOT,
        castshadow=light.shadows,
    )


def _find(items: Sequence[Any], kind: str, name: str) -> Any:
    """Returns the element of a spec that is called ``name``.

    Raises:
        ParamError: there is none; the message lists near ones.
    """
    known = [item.name for item in items]
    if name not in known:
        raise unknown(f"{kind} of the stand-in", name, [n for n in known if n])
    return items[known.index(name)]


def _speckle(spec: mujoco.MjSpec, name: str, surface: Speckle) -> None:
    """Covers a geom with random marks."""
    taken = any(texture.name == "speckle" for texture in spec.textures)
    label = f"speckle {name}" if taken else "speckle"
    texture = spec.add_texture(name=label, type=mujoco.mjtTexture.mjTEXTURE_2D)
    texture.builtin = mujoco.mjtBuiltin.mjBUILTIN_FLAT
    texture.mark = mujoco.mjtMark.mjMARK_RANDOM
    texture.random, texture.width, texture.height = (
        surface.share,
        surface.size_px,
        surface.size_px,
    )
    texture.rgb1, texture.markrgb = surface.rgb, surface.marks
    _cover(spec, name, label, surface.repeat)


def _cover(spec: mujoco.MjSpec, name: str, texture: str, repeat: float) -> None:
    """Puts a texture on a geom, in its own colours."""
    material = spec.add_material(name=texture, texrepeat=[repeat, repeat])
    material.textures[mujoco.mjtTextureRole.mjTEXROLE_RGB] = texture
    geom = _find(spec.geoms, "geom", name)
    geom.material, geom.rgba = texture, (1, 1, 1, 1)


def _write_rows(model: mujoco.MjModel, space: ParamSpace, values: Mapping[str, float]) -> None:
    """Puts rows of the group "model" into the model, the others nominal, as training has them.

    Where rows that nobody asks for do not fit this model, those that are asked for enter alone.
    """
    asked = {n: x for n, x in values.items() if space.rows[space.index(n)].group == "model"}
    if not asked:
        return
    try:
        binding = bind_model(space, model)
    except (ParamError, ModelError):
        space = rows_alone(space, tuple(asked))
        binding = bind_model(space, model)
    write(model, binding, space.values(asked))


def rows_alone(space: ParamSpace, names: Sequence[str]) -> ParamSpace:
    """Returns a table of some rows, each drawn by itself."""
    rows = (row for row in space.rows if row.name in names)
    return ParamSpace(tuple(replace(row, correlation="", rho=1.0) for row in rows))


def _write_visual_rows(model: mujoco.MjModel, task: Task, values: Mapping[str, float]) -> None:
    """Puts rows of the group "visual" into the model, as MuJoCo's own camera shows them.

    Raises:
        ModelError: a row that only the camera of the training knows.
    """
    asked = [n for n in values if task.space.rows[task.space.index(n)].group == "visual"]
    for name in asked:
        array = task.space.rows[task.space.index(name)].array
        if array not in SEEN:
            raise ModelError(
                f"rows.{name} acts on visual.{array}, which MuJoCo's own camera does not have; "
                "write effects (shot_noise, read_noise, gain, ...) or looks instead"
            )
    if not asked or not model.ncam:
        return
    space = rows_alone(task.space, asked)
    xi = space.values({name: values[name] for name in asked})
    nominal, elements, known = (
        copy.copy(model),
        look_elements(model),
        element_names(model, "camera"),
    )
    for index, name in enumerate(filter(None, known)):
        look = nominal_look(nominal, name)
        mine = rows_of_camera(space, name, known)
        edits = bind(mine.space, "visual", look, elements, bounds.VISUAL, only=mine.chosen)
        changed = apply(np, look, edits, xi)
        if index == 0:
            _show_scene(model, look | changed, changed)
        _show_camera(model, name, changed)


def _show_scene(
    model: mujoco.MjModel, look: Mapping[str, np.ndarray], changed: Mapping[str, np.ndarray]
) -> None:
    """Writes colours and lights into the model."""
    geoms = [(i, geom.id) for i, geom in enumerate(scenes.drawn_geoms(model)) if not geom.decor]
    if "geom_rgb" in changed:
        for i, geom in geoms:
            model.geom_rgba[geom, :3] = np.clip(changed["geom_rgb"][i], 0, 1)
    lights = [light.id for light in scenes.lights_of(model)]
    for name in changed.keys() & {"light_dir", "light_pos"}:
        getattr(model, name)[lights] = changed[name]
    if changed.keys() & {"light_strength", "light_rgb"}:
        model.light_diffuse[lights] = look["light_strength"][:, None] * look["light_rgb"]
    if "headlight" in changed:
        model.vis.headlight.diffuse[:] = changed["headlight"]
    if "ambient" in changed:
        lamps = model.light_ambient[model.light_active.astype(bool)].mean(1).sum()
        model.vis.headlight.ambient[:] = max(0.0, float(changed["ambient"] - lamps))


def _show_camera(model: mujoco.MjModel, name: str, changed: Mapping[str, np.ndarray]) -> None:
    """Writes the errors of a camera's mounting into the model."""
    camera = model.camera(name).id
    if "camera_pos" in changed:
        model.cam_pos[camera] += changed["camera_pos"]
    if "camera_rot" in changed:
        turn = _quaternion(name, tuple(np.rad2deg(changed["camera_rot"]).tolist()))
        model.cam_quat[camera] = _turned(model.cam_quat[camera], turn)
    if "camera_fovy" in changed:
        model.cam_fovy[camera] = changed["camera_fovy"]


def _write_looks(model: mujoco.MjModel, looks: RealityLooks) -> None:
    """Changes colours, lights and cameras in place."""
    light = _finder(model, "light", model.nlight)
    for name, look in looks.lights.items():
        index = light(name)
        if look.dir is not None:
            if not np.linalg.norm(np.array(look.dir, float)) > 0:
                raise ConfigError(f"looks.lights.{name}.dir {look.dir} is no direction")
            model.light_dir[index] = look.dir
            model.light_dir[index] /= np.linalg.norm(model.light_dir[index])
        if look.diffuse is not None:
            model.light_diffuse[index] = look.diffuse
    for part in ("ambient", "diffuse"):
        value = getattr(looks.headlight, part)
        if value is not None:
            getattr(model.vis.headlight, part)[:] = value
    geom = _finder(model, "geom", model.ngeom)
    for name, rgb in looks.colours.items():
        model.geom_rgba[geom(name), :3] = np.clip(np.array(rgb, float), 0, 1)
    camera = _finder(model, "camera", model.ncam)
    for name, error in looks.cameras.items():
        _mount(model, camera(name), name, error)


def _mount(model: mujoco.MjModel, camera: int, name: str, error: CameraError) -> None:
    """Moves a camera."""
    model.cam_pos[camera] += error.pos
    model.cam_fovy[camera] += error.fovy
    if not 0 < model.cam_fovy[camera] < 180:
        raise ConfigError(
            f"looks.cameras.{name}.fovy = {error.fovy} makes a field of view of "
            f"{model.cam_fovy[camera]:g} degrees; it is added to the camera's own"
        )
    turn = _quaternion(f"looks.cameras.{name}.turn", error.turn)
    model.cam_quat[camera] = _turned(model.cam_quat[camera], turn)


def _finder(model: mujoco.MjModel, kind: str, count: int) -> Callable[[str], int]:
    """Returns a function from the name of an element to its index; it raises ParamError."""
    known = [getattr(model, kind)(i).name for i in range(count)]

    def find(name: str) -> int:
        """Returns the index of the element called ``name``."""
        if name not in known:
            raise unknown(f"{kind} of the stand-in", name, [n for n in known if n])
        return known.index(name)

    return find


def _quaternion(where: str, turn: Any) -> np.ndarray:
    """Returns the quaternion (4,) of a `Turn` whose numbers are drawn.

    Raises:
        ConfigError: neither one number nor three nor a quaternion.
    """
    if not isinstance(turn, tuple):
        turn = (turn,) * 3
    if len(turn) == 4 and np.linalg.norm(turn) > 1e-6:
        return np.array(turn, float)
    if len(turn) != 3:
        raise ConfigError(
            f"{where}: {list(turn)} must be one number or three, degrees, or a quaternion w, x, "
            "y, z"
        )
    vector = np.deg2rad(np.array(turn, float))
    angle, out = float(np.linalg.norm(vector)), np.array((1.0, 0.0, 0.0, 0.0))
    if angle:
        mujoco.mju_axisAngle2Quat(out, vector / angle, angle)
    return out


def _turned(quat: np.ndarray, turn: np.ndarray) -> np.ndarray:
    """Returns the orientation ``quat`` after ``turn`` in its own axes."""
    out = np.zeros(4)
    mujoco.mju_mulQuat(out, np.array(quat, float), turn)
    return out
