"""Panels that compare this renderer with MuJoCo's: the nominal world, each panel with a title.

A row for each camera of the task, and one for the camera that follows the robot where the model has
one: a robot seldom sees itself.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import mujoco
import numpy as np

from mjx_s2r.params import ParamSpace
from mjx_s2r.render import raycast
from mjx_s2r.render.geometry.pose import scene_pose
from mjx_s2r.render.geometry.scene import build_scene
from mjx_s2r.render.looks.appearance import appearance, bind_appearance
from mjx_s2r.render.looks.assets import RenderConfig, build_assets
from mjx_s2r.runtime.devices import picture_compiler_options
from mjx_s2r.sim.physics import PhysicsState
from train.viewer.opengl import mujoco_pictures

OUTPUTS = ("rgb", "depth", "segmentation", "normal")

Panel = tuple[str, np.ndarray]  # title, picture (H, W, 3) uint8


def render_cameras(
    mj_model: mujoco.MjModel, names: Sequence[str], px: int, data: Any, render: RenderConfig
) -> tuple[list[raycast.Image], tuple[str, ...]]:
    """Returns what each camera sees of one world as the model is written, and what is not drawn.

    All of it is one program: compilers take longer than the drawing.

    Args:
        mj_model: the model.
        names: of the cameras.
        px: height and width of a picture.
        data: where everything is.
        render: how pictures are made.
    """
    scenes = [build_scene(mj_model, name, px, px) for name in names]
    settings, kept = replace(render, foreground=()), []
    for name, scene in zip(names, scenes, strict=True):
        binding = bind_appearance(ParamSpace(()), mj_model, name)
        where, look = scene_pose(scene, data), appearance(binding, jnp.zeros(0))
        assets = build_assets(mj_model, scene, binding, settings)
        kept.append((assets, jax.tree.map(lambda leaf: leaf[None], (where, look))))

    def draw(seen: list[Any]) -> list[raycast.Image]:
        """Returns the picture of every camera."""
        return [
            raycast.render(scene, where, look, assets=assets, outputs=OUTPUTS)
            for scene, (assets, _), (where, look) in zip(scenes, kept, seen, strict=True)
        ]

    images = jax.jit(draw, compiler_options=picture_compiler_options())([seen for _, seen in kept])
    left_out = dict.fromkeys(thing for scene in scenes for thing in scene.left_out)
    return jax.tree.map(lambda leaf: np.asarray(leaf[0]), images), tuple(left_out)


def panels(
    mj_model: mujoco.MjModel, name: str, image: raycast.Image, core: PhysicsState
) -> list[Panel]:
    """Returns the panels of one camera; without OpenGL those of MuJoCo are missing."""
    ours = np.asarray(image.rgb)
    out = [(f"{name}: this renderer", ours)]
    theirs = mujoco_pictures(mj_model, name, len(ours), [core])
    if theirs is not None:
        apart = np.abs(ours.astype(int) - theirs[0])
        said = f"difference, mean {apart.mean():.1f} of 255"
        out += [(f"{name}: MuJoCo's", theirs[0]), (said, apart.astype(np.uint8))]
    return [
        *out,
        ("depth, near is bright", _grey(image.depth)),
        ("normals", _tinted(image.normal)),
        ("segmentation", _labelled(image.segmentation)),
    ]


def _grey(depth: Any) -> np.ndarray:
    """Returns a depth picture (H, W) as grey, near bright, the sky black: (H, W, 3) uint8."""
    depth = np.asarray(depth)
    seen = depth > 0
    inverse = np.where(seen, 1 / np.where(seen, depth, 1), 0)
    grey = 255 * inverse / max(float(inverse.max()), 1e-9)
    return np.repeat(grey[..., None], 3, axis=-1).astype(np.uint8)


def _tinted(normal: Any) -> np.ndarray:
    """Returns normals (H, W, 3) as colours: (H, W, 3) uint8."""
    return (127.5 * (np.asarray(normal) + 1)).astype(np.uint8)


def _labelled(ids: Any) -> np.ndarray:
    """Returns a segmentation (H, W) with a colour of its own for each id: (H, W, 3) uint8."""
    ids = np.asarray(ids)
    colours = np.random.default_rng(1).integers(60, 255, (int(ids.max()) + 2, 3))
    colours[0] = 0
    return colours[ids + 1].astype(np.uint8)
