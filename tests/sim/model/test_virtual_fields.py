"""Every row of the "model" room: it changes the motion that it names, and C MuJoCo agrees."""

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
import pytest

from mjx_s2r.params import ParamSpace, scale, set_to
from mjx_s2r.sim import physics
from mjx_s2r.sim.model import leaves, virtual_fields
from mjx_s2r.sim.physics import PhysicsState
from tests.sim.scene import CTRL, QVEL, SPACE, XML, load, one_by_one, only

STEPS = 60


@pytest.fixture(scope="module")
def ours() -> PhysicsState:
    """Where MJX has every world of `one_by_one` after 60 steps of 2 ms; one compile for all."""
    mj_model = load()
    engine, binding = physics.put_model(mj_model), leaves.bind_model(SPACE, mj_model)

    @jax.jit
    @jax.vmap
    def run(xi: jax.Array, qpos: jax.Array) -> PhysicsState:
        out = leaves.leaves(engine, binding, xi)
        step = lambda _, c: physics.advance(engine, out, c, jnp.array(CTRL))  # noqa: E731
        return jax.lax.fori_loop(
            0, STEPS, step, physics.initial_state(engine, qpos, jnp.array(QVEL))
        )

    worlds = one_by_one()
    return run(jnp.asarray(worlds), jnp.tile(jnp.asarray(mj_model.qpos0), (len(worlds), 1)))


@pytest.fixture(scope="module")
def theirs() -> list[mujoco.MjData]:
    """Where C MuJoCo has them."""
    out, start = [], load().qpos0
    for xi in one_by_one():
        c = load()
        leaves.write(c, leaves.bind_model(SPACE, c), xi)
        data = mujoco.MjData(c)
        data.qpos[:], data.qvel[:], data.ctrl[:] = start, QVEL, CTRL
        for _ in range(STEPS):
            mujoco.mj_step(c, data)
        out.append(data)
    return out


@pytest.mark.parametrize("row", range(len(SPACE)), ids=SPACE.names)
def test_every_row_moves_the_world_as_in_c(
    row: int, ours: PhysicsState, theirs: list[mujoco.MjData]
) -> None:
    """After 0.12 s: float32 to 2e-4 m, rad and 5e-3 /s of C, and away from nominal."""
    c, nominal = theirs[row + 1], theirs[0]
    np.testing.assert_allclose(ours.qpos[row + 1], c.qpos, atol=2e-4)
    np.testing.assert_allclose(ours.qvel[row + 1], c.qvel, atol=5e-3)
    assert np.abs(c.qvel - nominal.qvel).max() > 0.03


LINK = """
<mujoco><worldbody><body name="a"><joint name="a" axis="0 1 0" pos="{jx} 0 0"/>
  <inertial pos="{cx} 0 {cz}" mass="0.7" diaginertia="{i1} {i2} {i3}"/>
  <geom name="rod" type="capsule" pos="{gx} 0 0" quat="1 0 1 0" size="{r} {h}"/>
  <geom name="can" type="cylinder" pos="{gx} 0 0" size="{r} {h}"/>
  <geom name="egg" type="ellipsoid" size="{r} {h} {r}"/>
  <geom name="brick" type="box" size="{r} {h} {h}"/>
  <geom name="pea" type="sphere" pos="0 0 {gx}" size="{r}"/>
  <site name="s" pos="0 {gx} 0"/><camera name="c" pos="{cx} 0 0"/>
  <body name="b" pos="{l} 0 0"><joint name="b"/><geom name="end" size="0.02" mass="0.1"/></body>
</body></worldbody></mujoco>
"""


def link(s: float) -> mujoco.MjModel:
    """Returns a link compiled ``s`` times as large, its mass the same, its inertia by s^2."""
    sizes = {"jx": 0.01, "cx": 0.1, "cz": 0.02, "gx": 0.12, "r": 0.03, "h": 0.1, "l": 0.25}
    inertia = {"i1": 2e-3, "i2": 3e-3, "i3": 4e-3}
    given = {k: s * v for k, v in sizes.items()} | {k: s * s * v for k, v in inertia.items()}
    return mujoco.MjModel.from_xml_string(LINK.format(**given))


def test_a_longer_link_is_the_one_that_the_compiler_makes() -> None:
    """1.3 times as large: every field that C holds of it, constants included."""
    ours, theirs = link(1.0), link(1.3)
    space = only(scale("s", "model.link_length", ("a",), (0.7, 1.4)))
    leaves.write(ours, leaves.bind_model(space, ours), np.array([1.3], np.float32))
    for field in (
        *("body_pos", "body_ipos", "body_inertia", "body_mass", "jnt_pos", "site_pos", "cam_pos"),
        *("geom_pos", "geom_size", "geom_rbound", "geom_aabb", "dof_invweight0", "dof_M0"),
        *("body_invweight0", "body_subtreemass"),
    ):
        got, expected = getattr(ours, field), getattr(theirs, field)
        np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-8, err_msg=field)
    binding = leaves.bind_model(space, link(1.0))
    fields = leaves.expand(jnp, binding, {"link_length": jnp.array((1, 1.3, 1), jnp.float32)})
    assert {"geom_size", "geom_rbound", "body_pos", "jnt_pos", "cam_pos"} <= fields.keys()
    np.testing.assert_allclose(fields["geom_rbound"], theirs.geom_rbound, rtol=1e-5)


def test_another_size_moves_bounds_and_no_mass() -> None:
    """Radius and half length 1.2 times; bounds against the compiler's."""
    ours, theirs = link(1.0), link(1.2)
    kinds = ("rod", "can", "egg", "brick", "pea")
    space = only(scale("s", "model.geom_size", kinds, (0.7, 1.4)))
    leaves.write(ours, leaves.bind_model(space, ours), np.array([1.2], np.float32))
    for field in ("geom_size", "geom_rbound", "geom_aabb"):
        got, expected = getattr(ours, field), getattr(theirs, field)
        np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-8, err_msg=field)
    np.testing.assert_array_equal(ours.body_mass, link(1.0).body_mass)
    np.testing.assert_array_equal(ours.geom_pos, link(1.0).geom_pos)


BOX = """
<mujoco><worldbody><body name="a"><freejoint name="a"/>
  <geom name="a" type="box" size="{} {} {}" mass="0.9"/></body></worldbody></mujoco>
"""


def test_shape_stretches_the_mass_along_its_axis() -> None:
    """A box of the same mass, 1.7 times as long in x and 0.6 times in z, as C compiles it."""
    ours = mujoco.MjModel.from_xml_string(BOX.format(0.3, 0.2, 0.1))
    theirs = mujoco.MjModel.from_xml_string(BOX.format(0.3 * 1.7, 0.2, 0.1 * 0.6))
    assert np.abs(ours.body_iquat[1] - (1, 0, 0, 0)).max() < 1e-9  # principal axes are the box's
    space = ParamSpace(
        tuple(scale(n, "model.body_shape", ("a",), (0.5, 2), column=i) for i, n in enumerate("xyz"))
    )
    leaves.write(ours, leaves.bind_model(space, ours), np.array((1.7, 1.0, 0.6), np.float32))
    np.testing.assert_allclose(ours.body_inertia[1], theirs.body_inertia[1], rtol=1e-5)


DROP = """
<mujoco><option timestep="0.001" gravity="0 0 0"/>
<worldbody><geom name="floor" type="plane" size="1 1 1"/>
<body name="b" pos="0 0 0.15"><freejoint name="b"/><geom name="b" size="0.05" mass="0.1"/></body>
</worldbody></mujoco>
"""


@pytest.mark.parametrize("wanted", [0.05, 0.3, 0.6, 0.85])
def test_a_ball_leaves_the_floor_with_the_share_that_it_was_told(wanted: float) -> None:
    """Thrown at 3 m/s in C MuJoCo, without gravity; measured within 0.02."""
    c = mujoco.MjModel.from_xml_string(DROP)
    space = only(set_to("e", "model.geom_restitution", ("floor", "b"), (0, 0.9)))
    leaves.write(c, leaves.bind_model(space, c), np.array([wanted], np.float32))
    data = mujoco.MjData(c)
    data.qvel[2] = -3.0
    mujoco.mj_step(c, data, 600)
    assert data.qvel[2] / 3.0 == pytest.approx(wanted, abs=0.02)


def test_tilts_are_rotations() -> None:
    """Gravity keeps its size; 0.3 rad about x sends it towards +y, 0.2 rad about y towards -x."""
    nominal = {"gravity": np.array((0, 0, -9.81), np.float32)}
    right, back = 9.81 * np.sin(0.3), -9.81 * np.sin(0.2)
    for tilt, towards in (((0.3, 0), (0, right)), ((0, 0.2), (back, 0))):
        touched = {"gravity_tilt": np.array(tilt, np.float32)}
        pull = virtual_fields.gravity(np, nominal, touched)["opt.gravity"]
        assert np.linalg.norm(pull) == pytest.approx(9.81, rel=1e-5)
        np.testing.assert_allclose(pull[:2], towards, atol=1e-5)
    base = {"geom_quat": np.array([(0.5, 0.5, 0.5, 0.5)], np.float32)}
    turned = virtual_fields.geoms(np, base, {"geom_tilt": np.array([(0.1, -0.2, 0.3)], np.float32)})
    expected, vector = np.zeros(4), np.array((0.1, -0.2, 0.3))
    mujoco.mju_axisAngle2Quat(expected, vector / np.linalg.norm(vector), np.linalg.norm(vector))
    mujoco.mju_mulQuat(expected, expected.copy(), base["geom_quat"][0].astype(float))
    np.testing.assert_allclose(turned["geom_quat"][0], expected, atol=1e-6)


def test_the_world_as_written_stays_as_written() -> None:
    """Nominal xi through every row: C's model, field by field."""
    c, binding = load(), leaves.bind_model(SPACE, load())
    fields = leaves.expand(np, binding, {e.array: binding.nominal[e.array] for e in binding.edits})
    for path, value in fields.items():
        holder = c.opt if path.startswith("opt.") else c
        expected = getattr(holder, path.removeprefix("opt."))
        np.testing.assert_allclose(value, expected, rtol=1e-5, atol=1e-7, err_msg=path)
    assert XML.count("<geom") == c.ngeom
