"""The cameras of a contract, bound to a task: pictures of many worlds in one call."""

import functools
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
from mujoco import mjx

from mjx_s2r.contract import PolicyContract
from mjx_s2r.params import ParamSpace
from mjx_s2r.render import camera, raycast
from mjx_s2r.render.appearance import Appearance, Binding, appearance, bind_appearance
from mjx_s2r.render.camera import Pose, Scene


@dataclass(frozen=True, eq=False)
class Cameras:
    """What each camera of a contract draws, and how the table changes its look."""

    scenes: tuple[Scene, ...]
    bindings: tuple[Binding, ...]


def bind_cameras(space: ParamSpace, mj_model: mujoco.MjModel, contract: PolicyContract) -> Cameras:
    """Binds every camera of the contract, by name.

    Raises:
        ParamError: a camera or a visual row that does not exist.
        SceneError: a geom that cannot be drawn, or a picture without area.
    """
    return Cameras(
        tuple(camera.build(mj_model, c.name, c.height, c.width) for c in contract.cameras),
        tuple(bind_appearance(space, mj_model, c.name) for c in contract.cameras),
    )


def poses(cameras: Cameras, data: mjx.Data) -> tuple[Pose, ...]:
    """Returns where everything is for each camera, from N worlds with kinematics up to date."""
    return tuple(camera.pose(scene, data) for scene in cameras.scenes)


def take_pictures(
    cameras: Cameras, where: tuple[Pose, ...], xi: jax.Array, *, key: jax.Array
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
    bound = zip(cameras.scenes, cameras.bindings, where, keys, strict=True)
    for scene, binding, pose, key_noise in bound:
        looks = jax.vmap(lambda x, b=binding: appearance(b, x))(xi)
        image = raycast.render(scene, pose, looks, key=key_noise)
        pictures.append(jnp.asarray(image.rgb))
    return tuple(pictures)


class RayCamera:
    """Our renderer in the place of MuJoCo's, for a stand-in on a machine without OpenGL.

    The look is the model's own, without image textures and second lights.
    """

    def __init__(self, contract: PolicyContract) -> None:
        """Remembers the size of each camera's picture."""
        self._sizes = {c.name: (c.height, c.width) for c in contract.cameras}
        self._bound: dict[tuple[int, str], tuple[Scene, Appearance]] = {}

    def __call__(self, model: mujoco.MjModel, data: mujoco.MjData, name: str) -> np.ndarray:
        """Returns (H, W, 3) uint8: what the camera called ``name`` sees now."""
        if (id(model), name) not in self._bound:
            scene = camera.build(model, name, *self._sizes[name])
            look = appearance(bind_appearance(ParamSpace(()), model, name), jnp.zeros(0))
            self._bound[id(model), name] = scene, look
        scene, look = self._bound[id(model), name]
        where = Pose(
            geom_pos=jnp.asarray(data.geom_xpos[scene.ids], jnp.float32),
            geom_mat=jnp.asarray(data.geom_xmat[scene.ids], jnp.float32).reshape(-1, 3, 3),
            cam_pos=jnp.asarray(data.cam_xpos[scene.camera_id], jnp.float32),
            cam_mat=jnp.asarray(data.cam_xmat[scene.camera_id], jnp.float32).reshape(3, 3),
        )
        one = jax.tree.map(lambda x: x[None], (where, look))
        image = _draw_one(scene, *one)
        return np.asarray(image.rgb[0])


@functools.partial(jax.jit, static_argnums=0)
def _draw_one(scene: Scene, where: Pose, look: Appearance) -> raycast.Image:
    """Draws one world."""
    return raycast.render(scene, where, look)
