"""Discernibility: how well a linear classifier tells features of two domains apart.

A probe, not a loss: policies that work on both domains may well tell them apart, but a number
before and after an adaptation says whether it did anything to the features.
"""

import jax
import jax.numpy as jnp

FOLDS = 5
RIDGE = 0.1  # beside features of variance one


def discernibility(a: jax.Array, b: jax.Array) -> jax.Array:
    """Returns () the accuracy of a linear classifier on rows that it was not fitted to.

    It is fitted by least squares to -1 and +1 with a ridge of `RIDGE`, over features of variance
    one; both clouds weigh the same, and the accuracy is the mean of both. 0.5 tells nothing apart,
    1 everything. Each of `FOLDS` stretches of rows is held out in turn: give rows in the order of
    recording, so that a picture is not judged by its neighbour in time.

    Args:
        a: (N, F).
        b: (M, F).

    Raises:
        ValueError: fewer rows than stretches, or different sizes.
    """
    if min(a.shape[0], b.shape[0]) < FOLDS or a.shape[1:] != b.shape[1:] or a.ndim != 2:
        raise ValueError(
            f"features of shapes {a.shape} and {b.shape}: (samples, features) of the same features "
            f"and {FOLDS} samples at least are expected"
        )
    folds = jnp.arange(FOLDS)
    inside = [jnp.arange(len(x)) * FOLDS // len(x) == folds[:, None] for x in (a, b)]
    right = jax.vmap(_right, (None, None, 0, 0))(a, b, *inside)
    shares = [jnp.sum(r) / len(x) for r, x in zip(right, (a, b), strict=True)]
    return jnp.mean(jnp.stack(shares))


def _right(
    a: jax.Array, b: jax.Array, held_a: jax.Array, held_b: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Returns how many of the held-out rows of each cloud are on the right side."""
    x = jnp.concatenate((a, b))
    fitted = jnp.concatenate([_share(~held) for held in (held_a, held_b)])
    answers = jnp.concatenate((-jnp.ones(len(a)), jnp.ones(len(b))))
    mean = fitted @ x
    centred = x - mean
    scaled = centred / jnp.sqrt(fitted @ centred**2 + 1e-12)
    weighted = scaled * fitted[:, None]
    square = weighted.T @ scaled + RIDGE * jnp.eye(x.shape[1])
    line = jnp.linalg.solve(square, weighted.T @ answers)
    side = 0.5 * (1 + jnp.sign((scaled @ line) * answers))  # on the line: half right
    return jnp.sum(side[: len(a)] * held_a), jnp.sum(side[len(a) :] * held_b)


def _share(chosen: jax.Array) -> jax.Array:
    """Returns weights (N,) of chosen rows, half in all."""
    return 0.5 * chosen / jnp.sum(chosen)
