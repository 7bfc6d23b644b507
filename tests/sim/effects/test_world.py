"""Pushes, start spreads and what lies about: as often, as strong and as far as the table says."""

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
import pytest

from mjx_s2r.params import Param, ParamError, ParamSpace, set_to
from mjx_s2r.sim import physics
from mjx_s2r.sim.effects import world
from mjx_s2r.sim.physics import ModelError, PhysicsState
from tests.sim.scene import only

XML = """
<mujoco><compiler angle="radian"/>
<option timestep="0.01"><flag contact="disable"/></option><worldbody>
  <body name="post"><geom name="post" size="0.1"/></body>
  <body name="toy" mocap="true" pos="1 0 0"><geom name="toy" size="0.1"/></body>
  <body name="jar" mocap="true" pos="2 0 0"><geom name="jar" size="0.1"/></body>
  <body name="drone"><freejoint name="drone"/>
    <geom name="drone" type="box" size="0.1 0.2 0.3" mass="2"/></body>
  <body name="arm"><joint name="arm" range="-1 1" limited="true"/>
    <geom name="arm" pos="0.2 0 0" size="0.1"/>
    <body name="slide"><joint name="slide" type="slide"/><geom name="slide" size="0.1"/></body>
  </body>
</worldbody></mujoco>
"""
DT, STEPS = 0.02, 4000


def load() -> mujoco.MjModel:
    """Returns the model."""
    return mujoco.MjModel.from_xml_string(XML)


SPACE = ParamSpace(
    (
        set_to("push", "world.push", ("drone", "arm"), (0, 20), unit="N"),
        set_to("twist", "world.push_torque", ("drone",), (0, 5), unit="N m"),
        set_to("rate", "world.push_rate_hz", (), (0, 5), nominal=1.0, unit="Hz"),
        set_to("time", "world.push_s", (), (0.02, 1), nominal=0.1, unit="s"),
        set_to("bend", "world.start_pos", ("arm", "slide"), (0, 3), unit="rad"),
        set_to("speed", "world.start_vel", ("arm",), (0, 2), unit="rad/s"),
        set_to("move", "world.mocap_shift", ("toy",), (-1, 1), column=1, unit="m"),
        set_to("hide", "world.mocap_hidden", ("jar",), (0, 1), law="categorical"),
    )
)
SPEC = world.bind_world(SPACE, load(), DT)


@jax.jit
def pushed(xi: jax.Array, key: jax.Array) -> jax.Array:
    """Returns the wrenches (T, nbody, 6) of many control steps."""

    def one(state: world.Push, key: jax.Array) -> tuple[world.Push, jax.Array]:
        state = world.push(SPEC, state, xi, key=key)
        return state, world.wrench(SPEC, state, xi)

    start = world.calm(SPEC)
    assert start is not None
    return jax.lax.scan(one, start, jax.random.split(key, STEPS))[1]


def pushes(key: jax.Array, **given: float) -> np.ndarray:
    """Returns the wrenches with the ``given`` rows."""
    return np.asarray(pushed(jnp.asarray(SPACE.values(given)), key))


def test_nothing_is_pushed_at_nominal(key: jax.Array) -> None:
    assert not pushes(key).any()


def test_pushes_have_their_strength_on_their_bodies(key: jax.Array) -> None:
    out, names = pushes(key, push=8.0, twist=3.0), [load().body(i).name for i in range(6)]
    on = out.any((1, 2))
    force, torque = (np.linalg.norm(out[on][..., part], axis=-1) for part in (np.s_[:3], np.s_[3:]))
    drone, arm = names.index("drone"), names.index("arm")
    np.testing.assert_allclose(force[:, (drone, arm)], 8.0, rtol=1e-5)
    np.testing.assert_allclose(torque[:, drone], 3.0, rtol=1e-5)
    others = np.delete(np.arange(6), (drone, arm))
    assert not force[:, others].any() and not torque[:, np.delete(np.arange(6), drone)].any()


@pytest.mark.parametrize(("rate", "time"), [(0.5, 0.1), (2.0, 0.2), (2.0, 0.02)])
def test_pushes_come_as_often_and_last_as_long_as_told(
    rate: float, time: float, key: jax.Array
) -> None:
    """80 s of pushes that last ``time`` and begin 1 / rate after the last; six sigma of a count."""
    on = pushes(key, push=1.0, rate=rate, time=time)[:, 4].any(-1)
    starts = np.flatnonzero(np.diff(on.astype(int), prepend=0) == 1)
    ends = np.flatnonzero(np.diff(on.astype(int)) == -1) + 1
    length = np.median(ends - starts[: len(ends)])
    assert length == pytest.approx(time / DT)
    share = rate * time / (1 + rate * time)
    assert on.mean() == pytest.approx(share, abs=6 * np.sqrt(share * time / 80))


def test_directions_favour_no_side(key: jax.Array) -> None:
    out = pushes(key, push=1.0, rate=5.0, time=0.02)[:, 4, :3]
    there = out[out.any(-1)]
    assert len(there) > 300
    np.testing.assert_allclose(there.mean(0), 0, atol=6 / np.sqrt(3 * len(there)))
    np.testing.assert_allclose(there.std(0), 1 / np.sqrt(3), atol=0.08)


def test_a_push_moves_a_body_as_in_c() -> None:
    """20 steps under a force and a torque on a falling box, float32 to 1e-4."""
    c = load()
    engine, data = physics.put_model(c), mujoco.MjData(c)
    wrench = np.zeros((c.nbody, 6))
    wrench[c.body("drone").id] = (3, -2, 5, 0.1, 0.2, -0.1)

    def one(_: int, core: PhysicsState) -> PhysicsState:
        return physics.advance(engine, {}, core, jnp.zeros(0), jnp.asarray(wrench))

    run = jax.jit(lambda core: jax.lax.fori_loop(0, 20, one, core))
    end = run(physics.initial_state(engine, jnp.asarray(c.qpos0), jnp.zeros(c.nv)))
    data.xfrc_applied[:] = wrench
    mujoco.mj_step(c, data, 20)
    np.testing.assert_allclose(end.qpos, data.qpos, atol=1e-4)
    np.testing.assert_allclose(end.qvel, data.qvel, atol=1e-4)
    assert data.qvel[0] > 0.2


@pytest.fixture(scope="module")
def starts() -> PhysicsState:
    """500 starts from rest with every start row at work."""
    c = load()
    engine = physics.put_model(c)
    xi = jnp.asarray(SPACE.values({"bend": 0.4, "speed": 1.5, "move": -0.3, "hide": 1.0}))
    core = physics.initial_state(engine, jnp.asarray(c.qpos0).at[7].set(0.8), jnp.zeros(c.nv))

    def one(key: jax.Array) -> PhysicsState:
        return world.scatter(SPEC, core, xi, key=key)

    return jax.jit(jax.vmap(one))(jax.random.split(jax.random.key(3), 500))


def test_starts_are_spread_inside_the_limits_of_the_joints(starts: PhysicsState) -> None:
    """The arm starts at 0.8, its limit is 1; the slide has none. U(-a, a) spreads by a / 1.73."""
    arm, slide = np.asarray(starts.qpos[:, 7:]).T
    assert arm.min() == pytest.approx(0.4, abs=0.01) and arm.max() == 1.0
    assert slide.std() == pytest.approx(0.4 / 3**0.5, rel=0.1) and np.abs(slide).max() <= 0.4
    speed = np.asarray(starts.qvel)
    assert speed[:, 6].std() == pytest.approx(1.5 / 3**0.5, rel=0.1)
    assert not speed[:, :6].any() and not speed[:, 7].any()
    np.testing.assert_allclose(starts.qpos[:, :7], np.tile(load().qpos0[:7], (500, 1)))


def test_mocap_bodies_move_and_hide(starts: PhysicsState) -> None:
    blank = np.asarray(physics.put_model(load()).empty_data.mocap_pos)
    toy, jar = np.asarray(starts.mocap_pos[0]) - blank
    np.testing.assert_allclose(toy, (0, -0.3, 0), atol=1e-6)
    np.testing.assert_allclose(jar, (0, 0, world.OUT_OF_SIGHT_M), atol=1e-4)


def test_what_cannot_be_pushed_or_spread_is_refused() -> None:
    def bind(row: Param) -> None:
        world.bind_world(only(row), load(), DT)

    with pytest.raises(ModelError, match="'p' pushes body 'post', which is fixed"):
        bind(set_to("p", "world.push", ("p*",), (0, 1)))
    with pytest.raises(ModelError, match="'s' spreads the start of joint 'drone', which is no"):
        bind(set_to("s", "world.start_pos", ("drone",), (0, 1)))
    with pytest.raises(ParamError, match="'r' says when to push, but no row pushes; add one"):
        bind(set_to("r", "world.push_rate_hz", (), (0, 1)))
    with pytest.raises(ParamError, match="'jr'; did you mean 'jar'"):
        bind(set_to("m", "world.mocap_shift", ("jr",), (0, 1), column=0))
    assert world.calm(world.bind_world(ParamSpace(()), load(), DT)) is None
