"""Rows that would do nothing are refused by name, with the remedy; sound rows on them are not."""

import mujoco
import numpy as np
import pytest

from mjx_s2r.params import Param, ParamError, add, scale, set_to
from mjx_s2r.sim.model import contact_rows, row_checks
from mjx_s2r.sim.model.leaves import bind_model
from mjx_s2r.sim.physics import ModelError
from tests.sim.scene import only

XML = """
<mujoco><worldbody>
  <geom name="floor" type="plane" size="1 1 1"/>
  <geom name="wall" size="0.1" contype="0" conaffinity="0"/>
  <body name="post"><geom name="post" size="0.1"/></body>
  <body name="ball" pos="0 0 1"><freejoint name="ball"/><geom name="ball" size="0.1"/></body>
  <body name="top" pos="1 0 1"><joint name="top"/>
    <geom name="top" size="0.1" condim="4" solref="-1000 -10"/>
    <body name="tail"><joint name="tail"/><geom name="tail" size="0.1" condim="1"/></body>
  </body>
</worldbody><actuator><motor name="top" joint="top"/></actuator></mujoco>
"""


def bind(row: Param, old: str = "", new: str = "") -> int:
    """Returns how many rows were bound, with a piece of the model replaced."""
    assert old in XML
    return len(bind_model(only(row), mujoco.MjModel.from_xml_string(XML.replace(old, new))).edits)


FRICTION, REF, SHAKY = "model.geom_friction", "model.geom_solref", (0.5, 2.0)
MORE = (1.0, 2.0)  # of the floor's friction


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (scale("f", FRICTION, ("wall",), SHAKY), "'f' randomizes geom_friction of 'wall': .*touch"),
        (scale("f", FRICTION, ("ball",), SHAKY, column=2), "'ball': .*condim 4.*condim=\"6\""),
        (scale("s", REF, ("wall",), SHAKY, column=0), "'wall': it can touch nothing"),
        (
            set_to("e", "model.geom_restitution", ("top",), (0, 0.5)),
            "'top': its solref is given as",
        ),
        (scale("i", "model.body_inertia", ("ball",), SHAKY, column=1), "body_shape"),
        (scale("m", "model.body_mass", ("post",), SHAKY), "'post': it is fixed to the world"),
        (scale("m", "model.body_shape", ("post",), SHAKY), "fixed to the world"),
        (scale("g", "model.geom_size", ("floor",), SHAKY), "'floor': a plane has no size"),
        (scale("l", "model.link_length", ("world",), SHAKY), "the world has no length"),
        (scale("t", "model.actuator_force_limit", ("top",), SHAKY), "'top': its force is not lim"),
        (add("d", "model.dof_frictionloss", ("top",), (0, 1)), "joint 'top' from zero.*1e-6"),
    ],
    ids=lambda x: f"{x.field}-{x.elements}" if isinstance(x, Param) else "",
)
def test_a_row_without_effect_is_refused(row: Param, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        bind(row)


def test_gravity_that_is_not_there_has_no_direction() -> None:
    tilt = add("t", "model.gravity_tilt", (), (-0.1, 0.1), column=0, unit="rad")
    assert bind(tilt) == 1
    with pytest.raises(ModelError, match=r"'t' randomizes gravity_tilt .*no effect"):
        bind(tilt, "<mujoco>", '<mujoco><option gravity="0 0 0"/>')
    off = '<mujoco><option><flag contact="disable"/></option>'
    with pytest.raises(ModelError, match=r"'f' .* it can touch nothing"):
        bind(scale("f", FRICTION, ("ball",), SHAKY), "<mujoco>", off)


def test_scaling_zero_is_refused_and_adding_to_it_is_not() -> None:
    with pytest.raises(ParamError, match=r"'k' scales 'jnt_stiffness', which is zero .*'add'"):
        bind(scale("k", "model.jnt_stiffness", ("tail",), SHAKY))
    assert bind(add("k", "model.jnt_stiffness", ("tail",), (0, 1))) == 1


@pytest.mark.parametrize(
    "row",
    [
        scale("f", FRICTION, ("ball",), MORE, column=0),
        scale("f", FRICTION, ("ball",), MORE, column=1),  # the top's condim 4 counts for both
        scale("f", FRICTION, ("tail", "floor"), SHAKY),
        set_to("e", "model.geom_restitution", ("ball",), (0, 0.5)),
        scale("i", "model.body_inertia", ("ball",), SHAKY),
        scale("m", "model.body_mass", ("post", "ball"), SHAKY),
        scale("g", "model.geom_size", ("ball",), SHAKY),
    ],
    ids=lambda row: f"{row.field}-{row.elements}-{row.column}",
)
def test_a_sound_row_is_bound(row: Param) -> None:
    assert bind(row) == 1


def test_contact_dimensions_are_those_of_contacts_in_c() -> None:
    """Every pair of geoms put in one place in C; the largest condim that a contact has."""
    c = mujoco.MjModel.from_xml_string(XML)
    data = mujoco.MjData(c)
    mujoco.mj_kinematics(c, data)
    data.geom_xpos[:] = 0.0
    mujoco.mj_collision(c, data)
    expected = np.zeros(c.ngeom, int)
    for contact in data.contact:
        for geom in (contact.geom1, contact.geom2):
            expected[geom] = max(expected[geom], contact.dim)
    np.testing.assert_array_equal(contact_rows.contact_dimensions(c), expected)
    assert set(expected) == {0, 3, 4}


def test_a_row_without_width_is_refused() -> None:
    row_checks.closed_rows(only(scale("m", "model.body_mass", ("ball",), (0.9, 1.1))))
    closed = only(set_to("d", "actuator.delay_s", (), (0.02, 0.02), nominal=0.02))
    with pytest.raises(ParamError, match=r"'d': its limits \(0\.02, 0\.02\) leave nothing to draw"):
        row_checks.closed_rows(closed)
