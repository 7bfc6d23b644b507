"""Names of a contract lead to the actuators, joints and addresses that MuJoCo gives them."""

import mujoco
import numpy as np
import pytest

from mjx_s2r.contract import ContractError
from mjx_s2r.drives import find_actuator, resolve, rest_controls

XML = """
<mujoco><worldbody>
  <body><freejoint name="base"/><geom size="0.1"/>
    <body><joint name="hip"/><geom size="0.1"/>
      <body><joint name="slider" type="slide"/><geom size="0.1"/></body></body></body>
</worldbody><actuator>
  <position name="push" joint="slider" kp="9" timeconst="0.1"/>
  <muscle name="pull" tendon="cord" lengthrange="0.1 1"/>
  <position joint="hip" kp="5"/>
</actuator>
<tendon><fixed name="cord"><joint joint="hip" coef="1"/></fixed></tendon>
{}</mujoco>
"""


def model(keyframe: str = "") -> mujoco.MjModel:
    """Returns a floating hinge and slide whose actuators stand in another order."""
    return mujoco.MjModel.from_xml_string(XML.format(keyframe))


@pytest.mark.parametrize("names", [("hip", "push"), ("hip", "slider")])
def test_names_are_those_of_actuators_or_of_joints_with_one(names: tuple[str, str]) -> None:
    found = resolve(model(), names)
    assert found.names == names
    np.testing.assert_array_equal(found.actuators, (2, 0))
    np.testing.assert_array_equal(found.qpos, (7, 8))  # after the seven of the free joint
    np.testing.assert_array_equal(found.dof, (6, 7))
    np.testing.assert_array_equal(found.hinge, (True, False))
    np.testing.assert_array_equal(found.act, (-1, 0))  # the slide's servo filters its control


def test_a_joint_without_an_actuator_of_its_own_is_named() -> None:
    with pytest.raises(ContractError, match="'base' has 0 actuators of its own and needs one"):
        find_actuator(model(), "base")


@pytest.mark.parametrize(
    ("keyframe", "ctrl", "act"),
    [
        ("", (0, 0, 0), (0, 0)),
        ('<keyframe><key ctrl="0.3 0.2 -1" act="0.1 0.5"/></keyframe>', (0.3, 0.2, -1), (0.1, 0.5)),
        # no activations are written: the filter rests at its control, the muscle is slack
        (
            '<keyframe><key ctrl="0.3 0.2 -1"/><key ctrl="9 9 9"/></keyframe>',
            (0.3, 0.2, -1),
            (0.3, 0),
        ),
    ],
)
def test_what_is_not_commanded_keeps_the_first_keyframe(
    keyframe: str, ctrl: tuple, act: tuple
) -> None:
    found = rest_controls(model(keyframe))
    np.testing.assert_allclose(found[0], ctrl)
    np.testing.assert_allclose(found[1], act)
