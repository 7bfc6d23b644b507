"""Scenes to draw, their poses as the renderer takes them, and mj_ray as the oracle."""

from typing import Any

import jax
import jax.numpy as jnp
import mujoco
import numpy as np

from mjx_s2r.params import ParamSpace
from mjx_s2r.render import raycast
from mjx_s2r.render.geometry import pose as poses
from mjx_s2r.render.geometry.pose import ScenePose, scene_pose
from mjx_s2r.render.geometry.scene import Scene
from mjx_s2r.render.looks.appearance import Appearance, appearance, bind_appearance, nominal_look
from mjx_s2r.render.looks.assets import RenderAssets, RenderConfig, build_assets

EVERYTHING = """
<mujoco>
  <visual><quality shadowsize="4096" offsamples="0"/></visual>
  <statistic extent="2"/>
  <asset>
    <texture name="sky" type="skybox" builtin="gradient" rgb1=".3 .5 .7" rgb2=".1 .1 .2"
      width="64" height="64"/>
    <texture name="grid" type="2d" builtin="checker" rgb1=".4 .5 .6" rgb2=".7 .7 .6"
      width="64" height="64"/>
    <material name="grid" texture="grid" texrepeat="2 2" texuniform="true"/>
  </asset>
  <worldbody>
    <light pos=".3 -.4 1.5" dir="-.3 .4 -1" directional="true" diffuse=".7 .65 .6"/>
    <camera name="front" pos="1.2 -1 .9" xyaxes=".6 .8 0 -.4 .3 .9" fovy="70"/>
    <geom name="floor" type="plane" size="0 0 .1" material="grid"/>
    <geom name="box" type="box" size=".1 .07 .12" rgba=".8 .2 .2 1" pos="0 0 .15"
      quat=".9 .2 .3 .1"/>
    <geom name="capsule" type="capsule" size=".06 .12" rgba=".2 .8 .2 1" pos=".3 .3 .13"
      quat=".7 .5 .1 .1"/>
    <geom name="can" type="cylinder" size=".08 .12" rgba=".2 .2 .9 1" pos="-.3 .3 .2"
      quat=".8 .3 .3 .1"/>
    <geom name="ball" type="sphere" size=".1" rgba=".9 .8 .1 1" pos="-.2 -.4 .2"/>
    <geom name="egg" type="ellipsoid" size=".06 .1 .15" rgba=".7 .3 .8 1" pos=".35 -.3 .15"
      quat=".8 .1 .4 .3"/>
    <geom name="shelf" type="plane" size=".2 .3 .1" rgba=".9 .6 .3 1" pos="0 .8 .3"
      quat=".7 .3 .1 .4"/>
    <geom name="ghost" type="sphere" size=".3" rgba="1 1 1 0"/>
    <geom name="collision" type="sphere" size=".3" group="3"/>
    <site name="mark" size=".3" group="3"/>
  </worldbody>
</mujoco>
"""

FEW = """
<mujoco>
  <statistic extent="2"/>
  <worldbody>
    <light pos=".3 -.4 1.5" dir="-.3 .4 -1" directional="true"/>
    <camera name="front" pos=".6 -.5 .45" xyaxes=".6 .8 0 -.4 .3 .9" fovy="60"/>
    <geom name="floor" type="plane" size="0 0 .1" rgba=".5 .5 .5 1"/>
    <geom name="capsule" type="capsule" size=".08 .12" rgba=".2 .8 .2 1" pos="0 0 .2"
      quat=".7 .5 .1 .1"/>
    <geom name="box" type="box" size=".1 .07 .12" rgba=".8 .2 .2 1" pos="-.1 -.3 .2"
      quat=".9 .2 .3 .1"/>
  </worldbody>
</mujoco>
"""


draw = jax.jit(raycast.render, static_argnames=("scene", "outputs", "chunk"))
draw_float = jax.jit(raycast.float_image, static_argnames="scene")


def load(xml: str) -> tuple[mujoco.MjModel, mujoco.MjData]:
    """Returns a model and its data at rest, positions computed."""
    model = mujoco.MjModel.from_xml_string(xml)
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    return model, data


def pose_of(scene: Scene, data: mujoco.MjData, worlds: int = 1) -> ScenePose:
    """Returns the pose of C MuJoCo's data, the same in every world."""
    return repeat(jax.tree.map(jnp.float32, scene_pose(scene, data)), worlds)


def look_of(
    model: mujoco.MjModel, worlds: int = 1, *, photometry: bool = False, camera: str = "front"
) -> Appearance:
    """Returns the nominal look, the same in every world; every array filled in if asked for."""
    if photometry:
        look = Appearance(**{k: jnp.asarray(v) for k, v in nominal_look(model, camera).items()})
    else:
        look = appearance(bind_appearance(ParamSpace(()), model, camera), jnp.zeros(0))
    return repeat(look, worlds)


def assets_of(model: mujoco.MjModel, scene: Scene, space: ParamSpace | None = None) -> RenderAssets:
    """Returns the pictures that the model and the rows need."""
    binding = bind_appearance(space or ParamSpace(()), model, scene.camera)
    return build_assets(model, scene, binding, RenderConfig())


def repeat(tree: Any, worlds: int) -> Any:
    """Returns the tree with a leading axis of equal worlds."""
    return jax.tree.map(lambda leaf: jnp.repeat(leaf[None], worlds, axis=0), tree)


def single(tree: Any) -> Any:
    """Returns the first world of a tree."""
    return jax.tree.map(lambda leaf: leaf[0], tree)


def cast(model: mujoco.MjModel, data: mujoco.MjData, scene: Scene) -> tuple[np.ndarray, np.ndarray]:
    """Returns depth (H, W) [m] and geom ids (H, W) by mj_ray, ray by ray.

    Depth is 0 and the id -1 for the sky and past the far plane.
    """
    x, y = poses.pixels(scene.height, scene.width)
    focal = np.tan(np.deg2rad(model.cam_fovy[scene.camera_id]) / 2)
    rays = np.stack([x * focal, y * focal, -np.ones_like(x)], axis=1).astype(float)
    rays = rays @ data.cam_xmat[scene.camera_id].reshape(3, 3).T
    groups = np.array([1, 1, 1, 0, 0, 0], np.uint8)
    depth, ids, found = np.zeros(len(rays)), np.zeros(len(rays), int), np.zeros(1, np.int32)
    for i, ray in enumerate(rays):
        eye = data.cam_xpos[scene.camera_id]
        depth[i] = mujoco.mj_ray(model, data, eye, ray, groups, True, -1, found)
        ids[i] = found[0] if depth[i] < scene.far else -1
    shape = scene.height, scene.width
    return np.where(ids < 0, 0.0, depth).reshape(shape), ids.reshape(shape)
