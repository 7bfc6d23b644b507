"""MuJoCo Warp as the engine: refused clearly, sized from the model; where it runs, the same steps.

What needs warp-lang is skipped without it; with it, it runs on the CPU as well as on a GPU.
"""

from dataclasses import replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
import pytest
from mujoco import mjx
from mujoco.mjx import warp as mjx_warp
from mujoco.mjx.warp import types

from mjx_s2r.params import Param, ParamSpace
from mjx_s2r.sim import physics
from mjx_s2r.sim.backends import warp
from mjx_s2r.sim.backends.physics_config import ModelError, PhysicsConfig, one_device
from mjx_s2r.sim.env import Env, make
from mjx_s2r.sim.interface import State
from mjx_s2r.sim.model import leaves as model_leaves
from mjx_s2r.sim.model.virtual_fields import boxes_of_geoms
from mjx_s2r.sim.physics import Physics, PhysicsState
from tests.sim.toy import Toy

ON = PhysicsConfig("warp", cpu=True)
N, STEPS = 3, 40
XML = """
<mujoco><option timestep="0.004"/><worldbody>
  <geom name="floor" type="plane" size="5 5 0.1"/>
  <body name="ball" pos="0 0 0.12"><freejoint name="root"/><geom name="ball" size="0.1" mass="1"/>
  </body>
  <body name="arm" pos="1 0 1">
    <joint name="hinge" axis="0 1 0" damping="0.1" frictionloss="0.01" limited="true"
      range="-1 0.05"/>
    <geom name="arm" type="capsule" fromto="0 0 0 0.3 0 0" size="0.03" mass="0.5"/>
  </body>
</worldbody><actuator><motor name="hinge" joint="hinge"/></actuator></mujoco>
"""
LINK = """<body pos="0.3 0 0"><joint axis="0 {y} {z}" frictionloss="0.1" armature="0.01"/>
  <geom type="capsule" fromto="0 0 0 0.3 0 0" size="0.03" mass="1" contype="0"/>"""
QUICK = (
    "<mujoco><worldbody>"
    + LINK.format(y=1, z=0)
    + LINK.format(y=0, z=1)
    + LINK.format(y=1, z=0)
    + "</body></body></body></worldbody></mujoco>"
)
SPACE = ParamSpace(
    (
        Param("mass", "model.body_mass", ("ball", "arm"), limits=(0.5, 3.0)),
        Param("size", "model.geom_size", ("ball",), limits=(0.5, 2.0)),
        Param("gravity", "model.gravity", (), 2, limits=(0.5, 1.5)),
        Param("damping", "model.dof_damping", ("hinge",), limits=(0.5, 3.0)),
    )
)
XI = np.array(((1, 1, 1, 1), (2, 1.5, 0.8, 3), (0.6, 0.7, 1.3, 0.5)), np.float32)
runs = pytest.mark.skipif(
    not mjx_warp.WARP_INSTALLED, reason="the package warp-lang is not installed"
)


def load() -> mujoco.MjModel:
    """Returns a ball above a floor and an arm."""
    return mujoco.MjModel.from_xml_string(XML)


def roll(engine: Physics, binding: model_leaves.ModelBinding, xi: jax.Array) -> PhysicsState:
    """Returns one world after each of `STEPS` steps, pushed and driven."""
    leaves = model_leaves.leaves(engine, binding, xi)
    start = physics.initial_state(engine, engine.empty_data.qpos, jnp.zeros(engine.model.nv))
    wrench = jnp.zeros((engine.model.nbody, 6)).at[1, 0].set(0.5)

    def one(core: PhysicsState, ctrl: jax.Array) -> tuple[PhysicsState, PhysicsState]:
        """Takes a step."""
        core = physics.advance(engine, leaves, core, ctrl, wrench)
        return core, core

    return jax.lax.scan(one, start, jnp.linspace(0, 1, STEPS)[:, None])[1]


def in_c(binding: model_leaves.ModelBinding, xi: np.ndarray) -> np.ndarray:
    """Returns qpos (STEPS, nq) of the same world in C MuJoCo."""
    mj_model, out = load(), []
    model_leaves.write(mj_model, binding, xi)
    data = mujoco.MjData(mj_model)
    data.xfrc_applied[1, 0] = 0.5
    for data.ctrl[0] in np.linspace(0, 1, STEPS):
        mujoco.mj_step(mj_model, data)
        out.append(data.qpos.copy())
    return np.array(out)


def test_a_machine_that_cannot_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mjx_warp, "WARP_INSTALLED", False)
    with pytest.raises(ModelError, match=r"'mjx_s2r\[warp\]', or use physics.backend jax"):
        physics.put_model(load(), PhysicsConfig("warp"))
    monkeypatch.setattr(mjx_warp, "WARP_INSTALLED", True)
    monkeypatch.setattr(warp, "_has_cuda", lambda: False)
    with pytest.raises(ModelError, match=r"needs an NVIDIA GPU, jax runs on '\w+'; use physics"):
        warp.require(PhysicsConfig("warp"))
    monkeypatch.setattr(warp, "_has_cuda", lambda: True)
    warp.require(PhysicsConfig("warp"))


def test_several_devices_are_refused() -> None:
    with pytest.raises(ModelError, match="the run is on 2; set --devices 1"):
        one_device(PhysicsConfig("warp"), 2)
    one_device(PhysicsConfig("warp"), 1)
    one_device(PhysicsConfig(), 2)


def test_what_varies_is_what_mjx_says() -> None:
    assert all(warp.varies(f) for f in ("body_mass", "geom_size", "opt.gravity", "qpos0"))
    assert not any(warp.varies(f) for f in ("geom_type", "dof_M0", "opt.iterations", "gravity"))
    kept = warp.usable({name: jnp.zeros(1) for name in ("dof_M0", "body_mass", "opt.gravity")})
    assert kept.keys() == {"body_mass", "opt.gravity"}


def test_a_row_that_worlds_would_share_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A mass moves inertia with it, so a version without inertia per world refuses that row."""
    binding = model_leaves.bind_model(SPACE, load())
    model_leaves.refuse_shared(SPACE, binding)
    monkeypatch.setitem(types._BATCH_DIM["Model"], "body_inertia", False)
    with pytest.raises(ModelError, match=r"'mass' randomizes 'body_inertia'.*backend jax.*drop"):
        model_leaves.refuse_shared(SPACE, binding)


def test_sizes_are_what_c_needs_when_everything_acts() -> None:
    mj_model = load()
    data = mujoco.MjData(mj_model)
    data.qpos[2], data.qpos[7] = 0.05, 0.1  # in the floor, beyond the limit
    mujoco.mj_forward(mj_model, data)
    assert data.ncon == 1
    contacts, rows = warp.sizes(mj_model, PhysicsConfig("warp"))
    spare = contacts - data.ncon  # pairs that are near and do not touch
    assert rows - spare * 4 == data.nefc
    assert warp.sizes(mj_model, PhysicsConfig("warp", contacts=5, rows=7)) == (5, 7)
    with pytest.raises(ModelError, match=r"physics\.rows -1 is negative"):
        warp.sizes(mj_model, PhysicsConfig("warp", rows=-1))


def test_boxes_about_geoms_are_those_of_the_compiler() -> None:
    kinds = ("sphere", "capsule", "cylinder", "ellipsoid", "box")
    geoms = "".join(f'<geom type="{k}" size="{{0}} {{1}} {{2}}"/>' for k in kinds)
    text = f'<mujoco><worldbody>{geoms}<geom type="plane" size="1 1 1"/></worldbody></mujoco>'
    small, large = (
        mujoco.MjModel.from_xml_string(text.format(*np.array((0.1, 0.2, 0.3)) * s)) for s in (1, 2)
    )
    found = boxes_of_geoms(
        jnp, small.geom_type, jnp.asarray(large.geom_size), jnp.asarray(small.geom_aabb)
    )
    np.testing.assert_allclose(found[:5], large.geom_aabb[:5], rtol=1e-6)
    np.testing.assert_array_equal(found[5], small.geom_aabb[5].astype(np.float32))


def test_a_pair_that_only_warp_collides_is_no_obstacle() -> None:
    mj_model = mujoco.MjModel.from_xml_string(
        '<mujoco><worldbody><geom type="cylinder" size="0.1 0.1"/><body pos="0 0 1"><freejoint/>'
        '<geom type="box" size="0.1 0.1 0.1"/></body></worldbody></mujoco>'
    )
    with pytest.raises(NotImplementedError, match="CYLINDER"):
        mjx.put_model(mj_model, impl="jax")
    assert mjx.put_model(warp.without_contacts(mj_model), impl="jax").nbody == mj_model.nbody
    assert mj_model.geom_contype.all()


def test_worlds_stay_one_call_however_they_are_batched(monkeypatch: pytest.MonkeyPatch) -> None:
    """The batching alone: a closed form takes the place of the step, and worlds are counted."""
    plain = physics.put_model(load())
    engine = replace(plain, warp=warp.Engine(plain.model, plain.empty_data))
    sizes: list[int] = []

    def room(blank: mjx.Data, worlds: int) -> mjx.Data:
        """Notes the number of worlds."""
        sizes.append(worlds)
        return blank

    def step(model: mjx.Model, blank: mjx.Data, look: Any, given: tuple) -> PhysicsState:
        """Moves by mass times ctrl plus the force on the ball."""
        state, ctrl, wrench = given
        moved = state.qpos + model.body_mass[1] * ctrl + wrench[1, 0]
        return replace(state, qpos=moved, full=state.full | (moved[0] > 5))

    monkeypatch.setattr(warp, "room", room)
    monkeypatch.setattr(physics, "_step", step)

    def one(mass: jax.Array, ctrl: jax.Array, push: jax.Array) -> PhysicsState:
        """Steps one world, whose leaves have a field that Warp does not know."""
        start = physics.initial_state(engine, jnp.zeros(8), jnp.zeros(7))
        leaves = {"body_mass": jnp.ones(3).at[1].set(mass), "dof_M0": jnp.ones(1)}
        return physics.advance(engine, leaves, start, ctrl, jnp.full((3, 6), push))

    mass, push = jnp.arange(1.0, 7.0).reshape(2, 3), jnp.array((0.5, 0.25))
    for where, ctrl in ((None, jnp.ones(1)), (0, jnp.array(((1.0,), (2.0,))))):
        inner = jax.vmap(one, (0, None, None))
        got = jax.jit(jax.vmap(inner, (0, where, 0)))(mass, ctrl, push)
        want = mass * ctrl.reshape(-1, 1) + push[:, None]
        np.testing.assert_array_equal(got.qpos, np.repeat(want[..., None], 8, -1))
        np.testing.assert_array_equal(got.full, want > 5)
        assert got.time.shape == (2, 3)
        assert sizes[-1] == mass.size
    assert jax.jit(one)(2.0, jnp.ones(1), 0.5).qpos[0] == 2.5
    assert sizes[-1] == 1


@runs
def test_a_pool_for_many_worlds_is_what_mjx_makes() -> None:
    mj_model = load()
    made = mjx.make_data(mj_model, impl="warp", naconmax=15, njmax=20)
    grown = warp.room(mjx.make_data(mj_model, impl="warp", naconmax=5, njmax=20), 3)
    assert jax.tree.structure(made) == jax.tree.structure(grown)
    for a, b in zip(jax.tree.leaves(made), jax.tree.leaves(grown), strict=True):
        np.testing.assert_array_equal(a, b)


@runs
def test_worlds_of_their_own_move_as_in_c() -> None:
    mj_model = load()
    binding, engine = model_leaves.bind_model(SPACE, mj_model), physics.put_model(mj_model, ON)
    one = jax.vmap(partial(roll, engine, binding))
    got = jax.jit(one)(XI)
    want = np.stack([in_c(binding, xi) for xi in XI])
    assert np.ptp(want[:, -1], 0).max() > 0.05  # the rows are felt
    np.testing.assert_allclose(got.qpos, want, atol=1e-4)
    assert not got.full.any()
    nested = jax.jit(jax.vmap(one))(np.stack((XI, XI[::-1])))
    np.testing.assert_allclose(nested.qpos[0], got.qpos, atol=1e-6)
    np.testing.assert_allclose(nested.qpos[1, ::-1], got.qpos, atol=1e-6)


@runs
@pytest.mark.parametrize("sizes", [{"contacts": 1, "rows": 4}, {"contacts": 4, "rows": 2}])
def test_what_finds_no_room_is_reported(sizes: dict[str, int]) -> None:
    """Every ball ends on the floor: 4 rows, and 2 of the arm."""
    mj_model = load()
    binding = model_leaves.bind_model(SPACE, mj_model)
    engine = physics.put_model(mj_model, replace(ON, **sizes))
    got = jax.jit(jax.vmap(partial(roll, engine, binding)))(XI)
    np.testing.assert_array_equal(got.full[:, -1], True)
    before = np.maximum.accumulate(got.full, 1)
    np.testing.assert_array_equal(got.full, before)  # noted until it is cleared


@runs
def test_the_bits_of_what_is_lost_are_those_of_warp() -> None:
    kind = mjx_warp.mjwp_types.OverflowType
    lost = kind.NEFC | kind.NJMAX_NNZ | kind.BROADPHASE | kind.NARROWPHASE | kind.CCD | kind.HFIELD
    assert int(lost) == warp.LOST


@runs
def test_a_limit_of_one_iteration_is_raised() -> None:
    """Three links with friction fall: Warp would be off by 0.07 rad/s, C MuJoCo is not."""
    mj_model = mujoco.MjModel.from_xml_string(QUICK)
    mj_model.opt.iterations = 1
    data = mujoco.MjData(mj_model)
    mujoco.mj_step(mj_model, data)
    engine = physics.put_model(mj_model, ON)
    assert mj_model.opt.iterations == 1
    core = physics.initial_state(engine, engine.empty_data.qpos, jnp.zeros(3))
    got = jax.jit(partial(physics.advance, engine, {}))(core, jnp.zeros(0))
    np.testing.assert_allclose(got.qvel, data.qvel, atol=1e-5)


@runs
def test_an_environment_steps_by_warp() -> None:
    states = []
    for config in (None, ON):
        env = make(Toy(), config)

        def one(key: jax.Array, env: Env = env) -> State:
            """Takes a step."""
            return env.step(env.reset(key), jnp.ones(1))

        states.append(jax.jit(jax.vmap(one))(jax.random.split(jax.random.key(0), 2)))
    want, got = states
    assert float(got.metrics["full"].sum()) == 0
    np.testing.assert_allclose(got.obs["state"], want.obs["state"], atol=1e-5)
    np.testing.assert_allclose(got.obs["privileged"], want.obs["privileged"], atol=1e-5)


@runs
def test_models_that_warp_cannot_simulate_are_refused() -> None:
    asleep = load()
    asleep.opt.enableflags |= mujoco.mjtEnableBit.mjENBL_SLEEP
    with pytest.raises(ModelError, match="sleep"):
        physics.put_model(asleep, ON)
