"""Image augmentation: random shift (Kostrikov et al. 2020, DrQ), edges replicated."""

import jax
import jax.numpy as jnp

from mjx_s2r.contract import DEPTH_CODES


def to_float(images: jax.Array) -> jax.Array:
    """Returns images (N, H, W, C) as float32 in [-0.5, 0.5], for image encoders.

    Colours are uint8; depths are the uint16 codes of `mjx_s2r.contract.encode_depth`. What is
    float already has been through here, and stays as it is.
    """
    if jnp.issubdtype(images.dtype, jnp.floating):
        return images
    most = DEPTH_CODES if images.dtype == jnp.uint16 else 255
    return images.astype(jnp.float32) / float(most) - 0.5


def random_shift(images: jax.Array, pixels: int, *, key: jax.Array) -> jax.Array:
    """Returns images (N, H, W, C), each moved by up to ``pixels`` up, down, left and right."""
    if pixels == 0:
        return images
    height, width = images.shape[1:3]
    edge = ((pixels, pixels), (pixels, pixels), (0, 0))
    corners = jax.random.randint(key, (images.shape[0], 2), 0, 2 * pixels + 1)

    def shift(image: jax.Array, corner: jax.Array) -> jax.Array:
        padded = jnp.pad(image, edge, mode="edge")
        start = (corner[0], corner[1], 0)
        return jax.lax.dynamic_slice(padded, start, (height, width, image.shape[-1]))

    return jax.vmap(shift)(images, corners)
