"""Camera timing: late pictures, lost pictures, and a camera slower than its data sheet says.

    visual.frame_delay_s    s from the moment that a picture shows to its delivery: at a control
                            step the policy gets the newest picture that is at least so old
    visual.frame_dropout    probability that a picture is not delivered; the one before stays
    visual.frame_period_s   least s from one picture to the next

These are the flaws of the robot stand-in (a queue of pictures, a lost one repeats the one before).
Pictures are drawn once in a control step, so that is the resolution in time: any delay above zero
costs a whole control step, two steps' time costs two.

A world keeps its last K pictures of a camera with their ages,

    K = F + ceil(longest delay / period of the camera)

where F is how many the policy sees at once: K H W C bytes (two a number for depth). An episode
begins with K copies of its first picture, all but the newest as old as can be, as if the camera had
looked at that scene for ever. Without rows nothing but F pictures is kept, and nothing is computed.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from mjx_s2r.contract import CameraSignal
from mjx_s2r.params import Edit, ParamError, ParamSpace, apply, bind, bounds
from mjx_s2r.params.camera_rows import FRAME_ARRAYS, rows_of_camera

FOR_EVER = 2**20  # control steps: the age of what was there before the episode
_ON_TIME = {name: np.zeros((), np.float32) for name in FRAME_ARRAYS}


@dataclass(frozen=True, eq=False)
class FrameTiming:
    """The timing rows bound to one camera.

    Attributes:
        edits: the bound rows.
        control_dt: s between control steps.
        frames: F, how many pictures the policy sees at once.
        depth: K, how many are kept.
    """

    edits: tuple[Edit, ...]
    control_dt: float
    frames: int
    depth: int

    def values(self, xi: jax.Array) -> dict[str, jax.Array]:
        """Returns frame_delay_s, frame_dropout and frame_period_s (B,) for xi (B, D)."""
        now = {**_ON_TIME, **apply(jnp, _ON_TIME, self.edits, xi.T)}
        return {name: jnp.broadcast_to(value, xi.shape[:1]) for name, value in now.items()}


@struct.dataclass
class FrameQueue:
    """Pictures of one camera that B worlds keep.

    Attributes:
        pictures: (B, K, H, W, C), the newest first.
        age: (B, K) int32 control steps since each was taken; None without timing rows.
        waited: (B,) int32 control steps since the camera last tried; None likewise.
    """

    pictures: jax.Array
    age: jax.Array | None = None
    waited: jax.Array | None = None


def bind_frame_timing(
    space: ParamSpace, camera: CameraSignal, known: Sequence[str], control_dt: float
) -> FrameTiming:
    """Binds the timing rows of the table to a camera.

    Args:
        space: the table.
        camera: of the contract.
        known: names of the model's cameras.
        control_dt: s between control steps.

    Raises:
        ParamError: an unknown camera; limits that reach what cannot be; a period that is never
            longer than the camera's own.
    """
    mine = rows_of_camera(space, camera.name, known)
    chosen = [i for i in mine.chosen if space.rows[i].array in FRAME_ARRAYS]
    edits = bind(mine.space, "visual", _ON_TIME, {}, bounds.VISUAL, only=chosen)
    longest = {
        name: float(bounds.reach(value, [e for e in edits if e.array == name], space.rows)[1])
        for name, value in _ON_TIME.items()
    }
    slow = [e for e in edits if e.array == "frame_period_s"]
    if slow and longest["frame_period_s"] * camera.rate_hz <= 1 + 1e-6:
        raise ParamError(
            f"parameter {space.rows[slow[0].row].name!r}: a frame_period_s of at most "
            f"{longest['frame_period_s']:.4g} s changes nothing, since camera {camera.name!r} "
            f"takes {camera.rate_hz:g} pictures a second; raise its high limit above "
            f"{1 / camera.rate_hz:.4g} s, or drop the row"
        )
    late = math.ceil(round(longest["frame_delay_s"] * camera.rate_hz, 6))
    return FrameTiming(edits, control_dt, camera.frames, camera.frames + late)


def first_frames(spec: FrameTiming, pictures: jax.Array) -> FrameQueue:
    """Returns the queue of worlds whose camera has seen ``pictures`` (B, H, W, C) for ever.

    The newest is of this moment; the copies behind it are from before the episode.
    """
    kept = jnp.repeat(pictures[:, None], spec.depth, axis=1)
    if not spec.edits:
        return FrameQueue(kept)
    age = jnp.full(kept.shape[:2], FOR_EVER, jnp.int32)
    return FrameQueue(kept, age.at[:, 0].set(0), age[:, 0])


def age_frames(queue: FrameQueue) -> FrameQueue:
    """Returns the queue one control step later, before new pictures."""
    if queue.age is None or queue.waited is None:
        return queue
    age, waited = (jnp.minimum(x + 1, FOR_EVER) for x in (queue.age, queue.waited))
    return FrameQueue(queue.pictures, age, waited)


def take_frames(
    spec: FrameTiming,
    queue: FrameQueue,
    pictures: jax.Array,
    xi: jax.Array,
    begins: jax.Array,
    *,
    key: jax.Array,
) -> FrameQueue:
    """Returns the queue of worlds whose turn it is, with the new pictures that arrive.

    Args:
        spec: the bound rows.
        queue: of B worlds.
        pictures: (B, H, W, C) what there is to see now.
        xi: (B, D) the worlds' parameters.
        begins: (B,) bool an episode begins, for which these are the first pictures.
        key: random key of the losses.
    """
    shifted = jnp.concatenate((pictures[:, None], queue.pictures[:, :-1]), axis=1)
    first = first_frames(spec, pictures)
    if queue.age is None or queue.waited is None:
        return FrameQueue(where_world(begins, first.pictures, shifted))
    now = spec.values(xi)
    tries = queue.waited >= _steps(now["frame_period_s"], spec)
    lost = jax.random.uniform(key, tries.shape) < now["frame_dropout"]
    taken = tries & ~lost
    age = jnp.pad(queue.age[:, :-1], ((0, 0), (1, 0)))
    after = FrameQueue(
        pictures=where_world(taken, shifted, queue.pictures),
        age=where_world(taken, age, queue.age),
        waited=jnp.where(tries, 0, queue.waited),
    )
    begun = FrameQueue(first.pictures, first.age, jnp.zeros_like(queue.waited))
    return jax.tree.map(partial(where_world, begins), begun, after)


def where_world(chosen: jax.Array, one: jax.Array, other: jax.Array) -> jax.Array:
    """Returns ``one`` (B, ...) where a world is ``chosen`` (B,), else the ``other``."""
    return jnp.where(chosen.reshape(-1, *[1] * (one.ndim - 1)), one, other)


def delivered_frames(spec: FrameTiming, queue: FrameQueue, xi: jax.Array) -> jax.Array:
    """Returns (B, F, H, W, C) the last F pictures that have arrived, the newest first.

    Args:
        spec: the bound rows.
        queue: of B worlds.
        xi: (B, D) the worlds' parameters.
    """
    if queue.age is None:
        return queue.pictures
    first = _first_delivered(spec, queue.age, xi)

    def picked(pictures: jax.Array, index: jax.Array) -> jax.Array:
        return jax.lax.dynamic_slice_in_dim(pictures, index, spec.frames, axis=0)

    return jax.vmap(picked)(queue.pictures, first)


def delivered_age(spec: FrameTiming, queue: FrameQueue, xi: jax.Array) -> jax.Array:
    """Returns (B,) int32 control steps since the newest picture that has arrived was taken.

    Args:
        spec: the bound rows.
        queue: of B worlds.
        xi: (B, D) the worlds' parameters.
    """
    if queue.age is None:
        return jnp.zeros(xi.shape[:1], jnp.int32)
    first = _first_delivered(spec, queue.age, xi)
    return jnp.take_along_axis(queue.age, first[:, None], axis=1)[:, 0]


def _first_delivered(spec: FrameTiming, age: jax.Array, xi: jax.Array) -> jax.Array:
    """Returns (B,) the place of the newest picture that has arrived among those of age (B, K)."""
    late = _steps(spec.values(xi)["frame_delay_s"], spec)
    first = jnp.argmax(age >= late[:, None], axis=1)
    return jnp.minimum(first, spec.depth - spec.frames)


def _steps(seconds: jax.Array, spec: FrameTiming) -> jax.Array:
    """Returns (B,) int32 whole control steps that last at least ``seconds`` (B,)."""
    return jnp.ceil(seconds / spec.control_dt - 1e-4).astype(jnp.int32)
