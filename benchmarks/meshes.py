"""A robot of meshes as makers publish it: time until the first picture, pictures/s, agreement.

The robot is `mesh_robot`'s: 21 geoms share 8 meshes of 40,000 triangles each, 12 geoms are drawn.
Reach's arm of primitives and MuJoCo's renderer are measured in the same run, taken in turns.
"""

import contextlib
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import mujoco
import numpy as np

from benchmarks.mesh_robot import write_mesh_robot
from benchmarks.render import CAMERA, COMPARED, Drawing, agreement, painters, reach_drawing
from benchmarks.rows import Row, Settings, timed
from benchmarks.timing import measure
from mjx_s2r.params import ParamSpace
from mjx_s2r.render import raycast
from mjx_s2r.render.geometry.meshes import Triangles
from mjx_s2r.render.geometry.pose import scene_pose
from mjx_s2r.render.geometry.scene import build_scene
from mjx_s2r.render.looks.appearance import appearance, bind_appearance
from mjx_s2r.render.looks.assets import RenderConfig, build_assets
from mjx_s2r.runtime.devices import picture_compiler_options

FACES = 320_000  # of all mesh files together
PX = 64
EYE, TARGET = (0.62, -0.55, 0.5), (0.0, 0.0, 0.22)  # [m] the arm fills the picture's height
BENT = 0.6  # share of the joints' ranges that poses are drawn from


def run(settings: Settings) -> list[Row]:
    """Returns images/s of the meshes, of primitives and of MuJoCo, and how far we agree."""
    model = mesh_arm(FACES)
    worlds = _worlds(model, settings.images)
    start = time.perf_counter()
    drawing = _drawing(model, worlds)
    jax.block_until_ready(drawing.draw())
    ready = time.perf_counter() - start
    plain = reach_drawing(settings.images)
    calls: dict[str, Callable[[], Any]] = {"meshes": drawing.draw, "primitives": plain.draw}
    with contextlib.ExitStack() as stack:
        theirs = painters(model, drawing.scene, worlds, stack)
        if theirs:
            calls["mujoco"] = theirs["mujoco"].pictures
        timings = measure(calls, settings.repeat, settings.min_s)
        rows = timed("meshes", "images_per_s", timings["meshes"], settings.images, "images/s")
        rows += timed(
            "meshes", "primitives.images_per_s", timings["primitives"], settings.images, "images/s"
        )
        slower = timings["meshes"].median_s / timings["primitives"].median_s
        rows.append(Row("meshes", "times_primitives", slower, "1"))
        if theirs:
            few = min(COMPARED, settings.images)
            rows += timed("meshes", "mujoco.images_per_s", timings["mujoco"], few, "images/s")
            shared = agreement(drawing, theirs["mujoco"])
            rows += [Row("meshes", row.metric, row.value, row.unit) for row in shared]
    solids = [g.solid for g in drawing.scene.geoms if isinstance(g.solid, Triangles)]
    triangles = sum(len(solid.corners) for solid in solids)
    return [
        *rows,
        Row("meshes", "ready_s", ready, "s"),
        Row("meshes", "triangles_drawn", triangles, "1"),
    ]


def mesh_arm(faces: int) -> mujoco.MjModel:
    """Returns the robot of meshes with a ground, a light that throws shadows, and a camera."""
    with tempfile.TemporaryDirectory() as folder:
        spec = mujoco.MjSpec.from_file(str(write_mesh_robot(Path(folder), faces)))
        world = spec.worldbody
        world.add_geom(type=mujoco.mjtGeom.mjGEOM_PLANE, size=[0, 0, 0.1])
        world.add_light(
            type=mujoco.mjtLightType.mjLIGHT_DIRECTIONAL, pos=[0, 0, 2], dir=[0.3, 0.2, -1]
        )
        world.add_body(name="target", pos=TARGET)
        world.add_camera(
            name=CAMERA,
            pos=EYE,
            fovy=45,
            mode=mujoco.mjtCamLight.mjCAMLIGHT_TARGETBODY,
            targetbody="target",
        )
        return spec.compile()


def _worlds(model: mujoco.MjModel, count: int) -> list[mujoco.MjData]:
    """Returns poses of the robot, drawn within the limits of its joints."""
    rng = np.random.default_rng(0)
    out = []
    for _ in range(count):
        data = mujoco.MjData(model)
        data.qpos[:] = BENT * rng.uniform(*model.jnt_range.T)
        mujoco.mj_forward(model, data)
        out.append(data)
    return out


def _drawing(model: mujoco.MjModel, worlds: list[mujoco.MjData]) -> Drawing:
    """Returns the compiled drawing of all worlds, as the model looks."""
    scene = build_scene(model, CAMERA, PX, PX)
    binding = bind_appearance(ParamSpace(()), model, CAMERA)
    assets = build_assets(model, scene, binding, RenderConfig())
    poses = [jax.tree.map(jnp.float32, scene_pose(scene, data)) for data in worlds]
    pose = jax.tree.map(lambda *leaves: jnp.stack(leaves), *poses)
    look = jax.vmap(lambda _: appearance(binding, jnp.zeros(0)))(jnp.arange(len(worlds)))
    draw = jax.jit(
        lambda pose, look: raycast.render(scene, pose, look, assets=assets).rgb,
        compiler_options=picture_compiler_options(),
    )
    return Drawing(scene, pose, look, assets, lambda: draw(pose, look))
