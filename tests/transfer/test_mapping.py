"""A mapping file says what it means, or an error that names the key and the near ones."""

import json
import re
from pathlib import Path

import pytest

from mjx_s2r.transfer.mapping import LogFilter, LogMapping, read_mapping
from mjx_s2r.transfer.recording import Channel, RecordingError

GOOD = """
calibration = "arm.toml"

[file]
rows = "entries"
missing = [-999]

[time]
column = "stamp"
unit = "ms"

[commands]
mode = "position"
joints.elbow = { column = "goal", unit = "deg", sign = -1, offset = 0.1 }
joints.wrist = { column = "wrist", unit = "calibrated" }

[readings]
joint_pos.elbow = "q"
sensor.imu = ["gx", "gy", "gz"]

[driven]
column = "torque"
off = ["free"]

[[constants]]
enters = "body_mass.bob"
key = "mass"
files = "a*"

[[choose]]
where = { type = ["step", "ramp"] }

[[keep]]
from_s = 1

[[held_out]]
every = 4
"""
CALIBRATION = '[joints.wrist]\nunit = "degrees"\n'


def mapped(folder: Path, text: str) -> LogMapping:
    """Returns the mapping of a text."""
    (folder / "arm.toml").write_text(CALIBRATION)
    (folder / "map.toml").write_text(text)
    return read_mapping(folder / "map.toml")


def test_what_it_says(tmp_path: Path) -> None:
    mapping = mapped(tmp_path, GOOD)
    assert (mapping.layout.rows, mapping.layout.missing) == ("entries", (-999,))
    assert (mapping.time.column, mapping.time.unit) == ("stamp", "ms")
    elbow = mapping.commands["elbow"]
    assert (elbow.column, elbow.unit, elbow.sign, elbow.offset) == ("goal", "deg", -1, 0.1)
    channels = [x.channel for x in mapping.readings]
    assert channels[0] == Channel("joint_pos", "elbow", 0, "")
    assert channels[1:] == [Channel("sensor", "imu", i, "") for i in range(3)]
    assert mapping.driven.off == ("free",)
    assert mapping.constants[0].applies.files == ("a*",)
    assert mapping.choose[0].where == {"type": ("step", "ramp")}
    assert (mapping.keep[0].from_s, mapping.held_out[0].applies.every) == (1.0, 4)
    assert mapping.calibration["wrist"].unit == "degrees"


def test_json_says_the_same(tmp_path: Path) -> None:
    body = {"time": {"rate_hz": 50}, "readings": {"joint_pos": {"elbow": "q"}}}
    (tmp_path / "map.json").write_text(json.dumps(body))
    mapping = read_mapping(tmp_path / "map.json")
    assert mapping.time.rate_hz == 50.0 and mapping.readings[0].source.column == "q"


WRONG = {
    "[times]": "unknown table 'times'; did you mean 'time'",
    '[time]\ncolum = "t"': "unknown key of time 'colum'; did you mean 'column'",
    '[time]\ncolumn = "t"\nrate_hz = 5': "both column and rate_hz",
    "[time]\ncolumn = 5": "time.column is 5 and must be a str",
    '[time]\ncolumn = "t"\nunit = "hours"': "time.unit: unknown word 'hours'",
    '[commands]\nmode = "torque"': "unknown mode 'torque'",
    '[commands]\njoints.a = "q"': r"\[readings\] names no column",
    '[readings]\njoint_pos.a = { column = "q", unit = "degree" }': "unknown unit 'degree'; did you",
    '[readings]\njoint_pos.a = { column = "q", unit = "N m" }': "is one of torque",
    '[readings]\njoint_pos.a = { column = "q", unit = "counts" }': "needs counts_per_turn",
    '[readings]\njoint_pos.a = { column = "q", unit = "percent" }': "needs range",
    '[readings]\njoint_pos.a = { column = "q", unit = "calibrated" }': "the calibration 'a'",
    '[readings]\njoint_pos.a = { column = "q", sign = 2 }': "sign 2 must be 1 or -1",
    '[readings]\njoint_pos.a = { unit = "deg" }': "lacks 'column'",
    '[readings]\njoint_pos.a = ["q", "p"]': "has 2 columns",
    "[readings]\njoint_pos = 3": "must be a table",
    '[readings]\nposition.a = "q"': "unknown kind",
    '[[constants]]\nenters = "mass"\nkey = "mass"': "must read ARRAY.ELEMENT",
    "[[keep]]\nfrom_s = 5\nto_s = 2": "must be below",
    "[[choose]]\nevery = 0": "must be at least 1",
    "[[choose]]\nform_s = 1": "unknown key",
    "keep = 3": "must be tables",
    'calibration = "none.toml"': "no calibration file",
    "[time": "no mapping file",
}


@pytest.mark.parametrize("text", WRONG)
def test_mistakes_are_named(tmp_path: Path, text: str) -> None:
    with pytest.raises(RecordingError, match=WRONG[text]) as error:
        mapped(tmp_path, text)
    assert "map.toml" in str(error.value)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(RecordingError, match=r"none\.toml"):
        read_mapping(tmp_path / "none.toml")


def test_the_mappings_of_the_page_can_be_read(tmp_path: Path) -> None:
    page = Path(__file__).parents[2] / "docs/recordings.md"
    mappings = re.findall(r"```toml\n(.*?)```", page.read_text(), re.S)
    assert len(mappings) == 4
    for text in mappings:
        assert mapped(tmp_path, text).readings


def test_a_rule_is_about_clips() -> None:
    rule = LogFilter(files=("a*",), where={"type": ("step",), "parts": ("kp",)}, every=2)
    head = {"type": "step", "parts": ("kp", "tau")}
    assert rule.matches("a.json", 4, head)
    assert not rule.matches("b.json", 4, head)
    assert not rule.matches("a.json", 5, head)
    assert not rule.matches("a.json", 4, head | {"type": "ramp"})
    assert not LogFilter(clips=(1, 2)).matches("a.json", 3, head)
    with pytest.raises(RecordingError, match="unknown field 'type'; did you mean 'typ'"):
        rule.matches("a.json", 4, {"typ": "step"})
