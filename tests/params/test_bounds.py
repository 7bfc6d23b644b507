"""Limits under which a value cannot be are refused by name, alone and together; others are not."""

import itertools
import re

import mujoco
import numpy as np
import pytest

from mjx_s2r.params import Bound, Edit, Param, ParamError, ParamSpace, add, bind, bounds, scale
from mjx_s2r.params import set_to as put
from mjx_s2r.render.looks.appearance import bind_appearance
from mjx_s2r.sim.effects.actuator import bind_actuator
from mjx_s2r.sim.effects.sensor import bind_sensor
from mjx_s2r.sim.effects.world import bind_world
from mjx_s2r.sim.model.leaves import bind_model
from mjx_s2r.sim.physics import ModelError

MODEL = mujoco.MjModel.from_xml_string("""
<mujoco><worldbody>
  <light name="lamp" dir="0 0 -1" diffuse="0.6 0.6 0.6"/>
  <light name="sun" type="directional" dir="0 0 -1"/>
  <light name="dark" active="false"/>
  <camera name="eye" pos="0 -2 1" xyaxes="1 0 0 0 0 1" fovy="60"/>
  <geom name="ground" type="plane" size="1 1 1" friction="0.3 0.001 0.0001"/>
  <body name="mark" mocap="true"><geom name="mark" size="0.02" contype="0" conaffinity="0"/></body>
  <body name="rod" pos="0 0 1">
    <joint name="swing" axis="0 1 0" damping="0.2" armature="0.02" frictionloss="0.1"
      stiffness="3"/>
    <geom name="rod" type="capsule" fromto="0 0 0 0.4 0 0" size="0.03" mass="0.5"
      rgba="0.5 0.5 0.5 1"/>
  </body>
  <body name="die" pos="1 0 1"><freejoint name="die"/>
    <geom name="die" type="box" size="0.1 0.2 0.3" mass="2" priority="1" solref="-800 -20"/>
  </body>
</worldbody><actuator>
  <position name="swing" joint="swing" kp="30" kv="2" forcerange="-4 4"/>
</actuator></mujoco>""")
DT = 0.02
ROD, DIE, SWING = ("rod",), ("die",), ("swing",)
READ = ("angle",)


def bind_all(*rows: Param) -> None:
    """Binds a table to every part of the simulation that has rows."""
    space = ParamSpace(rows)
    bind_model(space, MODEL)
    bind_actuator(space, SWING, DT, 0.002)
    bind_sensor(space, {"angle": 1}, DT)
    bind_world(space, MODEL, DT)
    bind_appearance(space, MODEL, "eye")


LEAST = [
    (scale("r", "model.body_mass", DIE, (-0.5, 2)), "'die' reach -1,.* mass .*above 0; .*above 0"),
    (add("r", "model.body_mass", ROD, (-0.5, 1)), "'rod' reach 0,.*low limit above -0.5"),
    (scale("r", "model.body_inertia", DIE, (0, 2)), "'die' .*reach 0,.*moment of inertia"),
    (scale("r", "model.body_shape", DIE, (-1, 2), column=1), "body_shape of 'die'.*factor"),
    (scale("r", "model.link_length", ROD, (0, 1.2)), "link_length of 'rod' reach 0"),
    (add("r", "model.geom_size", DIE, (-0.15, 0)), r"'die' \(column 0\) reach -0.05"),
    (add("r", "model.geom_size", ROD, (-0.25, 0), column=1), "'rod' reach -0.05.*above -0.2"),
    (add("r", "model.geom_friction", DIE, (-1.5, 0), column=0), "'die' reach -0.5, and a coeff"),
    (scale("r", "model.geom_solref", DIE, (-1, 2), column=0), "'die' reach 800,.*keeps its sign"),
    (add("r", "model.geom_solref", ROD, (-0.03, 0), column=0), "'rod' reach -0.01"),
    (add("r", "model.geom_solimp", ROD, (0, 0.2), column=1), "'rod' reach 1.15.*at most 0.9999"),
    (add("r", "model.geom_solimp", ROD, (-1.5, 0), column=4), "reach 0.5,.*at least 1"),
    (put("r", "model.geom_restitution", ROD, (0, 1.1)), "'rod' reach 1.1, and a bounce"),
    (add("r", "model.jnt_stiffness", SWING, (-4, 1)), "jnt_stiffness of 'swing' reach -1"),
    (scale("r", "model.dof_damping", SWING, (-0.1, 2)), "dof_damping of 'swing' reach -0.02"),
    (add("r", "model.dof_armature", SWING, (-0.03, 0)), "dof_armature of 'swing' reach -0.01"),
    (add("r", "model.dof_frictionloss", SWING, (-0.2, 0)), "frictionloss of 'swing' reach -0.1"),
    (scale("r", "model.actuator_kp", SWING, (-1, 2)), "kp of 'swing' reach -30"),
    (add("r", "model.actuator_kd", SWING, (-3, 0)), "kd of 'swing' reach -1"),
    (scale("r", "model.actuator_strength", SWING, (-0.2, 1)), "strength of 'swing' reach -0.2"),
    (scale("r", "model.actuator_force_limit", SWING, (-2, 1)), "force_limit of 'swing' reach -2"),
    (put("r", "actuator.hold", (), (0, 2)), "actuator.hold reach 2, and a prob.*at most 1"),
    (put("r", "actuator.adversary", (), (-0.1, 0.1)), "actuator.adversary reach -0.1"),
    (put("r", "actuator.noise_correlated", SWING, (-1, 1)), "noise_correlated of 'swing'"),
    (put("r", "actuator.speed_loss", SWING, (-0.1, 0)), "speed_loss of 'swing' reach -0.1"),
    (put("r", "sensor.jitter_s", (), (-0.01, 0.01)), "sensor.jitter_s reach -0.01"),
    (put("r", "sensor.walk", READ, (-1, 0)), "sensor.walk of 'angle' reach -1"),
    (put("r", "sensor.quantum", READ, (-1, 1)), "sensor.quantum of 'angle'"),
    (add("r", "sensor.gain", READ, (-1.2, 0)), "sensor.gain of 'angle' reach -0.2"),
    (put("r", "sensor.period_s", (), (-1, 1)), "sensor.period_s reach -1"),
    (put("r", "world.push", ROD, (-1, 1)), "world.push of 'rod' reach -1, and the size of a push"),
    (put("r", "world.push_rate_hz", (), (-1, 1)), "push_rate_hz reach -1, and a rate must be"),
    (put("r", "world.start_pos", SWING, (-0.1, 0.1)), "start_pos of 'swing' reach -0.1"),
    (put("r", "world.mocap_hidden", ("mark",), (0, 2), law="categorical"), "'mark' reach 2"),
    (scale("r", "visual.light_strength", ("lamp",), (-1, 1)), "'lamp' reach -0.6, and a light"),
    (add("r", "visual.geom_rgb", ROD, (-0.7, 0)), r"geom_rgb of 'rod' \(column 0\) reach -0.2"),
    (scale("r", "visual.camera_fovy", (), (1, 3.5)), "camera_fovy reach 210,.*below 180"),
    (scale("r", "visual.gamma", (), (0, 1)), "visual.gamma reach 0,.*above 0"),
    (put("r", "visual.vignette", (), (0, 1.5)), "visual.vignette reach 1.5"),
    (put("r", "visual.light_kelvin", ("lamp",), (500, 7000), nominal=6500), "at least 1000"),
]


@pytest.mark.parametrize(("row", "message"), LEAST, ids=lambda x: getattr(x, "field", ""))
def test_limits_that_no_body_has_are_refused(row: Param, message: str) -> None:
    assert len({row.group for row, _ in LEAST}) == 5
    with pytest.raises(ParamError, match=message) as caught:
        bind_all(row)
    assert re.search(r"^parameter 'r': its limits \(.*; (put|narrow) its ", str(caught.value))


SOUND = [
    scale("r", "model.body_mass", DIE, (0.1, 2)),
    add("r", "model.body_mass", ROD, (-0.4, 1)),
    scale("r", "model.body_inertia", DIE, (0.1, 2)),
    scale("r", "model.body_shape", DIE, (0.5, 2), column=1),
    scale("r", "model.link_length", ROD, (0.8, 1.2)),
    add("r", "model.geom_size", DIE, (-0.05, 0)),
    add("r", "model.geom_size", ROD, (-0.15, 0), column=1),
    add("r", "model.geom_friction", DIE, (-1, 0), column=0),
    scale("r", "model.geom_solref", DIE, (0.5, 2), column=0),
    add("r", "model.geom_solref", ROD, (-0.01, 0), column=0),
    add("r", "model.geom_solimp", ROD, (-0.2, 0.02), column=1),
    put("r", "model.geom_restitution", ROD, (0, 0.9)),
    add("r", "model.jnt_stiffness", SWING, (-3, 1)),
    add("r", "model.dof_damping", SWING, (-0.2, 2)),  # down to none at all
    add("r", "model.dof_armature", SWING, (-0.02, 0)),
    scale("r", "model.dof_frictionloss", SWING, (0, 2)),
    scale("r", "model.actuator_kp", SWING, (0, 2)),
    add("r", "model.actuator_kd", SWING, (-2, 1)),
    scale("r", "model.actuator_strength", SWING, (0, 1)),
    put("r", "actuator.hold", (), (0, 1)),
    put("r", "actuator.offset", SWING, (-1, 1)),
    put("r", "sensor.dropout", (), (0, 1)),
    put("r", "sensor.period_s", (), (0, 0.1)),
    scale("r", "sensor.gain", READ, (0.5, 2)),
    put("r", "world.push", ROD, (0, 1)),
    put("r", "world.mocap_shift", ("mark",), (-1, 1), column=0),
    put("r", "world.mocap_hidden", ("mark",), (0, 1), law="categorical"),
    scale("r", "visual.geom_rgb", ROD, (0.1, 1.5)),  # lit beyond white
    add("r", "visual.camera_rot", (), (-1, 1)),
    add("r", "visual.camera_fovy", (), (-50, 50)),
]


@pytest.mark.parametrize("row", SOUND, ids=lambda row: f"{row.field}-{row.mode}")
def test_limits_that_bodies_can_have_are_bound(row: Param) -> None:
    bind_all(row)


def test_rows_that_are_sound_alone_are_refused_together() -> None:
    lighter = scale("lighter", "model.body_mass", DIE, (0.5, 1))
    less = add("less", "model.body_mass", ("*",), (-0.4, 0))
    bind_all(lighter, add("less", "model.body_mass", DIE, (-0.9, 0)))
    with pytest.raises(ParamError, match=r"'die' reach -0.2 together with 'lighter'.*'lighter'$"):
        bind_all(lighter, add("less", "model.body_mass", DIE, (-1.2, 0)))
    with pytest.raises(ParamError, match=r"body_mass of 'world' reach -0.4"):
        bind_all(lighter, less)
    # in table order: half of what the other row leaves
    first = add("less", "model.body_mass", DIE, (-1.9, 0))
    bind_all(first, lighter)
    delay = (
        put("slow", "sensor.dropout", (), (0, 0.6)),
        add("more", "sensor.dropout", (), (0, 0.6)),
    )
    with pytest.raises(ParamError, match=r"dropout reach 1.2 together with 'slow'"):
        bind_all(*delay)


def test_an_inertia_keeps_the_triangle_inequality() -> None:
    """A box of 2 kg and half edges 0.1, 0.2, 0.3 m: moments m/3 (b^2 + c^2)."""
    moments = np.array((0.13, 0.10, 0.05)) * 2 / 3
    slack = moments.sum() - 2 * moments.max()
    bind_all(add("r", "model.body_inertia", DIE, (-0.9 * slack, 0)))
    with pytest.raises(ModelError, match=r"'r' randomizes body_inertia of 'die': .*body_shape"):
        bind_all(add("r", "model.body_inertia", DIE, (-1.1 * slack, 0)))


def test_an_orientation_may_not_vanish() -> None:
    turn = [put(f"q{i}", "model.body_quat", ROD, (-1, 1), column=i) for i in range(4)]
    bind_all(*turn[1:])
    with pytest.raises(
        ModelError, match=r"body_quat of 'rod': .*quaternion may be zero.*body_tilt"
    ):
        bind_all(*turn)


def test_what_an_interval_says_is_what_rows_can_reach() -> None:
    """Every corner of the limits, in every order of three modes; the extremes are corners."""
    rng = np.random.default_rng(1)
    nominal = np.array((1.5, -2.0, 0.0))
    mask = np.array((True, True, False))
    for modes in itertools.product(("scale", "add", "set"), repeat=3):
        rows = [
            Param(
                f"r{i}", "model.x", mode=mode, nominal=low, initial=(low, low), limits=(low, high)
            )  # type: ignore[arg-type]
            for i, mode in enumerate(modes)
            for low, high in [sorted(rng.normal(size=2))]
        ]
        edits = [Edit("x", i, row.mode, mask) for i, row in enumerate(rows)]
        low, high = bounds.reach(nominal, edits, rows)
        seen = []
        for values in itertools.product(*(row.limits for row in rows)):
            now = nominal
            for row, x in zip(rows, values, strict=True):
                new = {"scale": now * x, "add": now + x, "set": np.full(3, x)}[row.mode]
                now = np.where(mask, new, now)
            seen.append(now)
        np.testing.assert_allclose(low, np.min(seen, 0))
        np.testing.assert_allclose(high, np.max(seen, 0))


def test_a_row_that_a_later_one_replaces_is_refused() -> None:
    heavy = scale("heavy", "model.body_mass", ROD, (0.5, 2))
    fixed = put("fixed", "model.body_mass", ROD, (0.3, 0.7), nominal=0.5)
    bind_all(fixed, heavy)
    bind_all(scale("heavy", "model.body_mass", ("rod", "die"), (0.5, 2)), fixed)
    with pytest.raises(ParamError, match=r"'heavy' has no effect: 'fixed', later.*put it behind"):
        bind_all(heavy, fixed)


def test_times_within_one_control_step_are_refused() -> None:
    with pytest.raises(ParamError, match=r"'r': a period_s of at most 0.02 s changes nothing"):
        bind_all(put("r", "sensor.period_s", (), (0, DT)))
    push = put("p", "world.push", ROD, (0, 1))
    bind_all(push, put("r", "world.push_s", (), (0.02, 0.3), nominal=0.1))
    with pytest.raises(ParamError, match=r"'r': a push_s of at most 0.02 s changes nothing"):
        bind_all(push, put("r", "world.push_s", (), (0.01, DT), nominal=0.01))


def test_visual_rows_are_judged_without_a_camera_as_far_as_can_be() -> None:
    def judge(row: Param) -> None:
        bounds.check_unbound((row,), "visual", bounds.VISUAL)

    judge(scale("r", "visual.ambient", (), (0, 2)))
    judge(add("r", "visual.ambient", (), (-9, 0)))  # depends on the model
    judge(put("r", "model.geom_restitution", (), (0, 9)))  # another group
    with pytest.raises(ParamError, match=r"visual.ambient reach -1, and a factor of a light's str"):
        judge(scale("r", "visual.ambient", (), (-1, 2)))
    with pytest.raises(ParamError, match=r"geom_rgb reach 1.2, and a colour must be at most"):
        judge(put("r", "visual.geom_rgb", ROD, (0, 1.2)))


def test_a_value_at_an_end_is_inside_up_to_rounding() -> None:
    nominal = {"x": np.array((0.1,), np.float32)}  # 0.1 in float32 is a little more
    rows = add("r", "model.x", (), (-0.1, 0))
    closed, free = Bound("an x", 0.0), Bound("an x", 0.0, above=True)
    assert len(bind(ParamSpace((rows,)), "model", nominal, {}, {"x": closed})) == 1
    with pytest.raises(ParamError, match=r"an x must be above 0"):
        bind(ParamSpace((rows,)), "model", nominal, {}, {"x": free})


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (("light_dir", "lamp", 2), r"light_dir of 'lamp' may be zero in all components"),
        (
            ("light_pos", "sun", 0),
            r"light_pos of 'sun' .*directional light; use 'visual.light_dir'",
        ),
        (("light_kelvin", "dark", None), r"light_kelvin of 'dark' .*that light is off; add a row"),
    ],
)
def test_lights_that_do_nothing_are_refused(
    rows: tuple[str, str, int | None], message: str
) -> None:
    array, light, column = rows
    with pytest.raises(ParamError, match=message):
        bind_all(add("r", f"visual.{array}", (light,), (-1, 2), column=column))
    bind_all(add("r", "visual.light_dir", ("lamp",), (-2, 2), column=0))
    on = put("on", "visual.light_strength", ("dark",), (0, 1))
    bind_all(on, add("r", "visual.light_kelvin", ("dark",), (-1, 2)))


def test_the_nearest_depth_stays_before_the_farthest() -> None:
    near = put("near", "visual.depth_near", (), (0, 0.5), unit="m")
    bind_all(near, put("far", "visual.depth_far", (), (0.6, 9), nominal=5, unit="m"))
    with pytest.raises(ParamError, match=r"'near': visual.depth_near lets the nearest depth reach"):
        bind_all(near, put("far", "visual.depth_far", (), (0.4, 9), nominal=5, unit="m"))
