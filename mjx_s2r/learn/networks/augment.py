"""Image augmentation: what a student should not care about, changed at random.

The chain, each link with a share of the worlds that it touches and a strength, in this order:

    shift       moved by some pixels, edges replicated (Kostrikov et al. 2020, DrQ)
    jitter      brightness, contrast, saturation, hue
    conv        a random convolution, which repaints textures (Lee et al. 2020, 1910.05396)
    overlay     mixed with another world's picture or a texture (Hansen and Wang 2021, SODA)
    blur        a Gaussian blur
    cutout      a rectangle of one colour (DeVries and Taylor 2017)

A link that touches nobody is not in the program. All frames of a stack, and all steps of a world,
change alike: a policy must not see movement in what augmentation did. On depths colours, textures
and mixtures have no meaning, and a blur would invent distances: they are shifted and cut alone.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Literal, cast

import jax
import jax.numpy as jnp
import numpy as np

from mjx_s2r.contract import DEPTH_CODES

# Luma and two chroma axes of a colour (NTSC): turning these turns the hue.
_YIQ = np.array([[0.299, 0.587, 0.114], [0.5959, -0.2746, -0.3213], [0.2115, -0.5227, 0.3112]])
_NO_ANSWER = 0.5  # of a depth camera, as `to_float` has it


@dataclass(frozen=True)
class AugmentConfig:
    """Augmentation of images beyond the shift; each ``share`` is that of the worlds touched."""

    jitter_share: float = 0.0
    """Share of the worlds whose colours change."""
    brightness: float = 0.3
    """Largest change of brightness, as a share of it."""
    contrast: float = 0.3
    """Largest change of contrast, as a share of it."""
    saturation: float = 0.3
    """Largest change of saturation, as a share of it."""
    hue: float = 0.05
    """Largest turn of the hue, as a share of the colour circle."""
    conv_share: float = 0.0
    """Share of the worlds seen through a random convolution."""
    conv_size: int = 3
    """Size of its kernel, px; odd."""
    conv_strength: float = 1.0
    """How much of the picture is the convolved one."""
    overlay_share: float = 0.0
    """Share of the worlds over which something else is laid."""
    overlay_strength: float = 0.4
    """Largest weight of what is laid over."""
    overlay_with: Literal["noise", "worlds"] = "noise"
    """What is laid over: random textures, or the picture of another world."""
    blur_share: float = 0.0
    """Share of the worlds that are blurred."""
    blur_px: float = 1.0
    """Largest standard deviation of the blur, px."""
    cutout_share: float = 0.0
    """Share of the worlds that lose a rectangle."""
    cutout_size: float = 0.4
    """Largest side of the rectangle, as a share of the picture's."""

    def __post_init__(self) -> None:
        """Checks the settings.

        Raises:
            ValueError: a setting that cannot work, named.
        """
        for f in fields(self):
            value = getattr(self, f.name)
            if f.name in ("conv_size", "overlay_with"):
                continue
            high = float("inf") if f.name == "blur_px" else 1.0
            if not 0 <= value <= high:
                raise ValueError(f"augment.{f.name} {value} must lie in [0, {high:g}]")
        if self.blur_share and not self.blur_px:
            raise ValueError(
                f"augment.blur_px {self.blur_px} must be above 0 where pictures are blurred; set "
                "augment.blur_share to 0 instead"
            )
        if self.conv_size < 1 or self.conv_size % 2 == 0:
            raise ValueError(f"augment.conv_size {self.conv_size} must be odd and at least 1")
        if self.overlay_with not in ("noise", "worlds"):
            raise ValueError(
                f"augment.overlay_with {self.overlay_with!r} must be 'noise' or 'worlds'"
            )


Link = Callable[..., jax.Array]  # (images (B, F, H, W, C), config, key=) -> images


def to_float(images: jax.Array) -> jax.Array:
    """Returns images (N, H, W, C) as float32 in [-0.5, 0.5], for image encoders.

    Colours are uint8; depths are the uint16 codes of `mjx_s2r.contract.encode_depth`. What is
    float already has been through here, and stays as it is.
    """
    if jnp.issubdtype(images.dtype, jnp.floating):
        return images
    most = DEPTH_CODES if images.dtype == jnp.uint16 else 255
    return images.astype(jnp.float32) / float(most) - 0.5


def augment(
    images: jax.Array, config: AugmentConfig, shift_pixels: int = 0, *, key: jax.Array
) -> jax.Array:
    """Returns images (T, B, H, W, C) changed at random, the T steps of a world alike.

    Where nothing but the shift is on they keep their type; else they are float in [-0.5, 0.5].

    Args:
        images: uint8, or uint16 of depth; C holds the frames of a stack side by side.
        config: shares and strengths.
        shift_pixels: largest shift.
        key: random key.
    """
    depth = images.dtype == jnp.uint16
    if shift_pixels:
        images = jax.vmap(lambda x: random_shift(x, shift_pixels, key=key))(images)
    links: list[tuple[float, Link]] = [
        (config.jitter_share, colour_jitter),
        (config.conv_share, random_convolution),
        (config.overlay_share, random_overlay),
        (config.blur_share, random_blur),
    ]
    links = [] if depth else links
    links = [(share, link) for share, link in (*links, (config.cutout_share, cutout)) if share > 0]
    if not links:
        return images
    steps, worlds, height, width, _ = images.shape
    colours = 1 if depth else 3
    x = to_float(images).reshape(steps, worlds, height, width, -1, colours)
    x = x.transpose(1, 0, 4, 2, 3, 5).reshape(worlds, -1, height, width, colours)
    for number, (share, link) in enumerate(links, 1):
        key_link, key_who = jax.random.split(jax.random.fold_in(key, number))
        touched = jax.random.bernoulli(key_who, float(share), (worlds, 1, 1, 1, 1))

        def changed(x: jax.Array, link: Link = link, key: jax.Array = key_link) -> jax.Array:
            return link(x, config, key=key)

        # A branch of its own, or the compiler would make a pixel anew, and the random numbers
        # behind it, wherever the next link reads it.
        x = jnp.where(touched, jax.lax.cond(touched.any(), changed, lambda x: x, x), x)
    x = jnp.clip(x, -0.5, 0.5).reshape(worlds, steps, -1, height, width, colours)
    return x.transpose(1, 0, 3, 4, 2, 5).reshape(images.shape)


def random_shift(images: jax.Array, pixels: int, *, key: jax.Array) -> jax.Array:
    """Returns images (N, H, W, C), each moved by up to ``pixels`` up, down, left and right."""
    if pixels == 0:
        return images
    height, width = images.shape[1:3]
    edge = ((pixels, pixels), (pixels, pixels), (0, 0))
    corners = _corners(images.shape[0], pixels, key)

    def shift(image: jax.Array, corner: jax.Array) -> jax.Array:
        padded = jnp.pad(image, edge, mode="edge")
        start = (corner[0], corner[1], 0)
        return jax.lax.dynamic_slice(padded, start, (height, width, image.shape[-1]))

    # A branch of its own: with moves of its own in every picture no other loop has vectors.
    moved = jnp.any(corners != pixels)
    return cast(jax.Array, jax.lax.cond(moved, jax.vmap(shift), lambda x, _: x, images, corners))


def shift_places(
    places: jax.Array, pixels: int, size: Sequence[int], *, key: jax.Array
) -> jax.Array:
    """Returns places (T, B, K, 2) in pictures that `augment` has shifted with the same key.

    Args:
        places: columns and rows, from -1 to 1.
        pixels: largest shift.
        size: height and width of the pictures, px.
        key: random key.
    """
    if pixels == 0:
        return places
    moved = pixels - _corners(places.shape[1], pixels, key)  # px down and to the right
    return places + (2.0 * moved / jnp.asarray(size))[:, None, ::-1]


def _corners(worlds: int, pixels: int, key: jax.Array) -> jax.Array:
    """Returns (B, 2) row and column of each world's window in a picture with a wider edge."""
    return jax.random.randint(key, (worlds, 2), 0, 2 * pixels + 1)


def colour_jitter(x: jax.Array, config: AugmentConfig, *, key: jax.Array) -> jax.Array:
    """Returns x (B, F, H, W, 3) in [-0.5, 0.5] with other colours, those of each world alike.

    The colour in [0, 1] is multiplied by the brightness, its distance from the world's mean luma by
    the contrast, and its chroma by the saturation and a turn (Haeberli 1993).
    """
    most = jnp.array((config.brightness, config.contrast, config.saturation, config.hue))
    draw = most * jax.random.uniform(key, (x.shape[0], 4), minval=-1.0)
    factor, turn = 1.0 + draw[:, :3, None, None, None, None], 2 * jnp.pi * draw[:, 3]
    x = (x + 0.5) * factor[:, 0]
    luma = jnp.mean(x, (1, 2, 3)) @ _YIQ[0].astype(np.float32)
    luma = luma[:, None, None, None, None]
    x = luma + factor[:, 1] * (x - luma)
    chroma = _chroma(1.0 + draw[:, 2], turn)[:, :, :, None, None]
    planes = [sum(chroma[:, d, c, None] * x[..., c] for c in range(3)) for d in range(3)]
    return jnp.stack(planes, axis=-1) - 0.5


def _chroma(saturation: jax.Array, turn: jax.Array) -> jax.Array:
    """Returns (B, 3, 3) the matrices that scale and turn (B,) the chroma of a colour."""
    cos, sin = saturation * jnp.cos(turn), saturation * jnp.sin(turn)
    one, none = jnp.ones_like(cos), jnp.zeros_like(cos)
    turned = jnp.array([[one, none, none], [none, cos, -sin], [none, sin, cos]])
    back = np.linalg.inv(_YIQ).astype(np.float32)
    return jnp.einsum("ij,jkb,kl->bil", back, turned, _YIQ.astype(np.float32))


def random_convolution(x: jax.Array, config: AugmentConfig, *, key: jax.Array) -> jax.Array:
    """Returns x (B, F, H, W, 3) mixed with what a random kernel of each world makes of it.

    Its weights are normal with variance 2 / (fan in + fan out) (Glorot and Bengio 2010).
    """
    size = config.conv_size
    deviation = (1 / (3 * size * size)) ** 0.5
    kernel = deviation * jax.random.normal(key, (x.shape[0], size, size, 3, 3))
    return x + config.conv_strength * (_convolved(x, kernel) - x)


def _convolved(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Returns x (B, F, H, W, C), edges repeated, convolved with kernels (B, K, K, C, D).

    Plane by plane: products with a small matrix for each world take a CPU six times as long.
    """
    size, (height, width) = kernel.shape[1], x.shape[2:4]
    planes = jnp.moveaxis(_edges(x, size // 2, size // 2), -1, 0)
    places = [(i, j, c) for i in range(size) for j in range(size) for c in range(x.shape[-1])]

    def plane(d: int) -> jax.Array:
        """Returns (B, F, H, W) one colour of the outcome."""
        out = jnp.zeros(x.shape[:-1])
        for i, j, c in places:
            weight = kernel[:, i, j, c, d, None, None, None]
            out = out + weight * planes[c][:, :, i : i + height, j : j + width]
        return out

    return jnp.stack([plane(d) for d in range(kernel.shape[-1])], axis=-1)


def random_overlay(x: jax.Array, config: AugmentConfig, *, key: jax.Array) -> jax.Array:
    """Returns x (B, F, H, W, C) mixed with random textures or with the pictures of a neighbour."""
    key_weight, key_texture = jax.random.split(key)
    shape = (x.shape[0], 1, 1, 1, 1)
    weight = config.overlay_strength * jax.random.uniform(key_weight, shape)
    other = jnp.roll(x, 1, axis=0)
    if config.overlay_with == "noise":
        other = _textures(x.shape[0], *x.shape[2:], key=key_texture)[:, None]
    return x + weight * (other - x)


def _textures(count: int, height: int, width: int, colours: int, *, key: jax.Array) -> jax.Array:
    """Returns (B, H, W, C) in [-0.5, 0.5]: value noise of a coarse and a fine grid, mixed."""
    key_mix, *keys = jax.random.split(key, 3)
    shape = (count, height, width, colours)
    coarse, fine = (
        jax.image.resize(jax.random.uniform(k, (count, n, n, colours)), shape, "linear")
        for k, n in zip(keys, (3, max(4, height // 4)), strict=True)
    )
    mix = jax.random.uniform(key_mix, (count, 1, 1, 1))
    return coarse + mix * (fine - coarse) - 0.5


def random_blur(x: jax.Array, config: AugmentConfig, *, key: jax.Array) -> jax.Array:
    """Returns x (B, F, H, W, C) blurred, by up to ``blur_px`` of standard deviation."""
    reach = max(1, int(np.ceil(2 * config.blur_px)))
    deviation = config.blur_px * jax.random.uniform(key, (x.shape[0], 1), minval=1e-3)
    weight = jnp.exp(-0.5 * (jnp.arange(-reach, reach + 1) / deviation) ** 2)
    weight = (weight / weight.sum(-1, keepdims=True))[:, :, None, None, None, None]
    height, width = x.shape[2:4]
    rows, taps = _edges(x, reach, 0), range(2 * reach + 1)
    x = sum((weight[:, i] * rows[:, :, i : i + height] for i in taps), start=jnp.zeros(()))
    columns = _edges(x, 0, reach)
    return sum((weight[:, i] * columns[:, :, :, i : i + width] for i in taps), start=jnp.zeros(()))


def cutout(x: jax.Array, config: AugmentConfig, *, key: jax.Array) -> jax.Array:
    """Returns x (B, F, H, W, C) without a rectangle: in one colour, or no answer in depths."""
    key_size, key_place, key_colour = jax.random.split(key, 3)
    worlds, _, height, width, colours = x.shape
    side = jax.random.uniform(key_size, (worlds, 2), maxval=config.cutout_size)
    start = jax.random.uniform(key_place, (worlds, 2)) * (1 - side)
    grid = jnp.linspace(0, 1, height, endpoint=False), jnp.linspace(0, 1, width, endpoint=False)
    inside = [
        (at >= start[:, i, None]) & (at < start[:, i, None] + side[:, i, None])
        for i, at in enumerate(grid)
    ]
    gone = (inside[0][:, :, None] & inside[1][:, None, :])[:, None, :, :, None]
    colour = jax.random.uniform(key_colour, (worlds, 1, 1, 1, colours), minval=-0.5, maxval=0.5)
    return jnp.where(gone, _NO_ANSWER if colours == 1 else colour, x)


def _edges(x: jax.Array, rows: int, columns: int) -> jax.Array:
    """Returns x (B, F, H, W, C) with its edges repeated."""
    wide = ((0, 0), (0, 0), (rows, rows), (columns, columns), (0, 0))
    return jnp.pad(x, wide, mode="edge")
