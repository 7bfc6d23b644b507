"""The look of one world: colours, light, camera errors and photometry, as the table touches them.

`nominal` writes down what the model itself looks like, under the array names that rows of the room
"visual" use. The nominal values follow MuJoCo's OpenGL renderer (XMLreference: visual/headlight,
light, material): the headlight and the first light, without texture images.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
from flax import struct

from mjx_s2r import params
from mjx_s2r.render import camera as cam

# Arrays that change nothing at these values; a step that no row touches is left out of the picture.
NEUTRAL = {
    "brightness": 1.0,
    "contrast": 1.0,
    "saturation": 1.0,
    "gamma": 1.0,
    "noise_std": 0.0,
    "blur_px": 0.0,
}


@struct.dataclass
class Appearance:
    """The look of one world (or of N, with a leading axis). G drawn geoms, K of them planes.

    A photometry field that is None costs nothing.

    Attributes:
        geom_rgb: (G, 3) surface colour in [0, 1]; of a checkered plane, its first colour.
        checker_rgb: (K, 3) what every other square of a plane adds to its colour; 0 for none.
        checker_m: (K, 2) sides of a checker square along the plane's x and y [m].
        light_dir: (3,) the way the light travels, world frame, any length above zero.
        light_strength: () brightness of the light.
        light_rgb: (3,) colour of the light.
        ambient: () light from everywhere.
        headlight: () light that the camera carries, along its axis.
        specular: () how strongly the surfaces throw back highlights.
        camera_pos: (3,) [m] offset of the camera in its parent's frame.
        camera_rot: (3,) [rad] rotation vector added to the camera, in the camera's frame.
        camera_fovy: () [deg] vertical field of view.
        background_low: (3,) colour straight below the horizon.
        background_high: (3,) colour straight above it.
        brightness: () gain on the picture.
        contrast: () gain around mid grey.
        saturation: () gain around the grey of each pixel.
        gamma: () exponent of the picture.
        noise_std: () standard deviation of the pixel noise, in [0, 1] of full scale.
        blur_px: () [px] standard deviation of the blur.
    """

    geom_rgb: jax.Array
    checker_rgb: jax.Array
    checker_m: jax.Array
    light_dir: jax.Array
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
    brightness: jax.Array | None = None
    contrast: jax.Array | None = None
    saturation: jax.Array | None = None
    gamma: jax.Array | None = None
    noise_std: jax.Array | None = None
    blur_px: jax.Array | None = None


def nominal(mj_model: mujoco.MjModel, camera: str) -> dict[str, np.ndarray]:
    """Returns the arrays of room "visual": the look of the model as it was written.

    Raises:
        ParamError: no such camera.
        SceneError: a visible geom that cannot be drawn.
    """
    geoms = cam.drawn_geoms(mj_model)
    rgb = np.array([cam.geom_rgba(mj_model, g.id)[:3] for g in geoms]).reshape(-1, 3)
    planes = [i for i, g in enumerate(geoms) if g.shape == "plane"]
    arrays = {
        "geom_rgb": rgb,
        "checker_rgb": np.zeros((len(planes), 3)),
        "checker_m": np.ones((len(planes), 2)),
        **_light(mj_model),
        "camera_pos": np.zeros(3),
        "camera_rot": np.zeros(3),
        "camera_fovy": mj_model.cam_fovy[cam.camera_id(mj_model, camera)],
        **_background(mj_model),
        **NEUTRAL,
    }
    for index, g in enumerate(planes):
        first, second, sides = _checker(mj_model, geoms[g])
        arrays["checker_rgb"][index] = rgb[g] * (second - first)
        rgb[g] = rgb[g] * first
        arrays["checker_m"][index] = sides
    return {name: np.asarray(value, np.float32) for name, value in arrays.items()}


def elements(mj_model: mujoco.MjModel) -> dict[str, list[str]]:
    """Returns the element names of the arrays that have named elements, for `params.bind`."""
    geoms = cam.drawn_geoms(mj_model)
    planes = [g.name for g in geoms if g.shape == "plane"]
    return {"geom_rgb": [g.name for g in geoms], "checker_rgb": planes, "checker_m": planes}


def _light(mj_model: mujoco.MjModel) -> dict[str, np.ndarray]:
    """Returns the light arrays: the headlight and the first light, preferably one with a shadow.

    A positional light is taken as directional. The ambient parts of all lights add up.
    """
    head, main = mj_model.vis.headlight, cam.main_light(mj_model)
    on = bool(head.active)
    colour = mj_model.light_diffuse[main] if main >= 0 else np.zeros(3)
    strength = float(np.max(colour))
    others = np.mean(mj_model.light_ambient, axis=1)[mj_model.light_active.astype(bool)]
    used = [mj_model.mat_specular[i] for i in mj_model.geom_matid if i >= 0] or [0.5]
    return {
        "light_dir": mj_model.light_dir[main] if main >= 0 else np.array([0.0, 0.0, -1.0]),
        "light_strength": np.array(strength),
        "light_rgb": colour / strength if strength else np.ones(3),
        "ambient": np.array(on * np.mean(head.ambient) + np.sum(others)),
        "headlight": np.array(on * np.mean(head.diffuse)),
        "specular": np.array(used[0]),
    }


def _background(mj_model: mujoco.MjModel) -> dict[str, np.ndarray]:
    """Returns the sky colours: the middles of the skybox's down and up faces, black without one."""
    for i in range(mj_model.ntex):
        if mj_model.tex_type[i] == mujoco.mjtTexture.mjTEXTURE_SKYBOX:
            faces = texture(mj_model, i)
            side = faces.shape[1]
            up, down = (faces[f * side + side // 2, side // 2] for f in (2, 3))
            return {"background_low": down, "background_high": up}
    return {"background_low": np.zeros(3), "background_high": np.zeros(3)}


def _checker(mj_model: mujoco.MjModel, geom: cam.Geom) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns both colours of a plane's texture and the sides (2,) of its squares [m].

    MuJoCo's builtin "checker" has two by two squares. `texrepeat` counts squares per metre on an
    infinite plane or when `texuniform` is set, else textures over the plane's size.
    """
    material = mj_model.geom_matid[geom.id]
    role = mujoco.mjtTextureRole.mjTEXROLE_RGB
    found = mj_model.mat_texid[material][role] if material >= 0 else -1
    if found < 0 or mj_model.tex_type[found] != mujoco.mjtTexture.mjTEXTURE_2D:
        return np.ones(3), np.ones(3), np.ones(2)
    image = texture(mj_model, found)
    rows, columns = image.shape[:2]
    size = np.array(geom.size[:2])
    whole = mj_model.mat_texuniform[material] or size.max() >= cam.INFINITE
    sides = np.where(whole, 1.0, size) / mj_model.mat_texrepeat[material]
    return image[rows // 4, 3 * columns // 4], image[rows // 4, columns // 4], sides


def texture(mj_model: mujoco.MjModel, index: int) -> np.ndarray:
    """Returns a texture of the model as (height, width, 3) in [0, 1]."""
    height, width = mj_model.tex_height[index], mj_model.tex_width[index]
    channels, start = mj_model.tex_nchannel[index], mj_model.tex_adr[index]
    flat = mj_model.tex_data[start : start + height * width * channels]
    return flat.reshape(height, width, channels)[..., :3] / 255.0


@dataclass(frozen=True)
class Binding:
    """The visual rows of a table, bound to the nominal look of one model and camera."""

    nominal: Mapping[str, np.ndarray]
    edits: tuple[params.Edit, ...]


def bind_appearance(space: params.ParamSpace, mj_model: mujoco.MjModel, camera: str) -> Binding:
    """Binds the rows of room "visual" to the look of a model.

    Raises:
        ParamError: an unknown array, element, column or camera; the message lists near names.
    """
    arrays = nominal(mj_model, camera)
    return Binding(arrays, params.bind(space, "visual", arrays, elements(mj_model)))


def appearance(binding: Binding, xi: jax.Array) -> Appearance:
    """Returns the look of one world from its xi (D,); vmap it for many.

    Photometry arrays that no row touches are None, so that their step is left out.
    """
    arrays = {name: jnp.asarray(value) for name, value in binding.nominal.items()}
    changed = params.apply(jnp, arrays, binding.edits, xi)
    idle = {name: None for name in NEUTRAL if name not in changed}
    return Appearance(**{**arrays, **idle, **changed})
