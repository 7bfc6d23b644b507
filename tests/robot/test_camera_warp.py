"""A calibrated camera's picture turned into the model camera's, against MuJoCo's own pictures."""

import json
import time
from dataclasses import replace
from pathlib import Path

import mujoco
import numpy as np
import pytest

from mjx_s2r.contract import CameraSignal, ContractError, PolicyContract
from mjx_s2r.robot.camera_warp import (
    CameraCalibration,
    CameraWarp,
    Lens,
    distorted,
    read_calibrations,
    undistorted,
)
from mjx_s2r.robot.frames import FrameStack
from tests.robot.fakes import contract_for

SCENE = """
<mujoco>
  <visual><global offwidth="256" offheight="256"/><quality offsamples="8"/></visual>
  <asset><texture name="t" type="2d" builtin="checker" rgb1=".9 .7 .3" rgb2=".2 .3 .6"
    width="64" height="64"/><material name="t" texture="t" texrepeat="3 3" texuniform="true"/>
  </asset>
  <worldbody>
    <light pos="0 0 3" dir="0 0 -1" directional="true"/>
    <geom type="plane" size="5 5 .1" material="t"/>
    <geom type="sphere" size=".2" pos=".1 .1 .2" rgba=".8 .1 .1 1"/>
    <camera name="front" pos="0 -1 1.2" xyaxes="1 0 0 0 .75 .66" fovy="50"/>
  </worldbody>
</mujoco>
"""
TURN, FOVY = (0.04, -0.05, 0.03), 4.0
SIZE = 64


def _picture(turn: tuple[float, ...], fovy: float, size: int) -> np.ndarray:
    """Returns what MuJoCo draws with a turned camera: (size, size, 3) uint8."""
    model = mujoco.MjModel.from_xml_string(SCENE)
    angle, quat, out = float(np.linalg.norm(turn)), np.zeros(4), np.zeros(4)
    mujoco.mju_axisAngle2Quat(quat, np.array(turn) / max(angle, 1e-9), angle)
    mujoco.mju_mulQuat(out, model.cam_quat[0], quat)
    model.cam_quat[0], model.cam_fovy[0] = out, 50 + fovy
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    with mujoco.Renderer(model, size, size) as renderer:
        renderer.update_scene(data, "front")
        return renderer.render().copy()


def _calibration(**changes: object) -> CameraCalibration:
    """Returns the calibration of that camera."""
    plain = CameraCalibration("front", SIZE, SIZE, Lens(50.0), Lens(50.0 + FOVY), turn_rad=TURN)
    return replace(plain, **changes)


SIGNAL = CameraSignal("front", SIZE, SIZE, 25.0)


def test_a_turned_camera_is_turned_back() -> None:
    nominal, real = _picture((0, 0, 0), 0.0, SIZE), _picture(TURN, FOVY, SIZE)
    warped = CameraWarp(_calibration(), SIGNAL)(real)
    inner = (slice(8, -8), slice(8, -8))
    before = np.abs(nominal[inner].astype(float) - real[inner]).mean()
    after = np.abs(nominal[inner].astype(float) - warped[inner]).mean()
    assert after < 0.2 * before


def test_nothing_measured_changes_nothing() -> None:
    real = _picture((0, 0, 0), 0.0, SIZE)
    warp = CameraWarp(_calibration(measured=Lens(50.0), turn_rad=(0.0, 0.0, 0.0)), SIGNAL)
    assert np.array_equal(warp(real), real)


def test_depth_becomes_that_along_the_model_cameras_axis() -> None:
    """A wall z = 1 m before the model's camera, seen by one that is turned by 0.1 about x."""
    signal = CameraSignal("front", SIZE, SIZE, 25.0, kind="depth", near=0.1, far=9.0)
    calibration = _calibration(measured=Lens(50.0), turn_rad=(0.1, 0.0, 0.0))
    y = (SIZE / 2 - np.arange(SIZE) - 0.5) / (SIZE / 2) * np.tan(np.deg2rad(25))
    # A ray (x, y, -1) of the turned camera has z = -(y sin a + cos a) ... in the model's frame.
    along = np.cos(0.1) - y * np.sin(0.1)
    depth = np.repeat((1 / along)[:, None], SIZE, axis=1).astype(np.float32)[..., None]
    warped = CameraWarp(calibration, signal)(depth)
    assert np.abs(warped[8:-8, 8:-8] - 1.0).max() < 0.01


def test_the_lens_is_inverted() -> None:
    x, y = np.meshgrid(np.linspace(-0.8, 0.8, 9), np.linspace(-0.6, 0.6, 7))
    for k in ((-0.2, 0.0), (0.15, 0.05)):
        again = undistorted(*distorted(x, y, k), k)
        assert np.abs(np.stack(again) - np.stack((x, y))).max() < 1e-6


def test_it_is_fast_enough_for_a_control_step() -> None:
    warp, picture = CameraWarp(_calibration(), SIGNAL), np.zeros((SIZE, SIZE, 3), np.uint8)
    times = []
    for _ in range(30):
        began = time.perf_counter()
        warp(picture)
        times.append(time.perf_counter() - began)
    assert min(times) < 1e-3


def test_what_is_left_of_an_offset() -> None:
    """2 cm at 0.5 m, focal length 32 / tan(25 degrees) = 68.6 px: 2.74 px."""
    assert _calibration(offset_m=(0.0, 0.0, 0.02)).parallax_px(0.5) == pytest.approx(
        2.745, abs=0.01
    )


def _contract() -> PolicyContract:
    """Returns a contract whose camera is called front."""
    return replace(contract_for(), cameras=(SIGNAL,))


def test_files_are_read_back_and_refused_by_name(tmp_path: Path) -> None:
    path, contract = tmp_path / "camera.json", _contract()
    one = _calibration(interval={"camera_x": (-0.01, 0.01)})
    one.save(path)
    assert read_calibrations((path,), contract) == (one,)
    with pytest.raises(ContractError, match="twice"):
        read_calibrations((path, path), contract)
    _calibration(camera="frnt").save(path)
    with pytest.raises(ContractError, match="front"):
        read_calibrations((path,), contract)
    _calibration(width=80).save(path)
    with pytest.raises(ContractError, match="80x64"):
        read_calibrations((path,), contract)
    path.write_text(json.dumps({"format": "mjx_s2r posterior 1"}))
    with pytest.raises(ContractError, match=r"camera\.json"):
        read_calibrations((path,), contract)
    with pytest.raises(ContractError, match="field of view"):
        CameraCalibration("front", 64, 64, Lens(float("nan")), Lens(50.0))


def test_the_policy_sees_the_warped_picture() -> None:
    contract = _contract()
    real = _picture(TURN, FOVY, SIZE)
    warp = CameraWarp(_calibration(), SIGNAL)
    seen = FrameStack(contract, {"front": warp}).push({"front": real}, {"front": 0.0})
    assert np.array_equal(seen["front"], warp(real))
