"""Pictures that do not inform are refused before any fit, by name."""

from pathlib import Path

import mujoco
import numpy as np
import pytest

from mjx_s2r.params import ParamError
from mjx_s2r.robot.log.png import encode_png
from mjx_s2r.transfer.camera.pictures import (
    CalibrationError,
    PosedPictures,
    informed_positions,
    pictures_of_folder,
    spread_out,
)

MODEL = """
<mujoco><compiler angle="radian" autolimits="true"/><worldbody><body>
  <joint name="pan" range="-2 2"/><geom size=".1"/>
  <body pos=".2 0 0"><joint name="lift" range="-1.5 1.5"/><geom size=".1"/></body>
</body></worldbody></mujoco>
"""
SIZE = (16, 24)


@pytest.fixture(scope="module")
def model() -> mujoco.MjModel:
    """Two joints."""
    return mujoco.MjModel.from_xml_string(MODEL)


def _pictures(images: np.ndarray, joint_pos: np.ndarray) -> PosedPictures:
    """Returns pictures of the two joints."""
    names = tuple(f"{i}.png" for i in range(len(images)))
    return PosedPictures(images, joint_pos, ("lift", "pan"), names, "shots")


def _good(count: int = 8) -> tuple[np.ndarray, np.ndarray]:
    """Returns pictures of noise and poses that differ."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 255, (count, *SIZE, 3)).astype(np.uint8)
    return images, rng.uniform(-1, 1, (count, 2))


def test_positions_go_to_the_joints_of_their_names(model: mujoco.MjModel) -> None:
    images, joint_pos = _good()
    qpos = informed_positions(_pictures(images, joint_pos), model, SIZE)
    assert np.array_equal(qpos, joint_pos[:, ::-1])


def test_what_does_not_inform_is_refused(model: mujoco.MjModel) -> None:
    images, joint_pos = _good()
    blank = images.copy()
    blank[3] = 7
    cases = [
        (blank, joint_pos, SIZE, r"3\.png.*blank"),
        (images, joint_pos, (16, 16), "24x16.*16x16"),
        (images, 0 * joint_pos + 0.3, SIZE, "1 pose "),
        (images, np.where(np.arange(8)[:, None] < 6, 0.1, joint_pos), SIZE, "3 poses"),
        (np.repeat(images[:1], 8, 0), joint_pos, SIZE, "do not change"),
        (images, np.rad2deg(joint_pos), SIZE, r"degrees: divide them by 57\.3"),
        (images, 20 * joint_pos / np.abs(joint_pos).min(), SIZE, "radians"),
    ]
    for pictures, poses, size, words in cases:
        with pytest.raises(CalibrationError, match=words):
            informed_positions(_pictures(pictures, poses), model, size)


def test_an_unknown_joint_lists_the_near_ones(model: mujoco.MjModel) -> None:
    images, joint_pos = _good()
    other = PosedPictures(images, joint_pos, ("lft", "pan"), ("",) * 8, "shots")
    with pytest.raises(ParamError, match="lift"):
        informed_positions(other, model, SIZE)


def test_a_folder_is_read_by_its_table(tmp_path: Path) -> None:
    images, joint_pos = _good(5)
    lines = ["picture,lift,pan"]
    for number, (image, (lift, pan)) in enumerate(zip(images, joint_pos, strict=True)):
        (tmp_path / f"{number}.png").write_bytes(b"".join(encode_png(image)))
        lines.append(f"{number}.png,{lift!r},{pan!r}".replace("np.float64(", "").replace(")", ""))
    table = tmp_path / "joints.csv"
    table.write_text("\n".join(lines))
    read = pictures_of_folder(tmp_path, table)
    assert np.array_equal(read.images, images) and np.array_equal(read.joint_pos, joint_pos)
    assert read.joints == ("lift", "pan")
    (tmp_path / "2.png").write_bytes(b"".join(encode_png(images[2][:8])))
    with pytest.raises(CalibrationError, match=r"2\.png is 24x8"):
        pictures_of_folder(tmp_path, table)
    (tmp_path / "2.png").unlink()
    with pytest.raises(CalibrationError, match="line 4"):
        pictures_of_folder(tmp_path, table)
    table.write_text("file,lift\n")
    with pytest.raises(CalibrationError, match="picture"):
        pictures_of_folder(tmp_path, table)


def test_the_poses_that_are_kept_are_far_apart() -> None:
    """Ten poses in two heaps: of two, one is of each."""
    images, _ = _good(10)
    heaps = np.repeat([[0.0, 0.0], [1.0, 1.0]], 5, axis=0)
    kept = spread_out(_pictures(images, heaps + 0.01 * np.arange(10)[:, None]), 2)
    assert sorted(kept.joint_pos[:, 0].round().tolist()) == [0.0, 1.0]
