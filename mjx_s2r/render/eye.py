"""The cameras of a contract, bound to a task: pictures of many worlds in one call."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import mujoco
from mujoco import mjx

from mjx_s2r.contract import PolicyContract
from mjx_s2r.params import ParamSpace
from mjx_s2r.render import camera, raycast
from mjx_s2r.render.appearance import Binding, appearance, bind_appearance
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
