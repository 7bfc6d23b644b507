"""Scaling of a picture's cost with pixels, worlds, geoms, lights, solids and features.

Each figure is the time of one picture in microseconds of wall time, of one variant of a base: 64x64
px, 128 worlds, 16 capsules and a ground, one light with a hard shadow.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import mujoco
import numpy as np

from benchmarks.rows import Row, Settings
from benchmarks.timing import measure
from mjx_s2r.params import Param, ParamSpace, set_to
from mjx_s2r.render import raycast
from mjx_s2r.render.geometry.pose import scene_pose
from mjx_s2r.render.geometry.scene import build_scene
from mjx_s2r.render.looks.appearance import appearance, bind_appearance
from mjx_s2r.render.looks.assets import RenderConfig, build_assets
from mjx_s2r.runtime.devices import picture_compiler_options


@dataclass(frozen=True)
class Scenery:
    """One variant of the base scene."""

    px: int = 64
    worlds: int = 128
    geoms: int = 16
    lights: int = 1
    extra: str = ""
    rows: tuple[str, ...] = ()


FEATURES = {
    "soft_shadows": ("light_softness",),
    "textures": ("texture",),
    "photograph": ("background",),
    "lens": ("blur_px",),
    "distortion": ("camera_distortion",),
    "photometry": ("brightness", "contrast", "hue", "saturation", "gamma", "white_balance"),
    "noise": ("noise_std", "shot_noise"),
}
SOLIDS = {
    "mesh_16_planes": '<geom type="mesh" mesh="round"/>',
    "mesh_128_triangles": '<geom type="mesh" mesh="ring"/>',
    "height_field_32x32": '<geom type="hfield" hfield="hills"/>',
}
BASE = Scenery()
VARIANTS = {
    "base": BASE,
    **{f"pixels_{px}x{px}": replace(BASE, px=px) for px in (32, 128)},
    **{f"worlds_{n}": replace(BASE, worlds=n) for n in (16, 1024)},
    **{f"geoms_{n}": replace(BASE, geoms=n) for n in (4, 64)},
    **{f"lights_{n}": replace(BASE, lights=n) for n in (2, 4)},
    **{name: replace(BASE, extra=xml) for name, xml in SOLIDS.items()},
    **{name: replace(BASE, rows=rows) for name, rows in FEATURES.items()},
}


def run(settings: Settings) -> list[Row]:
    """Returns the time of one picture of every variant."""
    scale = max(1, BASE.worlds // max(1, settings.images // 2))  # a small run draws few worlds
    calls: dict[str, Callable[[], Any]] = {}
    counts = {}
    for name, variant in VARIANTS.items():
        small = replace(variant, worlds=max(1, variant.worlds // scale))
        calls[name], counts[name] = painter(small), small.worlds
    timings = measure(calls, settings.repeat, settings.min_s)
    cost = {name: 1e6 * t.median_s / counts[name] for name, t in timings.items()}
    return [
        *(Row("growth", f"{name}.us_per_image", us, "us") for name, us in cost.items()),
        Row("growth", "geoms_64_over_16", cost["geoms_64"] / cost["base"], "1"),
    ]


def painter(variant: Scenery) -> Callable[[], Any]:
    """Returns the compiled drawing of one variant, its worlds drawn over the limits of its rows."""
    model = mujoco.MjModel.from_xml_string(_xml(variant))
    for i in range(model.nhfield):
        count = model.hfield_nrow[i] * model.hfield_ncol[i]
        model.hfield_data[:count] = np.random.default_rng(0).random(count)
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    scene = build_scene(model, "front", variant.px, variant.px)
    space = ParamSpace(tuple(_row(name) for name in variant.rows))
    binding = bind_appearance(space, model, "front")
    assets = build_assets(model, scene, binding, RenderConfig())
    unit = jax.random.uniform(jax.random.key(0), (variant.worlds, len(space)))
    looks = jax.vmap(lambda x: appearance(binding, x))(
        space.sample(jnp, unit, *jnp.asarray(space.limits))
    )
    one = jax.tree.map(jnp.float32, scene_pose(scene, data))
    poses = jax.tree.map(lambda x: jnp.repeat(x[None], variant.worlds, axis=0), one)
    draw = jax.jit(
        lambda poses, looks, key: raycast.render(scene, poses, looks, assets=assets, key=key).rgb,
        compiler_options=picture_compiler_options(),
    )
    key = jax.random.key(1)
    return lambda: draw(poses, looks, key)


def _row(array: str) -> Param:
    """Returns a row over an array of the look."""
    of = ("*",) if array in ("texture", "light_softness") else ()
    low, high, start = {
        "camera_distortion": (-0.1, 0.1, 0.0),
        "hue": (-0.2, 0.2, 0.0),
        "light_softness": (0.0, 0.1, 0.0),
        "noise_std": (0.0, 0.03, 0.0),
        "shot_noise": (0.0, 0.002, 0.0),
        "texture": (0.0, 1.0, 0.0),
        "background": (0.0, 1.0, 0.0),
        "blur_px": (0.0, 1.0, 0.0),
    }.get(array, (0.8, 1.2, 1.0))
    return set_to(array, f"visual.{array}", of, (low, high), nominal=start)


def _xml(variant: Scenery) -> str:
    """Returns the model of a variant: capsules on a ring over a ground, lamps above."""
    rng = np.random.default_rng(1)
    geoms = []
    for i in range(variant.geoms):
        angle = 2 * np.pi * i / variant.geoms
        place = (0.5 * np.cos(angle), 0.5 * np.sin(angle), rng.uniform(0.1, 0.4))
        pos, euler = (" ".join(f"{x:.3f}" for x in v) for v in (place, rng.uniform(0, 90, 3)))
        geoms.append(f'<geom type="capsule" size=".04 .08" pos="{pos}" euler="{euler}"/>')
    lights = "".join(
        f'<light type="directional" dir="{0.3 * i:.1f} -.4 -1" diffuse=".3 .3 .3"/>'
        for i in range(variant.lights)
    )
    return f"""
    <mujoco><statistic extent="2"/>
      <asset>
        <mesh name="round" builtin="supersphere" params="4 1 1" scale=".2 .2 .2"/>
        <mesh name="ring" builtin="supertorus" params="8 .3 1 1" scale=".3 .3 .3"/>
        <hfield name="hills" nrow="32" ncol="32" size="1 1 .2 .1"/>
      </asset>
      <worldbody>{lights}
        <camera name="front" pos="0 -1.4 1" xyaxes="1 0 0 0 .6 .8" fovy="55"/>
        <geom type="plane" size="0 0 .1"/>{"".join(geoms)}{variant.extra}
      </worldbody></mujoco>"""
