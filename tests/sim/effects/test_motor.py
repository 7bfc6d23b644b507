"""The torque-speed curve: by hand, and a motor that C MuJoCo holds at the same force."""

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
import pytest

from mjx_s2r.params import ParamSpace, set_to
from mjx_s2r.sim import physics
from mjx_s2r.sim.effects import motor
from mjx_s2r.sim.physics import ModelError, PhysicsState
from tests.sim.scene import only

XML = """
<mujoco><option timestep="0.01" gravity="0 0 0"><flag contact="disable"/></option><worldbody>
  <body name="disc"><joint name="disc"/><geom name="disc" size="0.1" mass="1"/></body>
  <body name="back" pos="0 0 1"><joint name="back"/><geom name="back" size="0.1" mass="1"/></body>
  <body name="ball"><joint name="ball" type="ball"/><geom name="ball" size="0.1"/></body>
</worldbody><actuator>
  <motor name="back" joint="back" gear="-2" ctrlrange="-9 9" forcerange="-0.01 0.02"/>
  <motor name="disc" joint="disc" forcerange="-0.03 0.04"/>
  <motor name="free" joint="disc"/><motor name="ball" joint="ball" forcerange="-1 1"/>
</actuator></mujoco>
"""
SPACE = only(set_to("curve", "actuator.speed_loss", ("*",), (0, 1), unit="s/rad"))


def bind(*joints: str) -> motor.MotorSpec:
    """Returns the motors of ``joints``."""
    spec = motor.bind_motor(SPACE, mujoco.MjModel.from_xml_string(XML), joints)
    assert spec is not None
    return spec


@pytest.mark.parametrize(
    ("speed", "expected"),
    [
        (0.0, (-0.03, 0.04)),
        (5.0, (-0.03, 0.02)),  # half of the no-load speed of 10 rad/s
        (-2.5, (-0.03 * 0.75, 0.04)),
        (15.0, (-0.03, 0.0)),  # beyond it nothing is left along the motion
    ],
)
def test_force_falls_with_speed_along_the_motion(speed: float, expected: tuple) -> None:
    spec = bind("disc")
    qvel = jnp.array((speed, 99.0, 0, 0, 0))
    force = motor.force_range(spec, jnp, jnp.asarray(spec.stall), jnp.array([0.1]), qvel)
    np.testing.assert_allclose(force[1], expected, atol=1e-7)
    np.testing.assert_allclose(force[0], (-0.01, 0.02))  # the other motor has no row


def test_a_gear_that_turns_round_turns_the_curve_round() -> None:
    """Gear -2: the joint at +5 rad/s is a motor that runs backwards."""
    spec = bind("back")
    force = motor.force_range(
        spec, jnp, jnp.asarray(spec.stall), jnp.array([0.1]), jnp.array((0, 5.0, 0, 0, 0))
    )
    np.testing.assert_allclose(force[0], (-0.005, 0.02), atol=1e-7)


def test_a_motor_runs_up_to_its_no_load_speed_as_in_c() -> None:
    """J dw/dt = tau (1 - w / 10): w = 10 (1 - exp(-t tau / 10 J)); C clamped by hand each step."""
    c = mujoco.MjModel.from_xml_string(XML)
    spec, engine = bind("disc", "back"), physics.put_model(c)
    loss, ctrl = jnp.array((0.1, 0.1)), jnp.array((9.0, 9.0, 0.0, 0.0))

    def one(core: PhysicsState, _: None) -> tuple[PhysicsState, jax.Array]:
        force = motor.force_range(spec, jnp, jnp.asarray(spec.stall), loss, core.qvel)
        core = physics.advance(engine, {motor.FIELD: force}, core, ctrl)
        return core, core.qvel

    run = jax.jit(lambda core: jax.lax.scan(one, core, length=200))
    _, speeds = run(physics.initial_state(engine, jnp.asarray(c.qpos0), jnp.zeros(c.nv)))
    data, theirs, stall = mujoco.MjData(c), [], c.actuator_forcerange.copy()
    data.ctrl[:] = ctrl
    for _ in range(200):
        disc, back = data.qvel[0], -data.qvel[1]
        for actuator, w in ((1, disc), (0, back)):
            share = np.clip((1 + 0.1 * w, 1 - 0.1 * w), 0, 1)
            c.actuator_forcerange[actuator] = stall[actuator] * share
        mujoco.mj_step(c, data)
        theirs.append(data.qvel.copy())
    np.testing.assert_allclose(speeds, theirs, atol=2e-3)
    inertia = c.body_inertia[c.body("disc").id, 2]
    expected = 10 * (1 - np.exp(-2.0 * 0.04 / (10 * inertia)))
    assert float(speeds[-1, 0]) == pytest.approx(expected, rel=0.02)


def test_motors_without_a_limit_or_a_joint_speed_are_refused() -> None:
    with pytest.raises(ModelError, match="'curve': actuator 'free' has no force limit"):
        bind("free")
    with pytest.raises(ModelError, match="'curve': actuator 'ball' does not drive one hinge"):
        bind("ball")
    assert motor.bind_motor(ParamSpace(()), mujoco.MjModel.from_xml_string(XML), ("free",)) is None
