"""xi into model leaves: the same numbers as in C MuJoCo, the same motion, and refusals by name."""

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
import pytest

from mjx_s2r.params import Param, ParamError, ParamSpace
from mjx_s2r.sim import physics
from mjx_s2r.sim.model import leaves
from mjx_s2r.sim.physics import Leaves, ModelError, PhysicsState
from tests.sim.models import SPACE, batch_of_leaves, draws, load

SERVO = ParamSpace(
    (
        Param("kp", "model.actuator_kp", ("*",), limits=(0.5, 2.0)),
        Param("kd", "model.actuator_kd", ("shoulder",), limits=(0.5, 2.0)),
        Param("strength", "model.actuator_strength", ("elbow",), limits=(0.5, 1.5)),
    )
)


def one_leaves(name: str, space: ParamSpace, xi: np.ndarray) -> Leaves:
    """Returns the leaves of one world, not compiled."""
    mj_model = load(name)
    return leaves.leaves(
        physics.put_model(mj_model), leaves.bind_model(space, mj_model), jnp.asarray(xi)
    )


def test_gains_and_strength_enter_where_c_has_them() -> None:
    """Shoulder: 20 x 1.5 = 30. Elbow: 10 x 1.5 x 0.8 = 12 and 0.5 x 0.8 = 0.4."""
    xi = np.array((1.5, 2.0, 0.8), np.float32)
    out = one_leaves("tendon", SERVO, xi)
    np.testing.assert_allclose(out["actuator_gainprm"][:, 0], (30, 12), rtol=1e-6)
    np.testing.assert_allclose(out["actuator_biasprm"][:, 1], (-30, -12), rtol=1e-6)
    np.testing.assert_allclose(out["actuator_biasprm"][:, 2], (-2, -0.4), rtol=1e-6)
    np.testing.assert_allclose(out["actuator_forcerange"], [(-3, 3), (-1.6, 1.6)], rtol=1e-6)
    c = load("tendon")
    leaves.write(c, leaves.bind_model(SERVO, c), xi)
    for field, value in out.items():
        np.testing.assert_allclose(value, getattr(c, field), rtol=1e-6, err_msg=field)
    assert set(out) == {"actuator_gainprm", "actuator_biasprm", "actuator_forcerange"}


def test_nominal_gains_are_those_of_the_model() -> None:
    out, c = one_leaves("tendon", SERVO, SERVO.nominal), load("tendon")
    for field, value in out.items():
        np.testing.assert_allclose(value, getattr(c, field), rtol=1e-6, err_msg=field)


def test_strength_of_a_motor_scales_its_force_and_adds_no_spring() -> None:
    space = ParamSpace((Param("s", "model.actuator_strength", ("x",), limits=(0.5, 1.5)),))
    out = one_leaves("slides", space, np.array([0.7], np.float32))
    assert out["actuator_gainprm"][0, 0] == pytest.approx(0.7)
    assert not np.asarray(out["actuator_biasprm"]).any()


def test_inertia_moves_with_mass_and_stays_possible() -> None:
    """Twice the mass of the same shape is twice the inertia; 0.7 kg + 0.35 kg is 1.5 times 0.7."""
    given = ({"mass": 2.0}, {"payload": 0.35, "inertia": 1.2}, {}, {})
    out = batch_of_leaves("free")[0](np.stack([SPACE.values(g) for g in given]))
    mass, inertia, c = out["body_mass"], out["body_inertia"], load("free")
    np.testing.assert_allclose(mass[0], c.body_mass * (1, 2, 1), rtol=1e-6)
    np.testing.assert_allclose(inertia[0, 1], 2 * c.body_inertia[1], rtol=1e-6)
    np.testing.assert_allclose(inertia[0, 2], c.body_inertia[2], rtol=1e-6)
    np.testing.assert_allclose(inertia[1, 2], c.body_inertia[2] * 1.5 * 1.2, rtol=1e-5)
    np.testing.assert_array_equal(inertia[:, 0], 0)  # the world's stays zero, not NaN


def test_leaves_hold_only_what_the_table_touches() -> None:
    assert one_leaves("ball", ParamSpace(()), np.zeros(0)) == {}
    light = ParamSpace((Param("d", "model.dof_damping", ("ball",), limits=(0.5, 2.0)),))
    assert set(one_leaves("ball", light, light.nominal)) == {"dof_damping"}


def test_writing_twice_equals_writing_once() -> None:
    once, twice = load("slides"), load("slides")
    binding = leaves.bind_model(SPACE, once)
    first, second = draws(2)
    leaves.write(once, binding, second)
    leaves.write(twice, binding, first)
    leaves.write(twice, binding, second)
    for field in ("body_mass", "body_inertia", "body_ipos", "dof_armature", "dof_invweight0"):
        np.testing.assert_array_equal(getattr(once, field), getattr(twice, field))


@pytest.mark.parametrize(
    "name", ["free", *(pytest.param(n, marks=pytest.mark.slow) for n in ("tendon", "slides"))]
)
def test_steps_with_leaves_equal_steps_of_c(name: str) -> None:
    """20 steps of 2 ms with every row moved; qpos to 2e-5 and qvel to 2e-4, float32 against C."""
    mj_model = load(name)
    engine, binding = physics.put_model(mj_model), leaves.bind_model(SPACE, mj_model)
    rng, xi = np.random.default_rng(3), draws(1, seed=4)[0]
    leaves.write(mj_model, binding, xi)
    data = mujoco.MjData(mj_model)
    data.qvel[:] = rng.normal(0, 0.5, mj_model.nv)
    ctrl = rng.uniform(-1, 1, mj_model.nu)
    start = physics.initial_state(engine, jnp.asarray(data.qpos), jnp.asarray(data.qvel))

    @jax.jit
    def run(xi: jax.Array, start: PhysicsState) -> PhysicsState:
        out = leaves.leaves(engine, binding, xi)
        step = lambda _, core: physics.advance(engine, out, core, jnp.asarray(ctrl))  # noqa: E731
        return jax.lax.fori_loop(0, 20, step, start)

    end = run(jnp.asarray(xi), start)
    data.ctrl[:] = ctrl
    for _ in range(20):
        mujoco.mj_step(mj_model, data)
    np.testing.assert_allclose(end.qpos, data.qpos, atol=2e-5)
    np.testing.assert_allclose(end.qvel, data.qvel, atol=2e-4)
    assert end.time == pytest.approx(data.time, rel=1e-5)
    assert np.abs(data.qpos - mj_model.qpos0).max() > 1e-3  # it did move


@pytest.mark.parametrize(
    ("field", "of", "message"),
    [
        (
            "model.body_mass",
            "lnk1",
            r"unknown element of 'body_mass' .*'lnk1'; did you mean 'link1'",
        ),
        ("model.dof_damping", "shoulde", "'shoulde'; did you mean 'shoulder'"),
        ("model.geom_friction", "uper", "'uper'; did you mean 'upper'"),
        ("model.actuator_kp", "elbo", "'elbo'; did you mean 'elbow'"),
        ("model.body_mas", "link1", "'body_mas'; did you mean 'body_mass'"),
    ],
)
def test_a_wrong_name_lists_the_near_ones(field: str, of: str, message: str) -> None:
    with pytest.raises(ParamError, match=message):
        leaves.bind_model(ParamSpace((Param("p", field, (of,)),)), load("tendon"))


def test_friction_from_zero_is_refused_and_names_the_joint() -> None:
    def space(joint: str) -> ParamSpace:
        row = Param("f", "model.dof_frictionloss", (joint,), None, "add", 0.0, (0, 0), (0, 0.1))
        return ParamSpace((row,))

    with pytest.raises(
        ModelError, match=r"'f' randomizes dof_frictionloss of joint 'shoulder'.*1e-6"
    ):
        leaves.bind_model(space("*"), load("tendon"))
    assert len(leaves.bind_model(space("elbow"), load("tendon")).edits) == 1


def test_names_follow_joints_into_dofs_and_positions() -> None:
    ball, free = load("ball"), load("free")
    assert leaves.element_names(ball, "dof") == ["ball"] * 3 + ["swing"] * 3
    assert leaves.element_names(ball, "qpos") == ["ball"] * 4 + ["swing"] * 4
    assert leaves.element_names(free, "qpos") == ["root"] * 7 + ["hinge"]
    assert leaves.element_names(free, "geom") == ["box", "arm"]
