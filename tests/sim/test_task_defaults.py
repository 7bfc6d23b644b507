"""A task says only what is its own: the rest comes from its model, or has a usual value."""

from typing import Any

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
import pytest
from mujoco import mjx

from mjx_s2r.contract import ContractError, Signal
from mjx_s2r.envs.registry import make_task
from mjx_s2r.params import ParamError
from mjx_s2r.sim.env import make
from mjx_s2r.sim.model.model_contract import action_of, contract_of, drive_kinds
from mjx_s2r.sim.task import StepResult, TaskError
from mjx_s2r.sim.task_calls import draw_start
from mjx_s2r.sim.task_defaults import TaskDefaults

ARM = """<mujoco><compiler angle="radian"/><option timestep="0.004"/><worldbody>
  <body name="upper"><joint name="lift" axis="0 1 0" range="-1 2"/>
    <geom name="upper" type="capsule" fromto="0 0 0 0.2 0 0" size="0.02" mass="0.3"/>
    <body name="lower" pos="0.2 0 0"><joint name="slide" type="slide" axis="1 0 0" range="0 0.1"/>
      <geom name="lower" type="capsule" fromto="0 0 0 0.2 0 0" size="0.02" mass="0.2"/></body>
  </body></worldbody>
  <actuator>{}</actuator><keyframe>{}</keyframe></mujoco>"""
SERVOS = (
    '<position name="b" joint="slide" kp="50" kv="2" forcerange="-5 4"/>'
    '<position name="a" joint="lift" kp="9" ctrlrange="-0.5 1.5"/>'
)
KEY = '<key name="home" qpos="0.5 0.02"/>'


def model(actuators: str = SERVOS, key: str = KEY) -> mujoco.MjModel:
    """Returns the two joints with some actuators."""
    return mujoco.MjModel.from_xml_string(ARM.format(actuators, key))


class MyArm(TaskDefaults):
    """The least that a task is: a model and a reward."""

    mj_model = model()

    def reward(self, data: mjx.Data, action: jax.Array) -> StepResult:
        """How high the lower link is."""
        return StepResult(data.xpos[2, 2], data.xpos[2, 2] > 0.1)


def test_model_and_reward_are_a_task() -> None:
    task: Any = MyArm()
    assert (task.name, task.substeps, task.contract.control_hz) == ("my_arm", 10, 25.0)
    env = make(task)
    state = jax.eval_shape(env.step, jax.eval_shape(env.reset, jax.random.key(0)), jnp.zeros(2))
    assert state.obs["state"].shape == (6,) and env.episode_steps == 125


def test_the_action_is_what_the_model_says() -> None:
    spec = MyArm().contract.action
    assert spec.joints == ("slide", "lift") and spec.mode == "delta_position"
    assert spec.unit == "m, rad"
    assert spec.home == pytest.approx((0.02, 0.5))
    # 5 % inside the ranges: 0 to 0.1 of the slide, -0.5 to 1.5 of the lift's control
    assert spec.low == pytest.approx((0.0025, -0.45))
    assert spec.high == pytest.approx((0.0975, 1.45))
    assert spec.max_effort == pytest.approx((4.0, np.inf))
    assert spec.kp == pytest.approx((50.0, 9.0)) and spec.kd == pytest.approx((2.0, 0.0))


def test_a_start_is_near_the_keyframe_and_within_the_ranges() -> None:
    task: Any = MyArm()
    keys = jax.random.split(jax.random.key(0), 64)
    qpos = np.asarray(jax.vmap(lambda key: draw_start(task, key=key))(keys).qpos)
    assert np.abs(qpos - (0.5, 0.02)).max(0) == pytest.approx((0.3, 0.01), rel=0.2)
    assert (qpos.min(0) >= (-1.0, 0.0)).all() and (qpos.max(0) <= (2.0, 0.1)).all()


def test_motors_command_shares_of_their_force() -> None:
    arm = model('<motor name="lift" joint="lift" ctrlrange="-1 0.5" gear="3"/>', "")
    spec = action_of(arm, control_hz=50.0)
    assert (spec.mode, spec.unit, spec.scale, spec.low, spec.high) == (
        *("effort", "1"),
        *((1.0,), (-1.0,), (0.5,)),
    )
    assert spec.max_effort == (0.5,)
    names = [s.name for s in contract_of(arm, "arm").signals]
    assert names == ["joint_pos", "joint_vel"], "the command of a motor is no reading"


def test_what_is_given_goes_first() -> None:
    contract = contract_of(
        model(),
        "arm",
        control_hz=30.0,  # 8.33 timesteps: 8 are 31.25 Hz
        joints=("lift",),
        mode="position",
        signals=(Signal("gyro", 3, "rad/s"), Signal("joint_vel", 1, "rad/s", 0.5)),
        cameras=("front:32x48@25",),
        max_rate=3,
        home=[0.1],
    )
    assert contract.control_hz == 31.25 and contract.cameras[0].width == 48
    assert [(s.name, s.scale) for s in contract.signals] == [
        *(("joint_pos", 1.0), ("joint_vel", 0.5), ("command", 1.0), ("gyro", 1.0)),
    ]
    assert contract.action.max_rate == (3.0,) and contract.action.home == (0.1,)
    assert contract.action.scale == (0.5,), "half a radian, as Playground's Go1"


@pytest.mark.parametrize(
    ("actuators", "words"),
    [
        ("", "no actuator that a policy can command .it has none at all.*train prepare"),
        ('<velocity name="v" joint="lift" kv="1"/>', "actuator 'v'.*velocity servo"),
        ('<motor name="m" joint="lift"/>', 'joint .lift.*no ctrlrange.*ctrlrange="-1 1"'),
    ],
)
def test_a_model_that_no_policy_can_command_is_refused(actuators: str, words: str) -> None:
    with pytest.raises(ContractError, match=words):
        contract_of(model(actuators, ""), "arm")


def test_servos_are_taken_and_what_no_policy_commands_is_named() -> None:
    both = SERVOS.replace("<position name='a'", "<position name='a'")
    both += '<velocity name="v" joint="lift" kv="1"/>'
    kinds, left_out = drive_kinds(model(both))
    assert kinds == {"slide": "position"}
    assert len(left_out) == 2 and all("2 actuators" in why for why in left_out)


def test_a_field_of_the_action_that_is_none_lists_the_near_ones() -> None:
    with pytest.raises(ParamError, match=r"'max_rates'.* 'max_rate'"):
        action_of(model(), control_hz=25.0, max_rates=1.0)


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ({"reward": MyArm.reward}, "task 'some' has no 'mj_model'; write `mj_model = "),
        ({"mj_model": MyArm.mj_model}, "no function 'reward'; write `def reward"),
    ],
)
def test_a_part_without_a_default_is_named_with_its_line(parts: dict[str, Any], words: str) -> None:
    task: Any = type("Some", (TaskDefaults,), parts)()
    for door in (make, make_task):
        with pytest.raises(TaskError, match=words):
            door(task)
