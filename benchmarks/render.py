"""The ray caster beside MuJoCo's own renderer: the same scene, camera and poses, with shadows.

MuJoCo is measured twice: as reach sets it (shadow map 512, no multisampling) and with the values
that a model has by default (4096 and 4). Ours is measured plain, which is what MuJoCo draws, and
with every visual row of the table drawn at its limits, which is what a student sees.
"""

import contextlib
import copy
from collections.abc import Callable
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
from mjx_s2r.runtime.devices import gradient_compiler_options
from mjx_s2r.sim import physics
from mjx_s2r.sim.env import make
from mjx_s2r.sim.physics import PhysicsState

CAMERA = "front"
QUALITY = {"mujoco": (512, 0), "mujoco_default": (4096, 4)}  # shadowsize, offsamples
COMPARED = 32  # pictures that MuJoCo draws per timing


def run(settings: Settings) -> list[Row]:
    """Returns images/s of both renderers, taken in turns, and how far their pictures agree."""
    task = reach()
    env, signal = make(task), task.contract.cameras[0]
    scene = build_scene(task.mj_model, CAMERA, signal.height, signal.width)
    core, _ = initial_states(env, settings.images, key=jax.random.key(0))
    pose = scene_pose(
        scene, jax.jit(jax.vmap(lambda c: physics.forward_positions(env.physics, {}, c)))(core)
    )
    plain = looks(ParamSpace(()), task.mj_model, settings.images)
    varied = looks(widest(task.space), task.mj_model, settings.images)
    draw = jax.jit(
        lambda pose, look, key: raycast.render(scene, pose, look, key=key).rgb,
        compiler_options=gradient_compiler_options(),
    )
    ours: dict[str, Callable[[], Any]] = {
        "plain": lambda: draw(pose, plain, None),
        "randomized": lambda: draw(pose, varied, jax.random.key(2)),
    }
    with contextlib.ExitStack() as stack:
        theirs = painters(task.mj_model, scene, core, stack)
        calls = {name: painter.pictures for name, painter in theirs.items()}
        timings = measure(ours | calls, settings.repeat, settings.min_s)
        rows = _speeds(timings, settings.images, min(COMPARED, settings.images))
        if theirs:
            rows += agreement(scene, pose, plain, theirs["mujoco"])
    return rows


def looks(space: ParamSpace, mj_model: mujoco.MjModel, count: int) -> Appearance:
    """Returns ``count`` looks drawn from the table; without rows, the model's own."""
    binding = bind_appearance(space, mj_model, CAMERA)
    unit = jax.random.uniform(jax.random.key(1), (count, len(space)))
    xi = space.sample(jnp, unit, *jnp.asarray(space.limits))
    return jax.vmap(lambda x: appearance(binding, x))(xi)


class Painter:
    """MuJoCo's renderer on a few worlds."""

    def __init__(self, mj_model: mujoco.MjModel, scene: Scene, core: PhysicsState) -> None:
        """Opens an OpenGL context and places the worlds."""
        self._renderer = mujoco.Renderer(mj_model, scene.height, scene.width)
        self._worlds = []
        for world in range(min(COMPARED, core.qpos.shape[0])):
            data = mujoco.MjData(mj_model)
            data.qpos[:] = core.qpos[world]
            data.mocap_pos[:], data.mocap_quat[:] = core.mocap_pos[world], core.mocap_quat[world]
            mujoco.mj_forward(mj_model, data)
            self._worlds.append(data)

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


def painters(
    mj_model: mujoco.MjModel, scene: Scene, core: PhysicsState, stack: contextlib.ExitStack
) -> dict[str, Painter]:
    """Returns MuJoCo's renderer in each quality; none where this machine has no OpenGL."""
    out = {}
    for name, quality in QUALITY.items():
        model = copy.copy(mj_model)
        model.vis.quality.shadowsize, model.vis.quality.offsamples = quality
        try:
            out[name] = Painter(model, scene, core)
        except (RuntimeError, ImportError, AttributeError):
            return {}
        stack.callback(out[name].close)
    return out


def agreement(scene: Scene, pose: ScenePose, look: Appearance, painter: Painter) -> list[Row]:
    """Returns how far our pictures agree with MuJoCo's: mean IoU over geoms, mean difference."""
    theirs, ids = painter.pictures(), painter.segmentation()
    few = jax.tree.map(lambda x: x[: len(theirs)], (pose, look))
    outputs = ("rgb", "segmentation")
    mine = jax.jit(lambda pose, look: raycast.render(scene, pose, look, outputs=outputs))(*few)
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
