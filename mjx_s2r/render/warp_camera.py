"""MuJoCo Warp's renderer (`mjx.render`) behind the same call: made for NVIDIA GPUs.

With the package warp-lang it also runs on a CPU, where it was compared with this project's own
renderer (MuJoCo 3.17, warp-lang 1.19); it has not been run on a GPU yet.

The same poses and looks go in, the same arrays come out. Warp draws geometry, colours and lights of
each world; the camera's errors enter through its pose, lens and photometry are this project's own.
What Warp cannot do per world (textures and photographs by row, soft shadows, distortion, ...) is
refused by name, not left out in silence.

A render context holds arrays for one number of worlds; one is made for each number that is drawn.
"""

from collections.abc import Set
from typing import Any

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
from mujoco import mjx

from mjx_s2r.render.geometry.pose import ScenePose
from mjx_s2r.render.geometry.rays import camera_in_world, lights_in_world
from mjx_s2r.render.geometry.scene import SHOWN_GROUPS, Scene, SceneError
from mjx_s2r.render.geometry.scene import rgba as written_rgba
from mjx_s2r.render.looks.appearance import Appearance
from mjx_s2r.render.looks.temperature import tint
from mjx_s2r.render.raycast import Image
from mjx_s2r.render.sensor import depth_camera, optics, photometry

_REFUSED = (
    "geom_shown",
    "geom_offset",
    "texture",
    "light_softness",
    "light_count",
    "camera_centre",
    "camera_distortion",
    "background",
    "background_shift",
)
_FAR = 1e3  # m: scale of the depth buffer


def require_warp_renderer() -> None:
    """Checks that this machine can draw with Warp.

    Raises:
        SceneError: no Warp; says what to do.
    """
    remedy = "use render.backend jax, which runs everywhere"
    try:
        from mujoco.mjx import warp as mjx_warp
    except ImportError as error:
        raise SceneError(
            f"backend 'warp': MuJoCo Warp cannot be imported ({error}); {remedy}"
        ) from error
    if not mjx_warp.WARP_INSTALLED:
        raise SceneError(
            f"backend 'warp' needs warp-lang; pip install 'mjx_s2r[warp]', or {remedy}"
        )
    if jax.default_backend() not in ("gpu", "cpu"):
        raise SceneError(
            f"backend 'warp' needs an NVIDIA GPU, jax runs on {jax.default_backend()!r}; {remedy}"
        )


class WarpCamera:
    """One camera of a model, drawn by MuJoCo Warp."""

    def __init__(self, mj_model: mujoco.MjModel, scene: Scene) -> None:
        """Puts the model on the device.

        Raises:
            SceneError: no Warp on this machine, or something that it does not draw.
        """
        require_warp_renderer()
        sites = [geom.name for geom in scene.geoms if geom.decor]
        if sites:
            raise SceneError(f"backend 'warp' draws no sites; move {sites[0]!r} to group 3 or more")
        self._scene, self._mj_model = scene, mj_model
        self._model = mjx.put_model(mj_model, impl="warp")
        self._contexts: dict[int, Any] = {}

    def render(self, pose: ScenePose, look: Appearance, *, key: jax.Array | None = None) -> Image:
        """Returns rgb, depth and segmentation of N worlds; see `raycast.render`."""
        if pose.hfield_data is not None:
            raise SceneError(
                "backend 'warp' draws one ground for all worlds; leave out the rows on "
                "model.terrain_*, or use render.backend jax"
            )
        worlds = pose.cam_pos.shape[0]
        if worlds not in self._contexts:
            self._contexts[worlds] = mjx.create_render_context(
                mjm=self._mj_model,
                nworld=worlds,
                cam_res=(self._scene.width, self._scene.height),
                cam_active=[self._scene.camera],
                render_rgb=True,
                render_depth=True,
                render_seg=True,
                use_shadows=True,
                enabled_geom_groups=list(SHOWN_GROUPS),
                use_precomputed_rays=False,
            )
        context = self._contexts[worlds].pytree()
        rgb, depth, ids = self._draw(pose, look, context)
        seeds = None if key is None else jax.random.bits(key, (worlds, 2), jnp.uint32)
        return jax.vmap(self._develop)(look, rgb, depth, ids, seeds)

    def _draw(self, pose: ScenePose, look: Appearance, context: Any) -> tuple[jax.Array, ...]:
        """Returns rgb (N, H, W, 3) in [0, 1], depth (N, H, W) [m], ids (N, H, W)."""
        blank = mjx.make_data(self._mj_model, impl="warp")

        def one(pose: ScenePose, look: Appearance) -> tuple[jax.Array, ...]:
            """Draws one world; `vmap` makes it one call for all."""
            model = self._model.tree_replace(self._fields(look))
            data = self._placed(blank, pose, look)
            data = mjx.refit_bvh(model, data, context)
            packed = mjx.render_with_segmentation(model, data, context)
            return (
                mjx.get_rgb(context, 0, packed[0]),
                mjx.get_depth(context, 0, packed[1], _FAR)[..., 0] * _FAR,
                mjx.get_segmentation(context, 0, packed[2]),
            )

        return jax.vmap(one)(pose, look)

    def _fields(self, look: Appearance) -> dict[str, jax.Array]:
        """Returns the fields of the model that one world has for itself."""
        model, scene = self._mj_model, self._scene
        rgba = jnp.asarray(
            np.stack([written_rgba(model, "geom", i) for i in range(model.ngeom)]), jnp.float32
        )
        lights = np.array([light.id for light in scene.lights], np.int32)
        colour = look.light_rgb * look.light_strength[:, None]
        if look.light_kelvin is not None:
            colour = colour * jax.vmap(tint)(look.light_kelvin)
        diffuse = jnp.asarray(model.light_diffuse, jnp.float32)
        return {
            "geom_rgba": rgba.at[scene.ids, :3].set(look.geom_rgb),
            "light_diffuse": diffuse.at[lights].set(colour),
            "cam_fovy": jnp.full(model.ncam, look.camera_fovy),
        }

    def _placed(self, blank: mjx.Data, pose: ScenePose, look: Appearance) -> mjx.Data:
        """Returns Data in which geoms, lights and the camera are where one world has them."""
        scene, model = self._scene, self._mj_model
        lights = np.array([light.id for light in scene.lights], np.int32)
        eye, axes = camera_in_world(scene, pose, look)
        where, along = lights_in_world(pose, look)
        camera = scene.camera_id
        data = blank.replace(
            geom_xpos=blank.geom_xpos.at[scene.ids].set(pose.geom_pos),
            geom_xmat=blank.geom_xmat.at[scene.ids].set(pose.geom_mat),
            cam_xpos=blank.cam_xpos.at[camera].set(eye),
            cam_xmat=blank.cam_xmat.at[camera].set(axes),
        )
        if not model.nlight:
            return data
        return data.tree_replace(
            {
                "_impl.light_xpos": data._impl.light_xpos.at[lights].set(where),
                "_impl.light_xdir": data._impl.light_xdir.at[lights].set(along),
            }
        )

    def _develop(
        self,
        look: Appearance,
        rgb: jax.Array,
        depth: jax.Array,
        ids: jax.Array,
        seed: jax.Array | None,
    ) -> Image:
        """Returns what a camera makes of one world's picture."""
        scene = self._scene
        planes: photometry.Planes = tuple(rgb[..., c].ravel() for c in range(3))
        for effect in optics.lens_effects(look):
            planes = effect(look, planes, scene.height)
        exposed = photometry.expose_planes(look, planes, scene.height)
        digits = photometry.digitise(look, exposed, seed)
        picture = jnp.stack(digits, axis=-1).reshape(scene.height, scene.width, 3)
        far = depth_camera.sense_depth(look, depth.ravel(), seed, width=scene.width)
        return Image(picture, far.reshape(depth.shape), ids.astype(jnp.int32))


def refuse_unsupported(touched: Set[str], camera: str) -> None:
    """Checks that Warp can give each world its own of the arrays that rows touch.

    Raises:
        SceneError: names the first array that it cannot.
    """
    for name in _REFUSED:
        if name in touched:
            raise SceneError(
                f"backend 'warp', camera {camera!r}: no {name!r} per world; leave out the rows on "
                f"visual.{name}, or use render.backend jax"
            )
