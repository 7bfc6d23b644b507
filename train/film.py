"""A recorded episode as one HTML page: a film of the worlds, and what became of each.

The page needs no other file and no script: the film is an animated WebP inside it. Above is what
this renderer shows, each world in its own looks; below is MuJoCo's picture of the same, and where
the model has a camera that follows its robot, MuJoCo's picture through that one.
"""

import base64
import io
import os
from collections.abc import Sequence
from functools import partial

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
from PIL import Image

from mjx_s2r.contract import CameraSignal
from mjx_s2r.devices import picture_options
from mjx_s2r.params import ParamSpace
from mjx_s2r.render import camera, raycast
from mjx_s2r.render.appearance import Appearance, appearance, bind_appearance
from mjx_s2r.render.mosaic import mosaic
from mjx_s2r.render.scene import build
from mjx_s2r.render.stock import RenderConfig, stock_of
from mjx_s2r.sim.interface import State
from mjx_s2r.sim.physics import Core
from mjx_s2r.transfer import page
from mjx_s2r.transfer.pictures import spread, still
from train.record import Recording

MOST = 120  # frames of a film
QUALITY = 80
_MODES = mujoco.mjtCamLight
FOLLOWS = (int(_MODES.mjCAMLIGHT_TRACK), int(_MODES.mjCAMLIGHT_TRACKCOM))
ROWS = 6  # of the table that are told of each world


def film_page(recording: Recording, view: CameraSignal, px: int, render: RenderConfig) -> str:
    """Returns the page of a recording, seen by the camera ``view``, each picture ``px`` wide."""
    task, count = recording.task, len(recording.xi)
    kept = spread(len(recording.states), MOST)
    states = [recording.states[i] for i in kept]
    rows = [_ours(recording, states, view, px, render)]
    said = ["this renderer, in the looks of each world"]
    cores = [one for state in states for one in apart(state.pipeline_state.core, count)]
    for name in dict.fromkeys((view.name, *following(task.mj_model))):
        pictures = mujoco_pictures(task.mj_model, name, px, cores)
        if pictures is not None:
            rows.append(pictures.reshape(len(states), count, px, px, 3))
            said.append(f"MuJoCo's picture, camera {name}")
    frames = np.stack([mosaic(np.concatenate(shots), count) for shots in zip(*rows, strict=True)])
    last_s = kept[-1] / task.contract.control_hz
    caption = f"From top to bottom: {'; '.join(said)}. {last_s:.1f} s, one column a world."
    film = page.moving(animation(frames, last_s / max(len(kept) - 1, 1)), still(frames[-1]), "film")
    fates = page.section("worlds", "What became of each world", _intro(task.space), told(recording))
    title = f"{task.name}: an episode in {count} worlds"
    head = f"<h1>{page.escape(title)}</h1>"
    return page.page(title, (head, page.figure(film, page.escape(caption)), fates))


def animation(frames: np.ndarray, frame_s: float) -> str:
    """Returns the data address of an animated WebP of frames (F, H, W, 3) that repeats for ever."""
    shots = [Image.fromarray(frame) for frame in frames]
    pause_ms = max(10, round(1000 * frame_s))
    lengths = [pause_ms] * (len(shots) - 1) + [max(1000, pause_ms)]
    buffer = io.BytesIO()
    more = {"save_all": True, "append_images": shots[1:], "duration": lengths, "loop": 0}
    shots[0].save(buffer, "WEBP", quality=QUALITY, method=2, **more)
    return f"data:image/webp;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def told(recording: Recording) -> str:
    """Returns the table of what became of each world, as HTML."""
    space, last = recording.task.space, jax.device_get(recording.states[-1].metrics)
    xi = np.asarray(recording.xi)
    apart = np.abs(space.normalize(np, xi) - space.normalize(np, space.nominal[None]))
    hz = recording.task.contract.control_hz
    lines = []
    for i, values in enumerate(xi):
        far = [j for j in np.argsort(-apart[i], kind="stable")[:ROWS] if apart[i, j] > 0]
        words = (f"{space.names[j]} {values[j]:.3g} {space.rows[j].unit}" for j in far)
        cells = [
            f"{i + 1}",
            f"{last['return'][i]:.1f}",
            "yes" if last["success"][i] else "no",
            f"{last['length'][i] / hz:.2f} s",
            page.escape(", ".join(word.removesuffix(" 1") for word in words)) or "nominal",
        ]
        lines.append(cells)
    head = ("world", "return", "success", "time", "farthest from nominal")
    return page.table(head, lines, numbers=(1, 3))


def _intro(space: ParamSpace) -> str:
    """Returns what stands above the table of worlds."""
    return (
        f"Each world was drawn from the ranges that the policy was trained on ({len(space)} rows); "
        "a world whose episode is over stays as it ended."
    )


def _ours(
    recording: Recording, states: Sequence[State], view: CameraSignal, px: int, render: RenderConfig
) -> np.ndarray:
    """Returns (F, N, px, px, 3) uint8: every state by this renderer."""
    task = recording.task
    scene = build(task.mj_model, view.name, px, px)
    binding = bind_appearance(task.space, task.mj_model, view.name)
    stock = stock_of(task.mj_model, scene, binding, render)

    @partial(jax.jit, compiler_options=picture_options())
    def draw(where: camera.Pose, looks: Appearance, key: jax.Array) -> jax.Array:
        """Returns the pictures of one step."""
        return jnp.asarray(raycast.render(scene, where, looks, stock=stock, key=key).rgb)

    looks = jax.vmap(lambda x: appearance(binding, x))(recording.xi)
    shots = []
    for index, state in enumerate(states):
        sizes = state.pipeline_state.leaves.get("geom_size")
        where = camera.pose(scene, recording.pilot.view(state), sizes)
        shots.append(np.asarray(draw(where, looks, jax.random.key(index))))
    return np.stack(shots)


def following(mj_model: mujoco.MjModel) -> list[str]:
    """Returns the name of the first camera that follows a body; nothing where there is none."""
    cameras = [mj_model.camera(i) for i in range(mj_model.ncam)]
    return [c.name for c in cameras if c.name and int(c.mode[0]) in FOLLOWS][:1]


def apart(core: Core, count: int) -> list[Core]:
    """Returns the states of B worlds one by one, on the host."""
    held = jax.device_get(core)
    return [jax.tree.map(lambda x, i=i: x[i], held) for i in range(count)]


def mujoco_pictures(
    mj_model: mujoco.MjModel, name: str, px: int, cores: Sequence[Core]
) -> np.ndarray | None:
    """Returns (N, px, px, 3) uint8: MuJoCo's own pictures of worlds; None without OpenGL.

    One call for all of them: opening OpenGL takes as long as hundreds of pictures.
    """
    os.environ.setdefault("MUJOCO_GL", "egl")
    data = mujoco.MjData(mj_model)
    try:
        renderer = mujoco.Renderer(mj_model, px, px)
    except (RuntimeError, ImportError, AttributeError, mujoco.FatalError):
        return None
    out = []
    with renderer:
        for core in cores:
            data.qpos[:], data.mocap_pos[:], data.mocap_quat[:] = (
                np.asarray(x) for x in (core.qpos, core.mocap_pos, core.mocap_quat)
            )
            mujoco.mj_forward(mj_model, data)
            renderer.update_scene(data, name)
            out.append(renderer.render().copy())
    return np.stack(out)
