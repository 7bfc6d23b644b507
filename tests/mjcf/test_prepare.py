"""A maker's robot made ready: what must stay the same does, what was missing is there."""

import base64
import io
from dataclasses import replace
from pathlib import Path

import mujoco
import numpy as np
import pytest
from markupsafe import escape
from PIL import Image

from benchmarks.mesh_robot import LINKS, TEXTURED, write_mesh_robot
from mjx_s2r.mjcf.assets import MeshChange
from mjx_s2r.mjcf.fit import Error
from mjx_s2r.mjcf.load import load
from mjx_s2r.mjcf.pairs import find_pairs
from mjx_s2r.mjcf.prepare import Prepared, PrepareOptions, prepare
from mjx_s2r.mjcf.prepare_report import (
    _Camera,
    _drawn,
    _link_row,
    _mesh_table,
    _under_a_sky,
    aims_missed,
    write_prepare_report,
)
from mjx_s2r.mjcf.surroundings import frame
from mjx_s2r.sim.physics import ModelError
from train import prepare as verb

QUICK = PrepareOptions(poses=200, inner_parts=3)
BOX = '<geom type="box" size=".1 .1 .1" mass="1"/>'


def files(folder: Path) -> dict[str, bytes]:
    """Returns the content of every file in a folder."""
    found = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in found}


@pytest.fixture(scope="module")
def maker(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The maker's MJCF."""
    return write_mesh_robot(tmp_path_factory.mktemp("maker"), faces=1600)


@pytest.fixture(scope="module")
def made(maker: Path, tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    """It, prepared."""
    return prepare(maker, tmp_path_factory.mktemp("out") / "arm", QUICK)


@pytest.fixture(scope="module")
def from_urdf(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    """The URDF of the same arm, prepared to travel."""
    folder = tmp_path_factory.mktemp("urdf")
    path = write_mesh_robot(folder, faces=1600, urdf=True)
    return prepare(path, folder / "out", replace(QUICK, floating=True, max_parts=1, inner_parts=1))


def test_the_original_is_only_read(maker: Path, made: Prepared) -> None:
    again = write_mesh_robot(made.path.parent.parent / "again", faces=1600)
    assert files(maker.parent) == files(again.parent)


def test_masses_inertias_and_motion_stay(maker: Path, made: Prepared) -> None:
    old = mujoco.MjModel.from_xml_path(str(maker))
    new = mujoco.MjModel.from_xml_path(str(made.path))
    assert [old.body(i).name for i in range(old.nbody)] == [
        new.body(i).name for i in range(new.nbody)
    ]
    np.testing.assert_allclose(new.body_mass, old.body_mass, rtol=1e-6)
    np.testing.assert_allclose(new.body_inertia, old.body_inertia, rtol=1e-6)
    np.testing.assert_allclose(new.body_ipos, old.body_ipos, atol=1e-9)
    assert [check.what for check in made.checks if not check.holds] == []
    assert len(made.checks) == 4


def test_meshes_are_drawn_and_primitives_collide(made: Prepared) -> None:
    m = made.model
    solid = (m.geom_contype != 0) | (m.geom_conaffinity != 0)
    mesh = m.geom_type == mujoco.mjtGeom.mjGEOM_MESH
    assert not (solid & mesh).any()
    assert mesh.sum() == sum(len(link.parts) for link in LINKS)
    kinds = {link.body: [one.kind for one in link.primitives] for link in made.links}
    assert kinds["base"] == ["box"]
    assert kinds["turret"] == ["sphere", "box"]
    assert kinds["upper_arm"] == ["capsule"]
    assert sorted(kinds["hand"]) == ["box", "capsule", "capsule"]
    convex = [link for link in made.links if link.body != "forearm"]
    assert max(max(link.error.out_mm, link.error.short_mm) for link in convex) < 4  # coarse balls


def test_a_drawn_mesh_stays_where_it_was(maker: Path, made: Prepared) -> None:
    """In the world, whatever frame the compiler gives it."""
    boxes = []
    for m in (load(maker).model, made.model):
        d = mujoco.MjData(m)
        mujoco.mj_forward(m, d)
        found = {}
        for g in np.flatnonzero((m.geom_type == mujoco.mjtGeom.mjGEOM_MESH) & (m.geom_group == 2)):
            first = m.mesh_vertadr[m.geom_dataid[g]]
            points = m.mesh_vert[first : first + m.mesh_vertnum[m.geom_dataid[g]]]
            world = d.geom_xpos[g] + points @ d.geom_xmat[g].reshape(3, 3).T
            key = (m.geom_bodyid[g], m.mesh(m.geom_dataid[g]).name, len(found))
            found[key] = (world.min(axis=0), world.max(axis=0))
        boxes.append(found)
    assert boxes[0].keys() == boxes[1].keys()
    for key, old in boxes[0].items():
        np.testing.assert_allclose(boxes[1][key], old, atol=1.1e-3)
    assert max(mesh.error_mm for mesh in made.meshes) <= 1.0
    assert any(mesh.faces_left < mesh.faces for mesh in made.meshes)


def test_a_texture_and_its_coordinates_stay(maker: Path, made: Prepared) -> None:
    """Each is a linear map of the place on the cover, as in the maker's file."""
    maps = []
    for m in (load(maker).model, made.model):
        mesh = m.mesh(TEXTURED).id
        first, count = m.mesh_vertadr[mesh], m.mesh_vertnum[mesh]
        at, faces = m.mesh_faceadr[mesh], m.mesh_facenum[mesh]
        uv = m.mesh_texcoord[m.mesh_texcoordadr[mesh] + m.mesh_facetexcoord[at : at + faces]]
        turn = np.zeros(9)
        mujoco.mju_quat2Mat(turn, m.mesh_quat[mesh])
        points = m.mesh_vert[first : first + count] @ turn.reshape(3, 3).T + m.mesh_pos[mesh]
        places = points[m.mesh_face[at : at + faces]].reshape(-1, 3)
        ones = np.column_stack([places[:, 1:], np.ones(len(places))])
        maps.append(np.linalg.lstsq(ones, uv.reshape(-1, 2), rcond=None)[0])
    np.testing.assert_allclose(maps[1][:2] * 0.02, maps[0][:2] * 0.02, atol=0.02)
    np.testing.assert_allclose(maps[1][2], maps[0][2], atol=0.02)
    image = (made.path.parent / "textures" / f"{TEXTURED}.png").read_bytes()
    assert image == (maker.parent / "assets" / f"{TEXTURED}.png").read_bytes()


def test_everything_has_a_name(made: Prepared) -> None:
    m = made.model
    for kind, count in (
        *(("body", m.nbody), ("joint", m.njnt), ("geom", m.ngeom), ("actuator", m.nu)),
        *(("camera", m.ncam), ("light", m.nlight), ("key", m.nkey), ("mesh", m.nmesh)),
    ):
        names = [getattr(m, kind)(i).name for i in range(count)]
        assert count and all(names), kind
        assert len(set(names)) == count


def test_home_is_free_and_the_camera_sees_the_robot(made: Prepared) -> None:
    m, d = made.model, mujoco.MjData(made.model)
    mujoco.mj_resetDataKeyframe(m, d, m.key("home").id)
    mujoco.mj_forward(m, d)
    assert min(d.contact.dist, default=0.0) > -1e-3
    camera = d.cam("three_quarter")
    local = (d.geom_xpos[m.geom_bodyid > 0] - camera.xpos) @ camera.xmat.reshape(3, 3)
    angles = np.degrees(np.arctan2(np.abs(local[:, :2]), -local[:, 2:]))
    assert (local[:, 2] < 0).all() and angles.max() < m.cam_fovy[0] / 2


def test_a_urdf_gets_servos_that_hold_it(from_urdf: Prepared) -> None:
    """They settle at a command within a few degrees, and not beyond the file's limits."""
    m = from_urdf.model
    assert [m.actuator(i).name for i in range(m.nu)] == [f"{x.name}_joint" for x in LINKS[1:]]
    np.testing.assert_allclose(m.actuator_forcerange[:, 1], [x.effort for x in LINKS[1:]])
    np.testing.assert_allclose(m.actuator_ctrlrange[:, 1], [x.reach for x in LINKS[1:]])
    d = mujoco.MjData(m)
    mujoco.mj_resetDataKeyframe(m, d, 0)
    d.ctrl[:] = goal = np.array([0.5, 0.2, -0.3, 0.4])
    mujoco.mj_step(m, d, int(2 / m.opt.timestep))
    np.testing.assert_allclose(d.qpos[7:], goal, atol=0.1)
    assert np.abs(d.qvel).max() < 0.05


def test_a_floating_robot_stands_on_the_floor(from_urdf: Prepared) -> None:
    m, d = from_urdf.model, mujoco.MjData(from_urdf.model)
    assert m.jnt_type[0] == mujoco.mjtJoint.mjJNT_FREE
    mujoco.mj_resetDataKeyframe(m, d, 0)
    height = d.qpos[2]
    mujoco.mj_step(m, d, int(0.5 / m.opt.timestep))
    assert abs(d.qpos[2] - height) < 3e-3
    assert d.ncon


def test_two_runs_write_the_same_bytes(tmp_path: Path) -> None:
    meshes = write_mesh_robot(tmp_path / "maker", faces=400).parent / "assets"
    path = tmp_path / "maker" / "one.xml"
    path.write_text(
        f"""<mujoco><compiler meshdir="{meshes}" texturedir="{meshes}"/><asset>
        <mesh file="forearm.stl"/><mesh file="cover.obj"/>
        <texture name="print" type="2d" file="cover.png"/><material name="m" texture="print"/>
        </asset><worldbody><body><joint/><geom type="mesh" mesh="forearm"/>
        <geom type="mesh" mesh="cover" material="m" contype="0" conaffinity="0"/></body>
        </worldbody></mujoco>"""
    )
    for name in ("a", "b"):
        prepare(path, tmp_path / name, QUICK)
    first = files(tmp_path / "a")
    assert {"meshes/forearm.stl", "meshes/cover.obj", "textures/cover.png"} <= first.keys()
    assert first == files(tmp_path / "b")
    prepare(path, tmp_path / "b", QUICK, overwrite=True)
    assert first == files(tmp_path / "b")


def test_the_page_shows_every_link(made: Prepared) -> None:
    text = write_prepare_report(made).read_text()
    assert all(f"<h3>{link.body}</h3>" in text for link in made.links) or "No data" in text
    assert "http" not in text.replace("http-equiv", "")


def test_the_page_marks_what_was_missed_and_leads_to_a_task(made: Prepared) -> None:
    """Two links of the same model: one on its aim and one that is not."""
    near, far = (replace(made.links[0], body=name) for name in ("near", "far"))
    near = replace(near, error=Error(1.0, 1.0, 1.0, 1.0), accepted_mm=2.0)
    far = replace(far, error=Error(1.0, 3.5, 1.0, 1.0), accepted_mm=2.0)
    stiff = MeshChange("stiff", "meshes/stiff.stl", 5000, 5000, 0.0, False)
    some = replace(made, links=(near, far), meshes=(stiff,))
    (shapes, faces) = aims_missed(some)
    assert "1 of 2 links" in shapes and "far: 3.5 mm for 2.0 mm" in shapes
    assert faces.startswith("stiff, 5,000 faces")
    row = {link.body: _link_row(link) for link in some.links}
    assert row["near"][3:7] == ("1.0", "1.0", "2.0", "reached")
    assert [cell for cell in row["far"] if "failed" in cell] == [
        '<span class="failed">3.5</span>', '<span class="failed">missed</span>',
    ]  # fmt: skip
    assert _mesh_table(some)["head"] == ("mesh", "faces", "faces left", "off by, mm")
    painted = replace(some, meshes=(stiff, replace(stiff, name="painted", textured=True)))
    assert _mesh_table(painted)["head"][-1] == "texture"
    text = write_prepare_report(made).read_text()
    assert f"python -m train new my_task --model {made.path.parent.name}/robot.xml" in text
    assert all(str(escape(one.value)) in text for one in made.findings)


def test_pictures_stand_before_a_light_sky(made: Prepared) -> None:
    """Where nothing is drawn, at the upper edge of a robot without a floor, it is light."""
    spec = mujoco.MjSpec.from_string(
        '<mujoco><asset><texture name="own" type="skybox" builtin="flat" rgb1="0 0 0" width="8" '
        'height="48"/></asset><worldbody><body><joint/><geom size=".1"/></body></worldbody>'
        "</mujoco>"
    )
    m = _under_a_sky(spec)
    assert m.ntex == 1 and spec.textures[0].name == "own"
    try:
        with _Camera(m, m.qpos0, (48, 64)) as camera:
            url = camera(frame(m, m.qpos0), _drawn)
    except (ImportError, AttributeError, mujoco.FatalError, RuntimeError):
        pytest.skip("no OpenGL")
    with Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))) as picture:
        corner = picture.getpixel((1, 1))
    assert min(corner) > 220


CHAIN = """<mujoco>
  <worldbody>
    <body name="base"><geom size=".1"/>
      <body name="near" pos=".15 0 0"><joint axis="0 0 1" range="-150 150"/><geom size=".1"/>
        <body name="tip" pos=".3 0 0"><joint axis="0 0 1" range="-170 170"/>
          <geom size=".05" pos=".35 0 0"/>
          <body name="shell" pos=".35 0 0"><joint axis="1 0 0" range="-10 10"/><geom size=".04"/>
            <body name="core"><joint axis="1 0 0" range="-10 10"/><geom size=".03"/></body>
          </body>
        </body>
      </body>
    </body>
    <body name="table" pos="0 5 0"><geom size=".1"/></body>
  </worldbody>
  <contact><exclude body1="base" body2="core"/></contact>
</mujoco>"""


def test_pairs_are_told_apart() -> None:
    """The tip can reach base but not the table; the core sits inside two bodies above it."""
    m = mujoco.MjModel.from_xml_string(CHAIN)
    found = {pair.bodies: pair.reason for pair in find_pairs(m, m.qpos0, 500, 0.01)}
    assert found["base", "near"] == "parent and child"  # MuJoCo keeps those of the world's bodies
    assert found["base", "tip"] == "kept"
    assert found["tip", "core"] == "always touches"
    assert found["near", "table"] == "never touches"
    assert ("near", "tip") not in found  # MuJoCo leaves it out itself
    assert ("base", "core") not in found  # the maker does
    kept = find_pairs(m, m.qpos0, 500, 0.01, kept=(("core", "tip"),))
    assert {pair.bodies: pair.reason for pair in kept}["tip", "core"] == "kept"


TRAVELLERS = """<mujoco><worldbody>
  <body name="table" pos="0 0 -1"><geom type="box" size=".4 .4 .02"/></body>
  <body name="lamp" pos="0 5 0"><geom size=".1"/></body>
  <body name="arm" pos="3 0 0"><joint axis="0 0 1"/><geom size=".02"/></body>
  <body name="red" pos="1 0 1"><freejoint/><geom size=".02"/></body>
  <body name="blue" pos="-1 0 1"><freejoint/><geom size=".02"/></body>
</worldbody></mujoco>"""


def test_what_travels_keeps_its_contacts() -> None:
    """Balls, a table and an arm that never come near one another as the file has them."""
    m = mujoco.MjModel.from_xml_string(TRAVELLERS)
    found = {pair.bodies: pair.reason for pair in find_pairs(m, m.qpos0, 100, 0.01)}
    apart = {pair for pair in found if "red" in pair or "blue" in pair}
    assert len(apart) == 7 and {found[pair] for pair in apart} == {"kept"}
    assert found["lamp", "arm"] == found["table", "arm"] == "never touches"


SHOULDER = """<mujoco><worldbody>
  <body name="base"><geom size=".01"/><body name="hip"><geom size=".01"/>
    <body name="rod"><joint type="ball"/>
      <geom type="capsule" fromto="0 0 .1 0 0 .5" size=".02"/></body></body></body>
  <body name="post" pos=".4 0 0"><geom type="box" size=".02 .3 .3"/></body>
</worldbody></mujoco>"""


def test_ball_joints_turn_in_the_poses_tried() -> None:
    """Straight up, a rod on a ball joint is far from the post that it hits when it lies."""
    m = mujoco.MjModel.from_xml_string(SHOULDER)
    found = {pair.bodies: pair for pair in find_pairs(m, m.qpos0, 400, 0.01)}
    assert found["rod", "post"].reason == "kept"
    assert 0.02 < found["rod", "post"].touching < 0.3


def test_an_added_floor_holds_whatever_the_defaults_are(tmp_path: Path) -> None:
    """Robots of gym have no self-collision by a default that a floor must not take over."""
    path = tmp_path / "gym.xml"
    path.write_text(
        '<mujoco><default><geom conaffinity="0" group="4" friction="0 0 0" margin=".5"/></default>'
        f'<worldbody><body name="trunk" pos="0 0 1"><freejoint/>{BOX}</body></worldbody></mujoco>'
    )
    m = prepare(path, tmp_path / "out", QUICK).model
    data, floor = mujoco.MjData(m), m.geom("floor")
    mujoco.mj_step(m, data, nstep=int(1.0 / m.opt.timestep))
    assert 0.0 < data.qpos[2] < 0.7
    assert floor.group == 0 and floor.friction[0] == 1.0 and floor.margin == 0


def test_an_earlier_model_stays_until_the_new_one_is_complete(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    maker, folder = tmp_path / "maker.xml", tmp_path / "robot"
    maker.write_text(f"<mujoco><worldbody><body>{BOX}</body></worldbody></mujoco>")
    prepare(maker, folder, QUICK)
    (folder / "my_task.py").write_text("mine")
    before = files(folder)

    def fails(*_: object) -> None:
        raise ModelError("no")

    with monkeypatch.context() as patch:
        patch.setattr("mjx_s2r.mjcf.prepare.compare", fails)
        with pytest.raises(ModelError, match="no"):
            prepare(maker, folder, QUICK, overwrite=True)
    assert files(folder) == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["maker.xml", "robot"]
    (folder / "meshes" / "old.stl").write_text("of another robot")
    prepare(maker, folder, QUICK, overwrite=True)
    assert files(folder) == before


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (replace(QUICK, max_parts=0), "max_parts is 0"),
        (replace(QUICK, visual_error_mm=float("nan")), "visual_error_mm is nan"),
        (replace(QUICK, keep_pairs=("base",)), "write BODY:BODY"),
        (replace(QUICK, keep_pairs=("base:bse",)), "'bse', which is no body"),
        (replace(QUICK, shapes=()), "no shapes"),
    ],
)
def test_bad_options_are_refused_before_work(
    maker: Path, tmp_path: Path, options: PrepareOptions, words: str
) -> None:
    with pytest.raises(ModelError, match=words):
        prepare(maker, tmp_path / "out", options)
    assert not (tmp_path / "out").exists()


def test_folders_that_hold_something_are_refused(maker: Path, tmp_path: Path) -> None:
    (tmp_path / "letters.txt").write_text("dear")
    with pytest.raises(ModelError, match="add --overwrite"):
        prepare(maker, tmp_path, QUICK)
    with pytest.raises(ModelError, match="other things than a prepared model"):
        prepare(maker, tmp_path, QUICK, overwrite=True)
    with pytest.raises(ModelError, match="holds the original"):
        prepare(maker, maker.parent, QUICK, overwrite=True)
    assert files(tmp_path) == {"letters.txt": b"dear"}


def test_floating_needs_one_root_that_stands(tmp_path: Path) -> None:
    path = tmp_path / "two.xml"
    path.write_text(f"<mujoco><worldbody><body>{BOX}</body><body>{BOX}</body></worldbody></mujoco>")
    with pytest.raises(ModelError, match="needs one root body"):
        prepare(path, tmp_path / "out", replace(QUICK, floating=True))
    path.write_text(
        f'<mujoco><worldbody><body name="it"><freejoint/>{BOX}</body></worldbody></mujoco>'
    )
    with pytest.raises(ModelError, match="moves in the world already"):
        prepare(path, tmp_path / "out", replace(QUICK, floating=True))


def test_what_the_maker_set_stays(tmp_path: Path) -> None:
    """Own primitives, floor, camera, solver, keyframe and contacts of a model without meshes."""
    path = tmp_path / "own.xml"
    path.write_text(
        """<mujoco><option integrator="RK4" iterations="9"/><worldbody><light name="l"/>
        <geom name="ground" type="plane" size="1 1 1"/><camera name="eye" pos="0 -1 1"/>
        <body name="b" pos="0 0 1"><joint name="j"/>
        <geom name="c" type="cylinder" size=".1 .2" contype="2" conaffinity="3"/></body>
        </worldbody><actuator><motor name="m" joint="j"/></actuator>
        <keyframe><key name="mine" qpos=".3"/></keyframe></mujoco>"""
    )
    done = prepare(path, tmp_path / "out", QUICK)
    m = done.model
    assert (m.ngeom, m.ncam, m.nlight, m.nu, m.nkey) == (2, 1, 1, 1, 1)
    assert m.opt.integrator == mujoco.mjtIntegrator.mjINT_RK4
    assert m.opt.iterations == 9
    assert (m.geom("c").contype[0], m.geom("c").conaffinity[0]) == (2, 3)
    assert done.home[0] == 0.3
    assert [change.what for change in done.changes] == ["inertials of b written down"]


def test_the_verb_writes_model_and_page(tmp_path: Path) -> None:
    path = tmp_path / "box.xml"
    path.write_text(f'<mujoco><worldbody><body name="b">{BOX}</body></worldbody></mujoco>')
    verb.main([str(path), "-o", str(tmp_path / "out"), "--no-floor"])
    assert (tmp_path / "out" / "report.html").exists()
    assert mujoco.MjModel.from_xml_path(str(tmp_path / "out" / "robot.xml")).nbody == 2
