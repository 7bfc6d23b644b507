"""Where a robot's points are: C MuJoCo is the oracle, for trees written by hand and from models."""

from collections.abc import Iterator
from dataclasses import replace

import mujoco
import numpy as np
import pytest

from mjx_s2r.contract import Chain, ChainLink, ChainPoint, ContractError, from_json, to_json
from mjx_s2r.robot.chain import ForwardKinematics
from mjx_s2r.sim.model.kinematic_tree import chain_of
from tests.robot.fakes import contract_for

TREE = """
<mujoco>
  <worldbody>
    <geom type="plane" size="1 1 1"/>
    <body name="base" pos="0.3 -0.2 0.5" euler="10 20 30">
      {root}
      <geom size="0.05"/>
      <site name="unmoved"/>
      <body name="mount" pos="0.05 0 0.1" euler="0 0 40">
        <body name="arm" pos="0 0.02 0.1" euler="5 -30 0">
          <joint name="turn" axis="1 1 0.5" pos="0.01 0.02 -0.03"/>
          <joint name="push" type="slide" axis="0 0.3 1"/>
          <geom type="capsule" size="0.02 0.1" pos="0 0 0.1" euler="30 0 10"/>
          <body name="passive" pos="0 0 0.2"><joint name="loose" axis="0 1 0"/>
            <geom name="brick" type="box" size="0.01 0.02 0.03" euler="0 45 0"/>
            <body name="hand" pos="0.1 0 0" quat="0.9 0.1 0.2 0.3">
              <joint name="wrist" axis="0 -2 0" pos="0 0 0.02" ref="40"/>
              <geom type="cylinder" size="0.02 0.04"/>
              <geom size="0.5" contype="0" conaffinity="0"/>
              <site name="tip" pos="0.03 0.04 0.05"/>
            </body>
          </body>
        </body>
      </body>
    </body>
    <body name="ball"><freejoint/><geom size="0.03"/><site name="other"/></body>
  </worldbody>
  <actuator>
    <position joint="wrist"/><position joint="turn"/><position joint="push"/>
  </actuator>
</mujoco>
"""
JOINTS = ("wrist", "turn", "push")


def poses(model: mujoco.MjModel) -> Iterator[tuple[np.ndarray, mujoco.MjData]]:
    """Yields (N,) readings of the joints, and the model's state there."""
    rng = np.random.default_rng(0)
    data = mujoco.MjData(model)
    for _ in range(20):
        mujoco.mj_resetData(model, data)
        if model.joint(0).type[0] == mujoco.mjtJoint.mjJNT_FREE:
            data.qpos[:3], data.qpos[3:7] = rng.normal(size=3), rng.normal(size=4)
        reading = rng.uniform(-2, 2, len(JOINTS))
        for name, value in zip(JOINTS, reading, strict=True):
            data.joint(name).qpos[0] = value
        mujoco.mj_forward(model, data)
        yield reading, data


@pytest.mark.parametrize("root", ["", "<freejoint/>"])
def test_points_are_where_mujoco_has_them(root: str) -> None:
    model = mujoco.MjModel.from_xml_string(TREE.format(root=root))
    chain = chain_of(model, JOINTS)
    kinematics = ForwardKinematics(chain)
    assert [p.name for p in chain.points].count("tip") == 1
    assert not {"unmoved", "other"} & {p.name for p in chain.points}
    tip = [p.name for p in chain.points].index("tip")
    for reading, data in poses(model):
        base = data.body("base")
        expected = base.xmat.reshape(3, 3).T @ (data.site("tip").xpos - base.xpos)
        np.testing.assert_allclose(kinematics.points(reading)[tip], expected, atol=1e-8)


def test_balls_hold_the_colliding_shapes_in() -> None:
    """A support point of every geom, in many directions, lies inside the balls' hull."""
    model = mujoco.MjModel.from_xml_string(TREE.format(root=""))
    chain = chain_of(model, JOINTS)
    kinematics = ForwardKinematics(chain)
    names = np.array([p.name for p in chain.points])
    rng = np.random.default_rng(1)
    for reading, data in poses(model):
        base = data.body("base")
        points = base.xpos + kinematics.points(reading) @ base.xmat.reshape(3, 3).T
        direction = rng.normal(size=3)
        direction /= np.linalg.norm(direction)
        brick, turn = data.geom("brick"), data.geom("brick").xmat.reshape(3, 3)
        reach = direction @ brick.xpos + np.abs(turn.T @ direction) @ model.geom("brick").size
        assert (points[names == "brick"] @ direction).max() == pytest.approx(reach, abs=1e-7)
        capsule = data.geom(model.body("arm").geomadr[0])
        ends = np.array([-0.1, 0.1])[:, None] * capsule.xmat.reshape(3, 3)[:, 2] + capsule.xpos
        mine = points[names == "arm geom 0"] @ direction
        assert mine.max() + 0.02 == pytest.approx((ends @ direction).max() + 0.02, abs=1e-7)


def test_a_robot_whose_first_body_moves_is_based_on_the_world() -> None:
    text = TREE.format(root='<joint name="yaw" axis="0 0 1"/>').replace(
        '<position joint="wrist"/>', '<position joint="yaw"/><position joint="wrist"/>'
    )
    model = mujoco.MjModel.from_xml_string(text)
    chain = chain_of(model, ("yaw", *JOINTS))
    tip = [p.name for p in chain.points].index("tip")
    for reading, data in poses(model):
        data.joint("yaw").qpos[0] = 0.7
        mujoco.mj_forward(model, data)
        place = ForwardKinematics(chain).points(np.array([0.7, *reading]))[tip]
        np.testing.assert_allclose(place, data.site("tip").xpos, atol=1e-8)


def test_a_chain_travels_in_the_contract() -> None:
    chain = chain_of(mujoco.MjModel.from_xml_string(TREE.format(root="")), JOINTS)
    contract = replace(contract_for(), chain=chain)
    assert from_json(to_json(contract)).chain == chain


@pytest.mark.parametrize(
    ("change", "message"),
    [({"axis": (0.0, 0.0, 0.0)}, "no direction"), ({"quat": (0.0,) * 4}, "no length")],
)
def test_a_link_without_direction_is_refused(change: dict[str, object], message: str) -> None:
    link = ChainLink("arm", -1, (0.0,) * 3, (1.0, 0.0, 0.0, 0.0), "hinge", "a")
    chain = Chain(("a",), (replace(link, **change),), (ChainPoint("tip", 0, (0.0,) * 3),))
    with pytest.raises(ContractError, match=message):
        ForwardKinematics(chain)
