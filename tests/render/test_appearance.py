"""The look of a world: where it comes from, how the table touches it, and that it can be seen."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mjx_s2r.params import Param, ParamError, ParamSpace
from mjx_s2r.render import appearance, camera, raycast
from mjx_s2r.render.appearance import NEUTRAL
from tests.render.scenes import EVERYTHING, load, look_of, pose_of

# What is added to each array to show that pixels notice.
NUDGE = {
    "checker_m": 0.11,
    "camera_pos": 0.05,
    "camera_rot": 0.05,
    "camera_fovy": 5.0,
    "noise_std": 0.05,
    "blur_px": 0.7,
}


def _row(name: str, array: str, **rest: Any) -> Param:
    """Returns a visual row."""
    return Param(name, f"visual.{array}", limits=(0.0, 2.0), **rest)


def test_every_array_changes_pixels() -> None:
    model, data = load(EVERYTHING)
    names = list(appearance.nominal(model, "front"))
    scene = camera.build(model, "front", 40, 40)
    looks = look_of(model, len(names) + 1, photometry=True)
    looks = looks.replace(
        **{
            name: getattr(looks, name).at[i].add(NUDGE.get(name, 0.2))
            for i, name in enumerate(names)
        }
    )
    pose = pose_of(scene, data, len(names) + 1)
    draw = jax.jit(functools.partial(raycast.render, scene, chunk=8))
    pictures = np.asarray(draw(pose, looks, key=jax.random.key(0)).rgb).astype(int)
    for i, name in enumerate(names):
        assert np.mean(pictures[i] != pictures[-1]) > 0.003, name


def test_every_geom_colour_changes_the_pixels_of_that_geom_only() -> None:
    model, data = load(EVERYTHING)
    scene = camera.build(model, "front", 40, 40)
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
    arrays, names = appearance.nominal(model, "front"), appearance.elements(model)
    colour = dict(zip(names["geom_rgb"], arrays["geom_rgb"], strict=True))
    np.testing.assert_allclose(colour["box"], [0.8, 0.2, 0.2], atol=1e-6)
    assert names["checker_rgb"] == ["floor", "shelf"]
    floor = names["checker_rgb"].index("floor")
    first, second = colour["floor"], colour["floor"] + arrays["checker_rgb"][floor]
    pair = {tuple(c.astype(float).round(1)) for c in (first, second)}
    assert pair == {(0.4, 0.5, 0.6), (0.7, 0.7, 0.6)}
    np.testing.assert_allclose(arrays["checker_m"][floor], [0.5, 0.5])
    np.testing.assert_allclose(arrays["light_strength"] * arrays["light_rgb"], [0.7, 0.65, 0.6])
    np.testing.assert_allclose(arrays["camera_fovy"], 70)
    np.testing.assert_allclose(arrays["background_high"], [0.3, 0.5, 0.7], atol=0.01)
    np.testing.assert_allclose(arrays["background_low"], [0.1, 0.1, 0.2], atol=0.01)
    assert all(a.dtype == np.float32 for a in arrays.values())


def test_model_without_light_or_sky_is_lit_by_the_camera_alone() -> None:
    xml = '<mujoco><worldbody><camera name="front"/><geom size="1"/></worldbody></mujoco>'
    arrays = appearance.nominal(load(xml)[0], "front")
    assert arrays["light_strength"] == 0
    assert arrays["headlight"] > 0
    assert np.all(arrays["background_high"] == 0)
    assert arrays["checker_rgb"].shape == (0, 3)


def test_rows_enter_by_name_and_the_rest_stays_idle() -> None:
    model, _ = load(EVERYTHING)
    space = ParamSpace(
        (
            _row("red", "geom_rgb", of=("box",), column=0, mode="set", nominal=0.8),
            _row("friction", "light_strength"),
            _row("gain", "brightness"),
        )
    )
    binding = appearance.bind_appearance(space, model, "front")
    xi = jnp.array([[0.5, 2.0, 1.5], [0.1, 1.0, 1.0]])
    looks = jax.vmap(functools.partial(appearance.appearance, binding))(xi)
    box = appearance.elements(model)["geom_rgb"].index("box")
    np.testing.assert_allclose(looks.geom_rgb[:, box, 0], [0.5, 0.1])
    np.testing.assert_allclose(looks.light_strength, [1.4, 0.7], rtol=1e-6)
    np.testing.assert_allclose(looks.brightness, [1.5, 1.0])
    idle = set(NEUTRAL) - {"brightness"}
    assert all(getattr(looks, name) is None for name in idle)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (_row("a", "light_direction"), "did you mean 'light_dir'"),
        (_row("a", "geom_rgb", of=("bx",)), "did you mean 'box'"),
        (_row("a", "checker_rgb", of=("box",)), "'box'"),
        (_row("a", "light_dir", column=3), "column 3"),
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
