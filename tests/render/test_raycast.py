"""Whole pictures against mj_ray and MuJoCo's own renderer, and how worlds are batched."""

import functools
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
import pytest

from mjx_s2r.render import raycast
from mjx_s2r.render.geometry.scene import Scene, SceneError, build_scene
from mjx_s2r.render.raycast import OUTPUTS, Image, render
from tests.render.scenes import (
    EVERYTHING,
    FEW,
    assets_of,
    cast,
    draw,
    load,
    look_of,
    pose_of,
    repeat,
    single,
)

SIZE = 96


@pytest.fixture(scope="module")
def world() -> tuple[mujoco.MjModel, mujoco.MjData, Scene]:
    """The scene of every shape."""
    model, data = load(EVERYTHING)
    return model, data, build_scene(model, "front", SIZE, SIZE)


@pytest.fixture(scope="module")
def small() -> tuple[mujoco.MjModel, mujoco.MjData, Scene]:
    """A scene of three shapes, 8 by 8 pixels, quick to compile."""
    model, data = load(FEW)
    return model, data, build_scene(model, "front", 8, 8)


@pytest.fixture(scope="module")
def image(world: tuple[mujoco.MjModel, mujoco.MjData, Scene]) -> Image:
    """Our picture of it, with all outputs, worlds dropped."""
    model, data, scene = world
    draw = jax.jit(
        functools.partial(render, scene, outputs=OUTPUTS, assets=assets_of(model, scene))
    )
    return jax.tree.map(np.asarray, single(draw(pose_of(scene, data), look_of(model))))


@pytest.fixture(scope="module")
def opengl(world: tuple[mujoco.MjModel, mujoco.MjData, Scene]) -> Iterator[mujoco.Renderer]:
    """MuJoCo's renderer, or a skip where there is no OpenGL."""
    model, data, _ = world
    try:
        renderer = mujoco.Renderer(model, SIZE, SIZE)
    except Exception as error:  # every back end fails with a type of its own
        pytest.skip(f"no OpenGL here: {error}")
    renderer.update_scene(data, "front")
    yield renderer
    renderer.close()


def test_depth_and_geoms_match_mj_ray(
    world: tuple[mujoco.MjModel, mujoco.MjData, Scene], image: Image
) -> None:
    depth, ids = cast(*world)
    assert np.mean(image.segmentation == ids) > 0.999
    same = (ids >= 0) & (image.segmentation == ids)
    assert set(np.unique(ids[same])) == {geom.id for geom in world[2].geoms}
    assert np.quantile(np.abs(image.depth - depth)[same] / depth[same], 0.999) < 1e-4
    assert np.all(image.depth[image.segmentation < 0] == 0)


def test_segmentation_overlaps_mujocos(
    world: tuple[mujoco.MjModel, mujoco.MjData, Scene], image: Image, opengl: mujoco.Renderer
) -> None:
    opengl.enable_segmentation_rendering()
    theirs = opengl.render()[..., 0]
    opengl.disable_segmentation_rendering()
    overlap = union = 0
    for geom in world[2].geoms:
        ours, expected = image.segmentation == geom.id, theirs == geom.id
        overlap, union = overlap + (ours & expected).sum(), union + (ours | expected).sum()
    assert overlap / union >= 0.99


def test_depth_is_that_of_mujocos_renderer(image: Image, opengl: mujoco.Renderer) -> None:
    opengl.enable_depth_rendering()
    theirs = opengl.render()
    opengl.disable_depth_rendering()
    shown = image.segmentation >= 0
    # OpenGL draws round shapes as facets, hence the loose quantile.
    assert np.quantile(np.abs(image.depth - theirs)[shown], 0.97) < 1e-2


def test_colours_are_those_of_mujocos_renderer(image: Image, opengl: mujoco.Renderer) -> None:
    difference = np.abs(image.rgb.astype(float) - opengl.render())
    assert np.median(difference) <= 3
    assert difference.mean() < 6


def test_a_world_does_not_depend_on_its_batch(
    small: tuple[mujoco.MjModel, mujoco.MjData, Scene],
) -> None:
    model, data, _ = small
    scene = build_scene(model, "front", 12, 8)
    pose, look = pose_of(scene, data, 5), look_of(model, 5)
    moved = 0.1 * jax.random.normal(jax.random.key(0), (5, 3))
    pose = pose.replace(cam_pos=pose.cam_pos + moved)
    draw = jax.jit(functools.partial(render, scene, outputs=OUTPUTS, chunk=2))
    together = draw(pose, look)
    assert together.rgb.shape == (5, 12, 8, 3)
    assert together.rgb.dtype == jnp.uint8
    for i in range(5):
        alone = draw(*jax.tree.map(lambda leaf, i=i: leaf[i : i + 1], (pose, look)))
        np.testing.assert_array_equal(alone.segmentation[0], together.segmentation[i])
        np.testing.assert_allclose(alone.depth[0], together.depth[i], rtol=1e-5)
        difference = np.abs(alone.rgb[0].astype(int) - together.rgb[i].astype(int))
        assert np.mean(difference > 1) < 0.01


def test_memory_does_not_grow_with_worlds_times_geoms(
    small: tuple[mujoco.MjModel, mujoco.MjData, Scene],
) -> None:
    model, data, _ = small
    scene = build_scene(model, "front", 32, 32)
    pose, look = pose_of(scene, data), look_of(model)
    used = {}
    for worlds in (16, 64):
        args = jax.eval_shape(functools.partial(repeat, worlds=worlds), single((pose, look)))
        draw = jax.jit(functools.partial(render, scene, chunk=4))
        memory = draw.lower(*args).compile().memory_analysis()
        used[worlds] = memory.temp_size_in_bytes
    picture = 32 * 32 * 3
    assert used[64] - used[16] < 48 * 2 * picture


def test_works_inside_a_scan(small: tuple[mujoco.MjModel, mujoco.MjData, Scene]) -> None:
    model, data, scene = small
    pose, look = pose_of(scene, data, 2), look_of(model, 2)

    def step(shift: jax.Array, _: None) -> tuple[jax.Array, jax.Array]:
        moved = pose.replace(cam_pos=pose.cam_pos + shift)
        return shift + 0.1, render(scene, moved, look).rgb

    _, film = jax.jit(lambda: jax.lax.scan(step, jnp.zeros(()), None, length=3))()
    assert film.shape == (3, 2, 8, 8, 3)
    assert np.any(np.asarray(film[0]) != np.asarray(film[2]))


def test_a_pose_that_is_not_finite_never_looks_like_a_picture(
    small: tuple[mujoco.MjModel, mujoco.MjData, Scene],
) -> None:
    model, data, scene = small
    pose, look = pose_of(scene, data, 3), look_of(model, 3)
    pose = pose.replace(geom_pos=pose.geom_pos.at[0, 2, 1].set(jnp.nan))
    look = look.replace(ambient=look.ambient.at[1].set(jnp.inf))
    image = draw(scene, pose, look, outputs=OUTPUTS)  # all three in one chunk
    for broken in (0, 1):
        assert np.all(np.asarray(image.rgb[broken]) == 255)
        assert np.isnan(image.depth[broken]).all()
        assert np.isnan(image.normal[broken]).all()
        assert np.all(np.asarray(image.segmentation[broken]) == -2)
    assert np.isfinite(image.depth[2]).all()
    assert np.asarray(image.segmentation[2]).max() >= 0
    alone = draw(scene, *jax.tree.map(lambda x: x[2:], (pose, look)))
    np.testing.assert_array_equal(image.rgb[2], alone.rgb[0])


def test_empty_scene_shows_the_sky() -> None:
    model, data = load('<mujoco><worldbody><camera name="front"/></worldbody></mujoco>')
    scene = build_scene(model, "front", 4, 4)
    look = look_of(model).replace(background_high=jnp.ones((1, 3)))
    image = draw(scene, pose_of(scene, data), look, outputs=OUTPUTS)
    assert np.all(np.asarray(image.segmentation) == -1)
    assert np.asarray(image.rgb).max() > 0


def test_only_what_was_asked_for_is_computed(
    small: tuple[mujoco.MjModel, mujoco.MjData, Scene],
) -> None:
    model, data, scene = small
    image = draw(scene, pose_of(scene, data), look_of(model), outputs=("depth",))
    assert image.rgb is None
    assert image.segmentation is None
    assert image.depth.shape == (1, 8, 8)


def test_wrong_calls_say_what_is_wrong(
    small: tuple[mujoco.MjModel, mujoco.MjData, Scene],
) -> None:
    model, data, scene = small
    pose, look = pose_of(scene, data), look_of(model)
    with pytest.raises(SceneError, match="unknown output 'rgbd'; known: rgb, depth, segmentation"):
        render(scene, pose, look, outputs=("rgbd",))
    with pytest.raises(SceneError, match="a world axis"):
        render(scene, single(pose), look)
    with pytest.raises(SceneError, match="does not fit 1 worlds of 3 geoms"):
        render(scene, pose, look_of(model, 2))


def test_float_image_is_the_picture_before_rounding(
    world: tuple[mujoco.MjModel, mujoco.MjData, Scene], image: Image
) -> None:
    model, data, scene = world
    smooth = jax.jit(functools.partial(raycast.float_image, scene, assets=assets_of(model, scene)))
    ours = smooth(single(pose_of(scene, data)), single(look_of(model)))
    difference = np.abs(np.asarray(ours) * 255 - image.rgb)
    assert np.mean(difference > 1.5) < 0.01


def test_worlds_may_be_sharded(small: tuple[mujoco.MjModel, mujoco.MjData, Scene]) -> None:
    model, data, scene = small
    if jax.device_count() < 2:
        pytest.skip("one device only")
    pose, look = pose_of(scene, data, 8), look_of(model, 8)
    moved = 0.1 * jax.random.normal(jax.random.key(0), (8, 3))
    pose = pose.replace(cam_pos=pose.cam_pos + moved)
    draw = jax.jit(functools.partial(render, scene, outputs=("depth",), chunk=4))
    mesh = jax.sharding.Mesh(jax.devices()[:2], ("worlds",))
    place = jax.NamedSharding(mesh, jax.P("worlds"))
    spread = draw(*jax.device_put((pose, look), place))
    np.testing.assert_allclose(spread.depth, draw(pose, look).depth, rtol=1e-5)
