"""The page about the robot: its table of causes and its commands are those of the code."""

import re
import shlex
from dataclasses import fields
from pathlib import Path
from typing import get_args

import pytest

from mjx_s2r.robot.calibration import JointCalibration, MotorUnit, read_calibration
from mjx_s2r.robot.cli.inspect import HEAD, cause_rows
from mjx_s2r.robot.cli.main import VERBS
from mjx_s2r.robot.cli.parser import Parser
from mjx_s2r.robot.safety import CAUSES
from mjx_s2r.robot.stages import STAGES
from mjx_s2r.robot.table import markdown_table

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "robot.md").read_text()
COMMANDS = sorted(
    {
        found
        for page in DOCS.glob("*.md")
        for found in re.findall(r"^mjx-s2r-robot (\w+) ([^#\n]*)", page.read_text(), re.M)
    }
)


def test_the_table_of_causes_is_the_codes() -> None:
    _, _, rest = PAGE.partition("<!-- mjx-s2r-robot inspect causes --markdown -->\n")
    assert rest.partition("<!-- end of causes -->")[0].strip().splitlines() == markdown_table(
        HEAD, cause_rows()
    )
    assert len({c.code for c in CAUSES}) == len(CAUSES)


@pytest.mark.parametrize(("verb", "words"), COMMANDS)
def test_every_command_can_be_read(verb: str, words: str) -> None:
    """Options that the page shows exist; nothing is run."""
    import importlib

    parser = Parser(verb, VERBS[verb])
    importlib.import_module(f"mjx_s2r.robot.cli.{verb}").VERB.add(parser)
    parser.read(shlex.split(words))


def test_the_stages_are_the_codes() -> None:
    rows = re.findall(r"^\| (\d+) % \|", PAGE, re.M)
    assert [int(x) for x in rows] == [round(100 * s.fraction) for s in STAGES]


def test_the_calibrations_on_the_page_load(tmp_path: Path) -> None:
    """Ours and LeRobot's; the page names every key, and says what two values come to."""
    page = (DOCS / "own_driver.md").read_text().partition("## Calibration of joints\n")[2]
    ours, theirs = tmp_path / "arm.toml", tmp_path / "arm.json"
    ours.write_text(page.partition("```toml\n")[2].partition("```")[0])
    theirs.write_text(page.partition("```json\n")[2].partition("```")[0])
    shoulder, jaw = read_calibration(ours)
    assert (shoulder.motor, jaw.motor) == ("shoulder_pan", "gripper")
    assert shoulder.to_joint(0.0) == pytest.approx(0.05)
    assert jaw.to_joint(50.0) == pytest.approx(0.02)
    units = [(x.motor, x.unit) for x in read_calibration(theirs)]
    assert units == [("shoulder_pan", "range_m100_100"), ("gripper", "range_0_100")]
    named = "".join(re.findall(r"^\|([^|]*)\|", page, re.M))
    keys = [f.name for f in fields(JointCalibration)]
    assert all(f"`{key}`" in named for key in keys[1:]), keys
    assert all(f"`{unit}`" in page for unit in get_args(MotorUnit))
