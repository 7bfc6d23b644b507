"""A look at a model: its cost beside MJX's own tables, its verdicts beside what the engines say."""

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
import pytest
import trimesh
from mujoco import mjx
from mujoco.mjx._src import mesh as mjx_mesh

from mjx_s2r.api.teacher import TeacherConfig, teacher_trainer
from mjx_s2r.envs.registry import make_task, task_spec
from mjx_s2r.learn.ppo.config import PPOConfig
from mjx_s2r.mjcf.features import ENGINES
from mjx_s2r.mjcf.inspect import ModelInspection, inspect_model
from mjx_s2r.mjcf.load import load
from mjx_s2r.sim.backends import step_cost as costs
from mjx_s2r.sim.backends.physics_config import ModelError, PhysicsConfig
from mjx_s2r.sim.backends.step_cost import hull_edges, refuse_too_large, step_cost, too_large
from mjx_s2r.sim.physics import advance, initial_state, put_model
from train import inspect

SHIPPED = ("cartpole", "reach", "lift", "quadruped", "quadruped_rough", "reorient")
GEOMS = {
    "sphere": 'type="sphere" size=".1"',
    "capsule": 'type="capsule" size=".1 .1"',
    "box": 'type="box" size=".1 .1 .1"',
    "mesh": 'type="mesh" mesh="m" mass="1"',
    "cylinder": 'type="cylinder" size=".1 .1"',
}


def vertices(solid: trimesh.Trimesh) -> str:
    """Returns the vertices of a solid as an attribute of MJCF."""
    return " ".join(f"{x:.6f}" for x in solid.vertices.ravel())


BALL = trimesh.creation.icosphere(1, radius=0.1)
MESH = f'<mesh name="m" vertex="{vertices(BALL)}"/>'


def scene(*shapes: str, more: str = "", floor: str = 'type="plane" size="1 1 1"') -> str:
    """Returns an MJCF with a floor and a free body of each shape, half a metre apart."""
    bodies = "".join(
        f'<body name="b{i}" pos="{i / 2} 0 1"><freejoint name="j{i}"/>'
        f'<geom name="g{i}" {GEOMS[shape]}/></body>'
        for i, shape in enumerate(shapes)
    )
    return (
        f'<mujoco><asset>{MESH}<hfield name="h" nrow="20" ncol="30" size="1 2 1 1"/></asset>'
        f'<worldbody><geom name="floor" {floor}/>{bodies}</worldbody>{more}</mujoco>'
    )


ARM = (
    '<body name="arm"><joint name="j" axis="0 1 0" range="-60 60" damping="1" armature=".1"/>'
    '<geom name="g" type="capsule" size=".05 .2"/>{}</body>'
)


def arm(more: str = "", inside: str = "", world: str = "") -> str:
    """Returns an MJCF of one link with everything that it needs, and more."""
    return f"<mujoco><worldbody>{world}{ARM.format(inside)}</worldbody>{more}</mujoco>"


COSTED = {
    "all shapes": scene("sphere", "capsule", "box", "mesh"),
    "elliptic": scene("box", "mesh", more='<option cone="elliptic"/>'),
    "field": scene("sphere", "box", floor='type="hfield" hfield="h"'),
    "limited": scene("box", "box", more='<custom><numeric name="max_contact_points" data="5"/>'
                     '<numeric name="max_geom_pairs" data="0"/></custom>'),
    "no contacts": scene("box", more='<option><flag contact="disable"/></option>'),
    "rows": arm(
        '<equality><weld body1="arm" body2="other"/></equality>',
        '<body name="other"><joint axis="1 0 0" frictionloss=".1"/><geom size=".1"/></body>',
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", COSTED)
def test_contacts_and_rows_are_those_that_mjx_reserves(case: str) -> None:
    m = mujoco.MjModel.from_xml_string(COSTED[case])
    cost, data = step_cost(m), mjx.make_data(m, impl="jax")
    assert cost.points == data._impl.contact.dist.shape[0]
    assert cost.rows == data._impl.efc_J.shape[0]


SOLIDS = {
    "ball": BALL,
    "box": trimesh.creation.box((0.1, 0.2, 0.3)),
    "prism": trimesh.creation.cylinder(0.1, 0.2, sections=12),
}


@pytest.mark.parametrize("name", SOLIDS)
def test_edges_of_a_hull_are_those_that_mjx_keeps(name: str) -> None:
    """Flat edges, as across the side of a box, are none."""
    xml = f'<mujoco><asset><mesh name="m" vertex="{vertices(SOLIDS[name])}"/></asset></mujoco>'
    m = mujoco.MjModel.from_xml_string(xml)
    assert hull_edges(m, 0) == mjx_mesh.convex(m, 0).edge.shape[0]


@pytest.mark.slow
@pytest.mark.parametrize("shapes", [("mesh", "mesh"), ("box", "mesh"), ("box", "box", "capsule")])
def test_memory_is_what_the_compiler_reserves(shapes: tuple[str, ...]) -> None:
    m = mujoco.MjModel.from_xml_string(scene(*shapes))
    physics, worlds = put_model(m), 64
    state = initial_state(physics, jnp.asarray(m.qpos0), jnp.zeros(m.nv))
    many = jax.tree.map(lambda x: jnp.broadcast_to(x, (worlds, *x.shape)), state)
    step = jax.jit(jax.vmap(lambda s: advance(physics, {}, s, s.ctrl)))
    reserved = step.lower(many).compile().memory_analysis().temp_size_in_bytes / worlds
    assert step_cost(m).world_bytes == pytest.approx(reserved, rel=0.5)


def test_shipped_tasks_find_room() -> None:
    for name in SHIPPED:
        refuse_too_large(make_task(name).mj_model, None, task_spec(name).ppo.num_envs)


def test_pairs_that_ask_for_most_are_named() -> None:
    m = mujoco.MjModel.from_xml_string(scene("sphere", "mesh", "mesh"))
    cost = step_cost(m)
    edges = len(BALL.edges_unique)
    assert cost.worst()[0].memory == pytest.approx(104 * edges**2)
    assert not too_large(m, cost, 1000, 1000 * cost.world_bytes)
    (problem,) = too_large(m, cost, 1001, 1000 * cost.world_bytes)
    assert problem.startswith("geom 'g1' with geom 'g2'")
    assert "1000 worlds at most" in problem and "physics.backend c" in problem


def test_a_training_without_room_is_refused_before_it_is_traced(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """By the number of its worlds, and with MJX alone: C MuJoCo reserves nothing for contacts."""
    world = step_cost(make_task("cartpole").mj_model).world_bytes
    monkeypatch.setattr(costs, "memory_here", lambda: 100 * world)
    config = TeacherConfig(task="cartpole", ppo=PPOConfig(num_envs=128))
    with pytest.raises(ModelError, match="128 worlds"):
        teacher_trainer(config)
    m = make_task("cartpole").mj_model
    refuse_too_large(m, PhysicsConfig("c"), 128)
    refuse_too_large(m, None, 100)


def looked_at(tmp_path: Path, xml: str, **more: int) -> ModelInspection:
    """Returns the inspection of a model."""
    (tmp_path / "model.xml").write_text(xml)
    return inspect_model(load(tmp_path / "model.xml"), **more)


VERDICTS = {
    "plain": arm(),
    "cylinder on box": scene("cylinder", floor='type="box" size="1 1 .1"'),
    "PGS": arm('<option solver="PGS"/>'),
    "adhesion": arm('<actuator><adhesion body="arm" ctrlrange="0 1"/></actuator>'),
    "user sensor": arm('<sensor><user name="u" dim="1"/></sensor>'),
    "drag": arm('<option integrator="implicitfast" density="1000"/>'),
    "frictionless cones": scene("sphere", more='<option cone="elliptic"/>').replace(
        '<geom name="g0"', '<geom condim="1" name="g0"'
    ).replace('<geom name="floor"', '<geom condim="1" name="floor"'),
    "slip": arm('<option noslip_iterations="3"/>'),
    "margin": scene("mesh").replace('name="g0"', 'name="g0" margin=".01"'),
    "energy": arm('<option><flag energy="enable"/></option>'),
    "delay": arm('<actuator><motor joint="j" delay=".01" nsample="5"/></actuator>'),
    "sleep": arm('<option><flag sleep="enable"/></option>'),
}  # fmt: skip


@pytest.mark.parametrize("case", VERDICTS)
def test_verdicts_are_those_of_the_engines(case: str, tmp_path: Path) -> None:
    found = looked_at(tmp_path, VERDICTS[case])
    for engine in ("jax", "c"):
        try:
            put_model(found.loaded.model, PhysicsConfig(engine))  # type: ignore[arg-type]
            takes = True
        except ModelError:
            takes = False
        assert found.simulates(engine) == takes, engine
        feature_says = all(engine in feature.engines for feature in found.features)
        assert takes <= feature_says, engine


def test_engine_c_steps_what_mjx_cannot_hold() -> None:
    """An adhesion and a sensor that MJX lacks, beside a plain loop of C MuJoCo."""
    world = (
        '<geom type="plane" size="1 1 1"/><body name="ball" pos="1 0 .1"><freejoint/>'
        '<geom size=".1"/></body>'
    )
    m = mujoco.MjModel.from_xml_string(
        arm(
            '<actuator><adhesion body="ball" gain="5" ctrlrange="0 1"/><motor joint="j"/>'
            '</actuator><sensor><user name="u" dim="1"/><jointpos joint="j"/></sensor>',
            world=world,
        ).replace('name="arm"', 'name="arm" pos="0 0 1"')
    )
    ctrl, plain = np.array([0.5, 0.3]), mujoco.MjData(m)
    physics = put_model(m, PhysicsConfig("c"))
    state = initial_state(physics, jnp.asarray(m.qpos0), jnp.zeros(m.nv))
    plain.ctrl[:] = ctrl
    for _ in range(50):
        state = advance(physics, {}, state, jnp.asarray(ctrl, jnp.float32))
        mujoco.mj_step(m, plain)
    assert abs(plain.joint("j").qpos[0]) > 1e-3
    np.testing.assert_allclose(state.qpos, plain.qpos, atol=2e-5)


# What a model has, and the words of the finding that tells it.
FOUND = {
    "unnamed": (arm().replace('name="j" ', ""), "1 of 1 joint", "without a name (of body arm)"),
    "no actuator": (arm(), "actuators", "none for 1 joints"),
    "no limits": (arm().replace('range="-60 60"', ""), "joints", "no limits: 'j'"),
    "no damping": (arm().replace('damping="1"', ""), "joints", "no damping or friction: 'j'"),
    "degrees": (
        arm('<compiler angle="radian"/>'),
        "joint 'j'",
        "may be degrees",
    ),
    "no armature": (
        arm('<actuator><motor joint="j"/></actuator>').replace('armature=".1"', ""),
        "joints",
        "no armature: 'j'",
    ),
    "strong": (
        arm('<actuator><position name="a" joint="j" kp="9"/></actuator>'),
        "actuators",
        "no limit of force: 'a'",
    ),
    "big inertia": (
        arm(inside='<inertial pos="0 0 0" mass="1" diaginertia="4 4 4"/>'),
        "body 'arm'",
        "2 m from its centre",
    ),
    "heavy": (arm().replace('size=".05 .2"', 'size=".05 .2" mass="2000"'), "body 'arm'", "2000 kg"),
    "falls": (
        scene("box").replace('<geom name="', '<geom contype="0" conaffinity="0" name="'),
        "joint 'j0'",
        "falls for ever",
    ),
    "overlap": (
        scene("box").replace('pos="0.0 0 1"', 'pos="0 0 .05"'),
        "geom 'floor' and geom 'g0'",
        "overlap by 50 mm",
    ),
    "bursts": (
        arm('<actuator><position joint="j" kp="1e7"/></actuator><option timestep=".02"/>',
            inside='<inertial pos="0 0 .1" mass="1" diaginertia="1e-4 1e-4 1e-4"/>').replace(
                'damping="1" armature=".1"', 'ref="30"'),
        "the model",
        "unstable in C",
    ),
    "slow": (arm('<option timestep="1e-4"/>'), "option timestep", "short"),
    "nothing moves": (arm().replace('<joint name="j" axis="0 1 0" range="-60 60" damping="1" '
                      'armature=".1"/>', ""), "joints", "nothing moves"),
    "corners": (scene("box", "mesh"), "points of contact", "1 box-mesh, 1 plane-box"),
    "no camera": (arm(), "cameras", "there is none"),
    "closed chain": (COSTED["rows"], "equality number 0", "velocity product"),
    "round pair": (scene("cylinder", "sphere"), "geom 'g1' and geom 'g0'", "coarsely"),
}  # fmt: skip


@pytest.mark.parametrize("case", FOUND)
def test_what_is_amiss_is_told(case: str, tmp_path: Path) -> None:
    xml, element, words = FOUND[case]
    found = looked_at(tmp_path, xml).findings
    lines = [f"{f.element}: {f.value}" for f in found]
    assert [line for line in lines if element in line and words in line], lines
    assert all(f.remedy for f in found)


def test_a_shipped_model_is_sound(tmp_path: Path) -> None:
    mujoco.mj_saveLastXML(str(tmp_path / "x.xml"), make_task("lift").mj_model)
    found = inspect_model(load(tmp_path / "x.xml"))
    graver = [f.element for f in found.findings if f.severity != "note"]
    assert graver == ["points of contact"]  # of its boxes
    assert all(found.simulates(engine) for engine in ENGINES)


def test_counts_of_a_known_model(tmp_path: Path) -> None:
    found = looked_at(tmp_path, scene("sphere", "box", more='<keyframe><key name="k"/></keyframe>'))
    assert found.counts["degrees of freedom"] == "12 (qpos 14)"
    assert found.counts["joints"] == "2 free"
    assert found.counts["geoms that collide"] == "1 plane, 1 sphere, 1 box"
    assert found.counts["size"] == "0.2 x 0.2 x 0.2 m"
    assert found.cost.pairs == {
        ("plane", "sphere"): 1, ("plane", "box"): 1, ("sphere", "box"): 1,
    }  # fmt: skip


def test_the_command_says_by_its_status_whether_it_trains(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, out = tmp_path / "model.xml", tmp_path / "out" / "found.json"
    path.write_text(VERDICTS["cylinder on box"])
    assert inspect.main([str(path), "--json", str(out)]) == 1
    assert "MJX cannot train" in capsys.readouterr().out
    found = json.loads(out.read_text())
    assert found["engines"] == {"jax": False, "warp": True, "c": True}
    assert found["findings"][0]["severity"] == "refused"
    assert inspect.main([str(path), "--engine", "c"]) == 0
    with pytest.raises(ModelError, match="no file"):
        inspect.main([str(tmp_path / "none.xml")])
