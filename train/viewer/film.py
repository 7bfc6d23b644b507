"""A recorded episode as one HTML page: an animation of the worlds, and what became of each.

The page needs no other file and no script: the film is an animated WebP inside it. Each camera has
two rows, what this renderer shows, every world in its own looks, and MuJoCo's picture of the same.
"""

from collections.abc import Sequence
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from mjx_s2r.contract import CameraSignal
from mjx_s2r.render import raycast
from mjx_s2r.render.geometry.pose import ScenePose, scene_pose
from mjx_s2r.render.geometry.scene import build_scene
from mjx_s2r.render.looks.appearance import Appearance, appearance, bind_appearance
from mjx_s2r.render.looks.assets import RenderConfig, build_assets
from mjx_s2r.report import media, page
from mjx_s2r.report.flight_film import following_camera
from mjx_s2r.runtime.devices import picture_compiler_options
from mjx_s2r.runtime.progress import progress
from mjx_s2r.sim.interface import State
from mjx_s2r.sim.physics import PhysicsState
from train.viewer.opengl import mujoco_pictures
from train.viewer.pilot import STEPS_PER_NOTE, Recording

MOST = 120  # frames of a film
QUALITY = 80
PARAMETERS = 6  # named of each world


def film_page(recording: Recording, view: CameraSignal, px: int, render: RenderConfig) -> str:
    """Returns the page of a recording, each picture ``px`` wide.

    It is seen by the model's camera that follows the robot, where there is one, and by ``view``.
    """
    task, count = recording.task, len(recording.xi)
    kept = media.evenly_spaced(len(recording.states), MOST)
    states = [recording.states[i] for i in kept]
    cores = [one for state in states for one in apart(state.pipeline_state.physics_state, count)]
    rows: list[tuple[str, np.ndarray]] = []
    for name in dict.fromkeys((*following_camera(task.mj_model), view.name)):
        rows.append((name, _ours(recording, states, name, px, render)))
        pictures = mujoco_pictures(task.mj_model, name, px, cores)
        if pictures is not None:
            shots = pictures.reshape(len(states), count, px, px, 3)
            rows.append((f"{name}, MuJoCo", shots))
    frames = np.stack([_frame(rows, index) for index in range(len(states))])
    last_s = kept[-1] / task.contract.control_hz
    frame_s = last_s / max(len(kept) - 1, 1)
    return page.render_page(
        "episode.html.j2",
        title=f"{task.name}: an episode in {count} worlds",
        origin=recording.origin,
        film=media.webp_url(frames, frame_s, MOST, quality=QUALITY),
        still=media.png_url(frames[-1]),
        last_s=last_s,
        parameters=len(task.space),
        worlds=outcome_rows(recording),
    )


def _frame(rows: Sequence[tuple[str, np.ndarray]], index: int) -> np.ndarray:
    """Returns one frame of the film: the pictures (F, N, px, px, 3) of every row at ``index``."""
    worlds = len(rows[0][1][index])
    titles = [f"world {world + 1}, {name}" for name, _ in rows for world in range(worlds)]
    return media.mosaic(np.concatenate([shots[index] for _, shots in rows]), worlds, titles)


def outcome_rows(recording: Recording) -> list[tuple[str, ...]]:
    """Returns each world's number, return, success, time and parameters farthest from nominal."""
    space, last = recording.task.space, jax.device_get(recording.states[-1].metrics)
    xi = np.asarray(recording.xi)
    apart = np.abs(space.normalize(np, xi) - space.normalize(np, space.nominal[None]))
    hz = recording.task.contract.control_hz
    lines: list[tuple[str, ...]] = []
    for i, values in enumerate(xi):
        far = [j for j in np.argsort(-apart[i], kind="stable")[:PARAMETERS] if apart[i, j] > 0]
        words = (f"{space.names[j]} {values[j]:.3g} {space.rows[j].unit}" for j in far)
        cells = (
            f"{i + 1}",
            f"{last['return'][i]:.1f}",
            "yes" if last["success"][i] else "no",
            f"{last['length'][i] / hz:.2f} s",
            ", ".join(word.removesuffix(" 1") for word in words) or "nominal",
        )
        lines.append(cells)
    return lines


def _ours(
    recording: Recording, states: Sequence[State], name: str, px: int, render: RenderConfig
) -> np.ndarray:
    """Returns (F, N, px, px, 3) uint8: every state through a camera, by this renderer."""
    task = recording.task
    scene = build_scene(task.mj_model, name, px, px)
    binding = bind_appearance(task.space, task.mj_model, name)
    assets = build_assets(task.mj_model, scene, binding, render)

    @partial(jax.jit, compiler_options=picture_compiler_options())
    def draw(where: ScenePose, looks: Appearance, key: jax.Array) -> jax.Array:
        """Returns the pictures of one step."""
        return jnp.asarray(raycast.render(scene, where, looks, assets=assets, key=key).rgb)

    looks = jax.vmap(lambda x: appearance(binding, x))(recording.xi)
    shots: list[np.ndarray] = []
    with progress(f"the film, camera {name}", len(states)) as bar:
        for index, state in enumerate(states):
            leaves = state.pipeline_state.leaves
            where = scene_pose(scene, recording.viewer.view(state), leaves)
            shots.append(np.asarray(draw(where, looks, jax.random.key(index))))
            if index % STEPS_PER_NOTE == 0 or len(shots) == len(states):
                bar.update(len(shots), "frames")
    return np.stack(shots)


def apart(core: PhysicsState, count: int) -> list[PhysicsState]:
    """Returns the states of B worlds one by one, on the host."""
    held = jax.device_get(core)
    return [jax.tree.map(lambda x, i=i: x[i], held) for i in range(count)]
