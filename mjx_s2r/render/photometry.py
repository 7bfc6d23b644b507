"""What a camera does to light: gain, contrast, saturation, blur, gamma, noise, 8 bits.

A picture here is three planes (red, green, blue), each (P,) in [0, 1] of full scale, row by row.
"""

import jax
import jax.numpy as jnp
import numpy as np

from mjx_s2r.render.appearance import Appearance

Planes = tuple[jax.Array, ...]  # three of them
DARKEST = 1e-6  # keeps the logarithm of black finite
LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601
# Standard deviation of the sum of four bytes: variance (256^2 - 1) / 12 each.
FOUR_BYTES_STD = float(np.sqrt(4 * (256**2 - 1) / 12))


def expose(look: Appearance, rgb: Planes) -> Planes:
    """Applies gain, contrast, saturation and gamma, and clips to [0, 1]; differentiable."""
    if look.brightness is not None:
        rgb = tuple(c * look.brightness for c in rgb)
    if look.contrast is not None:
        rgb = tuple(0.5 + look.contrast * (c - 0.5) for c in rgb)
    if look.saturation is not None:
        grey = sum(w * c for w, c in zip(LUMA, rgb, strict=True))
        rgb = tuple(grey + look.saturation * (c - grey) for c in rgb)
    rgb = tuple(jnp.clip(c, 0.0, 1.0) for c in rgb)
    if look.gamma is not None:
        rgb = tuple(jnp.exp(look.gamma * jnp.log(jnp.maximum(c, DARKEST))) for c in rgb)
    return rgb


def digitise(look: Appearance, rgb: Planes, seed: jax.Array | None) -> Planes:
    """Adds noise if there is a ``seed`` (2,) uint32, and rounds to uint8."""
    if look.noise_std is not None and seed is not None:
        rgb = tuple(
            c + look.noise_std * noise(seed, c.shape[0], channel) for channel, c in enumerate(rgb)
        )
    return tuple((jnp.clip(c, 0.0, 1.0) * 255.0 + 0.5).astype(jnp.uint8) for c in rgb)


def noise(seed: jax.Array, count: int, channel: int) -> jax.Array:
    """Returns (count,) numbers of mean 0 and deviation 1, nearly normal and never past 3.5.

    The sum of the four bytes of a hashed pixel index: far cheaper than threefry, and a picture
    needs no better. The hash is the multiply-and-xorshift finalizer of MurmurHash3 (fmix32).
    """
    first = _mix(seed[0] ^ _mix(seed[1] + np.uint32(0x85EBCA77 * (channel + 1) & 0xFFFFFFFF)))
    index = jnp.arange(count, dtype=jnp.uint32) * np.uint32(0x9E3779B1)
    bits = _mix(index + first)
    pairs = (bits & np.uint32(0x00FF00FF)) + ((bits >> 8) & np.uint32(0x00FF00FF))
    total = (pairs & np.uint32(0xFFFF)) + (pairs >> 16)
    return (total.astype(jnp.int32).astype(jnp.float32) - 510.0) * np.float32(1 / FOUR_BYTES_STD)


def _mix(bits: jax.Array) -> jax.Array:
    """Returns uint32 hashed: every bit of the input changes half of the output's."""
    for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35)):
        bits = (bits ^ (bits >> shift)) * np.uint32(factor)
    return bits ^ (bits >> 16)


def blur(look: Appearance, rgb: Planes, height: int, axis: int) -> Planes:
    """Blurs along rows (axis 1) or columns (0) by five Gaussian taps; honest up to about 1 px."""
    sigma = jnp.maximum(jnp.asarray(look.blur_px), 1e-3)
    taps = jnp.exp(-0.5 * (jnp.arange(-2, 3) / sigma) ** 2)
    taps = taps / taps.sum()
    edges = [(2, 2) if a == axis else (0, 0) for a in (0, 1)]

    def one(plane: jax.Array) -> jax.Array:
        grid = plane.reshape(height, -1)
        wide = jnp.pad(grid, edges, mode="edge")
        size = grid.shape[axis]
        parts = [jax.lax.slice_in_dim(wide, i, i + size, axis=axis) for i in range(5)]
        return jnp.asarray(sum(tap * part for tap, part in zip(taps, parts, strict=True))).ravel()

    return tuple(one(c) for c in rgb)


def pack(rgb: Planes) -> jax.Array:
    """Packs planes in [0, 1] into one uint32 (P,), ten bits per channel."""
    red, green, blue = ((jnp.clip(c, 0.0, 1.0) * 1023 + 0.5).astype(jnp.uint32) for c in rgb)
    return red | green << 10 | blue << 20


def unpack(packed: jax.Array) -> Planes:
    """Returns the planes that `pack` packed."""
    fields = packed & 1023, packed >> 10 & 1023, packed >> 20 & 1023
    return tuple(field.astype(jnp.int32).astype(jnp.float32) * (1 / 1023) for field in fields)
