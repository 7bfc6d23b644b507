"""Flight logs, MCAP and LeRobot datasets, written by our own writers, read as recordings."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import mujoco
import numpy as np
import pytest
from mcap.writer import Writer

from mjx_s2r.contract import PolicyContract
from mjx_s2r.robot.calibration import JointCalibration
from mjx_s2r.robot.driver import Reading
from mjx_s2r.robot.log import FlightLog, Step, read
from mjx_s2r.robot.log.lerobot_export import export_lerobot
from mjx_s2r.robot.log.mcap_export import export_mcap
from mjx_s2r.robot.phases import Phase
from mjx_s2r.robot.safety import Mode
from mjx_s2r.transfer.mapping import LogMapping, read_mapping
from mjx_s2r.transfer.readers import read_recordings
from mjx_s2r.transfer.recording import RecordingError
from tests.robot.fakes import contract_for, write_calibration

ROBOT = mujoco.MjModel.from_xml_string(
    """
<mujoco>
  <worldbody>
    <body><joint name="a"/><geom size="0.1"/><body><joint name="b"/><geom size="0.1"/></body></body>
  </worldbody>
  <actuator><position name="motor_a" joint="a"/><position name="motor_b" joint="b"/></actuator>
  <sensor><gyro name="gyro" site="here"/></sensor>
</mujoco>
""".replace("<worldbody>", '<worldbody><site name="here"/>')
)
OTHER = mujoco.MjModel.from_xml_string("""
<mujoco><worldbody><body><joint name="hip"/><geom size="0.1"/></body></worldbody></mujoco>
""")
FLIGHT = (
    [Phase.CHECK] * 3 + [Phase.RAMP_IN] * 4 + [Phase.RUN] * 10 + [Phase.HOLD] * 3 + [Phase.DAMP] * 2
)


def steps(phases: Sequence[Phase], late_s: float = 0.002) -> list[Step]:
    """Returns a flight whose numbers tell the step; nothing is sent in CHECK and DAMP."""
    out = []
    for k, phase in enumerate(phases):
        signals = {
            "joint_pos": np.array([0.1 * k, -0.1 * k]),
            "joint_vel": np.array([1.0 * k, 2.0 * k]),
            "gyro": np.array([0.0, 0.0, 0.5 * k]),
            "temperature": np.array([30.0, 31.0]),
        }
        sent = None if phase in (Phase.CHECK, Phase.DAMP) else np.array([k, 0.3], np.float32)
        reading = Reading(0.1 * k - late_s, signals)
        out.append(Step(k, 0.1 * k, Mode.RUN, reading, command=sent, phase=phase))
    return out


def fly(path: Path, flown: Sequence[Step], contract: PolicyContract | None = None) -> Path:
    """Writes a flight log."""
    with FlightLog(path, contract or contract_for(), "fake arm") as log:
        for step in flown:
            log.append(step)
    return path


def mapped(folder: Path, text: str) -> LogMapping:
    """Returns the mapping of a text."""
    (folder / "map.toml").write_text(text)
    return read_mapping(folder / "map.toml")


def test_a_flight_log_needs_no_mapping(tmp_path: Path) -> None:
    book = read_recordings([fly(tmp_path / "a.log", steps(FLIGHT))], ROBOT)
    (one,) = book.recordings
    assert not book.findings
    assert (one.name, one.joints, one.mode) == ("a.log", ("a", "b"), "position")
    np.testing.assert_allclose(one.time_s, 0.1 * np.arange(3, 20))
    np.testing.assert_allclose(one.commands[:, 0], np.arange(3, 20))
    kinds = [f"{x} {x.unit}" for x in one.channels]
    assert kinds[:4] == [
        "joint_pos a rad",
        "joint_pos b rad",
        "joint_vel a rad/s",
        "joint_vel b rad/s",
    ]
    assert [x for x in kinds if "gyro" in x or "temperature" in x] == [
        "sensor gyro ",
        "sensor gyro[1] ",
        "sensor gyro[2] ",
    ]
    np.testing.assert_allclose(one.readings[:, 1], -0.1 * np.arange(3, 20))
    np.testing.assert_allclose(one.readings[:, 6], 0.5 * np.arange(3, 20))


def test_a_flight_is_split_where_nothing_was_sent_and_where_time_jumps(tmp_path: Path) -> None:
    flown = steps([*FLIGHT, *FLIGHT])
    flown[-4:] = [replace(s, time_s=s.time_s + 3.0) for s in flown[-4:]]
    book = read_recordings([fly(tmp_path / "a.log", flown)], ROBOT)
    # 17 steps of each flight send; of the second's, the last two come after the jump: too few.
    assert [len(r) for r in book.recordings] == [17, 15]
    assert [x.code for x in book.findings] == ["clock has gaps"]


def test_the_same_reading_twice_counts_once(tmp_path: Path) -> None:
    flown = steps([Phase.RUN] * 20)
    flown[7] = replace(flown[7], reading=flown[6].reading)
    (one,) = read_recordings([fly(tmp_path / "a.log", flown)], ROBOT).recordings
    assert np.isnan(one.readings[7]).all() and one.commands[7, 0] == 7
    assert np.isfinite(np.delete(one.readings, 7, 0)).all()


def test_odd_readings_and_old_ones(tmp_path: Path) -> None:
    flown = steps([Phase.RUN] * 20, late_s=0.08)
    flown[3] = replace(flown[3], reading=None)
    flown[4] = replace(flown[4], reading=Reading(0.31, {"joint_pos": np.array("broken")}))
    flown[5] = replace(flown[5], reading=Reading(0.42, {"joint_pos": np.array([np.inf, 1.0])}))
    book = read_recordings([fly(tmp_path / "a.log", flown)], ROBOT)
    (one,) = book.recordings
    assert [x.code for x in book.findings] == ["old readings"]
    assert np.isnan(one.readings[3:5]).all()
    assert np.isnan(one.readings[5, 0]) and one.readings[5, 1] == 1.0


def test_a_torn_flight_log(tmp_path: Path) -> None:
    path = fly(tmp_path / "a.log", steps([Phase.RUN] * 20))
    data = path.read_bytes()
    path.write_bytes(data[: int(0.6 * len(data))])
    book = read_recordings([path], ROBOT)
    assert [x.code for x in book.findings] == ["torn log"]
    assert 3 < len(book.recordings[0]) < 20
    path.write_bytes(data[: len(data) // 2] + b"?" + data[len(data) // 2 + 1 :])  # has an index
    book = read_recordings([path], ROBOT)
    assert [x.code for x in book.findings] == ["torn log"]
    assert 3 < len(book.recordings[0]) < 20
    path.write_bytes(data[:40])
    with pytest.raises(RecordingError, match="header"):
        read_recordings([path], ROBOT)


def test_flights_that_cannot_be_used(tmp_path: Path) -> None:
    good = fly(tmp_path / "a.log", steps(FLIGHT))
    with pytest.raises(RecordingError, match="another robot's log: the model lacks 'a', 'b'"):
        read_recordings([good], OTHER)
    silent = fly(tmp_path / "b.log", steps([Phase.CHECK] * 9))
    with pytest.raises(RecordingError, match="in none of its 9 steps was a command sent"):
        read_recordings([silent], ROBOT)
    with pytest.raises(RecordingError, match="holds no step"):
        read_recordings([fly(tmp_path / "c.log", [])], ROBOT)


def test_rules_are_about_flights_too(tmp_path: Path) -> None:
    paths = [fly(tmp_path / f"{name}.log", steps(FLIGHT)) for name in "ab"]
    rules = '[[held_out]]\nfiles = "b*"\n[[keep]]\nfrom_s = 0.5\n'
    first, second = read_recordings(paths, ROBOT, mapped(tmp_path, rules)).recordings
    assert (first.held_out, second.held_out) == (False, True)
    assert first.time_s[0] == pytest.approx(0.5)


EFFORT = "[commands]\njoints.a = '/command:value[a]'\njoints.motor_b = '/command:value[b]'\n"
MCAP = (
    EFFORT
    + """
[readings]
joint_pos.a = "/joint_states:position[a]"
joint_pos.b = "/joint_states:position[b]"
sensor.gyro = ["/signals/gyro:value[0]", "/signals/gyro:value[1]", "/signals/gyro:value[2]"]
"""
)


def test_mcap(tmp_path: Path) -> None:
    flown = steps(FLIGHT)
    export_mcap(read(fly(tmp_path / "a.log", flown)), tmp_path / "a.mcap")
    book = read_recordings([tmp_path / "a.mcap"], ROBOT, mapped(tmp_path, MCAP))
    (one,) = book.recordings
    assert not book.findings and one.joints == ("a", "motor_b")
    # Rows are readings. The first command is that of step 3, and the last one holds to the end.
    np.testing.assert_allclose(np.diff(one.time_s), 0.1, atol=1e-5)
    np.testing.assert_allclose(one.commands[:, 0], [*range(3, 20), 19, 19])
    np.testing.assert_allclose(one.readings[:, 1], -0.1 * np.arange(3, 22))
    np.testing.assert_allclose(one.readings[:, 4], 0.5 * np.arange(3, 22))


def test_mcap_that_is_torn_or_lacks_a_topic(tmp_path: Path) -> None:
    export_mcap(read(fly(tmp_path / "a.log", steps(FLIGHT))), tmp_path / "a.mcap")
    with pytest.raises(RecordingError, match="unknown topic '/joint_state'; did you mean"):
        wrong = MCAP.replace("/joint_states", "/joint_state")
        read_recordings([tmp_path / "a.mcap"], ROBOT, mapped(tmp_path, wrong))
    with pytest.raises(RecordingError, match=r"unknown number of '/command:value' 'c'"):
        wrong = MCAP.replace("value[b]", "value[c]")
        read_recordings([tmp_path / "a.mcap"], ROBOT, mapped(tmp_path, wrong))
    data = (tmp_path / "a.mcap").read_bytes()
    (tmp_path / "b.mcap").write_bytes(data[: len(data) // 3])
    with pytest.raises(RecordingError, match=r"b\.mcap is no whole MCAP file"):
        read_recordings([tmp_path / "b.mcap"], ROBOT, mapped(tmp_path, MCAP))


def test_mcap_finds_numbers_by_the_names_of_their_own_message(tmp_path: Path) -> None:
    """Two publishers on one topic name other joints, and one of them in changing order."""
    true = {"a": lambda k: 0.1 * k, "b": lambda k: -1.0 - 0.1 * k, "grip": lambda k: 50.0}
    with (tmp_path / "a.mcap").open("wb") as file:
        out = Writer(file)
        out.start()
        schema = out.register_schema("any", "jsonschema", b"{}")
        topics = {t: out.register_channel(t, "json", schema) for t in ("/state", "/goal")}
        for k in range(20):
            at = 10**18 + 20_000_000 * k
            arm = ["a", "b"] if k % 2 else ["b", "a"]
            state = {"name": arm, "position": [true[n](k) for n in arm]}
            grip = {"name": ["grip"], "position": [true["grip"](k)]}
            goal = {"data": [k, k]}
            for topic, body, late in (
                ("/goal", goal, 0),
                ("/state", state, 1000),
                ("/state", grip, 2000),
            ):
                at_ns = at + late
                out.add_message(topics[topic], at_ns, json.dumps(body).encode(), at_ns)
        out.finish()
    for rows in ("/goal", "/state"):
        text = (
            f'[file]\nrows = "{rows}"\n[commands]\njoints.a = "/goal:data[0]"\n[readings]\n'
            'joint_pos.a = "/state:position[a]"\njoint_pos.b = "/state:position[b]"\n'
        )
        (one,) = read_recordings([tmp_path / "a.mcap"], ROBOT, mapped(tmp_path, text)).recordings
        arm = one.readings if rows == "/goal" else one.readings[::2]
        np.testing.assert_allclose(arm[:, 0], [true["a"](k) for k in range(20)])
        np.testing.assert_allclose(arm[:, 1], [true["b"](k) for k in range(20)])
        assert rows == "/goal" or np.isnan(one.readings[1::2]).all()


def test_mcap_of_ros2(tmp_path: Path) -> None:
    writer = pytest.importorskip("mcap_ros2.writer")
    with (tmp_path / "a.mcap").open("wb") as file:
        out = writer.Writer(file)
        schema = out.register_msgdef(
            "sensor_msgs/msg/JointState", "string[] name\nfloat64[] position\nfloat64[] velocity"
        )
        for k in range(20):
            at = 10**18 + 20_000_000 * k
            for topic, values, delay in (("/state", [k, -k], 0), ("/goal", [k + 1, 5.0], 10**6)):
                body = {"name": ["a", "b"], "position": list(map(float, values)), "velocity": []}
                out.write_message(topic, schema, body, at + delay, at + delay)
        out.finish()
    text = EFFORT.replace("/command:value", "/goal:position")
    text += '[readings]\njoint_pos.b = "/state:position[b]"\njoint_pos.a = "/state:position[0]"\n'
    text = '[file]\nrows = "/state"\n' + text
    (one,) = read_recordings([tmp_path / "a.mcap"], ROBOT, mapped(tmp_path, text)).recordings
    np.testing.assert_allclose(one.time_s, 0.02 * np.arange(20))
    np.testing.assert_allclose(one.commands[:, 0], np.arange(1, 21))
    np.testing.assert_allclose(one.readings[:, 0], -np.arange(20.0))


LEROBOT = """
calibration = "cal.json"
[commands]
joints.a = { column = "action[m1.pos]", unit = "calibrated" }
[readings]
joint_pos.a = { column = "observation.state[m1.pos]", unit = "calibrated" }
[[held_out]]
where = { episode_index = 1 }
"""


def test_lerobot(tmp_path: Path) -> None:
    flights = [read(fly(tmp_path / f"{n}.log", steps([Phase.RUN] * n))) for n in (12, 20)]
    cal = (JointCalibration("a", "m1", sign=-1, zero=0.2), JointCalibration("b", "m2"))
    write_calibration(tmp_path / "cal.json", cal)
    export_lerobot(flights, tmp_path / "set", calibration=cal)
    book = read_recordings([tmp_path / "set"], ROBOT, mapped(tmp_path, LEROBOT))
    assert [(r.name, len(r), r.held_out) for r in book.recordings] == [
        ("set clip 0", 12, False),
        ("set clip 1", 20, True),
    ]
    assert {x.code for x in book.findings} == {"synthetic clock"}
    # Back from the motor's unit of per cent to what was flown, in single precision.
    one = book.recordings[1]
    np.testing.assert_allclose(one.readings[:, 0], 0.1 * np.arange(20), atol=1e-5)
    np.testing.assert_allclose(one.commands[:, 0], np.arange(20), atol=1e-4)
    real = '[time]\ncolumn = "time.mono_s"\n' + LEROBOT.replace('calibration = "cal.json"', "")
    real = 'calibration = "cal.json"\n' + real
    assert not read_recordings([tmp_path / "set"], ROBOT, mapped(tmp_path, real)).findings
    (tmp_path / "set/meta/info.json").write_text("{")
    with pytest.raises(RecordingError, match="no LeRobot dataset"):
        read_recordings([tmp_path / "set"], ROBOT, mapped(tmp_path, LEROBOT))
