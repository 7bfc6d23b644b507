"""Visual domain randomization: colours, lights, camera errors and photometry of each world.

`nominal_look` writes down what the model itself looks like, under the array names that rows of the
group "visual" use. The nominal values follow MuJoCo's OpenGL renderer (XMLreference:
visual/headlight, light, material). An array that no row touches and that changes nothing is None,
and costs nothing.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
from flax import struct

from mjx_s2r import params
from mjx_s2r.params import bounds
from mjx_s2r.params.camera_rows import FRAME_ARRAYS, rows_of_camera
from mjx_s2r.render.geometry import scene as scenes
from mjx_s2r.render.looks.look_rows import refuse_idle_looks
from mjx_s2r.render.looks.material import mean_colour, model_texture, texture_image, texture_side
from mjx_s2r.sim.model.fields import element_names

# Arrays that change nothing at these values; a step that no row touches is left out of the picture.
NEUTRAL: dict[str, float | np.ndarray] = {
    "geom_shown": 1.0,
    "geom_offset": 0.0,
    "texture": 0.0,
    "light_kelvin": 6500.0,
    "light_softness": 0.0,
    "light_count": float(scenes.MOST_LIGHTS),
    "camera_centre": 0.0,
    "camera_distortion": 0.0,
    "background": 0.0,
    "background_shift": 0.0,
    "exposure": 0.0,
    "vignette": 0.0,
    "white_balance": 1.0,
    "colour_matrix": np.eye(3),
    "hue": 0.0,
    "brightness": 1.0,
    "contrast": 1.0,
    "saturation": 1.0,
    "gamma": 1.0,
    "shot_noise": 0.0,
    "noise_std": 0.0,
    "blur_px": 0.0,
    "motion_px": 0.0,
    "bits": 8.0,
    "depth_near": 0.0,
    "depth_far": 1e9,
    "depth_noise": 0.0,
    "depth_step": 0.0,
    "depth_dropout": 0.0,
}
_SHAPES = {
    "geom_shown": "G",
    "geom_offset": "G3",
    "texture": "G",
    "light_kelvin": "L",
    "light_softness": "L",
    "camera_centre": "2",
    "camera_distortion": "2",
    "background_shift": "2",
    "white_balance": "3",
    "colour_matrix": "33",
    "motion_px": "2",
}


@struct.dataclass
class Appearance:
    """The look of one world (or of N, with a leading axis). G drawn geoms and sites, L lights.

    A field that is None costs nothing.

    Attributes:
        geom_rgb: (G, 3) surface colour in [0, 1].
        light_dir: (L, 3) the way the light travels, in the frame of its body, any length above 0.
        light_pos: (L, 3) [m] where the light is, in the frame of its body.
        light_strength: (L,) brightness.
        light_rgb: (L, 3) colour.
        ambient: () light from everywhere.
        headlight: () light that the camera carries, along its axis.
        specular: () how strongly the surfaces throw back highlights.
        camera_pos: (3,) [m] offset of the camera in its parent's frame.
        camera_rot: (3,) [rad] rotation vector added to the camera, in the camera's frame.
        camera_fovy: () [deg] vertical field of view.
        background_low: (3,) colour straight below the horizon.
        background_high: (3,) colour straight above it.
        texture_m: (G, 2) [m] how far a texture reaches before it repeats, along its u and v.
        geom_shown: (G,) a geom is left out where this is below 0.5.
        geom_offset: (G, 3) [m] moves what is seen of a geom, world frame.
        texture: (G,) which texture: the share in [0, 1) of the way through "none" and the pool, or
            1 + j for texture j of the model.
        light_kelvin: (L,) [K] colour temperature, 6500 for the colour that was written.
        light_softness: (L,) [rad] half the angle that the lamp fills, as seen from the ground.
        light_count: () lights are on whose position is below this.
        camera_centre: (2,) where the optical axis meets the picture, right and up, as a share of
            the picture's height.
        camera_distortion: (2,) k1 and k2 of the lens (`pose.straighten`).
        background: () the share in [0, 1) of the way through "colours" and the photographs.
        background_shift: (2,) in [-1, 1], moves the photograph within its margin, right and up.
        exposure: () [stops] gain 2^e.
        vignette: () loss of light in the corners.
        white_balance: (3,) gain per channel.
        colour_matrix: (3, 3) mixes the channels.
        hue: () [rad] turn about the grey axis.
        brightness: () gain on the picture.
        contrast: () gain around mid grey.
        saturation: () gain around the grey of each pixel.
        gamma: () exponent of the picture.
        shot_noise: () variance of the pixel noise per brightness.
        noise_std: () standard deviation of the read noise, in [0, 1] of full scale.
        blur_px: () [px] standard deviation of the defocus.
        motion_px: (2,) [px] the way a pixel moves during the exposure, right and down.
        bits: () bits per channel.
        depth_near: () [m] nearest depth that the depth camera returns.
        depth_far: () [m] farthest.
        depth_noise: () [1/m] standard deviation of depth z is this times z^2.
        depth_step: () [1/m] inverse depth comes in multiples of this.
        depth_dropout: () share of pixels without an answer.
    """

    geom_rgb: jax.Array
    light_dir: jax.Array
    light_pos: jax.Array
    light_strength: jax.Array
    light_rgb: jax.Array
    ambient: jax.Array
    headlight: jax.Array
    specular: jax.Array
    camera_pos: jax.Array
    camera_rot: jax.Array
    camera_fovy: jax.Array
    background_low: jax.Array
    background_high: jax.Array
    texture_m: jax.Array
    geom_shown: jax.Array | None = None
    geom_offset: jax.Array | None = None
    texture: jax.Array | None = None
    light_kelvin: jax.Array | None = None
    light_softness: jax.Array | None = None
    light_count: jax.Array | None = None
    camera_centre: jax.Array | None = None
    camera_distortion: jax.Array | None = None
    background: jax.Array | None = None
    background_shift: jax.Array | None = None
    exposure: jax.Array | None = None
    vignette: jax.Array | None = None
    white_balance: jax.Array | None = None
    colour_matrix: jax.Array | None = None
    hue: jax.Array | None = None
    brightness: jax.Array | None = None
    contrast: jax.Array | None = None
    saturation: jax.Array | None = None
    gamma: jax.Array | None = None
    shot_noise: jax.Array | None = None
    noise_std: jax.Array | None = None
    blur_px: jax.Array | None = None
    motion_px: jax.Array | None = None
    bits: jax.Array | None = None
    depth_near: jax.Array | None = None
    depth_far: jax.Array | None = None
    depth_noise: jax.Array | None = None
    depth_step: jax.Array | None = None
    depth_dropout: jax.Array | None = None


def nominal_look(mj_model: mujoco.MjModel, camera: str | None) -> dict[str, np.ndarray]:
    """Returns the arrays of group "visual": the look of the model as it was written.

    Without a ``camera`` they are those of MuJoCo's free camera.

    Raises:
        ParamError: no such camera.
        SceneError: a visible geom that cannot be drawn.
    """
    geoms, lights = scenes.drawn_geoms(mj_model), scenes.lights_of(mj_model)
    count = len(geoms)
    sizes: dict[str, tuple[int, ...]] = {"": (), "2": (2,), "3": (3,), "33": (3, 3)}
    sizes |= {"G": (count,), "G3": (count, 3), "L": (len(lights),)}
    neutral = {n: np.broadcast_to(v, sizes[_SHAPES.get(n, "")]) for n, v in NEUTRAL.items()}
    textures = [model_texture(mj_model, geom) for geom in geoms]
    arrays = {
        **neutral,
        "geom_rgb": _colours(mj_model, geoms),
        **_light(mj_model, lights),
        **_camera(mj_model, camera),
        **_background(mj_model),
        "texture": [0.0 if j is None else 1.0 + j for j in textures],
        "texture_m": np.array([texture_side(mj_model, geom) for geom in geoms]).reshape(-1, 2),
    }
    return {name: np.array(value, np.float32) for name, value in arrays.items()}


def look_elements(mj_model: mujoco.MjModel) -> dict[str, list[str]]:
    """Returns the element names of the arrays that have named elements, for `params.bind`."""
    geoms = [g.name for g in scenes.drawn_geoms(mj_model)]
    lights = [light.name for light in scenes.lights_of(mj_model)]
    by_geom = ("geom_rgb", "geom_shown", "geom_offset", "texture", "texture_m")
    by_light = ("dir", "pos", "strength", "rgb", "kelvin", "softness")
    return dict.fromkeys(by_geom, geoms) | {f"light_{what}": lights for what in by_light}


def _colours(mj_model: mujoco.MjModel, geoms: tuple[scenes.Geom, ...]) -> np.ndarray:
    """Returns (G, 3) the colours of what is drawn; a texture on a mesh gives its mean colour."""
    out = np.zeros((len(geoms), 3))
    for row, geom in enumerate(geoms):
        kind = "site" if geom.decor else "geom"
        index = geom.id - (mj_model.ngeom if geom.decor else 0)
        out[row] = scenes.rgba(mj_model, kind, index)[:3] * mean_colour(mj_model, geom)
    return out


def _light(
    mj_model: mujoco.MjModel, lights: tuple[scenes.Light, ...]
) -> dict[str, np.ndarray | float]:
    """Returns the light arrays; the ambient parts of the headlight and of all lights add up."""
    head = mj_model.vis.headlight
    on = bool(head.active)
    ids = [light.id for light in lights]
    active = mj_model.light_active[ids].astype(bool)
    colour = mj_model.light_diffuse[ids].reshape(-1, 3)
    strength = colour.max(axis=1)
    pure = np.where(strength[:, None] > 0, colour / np.maximum(strength, 1e-9)[:, None], 1.0)
    ambient = mj_model.light_ambient[ids].reshape(-1, 3)[active].mean(axis=1).sum()
    used = [mj_model.mat_specular[i] for i in mj_model.geom_matid if i >= 0] or [0.5]
    return {
        "light_dir": mj_model.light_dir[ids].reshape(-1, 3),
        "light_pos": mj_model.light_pos[ids].reshape(-1, 3),
        "light_strength": np.where(active, strength, 0.0),
        "light_rgb": pure,
        "ambient": float(on * np.mean(head.ambient) + ambient),
        "headlight": float(on * np.mean(head.diffuse)),
        "specular": float(used[0]),
    }


def _camera(mj_model: mujoco.MjModel, camera: str | None) -> dict[str, np.ndarray | float]:
    """Returns the camera arrays."""
    still = {"camera_pos": np.zeros(3), "camera_rot": np.zeros(3)}
    if camera is None:
        return {**still, "camera_fovy": float(mj_model.vis.global_.fovy)}
    index = scenes.camera_id(mj_model, camera)
    found = scenes.intrinsics(mj_model, index)
    fovy, centre = float(mj_model.cam_fovy[index]), np.zeros(2)
    if found is not None:
        fovy = float(2 * np.rad2deg(np.arctan(0.5 / found[1])))
        sensor = mj_model.cam_sensorsize[index]
        centre = np.array([-found[2] * sensor[0] / sensor[1], found[3]])
    return {**still, "camera_fovy": fovy, "camera_centre": centre}


def _background(mj_model: mujoco.MjModel) -> dict[str, np.ndarray]:
    """Returns the sky colours: the middles of the skybox's down and up faces, black without one."""
    for i in range(mj_model.ntex):
        if mj_model.tex_type[i] == mujoco.mjtTexture.mjTEXTURE_SKYBOX:
            faces = texture_image(mj_model, i)
            side = faces.shape[1]
            up, down = (faces[f * side + side // 2, side // 2] for f in (2, 3))
            return {"background_low": down, "background_high": up}
    return {"background_low": np.zeros(3), "background_high": np.zeros(3)}


@dataclass(frozen=True, eq=False)
class AppearanceBinding:
    """The visual rows of a table, bound to the nominal look of one model and camera."""

    nominal: Mapping[str, np.ndarray]
    edits: tuple[params.Edit, ...]


def bind_appearance(
    space: params.ParamSpace, mj_model: mujoco.MjModel, camera: str | None
) -> AppearanceBinding:
    """Binds the rows of group "visual" that are looks to a model, seen by one of its cameras.

    Without a ``camera`` they are bound to what MuJoCo's free camera sees.

    Raises:
        ParamError: an unknown array, element, column or camera (the message lists near names);
            limits that reach what cannot be; a row on a light that is off.
        SceneError: a geom that cannot be drawn.
    """
    arrays = nominal_look(mj_model, camera)
    names = look_elements(mj_model)
    mine = rows_of_camera(space, camera or "", element_names(mj_model, "camera"))
    looks = [i for i in mine.chosen if space.rows[i].array not in FRAME_ARRAYS]
    edits = params.bind(mine.space, "visual", arrays, names, bounds.VISUAL, only=looks)
    refuse_idle_looks(space.rows, edits, arrays, scenes.lights_of(mj_model))
    return AppearanceBinding(arrays, edits)


def appearance(binding: AppearanceBinding, xi: jax.Array) -> Appearance:
    """Returns the look of one world from its xi (D,); vmap it for many.

    Arrays that no row touches and that change nothing are None, so that their step is left out.
    """
    arrays = {name: jnp.asarray(value) for name, value in binding.nominal.items()}
    changed = params.apply(jnp, arrays, binding.edits, xi)
    idle = {
        name: None
        for name, value in NEUTRAL.items()
        if name not in changed and np.all(binding.nominal[name] == np.asarray(value, np.float32))
    }
    return Appearance(**{**arrays, **idle, **changed})
