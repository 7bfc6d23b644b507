"""python -m train view --task reach, or --run runs/teacher: look at worlds, or record a run.

Writes into --out: for a run, episode.html, a film of its policy in worlds drawn from the ranges it
was trained on, with MuJoCo's picture of the same; worlds.png, random worlds as a student sees them;
beside.png, the nominal world by this renderer and by MuJoCo's, with depth, normals and
segmentation, a row for each camera; with --photo, overlay.png, the picture over a photograph, to
align a camera.

With --browser nothing is written: the policy of a run is shown live, with a slider for each row.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import tyro
from PIL import Image

from mjx_s2r.api.look import see_worlds
from mjx_s2r.bridge.registry import LIBRARIES
from mjx_s2r.contract import CameraSignal, camera_signal
from mjx_s2r.envs.registry import make_task
from mjx_s2r.io.run import check_writable
from mjx_s2r.params import ParamError
from mjx_s2r.render.cameras import to_rgb
from mjx_s2r.render.looks import textures
from mjx_s2r.render.looks.assets import RenderConfig
from mjx_s2r.report.flight_film import following_camera
from mjx_s2r.report.media import mosaic, write_png
from mjx_s2r.runtime.progress import print_line
from mjx_s2r.sim.env import Env, make
from mjx_s2r.sim.interface import EpisodeParams
from mjx_s2r.sim.physics import PhysicsState
from mjx_s2r.sim.task import Task, seen_by
from train.viewer.browser import require, show
from train.viewer.film import film_page
from train.viewer.panels import Panel, panels, render_cameras
from train.viewer.pilot import load_viewer, record_episode


@dataclass(frozen=True)
class ViewConfig:
    """Settings of the pictures."""

    task: str = "reach"
    """Name of a task, or module:Class; a run brings its own."""
    run: Path | None = None
    """Folder of a teacher's or student's run, to record an episode of."""
    iteration: int | None = None
    """Checkpoint of the run; by default the newest."""
    out: Path = Path("runs/view")
    """Folder that the pictures go to."""
    num_envs: int = 40
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
    check_writable(config.out)
    recording = (
        None if config.run is None else record_episode(config.run, config.seed, config.iteration)
    )
    task = _named(config.task) if recording is None else recording.task
    task = seen_by(task, [camera_signal(text) for text in config.cameras] or _found(task))
    if recording is not None:
        path = config.out / "episode.html"
        path.write_text(film_page(recording, task.contract.cameras[0], config.px, config.render))
        print_line(f"{path}: {len(recording.xi)} worlds, below them MuJoCo's picture of the same")
    print_line(
        f"{config.num_envs} worlds of {task.name}; compiling, some minutes for a large robot"
    )
    env = make(task)
    _beside(config, env, *_worlds(config, env))


def browse(config: ViewConfig) -> None:
    """Shows the policy of a run in a browser until Ctrl-C.

    Raises:
        ParamError: no run is named, or viser is not installed.
    """
    if config.run is None:
        raise ParamError("--browser shows a trained policy; name its run, e.g. --run runs/teacher")
    viser = require()
    viewer = load_viewer(config.run, config.iteration)
    server = viser.ViserServer(port=config.port)
    try:
        show(viewer, server, config.seed)
    except KeyboardInterrupt:
        print_line("the page is closed")
    finally:
        server.stop()


def _named(name: str) -> Task:
    """Returns the task called ``name``.

    Raises:
        ParamError: an unknown name, or another library's environment.
    """
    if name.partition(":")[0] in LIBRARIES:
        raise ParamError(
            f"task {name!r} is another library's environment: it can be trained, and not be looked "
            "at; write the task as mjx_s2r/envs/cartpole.py does"
        )
    return make_task(name)


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


def _worlds(config: ViewConfig, env: Env) -> tuple[Any, PhysicsState]:
    """Writes worlds.png: worlds over the limits of the table, the first nominal.

    Returns where everything is in that first world, and its physics state.
    """
    task, count = env.task, config.num_envs
    key_xi, key_reset, key_noise = jax.random.split(jax.random.key(config.seed), 3)
    unit = jax.random.uniform(key_xi, (count, len(task.space)))
    xi = task.space.sample(jnp, unit, *jnp.asarray(task.space.limits))
    xi = xi.at[0].set(task.space.nominal)
    none = jnp.full((count,), -1, jnp.int32)
    worlds = jax.jit(jax.vmap(env.reset))(
        jax.random.split(key_reset, count), EpisodeParams(xi, none, jnp.zeros_like(none))
    )
    taken = see_worlds(env, worlds, config=config.render, key=key_noise)
    for index, (signal, pictures) in enumerate(zip(task.contract.cameras, taken, strict=True)):
        path = config.out / (f"worlds_{signal.name}.png" if index else "worlds.png")
        write_png(path, mosaic(to_rgb(pictures), config.columns), zoom=2)
        print_line(f"{path}: {count} worlds over the limits of the table, the first nominal")
    nominal = jax.tree.map(lambda leaf: leaf[0], worlds)
    return jax.jit(env.positions)(nominal), nominal.pipeline_state.physics_state


def _beside(config: ViewConfig, env: Env, data: Any, core: PhysicsState) -> None:
    """Writes beside.png of a nominal world, and overlay.png where there is a photograph.

    Args:
        config: the settings.
        env: the environment.
        data: where everything is in that world.
        core: its physics state.
    """
    task = env.task
    followers = following_camera(task.mj_model)
    names = list(dict.fromkeys((*(c.name for c in task.contract.cameras), *followers)))
    images, left_out = render_cameras(task.mj_model, names, config.px, data, config.render)
    for thing in left_out:
        print_line(f"not drawn: {thing}")
    rows = [
        panels(task.mj_model, name, image, core) for name, image in zip(names, images, strict=True)
    ]
    path = config.out / "beside.png"
    _write_panels(path, rows)
    with_mujoco = "beside MuJoCo's" if len(rows[0]) > 4 else "alone: MuJoCo found no OpenGL"
    print_line(f"{path}: the nominal world, {with_mujoco}; cameras {', '.join(names)}")
    if config.photo is not None:
        ours = np.asarray(images[0].rgb)
        photo = textures.photographs([str(config.photo)], config.px, config.px)[0]
        laid = config.out / "overlay.png"
        row = [
            ("the photograph", photo),
            ("both", np.asarray(Image.blend(Image.fromarray(ours), Image.fromarray(photo), 0.5))),
            ("nominal", ours),
        ]
        _write_panels(laid, [row])
        print_line(f"{laid}: the photograph, both, the nominal picture")


def _write_panels(path: Path, rows: Sequence[Sequence[Panel]]) -> None:
    """Writes rows of panels of one size, with their titles, to a PNG."""
    titles, pictures = zip(*(panel for row in rows for panel in row), strict=True)
    write_png(path, mosaic(np.stack(pictures), len(rows[0]), titles))
