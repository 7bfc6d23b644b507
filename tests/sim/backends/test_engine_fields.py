"""Every feature of a model is stepped as in C MuJoCo, or refused by name: never neither."""

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
import pytest

from mjx_s2r.sim import physics
from mjx_s2r.sim.backends import engine_fields
from mjx_s2r.sim.physics import ModelError

Parts = tuple[str, str, str, str]  # bodies, tendons, equalities, actuators
STEPS = 100  # of 2 ms


def swing(
    name: str,
    joint: str = "",
    body: str = "",
    more: str = "",
    tail: tuple[str, str, str] = ("",) * 3,
) -> Parts:
    """Returns a pendulum with attributes on its joint and body, and what else belongs to it."""
    text = (
        f'<body name="{name}" pos="0 0 2" {body}><joint name="{name}" axis="0 1 0" {joint}/>'
        f'<geom type="capsule" fromto="0 0 0 0.2 0 0.05" size="0.02" mass="0.3"/>{more}</body>'
    )
    return text, *tail


def driven(name: str, actuator: str, joint: str = "", body: str = "") -> Parts:
    """Returns a pendulum with an actuator: its element's name and attributes."""
    kind, _, rest = actuator.partition(" ")
    return swing(name, joint, body, tail=("", "", f'<{kind} joint="{name}" {rest}/>'))


def loose(name: str, joint: str, tail: tuple[str, str, str], more: str = "") -> Parts:
    """Returns a box off its centre on a free or ball ``joint``."""
    text = (
        f'<body name="{name}" pos="0 0 1">{joint}{more}'
        '<geom type="box" size="0.1 0.05 0.02" pos="0.01 0.02 0" mass="0.2"/></body>'
    )
    return text, *tail


def roped(name: str, path: str) -> Parts:
    """Returns a pendulum on a spatial tendon of that ``path``, around a drum with side sites."""
    text = (
        f'<body pos="0 0 1"><site name="{name}_0" pos="-0.1 0 0.03"/>'
        f'<geom name="{name}_drum" type="cylinder" size="0.05 0.1" euler="90 0 0" mass="0.1"/>'
        f'<geom name="{name}_orb" size="0.06" mass="0.1"/><site name="{name}_in" pos="0 0 0.02"/>'
        f'<site name="{name}_out" pos="0 0 0.08"/><body pos="0 0 -0.1">'
        f'<joint name="{name}" axis="0 1 0"/><site name="{name}_1" pos="0.15 0 0.02"/>'
        '<geom type="capsule" fromto="0 0 0 0.2 0 0" size="0.02" mass="0.2"/></body></body>'
    )
    path = path.replace("@", name)
    return text, f'<spatial stiffness="30" damping="0.3">{path}</spatial>', "", ""


HINGES = {
    "spring": swing("spring", 'stiffness="2" springref="40" damping="0.1" armature="0.1" ref="9"'),
    "friction": swing("friction", 'frictionloss="0.1"'),
    "limit": swing("limit", 'range="-5 10" margin="0.02" solreflimit="0.01 0.7"'),
    "direct": swing("direct", 'range="-5 10" solreflimit="-500 -10"'),
    "gravcomp": swing("gravcomp", body='gravcomp="0.7"'),
    "carried": driven(
        "carried",
        'motor gear="0.1"',
        'actuatorgravcomp="true" actuatorfrcrange="-0.2 0.2"',
        'gravcomp="1"',
    ),
    "position": driven("position", 'position kp="5" kv="0.2" ctrlrange="-0.1 0.1"'),
    "velocity": driven("velocity", 'velocity kv="0.5"'),
    "integrator": driven("integrator", 'intvelocity kp="5" kv="0.2" actrange="-0.05 0.05"'),
    "filter": driven("filter", 'general dyntype="filter" dynprm="0.03" gainprm="0.5"'),
    "exact": driven("exact", 'general dyntype="filterexact" dynprm="0.03" gainprm="0.5"'),
    "fixed": (
        swing("fixed", more='<body pos="0.2 0 0"><joint name="end" axis="0 1 0"/><geom size="0.03" '
              'pos="0.1 0 0" mass="0.1"/></body>')[0],
        '<fixed name="pull" stiffness="3" damping="0.05" springlength="0.1 0.3" '
        'frictionloss="0.02" range="-0.3 0.2" armature="0.01" actuatorfrcrange="-0.1 0.1">'
        '<joint joint="fixed" coef="1"/>'
        '<joint joint="end" coef="-0.7"/></fixed>',
        "",
        '<motor tendon="pull" gear="0.2"/>',
    ),
}  # fmt: skip
SERVOS = {
    "saturated": driven("saturated", 'position kp="50" kv="2" forcerange="-0.1 0.1"'),
    "one_sided": driven("one_sided", 'position kp="5" kv="0.2" forcerange="-0.1 0.3"'),
    "damper": driven("damper", 'damper kv="0.5" ctrlrange="0 1"'),
    "joint_limit": driven("joint_limit", 'position kp="50" kv="2"', 'actuatorfrcrange="-0.1 0.1"'),
    "affine": driven(
        "affine",
        'general gaintype="affine" gainprm="1 0.3 -0.2" biastype="affine" biasprm="0.1 -1 -0.1" '
        'forcerange="-0.2 0.2" ctrlrange="-0.5 0.5" dyntype="filter" dynprm="0.05"',
    ),
}
OTHERS = {
    "muscle": driven("muscle", 'muscle lengthrange="-1 1" force="2" ctrlrange="0 1"'),
    "ball": loose(
        "ball",
        '<joint name="ball" type="ball" stiffness="0.5" damping="0.01" range="0 20"/>',
        ("", "", '<motor jointinparent="ball" gear="0.1 0.2 0 0 0 0"/>'),
    ),
    "free": loose(
        "free",
        '<joint name="free" type="free" damping="0.1" stiffness="0.5" armature="0.01"/>',
        ("", "", '<motor joint="free" gear="0 0 1 0.1 0 0"/>'),
    ),
    "sites": swing(
        "sites",
        more='<site name="base" pos="0.1 0 0"/><body pos="0.2 0 0">'
        '<joint name="tip" axis="1 0 0.3"/>'
        '<geom size="0.03" pos="0.05 0 0" mass="0.1"/><site name="tip" pos="0.1 0 0.02"/></body>',
        tail=("", "", '<position site="tip" refsite="base" gear="1 0.2 0.3 0.1 0.2 0.3" kp="3"/>'),
    ),
    "outside": roped(
        "outside",
        '<site site="@_0"/><geom geom="@_drum" sidesite="@_out"/><site site="@_1"/>',
    ),
    "inside": roped(
        "inside", '<site site="@_0"/><geom geom="@_orb" sidesite="@_in"/><site site="@_1"/>'
    ),
    "pulley": roped(
        "pulley",
        '<site site="@_0"/><site site="@_1"/><pulley divisor="3"/><site site="@_0"/>'
        '<site site="@_1"/>',
    ),
    "coupled": (
        swing("coupled")[0] + swing("lead")[0],
        '<fixed name="one"><joint joint="coupled" coef="1"/></fixed>'
        '<fixed name="two"><joint joint="lead" coef="2"/></fixed>',
        '<joint joint1="coupled" joint2="lead" polycoef="0.1 0.5 0.2 0.1 0" solref="0.05 1"/>'
        '<tendon tendon1="one" tendon2="two" polycoef="0 0.3 0.3 0 0" solref="0.1 1"/>'
        '<joint joint1="lead" polycoef="0.3 0 0 0 0" active="false"/>',
        "",
    ),
    "welded": loose(
        "welded",
        '<freejoint name="welded"/>',
        ("", '<weld body1="welded" anchor="0.1 0 0" solref="0.02 1" torquescale="0.5"/>', ""),
    ),
    "hung": loose(
        "hung",
        '<freejoint name="hung"/>',
        ("", '<connect site1="hung" site2="hook" solref="0.05 1"/>', ""),
        '<site name="hung"/>',
    ),
}


def model(parts: dict[str, Parts], option: str = "", flags: str = "") -> mujoco.MjModel:
    """Returns mechanisms that do not touch one another in one model."""
    bodies, tendons, equalities, actuators = ("".join(p) for p in zip(*parts.values(), strict=True))
    return mujoco.MjModel.from_xml_string(
        f'<mujoco><option {option}><flag contact="disable" {flags}/></option>'
        '<default><geom contype="0" conaffinity="0"/></default>'
        f'<worldbody><site name="hook" pos="0 0 1"/>{bodies}</worldbody><tendon>{tendons}</tendon>'
        f"<equality>{equalities}</equality><actuator>{actuators}</actuator></mujoco>"
    )


def assert_steps_as_c(m: mujoco.MjModel, speed: float = 0.3, atol: float = 2e-3) -> None:
    """Checks qpos of every joint over `STEPS` steps from random velocities and controls."""
    rng = np.random.default_rng(0)
    data = mujoco.MjData(m)
    data.qvel[:] = speed * rng.normal(size=m.nv)
    data.ctrl[:] = rng.uniform(-1, 1, size=m.nu)
    engine = physics.put_model(m)
    start = physics.initial_state(engine, jnp.asarray(data.qpos), jnp.asarray(data.qvel))
    ctrl = jnp.asarray(data.ctrl)

    def one(world: physics.PhysicsState, _: None) -> tuple[physics.PhysicsState, jax.Array]:
        world = physics.advance(engine, {}, world, ctrl)
        return world, world.qpos

    ours = np.asarray(jax.jit(lambda: jax.lax.scan(one, start, None, STEPS)[1])())
    for step in range(STEPS):
        mujoco.mj_step(m, data)
        for joint in range(m.njnt):
            first = m.jnt_qposadr[joint]
            width = {0: 7, 1: 4}.get(int(m.jnt_type[joint]), 1)
            np.testing.assert_allclose(
                ours[step, first : first + width],
                data.qpos[first : first + width],
                atol=atol,
                err_msg=f"{m.joint(joint).name} at step {step}",
            )


def test_implicit_steps_of_servos_at_their_limits_equal_those_of_c() -> None:
    """MJX's own differ by 0.4 rad in 0.2 s where a servo saturates."""
    assert_steps_as_c(model(SERVOS, 'integrator="implicitfast"'))


def test_joints_tendons_and_actuators_step_as_in_c() -> None:
    assert_steps_as_c(model(HINGES))


@pytest.mark.slow
def test_steps_of_higher_order_equal_those_of_c() -> None:
    assert_steps_as_c(model(HINGES | SERVOS, 'integrator="RK4"'))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("option", "flags"),
    [
        *(("", ""), ('density="1.2" viscosity="0.01" wind="1 0 0"', "")),
        *((("", f'{flag}="disable"')) for flag in ("gravity", "clampctrl", "actuation", "refsafe")),
        *((("", f'{flag}="disable"')) for flag in ("equality", "frictionloss", "limit")),
        ("", 'eulerdamp="disable"'),
    ],
)  # fmt: skip
def test_all_mechanisms_step_as_in_c(option: str, flags: str) -> None:
    assert_steps_as_c(model(HINGES | OTHERS, option, flags))


TOUCHING = {
    **{f"condim{n}": f'condim="{n}"' for n in (1, 3, 4, 6)},
    "gap": 'gap="0.01"',
    "margin": 'margin="0.02" gap="0.03"',
    "mixed": 'solmix="3" solref="0.05 0.5" solimp="0.5 0.9 0.01"',
    "priority": 'priority="2" friction="0.3 0.01 0.01" solref="-1000 -20"',
}


@pytest.mark.slow
@pytest.mark.parametrize("option", ["", 'cone="elliptic" impratio="3"'])
def test_contacts_step_as_in_c(option: str) -> None:
    balls = "".join(
        f'<body pos="0 {3 * i} 0.105"><freejoint name="{name}"/><geom name="{name}" size="0.1" '
        f'mass="1" {more}/></body>'
        for i, (name, more) in enumerate(TOUCHING.items())
    )
    m = mujoco.MjModel.from_xml_string(
        f'<mujoco><option gravity="2 1 -9.81" {option}/><worldbody>'
        f'<geom name="floor" type="plane" size="9 99 1"/>{balls}</worldbody><contact>'
        '<pair geom1="condim3" geom2="floor" condim="4" friction="0.5 0.4 0.01 0.01 0.01" '
        'solref="0.03 0.8" solreffriction="0.02 1"/></contact></mujoco>'
    )
    assert_steps_as_c(m, atol=3e-4)


ARM = (
    '<body name="arm" pos="0 0 2"><joint name="hip" axis="0 1 0" {joint}/><geom name="arm" '
    'type="capsule" fromto="0 0 0 0.2 0 0" size="0.02" {geom}/>'
    '<site name="tip" pos="0.2 0 0" {site}/><body name="hand" pos="0.2 0 0">'
    '<joint name="wrist" axis="0 1 0"/><geom name="hand" size="0.02"/></body></body>'
)
WHOLE = (
    '<mujoco><option {option}><flag {flag}/></option>{custom}<worldbody>{world}'
    + ARM
    + "</worldbody>"
    '<tendon>{tendon}</tendon><actuator><general name="drive" joint="hip" {actuator}/></actuator>'
    "<sensor>{sensor}</sensor></mujoco>"
)  # fmt: skip
SLOTS = (
    "option",
    "flag",
    "custom",
    "world",
    "joint",
    "geom",
    "site",
    "tendon",
    "actuator",
    "sensor",
)
DRUM = (
    '<spatial name="rope"><site site="tip"/><geom geom="drum" sidesite="tip"/><site site="far"/>'
    "</spatial>"
)
NUMBERS = "0.75 1.05 -1 200 0.5 1.6 1.5 1.3 1.2"
MUSCLE = f'gainprm="{NUMBERS}" biasprm="{NUMBERS}"'
REFUSED = {
    "surface velocity": ({"geom": 'surfacevel="0.5 0 0"'}, "geom 'arm': surfacevel 0.5 0 0"),
    "adhesion": ({"geom": 'adhesion="20"'}, "geom 'arm': adhesion 20"),
    "ellipsoid drag": (
        {"geom": 'fluidshape="ellipsoid"', "option": 'density="1"'},
        "geom 'arm': fluid 1.*fluidshape",
    ),
    "actuator armature": (
        {"actuator": 'armature="0.05"'},
        "actuator 'drive': armature 0.05.*joint",
    ),
    "actuator damping": ({"actuator": 'damping="0.5"'}, "actuator 'drive': damping 0.5"),
    "early activation": (
        {"actuator": 'dyntype="filter" dynprm="0.1" actearly="true"'},
        "actuator 'drive': actearly 1",
    ),
    "drag of higher order": ({"joint": 'damping="0.1 0.2"'}, "joint 'hip': dampingpoly 0.2"),
    "spring of higher order": ({"joint": 'stiffness="0.1 2"'}, "joint 'hip': stiffnesspoly 2"),
    "tendon of higher order": (
        {"tendon": '<fixed name="rope" stiffness="1 2"><joint joint="hip" coef="1"/></fixed>'},
        "tendon 'rope': stiffnesspoly 2",
    ),
    "noslip": ({"option": 'noslip_iterations="5"'}, "option noslip_iterations=5"),
    "disabled group": (
        {"option": 'actuatorgroupdisable="2"', "actuator": 'group="2"'},
        "actuator 'drive': its group 2 is switched off",
    ),
    "sleep": ({"flag": 'sleep="enable"'}, 'flag sleep="enable"'),
    "override": ({"flag": 'override="enable"'}, 'flag override="enable"'),
    "springs off": (
        {"flag": 'spring="disable"', "joint": 'damping="0.1"'},
        'flag spring="disable" makes .* leave out all passive forces',
    ),
    "dampers off": (
        {"flag": 'damper="disable" spring="disable"', "joint": 'damping="0.1"'},
        "joint 'hip': flag damper=\"disable\" leaves its damping",
    ),
    "implicit": ({"option": 'integrator="implicit"'}, "option integrator is of the kind implicit,"),
    "PGS": ({"option": 'solver="PGS"'}, "option solver is of the kind pgs,"),
    "implicit drag": ({"option": 'integrator="implicitfast" density="1"'}, "fluid drag"),
    "sensor rate": (
        {"sensor": '<gyro name="imu" site="tip" interval="0.01"/>'},
        "sensor 'imu': interval 0.01",
    ),
    "sensor": (
        {"joint": 'range="-1 1"', "sensor": '<jointlimitpos name="end" joint="hip"/>'},
        "sensor 'end' is of the kind jointlimitpos",
    ),
    "cutoff": (
        {"sensor": '<framelinacc name="imu" objtype="site" objname="tip" cutoff="3"/>'},
        "sensor 'imu': cutoff 3",
    ),
    "ray without material": ({"sensor": '<rangefinder name="ray" site="tip"/>'}, "'ray'.*material"),
    "ray at a cylinder": (
        {
            "custom": '<asset><material name="plain"/></asset>',
            "world": '<geom name="drum" type="cylinder" size="0.1 0.1" '
            'contype="0" conaffinity="0"/>',
            "sensor": '<rangefinder name="ray" site="tip"/>',
        },
        "'ray': geom 'drum' is a cylinder",
    ),
    "touch": (
        {"site": 'type="cylinder" size="0.1 0.1"', "sensor": '<touch name="skin" site="tip"/>'},
        "'skin': site 'tip' is a cylinder",
    ),
    "contact": (
        {"sensor": '<contact name="hit" geom1="arm" data="force"/>'},
        "'hit': .*reduce=\"mindist\"",
    ),
    "contact of bodies": (
        {"sensor": '<contact name="hit" body1="arm" reduce="mindist"/>'},
        "'hit' matches contacts by site, body",
    ),
    "shapes": (
        {
            "world": '<geom name="pole" type="cylinder" size="0.1 0.1"/>'
            '<body pos="1 0 0"><freejoint/><geom name="crate" type="box" size="0.1 0.1 0.1"/>'
            "</body>",
        },
        "geom 'pole' and geom 'crate': .* cylinder against box; .*exclude",
    ),
    "no friction": (
        {
            "world": '<geom name="ice" type="plane" size="1 1 1" friction="0 0 0"/>',
            "geom": 'friction="0 0 0"',
        },
        "geom 'ice': friction 0 0 0 .*condim=\"1\"",
    ),
    "margins": ({"joint": 'range="-1 1" margin="0.2"'}, "joint 'hip': margin 0.2"),
    "branches": (
        {
            "world": '<body><joint name="else"/><geom size="0.1" contype="0" conaffinity="0"/>'
            "</body>",
            "tendon": '<fixed name="rope" armature="0.1"><joint joint="hip" coef="1"/>'
            '<joint joint="else" coef="1"/></fixed>',
        },
        "tendon 'rope': armature 0.1 couples joints of several branches",
    ),
    "side site": (
        {
            "world": '<geom name="drum" size="0.1" contype="0" conaffinity="0"/><site name="far"/>',
            "tendon": DRUM,
        },
        "geom 'drum': .*sidesite 'tip' on another body",
    ),
    "muscle": (
        {
            "option": 'integrator="implicitfast"',
            "actuator": 'dyntype="muscle" gaintype="muscle" biastype="muscle" lengthrange="-1 1" '
            f'{MUSCLE} dynprm="0.01 0.04"',
        },
        "actuator 'drive' is a muscle.*Euler",
    ),
    "number": (
        {
            "custom": '<custom><numeric name="a" data="1 2"/>'
            '<numeric name="max_contact_points" data="4"/></custom>'
        },
        "'max_contact_points' comes after",
    ),
}


def whole(slots: dict[str, str]) -> mujoco.MjModel:
    """Returns a two-joint arm with more in some of `SLOTS`."""
    return mujoco.MjModel.from_xml_string(WHOLE.format(**dict.fromkeys(SLOTS, "") | slots))


@pytest.mark.parametrize("feature", REFUSED)
def test_what_is_not_simulated_is_refused_by_name(feature: str) -> None:
    slots, message = REFUSED[feature]
    with pytest.raises(ModelError, match=message) as refused:
        physics.put_model(whole(slots))
    assert str(refused.value).count("\n") == 0


HARMLESS: dict[str, dict[str, str]] = {
    "plain": {},
    "flags of C": {"flag": 'island="disable" multiccd="disable" nativeccd="disable"'},
    "groups": {"option": 'actuatorgroupdisable="3"', "actuator": 'group="2" user="1 2"'},
    "ellipsoid in a vacuum": {"geom": 'fluidshape="ellipsoid"'},
    "gap": {"geom": 'gap="0.01"'},
    "looks": {"geom": 'rgba="1 0 0 1" group="3"', "world": '<light pos="0 0 3"/><camera/>'},
    "number of contacts": {"sensor": '<contact geom1="arm" data="found"/>'},
    "sensor noise": {"sensor": '<gyro site="tip" noise="0.1"/>'},
    "both off": {"flag": 'spring="disable" damper="disable"', "joint": 'stiffness="1"'},
}  # fmt: skip


@pytest.mark.parametrize("feature", HARMLESS)
def test_what_changes_no_motion_is_taken(feature: str) -> None:
    assert physics.put_model(whole(HARMLESS[feature])).model.nv == 2


def test_the_lists_name_fields_of_this_mujoco() -> None:
    known = set(engine_fields._fields())
    assert not {f for f in engine_fields.STILL if f not in known}
    assert not {f for f in engine_fields.NEUTRAL if f not in known}


@pytest.mark.parametrize("reader", [engine_fields.JAX, engine_fields.WARP])
def test_what_an_engine_reads_is_found_in_its_code(reader: engine_fields.Reader) -> None:
    read = engine_fields.names_read(reader)
    assert {"body_mass", "geom_friction", "actuator_gainprm", "jnt_stiffness", "timestep"} <= read
    assert "actuator_armature" in engine_fields.dropped(reader)
    assert ("geom_surfacevel" in read) == (reader is engine_fields.WARP)


def test_a_field_that_nobody_knows_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a new MuJoCo, whose fields are in no list."""
    monkeypatch.setattr(engine_fields, "dropped", lambda _: ("geom_solmix",))
    with pytest.raises(ModelError, match="geom 'arm': solmix 1 is in the MuJoCo model"):
        physics.put_model(whole({}))
