"""Cameras of a policy contract, bound to a task: batched pictures of many worlds.

A picture is uint8 RGB or, of a depth camera, uint16 codes (`mjx_s2r.contract.encode_depth`).
"""

import functools
from collections.abc import Mapping
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
from mujoco import mjx

from mjx_s2r.contract import DEPTH_CODES, CameraSignal, PolicyContract, encode_depth
from mjx_s2r.params import ParamSpace
from mjx_s2r.render import raycast
from mjx_s2r.render.geometry.pose import ScenePose, scene_pose
from mjx_s2r.render.geometry.rays import places_in_picture
from mjx_s2r.render.geometry.scene import (
    Scene,
    SceneError,
    build_scene,
    head_gloss,
    lights_of,
)
from mjx_s2r.render.looks.appearance import (
    Appearance,
    AppearanceBinding,
    appearance,
    bind_appearance,
    look_elements,
)
from mjx_s2r.render.looks.assets import RenderAssets, RenderConfig, build_assets
from mjx_s2r.render.looks.look_rows import refuse_still_looks, refuse_unseen_rows
from mjx_s2r.render.warp_camera import WarpCamera, refuse_unsupported
from mjx_s2r.sim.effects.frame_timing import bind_frame_timing
from mjx_s2r.sim.model.fields import element_names


@dataclass(frozen=True, eq=False)
class Cameras:
    """Cameras of a contract bound to a task: scene, rows of the table and assets of each.

    Attributes:
        signals: the cameras of the contract.
        scenes: what is drawn.
        bindings: the visual rows.
        assets: textures and photographs.
        warp: MuJoCo Warp's renderer for each camera, or nothing for this project's own.
    """

    signals: tuple[CameraSignal, ...]
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
    return Cameras(contract.cameras, tuple(scenes), tuple(bindings), tuple(assets), warp)


def check_looks(space: ParamSpace, mj_model: mujoco.MjModel, contract: PolicyContract) -> None:
    """Checks the visual rows of a table before anything is drawn; nothing is compiled.

    A contract without cameras may get some later (`mjx_s2r.sim.task.seen_by`): then names and
    limits are judged, and not whether a picture shows the row.

    Raises:
        ParamError: an array, element, column or camera that does not exist; limits that reach what
            cannot be; a row that changes nothing.
        SceneError: a geom that cannot be drawn, where a camera of the contract sees it.
    """
    if not space.in_group("visual").any():
        return
    known = element_names(mj_model, "camera")
    names: list[str | None] = [c.name for c in contract.cameras]
    names = names or [*known[:1]] or [None]
    for name in names:
        try:
            bound = bind_appearance(space, mj_model, name)
        except SceneError:
            if contract.cameras:
                raise
            return  # nothing is drawn
        lights, elements = lights_of(mj_model), look_elements(mj_model)
        gloss = max((*(light.gloss for light in lights), head_gloss(mj_model)))
        refuse_still_looks(space.rows, bound.edits, bound.nominal, lights, elements, gloss)
    for c in contract.cameras:
        bind_frame_timing(space, c, known, 1 / contract.control_hz)
    if contract.cameras:
        refuse_unseen_rows(space, contract.cameras, known)


def poses(
    cameras: Cameras, data: mjx.Data, leaves: Mapping[str, jax.Array] | None = None
) -> tuple[ScenePose, ...]:
    """Returns where everything is for each camera, from N worlds with kinematics up to date.

    ``leaves`` are the model fields of each world, of which those that show are drawn.
    """
    return tuple(scene_pose(scene, data, leaves) for scene in cameras.scenes)


def take_pictures(
    cameras: Cameras, where: tuple[ScenePose, ...], xi: jax.Array, *, key: jax.Array
) -> tuple[jax.Array, ...]:
    """Returns one array per camera: (N, H, W, 3) uint8, or (N, H, W, 1) uint16 codes of depth.

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
            wanted = (cameras.signals[i].kind,)
            image = raycast.render(
                scene, where[i], looks, assets=assets, outputs=wanted, key=keys[i]
            )
        pictures.append(_as_kept(cameras.signals[i], image))
    return tuple(pictures)


def places(
    cameras: Cameras, where: tuple[ScenePose, ...], xi: jax.Array, points: jax.Array
) -> tuple[jax.Array, ...]:
    """Returns one array per camera, (N, K, 2): where it sees points of the world.

    Places are columns and rows, from -1 at the left and upper edge to 1.

    Args:
        cameras: the bound cameras.
        where: from `poses`, one per camera.
        xi: (N, D) whose visual rows give each world its look.
        points: (N, K, 3) m.
    """

    def one(scene: Scene, binding: AppearanceBinding, pose: ScenePose) -> jax.Array:
        def place(pose: ScenePose, xi: jax.Array, points: jax.Array) -> jax.Array:
            return places_in_picture(scene, pose, appearance(binding, xi), points)

        return jax.vmap(place)(pose, xi, points)

    parts = zip(cameras.scenes, cameras.bindings, where, strict=True)
    return tuple(one(*part) for part in parts)


def _as_kept(camera: CameraSignal, image: raycast.Image) -> jax.Array:
    """Returns the picture of a camera as a rollout keeps it."""
    if camera.kind == "rgb":
        return jnp.asarray(image.rgb)
    return jnp.asarray(encode_depth(jnp, camera, image.depth))[..., None]


def as_delivered(camera: CameraSignal, pictures: np.ndarray) -> np.ndarray:
    """Returns pictures (N, H, W, C) of `take_pictures` as robots deliver them: depth in metres."""
    if camera.kind == "rgb":
        return pictures
    share = pictures.astype(np.float32) / DEPTH_CODES
    return camera.near + share * np.float32(camera.far - camera.near)


def to_rgb(pictures: np.ndarray) -> np.ndarray:
    """Returns pictures (N, H, W, C) to look at, (N, H, W, 3) uint8: depth as grey, near bright."""
    if pictures.dtype != np.uint16:
        return pictures
    return np.repeat(255 - (pictures[..., :1] >> 8).astype(np.uint8), 3, axis=-1)


class RayCamera:
    """Our renderer in the place of MuJoCo's, for a stand-in on a machine without OpenGL."""

    def __init__(self, contract: PolicyContract) -> None:
        """Remembers the size of each camera's picture."""
        self._signals = {c.name: c for c in contract.cameras}
        self._bound: dict[str, tuple[mujoco.MjModel, Scene, Appearance, RenderAssets]] = {}

    def __call__(self, model: mujoco.MjModel, data: mujoco.MjData, name: str) -> np.ndarray:
        """Returns what the camera called ``name`` sees now: (H, W, 3) uint8, or depth (H, W) m."""
        signal = self._signals[name]
        if name not in self._bound or self._bound[name][0] is not model:
            scene = build_scene(model, name, signal.height, signal.width)
            binding = bind_appearance(ParamSpace(()), model, name)
            assets = build_assets(model, scene, binding, RenderConfig())
            look = appearance(binding, jnp.zeros(0))
            self._bound[name] = model, scene, look, assets
        _, scene, look, assets = self._bound[name]
        where = jax.tree.map(jnp.float32, scene_pose(scene, data))
        one = jax.tree.map(lambda x: x[None], (where, look))
        return np.asarray(getattr(_draw_one(scene, signal.kind, *one, assets), signal.kind)[0])


class WorldCamera:
    """The cameras of a task as training sees them, one C MuJoCo world at a time.

    Unlike `RayCamera` it is bound to the table, so that the visual rows act; and it is compiled
    once for all worlds of the task's own model.
    """

    def __init__(
        self, space: ParamSpace, mj_model: mujoco.MjModel, contract: PolicyContract
    ) -> None:
        """Binds every camera of the contract.

        Raises:
            ParamError, SceneError, TextureError: as `bind_cameras`.
        """
        cameras = bind_cameras(space, mj_model, contract)
        self._one = {
            signal.name: Cameras((signal,), (scene,), (binding,), (assets,))
            for signal, scene, binding, assets in zip(
                cameras.signals, cameras.scenes, cameras.bindings, cameras.assets, strict=True
            )
        }
        self._touched = {row.array for row in space.rows if row.group == "model"}

    def picture(
        self, model: mujoco.MjModel, data: mujoco.MjData, name: str, xi: np.ndarray, number: int
    ) -> np.ndarray:
        """Returns what a camera sees now: (H, W, 3) uint8, or depth (H, W) m.

        Args:
            model: of the world; its elements are those of the task's model.
            data: its state, kinematics up to date.
            name: of the camera.
            xi: (D,) whose visual rows give the world its look.
            number: of the picture; its noise follows from it.
        """
        cameras, shown = self._one[name], ("geom_size", "hfield_data")
        leaves = {field: getattr(model, field) for field in shown if field in self._touched}
        where = scene_pose(cameras.scenes[0], data, leaves)
        one = jax.tree.map(lambda x: jnp.asarray(x, jnp.float32)[None], where)
        looks = jnp.asarray(xi, jnp.float32)[None]
        taken = _draw_world(cameras, one, looks, jax.random.key(number))
        image = as_delivered(cameras.signals[0], np.asarray(taken))[0]
        return image if cameras.signals[0].kind == "rgb" else image[..., 0]


@functools.partial(jax.jit, static_argnums=0)
def _draw_world(cameras: Cameras, where: ScenePose, xi: jax.Array, key: jax.Array) -> jax.Array:
    """Draws what one camera sees of one world."""
    return take_pictures(cameras, (where,), xi, key=key)[0]


@functools.partial(jax.jit, static_argnums=(0, 1))
def _draw_one(
    scene: Scene, kind: str, where: ScenePose, look: Appearance, assets: RenderAssets
) -> raycast.Image:
    """Draws one world."""
    return raycast.render(scene, where, look, assets=assets, outputs=(kind,))
