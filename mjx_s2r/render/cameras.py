"""Cameras of a policy contract, bound to a task: batched pictures of many worlds."""

import functools
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
from mujoco import mjx

from mjx_s2r.contract import PolicyContract
from mjx_s2r.params import ParamSpace
from mjx_s2r.render import raycast
from mjx_s2r.render.geometry.pose import ScenePose, scene_pose
from mjx_s2r.render.geometry.scene import Scene, build_scene
from mjx_s2r.render.looks.appearance import (
    Appearance,
    AppearanceBinding,
    appearance,
    bind_appearance,
)
from mjx_s2r.render.looks.assets import RenderAssets, RenderConfig, build_assets
from mjx_s2r.render.warp_camera import WarpCamera, refuse_unsupported


@dataclass(frozen=True, eq=False)
class Cameras:
    """Cameras of a contract bound to a task: scene, rows of the table and assets of each.

    Attributes:
        scenes: what is drawn.
        bindings: the visual rows.
        assets: textures and photographs.
        warp: MuJoCo Warp's renderer for each camera, or nothing for this project's own.
    """

    scenes: tuple[Scene, ...]
    bindings: tuple[AppearanceBinding, ...]
    assets: tuple[RenderAssets, ...]
    warp: tuple[WarpCamera, ...] = ()


def bind_cameras(
    space: ParamSpace,
    mj_model: mujoco.MjModel,
    contract: PolicyContract,
    config: RenderConfig | None = None,
) -> Cameras:
    """Binds every camera of the contract, by name.

    Raises:
        ParamError: a camera or a visual row that does not exist.
        SceneError: a geom that cannot be drawn, a picture without area, a backend that is not
            there.
        TextureError: a texture or photograph that cannot be read.
    """
    config = config or RenderConfig()
    scenes, bindings, assets = [], [], []
    for c in contract.cameras:
        scene = build_scene(mj_model, c.name, c.height, c.width, shadow_rays=config.shadow_rays)
        binding = bind_appearance(space, mj_model, c.name)
        scenes.append(scene)
        bindings.append(binding)
        assets.append(build_assets(mj_model, scene, binding, config))
    warp = tuple(WarpCamera(mj_model, scene) for scene in scenes if config.backend == "warp")
    for scene, binding in zip(scenes, bindings, strict=True):
        if warp:
            refuse_unsupported({edit.array for edit in binding.edits}, scene.camera)
    return Cameras(tuple(scenes), tuple(bindings), tuple(assets), warp)


def poses(
    cameras: Cameras, data: mjx.Data, geom_size: jax.Array | None = None
) -> tuple[ScenePose, ...]:
    """Returns where everything is for each camera, from N worlds with kinematics up to date."""
    return tuple(scene_pose(scene, data, geom_size) for scene in cameras.scenes)


def take_pictures(
    cameras: Cameras, where: tuple[ScenePose, ...], xi: jax.Array, *, key: jax.Array
) -> tuple[jax.Array, ...]:
    """Returns one (N, H, W, 3) uint8 array per camera.

    Args:
        cameras: the bound cameras.
        where: from `poses`, one per camera.
        xi: (N, D) whose visual rows give each world its look.
        key: random key for pixel noise.
    """
    pictures = []
    keys = jax.random.split(key, len(cameras.scenes))
    for i, binding in enumerate(cameras.bindings):
        looks = jax.vmap(lambda x, b=binding: appearance(b, x))(xi)
        if cameras.warp:
            image = cameras.warp[i].render(where[i], looks, key=keys[i])
        else:
            scene, assets = cameras.scenes[i], cameras.assets[i]
            image = raycast.render(scene, where[i], looks, assets=assets, key=keys[i])
        pictures.append(jnp.asarray(image.rgb))
    return tuple(pictures)


class RayCamera:
    """Our renderer in the place of MuJoCo's, for a stand-in on a machine without OpenGL."""

    def __init__(self, contract: PolicyContract) -> None:
        """Remembers the size of each camera's picture."""
        self._sizes = {c.name: (c.height, c.width) for c in contract.cameras}
        self._bound: dict[str, tuple[mujoco.MjModel, Scene, Appearance, RenderAssets]] = {}

    def __call__(self, model: mujoco.MjModel, data: mujoco.MjData, name: str) -> np.ndarray:
        """Returns (H, W, 3) uint8: what the camera called ``name`` sees now."""
        if name not in self._bound or self._bound[name][0] is not model:
            scene = build_scene(model, name, *self._sizes[name])
            binding = bind_appearance(ParamSpace(()), model, name)
            assets = build_assets(model, scene, binding, RenderConfig())
            look = appearance(binding, jnp.zeros(0))
            self._bound[name] = model, scene, look, assets
        _, scene, look, assets = self._bound[name]
        where = jax.tree.map(jnp.float32, scene_pose(scene, data))
        one = jax.tree.map(lambda x: x[None], (where, look))
        return np.asarray(_draw_one(scene, *one, assets).rgb[0])


@functools.partial(jax.jit, static_argnums=0)
def _draw_one(
    scene: Scene, where: ScenePose, look: Appearance, assets: RenderAssets
) -> raycast.Image:
    """Draws one world."""
    return raycast.render(scene, where, look, assets=assets)
