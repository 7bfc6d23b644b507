"""The constants that follow from masses and geometry, against C MuJoCo's mj_setConst."""

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
import pytest

from mjx_s2r.params import ParamSpace, add, scale
from mjx_s2r.sim import physics
from mjx_s2r.sim.model import leaves
from mjx_s2r.sim.physics import ModelError
from tests.sim.models import SPACE, XML, batch_of_leaves, draws, load

DERIVED = ("body_subtreemass", "dof_M0", "dof_invweight0", "body_invweight0")
WORLDS = 4


@pytest.mark.parametrize("name", XML)
def test_every_leaf_equals_what_c_computes(name: str) -> None:
    """Relative to the largest entry of each array, 1e-5: float32 against C's float64."""
    worlds = draws(WORLDS)
    batch = batch_of_leaves(name)[0](worlds)
    assert set(DERIVED) <= batch.keys()
    assert ("tendon_invweight0" in batch) == (name == "tendon")
    assert not {"eq_data", "actuator_acc0", "cam_pos0"} & batch.keys()
    for i, xi in enumerate(worlds):
        c = load(name)
        leaves.write(c, leaves.bind_model(SPACE, c), xi)
        for field, values in batch.items():
            holder = c.opt if field.startswith("opt.") else c
            expected = getattr(holder, field.removeprefix("opt."))
            scale = max(np.abs(expected).max(), 1e-12)
            np.testing.assert_allclose(
                values[i], expected, rtol=1e-5, atol=1e-6 * scale, err_msg=field
            )


@pytest.mark.parametrize("name", XML)
def test_the_nominal_draw_gives_the_model_as_it_was_written(name: str) -> None:
    batch = batch_of_leaves(name)[0](np.tile(SPACE.nominal, (WORLDS, 1)))
    c = load(name)
    for field in DERIVED:
        expected = getattr(c, field)
        np.testing.assert_allclose(batch[field][0], expected, rtol=1e-5, atol=1e-6, err_msg=field)


def test_new_values_compile_nothing() -> None:
    for name in XML:
        function, traces = batch_of_leaves(name)
        function(draws(WORLDS, seed=1))
        before = len(traces)
        function(draws(WORLDS, seed=2))
        assert len(traces) == before == 1


def test_every_world_of_a_batch_is_its_own() -> None:
    function = batch_of_leaves("free")[0]
    worlds = draws(WORLDS)
    batch, turned = function(worlds), function(worlds[::-1].copy())
    for field, values in batch.items():
        np.testing.assert_array_equal(values, np.asarray(turned[field])[::-1], err_msg=field)
    assert np.ptp(batch["body_subtreemass"][:, 1]) > 0.1


CHAINS = """
<mujoco><option><flag contact="disable"/></option>
<default><geom contype="0" conaffinity="0" mass="0.3"/></default><worldbody>
  <site name="hook" pos="0 0 1.5"/>
  <body name="target" mocap="true" pos="0.4 0 1"><geom name="target" size="0.02"/></body>
  <body name="left" pos="0 0 0.3" simple="false">
    <joint name="left" axis="0 1 0" armature="0.01"/>
    <geom name="left" type="capsule" fromto="0 0 0 0 0 0.2" size="0.02"/>
    <camera name="track" mode="track" pos="0 -1 0.2"/>
    <camera name="centre" mode="trackcom" pos="0.1 -1 0.2" quat="0.9 0.1 0.2 0.1"/>
    <body name="cross" pos="0 0 0.2"><joint name="cross" axis="0 1 0" pos="0.01 0 0"/>
      <geom name="cross" type="capsule" fromto="0 0 0 0.3 0 0" size="0.02"/>
      <site name="cross" pos="0.15 0 0.03"/>
    </body>
  </body>
  <body name="right" pos="0.3 0 0.3"><joint name="right" axis="0 1 0"/>
    <geom name="right" type="capsule" fromto="0 0 0 0 0 0.2" size="0.02"/>
    <site name="right" pos="0 0 0.1"/>
  </body>
  <body name="arm" pos="1 0 1" quat="0.8 0.6 0 0"><joint name="arm" type="ball"/>
    <geom name="arm" type="box" size="0.1 0.05 0.03" pos="0.05 0.02 0"/>
    <site name="arm" pos="0.1 0 0"/>
  </body>
  <body name="free" pos="0 1 1" quat="0.7 0.1 0.2 0.3"><freejoint name="free"/>
    <geom name="free" type="box" size="0.1 0.05 0.03" pos="0.01 0.02 0.03"/>
  </body>
  <body name="other" pos="0 1 1.5"><freejoint name="other"/><geom name="other" size="0.1"/></body>
  <body name="cart" pos="2 0 1"><joint name="cart" type="slide" axis="1 0 0"/>
    <geom name="cart" size="0.05"/><site name="from" pos="0.05 0.06 0.1"/>
    <geom name="drum" type="cylinder" size="0.03 0.05" pos="0.1 0 0"/>
    <body name="pole" pos="0 0 0.1"><joint name="pole" axis="0 1 0"/>
      <geom name="pole" type="capsule" fromto="0 0 0 0 0 0.4" size="0.02"/>
      <site name="to" pos="0.05 0 0.3"/>
    </body>
  </body>
</worldbody>
<tendon>
  <spatial name="cord" stiffness="5" springlength="-1"><site site="from"/><geom geom="drum"/>
    <site site="to"/></spatial>
  <fixed name="heavy" stiffness="1" armature="0.02"><joint joint="left" coef="1"/>
    <joint joint="cross" coef="-0.5"/></fixed>
  <fixed name="light"><joint joint="pole" coef="2"/></fixed>
</tendon>
<equality>
  <connect name="bar" body1="cross" body2="right" anchor="0.3 0 0"/>
  <weld name="held" body1="arm" body2="target"/>
  <weld name="world" body1="free" anchor="0.1 0 0.05"/>
  <weld name="stated" body1="free" body2="other" relpose="0 0 0.5 1 0 0 0"/>
  <connect name="hung" site1="arm" site2="hook"/>
  <weld name="glued" site1="right" site2="cross"/>
  <tendon name="coupled" tendon1="light" tendon2="heavy"/>
</equality>
<actuator><muscle name="pull" tendon="cord" lengthrange="0.2 0.6"/>
  <muscle name="bend" joint="cross" lengthrange="-1 1"/>
  <motor name="push" site="right" gear="1 0 0 0 1 0"/></actuator></mujoco>
"""
LENGTHS = tuple(
    scale(f"long_{name}", "model.link_length", (name,), (0.8, 1.3))
    for name in ("left", "cross", "right", "arm", "free", "cart")
)
CHAIN_SPACE = ParamSpace(
    (
        *LENGTHS,
        scale("mass", "model.body_mass", ("*",), (0.5, 2.0)),
        add("place", "model.body_pos", ("right", "pole"), (-0.05, 0.05), unit="m"),
        add("tilt", "model.body_tilt", ("left", "pole"), (-0.2, 0.2), unit="rad"),
        add("com", "model.body_ipos", ("left", "arm"), (-0.02, 0.02), unit="m"),
        add("armature", "model.dof_armature", ("cross",), (0.0, 0.1)),
        add("start", "model.qpos0", ("left", "pole", "cart"), (-0.3, 0.3)),
        scale("drum", "model.geom_size", ("drum",), (0.8, 1.2)),
    )
)
UNREAD = {"actuator_length0", "dof_length", "geom_aabb", "geom_sameframe", "bvh_aabb"}


@pytest.mark.slow
def test_every_field_of_closed_chains_equals_what_c_computes() -> None:
    """All arrays of the model, touched or not, but those that MJX reads nothing of."""
    nominal = mujoco.MjModel.from_xml_string(CHAINS)
    engine, binding = physics.put_model(nominal), leaves.bind_model(CHAIN_SPACE, nominal)
    unit = np.random.default_rng(0).uniform(size=(WORLDS, len(CHAIN_SPACE))).astype(np.float32)
    worlds = CHAIN_SPACE.sample(np, unit, *CHAIN_SPACE.limits)
    batch = jax.jit(jax.vmap(lambda xi: leaves.leaves(engine, binding, xi)))(worlds)
    arrays = {n for n in dir(nominal) if isinstance(getattr(nominal, n, None), np.ndarray)} - UNREAD
    moved = set()
    for i, xi in enumerate(worlds):
        c = mujoco.MjModel.from_xml_string(CHAINS)
        leaves.write(c, binding, xi)
        for name in (n for n in arrays if not n.startswith("_") and getattr(c, n).size):
            expected, before = getattr(c, name), getattr(nominal, name)
            moved |= {name} if np.any(expected != before) else set()
            ours = np.reshape(batch[name][i], expected.shape) if name in batch else before
            scale_of = max(np.abs(expected).max(), 1e-12)
            np.testing.assert_allclose(
                ours, expected, rtol=1e-4, atol=2e-5 * scale_of, err_msg=name
            )
    assert {"eq_data", "tendon_length0", "actuator_acc0", "cam_mat0", "cam_poscom0"} <= moved


FOUR_BAR = """
<mujoco><option timestep="0.002"><flag contact="disable"/></option><worldbody>
  <body name="left"><joint name="left" axis="0 1 0" damping="0.05"/>
    <geom type="capsule" fromto="0 0 0 0 0 0.2" size="0.01" mass="0.1"/>
    <body name="bar" pos="0 0 0.2"><joint name="bar" axis="0 1 0" damping="0.05"/>
      <geom type="capsule" fromto="0 0 0 0.3 0 0" size="0.01" mass="0.1"/></body></body>
  <body name="right" pos="0.3 0 0"><joint name="right" axis="0 1 0" damping="0.05"/>
    <geom type="capsule" fromto="0 0 0 0 0 0.2" size="0.01" mass="0.1"/></body></worldbody>
<equality><connect body1="bar" body2="right" anchor="0.3 0 0" solref="0.005 1"/></equality></mujoco>
"""


@pytest.mark.slow
def test_a_four_bar_with_longer_uprights_moves_as_in_c() -> None:
    """A parallelogram: its uprights stay parallel, in both engines at the same angle."""
    nominal, c = (mujoco.MjModel.from_xml_string(FOUR_BAR) for _ in range(2))
    space = ParamSpace((scale("long", "model.link_length", ("left", "right"), (0.7, 1.3)),))
    engine, binding = physics.put_model(nominal), leaves.bind_model(space, nominal)
    xi = np.array([1.3], np.float32)
    leaves.write(c, binding, xi)
    data, start, steps = mujoco.MjData(c), jnp.array((0.3, -0.3, 0.3)), 400
    data.qpos[:] = start
    mujoco.mj_step(c, data, steps)

    def last() -> jax.Array:
        touched = leaves.leaves(engine, binding, jnp.asarray(xi))
        world = physics.initial_state(engine, start, jnp.zeros(3))
        step = lambda _, world: physics.advance(engine, touched, world, jnp.zeros(0))  # noqa: E731
        return jax.lax.fori_loop(0, steps, step, world).qpos

    ours = np.asarray(jax.jit(last)())
    np.testing.assert_allclose(ours, data.qpos, atol=0.02)
    assert abs(ours[0] - ours[2]) < 0.01 and abs(ours[0] - 0.3) > 0.05


def test_a_centre_of_mass_that_c_has_no_room_for_is_refused_by_name() -> None:
    ball = '<body name="ball"{}><freejoint/><geom size="0.1"/></body>'
    whole = "<mujoco><worldbody>{}</worldbody></mujoco>"
    space = ParamSpace((add("com", "model.body_ipos", ("ball",), (-0.01, 0.01), unit="m"),))
    simple, roomy = (
        mujoco.MjModel.from_xml_string(whole.format(ball.format(more)))
        for more in ("", ' simple="false"')
    )
    with pytest.raises(ModelError, match=r"'com'.*'ball'.*simple=\"false\""):
        leaves.bind_model(space, simple)
    leaves.write(roomy, leaves.bind_model(space, roomy), np.array([0.01], np.float32))
