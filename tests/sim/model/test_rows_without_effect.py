"""Rows that change nothing are refused by name; C MuJoCo says which do. Their siblings are not."""

import copy
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
import pytest

from mjx_s2r.params import Param, ParamSpace, add, scale, set_to
from mjx_s2r.sim.model import row_trial
from mjx_s2r.sim.model.leaves import bind_model
from mjx_s2r.sim.physics import ModelError
from mjx_s2r.sim.task import InitialState

WORLD = """
<mujoco><option timestep="0.005" {option}>{flag}</option><worldbody>
  <geom name="floor" type="plane" size="5 5 1" {floor}/>
  <body name="box" pos="0 0 0.1"><freejoint name="box"/>
    <geom name="box" type="box" size="0.1 0.1 0.1" mass="1" {box}/></body>
  <body name="sign" mocap="true" pos="1 1 1"><geom name="sign" size="0.05" contype="0"
    conaffinity="0"/></body>
  <body name="post" pos="2 0 0"><geom name="post" size="0.1" pos="0 0 1" contype="0"
    conaffinity="0"/></body>
  <body name="link" pos="0 2 1"><joint name="link" axis="0 1 0" {joint}/>
    <geom name="link" type="capsule" fromto="0 0 0 0.3 0 0" size="0.02" mass="0.3" contype="0"
      conaffinity="0"/>
    <geom name="ghost" pos="0.1 0 0" size="0.01" mass="0" contype="0" conaffinity="0"
      rgba="0 0 0 0"/></body>
  <body name="sled" pos="0 4 1"><joint name="sled" type="slide" axis="1 0 0"/>
    <geom name="sled" size="0.1" pos="0 0 0.1" mass="1" contype="0" conaffinity="0"/></body>
  <body name="bob" pos="0 6 1"><joint name="bob" type="ball"/>
    <geom name="bob" size="0.1" pos="0 0 -0.2" mass="1" contype="0" conaffinity="0"/></body>
</worldbody>{extra}
<actuator>{act}<motor name="sled" joint="sled" ctrlrange="-1 1" forcerange="-0.5 0.5"/></actuator>
</mujoco>
"""
SERVO = '<position name="link" joint="link" kp="10" kv="0.5" forcerange="-2 2"/>'
PAIR = '<contact><pair geom1="floor" geom2="box"/></contact>'
BOX, LINK, SLED, HALF = ("box",), ("link",), ("sled",), (0.5, 1.5)
FRICTION, REF, IMP = "model.geom_friction", "model.geom_solref", "model.geom_solimp"


def world(
    option: str = "",
    flag: str = "",
    floor: str = "",
    box: str = "",
    joint: str = 'damping="0.1" armature="0.01" frictionloss="0.01" stiffness="1"',
    extra: str = "",
    act: str = SERVO,
) -> mujoco.MjModel:
    """Returns the model with parts of it replaced."""
    given = {"option": option, "floor": floor, "box": box, "joint": joint}
    given |= {"extra": extra, "act": act}
    given["flag"] = f'<flag {flag}="disable"/>' if flag else ""
    return mujoco.MjModel.from_xml_string(WORLD.format(**given))


@dataclass(frozen=True)
class Start:
    """As much of a task as has a start: the model's own, with joints somewhere."""

    mj_model: mujoco.MjModel
    name: str = "start"

    def reset(self, *, key: jax.Array) -> InitialState:
        """Turns the hinge at random."""
        m = self.mj_model
        turn = jnp.zeros(m.nq).at[m.joint("link").qposadr[0]].set(jax.random.normal(key))
        where = jnp.array(m.body_pos[m.body_mocapid >= 0]), jnp.array([[1.0, 0, 0, 0]] * m.nmocap)
        return InitialState(jnp.array(m.qpos0) + turn, jnp.zeros(m.nv), *where)


STARTS = row_trial.draw_starts(Start(world()))  # type: ignore[arg-type]


def judge(m: mujoco.MjModel, *rows: Param, drive: tuple[str, ...] = ("link", "sled")) -> None:
    """Binds the rows and tries them under efforts, or positions, of up to one."""
    space = ParamSpace(rows)
    row_trial.refuse_rows_without_effect(
        space,
        bind_model(space, m),
        m,
        STARTS,
        ctrl_index=[m.actuator(name).id for name in drive],
        ctrl_low=[-1.0] * len(drive),
        ctrl_high=[1.0] * len(drive),
    )


def motor(kind: str = "motor", more: str = "") -> mujoco.MjModel:
    """Returns the model with another actuator on the hinge."""
    return world(act=f'<{kind} name="link" joint="link" {more}/>')


OFF = "Remove the flag from the MuJoCo model, or drop the row"
JUDGED = [  # model, row, what is said
    (world(floor='friction="2"'), scale("r", FRICTION, BOX, HALF, column=0), "nothing up to 1.5, "),
    (
        world(),
        scale("r", FRICTION, BOX, HALF, column=0),
        "from 0.5 to 1 .*'floor' has 1. .*y=\"1\"",
    ),
    (
        world(floor='priority="2"'),
        scale("r", FRICTION, BOX, HALF, column=0),
        "'floor', which it touches, has the higher priority.*priority=\"3\"",
    ),
    (world(extra=PAIR), scale("r", FRICTION, BOX, HALF, column=0), "explicit pairs.*Remove the pa"),
    (world(extra=PAIR), scale("r", REF, BOX, (1, 2), column=0), "'box': its contacts are explicit"),
    (
        world(extra='<contact><exclude body1="world" body2="box"/></contact>'),
        scale("r", FRICTION, BOX, (1, 2), column=0),
        "it can touch nothing",
    ),
    (world(box='solmix="0"'), scale("r", REF, BOX, (1, 2), column=0), 'solmix is 0.*solmix="1"'),
    (world(box='solmix="0"'), scale("r", IMP, BOX, (0.5, 1), column=0), "its solmix is 0"),
    (world(floor='priority="1"'), set_to("r", "model.geom_restitution", BOX, (0, 0.5)), "higher p"),
    (world(floor='solref="-900 -9"'), scale("r", REF, BOX, (1, 2), column=0), "stiffness and damp"),
    (
        world(box='priority="1"'),
        scale("r", REF, BOX, (0.1, 2), column=0),
        "two time steps .0.01 s.*low limit",
    ),
    (
        world(floor='solimp="0.9 0.9 0.001"', box='solimp="0.9 0.9 0.001"'),
        scale("r", IMP, BOX, (1, 3), column=2),
        "equal ends or no width",
    ),
    (
        world(floor='solimp="0.8 0.9 0.01 0.5 1"', box='solimp="0.8 0.9 0.01 0.5 1"'),
        scale("r", IMP, BOX, HALF, column=3),
        "power 1, so its midpoint",
    ),
    (world(flag="contact"), scale("r", FRICTION, BOX, (1, 2), column=0), "it can touch nothing"),
    (
        motor(),
        add("r", "model.actuator_kd", LINK, (0, 1)),
        "'link': it has no velocity loop.*dof_da",
    ),
    (motor(), scale("r", "model.actuator_kp", LINK, HALF), "no position loop.*actuator_strength"),
    (
        motor("velocity", 'kv="2"'),
        scale("r", "model.actuator_kp", LINK, HALF),
        "set point would mo",
    ),
    (
        motor("velocity", 'kv="2"'),
        scale("r", "model.actuator_kd", LINK, HALF),
        "set point.*strength",
    ),
    (
        motor("general", 'gainprm="5" biastype="affine" biasprm="0 -3 0"'),
        scale("r", "model.actuator_kp", LINK, HALF),
        "its gain is not its stiffness",
    ),
    (world(), scale("r", "model.actuator_kp", ("*",), HALF), "'sled': it has no position loop"),
    (
        world(option='actuatorgroupdisable="0"'),
        scale("r", "model.actuator_strength", LINK, HALF),
        "group is switched off by actuatorgroupdisable",
    ),
    (world(flag="actuation"), scale("r", "model.actuator_kp", LINK, HALF), f"'link': .*{OFF}"),
    (
        motor("motor", 'ctrlrange="-1 1" forcerange="-3 3"'),
        scale("r", "model.actuator_force_limit", LINK, HALF),
        "reaches 1 at most within its ctrlrange",
    ),
    (
        world(),
        add("r", "model.body_pos", BOX, (0, 1), column=0),
        "'box': it has a free joint.*reset",
    ),
    (world(), add("r", "model.body_tilt", BOX, (0, 1)), "'box': it has a free joint"),
    (world(), add("r", "model.body_quat", BOX, (0, 0.1), column=1), "'box': it has a free joint"),
    (world(), add("r", "model.body_pos", ("link", "sign"), (0, 1)), "'sign': it is a mocap.*shift"),
    (world(), add("r", "model.qpos0", BOX, (0, 1)), "'box': it is a free or ball joint"),
    (world(), add("r", "model.qpos0", ("bob",), (0, 1)), "'bob': it is a free or ball joint"),
    (world(flag="spring"), scale("r", "model.jnt_stiffness", LINK, HALF), f'spring="dis.*{OFF}'),
    (world(flag="damper"), scale("r", "model.dof_damping", LINK, HALF), f'damper="dis.*{OFF}'),
    (
        world(flag="frictionloss"),
        scale("r", "model.dof_frictionloss", LINK, HALF),
        f'frictionloss="dis.*{OFF}',
    ),
    (world(flag="gravity"), scale("r", "model.gravity", (), HALF, column=2), f"gravity=.*{OFF}"),
    (
        world(),
        add("r", "model.geom_size", ("bob",), (0, 1), column=1),
        "sphere has 1 size, so colu",
    ),
]
TRIED = [
    (
        world(),
        scale("r", "model.body_inertia", SLED, HALF),
        "body_inertia of 'sled': it changes not",
    ),
    (world(), add("r", "model.body_ipos", SLED, (0, 0.1), column=0), "'sled': it changes nothing"),
    (world(), scale("r", "model.body_shape", LINK, HALF, column=1), "'link': it changes nothing"),
    (world(), scale("r", "model.geom_size", ("ghost",), HALF), "'ghost': it changes nothing"),
    (world(), add("r", "model.geom_tilt", ("post",), (0, 1)), "'post': it changes nothing"),
    (
        world(option='gravity="0 0 0"', flag="contact"),
        scale("r", "model.body_mass", BOX, HALF),
        "'box': it changes nothing",
    ),
    (
        world(act=SERVO.replace("-2 2", "-900 900")),
        scale("r", "model.actuator_force_limit", LINK, HALF),
        "no command of the contract reaches the limit",
    ),
    (world(), set_to("r", "world.push_torque", SLED, (0, 1)), "not let it turn; use 'world.push'"),
    (world(), set_to("r", "world.push", ("b*", "world", "sled"), (0, 1)), None),
]
SOUND = [
    (world(), scale("r", FRICTION, BOX, (1.0, 2.0), column=0)),
    (world(floor='friction="0.4"'), scale("r", FRICTION, BOX, HALF, column=0)),
    (world(box='priority="1"'), scale("r", FRICTION, BOX, (0.1, 2), column=0)),
    (world(), scale("r", FRICTION, ("box", "floor"), (0.1, 2), column=0)),
    (world(box='solmix="0" priority="1"'), scale("r", REF, BOX, (1, 3), column=0)),
    (world(floor='solmix="0"'), scale("r", IMP, BOX, (0.5, 1), column=0)),
    (world(box='solref="-900 -9"'), scale("r", REF, BOX, (1, 2), column=0)),
    (world(), scale("r", REF, BOX, (0.5, 2), column=0)),
    (world(), scale("r", IMP, BOX, HALF, column=3)),
    (world(), set_to("r", "model.geom_restitution", BOX, (0, 0.5))),
    (world(), scale("r", "model.actuator_kp", LINK, HALF)),
    (world(), scale("r", "model.actuator_kd", LINK, HALF)),
    (world(), scale("r", "model.actuator_kd", ("*",), HALF)),
    (world(act=SERVO.replace('kv="0.5"', "")), add("r", "model.actuator_kd", LINK, (0, 1))),
    (world(), scale("r", "model.actuator_force_limit", LINK, HALF)),
    (world(), scale("r", "model.actuator_force_limit", SLED, HALF)),
    (motor("velocity", 'kv="2"'), scale("r", "model.actuator_strength", LINK, HALF)),
    (
        motor("general", 'gainprm="5" biastype="affine" biasprm="0 0 -1"'),
        scale("r", "model.actuator_kd", LINK, HALF),  # a motor with back-EMF
    ),
    (world(), add("r", "model.body_pos", ("post",), (0, 1), column=0)),
    (world(), add("r", "model.body_tilt", LINK, (-1, 1), column=1)),
    (world(), add("r", "model.qpos0", LINK, (-0.1, 0.1))),
    (world(), scale("r", "model.jnt_stiffness", LINK, HALF)),
    (world(flag="spring"), scale("r", "model.dof_damping", LINK, HALF)),
    (world(flag="damper"), scale("r", "model.jnt_stiffness", LINK, HALF)),
    (world(), scale("r", "model.dof_frictionloss", LINK, HALF)),
    (world(), scale("r", "model.dof_armature", LINK, HALF)),
    (world(), scale("r", "model.body_mass", SLED, HALF)),
    (world(), scale("r", "model.body_mass", BOX, HALF)),  # felt by what touches it
    (world(), scale("r", "model.body_inertia", LINK, HALF)),
    (world(), scale("r", "model.body_shape", LINK, HALF, column=0)),
    (world(), scale("r", "model.link_length", LINK, HALF)),
    (world(), scale("r", "model.geom_size", ("post",), HALF)),  # seen
    (world(), add("r", "model.geom_tilt", ("floor",), (-0.1, 0.1), column=0)),
    (world(), scale("r", "model.gravity", (), HALF, column=2)),
    (world(option='gravity="0 0 0"'), add("r", "model.gravity", (), (0, 1), column=2)),
    (world(), set_to("r", "world.push", SLED, (0, 1))),
    (world(), set_to("r", "world.push_torque", LINK, (0, 1))),
]


def name(x: object) -> str:
    """Returns the name of a case."""
    return f"{x.field}-{','.join(x.elements)}" if isinstance(x, Param) else ""


@pytest.mark.parametrize(("m", "row", "message"), JUDGED, ids=name)
def test_what_the_model_alone_tells_is_refused(m: mujoco.MjModel, row: Param, message: str) -> None:
    with pytest.raises(ModelError, match=f"^parameter 'r' randomizes .*{message}"):
        bind_model(ParamSpace((row,)), m)


@pytest.mark.parametrize(("m", "row", "message"), TRIED, ids=name)
def test_what_only_a_trial_tells_is_refused(
    m: mujoco.MjModel, row: Param, message: str | None
) -> None:
    if message is None:
        return judge(m, row)
    with pytest.raises(ModelError, match=f"^parameter 'r'.*{message}"):
        judge(m, row)


@pytest.mark.parametrize(("m", "row"), SOUND, ids=name)
def test_a_row_that_acts_is_bound(m: mujoco.MjModel, row: Param) -> None:
    judge(m, row)


def test_an_actuator_that_the_contract_leaves_alone_is_named() -> None:
    row = scale("r", "model.actuator_strength", SLED, HALF)
    judge(world(), row)
    with pytest.raises(ModelError, match=r"strength of 'sled': .*the contract drives none of them"):
        judge(world(), row, drive=("link",))


def test_a_table_is_tried_row_by_row_and_leaves_the_model_alone() -> None:
    m = world()
    before = [np.copy(getattr(m, field)) for field in ("body_mass", "body_inertia", "geom_size")]
    good = scale("good", "model.body_mass", LINK, HALF)
    with pytest.raises(ModelError, match=r"^parameter 'idle' randomizes body_inertia of 'sled'"):
        judge(m, good, scale("idle", "model.body_inertia", SLED, HALF), good_size())
    after = [getattr(m, field) for field in ("body_mass", "body_inertia", "geom_size")]
    for one, two in zip(before, after, strict=True):
        np.testing.assert_array_equal(one, two)


def good_size() -> Param:
    """Returns one more row that acts."""
    return scale("size", "model.geom_size", ("post",), HALF)


def test_ends_of_rows_hold_one_row_each() -> None:
    rows = (
        scale("a", "model.body_mass", LINK, HALF),
        set_to("b", "sensor.dropout", (), (0, 0.5)),
        add("c", "model.body_mass", SLED, (-0.5, 1.0)),
    )
    space = ParamSpace(rows)
    found = list(row_trial.ends_of_rows(space, bind_model(space, world()).edits))
    assert [row for row, *_ in found] == [0, 2]
    np.testing.assert_allclose([ends for _, *ends in found], [
        [(0.5, 0, 0), (1.5, 0, 0)],
        [(1, 0, -0.5), (1, 0, 1)],
    ])  # fmt: skip


def test_a_centre_of_mass_in_a_simple_body_is_named_before_c_stops() -> None:
    row = add("r", "model.body_ipos", BOX, (0, 0.01), column=0)
    with pytest.raises(ModelError, match=r"'r' shifts the centre.*'box'.*simple=\"false\""):
        judge(world(), row)
    free = WORLD.replace('<body name="box"', '<body name="box" simple="false"')
    blank = dict.fromkeys(("option", "flag", "floor", "box", "joint", "extra"), "")
    judge(mujoco.MjModel.from_xml_string(free.format(**blank, act=SERVO)), row)


SOLREFS = ("0.02 1", "0.04 1", "-900 -20")
GEOM = '<body name="b{i}" pos="{i} 0 0"><freejoint/><geom name="g{i}" size="0.3" {more}/></body>'


def contacts(m: mujoco.MjModel) -> np.ndarray:
    """Returns the numbers of all contacts when all geoms are in one place, in C."""
    data = mujoco.MjData(m)
    mujoco.mj_kinematics(m, data)
    data.geom_xpos[:] = 0.0
    mujoco.mj_collision(m, data)
    return np.concatenate([[*c.friction, *c.solref, *c.solimp] for c in data.contact])


def is_bound(row: Param, m: mujoco.MjModel) -> bool:
    """Returns whether a row is bound, or refused as one without effect."""
    try:
        bind_model(ParamSpace((row,)), m)
    except ModelError:
        return False
    return True


@pytest.mark.parametrize("array", ["geom_friction", "geom_solref", "geom_solimp"])
def test_the_rules_of_mixing_are_those_of_c(array: str) -> None:
    """Three geoms with numbers at random: a row is bound exactly where all its range is felt in C.

    Felt means that neighbouring values of the row, however near its low end or its high one, give
    C's contacts other numbers.
    """
    rng, verdicts = np.random.default_rng(5), []
    for _ in range(120):
        more = [
            f'priority="{rng.integers(2)}" solmix="{rng.integers(2)}" friction="'
            f'{rng.choice((0.3, 0.6, 1.0))} 0.01 0.001" solref="{rng.choice(SOLREFS)}"'
            for _ in range(3)
        ]
        bodies = "".join(GEOM.format(i=i, more=text) for i, text in enumerate(more))
        m = mujoco.MjModel.from_xml_string(
            f'<mujoco><option timestep="0.001"/><worldbody>{bodies}</worldbody></mujoco>'
        )
        limits = {"geom_friction": HALF, "geom_solref": (0.5, 2.0), "geom_solimp": (0.5, 1.05)}
        row = scale("r", f"model.{array}", ("g0",), limits[array], column=0)
        felt = []
        for value in (row.limits[0], row.limits[1] - 0.02):
            seen = []
            for x in (value, value + 0.02):
                ours = copy.copy(m)
                getattr(ours, array)[0, 0] *= x
                seen.append(contacts(ours))
            felt.append(np.abs(seen[0] - seen[1]).max() > 1e-9)
        verdicts.append(is_bound(row, m))
        assert verdicts[-1] == all(felt), (more, felt)
    assert 20 < sum(verdicts) < 100  # both answers are common
