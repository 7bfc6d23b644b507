"""Textures and photographs in the picture: MuJoCo's layout, choice per world, green screen."""

import functools
import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
import pytest
from PIL import Image

from mjx_s2r.params import Param, ParamError, ParamSpace
from mjx_s2r.render import raycast
from mjx_s2r.render.geometry.scene import SceneError, build_scene
from mjx_s2r.render.looks import textures
from mjx_s2r.render.looks.appearance import Appearance, appearance, bind_appearance
from mjx_s2r.render.looks.assets import RenderAssets, RenderConfig, build_assets
from mjx_s2r.render.looks.textures import TextureError
from tests.render.scenes import assets_of, draw, load, look_of, pose_of

SIZE = 64
FOUR = np.zeros((64, 64, 3), np.uint8)  # a colour in each quarter, so that no turn looks the same
FOUR[:32, :32], FOUR[:32, 32:], FOUR[32:, :32] = (255, 0, 0), (0, 255, 0), (0, 0, 255)
FOUR[32:, 32:] = 255
LAID = """
<mujoco><statistic extent="2"/><visual><quality offsamples="0" shadowsize="2048"/></visual>
  <asset><texture name="t" type="2d" file="t.png"/>
    <material name="m" texture="t" specular="0"/>
    <material name="u" texture="t" specular="0" texuniform="true" texrepeat="2 3"/></asset>
  <worldbody><light directional="true" dir="0 0 -1" specular="0 0 0"/>
    <camera name="front" pos="0 0 2" fovy="50"/>{}</worldbody></mujoco>
"""
ROOM = """
<mujoco><statistic extent="2"/><worldbody><camera name="front" pos="0 0 1" fovy="70"/>
  <geom name="table" type="box" size=".5 .5 .1"/><geom name="cube" type="box" size=".1 .1 .3"/>
  </worldbody></mujoco>
"""


def _png(picture: np.ndarray) -> bytes:
    """Returns a PNG file."""
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.mark.parametrize(
    "geom",
    [
        '<geom type="plane" size=".5 .7 .1" material="m"/>',
        '<geom type="plane" size="0 0 .1" material="m"/>',
        '<geom type="plane" size=".5 .7 .1" material="u"/>',
        '<geom type="box" size=".5 .6 .1" euler="20 0 0" material="m"/>',
    ],
)
def test_textures_lie_as_mujoco_lays_them(geom: str) -> None:
    model = mujoco.MjModel.from_xml_string(LAID.format(geom), {"t.png": _png(FOUR)})
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    scene = build_scene(model, "front", SIZE, SIZE)
    ours = draw(scene, pose_of(scene, data), look_of(model), assets=assets_of(model, scene))
    try:
        renderer = mujoco.Renderer(model, SIZE, SIZE)
    except Exception as error:  # every back end fails with a type of its own
        pytest.skip(f"no OpenGL here: {error}")
    with renderer:
        renderer.update_scene(data, "front")
        theirs = renderer.render().astype(int)
    difference = np.abs(np.asarray(ours.rgb[0], int) - theirs).max(axis=-1)
    assert np.mean(difference > 30) < 0.05  # MuJoCo's texels are mixed at their borders
    assert len(np.unique(theirs.reshape(-1, 3) // 64, axis=0)) >= 4


def _row(name: str, array: str, *of: str, limits: tuple[float, float] = (0.0, 1.0)) -> Param:
    """Returns a visual row that sets an array, nominal 0."""
    return Param(name, f"visual.{array}", of, mode="set", nominal=0, initial=(0, 0), limits=limits)


SPACE = ParamSpace(
    (
        _row("table", "texture", "table"),
        _row("cube", "texture", "cube"),
        _row("photo", "background"),
        _row("shift", "background_shift", limits=(-1.0, 1.0)),
    )
)
Draw = Callable[[jax.Array], raycast.Image]


def _drawer(config: RenderConfig) -> tuple[Draw, RenderAssets]:
    """Returns xi (N, 4) -> pictures of the room, compiled, and its assets."""
    model, data = load(ROOM)
    scene = build_scene(model, "front", 48, 48)
    binding = bind_appearance(SPACE, model, "front")
    held = build_assets(model, scene, binding, config)

    @jax.jit
    def shown(xi: jax.Array) -> raycast.Image:
        looks: Appearance = jax.vmap(functools.partial(appearance, binding))(xi)
        outputs = ("rgb", "segmentation", "mask")
        return raycast.render(
            scene, pose_of(scene, data, xi.shape[0]), looks, assets=held, outputs=outputs
        )

    return shown, held


@pytest.fixture(scope="module")
def plain() -> tuple[Draw, RenderAssets]:
    """The room with a assets of three textures and two photographs."""
    return _drawer(RenderConfig(textures=("checker", "stripes", "noise"), texture_px=32))


def test_worlds_choose_textures_by_share(plain: tuple[Draw, RenderAssets]) -> None:
    shown, held = plain
    assert held.pool == 3
    chosen = [int(held.texture_index(jnp.float32(x))) for x in (0.0, 0.24, 0.26, 0.6, 0.99)]
    assert chosen == [-1, -1, 0, 1, 2]
    image = shown(jnp.array([[0, 0, 0, 0], [0.3, 0, 0, 0], [0.6, 0, 0, 0], [0, 0.3, 0, 0]]))
    ids, rgb = np.asarray(image.segmentation[0]), np.asarray(image.rgb).astype(int)
    table, cube = ids == 0, ids == 1
    for world, changed, kept in ((1, table, cube), (2, table, cube), (3, cube, table)):
        assert np.mean((rgb[world] != rgb[0]).any(-1)[changed]) > 0.2
        assert np.all(rgb[world][kept] == rgb[0][kept])
    assert np.any(rgb[1][table] != rgb[2][table])


def test_worlds_choose_and_move_photographs(plain: tuple[Draw, RenderAssets]) -> None:
    shown, _ = plain
    image = shown(jnp.array([[0, 0, 0, 0], [0, 0, 0.5, 0], [0, 0, 0.9, 0], [0, 0, 0.5, 0.7]]))
    rgb, sky = np.asarray(image.rgb), np.asarray(image.segmentation[0]) < 0
    assert np.all(rgb[:, ~sky] == rgb[:1, ~sky])
    assert np.all(rgb[0][sky] == 0)  # no skybox, no photograph
    for other in (2, 3):
        assert np.mean((rgb[1] != rgb[other]).any(-1)[sky]) > 0.5


def test_a_photograph_fills_the_picture_upright(tmp_path: Path) -> None:
    half = np.zeros((60, 60, 3), np.uint8)
    half[:30, :30] = 255  # the upper left quarter
    path = tmp_path / "half.png"
    Image.fromarray(half).save(path)
    shown, _ = _drawer(RenderConfig(photographs=(str(path),)))
    picture = np.asarray(shown(jnp.array([[0, 0, 0.9, 0.0]])).rgb[0])
    assert picture[2, 2].tolist() == [255] * 3
    assert picture[2, 45].tolist() == picture[45, 2].tolist() == [0] * 3


def test_green_screen_keeps_the_foreground_only() -> None:
    plain_draw, _ = _drawer(RenderConfig())
    shown, held = _drawer(RenderConfig(foreground=("cu*",)))
    xi = jnp.zeros((1, 4))
    image, whole = shown(xi), plain_draw(xi)
    cube = np.asarray(image.segmentation[0]) == 1
    np.testing.assert_array_equal(np.asarray(image.mask[0]), cube)
    assert np.all(np.asarray(image.rgb[0])[cube] == np.asarray(whole.rgb[0])[cube])
    photo = textures.photographs(RenderConfig().photographs, 60, 60)[
        0
    ]  # 48 px and a margin of 1.25
    behind = np.asarray(image.rgb[0]).astype(int)[0, 0]
    assert np.abs(behind - photo[6, 6]).max() <= 1
    assert held.photographs is not None


def test_what_nobody_can_choose_is_not_loaded() -> None:
    model, _ = load(ROOM)
    scene = build_scene(model, "front", 8, 8)
    held = assets_of(model, scene, ParamSpace(()))
    assert held.textures is None
    assert held.photographs is None


def test_bad_stocks_are_named() -> None:
    model, _ = load(ROOM)
    scene = build_scene(model, "front", 8, 8)
    binding = bind_appearance(SPACE, model, "front")
    config = RenderConfig()
    with pytest.raises(TextureError, match=r"missing\.png"):
        build_assets(model, scene, binding, replace(config, photographs=("missing.png",)))
    with pytest.raises(TextureError, match="did you mean 'checker'"):
        build_assets(model, scene, binding, replace(config, textures=("cheker",)))
    with pytest.raises(ParamError, match=r"foreground geom 'cub'; did you mean 'cube'"):
        build_assets(model, scene, binding, replace(config, foreground=("cub",)))
    with pytest.raises(SceneError, match="needs photographs"):
        build_assets(model, scene, binding, replace(config, photographs=()))
