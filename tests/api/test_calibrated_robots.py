"""Calibrating a stand-in's camera: what is flown, what is left out, what the policy then sees."""

from types import SimpleNamespace
from typing import Any

import mujoco
import numpy as np
import pytest

from mjx_s2r.api import calibrated_robots
from mjx_s2r.api.calibrated_robots import calibrated_cameras
from mjx_s2r.envs.reach import Reach
from mjx_s2r.envs.reach_robots import rehearsal
from mjx_s2r.eval.stand_ins import stand_ins
from mjx_s2r.transfer.camera.calibrate import CameraSettings
from mjx_s2r.transfer.camera.pictures import CalibrationError, PosedPictures


def _camera(model: mujoco.MjModel, data: mujoco.MjData, name: str) -> np.ndarray:
    """Returns a picture whose upper left pixel is the shoulder's angle, and one that never rests.

    The guard takes a camera for frozen that shows the same again and again.
    """
    picture = np.full((64, 64, 3), 90, np.uint8)
    picture[0, 0] = round(100 + 50 * float(data.joint("shoulder_pan").qpos[0]))
    picture[-1, -1] = round(1000 * data.time) % 256
    return picture


def test_a_robot_rests_in_many_poses_and_its_pictures_are_calibrated_from(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told: list[tuple[PosedPictures, CameraSettings]] = []

    def calibrate(task: Any, name: str, pictures: PosedPictures, settings: CameraSettings) -> Any:
        assert name == "front"
        told.append((pictures, settings))
        return SimpleNamespace(calibration="found")

    monkeypatch.setattr(calibrated_robots, "calibrate_camera", calibrate)
    task = Reach()
    (robot,) = stand_ins(task, [rehearsal(0)])
    assert calibrated_cameras(robot, task, task.contract, 6, _camera) == ("found",)
    pictures, settings = told[0]
    assert settings.unknown == ("cube",) and settings.most_pictures == 6
    shoulder = pictures.joint_pos[:, pictures.joints.index("shoulder_pan")]
    shown = (pictures.images[:, 0, 0, 0].astype(float) - 100) / 50
    assert np.ptp(shoulder) > 0.5, "it moves"
    assert np.abs(shown - shoulder).max() < 0.1, "pictures stand beside their own pose"


def test_pictures_that_do_not_inform_leave_the_camera_as_it_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(*given: Any) -> None:
        raise CalibrationError("they show nothing")

    monkeypatch.setattr(calibrated_robots, "calibrate_camera", refuse)
    task = Reach()
    (robot,) = stand_ins(task, [rehearsal(0)])
    assert calibrated_cameras(robot, task, task.contract, 4, _camera) == ()
    with pytest.raises(CalibrationError):
        calibrated_cameras(robot, task, task.contract, 3, _camera)
