"""The ray caster beside MuJoCo's own renderer: the same scene, camera and poses, with shadows.

MuJoCo is measured twice: as reach sets it (shadow map 512, no multisampling) and with the values
that a model has by default (4096 and 4). Ours is measured plain, which is what MuJoCo draws, and
with every visual row of the table drawn at its limits, which is what a student sees.
"""

import contextlib
import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import mujoco
import numpy as np

from benchmarks.rows import Row, Settings, timed
from benchmarks.timing import Timing, measure
from benchmarks.workload import initial_states, reach, widest
from mjx_s2r.params import ParamSpace
from mjx_s2r.render import raycast
from mjx_s2r.render.geometry.pose import ScenePose, scene_pose
from mjx_s2r.render.geometry.scene import Scene, build_scene
from mjx_s2r.render.looks.appearance import Appearance, appearance, bind_appearance
from mjx_s2r.render.looks.assets import RenderAssets
from mjx_s2r.runtime.devices import picture_compiler_options
from mjx_s2r.sim import physics
from mjx_s2r.sim.env import make
from mjx_s2r.sim.physics import PhysicsState
from mjx_s2r.sim.task import Task

CAMERA = "front"
QUALITY = {"mujoco": (512, 0), "mujoco_default": (4096, 4)}  # shadowsize, offsamples
COMPARED = 32  # pictures that MuJoCo draws per timing


@dataclass(frozen=True)
class Drawing:
    """Worlds to draw, their plain look, and the compiled call that draws them all.

    Attributes:
        scene: what is drawn.
        pose: where everything is, N worlds.
        look: what it looks like.
        assets: textures.
        draw: returns (N, H, W, 3).
    """

    scene: Scene
    pose: ScenePose
    look: Appearance
    assets: RenderAssets
    draw: Callable[[], Any]


def run(settings: Settings) -> list[Row]:
    """Returns images/s of both renderers, taken in turns, and how far their pictures agree."""
    task = reach()
    core = _states(task, settings.images)
    drawing = _drawing(task, core)
    varied = looks(widest(task.space), task.mj_model, settings.images)
    draw = jax.jit(
        lambda pose, look, key: raycast.render(drawing.scene, pose, look, key=key).rgb,
        compiler_options=picture_compiler_options(),
    )
    ours: dict[str, Callable[[], Any]] = {
        "plain": drawing.draw,
        "randomized": lambda: draw(drawing.pose, varied, jax.random.key(2)),
    }
    with contextlib.ExitStack() as stack:
        theirs = painters(task.mj_model, drawing.scene, _placed(task.mj_model, core), stack)
        calls = {name: painter.pictures for name, painter in theirs.items()}
        timings = measure(ours | calls, settings.repeat, settings.min_s)
        rows = _speeds(timings, settings.images, min(COMPARED, settings.images))
        if theirs:
            rows += agreement(drawing, theirs["mujoco"])
    return rows


def reach_drawing(count: int) -> Drawing:
    """Returns the compiled drawing of reach's worlds at the start of an episode."""
    task = reach()
    return _drawing(task, _states(task, count))


def _states(task: Task, count: int) -> PhysicsState:
    """Returns ``count`` worlds at the start of an episode."""
    return initial_states(make(task), count, key=jax.random.key(0))[0]


def _drawing(task: Task, core: PhysicsState) -> Drawing:
    """Returns the compiled drawing of a task's worlds with the model's own look."""
    signal, env = task.contract.cameras[0], make(task)
    scene = build_scene(task.mj_model, CAMERA, signal.height, signal.width)
    pose = scene_pose(
        scene, jax.jit(jax.vmap(lambda c: physics.forward_positions(env.physics, {}, c)))(core)
    )
    look = looks(ParamSpace(()), task.mj_model, core.qpos.shape[0])
    draw = jax.jit(
        lambda pose, look: raycast.render(scene, pose, look).rgb,
        compiler_options=picture_compiler_options(),
    )
    return Drawing(scene, pose, look, RenderAssets(), lambda: draw(pose, look))


def looks(space: ParamSpace, mj_model: mujoco.MjModel, count: int) -> Appearance:
    """Returns ``count`` looks drawn from the table; without rows, the model's own."""
    binding = bind_appearance(space, mj_model, CAMERA)
    unit = jax.random.uniform(jax.random.key(1), (count, len(space)))
    xi = space.sample(jnp, unit, *jnp.asarray(space.limits))
    return jax.vmap(lambda x: appearance(binding, x))(xi)


class Painter:
    """MuJoCo's renderer on a few worlds."""

    def __init__(
        self, mj_model: mujoco.MjModel, scene: Scene, worlds: Sequence[mujoco.MjData]
    ) -> None:
        """Opens an OpenGL context and keeps the first worlds."""
        self._renderer = mujoco.Renderer(mj_model, scene.height, scene.width)
        self._worlds = worlds[:COMPARED]

    def pictures(self) -> np.ndarray:
        """Returns one picture per world: (M, H, W, 3) uint8, or geom ids (M, H, W, 2)."""
        out = []
        for data in self._worlds:
            self._renderer.update_scene(data, CAMERA)
            out.append(self._renderer.render())
        return np.stack(out)

    def segmentation(self) -> np.ndarray:
        """Returns the id of the geom in each pixel (M, H, W), -1 for none."""
        self._renderer.enable_segmentation_rendering()
        seen = self.pictures()
        self._renderer.disable_segmentation_rendering()
        return np.where(seen[..., 1] == mujoco.mjtObj.mjOBJ_GEOM, seen[..., 0], -1)

    def close(self) -> None:
        """Frees the context."""
        self._renderer.close()


def _placed(mj_model: mujoco.MjModel, core: PhysicsState) -> list[mujoco.MjData]:
    """Returns C MuJoCo's data of the first worlds."""
    worlds = []
    for world in range(min(COMPARED, core.qpos.shape[0])):
        data = mujoco.MjData(mj_model)
        data.qpos[:] = core.qpos[world]
        data.mocap_pos[:], data.mocap_quat[:] = core.mocap_pos[world], core.mocap_quat[world]
        mujoco.mj_forward(mj_model, data)
        worlds.append(data)
    return worlds


def painters(
    mj_model: mujoco.MjModel,
    scene: Scene,
    worlds: Sequence[mujoco.MjData],
    stack: contextlib.ExitStack,
) -> dict[str, Painter]:
    """Returns MuJoCo's renderer in each quality; none where this machine has no OpenGL."""
    out = {}
    for name, quality in QUALITY.items():
        model = copy.copy(mj_model)
        model.vis.quality.shadowsize, model.vis.quality.offsamples = quality
        try:
            out[name] = Painter(model, scene, worlds)
        except (RuntimeError, ImportError, AttributeError):
            return {}
        stack.callback(out[name].close)
    return out


def agreement(drawing: Drawing, painter: Painter) -> list[Row]:
    """Returns how far our pictures agree with MuJoCo's: mean IoU over geoms, mean difference."""
    theirs, ids = painter.pictures(), painter.segmentation()
    few = jax.tree.map(lambda x: x[: len(theirs)], (drawing.pose, drawing.look))
    mine = jax.jit(
        lambda pose, look: raycast.render(
            drawing.scene, pose, look, assets=drawing.assets, outputs=("rgb", "segmentation")
        )
    )(*few)
    segments, rgb = np.asarray(mine.segmentation), np.asarray(mine.rgb, np.float64)
    shares = [
        np.sum((segments == i) & (ids == i)) / np.sum((segments == i) | (ids == i))
        for i in np.union1d(segments, ids)
    ]
    return [
        Row("render", "segmentation_iou", float(np.mean(shares)), "1"),
        Row("render", "segmentation_iou.worst_geom", float(np.min(shares)), "1"),
        Row("render", "same_geom", float(np.mean(segments == ids)), "1"),
        Row("render", "rgb_difference", float(np.abs(rgb - theirs).mean()), "of 255"),
    ]


def _speeds(timings: dict[str, Timing], images: int, few: int) -> list[Row]:
    """Returns the speeds, and ours over MuJoCo's where MuJoCo can draw on this machine."""
    rows, speed = [], {}
    for name, timing in timings.items():
        amount = few if name in QUALITY else images
        metric = "images_per_s" if name == "plain" else f"{name}.images_per_s"
        rows += timed("render", metric, timing, amount, "images/s")
        speed[name] = amount / timing.median_s
    there = [name for name in QUALITY if name in speed]
    return [
        *rows,
        Row("render", "mujoco_available", float(bool(there)), "1"),
        *(Row("render", f"ratio_vs_{name}", speed["plain"] / speed[name], "1") for name in there),
    ]
