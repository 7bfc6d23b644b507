"""Materials of a model: which texture a geom has, and how it repeats, by MuJoCo's rules.

A 2D texture on a geom or site repeats over it and is drawn, on a mesh by its texture coordinates.
On a mesh that has none, a height field, and where the texture is a cube, its mean colour is drawn
instead: at the size of a student's picture nothing else is left.
"""

import mujoco
import numpy as np

from mjx_s2r.render.geometry.scene import INFINITE, Geom

_RGB = mujoco.mjtTextureRole.mjTEXROLE_RGB


def model_texture(mj_model: mujoco.MjModel, geom: Geom) -> int | None:
    """Returns the id of the 2D texture that repeats over a geom or site, or None."""
    found = _texture_id(mj_model, geom)
    if found < 0 or mj_model.tex_type[found] != mujoco.mjtTexture.mjTEXTURE_2D:
        return None
    if geom.shape == "mesh":
        laid = mj_model.mesh_texcoordadr[mj_model.geom_dataid[geom.id]] >= 0
        return found if laid else None
    return None if geom.shape == "hfield" else found


def mean_colour(mj_model: mujoco.MjModel, geom: Geom) -> np.ndarray:
    """Returns (3,) what the texture multiplies a colour by on average, where it is not drawn."""
    found = _texture_id(mj_model, geom)
    if found < 0 or model_texture(mj_model, geom) is not None:
        return np.ones(3)
    return np.asarray(texture_image(mj_model, found).mean(axis=(0, 1)))


def texture_side(mj_model: mujoco.MjModel, geom: Geom) -> np.ndarray:
    """Returns (2,) [m] how far a texture reaches along x and y before it repeats.

    `texrepeat` counts half textures per metre on an infinite plane and where `texuniform` is set,
    else textures over the geom's extent (on a round one, its largest). A geom without a material
    gets a texture per 0.1 m.
    """
    material = _material(mj_model, geom)
    if material < 0:
        return np.full(2, 0.1)
    flat = geom.shape in ("plane", "box")
    half = np.array(geom.size[:2]) if flat else np.full(2, max(geom.size))
    uniform = mj_model.mat_texuniform[material] or half.max() >= INFINITE
    return 2.0 * np.where(uniform, 1.0, half) / mj_model.mat_texrepeat[material]


def texture_image(mj_model: mujoco.MjModel, index: int) -> np.ndarray:
    """Returns a texture of the model as (height, width, 3) in [0, 1]."""
    height, width = mj_model.tex_height[index], mj_model.tex_width[index]
    channels, start = mj_model.tex_nchannel[index], mj_model.tex_adr[index]
    flat = mj_model.tex_data[start : start + height * width * channels]
    image = flat.reshape(height, width, channels)[..., :3] / 255.0
    return np.asarray(np.broadcast_to(image, (height, width, 3)) if channels < 3 else image)


def _material(mj_model: mujoco.MjModel, geom: Geom) -> int:
    """Returns the id of the material of a geom or site, -1 for none."""
    if geom.decor:
        return int(mj_model.site_matid[geom.id - mj_model.ngeom])
    return int(mj_model.geom_matid[geom.id])


def _texture_id(mj_model: mujoco.MjModel, geom: Geom) -> int:
    """Returns the id of the colour texture of a geom or site, -1 for none."""
    material = _material(mj_model, geom)
    return -1 if material < 0 else int(mj_model.mat_texid[material][_RGB])
