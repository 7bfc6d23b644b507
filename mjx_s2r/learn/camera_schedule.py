"""Camera schedule of B worlds: which of them are drawn at a step, and which pictures are kept.

A camera may be slower than the policy. Of one that takes a picture every E control steps, a world
is drawn at every E-th step only, and worlds take turns, so that each step draws B / E of them. A
policy may see the last F pictures at once; then they are kept per world. A world that begins an
episode starts with its first picture F times over.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, cast

import jax
import jax.numpy as jnp

from mjx_s2r.contract import CameraSignal, ContractError, PolicyContract
from mjx_s2r.learn.networks.actor_critic import Images
from mjx_s2r.render.cameras import Cameras, poses, take_pictures
from mjx_s2r.render.geometry.pose import ScenePose
from mjx_s2r.runtime.devices import gradient_compiler_options
from mjx_s2r.sim.env import Env
from mjx_s2r.sim.interface import State

Frames = tuple[jax.Array, ...]  # per camera, (B, F, H, W, 3) uint8, newest first


@dataclass(frozen=True, eq=False)
class CameraSchedule:
    """Cameras on worlds; build it with `bind_camera_schedule`.

    Attributes:
        signals: the cameras of the contract.
        period: control steps between two pictures, per camera.
        locate: worlds -> where everything is, per camera; compiled with the switches of physics.
        draw: (poses, xi (B, D), key) -> pictures (B, H, W, 3) per camera; compiled with others.
        look_each_step: whether a world wears a new look at every step. A policy without memory
            that sees one picture at a time cannot tell, and a rollout then shows T times as many
            looks.
    """

    signals: tuple[CameraSignal, ...]
    period: tuple[int, ...]
    locate: Callable[[State], tuple[ScenePose, ...]]
    draw: Callable[[tuple[ScenePose, ...], jax.Array, jax.Array], tuple[jax.Array, ...]]
    look_each_step: bool = False

    @property
    def keeps_frames(self) -> bool:
        """Whether a world's pictures outlive a control step."""
        return any(e > 1 or c.frames > 1 for e, c in zip(self.period, self.signals, strict=True))

    def check_num_envs(self, worlds: int) -> None:
        """Proves that so many worlds can take turns.

        Raises:
            ValueError: they do not divide by the control steps between two pictures.
        """
        for signal, every in zip(self.signals, self.period, strict=True):
            if worlds % every:
                raise ValueError(
                    f"{worlds} worlds cannot take turns of {every} steps before camera "
                    f"{signal.name!r} at {signal.rate_hz} Hz; use a multiple of {every}"
                )

    def pictures(self, worlds: State, xi: jax.Array, key: jax.Array) -> tuple[jax.Array, ...]:
        """Returns (B, H, W, 3) uint8 per camera: what there is to see now."""
        return self.draw(self.locate(worlds), xi, key)

    def frame_shapes(self, worlds: int) -> tuple[jax.ShapeDtypeStruct, ...]:
        """Returns shapes and type of the frames of so many worlds."""
        if not self.keeps_frames:
            return ()
        shapes = [(worlds, c.frames, c.height, c.width, 3) for c in self.signals]
        return tuple(jax.ShapeDtypeStruct(shape, jnp.uint8) for shape in shapes)

    def initial(self, worlds: State, xi: jax.Array, key: jax.Array) -> Frames:
        """Returns the frames of worlds at the start of an episode."""
        if not self.keeps_frames:
            return ()
        return cast(Frames, _repeat(self.signals, self.pictures(worlds, xi, key)))

    def observe(
        self, frames: Frames, worlds: State, xi: jax.Array, step: int, key: jax.Array
    ) -> tuple[Frames, Images]:
        """Draws the worlds whose turn it is; returns the frames and what the policy sees.

        Args:
            frames: what was kept, from `initial` or here.
            worlds: B worlds.
            xi: (B, D) whose visual rows give each world its look.
            step: control steps so far; it says whose turn it is.
            key: random key for pixel noise.
        """
        if not self.keeps_frames:
            images = self.pictures(worlds, xi, key)
            return (), images
        for every in sorted(set(self.period)):
            turn = jnp.int32(-step % every)
            due = worlds if every == 1 else _turn(every, worlds, turn)
            look = xi if every == 1 else _turn(every, xi, turn)
            frames = _wind(self.period, every, frames, self.pictures(due, look, key), turn)
        return frames, _stack(frames)

    def auto_reset(self, frames: Frames, fresh: Frames, worlds: State) -> Frames:
        """Returns the frames, ``fresh`` where a world has just begun an episode."""
        return cast(Frames, _restart(frames, fresh, worlds.done)) if self.keeps_frames else ()


def bind_camera_schedule(
    env: Env, cameras: Cameras, contract: PolicyContract, *, look_each_step: bool = False
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
        """Returns where everything is, with the sizes that each world's geoms have."""
        sizes = worlds.pipeline_state.leaves.get("geom_size")
        return poses(cameras, jax.vmap(env.positions)(worlds), sizes)

    paint = jax.jit(
        lambda where, xi, key: take_pictures(cameras, where, xi, key=key),
        compiler_options=gradient_compiler_options(),
    )
    out = CameraSchedule(contract.cameras, tuple(every), locate, paint)
    return replace(out, look_each_step=look_each_step and not out.keeps_frames)


@partial(jax.jit, static_argnums=0)
def _repeat(signals: tuple[CameraSignal, ...], pictures: tuple[jax.Array, ...]) -> Frames:
    """Returns stacks (B, F, H, W, 3) of one picture F times."""
    pairs = zip(pictures, signals, strict=True)
    return tuple(jnp.repeat(picture[:, None], c.frames, axis=1) for picture, c in pairs)


@partial(jax.jit, static_argnums=0)
def _turn(every: int, tree: Any, turn: jax.Array) -> Any:
    """Returns every ``every``-th world of a tree (B, ...), from world ``turn`` on."""

    def pick(leaf: jax.Array) -> jax.Array:
        split = leaf.reshape(leaf.shape[0] // every, every, *leaf.shape[1:])
        return jax.lax.dynamic_index_in_dim(split, turn, axis=1, keepdims=False)

    return jax.tree.map(pick, tree)


@partial(jax.jit, static_argnums=(0, 1), donate_argnums=2)
def _wind(
    steps: tuple[int, ...],
    every: int,
    frames: Frames,
    pictures: tuple[jax.Array, ...],
    turn: jax.Array,
) -> Frames:
    """Returns the films with new ``pictures`` in front, where a camera takes turns of ``every``."""
    out = []
    for kept, new, own in zip(frames, pictures, steps, strict=True):
        if own != every:
            out.append(kept)
            continue
        split = kept.reshape(kept.shape[0] // every, every, *kept.shape[1:])
        old = jax.lax.dynamic_index_in_dim(split, turn, axis=1, keepdims=False)
        wound = jnp.concatenate((new[:, None], old[:, :-1]), axis=1)
        split = jax.lax.dynamic_update_index_in_dim(split, wound, turn, axis=1)
        out.append(split.reshape(kept.shape))
    return tuple(out)


@jax.jit
def _stack(frames: Frames) -> Images:
    """Returns what the policy sees: the frames of each world side by side along the channels."""
    return tuple(
        jnp.moveaxis(kept, 1, 3).reshape(*kept.shape[:1], *kept.shape[2:4], -1) for kept in frames
    )


@partial(jax.jit, donate_argnums=0)
def _restart(frames: Frames, fresh: Frames, done: jax.Array) -> Frames:
    """Returns ``fresh`` films where an episode has ended, else the old ones."""
    over = (done > 0)[:, None, None, None, None]
    return jax.tree.map(lambda new, old: jnp.where(over, new, old), fresh, frames)
