"""Reading models: what is right is read as MuJoCo reads it, what is wrong is told in a sentence."""

import struct
from pathlib import Path

import mujoco
import numpy as np
import pytest

from mjx_s2r.envs.registry import make_task
from mjx_s2r.mjcf.load import load
from mjx_s2r.sim.backends.physics_config import ModelError

LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n"
INERTIAL = (
    '<inertial><mass value="1"/>'
    '<inertia ixx=".01" iyy=".01" izz=".01" ixy="0" ixz="0" iyz="0"/></inertial>'
)


def stl(length: float) -> bytes:
    """Returns a tetrahedron of edges ``length`` along the axes, as a binary STL."""
    corners = np.vstack([np.zeros(3), np.eye(3) * length])
    faces = [(0, 2, 1), (0, 1, 3), (0, 3, 2), (1, 2, 3)]
    body = b"".join(
        struct.pack("<12fH", 0, 0, 0, *corners[list(face)].ravel(), 0) for face in faces
    )
    return b"\0" * 80 + struct.pack("<I", len(faces)) + body


def body(inner: str, top: str = "") -> str:
    """Returns an MJCF of one body on a hinge."""
    return f'<mujoco>{top}<worldbody><body name="b"><joint/>{inner}</body></worldbody></mujoco>'


def meshes(*files: str, scale: str = "1 1 1") -> str:
    """Returns an MJCF of one body with a geom for each mesh file."""
    assets = "".join(f'<mesh name="m{i}" file="{f}" scale="{scale}"/>' for i, f in enumerate(files))
    geoms = "".join(f'<geom type="mesh" mesh="m{i}"/>' for i in range(len(files)))
    return body(geoms, f"<asset>{assets}</asset>")


def link(name: str, file: str = "", scale: str = "1 1 1", inertial: str = INERTIAL) -> str:
    """Returns a link of a URDF, seen and touched as a mesh file."""
    shape = f'<geometry><mesh filename="{file}" scale="{scale}"/></geometry>'
    parts = f"<visual>{shape}</visual><collision>{shape}</collision>" if file else ""
    return f'<link name="{name}">{inertial}{parts}</link>'


def joint(name: str, parent: str, child: str, more: str = "", kind: str = "revolute") -> str:
    """Returns a joint of a URDF."""
    return (
        f'<joint name="{name}" type="{kind}"><parent link="{parent}"/><child link="{child}"/>'
        f'<axis xyz="0 0 1"/><limit lower="-1" upper="1" effort="5" velocity="2"/>{more}</joint>'
    )


def robot(*parts: str) -> str:
    """Returns a URDF."""
    return f'<robot name="r">{"".join(parts)}</robot>'


def write(path: Path, text: str | bytes) -> Path:
    """Writes a file, with its folders."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def refusal(path: Path) -> str:
    """Returns the sentence with which a file is refused."""
    with pytest.raises(ModelError) as caught:
        load(path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


NO_MODELS = {
    "empty.xml": ("", "empty"),
    "text.xml": ("a robot", "text without XML"),
    "page.xml": ("<!DOCTYPE html>\n<html></html>", "web page"),
    "pointer.xml": (LFS, "git lfs pull"),
    "archive.xml": (b"PK\x03\x04" + bytes(20), "unpack"),
    "part.stl": (stl(1.0), "STL mesh"),
    "cut.xml": ("<mujoco><worldbody>", "no whole XML"),
    "world.sdf": ("<sdf version='1.6'/>", "SDF"),
    "part.xml": ("<mujocoinclude/>", "includes"),
    "list.xml": ("<things/>", "<things>"),
    "model.mjcf": (body('<geom size="1"/>'), "rename it to model.xml"),
    "robot.urdf.xacro": ('<robot name="r"><link name="${side}_arm"/></robot>', "xacro"),
}


@pytest.mark.parametrize("name", NO_MODELS)
def test_a_file_that_is_no_model_is_named_for_what_it_is(name: str, tmp_path: Path) -> None:
    text, words = NO_MODELS[name]
    assert words in refusal(write(tmp_path / name, text))


def test_no_file_and_a_folder_name_the_models_beside_them(tmp_path: Path) -> None:
    write(tmp_path / "arm.xml", body('<geom size="1"/>'))
    assert "arm.xml" in refusal(tmp_path / "arn.xml")
    assert "arm.xml" in refusal(tmp_path)


WRONG = {
    "negative mass": (body('<geom name="g" size="1" mass="-1"/>'), ("'g'", "positive mass")),
    "no mass": (body('<geom size="1" mass="0"/>'), ("'b'", "<inertial>")),
    "heavy": (body('<geom size="1" mass="1e9"/>'), ("'b'", "1e+09 kg", "kg")),
    "inertia": (
        body('<inertial pos="0 0 0" mass="1" diaginertia="1 1 5"/>'),
        ("'b'", "exceeds the sum"),
    ),
    "tower": (body('<geom type="capsule" size="1" fromto="0 0 0 0 0 200"/>'), ("'b'", "202 m")),
    "unknown": ("<mujoco><robot/></mujoco>", ("'robot'", "spelling")),
    "includes": (
        '<mujoco><include file="a.xml"/><include file="b.xml"/></mujoco>',
        ("a.xml, b.xml", "missing"),
    ),
    "no mesh": (body('<geom type="mesh" mesh="arm"/>'), ("'arm'", "correct the name")),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_mjcf_is_refused_with_element_and_remedy(case: str, tmp_path: Path) -> None:
    text, words = WRONG[case]
    message = refusal(write(tmp_path / "model.xml", text))
    assert [word for word in words if word not in message] == []


ONE, TWO = link("a"), link("a") + link("b")
WRONG_URDF = {
    "two roots": (TWO, ("'a', 'b'", "one tree")),
    "loop": (TWO + joint("j", "a", "b") + joint("k", "b", "a"), ("a -> b -> a", "take one")),
    "two parents": (
        TWO + link("c") + joint("j", "a", "c") + joint("k", "b", "c"),
        ("'c'", "connect"),
    ),
    "no such link": (TWO + joint("j", "a", "z"), ("'j'", "'z'", "a, b")),
    "twice": (ONE + ONE, ("'a'", "2 times")),
    "empty": ("", ("without a link",)),
    "massless": (
        ONE + link("b", inertial="") + joint("j", "a", "b"),
        ("'b'", "<inertial>"),
    ),
    "negative": (
        ONE + link("b", inertial=INERTIAL.replace('"1"', '"-1"')) + joint("j", "a", "b"),
        ("'b'", "value -1"),
    ),
    "exchanged limits": (
        TWO + joint("j", "a", "b").replace('lower="-1" upper="1"', 'lower="1" upper="-1"'),
        ("'j'", "exchange"),
    ),
    "no shape": (
        ONE.replace("</link>", "<visual><geometry><cone/></geometry></visual></link>"),
        ("cylinder", "capsule"),
    ),
}


@pytest.mark.parametrize("case", WRONG_URDF)
def test_a_wrong_urdf_is_refused_with_element_and_remedy(case: str, tmp_path: Path) -> None:
    text, words = WRONG_URDF[case]
    message = refusal(write(tmp_path / "model.urdf", robot(text)))
    assert [word for word in words if word not in message] == []


@pytest.mark.parametrize("kind", ["mjcf", "urdf"])
def test_all_missing_meshes_are_listed(kind: str, tmp_path: Path) -> None:
    files = ("one.stl", "two.stl", "here.stl")
    write(tmp_path / "here.stl", stl(0.1))
    if kind == "mjcf":
        path = write(tmp_path / "model.xml", meshes(*files))
    else:
        links = [link(f[:-4], f"package://some_robot/{f}") for f in files]
        joints = [joint(f"j{i}", "one", f[:-4]) for i, f in enumerate(files[1:])]
        path = write(tmp_path / "model.urdf", robot(*links, *joints))
    message = refusal(path)
    assert "one.stl" in message and "two.stl" in message and "here.stl" not in message
    assert str(tmp_path) in message


BAD_MESHES = {
    "pointer.stl": (LFS, "git lfs pull"),
    "page.stl": (b"<!DOCTYPE html><html>", "web page"),
    "arm.dae": (b"<COLLADA/>", "trimesh"),
    "ascii.stl": (b"solid x\nfacet normal 0 0 1\n" + b" " * 90, "trimesh"),
    "short.stl": (stl(0.1)[:-60], "cut short"),
    "nothing.obj": (b"", "empty"),
}


@pytest.mark.parametrize("name", BAD_MESHES)
def test_a_mesh_that_is_none_is_named(name: str, tmp_path: Path) -> None:
    data, words = BAD_MESHES[name]
    write(tmp_path / name, data)
    message = refusal(write(tmp_path / "model.xml", meshes(name)))
    assert name in message and words in message


@pytest.mark.parametrize("kind", ["mjcf", "urdf"])
def test_meshes_in_millimetres_are_told_by_the_size_of_the_whole(kind: str, tmp_path: Path) -> None:
    """A tetrahedron of 200 mm, its box given in closed form, is right with the remedy."""
    write(tmp_path / "part.stl", stl(200.0))

    def model(scale: str) -> Path:
        """Writes the model with a scale of its meshes."""
        if kind == "mjcf":
            return write(tmp_path / "model.xml", meshes("part.stl", scale=scale))
        parts = (link("a", "part.stl", scale), link("b", "part.stl", scale), joint("j", "a", "b"))
        return write(tmp_path / "model.urdf", robot(*parts))

    assert 'scale="0.001 0.001 0.001"' in refusal(model("1 1 1"))
    loaded = load(model("0.001 0.001 0.001")).model
    vertices = loaded.mesh_vert[: loaded.mesh_vertnum[0]]
    longest = np.linalg.norm(vertices[:, None] - vertices[None], axis=-1).max()
    assert longest == pytest.approx(0.2 * np.sqrt(2), rel=1e-5)


def test_packages_are_found_above_and_each_file_is_a_mesh(tmp_path: Path) -> None:
    """MuJoCo alone would take visual/arm.stl for collision/arm.stl, too: their name is one."""
    package = tmp_path / "ws" / "my_robot"
    for folder, length in (("visual", 0.1), ("collision", 0.3)):
        write(package / "meshes" / folder / "arm.stl", stl(length))
    arm = link("arm", "package://my_robot/meshes/visual/arm.stl").replace(
        '<collision><geometry><mesh filename="package://my_robot/meshes/visual',
        '<collision><geometry><mesh filename="package://my_robot/meshes/collision',
    )
    path = write(package / "urdf" / "r.urdf", robot(link("base"), arm, joint("j", "base", "arm")))
    loaded = load(path)
    assert {file.parent.name for _, file in loaded.meshes} == {"visual", "collision"}
    assert any("package://my_robot" in note for note in loaded.notes)
    m = loaded.model
    seen, touched = (m.geom_rbound[m.geom_contype == kind] for kind in (0, 1))
    assert touched / seen == pytest.approx(3.0, rel=1e-4)


def test_a_urdf_keeps_links_and_looks_and_weighs_what_mujoco_says(tmp_path: Path) -> None:
    write(tmp_path / "part.stl", stl(0.1))
    text = robot(
        link("base", "part.stl"),
        link("arm", "part.stl"),
        link("tool"),
        joint("j", "base", "arm"),
        joint("f", "arm", "tool", kind="fixed"),
    )
    path = write(tmp_path / "r.urdf", text)
    mine, plain = load(path).model, mujoco.MjModel.from_xml_path(str(path))
    assert [mine.body(i).name for i in range(mine.nbody)] == ["world", "base", "arm", "tool"]
    assert mine.ngeom == 4 > plain.ngeom
    arm = mine.body("arm").id
    assert mine.body_subtreemass[arm] == pytest.approx(plain.body_subtreemass[-1])
    np.testing.assert_allclose(mine.jnt_range, plain.jnt_range)


def test_mjcf_is_read_as_mujoco_reads_it(tmp_path: Path) -> None:
    """Comments that only MuJoCo's parser takes, too."""
    model = make_task("lift").mj_model
    mujoco.mj_saveLastXML(str(tmp_path / "lift.xml"), model)
    text = (tmp_path / "lift.xml").read_text()
    path = write(tmp_path / "lift.xml", text.replace("<worldbody>", "<!-- a -- b --><worldbody>"))
    loaded = load(path)
    plain = mujoco.MjModel.from_xml_path(str(path))
    for field in ("body_mass", "geom_size", "jnt_range", "actuator_gainprm"):
        np.testing.assert_array_equal(getattr(loaded.model, field), getattr(plain, field))
