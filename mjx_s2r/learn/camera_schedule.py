"""Camera schedule of B worlds: which of them are drawn at a step, and which pictures are kept.

A camera may be slower than the policy. Of one that takes a picture every E control steps, a world
is drawn at every E-th step only, and worlds take turns, so that each step draws B / E of them. A
policy may see the last F pictures at once; then they are kept per world. A world that begins an
episode starts with its first picture F times over. Rows of the table may make pictures late, lose
them or slow a camera down (`mjx_s2r.sim.effects.frame_timing`).
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
from jax.stages import Lowered, Wrapped

from mjx_s2r.contract import CameraSignal, ContractError, PolicyContract
from mjx_s2r.learn.networks.actor_critic import Images
from mjx_s2r.render.cameras import Cameras, places, poses, take_pictures
from mjx_s2r.render.geometry.pose import ScenePose
from mjx_s2r.runtime.devices import picture_compiler_options
from mjx_s2r.runtime.random_keys import LOST
from mjx_s2r.sim.backends.physics_config import ModelError
from mjx_s2r.sim.effects.frame_timing import (
    FrameQueue,
    FrameTiming,
    age_frames,
    bind_frame_timing,
    delivered_age,
    delivered_frames,
    first_frames,
    take_frames,
    where_world,
)
from mjx_s2r.sim.env import Env
from mjx_s2r.sim.interface import State
from mjx_s2r.sim.model.fields import element_names

Frames = tuple[FrameQueue, ...]  # per camera
COPIES = 3  # of a rollout's pictures at an update: by steps, stacked, and in minibatches' order
_PICTURE_TYPES = {"rgb": jnp.uint8, "depth": jnp.uint16}  # of a camera's kind, as it is drawn


def check_picture_memory(
    cameras: Sequence[CameraSignal], worlds: int, steps: int, memory: float
) -> None:
    """Checks that the pictures of a rollout fit into ``memory`` bytes, in all their copies.

    Raises:
        ModelError: they do not; names the camera that asks for most.
    """
    sizes = [
        COPIES * math.prod(c.shape) * np.dtype(_PICTURE_TYPES[c.kind]).itemsize * worlds * steps
        for c in cameras
    ]
    if sum(sizes) > memory:
        size, camera = max(zip(sizes, cameras, strict=True), key=lambda pair: pair[0])
        raise ModelError(
            f"camera {camera.name!r}: pictures of {camera.height}x{camera.width} of {worlds} "
            f"worlds over {steps} steps take {size / 1e9:.1f} GB in {COPIES} copies, and here are "
            f"{memory / 1e9:.1f} GB; take smaller pictures, fewer worlds or shorter rollouts"
        )


@dataclass(frozen=True, eq=False)
class CameraSchedule:
    """Cameras on worlds; build it with `bind_camera_schedule`.

    Attributes:
        signals: the cameras of the contract.
        period: control steps between two pictures, per camera.
        locate: worlds -> where everything is, per camera; compiled with the switches of physics.
        draw: (poses, xi (B, D), key) -> pictures (B, H, W, C) per camera; compiled with others.
        timing: the rows that make pictures late or lose them, per camera.
        params: worlds -> xi (B, D) that times them.
        begins: worlds -> (B,) bool: the next step is the first of an episode.
        look_each_step: whether a world wears a new look at every step. A policy without memory
            that sees one picture at a time cannot tell, and a rollout then shows T times as many
            looks.
        steady_share: share of the worlds that keep their look for an episode all the same.
        find: (worlds, xi (B, D)) -> (B, K, 2) per camera, where it would see the task's keypoints.
    """

    signals: tuple[CameraSignal, ...]
    period: tuple[int, ...]
    locate: Callable[[State], tuple[ScenePose, ...]]
    draw: Callable[[tuple[ScenePose, ...], jax.Array, jax.Array], tuple[jax.Array, ...]]
    timing: tuple[FrameTiming, ...]
    params: Callable[[State], jax.Array]
    begins: Callable[[State], jax.Array]
    look_each_step: bool = False
    steady_share: float = 0.0
    find: Callable[[State, jax.Array], tuple[jax.Array, ...]] = lambda worlds, xi: ()

    @property
    def takes_turns(self) -> bool:
        """Whether worlds wait for their turn, so that a new episode needs pictures before it."""
        return any(every > 1 for every in self.period)

    @property
    def stacks_frames(self) -> bool:
        """Whether a policy sees a picture for longer than a control step, timing rows apart."""
        return any(e > 1 or c.frames > 1 for e, c in zip(self.period, self.signals, strict=True))

    @property
    def keeps_frames(self) -> bool:
        """Whether a world's pictures outlive a control step."""
        return self.stacks_frames or any(timing.edits for timing in self.timing)

    def keeps_look(self, worlds: int) -> np.ndarray:
        """Returns (B,) bool: which of so many worlds keep their look for an episode."""
        if not self.look_each_step:
            return np.ones(worlds, bool)
        edges = np.floor(np.arange(worlds + 1) * self.steady_share + 1e-9)
        return np.diff(edges) > 0

    def enough_worlds(self, least: int) -> int:
        """Returns the smallest number of worlds from ``least`` on that can take turns."""
        turns = math.lcm(*self.period)
        return -(-least // turns) * turns

    def check_num_envs(self, worlds: int) -> None:
        """Proves that so many worlds can take turns.

        Raises:
            ContractError: they do not divide by the control steps between two pictures.
        """
        for signal, every in zip(self.signals, self.period, strict=True):
            if worlds % every:
                raise ContractError(
                    f"{worlds} worlds cannot take turns of {every} steps before camera "
                    f"{signal.name!r} at {signal.rate_hz:g} Hz; use a multiple of {every}, as "
                    f"{self.enough_worlds(worlds)}"
                )

    def pictures(self, worlds: State, xi: jax.Array, key: jax.Array) -> tuple[jax.Array, ...]:
        """Returns (B, H, W, C) per camera: what there is to see now."""
        return self.draw(self.locate(worlds), xi, key)

    def programs(self, worlds: State, xi: jax.Array, key: jax.Array) -> Iterator[Lowered]:
        """Yields the programs that look at B worlds, or their shapes; traced, not run.

        Where worlds take turns before a camera, those of a turn are compiled when first called.
        """
        where = jax.eval_shape(self.locate, worlds)
        parts: list[tuple[Any, tuple[Any, ...]]] = [(self.find, (worlds, xi))]
        if 1 in self.period:
            parts = [(self.draw, (where, xi, key)), *parts, (self.locate, (worlds,))]
        for part, given in parts:
            if isinstance(part, Wrapped):
                yield part.lower(*given)

    def image_shapes(self, worlds: int) -> tuple[jax.ShapeDtypeStruct, ...]:
        """Returns shapes and types of what the policies of so many worlds see."""
        return tuple(
            jax.ShapeDtypeStruct((worlds, *c.shape), _PICTURE_TYPES[c.kind]) for c in self.signals
        )

    def frame_shapes(self, worlds: int) -> Frames:
        """Returns shapes and types of the frames of so many worlds."""
        if not self.keeps_frames:
            return ()
        pictures = [
            jax.ShapeDtypeStruct((worlds, c.height, c.width, c.channels), _PICTURE_TYPES[c.kind])
            for c in self.signals
        ]
        return cast(Frames, jax.eval_shape(lambda *x: _begun(self.timing, x), *pictures))

    def initial(self, worlds: State, xi: jax.Array, key: jax.Array) -> Frames:
        """Returns the frames of worlds whose cameras have seen what is there now for ever."""
        if not self.keeps_frames:
            return ()
        return cast(Frames, _begun(self.timing, self.pictures(worlds, xi, key)))

    def observe(
        self, frames: Frames, worlds: State, xi: jax.Array, step: int | jax.Array, key: jax.Array
    ) -> tuple[Frames, Images]:
        """Draws the worlds whose turn it is; returns the frames and what the policy sees.

        Args:
            frames: what was kept, from `initial` or here.
            worlds: B worlds.
            xi: (B, D) whose visual rows give each world its look.
            step: control steps so far; it says whose turn it is.
            key: random key for pixel noise and lost pictures.
        """
        if not self.keeps_frames:
            images = self.pictures(worlds, xi, key)
            return (), images
        timed, begins = self.params(worlds), self.begins(worlds)
        if any(timing.edits for timing in self.timing):
            frames = _aged(frames)
        for every in sorted(set(self.period)):
            turn = jnp.int32(-step % every)
            due = worlds if every == 1 else _turn(every, worlds, turn)
            look = xi if every == 1 else _turn(every, xi, turn)
            pictures = self.pictures(due, look, key)
            given = pictures, (timed, begins), turn, key
            frames = _wind(self.timing, self.period, every, frames, *given)
        return frames, _stack(self.timing, frames, timed)

    def picture_age(self, frames: Frames, worlds: State) -> jax.Array:
        """Returns (B,) int32 control steps since what the policy sees now was drawn.

        It is -1 where cameras differ.

        Args:
            frames: as `observe` returned them.
            worlds: the worlds that were observed.
        """
        xi = self.params(worlds)
        if not frames:
            return jnp.zeros(xi.shape[:1], jnp.int32)
        return cast(jax.Array, _ages(self.timing, frames, xi))

    def places(self, worlds: State, xi: jax.Array, age: jax.Array) -> tuple[jax.Array, ...]:
        """Returns (B, K, 2) per camera: where the picture just observed shows the keypoints.

        Columns and rows go from -1 to 1; a place is NaN where the picture is not of this step.

        Args:
            worlds: the worlds that were observed.
            xi: (B, D) the looks that were drawn.
            age: (B,) of the picture, from `picture_age`.
        """
        found = self.find(worlds, xi)
        now = [(age == 0)[:, None, None] & (every == 1) for every in self.period]
        return tuple(jnp.where(*pair, jnp.nan) for pair in zip(now, found, strict=True))

    def fresh(self, worlds: State, xi: jax.Array, key: jax.Array) -> Frames:
        """Returns the frames of fresh worlds; () where all begin with their next picture."""
        return self.initial(worlds, xi, key) if self.takes_turns else ()

    def auto_reset(self, frames: Frames, fresh: Frames, worlds: State) -> Frames:
        """Returns the frames, ``fresh`` where a world has just begun an episode."""
        return cast(Frames, _restart(frames, fresh, worlds.done)) if self.takes_turns else frames


def bind_camera_schedule(
    env: Env,
    cameras: Cameras,
    contract: PolicyContract,
    *,
    look_each_step: bool = False,
    steady_share: float = 0.0,
) -> CameraSchedule:
    """Binds cameras to an environment.

    Raises:
        ContractError: a camera whose rate does not divide the control rate.
    """
    every = []
    for c in contract.cameras:
        steps = round(contract.control_hz / c.rate_hz)
        if steps < 1 or abs(steps * c.rate_hz - contract.control_hz) > 1e-6 * contract.control_hz:
            raise ContractError(
                f"camera {c.name!r}: {c.rate_hz} Hz is no whole part of the control rate "
                f"{contract.control_hz} Hz; use {contract.control_hz / max(steps, 1):g} Hz"
            )
        every.append(steps)

    # Kinematics is physics: under the switches of pictures it would take 100 times as long.
    @jax.jit
    def locate(worlds: State) -> tuple[ScenePose, ...]:
        """Returns where everything is, with the sizes and the ground that each world has."""
        return poses(cameras, jax.vmap(env.positions)(worlds), worlds.pipeline_state.leaves)

    @jax.jit
    def find(worlds: State, xi: jax.Array) -> tuple[jax.Array, ...]:
        """Returns where each camera sees the keypoints."""
        return places(cameras, locate(worlds), xi, jax.vmap(env.keypoints)(worlds))

    paint = jax.jit(
        lambda where, xi, key: take_pictures(cameras, where, xi, key=key),
        compiler_options=picture_compiler_options(),
    )
    known = element_names(env.task.mj_model, "camera")
    timing = tuple(
        bind_frame_timing(env.space, c, known, 1 / contract.control_hz) for c in contract.cameras
    )
    out = CameraSchedule(
        signals=contract.cameras,
        period=tuple(every),
        locate=locate,
        draw=paint,
        timing=timing,
        params=jax.jit(jax.vmap(env.current_params)),
        find=find,
        begins=lambda worlds: jnp.asarray(worlds.pipeline_state.steps == 0),
    )
    each_step = look_each_step and steady_share < 1 and not out.stacks_frames
    return replace(out, look_each_step=each_step, steady_share=steady_share)


@partial(jax.jit, static_argnums=0)
def _begun(timing: tuple[FrameTiming, ...], pictures: tuple[jax.Array, ...]) -> Frames:
    """Returns the frames of worlds whose cameras have seen ``pictures`` for ever."""
    return tuple(first_frames(*pair) for pair in zip(timing, pictures, strict=True))


@partial(jax.jit, donate_argnums=0)
def _aged(frames: Frames) -> Frames:
    """Returns the frames one control step later."""
    return tuple(age_frames(queue) for queue in frames)


@partial(jax.jit, static_argnums=0)
def _turn(every: int, tree: Any, turn: jax.Array) -> Any:
    """Returns every ``every``-th world of a tree (B, ...), from world ``turn`` on."""

    def pick(leaf: jax.Array) -> jax.Array:
        split = leaf.reshape(leaf.shape[0] // every, every, *leaf.shape[1:])
        return jax.lax.dynamic_index_in_dim(split, turn, axis=1, keepdims=False)

    return jax.tree.map(pick, tree)


@partial(jax.jit, static_argnums=(0, 1, 2), donate_argnums=3)
def _wind(
    timing: tuple[FrameTiming, ...],
    steps: tuple[int, ...],
    every: int,
    frames: Frames,
    pictures: tuple[jax.Array, ...],
    worlds: tuple[jax.Array, jax.Array],
    turn: jax.Array,
    key: jax.Array,
) -> Frames:
    """Returns the frames with new ``pictures`` in front, where a camera takes turns of ``every``.

    Pictures are those of the worlds whose turn it is; xi (B, D) and (B,) which of them begin an
    episode are given of all ``worlds``.
    """
    out = []
    parts = zip(timing, frames, pictures, steps, strict=True)
    for index, (spec, queue, new, own) in enumerate(parts):
        if own != every:
            out.append(queue)
            continue
        due, (xi, begins) = _turn(every, (queue, worlds), turn)
        lost = jax.random.fold_in(jax.random.fold_in(key, LOST), index)
        taken = take_frames(spec, due, new, xi, begins, key=lost)
        out.append(jax.tree.map(partial(_put_back, every, turn), queue, taken))
    return tuple(out)


def _put_back(every: int, turn: jax.Array, leaf: jax.Array, part: jax.Array) -> jax.Array:
    """Returns a ``leaf`` (B, ...) with ``part`` in the place of what `_turn` took out."""
    split = leaf.reshape(leaf.shape[0] // every, every, *leaf.shape[1:])
    return jax.lax.dynamic_update_index_in_dim(split, part, turn, axis=1).reshape(leaf.shape)


@partial(jax.jit, static_argnums=0)
def _stack(timing: tuple[FrameTiming, ...], frames: Frames, xi: jax.Array) -> Images:
    """Returns what the policy sees: the frames of each world side by side along the channels."""
    told = [delivered_frames(*pair, xi) for pair in zip(timing, frames, strict=True)]
    return tuple(jnp.moveaxis(x, 1, 3).reshape(*x.shape[:1], *x.shape[2:4], -1) for x in told)


@partial(jax.jit, static_argnums=0)
def _ages(timing: tuple[FrameTiming, ...], frames: Frames, xi: jax.Array) -> jax.Array:
    """Returns (B,) the age of the newest picture of every camera, -1 where they differ."""
    ages = jnp.stack([delivered_age(*pair, xi) for pair in zip(timing, frames, strict=True)])
    return jnp.where((ages == ages[0]).all(0), ages[0], -1)


@partial(jax.jit, donate_argnums=0)
def _restart(frames: Frames, fresh: Frames, done: jax.Array) -> Frames:
    """Returns ``fresh`` frames where an episode has ended, else the old ones."""
    return cast(Frames, jax.tree.map(partial(where_world, done > 0), fresh, frames))
