"""Ground of each world: what rows make of a height field, felt and seen as C MuJoCo has it."""

from typing import cast

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
import pytest

from mjx_s2r.params import Param, ParamError, ParamSpace, scale, set_to
from mjx_s2r.render.geometry.pose import scene_pose
from mjx_s2r.render.geometry.scene import build_scene
from mjx_s2r.render.looks.appearance import appearance, bind_appearance
from mjx_s2r.render.raycast import render
from mjx_s2r.sim import physics
from mjx_s2r.sim.backends.physics_config import ModelError, PhysicsConfig
from mjx_s2r.sim.model import terrain
from mjx_s2r.sim.model.leaves import bind_model, leaves, write

XML = """
<mujoco>
  <option timestep="0.004" iterations="20"/>
  <asset><hfield name="hills" nrow="9" ncol="7" size="1.5 2 0.4 0.1" elevation="{heights}"/></asset>
  <worldbody>
    <light pos="0 0 3" dir="0 0 -1"/>
    <camera name="top" pos="0 -1 2.5" xyaxes="1 0 0 0 0.9 0.4"/>
    <geom name="ground" type="{kind}" {what} size="1 1 1"/>
    <body name="ball" pos="0.9 1.1 0.55"><freejoint/><geom size="0.1" mass="1"/></body>
  </worldbody>
</mujoco>"""
HILL, SEED = ("hills",), set_to("seed", "model.terrain_seed", ("hills",), (0, 99))
SPACE = ParamSpace((scale("height", "model.terrain_height", HILL, (0, 1)), SEED))
DRAWS = np.array([[1, 0], [1, 3], [0.5, 3], [1, 4], [0, 4]], np.float32)


def _model(kind: str = "hfield", slope: float = 1.0) -> mujoco.MjModel:
    """Returns a ball above a field that is level along x and has waves along y."""
    heights = np.tile(0.5 + 0.5 * slope * np.cos(np.arange(9)[:, None] * np.pi / 2), (1, 7))
    what = 'hfield="hills"' if kind == "hfield" else ""
    text = " ".join(map(str, heights.ravel()))
    return mujoco.MjModel.from_xml_string(XML.format(heights=text, kind=kind, what=what))


def _written(xi: np.ndarray) -> mujoco.MjModel:
    """Returns the model of a world in C MuJoCo."""
    model = _model()
    write(model, bind_model(SPACE, model), xi)
    return model


@pytest.fixture(scope="module")
def worlds() -> list[mujoco.MjModel]:
    """The models of `DRAWS`."""
    return [_written(xi) for xi in DRAWS]


def test_relief_is_that_of_the_rows(worlds: list[mujoco.MjModel]) -> None:
    data = np.array([m.hfield_data for m in worlds]).reshape(-1, 9, 7)
    as_written = _model().hfield_data.reshape(9, 7)
    np.testing.assert_allclose(data[0], as_written, atol=1e-6)
    middle = as_written[4, 3]
    np.testing.assert_allclose(data[:, 4, 3], middle, atol=1e-6)
    np.testing.assert_allclose(data[2] - middle, (data[1] - middle) / 2, atol=1e-6)
    np.testing.assert_allclose(data[4], middle, atol=1e-6)
    assert np.abs(data[3] - data[1]).max() > 0.3
    assert data.min() >= -1e-6
    assert data.max() <= 1 + 1e-6


def test_random_ground_has_the_spread_and_the_width_that_it_says() -> None:
    """Over many seeds: unit variance before the cut, correlation exp(-d^2 / (4 w^2))."""
    (field,) = terrain.fields_of(_model())
    many = np.stack([terrain._noise(np, field, np.float32(s)) for s in range(2000)])
    many = many.reshape(2000, -1)
    assert abs(many.mean()) < 0.05
    assert abs(many.var() - 1) < 0.1
    both = (many[:, :-1] * many[:, 1:]).reshape(2000, -1)[:, 0].mean()  # two columns, 0.5 m apart
    assert abs(both - np.exp(-(0.5**2) / (4 * terrain.WIDTH_M**2))) < 0.2  # M waves, not infinitely


def test_engine_c_feels_the_ground_of_each_world(worlds: list[mujoco.MjModel]) -> None:
    model = _model()
    binding, engine = bind_model(SPACE, model), physics.put_model(model, PhysicsConfig("c"))
    held = jax.vmap(lambda xi: leaves(engine, binding, xi))(jnp.asarray(DRAWS))
    state = physics.initial_state(engine, jnp.asarray(model.qpos0), jnp.zeros(model.nv))
    many = jax.tree.map(lambda x: jnp.repeat(x[None], len(DRAWS), 0), state)
    move = jax.vmap(
        lambda own, now: physics.advance_together(engine, own, now, jnp.zeros((150, 0)))
    )
    ends = np.asarray(move(held, many).qpos)
    for qpos, m in zip(ends, worlds, strict=True):
        data = mujoco.MjData(m)
        mujoco.mj_step(m, data, 150)
        np.testing.assert_allclose(qpos, data.qpos, atol=1e-4)
    assert np.ptp(ends[:, 2]) > 0.05  # at other heights


@pytest.mark.slow
def test_mjx_rests_where_c_mujoco_rests(worlds: list[mujoco.MjModel]) -> None:
    """Contact points differ (prisms against a convex solver), so the height of the ball counts."""
    model = _model()
    binding, engine = bind_model(SPACE, model), physics.put_model(model)
    own = jax.vmap(lambda xi: leaves(engine, binding, xi))(jnp.asarray(DRAWS))
    state = physics.initial_state(engine, jnp.asarray(model.qpos0), jnp.zeros(model.nv))
    many = jax.tree.map(lambda x: jnp.repeat(x[None], len(DRAWS), 0), state)

    @jax.jit
    def fall(states: physics.PhysicsState) -> physics.PhysicsState:
        def one(now: physics.PhysicsState, _: None) -> tuple[physics.PhysicsState, None]:
            step = jax.vmap(lambda o, s: physics.advance(engine, o, s, jnp.zeros(0)))
            return step(own, now), None

        return cast(physics.PhysicsState, jax.lax.scan(one, states, None, 80)[0])

    ends = np.asarray(fall(many).qpos)
    for qpos, m in zip(ends, worlds, strict=True):
        data = mujoco.MjData(m)
        mujoco.mj_step(m, data, 80)
        print(qpos, data.qpos)
        np.testing.assert_allclose(qpos[:3], data.qpos[:3], atol=5e-3)


def test_the_picture_shows_the_ground_of_each_world(worlds: list[mujoco.MjModel]) -> None:
    """The oracle is mj_ray on the model written in C, at every pixel."""
    model = _model()
    scene = build_scene(model, "top", 24, 24)
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    heights = jnp.asarray(np.array([m.hfield_data for m in worlds]))
    one = jax.tree.map(jnp.float32, scene_pose(scene, data))
    pose = jax.tree.map(lambda x: jnp.repeat(x[None], len(worlds), 0), one)
    pose = pose.replace(hfield_data=heights)
    look = appearance(bind_appearance(ParamSpace(()), model, "top"), jnp.zeros(0))
    looks = jax.tree.map(lambda x: jnp.repeat(x[None], len(worlds), 0), look)
    depth = np.asarray(
        jax.jit(lambda p, k: render(scene, p, k, outputs=("depth",)).depth)(pose, looks)
    )
    for ours, m in zip(depth, worlds, strict=True):
        theirs = _rays(m)
        assert np.mean(np.abs(ours - theirs) < 2e-3) > 0.98  # edges of the field aside
    assert np.abs(depth[1] - depth[3]).max() > 0.05


def _rays(model: mujoco.MjModel) -> np.ndarray:
    """Returns (24, 24) the depth that mj_ray meets, 0 for nothing."""
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    axes, eye = data.camera("top").xmat.reshape(3, 3), data.camera("top").xpos
    focal = np.tan(np.deg2rad(model.cam_fovy[0]) / 2)
    out, hit = np.zeros((24, 24)), np.zeros(1, np.int32)
    for row in range(24):
        for column in range(24):
            x, y = (column + 0.5 - 12) / 12 * focal, (12 - row - 0.5) / 12 * focal
            far = mujoco.mj_ray(model, data, eye, axes @ (x, y, -1.0), None, 1, -1, hit)
            out[row, column] = max(far, 0.0)
    return out


def _bind(row: Param, model: mujoco.MjModel) -> None:
    bind_model(ParamSpace((row,)), model)


def test_rows_that_cannot_act_are_named() -> None:
    with pytest.raises(ModelError, match="no geom has this height field"):
        _bind(SEED, _model("box"))
    with pytest.raises(ModelError, match="level as written"):
        _bind(SEED, _model(slope=0.0))
    with pytest.raises(ParamError, match=r"'high'.*room for must be at most 1"):
        _bind(scale("high", "model.terrain_height", HILL, (0, 1.5)), _model())
    with pytest.raises(ParamError, match="did you mean 'hills'"):
        _bind(set_to("s", "model.terrain_seed", ("hill",), (0, 9)), _model())
