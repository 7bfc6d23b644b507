"""``run --camera-calibration``: pictures are turned for the policy, and again in a replay."""

from dataclasses import replace
from pathlib import Path

import pytest

from mjx_s2r.robot.camera_warp import CameraCalibration, Lens
from mjx_s2r.robot.cli.main import main
from mjx_s2r.robot.cli.parser import OK, WRONG
from mjx_s2r.robot.log import read
from tests.robot.fakes import CAMERA, contract_for, write_onnx


@pytest.fixture
def policy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A policy with a camera; flights and robots are kept in the test's folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MJX_S2R_ROBOTS", str(tmp_path / "robots"))
    camera = replace(CAMERA, rate_hz=20.0)
    seeing = replace(contract_for(cameras=True), control_hz=50.0, cameras=(camera,))
    return str(write_onnx(tmp_path / "policy.onnx", seeing))


def test_a_flight_with_a_calibration_is_replayed_bit_by_bit(policy: str, tmp_path: Path) -> None:
    lens = Lens(50.0), Lens(56.0)
    calibration = CameraCalibration(CAMERA.name, CAMERA.height, CAMERA.width, *lens)
    calibration.save("camera.json")
    line = ["run", policy, "--driver", "bench", "--virtual", "--seconds", "2"]
    assert main([*line, "--camera-calibration", "camera.json"]) == OK
    (path,) = (tmp_path / "flights").rglob("episode-1.log")
    logged = read(path).config["calibrations"]
    assert [CameraCalibration.of_json(one) for one in logged] == [calibration]
    assert main(["replay", str(path), policy]) == OK


def test_a_calibration_of_another_camera_is_refused(
    policy: str, capsys: pytest.CaptureFixture[str]
) -> None:
    CameraCalibration("frnt", CAMERA.height, CAMERA.width, Lens(50.0), Lens(50.0)).save("c.json")
    line = ["run", policy, "--driver", "bench", "--virtual", "--camera-calibration", "c.json"]
    assert main(line) == WRONG
    assert "did you mean 'front'" in capsys.readouterr().err
