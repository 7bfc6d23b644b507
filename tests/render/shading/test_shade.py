"""Shading against closed forms: one sphere or box over a plane, one light, one camera above."""

import functools

import jax.numpy as jnp
import numpy as np
import pytest

from mjx_s2r.render.geometry.scene import Scene, build_scene
from mjx_s2r.render.looks.appearance import Appearance
from mjx_s2r.render.shading import shade
from tests.render.scenes import draw_float, load, look_of, pose_of, single

ABOVE = """
<mujoco><statistic extent="1"/><worldbody>
  <light directional="true" dir="0 0 -1" diffuse=".6 .6 .6" specular="0 0 0"/>
  <camera name="front" pos="0 0 2" fovy="60"/>
  <geom name="floor" type="plane" size="0 0 .1" rgba=".4 .6 .8 1"/>
  <geom name="cube" type="box" size=".1 .1 .1" pos="0 0 .5" rgba="1 1 1 1"/>
</worldbody></mujoco>
"""


@pytest.fixture(scope="module")
def above() -> tuple[Scene, Appearance, functools.partial]:
    """The scene, its look, and the picture of a look as a compiled function."""
    model, data = load(ABOVE)
    scene = build_scene(model, "front", 81, 81)
    draw = functools.partial(draw_float, scene, single(pose_of(scene, data)))
    return scene, single(look_of(model)), draw


def test_lit_plane_is_albedo_times_all_lights(
    above: tuple[Scene, Appearance, functools.partial],
) -> None:
    _, look, draw = above
    # ambient 0.1, headlight 0.4 and light 0.6 all meet the plane head on
    np.testing.assert_allclose(draw(look)[2, 2], np.array([0.4, 0.6, 0.8]) * 1.1, atol=1e-3)


def test_shadow_falls_where_the_light_says(
    above: tuple[Scene, Appearance, functools.partial],
) -> None:
    _, look, draw = above
    slanted = look.replace(light_dir=jnp.array([[1.0, 0.0, -1.0]]), light_strength=jnp.ones(1))
    red = np.asarray(draw(slanted))[40, :, 0]
    pixel = 2 * np.tan(np.deg2rad(30)) * 2 / 81  # m of floor per pixel
    x = (np.arange(81) - 40) * pixel
    # The cube spans x = +-0.1, z = 0.4 to 0.6: at 45 degrees its shadow spans 0.3 to 0.7.
    lit, shadow = 0.4 * (0.5 + np.sqrt(0.5)), 0.4 * 0.5
    np.testing.assert_allclose(red[(x > 0.33) & (x < 0.67)], shadow, atol=1e-3)
    np.testing.assert_allclose(red[(x > 0.74) | (x < -0.2)], lit, atol=1e-3)


def test_light_from_below_adds_nothing(
    above: tuple[Scene, Appearance, functools.partial],
) -> None:
    _, look, draw = above
    below = draw(look.replace(light_dir=jnp.array([[0.0, 0.0, 1.0]])))
    np.testing.assert_allclose(below[2, 2], np.array([0.4, 0.6, 0.8]) * 0.5, atol=1e-3)


def test_highlight_sits_where_the_half_vector_meets_the_normal() -> None:
    model, data = load(
        ABOVE.replace('type="box" size=".1 .1 .1"', 'type="sphere" size=".3"')
        .replace('specular="0 0 0"', 'specular="1 1 1"')
        .replace('rgba="1 1 1 1"', 'rgba="0 0 0 1"')
        .replace("<worldbody>", '<visual><headlight active="0"/></visual><worldbody>')
        .replace('dir="0 0 -1"', 'dir="1 0 -1"')
    )
    scene = build_scene(model, "front", 81, 81)
    picture = draw_float(scene, single(pose_of(scene, data)), single(look_of(model)))
    row, column = np.unravel_index(np.asarray(picture)[..., 0].argmax(), (81, 81))
    # Light from (-1, 0, 1), camera straight above: the normal leans 22.5 degrees towards -x.
    x, z = -0.3 * np.sin(np.pi / 8), 0.5 + 0.3 * np.cos(np.pi / 8)
    expected = 40 + x / (2 - z) / np.tan(np.deg2rad(30)) * 40.5
    assert row == 40
    assert abs(column - expected) < 2  # the camera is near, so its rays are not quite parallel


def test_packed_normals_are_a_thousandth_off_at_most() -> None:
    vectors = np.random.default_rng(0).normal(size=(3, 1000)).astype(np.float32)
    vectors = np.concatenate([vectors / np.linalg.norm(vectors, axis=0), np.eye(3)], axis=1)
    back = shade.unpack_normal(shade.pack_normal(tuple(jnp.asarray(vectors, jnp.float32))))
    assert np.abs(np.stack(back) - vectors).max() < 1.5e-3
    np.testing.assert_allclose(np.linalg.norm(np.stack(back), axis=0), 1, atol=1e-5)


def test_choose_returns_the_value_of_each_slot() -> None:
    out = shade.choose(jnp.array([-1, 1, 0, 2]), [5, 6, 7], -3)
    np.testing.assert_array_equal(out, [-3, 6, 5, 7])
