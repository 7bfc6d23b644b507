"""Positions follow every model field that they depend on, and are those of C MuJoCo."""

from dataclasses import fields

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
import pytest
from mujoco import mjx

from mjx_s2r.sim import physics
from mjx_s2r.sim.physics import (
    MOVING,
    Physics,
    forward_positions,
    initial_state,
    positions,
    put_model,
)

XML = """
<mujoco>
  <worldbody>
    <body name="goal" mocap="true" pos="0.3 0 0.2"><geom size="0.02" contype="0" conaffinity="0"/>
      <site name="mark" pos="0 0 0.05"/></body>
    <body name="ball" pos="0 0 1"><freejoint/><geom size="0.05" pos="0.01 0 0"/></body>
    <body name="arm" pos="0 0.5 0"><joint name="hinge" axis="0 1 0" pos="0 0 0.1"/>
      <geom type="capsule" size="0.02" fromto="0 0 0 0.3 0 0"/>
      <camera name="eye" pos="0.1 0 0"/>
      <body name="hand" pos="0.3 0 0" quat="0.9 0 0.1 0"><joint type="slide" axis="1 0 0"/>
        <geom size="0.03"/><site name="tip" pos="0.05 0 0"/></body></body>
  </worldbody>
</mujoco>
"""
SEEN = ("xpos", "xquat", "xipos", "ximat", "geom_xpos", "geom_xmat", "site_xpos", "qpos")


@pytest.fixture(scope="module")
def engine() -> Physics:
    """A model with a mocap body, a free one and two joints in a row."""
    return put_model(mujoco.MjModel.from_xml_string(XML))


def place(engine: Physics) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Returns where everything is: away from zero, with a quaternion that is not of length one."""
    qpos = engine.model.qpos0 + jnp.linspace(0.1, 0.4, engine.model.nq)
    return qpos, engine.empty_data.mocap_pos + 0.1, engine.empty_data.mocap_quat


@pytest.mark.slow
def test_no_field_that_matters_is_left_out(engine: Physics) -> None:
    """Moves every float array of the model a little and looks whether anything moves."""

    def direct(model: mjx.Model) -> list[jax.Array]:
        qpos, pos, quat = place(engine)
        data = engine.empty_data.replace(qpos=qpos, mocap_pos=pos, mocap_quat=quat)
        return jax.tree.leaves(mjx.com_pos(model, mjx.kinematics(model, data)))

    @jax.jit
    def moves(model: mjx.Model, before: list[jax.Array]) -> tuple[jax.Array, list[jax.Array]]:
        after = direct(model)
        pairs = zip(before, after, strict=True)
        return jnp.array([(a != b).any() for a, b in pairs]).any(), after

    blank = jax.tree.map(
        lambda x: jnp.zeros(x.shape, x.dtype), jax.eval_shape(direct, engine.model)
    )
    before = moves(engine.model, blank)[1]
    assert not moves(engine.model, before)[0]
    matter = set()
    for field in fields(engine.model):
        value = getattr(engine.model, field.name)
        if not isinstance(value, jax.Array) or value.dtype != jnp.float32 or not value.size:
            continue
        # In NumPy, for jax would compile it for every shape that a field has.
        little = 0.01 * np.cos(np.arange(value.size, dtype=np.float32)).reshape(value.shape)
        other = engine.model.replace(**{field.name: jnp.asarray(np.asarray(value) + little)})
        if moves(other, before)[0]:
            matter.add(field.name)
    assert {"body_pos", "body_mass", "jnt_axis", "qpos0"} <= matter <= MOVING


def test_each_world_has_its_own_and_all_else_of_its_state(engine: Physics) -> None:
    masses = engine.model.body_mass * jnp.linspace(0.5, 2, 3)[:, None]
    moved = jnp.arange(engine.model.nbody)[:, None] > 0  # all but the world itself
    offsets = engine.model.body_pos + jnp.linspace(0, 0.3, 3)[:, None, None] * moved
    leaves = {"body_mass": masses, "body_pos": offsets, "dof_damping": jnp.ones((3, 8))}
    qpos, pos, quat = place(engine)
    state = initial_state(engine, qpos, jnp.arange(8.0)).replace(mocap_pos=pos, mocap_quat=quat)
    found = jax.jit(jax.vmap(lambda leaves: forward_positions(engine, leaves, state)))(leaves)
    for world in range(3):
        model = mujoco.MjModel.from_xml_string(XML)
        model.body_mass[:], model.body_pos[:] = masses[world], offsets[world]
        mujoco.mj_setConst(model, mujoco.MjData(model))  # C reads the masses of whole branches
        data = mujoco.MjData(model)
        data.qpos[:], data.qvel[:] = qpos, np.arange(8)
        data.mocap_pos[:], data.mocap_quat[:] = pos, quat
        mujoco.mj_normalizeQuat(model, data.qpos)
        mujoco.mj_kinematics(model, data)
        mujoco.mj_comPos(model, data)
        mujoco.mj_camlight(model, data)
        for name in (*SEEN, "cam_xpos", "qvel"):
            mine = np.asarray(getattr(found, name)[world])
            np.testing.assert_allclose(
                mine.ravel(), getattr(data, name).ravel(), atol=1e-5, err_msg=name
            )
        mine = np.asarray(found.subtree_com[world])
        np.testing.assert_allclose(mine, data.subtree_com, atol=1e-5)


def test_callers_with_the_same_things_per_world_share_one_trace(engine: Physics) -> None:
    """What else the worlds differ in is not handed over."""
    taken = []
    real = physics._positions

    def spy(*given: object) -> mjx.Data:
        taken.append(jax.tree.structure(given))
        return real(*given)

    masses = {"body_mass": engine.model.body_mass}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(physics, "_positions", spy)
        positions(engine, masses, place(engine))
        positions(engine, masses | {"dof_damping": jnp.ones(8)}, place(engine))
    assert taken[0] == taken[1]
