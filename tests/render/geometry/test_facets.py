"""Meshes in whole pictures: no hole at an edge, textures, what lies behind, shadows by mj_ray."""

from typing import Any

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
import pytest

from mjx_s2r.render.geometry import detail, facets, raster
from mjx_s2r.render.geometry.meshes import Triangles
from mjx_s2r.render.geometry.rays import look_from
from mjx_s2r.render.geometry.scene import build_scene
from tests.render.scenes import assets_of, cast, draw, load, look_of, pose_of
from tests.render.shapes import ring

SIZE = 32
SIDES = 16  # squares along each side of the plate: its corners lie on every other pixel
LAMPS = {"sun": '<light type="directional" dir=".9 .4 -1"/>', "lamp": '<light pos=".3 .2 .8"/>'}


def _numbers(values: np.ndarray) -> str:
    """Returns numbers as an attribute."""
    return " ".join(map(repr, np.asarray(values).ravel().tolist()))


def _plate() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns vertices of a square of side 2 that looks along z, its faces, texture coordinates.

    Two of the faces have no area but for rounding, one is behind it (MuJoCo takes no flat mesh),
    and an edge of the mesh lies on every other pixel's centre.
    """
    row, column = np.mgrid[: SIDES + 1, : SIDES + 1]
    x, y = (2 * k / SIDES - 1 + 1 / SIZE for k in (column, row))
    points = np.stack([x, y, np.zeros_like(x)], axis=-1).reshape(-1, 3)
    low = (row * (SIDES + 1) + column)[:-1, :-1].ravel()
    faces = [[low, low + 1, low + SIDES + 2], [low, low + SIDES + 2, low + SIDES + 1]]
    none = np.array([[0, 0, 1], [0, 1, 2], [0, len(points), 1]])
    laid = np.stack([column / SIDES, 1 - row / SIDES], axis=-1).reshape(-1, 2)
    points, laid = np.append(points, [[0, -1, -0.5]], axis=0), np.append(laid, [[0, 0]], axis=0)
    return points, np.concatenate([np.moveaxis(np.array(faces), 1, -1).reshape(-1, 3), none]), laid


@pytest.fixture(scope="module")
def plate() -> tuple[mujoco.MjModel, mujoco.MjData, Any]:
    """A plate that fills the picture, and behind the camera another; and how it is drawn."""
    points, faces, laid = _plate()
    spec = mujoco.MjSpec.from_string(
        '<mujoco><visual><headlight ambient="1 1 1" diffuse="0 0 0" specular="0 0 0"/></visual>'
        '<worldbody><camera name="front" pos="0 0 1" fovy="84"/></worldbody></mujoco>'
    )
    image = np.zeros((8, 8, 3), np.uint8)
    image[:4, :4], image[:4, 4:], image[4:, :4] = (200, 0, 0), (0, 200, 0), (0, 0, 200)
    texture = spec.add_texture(name="four", type=mujoco.mjtTexture.mjTEXTURE_2D)
    texture.height = texture.width = 8
    texture.nchannel, texture.data = 3, image.tobytes()
    material = spec.add_material(name="four", texrepeat=[3, 2])
    material.textures[mujoco.mjtTextureRole.mjTEXROLE_RGB] = "four"
    spec.add_mesh(
        name="plate",
        uservert=points.ravel().astype(np.float32),
        userface=faces.ravel().astype(np.int32),
        usertexcoord=laid.ravel().astype(np.float32),
        inertia=mujoco.mjtMeshInertia.mjMESH_INERTIA_SHELL,
    )
    for height in (0.0, 2.0):
        spec.worldbody.add_geom(
            type=mujoco.mjtGeom.mjGEOM_MESH,
            meshname="plate",
            material="four",
            pos=[0, 0, height],
        )
    model = spec.compile()
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(detail, "SHARE", 0.0)  # keep all triangles
        scene = build_scene(model, "front", SIZE, SIZE)
    solid = scene.geoms[0].solid
    assert isinstance(solid, Triangles)
    assert len(solid.corners) > 2 * SIDES**2
    return (
        model,
        data,
        draw(
            scene,
            pose_of(scene, data),
            look_of(model),
            assets=assets_of(model, scene),
            outputs=("rgb", "segmentation", "depth", "normal"),
        ),
    )


def test_no_ray_slips_between_two_triangles(
    plate: tuple[mujoco.MjModel, mujoco.MjData, Any],
) -> None:
    _, _, image = plate
    np.testing.assert_array_equal(image.segmentation, 0)
    np.testing.assert_allclose(image.depth, 1.0, atol=1e-5)
    above = image.normal[:, : SIZE - SIZE // SIDES, :, 2]  # of the corners that the plate has alone
    np.testing.assert_allclose(above, 1.0, atol=2e-3)


def test_a_mesh_shows_its_texture_where_its_coordinates_say(
    plate: tuple[mujoco.MjModel, mujoco.MjData, Any],
) -> None:
    """`texrepeat` does not count, as in MuJoCo's renderer, where there are coordinates."""
    model, data, image = plate
    middle = [SIZE // 4, 3 * SIZE // 4]
    corners = np.asarray(image.rgb)[0][np.ix_(middle, middle)].reshape(4, 3)
    for seen, expected in zip(corners, [(1, 0, 0), (0, 1, 0), (0, 0, 1), (0, 0, 0)], strict=True):
        np.testing.assert_array_equal(seen > 60, np.array(expected, bool))
    try:
        renderer = mujoco.Renderer(model, SIZE, SIZE)
    except Exception as error:  # every back end fails with a type of its own
        pytest.skip(f"no OpenGL here: {error}")
    renderer.update_scene(data, "front")
    theirs = renderer.render().astype(float)
    renderer.close()
    assert np.median(np.abs(np.asarray(image.rgb[0], float) - theirs)) <= 3


@pytest.mark.parametrize("lamp", LAMPS)
def test_shadows_of_a_mesh_match_mj_ray(lamp: str) -> None:
    vertices, faces = ring(14, 9)
    model, data = load(
        f'<mujoco><asset><mesh name="m" vertex="{_numbers(vertices)}" face="{_numbers(faces)}"/>'
        f'</asset><worldbody>{LAMPS[lamp]}<camera name="front" pos="0 0 1.5" fovy="60"/>'
        '<geom name="floor" type="plane" size="0 0 .1"/>'
        '<geom type="mesh" mesh="m" pos="0 0 .25" euler="30 20 0"/></worldbody></mujoco>'
    )
    scene = build_scene(model, "front", SIZE, SIZE)
    soup = raster.soup_of(scene, (1,))
    assert soup is not None
    depth, ids = cast(model, data, scene)
    view = jax.tree.map(
        lambda x: x[None],
        look_from(scene, *jax.tree.map(lambda x: x[0], (pose_of(scene, data), look_of(model)))),
    )
    there = (ids == 0).reshape(1, -1)
    dark = facets.shaded(
        scene,
        soup,
        view,
        0,
        jnp.asarray(depth, jnp.float32).reshape(1, -1),
        jnp.asarray(there),
        lambda function, *args: jax.jit(function)(*args),
        jnp.zeros((1, 2)),
    )
    expected = _blocked(model, data, scene, depth)
    wrong = (np.asarray(dark).reshape(SIZE, SIZE) != expected) & (ids == 0)
    assert 0.05 < expected[ids == 0].mean() < 0.9
    assert wrong.sum() <= 2  # a ray along the edge


def _blocked(
    model: mujoco.MjModel, data: mujoco.MjData, scene: Any, depth: np.ndarray
) -> np.ndarray:
    """Returns (H, W) whether geom 1 stands between the floor under each pixel and the light."""
    focal = np.tan(np.deg2rad(model.cam_fovy[0]) / 2)
    step = (np.arange(SIZE) + 0.5) / SIZE * 2 - 1
    x, y = np.meshgrid(step * focal, -step * focal)
    points = data.cam_xpos[0] + depth[..., None] * np.stack([x, y, -np.ones_like(x)], axis=-1)
    out, found, normal = np.zeros((SIZE, SIZE), bool), np.zeros(1, np.int32), np.zeros(3)
    for i, j in np.ndindex(SIZE, SIZE):
        start = points[i, j] + [0, 0, 1e-3]
        way = -data.light_xdir[0]
        if scene.lights[0].kind != "directional":
            way = data.light_xpos[0] - start
        t = mujoco.mj_ray(model, data, start, way, None, True, -1, found, normal)
        out[i, j] = t > 0 and found[0] == 1 and (scene.lights[0].kind == "directional" or t < 1)
    return out
