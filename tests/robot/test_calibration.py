"""A calibration gives the angles that encoder counts mean, from LeRobot's file and ours."""

import json
import math
from pathlib import Path

import pytest

from mjx_s2r.contract import ContractError
from mjx_s2r.robot.calibration import JointCalibration, read_calibration
from tests.robot.fakes import write_calibration

ONE = {"id": 1, "drive_mode": 0, "homing_offset": -12}
LEROBOT = {
    "shoulder_pan": ONE | {"range_min": 758, "range_max": 3292},
    "gripper": ONE | {"id": 6, "range_min": 2030, "range_max": 3489},
}


def angle(count: float, middle: float) -> float:
    """Returns what an encoder of 4096 counts per turn means, rad."""
    return 2 * math.pi * (count - middle) / 4096


def test_lerobots_file(tmp_path: Path) -> None:
    path = tmp_path / "arm.json"
    path.write_text(json.dumps(LEROBOT))
    pan, gripper = read_calibration(path, names={"shoulder_pan": "pan"})
    assert (pan.joint, pan.motor, gripper.joint) == ("pan", "shoulder_pan", "gripper")
    for count in (758, 1000, 2025, 3292):
        value = 200 * (count - 758) / (3292 - 758) - 100  # LeRobot's RANGE_M100_100
        assert pan.to_joint(value) == pytest.approx(angle(count, (758 + 3292) / 2), abs=1e-12)
        assert pan.to_motor(pan.to_joint(value)) == pytest.approx(value, abs=1e-9)
    for count in (2030, 3000, 3489):
        value = 100 * (count - 2030) / (3489 - 2030)  # RANGE_0_100
        assert gripper.to_joint(value) == pytest.approx(angle(count, 2030), abs=1e-12)
    assert pan.ends == pytest.approx((angle(758, 2025), angle(3292, 2025)))
    assert gripper.ends == pytest.approx((0, angle(3489, 2030)))


def test_degrees(tmp_path: Path) -> None:
    path = tmp_path / "arm.json"
    path.write_text(json.dumps(LEROBOT))
    pan, gripper = read_calibration(path, degrees=True)
    assert pan.to_joint(90.0) == pytest.approx(math.pi / 2)
    assert (pan.unit, gripper.unit) == ("degrees", "range_0_100")
    value = (3000 - 2025) * 360 / 4095  # LeRobot divides by one less than a turn
    assert pan.to_joint(value) == pytest.approx(angle(3000, 2025), abs=2 * math.pi / 4096)


def test_our_file(tmp_path: Path) -> None:
    path = tmp_path / "arm.toml"
    path.write_text(
        '[joints.lift]\nmotor = "shoulder_lift"\nunit = "range_m100_100"\n'
        "range_min = 1024\nrange_max = 3072\nsign = -1\nzero = 0.25\n"
        '[joints.jaw]\nunit = "range_0_100"\nspan = 0.04\n'
    )
    lift, jaw = read_calibration(path)
    assert lift.to_joint(100.0) == pytest.approx(0.25 - math.pi / 2)
    assert lift.to_joint(0.0) == 0.25 and lift.motor == "shoulder_lift"
    assert jaw.to_joint(50.0) == pytest.approx(0.02) and jaw.ends == (0.0, 0.04)
    write_calibration(tmp_path / "again.json", (lift, jaw))
    assert read_calibration(tmp_path / "again.json") == (lift, jaw)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("not json", "no calibration file"),
        ("{}", "no calibration"),
        ('{"joints": {"a": {"range_min": 5, "range_max": 5}}}', "range_min 5 is not below"),
        ('{"joints": {"a": {"unit": "grad"}}}', "unit 'grad' must be"),
        ('{"joints": {"a": {"range_mn": 5}}}', "did you mean 'range_min'"),
        ('{"joints": {"a": {"sign": 2}}}', "sign 2"),
        ('{"joints": {"a": {"zero": NaN}}}', "zero nan must be a finite"),
        ('{"joints": {"a": {"motor": "x"}, "b": {"motor": "x"}}}', "motor 'x' twice"),
        ('{"joints": [1]}', "no table 'joints'"),
    ],
)
def test_refusals(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(ContractError, match=message):
        read_calibration(tmp_path / "a.json")
    with pytest.raises(ContractError, match="no calibration file"):
        read_calibration(tmp_path / "missing.json")


def test_a_wrong_motor_name_lists_the_near_ones(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps(LEROBOT))
    with pytest.raises(ContractError, match="did you mean 'shoulder_pan'"):
        read_calibration(tmp_path / "a.json", names={"shoulder_pn": "pan"})


def test_the_mapping_reads() -> None:
    line = JointCalibration("pan", "m1", range_min=1024, range_max=3072, sign=-1).describe()
    assert line.startswith("pan <- m1 (range_m100_100, turned around): -1.571 to +1.571")
