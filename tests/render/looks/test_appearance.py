"""The look of a world: where it comes from, how the table touches it, and that it can be seen."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mjx_s2r.params import Param, ParamError, ParamSpace
from mjx_s2r.render import raycast
from mjx_s2r.render.geometry.scene import build_scene
from mjx_s2r.render.looks import appearance
from mjx_s2r.render.looks.appearance import NEUTRAL
from tests.render.scenes import EVERYTHING, assets_of, load, look_of, pose_of

# What each array is moved to, or by, to show that pixels notice.
NUDGE: dict[str, float] = {
    "texture_m": 0.11,
    "geom_offset": 0.05,
    "camera_pos": 0.05,
    "camera_rot": 0.05,
    "camera_fovy": 5.0,
    "camera_centre": 0.05,
    "noise_std": 0.05,
    "shot_noise": 0.01,
    "blur_px": 0.7,
    "motion_px": 2.0,
    "light_kelvin": -3000.0,
    "light_count": -8.0,
    "geom_shown": -1.0,
    "bits": -5.0,
    "depth_near": 1.2,
    "depth_noise": 0.05,
    "depth_dropout": 0.1,
}
SET = {"background": 0.9, "texture": 0.3, "depth_far": 1.5}


def _row(name: str, array: str, **rest: Any) -> Param:
    """Returns a visual row."""
    return Param(name, f"visual.{array}", limits=(0.0, 2.0), **rest)


def _moved(look: appearance.Appearance, name: str, world: int) -> jax.Array:
    """Returns the array ``name`` of all worlds, changed in one of them."""
    array = getattr(look, name)
    if name in SET:
        return array.at[world].set(SET[name])
    return array.at[world].add(NUDGE.get(name, 0.2))


@pytest.mark.slow
def test_every_array_changes_pixels() -> None:
    lamp = '<light type="point" pos=".5 -.5 1"/><camera'
    model, data = load(EVERYTHING.replace("<camera", lamp))
    names = list(appearance.nominal_look(model, "front"))
    assert set(NEUTRAL) < set(names)
    space = ParamSpace((_row("t", "texture", elements=("*",)), _row("b", "background")))
    scene = build_scene(model, "front", 28, 28)
    looks = look_of(model, len(names) + 2, photometry=True)  # the last two are to compare with
    looks = looks.replace(**{name: _moved(looks, name, i) for i, name in enumerate(names)})
    # A photograph to shift, and soft shadows whose rays all worlds share.
    shift = names.index("background_shift")
    photo = jnp.array([shift, len(names) + 1])
    looks = looks.replace(background=looks.background.at[photo].set(SET["background"]))
    pose = pose_of(scene, data, len(names) + 2)
    pictured = functools.partial(raycast.render, scene, chunk=8, outputs=("rgb", "depth"))
    image = jax.jit(pictured)(
        pose, looks, assets=assets_of(model, scene, space), key=jax.random.key(0)
    )
    rgb, depth = np.asarray(image.rgb).astype(int), np.asarray(image.depth)
    for i, name in enumerate(names):
        same, base = (depth[i], depth[-2]) if name.startswith("depth_") else (rgb[i], rgb[-2])
        if name == "background_shift":
            base = rgb[-1]
        assert np.mean(same != base) > 0.003, name


def test_every_geom_colour_changes_the_pixels_of_that_geom_only() -> None:
    model, data = load(EVERYTHING)
    scene = build_scene(model, "front", 28, 28)
    count = len(scene.geoms)
    look = look_of(model, count + 1)
    look = look.replace(
        geom_rgb=look.geom_rgb.at[jnp.arange(count), jnp.arange(count)].set(jnp.array([0.5, 0, 1])),
    )
    draw = jax.jit(functools.partial(raycast.render, scene, outputs=("rgb", "segmentation")))
    image = draw(pose_of(scene, data, count + 1), look)
    pictures, ids = np.asarray(image.rgb), np.asarray(image.segmentation[0])
    for g, geom in enumerate(scene.geoms):
        changed = (pictures[g] != pictures[-1]).any(axis=-1)
        assert changed.any()
        assert np.all(ids[changed] == geom.id)


def test_nominal_is_the_model_as_written() -> None:
    model, _ = load(EVERYTHING)
    arrays, names = appearance.nominal_look(model, "front"), appearance.look_elements(model)
    colour = dict(zip(names["geom_rgb"], arrays["geom_rgb"], strict=True))
    np.testing.assert_allclose(colour["box"], [0.8, 0.2, 0.2], atol=1e-6)
    floor = names["texture"].index("floor")
    assert arrays["texture"][floor] == 1 + model.texture("grid").id
    assert np.all(np.delete(arrays["texture"], floor) == 0)
    np.testing.assert_allclose(arrays["texture_m"][floor], [1.0, 1.0])
    lit = arrays["light_strength"][:, None] * arrays["light_rgb"]
    np.testing.assert_allclose(lit, [[0.7, 0.65, 0.6]])
    np.testing.assert_allclose(arrays["camera_fovy"], 70)
    np.testing.assert_allclose(arrays["background_high"], [0.3, 0.5, 0.7], atol=0.01)
    np.testing.assert_allclose(arrays["background_low"], [0.1, 0.1, 0.2], atol=0.01)
    assert all(a.dtype == np.float32 for a in arrays.values())


def test_model_without_light_or_sky_is_lit_by_the_camera_alone() -> None:
    xml = '<mujoco><worldbody><camera name="front"/><geom size="1"/></worldbody></mujoco>'
    arrays = appearance.nominal_look(load(xml)[0], "front")
    assert arrays["light_strength"].shape == (0,)
    assert arrays["headlight"] > 0
    assert np.all(arrays["background_high"] == 0)


def test_rows_enter_by_name_and_the_rest_stays_idle() -> None:
    model, _ = load(EVERYTHING)
    space = ParamSpace(
        (
            _row("red", "geom_rgb", elements=("box",), column=0, mode="set", nominal=0.8),
            _row("friction", "light_strength", elements=("light0",)),
            _row("gain", "brightness"),
        )
    )
    binding = appearance.bind_appearance(space, model, "front")
    xi = jnp.array([[0.5, 2.0, 1.5], [0.1, 1.0, 1.0]])
    looks = jax.vmap(functools.partial(appearance.appearance, binding))(xi)
    box = appearance.look_elements(model)["geom_rgb"].index("box")
    np.testing.assert_allclose(looks.geom_rgb[:, box, 0], [0.5, 0.1])
    np.testing.assert_allclose(looks.light_strength[:, 0], [1.4, 0.7], rtol=1e-6)
    np.testing.assert_allclose(looks.brightness, [1.5, 1.0])
    idle = set(NEUTRAL) - {"brightness", "texture"}  # the floor has a texture of its own
    assert all(getattr(looks, name) is None for name in idle)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (_row("a", "light_direction"), "did you mean 'light_dir'"),
        (_row("a", "geom_rgb", elements=("bx",)), "did you mean 'box'"),
        (_row("a", "light_kelvin", elements=("sun",)), "'sun'"),
        (_row("a", "light_dir", elements=("*",), column=3), "column 3"),
    ],
)
def test_wrong_rows_fail_when_bound(row: Param, message: str) -> None:
    model, _ = load(EVERYTHING)
    with pytest.raises(ParamError, match=message):
        appearance.bind_appearance(ParamSpace((row,)), model, "front")


def test_wrong_camera_fails_when_bound() -> None:
    model, _ = load(EVERYTHING)
    with pytest.raises(ParamError, match="unknown camera 'back'"):
        appearance.bind_appearance(ParamSpace(()), model, "back")
