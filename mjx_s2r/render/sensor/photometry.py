"""Image signal processing: vignette, exposure, white balance, colours, noise, bits, in order.

A picture here is three planes (red, green, blue), each (P,) in [0, 1] of full scale, row by row.
`optics` comes first: defocus and motion blur. Then, each step only if its field is not None,

    expose_planes   vignette, exposure; white balance, colour matrix; brightness, contrast, hue,
                    saturation; limits of [0, 1]; gamma
    digitise        shot and read noise; limits of [0, 1]; rounding to bits

as in Ramanath et al., "Color image processing pipeline", IEEE Signal Processing Magazine 22(1),
2005. The noise comes last and not on the sensor: so its two numbers are those that one measures on
the finished pictures of a real camera, as variance against brightness, whatever happens in between.
"""

import jax
import jax.numpy as jnp
import numpy as np

from mjx_s2r.render.looks.appearance import Appearance

Planes = tuple[jax.Array, ...]  # three of them
DARKEST = 1e-6  # keeps the logarithm of black finite
LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601
# Standard deviation of the sum of four bytes: variance (256^2 - 1) / 12 each.
FOUR_BYTES_STD = float(np.sqrt(4 * (256**2 - 1) / 12))


def expose_planes(look: Appearance, rgb: Planes, height: int) -> Planes:
    """Turns the light that came through the lens into a picture in [0, 1]; differentiable."""
    rgb = _sensor_colours(look, rgb, height)
    if look.brightness is not None:
        rgb = tuple(c * look.brightness for c in rgb)
    if look.contrast is not None:
        rgb = tuple(0.5 + look.contrast * (c - 0.5) for c in rgb)
    if look.hue is not None:
        rgb = mixed(hue_matrix(look.hue), rgb)
    if look.saturation is not None:
        grey = sum(w * c for w, c in zip(LUMA, rgb, strict=True))
        rgb = tuple(grey + look.saturation * (c - grey) for c in rgb)
    rgb = tuple(jnp.clip(c, 0.0, 1.0) for c in rgb)
    if look.gamma is not None:
        rgb = tuple(jnp.exp(look.gamma * jnp.log(jnp.maximum(c, DARKEST))) for c in rgb)
    return rgb


def _sensor_colours(look: Appearance, rgb: Planes, height: int) -> Planes:
    """Applies vignette, exposure [stops], white balance and colour matrix."""
    if look.vignette is not None:
        left = 1.0 - look.vignette * _from_centre(height, rgb[0].shape[0] // height)
        rgb = tuple(c * left for c in rgb)
    if look.exposure is not None:
        gain = jnp.exp2(look.exposure)
        rgb = tuple(c * gain for c in rgb)
    if look.white_balance is not None:
        rgb = tuple(c * look.white_balance[i] for i, c in enumerate(rgb))
    if look.colour_matrix is not None:
        rgb = mixed(look.colour_matrix, rgb)
    return rgb


def _from_centre(height: int, width: int) -> jax.Array:
    """Returns (P,) squared distances of the pixels from the picture's middle; 1 in its corners."""
    down, right = (
        jax.lax.broadcasted_iota(jnp.float32, (height, width), axis) - (size - 1) / 2
        for axis, size in ((0, height), (1, width))
    )
    return ((down * down + right * right) * (4 / (height**2 + width**2))).ravel()


def mixed(matrix: jax.Array, rgb: Planes) -> Planes:
    """Returns the planes multiplied by a matrix (3, 3), out = matrix @ in."""
    red, green, blue = rgb
    return tuple(matrix[i, 0] * red + matrix[i, 1] * green + matrix[i, 2] * blue for i in range(3))


def hue_matrix(angle: jax.Array) -> jax.Array:
    """Returns the rotation (3, 3) of colours by an angle () [rad] about the grey axis.

    Rodrigues' formula with the axis (1, 1, 1) / sqrt(3): red goes to green at 120 degrees. Greys
    stay, and so does the sum of the channels (Haeberli, "Matrix operations for image processing",
    1993).
    """
    same = (1.0 - jnp.cos(angle)) / 3.0
    aside = jnp.sin(angle) / jnp.sqrt(3.0)
    turn = jnp.asarray([[0.0, -1.0, 1.0], [1.0, 0.0, -1.0], [-1.0, 1.0, 0.0]])
    return jnp.cos(angle) * jnp.eye(3) + same + aside * turn


def digitise(look: Appearance, rgb: Planes, seed: jax.Array | None) -> Planes:
    """Adds noise if there is a ``seed`` (2,) uint32, and rounds to uint8, with 2^bits levels."""
    if seed is not None:
        rgb = tuple(_noisy(look, c, seed, channel) for channel, c in enumerate(rgb))
    rgb = tuple(jnp.clip(c, 0.0, 1.0) for c in rgb)
    if look.bits is not None:
        steps = jnp.maximum(jnp.round(jnp.exp2(look.bits)) - 1.0, 1.0)
        rgb = tuple(jnp.floor(c * steps + 0.5) / steps for c in rgb)
    return tuple((c * 255.0 + 0.5).astype(jnp.uint8) for c in rgb)


def _noisy(look: Appearance, plane: jax.Array, seed: jax.Array, channel: int) -> jax.Array:
    """Returns a channel (P,) with noise of variance shot_noise * brightness + noise_std^2.

    The line is that of EMVA standard 1288: photons arrive one by one, and reading them is not
    exact.
    """
    std = look.noise_std
    if look.shot_noise is not None:
        read = 0.0 if std is None else std * std
        std = jnp.sqrt(look.shot_noise * jnp.maximum(plane, 0.0) + read)
    return plane if std is None else plane + std * pixel_noise(seed, plane.shape[0], channel)


def pixel_noise(seed: jax.Array, count: int, channel: int) -> jax.Array:
    """Returns (count,) numbers of mean 0 and deviation 1, nearly normal and never past 3.5.

    The sum of the four bytes of a hashed pixel index: far cheaper than threefry, and a picture
    needs no better.
    """
    bits = hashed(seed, count, channel)
    pairs = (bits & np.uint32(0x00FF00FF)) + ((bits >> 8) & np.uint32(0x00FF00FF))
    total = (pairs & np.uint32(0xFFFF)) + (pairs >> 16)
    return (total.astype(jnp.int32).astype(jnp.float32) - 510.0) * np.float32(1 / FOUR_BYTES_STD)


def hashed(seed: jax.Array, count: int, channel: int) -> jax.Array:
    """Returns (count,) uint32 random bits, which follow from the seed (2,) and the channel.

    The hash is the multiply-and-xorshift finalizer of MurmurHash3 (fmix32).
    """
    first = _mix(seed[0] ^ _mix(seed[1] + np.uint32(0x85EBCA77 * (channel + 1) & 0xFFFFFFFF)))
    index = jnp.arange(count, dtype=jnp.uint32) * np.uint32(0x9E3779B1)
    return _mix(index + first)


def _mix(bits: jax.Array) -> jax.Array:
    """Returns uint32 hashed: every bit of the input changes half of the output's."""
    for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35)):
        bits = (bits ^ (bits >> shift)) * np.uint32(factor)
    return bits ^ (bits >> 16)


def pack_planes(rgb: Planes) -> jax.Array:
    """Packs planes in [0, 1] into one uint32 (P,), ten bits per channel."""
    red, green, blue = ((jnp.clip(c, 0.0, 1.0) * 1023 + 0.5).astype(jnp.uint32) for c in rgb)
    return red | green << 10 | blue << 20


def unpack_planes(packed: jax.Array) -> Planes:
    """Returns the planes that `pack_planes` packed."""
    fields = packed & 1023, packed >> 10 & 1023, packed >> 20 & 1023
    return tuple(field.astype(jnp.int32).astype(jnp.float32) * (1 / 1023) for field in fields)
