"""Scene description: the geoms, sites, lights and camera that are the same in every world.

`build_scene` collects them as MuJoCo's viewer shows them by default: groups 0 to 2 and nothing that
is fully transparent. Any model loads; what cannot be drawn (tendons, skins, flexes) is named in
`Scene.left_out`.
"""

from dataclasses import dataclass, replace

import mujoco
import numpy as np

from mjx_s2r.params import unknown
from mjx_s2r.render.geometry.detail import tolerances
from mjx_s2r.render.geometry.hfield import Heights, heights_of
from mjx_s2r.render.geometry.meshes import Triangles, solid_of
from mjx_s2r.sim.model.fields import element_names

SHAPES = {
    mujoco.mjtGeom.mjGEOM_PLANE: "plane",
    mujoco.mjtGeom.mjGEOM_SPHERE: "sphere",
    mujoco.mjtGeom.mjGEOM_CAPSULE: "capsule",
    mujoco.mjtGeom.mjGEOM_ELLIPSOID: "ellipsoid",
    mujoco.mjtGeom.mjGEOM_CYLINDER: "cylinder",
    mujoco.mjtGeom.mjGEOM_BOX: "box",
    mujoco.mjtGeom.mjGEOM_MESH: "mesh",
    mujoco.mjtGeom.mjGEOM_SDF: "mesh",
    mujoco.mjtGeom.mjGEOM_HFIELD: "hfield",
}
LIGHTS = {
    mujoco.mjtLightType.mjLIGHT_DIRECTIONAL: "directional",
    mujoco.mjtLightType.mjLIGHT_POINT: "point",
    mujoco.mjtLightType.mjLIGHT_SPOT: "spot",
}
SHOWN_GROUPS = (0, 1, 2)  # mjv_defaultOption shows these groups of geoms and sites
INFINITE = 1e6  # half size [m] that stands for an infinite plane
MOST_LIGHTS = 8  # four bits of light per pixel each
_FIXED = mujoco.mjtCamLight.mjCAMLIGHT_FIXED

Solid = Triangles | Heights


class SceneError(ValueError):
    """A scene that cannot be drawn; the message names what is wrong and the remedy."""


@dataclass(frozen=True)
class Geom:
    """One drawn geom or site.

    Attributes:
        name: its name; of a site, "site/" and its name.
        id: its number in a segmentation: its id, and for a site the number of geoms more.
        shape: one of the values of `SHAPES`.
        size: its `geom_size` [m].
        alpha: opacity, above 0; below 1 what lies behind shines through. Of a solid, that of its
            front and back together, both of which MuJoCo draws: 1 - (1 - a)^2.
        decor: a site, which throws no shadow.
        solid: faces of a mesh, heights of a height field, else None; `build_scene` fills it in.
    """

    name: str
    id: int
    shape: str
    size: tuple[float, float, float]
    alpha: float = 1.0
    decor: bool = False
    solid: Solid | None = None

    @property
    def infinite(self) -> bool:
        """Whether it is a plane without end."""
        return self.shape == "plane" and max(self.size[:2]) >= INFINITE


@dataclass(frozen=True)
class Light:
    """One light.

    Attributes:
        name: its name; an unnamed one is called "light" and its id.
        id: its id in the model.
        kind: "directional", "point" or "spot".
        shadow: whether it casts shadows.
        body: id of the body that carries it, 0 for the world.
        attenuation: brightness falls as 1 / (a + b d + c d^2) with the distance d [m].
        cutoff: cosine of a spot's half angle.
        exponent: of a spot's brightness over the cosine from its axis.
        gloss: strength of its highlights.
    """

    name: str
    id: int
    kind: str
    shadow: bool
    body: int
    attenuation: tuple[float, float, float]
    cutoff: float
    exponent: float
    gloss: float


@dataclass(frozen=True, eq=False)
class Scene:
    """Everything about a picture that is the same in every world; hashed by identity.

    Attributes:
        geoms: drawn geoms and sites, grouped by shape; the order of every (G, ...) array here.
        lights: the L lights; the order of every (L, ...) array here.
        camera: name of the camera.
        camera_id: its id in the model.
        camera_quat: (w, x, y, z) its rotation in its parent's frame; identity if it tracks.
        height: picture height [px].
        width: picture width [px].
        stretch: horizontal focal length over the vertical one, inverted; 1 for square pixels.
        near: nearest depth drawn [m].
        far: farthest depth drawn [m].
        shininess: exponent of the highlights, a power of two.
        head_gloss: strength of the highlights of the headlight.
        shadow_rays: rays per pixel and light that soften shadows, where a row asks for that.
        left_out: what the model holds and the picture does not show.
    """

    geoms: tuple[Geom, ...]
    lights: tuple[Light, ...]
    camera: str
    camera_id: int
    camera_quat: tuple[float, float, float, float]
    height: int
    width: int
    stretch: float
    near: float
    far: float
    shininess: int
    head_gloss: float
    shadow_rays: int
    left_out: tuple[str, ...]

    @property
    def ids(self) -> np.ndarray:
        """(G,) numbers of the drawn geoms and sites in a segmentation."""
        return np.array([geom.id for geom in self.geoms], np.int32)

    @property
    def opaque(self) -> tuple[int, ...]:
        """Positions of what nothing shines through."""
        return tuple(i for i, geom in enumerate(self.geoms) if geom.alpha >= 1)

    @property
    def clear(self) -> tuple[int, ...]:
        """Positions of what something shines through."""
        return tuple(i for i, geom in enumerate(self.geoms) if geom.alpha < 1)


def build_scene(
    mj_model: mujoco.MjModel, camera_name: str, height: int, width: int, *, shadow_rays: int = 2
) -> Scene:
    """Returns the scene that MuJoCo would draw by default.

    Raises:
        SceneError: a picture without area, an orthographic camera, a mesh without faces, too many
            lights.
        ParamError: no such camera; the message lists near names.
    """
    if height <= 0 or width <= 0:
        raise SceneError(f"picture of height {height} and width {width} has no area; use 1 or more")
    if not 1 <= shadow_rays <= 15:
        raise SceneError(f"shadow_rays {shadow_rays} must lie between 1 and 15")
    camera = camera_id(mj_model, camera_name)
    if mj_model.cam_projection[camera] == mujoco.mjtProjection.mjPROJ_ORTHOGRAPHIC:
        raise SceneError(f"camera {camera_name!r} is orthographic; only perspective ones are drawn")
    quat = mj_model.cam_quat[camera] if mj_model.cam_mode[camera] == _FIXED else (1.0, 0, 0, 0)
    geoms = _with_solids(mj_model, drawn_geoms(mj_model), camera, height)
    return Scene(
        geoms=geoms,
        lights=lights_of(mj_model),
        camera=camera_name,
        camera_id=camera,
        camera_quat=(float(quat[0]), float(quat[1]), float(quat[2]), float(quat[3])),
        height=height,
        width=width,
        stretch=_stretch(mj_model, camera, height / width),
        near=float(mj_model.vis.map.znear * mj_model.stat.extent),
        far=float(mj_model.vis.map.zfar * mj_model.stat.extent),
        shininess=_shininess(mj_model),
        head_gloss=head_gloss(mj_model),
        shadow_rays=shadow_rays,
        left_out=left_out(mj_model),
    )


def camera_id(mj_model: mujoco.MjModel, name: str) -> int:
    """Returns the id of the camera called ``name``.

    Raises:
        ParamError: no such camera; the message lists near names.
    """
    known = element_names(mj_model, "camera")
    if name not in known:
        raise unknown("camera", name, known)
    return known.index(name)


def head_gloss(mj_model: mujoco.MjModel) -> float:
    """Returns the strength of the highlights of the headlight."""
    head = mj_model.vis.headlight
    return float(np.mean(head.specular)) if head.active else 0.0


def intrinsics(mj_model: mujoco.MjModel, camera: int) -> tuple[float, float, float, float] | None:
    """Returns focal lengths x, y and principal point x, y as shares of the sensor; None if unset.

    MuJoCo uses them instead of `fovy` where the camera has a sensor size (XMLreference, camera).
    """
    sensor = mj_model.cam_sensorsize[camera]
    if not sensor.all():
        return None
    fx, fy, px, py = mj_model.cam_intrinsic[camera] / np.array([*sensor, *sensor])
    return float(fx), float(fy), float(px), float(py)


def _stretch(mj_model: mujoco.MjModel, camera: int, aspect: float) -> float:
    """Returns how much wider a pixel looks than high."""
    found = intrinsics(mj_model, camera)
    return 1.0 if found is None else found[1] / found[0] * aspect


def drawn_geoms(mj_model: mujoco.MjModel) -> tuple[Geom, ...]:
    """Returns the geoms and sites that are visible, grouped by shape in the order of `SHAPES`.

    Raises:
        SceneError: a visible geom of an unsupported type, or a mesh that cannot be drawn.
    """
    found = []
    for kind, count in (("geom", mj_model.ngeom), ("site", mj_model.nsite)):
        for i in range(count):
            group, alpha = getattr(mj_model, f"{kind}_group")[i], rgba(mj_model, kind, i)[3]
            if group in SHOWN_GROUPS and alpha > 0:
                found.append(_geom(mj_model, kind, i, float(alpha)))
    order = list(dict.fromkeys(SHAPES.values()))
    return tuple(sorted(found, key=lambda geom: order.index(geom.shape)))


def _geom(mj_model: mujoco.MjModel, kind: str, index: int, alpha: float) -> Geom:
    """Returns one drawn geom or site."""
    name = element_name(mj_model, kind, index)
    code = mujoco.mjtGeom(int(getattr(mj_model, f"{kind}_type")[index]))
    if code not in SHAPES:
        raise SceneError(
            f"{name!r}: type {code.name} cannot be drawn, only {', '.join(SHAPES.values())}; put "
            "it in a group above 2 or stand a primitive in"
        )
    shape = SHAPES[code]
    size = getattr(mj_model, f"{kind}_size")[index]
    if shape == "plane":
        size = np.where(size > 0, size, INFINITE)
    return Geom(
        name=name,
        id=index + (mj_model.ngeom if kind == "site" else 0),
        shape=shape,
        size=_triple(size),
        alpha=alpha if shape == "plane" else 1 - (1 - alpha) ** 2,
        decor=kind == "site",
    )


def _with_solids(
    mj_model: mujoco.MjModel, geoms: tuple[Geom, ...], camera: int, height: int
) -> tuple[Geom, ...]:
    """Returns geoms with the faces of their meshes and the heights of their fields.

    Geoms that share a mesh share its triangles, as fine as the nearest of them needs.
    """
    meshes = [geom for geom in geoms if geom.shape == "mesh"]
    finest: dict[int, float] = {}
    allowed = tolerances(mj_model, [geom.id for geom in meshes], camera, height)
    for geom, tolerance in zip(meshes, allowed, strict=True):
        data = int(mj_model.geom_dataid[geom.id])
        finest[data] = min(tolerance, finest.get(data, np.inf))
    solids: dict[tuple[str, int], Solid] = {}
    out = []
    for geom in geoms:
        if geom.shape not in ("mesh", "hfield"):
            out.append(geom)
            continue
        data = int(mj_model.geom_dataid[geom.id])
        try:
            if (geom.shape, data) not in solids:
                solids[geom.shape, data] = (
                    solid_of(mj_model, data, finest[data])
                    if geom.shape == "mesh"
                    else heights_of(mj_model, data)
                )
        except ValueError as error:
            raise SceneError(f"geom {geom.name!r} cannot be drawn: {error}") from error
        out.append(replace(geom, solid=solids[geom.shape, data]))
    return tuple(out)


def element_name(mj_model: mujoco.MjModel, kind: str, index: int) -> str:
    """Returns the name of a geom, site or light; an unnamed one is called by kind and id."""
    name = getattr(mj_model, kind)(index).name or f"{kind}{index}"
    return f"site/{name}" if kind == "site" else name


def rgba(mj_model: mujoco.MjModel, kind: str, index: int) -> np.ndarray:
    """Returns (4,) the colour of a geom or site: its material's, unless it has one of its own.

    The rule of mjv_updateScene: a colour other than the default (0.5, 0.5, 0.5, 1) wins.
    """
    own = getattr(mj_model, f"{kind}_rgba")[index]
    material = getattr(mj_model, f"{kind}_matid")[index]
    if material >= 0 and np.array_equal(own, np.array([0.5, 0.5, 0.5, 1], own.dtype)):
        return mj_model.mat_rgba[material]
    return own


def lights_of(mj_model: mujoco.MjModel) -> tuple[Light, ...]:
    """Returns all lights; one that is not active is there too, with strength 0, for rows to light.

    Raises:
        SceneError: more than `MOST_LIGHTS`.
    """
    kinds = [mujoco.mjtLightType(int(kind)) for kind in mj_model.light_type]
    drawn = [i for i, kind in enumerate(kinds) if kind in LIGHTS]
    if len(drawn) > MOST_LIGHTS:
        raise SceneError(f"the model has {len(drawn)} lights; at most {MOST_LIGHTS} are drawn")
    return tuple(
        Light(
            name=element_name(mj_model, "light", i),
            id=i,
            kind=LIGHTS[kinds[i]],
            shadow=bool(mj_model.light_castshadow[i]),
            body=int(mj_model.light_bodyid[i]) if mj_model.light_mode[i] == _FIXED else 0,
            attenuation=_triple(mj_model.light_attenuation[i]),
            cutoff=float(np.cos(np.deg2rad(min(mj_model.light_cutoff[i], 90.0)))),
            exponent=float(mj_model.light_exponent[i]),
            gloss=float(np.mean(mj_model.light_specular[i])),
        )
        for i in drawn
    )


def _triple(values: np.ndarray) -> tuple[float, float, float]:
    """Returns three numbers as plain floats."""
    return (float(values[0]), float(values[1]), float(values[2]))


def _shininess(mj_model: mujoco.MjModel) -> int:
    """Returns the exponent of the highlights: MuJoCo's 128 times shininess, to a power of two.

    One exponent serves all geoms, that of the first material in use; 64 without materials.
    """
    used = [mj_model.mat_shininess[i] for i in mj_model.geom_matid if i >= 0] or [0.5]
    return 2 ** int(np.clip(np.round(np.log2(max(128 * used[0], 1.0))), 0, 7))


def left_out(mj_model: mujoco.MjModel) -> tuple[str, ...]:
    """Returns what the model holds and the picture does not show, each with its number."""
    moving = [
        element_name(mj_model, "light", i)
        for i in range(mj_model.nlight)
        if mj_model.light_mode[i] != _FIXED
    ]
    image = [
        element_name(mj_model, "light", i)
        for i in range(mj_model.nlight)
        if mujoco.mjtLightType(int(mj_model.light_type[i])) not in LIGHTS
    ]
    reflecting = int(np.sum(mj_model.mat_reflectance > 0))
    joint = mujoco.mjtWrap.mjWRAP_JOINT
    things = {
        "spatial tendons": int(np.sum(mj_model.wrap_type[mj_model.tendon_adr] != joint)),
        "skins": mj_model.nskin,
        "flexes": mj_model.nflex,
        "mirror materials": reflecting,
    }
    counted = [f"{count} {what}" for what, count in things.items() if count]
    tracking = [f"the motion of tracking light {name!r}" for name in moving]
    return (*counted, *tracking, *(f"image light {name!r}" for name in image))
