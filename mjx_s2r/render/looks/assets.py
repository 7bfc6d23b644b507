"""Render assets: the textures and background photographs that all worlds share, and green screen.

A row names no picture, it says how far through the pool a world goes: 0 is no texture (or the
model's own background), and the rest of [0, 1) is shared out among the pictures. So a table fits
any pool, and a curriculum that widens the row adds pictures.
"""

import fnmatch
from dataclasses import dataclass
from typing import Literal

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
from flax import struct
from PIL import Image

from mjx_s2r.params import unknown
from mjx_s2r.render.geometry.pose import pixels
from mjx_s2r.render.geometry.scene import Scene, SceneError
from mjx_s2r.render.looks import textures as texture_pool
from mjx_s2r.render.looks.appearance import Appearance, AppearanceBinding
from mjx_s2r.render.looks.material import texture_image
from mjx_s2r.render.shading import texture
from mjx_s2r.render.shading.texture import pack_pool, pack_texels

_MARGIN = 1.25  # a photograph is this much larger than the picture, so that it can be moved


@dataclass(frozen=True)
class RenderConfig:
    """Settings of the renderer; the same for all cameras of a task."""

    backend: Literal["jax", "warp"] = "jax"
    """"jax" runs everywhere; "warp" is MuJoCo Warp's renderer, on an NVIDIA GPU."""
    textures: tuple[str, ...] = tuple(texture_pool.TEXTURES)
    """Textures for rows on visual.texture: builtin names, image files, folders of images."""
    texture_px: int = 64
    """Side of a texture, a power of two."""
    photographs: tuple[str, ...] = ("clutter", "clouds")
    """Backgrounds for rows on visual.background: builtin names, image files, folders."""
    foreground: tuple[str, ...] = ()
    """Geoms (names or patterns) kept before a photograph that replaces all else: a green screen."""
    shadow_rays: int = 2
    """Rays per pixel and light where a row makes shadows soft."""


@struct.dataclass
class RenderAssets:
    """Textures and photographs that all worlds choose from; without a world axis.

    Attributes:
        textures: (K + model's, M) uint32, packed by `texture.pack_pool`, or None.
        photographs: (N, A, B) uint32 packed texels of N photographs of A x B px, or None.
        pool: K, how many textures a row chooses from.
        textured: positions of the geoms that may carry a texture.
        kept: positions of the geoms that stay in front of a green screen.
    """

    textures: jax.Array | None = None
    photographs: jax.Array | None = None
    pool: int = struct.field(pytree_node=False, default=0)
    textured: tuple[int, ...] = struct.field(pytree_node=False, default=())
    kept: tuple[int, ...] = struct.field(pytree_node=False, default=())

    def keeps(self, slot: jax.Array) -> jax.Array:
        """Returns True (P,) where a pixel shows a geom that stays before a green screen."""
        kept = jnp.zeros(slot.shape, bool)
        for g in self.kept:
            kept = kept | (slot == g)
        return kept

    def texture_index(self, value: jax.Array) -> jax.Array:
        """Returns () int32 the texture that a look's ``value`` () means, -1 for none."""
        chosen = jnp.floor(value * (self.pool + 1)).astype(jnp.int32) - 1
        own = self.pool + jnp.floor(value).astype(jnp.int32) - 1
        return jnp.where(value >= 1, own, jnp.minimum(chosen, self.pool - 1))

    def texel_places(
        self, index: jax.Array, u: jax.Array, v: jax.Array, footprint: jax.Array
    ) -> jax.Array:
        """Returns (P,) int32 which texel each pixel shows, -1 for none."""
        assert self.textures is not None
        return texture.texel_places(self.textures, index, u, v, footprint)

    def read_texels(self, places: jax.Array) -> jax.Array:
        """Returns (P,) uint32 what the textures multiply the colours by, packed."""
        assert self.textures is not None
        return texture.read_texels(self.textures, places)

    def photograph_index(self, look: Appearance) -> jax.Array:
        """Returns () int32 which photograph a world has, -1 for none."""
        assert self.photographs is not None
        value = jnp.float32(0) if look.background is None else look.background
        skip = 0 if self.kept else 1  # before a green screen there is always a photograph
        count = self.photographs.shape[0]
        return jnp.floor(value * (count + skip)).astype(jnp.int32) - skip

    def read_photograph(self, scene: Scene, look: Appearance) -> jax.Array:
        """Returns (P,) uint32 the colours of a world's photograph, packed; some of none."""
        assert self.photographs is not None
        count, rows, columns = self.photographs.shape
        x, y = pixels(scene.height, scene.width)
        shift = jnp.zeros(2) if look.background_shift is None else look.background_shift
        across = x * (scene.height / scene.width) / _MARGIN - shift[0] * (1 - 1 / _MARGIN)
        down = -y / _MARGIN + shift[1] * (1 - 1 / _MARGIN)
        column = jnp.clip((across + 1) * (columns / 2), 0, columns - 1).astype(jnp.int32)
        row = jnp.clip((down + 1) * (rows / 2), 0, rows - 1).astype(jnp.int32)
        picture = jnp.clip(self.photograph_index(look), 0, count - 1) * (rows * columns)
        return self.photographs.ravel()[picture + row * columns + column]


def build_assets(
    mj_model: mujoco.MjModel, scene: Scene, binding: AppearanceBinding, config: RenderConfig
) -> RenderAssets:
    """Returns the pictures that the rows and the model need; none that nobody can choose.

    Raises:
        TextureError: a texture or photograph that cannot be read.
        SceneError: a green screen without photographs.
        ParamError: a foreground pattern that fits no geom; the message lists near names.
    """
    touched = {edit.array for edit in binding.edits}
    chosen = np.zeros(len(scene.geoms), bool)
    for edit in binding.edits:
        if edit.array == "texture":
            chosen |= edit.mask
    own = binding.nominal["texture"] >= 1
    kept = _kept(scene, config)
    textures = photographs = None
    count = 0
    if chosen.any() or own.any():
        packed = _textures(mj_model, config, bool(chosen.any()), bool(own.any()))
        textures = jnp.asarray(packed)
        count = len(packed) - (mj_model.ntex if own.any() else 0)
    if "background" in touched or kept:
        if not config.photographs:
            raise SceneError(
                "a row on visual.background or a green screen needs photographs; name some in "
                f"photographs, e.g. {', '.join(texture_pool.BACKGROUNDS)} or a folder of images"
            )
        height, width = (round(_MARGIN * px) for px in (scene.height, scene.width))
        photographs = jnp.asarray(
            pack_texels(texture_pool.photographs(config.photographs, height, width))
        )
    if "background_shift" in touched and photographs is None:
        raise SceneError(
            "a row on visual.background_shift moves a photograph, and there is none; add a row on "
            "visual.background or name foreground geoms, or drop the row"
        )
    return RenderAssets(
        textures=textures,
        photographs=photographs,
        pool=count,
        textured=tuple(int(g) for g in np.flatnonzero(chosen | own)),
        kept=kept,
    )


def _kept(scene: Scene, config: RenderConfig) -> tuple[int, ...]:
    """Returns the positions of the geoms that the foreground patterns name."""
    names = [geom.name for geom in scene.geoms]
    for pattern in config.foreground:
        if not any(fnmatch.fnmatchcase(name, pattern) for name in names):
            raise unknown("foreground geom", pattern, names)
    return tuple(
        i
        for i, name in enumerate(names)
        if any(fnmatch.fnmatchcase(name, pattern) for pattern in config.foreground)
    )


def _textures(
    mj_model: mujoco.MjModel, config: RenderConfig, chosen: bool, own: bool
) -> np.ndarray:
    """Returns (K + model's, M) packed textures: the pool if rows choose, the model's if it has."""
    parts = []
    if chosen:
        parts.append(pack_pool(texture_pool.textures(config.textures, config.texture_px)))
    if own:
        parts.append(
            pack_pool(
                np.stack([_resized(mj_model, i, config.texture_px) for i in range(mj_model.ntex)])
            )
        )
    return np.concatenate(parts)


def _resized(mj_model: mujoco.MjModel, index: int, size: int) -> np.ndarray:
    """Returns a texture of the model as (size, size, 3) uint8; cubes, which are not laid, black."""
    if mj_model.tex_type[index] != mujoco.mjtTexture.mjTEXTURE_2D:
        return np.zeros((size, size, 3), np.uint8)
    image = Image.fromarray((255 * texture_image(mj_model, index) + 0.5).astype(np.uint8))
    return np.asarray(image.resize((size, size), Image.Resampling.BOX))
