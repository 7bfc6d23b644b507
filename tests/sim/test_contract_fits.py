"""A contract that its model contradicts is refused by name; one that fits drives what it says."""

import re
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
import pytest
from mujoco import mjx

from mjx_s2r.contract import ActionSpec, CameraSignal, ContractError, PolicyContract, Signal
from mjx_s2r.params import ParamError, ParamSpace, scale, set_to
from mjx_s2r.robot.clock import VirtualClock
from mjx_s2r.robot.driver import check
from mjx_s2r.robot.drivers.mujoco_wiring import describe, rig_for
from mjx_s2r.robot.drivers.sim_robot import SimRobot
from mjx_s2r.sim.env import make
from mjx_s2r.sim.physics import ModelError
from mjx_s2r.sim.task import InitialState, StepResult
from mjx_s2r.sim.task_defaults import TaskDefaults

INF, EMPTY = float("inf"), ParamSpace(())
TREE = """
<mujoco><compiler angle="radian"/>
<option timestep="0.005" gravity="0 0 0" {attributes}>{option}</option>
<worldbody>
  <camera name="front" pos="0 -1 0"/>
  <body><joint name="lift" axis="0 1 0" range="-1.5 1.5" damping="0.5" {lift}/>
    <geom size="0.05" mass="1" pos="0.1 0 0" contype="0"/>
    <body pos="0.2 0 0"><joint name="turn" axis="0 1 0" damping="0.3"/>
      <geom size="0.04" mass="0.5" pos="0.1 0 0" contype="0"/></body></body>
  <body pos="0 1 0"><joint name="rail" type="slide" axis="1 0 0" damping="1"/>
    <geom size="0.05" mass="1" contype="0"/></body>
  <body pos="0 2 0"><joint name="ball" type="ball"/>
    <geom size="0.05" mass="1" pos="0.1 0 0" contype="0"/></body>
</worldbody>
<tendon><fixed name="pair">
  <joint joint="lift" coef="1"/><joint joint="turn" coef="1"/></fixed></tendon>
<actuator>{actuators}</actuator>{rest}</mujoco>
"""
SERVO = '<position name="lift" joint="lift" kp="20" kv="2" forcerange="-4 6"/>'
MOTOR = '<motor name="lift" joint="lift" ctrlrange="-3 3"/>'


def model(actuators: str, lift: str = "", **more: str) -> mujoco.MjModel:
    """Returns hinges "lift" and "turn" in a row, a slide "rail" and a ball, with actuators."""
    parts = dict.fromkeys(("option", "attributes", "rest"), "") | more
    return mujoco.MjModel.from_xml_string(TREE.format(actuators=actuators, lift=lift, **parts))


def contract(
    *joints: str,
    mode: Any = "position",
    unit: str = "",
    span: float = 1.0,
    signals: tuple[Signal, ...] | None = None,
    cameras: tuple[CameraSignal, ...] = (),
    **more: Any,
) -> PolicyContract:
    """Returns a contract of ``joints`` (by default "lift") whose commands go to +-``span``."""
    joints = joints or ("lift",)
    n = len(joints)
    given = dict(scale=(span,) * n, home=(0.0,) * n, low=(-span,) * n, high=(span,) * n)
    given |= dict(max_rate=(INF,) * n, max_effort=(INF,) * n)
    action = ActionSpec(
        joints, mode, unit or ("N m" if mode == "effort" else "rad"), **given | more
    )
    signals = (Signal("joint_pos", n, "rad"),) if signals is None else signals
    return PolicyContract("fits", 50.0, signals, action, cameras)


@dataclass(frozen=True, eq=False)
class Fits(TaskDefaults):
    """A task that reads the positions of the contract's joints, or what ``told`` returns."""

    mj_model: mujoco.MjModel
    contract: PolicyContract
    told: Callable[[mjx.Data], dict[str, jax.Array]] | None = None
    space: ParamSpace = EMPTY
    begin: tuple[float, ...] = (0.4, -0.3, 0.2, 1, 0, 0, 0)

    def reset(self, *, key: jax.Array) -> InitialState:
        """Starts at ``begin``, at rest."""
        return InitialState(jnp.array(self.begin))

    def signals(self, data: mjx.Data) -> dict[str, jax.Array]:
        """Positions."""
        if self.told:
            return self.told(data)
        joints = [self.mj_model.actuator(name).trnid[0] for name in self.contract.action.joints]
        return {"joint_pos": data.qpos[self.mj_model.jnt_qposadr[joints]]}

    def reward(self, data: mjx.Data, action: jax.Array) -> StepResult:
        """Nothing."""
        return StepResult(jnp.zeros(()), jnp.zeros((), bool))


def two_actuators(first: str, second: str) -> str:
    """Returns position servos of joints "lift" and "turn" by these names."""
    servo = '<position name="{}" joint="{}" kp="20"/>'
    return servo.format(first, "lift") + servo.format(second, "turn")


KIND = "action mode '{}' does not fit actuator 'lift': {}"
SLIDE = '<{} name="rail" joint="rail"/>'

REFUSED = {
    # actuator kind against action mode
    "motor": (model(MOTOR), contract(), KIND.format("position", "it is a motor")),
    "velocity": (
        model('<velocity name="lift" joint="lift" kv="3"/>'),
        contract(),
        KIND.format("position", "it is a velocity servo"),
    ),
    "damper": (
        model('<damper name="lift" joint="lift" kv="3" ctrlrange="0 1"/>'),
        contract(mode="effort"),
        KIND.format("effort", "its gain type is affine"),
    ),
    "integrated velocity": (
        model('<intvelocity name="lift" joint="lift" kp="3" actrange="-1 1"/>'),
        contract(mode="delta_position"),
        KIND.format("delta_position", "it integrates its control, which is a speed"),
    ),
    "muscle": (
        model('<muscle name="lift" joint="lift" lengthrange="0.1 1"/>'),
        contract(),
        KIND.format("position", "its dynamics are of type muscle"),
    ),
    "spring off zero": (
        model('<general name="lift" joint="lift" gainprm="9" biastype="affine" biasprm="1 -9"/>'),
        contract(),
        KIND.format("position", re.escape("its force is 9 ctrl + 1 + -9 q")),
    ),
    "servo away from": (
        model('<general name="lift" joint="lift" gainprm="-9" biastype="affine" biasprm="0 9"/>'),
        contract(),
        KIND.format("position", re.escape("its force is -9 ctrl + 0 + 9 q")),
    ),
    "servo for effort": (
        model(SERVO),
        contract(mode="effort"),
        KIND.format("effort", "it is a position servo"),
    ),
    "geared servo": (
        model('<position name="lift" joint="lift" kp="20" gear="2"/>'),
        contract(),
        KIND.format("position", "its gear is 2"),
    ),
    "dead motor": (
        model('<motor name="lift" joint="lift" gear="0"/>'),
        contract(mode="effort", unit="1"),
        "gain times gear is zero",
    ),
    # gear and unit
    "geared motor": (
        model('<motor name="lift" joint="lift" gear="25"/>'),
        contract(mode="effort"),
        "joint 'lift': a command of 1 N m acts as 25 N m.*gear 1 into the MuJoCo model, or the",
    ),
    "gain of a motor": (
        model('<general name="lift" joint="lift" gainprm="-1"/>'),
        contract(mode="effort"),
        "a command of 1 N m acts as -1 N m",
    ),
    "degrees": (model(SERVO), contract(unit="deg"), "action.unit 'deg'.*in 'rad'; write that"),
    "share of a position": (model(SERVO), contract(unit="1"), "action.unit '1'.*in 'rad'"),
    # gains and limits
    "kp": (
        model(SERVO),
        contract(kp=(10.0,)),
        "'lift': action.kp 10 is not the kp.*, 20; write kp",
    ),
    "kd": (model(SERVO), contract(kd=(0.1,)), "'lift': action.kd 0.1 is not the kv.*, 2; write kd"),
    "effort of a servo": (
        model(SERVO),
        contract(max_effort=(5.0,)),
        r"action.max_effort 5 is above 4, .*forcerange of the actuator \(-4 to 6\).*max_effort 4",
    ),
    "effort of a joint": (
        model(SERVO, 'actuatorfrcrange="-9 2"'),
        contract(max_effort=(3.0,)),
        r"action.max_effort 3 is above 2, .*actuatorfrcrange of the joint \(-9 to 2\)",
    ),
    "one-sided effort": (
        model('<position name="lift" joint="lift" kp="20" forcerange="0 6"/>'),
        contract(max_effort=(3.0,)),
        "action.max_effort 3 is above 0",
    ),
    "effort of a motor": (
        model('<motor name="lift" joint="lift" forcerange="-2 2"/>'),
        contract(mode="effort", span=2.5),
        "commands from -2.5 to 2.5 .* leave the forcerange of the actuator, -2 to 2",
    ),
    "effort behind a joint": (
        model(MOTOR, 'actuatorfrcrange="-1 3"'),
        contract(mode="effort", span=2.5),
        "leave the actuatorfrcrange of the joint, -1 to 3",
    ),
    "share beyond": (
        model('<motor name="lift" joint="lift" gear="10" forcerange="-0.5 0.5"/>'),
        contract(mode="effort", unit="1"),
        "commands from -1 to 1 .* leave the forcerange of the actuator times gear 10, -0.5 to 0.5",
    ),
    "range": (
        model(SERVO),
        contract(span=1.6),
        "from -1.6 to 1.6 .* range of the joint, -1.5 to 1",
    ),
    "open range": (model(SERVO), contract(low=(-INF,)), "from -inf to 1 .* range of the joint"),
    "ctrlrange": (
        model('<position name="lift" joint="lift" kp="20" ctrlrange="0.1 1.2"/>'),
        contract(),
        "leave the ctrlrange of the actuator, 0.1 to 1.2",
    ),
    "actrange": (
        model(
            '<general name="lift" joint="lift" dyntype="filter" dynprm="0.1" gainprm="9" '
            'biastype="affine" biasprm="0 -9" actlimited="true" actrange="-0.2 0.2"/>'
        ),
        contract(),
        "leave the actrange of the actuator, -0.2 to 0.2",
    ),
    # names and transmissions
    "crossed names": (
        model(two_actuators("turn", "lift")),
        contract(),
        "'lift' of action.joints is a joint and an actuator, and that actuator drives joint 'turn'",
    ),
    "two names": (
        model(two_actuators("m1", "m2")),
        contract("m1", "lift"),
        r"'m1' and 'lift' of action.joints are one joint \('lift'\); name it once",
    ),
    "two actuators": (
        model(SERVO + '<velocity name="brake" joint="lift"/>'),
        contract(),
        r"'lift' has 2 actuators \(actuator 'lift', actuator 'brake'\) and needs one; a <position>",
    ),
    "no actuator": (
        model(SERVO),
        contract("turn"),
        "'turn' has 0 actuators.*<position name=\"turn\"",
    ),
    "tendon": (
        model('<position name="grip" tendon="pair" kp="9"/>'),
        contract("grip"),
        "'grip': actuator 'grip' acts through a tendon.*couple the others to it with <equality>",
    ),
    "joint of a tendon": (
        model('<position name="grip" tendon="pair" kp="9"/>'),
        contract("lift"),
        r"'lift' has 0 actuators of its own .*\(actuator 'grip' moves it through a tendon\)",
    ),
    "ball": (
        model('<motor name="ball" joint="ball" gear="1 0 0"/>'),
        contract("ball", mode="effort"),
        "drives joint 'ball' of type ball; a command moves one hinge or slide",
    ),
    # switched off
    "group": (
        model(SERVO.replace("/>", ' group="3"/>'), attributes='actuatorgroupdisable="3"'),
        contract(),
        "actuator 'lift' is of group 3, which .* switches off; take the group out of it",
    ),
    "all actuators": (
        model(SERVO, option='<flag actuation="disable"/>'),
        contract(),
        "'lift': the model switches all actuators off; take <flag",
    ),
    # signals
    "camera out of step": (
        model(SERVO),
        contract(cameras=(CameraSignal("front", 8, 8, 40.0),)),
        "camera 'front': 40.0 Hz is no whole part of the control rate 50.0 Hz; use e.g. 50 Hz",
    ),
    "passive joint": (
        model(SERVO),
        contract(signals=(Signal("joint_pos", 2, "rad"),)),
        r"signal 'joint_pos' has 2 values.* the 1 positions of \['lift'\].*another signal",
    ),
    "no positions": (
        model(SERVO),
        contract(signals=(Signal("angle", 1, "rad"),)),
        r"needs a signal 'joint_pos' of 1 values.*\['lift'\], and the contract has \['angle'\]",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_the_model_contradicts_is_refused(case: str) -> None:
    mj_model, wrong, words = REFUSED[case]
    with pytest.raises(ContractError, match=words):
        make(Fits(mj_model, wrong))


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (contract("lfit"), "unknown actuator or joint 'lfit'; did you mean 'lift'"),
        (
            contract(cameras=(CameraSignal("fornt", 8, 8, 50.0),)),
            "unknown camera in the contract: 'fornt'; did you mean 'front'",
        ),
    ],
)
def test_unknown_names_are_refused_with_near_ones(wrong: PolicyContract, words: str) -> None:
    with pytest.raises(ParamError, match=words):
        make(Fits(model(SERVO), wrong))


NARROW = '<position name="lift" joint="lift" kp="20" ctrlrange="-0.3 0.3"/>'
GENERAL = (
    '<general name="lift" joint="lift" gainprm="20" biastype="affine" biasprm="0 -20 -2" '
    'dyntype="filterexact" dynprm="0.05"/>'
)
FITTING = {
    "smaller limits": (
        model(SERVO, 'actuatorfrcrange="-5 5"'),
        contract(span=0.5, kp=(20.0,), kd=(2.0,), max_effort=(4.0,)),
    ),
    "damping with the joint's": (model(SERVO), contract(kd=(2.5,))),
    "a servo by hand": (model(GENERAL), contract(mode="delta_position", kp=(20.0,))),
    "controls that nothing clamps": (
        model(NARROW, option='<flag clampctrl="disable"/>'),
        contract(),
    ),
    "a motor to its end": (model(MOTOR), contract(mode="effort", span=3.0, max_effort=(3.0,))),
    "gain and gear that make one": (
        model('<general name="lift" joint="lift" gainprm="0.5" gear="2"/>'),
        contract(mode="effort"),
    ),
    "a share through a gear": (
        model('<motor name="lift" joint="lift" gear="-10" ctrlrange="-1 1"/>'),
        contract(mode="effort", unit="1", max_effort=(1.0,)),
    ),
    "an unlimited joint": (
        model(two_actuators("arm", "turn")),
        contract("turn", "arm", low=(-9.0, -1.0), high=(9.0, 1.0)),
    ),
    "a hinge and a slide": (
        model(SERVO + SLIDE.format("position")),
        contract("rail", "lift", unit="m, rad"),
    ),
}


@pytest.mark.parametrize("case", FITTING)
def test_what_fits_is_taken_by_training_and_stand_in(case: str) -> None:
    mj_model, fitting = FITTING[case]
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        env = make(Fits(mj_model, fitting))
    info = describe(mj_model, rig_for(fitting))
    assert env.drives.names == info.joints == fitting.action.joints
    check(replace(fitting, action=replace(fitting.action, max_effort=info.max_effort)), info)


def test_a_unit_of_the_other_kind_of_joint_is_told() -> None:
    mj_model = model(SLIDE.format("motor"))
    with pytest.warns(RuntimeWarning, match="'N m': joint 'rail' is a slide.*write unit 'N'"):
        make(Fits(mj_model, contract("rail", mode="effort")))


def test_the_data_sheet_holds_what_passes_both_ways() -> None:
    """Force range, range of the joint's force and, for positions, the control range."""
    servo = SERVO.replace("/>", ' ctrlrange="-1.2 2"/>')
    info = describe(model(servo, 'actuatorfrcrange="-3 9"'), rig_for(contract()))
    assert (info.low, info.high, info.max_effort) == ((-1.2,), (1.5,), (3.0,))
    strong = contract(max_effort=(4.0,))
    with pytest.raises(
        ContractError, match="max_effort 4 of joint 'lift' is outside the robot's 3"
    ):
        check(strong, info)


def test_rows_on_limits_that_the_joint_hides_are_refused() -> None:
    row = scale("limit", "model.actuator_force_limit", ("lift",), (0.6, 2.0))
    hidden = model(SERVO, 'actuatorfrcrange="-2 2"')
    with pytest.raises(
        ModelError, match=r"'limit' .*of 'lift', and joint 'lift' has actuatorfrcrange"
    ):
        make(Fits(hidden, contract(), space=ParamSpace((row,))))
    felt = scale("limit", "model.actuator_force_limit", ("lift",), (0.4, 2.0))  # 1.6 N m below
    weaker = scale("strength", "model.actuator_strength", ("lift",), (0.5, 1.0))
    curve = set_to("curve", "actuator.speed_loss", ("lift",), (0, 0.1), unit="s/rad")
    for rows in ((felt,), (row, weaker), (row, curve)):
        make(Fits(hidden, contract(), space=ParamSpace(rows)))


@pytest.mark.parametrize(
    ("told", "words"),
    [
        (lambda d: {"joint_pos": d.qpos[:2]}, r"'joint_pos' of joints \['lift', 'turn'\], and a "),
        (lambda d: {"joint_pos": d.sensordata[:2]}, r"order of action.joints, \['turn', 'lift'\]"),
        (lambda d: {"joint_pos": d.qpos[jnp.array([1, 2])]}, r"of joints \['turn', 'rail'\]"),
        (
            lambda d: {"joint_pos": d.qpos[jnp.array([1, 0])], "joint_vel": d.qvel[:2]},
            r"'joint_vel' of joints \['lift', 'turn'\].*data.qvel\[jnp.array\(\[1, 0\]\)\]",
        ),
        (lambda d: {"joint_pos": d.qpos[jnp.array([1, 0])]}, ""),
        (lambda d: {"joint_pos": d.sensordata[jnp.array([1, 0])]}, ""),
        (lambda d: {"joint_pos": 2 * d.qpos[:2]}, ""),  # computed: what it means is the task's
    ],
)
def test_positions_and_speeds_come_in_the_contracts_order(told: Any, words: str) -> None:
    sensors = '<sensor><jointpos joint="lift"/><jointpos joint="turn"/></sensor>'
    mj_model = model(two_actuators("lift", "turn"), rest=sensors)
    names = jax.eval_shape(lambda: told(mjx.make_data(mj_model, impl="jax")))
    signals = tuple(Signal(name, 2, "rad") for name in names)
    task = Fits(mj_model, contract("turn", "lift", signals=signals), told)
    if words:
        with pytest.raises(ContractError, match=words):
            make(task)
    else:
        make(task)


FILTERED = (
    '<position name="m_turn" joint="turn" kp="8" kv="1" timeconst="0.2"/>'
    '<position name="m_rail" joint="rail" kp="30" kv="3" timeconst="0.1"/>'
    '<position name="m_lift" joint="lift" kp="20" kv="2"/>'
)
KEY = '<keyframe><key qpos="0 0 0 1 0 0 0" ctrl="0 0.25 0" act="0 {}"/></keyframe>'


@pytest.mark.slow
def test_training_and_stand_in_drive_the_same_joints_to_the_same_place() -> None:
    """Names and orders of joints and actuators differ, one servo filters, one is not commanded."""
    mj_model = model(FILTERED, rest=KEY.format("0.25"))
    driven = contract("lift", "m_turn")
    told = lambda d: {"joint_pos": d.qpos[:2]}  # noqa: E731
    env = make(Fits(mj_model, driven, told, begin=(0.4, -0.3, 0.25, 1, 0, 0, 0)))
    commands = 0.6 * np.random.default_rng(0).uniform(-1, 1, (25, 2))
    state = jax.jit(env.reset)(jax.random.key(0))
    np.testing.assert_allclose(state.pipeline_state.physics_state.act, (-0.3, 0.25), atol=1e-6)

    def one(state: Any, action: jax.Array) -> tuple[Any, jax.Array]:
        state = env.step(state, action)
        return state, state.pipeline_state.physics_state.qpos[:3]

    ours = jax.jit(lambda s, a: jax.lax.scan(one, s, a)[1])(state, jnp.asarray(commands))
    clock = VirtualClock()
    robot = SimRobot(mj_model, rig_for(driven), clock)
    clock.start(0.02)
    robot.reset((0.4, -0.3))
    robot.data.qpos[2] = 0.25
    theirs = []
    for command in commands:
        robot.write(command)
        clock.wait()
        robot.advance()
        theirs.append(robot.data.qpos[:3].copy())
    np.testing.assert_allclose(ours, theirs, atol=2e-4)
    assert np.ptp(theirs, 0)[:2].min() > 0.05  # they moved
    np.testing.assert_allclose(np.array(theirs)[:, 2], 0.25, atol=1e-6)  # and this one stayed


def test_a_filtered_servo_starts_at_rest_with_its_command() -> None:
    """Nothing moves under the command that an episode begins with."""
    mj_model = model(FILTERED, rest=KEY.format("0"))  # a keyframe without act: the filter rests
    clock = VirtualClock()
    robot = SimRobot(mj_model, rig_for(contract("lift", "m_turn")), clock)
    clock.start(0.02)
    robot.reset((0.4, -0.3))
    robot.data.qpos[2] = 0.25
    for _ in range(10):
        clock.wait()
    np.testing.assert_allclose(robot.read().signals["joint_pos"], (0.4, -0.3), atol=1e-9)
    assert robot.data.qpos[2] == pytest.approx(0.25, abs=1e-9)


@pytest.mark.parametrize(
    ("rest", "words"),
    [
        ("", "'m_rail' is outside the contract and keeps control 0, as the model has no keyframe"),
        ('<keyframe><key name="no_ctrl"/></keyframe>', "keeps control 0, of the model's first key"),
        (KEY.format("0.25"), ""),
    ],
)
def test_a_servo_that_is_not_commanded_and_pulls_is_told(rest: str, words: str) -> None:
    driven = contract("lift", "m_turn")
    begin = (0.4, -0.3, 0.25, 1, 0, 0, 0)
    task = Fits(
        model(FILTERED, rest=rest), driven, lambda d: {"joint_pos": d.qpos[:2]}, begin=begin
    )
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        make(task)
    found = [str(w.message) for w in told if "outside the contract" in str(w.message)]
    assert len(found) == bool(words)
    if words:
        assert re.search(words, found[0]) and "starts at 0.25 and is pulled to 0" in found[0]
