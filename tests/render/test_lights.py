"""Lights of every kind, their colours and their shadows: closed forms, and MuJoCo's renderer."""

import functools

import jax.numpy as jnp
import mujoco
import numpy as np
import pytest

from mjx_s2r.render.geometry.scene import Scene, build_scene
from mjx_s2r.render.looks.appearance import Appearance
from mjx_s2r.render.looks.temperature import tint
from tests.render.scenes import draw, draw_float, load, look_of, pose_of, single

SIZE = 64
ROOM = """
<mujoco><statistic extent="1"/>
  <visual><quality shadowsize="4096" offsamples="0"/>
    <headlight ambient=".1 .1 .1" diffuse="0 0 0" specular="0 0 0"/></visual>
  <worldbody>{lights}
  <camera name="front" pos="0 -.3 2" xyaxes="1 0 0 0 1 .15" fovy="55"/>
  <geom name="floor" type="plane" size="3 3 .05" rgba=".6 .6 .6 1"/>
  <geom name="cube" type="box" size=".15 .15 .15" pos=".2 .1 .3" rgba=".9 .5 .3 1"/>
  <geom name="ball" type="sphere" size=".15" pos="-.4 -.1 .2" rgba=".3 .5 .9 1"/>
  </worldbody></mujoco>
"""
KINDS = {
    "spot": '<light type="spot" pos=".3 -.2 1.4" dir="-.2 .1 -1" cutoff="35" exponent="4" '
    'diffuse=".9 .9 .9" specular="0 0 0"/>',
    "two": '<light directional="true" pos="-1 0 2" dir=".5 .2 -1" diffuse=".4 .3 .2" '
    'specular="0 0 0"/><light directional="true" pos="1 0 2" dir="-.6 .1 -1" diffuse=".2 .3 .4" '
    'specular="0 0 0"/>',
    "shadowless": '<light directional="true" dir=".5 .2 -1" diffuse=".6 .6 .6" specular="0 0 0" '
    'castshadow="false"/>',
}


def _scene(lights: str, size: int = SIZE) -> tuple[mujoco.MjModel, mujoco.MjData, Scene]:
    """Returns the room with some lights."""
    model, data = load(ROOM.format(lights=lights))
    return model, data, build_scene(model, "front", size, size)


def _opengl(model: mujoco.MjModel, data: mujoco.MjData) -> np.ndarray:
    """Returns MuJoCo's picture, or skips where there is no OpenGL."""
    try:
        renderer = mujoco.Renderer(model, SIZE, SIZE)
    except Exception as error:  # every back end fails with a type of its own
        pytest.skip(f"no OpenGL here: {error}")
    with renderer:
        renderer.update_scene(data, "front")
        return renderer.render().copy()


@pytest.mark.parametrize("kind", KINDS)
def test_light_falls_as_in_mujocos_renderer(kind: str) -> None:
    model, data, scene = _scene(KINDS[kind])
    theirs = _opengl(model, data).astype(float)
    ours = draw(scene, pose_of(scene, data), look_of(model)).rgb[0]
    difference = np.abs(np.asarray(ours, float) - theirs).mean(axis=-1)
    # OpenGL lights corners and interpolates between them, so a spot's rim is ragged; and its
    # shadow map covers the inner part of a spot only.
    assert np.median(difference) < 3
    assert np.mean(difference > 25) < (0.04 if kind == "spot" else 0.02)
    assert theirs.std() > 10  # there is something to see


def test_a_point_light_falls_off_with_distance_and_angle() -> None:
    """Closed form; MuJoCo's OpenGL renderer leaves point lights out."""
    lamp = '<light type="point" pos="-.8 .3 1" attenuation=".5 .2 .4" specular="0 0 0"/>'
    model, data, scene = _scene(lamp)
    image = draw(
        scene, pose_of(scene, data), look_of(model), outputs=("rgb", "depth", "segmentation")
    )
    pixel = (50, 12)  # on the floor, out of every shadow
    assert image.segmentation[(0, *pixel)] == 0
    tangent = np.tan(np.deg2rad(27.5))
    ray = np.array([(pixel[1] - 31.5) / 32 * tangent, (31.5 - pixel[0]) / 32 * tangent, -1.0])
    point = data.cam_xpos[0] + data.cam_xmat[0].reshape(3, 3) @ ray * float(
        image.depth[(0, *pixel)]
    )
    way = np.array([-0.8, 0.3, 1.0]) - point
    far = np.linalg.norm(way)
    falloff = 1 / (0.5 + 0.2 * far + 0.4 * far**2)
    expected = 0.6 * (0.1 + 0.7 * falloff * way[2] / far)
    np.testing.assert_allclose(image.rgb[(0, *pixel)] / 255, expected, atol=0.006)


@pytest.fixture(scope="module")
def sun() -> tuple[Scene, Appearance, functools.partial]:
    """The room under one sun straight above, its look, and the picture of a look, compiled."""
    model, data, scene = _scene('<light name="sun" directional="true" dir="0 0 -1"/>')
    pictured = functools.partial(draw_float, scene, single(pose_of(scene, data)))
    return scene, single(look_of(model, photometry=True)), pictured


@pytest.mark.slow
def test_colour_temperature_is_the_ratio_of_the_channels(
    sun: tuple[Scene, Appearance, functools.partial],
) -> None:
    _, look, draw = sun
    dark = look.replace(ambient=jnp.float32(0), headlight=jnp.float32(0))
    cold, warm = (draw(dark.replace(light_kelvin=jnp.full(1, k))) for k in (6500.0, 3000.0))
    lit = np.asarray(cold)[..., 0] > 0.1
    ratio = np.asarray(warm)[lit] / np.asarray(cold)[lit]
    np.testing.assert_allclose(np.median(ratio, axis=0), tint(jnp.float32(3000.0)), rtol=0.02)


@pytest.mark.slow
def test_lights_past_the_count_are_off(sun: tuple[Scene, Appearance, functools.partial]) -> None:
    _, look, draw = sun
    none = draw(look.replace(light_count=jnp.float32(0)))
    off = draw(look.replace(light_strength=jnp.zeros(1)))
    np.testing.assert_allclose(none, off, atol=1e-6)
    assert np.abs(np.asarray(draw(look)) - np.asarray(none)).max() > 0.1


@pytest.mark.slow
def test_a_wide_lamp_makes_a_wide_penumbra() -> None:
    """The share of a disk that an edge covers, against the rays that arrive across the shadow."""
    model, data = load("""<mujoco><statistic extent="1"/><worldbody>
      <light name="sun" directional="true" dir="0 0 -1"/>
      <camera name="front" pos="0 0 3" fovy="20"/>
      <geom type="plane" size="0 0 .1" rgba="1 1 1 1"/>
      <geom type="box" size="1 4 .01" pos="-1 0 1" group="2"/></worldbody></mujoco>""")
    scene = build_scene(model, "front", 64, 64, shadow_rays=15)
    hidden = jnp.array([1.0, 1.0])
    look = single(look_of(model, photometry=True))
    spread = 0.2
    look = look.replace(
        light_softness=jnp.full(1, np.arctan(spread)),
        headlight=jnp.float32(0),
        ambient=jnp.float32(0),
        light_strength=jnp.full(1, 0.5),
        specular=jnp.float32(0),
        geom_shown=hidden,
    )
    picture = draw_float(scene, single(pose_of(scene, data)), look)
    x = (np.arange(64) - 31.5) * 2 * np.tan(np.deg2rad(10)) * 3 / 64
    columns = np.asarray(picture)[:, :, 0].mean(axis=0) / 0.5
    seen = x > 0.03  # the shelf itself hides what lies to the left
    # The edge is 1 m above: a point at x sees the part of the disk that lies beyond -x / spread.
    c = np.clip(-x / spread, -1, 1)
    share = (np.arccos(c) - c * np.sqrt(1 - c**2)) / np.pi
    np.testing.assert_allclose(columns[seen], share[seen], atol=0.06)
    assert columns[seen].min() < 0.75
    assert columns[seen].max() > 0.95


def test_a_lamp_on_a_body_moves_with_it() -> None:
    xml = """<mujoco><statistic extent="1"/><visual><headlight active="0"/></visual><worldbody>
      <camera name="front" pos="0 0 3" fovy="60"/><geom type="plane" size="0 0 .1"/>
      <body><joint type="slide" axis="1 0 0"/><geom size=".01" rgba="1 1 1 0"/>
        <light type="spot" pos="0 0 1" dir="0 0 -1" cutoff="20"/></body></worldbody></mujoco>"""
    model, data = load(xml)
    scene = build_scene(model, "front", 32, 32)
    bright = []
    for x in (-0.6, 0.6):
        data.qpos[:] = x
        mujoco.mj_forward(model, data)
        rgb = draw(scene, pose_of(scene, data), look_of(model)).rgb[0]
        light = np.asarray(rgb, float).sum(axis=(0, 2))
        bright.append((light * (np.arange(32) - 15.5)).sum() / light.sum())
    assert bright[0] == pytest.approx(-bright[1], abs=0.3)
    assert bright[1] == pytest.approx(0.6 / (3 * np.tan(np.pi / 6)) * 16, abs=1.0)


def test_glass_is_blended_as_mujoco_does() -> None:
    """Figures of MuJoCo's renderer: a solid is drawn twice, 1 - (1 - a)^2, and casts no shadow."""
    xml = """<mujoco><statistic extent="2"/><visual><quality offsamples="0" shadowsize="2048"/>
      <headlight diffuse=".2 .2 .2" ambient=".1 .1 .1" specular="0 0 0"/></visual><worldbody>
      <light directional="true" dir="0 0 -1" specular="0 0 0" diffuse=".5 .5 .5"/>
      <camera name="front" pos="0 0 2" fovy="50"/><geom type="plane" size="2 2 .1" rgba="0 0 1 1"/>
      <geom type="box" size=".3 .3 .05" pos=".5 0 .5" rgba="0 1 0 {}"/></worldbody></mujoco>"""
    for alpha, expected in ((0.5, (0, 153, 51)), (0.25, (0, 89, 115))):
        model, data = load(xml.format(alpha))
        scene = build_scene(model, "front", 50, 50)
        image = draw(scene, pose_of(scene, data), look_of(model), outputs=("rgb", "segmentation"))
        np.testing.assert_allclose(image.rgb[0, 25, 35], expected, atol=2)
        assert image.segmentation[0, 25, 35] == 1
