"""C MuJoCo in batch: a plain loop of C to the bit, MJX within its precision, and it trains."""

import copy
from typing import Any

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
import pytest

from mjx_s2r.learn.ppo.config import PPOConfig
from mjx_s2r.params import ParamSpace, add, scale
from mjx_s2r.sim import physics
from mjx_s2r.sim.backends.c_batch import FORWARD_FIELDS, STATE, CBatch
from mjx_s2r.sim.backends.physics_config import ModelError, PhysicsConfig, one_device
from mjx_s2r.sim.env import Env, make
from mjx_s2r.sim.interface import State, nominal_params
from mjx_s2r.sim.model.leaves import leaves
from mjx_s2r.sim.task import TaskError
from tests.learn.probes import ppo_trainer
from tests.sim.test_task_data import RICH, ROWS, Reading, in_c
from tests.sim.toy import Toy

SPACE = ParamSpace(
    (
        scale("mass", "model.body_mass", ("ball", "arm", "hand"), (0.5, 2.0)),
        scale("length", "model.link_length", ("arm",), (0.8, 1.2)),
        scale("size", "model.geom_size", ("ball",), (0.8, 1.2), column=0),
        scale("kp", "model.actuator_kp", ("hinge",), (0.5, 2.0)),
        add("tilt", "model.gravity_tilt", (), (-0.2, 0.2), column=0, unit="rad"),
    )
)
STEPS = 12


@pytest.fixture(scope="module")
def env() -> Env:
    """The rich model in C, with rows on masses, lengths, sizes, gains and gravity."""
    task = Reading(mujoco.MjModel.from_xml_string(RICH), space=SPACE)
    return make(task, PhysicsConfig("c"))


@pytest.fixture(scope="module")
def worlds(env: Env) -> dict[str, Any]:
    """Six worlds that differ in every row, each with its start and controls."""
    rng = np.random.default_rng(0)
    low, high = env.space.limits
    xi = jnp.asarray(rng.uniform(low, high, (6, len(env.space))), jnp.float32)
    model = env.task.mj_model
    held = jax.jit(jax.vmap(lambda x: leaves(env.physics, env.binding, x)))(xi)
    core = physics.initial_state(env.physics, jnp.asarray(model.qpos0), jnp.zeros(model.nv))
    parts = {n: np.repeat(np.asarray(getattr(core, n))[None], 6, 0) for n in STATE}
    parts["qvel"] += rng.normal(0, 0.3, parts["qvel"].shape).astype(np.float32)
    return {
        "leaves": {n: np.asarray(x) for n, x in held.items() if not n.startswith("cam_")},
        "state": parts,
        "ctrl": rng.uniform(-0.3, 0.3, (6, STEPS, model.nu)).astype(np.float32),
        "wrench": rng.normal(0, 0.1, (6, model.nbody, 6)).astype(np.float32),
    }


def chosen(worlds: dict[str, Any], which: list[int]) -> dict[str, Any]:
    """Returns some of the worlds, in that order."""
    return jax.tree.map(lambda x: x[which], worlds)


def plain(env: Env, worlds: dict[str, Any], index: int) -> dict[str, np.ndarray]:
    """Returns one world after `STEPS` steps of a loop in C MuJoCo."""
    model = copy.copy(env.task.mj_model)
    for path, value in worlds["leaves"].items():
        holder = model.opt if path.startswith("opt.") else model
        getattr(holder, path.removeprefix("opt."))[:] = value[index]
    model.opt.disableflags |= mujoco.mjtDisableBit.mjDSBL_MIDPHASE
    mujoco.mj_setConst(model, mujoco.MjData(model))
    data = mujoco.MjData(model)
    for name in ("qpos", "qvel", "act", "mocap_pos", "mocap_quat"):
        getattr(data, name)[:] = worlds["state"][name][index]
    data.xfrc_applied[:] = worlds["wrench"][index]
    for ctrl in worlds["ctrl"][index]:
        data.ctrl[:] = ctrl
        mujoco.mj_step(model, data)
    return {"qpos": data.qpos, "qvel": data.qvel, "warmstart": data.qacc_warmstart}


def test_it_is_a_plain_loop_of_c_to_the_bit(env: Env, worlds: dict[str, Any]) -> None:
    out = CBatch(env.task.mj_model).steps(**worlds)
    for index in range(6):
        for name, value in plain(env, worlds, index).items():
            np.testing.assert_array_equal(out[name][index], value.astype(np.float32))
    assert np.ptp(out["qpos"], axis=0).max() > 1e-3  # the worlds differ


def test_a_result_depends_on_nothing_that_came_before(env: Env, worlds: dict[str, Any]) -> None:
    engine = CBatch(env.task.mj_model)
    first = engine.steps(**worlds)
    other = engine.steps(**chosen(worlds, [5, 4, 3, 2, 1, 0]))
    pair = engine.steps(**chosen(worlds, [2, 4]))
    again = engine.steps(**worlds)
    for name, value in first.items():
        np.testing.assert_array_equal(other[name], value[::-1])
        np.testing.assert_array_equal(pair[name], value[[2, 4]])
        np.testing.assert_array_equal(again[name], value)


@pytest.mark.slow
def test_environments_agree_with_those_of_mjx() -> None:
    """Delays, a torque-speed curve and pushes act alike; MJX differs by its precision."""
    task = Reading(mujoco.MjModel.from_xml_string(RICH), space=ParamSpace(ROWS))
    values = {"mass": 1.3, "late": 0.007, "loss": 0.15, "shove": 1.0}
    found = []
    for backend in ("jax", "c"):
        env = make(task, PhysicsConfig(backend))  # type: ignore[arg-type]
        xi = jnp.asarray(env.space.values(values))
        draw = nominal_params(env.space).replace(xi=xi)  # type: ignore[attr-defined]

        @jax.jit
        def run(key: jax.Array, env: Env = env, draw: Any = draw) -> jax.Array:
            def step(state: State, action: jax.Array) -> tuple[State, jax.Array]:
                state = env.step(state, action)
                return state, state.pipeline_state.physics_state.qpos

            actions = jnp.sin(jnp.arange(8.0))[:, None]
            return jax.lax.scan(step, env.reset(key, draw), actions)[1]

        found.append(np.asarray(run(jax.random.key(3))))
    assert np.abs(found[0] - found[0][0]).max() > 0.05
    np.testing.assert_allclose(found[1], found[0], atol=2e-3)


def test_forces_and_sensors_are_those_of_c() -> None:
    model = mujoco.MjModel.from_xml_string(RICH)
    env = make(Reading(model, space=ParamSpace(ROWS)), PhysicsConfig("c"))
    state = jax.jit(lambda key: env.step(env.reset(key), jnp.ones(1)))(jax.random.key(0))
    view, true = jax.jit(env.view)(state), in_c(env, state)
    for name in FORWARD_FIELDS:
        theirs = np.asarray(getattr(true, name))
        mine = np.asarray(getattr(view, name)).reshape(theirs.shape)
        np.testing.assert_allclose(mine, theirs, rtol=1e-4, atol=1e-4, err_msg=name)
    with pytest.raises(TaskError, match=r"data\._impl\.efc_force.*physics\.backend 'c'"):
        make(Reading(model, pay=lambda d: d._impl.efc_force.sum()), PhysicsConfig("c"))


def test_worlds_that_explode_are_counted() -> None:
    env = make(Toy(), PhysicsConfig("c"))
    state = jax.jit(env.reset)(jax.random.key(0))
    core = state.pipeline_state.physics_state.replace(qvel=jnp.full(1, jnp.inf))
    state = state.replace(  # type: ignore[attr-defined]
        pipeline_state=state.pipeline_state.replace(physics_state=core)
    )
    after = jax.jit(env.step)(state, jnp.ones(1))
    assert after.metrics["nan"] == 1 and after.done == 1


@pytest.mark.slow
def test_a_training_in_c_goes_on_bit_by_bit() -> None:
    config = PPOConfig(
        num_envs=8, num_steps=4, num_minibatches=2, actor_hidden=(8,), critic_hidden=(8,)
    )
    ends = []
    for stop in (None, 2):
        trainer = ppo_trainer(make(Toy(), PhysicsConfig("c")), config)
        state = trainer.init(jax.random.key(0))
        for i in range(4):
            if i == stop:  # the worlds in C have been something else meanwhile
                other = ppo_trainer(trainer.env, config)
                other.iterate(other.init(jax.random.key(7)))
            state, _ = trainer.iterate(state)
        ends.append(jax.tree.leaves(state.learner))
    for one, two in zip(*ends, strict=True):
        np.testing.assert_array_equal(one, two)


def test_several_devices_are_refused() -> None:
    with pytest.raises(ModelError, match=r"'c' steps all worlds on one device.*--devices 1"):
        one_device(PhysicsConfig("c"), 2)


def test_what_worlds_would_hand_on_is_refused() -> None:
    late = RICH.replace(
        '<jointvel joint="slide"/>', '<jointvel joint="slide" interval="0.05" nsample="4"/>'
    )
    with pytest.raises(ModelError, match="'c': the model's interval keeps a past"):
        CBatch(mujoco.MjModel.from_xml_string(late))
    tired = RICH.replace('viscosity="0.01"/>', '><flag sleep="enable"/></option>')
    with pytest.raises(ModelError, match='remove sleep="enable"'):
        CBatch(mujoco.MjModel.from_xml_string(tired))


def test_contacts_cannot_be_read_where_they_are_not_known() -> None:
    model = mujoco.MjModel.from_xml_string(RICH)
    with pytest.raises(TaskError, match=r"data\._impl\.contact\.dist.*physics\.backend 'c'"):
        make(Reading(model, pay=lambda d: d._impl.contact.dist.sum()), PhysicsConfig("c"))


def test_a_view_depends_on_no_step_that_came_before() -> None:
    """A torque-speed curve writes force ranges into the worlds; a view puts its own there."""
    env = make(
        Reading(mujoco.MjModel.from_xml_string(RICH), space=ParamSpace(ROWS)), PhysicsConfig("c")
    )
    xi = jnp.asarray(env.space.values({"loss": 0.2}))
    draw = nominal_params(env.space).replace(xi=xi)  # type: ignore[attr-defined]
    step, view = jax.jit(env.step), jax.jit(env.view)
    state = step(jax.jit(env.reset)(jax.random.key(0), draw), jnp.ones(1))
    before = np.asarray(view(state).actuator_force)
    for _ in range(3):
        step(state, -jnp.ones(1))
    np.testing.assert_array_equal(np.asarray(view(state).actuator_force), before)
