"""What a task is handed: every field of Data that it may read is C MuJoCo's at that state."""

import operator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
import pytest
from mujoco import mjx

from mjx_s2r.contract import ActionSpec, PolicyContract, Signal
from mjx_s2r.params import ParamSpace, scale, set_to
from mjx_s2r.sim import physics
from mjx_s2r.sim.env import Env, make
from mjx_s2r.sim.interface import State, nominal_params
from mjx_s2r.sim.model.leaves import write
from mjx_s2r.sim.task import InitialState, StepResult, TaskError
from mjx_s2r.sim.task_defaults import TaskDefaults

ROOT = Path(__file__).parents[2]
SENSORS = """
  <gyro name="gyro" site="imu"/><velocimeter site="tip"/><accelerometer name="acc" site="imu"/>
  <force site="tip"/><torque site="tip"/><framepos objtype="site" objname="tip"/>
  <framelinacc objtype="site" objname="tip"/><subtreecom body="arm"/><subtreelinvel body="arm"/>
  <actuatorfrc actuator="hinge"/><jointpos joint="hinge"/><jointvel joint="slide"/>
"""
# A ball that rests on the floor, and an arm with springs, tendon, limit, dry friction and a filter.
RICH = f"""
<mujoco><option timestep="0.002" density="1.2" viscosity="0.01"/><size nuserdata="1"/>
<worldbody>
  <geom name="floor" type="plane" size="2 2 .1"/>
  <body name="mark" mocap="true" pos=".3 0 .2"/>
  <body name="ball" pos="0 0 .049"><freejoint name="free"/>
    <geom name="ball" size=".05" mass=".3"/><site name="imu" pos=".01 .02 0"/></body>
  <body name="arm" gravcomp=".5" pos="0 .5 .5">
    <joint name="hinge" axis="0 1 0" pos="0 0 .1" damping=".1" stiffness=".3" frictionloss=".05"
      range="-1 .3" limited="true"/>
    <geom type="capsule" size=".02" fromto="0 0 0 .3 0 0" mass=".2"/>
    <camera name="eye" mode="track" pos="0 -1 0"/>
    <body name="hand" pos=".3 0 0" quat=".9 0 .1 0">
      <joint name="slide" type="slide" axis="1 0 0" armature=".05" damping="1" stiffness="20"/>
      <geom size=".03" mass=".1"/><site name="tip" pos=".05 0 0"/></body></body>
</worldbody>
<tendon><fixed name="cord" stiffness="1" damping=".1">
  <joint joint="hinge" coef="1"/><joint joint="slide" coef="-.5"/></fixed></tendon>
<actuator>
  <position name="hinge" joint="hinge" kp="5" kv=".2" forcerange="-2 2"/>
  <motor name="cord" tendon="cord" gear="2"/></actuator>
<sensor>{SENSORS}</sensor></mujoco>
"""
# A pendulum on which no constraint acts: there MJX returns before its sensors of acceleration.
FREE = """
<mujoco><option timestep="0.002"/><worldbody><body name="pole">
  <joint name="hinge" axis="0 1 0"/>
  <geom type="capsule" size=".02" fromto="0 0 0 0 0 -.3" mass=".2" contype="0" conaffinity="0"/>
  <site name="imu" pos="0 0 -.3"/></body></worldbody>
<actuator><position name="hinge" joint="hinge" kp="5" kv=".2"/></actuator>
<sensor><accelerometer name="acc" site="imu"/><gyro name="gyro" site="imu"/></sensor></mujoco>
"""
ROWS = (
    scale("mass", "model.body_mass", ("*l*",), (0.5, 2.0)),
    set_to("late", "actuator.delay_s", (), (0, 0.01), unit="s"),
    set_to("loss", "actuator.speed_loss", ("hinge",), (0, 0.2), unit="s/rad"),
    set_to("shove", "world.push", ("ball",), (0, 2.0), unit="N"),
    set_to("often", "world.push_rate_hz", (), (50.0, 90.0), nominal=50.0, unit="Hz"),
)


def contract(*signals: Signal) -> PolicyContract:
    """Returns a contract on the hinge, 50 Hz; its range in `RICH` is -1 to 0.3 degrees."""
    action = ActionSpec(
        *(("hinge",), "position", "rad", (0.3,), (0.0,), (-0.017,), (0.005,)), (jnp.inf,), (2.0,)
    )
    return PolicyContract("data", 50.0, (Signal("joint_pos", 1, "rad"), *signals), action)


@dataclass(frozen=True)
class Reading(TaskDefaults):
    """A task that is told whatever ``read`` returns of a Data."""

    mj_model: mujoco.MjModel
    read: Any = lambda data: {}
    signals_read: tuple[Signal, ...] = ()
    space: ParamSpace = field(default_factory=lambda: ParamSpace(()))
    joint: int = 0
    pay: Any = lambda data: 0.0
    name: str = "data"
    contract: PolicyContract = field(init=False)

    def __post_init__(self) -> None:
        """Adds the signals to the contract."""
        object.__setattr__(self, "contract", contract(*self.signals_read))

    def reset(self, *, key: jax.Array) -> InitialState:
        """Starts near the model's own pose, with some speed."""
        spread = 0.02 * jax.random.normal(key, (self.mj_model.nv,))
        return InitialState(jnp.asarray(self.mj_model.qpos0), 10 * spread)

    def signals(self, data: mjx.Data) -> dict[str, jax.Array]:
        """The hinge, and what ``read`` says."""
        at = self.mj_model.joint("hinge").qposadr[0]
        return {"joint_pos": data.qpos[at : at + 1], **self.read(data)}

    def reward(self, data: mjx.Data, action: jax.Array) -> StepResult:
        """What ``pay`` says."""
        return StepResult(jnp.asarray(self.pay(data)), jnp.zeros((), bool), jnp.zeros((), bool))


def in_c(env: Env, state: State) -> mujoco.MjData:
    """Returns C MuJoCo's own computation of the state, its forces and its sensors."""
    sim, model = state.pipeline_state, env.task.mj_model.__copy__()
    write(model, env.binding, np.asarray(sim.episode_params.xi))
    if "actuator_forcerange" in (loads := env._loads(sim, sim.episode_params.xi, jnp.int32(9)))[1]:
        model.actuator_forcerange[:] = loads[1]["actuator_forcerange"]
    core, data = sim.physics_state, mujoco.MjData(model)
    data.time = float(core.time)
    for name in ("qpos", "qvel", "act", "ctrl", "mocap_pos", "mocap_quat"):
        getattr(data, name)[:] = getattr(core, name)
    if loads[2] is not None:
        data.xfrc_applied[:] = loads[2]
    data.qacc_warmstart[:] = core.warmstart
    mujoco.mj_forward(model, data)
    mujoco.mj_subtreeVel(model, data)
    mujoco.mj_rnePostConstraint(model, data)
    return data


def values(data: mjx.Data) -> dict[str, np.ndarray]:
    """Returns the readable fields of a Data by name, those of contacts and constraints apart."""
    found = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(data):
        name = jax.tree_util.keystr(path).removeprefix(".")
        if "contact" not in name and "efc" not in name and np.size(leaf):
            found[name] = np.asarray(leaf, float)
    return found


@pytest.fixture(scope="module")
def rich() -> tuple[Env, list[State], list[mjx.Data]]:
    """The rich model after a reset, and a few steps later, and what `Env.view` says of both."""
    env = make(Reading(mujoco.MjModel.from_xml_string(RICH), space=ParamSpace(ROWS)))
    chosen = env.space.values({"mass": 1.3, "late": 0.007, "loss": 0.1, "shove": 1.0})
    draw = nominal_params(env.space).replace(xi=jnp.asarray(chosen))  # type: ignore[attr-defined]

    @jax.jit
    def run(key: jax.Array) -> tuple[list[State], list[mjx.Data]]:
        first = env.reset(key, draw)
        last = jax.lax.scan(lambda s, a: (env.step(s, a), None), first, jnp.full((4, 1), 0.7))[0]
        both = jax.tree.map(lambda *x: jnp.stack(x), first, last)
        seen = jax.lax.map(env.view, both)  # one view to compile, and not two
        return [first, last], [jax.tree.map(operator.itemgetter(i), seen) for i in (0, 1)]

    return env, *run(jax.random.key(1))


@pytest.mark.slow
@pytest.mark.parametrize("when", [0, 1], ids=["after a reset", "after steps"])
def test_fields_are_those_of_c_at_the_present_state(rich: Any, when: int) -> None:
    env, states, views = rich
    true, known = in_c(env, states[when]), physics.readable_fields(env.physics)
    assert true.ncon and np.abs(true.xfrc_applied).max(initial=0) >= 0.1 * when
    checked = set()
    for name, mine in values(views[when]).items():
        if name not in known or name.removeprefix("_impl.") in ("ten_J", "actuator_moment"):
            continue
        theirs = np.asarray(getattr(true, name.removeprefix("_impl.")), float)
        scale_of = 1e-3 * max(1.0, float(np.abs(theirs).max()))
        gap = np.abs(mine.reshape(theirs.shape) - theirs).max()
        assert gap < (10 if name in LOOSE else 1) * scale_of, f"{name}: off by {gap}"
        checked.add(name)
    assert {"sensordata", "cvel", "actuator_force", "qacc", "qfrc_constraint", "_impl.cacc"} <= (
        checked
    )


LOOSE = frozenset(("qacc", "sensordata", "qfrc_constraint", "_impl.cacc", "_impl.cfrc_int"))


@pytest.mark.slow
def test_moments_contacts_and_constraint_forces_are_those_of_c(rich: Any) -> None:
    env, states, views = rich
    true, mine = in_c(env, states[1]), views[1]
    model = env.task.mj_model
    moment = np.zeros((model.nu, model.nv))
    mujoco.mju_sparse2dense(
        moment,
        true.actuator_moment,
        true.moment_rownnz,
        true.moment_rowadr,
        true.moment_colind,
    )
    np.testing.assert_allclose(mine._impl.actuator_moment, moment, atol=1e-5)
    contact = mine._impl.contact
    for c in true.contact:
        nearest = np.abs(np.asarray(contact.pos) - c.pos).max(-1).argmin()
        np.testing.assert_allclose(contact.pos[nearest], c.pos, atol=1e-4)
        np.testing.assert_allclose(contact.dist[nearest], c.dist, atol=1e-4)
    force = np.asarray(mine._impl.efc_J).T @ np.asarray(mine._impl.efc_force)
    np.testing.assert_allclose(force, true.qfrc_constraint, atol=0.05)


@pytest.mark.slow
def test_sensors_of_acceleration_where_no_constraint_acts() -> None:
    def read(data: mjx.Data) -> dict[str, jax.Array]:
        return {"acc": data.sensordata[:3], "gyro": data.sensordata[3:]}

    signals = Signal("acc", 3, "m/s^2"), Signal("gyro", 3, "rad/s")
    env = make(Reading(mujoco.MjModel.from_xml_string(FREE), read, signals))
    assert env.reads_forces
    first = jax.jit(env.reset)(jax.random.key(0))
    after = jax.jit(env.step)(first, jnp.ones(1))
    for state in (first, after):
        true = in_c(env, state).sensordata
        assert np.abs(true[:3]).max() > 1
        np.testing.assert_allclose(np.asarray(state.obs["state"])[1:], true, atol=2e-3, rtol=1e-3)


@pytest.mark.slow
def test_what_nobody_reads_is_not_computed() -> None:
    """A gyro adds little to a step, accelerations add the solver of another physics step."""
    held = FREE.replace('axis="0 1 0"', 'axis="0 1 0" range="-1 1" limited="true"')  # to solve
    model = mujoco.MjModel.from_xml_string(
        held.replace('<accelerometer name="acc" site="imu"/>', "")
    )

    def flops(pay: Any) -> float:
        env = make(Reading(model, pay=pay))
        state = jax.eval_shape(env.reset, jax.random.key(0))
        program = jax.jit(env.step).lower(state, jnp.zeros(1)).compile()
        found: Any = program.cost_analysis()
        return float(found["flops"])

    plain = flops(lambda data: data.qpos.sum())
    assert flops(lambda data: data.sensordata.sum()) < 1.15 * plain
    assert flops(lambda data: data.qacc.sum()) > 1.3 * plain


def test_a_field_that_mjx_does_not_compute_is_refused_by_name() -> None:
    model = mujoco.MjModel.from_xml_string(RICH)
    with pytest.raises(TaskError, match=r"data\.reward reads data\.qfrc_fluid.*qfrc_passive"):
        make(Reading(model, pay=lambda data: data.qfrc_fluid.sum()))
    with pytest.raises(TaskError, match=r"data\.signals reads data\.qfrc_inverse"):
        make(Reading(model, lambda d: {"x": d.qfrc_inverse[:1]}, (Signal("x", 1, "1"),)))
    with pytest.raises(TaskError, match=r"data\._impl\.contact"):
        make(Reading(model, pay=lambda data: data.contact.dist.sum()))


def test_a_count_of_places_is_not_one_of_contacts() -> None:
    model = mujoco.MjModel.from_xml_string(RICH)
    with pytest.raises(TaskError, match=r"data\.reward reads a count.*contact\.dist < 0"):
        make(Reading(model, pay=lambda data: 1.0 * (data._impl.ncon > 0)))


def test_the_page_of_fields_lists_what_can_be_read() -> None:
    text = (ROOT / "docs" / "data_fields.md").read_text()
    known = physics.readable_fields(physics.put_model(mujoco.MjModel.from_xml_string(FREE)))
    assert sorted(name for name in known if f"`{name}`" not in text) == []
