"""What is carried between steps is enough, and models that MJX would get wrong are refused."""

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
import pytest

from mjx_s2r.sim import physics
from mjx_s2r.sim.physics import ModelError
from tests.sim.models import load

SERVO = """
<mujoco><worldbody>
  <body name="arm"><joint name="hip"/><geom name="arm" size="0.1" pos="0.2 0 0"/></body>
</worldbody><actuator><position name="drive" joint="hip" {actuator}/></actuator>
<sensor><jointpos name="angle" joint="hip" {sensor}/></sensor></mujoco>
"""
NATIVE = 'delay="0.02" nsample="15"'


def servo(actuator: str = "", sensor: str = "") -> mujoco.MjModel:
    """Returns a one-joint model with more attributes on its actuator or sensor."""
    return mujoco.MjModel.from_xml_string(SERVO.format(actuator=actuator, sensor=sensor))


def test_native_delay_is_refused_by_name() -> None:
    with pytest.raises(ModelError, match=r"actuator 'drive' has delay=0.02 s.*actuator.delay_s"):
        physics.put_model(servo(actuator=NATIVE))
    with pytest.raises(ModelError, match=r"sensor 'angle' has delay=0.02 s.*sensor.delay_s"):
        physics.put_model(servo(sensor=NATIVE))
    assert physics.put_model(servo()).model.nu == 1


def test_the_model_lies_on_a_device_of_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in the second of two processes, where the first of all devices is another's."""
    mine = jax.devices()[1]
    monkeypatch.setattr(jax, "local_devices", lambda: [mine])
    engine = physics.put_model(servo())
    leaves = jax.tree.leaves((engine.model, engine.empty_data))
    assert {d for x in leaves if isinstance(x, jax.Array) for d in x.devices()} == {mine}


def test_no_leaves_leave_the_model_alone() -> None:
    engine = physics.put_model(servo())
    assert physics.world_model(engine, {}) is engine.model
    heavier = physics.world_model(engine, {"body_mass": jnp.array((0.0, 9.0))})
    np.testing.assert_array_equal(heavier.body_mass, (0, 9))
    lighter = physics.world_model(engine, {"opt.gravity": jnp.array((0.0, 0.0, -1.0))})
    np.testing.assert_array_equal(lighter.opt.gravity, (0, 0, -1))


def test_view_shows_the_present() -> None:
    mj_model = load("free")
    engine, data = physics.put_model(mj_model), mujoco.MjData(mj_model)
    data.qpos[:] = (0.1, -0.2, 0.7, 0.8, 0.6, 0.0, 0.0, 0.4)
    mujoco.mj_forward(mj_model, data)
    core = physics.initial_state(engine, jnp.asarray(data.qpos), jnp.zeros(mj_model.nv))
    seen = physics.forward_positions(engine, {}, core)
    for field in ("xpos", "xipos", "geom_xpos", "subtree_com"):
        np.testing.assert_allclose(getattr(seen, field), getattr(data, field), atol=1e-6)
