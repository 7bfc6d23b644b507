"""python -m train view --task reach, or --run runs/teacher: look at worlds, or record a run.

Writes into --out: worlds.png, random worlds as a student sees them; beside.png, the nominal world
by this renderer and by MuJoCo's, with depth, normals and segmentation; for a run, episode.html, a
film of its policy in worlds drawn from the ranges it was trained on, beside MuJoCo's picture of the
same; with --photo, overlay.png, the picture over a photograph, to align a camera.

With --browser nothing is written: the policy of a run is shown live, with a slider for each row.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import tyro

from envs.tasks import make_task
from mjx_s2r.contract import CameraSignal, camera_signal
from mjx_s2r.devices import picture_options
from mjx_s2r.params import ParamError, ParamSpace
from mjx_s2r.render import camera, pool, raycast
from mjx_s2r.render.appearance import appearance, bind_appearance
from mjx_s2r.render.composite import overlay
from mjx_s2r.render.eye import bind_cameras, poses, take_pictures
from mjx_s2r.render.mosaic import write_mosaic
from mjx_s2r.render.scene import build
from mjx_s2r.render.stock import RenderConfig, stock_of
from mjx_s2r.sim.env import Env, make
from mjx_s2r.sim.interface import Draw, State
from mjx_s2r.sim.task import Task, seen_by
from train.browser import require, show
from train.common import console
from train.film import film_page, mujoco_pictures
from train.record import load_pilot, record


@dataclass(frozen=True)
class ViewConfig:
    """Settings of the pictures."""

    task: str = "reach"
    """Name of a task, or module:Class; a run brings its own."""
    run: Path | None = None
    """Folder of a teacher's or student's run, to record an episode of."""
    out: Path = Path("runs/view")
    """Folder that the pictures go to."""
    worlds: int = 40
    """How many worlds."""
    columns: int = 10
    """Worlds in a row."""
    seed: int = 0
    """Seed of the worlds."""
    px: int = 240
    """Height and width of the large pictures."""
    cameras: tuple[str, ...] = ()
    """Cameras instead of the task's: NAME:HEIGHTxWIDTH@RATE."""
    browser: bool = False
    """Show the policy of the run live in a browser instead; pip install 'mjx_s2r[viewer]'."""
    port: int = 8080
    """Port of that page."""
    photo: Path | None = None
    """A photograph by the real camera, to lay the nominal picture over."""
    render: RenderConfig = field(default_factory=RenderConfig)
    """How pictures are made."""


def main(argv: Sequence[str]) -> None:
    """Parses the command line and writes the pictures."""
    config = tyro.cli(ViewConfig, args=list(argv))
    if config.browser:
        browse(config)
        return
    recording = None if config.run is None else record(config.run, config.seed)
    task = make_task(config.task) if recording is None else recording.task
    task = seen_by(task, [camera_signal(text) for text in config.cameras] or _found(task))
    config.out.mkdir(parents=True, exist_ok=True)
    env = make(task)
    _worlds(config, env)
    view = task.contract.cameras[0]
    nominal = jax.jit(env.reset)(jax.random.key(config.seed))
    _beside(config, env, view, nominal)
    if recording is not None:
        path = config.out / "episode.html"
        path.write_text(film_page(recording, view, config.px, config.render))
        console.print(
            f"{path}: {len(recording.xi)} worlds, below them MuJoCo's picture of the same"
        )


def browse(config: ViewConfig) -> None:
    """Shows the policy of a run in a browser until Ctrl-C.

    Raises:
        ParamError: no run is named, or viser is not installed.
    """
    if config.run is None:
        raise ParamError("--browser shows a trained policy; name its run, e.g. --run runs/teacher")
    viser = require()
    show(load_pilot(config.run), viser.ViserServer(port=config.port), config.seed)


def _found(task: Task) -> list[CameraSignal]:
    """Returns the model's first camera for a task that has none in its contract, else nothing.

    Raises:
        ParamError: the model has no camera either.
    """
    if task.contract.cameras:
        return []
    names = [task.mj_model.camera(i).name for i in range(task.mj_model.ncam)]
    if not any(names):
        raise ParamError(
            f"task {task.name!r} has no camera in its contract, and its model has none with a "
            'name; add one to the model, e.g. <camera name="front" pos="0 -2 1" '
            'xyaxes="1 0 0 0 0.4 1"/>, or look at a run with --browser'
        )
    return [CameraSignal(next(filter(None, names)), 64, 64, task.contract.control_hz)]


def _worlds(config: ViewConfig, env: Env) -> None:
    """Writes worlds.png: worlds over the limits of the table, the first nominal."""
    task, count = env.task, config.worlds
    key_xi, key_reset, key_noise = jax.random.split(jax.random.key(config.seed), 3)
    unit = jax.random.uniform(key_xi, (count, len(task.space)))
    xi = task.space.sample(jnp, unit, *jnp.asarray(task.space.limits))
    xi = xi.at[0].set(task.space.nominal)
    none = jnp.full((count,), -1, jnp.int32)
    worlds = jax.jit(jax.vmap(env.reset))(
        jax.random.split(key_reset, count), Draw(xi, none, jnp.zeros_like(none))
    )
    bound = bind_cameras(task.space, task.mj_model, task.contract, config.render)
    sizes = worlds.pipeline_state.leaves.get("geom_size")
    where = poses(bound, jax.jit(jax.vmap(env.view))(worlds), sizes)
    draw = jax.jit(
        lambda where, xi, key: take_pictures(bound, where, xi, key=key),
        compiler_options=picture_options(),
    )
    taken = draw(where, xi, key_noise)
    for index, (signal, pictures) in enumerate(zip(task.contract.cameras, taken, strict=True)):
        path = config.out / (f"worlds_{signal.name}.png" if index else "worlds.png")
        write_mosaic(path, np.asarray(pictures), config.columns, zoom=2)
        console.print(f"{path}: {count} worlds over the limits of the table, the first nominal")


def _beside(config: ViewConfig, env: Env, view: CameraSignal, state: State) -> None:
    """Writes beside.png, and overlay.png where there is a photograph."""
    task = env.task
    scene = build(task.mj_model, view.name, config.px, config.px)
    for thing in scene.left_out:
        console.print(f"not drawn: {thing}")
    binding = bind_appearance(ParamSpace(()), task.mj_model, view.name)
    stock = stock_of(task.mj_model, scene, binding, replace(config.render, foreground=()))
    where = camera.pose(scene, jax.jit(env.view)(state))
    one = jax.tree.map(lambda x: x[None], (where, appearance(binding, jnp.zeros(0))))
    outputs = ("rgb", "depth", "segmentation", "normal")
    draw = jax.jit(
        lambda where, look: raycast.render(scene, where, look, stock=stock, outputs=outputs),
        compiler_options=picture_options(),
    )
    image = jax.tree.map(lambda x: x[0], draw(*one))
    ours = np.asarray(image.rgb)
    panels = [ours]
    cores = [state.pipeline_state.core]
    theirs = mujoco_pictures(task.mj_model, view.name, config.px, cores)
    if theirs is not None:
        panels += [theirs[0], np.abs(ours.astype(int) - theirs[0]).astype(np.uint8)]
    panels += [_grey(image.depth), _tinted(image.normal), _labelled(image.segmentation)]
    path = config.out / "beside.png"
    write_mosaic(path, np.stack(panels), len(panels))
    with_mujoco = "" if theirs is None else ", MuJoCo's, their difference"
    console.print(f"{path}: this renderer{with_mujoco}, depth, normals, segmentation")
    if config.photo is not None:
        photo = pool.photographs([str(config.photo)], config.px, config.px)[0]
        laid = config.out / "overlay.png"
        write_mosaic(laid, np.stack([photo, overlay(ours, photo), ours]), 3)
        console.print(f"{laid}: the photograph, both, the nominal picture")


def _grey(depth: Any) -> np.ndarray:
    """Returns a depth picture (H, W) as grey, near bright, the sky black: (H, W, 3) uint8."""
    depth = np.asarray(depth)
    seen = depth > 0
    inverse = np.where(seen, 1 / np.where(seen, depth, 1), 0)
    grey = 255 * inverse / max(float(inverse.max()), 1e-9)
    return np.repeat(grey[..., None], 3, axis=-1).astype(np.uint8)


def _tinted(normal: Any) -> np.ndarray:
    """Returns normals (H, W, 3) as colours: (H, W, 3) uint8."""
    return (127.5 * (np.asarray(normal) + 1)).astype(np.uint8)


def _labelled(ids: Any) -> np.ndarray:
    """Returns a segmentation (H, W) with a colour of its own for each id: (H, W, 3) uint8."""
    ids = np.asarray(ids)
    colours = np.random.default_rng(1).integers(60, 255, (int(ids.max()) + 2, 3))
    colours[0] = 0
    return colours[ids + 1].astype(np.uint8)
