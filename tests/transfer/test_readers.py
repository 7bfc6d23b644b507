"""Logs of text and arrays give back the numbers that were written, in SI units and cut in time."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mjx_s2r.transfer.log_units import LOG_UNITS
from mjx_s2r.transfer.mapping import read_mapping
from mjx_s2r.transfer.readers import LogBook, read_recordings
from mjx_s2r.transfer.recording import RecordingError
from tests.transfer.logged_arm import arm

ROWS = 30
TIME = np.arange(ROWS) * 0.02
SENT = np.sin(TIME)
READ = np.sin(TIME) - 0.1
COLUMNS = (
    '[time]\ncolumn = "t"\n[commands]\njoints.elbow = "u"\n[readings]\njoint_pos.elbow = "q"\n'
)
RATE = COLUMNS.replace('column = "t"', "rate_hz = 50")


def book(folder: Path, mapping: str, *files: str) -> LogBook:
    """Returns what a mapping reads in files of a folder."""
    (folder / "map.toml").write_text(mapping)
    paths = [folder / file for file in files]
    return read_recordings(paths, arm(), read_mapping(folder / "map.toml"))


def csv(path: Path, columns: dict[str, Any], delimiter: str = ",", head: str = "") -> None:
    """Writes columns as a CSV file."""
    lines = [delimiter.join(columns)]
    lines += [delimiter.join(map(str, row)) for row in zip(*columns.values(), strict=True)]
    path.write_text(head + "\n".join(lines) + "\n")


def expect_the_waves(found: LogBook) -> None:
    """Checks one recording of `TIME`, `SENT` and `READ`."""
    (one,) = found.recordings
    np.testing.assert_allclose(one.time_s, TIME, atol=1e-9)
    np.testing.assert_allclose(one.commands[:, 0], SENT)
    np.testing.assert_allclose(one.readings[:, 0], READ)
    assert (one.joints, one.mode, str(one.channels[0])) == (
        ("elbow",),
        "position",
        "joint_pos elbow",
    )
    assert one.channels[0].unit == "rad" and one.driven.all() and not found.findings


RECORDS = [{"t": t, "s": {"u": u, "q": [0.0, q]}} for t, u, q in zip(TIME, SENT, READ, strict=True)]
LISTS = {"t": TIME.tolist(), "u": SENT.tolist(), "q": READ.tolist()}
DEEP = COLUMNS.replace('"u"', '"s.u"').replace('"q"', '"s.q[1]"')


def test_csv_with_any_delimiter(tmp_path: Path) -> None:
    for delimiter in (",", ";", "\t"):
        csv(tmp_path / "a.csv", {"t": TIME, "u": SENT, "q": READ, "": TIME}, delimiter)
        expect_the_waves(book(tmp_path, COLUMNS, "a.csv"))


def test_csv_with_decimal_commas_and_no_names(tmp_path: Path) -> None:
    text = "\n".join(f"{t};{u};{q}" for t, u, q in zip(TIME, SENT, READ, strict=True))
    (tmp_path / "a.txt").write_text(text.replace(".", ","))
    layout = '[file]\ncolumns = ["t", "u", "q"]\ndecimal = ","\n'
    expect_the_waves(book(tmp_path, layout + COLUMNS, "a.txt"))
    with pytest.raises(RecordingError, match="has no line of names"):
        book(tmp_path, COLUMNS, "a.txt")


ROWS_OF_TEXT = [f"{t},{u},{q}" for t, u, q in zip(TIME, SENT, READ, strict=True)]
PREAMBLE = "Logger 3.1\nmass: 0.5\nrobot,my arm\n\n"
ODD_TEXTS = {
    "lines before the names": (PREAMBLE + "\n".join(["t,u,q", *ROWS_OF_TEXT])).encode(),
    "a line of units": "\n".join(["t,u,q", "[s],[rad],[rad]", *ROWS_OF_TEXT]).encode(),
    "a delimiter behind the names": "\n".join(["t,u,q,", *ROWS_OF_TEXT]).encode(),
    "blanks": "\n".join(["  t  u  q", *ROWS_OF_TEXT]).replace(",", "   ").encode(),
    "UTF-16": "\n".join(["t\tu\tq", *ROWS_OF_TEXT]).replace(",", "\t").encode("utf-16"),
    "a degree sign of one byte": "\n".join(
        ["t,u,q,T [°C]", *(f"{row},20" for row in ROWS_OF_TEXT)]
    ).encode("cp1252"),
}


@pytest.mark.parametrize("what", ODD_TEXTS)
def test_csv_as_loggers_and_spreadsheets_write_it(tmp_path: Path, what: str) -> None:
    (tmp_path / "a.csv").write_bytes(ODD_TEXTS[what])
    expect_the_waves(book(tmp_path, COLUMNS, "a.csv"))


def test_lines_before_the_names_are_the_head(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(ODD_TEXTS["lines before the names"])
    rule = '[[constants]]\nenters = "body_mass.lower"\nkey = "mass"\n'
    (one,) = book(tmp_path, COLUMNS + rule, "a.csv").recordings
    assert one.constants == {"body_mass.lower": 0.5}


def test_decimal_commas_that_nobody_told_are_hinted_at(tmp_path: Path) -> None:
    text = "t;u;q\n" + "\n".join(ROWS_OF_TEXT).replace(",", ";").replace(".", ",")
    (tmp_path / "a.csv").write_text(text)
    with pytest.raises(RecordingError, match='write decimal = ","'):
        book(tmp_path, COLUMNS, "a.csv")


def test_json_and_npz_and_parquet(tmp_path: Path) -> None:
    bodies = {"records": RECORDS, "deep": {"log": {"rows": RECORDS}}, "lists": LISTS}
    for name, body in bodies.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(body))
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, RECORDS)))
    np.savez(tmp_path / "a.npz", t=TIME, u=SENT, q=READ, mass=1.5)
    nested = {"t": TIME, "u": SENT, "q": [[0.0, q] for q in READ], "picture": [b"png"] * ROWS}
    pq.write_table(pa.table(nested), tmp_path / "a.parquet")
    expect_the_waves(book(tmp_path, DEEP, "records.json"))
    expect_the_waves(book(tmp_path, '[file]\nrows = "log.rows"\n' + DEEP, "deep.json"))
    expect_the_waves(book(tmp_path, COLUMNS, "lists.json"))
    expect_the_waves(book(tmp_path, DEEP, "a.jsonl"))
    expect_the_waves(book(tmp_path, COLUMNS, "a.npz"))
    expect_the_waves(book(tmp_path, COLUMNS.replace('"q"', '"q[1]"'), "a.parquet"))


CLIPS = """
[file]
clips = "data"
[driven]
missing_command = "off"
[[constants]]
enters = "body_mass.lower"
key = "config.mass"
scale = 2
[[choose]]
where = { kind = ["step", "drop"] }
[[held_out]]
clips = [2]
"""


def test_clips_with_heads_and_falls(tmp_path: Path) -> None:
    fall = SENT.tolist()[:10] + [None] * (ROWS - 10)
    clips = [
        {"kind": kind, "tags": ["a", "b"], "u": sent, "q": READ.tolist()}
        for kind, sent in [("step", SENT.tolist()), ("ramp", SENT.tolist()), ("drop", fall)]
    ]
    (tmp_path / "a.json").write_text(json.dumps({"config": {"mass": 0.2}, "data": clips}))
    step, drop = book(tmp_path, RATE + CLIPS, "a.json").recordings
    assert (step.name, drop.name) == ("a.json clip 0", "a.json clip 2")
    assert (step.held_out, drop.held_out) == (False, True)
    assert step.constants == {"body_mass.lower": 0.4}
    assert step.driven.all() and drop.driven.tolist() == [True] * 10 + [False] * (ROWS - 10)
    np.testing.assert_allclose(step.time_s, TIME)


def test_units_offset_missing_and_unwrap(tmp_path: Path) -> None:
    turns = np.linspace(0, 3 * np.pi, ROWS)
    counts = np.round((turns % (2 * np.pi)) / (2 * np.pi) * 4096)
    percent = np.full(ROWS, 25.0)
    percent[3] = -999
    columns = {"t": 1e3 * TIME, "u": np.degrees(SENT), "q": counts, "v": percent}
    csv(tmp_path / "a.csv", columns)
    mapping = """
[file]
missing = [-999]
[time]
column = "t"
unit = "ms"
[commands]
joints.elbow = { column = "u", unit = "deg", sign = -1, offset = 0.5 }
[readings]
joint_pos.elbow = { column = "q", unit = "counts", counts_per_turn = 4096, unwrap = true }
joint_pos.shoulder = { column = "v", unit = "percent", range = [-1, 3] }
"""
    (one,) = book(tmp_path, mapping, "a.csv").recordings
    np.testing.assert_allclose(one.time_s, TIME, atol=1e-9)
    np.testing.assert_allclose(one.commands[:, 0], 0.5 - SENT)
    np.testing.assert_allclose(one.readings[:, 0], turns, atol=np.pi / 4096 + 1e-9)
    assert np.isnan(one.readings[3, 1])
    np.testing.assert_allclose(np.delete(one.readings[:, 1], 3), 0.0)


def test_clocks_of_nanoseconds_and_of_dates(tmp_path: Path) -> None:
    start = datetime(2026, 1, 15, 10, tzinfo=UTC)
    dates = [(start + timedelta(seconds=float(t))).isoformat() for t in TIME]
    stamps = [1_760_000_000_000_000_000 + int(20e6) * i for i in range(ROWS)]
    clock = [date[11:26] for date in dates]  # 10:00:00.020000, the time of day alone
    slashes = [date.replace("-", "/").replace("T", " ").replace("+00:00", "") for date in dates]
    for unit, column in (("iso", dates), ("iso", clock), ("iso", slashes), ("ns", stamps)):
        csv(tmp_path / "a.csv", {"t": column, "u": SENT, "q": READ})
        text = COLUMNS.replace('column = "t"', f'column = "t"\nunit = "{unit}"')
        (one,) = book(tmp_path, text, "a.csv").recordings
        np.testing.assert_allclose(one.time_s, TIME, atol=1e-12)


def test_hours_of_one_digit_are_times_of_day(tmp_path: Path) -> None:
    times = [f"9:59:59.{round(1000 * t):03d}" for t in TIME]
    csv(tmp_path / "a.csv", {"t": times, "u": SENT, "q": READ})
    mapping = COLUMNS.replace('"t"', '"t"\nunit = "iso"')
    expect_the_waves(book(tmp_path, mapping, "a.csv"))


def test_a_row_without_a_time_does_not_split(tmp_path: Path) -> None:
    times: list[Any] = TIME.tolist()
    times[10] = ""
    csv(tmp_path / "a.csv", {"t": times, "u": SENT, "q": READ})
    found = book(tmp_path, COLUMNS, "a.csv")
    (one,) = found.recordings
    np.testing.assert_allclose(one.time_s, np.delete(TIME, 10), atol=1e-9)
    np.testing.assert_allclose(one.readings[:, 0], np.delete(READ, 10))
    assert [f.code for f in found.findings] == ["clock lost"]


def test_an_array_of_another_length_is_told(tmp_path: Path) -> None:
    """One action less than observations; names of joints are no rows either."""
    names = np.array(["elbow", "wrist"])
    np.savez(tmp_path / "a.npz", t=TIME, q=READ, u=SENT[:-1], few=names)
    with pytest.raises(RecordingError, match=rf"'u' is no column of {ROWS} rows: it holds .*0.0"):
        book(tmp_path, COLUMNS, "a.npz")
    long = {"t": np.arange(200) / 50, "q": np.zeros(200), "u": np.zeros(199)}
    np.savez(tmp_path / "b.npz", **long)
    with pytest.raises(RecordingError, match="'u' is no column of 200 rows: it holds '199 rows'"):
        book(tmp_path, COLUMNS, "b.npz")
    np.savez(tmp_path / "c.npz", t=TIME, q=READ, u=SENT, few=names)
    assert book(tmp_path, COLUMNS, "c.npz").recordings


def test_every_unit_of_a_length_has_its_rate() -> None:
    """docs/recordings.md: "the same per second"."""
    for unit, (kind, size) in LOG_UNITS.items():
        if kind in ("angle", "length"):
            rate = LOG_UNITS[f"{unit}/s"]
            assert rate == ({"angle": "rate", "length": "speed"}[kind], size)


def test_a_clock_that_jumps_stands_and_gaps(tmp_path: Path) -> None:
    time_s = TIME.copy()
    time_s[10:] -= 0.15  # back
    time_s[20:] += 1.0  # a gap
    time_s[25] = time_s[24]  # twice the same
    csv(tmp_path / "a.csv", {"t": time_s, "u": SENT, "q": READ})
    found = book(tmp_path, COLUMNS, "a.csv")
    assert [len(r) for r in found.recordings] == [10, 10, 9]
    assert all((np.diff(r.time_s) > 0).all() for r in found.recordings)
    codes = {x.code for x in found.findings}
    assert codes == {"clock jumps back", "clock stands still", "clock has gaps"}
    np.testing.assert_allclose(found.recordings[1].commands[:, 0], SENT[10:20])
    wide = COLUMNS.replace('"t"\n', '"t"\ngap_s = 2\n', 1)
    assert [len(r) for r in book(tmp_path, wide, "a.csv").recordings] == [10, 19]


def test_commands_hold_and_what_was_never_commanded_is_left_out(tmp_path: Path) -> None:
    sent: list[Any] = SENT.tolist()
    sent[:4] = [""] * 4
    sent[10:13] = [""] * 3
    csv(tmp_path / "a.csv", {"t": TIME, "u": sent, "q": READ})
    (one,) = book(tmp_path, COLUMNS, "a.csv").recordings
    assert len(one) == ROWS - 4
    np.testing.assert_allclose(one.commands[6:9, 0], SENT[9])
    split = COLUMNS + '[driven]\nmissing_command = "splits"\n'
    assert [len(r) for r in book(tmp_path, split, "a.csv").recordings] == [6, 17]


def test_torque_off_keep_and_held_out_by_time(tmp_path: Path) -> None:
    torque = ["true" if t < 0.3 else "False" for t in TIME]
    columns = {"t": TIME + 1e9, "u": SENT, "q": READ, "torque": torque}
    csv(tmp_path / "a.csv", columns, head="# mass: 0.7\n")
    rules = """
[driven]
column = "torque"
[[constants]]
enters = "body_mass.lower"
key = "mass"
[[constants]]
enters = "body_mass.upper"
value = 3
files = "b*"
[[keep]]
from_s = 0.1
[[held_out]]
last_fraction = 0.25
"""
    first, last = book(tmp_path, COLUMNS + rules, "a.csv").recordings
    assert first.constants == {"body_mass.lower": 0.7}
    assert (first.held_out, last.held_out) == (False, True)
    np.testing.assert_allclose(first.time_s[0], 0.1, atol=1e-6)
    # 75 % of 0.58 s is 0.435 s: the row at 0.44 s is the first that is held out.
    np.testing.assert_allclose(last.time_s[0], 0.44, atol=1e-6)
    np.testing.assert_array_equal(first.driven, first.time_s < 0.299)


def test_clips_by_a_column(tmp_path: Path) -> None:
    columns = {"t": TIME, "u": SENT, "q": READ, "trial": np.arange(ROWS) // 10}
    csv(tmp_path / "a.csv", columns)
    rules = '[file]\nclip_by = "trial"\n[[choose]]\nclips = [0, 2]\n'
    names = [r.name for r in book(tmp_path, rules + COLUMNS, "a.csv").recordings]
    assert names == ["a.csv clip 0", "a.csv clip 2"]


def test_torn_ends_are_told(tmp_path: Path) -> None:
    csv(tmp_path / "a.csv", {"t": TIME, "u": SENT, "q": READ})
    whole = (tmp_path / "a.csv").read_text()
    (tmp_path / "a.csv").write_text(whole[: whole.rindex(",")])
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, RECORDS))[:-8])
    for mapping, file in ((COLUMNS, "a.csv"), (DEEP, "a.jsonl")):
        found = book(tmp_path, mapping, file)
        assert [len(r) for r in found.recordings] == [ROWS - 1]
        assert [x.code for x in found.findings] == ["torn log"]


def test_files_that_cannot_be_used(tmp_path: Path) -> None:
    csv(tmp_path / "a.csv", {"t": TIME, "u": SENT, "q": READ})
    (tmp_path / "empty.csv").write_text("")
    (tmp_path / "names.csv").write_text("t,u,q\n")
    (tmp_path / "torn.json").write_text('{"t": [1, 2')
    (tmp_path / "clips.json").write_text(json.dumps({"data": RECORDS}))
    (tmp_path / "short.json").write_text(json.dumps({**LISTS, "q": [1.0, 2.0]}))
    (tmp_path / "binary.csv").write_bytes(b"\xff\xfe\x00\x01" * 40)
    (tmp_path / "broken.npz").write_bytes(b"PK\x03\x04 and no more")
    (tmp_path / "broken.parquet").write_bytes(b"PAR1 and no more")
    (tmp_path / "broken.mcap").write_bytes(b"\x89MCAP0\r\n and no more")
    (tmp_path / "a.xlsx").write_bytes(b"PK")
    csv(tmp_path / "text.csv", {"t": TIME, "u": SENT, "q": ["error"] * ROWS})
    csv(tmp_path / "still.csv", {"t": [5] * ROWS, "u": SENT, "q": READ})
    csv(tmp_path / "silent.csv", {"t": TIME, "u": [""] * ROWS, "q": READ})
    for file, message in {
        "none.csv": "does not exist",
        "empty.csv": "is empty",
        "names.csv": "holds no row",
        "torn.json": "no whole JSON",
        "clips.json": "rows = 'data'",
        "short.json": "'q' is no column of 30 rows",
        "binary.csv": "no UTF-8 text",
        "broken.npz": "no file of plain numpy arrays",
        "broken.parquet": "no whole parquet file",
        "broken.mcap": "must read /topic:field",
        "a.xlsx": "unknown suffix 'xlsx'",
        "text.csv": "holds 'error' in row 0",
        "still.csv": "nothing is left",
        "silent.csv": "no row has a command",
        ".": "no LeRobot dataset",
    }.items():
        with pytest.raises(RecordingError, match=message):
            book(tmp_path, COLUMNS, file)
    with pytest.raises(RecordingError, match="no flight log; write a mapping"):
        read_recordings([tmp_path / "a.csv"], arm())
    with pytest.raises(RecordingError, match="there is no log"):
        read_recordings([], arm())
    with pytest.raises(RecordingError, match="the mapping has no clock"):
        book(tmp_path, COLUMNS.replace('[time]\ncolumn = "t"', ""), "a.csv")
    with pytest.raises(RecordingError, match="nothing is left"):
        book(tmp_path, COLUMNS + "[[keep]]\nfrom_s = 100\n", "a.csv")


WRONG_NAMES = {
    'joint_pos.elbow = "q"': ('joint_pos.elbo = "q"', "joint of the model 'elbo'; did you mean"),
    "joints.elbow": ("joints.ellbow", "joint or actuator of the model 'ellbow'; did you mean"),
    '"u"': ('"uu"', "column 'uu'"),
    '"q"': ('"q[0]"', "holds 1"),
    '"t"': ('"time"', "column 'time'"),
}


@pytest.mark.parametrize("old", WRONG_NAMES)
def test_names_that_are_not_there(tmp_path: Path, old: str) -> None:
    csv(tmp_path / "a.csv", {"t": TIME, "u": SENT, "q": READ})
    new, message = WRONG_NAMES[old]
    with pytest.raises(RecordingError, match=message.replace("[", r"\[")):
        book(tmp_path, COLUMNS.replace(old, new), "a.csv")


def test_constants_that_the_head_lacks(tmp_path: Path) -> None:
    csv(tmp_path / "a.csv", {"t": TIME, "u": SENT, "q": READ}, head="# mass: heavy\n# kp: 4\n")
    rule = '[[constants]]\nenters = "body_mass.lower"\nkey = "mass"\n'
    with pytest.raises(RecordingError, match=r"'mass' of the head is 'heavy'.*numbers there: 'kp'"):
        book(tmp_path, COLUMNS + rule, "a.csv")
