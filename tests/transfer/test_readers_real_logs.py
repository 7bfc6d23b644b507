"""The mapping files of docs/recordings.md, on the public recordings that they are about."""

import os
import re
from pathlib import Path

import mujoco
import numpy as np
import pytest

from mjx_s2r.transfer.mapping import read_mapping
from mjx_s2r.transfer.readers import LogBook, read_recordings
from mjx_s2r.transfer.recording_checks import TelemetryReport, check_recordings

ROOT = Path(__file__).parents[2]
LOGS = Path(os.environ.get("MJX_S2R_REALLOGS", ROOT.parent / "shared" / "reallogs"))
ROBOTS = {
    "servo_pendulum": ("servo", "*.json"),
    "servo_arm": ("servo", "*.json"),
    "simple_pendulum": ("pendulum", "*measured*.csv"),
}

pytestmark = pytest.mark.skipif(not LOGS.is_dir(), reason=f"no recordings in {LOGS}")


def examined(robot: str, folder: Path) -> tuple[LogBook, TelemetryReport]:
    """Returns the recordings of one robot by the mapping of the page, and the report on them."""
    joint, pattern = ROBOTS[robot]
    text = (ROOT / "docs/recordings.md").read_text().partition("## Three robots")[2]
    mappings = re.findall(r"```toml\n(.*?)```", text, re.S)
    (folder / "map.toml").write_text(mappings[list(ROBOTS).index(robot)])
    model = mujoco.MjModel.from_xml_string(
        f'<mujoco><worldbody><body name="bob"><joint name="{joint}"/><geom size="0.1"/></body>'
        f'</worldbody><actuator><general name="{joint}" joint="{joint}"/></actuator></mujoco>'
    )
    files = sorted((LOGS / robot).glob(pattern))
    book = read_recordings(files, model, read_mapping(folder / "map.toml"))
    return book, check_recordings(book.recordings, model, book.findings)


def test_servo_pendulum(tmp_path: Path) -> None:
    book, report = examined("servo_pendulum", tmp_path)
    assert len(book.recordings) == 15 and not report.errors
    gains = {r.constants["actuator_kp.servo"] for r in book.recordings}
    assert gains == {32.0, 100.0, 200.0, 400.0}
    assert sum(r.held_out for r in book.recordings) == 4
    falls = [r for r in book.recordings if not r.driven.all()]
    assert len(falls) == 4 and all(r.driven[0] and not r.driven[-1] for r in falls)
    assert report.quantum[0] == pytest.approx(2 * np.pi / 4096, rel=1e-6)
    assert {x.code for x in report.findings} == {"late velocity"}


def test_servo_arm(tmp_path: Path) -> None:
    book, report = examined("servo_arm", tmp_path)
    assert len(book.recordings) == 64 and not report.findings
    falls = [r for r in book.recordings if not r.driven.all()]
    assert [int((~r.driven).sum()) for r in falls] == [249, 249]
    np.testing.assert_allclose(book.recordings[-1].time_s, 0.02 * np.arange(100))
    assert report.quantum[0] == pytest.approx(2 / 4095, rel=1e-6)  # a 12-bit converter over 2 rad


def test_simple_pendulum(tmp_path: Path) -> None:
    book, report = examined("simple_pendulum", tmp_path)
    assert len(book.recordings) == 9 and not report.findings
    held_out = [(r.name, round(r.seconds)) for r in book.recordings if r.held_out]
    assert held_out == [
        ("control_method_energy_shaping_data_measured.csv part 1", 10),
        ("control_method_sac_data_measured.csv", 40),
    ]
    assert {r.mode for r in book.recordings} == {"effort"}
