"""A task file for a robot: it binds, it is formatted, it says what was chosen, or says why not."""

import re
import subprocess
import sys
from pathlib import Path

import mujoco
import numpy as np
import pytest

from mjx_s2r.envs.registry import make_task
from mjx_s2r.newtask.robot_facts import find_tip, robot_facts, standing_height
from mjx_s2r.newtask.task_writer import NewTask, write_new_task
from mjx_s2r.params import ParamError
from mjx_s2r.sim.backends.physics_config import ModelError
from mjx_s2r.sim.model.workspace import reachable_points, widest_layer
from train.new import next_steps

ROOT = Path(__file__).parents[2]
ARM = """<mujoco model="small"><option timestep="0.01"/><compiler angle="radian"/>
  <worldbody><light name="lamp" pos="0 0 2" dir="0 0 -1" directional="true"/>
  <camera name="front" pos="0.5 -1.5 0.4" xyaxes="1 0 0 0 0.2 1" fovy="60"/>
  <body name="base"><geom type="box" size="0.05 0.05 0.02" mass="1"/>
    <body name="upper" pos="0 0 0.1">
      <joint name="lift" axis="0 1 0" range="-1.5 0.5" damping="0.5"/>
      <geom type="capsule" fromto="0 0 0 0.3 0 0" size="0.02" mass="0.3" contype="0"/>
      <body name="fore arm" pos="0.3 0 0">
        <joint name="bend" axis="0 1 0" range="-2 2" damping="0.5"/>
        <geom type="capsule" fromto="0 0 0 0.25 0 0" size="0.02" mass="0.2" contype="0"/>{site}
      </body></body></body></worldbody>
  <actuator>{actuators}</actuator></mujoco>"""
SERVOS = (
    '<position name="lift" joint="lift" kp="30" kv="1" forcerange="-9 9"/>'
    '<position name="bend" joint="bend" kp="20" kv="1" forcerange="-5 5"/>'
)
DOG = """<mujoco><option timestep="0.005"/><worldbody>
  <body name="trunk" pos="0 0 1"><freejoint/><geom type="box" size="0.2 0.1 0.05" mass="3"/>
    {legs}</body></worldbody><actuator>{motors}</actuator></mujoco>"""
LEG = """<body name="leg{i}" pos="{x} {y} 0">
  <joint name="hip{i}" axis="0 1 0" range="-60 60" armature="0.01" damping="0.3"/>
  <geom type="capsule" fromto="0 0 0 0 0 -0.25" size="0.02" mass="0.3"/></body>"""
MOTOR = '<position name="hip{i}" joint="hip{i}" kp="40" kv="1" forcerange="-20 20"/>'


def arm(actuators: str = SERVOS, site: str = "") -> str:
    """Returns an arm of two links."""
    return ARM.format(actuators=actuators, site=site)


def dog() -> str:
    """Returns a trunk on four legs of one joint each, without a floor."""
    places = enumerate((x, y) for x in (-0.15, 0.15) for y in (-0.12, 0.12))
    legs = "".join(LEG.format(i=i, x=x, y=y) for i, (x, y) in places)
    return DOG.format(legs=legs, motors="".join(MOTOR.format(i=i) for i in range(4)))


def clean(new: NewTask) -> str:
    """Returns what the linter and the formatter of the project find in both files."""
    said = ""
    for words in (("check", "--ignore", "D103"), ("format", "--check", "--diff")):
        own = f"lint.isort.known-first-party=['mjx_s2r', '{new.name}']"
        line = [sys.executable, "-m", "ruff", words[0], "--config", str(ROOT / "pyproject.toml")]
        line += ["--no-cache", "--config", own, *words[1:], str(new.file), str(new.test)]
        done = subprocess.run(line, capture_output=True, text=True, check=False)
        said += "" if done.returncode == 0 else done.stdout + done.stderr
    return said


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> NewTask:
    """The task of an arm, in a folder beside that of its model; a ball lies there, too."""
    folder = tmp_path_factory.mktemp("new")
    (folder / "my_robot").mkdir()
    ball = '<body name="ball" pos="1 0 1"><freejoint/><geom size="0.1" mass="1"/></body>'
    text = arm().replace("</worldbody>", f"{ball}</worldbody>")
    (folder / "my_robot" / "robot.xml").write_text(text)
    return write_new_task("small_arm", folder / "my_robot" / "robot.xml", folder / "tasks")


def test_the_file_is_formatted_and_says_what_was_chosen(written: NewTask) -> None:
    assert clean(written) == ""
    text = written.file.read_text()
    assert 'FILE = Path(__file__).parent / "../my_robot/robot.xml"' in text
    assert "Kind arm: its base stands fixed." in text and "Camera: front." in text
    assert written.facts.kind == "arm" and '"ball"' not in text, "what floats is no robot"


def test_a_row_that_does_nothing_is_left_out_with_the_reason(written: NewTask) -> None:
    """All joints of this arm turn about y, so its mass may lie where it likes along y."""
    assert len(written.left_out) == 1
    assert re.match(
        "parameter 'com_y' randomizes body_ipos of 'fore arm': it changes nothing",
        written.left_out[0],
    )
    text = written.file.read_text()
    assert '"com_x"' in text and '"com_z"' in text and '"com_y"' not in text


def test_the_written_task_is_one(written: NewTask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(written.file.parent))
    task = make_task("small_arm:SmallArm")
    assert task.name == "small_arm" and len(task.space) == written.rows
    assert task.contract.action.joints == ("lift", "bend")
    assert task.contract.cameras[0].name == "front"
    assert (task.substeps, task.contract.control_hz) == (4, 25.0)
    tip = task.mj_model.site("tip")
    assert task.mj_model.body(int(tip.bodyid[0])).name == "fore arm"
    assert tip.pos == pytest.approx((0.27, 0, 0), abs=1e-3), "the far end of the last link"


@pytest.mark.slow
def test_the_written_test_passes(written: NewTask) -> None:
    line = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(written.test)]
    done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:]


def test_targets_are_where_the_tip_can_be_and_the_camera_looks(written: NewTask) -> None:
    spec = mujoco.MjSpec.from_file(str(written.facts.path))
    spec.body("fore arm").add_site(name="tip", pos=(0.27, 0, 0))
    model = spec.compile()
    points = reachable_points(
        model, "tip", ("lift", "bend"), lowest=0.05, camera="front", count=100
    )
    assert points.shape == (100, 3) and points[:, 2].min() >= 0.05
    assert np.abs(points[:, 1]).max() < 1e-6, "two parallel hinges move the tip in a plane"
    from_shoulder = np.linalg.norm(points - (0, 0, 0.1), axis=1)
    assert from_shoulder.max() <= 0.57 + 1e-6
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    eye = (points - data.cam_xpos[0]) @ data.cam_xmat[0].reshape(3, 3)
    assert (np.abs(eye[:, :2] / eye[:, 2:]) <= np.tan(np.deg2rad(30))).all()
    with pytest.raises(ModelError, match="reaches 0 places from 9 to inf m"):
        reachable_points(model, "tip", ("lift", "bend"), lowest=9.0, count=10)


@pytest.mark.slow
def test_a_robot_that_floats_stands(tmp_path: Path) -> None:
    (tmp_path / "dog.xml").write_text(dog())
    new = write_new_task("small_dog", tmp_path / "dog.xml", tmp_path)
    text = new.file.read_text()
    assert clean(new) == "" and new.left_out == ()
    assert new.facts.kind == "legged" and "HEIGHT = 0.27  # m" in text
    assert 'name="floor"' in text and "cameras=" not in text
    assert any("No camera" in line for line in new.told)
    assert not any("student" in line for line in next_steps(new))


def test_height_and_tip_are_read_off_the_model() -> None:
    model = mujoco.MjModel.from_xml_string(dog())
    facts = robot_facts(Path("dog.xml"), model)
    assert standing_height(facts) == pytest.approx(0.27)
    site = '<site name="marker"/><site name="gripper_tip" pos="0.2 0 0"/>'
    facts = robot_facts(Path("a.xml"), mujoco.MjModel.from_xml_string(arm(site=site)))
    assert find_tip(facts).site == "gripper_tip"


NAMELESS = SERVOS.replace('name="bend" ', "")
REFUSED = {
    "no actuators": (arm(actuators=""), "no actuator that a policy.*none at all.*train prepare"),
    "no name": (arm(actuators=NAMELESS), "actuator number 1 has no name.*train prepare"),
    "no joints": (
        '<mujoco><worldbody><body><geom size="1"/></body></worldbody></mujoco>',
        "no joints.*<joint>",
    ),
    "no model": ("<mujoco", "no whole XML"),
    "nothing": (None, "there is no file"),
}


@pytest.mark.parametrize(("text", "words"), REFUSED.values(), ids=REFUSED.keys())
def test_a_model_without_what_a_task_needs_is_refused(
    text: str | None, words: str, tmp_path: Path
) -> None:
    if text is not None:
        (tmp_path / "robot.xml").write_text(text)
    with pytest.raises(ModelError, match=words) as caught:
        write_new_task("some_arm", tmp_path / "robot.xml", tmp_path)
    assert "\n" not in str(caught.value) and not (tmp_path / "some_arm.py").exists()


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("my-arm", "'my-arm' is no name of a Python module.*e.g. my_arm"),
        ("3dof", "no name of a Python module.*e.g. task_3dof"),
        ("class", "no name of a Python module.*e.g. task_class"),
        ("json", "another Python module .*json.*e.g. my_json"),
        ("reach", "'reach' is that of a task that is there"),
    ],
)
def test_a_name_that_cannot_be_imported_is_refused(name: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(ParamError, match=words):
        write_new_task(name, tmp_path / "robot.xml", tmp_path)


def test_a_file_that_is_there_stays(tmp_path: Path) -> None:
    (tmp_path / "test_old.py").write_text("mine")
    with pytest.raises(ParamError, match=r"test_old.py is there already.*--overwrite"):
        write_new_task("old", tmp_path / "robot.xml", tmp_path)


def test_another_kind_than_the_robots_is_refused(tmp_path: Path) -> None:
    (tmp_path / "robot.xml").write_text(arm())
    with pytest.raises(ModelError, match=r"no legged robot: its base stands fixed"):
        write_new_task("leggy", tmp_path / "robot.xml", tmp_path, kind="legged")


def test_targets_lie_where_a_camera_tells_their_places_apart() -> None:
    """A wide layer at the height of the eye is seen from its edge; one below it is not."""
    rng = np.random.default_rng(0)
    wide = np.column_stack((rng.uniform(-1, 1, (300, 2)), np.full(300, 1.0)))
    narrow = np.column_stack((rng.uniform(-0.5, 0.5, (300, 2)), np.full(300, 0.2)))
    points = np.concatenate((wide, narrow))
    low, high = widest_layer(points, 0.1, np.array((3.0, 0.0, 1.0)))
    assert low <= 0.2 <= high and high - low == pytest.approx(0.1)
    low, high = widest_layer(points, 0.1, np.array((0.0, 0.0, 5.0)))
    assert low <= 1.0 <= high + 1e-9
